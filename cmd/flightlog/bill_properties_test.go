package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"pgregory.net/rapid"

	"github.com/flightlog/flightlog/loadtest/bill"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// billOf is a bill as one comparable text per request, and the signed sum over
// all rows, which must be the same.
func billOf(rows []schemas.Enriched) []string {
	var all []string
	var signed, stand int64
	for i := range rows {
		signed += int64(rows[i].Sign) * rows[i].CostNanoUsd.Value
	}
	for _, r := range rowBill(standing(rows)) {
		stand += max(0, amount(r.Cost))
		all = append(all, fmt.Sprintf("%s %s %s %s %s %s: %d to %d", r.Request, r.Part, r.Session, r.Model, r.Day, r.Grade, amount(r.Cost), amount(r.Max)))
	}
	slices.Sort(all)
	return append(all, fmt.Sprintf("signed sum %d, of what stands %d", signed, stand))
}

// billedFolders are recordings that have something to get wrong: block lines,
// forks, resumed and compacted sessions, subagents, retries; and every case of
// the corpus.
func billedFolders(t testing.TB) map[string]string {
	root := recordings.Dir(t)
	folders := map[string]string{}
	for _, name := range []string{"resume", "compact-manual", "subagent", "parallel-tools", "api-retries", "usage-shapes", "websearch"} {
		folders[name] = filepath.Join(root, name)
	}
	for i := range traps {
		// Of copies without a mark, those that end first say whose they were; a file
		// that is cut says it no more.
		if traps[i].folder != "03-forked-history-without-marks" {
			folders[traps[i].folder] = traps[i].dir()
		}
	}
	return folders
}

// property draws a folder and compares the bill of what change makes of it with
// the bill of the folder itself.
func property(t *testing.T, change func(t *testing.T, rt *rapid.T, dir string) []*schemas.Event) {
	folders := billedFolders(t)
	names := slices.Sorted(maps.Keys(folders))
	want := map[string][]string{}
	for name, dir := range folders {
		want[name] = billOf(foldCase(t, dir, observe(t, dir).events))
	}
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(names).Draw(rt, "folder")
		got := billOf(foldCase(t, folders[name], change(t, rt, folders[name])))
		if !slices.Equal(got, want[name]) {
			rt.Fatalf("%s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(want[name], "\n"))
		}
	})
}

// Events in any order, any of them several times, make the same bill.
func TestOrderAndDuplicatesLeaveTheBill(t *testing.T) {
	read := map[string][]*schemas.Event{}
	property(t, func(t *testing.T, rt *rapid.T, dir string) []*schemas.Event {
		if read[dir] == nil {
			read[dir] = observe(t, dir).events
		}
		events := slices.Clone(read[dir])
		for range rapid.IntRange(0, 20).Draw(rt, "duplicates") {
			events = append(events, events[rapid.IntRange(0, len(events)-1).Draw(rt, "which")])
		}
		return rapid.Permutation(events).Draw(rt, "order")
	})
}

