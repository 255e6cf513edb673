package reference

import (
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flightlog/flightlog/processors/pricing"
)

func day(t *testing.T, date string) int64 {
	t.Helper()
	at, err := time.Parse(time.DateOnly, date)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMicro()
}

// The bills are worked out by hand from contracts/claude-code.md §8, in
// nano-dollars.
func TestARequestCostsWhatTheContractSays(t *testing.T) {
	prices, now := builtinPrices(t), day(t, "2026-11-22")
	for name, c := range map[string]struct {
		q           request
		least, most int64
		priced      bool
	}{
		"every class": {request{model: "claude-opus-5-5", at: now, input: 10, output: 3, cacheRead: 7, cacheWrite5m: 5, cacheWrite1h: 2},
			10*4000 + 3*20000 + 7*200 + 5*5000 + 2*8000, 10*4000 + 3*20000 + 7*200 + 5*5000 + 2*8000, true},
		"writes of unknown lifetime": {request{model: "claude-opus-5-5", at: now, cacheWriteUnsplit: 10}, 50000, 80000, true},
		"fast":                       {request{model: "claude-opus-5-5", speed: "fast", at: now, output: 1}, 40000, 40000, true},
		"long prompt":                {request{model: "claude-haiku-5-5", at: now, input: 1, cacheRead: 100_000}, 500 + 100_000*50, 500 + 100_000*50, true},
		"not so long":                {request{model: "claude-haiku-5-5", at: now, cacheRead: 100_000}, 100_000 * 10, 100_000 * 10, true},
		"factors, not on searches": {request{model: "claude-opus-5-5", tier: "batch", geo: "us", at: now, input: 1, searches: 2},
			2200 + 2*10_000_000, 2200 + 2*10_000_000, true},
		"half a nano-dollar goes up": {request{model: "claude-haiku-5-5", tier: "batch", at: now, cacheWrite5m: 1}, 63, 63, true},
		"Bedrock in one region":      {request{model: "us.anthropic.claude-opus-4-5-20251101-v1:0", at: now, input: 1}, 5500, 5500, true},
		"Bedrock anywhere":           {request{model: "global.anthropic.claude-opus-4-5-20251101-v1:0", at: now, input: 1}, 5000, 5000, true},
		"an ARN":                     {request{model: "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-5-20251101-v1:0", at: now, input: 1}, 5500, 5500, true},
		"Vertex":                     {request{model: "claude-opus-4-5@20251101", at: now, input: 1}, 5000, 5500, true},
		"a suffix":                   {request{model: "claude-opus-4-5[1m]", platform: "firstParty", at: now, input: 1}, 5000, 5000, true},
		"before its price fell":      {request{model: "claude-sonnet-4-6", at: day(t, "2026-03-12"), input: 200_001}, 200_001 * 6000, 200_001 * 6000, true},
		"after its price fell":       {request{model: "claude-sonnet-4-6", at: day(t, "2026-03-13"), input: 200_001}, 200_001 * 3000, 200_001 * 3000, true},
		"an unknown model":           {request{model: "claude-zephyr-9", at: now, input: 1}, 0, 0, false},
		"an unknown tier":            {request{model: "claude-opus-5-5", tier: "priority", at: now, input: 1}, 0, 0, false},
		"an unknown place":           {request{model: "claude-opus-5-5", geo: "moon", at: now, input: 1}, 0, 0, false},
		"an unknown platform":        {request{model: "claude-opus-5-5", platform: "elsewhere", at: now, input: 1}, 0, 0, false},
		"fewer than none":            {request{model: "claude-opus-5-5", at: now, input: -1}, 0, 0, false},
		"beyond belief":              {request{model: "claude-opus-5-5", at: now, input: 100_000_001}, 0, 0, false},
	} {
		least, most, priced := prices.cost(c.q)
		if least != c.least || most != c.most || priced != c.priced {
			t.Errorf("%s: %d to %d (%v), want %d to %d (%v)", name, least, most, priced, c.least, c.most, c.priced)
		}
	}
}

func TestRoundingIsHalfUp(t *testing.T) {
	for _, c := range []struct{ numerator, denominator, want int64 }{{5, 2, 3}, {249, 100, 2}, {0, 1, 0}, {7, 1, 7}} {
		if got := roundHalfUp(big.NewRat(c.numerator, c.denominator)); got != c.want {
			t.Errorf("%d/%d is %d, want %d", c.numerator, c.denominator, got, c.want)
		}
	}
}

func TestPricesAreThoseOfTheProcessors(t *testing.T) {
	prices, random := builtinPrices(t), rand.New(rand.NewPCG(1, 6))
	one := func(of ...string) string { return of[random.IntN(len(of))] }
	var names []string
	for _, row := range prices.rows {
		names = append(names, row.Models...)
	}
	priced := 0
	for range 20_000 {
		count := func() int64 { return random.Int64N(10) * []int64{0, 1, 997, 30_011}[random.IntN(4)] }
		q := request{
			model:    one("", "", "us.anthropic.", "global.anthropic.", "anthropic.", "eu2.anthropic.") + one(names...) + one("", "", "-20251101", "-latest", "@20251101", "-v1:0", "[1m]", "-v1", "-x"),
			platform: one("", "firstParty", "bedrock", "vertex", "foundry", "elsewhere"), speed: one("", "standard", "normal", "fast"),
			tier: one("", "standard", "batch", "priority"), geo: one("", "us", "global", "not_available", "moon"),
			at:    day(t, "2026-01-01") + random.Int64N(400*24*3600)*1_000_000,
			input: count(), output: count(), cacheRead: count(), cacheWrite5m: count(), cacheWrite1h: count(), cacheWriteUnsplit: count(), searches: random.Int64N(3),
		}
		cost := pricing.Builtin().Price(&pricing.Request{Model: q.model, Platform: q.platform, Speed: q.speed, ServiceTier: q.tier, InferenceGeo: q.geo,
			OccurredAt: q.at, Input: q.input, Output: q.output, CacheRead: q.cacheRead, CacheWrite5m: q.cacheWrite5m, CacheWrite1h: q.cacheWrite1h,
			CacheWriteUnsplit: q.cacheWriteUnsplit, WebSearches: q.searches})
		least, most, ok := prices.cost(q)
		if ok != cost.NanoUsd.Valid || least != cost.NanoUsd.Value || most != cost.MaxNanoUsd.Value || prices.version != cost.PriceVersion {
			t.Fatalf("%+v: %d to %d (%v), the processors say %+v", q, least, most, ok, cost)
		}
		if ok {
			priced++
		}
	}
	if priced < 1000 {
		t.Errorf("only %d requests were priced", priced)
	}
}
