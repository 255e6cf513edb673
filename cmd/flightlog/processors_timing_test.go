package main

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/loadtest/replay"
	"github.com/flightlog/flightlog/processors/changes"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/processors/tasks"
	"github.com/flightlog/flightlog/schemas"
)

const (
	benchUsers = 5000
	benchRepos = 500
	benchRate  = 2500 // events/s: one of each user in two seconds
)

// usersAtWork are frames of events of that many copies of recorded sessions, one
// user each, of 500 repositories, all at the same time.
func usersAtWork(b *testing.B) (frames [][]byte, events int) {
	all, err := readRecordings(b.Context(), []string{recordings.Dir(b)})
	if err != nil {
		b.Fatal(err)
	}
	log := memory.New(1)
	if _, _, err := replay.Run(b.Context(), log, all, replay.Options{Org: "acme", Sessions: benchUsers, Frame: 100, Seed: 1}); err != nil {
		b.Fatal(err)
	}
	type step struct {
		number  int
		encoded []byte
	}
	var steps []step
	of := map[string]int{} // events of a session so far
	names := map[string]int{}
	for _, lane := range []schemas.Lane{schemas.LaneCritical, schemas.LaneNormal} {
		if err := broker.Scan(b.Context(), log, broker.Log{Topic: broker.Events, Lane: lane}, func(m broker.Message) error {
			var f schemas.Frame
			if f.DecodeMessage(m.Payload) != nil {
				return nil // a control record
			}
			for _, s := range f.Segments {
				for _, encoded := range s.Events {
					var e schemas.Event
					if err := e.DecodeMessage(schemas.AppendRecord(nil, uint64(s.Schema), encoded)); err != nil {
						return err
					}
					n, ok := names[e.SessionId]
					if !ok {
						n = len(names)
						names[e.SessionId] = n
					}
					e.User, e.Owner = fmt.Sprintf("user-%d@example.com", n), fmt.Sprintf("user-%d@example.com", n)
					e.Repo = fmt.Sprintf("github.com/example/repo-%d", n%benchRepos)
					schemas.SetEventID(&e)
					steps = append(steps, step{of[e.SessionId], e.AppendAvro(nil)})
					of[e.SessionId]++
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	slices.SortStableFunc(steps, func(x, y step) int { return cmp.Compare(x.number, y.number) })
	for chunk := range slices.Chunk(steps, 100) {
		s := schemas.Segment{Org: "acme", ProducerId: "bench", Schema: schemas.EventSchema}
		for _, e := range chunk {
			s.Events = append(s.Events, e.encoded)
		}
		frames = append(frames, (&schemas.Frame{Segments: []schemas.Segment{s}}).AppendMessage(nil))
	}
	return frames, len(steps)
}

// stage is a processor with the CPU time that it took.
type stage struct {
	name  string
	input string
	h     *engine.Harness
	spent time.Duration
}

// fold folds some messages as a worker does that has found them waiting.
func (s *stage) fold(b *testing.B, payloads [][]byte) {
	began := spentCPU()
	s.h.Hold = true
	for _, p := range payloads {
		if err := s.h.Append(p); err != nil {
			b.Fatal(err)
		}
	}
	for more := true; more; {
		var err error
		if more, err = s.h.Step(); err != nil {
			b.Fatal(err)
		}
	}
	s.spent += spentCPU() - began
}

// BenchmarkProcessors is the CPU time of each processor by event, without a
// broker, and what the state of an open task takes (DESIGN §10, issue 7).
func BenchmarkProcessors(b *testing.B) {
	frames, events := usersAtWork(b)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range b.N {
		now := time.Now().UnixMicro()
		first := &stage{name: "sessions", h: engine.NewHarness(sessions.New(), now)}
		next := []*stage{
			{name: "changes", input: broker.ChangeFacts, h: engine.NewHarness(changes.NewProcessor(), now)},
			{name: "tasks", input: broker.TaskFacts, h: engine.NewHarness(tasks.NewProcessor(), now)},
			{name: "spend", input: broker.SpendDeltas, h: engine.NewHarness(spend.NewProcessor(), now)},
		}
		all := append([]*stage{first}, next...)
		n := 0
		for together := range slices.Chunk(frames, 5) {
			for _, s := range all {
				s.h.Now = now + int64(n)*100*1e6/benchRate
			}
			n += len(together)
			waiting := map[string][][]byte{}
			first.fold(b, together)
			for _, s := range all { // changes tells tasks
				s.fold(b, waiting[s.input])
				for _, c := range s.h.Commits {
					for _, o := range c.Outputs {
						if len(o.Rows) > 0 {
							waiting[o.Topic] = append(waiting[o.Topic], broker.AppendRows(nil, o.Topic, &schemas.RowHeader{Processor: s.name}, o.Rows))
						}
					}
				}
				s.h.Commits = nil
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		open := 0
		for _, key := range next[1].h.Keys() {
			if key[0] == 'k' {
				open++
			}
		}
		for _, s := range all {
			n, bytes := s.h.Records()
			b.ReportMetric(float64(s.spent.Nanoseconds())/1000/float64(events), "µs-CPU/event:"+s.name)
			b.Logf("%s: %d records, %d bytes of state", s.name, n, bytes)
		}
		b.Logf("%d events, %d open tasks, heap %d MB more", events, open, (after.HeapAlloc-before.HeapAlloc)>>20)
	}
	b.ReportMetric(0, "ns/op")
}

// spentCPU is the CPU time of this process so far.
func spentCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
