package main

import (
	"context"
	"maps"
	"slices"
	"sort"

	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
)

// feed brings the events of a group of sources to the log in the order in
// which they happened, as they would have come live: so most facts are whole
// when their first row is said. Several small groups share frames and their
// end. It holds a bounded number of bytes; a larger group is put in order piece
// by piece, which costs versions, never truth.
type feed struct {
	ctx     context.Context
	shipper *shipper.Shipper
	arena   []byte
	waiting []waiting
	sorted  int                 // of waiting: groups that are in order
	ending  map[string]bool     // sessions to end when what waits was shipped
	all     map[string]bool     // sessions of the whole import
	facts   map[schemas.Id]bool // its facts without a session
	count   struct{ events, deadLetters int64 }
}

type waiting struct {
	at         int64
	start, end int
	partition  int
}

// A feed ships when it holds this much: at the end of a group, or within one.
const (
	batchBytes = 256 << 10
	groupBytes = 32 << 20
)

func newFeed(ctx context.Context, s *shipper.Shipper) *feed {
	return &feed{ctx: ctx, shipper: s, ending: map[string]bool{}, all: map[string]bool{}, facts: map[schemas.Id]bool{}}
}

// Event implements producers.Sink.
func (f *feed) Event(e *schemas.Event) error {
	start := len(f.arena)
	f.arena = e.AppendAvro(f.arena)
	f.waiting = append(f.waiting, waiting{toldAt(e), start, len(f.arena), f.shipper.Partition(producers.PartitionKey(e))})
	f.count.events++
	if e.SessionId == "" {
		f.facts[e.FactKey] = true
	} else if !f.ending[e.SessionId] {
		f.ending[e.SessionId] = true
		f.all[e.SessionId] = true
	}
	if len(f.arena) >= groupBytes {
		return f.ship()
	}
	return nil
}

// DeadLetter implements producers.Sink.
func (f *feed) DeadLetter(d *schemas.DeadLetter) error {
	f.count.deadLetters++
	return f.shipper.DeadLetter(f.ctx, d)
}

// ship sends what waits.
func (f *feed) ship() error {
	f.order()
	for _, w := range f.waiting {
		if err := f.shipper.Event(f.ctx, w.partition, f.arena[w.start:w.end]); err != nil {
			return err
		}
	}
	if err := f.shipper.Flush(f.ctx); err != nil {
		return err
	}
	f.arena, f.waiting, f.sorted = f.arena[:0], f.waiting[:0], 0
	return nil
}

// order puts the group that was read last in order of time.
func (f *feed) order() {
	group := f.waiting[f.sorted:]
	sort.SliceStable(group, func(i, j int) bool { return group[i].at < group[j].at })
	f.sorted = len(f.waiting)
}

// endGroup tells that the sources of a group have been read to their end.
func (f *feed) endGroup() error {
	f.order()
	if len(f.arena) < batchBytes {
		return nil
	}
	return f.end()
}

// end ships everything and ends the sessions of the groups that were read.
func (f *feed) end() error {
	if err := f.ship(); err != nil {
		return err
	}
	failpoint.Hit("import.shipped")
	if err := f.shipper.SourceEnd(f.ctx, slices.Sorted(maps.Keys(f.ending))); err != nil {
		return err
	}
	clear(f.ending)
	return nil
}
