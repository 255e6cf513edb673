package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// partition is the owner of one partition of a processor. One goroutine uses
// it; it lives from Acquire to the first doubt.
type partition struct {
	cfg    Config
	number int
	owner  broker.Owner
	log    *slog.Logger

	state *State
	head  head  // what the engine itself remembers; a record of the state
	next  place // next event to fold
	now   int64 // the fold's time
	last  int64 // number of the last commit

	messages <-chan broker.Message
	failed   <-chan error
	queue    []*input        // messages read and not yet wholly committed
	waiting  int64           // records in queue
	bytes    int             // and their size
	single   int64           // records to fold one by one, after a panic
	badDue   map[string]bool // records whose timer panicked
	scratch  schemas.Event
	unread   bool  // a message was read and not folded when it stopped
	passed   int64 // place in the log up to which nothing more comes
}

// place is a place in a lane: message is the last one that was begun; with
// index 0 it is folded to its end, else index is the next event in it.
type place struct{ message, index int64 }

// input is a decoded message of the input log.
type input struct {
	position   int64
	appendedAt int64
	payload    []byte
	events     []event         // of a frame
	control    schemas.Control // else
	err        error           // the message itself cannot be read
}

type event struct {
	segment *schemas.Segment
	encoded []byte
}

// size is the number of records in the message.
func (in *input) size() int64 {
	if in.events != nil {
		return int64(len(in.events))
	}
	return 1
}

// decode reads a message. Its events are not decoded, so that a bad one does
// not hide its neighbours.
func decode(m broker.Message) *input {
	in := &input{position: int64(m.Position), appendedAt: m.AppendedAt, payload: m.Payload}
	fingerprint, _ := schemas.MessageFingerprint(m.Payload)
	if schemas.FingerprintName(fingerprint) == "Control" {
		in.err = in.control.DecodeMessage(m.Payload)
		return in
	}
	var frame schemas.Frame
	if in.err = frame.DecodeMessage(m.Payload); in.err != nil {
		return in
	}
	in.events = []event{}
	for i := range frame.Segments {
		for _, encoded := range frame.Segments[i].Events {
			in.events = append(in.events, event{&frame.Segments[i], encoded})
		}
	}
	return in
}

// open acquires a partition and restores its state from the log.
func open(ctx context.Context, cfg Config, number int) (*partition, error) {
	name := cfg.Processor.Name()
	p := &partition{cfg: cfg, number: number, state: newState(),
		log: cfg.Logger.With("processor", name, "partition", number)}
	owner, err := cfg.Broker.Acquire(ctx, name, number, cfg.Owner)
	if err != nil {
		return nil, fmt.Errorf("cannot acquire %s/%d: %w", name, number, err)
	}
	p.owner = owner
	err = owner.Restore(ctx, func(c *schemas.Commit) error {
		if c.Versions.Fold > cfg.Processor.Version() {
			return fmt.Errorf("commit %d was made by version %d of the fold, this worker has %d: run the newer release", c.CommitNumber, c.Versions.Fold, cfg.Processor.Version())
		}
		for i := range c.Delta { // the record's memory is the log's
			c.Delta[i].Value = bytes.Clone(c.Delta[i].Value)
		}
		p.state.apply(c.Delta)
		for i := range c.Slices {
			p.next = place{c.Slices[i].NextMessage, c.Slices[i].NextIndex}
		}
		p.now, p.last = c.Now, c.CommitNumber
		return nil
	})
	if err == nil {
		err = p.head.decode(p.state.records[headKey].value)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot restore %s/%d: %w", name, number, err)
	}
	p.log.Debug("restored", "commit", p.last, "epoch", owner.Epoch(), "records", len(p.state.records))
	return p, nil
}

func (p *partition) input() broker.Log {
	return broker.Log{Topic: broker.Events, Partition: p.number, Lane: schemas.LaneNormal}
}

