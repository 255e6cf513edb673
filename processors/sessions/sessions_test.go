package sessions

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

const (
	start = int64(1_795_354_733_000_000)
	sid   = "11111111-2222-3333-4444-555555555555"
)

// event makes an event of one witness at a second of the session.
func event(w schemas.Witness, kind schemas.Kind, id string, second int64, fill func(*schemas.Event)) *schemas.Event {
	e := &schemas.Event{Kind: kind, Witness: w, Agent: "claude-code", SessionId: sid, PromptId: "p1",
		OccurredAt: start + second*1e6, FactKey: schemas.FactKey(sid, kind, id)}
	switch schemas.FamilyOf(kind) {
	case schemas.FamilyModel:
		e.Body.Branch = schemas.EventBodyModel
	case schemas.FamilyTool:
		e.Body.Branch, e.ToolUseId = schemas.EventBodyTool, id
	case schemas.FamilyArtifact:
		e.Body.Branch = schemas.EventBodyArtifact
	}
	if fill != nil {
		fill(e)
	}
	schemas.SetEventID(e)
	return e
}

// story is a small session as three witnesses tell it: two prompts, on two
// branches, with requests, calls, a permission request and a late user.
func story() []*schemas.Event {
	const h, tr, o = schemas.WitnessHook, schemas.WitnessTranscript, schemas.WitnessOtlp
	var all []*schemas.Event
	add := func(e *schemas.Event) { all = append(all, e) }
	add(event(h, schemas.KindSessionStart, "s", 0, nil))
	for p := int64(1); p <= 2; p++ {
		prompt, branch := fmt.Sprintf("p%d", p), []string{"", "main", "fix/SHOP-7"}[p]
		at := 10 * p
		in := func(fill func(*schemas.Event)) func(*schemas.Event) {
			return func(e *schemas.Event) {
				e.PromptId = prompt
				if e.Witness == tr {
					e.Branch, e.Repo = branch, "github.com/example/shop"
				}
				if e.Witness != o {
					e.User, e.UserSource, e.Owner = "dev", schemas.UserSourceOsLogin, "dev"
				}
				if p == 2 && e.Witness != o && e.Body.Branch == schemas.EventBodyTool {
					e.AgentRunId = "a1" // which OTLP does not know
				}
				if fill != nil {
					fill(e)
				}
			}
		}
		for _, w := range []schemas.Witness{h, tr, o} {
			add(event(w, schemas.KindPrompt, prompt, at, in(nil)))
			call := fmt.Sprintf("toolu_%d", p)
			add(event(w, schemas.KindToolCall, call, at+2, in(func(e *schemas.Event) {
				e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ArgumentsHash: "abc"}
				if w == o {
					e.Body.Tool.ApprovalDecision, e.Body.Tool.ApprovalSource, e.OccurredAt = "accept", "user_temporary", e.OccurredAt+3e6
				}
			})))
			add(event(w, schemas.KindToolCall, call, at+6, in(func(e *schemas.Event) {
				e.Success, e.Body.Tool = schemas.SomeBool(p == 1), schemas.ToolBody{ToolName: "Bash", ArgumentsHash: "abc", Done: true}
			})))
			if w != h {
				add(event(w, schemas.KindModelRequest, "req_"+prompt, at+1, in(func(e *schemas.Event) {
					e.RequestId = "req_" + prompt
					e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", TokenInput: schemas.SomeLong(100), TokenOutput: schemas.SomeLong(10 * p),
						TokenCacheRead: schemas.SomeLong(0), TokenCacheWrite5m: schemas.SomeLong(0), TokenCacheWrite1h: schemas.SomeLong(0)}
				})))
			}
		}
		// A request that only OTLP knows: it has no branch of its own.
		add(event(o, schemas.KindModelRequest, "req_compact"+prompt, at+7, in(func(e *schemas.Event) {
			e.User, e.UserSource = "dev@example.com", schemas.UserSourceOtlpEmail
			e.Body.Model = schemas.ModelBody{Model: "claude-haiku-4-5", TokenInput: schemas.SomeLong(7), TokenOutput: schemas.SomeLong(1), TokenCacheWrite: schemas.SomeLong(50)}
		})))
		add(event(h, schemas.KindApproval, "ask"+prompt, at+3, in(func(e *schemas.Event) {
			e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ArgumentsHash: "abc"}
		})))
	}
	add(event(h, schemas.KindSessionEnd, "end", 40, nil))
	return all
}

// crowd is more calls with the arguments of the story's than a link holds.
func crowd() (all []*schemas.Event) {
	for n := range int64(maxMoments + 20) {
		all = append(all, event(schemas.WitnessHook, schemas.KindToolCall, fmt.Sprint("toolu_crowd_", n), 12, func(e *schemas.Event) {
			e.OccurredAt -= 1000 * (n + 1)
			e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ArgumentsHash: "abc", Done: true}
		}))
	}
	return all
}

