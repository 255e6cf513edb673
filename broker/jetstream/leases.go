package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/broker/internal/lease"
	"github.com/nats-io/nats.go/jetstream"
)

// Share divides the partitions by leases in a bucket that forgets what is not
// renewed. A worker that dies, or is cut off from the broker, loses them after
// the bucket's TTL (Config.LeaseTTL when it was provisioned).
func (b *Broker) Share(ctx context.Context, processor, owner string, hold func(ctx context.Context, partition int) error) error {
	if err := b.share(ctx, processor, owner, hold); err != nil {
		return fmt.Errorf("cannot share the partitions of %s: %w", processor, err)
	}
	return nil
}

func (b *Broker) share(ctx context.Context, processor, owner string, hold func(ctx context.Context, partition int) error) error {
	if !processorPattern.MatchString(processor) || processor == producer {
		return fmt.Errorf("%q is no name of a processor", processor)
	}
	partitions, err := b.Partitions(ctx)
	if err != nil {
		return err
	}
	leases, err := b.leases(ctx, processor)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.life, func() { cancel(broker.ErrClosed) })()
	return lease.Share(ctx, leases, owner, partitions, hold)
}

// leases is the leases of one processor. A key has the processor as its second
// token: lease.sessions.3, worker.sessions.name.
type leases struct {
	b         *Broker
	bucket    jetstream.KeyValue
	ttl       time.Duration
	processor string
}

func (b *Broker) leases(ctx context.Context, processor string) (*leases, error) {
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	bucket, err := b.js.KeyValue(limited, b.leaseBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, wrap(err, broker.ErrNotProvisioned)
	}
	if err != nil {
		return nil, asked(ctx, err)
	}
	status, err := bucket.Status(limited)
	if err != nil {
		return nil, asked(ctx, err)
	}
	return &leases{b, bucket, status.TTL(), processor}, nil
}

func (l *leases) TTL() time.Duration { return l.ttl }

// key puts the processor into a key, cut takes it out.
func (l *leases) key(key string) string { return strings.Replace(key, ".", "."+l.processor+".", 1) }
func (l *leases) cut(key string) string { return strings.Replace(key, "."+l.processor+".", ".", 1) }

func (l *leases) all() []string { return []string{l.key("lease.*"), l.key("worker.*")} }

func (l *leases) List(ctx context.Context) (map[string]lease.Entry, error) {
	limited, cancel := context.WithTimeout(ctx, l.b.config.Timeout)
	defer cancel()
	watcher, err := l.bucket.WatchFiltered(limited, l.all(), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, asked(ctx, err)
	}
	defer func() { _ = watcher.Stop() }()
	found := map[string]lease.Entry{}
	for {
		select {
		case e, ok := <-watcher.Updates():
			if !ok {
				return nil, asked(ctx, context.DeadlineExceeded)
			}
			if e == nil {
				return found, nil
			}
			found[l.cut(e.Key())] = lease.Entry{Worker: string(e.Value()), Revision: e.Revision()}
		case <-limited.Done():
			return nil, asked(ctx, limited.Err())
		case <-l.b.life.Done():
			return nil, broker.ErrClosed
		}
	}
}

func (l *leases) Put(ctx context.Context, key, worker string, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.b.config.Timeout)
	defer cancel()
	var err error
	if revision == 0 {
		revision, err = l.bucket.Create(ctx, l.key(key), []byte(worker))
	} else {
		revision, err = l.bucket.Update(ctx, l.key(key), []byte(worker), revision)
	}
	return revision, changed(err)
}

func (l *leases) Delete(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, l.b.config.Timeout)
	defer cancel()
	return changed(l.bucket.Delete(ctx, l.key(key), jetstream.LastRevision(revision)))
}

// changed puts a failed change of an entry into its class.
func changed(err error) error {
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return wrap(err, lease.ErrTaken)
	}
	err = published(err)
	if errors.Is(err, commitlog.ErrConflict) || errors.Is(err, commitlog.ErrBusy) { // somebody else's hand is on it
		return wrap(err, lease.ErrTaken)
	}
	return err
}

// Watch follows the bucket, and begins again where that fails.
func (l *leases) Watch(ctx context.Context) <-chan struct{} {
	signals := make(chan struct{}, 1)
	go func() {
		for ctx.Err() == nil {
			l.watch(ctx, signals)
			_ = pauseFor(ctx, time.Second)
		}
	}()
	return signals
}

func (l *leases) watch(ctx context.Context, signals chan<- struct{}) {
	watcher, err := l.bucket.WatchFiltered(ctx, l.all(), jetstream.UpdatesOnly(), jetstream.MetaOnly())
	if err != nil {
		return
	}
	defer func() { _ = watcher.Stop() }()
	known := map[string]bool{}
	for {
		select {
		case e, ok := <-watcher.Updates():
			if !ok {
				return
			}
			if e == nil {
				continue
			}
			there := e.Operation() == jetstream.KeyValuePut
			if there && known[e.Key()] {
				continue // renewed
			}
			known[e.Key()] = there
			select {
			case signals <- struct{}{}:
			default:
			}
		case <-ctx.Done():
			return
		}
	}
}
