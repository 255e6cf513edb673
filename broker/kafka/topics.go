package kafka

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Names. A generation g of an installation with prefix p has
//
//	p.events  p.events.critical        frames of events; time is the broker's
//	p.config                           one partition, for ever
//	p.installation                     one partition, for ever: its name
//	p.gG.enriched     .deadletters     single rows
//	p.gG.findings     .findings.critical
//	p.gG.tasks        .spend
//	p.gG.task-facts   .task-facts.critical
//	p.gG.spend-deltas .spend-deltas.critical
//	p.gG.closed                        single archives
//	p.gG.<processor>.changelog         state and position records, compacted
//
// Partition n of every topic belongs to partition n of the input. The
// transactional id of an owner is p.gG.<processor>.<partition>, the consumer
// group of a processor's workers p.gG.<processor>.
const (
	installationTopic = "installation"
	criticalSuffix    = ".critical"

	maxPartitions = 1024
	// maxMessage is the longest record and batch in bytes: a commit of 768 KiB
	// (DESIGN §5) with room to spare.
	maxMessage = 2 << 20
)

// Defaults of a layout.
const (
	EventsAge = 30 * 24 * time.Hour
	RowsAge   = 45 * 24 * time.Hour
	ClosedAge = 90 * 24 * time.Hour
	// InternalAge is how long what one processor tells another is kept.
	InternalAge = 7 * 24 * time.Hour
)

// Layout is how an installation is provisioned. Of a topic that exists already
// only what is set here is changed.
type Layout struct {
	// ReplicationFactor of every topic; default 3, or 1 where the cluster has
	// fewer than three brokers. With 3 and more a write is acknowledged by at
	// least two brokers.
	ReplicationFactor int
	// EventsAge is how long events are kept; default 30 days. RowsAge is the
	// same for the topics of rows; default 45 days. ClosedAge is that of the
	// topic closed; default 90 days.
	EventsAge, RowsAge, ClosedAge time.Duration
	// CompactionLag is how long every position record and every version of the
	// state stays in the changelogs; default: the cluster's, 0 if it has none.
	CompactionLag time.Duration
	// Processors that have a state; default: sessions, changes, tasks, spend.
	Processors []string
}

// problems is everything that is wrong.
func (l *Layout) problems() []error {
	var errs []error
	if l.ReplicationFactor < 0 || l.ReplicationFactor > 7 {
		errs = append(errs, fmt.Errorf("replication_factor: %d: must be 1 to 7", l.ReplicationFactor))
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"events_age", l.EventsAge}, {"rows_age", l.RowsAge}, {"closed_age", l.ClosedAge}, {"compaction_lag", l.CompactionLag},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s: %v: must be longer than 0", d.key, d.value))
		}
	}
	for _, processor := range l.Processors {
		if !processorPattern.MatchString(processor) || broker.IsRowTopic(processor) && !slices.Contains(defaultProcessors, processor) {
			errs = append(errs, fmt.Errorf("processors: %s: must be a name of a processor", processor))
		}
	}
	return errs
}

// defaultProcessors are those of this release. Two bear the names of the topics
// that they write.
var defaultProcessors = []string{"sessions", "changes", "tasks", "spend"}

// topic is what Provision makes of one topic. keep is what an existing one has
// to be changed to; the rest is for a new one only.
type topic struct {
	name        string
	partitions  int32
	in          string // what it is, in words
	keep, fresh map[string]string
}

