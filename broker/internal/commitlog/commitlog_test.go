package commitlog_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/schemas"
)

var rows = broker.Log{Topic: broker.Enriched}

// stage is a store whose appends go as a test says.
type stage struct {
	*testing.T
	*memory.Broker
	ctx    context.Context
	asked  func() // after every question an acquiring owner has asked
	mu     sync.Mutex
	commit func(store func() (uint64, error)) (uint64, error) // nil = store
	rows   func(store func() (uint64, error)) (uint64, error)
	parts  func(store func() (uint64, error)) (uint64, error)
	mark   func(store func() (uint64, error)) (uint64, error)
	reads  error // of parts
	purges error
	bytes  int64 // after which a snapshot is due, 0 = the default
}

func newStage(t *testing.T) *stage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return &stage{T: t, Broker: memory.New(4), ctx: ctx}
}

func (s *stage) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *stage) Commits(processor string, partition int) commitlog.Chain {
	return &staged{s.Broker.Commits(processor, partition), s, &s.commit}
}

func (s *stage) Snapshots(processor string, partition int) commitlog.Chain {
	return &staged{s.Broker.Snapshots(processor, partition), s, &s.parts}
}

func (s *stage) Started(processor string, partition int) commitlog.Chain {
	return &staged{s.Broker.Started(processor, partition), s, &s.mark}
}

func (s *stage) Rows(to broker.Log, processor string, source int) commitlog.Chain {
	return &staged{s.Broker.Rows(to, processor, source), s, &s.rows}
}

func (s *stage) Destinations(ctx context.Context, processor string, source int) ([]broker.Log, error) {
	found, err := s.Broker.Destinations(ctx, processor, source)
	s.meanwhile()
	return found, err
}

func (s *stage) meanwhile() {
	if asked := s.asked; asked != nil {
		s.asked = nil
		asked()
		s.asked = asked
	}
}

type staged struct {
	commitlog.Chain
	s  *stage
	as *func(store func() (uint64, error)) (uint64, error) // how it appends, nil = it stores
}

func (c *staged) At(ctx context.Context, position uint64) (commitlog.Entry, error) {
	if c.as == &c.s.parts && c.s.reads != nil {
		return commitlog.Entry{}, c.s.reads
	}
	return c.Chain.At(ctx, position)
}

func (c *staged) Purge(ctx context.Context, before uint64) error {
	if c.s.purges != nil {
		return c.s.purges
	}
	return c.Chain.Purge(ctx, before)
}

func (c *staged) Last(ctx context.Context) (commitlog.Entry, error) {
	e, err := c.Chain.Last(ctx)
	c.s.meanwhile()
	return e, err
}

func (c *staged) Append(ctx context.Context, payload []byte, after uint64) (uint64, error) {
	c.s.mu.Lock()
	as := *c.as
	c.s.mu.Unlock()
	store := func() (uint64, error) { return c.Chain.Append(ctx, payload, after) }
	if as == nil {
		return store()
	}
	return as(store)
}

func (s *stage) acquire() broker.Owner {
	s.Helper()
	o, err := commitlog.Acquire(s.ctx, s.ctx, s, commitlog.Config{
		Processor: "sessions", Partitions: 4, Generation: 1, Owner: "worker",
		Timeout: time.Second, Patience: 300 * time.Millisecond,
		SnapshotBytes: s.bytes,
	})
	if err != nil {
		s.Fatal(err)
	}
	return o
}

// commit is a commit with one row.
func commit(o broker.Owner, number, previous int64) *schemas.Commit {
	row := (&schemas.Enriched{Version: number}).AppendAvro(nil)
	return &schemas.Commit{
		Processor: "sessions", Generation: 1, CommitNumber: number, Epoch: o.Epoch(),
		Outputs: []schemas.Output{{Topic: rows.Topic, Previous: previous, Schema: int64(broker.RowSchema(rows.Topic)), Rows: [][]byte{row}}},
	}
}

func (s *stage) mustCommit(o broker.Owner, number int64) {
	s.Helper()
	if err := o.Commit(s.ctx, commit(o, number, number-1)); err != nil {
		s.Fatal(err)
	}
}

