package reference

import (
	"math"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// model fills the columns of the family model.
func (b Batch) model(r *schemas.Enriched, f *fact, billing schemas.Billing) {
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
		r.RetryReason = retryReason(r.ErrorClass)
		r.DurationMs = f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Model.WaitMs })
	case schemas.KindModelError:
		r.RetryReason = retryReason(r.ErrorClass)
	case schemas.KindModelRequest:
		b.request(r, f, billing)
	}
}

// usage is what a model request was billed by, and nested tells that its search
// is one that no witness tells of.
func (f *fact) usage(org string) (q request, nested bool) {
	count := func(value number) int64 { return f.greatest(usage, value).Value }
	q = request{
		org:   org,
		model: f.text(usage, func(o observation) string { return o.Body.Model.Model }), platform: f.platform(),
		speed: f.text(served, func(o observation) string { return o.Body.Model.Speed }),
		tier:  f.text(record, func(o observation) string { return o.Body.Model.ServiceTier }),
		geo:   f.text(record, func(o observation) string { return o.Body.Model.InferenceGeo }), at: f.at,
		input:  count(tokenInput),
		output: count(tokenOutput), cacheRead: count(func(o observation) schemas.OptLong { return o.Body.Model.TokenCacheRead }),
		cacheWrite5m: count(tokenCacheWrite5m), cacheWrite1h: count(tokenCacheWrite1h),
		lowerBound: f.outputPartial(),
	}
	q.cacheWriteUnsplit = max(0, count(tokenCacheWrite)-q.cacheWrite5m-q.cacheWrite1h)
	searches := f.greatest(record, webSearches)
	q.searches = searches.Value
	// The nested request of a web search made one at least.
	nested = f.text(usage, func(o observation) string { return o.Body.Model.QuerySource }) == "web_search_tool" &&
		!searches.Valid && !f.greatest(record, webFetches).Valid
	if nested {
		q.searches = 1
	}
	return q, nested
}

func (f *fact) platform() string {
	return f.text(usage, func(o observation) string { return o.Body.Model.Platform })
}

func tokenInput(o observation) schemas.OptLong        { return o.Body.Model.TokenInput }
func tokenCacheWrite(o observation) schemas.OptLong   { return o.Body.Model.TokenCacheWrite }
func tokenCacheWrite5m(o observation) schemas.OptLong { return o.Body.Model.TokenCacheWrite5m }
func tokenCacheWrite1h(o observation) schemas.OptLong { return o.Body.Model.TokenCacheWrite1h }
func webSearches(o observation) schemas.OptLong       { return o.Body.Model.WebSearches }
func webFetches(o observation) schemas.OptLong        { return o.Body.Model.WebFetches }

// request fills tokens and cost.
func (b Batch) request(r *schemas.Enriched, f *fact, billing schemas.Billing) {
	r.TokenInput = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenInput })
	r.TokenOutput = f.greatest(usage, tokenOutput)
	r.TokenThinking = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenThinking })
	r.TokenCacheRead = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenCacheRead })
	r.TokenCacheWrite5m = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenCacheWrite5m })
	r.TokenCacheWrite1h = f.greatest(usage, func(o observation) schemas.OptLong { return o.Body.Model.TokenCacheWrite1h })
	r.CostClientUsd = f.costClientUsd()
	q, nested := f.usage(r.Org)
	// What nobody splits of the cache writes stands in the column of the cheaper
	// lifetime, and the price is a range.
	whole := f.greatest(usage, tokenCacheWrite)
	if q.cacheWriteUnsplit > 0 || whole.Valid && !r.TokenCacheWrite5m.Valid && !r.TokenCacheWrite1h.Valid {
		r.TokenCacheWrite5m = schemas.SomeLong(r.TokenCacheWrite5m.Value + q.cacheWriteUnsplit)
	}
	searches, fetches := f.greatest(record, webSearches), f.greatest(record, webFetches)
	if searches.Valid || fetches.Valid {
		r.ServerToolUses = schemas.SomeLong(searches.Value + fetches.Value)
	} else if nested {
		r.ServerToolUses = schemas.SomeLong(1)
	}

	if !r.TokenInput.Valid && !r.TokenOutput.Valid { // no usage is known: nothing to price
		r.CostGrade, r.PriceVersion = schemas.CostGradeUnpriced, inForce(b.Prices, f.first).Text.version
		return
	}
	prices, restatement := b.pricesOf(f, q.at, func(p *Prices) string { return p.figures(q) })
	r.Billing = billing
	if _, endpoint := prices.modelOf(r.Model); endpoint != "" || slices.Contains([]string{"bedrock", "vertex", "foundry"}, r.Platform) {
		r.Billing = schemas.BillingCloud
	}
	r.Restatement = both(r.Restatement, restatement)
	r.PriceVersion = prices.version
	if contracted, ok := prices.contract(q); ok && r.Billing != schemas.BillingSubscription {
		r.CostContractedNanoUsd = schemas.SomeLong(contracted)
	}
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
	// OTLP alone does not tell how a request was served, and the client's figure
	// does: one that is more bounds ours, one that is less casts a doubt on it.
	told := func(by channel) bool {
		return slices.ContainsFunc(f.observations, func(o observation) bool { return o.by == by })
	}
	if !told(transcript) && !told(direct) && r.CostClientUsd.Valid && r.CostClientUsd.Value*1e9 < 1e15 {
		client := int64(math.Round(r.CostClientUsd.Value * 1e9))
		if client+1000 < r.CostNanoUsd.Value {
			r.CostGrade = schemas.CostGradeEstimated
		} else if r.CostNanoUsdMax.Valid && client-1000 > r.CostNanoUsdMax.Value {
			r.CostGrade, r.CostNanoUsdMax = schemas.CostGradeEstimated, schemas.SomeLong(client)
		}
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

// retryReason is why a request is sent again, by the class of the error.
func retryReason(class string) string {
	switch class {
	case "rate_limit", "rate_limit_error", "rate_limited":
		return "rate_limited"
	}
	return "api_error"
}
