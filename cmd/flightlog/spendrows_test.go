package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/files"
)

// world is an installation in memory whose clock is turned by hand, with rows as
// a processor says them.
type world struct {
	*memory.Broker
	at      time.Time
	commits int64
	last    map[int]int64 // commit with rows, by partition
	all     []schemas.Enriched
}

// worldBegins is the clock of a new world: long enough ago for files of an
// archive to be complete.
var worldBegins = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func newWorld() *world {
	w := &world{at: worldBegins, last: map[int]int64{}}
	w.Broker = memory.New(2, memory.WithClock(func() int64 { return w.at.UnixMicro() }))
	return w
}

// say appends one commit.
func (w *world) say(t *testing.T, partition int, rows ...schemas.Enriched) {
	t.Helper()
	w.commits++
	w.append(t, partition, w.commits, w.last[partition], rows...)
	w.last[partition] = w.commits
}

func (w *world) append(t *testing.T, partition int, commit, previous int64, rows ...schemas.Enriched) {
	t.Helper()
	var encoded [][]byte
	for i := range rows {
		encoded = append(encoded, rows[i].AppendAvro(nil))
	}
	header := schemas.RowHeader{Processor: "sessions", SourcePartition: int64(partition), Generation: 1, FirstCommit: commit, LastCommit: commit, PreviousCommit: previous, Watermark: w.at.UnixMicro()}
	if _, err := w.Append(t.Context(), broker.Log{Topic: broker.Enriched, Partition: partition}, broker.AppendRows(nil, broker.Enriched, &header, encoded)); err != nil {
		t.Fatal(err)
	}
	w.all = append(w.all, rows...)
}

// spent is a row of a request.
func spent(id string, version int64, sign int32, at time.Time, team string, nano int64) schemas.Enriched {
	key := schemas.FactKey("s", schemas.KindModelRequest, id)
	return schemas.Enriched{RowId: schemas.RowID(1, key, version, sign), Sign: sign, FactKey: key, Version: version, Generation: 1, Family: schemas.FamilyModel,
		Kind: schemas.KindModelRequest, OccurredAt: at.UnixMicro(), Team: team, SessionId: "s", Model: "m",
		CostNanoUsd: schemas.SomeLong(nano), CostNanoUsdMax: schemas.SomeLong(nano), CostGrade: schemas.CostGradeMeasured}
}

// expire drops what was appended before a time, as age does.
func (w *world) expire(t *testing.T, before time.Time) {
	t.Helper()
	for p := range 2 {
		log := broker.Log{Topic: broker.Enriched, Partition: p}
		at, err := w.Seek(t.Context(), log, before.UnixMicro())
		if err != nil {
			t.Fatal(err)
		}
		w.Expire(log, at)
	}
}

// archived is an archive of what the world holds.
func (w *world) archived(t *testing.T, dir string) string {
	t.Helper()
	sink, err := files.NewArchive(dir, broker.Enriched)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if err := sink.Drain(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return dir
}

// report is what spend report tells of facts of June, by team.
func (w *world) report(t *testing.T, change func(*spendReportOptions)) (*spendReport, error) {
	t.Helper()
	o := spendReportOptions{byNames: []string{"team"}, format: "json"}
	o.month = "2026-06"
	if change != nil {
		change(&o)
	}
	if err := o.parse(); err != nil {
		t.Fatal(err)
	}
	return o.report(t.Context(), &installation{broker: w})
}

// costs is the report's money by team.
func costs(r *spendReport) map[string]int64 {
	by := map[string]int64{}
	for _, g := range r.Groups {
		by[g.Values["team"]] += g.Measures[spend.CostNanoUsd]
	}
	return by
}

func wantCosts(t *testing.T, what string, w *world, want map[string]int64, change func(*spendReportOptions)) *spendReport {
	t.Helper()
	report, err := w.report(t, change)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return nil
	}
	if got := costs(report); !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
	return report
}

