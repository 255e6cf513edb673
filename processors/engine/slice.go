package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
)

// slice is a run of input, folded in an overlay and not yet committed.
type slice struct {
	tx       *Tx
	head     head
	next     place
	first    place
	consumed int // messages of the queue folded to their end
	counts   schemas.Counts
	more     bool
	panicked bool
	badDue   string // the record whose timer panicked
}

// fold folds what is due and then up to limit records of the queue. A panic of
// the fold ends the slice; the caller drops it, or, if it holds one record
// only, that record is a dead letter.
func (p *partition) fold(limit int64) *slice {
	s := &slice{head: p.head.clone(), next: p.next, first: place{-1, 0}}
	now := p.now
	if len(p.queue) > 0 {
		now = max(now, p.queue[0].appendedAt)
	}
	s.tx = &Tx{state: p.state, generation: p.cfg.Generation}
	s.moveTo(now)
	fold := p.cfg.Processor.Begin(s.tx)

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
		p.foldQueue(s, fold, limit)
	}
	if s.panicked {
		if s.counts.In > 1 {
			return s
		}
		fold = p.poisoned(s)
	}
	s.moveTo(s.tx.now) // what was heard in this slice moves the watermark
	fold.End()
	for _, o := range s.tx.outputs {
		s.head.outputs[o.topic] = p.last + 1
	}
	s.head.put(s.tx)
	s.more = s.more || s.tx.again
	return s
}

// foldDue does the work of one record whose time has come. A record that
// panicked is looked at no more: its timer is taken away and a dead letter
// tells.
func (p *partition) foldDue(s *slice, fold Fold, key string) (panicked bool) {
	if p.badDue[key] {
		value, _, _ := s.tx.Get(key)
		s.tx.Put(key, value, 0)
		s.dead(p, &input{position: p.next.message}, 0, "panic", "the fold panicked over a timer", nil, value)
		s.counts.Dead-- // no record of the input
		return false
	}
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("the fold panicked over a timer", "panic", r)
			panicked = true
		}
	}()
	fold.Due(key)
	return false
}

// moveTo moves the fold's time.
func (s *slice) moveTo(now int64) {
	s.tx.now = now
	s.tx.watermark = s.head.watermark(now)
	s.tx.versions = s.head.versionsAt(now)
}

// foldQueue folds records of the queue until the commit is full.
func (p *partition) foldQueue(s *slice, fold Fold, limit int64) {
	index := p.next.index
	for _, in := range p.queue {
		s.moveTo(max(s.tx.now, in.appendedAt))
		for ; index < in.size(); index++ {
			if s.counts.In >= limit || s.counts.In > 0 && s.tx.Full() {
				return
			}
			if s.first.message < 0 {
				s.first = place{in.position, index}
			}
			s.counts.In++
			s.next = place{in.position, index + 1}
			if s.panicked = p.foldRecord(s, fold, in, index); s.panicked {
				return
			}
		}
		index = 0
		s.next = place{in.position, 0}
		s.consumed++
	}
}

