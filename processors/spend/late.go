package spend

import (
	"maps"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Late is what came after a report: rows that were appended later, by what they
// did to its sums. The changes of all four together are the sum of the rows.
// Each row_id is added once, in the order of its partition. Memory grows with
// what was taken back and not said again.
type Late struct {
	New       Change // facts that were not known yet: version 1
	Corrected Change // facts that were said anew for any other reason, or again
	Restated  Change // facts that later prices or directory said anew: their restatement is another one
	Withdrawn Change // facts that were taken back, or moved out of what is summed
	reasons   map[string]int64
	taken     map[schemas.Id]schemas.Enriched
}

// Change is what some rows did to the sums.
type Change struct {
	Count int64 // versions said, or facts taken back
	sum   *Ledger
}

// NewLate makes one.
func NewLate() *Late {
	l := &Late{reasons: map[string]int64{}, taken: map[schemas.Id]schemas.Enriched{}}
	for _, c := range l.all() {
		c.sum = NewLedger(1000) // billings times grades
	}
	return l
}

func (l *Late) all() []*Change { return []*Change{&l.New, &l.Corrected, &l.Restated, &l.Withdrawn} }

// Add takes a row into the account. Rows of other kinds than model_request are
// passed over.
func (l *Late) Add(r *schemas.Enriched) error {
	if r.Kind != schemas.KindModelRequest {
		return nil
	}
	old, replaced := l.taken[r.FactKey]
	if r.Sign < 0 {
		if replaced { // was taken back before, and said again where nobody looked
			if err := l.Withdrawn.add(&old); err != nil {
				return err
			}
			l.Withdrawn.Count++
		}
		l.taken[r.FactKey] = *r
		return nil
	}
	change := &l.Corrected
	switch {
	case !replaced && r.Version == 1:
		change = &l.New
	case replaced && r.Restatement != old.Restatement: // unchanged, it is the reason of an earlier version
		change = &l.Restated
		l.reasons[r.Restatement]++
	}
	change.Count++
	if replaced {
		delete(l.taken, r.FactKey)
		if err := change.add(&old); err != nil {
			return err
		}
	}
	return change.add(r)
}

// End takes what was not said again into the account, after the last row.
func (l *Late) End() error {
	for _, old := range l.taken {
		if err := l.Withdrawn.add(&old); err != nil {
			return err
		}
		l.Withdrawn.Count++
	}
	clear(l.taken)
	return nil
}

// Reasons are those of restatements, sorted, with how often each was given.
func (l *Late) Reasons() (reasons []Reason) {
	for _, text := range slices.Sorted(maps.Keys(l.reasons)) {
		reasons = append(reasons, Reason{text, l.reasons[text]})
	}
	return reasons
}

// Reason is why facts were restated, as the column restatement has it; empty
// where an earlier restatement does not hold any more.
type Reason struct {
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

func (c *Change) add(r *schemas.Enriched) error { return c.sum.Add(r) }

// By are the changes of the sums by billing and grade.
func (c *Change) By() []Cell { return c.sum.Cells() }
