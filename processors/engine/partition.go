package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// partition is the owner of one partition of a processor. One goroutine uses
// it; it lives from Acquire to the first doubt.
type partition struct {
	cfg     Config
	configs *configs
	number  int
	owner   broker.Owner
	log     *slog.Logger

	state *State
	head  head                          // what the engine itself remembers; a record of the state
	now   int64                         // the fold's time
	last  int64                         // number of the last commit
	lanes [2]*lane                      // in the order in which they are folded
	gone  map[schemas.Id]bool           // archives that were looked for and are not there any more
	part  func() (schemas.Change, bool) // records left of a snapshot that is being taken
	end   func()                        // of part

	marked    bool            // the next record is marked as tried
	hurry     bool            // something was reloaded for the next record: do not linger
	refused   string          // why the next record is a dead letter without being folded, "" if it is not
	snapshots int64           // commit after which a snapshot is tried again
	tickedFor int64           // due time that the last tick was written for, µs
	tickPause time.Duration   // longer with every tick that did not make that due
	suspects  int64           // records to fold one by one, after a panic
	badDue    map[string]bool // records whose timer panicked
	scratch   schemas.Event
	done      context.CancelFunc // of the readers
}

// lane is the reading side of one lane of the input.
type lane struct {
	log  broker.Log
	next place // next event to fold

	messages    chan broker.Message
	failed      chan error
	reader      broker.Reader
	queue       []*input    // messages read and not yet wholly committed
	waiting     int64       // records in queue
	bytes       int         // and their size
	dropped     atomic.Bool // a message was read and not queued
	lag         int64       // messages known to stand behind the last one read
	uncommitted waiting
	pending     bool // something stood behind the place when the reader was opened
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
	frame      bool            // of rows
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
	if name := schemas.FingerprintName(fingerprint); name != "Frame" && strings.HasSuffix(name, "Frame") { // of rows
		in.frame = true
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

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identityOf tells a message from another one at the same position; never 0.
// It covers the append time: a tick, or an event that was sent again, has the
// payload of another message.
func identityOf(payload []byte, appendedAt int64) int64 {
	at := binary.BigEndian.AppendUint64(nil, uint64(appendedAt))
	return int64(crc32.Update(crc32.Checksum(payload, castagnoli), castagnoli, at)) + 1
}

// newPartition is a partition without a past.
func newPartition(cfg Config, number int) *partition {
	p := &partition{cfg: cfg, number: number, state: newState(), configs: cfg.configs,
		log: cfg.Logger.With("processor", cfg.Processor.Name(), "partition", number)}
	for i, l := range [...]schemas.Lane{schemas.LaneCritical, schemas.LaneNormal} {
		p.lanes[i] = &lane{log: broker.Log{Topic: InputOf(cfg.Processor), Partition: number, Lane: l}}
	}
	p.head.outputs = map[string]int64{}
	return p
}

// normal is the lane that ticks are written to.
func (p *partition) normal() *lane { return p.lanes[1] }

// open acquires a partition and restores its state from the log.
func open(ctx context.Context, cfg Config, number int) (*partition, error) {
	started := time.Now()
	p := newPartition(cfg, number)
	name := cfg.Processor.Name()
	var err error
	if p.cfg.partitions, err = cfg.Broker.Partitions(ctx); err != nil {
		return nil, fmt.Errorf("cannot acquire %s/%d: %w", name, number, err)
	}
	owner, err := cfg.Broker.Acquire(ctx, name, number, cfg.Owner)
	if err != nil {
		return nil, fmt.Errorf("cannot acquire %s/%d: %w", name, number, err)
	}
	p.owner = owner
	if err := p.restore(ctx); err != nil {
		return nil, fmt.Errorf("cannot restore %s/%d: %w", name, number, errors.Join(err, owner.Release(ctx)))
	}
	took := time.Since(started)
	cfg.Metrics.restored(p, took)
	p.log.Info("restored", "commit", p.last, "epoch", owner.Epoch(), "records", len(p.state.records), "took", took.Round(time.Millisecond))
	return p, nil
}

// restore brings the state to the tail of the log.
func (p *partition) restore(ctx context.Context) error {
	err := p.owner.Restore(ctx, func(c *schemas.Commit) error {
		if have := p.cfg.Processor.Version(); c.Versions.Fold > have {
			return fmt.Errorf("commit %d was made by version %d of the fold, this worker has %d: %w", c.CommitNumber, c.Versions.Fold, have, errOldFold)
		}
		for i := range c.Delta { // the record's memory is the log's
			c.Delta[i].Value = bytes.Clone(c.Delta[i].Value)
		}
		p.follow(c)
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.head.decode(p.state.records[headKey].value); err != nil {
		return err
	}
	// A pointer may stand in a lane that is read later than what was appended
	// after it took effect; the claim brings every version that there is.
	if err := p.know(ctx); err != nil {
		return err
	}
	for _, v := range p.head.versions {
		if err := p.configs.load(ctx, v.kind, v.version, ""); err != nil {
			return err
		}
	}
	return nil
}

// errOldFold: the partition needs a newer release than this worker's.
var errOldFold = errors.New("run the newer release")

// follow moves the committed state and place on by a commit.
func (p *partition) follow(c *schemas.Commit) {
	p.state.apply(c.Delta)
	for i := range c.Slices {
		for _, l := range p.lanes {
			if s := &c.Slices[i]; s.Lane == l.log.Lane {
				l.next = place{s.NextMessage, s.NextIndex}
			}
		}
	}
	p.now, p.last = c.Now, c.CommitNumber
}

// read opens the readers of both lanes. Where the input has lost its end since
// it was folded, it is read again from its start: what was folded before is
// merged as a duplicate.
func (p *partition) read(ctx context.Context) error {
	ctx, p.done = context.WithCancel(ctx)
	for i, l := range p.lanes {
		reason := lostEnd
		rewound, err := l.open(ctx, p.cfg.Broker, p.head.seen[i])
		if errors.Is(err, broker.ErrLost) { // go on with what is held, and say so
			reason, rewound, err = "its place has aged out", true, nil
		}
		if err != nil {
			return fmt.Errorf("cannot read %s/%d after %d: %w", l.log.Topic, l.log.Partition, l.next.message, err)
		}
		if rewound {
			p.rewind(l, reason)
			if l.reader, err = p.cfg.Broker.Read(ctx, l.log, 0); err != nil {
				return fmt.Errorf("cannot read %s/%d: %w", l.log.Topic, l.log.Partition, err)
			}
		}
		l.messages, l.failed = make(chan broker.Message), make(chan error, 1)
		go l.run(ctx)
	}
	return nil
}

// lostEnd is why a lane is rewound where a message that was folded is not there
// any more, or another one stands in its place.
const lostEnd = "the input has lost its end or was rewritten"

// rewind forgets the place of a lane: whatever is read is folded, again or not.
func (p *partition) rewind(l *lane, reason string) {
	p.log.Error("the input is folded from the start of what is held", "reason", reason, "lane", l.log.Lane, "position", l.next.message)
	p.cfg.Metrics.rewound(p)
	l.next = place{}
}

// open opens the reader behind the committed place, and checks that the last
// message that was folded is still the one that it was.
func (l *lane) open(ctx context.Context, b broker.Broker, seen seen) (rewound bool, err error) {
	end, err := b.End(ctx, l.log)
	if err != nil {
		return false, err
	}
	at := uint64(l.next.message)
	l.pending = end > at || l.next.index > 0
	if end != 0 && end < uint64(seen.message) {
		return true, nil
	}
	if end != 0 && seen.message > 0 {
		if same, err := seen.holds(ctx, b, l.log); err != nil || !same {
			return err == nil, err
		}
	}
	if l.next.index > 0 {
		at-- // read the message that was begun again
	}
	if l.reader, err = b.Read(ctx, l.log, at); err != nil || l.next.index > 0 || seen.message == l.next.message {
		return false, err
	}
	// The place was moved on while the lane was idle. Behind the last message
	// that was folded stands nothing, or what came after the log had lost its end.
	r, err := b.Read(ctx, l.log, uint64(seen.message))
	switch {
	case errors.Is(err, broker.ErrLost): // it has aged out
		return false, nil
	case err != nil:
		return false, errors.Join(err, l.reader.Close())
	}
	err = l.reader.Close()
	l.reader = r
	return false, err
}

// seen is the last message of a lane of which something was folded.
type seen struct{ message, identity int64 }

// holds tells that the log has that message at its position, or has forgotten
// it by age.
func (s seen) holds(ctx context.Context, b broker.Broker, log broker.Log) (same bool, err error) {
	r, err := b.Read(ctx, log, uint64(s.message-1))
	if errors.Is(err, broker.ErrLost) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	m, err := r.Next(ctx)
	if err := errors.Join(err, r.Close()); err != nil {
		return false, err
	}
	return m.Position == uint64(s.message) && identityOf(m.Payload, m.AppendedAt) == s.identity, nil
}

// run hands messages over until ctx ends.
func (l *lane) run(ctx context.Context) {
	defer close(l.messages)
	for {
		m, err := l.reader.Next(ctx)
		if err != nil {
			l.failed <- err
			return
		}
		select {
		case l.messages <- m:
		case <-ctx.Done():
			l.dropped.Store(true) // the channel's close hands this over
			l.failed <- ctx.Err()
			return
		}
	}
}

// close ends the reading of both lanes.
func (p *partition) close() {
	if p.done == nil {
		return
	}
	p.done()
	for _, l := range p.lanes {
		if l.reader == nil {
			continue
		}
		if l.messages == nil { // the other lane could not be opened
			if err := l.reader.Close(); err != nil {
				p.log.Warn("cannot close a reader", "error", err)
			}
			continue
		}
		for range l.messages { // until the reader has stopped
			l.dropped.Store(true)
		}
		if err := l.reader.Close(); err != nil {
			p.log.Warn("cannot close a reader", "error", err)
		}
	}
	if p.end != nil {
		p.end()
	}
}

// run folds and commits until ctx ends (nil), or until a doubt about the
// ownership or the log (the error). A slice that is being folded when ctx ends
// is committed.
func (p *partition) run(ctx context.Context) error {
	defer p.close()
	if err := p.read(ctx); err != nil {
		return stopped(ctx, err)
	}
	if err := p.claim(ctx); err != nil {
		return stopped(ctx, err)
	}
	for {
		if err := p.fill(ctx); err != nil {
			return stopped(ctx, err)
		}
		if err := p.step(ctx); err != nil {
			return stopped(ctx, err)
		}
	}
}

// stopped is nil where the error is only that ctx has ended.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// park moves the committed places on to where the logs have passed without
// messages for this partition: one that stays behind for as long as events are
// kept could not be told from one whose messages were lost.
func (p *partition) park(ctx context.Context) error {
	s := p.empty()
	moved := false
	for i, l := range p.lanes {
		if l.reader == nil || l.dropped.Load() || len(l.queue) > 0 || l.next.index > 0 {
			continue
		}
		if passed := int64(l.reader.Passed()); passed > l.next.message {
			s.runs[i].next, moved = place{passed, 0}, true
		}
	}
	if !moved || p.due() {
		return nil
	}
	p.seal(s)
	return p.commit(ctx, s)
}

// fill waits until there is something to fold, a message or a record that was
// due at the last commit, and then for more messages for as long as the commit
// may wait. A message on the critical lane waits for nothing.
func (p *partition) fill(ctx context.Context) error {
	if p.due() || p.hurry || p.marked { // what was marked is folded next
		return ctx.Err()
	}
	if p.lanes[0].waiting+p.lanes[1].waiting == 0 {
		if err := p.waitOrTick(ctx); err != nil {
			return err
		}
	}
	linger := time.NewTimer(p.cfg.Linger)
	defer linger.Stop()
	critical, normal := p.lanes[0], p.lanes[1]
	for {
		if critical.waiting > 0 || normal.waiting >= MaxEvents || normal.bytes >= SoftBytes {
			return p.drainCritical(ctx)
		}
		select {
		case m, ok := <-critical.messages:
			if err := p.push(ctx, critical, m, ok); err != nil {
				return err
			}
		case m, ok := <-normal.messages:
			if err := p.push(ctx, normal, m, ok); err != nil {
				return err
			}
		case <-linger.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drainCritical takes what else is there on the critical lane, without waiting.
func (p *partition) drainCritical(ctx context.Context) error {
	l := p.lanes[0]
	for l.waiting < MaxEvents && l.bytes < SoftBytes {
		select {
		case m, ok := <-l.messages:
			if err := p.push(ctx, l, m, ok); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// due tells that the fold has work to do before the next event.
func (p *partition) due() bool {
	at := p.state.nextDue()
	return at != 0 && at <= p.now || len(p.head.late) > 0
}

// push queues a message; not ok means that the reading has ended.
func (p *partition) push(ctx context.Context, l *lane, m broker.Message, ok bool) error {
	if !ok {
		err := <-l.failed
		if errors.Is(err, broker.ErrLost) { // opening anew finds out where to go on
			err = fmt.Errorf("%v: %w", err, broker.ErrUnknown) //nolint:errorlint // ErrLost would be final
		}
		return fmt.Errorf("cannot read %s/%d: %w", l.log.Topic, l.log.Partition, err)
	}
	in := decode(m)
	if c := &in.control; (c.Type == schemas.ControlTypeConfig || c.Type == schemas.ControlTypeRestate) && in.err == nil {
		// What the fold will go by is read before it folds.
		err := errNoConfig
		if slices.Contains(configKinds, c.ConfigKind) && c.ConfigVersion > 1 {
			err = p.configs.load(ctx, c.ConfigKind, c.ConfigVersion, c.ConfigHash)
		}
		if err != nil && !errors.Is(err, errNoConfig) {
			l.dropped.Store(true)
			return err
		}
		in.err = err
	}
	if len(l.queue) == 0 && l.next.index == 0 && in.position <= l.next.message {
		p.rewind(l, lostEnd)
	}
	l.queue = append(l.queue, in)
	l.waiting += in.size()
	l.bytes += len(in.payload)
	l.lag = m.Pending
	l.note()
	return nil
}

// waitOrTick waits for the first message. While none comes and a record
// becomes due by the wall clock, it writes a tick into the input, and one a
// minute otherwise. The wall clock is only a hint: the tick's append time is
// what counts.
func (p *partition) waitOrTick(ctx context.Context) error {
	ticked := false
	for {
		idle := time.Minute
		at := p.state.nextDue()
		if at != p.tickedFor {
			p.tickPause = 0
		}
		if at != 0 && !ticked {
			idle = min(idle, max(0, time.Duration(at-p.cfg.Clock())*time.Microsecond)+2*time.Millisecond+p.tickPause)
		}
		timer := time.NewTimer(idle)
		select {
		case m, ok := <-p.lanes[0].messages:
			timer.Stop()
			return p.push(ctx, p.lanes[0], m, ok)
		case m, ok := <-p.lanes[1].messages:
			timer.Stop()
			return p.push(ctx, p.lanes[1], m, ok)
		case <-timer.C:
			tick := schemas.Control{Type: schemas.ControlTypeTick}
			_, err := p.cfg.Broker.Append(ctx, p.normal().log, tick.AppendMessage(nil))
			if err != nil && ctx.Err() == nil {
				p.log.Warn("cannot write a tick", "error", err)
			}
			ticked, p.tickedFor = err == nil, at // else it is tried again
			// The broker's clock may be behind ours: ask less and less often.
			p.tickPause = min(2*p.tickPause+10*time.Millisecond, 5*time.Second)
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// step folds one slice and commits it.
func (p *partition) step(ctx context.Context) error {
	if marked, err := p.mark(ctx); marked || err != nil {
		return err
	}
	s := p.slice(p.limit())
	if s.counts.In > 0 || s.recall == nil && s.awaited == nil || len(s.tx.delta) > 1 {
		if err := p.commit(ctx, s); err != nil {
			return err
		}
		p.suspects, p.badDue = max(0, p.suspects-s.counts.In), nil
	}
	if needs := cmp.Or(s.recall, s.awaited); needs != nil {
		return p.reload(ctx, needs.id)
	}
	return p.snapshot(ctx)
}

// limit is how many records the next slice may hold.
func (p *partition) limit() int64 {
	if p.suspects > 0 || p.head.singly > 0 {
		return 1
	}
	return MaxEvents
}

// slice folds the next records, and again in smaller parts where that does not
// go well.
func (p *partition) slice(limit int64) *slice {
	for {
		s := p.fold(limit)
		if s.badDue != "" {
			if p.badDue == nil {
				p.badDue = map[string]bool{}
			}
			p.badDue[s.badDue] = true
			continue
		}
		switch {
		case s.panicked && s.counts.In > 1:
			// The overlay is dropped and the same events are folded one by one:
			// the one that panics is found, its neighbours are not lost.
			p.suspects, limit = s.counts.In, 1
		case s.panicked:
			p.refused, limit = "panic", 1
		case s.tx.size > HardBytes && s.counts.In > 1:
			limit = s.counts.In / 2
		case s.tx.size > maxRecordBytes && s.counts.In == 1 && p.refused == "":
			p.refused, limit = "too_large", 1 // no broker would take the commit
		default:
			p.refused = ""
			return s
		}
	}
}

// miss notes that an archive is not there any more.
func (p *partition) miss(id schemas.Id) {
	if p.gone == nil || len(p.gone) > 1024 {
		p.gone = map[schemas.Id]bool{}
	}
	p.gone[id] = true
}

// reload brings an archive back into the state, one commit for each part.
func (p *partition) reload(ctx context.Context, id schemas.Id) error {
	p.hurry = true
	st, ok := p.empty().tx.stubOf(id)
	if !ok {
		return nil
	}
	flushed, cancel := p.sure(ctx)
	defer cancel()
	if err := p.owner.Flush(flushed); err != nil { // it may have been archived a moment ago
		return err
	}
	log := broker.Log{Topic: broker.Closed, Partition: p.number}
	parts, err := findParts(ctx, p.cfg.Broker, log, p.cfg.Processor.Name(), st)
	if err != nil {
		return fmt.Errorf("cannot reload from %s/%d: %w", log.Topic, log.Partition, err)
	}
	if parts == nil {
		p.log.Warn("an archive is gone: events of it become dead letters", "closed_at", time.UnixMicro(st.at))
		p.miss(st.id)
		return nil
	}
	for i := range parts {
		if err := p.commit(ctx, p.reloaded(&parts[i], i+1 == len(parts))); err != nil {
			return err
		}
	}
	return nil
}

// snapshotPause is how many commits after a failure another snapshot is begun.
const snapshotPause = 100

// snapshotBytes is the size of a part of a snapshot.
const snapshotBytes = 256 << 10

// snapshot gives the owner another part of the state, where a snapshot is due
// or being taken: one part after each commit, so that none waits for long.
func (p *partition) snapshot(ctx context.Context) error {
	if p.part == nil {
		if p.last < p.snapshots || !p.owner.SnapshotDue() {
			return nil
		}
		p.part, p.end = iter.Pull(p.state.all())
	}
	var records []schemas.Change
	last := false
	for size := 0; size < snapshotBytes; {
		c, ok := p.part()
		if !ok {
			last = true
			break
		}
		records = append(records, c)
		size += len(c.Key) + len(c.Value)
	}
	sure, cancel := p.sure(ctx)
	defer cancel()
	err := p.owner.Snapshot(sure, records, last)
	if last || err != nil {
		p.end()
		p.part, p.end = nil, nil
	}
	if err != nil {
		p.snapshots = p.last + snapshotPause
		p.log.Warn("cannot take a snapshot, trying again later", "error", err)
	}
	return nil
}

// sure is a context for what is brought to its end though ctx may end: it ends
// drainPatience later.
func (p *partition) sure(ctx context.Context) (context.Context, context.CancelFunc) {
	sure, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(drainPatience, cancel) })
	return sure, func() { stop(); cancel() }
}

// drainPatience is how long a worker that was told to stop tries to commit and
// route what it has.
const drainPatience = 10 * time.Second
