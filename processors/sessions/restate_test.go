package sessions

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/pricing"
	"github.com/flightlog/flightlog/schemas"
)

// timesFactor is the builtin list with every rate times a factor.
func timesFactor(t *testing.T, factor int64) []byte {
	t.Helper()
	list, _ := pricing.Builtin().Rows()
	rows := slices.Clone(list)
	for i := range rows {
		r := &rows[i]
		for _, rate := range []*int64{&r.Input, &r.Output, &r.CacheRead, &r.CacheWrite5m, &r.CacheWrite1h, &r.WebSearch} {
			*rate *= factor
		}
	}
	text, err := json.Marshal(map[string]any{"unit": "nano-USD per token, and per search", "rows": rows})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pricing.Parse(text, 2); err != nil {
		t.Fatal(err)
	}
	return text
}

func configure(t *testing.T, h *engine.Harness, kind string, version int64, text []byte) {
	t.Helper()
	if err := h.Config(kind, version, text, h.Now+1); err != nil {
		t.Fatal(err)
	}
	h.Now++
}

func restate(t *testing.T, h *engine.Harness, r engine.Restatement) {
	t.Helper()
	if err := h.Restate(r); err != nil {
		t.Fatal(err)
	}
}

// bill is what the rows of model requests add up to by their signs.
func bill(rows []schemas.Enriched) (nano int64) {
	for i := range rows {
		nano += int64(rows[i].Sign) * rows[i].CostNanoUsd.Value
	}
	return nano
}

func said(t *testing.T, h *engine.Harness) []schemas.Enriched {
	t.Helper()
	return decoded(t, h.Rows(broker.Enriched))
}

func TestFactsStayByTheirPricesUntilTheyAreRestated(t *testing.T) {
	for name, rests := range map[string]func(*testing.T, *engine.Harness){
		"open":   func(t *testing.T, h *engine.Harness) { advance(t, h, time.Minute) },
		"ended":  func(t *testing.T, h *engine.Harness) { advance(t, h, time.Hour) },
		"closed": sleep,
	} {
		t.Run(name, func(t *testing.T) {
			h := told(t, story())
			advance(t, h, time.Minute)
			rests(t, h)
			before := said(t, h)
			first := bill(before)
			if first == 0 {
				t.Fatal("nothing was priced")
			}
			configure(t, h, "prices", 2, timesFactor(t, 3))
			tell(t, h, story()) // once more: nothing new, and nothing is said by the new prices
			rests(t, h)
			if got := bill(said(t, h)); got != first {
				t.Errorf("the prices that came later have changed the bill from %d to %d", first, got)
			}

			restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Since: start + 15e6, Reason: "dearer"})
			advance(t, h, time.Second)
			rows := said(t, h)
			signedSumsAgree(t, rows)
			last := lastRows(rows)
			var want int64
			for key, was := range lastRows(before) {
				now := last[key]
				later := was.OccurredAt >= start+15e6 && (was.CostNanoUsd.Valid || was.ToolCostNanoUsd.Value > 0)
				factor := int64(1)
				if later {
					factor = 3
				}
				if later != (now.Restatement == "prices 2: dearer") || now.CostNanoUsd.Value != factor*was.CostNanoUsd.Value || now.ToolCostNanoUsd.Value != factor*was.ToolCostNanoUsd.Value {
					t.Errorf("%s at %d s: cost %v and %v, was %v and %v, restatement %q", now.Kind, (now.OccurredAt-start)/1e6,
						now.CostNanoUsd, now.ToolCostNanoUsd, was.CostNanoUsd, was.ToolCostNanoUsd, now.Restatement)
				}
				if !later && was.Kind != schemas.KindSessionEnd && now.Version != was.Version {
					t.Errorf("%s was said anew without a difference: version %d, was %d", now.Kind, now.Version, was.Version)
				}
				want += factor * was.CostNanoUsd.Value
			}
			if got := bill(rows); got != want {
				t.Errorf("the bill is %d, want %d", got, want)
			}

			// The reverse leaves every sum as it was, and says why.
			configure(t, h, "prices", 3, pricing.BuiltinText())
			restate(t, h, engine.Restatement{Kind: "prices", Version: 3, Reason: "back"})
			advance(t, h, time.Second)
			rows = said(t, h)
			signedSumsAgree(t, rows)
			if got := bill(rows); got != first {
				t.Errorf("after the reverse the bill is %d, was %d", got, first)
			}
			for key, now := range lastRows(rows) {
				want := ""
				if last[key].Restatement != "" {
					want = "prices 3: back"
				}
				if was := lastRows(before)[key]; now.CostNanoUsd != was.CostNanoUsd || now.Restatement != want {
					t.Errorf("%s: cost %v by version %d, %q", now.Kind, now.CostNanoUsd, now.PriceVersion, now.Restatement)
				}
			}
			said := len(rows)
			restate(t, h, engine.Restatement{Kind: "prices", Version: 3, Reason: "back"})
			advance(t, h, time.Second)
			restate(t, h, engine.Restatement{Kind: "prices", Version: 3, Reason: "in other words"})
			advance(t, h, time.Second)
			if got := len(h.Rows(broker.Enriched)); got != said {
				t.Errorf("asked again, it says %d rows more", got-said)
			}
			if name == "closed" {
				advance(t, h, time.Minute)
				if keys := sessionRecords(h); len(keys) != 1 || keys[0] != restateKey {
					t.Errorf("what came back stays: %q", keys)
				}
			}
			if len(h.Rows(broker.DeadLetters)) != 0 {
				t.Error("dead letters")
			}
		})
	}
}

