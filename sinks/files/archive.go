package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// ArchiveTopics are the topics that an archive can hold.
var ArchiveTopics = []string{broker.Events, broker.Enriched, broker.Findings, broker.Tasks, broker.Spend, broker.DeadLetters}

// ArchiveName is the file by which the folder of an archive is known: its
// checkpoint.
const ArchiveName = "archive.json"

// NewArchive opens an archive of some topics (ArchiveTopics if none are given),
// makes it if need be, and cuts its files back to their checkpoint:
//
//	TOPIC/PARTITION/HOUR[_PART][.critical].avro   complete, never changed again
//	TOPIC/PARTITION/....avro.open                 being written
//	TOPIC/index.ndjson                            what the complete ones hold
//	archive.json, lock                            the checkpoint
//
// HOUR is the UTC hour in which the broker appended a message, as
// 2026-11-26T15. A file is complete when the archive holds its hour to the end:
// a message of a later one has come, or the log has none. A file is never cut
// inside a commit, so the rows of a commit that begins at the end of an hour
// stand in that hour's file. A message that comes later still (the clock of
// another server was behind) begins another part of its hour, _002 and so on,
// as does a release that writes another schema.
//
// Events are written as they were sent, and with org and producer_id before
// them; those that do not decode are dead letters of the sessions processor and
// are passed over. Nothing is ever deleted.
//
// Messages stand there about a minute after they were read. NewArchive fails if
// another sink has the folder, or if the files hold less than their checkpoint
// says, or something else.
func NewArchive(dir string, topics ...string) (*Sink, error) {
	if len(topics) == 0 {
		topics = ArchiveTopics
	}
	for _, topic := range topics {
		if !slices.Contains(ArchiveTopics, topic) {
			return nil, fmt.Errorf("cannot archive %q: there are %v", topic, ArchiveTopics)
		}
	}
	dir = filepath.Clean(dir)
	return open(dir, ArchiveName, pace{every: time.Minute, bytes: 64 << 20, asks: true},
		&archive{dir: dir, topics: topics, indexes: map[string]*rowFile{}, renamed: map[string]bool{}})
}

// archive is the store that writes Avro object container files.
type archive struct {
	dir          string
	topics       []string
	indexes      map[string]*rowFile // by topic
	opened       []*hourFile         // of the checkpoint, all of them
	renamed      map[string]bool     // folders in which names have changed
	installation string
	generation   int64
	packer       packer
}

// archived is what the checkpoint of an archive holds of a log beside its place.
type archived struct {
	// Since and Until: everything that was appended in between stands in the
	// files, µs. Since 0 = from the log's beginning.
	Since int64 `json:"since"`
	Until int64 `json:"until"`
	// Newest is the latest hour that has a file.
	Newest string      `json:"newest,omitempty"`
	Open   []*hourFile `json:"open,omitempty"`
}

func (a *archive) open(c *checkpoint) (created bool, err error) {
	for _, name := range c.Closing { // it was killed before it could
		if err := a.rename(name); err != nil {
			return false, err
		}
	}
	for _, topic := range a.topics {
		if err := a.folder(filepath.Join(a.dir, topic)); err != nil {
			return false, err
		}
		length, listed := c.Files[topic]
		f, err := openRows(indexName(a.dir, topic), c.name, length, listed)
		if err != nil {
			return false, err
		}
		a.indexes[topic], c.Files[topic] = f, length
		created = created || !listed
	}
	for i := range c.Logs {
		p := &c.Logs[i]
		if p.Archived == nil || a.indexes[p.Topic] == nil {
			continue
		}
		for _, f := range p.Archived.Open {
			a.opened = append(a.opened, f)
			if err := f.reopen(a.dir); err != nil {
				return false, err
			}
		}
	}
	return created, a.syncFolders()
}

func (a *archive) logs(partitions int) []broker.Log { return logsOf(a.topics, partitions) }

