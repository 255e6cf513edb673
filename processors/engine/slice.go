package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
)

// slice is a run of input of each lane, folded in an overlay and not yet
// committed.
type slice struct {
	tx       *Tx
	head     head
	runs     [2]run // by lane, in the order of folding
	counts   schemas.Counts
	more     bool
	reloads  []schemas.Reload
	recall   *recall // what the record behind the slice needs first
	awaited  *recall // what a record whose time has come needs first
	panicked bool
	badDue   string // the record whose timer panicked
}

// run is what a slice took from one lane.
type run struct {
	first, next place
	consumed    int // messages of the queue folded to their end
}

// empty is a slice that folds nothing and changes nothing but the head. What was
// due stays due.
func (p *partition) empty() *slice {
	s := &slice{head: p.head.clone(), more: p.due()}
	for i, l := range p.lanes {
		s.runs[i] = run{first: l.next, next: l.next}
	}
	s.tx = &Tx{state: p.state, configs: p.configs, head: &s.head, generation: p.cfg.generation, partition: p.number, partitions: p.cfg.partitions, commit: p.last + 1, gone: p.gone}
	s.moveTo(p.now)
	return s
}

// fold folds what is due and then up to limit records of the queues, the
// critical lane first. A panic of the fold ends the slice, which the caller
// drops.
func (p *partition) fold(limit int64) *slice {
	s := p.empty()
	now := p.now
	for _, l := range p.lanes {
		if len(l.queue) > 0 {
			now = max(now, l.queue[0].appendedAt)
			break
		}
	}
	s.moveTo(now)
	defer p.watch()()
	fold := p.cfg.Processor.Begin(s.tx)

	p.foldLate(s, fold)
	due := p.state.due(now, MaxEvents)
	done := 0
	for ; done < len(due) && !s.tx.Full(); done++ {
		if s.panicked = p.foldDue(s, fold, due[done]); s.panicked {
			s.badDue = due[done]
			return s
		}
	}
	s.more = done < len(due) || done == MaxEvents
	if !s.more && !s.tx.Full() {
		p.foldQueues(s, fold, limit)
	}
	if s.panicked {
		return s
	}
	s.moveTo(s.tx.now) // what was heard in this slice moves the watermark
	fold.End()
	p.seal(s)
	s.more = s.more || s.tx.again || s.awaited != nil || len(s.head.late) > 0
	return s
}

// seal puts the engine's own records into the slice.
func (p *partition) seal(s *slice) {
	s.tx.settleArchives(p.last + 1)
	for _, o := range s.tx.outputs {
		s.head.outputs[destination(o.topic, o.lane, o.partition, p.number)] = p.last + 1
	}
	for i, l := range p.lanes {
		if in := l.at(s.runs[i].next.message); in != nil {
			s.head.seen[i] = seen{in.position, identityOf(in.payload, in.appendedAt)}
		}
	}
	if s.counts.In > 0 {
		s.head.singly = max(0, s.head.singly-s.counts.In)
	}
	s.head.put(s.tx)
}

// watch ends the process when a fold does not come back: the next owner will
// know by the marks which record it was.
func (p *partition) watch() (stop func()) {
	timer := time.AfterFunc(p.cfg.Watchdog, func() {
		p.log.Error("the fold does not come back, the worker ends itself", "commit", p.last+1, "after", p.cfg.Watchdog)
		os.Exit(70) // EX_SOFTWARE
	})
	return func() { timer.Stop() }
}

// foldDue does the work of one record whose time has come. A record that
// panicked is looked at no more: its timer is taken away and a dead letter
// tells.
func (p *partition) foldDue(s *slice, fold Fold, key string) (panicked bool) {
	if key[0] == stubPage[0] {
		s.tx.expireStubs(key)
		return false
	}
	if p.badDue[key] {
		value, _, _ := s.tx.Get(key)
		s.tx.Put(key, value, 0)
		s.dead(p, p.normal().log, &input{position: p.normal().next.message}, 0, "panic", "the fold panicked over a timer", nil, value)
		s.counts.Dead-- // no record of the input
		return false
	}
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("the fold panicked over a timer", "panic", r)
			panicked = true
		}
	}()
	var needs *recall
	if err := fold.Due(key); errors.As(err, &needs) {
		s.awaited = cmp.Or(s.awaited, needs)
	} else if err != nil {
		panic(err)
	}
	return false
}