// foldRecord folds one record and counts what became of it.
func (p *partition) foldRecord(s *slice, fold Fold, in *input, index int64) (panicked bool) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("the fold panicked", "message", in.position, "index", index, "panic", r)
			panicked = true
		}
	}()
	switch {
	case in.err != nil:
		s.dead(p, in, index, "undecodable", in.err.Error(), nil, in.payload)
	case in.events == nil:
		s.counts.Passed++
		switch c := &in.control; c.Type {
		case schemas.ControlTypeSourceEnd:
			for _, session := range c.Sessions {
				fold.SourceEnd(session)
			}
		case schemas.ControlTypeConfig:
			s.head.config(c)
		}
	default:
		ev := in.events[index]
		e := &p.scratch
		err := ev.decode(e)
		if err != nil {
			s.dead(p, in, index, "undecodable", err.Error(), ev.segment, ev.encoded)
			return false
		}
		outcome, err := fold.Event(ev.segment.Org, e)
		if errors.Is(err, ErrInvalid) {
			s.dead(p, in, index, "invalid", err.Error(), ev.segment, ev.encoded)
			return false
		}
		if err != nil {
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

// poisoned replaces a slice whose only record panics the fold by one that
// holds its dead letter. What was due was done in the slice that is dropped,
// and is due again.
func (p *partition) poisoned(s *slice) Fold {
	in, index := p.queue[s.consumed], s.first.index
	s.head = p.head.clone()
	s.tx = &Tx{state: p.state, generation: p.cfg.Generation, now: s.tx.now, watermark: s.tx.watermark, versions: s.tx.versions}
	s.counts = schemas.Counts{In: 1}
	s.more = len(p.state.due(s.tx.now, 1)) > 0
	var segment *schemas.Segment
	payload := in.payload
	if in.events != nil {
		segment, payload = in.events[index].segment, in.events[index].encoded
	}
	s.dead(p, in, index, "panic", "the fold panicked", segment, payload)
	if s.next.index == in.size() {
		s.next.index = 0
		s.consumed++
	}
	return p.cfg.Processor.Begin(s.tx)
}

// dead makes a record a dead letter of this commit.
func (s *slice) dead(p *partition, in *input, index int64, reason, detail string, segment *schemas.Segment, payload []byte) {
	s.counts.Dead++
	d := schemas.DeadLetter{
		Generation: p.cfg.Generation,
		Reason:     reason,
		Detail:     detail,
		Source:     fmt.Sprintf("%s/%d", broker.Events, p.number),
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

// commit stores the slice and, when it stands, merges its overlay.
func (p *partition) commit(ctx context.Context, s *slice) error {
	c := &schemas.Commit{
		Processor:    p.cfg.Processor.Name(),
		Partition:    int64(p.number),
		Generation:   p.cfg.Generation,
		CommitNumber: p.last + 1,
		Epoch:        p.owner.Epoch(),
		Owner:        p.cfg.Owner,
		Now:          s.tx.now,
		Watermark:    s.tx.watermark,
		More:         s.more,
		Counts:       s.counts,
		Versions:     s.tx.versions,
		Delta:        s.tx.delta,
		Outputs:      s.tx.grouped(p.number, p.head.outputs),
	}
	c.Versions.Fold = p.cfg.Processor.Version()
	if s.first.message < 0 {
		s.first = p.next
	}
	c.Slices = []schemas.Slice{{Lane: schemas.LaneNormal,
		FirstMessage: s.first.message, FirstIndex: s.first.index,
		NextMessage: s.next.message, NextIndex: s.next.index}}

	failpoint.Hit("engine.folded")
	for backoff := 10 * time.Millisecond; ; backoff = min(2*backoff, 2*time.Second) {
		err := p.owner.Commit(ctx, c)
		if err == nil {
			break
		}
		if !errors.Is(err, broker.ErrRetry) {
			return fmt.Errorf("cannot commit %s/%d number %d: %w", c.Processor, p.number, c.CommitNumber, err)
		}
		p.log.Warn("commit has to wait", "commit", c.CommitNumber, "error", err)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	failpoint.Hit("engine.committed")

	p.state.apply(c.Delta)
	p.head, p.next, p.now, p.last = s.head, s.next, s.tx.now, c.CommitNumber
	for _, in := range p.queue[:s.consumed] {
		p.waiting -= in.size()
		p.bytes -= len(in.payload)
	}
	p.queue = append(p.queue[:0], p.queue[s.consumed:]...)
	if p.cfg.Committed != nil {
		p.cfg.Committed(c)
	}
	return nil
}

// grouped puts the rows together by topic, in the order in which topics and
// rows were said.
func (tx *Tx) grouped(partition int, previous map[string]int64) []schemas.Output {
	var outputs []schemas.Output
	at := map[string]int{}
	for _, o := range tx.outputs {
		i, ok := at[o.topic]
		if !ok {
			i = len(outputs)
			at[o.topic] = i
			outputs = append(outputs, schemas.Output{Topic: o.topic, Partition: int64(partition), Previous: previous[o.topic], Schema: int64(broker.RowSchema(o.topic))})
		}
		outputs[i].Rows = append(outputs[i].Rows, o.row)
	}
	return outputs
}
