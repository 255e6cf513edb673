// Package broker is the log as Flightlog sees it: a handful of named logs that
// producers append to, owners of partitions fold and commit to, and readers
// follow. The same few calls stand on a NATS JetStream or a Kafka cluster, and
// on memory for tests.
//
// Everything that must be exact rests on one conditional write: [Owner.Commit]
// takes effect only if the commit before it is the one that the owner knows
// (DESIGN §5). Leases, groups and cursors are hints.
package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/flightlog/flightlog/schemas"
)

// Topics that every installation has. Names are part of the contract with
// readers (DESIGN §3).
const (
	Events      = "events"       // two lanes; frames of events and control records
	Enriched    = "enriched"     // signed rows, one per fact version
	Findings    = "findings"     // detector results; two lanes
	DeadLetters = "deadletters"  // what could not be processed, and why
	Tasks       = "tasks"        // signed rows of task records
	Spend       = "spend"        // increments of window panes
	TaskFacts   = "task-facts"   // internal: what a session contributes to a task; two lanes
	SpendDeltas = "spend-deltas" // internal: what a commit adds to spend; two lanes
	ChangeFacts = "change-facts" // internal: commits and pull requests of sessions, and what the forge tells; two lanes
	Closed      = "closed"       // internal: state that was archived, to come back by a reload
	Config      = "config"       // every version of rules, prices and directory; one partition
)

// TwoLanes tells a topic that has a critical lane besides the normal one.
func TwoLanes(topic string) bool {
	switch topic {
	case Events, Findings, TaskFacts, SpendDeltas, ChangeFacts:
		return true
	}
	return false
}

// Internal tells a topic that only processors read.
func Internal(topic string) bool {
	switch topic {
	case TaskFacts, SpendDeltas, ChangeFacts, Closed:
		return true
	}
	return false
}

// The three ways in which a broker call fails. Every error of an
// implementation wraps exactly one of them, or is a context's error, or is
// permanent (bad address, not provisioned, too large).
var (
	// ErrFenced: another owner has committed. Drop overlay and state, release,
	// and acquire anew. Nothing of the refused commit was stored.
	ErrFenced = errors.New("fenced by another owner")
	// ErrUnknown: the call may or may not have taken effect and the broker
	// could not be asked. Drop everything and acquire anew; the log tells.
	ErrUnknown = errors.New("outcome unknown")
	// ErrRetry: nothing took effect; the same call may work later (broker
	// down, topic full).
	ErrRetry = errors.New("not now")
)

// Permanent errors.
var (
	// ErrNotProvisioned: the broker does not hold this installation's topics.
	ErrNotProvisioned = errors.New("not provisioned")
	// ErrLost: the position that a reader asked for is gone (aged out, or the
	// log lost a suffix), or the outputs in the topics are ahead of the log.
	// Never skipped silently.
	ErrLost = errors.New("position lost")
	// ErrTooLarge: the payload is over the broker's limit.
	ErrTooLarge = errors.New("payload too large")
	// ErrClosed: the broker or reader was closed.
	ErrClosed = errors.New("closed")
)

// Log names one ordered log: one partition (and lane) of a topic.
type Log struct {
	Topic     string
	Partition int
	Lane      schemas.Lane // of topics with TwoLanes; normal elsewhere
}

// String is the log as dead letters name their source: topic/partition, and the
// lane if it is the critical one.
func (l Log) String() string {
	if l.Lane != schemas.LaneNormal {
		return fmt.Sprintf("%s/%d/%s", l.Topic, l.Partition, l.Lane)
	}
	return fmt.Sprintf("%s/%d", l.Topic, l.Partition)
}

// Message is one message of a log.
type Message struct {
	// Position orders the messages of one log; it grows, but not by one.
	Position uint64
	// AppendedAt is the broker's append time in µs since 1970, the same for
	// every reader. Within a log it goes back only where another server has
	// taken over whose clock is behind.
	AppendedAt int64
	// Payload is one single-object-encoded record (a frame of events, a
	// control record or a frame of rows). It is the caller's to keep.
	Payload []byte
	// Pending is how many messages of the log were known to stand behind this
	// one when it was read: the reader's lag.
	Pending int64
}

// Reader follows one log in order. Not safe for concurrent use.
type Reader interface {
	// Next waits for the next message. It returns ErrLost if the reader's
	// place is gone, and ctx's error when ctx ends; both leave the reader
	// where it was.
	Next(ctx context.Context) (Message, error)
	// Passed is a position up to which nothing of the log is still to come:
	// that of the last message, or a later one when Next has waited on an idle
	// log. To Read after it skips nothing. Keep it now and then for a log that
	// may stay idle: a position older than everything that the broker still
	// holds of all logs is ErrLost, because nobody can tell any more whether
	// something had followed it.
	Passed() uint64
	Close() error
}

