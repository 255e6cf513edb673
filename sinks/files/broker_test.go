package files_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// logs is a broker that can only be appended to and read, with faults on
// demand.
type logs struct {
	broker.Broker // nil: the sink needs no more than the methods below

	mu       sync.Mutex
	id       string
	n        int
	held     map[broker.Log][]broker.Message
	last     map[broker.Log]uint64
	grown    chan struct{} // closed at the next append
	faults   []error       // of the next calls of Next
	passed   uint64        // where an idle reader is by now
	reads    int           // messages given out
	commits  map[broker.Log]int64
	appended int
	at       int64                   // append time of what comes, µs
	said     map[broker.Log][]string // rows, by name
}

func newLogs(partitions int) *logs {
	return &logs{id: "one/g1", n: partitions, held: map[broker.Log][]broker.Message{}, last: map[broker.Log]uint64{},
		grown: make(chan struct{}), commits: map[broker.Log]int64{}, said: map[broker.Log][]string{}}
}

func (b *logs) Generation() int64 { return 1 }

func (b *logs) Partitions(context.Context) (int, error) { return b.n, nil }

func (b *logs) Installation(context.Context) (string, error) { return b.id, nil }

func (b *logs) Append(_ context.Context, to broker.Log, payload []byte) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last[to] += 3 // positions grow, but not by one
	b.held[to] = append(b.held[to], broker.Message{Position: b.last[to], AppendedAt: b.at, Payload: payload})
	close(b.grown)
	b.grown = make(chan struct{})
	return b.last[to], nil
}

func (b *logs) End(_ context.Context, of broker.Log) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[of], nil
}

func (b *logs) Read(_ context.Context, from broker.Log, after uint64) (broker.Reader, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if held := b.held[from]; after > 0 && len(held) > 0 && held[0].Position > after+3 {
		return nil, fmt.Errorf("position %d aged out: %w", after, broker.ErrLost)
	}
	return &reader{b, from, after}, nil
}

// lose takes the newest messages of a log away, down to a position.
func (b *logs) lose(log broker.Log, downTo uint64) {
	b.last[log] = downTo
	b.held[log] = slices.DeleteFunc(b.held[log], func(m broker.Message) bool { return m.Position > downTo })
}

// age lets the oldest n messages of a log go.
func (b *logs) age(log broker.Log, n int) { b.held[log] = b.held[log][n:] }

type reader struct {
	b     *logs
	log   broker.Log
	after uint64
}

func (r *reader) Next(ctx context.Context) (broker.Message, error) {
	for {
		r.b.mu.Lock()
		if len(r.b.faults) > 0 {
			err := r.b.faults[0]
			r.b.faults = r.b.faults[1:]
			r.b.mu.Unlock()
			return broker.Message{}, err
		}
		held, grown := r.b.held[r.log], r.b.grown
		i := slices.IndexFunc(held, func(m broker.Message) bool { return m.Position > r.after })
		if i >= 0 {
			r.after = held[i].Position
			r.b.reads++
			r.b.mu.Unlock()
			return held[i], nil
		}
		r.b.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return broker.Message{}, ctx.Err()
		}
	}
}

func (r *reader) Passed() uint64 {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	return max(r.after, r.b.passed)
}

func (r *reader) Close() error { return nil }

func enriched(p int) broker.Log { return broker.Log{Topic: broker.Enriched, Partition: p} }

func deadLetters(p int) broker.Log { return broker.Log{Topic: broker.DeadLetters, Partition: p} }

// say appends the next frame of the chain of one processor: commits [last+2],
// with rows that are named after their log and number.
func (b *logs) say(t testing.TB, log broker.Log, rows int) {
	t.Helper()
	last := b.commits[log]
	b.commits[log] = last + 2
	b.sayFrame(t, log, schemas.RowHeader{Processor: "sessions", SourcePartition: int64(log.Partition), Generation: 1,
		FirstCommit: last + 1, LastCommit: last + 2, PreviousCommit: last}, rows)
}

