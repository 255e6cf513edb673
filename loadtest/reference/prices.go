package reference

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Prices is a version of the prices.
type Prices struct {
	version          int64
	aliases          map[string]string
	rows, contracted []price
}

// price is what some models cost per token, in nano-dollars, from a day until
// before another (2006-01-02, UTC; empty = always).
type price struct {
	Models            []string
	Org               string
	Platform, Speed   string
	PromptOver        int64 `json:"prompt_over"`
	Input, Output     int64
	CacheWrite5m      int64  `json:"cache_write_5m"`
	CacheWrite1h      int64  `json:"cache_write_1h"`
	CacheRead         int64  `json:"cache_read"`
	WebSearch         int64  `json:"web_search"`
	USSurcharge       bool   `json:"us_surcharge"`
	RegionalSurcharge bool   `json:"regional_surcharge"`
	ValidFrom         string `json:"valid_from"`
	ValidTo           string `json:"valid_to"`
	KnownFrom         string `json:"known_from"`
	KnownTo           string `json:"known_to"` // such a row prices nothing
	// PercentOfList stands in place of the rates of a contract.
	PercentOfList json.Number `json:"percent_of_list"`
}

// ParsePrices reads a version of the prices as processors/pricing/prices.json
// holds it. It believes what is in it.
func ParsePrices(data []byte, version int64) (*Prices, error) {
	var list struct {
		Aliases          map[string]string
		Rows, Contracted []price
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("cannot read the prices: %w", err)
	}
	return &Prices{version, list.Aliases, list.Rows, list.Contracted}, nil
}

// request is what one model request was billed by.
type request struct {
	org                               string
	model, platform, speed, tier, geo string
	at                                int64 // µs since 1970
	input, output, cacheRead          int64
	cacheWrite5m, cacheWrite1h        int64
	cacheWriteUnsplit                 int64 // of unknown lifetime
	searches                          int64
	lowerBound                        bool // output is one
}

// cost is the least and the most that a request may have cost in nano-dollars,
// rounded once, half up (DESIGN §6; factors: contracts/claude-code.md §8). false
// if it has no list price.
func (p *Prices) cost(q request) (least, most int64, ok bool) {
	low, high, ok := p.bill(p.rows, q)
	if !ok {
		return 0, 0, false
	}
	return roundHalfUp(low), roundHalfUp(high), true
}

// contract is what a request costs by the organisation's own prices.
func (p *Prices) contract(q request) (least int64, ok bool) {
	row := p.find(p.contracted, q)
	if row == nil {
		return 0, false
	}
	if row.PercentOfList == "" {
		low, _, ok := p.bill(p.contracted, q)
		if !ok {
			return 0, false
		}
		return roundHalfUp(low), true
	}
	low, _, ok := p.bill(p.rows, q)
	percent, valid := new(big.Rat).SetString(row.PercentOfList.String())
	if !ok || !valid {
		return 0, false
	}
	return roundHalfUp(low.Mul(low, percent.Mul(percent, big.NewRat(1, 100)))), true
}

// bill is what a request costs by some rows, in nano-dollars: at least and at
// most.
func (p *Prices) bill(rows []price, q request) (least, most *big.Rat, ok bool) {
	const believable = 100_000_000 // of one class; more is a fault of the witness
	for _, n := range []int64{q.input, q.output, q.cacheRead, q.cacheWrite5m, q.cacheWrite1h, q.cacheWriteUnsplit, q.searches} {
		if n < 0 || n > believable {
			return nil, nil, false
		}
	}
	_, endpoint := p.modelOf(q.model)
	row := p.find(rows, q)
	if row == nil {
		return nil, nil, false
	}
	factor := big.NewRat(1, 1)
	surcharge := func(on bool) {
		if on {
			factor.Mul(factor, big.NewRat(11, 10))
		}
	}
	switch q.tier {
	case "", "standard":
	case "batch":
		factor.Mul(factor, big.NewRat(1, 2))
	default:
		return nil, nil, false
	}
	switch q.geo {
	case "", "global", "not_available":
	case "us":
		surcharge(row.USSurcharge)
	default:
		return nil, nil, false
	}
	if endpoint == "" {
		endpoint = map[string]string{"": "global", "firstParty": "global", "foundry": "global", "bedrock": "either", "vertex": "either"}[q.platform]
	}
	total := func(unsplitRate int64) *big.Rat {
		tokens := q.input*row.Input + q.output*row.Output + q.cacheRead*row.CacheRead +
			q.cacheWrite5m*row.CacheWrite5m + q.cacheWrite1h*row.CacheWrite1h + q.cacheWriteUnsplit*unsplitRate
		sum := new(big.Rat).Mul(factor, new(big.Rat).SetInt64(tokens))
		return sum.Add(sum, new(big.Rat).SetInt64(q.searches*row.WebSearch))
	}
	switch endpoint {
	case "global":
		return total(row.CacheWrite5m), total(row.CacheWrite1h), true
	case "regional":
		surcharge(row.RegionalSurcharge)
		return total(row.CacheWrite5m), total(row.CacheWrite1h), true
	case "either":
		least = total(row.CacheWrite5m)
		surcharge(row.RegionalSurcharge)
		return least, total(row.CacheWrite1h), true
	}
	return nil, nil, false // a platform that no price is known for
}

