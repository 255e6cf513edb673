package main

import (
	"context"
	"sort"

	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
)

// feed brings the events of one group of sources to the log in the order in
// which they happened, as they would have come live: so most facts are whole
// when their first row is said. It holds a bounded number of bytes; a larger
// group is put in order piece by piece, which costs versions, never truth.
type feed struct {
	ctx     context.Context
	shipper *shipper.Shipper
	arena   []byte
	waiting []waiting
	// sessions of the group, to be ended with it, and of the whole import.
	group map[string]bool
	all   map[string]bool
	count struct{ events, deadLetters int64 }
}

type waiting struct {
	at         int64
	start, end int
	partition  int
}

// feedBytes is how much a feed holds before it ships.
const feedBytes = 32 << 20

func newFeed(ctx context.Context, s *shipper.Shipper) *feed {
	return &feed{ctx: ctx, shipper: s, group: map[string]bool{}, all: map[string]bool{}}
}

// Event implements producers.Sink.
func (f *feed) Event(e *schemas.Event) error {
	at := e.OccurredAt
	if e.Signal == schemas.SignalSpan {
		at += e.DurationMs.Value * 1000 // a span is told of when it ends
	}
	start := len(f.arena)
	f.arena = e.AppendAvro(f.arena)
	f.waiting = append(f.waiting, waiting{at, start, len(f.arena), f.shipper.Partition(producers.PartitionKey(e))})
	f.count.events++
	if e.SessionId != "" && !f.group[e.SessionId] {
		f.group[e.SessionId] = true
		f.all[e.SessionId] = true
	}
	if len(f.arena) >= feedBytes {
		return f.ship()
	}
	return nil
}

// DeadLetter implements producers.Sink.
func (f *feed) DeadLetter(d *schemas.DeadLetter) error {
	f.count.deadLetters++
	return f.shipper.DeadLetter(f.ctx, d)
}

// ship sends what waits, in order of time.
func (f *feed) ship() error {
	sort.SliceStable(f.waiting, func(i, j int) bool { return f.waiting[i].at < f.waiting[j].at })
	for _, w := range f.waiting {
		if err := f.shipper.Event(f.ctx, w.partition, f.arena[w.start:w.end]); err != nil {
			return err
		}
	}
	if err := f.shipper.Flush(f.ctx); err != nil {
		return err
	}
	f.arena, f.waiting = f.arena[:0], f.waiting[:0]
	return nil
}

// endGroup ships the rest of a group and ends its sessions.
func (f *feed) endGroup() error {
	if err := f.ship(); err != nil {
		return err
	}
	failpoint.Hit("import.shipped")
	ended := make([]string, 0, len(f.group))
	for id := range f.group {
		ended = append(ended, id)
	}
	sort.Strings(ended)
	for _, id := range ended {
		if err := f.shipper.SourceEnd(f.ctx, id); err != nil {
			return err
		}
	}
	clear(f.group)
	return nil
}