func (b *logs) sayFrame(t testing.TB, log broker.Log, header schemas.RowHeader, rows int) {
	t.Helper()
	var payload []byte
	name := func() (string, schemas.Id) {
		b.appended++
		name := fmt.Sprintf("%s/%d row %d", log.Topic, log.Partition, b.appended)
		b.said[log] = append(b.said[log], name)
		return name, schemas.FactKey(name, schemas.KindPrompt, "")
	}
	switch log.Topic {
	case broker.DeadLetters:
		f := schemas.DeadLetterFrame{Header: header}
		for range rows {
			name, id := name()
			f.Rows = append(f.Rows, schemas.DeadLetter{RowId: id, Position: name, OccurredAt: b.at - 7e6})
		}
		payload = f.AppendMessage(nil)
	case broker.Findings:
		f := schemas.FindingFrame{Header: header}
		for range rows {
			name, id := name()
			f.Rows = append(f.Rows, schemas.Finding{RowId: id, Subject: name, FirstSeen: b.at - 7e6})
		}
		payload = f.AppendMessage(nil)
	case broker.Tasks:
		f := schemas.TaskFrame{Header: header}
		for range rows {
			name, id := name()
			f.Rows = append(f.Rows, schemas.Task{RowId: id, TaskId: name, FirstSeen: b.at - 7e6})
		}
		payload = f.AppendMessage(nil)
	case broker.Spend:
		f := schemas.SpendFrame{Header: header}
		for range rows {
			name, id := name()
			f.Rows = append(f.Rows, schemas.Spend{RowId: id, Value: name, PaneStart: b.at - 7e6})
		}
		payload = f.AppendMessage(nil)
	default:
		f := schemas.EnrichedFrame{Header: header}
		for range rows {
			name, id := name()
			f.Rows = append(f.Rows, schemas.Enriched{RowId: id, SessionId: name, OccurredAt: b.at - 7e6})
		}
		payload = f.AppendMessage(nil)
	}
	if _, err := b.Append(t.Context(), log, payload); err != nil {
		t.Fatal(err)
	}
}

// sayCommit appends the rows of a commit as Kafka holds them, each a message of
// its own.
func (b *logs) sayCommit(t testing.TB, log broker.Log, processor string, previous, number int64, rows int) {
	t.Helper()
	for range rows {
		b.sayFrame(t, log, schemas.RowHeader{Processor: processor, Generation: 1, FirstCommit: number, LastCommit: number, PreviousCommit: previous}, 1)
	}
}

// send appends a frame with events of some organisations.
func (b *logs) send(t testing.TB, log broker.Log, orgs ...string) {
	t.Helper()
	var f schemas.Frame
	for _, org := range orgs {
		b.appended++
		e := schemas.Event{SessionId: fmt.Sprintf("%s/%d event %d", log.Topic, log.Partition, b.appended), OccurredAt: b.at - 7e6, Kind: schemas.KindPrompt}
		schemas.SetEventID(&e)
		b.said[log] = append(b.said[log], e.SessionId)
		f.Segments = append(f.Segments, schemas.Segment{Org: org, ProducerId: "laptop", Lane: log.Lane, Schema: schemas.EventSchema, Events: [][]byte{e.AppendAvro(nil)}})
	}
	if _, err := b.Append(t.Context(), log, f.AppendMessage(nil)); err != nil {
		t.Fatal(err)
	}
}

func events(p int) broker.Log { return broker.Log{Topic: broker.Events, Partition: p} }

func findings(p int, lane schemas.Lane) broker.Log {
	return broker.Log{Topic: broker.Findings, Partition: p, Lane: lane}
}

// unreachable is a broker that does not answer any more, once it is.
type unreachable struct {
	*logs
	is atomic.Bool
}

func (u *unreachable) End(ctx context.Context, of broker.Log) (uint64, error) {
	if u.is.Load() {
		return 0, broker.ErrRetry
	}
	return u.logs.End(ctx, of)
}
