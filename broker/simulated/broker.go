package simulated

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
)

// Broker is the connection of one process: a [broker.Broker].
type Broker struct {
	world       *World
	name        string
	direct      bool // its calls do not wait for the scheduler
	dead        bool
	pausedUntil time.Time
	life        context.Context
	stop        context.CancelFunc

	mu     sync.Mutex
	hold   func(ctx context.Context, partition int) error // of Share, while it runs
	holds  map[int]context.CancelFunc
	failed chan error
	held   sync.WaitGroup
}

// Connect makes the connection of another process. Its name must be new.
func (w *World) Connect(name string) *Broker {
	b := &Broker{world: w, name: name, holds: map[int]context.CancelFunc{}, failed: make(chan error, w.Partitions)}
	b.life, b.stop = context.WithCancel(context.Background())
	return b
}

// Observe makes a connection whose calls are answered at once and right. It is
// for the scheduler's own goroutine, and its readers do not wait: behind the
// last message they return broker.ErrClosed.
func (w *World) Observe() *Broker {
	b := w.Connect("observer")
	b.direct = true
	return b
}

// Kill ends the process: it does nothing more and gets no more answers. What
// it has in flight may still take effect.
func (b *Broker) Kill() {
	b.dead = true
	b.world.trace("%s dies", b.name)
}

// Dead tells whether the process was killed.
func (b *Broker) Dead() bool { return b.dead }

// Pause keeps the process from the log for a while, as a stop signal does. It
// finds out by the time that has passed.
func (b *Broker) Pause(d time.Duration) {
	b.pausedUntil = time.Now().Add(d)
	b.world.trace("%s is paused for %v", b.name, d)
}

// Grant gives a partition to the process, whoever else holds it.
func (b *Broker) Grant(partition int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hold == nil || b.holds[partition] != nil {
		return
	}
	ctx, cancel := context.WithCancel(b.life)
	b.holds[partition] = cancel
	b.held.Add(1)
	b.world.trace("%s is granted partition %d", b.name, partition)
	hold := b.hold
	go func() {
		defer b.held.Done()
		err := hold(ctx, partition)
		cancel()
		b.mu.Lock()
		delete(b.holds, partition)
		b.mu.Unlock()
		if err != nil {
			b.failed <- err
		}
	}()
}

// Revoke tells the process to give a partition up.
func (b *Broker) Revoke(partition int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cancel := b.holds[partition]; cancel != nil {
		b.world.trace("partition %d is revoked from %s", partition, b.name)
		cancel()
	}
}

// Holds tells whether the process works on a partition, or on its giving up.
func (b *Broker) Holds(partition int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holds[partition] != nil
}

// Share works on what Grant gives.
func (b *Broker) Share(ctx context.Context, _, _ string, hold func(ctx context.Context, partition int) error) error {
	b.mu.Lock()
	b.hold = hold
	b.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case <-b.life.Done():
		err = broker.ErrClosed
	case err = <-b.failed:
	}
	b.mu.Lock()
	b.hold = nil
	for _, cancel := range b.holds {
		cancel()
	}
	b.mu.Unlock()
	b.held.Wait()
	return err
}

// Consume is not simulated: histories are played with processors.
func (b *Broker) Consume(context.Context, broker.Group, string, func(context.Context, broker.Claim) error) error {
	return errors.New("the simulated broker has no groups")
}

// Partitions is that of the world.
func (b *Broker) Partitions(context.Context) (int, error) { return b.world.Partitions, nil }

// Installation is the same for all worlds.
func (b *Broker) Installation(context.Context) (string, error) { return "simulated", nil }

// Generation is 1.
func (b *Broker) Generation() int64 { return Generation }

// Append adds a message at the end of a log.
func (b *Broker) Append(ctx context.Context, to broker.Log, payload []byte) (uint64, error) {
	if err := commitlog.CheckLog(to, b.world.Partitions); err != nil {
		return 0, fmt.Errorf("cannot append to %s/%d: %w", to.Topic, to.Partition, err)
	}
	payload = bytes.Clone(payload)
	var position uint64
	err := b.do(ctx, &call{what: fmt.Sprintf("append %08x to %s/%d/%s", crc32.ChecksumIEEE(payload), to.Topic, to.Partition, to.Lane), effect: func() error {
		position = b.world.stream(to.Topic).append(b, subject{to, "producer/0"}, payload)
		return nil
	}})
	if err != nil {
		return 0, fmt.Errorf("cannot append to %s/%d: %w", to.Topic, to.Partition, err)
	}
	return position, nil
}

// End is the position of the last message of a log.
func (b *Broker) End(ctx context.Context, of broker.Log) (uint64, error) {
	return b.position(ctx, fmt.Sprintf("end of %s/%d/%s", of.Topic, of.Partition, of.Lane), func(s *stream) uint64 {
		for _, m := range slices.Backward(s.messages) {
			if m.subject.log == of {
				return m.Position
			}
		}
		return 0
	}, of)
}

// Seek searches the append times.
func (b *Broker) Seek(ctx context.Context, in broker.Log, at int64) (uint64, error) {
	return b.position(ctx, fmt.Sprintf("seek %d in %s/%d/%s", at, in.Topic, in.Partition, in.Lane), func(s *stream) uint64 {
		i := sort.Search(len(s.messages), func(i int) bool { return s.messages[i].AppendedAt >= at })
		if i < len(s.messages) {
			return s.messages[i].Position - 1
		}
		return s.last
	}, in)
}

