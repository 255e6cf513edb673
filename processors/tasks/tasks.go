// Package tasks makes tasks of rows: what one session contributes to a task
// ([Contribute]), the record of a task over its sessions ([Combine]), and its
// path as a tree ([Path]). All are functions of sets: the order of rows and of
// contributions does not matter. Time is an argument.
package tasks

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// State holds where the facts of some tasks stand: the +1 row of the highest
// version of each, by task and session, and the end of each session. Rows come
// in any order, and may come twice. Not safe for concurrent use.
type State struct {
	works map[work]map[schemas.Id]*schemas.Enriched
	ends  map[schemas.Id]*schemas.Enriched // by session
}

// work is what one session did for one task.
type work struct{ org, task, session string }

// NewState makes an empty one.
func NewState() *State {
	return &State{map[work]map[schemas.Id]*schemas.Enriched{}, map[schemas.Id]*schemas.Enriched{}}
}

// Add takes a copy of a row into account. A row without a task says nothing.
func (s *State) Add(row *schemas.Enriched) {
	if row.TaskId == "" {
		return
	}
	kept := *row
	r := &kept
	if r.Kind == schemas.KindSessionEnd {
		session := schemas.SessionKey(r.Org, r.SessionId)
		if before := s.ends[session]; before == nil || follows(r, before) {
			s.ends[session] = r
		}
	}
	w := work{r.Org, r.TaskId, r.SessionId}
	if s.works[w] == nil {
		s.works[w] = map[schemas.Id]*schemas.Enriched{}
	}
	if before := s.works[w][r.FactKey]; before == nil || follows(r, before) {
		s.works[w][r.FactKey] = r
	}
}

// follows tells which of two rows of a fact is its state: that of the higher
// version, and of that the one that asserts. Of two facts it chooses one.
func follows(r, before *schemas.Enriched) bool {
	return cmp.Or(cmp.Compare(r.Version, before.Version), cmp.Compare(r.Sign, before.Sign), cmp.Compare(r.OccurredAt, before.OccurredAt), bytes.Compare(r.FactKey[:], before.FactKey[:])) > 0
}

// Rows are the rows of a task that stand, in no order.
func (s *State) Rows(org, taskID string) (rows []*schemas.Enriched) {
	for w := range s.works {
		if w.org == org && w.task == taskID {
			rows = append(rows, s.of(w)...)
		}
	}
	return rows
}

func (s *State) of(w work) (rows []*schemas.Enriched) {
	for _, r := range s.works[w] {
		if r.Sign > 0 {
			rows = append(rows, r)
		}
	}
	return rows
}

// Contributions are those of all sessions to all tasks, in no order.
func (s *State) Contributions() (facts []schemas.TaskFact) {
	for w := range s.works {
		if w.session == "" {
			continue // what the forge tells is of changes
		}
		if rows := s.of(w); len(rows) > 0 {
			facts = append(facts, Contribute(rows, s.end(rows[0])))
		}
	}
	return facts
}

// end is the end of the row's session, nil while it goes on.
func (s *State) end(r *schemas.Enriched) *schemas.Enriched {
	if e := s.ends[schemas.SessionKey(r.Org, r.SessionId)]; e != nil && e.Sign > 0 {
		return e
	}
	return nil
}

// Group sorts contributions by task, and makes the record of each as of now (µs
// since 1970): those that were active last come first.
func Group(facts []schemas.TaskFact, now int64) []schemas.Task {
	by := map[schemas.Id][]schemas.TaskFact{}
	for _, f := range facts {
		key := schemas.TaskKey(f.Task.Org, f.Task.TaskId)
		by[key] = append(by[key], f)
	}
	var all []schemas.Task
	for _, facts := range by {
		all = append(all, Combine(facts, now))
	}
	slices.SortFunc(all, func(a, b schemas.Task) int {
		return cmp.Or(cmp.Compare(b.LastSeen, a.LastSeen), cmp.Compare(a.TaskId, b.TaskId), cmp.Compare(a.Org, b.Org))
	})
	return all
}
