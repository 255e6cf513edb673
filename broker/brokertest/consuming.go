package brokertest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// sinkGroup is a group that reads findings, which have two lanes.
var sinkGroup = broker.Group{Name: "openobserve", Topic: broker.Findings}

// consumer is a worker of a group on a connection of its own.
type consumer struct {
	broker.Broker
	claims chan broker.Claim // as they come
	stop   context.CancelFunc
	done   chan error // what Consume has returned
}

// consume lets a worker consume until it is stopped.
func (b *bench) consume(group broker.Group, name string) *consumer {
	b.Helper()
	ctx, stop := context.WithCancel(b.ctx)
	c := &consumer{b.installation.Open(b.T), make(chan broker.Claim, 100), stop, make(chan error, 1)}
	b.Cleanup(func() {
		stop()
		_ = c.Close()
	})
	go func() {
		c.done <- c.Consume(ctx, group, name, func(ctx context.Context, claim broker.Claim) error {
			c.claims <- claim
			<-ctx.Done()
			return nil
		})
	}()
	return c
}

// claim waits for a worker's claim to a partition.
func (b *bench) claim(c *consumer, partition int) broker.Claim {
	b.Helper()
	for {
		select {
		case claim := <-c.claims:
			if claim.Partition() == partition {
				return claim
			}
		case err := <-c.done:
			b.Fatalf("Consume: %v", err)
		case <-b.ctx.Done():
			b.Fatalf("no claim to partition %d", partition)
		}
	}
}

// leaveGroup ends a worker and waits for it.
func (b *bench) leaveGroup(c *consumer) {
	b.Helper()
	c.stop()
	select {
	case err := <-c.done:
		if err != nil && !errors.Is(err, context.Canceled) {
			b.Errorf("Consume: %v", err)
		}
	case <-b.ctx.Done():
		b.Fatal("a worker does not leave")
	}
}

// cursor is what a claim says.
func (b *bench) cursor(c broker.Claim, lane schemas.Lane) broker.Cursor {
	b.Helper()
	var found broker.Cursor
	b.patiently(func() (err error) {
		found, err = c.Cursor(b.ctx, lane)
		return err
	})
	return found
}

func (b *bench) setCursor(c broker.Claim, lane schemas.Lane, position uint64, note string) {
	b.Helper()
	b.patiently(func() error {
		return c.SetCursor(b.ctx, lane, broker.Cursor{Position: position, Note: []byte(note)})
	})
}

// patiently calls again what may work later.
func (b *bench) patiently(call func() error) {
	b.Helper()
	for {
		err := call()
		if !errors.Is(err, broker.ErrRetry) && !errors.Is(err, broker.ErrUnknown) {
			b.must(err)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (b *bench) wantCursor(c broker.Claim, lane schemas.Lane, position uint64, note string) {
	b.Helper()
	if got := b.cursor(c, lane); got.Position != position || string(got.Note) != note {
		b.Errorf("the cursor of partition %d, lane %s is %d %q, want %d %q", c.Partition(), lane, got.Position, got.Note, position, note)
	}
}

func consumeTogether(b *bench) {
	held := func(workers ...*consumer) []int {
		var all []int
		for len(all) < Partitions {
			for _, w := range workers {
				select {
				case claim := <-w.claims:
					all = append(all, claim.Partition())
				case <-time.After(5 * time.Millisecond):
				}
			}
			if b.ctx.Err() != nil {
				b.Fatalf("after %v the workers hold %v", patience, all)
			}
		}
		return all
	}
	want := []int{0, 1, 2, 3}
	one := b.consume(sinkGroup, "one")
	if got := held(one); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		b.Errorf("one worker holds %v", got)
	}
	other := b.consume(broker.Group{Name: "files", Topic: broker.Findings}, "one")
	if got := held(other); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		b.Errorf("the worker of another group holds %v", got)
	}
	b.leaveGroup(one)
	if got := held(b.consume(sinkGroup, "two")); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		b.Errorf("the next worker holds %v", got)
	}
}

