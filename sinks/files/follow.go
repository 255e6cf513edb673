package files

import (
	"context"
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// frame is a message of a log with its rows as lines of JSON.
type frame struct {
	log      broker.Log
	position uint64
	message  bool // or just the news that the log has nothing up to position
	header   schemas.RowHeader
	rows     []byte
}

// follow delivers the frames of a log after a position up to another one.
func follow(ctx context.Context, b broker.Broker, log broker.Log, after, end uint64, deliver func(frame) error) error {
	var decoder delivery.Decoder
	return delivery.Follow(ctx, b, log, after, end, func(e delivery.Entry) error {
		f := frame{log: log, position: e.Position, message: !e.Idle}
		if f.message {
			header, rows, err := decoder.Decode(log.Topic, e.Message)
			if err != nil {
				return fmt.Errorf("%s/%d after position %d: the message at position %d: %w", log.Topic, log.Partition, after, e.Position, err)
			}
			f.header = header
			for i := range rows {
				f.rows = append(rows[i].AppendJSON(f.rows), '\n')
			}
		}
		after = e.Position
		return deliver(f)
	})
}
