package spend

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// maxFaults are kept in words; the others are counted.
const maxFaults = 100

// Audit proves sums: by every pair of some dimensions, the cells folded by
// either of the two are that dimension's own sums, which are the total; and the
// state of every fact, without any sign, sums up to the same cells. A fact's
// state is the +1 row of its highest version, none if that has only a -1 row.
//
// Facts of one partition are held at a time, beside the cells. Rows come in the
// order of their partition, those of one partition without others between. Not
// safe for concurrent use.
type Audit struct {
	by     []Dimension
	sums   []*sums // total, each dimension, each pair
	facts  map[schemas.Id]*standing
	texts  map[string]string
	rows   int64
	states int64 // facts that stand
	faults []string
	count  int64
}

// sums are the same cells by two ways.
type sums struct{ signed, stated *Ledger }

// standing is where a fact stands.
type standing struct {
	version int64
	stands  bool // or was taken back
	says    [32]byte
	values  []string
	billing schemas.Billing
	grade   schemas.CostGrade
	Measures
}

// NewAudit makes one whose every sum has at most limit cells.
func NewAudit(limit int, by ...Dimension) *Audit {
	a := &Audit{by: by, facts: map[schemas.Id]*standing{}, texts: map[string]string{}}
	add := func(by ...Dimension) {
		a.sums = append(a.sums, &sums{NewLedger(limit, by...), NewLedger(limit, by...)})
	}
	add()
	for _, d := range by {
		add(d)
	}
	for i, d := range by {
		for _, o := range by[i+1:] {
			add(d, o)
		}
	}
	return a
}

// Add takes a row into the account. Rows of other kinds than model_request are
// passed over. An error is one of the sums, not a fault of the rows.
func (a *Audit) Add(r *schemas.Enriched) error {
	if r.Kind != schemas.KindModelRequest {
		return nil
	}
	m, err := Of(r)
	if err != nil {
		return err
	}
	a.rows++
	now := &standing{version: r.Version, stands: r.Sign > 0, says: saying(r), billing: r.Billing, grade: r.CostGrade, Measures: m}
	for _, d := range a.by {
		now.values = append(now.values, a.once(d.Of(r)))
	}
	if broken := a.follows(r, now); broken != "" {
		a.fault("the row of fact %s (session %s), version %d, sign %+d, %s", r.FactKey, r.SessionId, r.Version, r.Sign, broken)
	}
	if priced := r.CostGrade > schemas.CostGradeUnknown && r.CostGrade != schemas.CostGradeUnpriced; priced != r.CostNanoUsd.Valid {
		a.fault("the row of fact %s, version %d, sign %+d, has the grade %s, and a cost: %t", r.FactKey, r.Version, r.Sign, r.CostGrade, r.CostNanoUsd.Valid)
	}
	a.facts[r.FactKey] = now
	return a.each(now, func(s *sums) *Ledger { return s.signed })
}

// follows tells which rule of signed rows a row breaks after those before it;
// "" = none.
func (a *Audit) follows(r *schemas.Enriched, now *standing) string {
	before := a.facts[r.FactKey]
	switch {
	case r.Sign > 0 && before != nil && before.stands:
		return fmt.Sprintf("is said over version %d, which stands", before.version)
	case r.Sign > 0 && before != nil && r.Version < before.version, r.Sign < 0 && before != nil && r.Version <= before.version:
		return fmt.Sprintf("comes after version %d", before.version)
	case r.Sign < 0 && (before == nil || !before.stands):
		return "takes a row back, and none stands"
	case r.Sign < 0 && now.says != before.says:
		return fmt.Sprintf("takes back another row than version %d has said: %s", before.version, a.unlike(before, now))
	}
	return ""
}

// unlike says how a retraction is not the row that it takes back.
func (a *Audit) unlike(said, taken *standing) string {
	for i, d := range a.by {
		if said.values[i] != taken.values[i] {
			return fmt.Sprintf("%s is %q and not %q", d, taken.values[i], said.values[i])
		}
	}
	var back Measures
	if back.sub(taken.Measures) == nil && back != said.Measures {
		return back.difference(said.Measures)
	}
	return "another column differs"
}

// each adds what a row says to every sum of one way.
func (a *Audit) each(s *standing, way func(*sums) *Ledger) error {
	var two [2]string
	for _, sum := range a.sums {
		l := way(sum)
		values := two[:len(l.by)]
		for i, d := range l.by {
			values[i] = s.values[slices.Index(a.by, d)]
		}
		if err := l.add(values, s.billing, s.grade, s.Measures); err != nil {
			return err
		}
	}
	return nil
}

// EndPartition takes the state of each fact into the account: no more rows of
// them come.
func (a *Audit) EndPartition() error {
	for _, s := range a.facts {
		if !s.stands {
			continue
		}
		a.states++
		if err := a.each(s, func(s *sums) *Ledger { return s.stated }); err != nil {
			return err
		}
	}
	clear(a.facts)
	return nil
}

// Proof is what an audit found.
type Proof struct {
	Rows   int64    `json:"rows"`   // of model requests
	Facts  int64    `json:"facts"`  // that stand
	Sums   int      `json:"sums"`   // that were compared, with the total
	Cells  int      `json:"cells"`  // in all of them
	Found  int64    `json:"found"`  // faults
	Faults []string `json:"faults"` // the first of them
}

// Proof compares the sums, after the last EndPartition.
func (a *Audit) Proof() (*Proof, error) {
	p := &Proof{Rows: a.rows, Facts: a.states, Sums: len(a.sums)}
	total, own := a.sums[0].signed, map[Dimension]*Ledger{}
	for _, s := range a.sums {
		l := s.signed
		p.Cells += len(l.cells)
		for _, fault := range l.Faults() {
			a.fault("%s", fault)
		}
		if unlike := l.differs(s.stated); unlike != "" {
			a.fault("signed sums by %v are not those of the facts' states: %s", l.by, unlike)
		}
		var wants []*Ledger
		switch len(l.by) {
		case 1:
			own[l.by[0]], wants = l, []*Ledger{total}
		case 2:
			wants = []*Ledger{own[l.by[0]], own[l.by[1]]}
		}
		for _, want := range wants {
			folded, err := l.Fold(want.by...)
			if err != nil {
				return nil, err
			}
			if unlike := folded.differs(want); unlike != "" {
				a.fault("sums by %v folded by %v are not its own: %s", l.by, want.by, unlike)
			}
		}
	}
	p.Found, p.Faults = a.count, append([]string{}, a.faults...)
	return p, nil
}

func (a *Audit) fault(format string, args ...any) {
	if a.count++; len(a.faults) < maxFaults {
		a.faults = append(a.faults, fmt.Sprintf(format, args...))
	}
}

// once keeps each text once: the facts of a session have the same.
func (a *Audit) once(text string) string {
	if kept, ok := a.texts[text]; ok {
		return kept
	}
	a.texts[text] = text
	return text
}

// saying is the hash of what a row and the one that takes it back have in
// common: all but row_id, sign, version and event_id.
func saying(row *schemas.Enriched) [32]byte {
	r := *row
	r.RowId, r.Sign, r.Version, r.EventId = schemas.Id{}, 0, 0, schemas.Id{}
	var buffer [1024]byte
	return sha256.Sum256(r.AppendAvro(buffer[:0]))
}
