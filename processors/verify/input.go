package verify

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// follower reads a log up to an end.
type follower struct {
	broker   broker.Broker
	log      broker.Log
	end      uint64 // read no further
	position uint64 // of the last message read
	reader   broker.Reader
}

// patience is how long a message that must be there may take.
const patience = 30 * time.Second

// next is the message that comes next; ok is false at the end.
func (f *follower) next(ctx context.Context) (m broker.Message, ok bool, err error) {
	if f.position >= f.end {
		return m, false, nil
	}
	if f.reader == nil {
		if f.reader, err = f.broker.Read(ctx, f.log, f.position); err != nil {
			return m, false, err
		}
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err = f.reader.Next(limited)
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil && f.reader.Passed() >= f.end:
		f.position = f.end // what stood there has aged out meanwhile
		return m, false, nil
	case err != nil:
		return m, false, fmt.Errorf("cannot read %s behind %d: %w", name(f.log), f.position, err)
	case m.Position > f.end:
		f.close()
		return m, false, nil
	}
	f.position = m.Position
	return m, true, nil
}

// whole tells that the log still holds its first message.
func (f *follower) whole(ctx context.Context) (bool, error) {
	r, err := f.broker.Read(ctx, f.log, 1)
	if errors.Is(err, broker.ErrLost) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, r.Close()
}

func (f *follower) close() {
	if f.reader != nil {
		_ = f.reader.Close() // nothing was written
		f.reader = nil
	}
}

// input is the input of a partition: what the commits say they have read.
type input struct {
	lanes     [2]*lane
	producers map[sequence]*numbers
}

// lane is one lane, read along with the slices of the commits.
type lane struct {
	follower
	lane   schemas.Lane
	whole  bool   // nothing has aged out
	oldest uint64 // position of the first message that is held; the greatest number if none is
	at     place
	begun  *message // the message behind at, or the one that at is in
	told   uint64   // up to here the producers' sequences were noted
}

// message is a message of the input.
type message struct {
	broker.Message
	records  int64
	tick     bool
	segments []schemas.Segment
}

func openInput(ctx context.Context, b broker.Broker, topic string, partition int) (*input, error) {
	in := &input{producers: map[sequence]*numbers{}}
	for i, of := range [...]schemas.Lane{schemas.LaneCritical, schemas.LaneNormal} {
		l := &lane{lane: of, follower: follower{broker: b, log: broker.Log{Topic: topic, Partition: partition, Lane: of}}}
		in.lanes[i] = l
		var err error
		if l.end, err = b.End(ctx, l.log); err != nil {
			return nil, err
		}
		if l.whole, err = l.follower.whole(ctx); err != nil {
			return nil, err
		}
		m, err := in.peek(ctx, l)
		if err != nil {
			return nil, err
		}
		if l.oldest = math.MaxUint64; m != nil {
			l.oldest = m.Position
		}
	}
	return in, nil
}

// peek is the message behind the place, or the one that the place is in; nil at
// the end.
func (in *input) peek(ctx context.Context, l *lane) (*message, error) {
	if l.begun != nil {
		return l.begun, nil
	}
	m, ok, err := l.follower.next(ctx)
	if err != nil || !ok {
		return nil, err
	}
	l.begun = readMessage(m)
	if m.Position > l.told {
		l.told = m.Position
		for i := range l.begun.segments {
			in.number(&l.begun.segments[i], l.whole)
		}
	}
	l.begun.segments = nil
	return l.begun, nil
}

// readMessage counts the records of a message as the engine does: those of a
// frame of events, else one.
func readMessage(m broker.Message) *message {
	read := &message{Message: m, records: 1}
	fingerprint, _ := schemas.MessageFingerprint(m.Payload)
	if schemas.FingerprintName(fingerprint) == "Control" {
		var control schemas.Control
		read.tick = control.DecodeMessage(m.Payload) == nil && control.Type == schemas.ControlTypeTick
		return read
	}
	var frame schemas.Frame
	if frame.DecodeMessage(m.Payload) != nil {
		return read
	}
	read.records, read.segments = 0, frame.Segments
	for i := range frame.Segments {
		read.records += int64(len(frame.Segments[i].Events))
	}
	return read
}

