package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What listOffset asks for beside a time in ms.
const (
	offsetEnd   = -1 // the high watermark: what an open transaction holds belongs to it
	offsetStart = -2
)

// readCommitted is the isolation level of a fetch request.
const readCommitted = 1

const (
	fetchBytes = 4 << 20
	// metadataAge is how long a leader is believed to be one without a doubt.
	metadataAge = 5 * time.Minute
	// lag is how long to wait before asking again for what is not there yet.
	lag = 5 * time.Millisecond
	// abortInterval is more than the pause between two looks of a cluster for
	// transactions that have timed out.
	abortInterval = 15 * time.Second
)

// listOffset asks the leader of a partition for an offset. It is -1 for a time
// after which there is no record.
func (b *Broker) listOffset(ctx context.Context, at place, timestamp int64) (int64, error) {
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Partition, partition.Timestamp = at.partition, timestamp
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic, topic.Partitions = at.topic, []kmsg.ListOffsetsRequestTopicPartition{partition}
	request := kmsg.NewPtrListOffsetsRequest()
	request.Topics = []kmsg.ListOffsetsRequestTopic{topic}
	response, err := request.RequestWith(limited, b.client)
	if err != nil {
		return 0, asked(ctx, err)
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return 0, wrap(fmt.Errorf("no answer about %s/%d", at.topic, at.partition), broker.ErrRetry)
	}
	answer := response.Topics[0].Partitions[0]
	return answer.Offset, asked(ctx, kerr.ErrorForCode(answer.ErrorCode))
}

// cursor reads one partition with read_committed. Unlike the client's own
// consumer it never moves to another offset by itself and tells how far it has
// come over aborted records and markers.
type cursor struct {
	client *kgo.Client
	at     place
	offset int64 // of the next record
	topic  [16]byte
	leader int32
	known  bool // topic and leader are
}

// fetched is the answer to one fetch.
type fetched struct {
	records []*kgo.Record
	// high is the high watermark.
	high int64
}

// fetch reads what is there, or waits for it for a while. It returns ErrLost,
// without having moved, if the partition does not hold the cursor's offset, or
// is another one than it was; ErrRetry if it should be called again.
func (c *cursor) fetch(ctx context.Context, wait, timeout time.Duration) (fetched, error) {
	limited, cancel := context.WithTimeout(ctx, wait+timeout)
	defer cancel()
	answer, err := c.request(limited, wait)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		c.known = false // ask for the leader again
		return fetched{}, asked(ctx, err)
	}
	options := kgo.ProcessFetchPartitionOpts{
		Offset: c.offset, IsolationLevel: kgo.ReadCommitted(), Topic: c.at.topic, Partition: c.at.partition,
	}
	partition, next := kgo.ProcessFetchPartition(options, answer, kgo.DefaultDecompressor(), nil)
	if partition.Err != nil {
		return fetched{}, fmt.Errorf("offset %d: %w", c.offset, partition.Err)
	}
	if len(answer.RecordBatches) == 0 {
		// Below the last stable offset nothing is left (compaction may have
		// taken the last records), or the answer would hold it.
		next = max(next, answer.LastStableOffset)
	}
	c.offset = next
	return fetched{partition.Records, answer.HighWatermark}, nil
}

// request sends one fetch to the partition's leader.
func (c *cursor) request(ctx context.Context, wait time.Duration) (*kmsg.FetchResponseTopicPartition, error) {
	if err := c.locate(ctx); err != nil {
		return nil, err
	}
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes = c.at.partition, c.offset, fetchBytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = c.at.topic, c.topic
	topic.Partitions = []kmsg.FetchRequestTopicPartition{partition}
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = int32(wait.Milliseconds()), 1, fetchBytes
	request.IsolationLevel, request.SessionEpoch = readCommitted, -1
	request.Topics = []kmsg.FetchRequestTopic{topic}
	response, err := c.client.Broker(int(c.leader)).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	fetch := response.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(fetch.ErrorCode); err != nil {
		return nil, err
	}
	if fetch.ThrottleMillis > 0 && len(fetch.Topics) == 0 {
		return nil, wrap(errors.New("the cluster throttles"), broker.ErrRetry)
	}
	if len(fetch.Topics) != 1 || len(fetch.Topics[0].Partitions) != 1 {
		return nil, wrap(fmt.Errorf("no answer about %s/%d", c.at.topic, c.at.partition), broker.ErrRetry)
	}
	answer := &fetch.Topics[0].Partitions[0]
	if fetch.ThrottleMillis > 0 && len(answer.RecordBatches) == 0 && answer.ErrorCode == 0 {
		return nil, wrap(errors.New("the cluster throttles"), broker.ErrRetry)
	}
	return answer, nil
}