// topics are those of the installation and its generation.
func (c *Config) topics(partitions, replicas int) []topic {
	var topics []topic
	add := func(name string, partitions int, words string, keep, fresh map[string]string) {
		if keep == nil {
			keep = map[string]string{}
		}
		keep["message.timestamp.type"] = "LogAppendTime"
		keep["max.message.bytes"] = strconv.Itoa(maxMessage)
		keep["unclean.leader.election.enable"] = "false"
		keep["min.insync.replicas"] = "1"
		if replicas >= 3 {
			keep["min.insync.replicas"] = "2"
		}
		topics = append(topics, topic{name, int32(partitions), words, keep, fresh})
	}
	aged := func(name string, set, otherwise time.Duration) {
		age := cmp.Or(set, otherwise)
		retention := map[string]string{"cleanup.policy": "delete", "retention.ms": milliseconds(age)}
		fresh := retention
		var keep map[string]string
		if set != 0 {
			keep, fresh = retention, nil
		}
		add(name, partitions, fmt.Sprintf("kept %s", hours(age)), keep, fresh)
	}
	forEver := func(name string) {
		add(name, 1, "kept for ever", map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}, nil)
	}
	forEver(c.topic(installationTopic))
	forEver(c.topic(broker.Config))
	aged(c.topic(broker.Events), c.Layout.EventsAge, EventsAge)
	aged(c.topic(broker.Events)+criticalSuffix, c.Layout.EventsAge, EventsAge)
	for _, rows := range broker.RowTopics() {
		set, otherwise := c.Layout.RowsAge, RowsAge
		switch rows {
		case broker.Closed:
			set, otherwise = c.Layout.ClosedAge, ClosedAge
		case broker.TaskFacts, broker.SpendDeltas, broker.ChangeFacts:
			set, otherwise = 0, InternalAge
		}
		aged(c.topic(rows), set, otherwise)
		if broker.TwoLanes(rows) {
			aged(c.topic(rows)+criticalSuffix, set, otherwise)
		}
	}
	processors := c.Layout.Processors
	if processors == nil {
		processors = defaultProcessors
	}
	for _, processor := range processors {
		keep := map[string]string{"cleanup.policy": "compact"}
		if c.Layout.CompactionLag != 0 {
			keep["min.compaction.lag.ms"] = milliseconds(c.Layout.CompactionLag)
		}
		add(c.changelog(processor), partitions, "compacted", keep, map[string]string{
			"segment.ms":                milliseconds(10 * time.Minute),
			"segment.bytes":             strconv.Itoa(64 << 20),
			"min.cleanable.dirty.ratio": "0.2",
		})
	}
	return topics
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// hours is a duration without minutes and seconds where it has none.
func hours(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}

// topic is the name of a topic as the cluster knows it; critical lanes have
// criticalSuffix besides.
func (c *Config) topic(name string) string {
	if broker.IsRowTopic(name) {
		return fmt.Sprintf("%s.%s", c.generation(), name)
	}
	return fmt.Sprintf("%s.%s", c.Prefix, name)
}

func (c *Config) generation() string { return fmt.Sprintf("%s.g%d", c.Prefix, c.Generation) }

func (c *Config) changelog(processor string) string {
	return fmt.Sprintf("%s.%s.changelog", c.generation(), processor)
}

// place is one partition of one of the cluster's topics.
type place struct {
	topic     string
	partition int32
}

// place is where a log lies.
func (c *Config) place(l broker.Log) place {
	name := c.topic(l.Topic)
	if l.Lane == schemas.LaneCritical {
		name += criticalSuffix
	}
	return place{name, int32(l.Partition)}
}

// installation is the record that names an installation for ever.
type installation struct {
	ID         string `json:"installation"`
	Partitions int    `json:"partitions"`
}

// Provision makes the topics of an installation's generation and, with a
// registry, registers the schemas of rows; run again, it changes what
// config.Layout says and adds what an earlier release did not have, and nothing
// else. Another number of partitions or replicas than before is an error.
func Provision(ctx context.Context, config Config, partitions int) error {
	return provision(ctx, config, partitions, func(ctx context.Context, c change) error { return c.make(ctx) })
}

// Plan is what Provision would do, one line for each change; nothing is done.
func Plan(ctx context.Context, config Config, partitions int) ([]string, error) {
	var plan []string
	err := provision(ctx, config, partitions, func(_ context.Context, c change) error {
		plan = append(plan, c.what)
		return nil
	})
	return plan, err
}

