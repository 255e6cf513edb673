package sessions

import (
	"fmt"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// request is a model request of a session.
func request(session, id string) *schemas.Event {
	return event(schemas.WitnessOtlp, schemas.KindModelRequest, id, 1, func(e *schemas.Event) {
		e.SessionId = session
		e.FactKey = schemas.FactKey(session, e.Kind, id)
		e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", TokenInput: schemas.SomeLong(1000), TokenOutput: schemas.SomeLong(10)}
	})
}

// walked goes on with what was held, and gives the requests that were restated
// and those that were not.
func walked(t *testing.T, h *engine.Harness) (restated, missed int) {
	t.Helper()
	h.Hold = false
	sleep(t, h)
	rows := said(t, h)
	signedSumsAgree(t, rows)
	for _, r := range lastRows(rows) {
		switch {
		case r.Kind != schemas.KindModelRequest:
		case r.Restatement != "":
			restated++
		default:
			missed++
		}
	}
	if n := len(h.Rows(broker.DeadLetters)); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	if keys := sessionRecords(h); len(keys) != 1 {
		t.Errorf("%d records stay", len(keys))
	}
	return restated, missed
}

// Sessions close while the walk goes over the archived ones, and over the others.
func TestASessionThatClosesDuringAWalkIsRestated(t *testing.T) {
	for steps := range 45 {
		h := engine.NewHarness(New(), start)
		const n = 10
		for i := range n {
			tell(t, h, []*schemas.Event{request(fmt.Sprint("old ", i), "req")})
		}
		sleep(t, h) // these are archived
		for i := range n {
			tell(t, h, []*schemas.Event{request(fmt.Sprint("young ", i), "req")})
		}
		advance(t, h, time.Hour) // ended; they close a day later
		advance(t, h, 24*time.Hour-time.Second)
		configure(t, h, "prices", 2, timesFactor(t, 2))
		h.Hold = true
		restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Reason: "dearer"})
		for range steps {
			if _, err := h.Step(); err != nil {
				t.Fatal(err)
			}
		}
		advance(t, h, time.Hour)
		if restated, missed := walked(t, h); restated != 2*n || missed != 0 {
			t.Fatalf("closed after %d commits of the walk: %d requests are restated, %d are not", steps, restated, missed)
		}
	}
}

// A large session leaves in several commits, and the walk comes in between.
func TestASessionThatIsLeavingDuringAWalkIsRestated(t *testing.T) {
	for _, steps := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20} {
		h := engine.NewHarness(New(), start)
		for i := range 3 {
			tell(t, h, []*schemas.Event{request(fmt.Sprint("old ", i), "req")})
		}
		sleep(t, h)
		const n = 1500
		for i := range n {
			tell(t, h, []*schemas.Event{request("large", fmt.Sprint("req", i))})
		}
		advance(t, h, time.Hour)
		h.Hold = true
		advance(t, h, 25*time.Hour)
		for range steps { // it leaves
			if _, err := h.Step(); err != nil {
				t.Fatal(err)
			}
		}
		configure(t, h, "prices", 2, timesFactor(t, 2))
		restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Reason: "dearer"})
		if restated, missed := walked(t, h); restated != n+3 || missed != 0 {
			t.Fatalf("restated %d commits after it began to leave: %d requests are restated, %d are not", steps, restated, missed)
		}
	}
}

func TestEventsGoOnDuringAWalk(t *testing.T) {
	h := engine.NewHarness(New(), start)
	for i := range 500 {
		for j := range 20 {
			tell(t, h, []*schemas.Event{request(fmt.Sprint("session ", i), fmt.Sprint("req", j))})
		}
	}
	advance(t, h, time.Minute)
	configure(t, h, "prices", 2, timesFactor(t, 2))
	h.Hold = true
	restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Reason: "dearer"})
	for range 3 {
		if _, err := h.Step(); err != nil {
			t.Fatal(err)
		}
	}
	h.Commits = nil
	tell(t, h, []*schemas.Event{request("new", "req")})
	for range 2 {
		if _, err := h.Step(); err != nil {
			t.Fatal(err)
		}
	}
	applied := int64(0)
	for _, c := range h.Commits {
		applied += c.Counts.Applied
	}
	if applied != 1 {
		t.Errorf("after %d commits of the walk the event still waits", len(h.Commits))
	}
}

// Versions that a partition learns of when they have taken effect already.
func TestAVersionThatIsKnownLateHoldsFromItsTimeOn(t *testing.T) {
	bill := func(late bool) (nano int64) {
		h := engine.NewHarness(New(), start)
		at := start + 60e6
		apply := func() {
			if err := h.Config("prices", 2, timesFactor(t, 3), at); err != nil {
				t.Fatal(err)
			}
		}
		if !late {
			apply()
		}
		tell(t, h, []*schemas.Event{request("before", "req")})
		sleepUntil(t, h, at+1)
		tell(t, h, []*schemas.Event{request("after", "req"), request("closed", "req")})
		sleep(t, h)
		tell(t, h, []*schemas.Event{request("open", "req")})
		advance(t, h, time.Minute)
		if late {
			apply()
		}
		sleep(t, h)
		rows := said(t, h)
		signedSumsAgree(t, rows)
		for i := range rows {
			nano += int64(rows[i].Sign) * rows[i].CostNanoUsd.Value
		}
		return nano
	}
	if late, inTime := bill(true), bill(false); late != inTime {
		t.Errorf("known late the bill is %d, in time %d", late, inTime)
	}
}

func sleepUntil(t *testing.T, h *engine.Harness, at int64) {
	t.Helper()
	advance(t, h, time.Duration(at-h.Now)*time.Microsecond)
}

func TestARestatementTooManyIsADeadLetterAndTakesNothingBack(t *testing.T) {
	h := told(t, []*schemas.Event{request("s", "req")})
	configure(t, h, "prices", 2, timesFactor(t, 2))
	restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Reason: "dearer"})
	want := bill(said(t, h))
	configure(t, h, "directory", 2, []byte("user,team\n*,everybody\n"))
	for i := range maxRestatements {
		restate(t, h, engine.Restatement{Kind: "directory", Version: 2, Since: int64(i), Reason: "again"})
	}
	sleep(t, h)
	if got := bill(said(t, h)); got != want {
		t.Errorf("the bill is %d, want %d", got, want)
	}
	if n := len(h.Rows(broker.DeadLetters)); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

func TestOfManyCopiesOfAMessageOneCounts(t *testing.T) {
	for _, mainFirst := range []bool{true, false} {
		h := engine.NewHarness(New(), start)
		one := func(i int) *schemas.Event {
			return event(schemas.WitnessTranscript, schemas.KindModelRequest, fmt.Sprint("req", i), int64(i), func(e *schemas.Event) {
				if i > 0 {
					e.AgentRunId = fmt.Sprint("run", i)
				}
				e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", MessageId: "msg", TokenInput: schemas.SomeLong(1000)}
			})
		}
		const n = 2 * maxMoments
		for i := range n {
			if !mainFirst {
				i = n - 1 - i
			}
			tell(t, h, []*schemas.Event{one(i)})
		}
		sleep(t, h)
		if got := bill(said(t, h)); got != 4_000_000 {
			t.Errorf("the main thread's first %v: the bill is %d", mainFirst, got)
		}
	}
}
