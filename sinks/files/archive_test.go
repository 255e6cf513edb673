package files_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/files"
)

// future is an hour that no clock of a test has reached: only what was appended
// tells that it is over.
var future = time.Date(2096, 11, 26, 10, 0, 0, 0, time.UTC)

// at is a time in that hour, in µs.
func at(d time.Duration) int64 { return future.Add(d).UnixMicro() }

// archive opens the archive, drains and closes it again.
func archive(t testing.TB, dir string, b broker.Broker, topics ...string) error {
	t.Helper()
	s, err := files.NewArchive(dir, topics...)
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.Drain(ctx, b)
}

// tree is every file in a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		text, err := os.ReadFile(path)
		name, relErr := filepath.Rel(dir, path)
		all[name] = string(text)
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// avroNames are the names of the files of an archive, complete and open ones.
func avroNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	for name := range tree(t, dir) {
		if strings.Contains(name, ".avro") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// name of a row of the tests.
func name(r *delivery.Row) string {
	switch {
	case r.Enriched != nil:
		return r.Enriched.SessionId
	case r.Finding != nil:
		return r.Finding.Subject
	case r.Task != nil:
		return r.Task.TaskId
	case r.Spend != nil:
		return r.Spend.Value
	}
	return r.DeadLetter.Position
}

func openArchive(t *testing.T, dir string) *files.Archive {
	t.Helper()
	a, err := files.OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// archivedNames are the names of all that an archive holds of a topic, by file.
func archivedNames(t *testing.T, dir, topic string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := openArchive(t, dir).Files(topic, func(f *files.File) error {
		if topic == broker.Events {
			return f.EachEvent(t.Context(), func(e *files.Event) error {
				all[f.Name] = append(all[f.Name], strings.Clone(e.Event.SessionId))
				return nil
			})
		}
		return f.EachRow(t.Context(), func(r *delivery.Row) error {
			all[f.Name] = append(all[f.Name], strings.Clone(name(r)))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// holdsAll checks that each row of each log stands in the archive once.
func holdsAll(t *testing.T, what, dir string, b *logs) {
	t.Helper()
	want := map[string][]string{}
	for log, names := range b.said {
		want[log.Topic] = append(want[log.Topic], names...)
	}
	for topic, names := range want {
		got := slices.Concat(slices.Collect(maps.Values(archivedNames(t, dir, topic)))...)
		slices.Sort(got)
		slices.Sort(names)
		if !slices.Equal(got, names) {
			t.Fatalf("%s: %s holds %q, want %q", what, topic, got, names)
		}
	}
}

func TestTheArchiveHoldsEachLogByHour(t *testing.T) {
	b, dir := newLogs(2), t.TempDir()
	for hour := range 2 {
		b.at = at(time.Duration(hour)*time.Hour + time.Minute)
		b.send(t, events(0), "local", "acme")
		b.send(t, broker.Log{Topic: broker.Events, Lane: schemas.LaneCritical}, "acme")
		b.say(t, enriched(0), 2)
		b.say(t, enriched(1), 1)
		b.say(t, findings(1, schemas.LaneNormal), 1)
		b.say(t, findings(1, schemas.LaneCritical), 3)
		b.say(t, deadLetters(0), 1)
		b.say(t, broker.Log{Topic: broker.Tasks}, 2)
		b.say(t, broker.Log{Topic: broker.Spend, Partition: 1}, 2)
		tick := schemas.Control{Type: schemas.ControlTypeTick}
		if _, err := b.Append(t.Context(), events(1), tick.AppendMessage(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{"deadletters/0/", "enriched/0/", "enriched/1/", "events/0/", "findings/1/", "spend/1/", "tasks/0/"} {
		lanes := []string{""}
		if name == "events/0/" || name == "findings/1/" {
			lanes = []string{"", ".critical"}
		}
		for _, lane := range lanes {
			want = append(want, name+"2096-11-26T10"+lane+".avro")
		}
		for _, lane := range lanes {
			want = append(want, name+"2096-11-26T11"+lane+".avro.open")
		}
	}
	equal(t, "files", avroNames(t, dir), want)
	holdsAll(t, "after a drain", dir, b)
	got := archivedNames(t, dir, broker.Findings)
	equal(t, "critical findings of the first hour", got["findings/1/2096-11-26T10.critical.avro"], b.said[findings(1, schemas.LaneCritical)][:3])

	before := tree(t, dir)
	for range 2 { // nothing more
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
	}
	if b.reads != 20 {
		t.Errorf("%d messages were read, want 20", b.reads)
	}
	for _, topic := range files.ArchiveTopics {
		if _, ok := before[filepath.Join(topic, "index.ndjson")]; !ok {
			t.Errorf("%s has no index", topic)
		}
		n := 0
		count := func(*delivery.Row) error { n++; return nil }
		if topic == broker.Events {
			continue
		}
		// All of them occurred 7 s before their hour's minute.
		for _, from := range []time.Duration{54 * time.Second, 53 * time.Second, 52 * time.Second} {
			n = 0
			first := time.UnixMicro(at(from))
			if err := openArchive(t, dir).Rows(t.Context(), topic, first, first.Add(time.Second), count); err != nil || (n > 0) != (from == 53*time.Second) {
				t.Errorf("%s has %d rows of the second from %v on (%v)", topic, n, from, err)
			}
		}
	}
	for name, text := range tree(t, dir) {
		if name != "archive.json" && text != before[name] {
			t.Errorf("%s has changed", name)
		}
	}
}

func TestTheIndexSaysWhatAFileHolds(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.at = at(5 * time.Minute)
	b.send(t, events(0), "zoo", "acme", "zoo")
	if _, err := b.Append(t.Context(), events(0), badEvents()); err != nil {
		t.Fatal(err)
	}
	b.sayCommit(t, enriched(0), "sessions", 0, 7, 2)
	b.at = at(50 * time.Minute)
	b.sayCommit(t, enriched(0), "changes", 0, 3, 1)
	b.sayCommit(t, enriched(0), "sessions", 7, 8, 1)
	b.at = at(2 * time.Hour)
	b.send(t, events(0), "zoo")
	b.say(t, deadLetters(0), 1)
	b.sayCommit(t, enriched(0), "sessions", 8, 9, 1)
	b.sayCommit(t, enriched(0), "changes", 3, 4, 1)
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	got := map[string]files.File{}
	for _, topic := range openArchive(t, dir).Topics() {
		for line := range strings.Lines(tree(t, dir)[filepath.Join(topic, "index.ndjson")]) {
			var f files.File
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatal(err)
			}
			text := tree(t, dir)[f.Name]
			if int64(len(text)) != f.Bytes {
				t.Errorf("%s has %d bytes, the index says %d", f.Name, len(text), f.Bytes)
			}
			f.Bytes, f.SHA256 = 0, ""
			got[f.Name] = f
		}
	}
	want := map[string]files.File{
		"events/0/2096-11-26T10.avro": {Name: "events/0/2096-11-26T10.avro", Topic: "events", Hour: "2096-11-26T10", Part: 1,
			Schema: fmt.Sprintf("%016x", schemas.EventFingerprint), Rows: 4, Unreadable: 3,
			FirstOccurredAt: 0, LastOccurredAt: at(5*time.Minute) - 7e6, FirstAppendedAt: at(5 * time.Minute), LastAppendedAt: at(5 * time.Minute),
			Orgs: []string{"acme", "bad", "zoo"}},
		"enriched/0/2096-11-26T10.avro": {Name: "enriched/0/2096-11-26T10.avro", Topic: "enriched", Hour: "2096-11-26T10", Part: 1,
			Schema: fmt.Sprintf("%016x", schemas.EnrichedFingerprint), Rows: 4,
			FirstOccurredAt: at(5*time.Minute) - 7e6, LastOccurredAt: at(50*time.Minute) - 7e6, FirstAppendedAt: at(5 * time.Minute), LastAppendedAt: at(50 * time.Minute),
			Commits: []files.Commits{{Processor: "sessions", Generation: 1, First: 7, Last: 8}, {Processor: "changes", Generation: 1, First: 3, Last: 3}}},
	}
	for name := range maps.Keys(want) {
		if g, w := fmt.Sprintf("%+v", got[name]), fmt.Sprintf("%+v", want[name]); g != w {
			t.Errorf("the index says\n%s\nwant\n%s", g, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the index names %v", slices.Collect(maps.Keys(got)))
	}
}

// badEvents is a frame with one event that decodes, and three that do not.
func badEvents() []byte {
	good := (&schemas.Event{}).AppendAvro(nil)
	f := schemas.Frame{Segments: []schemas.Segment{
		{Org: "bad", Schema: schemas.EventSchema, Events: [][]byte{good, good[:20], append(good[:len(good):len(good)], 0)}},
		{Org: "worse", Schema: 42, Events: [][]byte{good}},
	}}
	return f.AppendMessage(nil)
}

func TestAFrameThatDoesNotDecodeIsPassedOverAmongEventsOnly(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.at = at(0)
	if _, err := b.Append(t.Context(), events(0), []byte("no frame")); err != nil {
		t.Fatal(err)
	}
	b.send(t, events(0), "local")
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	holdsAll(t, "behind what is no frame", dir, b)
	if _, err := b.Append(t.Context(), enriched(0), []byte("no frame")); err != nil {
		t.Fatal(err)
	}
	if err := archive(t, dir, b); err == nil || !strings.Contains(err.Error(), "enriched/0 after position 0: the message at position 3") {
		t.Errorf("rows that do not decode: %v", err)
	}
}

// TestACommitIsNotCutByTheHour has the rows of commits as messages of their
// own, of two sources that speak at the same time while the hour passes.
func TestACommitIsNotCutByTheHour(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.at = at(59 * time.Minute)
	b.sayCommit(t, enriched(0), "sessions", 0, 1, 2)
	b.at = at(time.Hour - 1)
	b.sayCommit(t, enriched(0), "sessions", 1, 2, 1)
	b.sayCommit(t, enriched(0), "changes", 0, 1, 1)
	b.at = at(time.Hour)
	b.sayCommit(t, enriched(0), "sessions", 1, 2, 2)
	b.sayCommit(t, enriched(0), "changes", 1, 2, 1)
	if err := archive(t, dir, b); err != nil { // in the middle of commit 2 of sessions
		t.Fatal(err)
	}
	b.sayCommit(t, enriched(0), "sessions", 1, 2, 1)
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	equal(t, "files while a commit may go on", avroNames(t, dir), []string{"enriched/0/2096-11-26T10.avro.open", "enriched/0/2096-11-26T11.avro.open"})
	b.sayCommit(t, enriched(0), "sessions", 2, 3, 1)
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	equal(t, "files when both sources have spoken again", avroNames(t, dir), []string{"enriched/0/2096-11-26T10.avro", "enriched/0/2096-11-26T11.avro.open"})
	said, got := b.said[enriched(0)], archivedNames(t, dir, broker.Enriched)
	equal(t, "10 h", got["enriched/0/2096-11-26T10.avro"], slices.Concat(said[:6], said[7:8]))
	equal(t, "11 h", got["enriched/0/2096-11-26T11.avro"], []string{said[6], said[8]})
}

func TestASourceThatFallsSilentHoldsAFileOpenForAMinute(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.at = at(59*time.Minute + 30*time.Second)
	b.sayCommit(t, enriched(0), "changes", 0, 1, 1)
	b.sayCommit(t, enriched(0), "sessions", 0, 1, 1)
	b.at = at(time.Hour + 29*time.Second)
	b.sayCommit(t, enriched(0), "sessions", 1, 2, 1)
	for _, want := range []string{"enriched/0/2096-11-26T10.avro.open", "enriched/0/2096-11-26T10.avro"} {
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		if got := avroNames(t, dir)[0]; got != want {
			t.Errorf("after %s the file is %s, want %s", time.UnixMicro(b.at).UTC(), got, want)
		}
		b.at += 1e6
		b.sayCommit(t, enriched(0), "sessions", 2, 3, 1)
	}
}

func TestAMessageThatComesLateBeginsAnotherPart(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	for i, minute := range []int{10, 70, 130, 50, 55, 200, 56, 260} { // clocks of servers that differ
		b.at = at(time.Duration(minute) * time.Minute)
		b.say(t, enriched(0), 1)
		if i == 3 {
			continue // one checkpoint with the message before
		}
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "files", avroNames(t, dir), []string{
		"enriched/0/2096-11-26T10.avro", "enriched/0/2096-11-26T10_002.avro", "enriched/0/2096-11-26T10_003.avro",
		"enriched/0/2096-11-26T11.avro", "enriched/0/2096-11-26T12.avro", "enriched/0/2096-11-26T13.avro", "enriched/0/2096-11-26T14.avro.open"})
	said, got := b.said[enriched(0)], archivedNames(t, dir, broker.Enriched)
	equal(t, "part 2", got["enriched/0/2096-11-26T10_002.avro"], said[3:5])
	equal(t, "part 3", got["enriched/0/2096-11-26T10_003.avro"], said[6:7])
	holdsAll(t, "in all", dir, b)
}

func TestARowWithAnotherSchemaBeginsAnotherPart(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.at = at(0)
	b.say(t, enriched(0), 1)
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	// As a release before this one would have left it.
	present := fmt.Sprintf(`"schema":"%016x"`, schemas.EnrichedFingerprint)
	before := tree(t, dir)["archive.json"]
	if !strings.Contains(before, present) {
		t.Fatalf("no %s in %s", present, before)
	}
	write(t, dir, "archive.json", strings.Replace(before, present, `"schema":"0123456789abcdef"`, 1))
	b.at = at(time.Minute)
	b.say(t, enriched(0), 1)
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	equal(t, "files", avroNames(t, dir), []string{"enriched/0/2096-11-26T10.avro", "enriched/0/2096-11-26T10_002.avro.open"})
	holdsAll(t, "in all", dir, b)
}

func TestAnHourOfAnIdleLogIsCompleteWhenTheClockSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at 2000-01-01T00:00:00Z
		b, dir := newLogs(1), t.TempDir()
		s, err := files.NewArchive(dir, broker.Enriched)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx, b) }()
		time.Sleep(57 * time.Minute)
		b.at = time.Now().UnixMicro()
		b.say(t, enriched(0), 1)
		time.Sleep(4 * time.Minute) // 01:01
		synctest.Wait()
		equal(t, "files while something may still come", avroNames(t, dir), []string{"enriched/0/2000-01-01T00.avro.open"})
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		equal(t, "files", avroNames(t, dir), []string{"enriched/0/2000-01-01T00.avro"})

		b.mu.Lock()
		b.faults = []error{broker.ErrRetry}
		b.mu.Unlock()
		b.say(t, enriched(0), 1) // by a server whose clock is behind
		time.Sleep(2 * time.Minute)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		equal(t, "files", avroNames(t, dir), []string{"enriched/0/2000-01-01T00.avro", "enriched/0/2000-01-01T00_002.avro"})
		holdsAll(t, "in all", dir, b)
	})
}

func TestAnHourIsNotCompleteWhileTheBrokerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		b.at = time.Now().UnixMicro()
		b.say(t, enriched(0), 1)
		s, err := files.NewArchive(dir, broker.Enriched)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Hour)
		defer stop()
		away := &unreachable{logs: b}
		time.AfterFunc(time.Second, func() { away.is.Store(true) })
		if err := s.Run(ctx, away); err != nil {
			t.Fatal(err)
		}
		equal(t, "files", avroNames(t, dir), []string{"enriched/0/2000-01-01T00.avro.open"})
		if c, err := openArchive(t, dir).Coverage(broker.Enriched); err != nil || c.Until.UnixMicro() != b.at {
			t.Errorf("coverage %v, %v", c, err)
		}
	})
}

func TestTheArchiveRefusesAFolderThatHoldsSomethingElse(t *testing.T) {
	b, good := newLogs(1), t.TempDir()
	b.at = at(0)
	b.say(t, enriched(0), 3)
	b.at = at(time.Hour)
	b.say(t, enriched(0), 3)
	if err := archive(t, good, b); err != nil {
		t.Fatal(err)
	}
	b.at = at(2 * time.Hour)
	b.say(t, enriched(0), 3)
	complete, open := "enriched/0/2096-11-26T10.avro", "enriched/0/2096-11-26T11.avro.open"
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"a missing open file": {func(dir string) error { return os.Remove(filepath.Join(dir, open)) }, open + " is missing, but its checkpoint says"},
		"a short open file":   {func(dir string) error { return os.Truncate(filepath.Join(dir, open), 100) }, "T11.avro is truncated: it holds 100 of"},
		"a changed open file": {func(dir string) error { return flip(filepath.Join(dir, open), 3000) }, "T11.avro does not hold what was written to it"},
		"a missing index":     {func(dir string) error { return os.Remove(filepath.Join(dir, "enriched/index.ndjson")) }, "index.ndjson is missing, but its checkpoint says"},
		"a missing checkpoint": {func(dir string) error { return os.Remove(filepath.Join(dir, "archive.json")) },
			"index.ndjson holds"},
		"an unknown file": {func(dir string) error {
			return os.Link(filepath.Join(dir, complete), filepath.Join(dir, "enriched/0/2096-11-26T12.avro"))
		}, "there is a file enriched/0/2096-11-26T12.avro that archive.json does not know of"},
		"another installation": {func(string) error { b.id = "another/g1"; return nil }, "come from another installation"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			if err := archive(t, dir, b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			b.id = "one/g1"
		})
	}
}

// flip changes a byte of a file.
func flip(path string, at int64) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text[at%int64(len(text))] ^= 0x40
	return os.WriteFile(path, text, 0o600)
}

