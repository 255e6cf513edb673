package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// store is a destination in memory, with answers on demand.
type store struct {
	mu      sync.Mutex
	rows    []string            // ids in the order of storing, twice where they were
	batches map[string][]string // ids by batch, as they were first sent
	script  []func(s *store, b *delivery.Batch, rows []int) delivery.Outcome
	poison  map[string]delivery.Outcome // by id: what a batch with it comes to
	strange map[string]bool             // all other rows are refused
	closed  string                      // topic that nothing is taken of
	down    error                       // it answers nobody
	blind   bool
	deaf    int                  // so many calls of Missing fail
	hidden  time.Duration        // a row is not seen for so long
	at      map[string]time.Time // when a row was stored
	old     int64                // rows with an earlier time are refused
	sends   int
	most    int // at a time
	now     int
	slow    time.Duration
	gate    chan struct{} // a send waits for it
}

func newStore() *store {
	return &store{batches: map[string][]string{}, poison: map[string]delivery.Outcome{}, at: map[string]time.Time{}}
}

func (s *store) AppendRow(b []byte, _ string, row *delivery.Row) []byte { return row.AppendJSON(b) }

func (s *store) Refuses(at int64) (string, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < s.old {
		return "outside_window", "too old"
	}
	return "", ""
}

func (s *store) Answers(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *store) Send(ctx context.Context, b *delivery.Batch, rows []int) delivery.Outcome {
	s.mu.Lock()
	s.sends++
	s.now++
	s.most = max(s.most, s.now)
	gate, slow := s.gate, s.slow
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return delivery.Outcome{Class: delivery.Doubtful, Err: ctx.Err()}
		}
	}
	if slow > 0 {
		time.Sleep(slow)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batches[b.ID] == nil {
		for i := range b.Len() {
			s.batches[b.ID] = append(s.batches[b.ID], b.RowID(i).String())
		}
	}
	if b.Topic == s.closed {
		return delivery.Outcome{Class: delivery.Untouched, Err: errors.New("the stream is being deleted")}
	}
	for _, i := range rows {
		if s.strange != nil && !s.strange[b.RowID(i).String()] {
			return delivery.Outcome{Class: delivery.Refused, Reason: "refused", Err: errors.New("status 400")}
		}
		if out, ok := s.poison[b.RowID(i).String()]; ok {
			return out
		}
	}
	if len(s.script) > 0 {
		next := s.script[0]
		s.script = s.script[1:]
		return next(s, b, rows)
	}
	s.take(b, rows)
	return delivery.Outcome{Class: delivery.Stored}
}

// take stores rows; mu is held.
func (s *store) take(b *delivery.Batch, rows []int) {
	for _, i := range rows {
		id := b.RowID(i).String()
		s.rows = append(s.rows, id)
		s.at[id] = time.Now()
	}
}

func (s *store) Missing(_ context.Context, b *delivery.Batch, rows []int) (missing []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blind {
		return nil, delivery.ErrBlind
	}
	if s.deaf > 0 {
		s.deaf--
		return nil, errors.New("no answer")
	}
	for _, i := range rows {
		at, ok := s.at[b.RowID(i).String()]
		if !ok || time.Since(at) < s.hidden {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// stored is the ids of all rows that are stored, in order of name.
func (s *store) stored() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.rows))
}

// at a time in the tests' world: 2026-11-26 10:30 UTC.
const morning = 1795689000_000_000

// feed appends rows to a broker as a processor would.
type feed struct {
	t       *testing.T
	b       broker.Broker
	n       int
	ids     map[string]bool
	commits map[broker.Log]int64
}

func newFeed(t *testing.T, b broker.Broker) *feed {
	return &feed{t: t, b: b, ids: map[string]bool{}, commits: map[broker.Log]int64{}}
}

// id of the n-th row of a test.
func id(n int) (id schemas.Id) {
	copy(id[:], fmt.Sprintf("row-%012d", n))
	return id
}

// say appends a frame of rows, one a second from a time on.
func (f *feed) say(log broker.Log, rows int, at int64) (ids []string) {
	f.t.Helper()
	var encoded [][]byte
	for range rows {
		f.n++
		ids = append(ids, id(f.n).String())
		f.ids[id(f.n).String()] = true
		encoded = append(encoded, row(log.Topic, f.n, at+int64(f.n)*1_000_000))
	}
	f.commits[log]++
	n := f.commits[log]
	header := schemas.RowHeader{Processor: "sessions", SourcePartition: int64(log.Partition), Generation: 1, FirstCommit: n, LastCommit: n, PreviousCommit: n - 1}
	f.append(log, broker.AppendRows(nil, log.Topic, &header, encoded))
	return ids
}

func (f *feed) append(log broker.Log, message []byte) {
	f.t.Helper()
	if _, err := f.b.Append(context.Background(), log, message); err != nil {
		f.t.Fatal(err)
	}
}

