package jetstream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// Names. A generation g of an installation with prefix p has
//
//	stream p-events         p.events.<partition>.<lane>
//	stream p-config         p.config.0.normal
//	stream p-gG-commits     p.gG.commit.<processor>.<partition>
//	stream p-gG-snapshots   p.gG.snapshot.<processor>.<partition>
//	                        p.gG.start.<processor>.<partition>
//	stream p-gG-<topic>     p.gG.<topic>.<partition>.<lane>.<processor>.<source partition>
//	bucket p-gG-leases      lease.<processor>.<partition>
//	                        worker.<processor>.<worker>
//	bucket p-gG-cursors     <group>.<topic>.<partition>.<lane>
//
// Workers of a group share a topic as those of a processor named <group>.<topic>
// would, with a dash for the dot.
//
// Whoever appends rows without being an owner is the processor "producer".
const (
	producer         = "producer"
	partitionsMeta   = "flightlog.partitions"
	installationMeta = "flightlog.installation" // of the stream of events
	maxPartitions    = 1024
)

// Defaults of a layout.
const (
	EventsAge = 30 * 24 * time.Hour
	RowsAge   = 45 * 24 * time.Hour
	ClosedAge = 90 * 24 * time.Hour
	// InternalAge is how long what one processor tells another is kept.
	InternalAge = 7 * 24 * time.Hour
)

// leaseTTL is the default of Config.LeaseTTL.
const leaseTTL = 10 * time.Second

// Layout is how an installation is provisioned. Of a stream that exists already
// only what is set here is changed.
type Layout struct {
	// Replicas of every stream and bucket; default 1.
	Replicas int
	// EventsAge is how long events are kept; default 30 days. RowsAge is the
	// same for the topics of rows; default 45 days. ClosedAge is that of the
	// topic closed; default 90 days.
	EventsAge, RowsAge, ClosedAge time.Duration
	// EventsBytes is the size at which the topic of events refuses more;
	// default: the server's disk.
	EventsBytes int64
}

// problems is everything that is wrong.
func (l *Layout) problems() []error {
	var errs []error
	if l.Replicas < 0 || l.Replicas > 5 {
		errs = append(errs, fmt.Errorf("replicas: %d: must be 1 to 5", l.Replicas))
	}
	if l.EventsAge < 0 {
		errs = append(errs, fmt.Errorf("events_age: %v: must be longer than 0", l.EventsAge))
	}
	if l.RowsAge < 0 {
		errs = append(errs, fmt.Errorf("rows_age: %v: must be longer than 0", l.RowsAge))
	}
	if l.ClosedAge < 0 {
		errs = append(errs, fmt.Errorf("closed_age: %v: must be longer than 0", l.ClosedAge))
	}
	if l.EventsBytes < 0 {
		errs = append(errs, fmt.Errorf("events_bytes: %d: must be more than 0", l.EventsBytes))
	}
	return errs
}

// Provision makes the streams and buckets of an installation's generation; run
// again, it changes what config.Layout says and adds what an earlier release
// did not have, and nothing else. Another number of partitions than before is
// an error.
//
// Events are limited by age and size and refuse more when full; rows leave by
// age only; config, the commit log and snapshots have no limit. All but readers
// go by the streams' leaders.
func Provision(ctx context.Context, config Config, partitions int) error {
	return provision(ctx, config, partitions, func(b *Broker, c *change) error {
		limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
		defer cancel()
		return asked(ctx, c.make(limited))
	})
}

// Plan is what Provision would do, one line for each change; nothing is done.
func Plan(ctx context.Context, config Config, partitions int) ([]string, error) {
	var plan []string
	err := provision(ctx, config, partitions, func(_ *Broker, c *change) error {
		plan = append(plan, c.what)
		return nil
	})
	return plan, err
}

// provision calls each for every change that is missing.
func provision(ctx context.Context, config Config, partitions int, each func(*Broker, *change) error) error {
	if partitions < 1 || partitions > maxPartitions {
		return fmt.Errorf("cannot provision: partitions: %d: must be 1 to %d", partitions, maxPartitions)
	}
	config.Partitions = partitions
	b, err := Connect(ctx, config)
	if err != nil {
		return err
	}
	defer b.Close()
	for _, want := range b.layout() {
		err := b.bring(ctx, want, each)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
			err = b.bring(ctx, want, each)
		}
		if err != nil {
			return fmt.Errorf("cannot provision %s: stream %s: %w", b.config.Prefix, want.Name, err)
		}
	}
	return nil
}