// change is one thing that Provision does.
type change struct {
	what string
	make func(ctx context.Context) error
}

// provision calls each for every change that is missing.
func provision(ctx context.Context, config Config, partitions int, each func(context.Context, change) error) error {
	if partitions < 1 || partitions > maxPartitions {
		return fmt.Errorf("cannot provision %d partitions: must be 1 to %d", partitions, maxPartitions)
	}
	config.Partitions = 0
	b, err := Connect(ctx, config)
	if err != nil {
		return err
	}
	defer b.Close()
	changes, err := b.changes(ctx, partitions)
	if err != nil {
		return fmt.Errorf("cannot provision %s: %w", b.config.Prefix, err)
	}
	for _, c := range changes {
		limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
		err := each(limited, c)
		cancel()
		if err != nil {
			return fmt.Errorf("cannot %s: %w", c.what, asked(ctx, err))
		}
	}
	return nil
}

// changes compares what is there with the layout. The name of the installation
// comes last: until it stands nothing is provisioned.
func (b *Broker) changes(ctx context.Context, partitions int) ([]change, error) {
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	admin := kadm.NewClient(b.client)
	metadata, err := admin.Metadata(limited)
	if err != nil {
		return nil, asked(ctx, err)
	}
	replicas := b.config.Layout.ReplicationFactor
	if replicas == 0 {
		replicas = 1
		if len(metadata.Brokers) >= 3 {
			replicas = 3
		}
	}
	var changes []change
	topics := b.config.topics(partitions, replicas)
	for _, t := range topics {
		have, ok := metadata.Topics[t.name]
		if !ok || errors.Is(have.Err, kerr.UnknownTopicOrPartition) {
			changes = append(changes, change{
				fmt.Sprintf("create topic %s (%s, %s, LogAppendTime, replication %d)", t.name, counted(int(t.partitions)), t.in, replicas),
				func(ctx context.Context) error { return createTopic(ctx, admin, t, int16(replicas)) },
			})
			continue
		}
		if len(have.Partitions) != int(t.partitions) {
			return nil, fmt.Errorf("topic %s has %d partitions, not %d: the number never changes in a generation's life",
				t.name, len(have.Partitions), t.partitions)
		}
		if n := have.Partitions.NumReplicas(); b.config.Layout.ReplicationFactor != 0 && n != replicas {
			return nil, fmt.Errorf("topic %s has replication %d, not %d: reassign it with the cluster's own tools", t.name, n, replicas)
		}
		altered, err := alterations(limited, admin, t)
		if err != nil {
			return nil, asked(ctx, err)
		}
		changes = append(changes, altered...)
	}
	if b.registry != nil {
		for _, rows := range broker.RowTopics() {
			name, schema := b.config.topic(rows), broker.RowSchema(rows)
			known, err := b.registry.knows(limited, name, schema)
			if err != nil {
				return nil, err
			}
			if !known {
				changes = append(changes, change{
					fmt.Sprintf("register schema %016x as %s", schema, name+subjectSuffix),
					func(ctx context.Context) error {
						_, err := b.registry.register(ctx, name, schema)
						return err
					},
				})
			}
		}
	}
	switch known, err := b.installation(ctx); {
	case errors.Is(err, broker.ErrNotProvisioned):
		changes = append(changes, change{
			fmt.Sprintf("name the installation and its %s", counted(partitions)),
			func(ctx context.Context) error {
				if err := b.ready(ctx, topics); err != nil {
					return err
				}
				return b.nameInstallation(ctx, partitions)
			},
		})
	case err != nil:
		return nil, err
	case known.Partitions != partitions:
		return nil, fmt.Errorf("it has %d partitions, not %d: the number never changes in a generation's life", known.Partitions, partitions)
	}
	return changes, nil
}

func counted(partitions int) string {
	if partitions == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%d partitions", partitions)
}

