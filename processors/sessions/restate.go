package sessions

import (
	"errors"
	"fmt"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// A restatement says facts anew by a later version of prices or directory than
// was in force when they were first told of. What a row says is a function of
// the fact and of all restatements, whenever they came; the walk over the
// sessions only makes the rows that were said before follow. A fact for which
// the later version makes no difference stays by the earlier one.

// restatements are those that the partition was asked for, and the walk.
type restatements struct {
	all     []engine.Restatement
	due     int64      // append time at which the walk goes on, 0 = it has ended
	open    bool       // it has passed what is archived, and is at what is not
	cursor  string     // last session passed: id of an archived one, key of an open one
	waiting schemas.Id // archived session that was asked for
	changed bool
}

// maxRestatements bounds the record; the oldest of a kind that a later one
// covers go first.
const maxRestatements = 1000

// restatements of the partition, nil if there are none.
func (x *fold) restatements() *restatements { return load[restatements](x, restateKey, nil) }

// restated is the restatement that a fact of a time goes by, if it was first
// told of under an earlier version of that kind.
func (x *fold) restated(kind string, version, at int64) (found *engine.Restatement) {
	rs := x.restatements()
	if rs == nil {
		return nil
	}
	for i := range rs.all {
		r := &rs.all[i]
		if r.Kind == kind && r.Since <= at && r.Version > version && (found == nil || r.Version >= found.Version) {
			found = r
		}
	}
	return found
}

func reasonOf(r *engine.Restatement) string {
	return fmt.Sprintf("%s %d: %s", r.Kind, r.Version, r.Reason)
}

// Restate implements engine.Fold.
func (x *fold) Restate(r engine.Restatement) {
	rs := load(x, restateKey, func() *restatements { return &restatements{} })
	if slices.Contains(rs.all, r) {
		return // asked again; the walk ends, or has ended, all the same
	}
	rs.all = append(rs.all, r)
	for len(rs.all) > maxRestatements {
		rs.all = rs.all[1:]
	}
	rs.due, rs.open, rs.cursor, rs.waiting, rs.changed = x.tx.Now(), false, "", schemas.Id{}, true
}

// walk takes the next sessions: each archived one is brought back, said anew and
// leaves again; then those of the state.
func (x *fold) walk(rs *restatements) error {
	if rs.waiting != (schemas.Id{}) {
		if err := x.reopen(rs.waiting); err != nil {
			return err
		}
		rs.waiting, rs.changed = schemas.Id{}, true
		return nil
	}
	rs.changed = true
	if !rs.open {
		since := rs.all[0].Since
		for _, r := range rs.all {
			since = min(since, r.Since)
		}
		var after schemas.Id
		copy(after[:], rs.cursor)
		// A clock may have been ahead of the append time by maxAhead.
		if id, ok := x.tx.Archived(after, since-maxAhead); ok {
			rs.waiting, rs.cursor = id, string(id[:])
			return nil
		}
		rs.open, rs.cursor = true, string(sessionKind)
	}
	const some = 4096
	keys := x.tx.Keys(string(sessionKind), rs.cursor, some)
	for _, key := range keys {
		if x.tx.Full() {
			return nil
		}
		x.sayAnew(load[session](x, key, nil))
		rs.cursor = key
	}
	if len(keys) < some {
		rs.due = 0
	}
	return nil
}

// reopen brings an archived session back to be said anew. Where the archive has
// aged out, a dead letter tells.
func (x *fold) reopen(id schemas.Id) error {
	key := sessionKey(id)
	if _, _, here := x.tx.Get(key); here {
		x.sayAnew(load[session](x, key, nil))
		return nil
	}
	err := x.tx.Recall(id)
	if !errors.Is(err, engine.ErrArchived) {
		return err
	}
	d := schemas.DeadLetter{Generation: x.tx.Generation(), Reason: "closed", Detail: "cannot be restated: " + err.Error(),
		Source: "sessions", Position: fmt.Sprintf("%x", id), Hash: schemas.TextHash(id[:]), OccurredAt: x.tx.Now()}
	d.Cap()
	schemas.SetDeadLetterID(&d)
	x.tx.Emit(broker.DeadLetters, d.AppendAvro(nil))
	return nil
}

// sayAnew has every published row of a session compared with what it would be
// now.
func (x *fold) sayAnew(s *session) {
	if s == nil || s.gone || !s.said {
		return
	}
	s.restate, s.cursor, s.sweepAt, s.changed = true, 0, x.tx.Now(), true
}

func (rs *restatements) encode() []byte {
	e := encoder{recordVersion}
	e.uint(uint64(len(rs.all)))
	for _, r := range rs.all {
		e.bytes([]byte(r.Kind))
		e.int(r.Version)
		e.int(r.Since)
		e.bytes([]byte(r.Reason))
	}
	e.int(rs.due)
	e.bool(rs.open)
	e.bytes([]byte(rs.cursor))
	e.id(rs.waiting)
	return e
}

func (rs *restatements) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	for n := d.uint(); n > 0 && !d.bad; n-- {
		var r engine.Restatement
		r.Kind = string(d.take(d.uint()))
		r.Version, r.Since = d.int(), d.int()
		r.Reason = string(d.take(d.uint()))
		rs.all = append(rs.all, r)
	}
	rs.due, rs.open = d.int(), d.byte() != 0
	rs.cursor, rs.waiting = string(d.take(d.uint())), d.id()
	return d.err()
}
