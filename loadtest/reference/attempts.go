package reference

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// stepsOf are the calls among the rows of a session that have ended, in their
// order.
func stepsOf(rows []*schemas.Enriched) (steps []*schemas.Enriched) {
	for _, r := range rows {
		if r.Kind == schemas.KindToolCall && ended(r) {
			steps = append(steps, r)
		}
	}
	inTime(steps)
	return steps
}

func inTime(rows []*schemas.Enriched) {
	slices.SortFunc(rows, inOrderOfTime)
}

func inOrderOfTime(a, b *schemas.Enriched) int {
	return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), bytes.Compare(a.FactKey[:], b.FactKey[:]))
}

func ended(r *schemas.Enriched) bool {
	return r.Success.Valid || r.ErrorClass != "" || r.ApprovalDecision == "reject"
}

func succeeded(r *schemas.Enriched) bool { return r.Success.Value }

// turn is what is judged together: what one run does between two prompts.
type turn struct{ prompt, run string }

func turnOf(r *schemas.Enriched) turn { return turn{r.PromptId, r.AgentRunId} }

// intent is what a step tries to do.
type intent struct{ tool, target, arguments string }

func intentOf(r *schemas.Enriched) intent {
	i := intent{r.ToolName, r.ToolTarget, r.ToolArgumentsHash}
	if r.ToolTarget != "" && r.ToolName != "Agent" && r.ToolName != "Task" {
		i.arguments = "" // a program, or a path
	}
	return i
}

// countAttempts fills attempt and retry_reason of the calls of a session.
func countAttempts(rows []*schemas.Enriched) {
	type chain struct {
		turn
		intent
	}
	failed := map[chain]*schemas.Enriched{} // the last of each, unless it succeeded
	for _, r := range stepsOf(rows) {
		c := chain{turnOf(r), intentOf(r)}
		r.Attempt = schemas.SomeLong(1)
		if before := failed[c]; before != nil {
			r.Attempt.Value += before.Attempt.Value
			r.RetryReason = whyItFailed(before)
		}
		failed[c] = r
		if succeeded(r) {
			delete(failed, c)
		}
	}
}

var edits = []string{"Edit", "MultiEdit", "Write", "NotebookEdit"}

// whyItFailed is the reason for trying a step again.
func whyItFailed(r *schemas.Enriched) string {
	switch class := strings.ToLower(r.ErrorClass); {
	case r.ApprovalDecision == "reject" && strings.HasPrefix(r.ApprovalKind, "hook"):
		return "hook_blocked"
	case r.ApprovalDecision == "reject", slices.Contains([]string{"permission-rule", "user-rejected", "automode-unavailable", "denied"}, class):
		return "permission_denied"
	case class == "interrupted":
		return "interrupted"
	case strings.Contains(class, "timeout"):
		return "timeout"
	case class == "validation" && slices.Contains(edits, r.ToolName):
		return "edit_mismatch"
	case class != "validation" && r.CommandClass == "test":
		return "test_failed"
	}
	return "tool_error"
}
