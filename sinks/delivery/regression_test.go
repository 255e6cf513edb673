package delivery_test

// What a review has found, each as what holds now.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

func TestAGapStaysOneForWhoeverComesNext(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	f.say(enriched, 2, morning)
	f.commits[enriched]++ // its frame is missing
	behind := f.say(enriched, 2, morning)
	w := run(t, b, s)
	eventually(t, "the first are stored", func() bool { return len(s.stored()) >= 2 })
	time.Sleep(100 * time.Millisecond)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(s.stored(), behind[0]) {
		t.Fatal("not the premise")
	}
	w = run(t, b, s)
	time.Sleep(1500 * time.Millisecond)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if dead, _ := letters(t, b); slices.Contains(s.stored(), behind[0]) || len(dead) > 0 {
		t.Errorf("the gap was skipped: dead letters %v", dead)
	}
	w = run(t, b, s, func(c *delivery.Config) { c.SkipLost = true })
	eventually(t, "what is behind the gap is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if dead, _ := letters(t, b); dead["position_lost"] != 1 {
		t.Errorf("dead letters %v, want one that names the gap", dead)
	}
}

// full refuses appends to deadletters.
type full struct{ broker.Broker }

func (f full) Append(ctx context.Context, to broker.Log, p []byte) (uint64, error) {
	if to.Topic == broker.DeadLetters {
		return 0, fmt.Errorf("stream full: %w", broker.ErrRetry)
	}
	return f.Broker.Append(ctx, to, p)
}

func TestAStopDoesNotWaitForADeadLetterThatCannotBeAppended(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	f.say(enriched, 2, morning)
	f.append(enriched, []byte("no frame"))
	w := run(t, full{b}, s)
	time.Sleep(300 * time.Millisecond)
	w.stop()
	select {
	case err := <-w.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(25 * time.Second):
		t.Error("Run does not return 25 s after it was told to stop")
	}
}