func wantRefused(t *testing.T, what string, w *world, want string, change func(*spendReportOptions)) {
	t.Helper()
	if _, err := w.report(t, change); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// clock is a time of the day on which the worlds begin.
func clock(hour, minute int) time.Time { return time.Date(2026, 6, 1, hour, minute, 0, 0, time.UTC) }

// historical is a world with a history of four hours.
func historical(t *testing.T) *world {
	t.Helper()
	w := newWorld()
	w.at = clock(12, 10)
	w.say(t, 0, spent("1", 1, 1, clock(12, 0), "a", 100))
	w.say(t, 1, spent("2", 1, 1, clock(12, 1), "b", 1000))
	w.at = clock(13, 20)
	w.say(t, 0, spent("1", 2, -1, clock(12, 0), "a", 100), spent("1", 2, 1, clock(12, 0), "a", 150))
	w.at = clock(14, 5)
	w.say(t, 0, spent("3", 1, 1, clock(14, 0), "c", 200))
	w.say(t, 1, spent("4", 1, 1, clock(14, 1), "", 7))
	w.at = clock(15, 30)
	w.say(t, 0, spent("1", 3, -1, clock(12, 0), "a", 150), spent("1", 3, 1, clock(12, 0), "b", 150))
	return w
}

var historicalCosts = map[string]int64{"b": 1150, "c": 200, "unattributed": 7}

func TestSpendAddsArchiveAndTopicEachRowOnce(t *testing.T) {
	w := historical(t)
	wantCosts(t, "a young installation, whose topic holds its first row", w, historicalCosts, nil)
	archive := w.archived(t, filepath.Join(t.TempDir(), "archive"))
	w.at = clock(16, 10)
	w.say(t, 0, spent("5", 1, 1, clock(16, 0), "c", 4))
	want := map[string]int64{"b": 1150, "c": 204, "unattributed": 7}
	given := func(o *spendReportOptions) { o.archive = archive }
	if r := wantCosts(t, "the topic is enough", w, want, given); r != nil {
		var text bytes.Buffer
		if err := r.write("table", &text, &text); err != nil || r.Sources.Archive != nil || r.Sources.Spare != archive || !strings.Contains(text.String(), "was not needed") {
			t.Errorf("the archive was read: %v, %s", err, text.String())
		}
	}
	wantRefused(t, "an archive that is none, and is not needed", w, "is no archive", func(o *spendReportOptions) { o.archive = t.TempDir() })
	young := newWorld()
	young.say(t, 0, spent("1", 1, 1, clock(12, 0), "a", 1))
	wantRefused(t, "an archive of another installation that is not needed", young, "is of another installation or generation", given)

	w.expire(t, clock(14, 0))
	wantRefused(t, "without the archive", w, "the topic holds all only since 2026-06-01T14:05:00Z; give --archive", nil)
	r := wantCosts(t, "an overlap of two hours", w, want, given)
	if r == nil {
		t.FailNow()
	}
	if a := r.Sources.Archive; a.Rows != 8 || r.Sources.Topic[0].Rows != 1 || r.Sources.Topic[1].Rows != 0 {
		t.Errorf("%d rows of the archive, %+v", a.Rows, r.Sources.Topic[0])
	}
	var text bytes.Buffer
	if err := r.write("table", &text, &text); err != nil || !strings.Contains(text.String(), "holds what was appended from the topic's beginning") {
		t.Errorf("%v, %s", err, text.String())
	}

	o := spendPeriod{month: "2026-06", archive: archive}
	if err := o.parse(); err != nil {
		t.Fatal(err)
	}
	if checked, err := o.check(t.Context(), &installation{broker: w}); err != nil || checked.Found != 0 || checked.Facts != 5 {
		t.Errorf("check: %+v, %v", checked, err)
	}

	wantRefused(t, "an archive of another installation", newWorldWith(t), "is of another installation or generation", given)

	w.expire(t, clock(16, 0))
	wantCosts(t, "an archive that ends where the topic begins", w, want, given)
	w.at = clock(17, 0)
	w.say(t, 0, spent("6", 1, 1, clock(17, 0), "c", 1))
	w.expire(t, clock(17, 0))
	wantRefused(t, "a gap", w, "partition 0 of the topic holds all only since 2026-06-01T17:00:00Z", given)
	wantCosts(t, "a gap after the time that is asked for", w, historicalCosts, func(o *spendReportOptions) {
		o.archive, o.asOfText = archive, "2026-06-01T16:00:00Z"
	})
	if err := os.Remove(filepath.Join(archive, "enriched", "0", "2026-06-01T12.avro")); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "a file that is missing", w, "2026-06-01T12.avro is missing", given)
}

