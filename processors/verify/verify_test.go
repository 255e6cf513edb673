package verify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/processors/verify"
	"github.com/flightlog/flightlog/schemas"
)

func TestWorkersThatComeAndGoVerifyClean(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.live()
	r := run(t, w, w.options())
	clean(t, r)
	if len(r.Partitions) != partitions {
		t.Fatalf("%d partitions", len(r.Partitions))
	}
	for _, p := range r.Partitions {
		sum := p.Counts.Applied + p.Counts.Duplicate + p.Counts.Dead + p.Counts.Passed
		if p.FirstCommit != 1 || p.Commits != p.LastCommit || p.Epochs < 4 || p.Counts.In != sum {
			t.Errorf("partition %d: %+v", p.Partition, p)
		}
		if p.Counts.Dead == 0 || p.Counts.Duplicate == 0 || p.Rows[broker.DeadLetters] != p.Counts.Dead {
			t.Errorf("partition %d: counts %+v, rows %v", p.Partition, p.Counts, p.Rows)
		}
		if p.Rows[broker.Enriched] == 0 || p.Rows[broker.Closed] == 0 || p.Facts == 0 || p.Unproven+p.Unrouted != 0 {
			t.Errorf("partition %d: rows %v, %d facts, %d unproven, %d unrouted", p.Partition, p.Rows, p.Facts, p.Unproven, p.Unrouted)
		}
		if p.Replayed != p.Commits || p.ReplayedFrom != 1 || p.Taken != 0 {
			t.Errorf("partition %d: %d of %d commits were folded again, from %d on; %d taken", p.Partition, p.Replayed, p.Commits, p.ReplayedFrom, p.Taken)
		}
		if p.Versions.Rules != 2 || p.Gaps+p.Repeats != 0 || p.Uncounted != 0 || p.Lag.Messages != 0 {
			t.Errorf("partition %d: %+v", p.Partition, p)
		}
		reloads := 0
		w.check(w.History(t.Context(), "sessions", p.Partition, func(c *schemas.Commit) error {
			reloads += len(c.Reloads)
			return nil
		}))
		if reloads == 0 {
			t.Errorf("partition %d: nothing was reloaded, so the test shows less than it says", p.Partition)
		}
	}
}

func TestAPartitionWhoseFirstCommitsWerePurgedIsFoldedAgainFromItsSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, memory.WithSnapshots(15, 1<<30))
	w.live()
	r := run(t, w, w.options())
	clean(t, r)
	for _, p := range r.Partitions {
		if p.FirstCommit == 1 || p.ReplayedFrom <= p.FirstCommit || p.Replayed == 0 || p.Taken != 0 {
			t.Errorf("partition %d: commits from %d on, folded again from %d on: %d, taken %d; %v", p.Partition, p.FirstCommit, p.ReplayedFrom, p.Replayed, p.Taken, p.Notes)
		}
		if p.Unproven == 0 {
			t.Errorf("partition %d: rows of purged commits are said to be proven", p.Partition)
		}
	}
}

func TestASnapshotThatWasTakenBetweenCommitsIsFoldedAgainFromTheCommitThatNamesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, memory.WithSnapshots(15, 1<<30))
	stop, _ := w.work()
	for n := range 80 { // some MiB of state: a snapshot has many parts, one after each commit
		w.sendStep(n, 24)
		w.folded()
	}
	stop()
	r := run(t, w, w.options())
	clean(t, r)
	for _, p := range r.Partitions {
		c, err := w.LastCommit(t.Context(), "sessions", p.Partition)
		w.check(err)
		if len(c.Snapshots) == 0 || c.Snapshots[0].Parts < 3 {
			t.Fatalf("partition %d: snapshots %+v, so the test shows nothing", p.Partition, c.Snapshots)
		}
		if p.ReplayedFrom <= c.Snapshots[0].CommitNumber+1 || p.Replayed == 0 || p.Taken != 0 {
			t.Errorf("partition %d: folded again from %d on: %d, taken %d; %v", p.Partition, p.ReplayedFrom, p.Replayed, p.Taken, p.Notes)
		}
	}
}

// early is a broker whose last commit tells of no routing.
type early struct{ broker.Broker }

func (b early) LastCommit(ctx context.Context, processor string, partition int) (*schemas.Commit, error) {
	c, err := b.Broker.LastCommit(ctx, processor, partition)
	c.Routed = 0
	return c, err
}