// foldLate tells the fold of versions that took effect before they were known.
func (p *partition) foldLate(s *slice, fold Fold) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("the fold panicked over a version that is known late: rows that were said may go by the one before", "panic", r)
		}
	}()
	for late := s.head.late; len(late) > 0; late = late[1:] {
		s.head.late = late[1:]
		fold.Restate(Restatement{Kind: late[0].kind, Version: late[0].version, Since: late[0].effectiveAt})
	}
}

// moveTo moves the fold's time.
func (s *slice) moveTo(now int64) {
	s.tx.now = now
	s.tx.watermark = s.head.watermark(now)
	s.tx.versions = s.head.versionsAt(now)
}

// foldQueues folds records of the queues until the commit is full.
func (p *partition) foldQueues(s *slice, fold Fold, limit int64) {
	for i, l := range p.lanes {
		index := l.next.index
		for _, in := range l.queue {
			for ; index < in.size(); index++ {
				if s.counts.In >= limit || s.counts.In > 0 && s.tx.Full() {
					return
				}
				before, now := s.runs[i], s.tx.now
				s.tx.appendedAt = in.appendedAt
				if before.next.message != in.position { // the first record of it in this slice, or in any
					s.moveTo(max(now, in.appendedAt))
				}
				s.runs[i].next = place{in.position, index + 1}
				s.counts.In++
				if s.panicked = p.foldRecord(s, fold, l, in, index); s.panicked {
					return
				}
				if s.recall != nil {
					s.runs[i] = before
					s.moveTo(now)
					s.counts.In--
					return
				}
			}
			index = 0
			s.runs[i].next = place{in.position, 0}
			s.runs[i].consumed++
		}
	}
}

// refusals are the details of dead letters that were not folded, by reason.
var refusals = map[string]string{
	"panic":     "the fold panicked",
	"too_large": "what it leads to fits in no commit",
}

// foldRecord folds one record and counts what became of it.
func (p *partition) foldRecord(s *slice, fold Fold, l *lane, in *input, index int64) (panicked bool) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("the fold panicked", "lane", l.log.Lane, "message", in.position, "index", index, "panic", r)
			panicked = true
		}
	}()
	var ev event
	payload := in.payload
	if in.events != nil {
		ev = in.events[index]
		payload = ev.encoded
	}
	dead := func(reason, detail string) { s.dead(p, l.log, in, index, reason, detail, ev.segment, payload) }
	switch {
	case s.head.singly > 0 && s.head.tries > maxTries:
		dead("killed_worker", fmt.Sprintf("%d workers ended while they folded it", maxTries))
	case p.refused != "":
		dead(p.refused, refusals[p.refused])
	case in.err != nil:
		dead("undecodable", in.err.Error())
	case in.frame:
		frames, ok := fold.(FrameFold)
		if !ok {
			dead("undecodable", "a frame of rows")
			return false
		}
		switch err := frames.Frame(in.payload); {
		case errors.As(err, &s.recall):
		case errors.Is(err, ErrArchived):
			dead("closed", err.Error())
		case errors.Is(err, ErrInvalid):
			dead("invalid", err.Error())
		case err != nil:
			panic(err)
		default:
			s.counts.Applied++
		}
	case in.events == nil:
		s.counts.Passed++
		switch c := &in.control; c.Type {
		case schemas.ControlTypeSourceEnd:
			for _, session := range c.Sessions {
				fold.SourceEnd(session)
			}
		case schemas.ControlTypeConfig:
			s.head.config(c, s.tx.now)
		case schemas.ControlTypeRestate:
			fold.Restate(Restatement{Kind: strings.Clone(c.ConfigKind), Version: c.ConfigVersion, Since: c.Since, Reason: strings.Clone(c.Reason), Asked: c.EffectiveAt})
		}
	default:
		e := &p.scratch
		if err := ev.decode(e); err != nil {
			dead("undecodable", err.Error())
			return false
		}
		outcome, err := fold.Event(ev.segment.Org, e)
		switch {
		case errors.As(err, &s.recall):
			return false
		case errors.Is(err, ErrArchived):
			dead("closed", err.Error())
			return false
		case errors.Is(err, ErrInvalid):
			dead("invalid", err.Error())
			return false
		case err != nil:
			panic(err)
		}
		s.heardFrom(e.Witness, in.appendedAt)
		switch outcome {
		case Applied:
			s.counts.Applied++
		case Duplicate:
			s.counts.Duplicate++
		case Passed:
			s.counts.Passed++
		}
	}
	return false
}

