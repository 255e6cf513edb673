package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// seeded are the secrets of the recording of that name: well-known example
// values, planted in a prompt, a file and command output.
var seeded = []string{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "ghp_EXAMPLEEXAMPLEEXAMPLE",
	"eyJhbGciOiJIUzI1NiJ9", "hunter2-example", "anna.example@example.com"}

// texts finds every text of a person, a model or a tool in the recordings:
// prompts, arguments, outputs, answers. Short ones say nothing and names of
// tools, paths, models and branches are no texts.
func texts(t *testing.T, dir string) []string {
	t.Helper()
	found := map[string]bool{}
	var walk func(v any, key string)
	walk = func(v any, key string) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(x, k)
			}
		case []any:
			for _, x := range v {
				walk(x, key)
			}
		case string:
			switch key {
			case "prompt", "text", "thinking", "content", "command", "full_command", "old_string", "new_string", "stdout",
				"last_assistant_message", "delta", "error", "description", "originalFile", "lines", "query", "url",
				"lastPrompt", "reason", "compact_summary", "message", "custom_instructions":
				for line := range strings.Lines(v) {
					if line = strings.TrimSpace(line); len(line) >= 24 && strings.Count(line, " ") >= 2 {
						found[line] = true
					}
				}
			}
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "hooks.ndjson" && !strings.HasSuffix(path, ".jsonl") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(content) {
			var v any
			if err := json.Unmarshal(line, &v); err != nil {
				return err
			}
			walk(v, "")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]string, 0, len(found))
	for s := range found {
		all = append(all, s)
	}
	return all
}

