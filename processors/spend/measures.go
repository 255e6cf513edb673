package spend

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/flightlog/flightlog/schemas"
)

// ErrOverflow: a sum does not fit into 64 bits.
var ErrOverflow = errors.New("sum overflows 64 bits")

// Measure is a number of a request that can be summed.
type Measure uint8

// Measures of a request, by the names that String gives: those of the row's
// columns where it has one.
const (
	Requests           Measure = iota
	PricedRequests             // that have a cost_nano_usd; averages are over these
	ContractedRequests         // that have a cost_contracted_nano_usd; a subscription has none
	UnboundedRequests          // priced ones without an upper bound
	ClientRequests             // that have a cost_client_usd
	TokenInput
	TokenOutput   // thinking included
	TokenThinking // a part of TokenOutput
	TokenCacheRead
	TokenCacheWrite5m
	TokenCacheWrite1h
	ServerToolUses
	CostNanoUsd
	CostNanoUsdMax // where a priced request has no upper bound its cost_nano_usd counts, and UnboundedRequests says so
	CostContractedNanoUsd
	CostClientNanoUsd // cost_client_usd, rounded to the nano-dollar once per request

	measures
)

var measureNames = [measures]string{
	"requests", "priced_requests", "contracted_requests", "unbounded_requests", "client_requests",
	"token_input", "token_output", "token_thinking", "token_cache_read", "token_cache_write_5m", "token_cache_write_1h",
	"server_tool_uses", "cost_nano_usd", "cost_nano_usd_max", "cost_contracted_nano_usd", "cost_client_nano_usd",
}

func (m Measure) String() string { return measureNames[m] }

// AllMeasures are all of them, in order.
func AllMeasures() (all []Measure) {
	for m := range measures {
		all = append(all, m)
	}
	return all
}

// Measures are sums of every Measure. They may be below zero while rows of a
// change are missing.
type Measures [measures]int64

// Of is what a row of a model request adds to the sums: its measures by its
// sign.
func Of(r *schemas.Enriched) (Measures, error) {
	if r.Sign != 1 && r.Sign != -1 {
		return Measures{}, fmt.Errorf("the row of fact %s, version %d, has the sign %d", r.FactKey, r.Version, r.Sign)
	}
	m := Measures{Requests: 1}
	for _, column := range [...]struct {
		value schemas.OptLong
		sum   Measure
		count Measure // of those that have one; measures = nobody counts
	}{
		{r.TokenInput, TokenInput, measures},
		{r.TokenOutput, TokenOutput, measures},
		{r.TokenThinking, TokenThinking, measures},
		{r.TokenCacheRead, TokenCacheRead, measures},
		{r.TokenCacheWrite5m, TokenCacheWrite5m, measures},
		{r.TokenCacheWrite1h, TokenCacheWrite1h, measures},
		{r.ServerToolUses, ServerToolUses, measures},
		{r.CostNanoUsd, CostNanoUsd, PricedRequests},
		{r.CostContractedNanoUsd, CostContractedNanoUsd, ContractedRequests},
		{clientNano(r), CostClientNanoUsd, ClientRequests},
	} {
		if column.value.Valid {
			m[column.sum] = column.value.Value
			if column.count < measures {
				m[column.count] = 1
			}
		}
	}
	if r.Billing == schemas.BillingSubscription { // a contract is not what it is paid by
		m[CostContractedNanoUsd], m[ContractedRequests] = 0, 0
	}
	switch {
	case r.CostNanoUsdMax.Valid:
		m[CostNanoUsdMax] = r.CostNanoUsdMax.Value
	case r.CostNanoUsd.Valid:
		m[CostNanoUsdMax], m[UnboundedRequests] = r.CostNanoUsd.Value, 1
	}
	if r.Sign > 0 {
		return m, nil
	}
	var negative Measures
	err := negative.sub(m)
	return negative, err
}

// clientNano is the client's own figure in nano-dollars. One that no request can
// have cost counts as not told.
func clientNano(r *schemas.Enriched) schemas.OptLong {
	if c := r.CostClientUsd; c.Valid && c.Value >= 0 && c.Value < 1e9 {
		return schemas.SomeLong(int64(math.Round(c.Value * 1e9)))
	}
	return schemas.OptLong{}
}

// Add adds sums to these. On ErrOverflow these are as they were.
func (m *Measures) Add(o Measures) error {
	sum := *m
	for i, v := range o {
		var err error
		if sum[i], err = Plus(m[i], v); err != nil {
			return fmt.Errorf("%s: %w", Measure(i), err)
		}
	}
	*m = sum
	return nil
}

// Plus is a + b, or ErrOverflow.
func Plus(a, b int64) (int64, error) {
	if sum := a + b; (sum > a) == (b > 0) || b == 0 {
		return sum, nil
	}
	return a, fmt.Errorf("cannot add %d to %d: %w", b, a, ErrOverflow)
}

func (m *Measures) sub(o Measures) error {
	for i, v := range o {
		if v == math.MinInt64 {
			return fmt.Errorf("cannot take back %s %d: %w", Measure(i), v, ErrOverflow)
		}
		o[i] = -v
	}
	return m.Add(o)
}

// Known tells whether requests have a measure at all: money that none of them
// has is not zero.
func (m *Measures) Known(of Measure) bool {
	counts := map[Measure]Measure{CostNanoUsd: PricedRequests, CostNanoUsdMax: PricedRequests,
		CostContractedNanoUsd: ContractedRequests, CostClientNanoUsd: ClientRequests}
	count, money := counts[of]
	return !money || m[count] != 0
}

// MarshalJSON writes an object with every measure by its name; null where no
// request has it.
func (m Measures) MarshalJSON() ([]byte, error) {
	return m.appendJSON(func(of Measure) bool { return m.Known(of) }), nil
}

func (m *Measures) appendJSON(known func(Measure) bool) []byte {
	b := []byte{'{'}
	for i, v := range m {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, measureNames[i]), ':')
		if known(Measure(i)) {
			b = strconv.AppendInt(b, v, 10)
		} else {
			b = append(b, "null"...)
		}
	}
	return append(b, '}')
}

// Changed are differences of sums: zero is no change, also of money that no
// request has.
type Changed struct{ Measures }

// MarshalJSON writes an object with every measure by its name.
func (c Changed) MarshalJSON() ([]byte, error) {
	return c.appendJSON(func(Measure) bool { return true }), nil
}

// difference says in which measure sums differ.
func (m Measures) difference(o Measures) string {
	for i := range m {
		if m[i] != o[i] {
			return fmt.Sprintf("%s is %d and not %d", Measure(i), m[i], o[i])
		}
	}
	return ""
}
