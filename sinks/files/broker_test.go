package files_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
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
}

func newLogs(partitions int) *logs {
	return &logs{id: "one/g1", n: partitions, held: map[broker.Log][]broker.Message{}, last: map[broker.Log]uint64{},
		grown: make(chan struct{}), commits: map[broker.Log]int64{}}
}

func (b *logs) Partitions(context.Context) (int, error) { return b.n, nil }

func (b *logs) Installation(context.Context) (string, error) { return b.id, nil }

func (b *logs) Append(_ context.Context, to broker.Log, payload []byte) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last[to] += 3 // positions grow, but not by one
	b.held[to] = append(b.held[to], broker.Message{Position: b.last[to], Payload: payload})
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
func (b *logs) say(t *testing.T, log broker.Log, rows int) {
	t.Helper()
	last := b.commits[log]
	b.commits[log] = last + 2
	b.sayFrame(t, log, schemas.RowHeader{Processor: "sessions", SourcePartition: int64(log.Partition), Generation: 1,
		FirstCommit: last + 1, LastCommit: last + 2, PreviousCommit: last}, rows)
}

func (b *logs) sayFrame(t *testing.T, log broker.Log, header schemas.RowHeader, rows int) {
	t.Helper()
	var payload []byte
	if log.Topic == broker.DeadLetters {
		f := schemas.DeadLetterFrame{Header: header}
		for range rows {
			b.appended++
			f.Rows = append(f.Rows, schemas.DeadLetter{Position: fmt.Sprintf("%s/%d row %d", log.Topic, log.Partition, b.appended)})
		}
		payload = f.AppendMessage(nil)
	} else {
		f := schemas.EnrichedFrame{Header: header}
		for range rows {
			b.appended++
			f.Rows = append(f.Rows, schemas.Enriched{SessionId: fmt.Sprintf("%s/%d row %d", log.Topic, log.Partition, b.appended)})
		}
		payload = f.AppendMessage(nil)
	}
	if _, err := b.Append(t.Context(), log, payload); err != nil {
		t.Fatal(err)
	}
}
