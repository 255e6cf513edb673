package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// keepEvery is how often a cursor that has moved is set at least.
const keepEvery = time.Second

// note is what a cursor remembers beside the place.
type note struct {
	// Last is the position of the last message that is done, and Check its
	// checksum: a log that ends before it, or holds another message there, has
	// lost its end.
	Last  uint64 `json:"last,omitempty"`
	Check uint32 `json:"check,omitempty"`
	// Ends are the last positions of the slices behind the cursor that may have
	// been sent, in order.
	Ends []uint64 `json:"ends,omitempty"`
}

// begin finds the place to go on from.
func (l *lane) begin(ctx context.Context) error {
	err := patiently(ctx, func() (err error) {
		if l.name, err = l.Broker.Installation(ctx); err != nil {
			return err
		}
		at, err := l.claim.Cursor(ctx, l.log.Lane)
		l.place, l.kept = at.Position, at
		return err
	})
	if err != nil {
		return err
	}
	if len(l.kept.Note) > 0 {
		var n note
		if err := json.Unmarshal(l.kept.Note, &n); err != nil {
			return fmt.Errorf("the cursor's note: %w", err)
		}
		l.planned, n.Ends = n.Ends, nil
		l.done = n
	}
	var end uint64
	if err := patiently(ctx, func() error {
		whole, last, err := l.whole(ctx)
		if err == nil && !whole {
			slog.Error("the topic has lost its end: everything that it holds is loaded again; a row that is stored twice counts once by its row_id",
				"sink", l.Group, "topic", l.log.Topic, "partition", l.log.Partition, "position", l.done.Last, "end", last)
			l.place, l.done, l.planned = 0, note{}, nil
		}
		end = last
		return err
	}); err != nil {
		return err
	}
	if n := len(l.planned); n > 0 && end < l.planned[n-1] {
		l.planned = nil
	}
	if err := l.held(ctx); err != nil {
		return err
	}
	l.chain.Middle = l.place > 0
	slog.Debug("loading", "sink", l.Group, "topic", l.log.Topic, "partition", l.log.Partition, "lane", l.log.Lane, "after", l.place, "again", l.planned)
	return nil
}

// whole tells whether the log still holds what was read of it, as far as that
// can be told, and where it ends.
func (l *lane) whole(ctx context.Context) (bool, uint64, error) {
	end, err := l.Broker.End(ctx, l.log)
	if err != nil || l.done.Last == 0 || end == 0 { // an end of 0: all of it has aged out, or is gone
		return true, end, err
	}
	if end < l.done.Last {
		return false, end, nil
	}
	r, err := l.Broker.Read(ctx, l.log, l.done.Last-1)
	if errors.Is(err, broker.ErrLost) {
		return true, end, nil // it has aged out
	}
	if err != nil {
		return false, end, err
	}
	defer r.Close()
	m, err := r.Next(ctx)
	if errors.Is(err, broker.ErrLost) {
		return true, end, nil
	}
	return m.Position != l.done.Last || Checksum(m.Payload) == l.done.Check, end, err
}

// held makes sure that the log still holds what stands behind the place. Where
// it does not, and that is allowed, a dead letter names the gap.
func (l *lane) held(ctx context.Context) error {
	if l.place == 0 {
		return nil
	}
	var lost error
	err := patiently(ctx, func() error {
		r, err := l.Broker.Read(ctx, l.log, l.place)
		if errors.Is(err, broker.ErrLost) {
			lost = err
			return nil
		}
		if err != nil {
			return err
		}
		return r.Close()
	})
	if err != nil || lost == nil {
		return err
	}
	if !l.SkipLost {
		return lost
	}
	d := &schemas.DeadLetter{Generation: l.Broker.Generation(), Reason: "position_lost",
		Detail: fmt.Sprintf("rows behind position %d had aged out before the sink %s loaded them", l.place, l.Group),
		Source: source(l.log.Topic, l.log.Partition, l.log.Lane), Position: fmt.Sprint(l.place), OccurredAt: time.Now().UnixMicro()}
	fill(d, nil)
	slog.Error("rows have aged out before they were loaded; going on with what is held", "sink", l.Group,
		"topic", l.log.Topic, "partition", l.log.Partition, "position", l.place)
	l.place, l.done, l.planned = 0, note{}, nil
	return appendLetters(ctx, l.worker, l.log.Partition, [][]byte{d.AppendAvro(nil)})
}

// keep sets the cursor, if it has changed.
func (l *lane) keep(ctx context.Context) error {
	n := l.done
	for _, s := range l.cut {
		n.Ends = append(n.Ends, s.last)
	}
	n.Ends = append(n.Ends, l.planned...)
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	next := broker.Cursor{Position: l.place, Note: text}
	if next.Position == l.kept.Position && bytes.Equal(next.Note, l.kept.Note) || next.Position == 0 && len(n.Ends) == 0 {
		return nil
	}
	if err := patiently(ctx, func() error { return l.claim.SetCursor(ctx, l.log.Lane, next) }); err != nil {
		return err
	}
	l.kept = next
	return nil
}
