package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/nats-io/nats.go/jetstream"
)

// Read opens a reader.
//
// A stream holds many logs and removes the oldest messages of all of them, so
// it cannot be told afterwards whose they were. A position is therefore good as
// long as the stream still begins at the message behind it or before, and
// ErrLost after that; an idle log's reader moves its place on (Passed) long
// before it comes to that. The check is made after messages have come in and
// before they are handed out, so that nothing is skipped while a reader lags,
// reconnects or is purged under. Single messages that an operator deletes are
// not noticed.
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
	stream, subject := b.place(from)
	r := &reader{b: b, of: from, stream: stream, passed: after, verified: after}
	if err := r.verify(ctx); err != nil {
		return nil, err
	}
	r.feed = b.follow(stream, subject, after+1)
	return r, nil
}

// Seek asks for the first message that was stored at a time or later: what is
// before that has aged out or is older.
func (b *Broker) Seek(ctx context.Context, in broker.Log, at int64) (uint64, error) {
	position, err := b.seek(ctx, in, at)
	if err != nil {
		return 0, fmt.Errorf("cannot seek %s in %s/%d: %w", time.UnixMicro(at).UTC(), in.Topic, in.Partition, err)
	}
	return position, nil
}

func (b *Broker) seek(ctx context.Context, in broker.Log, at int64) (uint64, error) {
	if err := b.check(ctx, in); err != nil {
		return 0, err
	}
	stream, subject := b.place(in)
	state, err := b.state(ctx, stream) // what comes after it, the consumer sees
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	start := time.UnixMicro(at)
	consumer, err := b.js.CreateConsumer(limited, stream, jetstream.ConsumerConfig{
		FilterSubject: subject,
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &start,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, HeadersOnly: true,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return 0, asked(ctx, err)
	}
	defer b.remove(stream, consumer)
	if consumer.CachedInfo().NumPending == 0 {
		return state.LastSeq, nil
	}
	first, err := consumer.Next(jetstream.FetchContext(limited))
	if err != nil {
		return 0, asked(ctx, err)
	}
	meta, err := first.Metadata()
	if err != nil {
		return 0, err
	}
	return meta.Sequence.Stream - 1, nil
}

// reader is a [broker.Reader].
type reader struct {
	b      *Broker
	of     broker.Log
	stream string
	feed   *feed

	pending  []fed  // came in
	ready    []fed  // and nothing before or between them is missing
	verified uint64 // up to here nothing is missing
	passed   uint64
	closed   bool
}

func (r *reader) Next(ctx context.Context) (broker.Message, error) {
	for {
		if err := r.fill(ctx); err != nil {
			return broker.Message{}, r.failed(err)
		}
		next := r.ready[0]
		r.ready = r.ready[1:]
		r.feed.handedOut(next)
		r.passed = max(r.passed, next.passed, next.Position)
		if next.err != nil {
			return broker.Message{}, r.failed(next.err)
		}
		if next.Position == 0 {
			continue
		}
		return next.Message, nil
	}
}

// fill waits until something is ready.
func (r *reader) fill(ctx context.Context) error {
	if r.closed || r.b.life.Err() != nil {
		return broker.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for len(r.ready) == 0 {
		if len(r.pending) == 0 {
			select {
			case m := <-r.feed.messages:
				r.pending = append(r.pending, m)
			case <-ctx.Done():
				return ctx.Err()
			case <-r.b.life.Done():
				return broker.ErrClosed
			}
		}
		r.drain()
		err := r.verify(ctx)
		if errors.Is(err, broker.ErrRetry) {
			if err := pauseFor(ctx, 50*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		newest := r.pending[len(r.pending)-1]
		r.verified = max(r.verified, newest.Position, newest.passed)
		r.ready, r.pending = r.pending, nil
	}
	return nil
}

// drain takes what else has come in, so that one question serves many messages.
func (r *reader) drain() {
	for len(r.pending) < feedMessages {
		select {
		case m := <-r.feed.messages:
			r.pending = append(r.pending, m)
		default:
			return
		}
	}
}

// verify asks whether the stream still holds what is behind the verified place.
// A reader from the start has no place yet.
func (r *reader) verify(ctx context.Context) error {
	if r.verified == 0 {
		return nil
	}
	state, err := r.b.state(ctx, r.stream)
	if err != nil {
		return err
	}
	if state.FirstSeq > r.verified+1 {
		return fmt.Errorf("stream %s begins at %d, the reader is at %d: %w", r.stream, state.FirstSeq, r.verified, broker.ErrLost)
	}
	return nil
}

func (r *reader) failed(err error) error {
	return fmt.Errorf("cannot read %s/%d: %w", r.of.Topic, r.of.Partition, err)
}

// Passed is a position up to which nothing of the log is still to come.
func (r *reader) Passed() uint64 { return r.passed }

func (r *reader) Close() error {
	r.closed = true
	r.feed.stop()
	return nil
}

// pauseFor waits, unless ctx ends.
func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
