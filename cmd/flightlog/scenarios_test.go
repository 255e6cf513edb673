package main

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// What happened in each recorded scenario, by the README and the raw files of
// the recordings. No expectation here was taken from a row; only the words for
// it (exit, validation, overloaded, ...) are the rows' own.

// scenario is what the final rows of all witnesses must say.
type scenario struct {
	// story is every fact but the model requests, one sentence each, in no
	// order; "3 × " before a sentence stands for three of it. Model requests
	// are held against what the endpoint answered.
	story []string
	// cost is what the client says that it spent, 1e-9 USD: the last cost-state
	// of each session, less what a fork began with; without a transcript the
	// total of the stream. A model that has no list price is not in it.
	cost int64
	// check is asked about what a sentence cannot say; it may be missing.
	check func(t *testing.T, s told)
}

// Sentences that many stories share.
const (
	ordinary = "start startup\nprompt sdk\nturn ok\nend other"
	tested   = "Bash ok exit 0\ntests passed: 4 passed, 0 failed"
	look     = "Read src/price.js ok"
	edited   = "Edit src/price.js ok\nupdate src/price.js +1 -1 exact"
	ciEdited = "Read .github/workflows/ci.yml ok\nEdit .github/workflows/ci.yml ok\nupdate .github/workflows/ci.yml +1 -0 exact ci"
)

var success = []string{ordinary, look, edited, tested}

