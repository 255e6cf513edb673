package broker

import (
	"context"

	"github.com/flightlog/flightlog/schemas"
)

// Group is a set of workers that together read one topic from end to end, and
// what the broker keeps for them: who has which partition, and how far each was
// read. A group's name is a word of lower-case letters, digits, - and _; it has
// an account of its own for each topic.
type Group struct {
	Name, Topic string
}

// Cursor is how far a group has come in one log.
type Cursor struct {
	// Position up to which the group is done: to go on is to Read after it.
	Position uint64
	// Note is the group's own, at most MaxNote bytes.
	Note []byte
}

// MaxNote is the most bytes of a cursor's note, which every broker takes: Kafka
// holds 4,096 characters (offset.metadata.max.bytes) in base64.
const MaxNote = 2048

// Claim is one partition of a group's topic, in all its lanes, that has fallen
// to this worker. Safe for concurrent use.
type Claim interface {
	Partition() int
	// Cursor is the one that was set last, a zero one if none ever was.
	Cursor(ctx context.Context, lane schemas.Lane) (Cursor, error)
	// SetCursor replaces a lane's cursor, unless another worker has taken the
	// claim and set it (ErrFenced). Read it by Cursor first: where there is one,
	// a claim that has not is fenced. After ErrUnknown it may stand or not; the
	// same call, or another, may follow. A cursor that goes back is taken as it is.
	SetCursor(ctx context.Context, lane schemas.Lane, to Cursor) error
}
