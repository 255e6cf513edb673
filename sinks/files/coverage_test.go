package files_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/files"
)

// day is where the clock of a synctest bubble begins.
var day = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func coverage(t *testing.T, dir, topic string) files.Coverage {
	t.Helper()
	c, err := openArchive(t, dir).Coverage(topic)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func covered(t *testing.T, what string, c files.Coverage, from, until time.Time) {
	t.Helper()
	if !c.From.Equal(from) || !c.Until.Equal(until) {
		t.Errorf("%s: covers %s (%v to %v), want %v to %v", what, c, c.From, c.Until, from, until)
	}
}

func TestCoverageReachesFromTheBeginningOfTheTopicToTheMinuteBeforeItsEndWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(2), t.TempDir()
		b.at = day.Add(-time.Hour).UnixMicro()
		b.say(t, enriched(0), 1)
		b.say(t, enriched(1), 1)
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		covered(t, "a topic whose every partition has begun", coverage(t, dir, broker.Enriched), time.Time{}, day.Add(-time.Minute))
		covered(t, "a topic without a message, on a broker that does not say how long it keeps any", coverage(t, dir, broker.Findings), day, day.Add(-time.Minute))
		b.send(t, events(0), "local")
		time.Sleep(time.Hour)
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		covered(t, "later", coverage(t, dir, broker.Enriched), time.Time{}, day.Add(59*time.Minute))
		covered(t, "a topic without commits", coverage(t, dir, broker.Events), day, day.Add(59*time.Minute))
		a := openArchive(t, dir)
		if err := a.Covers(broker.Events, day, day.Add(59*time.Minute)); err != nil {
			t.Error(err)
		}
		err := a.Covers(broker.Events, day.Add(-time.Second), day.Add(time.Minute))
		if err == nil || err.Error() != "the archive in "+dir+" does not hold all of events from 1999-12-31T23:59:59Z to 2000-01-01T00:01:00Z: it holds what was appended from 2000-01-01T00:00:00Z to 2000-01-01T00:59:00Z" {
			t.Error(err)
		}
	})
}

func TestCoverageGoesByWhatTheBrokerKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := &keeping{newLogs(1), 24 * time.Hour}, t.TempDir()
		for i := range 3 {
			b.at = day.Add(time.Duration(i-3) * 10 * time.Hour).UnixMicro()
			b.say(t, enriched(0), 1)
		}
		b.logs.age(enriched(0), 1) // the one of 30 h ago
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		covered(t, "a topic that has lost its oldest rows", coverage(t, dir, broker.Enriched), day.Add(-24*time.Hour), day.Add(-time.Minute))
		covered(t, "a topic without a message", coverage(t, dir, broker.DeadLetters), day.Add(-24*time.Hour), day.Add(-time.Minute))

		b, dir = &keeping{newLogs(1), 0}, t.TempDir()
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		covered(t, "a topic that is kept for ever", coverage(t, dir, broker.DeadLetters), time.Time{}, day.Add(-time.Minute))
	})
}

func TestCoverageBeginsAtTheFirstMessageWhereItIsOlderThanWhatTheBrokerKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		b.at = day.Add(-2 * time.Hour).UnixMicro()
		b.say(t, enriched(0), 1)
		b.at += 3600e6
		b.say(t, enriched(0), 1)
		b.age(enriched(0), 1)
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		covered(t, "in the middle", coverage(t, dir, broker.Enriched), day.Add(-time.Hour), day.Add(-time.Minute))
	})
}

func TestCoverageOfATopicWithoutCommitsBeginsAtItsFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		b.at = day.Add(-2 * time.Hour).UnixMicro()
		b.sayFrame(t, deadLetters(0), schemas.RowHeader{Processor: "producer"}, 1)
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		covered(t, "dead letters of producers", coverage(t, dir, broker.DeadLetters), day.Add(-2*time.Hour), day.Add(-time.Minute))
	})
}