var scenarios = map[string]scenario{
	// Work of one session.
	"success": {story: success, cost: 77_626_800, check: everybodySawTheCalls},
	"fail-then-retry": {cost: 75_246_400,
		story: []string{ordinary, "Bash failed exit exit 1", "Bash failed exit exit 127", tested},
		check: func(t *testing.T, s told) {
			equal(t, "exit statuses in order", column(s.of(schemas.KindToolCall), "ExitStatus"), []string{"1", "127", "0"})
		}},
	"loop": {cost: 102_764_200,
		story: []string{ordinary, "8 × Bash failed exit exit 1", "8 × tests failed: 0 passed, 1 failed"},
		check: func(t *testing.T, s told) {
			calls := s.of(schemas.KindToolCall)
			equal(t, "hashes of the arguments", len(distinct(calls, "ToolArgumentsHash")), 1)
			equal(t, "tool_use_ids", len(distinct(calls, "ToolUseId")), 8)
		}},
	"edit-mismatch": {cost: 84_052_600,
		story: []string{ordinary, "Read src/cart.js ok", "2 × Edit src/cart.js ok", "2 × update src/cart.js +1 -1 exact", "2 × Edit src/cart.js failed validation"},
		check: func(t *testing.T, s told) {
			onlyBatchAndTranscriptShow(t, s, 2)
			equal(t, "calls by OTLP", len(tell(t, s.name, otlpWitness).of(schemas.KindToolCall)), 3)
		}},
	"false-claim": {cost: 78_152_800,
		story: []string{ordinary, look, edited, "Bash failed exit exit 1", "tests failed: 2 passed, 2 failed"},
		check: func(t *testing.T, s told) {
			run, change, end := s.one(t, schemas.KindTestRun), s.one(t, schemas.KindFileChange), s.one(t, schemas.KindTurnEnd)
			if run.OccurredAt <= change.OccurredAt || end.OccurredAt <= run.OccurredAt {
				t.Errorf("the change at %d, the red run at %d, the end of the turn at %d: not in that order", change.OccurredAt, run.OccurredAt, end.OccurredAt)
			}
		}},
	"ci-edit": {story: []string{ordinary, ciEdited}, cost: 71_774_800},
	"git-commit": {cost: 89_088_600,
		story: []string{ordinary, look, edited, tested, "3 × Bash ok exit 0", "Bash failed exit exit 128",
			"commit b107a8ee617aa186a66e44fb38ec50a0ca65d3ff on fix/rounding"},
		check: func(t *testing.T, s told) {
			equal(t, "branches", distinct(s.rows, "Branch"), []string{"fix/rounding", "main"})
		}},
	"pull-request": {cost: 87_300_200,
		story: []string{ordinary, look, edited, "4 × Bash ok exit 0", "push on fix/rounding",
			"commit a5d35ba33767c3f46d8fc7ab9f909a35db1f1ac5 on fix/rounding", "commit ea3f9e8fcdaf1b92e364dc0acaed8cdfbd3ede20 on fix/rounding",
			"pull_request created github.com/example/shop#17"},
		check: func(t *testing.T, s told) {
			// The quiet commits: "only the tool_result event names" them.
			equal(t, "commits without OTLP", len(tell(t, s.name, hookWitness, transcriptWitness).of(schemas.KindCommit)), 0)
		}},
	"secrets": {cost: 72_071_200,
		story: []string{ordinary, "Read config/dev.env ok secret", "Bash ok exit 0 secret"},
		check: func(t *testing.T, s told) {
			equal(t, "classes in the file and in the output", column(s.of(schemas.KindToolCall), "SecretClass"), []string{"aws-access-token", "github-pat"})
		}},
	"long-session": {cost: 241_986_000,
		story: []string{"start startup", "5 × prompt sdk", "5 × turn ok", "end other", "5 × " + look, "5 × Read src/cart.js ok",
			"15 × Bash ok exit 0", "Bash failed exit exit 1", "tests passed: 5 passed, 0 failed", "tests passed: 6 passed, 0 failed", "tests failed: 6 passed, 1 failed",
			"tests passed: 7 passed, 0 failed", "tests passed: 8 passed, 0 failed", "tests passed: 9 passed, 0 failed",
			added("tax"), added("stock"), added("coupon"), added("order"), added("invoice"),
			"Edit test/coupon.test.js ok", "update test/coupon.test.js +1 -1 exact",
			"commit 97d6ac66e2bec4b1e9fae55dcb427bfffc505595 on main", "commit 16378a4eebef31e1a59bbc47e33f2d76f0578b9c on main",
			"commit ba85a75b816eacc15bf48ef3edac5854a791aba0 on main", "commit 097e90fa99979daafb4b2eb9e8eb1986c3b1c94d on main",
			"commit b3b872bd3c393281ce2f91e734f65f9851332b62 on main"},
		check: func(t *testing.T, s told) { equal(t, "calls by prompt", s.callsByPrompt(), []int{7, 7, 9, 7, 7}) }},
	"parallel-tools": {cost: 69_967_800,
		story: []string{ordinary, look, "Read src/cart.js ok", "Bash ok exit 0", "Bash failed exit exit 1"},
		check: func(t *testing.T, s told) {
			asked := distinct(s.of(schemas.KindToolCall), "RequestId")
			equal(t, "requests that asked for the four calls", asked, []string{s.of(schemas.KindModelRequest)[0].RequestId})
		}},
	"background-bash": {cost: 72_615_400,
		story: []string{ordinary, "Bash ok", tested}, // in the background: no exit status yet
		check: func(t *testing.T, s told) {
			// The notification in the middle of the turn bears the id of its prompt.
			hash := schemas.TextHash([]byte("Build in the background and run the tests"))
			equal(t, "text of the prompt", s.one(t, schemas.KindPrompt).ResultHash, hash)
			equal(t, "text of the prompt, by hooks", tell(t, s.name, hookWitness).one(t, schemas.KindPrompt).ResultHash, hash)
		}},
	"classic-tools": {cost: 111_721_200,
		story: []string{ordinary, look, edited, "2 × TaskCreate ok", "4 × TaskUpdate ok", "TaskList ok", "Grep src ok", "Glob ok", "TodoWrite failed validation"},
		check: func(t *testing.T, s told) { onlyBatchAndTranscriptShow(t, s, 1) }},
	"mcp": {cost: 70_672_400,
		story: []string{ordinary, "mcp__stock__get_stock ok", "mcp__stock__reserve failed error"},
		check: func(t *testing.T, s told) {
			equal(t, "servers", distinct(s.of(schemas.KindToolCall), "McpServer"), []string{"stock"})
		}},
	// The nested request costs 4,688 µUSD of tokens and 10,000 of a search.
	"websearch":  {story: []string{ordinary, "ToolSearch ok", "WebSearch ok", "WebFetch failed error"}, cost: 92_131_200},
	"cwd-change": {story: []string{ordinary, "2 × Bash ok exit 0", "Read packages/api/README.md ok"}, cost: 74_626_800},
	"slash-command": {cost: 198_579_200, check: skillsOfTheCommands,
		story: []string{"3 × start startup", "prompt check", "prompt sdk", "prompt house-style", "3 × turn ok", "3 × end other", tested, "Skill house-style ok"}},
	// 1,202 lines end in a newline; the client counts the rest behind the last as one more.
	"large-output": {story: []string{ordinary, "Bash ok exit 0", "Write src/table.js ok", "create src/table.js +1202 -0 exact", "Read src/table.js ok"}, cost: 455_850_000},
	"odd-output": {cost: 81_601_200,
		story: []string{ordinary, "2 × Bash ok exit 0", "Read logo.png ok"},
		check: func(t *testing.T, s told) {
			for i := range s.rows {
				if line := s.rows[i].AppendJSON(nil); !json.Valid(line) || strings.Contains(string(line), `\u0000`) {
					t.Errorf("no valid JSON, or with a NUL: %s", line)
				}
			}
		}},

	// Permissions and hooks.
	"permission-denied": {cost: 82_738_400, check: nobodyWasAsked,
		story: []string{ordinary, look + " by user_permanent:rule:userSettings", "Bash ok exit 0 by user_permanent:rule:userSettings", "tests passed: 4 passed, 0 failed",
			"Bash failed permission-rule by config:rule:userSettings", "Bash failed user-rejected by config:bashMiss:no-rule-match",
			"Write src/tax.js failed user-rejected by config", "approval Bash reject config:bashMiss:no-rule-match", "approval Write reject config"}},
	"permission-prompt-host": {cost: 79_716_200,
		story: []string{"start startup", "2 × prompt sdk", "2 × turn ok", "end other",
			"Write src/tax.js ok by user_temporary", "create src/tax.js +1 -0 exact", "approval Write accept user_temporary",
			"Bash failed permission-rule by user_reject:bashMiss:no-rule-match", "approval Bash reject user_reject:bashMiss:no-rule-match"},
		check: func(t *testing.T, s told) { waited(t, s, 13, 0) }},
	"auto-mode": {cost: 73_110_000, check: nobodyWasAsked,
		story: []string{ordinary, "2 × Bash failed automode-unavailable by classifier:classifier:auto-mode:unavailable"}},
	// A Stop hook sends the agent back once: one prompt, one end of its turn,
	// behind the tests.
	"hook-deny": {cost: 81_478_200,
		story: []string{ordinary, "2 × Bash failed permission-rule by hook:hook:PreToolUse", "Bash ok exit 0 by hook:hook", tested}},
	"hook-timeouts":    {story: []string{ordinary, look}, cost: 67_018_600},
	"http-hooks":       {story: []string{ordinary, look, tested}, cost: 71_095_800}, // each told by up to three hooks
	"plugin-hooks":     {story: success, cost: 77_626_800, check: everybodySawTheCalls},
	"managed-settings": {story: success, cost: 77_626_800, check: everybodySawTheCalls},
	"misc-hooks": {cost: 70_611_600,
		story: []string{"start startup", "2 × prompt sdk", "2 × turn ok", "end other", "Bash ok exit 0",
			"config_change local_settings .claude/settings.local.json",
			"create .claude/settings.local.json +1 -0 exact agent_settings", "update .env +1 -1 exact secrets"}},

	// Subagents.
	"subagent": {cost: 70_150_345,
		story: []string{ordinary, "Agent Explore ok", "subagent Explore ok", "sub: Bash ok exit 0", "sub: " + look},
		check: func(t *testing.T, s told) { runOf(t, s, "addf8e2ad29e29e32", 3, "claude-haiku-5-5") }},
	"subagent-background": {cost: 119_960_200,
		story: []string{ordinary, "prompt task_notification", "turn ok", "Agent general-purpose ok", "subagent general-purpose ok",
			"Bash ok exit 0", "sub: Bash ok exit 0", "sub: tests passed: 4 passed, 0 failed"},
		check: func(t *testing.T, s told) {
			runOf(t, s, "a23ab32b6b25fc730", 2, "claude-opus-5-5")
			if run, end := s.one(t, schemas.KindTestRun), s.of(schemas.KindTurnEnd)[0]; run.OccurredAt <= end.OccurredAt {
				t.Error("the subagent's tests ran before the turn that started it had ended")
			}
		}},
	"subagent-worktree": {cost: 119_456_200,
		story: []string{ordinary, "Agent general-purpose ok", "subagent general-purpose ok", "sub: Bash ok exit 0", "sub: tests passed: 4 passed, 0 failed",
			"sub: update src/price.js +1 -1 exact"},
		check: func(t *testing.T, s told) { runOf(t, s, "a10fac45dc6531577", 2, "claude-opus-5-5") }},

	// Life of a session.
	"multi-prompt": {cost: 76_766_200,
		story: []string{"start startup", "3 × prompt sdk", "3 × turn ok", "end other", "Read README.md ok", tested},
		check: func(t *testing.T, s told) { equal(t, "calls by prompt", s.callsByPrompt(), []int{1, 1, 0}) }},
	"resume": {cost: 83_716_800, check: forkCountsOnce,
		story: []string{"start startup", "2 × start resume", "start fork", "4 × prompt sdk", "4 × turn ok", "2 × end other", look, tested, "Bash ok exit 0"}},
	"interactive": {cost: 195_313_700,
		story: []string{"start startup", "start compact", "4 × prompt human", "prompt model", "prompt compact", "prompt exit", "end prompt_input_exit",
			"2 × turn ok", "2 × turn failed interrupted", "notification permission_prompt", "notification idle_prompt", "compaction manual",
			"Write src/tax.js ok by user_temporary", "create src/tax.js +1 -0 exact", "approval Write accept user_temporary",
			"Bash failed user-rejected by user_reject", "approval Bash reject user_reject",
			// Allowed for ever, then interrupted: the transcript's toolDenialKind.
			"Bash failed user-rejected by user_permanent", "approval Bash accept user_permanent"},
		check: func(t *testing.T, s told) { waited(t, s, 1741, 7520, 1934) }},
	"compact-manual": {cost: 145_618_800,
		story: []string{"start startup", "2 × start resume", "start compact", "2 × prompt sdk", "prompt compact", "2 × turn ok", "end other", look, "compaction manual"}},
	"max-turns": {story: []string{"start startup", "prompt sdk", "end other", "3 × Bash ok exit 0", "turn failed max_turns"}, cost: 70_596_600},
	"sigint":    {story: []string{"start startup", "prompt sdk", "end other", look, "Bash failed user-rejected", "turn failed interrupted"}, cost: 67_375_000},
	"no-persistence": {cost: 72_034_600,
		story: []string{"start startup", "prompt", "turn ok", "end other", ciEdited},
		check: func(t *testing.T, s told) {
			equal(t, "witnesses of the calls", distinct(s.of(schemas.KindToolCall), "Witnesses"), []string{"hook,otlp"})
		}},

	// The API.
	"api-retries": {cost: 81_308_000,
		story: []string{ordinary, look, tested, "2 × Bash ok exit 0", "model_retry 1 overloaded", "model_retry 2 overloaded", "model_retry 1 rate_limit",
			"model_retry 1 server_error", "model_retry 1 connection_error"},
		check: func(t *testing.T, s told) {
			equal(t, "attempts", column(s.of(schemas.KindModelRequest), "Attempt"), []string{"3", "2", "2", "2", "1", "1"})
			equal(t, "waits", column(s.of(schemas.KindModelRetry), "DurationMs"), []string{"590", "1117", "1152", "513", "514"})
		}},
	"api-failure": {story: []string{"start startup", "prompt sdk", "end other", "model_retry 1 overloaded", "model_retry 2 overloaded", "model_error 3 server_error", "turn failed server_error"}},
	// The README says that requestedModel differs from the model that answered;
	// in the recorded lines, as at the endpoint, both are the fallback.
	"fallback-model": {story: []string{ordinary, tested, "model_retry 1 overloaded", "model_retry 2 overloaded"}, cost: 33_779_300},
	"stop-reasons":   {story: []string{"start startup", "3 × prompt sdk", "3 × turn ok", "end other"}, cost: 75_533_600},
	"usage-shapes": {cost: 738_650_000,
		story: []string{"7 × start startup", "7 × prompt sdk", "7 × turn ok", "7 × end other"},
		check: func(t *testing.T, s told) {
			equal(t, "grades, the fifth of an unknown model", column(s.of(schemas.KindModelRequest), "CostGrade"),
				[]string{"measured", "measured", "measured", "measured", "unpriced", "measured", "measured"})
		}},

	// OTLP variants.
	"otlp-defaults": {story: success, cost: 77_626_800, check: everybodySawTheCalls},
	"otlp-protobuf": {story: success, cost: 77_615_800, check: everybodySawTheCalls},
	"otlp-all": {cost: 77_691_800,
		story: []string{ordinary, look, edited, "Bash ok exit 0"}, // env, no tests
		check: func(t *testing.T, s told) {
			everybodySawTheCalls(t, s)
			// vcs.* among the attributes: nobody else knows the remote here.
			equal(t, "repositories", distinct(s.rows, "Repo"), []string{"github.com/example/shop"})
		}},
	"collector-down": {cost: 77_626_800,
		story: []string{"prompt sdk", "turn ok", "end", look, edited, tested},
		check: func(t *testing.T, s told) {
			equal(t, "witnesses of the calls", distinct(s.of(schemas.KindToolCall), "Witnesses"), []string{"transcript"})
		}},
}

