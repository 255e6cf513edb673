package delivery_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// script makes the store's next answers.
type answer = func(s *store, b *delivery.Batch, rows []int) delivery.Outcome

var errBroke = errors.New("the connection broke")

// only stores every n-th row, and says so or not.
func only(every int, out delivery.Outcome) answer {
	return func(s *store, b *delivery.Batch, rows []int) delivery.Outcome {
		for i := 0; i < len(rows); i += every {
			s.take(b, rows[i:i+1])
		}
		return out
	}
}

func nothing(out delivery.Outcome) answer {
	return func(*store, *delivery.Batch, []int) delivery.Outcome { return out }
}

func everything(out delivery.Outcome) answer { return only(1, out) }

func TestWhatFollowsFromEachClassOfOutcome(t *testing.T) {
	const rows = 10
	for _, test := range []struct {
		sentence string
		script   []answer
		poison   delivery.Outcome // of the fourth row; zero = none
		store    func(s *store)
		letters  map[string]int
		twice    int // rows that stand twice
		sends    int // 0 = any number
	}{
		{sentence: "stored: it was sent once", sends: 1},
		{sentence: "untouched: the same is sent again", script: []answer{nothing(delivery.Outcome{Class: delivery.Untouched, Err: errBroke})}, sends: 2},
		{sentence: "overload: the same is sent again", script: []answer{nothing(delivery.Outcome{Class: delivery.Untouched, Overloaded: true, Err: errBroke})}, sends: 2},
		{sentence: "doubtful and stored: it is not sent again", script: []answer{everything(delivery.Outcome{Class: delivery.Doubtful, Broken: true, Err: errBroke})}, sends: 1},
		{sentence: "doubtful and not stored: it is sent again", script: []answer{nothing(delivery.Outcome{Class: delivery.Doubtful, Broken: true, Err: errBroke})}, sends: 2},
		{sentence: "doubtful and stored in part: the rest is sent", script: []answer{only(2, delivery.Outcome{Class: delivery.Doubtful, Err: errBroke})}, sends: 2},
		{sentence: "doubtful and stored, not seen at once: it is not sent again", script: []answer{everything(delivery.Outcome{Class: delivery.Doubtful, Err: errBroke})},
			store: func(s *store) { s.hidden = 10 * time.Millisecond }, sends: 1},
		{sentence: "doubtful, and the store does not say what it holds for a while", script: []answer{everything(delivery.Outcome{Class: delivery.Doubtful, Err: errBroke})},
			store: func(s *store) { s.deaf = 3 }, sends: 1},
		{sentence: "doubtful and blind: it is sent again and stands twice", script: []answer{everything(delivery.Outcome{Class: delivery.Doubtful, Err: errBroke})},
			store: func(s *store) { s.blind = true }, sends: 2, twice: rows},
		{sentence: "a lie: what the store said it has stored and does not hold is sent again", script: []answer{only(3, delivery.Outcome{Class: delivery.Stored})}, sends: 2},
		{sentence: "silent: what is missing is sent again", script: []answer{only(2, delivery.Outcome{Class: delivery.Silent, Err: errBroke}), nothing(delivery.Outcome{Class: delivery.Silent, Err: errBroke})}, sends: 3},
		{sentence: "silent for ever: dead letters", poison: delivery.Outcome{Class: delivery.Silent, Err: errBroke}, letters: map[string]int{"silently_dropped": rows}},
		{sentence: "partial: the rows that were refused are dead letters", script: []answer{only(2, delivery.Outcome{Class: delivery.Partial, Failed: 5, Reason: "refused", Err: errBroke})},
			letters: map[string]int{"refused": 5}, sends: 1},
		{sentence: "partial for the time, and no row is that old: the clocks differ, what is missing is sent again",
			script: []answer{only(2, delivery.Outcome{Class: delivery.Partial, Failed: 5, Reason: "outside_window", Offends: func(int64) bool { return false }, Err: errBroke})}, sends: 2},
		{sentence: "partial and blind: the rows are found one by one", script: []answer{only(2, delivery.Outcome{Class: delivery.Partial, Failed: 5, Reason: "refused", Err: errBroke})},
			store: func(s *store) { s.blind = true }, twice: 5},
		{sentence: "refused: the row is found and becomes a dead letter", poison: delivery.Outcome{Class: delivery.Refused, Reason: "refused", Err: errBroke},
			letters: map[string]int{"refused": 1}},
		{sentence: "a row that breaks the connection is found and becomes a dead letter", poison: delivery.Outcome{Class: delivery.Doubtful, Broken: true, Err: errBroke},
			letters: map[string]int{"breaks_connection": 1}},
		{sentence: "too large: halves are sent", script: []answer{nothing(delivery.Outcome{Class: delivery.TooLarge, Err: errBroke})}, sends: 3},
		{sentence: "one row that is too large is a dead letter", poison: delivery.Outcome{Class: delivery.TooLarge, Err: errBroke}, letters: map[string]int{"too_large": 1}},
		{sentence: "a row that got too old before it was sent is a dead letter", store: func(s *store) { s.old = morning + 4_000_000 },
			letters: map[string]int{"outside_window": 3}, sends: 1},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			b, s := newBroker(1), newStore()
			s.script = test.script
			f := newFeed(t, b)
			ids := f.say(enriched, rows, morning)
			if test.poison.Err != nil {
				s.poison[ids[3]] = test.poison
			}
			if test.store != nil {
				test.store(s)
			}
			end, err := b.End(t.Context(), enriched)
			if err != nil {
				t.Fatal(err)
			}
			w := run(t, b, s)
			var dead map[string]int
			var buried []string
			eventually(t, "every row is stored or a dead letter", func() bool {
				dead, buried = letters(t, b)
				all := slices.Compact(slices.Sorted(slices.Values(append(s.stored(), buried...))))
				return slices.Equal(all, f.want())
			})
			time.Sleep(100 * time.Millisecond) // a worker that is told to stop asks no more
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			dead, buried = letters(t, b)
			for reason, n := range dead {
				if test.letters[reason] != n {
					t.Errorf("%d dead letters %s, want %d", n, reason, test.letters[reason])
				}
			}
			if len(dead) != len(test.letters) {
				t.Errorf("dead letters %v, want %v", dead, test.letters)
			}
			stored := s.stored()
			if twice := len(stored) - len(slices.Compact(slices.Clone(stored))); twice != test.twice {
				t.Errorf("%d rows stand twice, want %d", twice, test.twice)
			}
			for _, id := range buried {
				if slices.Contains(stored, id) {
					t.Errorf("row %s is stored and a dead letter", id)
				}
			}
			if test.sends != 0 && s.sends != test.sends {
				t.Errorf("sent %d times, want %d", s.sends, test.sends)
			}
			if at, ends := cursor(t, b, enriched); at != end || len(ends) > 0 {
				t.Errorf("the cursor is at %d with slices to %v, want %d and none", at, ends, end)
			}
		})
	}
}

