package commitlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
)

// When a snapshot is due where a Config does not say.
const (
	snapshotCommits = 1000
	snapshotBytes   = 64 << 20
)

// snapshot is one that is being taken, or that is complete and waits for the
// commit that names it.
type snapshot struct {
	schemas.Snapshot
	at       *schemas.Commit // what it stands at, without contents
	before   uint64          // position of the part before the next one
	bytes    int64           // Owner.bytes at its beginning
	complete bool
}

// SnapshotDue is [broker.Owner.SnapshotDue].
func (o *Owner) SnapshotDue() bool {
	if o.dead != nil || !o.restored || o.tail == nil || o.taking != nil {
		return false
	}
	var newest schemas.Snapshot
	if len(o.tail.Snapshots) > 0 {
		newest = o.tail.Snapshots[0]
	}
	return o.number()-newest.CommitNumber >= cmp.Or(o.SnapshotCommits, snapshotCommits) ||
		o.bytes >= cmp.Or(o.SnapshotBytes, snapshotBytes)
}

// Snapshot is [broker.Owner.Snapshot]. Parts are chained as commits are: each
// names the hash of the one before, the first that of the commit that the
// snapshot stands at. Two owners never mix their parts, because every part is
// stored on the condition that the one before is the last.
func (o *Owner) Snapshot(ctx context.Context, part []schemas.Change, last bool) error {
	if err := o.snapshot(ctx, part, last); err != nil {
		o.taking = nil
		return fmt.Errorf("cannot take a snapshot of %s: %w", o, err)
	}
	return nil
}

func (o *Owner) snapshot(ctx context.Context, part []schemas.Change, last bool) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	if o.tail == nil {
		return errors.New("there is no commit for it to stand at")
	}
	if o.taking == nil || o.taking.complete {
		if err := o.beginSnapshot(ctx); err != nil {
			return err
		}
	}
	s := o.taking
	c := *s.at
	c.Snapshots, c.Delta = nil, part
	o.buffer = broker.AppendCommit(o.buffer[:0], &c, s.Hash)
	if most := o.router.store.MaxPayload(); len(o.buffer) > most {
		return fmt.Errorf("a part of %d bytes, at most %d: %w", len(o.buffer), most, broker.ErrTooLarge)
	}
	position, err := o.append(ctx, o.parts, s.before, o.buffer, c.Hash)
	if err != nil {
		return err
	}
	failpoint.Hit("snapshot.part")
	s.First = cmp.Or(s.First, int64(position))
	s.Last, s.before, s.Hash = int64(position), position, c.Hash
	s.Parts++
	if s.complete = last; last {
		failpoint.Hit("snapshot.complete")
	}
	return nil
}

func (o *Owner) beginSnapshot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	before, err := o.parts.Last(ctx)
	if err != nil {
		return err
	}
	o.taking = &snapshot{
		Snapshot: schemas.Snapshot{CommitNumber: o.number(), CommitPosition: int64(o.position), Hash: o.tail.Hash},
		at:       o.tail, before: before.Position, bytes: o.bytes,
	}
	return nil
}

// snapshots are those that the next commit names.
func (o *Owner) snapshots() []schemas.Snapshot {
	var standing []schemas.Snapshot
	if o.tail != nil {
		standing = o.tail.Snapshots
	}
	if o.taking == nil || !o.taking.complete {
		return standing
	}
	return append([]schemas.Snapshot{o.taking.Snapshot}, standing[:min(1, len(standing))]...)
}

// named takes note that the tail names the snapshot that was complete.
func (o *Owner) named() {
	if o.taking != nil && o.taking.complete {
		o.bytes -= o.taking.bytes
		o.taking = nil
		failpoint.Hit("snapshot.named")
	}
}

// purge removes what the older one of two snapshots makes superfluous: commits
// up to the one that it stands at, and parts before its first. It waits until
// those commits are routed, by the word of the tail. It needs not succeed: the
// next owner, or the next snapshot, purges the same.
func (o *Owner) purge(ctx context.Context) {
	if len(o.tail.Snapshots) < 2 {
		return
	}
	older := o.tail.Snapshots[1]
	if older.CommitNumber <= o.purged || o.tail.Routed < older.CommitNumber {
		return
	}
	o.purged = older.CommitNumber
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	err := o.log.Purge(ctx, uint64(older.CommitPosition)+1)
	if err == nil {
		err = o.parts.Purge(ctx, uint64(older.First))
	}
	if err != nil {
		slog.Warn("cannot purge what a snapshot stands for", "processor", o.Processor, "partition", o.Partition,
			"commit", older.CommitNumber, "error", err)
		return
	}
	failpoint.Hit("snapshot.purged")
}

// base is where a restore begins: the commit that a snapshot stands at, or
// nothing.
type base struct {
	number int64
	hash   schemas.Hash
}

// restoreSnapshot applies the newest snapshot that is whole, and leaves in the
// tail those that stand.
func (o *Owner) restoreSnapshot(ctx context.Context, apply func(*schemas.Commit) error) (base, error) {
	for ; len(o.tail.Snapshots) > 0; o.tail.Snapshots = o.tail.Snapshots[1:] {
		s := o.tail.Snapshots[0]
		at, err := o.readSnapshot(ctx, s, func(*schemas.Commit) error { return nil })
		if err == nil {
			return o.readSnapshot(ctx, s, apply)
		}
		if !errors.Is(err, broker.ErrLost) {
			return at, err
		}
		slog.Warn("a snapshot is damaged, trying the one before", "processor", o.Processor, "partition", o.Partition,
			"commit", s.CommitNumber, "error", err)
	}
	return base{}, nil
}

// readSnapshot gives the parts of a snapshot; broker.ErrLost if they are not
// those that were named.
func (o *Owner) readSnapshot(ctx context.Context, s schemas.Snapshot, apply func(*schemas.Commit) error) (base, error) {
	at, previous, parts := base{number: s.CommitNumber}, schemas.Hash{}, int64(0)
	last, err := o.parts.At(ctx, uint64(s.Last))
	if err != nil {
		return at, err
	}
	if last.Position != uint64(s.Last) {
		return at, fmt.Errorf("no part at position %d: %w", s.Last, broker.ErrLost)
	}
	err = o.parts.Scan(ctx, uint64(s.First), uint64(s.Last), func(e Entry) error {
		c, err := DecodeCommit(e)
		if err != nil {
			return err
		}
		if parts++; parts == 1 {
			at.hash, previous = c.PreviousHash, c.PreviousHash
		}
		if c.CommitNumber != s.CommitNumber || c.PreviousHash != previous {
			return fmt.Errorf("the part at position %d stands at commit %d or does not follow the part before: %w",
				e.Position, c.CommitNumber, broker.ErrLost)
		}
		previous = c.Hash
		return apply(c)
	})
	if err == nil && (parts != s.Parts || previous != s.Hash) {
		err = fmt.Errorf("%d parts of %d, or the last one is another: %w", parts, s.Parts, broker.ErrLost)
	}
	return at, err
}
