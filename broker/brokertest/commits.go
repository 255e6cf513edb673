package brokertest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// last reads the last commit of partition 1 of sessions.
func (b *bench) last() *schemas.Commit {
	b.Helper()
	c, err := b.LastCommit(b.ctx, "sessions", 1)
	b.must(err)
	if c == nil {
		b.Fatal("there is no commit")
	}
	return c
}

func commitsAreChained(b *bench) {
	w := b.acquire(b, "worker")
	if w.owner.Epoch() != 1 {
		b.Errorf("the first owner has epoch %d, want 1", w.owner.Epoch())
	}
	w.commit(say(enriched, 1, 2), say(findings, 3))
	first := b.last()
	w.commit()
	second := b.last()
	if first.CommitNumber != 1 || len(first.Slices) != 1 || first.PreviousHash != (schemas.Hash{}) {
		b.Errorf("the first commit is %+v", first)
	}
	if !b.installation.Transactional && (len(first.Outputs) != 2 || len(first.Outputs[0].Rows) != 2 || len(first.Delta) == 0) {
		b.Errorf("the first commit is not whole: %+v", first)
	}
	if second.CommitNumber != 2 || second.PreviousHash != first.Hash || second.Hash == first.Hash {
		b.Errorf("commit %d with hash %x names %x behind %x", second.CommitNumber, second.Hash, second.PreviousHash, first.Hash)
	}
}

func noLastCommit(b *bench) {
	b.acquire(b, "worker").commit()
	for partition := range Partitions {
		for _, processor := range []string{"sessions", "tasks"} {
			c, err := b.LastCommit(b.ctx, processor, partition)
			b.must(err)
			if (c != nil) != (partition == 1 && processor == "sessions") {
				b.Errorf("last commit of %s/%d is %v", processor, partition, c)
			}
		}
	}
}

func restoreInOrder(b *bench) {
	w := b.acquire(b, "first")
	if len(w.restored) != 0 {
		b.Errorf("%d commits restored from nothing", len(w.restored))
	}
	for i := range 20 {
		w.commit(say(enriched, i))
	}
	b.must(w.owner.Release(b.ctx))
	next := b.acquire(b.open(), "second")
	if next.owner.Epoch() != 2 {
		b.Errorf("the second owner has epoch %d, want 2", next.owner.Epoch())
	}
	next.isRestoredTo(w)
	if !b.installation.Transactional {
		if len(next.restored) != 20 {
			b.Fatalf("%d commits restored, want 20", len(next.restored))
		}
		for i, c := range next.restored {
			if c.CommitNumber != int64(i+1) || !bytes.Equal(c.Outputs[0].Rows[0], row(enriched, i)) {
				b.Errorf("restored commit %d as number %d with %x", i+1, c.CommitNumber, c.Outputs[0].Rows[0])
			}
		}
	}
	next.commit()
}

// isRestoredTo checks that a worker has the state of the one before.
func (w *worker) isRestoredTo(before *worker) {
	w.Helper()
	if w.next != before.next {
		w.Errorf("restored to commit %d, want %d", w.next-1, before.next-1)
	}
	if !maps.Equal(w.state, before.state) {
		w.Errorf("restored the state %v, want %v", w.state, before.state)
	}
	if last := w.restored[len(w.restored)-1]; last.Watermark != 1000*(before.next-1) || len(last.Slices) != 1 || last.Slices[0].FirstMessage != before.next-1 {
		w.Errorf("the last record that was restored has watermark %d and slices %v", last.Watermark, last.Slices)
	}
}

func history(b *bench) {
	w := b.acquire(b, "worker")
	numbers := func() (all []int64) {
		b.must(b.History(b.ctx, "sessions", 1, func(c *schemas.Commit) error {
			all = append(all, c.CommitNumber)
			return nil
		}))
		return all
	}
	if got := numbers(); len(got) != 0 {
		b.Errorf("a partition without commits has %v", got)
	}
	for range 5 {
		w.commit()
	}
	if got := numbers(); !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
		b.Errorf("the history is %v, want 1 to 5", got)
	}
	enough := errors.New("enough")
	if err := b.History(b.ctx, "sessions", 1, func(*schemas.Commit) error { return enough }); !errors.Is(err, enough) {
		b.Errorf("history that was given up: %v, want %v", err, enough)
	}
}