func (a *archive) decoder(log broker.Log) func(broker.Message, *frame) error {
	if log.Topic == broker.Events {
		return decodeEvents
	}
	var decoder delivery.Decoder
	return func(m broker.Message, f *frame) error {
		header, rows, err := decoder.Decode(log.Topic, m)
		if err != nil {
			return err
		}
		f.header, f.count = header, len(rows)
		for i := range rows {
			f.rows = appendRow(f.rows, &rows[i])
			f.occurred(i, occurredAt(&rows[i]))
		}
		return nil
	}
}

// occurred takes the time of the i-th row into the account.
func (f *frame) occurred(i int, at int64) {
	if i == 0 {
		f.first, f.last = at, at
	}
	f.first, f.last = min(f.first, at), max(f.last, at)
}

// keeper is a broker that knows how long it keeps a topic; 0 is for ever.
type keeper interface {
	Kept(ctx context.Context, topic string) (time.Duration, error)
}

// begin notes from when on a log that was not followed before will be whole:
// what the topic keeps is all there.
func (a *archive) begin(ctx context.Context, b broker.Broker, installation string, at *place) error {
	a.installation, a.generation = installation, b.Generation()
	if at.Archived != nil {
		return nil
	}
	since := time.Now().UnixMicro()
	if k, ok := b.(keeper); ok {
		kept, err := k.Kept(ctx, at.Topic)
		if err != nil {
			return err
		}
		if since -= kept.Microseconds(); kept == 0 {
			since = 0
		}
	}
	at.Archived = &archived{Since: since}
	return nil
}

func (a *archive) write(f *frame, at *place, news bool) error {
	log := at.Archived
	if at.Last == 0 {
		log.Since = min(log.Since, f.appendedAt)
		if f.header.LastCommit > 0 && f.header.PreviousCommit == 0 { // and nothing was before it
			log.Since = 0
		}
	}
	log.Until = max(log.Until, f.appendedAt)
	if !news || f.count == 0 && f.unreadable == 0 {
		return nil
	}
	file, err := a.file(f, at)
	if err != nil {
		return err
	}
	return file.add(f, &a.packer)
}

func (a *archive) whole(at *place, before int64) bool {
	later := before > at.Archived.Until
	at.Archived.Until = max(at.Archived.Until, before)
	return later
}

// file is the one that a message belongs to: that of the hour in which it was
// appended, or the one that its commit began in.
func (a *archive) file(f *frame, at *place) (*hourFile, error) {
	open := at.Archived.Open
	i := slices.IndexFunc(open, func(o *hourFile) bool { return !o.ended && o.continues(f.header) })
	if i < 0 {
		hour := hourOf(f.appendedAt)
		i = slices.IndexFunc(open, func(o *hourFile) bool { return !o.ended && o.Hour == hour })
	}
	if i >= 0 {
		return open[i], nil
	}
	return a.create(f, at)
}

// create begins a file.
func (a *archive) create(f *frame, at *place) (*hourFile, error) {
	file := &hourFile{File: File{Topic: at.Topic, Partition: at.Partition, Lane: at.Lane, Hour: hourOf(f.appendedAt), Part: 1}}
	if file.Hour <= at.Archived.Newest { // the only time to look what there is
		parts, err := a.parts(file)
		if err != nil {
			return nil, err
		}
		for _, o := range at.Archived.Open {
			if o.Hour == file.Hour {
				parts = max(parts, o.Part)
			}
		}
		file.Part = parts + 1
	}
	file.Name = file.name()
	if err := a.folder(filepath.Dir(filepath.Join(a.dir, file.Name))); err != nil {
		return nil, err
	}
	if err := file.create(a.dir, a.installation, a.generation); err != nil {
		return nil, err
	}
	a.renamed[filepath.Dir(file.path())] = true
	at.Archived.Newest = max(at.Archived.Newest, file.Hour)
	at.Archived.Open = append(at.Archived.Open, file)
	a.opened = append(a.opened, file)
	return file, nil
}

