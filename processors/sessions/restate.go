package sessions

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// A restatement says facts anew by a later version of prices or directory than
// was in force when they were first told of. What a row says is a function of
// the fact and of all restatements in the order in which they were asked for
// ([goesBy]); the walk over the sessions only makes the rows that were said
// before follow.

// restatements are those that the partition was asked for, and the walk.
type restatements struct {
	all     []engine.Restatement
	walks   int64      // so far
	due     int64      // append time at which the walk goes on, 0 = it has ended
	since   int64      // what was archived before is passed over, µs
	open    bool       // it has passed what is archived, and is at what is not
	cursor  string     // last session passed: id of an archived one, key of an open one
	waiting schemas.Id // archived session that was asked for
	changed bool
}

// maxRestatements bounds the record. One more is a dead letter.
const maxRestatements = 1000

// restatements of the partition, nil if there are none.
func (x *fold) restatements() *restatements { return load[restatements](x, restateKey, nil) }

// goesBy is the version of prices or directory that a fact of a time goes by, and
// what it makes of the fact: the version that was in force at first, then of each
// later version that the fact was restated by the ones that made a difference.
func goesBy[T comparable](x *fold, kind string, version, at int64, figure func(version int64) T) (by int64, made T, restatement string) {
	by, made = version, figure(version)
	rs := x.restatements()
	if rs == nil {
		return by, made, ""
	}
	for i := range rs.all {
		r := &rs.all[i]
		if r.Kind != kind || r.Since > at || r.Version <= version {
			continue
		}
		if other := figure(r.Version); other != made {
			by, made, restatement = r.Version, other, r.String()
		}
	}
	return by, made, restatement
}

// Restate implements engine.Fold.
func (x *fold) Restate(r engine.Restatement) {
	rs := load(x, restateKey, func() *restatements { return &restatements{} })
	same := slices.IndexFunc(rs.all, func(o engine.Restatement) bool {
		o.Asked = r.Asked
		return o == r
	})
	switch {
	case r.Reason == "": // nobody has asked, a version was known late
	case same >= 0 && rs.all[same].Asked >= r.Asked:
		return // known; the walk ends, or has ended, all the same
	case same >= 0:
		rs.all[same].Asked = r.Asked
	case len(rs.all) >= maxRestatements:
		x.dead("invalid", fmt.Sprintf("the partition was restated %d times, and keeps no more reasons", maxRestatements), r.Reason)
		return
	default:
		rs.all = append(rs.all, r)
	}
	slices.SortFunc(rs.all, func(a, b engine.Restatement) int {
		return cmp.Or(cmp.Compare(a.Asked, b.Asked), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Since, b.Since), cmp.Compare(a.Reason, b.Reason))
	})
	if rs.due == 0 || r.Since < rs.since {
		rs.since = r.Since
	}
	rs.walks++
	rs.due, rs.open, rs.cursor, rs.waiting, rs.changed = x.tx.Now(), false, "", schemas.Id{}, true
}

// walk takes the next sessions: each archived one is brought back, compared and
// leaves again; then those of the state. It leaves room for events.
func (x *fold) walk(rs *restatements) error {
	if rs.waiting != (schemas.Id{}) {
		if err := x.reopen(rs.waiting); err != nil || x.leaving(load[session](x, sessionKey(rs.waiting), nil)) {
			return err
		}
		rs.waiting, rs.changed = schemas.Id{}, true
		return nil
	}
	rs.changed = true
	if !rs.open {
		var after schemas.Id
		copy(after[:], rs.cursor)
		// A clock may have been ahead of the append time by maxAhead.
		if id, ok := x.tx.Archived(after, rs.since-maxAhead); ok {
			rs.waiting, rs.cursor = id, string(id[:])
			return nil
		}
		rs.open, rs.cursor = true, string(sessionKind)
	}
	const some = 512
	keys := x.tx.Keys(string(sessionKind), rs.cursor, some)
	for _, key := range keys {
		if x.tx.Used() >= engine.SoftBytes/4 {
			return nil
		}
		s := load[session](x, key, nil)
		if x.leaving(s) {
			return nil
		}
		if x.mustCompare(s) {
			x.compare(s)
			x.sweep(s) // the rest of a large one is due
		}
		rs.cursor = key
	}
	if len(keys) < some {
		rs.due = 0
	}
	return nil
}

// compare has every published row of a session compared with what it would be
// now, from its first fact on.
func (x *fold) compare(s *session) {
	s.compareAll, s.cursor, s.sweepAt, s.changed = true, 0, x.tx.Now(), true
}

// leaving tells a session that is half gone and was not compared: it is waited for,
// to be brought back.
func (x *fold) leaving(s *session) bool {
	rs := x.restatements()
	return rs != nil && s != nil && !s.gone && s.away > 0 && s.compared != rs.walks
}

// mustCompare tells a session whose rows the last walk has not begun to compare.
// One that is leaving was compared before.
func (x *fold) mustCompare(s *session) bool {
	rs := x.restatements()
	return rs != nil && s != nil && !s.gone && s.said && s.away == 0 && s.compared != rs.walks
}

// reopen brings an archived session back to be compared. Where the archive has
// aged out, a dead letter tells.
func (x *fold) reopen(id schemas.Id) error {
	key := sessionKey(id)
	if _, _, here := x.tx.Get(key); here {
		if s := load[session](x, key, nil); x.mustCompare(s) {
			x.compare(s)
		}
		return nil
	}
	err := x.tx.Recall(id)
	if !errors.Is(err, engine.ErrArchived) {
		return err
	}
	x.dead("closed", "cannot be restated: "+err.Error(), fmt.Sprintf("%x", id))
	return nil
}

// dead says a dead letter of a restatement.
func (x *fold) dead(reason, detail, position string) {
	d := schemas.DeadLetter{Generation: x.tx.Generation(), Reason: reason, Detail: detail,
		Source: "sessions", Position: position, Hash: schemas.TextHash([]byte(position)), OccurredAt: x.tx.Now()}
	d.Cap()
	schemas.SetDeadLetterID(&d)
	x.tx.Emit(broker.DeadLetters, d.AppendAvro(nil))
}

func (rs *restatements) encode() []byte {
	e := encode()
	e.Uint(uint64(len(rs.all)))
	for _, r := range rs.all {
		e.Bytes([]byte(r.Kind))
		e.Int(r.Version)
		e.Int(r.Since)
		e.Bytes([]byte(r.Reason))
		e.Int(r.Asked)
	}
	e.Int(rs.walks)
	e.Int(rs.due)
	e.Int(rs.since)
	e.Bool(rs.open)
	e.Bytes([]byte(rs.cursor))
	e.ID(rs.waiting)
	return e.Writer
}

func (rs *restatements) decode(b []byte) error {
	d := decode(b)
	for range d.Count() {
		var r engine.Restatement
		r.Kind = d.Text()
		r.Version, r.Since = d.Int(), d.Int()
		r.Reason, r.Asked = d.Text(), d.Int()
		rs.all = append(rs.all, r)
	}
	rs.walks, rs.due, rs.since, rs.open = d.Int(), d.Int(), d.Int(), d.Byte() != 0
	rs.cursor, rs.waiting = d.Text(), d.ID()
	return d.Err()
}
