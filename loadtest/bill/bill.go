// Package bill is the exact bill of a recording, computed from what the model's
// endpoint answered (endpoint.ndjson): the truth that rows are held against.
//
// It shares nothing with processors/pricing, loadtest/reference or the readers:
// the prices are typed from contract §8, in USD per million tokens as decimal
// strings, and the sums are fractions (math/big.Rat). Each request is priced by
// itself and rounded once, half a nano-dollar up. It is slow and plain on
// purpose: a reader can check it against §8 by eye.
package bill

import (
	"cmp"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
)

// Grades of a figure, in the words of the rows' column cost_grade.
const (
	Measured  = "measured"  // exact
	Estimated = "estimated" // a range, or at least that much
	Unpriced  = "unpriced"  // no price: never zero, never a default
)

// Line is one request of a bill. Money is in nano-dollars (1e-9 USD), nil where
// there is none.
type Line struct {
	Request    *Request
	Cost       *int64 // list price; the least of a range
	Max        *int64 // the most of it; nil where there is no upper bound
	Contracted *int64 // by the organisation's contract
	Grade      string
}

// Bill is a recording's bill.
type Bill struct {
	Lines  []Line
	Totals map[string]*Total // by who pays how: unknown, api, cloud, subscription; never to be added together

	UnpricedRequests, UnpricedTokens int64
}

// Total is sums over the priced requests of one kind of billing, nano-dollars.
type Total struct {
	Requests   int64  `json:"requests"`
	Cost       int64  `json:"cost_nano_usd"`
	Max        *int64 `json:"cost_nano_usd_max"` // nil where a request has no upper bound
	Contracted int64  `json:"cost_contracted_nano_usd,omitempty"`
}

// Of is the bill of the recording in a folder, by the list and by the folder's
// own prices.json where there is one.
func Of(dir string) (*Bill, error) {
	requests, err := Read(filepath.Join(dir, "endpoint.ndjson"))
	if err != nil {
		return nil, err
	}
	own, err := readOwn(filepath.Join(dir, "prices.json"))
	if err != nil {
		return nil, err
	}
	b := &Bill{Totals: map[string]*Total{}}
	for _, r := range requests {
		b.add(Price(r, own))
	}
	slices.SortStableFunc(b.Lines, func(x, y Line) int {
		return cmp.Or(x.Request.At.Compare(y.Request.At), cmp.Compare(x.Request.RequestID, y.Request.RequestID), cmp.Compare(x.Request.Part, y.Request.Part))
	})
	return b, nil
}

func (b *Bill) add(l Line) {
	b.Lines = append(b.Lines, l)
	if l.Cost == nil {
		b.UnpricedRequests++
		b.UnpricedTokens += l.Request.tokens()
		return
	}
	t := b.Totals[l.Request.Billing]
	if t == nil {
		t = &Total{Max: new(int64)}
		b.Totals[l.Request.Billing] = t
	}
	t.Requests++
	t.Cost += *l.Cost
	if l.Contracted != nil {
		t.Contracted += *l.Contracted
	}
	if l.Max == nil || t.Max == nil {
		t.Max = nil
	} else {
		*t.Max += *l.Max
	}
}

// Price is what one request costs by the list, and by an organisation's own
// prices (nil = none).
func Price(r *Request, own *Own) Line {
	l := Line{Request: r, Grade: Unpriced}
	if r.NoUsage {
		return l // nobody knows what was used: no figure is made up (trap 3.23)
	}
	model, region := modelOf(r.Model)
	p, known := listed(model, r)
	if o := own.list(r); o != nil {
		p, known = *o, true
	}
	// Where a cloud vendor served it without telling the region it may be dearer.
	factors, ok := []*big.Rat{one()}, true
	switch {
	case region == "" && r.Region != "":
		region = r.Region
		fallthrough
	case region != "":
		ok = region == "global" || region == "regional"
		if region == "regional" && !before45[model] {
			factors[0].Mul(factors[0], big.NewRat(11, 10))
		}
	case r.Platform == "bedrock", r.Platform == "vertex":
		if !before45[model] {
			factors = append(factors, big.NewRat(11, 10))
		}
	case r.Platform == "", r.Platform == "firstParty", r.Platform == "foundry":
	default:
		ok = false
	}
	for _, f := range factors {
		switch r.Tier {
		case "", "standard":
		case "batch": // half price on all token classes
			f.Mul(f, big.NewRat(1, 2))
		default:
			ok = false
		}
		switch r.Geo {
		case "", "global", "not_available":
		case "us":
			if !before46[model] {
				f.Mul(f, big.NewRat(11, 10))
			}
		default:
			ok = false
		}
	}
	if !known || !ok {
		return l
	}
	// Factors are on tokens; a search has its own price (contract §8).
	searches := times(r.WebSearches, usd(search))
	least := add(product(factors[0], r.cost(p, p.write5m)), searches)
	most := add(product(factors[len(factors)-1], r.cost(p, p.write1h)), searches)
	l.Cost, l.Max, l.Grade = nano(least), nano(most), Measured
	if *l.Cost != *l.Max {
		l.Grade = Estimated
	}
	if r.LowerBound {
		l.Max, l.Grade = nil, Estimated
	}
	if c := own.contracted(r); c != nil {
		if c.percent != nil {
			l.Contracted = nano(product(least, product(c.percent, big.NewRat(1, 100))))
		} else {
			l.Contracted = nano(add(product(factors[0], r.cost(c.rate, c.write5m)), searches))
		}
	}
	return l
}

// cost is the tokens of a request at a rate, USD. Tokens written to a cache of
// unknown lifetime cost unsplit.
func (r *Request) cost(p rate, unsplit string) *big.Rat {
	sum := new(big.Rat)
	for _, class := range []struct {
		tokens     int64
		perMillion string
	}{
		{r.Input, p.input}, {r.Output, p.output}, {r.CacheRead, p.read},
		{r.CacheWrite5m, p.write5m}, {r.CacheWrite1h, p.write1h}, {r.CacheWriteUnsplit, unsplit},
	} {
		sum.Add(sum, times(class.tokens, product(usd(class.perMillion), big.NewRat(1, 1_000_000))))
	}
	return sum
}

func one() *big.Rat                         { return big.NewRat(1, 1) }
func product(a, b *big.Rat) *big.Rat        { return new(big.Rat).Mul(a, b) }
func add(a, b *big.Rat) *big.Rat            { return new(big.Rat).Add(a, b) }
func times(n int64, each *big.Rat) *big.Rat { return product(big.NewRat(n, 1), each) }

// usd reads a decimal number.
func usd(decimal string) *big.Rat {
	r, ok := new(big.Rat).SetString(decimal)
	if !ok {
		panic(fmt.Sprintf("%q is no price", decimal))
	}
	return r
}

// nano is USD in whole nano-dollars, half of one rounded up: the one rounding.
func nano(usd *big.Rat) *int64 {
	n := add(product(usd, big.NewRat(1_000_000_000, 1)), big.NewRat(1, 2))
	whole := new(big.Int).Div(n.Num(), n.Denom()).Int64() // rounds down
	return &whole
}
