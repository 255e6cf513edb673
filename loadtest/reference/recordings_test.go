package reference

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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

// sent is one event on its way to the processor, and the pause before it.
type sent struct {
	org   string
	event *schemas.Event
	pause time.Duration

	configure func(*engine.Harness, *Batch) error // before it, if it is set
}

// ending is how the sessions end.
type ending string

const (
	bySourceEnd ending = "source_end"
	bySilence   ending = "silence"
)

const start = int64(1_795_400_000_000_000)

// process brings events through the sessions processor until every session has
// ended, and gives what it was given and every row that it said. Events without
// a pause between them share a frame.
func process(t testing.TB, events []sent, end ending) (given []Input, said []schemas.Enriched, findings []schemas.Finding, batch Batch) {
	t.Helper()
	h := engine.NewHarness(sessions.New(), start)
	batch = Batch{Prices: []Version[*Prices]{{1, 0, builtinPrices(t)}}, Generation: 1}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	type session struct{ org, id string }
	var ended []session
	var frame schemas.Frame
	flush := func() {
		if len(frame.Segments) > 0 {
			check(h.Append(frame.AppendMessage(nil)))
		}
		frame.Segments = nil
	}
	for _, s := range events {
		if n := len(frame.Segments); n == 100 || s.pause > 0 {
			flush()
			check(h.Advance(s.pause))
		}
		if s.configure != nil {
			flush()
			check(s.configure(h, &batch))
		}
		frame.Segments = append(frame.Segments, schemas.Segment{Org: s.org, ProducerId: "test", Schema: schemas.EventSchema,
			Events: [][]byte{s.event.AppendAvro(nil)}})
		given = append(given, Input{s.org, h.Now, *s.event})
		if id := (session{s.org, s.event.SessionId}); !slices.Contains(ended, id) {
			ended = append(ended, id)
		}
	}
	flush()
	if end == bySourceEnd {
		for _, s := range ended {
			check(h.SourceEnd(s.org, s.id))
		}
	}
	for range 2 { // half an hour of silence, and again for what was said at its end
		check(h.Advance(31 * time.Minute))
	}
	for _, encoded := range h.Rows(broker.DeadLetters) {
		var d schemas.DeadLetter
		_, err := d.DecodeAvro(encoded)
		check(err)
		t.Fatalf("the fold made a dead letter: %s %s", d.Reason, d.Detail)
	}
	for _, encoded := range h.Rows(broker.Enriched) {
		var r schemas.Enriched
		_, err := r.DecodeAvro(encoded)
		check(err)
		said = append(said, r)
	}
	for _, encoded := range h.Rows(broker.Findings) {
		var f schemas.Finding
		_, err := f.DecodeAvro(encoded)
		check(err)
		findings = append(findings, f)
	}
	return given, said, findings, batch
}

// agree checks the processor's rows against the reference and says whether they
// agree.
func agree(t testing.TB, what string, events []sent, end ending) bool {
	t.Helper()
	return agreed(t, what, events, end, false)
}

// agreeInAll checks the findings, too.
func agreeInAll(t testing.TB, what string, events []sent, end ending) bool {
	t.Helper()
	return agreed(t, what, events, end, true)
}

func agreed(t testing.TB, what string, events []sent, end ending, inAll bool) bool {
	t.Helper()
	given, said, findings, batch := process(t, events, end)
	want := batch.Rows(given)
	final, problems := Final(said)
	problems = append(problems, Compare(want, final)...)
	problems = append(problems, CompareSums(Sums(want), Sums(said))...)
	if inAll {
		problems = append(problems, compareFindings(batch.Findings(given), findings)...)
	}
	for _, p := range problems[:min(len(problems), 10)] {
		t.Errorf("%s, ended by %s: %s", what, end, p)
	}
	if len(want) == 0 {
		t.Errorf("%s: no rows were compared", what)
	}
	return len(problems) == 0 && len(want) > 0
}

func builtinPrices(t testing.TB) *Prices {
	t.Helper()
	data, err := os.ReadFile("../../processors/pricing/prices.json")
	if err != nil {
		t.Fatal(err)
	}
	prices, err := ParsePrices(data, 1)
	if err != nil {
		t.Fatal(err)
	}
	return prices
}

// collector keeps what the readers make.
type collector []*schemas.Event

func (c *collector) Event(e *schemas.Event) error {
	var kept schemas.Event
	_, err := kept.DecodeAvro(e.AppendAvro(nil))
	*c = append(*c, &kept)
	return err
}

func (c *collector) DeadLetter(*schemas.DeadLetter) error { return nil }

