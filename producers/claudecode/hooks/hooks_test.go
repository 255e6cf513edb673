package hooks_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/claudecode/hooks"
	"github.com/flightlog/flightlog/schemas"
)

type kept struct{ events []schemas.Event }

func (k *kept) Event(e *schemas.Event) error {
	k.events = append(k.events, *e)
	return nil
}

func (k *kept) DeadLetter(*schemas.DeadLetter) error { return nil }

func newReader() (*kept, *hooks.Reader) {
	k := &kept{}
	return k, hooks.New(k, claudecode.Options{Repository: func(string) (root, repo, branch, email string) { return }})
}

// payload is a hook's payload in session s with some more fields.
func payload(hook, fields string) []byte {
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Appendf(nil, `{"session_id":"s","cwd":"/w","hook_event_name":%q%s}`, hook, fields)
}

const second = int64(1e6)

// tell hands payloads over, ten seconds apart.
func tell(t *testing.T, r *hooks.Reader, payloads ...[]byte) {
	t.Helper()
	for i, p := range payloads {
		if err := r.Payload(int64(i+1)*10*second, p, nil); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
	}
}

func reason(err error) string {
	var bad *producers.BadInput
	if errors.As(err, &bad) {
		return strings.TrimSuffix(bad.Reason+" "+bad.Detail, " ")
	}
	return fmt.Sprint(err)
}

func TestAPayloadThatNamesNothingIsBadInput(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                                     "missing_field hook_event_name",
		`[]`:                                     "not_json want one JSON object",
		``:                                       "not_json want one JSON object",
		"{\"a\":\"\xff\"}":                       "not_utf8",
		`{"hook_event_name":"Stop"}`:             "missing_field session_id",
		`{"hook_event_name":7,"session_id":"s"}`: "wrong_type hook_event_name: want a string, got Number",
		`{"hook_event_name":"Stop","session_id":{}}`:                                            "wrong_type session_id: want a string, got JSON",
		`{"hook_event_name":"Stop","session_id":"s","prompt_id":1}`:                             "wrong_type prompt_id: want a string, got Number",
		`{"hook_event_name":"PreToolUse","session_id":"s","tool_name":"Bash"}`:                  "missing_field tool_use_id",
		`{"hook_event_name":"PreToolUse","session_id":"s","tool_use_id":"t"}`:                   "missing_field tool_name",
		`{"hook_event_name":"PostToolBatch","session_id":"s","tool_calls":[{}]}`:                "missing_field tool_calls.tool_use_id",
		`{"hook_event_name":"PostToolBatch","session_id":"s","tool_calls":[{"tool_use_id":7}]}`: "wrong_type tool_calls.tool_use_id: want a string, got Number",
		`{"hook_event_name":"SubagentStop","session_id":"s","agent_type":"Explore"}`:            "missing_field agent_id",
	} {
		k, r := newReader()
		if got := reason(r.Payload(1, []byte(in), nil)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
		if len(k.events) != 0 {
			t.Errorf("%s made an event", in)
		}
	}
}

func TestFieldsOfAnotherTypeAreNotKnown(t *testing.T) {
	k, r := newReader()
	tell(t, r,
		payload("PreToolUse", `"tool_name":"Bash","tool_use_id":"t","tool_input":[1,{"command":2}],"permission_mode":3,"prompt_id":null`),
		payload("PostToolUse", `"tool_name":"Bash","tool_use_id":"t","tool_input":"x","tool_response":{"stdout":5,"interrupted":"yes","bashEditDiff":[1],"gitOperation":{"commit":{"sha":1},"push":2,"pr":"x"}},"duration_ms":"9"`),
		payload("Stop", `"last_assistant_message":["a"]`),
		payload("PostToolBatch", `"tool_calls":"none"`),
		payload("UserPromptSubmit", `"prompt":{"text":"a"}`),
		payload("FromTheFuture", `"x":1`),
	)
	if len(k.events) != 4 {
		t.Fatalf("%d events, want a call's start and end, a turn's end and a prompt", len(k.events))
	}
	if e := k.events[1]; e.DurationMs.Valid || !e.Success.Value || e.Body.Tool.ResultHash == "" || e.Body.Tool.PermissionMode != "" {
		t.Errorf("%s", e.AppendJSON(nil))
	}
}

