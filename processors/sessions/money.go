package sessions

import (
	"math"

	"github.com/flightlog/flightlog/processors/directory"
	"github.com/flightlog/flightlog/processors/pricing"
	"github.com/flightlog/flightlog/schemas"
)

// What a fact costs and whose money it is goes by the prices and the directory
// that were in force when its first event was appended, whichever of its events
// was folded first; a restatement moves it to later ones (restate.go).

// versions by which a fact is said.
func (x *fold) versions(s *session, f *fact) schemas.Versions {
	first := f.first
	if f.kind == schemas.KindSessionEnd { // which may have no event
		first = s.first
	}
	return x.tx.VersionsAt(first)
}

// dated notes when the event that is folded was appended. It tells that the fact
// goes by other versions from now on.
func (x *fold) dated(s *session, f *fact) (changed bool) {
	at := x.tx.AppendedAt()
	if s.first == 0 || at < s.first {
		s.first, s.changed = at, true
	}
	if at < f.first {
		changed = x.tx.VersionsAt(at) != x.tx.VersionsAt(f.first)
		f.first, f.changed = at, true
	}
	return changed
}

// prices are a version of the price table.
func (x *fold) prices(version int64) *pricing.Table {
	if t := configured(x, "prices", version, pricing.Parse); t != nil {
		return t
	}
	return pricing.Builtin()
}

// directory is a version of the directory, nil (nobody is in a team) before the
// first.
func (x *fold) directory(version int64) *directory.Directory {
	return configured(x, "directory", version, func(text []byte, _ int64) (*directory.Directory, error) { return directory.Parse(text) })
}

// configured is what a version of a kind means, nil before the first. A text that
// is none counts as the version before it.
func configured[T any](x *fold, kind string, version int64, parse func(text []byte, version int64) (*T, error)) *T {
	for ; version > 1; version-- {
		text := x.tx.Config(kind, version)
		if c, _ := x.parsed(kind, version, text, func() (any, error) { return parse(text, version) }).(*T); c != nil {
			return c
		}
	}
	return nil
}

// configuration is a text of the topic config: the same text is at the same
// place in memory for as long as it is used.
type configuration struct {
	kind    string
	version int64
	text    *byte
}

// parsed is what a text means, parsed once in a process; nil if it is wrong.
func (x *fold) parsed(kind string, version int64, text []byte, parse func() (any, error)) any {
	if len(text) == 0 {
		return nil
	}
	key := configuration{kind, version, &text[0]}
	if value, ok := x.parsedTexts[key]; ok {
		return value
	}
	value, ok := x.configurations.Load(key)
	if !ok {
		var err error
		if value, err = parse(); err != nil {
			value = nil
		}
		x.configurations.Store(key, value)
	}
	x.parsedTexts[key] = value
	return value
}

// attribution is what the directory says of a fact.
type attribution struct {
	team    string
	billing schemas.Billing // of a model request
}

// attribute fills the team of a row by the directory, else by what the session
// says, and gives who pays how.
func (x *fold) attribute(r *schemas.Enriched, s *session, f *fact) schemas.Billing {
	_, found, restatement := goesBy(x, "directory", x.versions(s, f).Directory, r.OccurredAt, func(version int64) (a attribution) {
		a.team, a.billing = x.directory(version).Find(r.User, r.OccurredAt)
		if f.kind != schemas.KindModelRequest {
			a.billing = schemas.BillingUnknown
		}
		return a
	})
	r.Restatement = restatement
	if r.Team = found.team; r.Team == "" {
		r.Team = s.texts[sTeam].value
	}
	return found.billing
}

// request is what a model request was billed by. nested: it is a search that no
// witness counts.
func (f *fact) request(org string) (r pricing.Request, nested bool) {
	t, n := &f.texts, &f.numbers
	r = pricing.Request{
		Org: org, Model: t[tModel].value, Platform: t[tPlatform].value, Speed: t[tSpeed].value,
		ServiceTier: t[tServiceTier].value, InferenceGeo: t[tInferenceGeo].value, OccurredAt: n[nOccurredAt].value,
		Input: n[nTokenInput].value, Output: n[nTokenOutput].value, CacheRead: n[nTokenCacheRead].value,
		CacheWrite5m: n[nTokenCacheWrite5m].value, CacheWrite1h: n[nTokenCacheWrite1h].value,
		WebSearches:   n[nWebSearches].value,
		OutputPartial: n[nOutputPartial].value != 0 && n[nOutputPartial].rank == n[nTokenOutput].rank,
	}
	r.CacheWriteUnsplit = max(0, n[nTokenCacheWrite].value-r.CacheWrite5m-r.CacheWrite1h)
	// OTLP does not count the searches of a nested search request, and the
	// transcript does not have it: it made one at least.
	nested = t[tQuerySource].value == "web_search_tool" && n[nWebSearches].rank == 0 && n[nWebFetches].rank == 0
	if nested {
		r.WebSearches = 1
	}
	return r, nested
}

// used tells that a witness told how much a request used.
func (f *fact) used() bool {
	return f.numbers[nTokenInput].rank != 0 || f.numbers[nTokenOutput].rank != 0
}

