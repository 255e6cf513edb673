package otlp_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// sumOf adds up the points of one metric.
func sumOf(t *testing.T, body []byte, name string) (sum float64) {
	t.Helper()
	var request struct {
		ResourceMetrics []struct {
			ScopeMetrics []struct {
				Metrics []struct {
					Name string
					Sum  struct{ DataPoints []struct{ AsDouble float64 } }
				}
			}
		}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	for _, r := range request.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				for _, p := range m.Sum.DataPoints {
					if m.Name == name {
						sum += p.AsDouble
					}
				}
			}
		}
	}
	return sum
}

func TestACallsResultTellsWhatRan(t *testing.T) {
	s, _ := read(t, "success")
	ended := func(tool string) func(*schemas.Event) bool {
		return func(e *schemas.Event) bool { return e.Body.Tool.ToolName == tool && e.Body.Tool.Done }
	}
	bash := s.call(t, byLog, ended("Bash"))
	arguments := `{"command":"npm test","description":"Run the tests"}`
	want := schemas.ToolBody{
		ToolName: "Bash", ToolTarget: bash.Body.Tool.ToolTarget, CommandClass: "test",
		ArgumentsHash: extraction.HashJSON([]byte(`{"command":"npm test"}`)), ArgumentsLength: schemas.SomeLong(int64(len(arguments))), // the description does not count
		ResultLength: bash.Body.Tool.ResultLength, ExitStatus: schemas.SomeLong(0), Done: true,
	}
	if bash.Body.Tool != want || !strings.HasPrefix(want.ToolTarget, "npm") || !want.ResultLength.Valid {
		t.Errorf("the call is\n%+v, want\n%+v", bash.Body.Tool, want)
	}
	if bash.FactKey != schemas.FactKey(bash.SessionId, schemas.KindToolCall, bash.ToolUseId) || bash.RequestId == "" || bash.PromptId == "" || !bash.DurationMs.Valid {
		t.Errorf("the call is %+v", bash)
	}
	edit := s.call(t, byLog, ended("Edit"))
	if edit.Body.Tool.ToolTarget != "~/src/shop/src/price.js" || edit.Body.Tool.ExitStatus.Valid {
		t.Errorf("the edit is %+v", edit.Body.Tool)
	}
	skill, _ := read(t, "slash-command")
	agent, _ := read(t, "subagent")
	for _, signal := range []schemas.Signal{byLog, bySpan} {
		skill.named(t, signal, "Skill", "house-style")
		agent.named(t, signal, "Agent", "Explore")
	}
	for _, e := range s.of(schemas.KindToolCall, bySpan) {
		if !e.Body.Tool.Done || e.DurationMs.Valid != e.Success.Valid {
			t.Errorf("only the span of the execution tells how it ended: %+v", e)
		}
	}
	if span := s.call(t, bySpan, ended("Edit")); span.FactKey != edit.FactKey || span.Body.Tool.ToolTarget != edit.Body.Tool.ToolTarget {
		t.Errorf("the span is %+v", span)
	}
}

// named checks that every event of a tool's calls that can know it names its
// target.
func (s *seen) named(t *testing.T, signal schemas.Signal, tool, target string) {
	t.Helper()
	n := 0
	for _, e := range s.of(schemas.KindToolCall, signal) {
		if e.Body.Tool.ToolName == tool {
			n++
			if e.Body.Tool.ToolTarget != target {
				t.Errorf("%s by %s: target %q, want %q", tool, signal, e.Body.Tool.ToolTarget, target)
			}
		}
	}
	if n == 0 {
		t.Errorf("no call of %s by %s", tool, signal)
	}
}

