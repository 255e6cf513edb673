// Package commitlog is the commit on brokers that can append on a condition
// (JetStream, memory): one commit is one message, stored only if the message
// before it is the one that the owner knows; its outputs are then routed to
// their topics, exactly once and in commit order (DESIGN §5).
//
// Nothing here trusts a lease, a clock or an acknowledgement: what happened is
// read back from the log.
package commitlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// How [Chain.Append] fails beside the errors of package broker. Nothing was
// stored.
var (
	// ErrConflict: the newest entry is not the expected one.
	ErrConflict = errors.New("conflict")
	// ErrBusy: the broker has another append to the chain in its hands, maybe
	// the caller's own that it has just acknowledged (JetStream 10164).
	ErrBusy = errors.New("busy")
)

// Entry is one message of a chain. Position 0 = there is none.
type Entry struct {
	Position uint64
	Payload  []byte
}

// Chain is a log of which every append names the entry before.
type Chain interface {
	// Last is the newest entry.
	Last(ctx context.Context) (Entry, error)
	// At is the first entry at or after a position.
	At(ctx context.Context, position uint64) (Entry, error)
	// Scan gives the entries from a position up to one that is known to exist.
	Scan(ctx context.Context, from, to uint64, each func(Entry) error) error
	// Append stores payload if the newest entry is the one at after (0 = there
	// is none), and returns its position. It tries once.
	Append(ctx context.Context, payload []byte, after uint64) (uint64, error)
	// Purge removes the entries before a position.
	Purge(ctx context.Context, before uint64) error
}

// Store is where the chains of one generation of an installation lie.
type Store interface {
	// Commits is the commit log of a processor's partition.
	Commits(processor string, partition int) Chain
	// Snapshots holds the parts of its snapshots.
	Snapshots(processor string, partition int) Chain
	// Started holds one entry from the partition's first commit on. It lies
	// where the loss of the commit log leaves it.
	Started(processor string, partition int) Chain
	// Rows is what one source routes to a log.
	Rows(to broker.Log, processor string, source int) Chain
	// Destinations are the logs that hold rows of a source.
	Destinations(ctx context.Context, processor string, source int) ([]broker.Log, error)
	// MaxPayload is the longest message, in bytes.
	MaxPayload() int
}

// CheckLog tells what is wrong with the name of a log in an installation with a
// number of partitions: every topic has as many but config, which has one, and
// only topics with [broker.TwoLanes] have a critical lane. The error wraps
// broker.ErrNotProvisioned.
func CheckLog(l broker.Log, partitions int) error {
	if l.Topic == broker.Config {
		partitions = 1
	}
	switch {
	case l.Topic != broker.Events && l.Topic != broker.Config && !broker.IsRowTopic(l.Topic):
		return fmt.Errorf("no topic %q: %w", l.Topic, broker.ErrNotProvisioned)
	case l.Partition < 0 || l.Partition >= partitions:
		return fmt.Errorf("partition %d of %d: %w", l.Partition, partitions, broker.ErrNotProvisioned)
	case l.Lane != schemas.LaneNormal && (l.Lane != schemas.LaneCritical || !broker.TwoLanes(l.Topic)):
		return fmt.Errorf("%s has no lane %d (%s): %w", l.Topic, l.Lane, l.Lane, broker.ErrNotProvisioned)
	}
	return nil
}
