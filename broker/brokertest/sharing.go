package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
)

// sharing watches what workers hold.
type sharing struct {
	*bench
	mu      sync.Mutex
	held    map[string][]int // by worker
	changed chan struct{}    // closed at the next change
}

func (b *bench) sharing() *sharing {
	return &sharing{bench: b, held: map[string][]int{}, changed: make(chan struct{})}
}

// sharer is a worker that shares, on a connection of its own.
type sharer struct {
	broker.Broker
	stop context.CancelFunc
	done chan error // what Share has returned
}

// join lets a worker share; hold returns after the partition was noted and
// then, or when its context has ended if then is nil.
func (s *sharing) join(name string, then func(ctx context.Context, partition int) error) *sharer {
	s.Helper()
	ctx, stop := context.WithCancel(s.ctx)
	w := &sharer{s.installation.Open(s.T), stop, make(chan error, 1)}
	s.Cleanup(func() {
		stop()
		_ = w.Close()
	})
	if then == nil {
		then = func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return nil
		}
	}
	go func() {
		w.done <- w.Share(ctx, "sessions", name, func(ctx context.Context, partition int) error {
			s.note(name, func(held []int) []int {
				if slices.Contains(held, partition) {
					s.Errorf("%s holds partition %d twice at a time", name, partition)
				}
				return append(held, partition)
			})
			defer s.note(name, func(held []int) []int {
				return slices.DeleteFunc(held, func(p int) bool { return p == partition })
			})
			return then(ctx, partition)
		})
	}()
	return w
}

func (s *sharing) note(name string, change func(held []int) []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[name] = change(s.held[name])
	close(s.changed)
	s.changed = make(chan struct{})
}

// settle waits until the workers together hold every partition once, each at
// most its share, and nobody else holds any; it returns how long that took.
func (s *sharing) settle(limit time.Duration, workers ...string) time.Duration {
	s.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	for {
		s.mu.Lock()
		settled, changed, now := s.settled(workers), s.changed, fmt.Sprint(s.held)
		s.mu.Unlock()
		if settled {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s.Fatalf("after %v the workers hold %v, want %v to share all", time.Since(began), now, workers)
		}
	}
}

func (s *sharing) settled(workers []string) bool {
	var all []int
	for name, held := range s.held {
		if len(held) > 0 && !slices.Contains(workers, name) || len(held) > (Partitions+len(workers)-1)/len(workers) {
			return false
		}
		all = append(all, held...)
	}
	slices.Sort(all)
	return slices.Equal(all, []int{0, 1, 2, 3})
}

// left waits until Share has returned.
func (w *sharer) left(b *bench) error {
	b.Helper()
	select {
	case err := <-w.done:
		return err
	case <-b.ctx.Done():
		b.Fatal("a worker does not leave")
		return nil
	}
}

// leave ends a worker's sharing and waits for it.
func (s *sharing) leave(w *sharer) {
	s.Helper()
	w.stop()
	if err := w.left(s.bench); err != nil && !errors.Is(err, context.Canceled) {
		s.Errorf("a worker that was told to leave: %v", err)
	}
}

func shareAlone(b *bench) {
	s := b.sharing()
	only := s.join("only", nil)
	s.settle(patience, "only")
	s.leave(only)
	if s.mu.Lock(); len(s.held["only"]) != 0 {
		b.Errorf("it has left and holds %v", s.held["only"])
	}
	s.mu.Unlock()
	s.join("next", nil)
	s.settle(patience, "next")
}

func shareAmongThree(b *bench) {
	s := b.sharing()
	one := s.join("one", nil)
	s.settle(patience, "one")
	two := s.join("two", nil)
	s.settle(patience, "one", "two")
	s.join("three", nil)
	s.settle(patience, "one", "two", "three")
	s.leave(one)
	b.Logf("after a clean release: %v", s.settle(patience, "two", "three"))
	s.leave(two)
	s.settle(patience, "three")
	s.join("one", nil)
	s.settle(patience, "one", "three")
}

func shareOfTheDead(b *bench) {
	s := b.sharing()
	one := s.join("one", nil)
	s.join("two", nil)
	s.settle(patience, "one", "two")
	b.must(one.Close())
	took := s.settle(b.installation.LeaseTTL+5*time.Second, "two")
	b.Logf("after a death: %v, the lease is %v", took, b.installation.LeaseTTL)
	if err := one.left(b); !errors.Is(err, broker.ErrClosed) {
		b.Errorf("Share on a closed connection: %v, want %v", err, broker.ErrClosed)
	}
}

func shareAgain(b *bench) {
	s := b.sharing()
	var once sync.Once
	given := make(chan int, 1)
	s.join("one", func(ctx context.Context, partition int) error {
		stay := true
		if partition == 2 {
			once.Do(func() { stay = false })
		}
		if stay {
			<-ctx.Done()
		} else {
			given <- partition
		}
		return nil
	})
	<-given
	s.settle(patience, "one")
}

func shareFails(b *bench) {
	s := b.sharing()
	broken := errors.New("broken")
	fail := make(chan struct{})
	one := s.join("one", func(ctx context.Context, _ int) error {
		select {
		case <-fail:
			return broken
		case <-ctx.Done():
			return nil
		}
	})
	s.join("two", nil)
	s.settle(patience, "one", "two")
	fail <- struct{}{}
	if err := one.left(b); !errors.Is(err, broken) {
		b.Errorf("Share: %v, want %v", err, broken)
	}
	s.settle(patience, "two")
}
