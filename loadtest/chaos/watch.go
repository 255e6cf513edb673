//go:build unix

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// processor is the one whose workers are killed.
const processor = "sessions"

// watch looks at the commits of every partition again and again: it tells which
// partitions a killed worker held, and when they went on.
type watch struct {
	broker     broker.Broker
	partitions int
	pause      time.Duration

	mu      sync.Mutex
	numbers []int64 // last commit, by partition
	waiting []*recovery
	took    []time.Duration // recoveries that are over
}

// recovery waits for a commit on each partition after the one that was the
// last when something was killed.
type recovery struct {
	at    time.Time
	after map[int]int64 // commit number, by partition
}

func newWatch(b broker.Broker, partitions int, pause time.Duration) *watch {
	return &watch{broker: b, partitions: partitions, pause: pause, numbers: make([]int64, partitions)}
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	for ctx.Err() == nil {
		for p := range w.partitions {
			limited, cancel := context.WithTimeout(ctx, 2*time.Second)
			c, err := w.broker.LastCommit(limited, processor, p)
			cancel()
			if err == nil && c != nil { // else the broker is down
				w.seen(p, c.CommitNumber)
			}
		}
		select {
		case <-time.After(w.pause):
		case <-ctx.Done():
		}
	}
}

func (w *watch) seen(partition int, number int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers[partition] = max(w.numbers[partition], number)
	var waiting []*recovery
	for _, r := range w.waiting {
		if after, ok := r.after[partition]; ok && number > after {
			delete(r.after, partition)
		}
		if len(r.after) == 0 {
			w.took = append(w.took, time.Since(r.at))
		} else {
			waiting = append(waiting, r)
		}
	}
	w.waiting = waiting
}

// struck notes that partitions have lost their worker or their broker.
func (w *watch) struck(at time.Time, after map[int]int64) {
	if len(after) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, &recovery{at, after})
}

// recoveries are the times that were measured, and how many partitions never
// went on because nothing was left for them to do.
func (w *watch) recoveries() (took []time.Duration, idle int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.took, len(w.waiting)
}

// uncommitted tells which partitions a worker's process held (all of them with
// pid 0), with their last commits, and whether a record was appended before a
// time that no commit of them holds.
func (w *watch) uncommitted(ctx context.Context, pid int, at time.Time) (after map[int]int64, work bool, err error) {
	after = map[int]int64{}
	for p := range w.partitions {
		c, err := w.broker.LastCommit(ctx, processor, p)
		if err != nil {
			return nil, false, err
		}
		if c == nil || pid != 0 && !strings.Contains(c.Owner, fmt.Sprintf("-%d-", pid)) {
			continue
		}
		after[p] = c.CommitNumber
		for _, s := range c.Slices {
			if work = work || s.NextIndex > 0; work {
				break
			}
			if work, err = w.appended(ctx, p, s, at); err != nil {
				return nil, false, err
			}
		}
	}
	return after, work, nil
}

// appended tells whether a lane holds a message behind a slice that was there
// at a time.
func (w *watch) appended(ctx context.Context, partition int, s schemas.Slice, at time.Time) (bool, error) {
	log := broker.Log{Topic: broker.Events, Partition: partition, Lane: s.Lane}
	if end, err := w.broker.End(ctx, log); err != nil || end <= uint64(s.NextMessage) {
		return false, err
	}
	r, err := w.broker.Read(ctx, log, uint64(s.NextMessage))
	if err != nil {
		return false, err
	}
	defer r.Close()
	m, err := r.Next(ctx)
	return err == nil && m.AppendedAt <= at.UnixMicro(), err
}

// lag is how many lanes of all processors have messages that no commit holds.
func (w *watch) lag(ctx context.Context) (lanes int, err error) {
	for name, input := range map[string]string{processor: broker.Events, "changes": broker.ChangeFacts, "tasks": broker.TaskFacts, "spend": broker.SpendDeltas} {
		for p := range w.partitions {
			c, err := w.broker.LastCommit(ctx, name, p)
			if err != nil {
				return 0, err
			}
			for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
				end, err := w.broker.End(ctx, broker.Log{Topic: input, Partition: p, Lane: lane})
				if err != nil {
					return 0, err
				}
				if end > 0 && (c == nil || behind(c, lane, end)) {
					lanes++
				}
			}
			if c != nil && c.More {
				lanes++
			}
		}
	}
	return lanes, nil
}

// behind tells that a commit does not reach a position of a lane.
func behind(c *schemas.Commit, lane schemas.Lane, end uint64) bool {
	for _, s := range c.Slices {
		if s.Lane == lane {
			return s.NextIndex > 0 || uint64(s.NextMessage) < end
		}
	}
	return true
}

// commits is the number of all commits.
func (w *watch) commits() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, number := range w.numbers {
		n += number
	}
	return n
}
