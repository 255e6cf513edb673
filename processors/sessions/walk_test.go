package sessions

import (
	"fmt"
	"math/rand/v2"
	"slices"
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

// Restatements reach partitions in another order, and again.
func TestRestatementsFollowEachOtherAsTheyWereAskedFor(t *testing.T) {
	second := engine.Restatement{Kind: "prices", Version: 2, Reason: "dearer", Asked: start + 1}
	third := engine.Restatement{Kind: "prices", Version: 3, Reason: "dearest", Asked: start + 2}
	again := second
	again.Asked = start + 3
	for _, c := range []struct {
		asked  []engine.Restatement
		factor int64
		reason string
	}{
		{[]engine.Restatement{second, third}, 3, "prices 3: dearest"},
		{[]engine.Restatement{third, second}, 3, "prices 3: dearest"},
		{[]engine.Restatement{second, third, second}, 3, "prices 3: dearest"},
		{[]engine.Restatement{second, third, again}, 2, "prices 2: dearer"},
		{[]engine.Restatement{third, again}, 2, "prices 2: dearer"},
		{[]engine.Restatement{again, third, second}, 2, "prices 2: dearer"},
	} {
		h := told(t, []*schemas.Event{request("s", "req")})
		configure(t, h, "prices", 2, timesFactor(t, 2))
		configure(t, h, "prices", 3, timesFactor(t, 3))
		advance(t, h, time.Minute)
		for _, r := range c.asked {
			restate(t, h, r)
		}
		sleep(t, h)
		rows := said(t, h)
		signedSumsAgree(t, rows)
		for _, r := range lastRows(rows) {
			if r.Kind == schemas.KindModelRequest && (r.CostNanoUsd.Value != 4_200_000*c.factor || r.Restatement != c.reason) {
				t.Errorf("%+v: cost %d, %q, want a factor of %d, %q", c.asked, r.CostNanoUsd.Value, r.Restatement, c.factor, c.reason)
			}
		}
	}
}

// A session as the fold before this one left it: no links for money.
func TestASessionOfAnEarlierFoldIsBroughtUpToThisOne(t *testing.T) {
	var events []*schemas.Event
	events = append(events, event(schemas.WitnessTranscript, schemas.KindModelRequest, "req", 1, func(e *schemas.Event) {
		e.RequestId = "req"
		e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", MessageId: "msg", TokenInput: schemas.SomeLong(10), TokenOutput: schemas.SomeLong(300)}
	}))
	for i := range int64(3) {
		events = append(events, event(schemas.WitnessTranscript, schemas.KindToolCall, fmt.Sprint("toolu_", i), 1, func(e *schemas.Event) {
			e.RequestId = "req"
			e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ArgumentsHash: "abc", Done: true}
		}))
	}
	h := told(t, events)
	for _, key := range h.Keys() {
		switch key[0] {
		case linkKind, linksKind, turnKind, turnsKind, testsKind, toldKind, branchesKind:
			h.Put(key, nil, 0)
		case sessionKind:
			var s session
			if err := s.decode(h.Record(key)); err != nil {
				t.Fatal(err)
			}
			s.links, s.first, s.compared, s.related = 0, 0, 0, false
			s.turns, s.judged, s.tasksAt, s.openTurns, s.pending, s.prompts = 0, 0, 0, nil, nil, nil
			old := s.encode()
			h.Put(key, old[:len(old)-3-12], s.due()) // without the last ones, of a byte each
		}
	}
	configure(t, h, "prices", 2, timesFactor(t, 2))
	restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Reason: "dearer"})
	sleep(t, h)
	calls := 0
	for _, r := range lastRows(said(t, h)) {
		if r.Kind != schemas.KindToolCall {
			continue
		}
		calls++
		if r.ToolCostNanoUsd != schemas.SomeLong(2*100*20_000) {
			t.Errorf("%s costs %v", r.ToolUseId, r.ToolCostNanoUsd)
		}
	}
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
}

// A history is a random life of some sessions, small and large: they end, close and
// come back while versions are applied, in time, late or missed, while facts are
// restated, and owners die between any two commits.
func TestWhateverHappensDuringWalksFactsGoByWhatWasAskedFor(t *testing.T) {
	for seed := range int64(60) {
		if history(t, seed); t.Failed() {
			return
		}
	}
}

