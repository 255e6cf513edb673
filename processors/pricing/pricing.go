// Package pricing says what a model request costs, by the public price list and
// by an organisation's contract: a pure rule over a dated table, without clock
// and I/O, exact to the nano-dollar.
//
// A figure is only as sure as its evidence, and says so: what the table does
// not know is unpriced, never zero and never a default (DESIGN §6).
package pricing

import (
	"math/bits"

	"github.com/flightlog/flightlog/schemas"
)

// Request is what one model request was billed by. Its token classes do not
// overlap: each token is in exactly one of them. Price each request by itself,
// as price steps depend on a single prompt: a sum of requests has no price.
type Request struct {
	Org           string // organisation, for its own prices
	Model         string // that answered; any id that a platform uses for it
	Platform      string // firstParty, bedrock, vertex, foundry; empty: by the form of the model's id, else firstParty
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

// Cost is what a request costs.
//
// Measured: NanoUsd and MaxNanoUsd are the same, exact. Estimated: NanoUsd is
// the least that the evidence allows and MaxNanoUsd the most, null where there
// is no upper bound (a partial output). Unpriced: both are null. Nothing else
// occurs.
type Cost struct {
	NanoUsd    schemas.OptLong // list price, 1e-9 USD
	MaxNanoUsd schemas.OptLong // 1e-9 USD
	// ContractedNanoUsd is the price by the organisation's contract, 1e-9 USD,
	// null where the table has none; of an estimate the least.
	ContractedNanoUsd schemas.OptLong
	Grade             schemas.CostGrade
	PriceVersion      int64 // version of the table, also where it had no price
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
func (t *Table) Price(r *Request) Cost {
	c := Cost{Grade: schemas.CostGradeUnpriced, PriceVersion: t.version}
	q, ok := t.quote(r)
	if !ok {
		return c
	}
	if q.list != nil {
		least, most := q.least.rounded(wholly), q.most.rounded(wholly)
		c.NanoUsd, c.Grade = schemas.SomeLong(least), schemas.CostGradeMeasured
		if least != most || r.OutputPartial {
			c.Grade = schemas.CostGradeEstimated
		}
		if !r.OutputPartial {
			c.MaxNanoUsd = schemas.SomeLong(most)
		}
	}
	switch {
	case q.contracted == nil:
	case q.contracted.PercentOfList == 0:
		c.ContractedNanoUsd = schemas.SomeLong(q.agreed.rounded(wholly))
	case q.list != nil:
		c.ContractedNanoUsd = schemas.SomeLong(q.least.rounded(q.contracted.PercentOfList))
	}
	return c
}

// ToolCost is what a call of a tool costs by the list price of the request that
// made it, which has made so many calls: the output divided by them, and the
// tokens of the call's result at input price. null where that has no price.
func (t *Table) ToolCost(r *Request, calls, resultTokens int64) schemas.OptLong {
	q, ok := t.quote(r)
	if !ok || q.list == nil || calls < 1 || calls > maxCalls || resultTokens < 0 || resultTokens > maxCount {
		return schemas.OptLong{}
	}
	f := q.factors.product()
	n := (r.Output*q.list.Output + calls*resultTokens*q.list.Input) * f.num
	return schemas.SomeLong(amount{n, f.den * calls}.rounded(wholly))
}

// maxCalls keeps the product in ToolCost within an int64.
const maxCalls = 64

// quote is what a request is priced by.
type quote struct {
	model               string
	list, contracted    *Row // nil = none
	factors             factors
	least, most, agreed amount
}

// quote finds the rows for a request and multiplies. It is false for counts that
// are not believed.
func (t *Table) quote(r *Request) (q quote, ok bool) {
	for _, n := range [...]int64{r.Input, r.Output, r.CacheRead, r.CacheWrite5m, r.CacheWrite1h, r.CacheWriteUnsplit, r.WebSearches} {
		if n < 0 || n > maxCount {
			return q, false
		}
	}
	model, at := parseModel(t.named(r.Model))
	platform := r.Platform
	if platform == "" {
		platform = at.platform()
	}
	at = at.orPlatform(r.Platform)
	q.model = model
	if row := t.list.find(model, platform, r); row != nil {
		if f, known := row.factors(r, at); known {
			q.list, q.factors = row, f
			low := f.product()
			high := low
			if row.RegionalSurcharge && at == endpointUnknown {
				high = high.times(11, 10)
			}
			q.least = row.amount(r, low, row.CacheWrite5m)
			q.most = row.amount(r, high, row.CacheWrite1h)
		}
	}
	if row := t.contracted.find(model, platform, r); row != nil {
		if f, known := row.factors(r, at); known {
			q.contracted = row
			q.agreed = row.amount(r, f.product(), row.CacheWrite5m)
		}
	}
	return q, true
}

// amount is an exact sum of money: n/den nano-dollars.
type amount struct{ n, den int64 }

// wholly is all of an amount, in hundredths of a percent.
const wholly = 10_000

// rounded is a share of the amount in hundredths of a percent, in nano-dollars,
// half of one rounded up.
func (a amount) rounded(share int64) int64 {
	if share == wholly {
		return (a.n + a.den/2) / a.den
	}
	den := uint64(a.den) * wholly
	hi, lo := bits.Mul64(uint64(a.n), uint64(share))
	lo, carry := bits.Add64(lo, den/2, 0)
	n, _ := bits.Div64(hi+carry, lo, den)
	return int64(n)
}

// amount is what a request costs by the row's rates, tokens times a factor and
// searches without. Tokens written to a cache of unknown lifetime cost unsplit.
func (row *Row) amount(r *Request, f fraction, unsplit int64) amount {
	tokens := r.Input*row.Input + r.Output*row.Output + r.CacheRead*row.CacheRead +
		r.CacheWrite5m*row.CacheWrite5m + r.CacheWrite1h*row.CacheWrite1h + r.CacheWriteUnsplit*unsplit
	return amount{tokens*f.num + r.WebSearches*row.WebSearch*f.den, f.den}
}

// prompt is the length that price steps go by: all input, cached or not.
func (r *Request) prompt() int64 {
	return r.Input + r.CacheRead + r.CacheWrite5m + r.CacheWrite1h + r.CacheWriteUnsplit
}

// fraction is an exact factor on token prices.
type fraction struct{ num, den int64 }

func (f fraction) times(num, den int64) fraction { return fraction{f.num * num, f.den * den} }

// factors are what a row's token prices are multiplied by.
type factors struct{ batch, us, regional bool }

func (f factors) product() fraction {
	p := fraction{1, 1}
	if f.batch {
		p = p.times(1, 2)
	}
	if f.us {
		p = p.times(11, 10)
	}
	if f.regional {
		p = p.times(11, 10)
	}
	return p
}

// factors of a request at an endpoint; at least these, where the endpoint is not
// known. It is false where no list price is known.
func (row *Row) factors(r *Request, at endpoint) (f factors, ok bool) {
	switch r.ServiceTier {
	case "", "standard":
	case "batch":
		f.batch = true
	default:
		return f, false
	}
	switch r.InferenceGeo {
	case "", "global", "not_available":
	case "us":
		f.us = row.USSurcharge
	default:
		return f, false
	}
	f.regional = row.RegionalSurcharge && at == endpointRegional
	return f, at != endpointForeign
}
