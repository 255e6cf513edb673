package jetstream

import (
	"context"
	"errors"
	"fmt"
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
	producer       = "producer"
	partitionsMeta = "flightlog.partitions"
)

// Defaults of a layout.
const (
	EventsAge = 30 * 24 * time.Hour
	RowsAge   = 45 * 24 * time.Hour
)

// Layout is what an installation is provisioned with. Of a stream that exists
// already only what is set here is changed.
type Layout struct {
	// Partitions of every topic; it never changes in a generation's life.
	Partitions int
	// Replicas of every stream; default 1.
	Replicas int
	// EventsAge is how long events are kept; default 30 days. RowsAge is the
	// same for the topics of rows; default 45 days.
	EventsAge, RowsAge time.Duration
	// EventsBytes is the size at which the topic of events refuses more;
	// default: the server's disk.
	EventsBytes int64
}

// Validate reports everything that is wrong.
func (l *Layout) Validate() error {
	var errs []error
	if l.Partitions < 1 || l.Partitions > 1024 {
		errs = append(errs, fmt.Errorf("partitions: %d: must be 1 to 1024", l.Partitions))
	}
	if l.Replicas < 0 || l.Replicas > 5 {
		errs = append(errs, fmt.Errorf("replicas: %d: must be 1 to 5", l.Replicas))
	}
	if l.EventsAge < 0 || l.RowsAge < 0 {
		errs = append(errs, fmt.Errorf("events_age, rows_age: %v, %v: must be longer than 0", l.EventsAge, l.RowsAge))
	}
	if l.EventsBytes < 0 {
		errs = append(errs, fmt.Errorf("events_bytes: %d: must be more than 0", l.EventsBytes))
	}
	return errors.Join(errs...)
}

// Provision makes the streams of the broker's installation and generation; run
// again, it changes what the layout says and nothing else. Another number of
// partitions than before is an error.
//
// Events are limited by age and size and refuse more when full; rows leave by
// age only; the commit log keeps everything and is read from its leader.
func (b *Broker) Provision(ctx context.Context, layout Layout) error {
	if err := layout.Validate(); err != nil {
		return fmt.Errorf("cannot provision %s: %w", b.Prefix, err)
	}
	events := jetstream.StreamConfig{
		Name: b.eventsStream(), Subjects: []string{b.Prefix + "." + broker.Events + ".*.*"},
		Discard: jetstream.DiscardNew, MaxAge: EventsAge,
	}
	if layout.EventsAge != 0 {
		events.MaxAge = layout.EventsAge
	}
	if layout.EventsBytes != 0 {
		events.MaxBytes = layout.EventsBytes
	}
	streams := []jetstream.StreamConfig{events, {
		Name: b.commitStream(), Subjects: []string{b.generation() + ".commit.*.*"},
		Discard: jetstream.DiscardNew,
	}}
	for _, topic := range broker.RowTopics() {
		rows := jetstream.StreamConfig{
			Name: b.rowStream(topic), Subjects: []string{b.generation() + "." + topic + ".*.*.*.*"},
			Discard: jetstream.DiscardOld, MaxAge: RowsAge,
		}
		if layout.RowsAge != 0 {
			rows.MaxAge = layout.RowsAge
		}
		streams = append(streams, rows)
	}
	for _, stream := range streams {
		if err := b.provision(ctx, stream, layout); err != nil {
			return fmt.Errorf("cannot provision %s: stream %s: %w", b.Prefix, stream.Name, err)
		}
	}
	return nil
}

// provision makes one stream, or brings the one that exists to the layout.
func (b *Broker) provision(ctx context.Context, want jetstream.StreamConfig, layout Layout) error {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	want.Storage = jetstream.FileStorage
	want.Retention = jetstream.LimitsPolicy
	want.Replicas = max(layout.Replicas, 1)
	want.Duplicates = 100 * time.Millisecond // the least: nothing relies on it
	want.Metadata = map[string]string{partitionsMeta: strconv.Itoa(layout.Partitions)}

	existing, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = b.js.CreateStream(ctx, want)
		return asked(ctx, err)
	}
	if err != nil {
		return asked(ctx, err)
	}
	have := existing.CachedInfo().Config
	n, err := partitionsOf(have)
	if err != nil {
		return err
	}
	if n != layout.Partitions {
		return fmt.Errorf("it has %d partitions, not %d: the number never changes in a generation's life", n, layout.Partitions)
	}
	update := have
	if layout.Replicas != 0 {
		update.Replicas = layout.Replicas
	}
	if isEvents := want.Name == b.eventsStream(); isEvents && layout.EventsAge != 0 || !isEvents && layout.RowsAge != 0 {
		update.MaxAge = want.MaxAge
	}
	if want.MaxBytes != 0 {
		update.MaxBytes = want.MaxBytes
	}
	if update.Replicas == have.Replicas && update.MaxAge == have.MaxAge && update.MaxBytes == have.MaxBytes {
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

func (b *Broker) eventsStream() string { return b.Prefix + "-" + broker.Events }
func (b *Broker) commitStream() string { return fmt.Sprintf("%s-g%d-commits", b.Prefix, b.Generation) }
func (b *Broker) rowStream(topic string) string {
	return fmt.Sprintf("%s-g%d-%s", b.Prefix, b.Generation, topic)
}

// generation begins the subjects of everything but events.
func (b *Broker) generation() string { return fmt.Sprintf("%s.g%d", b.Prefix, b.Generation) }

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
		return b.eventsStream(), fmt.Sprintf("%s.%s.%d.%s", b.Prefix, broker.Events, l.Partition, l.Lane)
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