// decode reads an event by its writer's schema.
func (ev event) decode(e *schemas.Event) error {
	body, err := schemas.Resolve(uint64(ev.segment.Schema), schemas.EventFingerprint, ev.encoded)
	if err != nil {
		return err
	}
	rest, err := e.DecodeAvro(body)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after the event", len(rest))
	}
	return err
}

// dead makes a record a dead letter of this commit.
func (s *slice) dead(p *partition, log broker.Log, in *input, index int64, reason, detail string, segment *schemas.Segment, payload []byte) {
	s.counts.Dead++
	d := schemas.DeadLetter{
		Generation: p.cfg.generation,
		Reason:     reason,
		Detail:     detail,
		Source:     log.String(),
		Position:   strconv.FormatInt(in.position, 10) + "/" + strconv.FormatInt(index, 10),
		Hash:       schemas.TextHash(payload),
		Size:       int64(len(payload)),
		OccurredAt: s.tx.now,
	}
	if segment != nil {
		d.Org, d.ProducerId = strings.Clone(segment.Org), strings.Clone(segment.ProducerId)
		if len(payload) < 64<<10 {
			d.Payload = schemas.AppendRecord(nil, uint64(segment.Schema), payload)
		}
	}
	d.Cap()
	schemas.SetDeadLetterID(&d)
	s.tx.Emit(broker.DeadLetters, d.AppendAvro(nil))
}

// How often a record may have ended a worker.
const (
	maxStarts = 3 // at one place, before its records are folded one by one
	maxTries  = 3 // at one record, before it becomes a dead letter
)

// claim is the first commit of an owner: it fences the older ones, and counts
// how often folding has begun at this place and come no further. After
// maxStarts the next records are folded one by one.
func (p *partition) claim(ctx context.Context) error {
	s := p.empty()
	at := p.places()
	pending := p.lanes[0].pending || p.lanes[1].pending
	switch {
	case s.head.claimed != at:
		s.head.claimed, s.head.starts = at, 0
	case !pending:
		s.head.starts = 0
	}
	if pending {
		s.head.starts++
	}
	if s.head.starts > maxStarts {
		p.log.Warn("several owners have ended here: the next records are folded one by one", "starts", s.head.starts)
		s.head.singly, s.head.starts = MaxEvents, 1
	}
	p.seal(s)
	return p.commit(ctx, s)
}

// mark notes by a commit of its own that the next record is about to be folded,
// while records are folded one by one. It tells whether it did.
func (p *partition) mark(ctx context.Context) (bool, error) {
	if p.head.singly == 0 || p.marked || p.due() || p.lanes[0].waiting+p.lanes[1].waiting == 0 {
		return false, nil
	}
	s := p.empty()
	if at := p.places(); s.head.tried != at {
		s.head.tried, s.head.tries = at, 0
	}
	s.head.tries++
	p.seal(s)
	err := p.commit(ctx, s)
	p.marked = err == nil
	return true, err
}

