package tasks

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/records"
	"github.com/flightlog/flightlog/schemas"
)

// Processor keeps the record of every task and says it as signed rows on the
// topic tasks. Its input is what sessions and changes contribute, each contribution
// whole; the later one of a session or change replaces the earlier. Its fold is
// pure.
type Processor struct{ rules *detectors.Cache }

// NewProcessor makes the processor.
func NewProcessor() Processor { return Processor{detectors.NewCache()} }

// Name implements engine.Processor.
func (Processor) Name() string { return "tasks" }

// Version implements engine.Processor.
func (Processor) Version() int64 { return 1 }

// Input implements engine.FrameProcessor.
func (Processor) Input() string { return broker.TaskFacts }

// Begin implements engine.Processor.
func (p Processor) Begin(tx *engine.Tx) engine.Fold {
	return &fold{tx: tx, rules: p.rules, open: map[schemas.Id]*record{}, hosts: map[string]*host{}}
}

const (
	recordKind = 'k' // k with H(org, task_id): a task
	hostKind   = 'h' // h with H(org, host)
	pace       = 10e6
	restAt     = 30 * 60e6   // the outcome may change that long after the last fact, µs
	abandonAt  = 7 * 86400e6 // and then
	closeAfter = 8 * 86400e6 // without arrivals: it leaves the state
	// maxSessions bounds a record, changes counted. Of more, those that were active first are forgotten,
	// and the record says less than it did.
	maxSessions = 100
)

// fold is one overlay.
type fold struct {
	engine.NoEvents
	tx    *engine.Tx
	rules *detectors.Cache
	open  map[schemas.Id]*record
	order []schemas.Id

	hosts     map[string]*host
	hostOrder []string
}

// record is a task in the state.
type record struct {
	contributions []given // by source
	row           []byte  // last published +1 row, encoded
	version       int64
	published     int64 // append time, µs
	arrived       int64
	changedAt     int64 // append time of the first change since, 0 = none
	changed, gone bool
}

type given struct {
	source string // session, or change
	fact   []byte
	seen   int64 // its last_seen
}

func recordKey(id schemas.Id) string { return string(recordKind) + string(id[:]) }

// Frame implements engine.FrameFold.
func (x *fold) Frame(payload []byte) error {
	var frame schemas.TaskFactFrame
	if err := frame.DecodeMessage(payload); err != nil {
		return fmt.Errorf("%w: %w", engine.ErrInvalid, err)
	}
	for i := range frame.Rows {
		f := &frame.Rows[i]
		if f.Host != "" {
			continue
		}
		if sourceOf(f) == "" || f.Task.TaskId == "" {
			return fmt.Errorf("%w: no session or change, or no task", engine.ErrInvalid)
		}
		id := schemas.TaskKey(f.Task.Org, f.Task.TaskId)
		if r := x.open[id]; r != nil && !r.gone {
			continue
		}
		if _, _, ok := x.tx.Get(recordKey(id)); ok && x.open[id] == nil {
			continue
		}
		if err := x.tx.Recall(id); err != nil && !errors.Is(err, engine.ErrArchived) {
			return err
		}
		// Where the archive has aged out it begins anew.
	}
	for i := range frame.Rows {
		if f := &frame.Rows[i]; f.Host != "" {
			x.alive(f)
		} else {
			x.add(f)
		}
	}
	return nil
}

// sourceOf is what contributes.
func sourceOf(f *schemas.TaskFact) string { return cmp.Or(f.ChangeId, f.SessionId) }

// add replaces what a session or change contributes; one of nothing withdraws it.
func (x *fold) add(f *schemas.TaskFact) {
	r := x.record(schemas.TaskKey(f.Task.Org, f.Task.TaskId), true)
	now := x.tx.Now()
	r.arrived, r.changed = now, true
	i, found := slices.BinarySearchFunc(r.contributions, sourceOf(f), func(c given, s string) int { return cmp.Compare(c.source, s) })
	empty := f.Task.Sessions == 0 && len(f.Task.Changes) == 0
	switch {
	case empty && found:
		r.contributions = slices.Delete(r.contributions, i, i+1)
	case empty:
		return
	case found:
		r.contributions[i].fact, r.contributions[i].seen = f.AppendAvro(nil), f.Task.LastSeen
	default:
		r.contributions = slices.Insert(r.contributions, i, given{strings.Clone(sourceOf(f)), f.AppendAvro(nil), f.Task.LastSeen})
	}
	if r.changedAt == 0 {
		r.changedAt = now
	}
	if f.ChangeId != "" {
		r.published = 0 // what the forge tells is rare, and is said at once
	}
}

// Due implements engine.Fold.
func (x *fold) Due(key string) error {
	if key[0] == hostKind {
		x.hostDue(key)
		return nil
	}
	var id schemas.Id
	copy(id[:], key[1:])
	r := x.record(id, false)
	if r == nil || r.gone {
		return nil
	}
	now := x.tx.Now()
	x.say(r)
	if r.arrived+closeAfter <= now {
		x.tx.Archive(id, key, r.encode(), 0)
		r.gone = true
	}
	r.changed = true
	return nil
}