func TestTheLastRowsAreOnTheirWayUntilTheLogSaysThatTheyWereRouted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.live()
	for p := range partitions {
		rows := broker.Log{Topic: broker.Enriched, Partition: p}
		w.Truncate(rows, len(positions(t, w, rows))-1)
	}
	o := w.options()
	o.Settled, o.Folds = false, nil
	r := run(t, early{w}, o)
	clean(t, r)
	for _, p := range r.Partitions {
		if p.Unrouted == 0 {
			t.Errorf("partition %d: nothing is on its way", p.Partition)
		}
	}
	if r := run(t, w, o); r.Counts[verify.Routed] < partitions {
		t.Errorf("the log says that they were routed: %v", r.Counts)
	}
	o.Settled = true
	if r := run(t, early{w}, o); r.Counts[verify.Routed] < partitions {
		t.Errorf("nobody works any more: %v", r.Counts)
	}
}

func TestWhatHasAgedOutIsNoViolation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.live()
	for p := range partitions {
		for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
			w.Expire(eventsOf(p, lane), middle(t, w, eventsOf(p, lane)))
		}
		rows := broker.Log{Topic: broker.Enriched, Partition: p}
		w.Expire(rows, middle(t, w, rows))
	}
	r := run(t, w, w.options())
	clean(t, r)
	for _, p := range r.Partitions {
		if p.Uncounted == 0 || p.Uncounted == p.Commits || p.Unproven == 0 || p.Rows[broker.Enriched] == 0 || p.Taken == 0 || p.Replayed == 0 {
			t.Errorf("partition %d: %+v", p.Partition, p)
		}
	}
	for p := range partitions { // and all of it
		for _, of := range []broker.Log{eventsOf(p, schemas.LaneNormal), {Topic: broker.Enriched, Partition: p}} {
			end, err := w.End(t.Context(), of)
			w.check(err)
			w.Expire(of, end)
		}
	}
	clean(t, run(t, w, w.options()))
}

func TestARestatementOfSessionsWhoseArchiveIsGoneVerifiesClean(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sendStep(0, 6)
	stop, _ := w.work()
	for _, pause := range []time.Duration{time.Hour, 26 * time.Hour} {
		w.folded()
		w.pass(pause)
		w.tick()
	}
	w.folded()
	stop()
	stop, _ = w.work()
	w.routed() // what has left
	for p := range partitions {
		closed := broker.Log{Topic: broker.Closed, Partition: p}
		end, err := w.End(t.Context(), closed)
		w.check(err)
		if end == 0 {
			t.Fatal("nothing has left")
		}
		w.Expire(closed, end)
	}
	w.restate()
	stop()
	stop, _ = w.work()
	w.routed()
	stop()
	r := run(t, w, w.options())
	clean(t, r)
	for _, p := range r.Partitions {
		if p.Rows[broker.DeadLetters] != p.Counts.Dead+6 || p.Replayed != p.Commits {
			t.Errorf("partition %d: rows %v, %d dead, %d of %d commits folded again", p.Partition, p.Rows, p.Counts.Dead, p.Replayed, p.Commits)
		}
	}
}

// middle is the position in the middle of a log.
func middle(t *testing.T, b broker.Broker, of broker.Log) uint64 {
	t.Helper()
	all := positions(t, b, of)
	return all[len(all)/2]
}

func positions(t *testing.T, b broker.Broker, of broker.Log) (all []uint64) {
	t.Helper()
	if err := broker.Scan(t.Context(), b, of, func(m broker.Message) error {
		all = append(all, m.Position)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAnInputThatLostItsEndIsReportedAsRewoundAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sendStep(0, 4)
	_, kill := w.work()
	w.folded()
	kill() // before it can move its places on to where the log has passed
	for p := range partitions {
		w.Truncate(eventsOf(p, schemas.LaneNormal), 3)
	}
	stop, _ := w.work()
	w.until("folded again", func(p int, c *schemas.Commit) bool { return c.Owner == "worker2" && w.isFolded(p, c) })
	stop()
	r := run(t, w, w.options())
	clean(t, r)
	for _, p := range r.Partitions {
		if p.Rewinds != 1 || p.Repeats != 0 {
			t.Errorf("partition %d: %d rewinds, %d repeats", p.Partition, p.Rewinds, p.Repeats)
		}
	}
}

func TestALiveInstallationHasLagAndNoViolations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sendStep(0, 4)
	stop, _ := w.work()
	w.folded()
	stop()
	w.sendStep(1, 4)
	w.pass(90 * time.Second)
	o := w.options()
	o.Settled = false
	r := run(t, w, o)
	clean(t, r)
	for _, p := range r.Partitions {
		if p.Lag.Messages != 4+4+2 || p.Lag.Seconds != 90 {
			t.Errorf("partition %d: lag %+v", p.Partition, p.Lag)
		}
	}
	o.Settled = true
	if r := run(t, w, o); r.Counts[verify.Behind] != partitions || r.Total() != partitions {
		t.Errorf("settled: %v", r.Counts)
	}
}

func TestAnInstallationIsVerifiedWhileItWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop, _ := w.work()
	defer stop()
	o := w.options()
	o.Settled = false
	for n := range 10 {
		w.sendStep(n, 8)
		clean(t, run(t, w, o))
	}
	w.folded()
	clean(t, run(t, w, o))
}

