package brokertest

import (
	"errors"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

func outputsInOrder(b *bench) {
	w := b.acquire(b, "worker")
	var rows, rare []int
	for i := range 60 {
		switch {
		case i%20 == 7:
			w.commit(say(elsewhere, i), say(enriched, i, 1000+i))
			rare = append(rare, i)
			rows = append(rows, i, 1000+i)
		case i%3 == 0:
			w.commit()
		default:
			w.commit(say(enriched, i))
			rows = append(rows, i)
		}
	}
	w.flush()
	frames := b.rows(enriched, rows...)
	b.rows(elsewhere, rare...)
	byNumber := map[int64][32]byte{}
	b.must(b.History(b.ctx, "sessions", 1, func(c *schemas.Commit) error {
		byNumber[c.CommitNumber] = c.Hash
		if c.Routed >= c.CommitNumber && !b.installation.Transactional {
			b.Errorf("commit %d says that commit %d is routed", c.CommitNumber, c.Routed)
		}
		return nil
	}))
	for _, f := range frames {
		if f.Processor != "sessions" || f.SourcePartition != 1 || f.Generation != 1 {
			b.Errorf("a frame names %s/%d, generation %d", f.Processor, f.SourcePartition, f.Generation)
		}
		if f.CommitHash != byNumber[f.LastCommit] || f.Watermark != 1000*f.LastCommit {
			b.Errorf("a frame up to commit %d has its hash wrong, or watermark %d", f.LastCommit, f.Watermark)
		}
	}
}

func outputsToLanes(b *bench) {
	w := b.acquire(b, "worker")
	all := []broker.Log{findings, urgent, closed, enriched, deadLetters, tasks, spend, taskFacts, spendDeltas, changeFacts,
		{Topic: broker.TaskFacts, Partition: 3, Lane: schemas.LaneCritical}, {Topic: broker.SpendDeltas, Partition: 2}}
	for _, topic := range broker.RowTopics() {
		if !slices.ContainsFunc(all, func(of broker.Log) bool { return of.Topic == topic }) {
			b.Errorf("nothing is said to %s", topic)
		}
	}
	var first, third []said
	for i, of := range all {
		first, third = append(first, say(of, 10+i)), append(third, say(of, 30+i))
	}
	w.commit(first...)
	w.commit(say(urgent, 4))
	w.commit(third...)
	w.flush()
	for i, of := range all {
		if of != urgent {
			b.rows(of, 10+i, 30+i)
		}
	}
	b.rows(urgent, 11, 4, 31)
	next := b.acquire(b.open(), "next")
	next.isRestoredTo(w)
	next.commit(say(urgent, 7), say(findings, 8))
	next.flush()
	b.rows(findings, 10, 30, 8)
	b.rows(urgent, 11, 4, 31, 7)
}

func framesHoldRanges(b *bench) {
	s := b.script()
	var want []int
	for i := range 100 {
		s.commit(0, say(enriched, i))
		want = append(want, i)
	}
	b.acquire(b, "next").flush()
	if frames := b.rows(enriched, want...); len(frames) > 50 {
		b.Errorf("%d frames for 100 small commits", len(frames))
	}
}

func nextOwnerRoutes(b *bench) {
	s := b.script()
	routed := s.commit(0, say(enriched, 1), say(findings, 2), say(elsewhere, 3))
	for _, to := range []broker.Log{enriched, findings, elsewhere} {
		s.route(routed, to)
	}
	half := s.commit(1, say(enriched, 4), say(elsewhere, 5))
	s.route(half, elsewhere)
	s.commit(1, say(enriched, 6), say(deadLetters, 7))

	w := b.acquire(b, "next")
	w.commit(say(enriched, 8), say(findings, 9))
	w.flush()
	b.rows(enriched, 1, 4, 6, 8)
	b.rows(findings, 2, 9)
	b.rows(elsewhere, 3, 5)
	b.rows(deadLetters, 7)

	third := b.acquire(b.open(), "third")
	third.commit()
	third.flush()
	third.commit()
	if c := b.last(); c.Routed != c.CommitNumber-1 {
		b.Errorf("commit %d says that %d is routed, want all before it", c.CommitNumber, c.Routed)
	}
	b.rows(enriched, 1, 4, 6, 8)
	b.rows(deadLetters, 7)
}

func topicLostItsEnd(b *bench) {
	s := b.script()
	s.route(s.commit(0, say(enriched, 1)), enriched)
	s.commit(1, say(enriched, 2))
	s.commit(2, say(enriched, 3))
	s.commit(3)
	b.acquire(b, "next").flush()
	b.rows(enriched, 1, 2, 3)
}

func topicAheadOfLog(b *bench) {
	s := b.script()
	s.commit(0, say(enriched, 1))
	ghost := s.build(say(findings, 2))
	s.route(ghost, findings)
	if _, err := b.tryAcquire(b, "next"); !errors.Is(err, broker.ErrLost) {
		b.Errorf("acquired with %v, want %v", err, broker.ErrLost)
	}

	s = b.script()
	s.processor = "changes"
	s.route(s.build(say(findings, 2)), findings)
	if _, err := b.Acquire(b.ctx, "changes", 1, "next"); !errors.Is(err, broker.ErrLost) {
		b.Errorf("acquired with an empty log with %v, want %v", err, broker.ErrLost)
	}
	if _, err := b.Acquire(b.ctx, "changes", 2, "next"); err != nil {
		b.Errorf("another partition: %v", err)
	}
}

func topicOfAnotherCommit(b *bench) {
	s := b.script()
	lost := s.build(say(enriched, 1))
	lost.Owner = "whose commit is gone"
	broker.AppendCommit(nil, lost, s.previous)
	s.route(lost, enriched)
	s.commit(0, say(enriched, 2))
	s.commit(0)
	if _, err := b.tryAcquire(b, "next"); !errors.Is(err, broker.ErrLost) {
		b.Errorf("restored with %v, want %v", err, broker.ErrLost)
	}
}

func survivesRestart(b *bench) {
	if b.installation.Restart == nil {
		b.Skip("the broker keeps nothing")
	}
	b.append(events, numbered(1, 10)...)
	w := b.acquire(b, "before")
	w.commit(say(enriched, 1))
	w.commit(say(enriched, 2))
	w.flush()
	before := b.last()
	b.must(b.Close())
	b.installation.Restart(b.T)

	b.Broker = b.open()
	b.settle()
	if got := payloads(b.take(b.read(events, 0), 10)); got[9] != "message 10" {
		b.Errorf("read %q", got)
	}
	if after := b.last(); after.Hash != before.Hash {
		b.Errorf("the last commit is %d, want %d", after.CommitNumber, before.CommitNumber)
	}
	w = b.acquire(b, "after")
	w.commit(say(enriched, 3))
	w.flush()
	b.rows(enriched, 1, 2, 3)
}

// settle waits until the broker answers for every topic and for commits.
func (b *bench) settle() {
	b.Helper()
	for _, l := range []broker.Log{events, enriched, findings, urgent, tasks, spend, taskFacts, spendDeltas, deadLetters, closed, {Topic: broker.Config}} {
		b.answered(func() error {
			_, err := b.End(b.ctx, l)
			return err
		})
	}
	b.answered(func() error {
		_, err := b.LastCommit(b.ctx, "sessions", 1)
		return err
	})
	b.answered(func() error {
		o, err := b.Acquire(b.ctx, "settling", 0, "nobody")
		if err != nil {
			return err
		}
		return o.Release(b.ctx)
	})
}

// answered asks until the answer is not "not now".
func (b *bench) answered(ask func() error) {
	b.Helper()
	for {
		err := ask()
		if err == nil {
			return
		}
		if !errors.Is(err, broker.ErrRetry) {
			b.Fatal(err)
		}
	}
}

func worksThroughRestart(b *bench) {
	if b.installation.Restart == nil {
		b.Skip("the broker keeps nothing")
	}
	b.append(events, "one")
	r := b.read(events, 0)
	b.take(r, 1)
	w := b.acquire(b, "worker")
	w.commit(say(enriched, 1))
	w.commit(say(enriched, 2))
	b.installation.Restart(b.T)

	w.commit(say(enriched, 3))
	w.flush()
	b.settle()
	b.rows(enriched, 1, 2, 3)
	for {
		_, err := b.Append(b.ctx, events, []byte("two"))
		if err == nil {
			break
		}
		if !errors.Is(err, broker.ErrRetry) && !errors.Is(err, broker.ErrUnknown) {
			b.Fatal(err)
		}
	}
	if got := payloads(b.take(r, 1)); got[0] != "two" {
		b.Errorf("read %q, want %q", got, "two")
	}
}