func (p *partition) places() [2]place { return [2]place{p.lanes[0].next, p.lanes[1].next} }

// reloaded is the slice that brings a part of an archive back.
func (p *partition) reloaded(a *part, last bool) *slice {
	s := p.empty()
	s.reloads = []schemas.Reload{a.reload}
	if err := a.records(func(key string, value []byte, due int64) {
		if due != 0 {
			due = s.tx.now + restAgain
		}
		s.tx.Put(key, value, due)
	}); err != nil {
		p.log.Error("an archive is damaged, the rest of it is lost", "error", err)
	}
	if last {
		var id schemas.Id
		copy(id[:], a.row.Key)
		s.tx.setStub(id, nil)
	}
	p.seal(s)
	return s
}

// record is the commit that a slice becomes.
func (p *partition) record(s *slice) *schemas.Commit {
	c := &schemas.Commit{
		Processor:    p.cfg.Processor.Name(),
		Partition:    int64(p.number),
		Generation:   p.cfg.generation,
		CommitNumber: p.last + 1,
		Epoch:        p.owner.Epoch(),
		Owner:        p.cfg.Owner,
		Now:          s.tx.now,
		Watermark:    s.tx.watermark,
		More:         s.more,
		Counts:       s.counts,
		Versions:     s.tx.versions,
		Delta:        s.tx.delta,
		Outputs:      s.tx.grouped(p.head.outputs),
		Reloads:      s.reloads,
	}
	c.Versions.Fold = p.cfg.Processor.Version()
	for i, l := range p.lanes {
		r, identity := &s.runs[i], int64(0)
		if s.head.seen[i].message == r.next.message {
			identity = s.head.seen[i].identity
		}
		c.Slices = append(c.Slices, schemas.Slice{Lane: l.log.Lane,
			FirstMessage: r.first.message, FirstIndex: r.first.index,
			NextMessage: r.next.message, NextIndex: r.next.index, Identity: identity})
	}
	return c
}

// at is the queued message at a position.
func (l *lane) at(position int64) *input {
	for _, in := range l.queue {
		if in.position == position {
			return in
		}
	}
	return nil
}

// commit stores the slice and, when it stands, merges its overlay. It is
// brought to its end also when ctx ends meanwhile.
func (p *partition) commit(ctx context.Context, s *slice) error {
	c := p.record(s)
	failpoint.Hit("engine.folded")
	if err := p.store(ctx, c); err != nil {
		return err
	}
	failpoint.Hit("engine.committed")

	p.state.apply(c.Delta)
	p.head, p.now, p.last = s.head, s.tx.now, c.CommitNumber
	p.hurry = false
	p.marked = p.marked && c.Counts.In == 0
	for i, l := range p.lanes {
		r := &s.runs[i]
		l.next = r.next
		for _, in := range l.queue[:r.consumed] {
			l.waiting -= in.size()
			l.bytes -= len(in.payload)
		}
		l.queue = append(l.queue[:0], l.queue[r.consumed:]...)
		l.note()
	}
	if p.cfg.Committed != nil {
		p.cfg.Committed(c)
	}
	return nil
}

// store commits, and again for as long as the broker says that it did not.
func (p *partition) store(ctx context.Context, c *schemas.Commit) error {
	sure, cancel := p.sure(ctx)
	defer cancel()
	for backoff := 10 * time.Millisecond; ; backoff = min(2*backoff, 2*time.Second) {
		started := time.Now()
		err := p.owner.Commit(sure, c)
		if err == nil {
			p.cfg.Metrics.committed(p, c, time.Since(started))
			return nil
		}
		if !errors.Is(err, broker.ErrRetry) {
			return fmt.Errorf("cannot commit %s/%d number %d: %w", c.Processor, p.number, c.CommitNumber, err)
		}
		p.cfg.Metrics.retried(p)
		p.log.Warn("commit has to wait", "commit", c.CommitNumber, "error", err)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
