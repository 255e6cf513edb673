package sessions

import (
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// What the rows of a commit add to the spend of each value of each dimension, for
// the processor spend: sums of sign * measure by minute, billing and grade
// (DESIGN §3, internal topics are functions of the rows of the same commit).

// spendKey is what the rows are added up by.
type spendKey struct {
	org       string
	dimension schemas.SpendDimension
	value     string
	minute    int64
	billing   schemas.Billing
	grade     schemas.CostGrade
}

const minute = 60e6

// addSpend adds a row, sign times.
func (x *fold) addSpend(r *schemas.Enriched, sign int64) {
	for _, d := range [...]struct {
		dimension schemas.SpendDimension
		value     string
	}{
		{schemas.SpendDimensionOrg, r.Org}, {schemas.SpendDimensionRepo, r.Repo}, {schemas.SpendDimensionTeam, r.Team}, {schemas.SpendDimensionUser, r.User},
		{schemas.SpendDimensionWorkflow, r.Workflow}, {schemas.SpendDimensionWorkKind, r.WorkKind.String()}, {schemas.SpendDimensionModel, r.Model},
	} {
		key := spendKey{r.Org, d.dimension, d.value, r.OccurredAt - r.OccurredAt%minute, r.Billing, r.CostGrade}
		s := x.spend[key]
		if s == nil {
			s = &schemas.SpendDelta{Org: key.org, Dimension: key.dimension, Value: key.value, Minute: key.minute, Billing: key.billing, CostGrade: key.grade}
			if x.spend == nil {
				x.spend = map[spendKey]*schemas.SpendDelta{}
			}
			x.spend[key] = s
		}
		s.Requests += sign
		s.TokenInput += sign * r.TokenInput.Value
		s.TokenOutput += sign * r.TokenOutput.Value
		s.TokenCacheRead += sign * r.TokenCacheRead.Value
		s.TokenCacheWrite += sign * (r.TokenCacheWrite5m.Value + r.TokenCacheWrite1h.Value)
		s.CostNanoUsd += sign * r.CostNanoUsd.Value
	}
}

// emitSpend says what has come together, if it is not nothing.
func (x *fold) emitSpend() {
	if len(x.spend) == 0 {
		return
	}
	deltas := make([]*schemas.SpendDelta, 0, len(x.spend))
	for _, d := range x.spend {
		if d.Requests != 0 || d.TokenInput != 0 || d.TokenOutput != 0 || d.TokenCacheRead != 0 || d.TokenCacheWrite != 0 || d.CostNanoUsd != 0 {
			deltas = append(deltas, d)
		}
	}
	slices.SortFunc(deltas, func(a, b *schemas.SpendDelta) int {
		return cmp.Or(cmp.Compare(a.Org, b.Org), cmp.Compare(a.Dimension, b.Dimension), cmp.Compare(a.Value, b.Value),
			cmp.Compare(a.Minute, b.Minute), cmp.Compare(a.Billing, b.Billing), cmp.Compare(a.CostGrade, b.CostGrade))
	})
	for _, d := range deltas {
		d.Cap()
		x.tx.EmitFor(broker.SpendDeltas, d.Dimension.String()+"\x00"+d.Value, d.AppendAvro(nil))
	}
	clear(x.spend)
}
