package commitlog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
)

// commits makes commits with a row each.
func (s *stage) commits(o broker.Owner, from, to int64) {
	s.Helper()
	for n := from; n <= to; n++ {
		s.mustCommit(o, n)
	}
}

var state = []schemas.Change{{Key: []byte("key"), Value: []byte("value")}}

// snapshot takes a snapshot of two parts.
func (s *stage) snapshot(o broker.Owner) {
	s.Helper()
	for _, last := range []bool{false, true} {
		if err := o.Snapshot(s.ctx, state, last); err != nil {
			s.Fatal(err)
		}
	}
}

// first is the number of the first commit in the log.
func (s *stage) first() int64 {
	s.Helper()
	e, err := s.Broker.Commits("sessions", 0).At(s.ctx, 1)
	if err != nil {
		s.Fatal(err)
	}
	c, err := commitlog.DecodeCommit(e)
	if err != nil {
		s.Fatal(err)
	}
	return c.CommitNumber
}

// restored is the numbers of the records that an owner is restored from.
func (s *stage) restored(o broker.Owner) (numbers []int64, err error) {
	err = o.Restore(s.ctx, func(c *schemas.Commit) error {
		numbers = append(numbers, c.CommitNumber)
		return nil
	})
	return numbers, err
}

// purged makes an owner whose log was purged up to commit 10; its last commit
// is 22.
func (s *stage) purged() broker.Owner {
	s.Helper()
	o := s.acquire()
	s.commits(o, 1, 1)
	if err := o.Flush(s.ctx); err != nil { // in a frame of its own
		s.Fatal(err)
	}
	s.commits(o, 2, 10)
	s.snapshot(o)
	s.commits(o, 11, 20)
	s.snapshot(o)
	if err := o.Flush(s.ctx); err != nil {
		s.Fatal(err)
	}
	s.commits(o, 21, 22)
	if first := s.first(); first != 11 {
		s.Fatalf("the log begins at commit %d, want 11", first)
	}
	return o
}

func TestCommitsThatAreNotRoutedAreNeverPurged(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	s.set(func() { s.rows = fails(1<<30, broker.ErrRetry) })
	for n := int64(1); n <= 30; n += 10 {
		s.commits(o, n, n+9)
		s.snapshot(o)
	}
	s.commits(o, 31, 35)
	if first := s.first(); first != 1 {
		t.Fatalf("nothing is routed, and the log begins at commit %d", first)
	}
	s.set(func() { s.rows = nil })
	o = s.acquire()
	if _, err := s.restored(o); err != nil {
		t.Fatal(err)
	}
	if err := o.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.commits(o, 36, 37)
	if first := s.first(); first != 21 {
		t.Errorf("all is routed, and the log begins at commit %d, want 21", first)
	}
	if err := o.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	var want []int64
	for n := range int64(37) {
		want = append(want, n+1)
	}
	s.holds(want...)
}

func TestAnOwnerWhoseLogIsPurgedWhileItRestoresIsFenced(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	s.commits(o, 1, 3)
	s.snapshot(o)
	s.commits(o, 4, 6)
	zombie := s.acquire()
	s.commits(o, 7, 10)
	s.snapshot(o)
	s.commits(o, 11, 20)
	s.snapshot(o)
	if err := o.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.commits(o, 21, 22)
	if first := s.first(); first != 11 {
		t.Fatalf("the log begins at commit %d, want 11", first)
	}
	if _, err := s.restored(zombie); !errors.Is(err, broker.ErrFenced) || errors.Is(err, broker.ErrLost) {
		t.Errorf("restored with %v, want %v", err, broker.ErrFenced)
	}
}