func cursorStands(b *bench) {
	positions := b.append(broker.Log{Topic: broker.Findings, Partition: 2}, "a", "b", "c")
	one := b.consume(sinkGroup, "one")
	claim := b.claim(one, 2)
	b.wantCursor(claim, schemas.LaneNormal, 0, "")
	b.setCursor(claim, schemas.LaneNormal, positions[0], "first")
	b.setCursor(claim, schemas.LaneNormal, positions[2], "third")
	b.setCursor(claim, schemas.LaneNormal, positions[1], "second")
	b.wantCursor(claim, schemas.LaneNormal, positions[1], "second")
	b.leaveGroup(one)

	claim = b.claim(b.consume(sinkGroup, "two"), 2)
	b.wantCursor(claim, schemas.LaneNormal, positions[1], "second")
	b.setCursor(claim, schemas.LaneNormal, positions[2], "")
	b.wantCursor(claim, schemas.LaneNormal, positions[2], "")
	got := b.take(b.read(broker.Log{Topic: broker.Findings, Partition: 2}, positions[1]), 1)
	if string(got[0].Payload) != "c" {
		b.Errorf("behind the cursor stands %q, want c", got[0].Payload)
	}
}

func cursorsAreSeparate(b *bench) {
	for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
		for range 3 {
			b.append(broker.Log{Topic: broker.Findings, Partition: 1, Lane: lane}, "x")
		}
	}
	claim := b.claim(b.consume(sinkGroup, "one"), 1)
	b.setCursor(claim, schemas.LaneNormal, 1, "normal")
	b.setCursor(claim, schemas.LaneCritical, 2, "critical")
	b.wantCursor(claim, schemas.LaneNormal, 1, "normal")
	b.wantCursor(claim, schemas.LaneCritical, 2, "critical")
	other := b.claim(b.consume(broker.Group{Name: "files", Topic: broker.Findings}, "one"), 1)
	b.wantCursor(other, schemas.LaneNormal, 0, "")
	enriched := b.claim(b.consume(broker.Group{Name: "openobserve", Topic: broker.Enriched}, "one"), 1)
	b.wantCursor(enriched, schemas.LaneNormal, 0, "")
	if _, err := enriched.Cursor(b.ctx, schemas.LaneCritical); !errors.Is(err, broker.ErrNotProvisioned) {
		b.Errorf("the cursor of a lane that a topic does not have: %v, want %v", err, broker.ErrNotProvisioned)
	}
}

func cursorIsFenced(b *bench) {
	b.append(broker.Log{Topic: broker.Findings, Partition: 3}, "a", "b")
	slow := b.consume(sinkGroup, "slow")
	zombie := b.claim(slow, 3)
	b.setCursor(zombie, schemas.LaneNormal, 1, "")
	b.leaveGroup(slow) // and it still uses the claim
	next := b.claim(b.consume(sinkGroup, "next"), 3)
	b.wantCursor(next, schemas.LaneNormal, 1, "")
	b.setCursor(next, schemas.LaneNormal, 2, "")
	// On Kafka the member has left the group and is closed.
	err := zombie.SetCursor(b.ctx, schemas.LaneNormal, broker.Cursor{Position: 1})
	if !errors.Is(err, broker.ErrFenced) && !(b.installation.Transactional && err != nil) {
		b.Errorf("a worker without its claim sets the cursor: %v, want %v", err, broker.ErrFenced)
	}
	b.wantCursor(next, schemas.LaneNormal, 2, "")
}

func noteTooLong(b *bench) {
	claim := b.claim(b.consume(sinkGroup, "one"), 0)
	if err := claim.SetCursor(b.ctx, schemas.LaneNormal, broker.Cursor{Note: make([]byte, broker.MaxNote+1)}); !errors.Is(err, broker.ErrTooLarge) {
		b.Errorf("%d bytes: %v, want %v", broker.MaxNote+1, err, broker.ErrTooLarge)
	}
	note := string(make([]byte, broker.MaxNote))
	b.setCursor(claim, schemas.LaneNormal, 0, note)
	b.wantCursor(claim, schemas.LaneNormal, 0, note)
}
