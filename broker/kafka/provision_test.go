package kafka_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// plan is what Provision would do.
func plan(t *testing.T, config kafka.Config, partitions int) []string {
	t.Helper()
	lines, err := kafka.Plan(t.Context(), config, partitions)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestAPlanSaysWhatProvisioningDoesAndDoesNothing(t *testing.T) {
	config := configOf(newCluster(t).ListenAddrs())
	config.Prefix, config.Layout = "flightlog", kafka.Layout{}
	want := []string{
		"create topic flightlog.installation (1 partition, kept for ever, LogAppendTime, replication 1)",
		"create topic flightlog.config (1 partition, kept for ever, LogAppendTime, replication 1)",
		"create topic flightlog.events (4 partitions, kept 720h, LogAppendTime, replication 1)",
		"create topic flightlog.events.critical (4 partitions, kept 720h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.change-facts (4 partitions, kept 168h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.change-facts.critical (4 partitions, kept 168h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.closed (4 partitions, kept 2160h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.deadletters (4 partitions, kept 1080h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.enriched (4 partitions, kept 1080h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.findings (4 partitions, kept 1080h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.findings.critical (4 partitions, kept 1080h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.spend (4 partitions, kept 1080h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.spend-deltas (4 partitions, kept 168h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.spend-deltas.critical (4 partitions, kept 168h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.task-facts (4 partitions, kept 168h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.task-facts.critical (4 partitions, kept 168h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.tasks (4 partitions, kept 1080h, LogAppendTime, replication 1)",
		"create topic flightlog.g1.sessions.changelog (4 partitions, compacted, LogAppendTime, replication 1)",
		"create topic flightlog.g1.changes.changelog (4 partitions, compacted, LogAppendTime, replication 1)",
		"create topic flightlog.g1.tasks.changelog (4 partitions, compacted, LogAppendTime, replication 1)",
		"create topic flightlog.g1.spend.changelog (4 partitions, compacted, LogAppendTime, replication 1)",
		"name the installation and its 4 partitions",
	}
	for range 2 {
		if got := plan(t, config, 4); !slices.Equal(got, want) {
			t.Errorf("the plan is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if _, err := connect(t, config).Partitions(t.Context()); !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("after planning: %v, want %v", err, broker.ErrNotProvisioned)
	}
	provision(t, config, 4)
	if got := plan(t, config, 4); len(got) != 0 {
		t.Errorf("after provisioning the plan is %q", got)
	}
}

func TestAnInstallationOfAnEarlierReleaseGetsTheTopicsThatItLacks(t *testing.T) {
	config := configOf(newCluster(t).ListenAddrs())
	config.Prefix, config.Layout = "flightlog", kafka.Layout{}
	provision(t, config, 4)
	before, err := connect(t, config).Installation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	missing := []string{"flightlog.g1.spend", "flightlog.g1.spend-deltas", "flightlog.g1.spend-deltas.critical", "flightlog.g1.task-facts",
		"flightlog.g1.task-facts.critical", "flightlog.g1.tasks", "flightlog.g1.tasks.changelog", "flightlog.g1.spend.changelog"}
	client, err := kgo.NewClient(kgo.SeedBrokers(config.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopics(t.Context(), missing...); err != nil {
		t.Fatal(err)
	}
	got := plan(t, config, 4)
	if len(got) != len(missing) {
		t.Errorf("the plan is %q, want those that are missing: %q", got, missing)
	}
	for i := range min(len(got), len(missing)) {
		if !strings.HasPrefix(got[i], "create topic "+missing[i]+" (") {
			t.Errorf("the plan has %q, want the topic %s", got[i], missing[i])
		}
	}
	provision(t, config, 4)
	if got := plan(t, config, 4); len(got) != 0 {
		t.Errorf("after provisioning the plan is %q", got)
	}
	if after, err := connect(t, config).Installation(t.Context()); err != nil || after != before {
		t.Errorf("the installation is %q (%v), was %q", after, err, before)
	}
}

func TestProvisioningAgainChangesWhatTheLayoutSaysAndNothingElse(t *testing.T) {
	cluster := newCluster(t)
	config := configOf(cluster.ListenAddrs())
	config.Prefix = "flightlog"
	provision(t, config, 4)
	config.Layout = kafka.Layout{Processors: processors, EventsAge: 10 * 24 * time.Hour}
	want := []string{
		"set retention.ms of topic flightlog.events to 864000000 (was 2592000000)",
		"set retention.ms of topic flightlog.events.critical to 864000000 (was 2592000000)",
	}
	if got := plan(t, config, 4); !slices.Equal(got, want) {
		t.Errorf("the plan is %q, want %q", got, want)
	}
	provision(t, config, 4)
	if got := *cluster.TopicInfo("flightlog.events").Configs["retention.ms"]; got != "864000000" {
		t.Errorf("retention.ms is %s", got)
	}
	config.Layout = kafka.Layout{Processors: processors}
	if got := plan(t, config, 4); len(got) != 0 {
		t.Errorf("without an age the plan is %q", got)
	}
	if err := kafka.Provision(t.Context(), config, 8); err == nil || !strings.Contains(err.Error(), "4 partitions, not 8") && !strings.Contains(err.Error(), "not 8") {
		t.Errorf("8 partitions: %v", err)
	}
	config.Layout.ReplicationFactor = 3
	if err := kafka.Provision(t.Context(), config, 4); err == nil || !strings.Contains(err.Error(), "replication 1, not 3") {
		t.Errorf("replication 3: %v", err)
	}
}

func TestSeveralProvisionAtATimeAndTheInstallationHasOneName(t *testing.T) {
	config := configOf(newCluster(t, kfake.NumBrokers(3)).ListenAddrs())
	var provisioning sync.WaitGroup
	for range 4 {
		provisioning.Go(func() {
			if err := kafka.Provision(t.Context(), config, 4); err != nil {
				t.Error(err)
			}
		})
	}
	provisioning.Wait()
	name := func() string {
		t.Helper()
		name, err := connect(t, config).Installation(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	first := name()
	if !regexp.MustCompile(`^[0-9a-f]{32}/g1$`).MatchString(first) {
		t.Errorf("the name is %q", first)
	}
	provision(t, config, 4)
	if again := name(); again != first {
		t.Errorf("provisioned again it is %q, was %q", again, first)
	}
	config.Generation = 2
	provision(t, config, 4)
	if next := name(); next != strings.TrimSuffix(first, "1")+"2" {
		t.Errorf("the next generation of %q is %q", first, next)
	}
}

func TestAConnectionThatCountsOnOtherPartitionsIsRefused(t *testing.T) {
	config := configOf(newCluster(t).ListenAddrs())
	provision(t, config, 4)
	config.Partitions = 3
	if _, err := kafka.Connect(t.Context(), config); err == nil || !strings.Contains(err.Error(), "4 partitions, not 3") {
		t.Errorf("3 partitions: %v", err)
	}
	config.Partitions = 4
	connect(t, config)
}

func TestWhereNobodyAnswersALaterCallMayWork(t *testing.T) {
	config := configOf([]string{"127.0.0.1:1"})
	config.Timeout = 500 * time.Millisecond
	if _, err := kafka.Connect(t.Context(), config); !errors.Is(err, broker.ErrRetry) {
		t.Errorf("connect: %v, want %v", err, broker.ErrRetry)
	}
}

func TestTheConfigurationReportsEveryProblem(t *testing.T) {
	missing := t.TempDir() + "/missing"
	config := kafka.Config{
		Brokers: []string{"nowhere"}, CertFile: missing, SASL: "PLAINTEXT", Password: "secret-1", PasswordFile: missing,
		RegistryURL: "http://user:secret-2@registry", Prefix: "a.b", Generation: -1, Partitions: -1, Timeout: -1,
		TransactionTimeout: -1, SessionTimeout: -1,
		Layout: kafka.Layout{ReplicationFactor: -1, EventsAge: -1, RowsAge: -1, ClosedAge: -1, CompactionLag: -1, Processors: []string{"enriched", "No"}},
	}
	err := config.Validate()
	if err == nil {
		t.Fatal("it is valid")
	}
	for _, key := range []string{"brokers", "cert_file, key_file", "cert_file", "sasl", "password_file", "registry_url", "prefix", "generation",
		"partitions", "timeout", "transaction_timeout", "session_timeout", "replication_factor", "events_age", "rows_age", "closed_age",
		"compaction_lag", "processors: enriched", "processors: No"} {
		if !regexp.MustCompile(`(?m)^` + key + `: `).MatchString(err.Error()) {
			t.Errorf("%s is not reported", key)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("a password is told: %v", err)
	}
	for _, test := range []struct {
		config kafka.Config
		wrong  string
	}{
		{kafka.Config{SASL: "PLAIN", User: "u", Password: "p"}, "must be together with tls"},
		{kafka.Config{SASL: "SCRAM-SHA-256", Password: "p"}, "user: "},
		{kafka.Config{SASL: "SCRAM-SHA-512", User: "u"}, "password_file, password: 0"},
		{kafka.Config{User: "u"}, "must name a mechanism"},
		{kafka.Config{RegistryURL: "registry:8081"}, "registry_url"},
		{kafka.Config{SASL: "PLAIN", User: "u", Password: "p", TLS: true}, ""},
		{kafka.Config{SASL: "SCRAM-SHA-512", User: "u", Password: "p", RegistryURL: "http://127.0.0.1:8081"}, ""},
	} {
		test.config.Brokers = []string{"127.0.0.1:9092"}
		if got := fmt.Sprint(test.config.Validate()); !strings.Contains(got, test.wrong) || test.wrong == "" && got != "<nil>" {
			t.Errorf("%+v: %s, want %q", test.config, got, test.wrong)
		}
	}
}