func added(module string) string {
	return fmt.Sprintf("Write src/%[1]s.js ok\ncreate src/%[1]s.js +3 -0 exact\nWrite test/%[1]s.test.js ok\ncreate test/%[1]s.test.js +5 -0 exact", module)
}

func TestScenariosOfTheRecordingsAllHaveAStory(t *testing.T) {
	names := recordings.Scenarios()
	for _, name := range names {
		if len(scenarios[name].story) == 0 {
			t.Errorf("nobody says what happened in %s", name)
		}
	}
	equal(t, "stories", len(scenarios), len(names))
}

func TestScenarioRowsSayWhatHappened(t *testing.T) {
	for _, name := range recordings.Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, want := tell(t, name), scenarios[name]
			compareStory(t, s, want.story)
			compareRequests(t, s, want.cost)
			compareLives(t, s)
			if want.check != nil {
				want.check(t, s)
			}
		})
	}
}

// told is the rows that stand of one scenario, in order of time.
type told struct {
	name, dir string
	rows      []schemas.Enriched
}

func tell(t *testing.T, name string, witnesses ...schemas.Witness) told {
	t.Helper()
	s := told{name: name, dir: filepath.Join(recordings.Dir(t), name)}
	for _, r := range standing(fold(t, observe(t, s.dir, witnesses...).events)) {
		s.rows = append(s.rows, r)
	}
	sort.Slice(s.rows, func(i, j int) bool {
		a, b := &s.rows[i], &s.rows[j]
		return a.OccurredAt < b.OccurredAt || a.OccurredAt == b.OccurredAt && a.FactKey.String() < b.FactKey.String()
	})
	return s
}

