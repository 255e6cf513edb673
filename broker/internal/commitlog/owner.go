package commitlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Config says who owns what, and how patient it is.
type Config struct {
	Processor  string
	Partition  int
	Partitions int // of every topic
	Generation int64
	Owner      string

	// Timeout of one append or read.
	Timeout time.Duration
	// Patience is how long one commit is tried before its outcome is given up
	// as unknown.
	Patience time.Duration
	// Linger is how long routing waits for more rows for a frame that is not
	// full.
	Linger time.Duration
	// SnapshotCommits and SnapshotBytes are how long the log gets, in commits
	// or in bytes, before the next snapshot is due; default 1,000 and 64 MiB.
	SnapshotCommits, SnapshotBytes int64
}

// Owner is a [broker.Owner].
type Owner struct {
	Config
	log      Chain
	parts    Chain // of snapshots
	mark     Chain // of the partition's start
	epoch    int64
	position uint64                // of the tail
	tail     *schemas.Commit       // newest commit without its contents, nil = none
	started  bool                  // the mark stands
	said     map[broker.Log]int64  // newest commit with rows for each log
	partial  bool                  // the log was purged: said may lack logs
	claims   map[int64]routedClaim // commits that the topics name
	bytes    int64                 // stored since the commit that the newest snapshot stands at
	taking   *snapshot             // nil = none
	purged   int64                 // commit up to which this owner has purged
	router   *router
	life     context.Context
	stop     context.CancelFunc
	restored bool
	dead     error
	buffer   []byte
}

// routedClaim is what the last frame of a log says about a commit.
type routedClaim struct {
	by   broker.Log
	hash schemas.Hash
}

// Acquire makes an owner whose routing ends with life. It returns
// broker.ErrLost if a topic holds rows of a commit that the log does not have:
// the log has lost a suffix, and folding over it would say other rows under the
// same commit numbers. The same goes for a log without any commit whose
// partition is marked as started.
func Acquire(ctx, life context.Context, store Store, config Config) (broker.Owner, error) {
	o := &Owner{
		Config: config,
		log:    store.Commits(config.Processor, config.Partition),
		parts:  store.Snapshots(config.Processor, config.Partition),
		mark:   store.Started(config.Processor, config.Partition),
		said:   map[broker.Log]int64{},
		claims: map[int64]routedClaim{},
	}
	if err := o.acquire(ctx, life, store); err != nil {
		return nil, fmt.Errorf("cannot acquire %s: %w", o, err)
	}
	return o, nil
}

// String names the partition that is owned.
func (o *Owner) String() string { return fmt.Sprintf("%s/%d", o.Processor, o.Partition) }

// acquire reads the topics and the mark before the log: an older owner may
// still be at work, and what it routes or marks meanwhile it has committed
// before.
func (o *Owner) acquire(ctx, life context.Context, store Store) error {
	destinations, err := store.Destinations(ctx, o.Processor, o.Partition)
	if err != nil {
		return err
	}
	heads := make(map[broker.Log]head, len(destinations))
	for _, to := range destinations {
		h, err := readHead(ctx, store.Rows(to, o.Processor, o.Partition), to)
		if err != nil {
			return err
		}
		if h.position != 0 {
			heads[to] = h
			o.claims[h.commit] = routedClaim{to, h.hash}
		}
	}
	mark, err := o.mark.Last(ctx)
	if err != nil {
		return err
	}
	last, err := o.log.Last(ctx)
	if err != nil {
		return err
	}
	o.started = mark.Position != 0
	if o.started && last.Position == 0 {
		return fmt.Errorf("the partition was started and its log is empty: %w", broker.ErrLost)
	}
	var routed int64
	o.epoch, o.position = 1, last.Position
	if last.Position != 0 {
		c, err := DecodeCommit(last)
		if err != nil {
			return err
		}
		o.tail, o.epoch, routed = withoutContents(c), c.Epoch+1, c.Routed
	}
	for to, h := range heads {
		if h.commit > o.number() {
			return fmt.Errorf("%s/%d holds rows of commit %d, the log ends at %d: %w",
				to.Topic, to.Partition, h.commit, o.number(), broker.ErrLost)
		}
	}
	if o.tail != nil {
		if err := o.check(o.tail); err != nil {
			return err
		}
	}
	o.life, o.stop = context.WithCancel(life)
	o.router = newRouter(o.Config, store, heads, routed)
	go o.router.run(o.life)
	return nil
}