// createTopic is content where another process was faster.
func createTopic(ctx context.Context, admin *kadm.Client, t topic, replicas int16) error {
	configs := map[string]*string{}
	for _, from := range []map[string]string{t.fresh, t.keep} {
		for key, value := range from {
			configs[key] = kadm.StringPtr(value)
		}
	}
	_, err := admin.CreateTopic(ctx, t.partitions, replicas, configs, t.name)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

// ready waits until the leaders of topics answer that were created just now.
func (b *Broker) ready(ctx context.Context, topics []topic) error {
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	for _, t := range topics {
		for partition := int32(0); partition < t.partitions; {
			_, err := b.listOffset(limited, place{t.name, partition}, offsetEnd)
			switch {
			case err == nil:
				partition++
				continue
			case errors.Is(err, broker.ErrNotProvisioned):
				err = pauseFor(limited, lag)
			}
			if err != nil {
				return asked(ctx, err)
			}
		}
	}
	return nil
}

// alterations are the settings of an existing topic that differ.
func alterations(ctx context.Context, admin *kadm.Client, t topic) ([]change, error) {
	described, err := admin.DescribeTopicConfigs(ctx, t.name)
	if err != nil {
		return nil, err
	}
	resource, err := described.On(t.name, nil)
	if err != nil {
		return nil, err
	}
	if resource.Err != nil {
		return nil, resource.Err
	}
	have := map[string]string{}
	for _, config := range resource.Configs {
		have[config.Key] = config.MaybeValue()
	}
	var changes []change
	for key, want := range t.keep {
		if have[key] == want {
			continue
		}
		changes = append(changes, change{
			fmt.Sprintf("set %s of topic %s to %s (was %s)", key, t.name, want, have[key]),
			func(ctx context.Context) error {
				responses, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &want}}, t.name)
				if err != nil {
					return err
				}
				response, err := responses.On(t.name, nil)
				return cmp.Or(err, response.Err)
			},
		})
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.what, b.what) })
	return changes, nil
}

// nameInstallation appends a name. Of those that several processes append at a
// time the first one stands.
func (b *Broker) nameInstallation(ctx context.Context, partitions int) error {
	var id [16]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	value, err := json.Marshal(installation{ID: fmt.Sprintf("%x", id), Partitions: partitions})
	if err != nil {
		return err
	}
	return b.client.ProduceSync(ctx, &kgo.Record{Topic: b.config.topic(installationTopic), Value: value}).FirstErr()
}

// installation reads the first record of the topic that holds it.
func (b *Broker) installation(ctx context.Context) (installation, error) {
	at := place{topic: b.config.topic(installationTopic)}
	var found installation
	end, err := b.listOffset(ctx, at, offsetEnd)
	if err == nil && end == 0 {
		err = fmt.Errorf("topic %s is empty: %w", at.topic, broker.ErrNotProvisioned)
	}
	if err != nil {
		return found, err
	}
	err = b.scan(ctx, at, 0, end, func(r *kgo.Record) error {
		if found.ID != "" {
			return nil
		}
		return json.Unmarshal(r.Value, &found)
	})
	if err == nil && (found.ID == "" || found.Partitions < 1) {
		err = fmt.Errorf("topic %s names none: %w", at.topic, broker.ErrNotProvisioned)
	}
	return found, err
}

// Kept is how long the messages of a topic are kept; 0 is for ever.
func (b *Broker) Kept(ctx context.Context, topic string) (time.Duration, error) {
	name := b.config.place(broker.Log{Topic: topic}).topic
	described, err := kadm.NewClient(b.client).DescribeTopicConfigs(ctx, name)
	if err == nil {
		err = described[0].Err
	}
	if err != nil {
		return 0, fmt.Errorf("cannot tell how long %s is kept: %w", topic, asked(ctx, err))
	}
	for _, c := range described[0].Configs {
		if c.Key != "retention.ms" || c.Value == nil {
			continue
		}
		ms, err := strconv.ParseInt(*c.Value, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot tell how long %s is kept: %w", topic, err)
		}
		return time.Duration(max(0, ms)) * time.Millisecond, nil
	}
	return 0, nil
}