// bring calls each if a stream is not as it should be.
func (b *Broker) bring(ctx context.Context, want stream, each func(*Broker, *change) error) error {
	change, err := b.change(ctx, want)
	if err != nil || change == nil {
		return err
	}
	return each(b, change)
}

// stream is a stream as it should be.
type stream struct {
	jetstream.StreamConfig
	age time.Duration // that the config asks for, 0 = it leaves it to the default
}

// layout is the streams as they should be.
func (b *Broker) layout() []stream {
	layout := &b.config.Layout
	streams := []stream{{jetstream.StreamConfig{
		Name: b.eventsStream(), Subjects: []string{b.config.Prefix + "." + broker.Events + ".*.*"},
		Discard: jetstream.DiscardNew, MaxAge: EventsAge, MaxBytes: layout.EventsBytes,
		Metadata: map[string]string{installationMeta: newInstallation()},
	}, layout.EventsAge}, {jetstream.StreamConfig{
		Name: b.configStream(), Subjects: []string{b.config.Prefix + "." + broker.Config + ".*.*"},
		Discard: jetstream.DiscardNew,
	}, 0}, {jetstream.StreamConfig{
		Name: b.commitStream(), Subjects: []string{b.chainSubject(commits, "*", "*")},
		Discard: jetstream.DiscardNew,
	}, 0}, {jetstream.StreamConfig{
		Name: b.snapshotStream(), Subjects: []string{b.chainSubject(snapshots, "*", "*"), b.chainSubject(started, "*", "*")},
		Discard: jetstream.DiscardNew,
	}, 0}, {jetstream.StreamConfig{ // as a client makes a bucket, but it is read from its leader
		Name: "KV_" + b.leaseBucket(), Subjects: []string{"$KV." + b.leaseBucket() + ".>"},
		Discard: jetstream.DiscardNew, MaxAge: leaseTTL,
		MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true,
	}, b.config.LeaseTTL}, {jetstream.StreamConfig{
		Name: "KV_" + b.cursorBucket(), Subjects: []string{"$KV." + b.cursorBucket() + ".>"},
		Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true,
	}, 0}}
	for _, topic := range broker.RowTopics() {
		age, asked := RowsAge, layout.RowsAge
		switch topic {
		case broker.Closed:
			age, asked = ClosedAge, layout.ClosedAge
		case broker.TaskFacts, broker.SpendDeltas, broker.ChangeFacts:
			age, asked = InternalAge, 0
		}
		streams = append(streams, stream{jetstream.StreamConfig{
			Name: b.rowStream(topic), Subjects: []string{b.generation() + "." + topic + ".*.*.*.*"},
			Discard: jetstream.DiscardOld, MaxAge: age,
		}, asked})
	}
	for i := range streams {
		s := &streams[i]
		s.MaxAge = cmp.Or(s.age, s.MaxAge)
		s.Storage = jetstream.FileStorage
		s.Retention = jetstream.LimitsPolicy
		s.Replicas = cmp.Or(layout.Replicas, 1)
		s.Duplicates = 100 * time.Millisecond // the least: nothing relies on it
		if s.Metadata == nil {
			s.Metadata = map[string]string{}
		}
		s.Metadata[partitionsMeta] = strconv.Itoa(b.config.Partitions)
	}
	return streams
}

// newInstallation is 16 random bytes in hex.
func newInstallation() string {
	var id [16]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%x", id)
}

// change is what has to be done to one stream.
type change struct {
	what string
	make func(ctx context.Context) error
}

