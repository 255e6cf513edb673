// Package kafka is the log on Apache Kafka 4.0 or later. Provision says how the
// logs lie in topics.
//
// A commit is one transaction: outputs, changed state and a position record
// stand together or not at all, so nothing is left to route. Each owned
// partition has a transactional id of its own, and to acquire it is to take the
// id over: the cluster then refuses every older owner and aborts what it had
// begun. That is the conditional write of DESIGN §5; the consumer group of
// [Broker.Share] is a hint.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Broker is a [broker.Broker]. It reconnects by itself for as long as it is
// open.
type Broker struct {
	config   Config
	options  []kgo.Opt
	client   *kgo.Client // appends outside of transactions, short reads
	registry *registry   // nil = none
	life     context.Context
	stop     context.CancelFunc

	mu         sync.Mutex
	partitions int
}

// Connect opens a connection. It fails with broker.ErrRetry where no broker
// answers, and where config.Partitions is set and another number is
// provisioned. What is not provisioned yet shows in the calls.
func Connect(ctx context.Context, config Config) (*Broker, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("cannot connect to Kafka: %w", err)
	}
	config = config.withDefaults()
	b, err := connect(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %v: %w", config.Brokers, err)
	}
	return b, nil
}

func connect(ctx context.Context, config Config) (*Broker, error) {
	options, err := config.options()
	if err != nil {
		return nil, err
	}
	b := &Broker{config: config, options: options}
	if config.RegistryURL != "" {
		if b.registry, err = newRegistry(config.RegistryURL); err != nil {
			return nil, err
		}
	}
	// The caller decides whether to send again what may have been stored.
	b.client, err = kgo.NewClient(b.with(kgo.AllowIdempotentProduceCancellation())...)
	if err != nil {
		return nil, err
	}
	b.life, b.stop = context.WithCancel(context.Background())
	if err := b.accept(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// with is the options of a client that has more of them. Compression is an
// option of its own for each client, which writes to it; snappy takes less time
// than lz4, and no buffers of megabytes for each client.
func (b *Broker) with(more ...kgo.Opt) []kgo.Opt {
	compression := kgo.ProducerBatchCompression(kgo.SnappyCompression(), kgo.NoCompression())
	return slices.Concat(b.options, more, []kgo.Opt{compression})
}

// accept makes sure that somebody answers, and how many partitions there are.
func (b *Broker) accept(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	if err := b.client.Ping(limited); err != nil {
		return asked(ctx, err)
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

// Partitions reads the number from the installation's record, once.
func (b *Broker) Partitions(ctx context.Context) (int, error) {
	b.mu.Lock()
	n := b.partitions
	b.mu.Unlock()
	if n != 0 {
		return n, nil
	}
	known, err := b.known(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot tell the partitions of %s: %w", b.config.Prefix, err)
	}
	b.mu.Lock()
	b.partitions = known.Partitions
	b.mu.Unlock()
	return known.Partitions, nil
}

// Installation reads the name from the installation's record, each time anew:
// the connection may outlive the topic.
func (b *Broker) Installation(ctx context.Context) (string, error) {
	known, err := b.known(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot tell the installation of %s: %w", b.config.Prefix, err)
	}
	return fmt.Sprintf("%s/g%d", known.ID, b.config.Generation), nil
}

func (b *Broker) known(ctx context.Context) (installation, error) {
	if b.life.Err() != nil {
		return installation{}, broker.ErrClosed
	}
	return b.installation(ctx)
}

// Generation is the one of the config.
func (b *Broker) Generation() int64 { return b.config.Generation }

// Append stores a payload as one record. A frame of rows becomes one record for
// each row, some of which may be stored when it fails; the position is that of
// the last.
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
	if len(payload) > maxMessage {
		return 0, fmt.Errorf("%d bytes of at most %d: %w", len(payload), maxMessage, broker.ErrTooLarge)
	}
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	at := b.config.place(to)
	records := []*kgo.Record{{Topic: at.topic, Partition: at.partition, Value: payload}}
	if header, rows := unpack(to.Topic, payload); len(rows) > 0 {
		id, err := b.schemaID(limited, to.Topic)
		if err != nil {
			return 0, err
		}
		if records, err = rowRecords(to, at, &header, broker.RowSchema(to.Topic), id, rows); err != nil {
			return 0, err
		}
	}
	var last int64
	for _, result := range b.client.ProduceSync(limited, records...) {
		if result.Err != nil {
			return 0, appended(result.Err)
		}
		last = max(last, result.Record.Offset)
	}
	return uint64(last) + 1, nil
}

// schemaID is the registry's id of a topic's rows, 0 without a registry.
func (b *Broker) schemaID(ctx context.Context, topic string) (int, error) {
	if b.registry == nil {
		return 0, nil
	}
	return b.registry.register(ctx, b.config.topic(topic), broker.RowSchema(topic))
}

// End is the position of the last record that a read_committed reader sees, 0
// if there is none. It waits for transactions that are open as of the call.
func (b *Broker) End(ctx context.Context, of broker.Log) (uint64, error) {
	position, err := b.end(ctx, of)
	if err != nil {
		return 0, fmt.Errorf("cannot tell the end of %s/%d: %w", of.Topic, of.Partition, err)
	}
	return position, nil
}

func (b *Broker) end(ctx context.Context, of broker.Log) (uint64, error) {
	if err := b.check(ctx, of); err != nil {
		return 0, err
	}
	at := b.config.place(of)
	end, err := b.listOffset(ctx, at, offsetEnd)
	if err != nil {
		return 0, err
	}
	last, err := b.newest(ctx, at, end, func(*kgo.Record) bool { return true })
	if err != nil || last == nil {
		return 0, err
	}
	return uint64(last.Offset) + 1, nil
}

// Seek asks the time index of the partition.
func (b *Broker) Seek(ctx context.Context, in broker.Log, at int64) (uint64, error) {
	position, err := b.seek(ctx, in, at)
	if err != nil {
		return 0, fmt.Errorf("cannot seek %d in %s/%d: %w", at, in.Topic, in.Partition, err)
	}
	return position, nil
}

func (b *Broker) seek(ctx context.Context, in broker.Log, at int64) (uint64, error) {
	if err := b.check(ctx, in); err != nil {
		return 0, err
	}
	p := b.config.place(in)
	end, err := b.listOffset(ctx, p, offsetEnd) // first: what comes after it is not skipped
	if err != nil {
		return 0, err
	}
	milliseconds := max(0, (at+999)/1000)
	offset, err := b.listOffset(ctx, p, milliseconds)
	if err != nil {
		return 0, err
	}
	if offset < 0 || offset > end {
		offset = end
	}
	return uint64(offset), nil
}

// positionKey is the key of position records, between the state's own. The
// newest one is the tail; each is the last record of its transaction.
const positionKey = "\x00commit"

func isPosition(r *kgo.Record) bool { return string(r.Key) == positionKey }

// LastCommit reads the newest position record. It waits for a transaction that
// is open as of the call. Outputs and delta stand beside the record: it has
// none.
func (b *Broker) LastCommit(ctx context.Context, processor string, partition int) (*schemas.Commit, error) {
	c, err := b.lastCommit(ctx, processor, partition)
	if err != nil {
		return nil, fmt.Errorf("cannot read the last commit of %s/%d: %w", processor, partition, err)
	}
	return c, nil
}

func (b *Broker) lastCommit(ctx context.Context, processor string, partition int) (*schemas.Commit, error) {
	at, err := b.changelog(ctx, processor, partition)
	if err != nil {
		return nil, err
	}
	end, err := b.listOffset(ctx, at, offsetEnd)
	if err != nil {
		return nil, err
	}
	return b.tail(ctx, at, end)
}

// tail is the newest commit before an offset of a changelog; nil if nothing was
// ever committed, ErrLost if its position records are gone.
func (b *Broker) tail(ctx context.Context, at place, end int64) (*schemas.Commit, error) {
	any := false
	r, err := b.newest(ctx, at, end, func(r *kgo.Record) bool {
		any = true
		return isPosition(r)
	})
	if err != nil {
		return nil, err
	}
	if r != nil {
		return readPosition(r)
	}
	start, err := b.listOffset(ctx, at, offsetStart)
	if err == nil && (any || start > 0) {
		err = fmt.Errorf("%s/%d begins at %d and names no commit: %w", at.topic, at.partition, start, broker.ErrLost)
	}
	return nil, err
}

func readPosition(r *kgo.Record) (*schemas.Commit, error) {
	c := new(schemas.Commit)
	if err := c.DecodeMessage(r.Value); err != nil {
		return nil, fmt.Errorf("offset %d: cannot read commit: %w: %w", r.Offset, err, broker.ErrLost)
	}
	return c, nil
}

// History gives every commit whose position record stands, with the changes of
// state that stand before it: the cluster compacts them.
func (b *Broker) History(ctx context.Context, processor string, partition int, each func(*schemas.Commit) error) error {
	if err := b.history(ctx, processor, partition, each); err != nil {
		return fmt.Errorf("cannot read the commits of %s/%d: %w", processor, partition, err)
	}
	return nil
}

func (b *Broker) history(ctx context.Context, processor string, partition int, each func(*schemas.Commit) error) error {
	at, err := b.changelog(ctx, processor, partition)
	if err != nil {
		return err
	}
	start, err := b.listOffset(ctx, at, offsetStart)
	if err != nil {
		return err
	}
	end, err := b.listOffset(ctx, at, offsetEnd)
	if err != nil {
		return err
	}
	var previous *schemas.Commit
	var delta []schemas.Change
	return b.scan(ctx, at, start, end, func(r *kgo.Record) error {
		if !isPosition(r) {
			change, err := readChange(r)
			delta = append(delta, change)
			return err
		}
		c, err := readPosition(r)
		if err != nil {
			return err
		}
		if err := follows(previous, c); err != nil {
			return err
		}
		previous = withoutContents(c)
		c.Delta, delta = delta, nil
		return each(c)
	})
}

// follows checks a position record against the one that stands before it;
// between them others may have been compacted away.
func follows(previous, c *schemas.Commit) error {
	switch {
	case previous == nil:
		return nil
	case c.CommitNumber == previous.CommitNumber+1:
		return broker.Follows(previous, c)
	case c.CommitNumber <= previous.CommitNumber || c.Epoch < previous.Epoch:
		return fmt.Errorf("commit %d of epoch %d stands behind %d of %d: %w",
			c.CommitNumber, c.Epoch, previous.CommitNumber, previous.Epoch, broker.ErrLost)
	}
	return nil
}

// withoutContents is what a commit says about its place in the log.
func withoutContents(c *schemas.Commit) *schemas.Commit {
	return &schemas.Commit{CommitNumber: c.CommitNumber, Epoch: c.Epoch, Hash: c.Hash}
}

// Close ends owners and readers and the connection.
func (b *Broker) Close() error {
	b.stop()
	b.client.Close()
	return nil
}

var processorPattern = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// changelog is the place of a processor's partition.
func (b *Broker) changelog(ctx context.Context, processor string, partition int) (place, error) {
	if !processorPattern.MatchString(processor) {
		return place{}, fmt.Errorf("%q is no name of a processor", processor)
	}
	if err := b.check(ctx, broker.Log{Topic: broker.Events, Partition: partition}); err != nil {
		return place{}, err
	}
	return place{b.config.changelog(processor), int32(partition)}, nil
}

// check refuses logs that the installation does not have.
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

// commitPatience is how long one commit is tried before its outcome is given up
// as unknown.
const commitPatience = 20 * time.Second