// locate finds the leader. A topic that was deleted and made again under the
// same name is another one: no offset of the one means anything in the other.
func (c *cursor) locate(ctx context.Context) error {
	if c.known {
		return nil
	}
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &c.at.topic
	request.Topics = []kmsg.MetadataRequestTopic{topic}
	age := metadataAge
	if c.topic != [16]byte{} { // it was known and is in doubt
		age = time.Nanosecond
	}
	metadata, err := c.client.RequestCachedMetadata(ctx, request, age)
	if err != nil {
		return err
	}
	if len(metadata.Topics) != 1 {
		return wrap(fmt.Errorf("no answer about topic %s", c.at.topic), broker.ErrRetry)
	}
	found := metadata.Topics[0]
	if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
		return err
	}
	if c.topic != [16]byte{} && c.topic != found.TopicID {
		return fmt.Errorf("topic %s was deleted and made again: %w", c.at.topic, broker.ErrLost)
	}
	for _, partition := range found.Partitions {
		if partition.Partition != c.at.partition {
			continue
		}
		if partition.Leader < 0 {
			return wrap(fmt.Errorf("%s/%d has no leader", c.at.topic, c.at.partition), broker.ErrRetry)
		}
		c.topic, c.leader, c.known = found.TopicID, partition.Leader, true
		return nil
	}
	return fmt.Errorf("topic %s has no partition %d: %w", c.at.topic, c.at.partition, broker.ErrNotProvisioned)
}

// scan calls each with every committed record of a range of offsets, in order.
// It waits until the last stable offset has passed the range: what an open
// transaction holds back belongs to it, and the cluster acknowledges a
// transaction before its records can be read.
func (b *Broker) scan(ctx context.Context, at place, from, to int64, each func(*kgo.Record) error) error {
	c := cursor{client: b.client, at: at, offset: from}
	moved := time.Now()
	for c.offset < to {
		before := c.offset
		got, err := c.fetch(ctx, 0, b.config.Timeout)
		if err != nil && !errors.Is(err, broker.ErrRetry) {
			return err
		}
		for _, record := range got.records {
			if record.Offset >= to {
				return nil
			}
			if err := each(record); err != nil {
				return err
			}
		}
		if c.offset != before {
			moved = time.Now()
			continue
		}
		switch waited := time.Since(moved); {
		case err != nil && waited > b.config.Timeout:
			return err
		case waited > b.config.TransactionTimeout+abortInterval:
			return wrap(fmt.Errorf("a transaction holds %s/%d back at offset %d", at.topic, at.partition, c.offset), broker.ErrRetry)
		}
		if err := pauseFor(ctx, lag); err != nil {
			return err
		}
	}
	return nil
}

// newest finds the last committed record before an offset that is wanted; nil
// if there is none.
func (b *Broker) newest(ctx context.Context, at place, before int64, wanted func(*kgo.Record) bool) (*kgo.Record, error) {
	start, err := b.listOffset(ctx, at, offsetStart)
	if err != nil {
		return nil, err
	}
	for window := int64(16); before > start; window *= 16 {
		from := max(start, before-window)
		var found *kgo.Record
		err := b.scan(ctx, at, from, before, func(r *kgo.Record) error {
			if wanted(r) {
				found = r
			}
			return nil
		})
		if errors.Is(err, broker.ErrLost) { // aged out meanwhile
			was := start
			if start, err = b.listOffset(ctx, at, offsetStart); err == nil && start > was {
				continue
			}
			err = cmp.Or(err, wrap(fmt.Errorf("%s/%d has lost its end", at.topic, at.partition), broker.ErrLost))
		}
		if err != nil || found != nil {
			return found, err
		}
		before = from
	}
	return nil, nil
}

// pauseFor waits, unless ctx ends.
func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