// Epoch is the tail's epoch + 1: two owners that acquire without a commit in
// between share it, and the first commit decides between them.
func (o *Owner) Epoch() int64 { return o.epoch }

// Restore gives the parts of the newest snapshot that is whole and the commits
// after it, and routes what an owner before had committed and not routed.
//
// A log that holds rows of this source is taken at its word: what comes after
// its last frame is routed, even where a commit says that it had been (a broker
// may lose the end of a topic when the power fails). A log that holds none may
// have aged out: there the word of the tail decides.
func (o *Owner) Restore(ctx context.Context, apply func(*schemas.Commit) error) error {
	if o.restored {
		return fmt.Errorf("cannot restore %s: it was restored already", o)
	}
	if err := o.restore(ctx, apply); err != nil {
		o.kill(err)
		return fmt.Errorf("cannot restore %s: %w", o, err)
	}
	o.restored = true
	return nil
}

func (o *Owner) restore(ctx context.Context, apply func(*schemas.Commit) error) error {
	if o.dead != nil {
		return o.dead
	}
	if o.tail == nil {
		return nil
	}
	at, err := o.restoreSnapshot(ctx, apply)
	if err == nil {
		err = o.restoreCommits(ctx, at, apply)
	}
	if errors.Is(err, broker.ErrLost) {
		next, readErr := o.next(ctx, o.log, o.position)
		switch {
		case readErr != nil:
			return readErr
		case next.Position != 0: // whose owner may have purged what is missing
			return fmt.Errorf("another owner has committed meanwhile (%s): %w", err.Error(), broker.ErrFenced)
		}
	}
	return err
}

// restoreCommits reads all that the log still holds, for routing may lag behind
// a snapshot, and applies what comes after the base.
func (o *Owner) restoreCommits(ctx context.Context, at base, apply func(*schemas.Commit) error) error {
	heads, routed := o.router.start()
	var previous *schemas.Commit
	err := o.log.Scan(ctx, 0, o.position, func(e Entry) error {
		c, err := DecodeCommit(e)
		if err != nil {
			return err
		}
		if previous == nil && c.CommitNumber > 1 {
			if c.CommitNumber > at.number+1 {
				return fmt.Errorf("the log begins at commit %d, and what it is restored from ends at %d: %w",
					c.CommitNumber, at.number, broker.ErrLost)
			}
			o.partial = true
			previous = &schemas.Commit{CommitNumber: c.CommitNumber - 1, Hash: c.PreviousHash, Epoch: c.Epoch}
		}
		if err := broker.Follows(previous, c); err != nil {
			return err
		}
		if c.CommitNumber == at.number+1 && c.PreviousHash != at.hash {
			return fmt.Errorf("commit %d does not follow the commit that the snapshot stands at: %w", c.CommitNumber, broker.ErrLost)
		}
		if err := o.check(c); err != nil {
			return err
		}
		if err := present(c); err != nil {
			return err
		}
		if err := o.router.room(ctx); err != nil {
			return err
		}
		o.router.add(c, func(to broker.Log) bool {
			h, held := heads[to]
			return held && c.CommitNumber > h.commit || !held && c.CommitNumber > routed
		})
		for i := range c.Outputs {
			o.said[destination(&c.Outputs[i])] = c.CommitNumber
		}
		previous = withoutContents(c)
		if c.CommitNumber <= at.number {
			return nil
		}
		o.bytes += int64(len(e.Payload))
		return apply(c)
	})
	if err != nil {
		return err
	}
	if previous == nil || previous.Hash != o.tail.Hash {
		return fmt.Errorf("the log does not lead to commit %d: %w", o.tail.CommitNumber, broker.ErrLost)
	}
	return nil
}

