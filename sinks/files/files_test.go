package files_test

import (
	"context"
	"encoding/json"
	"errors"
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

// names are the files that make up the sink's state.
var names = []string{"checkpoint.json", "enriched.ndjson", "deadletters.ndjson"}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// drain opens the folder, drains and closes it again.
func drain(t *testing.T, dir string, b broker.Broker) error {
	t.Helper()
	s, err := files.New(dir)
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

// rows are the names of the rows in a file, in order.
func rows(t *testing.T, dir, file string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		var row struct{ Session_id, Position string }
		if err := json.Unmarshal([]byte(line), &row); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%s: line %q: %v", file, line, err)
		}
		all = append(all, row.Session_id+row.Position)
	}
	return all
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, name := range names {
		if got[name] != want[name] {
			t.Errorf("%s: %s is\n%s\nwant\n%s", what, name, got[name], want[name])
		}
	}
}

func TestEveryRowStandsInItsTopicsFileInTheOrderOfItsLog(t *testing.T) {
	b, dir := newLogs(2), t.TempDir()
	b.say(t, enriched(0), 2)
	b.say(t, deadLetters(1), 1)
	b.say(t, enriched(1), 1)
	b.say(t, enriched(0), 1)
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	if got, want := rows(t, dir, "enriched.ndjson"),
		[]string{"enriched/0 row 1", "enriched/0 row 2", "enriched/0 row 5", "enriched/1 row 4"}; !slices.Equal(got, want) {
		t.Errorf("enriched: %q, want %q", got, want)
	}
	if got, want := rows(t, dir, "deadletters.ndjson"), []string{"deadletters/1 row 3"}; !slices.Equal(got, want) {
		t.Errorf("deadletters: %q, want %q", got, want)
	}
}

func TestAFolderOfTheReleaseBeforeGetsTheTopicsThatItLacks(t *testing.T) {
	b, dir := newLogs(2), t.TempDir()
	write := func(topics ...string) {
		t.Helper()
		s, err := files.New(dir, topics...)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Drain(t.Context(), b), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	b.say(t, enriched(0), 2)
	write(broker.Enriched, broker.Findings, broker.DeadLetters)
	b.say(t, broker.Log{Topic: broker.Tasks, Partition: 1}, 2)
	b.say(t, enriched(0), 1)
	for range 2 {
		write(delivery.Topics...)
	}
	b.say(t, broker.Log{Topic: broker.Spend}, 1)
	b.say(t, broker.Log{Topic: broker.Tasks, Partition: 1}, 1)
	write(delivery.Topics...)
	for topic, want := range map[string]int{broker.Enriched: 3, broker.Findings: 0, broker.Tasks: 3, broker.Spend: 1, broker.DeadLetters: 0} {
		text, err := os.ReadFile(filepath.Join(dir, topic+".ndjson"))
		if n := strings.Count(string(text), "\n"); err != nil || n != want {
			t.Errorf("%s: %d rows (%v), want %d", topic, n, err, want)
		}
	}
}

func TestASecondRunAddsNothingAndReadsNothing(t *testing.T) {
	b, dir := newLogs(2), t.TempDir()
	b.say(t, enriched(0), 2)
	b.say(t, deadLetters(0), 2)
	for range 3 {
		if err := drain(t, dir, b); err != nil {
			t.Fatal(err)
		}
	}
	if b.reads != 2 || len(rows(t, dir, "enriched.ndjson")) != 2 || len(rows(t, dir, "deadletters.ndjson")) != 2 {
		t.Errorf("%d messages read, files %v", b.reads, contents(t, dir))
	}
}

func TestRowsBeyondTheCheckpointAreCutOff(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.say(t, enriched(0), 2)
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	want := contents(t, dir)
	for _, name := range names[1:] {
		write(t, dir, name, want[name]+`{"a row": "that never stood"}`+"\n{")
	}
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	same(t, "after the crash", contents(t, dir), want)
}

// TestAKillAtAnyByteLosesAndDoublesNothing builds every folder that a crash
// can leave: a checkpoint, and each file with any part of what was to come
// next, and perhaps a torn next checkpoint.
func TestAKillAtAnyByteLosesAndDoublesNothing(t *testing.T) {
	b, dir := newLogs(2), t.TempDir()
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	stands := []map[string]string{contents(t, dir)}
	for i := range 6 {
		b.say(t, enriched(i%2), 1+i%3)
		if i%2 == 1 {
			b.say(t, deadLetters(0), 1)
		}
		if err := drain(t, dir, b); err != nil {
			t.Fatal(err)
		}
		stands = append(stands, contents(t, dir))
	}
	whole := stands[len(stands)-1]

	crashed, restarts := t.TempDir(), 0
	for k, stand := range stands[:len(stands)-1] {
		next := stands[k+1]
		for step := 0; ; step++ {
			torn := false
			for _, name := range names[1:] {
				more := next[name][len(stand[name]):]
				n := min(step*29, len(more))
				torn = torn || n < len(more)
				write(t, crashed, name, stand[name]+more[:n])
			}
			write(t, crashed, "checkpoint.json", stand["checkpoint.json"])
			write(t, crashed, "checkpoint.json.next", next["checkpoint.json"][:len(next["checkpoint.json"])/2])
			if err := drain(t, crashed, b); err != nil {
				t.Fatal(err)
			}
			restarts++
			for _, name := range names[1:] {
				got, want := strings.Split(contents(t, crashed)[name], "\n"), strings.Split(whole[name], "\n")
				if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
					t.Fatalf("after a crash past checkpoint %d, step %d: %s is\n%s\nwant the rows of\n%s", k, step, name, got, want)
				}
			}
			if !torn {
				break
			}
		}
	}
	t.Logf("%d restarts", restarts)
}

