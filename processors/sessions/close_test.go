package sessions

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// told is a harness that has folded some events, one message each.
func told(t *testing.T, events []*schemas.Event) *engine.Harness {
	t.Helper()
	h := engine.NewHarness(New(), start)
	tell(t, h, events)
	return h
}

func tell(t *testing.T, h *engine.Harness, events []*schemas.Event) {
	t.Helper()
	for _, e := range events {
		copied := *e
		if err := h.Event("acme", &copied); err != nil {
			t.Fatal(err)
		}
	}
}

func advance(t *testing.T, h *engine.Harness, d time.Duration) {
	t.Helper()
	if err := h.Advance(d); err != nil {
		t.Fatal(err)
	}
}

// sleep is long enough for a session to end and then to close.
func sleep(t *testing.T, h *engine.Harness) {
	t.Helper()
	advance(t, h, time.Hour)
	advance(t, h, 25*time.Hour)
}

// sessionRecords are the state records that belong to sessions.
func sessionRecords(h *engine.Harness) (keys []string) {
	for _, key := range h.Keys() {
		if key[0] >= ' ' {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestASessionLeavesTheStateADayAfterItsEnd(t *testing.T) {
	h := told(t, story())
	advance(t, h, time.Hour)
	if len(sessionRecords(h)) == 0 {
		t.Fatal("it has left already")
	}
	advance(t, h, 25*time.Hour)
	if keys := sessionRecords(h); len(keys) != 0 {
		t.Errorf("%d records stay: %q", len(keys), keys)
	}
	if n := len(h.Rows(broker.Closed)); n == 0 {
		t.Error("nothing was archived")
	}
	advance(t, h, 401*24*time.Hour)
	if n, _ := h.Records(); n != 1 {
		t.Errorf("%d records stay after the stub's time, want the engine's own", n)
	}
}

func TestAnEventOfAClosedSessionFindsItAsItWas(t *testing.T) {
	events := story()
	for split := range len(events) {
		// What comes after the session has closed ...
		h := told(t, events[:split])
		sleep(t, h)
		closed := len(h.Rows(broker.Closed)) > 0
		if split > 0 && !closed {
			t.Fatalf("after %d events: not closed", split)
		}
		tell(t, h, events[split:])
		tell(t, h, events[:split]) // duplicates change nothing
		sleep(t, h)

		// ... gives the rows of one that it found open.
		all := told(t, events)
		sleep(t, all)
		rows := decoded(t, h.Rows(broker.Enriched))
		signedSumsAgree(t, rows)
		got, want := lastRows(rows), lastRows(decoded(t, all.Rows(broker.Enriched)))
		if len(got) != len(want) {
			t.Errorf("after %d events: %d facts, want %d", split, len(got), len(want))
		}
		for key, w := range want {
			g := got[key]
			g.OccurredAt, w.OccurredAt = 0, 0 // that of session_end is the last event's, as clamped
			if g != w {
				t.Errorf("after %d events: %s\n got %+v\nwant %+v", split, w.Kind, g, w)
			}
		}
		if keys := sessionRecords(h); len(keys) != 0 {
			t.Errorf("after %d events: %d records stay", split, len(keys))
		}
		reloads := 0
		for _, c := range h.Commits {
			reloads += len(c.Reloads)
		}
		if split > 0 && reloads == 0 {
			t.Errorf("after %d events: nothing was reloaded", split)
		}
	}
}

func TestALargeSessionIsArchivedAndReloadedInParts(t *testing.T) {
	h := engine.NewHarness(New(), start)
	call := func(i int, done bool) *schemas.Event {
		return event(schemas.WitnessHook, schemas.KindToolCall, fmt.Sprint("toolu_", i), int64(i), func(e *schemas.Event) {
			e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ArgumentsHash: fmt.Sprint(i), ToolTarget: strings.Repeat("x", 700), Done: done}
		})
	}
	const n = 1500
	for i := range n {
		tell(t, h, []*schemas.Event{call(i, false)})
	}
	sleep(t, h)
	parts := len(h.Rows(broker.Closed))
	if parts < 3 {
		t.Fatalf("archived in %d parts", parts)
	}
	for _, c := range h.Commits {
		if size := len(c.AppendAvro(nil)); size > engine.HardBytes {
			t.Errorf("commit %d has %d bytes", c.CommitNumber, size)
		}
	}
	tell(t, h, []*schemas.Event{call(7, true)})
	if got := len(sessionRecords(h)); got < n {
		t.Errorf("%d records came back, want at least %d", got, n)
	}
	sleep(t, h)
	if keys := sessionRecords(h); len(keys) != 0 {
		t.Errorf("%d records stay", len(keys))
	}
	if facts := lastRows(decoded(t, h.Rows(broker.Enriched))); len(facts) != n+1 { // and session_end
		t.Errorf("%d facts, want %d", len(facts), n+1)
	}
}

func TestAnEventWhoseArchiveHasAgedOutIsADeadLetter(t *testing.T) {
	events := story()
	h := told(t, events[:3])
	sleep(t, h)
	h.ExpireClosed()
	rows := len(h.Rows(broker.Enriched))
	tell(t, h, events[3:5])
	if got := len(h.Rows(broker.Enriched)); got != rows {
		t.Errorf("%d rows more", got-rows)
	}
	letters := h.Rows(broker.DeadLetters)
	if len(letters) != 2 {
		t.Fatalf("%d dead letters, want 2", len(letters))
	}
	var d schemas.DeadLetter
	if _, err := d.DecodeAvro(letters[0]); err != nil || d.Reason != "closed" {
		t.Errorf("reason %q (%v)", d.Reason, err)
	}
}
