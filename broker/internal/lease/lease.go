// Package lease divides the partitions of a processor among its workers by
// leases in a table that the broker keeps. A lease goes by itself when its
// worker does not renew it, by the broker's clock: no worker's clock matters.
//
// All of it is a hint (DESIGN §5): which of two workers that hold a partition
// commits, the commit decides.
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
)

// ErrTaken: the entry is not of the expected revision.
var ErrTaken = errors.New("taken by another worker")

// Entry is what stands under a key.
type Entry struct {
	Worker   string
	Revision uint64 // other than 0, and another one after each Put
}

// Table is the leases of one processor. Its entries go by themselves when they
// were not written for as long as TTL. Errors are those of package broker, and
// ErrTaken.
type Table interface {
	TTL() time.Duration
	// List reads all that stands.
	List(ctx context.Context) (map[string]Entry, error)
	// Put writes an entry if it is of a revision (0 = there is none) and returns
	// the new one.
	Put(ctx context.Context, key, worker string, revision uint64) (uint64, error)
	// Delete removes an entry if it is of a revision.
	Delete(ctx context.Context, key string, revision uint64) error
	// Watch gives a signal whenever a key has come or was deleted, until ctx
	// ends. That an entry has gone by itself it does not tell.
	Watch(ctx context.Context) <-chan struct{}
}

const (
	// longestPause between two looks at the table; it is a third of the TTL
	// where that is shorter.
	longestPause = 3 * time.Second
	// rest is how long a partition that hold gave up by itself is left alone.
	rest = time.Second
	// leaveTimeout bounds the last calls to the table.
	leaveTimeout = 5 * time.Second
)

// Share is [broker.Broker.Share] for a processor with a number of partitions,
// on its table.
//
// A worker announces itself in the table and looks at it again and again, and
// at once when something was released: it renews what it holds, ends what
// another one has taken, gives up what is more than its share and takes what is
// free. The share of the workers present, in order of name, differs by one at
// most.
func Share(ctx context.Context, table Table, owner string, partitions int, hold func(ctx context.Context, partition int) error) error {
	s := &sharing{
		table: table, worker: workerName(owner), partitions: partitions, hold: hold,
		held: map[int]*held{}, returned: make(chan *held), resting: map[int]time.Time{},
	}
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("cannot share partitions as %s: %w", s.worker, err)
	}
	return nil
}

var noKey = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// workerName is the owner's name as part of a key, and unlike that of another
// worker which calls itself the same.
func workerName(owner string) string {
	return fmt.Sprintf("%s-%08x", noKey.ReplaceAllString(owner, "_"), rand.Uint32())
}

// Keys of a table.
const (
	leaseKey  = "lease."  // and a partition
	workerKey = "worker." // and a worker
)

func keyOf(partition int) string { return leaseKey + strconv.Itoa(partition) }

// sharing is one worker's part. One goroutine runs it.
type sharing struct {
	table      Table
	worker     string
	partitions int
	hold       func(ctx context.Context, partition int) error

	held     map[int]*held // also those whose hold has not returned yet
	returned chan *held
	resting  map[int]time.Time // partitions that are not taken before a time
	leaving  bool
}

// held is a partition that this worker has the lease of.
type held struct {
	partition int
	ctx       context.Context
	end       context.CancelFunc // of hold's context
	revision  uint64
	renewed   time.Time
	expiry    *time.Timer // ends hold when the lease was not renewed
	err       error       // of hold
}