func TestAnImpossibleOutcomeEndsTheSinkAndLosesNothing(t *testing.T) {
	b, s := newBroker(2), newStore()
	f := newFeed(t, b)
	f.say(enriched, 5, morning)
	s.script = []answer{nothing(delivery.Outcome{Class: delivery.Impossible, Err: errors.New("wrong password")})}
	err := <-run(t, b, s).done
	if err == nil || !strings.Contains(err.Error(), "wrong password") {
		t.Fatalf("Run: %v", err)
	}
	if at, _ := cursor(t, b, enriched); at != 0 {
		t.Errorf("the cursor is at %d, want 0", at)
	}
	w := run(t, b, s)
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Error(err)
	}
}

func TestABatchHoldsOneHourAndIsTheSameWhoeverMakesIt(t *testing.T) {
	const anHour = 3600 * 1_000_000
	batches := func() map[string][]string {
		b, s := newBroker(1), newStore()
		f := newFeed(t, b)
		for i := range 4 {
			f.say(enriched, 3, morning+int64(i%2)*anHour)
		}
		w := run(t, b, s, func(c *delivery.Config) { c.Linger = 100 * time.Millisecond })
		eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		return s.batches
	}
	got := batches()
	if len(got) != 2 {
		t.Errorf("%d batches, want 2: %v", len(got), got)
	}
	for name, rows := range got {
		if len(name) != 32 || len(rows) != 6 {
			t.Errorf("batch %s has %d rows, want 6", name, len(rows))
		}
	}
}

func TestASliceIsCutWhenABatchIsFull(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	for range 120 { // 12,000 rows: two full batches and a rest
		f.say(enriched, 100, morning)
	}
	w := run(t, b, s, func(c *delivery.Config) { c.Linger = time.Second })
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	most := 0
	for _, rows := range s.batches {
		most = max(most, len(rows))
	}
	if most > 5100 || len(s.batches) > 12000/1000 {
		t.Errorf("%d batches, the longest has %d rows", len(s.batches), most)
	}
}

