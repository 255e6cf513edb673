package brokertest

import (
	"errors"
	"maps"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// snapshot takes a snapshot in small parts; between them it calls meanwhile.
// With whole unset its last part is not given.
func (w *worker) snapshot(whole bool, meanwhile func()) {
	w.Helper()
	keys := slices.Sorted(maps.Keys(w.state))
	parts := slices.Collect(slices.Chunk(keys, 3))
	for i, part := range parts {
		last := i == len(parts)-1
		if last && !whole {
			return
		}
		var changes []schemas.Change
		for _, key := range part {
			if value, ok := w.state[key]; ok { // as it is by now
				changes = append(changes, schemas.Change{Key: []byte(key), Value: []byte(value)})
			}
		}
		w.must(w.owner.Snapshot(w.ctx, changes, last))
		meanwhile()
	}
}

func nothing() {}

// commits makes so many commits with a row each.
func (w *worker) commits(n int) {
	w.Helper()
	for range n {
		w.commit(say(enriched, int(w.next)))
	}
}

// first is the number of the first commit that the log still holds.
func (b *bench) first() int64 {
	b.Helper()
	enough := errors.New("enough")
	first := int64(0)
	err := b.History(b.ctx, "sessions", 1, func(c *schemas.Commit) error {
		first = c.CommitNumber
		return enough
	})
	if !errors.Is(err, enough) {
		b.Fatalf("the log has no first commit: %v", err)
	}
	return first
}

// snapshots skips the test where the broker compacts state by itself.
func (b *bench) snapshots() {
	if b.installation.Transactional {
		b.Skip("the broker compacts state by itself")
	}
}

// purged makes a worker that has taken two snapshots, so that the log was
// purged.
func (b *bench) purged() *worker {
	b.Helper()
	b.snapshots()
	w := b.acquire(b, "worker")
	w.commit(say(deadLetters, 1), say(enriched, 1))
	for range 2 {
		w.commits(9)
		w.snapshot(true, nothing)
		w.commits(2)
	}
	for b.first() == 1 { // until the tail knows that the commits are routed
		w.flush()
		w.commits(1)
	}
	w.flush()
	return w
}

func snapshotDue(b *bench) {
	b.snapshots()
	w := b.acquire(b, "worker")
	due := int64(b.installation.SnapshotCommits)
	for round := int64(1); round <= 3; round++ {
		for w.next <= round*due {
			if w.owner.SnapshotDue() {
				b.Fatalf("round %d: due after commit %d, want %d", round, w.next-1, round*due)
			}
			w.commits(1)
		}
		if !w.owner.SnapshotDue() {
			b.Fatalf("round %d: not due after commit %d", round, w.next-1)
		}
		if w = b.acquire(b, "next"); !w.owner.SnapshotDue() {
			b.Errorf("round %d: not due for the next owner", round)
		}
		w.snapshot(true, nothing)
		if w.owner.SnapshotDue() {
			b.Errorf("round %d: due while one waits for its commit", round)
		}
		w.commits(1)
		if stands := b.last().Snapshots; stands[0].CommitNumber != round*due || len(stands) != int(min(round, 2)) {
			b.Errorf("round %d: the next commit names %+v", round, stands)
		}
	}
}

func restoreSnapshot(b *bench) {
	b.snapshots()
	w := b.acquire(b, "worker")
	w.commits(20)
	w.snapshot(true, func() { w.commits(2) })
	if stands := b.last(); len(stands.Snapshots) != 1 || stands.Snapshots[0].CommitNumber != 20 || stands.Snapshots[0].Parts < 3 {
		b.Errorf("commit %d names the snapshots %+v", stands.CommitNumber, stands.Snapshots)
	}
	next := b.acquire(b.open(), "next")
	next.isRestoredTo(w)
	if first := next.restored[0]; first.CommitNumber != 20 || first.Watermark != 20_000 || len(first.Outputs) != 0 {
		b.Errorf("the first part looks like commit %d with watermark %d", first.CommitNumber, first.Watermark)
	}
	next.commits(3)
	next.flush()
	if stands := b.last(); len(stands.Snapshots) != 1 || stands.Snapshots[0].CommitNumber != 20 {
		b.Errorf("commit %d names the snapshots %+v", stands.CommitNumber, stands.Snapshots)
	}
}

func restorePurgedLog(b *bench) {
	w := b.purged()
	if first := b.first(); first != 11 {
		b.Errorf("the log begins at commit %d, want 11", first)
	}
	next := b.acquire(b.open(), "next")
	next.isRestoredTo(w)
	for range 3 {
		next.commits(5)
		next.snapshot(true, func() { next.commits(1) })
	}
	next.commit(say(findings, 1), say(deadLetters, 2))
	next.flush()
	third := b.acquire(b, "third")
	third.isRestoredTo(next)
	third.commits(1)
	third.flush()
	var want []int
	for i := range third.next - 1 {
		if i+1 != next.next-1 { // the one with a finding
			want = append(want, int(i+1))
		}
	}
	b.rows(enriched, want...)
	b.rows(findings, 1)
	b.rows(deadLetters, 1, 2)
}

// renamed lets the next commit name other snapshots than its owner would.
func (w *worker) renamed(change func([]schemas.Snapshot) []schemas.Snapshot) {
	w.Helper()
	last := w.last()
	s := w.script()
	s.next, s.state, s.previous = w.next, w.state, last.Hash
	c := s.build()
	c.Epoch, c.Routed = last.Epoch, last.Routed
	c.Snapshots = change(slices.Clone(last.Snapshots))
	s.storeCommit(c)
	w.committed(c)
}

func damage(s *schemas.Snapshot) { s.Hash[0]++ }

func fallBack(b *bench) {
	w := b.purged()
	for name, change := range map[string]func(*schemas.Snapshot){
		"another hash":      damage,
		"a part is missing": func(s *schemas.Snapshot) { s.Parts++ },
		"the end is torn":   func(s *schemas.Snapshot) { s.Last += 1000 },
		"another commit":    func(s *schemas.Snapshot) { s.CommitNumber++ },
	} {
		w.renamed(func(s []schemas.Snapshot) []schemas.Snapshot {
			change(&s[0])
			return s
		})
		next := b.acquire(b.open(), "next")
		next.isRestoredTo(w)
		if first := next.restored[0]; first.CommitNumber != 10 {
			b.Errorf("%s: restored from a snapshot at commit %d, want 10", name, first.CommitNumber)
		}
		next.commits(1)
		if stands := b.last().Snapshots; len(stands) != 1 || stands[0].CommitNumber != 10 {
			b.Errorf("%s: the next commit names %+v", name, stands)
		}
		next.snapshot(true, nothing)
		next.commits(1)
		w = next
		if stands := b.last().Snapshots; len(stands) != 2 || stands[1].CommitNumber != 10 {
			b.Errorf("%s: the commit after the next snapshot names %+v", name, stands)
		}
	}
}

func bothSnapshotsDamaged(b *bench) {
	w := b.purged()
	w.renamed(func(s []schemas.Snapshot) []schemas.Snapshot {
		damage(&s[0])
		damage(&s[1])
		return s
	})
	if _, err := b.tryAcquire(b, "next"); !errors.Is(err, broker.ErrLost) {
		b.Errorf("restored with %v, want %v", err, broker.ErrLost)
	}
}

func wholeLogNeedsNoSnapshot(b *bench) {
	b.snapshots()
	w := b.acquire(b, "worker")
	w.commits(5)
	w.snapshot(true, nothing)
	w.commits(5)
	w.renamed(func(s []schemas.Snapshot) []schemas.Snapshot {
		damage(&s[0])
		return s
	})
	next := b.acquire(b.open(), "next")
	next.isRestoredTo(w)
	if n := len(next.restored); n != 11 {
		b.Errorf("%d commits restored, want 11", n)
	}
}

func orphanedParts(b *bench) {
	b.snapshots()
	w := b.acquire(b, "first")
	w.commits(10)
	w.snapshot(false, func() { w.commits(1) })
	second := b.acquire(b.open(), "second")
	second.isRestoredTo(w)
	second.snapshot(false, nothing)
	third := b.acquire(b.open(), "third")
	third.commits(1)
	third.snapshot(true, nothing)
	third.commits(1)
	fourth := b.acquire(b.open(), "fourth")
	fourth.isRestoredTo(third)
	if stands := b.last().Snapshots; len(stands) != 1 || stands[0].CommitNumber != third.next-2 {
		b.Errorf("the snapshots are %+v", stands)
	}
}

func snapshotCutOff(b *bench) {
	b.snapshots()
	first := b.acquire(b, "first")
	first.commits(10)
	first.snapshot(false, nothing)
	second := b.acquire(b.open(), "second")
	second.snapshot(true, nothing)
	part := []schemas.Change{{Key: []byte("key"), Value: []byte("value")}}
	if err := first.owner.Snapshot(b.ctx, part, true); !errors.Is(err, broker.ErrFenced) {
		b.Errorf("a part behind another owner's: %v, want %v", err, broker.ErrFenced)
	}
	if err := first.owner.Snapshot(b.ctx, []schemas.Change{{Value: make([]byte, 3<<20)}}, true); !errors.Is(err, broker.ErrTooLarge) {
		b.Errorf("a part of 3 MiB: %v, want %v", err, broker.ErrTooLarge)
	}
	first.commits(1)
	if stands := b.last().Snapshots; len(stands) != 0 {
		b.Errorf("a snapshot that was dropped is named: %+v", stands)
	}
	first.snapshot(true, nothing)
	first.commits(1)
	b.acquire(b.open(), "next").isRestoredTo(first)
}

func startedPartition(b *bench) {
	s := b.script()
	w := b.acquire(b, "worker")
	w.commits(2)
	log := s.store.Commits(s.processor, s.partition)
	last, err := log.Last(b.ctx)
	b.must(err)
	b.must(log.Purge(b.ctx, last.Position+1))
	if _, err := b.tryAcquire(b, "next"); !errors.Is(err, broker.ErrLost) {
		b.Errorf("acquired a started partition without commits with %v, want %v", err, broker.ErrLost)
	}
	fresh, err := b.Acquire(b.ctx, "tasks", 1, "worker")
	b.must(err)
	b.must(fresh.Release(b.ctx))
}
