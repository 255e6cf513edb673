package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/schemas"
)

// hold finds since when a partition of the topic holds everything: rows leave it
// by age, the oldest first. Where the processor's log still tells that a commit
// with rows is younger than that, rows were lost in another way, and the topic
// holds everything only since its first frame.
func (r *spendReader) hold(ctx context.Context, p *spendPartition) (err error) {
	if p.end, err = r.broker.End(ctx, p.log); err != nil {
		return err
	}
	var kept time.Duration
	if k, ok := r.broker.(keeper); ok {
		if kept, err = k.Kept(ctx, broker.Enriched); err != nil {
			return err
		}
	}
	aged := r.now.Add(-kept).UTC()
	lost := func(said, held time.Time) bool {
		if said.IsZero() || kept > 0 && !said.After(aged) {
			return false
		}
		p.LostUntil, p.held = &said, held
		return true
	}
	if p.end == 0 {
		said, err := r.said(ctx, p)
		if err != nil {
			return err
		}
		if lost(said, r.now.UTC()) {
			return r.came(ctx, p)
		}
		began, err := r.began(ctx, p.Partition)
		if err != nil || kept == 0 || began.IsZero() || began.After(aged) {
			return err
		}
		p.held = aged
		return nil
	}
	m, err := following(ctx, r.broker, p.log, 0)
	if err != nil {
		return err
	}
	h, err := broker.RowsHeader(broker.Enriched, m.Payload)
	if err != nil || h.PreviousCommit == 0 {
		return err
	}
	p.held = time.UnixMicro(m.AppendedAt).UTC()
	if kept == 0 || !aged.Before(p.held) {
		return nil
	}
	said, err := r.lastCommit(ctx, h.Processor, int(h.SourcePartition), h.PreviousCommit, func(*schemas.Commit) bool { return true })
	if err == nil && !lost(said, p.held) {
		p.held = aged
	}
	return err
}

// came looks whether rows have come since the partition was empty: then it has
// lost none.
func (r *spendReader) came(ctx context.Context, p *spendPartition) (err error) {
	if p.end, err = r.broker.End(ctx, p.log); err == nil && p.end > 0 {
		p.held, p.LostUntil = time.Time{}, nil
		return r.hold(ctx, p)
	}
	return err
}

// routingTime is longer than rows take from a commit to their topic.
const routingTime = 10 * time.Minute

// said is when a processor committed rows that are in a partition of the topic,
// or were, for the last time; zero if its log does not tell. Kafka's does not.
func (r *spendReader) said(ctx context.Context, p *spendPartition) (time.Time, error) {
	processor := sessions.New().Name()
	newest, err := r.broker.LastCommit(ctx, processor, p.Partition)
	if err != nil || newest == nil {
		return time.Time{}, err
	}
	return r.lastCommit(ctx, processor, p.Partition, newest.CommitNumber, func(c *schemas.Commit) bool {
		routed := c.CommitNumber <= newest.Routed || time.UnixMicro(c.Now).Before(r.now.Add(-routingTime))
		return routed && slices.ContainsFunc(c.Outputs, func(o schemas.Output) bool { return o.Topic == broker.Enriched && o.Partition == int64(p.Partition) })
	})
}

// lastCommit is the time of the last commit up to a number that is one of those
// asked for, as far as the processor's log still tells; zero if there is none.
func (r *spendReader) lastCommit(ctx context.Context, processor string, partition int, upTo int64, asked func(*schemas.Commit) bool) (last time.Time, err error) {
	passed := errors.New("passed")
	err = r.broker.History(ctx, processor, partition, func(c *schemas.Commit) error {
		if c.CommitNumber > upTo {
			return passed
		}
		if asked(c) {
			last = time.UnixMicro(c.Now).UTC()
		}
		return nil
	})
	if errors.Is(err, passed) {
		err = nil
	}
	return last, err
}

// began is when a processor committed for a partition for the first time, as
// far as its log tells; zero if it never did.
func (r *spendReader) began(ctx context.Context, partition int) (time.Time, error) {
	var first time.Time
	seen := errors.New("seen")
	err := r.broker.History(ctx, sessions.New().Name(), partition, func(c *schemas.Commit) error {
		if first = time.UnixMicro(c.Now); c.CommitNumber > 1 { // those before were purged
			first = time.UnixMicro(0)
		}
		return seen
	})
	if errors.Is(err, seen) {
		err = nil
	}
	return first, err
}