// newWorldWith is a world that has lost its first row.
func newWorldWith(t *testing.T) *world {
	w := newWorld()
	w.say(t, 0, spent("1", 1, 1, clock(12, 0), "a", 1))
	w.at = clock(13, 0)
	w.say(t, 0, spent("2", 1, 1, clock(12, 0), "a", 1))
	w.expire(t, clock(13, 0))
	return w
}

func TestSpendTellsWhatAReportOfThenSaid(t *testing.T) {
	w := historical(t)
	asOf := func(at string) func(*spendReportOptions) {
		return func(o *spendReportOptions) { o.asOfText = at }
	}
	before := map[string]int64{"a": 150, "b": 1000}
	wantCosts(t, "from the topic", w, map[string]int64{"a": 100, "b": 1000}, asOf("2026-06-01T13:20:00Z"))
	wantCosts(t, "from the topic, a moment later", w, before, asOf("2026-06-01T13:20:01Z"))
	archive := w.archived(t, filepath.Join(t.TempDir(), "archive"))
	w.expire(t, clock(14, 0))
	with := func(at string) func(*spendReportOptions) {
		return func(o *spendReportOptions) { o.archive, o.asOfText = archive, at }
	}
	wantCosts(t, "a whole hour of the archive", w, before, with("2026-06-01T14:00:00Z"))
	wantCosts(t, "an hour that the topic holds", w, map[string]int64{"a": 150, "b": 1000, "c": 200, "unattributed": 7}, with("2026-06-01T14:30:00Z"))
	wantRefused(t, "within an hour of the archive", w, "--as-of 2026-06-01T13:00:00Z can be told", with("2026-06-01T13:30:00Z"))
	wantRefused(t, "late within an hour of the archive", w, "give --last-report 2026-06-01T13:00:00Z or 2026-06-01T14:00:00Z", func(o *spendReportOptions) {
		o.archive, o.lastReportText = archive, "2026-06-01T13:30:00Z"
	})
}

func TestOnceARowIsLateAllThatFollowAre(t *testing.T) {
	header := func(commit int64) schemas.RowHeader {
		return schemas.RowHeader{FirstCommit: commit, LastCommit: commit}
	}
	var u until
	limit := clock(13, 0)
	for i, c := range []struct {
		commit int64
		at     time.Time
		want   bool
	}{
		{1, clock(12, 59), true}, {2, clock(12, 59), true},
		{2, clock(13, 1), true},   // the rest of a commit that began before
		{3, clock(13, 1), false},  // a later one
		{4, clock(12, 59), false}, // by the clock of another server, after it
	} {
		if got := u.before(header(c.commit), c.at.UnixMicro(), limit); got != c.want {
			t.Errorf("frame %d: %t, want %t", i, got, c.want)
		}
	}
	if !new(until).before(header(9), clock(23, 0).UnixMicro(), time.Time{}) {
		t.Error("without a time not all rows count")
	}
}

