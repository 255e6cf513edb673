package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/lease"
	"github.com/flightlog/flightlog/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// Consume divides the partitions by leases, as Share does, and keeps cursors in
// a bucket of their own, where a change must name the revision before it.
func (b *Broker) Consume(ctx context.Context, group broker.Group, worker string, hold func(ctx context.Context, claim broker.Claim) error) error {
	if err := b.consume(ctx, group, worker, hold); err != nil {
		return fmt.Errorf("cannot consume %s as %s: %w", group.Topic, group.Name, err)
	}
	return nil
}

func (b *Broker) consume(ctx context.Context, group broker.Group, worker string, hold func(ctx context.Context, claim broker.Claim) error) error {
	if !processorPattern.MatchString(group.Name) {
		return fmt.Errorf("%q is no name of a group", group.Name)
	}
	if err := b.check(ctx, broker.Log{Topic: group.Topic}); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	bucket, err := b.js.KeyValue(limited, b.cursorBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return wrap(err, broker.ErrNotProvisioned)
	}
	if err != nil {
		return asked(ctx, err)
	}
	return b.share(ctx, group.Name+"-"+group.Topic, worker, func(ctx context.Context, partition int) error {
		return hold(ctx, &claim{b: b, bucket: bucket, group: group, partition: partition, lanes: map[schemas.Lane]standing{}})
	})
}

// claim is a [broker.Claim].
type claim struct {
	b         *Broker
	bucket    jetstream.KeyValue
	group     broker.Group
	partition int

	mu    sync.Mutex
	lanes map[schemas.Lane]standing
}

// standing is what a claim knows of a lane's entry.
type standing struct {
	revision uint64  // of what was read or set last
	doubt    *cursor // what a call of unknown outcome has perhaps made of it
}

// cursor is an entry of the bucket.
type cursor struct {
	Position uint64 `json:"position"`
	Note     []byte `json:"note,omitempty"`
}

func (c *claim) Partition() int { return c.partition }

func (c *claim) key(lane schemas.Lane) string {
	return fmt.Sprintf("%s.%s.%d.%s", c.group.Name, c.group.Topic, c.partition, lane)
}

func (c *claim) Cursor(ctx context.Context, lane schemas.Lane) (broker.Cursor, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, revision, err := c.get(ctx, lane)
	if err != nil {
		return broker.Cursor{}, fmt.Errorf("cannot read the cursor %s: %w", c.key(lane), err)
	}
	c.lanes[lane] = standing{revision: revision}
	return broker.Cursor(found), nil
}

// get reads an entry; revision 0 = there is none.
func (c *claim) get(ctx context.Context, lane schemas.Lane) (found cursor, revision uint64, err error) {
	if err := c.b.check(ctx, broker.Log{Topic: c.group.Topic, Partition: c.partition, Lane: lane}); err != nil {
		return found, 0, err
	}
	limited, cancel := context.WithTimeout(ctx, c.b.config.Timeout)
	defer cancel()
	entry, err := c.bucket.Get(limited, c.key(lane))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return cursor{}, 0, nil
	}
	if err != nil {
		return cursor{}, 0, asked(ctx, err)
	}
	if err := json.Unmarshal(entry.Value(), &found); err != nil {
		return cursor{}, 0, fmt.Errorf("it is none: %w", err)
	}
	return found, entry.Revision(), nil
}

func (c *claim) SetCursor(ctx context.Context, lane schemas.Lane, to broker.Cursor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.set(ctx, lane, cursor(to)); err != nil {
		return fmt.Errorf("cannot set the cursor %s: %w", c.key(lane), err)
	}
	return nil
}

func (c *claim) set(ctx context.Context, lane schemas.Lane, to cursor) error {
	if len(to.Note) > broker.MaxNote {
		return broker.ErrTooLarge
	}
	if err := c.b.check(ctx, broker.Log{Topic: c.group.Topic, Partition: c.partition, Lane: lane}); err != nil {
		return err
	}
	value, err := json.Marshal(to)
	if err != nil {
		return err
	}
	known := c.lanes[lane]
	revision, err := c.put(ctx, lane, value, known.revision)
	if errors.Is(err, lease.ErrTaken) {
		var found cursor
		if found, revision, err = c.get(ctx, lane); err != nil {
			return err
		}
		switch {
		case revision == known.revision: // a write of the entry is still on its way
			err = broker.ErrRetry
		case found.is(to): // an earlier call whose answer was lost
		case known.doubt != nil && found.is(*known.doubt):
			revision, err = c.put(ctx, lane, value, revision)
		default:
			err = broker.ErrFenced
		}
	}
	if errors.Is(err, broker.ErrUnknown) {
		c.lanes[lane] = standing{known.revision, &to}
	}
	if err != nil {
		return err
	}
	c.lanes[lane] = standing{revision: revision}
	return nil
}

// put writes an entry if it is of a revision; 0 = there is none.
func (c *claim) put(ctx context.Context, lane schemas.Lane, value []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.b.config.Timeout)
	defer cancel()
	var err error
	if revision == 0 {
		revision, err = c.bucket.Create(ctx, c.key(lane), value)
	} else {
		revision, err = c.bucket.Update(ctx, c.key(lane), value, revision)
	}
	return revision, changed(err)
}

func (c cursor) is(other cursor) bool {
	return c.Position == other.Position && bytes.Equal(c.Note, other.Note)
}
