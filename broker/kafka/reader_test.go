package kafka_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var events = broker.Log{Topic: broker.Events, Partition: 1}

// log is an installation with messages in events.
func log(t *testing.T, messages ...string) (*kfake.Cluster, kafka.Config, *kafka.Broker) {
	t.Helper()
	cluster := newCluster(t)
	config := configOf(cluster.ListenAddrs())
	provision(t, config, 4)
	b := connect(t, config)
	appendAll(t, b, messages...)
	return cluster, config, b
}

func appendAll(t *testing.T, b *kafka.Broker, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if _, err := b.Append(t.Context(), events, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPositionThatHasExpiredIsLost(t *testing.T) {
	cluster, config, b := log(t, "one", "two", "three", "four")
	behind, err := b.Read(t.Context(), events, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	if err := cluster.DeleteRecords(config.Prefix+".events", 1, 3); err != nil {
		t.Fatal(err)
	}
	for _, after := range []uint64{1, 2} {
		if _, err := b.Read(t.Context(), events, after); !errors.Is(err, broker.ErrLost) {
			t.Errorf("read after %d: %v, want %v", after, err, broker.ErrLost)
		}
	}
	for _, after := range []uint64{0, 3} {
		r, err := b.Read(t.Context(), events, after)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := r.Next(t.Context()); err != nil || string(m.Payload) != "four" {
			t.Errorf("read after %d: %q (%v), want %q", after, m.Payload, err, "four")
		}
		r.Close()
	}
	if position, err := b.Seek(t.Context(), events, 0); err != nil || position != 3 {
		t.Errorf("the first message is behind %d (%v), want 3", position, err)
	}
}

func TestAReaderThatIsTooSlowIsToldSo(t *testing.T) {
	cluster, config, b := log(t, "one")
	r, err := b.Read(t.Context(), events, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	// While the reader cannot ask, messages come and go.
	blocked := cluster.Fault(faultOnFetch(config))
	appendAll(t, b, "two", "three")
	if err := cluster.DeleteRecords(config.Prefix+".events", 1, 3); err != nil {
		t.Fatal(err)
	}
	if err := blocked.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	blocked.Remove()
	appendAll(t, b, "four")
	for range 2 {
		if m, err := r.Next(t.Context()); !errors.Is(err, broker.ErrLost) {
			t.Fatalf("read %q (%v), want %v", m.Payload, err, broker.ErrLost)
		}
	}
	if r.Passed() != 1 {
		t.Errorf("passed %d, want 1", r.Passed())
	}
}

func TestAPositionBehindTheEndIsLost(t *testing.T) {
	_, _, b := log(t, "one")
	if _, err := b.Read(t.Context(), events, 2); !errors.Is(err, broker.ErrLost) {
		t.Errorf("read behind the end: %v, want %v", err, broker.ErrLost)
	}
}

func TestATopicThatIsMadeAnewIsAnother(t *testing.T) {
	cluster, config, b := log(t, "one")
	r, err := b.Read(t.Context(), events, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	topic := config.Prefix + ".events"
	blocked := cluster.Fault(faultOnFetch(config)) // so that the new one is full before the reader sees it
	if err := blocked.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := cluster.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	if err := cluster.CreateTopic(topic, 4, nil); err != nil {
		t.Fatal(err)
	}
	appendAll(t, connect(t, config), "another one", "another two")
	blocked.Remove()
	if m, err := r.Next(t.Context()); !errors.Is(err, broker.ErrLost) {
		t.Errorf("read %q (%v), want %v", m.Payload, err, broker.ErrLost)
	}
}

func TestALeaderThatMovesIsFollowed(t *testing.T) {
	cluster := newCluster(t, kfake.NumBrokers(3))
	config := configOf(cluster.ListenAddrs())
	provision(t, config, 4)
	b := connect(t, config)
	r, err := b.Read(t.Context(), events, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 6 {
		if err := cluster.MoveTopicPartition(config.Prefix+".events", 1, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		message := string(rune('a' + i))
		appendAll(t, b, message)
		if m, err := r.Next(t.Context()); err != nil || string(m.Payload) != message {
			t.Fatalf("read %q (%v), want %q", m.Payload, err, message)
		}
	}
}

// Compaction may take the last records of a log, whose end stays where it is.
func TestALogWhoseLastRecordsAreGoneHasAnEnd(t *testing.T) {
	cluster, _, b := log(t, "one", "two")
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked := request.(*kmsg.FetchRequest)
		answer := asked.ResponseKind().(*kmsg.FetchResponse)
		answer.SetVersion(asked.Version)
		for _, from := range asked.Topics {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = from.Topic, from.TopicID
			for _, p := range from.Partitions {
				partition := kmsg.NewFetchResponseTopicPartition()
				partition.Partition, partition.HighWatermark, partition.LastStableOffset = p.Partition, 2, 2
				topic.Partitions = append(topic.Partitions, partition)
			}
			answer.Topics = append(answer.Topics, topic)
		}
		return answer, nil, true
	})
	end, err := b.End(t.Context(), events)
	if err != nil || end != 0 {
		t.Errorf("the log ends at %d (%v), want 0", end, err)
	}
	r, err := b.Read(t.Context(), events, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for deadline := time.Now().Add(20 * time.Second); r.Passed() != 2; {
		waiting, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := r.Next(waiting)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Now().After(deadline) {
			t.Fatalf("passed %d, want 2 (%v)", r.Passed(), err)
		}
	}
}

// faultOnFetch refuses every fetch of events.
func faultOnFetch(config kafka.Config) kfake.Fault {
	return kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: config.Prefix + ".events", Err: kerr.NotLeaderForPartition, Count: -1}
}