// say says the record, if it is another than the one that stands.
func (x *fold) say(r *record) {
	r.changedAt = 0
	var facts []schemas.TaskFact
	for i := range r.contributions {
		var f schemas.TaskFact
		if _, err := f.DecodeAvro(r.contributions[i].fact); err != nil {
			panic(err)
		}
		facts = append(facts, f)
	}
	if len(facts) > maxSessions {
		slices.SortStableFunc(facts, func(a, b schemas.TaskFact) int { return cmp.Compare(activeAt(&b), activeAt(&a)) })
		facts = facts[:maxSessions]
		r.contributions = slices.DeleteFunc(r.contributions, func(c given) bool {
			return !slices.ContainsFunc(facts, func(f schemas.TaskFact) bool { return sourceOf(&f) == c.source })
		})
	}
	if !slices.ContainsFunc(facts, ofSession) {
		facts = nil // changes alone are no task
	}
	t := Combine(facts, x.tx.Now())
	var last schemas.Task
	if r.row != nil {
		if _, err := last.DecodeAvro(r.row); err != nil {
			panic(err)
		}
		t.RowId, t.Sign, t.Version, t.Generation = last.RowId, last.Sign, last.Version, last.Generation
		if len(facts) > 0 && bytes.Equal(t.AppendAvro(nil), r.row) {
			return
		}
	} else if len(facts) == 0 {
		return
	}
	r.version++
	r.published = x.tx.Now()
	key := schemas.TaskKey(last.Org, last.TaskId)
	if r.row != nil {
		last.Sign, last.Version = -1, r.version
		last.RowId = schemas.RowID(last.Generation, key, r.version, -1)
		x.tx.Emit(broker.Tasks, last.AppendAvro(nil))
		r.row = nil
	}
	if len(facts) == 0 {
		return
	}
	key = schemas.TaskKey(t.Org, t.TaskId)
	t.Generation, t.Sign, t.Version = x.tx.Generation(), 1, r.version
	t.RowId = schemas.RowID(t.Generation, key, r.version, 1)
	r.row = t.AppendAvro(nil)
	x.tx.Emit(broker.Tasks, r.row)
}

// activeAt is the last time of a contribution.
func activeAt(f *schemas.TaskFact) (at int64) {
	at = f.Task.LastSeen
	for i := range f.Task.Changes {
		at = max(at, f.Task.Changes[i].At)
	}
	return at
}

// due is when the task wants to be looked at: to be said, when its outcome may be
// another, and to leave.
func (r *record) due(now int64) int64 {
	due := r.arrived + closeAfter
	if r.changedAt != 0 {
		due = min(due, max(now, r.published+pace))
		if r.published == 0 {
			due = min(due, max(now, r.changedAt))
		}
	}
	last := int64(0)
	for i := range r.contributions {
		last = max(last, r.contributions[i].seen)
	}
	for _, wait := range [...]int64{restAt, abandonAt} {
		if at := last + wait + 1e6; last != 0 && at > now {
			due = min(due, at)
		}
	}
	return due
}

// End implements engine.Fold.
func (x *fold) End() {
	for _, id := range x.order {
		if r := x.open[id]; r.changed && !r.gone {
			x.tx.Put(recordKey(id), r.encode(), r.due(x.tx.Now()))
		}
	}
	x.putHosts()
}

func (x *fold) record(id schemas.Id, fresh bool) *record {
	if r := x.open[id]; r != nil {
		if !r.gone || !fresh {
			return r
		}
	}
	r := &record{}
	if b, _, ok := x.tx.Get(recordKey(id)); ok && x.open[id] == nil {
		if err := r.decode(b); err != nil {
			panic(fmt.Errorf("cannot read the record of a task: %w", err))
		}
	} else if !fresh {
		return nil
	}
	if x.open[id] == nil {
		x.order = append(x.order, id)
		x.tx.Touch()
	}
	x.open[id] = r
	return r
}

func (r *record) encode() []byte {
	w := records.New(64 + len(r.row))
	w.Int(r.version, r.published, r.arrived, r.changedAt)
	w.Uint(schemas.TaskFingerprint)
	w.Bytes(r.row)
	w.Uint(schemas.TaskFactFingerprint)
	w.Uint(uint64(len(r.contributions)))
	for _, c := range r.contributions {
		w.Text(c.source)
		w.Bytes(c.fact)
		w.Int(c.seen)
	}
	return w
}

func (r *record) decode(b []byte) error {
	in := records.Read(b)
	in.Ints(&r.version, &r.published, &r.arrived, &r.changedAt)
	var err error
	writer, row := in.Uint(), in.Bytes()
	if r.row = nil; len(row) > 0 {
		r.row, err = schemas.Resolve(writer, schemas.TaskFingerprint, row)
	}
	writer = in.Uint()
	for range in.Count() {
		c := given{source: in.Text()}
		fact, wrong := schemas.Resolve(writer, schemas.TaskFactFingerprint, in.Bytes())
		c.fact, c.seen, err = fact, in.Int(), cmp.Or(err, wrong)
		r.contributions = append(r.contributions, c)
	}
	return errors.Join(err, in.Err())
}
