package tasks

import (
	"cmp"
	"maps"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// turn is all between two prompts.
type turn struct {
	id     string
	at     int64             // its beginning
	prompt *schemas.Enriched // nil where no row tells of it
	end    *schemas.Enriched // the last of its ends
	failed *schemas.Enriched // the last request that failed for good
	asked  int64             // last answer of a model
	works  bool              // it gave the agent work
}

// origins are what a prompt's detail says of one that is no command. A command
// of the client (/model, /exit) gives the agent no work unless rows show it.
var origins = map[string]bool{"": true, "sdk": true, "human": true, notice: true}

// inTurn puts a row into its turn.
func (c *contribution) inTurn(r *schemas.Enriched) {
	if r.PromptId == "" {
		return
	}
	t := c.turns[r.PromptId]
	if t == nil {
		t = &turn{id: r.PromptId, at: r.OccurredAt}
		c.turns[r.PromptId] = t
	}
	switch r.Kind {
	case schemas.KindPrompt:
		t.prompt, t.at = r, r.OccurredAt
		t.works = t.works || origins[r.Detail]
	case schemas.KindTurnEnd:
		t.end, t.works = r, true
	case schemas.KindToolCall, schemas.KindModelRetry:
		t.works = true
	case schemas.KindModelRequest:
		t.works = t.works || r.QuerySource != "compact"
		t.asked = r.OccurredAt
	case schemas.KindModelError:
		t.failed, t.works = r, true
	}
}

// lastTurn takes the intent of the first turn that gave the agent work, and says
// how the last one stands.
func (c *contribution) lastTurn(ended bool) {
	var last *turn
	for _, t := range slices.SortedFunc(maps.Values(c.turns), func(a, b *turn) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) }) {
		if !t.works {
			continue
		}
		if c.IntentAt == 0 && t.prompt != nil && t.prompt.Detail != notice {
			c.IntentAt, c.Task.TaskIntentRef = t.at, t.prompt.ResultHash
		}
		last = t
	}
	if last == nil {
		return
	}
	c.TurnAt, c.Turn = last.at, last.state(ended)
	for _, r := range []*schemas.Enriched{last.prompt, last.end} {
		if r != nil {
			c.TurnEvidence = append(c.TurnEvidence, r.FactKey)
		}
	}
	if last.failed != nil && c.Turn == schemas.TurnStateFailed {
		c.TurnEvidence = append(c.TurnEvidence, last.failed.FactKey)
	}
	if last.end != nil {
		c.Task.FinalMessageRef, c.Task.FinalClaim = last.end.ResultHash, last.end.Claim
	}
}

func (t *turn) state(ended bool) schemas.TurnState {
	switch {
	case t.end != nil && t.end.ErrorClass == "interrupted":
		return schemas.TurnStateInterrupted
	case t.end != nil && unsuccessful(t.end):
		return schemas.TurnStateFailed
	case t.end != nil:
		return schemas.TurnStateStopped
	case t.failed != nil && t.failed.OccurredAt >= t.asked:
		return schemas.TurnStateFailed
	case ended:
		return schemas.TurnStateInterrupted
	}
	return schemas.TurnStateRunning
}

// inBackground counts what may still run: a subagent until its end is known, a
// command until the client tells that something has ended.
func (c *contribution) inBackground() {
	for _, r := range inOrder(values(c.calls)) {
		run := c.runs[r.ToolUseId]
		if !r.Background.Value || run != nil && (run.Success.Valid || run.DurationMs.Valid) || run == nil && r.OccurredAt < c.notified {
			continue
		}
		if c.Background++; len(c.BackgroundEvidence) < 4 {
			c.BackgroundEvidence = append(c.BackgroundEvidence, r.FactKey)
		}
	}
}
