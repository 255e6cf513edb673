package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/files"
)

// spendMargin is how long before a period the rows of its facts begin to be
// told: the clocks of hosts differ (DESIGN §4).
const spendMargin = 24 * time.Hour

// spendSources is where the rows of a period were read, and how far that goes.
type spendSources struct {
	Generation   int64             `json:"generation"` // the one that was read; two are never added
	Installation string            `json:"installation"`
	Topic        []*spendPartition `json:"topic"`
	Archive      *spendArchive     `json:"archive"`            // null = the topic holds all of it
	Spare        string            `json:"archive_not_needed"` // folder of an archive that was given nevertheless
}

// spendPartition is what was read of one partition of the topic.
type spendPartition struct {
	Partition int        `json:"partition"`
	HeldFrom  *time.Time `json:"held_from"`  // append time since which it holds all; null = its beginning
	LostUntil *time.Time `json:"lost_until"` // about the append time of the last row before that, if the topic should still hold it
	First     *time.Time `json:"first"`      // append time of the first frame that was read; null = none was
	Last      *time.Time `json:"last"`
	Watermark *time.Time `json:"watermark"` // of the last frame: no event older than this was expected any more
	Rows      int64      `json:"rows"`      // of the period

	log    broker.Log
	end    uint64                    // what is read of it; 0 = nothing
	held   time.Time                 // HeldFrom, zero = the beginning
	closed map[delivery.Source]int64 // last commit of each source in the archive's complete files
}

// spendArchive is what was read of an archive: complete files.
type spendArchive struct {
	Dir   string     `json:"dir"`
	From  *time.Time `json:"from"` // append time since which it holds all; null = the topic's beginning
	Until *time.Time `json:"until"`
	Files int        `json:"files"` // that hold rows of the period
	Rows  int64      `json:"rows"`  // of the period

	files []*files.File // by partition and name
}

// until is how far the commits of a source were appended before a time. Rows of
// a commit that goes on belong to its beginning, as in an archive's files; and
// after the first that is late all are, so that a change never comes without
// the one before it.
type until struct {
	last int64 // commit
	past bool
}

func (u *until) before(h schemas.RowHeader, appendedAt int64, limit time.Time) bool {
	if limit.IsZero() {
		return true
	}
	if !u.past && (appendedAt < limit.UnixMicro() || h.FirstCommit == h.LastCommit && h.LastCommit == u.last && u.last > 0) {
		u.last = h.LastCommit
		return true
	}
	u.past = true
	return false
}

// spendRow is a row of the period, with the time since which it is late.
type spendRow struct {
	*schemas.Enriched
	late bool // appended since the last report
}

// spendReader reads the rows of a period, each once.
type spendReader struct {
	*spendPeriod
	lateFrom time.Time // rows that were appended since are late; zero = none
	broker   broker.Broker
	sources  spendSources
	each     func(spendRow) error
	ended    func() error // of a partition; may be nil
	every    bool         // rows of all kinds, of all time that topic and archive hold: not those of requests of the period
}

// read calls each with every row that tells of the period, in the order of its
// partition, and ended after each partition. A period that neither topic nor
// archive covers is an error that says what is held.
func (r *spendReader) read(ctx context.Context) (*spendSources, error) {
	if err := r.plan(ctx); err != nil {
		return nil, err
	}
	for _, p := range r.sources.Topic {
		if err := r.archived(ctx, p); err != nil {
			return nil, err
		}
		if err := r.partition(ctx, p); err != nil {
			return nil, err
		}
		if r.ended != nil {
			if err := r.ended(); err != nil {
				return nil, err
			}
		}
	}
	return &r.sources, nil
}

// plan looks what the topic holds, and what of it the archive has to give.
func (r *spendReader) plan(ctx context.Context) error {
	b := r.broker
	n, err := b.Partitions(ctx)
	if err != nil {
		return err
	}
	r.sources.Generation = b.Generation()
	if r.sources.Installation, err = b.Installation(ctx); err != nil {
		return err
	}
	needed := r.from.Add(-spendMargin)
	enough, begins := true, time.Time{}
	for partition := range n {
		p := &spendPartition{Partition: partition, log: broker.Log{Topic: broker.Enriched, Partition: partition}}
		if err := r.hold(ctx, p); err != nil {
			return err
		}
		if !p.held.IsZero() {
			p.HeldFrom = &p.held
			enough = enough && !p.held.After(needed)
			if p.held.After(begins) {
				begins = p.held
			}
		}
		r.sources.Topic = append(r.sources.Topic, p)
	}
	var archive *files.Archive
	if r.archive != "" { // a wrong one is told whether it is needed or not
		if archive, err = r.openArchive(); err != nil {
			return err
		}
	}
	switch {
	case enough, r.every && archive == nil:
		r.sources.Spare = r.archive
		return nil
	case archive == nil:
		return fmt.Errorf("cannot tell the facts from %s to %s: rows that were appended since %s are needed, and the topic holds all only since %s%s; give --archive with what is older",
			when(r.from), when(r.to), when(needed), when(begins), r.lost())
	}
	return r.planArchive(archive, needed, begins)
}

