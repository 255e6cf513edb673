package pricing

// What requests have that can be priced; empty counts as the first.
var (
	Platforms     = []string{"firstParty", "bedrock", "vertex", "foundry"}
	Speeds        = []string{"standard", "normal", "fast"}
	ServiceTiers  = []string{"standard", "batch"}
	InferenceGeos = []string{"global", "us", "not_available"}
)

// MaxCount is the most tokens or searches of one class that are believed.
const MaxCount = maxCount

// Explanation says how a cost came about.
type Explanation struct {
	Model      string   // the vendor's name that the id was taken for
	List       *Row     // nil = no list price
	Contracted *Row     // nil = no contract
	Factors    []string // on token prices, as "batch 1/2"
	Terms      []Term   // by the list
	Cost       Cost
}

// Term is one class of a request by the list, before factors and rounding.
type Term struct {
	Class   string
	Count   int64
	Rate    int64 // nano-dollars each
	NanoUsd int64
}

// Explain is Price with the rows and factors that it goes by.
func (t *Table) Explain(r *Request) Explanation {
	e := Explanation{Cost: t.Price(r)}
	q, ok := t.quote(r)
	if !ok {
		return e
	}
	e.Model, e.List, e.Contracted = q.model, q.list, q.contracted
	for _, f := range [...]struct {
		holds bool
		text  string
	}{{q.factors.batch, "batch 1/2"}, {q.factors.us, "inference in the US 11/10"}, {q.factors.regional, "regional endpoint 11/10"}} {
		if f.holds {
			e.Factors = append(e.Factors, f.text)
		}
	}
	if row := q.list; row != nil {
		for _, c := range [...]struct {
			class       string
			count, rate int64
		}{
			{"input", r.Input, row.Input}, {"output", r.Output, row.Output}, {"cache read", r.CacheRead, row.CacheRead},
			{"cache write 5 min", r.CacheWrite5m, row.CacheWrite5m}, {"cache write 1 h", r.CacheWrite1h, row.CacheWrite1h},
			{"cache write, lifetime unknown (at least)", r.CacheWriteUnsplit, row.CacheWrite5m}, {"web search", r.WebSearches, row.WebSearch},
		} {
			if c.count != 0 {
				e.Terms = append(e.Terms, Term{c.class, c.count, c.rate, c.count * c.rate})
			}
		}
	}
	return e
}
