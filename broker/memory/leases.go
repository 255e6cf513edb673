package memory

import (
	"context"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/lease"
)

// leaseTTL is how long a lease stands without being renewed, on the wall clock.
const leaseTTL = time.Second

// leaseEntry is a lease; revisions are shared by all.
type leaseEntry struct {
	lease.Entry
	expires time.Time
}

// table is the leases of one processor as one handle sees them.
type table struct {
	*Broker
	prefix string // of the processor's keys
}

// Share divides the partitions among all handles that call it.
func (b *Broker) Share(ctx context.Context, processor, owner string, hold func(ctx context.Context, partition int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.life, func() { cancel(broker.ErrClosed) })()
	return lease.Share(ctx, &table{b, processor + "/"}, owner, b.partitions, hold)
}

func (t *table) TTL() time.Duration { return leaseTTL }

func (t *table) List(ctx context.Context) (map[string]lease.Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := map[string]lease.Entry{}
	for key, e := range t.leases {
		if !time.Now().Before(e.expires) {
			delete(t.leases, key)
		} else if name, ok := strings.CutPrefix(key, t.prefix); ok {
			found[name] = e.Entry
		}
	}
	return found, t.state(ctx)
}

func (t *table) Put(ctx context.Context, key, worker string, revision uint64) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.state(ctx); err != nil {
		return 0, err
	}
	if t.revision(key) != revision {
		return 0, lease.ErrTaken
	}
	t.lastRevision++
	t.leases[t.prefix+key] = leaseEntry{lease.Entry{Worker: worker, Revision: t.lastRevision}, time.Now().Add(leaseTTL)}
	if revision == 0 {
		t.signal()
	}
	return t.lastRevision, nil
}

func (t *table) Delete(ctx context.Context, key string, revision uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.state(ctx); err != nil {
		return err
	}
	if t.revision(key) != revision {
		return lease.ErrTaken
	}
	delete(t.leases, t.prefix+key)
	t.signal()
	return nil
}

// revision of an entry, 0 if it does not stand; mu is held.
func (t *table) revision(key string) uint64 {
	e := t.leases[t.prefix+key]
	if !time.Now().Before(e.expires) {
		return 0
	}
	return e.Revision
}

// signal tells everybody who watches; mu is held.
func (t *table) signal() {
	close(t.leasesChanged)
	t.leasesChanged = make(chan struct{})
}

func (t *table) Watch(ctx context.Context) <-chan struct{} {
	signals := make(chan struct{}, 1)
	go func() {
		for {
			t.mu.Lock()
			changed := t.leasesChanged
			t.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			select {
			case signals <- struct{}{}:
			default:
			}
		}
	}()
	return signals
}

// state is why a call cannot be answered.
func (t *table) state(ctx context.Context) error {
	if t.life.Err() != nil {
		return broker.ErrClosed
	}
	return ctx.Err()
}
