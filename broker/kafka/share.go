package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// rebalanceTimeout is how long a worker may take to give partitions up.
	rebalanceTimeout = 30 * time.Second
	// rest is how long a partition that hold gave up by itself is left alone.
	rest = time.Second
)

// Share makes a member of the processor's consumer group, with both lanes of
// events and range assignment, so that both lanes of a partition come together.
// It uses the membership only: what is read and from where, the commits tell.
//
// Whenever a worker comes or goes, every worker gives all its partitions up and
// gets its share anew.
func (b *Broker) Share(ctx context.Context, processor, owner string, hold func(ctx context.Context, partition int) error) error {
	if err := b.share(ctx, processor, owner, hold); err != nil {
		return fmt.Errorf("cannot share partitions of %s as %s: %w", processor, owner, err)
	}
	return nil
}

func (b *Broker) share(ctx context.Context, processor, owner string, hold func(ctx context.Context, partition int) error) error {
	if !processorPattern.MatchString(processor) {
		return fmt.Errorf("%q is no name of a processor", processor)
	}
	return b.join(ctx, processor, broker.Events, owner, func(ctx context.Context, _ *kgo.Client, partition int) error {
		return hold(ctx, partition)
	})
}

// join makes a member of the consumer group p.gG.<name>, with all lanes of a
// topic.
func (b *Broker) join(ctx context.Context, name, topic, owner string, hold func(ctx context.Context, member *kgo.Client, partition int) error) error {
	if _, err := b.Partitions(ctx); err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := context.AfterFunc(b.life, func() { fail(broker.ErrClosed) })
	defer stop()
	topics := []string{b.config.topic(topic)}
	if broker.TwoLanes(topic) {
		topics = append(topics, topics[0]+criticalSuffix)
	}
	s := &sharing{ctx: ctx, fail: fail, hold: hold, topics: topics, held: map[int32]*held{}}
	client, err := kgo.NewClient(b.with(
		kgo.ClientID(b.config.Name+"-"+owner),
		kgo.ConsumerGroup(b.group(name)),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.RangeBalancer()),
		kgo.SessionTimeout(b.config.SessionTimeout),
		kgo.HeartbeatInterval(b.config.SessionTimeout/5),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.revoked),
		kgo.WithHooks(s),
	)...)
	if err != nil {
		return err
	}
	client.PauseFetchTopics(topics...)
	<-ctx.Done()
	s.revoked(ctx, client, s.all()) // before the group hears of it
	client.Close()
	return context.Cause(ctx)
}

// group is a consumer group's name as the cluster knows it.
func (b *Broker) group(name string) string { return b.config.generation() + "." + name }

// sharing is one worker's part. The client calls assigned and revoked one at a
// time.
type sharing struct {
	ctx    context.Context // ends with Share
	fail   context.CancelCauseFunc
	hold   func(ctx context.Context, member *kgo.Client, partition int) error
	topics []string

	mu   sync.Mutex
	held map[int32]*held
}

// held is a partition that fell to this worker.
type held struct {
	end  context.CancelFunc // of hold's context
	gone chan struct{}      // hold has returned
}

func (s *sharing) assigned(_ context.Context, member *kgo.Client, partitions map[string][]int32) {
	lanes := map[int32]int{}
	for _, topic := range s.topics {
		for _, p := range partitions[topic] {
			lanes[p]++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, n := range lanes {
		if n != len(s.topics) {
			slog.Error("only one lane of a partition fell to this worker, left alone", "partition", p)
			continue
		}
		if s.held[p] != nil || s.ctx.Err() != nil {
			continue
		}
		ctx, end := context.WithCancel(s.ctx)
		h := &held{end, make(chan struct{})}
		s.held[p] = h
		go func() {
			defer close(h.gone)
			s.keep(ctx, member, int(p))
		}()
	}
}

// keep holds a partition until ctx ends.
func (s *sharing) keep(ctx context.Context, member *kgo.Client, partition int) {
	for ctx.Err() == nil {
		if err := s.hold(ctx, member, partition); err != nil {
			s.fail(err)
			return
		}
		_ = pauseFor(ctx, rest)
	}
}

// revoked returns after every hold has, so that the next owner starts clean.
func (s *sharing) revoked(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	ending := map[int32]*held{}
	s.mu.Lock()
	for _, lane := range partitions {
		for _, p := range lane {
			if h := s.held[p]; h != nil {
				h.end()
				ending[p] = h
			}
		}
	}
	s.mu.Unlock()
	for p, h := range ending {
		<-h.gone
		s.mu.Lock()
		if s.held[p] == h {
			delete(s.held, p)
		}
		s.mu.Unlock()
	}
}

// all is what is held.
func (s *sharing) all() map[string][]int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var partitions []int32
	for p := range s.held {
		partitions = append(partitions, p)
	}
	return map[string][]int32{s.topics[0]: partitions}
}

// OnGroupManageError is called after the client has lost its place in the group
// and what it held. It tries again, unless the group will never have it.
func (s *sharing) OnGroupManageError(err error) {
	for _, never := range []error{kerr.GroupAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.InvalidSessionTimeout} {
		if errors.Is(err, never) {
			s.fail(err)
			return
		}
	}
	slog.Warn("out of the consumer group, trying again", "error", err)
}

var _ kgo.HookGroupManageError = (*sharing)(nil)
