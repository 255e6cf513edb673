package jetstream_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/schemas"
)

func plan(t *testing.T, config jetstream.Config) []string {
	t.Helper()
	lines, err := jetstream.Plan(t.Context(), config, 4)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestAPlanNamesWhatProvisionWouldDoAndDoesNothing(t *testing.T) {
	config := jetstream.Config{InProcess: embed(t, jetstream.EmbedConfig{Dir: t.TempDir()})}
	lines := plan(t, config)
	for _, want := range []string{
		"create stream flightlog-events: subjects flightlog.events.*.*, max_age 720h0m0s, max_bytes 0, replicas 1",
		"create stream flightlog-config: subjects flightlog.config.*.*, max_age 0s, max_bytes 0, replicas 1",
		"create stream flightlog-g1-commits: subjects flightlog.g1.commit.*.*, max_age 0s, max_bytes 0, replicas 1",
		"create stream flightlog-g1-snapshots: subjects flightlog.g1.snapshot.*.* flightlog.g1.start.*.*, max_age 0s, max_bytes 0, replicas 1",
		"create stream KV_flightlog-g1-leases: subjects $KV.flightlog-g1-leases.>, max_age 10s, max_bytes 0, replicas 1",
		"create stream flightlog-g1-enriched: subjects flightlog.g1.enriched.*.*.*.*, max_age 1080h0m0s, max_bytes 0, replicas 1",
		"create stream flightlog-g1-closed: subjects flightlog.g1.closed.*.*.*.*, max_age 2160h0m0s, max_bytes 0, replicas 1",
		"create stream flightlog-g1-tasks: subjects flightlog.g1.tasks.*.*.*.*, max_age 1080h0m0s, max_bytes 0, replicas 1",
		"create stream flightlog-g1-spend: subjects flightlog.g1.spend.*.*.*.*, max_age 1080h0m0s, max_bytes 0, replicas 1",
		"create stream flightlog-g1-task-facts: subjects flightlog.g1.task-facts.*.*.*.*, max_age 168h0m0s, max_bytes 0, replicas 1",
		"create stream flightlog-g1-spend-deltas: subjects flightlog.g1.spend-deltas.*.*.*.*, max_age 168h0m0s, max_bytes 0, replicas 1",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the plan\n%s\nlacks %s", strings.Join(lines, "\n"), want)
		}
	}
	if again := plan(t, config); len(again) != len(lines) {
		t.Errorf("planned again: %d changes, %d before", len(again), len(lines))
	}
	provision(t, config, 4)
	if lines := plan(t, config); len(lines) != 0 {
		t.Errorf("after it was provisioned the plan is %q", lines)
	}
	config.Layout = jetstream.Layout{EventsAge: 24 * time.Hour, EventsBytes: 1 << 30, ClosedAge: time.Hour}
	config.LeaseTTL = 3 * time.Second
	want := []string{
		"change stream flightlog-events: max_age 720h0m0s -> 24h0m0s, max_bytes -1 -> 1073741824",
		"change stream KV_flightlog-g1-leases: max_age 10s -> 3s",
		"change stream flightlog-g1-closed: max_age 2160h0m0s -> 1h0m0s",
	}
	if lines := plan(t, config); !slices.Equal(lines, want) {
		t.Errorf("the plan is %q, want %q", lines, want)
	}
	provision(t, config, 4)
	if lines := plan(t, config); len(lines) != 0 {
		t.Errorf("after it was changed the plan is %q", lines)
	}
	config.Layout, config.LeaseTTL = jetstream.Layout{}, 0
	if lines := plan(t, config); len(lines) != 0 {
		t.Errorf("a layout that says nothing changes %q", lines)
	}
	if _, err := jetstream.Plan(t.Context(), config, 8); err == nil || !strings.Contains(err.Error(), "4 partitions, not 8") {
		t.Errorf("planned with 8 partitions: %v", err)
	}
}

func TestAnInstallationOfTheReleaseBeforeGetsWhatItLacks(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	if err := commitTo(t, s.Broker, 1); err != nil {
		t.Fatal(err)
	}
	missing := []string{"flightlog-config", "flightlog-g1-snapshots", "flightlog-g1-closed", "KV_flightlog-g1-leases",
		"flightlog-g1-tasks", "flightlog-g1-spend", "flightlog-g1-task-facts", "flightlog-g1-spend-deltas"}
	for _, stream := range missing {
		if err := s.js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := connect(t, s.config).Acquire(t.Context(), "sessions", 1, "worker"); !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("acquired before it was migrated: %v, want %v", err, broker.ErrNotProvisioned)
	}
	if lines := plan(t, s.config); len(lines) != len(missing) || !strings.HasPrefix(lines[0], "create stream flightlog-config") {
		t.Errorf("the plan is %q, want %d streams to be made", lines, len(missing))
	}
	provision(t, s.config, 4)
	b := connect(t, s.config)
	if err := commitTo(t, b, 2); err != nil {
		t.Error(err)
	}
	for _, topic := range append(broker.RowTopics(), broker.Config) {
		if _, err := b.Append(t.Context(), broker.Log{Topic: topic}, []byte("rules")); err != nil {
			t.Error(err)
		}
	}
}

// commitTo makes the next commit of partition 1 of sessions.
func commitTo(t *testing.T, b *jetstream.Broker, number int64) error {
	t.Helper()
	owner, err := b.Acquire(t.Context(), "sessions", 1, "worker")
	if err != nil {
		return err
	}
	if err := owner.Commit(t.Context(), &schemas.Commit{
		Processor: "sessions", Partition: 1, Generation: 1, CommitNumber: number, Epoch: owner.Epoch(),
	}); err != nil {
		return err
	}
	return owner.Release(t.Context())
}

func TestAPartitionIsNotFreshThoughItsWholeCommitLogIsGone(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	if err := commitTo(t, s.Broker, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.js.DeleteStream(t.Context(), "flightlog-g1-commits"); err != nil {
		t.Fatal(err)
	}
	provision(t, s.config, 4)
	if err := commitTo(t, connect(t, s.config), 1); !errors.Is(err, broker.ErrLost) {
		t.Errorf("committed to a log that was made anew: %v, want %v", err, broker.ErrLost)
	}
}

func TestTheTTLOfLeasesIsWhatWasProvisioned(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	bucket, err := s.js.KeyValue(t.Context(), "flightlog-g1-leases")
	if err != nil {
		t.Fatal(err)
	}
	if status, err := bucket.Status(t.Context()); err != nil || status.TTL() != 10*time.Second {
		t.Errorf("the TTL is %v (%v), want 10s", status.TTL(), err)
	}
}