// holds checks the commit numbers of the rows in the topic, in order.
func (s *stage) holds(want ...int64) {
	s.Helper()
	var got []int64
	end, err := s.End(s.ctx, rows)
	if err != nil {
		s.Fatal(err)
	}
	r, err := s.Read(s.ctx, rows, 0)
	if err != nil {
		s.Fatal(err)
	}
	for position := uint64(0); position < end; {
		m, err := r.Next(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		var f schemas.EnrichedFrame
		if err := f.DecodeMessage(m.Payload); err != nil {
			s.Fatal(err)
		}
		for _, row := range f.Rows {
			got = append(got, row.Version)
		}
		position = m.Position
	}
	if !slices.Equal(got, want) {
		s.Errorf("the topic holds rows of commits %v, want %v", got, want)
	}
}

// fails gives an error n times and stores after that.
func fails(n int, err error) func(func() (uint64, error)) (uint64, error) {
	return func(store func() (uint64, error)) (uint64, error) {
		if n--; n >= 0 {
			return 0, err
		}
		return store()
	}
}

func TestACommitIsTriedAgainUntilItsOutcomeIsKnown(t *testing.T) {
	for name, as := range map[string]func(func() (uint64, error)) (uint64, error){
		"busy":            fails(20, commitlog.ErrBusy),
		"not now":         fails(3, broker.ErrRetry),
		"unknown":         fails(3, broker.ErrUnknown),
		"refused in vain": fails(2, commitlog.ErrConflict),
		"no answer":       fails(1, context.DeadlineExceeded),
		"stored, no answer": func(store func() (uint64, error)) (uint64, error) {
			_, _ = store()
			return 0, broker.ErrUnknown
		},
		"stored, refused": func(store func() (uint64, error)) (uint64, error) {
			_, _ = store()
			return store()
		},
	} {
		s := newStage(t)
		o := s.acquire()
		s.set(func() { s.commit = as })
		if err := o.Commit(s.ctx, commit(o, 1, 0)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s.set(func() { s.commit = nil })
		s.mustCommit(o, 2)
		if last, err := s.LastCommit(s.ctx, "sessions", 0); err != nil || last.CommitNumber != 2 {
			t.Errorf("%s: the last commit is %v (%v), want 2", name, last, err)
		}
	}
}

func TestACommitThatWasNeverStoredLeavesTheOwnerAsItWas(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	s.set(func() { s.commit = fails(1000, broker.ErrRetry) })
	if err := o.Commit(s.ctx, commit(o, 1, 0)); !errors.Is(err, broker.ErrRetry) || errors.Is(err, broker.ErrUnknown) {
		t.Errorf("commit: %v, want %v", err, broker.ErrRetry)
	}
	s.set(func() { s.commit = nil })
	s.mustCommit(o, 1)
}

func TestAnOwnerThatCannotKnowIsDead(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	s.set(func() { s.commit = fails(1000, broker.ErrUnknown) })
	for range 2 {
		if err := o.Commit(s.ctx, commit(o, 1, 0)); !errors.Is(err, broker.ErrUnknown) {
			t.Errorf("commit: %v, want %v", err, broker.ErrUnknown)
		}
	}
	s.set(func() { s.commit = nil })
	if err := o.Commit(s.ctx, commit(o, 1, 0)); !errors.Is(err, broker.ErrUnknown) {
		t.Errorf("a commit of the dead owner: %v, want %v", err, broker.ErrUnknown)
	}
	s.mustCommit(s.acquire(), 1)
}

func TestACommitCountsThoughAnotherOwnerHasGoneOnBehindIt(t *testing.T) {
	s := newStage(t)
	first := s.acquire()
	s.set(func() {
		s.commit = func(store func() (uint64, error)) (uint64, error) {
			_, err := store()
			s.set(func() { s.commit = nil })
			if err != nil {
				return 0, err
			}
			s.mustCommit(s.acquire(), 2)
			return 0, broker.ErrUnknown
		}
	})
	if err := first.Commit(s.ctx, commit(first, 1, 0)); err != nil {
		t.Errorf("the first owner's commit is in the log: %v", err)
	}
	if err := first.Commit(s.ctx, commit(first, 2, 1)); !errors.Is(err, broker.ErrFenced) {
		t.Errorf("its next one: %v, want %v", err, broker.ErrFenced)
	}
	next := s.acquire()
	if err := next.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.holds(1, 2)
}

func TestRoutingGoesOnUntilTheTopicTakesEveryRowOnce(t *testing.T) {
	for name, as := range map[string]func(func() (uint64, error)) (uint64, error){
		"topic full": fails(3, broker.ErrRetry),
		"no answer":  fails(3, broker.ErrUnknown),
		"stored, no answer": func(store func() (uint64, error)) (uint64, error) {
			_, _ = store()
			return 0, broker.ErrUnknown
		},
	} {
		s := newStage(t)
		s.set(func() { s.rows = as })
		o := s.acquire()
		for n := range int64(5) {
			s.mustCommit(o, n+1)
		}
		if err := o.Flush(s.ctx); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s.holds(1, 2, 3, 4, 5)
	}
}

func TestTwoOwnersThatRouteTheSameCommitsRouteThemOnce(t *testing.T) {
	s := newStage(t)
	first := s.acquire()
	held := make(chan struct{})
	s.set(func() {
		s.rows = func(store func() (uint64, error)) (uint64, error) {
			<-held
			return store()
		}
	})
	for n := range int64(8) {
		s.mustCommit(first, n+1)
	}
	second := s.acquire()
	s.mustCommit(second, 9)
	close(held)
	for _, o := range []broker.Owner{first, second} {
		if err := o.Flush(s.ctx); err != nil {
			t.Error(err)
		}
	}
	s.holds(1, 2, 3, 4, 5, 6, 7, 8, 9)
}

func TestAnOwnerThatIsStillAtWorkDoesNotLookLikeALostLog(t *testing.T) {
	s := newStage(t)
	old := s.acquire()
	number := int64(0)
	work := func() {
		number++
		s.mustCommit(old, number)
		if err := old.Flush(s.ctx); err != nil {
			t.Fatal(err)
		}
	}
	work()
	s.asked = work
	next := s.acquire()
	s.asked = nil
	if number < 3 {
		t.Fatalf("only %d commits meanwhile", number)
	}
	if err := next.Commit(s.ctx, commit(next, number, number-1)); !errors.Is(err, broker.ErrFenced) {
		t.Errorf("the commit of an owner that came too late: %v, want %v", err, broker.ErrFenced)
	}
	next = s.acquire()
	s.mustCommit(next, number+1)
	if err := next.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	var want []int64
	for n := range number + 1 {
		want = append(want, n+1)
	}
	s.holds(want...)
}

func TestCommitsWaitForTopicsThatAreFarBehind(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	s.set(func() { s.rows = fails(1<<30, broker.ErrRetry) })
	letter := (&schemas.DeadLetter{Payload: make([]byte, 60<<10)}).AppendAvro(nil)
	large := func(number int64) *schemas.Commit {
		c := commit(o, number, number-1)
		c.Outputs[0].Topic = broker.DeadLetters
		c.Outputs[0].Rows = slices.Repeat([][]byte{letter}, 8)
		return c
	}
	var err error
	n := int64(0)
	for err == nil && n < 1000 {
		n++
		ctx, cancel := context.WithTimeout(s.ctx, time.Second)
		err = o.Commit(ctx, large(n))
		cancel()
	}
	if !errors.Is(err, context.DeadlineExceeded) || n < 10 || n > 40 {
		t.Fatalf("%d commits of 480 KiB while no topic takes rows, then %v", n, err)
	}
	if last, err := s.LastCommit(s.ctx, "sessions", 0); err != nil || last.CommitNumber != n-1 || last.Routed != 0 {
		t.Errorf("the last commit is %v (%v), want %d with nothing routed", last, err, n-1)
	}
	s.set(func() { s.rows = nil })
	if err := o.Commit(s.ctx, large(n)); err != nil {
		t.Error(err)
	}
	if err := o.Flush(s.ctx); err != nil {
		t.Error(err)
	}
}

func TestADestinationWhoseFramesHaveAgedOutGoesOnEmpty(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	expire := func() {
		if err := o.Flush(s.ctx); err != nil {
			t.Fatal(err)
		}
		end, err := s.End(s.ctx, rows)
		if err != nil {
			t.Fatal(err)
		}
		s.Expire(rows, end)
	}
	s.mustCommit(o, 1)
	expire()
	s.mustCommit(o, 2) // notes that 1 is routed
	expire()
	empty := commit(o, 3, 2) // notes that 2 is routed
	empty.Outputs = nil
	if err := o.Commit(s.ctx, empty); err != nil {
		t.Fatal(err)
	}
	o = s.acquire()
	if err := o.Commit(s.ctx, commit(o, 4, 2)); err != nil {
		t.Fatal(err)
	}
	if err := o.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.holds(4)
}

func TestAFencedOwnerDoesNotRepeatRowsThatHaveAgedOut(t *testing.T) {
	s := newStage(t)
	first := s.acquire()
	s.mustCommit(first, 1)
	if err := first.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	stuck, goOn := make(chan struct{}), make(chan struct{})
	s.set(func() {
		s.rows = func(store func() (uint64, error)) (uint64, error) {
			s.set(func() { s.rows = nil })
			close(stuck)
			<-goOn
			return store()
		}
	})
	s.mustCommit(first, 2)
	<-stuck
	second := s.acquire()
	s.mustCommit(second, 3)
	if err := second.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	empty := commit(second, 4, 3) // notes that 3 is routed
	empty.Outputs = nil
	if err := second.Commit(s.ctx, empty); err != nil {
		t.Fatal(err)
	}
	s.holds(1, 2, 3)
	end, err := s.End(s.ctx, rows)
	if err != nil {
		t.Fatal(err)
	}
	s.Expire(rows, end)
	close(goOn)
	if err := first.Flush(s.ctx); err != nil {
		t.Error(err)
	}
	s.holds()
}

func TestADestinationThatHoldsMoreThanTheLogEndsTheOwner(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	s.mustCommit(o, 1)
	if err := o.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	ghost := schemas.RowHeader{Processor: "sessions", Generation: 1, FirstCommit: 2, LastCommit: 2, PreviousCommit: 1}
	chain := s.Rows(rows, "sessions", 0)
	last, err := chain.Last(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Append(s.ctx, broker.AppendRows(nil, rows.Topic, &ghost, nil), last.Position); err != nil {
		t.Fatal(err)
	}
	s.mustCommit(o, 2)
	if err := o.Flush(s.ctx); !errors.Is(err, broker.ErrLost) {
		t.Errorf("flush: %v, want %v", err, broker.ErrLost)
	}
	if err := o.Commit(s.ctx, commit(o, 3, 2)); !errors.Is(err, broker.ErrLost) {
		t.Errorf("commit: %v, want %v", err, broker.ErrLost)
	}
}
