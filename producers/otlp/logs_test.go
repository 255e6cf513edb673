package otlp_test

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

func TestCommandsOfTheTerminalArePrompts(t *testing.T) {
	s, _ := read(t, "interactive", "logs")
	var got []string
	for _, e := range s.of(schemas.KindPrompt, byLog) {
		b := e.Body.Session
		got = append(got, b.Reason+" "+b.Command)
		if b.TextHash == "" || b.TextLength.Value == 0 || e.FactKey != schemas.FactKey(e.SessionId, schemas.KindPrompt, e.PromptId) {
			t.Errorf("prompt %+v", e)
		}
		if e.Skill != "" {
			t.Errorf("%s is no skill", b.Command)
		}
	}
	want := " | |command model| |command compact| |command exit"
	if strings.Join(got, "|") != want {
		t.Errorf("prompts are %q, want %q", strings.Join(got, "|"), want)
	}
	if b := s.of(schemas.KindPrompt, byLog)[0].Body.Session; b.TextHash != schemas.TextHash([]byte("Add src/tax.js and clean dist")) || b.TextLength != schemas.SomeLong(29) {
		t.Errorf("the first prompt is %+v", b)
	}
}

func TestACommandOfTheProjectIsTheWorkflow(t *testing.T) {
	s, _ := read(t, "slash-command", "logs")
	for kind, want := range map[schemas.Kind]string{
		schemas.KindPrompt:       "check,,house-style",
		schemas.KindModelRequest: "check,check,,house-style,house-style",
	} {
		var workflows []string
		for _, e := range s.of(kind, byLog) {
			workflows = append(workflows, e.Workflow)
			if (e.WorkflowSource == schemas.WorkflowSourceCommand) != (e.Workflow != "") {
				t.Errorf("%s: workflow %q by %s", kind, e.Workflow, e.WorkflowSource)
			}
			if kind == schemas.KindModelRequest && e.Skill != e.Workflow || kind == schemas.KindPrompt && e.Body.Session.Command != e.Workflow {
				t.Errorf("%s: skill %q, command %q, workflow %q", kind, e.Skill, e.Body.Session.Command, e.Workflow)
			}
		}
		if got := strings.Join(workflows, ","); got != want {
			t.Errorf("%ss ran under %s, want %s", kind, got, want)
		}
	}
}

func TestWhatIsRedactedHasALengthOnly(t *testing.T) {
	s, _ := read(t, "otlp-defaults", "logs")
	prompt := s.of(schemas.KindPrompt, byLog)
	if len(prompt) != 1 || prompt[0].Body.Session.TextHash != "" || prompt[0].Body.Session.TextLength != schemas.SomeLong(75) {
		t.Errorf("prompt %+v", prompt)
	}
	for _, e := range s.of(schemas.KindToolCall, byLog) {
		if b := e.Body.Tool; b.ToolName == "" || b.ToolTarget != "" || b.ArgumentsHash != "" || b.CommandClass != "" {
			t.Errorf("tool call %+v", b)
		}
	}
	if n := len(s.of(schemas.KindFileChange, byLog)) + len(s.of(schemas.KindTestRun, byLog)); n > 0 {
		t.Errorf("%d artifacts were made of nothing", n)
	}
}

