package files

import (
	"context"
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// frame is news of a log: a message with its rows as the store's files hold
// them, or that nothing up to a position is still to come, or where the log
// ends.
type frame struct {
	log      broker.Log
	position uint64
	message  bool // or just the news that the log has nothing up to position
	header   schemas.RowHeader
	checksum uint32 // tells it from others of its commit
	rows     []byte
	count    int

	// An archive also keeps of a message:
	appendedAt  int64
	first, last int64    // occurred_at of the rows
	unreadable  int      // events that do not decode
	orgs        []string // of events

	end  uint64 // if asOf > 0: of the log, and nothing else is told
	asOf int64  // µs
}

// follow delivers the frames of a log after a position up to another one.
func follow(ctx context.Context, b broker.Broker, log broker.Log, after, end uint64, decode func(broker.Message, *frame) error, deliver func(frame) error) error {
	return delivery.Follow(ctx, b, log, after, end, func(e delivery.Entry) error {
		f := frame{log: log, position: e.Position, message: !e.Idle}
		if f.message {
			f.appendedAt = e.AppendedAt
			if err := decode(e.Message, &f); err != nil {
				return fmt.Errorf("%s/%d after position %d: the message at position %d: %w", log.Topic, log.Partition, after, e.Position, err)
			}
			f.checksum = delivery.Checksum(f.rows)
		}
		after = e.Position
		return deliver(f)
	})
}
