package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// TestUpLoadsWhatImportBrings: provision, up and import as a new user runs them;
// the rows in OpenObserve add up to what import says, and its readiness tells
// when the store is away.
func TestUpLoadsWhatImportBrings(t *testing.T) {
	server, err := o2test.Start(o2test.Config{AllowedUpTo: 9600})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	home := t.TempDir()
	password, passcode := filepath.Join(home, "password"), filepath.Join(home, "passcode")
	if err := os.WriteFile(password, []byte(o2test.DefaultRootPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := []string{"--openobserve", server.URL(), "--openobserve-admin-user", o2test.DefaultRoot, "--openobserve-admin-password-file", password}
	run(t, home, append([]string{"provision", "openobserve", "--passcode-file", passcode}, admin...)...)

	up := flightlogCommand(t, home, append([]string{"up", "--openobserve-user", o2test.DefaultRoot, "--openobserve-password-file", passcode}, admin...)...)
	stderr, err := up.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = up.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	var address string
	for lines.Scan() && address == "" {
		if _, after, ok := strings.Cut(lines.Text(), "http://"); ok && strings.Contains(lines.Text(), "flightlog is up") {
			address = strings.TrimSuffix(after, "/metrics")
		}
	}
	go func() {
		for lines.Scan() {
		}
	}()
	text := run(t, home, "import", filepath.Join(recordings.Dir(t), "success"), filepath.Join(recordings.Dir(t), "resume"),
		filepath.Join(recordings.Dir(t), "subagent"), "--shift-to-now", "--json")
	var said summary
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		t.Fatal(err)
	}
	sums := func() (rows int64, cost int64, facts int64) {
		ids := map[string]bool{}
		for row := range server.Stored("flightlog_enriched") {
			r := gjson.ParseBytes(row)
			if id := r.Get("row_id").Str; !ids[id] {
				ids[id] = true
				rows++
				facts += r.Get("sign").Int()
				cost += r.Get("sign").Int() * r.Get("cost_nano_usd").Int()
			}
		}
		return rows, cost, facts
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if rows, _, _ := sums(); rows == said.Rows {
			break
		}
	}
	if rows, cost, facts := sums(); rows != said.Rows || cost != said.Total.CostNanoUsd || facts != said.Facts || cost == 0 {
		t.Errorf("OpenObserve holds %d rows, %d facts, %d nano-dollars; import said %d, %d, %d", rows, facts, cost, said.Rows, said.Facts, said.Total.CostNanoUsd)
	}
	ready := func() error { return askReady(t.Context(), address) }
	if err := ready(); err != nil {
		t.Error(err)
	}
	server.Kill()
	run(t, home, "import", filepath.Join(recordings.Dir(t), "parallel-tools"), "--shift-to-now", "--json")
	for deadline := time.Now().Add(20 * time.Second); ready() == nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is ready while the store is away")
		}
	}
	if err := ready(); err == nil || !strings.Contains(err.Error(), "the store takes no rows") {
		t.Errorf("readiness: %v", err)
	}
	before, _, _ := sums()
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ready() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not become ready again")
		}
	}
	if after, _, _ := sums(); after <= before {
		t.Errorf("%d rows after the store came back, %d before", after, before)
	}
	if err := up.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := up.Wait(); err != nil {
		t.Errorf("up did not stop cleanly: %v", err)
	}
}
