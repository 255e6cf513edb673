package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
)

const (
	short = 400 * time.Millisecond
	long  = time.Hour // only a signal makes a worker look, and nothing expires
)

// board is a table that fails as a test says.
type board struct {
	ttl     time.Duration
	changed chan struct{}
	mu      sync.Mutex
	entries map[string]Entry
	written map[string]time.Time
	last    uint64
	fail    func(call, key string) (before, after error)
}

func newBoard(ttl time.Duration) *board {
	return &board{ttl: ttl, changed: make(chan struct{}), entries: map[string]Entry{}, written: map[string]time.Time{}}
}

func (b *board) TTL() time.Duration                    { return b.ttl }
func (b *board) Watch(context.Context) <-chan struct{} { return b.changed }

// do makes a call; mu is held while it changes something.
func (b *board) do(call, key string, change func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, at := range b.written {
		if time.Since(at) >= b.ttl {
			delete(b.entries, key)
			delete(b.written, key)
		}
	}
	var before, after error
	if b.fail != nil {
		before, after = b.fail(call, key)
	}
	if before != nil {
		return before
	}
	return errors.Join(change(), after)
}

func (b *board) List(context.Context) (all map[string]Entry, err error) {
	all = map[string]Entry{}
	err = b.do("list", "", func() error {
		for key, e := range b.entries {
			all[key] = e
		}
		return nil
	})
	return all, err
}

func (b *board) Put(_ context.Context, key, worker string, revision uint64) (uint64, error) {
	err := b.do("put", key, func() error {
		if b.entries[key].Revision != revision {
			return ErrTaken
		}
		b.last++
		revision = b.last
		b.entries[key], b.written[key] = Entry{worker, revision}, time.Now()
		return nil
	})
	return revision, err
}

func (b *board) Delete(_ context.Context, key string, revision uint64) error {
	return b.do("delete", key, func() error {
		if b.entries[key].Revision != revision {
			return ErrTaken
		}
		delete(b.entries, key)
		return nil
	})
}

func (b *board) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// shared runs Share on two partitions and tells when holds begin and end.
type shared struct {
	began, ended chan int
	stop         context.CancelFunc
	done         chan error
}

func share(t *testing.T, table Table, release func()) *shared {
	ctx, stop := context.WithCancel(t.Context())
	s := &shared{make(chan int, 100), make(chan int, 100), stop, make(chan error, 1)}
	go func() {
		s.done <- Share(ctx, table, "worker", 2, func(ctx context.Context, partition int) error {
			s.began <- partition
			<-ctx.Done()
			release()
			s.ended <- partition
			return nil
		})
	}()
	t.Cleanup(stop)
	return s
}

func wait[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: waited in vain", what)
		panic("not reached")
	}
}

func TestTheSharesDifferByOneAtMostAndAddUp(t *testing.T) {
	for partitions := range 20 {
		for workers := 1; workers < 25; workers++ {
			table, sum := map[string]Entry{}, 0
			for i := range workers {
				table[fmt.Sprint(workerKey, "w", i)] = Entry{}
			}
			for i := range workers {
				s := &sharing{worker: fmt.Sprint("w", i), partitions: partitions}
				share := s.share(table)
				if share != partitions/workers && share != (partitions+workers-1)/workers {
					t.Errorf("%d partitions, %d workers: one gets %d", partitions, workers, share)
				}
				sum += share
			}
			if sum != partitions {
				t.Errorf("%d workers get %d partitions of %d", workers, sum, partitions)
			}
		}
	}
}

func TestAWorkerThatCannotRenewEndsItsHoldsBeforeTheLeasesRunOut(t *testing.T) {
	table := newBoard(short)
	s := share(t, table, func() {})
	for range 2 {
		wait(t, "holds", s.began)
	}
	var runOut time.Time
	table.set(func() {
		table.fail = func(string, string) (error, error) { return broker.ErrRetry, nil }
		for _, at := range table.written {
			if out := at.Add(short); out.After(runOut) {
				runOut = out
			}
		}
	})
	for range 2 {
		wait(t, "ends of holds", s.ended)
	}
	if late := time.Since(runOut); late > short/2 { // that a busy machine may be late
		t.Errorf("a hold ended %v after its lease had run out", late)
	}
	table.set(func() { table.fail = nil })
	for range 2 {
		wait(t, "holds when the table answers again", s.began)
	}
}

