// Package jetstream is the log on NATS JetStream: an embedded server or a
// cluster. Provision says how the logs lie in streams and subjects.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxMessage is the longest message in bytes, where the server takes it:
	// a commit of 768 KiB (DESIGN §5) with room to spare.
	maxMessage = 2 << 20
	// minPayload is the least max_payload of a server: the default.
	minPayload = 1 << 20
	// subjectMargin is what subject and headers take of max_payload at most.
	subjectMargin = 1024

	commitPatience = 20 * time.Second
	routeLinger    = 20 * time.Millisecond
)

// Broker is a [broker.Broker]. It reconnects by itself for as long as it is
// open.
type Broker struct {
	config Config
	conn   *nats.Conn
	js     jetstream.JetStream
	life   context.Context
	stop   context.CancelFunc

	idle time.Duration // after which a reader asks whether it really is

	mu         sync.Mutex
	streams    map[string]jetstream.Stream
	partitions int
}

// Connect opens a connection. It fails with broker.ErrRetry where no server
// answers, and where config.Partitions is set and another number is
// provisioned. What is not provisioned yet shows in the calls.
func Connect(ctx context.Context, config Config) (*Broker, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("cannot connect to JetStream: %w", err)
	}
	config = config.withDefaults()
	b, err := connect(ctx, config)
	if err != nil {
		where := config.URL
		if config.InProcess != nil {
			where = "the embedded server"
		}
		return nil, fmt.Errorf("cannot connect to %s: %w", where, err)
	}
	return b, nil
}

func connect(ctx context.Context, config Config) (*Broker, error) {
	options, err := config.options()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := nats.Connect(config.URL, options...)
	if errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) {
		return nil, wrap(err, broker.ErrRetry)
	}
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(config.Timeout))
	if err != nil {
		conn.Close()
		return nil, err
	}
	b := &Broker{config: config, conn: conn, js: js, idle: 15 * time.Second, streams: map[string]jetstream.Stream{}}
	b.life, b.stop = context.WithCancel(context.Background())
	if err := b.accept(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// accept checks what the server offers.
func (b *Broker) accept(ctx context.Context) error {
	if have := b.conn.MaxPayload(); have < minPayload {
		return fmt.Errorf("the server's max_payload is %d bytes, it must be at least %d", have, minPayload)
	}
	if b.config.Partitions == 0 {
		return nil
	}
	n, err := b.Partitions(ctx)
	if errors.Is(err, broker.ErrNotProvisioned) {
		return nil
	}
	if err == nil && n != b.config.Partitions {
		err = fmt.Errorf("%s is provisioned with %d partitions, not %d", b.config.Prefix, n, b.config.Partitions)
	}
	return err
}

// Partitions reads the number from the stream of events.
func (b *Broker) Partitions(ctx context.Context) (int, error) {
	b.mu.Lock()
	n := b.partitions
	b.mu.Unlock()
	if n != 0 {
		return n, nil
	}
	events, err := b.stream(ctx, b.eventsStream())
	if err != nil {
		return 0, fmt.Errorf("cannot tell the partitions of %s: %w", b.config.Prefix, err)
	}
	if n, err = partitionsOf(events.CachedInfo().Config); err != nil {
		return 0, err
	}
	b.mu.Lock()
	b.partitions = n
	b.mu.Unlock()
	return n, nil
}

// Installation reads the name from the stream of events, each time anew: the
// connection may outlive the stream. One that was provisioned before there were
// names is ErrNotProvisioned until Provision is run again.
func (b *Broker) Installation(ctx context.Context) (string, error) {
	name, err := b.installation(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot tell the installation of %s: %w", b.config.Prefix, err)
	}
	return fmt.Sprintf("%s/g%d", name, b.config.Generation), nil
}

func (b *Broker) installation(ctx context.Context) (string, error) {
	events, err := b.stream(ctx, b.eventsStream())
	if err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	info, err := events.Info(limited)
	if err != nil {
		return "", asked(ctx, err)
	}
	name := info.Config.Metadata[installationMeta]
	if name == "" {
		return "", fmt.Errorf("stream %s says none (metadata %s), provision it again: %w",
			b.eventsStream(), installationMeta, broker.ErrNotProvisioned)
	}
	return name, nil
}

// Generation is that of the config.
func (b *Broker) Generation() int64 { return b.config.Generation }

// Append publishes and waits for the acknowledgement, once: no retries.
func (b *Broker) Append(ctx context.Context, to broker.Log, payload []byte) (uint64, error) {
	position, err := b.append(ctx, to, payload)
	if err != nil {
		return 0, fmt.Errorf("cannot append %d bytes to %s/%d: %w", len(payload), to.Topic, to.Partition, err)
	}
	return position, nil
}

func (b *Broker) append(ctx context.Context, to broker.Log, payload []byte) (uint64, error) {
	if err := b.check(ctx, to); err != nil {
		return 0, err
	}
	stream, subject := b.place(to)
	if broker.IsRowTopic(to.Topic) {
		subject = b.rowSubject(to, sourceOf(producer, 0))
	}
	position, err := b.publish(ctx, subject, payload)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		if _, err := b.stream(ctx, stream); errors.Is(err, broker.ErrNotProvisioned) {
			return 0, err
		}
	}
	return position, err
}