func restoreBrokenChain(b *bench) {
	store := func(s *script, message []byte) {
		s.storeMessage(s.store.Commits(s.processor, s.partition), message)
	}
	for i, broken := range []struct {
		how string
		by  func(s *script, c *schemas.Commit)
	}{
		{"a gap", func(s *script, c *schemas.Commit) {
			c.CommitNumber++
			s.storeCommit(c)
		}},
		{"another past", func(s *script, c *schemas.Commit) {
			s.previous[0]++
			s.storeCommit(c)
		}},
		{"an older epoch", func(s *script, c *schemas.Commit) {
			c.Epoch = 0
			s.storeCommit(c)
		}},
		{"a changed byte", func(s *script, c *schemas.Commit) {
			message := broker.AppendCommit(nil, c, s.previous)
			message[len(message)-1] ^= 2
			store(s, message)
		}},
		{"a message that is no commit", func(s *script, _ *schemas.Commit) {
			store(s, []byte("a message that is no commit"))
		}},
	} {
		s := b.script()
		s.processor = fmt.Sprint("broken", i)
		s.commit(0)
		broken.by(s, s.build())
		owner, err := b.Acquire(b.ctx, s.processor, s.partition, "worker")
		if err == nil {
			err = owner.Restore(b.ctx, func(*schemas.Commit) error { return nil })
		}
		if !errors.Is(err, broker.ErrLost) {
			b.Errorf("%s: restored with %v, want %v", broken.how, err, broker.ErrLost)
		}
	}
}

func secondOwnerFences(b *bench) {
	first := b.acquire(b, "first")
	first.commit(say(enriched, 1))
	second := b.acquire(b.open(), "second")
	second.commit(say(enriched, 2))
	if first.owner.Epoch() >= second.owner.Epoch() {
		b.Errorf("epoch %d fences %d", second.owner.Epoch(), first.owner.Epoch())
	}
	for range 2 {
		if err := first.try(say(enriched, 3)); !errors.Is(err, broker.ErrFenced) {
			b.Errorf("the first owner's commit: %v, want %v", err, broker.ErrFenced)
		}
	}
	if c := b.last(); c.CommitNumber != 2 || c.Epoch != second.owner.Epoch() {
		b.Errorf("the last commit is %d of epoch %d", c.CommitNumber, c.Epoch)
	}
	second.commit(say(enriched, 4))
	second.flush()
	b.rows(enriched, 1, 2, 4)
}

func ownersFight(b *bench) {
	const workers, each = 3, 15
	var mu sync.Mutex
	next := 0
	var won []int
	claim := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next
	}
	win := func(row int) {
		mu.Lock()
		defer mu.Unlock()
		won = append(won, row)
	}
	var fight sync.WaitGroup
	for range workers {
		c := b.open()
		fight.Go(func() {
			var w *worker
			for i := 0; i < each && b.ctx.Err() == nil; {
				if w == nil {
					var err error
					if w, err = b.tryAcquire(c, "fighter"); err != nil {
						b.Errorf("acquire: %v", err)
						return
					}
				}
				row := claim()
				switch err := w.try(say(enriched, row)); {
				case err == nil:
					win(row)
					i++
				case errors.Is(err, broker.ErrFenced):
					w = nil
				case errors.Is(err, broker.ErrRetry): // nothing of it stands; Kafka has no better word for it at times
				default:
					b.Errorf("commit: %v, want none, %v or %v", err, broker.ErrFenced, broker.ErrRetry)
					return
				}
			}
		})
	}
	fight.Wait()
	w := b.acquire(b, "judge")
	w.flush()
	if w.next-1 != workers*each {
		b.Errorf("%d commits, want %d", w.next-1, workers*each)
	}
	var rows []int
	for _, f := range b.frames(enriched) {
		rows = append(rows, f.rows...)
	}
	slices.Sort(won)
	if sorted := slices.Sorted(slices.Values(rows)); !slices.Equal(sorted, won) {
		b.Errorf("the topic holds rows %v, the owners committed %v", sorted, won)
	}
	b.rows(enriched, rows...)
}

func partitionsCommitTogether(b *bench) {
	var working sync.WaitGroup
	for partition := range Partitions {
		for _, processor := range []string{"sessions", "tasks"} {
			working.Go(func() {
				owner, err := b.Acquire(b.ctx, processor, partition, "worker")
				if err != nil {
					b.Error(err)
					return
				}
				w := b.worker(processor, partition)
				w.owner = owner
				for i := range 40 {
					if err := w.try(say(elsewhere, i)); err != nil {
						b.Errorf("%s/%d: %v", processor, partition, err)
						return
					}
				}
				if err := owner.Release(b.ctx); err != nil {
					b.Error(err)
				}
			})
		}
	}
	working.Wait()
	rows, previous := map[string]int{}, map[string]int64{}
	for _, f := range b.frames(elsewhere) {
		source := f.Processor + string(rune('0'+f.SourcePartition))
		if f.PreviousCommit != previous[source] && (!b.installation.Transactional || f.FirstCommit != previous[source]) {
			b.Errorf("%s: commit %d names %d as the one before, want %d", source, f.FirstCommit, f.PreviousCommit, previous[source])
		}
		previous[source] = f.LastCommit
		rows[source] += len(f.rows)
	}
	if len(rows) != 2*Partitions {
		b.Errorf("rows of %d sources, want %d", len(rows), 2*Partitions)
	}
	for source, n := range rows {
		if n != 40 {
			b.Errorf("%s: %d rows, want 40", source, n)
		}
	}
}

