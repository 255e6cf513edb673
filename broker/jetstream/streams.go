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
//	stream p-events      p.events.<partition>.<lane>
//	stream p-gG-commits  p.gG.commit.<processor>.<partition>
//	stream p-gG-<topic>  p.gG.<topic>.<partition>.<lane>.<processor>.<source partition>
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
)

// Layout is how an installation is provisioned. Of a stream that exists already
// only what is set here is changed.
type Layout struct {
	// Replicas of every stream; default 1.
	Replicas int
	// EventsAge is how long events are kept; default 30 days. RowsAge is the
	// same for the topics of rows; default 45 days.
	EventsAge, RowsAge time.Duration
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
	if l.EventsBytes < 0 {
		errs = append(errs, fmt.Errorf("events_bytes: %d: must be more than 0", l.EventsBytes))
	}
	return errs
}

// Provision makes the streams of an installation's generation; run again, it
// changes what config.Layout says and nothing else. Another number of
// partitions than before is an error.
//
// Events are limited by age and size and refuse more when full; rows leave by
// age only; the commit log keeps everything and is read from its leader.
func Provision(ctx context.Context, config Config, partitions int) error {
	if partitions < 1 || partitions > maxPartitions {
		return fmt.Errorf("cannot provision: partitions: %d: must be 1 to %d", partitions, maxPartitions)
	}
	config.Partitions = partitions
	b, err := Connect(ctx, config)
	if err != nil {
		return err
	}
	defer b.Close()
	for _, stream := range b.layout() {
		if err := b.provision(ctx, stream); err != nil {
			return fmt.Errorf("cannot provision %s: stream %s: %w", b.config.Prefix, stream.Name, err)
		}
	}
	return nil
}

// layout is the streams as they should be.
func (b *Broker) layout() []jetstream.StreamConfig {
	streams := []jetstream.StreamConfig{{
		Name: b.eventsStream(), Subjects: []string{b.config.Prefix + "." + broker.Events + ".*.*"},
		Discard: jetstream.DiscardNew, MaxAge: cmp.Or(b.config.Layout.EventsAge, EventsAge), MaxBytes: b.config.Layout.EventsBytes,
	}, {
		Name: b.commitStream(), Subjects: []string{b.generation() + ".commit.*.*"},
		Discard: jetstream.DiscardNew,
	}}
	for _, topic := range broker.RowTopics() {
		streams = append(streams, jetstream.StreamConfig{
			Name: b.rowStream(topic), Subjects: []string{b.generation() + "." + topic + ".*.*.*.*"},
			Discard: jetstream.DiscardOld, MaxAge: cmp.Or(b.config.Layout.RowsAge, RowsAge),
		})
	}
	for i := range streams {
		streams[i].Storage = jetstream.FileStorage
		streams[i].Retention = jetstream.LimitsPolicy
		streams[i].Replicas = cmp.Or(b.config.Layout.Replicas, 1)
		streams[i].Duplicates = 100 * time.Millisecond // the least: nothing relies on it
		streams[i].Metadata = map[string]string{partitionsMeta: strconv.Itoa(b.config.Partitions)}
	}
	streams[0].Metadata[installationMeta] = newInstallation()
	return streams
}

// newInstallation is 16 random bytes in hex.
func newInstallation() string {
	var id [16]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%x", id)
}

// provision makes one stream, or brings the one that exists to the layout.
func (b *Broker) provision(ctx context.Context, want jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	existing, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = b.js.CreateStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return asked(ctx, err)
		}
		existing, err = b.js.Stream(ctx, want.Name) // another process was faster
	}
	if err != nil {
		return asked(ctx, err)
	}
	have := existing.CachedInfo().Config
	if n, err := partitionsOf(have); err != nil || n != b.config.Partitions {
		return cmp.Or(err, fmt.Errorf("it has %d partitions, not %d: the number never changes in a generation's life",
			n, b.config.Partitions))
	}
	update := have
	if b.config.Layout.Replicas != 0 {
		update.Replicas = want.Replicas
	}
	events := want.Name == b.eventsStream()
	if events && b.config.Layout.EventsAge != 0 || want.Discard == jetstream.DiscardOld && b.config.Layout.RowsAge != 0 {
		update.MaxAge = want.MaxAge
	}
	if events && b.config.Layout.EventsBytes != 0 {
		update.MaxBytes = want.MaxBytes
	}
	if events && have.Metadata[installationMeta] == "" { // of before there were names
		update.Metadata = maps.Clone(have.Metadata)
		update.Metadata[installationMeta] = want.Metadata[installationMeta]
	}
	if maps.Equal(update.Metadata, have.Metadata) && update.Replicas == have.Replicas && update.MaxAge == have.MaxAge && update.MaxBytes == have.MaxBytes {
		return nil
	}
	_, err = b.js.UpdateStream(ctx, update)
	return asked(ctx, err)
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

func (b *Broker) eventsStream() string { return b.config.Prefix + "-" + broker.Events }
func (b *Broker) commitStream() string {
	return fmt.Sprintf("%s-g%d-commits", b.config.Prefix, b.config.Generation)
}
func (b *Broker) rowStream(topic string) string {
	return fmt.Sprintf("%s-g%d-%s", b.config.Prefix, b.config.Generation, topic)
}

// generation begins the subjects of everything but events.
func (b *Broker) generation() string {
	return fmt.Sprintf("%s.g%d", b.config.Prefix, b.config.Generation)
}

func (b *Broker) commitSubject(processor string, partition int) string {
	return fmt.Sprintf("%s.commit.%s.%d", b.generation(), processor, partition)
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
	if l.Topic == broker.Events {
		return b.eventsStream(), fmt.Sprintf("%s.%s.%d.%s", b.config.Prefix, broker.Events, l.Partition, l.Lane)
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