// TestAnOpenFileOfAnArchiveIsNotCounted: it may hold a part of its last commit.
func TestAnOpenFileOfAnArchiveIsNotCounted(t *testing.T) {
	w := historical(t)
	now := time.Now().UTC()
	w.at = now
	w.say(t, 0, spent("5", 1, 1, clock(16, 0), "c", 4))
	w.say(t, 1, spent("6", 1, 1, clock(16, 0), "c", 1))
	archive := w.archived(t, filepath.Join(t.TempDir(), "archive"))
	given := func(o *spendReportOptions) { o.archive = archive }
	w.expire(t, clock(14, 0))
	want := map[string]int64{"b": 1150, "c": 205, "unattributed": 7}
	if r := wantCosts(t, "an open file that the topic has as well", w, want, given); r != nil && (r.Sources.Archive.Rows != 8 || r.Sources.Topic[0].Rows != 1) {
		t.Errorf("%d rows of the archive, %d of the topic", r.Sources.Archive.Rows, r.Sources.Topic[0].Rows)
	}
	w.at = now.Add(time.Second)
	w.say(t, 0, spent("7", 1, 1, clock(16, 0), "c", 1))
	w.expire(t, w.at)
	wantRefused(t, "an open file that the topic has lost", w, "in complete files, does not reach so far", given)
}

// TestSpendReadsKafka: there every row is a message, and transactions leave
// marks between them.
func TestSpendReadsKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	config := kafka.Config{Brokers: cluster.ListenAddrs()}
	if err := kafka.Provision(t.Context(), config, 2); err != nil {
		t.Fatal(err)
	}
	b, err := kafka.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	o, err := b.Acquire(t.Context(), "sessions", 1, "worker")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Restore(t.Context(), func(*schemas.Commit) error { return nil }); err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC()
	for i, rows := range [][]schemas.Enriched{
		{spent("1", 1, 1, at, "a", 100), spent("2", 1, 1, at, "b", 7)},
		{spent("1", 2, -1, at, "a", 100), spent("1", 2, 1, at, "b", 150)},
	} {
		c := &schemas.Commit{Processor: "sessions", Partition: 1, Generation: 1, CommitNumber: int64(i + 1), Epoch: o.Epoch(), Owner: "worker", Now: at.UnixMicro(), Watermark: at.UnixMicro(),
			Outputs: []schemas.Output{{Topic: broker.Enriched, Partition: 1, Previous: int64(i), Schema: int64(broker.RowSchema(broker.Enriched))}}}
		for _, r := range rows {
			c.Outputs[0].Rows = append(c.Outputs[0].Rows, r.AppendAvro(nil))
		}
		if err := o.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	options := spendReportOptions{byNames: []string{"team"}, format: "json"}
	options.first = at.Format(time.DateOnly)
	if err := options.parse(); err != nil {
		t.Fatal(err)
	}
	r, err := options.report(t.Context(), &installation{broker: b})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := costs(r), map[string]int64{"b": 157}; !reflect.DeepEqual(got, want) || r.Sources.Topic[1].Rows != 4 || r.Sources.Topic[1].HeldFrom != nil || r.Sources.Topic[0].HeldFrom != nil {
		t.Errorf("%v, want %v, of %+v", got, want, r.Sources.Topic)
	}
}

func TestACommitIsNotCutByTheTimeOfAReport(t *testing.T) {
	w := newWorld()
	w.say(t, 1, spent("2", 1, 1, clock(12, 0), "b", 1))
	w.say(t, 0, spent("1", 1, 1, clock(12, 0), "a", 100))
	first := w.commits
	w.at = clock(13, 0)
	w.append(t, 0, first+1, first, spent("1", 2, -1, clock(12, 0), "a", 100))
	w.at = clock(13, 1)
	w.append(t, 0, first+1, first, spent("1", 2, 1, clock(12, 0), "a", 150))
	w.append(t, 0, first+2, first+1, spent("3", 1, 1, clock(12, 0), "a", 1000))
	wantCosts(t, "a time within a commit", w, map[string]int64{"a": 150, "b": 1}, func(o *spendReportOptions) { o.asOfText = "2026-06-01T13:00:30Z" })
}

