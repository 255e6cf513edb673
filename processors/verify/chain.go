package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// place is a place in a lane: message is the last one that was begun; with
// index 0 it is folded to its end, else index is the next record in it.
type place struct{ message, index int64 }

// before tells that a place comes before another one.
func (a place) before(b place) bool {
	if a.message != b.message {
		return a.message < b.message
	}
	return a.index != 0 && (b.index == 0 || a.index < b.index)
}

func (a place) String() string { return fmt.Sprintf("%d/%d", a.message, a.index) }

func first(s *schemas.Slice) place { return place{s.FirstMessage, s.FirstIndex} }
func next(s *schemas.Slice) place  { return place{s.NextMessage, s.NextIndex} }

// end is the place in a lane that a commit goes on from; the start without one.
func end(c *schemas.Commit, lane schemas.Lane) place {
	if c != nil {
		for i := range c.Slices {
			if c.Slices[i].Lane == lane {
				return next(&c.Slices[i])
			}
		}
	}
	return place{}
}

// chain verifies that a commit follows the one before.
func (p *partition) chain(ctx context.Context, c *schemas.Commit) error {
	n := c.CommitNumber
	if c.Processor != p.Processor || c.Partition != int64(p.number) || c.Generation != p.report.Generation {
		p.wrong(Chain, n, "it is of %s/%d in generation %d", c.Processor, c.Partition, c.Generation)
	}
	sum, counts := &p.found.Counts, &c.Counts
	if counts.In != counts.Applied+counts.Duplicate+counts.Dead+counts.Passed {
		p.wrong(Counts, n, "in %d is not applied %d + duplicate %d + dead %d + passed %d", counts.In, counts.Applied, counts.Duplicate, counts.Dead, counts.Passed)
	}
	sum.In += counts.In
	sum.Applied += counts.Applied
	sum.Duplicate += counts.Duplicate
	sum.Dead += counts.Dead
	sum.Passed += counts.Passed
	p.found.LastCommit, p.found.Versions = n, c.Versions

	last := p.previous
	if last == nil {
		p.found.FirstCommit, p.found.Epochs = n, 1
		if n > 1 {
			return nil
		}
		last = &schemas.Commit{Owner: c.Owner} // what the first one follows
	}
	if p.compacted = n > last.CommitNumber+1 && len(c.Outputs) == 0 && !p.fits(c); p.compacted {
		p.note("commits %d to %d were compacted away", last.CommitNumber+1, n-1)
		p.found.FirstCommit, p.fitted = n, false
		return nil
	}
	if n > last.CommitNumber+1 {
		if purged, err := p.purged(ctx, n); err != nil || purged {
			return cmp.Or(err, errPurged)
		}
	}
	// A broken chain is one violation: what it names says how.
	if err := broker.Follows(&schemas.Commit{CommitNumber: last.CommitNumber, Hash: last.Hash, Epoch: last.Epoch}, c); err != nil {
		p.wrong(Chain, n, "the chain is broken: %v", err)
	}
	switch {
	case c.Epoch == last.Epoch && c.Owner != last.Owner:
		p.wrong(Chain, n, "epoch %d has two owners: %q and %q", c.Epoch, last.Owner, c.Owner)
	case c.Epoch != last.Epoch && p.previous != nil:
		p.found.Epochs++
		p.fitted = false // another worker, perhaps of another release
	}
	if c.Now < last.Now {
		p.wrong(Chain, n, "now goes back by %d µs", last.Now-c.Now)
	}
	if c.Watermark < last.Watermark {
		p.wrong(Chain, n, "the watermark goes back by %d µs", last.Watermark-c.Watermark)
	}
	if v, w := last.Versions, c.Versions; w.Fold < v.Fold || w.Rules < v.Rules || w.Prices < v.Prices || w.Directory < v.Directory {
		p.wrong(Chain, n, "versions go back: %+v after %+v", w, v)
	}
	for i := range c.Slices {
		p.follows(c, last, &c.Slices[i])
	}
	return nil
}

// follows verifies that a slice begins where the commit before has ended.
func (p *partition) follows(c, last *schemas.Commit, s *schemas.Slice) {
	end, at := end(last, s.Lane), first(s)
	switch {
	case at.before(end):
		p.found.Rewinds++
		p.doubtful = violations{}
		p.note("commit %d folds the lane %s again from %v on, after %v", c.CommitNumber, s.Lane, at, end)
	case at != end:
		p.wrong(Chain, c.CommitNumber, "it begins at %v of the lane %s, the commit before has ended at %v", at, s.Lane, end)
	}
	if next(s).before(at) {
		p.wrong(Chain, c.CommitNumber, "its slice of the lane %s ends at %v before it begins at %v", s.Lane, next(s), at)
	}
}

// purged tells that the log does not hold what was before a commit any more.
func (p *partition) purged(ctx context.Context, number int64) (bool, error) {
	oldest, enough := int64(0), errors.New("enough")
	err := p.broker.History(ctx, p.Processor, p.number, func(c *schemas.Commit) error {
		oldest = c.CommitNumber
		return enough
	})
	if err != nil && !errors.Is(err, enough) && !errors.Is(err, broker.ErrLost) {
		return false, err
	}
	return oldest >= number, nil
}
