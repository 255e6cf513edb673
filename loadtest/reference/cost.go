package reference

import (
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// model fills the columns of the family model.
func (f *fact) model(r *schemas.Enriched, prices *Prices) {
	r.Model = f.text(usage, func(o observation) string { return o.Body.Model.Model })
	r.ModelRequested = f.text(record, func(o observation) string { return o.Body.Model.ModelRequested })
	r.StopReason = f.text(record, func(o observation) string { return o.Body.Model.StopReason })
	r.QuerySource = f.text(usage, func(o observation) string { return o.Body.Model.QuerySource })
	r.Platform = f.text(usage, func(o observation) string { return o.Body.Model.Platform })
	r.Speed = f.text(served, func(o observation) string { return o.Body.Model.Speed })
	r.ServiceTier = f.text(record, func(o observation) string { return o.Body.Model.ServiceTier })
	r.Attempt = f.greatest(attempts, func(o observation) schemas.OptLong { return o.Body.Model.Attempt })
	r.ResultHash = f.text(record, func(o observation) string { return o.Body.Model.TextHash })
	switch f.kind {
	case schemas.KindModelRetry:
		r.RetryReason = r.ErrorClass
		r.DurationMs = f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Model.WaitMs })
	case schemas.KindModelError:
		r.RetryReason = r.ErrorClass
	case schemas.KindModelRequest:
		f.request(r, prices)
	}
}

// request fills tokens and cost.
func (f *fact) request(r *schemas.Enriched, prices *Prices) {
	r.TokenInput = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenInput })
	r.TokenOutput = f.greatest(usage, tokenOutput)
	r.TokenThinking = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenThinking })
	r.TokenCacheRead = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenCacheRead })
	r.TokenCacheWrite5m = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenCacheWrite5m })
	r.TokenCacheWrite1h = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenCacheWrite1h })
	r.CostClientUsd = f.costClientUsd()
	if slices.Contains([]string{"bedrock", "vertex", "foundry"}, r.Platform) && (r.TokenInput.Valid || r.TokenOutput.Valid) {
		r.Billing = schemas.BillingCloud
	}

	q := request{
		model: r.Model, platform: r.Platform, speed: r.Speed, tier: r.ServiceTier,
		geo: f.text(record, func(o observation) string { return o.Body.Model.InferenceGeo }), at: r.OccurredAt,
		input: r.TokenInput.Value, output: r.TokenOutput.Value, cacheRead: r.TokenCacheRead.Value,
		cacheWrite5m: r.TokenCacheWrite5m.Value, cacheWrite1h: r.TokenCacheWrite1h.Value,
		lowerBound: f.outputPartial(),
	}
	// Where nobody splits the cache writes by lifetime they stand in the column
	// of the cheaper one, and the price is a range.
	whole := f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenCacheWrite })
	if whole.Valid && !r.TokenCacheWrite5m.Valid && !r.TokenCacheWrite1h.Valid {
		r.TokenCacheWrite5m, q.cacheWriteUnsplit = whole, whole.Value
	}
	searches := f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Model.WebSearches })
	fetches := f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Model.WebFetches })
	// The nested request of a web search made one at least, of which no witness
	// tells.
	nested := r.QuerySource == "web_search_tool" && !searches.Valid && !fetches.Valid
	if nested {
		searches = schemas.SomeLong(1)
	}
	if searches.Valid || fetches.Valid {
		r.ServerToolUses = schemas.SomeLong(searches.Value + fetches.Value)
	}
	q.searches = searches.Value

	if !r.TokenInput.Valid && !r.TokenOutput.Valid {
		return // no usage is known: nothing to price
	}
	r.PriceVersion = prices.version
	least, most, ok := prices.cost(q)
	if !ok {
		r.CostGrade = schemas.CostGradeUnpriced
		return
	}
	r.CostNanoUsd, r.CostNanoUsdMax = schemas.SomeLong(least), schemas.SomeLong(most)
	r.CostUsd = schemas.SomeDouble(float64(least) / 1e9)
	r.CostGrade = schemas.CostGradeMeasured
	if least != most || q.lowerBound || nested {
		r.CostGrade = schemas.CostGradeEstimated
	}
	if q.lowerBound || nested && least == most {
		r.CostNanoUsdMax = schemas.OptLong{} // there is no upper bound
	}
}

func tokenOutput(o observation) schemas.OptLong { return o.Body.Model.TokenOutput }

// outputPartial tells that token_output is a lower bound: nobody who is believed
// for it saw the end of the stream.
func (f *fact) outputPartial() bool {
	told := number(tokenOutput).believed(f.observations, usage)
	return len(told) > 0 && !slices.ContainsFunc(told, func(o observation) bool { return !o.Body.Model.OutputPartial })
}

func (f *fact) costClientUsd() (greatest schemas.OptDouble) {
	for _, o := range believed(f.observations, usage, func(o observation) bool { return o.Body.Model.CostClientUsd.Valid }) {
		if c := o.Body.Model.CostClientUsd; !greatest.Valid || c.Value > greatest.Value {
			greatest = c
		}
	}
	return greatest
}