// observed are the events of one recorded scenario as the producers read them,
// of some witnesses, in order of time.
func observed(t testing.TB, dir string, mode schemas.CaptureMode, witnesses ...schemas.Witness) []sent {
	t.Helper()
	var c collector
	sink := redaction.NewSink(mode, &c)
	lines := func(name string, w schemas.Witness, read func(int64, []byte) error) {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			defer f.Close()
			err = producers.Lines(f, name, w, sink, read)
		}
		if err != nil {
			t.Fatalf("%s/%s: %v", dir, name, err)
		}
	}
	for _, w := range witnesses {
		switch w {
		case schemas.WitnessHook:
			lines("hooks.ndjson", w, hooks.New(sink, claudecode.Options{}).Recorded)
		case schemas.WitnessOtlp:
			for _, name := range []string{"otlp-logs.ndjson", "otlp-metrics.ndjson", "otlp-traces.ndjson"} {
				lines(name, w, otlp.New(sink).Recorded)
			}
		case schemas.WitnessTranscript:
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
	}
	slices.SortStableFunc(c, func(a, b *schemas.Event) int { return cmp.Compare(a.OccurredAt, b.OccurredAt) })
	var events []sent
	for _, e := range c {
		events = append(events, sent{org: "acme", event: e})
	}
	return events
}

var witnessSets = [][]schemas.Witness{
	{schemas.WitnessHook}, {schemas.WitnessTranscript}, {schemas.WitnessOtlp},
	{schemas.WitnessHook, schemas.WitnessTranscript}, {schemas.WitnessHook, schemas.WitnessOtlp},
	{schemas.WitnessTranscript, schemas.WitnessOtlp},
	{schemas.WitnessHook, schemas.WitnessTranscript, schemas.WitnessOtlp},
}

// arrivals are orders and paces in which the same events may come.
var arrivals = map[string]func(random *rand.Rand, events []sent) []sent{
	"as recorded": func(_ *rand.Rand, events []sent) []sent { return events },
	"slowly": func(_ *rand.Rand, events []sent) []sent {
		return paced(events, func(i int) time.Duration { return 7 * time.Second })
	},
	"backwards": func(_ *rand.Rand, events []sent) []sent {
		slices.Reverse(events)
		return paced(events, func(i int) time.Duration { return time.Duration(i%3) * 20 * time.Second })
	},
	"shuffled and some of it twice": func(random *rand.Rand, events []sent) []sent {
		events = append(events, events[:random.IntN(len(events)+1)]...)
		random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		return paced(events, func(int) time.Duration { return time.Duration(random.IntN(40)-30) * time.Second })
	},
	"witness by witness, an hour apart": func(_ *rand.Rand, events []sent) []sent {
		slices.SortStableFunc(events, func(a, b sent) int { return cmp.Compare(b.event.Witness, a.event.Witness) })
		return paced(events, func(i int) time.Duration {
			if i > 0 && events[i].event.Witness != events[i-1].event.Witness {
				return time.Hour
			}
			return 0
		})
	},
}

// paced sets the pause before each event; less than none is none.
func paced(events []sent, pause func(i int) time.Duration) []sent {
	for i := range events {
		events[i].pause = max(0, pause(i))
	}
	return events
}

// Two organisations' recordings in one partition, in a mode with texts.
func TestAllRecordingsTogetherEndAsTheReferenceSays(t *testing.T) {
	root := recordings.Dir(t)
	var events []sent
	for i, scenario := range recordings.Scenarios() {
		for _, s := range observed(t, filepath.Join(root, scenario), schemas.CaptureModeRedacted, witnessSets[len(witnessSets)-1]...) {
			events = append(events, sent{org: []string{"acme", "other"}[i%2], event: s.event})
		}
	}
	slices.SortStableFunc(events, func(a, b sent) int { return cmp.Compare(a.event.OccurredAt, b.event.OccurredAt) })
	agreeInAll(t, "all recordings", events, bySourceEnd)
	agreeInAll(t, "all recordings, some time apart", paced(events, func(i int) time.Duration { return time.Duration(i%50-45) * time.Second }), bySilence)
}

func TestEveryRecordingInAnyOrderEndsAsTheReferenceSays(t *testing.T) {
	root := recordings.Dir(t)
	for _, scenario := range recordings.Scenarios() {
		t.Run(scenario, func(t *testing.T) {
			for _, witnesses := range witnessSets {
				events := observed(t, filepath.Join(root, scenario), schemas.CaptureModeMetadata, witnesses...)
				if len(events) == 0 {
					continue
				}
				for _, name := range slices.Sorted(maps.Keys(arrivals)) {
					random := rand.New(rand.NewPCG(uint64(len(events)), uint64(len(name))))
					arrived := arrivals[name](random, slices.Clone(events))
					for _, end := range []ending{bySourceEnd, bySilence} {
						if !agreeInAll(t, fmt.Sprint(witnesses, " ", name), arrived, end) {
							return
						}
					}
				}
			}
		})
	}
}
