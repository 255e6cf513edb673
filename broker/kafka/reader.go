package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// fetchWait is how long a fetch of a reader waits at the cluster.
	fetchWait = 500 * time.Millisecond
	// readRetry is the pause after a failed fetch.
	readRetry = 100 * time.Millisecond
)

// Read opens a reader with a connection of its own: a broker answers the
// requests of one connection one after the other, and a fetch waits.
//
// A position is good as long as the partition holds the record behind it, and
// ErrLost after that, also where the partition has lost its end.
func (b *Broker) Read(ctx context.Context, from broker.Log, after uint64) (broker.Reader, error) {
	r, err := b.read(ctx, from, after)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s/%d after %d: %w", from.Topic, from.Partition, after, err)
	}
	return r, nil
}

func (b *Broker) read(ctx context.Context, from broker.Log, after uint64) (*reader, error) {
	if err := b.check(ctx, from); err != nil {
		return nil, err
	}
	at := b.config.place(from)
	start, err := b.listOffset(ctx, at, offsetStart)
	if err != nil {
		return nil, err
	}
	end, err := b.listOffset(ctx, at, offsetEnd)
	if err != nil {
		return nil, err
	}
	offset := int64(after)
	switch {
	case after == 0:
		offset = start
	case offset < start || offset > end:
		return nil, fmt.Errorf("the partition holds %d to %d: %w", start+1, end, broker.ErrLost)
	}
	client, err := kgo.NewClient(b.with()...)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(b.life)
	r := &reader{of: from, passed: after, batches: make(chan batch), life: life, stop: stop, broker: b.life, ended: make(chan struct{})}
	go r.follow(b, cursor{client: client, at: at, offset: offset}, after == 0)
	return r, nil
}

// reader is a [broker.Reader].
type reader struct {
	of      broker.Log
	batches chan batch // from follow
	life    context.Context
	stop    context.CancelFunc
	broker  context.Context // the connection's life
	ended   chan struct{}   // follow has

	now    batch // what is handed out
	passed uint64
}

// batch is what one fetch brought.
type batch struct {
	records []*kgo.Record
	next    int64 // offset behind it
	high    int64 // high watermark
	err     error // of the place behind it
}

// follow fetches one batch ahead. fromStart lets it begin later than it was
// told when the first records age out before it has read any.
func (r *reader) follow(b *Broker, c cursor, fromStart bool) {
	defer close(r.ended)
	defer c.client.Close()
	var failing time.Time
	for r.life.Err() == nil {
		before := c.offset
		got, err := c.fetch(r.life, fetchWait, b.config.Timeout)
		if fromStart && errors.Is(err, broker.ErrLost) {
			if start, listErr := b.listOffset(r.life, c.at, offsetStart); listErr == nil && start > c.offset {
				c.offset = start
				continue
			}
		}
		if err == nil {
			failing = time.Time{}
			if c.offset == before {
				continue
			}
			fromStart = false
		} else {
			// A broker that comes up may not know its topics yet.
			unknown := errors.Is(err, broker.ErrNotProvisioned)
			if failing.IsZero() {
				failing = time.Now()
			}
			if errors.Is(err, broker.ErrRetry) || unknown && time.Since(failing) < b.config.Timeout {
				_ = pauseFor(r.life, readRetry)
				continue
			}
		}
		select {
		case r.batches <- batch{got.records, c.offset, got.high, err}:
		case <-r.life.Done():
		}
		if err != nil {
			return
		}
	}
}

func (r *reader) Next(ctx context.Context) (broker.Message, error) {
	m, err := r.next(ctx)
	if err != nil {
		return broker.Message{}, fmt.Errorf("cannot read %s/%d: %w", r.of.Topic, r.of.Partition, err)
	}
	return m, nil
}

func (r *reader) next(ctx context.Context) (broker.Message, error) {
	for {
		if r.life.Err() != nil {
			return broker.Message{}, broker.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return broker.Message{}, err
		}
		if len(r.now.records) > 0 {
			return r.take()
		}
		if r.now.err != nil {
			return broker.Message{}, r.now.err
		}
		select {
		case r.now = <-r.batches:
			if len(r.now.records) == 0 {
				r.passed = max(r.passed, uint64(r.now.next))
			}
		case <-ctx.Done():
		case <-r.life.Done():
		}
	}
}

// take hands the next record out. One that cannot be read stays.
func (r *reader) take() (broker.Message, error) {
	record := r.now.records[0]
	payload, err := payloadOf(r.of.Topic, record)
	if err != nil {
		return broker.Message{}, fmt.Errorf("position %d: %w", record.Offset+1, err)
	}
	r.now.records[0] = nil
	r.now.records = r.now.records[1:]
	m := broker.Message{
		Position:   uint64(record.Offset) + 1,
		AppendedAt: record.Timestamp.UnixMicro(),
		Payload:    payload,
		Pending:    max(0, r.now.high-record.Offset-1),
	}
	r.passed = m.Position
	if len(r.now.records) == 0 {
		r.passed = uint64(r.now.next)
	}
	return m, nil
}

// Passed is a position up to which nothing of the log is still to come.
func (r *reader) Passed() uint64 { return r.passed }

func (r *reader) Close() error {
	r.stop()
	<-r.ended
	return nil
}