// change compares a stream with the layout; nil where nothing has to be done.
func (b *Broker) change(ctx context.Context, want stream) (*change, error) {
	limited, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	existing, err := b.js.Stream(limited, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		what := fmt.Sprintf("create stream %s: subjects %s, max_age %v, max_bytes %d, replicas %d",
			want.Name, strings.Join(want.Subjects, " "), want.MaxAge, want.MaxBytes, want.Replicas)
		return &change{what, func(ctx context.Context) error {
			_, err := b.js.CreateStream(ctx, want.StreamConfig)
			return err
		}}, nil
	}
	if err != nil {
		return nil, asked(ctx, err)
	}
	have := existing.CachedInfo().Config
	if n, err := partitionsOf(have); err != nil || n != b.config.Partitions {
		return nil, cmp.Or(err, fmt.Errorf("it has %d partitions, not %d: the number never changes in a generation's life",
			n, b.config.Partitions))
	}
	var changes []string
	note := func(what string, from, to any) { changes = append(changes, fmt.Sprintf("%s %v -> %v", what, from, to)) }
	update := have
	if b.config.Layout.Replicas != 0 && have.Replicas != want.Replicas {
		update.Replicas = want.Replicas
		note("replicas", have.Replicas, want.Replicas)
	}
	if want.age != 0 && have.MaxAge != want.MaxAge {
		update.MaxAge = want.MaxAge
		note("max_age", have.MaxAge, want.MaxAge)
	}
	if want.MaxBytes != 0 && have.MaxBytes != want.MaxBytes {
		update.MaxBytes = want.MaxBytes
		note("max_bytes", have.MaxBytes, want.MaxBytes)
	}
	if name := want.Metadata[installationMeta]; name != "" && have.Metadata[installationMeta] == "" { // of before there were names
		update.Metadata = maps.Clone(have.Metadata)
		update.Metadata[installationMeta] = name
		changes = append(changes, "a name for the installation")
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return &change{"change stream " + want.Name + ": " + strings.Join(changes, ", "), func(ctx context.Context) error {
		_, err := b.js.UpdateStream(ctx, update)
		return err
	}}, nil
}

// partitionsOf is the number that a stream was provisioned with.
func partitionsOf(stream jetstream.StreamConfig) (int, error) {
	n, err := strconv.Atoi(stream.Metadata[partitionsMeta])
	if err != nil || n < 1 {
		return 0, fmt.Errorf("stream %s says no number of partitions (metadata %s): %w",
			stream.Name, partitionsMeta, broker.ErrNotProvisioned)
	}
	return n, nil
}

// Kinds of chains of a processor's partition, as subjects name them.
const (
	commits   = "commit"
	snapshots = "snapshot"
	started   = "start"
)

func (b *Broker) eventsStream() string   { return b.config.Prefix + "-" + broker.Events }
func (b *Broker) configStream() string   { return b.config.Prefix + "-" + broker.Config }
func (b *Broker) commitStream() string   { return b.rowStream("commits") }
func (b *Broker) snapshotStream() string { return b.rowStream("snapshots") }
func (b *Broker) leaseBucket() string    { return b.rowStream("leases") }
func (b *Broker) cursorBucket() string   { return b.rowStream("cursors") }

// rowStream is the stream of a topic of this generation.
func (b *Broker) rowStream(topic string) string {
	return fmt.Sprintf("%s-g%d-%s", b.config.Prefix, b.config.Generation, topic)
}

// generation begins the subjects of everything but events and config.
func (b *Broker) generation() string {
	return fmt.Sprintf("%s.g%d", b.config.Prefix, b.config.Generation)
}

// chainSubject is the subject of a chain; "*" for every processor or partition.
func (b *Broker) chainSubject(kind, processor string, partition any) string {
	return fmt.Sprintf("%s.%s.%s.%v", b.generation(), kind, processor, partition)
}

// rowSubject is the subject of one source's rows in a log; source "*.*" is all.
func (b *Broker) rowSubject(l broker.Log, source string) string {
	return fmt.Sprintf("%s.%s.%d.%s.%s", b.generation(), l.Topic, l.Partition, l.Lane, source)
}

func sourceOf(processor string, partition int) string {
	return processor + "." + strconv.Itoa(partition)
}

// place is the stream of a log, and the subject of all its messages.
func (b *Broker) place(l broker.Log) (stream, subject string) {
	if !broker.IsRowTopic(l.Topic) {
		return b.config.Prefix + "-" + l.Topic, fmt.Sprintf("%s.%s.%d.%s", b.config.Prefix, l.Topic, l.Partition, l.Lane)
	}
	return b.rowStream(l.Topic), b.rowSubject(l, "*.*")
}

// logOf reads a subject of rows of a topic.
func (b *Broker) logOf(topic, subject string) (broker.Log, bool) {
	rest, ok := strings.CutPrefix(subject, b.generation()+"."+topic+".")
	tokens := strings.Split(rest, ".")
	if !ok || len(tokens) != 4 {
		return broker.Log{}, false
	}
	partition, err := strconv.Atoi(tokens[0])
	lane, known := schemas.ParseLane(tokens[1])
	return broker.Log{Topic: topic, Partition: partition, Lane: lane}, err == nil && known
}

// Kept is how long the messages of a topic are kept; 0 is for ever.
func (b *Broker) Kept(ctx context.Context, topic string) (time.Duration, error) {
	name, _ := b.place(broker.Log{Topic: topic})
	stream, err := b.stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("cannot tell how long %s is kept: %w", topic, err)
	}
	return stream.CachedInfo().Config.MaxAge, nil
}
