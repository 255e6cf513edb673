package verify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/processors/verify"
	"github.com/flightlog/flightlog/schemas"
)

const (
	partitions = 2
	start      = int64(1_795_354_733_000_000)
)

// world is an installation with a producer and workers, and a clock that only
// the test moves.
type world struct {
	*memory.Broker
	t        testing.TB
	clock    atomic.Int64
	sequence map[broker.Log]int64
	workers  int
}

func newWorld(t testing.TB, options ...memory.Option) *world {
	w := &world{t: t, sequence: map[broker.Log]int64{}}
	w.clock.Store(start)
	w.Broker = memory.New(partitions, append(options, memory.WithClock(w.clock.Load))...)
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pass(d time.Duration) { w.clock.Add(d.Microseconds()) }

func eventsOf(partition int, lane schemas.Lane) broker.Log {
	return broker.Log{Topic: broker.Events, Partition: partition, Lane: lane}
}

// send appends one frame of encoded events to a lane, numbered as a producer
// does.
func (w *world) send(to broker.Log, events ...[]byte) {
	w.t.Helper()
	w.sendFrom(w.sequence[to], to, events...)
	w.sequence[to] += int64(len(events))
}

func (w *world) sendFrom(sequence int64, to broker.Log, events ...[]byte) {
	w.t.Helper()
	f := schemas.Frame{Segments: []schemas.Segment{{Org: "acme", ProducerId: "laptop", Epoch: 1, Lane: to.Lane,
		FirstSequence: sequence, Schema: schemas.EventSchema, Events: events}}}
	_, err := w.Append(w.t.Context(), to, f.AppendMessage(nil))
	w.check(err)
}

// tick moves the time of every partition on.
func (w *world) tick() {
	for p := range partitions {
		c := schemas.Control{Type: schemas.ControlTypeTick}
		_, err := w.Append(w.t.Context(), eventsOf(p, schemas.LaneNormal), c.AppendMessage(nil))
		w.check(err)
	}
}

// session is the id of a session of a partition.
func session(partition, n int) string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("%d-%d-%d", partition, n, i); broker.PartitionOf(id, partitions) == partition {
			return id
		}
	}
}

// step is what one prompt of a session is: the prompt, a call and a request, as
// two witnesses tell them.
func (w *world) step(session string, n int) (events [][]byte) {
	add := func(witness schemas.Witness, kind schemas.Kind, id string, fill func(*schemas.Event)) {
		e := &schemas.Event{Kind: kind, Witness: witness, Agent: "claude-code", SessionId: session, PromptId: fmt.Sprint("p", n),
			OccurredAt: w.clock.Load(), FactKey: schemas.FactKey(session, kind, id)}
		switch schemas.FamilyOf(kind) {
		case schemas.FamilyModel:
			e.Body.Branch = schemas.EventBodyModel
		case schemas.FamilyTool:
			e.Body.Branch, e.ToolUseId = schemas.EventBodyTool, id
		}
		if fill != nil {
			fill(e)
		}
		schemas.SetEventID(e)
		events = append(events, e.AppendAvro(nil))
	}
	call := fmt.Sprint("toolu_", n)
	for _, witness := range []schemas.Witness{schemas.WitnessHook, schemas.WitnessTranscript} {
		add(witness, schemas.KindPrompt, fmt.Sprint("p", n), func(e *schemas.Event) {
			if witness == schemas.WitnessTranscript {
				e.Branch = fmt.Sprint("branch-", n)
			}
		})
		add(witness, schemas.KindToolCall, call, func(e *schemas.Event) {
			e.Success = schemas.SomeBool(true)
			e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ArgumentsHash: call, Done: true}
		})
	}
	add(schemas.WitnessTranscript, schemas.KindModelRequest, fmt.Sprint("req_", n), func(e *schemas.Event) {
		e.Body.Model = schemas.ModelBody{Model: "claude-opus-5-5", TokenInput: schemas.SomeLong(100), TokenOutput: schemas.SomeLong(int64(n))}
	})
	return events
}

// sendStep sends a step of some sessions of every partition, with an event that
// does not decode, and one of them on the critical lane.
func (w *world) sendStep(n, of int) {
	for p := range partitions {
		for i := range of {
			events := w.step(session(p, i), n)
			w.send(eventsOf(p, schemas.LaneCritical), events[0])
			w.send(eventsOf(p, schemas.LaneNormal), events[1:]...)
			if i%3 == 0 {
				w.send(eventsOf(p, schemas.LaneNormal), events[2], []byte("no event"), events[3])
			}
		}
	}
}

// work starts a worker. stop ends it in order, kill as a crash does: it commits
// and routes nothing more.
func (w *world) work() (stop, kill func()) {
	w.workers++
	ctx, cancel := context.WithCancel(w.t.Context())
	handle := w.Handle()
	cfg := engine.Config{Broker: handle, Processor: sessions.New(), Owner: fmt.Sprint("worker", w.workers), Linger: time.Millisecond, Clock: w.clock.Load}
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := engine.Run(ctx, cfg); err != nil && !errors.Is(err, broker.ErrClosed) {
			w.t.Errorf("%s: %v", cfg.Owner, err)
		}
	})
	end := func() { cancel(); ended.Wait() }
	return end, func() { handle.Close(); end() }
}