func TestEveryClosedSessionIsRestated(t *testing.T) {
	h := engine.NewHarness(New(), start)
	const n = 300
	for i := range n {
		e := event(schemas.WitnessOtlp, schemas.KindModelRequest, "req", int64(i), func(e *schemas.Event) {
			e.SessionId = fmt.Sprint("session ", i)
			e.FactKey = schemas.FactKey(e.SessionId, e.Kind, "req")
			e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", TokenInput: schemas.SomeLong(1000), TokenOutput: schemas.SomeLong(10)}
		})
		tell(t, h, []*schemas.Event{e})
	}
	sleep(t, h)
	first := bill(said(t, h))
	configure(t, h, "prices", 2, timesFactor(t, 2))
	h.Now++
	asked := h.Now
	restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Reason: "dearer"})
	left := false // from the last commit back: some session was still to come
	for _, c := range slices.Backward(h.Commits) {
		if left = left || len(c.Reloads) > 0; left && !c.More && c.Now >= asked {
			t.Errorf("commit %d says that nothing is left to do", c.CommitNumber)
		}
	}
	if got, want := bill(said(t, h)), 2*first; got < want {
		t.Errorf("the bill is %d, want at least %d", got, want)
	}
	for _, c := range h.Commits {
		if size := len(c.AppendAvro(nil)); size > engine.HardBytes {
			t.Errorf("commit %d has %d bytes", c.CommitNumber, size)
		}
	}
	sleep(t, h)
	if keys := sessionRecords(h); len(keys) != 1 {
		t.Errorf("%d records stay", len(keys))
	}
	restated := 0
	for _, r := range lastRows(said(t, h)) {
		if r.Restatement != "" {
			restated++
		}
	}
	if restated != n {
		t.Errorf("%d facts are restated, want %d", restated, n)
	}
}

func TestASessionThatCannotComeBackToBeRestatedIsADeadLetter(t *testing.T) {
	h := told(t, story())
	sleep(t, h)
	h.ExpireClosed()
	before := len(h.Rows(broker.Enriched))
	configure(t, h, "prices", 2, timesFactor(t, 2))
	restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Reason: "dearer"})
	if got := len(h.Rows(broker.Enriched)); got != before {
		t.Errorf("%d rows more", got-before)
	}
	letters := h.Rows(broker.DeadLetters)
	if len(letters) != 1 {
		t.Fatalf("%d dead letters, want 1", len(letters))
	}
	var d schemas.DeadLetter
	if _, err := d.DecodeAvro(letters[0]); err != nil || d.Reason != "closed" || !strings.Contains(d.Detail, "restated") {
		t.Errorf("%+v (%v)", d, err)
	}
}

