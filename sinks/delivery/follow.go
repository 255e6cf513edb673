package delivery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/flightlog/flightlog/broker"
)

const (
	retryAfter = time.Second // a broker that said "not now" is asked again
	idleAfter  = time.Minute // the place in a log without news is moved on
)

// Entry is a message of a log; or, if it is idle, only the news that nothing of
// the log up to its position is still to come, so that the place does not age
// out.
type Entry struct {
	broker.Message
	Idle bool
}

// Endless is the end of a log that is followed for ever.
const Endless = math.MaxUint64

// Follow delivers the entries of a log after a position up to another one, in
// order. It waits while the broker is away, and ends with the first error that
// waiting does not mend: broker.ErrLost (also where a message comes at a place
// that was said to be passed: the log has lost its end), one of deliver, or ctx's.
func Follow(ctx context.Context, b broker.Broker, log broker.Log, after, end uint64, deliver func(Entry) error) error {
	for after < end {
		err := read(ctx, b, log, &after, end, deliver)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, broker.ErrRetry) && !errors.Is(err, broker.ErrUnknown):
			return err
		default:
			if err := sleep(ctx, retryAfter); err != nil {
				return err
			}
		}
	}
	return nil
}

// read is Follow without patience; it keeps after up to date.
func read(ctx context.Context, b broker.Broker, log broker.Log, after *uint64, end uint64, deliver func(Entry) error) (err error) {
	r, err := b.Read(ctx, log, *after)
	if err != nil {
		return fmt.Errorf("%s/%d after position %d: %w", log.Topic, log.Partition, *after, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for *after < end {
		e, err := next(ctx, r)
		if err == nil && e.Position <= *after && !e.Idle {
			err = fmt.Errorf("a message came at position %d, up to which nothing was to come: %w", e.Position, broker.ErrLost)
		}
		if err != nil {
			return fmt.Errorf("%s/%d after position %d: %w", log.Topic, log.Partition, *after, err)
		}
		if e.Position <= *after {
			continue
		}
		if err := deliver(e); err != nil {
			return err
		}
		*after = e.Position
	}
	return nil
}

func next(ctx context.Context, r broker.Reader) (Entry, error) {
	waiting, cancel := context.WithTimeout(ctx, idleAfter)
	defer cancel()
	m, err := r.Next(waiting)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return Entry{broker.Message{Position: r.Passed()}, true}, nil
	}
	return Entry{m, false}, err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
