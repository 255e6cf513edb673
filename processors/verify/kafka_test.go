package verify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/processors/verify"
	"github.com/flightlog/flightlog/schemas"
)

func TestAnInstallationOnKafkaVerifiesClean(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	config := kafka.Config{Brokers: cluster.ListenAddrs()}
	if err := kafka.Provision(t.Context(), config, partitions); err != nil {
		t.Fatal(err)
	}
	connect := func() broker.Broker {
		b, err := kafka.Connect(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	b, world := connect(), newWorld(t) // whose clock and events are used
	folded := func() bool {
		for p := range partitions {
			c, err := b.LastCommit(t.Context(), "sessions", p)
			if err != nil {
				t.Fatal(err)
			}
			if c == nil || c.More {
				return false
			}
			for _, s := range c.Slices {
				end, err := b.End(t.Context(), eventsOf(p, s.Lane))
				if err != nil {
					t.Fatal(err)
				}
				if s.NextMessage < int64(end) || s.NextIndex != 0 {
					return false
				}
			}
		}
		return true
	}
	sequence := int64(0)
	for n := range 2 {
		ctx, stop := context.WithCancel(t.Context())
		var worker sync.WaitGroup
		worker.Go(func() {
			err := engine.Run(ctx, engine.Config{Broker: connect(), Processor: sessions.New(), Owner: fmt.Sprint("worker", n), Linger: 10 * time.Millisecond})
			if err != nil && !errors.Is(err, broker.ErrClosed) {
				t.Error(err)
			}
		})
		for p := range partitions {
			for i := range 5 {
				events := append(world.step(session(p, i), n), []byte("no event"))
				f := schemas.Frame{Segments: []schemas.Segment{{Org: "acme", ProducerId: fmt.Sprint("laptop", p), FirstSequence: sequence + int64(i*len(events)),
					Schema: schemas.EventSchema, Events: events}}}
				if _, err := b.Append(t.Context(), eventsOf(p, schemas.LaneNormal), f.AppendMessage(nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
		sequence += 5 * 6
		for deadline := time.Now().Add(60 * time.Second); !folded(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("not folded within 60 s")
			}
		}
		stop()
		worker.Wait()
	}
	o := world.options()
	o.Clock = nil
	r := run(t, b, o)
	clean(t, r)
	for _, p := range r.Partitions {
		if p.Rows[broker.Enriched] == 0 || p.Rows[broker.DeadLetters] != 10 || p.Unproven != 0 || p.Replayed != p.Commits || p.Counts.In < 60 {
			t.Errorf("partition %d: %+v", p.Partition, p)
		}
	}
	enriched := broker.Log{Topic: broker.Enriched, Partition: 1}
	at := middle(t, b, enriched)
	changed := &tampered{Broker: b, messages: func(of broker.Log, m broker.Message) []broker.Message {
		if of == enriched && m.Position == at {
			return nil
		}
		return []broker.Message{m}
	}}
	o.Folds = nil
	if r := run(t, changed, o); r.Counts[verify.Routed] == 0 || !slices.ContainsFunc(r.Violations, func(v verify.Violation) bool { return v.Partition == 1 }) {
		t.Errorf("a row that is missing is not found: %+v", r.Violations)
	}
}