func TestAWorkerThatRenewsHoldsOn(t *testing.T) {
	table := newBoard(2 * time.Second)
	s := share(t, table, func() {})
	for range 2 {
		wait(t, "holds", s.began)
	}
	select {
	case partition := <-s.ended:
		t.Errorf("the hold of partition %d has ended", partition)
	case <-time.After(5 * time.Second):
	}
}

func TestALeaseThatAnotherWorkerHasEndsTheHold(t *testing.T) {
	table := newBoard(long)
	s := share(t, table, func() {})
	for range 2 {
		wait(t, "holds", s.began)
	}
	table.set(func() {
		table.last++
		table.entries[keyOf(1)], table.written[keyOf(1)] = Entry{"another", table.last}, time.Now().Add(time.Hour)
	})
	table.changed <- struct{}{}
	if ended := wait(t, "the end of a hold", s.ended); ended != 1 {
		t.Errorf("partition %d was taken, %d has ended", 1, ended)
	}
	s.stop()
	_ = wait(t, "the end of the sharing", s.done)
	if e, ok := table.entries[keyOf(1)]; !ok || e.Worker != "another" {
		t.Errorf("the other worker's lease is %v", e)
	}
	if len(table.entries) != 1 {
		t.Errorf("the worker has left %v behind", table.entries)
	}
}

func TestLostAnswersLeaveNoPartitionWithoutAHold(t *testing.T) {
	table := newBoard(long)
	lost := map[string]bool{}
	table.fail = func(call, key string) (error, error) {
		if call == "put" && !lost[key] {
			lost[key] = true
			return nil, broker.ErrUnknown
		}
		return nil, nil
	}
	s := share(t, table, func() {})
	for looked := false; !looked; looked = len(s.began) == 2 { // once for the answer that is lost, and again
		select {
		case table.changed <- struct{}{}:
		case <-time.After(20 * time.Second):
			t.Fatal("the worker does not look")
		}
	}
	if a, b := wait(t, "a hold", s.began), wait(t, "a hold", s.began); a == b {
		t.Errorf("partition %d is held twice", a)
	}
}

func TestALeaseStaysUntilASlowHoldHasReturned(t *testing.T) {
	table := newBoard(short)
	goOn := make(chan struct{})
	s := share(t, table, func() { <-goOn })
	for range 2 {
		wait(t, "holds", s.began)
	}
	s.stop()
	for began := time.Now(); time.Since(began) < 2*short; time.Sleep(short / 20) {
		entries, err := table.List(t.Context())
		if err != nil || entries[keyOf(0)].Worker == "" || entries[keyOf(1)].Worker == "" {
			t.Fatalf("while the holds release the leases are %v (%v)", entries, err)
		}
	}
	close(goOn)
	if err := wait(t, "the end of the sharing", s.done); !errors.Is(err, context.Canceled) {
		t.Errorf("Share: %v, want %v", err, context.Canceled)
	}
	if len(table.entries) != 0 {
		t.Errorf("the worker has left %v behind", table.entries)
	}
}

func TestAnErrorThatDoesNotPassEndsTheSharing(t *testing.T) {
	table := newBoard(short)
	s := share(t, table, func() {})
	for range 2 {
		wait(t, "holds", s.began)
	}
	table.set(func() {
		table.fail = func(string, string) (error, error) { return broker.ErrNotProvisioned, nil }
	})
	if err := wait(t, "the end of the sharing", s.done); !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("Share: %v, want %v", err, broker.ErrNotProvisioned)
	}
	if len(s.ended) != 2 {
		t.Errorf("%d holds have ended, want 2", len(s.ended))
	}
}
