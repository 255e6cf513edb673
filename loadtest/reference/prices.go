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

// Prices is a version of the price list.
type Prices struct {
	version int64
	rows    []price
}

// price is what some models cost per token, in nano-dollars, from a day until
// before another (2006-01-02, UTC; empty = always).
type price struct {
	Models            []string
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
}

// ParsePrices reads a price list as processors/pricing/prices.json holds it. It
// believes what is in it.
func ParsePrices(data []byte) (*Prices, error) {
	var list struct {
		Version int64
		Rows    []price
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("cannot read the price list: %w", err)
	}
	return &Prices{list.Version, list.Rows}, nil
}

// request is what one model request was billed by.
type request struct {
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
	const believable = 100_000_000 // of one class; more is a fault of the witness
	for _, n := range []int64{q.input, q.output, q.cacheRead, q.cacheWrite5m, q.cacheWrite1h, q.cacheWriteUnsplit, q.searches} {
		if n < 0 || n > believable {
			return 0, 0, false
		}
	}
	model, endpoint := modelOf(q.model)
	row := p.find(model, q)
	if row == nil {
		return 0, 0, false
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
		return 0, 0, false
	}
	switch q.geo {
	case "", "global", "not_available":
	case "us":
		surcharge(row.USSurcharge)
	default:
		return 0, 0, false
	}
	if endpoint == "" {
		endpoint = map[string]string{"": "global", "firstParty": "global", "foundry": "global", "bedrock": "either", "vertex": "either"}[q.platform]
	}
	total := func(unsplitRate int64) int64 {
		tokens := q.input*row.Input + q.output*row.Output + q.cacheRead*row.CacheRead +
			q.cacheWrite5m*row.CacheWrite5m + q.cacheWrite1h*row.CacheWrite1h + q.cacheWriteUnsplit*unsplitRate
		sum := new(big.Rat).Mul(factor, new(big.Rat).SetInt64(tokens))
		sum.Add(sum, new(big.Rat).SetInt64(q.searches*row.WebSearch))
		return roundHalfUp(sum)
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
	return 0, 0, false // a platform that no price is known for
}

// roundHalfUp is floor(x + 1/2).
func roundHalfUp(x *big.Rat) int64 {
	x = new(big.Rat).Add(x, big.NewRat(1, 2))
	return new(big.Int).Div(x.Num(), x.Denom()).Int64() // Div rounds down: the denominator is positive
}

// find is the row that a request is priced by, nil if none: one for its platform
// before one for all, then the highest step that its prompt is over, then the
// one that was learned of last.
func (p *Prices) find(model string, q request) *price {
	day := time.UnixMicro(q.at).UTC().Format(time.DateOnly)
	speed := q.speed
	if speed == "standard" || speed == "normal" {
		speed = ""
	}
	prompt := q.input + q.cacheRead + q.cacheWrite5m + q.cacheWrite1h + q.cacheWriteUnsplit
	var best *price
	for i := range p.rows {
		row := &p.rows[i]
		holds := slices.Contains(row.Models, model) && row.Speed == speed &&
			(row.Platform == "" || row.Platform == q.platform) &&
			(row.PromptOver == 0 || prompt > row.PromptOver) &&
			row.ValidFrom <= day && (row.ValidTo == "" || day < row.ValidTo)
		if holds && (best == nil || row.goesBefore(best)) {
			best = row
		}
	}
	return best
}

func (p *price) goesBefore(o *price) bool {
	switch {
	case p.Platform != o.Platform: // both hold, so one of them is for all platforms
		return p.Platform != ""
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