func TestSpendTellsWhatCameSinceTheLastReport(t *testing.T) {
	w := historical(t)
	archive := w.archived(t, filepath.Join(t.TempDir(), "archive"))
	w.at = clock(16, 0)
	restated := spent("3", 2, 1, clock(14, 0), "c", 300)
	restated.Restatement, restated.CostContractedNanoUsd = "prices 2: list was wrong", schemas.SomeLong(250)
	w.say(t, 0, spent("3", 2, -1, clock(14, 0), "c", 200), restated)
	w.say(t, 1, spent("2", 2, -1, clock(12, 1), "b", 1000))
	w.say(t, 1, spent("9", 1, 1, clock(12, 2), "b", 5))
	w.expire(t, clock(14, 0))
	r, err := w.report(t, func(o *spendReportOptions) { o.archive, o.lastReportText = archive, "2026-06-01T15:00:00Z" })
	if err != nil {
		t.Fatal(err)
	}
	if want := (lateCounts{New: 1, Corrected: 1, Restated: 1, Withdrawn: 1}); r.Late.Counts != want {
		t.Errorf("%+v, want %+v", r.Late.Counts, want)
	}
	if got := r.Late.Restated[0].Change.Measures[spend.CostNanoUsd]; got != 100 || r.Late.New[0].Change.Measures[spend.CostNanoUsd] != 5 || r.Late.Withdrawn[0].Change.Measures[spend.CostNanoUsd] != -1000 {
		t.Errorf("%+v", r.Late)
	}
	if !reflect.DeepEqual(r.Late.Reasons, []spend.Reason{{Reason: "prices 2: list was wrong", Count: 1}}) {
		t.Errorf("%v", r.Late.Reasons)
	}
	var text bytes.Buffer
	if err := r.write("table", &text, &text); err != nil || !strings.Contains(text.String(), "1 new facts (0.000000005 USD unknown); 1 corrections; 1 restatements (0.0000001 USD unknown and 0.00000025 USD contracted); 1 facts taken back (-0.000001 USD unknown)") {
		t.Errorf("%v, %s", err, text.String())
	}
	if r, err := w.report(t, func(o *spendReportOptions) { o.archive = archive }); err != nil || r.Late == nil || r.Late.Counts != (lateCounts{}) || !r.Over {
		t.Errorf("since the end of a period that is over: %+v, %v", r, err)
	}
}

func TestSpendCheckNamesARetractionThatIsNot(t *testing.T) {
	w := historical(t)
	w.say(t, 1, spent("4", 2, -1, clock(14, 1), "", 8))
	o := spendPeriod{month: "2026-06"}
	if err := o.parse(); err != nil {
		t.Fatal(err)
	}
	checked, err := o.check(t.Context(), &installation{broker: w})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("the row of fact %s (session s), version 2, sign -1, takes back another row than version 1 has said: cost_nano_usd is 8 and not 7", schemas.FactKey("s", schemas.KindModelRequest, "4"))
	if checked.Found == 0 || checked.Faults[0] != want {
		t.Errorf("%+v, want %s", checked, want)
	}
	var text bytes.Buffer
	if err := checked.print(&text); err != nil || !strings.Contains(text.String(), want) || strings.Contains(text.String(), "agrees") {
		t.Errorf("%v, %s", err, text.String())
	}
}

func TestSpendRefusesSumsWithRowsMissing(t *testing.T) {
	w := historical(t)
	w.say(t, 1, spent("4", 2, -1, clock(14, 1), "elsewhere", 7))
	wantRefused(t, "report", w, `rows are missing or wrong, so the sums cannot be told ('flightlog spend check' says more): team "elsewhere", billing unknown, grade measured: -1 requests`, nil)
	w = newWorld()
	w.say(t, 1, spent("4", 2, -1, clock(14, 1), "a", 7))
	if _, err := w.reconcile(t, nil); err == nil || !strings.Contains(err.Error(), "rows are missing or wrong") || !strings.Contains(err.Error(), "-1 requests") {
		t.Errorf("reconcile: %v", err)
	}
}

