package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Harness runs a processor over one partition without a broker: synchronous,
// with a clock that the test turns and a state that can be looked at (as Kafka
// Streams' TopologyTestDriver). It goes through the same slices and commits as
// a worker does; what is archived can be reloaded. Not safe for concurrent use.
type Harness struct {
	// Commits that were made, oldest first; nil them to save memory.
	Commits []*schemas.Commit
	// Now is the append time of what is appended next, µs.
	Now int64
	// Hold keeps what is appended waiting until Step.
	Hold bool

	p        *partition
	position uint64
	closed   log               // the topic closed
	applied  []schemas.Control // versions that there are
}

// NewHarness makes a harness whose clock stands at now, µs.
func NewHarness(processor Processor, now int64) *Harness {
	h := &Harness{Now: now}
	cfg := Config{Broker: nowhere{h}, Processor: processor, Owner: "harness", Watchdog: time.Hour}
	if err := cfg.setDefaults(); err != nil {
		panic(err)
	}
	cfg.Committed, cfg.partitions = h.committed, 1
	h.p = newPartition(cfg, 0)
	h.p.owner = alone{}
	return h
}

func (h *Harness) committed(c *schemas.Commit) {
	h.Commits = append(h.Commits, c)
	for i := range c.Outputs {
		if o := &c.Outputs[i]; o.Topic == broker.Closed {
			h.closed = append(h.closed, broker.Message{Position: uint64(len(h.closed) + 1), AppendedAt: c.Now,
				Payload: broker.AppendRows(nil, o.Topic, &schemas.RowHeader{Processor: h.p.cfg.Processor.Name(), FirstCommit: c.CommitNumber, LastCommit: c.CommitNumber}, o.Rows)})
		}
	}
}

// Append puts a message into the normal lane of the input and folds as far as
// it goes.
func (h *Harness) Append(payload []byte) error { return h.AppendTo(schemas.LaneNormal, payload) }

// AppendTo is Append to a lane.
func (h *Harness) AppendTo(to schemas.Lane, payload []byte) error {
	h.position++
	for _, l := range h.p.lanes {
		if l.log.Lane != to {
			continue
		}
		m := broker.Message{Position: h.position, AppendedAt: h.Now, Payload: payload}
		if err := h.p.push(context.Background(), l, m, true); err != nil {
			return err
		}
	}
	for !h.Hold {
		if more, err := h.Step(); err != nil || !more {
			return err
		}
	}
	return nil
}