func (s told) of(kind schemas.Kind) (rows []schemas.Enriched) {
	for _, r := range s.rows {
		if r.Kind == kind {
			rows = append(rows, r)
		}
	}
	return rows
}

func (s told) one(t *testing.T, kind schemas.Kind) schemas.Enriched {
	t.Helper()
	rows := s.of(kind)
	if len(rows) != 1 {
		t.Fatalf("%d rows of kind %s, want one", len(rows), kind)
	}
	return rows[0]
}

func (s told) callsByPrompt() (calls []int) {
	for _, p := range s.of(schemas.KindPrompt) {
		n := 0
		for _, r := range s.of(schemas.KindToolCall) {
			if r.PromptId == p.PromptId {
				n++
			}
		}
		calls = append(calls, n)
	}
	return calls
}

// sentence tells a fact by what a reader of the recording sees of it. Who
// decided on a call is named unless the settings let it run, or it never got so
// far as to be decided on.
func sentence(r *schemas.Enriched) string {
	var words []string
	say := func(w ...string) { words = append(words, w...) }
	if r.AgentRunId != "" && r.Kind != schemas.KindSubagent {
		say("sub:")
	}
	outcome := ""
	if r.Success.Valid {
		outcome = map[bool]string{true: "ok", false: "failed"}[r.Success.Value]
	}
	switch r.Kind {
	case schemas.KindSessionStart:
		say("start", r.Detail)
	case schemas.KindSessionEnd:
		say("end", r.Detail)
	case schemas.KindTurnEnd:
		say("turn", outcome, r.ErrorClass)
	case schemas.KindSubagent:
		say("subagent", r.Detail, outcome)
	case schemas.KindModelRetry, schemas.KindModelError:
		say(r.Kind.String(), strconv.FormatInt(r.Attempt.Value, 10), r.ErrorClass)
	case schemas.KindToolCall:
		say(r.ToolName)
		if r.ToolName != "Bash" {
			say(r.ToolTarget)
		}
		say(outcome, r.ErrorClass)
		if r.ExitStatus.Valid {
			say("exit", strconv.FormatInt(r.ExitStatus.Value, 10))
		}
		if r.SecretClass != "" {
			say("secret")
		}
		allowed := r.ApprovalDecision == "accept" && strings.HasPrefix(r.ApprovalKind, "config")
		if !allowed && r.ErrorClass != "validation" {
			say("by", r.ApprovalKind)
		}
	case schemas.KindApproval:
		say("approval", r.ToolName, r.ApprovalDecision, r.ApprovalKind)
	case schemas.KindFileChange:
		say(r.Detail, r.FilePath, fmt.Sprintf("+%d -%d", r.LinesAdded.Value, r.LinesRemoved.Value), r.ChangeGrade.String(), r.ProtectedClass)
	case schemas.KindCommit, schemas.KindPush:
		say(r.Kind.String(), r.CommitId, "on", r.Branch)
	case schemas.KindTestRun:
		say("tests", r.TestOutcome.String()+":", r.DiffStats)
	default:
		say(r.Kind.String(), r.Detail, r.FilePath, r.ChangeId)
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

func compareStory(t *testing.T, s told, want []string) {
	t.Helper()
	count := map[string]int{}
	for _, line := range strings.Split(strings.Join(want, "\n"), "\n") {
		n := 1
		if times, rest, ok := strings.Cut(line, " × "); ok {
			n, _ = strconv.Atoi(times)
			line = rest
		}
		count[line] += n
	}
	for i := range s.rows {
		if s.rows[i].Kind != schemas.KindModelRequest {
			count[sentence(&s.rows[i])]--
		}
	}
	for line, n := range count {
		switch {
		case n > 0:
			t.Errorf("%d × %q happened, and no row says so", n, line)
		case n < 0:
			t.Errorf("%d × %q is said, and did not happen", -n, line)
		}
	}
}

// compareRequests holds the model requests against what the endpoint answered
// and the money against what the client says that it spent.
func compareRequests(t *testing.T, s told, wantCost int64) {
	t.Helper()
	requests, err := recordings.Endpoint(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]schemas.Enriched{}
	for _, r := range s.of(schemas.KindModelRequest) {
		if _, twice := rows[r.RequestId]; twice {
			t.Errorf("request %s is counted twice", r.RequestId)
		}
		rows[r.RequestId] = r
	}
	var cost int64
	for _, want := range requests {
		r, ok := rows[want.RequestId]
		delete(rows, want.RequestId)
		if ok != want.Answered() {
			t.Errorf("request %s: has a row %v, was answered %v", want.RequestId, ok, want.Answered())
		}
		if !ok || !want.Answered() {
			continue
		}
		what := "of request " + want.RequestId
		equal(t, "session "+what, r.SessionId, want.SessionId)
		equal(t, "model "+what, r.Model, want.AnswerModel)
		equal(t, "model_requested "+what, r.ModelRequested, want.Model)
		equal(t, "stop_reason "+what, r.StopReason, want.StopReason)
		equal(t, "tokens "+what, rowUsage(&r), cutShort(want))
		equal(t, "thinking "+what, r.TokenThinking.Value, want.Usage.Thinking)
		equal(t, "server tools used "+what, r.ServerToolUses.Value, want.Usage.WebSearches+want.Usage.WebFetches)
		equal(t, "fast "+what, r.Speed == "fast", want.Usage.Speed == "fast")
		if r.CostClientUsd.Valid && r.CostGrade != schemas.CostGradeUnpriced {
			equal(t, "cost "+what, r.CostNanoUsd.Value, int64(math.Round(r.CostClientUsd.Value*1e9)))
		}
		equal(t, "is priced "+what, r.CostNanoUsd.Valid, r.CostGrade != schemas.CostGradeUnpriced)
		if want.MaxTokens != 1 { // the probe before a model switch is in no client's total
			cost += r.CostNanoUsd.Value
		}
	}
	for id := range rows {
		t.Errorf("request %s never reached the endpoint", id)
	}
	equal(t, "cost", cost, wantCost)
}

// compareLives asks what holds in every scenario: whose rows they are, that
// work belongs to a prompt, a call to a request and an artifact to a call, and
// that what says the end comes last.
func compareLives(t *testing.T, s told) {
	t.Helper()
	requests, err := recordings.Endpoint(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var sessions []string // --continue tells OTLP of one more, which never was
	for _, r := range requests {
		sessions = append(sessions, r.SessionId)
	}
	sort.Strings(sessions)
	sessions = slices.Compact(sessions)
	equal(t, "sessions", distinct(s.rows, "SessionId"), sessions)
	equal(t, "ends of sessions", len(s.of(schemas.KindSessionEnd)), len(sessions))
	equal(t, "agents", distinct(s.rows, "Agent"), []string{"claude-code"})
	equal(t, "versions of the agent", distinct(s.rows, "AgentVersion"), []string{"2.1.330"})

	prompts, calls := distinct(s.of(schemas.KindPrompt), "PromptId"), distinct(s.of(schemas.KindToolCall), "ToolUseId")
	asked := distinct(s.of(schemas.KindModelRequest), "RequestId")
	sessionEnd, turnEnd := map[string]int64{}, map[string]int64{}
	for _, r := range s.of(schemas.KindSessionEnd) {
		sessionEnd[r.SessionId] = r.OccurredAt
	}
	for _, r := range s.of(schemas.KindTurnEnd) {
		turnEnd[r.PromptId] = r.OccurredAt
	}
	for i := range s.rows {
		r := &s.rows[i]
		if r.OccurredAt > sessionEnd[r.SessionId] {
			t.Errorf("%q comes after the end of its session", sentence(r))
		}
		if r.ParentSessionId == "" {
			equal(t, "root of "+sentence(r), r.RootSessionId, r.SessionId)
		}
		switch r.Kind {
		case schemas.KindSessionStart, schemas.KindSessionEnd:
			continue
		case schemas.KindModelRequest:
			if r.QuerySource == "model_validation" {
				continue // the probe: a span alone tells of it, and names no prompt
			}
		}
		if !slices.Contains(prompts, r.PromptId) {
			t.Errorf("%q belongs to the prompt %q, which has no row", sentence(r), r.PromptId)
		}
		if r.Kind == schemas.KindToolCall && !slices.Contains(asked, r.RequestId) {
			t.Errorf("%q was asked for by the request %q, which has no row", sentence(r), r.RequestId)
		}
		if r.Family == schemas.FamilyArtifact && !slices.Contains(calls, r.ToolUseId) {
			t.Errorf("%q comes from the call %q, which has no row", sentence(r), r.ToolUseId)
		}
		end, ended := turnEnd[r.PromptId]
		if ended && r.OccurredAt > end && r.AgentRunId == "" && r.Kind != schemas.KindNotification {
			t.Errorf("%q comes after the end of its turn", sentence(r))
		}
	}
}

// everybodySawTheCalls: how hooks and OTLP are set up makes no difference.
func everybodySawTheCalls(t *testing.T, s told) {
	equal(t, "witnesses of the calls", distinct(s.of(schemas.KindToolCall), "Witnesses"), []string{"hook,transcript,otlp"})
}

// onlyBatchAndTranscriptShow: a call that fails validation leaves PostToolBatch
// as its only hook, and nothing in OTLP.
func onlyBatchAndTranscriptShow(t *testing.T, s told, calls int) {
	for _, teller := range []struct {
		told
		witnesses string
	}{{s, "hook,transcript"}, {tell(t, s.name, hookWitness), "hook"}, {tell(t, s.name, transcriptWitness), "transcript"}} {
		n := 0
		for _, r := range teller.of(schemas.KindToolCall) {
			if r.ErrorClass == "validation" {
				equal(t, "witnesses of "+sentence(&r), r.Witnesses, teller.witnesses)
				n++
			}
		}
		equal(t, "calls that fail validation, by "+teller.witnesses, n, calls)
	}
}

// nobodyWasAsked: a refusal by the settings is no wait for a person.
func nobodyWasAsked(t *testing.T, s told) {
	for _, r := range s.of(schemas.KindApproval) {
		equal(t, "wait of "+sentence(&r), r.ApprovalWaitMs, schemas.OptLong{})
	}
	for _, r := range s.of(schemas.KindToolCall) {
		asked := slices.ContainsFunc(s.of(schemas.KindApproval), func(a schemas.Enriched) bool { return a.ToolUseId == r.ToolUseId })
		equal(t, "approval_required of "+sentence(&r), r.ApprovalRequired.Value, asked)
	}
}

// waited: from the PermissionRequest to the tool_decision, in ms and in order,
// as the two were recorded.
func waited(t *testing.T, s told, want ...int64) {
	approvals := s.of(schemas.KindApproval)
	if len(approvals) != len(want) {
		t.Fatalf("%d approvals, want %d", len(approvals), len(want))
	}
	for i, r := range approvals {
		if wait := r.ApprovalWaitMs; !wait.Valid || wait.Value < want[i]-5 || wait.Value > want[i]+5 {
			t.Errorf("%q waited for %v ms, want about %d", sentence(&r), wait, want[i])
		}
		if r.ToolUseId == "" {
			t.Errorf("%q belongs to no call", sentence(&r))
		}
	}
}

// runOf: the requests and calls of a subagent bear its run, the session and the
// prompt of the call that started it.
func runOf(t *testing.T, s told, run string, requests int, model string) {
	started := s.one(t, schemas.KindSubagent)
	equal(t, "the run", started.AgentRunId, run)
	n := 0
	for i := range s.rows {
		r := &s.rows[i]
		if r.ToolName == "Agent" {
			equal(t, "the call that started the run", started.ToolUseId, r.ToolUseId)
			equal(t, "run of the Agent call", r.AgentRunId, "")
		}
		if r.AgentRunId != "" {
			equal(t, "run of "+sentence(r), r.AgentRunId, run)
			equal(t, "prompt of "+sentence(r), r.PromptId, s.of(schemas.KindPrompt)[0].PromptId)
		}
		if r.AgentRunId != "" && r.Kind == schemas.KindModelRequest {
			equal(t, "model of the run", r.Model, model)
			n++
		}
	}
	equal(t, "requests of the run", n, requests)
}

// skillsOfTheCommands: a command of the user, a skill that the model calls, the
// skill called by the user.
func skillsOfTheCommands(t *testing.T, s told) {
	equal(t, "skills of the requests", column(s.of(schemas.KindModelRequest), "Skill"), []string{"check", "check", "", "house-style", "house-style"})
	equal(t, "workflows of the prompts", column(s.of(schemas.KindPrompt), "Workflow"), []string{"check", "sdk-cli", "house-style"})
}

// forkCountsOnce: no fact of the history that a fork copies is the fork's, and
// the fork names whom it came from.
func forkCountsOnce(t *testing.T, s told) {
	const parent, fork = "acda5c2d-201a-43a6-be16-f28edb038d48", "9ab82915-4a34-4032-8633-0202014224eb"
	facts := map[string]map[schemas.Kind]int{parent: {}, fork: {}}
	for i := range s.rows {
		r := &s.rows[i]
		facts[r.SessionId][r.Kind]++
		equal(t, "root of "+sentence(r), r.RootSessionId, parent)
		equal(t, "parent of "+sentence(r), r.ParentSessionId, map[string]string{fork: parent}[r.SessionId])
	}
	equal(t, "facts of the fork", facts[fork], map[schemas.Kind]int{schemas.KindSessionStart: 1, schemas.KindPrompt: 1,
		schemas.KindModelRequest: 2, schemas.KindToolCall: 1, schemas.KindTurnEnd: 1, schemas.KindSessionEnd: 1})
	equal(t, "facts of the parent", facts[parent], map[schemas.Kind]int{schemas.KindSessionStart: 3, schemas.KindPrompt: 3,
		schemas.KindModelRequest: 5, schemas.KindToolCall: 2, schemas.KindTestRun: 1, schemas.KindTurnEnd: 3, schemas.KindSessionEnd: 1})
}

// column is a column of rows as text, null as 0.
func column(rows []schemas.Enriched, name string) (values []string) {
	for i := range rows {
		v := reflect.ValueOf(&rows[i]).Elem().FieldByName(name).Interface()
		if n, ok := v.(schemas.OptLong); ok {
			v = n.Value
		}
		values = append(values, fmt.Sprint(v))
	}
	return values
}

// distinct are the values of a column, sorted.
func distinct(rows []schemas.Enriched, name string) []string {
	values := column(rows, name)
	sort.Strings(values)
	return slices.Compact(values)
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
