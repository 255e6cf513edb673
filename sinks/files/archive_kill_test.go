package files_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/files"
)

// tale appends to all kinds of logs over some hours, and calls each now and then.
func tale(t *testing.T, b *logs, each func()) {
	t.Helper()
	number := int64(0)
	for i := range 8 {
		b.at = at(time.Duration(i) * 25 * time.Minute)
		b.send(t, events(i%2), "local", "acme")
		b.say(t, enriched(1), 1+i%3)
		for _, n := range []int{1, i % 2} { // the second time it goes on with a commit
			if n > 0 {
				b.sayCommit(t, enriched(0), "sessions", number-number%2, number-number%2+1, n)
			}
			each()
			b.at += 14 * 60 * 1e6
		}
		number += 2
		b.sayCommit(t, enriched(0), "sessions", number-1, number, 1)
		b.say(t, findings(0, schemas.LaneCritical), 1)
		if i == 5 { // a server whose clock is behind
			b.at = at(3 * time.Minute)
			b.say(t, enriched(1), 1)
		}
		each()
	}
}

// final are the complete files of a tree.
func final(tree map[string]string) map[string]string {
	some := maps.Clone(tree)
	maps.DeleteFunc(some, func(name, _ string) bool { return !strings.HasSuffix(name, ".avro") })
	return some
}

// indexAgrees checks that the complete files are those that the indexes name, by
// name and length.
func indexAgrees(t *testing.T, what string, now map[string]string) {
	t.Helper()
	named := map[string]int64{}
	for name, text := range now {
		if filepath.Base(name) != "index.ndjson" {
			continue
		}
		for line := range strings.Lines(text) {
			var f files.File
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatalf("%s: %s: %v", what, name, err)
			}
			if _, twice := named[f.Name]; twice {
				t.Fatalf("%s: the index names %s twice", what, f.Name)
			}
			named[f.Name] = f.Bytes
		}
	}
	for name, text := range final(now) {
		if n, ok := named[name]; !ok || n != int64(len(text)) {
			t.Fatalf("%s: %s has %d bytes, the index says %d", what, name, len(text), n)
		}
		delete(named, name)
	}
	if len(named) > 0 {
		t.Fatalf("%s: the index names %v, which are not complete", what, named)
	}
}