// Step makes one commit, if there is anything to do.
func (h *Harness) Step() (more bool, err error) {
	if h.p.lanes[0].waiting+h.p.lanes[1].waiting > 0 || h.p.due() {
		return true, h.p.step(context.Background())
	}
	return false, nil
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

// Config appends a pointer to a version of rules, prices or directory with
// that text, in force from effectiveAt on, µs.
func (h *Harness) Config(kind string, version int64, text []byte, effectiveAt int64) error {
	control := h.ConfigMissed(kind, version, text, effectiveAt)
	return h.AppendTo(schemas.LaneCritical, control.AppendMessage(nil))
}

// ConfigMissed is Config whose pointer does not reach the partition: it learns of
// the version when it is restarted.
func (h *Harness) ConfigMissed(kind string, version int64, text []byte, effectiveAt int64) *schemas.Control {
	h.p.configs.learn(pointer{kind: kind, version: version}, text)
	h.applied = append(h.applied, schemas.Control{Type: schemas.ControlTypeConfig, ConfigKind: kind, ConfigVersion: version,
		ConfigHash: schemas.TextHash(text), EffectiveAt: effectiveAt})
	return &h.applied[len(h.applied)-1]
}

// Restart drops the owner as a crash does; another one restores the state and
// claims the partition. What was appended and not folded is still there.
func (h *Harness) Restart() error {
	old := h.p
	p := newPartition(old.cfg, 0)
	p.owner, p.configs = alone{}, old.configs
	p.state.apply(slices.Collect(old.state.all()))
	p.now, p.last = old.now, old.last
	if err := p.head.decode(p.state.records[headKey].value); err != nil {
		return err
	}
	for i := range h.applied {
		p.head.config(&h.applied[i], p.now)
	}
	for i, l := range p.lanes {
		was := old.lanes[i]
		l.next, l.queue, l.waiting, l.bytes, l.pending = was.next, slices.Clone(was.queue), was.waiting, was.bytes, was.waiting > 0
	}
	h.p = p
	return p.claim(context.Background())
}

// Put changes a state record to what an earlier release may have left; an empty
// value deletes it.
func (h *Harness) Put(key string, value []byte, due int64) {
	h.p.state.apply([]schemas.Change{{Key: []byte(key), Value: value, Due: due}})
}

// Restate appends the request for a restatement.
func (h *Harness) Restate(r Restatement) error {
	c := schemas.Control{Type: schemas.ControlTypeRestate, ConfigKind: r.Kind, ConfigVersion: r.Version, Since: r.Since, Reason: r.Reason, EffectiveAt: r.Asked}
	return h.AppendTo(schemas.LaneCritical, c.AppendMessage(nil))
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
	return len(h.p.state.records), h.p.state.bytes
}

// Record is a state record by its key, nil if there is none.
func (h *Harness) Record(key string) []byte { return h.p.state.records[key].value }

// Keys are the keys of all state records, in order.
func (h *Harness) Keys() []string { return slices.Sorted(maps.Keys(h.p.state.records)) }

// ExpireClosed drops everything that was archived so far, as age does.
func (h *Harness) ExpireClosed() { h.closed = nil }

// alone is an owner without competitors or a log.
type alone struct{}

func (alone) Epoch() int64 { return 1 }
func (alone) Restore(context.Context, func(*schemas.Commit) error) error {
	return nil
}
func (alone) Commit(context.Context, *schemas.Commit) error { return nil }
func (alone) SnapshotDue() bool                             { return false }
func (alone) Snapshot(context.Context, []schemas.Change, bool) error {
	return nil
}
func (alone) Flush(context.Context) error   { return nil }
func (alone) Release(context.Context) error { return nil }

// nowhere is the broker of a harness: it holds the topic closed and nothing
// else.
type nowhere struct{ h *Harness }

var errNowhere = errors.New("a harness has no broker")

func (nowhere) Partitions(context.Context) (int, error)      { return 1, nil }
func (nowhere) Installation(context.Context) (string, error) { return "harness", nil }
func (nowhere) Generation() int64                            { return 1 }
func (nowhere) Append(context.Context, broker.Log, []byte) (uint64, error) {
	return 0, errNowhere
}
func (nowhere) Seek(context.Context, broker.Log, int64) (uint64, error) { return 0, nil }
func (nowhere) LastCommit(context.Context, string, int) (*schemas.Commit, error) {
	return nil, errNowhere
}
func (nowhere) History(context.Context, string, int, func(*schemas.Commit) error) error {
	return errNowhere
}
func (nowhere) Acquire(context.Context, string, int, string) (broker.Owner, error) {
	return nil, errNowhere
}
func (nowhere) Share(context.Context, string, string, func(context.Context, int) error) error {
	return errNowhere
}
func (nowhere) Consume(context.Context, broker.Group, string, func(context.Context, broker.Claim) error) error {
	return errNowhere
}
func (nowhere) Close() error { return nil }

func (n nowhere) End(_ context.Context, of broker.Log) (uint64, error) {
	if of.Topic != broker.Closed {
		return 0, nil
	}
	return uint64(len(n.h.closed)), nil
}

func (n nowhere) Read(context.Context, broker.Log, uint64) (broker.Reader, error) {
	r := n.h.closed
	return &r, nil
}

// log is messages, and their reader.
type log []broker.Message

func (l *log) Next(context.Context) (broker.Message, error) {
	if len(*l) == 0 {
		return broker.Message{}, errNowhere
	}
	m := (*l)[0]
	*l = (*l)[1:]
	return m, nil
}
func (l *log) Passed() uint64 { return 0 }
func (l *log) Close() error   { return nil }
