package changes

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/processors/records"
	"github.com/flightlog/flightlog/schemas"
)

const maxWas = 64 // nodes that a fact concerned before

// fact is the record of a fact.
type fact struct {
	given   []schemas.Enriched // of a session its row; of the forge the last observation of each operation
	row     []byte             // of the forge: last published +1 row, encoded
	version int64
	arrived int64
	was     []string // records of nodes that it concerned since it was spread last, and may not any more
	told    []told   // tasks that were told of it
	spreads bool     // what it concerns is to be judged
	changed bool
	gone    bool
	current *schemas.Enriched // of now; nil = not known
}

type told struct{ task, change, hash string }

// take joins a row into the fact; it tells whether anything changed. Of a session
// the row of the highest version stands; of the forge the last observation of each
// operation is kept. Both do not depend on the order.
func (f *fact) take(r *schemas.Enriched) bool {
	i := slices.IndexFunc(f.given, func(g schemas.Enriched) bool { return OfSession(r.Kind) || g.Link == r.Link })
	if i >= 0 {
		g := &f.given[i]
		order := cmp.Or(cmp.Compare(r.OccurredAt, g.OccurredAt), bytes.Compare(r.EventId[:], g.EventId[:]))
		if OfSession(r.Kind) {
			order = cmp.Or(cmp.Compare(r.Version, g.Version), cmp.Compare(r.Sign, g.Sign))
		}
		if g.Kind != r.Kind || order <= 0 {
			return false
		}
		f.given[i], f.current = *r, nil
		return true
	}
	if len(f.given) > 0 && f.given[0].Kind != r.Kind {
		return false
	}
	f.given, f.current = append(f.given, *r), nil
	slices.SortFunc(f.given, func(a, b schemas.Enriched) int { return cmp.Compare(a.Link, b.Link) })
	return true
}

// now is the fact as all that was told of it makes it, which nobody may write into;
// nil where it was taken back.
func (f *fact) now() *schemas.Enriched {
	if f.current == nil {
		f.current = f.made()
	}
	return f.current
}

func (f *fact) made() *schemas.Enriched {
	if len(f.given) == 0 {
		return nil
	}
	if OfSession(f.given[0].Kind) {
		if f.given[0].Sign < 0 {
			return nil
		}
		r := f.given[0]
		return &r
	}
	in := slices.Clone(f.given)
	slices.SortFunc(in, func(a, b schemas.Enriched) int {
		return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(slices.Index(states, a.Link), slices.Index(states, b.Link)),
			bytes.Compare(a.EventId[:], b.EventId[:]))
	})
	r := in[0]
	for i := range in[1:] {
		overlay(&r, &in[1+i])
	}
	for i := range in { // its state is the last of these, and what was merged stays so
		if g := &in[i]; slices.Contains(states, g.Link) && (r.Detail != merged || g.Link == merged) {
			r.Detail, r.OccurredAt = g.Link, g.OccurredAt
		}
	}
	r.Link = ""
	return &r
}

// states are the operations that a pull request's state is of; of two at the same
// time the later one of these.
var states = []string{"opened", "reopened", closed, merged}

// overlay puts what a later observation says over an earlier one.
func overlay(r, later *schemas.Enriched) {
	texts := func(pairs ...*string) {
		for i := 0; i < len(pairs); i += 2 {
			*pairs[i] = cmp.Or(*pairs[i+1], *pairs[i])
		}
	}
	texts(&r.ErrorClass, &later.ErrorClass, &r.User, &later.User, &r.Branch, &later.Branch, &r.Workflow, &later.Workflow, &r.CommitId, &later.CommitId,
		&r.ChangeId, &later.ChangeId, &r.PatchId, &later.PatchId, &r.TargetBranch, &later.TargetBranch, &r.MergeCommitId, &later.MergeCommitId,
		&r.Reverts, &later.Reverts, &r.Detail, &later.Detail)
	r.UserSource, r.WorkflowSource = cmp.Or(later.UserSource, r.UserSource), cmp.Or(later.WorkflowSource, r.WorkflowSource)
	r.OccurredAt, r.EventId = later.OccurredAt, later.EventId
	r.CaptureMode = max(r.CaptureMode, later.CaptureMode)
	if later.DurationMs.Valid {
		r.DurationMs = later.DurationMs
	}
	if later.Success.Valid {
		r.Success = later.Success
	}
	if r.Success.Value {
		r.ErrorClass = ""
	}
}