// lost says, in an error, that the topic has lost rows by something else than
// age.
func (r *spendReader) lost() string {
	for _, p := range r.sources.Topic {
		if p.LostUntil != nil {
			return fmt.Sprintf(" (partition %d has lost rows that it should have kept, up to those of %s)", p.Partition, when(*p.LostUntil))
		}
	}
	return ""
}

// openArchive opens the archive, which must be of this installation and
// generation.
func (r *spendReader) openArchive() (*files.Archive, error) {
	archive, err := files.OpenArchive(r.archive)
	if err == nil && archive.Installation() != r.sources.Installation {
		err = fmt.Errorf("the archive in %s is of another installation or generation (%s) than the broker (%s, generation %d)",
			r.archive, archive.Installation(), r.sources.Installation, r.sources.Generation)
	}
	return archive, err
}

// planArchive chooses the archive's files, and sees to it that topic and archive
// hold everything between them. Only complete files count: they hold whole
// commits, so that a commit is either theirs or the topic's.
func (r *spendReader) planArchive(archive *files.Archive, needed, begins time.Time) error {
	covers, err := archive.Coverage(broker.Enriched)
	if err != nil {
		return err
	}
	r.sources.Archive = &spendArchive{Dir: r.archive}
	if !covers.From.IsZero() {
		r.sources.Archive.From = &covers.From
	}
	if !covers.Until.IsZero() {
		r.sources.Archive.Until = &covers.Until
	}
	if r.every && needed.Before(covers.From) {
		needed = covers.From
	}
	if covers.Until.IsZero() || needed.Before(covers.From) || needed.After(covers.Until) {
		return fmt.Errorf("cannot tell the facts from %s to %s: rows that were appended since %s are needed; the topic holds all only since %s%s, and the archive in %s %s",
			when(r.from), when(r.to), when(needed), when(begins), r.lost(), r.archive, covers)
	}
	for _, p := range r.sources.Topic {
		p.closed = map[delivery.Source]int64{}
	}
	open := map[int]bool{} // partitions with files that are not complete
	err = archive.Files(broker.Enriched, func(f *files.File) error {
		if f.Partition >= len(r.sources.Topic) {
			return fmt.Errorf("the archive in %s has a partition %d, the topic has %d", r.archive, f.Partition, len(r.sources.Topic))
		}
		hour, err := time.Parse(files.HourLayout, f.Hour)
		if err != nil {
			return fmt.Errorf("the archive in %s names a file of the hour %q", r.archive, f.Hour)
		}
		if !r.asOf.IsZero() && hour.Add(time.Hour).After(r.asOf) {
			return nil // the topic's, or after it
		}
		if _, err := os.Stat(f.Path()); errors.Is(err, fs.ErrNotExist) {
			open[f.Partition] = true
			return nil
		} else if err != nil {
			return err
		}
		for _, c := range f.Commits {
			source := delivery.Source{Processor: c.Processor, Partition: c.Partition, Generation: c.Generation}
			closed := r.sources.Topic[f.Partition].closed
			closed[source] = max(closed[source], c.Last)
		}
		if f.Rows > 0 && f.LastOccurredAt >= r.from.UnixMicro() && f.FirstOccurredAt < r.to.UnixMicro() {
			if r.lateFrom.After(hour) && r.lateFrom.Before(hour.Add(time.Hour)) {
				return fmt.Errorf("the archive tells by the hour when a row was appended: give --last-report %s or %s, not %s", when(hour), when(hour.Add(time.Hour)), when(r.lateFrom))
			}
			r.sources.Archive.files = append(r.sources.Archive.files, f)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range r.sources.Topic {
		if err := r.join(p, covers, open[p.Partition]); err != nil {
			return err
		}
	}
	return nil
}

// join sees to it that nothing lies between the archive's complete files and
// what a partition of the topic holds. Where the partition still holds a frame,
// the frame itself tells when it is read.
func (r *spendReader) join(p *spendPartition, covers files.Coverage, open bool) error {
	if !r.asOf.IsZero() && !open && r.asOf.Equal(r.asOf.Truncate(time.Hour)) && !covers.Until.Before(r.asOf) {
		p.end = 0 // the archive holds all that was appended before
		return nil
	}
	if p.end > 0 || p.held.IsZero() || !open && !covers.Until.Before(p.held) {
		return nil
	}
	return r.gap(p, covers.String())
}

// gap is the error that rows may be held by neither.
func (r *spendReader) gap(p *spendPartition, archive string) error {
	err := fmt.Errorf("cannot tell the facts from %s to %s: partition %d of the topic holds all only since %s, and the archive in %s, in complete files, does not reach so far (%s)",
		when(r.from), when(r.to), p.Partition, when(p.held), r.archive, archive)
	if !r.asOf.IsZero() && !r.asOf.Equal(r.asOf.Truncate(time.Hour)) {
		err = fmt.Errorf("%w; an archive tells by the hour when a row was appended: --as-of %s can be told", err, when(r.asOf.Truncate(time.Hour)))
	}
	return err
}

// archived reads the archive's part of a partition.
func (r *spendReader) archived(ctx context.Context, p *spendPartition) error {
	if r.sources.Archive == nil {
		return nil
	}
	for _, f := range r.sources.Archive.files {
		if f.Partition != p.Partition {
			continue
		}
		hour, err := time.Parse(files.HourLayout, f.Hour)
		if err != nil {
			return err
		}
		r.sources.Archive.Files++
		late := !r.lateFrom.IsZero() && !hour.Before(r.lateFrom)
		if err := f.EachRow(ctx, func(row *delivery.Row) error { return r.row(row.Enriched, late, &r.sources.Archive.Rows) }); err != nil {
			return err
		}
	}
	return nil
}

// partition reads the topic's part of a partition.
func (r *spendReader) partition(ctx context.Context, p *spendPartition) error {
	if p.end == 0 {
		return nil
	}
	after := uint64(0)
	if r.sources.Archive == nil {
		var err error
		if after, err = r.broker.Seek(ctx, p.log, r.from.Add(-spendMargin).UnixMicro()); err != nil {
			return err
		}
		if after >= p.end {
			return nil
		}
	}
	middle := r.sources.Archive == nil && (after > 0 || !p.held.IsZero()) // what was before it is not needed
	var decoder delivery.Decoder
	chain, ends, late := delivery.Chain{}, map[delivery.Source]*until{}, map[delivery.Source]*until{}
	err := delivery.Follow(ctx, r.broker, p.log, after, p.end, func(e delivery.Entry) error {
		if e.Idle {
			return nil
		}
		h, rows, err := decoder.Decode(broker.Enriched, e.Message)
		if err != nil {
			return err
		}
		source := delivery.Source{Processor: h.Processor, Partition: h.SourcePartition, Generation: h.Generation}
		if h.LastCommit <= p.closed[source] && h.LastCommit > 0 {
			return nil // the archive has told them
		}
		if ends[source] == nil {
			if !middle && h.PreviousCommit > p.closed[source] {
				return r.gap(p, fmt.Sprintf("its last commit of %s/%d is %d, the topic goes on after %d", h.Processor, h.SourcePartition, p.closed[source], h.PreviousCommit))
			}
			ends[source], late[source] = &until{}, &until{}
			chain.Middle = true
		}
		checksum := delivery.Checksum(e.Payload)
		if next, err := chain.Follows(h, checksum); err != nil || !next {
			return err
		}
		chain.Note(h, checksum)
		if !ends[source].before(h, e.AppendedAt, r.asOf) {
			return nil
		}
		at, reached := time.UnixMicro(e.AppendedAt).UTC(), time.UnixMicro(h.Watermark).UTC()
		p.First, p.Last = cmp.Or(p.First, &at), &at
		if h.Watermark > 0 && (p.Watermark == nil || reached.After(*p.Watermark)) {
			p.Watermark = &reached
		}
		isLate := !r.lateFrom.IsZero() && !late[source].before(h, e.AppendedAt, r.lateFrom)
		for i := range rows {
			if err := r.row(rows[i].Enriched, isLate, &p.Rows); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", p.log, err)
	}
	return nil
}

// row hands a row of the period on.
func (r *spendReader) row(row *schemas.Enriched, late bool, count *int64) error {
	if row.Generation != r.sources.Generation {
		return fmt.Errorf("the row of fact %s is of generation %d, and this is generation %d: two are never added", row.FactKey, row.Generation, r.sources.Generation)
	}
	if !r.every && (row.Kind != schemas.KindModelRequest || !r.holds(row.OccurredAt)) {
		return nil
	}
	*count++
	return r.each(spendRow{row, late})
}
