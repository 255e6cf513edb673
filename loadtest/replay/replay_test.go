package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/claudecode/hooks"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/producers/redaction"
	"github.com/flightlog/flightlog/schemas"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// record reads one recorded scenario as the given witnesses told it; none =
// all of them.
func record(t testing.TB, name string, witnesses ...schemas.Witness) *Recording {
	t.Helper()
	dir := filepath.Join(recordings.Dir(t), name)
	truth, err := recordings.Endpoint(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &Recording{Name: name, Truth: truth}
	sink := redaction.NewSink(schemas.CaptureModeMetadata, r)
	lines := func(file string, w schemas.Witness, line func(int64, []byte) error) {
		f, err := os.Open(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) || len(witnesses) > 0 && !slices.Contains(witnesses, w) {
			return
		}
		if err == nil {
			defer f.Close()
			err = producers.Lines(f, file, w, sink, line)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lines("hooks.ndjson", schemas.WitnessHook, hooks.New(sink, claudecode.Options{}).Recorded)
	for _, file := range []string{"otlp-logs.ndjson", "otlp-metrics.ndjson", "otlp-traces.ndjson"} {
		lines(file, schemas.WitnessOtlp, otlp.New(sink).Recorded)
	}
	if len(witnesses) == 0 || slices.Contains(witnesses, schemas.WitnessTranscript) {
		files, err := transcripts.Find(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := transcripts.ReadFile(context.Background(), file, claudecode.Options{}, sink); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

// recordAll reads every recorded scenario. All tests share what all witnesses
// told: a replay does not change it.
func recordAll(t testing.TB, witnesses ...schemas.Witness) (all []*Recording) {
	t.Helper()
	if len(witnesses) == 0 {
		shared.Lock()
		defer shared.Unlock()
		if shared.all != nil {
			return shared.all
		}
		defer func() { shared.all = all }()
	}
	for _, name := range recordings.Scenarios() {
		all = append(all, record(t, name, witnesses...))
	}
	return all
}

var shared struct {
	sync.Mutex
	all []*Recording
}

// input is a broker that takes messages of its partitions and does nothing
// else; what it takes is kept, or handed to took.
type input struct {
	broker.Broker
	partitions int
	took       func(partition int, message []byte)

	mu   sync.Mutex
	logs [][][]byte
}

func newInput(partitions int) *input {
	return &input{partitions: partitions, logs: make([][][]byte, partitions)}
}

func (b *input) Partitions(context.Context) (int, error) { return b.partitions, nil }

func (b *input) Append(ctx context.Context, to broker.Log, message []byte) (uint64, error) {
	if b.took != nil {
		b.took(to.Partition, message)
		return 1, ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs[to.Partition] = append(b.logs[to.Partition], slices.Clone(message))
	return uint64(len(b.logs[to.Partition])), ctx.Err()
}

// events are the events of a partition, in order, decoded by each.
func (b *input) events(t testing.TB, partition int, each func(*schemas.Segment, *schemas.Event)) {
	t.Helper()
	for _, message := range b.logs[partition] {
		if fingerprint, _ := schemas.MessageFingerprint(message); fingerprint == schemas.ControlFingerprint {
			continue
		}
		var f schemas.Frame
		if err := f.DecodeMessage(message); err != nil {
			t.Fatal(err)
		}
		for i := range f.Segments {
			for _, encoded := range f.Segments[i].Events {
				var e schemas.Event
				if rest, err := e.DecodeAvro(encoded); err != nil || len(rest) > 0 {
					t.Fatal(err, len(rest))
				}
				each(&f.Segments[i], &e)
			}
		}
	}
}

// fold folds what a broker took and gives all rows.
func (b *input) fold(t testing.TB) (rows []schemas.Enriched) {
	t.Helper()
	for _, messages := range b.logs {
		h := engine.NewHarness(sessions.New(), start.UnixMicro())
		for _, m := range messages {
			if err := h.Append(m); err != nil {
				t.Fatal(err)
			}
			h.Now += 20_000
		}
		for _, encoded := range h.Rows(broker.DeadLetters) {
			var d schemas.DeadLetter
			_, err := d.DecodeAvro(encoded)
			t.Fatalf("the fold made a dead letter: %s %s (%v)", d.Reason, d.Detail, err)
		}
		for _, encoded := range h.Rows(broker.Enriched) {
			var r schemas.Enriched
			if _, err := r.DecodeAvro(encoded); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func each(rows []schemas.Enriched) iter.Seq2[*schemas.Enriched, error] {
	return func(yield func(*schemas.Enriched, error) bool) {
		for i := range rows {
			if !yield(&rows[i], nil) {
				return
			}
		}
	}
}

func replay(t testing.TB, all []*Recording, o Options) (*input, *Summary, *Expectation) {
	t.Helper()
	b := newInput(4)
	if o.Start.IsZero() {
		o.Start = start
	}
	if o.Frame == 0 {
		o.Frame = 100
	}
	o.Org = "loadtest"
	sent, expected, err := Run(t.Context(), b, all, o)
	if err != nil {
		t.Fatal(err)
	}
	return b, sent, expected
}

// same is a check that fails a test with every difference.
func same(t *testing.T, e *Expectation, rows []schemas.Enriched) {
	t.Helper()
	differences, err := e.Check(each(rows))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		t.Error(d)
	}
}

func TestTwentyOfEverySessionAddUpToWhatIsExpected(t *testing.T) {
	all := recordAll(t)
	sessions := int64(0)
	for _, r := range all {
		sessions += int64(len(newPattern(r, 1).sessions))
	}
	copies := int64(20)
	if testing.Short() {
		copies = 2
	}
	b, sent, expected := replay(t, all, Options{Sessions: copies * sessions, Seed: 7, Duplicates: 0.1, Late: 0.05, LateBy: 10 * time.Second})
	if sent.Sessions != copies*sessions || sent.Duplicates == 0 || sent.Late == 0 || expected.Total.Bill.Requests == 0 {
		t.Errorf("sent %+v, expected %+v", sent, expected.Total)
	}
	same(t, expected, b.fold(t))
}

func TestEverySetOfWitnessesAddsUpToWhatIsExpected(t *testing.T) {
	const h, tr, o = schemas.WitnessHook, schemas.WitnessTranscript, schemas.WitnessOtlp
	for _, witnesses := range [][]schemas.Witness{{h}, {tr}, {o}, {h, tr}, {h, o}, {tr, o}} {
		b, _, expected := replay(t, recordAll(t, witnesses...), Options{Seed: 1, Duplicates: 0.1, Late: 0.1, LateBy: time.Minute})
		same(t, expected, b.fold(t))
	}
}

func TestSessionsThatGoFasterAddUpToWhatIsExpected(t *testing.T) {
	b, sent, expected := replay(t, recordAll(t), Options{Seed: 3, Speed: 500, Duplicates: 0.1, Late: 0.1, LateBy: 50 * time.Millisecond, Frame: 4})
	if sent.Seconds < 104.0/500 {
		t.Errorf("a session of 104 s took %.3f s", sent.Seconds)
	}
	same(t, expected, b.fold(t))
	for p := range b.logs {
		b.events(t, p, func(_ *schemas.Segment, e *schemas.Event) {
			if at := time.UnixMicro(e.OccurredAt); at.Before(start) || at.After(start.Add(time.Second)) {
				t.Fatalf("an event of a run of %.3f s from %s happened at %s", sent.Seconds, start, at)
			}
		})
	}
}

// sentTo is what was sent to each partition: events in order, and how many of
// them each frame held.
func (b *input) sentTo(t testing.TB) (events [][]string, frames []int) {
	t.Helper()
	for p := range b.logs {
		var encoded []string
		next := int64(0)
		var last *schemas.Segment
		b.events(t, p, func(s *schemas.Segment, e *schemas.Event) {
			if s != last {
				if s.FirstSequence != next {
					t.Errorf("partition %d: sequence %d, want %d", p, s.FirstSequence, next)
				}
				last, next = s, next+int64(len(s.Events))
				frames = append(frames, len(s.Events))
			}
			encoded = append(encoded, string(e.AppendAvro(nil)))
		})
		events = append(events, encoded)
	}
	return events, frames
}

func TestOneSeedSendsTheSameInTheSameOrder(t *testing.T) {
	all := recordAll(t)
	o := Options{Sessions: 200, Seed: 11, Duplicates: 0.1, Late: 0.1, LateBy: 5 * time.Second}
	first, sent, expected := replay(t, all, o)
	o.Frame = 7
	again, _, expectedAgain := replay(t, recordAll(t), o)
	events, _ := first.sentTo(t)
	eventsAgain, frames := again.sentTo(t)
	if !reflect.DeepEqual(events, eventsAgain) {
		t.Error("the same seed sent something else")
	}
	if expected.Sent, expectedAgain.Sent = (Summary{}), (Summary{}); !reflect.DeepEqual(expected, expectedAgain) {
		t.Error("the same seed expects something else")
	}
	short := 0
	for _, n := range frames {
		if n != 7 {
			short++
		}
	}
	if short > 4 {
		t.Errorf("%d of %d frames do not hold 7 events; one of each partition may", short, len(frames))
	}

	count := func(events [][]string) (different map[string]bool, all int64) {
		different = map[string]bool{}
		for p := range events {
			for _, e := range events[p] {
				different[e[:16]] = true
				all++
			}
		}
		return different, all
	}
	ids, n := count(events)
	if n != sent.Events || int64(len(ids)) != expected.DistinctEvents || sent.Events-sent.Duplicates < expected.DistinctEvents {
		t.Errorf("%d events with %d event_ids came; sent %+v, expected %d", n, len(ids), sent, expected.DistinctEvents)
	}
}

func TestAsManySessionsAreSentAsWereAskedFor(t *testing.T) {
	p, err := newPlan(recordAll(t), Options{Start: start}, 4)
	if err != nil {
		t.Fatal(err)
	}
	for want := int64(1); want < 200; want++ {
		var sessions, before int64
		for number := range p.copiesFor(want) {
			before, sessions = sessions, sessions+int64(len(p.patternOf(number).sessions))
		}
		if sessions < want || before >= want {
			t.Errorf("%d sessions, %d without the last copy, want %d", sessions, before, want)
		}
	}
}

func TestAnotherSeedSendsOtherSessions(t *testing.T) {
	sent := map[string]bool{}
	for seed := range uint64(10) {
		_, _, expected := replay(t, []*Recording{record(t, "success")}, Options{Sessions: 100, Seed: seed})
		for id := range expected.Sessions() {
			sent[id] = true
		}
	}
	if len(sent) != 1000 {
		t.Errorf("%d different sessions, want 1000", len(sent))
	}
}

func TestACopyHasIdsOfItsOwnThatAreMadeAsTheReadersMakeThem(t *testing.T) {
	for _, name := range []string{"success", "resume", "subagent", "git-commit", "pull-request", "interactive", "api-retries"} {
		p, err := newPlan([]*Recording{record(t, name)}, Options{Start: start}, 4)
		if err != nil {
			t.Fatal(err)
		}
		of := map[schemas.Id]int64{} // copy that has a fact
		taken := map[string]int64{}  // copy that has an id
		for number := range int64(20) {
			c := p.copyOf(number)
			renamed := map[string]string{}
			for i, t0 := range c.templates {
				var e, original schemas.Event
				encoded := c.appendEvent(nil, i)
				if rest, err := e.DecodeAvro(encoded); err != nil || len(rest) > 0 {
					t.Fatal(err, len(rest))
				}
				if _, err := original.DecodeAvro(t0.encoded); err != nil {
					t.Fatal(err)
				}
				if want := c.begin + t0.occurred; e.OccurredAt != want {
					t.Errorf("%s: happened at %d, want %d", name, e.OccurredAt, want)
				}
				key, id := e.FactKey, e.EventId
				if schemas.SetEventID(&e); e.EventId != id {
					t.Fatalf("%s: event_id %s, want %s", name, id, e.EventId)
				}
				if other, ok := of[key]; ok && other != number {
					t.Errorf("%s: copies %d and %d have one fact", name, number, other)
				}
				of[key] = number
				now := idsOf(&e)
				for i, old := range idsOf(&original) {
					got := *now[i]
					if len(got) != len(*old) || *old != "" && got == *old {
						t.Errorf("%s: %q became %q", name, *old, got)
					}
					if before, ok := renamed[*old]; ok && before != got {
						t.Errorf("%s: %q became %q and %q", name, *old, before, got)
					}
					renamed[*old] = got
					if other, ok := taken[got]; ok && other != number && len(got) > 7 {
						t.Errorf("%s: copies %d and %d have one id %q", name, number, other, got)
					}
					taken[got] = number
				}
				switch e.Kind { // what the fold and others look facts up by
				case schemas.KindPrompt:
					if want := schemas.FactKey(e.SessionId, e.Kind, e.PromptId); key != want {
						t.Errorf("%s: prompt %s is fact %s, want %s", name, e.PromptId, key, want)
					}
				case schemas.KindToolCall:
					if want := schemas.FactKey(e.SessionId, e.Kind, e.ToolUseId); key != want {
						t.Errorf("%s: call %s is fact %s, want %s", name, e.ToolUseId, key, want)
					}
				case schemas.KindModelRequest:
					if want := schemas.FactKey(e.SessionId, e.Kind, e.RequestId); key != want {
						t.Errorf("%s: request %s is fact %s, want %s", name, e.RequestId, key, want)
					}
				}
			}
		}
	}
}

// standing is the state of each fact: the +1 row of its highest version, without
// what only tells how it came about.
func standing(rows []schemas.Enriched) map[schemas.Id]schemas.Enriched {
	last := map[schemas.Id]schemas.Enriched{}
	for _, r := range rows {
		if old, ok := last[r.FactKey]; !ok || r.Version > old.Version || r.Version == old.Version && r.Sign > 0 {
			last[r.FactKey] = r
		}
	}
	for key, r := range last {
		if r.Sign < 0 {
			delete(last, key)
			continue
		}
		r.RowId, r.Version, r.Final, r.EventId = schemas.Id{}, 0, false, schemas.Id{}
		last[key] = r
	}
	return last
}

func TestTheRowsOfACopyAreThoseOfTheRecordingButForIdsAndTimes(t *testing.T) {
	for _, scenario := range recordings.Scenarios() {
		recording := record(t, scenario)
		original := newInput(1)
		events := slices.Clone(recording.events)
		sort.SliceStable(events, func(i, j int) bool { return events[i].OccurredAt < events[j].OccurredAt })
		var ends schemas.Control
		ends.Type, ends.Org = schemas.ControlTypeSourceEnd, "loadtest"
		for _, e := range events {
			f := schemas.Frame{Segments: []schemas.Segment{{Org: "loadtest", Schema: schemas.EventSchema, Events: [][]byte{e.AppendAvro(nil)}}}}
			original.logs[0] = append(original.logs[0], f.AppendMessage(nil))
			if id := schemas.SessionKey("loadtest", e.SessionId); !slices.Contains(ends.Sessions, id) {
				ends.Sessions = append(ends.Sessions, id)
			}
		}
		original.logs[0] = append(original.logs[0], ends.AppendMessage(nil))

		o := Options{Seed: 5, Sessions: 3, Start: start}
		b, _, _ := replay(t, []*Recording{recording}, o)
		copies := standing(b.fold(t))
		p, err := newPlan([]*Recording{recording}, o, 4)
		if err != nil {
			t.Fatal(err)
		}
		begin := events[0].OccurredAt
		found := 0
		for number := range p.most {
			c, name := p.copyOf(number), nameOf(o.Seed, number)
			keys := map[schemas.Id]schemas.Id{}
			names := factNames(recording.events)
			for _, e := range recording.events {
				keys[e.FactKey] = schemas.FactKey(name.renamed(e.SessionId), e.Kind, name.factID(names[e.FactKey]))
			}
			for key, want := range standing(original.fold(t)) {
				for _, id := range []*string{&want.SessionId, &want.RootSessionId, &want.ParentSessionId, &want.PromptId,
					&want.AgentRunId, &want.ParentAgentRunId, &want.RequestId, &want.ToolUseId, &want.CommitId} {
					*id = name.renamed(*id)
				}
				if want.TaskIdSource == schemas.TaskIdSourceSession {
					want.TaskId = name.renamed(want.TaskId)
				}
				want.OccurredAt += c.begin - begin
				var ok bool
				if want.FactKey, ok = keys[key]; !ok { // the fold made it
					want.FactKey = schemas.FactKey(want.SessionId, schemas.KindSessionEnd, "end")
				}
				found++
				if got := copies[want.FactKey]; got != want {
					t.Errorf("%s, copy %d: row\n%+v, want\n%+v", scenario, number, got, want)
				}
			}
		}
		if found != len(copies) {
			t.Errorf("%s: %d facts, want %d", scenario, len(copies), found)
		}
	}
}

func TestTheNewestEventLiesAtTheStart(t *testing.T) {
	all := recordAll(t)
	for name, o := range map[string]Options{"one": {Sessions: 1, Seed: 3}, "many, some of them late": {Sessions: 200, Seed: 3, Late: 0.2, LateBy: time.Minute}} {
		times := func(o Options) (newest int64, of map[schemas.Id]int64) {
			b, _, _ := replay(t, all, o)
			of = map[schemas.Id]int64{}
			for p := range b.logs {
				b.events(t, p, func(_ *schemas.Segment, e *schemas.Event) {
					at := e.OccurredAt
					if e.Signal == schemas.SignalSpan {
						at += e.DurationMs.Value * 1000
					}
					newest, of[schemas.SessionKey("loadtest", e.SessionId)] = max(newest, at), at
				})
			}
			return newest, of
		}
		before, was := times(o)
		o.EndAtStart = true
		newest, is := times(o)
		if newest != start.UnixMicro() || before >= newest {
			t.Errorf("%s: the newest event is %v before the start, without the option %v", name, start.Sub(time.UnixMicro(newest)), start.Sub(time.UnixMicro(before)))
		}
		moved := 0
		for session, at := range is {
			if at != was[session] {
				moved++
			}
		}
		if copies := len(is); moved == 0 || moved > 3 || moved == copies && copies > 3 {
			t.Errorf("%s: %d of %d sessions were moved, want those of the first copy", name, moved, copies)
		}
	}
}

func TestALiveReplayIsAtItsStartAsItIs(t *testing.T) {
	o := Options{Sessions: 3, Seed: 3, Speed: 1000}
	b, _, _ := replay(t, []*Recording{record(t, "success")}, o)
	o.EndAtStart = true
	same, _, _ := replay(t, []*Recording{record(t, "success")}, o)
	events := func(b *input) (ids []string) {
		for p := range b.logs {
			b.events(t, p, func(_ *schemas.Segment, e *schemas.Event) { ids = append(ids, e.EventId.String()) })
		}
		return ids
	}
	if got, want := events(same), events(b); !slices.Equal(got, want) || len(got) == 0 {
		t.Errorf("%d events differ from %d without the option", len(got), len(want))
	}
}

func TestASpanIsSentWhenItEnds(t *testing.T) {
	spans, before := 0, int64(0)
	for _, sent := range newPattern(record(t, "otlp-all"), 10).templates {
		var e schemas.Event
		if _, err := e.DecodeAvro(sent.encoded); err != nil {
			t.Fatal(err)
		}
		want := sent.occurred
		if e.Signal == schemas.SignalSpan {
			spans++
			want += e.DurationMs.Value * 100
		}
		if sent.at < want || sent.at > want+1 || sent.at < before {
			t.Errorf("%s %s is sent at %d after %d, want %d", e.Signal, e.Kind, sent.at, before, want)
		}
		before = sent.at
	}
	if spans == 0 {
		t.Error("no spans")
	}
}

func TestEverySessionEndsAfterItsLastEvent(t *testing.T) {
	b, sent, expected := replay(t, recordAll(t), Options{Sessions: 500, Duplicates: 0.2, Late: 0.2, LateBy: time.Minute, Frame: 10})
	over := map[schemas.Id]bool{}
	for _, messages := range b.logs {
		for _, m := range messages {
			var end schemas.Control
			if end.DecodeMessage(m) == nil {
				for _, id := range end.Sessions {
					over[id] = true
				}
				continue
			}
			var f schemas.Frame
			if err := f.DecodeMessage(m); err != nil {
				t.Fatal(err)
			}
			for _, encoded := range f.Segments[0].Events {
				var e schemas.Event
				if _, err := e.DecodeAvro(encoded); err != nil {
					t.Fatal(err)
				}
				delete(over, schemas.SessionKey("loadtest", e.SessionId))
			}
		}
	}
	if int64(len(over)) != sent.Sessions {
		t.Errorf("%d of %d sessions have ended", len(over), sent.Sessions)
	}
	for id := range expected.Sessions() {
		if !over[schemas.SessionKey("loadtest", id)] {
			t.Errorf("session %s has not ended", id)
		}
	}
}

func TestEventsComeAtTheRateThatWasAskedFor(t *testing.T) {
	for _, o := range []Options{{Rate: 4000, Sessions: 20}, {Rate: 4000, Sessions: 20, Speed: 100}} {
		_, sent, _ := replay(t, []*Recording{record(t, "success")}, o)
		if least := float64(sent.Events-52) / o.Rate; sent.Seconds < least*0.9 { // a live session takes its time
			t.Errorf("%d events at %v events/s took %.3f s, want %.3f s or more", sent.Events, o.Rate, sent.Seconds, least)
		}
	}
}

func TestARunThatTimeEndsSendsEverySessionToItsEnd(t *testing.T) {
	b, sent, expected := replay(t, recordAll(t), Options{For: 100 * time.Millisecond, Seed: 2, Late: 0.1, LateBy: time.Minute})
	if sent.Seconds < 0.1 || sent.Sessions == 0 {
		t.Errorf("sent %+v", sent)
	}
	short, _, expected2 := replay(t, recordAll(t), Options{For: 100 * time.Millisecond, Sessions: 9, Speed: 2000, Seed: 2})
	same(t, expected2, short.fold(t))
	facts := map[schemas.Id]bool{}
	for p := range b.logs {
		b.events(t, p, func(_ *schemas.Segment, e *schemas.Event) { facts[e.EventId] = true })
	}
	if int64(len(facts)) != expected.DistinctEvents {
		t.Errorf("%d event_ids, want %d", len(facts), expected.DistinctEvents)
	}
}

func TestMemoryDoesNotGrowWithTheNumberOfSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("sends half a million events")
	}
	var most uint64
	var m runtime.MemStats
	nowhere := newInput(4)
	nowhere.took = func(int, []byte) {}
	_, _, err := Run(t.Context(), nowhere, recordAll(t), Options{Org: "loadtest", Sessions: 10_000, Late: 0.02, LateBy: time.Second, Frame: 100,
		Progress: func(sent Summary) {
			if sent.Events%(64<<10) == 0 {
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("at most %d KiB live", most>>10)
	if most == 0 || most > 32<<20 {
		t.Errorf("%d bytes are live, want less than 32 MiB", most)
	}
}

func TestTheExpectationIsReadBackAndListsEverySession(t *testing.T) {
	_, sent, want := replay(t, recordAll(t), Options{Sessions: 300, Seed: 9})
	var text bytes.Buffer
	if err := want.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got Expectation
	if err := json.Unmarshal(text.Bytes(), &got); err != nil || !reflect.DeepEqual(&got, want) {
		t.Errorf("%v: %+v, want %+v", err, got, want)
	}
	var listed struct {
		Recordings []struct{ Sessions []Sums }
		Sessions   []struct {
			SessionID          string `json:"session_id"`
			Recording, Session int
		}
	}
	if err := json.Unmarshal(text.Bytes(), &listed); err != nil || int64(len(listed.Sessions)) != sent.Sessions {
		t.Fatalf("%v: %d sessions listed, want %d", err, len(listed.Sessions), sent.Sessions)
	}
	i := 0
	for id, sums := range got.Sessions() {
		s := listed.Sessions[i]
		if s.SessionID != id || !reflect.DeepEqual(listed.Recordings[s.Recording].Sessions[s.Session], sums) {
			t.Errorf("session %d: %+v, want %s", i, s, id)
		}
		i++
	}
}

func TestACheckFindsWhatIsWrong(t *testing.T) {
	b, _, expected := replay(t, []*Recording{record(t, "success"), record(t, "resume")}, Options{Sessions: 6})
	rows := b.fold(t)
	request := slices.IndexFunc(rows, func(r schemas.Enriched) bool { return r.Kind == schemas.KindModelRequest })
	for name, change := range map[string]struct {
		rows func([]schemas.Enriched) []schemas.Enriched
		want string // part of a difference; empty = there is none
	}{
		"nothing":           {func(r []schemas.Enriched) []schemas.Enriched { return r }, ""},
		"all rows twice":    {func(r []schemas.Enriched) []schemas.Enriched { return append(r, r...) }, ""},
		"another's rows":    {func(r []schemas.Enriched) []schemas.Enriched { r[0].Org = "other"; return append(r, r[0]) }, "want"},
		"a lost row":        {func(r []schemas.Enriched) []schemas.Enriched { return slices.Delete(r, request, request+1) }, "model_request"},
		"no rows":           {func([]schemas.Enriched) []schemas.Enriched { return nil }, "session_end 0, want 1"},
		"a fact said twice": {func(r []schemas.Enriched) []schemas.Enriched { n := r[0]; n.RowId[0]++; return append(r, n) }, "want"},
		"a wrong cost":      {func(r []schemas.Enriched) []schemas.Enriched { r[request].CostNanoUsd.Value++; return r }, "bill"},
		"a token too many":  {func(r []schemas.Enriched) []schemas.Enriched { r[request].TokenCacheRead.Value++; return r }, "bill"},
		"an unknown session": {func(r []schemas.Enriched) []schemas.Enriched {
			n := r[0]
			n.RowId[0]++
			n.SessionId = "x"
			return append(r, n)
		}, "session x, which was not sent"},
	} {
		differences, err := expected.Check(each(change.rows(slices.Clone(rows))))
		if all := strings.Join(differences, "\n"); err != nil || (all == "") != (change.want == "") || !strings.Contains(all, change.want) {
			t.Errorf("%s: %q, %v; want %q", name, all, err, change.want)
		}
	}
	broken := errors.New("broken")
	if _, err := expected.Check(func(yield func(*schemas.Enriched, error) bool) { yield(nil, broken) }); !errors.Is(err, broken) {
		t.Errorf("rows that cannot be read: %v", err)
	}
}

func TestABrokerThatTakesNothingEndsTheRun(t *testing.T) {
	b := newInput(4)
	ctx, stop := context.WithCancelCause(t.Context())
	broken := errors.New("broken")
	b.took = func(partition int, _ []byte) {
		if partition == 2 {
			stop(broken)
		}
	}
	if _, _, err := Run(ctx, b, recordAll(t), Options{Org: "loadtest", Sessions: 1000, Frame: 100}); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	if _, _, err := Run(t.Context(), refusing{b}, recordAll(t), Options{Org: "loadtest", Sessions: 1000, Frame: 100}); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("%v, want %v", err, broker.ErrTooLarge)
	}
}

type refusing struct{ *input }

func (refusing) Append(context.Context, broker.Log, []byte) (uint64, error) {
	return 0, broker.ErrTooLarge
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"frame":      {Frame: 101},
		"duplicates": {Frame: 1, Duplicates: 1.1},
		"late":       {Frame: 1, Late: -1},
		"speed":      {Frame: 1, Speed: math.NaN()},
		"start":      {Frame: 1, Start: time.Unix(0, 0)},
		"sessions":   {Frame: 1, Sessions: -1},
	} {
		if _, _, err := Run(t.Context(), newInput(1), nil, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Run(t.Context(), newInput(1), []*Recording{{Name: "empty"}}, Options{Frame: 1}); err == nil {
		t.Error("a recording without events was replayed")
	}
}