func TestARecordedLineNeedsItsTimeAndPayload(t *testing.T) {
	for in, want := range map[string]string{
		`{"event":"Stop","input":{}}`:                                     "missing_field recorded_at",
		`{"event":"Stop","recorded_at":"soon","input":{}}`:                "wrong_type recorded_at: want a time as RFC 3339",
		`{"event":"Stop","recorded_at":"2026-11-22T13:38:20Z"}`:           "missing_field input: want an object",
		`{"event":"Stop","recorded_at":"2026-11-22T13:38:20Z","input":7}`: "missing_field input: want an object",
		`{"event":"_hook_finished","of":"Stop"}`:                          "<nil>",
	} {
		_, r := newReader()
		if got := reason(r.Recorded(1, []byte(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestTheEnvironmentTellsVersionAndEntrypointOnceForASession(t *testing.T) {
	k, r := newReader()
	env := map[string]string{"AI_AGENT": "claude-code_2-1-330_harness", "CLAUDE_CODE_ENTRYPOINT": "cli", "ANTHROPIC_API_KEY": "secret"}
	for i, p := range []struct {
		input []byte
		env   map[string]string
	}{{payload("SessionStart", `"source":"startup"`), env}, {payload("Stop", ""), nil}, {[]byte(`{"session_id":"other","hook_event_name":"Stop"}`), nil}} {
		if err := r.Payload(int64(i), p.input, p.env); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"2.1.330 cli", "2.1.330 cli", " "} {
		if got := k.events[i].AgentVersion + " " + k.events[i].Workflow; got != want {
			t.Errorf("event %d: %q, want %q", i, got, want)
		}
	}
	if k.events[0].RootSessionId != "s" || k.events[1].RootSessionId != "" {
		t.Errorf("roots %q and %q: only a session that starts anew is its own root for sure", k.events[0].RootSessionId, k.events[1].RootSessionId)
	}
}

func TestOneHookToldByManyIsOneAndAHookThatComesAgainIsTwo(t *testing.T) {
	recorded := func(ms int, via, tag string) string {
		return fmt.Sprintf(`{"event":"Notification","recorded_at":"2026-11-22T13:38:20.%03dZ","via":%q,"tag":%q,"input":%s}`, ms, via, tag, payload("Notification", `"notification_type":"idle_prompt"`))
	}
	for _, c := range []struct {
		name  string
		lines []string
		want  int
	}{
		{"two handlers", []string{recorded(0, "command", ""), recorded(900, "http", "")}, 1},
		{"two tags", []string{recorded(0, "command", "a"), recorded(900, "command", "b")}, 1},
		{"one handler, at once", []string{recorded(0, "command", ""), recorded(200, "command", "")}, 1},
		{"one handler, later", []string{recorded(0, "command", ""), recorded(900, "command", "")}, 2},
		{"the later one came first", []string{recorded(900, "http", ""), recorded(0, "command", "")}, 1},
		{"two handlers, twice", []string{recorded(0, "command", ""), recorded(20, "http", ""), recorded(900, "command", ""), recorded(920, "http", "")}, 2},
	} {
		k, r := newReader()
		for _, l := range c.lines {
			if err := r.Recorded(1, []byte(l)); err != nil {
				t.Fatal(err)
			}
		}
		if len(k.events) != c.want {
			t.Errorf("%s: %d events, want %d", c.name, len(k.events), c.want)
		}
	}
}

func TestANotificationIsAPromptOnlyWhenNoTurnRuns(t *testing.T) {
	prompt := func(id, text string) []byte {
		return payload("UserPromptSubmit", fmt.Sprintf(`"prompt_id":%q,"prompt":%q`, id, text))
	}
	const note = "<task-notification>done</task-notification>"
	for _, c := range []struct {
		name     string
		payloads [][]byte
		want     []string
	}{
		{"it wakes the session", [][]byte{prompt("p1", "go"), prompt("p2", note)}, []string{"p1  text", "p2 task_notification text"}},
		{"in the middle of a turn", [][]byte{prompt("p1", "go"), prompt("p1", note)}, []string{"p1  text"}},
		{"the reader cannot know", [][]byte{prompt("p1", note)}, []string{"p1  "}},
		{"a subagent still works for the prompt before", [][]byte{prompt("p1", "go"), prompt("p2", "on"), payload("PreToolUse", `"prompt_id":"p1","agent_id":"a","tool_name":"Read","tool_use_id":"t"`), prompt("p2", note)}, []string{"p1  text", "p2  text"}},
	} {
		k, r := newReader()
		tell(t, r, c.payloads...)
		var got []string
		for _, e := range k.events {
			if e.Kind == schemas.KindPrompt {
				text := ""
				if e.Body.Session.TextHash != "" {
					text = "text"
				}
				got = append(got, e.PromptId+" "+e.Body.Session.Reason+" "+text)
			}
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%s: prompts %q, want %q", c.name, got, c.want)
		}
	}
}

func TestABatchEndsOnlyWhatNothingElseEnds(t *testing.T) {
	pre := payload("PreToolUse", `"tool_name":"Bash","tool_use_id":"t","tool_input":{"command":"ls"}`)
	post := payload("PostToolUse", `"tool_name":"Bash","tool_use_id":"t","tool_input":{"command":"ls"},"tool_response":{"stdout":"a"}`)
	batch := func(response string) []byte {
		return payload("PostToolBatch", fmt.Sprintf(`"tool_calls":[{"tool_name":"Bash","tool_use_id":"t","tool_input":{"command":"ls"},"tool_response":%q}]`, response))
	}
	for _, c := range []struct {
		name     string
		payloads [][]byte
		want     string // of the events after the first two hooks
	}{
		{"it ran", [][]byte{pre, post, batch("a")}, ""},
		{"it began and did not run", [][]byte{pre, batch("Not here, please.")}, "false  reject "},
		{"a rule refused it", [][]byte{pre, batch("Permission to use Bash with command ls has been denied.")}, "false permission-rule reject config"},
		{"a hook refused it", [][]byte{pre, batch("PreToolUse:Bash hook error: no")}, "false permission-rule reject hook"},
		{"it failed validation", [][]byte{batch("<tool_use_error>bad</tool_use_error>")}, "false validation  "},
		{"its start was not seen", [][]byte{batch("a")}, ""},
		{"told twice", [][]byte{pre, batch("no"), batch("no")}, "false  reject "},
	} {
		k, r := newReader()
		tell(t, r, c.payloads...)
		got := ""
		for _, e := range k.events {
			if b := e.Body.Tool; b.Done && b.ResultLength.Value != int64(len(`{"stdout":"a"}`)) {
				got += fmt.Sprintf("%v %s %s %s", e.Success.Value, e.ErrorClass, b.ApprovalDecision, b.ApprovalSource)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAWriteIsResolvedInTheFolderBeforeTheCommand(t *testing.T) {
	k, r := newReader()
	call := `"tool_name":"Bash","tool_use_id":"t","tool_input":{"command":"echo x > a.txt; cd sub"}`
	after := strings.Replace(string(payload("PostToolUse", call+`,"tool_response":{"stdout":""}`)), `"cwd":"/w"`, `"cwd":"/w/sub"`, 1)
	tell(t, r, payload("PreToolUse", call), []byte(after))
	for _, e := range k.events {
		if e.Kind == schemas.KindFileChange {
			if e.Body.Artifact.FilePath != "a.txt" {
				t.Errorf("the file is told as %q, want a.txt", e.Body.Artifact.FilePath)
			}
			return
		}
	}
	t.Error("no file was told")
}

func TestSessionsAndSubagentsThatAreNoneAreSkipped(t *testing.T) {
	k, r := newReader()
	tell(t, r,
		payload("SubagentStop", `"agent_id":"a","agent_type":"","last_assistant_message":"<summary>"`), // the fork of a compaction
		payload("MessageDisplay", `"delta":"a"`), payload("InstructionsLoaded", ""), payload("CwdChanged", ""), payload("Setup", ""), payload("TaskCreated", ""))
	if len(k.events) != 0 {
		t.Errorf("%d events", len(k.events))
	}
}

func FuzzHookPayload(f *testing.F) {
	for _, p := range [][]byte{
		payload("PreToolUse", `"tool_name":"Bash","tool_use_id":"t","tool_input":{"command":"echo x > a; npm test"},"prompt_id":"p","transcript_path":"/home/a/.claude/projects/-w/s.jsonl"`),
		payload("PostToolUse", `"tool_name":"Write","tool_use_id":"t","tool_input":{"file_path":"/w/a","content":"x"},"tool_response":{"type":"create","filePath":"/w/a","structuredPatch":[{"lines":["+a"]}]},"duration_ms":1e300`),
		payload("PostToolUse", `"tool_name":"Bash","tool_use_id":"t","tool_input":{"command":"git push"},"tool_response":{"stdout":"","bashEditDiff":{"files":[{"filePath":"a","hunks":[]}]},"gitOperation":{"pr":{"url":"https://h/o/n/pull/1"},"commit":{"sha":"a"}}}`),
		payload("PostToolUse", `"tool_name":"Agent","tool_use_id":"t","tool_response":{"agentId":"a","status":"completed","totalDurationMs":-1}`),
		payload("PostToolUseFailure", `"tool_name":"Bash","tool_use_id":"t","error":"Exit code 99999999999999999999\n"`),
		payload("PostToolBatch", `"tool_calls":[{"tool_name":"Edit","tool_use_id":"t","tool_response":"<tool_use_error>x</tool_use_error>"}]`),
		payload("PermissionDenied", `"tool_name":"Bash","tool_use_id":"t","reason":"Classifier unavailable"`),
		payload("PermissionRequest", `"tool_name":"Bash","tool_input":{"command":"rm -rf /"}`),
		payload("UserPromptExpansion", `"command_name":"/x","prompt":"/x y"`),
		payload("SubagentStop", `"agent_id":"a","agent_type":"Explore","last_assistant_message":"a"`),
		payload("ConfigChange", `"source":"user_settings","file_path":"/home/a/.claude/settings.json"`),
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		k, r := newReader()
		for at := range int64(2) {
			err := r.Payload(at*1e9, input, nil)
			var bad *producers.BadInput
			if err != nil && !errors.As(err, &bad) {
				t.Fatalf("%v is no bad input", err)
			}
		}
		for i := range k.events {
			if e := &k.events[i]; e.SessionId == "" && len(e.AppendAvro(nil)) == 0 || e.Kind == schemas.KindUnknown {
				t.Errorf("%s", e.AppendJSON(nil))
			}
		}
	})
}
