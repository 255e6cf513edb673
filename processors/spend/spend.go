// Package spend adds up what model requests cost: the signed rows of enriched by
// dimension (Ledger), the proof that such sums are right (Audit), what came
// after a report (Late), and what other witnesses say the same work cost
// (Rows.Compare). It is a pure rule: no clock, no I/O.
//
// Sums are whole numbers, and an overflow is an error. Kinds of money are never
// added: every cell names its billing (list prices for api, cloud and unknown,
// notional ones for subscriptions), and what has no price bears the grade
// unpriced in a cell of its own, so that it never counts as zero in an average.
package spend

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// ErrTooMany: the sums have more cells than the ledger may hold.
var ErrTooMany = errors.New("too many groups")

// Ledger holds the signed sums of model requests by some dimensions, billing and
// grade. A row that is taken back leaves no trace, so memory grows with the
// cells that stand and not with rows. Each row_id must be added once. Not safe
// for concurrent use.
type Ledger struct {
	by    []Dimension
	limit int // cells
	cells map[string]*Cell
	key   []byte
}

// Cell is the sums of the requests that have the same values, billing and grade.
type Cell struct {
	Values  []string // of the ledger's dimensions, in their order, as Dimension.Of gives them
	Billing schemas.Billing
	Grade   schemas.CostGrade
	Measures
}

// NewLedger makes a ledger of at most limit cells; by no dimension it holds the
// totals.
func NewLedger(limit int, by ...Dimension) *Ledger {
	return &Ledger{by: by, limit: limit, cells: map[string]*Cell{}}
}

// By is what it sums by.
func (l *Ledger) By() []Dimension { return l.by }

// Add adds a row by its sign. Rows of other kinds than model_request bear no
// money and are passed over. After an error the ledger is as it was.
func (l *Ledger) Add(r *schemas.Enriched) error {
	if r.Kind != schemas.KindModelRequest {
		return nil
	}
	m, err := Of(r)
	if err != nil {
		return err
	}
	values := make([]string, 0, 4)
	for _, d := range l.by {
		values = append(values, d.Of(r))
	}
	return l.add(values, r.Billing, r.CostGrade, m)
}

// add adds measures to a cell. It keeps no slice of the caller.
func (l *Ledger) add(values []string, billing schemas.Billing, grade schemas.CostGrade, m Measures) error {
	l.key = appendKey(l.key[:0], values, billing, grade)
	c := l.cells[string(l.key)]
	if c == nil {
		if len(l.cells) >= l.limit {
			return fmt.Errorf("cannot sum by %v: more than %d cells: %w", l.by, l.limit, ErrTooMany)
		}
		c = &Cell{Values: slices.Clone(values), Billing: billing, Grade: grade}
		l.cells[string(l.key)] = c
	}
	err := c.Measures.Add(m)
	if c.Measures == (Measures{}) {
		delete(l.cells, string(l.key))
	}
	return err
}

// Cells are those that stand, the dearest first, then by values, billing and
// grade.
func (l *Ledger) Cells() []Cell {
	cells := make([]Cell, 0, len(l.cells))
	for _, c := range l.cells {
		cells = append(cells, *c)
	}
	slices.SortFunc(cells, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(b.Measures[CostNanoUsd], a.Measures[CostNanoUsd]), slices.Compare(a.Values, b.Values),
			cmp.Compare(a.Billing, b.Billing), cmp.Compare(a.Grade, b.Grade))
	})
	return cells
}

// Fold sums by some of the ledger's own dimensions; another one is an error.
func (l *Ledger) Fold(by ...Dimension) (*Ledger, error) {
	at := make([]int, len(by))
	for i, d := range by {
		if at[i] = slices.Index(l.by, d); at[i] < 0 {
			return nil, fmt.Errorf("cannot fold sums to %s: they are by %v", d, l.by)
		}
	}
	folded, values := NewLedger(l.limit, by...), make([]string, len(by))
	for _, c := range l.cells {
		for i := range by {
			values[i] = c.Values[at[i]]
		}
		if err := folded.add(values, c.Billing, c.Grade, c.Measures); err != nil {
			return nil, err
		}
	}
	return folded, nil
}

// Faults names the cells that no whole facts come to: fewer than no requests, or
// a sum without a request. Rows are missing then, or are wrong.
func (l *Ledger) Faults() (faults []string) {
	for _, c := range l.Cells() {
		switch {
		case c.Measures[Requests] < 0:
			faults = append(faults, fmt.Sprintf("%s: %d requests", c.name(l.by), c.Measures[Requests]))
		case c.Measures[Requests] == 0:
			faults = append(faults, fmt.Sprintf("%s: %s without a request", c.name(l.by), c.Measures.difference(Measures{})))
		}
	}
	return faults
}

// differs names a cell that two ledgers by the same dimensions do not have
// alike; "" = there is none.
func (l *Ledger) differs(o *Ledger) string {
	first, says := "", ""
	for _, pass := range [...][2]*Ledger{{l, o}, {o, l}} {
		for key, c := range pass[0].cells {
			if mine, others := l.at(key), o.at(key); mine != others && (says == "" || key < first) {
				first, says = key, fmt.Sprintf("%s: %s", c.name(l.by), mine.difference(others))
			}
		}
	}
	return says
}

func (l *Ledger) at(key string) Measures {
	if c := l.cells[key]; c != nil {
		return c.Measures
	}
	return Measures{}
}

// appendKey writes what names a cell.
func appendKey(key []byte, values []string, billing schemas.Billing, grade schemas.CostGrade) []byte {
	key = append(key, byte(billing), byte(grade))
	for _, v := range values {
		key = append(binary.AppendUvarint(key, uint64(len(v))), v...)
	}
	return key
}

// name says which cell it is.
func (c *Cell) name(by []Dimension) string {
	name := ""
	for i, d := range by {
		name += fmt.Sprintf("%s %q, ", d, d.Label(c.Values[i]))
	}
	return name + fmt.Sprintf("billing %s, grade %s", c.Billing, c.Grade)
}
