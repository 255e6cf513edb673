package replay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
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

func recordAll(t testing.TB, witnesses ...schemas.Witness) (all []*Recording) {
	t.Helper()
	for _, name := range recordings.Scenarios() {
		all = append(all, record(t, name, witnesses...))
	}
	return all
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

func TestExplore(t *testing.T) {
	all := recordAll(t)
	p, err := newPlan(all, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for _, r := range p.recordings {
		opaque := 0
		for i := range r.events {
			if f := r.events[i].fact; len(f) == 2 && f[0] == "" && len(f[1]) == 32 {
				opaque++
				ids[r.events[i].event.Witness.String()+" "+r.events[i].event.Kind.String()]++
			}
			for _, id := range idsOf(r.events[i].event) {
				if *id != "" && len(*id) != 36 && !strings.Contains(*id, "_01") {
					ids[*id]++
				}
			}
		}
		t.Logf("%s: %d sessions, %d events, %.1f s, %d opaque", r.Name, len(r.sessions()), len(r.events), float64(r.length())/1e6, opaque)
	}
	t.Log(ids)
	_ = sha256.Sum256
	_ = fmt.Sprint
}

func TestExactly(t *testing.T) {
	b, sent, expected := replay(t, recordAll(t), Options{Sessions: 3 * 60, Seed: 7, Duplicates: 0.1, Late: 0.05, LateBy: 10 * time.Second})
	t.Logf("%+v %+v", sent, expected.Total)
	differences, err := expected.Check(each(b.fold(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		t.Error(d)
	}
}