// run folds and commits until ctx ends (nil), or until a doubt about the
// ownership or the log (the error).
func (p *partition) run(ctx context.Context) error {
	after := p.next.message
	if p.next.index > 0 {
		after-- // read the message that was begun again
	}
	reader, err := p.cfg.Broker.Read(ctx, p.input(), uint64(after))
	if err != nil {
		return fmt.Errorf("cannot read %s/%d after %d: %w", broker.Events, p.number, after, err)
	}
	defer reader.Close()
	readCtx, stop := context.WithCancel(ctx)
	defer stop()
	messages, failed := make(chan broker.Message, 8), make(chan error, 1)
	p.messages, p.failed = messages, failed
	dropped := false
	defer func() {
		stop()
		for range messages { // until the reader has stopped
			p.unread = true
		}
		p.unread = p.unread || dropped
		p.passed = int64(reader.Passed())
	}()
	go func() {
		defer close(messages)
		for {
			m, err := reader.Next(readCtx)
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-readCtx.Done():
				dropped = true // the channel's close hands this over
				failed <- readCtx.Err()
				return
			}
		}
	}()
	for {
		err := p.fill(ctx)
		if err == nil {
			err = p.step(ctx)
		}
		if err != nil {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil
			}
			return err
		}
	}
}

// park moves the committed place on to where the log has passed without
// messages for this partition: one that stays behind for as long as events are
// kept could not be told from one whose messages were lost.
func (p *partition) park(ctx context.Context) error {
	if p.unread || len(p.queue) > 0 || p.next.index > 0 || p.passed <= p.next.message || p.due() {
		return nil
	}
	s := &slice{head: p.head.clone(), first: p.next, next: place{p.passed, 0}}
	s.tx = &Tx{state: p.state, generation: p.cfg.Generation}
	s.moveTo(p.now)
	s.head.put(s.tx)
	return p.commit(ctx, s)
}

// fill waits until there is something to fold, a message or a record that was
// due at the last commit, and then for more messages for as long as the commit
// may wait.
func (p *partition) fill(ctx context.Context) error {
	if p.due() {
		return ctx.Err()
	}
	if len(p.queue) == 0 {
		if err := p.waitOrTick(ctx); err != nil {
			return err
		}
	}
	linger := time.NewTimer(p.cfg.Linger)
	defer linger.Stop()
	for p.waiting < MaxEvents && p.bytes < SoftBytes {
		select {
		case m, ok := <-p.messages:
			if !ok {
				return p.readFailed()
			}
			p.push(m)
		case <-linger.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// due tells that the fold has work to do before the next event.
func (p *partition) due() bool {
	at := p.state.nextDue()
	return at != 0 && at <= p.now
}

func (p *partition) push(m broker.Message) {
	in := decode(m)
	p.queue = append(p.queue, in)
	p.waiting += in.size()
	p.bytes += len(in.payload)
}

func (p *partition) readFailed() error {
	return fmt.Errorf("cannot read %s/%d: %w", broker.Events, p.number, <-p.failed)
}

// waitOrTick waits for the first message. While none comes and a record
// becomes due by the wall clock, it writes a tick into the input, and one a
// minute otherwise. The wall clock is only a hint: the tick's append time is
// what counts.
func (p *partition) waitOrTick(ctx context.Context) error {
	ticked := false
	for {
		idle := time.Minute
		if at := p.state.nextDue(); at != 0 && !ticked {
			idle = min(idle, max(0, time.Duration(at-p.cfg.Clock())*time.Microsecond)+2*time.Millisecond)
		}
		timer := time.NewTimer(idle)
		select {
		case m, ok := <-p.messages:
			timer.Stop()
			if !ok {
				return p.readFailed()
			}
			p.push(m)
			return nil
		case <-timer.C:
			tick := schemas.Control{Type: schemas.ControlTypeTick}
			_, err := p.cfg.Broker.Append(ctx, p.input(), tick.AppendMessage(nil))
			if err != nil && ctx.Err() == nil {
				p.log.Warn("cannot write a tick", "error", err)
			}
			ticked = true
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// step folds one slice and commits it.
func (p *partition) step(ctx context.Context) error {
	limit := int64(MaxEvents)
	if p.single > 0 {
		limit = 1
	}
	var s *slice
	for {
		s = p.fold(limit)
		if s.badDue != "" {
			if p.badDue == nil {
				p.badDue = map[string]bool{}
			}
			p.badDue[s.badDue] = true
			continue
		}
		if s.panicked && s.counts.In > 1 {
			// The overlay is dropped and the same events are folded one by one:
			// the one that panics is found, its neighbours are not lost.
			p.single, limit = s.counts.In, 1
			continue
		}
		if s.tx.size > HardBytes && s.counts.In > 1 {
			limit = s.counts.In / 2
			continue
		}
		break
	}
	if err := p.commit(ctx, s); err != nil {
		return err
	}
	p.single, p.badDue = max(0, p.single-s.counts.In), nil
	return nil
}