// Flush waits until every output committed so far is in its topic.
func (o *Owner) Flush(ctx context.Context) error {
	if err := o.ready(ctx); err != nil {
		return fmt.Errorf("cannot flush %s: %w", o, err)
	}
	if err := o.router.flush(ctx); err != nil {
		return fmt.Errorf("cannot flush %s: %w", o, err)
	}
	return nil
}

// Release flushes and gives the partition up. The owner is dead after it, also
// where it returns an error.
func (o *Owner) Release(ctx context.Context) error {
	if o.dead != nil {
		return nil
	}
	err := o.Flush(ctx)
	o.kill(broker.ErrClosed)
	return err
}

// ready makes sure that what the owner before has left is routed before
// anything of this one's.
func (o *Owner) ready(ctx context.Context) error {
	switch {
	case o.dead != nil:
		return o.dead
	case o.life.Err() != nil:
		return broker.ErrClosed
	case !o.restored:
		return o.Restore(ctx, func(*schemas.Commit) error { return nil })
	}
	return nil
}

// kill ends the owner and its routing. What it has committed and not routed is
// the next owner's to route.
func (o *Owner) kill(err error) {
	o.dead = err
	o.stop()
}

// number is the tail's commit number, 0 if there is none.
func (o *Owner) number() int64 {
	if o.tail == nil {
		return 0
	}
	return o.tail.CommitNumber
}

// check holds a commit against what the topics say about it.
func (o *Owner) check(c *schemas.Commit) error {
	if claim, ok := o.claims[c.CommitNumber]; ok && claim.hash != c.Hash {
		return fmt.Errorf("%s/%d holds rows of another commit %d than the log: %w",
			claim.by.Topic, claim.by.Partition, c.CommitNumber, broker.ErrLost)
	}
	return nil
}

// present gives rows that an earlier release wrote the layout that frames have
// now.
func present(c *schemas.Commit) error {
	for i := range c.Outputs {
		out := &c.Outputs[i]
		for j, row := range out.Rows {
			resolved, err := schemas.Resolve(uint64(out.Schema), broker.RowSchema(out.Topic), row)
			if err != nil {
				return fmt.Errorf("cannot route the rows of commit %d to %s: %w", c.CommitNumber, out.Topic, err)
			}
			out.Rows[j] = resolved
		}
		out.Schema = int64(broker.RowSchema(out.Topic))
	}
	return nil
}

// DecodeCommit reads an entry of a commit log.
func DecodeCommit(e Entry) (*schemas.Commit, error) {
	c, err := broker.DecodeCommit(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("position %d: %w", e.Position, err)
	}
	return c, nil
}

// History is [broker.Broker.History] of a commit log.
func History(ctx context.Context, log Chain, each func(*schemas.Commit) error) error {
	last, err := log.Last(ctx)
	if err != nil || last.Position == 0 {
		return err
	}
	return log.Scan(ctx, 0, last.Position, func(e Entry) error {
		c, err := DecodeCommit(e)
		if err != nil {
			return err
		}
		return each(c)
	})
}

// withoutContents is what a commit says about its place in the log.
func withoutContents(c *schemas.Commit) *schemas.Commit {
	place := *c
	place.Outputs, place.Delta, place.Reloads = nil, nil, nil
	place.Slices = slices.Clone(c.Slices) // the caller may use them again
	return &place
}

// destination is the log that an output goes to.
func destination(out *schemas.Output) broker.Log {
	return broker.Log{Topic: out.Topic, Partition: int(out.Partition), Lane: out.Lane}
}
