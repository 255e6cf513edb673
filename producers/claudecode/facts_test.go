package claudecode_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/producers/claudecode/hooks"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/schemas"
)

func TestATestThatFailsAlikeHasOneShape(t *testing.T) {
	for witness, k := range map[string]*kept{"hooks": hooksOf(t, "loop"), "transcripts": transcriptsOf(t, "loop")} {
		shapes, hashes := map[string]bool{}, map[string]bool{}
		for _, e := range k.of(schemas.KindToolCall) {
			if e.ErrorClass == "exit" {
				shapes[e.Body.Tool.ResultShape], hashes[e.Body.Tool.ResultHash] = true, true
			}
		}
		if len(hashes) != 8 || len(shapes) != 1 || shapes[""] {
			t.Errorf("%s: %d hashes, %d shapes", witness, len(hashes), len(shapes))
		}
	}
}

func TestEveryResultHasAShape(t *testing.T) {
	for _, scenario := range []string{"success", "fail-then-retry", "large-output", "mcp", "subagent"} {
		for _, k := range []*kept{hooksOf(t, scenario), transcriptsOf(t, scenario)} {
			for _, e := range k.of(schemas.KindToolCall) {
				if b := e.Body.Tool; (b.ResultShape == "") != (b.ResultHash == "") {
					t.Errorf("%s %s: hash %q, shape %q", scenario, b.ToolName, b.ResultHash, b.ResultShape)
				}
			}
		}
	}
}

// recordedClaims are what the final messages of the recordings claim; all others
// claim nothing. They were read by a person.
var recordedClaims = map[string]string{
	"api-retries": "tests_pass", "collector-down": "tests_pass", "fail-then-retry": "tests_pass", "fallback-model": "tests_pass", "false-claim": "tests_pass",
	"hook-deny": "tests_pass", "http-hooks": "tests_pass", "interactive": "tests_not_run", "long-session": "tests_pass",
	"loop": "tests_not_run", "managed-settings": "tests_pass", "otlp-defaults": "tests_pass", "otlp-protobuf": "tests_pass",
	"plugin-hooks": "tests_pass", "resume": "tests_pass", "slash-command": "tests_pass", "success": "tests_pass",
}

func TestClaimsOfTheRecordings(t *testing.T) {
	for _, scenario := range recordings.Scenarios() {
		for witness, k := range map[string]*kept{"hooks": hooksOf(t, scenario), "transcripts": transcriptsOf(t, scenario)} {
			var got []string
			for _, e := range k.events {
				if claim := e.Body.Session.Claim; claim != "" && !slices.Contains(got, claim) {
					got = append(got, claim)
				}
				if e.Kind != schemas.KindTurnEnd && e.Body.Session.Claim != "" {
					t.Errorf("%s: a claim of a %v", scenario, e.Kind)
				}
			}
			if len(k.events) > 0 && strings.Join(got, ", ") != recordedClaims[scenario] {
				t.Errorf("%s, %s: %q, want %q", scenario, witness, got, recordedClaims[scenario])
			}
		}
	}
}

// changes are the file changes of a call by both witnesses, as "operation path:
// tamper", after checking that they are the same.
func changes(t *testing.T, tool string, input, response any) []string {
	t.Helper()
	of := func(k *kept) (all []string) {
		if len(k.dead) > 0 {
			t.Fatalf("%+v", k.dead)
		}
		for _, e := range k.of(schemas.KindFileChange) {
			a := e.Body.Artifact
			all = append(all, fmt.Sprintf("%s %s %s: %s %s", a.Operation, a.FilePath, a.ChangeGrade, a.TestTamper, e.FactKey))
		}
		return all
	}
	byHook, byTranscript := witnessesOf(t, tool, input, response)
	all := of(byHook)
	if other := of(byTranscript); !slices.Equal(all, other) {
		t.Errorf("hooks say %q, transcripts %q", all, other)
	}
	for i := range all {
		all[i] = strings.TrimSpace(all[i][:strings.LastIndexByte(all[i], ' ')])
	}
	return all
}

