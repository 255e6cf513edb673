package engine

import (
	"context"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Harness runs a processor over one partition without a broker: synchronous,
// with a clock that the test turns. It goes through the same slices and
// commits as a worker does. Not safe for concurrent use.
type Harness struct {
	// Commits that were made, oldest first; nil them to save memory.
	Commits []*schemas.Commit
	// Now is the append time of what is appended next, µs.
	Now int64

	p        *partition
	position uint64
}

// NewHarness makes a harness whose clock stands at now, µs.
func NewHarness(processor Processor, now int64) *Harness {
	cfg := Config{Broker: nowhere{}, Processor: processor, Owner: "harness"}
	if err := cfg.setDefaults(); err != nil {
		panic(err)
	}
	h := &Harness{Now: now}
	cfg.Committed = func(c *schemas.Commit) { h.Commits = append(h.Commits, c) }
	h.p = &partition{cfg: cfg, owner: alone{}, state: newState(), log: cfg.Logger}
	if err := h.p.head.decode(nil); err != nil {
		panic(err)
	}
	return h
}

// Append puts a message into the input and folds as far as it goes.
func (h *Harness) Append(payload []byte) error {
	h.position++
	h.p.push(broker.Message{Position: h.position, AppendedAt: h.Now, Payload: payload})
	for len(h.p.queue) > 0 || h.p.due() {
		if err := h.p.step(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

// Event appends one event of an organisation.
func (h *Harness) Event(org string, e *schemas.Event) error {
	f := schemas.Frame{Segments: []schemas.Segment{{Org: org, ProducerId: "harness", Schema: schemas.EventSchema, Events: [][]byte{e.AppendAvro(nil)}}}}
	return h.Append(f.AppendMessage(nil))
}

// SourceEnd appends the end of a session's sources.
func (h *Harness) SourceEnd(org, sessionID string) error {
	c := schemas.Control{Type: schemas.ControlTypeSourceEnd, Org: org, Sessions: []schemas.Id{schemas.SessionKey(org, sessionID)}}
	return h.Append(c.AppendMessage(nil))
}

// Advance moves the clock and appends a tick.
func (h *Harness) Advance(d time.Duration) error {
	h.Now += d.Microseconds()
	c := schemas.Control{Type: schemas.ControlTypeTick}
	return h.Append(c.AppendMessage(nil))
}

// Rows are all rows that were said for a topic, in order, encoded.
func (h *Harness) Rows(topic string) (rows [][]byte) {
	for _, c := range h.Commits {
		for _, o := range c.Outputs {
			if o.Topic == topic {
				rows = append(rows, o.Rows...)
			}
		}
	}
	return rows
}

// Records is the number of state records and their size in bytes.
func (h *Harness) Records() (n int, bytes int64) {
	for key, r := range h.p.state.records {
		bytes += int64(len(key) + len(r.value))
	}
	return len(h.p.state.records), bytes
}

// alone is an owner without competitors or a log.
type alone struct{}

func (alone) Epoch() int64 { return 1 }
func (alone) Restore(context.Context, func(*schemas.Commit) error) error {
	return nil
}
func (alone) Commit(context.Context, *schemas.Commit) error { return nil }
func (alone) Flush(context.Context) error                   { return nil }
func (alone) Release(context.Context) error                 { return nil }

// nowhere is the broker of a harness; nothing calls it.
type nowhere struct{ broker.Broker }