// run shares until ctx ends or something fails for good, then waits until every
// hold has returned.
func (s *sharing) run(ctx context.Context) (err error) {
	changed := s.table.Watch(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	ended := ctx.Done()
	for first := true; !s.leaving || len(s.held) > 0; first = false {
		var failed error
		select {
		case <-ended:
			failed, ended = context.Cause(ctx), nil
		case h := <-s.returned:
			failed = s.release(ctx, h)
			timer.Reset(0)
			if failed == nil {
				continue
			}
		case <-changed:
		case <-timer.C:
		}
		if failed == nil {
			if first {
				_, _ = s.table.Put(ctx, workerKey+s.worker, s.worker, 0)
			}
			failed = s.look(context.WithoutCancel(ctx))
		}
		switch {
		case failed == nil || s.leaving:
		case passing(failed):
			slog.Warn("cannot look after leases, trying again", "worker", s.worker, "error", failed)
		default:
			err = failed
			s.leave(ctx)
		}
		timer.Reset(s.pause())
	}
	return err
}

// pause until the next look at the table, not the same for all workers.
func (s *sharing) pause() time.Duration {
	most := min(s.table.TTL()/3, longestPause)
	return most*3/4 + rand.N(most/4+1)
}

// passing tells errors of a broker that may answer again.
func passing(err error) bool {
	return errors.Is(err, broker.ErrRetry) || errors.Is(err, broker.ErrUnknown)
}

// look reads the table and does what follows from it.
func (s *sharing) look(ctx context.Context) error {
	table, err := s.table.List(ctx)
	if err != nil {
		return err
	}
	for partition, h := range s.held {
		entry := table[keyOf(partition)]
		if entry.Worker != "" && entry.Worker != s.worker {
			h.end()
		} else if err := s.renew(ctx, h, entry.Revision); err != nil {
			return err
		}
	}
	if s.leaving {
		return nil
	}
	key := workerKey + s.worker
	if _, err := s.table.Put(ctx, key, s.worker, table[key].Revision); err != nil && !errors.Is(err, ErrTaken) {
		return err
	}
	share := s.share(table)
	s.giveUp(len(s.held) - share)
	for _, partition := range rand.Perm(s.partitions) {
		entry, key := table[keyOf(partition)], keyOf(partition)
		mine := entry.Worker == s.worker // from a call whose answer was lost, or not deleted yet
		if s.held[partition] != nil || entry.Worker != "" && !mine {
			continue
		}
		if len(s.held) < share && time.Now().After(s.resting[partition]) {
			err = s.take(ctx, partition, entry.Revision)
		} else if mine {
			err = s.table.Delete(ctx, key, entry.Revision)
		}
		if err != nil && !errors.Is(err, ErrTaken) {
			return err
		}
	}
	return nil
}

// share is how many partitions fall to this worker.
func (s *sharing) share(table map[string]Entry) int {
	workers := []string{s.worker}
	for key := range table {
		if name, ok := strings.CutPrefix(key, workerKey); ok && name != s.worker {
			workers = append(workers, name)
		}
	}
	slices.Sort(workers)
	share := s.partitions / len(workers)
	if slices.Index(workers, s.worker) < s.partitions%len(workers) {
		share++
	}
	return share
}

// renew writes a lease again when it is time. An entry at another revision than
// the one known is from a renewal whose answer was lost.
func (s *sharing) renew(ctx context.Context, h *held, revision uint64) error {
	now := time.Now()
	if now.Sub(h.renewed) < s.pause()/2 {
		return nil
	}
	revision, err := s.table.Put(ctx, keyOf(h.partition), s.worker, revision)
	if errors.Is(err, ErrTaken) {
		return nil // the next look, or the expiry, tells
	}
	if err != nil {
		return err
	}
	h.revision, h.renewed = revision, now
	if h.ctx.Err() == nil {
		h.expiry.Reset(time.Until(now.Add(s.table.TTL())))
	}
	return nil
}

// giveUp ends the holds of so many partitions, the last ones first. Those that
// have ended and not returned yet count.
func (s *sharing) giveUp(surplus int) {
	partitions := slices.Sorted(maps.Keys(s.held))
	for _, h := range s.held {
		if h.ctx.Err() != nil {
			surplus--
		}
	}
	for _, partition := range slices.Backward(partitions) {
		if h := s.held[partition]; surplus > 0 && h.ctx.Err() == nil {
			h.end()
			surplus--
		}
	}
}

// take gets the lease of a partition and holds it.
func (s *sharing) take(ctx context.Context, partition int, revision uint64) error {
	now := time.Now()
	revision, err := s.table.Put(ctx, keyOf(partition), s.worker, revision)
	if err != nil {
		return err
	}
	h := &held{partition: partition, revision: revision, renewed: now}
	h.ctx, h.end = context.WithCancel(ctx)
	h.expiry = time.AfterFunc(time.Until(now.Add(s.table.TTL())), func() {
		slog.Warn("a lease could not be renewed", "worker", s.worker, "partition", partition)
		h.end()
	})
	s.held[partition] = h
	go func() {
		h.err = s.hold(h.ctx, partition)
		s.returned <- h
	}()
	return nil
}

// release deletes the lease of a hold that has returned.
func (s *sharing) release(ctx context.Context, h *held) error {
	given := h.ctx.Err() != nil
	h.expiry.Stop()
	h.end()
	delete(s.held, h.partition)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	_ = s.table.Delete(ctx, keyOf(h.partition), h.revision) // it goes by itself too
	if !given {
		s.resting[h.partition] = time.Now().Add(rest)
	}
	if given && errors.Is(h.err, context.Canceled) {
		return nil
	}
	return h.err
}

// leave ends every hold and takes this worker out of the table.
func (s *sharing) leave(ctx context.Context) {
	s.leaving = true
	for _, h := range s.held {
		h.end()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if table, err := s.table.List(ctx); err == nil {
		_ = s.table.Delete(ctx, workerKey+s.worker, table[workerKey+s.worker].Revision)
	}
}