func TestSequenceNumbersThatAreMissingAreGapsUntilTheyCome(t *testing.T) {
	w := newWorld(t)
	to := eventsOf(0, schemas.LaneNormal)
	e := w.step(session(0, 0), 1)
	w.sendFrom(0, to, e[0], e[1]) // 0, 1
	w.sendFrom(5, to, e[2], e[3]) // 5, 6
	w.sendFrom(5, to, e[2], e[3]) // again
	w.sendFrom(9, to, e[4])
	r := run(t, w, verify.Options{Processor: "sessions"})
	p := r.Partitions[0]
	if p.Gaps != 5 || p.Repeats != 2 || r.Counts[verify.Gap] != 2 || r.Total() != 2 {
		t.Errorf("%d missing, %d repeats, %v", p.Gaps, p.Repeats, r.Counts)
	}
	if got := fmt.Sprint(p.Producers[0].Gaps); got != "[[2 4] [7 8]]" {
		t.Errorf("gaps %s", got)
	}
	w.sendFrom(3, to, e[0], e[1], e[2], e[3]) // 3 to 6, of which 5 and 6 again
	w.sendFrom(2, to, e[2])
	w.sendFrom(7, to, e[2], e[3], e[4]) // of which 9 again
	r = run(t, w, verify.Options{Processor: "sessions"})
	clean(t, r)
	if p := r.Partitions[0]; p.Gaps != 0 || p.Repeats != 2+2+1 {
		t.Errorf("%d missing, %d repeats", p.Gaps, p.Repeats)
	}
	w.Expire(to, positions(t, w, to)[0]) // what has aged out is no gap
	w.sendFrom(10, to, e[0])
	if r = run(t, w, verify.Options{Processor: "sessions"}); r.Partitions[0].Gaps != 0 && r.Counts[verify.Gap] > 1 {
		t.Errorf("%+v", r.Violations)
	}
}

// otherwise is the sessions processor by name and version, and passes over
// calls.
type otherwise struct{ *sessions.Processor }

func (o otherwise) Begin(tx *engine.Tx) engine.Fold { return passing{o.Processor.Begin(tx)} }

type passing struct{ engine.Fold }

func (p passing) Event(org string, e *schemas.Event) (engine.Outcome, error) {
	if e.Kind == schemas.KindToolCall {
		return engine.Passed, nil
	}
	return p.Fold.Event(org, e)
}

func TestEveryKindOfViolationIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.live()
	clean(t, run(t, w, w.options()))
	enriched := broker.Log{Topic: broker.Enriched, Partition: 1}
	frames := positions(t, w, enriched)
	frameAt := frames[len(frames)/2]
	var said int64 // a commit in the middle that says rows and is not the first of its epoch
	var epoch int64
	w.check(w.History(t.Context(), "sessions", 1, func(c *schemas.Commit) error {
		if said == 0 && c.CommitNumber > 10 && c.Epoch == epoch && len(c.Outputs) > 0 && c.Slices[1].NextMessage > c.Slices[1].FirstMessage {
			said = c.CommitNumber
		}
		epoch = c.Epoch
		return nil
	}))
	if said == 0 {
		t.Fatal("no commit to change")
	}
	commit := func(change func(*schemas.Commit)) broker.Broker {
		return &tampered{Broker: w, commit: func(c *schemas.Commit) bool {
			if c.Partition == 1 && c.CommitNumber == said {
				change(c)
			}
			return true
		}}
	}
	messages := func(change func(broker.Message) []broker.Message) broker.Broker {
		return &tampered{Broker: w, messages: func(of broker.Log, m broker.Message) []broker.Message {
			if of == enriched && m.Position == frameAt {
				return change(m)
			}
			return []broker.Message{m}
		}}
	}
	rows := func(change func(*schemas.EnrichedFrame)) broker.Broker {
		return messages(func(m broker.Message) []broker.Message {
			var f schemas.EnrichedFrame
			w.check(f.DecodeMessage(m.Payload))
			change(&f)
			m.Payload = f.AppendMessage(nil)
			return []broker.Message{m}
		})
	}
	with := func(change func(*verify.Options)) verify.Options {
		o := w.options()
		change(&o)
		return o
	}
	noReplay := with(func(o *verify.Options) { o.Folds = nil })
	for _, c := range []struct {
		name string
		b    broker.Broker
		o    verify.Options
		want string // kinds that must be found; after a comma those that may be, by where frames were cut
		text string // in one of the violations
	}{
		{"a commit with counts that do not add up", commit(func(c *schemas.Commit) { c.Counts.Applied++ }), noReplay, "counts", "is not applied"},
		{"a commit that counts more than it read", commit(func(c *schemas.Commit) { c.Counts.Applied++; c.Counts.In++ }), noReplay, "counts", "records stand in the input"},
		{"dead records without dead letters", commit(func(c *schemas.Commit) {
			c.Counts.Applied -= 100
			c.Counts.Dead += 100
		}), noReplay, "counts", "dead letters"},
		{"a chain that forks", commit(func(c *schemas.Commit) { c.PreviousHash[0]++ }), noReplay, "chain", "hash of the one before"},
		{"a commit that is missing", &tampered{Broker: w, commit: func(c *schemas.Commit) bool { return c.CommitNumber != said }}, noReplay, "chain routed, rows", "follows"},
		{"a commit of an older epoch", commit(func(c *schemas.Commit) { c.Epoch = 0 }), noReplay, "chain", "epoch 0 after"},
		{"two owners in one epoch", commit(func(c *schemas.Commit) { c.Owner = "zombie" }), noReplay, "chain", "two owners"},
		{"time that goes back", commit(func(c *schemas.Commit) { c.Now = 1 }), noReplay, "chain", "now goes back"},
		{"a watermark that goes back", commit(func(c *schemas.Commit) { c.Watermark = 1 }), noReplay, "chain, routed", "watermark goes back"},
		{"versions that go back", commit(func(c *schemas.Commit) { c.Versions.Fold = 0 }), noReplay, "chain", "versions go back"},
		{"input that was skipped", commit(func(c *schemas.Commit) { c.Slices[1].FirstMessage++ }), noReplay, "chain, counts", "the commit before has ended"},
		{"input that is another one", commit(func(c *schemas.Commit) { c.Slices[1].Identity++ }), noReplay, "input", "another message"},
		{"a log that breaks off", &breaking{Broker: w, at: said}, noReplay, "behind chain routed, rows", "cannot be read"},
		{"a frame routed twice", messages(func(m broker.Message) []broker.Message { return []broker.Message{m, m} }), noReplay, "routed, rows", "twice"},
		{"a frame that is missing", messages(func(broker.Message) []broker.Message { return nil }), noReplay, "routed, rows", "are missing"},
		{"a frame that cannot be read", messages(func(m broker.Message) []broker.Message {
			m.Payload = []byte("nothing")
			return []broker.Message{m}
		}), noReplay, "routed, rows", "cannot be read"},
		{"a frame of a commit that said nothing", rows(func(f *schemas.EnrichedFrame) {
			f.Header.FirstCommit, f.Header.LastCommit = 1<<40, 1<<40
		}), noReplay, "routed, rows", "the log ends at"},
		{"a frame of another generation", rows(func(f *schemas.EnrichedFrame) { f.Header.Generation++ }), noReplay, "routed, rows", "generation 2"},
		{"a frame of another partition", rows(func(f *schemas.EnrichedFrame) { f.Header.SourcePartition = 0 }), noReplay, "routed, rows", "no commit of it names"},
		{"a frame with another hash", rows(func(f *schemas.EnrichedFrame) { f.Header.CommitHash[0]++ }), noReplay, "routed, rows", "another commit"},
		{"a frame with another predecessor", rows(func(f *schemas.EnrichedFrame) { f.Header.PreviousCommit-- }), noReplay, "routed, rows", "as the one before"},
		{"a row changed", rows(func(f *schemas.EnrichedFrame) { f.Rows[0].EventId[0]++ }), noReplay, "routed, rows", "another one"},
		{"a row too many", rows(func(f *schemas.EnrichedFrame) { f.Rows = append(f.Rows, f.Rows[0]) }), noReplay, "routed, rows", "1 rows are left"},
		{"a row too few", rows(func(f *schemas.EnrichedFrame) { f.Rows = f.Rows[:len(f.Rows)-1] }), noReplay, "routed, rows", "missing"},
		{"a replay that differs", w, with(func(o *verify.Options) {
			o.Folds = map[int64]engine.Processor{sessions.New().Version(): otherwise{sessions.New()}}
		}), "replay", "folded again"},
		{"a commit that is not what was folded", commit(func(c *schemas.Commit) { c.Hash[0]++ }), w.options(), "chain replay, routed", "differs"},
		{"a reference that differs", w, with(func(o *verify.Options) {
			o.Folds = nil
			o.Reference = func(context.Context, broker.Broker) ([]string, error) { return []string{"a fact is missing"}, nil }
		}), "reference", "a fact is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, c.b, c.o)
			var out strings.Builder
			if err := r.WriteText(&out); err != nil {
				t.Fatal(err)
			}
			must, may, _ := strings.Cut(c.want, ",")
			expected := strings.Contains(out.String(), c.text)
			for _, kind := range strings.Fields(must) {
				expected = expected && r.Counts[verify.Kind(kind)] > 0
			}
			for kind := range r.Counts {
				expected = expected && slices.Contains(strings.Fields(must+may), string(kind))
			}
			if !expected || must == "routed" && r.Total() > 60 {
				t.Errorf("found %v, want %q with %q:\n%s", r.Counts, c.want, c.text, out.String())
			}
			encoded, err := json.Marshal(r)
			if err != nil || !strings.Contains(string(encoded), `"violations":[{"kind":"`) {
				t.Errorf("%v: %s", err, encoded)
			}
		})
	}
}

