package tasks

import (
	"slices"
	"strings"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// Silence after which a task is judged (docs/tasks.md).
const (
	restTime    = 30 * time.Minute
	abandonTime = 7 * 24 * time.Hour
)

// rule gives an outcome where it holds; keys are the facts that it went by.
type rule struct {
	outcome schemas.TaskOutcome
	words   string
	holds   func(c *combination) (keys []schemas.Id, holds bool)
}

// clocks is how far the clocks of a forge and a laptop may be apart.
const clocks = 5 * time.Minute

// rules of the outcome: the first that holds.
var rules = []rule{
	{schemas.TaskOutcomeReverted, "what landed last was taken back, and no file was changed since", func(c *combination) ([]schemas.Id, bool) {
		return c.landed(schemas.ChangeStateReverted)
	}},
	{schemas.TaskOutcomeMerged, "its last change is on the target branch, and no file was changed since", func(c *combination) ([]schemas.Id, bool) {
		return c.landed(schemas.ChangeStateMerged)
	}},
	{schemas.TaskOutcomeOpen, "no prompt has given the agent work", func(c *combination) ([]schemas.Id, bool) {
		return nil, c.last == nil
	}},
	{schemas.TaskOutcomeOpen, "the turn has not ended", func(c *combination) ([]schemas.Id, bool) {
		if c.running == nil {
			return nil, false
		}
		return c.running.TurnEvidence, true
	}},
	{schemas.TaskOutcomeFailed, "the last turn ended in an error", func(c *combination) ([]schemas.Id, bool) {
		return c.last.TurnEvidence, c.last.Turn == schemas.TurnStateFailed
	}},
	{schemas.TaskOutcomeInterrupted, "the last turn was interrupted, or its session ended without an end of the turn", func(c *combination) ([]schemas.Id, bool) {
		return c.last.TurnEvidence, c.last.Turn == schemas.TurnStateInterrupted
	}},
	{schemas.TaskOutcomeOpen, "something may still run in the background", func(c *combination) ([]schemas.Id, bool) {
		if c.background == nil {
			return nil, false
		}
		return c.background.BackgroundEvidence, true
	}},
	{schemas.TaskOutcomeOpen, "the last test run after the last change of code is red", func(c *combination) ([]schemas.Id, bool) {
		o := c.Did.LastTestOutcome
		return c.tested(), !c.Did.EditsAfterTest && (o == schemas.TestOutcomeFailed || o == schemas.TestOutcomeErrored)
	}},
	{schemas.TaskOutcomeOpen, "the last turn stopped less than 30 minutes ago, or something happened since", func(c *combination) ([]schemas.Id, bool) {
		return c.last.TurnEvidence, !c.silent(restTime)
	}},
	{schemas.TaskOutcomeCompleted, "the last turn stopped, nothing runs in the background, no test run after the last change of code is red, and nothing happened for 30 minutes",
		func(c *combination) ([]schemas.Id, bool) {
			keys := append(slices.Clone(c.last.TurnEvidence), c.tested()...)
			if c.commit != nil {
				keys = append(keys, c.commit.Commit)
			}
			return keys, true
		}},
}

// judge fills the outcome with the rule that gave it and its evidence.
func (c *combination) judge() {
	for _, r := range rules {
		keys, holds := r.holds(c)
		if !holds {
			continue
		}
		c.TaskOutcome, c.OutcomeRule, c.OutcomeEvidence = r.outcome, r.words, slices.Clone(keys)
		break
	}
	if c.TaskOutcome == schemas.TaskOutcomeOpen && c.silent(abandonTime) {
		c.TaskOutcome, c.OutcomeRule = schemas.TaskOutcomeAbandoned, "nothing happened for 7 days, and it was open: "+c.OutcomeRule
	}
	c.MergeReady = c.TaskOutcome == schemas.TaskOutcomeCompleted && c.Did.LastTestOutcome == schemas.TestOutcomePassed &&
		!c.Did.EditsAfterTest && c.commit != nil && c.commit.CommittedAt >= c.editedAt
}

// landed tells whether the last change that landed stands so: of pull requests, or
// else of commits that were pushed without one.
func (c *combination) landed(state schemas.ChangeState) (keys []schemas.Id, holds bool) {
	var last *schemas.TaskChange // they are in order, the last first
	for i := range c.Changes {
		change := &c.Changes[i]
		if change.State != schemas.ChangeStateMerged && change.State != schemas.ChangeStateReverted {
			continue
		}
		if last == nil || !isPull(last) && isPull(change) {
			last = change
		}
	}
	if last == nil || last.State != state || c.editedAt > last.At+clocks.Microseconds() {
		return nil, false
	}
	return last.Evidence, true
}

func isPull(c *schemas.TaskChange) bool { return strings.Contains(c.ChangeId, "#") }

func (c *combination) silent(d time.Duration) bool { return c.now-c.LastSeen >= d.Microseconds() }

// tested are the last test run and the last change of code.
func (c *combination) tested() (keys []schemas.Id) {
	if c.test != nil {
		keys = append(keys, c.test.Test)
	}
	if c.codeEdit != nil {
		keys = append(keys, c.codeEdit.CodeEdit)
	}
	return keys
}
