package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Replay folds again what the commits of a partition say they have folded, and
// compares: determinism is relative to the schedule in the log (check A of
// DESIGN §5). It needs the input, the topic closed and the topic config as far
// as the commits reach back; it writes nothing.
type Replay struct {
	p     *partition
	epoch int64
}

// ErrDiffers: a commit is not what its slices fold to.
var ErrDiffers = errors.New("the replay differs")

// NewReplay makes a replay that stands before the first commit of a partition.
func NewReplay(b broker.Broker, processor Processor, partition int) (*Replay, error) {
	cfg := Config{Broker: b, Processor: processor, Owner: "replay",
		Watchdog: math.MaxInt64, Logger: slog.New(slog.DiscardHandler)} // what panicked, panics again
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	return &Replay{p: newPartition(cfg, partition)}, nil
}

// Start puts the replay behind what a restore gives: snapshots, or commits that
// are taken as they are.
func (r *Replay) Start(ctx context.Context, c *schemas.Commit) error {
	r.p.follow(c)
	r.epoch = c.Epoch
	return r.head(ctx)
}

// head reads the engine's own record after the state was moved from outside.
func (r *Replay) head(ctx context.Context) (err error) {
	if r.p.cfg.partitions, err = r.p.cfg.Broker.Partitions(ctx); err != nil {
		return err
	}
	if err := r.p.head.decode(r.p.state.records[headKey].value); err != nil {
		return err
	}
	for _, v := range r.p.head.versions {
		if err := r.p.configs.load(ctx, v.kind, v.version, ""); err != nil {
			return err
		}
	}
	return nil
}

// Next folds the slices of the commit that comes next. It returns an error that
// wraps ErrDiffers, with what differs, if the commit is not what they fold to;
// the state then is the one that the commit says. Rows and state are compared
// byte by byte; by is the processor with the fold that wrote the commit.
//
// The hash is compared, so that outputs need not be given (on Kafka they stand
// in their topics only).
func (r *Replay) Next(ctx context.Context, c *schemas.Commit, by Processor) error {
	p := r.p
	if p.cfg.partitions == 0 {
		if err := r.head(ctx); err != nil {
			return err
		}
	}
	p.cfg.Processor = by
	claimed := c.Epoch != r.epoch
	r.epoch = c.Epoch
	p.gone = nil
	var again *schemas.Commit
	var differs string
	for {
		s, err := r.fold(ctx, c, claimed)
		if err != nil {
			return err
		}
		if s == nil { // the engine's own: a claim, a mark, a parking
			p.follow(c)
			return r.head(ctx)
		}
		p.owner = replaying{c.Epoch}
		p.cfg.Owner, p.cfg.generation = c.Owner, c.Generation
		again = p.record(s)
		again.Slices = c.Slices
		again.Routed, again.Snapshots = c.Routed, c.Snapshots
		broker.AppendCommit(nil, again, c.PreviousHash)
		differs = difference(c, again, again.Hash != c.Hash)
		if differs == "" || s.awaited == nil {
			break
		}
		p.miss(s.awaited.id) // or it was told that the archive was gone
	}
	if differs == "" {
		p.state.apply(again.Delta) // whole also where the log has compacted it
	} else {
		p.state.apply(c.Delta)
	}
	p.follow(&schemas.Commit{Slices: c.Slices, Now: c.Now, CommitNumber: c.CommitNumber})
	if err := r.head(ctx); err != nil {
		return err
	}
	if differs != "" {
		return fmt.Errorf("commit %d: %w: %s", c.CommitNumber, ErrDiffers, differs)
	}
	return nil
}

// fold makes the slice that a commit was made of; nil where the engine made it
// of nothing.
func (r *Replay) fold(ctx context.Context, c *schemas.Commit, claimed bool) (*slice, error) {
	p := r.p
	p.badDue, p.suspects = nil, 0
	for _, l := range p.lanes {
		l.queue, l.waiting, l.bytes = nil, 0, 0
	}
	if len(c.Reloads) > 0 {
		return r.reload(ctx, c)
	}
	own := len(c.Delta) == 1 && string(c.Delta[0].Key) == headKey
	if c.Counts.In == 0 && (claimed || own) {
		return nil, nil
	}
	for i := range c.Slices {
		for _, l := range p.lanes {
			if l.log.Lane == c.Slices[i].Lane && c.Counts.In > 0 {
				if err := r.read(ctx, l, &c.Slices[i]); err != nil {
					return nil, fmt.Errorf("commit %d: %w", c.CommitNumber, err)
				}
			}
		}
	}
	if c.Counts.In == 0 {
		p.now = c.Now // that of a message that was not folded yet
	}
	for {
		s := p.slice(max(1, c.Counts.In))
		if s.recall == nil {
			return s, nil
		}
		// A record that the slice holds was folded without its archive: it was gone.
		p.miss(s.recall.id)
	}
}

