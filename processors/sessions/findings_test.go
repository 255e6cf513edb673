package sessions

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// foundNow are the findings of a harness as they stand, in the order in which they
// were first said.
func foundNow(t *testing.T, h *engine.Harness) []string {
	t.Helper()
	last, order := map[schemas.Id]schemas.Finding{}, []schemas.Id{}
	for _, b := range h.Rows(broker.Findings) {
		var f schemas.Finding
		if _, err := f.DecodeAvro(b); err != nil {
			t.Fatal(err)
		}
		if _, known := last[f.FindingId]; !known {
			order = append(order, f.FindingId)
		}
		if f.Sign > 0 {
			last[f.FindingId] = f
		}
	}
	all := []string{}
	for _, id := range order {
		f := last[id]
		all = append(all, fmt.Sprintf("%s %s: %s", f.Kind, f.State, f.Sentence))
	}
	return all
}

func wantFindings(t *testing.T, h *engine.Harness, want ...string) {
	t.Helper()
	if got := foundNow(t, h); !reflect.DeepEqual(got, append([]string{}, want...)) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func call(second int64, done bool) *schemas.Event {
	return event(schemas.WitnessHook, schemas.KindToolCall, "toolu_1", second, func(e *schemas.Event) {
		e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ToolTarget: "git push", ArgumentsHash: "abc", Done: done}
		if done {
			e.Success, e.DurationMs = schemas.SomeBool(true), schemas.SomeLong(2000)
		}
	})
}

func asks(second int64) *schemas.Event {
	return event(schemas.WitnessHook, schemas.KindApproval, "ask", second, func(e *schemas.Event) {
		e.ToolUseId = ""
		e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ToolTarget: "git push", ArgumentsHash: "abc"}
	})
}

// A request that nobody answers is reported when its time has come, and says how
// long it was once it is answered.
func TestAnOpenApprovalIsReportedWhileItIsOpen(t *testing.T) {
	h := told(t, []*schemas.Event{call(1, false), asks(2)})
	advance(t, h, 5*time.Minute-2*time.Second)
	wantFindings(t, h)
	advance(t, h, 2*time.Second)
	wantFindings(t, h, "long_approval open: Bash git push waits for a permission, for more than 5m0s.")
	advance(t, h, 10*time.Minute)
	tell(t, h, []*schemas.Event{call(2+905+2, true)}) // allowed after 905 s, it ran for 2
	advance(t, h, time.Minute)
	wantFindings(t, h, "long_approval resolved: Bash git push waited for a permission for 15m5s.")
}

