// Package shipper brings a producer's events to the broker: it packs them into
// frames of one partition each and numbers them, so that a gap shows.
package shipper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
)

// A frame is sent when it holds this much: 100 events cost the broker little
// more than one (DESIGN §3).
const (
	frameEvents = 100
	frameBytes  = 64 << 10
)

// Shipper sends events to the log. Delivery is at least once: what may not
// have arrived is sent again, and merged by event_id. Not safe for concurrent
// use.
type Shipper struct {
	broker     broker.Broker
	org        string
	producerID string
	epoch      int64
	frames     []frame // of the normal lane, by partition
	critical   []int64 // sequence numbers of the critical lane, by partition
	urgent     urgent
	dead       [][]byte
	known      map[schemas.Id]bool // dead letters in the topic; nil until needed
	last       []uint64            // position of the last message, by partition
	message    []byte              // reused
}

type frame struct {
	events   [][]byte
	bytes    int
	sequence int64 // of the first event
}

// New makes a shipper for one organisation and producer. epoch is the life of
// its sequence numbers: a later start needs a greater one.
func New(ctx context.Context, b broker.Broker, org, producerID string, epoch int64) (*Shipper, error) {
	n, err := b.Partitions(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot ship events: %w", err)
	}
	return &Shipper{broker: b, org: org, producerID: producerID, epoch: epoch,
		frames: make([]frame, n), critical: make([]int64, n), last: make([]uint64, n)}, nil
}

// Partition is the partition of a key.
func (s *Shipper) Partition(key string) int { return broker.PartitionOf(key, len(s.frames)) }

// Event adds an encoded event to its partition's frame. It may send the frame.
func (s *Shipper) Event(ctx context.Context, partition int, encoded []byte) error {
	f := &s.frames[partition]
	if len(f.events) == frameEvents || f.bytes+len(encoded) > frameBytes && len(f.events) > 0 {
		if err := s.send(ctx, partition); err != nil {
			return err
		}
	}
	f.events = append(f.events, encoded)
	f.bytes += len(encoded)
	return nil
}

// Lane is the lane that a live event takes: the critical one if it is critical,
// unless its session has had its share of that minute (DESIGN §4).
func (s *Shipper) Lane(e *schemas.Event) schemas.Lane {
	if e.Critical && s.urgent.admits(e.SessionId, e.OccurredAt) {
		return schemas.LaneCritical
	}
	return schemas.LaneNormal
}

// Critical sends one encoded event on the critical lane, at once and ahead of
// what waits for the normal one.
func (s *Shipper) Critical(ctx context.Context, partition int, encoded []byte) error {
	record := schemas.Frame{Segments: []schemas.Segment{{Org: s.org, ProducerId: s.producerID, Epoch: s.epoch,
		Lane: schemas.LaneCritical, Schema: schemas.EventSchema, FirstSequence: s.critical[partition], Events: [][]byte{encoded}}}}
	s.message = record.AppendMessage(s.message[:0])
	if err := s.append(ctx, broker.Log{Topic: broker.Events, Partition: partition, Lane: schemas.LaneCritical}, s.message); err != nil {
		return err
	}
	s.critical[partition]++
	return nil
}

// send sends a partition's frame.
func (s *Shipper) send(ctx context.Context, partition int) error {
	f := &s.frames[partition]
	if len(f.events) == 0 {
		return nil
	}
	record := schemas.Frame{Segments: []schemas.Segment{{Org: s.org, ProducerId: s.producerID, Epoch: s.epoch,
		Lane: schemas.LaneNormal, Schema: schemas.EventSchema, FirstSequence: f.sequence, Events: f.events}}}
	s.message = record.AppendMessage(s.message[:0])
	failpoint.Hit("shipper.sending")
	if err := s.append(ctx, broker.Log{Topic: broker.Events, Partition: partition}, s.message); err != nil {
		return err
	}
	failpoint.Hit("shipper.sent")
	*f = frame{events: f.events[:0], sequence: f.sequence + int64(len(f.events))}
	return nil
}

