package claudecode_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

func hash(text string) string { return schemas.TextHash([]byte(text)) }

func TestAForkTellsOnlyOfItsOwnWorkAndNamesItsParent(t *testing.T) {
	const parent, fork = "acda5c2d-201a-43a6-be16-f28edb038d48", "9ab82915-4a34-4032-8633-0202014224eb"
	paid := map[string]string{}
	for _, e := range transcriptsOf(t, "resume").events {
		root := parent
		switch e.SessionId {
		case parent:
			if e.ParentSessionId != "" {
				t.Errorf("%s has a parent: %s", e.SessionId, e.ParentSessionId)
			}
		case fork:
			if e.ParentSessionId != parent {
				t.Errorf("parent of the fork is %q, want %s", e.ParentSessionId, parent)
			}
		}
		if e.RootSessionId != root {
			t.Errorf("root of %s is %q, want %s", e.SessionId, e.RootSessionId, root)
		}
		if e.Kind == schemas.KindModelRequest {
			if other := paid[e.RequestId]; other != "" && other != e.SessionId {
				t.Errorf("request %s is told for two sessions", e.RequestId)
			}
			paid[e.RequestId] = e.SessionId
		}
	}
	count := map[string]int{}
	for _, session := range paid {
		count[session]++
	}
	if count[parent] != 5 || count[fork] != 2 {
		t.Errorf("requests by session: %v, want 5 of the parent and 2 of the fork", count)
	}
}

func TestWorkInASubagentNamesItsRunAndTheParentsSession(t *testing.T) {
	const session, run, use = "6b8fa451-93de-45a0-b1e5-df35bbc3aafa", "addf8e2ad29e29e32", "toolu_01ir3p2NvfT8QV8hgJCxaPPy"
	for witness, k := range map[string]*kept{"hooks": hooksOf(t, "subagent"), "transcripts": transcriptsOf(t, "subagent")} {
		inner := 0
		for _, e := range k.of(schemas.KindToolCall) {
			name := e.Body.Tool.ToolName
			if e.SessionId != session || (name == "Agent") != (e.AgentRunId == "") {
				t.Errorf("%s: %s is of session %s, run %q", witness, name, e.SessionId, e.AgentRunId)
			}
			if e.AgentRunId == run && e.Body.Tool.Done {
				inner++
			}
			if name == "Agent" && e.Body.Tool.Done && e.Body.Tool.AgentRunStarted != run {
				t.Errorf("%s: the Agent call started %q, want %s", witness, e.Body.Tool.AgentRunStarted, run)
			}
		}
		if inner != 2 {
			t.Errorf("%s: %d calls ended in the run, want 2", witness, inner)
		}
		var fact fact
		for _, f := range facts(t, k) {
			if f["kind"] == "subagent" {
				fact = f
			}
		}
		if fact["tool_use_id"] != use || fact["agent_run_id"] != run || fact["prompt_id"] != "c046a76b-a108-415c-950a-1f8e08b35c6c" ||
			fact["text_hash"] != hash("Two places: src/price.js:3 (Math.floor in discount), src/price.js:7 (Math.round in withTax).") || fact["duration_ms"] == nil {
			t.Errorf("%s: the run is %v", witness, fact)
		}
	}
}

func TestANotificationInATurnDoesNotSpeakForThePrompt(t *testing.T) {
	for witness, k := range map[string]*kept{"hooks": hooksOf(t, "background-bash"), "transcripts": transcriptsOf(t, "background-bash")} {
		prompts := k.of(schemas.KindPrompt)
		if len(prompts) != 1 || prompts[0].Body.Session.TextHash != hash("Build in the background and run the tests") {
			t.Errorf("%s: prompts %+v, want the person's words only", witness, prompts)
		}
	}
}

func TestAnApprovalCanBeLinkedToItsCall(t *testing.T) {
	linked := 0
	for _, scenario := range recordings.Scenarios() {
		k := hooksOf(t, scenario)
		calls := k.of(schemas.KindToolCall)
		for _, a := range k.of(schemas.KindApproval) {
			linked++
			if !slices.ContainsFunc(calls, func(c schemas.Event) bool {
				return c.SessionId == a.SessionId && c.PromptId == a.PromptId && c.Body.Tool.ToolName == a.Body.Tool.ToolName &&
					c.Body.Tool.ArgumentsHash == a.Body.Tool.ArgumentsHash && c.Body.Tool.ToolTarget == a.Body.Tool.ToolTarget
			}) {
				t.Errorf("%s: no call has tool and arguments of the approval %+v", scenario, a.Body.Tool)
			}
		}
	}
	if linked != 7 {
		t.Errorf("%d approvals, want 7", linked)
	}
}

func TestAMessageOfManyBlocksIsOneRequestAndManyCalls(t *testing.T) {
	k := transcriptsOf(t, "parallel-tools")
	requests, calls := map[string]int{}, map[string]map[string]bool{}
	for _, e := range k.of(schemas.KindModelRequest) {
		requests[e.RequestId]++
	}
	for _, e := range k.of(schemas.KindToolCall) {
		if calls[e.RequestId] == nil {
			calls[e.RequestId] = map[string]bool{}
		}
		calls[e.RequestId][e.ToolUseId] = true
	}
	if len(requests) != 2 {
		t.Errorf("%d requests, want 2", len(requests))
	}
	for id, uses := range calls {
		if len(uses) != 4 || requests[id] != 1 {
			t.Errorf("request %s: %d calls, told %d times; want 4 calls, told once", id, len(uses), requests[id])
		}
	}
}

