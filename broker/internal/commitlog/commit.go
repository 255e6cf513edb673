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
	c.Routed, c.Snapshots = o.router.done(), o.snapshots()
	o.buffer = broker.AppendCommit(o.buffer[:0], c, previous)
	if most := o.router.store.MaxPayload() - frameMargin; len(o.buffer) > most {
		return fmt.Errorf("%d bytes of at most %d: %w", len(o.buffer), most, broker.ErrTooLarge)
	}
	position, err := o.append(ctx, o.log, o.position, o.buffer, c.Hash)
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
	o.bytes += int64(len(o.buffer))
	o.router.add(c, func(broker.Log) bool { return true })
	o.start(ctx)
	o.named()
	o.purge(ctx)
	return nil
}

// start marks the partition as started, once its first commit stands: a mark
// that stood before would make a crash between the two look like a lost log.
// Where the mark cannot be stored, the next commit tries again.
func (o *Owner) start(ctx context.Context) {
	if o.started {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	_, err := o.mark.Append(ctx, []byte(o.Owner), 0)
	o.started = err == nil || errors.Is(err, ErrConflict)
}

// append stores a message in a chain behind the entry at after, which the owner
// knows as the last. Whenever an attempt did not end with an acknowledgement,
// what stands behind that entry tells the truth: this message (an
// acknowledgement was lost), another one (fenced) or none (the same message is
// sent again; the condition makes that harmless).
func (o *Owner) append(ctx context.Context, to Chain, after uint64, message []byte, hash schemas.Hash) (uint64, error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond),
		backoff.WithMaxInterval(500*time.Millisecond),
		backoff.WithMaxElapsedTime(o.Patience))
	began, stored := time.Now(), false // stored: an attempt may have been
	for {
		position, err := o.attempt(ctx, to, after, message)
		if err == nil || !transient(err) {
			return position, err
		}
		wait := pause.NextBackOff()
		if errors.Is(err, ErrBusy) && time.Since(began) < busyPatience {
			wait = 5 * time.Millisecond
		} else {
			stored = stored || !errors.Is(err, broker.ErrRetry)
			if next, readErr := o.next(ctx, to, after); readErr == nil && next.Position != 0 {
				c, err := DecodeCommit(next)
				switch {
				case err != nil:
					return 0, err
				case c.Hash == hash:
					return next.Position, nil
				}
				return 0, fmt.Errorf("%q with epoch %d was faster: %w", c.Owner, c.Epoch, broker.ErrFenced)
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

func (o *Owner) attempt(ctx context.Context, to Chain, after uint64, message []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	return to.Append(ctx, message, after)
}

// next is the entry behind the one at a position.
func (o *Owner) next(ctx context.Context, in Chain, position uint64) (Entry, error) {
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	e, err := in.At(limited, position+1)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", err, broker.ErrRetry)
	}
	return e, err
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
		name := fmt.Sprintf("output %s/%d/%s", to.Topic, to.Partition, to.Lane)
		if err := CheckLog(to, o.Partitions); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		switch {
		case !broker.IsRowTopic(to.Topic):
			errs = append(errs, fmt.Errorf("%s: no topic of rows", name))
		case seen[to]:
			errs = append(errs, fmt.Errorf("%s: stands twice", name))
		case len(c.Outputs[i].Rows) == 0:
			errs = append(errs, fmt.Errorf("%s: has no rows", name))
		}
		if said, known := o.said[to]; known || !o.partial {
			mismatch(name+": previous", c.Outputs[i].Previous, said)
		}
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
