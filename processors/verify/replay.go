package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// replay is check A on one partition.
type replay struct {
	*engine.Replay
	from  int64 // commit that the snapshot stands at, 0 = nothing
	exact bool  // the state is that of the commit before
}

// again folds a commit again, if its input is the one that was folded; else it
// is taken as it is.
func (p *partition) again(ctx context.Context, c *schemas.Commit, same bool) error {
	if p.previous == nil && len(p.Folds) > 0 {
		if err := p.begin(ctx, c); err != nil {
			return fmt.Errorf("check A: %w", err)
		}
	}
	r := p.replay
	if r == nil || c.CommitNumber <= r.from {
		return nil
	}
	if !p.whole(c) {
		p.note("nothing is folded again from commit %d on: state records of it were compacted away", c.CommitNumber)
		p.replay = nil
		return nil
	}
	keep(c)
	if !r.exact && !names(c, r.from) {
		// A snapshot is taken between commits: up to the one that names it, their
		// deltas belong on top of it.
		return r.Start(ctx, c)
	}
	r.exact = true
	if p.found.ReplayedFrom == 0 {
		p.found.ReplayedFrom = c.CommitNumber
	}
	fold := p.Folds[c.Versions.Fold]
	if fold == nil || !same {
		p.found.Taken++
		return r.Start(ctx, c)
	}
	err := r.Next(ctx, c, fold)
	switch {
	case err == nil:
		p.found.Replayed++
		return nil
	case errors.Is(err, engine.ErrDiffers):
		p.found.Replayed++
		p.doubt(Replay, c.CommitNumber, "%v", err)
		return nil
	case errors.Is(err, broker.ErrLost): // what it reloaded has aged out
		p.found.Taken++
		return r.Start(ctx, c)
	case ctx.Err() != nil, errors.Is(err, broker.ErrRetry), errors.Is(err, broker.ErrUnknown), errors.Is(err, broker.ErrClosed):
		return fmt.Errorf("check A: %w", err)
	}
	p.doubt(Replay, c.CommitNumber, "it cannot be folded again, nor what comes after it: %v", err)
	p.replay = nil
	return nil
}

// keep makes the state records of a commit independent of its memory.
func keep(c *schemas.Commit) {
	for i := range c.Delta {
		c.Delta[i].Value = bytes.Clone(c.Delta[i].Value)
	}
}

// names tells that a commit names the snapshot that stands at another one.
func names(c *schemas.Commit, at int64) bool {
	return slices.ContainsFunc(c.Snapshots, func(s schemas.Snapshot) bool { return s.CommitNumber == at })
}

// begin prepares check A: before the first commit, or else behind the newest
// snapshot. That one is read as a new owner does, without a commit.
func (p *partition) begin(ctx context.Context, c *schemas.Commit) error {
	newest := p.Folds[slices.Max(slices.Collect(maps.Keys(p.Folds)))]
	made, err := engine.NewReplay(p.broker, newest, p.number)
	if err != nil {
		return err
	}
	r := &replay{Replay: made, exact: c.CommitNumber == 1}
	if r.exact {
		p.replay = r
		return nil
	}
	if !p.snapshots {
		p.note("nothing was folded again: neither the first commit nor a snapshot is there")
		return nil
	}
	owner, err := p.broker.Acquire(ctx, p.Processor, p.number, "verify")
	if err != nil {
		return p.unreplayed(err)
	}
	var tail *schemas.Commit
	err = owner.Restore(ctx, func(part *schemas.Commit) error {
		if r.from == 0 {
			r.from = part.CommitNumber
		}
		if tail = part; part.CommitNumber > r.from {
			return nil
		}
		keep(part)
		return r.Start(ctx, part)
	})
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = errors.Join(err, owner.Release(limited))
	switch {
	case err != nil:
		return p.unreplayed(err)
	case tail == nil || !names(tail, r.from):
		p.note("nothing was folded again: no snapshot is whole")
		return nil
	}
	p.replay = r
	return nil
}

// unreplayed tells why there is no check A on a partition.
func (p *partition) unreplayed(err error) error {
	switch {
	case errors.Is(err, broker.ErrLost):
		p.wrong(Chain, p.found.FirstCommit, "the partition cannot be restored: %v", err)
	case errors.Is(err, broker.ErrFenced), errors.Is(err, broker.ErrUnknown), errors.Is(err, broker.ErrRetry):
		p.note("nothing was folded again: %v", err)
	default:
		return err
	}
	return nil
}