// enrich folds events, each after a pause, and gives all rows.
func enrich(t testing.TB, events []*schemas.Event, pause func(i int) time.Duration) []schemas.Enriched {
	t.Helper()
	h := engine.NewHarness(New(), start)
	for i, e := range events {
		copied := *e
		if err := h.Event("acme", &copied); err != nil {
			t.Fatal(err)
		}
		if d := pause(i); d > 0 {
			if err := h.Advance(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.SourceEnd("acme", sid); err != nil {
		t.Fatal(err)
	}
	if dead := h.Rows(broker.DeadLetters); len(dead) > 0 {
		var d schemas.DeadLetter
		_, _ = d.DecodeAvro(dead[0])
		t.Fatalf("%d dead letters, the first: %s %s", len(dead), d.Reason, d.Detail)
	}
	return decoded(t, h.Rows(broker.Enriched))
}

func decoded(t testing.TB, encoded [][]byte) []schemas.Enriched {
	rows := make([]schemas.Enriched, len(encoded))
	for i := range encoded {
		if _, err := rows[i].DecodeAvro(encoded[i]); err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// lastRows is the state of each fact: the +1 row of its highest version, or
// none. What only tells how it came about is taken out.
func lastRows(rows []schemas.Enriched) map[schemas.Id]schemas.Enriched {
	last := map[schemas.Id]schemas.Enriched{}
	for _, r := range rows {
		if old, ok := last[r.FactKey]; !ok || r.Version > old.Version || r.Version == old.Version && r.Sign > 0 {
			last[r.FactKey] = r
		}
	}
	for key, r := range last {
		if r.Sign < 0 {
			delete(last, key)
			continue
		}
		r.RowId, r.Version, r.Final, r.Witnesses, r.EventId = schemas.Id{}, 0, false, "", schemas.Id{}
		last[key] = r
	}
	return last
}

func never(int) time.Duration { return 0 }

func TestAnyOrderAndRepetitionGivesTheSameFinalRows(t *testing.T) {
	want := lastRows(enrich(t, append(story(), crowd()...), never))
	if len(want) < 12 {
		t.Fatalf("the story has only %d facts", len(want))
	}
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		events := append(story(), crowd()...)
		events = append(events, story()[:random.IntN(len(story()))]...)
		random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		rows := enrich(t, events, func(int) time.Duration { return time.Duration(random.IntN(4)) * 7 * time.Second })
		got := lastRows(rows)
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d facts, want %d", seed, len(got), len(want))
		}
		for key, w := range want {
			if !reflect.DeepEqual(got[key], w) {
				t.Fatalf("seed %d: %s\n got %+v\nwant %+v", seed, w.Kind, got[key], w)
			}
		}
		signedSumsAgree(t, rows)
	}
}

// signedSumsAgree checks that by every column the signed sums over all rows
// are the sums over the facts' last rows.
func signedSumsAgree(t *testing.T, rows []schemas.Enriched) {
	t.Helper()
	last := lastRows(rows)
	columns := map[string]func(*schemas.Enriched) string{
		"user": func(r *schemas.Enriched) string { return r.User }, "branch": func(r *schemas.Enriched) string { return r.Branch },
		"task_id": func(r *schemas.Enriched) string { return r.TaskId }, "repo": func(r *schemas.Enriched) string { return r.Repo },
		"prompt_id": func(r *schemas.Enriched) string { return r.PromptId }, "kind": func(r *schemas.Enriched) string { return r.Kind.String() },
	}
	for name, column := range columns {
		signed, stand := map[string][3]int64{}, map[string][3]int64{}
		for i := range rows {
			add(signed, column(&rows[i]), &rows[i], int64(rows[i].Sign))
		}
		for _, r := range last {
			add(stand, column(&r), &r, 1)
		}
		for value := range signed {
			if signed[value] != stand[value] {
				t.Fatalf("by %s %q: signed sums %v, last rows %v", name, value, signed[value], stand[value])
			}
		}
	}
}

func add(sums map[string][3]int64, value string, r *schemas.Enriched, sign int64) {
	s := sums[value]
	s[0] += sign
	s[1] += sign * (r.TokenInput.Value + r.TokenOutput.Value + r.TokenCacheWrite5m.Value)
	s[2] += sign * r.CostNanoUsd.Value
	sums[value] = s
}

func find(t *testing.T, rows map[schemas.Id]schemas.Enriched, kind schemas.Kind, id string) schemas.Enriched {
	t.Helper()
	r, ok := rows[schemas.FactKey(sid, kind, id)]
	if !ok {
		t.Fatalf("no %s %s", kind, id)
	}
	return r
}

func TestRowsJoinWhatTheWitnessesTell(t *testing.T) {
	rows := lastRows(enrich(t, story(), never))
	ask := find(t, rows, schemas.KindApproval, "askp2")
	if ask.ToolUseId != "toolu_2" || ask.ApprovalDecision != "accept" || ask.ApprovalWaitMs != schemas.SomeLong(2000) {
		t.Errorf("the request is not linked to its call: %+v", ask)
	}
	compact := find(t, rows, schemas.KindModelRequest, "req_compactp2")
	if compact.Branch != "fix/SHOP-7" || compact.User != "dev@example.com" {
		t.Errorf("a request that only OTLP knows does not take branch and user from its prompt and session: %+v", compact)
	}
	if compact.CostGrade != schemas.CostGradeEstimated || compact.CostNanoUsdMax.Value <= compact.CostNanoUsd.Value {
		t.Errorf("cache writes of unknown lifetime are not graded as estimated: %+v", compact)
	}
	call := find(t, rows, schemas.KindToolCall, "toolu_2")
	if call.ApprovalRequired != schemas.SomeBool(true) || call.Success != schemas.SomeBool(false) || call.TaskIdSource != schemas.TaskIdSourceBranch {
		t.Errorf("call: %+v", call)
	}
	end := find(t, rows, schemas.KindSessionEnd, "end")
	if end.OccurredAt != start+40e6 {
		t.Errorf("session_end: %+v", end)
	}
}

func TestALateUserRestatesEveryRowOfTheSession(t *testing.T) {
	var events []*schemas.Event
	var late *schemas.Event
	for _, e := range story() {
		if e.UserSource == schemas.UserSourceOtlpEmail {
			late = e
			continue
		}
		events = append(events, e)
	}
	rows := enrich(t, append(events, late), func(i int) time.Duration {
		return 6 * time.Second // every fact is published before the user is known
	})
	signedSumsAgree(t, rows)
	for _, r := range lastRows(rows) {
		if r.User != "dev@example.com" {
			t.Fatalf("%s still has user %q", r.Kind, r.User)
		}
	}
	taken := 0
	for _, r := range rows {
		if r.Sign < 0 && r.User == "dev" {
			taken++
		}
	}
	if taken == 0 {
		t.Fatal("no row was taken back: the test proves nothing")
	}
}

func TestASessionThatOnlyGoesQuietEnds(t *testing.T) {
	h := engine.NewHarness(New(), start)
	e := event(schemas.WitnessTranscript, schemas.KindPrompt, "p1", 0, nil)
	if err := h.Event("acme", e); err != nil {
		t.Fatal(err)
	}
	ended := func() bool {
		for _, r := range decoded(t, h.Rows(broker.Enriched)) {
			if r.Kind == schemas.KindSessionEnd && r.Final {
				return true
			}
		}
		return false
	}
	for range 29 {
		_ = h.Advance(time.Minute)
	}
	if ended() {
		t.Fatal("ended before 30 min without arrivals")
	}
	_ = h.Advance(2 * time.Minute)
	if !ended() {
		t.Fatal("not ended after 31 min without arrivals")
	}
}

func TestALongSessionIsSaidOverSeveralCommits(t *testing.T) {
	h := engine.NewHarness(New(), start)
	const calls = 3000
	for i := range int64(calls) {
		if err := h.Event("acme", event(schemas.WitnessTranscript, schemas.KindToolCall, fmt.Sprint("t", i), i, nil)); err != nil {
			t.Fatal(err)
		}
	}
	before := len(h.Commits)
	if err := h.SourceEnd("acme", sid); err != nil {
		t.Fatal(err)
	}
	more := 0
	for _, c := range h.Commits[before:] {
		if size := len(c.AppendAvro(nil)); size > engine.HardBytes {
			t.Errorf("commit %d has %d bytes", c.CommitNumber, size)
		}
		if c.More {
			more++
		}
	}
	if more == 0 || h.Commits[len(h.Commits)-1].More {
		t.Errorf("%d continuations, the last commit says more=%v", more, h.Commits[len(h.Commits)-1].More)
	}
	if n := len(lastRows(decoded(t, h.Rows(broker.Enriched)))); n != calls+1 {
		t.Errorf("%d facts, want %d", n, calls+1)
	}
}

func TestOfAFactThatIsToldSeveralTimesTheLastIsMeant(t *testing.T) {
	stop := func(second int64, hash string) *schemas.Event {
		return event(schemas.WitnessHook, schemas.KindTurnEnd, "p1", second, func(e *schemas.Event) {
			e.Body.Session = schemas.SessionBody{TextHash: hash, TextLength: schemas.SomeLong(100 - second)}
		})
	}
	events := []*schemas.Event{stop(10, "f"), stop(20, "a"), stop(15, "c")} // the agent was sent back twice
	for range 3 {
		events = append(events[1:], events[0])
		r := find(t, lastRows(enrich(t, events, never)), schemas.KindTurnEnd, "p1")
		if r.ResultHash != "a" || r.OccurredAt != start+20e6 {
			t.Errorf("the final message is %q of %d", r.ResultHash, r.OccurredAt)
		}
	}
}