// parts is how many parts of a file's hour are complete.
func (a *archive) parts(file *hourFile) (parts int, err error) {
	err = readIndex(a.dir, file.Topic, a.indexes[file.Topic].length, func(f *File) error {
		if f.Partition == file.Partition && f.Lane == file.Lane && f.Hour == file.Hour {
			parts = max(parts, f.Part)
		}
		return nil
	})
	return parts, err
}

// sync writes what the open files hold back to the disk, and ends those that
// are complete.
func (a *archive) sync(c *checkpoint) error {
	c.Closing = nil
	for i := range c.Logs {
		p := &c.Logs[i]
		if p.Archived == nil || a.indexes[p.Topic] == nil {
			continue
		}
		var open []*hourFile
		for _, f := range p.Archived.Open {
			if err := f.sync(&a.packer); err != nil {
				return err
			}
			if !f.complete(p) {
				open = append(open, f)
				continue
			}
			if err := a.indexes[p.Topic].append(f.File.line()); err != nil {
				return err
			}
			c.Closing = append(c.Closing, f.Name)
			a.opened = slices.DeleteFunc(a.opened, func(o *hourFile) bool { return o == f })
			if err := f.file.Close(); err != nil {
				return err
			}
		}
		p.Archived.Open = open
	}
	for topic, index := range a.indexes {
		if err := index.sync(); err != nil {
			return err
		}
		c.Files[topic] = index.length
	}
	return a.syncFolders()
}

// stands gives complete files their final names: the checkpoint names them.
func (a *archive) stands(c *checkpoint) error {
	for _, name := range c.Closing {
		if err := a.rename(name); err != nil {
			return err
		}
		failpoint.Hit("files.renamed")
	}
	return a.syncFolders()
}

// rename gives a complete file its final name, if it does not have it.
func (a *archive) rename(name string) error {
	path := filepath.Join(a.dir, name)
	a.renamed[filepath.Dir(path)] = true
	if err := os.Rename(path+openSuffix, path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// folder makes a folder of the archive, if it is not there.
func (a *archive) folder(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for made := dir; made != a.dir; made = filepath.Dir(made) {
		a.renamed[filepath.Dir(made)] = true
	}
	return os.MkdirAll(dir, 0o700)
}

// syncFolders makes the names in them last.
func (a *archive) syncFolders() error {
	for dir := range a.renamed {
		if err := syncDir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	clear(a.renamed)
	return nil
}

func (a *archive) Close() error {
	var errs []error
	for _, f := range a.opened {
		if f.file != nil {
			errs = append(errs, f.file.Close())
		}
	}
	for _, f := range a.indexes {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// occurredAt is the time of a row that Rows goes by: occurred_at, of a finding
// or a task first_seen, of spend pane_start.
func occurredAt(r *delivery.Row) int64 {
	switch {
	case r.Enriched != nil:
		return r.Enriched.OccurredAt
	case r.Finding != nil:
		return r.Finding.FirstSeen
	case r.Task != nil:
		return r.Task.FirstSeen
	case r.Spend != nil:
		return r.Spend.PaneStart
	}
	return r.DeadLetter.OccurredAt
}

// appendRow writes a row in Avro.
func appendRow(b []byte, r *delivery.Row) []byte {
	switch {
	case r.Enriched != nil:
		return r.Enriched.AppendAvro(b)
	case r.Finding != nil:
		return r.Finding.AppendAvro(b)
	case r.Task != nil:
		return r.Task.AppendAvro(b)
	case r.Spend != nil:
		return r.Spend.AppendAvro(b)
	}
	return r.DeadLetter.AppendAvro(b)
}

// hourOf is the UTC hour of a time in µs, as file names have it.
func hourOf(at int64) string { return time.UnixMicro(at).UTC().Format(HourLayout) }

// HourLayout is how an archive names an hour ([File.Hour]).
const HourLayout = "2006-01-02T15"

// sameSource tells whether a message comes from the source of some commits.
func sameSource(a *Commits, h schemas.RowHeader) bool {
	return a.Processor == h.Processor && a.Partition == h.SourcePartition && a.Generation == h.Generation
}
