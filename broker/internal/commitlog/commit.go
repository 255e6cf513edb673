package commitlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// busyPatience is how long ErrBusy is taken for what it says.
const busyPatience = time.Second

// frameMargin is what a frame of rows may be longer than the commit that said
// the rows.
const frameMargin = 1024

// Commit is [broker.Owner.Commit]. It waits while the topics are more than
// queueBytes behind the log.
func (o *Owner) Commit(ctx context.Context, c *schemas.Commit) error {
	if err := o.commit(ctx, c); err != nil {
		return fmt.Errorf("cannot commit %s number %d: %w", o, c.CommitNumber, err)
	}
	return nil
}

func (o *Owner) commit(ctx context.Context, c *schemas.Commit) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	if err := o.validate(c); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := o.router.room(ctx); err != nil {
		return err
	}
	var previous schemas.Hash
	if o.tail != nil {
		previous = o.tail.Hash
	}
	c.Routed = o.router.done()
	o.buffer = broker.AppendCommit(o.buffer[:0], c, previous)
	if most := o.router.store.MaxPayload() - frameMargin; len(o.buffer) > most {
		return fmt.Errorf("%d bytes of at most %d: %w", len(o.buffer), most, broker.ErrTooLarge)
	}
	position, err := o.append(ctx, o.buffer, c.Hash)
	if err != nil {
		if !errors.Is(err, broker.ErrRetry) {
			o.kill(err)
		}
		return err
	}
	o.position, o.tail = position, withoutContents(c)
	for i := range c.Outputs {
		o.said[destination(&c.Outputs[i])] = c.CommitNumber
	}
	o.router.add(c, func(broker.Log) bool { return true })
	return nil
}

// append stores the message behind the tail. Whenever an attempt did not end
// with an acknowledgement, what stands behind the tail tells the truth: this
// message (an acknowledgement was lost), another one (fenced) or none (the same
// message is sent again; the condition makes that harmless).
func (o *Owner) append(ctx context.Context, message []byte, hash schemas.Hash) (uint64, error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond),
		backoff.WithMaxInterval(500*time.Millisecond),
		backoff.WithMaxElapsedTime(o.Patience))
	began, stored := time.Now(), false // stored: an attempt may have been
	for {
		position, err := o.attempt(ctx, message)
		if err == nil || !transient(err) {
			return position, err
		}
		wait := pause.NextBackOff()
		if errors.Is(err, ErrBusy) && time.Since(began) < busyPatience {
			wait = 5 * time.Millisecond
		} else {
			stored = stored || !errors.Is(err, broker.ErrRetry)
			if next, readErr := o.next(ctx); readErr == nil && next.Position != 0 {
				c, err := DecodeCommit(next)
				switch {
				case err != nil:
					return 0, err
				case c.Hash == hash:
					return next.Position, nil
				}
				return 0, fmt.Errorf("%q has committed it with epoch %d: %w", c.Owner, c.Epoch, broker.ErrFenced)
			}
		}
		if wait == backoff.Stop || !sleep(ctx, wait) {
			if stored {
				return 0, fmt.Errorf("%w: %w", err, broker.ErrUnknown)
			}
			return 0, fmt.Errorf("%w: %w", err, broker.ErrRetry)
		}
	}
}

func (o *Owner) attempt(ctx context.Context, message []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	return o.log.Append(ctx, message, o.position)
}

// next is the entry behind the tail that this owner knows.
func (o *Owner) next(ctx context.Context) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	return o.log.At(ctx, o.position+1)
}

// validate refuses a commit that the owner may not make, before anything is
// stored.
func (o *Owner) validate(c *schemas.Commit) error {
	var errs []error
	mismatch := func(what string, have, want any) {
		if have != want {
			errs = append(errs, fmt.Errorf("%s is %v, not %v", what, have, want))
		}
	}
	mismatch("processor", c.Processor, o.Processor)
	mismatch("partition", c.Partition, int64(o.Partition))
	mismatch("generation", c.Generation, o.Generation)
	mismatch("epoch", c.Epoch, o.epoch)
	mismatch("commit_number", c.CommitNumber, o.number()+1)
	seen := make(map[broker.Log]bool, len(c.Outputs))
	for i := range c.Outputs {
		to := destination(&c.Outputs[i])
		name := fmt.Sprintf("output %s/%d", to.Topic, to.Partition)
		switch {
		case !broker.IsRowTopic(to.Topic):
			errs = append(errs, fmt.Errorf("%s: no topic of rows", name))
		case to.Partition < 0 || to.Partition >= o.Partitions:
			errs = append(errs, fmt.Errorf("%s: there are %d partitions", name, o.Partitions))
		case seen[to]:
			errs = append(errs, fmt.Errorf("%s: stands twice", name))
		case len(c.Outputs[i].Rows) == 0:
			errs = append(errs, fmt.Errorf("%s: has no rows", name))
		}
		mismatch(name+": previous", c.Outputs[i].Previous, o.said[to])
		seen[to] = true
	}
	return errors.Join(errs...)
}

// sleep waits, and tells whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