func TestOneRowThatIsNeverAnsweredDoesNotStopItsPartition(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	ids := f.say(enriched, 1, morning)
	s.poison[ids[0]] = delivery.Outcome{Class: delivery.Doubtful, Err: errors.New("status 500")}
	w := run(t, b, s, func(c *delivery.Config) { c.Linger = time.Millisecond })
	for range 100 { // slices enough to fill a note
		f.say(enriched, 1, morning)
		time.Sleep(4 * time.Millisecond)
	}
	eventually(t, "the others are stored", func() bool { return len(s.stored()) == 100 })
	eventually(t, "it is a dead letter", func() bool { _, rows := letters(t, b); return slices.Equal(rows, ids) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
}

func TestAStoreThatIsDownBehindAProxyMakesNoDeadLetters(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	s.blind, s.down = true, errReview
	for range 200 {
		s.script = append(s.script, nothing(delivery.Outcome{Class: delivery.Doubtful, Broken: true, Err: errors.New("EOF")}))
	}
	f.say(enriched, 10, morning)
	w := run(t, b, s)
	time.Sleep(2 * time.Second)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if dead, _ := letters(t, b); len(dead) > 0 {
		t.Errorf("a server that is down made dead letters: %v", dead)
	}
}

// O
type flaky struct {
	broker.Broker
	n atomic.Int32
}

func (f *flaky) Consume(ctx context.Context, g broker.Group, w string, hold func(context.Context, broker.Claim) error) error {
	if f.n.Add(1) == 1 {
		return fmt.Errorf("cannot consume: timeout: %w", broker.ErrRetry)
	}
	return f.Broker.Consume(ctx, g, w, hold)
}

func TestABrokerThatSaysNotNowDoesNotEndTheSink(t *testing.T) {
	b, s := newBroker(1), newStore()
	w := run(t, &flaky{Broker: b}, s)
	select {
	case err := <-w.done:
		t.Errorf("Run ended: %v", err)
	case <-time.After(time.Second):
	}
}

func TestAnIdleLogWhoseBrokerLostItsEndLosesNothing(t *testing.T) {
	b, s := newBroker(2), newStore()
	f := newFeed(t, b)
	other := broker.Log{Topic: broker.Enriched, Partition: 1}
	f.say(enriched, 1, morning)
	w := run(t, b, s)
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	end, _ := b.End(t.Context(), enriched)
	// What keep writes after a minute of idling while others wrote three messages
	// that the broker then loses: place = the end of all, note = our last.
	moveCursor(t, b, enriched, 3)
	f.say(other, 1, morning)
	ids := f.say(enriched, 2, morning)
	now, _ := b.End(t.Context(), enriched)
	w = run(t, b, s)
	time.Sleep(2 * time.Second)
	f.say(enriched, 1, morning)
	f.say(enriched, 1, morning)
	last := f.say(enriched, 1, morning)
	eventually(t, "later rows are stored", func() bool { return slices.Contains(s.stored(), last[0]) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.stored(), ids[0]) {
		t.Errorf("rows at position %d are lost: our last message was %d, the cursor %d", now, end, end+3)
	}
}

func TestARowWithoutATimeIsRedriven(t *testing.T) {
	s := newStore()
	s.old = 1 // takes everything of this side of 1970
	b := newBroker(1)
	f := newFeed(t, b)
	f.n = 7
	s.poison[id(8).String()] = delivery.Outcome{Class: delivery.Refused, Reason: "refused", Err: errReview}
	f.append(enriched, broker.AppendRows(nil, broker.Enriched, &schemas.RowHeader{Processor: "p", Generation: 1}, [][]byte{row(broker.Enriched, 8, 0)}))
	w := run(t, b, s)
	var rows []string
	eventually(t, "dead letter", func() bool { _, rows = letters(t, b); return len(rows) == 1 })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	delete(s.poison, id(8).String())
	var again []delivery.Row
	_ = broker.Scan(t.Context(), b, broker.Log{Topic: broker.DeadLetters}, func(m broker.Message) error {
		var fr schemas.DeadLetterFrame
		if err := fr.DecodeMessage(m.Payload); err != nil {
			return err
		}
		_, r, err := delivery.RowOf(&fr.Rows[0])
		again = append(again, r)
		return err
	})
	done, err := delivery.Redrive(t.Context(), delivery.Config{Broker: b, Destination: s, Group: "redrive", Settle: time.Millisecond, Backoff: time.Millisecond}, broker.Enriched, again)
	if err != nil || done.Stored != 1 {
		t.Errorf("redrive: %+v %v; the row's time is %d", done, err, again[0].At)
	}
}

func TestTheLagOfALogThatIsNotLoadedAnyMoreGoes(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	registry := prometheus.NewRegistry()
	for range 100000 {
		s.script = append(s.script, nothing(delivery.Outcome{Class: delivery.Untouched, Err: errReview}))
	}
	f.say(enriched, 2, morning)
	w := run(t, b, s, func(c *delivery.Config) { c.Metrics = delivery.NewMetrics(registry) })
	time.Sleep(2500 * time.Millisecond)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	families, _ := registry.Gather()
	for _, fam := range families {
		if fam.GetName() == "flightlog_sink_lag_seconds" {
			for _, m := range fam.GetMetric() {
				if v := m.GetGauge().GetValue(); v > 0 {
					t.Errorf("the worker holds no partition, and says that one lags by %v s", v)
				}
			}
		}
	}
}

func TestAbsurdTimes(t *testing.T) {
	b, s := newBroker(1), newStore()
	s.old = math.MinInt64
	f := newFeed(t, b)
	var rows [][]byte
	for i, at := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 1, math.MaxInt64, -62135596800000000, 884541340800000000} {
		f.ids[id(i+1).String()] = true
		rows = append(rows, row(broker.Enriched, i+1, at))
	}
	f.append(enriched, broker.AppendRows(nil, broker.Enriched, &schemas.RowHeader{Processor: "p", Generation: 1}, rows))
	f.append(enriched, broker.AppendRows(nil, broker.Enriched, &schemas.RowHeader{Processor: "p", Generation: 1}, nil))
	w := run(t, b, s)
	eventually(t, "all", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
}

func TestRowsThatAgedOutBeforeTheFirstCursorAreNotSkippedSilently(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	for range 100000 {
		s.script = append(s.script, nothing(delivery.Outcome{Class: delivery.Untouched, Err: errReview}))
	}
	gone := f.say(enriched, 2, morning)
	end, _ := b.End(t.Context(), enriched)
	w := run(t, b, s)
	eventually(t, "noted", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.sends > 3 })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	at, ends := cursor(t, b, enriched)
	kept := f.say(enriched, 2, morning)
	b.Expire(enriched, end)
	s.mu.Lock()
	s.script = nil
	s.mu.Unlock()
	w = run(t, b, s)
	time.Sleep(1500 * time.Millisecond)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	dead, _ := letters(t, b)
	if slices.Contains(s.stored(), kept[0]) && !slices.Contains(s.stored(), gone[0]) && len(dead) == 0 {
		t.Errorf("the cursor was %d with ends %v; rows aged out unloaded and were skipped without an error or a dead letter", at, ends)
	}
}

var errReview = errors.New("the connection broke")

func TestAnErrorInTheNormalLaneLeavesTheCriticalOneAlone(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	f.append(broker.Log{Topic: broker.Findings}, []byte("\xc3\x01unknown!rest")) // of a newer release
	w := run(t, b, s, func(c *delivery.Config) { c.Topics = []string{broker.Findings} })
	time.Sleep(500 * time.Millisecond)
	ids := f.say(broker.Log{Topic: broker.Findings, Lane: schemas.LaneCritical}, 1, morning)
	time.Sleep(5 * time.Second)
	if !slices.Contains(s.stored(), ids[0]) {
		t.Error("a critical finding is not loaded 5 s later because the normal lane is stopped")
	}
	_ = w.end()
}

func TestAnIdlePlaceAheadOfTheEndOfAJetStreamLosesNothing(t *testing.T) {
	server, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	config := jetstream.Config{InProcess: server, LeaseTTL: time.Second}
	if err := jetstream.Provision(t.Context(), config, 2); err != nil {
		t.Fatal(err)
	}
	b, err := jetstream.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s := newStore()
	f := newFeed(t, b)
	f.say(enriched, 1, morning)
	w := run(t, b, s)
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	moveCursor(t, b, enriched, 3)
	ids := f.say(enriched, 2, morning)
	w = run(t, b, s)
	time.Sleep(4 * time.Second)
	for range 3 {
		f.say(enriched, 1, morning)
	}
	last := f.say(enriched, 1, morning)
	eventually(t, "later rows are stored", func() bool { return slices.Contains(s.stored(), last[0]) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.stored(), ids[0]) {
		t.Errorf("lost")
	}
}
