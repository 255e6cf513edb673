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
	// been sent, in order, and First is the first position of the first of them.
	First uint64   `json:"first,omitempty"`
	Ends  []uint64 `json:"ends,omitempty"`
	// Store is a checksum of the name of the store that was loaded.
	Store uint32 `json:"store,omitempty"`
	// Gap is the position of a message before which another is missing.
	Gap uint64 `json:"gap,omitempty"`
}

// begin finds the place to go on from.
func (l *lane) begin(ctx context.Context) error {
	noted := false
	err := patiently(ctx, func() (err error) {
		if l.name, err = l.Broker.Installation(ctx); err != nil {
			return err
		}
		l.kept, err = l.claim.Cursor(ctx, l.log.Lane)
		return err
	})
	if err != nil {
		return err
	}
	var n note
	if len(l.kept.Note) > 0 {
		if err := json.Unmarshal(l.kept.Note, &n); err != nil {
			return fmt.Errorf("the cursor's note: %w", err)
		}
		noted = true
	}
	if n.Store != 0 && l.Store != "" && n.Store != Checksum([]byte(l.Store)) && !l.SameStore {
		return fmt.Errorf("%w: the group %s has loaded into another store than %s: a --group of another name loads everything into this one, --same-store says that it is the one it was",
			ErrImpossible, l.Group, l.Store)
	}
	l.done, l.first, l.planned, l.gap = note{Last: n.Last, Check: n.Check}, n.First, n.Ends, n.Gap
	idle := l.kept.Position // the place of an idle log may be behind its last message
	if l.place = idle; noted {
		// It is good for nothing where the log has lost its end since: what came
		// then may stand before it.
		l.place = min(idle, l.done.Last)
	}
	if l.gap != 0 {
		if err := l.lost(ctx, l.gap, fmt.Errorf("a message is missing before position %d: %w", l.gap, broker.ErrLost)); err != nil {
			return err
		}
	}
	if err := patiently(ctx, func() error { return l.whole(ctx) }); err != nil {
		return err
	}
	var lost error
	if err := patiently(ctx, func() error {
		lost = l.held(ctx, l.place)
		if errors.Is(lost, broker.ErrLost) && l.place < idle {
			if lost = l.held(ctx, idle); lost == nil {
				l.place = idle // what was before has aged out
			}
		}
		if errors.Is(lost, broker.ErrLost) {
			return nil
		}
		return lost
	}); err != nil {
		return err
	}
	if lost != nil {
		if err := l.lost(ctx, l.place, lost); err != nil {
			return err
		}
		l.place, l.done, l.planned = 0, note{}, nil
	}
	if len(l.planned) > 0 {
		l.expected = l.first
	}
	l.chain.Middle = l.chain.Middle || l.place > 0 || idle > 0
	slog.Debug("loading", "sink", l.Group, "topic", l.log.Topic, "partition", l.log.Partition, "lane", l.log.Lane, "after", l.place, "again", l.planned)
	return nil
}

// whole makes sure that the log still holds what was read of it, as far as that
// can be told. Where it has lost its end, everything that it holds is loaded
// again, and the store is asked for each row.
func (l *lane) whole(ctx context.Context) error {
	end, err := l.Broker.End(ctx, l.log)
	if err != nil {
		return err
	}
	if n := len(l.planned); n > 0 && end < l.planned[n-1] {
		l.suspect, l.planned = l.planned[n-1], nil // what was read and not done has gone, or was said again
	}
	if l.done.Last == 0 || end == 0 { // an end of 0: all of it has aged out, or is gone
		return nil
	}
	whole := end >= l.done.Last
	if whole {
		r, err := l.Broker.Read(ctx, l.log, l.done.Last-1)
		if errors.Is(err, broker.ErrLost) { // it has aged out
			return nil
		}
		if err != nil {
			return err
		}
		defer r.Close()
		m, err := r.Next(ctx)
		if errors.Is(err, broker.ErrLost) {
			return nil
		}
		if err != nil {
			return err
		}
		whole = m.Position != l.done.Last || Checksum(m.Payload) == l.done.Check
	}
	if !whole {
		slog.Error("the topic has lost its end: everything that it holds is loaded again, but for rows that the store shows",
			"sink", l.Group, "topic", l.log.Topic, "partition", l.log.Partition, "position", l.done.Last, "end", end)
		l.suspect, l.place, l.done, l.planned = end, 0, note{}, nil
	}
	return nil
}

// held tells whether the log holds everything behind a position; ErrLost if not.
func (l *lane) held(ctx context.Context, after uint64) error {
	if after == 0 {
		return nil
	}
	r, err := l.Broker.Read(ctx, l.log, after)
	if err != nil {
		return err
	}
	return r.Close()
}

// lost is what follows where rows are gone that were never loaded: why, or where
// that is allowed a dead letter that names the gap.
func (l *lane) lost(ctx context.Context, at uint64, why error) error {
	if !l.SkipLost {
		return why
	}
	slog.Error("rows are gone that were not loaded; going on with what is held", "sink", l.Group,
		"topic", l.log.Topic, "partition", l.log.Partition, "position", at, "error", why)
	l.gap, l.chain.Middle = 0, true
	return l.buryLog(ctx, "position_lost", why.Error(), at, time.Now().UnixMicro(), nil)
}

// buryLog makes a dead letter about the log at a position, rather than a row.
func (l *lane) buryLog(ctx context.Context, reason, detail string, at uint64, found int64, payload []byte) error {
	d := &schemas.DeadLetter{Generation: l.Broker.Generation(), Reason: reason, Detail: detail,
		Source: l.log.String(), Position: fmt.Sprint(at), OccurredAt: found}
	fill(d, payload)
	l.Metrics.dead(l.log.Topic, 1, reason)
	return appendLetters(ctx, l.worker, l.log.Partition, [][]byte{d.AppendAvro(nil)})
}

// keep sets the cursor, if it has changed.
func (l *lane) keep(ctx context.Context) error {
	n := l.done
	n.Gap = l.gap
	if l.Store != "" {
		n.Store = Checksum([]byte(l.Store))
	}
	for _, s := range l.cut {
		n.Ends = append(n.Ends, s.last)
	}
	n.Ends = append(n.Ends, l.planned...)
	if len(l.cut) > 0 {
		n.First = l.cut[0].first
	} else if len(l.planned) > 0 {
		n.First = l.first
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	next := broker.Cursor{Position: l.place, Note: text}
	if next.Position == l.kept.Position && bytes.Equal(next.Note, l.kept.Note) || next.Position == 0 && len(n.Ends) == 0 && n.Gap == 0 {
		return nil
	}
	if err := patiently(ctx, func() error { return l.claim.SetCursor(ctx, l.log.Lane, next) }); err != nil {
		return err
	}
	l.kept = next
	return nil
}
