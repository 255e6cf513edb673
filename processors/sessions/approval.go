package sessions

import (
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// A permission request has no tool_use_id (contracts/claude-code.md §2.3): it
// is a fact of its own. It belongs to the latest call with the same tool and
// arguments that had begun when it was made, by the hooks' clock: a function of
// the set of both, whatever came first.

// callOf names what a request and its call have in common.
func callOf(f *fact) (id schemas.Id, ok bool) {
	tool, arguments := f.texts[tToolName].value, f.texts[tArgumentsHash].value
	if tool == "" || arguments == "" {
		return id, false
	}
	return schemas.FactKey(tool, schemas.KindApproval, arguments+"/"+f.texts[tAgentRunId].value), true
}

// relate keeps the links between requests and calls, and makes the other side
// due when one changed.
func (x *fold) relate(s *session, f *fact) {
	if f.kind != schemas.KindApproval && f.kind != schemas.KindToolCall {
		return
	}
	if f.kind == schemas.KindApproval && !s.asked {
		s.asked, s.changed = true, true
	}
	if !s.asked {
		return // most sessions never ask
	}
	id, ok := callOf(f)
	if !ok {
		return
	}
	key := linkKey(s.id, id)
	l := load[link](x, key, nil)
	switch {
	case f.kind == schemas.KindToolCall:
		if l == nil {
			return // nobody asked for such a call yet
		}
		l.calls = l.add(l.calls, f)
	case l == nil:
		l = load(x, key, func() *link { return &link{} })
		for i := range s.facts { // calls that came before the first request
			p := load[page](x, pageKey(s.id, i/pageSize), nil)
			if c := x.known(s, p.facts[i%pageSize]); c.kind == schemas.KindToolCall {
				if other, ok := callOf(c); ok && other == id {
					l.calls = l.add(l.calls, c)
				}
			}
		}
		fallthrough
	default:
		l.requests = l.add(l.requests, f)
	}
	now := x.tx.Now()
	for _, side := range [...][]moment{l.requests, l.calls} {
		for _, m := range side {
			if other := x.known(s, m.fact); other != f && other.version > 0 {
				other.dueBy(max(now, other.published+nextVersion))
			}
		}
	}
}

// add puts a fact into one side of the link, or moves it to its new time.
func (l *link) add(side []moment, f *fact) []moment {
	at := f.numbers[nOccurredAt].value
	for i := range side {
		if side[i].fact == f.key {
			if side[i].at != at {
				side[i].at, l.changed = at, true
			}
			return side
		}
	}
	if len(side) < maxMoments {
		side, l.changed = append(side, moment{f.key, at}), true
	}
	return side
}

// callFor is the call that a request at a time belongs to: the latest begun
// before it.
func (l *link) callFor(at int64) (call moment, ok bool) {
	for _, c := range l.calls {
		if c.at <= at && (!ok || c.at > call.at || c.at == call.at && string(c.fact[:]) > string(call.fact[:])) {
			call, ok = c, true
		}
	}
	return call, ok
}

func (x *fold) linkOf(s *session, f *fact) *link {
	if !s.asked {
		return nil
	}
	id, ok := callOf(f)
	if !ok {
		return nil
	}
	return load[link](x, linkKey(s.id, id), nil)
}

// requestFor tells that a permission request belongs to the call.
func (x *fold) requestFor(s *session, f *fact) bool {
	l := x.linkOf(s, f)
	if l == nil {
		return false
	}
	for _, request := range l.requests {
		if call, ok := l.callFor(request.at); ok && call.fact == f.key {
			return true
		}
	}
	return false
}

// approval fills a request's row from the call that it belongs to.
func (x *fold) approval(r *schemas.Enriched, s *session, f *fact) {
	r.ApprovalRequired = schemas.SomeBool(true)
	l := x.linkOf(s, f)
	if l == nil {
		return
	}
	m, ok := l.callFor(f.numbers[nOccurredAt].value)
	if !ok {
		return
	}
	call := x.known(s, m.fact)
	r.ToolUseId = call.texts[tToolUseId].value
	r.RequestId = call.texts[tRequestId].value
	r.ApprovalDecision = call.texts[tApprovalDecision].value
	r.ApprovalKind = approvalKind(call)
	// Where nobody can be asked, the settings refuse within a few ms: that is no
	// wait for a person.
	byPerson := strings.HasPrefix(call.texts[tApprovalSource].value, "user_")
	if decided := call.numbers[nDecidedAt]; byPerson && decided.rank != 0 && decided.rank == decisionBy[otlpLog] {
		r.ApprovalWaitMs = schemas.SomeLong(max(0, decided.value-r.OccurredAt) / 1000)
	}
}

// approvalKind says who or what decided, and the code of the reason.
func approvalKind(f *fact) string {
	kind := f.texts[tApprovalSource].value
	if reason := f.texts[tApprovalReason].value; reason != "" {
		kind += ":" + reason
	}
	return kind
}

// userDecided tells a decision that only a person can have made at that
// moment. user_permanent may be a rule that a person once made.
func userDecided(f *fact) bool {
	switch f.texts[tApprovalSource].value {
	case "user_temporary", "user_reject", "user_abort":
		return true
	}
	return false
}
