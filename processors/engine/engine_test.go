package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// counter is a processor that counts the events of each session and says a row
// for every event. It panics on, refuses or passes sessions by their name.
type counter struct{ version int64 }

func (counter) Name() string     { return "counter" }
func (c counter) Version() int64 { return max(1, c.version) }
func (counter) Begin(tx *engine.Tx) engine.Fold {
	return &counting{tx: tx, counts: map[string]byte{}}
}

type counting struct {
	tx     *engine.Tx
	counts map[string]byte
	order  []string
}

func (c *counting) Event(org string, e *schemas.Event) (engine.Outcome, error) {
	switch id := e.SessionId; {
	case strings.HasPrefix(id, "panic"):
		c.count("broken by a panic") // must be dropped with the overlay
		panic("on purpose")
	case strings.HasPrefix(id, "bad"):
		return 0, fmt.Errorf("%w: on purpose", engine.ErrInvalid)
	case id == "":
		return engine.Passed, nil
	}
	id := strings.Clone(e.SessionId)
	n := c.count(id)
	size := 0
	if strings.HasPrefix(id, "large") {
		size = 20 << 10
	}
	if strings.HasPrefix(id, "huge") {
		size = 1 << 20
	}
	row := schemas.Enriched{SessionId: id, Version: int64(n)}
	encoded := row.AppendAvro(nil)
	c.tx.Emit(broker.Enriched, append(encoded, make([]byte, size)...))
	return engine.Applied, nil
}

func (c *counting) count(id string) byte {
	n, ok := c.counts[id]
	if !ok {
		if value, _, found := c.tx.Get("n" + id); found {
			n = value[0]
		}
		c.order = append(c.order, id)
		c.tx.Touch()
	}
	n++
	c.counts[id] = n
	return n
}

func (c *counting) SourceEnd(schemas.Id)       {}
func (c *counting) Restate(engine.Restatement) {}
func (c *counting) Due(key string) error {
	if strings.Contains(key, "timerpanic") {
		panic("on purpose")
	}
	value, _, _ := c.tx.Get(key)
	c.tx.Put(key, value, 0)
	c.tx.Emit(broker.Enriched, (&schemas.Enriched{SessionId: "due " + key}).AppendAvro(nil))
	return nil
}
func (c *counting) End() {
	for _, id := range c.order {
		due := int64(0)
		if strings.HasPrefix(id, "timer") {
			due = c.tx.Now() + 1e6
		}
		c.tx.Put("n"+id, []byte{c.counts[id]}, due)
	}
}

func frame(sessions ...string) []byte {
	s := schemas.Segment{Org: "acme", ProducerId: "p", Schema: schemas.EventSchema}
	for _, id := range sessions {
		e := schemas.Event{SessionId: id}
		s.Events = append(s.Events, e.AppendAvro(nil))
	}
	f := schemas.Frame{Segments: []schemas.Segment{s}}
	return f.AppendMessage(nil)
}