// witnesses are those that told of a fact, in order of name.
func (f *fact) witnesses() string {
	var names []string
	for i := range f.given {
		names = append(names, f.given[i].Witnesses)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

func (f *fact) wasChanged() bool { return f.changed && !f.gone }

func (f *fact) due(now int64) int64 {
	if f.spreads {
		return now
	}
	return max(now+1, f.arrived+closeAfter)
}

func (f *fact) encode() []byte {
	e := records.New(256)
	e.Int(f.version)
	e.Int(f.arrived)
	e.Bool(f.spreads)
	e.Uint(schemas.EnrichedFingerprint)
	e.Uint(uint64(len(f.given)))
	for i := range f.given {
		e.Bytes(f.given[i].AppendAvro(nil))
	}
	e.Bytes(f.row)
	e.Uint(uint64(len(f.was)))
	for _, n := range f.was {
		e.Text(n)
	}
	e.Uint(uint64(len(f.told)))
	for _, t := range f.told {
		e.Text(t.task)
		e.Text(t.change)
		e.Text(t.hash)
	}
	return e
}

func (f *fact) decode(b []byte) error {
	d := records.Read(b)
	f.version, f.arrived = d.Int(), d.Int()
	f.spreads = d.Bool()
	writer := d.Uint()
	var wrong error
	row := func() []byte {
		text := d.Bytes()
		if len(text) == 0 {
			return nil
		}
		r, err := schemas.Resolve(writer, schemas.EnrichedFingerprint, bytes.Clone(text))
		wrong = cmp.Or(wrong, err)
		return r
	}
	for range d.Count() {
		var r schemas.Enriched
		if _, err := r.DecodeAvro(row()); err != nil {
			return errors.Join(records.ErrDamaged, err)
		}
		f.given = append(f.given, r)
	}
	f.row = row()
	for range d.Count() {
		f.was = append(f.was, d.Text())
	}
	for range d.Count() {
		f.told = append(f.told, told{d.Text(), d.Text(), d.Text()})
	}
	return errors.Join(wrong, d.Err())
}

// members is the record of a node: the facts that name it, sorted.
type members struct {
	facts   []member
	arrived int64
	changed bool
	gone    bool
}

// member is a fact at a node. At a branch it is known of a pull request when it was
// closed, so that the ones of long ago need not be looked at.
type member struct {
	id     schemas.Id
	closed int64 // µs, 0 = it is open, or nothing that closes
}

// put notes a fact; it tells whether that is new. A full node takes no more, but in
// the place of the pull request that was closed first.
func (m *members) put(id schemas.Id, closed int64) bool {
	i, found := slices.BinarySearchFunc(m.facts, id, func(a member, id schemas.Id) int { return bytes.Compare(a.id[:], id[:]) })
	if found {
		was := m.facts[i].closed
		m.facts[i].closed = closed
		return was != closed
	}
	if len(m.facts) >= maxAtNode {
		first := -1
		for k, f := range m.facts {
			if f.closed != 0 && (first < 0 || f.closed < m.facts[first].closed) {
				first = k
			}
		}
		if first < 0 {
			return false
		}
		if m.facts = slices.Delete(m.facts, first, first+1); first < i {
			i--
		}
	}
	m.facts = slices.Insert(m.facts, i, member{id, closed})
	return true
}

func (m *members) wasChanged() bool    { return m.changed && !m.gone }
func (m *members) due(now int64) int64 { return max(now+1, m.arrived+closeAfter) }

func (m *members) encode() []byte {
	e := records.New(256)
	e.Int(m.arrived)
	e.Uint(uint64(len(m.facts)))
	for _, f := range m.facts {
		e.ID(f.id)
		e.Int(f.closed)
	}
	return e
}

func (m *members) decode(b []byte) error {
	d := records.Read(b)
	m.arrived = d.Int()
	for range d.Count() {
		m.facts = append(m.facts, member{d.ID(), d.Int()})
	}
	return d.Err()
}

// mark is the record that tells that a fact is to be judged.
type mark struct{ stands bool }

func (m *mark) wasChanged() bool { return true }

func (m *mark) due(now int64) int64 {
	if !m.stands {
		return 0
	}
	return now
}

func (m *mark) decode([]byte) error { m.stands = true; return nil }

func (m *mark) encode() []byte {
	if !m.stands {
		return nil
	}
	return records.New(1)
}