// witnessesOf is what hooks and the transcript of a session with one call tell.
func witnessesOf(t *testing.T, tool string, input, response any) (byHook, byTranscript *kept) {
	t.Helper()
	line := func(fields map[string]any) []byte {
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	byHook, byTranscript = &kept{}, &kept{}
	payload := line(map[string]any{
		"hook_event_name": "PostToolUse", "session_id": "s", "cwd": "/home/dev/src/shop", "tool_name": tool, "tool_use_id": "t",
		"tool_input": input, "tool_response": response,
	})
	if err := hooks.New(byHook, options).Payload(1, payload, nil); err != nil {
		t.Fatal(err)
	}
	common := map[string]any{"sessionId": "s", "cwd": "/home/dev/src/shop", "timestamp": "2026-11-26T12:00:00Z", "uuid": "u"}
	use, result := map[string]any{"type": "assistant"}, map[string]any{"type": "user", "toolUseResult": response}
	for key, v := range common {
		use[key], result[key] = v, v
	}
	use["message"] = map[string]any{"id": "m", "content": []any{map[string]any{"type": "tool_use", "id": "t", "name": tool, "input": input}}}
	result["message"] = map[string]any{"content": []any{map[string]any{"type": "tool_result", "tool_use_id": "t", "content": "done"}}}
	file := filepath.Join(t.TempDir(), "s.jsonl")
	if err := os.WriteFile(file, append(append(line(use), '\n'), line(result)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := transcripts.ReadFile(t.Context(), file, options, byTranscript); err != nil {
		t.Fatal(err)
	}
	return byHook, byTranscript
}

func TestASecretInDoubleQuotesIsFound(t *testing.T) {
	const root = "/home/dev/src/shop/"
	google := "AIza" + "SyB3kQ9mXv1Lt7RwYc5NpHs2DfJg8Ua4E6o"
	stripe := "sk_" + "live_Zb3kQ9mXv1Lt7RwYc5NpHs2D"
	for _, c := range []struct {
		tool            string
		input, response fields
		want            string
	}{
		{"Read", fields{"file_path": root + "a.js"}, fields{"file": fields{"content": `key: "` + google + `"`}}, "gcp-api-key"},
		{"Bash", fields{"command": "cat a.js"}, fields{"stdout": "a\n" + google + "\nb", "interrupted": false}, "gcp-api-key"},
		{"Bash", fields{"command": "cat a.js"}, fields{"stdout": `const k="` + stripe + `"`, "interrupted": false}, "stripe-access-token"},
		{"Edit", fields{"file_path": root + "a.js", "old_string": "x", "new_string": `const k="` + stripe + `"`}, fields{"filePath": root + "a.js"}, "stripe-access-token"},
		{"Edit", fields{"file_path": root + "a.js", "old_string": "x", "new_string": `const k="key"`}, fields{"filePath": root + "a.js"}, ""},
	} {
		byHook, byTranscript := witnessesOf(t, c.tool, c.input, c.response)
		for witness, k := range map[string]*kept{"hooks": byHook, "transcripts": byTranscript} {
			calls := k.of(schemas.KindToolCall)
			if len(calls) == 0 || calls[len(calls)-1].Body.Tool.SecretClass != c.want {
				t.Errorf("%s: %s %v: %d calls, want %q", witness, c.tool, c.response, len(calls), c.want)
			}
		}
	}
}

type fields = map[string]any

func hunks(lines ...string) []any { return []any{fields{"oldStart": 1, "lines": lines}} }

func TestTamperedTests(t *testing.T) {
	const file, root = "test/price.test.js", "/home/dev/src/shop/"
	edit := func(lines ...string) fields {
		return fields{"filePath": root + file, "structuredPatch": hunks(lines...)}
	}
	shell := func(changed ...any) fields {
		return fields{"stdout": "", "interrupted": false, "bashEditDiff": fields{"files": changed}}
	}
	for _, c := range []struct {
		tool            string
		input, response fields
		want            string
	}{
		{"Edit", fields{"file_path": root + file}, edit("-it('a', f)", "+it.skip('a', f)"), "update " + file + " exact: skipped"},
		{"Edit", fields{"file_path": root + file}, edit("-  expect(a).toBe(1)"), "update " + file + " exact: weakened"},
		{"Edit", fields{"file_path": root + file}, edit("-  expect(a).toBe(1)", "+  expect(a).toBe(2)"), "update " + file + " exact:"},
		{"Edit", fields{"file_path": root + file, "old_string": "it('a', f)", "new_string": "xit('a', f)"}, fields{"filePath": root + file}, "update " + file + " exact: skipped"},
		{"Write", fields{"file_path": root + file, "content": ""}, fields{"type": "update", "filePath": root + file, "structuredPatch": hunks("-a")}, "update " + file + " exact: deleted"},
		{"Write", fields{"file_path": root + file, "content": "it('b', f)"}, fields{"type": "update", "filePath": root + file, "structuredPatch": hunks("-it('a', f)", "-it('c', f)", "+it('b', f)")}, "update " + file + " exact: weakened"},
		{"Write", fields{"file_path": root + file, "content": "it.skip('b', f)"}, fields{"type": "create", "filePath": root + file, "structuredPatch": []any{}}, "create " + file + " exact:"},
		{"Write", fields{"file_path": root + "src/a.js", "content": ""}, fields{"type": "update", "filePath": root + "src/a.js", "structuredPatch": hunks("-a")}, "update src/a.js exact:"},
		{"Bash", fields{"command": "rm " + file}, shell(), "delete " + file + " derived: deleted"},
		{"Bash", fields{"command": "rm src/a.js"}, shell(), "delete src/a.js derived:"},
		{"Bash", fields{"command": "git mv " + file + " test/a.test.js"}, shell(), "delete " + file + " derived:, test/a.test.js derived:"},
		{"Bash", fields{"command": "rm " + file + " && cp x " + file}, shell(), "delete " + file + " derived:"},
		{"Bash", fields{"command": ": > " + file}, shell(), file + " derived: deleted"},
		{"Bash", fields{"command": "rm test/*.js"}, shell(fields{"filePath": root + file, "deleted": true, "hunks": hunks("-a")}), "delete " + file + " exact: deleted"},
		{"Bash", fields{"command": "mv test/*.js spec/"}, shell(fields{"filePath": root + file, "deleted": true, "hunks": hunks("-it('a', f)")}), "delete " + file + " exact:"},
		{"Bash", fields{"command": "git checkout main"}, shell(fields{"filePath": root + file, "hunks": hunks("-it('a', f)")}), "update " + file + " exact:"},
		{"Bash", fields{"command": "node fix.js"}, shell(fields{"filePath": root + file, "hunks": hunks("-it('a', f)", "+it.skip('a', f)")}), "update " + file + " exact: skipped"},
		{"mcp__fs__delete_file", fields{"path": root + file}, fields{}, "delete " + file + " derived: deleted"},
	} {
		if got := strings.Join(changes(t, c.tool, c.input, c.response), ", "); got != c.want {
			t.Errorf("%s %v\n got %s\nwant %s", c.tool, c.input, got, c.want)
		}
	}
}

func TestFilesThatMCPToolsWrite(t *testing.T) {
	const ci = "/home/dev/src/shop/.github/workflows/ci.yml"
	for _, c := range []struct {
		tool  string
		input fields
		want  string
	}{
		{"mcp__fs__write_file", fields{"path": ci, "content": "x"}, ".github/workflows/ci.yml derived:"},
		{"mcp__fs__edit_file", fields{"path": ci, "edits": []any{}}, "update .github/workflows/ci.yml derived:"},
		{"mcp__fs__edit_file", fields{"path": ci, "dryRun": true}, ""},
		{"mcp__fs__create_file", fields{"path": "Makefile"}, "create Makefile derived:"},
		{"mcp__fs__move_file", fields{"source": "a.js", "destination": "b.js"}, "delete a.js derived:, b.js derived:"},
		{"mcp__ide__writeFile", fields{"filePath": "a.js"}, "a.js derived:"},
		{"mcp__serena__replace_symbol_body", fields{"relative_path": "src/a.js", "body": "x"}, "update src/a.js derived:"},
		{"mcp__dc__edit_block", fields{"file_path": "src/a.js"}, "update src/a.js derived:"},
		{"mcp__fs__delete_file", fields{"path": "a.js"}, "delete a.js derived:"},
		{"mcp__fs__read_file", fields{"path": "a.js"}, ""},
		{"mcp__fs__create_directory", fields{"path": "src/b"}, ""},
		{"mcp__fs__list_files", fields{"path": "src"}, ""},
		{"mcp__api__create_route", fields{"path": "/v1/users"}, ""},
		{"mcp__notion__update_page", fields{"path": "Team notes"}, ""},
		{"mcp__web__update_file", fields{"path": "https://example.com/a.js"}, ""},
		{"mcp__github__create_or_update_file", fields{"owner": "a", "repo": "b", "path": "ci.yml"}, ""},
		{"mcp__fs__write_file", fields{"path": 3}, ""},
		{"mcp__fs__write_file", fields{}, ""},
		{"mcp__fs", fields{"path": "a.js"}, ""},
		{"Read", fields{"file_path": "a.js"}, ""},
	} {
		got := changes(t, c.tool, c.input, []any{fields{"type": "text", "text": "done"}})
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s %v: got %q, want %q", c.tool, c.input, got, c.want)
		}
	}
}

func TestWaitsAndInstallsOfTheRecordings(t *testing.T) {
	for scenario, want := range map[string]string{
		"parallel-tools": "sleep waits", "background-bash": "npm test waits, sleep waits", "auto-mode": "curl script",
		"permission-denied": "curl script", "success": "",
	} {
		for witness, k := range map[string]*kept{"hooks": hooksOf(t, scenario), "transcripts": transcriptsOf(t, scenario)} {
			var got []string
			for _, e := range k.of(schemas.KindToolCall) {
				b := e.Body.Tool
				if b.Done && b.Waits {
					got = append(got, b.ToolTarget+" waits")
				}
				if b.Done && b.InstallSource != "" {
					got = append(got, b.ToolTarget+" "+b.InstallSource)
				}
			}
			slices.Sort(got)
			if strings.Join(got, ", ") != want {
				t.Errorf("%s, %s: %q, want %q", scenario, witness, got, want)
			}
		}
	}
}
