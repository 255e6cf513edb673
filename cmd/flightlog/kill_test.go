package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// uncommitted are the places where input was read or sent, or a slice folded,
// and no commit holds it yet.
var uncommitted = map[string]bool{"engine.folded": true, "shipper.sent": true, "import.shipped": true}

// TestKill kills import, or the up that it uses, with SIGKILL at seeded places,
// and runs it again: the rows are those of a run that was never killed, none
// lost, none twice. FLIGHTLOG_KILLS says how often (make kills).
func TestKill(t *testing.T) {
	kills := 10
	if n, err := strconv.Atoi(os.Getenv("FLIGHTLOG_KILLS")); err == nil {
		kills = n
	}
	if testing.Short() {
		kills = 2
	}
	all := recordings.Dir(t)
	var input []string
	for _, name := range []string{"success", "resume", "subagent", "parallel-tools", "permission-denied", "long-session", "git-commit", "compact-manual"} {
		input = append(input, filepath.Join(all, name))
	}
	importing := func(extra ...string) []string { return append(append([]string{"import"}, input...), extra...) }

	// A run that nobody kills says what is right, and counts the places.
	home := t.TempDir()
	census := filepath.Join(home, "census")
	c := flightlogCommand(t, home, importing("--out", filepath.Join(home, "rows"))...)
	c.Env = append(c.Env, "FLIGHTLOG_FAILPOINT=census:"+census)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := standingRows(t, filepath.Join(home, "rows", "enriched.ndjson"))
	hits := readCensus(t, census)

	var withWork, withoutWork []string
	for name := range hits {
		if uncommitted[name] {
			withWork = append(withWork, name)
		} else {
			withoutWork = append(withoutWork, name)
		}
	}
	sort.Strings(withWork)
	sort.Strings(withoutWork)
	fell := map[string]int{}
	for seed := range kills {
		random := rand.New(rand.NewPCG(uint64(seed), 7))
		names := withWork
		if seed%2 == 1 && len(withoutWork) > 0 {
			names = withoutWork
		}
		name := names[seed/2%len(names)]
		hit := 1 + random.IntN(max(1, hits[name]*2/3))
		var rows, point string
		for rows == "" {
			point = fmt.Sprintf("%s:%d", name, hit)
			home := t.TempDir()
			if seed%3 == 2 && !strings.HasPrefix(name, "shipper.") && !strings.HasPrefix(name, "import.") {
				rows = killUp(t, home, point, importing)
			} else {
				rows = killImport(t, home, point, importing)
			}
			if rows == "" && hit == 1 {
				t.Fatalf("seed %d: no run comes to %s", seed, name)
			}
			hit = max(1, hit/2) // runs differ in how many commits they make
		}
		fell[name]++
		sameState(t, fmt.Sprintf("seed %d, killed at %s", seed, point), standingRows(t, filepath.Join(rows, "enriched.ndjson")), want)
		if t.Failed() {
			t.FailNow()
		}
	}
	work := 0
	for name, n := range fell {
		if uncommitted[name] {
			work += n
		}
	}
	t.Logf("%d kills, %d of them with uncommitted work: %v", kills, work, fell)
	if 2*work < kills {
		t.Errorf("only %d of %d kills had uncommitted work", work, kills)
	}
}

// killImport kills an import and runs it again; it gives the folder of the
// rows, or "" if the import came to its end before the point.
func killImport(t *testing.T, home, point string, importing func(...string) []string) string {
	t.Helper()
	rows := filepath.Join(home, "rows")
	c := flightlogCommand(t, home, importing("--out", rows)...)
	c.Env = append(c.Env, "FLIGHTLOG_FAILPOINT="+point)
	out, err := c.CombinedOutput()
	if err == nil {
		return ""
	}
	if !killed(err) {
		t.Fatalf("import with %s: %v\n%s", point, err, out)
	}
	run(t, home, importing("--out", rows)...)
	return rows
}

// killUp kills an up while an import uses it, starts both again, and gives the
// folder of the rows, or "" if up did not come to the point.
func killUp(t *testing.T, home, point string, importing func(...string) []string) string {
	t.Helper()
	first := startUp(t, home, "FLIGHTLOG_FAILPOINT="+point)
	feeding := flightlogCommand(t, home, importing()...)
	if err := feeding.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	select {
	case err := <-ended:
		if !killed(err) {
			t.Fatalf("up was not killed at %s: %v", point, err)
		}
	case <-time.After(10 * time.Second):
		_ = first.Process.Kill()
		if err := <-ended; !killed(err) {
			t.Fatalf("up ended by itself before %s: %v", point, err)
		}
		_ = feeding.Process.Kill()
		_ = feeding.Wait()
		return ""
	}
	_ = feeding.Process.Kill()
	_ = feeding.Wait()
	second := startUp(t, home)
	run(t, home, importing()...)
	// A clean stop brings the sink to the end of the topics.
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Fatalf("up did not stop cleanly: %v", err)
	}
	return filepath.Join(home, "data", "flightlog", "rows")
}

func startUp(t *testing.T, home string, env ...string) *exec.Cmd {
	t.Helper()
	c := flightlogCommand(t, home, "up")
	c.Env = append(c.Env, env...)
	errs, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	lines := bufio.NewScanner(errs)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "flightlog is up") || strings.Contains(lines.Text(), "failpoint") {
			go func() {
				for lines.Scan() {
				}
			}()
			return c
		}
	}
	t.Fatal("up did not start")
	return nil
}

// killed tells that a process ended by SIGKILL.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func readCensus(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	hits := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var name string
		var n int
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			t.Fatal(err)
		}
		hits[name] = n
	}
	return hits
}
