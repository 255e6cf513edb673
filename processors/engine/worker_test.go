package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// work runs a worker until the test or stop ends it.
func work(t *testing.T, b *memory.Broker, p engine.Processor, name string, change func(*engine.Config)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	cfg := engine.Config{Broker: b, Processor: p, Owner: name, Linger: time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	ended.Go(func() {
		if err := engine.Run(ctx, cfg); err != nil && !errors.Is(err, broker.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	})
	stop = func() {
		cancel()
		ended.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func appendTo(t *testing.T, b broker.Broker, partition int, lane schemas.Lane, payload []byte) {
	t.Helper()
	if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Events, Partition: partition, Lane: lane}, payload); err != nil {
		t.Fatal(err)
	}
}

// history is the commits of a partition.
func history(t *testing.T, b broker.Broker, partition int) (commits []*schemas.Commit) {
	t.Helper()
	if err := b.History(t.Context(), "counter", partition, func(c *schemas.Commit) error {
		commits = append(commits, c)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return commits
}

// folded is how many records the commits of all partitions have read.
func folded(t *testing.T, b broker.Broker, partitions int) (n int64) {
	t.Helper()
	for p := range partitions {
		for _, c := range history(t, b, p) {
			n += c.Counts.In
		}
	}
	return n
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestTheCriticalLaneIsReadFirstAndWaitsForNothing(t *testing.T) {
	b := memory.New(1)
	for range 20 {
		appendTo(t, b, 0, schemas.LaneNormal, frame(slices.Repeat([]string{"n"}, 100)...))
	}
	appendTo(t, b, 0, schemas.LaneCritical, frame("c"))
	stop := work(t, b, counter{}, "w", func(c *engine.Config) { c.Linger = 5 * time.Second })
	eventually(t, "folded", func() bool { return folded(t, b, 1) == 2001 })
	began := time.Now()
	appendTo(t, b, 0, schemas.LaneCritical, frame("c"))
	eventually(t, "folded", func() bool { return folded(t, b, 1) == 2002 })
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("a critical event waited %v", took)
	}
	stop()
	read := int64(0)
	for _, c := range history(t, b, 0) {
		if s := c.Slices[0]; s.Lane != schemas.LaneCritical {
			t.Fatalf("commit %d: the first slice is of the lane %s", c.CommitNumber, s.Lane)
		} else if s.FirstMessage != s.NextMessage {
			break
		}
		read += c.Counts.In
	}
	if read > 3*engine.MaxEvents { // those that came in before the lanes' readers had begun
		t.Errorf("%d events of the normal lane were folded before the critical one", read)
	}
}

// A worker of counter that blocks for ever when it meets a session "killer",
// as one that is killed over it never comes back.
type deadly struct {
	counter
	died chan<- string
}

func (d deadly) Begin(tx *engine.Tx) engine.Fold { return &dying{d.counter.Begin(tx), d.died} }

type dying struct {
	engine.Fold
	died chan<- string
}

func (d *dying) Event(org string, e *schemas.Event) (engine.Outcome, error) {
	if strings.HasPrefix(e.SessionId, "killer") {
		d.died <- e.SessionId
		select {}
	}
	return d.Fold.Event(org, e)
}

func TestARecordThatEndsItsWorkersBecomesADeadLetterAndItsNeighboursCount(t *testing.T) {
	b := memory.New(1)
	appendTo(t, b, 0, schemas.LaneNormal, frame("a", "b", "killer", "c"))
	died := make(chan string)
	deaths := 0
	done := after(func() bool { return folded(t, b, 1) == 4 })
	for over := false; !over; {
		worker := b.Handle()
		failed := make(chan error, 1)
		go func() {
			failed <- engine.Run(context.WithoutCancel(t.Context()), engine.Config{Broker: worker, Processor: deadly{died: died},
				Owner: fmt.Sprint("w", deaths), Linger: time.Millisecond, Watchdog: time.Hour})
		}()
		select {
		case <-died:
			deaths++
			worker.Close()
		case err := <-failed:
			t.Fatal(err)
		case <-time.After(10 * time.Second):
			t.Fatal("neither died nor done")
		case <-done:
			worker.Close()
			over = true
		}
		if deaths > 20 {
			t.Fatal("it goes on and on")
		}
	}
	if deaths < 3 {
		t.Errorf("given up after %d deaths", deaths)
	}
	var sum schemas.Counts
	for _, c := range history(t, b, 0) {
		sum.Applied += c.Counts.Applied
		sum.Dead += c.Counts.Dead
	}
	if sum.Applied != 3 || sum.Dead != 1 {
		t.Errorf("applied %d, dead %d; want 3 and 1", sum.Applied, sum.Dead)
	}
}

// after tells when something is so.
func after(so func() bool) <-chan bool {
	c := make(chan bool, 1)
	go func() {
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if so() {
				c <- true
				return
			}
		}
	}()
	return c
}

func TestAWorkerOfAnOlderFoldLeavesThePartitionToOthers(t *testing.T) {
	b := memory.New(2)
	stop := work(t, b, counter{version: 2}, "new", nil)
	for p := range 2 {
		appendTo(t, b, p, schemas.LaneNormal, frame("a"))
	}
	eventually(t, "folded", func() bool { return folded(t, b, 2) == 2 })
	stop()
	err := engine.Run(t.Context(), engine.Config{Broker: b, Processor: counter{version: 1}, Owner: "old"})
	if err == nil || !strings.Contains(err.Error(), "newer release") {
		t.Errorf("the old worker ended with %v", err)
	}
	for p := range 2 {
		appendTo(t, b, p, schemas.LaneNormal, frame("a"))
	}
	work(t, b.Handle(), counter{version: 2}, "new again", nil)
	eventually(t, "folded by the new one", func() bool { return folded(t, b, 2) == 4 })
}

func TestConfigIsFoldedByTheVersionOfItsTime(t *testing.T) {
	now := int64(1_000_000_000)
	var mu sync.Mutex
	clock := func() int64 { mu.Lock(); defer mu.Unlock(); return now }
	b := memory.New(2, memory.WithClock(clock))
	version, missed, err := engine.ApplyConfig(t.Context(), b, "rules", []byte("first"), "test", clock())
	if err != nil || version != 2 || missed != nil {
		t.Fatalf("version %d, missed %v: %v", version, missed, err)
	}
	again, _, err := engine.ApplyConfig(t.Context(), b, "rules", []byte("first"), "test", clock())
	if err != nil || again != 2 {
		t.Fatalf("applied again it is version %d: %v", again, err)
	}
	if _, _, err := engine.ApplyConfig(t.Context(), b, "colours", []byte("x"), "test", clock()); err == nil {
		t.Error("an unknown kind was applied")
	}
	seen := make(chan string, 10)
	p := configured{seen: seen}
	work(t, b, p, "w", func(c *engine.Config) { c.Clock = clock })
	appendTo(t, b, 1, schemas.LaneNormal, frame("a"))
	if got := <-seen; got != "1 " {
		t.Errorf("before its time: %q", got)
	}
	mu.Lock()
	now += 60e6
	mu.Unlock()
	appendTo(t, b, 1, schemas.LaneNormal, frame("a"))
	if got := <-seen; got != "2 first" {
		t.Errorf("at its time: %q", got)
	}
}

// configured tells by which rules it folds.
type configured struct {
	counter
	seen chan<- string
}

func (c configured) Begin(tx *engine.Tx) engine.Fold {
	return &configuredFold{c.counter.Begin(tx), tx, c.seen}
}

type configuredFold struct {
	engine.Fold
	tx   *engine.Tx
	seen chan<- string
}

func (c *configuredFold) Event(org string, e *schemas.Event) (engine.Outcome, error) {
	v := c.tx.Versions().Rules
	c.seen <- fmt.Sprintf("%d %s", v, c.tx.Config("rules", v))
	return c.Fold.Event(org, e)
}

func TestAnInputThatHasLostItsEndIsFoldedAgain(t *testing.T) {
	b := memory.New(1)
	for range 3 {
		appendTo(t, b, 0, schemas.LaneNormal, frame("a"))
	}
	stop := work(t, b, counter{}, "w", nil)
	eventually(t, "folded", func() bool { return folded(t, b, 1) == 3 })
	stop()
	b.Truncate(broker.Log{Topic: broker.Events}, 2) // keeps 2
	work(t, b, counter{}, "w2", nil)
	eventually(t, "folded again", func() bool { return folded(t, b, 1) == 5 })
	appendTo(t, b, 0, schemas.LaneNormal, frame("b"))
	eventually(t, "and what came after", func() bool { return folded(t, b, 1) == 6 })
}

func TestAReplayOfTheCommitsGivesTheCommits(t *testing.T) {
	b := memory.New(1)
	for i := range 200 {
		lane := schemas.LaneNormal
		if i%7 == 0 {
			lane = schemas.LaneCritical
		}
		appendTo(t, b, 0, lane, frame("a", "panic", "bad", fmt.Sprint("s", i%5), "", "timer", "timerpanic"))
	}
	for i := range 4 {
		stop := work(t, b.Handle(), counter{}, fmt.Sprint("w", i), nil)
		eventually(t, "folded", func() bool { return folded(t, b, 1) >= int64(300*(i+1)) })
		stop()
	}
	stop := work(t, b, counter{}, "last", nil)
	eventually(t, "all folded", func() bool {
		c, err := b.LastCommit(t.Context(), "counter", 0)
		return err == nil && c.Slices[1].NextMessage >= 200 && c.Slices[0].NextMessage > 0
	})
	stop()
	commits := history(t, b, 0)
	r, err := engine.NewReplay(b, counter{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commits {
		if err := r.Next(t.Context(), c, counter{}); err != nil {
			t.Fatal(err)
		}
	}
	commits[len(commits)/2].Counts.Applied++
	r, _ = engine.NewReplay(b, counter{}, 0)
	differs := false
	for _, c := range commits {
		differs = differs || errors.Is(r.Next(t.Context(), c, counter{}), engine.ErrDiffers)
	}
	if !differs {
		t.Error("a commit that was changed is not noticed")
	}
}

// alarms is a processor with a timer that is set anew each time it rings.
type alarms struct{ counter }

func (alarms) Begin(tx *engine.Tx) engine.Fold { return &alarm{&counting{tx: tx}} }

type alarm struct{ *counting }

const every = 50_000 // µs

func (a *alarm) Event(string, *schemas.Event) (engine.Outcome, error) {
	a.tx.Put("alarm", []byte("is set"), a.tx.Now()+every)
	return engine.Applied, nil
}

func (a *alarm) Due(string) error {
	a.tx.Put("alarm", fmt.Append(nil, a.tx.Now()), a.tx.Now()+every)
	return nil
}

func (a *alarm) End() {}

// Nothing comes but the time: each timer is looked at when it is due, the
// thirtieth as the first.
func TestTimersOfAnIdlePartitionAreNotLate(t *testing.T) {
	b := memory.New(1)
	var late []time.Duration
	var mu sync.Mutex
	due := int64(0)
	defer work(t, b, alarms{}, "a", func(c *engine.Config) {
		c.Committed = func(c *schemas.Commit) {
			mu.Lock()
			defer mu.Unlock()
			for _, change := range c.Delta {
				if string(change.Key) == "alarm" {
					if due != 0 {
						late = append(late, time.Duration(c.Now-due)*time.Microsecond)
					}
					due = change.Due
				}
			}
		}
	})()
	appendTo(t, b, 0, schemas.LaneNormal, frame("a"))
	eventually(t, "thirty timers", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(late) >= 30
	})
	slices.Sort(late)
	if late[15] > time.Second {
		t.Errorf("every second timer is more than %v late", late[15])
	}
}
