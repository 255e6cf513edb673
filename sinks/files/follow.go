package files

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// frame is a message of a log with its rows as lines of JSON.
type frame struct {
	log      broker.Log
	position uint64
	message  bool // or just the news that the log has nothing up to position
	header   schemas.RowHeader
	rows     []byte
}

const endless = math.MaxUint64

// follow delivers the frames of a log after a position up to another one. It
// waits while the broker is away.
func follow(ctx context.Context, b broker.Broker, log broker.Log, after, end uint64, deliver func(frame) error) error {
	for after < end {
		err := read(ctx, b, log, &after, end, deliver)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, broker.ErrRetry) && !errors.Is(err, broker.ErrUnknown):
			return err
		default:
			select {
			case <-time.After(retryAfter):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// read is follow without patience; it keeps after up to date.
func read(ctx context.Context, b broker.Broker, log broker.Log, after *uint64, end uint64, deliver func(frame) error) (err error) {
	r, err := b.Read(ctx, log, *after)
	if err != nil {
		return fmt.Errorf("%s/%d after position %d: %w", log.Topic, log.Partition, *after, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for *after < end {
		f, err := next(ctx, r, log)
		if err != nil {
			return fmt.Errorf("%s/%d after position %d: %w", log.Topic, log.Partition, *after, err)
		}
		if f.position <= *after {
			continue
		}
		if err := deliver(f); err != nil {
			return err
		}
		*after = f.position
	}
	return nil
}

// next is the reader's next frame, or one without header and rows on a log that
// has been idle: it only moves the place on, so that the place does not age out.
func next(ctx context.Context, r broker.Reader, log broker.Log) (frame, error) {
	waiting, cancel := context.WithTimeout(ctx, idleAfter)
	defer cancel()
	m, err := r.Next(waiting)
	switch {
	case err == nil:
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return frame{log: log, position: r.Passed()}, nil
	default:
		return frame{}, err
	}
	f := frame{log: log, position: m.Position, message: true}
	if f.header, f.rows, err = render(log.Topic, m.Payload); err != nil {
		return frame{}, fmt.Errorf("the message at position %d: %w", m.Position, err)
	}
	return f, nil
}

// render decodes a message of a topic and writes its rows as lines of JSON.
func render(topic string, message []byte) (header schemas.RowHeader, lines []byte, err error) {
	if topic == broker.DeadLetters {
		var f schemas.DeadLetterFrame
		err = f.DecodeMessage(message)
		for i := range f.Rows {
			lines = append(f.Rows[i].AppendJSON(lines), '\n')
		}
		return f.Header, lines, err
	}
	var f schemas.EnrichedFrame
	err = f.DecodeMessage(message)
	for i := range f.Rows {
		lines = append(f.Rows[i].AppendJSON(lines), '\n')
	}
	return f.Header, lines, err
}