// read queues the messages of a slice of a lane.
func (r *Replay) read(ctx context.Context, l *lane, s *schemas.Slice) error {
	first, next := place{s.FirstMessage, s.FirstIndex}, place{s.NextMessage, s.NextIndex}
	if first == next {
		return nil
	}
	l.next = first // it may have been rewound
	after := uint64(first.message)
	if first.index > 0 {
		after--
	}
	reader, err := r.p.cfg.Broker.Read(ctx, l.log, after)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if int64(m.Position) > next.message {
			return fmt.Errorf("the input has no message at %d, which was folded: %w", next.message, ErrDiffers)
		}
		if err := r.p.push(ctx, l, m, true); err != nil {
			return err
		}
		if int64(m.Position) == next.message {
			if s.Identity != 0 && identityOf(m.Payload, m.AppendedAt) != s.Identity {
				return fmt.Errorf("the input has another message at %d than was folded: %w", next.message, ErrDiffers)
			}
			return nil
		}
	}
}

// reload makes the slice of a commit that brought an archive back.
func (r *Replay) reload(ctx context.Context, c *schemas.Commit) (*slice, error) {
	want := &c.Reloads[0]
	log := broker.Log{Topic: broker.Closed, Partition: r.p.number}
	reader, err := r.p.cfg.Broker.Read(ctx, log, uint64(want.Position-1))
	if err != nil {
		return nil, fmt.Errorf("commit %d: cannot read what it reloaded: %w", c.CommitNumber, err)
	}
	defer reader.Close()
	m, err := reader.Next(ctx)
	if err != nil {
		return nil, fmt.Errorf("commit %d: cannot read what it reloaded: %w", c.CommitNumber, err)
	}
	var frame schemas.ClosedFrame
	if err := frame.DecodeMessage(m.Payload); err != nil {
		return nil, err
	}
	if int64(m.Position) != want.Position || want.Index >= int64(len(frame.Rows)) {
		return nil, fmt.Errorf("commit %d: %w: it reloaded position %d of %s, which is not there", c.CommitNumber, ErrDiffers, want.Position, log.Topic)
	}
	a := readPart(&frame.Rows[want.Index], m.Position, int(want.Index))
	if sha256.Sum256(a.row.AppendAvro(nil)) != want.Hash {
		return nil, fmt.Errorf("commit %d: %w: it reloaded another record", c.CommitNumber, ErrDiffers)
	}
	st, ok := r.p.empty().tx.stubOf(schemas.Id(a.row.Key))
	return r.p.reloaded(&a, ok && a.row.Part+1 == int64(st.parts)), nil
}

// difference says how two commits of the same slices differ, "" if they do not:
// in what they say of themselves, and in their contents if their hashes do.
func difference(want, got *schemas.Commit, contents bool) string {
	for _, d := range []struct {
		what      string
		want, got any
	}{
		{"now", want.Now, got.Now}, {"watermark", want.Watermark, got.Watermark}, {"more", want.More, got.More},
		{"counts", want.Counts, got.Counts}, {"versions", want.Versions, got.Versions},
	} {
		if d.want != d.got {
			return fmt.Sprintf("%s is %+v, folded again %+v", d.what, d.want, d.got)
		}
	}
	if !contents {
		return ""
	}
	for i := range max(len(want.Delta), len(got.Delta)) {
		if i >= len(want.Delta) || i >= len(got.Delta) || !bytes.Equal(want.Delta[i].Key, got.Delta[i].Key) ||
			!bytes.Equal(want.Delta[i].Value, got.Delta[i].Value) || want.Delta[i].Due != got.Delta[i].Due {
			return fmt.Sprintf("state record %d of %d, folded again of %d", i, len(want.Delta), len(got.Delta))
		}
	}
	for i := range max(len(want.Outputs), len(got.Outputs)) {
		if len(want.Outputs) == 0 {
			break
		}
		if i >= len(want.Outputs) || i >= len(got.Outputs) || !slices.EqualFunc(want.Outputs[i].Rows, got.Outputs[i].Rows, bytes.Equal) {
			return fmt.Sprintf("output %d of %d, folded again of %d", i, len(want.Outputs), len(got.Outputs))
		}
	}
	return "its hash"
}

// replaying is the owner that a commit names.
type replaying struct{ epoch int64 }

func (r replaying) Epoch() int64                                             { return r.epoch }
func (replaying) Restore(context.Context, func(*schemas.Commit) error) error { return errNowhere }
func (replaying) Commit(context.Context, *schemas.Commit) error              { return errNowhere }
func (replaying) SnapshotDue() bool                                          { return false }
func (replaying) Snapshot(context.Context, []schemas.Change, bool) error     { return errNowhere }
func (replaying) Flush(context.Context) error                                { return nil }
func (replaying) Release(context.Context) error                              { return nil }