// moveTo moves on to a place and counts the records on the way; last is the
// message that the place is in, nil if there is none at it.
func (in *input) moveTo(ctx context.Context, l *lane, to place) (records int64, last *message, err error) {
	if to.before(l.at) { // read it again
		l.close()
		l.position, l.at, l.begun = 0, place{}, nil
	}
	if uint64(to.message) > l.end { // it has grown since
		if l.end, err = l.broker.End(ctx, l.log); err != nil {
			return 0, nil, err
		}
	}
	for {
		m, err := in.peek(ctx, l)
		if err != nil {
			return 0, nil, err
		}
		if m == nil || int64(m.Position) > to.message {
			l.at = to
			return records, nil, nil
		}
		begun := int64(0)
		if l.at.message == int64(m.Position) {
			begun = l.at.index
		}
		if int64(m.Position) == to.message && to.index > 0 {
			l.at = to
			return records + to.index - begun, m, nil
		}
		records += m.records - begun
		l.at, l.begun = place{int64(m.Position), 0}, nil
		if l.at == to {
			return records, m, nil
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identity tells a message from another one, as slices bear it.
func identity(m broker.Message) int64 {
	at := binary.BigEndian.AppendUint64(nil, uint64(m.AppendedAt))
	return int64(crc32.Update(crc32.Checksum(m.Payload, castagnoli), castagnoli, at)) + 1
}

// records compares a commit with the input that it says it has folded. It tells
// whether that is there and is the same.
func (p *partition) records(ctx context.Context, c *schemas.Commit) (same bool, err error) {
	between, held := int64(0), true
	same = true
	for i := range c.Slices {
		s := &c.Slices[i]
		at := slices.IndexFunc(p.input.lanes[:], func(l *lane) bool { return l.lane == s.Lane })
		if at < 0 {
			p.wrong(Input, c.CommitNumber, "it has read the lane %s, which the input does not have", s.Lane)
			continue
		}
		l := p.input.lanes[at]
		if first(s) == next(s) || next(s).before(first(s)) {
			continue
		}
		if !l.whole && uint64(s.FirstMessage) < l.oldest {
			held = false
			continue
		}
		if l.at != first(s) {
			if _, _, err := p.input.moveTo(ctx, l, first(s)); err != nil {
				return false, err
			}
		}
		records, last, err := p.input.moveTo(ctx, l, next(s))
		if err != nil {
			return false, err
		}
		between += records
		switch {
		case s.Identity == 0: // it went on to where nothing of the lane is
		case last == nil:
			p.doubt(Input, c.CommitNumber, "%s has no message at %d, which was folded", name(l.log), s.NextMessage)
			same = false
		case identity(last.Message) != s.Identity:
			p.doubt(Input, c.CommitNumber, "%s has another message at %d than was folded", name(l.log), s.NextMessage)
			same = false
		}
	}
	if !held {
		p.found.Uncounted++
		return false, nil
	}
	if between != c.Counts.In {
		p.doubt(Counts, c.CommitNumber, "in is %d, and %d records stand in the input between its places", c.Counts.In, between)
		same = false
	}
	return same, nil
}

// lag reads what stands behind the last commit.
func (p *partition) lag(ctx context.Context) error {
	waiting, oldest := int64(0), int64(0)
	for _, l := range p.input.lanes {
		var err error
		if l.end, err = p.broker.End(ctx, l.log); err != nil {
			return err
		}
		if _, _, err := p.input.moveTo(ctx, l, end(p.previous, l.lane)); err != nil {
			return err
		}
		for {
			m, err := p.input.peek(ctx, l)
			if err != nil {
				return err
			}
			if m == nil {
				break
			}
			p.found.Lag.Messages++
			if oldest == 0 || m.AppendedAt < oldest {
				oldest = m.AppendedAt
			}
			if !m.tick {
				waiting++
			}
			l.at, l.begun = place{int64(m.Position), 0}, nil
		}
	}
	if oldest != 0 {
		p.found.Lag.Seconds = max(0, float64(p.Clock()-oldest)/1e6)
	}
	if p.Settled && waiting > 0 {
		p.wrong(Behind, p.found.LastCommit, "%d messages of the input were not folded, and nobody works any more", waiting)
	}
	return nil
}

// sequence names a run of sequence numbers: they run per producer, epoch,
// partition and lane (DESIGN §4).
type sequence struct {
	org, producer string
	epoch         int64
	lane          schemas.Lane
}

// numbers are what has come of a sequence.
type numbers struct {
	next    int64      // first that has not come, but for gaps
	gaps    [][2]int64 // from, and up to but without; in order
	repeats int64
}

// number notes the numbers of a segment. Late ones fill their gap. In a log that
// has lost its start a sequence begins with the first that is held.
func (in *input) number(s *schemas.Segment, whole bool) {
	key := sequence{s.Org, s.ProducerId, s.Epoch, s.Lane}
	n := in.producers[key]
	if n == nil {
		n = &numbers{}
		if !whole {
			n.next = s.FirstSequence
		}
		in.producers[key] = n
	}
	from, to := s.FirstSequence, s.FirstSequence+int64(len(s.Events))
	if from > n.next {
		n.gaps = append(n.gaps, [2]int64{n.next, from})
	}
	n.repeats += max(0, min(to, n.next)-from)
	n.next = max(n.next, to)
	var left [][2]int64
	for _, gap := range n.gaps {
		filled := min(to, gap[1]) - max(from, gap[0])
		if filled <= 0 {
			left = append(left, gap)
			continue
		}
		n.repeats -= filled
		if gap[0] < from {
			left = append(left, [2]int64{gap[0], from})
		}
		if to < gap[1] {
			left = append(left, [2]int64{to, gap[1]})
		}
	}
	n.gaps = left
}

func sortedSequences(of map[sequence]*numbers) []sequence {
	return slices.SortedFunc(maps.Keys(of), func(a, b sequence) int {
		return cmp.Or(cmp.Compare(a.org, b.org), cmp.Compare(a.producer, b.producer), cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.lane, b.lane))
	})
}

// maxProducers is how many producers of a partition are listed.
const maxProducers = 20

// gaps reports what is missing and what came again of the producers' numbers.
func (p *partition) gaps() {
	for _, key := range sortedSequences(p.input.producers) {
		n := p.input.producers[key]
		p.found.Repeats += n.repeats
		one := Producer{Org: key.org, ProducerID: key.producer, Epoch: key.epoch, Lane: key.lane.String(), Next: n.next, Repeats: n.repeats}
		for _, gap := range n.gaps {
			p.found.Gaps += gap[1] - gap[0]
			one.Gaps = append(one.Gaps, [2]int64{gap[0], gap[1] - 1})
			p.wrong(Gap, 0, "events %d to %d of producer %s/%s, epoch %d, lane %s, have not come", gap[0], gap[1]-1, key.org, key.producer, key.epoch, key.lane)
		}
		if (n.repeats > 0 || len(n.gaps) > 0) && len(p.found.Producers) < maxProducers {
			p.found.Producers = append(p.found.Producers, one)
		}
	}
}