func TestWhoTakesOverMakesTheSameSlicesAndAsksBeforeItSends(t *testing.T) {
	for _, stored := range []bool{true, false} {
		t.Run(fmt.Sprintf("stored %v", stored), func(t *testing.T) {
			b, s := newBroker(1), newStore()
			f := newFeed(t, b)
			sent := make(chan struct{}, 8)
			hang := func(s *store, batch *delivery.Batch, rows []int) delivery.Outcome {
				if stored {
					s.take(batch, rows)
				}
				sent <- struct{}{}
				return delivery.Outcome{Class: delivery.Untouched, RetryAfter: time.Hour, Err: errBroke}
			}
			s.script = []answer{hang, hang}
			// The first worker dies with two slices on their way: its handle is
			// closed under it, and so nothing that it does after that counts.
			dying := b.Handle()
			f.say(enriched, 7, morning)
			w := run(t, dying, s)
			<-sent
			f.say(enriched, 5, morning)
			<-sent
			if err := dying.Close(); err != nil {
				t.Fatal(err)
			}
			w.stop()
			f.say(enriched, 3, morning) // more has come meanwhile
			first := len(s.batches)

			next := run(t, b, s)
			eventually(t, "all is stored", func() bool { return slices.Equal(slices.Compact(s.stored()), f.want()) })
			if err := next.end(); err != nil {
				t.Fatal(err)
			}
			if got := s.stored(); len(got) != 15 {
				t.Errorf("%d rows stand, want 15: those that may have been stored were sent again", len(got))
			}
			if len(s.batches) != first+1 { // what came later is one more
				t.Errorf("%d batches, want %d: the slices were cut otherwise", len(s.batches), first+1)
			}
		})
	}
}

func TestTheCriticalLaneDoesNotWaitForTheNormalOne(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	normal, critical := broker.Log{Topic: broker.Findings}, broker.Log{Topic: broker.Findings, Lane: schemas.LaneCritical}
	s.gate = make(chan struct{})
	for range 8 * 60 {
		f.say(normal, 100, morning)
	}
	w := run(t, b, s, func(c *delivery.Config) { c.Topics, c.Linger = []string{broker.Findings}, time.Hour })
	eventually(t, "the normal lane is full", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.now == 4 })
	ids := f.say(critical, 1, morning)
	eventually(t, "five are on their way", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.now == 5 })
	close(s.gate)
	eventually(t, "the critical row is stored", func() bool { return slices.Contains(s.stored(), ids[0]) })
	s.mu.Lock()
	if s.most > 8 {
		t.Errorf("%d batches at a time", s.most)
	}
	s.mu.Unlock()
	if err := w.end(); err != nil {
		t.Error(err)
	}
	end, _ := b.End(t.Context(), critical)
	if at, _ := cursor(t, b, critical); at != end {
		t.Errorf("the cursor of the critical lane is at %d, want %d", at, end)
	}
}

func TestADownStoreHoldsReadingBackAndSaysSo(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	for range 300 { // 15 slices of 10,000 rows
		f.say(enriched, 500, morning)
	}
	down := nothing(delivery.Outcome{Class: delivery.Untouched, Err: errors.New("connection refused")})
	for range 400 {
		s.script = append(s.script, down)
	}
	status, registry := new(delivery.Status), prometheus.NewRegistry()
	read := func() float64 { return metric(t, registry, "flightlog_sink_rows_read_total") }
	w := run(t, b, s, func(c *delivery.Config) { c.Status, c.Metrics = status, delivery.NewMetrics(registry) })
	eventually(t, "the store is said to be down", func() bool { err := status.Stalled(); return err != nil && err.Error() == "connection refused" })
	s.mu.Lock()
	if held := f.n - int(read()); held < 40_000 {
		t.Errorf("%.0f rows were read for a store that is down, %d are left", read(), held)
	}
	s.mu.Unlock()
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := status.Stalled(); err != nil {
		t.Errorf("it is still said to be down: %v", err)
	}
	if err := w.end(); err != nil {
		t.Error(err)
	}
}

func TestADeadLetterHoldsItsRowAndNamesItsPlace(t *testing.T) {
	for _, topic := range delivery.Topics {
		if topic != broker.DeadLetters { // TestADeadLetterThatCannotBeStoredMakesOneAndThatMakesNone
			log := broker.Log{Topic: topic, Partition: 1}
			if broker.TwoLanes(topic) {
				log.Lane = schemas.LaneCritical
			}
			t.Run(topic, func(t *testing.T) { deadLetterHoldsItsRow(t, log) })
		}
	}
}

