package changes

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

const (
	recordVersion = 1
	maxNodes      = 16 // that a fact is remembered at
)

// fact is the record of a fact.
type fact struct {
	given   []schemas.Enriched // of a session its row; of the forge the last observation of each operation
	row     []byte             // of the forge: last published +1 row, encoded
	version int64
	arrived int64
	nodes   []string // records of nodes that it stands at, or stood
	told    []told   // tasks that were told of it
	spreads bool     // what it concerns is to be judged
	changed bool
	gone    bool
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
		f.given[i] = *r
		return true
	}
	if len(f.given) > 0 && f.given[0].Kind != r.Kind {
		return false
	}
	f.given = append(f.given, *r)
	slices.SortFunc(f.given, func(a, b schemas.Enriched) int { return cmp.Compare(a.Link, b.Link) })
	return true
}

// now is the fact as all that was told of it makes it; nil where it was taken
// back.
func (f *fact) now() *schemas.Enriched {
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
		return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), bytes.Compare(a.EventId[:], b.EventId[:]))
	})
	r := in[0]
	for i := range in[1:] {
		overlay(&r, &in[1+i])
	}
	for i := range in { // what was merged stays so
		if g := &in[i]; g.Kind == schemas.KindForgePullRequest && g.Link == merged {
			r.Detail, r.OccurredAt = merged, g.OccurredAt
		}
	}
	r.Link = ""
	return &r
}

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
	e := encoder{recordVersion}
	e.number(f.version)
	e.number(f.arrived)
	e.flag(f.spreads)
	e.number(int64(schemas.EnrichedFingerprint))
	e.number(int64(len(f.given)))
	for i := range f.given {
		e.text(string(f.given[i].AppendAvro(nil)))
	}
	e.text(string(f.row))
	e.number(int64(len(f.nodes)))
	for _, n := range f.nodes {
		e.text(n)
	}
	e.number(int64(len(f.told)))
	for _, t := range f.told {
		e.text(t.task)
		e.text(t.change)
		e.text(t.hash)
	}
	return e
}

func (f *fact) decode(b []byte) error {
	d := decoder{rest: b}
	d.begin()
	f.version, f.arrived = d.number(), d.number()
	f.spreads = d.flag()
	writer := uint64(d.number())
	var wrong error
	row := func() []byte {
		text := d.text()
		if text == "" {
			return nil
		}
		r, err := schemas.Resolve(writer, schemas.EnrichedFingerprint, []byte(text))
		wrong = cmp.Or(wrong, err)
		return r
	}
	for n := d.number(); n > 0 && !d.bad; n-- {
		var r schemas.Enriched
		if _, err := r.DecodeAvro(row()); err != nil {
			return errors.Join(errRecord, err)
		}
		f.given = append(f.given, r)
	}
	f.row = row()
	for n := d.number(); n > 0 && !d.bad; n-- {
		f.nodes = append(f.nodes, d.text())
	}
	for n := d.number(); n > 0 && !d.bad; n-- {
		f.told = append(f.told, told{d.text(), d.text(), d.text()})
	}
	return errors.Join(wrong, d.err())
}

// members is the record of a node: the facts that name it, sorted.
type members struct {
	facts   []schemas.Id
	arrived int64
	changed bool
	gone    bool
}

func (m *members) add(id schemas.Id) bool {
	i, found := slices.BinarySearchFunc(m.facts, id, func(a, b schemas.Id) int { return bytes.Compare(a[:], b[:]) })
	if found || len(m.facts) >= maxAtNode {
		return false
	}
	m.facts = slices.Insert(m.facts, i, id)
	return true
}

func (m *members) wasChanged() bool    { return m.changed && !m.gone }
func (m *members) due(now int64) int64 { return max(now+1, m.arrived+closeAfter) }

func (m *members) encode() []byte {
	e := encoder{recordVersion}
	e.number(m.arrived)
	e.number(int64(len(m.facts)))
	for _, id := range m.facts {
		e.text(string(id[:]))
	}
	return e
}

func (m *members) decode(b []byte) error {
	d := decoder{rest: b}
	d.begin()
	m.arrived = d.number()
	for n := d.number(); n > 0 && !d.bad; n-- {
		var id schemas.Id
		copy(id[:], d.text())
		m.facts = append(m.facts, id)
	}
	return d.err()
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
	return []byte{recordVersion}
}

var errRecord = errors.New("state record is damaged")

// encoder appends fields of a record.
type encoder []byte

func (e *encoder) number(n int64) { *e = binary.AppendVarint(*e, n) }

func (e *encoder) text(t string) {
	*e = append(binary.AppendVarint(*e, int64(len(t))), t...)
}

func (e *encoder) flag(is bool) {
	n := int64(0)
	if is {
		n = 1
	}
	e.number(n)
}

// decoder reads them.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) begin() {
	if d.bad = len(d.rest) == 0 || d.rest[0] != recordVersion; !d.bad {
		d.rest = d.rest[1:]
	}
}

func (d *decoder) number() int64 {
	v, n := binary.Varint(d.rest)
	if d.bad = d.bad || n <= 0; d.bad {
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) flag() bool { return d.number() != 0 }

func (d *decoder) text() string {
	n := d.number()
	if d.bad = d.bad || n < 0 || n > int64(len(d.rest)); d.bad {
		return ""
	}
	t := string(d.rest[:n])
	d.rest = d.rest[n:]
	return t
}

func (d *decoder) err() error {
	if d.bad || len(d.rest) > 0 {
		return errRecord
	}
	return nil
}
