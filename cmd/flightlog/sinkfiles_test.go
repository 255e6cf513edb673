package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/files"
)

// runSinkFiles runs the command in this process and gives what it printed.
func runSinkFiles(ctx context.Context, args ...string) (string, error) {
	c := sinkFilesCommand()
	root := &cobra.Command{Use: "flightlog", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(c)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"files"}, args...))
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

// archivedRows are the rows of enriched in an archive, as NDJSON has them.
func archivedRows(t *testing.T, dir string) string {
	t.Helper()
	archive, err := files.OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "enriched.ndjson")
	var text []byte
	if err := archive.Rows(t.Context(), broker.Enriched, time.Time{}, time.Time{}, func(r *delivery.Row) error {
		text = append(r.AppendJSON(text), '\n')
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sameBill compares the sums that two imports print, and the sessions.
func sameBill(t *testing.T, got, want string) {
	t.Helper()
	var g, w summary
	for text, s := range map[string]*summary{got: &g, want: &w} {
		if err := json.Unmarshal([]byte(text), s); err != nil {
			t.Fatal(err)
		}
	}
	if g.Total != w.Total || len(g.Sessions) != len(w.Sessions) || g.Facts != w.Facts || g.Total.CostNanoUsd == 0 {
		t.Errorf("%d sessions, %d facts, %+v\nwant %d, %d, %+v", len(g.Sessions), g.Facts, g.Total, len(w.Sessions), w.Facts, w.Total)
	}
}

// TestSessionsComeBackFromAnArchive imports all recordings, archives them, and
// imports the archive into an installation that knows nothing of them.
func TestSessionsComeBackFromAnArchive(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	rows, archive := filepath.Join(first, "rows"), filepath.Join(first, "archive")
	bill := run(t, first, "import", recordings.Dir(t), "--out", rows, "--json")
	data := filepath.Join(first, "data", "flightlog")
	out, err := runSinkFiles(t.Context(), "--data", data, "--archive", archive, "--out", filepath.Join(first, "more"), "--until-end")
	if err != nil || !strings.Contains(out, "what was appended") || !strings.Contains(out, "archive: "+archive) || !strings.Contains(out, " of them new") {
		t.Fatalf("%v, it says\n%s", err, out)
	}
	want := standingRows(t, filepath.Join(rows, "enriched.ndjson"))
	sameState(t, "rows in the archive", standingRows(t, archivedRows(t, archive)), want)

	again := run(t, second, "import", archive, "--out", filepath.Join(second, "rows"), "--json")
	sameBill(t, again, bill)
	sameState(t, "rows of what came back", standingRows(t, filepath.Join(second, "rows", "enriched.ndjson")), want)

	// Where they are still known they add nothing.
	before := fileTexts(t, rows)
	sameBill(t, run(t, first, "import", archive, "--out", rows, "--json"), bill)
	for name, text := range fileTexts(t, rows) {
		if text != before[name] {
			t.Errorf("%s changed by what it knows:\n%s", name, strings.TrimPrefix(text, before[name]))
		}
	}

	// A file on its own, and files without their index, are read as well.
	alone := t.TempDir()
	n := 0
	if err := filepath.WalkDir(filepath.Join(archive, "events"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.Contains(path, ".avro") {
			return err
		}
		n++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(alone, fmt.Sprintf("%d.avro", n)), text, 0o600)
	}); err != nil || n < 4 {
		t.Fatal(n, err)
	}
	third := t.TempDir()
	sameBill(t, run(t, third, "import", alone, "--json"), bill)
	var one summary
	if err := json.Unmarshal([]byte(run(t, t.TempDir(), "import", filepath.Join(alone, "1.avro"), "--json")), &one); err != nil || one.Events == 0 || one.Sources != 1 {
		t.Errorf("one file: %+v, %v", one, err)
	}
}

func TestRowsAreNoEvents(t *testing.T) {
	home := t.TempDir()
	rows, archive := filepath.Join(home, "rows"), filepath.Join(home, "archive")
	run(t, home, "import", filepath.Join(recordings.Dir(t), "success"), "--out", rows)
	data := filepath.Join(home, "data", "flightlog")
	if _, err := runSinkFiles(t.Context(), "--data", data, "--archive", archive, "--topics", "enriched", "--until-end"); err != nil {
		t.Fatal(err)
	}
	if _, err := runSinkFiles(t.Context(), "--data", data, "--archive", filepath.Join(home, "events"), "--topics", "events", "--until-end"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(aFile(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	loose := filepath.Join(home, "loose.avro")
	if err := os.WriteFile(loose, text, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(home, "foreign.avro")
	nested := filepath.Join(home, "other")
	if err := os.MkdirAll(nested, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{foreign: "nothing", filepath.Join(nested, "archive.json"): "{}", filepath.Join(nested, "z.avro"): "Obj"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		archive: archive + ": it holds rows, and rows are no events",
		rows:    "enriched.ndjson: it holds rows, and rows are no events",
		loose:   "loose.avro: it holds rows, and rows are no events",
		foreign: "it is no Avro object container file",
		nested:  "archive.json has version 0",
	} {
		if _, err := findSources([]string{path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if all, err := findSources([]string{home}); err != nil || len(all) != 1 || all[0].kind != archiveSource { // with the events beside
		t.Logf("%v", all)
		t.Errorf("%d sources, %v", len(all), err)
	}
	if _, err := findSourcesOf([]string{filepath.Join(home, "events")}, "acme"); err == nil || !strings.Contains(err.Error(), `belong to other organisations than "acme": local`) {
		t.Errorf("events of another organisation: %v", err)
	}
}

// aFile is some file with records of an archive.
func aFile(t *testing.T, archive string) (found string) {
	t.Helper()
	if err := filepath.WalkDir(archive, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(path, ".avro") {
			found = path
		}
		return err
	}); err != nil || found == "" {
		t.Fatal(found, err)
	}
	return found
}

func TestOfAnArchiveTheEventsOfOneOrganisationAreImported(t *testing.T) {
	home := t.TempDir()
	success := filepath.Join(recordings.Dir(t), "success")
	run(t, home, "import", success, "--org", "acme")
	run(t, home, "import", filepath.Join(recordings.Dir(t), "loop"))
	archive := filepath.Join(home, "archive")
	if _, err := runSinkFiles(t.Context(), "--data", filepath.Join(home, "data", "flightlog"), "--archive", archive, "--until-end"); err != nil {
		t.Fatal(err)
	}
	events := map[string]int{}
	for _, org := range []string{"acme", localOrg} {
		all, err := findSourcesOf([]string{archive}, org)
		if err != nil {
			t.Fatal(err)
		}
		c := &collected{}
		for _, s := range all {
			if err := s.read(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		sessions := map[string]bool{}
		for _, e := range c.events {
			sessions[e.SessionId] = true
		}
		if events[org] = len(c.events); len(sessions) != 1 {
			t.Errorf("of %s there are %d sessions", org, len(sessions))
		}
	}
	if events["acme"] == 0 || events[localOrg] == 0 || events["acme"] == events[localOrg] {
		t.Errorf("events by organisation: %v", events)
	}
}

func TestFilesThatWereMovedAwayAreNotImported(t *testing.T) {
	home := t.TempDir()
	run(t, home, "import", filepath.Join(recordings.Dir(t), "success"), filepath.Join(recordings.Dir(t), "loop"))
	archive := filepath.Join(home, "archive")
	if _, err := runSinkFiles(t.Context(), "--data", filepath.Join(home, "data", "flightlog"), "--archive", archive, "--topics", "events", "--until-end"); err != nil {
		t.Fatal(err)
	}
	all, err := findSources([]string{archive})
	if err != nil || len(all) < 2 {
		t.Fatal(len(all), err)
	}
	if err := os.Remove(all[0].path + ".open"); err != nil {
		t.Fatal(err)
	}
	rest, err := findSources([]string{archive})
	if err != nil || len(rest) != len(all)-1 {
		t.Errorf("%d sources of %d, %v", len(rest), len(all), err)
	}
	if err := os.Truncate(all[1].path+".open", all[1].size-1); err != nil {
		t.Fatal(err)
	}
	out, err := flightlogCommand(t, t.TempDir(), "import", archive).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is truncated: it holds") {
		t.Errorf("import of a truncated file: %v\n%s", err, out)
	}
}

func TestSinkFilesFollowsAnUpThatEndsAndComesBack(t *testing.T) {
	home := t.TempDir()
	rows, archive := filepath.Join(home, "sunk"), filepath.Join(home, "archive")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	up := startUp(t, home)
	go func() {
		out, err := runSinkFiles(ctx, "--data", filepath.Join(home, "data", "flightlog"), "--out", rows, "--archive", archive, "--admin", "")
		if err == nil && !strings.Contains(out, "flightlog writes to "+rows+" and "+archive) {
			err = fmt.Errorf("it says %q", out)
		}
		ended <- err
	}()
	inputs := []string{"success", "loop"}
	for i, name := range inputs {
		run(t, home, "import", filepath.Join(recordings.Dir(t), name))
		deadline := time.Now().Add(20 * time.Second)
		for seen := 0; seen <= i; {
			text, _ := os.ReadFile(filepath.Join(rows, "enriched.ndjson"))
			seen = strings.Count(string(text), `"kind":"session_end"`)
			if time.Now().After(deadline) {
				t.Fatalf("%d sessions after the import of %v", seen, inputs[:i+1])
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err := up.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := up.Wait(); err != nil {
			t.Fatal(err)
		}
		up = startUp(t, home)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not stop")
	}
	// Whatever it had not read is read by the next one.
	if _, err := runSinkFiles(t.Context(), "--data", filepath.Join(home, "data", "flightlog"), "--out", rows, "--archive", archive, "--until-end"); err != nil {
		t.Fatal(err)
	}
	want := standingRows(t, filepath.Join(home, "data", "flightlog", "rows", "enriched.ndjson"))
	sameState(t, "rows", standingRows(t, filepath.Join(rows, "enriched.ndjson")), want)
	sameState(t, "rows in the archive", standingRows(t, archivedRows(t, archive)), want)
}

func TestSinkFilesThatWaitsForABrokerStopsCleanly(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, stop)
	if out, err := runSinkFiles(ctx, "--broker", "nats://127.0.0.1:1", "--out", t.TempDir(), "--admin", ""); err != nil || out != "" {
		t.Errorf("%v, it says %q", err, out)
	}
}

func TestSinkFilesSaysWhatIsWrongWithItsFlags(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string][]string{
		"":                                   {"give --out or --archive"},
		"--out " + dir + " --archive " + dir: {"two folders"},
		"--archive " + dir + " --topics a,b": {"--topics a: there are events, enriched, findings, tasks, spend, deadletters", "--topics b"},
		"--out " + dir + " --topics events":  {"names none that --out writes"},
		"--out " + dir + " --json":           {"--json is for the summary of --until-end"},
		"--out " + dir + " --until-end --data " + filepath.Join(dir, "none"): {"there is no data in"},
		"--out " + dir + " --data " + filepath.Join(dir, "none"):             {"no 'flightlog up' runs"},
	} {
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := runSinkFiles(ctx, strings.Fields(args)...)
		stop()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", args, err, w)
			}
		}
	}
}

func TestSinkFilesSumsUpAsJSON(t *testing.T) {
	home := t.TempDir()
	run(t, home, "import", filepath.Join(recordings.Dir(t), "success"))
	rows, archive := filepath.Join(home, "rows"), filepath.Join(home, "archive")
	for i := range 2 {
		out, err := runSinkFiles(t.Context(), "--data", filepath.Join(home, "data", "flightlog"), "--out", rows, "--archive", archive, "--until-end", "--json")
		if err != nil {
			t.Fatal(err)
		}
		var s filesSummary
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatal(err)
		}
		got := map[string]archivedTopic{}
		for _, a := range s.Archived {
			got[a.Topic] = a
		}
		e := got[broker.Enriched]
		lines := strings.Count(fileTexts(t, rows)["enriched.ndjson"], "\n")
		if s.Out != rows || s.Archive != archive || !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(slices.Values(files.ArchiveTopics))) ||
			e.Held != int64(lines) || e.Files < 1 || e.Bytes == 0 || e.CoveredBefore == nil || (e.Rows == int64(lines)) != (i == 0) || got[broker.Events].Held == 0 {
			t.Errorf("run %d: %s", i, out)
		}
	}
}