func row(topic string, n int, at int64) []byte {
	switch topic {
	case broker.Findings:
		r := schemas.Finding{RowId: id(n), Sign: 1, FindingId: id(n), Version: 1, Generation: 1, Kind: "loop", Subject: "s", FirstSeen: at, LastSeen: at}
		return r.AppendAvro(nil)
	case broker.Tasks:
		r := schemas.Task{RowId: id(n), Sign: 1, Version: 1, Generation: 1, TaskId: "FL-1", FirstSeen: at, LastSeen: at + 1, Org: "acme"}
		return r.AppendAvro(nil)
	case broker.Spend:
		r := schemas.Spend{RowId: id(n), Sign: 1, Generation: 1, Dimension: schemas.SpendDimensionRepo, Value: "r", PaneStart: at, Org: "acme"}
		return r.AppendAvro(nil)
	case broker.DeadLetters:
		r := schemas.DeadLetter{RowId: id(n), Generation: 1, Reason: "not_json", Source: "file", Position: "1", OccurredAt: at}
		return r.AppendAvro(nil)
	}
	r := schemas.Enriched{RowId: id(n), Sign: 1, FactKey: id(n), Version: 1, Generation: 1, Kind: schemas.KindPrompt, OccurredAt: at, Org: "acme", SessionId: "s1"}
	return r.AppendAvro(nil)
}

// want are the ids of all rows that were said.
func (f *feed) want() (ids []string) {
	for id := range f.ids {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// letters are the dead letters of the topic by reason, and the ids of the rows
// that they hold.
func letters(t *testing.T, b broker.Broker) (byReason map[string]int, rows []string) {
	t.Helper()
	byReason = map[string]int{}
	n, err := b.Partitions(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for p := range n {
		err := broker.Scan(context.Background(), b, broker.Log{Topic: broker.DeadLetters, Partition: p}, func(m broker.Message) error {
			var f schemas.DeadLetterFrame
			if err := f.DecodeMessage(m.Payload); err != nil {
				return err
			}
			for _, d := range f.Rows {
				byReason[d.Reason]++
				if len(d.Payload) > 0 && delivery.SourceTopic(&d) != "" && d.Reason != "undecodable" {
					_, row, err := delivery.RowOf(&d)
					if err != nil {
						return err
					}
					rows = append(rows, row.ID.String())
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(rows)
	return byReason, rows
}

// sink runs a worker until it is stopped.
type sink struct {
	stop context.CancelFunc
	done chan error
}

func run(t *testing.T, b broker.Broker, d delivery.Destination, change ...func(*delivery.Config)) *sink {
	t.Helper()
	c := delivery.Config{Broker: b, Destination: d, Group: "openobserve", Worker: "w", Topics: []string{broker.Enriched},
		Linger: 20 * time.Millisecond, Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond, Settle: 20 * time.Millisecond}
	for _, f := range change {
		f(&c)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &sink{stop, make(chan error, 1)}
	go func() { s.done <- delivery.Run(ctx, c) }()
	t.Cleanup(stop)
	return s
}

// end stops a worker and returns what Run did.
func (s *sink) end() error {
	s.stop()
	return <-s.done
}

// claimed takes the group's claim to a log for a while.
func claimed(t *testing.T, b broker.Broker, log broker.Log, do func(ctx context.Context, claim broker.Claim) error) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	done := false
	err := b.Consume(ctx, broker.Group{Name: "openobserve", Topic: log.Topic}, "look", func(ctx context.Context, claim broker.Claim) error {
		if claim.Partition() != log.Partition {
			<-ctx.Done()
			return nil
		}
		if err := do(ctx, claim); err != nil {
			return err
		}
		done = true
		stop()
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) || !done {
		t.Fatalf("the claim to %s: %v", log, err)
	}
}

// cursor is where the group stands in a log.
func cursor(t *testing.T, b broker.Broker, log broker.Log) (position uint64, ends []uint64) {
	t.Helper()
	claimed(t, b, log, func(ctx context.Context, claim broker.Claim) error {
		found, err := claim.Cursor(ctx, log.Lane)
		if err != nil {
			return err
		}
		var note struct{ Ends []uint64 }
		if len(found.Note) > 0 {
			err = json.Unmarshal(found.Note, &note)
		}
		position, ends = found.Position, note.Ends
		return err
	})
	return position, ends
}

// moveCursor moves the place on, as idling does, and leaves the note.
func moveCursor(t *testing.T, b broker.Broker, log broker.Log, by uint64) {
	t.Helper()
	claimed(t, b, log, func(ctx context.Context, claim broker.Claim) error {
		found, err := claim.Cursor(ctx, log.Lane)
		if err != nil {
			return err
		}
		found.Position += by
		return claim.SetCursor(ctx, log.Lane, found)
	})
}

// eventually waits for something to hold.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to it that %s", what)
		}
	}
}

var enriched = broker.Log{Topic: broker.Enriched}

func newBroker(partitions int) *memory.Broker { return memory.New(partitions) }
