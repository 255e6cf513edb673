package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/nats-io/nats.go/jetstream"
)

// Commits is the commit log of a processor's partition: one subject.
func (b *Broker) Commits(processor string, partition int) commitlog.Chain {
	return &chain{b, b.commitStream(), b.chainSubject(commits, processor, partition)}
}

// Snapshots holds the parts of its snapshots.
func (b *Broker) Snapshots(processor string, partition int) commitlog.Chain {
	return &chain{b, b.snapshotStream(), b.chainSubject(snapshots, processor, partition)}
}

// Started holds one entry from its first commit on, in the stream of snapshots.
func (b *Broker) Started(processor string, partition int) commitlog.Chain {
	return &chain{b, b.snapshotStream(), b.chainSubject(started, processor, partition)}
}

// Rows is what one source has routed to a log: one subject.
func (b *Broker) Rows(to broker.Log, processor string, source int) commitlog.Chain {
	return &chain{b, b.rowStream(to.Topic), b.rowSubject(to, sourceOf(processor, source))}
}

// Destinations are the logs with a subject of the source.
func (b *Broker) Destinations(ctx context.Context, processor string, source int) ([]broker.Log, error) {
	var found []broker.Log
	for _, topic := range broker.RowTopics() {
		stream, err := b.stream(ctx, b.rowStream(topic))
		if err != nil {
			return nil, err
		}
		filter := fmt.Sprintf("%s.%s.*.*.%s", b.generation(), topic, sourceOf(processor, source))
		limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
		info, err := stream.Info(limited, jetstream.WithSubjectFilter(filter))
		cancel()
		if err != nil {
			return nil, asked(ctx, err)
		}
		for subject := range info.State.Subjects {
			if l, ok := b.logOf(topic, subject); ok {
				found = append(found, l)
			}
		}
	}
	return found, nil
}

// MaxPayload is the longest message in bytes.
func (b *Broker) MaxPayload() int {
	return int(min(b.conn.MaxPayload(), maxMessage)) - subjectMargin
}

// chain is the messages of one subject. They are read through the stream's
// leader: no direct get, which a replica that lags may answer.
type chain struct {
	*Broker
	in, subject string
}

func (c *chain) Last(ctx context.Context) (commitlog.Entry, error) {
	return c.get(ctx, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, c.subject)
	})
}

func (c *chain) At(ctx context.Context, position uint64) (commitlog.Entry, error) {
	return c.get(ctx, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetMsg(ctx, position, jetstream.WithGetMsgSubject(c.subject))
	})
}

func (c *chain) get(ctx context.Context, from func(context.Context, jetstream.Stream) (*jetstream.RawStreamMsg, error)) (commitlog.Entry, error) {
	stream, err := c.stream(ctx, c.in)
	if err != nil {
		return commitlog.Entry{}, err
	}
	limited, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	m, err := from(limited, stream)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return commitlog.Entry{}, nil
	case err != nil:
		return commitlog.Entry{}, asked(ctx, err)
	}
	return commitlog.Entry{Position: m.Sequence, Payload: m.Data}, nil
}

// Scan follows the subject; it ends early where the stream does not lead to the
// last entry any more.
func (c *chain) Scan(ctx context.Context, from, to uint64, each func(commitlog.Entry) error) error {
	f := c.follow(c.in, c.subject, max(from, 1))
	defer f.stop()
	for {
		select {
		case m := <-f.messages:
			switch {
			case m.err != nil:
				return m.err
			case m.passed >= to, m.Position > to:
				return nil
			case m.Position == 0:
				continue
			}
			f.handedOut(m)
			if err := each(commitlog.Entry{Position: m.Position, Payload: m.Payload}); err != nil {
				return err
			}
			if m.Position == to {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-c.life.Done():
			return broker.ErrClosed
		}
	}
}

func (c *chain) Append(ctx context.Context, payload []byte, after uint64) (uint64, error) {
	return c.publish(ctx, c.subject, payload, jetstream.WithExpectLastSequencePerSubject(after))
}

func (c *chain) Purge(ctx context.Context, before uint64) error {
	stream, err := c.stream(ctx, c.in)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	return asked(ctx, stream.Purge(limited, jetstream.WithPurgeSubject(c.subject), jetstream.WithPurgeSequence(before)))
}
