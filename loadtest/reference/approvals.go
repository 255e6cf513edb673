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

// maxLinked is how many requests, and how many calls, with the same tool and
// arguments are linked: the latest.
const maxLinked = 64

// alike are the facts of a kind with the tool, arguments and agent run of f,
// the earliest first; none where tool or arguments are not known.
func (s *session) alike(f *fact, kind schemas.Kind) (facts []*fact) {
	if f.toolName() == "" || f.argumentsHash() == "" {
		return nil
	}
	for _, o := range s.facts {
		if o.kind == kind && o.toolName() == f.toolName() && o.argumentsHash() == f.argumentsHash() && o.agentRunId() == f.agentRunId() {
			facts = append(facts, o)
		}
	}
	slices.SortFunc(facts, func(a, b *fact) int {
		return cmp.Or(cmp.Compare(a.occurredAt(s), b.occurredAt(s)), bytes.Compare(a.key[:], b.key[:]))
	})
	return facts[max(0, len(facts)-maxLinked):]
}

// callOf is the call that a permission request belongs to, which has no
// tool_use_id (contracts/claude-code.md §2.3): the latest one like it that had
// begun when it was made. nil if there is none.
func (s *session) callOf(request *fact) *fact {
	calls := s.alike(request, schemas.KindToolCall)
	calls = slices.DeleteFunc(calls, func(c *fact) bool { return c.occurredAt(s) > request.occurredAt(s) })
	if len(calls) == 0 {
		return nil
	}
	return calls[len(calls)-1]
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
	asked := slices.ContainsFunc(s.alike(f, schemas.KindApproval), func(request *fact) bool { return s.callOf(request) == f })
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