func TestAHookThatManyHandlersTellOfIsToldOnce(t *testing.T) {
	k := hooksOf(t, "http-hooks") // 25 lines
	got := map[schemas.Kind]int{}
	for _, e := range k.events {
		got[e.Kind]++
	}
	want := map[schemas.Kind]int{
		schemas.KindSessionStart: 1, schemas.KindPrompt: 1, schemas.KindToolCall: 4, schemas.KindTestRun: 1, schemas.KindTurnEnd: 1, schemas.KindSessionEnd: 1,
	}
	for kind, n := range want {
		if got[kind] != n {
			t.Errorf("%d events of %s, want %d", got[kind], kind, n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("kinds %v, want %v", got, want)
	}
}

func TestEqualCallsHaveEqualArguments(t *testing.T) {
	for witness, k := range map[string]*kept{"hooks": hooksOf(t, "loop"), "transcripts": transcriptsOf(t, "loop")} {
		hashes, uses := map[string]bool{}, map[string]bool{}
		for _, e := range k.of(schemas.KindToolCall) {
			hashes[e.Body.Tool.ArgumentsHash] = true
			uses[e.ToolUseId] = true
		}
		if len(hashes) != 1 || len(uses) != 8 {
			t.Errorf("%s: %d calls with %d kinds of arguments, want 8 with one", witness, len(uses), len(hashes))
		}
	}
}

func TestTheLastMessageEndsTheTurn(t *testing.T) {
	for scenario, want := range map[string]string{"stop-reasons": "which is discount.", "hook-deny": "The tests pass.", "api-retries": "All good: the tests pass."} {
		ends := transcriptsOf(t, scenario).of(schemas.KindTurnEnd)
		if got := ends[0].Body.Session; got.TextHash != hash(want) || got.TextLength.Value != int64(len(want)) {
			t.Errorf("%s: the turn ends with another text than %q", scenario, want)
		}
	}
}

func TestEventsKnowWhoWhereAndUnderWhat(t *testing.T) {
	for witness, k := range map[string]*kept{"hooks": hooksOf(t, "git-commit"), "transcripts": transcriptsOf(t, "git-commit")} {
		for _, e := range k.events {
			if e.Agent != "claude-code" || e.AgentVersion != "2.1.330" || e.Host != "devbox" || e.Repo != "github.com/example/shop" ||
				e.User != "dev" || e.Owner != "dev" || e.UserSource != schemas.UserSourceOsLogin ||
				e.Workflow != "sdk-cli" || e.WorkflowSource != schemas.WorkflowSourceEntrypoint || e.EventId.IsZero() || e.FactKey.IsZero() {
				t.Errorf("%s: %s", witness, e.AppendJSON(nil))
			}
			if e.Kind == schemas.KindCommit && (e.Branch != "fix/rounding" || e.WorkKind != schemas.WorkKindBugfix || e.WorkKindSource != schemas.WorkKindSourceBranchPrefix) {
				t.Errorf("%s: the commit is on %q, work %s by %s", witness, e.Branch, e.WorkKind, e.WorkKindSource)
			}
		}
	}
}

func TestASlashCommandIsTheWorkflowOfItsPromptAndTheSkillOfItsWork(t *testing.T) {
	for witness, k := range map[string]*kept{"hooks": hooksOf(t, "slash-command"), "transcripts": transcriptsOf(t, "slash-command")} {
		var told []string
		for _, f := range facts(t, k) {
			if f["kind"] == "prompt" {
				told = append(told, f.str("command")+" "+f.str("workflow")+" "+f.str("workflow_source"))
				if f["command"] == "check" && f["text_hash"] != hash("/check price module") {
					t.Errorf("%s: the prompt is not what the user typed", witness)
				}
			}
		}
		want := []string{"check check command", "house-style house-style command"}
		for _, w := range want {
			if !slices.Contains(told, w) {
				t.Errorf("%s: prompts %q, want one with %q", witness, told, w)
			}
		}
	}
	skills := map[string]bool{}
	for _, e := range transcriptsOf(t, "slash-command").events {
		skills[e.Kind.String()+" "+e.Skill] = true
	}
	for _, want := range []string{"model_request check", "tool_call check", "test_run check", "model_request house-style"} {
		if !skills[want] {
			t.Errorf("nothing tells of a %s: %v", want, skills)
		}
	}
}

func TestUsageKeepsWhatPricesDependOn(t *testing.T) {
	var hour, fast, thinking bool
	models := map[string]bool{}
	for _, e := range transcriptsOf(t, "usage-shapes").of(schemas.KindModelRequest) {
		b := e.Body.Model
		models[b.Model] = true
		hour = hour || b.TokenCacheWrite1h.Value > 0
		fast = fast || b.Speed == "fast"
		thinking = thinking || b.TokenThinking.Value > 0
		if b.OutputPartial || b.QuerySource != "sdk" || b.ServiceTier != "standard" || b.MessageId == "" || b.StopReason == "" {
			t.Errorf("request %s: %+v", e.RequestId, b)
		}
	}
	if !hour || !fast || !thinking || len(models) < 4 {
		t.Errorf("hour %v, fast %v, thinking %v, models %v", hour, fast, thinking, models)
	}
}

func TestReadingTwiceMakesTheSameEvents(t *testing.T) {
	for _, scenario := range []string{"resume", "subagent-background", "interactive", "http-hooks"} {
		for witness, read := range map[string]func() *kept{
			"hooks": func() *kept { return hooksOf(t, scenario) }, "transcripts": func() *kept { return transcriptsOf(t, scenario) },
		} {
			ids := func() string {
				var s strings.Builder
				for _, e := range read().events {
					s.WriteString(e.EventId.String())
				}
				return s.String()
			}
			if once, again := ids(), ids(); once != again {
				t.Errorf("%s of %s: other events the second time", witness, scenario)
			}
		}
	}
}