// roundHalfUp is floor(x + 1/2).
func roundHalfUp(x *big.Rat) int64 {
	x = new(big.Rat).Add(x, big.NewRat(1, 2))
	return new(big.Int).Div(x.Num(), x.Denom()).Int64() // Div rounds down: the denominator is positive
}

// find is the row that a request is priced by, nil if none: one for its model
// before one for every model, for its organisation before one for all, for its
// platform before one for all, then the highest step that its prompt is over,
// then the one that was learned of last.
func (p *Prices) find(rows []price, q request) *price {
	model, _ := p.modelOf(q.model)
	day := time.UnixMicro(q.at).UTC().Format(time.DateOnly)
	speed := q.speed
	if speed == "standard" || speed == "normal" {
		speed = ""
	}
	platform := q.platform
	if platform == "" {
		switch _, endpoint := p.modelOf(q.model); endpoint {
		case "":
			platform = "firstParty"
		case "either":
			platform = "vertex"
		default:
			platform = "bedrock"
		}
	}
	prompt := q.input + q.cacheRead + q.cacheWrite5m + q.cacheWrite1h + q.cacheWriteUnsplit
	var best *price
	for i := range rows {
		row := &rows[i]
		holds := (slices.Contains(row.Models, model) || slices.Contains(row.Models, "*")) && row.KnownTo == "" &&
			(row.Speed == speed || row.PercentOfList != "") && (row.Org == "" || row.Org == q.org) &&
			(row.Platform == "" || row.Platform == platform) &&
			(row.PromptOver == 0 || prompt > row.PromptOver) &&
			row.ValidFrom <= day && (row.ValidTo == "" || day < row.ValidTo)
		if holds && (best == nil || row.goesBefore(best, model)) {
			best = row
		}
	}
	return best
}

func (p *price) goesBefore(o *price, model string) bool {
	switch mine := slices.Contains(p.Models, model); {
	case mine != slices.Contains(o.Models, model):
		return mine
	case p.Org != o.Org:
		return p.Org != ""
	case p.Platform != o.Platform: // both hold, so one of them is for all platforms
		return p.Platform != ""
	case p.Speed != o.Speed: // the other is a share of every speed's price
		return p.Speed != ""
	case p.PromptOver != o.PromptOver:
		return p.PromptOver > o.PromptOver
	case p.KnownFrom != o.KnownFrom:
		return p.KnownFrom > o.KnownFrom
	}
	return p.ValidFrom > o.ValidFrom
}

// The ids that platforms give a model (contracts/claude-code.md §8):
// [arn:…/][region.]anthropic.NAME[:0] on Bedrock, NAME@date on Vertex, NAME
// elsewhere; NAME may end in -date or -latest, -v1 and [1m].
var (
	modelID    = regexp.MustCompile(`^(?:arn:.*/)?(?:([a-z-]+\.)?(anthropic\.)([^:]*)(?::.*)?|([^@]*)(@.*)?)$`)
	modelParts = []*regexp.Regexp{regexp.MustCompile(`\[1m\]$`), regexp.MustCompile(`-v\d+$`), regexp.MustCompile(`-(latest|\d{8})$`)}
)

// modelOf is modelOf for a model that may have an alias.
func (p *Prices) modelOf(id string) (name, endpoint string) {
	for _, alias := range []string{strings.TrimSuffix(id, "[1m]"), id} {
		if known, ok := p.aliases[alias]; ok {
			id = known
		}
	}
	return modelOf(id)
}

// modelOf is the vendor's name of a model and the endpoint that its id tells:
// global, regional, either of the two, or nothing.
func modelOf(id string) (name, endpoint string) {
	m := modelID.FindStringSubmatch(id)
	if m == nil {
		return id, ""
	}
	region, bedrock, vertex := m[1], m[2] != "", m[5] != ""
	switch {
	case bedrock && region == "global.":
		endpoint = "global"
	case bedrock:
		endpoint = "regional"
	case vertex:
		endpoint = "either"
	}
	name = m[3] + m[4]
	for _, part := range modelParts {
		name = strings.TrimSuffix(name, part.FindString(name))
	}
	return name, endpoint
}
