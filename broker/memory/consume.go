package memory

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
)

// cursorKey names a cursor of a group.
type cursorKey struct {
	group string
	log   broker.Log
}

// cursorEntry is a cursor, and how often it was set.
type cursorEntry struct {
	broker.Cursor
	revision int
}

// Consume divides the partitions among all handles that call it.
func (b *Broker) Consume(ctx context.Context, group broker.Group, worker string, hold func(ctx context.Context, claim broker.Claim) error) error {
	if err := commitlog.CheckLog(broker.Log{Topic: group.Topic}, b.partitions); err != nil {
		return fmt.Errorf("cannot consume %s as %s: %w", group.Topic, group.Name, err)
	}
	return b.Share(ctx, group.Name+" of "+group.Topic, worker, func(ctx context.Context, partition int) error {
		return hold(ctx, &claim{b: b, group: group, partition: partition, revisions: map[schemas.Lane]int{}})
	})
}

// claim is a [broker.Claim].
type claim struct {
	b         *Broker
	group     broker.Group
	partition int

	mu        sync.Mutex
	revisions map[schemas.Lane]int // that this claim goes by
}

func (c *claim) Partition() int { return c.partition }

func (c *claim) key(lane schemas.Lane) cursorKey {
	return cursorKey{c.group.Name, broker.Log{Topic: c.group.Topic, Partition: c.partition, Lane: lane}}
}

func (c *claim) Cursor(ctx context.Context, lane schemas.Lane) (broker.Cursor, error) {
	key := c.key(lane)
	if err := c.b.check(ctx, key.log); err != nil {
		return broker.Cursor{}, fmt.Errorf("cannot read the cursor of %s in %s/%d: %w", key.group, key.log.Topic, key.log.Partition, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	entry := c.b.cursors[key]
	c.revisions[lane] = entry.revision
	return broker.Cursor{Position: entry.Position, Note: bytes.Clone(entry.Note)}, nil
}

func (c *claim) SetCursor(ctx context.Context, lane schemas.Lane, to broker.Cursor) error {
	key := c.key(lane)
	err := c.b.check(ctx, key.log)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	entry := c.b.cursors[key]
	switch {
	case err != nil:
	case len(to.Note) > broker.MaxNote:
		err = broker.ErrTooLarge
	case entry.revision != c.revisions[lane]:
		err = broker.ErrFenced
	default:
		c.revisions[lane]++
		c.b.cursors[key] = cursorEntry{broker.Cursor{Position: to.Position, Note: bytes.Clone(to.Note)}, entry.revision + 1}
		return nil
	}
	return fmt.Errorf("cannot set the cursor of %s in %s/%d: %w", key.group, key.log.Topic, key.log.Partition, err)
}