// cost fills tokens and money of a model request.
func (x *fold) cost(r *schemas.Enriched, s *session, f *fact, billing schemas.Billing) {
	n := &f.numbers
	r.TokenInput, r.TokenOutput = n[nTokenInput].long(), n[nTokenOutput].long()
	r.TokenThinking, r.TokenCacheRead = n[nTokenThinking].long(), n[nTokenCacheRead].long()
	r.TokenCacheWrite5m, r.TokenCacheWrite1h = n[nTokenCacheWrite5m].long(), n[nTokenCacheWrite1h].long()
	request, nested := f.request(r.Org)
	if n[nTokenCacheWrite].rank != 0 && (request.CacheWriteUnsplit > 0 || n[nTokenCacheWrite5m].rank == 0 && n[nTokenCacheWrite1h].rank == 0) {
		r.TokenCacheWrite5m = schemas.SomeLong(request.CacheWrite5m + request.CacheWriteUnsplit)
	}
	if searches, fetches := n[nWebSearches].long(), n[nWebFetches].long(); searches.Valid || fetches.Valid {
		r.ServerToolUses = schemas.SomeLong(searches.Value + fetches.Value)
	} else if nested {
		r.ServerToolUses = schemas.SomeLong(1)
	}
	if c := n[nCostClientUsd]; c.rank != 0 {
		r.CostClientUsd = schemas.SomeDouble(math.Float64frombits(uint64(c.value)))
	}
	if !f.used() { // nobody told how much: no figure is made up
		r.CostGrade, r.PriceVersion = schemas.CostGradeUnpriced, x.prices(x.versions(s, f).Prices).Version()
		return
	}
	version, cost, restatement := goesBy(x, "prices", x.versions(s, f).Prices, r.OccurredAt, func(version int64) pricing.Cost {
		c := x.prices(version).Price(&request)
		c.PriceVersion = 0 // that alone makes no difference
		return c
	})
	r.CostNanoUsd, r.CostNanoUsdMax, r.CostContractedNanoUsd = cost.NanoUsd, cost.MaxNanoUsd, cost.ContractedNanoUsd
	table := x.prices(version)
	r.CostGrade, r.PriceVersion = cost.Grade, table.Version()
	r.Restatement = joined(r.Restatement, restatement)
	if nested && r.CostGrade == schemas.CostGradeMeasured {
		r.CostGrade, r.CostNanoUsdMax = schemas.CostGradeEstimated, schemas.OptLong{} // a lower bound
	}
	doubt(r, f)
	if cost.NanoUsd.Valid {
		r.CostUsd = schemas.SomeDouble(float64(cost.NanoUsd.Value) / 1e9)
	}
	if r.Billing = billing; table.OnCloud(r.Platform, r.Model) {
		r.Billing = schemas.BillingCloud // the client's own word
	}
	if r.Billing == schemas.BillingSubscription {
		r.CostContractedNanoUsd = schemas.OptLong{} // nobody pays it by the token
	}
}

// doubt lowers the grade of a figure that only OTLP tells of, where the client's
// own differs: OTLP tells the speed that was asked for, no service tier, no
// place and no searches, and the client's figure knows them. Where it is more,
// it is the upper bound; where it is less, it may be the client's own prices.
func doubt(r *schemas.Enriched, f *fact) {
	const tellServed = 1<<transcript | 1<<direct
	if f.shown&tellServed != 0 || !r.CostClientUsd.Valid || !r.CostNanoUsd.Valid {
		return
	}
	client := math.Round(r.CostClientUsd.Value * 1e9)
	if math.IsNaN(client) || math.Abs(client) > 1e15 {
		return
	}
	const rounding = 1000 // of the client's figure, nano-dollars
	switch n := int64(client); {
	case n < r.CostNanoUsd.Value-rounding:
		r.CostGrade = schemas.CostGradeEstimated
	case r.CostNanoUsdMax.Valid && n > r.CostNanoUsdMax.Value+rounding:
		r.CostGrade, r.CostNanoUsdMax = schemas.CostGradeEstimated, schemas.SomeLong(n)
	}
}

func joined(a, b string) string {
	if a != "" && b != "" {
		return a + "; " + b
	}
	return a + b
}

// toolCost fills a call's share of what the model cost: the output of the
// message that made it, divided by its calls, and its result, read once as
// input. The length of the result stands for its tokens. It is derived, and
// never a part of the requests' sum (DESIGN §6).
func (x *fold) toolCost(r *schemas.Enriched, s *session, f *fact) {
	id := s.requestOf(f)
	if id.IsZero() {
		return
	}
	m := x.known(s, id)
	if m == nil || !m.used() {
		return
	}
	request, _ := m.request(r.Org)
	calls, result := x.callsOf(s, id), resultTokens(f.numbers[nResultLength].value)
	_, cost, restatement := goesBy(x, "prices", x.versions(s, m).Prices, request.OccurredAt, func(version int64) schemas.OptLong {
		return x.prices(version).ToolCost(&request, calls, result)
	})
	r.ToolCostNanoUsd, r.CostGrade = cost, schemas.CostGradeDerived
	if !cost.Valid {
		r.CostGrade = schemas.CostGradeUnpriced
	}
	r.Restatement = joined(r.Restatement, restatement)
}

// resultTokens is about how many tokens a result of a length has: one for four
// characters, begun ones counted. Tokenizers differ by a third; no witness
// counts them.
func resultTokens(length int64) int64 { return (max(0, length) + 3) / 4 }
