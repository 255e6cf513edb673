package openobserve_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// now is the time of the server.
var now = time.Date(2026, 11, 20, 12, 30, 0, 0, time.UTC)

// fact is one thing that happened, as it stands in the end. What panels show is
// computed from these, without signs, versions and SQL.
type fact struct {
	schemas.Enriched
	withdrawn bool
}

// history is a set of facts and all rows that were ever said about them: each
// correction takes the row before back.
type history struct {
	facts []fact
	rows  []schemas.Enriched
}

// The values that facts have; the empty one is not known.
var (
	repos     = []string{"", "git.example.com/shop/web", "git.example.com/shop/api", "git.example.com/o'neill/tools"}
	teams     = []string{"", "core", "web"}
	users     = []string{"", "anna@example.com", "o'brien@example.com", "li@example.com"}
	models    = []string{"", "opus", "sonnet", "haiku", "unheard-of"}
	platforms = []string{"", "firstParty", "bedrock"}
	tools     = []string{"", "Bash", "Edit", "Read", "mcp__tickets__find"}
	kinds     = []schemas.Kind{schemas.KindSessionStart, schemas.KindPrompt, schemas.KindModelRequest, schemas.KindModelRequest,
		schemas.KindToolCall, schemas.KindToolCall, schemas.KindApproval, schemas.KindFileChange, schemas.KindModelError}
	families = map[schemas.Kind]schemas.Family{
		schemas.KindSessionStart: schemas.FamilySession, schemas.KindPrompt: schemas.FamilySession,
		schemas.KindModelRequest: schemas.FamilyModel, schemas.KindModelError: schemas.FamilyModel,
		schemas.KindToolCall: schemas.FamilyTool, schemas.KindApproval: schemas.FamilyTool, schemas.KindFileChange: schemas.FamilyArtifact,
	}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func long(n int64) schemas.OptLong { return schemas.OptLong{Value: n, Valid: true} }

// newHistory makes up so many facts of ten days. A third of them is corrected, up
// to three times: they move to another repository, model or kind of billing, get
// another price, an outcome, or none; some are withdrawn.
func newHistory(seed uint64, n int) *history {
	r := rand.New(rand.NewPCG(seed, 1))
	h := &history{}
	for i := range n {
		kind := pick(r, kinds)
		e := schemas.Enriched{
			FactKey: schemas.FactKey("test", kind, fmt.Sprint(i)), Generation: 2, Kind: kind, Family: families[kind],
			OccurredAt: now.Add(-time.Duration(r.Int64N(int64(240 * time.Hour)))).UnixMicro(),
			SessionId:  fmt.Sprintf("session-%d", r.IntN(1+n/20)),
		}
		change(r, &e)
		versions := 1
		for versions < 4 && r.IntN(3) == 0 {
			versions++
		}
		f := fact{Enriched: e}
		for v := 1; ; v++ {
			f.say(h, int64(v), 1)
			if v == versions {
				break
			}
			f.say(h, int64(v+1), -1)
			if f.withdrawn = r.IntN(6) == 0; f.withdrawn {
				break
			}
			change(r, &f.Enriched)
		}
		h.facts = append(h.facts, f)
	}
	return h
}

// say appends the row of a fact as it is now.
func (f *fact) say(h *history, version int64, sign int32) {
	row := f.Enriched
	row.Version, row.Sign = version, sign
	row.RowId = schemas.RowID(row.Generation, row.FactKey, version, sign)
	h.rows = append(h.rows, row)
}

// change sets all that a correction may change.
func change(r *rand.Rand, e *schemas.Enriched) {
	e.Repo, e.Team, e.User = pick(r, repos), pick(r, teams), pick(r, users)
	e.DurationMs, e.Success = schemas.OptLong{}, schemas.OptBool{}
	if r.IntN(4) > 0 {
		e.DurationMs = long(1 + r.Int64N(90_000))
	}
	if r.IntN(4) > 0 {
		e.Success = schemas.OptBool{Value: r.IntN(3) > 0, Valid: true}
	}
	switch e.Kind {
	case schemas.KindToolCall, schemas.KindApproval:
		e.ToolName, e.McpServer = pick(r, tools), ""
		if e.ToolName == "mcp__tickets__find" {
			e.McpServer = "tickets"
		}
	case schemas.KindModelRequest:
		e.Model, e.Platform = pick(r, models), pick(r, platforms)
		e.Billing = schemas.Billing(r.IntN(4))
		e.TokenInput, e.TokenOutput, e.TokenThinking = long(r.Int64N(1e5)), long(r.Int64N(1e4)), long(r.Int64N(1e3))
		e.TokenCacheRead, e.TokenCacheWrite5m, e.TokenCacheWrite1h = long(r.Int64N(1e6)), long(r.Int64N(1e5)), schemas.OptLong{}
		e.CostNanoUsd, e.CostUsd, e.CostNanoUsdMax = schemas.OptLong{}, schemas.OptDouble{}, schemas.OptLong{}
		if e.Model == "unheard-of" || r.IntN(12) == 0 {
			e.CostGrade = schemas.CostGradeUnpriced
			return
		}
		e.CostGrade = pick(r, []schemas.CostGrade{schemas.CostGradeMeasured, schemas.CostGradeDerived, schemas.CostGradeEstimated})
		cost := r.Int64N(3_000_000_000_000)
		e.CostNanoUsd, e.CostNanoUsdMax = long(cost), long(cost)
		e.CostUsd = schemas.OptDouble{Value: float64(cost) / 1e9, Valid: true}
		if e.CostGrade == schemas.CostGradeEstimated {
			e.CostNanoUsdMax = long(cost + r.Int64N(1_000_000_000))
		}
	}
}
