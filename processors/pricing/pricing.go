// Package pricing says what a model request costs by the public price list: a
// pure rule over a dated table, without clock and I/O, exact to the
// nano-dollar.
//
// A figure is only as sure as its evidence, and says so: what the table does
// not know is unpriced, never zero and never a default (DESIGN §6).
package pricing

import "github.com/flightlog/flightlog/schemas"

// Request is what one model request was billed by. Its token classes do not
// overlap: each token is in exactly one of them. Price each request by itself,
// as price steps depend on a single prompt: a sum of requests has no price.
type Request struct {
	Model         string // that answered; any id that a platform uses for it
	Platform      string // firstParty, bedrock, vertex, foundry; empty counts as firstParty
	Speed         string // as served: standard (normal, empty) or fast
	ServiceTier   string // standard (empty) or batch
	InferenceGeo  string // us, global, not_available; empty counts as global
	OccurredAt    int64  // µs since 1970-01-01 UTC; the request costs what it cost then
	Input         int64  // tokens neither read from nor written to a cache
	Output        int64  // tokens, thinking included
	CacheRead     int64
	CacheWrite5m  int64
	CacheWrite1h  int64
	WebSearches   int64 // server web searches
	OutputPartial bool  // Output is a lower bound

	// CacheWriteUnsplit counts tokens written to a cache of unknown lifetime,
	// where the witness does not split them.
	CacheWriteUnsplit int64
}

// Cost is the list price of a request.
//
// Measured: both figures are the same, exact. Estimated: NanoUsd is the least
// that the evidence allows and MaxNanoUsd the most, null where there is no
// upper bound (a partial output). Unpriced: both are null. Nothing else occurs.
type Cost struct {
	NanoUsd      schemas.OptLong // 1e-9 USD
	MaxNanoUsd   schemas.OptLong // 1e-9 USD
	Grade        schemas.CostGrade
	PriceVersion int64 // version of the table, also where it had no price
}

// maxCount is the most tokens or searches of one class that a request is
// believed to have: a hundred times the largest context. With the bounds on
// rates it keeps every sum and factor below within an int64.
const maxCount = 100_000_000

// Price is the cost of one request. It does not allocate and is safe for
// concurrent use. Counts below zero or beyond belief are unpriced.
//
// Factors (Claude Code contract §8) multiply and hold for tokens only: batch
// one half, US inference 11/10 on models from 4.6 on, regional endpoints of
// Bedrock and Vertex 11/10 on models from 4.5 on. The sum over all classes is
// rounded once, half a nano-dollar up.
func (t *Table) Price(r Request) Cost {
	unpriced := Cost{Grade: schemas.CostGradeUnpriced, PriceVersion: t.version}
	for _, n := range [...]int64{r.Input, r.Output, r.CacheRead, r.CacheWrite5m, r.CacheWrite1h, r.CacheWriteUnsplit, r.WebSearches} {
		if n < 0 || n > maxCount {
			return unpriced
		}
	}
	model, at := parseModel(r.Model)
	row := t.find(model, &r)
	if row == nil {
		return unpriced
	}
	low, ok := row.factor(&r, at)
	if !ok {
		return unpriced
	}
	high := low
	if row.RegionalSurcharge && at.orPlatform(r.Platform) == endpointUnknown {
		high = high.times(11, 10)
	}

	tokens := r.Input*row.Input + r.Output*row.Output + r.CacheRead*row.CacheRead +
		r.CacheWrite5m*row.CacheWrite5m + r.CacheWrite1h*row.CacheWrite1h
	searches := r.WebSearches * row.WebSearch
	least := low.of(tokens+r.CacheWriteUnsplit*row.CacheWrite5m) + searches
	most := high.of(tokens+r.CacheWriteUnsplit*row.CacheWrite1h) + searches

	c := Cost{NanoUsd: schemas.SomeLong(least), Grade: schemas.CostGradeMeasured, PriceVersion: t.version}
	if least != most || r.OutputPartial {
		c.Grade = schemas.CostGradeEstimated
	}
	if !r.OutputPartial {
		c.MaxNanoUsd = schemas.SomeLong(most)
	}
	return c
}

// prompt is the length that price steps go by: all input, cached or not.
func (r *Request) prompt() int64 {
	return r.Input + r.CacheRead + r.CacheWrite5m + r.CacheWrite1h + r.CacheWriteUnsplit
}

// fraction is an exact factor on token prices.
type fraction struct{ num, den int64 }

func (f fraction) times(num, den int64) fraction { return fraction{f.num * num, f.den * den} }

// of is f × nano, half a nano-dollar rounded up.
func (f fraction) of(nano int64) int64 { return (nano*f.num + f.den/2) / f.den }

// factor is what a row's token prices are multiplied by for a request at an
// endpoint; at least that, where the endpoint is not known. It is false where
// no list price is known.
func (row *row) factor(r *Request, at endpoint) (fraction, bool) {
	f := fraction{1, 1}
	switch r.ServiceTier {
	case "", "standard":
	case "batch":
		f = f.times(1, 2)
	default:
		return f, false
	}
	switch r.InferenceGeo {
	case "", "global", "not_available":
	case "us":
		if row.USSurcharge {
			f = f.times(11, 10)
		}
	default:
		return f, false
	}
	switch at.orPlatform(r.Platform) {
	case endpointGlobal, endpointUnknown:
	case endpointRegional:
		if row.RegionalSurcharge {
			f = f.times(11, 10)
		}
	default:
		return f, false
	}
	return f, true
}