func TestAPurgedLogDoesNotHideThatATopicHasLostItsEnd(t *testing.T) {
	s := newStage(t)
	s.purged()
	topic := s.Broker.Rows(rows, "sessions", 0)
	first, err := topic.At(s.ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Purge(s.ctx, 1<<60); err != nil {
		t.Fatal(err)
	}
	if _, err := topic.Append(s.ctx, first.Payload, 0); err != nil {
		t.Fatal(err)
	}
	next := s.acquire()
	err = next.Flush(s.ctx)
	if !errors.Is(err, broker.ErrLost) {
		t.Errorf("routed with %v, want %v", err, broker.ErrLost)
	}
}

func TestAPurgedLogGoesOnWithTopicsWhoseRowsHaveAgedOut(t *testing.T) {
	s := newStage(t)
	o := s.purged()
	if err := o.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	empty := commit(o, 23, 0) // notes that everything is routed
	empty.Outputs = nil
	if err := o.Commit(s.ctx, empty); err != nil {
		t.Fatal(err)
	}
	end, err := s.End(s.ctx, rows)
	if err != nil {
		t.Fatal(err)
	}
	s.Expire(rows, end)
	next := s.acquire()
	if numbers, err := s.restored(next); err != nil || len(numbers) != 5 || numbers[0] != 20 {
		t.Fatalf("restored from %v (%v), want 2 parts at 20 and commits 21 to 23", numbers, err)
	}
	if err := next.Commit(s.ctx, commit(next, 24, 22)); err != nil {
		t.Fatal(err)
	}
	if err := next.Flush(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.holds(24)
}

func TestASnapshotSurvivesAnswersThatAreLost(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	s.commits(o, 1, 3)
	s.set(func() {
		s.parts = func(store func() (uint64, error)) (uint64, error) {
			_, _ = store()
			return 0, broker.ErrUnknown
		}
	})
	s.snapshot(o)
	s.commits(o, 4, 5)
	if numbers, err := s.restored(s.acquire()); err != nil || len(numbers) != 4 || numbers[0] != 3 {
		t.Errorf("restored from %v (%v), want 2 parts at 3 and commits 4 and 5", numbers, err)
	}
}

func TestASnapshotThatFailsLeavesTheOwnerAlive(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	s.commits(o, 1, 3)
	for name, as := range map[string]error{"not now": broker.ErrRetry, "unknown": broker.ErrUnknown} {
		if err := o.Snapshot(s.ctx, state, false); err != nil {
			t.Fatal(err)
		}
		s.set(func() { s.parts = fails(1<<30, as) })
		if err := o.Snapshot(s.ctx, state, true); !errors.Is(err, as) {
			t.Errorf("%s: %v, want %v", name, err, as)
		}
		s.set(func() { s.parts = nil })
	}
	s.mustCommit(o, 4)
	if last, err := s.LastCommit(s.ctx, "sessions", 0); err != nil || len(last.Snapshots) != 0 {
		t.Errorf("the last commit names %+v (%v), want no snapshot", last.Snapshots, err)
	}
	s.snapshot(o)
	s.mustCommit(o, 5)
	if numbers, err := s.restored(s.acquire()); err != nil || numbers[0] != 4 {
		t.Errorf("restored from %v (%v), want a snapshot at 4 first", numbers, err)
	}
}

func TestASnapshotThatCannotBeReadNowIsNotDamaged(t *testing.T) {
	s := newStage(t)
	s.purged()
	s.reads = broker.ErrRetry
	if _, err := s.restored(s.acquire()); !errors.Is(err, broker.ErrRetry) || errors.Is(err, broker.ErrLost) {
		t.Errorf("restored with %v, want %v", err, broker.ErrRetry)
	}
}

func TestACommitStandsThoughThePurgeBehindItFails(t *testing.T) {
	s := newStage(t)
	s.purges = broker.ErrRetry
	o := s.acquire()
	for n := int64(1); n <= 30; n += 10 {
		s.commits(o, n, n+9)
		if err := o.Flush(s.ctx); err != nil {
			t.Fatal(err)
		}
		s.snapshot(o)
	}
	s.commits(o, 31, 32)
	s.purges = nil
	next := s.acquire()
	s.mustCommit(next, 33)
	if first := s.first(); first != 21 {
		t.Errorf("after the next owner's commit the log begins at %d, want 21", first)
	}
}

func TestThePartitionIsMarkedAsStartedSoonerOrLater(t *testing.T) {
	s := newStage(t)
	marked := func() bool {
		e, err := s.Broker.Started("sessions", 0).Last(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		return e.Position != 0
	}
	s.acquire()
	if marked() {
		t.Error("marked without any commit")
	}
	s.set(func() { s.mark = fails(1<<30, broker.ErrRetry) })
	o := s.acquire()
	s.commits(o, 1, 2)
	s.set(func() { s.mark = nil })
	if o = s.acquire(); marked() {
		t.Error("marked though the mark could not be stored")
	}
	s.mustCommit(o, 3)
	if !marked() {
		t.Error("not marked with the next owner's commit")
	}
	if err := s.Broker.Started("sessions", 0).Purge(s.ctx, 1<<60); err != nil {
		t.Fatal(err)
	}
	o = s.acquire()
	s.set(func() { s.mark = fails(1, broker.ErrRetry) })
	s.commits(o, 4, 5)
	if !marked() {
		t.Error("not marked with the same owner's next commit")
	}
}

// forge lets commit 12 name a snapshot at commit 10, of 3 parts that say what
// they follow.
func (s *stage) forge(follow func(part int, rightly schemas.Hash) schemas.Hash) {
	s.Helper()
	o := s.acquire()
	s.commits(o, 1, 11)
	c := commit(o, 12, 11)
	var log []commitlog.Entry
	commits := s.Broker.Commits("sessions", 0)
	if err := commits.Scan(s.ctx, 0, 1<<60, func(e commitlog.Entry) error {
		log = append(log, e)
		return nil
	}); err != nil {
		s.Fatal(err)
	}
	at, err := commitlog.DecodeCommit(log[9])
	if err != nil {
		s.Fatal(err)
	}
	named := schemas.Snapshot{CommitNumber: 10, CommitPosition: int64(log[9].Position), Parts: 3, Hash: at.Hash}
	for part := range 3 {
		p := *at
		p.Outputs, p.Delta = nil, state
		message := broker.AppendCommit(nil, &p, follow(part, named.Hash))
		position, err := s.Broker.Snapshots("sessions", 0).Append(s.ctx, message, uint64(named.Last))
		if err != nil {
			s.Fatal(err)
		}
		if part == 0 {
			named.First = int64(position)
		}
		named.Last, named.Hash = int64(position), p.Hash
	}
	tail, err := commitlog.DecodeCommit(log[10])
	if err != nil {
		s.Fatal(err)
	}
	c.Snapshots = []schemas.Snapshot{named}
	if _, err := commits.Append(s.ctx, broker.AppendCommit(nil, c, tail.Hash), log[10].Position); err != nil {
		s.Fatal(err)
	}
}

func TestPartsThatDoNotFollowEachOtherAreNoSnapshot(t *testing.T) {
	for broken := range 4 {
		s := newStage(t)
		s.forge(func(part int, rightly schemas.Hash) schemas.Hash {
			if part == broken {
				rightly[0]++
			}
			return rightly
		})
		numbers, err := s.restored(s.acquire())
		switch broken {
		case 0: // the first part follows no commit of the log
			if !errors.Is(err, broker.ErrLost) {
				t.Errorf("part %d: restored from %v (%v), want %v", broken, numbers, err, broker.ErrLost)
			}
		case 1, 2:
			if err != nil || len(numbers) != 12 || numbers[0] != 1 {
				t.Errorf("part %d: restored from %v (%v), want the whole log", broken, numbers, err)
			}
		case 3: // none is broken
			if err != nil || len(numbers) != 5 || numbers[0] != 10 {
				t.Errorf("restored from %v (%v), want 3 parts at 10 and commits 11 and 12", numbers, err)
			}
		}
	}
}

func TestASnapshotIsDueByBytesSinceTheCommitThatTheLastOneStandsAt(t *testing.T) {
	s := newStage(t)
	probe := s.acquire()
	s.commits(probe, 1, 1)
	tail, err := s.Broker.Commits("sessions", 0).Last(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.bytes = 10 * int64(len(tail.Payload))
	o := s.acquire()
	number := int64(1)
	for !o.SnapshotDue() {
		number++
		s.mustCommit(o, number)
	}
	if number < 8 || number > 12 {
		t.Errorf("due after %d commits, want about 10", number)
	}
	if err := o.Snapshot(s.ctx, state, false); err != nil {
		t.Fatal(err)
	}
	s.commits(o, number+1, number+9) // while it is taken
	if o.SnapshotDue() {
		t.Error("due while one is taken")
	}
	if err := o.Snapshot(s.ctx, state, true); err != nil {
		t.Fatal(err)
	}
	s.commits(o, number+10, number+14)
	if !o.SnapshotDue() {
		t.Error("not due 14 commits after the one that the snapshot stands at")
	}
	next := s.acquire()
	if _, err := s.restored(next); err != nil || !next.SnapshotDue() {
		t.Errorf("not due for the next owner (%v)", err)
	}
}

func TestPartsStandAtTheCommitThoughItsSlicesAreUsedAgain(t *testing.T) {
	s := newStage(t)
	o := s.acquire()
	c := commit(o, 1, 0)
	c.Slices = []schemas.Slice{{NextMessage: 7}}
	if err := o.Commit(s.ctx, c); err != nil {
		t.Fatal(err)
	}
	c.Slices[0].NextMessage = 8
	s.snapshot(o)
	s.mustCommit(o, 2)
	err := s.acquire().Restore(s.ctx, func(c *schemas.Commit) error {
		if c.CommitNumber == 1 && c.Slices[0].NextMessage != 7 {
			t.Errorf("a part stands at message %d, want 7", c.Slices[0].NextMessage)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestARestoreEndsWithItsContext(t *testing.T) {
	s := newStage(t)
	s.purged()
	o := s.acquire()
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := o.Restore(ctx, func(*schemas.Commit) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("restored with %v, want %v", err, context.Canceled)
	}
}