func TestAPromptThatIsNotWholeHasNoHash(t *testing.T) {
	for name, c := range map[string]struct {
		prompt, length string
		hashed         bool
		bytes          int64
	}{
		"whole":                     {"aé😀", "4", true, 7}, // in UTF-16 units and in bytes
		"cut":                       {"aé", "4", false, 4},
		"redacted":                  {"<REDACTED>", "75", false, 75},
		"redacted, of equal length": {"<REDACTED>", "10", false, 10},
	} {
		s, _ := logs(t, logRecord("user_prompt", map[string]any{"prompt": c.prompt, "prompt_length": c.length}))
		if b := s.events[0].Body.Session; (b.TextHash != "") != c.hashed || b.TextLength != schemas.SomeLong(c.bytes) {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

func TestATimeIsFoundWhereverItStands(t *testing.T) {
	record := logRecord("api_request", map[string]any{"request_id": "r", "event.timestamp": "2026-11-22T13:38:04.457Z"})
	for name, c := range map[string]struct {
		record string
		want   int64
	}{
		"timeUnixNano":         {strings.Replace(record, "457000000", "458000000", 1), 1795354684458000},
		"event.timestamp":      {strings.Replace(record, "1795354684457000000", "0", 1), 1795354684457000},
		"observedTimeUnixNano": {strings.Replace(strings.Replace(record, "timeUnixNano", "observedTimeUnixNano", 1), "2026-11", "at some time in", 1), 1795354684457000},
	} {
		s, _ := logs(t, c.record)
		if len(s.events) != 1 || s.events[0].OccurredAt != c.want {
			t.Errorf("%s: %+v, dead letters %+v", name, s.events, s.letters)
		}
	}
}

func TestRefusedCallsAreOverWithoutAResult(t *testing.T) {
	s, _ := read(t, "permission-denied", "logs")
	rejected := map[string]int{}
	for _, e := range s.of(schemas.KindToolCall, byLog) {
		b := e.Body.Tool
		switch b.ApprovalDecision {
		case "reject":
			if b.ApprovalSource != "config" || !b.Done || e.Success != schemas.SomeBool(false) || e.ErrorClass != "denied" || b.PermissionMode != "default" || b.ExitStatus.Valid {
				t.Errorf("refused call %+v", e)
			}
			rejected[b.ToolName]++
		case "accept":
			if b.ApprovalSource != "user_permanent" || b.Done || e.Success.Valid {
				t.Errorf("allowed call %+v", e)
			}
		case "":
			if !b.Done || e.Success != schemas.SomeBool(true) {
				t.Errorf("result %+v", e)
			}
		}
	}
	if !maps.Equal(rejected, map[string]int{"Bash": 2, "Write": 1}) || len(s.of(schemas.KindFileChange, byLog)) != 0 {
		t.Errorf("refused %v", rejected)
	}
	verdicts := 0
	auto, _ := read(t, "auto-mode", "logs")
	for _, e := range auto.of(schemas.KindToolCall, byLog) {
		if b := e.Body.Tool; b.ApprovalReason == "classifier:auto-mode:unavailable" && b.ApprovalSource == "classifier" && b.PermissionMode == "auto" {
			verdicts++
		}
	}
	if verdicts != 2 {
		t.Errorf("%d verdicts of the classifier, want 2", verdicts)
	}
}

func TestAUsersAnswersAreApprovals(t *testing.T) {
	s, _ := read(t, "interactive", "logs")
	got := map[string]int{}
	for _, e := range s.of(schemas.KindToolCall, byLog) {
		b := e.Body.Tool
		got[b.ToolName+" "+b.ApprovalDecision+" "+b.ApprovalSource]++
	}
	// Both the decision and the result of an allowed call tell of it.
	for want, n := range map[string]int{"Write accept user_temporary": 2, "Bash reject user_reject": 1, "Bash accept user_permanent": 2} {
		if got[want] != n {
			t.Errorf("%s: %d, want %d", want, got[want], n)
		}
	}
	interrupted := s.call(t, byLog, func(e *schemas.Event) bool { return e.ErrorClass == "ShellError" })
	if interrupted.Success != schemas.SomeBool(false) || interrupted.DurationMs != schemas.SomeLong(4076) || interrupted.Body.Tool.ExitStatus.Valid {
		t.Errorf("the interrupted call is %+v", interrupted)
	}
	compaction := s.of(schemas.KindCompaction, byLog)
	if len(compaction) != 1 || compaction[0].Success != schemas.SomeBool(true) || compaction[0].DurationMs != schemas.SomeLong(272) ||
		compaction[0].Body.Session != (schemas.SessionBody{Reason: "manual", TokensBefore: schemas.SomeLong(3598), TokensAfter: schemas.SomeLong(2970)}) {
		t.Errorf("compaction %+v", compaction)
	}
	models := map[string]bool{}
	for _, e := range s.of(schemas.KindModelRequest, byLog) {
		models[e.Body.Model.Model+" "+e.Body.Model.QuerySource] = true
	}
	for _, want := range []string{"claude-opus-5-5 repl_main_thread", "claude-sonnet-5-5 repl_main_thread", "claude-sonnet-5-5 compact"} {
		if !models[want] {
			t.Errorf("no request of %s: %v", want, models)
		}
	}
}

func TestASummaryIsARequestOfItsOwn(t *testing.T) {
	s, _ := read(t, "compact-manual", "logs")
	compaction := s.of(schemas.KindCompaction, byLog)
	if len(compaction) != 1 || compaction[0].FactKey != schemas.FactKey(compaction[0].SessionId, schemas.KindCompaction, compaction[0].PromptId) {
		t.Fatalf("compaction %+v", compaction)
	}
	summaries := 0
	for _, e := range s.of(schemas.KindModelRequest, byLog) {
		if e.Body.Model.QuerySource == "compact" {
			summaries++
			if e.PromptId != compaction[0].PromptId || e.Body.Model.TokenOutput.Value != 64 {
				t.Errorf("summary %+v", e)
			}
		}
	}
	if summaries != 1 {
		t.Errorf("%d requests for summaries, want 1", summaries)
	}
}

func TestASearchIsBilledAsItsOwnRequest(t *testing.T) {
	s, _ := read(t, "websearch", "logs")
	searches := 0
	for _, e := range s.of(schemas.KindModelRequest, byLog) {
		b := e.Body.Model
		if b.QuerySource == "web_search_tool" {
			searches++
			if cost := b.CostClientUsd.Value; cost < 0.01 {
				t.Errorf("the search cost %g, without the price of a search", cost)
			}
		}
		if b.Platform != "firstParty" || b.Speed != "standard" || e.Success != schemas.SomeBool(true) || !e.DurationMs.Valid {
			t.Errorf("request %+v", e)
		}
	}
	if searches != 1 {
		t.Errorf("%d searches, want 1", searches)
	}
	if e := s.call(t, byLog, func(e *schemas.Event) bool { return e.ErrorClass == "DomainCheckFailedError" }); e.Body.Tool.ToolName != "WebFetch" {
		t.Errorf("the call that failed is %+v", e)
	}
}

func TestTheCostIsTheClientsOwnFigure(t *testing.T) {
	s, _ := read(t, "success", "logs")
	var sum float64
	for _, e := range s.of(schemas.KindModelRequest, byLog) {
		sum += e.Body.Model.CostClientUsd.Value
	}
	var metric float64
	for _, body := range bodies(t, "success", "metrics") {
		metric += sumOf(t, body, "claude_code.cost.usage")
	}
	if sum == 0 || math.Abs(sum-metric) > 1e-9 {
		t.Errorf("the requests cost %g, the metric says %g", sum, metric)
	}
}

func TestARequestThatIsGivenUpIsOneFailure(t *testing.T) {
	s, r := read(t, "api-failure")
	failures := s.of(schemas.KindModelError, byLog)
	if len(failures) != 2 || failures[0].FactKey != failures[1].FactKey || failures[0].EventId == failures[1].EventId {
		t.Fatalf("failures %+v", failures)
	}
	for _, e := range failures {
		b := e.Body.Model
		if e.Success != schemas.SomeBool(false) || e.ErrorClass != "server_error" || b.StatusCode != schemas.SomeLong(529) || b.Attempt != schemas.SomeLong(3) || b.Model != "claude-opus-5-5" {
			t.Errorf("failure %+v", e)
		}
	}
	for _, e := range s.events {
		if e.Kind == schemas.KindModelRequest {
			t.Errorf("a request that never worked: %+v", e)
		}
	}
	if r.Skipped()["claude_code.llm_request without request_id"] != 1 {
		t.Errorf("skipped %v", r.Skipped())
	}
}

func TestARefusalEndsARequest(t *testing.T) {
	s, _ := read(t, "stop-reasons")
	refused := map[schemas.Signal]schemas.Event{}
	for _, e := range s.events {
		if e.Body.Model.StopReason == "refusal" {
			refused[e.Signal] = e
		}
	}
	if len(refused) != 2 || refused[byLog].FactKey != refused[bySpan].FactKey || refused[byLog].Body.Model.TokenInput.Valid {
		t.Errorf("refusals %+v", refused)
	}
}

func TestASubagentsWorkBearsItsRun(t *testing.T) {
	s, _ := read(t, "subagent")
	agents := s.of(schemas.KindSubagent, byLog)
	if len(agents) != 1 {
		t.Fatalf("subagents %+v", agents)
	}
	a := agents[0]
	if a.Body.Session != (schemas.SessionBody{AgentType: "Explore", Background: schemas.SomeBool(false)}) || a.DurationMs != schemas.SomeLong(642) ||
		a.FactKey != schemas.FactKey(a.SessionId, schemas.KindSubagent, a.AgentRunId) || a.AgentRunId == "" {
		t.Errorf("subagent %+v", a)
	}
	for _, signal := range []schemas.Signal{byLog, bySpan} {
		requests := 0
		for _, e := range s.of(schemas.KindModelRequest, signal) {
			if e.AgentRunId == a.AgentRunId {
				requests++
				if b := e.Body.Model; b.Model != "claude-haiku-5-5" || b.QuerySource != "agent:builtin:Explore" {
					t.Errorf("request of the subagent %+v", e)
				}
			}
		}
		if requests != 3 {
			t.Errorf("%d requests of the subagent by %s, want 3", requests, signal)
		}
	}
	if s, _ := read(t, "subagent-background", "logs"); s.of(schemas.KindSubagent, byLog)[0].Body.Session.Background != schemas.SomeBool(true) {
		t.Error("the subagent in the background was not told of as such")
	}
}

func TestATaskNotificationIsNoPersonsPrompt(t *testing.T) {
	s, _ := read(t, "subagent-background", "logs")
	var reasons []string
	for _, e := range s.of(schemas.KindPrompt, byLog) {
		reasons = append(reasons, e.Body.Session.Reason)
	}
	if got := strings.Join(reasons, ","); got != ",task_notification" {
		t.Errorf("prompts are by %q", got)
	}
}

func TestResourceAttributesSayWhereTheWorkRan(t *testing.T) {
	s, _ := read(t, "otlp-all")
	withRepo := 0
	for _, e := range s.events {
		if e.Host != "devbox" || e.Team != "checkout" || e.Workflow != "sdk-cli" || e.WorkflowSource != schemas.WorkflowSourceEntrypoint {
			t.Errorf("event %+v", e)
		}
		if e.Repo == "github.com/example/shop" {
			withRepo++
		} else if e.Repo != "" || e.Kind != schemas.KindPrompt { // the first records lack it
			t.Errorf("%s in repository %q", e.Kind, e.Repo)
		}
	}
	if withRepo < 10 {
		t.Errorf("%d events with a repository", withRepo)
	}
}

func TestACommitIsNamedByWhatEveryWitnessHasOfIt(t *testing.T) {
	for scenario, commits := range map[string]int{"git-commit": 1, "pull-request": 2, "long-session": 5} {
		s, _ := read(t, scenario, "logs")
		printed, err := os.ReadFile(filepath.Join(recordings.Dir(t), scenario, "git-log.txt"))
		if err != nil {
			t.Fatal(err)
		}
		want := map[schemas.Id]bool{}
		for line := range strings.Lines(string(printed)) {
			short, _, _ := strings.Cut(line, " ")
			want[schemas.FactKey(s.events[0].SessionId, schemas.KindCommit, short)] = true
		}
		got := s.of(schemas.KindCommit, byLog)
		if len(got) != commits {
			t.Errorf("%s: %d commits, want %d", scenario, len(got), commits)
		}
		for _, e := range got {
			if !want[e.FactKey] || len(e.Body.Artifact.CommitId) != 40 || e.ToolUseId == "" || e.RequestId == "" {
				t.Errorf("%s: git did not print %+v", scenario, e)
			}
			if scenario != "long-session" && (e.Branch != "fix/rounding" || e.WorkKind != schemas.WorkKindBugfix || e.WorkKindSource != schemas.WorkKindSourceBranchPrefix) {
				t.Errorf("%s: commit on %q: %s", scenario, e.Branch, e.WorkKind)
			}
			made := s.call(t, byLog, func(c *schemas.Event) bool { return c.ToolUseId == e.ToolUseId && c.Body.Tool.Done })
			if made.Branch != e.Branch {
				t.Errorf("%s: the call is on %q", scenario, made.Branch)
			}
		}
	}
}
