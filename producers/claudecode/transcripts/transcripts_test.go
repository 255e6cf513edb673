package transcripts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/schemas"
)

type kept struct {
	events []schemas.Event
	dead   []schemas.DeadLetter
}

func (k *kept) Event(e *schemas.Event) error {
	k.events = append(k.events, *e)
	return nil
}

func (k *kept) DeadLetter(d *schemas.DeadLetter) error {
	k.dead = append(k.dead, *d)
	return nil
}

var options = claudecode.Options{Repository: func(string) (root, repo, branch, email string) { return }}

const session = "11111111-2222-3333-4444-555555555555"

// read reads lines as a file of that name under a projects folder.
func read(t *testing.T, name string, lines ...string) *kept {
	t.Helper()
	path := filepath.Join(t.TempDir(), "projects", "-w", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &kept{}
	if err := transcripts.ReadFile(t.Context(), path, options, k); err != nil {
		t.Fatal(err)
	}
	return k
}

// line is a line of a type with some more fields, a second after the last one.
func line(kind, fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"type":%q,"uuid":"u","timestamp":"2026-11-22T13:38:20.5Z","sessionId":"s","cwd":"/w","version":"2.1.330"%s}`, kind, fields)
}

func prompt(id, text string) string {
	return line("user", fmt.Sprintf(`"promptId":%q,"turnOrigin":"human","message":{"content":%q}`, id, text))
}

func answer(request, message, stop, block string, output int) string {
	return line("assistant", fmt.Sprintf(`"requestId":%q,"message":{"id":%q,"model":"m","stop_reason":%s,"content":[%s],"usage":{"input_tokens":1,"output_tokens":%d}}`, request, message, stop, block, output))
}

func said(text string) string { return fmt.Sprintf(`{"type":"text","text":%q}`, text) }

func use(id string) string {
	return fmt.Sprintf(`{"type":"tool_use","id":%q,"name":"Read","input":{"file_path":"/w/a.go"}}`, id)
}

func result(id string) string {
	return line("user", fmt.Sprintf(`"message":{"content":[{"type":"tool_result","tool_use_id":%q,"content":"x"}]}`, id))
}

// told is the kinds of the events, with some of what they say.
func told(k *kept) string {
	var s []string
	for _, e := range k.events {
		word := e.Kind.String()
		switch e.Kind {
		case schemas.KindPrompt, schemas.KindModelError:
			word += " " + e.PromptId
		case schemas.KindTurnEnd:
			word += fmt.Sprintf(" %s %v %s", e.PromptId, e.Success.Value, e.ErrorClass)
		case schemas.KindModelRequest:
			word += fmt.Sprintf(" %s", e.RequestId)
		case schemas.KindToolCall:
			word += fmt.Sprintf(" %s %v", e.ToolUseId, e.Body.Tool.Done)
		}
		s = append(s, strings.TrimSpace(word))
	}
	for _, d := range k.dead {
		s = append(s, "dead "+d.Position+" "+d.Reason+" "+d.Detail)
	}
	return strings.Join(s, "; ")
}

func TestATurnEndsWithoutHooksToo(t *testing.T) {
	const stop = `"subtype":"stop_hook_summary"`
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"by the next prompt and the end of the file", []string{prompt("p1", "a"), answer("r1", "m1", `"end_turn"`, said("x"), 1), prompt("p2", "b"), answer("r2", "m2", `"end_turn"`, said("y"), 1)},
			"prompt p1; model_request r1; turn_end p1 true; prompt p2; model_request r2; turn_end p2 true"},
		{"by Stop hooks, once", []string{prompt("p1", "a"), answer("r1", "m1", `"end_turn"`, said("x"), 1), line("system", stop), prompt("p2", "b")},
			"prompt p1; model_request r1; turn_end p1 true; prompt p2"},
		{"not while a call is open", []string{prompt("p1", "a"), answer("r1", "m1", `"tool_use"`, use("t"), 1)},
			"prompt p1; model_request r1; tool_call t false"},
		{"not when a Stop hook sends it back", []string{prompt("p1", "a"), answer("r1", "m1", `"end_turn"`, said("x"), 1),
			line("attachment", `"attachment":{"type":"hook_blocking_error","hookEvent":"Stop"}`), line("system", stop), answer("r2", "m2", `"tool_use"`, use("t"), 1)},
			"prompt p1; model_request r1; model_request r2; tool_call t false"},
		{"by an interruption", []string{prompt("p1", "a"), answer("r1", "m1", `"end_turn"`, said("x"), 1), line("user", `"promptId":"p1","message":{"content":"[Request interrupted by user]"}`)},
			"prompt p1; model_request r1; turn_end p1 false interrupted"},
		{"by giving up", []string{prompt("p1", "a"), line("assistant", `"isApiErrorMessage":true,"error":"rate_limit","message":{"model":"<synthetic>","content":[{"type":"text","text":"x"}],"usage":{}}`)},
			"prompt p1; model_error p1; turn_end p1 false rate_limit"},
	} {
		if got := told(read(t, session+".jsonl", c.lines...)); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
	}
}

func TestInputsOfThePersonArePromptsAndOthersAreNot(t *testing.T) {
	k := read(t, session+".jsonl",
		prompt("p1", "hello"),
		line("user", `"promptId":"p2","isMeta":true,"message":{"content":"meta"}`),
		line("user", `"promptId":"p3","isVisibleInTranscriptOnly":true,"message":{"content":"unseen"}`),
		line("user", `"promptId":"p4","isSidechain":true,"message":{"content":"a subagent's"}`),
		line("user", `"promptId":"p5","message":{"content":"<local-command-stdout>x</local-command-stdout>"}`),
		line("user", `"promptId":"p6","message":{"content":"<bash-input>ls</bash-input>"}`),
		line("user", `"promptId":"p7","message":{"content":[{"type":"image","source":{}},{"type":"text","text":"see"}]}`),
		line("user", `"message":{"content":"of an older client"}`),
		line("attachment", `"attachment":{"type":"queued_command","prompt":"x"}`),
	)
	if got, want := told(k), "prompt p1; prompt p7; prompt u"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestUsageGrowsInOlderClientsAndIsTheLeast(t *testing.T) {
	k := read(t, session+".jsonl",
		strings.ReplaceAll(answer("r", "m", "null", said("a"), 1), "2.1.330", "2.1.39"),
		strings.ReplaceAll(answer("r", "m", "null", `{"type":"thinking"}`, 1), "2.1.330", "2.1.39"), // says nothing new
		strings.ReplaceAll(answer("r", "m", "null", `{"type":"thinking"}`, 20), "2.1.330", "2.1.39"),
	)
	var output []int64
	for _, e := range k.events {
		output = append(output, e.Body.Model.TokenOutput.Value)
		if !e.Body.Model.OutputPartial || e.FactKey != k.events[0].FactKey {
			t.Errorf("%s", e.AppendJSON(nil))
		}
	}
	if !slices.Equal(output, []int64{1, 20}) {
		t.Errorf("output tokens %v, want 1 and then 20", output)
	}
}

// TestIterationsAreToldWithAndWithoutARequestId: an answer of some clouds bears
// no request id, and its advisor costs as much (contract §3.3).
func TestIterationsAreToldWithAndWithoutARequestId(t *testing.T) {
	const want = "m, m/advisor/1, m/compaction/2"
	for _, request := range []string{"r", ""} {
		k := read(t, session+".jsonl", line("assistant", fmt.Sprintf(`"requestId":%q,"message":{"id":"m","model":"x","content":[],"usage":{"input_tokens":1,"output_tokens":1,"iterations":[`+
			`{"type":"message","input_tokens":1,"output_tokens":1},{"type":"advisor_message","model":"y","input_tokens":7,"output_tokens":5},{"type":"compaction","input_tokens":9,"output_tokens":3}]}}`, request)))
		var ids []string
		var input int64
		facts := map[schemas.Id]bool{}
		for _, e := range k.events {
			ids, input, facts[e.FactKey] = append(ids, e.Body.Model.MessageId), input+e.Body.Model.TokenInput.Value, true
		}
		if got := strings.Join(ids, ", "); got != want || input != 17 || len(facts) != 3 {
			t.Errorf("request %q: %s with %d input tokens in %d facts, want %s with 17 in 3", request, got, input, len(facts), want)
		}
	}
}

func TestPlaceholdersEndWithVersion2_1_40(t *testing.T) {
	for version, partial := range map[string]bool{"1.0.99": true, "2.0.76": true, "2.1.39": true, "2.1.40": false, "2.1.330": false, "2.2.0": false, "3": false, "2.1.330-beta": false, "": true, "x": true} {
		k := read(t, session+".jsonl", strings.ReplaceAll(answer("r", "m", `"end_turn"`, said("a"), 1), "2.1.330", version))
		if got := k.events[0].Body.Model.OutputPartial; got != partial {
			t.Errorf("version %q: partial %v", version, got)
		}
	}
}

func TestCacheWritesCountByLifetimeOnce(t *testing.T) {
	for usage, want := range map[string][3]int64{ // whole where the split is not, 5 minutes, an hour; -1 is not told
		`{"cache_creation_input_tokens":5}`: {5, -1, -1},
		`{"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":3}}`: {-1, 2, 3},
		`{"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":2}}`:                               {5, 2, -1},
		`{"cache_creation_input_tokens":-5}`:  {-1, -1, -1},
		`{"cache_creation_input_tokens":"5"}`: {-1, -1, -1},
	} {
		k := read(t, session+".jsonl", line("assistant", `"requestId":"r","message":{"id":"m","content":[],"usage":`+usage+`}`))
		b := k.events[0].Body.Model
		var got [3]int64
		for i, v := range []schemas.OptLong{b.TokenCacheWrite, b.TokenCacheWrite5m, b.TokenCacheWrite1h} {
			got[i] = -1
			if v.Valid {
				got[i] = v.Value
			}
		}
		if got != want {
			t.Errorf("%s: %v, want %v", usage, got, want)
		}
	}
}

func TestResultsOfCopiedCallsAreCopies(t *testing.T) {
	copied := func(l string) string { return strings.Replace(l, `{"type"`, `{"requestSessionId":"parent","type"`, 1) }
	k := read(t, session+".jsonl",
		prompt("p", "old"),
		copied(answer("r1", "m1", `"tool_use"`, use("t1"), 1)),
		result("t1"),
		copied(answer("r2", "m2", `"tool_use"`, use("t2")+","+use("t3"), 1)),
		result("t2"), result("t3"), // after the last marked line
		prompt("p", "new"),
		answer("r3", "m3", `"tool_use"`, use("t4"), 1),
		result("t4"),
	)
	if got, want := told(k), "prompt p; model_request r3; tool_call t4 false; tool_call t4 true"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, e := range k.events {
		if e.RootSessionId != "parent" || e.ParentSessionId != "parent" || e.SessionId != "s" {
			t.Errorf("%s", e.AppendJSON(nil))
		}
	}
	if k.events[0].Body.Session.TextLength.Value != 3 {
		t.Error("the prompt told is the copied one")
	}
}

func TestAMarkInATextIsNoFork(t *testing.T) {
	k := read(t, session+".jsonl",
		prompt("p", `{"requestSessionId":"parent"}`),
		answer("r", "m", `"tool_use"`, `{"type":"tool_use","id":"t","name":"X","input":{"requestId":"q","requestSessionId":"parent"}}`, 1))
	if got, want := told(k), "prompt p; model_request r; tool_call t false"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestALineOfAnotherShapeIsBuriedOrSkipped(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":7}`:                     "",
		`{"type":"new-in-3.0","uuid":5}`: "",
		`{"uuid":5,"type":"mode"}`:       "",
		`{"type":"system"}`:              "",
		`{"type":"user"}`:                "dead 1 missing_field timestamp",
		line("user", `"message":7`):      "prompt u",
		line("user", `"message":{"content":[7,"x",{"type":"tool_result"}]}`):                                   "dead 1 missing_field message.content.tool_use_id",
		line("user", `"message":{"content":[{"type":"tool_result","tool_use_id":5}]}`):                         "dead 1 wrong_type message.content.tool_use_id: want a string, got Number",
		line("user", `"promptId":"`+strings.Repeat("p", 300)+`"`):                                              "dead 1 wrong_type promptId: 300 bytes are no id",
		line("user", `"promptId":5`):                                                                           "dead 1 wrong_type promptId: want a string, got Number",
		line("assistant", `"message":{"content":[{"type":"tool_use","id":7}]}`):                                "dead 1 wrong_type message.content.id: want a string, got Number",
		line("assistant", `"message":{"id":7,"usage":{}}`):                                                     "dead 1 wrong_type message.id: want a string, got Number",
		line("assistant", `"requestId":"r","message":{"usage":{"input_tokens":{}},"content":"x","model":[1]}`): "model_request r",
		line("system", `"subtype":"api_error","error":"x","retryInMs":"y"`):                                    "model_retry",
		line("system", `"subtype":"api_error","error":{"requestId":1}`):                                        "dead 1 wrong_type error.requestId: want a string, got Number",
		line("system", `"subtype":"compact_boundary","compactMetadata":[]`):                                    "compaction",
		line("pr-link", `"prUrl":17`):                                                                          "",
		strings.Replace(line("user", ""), `"2026-11-22T13:38:20.5Z"`, `1795354733`, 1):                         "dead 1 wrong_type timestamp: want a string, got Number",
		strings.Replace(line("user", ""), `"s"`, `{}`, 1):                                                      "dead 1 wrong_type sessionId: want a string, got JSON",
	} {
		if got := strings.TrimSpace(told(read(t, session+".jsonl", in))); got != want && got != want+" " {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestACompactionWithoutASummaryIsNamedByItsLine(t *testing.T) {
	boundary := line("system", `"subtype":"compact_boundary","compactMetadata":{"trigger":"auto","preTokens":9}`)
	byLine := read(t, session+".jsonl", boundary, boundary)
	byPrompt := read(t, session+".jsonl", boundary, line("user", `"promptId":"p","isCompactSummary":true`))
	if want := schemas.FactKey("s", schemas.KindCompaction, "u"); len(byLine.events) != 2 || byLine.events[0].FactKey != want {
		t.Errorf("without a summary: %s", byLine.events[0].AppendJSON(nil))
	}
	if want := schemas.FactKey("s", schemas.KindCompaction, "p"); len(byPrompt.events) != 1 || byPrompt.events[0].FactKey != want || byPrompt.events[0].PromptId != "p" {
		t.Errorf("with a summary: %s", told(byPrompt))
	}
}

func TestASubagentsTranscriptIsToldWithAndWithoutMeta(t *testing.T) {
	lines := []string{
		line("user", `"promptId":"p","agentId":"a1","isSidechain":true,"message":{"content":"do"}`),
		line("assistant", `"agentId":"a1","isSidechain":true,"attributionAgent":"Plan","requestId":"r","message":{"id":"m","stop_reason":"end_turn","content":[{"type":"text","text":"done"}],"usage":{}}`),
	}
	k := read(t, session+"/subagents/agent-a1.jsonl", lines...)
	last := k.events[len(k.events)-1]
	if last.Kind != schemas.KindSubagent || last.AgentRunId != "a1" || last.Body.Session.AgentType != "Plan" || last.Success.Valid ||
		last.Body.Session.TextHash != schemas.TextHash([]byte("done")) || last.PromptId != "p" || last.SessionId != "s" {
		t.Errorf("without meta: %s", last.AppendJSON(nil))
	}
	if got, want := told(k), "subagent; model_request r; subagent"; got != want {
		t.Errorf("without meta: %s, want %s", got, want)
	}

	path := filepath.Join(t.TempDir(), "agent-a1.jsonl")
	for name, text := range map[string]string{path: strings.Join(lines, "\n"), strings.Replace(path, ".jsonl", ".meta.json", 1): `{"agentType":"Explore","toolUseId":"t","parentAgentId":"a0","requestShape":"background","finished":true}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k = &kept{}
	if err := transcripts.ReadFile(t.Context(), path, options, k); err != nil {
		t.Fatal(err)
	}
	last = k.events[len(k.events)-1]
	if last.Body.Session.AgentType != "Explore" || last.ToolUseId != "t" || last.ParentAgentRunId != "a0" || !last.Body.Session.Background.Value || !last.Success.Value || !last.DurationMs.Valid {
		t.Errorf("with meta: %s", last.AppendJSON(nil))
	}
	if k.events[1].ParentAgentRunId != "a0" {
		t.Errorf("the run's request: %s", k.events[1].AppendJSON(nil))
	}
}

func TestReadingStopsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), session+".jsonl")
	if err := os.WriteFile(path, []byte(prompt("p", "a")), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := transcripts.ReadFile(ctx, path, options, &kept{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := transcripts.ReadFile(t.Context(), path+"x", options, &kept{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestFindListsTranscriptsInOrderAndNothingElse(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".claude")
	const other = "01111111-2222-3333-4444-555555555555"
	for _, name := range []string{
		"history.jsonl", "settings.json", "projects/-w/memory/notes.jsonl",
		"projects/-w/" + session + ".jsonl", "projects/-w/" + session + "/subagents/agent-b.jsonl", "projects/-w/" + session + "/subagents/agent-b.meta.json",
		"projects/-w/" + session + "/subagents/agent-a.jsonl", "projects/-w/" + session + "/tool-results/agent-x.jsonl",
		"projects/-a/" + other + ".jsonl",
	} {
		name = filepath.Join(home, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(filepath.Dir(home), "link")
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	own := []string{session + ".jsonl", session + "/subagents/agent-a.jsonl", session + "/subagents/agent-b.jsonl"}
	for path, want := range map[string][]string{
		home:                                     {"projects/-a/" + other + ".jsonl", "projects/-w/" + own[0], "projects/-w/" + own[1], "projects/-w/" + own[2]},
		link:                                     {"projects/-a/" + other + ".jsonl", "projects/-w/" + own[0], "projects/-w/" + own[1], "projects/-w/" + own[2]},
		home + "/projects/-w/":                   {own[0], own[1], own[2]},
		home + "/projects/-w/" + session:         {"../" + own[0], "../" + own[1], "../" + own[2]},
		home + "/projects/-w/memory":             nil,
		home + "/projects/-w/" + own[2]:          {"."},
		home + "/projects/-w/memory/notes.jsonl": {"."},
	} {
		found, err := transcripts.Find(path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range found {
			rel, err := filepath.Rel(path, f)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rel)
		}
		for i := range want {
			want[i] = strings.Replace(want[i], "../"+session+"/", "", 1)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if _, err := transcripts.Find(home + "/nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func FuzzTranscriptLine(f *testing.F) {
	for _, l := range []string{
		prompt("p", "<command-name>/x</command-name><command-args>y</command-args>"),
		answer("r", "m", `"end_turn"`, said("a")+","+use("t"), 5), result("t"),
		line("user", `"toolUseResult":{"filePath":"/w/a","structuredPatch":[{"lines":["+a"]}]},"permissionDecision":{"decision":"reject"},"toolDenialKind":"x","message":{"content":[{"type":"tool_result","tool_use_id":"t","is_error":true,"content":[{"type":"text","text":"a"}]}]}`),
		line("system", `"subtype":"api_error","error":{"status":529,"requestId":"r"},"retryInMs":1e99`),
		line("system", `"subtype":"compact_boundary","compactMetadata":{"preTokens":1}`),
		line("user", `"isCompactSummary":true,"promptId":"p"`),
		line("pr-link", `"prUrl":"https://h/o/n/pull/1"`),
		`{"type":"api-request","id":"x","querySource":"sdk"}`,
		line("assistant", `"isApiErrorMessage":true,"error":"x","message":{"content":"a"}`),
	} {
		f.Add([]byte(l))
	}
	path := filepath.Join(f.TempDir(), session+".jsonl")
	f.Fuzz(func(t *testing.T, in []byte) {
		text := append(slices.Concat([]byte(prompt("p", "a")+"\n"), in), '\n')
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		k := &kept{}
		if err := transcripts.ReadFile(context.Background(), path, options, k); err != nil {
			t.Fatal(err)
		}
		for i := range k.events {
			if e := &k.events[i]; e.SessionId == "" || e.Kind == schemas.KindUnknown || e.OccurredAt == 0 && e.Kind != schemas.KindUnknown && !strings.Contains(string(in), "1970") {
				t.Errorf("%s", e.AppendJSON(nil))
			}
		}
		for _, d := range k.dead {
			if d.Reason == "panic" {
				t.Errorf("panic: %s", d.Detail)
			}
		}
	})
}