// TestAKillAtAnyByteLeavesAnArchiveThatHoldsEveryRowOnce builds every folder
// that a crash can leave between two checkpoints: each file with any part of
// what was to come next; or the next checkpoint, and any of the files that were
// to be renamed. The sink goes on from each of them.
func TestAKillAtAnyByteLeavesAnArchiveThatHoldsEveryRowOnce(t *testing.T) {
	t.Parallel()
	b, dir := newLogs(2), t.TempDir()
	stands := []map[string]string{}
	tale(t, b, func() {
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		stands = append(stands, tree(t, dir))
	})
	tears := 9
	if testing.Short() {
		tears = 2
	}
	restarts := 0
	goesOn := func(what string, left, before map[string]string) {
		t.Helper()
		crashed := t.TempDir()
		for name, text := range left {
			if err := os.MkdirAll(filepath.Join(crashed, filepath.Dir(name)), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, crashed, name, text)
		}
		if err := archive(t, crashed, b); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		restarts++
		holdsAll(t, what, crashed, b)
		now := tree(t, crashed)
		indexAgrees(t, what, now)
		for name, text := range final(before) {
			if now[name] != text {
				t.Fatalf("%s: %s has changed", what, name)
			}
		}
		if err := os.RemoveAll(crashed); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for k, next := range stands[1:] {
		stand := stands[k]
		// What is written before the next checkpoint, under the names of then.
		more := map[string]string{}
		for name, text := range next {
			if _, complete := stand[name]; name == "archive.json" || complete && strings.HasSuffix(name, ".avro") {
				continue
			}
			if strings.HasSuffix(name, ".avro") {
				name += ".open"
			}
			if !strings.HasPrefix(text, stand[name]) {
				t.Fatalf("%s was changed, and not only written on", name)
			}
			more[name] = text[len(stand[name]):]
		}
		for tear := range tears {
			left := maps.Clone(stand)
			for _, name := range slices.Sorted(maps.Keys(more)) {
				n := random.IntN(len(more[name]) + 1)
				switch tear {
				case 0:
					n = 0
				case 1:
					n = len(more[name])
				case 2, 3, 4: // near the end: most of a file is its schema
					n = len(more[name]) - min(n, random.IntN(600))
				}
				if _, begun := stand[name]; begun || n > 0 {
					left[name] += more[name][:n]
				}
			}
			left["archive.json.next"] = next["archive.json"][:len(next["archive.json"])/2]
			goesOn(fmt.Sprintf("checkpoint %d, tear %d", k, tear), left, stand)
		}
		var closing []string
		for name := range final(next) {
			if _, ok := stand[name]; !ok {
				closing = append(closing, name)
			}
		}
		slices.Sort(closing)
		for renamed := range len(closing) + 1 {
			left := maps.Clone(next)
			for _, name := range closing[renamed:] {
				left[name+".open"] = left[name]
				delete(left, name)
			}
			goesOn(fmt.Sprintf("checkpoint %d, %d of %v renamed", k+1, renamed, closing), left, stand)
		}
	}
	t.Logf("%d restarts, %d files in the end", restarts, len(avroNames(t, dir)))
}

func TestWhatStandsBeyondTheCheckpointOfAnArchiveIsCutOff(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.at = at(0)
	b.say(t, enriched(0), 3)
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	for _, name := range []string{"enriched/0/2096-11-26T10.avro.open", "enriched/index.ndjson", "events/index.ndjson"} {
		write(t, dir, name, before[name]+strings.Repeat("what never stood", 9000))
	}
	write(t, dir, "enriched/0/2096-11-26T11.avro.open", strings.Repeat("nor did this", 9000))
	b.at = at(time.Hour)
	b.say(t, enriched(0), 3)
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	indexAgrees(t, "after the crash", tree(t, dir))
	holdsAll(t, "after the crash", dir, b)
}

func TestAnArchiveThatIsKilledNineGoesOnWhereItsCheckpointStands(t *testing.T) {
	drainAll := func(dir string, b *logs) {
		s, err := files.NewArchive(dir)
		if err != nil {
			t.Fatal(err)
		}
		tale(t, b, func() {
			if err := s.Drain(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		})
	}
	if dir := os.Getenv(childFolder); dir != "" { // the process to be killed
		drainAll(dir, newLogs(2))
		return
	}
	b := newLogs(2)
	tale(t, b, func() {})
	hits := []int{1, 2, 3, 7, 12}
	if testing.Short() {
		hits = hits[:2]
	}
	for _, place := range []string{"files.appended", "files.synced", "files.checkpoint_written", "files.checkpointed", "files.renamed"} {
		for _, hit := range hits {
			dir := t.TempDir()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAnArchiveThatIsKilledNine")
			child.Env = append(os.Environ(), childFolder+"="+dir, fmt.Sprintf("FLIGHTLOG_FAILPOINT=%s:%d", place, hit))
			if out, err := child.CombinedOutput(); err == nil || child.ProcessState.ExitCode() != -1 {
				t.Fatalf("%s:%d: not killed: %v\n%s", place, hit, err, out)
			}
			before := final(tree(t, dir))
			if err := archive(t, dir, b); err != nil {
				t.Fatalf("%s:%d: %v", place, hit, err)
			}
			holdsAll(t, fmt.Sprintf("%s:%d", place, hit), dir, b)
			indexAgrees(t, fmt.Sprintf("%s:%d", place, hit), tree(t, dir))
			for name, text := range before {
				if tree(t, dir)[name] != text {
					t.Errorf("%s:%d: %s has changed", place, hit, name)
				}
			}
		}
	}
}

// TestRandomHistoriesOfAnArchive plays histories of messages, drains and kills,
// in which two sources speak, clocks go back and commits cross hours.
func TestRandomHistoriesOfAnArchive(t *testing.T) {
	t.Parallel()
	seeds := 30
	if testing.Short() {
		seeds = 5
	}
	crossings := 0
	for seed := range seeds {
		random := rand.New(rand.NewPCG(uint64(seed), 5))
		b, dir := newLogs(1), t.TempDir()
		b.at = at(0)
		type row struct {
			source   string
			commit   int64
			at, most int64 // most: of all before
		}
		var story []row
		commits, most := map[string]int64{}, int64(0)
		drain := func() {
			t.Helper()
			before := tree(t, dir)
			if err := archive(t, dir, b, broker.Enriched); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			now := tree(t, dir)
			for name, text := range final(before) {
				if now[name] != text {
					t.Fatalf("seed %d: %s has changed", seed, name)
				}
			}
			if _, ok := before["archive.json"]; !ok || random.IntN(2) > 0 {
				return
			}
			// Killed before the checkpoint: all else is there, under the names of then.
			for name, text := range now {
				if _, stood := before[name]; !stood && strings.HasSuffix(name, ".avro") {
					if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, name+".open")); err != nil {
						t.Fatal(err)
					}
					write(t, dir, name+".open", text)
				}
			}
			write(t, dir, "archive.json", before["archive.json"])
		}
		for range 60 {
			b.at += random.Int64N([]int64{40e6, 40e6, 20 * 60e6}[random.IntN(3)])
			if random.IntN(20) == 0 {
				b.at -= random.Int64N(3600 * 1e6)
			}
			most = max(most, b.at)
			source := []string{"sessions", "changes"}[random.IntN(2)]
			if commits[source] == 0 || random.IntN(3) == 0 {
				commits[source]++
			}
			b.sayCommit(t, enriched(0), source, commits[source]-1, commits[source], 1)
			story = append(story, row{source, commits[source], b.at, most})
			if random.IntN(4) == 0 {
				drain()
			}
		}
		if err := archive(t, dir, b, broker.Enriched); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		holdsAll(t, fmt.Sprintf("seed %d", seed), dir, b)
		fileOf, crossed := map[string]string{}, 0
		for file, names := range archivedNames(t, dir, broker.Enriched) {
			for _, name := range names {
				fileOf[name] = file
			}
		}
		last := map[string]int{}
		for i, r := range story {
			name := fmt.Sprintf("enriched/0 row %d", i+1)
			if j, ok := last[r.source]; ok && story[j].commit == r.commit && r.most < story[j].at+60e6 {
				before := fmt.Sprintf("enriched/0 row %d", j+1)
				if fileOf[name] != fileOf[before] {
					t.Errorf("seed %d: commit %d of %s is cut: %s in %s, %s in %s", seed, r.commit, r.source, before, fileOf[before], name, fileOf[name])
				}
				if story[j].at/3600e6 != r.at/3600e6 {
					crossed++
				}
			} else if want := time.UnixMicro(r.at).UTC().Format("2006-01-02T15"); !(ok && story[j].commit == r.commit) && !strings.Contains(fileOf[name], want) {
				t.Errorf("seed %d: %s of %s stands in %s", seed, name, want, fileOf[name])
			}
			last[r.source] = i
		}
		crossings += crossed
	}
	if t.Logf("%d commits crossed an hour", crossings); crossings == 0 {
		t.Error("no commit crossed an hour")
	}
}
