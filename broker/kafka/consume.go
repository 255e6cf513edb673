package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Consume makes a member of the consumer group p.gG.<group>.<topic>. Cursors are
// the group's committed offsets, with the note in their metadata, so that every
// tool of Kafka's shows the lag and can set it back; the cluster refuses those
// of a member that has lost its place. It forgets them when the group has had no
// member for as long as offsets.retention.minutes (7 days unless it is set up
// otherwise): the group then begins anew.
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
	name := group.Name + "." + group.Topic
	return b.join(ctx, name, group.Topic, worker, func(ctx context.Context, member *kgo.Client, partition int) error {
		return hold(ctx, &claim{b: b, member: member, name: b.group(name), topic: group.Topic, partition: partition})
	})
}

// claim is a [broker.Claim].
type claim struct {
	b         *Broker
	member    *kgo.Client
	name      string // of the group, as the cluster knows it
	topic     string
	partition int
}

func (c *claim) Partition() int { return c.partition }

func (c *claim) place(ctx context.Context, lane schemas.Lane) (place, error) {
	log := broker.Log{Topic: c.topic, Partition: c.partition, Lane: lane}
	return c.b.config.place(log), c.b.check(ctx, log)
}

func (c *claim) Cursor(ctx context.Context, lane schemas.Lane) (broker.Cursor, error) {
	found, err := c.cursor(ctx, lane)
	if err != nil {
		return found, fmt.Errorf("cannot read the cursor of %s in %s/%d: %w", c.name, c.topic, c.partition, err)
	}
	return found, nil
}

func (c *claim) cursor(ctx context.Context, lane schemas.Lane) (found broker.Cursor, err error) {
	at, err := c.place(ctx, lane)
	if err != nil {
		return found, err
	}
	limited, cancel := context.WithTimeout(ctx, c.b.config.Timeout)
	defer cancel()
	committed, err := kadm.NewClient(c.member).FetchOffsetsForTopics(limited, c.name, at.topic)
	if err != nil {
		return found, asked(ctx, err)
	}
	offset, ok := committed.Lookup(at.topic, at.partition)
	if ok && offset.Err != nil {
		return found, asked(ctx, offset.Err)
	}
	if !ok || offset.At < 0 {
		return found, nil
	}
	found.Position = uint64(offset.At)
	// A tool that sets the group back leaves a note of its own, or none.
	if note, err := base64.StdEncoding.DecodeString(offset.Metadata); err == nil && len(note) > 0 {
		found.Note = note
	}
	return found, nil
}

func (c *claim) SetCursor(ctx context.Context, lane schemas.Lane, to broker.Cursor) error {
	if err := c.set(ctx, lane, to); err != nil {
		return fmt.Errorf("cannot set the cursor of %s in %s/%d: %w", c.name, c.topic, c.partition, err)
	}
	return nil
}

func (c *claim) set(ctx context.Context, lane schemas.Lane, to broker.Cursor) error {
	if len(to.Note) > broker.MaxNote {
		return broker.ErrTooLarge
	}
	at, err := c.place(ctx, lane)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.b.config.Timeout)
	defer cancel()
	note := base64.StdEncoding.EncodeToString(to.Note)
	limited = kgo.PreCommitFnContext(limited, func(request *kmsg.OffsetCommitRequest) error {
		request.Topics[0].Partitions[0].Metadata = &note
		return nil
	})
	offsets := map[string]map[int32]kgo.EpochOffset{at.topic: {at.partition: {Epoch: -1, Offset: int64(to.Position)}}}
	done := make(chan error, 1)
	c.member.CommitOffsetsSync(limited, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if err == nil {
			err = errors.New("no answer")
			if len(answer.Topics) == 1 && len(answer.Topics[0].Partitions) == 1 {
				err = kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
			}
		}
		done <- err
	})
	return committed(<-done)
}

// committed puts a failed commit of offsets into its class.
func committed(err error) error {
	var refused *kerr.Error
	if errors.As(err, &refused) {
		switch refused {
		case kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.StaleMemberEpoch, kerr.FencedMemberEpoch:
			return wrap(err, broker.ErrFenced)
		case kerr.RebalanceInProgress, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator:
			return wrap(err, broker.ErrRetry)
		case kerr.OffsetMetadataTooLarge:
			return wrap(err, broker.ErrTooLarge)
		}
	}
	return appended(err)
}