func TestOnlyTopicsThatThereAreAreWritten(t *testing.T) {
	if _, err := files.NewArchive(t.TempDir(), "closed"); err == nil || !strings.Contains(err.Error(), `cannot archive "closed"`) {
		t.Errorf("archive of closed: %v", err)
	}
	if _, err := files.New(t.TempDir(), "events"); err == nil || !strings.Contains(err.Error(), `cannot write the rows of "events"`) {
		t.Errorf("rows of events: %v", err)
	}
	b, dir := newLogs(1), t.TempDir()
	b.say(t, findings(0, schemas.LaneCritical), 2)
	b.say(t, findings(0, schemas.LaneNormal), 1)
	b.say(t, enriched(0), 1)
	s, err := files.New(dir, broker.Findings)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Drain(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(tree(t, dir)["findings.ndjson"], "\n"); got != 3 || len(tree(t, dir)) != 2 {
		t.Errorf("%d findings, files %v", got, slices.Collect(maps.Keys(tree(t, dir))))
	}
	if got := s.Written(); len(got) != 1 || got[0] != (files.Written{Topic: "findings", Rows: 3}) {
		t.Errorf("it says that it wrote %v", got)
	}
	if p := s.Progress(); p.Total != 6 || p.Done != p.Total {
		t.Errorf("it says that it has come to %+v", p)
	}
}

func TestAnArchiveMayBeTheFolderThatOneIsIn(t *testing.T) {
	b := newLogs(1)
	t.Chdir(t.TempDir())
	for i, dir := range []string{".", "beside/", "./deep/er"} {
		b.at = at(time.Duration(i) * time.Hour)
		b.say(t, enriched(0), 1)
		for range 2 {
			if err := archive(t, dir, b); err != nil {
				t.Fatal(err)
			}
		}
		holdsAll(t, dir, dir, b)
	}
}

func TestAnArchiveMayBeGivenAnotherTopicAndLoseOne(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.at = at(0)
	b.say(t, enriched(0), 1)
	b.say(t, deadLetters(0), 1)
	for _, topics := range [][]string{{"enriched"}, {"deadletters"}, {"enriched"}} {
		b.say(t, enriched(0), 1)
		if err := archive(t, dir, b, topics...); err != nil {
			t.Fatal(err)
		}
	}
	holdsAll(t, "in all", dir, b)
}
