// Package memory is the log in this process, with the semantics of the real
// brokers: tests of processors and sinks stand on it. It holds everything it
// was ever given.
package memory

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
)

// Generation is the generation of every commit and row.
const Generation = 1

// maxPayload is the longest message in bytes, as on a JetStream server with
// default settings.
const maxPayload = 1 << 20

// Option changes a new broker.
type Option func(*logs)

// WithClock sets the clock that append times are taken from, in µs since 1970.
// A clock that goes back makes no log go back.
func WithClock(now func() int64) Option { return func(l *logs) { l.now = now } }

// WithSnapshots makes snapshots due after a number of commits or of bytes of
// the commit log.
func WithSnapshots(commits, bytes int64) Option {
	return func(l *logs) { l.snapshotCommits, l.snapshotBytes = commits, bytes }
}

// Broker is a [broker.Broker] in memory. Closing it ends its owners and readers
// and leaves the logs to its other handles.
type Broker struct {
	*logs
	life context.Context
	stop context.CancelFunc
}

// New makes an installation with a number of partitions.
func New(partitions int, options ...Option) *Broker {
	l := &logs{
		installation: rand.Text(),
		partitions:   partitions,
		now:          func() int64 { return time.Now().UnixMicro() },
		logs:         map[broker.Log]*log{},
		leases:       map[string]leaseEntry{}, leasesChanged: make(chan struct{}),
		cursors: map[cursorKey]cursorEntry{},
	}
	for _, option := range options {
		option(l)
	}
	return l.handle()
}

// Handle is another connection to the same logs: what another process would
// have.
func (b *Broker) Handle() *Broker { return b.handle() }

// LoseNextAck makes the next commit of any owner happen without the owner being
// told, as when a connection breaks between the two.
func (b *Broker) LoseNextAck() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loseAck = true
}

// Expire drops the messages of a log up to a position, as age does.
func (b *Broker) Expire(of broker.Log, upTo uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.log(of)
	if n := log.after(upTo); n > 0 {
		log.expired = log.messages[n-1].Position
		log.messages, log.sources = log.messages[n:], log.sources[n:]
	}
}

// Partitions is the number that New was given.
func (b *Broker) Partitions(context.Context) (int, error) { return b.partitions, nil }

// Installation is made at random by New.
func (b *Broker) Installation(context.Context) (string, error) { return b.installation, nil }

// Generation is 1.
func (b *Broker) Generation() int64 { return Generation }