func TestSessionsThatCloseLaterThanTheTimeAskedForAreLeftAlone(t *testing.T) {
	h := told(t, story())
	sleep(t, h)
	configure(t, h, "prices", 2, timesFactor(t, 2))
	restate(t, h, engine.Restatement{Kind: "prices", Version: 2, Since: h.Now + 3600e6, Reason: "to come"})
	for _, c := range h.Commits {
		if len(c.Reloads) > 0 {
			t.Fatal("a session that had closed before was brought back")
		}
	}
}

// The critical lane is folded first: an event of it does not decide by which
// prices a fact goes, when an earlier one stands in the other lane.
func TestAFactGoesByThePricesOfItsFirstEventInTheLog(t *testing.T) {
	both := func(first, second schemas.Lane) int64 {
		h := engine.NewHarness(New(), start)
		configure(t, h, "prices", 1, nil)
		if err := h.Config("prices", 2, timesFactor(t, 5), start+30e6); err != nil {
			t.Fatal(err)
		}
		frame := func(w schemas.Witness) []byte {
			e := event(w, schemas.KindModelRequest, "req", 1, func(e *schemas.Event) {
				e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", TokenInput: schemas.SomeLong(1000), TokenOutput: schemas.SomeLong(10)}
			})
			f := schemas.Frame{Segments: []schemas.Segment{{Org: "acme", ProducerId: "test", Schema: schemas.EventSchema, Events: [][]byte{e.AppendAvro(nil)}}}}
			return f.AppendMessage(nil)
		}
		// Appended before and after the prices took effect, folded in any order.
		for _, m := range []struct {
			lane schemas.Lane
			at   int64
			w    schemas.Witness
		}{{first, start + 40e6, schemas.WitnessTranscript}, {second, start + 20e6, schemas.WitnessOtlp}} {
			h.Now = m.at
			if err := h.AppendTo(m.lane, frame(m.w)); err != nil {
				t.Fatal(err)
			}
		}
		h.Now = start + 50e6
		sleep(t, h)
		rows := said(t, h)
		signedSumsAgree(t, rows)
		return bill(rows)
	}
	if got, want := both(schemas.LaneCritical, schemas.LaneNormal), int64(1000*4000+10*20000); got != want {
		t.Errorf("the bill is %d, want %d", got, want)
	}
}

func TestTeamAndBillingAreThoseOfTheTime(t *testing.T) {
	h := engine.NewHarness(New(), start)
	configure(t, h, "directory", 2, []byte("user,team,billing\ndev@example.com,checkout,subscription\n*,,api\n"))
	tell(t, h, story())
	sleep(t, h)
	for _, r := range lastRows(said(t, h)) {
		if r.Team != "checkout" {
			t.Errorf("%s: team %q", r.Kind, r.Team)
		}
		if want := map[bool]schemas.Billing{true: schemas.BillingSubscription}[r.Kind == schemas.KindModelRequest]; r.Billing != want {
			t.Errorf("%s: billing %s, want %s", r.Kind, r.Billing, want)
		}
	}
	configure(t, h, "directory", 3, []byte("user,team,billing\ndev@example.com,payments,subscription\n"))
	restate(t, h, engine.Restatement{Kind: "directory", Version: 3, Reason: "they had moved"})
	advance(t, h, time.Second)
	rows := said(t, h)
	signedSumsAgree(t, rows)
	for _, r := range lastRows(rows) {
		if r.Team != "payments" || r.Restatement != "directory 3: they had moved" {
			t.Errorf("%s: team %q, restatement %q", r.Kind, r.Team, r.Restatement)
		}
	}
}

