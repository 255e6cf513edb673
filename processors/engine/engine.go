// Package engine runs a processor over the partitions of its input: it folds a
// slice of the input into one commit, all or nothing, and nothing else moves
// the state (DESIGN §5).
//
//	read slice ─► fold in an overlay ─► commit (conditional on the one before) ─► merge the overlay
//
// One goroutine owns a partition; everything that it calls is synchronous. The
// fold is pure: no clock, no randomness, no I/O, no map order. Its time is the
// highest append time seen, so that replaying the slices that the commits
// record gives the same bytes.
package engine

import (
	"errors"
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// ErrInvalid marks an event that the fold refuses. It becomes a dead letter in
// the same commit; the wrapping error's text is the detail, without any text
// of the event.
var ErrInvalid = errors.New("invalid event")

// Outcome is what an event did.
type Outcome int

// Outcomes of an event; they are counted in every commit (in = applied +
// duplicate + dead + passed).
const (
	Applied   Outcome = iota // it changed a fact
	Duplicate                // its merge changed nothing
	Passed                   // another processor owns it
)

// Processor is one stateful step of the pipeline.
type Processor interface {
	// Name is the processor's in logs, subjects and metrics.
	Name() string
	// Version of the fold's code. A worker with a lower version than the tail
	// refuses the partition.
	Version() int64
	// Begin starts an overlay over the committed state.
	Begin(tx *Tx) Fold
}

// FrameProcessor is a processor whose input is not the topic events but a topic of
// frames of rows that other processors say, by its name. Its folds are [FrameFold].
type FrameProcessor interface {
	Processor
	Input() string
}

// FrameFold folds frames of rows, each as one record.
type FrameFold interface {
	Fold
	// Frame folds one frame of the input. An error that wraps ErrInvalid makes it a
	// dead letter, and must leave the overlay as it was.
	Frame(payload []byte) error
}

// NoEvents is the part of a [FrameFold] that has to do with events: there are none.
type NoEvents struct{}

// Event implements Fold.
func (NoEvents) Event(string, *schemas.Event) (Outcome, error) { return Passed, nil }

// SourceEnd implements Fold.
func (NoEvents) SourceEnd(schemas.Id) {}

// Restate implements Fold.
func (NoEvents) Restate(Restatement) {}

// inputs are the topics that processors read; all have two lanes.
var inputs = []string{broker.Events, broker.TaskFacts, broker.SpendDeltas, broker.ChangeFacts}

// InputOf is the topic that a processor reads.
func InputOf(p Processor) string {
	if f, ok := p.(FrameProcessor); ok {
		return f.Input()
	}
	return broker.Events
}

// Fold is one overlay of a processor. Dropping it drops all that it did.
type Fold interface {
	// Event folds one event of an organisation. An error that wraps ErrInvalid
	// makes it a dead letter, and must leave the overlay as it was.
	Event(org string, e *schemas.Event) (Outcome, error)
	// SourceEnd tells that a producer has read all sources of a session, by its
	// key ([schemas.SessionKey]).
	SourceEnd(session schemas.Id)
	// Restate tells that facts are to be said anew by a version of prices or
	// directory. Version and text are there. Without a reason nobody has asked: the
	// version took effect at Since, before the partition knew of it, and what was
	// said meanwhile is to be compared.
	Restate(r Restatement)
	// Due does the work of a record whose time has come. It stops early when
	// tx.Full, leaving the record due, and is called again in the next commit
	// before the next event (a continuation). The one error is what tx.Recall
	// gave, returned at once with the overlay as it was: Due is called again
	// when the archive is back.
	Due(key string) error
	// End puts every changed record into the transaction.
	End()
}

// Restatement asks for signed corrections of facts that occurred from Since (µs)
// on: they are said by Version of Kind, where that makes a difference.
type Restatement struct {
	Kind    string // prices or directory
	Version int64
	Since   int64
	Reason  string
	// Asked is when it was asked for, µs by the clock of who did. Restatements
	// follow each other in this order, whenever a partition hears of them.
	Asked int64
}

// String is what rows that were restated say of it.
func (r Restatement) String() string { return fmt.Sprintf("%s %d: %s", r.Kind, r.Version, r.Reason) }

// Limits of one commit (DESIGN §5).
const (
	MaxEvents = 512
	SoftBytes = 256 << 10
	HardBytes = 768 << 10
	// maxRecordBytes is what one record may lead to at most: with some overhead
	// every broker takes it (1 MiB).
	maxRecordBytes = 960 << 10
	recordSize     = 512 // estimate of a changed record before it is encoded
)