// folded waits until everything that was sent is folded.
func (w *world) folded() {
	w.t.Helper()
	w.until("folded", w.isFolded)
}

func (w *world) isFolded(partition int, last *schemas.Commit) bool {
	for _, s := range last.Slices {
		end, err := w.End(w.t.Context(), eventsOf(partition, s.Lane))
		w.check(err)
		if s.NextMessage < int64(end) || s.NextIndex != 0 {
			return false
		}
	}
	return !last.More
}

// until waits until the last commit of every partition is as wanted.
func (w *world) until(what string, is func(partition int, last *schemas.Commit) bool) {
	w.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for p := range partitions {
		for {
			c, err := w.LastCommit(w.t.Context(), "sessions", p)
			w.check(err)
			if c != nil && is(p, c) {
				break
			}
			if time.Now().After(deadline) {
				w.t.Fatalf("partition %d is not %s within 60 s", p, what)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// live is a history with all that may happen to a partition: workers that come,
// go and die, both lanes, dead letters, config in the middle, sessions that end,
// close, are archived and come back.
func (w *world) live() {
	const sessions = 12
	for n := range 3 {
		w.sendStep(n, sessions)
		stop, _ := w.work()
		_, kill := w.work()
		w.folded()
		w.pass(7 * time.Second)
		w.tick()
		w.sendStep(n+100, sessions)
		kill()
		stop()
	}
	_, missed, err := engine.ApplyConfig(w.t.Context(), w, "rules", []byte("rules of the test"), "test", w.clock.Load())
	w.check(err)
	if missed != nil {
		w.t.Fatalf("missed %v", missed)
	}
	stop, _ := w.work()
	for n, pause := range []time.Duration{2 * time.Minute, time.Hour, 26 * time.Hour, 26 * time.Hour, 10 * time.Second, time.Hour, 26 * time.Hour} {
		w.folded()
		w.pass(pause)
		w.tick()
		w.folded()
		if n == 3 { // most sessions have left
			w.restate()
		}
		if n < 6 && n != 2 { // while the sessions are open, and when they have left
			w.sendStep(10+n, sessions/(n+1))
		}
	}
	w.folded()
	stop()
	stop, _ = w.work() // routes what a dead one has left
	w.routed()
	stop()
}

// routed waits until the log says that the rows of all commits before its last
// are routed: the claim of the next owner does.
func (w *world) routed() {
	w.t.Helper()
	w.until("routed", func(_ int, c *schemas.Commit) bool { return c.Routed == c.CommitNumber-1 && len(c.Outputs) == 0 })
}

// restate has all that was told said anew by a directory that is in force.
func (w *world) restate() {
	w.t.Helper()
	version, _, err := engine.ApplyConfig(w.t.Context(), w, "directory", []byte("user,team\n*,everybody\n"), "test", w.clock.Load())
	w.check(err)
	w.pass(2 * time.Minute)
	_, err = engine.Restate(w.t.Context(), w, engine.Restatement{Kind: "directory", Version: version, Reason: "test", Asked: w.clock.Load()})
	w.check(err)
	w.folded()
}

// options of a verification after the end.
func (w *world) options() verify.Options {
	p := sessions.New()
	return verify.Options{Processor: p.Name(), Folds: map[int64]engine.Processor{p.Version(): p}, Settled: true, Clock: w.clock.Load}
}

func run(t testing.TB, b broker.Broker, o verify.Options) *verify.Report {
	t.Helper()
	report, err := verify.Run(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// clean fails the test for every violation.
func clean(t testing.TB, r *verify.Report) {
	t.Helper()
	for _, v := range r.Violations {
		t.Errorf("%+v", v)
	}
	if !r.Clean() {
		t.Errorf("%v", r.Counts)
	}
}

// tampered is a broker whose logs were changed: commit changes a commit and
// tells whether it is there, messages says what stands in place of a message.
type tampered struct {
	broker.Broker
	commit   func(*schemas.Commit) bool
	messages func(broker.Log, broker.Message) []broker.Message
}

func (b *tampered) History(ctx context.Context, processor string, partition int, each func(*schemas.Commit) error) error {
	return b.Broker.History(ctx, processor, partition, func(c *schemas.Commit) error {
		if b.commit != nil && !b.commit(c) {
			return nil
		}
		return each(c)
	})
}

func (b *tampered) Read(ctx context.Context, from broker.Log, after uint64) (broker.Reader, error) {
	r, err := b.Broker.Read(ctx, from, after)
	if err != nil || b.messages == nil {
		return r, err
	}
	return &tamperedReader{Reader: r, log: from, change: b.messages}, nil
}

type tamperedReader struct {
	broker.Reader
	log    broker.Log
	change func(broker.Log, broker.Message) []broker.Message
	queue  []broker.Message
}

func (r *tamperedReader) Next(ctx context.Context) (broker.Message, error) {
	for len(r.queue) == 0 {
		m, err := r.Reader.Next(ctx)
		if err != nil {
			return m, err
		}
		r.queue = r.change(r.log, m)
	}
	m := r.queue[0]
	r.queue = slices.Delete(r.queue, 0, 1)
	return m, nil
}