func TestASecretIsNamedByItsClassAndIsNowhereElse(t *testing.T) {
	s, _ := read(t, "secrets")
	for _, signal := range []schemas.Signal{byLog, bySpan} {
		found := 0
		for _, e := range s.of(schemas.KindToolCall, signal) {
			if e.Body.Tool.SecretClass != "" {
				found++
				if !e.Critical {
					t.Errorf("a secret that is not critical: %+v", e)
				}
			}
		}
		if found == 0 {
			t.Errorf("no secret was found by %s", signal)
		}
	}
	command := "export AWS_ACCESS_KEY_ID=" + "AKIA" + "IOSFODNN7EXAMPLE" // the cloud vendor's documentation
	refused, _ := logs(t, logRecord("tool_decision", map[string]any{"tool_name": "Bash", "decision": "reject", "tool_parameters": jsonText(map[string]any{"full_command": command})}))
	if refused.events[0].Body.Tool.SecretClass == "" {
		t.Error("no secret was found in a call that was refused")
	}
	for _, e := range append(s.events, refused.events...) {
		if strings.Contains(string(e.AppendJSON(nil)), "AKIA") {
			t.Errorf("the secret is in %s", e.AppendJSON(nil))
		}
	}
}

func TestASwitchThatBypassesPermissionsIsCritical(t *testing.T) {
	for mode, critical := range map[string]bool{"bypassPermissions": true, "plan": false} {
		s, _ := logs(t, logRecord("permission_mode_changed", map[string]any{"from_mode": "default", "to_mode": mode}))
		if e := s.events[0]; e.Kind != schemas.KindConfigChange || e.Body.Session.Reason != mode || e.Critical != critical {
			t.Errorf("%s: %+v", mode, e)
		}
	}
	s, _ := logs(t, logRecord("permission_mode_changed", map[string]any{"event.sequence": 1}), logRecord("permission_mode_changed", map[string]any{"event.sequence": 2}))
	if s.events[0].FactKey == s.events[1].FactKey {
		t.Error("two switches are one fact")
	}
}

func TestAnEditIsAFileChangeWithTheLinesOfItsPatch(t *testing.T) {
	s, _ := read(t, "success")
	told, seen := s.of(schemas.KindFileChange, byLog), s.of(schemas.KindFileChange, bySpan)
	if len(told) != 1 || len(seen) != 1 || told[0].FactKey != seen[0].FactKey {
		t.Fatalf("changes %+v, %+v", told, seen)
	}
	want := schemas.ArtifactBody{FilePath: "~/src/shop/src/price.js", FileType: "js", Operation: "update"}
	if told[0].Body.Artifact != want {
		t.Errorf("the log says %+v, want %+v", told[0].Body.Artifact, want)
	}
	want.LinesAdded, want.LinesRemoved, want.ChangeGrade = schemas.SomeLong(1), schemas.SomeLong(1), schemas.ChangeGradeExact
	want.DiffHash = seen[0].Body.Artifact.DiffHash
	if seen[0].Body.Artifact != want || want.DiffHash == "" {
		t.Errorf("the span says %+v, want %+v", seen[0].Body.Artifact, want)
	}
	ci, _ := read(t, "ci-edit", "traces")
	if changes := ci.of(schemas.KindFileChange, bySpan); len(changes) != 1 || changes[0].Body.Artifact.ProtectedClass != "ci" {
		t.Errorf("the CI file: %+v", changes)
	}
	// Write may make a file or replace it, and tells no lines.
	written, _ := read(t, "interactive")
	for _, signal := range []schemas.Signal{byLog, bySpan} {
		if c := written.of(schemas.KindFileChange, signal); len(c) != 1 || c[0].Body.Artifact != (schemas.ArtifactBody{FilePath: "~/src/shop/src/tax.js", FileType: "js"}) {
			t.Errorf("the new file by %s: %+v", signal, c)
		}
	}
}

