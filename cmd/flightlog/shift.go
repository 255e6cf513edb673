package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// A shifted import brings recorded sessions as if they had just happened: all
// events are moved by one offset, so that the newest lies at now. Two passes are
// made: an import streams and does not know its newest event before the last
// line of the last file. An offset for each group of sources would need only
// that group in memory, but would tear sessions apart that go on from each other
// or ran at the same time.
//
// Only times change. The ids stay, and with them the fact_keys: a second import
// would tell other times of the same facts, and each fact would take the one or
// the other (processors/sessions/authority.go). So it is refused. Whoever wants
// the same sessions again as new facts has loadtest replay, which gives every
// copy ids of its own.

// shiftFlag adds --shift-to-now.
func shiftFlag(c *cobra.Command, shift *bool) {
	c.Flags().BoolVar(shift, "shift-to-now", false, "move all times by one offset, so that the newest event has just happened")
}

// shiftHelp is what the flag means, for demo and import.
const shiftHelp = `
With --shift-to-now the sessions come as if they had just happened: every time is
moved by one offset, so that the newest event lies at now, and order, durations
and gaps stay as they are. Requests are priced as of the shifted time.`

// shift moves events in time on their way to the next sink.
type shift struct {
	next  producers.Sink
	by    int64 // µs
	now   int64 // µs since 1970; nothing is moved beyond
	event schemas.Event
}

// shiftToNow looks through the sources and makes the shift that brings their
// newest event to now.
func (in *installation) shiftToNow(ctx context.Context, sources []source, now time.Time, next producers.Sink) (*shift, error) {
	n := newest{sessions: map[string]bool{}}
	bar := progress(sources, "looking for the newest event")
	for _, s := range sources {
		var fault *fs.PathError // the import tells of it
		if err := s.read(ctx, &n); err != nil && !errors.As(err, &fault) {
			return nil, err
		}
		bar.add(s.size)
	}
	bar.done()
	if err := in.hasNone(ctx, n.sessions); err != nil {
		return nil, err
	}
	return &shift{next: next, by: now.UnixMicro() - n.at, now: now.UnixMicro()}, nil
}

// Event implements producers.Sink. A file may have grown since the newest event
// was looked for; what came since has happened now.
func (s *shift) Event(e *schemas.Event) error {
	s.event = *e // a reader may go on with its own
	s.event.OccurredAt = min(e.OccurredAt+s.by, s.now-(toldAt(e)-e.OccurredAt))
	schemas.SetEventID(&s.event)
	return s.next.Event(&s.event)
}

// DeadLetter implements producers.Sink. Its time is that of the import.
func (s *shift) DeadLetter(d *schemas.DeadLetter) error { return s.next.DeadLetter(d) }

// newest is a sink that remembers the time of the newest event, and the
// sessions.
type newest struct {
	at       int64 // µs since 1970
	sessions map[string]bool
}

// Event implements producers.Sink.
func (n *newest) Event(e *schemas.Event) error {
	n.at = max(n.at, toldAt(e))
	if e.SessionId != "" && !n.sessions[e.SessionId] {
		n.sessions[e.SessionId] = true
	}
	return nil
}

// DeadLetter implements producers.Sink.
func (n *newest) DeadLetter(*schemas.DeadLetter) error { return nil }

// hasNone is an error if there are rows of one of the sessions.
func (in *installation) hasNone(ctx context.Context, sessions map[string]bool) error {
	var frame schemas.EnrichedFrame
	return rows(ctx, in.broker, broker.Enriched, func(payload []byte) error {
		if err := frame.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range frame.Rows {
			if id := frame.Rows[i].SessionId; sessions[id] {
				return fmt.Errorf("cannot shift to now: session %s was imported before, and its facts would get a second set of times; take a fresh installation (another --data), or 'flightlog loadtest replay' for copies with ids of their own", id)
			}
		}
		return nil
	})
}

// toldAt is when an event was told of, µs since 1970: a span is told of when it
// ends.
func toldAt(e *schemas.Event) int64 {
	if e.Signal == schemas.SignalSpan {
		return e.OccurredAt + e.DurationMs.Value*1000
	}
	return e.OccurredAt
}
