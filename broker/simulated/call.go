package simulated

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
)

var errBusy = commitlog.ErrBusy

// call is one that was made and not answered yet. Its fields are the
// scheduler's; gone is set under the world's lock.
type call struct {
	from    *Broker
	what    string
	reads   bool         // it has no effect on the log
	chained bool         // an append to a chain
	reader  *reader      // it waits for this one's next message, and nothing befalls it
	ready   func() bool  // whether it can go on, nil = always
	effect  func() error // runs on the scheduler's goroutine

	err       error
	took      bool // it has had its effect
	delayed   bool
	notBefore time.Time
	gone      bool // its caller waits no more
	answered  chan struct{}
}

func (c *call) name() string { return c.from.name + " " + c.what }

// errTimeout is how a call ends whose caller loses patience.
var errTimeout = errors.New("no answer in time")

// do makes a call and waits until it is answered. A caller that has died waits
// for the end of the world.
func (b *Broker) do(ctx context.Context, c *call) error {
	c.from = b
	if b.direct {
		return c.effect()
	}
	if err := b.state(ctx); err != nil {
		return err
	}
	limited := ctx
	if c.reader == nil {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeoutCause(ctx, timeout+time.Millisecond, errTimeout) // after the caller's own
		defer cancel()
	}
	c.answered = make(chan struct{})
	w := b.world
	w.mu.Lock()
	if c.reader != nil {
		c.reader.handed = false // it comes for the next message
	}
	w.fresh = append(w.fresh, c)
	w.mu.Unlock()
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	var err error
	select {
	case <-c.answered:
		err = c.err
	case <-limited.Done():
		w.mu.Lock()
		c.gone = true
		w.mu.Unlock()
		switch {
		case ctx.Err() != nil && c.reads:
			err = ctx.Err()
		case ctx.Err() != nil:
			err = fmt.Errorf("%w: %w", ctx.Err(), broker.ErrUnknown)
		case c.reads:
			err = fmt.Errorf("%w: %w", context.Cause(limited), broker.ErrRetry)
		default:
			err = fmt.Errorf("%w: %w", context.Cause(limited), broker.ErrUnknown)
		}
	case <-w.ended:
		err = broker.ErrClosed
	}
	b.rest()
	return err
}

// rest holds a goroutine of a dead worker until the end.
func (b *Broker) rest() {
	unlock := b.look()
	dead := b.dead
	unlock()
	if dead {
		<-b.world.ended
	}
}

// look takes the scheduler's lock, which it gives back while it waits. An
// observer has it already.
func (b *Broker) look() (unlock func()) {
	if b.direct {
		return func() {}
	}
	b.world.mu.Lock()
	return b.world.mu.Unlock
}

// state is why a call cannot be made.
func (b *Broker) state(ctx context.Context) error {
	b.rest()
	select {
	case <-b.world.ended:
		return broker.ErrClosed
	default:
	}
	if b.life.Err() != nil {
		return broker.ErrClosed
	}
	return ctx.Err()
}