// Broker is a connection to one installation's logs. Safe for concurrent use.
type Broker interface {
	// Partitions is the provisioned number of partitions of every topic
	// (ErrNotProvisioned if there are none yet).
	Partitions(ctx context.Context) (int, error)
	// Installation names the provisioned installation and generation for ever:
	// it is made at random when that was provisioned. Another broker, or the
	// same folder provisioned anew, has another, and no position of the one
	// means anything in the other. Errors as of Partitions.
	Installation(ctx context.Context) (string, error)
	// Generation of commit logs, state and rows that this connection works on;
	// events and config are the same for all.
	Generation() int64
	// Append adds a message at the end of a log and returns after the broker
	// has stored it. On ErrUnknown it may have been stored; events are merged
	// by event_id, so the caller sends it again.
	Append(ctx context.Context, to Log, payload []byte) (uint64, error)
	// Read opens a reader on the messages after position (0 = from the start
	// of what the log still holds; a later position that has aged out is
	// ErrLost).
	Read(ctx context.Context, from Log, after uint64) (Reader, error)
	// End is the position of the last message of a log, 0 if it never had one.
	End(ctx context.Context, of Log) (uint64, error)
	// Seek is a position to Read after that skips no message with an append
	// time of at (µs) or later, and few earlier ones; never ErrLost for what
	// has aged out.
	Seek(ctx context.Context, in Log, at int64) (uint64, error)
	// LastCommit is the newest commit of a processor's partition as any
	// client may see it, without owning the partition; nil if there is none.
	LastCommit(ctx context.Context, processor string, partition int) (*schemas.Commit, error)
	// History gives every commit of a processor's partition that the log still
	// holds, oldest first, up to the newest as of the call, without owning the
	// partition. Where outputs stand with the commit in their topics (Kafka)
	// the commit is given without them.
	History(ctx context.Context, processor string, partition int, each func(*schemas.Commit) error) error
	// Acquire makes the caller the owner of a processor's partition, in the
	// epoch after the tail's: its first commit fences every older owner. ErrLost
	// if a topic holds rows of a commit that the log does not have.
	Acquire(ctx context.Context, processor string, partition int, owner string) (Owner, error)
	// Share divides the partitions of a processor among the workers that call
	// it, until ctx ends or hold returns an error (which Share returns). It
	// calls hold on a goroutine of its own for each partition that falls to
	// this worker, never twice at a time for one; when the partition has to go
	// to another worker, or the claim to it may have been lost, it ends hold's
	// context. hold then gives the partition up at a commit boundary and
	// returns nil. A worker holds at most ceil(partitions/workers) of them, and
	// what a dead one held goes to the others within the lease's time + 5 s.
	//
	// It is a hint (DESIGN §5): two workers may hold one partition for a while.
	// Which of them commits, the commit decides.
	Share(ctx context.Context, processor, owner string, hold func(ctx context.Context, partition int) error) error
	// Consume divides the partitions of a group's topic among the workers that
	// call it, as Share does for a processor. A claim is a hint as well; that a
	// cursor is not set by two workers in turn, SetCursor sees to.
	Consume(ctx context.Context, group Group, worker string, hold func(ctx context.Context, claim Claim) error) error
	Close() error
}

// Owner is the right to commit for one partition of one processor. Used by one
// goroutine.
type Owner interface {
	// Epoch of this ownership, higher than every one before.
	Epoch() int64
	// Restore gives what the state is made of, oldest first, up to the tail:
	// records whose deltas, applied one after the other, are the state, and of
	// which the last one bears the tail's number, slices and times. Where the
	// log was purged the first ones are parts of a snapshot: they look like
	// commits with the number of the commit that the snapshot stands at. It
	// checks the hash chain and returns ErrLost where it breaks, and routes
	// what the owner before left undone. Call it once, before the first Commit
	// (which does it unseen if nobody has).
	Restore(ctx context.Context, apply func(*schemas.Commit) error) error
	// Commit stores the record, all or nothing, if the commit before it is the
	// last one; its outputs then reach their topics exactly once and in commit
	// order, perhaps after Commit has returned. The caller fills everything
	// but hash, previous_hash, routed and snapshots. On ErrFenced and ErrUnknown the
	// owner is dead; ErrRetry leaves it as it was.
	Commit(ctx context.Context, c *schemas.Commit) error
	// SnapshotDue tells that the log has grown so long since the last snapshot
	// that another one is wanted. Always false where the broker compacts state
	// by itself.
	SnapshotDue() bool
	// Snapshot adds a part of the state to the snapshot that is being taken,
	// between commits: records that stand in the committed state, each once, in
	// any order. Records that change while it is taken may be given old or new,
	// and new ones left out: the deltas of the commits since its first part
	// belong on top. With last it is complete, the next commit names it, and
	// what is older than the snapshot before it may be purged. Errors as of
	// Commit, but they leave the owner alive: the snapshot is dropped.
	Snapshot(ctx context.Context, part []schemas.Change, last bool) error
	// Flush waits until every output committed so far is in its topic.
	Flush(ctx context.Context) error
	// Release gives the partition up after the last commit and flushes.
	Release(ctx context.Context) error
}

// PartitionOf is the partition of a key among n, the same on every broker.
func PartitionOf(key string, n int) int { return schemas.PartitionOf(key, n) }