// publish sends one message and returns its sequence.
func (b *Broker) publish(ctx context.Context, subject string, payload []byte, options ...jetstream.PublishOpt) (uint64, error) {
	if most := b.MaxPayload(); len(payload) > most {
		return 0, fmt.Errorf("%d bytes of at most %d: %w", len(payload), most, broker.ErrTooLarge)
	}
	ctx, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	ack, err := b.js.Publish(ctx, subject, payload, append(options, jetstream.WithRetryAttempts(0))...)
	if err != nil {
		return 0, published(err)
	}
	return ack.Sequence, nil
}

// End is the sequence of the last message of the log that is still held, 0 if
// there is none: all sources of a log of rows lie under one wildcard.
func (b *Broker) End(ctx context.Context, of broker.Log) (uint64, error) {
	if err := b.check(ctx, of); err != nil {
		return 0, fmt.Errorf("cannot tell the end of %s/%d: %w", of.Topic, of.Partition, err)
	}
	stream, subject := b.place(of)
	last, err := (&chain{b, stream, subject}).Last(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot tell the end of %s/%d: %w", of.Topic, of.Partition, err)
	}
	return last.Position, nil
}

// LastCommit reads the tail of a processor's partition from the stream's
// leader.
func (b *Broker) LastCommit(ctx context.Context, processor string, partition int) (*schemas.Commit, error) {
	last, err := b.Commits(processor, partition).Last(ctx)
	if err == nil && last.Position == 0 {
		return nil, nil
	}
	var c *schemas.Commit
	if err == nil {
		c, err = commitlog.DecodeCommit(last)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the last commit of %s/%d: %w", processor, partition, err)
	}
	return c, nil
}

// History scans the commit log.
func (b *Broker) History(ctx context.Context, processor string, partition int, each func(*schemas.Commit) error) error {
	if err := commitlog.History(ctx, b.Commits(processor, partition), each); err != nil {
		return fmt.Errorf("cannot read the commits of %s/%d: %w", processor, partition, err)
	}
	return nil
}

var processorPattern = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// Acquire makes an owner, which ends with Close.
func (b *Broker) Acquire(ctx context.Context, processor string, partition int, owner string) (broker.Owner, error) {
	if !processorPattern.MatchString(processor) || processor == producer {
		return nil, fmt.Errorf("cannot acquire %s/%d: %q is no name of a processor", processor, partition, processor)
	}
	if err := b.check(ctx, broker.Log{Topic: broker.Events, Partition: partition}); err != nil {
		return nil, fmt.Errorf("cannot acquire %s/%d: %w", processor, partition, err)
	}
	partitions, err := b.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	return commitlog.Acquire(ctx, b.life, b, commitlog.Config{
		Processor: processor, Partition: partition, Partitions: partitions,
		Generation: b.config.Generation, Owner: owner,
		Timeout: b.config.Timeout, Patience: commitPatience, Linger: routeLinger,
		SnapshotCommits: b.config.SnapshotCommits, SnapshotBytes: b.config.SnapshotBytes,
	})
}

// Close ends owners and readers and the connection.
func (b *Broker) Close() error {
	b.stop()
	b.conn.Close()
	return nil
}

// check refuses logs that the installation does not have: no stream would.
func (b *Broker) check(ctx context.Context, l broker.Log) error {
	if b.life.Err() != nil {
		return broker.ErrClosed
	}
	n, err := b.Partitions(ctx)
	if err != nil {
		return err
	}
	return commitlog.CheckLog(l, n)
}

// stream is a handle on a stream that exists.
func (b *Broker) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	b.mu.Lock()
	s := b.streams[name]
	b.mu.Unlock()
	if s != nil {
		return s, nil
	}
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	s, err := b.js.Stream(limited, name)
	if err != nil {
		return nil, asked(ctx, err)
	}
	b.mu.Lock()
	b.streams[name] = s
	b.mu.Unlock()
	return s, nil
}
