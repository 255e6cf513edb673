package files

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// Archive is an archive as it stood when it was opened: what its checkpoint of
// then names, in complete files and at the beginning of open ones. A sink may go
// on with it. It holds nothing open.
type Archive struct {
	dir  string
	done checkpoint
}

// ErrNoArchive: the folder or file is not one of an archive.
var ErrNoArchive = errors.New("no archive")

// OpenArchive reads what there is in an archive. It fails with ErrNoArchive for
// another folder.
func OpenArchive(dir string) (*Archive, error) {
	a := &Archive{dir, checkpoint{name: ArchiveName}}
	if _, err := os.Stat(filepath.Join(dir, ArchiveName)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no archive: it holds no %s: %w", dir, ArchiveName, ErrNoArchive)
	}
	err := a.done.load(dir)
	if err != nil && a.done.Version == 0 && a.done.Files == nil {
		err = fmt.Errorf("%w: %w", err, ErrNoArchive)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the archive in %s: %w", dir, err)
	}
	return a, nil
}

// Installation names the installation and generation that it is of, as
// broker.Broker does.
func (a *Archive) Installation() string { return a.done.Installation }

// Topics are those that it holds, or began to.
func (a *Archive) Topics() (topics []string) {
	for _, topic := range ArchiveTopics {
		if _, ok := a.done.Files[topic]; ok {
			topics = append(topics, topic)
		}
	}
	return topics
}

// Files calls each with the files of a topic, by partition and name, which is
// the order of the log but for what came late.
func (a *Archive) Files(topic string, each func(*File) error) error {
	return a.files(topic, func(*File) bool { return true }, each)
}