func harness(t *testing.T, messages ...[]byte) *engine.Harness {
	t.Helper()
	h := engine.NewHarness(counter{}, 1_000_000)
	for _, m := range messages {
		if err := h.Append(m); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func counts(h *engine.Harness) (sum schemas.Counts) {
	for _, c := range h.Commits {
		sum.In += c.Counts.In
		sum.Applied += c.Counts.Applied
		sum.Duplicate += c.Counts.Duplicate
		sum.Dead += c.Counts.Dead
		sum.Passed += c.Counts.Passed
	}
	return sum
}

func reasons(t *testing.T, h *engine.Harness) (reasons []string) {
	t.Helper()
	for _, encoded := range h.Rows(broker.DeadLetters) {
		var d schemas.DeadLetter
		if _, err := d.DecodeAvro(encoded); err != nil {
			t.Fatal(err)
		}
		reasons = append(reasons, d.Reason+" at "+d.Position)
	}
	return reasons
}

func TestAnEventThatPanicsTheFoldIsADeadLetterAndItsNeighboursCount(t *testing.T) {
	h := harness(t, frame(), frame("a", "a", "panic", "a", "bad", ""), frame("a"))
	if got, want := counts(h), (schemas.Counts{In: 7, Applied: 4, Dead: 2, Passed: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if got := fmt.Sprint(reasons(t, h)); got != "[panic at 2/2 invalid at 2/4]" {
		t.Errorf("dead letters: %s", got)
	}
	last := h.Commits[len(h.Commits)-1]
	for _, c := range h.Commits {
		for _, change := range c.Delta {
			if strings.Contains(string(change.Key), "broken") {
				t.Errorf("commit %d holds what the panicking event did", c.CommitNumber)
			}
		}
	}
	if next := last.Slices[1]; next.NextMessage != 3 || next.NextIndex != 0 {
		t.Errorf("the last commit stands at %d/%d, want 3/0", next.NextMessage, next.NextIndex)
	}
}

func TestAMessageThatIsNoFrameIsOneDeadLetter(t *testing.T) {
	broken := frame("a")
	h := harness(t, []byte("not avro"), broken[:len(broken)-2], nil, frame("a"))
	if got, want := counts(h), (schemas.Counts{In: 4, Applied: 1, Dead: 3}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func TestAnEventThatDoesNotDecodeDoesNotHideItsNeighbours(t *testing.T) {
	good := (&schemas.Event{SessionId: "a"}).AppendAvro(nil)
	f := schemas.Frame{Segments: []schemas.Segment{{Schema: schemas.EventSchema, Events: [][]byte{good, good[:20], append(good[:len(good):len(good)], 0), good}}}}
	h := harness(t, f.AppendMessage(nil))
	if got, want := counts(h), (schemas.Counts{In: 4, Applied: 2, Dead: 2}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func TestNoCommitIsLargerThanTheBrokerTakes(t *testing.T) {
	var sessions []string
	for i := range 200 {
		sessions = append(sessions, fmt.Sprint("large", i))
	}
	h := harness(t, frame(sessions...))
	if counts(h).Applied != 200 {
		t.Errorf("counts %+v", counts(h))
	}
	for _, c := range h.Commits {
		if n := len(c.AppendAvro(nil)); n > engine.HardBytes+1<<10 {
			t.Errorf("commit %d has %d bytes", c.CommitNumber, n)
		}
	}
}

func TestATimerFiresByAppendTimeAndAPanickingOneIsTakenAway(t *testing.T) {
	h := harness(t, frame("timer", "timerpanic1", "timerpanic2"))
	if err := h.Advance(999 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if n := len(h.Rows(broker.Enriched)); n != 3 {
		t.Fatalf("%d rows before the time has come, want 3", n)
	}
	if err := h.Advance(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if rows := h.Rows(broker.Enriched); !strings.Contains(string(rows[len(rows)-1]), "due ntimer") {
		t.Errorf("the timer said %q", rows[len(rows)-1])
	}
	if got := reasons(t, h); len(got) != 2 || !strings.HasPrefix(got[0], "panic") {
		t.Errorf("dead letters: %v", got)
	}
}

func TestConfigPointersHoldFromTheirTimeOn(t *testing.T) {
	h := harness(t, frame("a"))
	for range 2 { // the same pointer twice is one
		if err := h.Config("prices", 7, []byte("text"), 1_000_000+5e6); err != nil {
			t.Fatal(err)
		}
	}
	prices := func() int64 { return h.Commits[len(h.Commits)-1].Versions.Prices }
	if prices() != 1 {
		t.Errorf("prices version %d before its time, want 1", prices())
	}
	if err := h.Advance(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if prices() != 7 {
		t.Errorf("prices version %d at its time, want 7", prices())
	}
}

func TestTheWatermarkWaitsForEveryWitnessThatSpeaks(t *testing.T) {
	h := engine.NewHarness(counter{}, 1_000_000_000)
	say := func(w schemas.Witness) {
		if err := h.Event("acme", &schemas.Event{SessionId: "a", Witness: w}); err != nil {
			t.Fatal(err)
		}
	}
	mark := func() int64 { return h.Commits[len(h.Commits)-1].Watermark - 1_000_000_000 }
	say(schemas.WitnessHook)
	if mark() != -10e6 {
		t.Errorf("hooks alone: %d", mark())
	}
	_ = h.Advance(50 * time.Second)
	say(schemas.WitnessOtlp)
	say(schemas.WitnessHook)
	if mark() != 20e6 {
		t.Errorf("hooks and OTLP: %d", mark())
	}
	_ = h.Advance(61 * time.Second)
	say(schemas.WitnessHook)
	if mark() != 101e6 {
		t.Errorf("OTLP silent for a minute leaves the minimum: %d", mark())
	}
}

// What one record leads to may be too large for any commit; what comes behind
// it is folded.
func TestARecordThatLeadsToTooMuchIsADeadLetterAndItsNeighboursCount(t *testing.T) {
	h := harness(t, frame("a", "huge", "a", "a"), frame("a"))
	if got, want := counts(h), (schemas.Counts{In: 5, Applied: 4, Dead: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if got := fmt.Sprint(reasons(t, h)); got != "[too_large at 1/1]" {
		t.Errorf("dead letters: %s", got)
	}
}