func TestCoverageDoesNotGoBackWithAClock(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	for _, minutes := range []int{50, 10} {
		b.at = at(time.Duration(minutes) * time.Minute)
		b.say(t, enriched(0), 1)
	}
	if err := archive(t, dir, b); err != nil {
		t.Fatal(err)
	}
	covered(t, "two servers", coverage(t, dir, broker.Enriched), time.Time{}, future.Add(50*time.Minute))
}

func TestWhatTheSinkHasNotReadYetIsNotCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		b.at = day.UnixMicro()
		b.say(t, enriched(0), 1)
		for range 500 { // about as many seconds
			b.faults = append(b.faults, broker.ErrRetry)
		}
		s, err := files.NewArchive(dir, broker.Enriched)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, stop := context.WithTimeout(t.Context(), 400*time.Second)
		defer stop()
		if err := s.Run(ctx, b); err != nil {
			t.Fatal(err)
		}
		if c := coverage(t, dir, broker.Enriched); !c.Until.Before(day) {
			t.Errorf("it covers %s", c)
		}
		if err := s.Drain(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		covered(t, "when it was read", coverage(t, dir, broker.Enriched), time.Time{}, day.Add(400*time.Second-time.Minute))
	})
}

func TestCoverageEndsWhereTheLogThatIsFurthestBehindDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(2), t.TempDir()
		for _, log := range []broker.Log{enriched(0), enriched(1), findings(0, schemas.LaneCritical)} {
			b.at = day.Add(-3 * time.Hour).UnixMicro()
			b.say(t, log, 1)
			b.at += 3600e6
			b.say(t, log, 1)
		}
		if _, err := b.Append(t.Context(), enriched(1), []byte("no frame")); err != nil {
			t.Fatal(err)
		}
		if err := archive(t, dir, b); err == nil {
			t.Fatal("a message that is no frame was read")
		}
		covered(t, "a partition that stopped", coverage(t, dir, broker.Enriched), time.Time{}, day.Add(-2*time.Hour))
		if c := coverage(t, dir, broker.Findings); c.String() != "nothing yet" || c.Covers(day.Add(-4*time.Hour), day.Add(-3*time.Hour)) {
			t.Errorf("a topic that was not read: %s", c)
		}
	})
}

func TestWhatWasMovedAwayIsNotCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		for i := range 4 {
			b.at = day.Add(time.Duration(i-10)*time.Hour + 5*time.Minute).UnixMicro()
			b.say(t, enriched(0), 1)
		}
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"1999-12-31T14.avro", "1999-12-31T16.avro"} {
			if err := os.Remove(filepath.Join(dir, "enriched/0", name)); err != nil {
				t.Fatal(err)
			}
		}
		c := coverage(t, dir, broker.Enriched)
		covered(t, "without two files", c, day.Add(-8*time.Hour+5*time.Minute+time.Microsecond), day.Add(-time.Minute))
		if !strings.Contains(c.String(), "enriched/0/1999-12-31T16.avro is missing") {
			t.Errorf("it says %s", c)
		}
		// What is there can be read.
		n := 0
		if err := openArchive(t, dir).Rows(t.Context(), broker.Enriched, c.From, c.Until, func(*delivery.Row) error { n++; return nil }); err != nil || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
		// The sink goes on, and does not take the name of what was there.
		b.at = day.Add(-10*time.Hour + 30*time.Minute).UnixMicro()
		b.say(t, enriched(0), 1)
		if err := archive(t, dir, b); err != nil {
			t.Fatal(err)
		}
		if names := avroNames(t, dir); names[0] != "enriched/0/1999-12-31T14_002.avro" {
			t.Errorf("files %v", names)
		}
	})
}

// keeping is a broker that says how long it keeps a topic.
type keeping struct {
	*logs
	kept time.Duration
}

func (k *keeping) Kept(context.Context, string) (time.Duration, error) { return k.kept, nil }