func TestATextThatIsNoPriceListCountsAsTheVersionBefore(t *testing.T) {
	h := engine.NewHarness(New(), start)
	configure(t, h, "prices", 2, timesFactor(t, 2))
	configure(t, h, "prices", 3, []byte("no prices"))
	configure(t, h, "directory", 2, []byte("no directory\nat all"))
	tell(t, h, story())
	sleep(t, h)
	for _, r := range lastRows(said(t, h)) {
		if r.CostNanoUsd.Valid && r.PriceVersion != 2 {
			t.Errorf("%s by version %d", r.Kind, r.PriceVersion)
		}
	}
}

func TestAMessageThatASubagentsFileRepeatsIsNoRequest(t *testing.T) {
	request := func(id, run string, second int64) *schemas.Event {
		return event(schemas.WitnessTranscript, schemas.KindModelRequest, id, second, func(e *schemas.Event) {
			e.RequestId, e.AgentRunId = id, run
			e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", MessageId: "msg_1", TokenInput: schemas.SomeLong(1000), TokenOutput: schemas.SomeLong(10)}
		})
	}
	const one = 1000*4000 + 10*20000
	for name, events := range map[string][]*schemas.Event{
		"the copy comes last":          {request("req_1", "", 1), request("req_2", "run", 2)},
		"the copy comes first":         {request("req_2", "run", 2), request("req_1", "", 1)},
		"and is of an earlier time":    {request("req_2", "run", 0), request("req_1", "", 1)},
		"of two subagents the first's": {request("req_2", "run", 2), request("req_3", "other", 1)},
	} {
		h := told(t, events[:1])
		advance(t, h, time.Minute) // its row is said
		tell(t, h, events[1:])
		sleep(t, h)
		rows := said(t, h)
		signedSumsAgree(t, rows)
		if got := bill(rows); got != one {
			t.Errorf("%s: the bill is %d, want %d", name, got, one)
		}
	}
	h := told(t, []*schemas.Event{request("req_1", "", 1), request("req_2", "", 2)})
	sleep(t, h)
	if got := bill(said(t, h)); got != 2*one {
		t.Errorf("two requests of the main thread: the bill is %d, want %d", got, 2*one)
	}
}

func TestCallsShareTheOutputOfTheirMessage(t *testing.T) {
	var events []*schemas.Event
	events = append(events, event(schemas.WitnessTranscript, schemas.KindModelRequest, "req_1", 1, func(e *schemas.Event) {
		e.RequestId = "req_1"
		e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", MessageId: "msg_1", TokenInput: schemas.SomeLong(1000), TokenOutput: schemas.SomeLong(90)}
	}))
	for i := range int64(3) {
		events = append(events, event(schemas.WitnessTranscript, schemas.KindToolCall, fmt.Sprint("toolu_", i), 1, func(e *schemas.Event) {
			e.RequestId = "req_1"
			e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ArgumentsHash: "abc", ResultLength: schemas.SomeLong(41 * i), Done: true}
		}))
	}
	events = append(events, event(schemas.WitnessHook, schemas.KindToolCall, "toolu_9", 1, func(e *schemas.Event) {
		e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ArgumentsHash: "abc", Done: true}
	}))
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}} {
		h := engine.NewHarness(New(), start)
		for _, i := range order {
			tell(t, h, events[i:i+1])
			advance(t, h, time.Minute)
		}
		sleep(t, h)
		for _, r := range lastRows(said(t, h)) {
			want := map[string]schemas.OptLong{
				"toolu_0": schemas.SomeLong(30 * 20000), "toolu_1": schemas.SomeLong(30*20000 + 11*4000), "toolu_2": schemas.SomeLong(30*20000 + 21*4000),
			}[r.ToolUseId]
			if r.ToolCostNanoUsd != want || want.Valid != (r.CostGrade == schemas.CostGradeDerived) && r.Kind == schemas.KindToolCall {
				t.Errorf("order %v: %s costs %v (%s), want %v", order, r.ToolUseId, r.ToolCostNanoUsd, r.CostGrade, want)
			}
		}
	}
}
