package changes

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// State holds where facts of sessions and of the forge stand, and links them, of
// rows of enriched in any order, any of which may come twice. Not safe for
// concurrent use.
type State struct {
	rows map[key]*schemas.Enriched
}

type key struct {
	org  string
	fact schemas.Id
}

// NewState makes an empty one.
func NewState() *State { return &State{map[key]*schemas.Enriched{}} }

// Add takes a copy of a row into account.
func (s *State) Add(row *schemas.Enriched) {
	if !OfForge(row.Kind) && !OfSession(row.Kind) {
		return
	}
	k := key{row.Org, row.FactKey}
	if before := s.rows[k]; before != nil && cmp.Or(cmp.Compare(row.Version, before.Version), cmp.Compare(row.Sign, before.Sign)) <= 0 {
		return
	}
	kept := *row
	s.rows[k] = &kept
}

// nodes are the facts that stand, by what they name.
type nodes map[node][]*schemas.Enriched

func (n nodes) facts(at node) []*schemas.Enriched { return n[at] }

// standing are the facts that stand, and those of them that the forge tells of.
func (s *State) standing() (x linker, forge []*schemas.Enriched) {
	by := nodes{}
	for _, r := range s.rows {
		if r.Sign <= 0 {
			continue
		}
		for _, at := range nodesOf(r) {
			by[at] = append(by[at], r)
		}
		if OfForge(r.Kind) {
			forge = append(forge, r)
		}
	}
	slices.SortFunc(forge, func(a, b *schemas.Enriched) int {
		return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), bytes.Compare(a.FactKey[:], b.FactKey[:]))
	})
	for _, facts := range by {
		slices.SortFunc(facts, func(a, b *schemas.Enriched) int { return bytes.Compare(a.FactKey[:], b.FactKey[:]) })
	}
	return linker{by}, forge
}

// Contributions are those of all changes to all tasks.
func (s *State) Contributions() (facts []schemas.TaskFact) {
	x, forge := s.standing()
	for _, r := range forge {
		facts = append(facts, x.contributions(r)...)
	}
	return facts
}

// Change is a pull request, or a commit that landed without one, and how it stands.
type Change struct {
	Row   *schemas.Enriched // without a task_id the column link says why
	State schemas.ChangeState
}

// Changes are all that the forge tells of, in order of time, and how many commits it
// tells of that are none: of no pull request and on no target branch.
func (s *State) Changes() (all []Change, elsewhere int) {
	x, forge := s.standing()
	for _, r := range forge {
		if isCheck(r) {
			continue
		}
		if c, ok := x.change(r); ok {
			all = append(all, Change{r, c.State})
		} else if !landed(r) && len(x.forgePulls(r)) == 0 {
			elsewhere++
		}
	}
	return all, elsewhere
}