func TestInModeMetadataNoTextGetsAnywhere(t *testing.T) {
	home := t.TempDir()
	dir := recordings.Dir(t)
	c := flightlogCommand(t, home, "import", dir, "--out", filepath.Join(home, "rows"), "--verbose")
	var log bytes.Buffer
	c.Stderr, c.Stdout = &log, &log
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	forbidden := append(texts(t, dir), seeded...)
	if len(forbidden) < 500 {
		t.Fatalf("only %d texts found: the test proves nothing", len(forbidden))
	}
	places := map[string][]byte{"the log": log.Bytes()}
	for _, folder := range []string{filepath.Join(home, "data"), filepath.Join(home, "rows")} {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			places[path], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(places) < 6 {
		t.Fatalf("looked into %d files only", len(places))
	}
	for name, content := range places {
		for _, text := range forbidden {
			quoted, _ := json.Marshal(text)
			if bytes.Contains(content, []byte(text)) || bytes.Contains(content, quoted[1:len(quoted)-1]) {
				t.Errorf("%s holds the text %q", name, text)
			}
		}
	}
}

func TestWhatMattersShowsInModeMetadata(t *testing.T) {
	home := t.TempDir()
	dir := recordings.Dir(t)
	rowsOf := func(scenario string) []row {
		out := filepath.Join(home, scenario)
		run(t, home, "import", filepath.Join(dir, scenario), "--data", out+"-data", "--out", out)
		standingRows(t, filepath.Join(out, "enriched.ndjson"))
		var rows []row
		for _, r := range readRows(t, filepath.Join(out, "enriched.ndjson")) {
			if r.number("sign") > 0 {
				rows = append(rows, r)
			}
		}
		return rows
	}
	count := func(rows []row, pairs ...string) (n int) {
		seen := map[string]bool{}
		for _, r := range rows {
			ok := !seen[r.text("fact_key")]
			for i := 0; i < len(pairs); i += 2 {
				ok = ok && r.text(pairs[i]) == pairs[i+1]
			}
			if ok {
				n++
				seen[r.text("fact_key")] = true
			}
		}
		return n
	}
	if n := count(rowsOf("edit-mismatch"), "kind", "tool_call", "tool_name", "Edit", "error_class", "validation"); n != 2 {
		t.Errorf("edit-mismatch: %d calls failed validation, want the 2 that no hook reports", n)
	}
	if n := count(rowsOf("ci-edit"), "kind", "file_change", "protected_class", "ci", "file_path", ".github/workflows/ci.yml"); n != 1 {
		t.Errorf("ci-edit: %d changes of the CI file, want 1", n)
	}
	secrets := rowsOf("secrets")
	classes := map[string]bool{}
	for _, r := range secrets {
		if c := r.text("secret_class"); c != "" {
			classes[c] = true
		}
	}
	if len(classes) == 0 {
		t.Error("secrets: no class of a secret on any call")
	}
	git := rowsOf("git-commit")
	if n := count(git, "kind", "commit", "branch", "fix/rounding"); n != 1 {
		t.Errorf("git-commit: %d commits on fix/rounding, want 1", n)
	}
	if n := count(git, "kind", "tool_call", "tool_target", "git push"); n != 1 {
		t.Errorf("git-commit: %d calls of git push, want 1", n)
	}
}

func TestHostileInputBecomesDeadLettersAndMemoryStaysBounded(t *testing.T) {
	home := t.TempDir()
	input := filepath.Join(home, "input")
	if err := os.MkdirAll(input, 0o700); err != nil {
		t.Fatal(err)
	}
	good := `{"type":"user","uuid":"u1","timestamp":"2026-11-22T13:38:53.937Z","sessionId":"s1","promptId":"p1","cwd":"/home/dev/src/shop","version":"2.1.330","message":{"role":"user","content":"hello"}}`
	lines := map[string]string{
		"truncated":  good[:len(good)/2],
		"long":       `{"type":"user","x":"` + strings.Repeat("a", 100<<20) + `"}`,
		"deep":       `{"type":"user","x":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`,
		"nul":        "{\"type\":\"user\",\"x\":\"\x00\"}",
		"utf8":       "{\"type\":\"user\",\"x\":\"\xff\xfe\"}",
		"array":      `[1,2,3]`,
		"wrongtypes": wrongTypes(good),
	}
	n := 0
	for _, line := range lines {
		n++
		session := fmt.Sprintf("%08d-0000-4000-8000-000000000000", n)
		text := strings.ReplaceAll(good+"\n"+line+"\n"+strings.ReplaceAll(good, "p1", "p2")+"\n", `"s1"`, `"`+session+`"`)
		if err := os.WriteFile(filepath.Join(input, session+".jsonl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	recorded := filepath.Join(recordings.Dir(t), "success")
	for _, name := range []string{"hooks.ndjson", "otlp-logs.ndjson", "otlp-traces.ndjson", "otlp-metrics.ndjson"} {
		text := lines["truncated"] + "\n" + lines["deep"] + "\n" + lines["nul"] + "\n" + lines["utf8"] + "\n" + lines["array"] +
			"\n{\"event\":5,\"signal\":7,\"body\":\"x\",\"input\":[]}\n{\"signal\":\"logs\",\"body\":{\"resourceLogs\":7}}\n"
		real, err := os.ReadFile(filepath.Join(recorded, name))
		if err != nil {
			t.Fatal(err)
		}
		text += disfigured(string(real), 300)
		if err := os.WriteFile(filepath.Join(input, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	transcript, err := filepath.Glob(filepath.Join(recorded, "projects", "*", "*.jsonl"))
	if err != nil || len(transcript) != 1 {
		t.Fatal(transcript, err)
	}
	real, err := os.ReadFile(transcript[0])
	if err == nil {
		err = os.WriteFile(filepath.Join(input, filepath.Base(transcript[0])), []byte(disfigured(string(real), 2000)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	rows := filepath.Join(home, "rows")
	c := flightlogCommand(t, home, "import", input, "--out", rows, "--json")
	c.Env = append(c.Env, "GOMEMLIMIT=off")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	if peak := peakMemory(c); peak > 768<<20 {
		t.Errorf("peak memory %d MB", peak>>20)
	}
	reasons := map[string]int{}
	for _, d := range readRows(t, filepath.Join(rows, "deadletters.ndjson")) {
		reasons[d.text("reason")]++
		if d.text("source") == "" || d.text("position") == "" || d.text("hash") == "" {
			t.Errorf("a dead letter does not name its place: %v", d)
		}
	}
	for _, want := range []string{"not_json", "too_long", "too_deep", "not_utf8", "wrong_type", "missing_field"} {
		if reasons[want] == 0 {
			t.Errorf("no dead letter with reason %s: %v", want, reasons)
		}
	}
	if reasons["panic"] > 0 {
		t.Errorf("%d lines panicked a reader or the fold", reasons["panic"])
	}
	prompts := 0
	for _, r := range readRows(t, filepath.Join(rows, "enriched.ndjson")) {
		if r.text("kind") == "prompt" && strings.HasPrefix(r.text("session_id"), "0000") {
			prompts += int(r.number("sign"))
		}
	}
	if prompts != 2*len(lines) {
		t.Errorf("%d prompts, want the 2 that stand around each of %d hostile lines", prompts, len(lines))
	}
}

// disfigured gives recorded lines in which one value after the other, at any
// depth, has another type; about n of them.
func disfigured(text string, n int) string {
	wrong := []any{nil, true, -7.5, "", "\u0000x", []any{[]any{}}, map[string]any{"values": 1}, 1e300}
	var lines []string
	places := 0
	var visit func(v any, turn func(old any) bool)
	visit = func(v any, turn func(old any) bool) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				old := v[k]
				if turn(old) {
					v[k] = wrong[places%len(wrong)]
					return
				}
				visit(old, turn)
			}
		case []any:
			for i, old := range v {
				if turn(old) {
					v[i] = wrong[places%len(wrong)]
					return
				}
				visit(old, turn)
			}
		}
	}
	all := 0
	for line := range strings.Lines(text) {
		var v any
		if json.Unmarshal([]byte(line), &v) == nil {
			visit(v, func(any) bool { all++; return false })
		}
	}
	step, seen := max(1, all/n), 0
	for line := range strings.Lines(text) {
		var count any
		if json.Unmarshal([]byte(line), &count) != nil {
			continue
		}
		here := 0
		visit(count, func(any) bool { here++; return false })
		for at := range here {
			if seen++; seen%step != 0 {
				continue
			}
			places++
			var v any
			_ = json.Unmarshal([]byte(line), &v)
			i := -1
			visit(v, func(any) bool { i++; return i == at })
			if text, err := json.Marshal(v); err == nil {
				lines = append(lines, string(text))
			}
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// wrongTypes gives a line in which every field in turn has every wrong type.
func wrongTypes(good string) string {
	var fields map[string]any
	if err := json.Unmarshal([]byte(good), &fields); err != nil {
		panic(err)
	}
	var lines []string
	for name := range fields {
		for _, wrong := range []any{nil, true, 7.5, "", "x", []any{1}, map[string]any{"a": nil}} {
			bad := map[string]any{}
			for k, v := range fields {
				bad[k] = v
			}
			bad["promptId"] = "p1"
			bad[name] = wrong
			if name == "promptId" || name == "sessionId" || name == "isSidechain" {
				bad["type"] = "attachment" // would be another prompt
			}
			line, err := json.Marshal(bad)
			if err != nil {
				panic(err)
			}
			lines = append(lines, string(line))
		}
	}
	return strings.Join(lines, "\n")
}

func peakMemory(c *exec.Cmd) int64 { return maxRSS(c.ProcessState.SysUsage()) }
