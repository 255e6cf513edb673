package reference

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Group is what measures are summed by: the finest of the groupings that
// reports use, so that where its sums agree those of each single column do.
type Group struct {
	Generation                                             int64
	Org, Team, User, Host                                  string
	Repo, Branch, Workflow, Skill, Agent                   string
	TaskId, SessionId, PromptId, Model, Platform, ToolName string

	WorkKind  schemas.WorkKind
	Kind      schemas.Kind
	CostGrade schemas.CostGrade
	Billing   schemas.Billing
}

// Measures are the integer columns that may be added up, with the number of
// facts; null counts as 0.
type Measures struct {
	Facts, DurationMs                                                    int64
	TokenInput, TokenOutput, TokenThinking                               int64
	TokenCacheRead, TokenCacheWrite5m, TokenCacheWrite1h, ServerToolUses int64
	CostNanoUsd, CostNanoUsdMax, CostContractedNanoUsd, ToolCostNanoUsd  int64
	ApprovalWaitMs, LinesAdded, LinesRemoved                             int64
}

// Sums are the signed sums over rows, each row once by its row_id; groups that
// sum to nothing are left out.
func Sums(rows []schemas.Enriched) map[Group]Measures {
	sums := map[Group]Measures{}
	seen := map[schemas.Id]bool{}
	for i := range rows {
		r := &rows[i]
		if !r.RowId.IsZero() && seen[r.RowId] {
			continue
		}
		seen[r.RowId] = true
		g := Group{
			Generation: r.Generation, Org: r.Org, Team: r.Team, User: r.User, Host: r.Host,
			Repo: r.Repo, Branch: r.Branch, Workflow: r.Workflow, Skill: r.Skill, Agent: r.Agent,
			TaskId: r.TaskId, SessionId: r.SessionId, PromptId: r.PromptId, Model: r.Model, Platform: r.Platform, ToolName: r.ToolName,
			WorkKind: r.WorkKind, Kind: r.Kind, CostGrade: r.CostGrade, Billing: r.Billing,
		}
		m, sign := sums[g], int64(r.Sign)
		m.Facts += sign
		m.DurationMs += sign * r.DurationMs.Value
		m.TokenInput += sign * r.TokenInput.Value
		m.TokenOutput += sign * r.TokenOutput.Value
		m.TokenThinking += sign * r.TokenThinking.Value
		m.TokenCacheRead += sign * r.TokenCacheRead.Value
		m.TokenCacheWrite5m += sign * r.TokenCacheWrite5m.Value
		m.TokenCacheWrite1h += sign * r.TokenCacheWrite1h.Value
		m.ServerToolUses += sign * r.ServerToolUses.Value
		m.CostNanoUsd += sign * r.CostNanoUsd.Value
		m.CostNanoUsdMax += sign * r.CostNanoUsdMax.Value
		m.CostContractedNanoUsd += sign * r.CostContractedNanoUsd.Value
		m.ToolCostNanoUsd += sign * r.ToolCostNanoUsd.Value
		m.ApprovalWaitMs += sign * r.ApprovalWaitMs.Value
		m.LinesAdded += sign * r.LinesAdded.Value
		m.LinesRemoved += sign * r.LinesRemoved.Value
		sums[g] = m
	}
	maps.DeleteFunc(sums, func(_ Group, m Measures) bool { return m == Measures{} })
	return sums
}

// CompareSums tells in words in which groups two sums differ.
func CompareSums(want, got map[Group]Measures) []string {
	var differences report
	groups := maps.Clone(want)
	maps.Copy(groups, got)
	ordered := slices.SortedFunc(maps.Keys(groups), func(a, b Group) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, g := range ordered {
		if want[g] != got[g] {
			differences.add("%+v: sums are %+v, want %+v", g, got[g], want[g])
		}
	}
	return differences.words()
}
