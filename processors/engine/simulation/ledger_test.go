package simulation_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// ledger is a processor that writes down which events it has applied, by
// session, and says one row for each. What a session's name begins with says
// what becomes of its events.
type ledger struct {
	padding int // bytes of ballast in each state record
}

// Beginnings of the names of sessions.
const (
	plain    = "plain"    // applied once, a row on enriched
	timed    = "timed"    // and another row, once for the session, a second later
	critical = "critical" // applied once, a row on the critical lane of findings
	invalid  = "invalid"  // refused: dead
	panics   = "panics"   // panics the fold: dead
	foreign  = "foreign"  // passed
)

var sessionKinds = []string{plain, plain, timed, critical, invalid, panics, foreign}

// rest is how long after its first event a timed session says its row, µs.
const rest = 1e6

func (ledger) Name() string   { return "ledger" }
func (ledger) Version() int64 { return 1 }
func (l ledger) Begin(tx *engine.Tx) engine.Fold {
	return &folding{tx: tx, padding: l.padding, open: map[string]*entries{}}
}

// entries is the state record of a session.
type entries struct {
	said   bool // the row of a timed session
	due    int64
	events []uint64
}

func (e *entries) encode(padding int) []byte {
	b := []byte{0}
	if e.said {
		b[0] = 1
	}
	b = binary.AppendUvarint(b, uint64(len(e.events)))
	for _, n := range e.events {
		b = binary.AppendUvarint(b, n)
	}
	return append(b, make([]byte, padding)...)
}

func decodeEntries(b []byte, due int64) *entries {
	e := &entries{said: b[0] == 1, due: due}
	b = b[1:]
	count, n := binary.Uvarint(b)
	for range count {
		b = b[n:]
		var event uint64
		event, n = binary.Uvarint(b)
		e.events = append(e.events, event)
	}
	return e
}

type folding struct {
	tx      *engine.Tx
	padding int
	open    map[string]*entries
	order   []string
}

func (f *folding) entries(key string) *entries {
	e := f.open[key]
	if e == nil {
		e = &entries{}
		if value, due, ok := f.tx.Get(key); ok {
			e = decodeEntries(value, due)
		}
		f.open[key] = e
		f.order = append(f.order, key)
		f.tx.Touch()
	}
	return e
}

func (f *folding) Event(_ string, ev *schemas.Event) (engine.Outcome, error) {
	session := strings.Clone(ev.SessionId)
	number, err := strconv.ParseUint(ev.RequestId, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", engine.ErrInvalid, err)
	}
	kind, _, _ := strings.Cut(session, "-")
	switch kind {
	case invalid:
		return 0, fmt.Errorf("%w: on purpose", engine.ErrInvalid)
	case foreign:
		return engine.Passed, nil
	}
	e := f.entries("s" + session)
	if slices.Contains(e.events, number) {
		return engine.Duplicate, nil
	}
	e.events = append(e.events, number)
	switch kind {
	case panics:
		panic("on purpose")
	case critical:
		row := schemas.Finding{Subject: session, SessionId: session, Version: int64(number), RulesVersion: f.tx.Versions().Rules}
		f.tx.EmitCritical(broker.Findings, row.AppendAvro(nil))
		return engine.Applied, nil
	case timed:
		if len(e.events) == 1 {
			e.due = f.tx.Now() + rest
		}
	}
	f.say(session, strconv.FormatUint(number, 10))
	return engine.Applied, nil
}

func (f *folding) say(session, what string) {
	row := schemas.Enriched{SessionId: session, RequestId: what, OccurredAt: f.tx.Now(), TaskId: f.prices()}
	f.tx.Emit(broker.Enriched, row.AppendAvro(nil))
}

// prices is the text that is in force.
func (f *folding) prices() string {
	v := f.tx.Versions().Prices
	return strconv.FormatInt(v, 10) + ":" + string(f.tx.Config("prices", v))
}

func (*folding) SourceEnd(schemas.Id) {}

func (*folding) Restate(engine.Restatement) {}

func (f *folding) Due(key string) error {
	e := f.entries(key)
	e.due, e.said = 0, true
	f.say(key[1:], "rest")
	return nil
}

func (f *folding) End() {
	for _, key := range f.order {
		e := f.open[key]
		if len(e.events) > 0 {
			f.tx.Put(key, e.encode(f.padding), e.due)
		}
	}
}

// observed is an event of the ledger.
type observed struct {
	session string
	number  uint64
}

func (o observed) kind() string {
	kind, _, _ := strings.Cut(o.session, "-")
	return kind
}

// frameOf is the frame of some events.
func frameOf(events []observed) []byte {
	s := schemas.Segment{Org: "acme", ProducerId: "p", Schema: schemas.EventSchema}
	for _, o := range events {
		e := schemas.Event{SessionId: o.session, RequestId: strconv.FormatUint(o.number, 10)}
		s.Events = append(s.Events, e.AppendAvro(nil))
	}
	f := schemas.Frame{Segments: []schemas.Segment{s}}
	return f.AppendMessage(nil)
}

func TestTheLedgerSaysWhatItIsTold(t *testing.T) {
	h := engine.NewHarness(ledger{}, 1e6)
	for _, frame := range [][]observed{{{plain + "-1", 1}, {plain + "-1", 2}}, {{plain + "-1", 2}, {invalid + "-1", 3}, {timed + "-1", 4}}, {{panics + "-1", 5}}} {
		if err := h.Append(frameOf(frame)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Advance(rest * 1000); err != nil {
		t.Fatal(err)
	}
	if n, dead := len(h.Rows(broker.Enriched)), len(h.Rows(broker.DeadLetters)); n != 4 || dead != 2 {
		t.Errorf("%d rows and %d dead letters, want 4 and 2", n, dead)
	}
	if e := decodeEntries(h.Record("s"+plain+"-1"), 0); !slices.Equal(e.events, []uint64{1, 2}) {
		t.Errorf("entries %v, want 1 and 2", e.events)
	}
}
