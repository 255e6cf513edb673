package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// flightlogCommand is the real program, in a process of its own with a home of
// its own.
func flightlogCommand(t testing.TB, home string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "FLIGHTLOG_TEST_RUN=flightlog", "HOME="+home, "XDG_DATA_HOME="+filepath.Join(home, "data"), "TMPDIR="+home)
	return c
}

// run runs flightlog to its end and gives what it printed.
func run(t testing.TB, home string, args ...string) (stdout string) {
	t.Helper()
	c := flightlogCommand(t, home, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("flightlog %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// row is a row of enriched.ndjson.
type row map[string]any

func (r row) text(column string) string  { s, _ := r[column].(string); return s }
func (r row) number(column string) int64 { n, _ := r[column].(float64); return int64(n) }

func readRows(t testing.TB, path string) (rows []row) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v: %s", path, err, lines.Text())
		}
		rows = append(rows, r)
	}
	return rows
}

// standingRows is the state of each fact in a file of rows; it fails on a row
// that stands there twice and on signed sums that are not those of the facts.
func standingRows(t testing.TB, path string) map[string]string {
	t.Helper()
	last := map[string]row{}
	seen := map[string]bool{}
	var signed, stand int64
	for _, r := range readRows(t, path) {
		if seen[r.text("row_id")] {
			t.Errorf("%s: row %s stands there twice", path, r.text("row_id"))
		}
		seen[r.text("row_id")] = true
		signed += r.number("sign") * (r.number("token_input") + r.number("token_output") + r.number("cost_nano_usd"))
		old, ok := last[r.text("fact_key")]
		if !ok || r.number("version") > old.number("version") || r.number("version") == old.number("version") && r.number("sign") > 0 {
			last[r.text("fact_key")] = r
		}
	}
	state := map[string]string{}
	for key, r := range last {
		if r.number("sign") < 0 {
			continue
		}
		stand += r.number("token_input") + r.number("token_output") + r.number("cost_nano_usd")
		for _, column := range []string{"row_id", "version", "final", "witnesses", "event_id"} {
			delete(r, column)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		state[key] = string(text)
	}
	if signed != stand {
		t.Errorf("%s: signed sums %d, last rows %d", path, signed, stand)
	}
	return state
}

func sameState(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for key, w := range want {
		if got[key] != w {
			t.Errorf("%s: fact %s\n got %s\nwant %s", what, key, got[key], w)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: fact %s was not there", what, key)
		}
	}
}

func TestDemoShowsWhatTheAgentsDid(t *testing.T) {
	home := t.TempDir()
	out := run(t, home, "demo", "--out", filepath.Join(home, "rows"))
	for _, want := range []string{"session", "cost USD", "47 recorded scenarios", "rows: " + filepath.Join(home, "rows")} {
		if !strings.Contains(out, want) {
			t.Errorf("demo does not print %q:\n%s", want, out)
		}
	}
	if n := len(readRows(t, filepath.Join(home, "rows", "enriched.ndjson"))); n < 800 {
		t.Errorf("demo wrote only %d rows", n)
	}
}

func TestTheSameInputAgainAddsNothing(t *testing.T) {
	home, rows := t.TempDir(), filepath.Join(t.TempDir(), "rows")
	input := filepath.Join(recordings.Dir(t), "resume")
	broken := filepath.Join(home, "broken.jsonl")
	if err := os.WriteFile(broken, []byte("{\"type\":\"user\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, home, "import", input, broken, "--out", rows)
	first := fileTexts(t, rows)
	if !strings.Contains(first["deadletters.ndjson"], "broken.jsonl") {
		t.Errorf("no dead letter names the broken file: %s", first["deadletters.ndjson"])
	}
	run(t, home, "import", input, filepath.Join(input, "projects"), broken, input, "--out", rows)
	for name, text := range fileTexts(t, rows) {
		if text != first[name] {
			t.Errorf("%s changed by the same input again:\n%s", name, strings.TrimPrefix(text, first[name]))
		}
	}
}

func fileTexts(t *testing.T, dir string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(name)] = string(text)
	}
	return texts
}

func TestImportUsesARunningUpAndUpStopsCleanly(t *testing.T) {
	home := t.TempDir()
	up := flightlogCommand(t, home, "up")
	errs, err := up.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = up.Process.Kill() }()
	lines := bufio.NewScanner(errs)
	if !lines.Scan() || !strings.Contains(lines.Text(), "flightlog is up") {
		t.Fatalf("up says %q", lines.Text())
	}
	go func() {
		for lines.Scan() {
			t.Log("up:", lines.Text())
		}
	}()
	input := filepath.Join(recordings.Dir(t), "success")
	var s summary
	if err := json.Unmarshal([]byte(run(t, home, "import", input, "--json")), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Sessions) != 1 || !s.Sessions[0].Final || s.Total.TokenOutput != 175 {
		t.Errorf("summary: %+v", s)
	}
	failed := run(t, home, "tail", "enriched", "--where", "kind=tool_call", "--where", "tool_name=Bash")
	if strings.Count(failed, "\n") != 1 {
		t.Errorf("tail finds %d Bash calls, want 1:\n%s", strings.Count(failed, "\n"), failed)
	}
	if out, err := flightlogCommand(t, home, "up").CombinedOutput(); err == nil || !strings.Contains(string(out), "another flightlog runs") {
		t.Errorf("a second up on the same data folder: %v %s", err, out)
	}
	if err := up.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("up ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("up does not stop")
	}
	state := standingRows(t, filepath.Join(home, "data", "flightlog", "rows", "enriched.ndjson"))
	if len(state) == 0 {
		t.Error("up wrote no rows")
	}
	// What was committed is still there for the next command.
	if again := run(t, home, "tail", "enriched"); strings.Count(again, "\n") < len(state) {
		t.Errorf("tail after up ended prints %d rows, want at least %d", strings.Count(again, "\n"), len(state))
	}
}