func TestATestRunIsJudgedByItsOutputElseByAStatusThatIsItsOwn(t *testing.T) {
	s, _ := read(t, "success")
	for signal, passed := range map[schemas.Signal]schemas.OptLong{byLog: {}, bySpan: schemas.SomeLong(4)} {
		runs := s.of(schemas.KindTestRun, signal)
		if len(runs) != 1 || runs[0].Body.Artifact.TestOutcome != schemas.TestOutcomePassed || runs[0].Body.Artifact.TestsPassed != passed || runs[0].Success != schemas.SomeBool(true) {
			t.Errorf("by %s: %+v", signal, runs)
		}
	}
	red, _ := read(t, "false-claim", "logs")
	if runs := red.of(schemas.KindTestRun, byLog); len(runs) == 0 || runs[len(runs)-1].Body.Artifact.TestOutcome != schemas.TestOutcomeFailed {
		t.Errorf("the failing run: %+v", runs)
	}
	for command, known := range map[string]bool{
		"npm test":                           true,
		"cd app && npm test 2>&1":            true,
		"npm test | tail":                    false,
		"npm test; git push":                 false,
		"npm test || true":                   false,
		"npm test &":                         false,
		"npm test\ngit status":               false,
		"npm test 2>&1 | tail -5; echo $?":   false,
		"npm test\n":                         true,
		"cd app && npm test && npm run lint": true,
	} {
		s, _ := logs(t, toolResult("Bash", map[string]any{
			"success": "true", "tool_parameters": jsonText(map[string]any{"full_command": command}),
		}))
		if runs := s.of(schemas.KindTestRun, byLog); (len(runs) == 1) != known {
			t.Errorf("%q: %d test runs, known: %t", command, len(runs), known)
		}
	}
}

func TestArgumentsThatWereCutHaveNoHash(t *testing.T) {
	s, _ := read(t, "large-output", "logs")
	write := s.call(t, byLog, func(e *schemas.Event) bool { return e.Body.Tool.ToolName == "Write" && e.Body.Tool.Done })
	if write.Body.Tool.ArgumentsHash != "" || write.Body.Tool.ArgumentsLength != schemas.SomeLong(43218) {
		t.Errorf("the call is %+v", write.Body.Tool)
	}
	if c := s.of(schemas.KindFileChange, byLog); len(c) != 1 || c[0].Body.Artifact.FilePath == "" {
		t.Errorf("the path is whole: %+v", c)
	}
	for input, whole := range map[string]bool{
		`{"a":1}`:                 true,
		`{"a":"…[400 chars]"}`:    false,
		`{"a":"the rest is`:       false,
		`{"file_path":"x…[9 c]"}`: false,
		`{"a":"` + "…" + `"}`:     true,
	} {
		s, _ := logs(t, toolResult("Read", map[string]any{"tool_input": input}))
		if b := s.events[0].Body.Tool; (b.ArgumentsHash != "") != whole || b.ToolTarget != "" {
			t.Errorf("%s: %+v", input, b)
		}
	}
	s, _ = logs(t, toolResult("Read", map[string]any{"tool_input": `{"a":1}`, "tool_input_size_bytes": "5000"}))
	if s.events[0].Body.Tool.ArgumentsHash != "" {
		t.Error("arguments of 5000 bytes were taken for whole")
	}
}

func TestACallInTheBackgroundHasNoExitStatus(t *testing.T) {
	s, _ := read(t, "background-bash", "logs")
	call := s.call(t, byLog, func(e *schemas.Event) bool { return e.Body.Tool.Background.Value })
	if call.Body.Tool.ToolName != "Bash" || call.Body.Tool.ExitStatus.Valid {
		t.Errorf("the call is %+v", call.Body.Tool)
	}
}

func TestMCPCallsHaveTheirRealNamesWhereDetailsAreSent(t *testing.T) {
	s, _ := read(t, "mcp")
	for _, signal := range []schemas.Signal{byLog, bySpan} {
		servers := 0
		for _, e := range s.of(schemas.KindToolCall, signal) {
			b := e.Body.Tool
			if strings.HasPrefix(b.ToolName, "mcp__stock__") && b.McpServer == "stock" {
				servers++
			}
			if b.ToolName == "mcp_tool" {
				t.Errorf("mcp_tool is no name of a tool: %+v", b)
			}
		}
		if want := map[schemas.Signal]int{byLog: 4, bySpan: 2}[signal]; servers != want {
			t.Errorf("%d MCP calls by %s, want %d", servers, signal, want)
		}
	}
	failed := s.call(t, byLog, func(e *schemas.Event) bool { return e.ErrorClass == "McpToolCallError" })
	if failed.Body.Tool.ToolName != "mcp__stock__reserve" || failed.Success != schemas.SomeBool(false) {
		t.Errorf("the call that failed is %+v", failed)
	}
	bare, _ := logs(t, toolResult("mcp_tool", nil))
	if b := bare.events[0].Body.Tool; b.ToolName != "" || b.McpServer != "" {
		t.Errorf("without details: %+v", b)
	}
}
