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
// due when one changed. Sessions that never ask have none; the first request
// makes those of all calls before it.
func (x *fold) relate(s *session, f *fact, before kin) {
	x.relateMoney(s, f, before)
	if f.kind != schemas.KindApproval && f.kind != schemas.KindToolCall {
		return
	}
	if f.kind == schemas.KindApproval && !s.asked {
		s.asked, s.changed = true, true
		for i := range s.facts {
			p := load[page](x, pageKey(s.id, i/pageSize), nil)
			if c := x.known(s, p.facts[i%pageSize]); c.kind == schemas.KindToolCall {
				x.link(s, c)
			}
		}
	}
	if !s.asked {
		return
	}
	l := x.link(s, f)
	if l == nil {
		return
	}
	x.reconsider(s, l.requests, f)
	x.reconsider(s, l.calls, f)
}

// link puts a request or call into the link of its tool and arguments.
func (x *fold) link(s *session, f *fact) *link {
	id, ok := callOf(f)
	if !ok {
		return nil
	}
	l := x.group(s, id)
	if f.kind == schemas.KindApproval {
		l.requests = l.add(l.requests, f, later)
	} else {
		l.calls = l.add(l.calls, f, later)
	}
	return l
}

// callFor is the call that a request belongs to: the latest begun before it. A
// member whose tool or arguments are known otherwise by now stands in another
// link and counts no more in this one.
func (x *fold) callFor(s *session, id schemas.Id, l *link, request moment) *fact {
	for i := len(l.calls) - 1; i >= 0; i-- {
		if l.calls[i].at > request.at {
			continue
		}
		call := x.known(s, l.calls[i].fact)
		if now, ok := callOf(call); ok && now == id {
			return call
		}
	}
	return nil
}

// linkOf is the link that a fact stands in, nil if none.
func (x *fold) linkOf(s *session, f *fact) (id schemas.Id, l *link) {
	id, ok := callOf(f)
	if !ok || !s.asked {
		return id, nil
	}
	return id, load[link](x, linkKey(s.id, id), nil)
}

// requestFor tells that a permission request belongs to the call.
func (x *fold) requestFor(s *session, f *fact) bool {
	id, l := x.linkOf(s, f)
	if l == nil {
		return false
	}
	for _, request := range l.requests {
		if now, ok := callOf(x.known(s, request.fact)); ok && now == id && x.callFor(s, id, l, request) == f {
			return true
		}
	}
	return false
}

// approval fills a request's row from the call that it belongs to.
func (x *fold) approval(r *schemas.Enriched, s *session, f *fact) {
	r.ApprovalRequired = schemas.SomeBool(true)
	id, l := x.linkOf(s, f)
	if l == nil {
		return
	}
	call := x.callFor(s, id, l, moment{f.key, f.numbers[nOccurredAt].value})
	if call == nil {
		return
	}
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