// files calls each with some files.
func (a *Archive) files(topic string, wanted func(*File) bool, each func(*File) error) error {
	var some []*File
	err := a.scan(topic, func(f *File) error {
		if wanted(f) {
			some = append(some, f)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read the archive in %s: %w", a.dir, err)
	}
	slices.SortFunc(some, func(a, b *File) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), strings.Compare(a.Name, b.Name))
	})
	for _, f := range some {
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// scan gives the files of a topic in the order in which they were completed, and
// then those that are open.
func (a *Archive) scan(topic string, each func(*File) error) error {
	length, ok := a.done.Files[topic]
	if !ok {
		return fmt.Errorf("it does not hold the topic %s", topic)
	}
	if err := readIndex(a.dir, topic, length, each); err != nil {
		return err
	}
	for i := range a.done.Logs {
		p := &a.done.Logs[i]
		if p.Topic != topic || p.Archived == nil {
			continue
		}
		for _, o := range p.Archived.Open {
			f := o.File
			f.dir = a.dir
			if f.Bytes == 0 || f.Name != f.name() {
				return fmt.Errorf("%s: an open file %q of %d bytes: %w", ArchiveName, f.Name, f.Bytes, ErrDamaged)
			}
			if err := each(&f); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rows calls each with every row of a topic that occurred in [from, to), each
// row_id once; a zero time is no bound. Findings and tasks occur when they were
// first seen, spend when its pane begins. The rows of a partition come in the order of its log, by source. A row
// is good until each returns. An error of each ends it at once.
//
// It reads one block of one file at a time. A file that is missing or damaged is
// an error before any row of it is given. Whether the archive holds all rows of
// that time, Covers says: what is not appended yet, or was before the archive
// began, is not missed here. Of the newest commits, of the last minute, it may
// give a part.
func (a *Archive) Rows(ctx context.Context, topic string, from, to time.Time, each func(*delivery.Row) error) error {
	when := between(from, to)
	return a.files(topic, when.touches, func(f *File) error {
		return f.EachRow(ctx, func(r *delivery.Row) error {
			if !when.holds(occurredAt(r)) {
				return nil
			}
			return each(r)
		})
	})
}

// Events is Rows for the topic events. One that was sent twice stands there
// twice, under one event_id.
func (a *Archive) Events(ctx context.Context, from, to time.Time, each func(*Event) error) error {
	when := between(from, to)
	return a.files(broker.Events, when.touches, func(f *File) error {
		return f.EachEvent(ctx, func(e *Event) error {
			if !when.holds(e.Event.OccurredAt) {
				return nil
			}
			return each(e)
		})
	})
}

// stretchOfTime is a time from first to before last, in µs.
type stretchOfTime struct{ first, last int64 }

func between(from, to time.Time) stretchOfTime {
	s := stretchOfTime{math.MinInt64, math.MaxInt64}
	if !from.IsZero() {
		s.first = from.UnixMicro()
	}
	if !to.IsZero() {
		s.last = to.UnixMicro()
	}
	return s
}

func (s stretchOfTime) holds(at int64) bool { return s.first <= at && at < s.last }

func (s stretchOfTime) touches(f *File) bool {
	return f.Rows > 0 && f.LastOccurredAt >= s.first && f.FirstOccurredAt < s.last
}

// OpenFile reads a file that stands on its own, to its end, and says what it
// holds. One that is no file of an archive is ErrNoArchive.
func OpenFile(path string) (*File, error) {
	f, err := describe(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return f, nil
}

func describe(path string) (*File, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	sum := sha256.New()
	f := &File{Name: filepath.Base(path), dir: filepath.Dir(path)}
	if f.Bytes, err = io.Copy(sum, in); err != nil {
		return nil, err
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	c, err := newContainer(in)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrNoArchive)
	}
	if f.Topic = c.metadata[metaTopic]; !slices.Contains(ArchiveTopics, f.Topic) {
		return nil, fmt.Errorf("its metadata names no topic: %w", ErrNoArchive)
	}
	f.Hour, f.Lane, f.Schema = c.metadata[metaHour], c.metadata[metaLane], c.metadata[metaFingerprint]
	if f.Lane == schemas.LaneNormal.String() {
		f.Lane = ""
	}
	f.Partition, err = strconv.Atoi(c.metadata[metaPartition])
	if err == nil {
		f.Part, err = strconv.Atoi(c.metadata[metaPart])
	}
	if err != nil {
		return nil, fmt.Errorf("its metadata: %w: %w", err, ErrNoArchive)
	}
	// What it holds is counted as it was when it was written.
	count := hourFile{File: *f}
	err = count.read(context.Background(), c, func(_ *delivery.Row, e *Event, at int64) error {
		m := frame{count: 1, first: at, last: at}
		if e != nil {
			m.orgs = []string{e.Org}
		}
		count.note(&m)
		return nil
	})
	return &count.File, err
}

// EachRow calls each with the rows of the file. It fails before the first one if
// the file is missing (fs.ErrNotExist) or does not hold what was written to it
// (ErrDamaged). A row is good until each returns.
func (f *File) EachRow(ctx context.Context, each func(*delivery.Row) error) error {
	return f.each(ctx, func(r *delivery.Row, _ *Event, _ int64) error {
		if r == nil {
			return fmt.Errorf("events are no rows")
		}
		return each(r)
	})
}

// EachEvent is EachRow for a file of the topic events.
func (f *File) EachEvent(ctx context.Context, each func(*Event) error) error {
	return f.each(ctx, func(_ *delivery.Row, e *Event, _ int64) error {
		if e == nil {
			return fmt.Errorf("rows are no events")
		}
		return each(e)
	})
}

// each verifies the file and then calls each with what it holds: a row, or an
// event, and when it occurred.
func (f *File) each(ctx context.Context, each func(*delivery.Row, *Event, int64) error) error {
	in, err := f.open()
	if err != nil {
		return fmt.Errorf("cannot read the archive: %w", err)
	}
	defer in.Close()
	if err := f.verify(in, sha256.New()); err != nil {
		return fmt.Errorf("cannot read the archive in %s: %w", f.dir, err)
	}
	if _, err = in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	c, err := newContainer(io.LimitReader(in, f.Bytes))
	if err == nil && (c.metadata[metaTopic] != f.Topic || c.metadata[metaPartition] != strconv.Itoa(f.Partition)) {
		err = fmt.Errorf("it says that it is of %s/%s: %w", c.metadata[metaTopic], c.metadata[metaPartition], ErrNoArchive)
	}
	var failed error
	if err == nil {
		rows := int64(0)
		err = f.read(ctx, c, func(r *delivery.Row, e *Event, at int64) error {
			rows++
			failed = each(r, e, at)
			return failed
		})
		if err == nil && rows != f.Rows {
			err = fmt.Errorf("it holds %d rows of %d: %w", rows, f.Rows, ErrDamaged)
		}
	}
	if err != nil && failed == nil {
		err = fmt.Errorf("cannot read %s of the archive in %s: %w", f.Name, f.dir, err)
	}
	return err
}

// read calls each with the records of the container, block by block.
func (f *File) read(ctx context.Context, c *container, each func(*delivery.Row, *Event, int64) error) error {
	if c.metadata[metaCodec] != codec {
		return fmt.Errorf("its codec is %q: %w", c.metadata[metaCodec], ErrNoArchive)
	}
	fingerprint, err := strconv.ParseUint(c.metadata[metaFingerprint], 16, 64)
	if err != nil {
		return fmt.Errorf("its metadata: %w: %w", err, ErrNoArchive)
	}
	schema, err := definitionOf(f.Topic, fingerprint)
	if err != nil {
		return err
	}
	if string(schema) != c.metadata[metaSchema] {
		return fmt.Errorf("its schema is not %016x: %w", fingerprint, ErrNoArchive)
	}
	prefix, err := hex.DecodeString(c.metadata[metaFrame])
	if err != nil {
		return fmt.Errorf("its metadata: %w: %w", err, ErrNoArchive)
	}
	var decoder delivery.Decoder
	var message []byte
	event := Event{Event: new(schemas.Event)}
	for {
		count, records, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrDamaged)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.Topic != broker.Events {
			message = append(binary.AppendVarint(append(message[:0], prefix...), count), records...)
			_, rows, err := decoder.Decode(f.Topic, broker.Message{Payload: append(message, 0)})
			if err != nil {
				return fmt.Errorf("%w: %w", err, ErrDamaged)
			}
			for i := range rows {
				if err := each(&rows[i], nil, occurredAt(&rows[i])); err != nil {
					return err
				}
			}
			continue
		}
		for ; count > 0; count-- {
			if records, err = takeEvent(records, fingerprint, &event); err != nil {
				return fmt.Errorf("%w: %w", err, ErrDamaged)
			}
			if err := each(nil, &event, event.Event.OccurredAt); err != nil {
				return err
			}
		}
		if len(records) > 0 {
			return fmt.Errorf("%d bytes after the last event of a block: %w", len(records), ErrDamaged)
		}
	}
}