func lostAcknowledgement(b *bench) {
	if b.installation.OpenLossy == nil {
		b.Skip("acknowledgements cannot be lost")
	}
	w := b.acquire(b.closing(b.installation.OpenLossy(b.T)), "worker")
	w.commit(say(enriched, 1))
	w.commit(say(enriched, 2))
	w.flush()
	if c := b.last(); c.CommitNumber != 2 {
		b.Errorf("the last commit is %d, want 2", c.CommitNumber)
	}
	b.rows(enriched, 1, 2)
	b.acquire(b, "next").isRestoredTo(w)
}

// bytesOf is a commit whose only row, a dead letter, takes about size bytes.
func (w *worker) bytesOf(size int) *schemas.Commit {
	c := w.build(say(deadLetters, 1))
	c.Outputs[0].Rows = nil
	for i := 0; size > 0; i++ {
		n := min(size, 60<<10)
		letter := schemas.DeadLetter{Reason: "invalid", Payload: bytes.Repeat([]byte{byte(i)}, n)}
		c.Outputs[0].Rows = append(c.Outputs[0].Rows, letter.AppendAvro(nil))
		size -= n
	}
	return c
}

func largeCommit(b *bench) {
	w := b.acquire(b, "worker")
	c := w.bytesOf(768 << 10)
	b.must(w.owner.Commit(b.ctx, c))
	w.committed(c)
	w.commit(say(deadLetters, 7))
	w.flush()
	frames := b.frames(deadLetters)
	if b.installation.Transactional {
		if len(frames) != len(c.Outputs[0].Rows)+1 {
			b.Errorf("%d rows, want %d", len(frames), len(c.Outputs[0].Rows)+1)
		}
	} else if len(frames) != 2 || len(frames[0].rows) != len(c.Outputs[0].Rows) {
		b.Errorf("%d frames, want 2; the first of %d rows, want %d", len(frames), len(frames[0].rows), len(c.Outputs[0].Rows))
	}
}

func commitTooLarge(b *bench) {
	w := b.acquire(b, "worker")
	w.commit(say(enriched, 1))
	if err := w.owner.Commit(b.ctx, w.bytesOf(3<<20)); !errors.Is(err, broker.ErrTooLarge) {
		b.Errorf("3 MiB: %v, want %v", err, broker.ErrTooLarge)
	}
	if c := b.last(); c.CommitNumber != 1 {
		b.Errorf("the last commit is %d, want 1", c.CommitNumber)
	}
	w.commit(say(enriched, 2))
	w.flush()
	b.rows(enriched, 1, 2)
}

func commitRefused(b *bench) {
	w := b.acquire(b, "worker")
	w.commit(say(enriched, 1))
	for name, change := range map[string]func(*schemas.Commit){
		"a number too high":                   func(c *schemas.Commit) { c.CommitNumber++ },
		"a number again":                      func(c *schemas.Commit) { c.CommitNumber-- },
		"another processor":                   func(c *schemas.Commit) { c.Processor = "tasks" },
		"another partition":                   func(c *schemas.Commit) { c.Partition++ },
		"another generation":                  func(c *schemas.Commit) { c.Generation++ },
		"another epoch":                       func(c *schemas.Commit) { c.Epoch++ },
		"an unknown topic":                    func(c *schemas.Commit) { c.Outputs[0].Topic = broker.Events },
		"an unknown partition":                func(c *schemas.Commit) { c.Outputs[0].Partition = Partitions },
		"a wrong commit before":               func(c *schemas.Commit) { c.Outputs[0].Previous = 0 },
		"no rows":                             func(c *schemas.Commit) { c.Outputs[0].Rows = nil },
		"a lane that the topic does not have": func(c *schemas.Commit) { c.Outputs[0].Lane = schemas.LaneCritical },
		"the topic of config":                 func(c *schemas.Commit) { c.Outputs[0].Topic, c.Outputs[0].Partition = broker.Config, 0 },
		"one log twice":                       func(c *schemas.Commit) { c.Outputs = append(c.Outputs, c.Outputs[0]) },
	} {
		c := w.build(say(enriched, 2))
		change(c)
		if err := w.owner.Commit(b.ctx, c); err == nil {
			b.Fatalf("a commit with %s is stored", name)
		}
	}
	w.commit(say(enriched, 3))
	w.flush()
	b.rows(enriched, 1, 3)
}

func released(b *bench) {
	w := b.acquire(b, "worker")
	w.commit(say(enriched, 1))
	b.must(w.owner.Release(b.ctx))
	b.rows(enriched, 1)
	if err := w.try(); !errors.Is(err, broker.ErrClosed) {
		b.Errorf("commit: %v, want %v", err, broker.ErrClosed)
	}
	b.must(w.owner.Release(b.ctx))
}