func history(t *testing.T, seed int64) {
	random := rand.New(rand.NewPCG(uint64(seed), 7))
	h := engine.NewHarness(New(), start)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	type moments struct{ first, occurred int64 }
	facts := map[schemas.Id]moments{}
	factors, effective := map[int64]int64{1: 1}, map[int64]int64{}
	var asked []engine.Restatement
	var sizes []int
	for range 8 {
		sizes = append(sizes, []int{1, 3, 40, 400}[random.IntN(4)])
	}
	newest := int64(1)
	h.Hold = true
	for range 60 {
		for range random.IntN(6) {
			_, err := h.Step()
			check(err)
		}
		h.Now += 1 + random.Int64N(1000)
		switch action := random.IntN(20); {
		case action < 7:
			i := random.IntN(len(sizes))
			for range 1 + random.IntN(sizes[i]) {
				h.Now++
				e := request(fmt.Sprint("session ", i), fmt.Sprint("req", random.IntN(sizes[i])))
				known, ok := facts[e.FactKey]
				if !ok {
					known = moments{h.Now, h.Now}
					facts[e.FactKey] = known
				}
				e.OccurredAt = known.occurred
				check(h.Event("acme", e))
			}
		case action < 9:
			check(h.SourceEnd("acme", fmt.Sprint("session ", random.IntN(len(sizes)))))
		case action < 13:
			check(h.Advance([]time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 24*time.Hour - time.Second}[random.IntN(5)]))
		case action < 15 && newest < 5:
			newest++
			factors[newest] = 1 + random.Int64N(3)
			effective[newest] = h.Now + []int64{0, random.Int64N(3600e6), -random.Int64N(24 * 3600e6)}[random.IntN(3)]
			if text := timesFactor(t, factors[newest]); random.IntN(3) == 0 {
				h.ConfigMissed("prices", newest, text, effective[newest])
				check(h.Restart())
			} else {
				check(h.Config("prices", newest, text, effective[newest]))
			}
		case action < 18 && newest > 1:
			r := engine.Restatement{Kind: "prices", Version: 2 + random.Int64N(newest-1), Reason: fmt.Sprint("reason ", random.IntN(3)), Asked: h.Now}
			if random.IntN(2) == 0 {
				r.Since = start + random.Int64N(h.Now-start+1)
			}
			asked = slices.DeleteFunc(asked, func(o engine.Restatement) bool {
				o.Asked = r.Asked
				return o == r
			})
			asked = append(asked, r)
			check(h.Restate(r))
		default:
			check(h.Restart())
		}
	}
	check(h.Restart())
	h.Hold = false
	sleep(t, h)
	rows := said(t, h)
	signedSumsAgree(t, rows)
	requests := 0
	for _, r := range lastRows(rows) {
		if r.Kind != schemas.KindModelRequest {
			continue
		}
		requests++
		f, in := facts[r.FactKey], int64(1)
		for version, at := range effective {
			if at <= f.first {
				in = max(in, version)
			}
		}
		by, reason := in, ""
		for _, a := range asked {
			if a.Version > in && a.Since <= f.occurred && factors[a.Version] != factors[by] {
				by, reason = a.Version, fmt.Sprintf("prices %d: %s", a.Version, a.Reason)
			}
		}
		if r.CostNanoUsd.Value != 4_200_000*factors[by] || r.PriceVersion != by || r.Restatement != reason {
			t.Errorf("seed %d: %s costs %d by version %d, %q; want %d by %d, %q", seed, r.SessionId, r.CostNanoUsd.Value, r.PriceVersion, r.Restatement,
				4_200_000*factors[by], by, reason)
			return
		}
	}
	if requests != len(facts) || len(h.Rows(broker.DeadLetters)) != 0 {
		t.Errorf("seed %d: %d requests, want %d, and %d dead letters", seed, requests, len(facts), len(h.Rows(broker.DeadLetters)))
	}
	if keys := slices.DeleteFunc(sessionRecords(h), func(key string) bool { return key == restateKey }); len(keys) != 0 {
		t.Errorf("seed %d: %d records stay", seed, len(keys))
	}
}

// The owner dies while a large session leaves, and the next one learns of a
// version that has taken effect: the walk waits for what is half gone.
func TestASessionThatIsHalfGoneAtAClaimIsCompared(t *testing.T) {
	for steps := range 4 {
		h := engine.NewHarness(New(), start)
		sleep(t, h)
		effective := h.Now
		h.Now++
		const n = 4000
		for i := range n {
			tell(t, h, []*schemas.Event{request("large", fmt.Sprint("req", i))})
		}
		advance(t, h, time.Hour)
		h.Hold = true
		advance(t, h, 24*time.Hour) // to the microsecond at which it begins to leave
		for range steps {
			if _, err := h.Step(); err != nil {
				t.Fatal(err)
			}
		}
		h.ConfigMissed("prices", 2, timesFactor(t, 2), effective)
		if err := h.Restart(); err != nil {
			t.Fatal(err)
		}
		h.Hold = false
		sleep(t, h)
		later := 0
		for _, r := range lastRows(said(t, h)) {
			if r.Kind == schemas.KindModelRequest && r.PriceVersion == 2 {
				later++
			}
		}
		if later != n {
			t.Errorf("after %d commits of its leaving: %d of %d requests go by the version", steps, later, n)
		}
	}
}