// Append stores a copy of payload.
func (b *Broker) Append(ctx context.Context, to broker.Log, payload []byte) (uint64, error) {
	if err := b.check(ctx, to); err != nil {
		return 0, fmt.Errorf("cannot append to %s/%d: %w", to.Topic, to.Partition, err)
	}
	if len(payload) > maxPayload {
		return 0, fmt.Errorf("cannot append %d bytes to %s/%d: %w", len(payload), to.Topic, to.Partition, broker.ErrTooLarge)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.append(to, "producer/0", payload), nil
}

// Read opens a reader.
func (b *Broker) Read(ctx context.Context, from broker.Log, after uint64) (broker.Reader, error) {
	if err := b.check(ctx, from); err != nil {
		return nil, fmt.Errorf("cannot read %s/%d: %w", from.Topic, from.Partition, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if after != 0 && after < b.log(from).expired {
		return nil, fmt.Errorf("cannot read %s/%d after %d: %w", from.Topic, from.Partition, after, broker.ErrLost)
	}
	return &reader{b: b, of: from, after: after, closed: make(chan struct{})}, nil
}

// End is the position of the last message of a log.
func (b *Broker) End(ctx context.Context, of broker.Log) (uint64, error) {
	if err := b.check(ctx, of); err != nil {
		return 0, fmt.Errorf("cannot tell the end of %s/%d: %w", of.Topic, of.Partition, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log(of).last("").Position, nil
}

// Seek searches the append times.
func (b *Broker) Seek(ctx context.Context, in broker.Log, at int64) (uint64, error) {
	if err := b.check(ctx, in); err != nil {
		return 0, fmt.Errorf("cannot seek in %s/%d: %w", in.Topic, in.Partition, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.log(in)
	i := sort.Search(len(log.messages), func(i int) bool { return log.messages[i].AppendedAt >= at })
	if i < len(log.messages) {
		return log.messages[i].Position - 1, nil
	}
	return max(log.expired, log.last("").Position), nil
}

// LastCommit reads the tail of a processor's partition.
func (b *Broker) LastCommit(ctx context.Context, processor string, partition int) (*schemas.Commit, error) {
	last, err := b.Commits(processor, partition).Last(ctx)
	if err != nil || last.Position == 0 {
		return nil, err
	}
	return commitlog.DecodeCommit(last)
}

// History scans the commit log.
func (b *Broker) History(ctx context.Context, processor string, partition int, each func(*schemas.Commit) error) error {
	if err := commitlog.History(ctx, b.Commits(processor, partition), each); err != nil {
		return fmt.Errorf("cannot read the commits of %s/%d: %w", processor, partition, err)
	}
	return nil
}

// Acquire makes an owner. It ends with the broker's Close.
func (b *Broker) Acquire(ctx context.Context, processor string, partition int, owner string) (broker.Owner, error) {
	if err := b.check(ctx, broker.Log{Topic: broker.Events, Partition: partition}); err != nil {
		return nil, fmt.Errorf("cannot acquire %s/%d: %w", processor, partition, err)
	}
	return commitlog.Acquire(ctx, b.life, b.logs, commitlog.Config{
		Processor: processor, Partition: partition, Partitions: b.partitions,
		Generation: Generation, Owner: owner,
		Timeout: time.Second, Patience: time.Second,
		SnapshotCommits: b.snapshotCommits, SnapshotBytes: b.snapshotBytes,
	})
}

// Close ends what was made through this handle.
func (b *Broker) Close() error {
	b.stop()
	return nil
}

// check refuses calls on a closed handle and logs that no installation has.
func (b *Broker) check(ctx context.Context, l broker.Log) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case b.life.Err() != nil:
		return broker.ErrClosed
	}
	return commitlog.CheckLog(l, b.partitions)
}

// logs is what all handles share.
type logs struct {
	installation string
	partitions   int
	now          func() int64

	snapshotCommits, snapshotBytes int64

	mu      sync.Mutex
	logs    map[broker.Log]*log
	end     uint64 // positions are shared by all logs, as by those of one stream
	loseAck bool

	leases        map[string]leaseEntry // by processor and key
	lastRevision  uint64
	leasesChanged chan struct{} // closed when one has come or was deleted

	cursors map[cursorKey]cursorEntry
}

// log is the messages of one log. A source is who appended: chains of several
// sources may lie in one log.
type log struct {
	messages []broker.Message
	sources  []string
	expired  uint64        // last message that is gone
	changed  chan struct{} // closed at the next append
}

func (l *logs) handle() *Broker {
	life, stop := context.WithCancel(context.Background())
	return &Broker{logs: l, life: life, stop: stop}
}

// log is made when it is first asked for; mu is held.
func (l *logs) log(of broker.Log) *log {
	if l.logs[of] == nil {
		l.logs[of] = &log{changed: make(chan struct{})}
	}
	return l.logs[of]
}

// append stores a copy of payload; mu is held.
func (l *logs) append(to broker.Log, source string, payload []byte) uint64 {
	log := l.log(to)
	at := l.now()
	if n := len(log.messages); n > 0 {
		at = max(at, log.messages[n-1].AppendedAt)
	}
	l.end++
	log.messages = append(log.messages, broker.Message{Position: l.end, AppendedAt: at, Payload: bytes.Clone(payload)})
	log.sources = append(log.sources, source)
	close(log.changed)
	log.changed = make(chan struct{})
	return l.end
}