func deadLetterHoldsItsRow(t *testing.T, log broker.Log) {
	b, s := newBroker(2), newStore()
	f := newFeed(t, b)
	ids := f.say(log, 3, morning)
	s.poison[ids[1]] = delivery.Outcome{Class: delivery.Refused, Reason: "refused", Err: errors.New("status 400: no")}
	w := run(t, b, s, func(c *delivery.Config) { c.Topics = []string{log.Topic} })
	eventually(t, "there is a dead letter", func() bool { _, rows := letters(t, b); return slices.Equal(rows, ids[1:2]) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	var found []schemas.DeadLetter
	if err := broker.Scan(t.Context(), b, broker.Log{Topic: broker.DeadLetters, Partition: 1}, func(m broker.Message) error {
		var frame schemas.DeadLetterFrame
		err := frame.DecodeMessage(m.Payload)
		found = append(found, frame.Rows...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("%d dead letters, want 1", len(found))
	}
	d := &found[0]
	end, _ := b.End(t.Context(), log)
	if d.Source != log.String() || d.Position != fmt.Sprintf("%d/1", end) || d.Reason != "refused" || !strings.Contains(d.Detail, "400") {
		t.Errorf("%+v", d)
	}
	topic, row, err := delivery.RowOf(d)
	if err != nil || topic != log.Topic || row.ID.String() != ids[1] {
		t.Errorf("payload: %s %v %v", topic, row.ID, err)
	}
}

func TestADeadLetterThatCannotBeStoredMakesOneAndThatMakesNone(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	log := broker.Log{Topic: broker.DeadLetters}
	ids := f.say(log, 3, morning)
	s.strange = map[string]bool{ids[0]: true, ids[2]: true}
	w := run(t, b, s, func(c *delivery.Config) { c.Topics = []string{broker.DeadLetters} })
	eventually(t, "the others are stored", func() bool { return len(s.stored()) == 2 })
	time.Sleep(200 * time.Millisecond)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if dead, _ := letters(t, b); dead["refused"] != 1 {
		t.Errorf("dead letters %v, want 1 that was refused", dead)
	}
	end, _ := b.End(t.Context(), log)
	if at, _ := cursor(t, b, log); at != end || end != 2 {
		t.Errorf("the cursor is at %d, the topic ends at %d, want 2", at, end)
	}
}

func TestAMessageThatDoesNotDecodeIsADeadLetterAndOneOfANewerSchemaStopsThePartition(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	f.say(enriched, 2, morning)
	f.append(enriched, []byte("no frame"))
	f.say(enriched, 2, morning)
	w := run(t, b, s)
	eventually(t, "the others are stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if dead, _ := letters(t, b); dead["undecodable"] != 1 {
		t.Errorf("dead letters %v", dead)
	}
	f.append(enriched, []byte("\xc3\x01unknown!rest"))
	more := f.say(enriched, 1, morning)
	time.Sleep(100 * time.Millisecond)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(s.stored(), more[0]) {
		t.Error("the row behind a message of a newer schema was loaded")
	}
	if dead, _ := letters(t, b); len(dead) != 1 {
		t.Errorf("dead letters %v", dead)
	}
}

func TestAGapInATopicStopsThePartition(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	f.say(enriched, 2, morning)
	f.commits[enriched]++ // its frame is missing
	f.say(enriched, 2, morning)
	w := run(t, b, s)
	eventually(t, "the first are stored", func() bool { return len(s.stored()) >= 2 })
	time.Sleep(50 * time.Millisecond)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if len(s.stored()) != 2 {
		t.Errorf("%d rows, want those before the gap", len(s.stored()))
	}
}

func TestWhatHasAgedOutUnloadedStopsThePartitionOrIsSkippedWithADeadLetter(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	f.say(enriched, 2, morning)
	w := run(t, b, s)
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	gone := f.say(enriched, 2, morning)
	end, _ := b.End(t.Context(), enriched)
	kept := f.say(enriched, 2, morning)
	b.Expire(enriched, end)

	w = run(t, b, s)
	time.Sleep(100 * time.Millisecond)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(s.stored(), kept[0]) {
		t.Fatal("rows were skipped silently")
	}
	w = run(t, b, s, func(c *delivery.Config) { c.SkipLost = true })
	eventually(t, "what is held is stored", func() bool { return slices.Contains(s.stored(), kept[1]) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if dead, _ := letters(t, b); dead["position_lost"] != 1 {
		t.Errorf("dead letters %v", dead)
	}
	if slices.Contains(s.stored(), gone[0]) {
		t.Error("what has aged out is stored")
	}
}

func TestATopicThatHasLostItsEndIsLoadedAgain(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	f.say(enriched, 2, morning)
	f.say(enriched, 2, morning)
	w := run(t, b, s)
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	b.Truncate(enriched, 1)
	f.commits[enriched]--
	other := f.say(enriched, 2, morning) // stands where another message did
	w = run(t, b, s)
	eventually(t, "the new rows are stored", func() bool { return slices.Contains(s.stored(), other[1]) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
}

func TestWorkersShareAndTakeOver(t *testing.T) {
	b, s := newBroker(4), newStore()
	f := newFeed(t, b)
	s.slow = 5 * time.Millisecond
	one, two := run(t, b.Handle(), s), run(t, b.Handle(), s, func(c *delivery.Config) { c.Worker = "two" })
	for i := range 40 {
		f.say(broker.Log{Topic: broker.Enriched, Partition: i % 4}, 10, morning)
		time.Sleep(5 * time.Millisecond)
		if i == 20 {
			if err := one.end(); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all is stored", func() bool { return slices.Equal(slices.Compact(s.stored()), f.want()) })
	if err := two.end(); err != nil {
		t.Fatal(err)
	}
	if got := len(s.stored()); got != 400 {
		t.Errorf("%d rows stand, want 400", got)
	}
}

// A kill run found it: the end of a slice that was read again and waited for its
// turn was not in the cursor's note, and the next worker cut otherwise.
func TestASliceThatWaitsToBeMadeAgainStaysPlanned(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	hang := everything(delivery.Outcome{Class: delivery.Untouched, RetryAfter: time.Hour, Err: errBroke})
	s.script = []answer{hang, hang, hang}
	first := b.Handle()
	w := run(t, first, s)
	for n := range 3 {
		f.say(enriched, 5, morning)
		eventually(t, "a slice is sent", func() bool { return len(s.stored()) == 5*(n+1) })
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	w.stop()

	s.mu.Lock()
	s.deaf = 1 << 30 // what it makes again stays on its way
	s.mu.Unlock()
	second := b.Handle()
	w = run(t, second, s, func(c *delivery.Config) { c.InFlight, c.Worker = 1, "two" }) // two slices at a time
	time.Sleep(2500 * time.Millisecond)                                                 // the lease, and then a cursor that is kept
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	w.stop()
	if _, ends := cursor(t, b, enriched); len(ends) != 3 {
		t.Errorf("planned are slices to %v, want 3", ends)
	}
	s.mu.Lock()
	s.deaf = 0
	s.mu.Unlock()
	last := run(t, b, s, func(c *delivery.Config) { c.Worker = "three" })
	end, _ := b.End(t.Context(), enriched)
	f.say(enriched, 1, morning)
	eventually(t, "what came later is stored", func() bool { return len(s.stored()) >= 16 })
	if err := last.end(); err != nil {
		t.Fatal(err)
	}
	if at, _ := cursor(t, b, enriched); at <= end || len(s.stored()) != 16 {
		t.Errorf("the cursor is at %d, %d rows stand, want 16", at, len(s.stored()))
	}
}

func TestTheAlarmIsRaisedWhenTheSinkIsHalfAWindowBehind(t *testing.T) {
	var log lines
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	for range 1000 {
		s.script = append(s.script, nothing(delivery.Outcome{Class: delivery.Untouched, Err: errors.New("connection refused")}))
	}
	f.say(enriched, 2, morning)
	w := run(t, b, s, func(c *delivery.Config) { c.Window = 4 * time.Second })
	time.Sleep(1500 * time.Millisecond)
	if text := log.String(); strings.Contains(text, "so far behind") {
		t.Errorf("too early: %s", text)
	}
	eventually(t, "the alarm is raised", func() bool { return strings.Contains(log.String(), "so far behind") })
	s.mu.Lock()
	s.script = nil
	s.mu.Unlock()
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Error(err)
	}
}

func TestTheAlarmIsRaisedWhenMoreThanOneRowOfAHundredIsRefused(t *testing.T) {
	var log lines
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	w := run(t, b, s)
	f.say(enriched, 900, morning)
	eventually(t, "all is stored", func() bool { return len(s.stored()) == 900 })
	s.mu.Lock()
	for i := range 12 {
		s.poison[id(901+i).String()] = delivery.Outcome{Class: delivery.Refused, Reason: "refused", Err: errBroke}
	}
	s.mu.Unlock()
	f.say(enriched, 100, morning)
	eventually(t, "the alarm is raised", func() bool { return strings.Contains(log.String(), "one row of a hundred is refused") })
	if err := w.end(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "one row of a hundred"); n != 1 {
		t.Errorf("raised %d times", n)
	}
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestATopicWhoseStreamTakesNothingDoesNotHoldTheOthersBack(t *testing.T) {
	b, s := newBroker(1), newStore()
	f := newFeed(t, b)
	s.closed = broker.DeadLetters
	w := run(t, b, s, func(c *delivery.Config) {
		c.Topics, c.Linger = []string{broker.Enriched, broker.DeadLetters}, time.Millisecond
	})
	for range 30 { // each a slice of its own
		f.say(broker.Log{Topic: broker.DeadLetters}, 1, morning)
		time.Sleep(10 * time.Millisecond)
	}
	ids := f.say(enriched, 10, morning)
	eventually(t, "the other topic is stored", func() bool { return slices.Equal(s.stored(), ids) })
	s.mu.Lock()
	s.closed = ""
	s.mu.Unlock()
	eventually(t, "all is stored", func() bool { return slices.Equal(s.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Error(err)
	}
}

func TestAGroupLoadsOneStoreAndAnotherGroupLoadsEverythingIntoAnother(t *testing.T) {
	b, one, two := newBroker(1), newStore(), newStore()
	f := newFeed(t, b)
	f.say(enriched, 3, morning)
	named := func(name string, same bool) func(*delivery.Config) {
		return func(c *delivery.Config) { c.Store, c.SameStore = name, same }
	}
	w := run(t, b, one, named("one", false))
	eventually(t, "all is stored", func() bool { return slices.Equal(one.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if err := <-run(t, b, two, named("two", false)).done; err == nil || !strings.Contains(err.Error(), "--same-store") {
		t.Errorf("the same group with another store: %v", err)
	}
	w = run(t, b, two, named("two", false), func(c *delivery.Config) { c.Group = "second" })
	eventually(t, "all is stored there too", func() bool { return slices.Equal(two.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	w = run(t, b, one, named("one under another name", true))
	f.say(enriched, 2, morning)
	eventually(t, "what came later is stored", func() bool { return slices.Equal(one.stored(), f.want()) })
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
}

// metric is the sum of a metric's values.
func metric(t *testing.T, registry *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestEveryPublicTopicIsReadWrittenAndTriedAgain(t *testing.T) {
	var decoder delivery.Decoder
	for i, topic := range delivery.Topics {
		message := broker.AppendRows(nil, topic, &schemas.RowHeader{Processor: "p"}, [][]byte{row(topic, i+1, morning), row(topic, i+1, 0)})
		header, rows, err := decoder.Decode(topic, broker.Message{Payload: message, AppendedAt: 77})
		if err != nil || header.Processor != "p" || len(rows) != 2 {
			t.Errorf("%s: %+v, %d rows, %v", topic, header, len(rows), err)
			continue
		}
		if r := rows[0]; r.ID != id(i+1) || r.At != morning || rows[1].At != 77 {
			t.Errorf("%s: the row %v of %d, and without a time of %d", topic, r.ID, r.At, rows[1].At)
		}
		if text := string(rows[0].AppendJSON(nil)); !strings.Contains(text, id(i+1).String()) {
			t.Errorf("%s: as JSON %s", topic, text)
		}
		of, again, err := delivery.RowOf(&schemas.DeadLetter{Payload: rows[0].AppendMessage(nil)})
		if err != nil || of != topic || again.ID != rows[0].ID || again.At != rows[0].At || string(again.AppendJSON(nil)) != string(rows[0].AppendJSON(nil)) {
			t.Errorf("%s: out of a dead letter comes a row of %q, %+v (%v)", topic, of, again, err)
		}
		if _, undated, _ := delivery.RowOf(&schemas.DeadLetter{OccurredAt: 78, Payload: rows[1].AppendMessage(nil)}); undated.At != 78 {
			t.Errorf("%s: out of a dead letter a row without a time is of %d", topic, undated.At)
		}
	}
	for _, topic := range []string{broker.Closed, broker.TaskFacts, broker.SpendDeltas, broker.Events} {
		if _, _, err := decoder.Decode(topic, broker.Message{}); err == nil {
			t.Errorf("%s is read as a public topic", topic)
		}
	}
}
