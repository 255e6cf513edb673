package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/flightlog/flightlog/broker"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullMessages bounds what one reader has on its way, as Config.ReadAhead
	// does in bytes.
	pullMessages = 64
	// After two heartbeats that do not come a consumer is given up. A cluster
	// may lose the first pull of a consumer that it has just made.
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 2 * time.Second
	// feedMessages and feedBytes may wait between the connection and the
	// reader's caller.
	feedMessages = 16
	feedBytes    = 256 << 10
)

// feed is the messages of a subject from a position on, in order and without a
// gap, through whatever happens to consumers and connections. It does not see
// what a stream removes before it was read; a reader checks that.
type feed struct {
	b               *Broker
	stream, subject string
	messages        chan fed
	stop            context.CancelFunc

	last   uint64 // position of the last message that was fed
	given  uint64 // position of the last message that was fed
	queued atomic.Int64
	room   chan struct{} // a signal when queued has become less
}

// fed is a message; or, at position 0, the news that nothing of the subject up
// to passed is still to come, or an error that the feed does not mend.
type fed struct {
	broker.Message
	passed uint64
	err    error
}

// follow starts a feed, which ends with stop or with the broker.
func (b *Broker) follow(stream, subject string, from uint64) *feed {
	f := &feed{b: b, stream: stream, subject: subject, messages: make(chan fed, feedMessages), last: from - 1, room: make(chan struct{}, 1)}
	life, stop := context.WithCancel(b.life)
	f.stop = stop
	go f.run(life)
	return f
}

// run makes one consumer after the other.
func (f *feed) run(life context.Context) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(10*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(0))
	for life.Err() == nil {
		before := f.last
		err := f.consume(life)
		if f.last != before || errors.Is(err, errReconnected) {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		if life.Err() == nil && wait > time.Second {
			slog.Warn("cannot read from JetStream, trying again", "subject", f.subject, "error", err)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			f.feed(life, fed{err: wrap(err, broker.ErrNotProvisioned)})
		}
		_ = pauseFor(life, wait)
	}
}

// feed gives the reader something, and tells whether it could.
func (f *feed) feed(ctx context.Context, next fed) bool {
	size := int64(len(next.Payload))
	for f.queued.Load() > 0 && f.queued.Load()+size > feedBytes {
		select {
		case <-f.room:
		case <-ctx.Done():
			return false
		}
	}
	f.queued.Add(size)
	select {
	case f.messages <- next:
		f.last, f.given = max(f.last, next.Position), max(f.given, next.Position)
		return true
	case <-ctx.Done():
		f.queued.Add(-size)
		return false
	}
}

// handedOut makes room for more: the reader's caller has a message.
func (f *feed) handedOut(m fed) {
	f.queued.Add(-int64(len(m.Payload)))
	select {
	case f.room <- struct{}{}:
	default:
	}
}

var (
	errGap         = errors.New("a message is missing")
	errReconnected = errors.New("reconnected")
)

// consume feeds from one ephemeral consumer until something is wrong with it.
// It acknowledges nothing: the position is the reader's.
func (f *feed) consume(life context.Context) error {
	ctx, cancel := context.WithCancelCause(life)
	defer cancel(nil)
	go f.watchConnection(ctx, cancel)

	state, err := f.b.state(ctx, f.stream)
	if err != nil {
		return err
	}
	if state.LastSeq < f.given { // its sequences will be given out again
		f.feed(ctx, fed{err: fmt.Errorf("stream %s ends at %d, its message %d was read: %w", f.stream, state.LastSeq, f.given, broker.ErrLost)})
		<-ctx.Done()
		return context.Cause(ctx)
	}
	create, done := context.WithTimeout(ctx, f.b.config.Timeout)
	defer done()
	consumer, err := f.b.js.CreateConsumer(create, f.stream, jetstream.ConsumerConfig{
		FilterSubject: f.subject,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.last + 1,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	defer f.b.remove(f.stream, consumer)
	// A message that is longer than a whole pull would never come. The next
	// pull is sent when the one before is used up.
	pullBytes := max(f.b.config.ReadAhead-feedBytes, maxMessage+subjectMargin)
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes), jetstream.PullThresholdMessages(1),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for delivered := uint64(0); ; {
		next, err := f.next(ctx, messages)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if next, err = f.quiet(ctx, consumer, delivered); err != nil {
				return err
			}
		case err != nil:
			return errors.Join(err, context.Cause(ctx))
		default:
			if next.delivered != delivered+1 {
				return errGap
			}
			delivered++
		}
		if !f.feed(ctx, next.fed) {
			return context.Cause(ctx)
		}
	}
}

// received is a message with the number that the consumer gave it.
type received struct {
	fed
	delivered uint64
}

func (f *feed) next(ctx context.Context, messages jetstream.MessagesContext) (received, error) {
	ctx, cancel := context.WithTimeout(ctx, f.b.idle)
	defer cancel()
	m, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return received{}, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return received{}, err
	}
	return received{fed{Message: broker.Message{
		Position:   meta.Sequence.Stream,
		AppendedAt: meta.Timestamp.UnixMicro(),
		Payload:    m.Data(),
		Pending:    int64(meta.NumPending),
	}}, meta.Sequence.Consumer}, nil
}

// quiet finds out whether silence means that there is nothing: the stream's end
// is read first, so that a consumer that has nothing left after that has given
// everything up to it. A consumer that has more, or has given more than
// arrived, is no good any more.
func (f *feed) quiet(ctx context.Context, consumer jetstream.Consumer, delivered uint64) (received, error) {
	ctx, cancel := context.WithTimeout(ctx, f.b.config.Timeout)
	defer cancel()
	stream, err := f.b.info(ctx, f.stream)
	if err != nil {
		return received{}, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return received{}, err
	}
	if info.NumPending != 0 || info.Delivered.Consumer != delivered {
		return received{}, fmt.Errorf("silence at %d of %d delivered, %d pending: %w",
			delivered, info.Delivered.Consumer, info.NumPending, errGap)
	}
	if !current(stream.Cluster, info.Cluster) { // it may not know of what the leader has
		return received{}, nil
	}
	return received{fed: fed{passed: stream.State.LastSeq}}, nil
}

// current tells that the server of a consumer has all that the stream's leader
// had. Without a cluster there is one server.
func current(stream, consumer *jetstream.ClusterInfo) bool {
	if stream == nil || consumer == nil || stream.Leader == consumer.Leader {
		return true
	}
	return slices.ContainsFunc(stream.Replicas, func(p *jetstream.PeerInfo) bool {
		return p.Name == consumer.Leader && p.Current && p.Lag == 0
	})
}

// watchConnection ends a consumer at a reconnect: what was on its way is gone.
func (f *feed) watchConnection(ctx context.Context, end context.CancelCauseFunc) {
	connected := f.b.conn.StatusChanged(nats.CONNECTED)
	defer f.b.conn.RemoveStatusListener(connected)
	select {
	case <-connected:
		end(errReconnected)
	case <-ctx.Done():
	}
}

// remove deletes the consumer, which would go by itself a minute later.
func (b *Broker) remove(stream string, consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), b.config.Timeout)
	defer cancel()
	_ = b.js.DeleteConsumer(ctx, stream, consumer.CachedInfo().Name)
}

// state asks a stream's leader for its first and last sequence.
func (b *Broker) state(ctx context.Context, stream string) (jetstream.StreamState, error) {
	info, err := b.info(ctx, stream)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return info.State, nil
}

// info asks a stream's leader.
func (b *Broker) info(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	info, err := s.Info(limited)
	return info, asked(ctx, err)
}