// reconcile is what spend reconcile tells of facts of June.
func (w *world) reconcile(t *testing.T, change func(*spendReconcileOptions)) (*spendReconciled, error) {
	t.Helper()
	var o spendReconcileOptions
	o.month = "2026-06"
	if change != nil {
		change(&o)
	}
	if err := o.parse(); err != nil {
		t.Fatal(err)
	}
	return o.reconcile(t.Context(), &installation{broker: w})
}

// keptWorld is a world whose topic keeps rows for a time, and whose processor has
// committed them.
type keptWorld struct {
	*world
	kept time.Duration
}

func (w keptWorld) Kept(context.Context, string) (time.Duration, error) { return w.kept, nil }

// commit makes a commit with rows of partition 0, through the processor's log.
func (w keptWorld) commit(t *testing.T, rows ...schemas.Enriched) {
	t.Helper()
	o, err := w.Acquire(t.Context(), "sessions", 0, "worker")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Restore(t.Context(), func(*schemas.Commit) error { return nil }); err != nil {
		t.Fatal(err)
	}
	w.commits++
	c := &schemas.Commit{Processor: "sessions", Generation: 1, CommitNumber: w.commits, Epoch: o.Epoch(), Owner: "worker", Now: w.at.UnixMicro(), Watermark: w.at.UnixMicro(),
		Outputs: []schemas.Output{{Topic: broker.Enriched, Previous: w.last[0], Schema: int64(broker.RowSchema(broker.Enriched))}}}
	for _, r := range rows {
		c.Outputs[0].Rows = append(c.Outputs[0].Rows, r.AppendAvro(nil))
	}
	if err := o.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.last[0] = w.commits
	if err := o.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w keptWorld) told(t *testing.T) (*spendReport, error) {
	t.Helper()
	o := spendReportOptions{format: "json"}
	o.first = time.Now().Add(-48 * time.Hour).UTC().Format(time.DateOnly)
	if err := o.parse(); err != nil {
		t.Fatal(err)
	}
	return o.report(t.Context(), &installation{broker: w})
}

// TestATopicThatLostRowsWithinItsTimeIsSeen: a stream was purged, or is full.
func TestATopicThatLostRowsWithinItsTimeIsSeen(t *testing.T) {
	day := 24 * time.Hour
	w := keptWorld{newWorld(), 30 * day}
	w.at = time.Now().Add(-40 * day).UTC()
	w.commit(t, spent("1", 1, 1, w.at, "a", 1))
	w.at = time.Now().Add(-time.Hour).UTC()
	w.commit(t, spent("2", 1, 1, w.at, "a", 2))
	w.commit(t, spent("3", 1, 1, w.at, "a", 3))
	last := w.at.Truncate(time.Microsecond)
	w.expire(t, last)
	r, err := w.told(t)
	if err != nil {
		t.Fatalf("what age took: %v", err)
	}
	if p := r.Sources.Topic[0]; p.LostUntil != nil || p.HeldFrom == nil || p.HeldFrom.After(time.Now().Add(-29*day)) {
		t.Errorf("what age took: %+v", p)
	}

	w.at = time.Now().Add(-time.Minute).UTC()
	w.expire(t, w.at) // after an hour
	if _, err := w.told(t); err == nil || !strings.Contains(err.Error(), "partition 0 has lost rows that it should have kept, up to those of "+when(last)) {
		t.Errorf("an empty topic: %v", err)
	}
	w.commit(t, spent("4", 1, 1, w.at, "a", 4)) // brings the rows of the last commit before it again, and no more
	if _, err := w.told(t); err == nil || !strings.Contains(err.Error(), "holds all only since "+when(w.at.Truncate(time.Microsecond))+" (partition 0 has lost rows") {
		t.Errorf("a topic that goes on: %v", err)
	}
}

func TestSpendNeverAddsTwoGenerations(t *testing.T) {
	w := newWorld()
	other := spent("1", 1, 1, clock(12, 0), "a", 1)
	other.Generation = 2
	w.say(t, 0, other)
	wantRefused(t, "a row of another generation", w, "two are never added", nil)
}
