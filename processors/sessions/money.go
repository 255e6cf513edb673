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

// prices are a version of the price table. A text that is none counts as the
// version before it.
func (x *fold) prices(version int64) *pricing.Table {
	for ; version > 1; version-- {
		text := x.tx.Config("prices", version)
		if t, _ := x.parsed("prices", version, text, func() (any, error) { return pricing.Parse(text, version) }).(*pricing.Table); t != nil {
			return t
		}
	}
	return pricing.Builtin()
}

// directory is a version of the directory; the same.
func (x *fold) directory(version int64) *directory.Directory {
	for ; version > 1; version-- {
		text := x.tx.Config("directory", version)
		if d, _ := x.parsed("directory", version, text, func() (any, error) { return directory.Parse(text) }).(*directory.Directory); d != nil {
			return d
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

// attribute fills the team of a row by the directory, else by what the session
// says, and gives who pays how.
func (x *fold) attribute(r *schemas.Enriched, s *session, f *fact) schemas.Billing {
	version := x.versions(s, f).Directory
	team, billing := x.directory(version).Find(r.User, r.OccurredAt)
	if by := x.restated("directory", version, r.OccurredAt); by != nil {
		laterTeam, laterBilling := x.directory(by.Version).Find(r.User, r.OccurredAt)
		if laterTeam != team || laterBilling != billing && f.kind == schemas.KindModelRequest {
			team, billing, r.Restatement = laterTeam, laterBilling, reasonOf(by)
		}
	}
	if r.Team = team; team == "" {
		r.Team = s.texts[sTeam].value
	}
	return billing
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

// table is the price table that a request goes by, its cost, and why it is a
// later one than at first, if it is.
func (x *fold) table(s *session, f *fact, r *pricing.Request) (t *pricing.Table, c pricing.Cost, restatement string) {
	t = x.prices(x.versions(s, f).Prices)
	c = t.Price(r)
	if by := x.restated("prices", c.PriceVersion, r.OccurredAt); by != nil {
		later := x.prices(by.Version)
		corrected := later.Price(r)
		unversioned := corrected
		unversioned.PriceVersion = c.PriceVersion
		if unversioned != c {
			return later, corrected, reasonOf(by)
		}
	}
	return t, c, ""
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
	_, cost, restatement := x.table(s, f, &request)
	r.CostNanoUsd, r.CostNanoUsdMax, r.CostContractedNanoUsd = cost.NanoUsd, cost.MaxNanoUsd, cost.ContractedNanoUsd
	r.CostGrade, r.PriceVersion = cost.Grade, cost.PriceVersion
	if restatement != "" {
		r.Restatement = joined(r.Restatement, restatement)
	}
	if nested && r.CostGrade == schemas.CostGradeMeasured {
		r.CostGrade, r.CostNanoUsdMax = schemas.CostGradeEstimated, schemas.OptLong{} // a lower bound
	}
	x.doubt(r, f)
	if cost.NanoUsd.Valid {
		r.CostUsd = schemas.SomeDouble(float64(cost.NanoUsd.Value) / 1e9)
	}
	if r.Billing = billing; pricing.OnCloud(r.Platform, r.Model) {
		r.Billing = schemas.BillingCloud // the client's own word
	}
}

// doubt lowers the grade of a figure that only OTLP tells of, where the client's
// own differs: OTLP tells the speed that was asked for, no service tier, no
// place and no searches, and the client's figure knows them. Where it is more,
// it is the upper bound; where it is less, it may be the client's own prices.
func (x *fold) doubt(r *schemas.Enriched, f *fact) {
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
	if a == "" {
		return b
	}
	return a + "; " + b
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
	t, _, restatement := x.table(s, m, &request)
	r.CostGrade = schemas.CostGradeDerived
	r.ToolCostNanoUsd = t.ToolCost(&request, x.callsOf(s, id), resultTokens(f.numbers[nResultLength].value))
	if !r.ToolCostNanoUsd.Valid {
		r.CostGrade = schemas.CostGradeUnpriced
	} else if restatement != "" {
		r.Restatement = joined(r.Restatement, restatement)
	}
}

// resultTokens is about how many tokens a result of a length has: one for four
// characters, begun ones counted. Tokenizers differ by a third; no witness
// counts them.
func resultTokens(length int64) int64 { return (max(0, length) + 3) / 4 }

// requestOf is the fact_key of the model request that made a call, zeros if it is
// not known.
func (s *session) requestOf(f *fact) (id schemas.Id) {
	if request := f.texts[tRequestId].value; request != "" {
		id = schemas.FactKey(s.texts[sSessionId].value, schemas.KindModelRequest, request)
	}
	return id
}

// messageOf and callsOf name what facts of a session have in common: the requests
// of a message, and the calls of a request, which is a fact_key.
func messageOf(id string) schemas.Id { return schemas.FactKey(id, schemas.KindModelRequest, "message") }
func callsOf(request schemas.Id) schemas.Id {
	return schemas.FactKey(string(request[:]), schemas.KindToolCall, "calls")
}

// kin is what a fact has in common with others.
type kin struct {
	request schemas.Id // of a call
	message string     // of a model request
}

func (s *session) kinOf(f *fact) (k kin) {
	switch f.kind {
	case schemas.KindToolCall:
		k.request = s.requestOf(f)
	case schemas.KindModelRequest:
		k.message = f.texts[tMessageId].value
	}
	return k
}

// relateMoney keeps what rows need of other facts for their money: the calls of
// a request, and the requests of a message. It makes the others due when one
// changed, also those that it had in common before.
func (x *fold) relateMoney(s *session, f *fact, before kin) {
	now := s.kinOf(f)
	switch f.kind {
	case schemas.KindToolCall:
		if before.request != now.request {
			x.reconsiderLink(s, callsOf(before.request), f)
			l := x.group(s, callsOf(now.request))
			l.calls = l.add(l.calls, f)
			x.reconsider(s, l.calls, f)
		}
	case schemas.KindModelRequest:
		x.reconsiderLink(s, callsOf(f.key), f)
		if before.message != now.message {
			x.reconsiderLink(s, messageOf(before.message), f)
		}
		if now.message != "" {
			l := x.group(s, messageOf(now.message))
			l.requests = l.add(l.requests, f)
			x.reconsider(s, l.requests, f)
		}
	}
}

// reconsiderLink is reconsider for all of a link, if there is one.
func (x *fold) reconsiderLink(s *session, id schemas.Id, but *fact) {
	if l := load[link](x, linkKey(s.id, id), nil); l != nil {
		x.reconsider(s, l.requests, but)
		x.reconsider(s, l.calls, but)
	}
}

// reconsider makes the published rows of facts due, but for one.
func (x *fold) reconsider(s *session, facts []moment, but *fact) {
	for _, m := range facts {
		if other := x.known(s, m.fact); other != but && other.version > 0 {
			other.dueBy(max(x.tx.Now(), other.published+nextVersion))
		}
	}
}

// callsOf is the number of calls that a request made, at least 1.
func (x *fold) callsOf(s *session, request schemas.Id) (n int64) {
	if l := load[link](x, linkKey(s.id, callsOf(request)), nil); l != nil {
		for _, m := range l.calls {
			if s.requestOf(x.known(s, m.fact)) == request {
				n++
			}
		}
	}
	return max(1, n)
}

// copied tells a request that a subagent's file only repeats from elsewhere,
// under a new request id: the message is another request's (background of
// DESIGN §6, trap 3.4). The main thread's counts, else the earliest.
func (x *fold) copied(s *session, f *fact) bool {
	message := f.texts[tMessageId].value
	if message == "" || f.texts[tAgentRunId].value == "" {
		return false
	}
	l := load[link](x, linkKey(s.id, messageOf(message)), nil)
	if l == nil {
		return false
	}
	mine := moment{f.key, f.numbers[nOccurredAt].value}
	for _, m := range l.requests {
		if m.fact == f.key {
			continue
		}
		other := x.known(s, m.fact)
		if other.texts[tMessageId].value == message && (other.texts[tAgentRunId].value == "" || compareMoments(m, mine) < 0) {
			return true
		}
	}
	return false
}
