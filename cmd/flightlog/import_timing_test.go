package main

import (
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

// TestImportCost measures import over the recorded transcripts multiplied to
// FLIGHTLOG_IMPORT_MB, in CPU per MB, and ccusage, which adds up tokens only,
// on the same files where FLIGHTLOG_CCUSAGE names its program (make
// bench-import).
func TestImportCost(t *testing.T) {
	mb := map[string]int64{"": 0, "25": 25, "250": 250}[os.Getenv("FLIGHTLOG_IMPORT_MB")]
	if mb == 0 {
		t.Skip("run by make bench-import")
	}
	home := t.TempDir()
	config := filepath.Join(home, "claude")
	written, err := recordings.Multiply(recordings.Dir(t), filepath.Join(config, "all"), mb*1e6, func(path string) bool {
		return strings.Contains(path, "/projects/") && strings.HasSuffix(path, ".jsonl")
	})
	if err != nil {
		t.Fatal(err)
	}
	// ccusage and import alike want <config>/projects/<folder>/<session>.jsonl.
	projects := filepath.Join(config, "projects")
	if err := flatten(filepath.Join(config, "all"), projects); err != nil {
		t.Fatal(err)
	}
	ours, out := cpu(t, flightlogCommand(t, home, "import", projects, "--json"))
	var s summary
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	t.Logf("import: %.0f MB, %d events, %d facts, %d rows (%.2f rows per fact) in %.1f s CPU: %.1f ms/MB, %.0f MB/s of CPU; wall %.1f s, %.0f MB/s",
		float64(written)/1e6, s.Events, s.Facts, s.Rows, float64(s.Rows)/float64(s.Facts), ours.Seconds(),
		ours.Seconds()*1e9/float64(written), float64(written)/1e6/ours.Seconds(), s.Seconds, float64(written)/1e6/s.Seconds)
	program := os.Getenv("FLIGHTLOG_CCUSAGE")
	if program == "" {
		return
	}
	theirs := exec.Command(program, "daily", "--offline", "--json")
	theirs.Env = append(os.Environ(), "CLAUDE_CONFIG_DIR="+config, "HOME="+home)
	took, _ := cpu(t, theirs)
	t.Logf("ccusage: %.2f s CPU; import costs %.1f times as much", took.Seconds(), ours.Seconds()/took.Seconds())
}

// cpu runs a program and gives the CPU time that it took, user and system.
func cpu(t *testing.T, c *exec.Cmd) (time.Duration, []byte) {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, errs.String())
	}
	return c.ProcessState.UserTime() + c.ProcessState.SystemTime(), out.Bytes()
}

// flatten moves <copy>/<scenario>/projects/<folder> to to/<copy>-<scenario>-<folder>.
func flatten(from, to string) error {
	folders, err := filepath.Glob(filepath.Join(from, "*", "*", "projects", "*"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, folder := range folders {
		name, err := filepath.Rel(from, folder)
		if err != nil {
			return err
		}
		if err := os.Rename(folder, filepath.Join(to, strings.ReplaceAll(name, "/", "-"))); err != nil {
			return err
		}
	}
	return nil
}