func TestWhatIsNoLongApproval(t *testing.T) {
	for name, then := range map[string]*schemas.Event{
		"answered in time, and it ran for long": event(schemas.WitnessHook, schemas.KindToolCall, "toolu_1", 2+60+1200, func(e *schemas.Event) {
			e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ToolTarget: "git push", ArgumentsHash: "abc", Done: true}
			e.Success, e.DurationMs = schemas.SomeBool(true), schemas.SomeLong(1200_000)
		}),
		"the turn ended":  event(schemas.WitnessHook, schemas.KindTurnEnd, "p1/", 62, func(e *schemas.Event) { e.Success = schemas.SomeBool(true) }),
		"the next prompt": event(schemas.WitnessHook, schemas.KindPrompt, "p2", 62, func(e *schemas.Event) { e.PromptId = "p2" }),
	} {
		h := told(t, []*schemas.Event{call(1, false), asks(2)})
		advance(t, h, time.Minute)
		tell(t, h, []*schemas.Event{then})
		advance(t, h, 10*time.Second)
		advance(t, h, 20*time.Minute)
		if got := foundNow(t, h); len(got) > 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A path that the rules call critical goes out at once, row and finding, though its
// producer knew nothing of it, and by the critical lane.
func TestACriticalPathOfTheRulesIsSaidAtOnce(t *testing.T) {
	h := engine.NewHarness(New(), start)
	configure(t, h, "rules", 2, []byte(`defaults: {owner: "#pay", protected_path: {classes: {money: {severity: critical, paths: ["src/pay/**"]}}}}`))
	change := func(path string) *schemas.Event {
		return event(schemas.WitnessHook, schemas.KindFileChange, path, 3, func(e *schemas.Event) {
			e.Success, e.Body.Artifact.FilePath = schemas.SomeBool(true), path
		})
	}
	tell(t, h, []*schemas.Event{event(schemas.WitnessTranscript, schemas.KindPrompt, "p1", 1, nil), change("src/other.go")})
	if n := len(h.Rows(broker.Enriched)); n != 1 { // the prompt's
		t.Fatalf("%d rows are said before the other witness has told of the change", n)
	}
	tell(t, h, []*schemas.Event{change("src/pay/sum.go")})
	wantFindings(t, h, "protected_path open: src/pay/sum.go (money) was changed by the agent.")
	if n := len(h.Rows(broker.Enriched)); n != 2 {
		t.Errorf("%d rows with it", n)
	}
	for _, o := range h.Commits[len(h.Commits)-1].Outputs {
		if o.Topic == broker.Findings && o.Lane != schemas.LaneCritical {
			t.Error("it took the normal lane")
		}
	}
	for i := range 9 {
		tell(t, h, []*schemas.Event{change(fmt.Sprintf("src/pay/%d.go", i))})
	}
	lanes := map[schemas.Lane]int{}
	for _, c := range h.Commits {
		for _, o := range c.Outputs {
			if o.Topic == broker.Findings {
				lanes[o.Lane] += len(o.Rows)
			}
		}
	}
	if lanes[schemas.LaneCritical] != criticalBurst || lanes[schemas.LaneNormal] != 10-criticalBurst {
		t.Errorf("findings by lane: %v", lanes)
	}
}

// A host whose sessions had two witnesses, and one that has one of them only.
func TestASessionWithoutAWitnessIsReported(t *testing.T) {
	h := engine.NewHarness(New(), start)
	session := func(id string, ws ...schemas.Witness) {
		for _, w := range ws {
			e := event(w, schemas.KindPrompt, "p1", 1, func(e *schemas.Event) {
				e.SessionId, e.Host, e.FactKey = id, "laptop", schemas.FactKey(id, schemas.KindPrompt, "p1")
			})
			tell(t, h, []*schemas.Event{e})
		}
		if err := h.SourceEnd("acme", id); err != nil {
			t.Fatal(err)
		}
		advance(t, h, 3*time.Minute)
	}
	for i := range 3 {
		session(fmt.Sprint("s", i), schemas.WitnessHook, schemas.WitnessTranscript)
	}
	session("mute", schemas.WitnessHook)
	const sentence = "The session has ended without a word from transcript, which this host's sessions have."
	wantFindings(t, h, "missing_telemetry open: "+sentence)
	session("mute", schemas.WitnessTranscript) // it was late
	wantFindings(t, h, "missing_telemetry withdrawn: "+sentence)
}

func TestAModelWithoutAPriceIsReportedOnceADay(t *testing.T) {
	h := engine.NewHarness(New(), start)
	for i := range 5 {
		id := fmt.Sprint("s", i)
		e := event(schemas.WitnessTranscript, schemas.KindModelRequest, "req", 1, func(e *schemas.Event) {
			e.SessionId, e.RequestId, e.FactKey = id, "req", schemas.FactKey(id, schemas.KindModelRequest, "req")
			e.Body.Model = schemas.ModelBody{Model: "zephyr", TokenOutput: schemas.SomeLong(3)}
		})
		tell(t, h, []*schemas.Event{e})
	}
	wantFindings(t, h, "unpriced_model open: zephyr has no price: its requests count nothing.")
}

// A host is told of once a day, of what happens now.
func TestAHostIsToldOfOnceADay(t *testing.T) {
	hosts := func(h *engine.Harness) (told []string) {
		for _, b := range h.Rows(broker.TaskFacts) {
			var f schemas.TaskFact
			if _, err := f.DecodeAvro(b); err != nil {
				t.Fatal(err)
			}
			if f.Host != "" {
				told = append(told, f.Host)
			}
		}
		return told
	}
	prompt := func(id string, second int64) *schemas.Event {
		return event(schemas.WitnessHook, schemas.KindPrompt, id, second, func(e *schemas.Event) { e.PromptId, e.Host = id, "laptop" })
	}
	h := told(t, []*schemas.Event{prompt("p1", 1)})
	advance(t, h, time.Minute)
	tell(t, h, []*schemas.Event{prompt("p2", 62)})
	advance(t, h, time.Minute)
	if got := hosts(h); len(got) != 1 {
		t.Errorf("told of %q", got)
	}
	advance(t, h, 24*time.Hour)
	tell(t, h, []*schemas.Event{prompt("p3", 86400+200)})
	advance(t, h, time.Minute)
	if got := hosts(h); len(got) != 2 {
		t.Errorf("told of %q on two days", got)
	}
	h = told(t, []*schemas.Event{prompt("p1", -3*86400)})
	advance(t, h, time.Minute)
	if got := hosts(h); len(got) != 0 {
		t.Errorf("history told of %q", got)
	}
}