func (b *Broker) position(ctx context.Context, what string, find func(*stream) uint64, in broker.Log) (uint64, error) {
	var position uint64
	err := b.do(ctx, &call{what: what, reads: true, effect: func() error {
		position = find(b.world.stream(in.Topic))
		return nil
	}})
	if err != nil {
		return 0, fmt.Errorf("cannot ask for the %s: %w", what, err)
	}
	return position, nil
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
	return commitlog.History(ctx, b.Commits(processor, partition), each)
}

// Acquire makes an owner. It ends with the connection's Close.
func (b *Broker) Acquire(ctx context.Context, processor string, partition int, owner string) (broker.Owner, error) {
	o, err := commitlog.Acquire(ctx, b.life, b, commitlog.Config{
		Processor: processor, Partition: partition, Partitions: b.world.Partitions,
		Generation: Generation, Owner: owner,
		Timeout: timeout, Patience: patience, Linger: linger,
		SnapshotCommits: b.world.SnapshotCommits,
	})
	if err == nil && b.world.Mutation == EarlyAnswer {
		o = &early{Owner: o}
	}
	return o, err
}

// early is the mutation EarlyAnswer: a commit is stored when the next call comes.
type early struct {
	broker.Owner
	told *schemas.Commit // and not stored yet
}

func (e *early) Commit(ctx context.Context, c *schemas.Commit) error {
	err := e.store(ctx)
	e.told = c
	return err
}

func (e *early) Release(ctx context.Context) error {
	return errors.Join(e.store(ctx), e.Owner.Release(ctx))
}

func (e *early) store(ctx context.Context) error {
	if e.told == nil {
		return nil
	}
	c := e.told
	e.told = nil
	return e.Owner.Commit(ctx, c)
}

// Close ends what was made through this connection.
func (b *Broker) Close() error {
	b.stop()
	return nil
}

// Read opens a reader.
func (b *Broker) Read(ctx context.Context, from broker.Log, after uint64) (broker.Reader, error) {
	if err := commitlog.CheckLog(from, b.world.Partitions); err != nil {
		return nil, fmt.Errorf("cannot read %s/%d: %w", from.Topic, from.Partition, err)
	}
	r := &reader{b: b, of: from, after: after, opener: goroutine()}
	err := b.do(ctx, &call{what: fmt.Sprintf("read %s/%d/%s after %d", from.Topic, from.Partition, from.Lane, after), reads: true, effect: func() error {
		r.in = b.world.stream(from.Topic)
		if after != 0 && after < r.in.first {
			return broker.ErrLost
		}
		r.in.readers = append(slices.DeleteFunc(r.in.readers, func(r *reader) bool { return r.closed }), r)
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("cannot read %s/%d after %d: %w", from.Topic, from.Partition, after, err)
	}
	return r, nil
}

// reader is a [broker.Reader]. All but b, of and opener is the scheduler's.
type reader struct {
	b      *Broker
	of     broker.Log
	opener string // goroutine
	in     *stream
	after  uint64
	lost   bool // the log lost its end, and with it the reader's place
	handed bool // its last message was handed over to another goroutine, which may not have looked at it yet
	closed bool
}

// goroutine names the one that calls.
func goroutine() string {
	var b [32]byte
	name, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte("["))
	return string(name)
}

func (r *reader) Next(ctx context.Context) (broker.Message, error) {
	handsOver := goroutine() != r.opener
	var next broker.Message
	err := r.b.do(ctx, &call{
		what: fmt.Sprintf("next of %s/%d/%s", r.of.Topic, r.of.Partition, r.of.Lane), reader: r, reads: true,
		ready: func() bool {
			return !(handsOver && r.neighbourHanded()) && (r.gone() || r.find() < len(r.in.messages))
		},
		effect: func() error {
			i := r.find()
			switch {
			case r.gone():
				return broker.ErrLost
			case i == len(r.in.messages):
				return broker.ErrClosed
			}
			next = r.in.messages[i].Message
			for _, m := range r.in.messages[i+1:] {
				if m.subject.log == r.of {
					next.Pending++
				}
			}
			next.Payload = bytes.Clone(next.Payload)
			r.after, r.handed = next.Position, handsOver
			return nil
		},
	})
	if err != nil {
		return broker.Message{}, fmt.Errorf("cannot read %s/%d: %w", r.of.Topic, r.of.Partition, err)
	}
	return next, nil
}

func (r *reader) gone() bool { return r.lost || r.after != 0 && r.after < r.in.first }

// find is the index of the next message.
func (r *reader) find() int {
	i := r.in.after(r.after)
	for i < len(r.in.messages) && r.in.messages[i].subject.log != r.of {
		i++
	}
	return i
}

// neighbourHanded tells that the process may not have looked yet at a message
// of another lane: it must not have the choice between two, which the runtime
// would take by chance.
func (r *reader) neighbourHanded() bool {
	return slices.ContainsFunc(r.in.readers, func(n *reader) bool {
		return n.handed && !n.closed && n.b == r.b && n.of.Partition == r.of.Partition && n.of.Lane != r.of.Lane
	})
}

// Passed is the end of the stream where this log has nothing left.
func (r *reader) Passed() uint64 {
	defer r.b.look()()
	if r.lost || r.find() < len(r.in.messages) {
		return r.after
	}
	return max(r.after, r.in.last)
}

func (r *reader) Close() error {
	defer r.b.look()()
	r.closed = true
	return nil
}

// Ended tells that no call will be answered any more but by broker.ErrClosed.
func (b *Broker) Ended() bool { return b.state(context.Background()) != nil }