// together is a broker where rows stand with their commit, each by itself in its
// topic, and the commits are given without them, as on Kafka.
type together struct {
	broker.Broker
	commit func(*schemas.Commit) bool // changes it, and tells whether it is there
	rows   map[broker.Log][]broker.Message
}

func newTogether(t *testing.T, b broker.Broker) *together {
	to := &together{Broker: b, rows: map[broker.Log][]broker.Message{}}
	for p := range partitions {
		if err := b.History(t.Context(), "sessions", p, func(c *schemas.Commit) error {
			for _, out := range c.Outputs {
				of := broker.Log{Topic: out.Topic, Partition: int(out.Partition), Lane: out.Lane}
				for _, row := range out.Rows {
					h := schemas.RowHeader{Processor: "sessions", SourcePartition: int64(p), Generation: 1, FirstCommit: c.CommitNumber,
						LastCommit: c.CommitNumber, PreviousCommit: out.Previous, CommitHash: c.Hash, Watermark: c.Watermark}
					to.rows[of] = append(to.rows[of], broker.Message{Position: uint64(len(to.rows[of]) + 1),
						Payload: broker.AppendRows(nil, of.Topic, &h, [][]byte{row})})
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func (b *together) History(ctx context.Context, processor string, partition int, each func(*schemas.Commit) error) error {
	return b.Broker.History(ctx, processor, partition, func(c *schemas.Commit) error {
		c.Outputs = nil
		if b.commit != nil && !b.commit(c) {
			return nil
		}
		return each(c)
	})
}

func (b *together) End(ctx context.Context, of broker.Log) (uint64, error) {
	if of.Topic == broker.Events {
		return b.Broker.End(ctx, of)
	}
	return uint64(len(b.rows[of])), nil
}

func (b *together) Read(ctx context.Context, from broker.Log, after uint64) (broker.Reader, error) {
	r, err := b.Broker.Read(ctx, from, 0)
	if err != nil || from.Topic == broker.Events {
		return b.Broker.Read(ctx, from, after)
	}
	return &tamperedReader{Reader: r, queue: slices.Clone(b.rows[from][min(int(after), len(b.rows[from])):])}, nil
}

func TestRowsThatStandWithTheirCommitAreProvenByItsHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.live()
	o := w.options()
	o.Folds = nil
	want := run(t, w, o)
	clean(t, want)
	got := run(t, newTogether(t, w), o)
	clean(t, got)
	for i, p := range got.Partitions {
		if !maps.Equal(p.Rows, want.Partitions[i].Rows) || p.Facts != want.Partitions[i].Facts || p.Unproven != 0 {
			t.Errorf("partition %d: rows %v, %d facts, %d unproven; want %+v", p.Partition, p.Rows, p.Facts, p.Unproven, want.Partitions[i])
		}
	}

	compacted := newTogether(t, w)
	var left []schemas.Change // as a compaction leaves the records of commits before 20
	compacted.commit = func(c *schemas.Commit) bool {
		if c.CommitNumber < 20 {
			left = append(left, c.Delta...)
			return false
		}
		c.Delta, left = append(left, c.Delta...), nil
		return true
	}
	got = run(t, compacted, o)
	clean(t, got)
	for _, p := range got.Partitions {
		if p.Unproven == 0 || p.Rows[broker.Enriched] == 0 || p.FirstCommit != 20 {
			t.Errorf("partition %d: rows %v, %d unproven", p.Partition, p.Rows, p.Unproven)
		}
	}

	earlier := compacted.commit // an earlier compaction has left commit 7
	compacted.commit = func(c *schemas.Commit) bool { return c.CommitNumber == 7 || earlier(c) }
	o.Folds = w.options().Folds
	got = run(t, compacted, o)
	clean(t, got)
	for _, p := range got.Partitions {
		if p.FirstCommit != 20 || !strings.Contains(fmt.Sprint(p.Notes), "commits 8 to 19 were compacted away") {
			t.Errorf("partition %d: from %d on: %q", p.Partition, p.FirstCommit, p.Notes)
		}
	}
	o.Folds = nil

	enriched := broker.Log{Topic: broker.Enriched, Partition: 1}
	for name, change := range map[string]func([]broker.Message, int) []broker.Message{
		"a row that is missing":     func(all []broker.Message, i int) []broker.Message { return slices.Delete(all, i, i+1) },
		"a row that is there twice": func(all []broker.Message, i int) []broker.Message { return slices.Insert(all, i, all[i]) },
		"a row changed": func(all []broker.Message, i int) []broker.Message {
			var f schemas.EnrichedFrame
			if err := f.DecodeMessage(all[i].Payload); err != nil {
				t.Fatal(err)
			}
			f.Rows[0].EventId[0]++
			all[i].Payload = f.AppendMessage(nil)
			return all
		},
	} {
		b := newTogether(t, w)
		b.rows[enriched] = change(b.rows[enriched], len(b.rows[enriched])/2)
		for i := range b.rows[enriched] {
			b.rows[enriched][i].Position = uint64(i + 1)
		}
		if r := run(t, b, o); r.Counts[verify.Routed] == 0 {
			t.Errorf("%s is not found: %v", name, r.Counts)
		}
	}
}

// breaking is a broker whose commit log cannot be read to its end.
type breaking struct {
	broker.Broker
	at int64
}

func (b *breaking) History(ctx context.Context, processor string, partition int, each func(*schemas.Commit) error) error {
	return b.Broker.History(ctx, processor, partition, func(c *schemas.Commit) error {
		if partition == 1 && c.CommitNumber == b.at {
			return fmt.Errorf("the hash does not fit: %w", broker.ErrLost)
		}
		return each(c)
	})
}

func TestVersionsThatDifferBetweenPartitionsAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := engine.ApplyConfig(t.Context(), w, "prices", []byte("prices of the test"), "test", w.clock.Load())
	w.check(err)
	stop, _ := w.work()
	w.sendStep(0, 1)
	w.folded()
	w.pass(2 * time.Minute)
	w.send(eventsOf(0, schemas.LaneNormal), w.step(session(0, 1), 1)...)
	w.folded()
	stop()
	r := run(t, w, w.options())
	clean(t, r)
	if got := fmt.Sprint(r.Versions); got != "[prices: version 1 in 1; version 2 in 0]" {
		t.Error(got)
	}
	var out strings.Builder
	if err := r.WriteText(&out); err != nil || !strings.Contains(out.String(), "differs by partition: prices") || !strings.Contains(out.String(), "no violations") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestTheListOfViolationsIsBounded(t *testing.T) {
	w := newWorld(t)
	to := eventsOf(0, schemas.LaneNormal)
	for i := range 300 {
		w.sendFrom(int64(2*i), to, nil)
	}
	r := run(t, w, verify.Options{Processor: "sessions"})
	if len(r.Violations) != 100 || r.Total() != 299 {
		t.Errorf("%d told of %d", len(r.Violations), r.Total())
	}
	var out strings.Builder
	if err := r.WriteText(&out); err != nil || !strings.Contains(out.String(), "... and 199 more") {
		t.Errorf("%v: %s", err, out.String())
	}
}
