package sessions

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// A branch that is made while a prompt is worked on: the prompt began on another one,
// and a commit, push or the end of the turn tells where the work went. The prompt is of the new branch
// then, and so are the prompts before it on a shared branch since the last commit, push
// or change of branch (DESIGN §4, docs/tasks.md).

const maxStands = 512 // prompts, their ends, commits and pushes of a session; of more the latest

// branches is the record of where a session stood when.
type branches struct {
	stands  []stand // in order of time
	changed bool
	of      began  // the session, as of known
	known   []move // what moves said last, nil = nothing
}

// stand is a prompt, or its end, a commit or push of the main thread that tells its
// branch.
type stand struct {
	at     int64 // occurred_at, µs
	fact   schemas.Id
	prompt schemas.Id // the prompt's fact; its own of a prompt
	repo   string     // as it says itself
	branch string     // the same
	end    bool       // of a turn
}

func (s *stand) isPrompt() bool { return s.fact == s.prompt }

func byTime(a, b stand) int {
	return cmp.Or(cmp.Compare(a.at, b.at), bytes.Compare(a.fact[:], b.fact[:]))
}

func stands(k schemas.Kind) bool {
	return k == schemas.KindPrompt || k == schemas.KindCommit || k == schemas.KindPush || k == schemas.KindTurnEnd
}

// stood notes where a fact stands. It tells whether prompts are of other branches
// than before, if the session's branch is what it was.
func (x *fold) stood(s *session, f *fact) (moved bool) {
	if !stands(f.kind) { // it may have told the session's branch
		if b := load[branches](x, branchesKey(s.id), nil); b != nil {
			s.hasMoved(b.moves(s))
		}
		return false
	}
	b := load(x, branchesKey(s.id), func() *branches { return &branches{} })
	before := b.moves(s)
	if len(b.stands) == 0 { // the first, or the session is of an earlier fold
		for n := range s.facts {
			key := load[page](x, pageKey(s.id, n/pageSize), nil).facts[n%pageSize]
			b.note(s, x.known(s, key))
		}
	}
	b.note(s, f)
	after := b.moves(s)
	s.hasMoved(after)
	return !slices.Equal(before, after)
}

// note puts a fact in its place in time, if it tells of one.
func (b *branches) note(s *session, f *fact) {
	if !stands(f.kind) {
		return
	}
	now := stand{f.numbers[nOccurredAt].value, f.key, f.key, f.texts[tRepo].value, f.texts[tBranch].value, f.kind == schemas.KindTurnEnd}
	if f.kind != schemas.KindPrompt {
		now.prompt = schemas.FactKey(s.texts[sSessionId].value, schemas.KindPrompt, f.texts[tPromptId].value)
		if now.branch == "" || f.texts[tPromptId].value == "" || f.texts[tAgentRunId].value != "" {
			now = stand{} // of a subagent, or nobody knows where
		}
	}
	i := slices.IndexFunc(b.stands, func(o stand) bool { return o.fact == f.key })
	if i >= 0 && b.stands[i] == now || i < 0 && now == (stand{}) {
		return
	}
	if b.changed, b.known = true, nil; i >= 0 {
		b.stands = slices.Delete(b.stands, i, i+1)
	}
	if now == (stand{}) {
		return
	}
	at, _ := slices.BinarySearchFunc(b.stands, now, byTime)
	b.stands = slices.Insert(b.stands, at, now)
	b.stands = b.stands[max(0, len(b.stands)-maxStands):]
}

func (s *session) hasMoved(moves []move) {
	if s.moved != (len(moves) > 0) {
		s.moved, s.changed = !s.moved, true
	}
}

// began is where a prompt began.
type began struct{ repo, branch string }

// began is what a prompt says of it, else the session.
func (s *session) began(repo, branch string) began {
	return began{cmp.Or(repo, s.texts[sRepo].value), cmp.Or(branch, s.texts[sBranch].value)}
}

// move is a prompt, and the fact whose branch it is of.
type move struct{ prompt, to schemas.Id }

// moves are the prompts that are of another branch than they began on, the last
// first.
func (b *branches) moves(s *session) (moves []move) {
	if of := s.began("", ""); b.known != nil && b.of == of {
		return b.known
	}
	b.of = s.began("", "")
	defer func() { b.known = moves }()
	moves = []move{}
	of := map[schemas.Id]began{} // by prompt
	for _, p := range b.stands {
		if p.isPrompt() {
			of[p.fact] = s.began(p.repo, p.branch)
		}
	}
	var to *stand // what tells where they went, while prompts before it are of its prompt's branch
	for i := len(b.stands) - 1; i >= 0; i-- {
		switch at := &b.stands[i]; {
		case !at.isPrompt():
			from, known := of[at.prompt]
			switch {
			case known && from.repo != cmp.Or(at.repo, s.texts[sRepo].value): // it was elsewhere
			case known && at.branch != from.branch && !schemas.SharedBranch(at.branch):
				to = at
			case !at.end: // work was committed where it was done
				to = nil
			}
		case to != nil && of[at.fact] == of[to.prompt] && (at.fact == to.prompt || schemas.SharedBranch(of[at.fact].branch)):
			moves = append(moves, move{at.fact, to.fact})
		default:
			to = nil
		}
	}
	return moves
}

// movedTo is the fact whose branch a prompt is of, nil if it is of its own; and where
// the prompt began.
func (x *fold) movedTo(s *session, prompt schemas.Id) (to *fact, from began) {
	if !s.moved {
		return nil, from
	}
	b := load[branches](x, branchesKey(s.id), nil)
	if b == nil {
		return nil, from
	}
	for _, m := range b.moves(s) {
		if m.prompt == prompt {
			p := x.known(s, prompt)
			return x.known(s, m.to), s.began(p.texts[tRepo].value, p.texts[tBranch].value)
		}
	}
	return nil, from
}

func (b *branches) encode() []byte {
	e := encode()
	e.Uint(uint64(len(b.stands)))
	for i := range b.stands {
		at := &b.stands[i]
		e.Int(at.at)
		e.ID(at.fact)
		e.ID(at.prompt)
		e.Text(at.repo)
		e.Text(at.branch)
		e.Bool(at.end)
	}
	return e.Writer
}

func (b *branches) decode(record []byte) error {
	d := decode(record)
	for range d.Count() {
		b.stands = append(b.stands, stand{d.Int(), d.ID(), d.ID(), d.Text(), d.Text(), d.Bool()})
	}
	return d.Err()
}