func TestRunWritesWhatComesAndStopsCleanly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(2), t.TempDir()
		s, err := files.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx, b) }()

		b.say(t, enriched(0), 2)
		synctest.Wait()
		if got := rows(t, dir, "enriched.ndjson"); len(got) != 0 {
			t.Errorf("rows before the checkpoint: %q", got)
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if got := rows(t, dir, "enriched.ndjson"); len(got) != 2 {
			t.Errorf("rows after a second: %q", got)
		}
		stands := contents(t, dir)
		time.Sleep(time.Minute)
		synctest.Wait()
		same(t, "an idle minute", contents(t, dir), stands)

		b.say(t, enriched(1), 1)
		b.say(t, deadLetters(0), 1)
		synctest.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got := len(rows(t, dir, "enriched.ndjson")) + len(rows(t, dir, "deadletters.ndjson")); got != 4 {
			t.Errorf("%d rows after the stop, want 4", got)
		}
		if err := s.Drain(t.Context(), b); err != nil || b.reads != 3 {
			t.Errorf("drain after run: %v, %d messages read in all, want 3", err, b.reads)
		}
	})
}

func TestThePlaceInAnIdleLogIsMovedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		b.say(t, enriched(0), 1)
		s, err := files.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		defer stop()
		b.passed = 40
		if err := s.Run(ctx, b); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, dir)["checkpoint.json"]; strings.Count(got, `"position":40`) != 2 {
			t.Errorf("checkpoint %s, want both logs at position 40", got)
		}
		b.last[enriched(0)] = 45
		b.say(t, enriched(0), 1)
		if err := s.Drain(t.Context(), b); err != nil || len(rows(t, dir, "enriched.ndjson")) != 2 {
			t.Errorf("%v, rows %q", err, rows(t, dir, "enriched.ndjson"))
		}
	})
}

func TestACheckpointComesAtFourMebibytesWithoutWaitingForTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		s, err := files.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, b) }()
		for range 400 { // frames of 100 rows, 200 bytes each
			b.say(t, enriched(0), 100)
		}
		synctest.Wait()
		if !strings.Contains(contents(t, dir)["checkpoint.json"], `"position":`) {
			t.Errorf("no checkpoint: %s", contents(t, dir)["checkpoint.json"])
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

func TestABrokerThatIsAwayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		b.say(t, enriched(0), 1)
		b.faults = []error{broker.ErrRetry, broker.ErrUnknown, broker.ErrRetry}
		if err := drain(t, dir, b); err != nil || len(rows(t, dir, "enriched.ndjson")) != 1 {
			t.Errorf("%v, rows %q", err, rows(t, dir, "enriched.ndjson"))
		}
	})
}

func TestABrokerThatIsAwayAtTheStartIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := &unreachable{logs: newLogs(1)}, t.TempDir()
		b.say(t, enriched(0), 1)
		b.is.Store(true)
		time.AfterFunc(time.Minute, func() { b.is.Store(false) })
		if err := run(t, dir, b, 2*time.Minute); err != nil || len(rows(t, dir, "enriched.ndjson")) != 1 {
			t.Errorf("%v, rows %q", err, rows(t, dir, "enriched.ndjson"))
		}
		b.is.Store(true)
		if err := run(t, dir, b, time.Minute); err != nil {
			t.Errorf("stopped while it waits: %v", err)
		}
	})
}

func TestADrainThatIsToldToStopKeepsWhatItRead(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.say(t, enriched(0), 1)
	b.say(t, enriched(0), 1)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s, err := files.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b.last[deadLetters(0)] = 3 // a message that never arrives
	if err := s.Drain(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got := rows(t, dir, "enriched.ndjson"); len(got) != 2 {
		t.Errorf("rows %q, want 2", got)
	}
}

func BenchmarkDrain(bench *testing.B) {
	b := benchLogs(bench)
	for bench.Loop() {
		s, err := files.New(bench.TempDir())
		if err != nil {
			bench.Fatal(err)
		}
		if err := errors.Join(s.Drain(bench.Context(), b), s.Close()); err != nil {
			bench.Fatal(err)
		}
	}
	bench.ReportMetric(float64(bench.Elapsed().Nanoseconds())/float64(bench.N)/50_000, "ns/row")
}

func BenchmarkArchive(bench *testing.B) {
	b := benchLogs(bench)
	for bench.Loop() {
		s, err := files.NewArchive(bench.TempDir())
		if err != nil {
			bench.Fatal(err)
		}
		if err := errors.Join(s.Drain(bench.Context(), b), s.Close()); err != nil {
			bench.Fatal(err)
		}
	}
	bench.ReportMetric(float64(bench.Elapsed().Nanoseconds())/float64(bench.N)/50_000, "ns/row")
}

func BenchmarkRows(bench *testing.B) {
	b, dir := benchLogs(bench), bench.TempDir()
	if err := archive(bench, dir, b); err != nil {
		bench.Fatal(err)
	}
	a, err := files.OpenArchive(dir)
	if err != nil {
		bench.Fatal(err)
	}
	for bench.Loop() {
		n := 0
		if err := a.Rows(bench.Context(), broker.Enriched, time.Time{}, time.Time{}, func(*delivery.Row) error { n++; return nil }); err != nil || n != 50_000 {
			bench.Fatal(n, err)
		}
	}
	bench.ReportMetric(float64(bench.Elapsed().Nanoseconds())/float64(bench.N)/50_000, "ns/row")
}

// benchLogs hold 50,000 rows.
func benchLogs(bench *testing.B) *logs {
	b := newLogs(1)
	f := schemas.EnrichedFrame{Header: schemas.RowHeader{Processor: "sessions"}}
	for range 100 {
		f.Rows = append(f.Rows, schemas.Enriched{SessionId: "15a8756e-40f0-462f-bc65-aa3a5b92fae2", Repo: "github.com/example/shop",
			Model: "claude-opus-5-5", TokenInput: schemas.SomeLong(9), TokenOutput: schemas.SomeLong(49), CostNanoUsd: schemas.SomeLong(64_176_000)})
	}
	message := f.AppendMessage(nil)
	for range 500 {
		if _, err := b.Append(bench.Context(), enriched(0), message); err != nil {
			bench.Fatal(err)
		}
	}
	return b
}