// transcriptFiles are the transcripts of a recording, by path under it.
func transcriptFiles(t testing.TB, dir string) map[string][]string {
	files := map[string][]string{}
	err := filepath.WalkDir(filepath.Join(dir, "projects"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = slices.Collect(strings.Lines(string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// written makes a recording of other transcripts beside what OTLP told.
func written(t testing.TB, rt *rapid.T, dir string, files map[string][]string) []*schemas.Event {
	into, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(into)
	for _, name := range []string{"otlp-logs.ndjson", "otlp-traces.ndjson", "hooks.ndjson", "endpoint.ndjson"} {
		if err := os.Link(filepath.Join(dir, name), filepath.Join(into, name)); err != nil && !os.IsNotExist(err) {
			text, err := os.ReadFile(filepath.Join(dir, name)) // another file system
			if err == nil {
				err = os.WriteFile(filepath.Join(into, name), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, lines := range files {
		path := filepath.Join(into, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := observe(t, into)
	for _, d := range c.dead {
		rt.Fatalf("dead letter: %s %s", d.Reason, d.Detail)
	}
	return rapid.Permutation(c.events).Draw(rt, "order")
}

// A session resumed from other folders has a file of its id in each (contract
// §3.1): however its lines are split over them, and whatever stands in two of
// them, the bill is the same.
func TestAnySplitOverFilesLeavesTheBill(t *testing.T) {
	property(t, func(t *testing.T, rt *rapid.T, dir string) []*schemas.Event {
		folders := rapid.IntRange(1, 3).Draw(rt, "folders")
		overlap := rapid.Bool().Draw(rt, "overlap")
		files := map[string][]string{}
		for name, lines := range sorted(transcriptFiles(t, dir)) {
			place := func(n int) string { return strings.Replace(name, "-shop", fmt.Sprintf("-shop-%d", n), 1) }
			if strings.HasSuffix(name, ".meta.json") {
				files[place(0)] = lines
				continue
			}
			forked := strings.Contains(strings.Join(lines, ""), `"requestSessionId"`)
			cut := 0
			for n := range folders {
				to := len(lines)
				if n < folders-1 {
					to = rapid.IntRange(cut, len(lines)).Draw(rt, "cut")
				}
				from := cut
				if overlap || forked { // a fork's marks stay at the head of its file
					from = 0
				}
				files[place(n)] = lines[from:to]
				cut = to
			}
		}
		return written(t, rt, dir, files)
	})
}

// A resumed process appends to the file, and state lines repeat (contract §3.5);
// a crash may have written lines twice.
func TestARepeatedTailLeavesTheBill(t *testing.T) {
	property(t, func(t *testing.T, rt *rapid.T, dir string) []*schemas.Event {
		files := transcriptFiles(t, dir)
		for name, lines := range sorted(files) {
			if from := rapid.IntRange(0, len(lines)).Draw(rt, "from"); !strings.HasSuffix(name, ".meta.json") {
				files[name] = append(slices.Clone(lines), lines[from:]...)
			}
		}
		return written(t, rt, dir, files)
	})
}

// A fork copies the history into a file of its own and marks whose it was
// (contract §3.5); a fork of a fork leaves the marks as they are.
func TestForksLeaveTheBill(t *testing.T) {
	property(t, func(t *testing.T, rt *rapid.T, dir string) []*schemas.Event {
		files := transcriptFiles(t, dir)
		var sessions []string
		for name := range sorted(files) {
			if !strings.Contains(name, "/subagents/") {
				sessions = append(sessions, name)
			}
		}
		for n := range rapid.IntRange(1, 3).Draw(rt, "forks") {
			of := rapid.SampledFrom(sessions).Draw(rt, "fork of")
			lines := files[of]
			id := fmt.Sprintf("f0000000-0000-4000-a000-%012d", n)
			var copied []string
			for _, line := range lines[:rapid.IntRange(0, len(lines)).Draw(rt, "copied")] {
				l := gjson.Parse(line)
				session := l.Get("sessionId").Str
				if l.Get("type").Str == "cost-state" || session == "" {
					continue
				}
				line = strings.ReplaceAll(line, `"sessionId":"`+session+`"`, `"sessionId":"`+id+`"`)
				if l.Get("type").Str == "assistant" && !l.Get("requestSessionId").Exists() {
					line = strings.TrimSuffix(strings.TrimSpace(line), "}") + `,"requestSessionId":"` + session + "\"}\n"
				}
				copied = append(copied, line)
			}
			name := filepath.Join(filepath.Dir(of), id+".jsonl")
			files[name] = copied
			sessions = append(sessions, name)
		}
		return written(t, rt, dir, files)
	})
}

// sorted ranges over a map in the order of its keys, so that what is drawn for
// it is the same at every run.
func sorted[V any](m map[string]V) func(yield func(string, V) bool) {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// surer are the requests whose bill is not in the range of a row that only OTLP
// tells of: an api_request tells the speed that was asked for, no service tier
// and no searches. The client's figure, which is the bill, is less than the row's;
// that may be the client's own prices, so the row is only estimated.
var surer = map[string]string{
	"11-fast-mode req_011Cee081528313ea382c8b2": "asked fast, served standard",
	"12-modifiers req_011C950a8e136b05b0c695d1": "batch",
}

// Whatever witnesses there are, a figure is as sure as it says: a measured one
// is the bill, an estimated one has the bill in its range, and an unpriced one
// is unpriced on the bill.
func TestAFigureIsAsSureAsItSays(t *testing.T) {
	folders := map[string]string{}
	for _, name := range recordings.Scenarios() {
		folders[name] = filepath.Join(recordings.Dir(t), name)
	}
	for i := range traps {
		folders[traps[i].folder] = traps[i].dir()
	}
	named := map[string]bool{}
	for name, dir := range sorted(folders) {
		_, requests := theBill(t, dir)
		for _, witnesses := range witnessSets {
			transcript := slices.Contains(witnesses, transcriptWitness)
			for _, r := range rowBill(standing(foldCase(t, dir, observe(t, dir, witnesses...).events))) {
				key := name + " " + setName(witnesses) + " " + r.Request
				truths := slices.DeleteFunc(inOrder(requests), func(b billedRequest) bool { return b.Request != r.Request || b.Part != r.Part })
				if len(truths) == 0 {
					t.Errorf("%s: no such request", key)
					continue
				}
				known := slices.ContainsFunc(truths, func(b billedRequest) bool { return honest(name, &r, &b) })
				switch why := surer[name+" "+r.Request]; {
				case known:
				case why != "" && !transcript:
					named[name+" "+r.Request] = true
				default:
					t.Errorf("%s (%s): %s %d to %d, the bill is %s %d to %d", key, r.Model, r.Grade, amount(r.Cost), amount(r.Max), truths[0].Grade, amount(truths[0].Cost), amount(truths[0].Max))
				}
			}
		}
	}
	for key, why := range surer {
		if !named[key] {
			t.Errorf("%s (%s) is no exception any more", key, why)
		}
	}
}

// honest tells that a row says no more than is true.
func honest(scenario string, row, truth *billedRequest) bool {
	switch row.Grade {
	case bill.Measured:
		return truth.Grade == bill.Measured && amount(row.Cost) == amount(truth.Cost)+explained[scenario+" "+row.Request].nano
	case bill.Estimated:
		return truth.Cost != nil && *row.Cost <= *truth.Cost && (row.Max == nil || truth.Max != nil && *truth.Max <= *row.Max)
	}
	return row.Cost == nil
}
