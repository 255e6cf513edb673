package reference

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

func (f *fact) toolName() string {
	return f.text(record, func(o observation) string { return o.Body.Tool.ToolName })
}

func (f *fact) argumentsHash() string {
	return f.text(record, func(o observation) string { return o.Body.Tool.ArgumentsHash })
}

func approvalDecision(o observation) string { return o.Body.Tool.ApprovalDecision }

func (f *fact) approvalDecision() string { return f.text(decisions, approvalDecision) }

func (f *fact) approvalSource() string {
	return f.text(decisions, func(o observation) string { return o.Body.Tool.ApprovalSource })
}

// approvalKind is who or what decided, with the code of the reason.
func (f *fact) approvalKind() string {
	kind := f.approvalSource()
	if reason := f.text(record, func(o observation) string { return o.Body.Tool.ApprovalReason }); reason != "" {
		kind += ":" + reason
	}
	return kind
}

// call is what a permission request and its call have in common.
type call struct {
	kind                 schemas.Kind // of the facts that are grouped
	tool, arguments, run string
}

func (f *fact) call(kind schemas.Kind) call {
	return call{kind, f.toolName(), f.argumentsHash(), f.agentRunId()}
}

// maxLinked is how many requests, and how many calls, with the same tool and
// arguments are linked: the latest.
const maxLinked = 64

// groupAlike groups permission requests and calls by what they have in common;
// those of which tool or arguments are not known are alone.
func (s *session) groupAlike() map[call][]*fact {
	groups := map[call][]*fact{}
	for _, f := range s.facts {
		if f.kind != schemas.KindApproval && f.kind != schemas.KindToolCall {
			continue
		}
		if c := f.call(f.kind); c.tool != "" && c.arguments != "" {
			groups[c] = append(groups[c], f)
		}
	}
	for c, facts := range groups {
		slices.SortFunc(facts, func(a, b *fact) int { return cmp.Or(cmp.Compare(a.at, b.at), bytes.Compare(a.key[:], b.key[:])) })
		groups[c] = facts[max(0, len(facts)-maxLinked):]
	}
	return groups
}

// callOf is the call that a permission request belongs to, which has no
// tool_use_id (contracts/claude-code.md §2.3): the latest one like it that had
// begun when it was made. nil if there is none.
func (s *session) callOf(request *fact) *fact {
	for _, c := range slices.Backward(s.alike[request.call(schemas.KindToolCall)]) {
		if c.at <= request.at {
			return c
		}
	}
	return nil
}

// approvals fills the approval columns of a call or a permission request.
func (s *session) approvals(r *schemas.Enriched, f *fact) {
	if f.kind == schemas.KindApproval {
		s.approval(r, f)
		return
	}
	r.ApprovalDecision, r.ApprovalKind = f.approvalDecision(), f.approvalKind()
	// user_permanent may be a rule that a person once made; these three cannot.
	byPerson := slices.Contains([]string{"user_temporary", "user_reject", "user_abort"}, f.approvalSource())
	asked := slices.ContainsFunc(s.alike[f.call(schemas.KindApproval)], func(request *fact) bool { return s.callOf(request) == f })
	if byPerson || asked {
		r.ApprovalRequired = schemas.SomeBool(true)
	}
}

// approval fills a permission request's row from its call.
func (s *session) approval(r *schemas.Enriched, request *fact) {
	r.ApprovalRequired = schemas.SomeBool(true)
	call := s.callOf(request)
	if call == nil {
		return
	}
	r.ToolUseId, r.RequestId = call.toolUseId(), call.requestId()
	r.ApprovalDecision, r.ApprovalKind = call.approvalDecision(), call.approvalKind()
	// A wait is a person's, and only OTLP's log tells the moment of the decision.
	decided := text(approvalDecision).believed(call.observations, decisions)
	if strings.HasPrefix(call.approvalSource(), "user_") && len(decided) > 0 && decided[0].by == otlpLog {
		at := decided[0].at
		for _, o := range decided {
			at = min(at, o.at)
		}
		r.ApprovalWaitMs = schemas.SomeLong(max(0, at-r.OccurredAt) / 1000)
	}
}