// append stores a message, and tries again for a while where that may help. A
// full topic makes it wait: nothing is dropped.
func (s *Shipper) append(ctx context.Context, to broker.Log, message []byte) error {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(time.Minute))
	began := time.Now()
	err := backoff.RetryNotify(func() error {
		position, err := s.broker.Append(ctx, to, message)
		if err == nil {
			if to.Topic == broker.Events && to.Lane == schemas.LaneNormal {
				s.last[to.Partition] = position
			}
			return nil
		}
		if errors.Is(err, broker.ErrRetry) || errors.Is(err, broker.ErrUnknown) {
			return err
		}
		return backoff.Permanent(err)
	}, backoff.WithContext(policy, ctx), func(err error, _ time.Duration) {
		if time.Since(began) > 2*time.Second {
			slog.Warn("the broker does not take events; trying on", "topic", to.Topic, "partition", to.Partition, "error", err)
		}
	})
	if err != nil {
		return fmt.Errorf("cannot send to %s/%d: %w", to.Topic, to.Partition, err)
	}
	return nil
}

// Flush sends everything that waits.
func (s *Shipper) Flush(ctx context.Context) error {
	for p := range s.frames {
		if err := s.send(ctx, p); err != nil {
			return err
		}
	}
	if len(s.dead) == 0 {
		return nil
	}
	header := schemas.RowHeader{Processor: "producer", Generation: 1}
	message := schemas.AppendRowFrame(nil, schemas.DeadLetterFrameFingerprint, &header, s.dead)
	if err := s.append(ctx, broker.Log{Topic: broker.DeadLetters}, message); err != nil {
		return err
	}
	s.dead = s.dead[:0]
	return nil
}

// endsAtOnce is how many sessions one control record ends: each one's end is
// some state, and a record is folded as a whole.
const endsAtOnce = 512

// SourceEnd tells that all sources of some sessions have been read to their
// end, after everything that waits was sent.
func (s *Shipper) SourceEnd(ctx context.Context, sessionIDs []string) error {
	if err := s.Flush(ctx); err != nil {
		return err
	}
	ends := make([][]schemas.Id, len(s.frames))
	for _, id := range sessionIDs {
		p := s.Partition(id)
		ends[p] = append(ends[p], schemas.SessionKey(s.org, id))
	}
	for p, sessions := range ends {
		for some := range slices.Chunk(sessions, endsAtOnce) {
			end := schemas.Control{Type: schemas.ControlTypeSourceEnd, Org: s.org, ProducerId: s.producerID, Sessions: some}
			if err := s.append(ctx, broker.Log{Topic: broker.Events, Partition: p}, end.AppendMessage(nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Last is the position of the last message sent to a partition's normal lane; 0
// for none.
func (s *Shipper) Last(partition int) uint64 { return s.last[partition] }

// DeadLetter adds a dead letter, unless the topic holds the same one already.
func (s *Shipper) DeadLetter(ctx context.Context, d *schemas.DeadLetter) error {
	d.Org, d.ProducerId = s.org, s.producerID
	schemas.SetDeadLetterID(d)
	if s.known == nil {
		if err := s.readKnown(ctx); err != nil {
			return err
		}
	}
	if s.known[d.RowId] {
		return nil
	}
	s.known[d.RowId] = true
	s.dead = append(s.dead, d.AppendAvro(nil))
	if len(s.dead) >= frameEvents {
		return s.Flush(ctx)
	}
	return nil
}

// readKnown learns which dead letters the topic holds, so that reading the
// same broken input again adds nothing.
func (s *Shipper) readKnown(ctx context.Context) error {
	s.known = map[schemas.Id]bool{}
	return broker.Scan(ctx, s.broker, broker.Log{Topic: broker.DeadLetters}, func(m broker.Message) error {
		var f schemas.DeadLetterFrame
		if err := f.DecodeMessage(m.Payload); err != nil {
			return err
		}
		for i := range f.Rows {
			s.known[f.Rows[i].RowId] = true
		}
		return nil
	})
}
