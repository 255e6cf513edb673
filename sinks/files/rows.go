package files

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// rowTopics are the ones that New writes if it is not told.
var rowTopics = []string{broker.Enriched, broker.DeadLetters}

// rowsCheckpoint is the checkpoint of a folder of rows.
const rowsCheckpoint = "checkpoint.json"

// New opens a folder of rows, makes it if need be, and cuts its files back to
// their checkpoint: TOPIC.ndjson of each of the topics (delivery.Topics;
// enriched and deadletters if none are given), checkpoint.json and lock. Rows
// stand there about a second after they were read. It fails if another sink has
// the folder, or if the files hold less than their checkpoint says.
func New(dir string, topics ...string) (*Sink, error) {
	if len(topics) == 0 {
		topics = rowTopics
	}
	for _, topic := range topics {
		if !slices.Contains(delivery.Topics, topic) {
			return nil, fmt.Errorf("cannot write the rows of %q: there are %v", topic, delivery.Topics)
		}
	}
	return open(dir, rowsCheckpoint, pace{every: time.Second, bytes: 4 << 20}, &rows{dir, topics, map[string]*rowFile{}})
}

// rows is the store that writes NDJSON.
type rows struct {
	dir    string
	topics []string
	files  map[string]*rowFile // by topic
}

func (r *rows) open(c *checkpoint) (created bool, err error) {
	for _, topic := range r.topics {
		length, listed := c.Files[topic]
		f, err := openRows(filepath.Join(r.dir, topic+".ndjson"), c.name, length, listed)
		if err != nil {
			return false, err
		}
		r.files[topic], c.Files[topic] = f, length
		created = created || !listed
	}
	return created, nil
}

func (r *rows) logs(partitions int) []broker.Log { return logsOf(r.topics, partitions) }

func (r *rows) decoder(log broker.Log) func(broker.Message, *frame) error {
	var decoder delivery.Decoder
	return func(m broker.Message, f *frame) error {
		header, rows, err := decoder.Decode(log.Topic, m)
		if err != nil {
			return err
		}
		f.header, f.count = header, len(rows)
		for i := range rows {
			f.rows = append(rows[i].AppendJSON(f.rows), '\n')
		}
		return nil
	}
}

func (r *rows) begin(context.Context, broker.Broker, string, *place) error { return nil }

func (r *rows) write(f *frame, _ *place, news bool) error {
	if !news {
		return nil
	}
	return r.files[f.log.Topic].append(f.rows)
}

func (r *rows) whole(*place, int64) bool { return false }

func (r *rows) sync(c *checkpoint) error {
	for topic, f := range r.files {
		if err := f.sync(); err != nil {
			return err
		}
		c.Files[topic] = f.length
	}
	return nil
}

func (r *rows) stands(*checkpoint) error { return nil }

func (r *rows) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// logsOf are the logs of some topics, one topic after another.
func logsOf(topics []string, partitions int) (logs []broker.Log) {
	for _, topic := range topics {
		for p := range partitions {
			logs = append(logs, broker.Log{Topic: topic, Partition: p})
			if broker.TwoLanes(topic) {
				logs = append(logs, broker.Log{Topic: topic, Partition: p, Lane: schemas.LaneCritical})
			}
		}
	}
	return logs
}
