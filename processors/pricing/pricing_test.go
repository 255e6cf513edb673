package pricing_test

import (
	"math"
	"testing"
	"time"

	"github.com/flightlog/flightlog/processors/pricing"
	"github.com/flightlog/flightlog/schemas"
)

func at(day string) int64 {
	d, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return d.UnixMicro()
}

var today = at("2026-11-22")

// thousand is a request with a thousand tokens of each split class, so that
// its cost in nano-dollars is a thousand times the sum of the five rates.
func thousand(model string) pricing.Request {
	return pricing.Request{Model: model, OccurredAt: today,
		Input: 1000, Output: 1000, CacheRead: 1000, CacheWrite5m: 1000, CacheWrite1h: 1000}
}

func measured(nano int64) pricing.Cost {
	return pricing.Cost{NanoUsd: schemas.SomeLong(nano), MaxNanoUsd: schemas.SomeLong(nano),
		Grade: schemas.CostGradeMeasured, PriceVersion: 1}
}

func estimated(nano int64, most schemas.OptLong) pricing.Cost {
	return pricing.Cost{NanoUsd: schemas.SomeLong(nano), MaxNanoUsd: most,
		Grade: schemas.CostGradeEstimated, PriceVersion: 1}
}

var unpriced = pricing.Cost{Grade: schemas.CostGradeUnpriced, PriceVersion: 1}

func TestEachModelHasItsFiveRates(t *testing.T) {
	for _, c := range []struct {
		models                                   []string
		speed                                    string
		input, output, write5m, write1h, readOut int64 // nano-dollars per token
	}{
		{[]string{"claude-3-5-haiku"}, "", 800, 4000, 1000, 1600, 80},
		{[]string{"claude-haiku-4-5"}, "", 1000, 5000, 1250, 2000, 100},
		{[]string{"claude-haiku-5-5"}, "", 100, 500, 125, 200, 10},
		{[]string{"claude-3-5-sonnet", "claude-3-7-sonnet", "claude-sonnet-4", "claude-sonnet-4-0", "claude-sonnet-4-5", "claude-sonnet-4-6"}, "", 3000, 15000, 3750, 6000, 300},
		{[]string{"claude-sonnet-5"}, "", 2000, 10000, 2500, 4000, 200},
		{[]string{"claude-sonnet-5-5"}, "", 2000, 10000, 2500, 4000, 100},
		{[]string{"claude-opus-4", "claude-opus-4-0", "claude-opus-4-1"}, "", 15000, 75000, 18750, 30000, 1500},
		{[]string{"claude-opus-4-5", "claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5"}, "", 5000, 25000, 6250, 10000, 500},
		{[]string{"claude-opus-5-5"}, "", 4000, 20000, 5000, 8000, 200},
		{[]string{"claude-fable-5", "claude-mythos-5"}, "", 10000, 50000, 12500, 20000, 1000},
		{[]string{"claude-fable-5-1", "claude-mythos-5-1"}, "", 10000, 50000, 12500, 20000, 250},
		{[]string{"claude-fable-5-2", "claude-mythos-5-2"}, "", 8000, 40000, 10000, 16000, 200},
		{[]string{"claude-opus-4-6", "claude-opus-4-7"}, "fast", 5000, 25000, 6250, 10000, 500},
		{[]string{"claude-opus-4-8", "claude-opus-5"}, "fast", 10000, 50000, 12500, 20000, 1000},
		{[]string{"claude-opus-5-5"}, "fast", 8000, 40000, 10000, 16000, 400},
		{[]string{"claude-fable-5-2"}, "fast", 16000, 80000, 20000, 32000, 400},
	} {
		for _, model := range c.models {
			for _, one := range []struct {
				class string
				r     pricing.Request
				want  int64
			}{
				{"input", pricing.Request{Input: 1}, c.input},
				{"output", pricing.Request{Output: 1}, c.output},
				{"cache write 5 min", pricing.Request{CacheWrite5m: 1}, c.write5m},
				{"cache write 1 h", pricing.Request{CacheWrite1h: 1}, c.write1h},
				{"cache read", pricing.Request{CacheRead: 1}, c.readOut},
				{"web search", pricing.Request{WebSearches: 1}, 10_000_000},
			} {
				one.r.Model, one.r.Speed, one.r.OccurredAt = model, c.speed, today
				if got := pricing.Builtin().Price(&one.r); got != measured(one.want) {
					t.Errorf("%s %s, one of %s: %+v, want %d", model, c.speed, one.class, got, one.want)
				}
			}
		}
	}
}

func price(r pricing.Request) pricing.Cost { return pricing.Builtin().Price(&r) }

func TestAModelIsKnownByEveryIdOfIt(t *testing.T) {
	for id, want := range map[string]int64{
		"claude-opus-5-5":                                  37_200_000,
		"claude-opus-4-5-20251101":                         46_750_000,
		"claude-opus-4-1-20250805":                         140_250_000,
		"claude-opus-4-20250514":                           140_250_000,
		"claude-opus-4-8[1m]":                              46_750_000,
		"claude-3-5-haiku-latest":                          7_480_000,
		"claude-3-5-haiku-20241022":                        7_480_000,
		"claude-opus-4-1@20250805":                         140_250_000,
		"claude-3-5-sonnet-v2@20241022":                    28_050_000,
		"anthropic.claude-opus-4-20250514-v1:0":            140_250_000,
		"us.anthropic.claude-3-5-sonnet-20241022-v2:0":     28_050_000,
		"anthropic.claude-3-5-sonnet-20240620-v1:0:200k":   28_050_000,
		"global.anthropic.claude-opus-4-6-v1":              46_750_000,
		"global.anthropic.claude-sonnet-4-5-20250929-v1:0": 28_050_000,
		"us.anthropic.claude-sonnet-4-5-20250929-v1:0":     30_855_000,
		"us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0": 30_855_000,
		"anthropic.claude-opus-4-6-v1":                     51_425_000,
		"arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-opus-4-5-20251101-v1:0":                51_425_000,
		"arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.anthropic.claude-opus-4-5-20251101-v1:0": 46_750_000,
	} {
		if got := price(thousand(id)); got != measured(want) {
			t.Errorf("%s: %+v, want %d", id, got, want)
		}
	}
}

func TestAnUnknownModelIsUnpricedAndNeverZero(t *testing.T) {
	for _, id := range []string{"", "claude", "claude-", "claude-zephyr-9", "opus", "claude-opus-6", "claude-opus-4-9", "claude-opus-4-55",
		"xclaude-opus-5-5", "claude-opus-5-5-fast", "claude-opus-5-5-2026112", "claude-opus-5-5-v", "Claude-Opus-5-5", "gpt-5",
		"x/y.anthropic.claude-opus-4-6-v1", "US.anthropic.claude-opus-4-6-v1", ".anthropic.claude-opus-4-6-v1", "<synthetic>",
		"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"} {
		if got := price(thousand(id)); got != unpriced {
			t.Errorf("%q: %+v, want unpriced", id, got)
		}
	}
}

func TestWhatHasNoListPriceIsUnpriced(t *testing.T) {
	for name, change := range map[string]func(*pricing.Request){
		"priority tier":            func(r *pricing.Request) { r.ServiceTier = "priority" },
		"unknown geography":        func(r *pricing.Request) { r.InferenceGeo = "moon" },
		"unknown platform":         func(r *pricing.Request) { r.Platform = "reseller" },
		"unknown speed":            func(r *pricing.Request) { r.Speed = "ludicrous" },
		"fast model without price": func(r *pricing.Request) { r.Model, r.Speed = "claude-sonnet-5-5", "fast" },
	} {
		r := thousand("claude-opus-5-5")
		change(&r)
		if got := pricing.Builtin().Price(&r); got != unpriced {
			t.Errorf("%s: %+v, want unpriced", name, got)
		}
	}
}

func TestHostileCountsAreUnpriced(t *testing.T) {
	for _, n := range []int64{-1, math.MinInt64, math.MaxInt64, 100_000_001} {
		for i := range 7 {
			r := pricing.Request{Model: "claude-opus-5-5", OccurredAt: today}
			*[]*int64{&r.Input, &r.Output, &r.CacheRead, &r.CacheWrite5m, &r.CacheWrite1h, &r.CacheWriteUnsplit, &r.WebSearches}[i] = n
			if got := pricing.Builtin().Price(&r); got != unpriced {
				t.Errorf("class %d of %d: %+v, want unpriced", i, n, got)
			}
		}
	}
	const most = 100_000_000
	got := pricing.Builtin().Price(&pricing.Request{Model: "us.anthropic.claude-fable-5-1", InferenceGeo: "us", OccurredAt: today,
		Input: most, Output: most, CacheRead: most, CacheWrite5m: most, CacheWrite1h: most, WebSearches: most})
	if want := measured(most*(10000+50000+250+12500+20000)/100*121 + most*10_000_000); got != want {
		t.Errorf("the most that is believed: %+v, want %+v", got, want)
	}
}

func TestALongPromptIsDearerAsAWholeWhereTheModelSaysSo(t *testing.T) {
	haiku := func(r pricing.Request) pricing.Cost {
		r.Model, r.OccurredAt = "claude-haiku-5-5", today
		return pricing.Builtin().Price(&r)
	}
	if got := haiku(pricing.Request{Input: 40_000, CacheRead: 30_000, CacheWrite5m: 20_000, CacheWrite1h: 10_000, Output: 200_000}); got !=
		measured(40_000*100+30_000*10+20_000*125+10_000*200+200_000*500) {
		t.Errorf("at 100 000 tokens: %+v", got)
	}
	if got := haiku(pricing.Request{Input: 40_001, CacheRead: 30_000, CacheWrite5m: 20_000, CacheWrite1h: 10_000, Output: 10}); got !=
		measured(40_001*500+30_000*50+20_000*625+10_000*1000+10*2500) {
		t.Errorf("at 100 001 tokens: %+v", got)
	}
	if got := haiku(pricing.Request{CacheWriteUnsplit: 100_001}); got != estimated(100_001*625, schemas.SomeLong(100_001*1000)) {
		t.Errorf("an unsplit write counts to the prompt: %+v", got)
	}

	for _, c := range []struct {
		model, day string
		rate       int64
	}{
		{"claude-opus-5-5", "2026-11-22", 4000},
		{"claude-sonnet-4-5", "2026-11-22", 6000},
		{"claude-sonnet-4-6", "2026-03-12", 6000},
		{"claude-sonnet-4-6", "2026-03-13", 3000},
		{"claude-opus-4-6", "2026-03-12", 10000},
		{"claude-opus-4-6", "2026-03-13", 5000},
	} {
		r := pricing.Request{Model: c.model, OccurredAt: at(c.day), Input: 600_000}
		if got := pricing.Builtin().Price(&r); got != measured(600_000*c.rate) {
			t.Errorf("%s on %s: %+v, want %d a token", c.model, c.day, got, c.rate)
		}
	}
}

func TestFactorsMultiplyAndHoldForTokensOnly(t *testing.T) {
	const plain, search = 37_200_000, 10_000_000 // opus-5.5
	for _, c := range []struct {
		name   string
		change func(*pricing.Request)
		want   int64
	}{
		{"none", func(*pricing.Request) {}, plain + search},
		{"standard tier", func(r *pricing.Request) { r.ServiceTier = "standard" }, plain + search},
		{"normal speed", func(r *pricing.Request) { r.Speed = "normal" }, plain + search},
		{"first party", func(r *pricing.Request) { r.Platform, r.InferenceGeo = "firstParty", "not_available" }, plain + search},
		{"global", func(r *pricing.Request) { r.InferenceGeo = "global" }, plain + search},
		{"batch", func(r *pricing.Request) { r.ServiceTier = "batch" }, plain/2 + search},
		{"us", func(r *pricing.Request) { r.InferenceGeo = "us" }, plain/10*11 + search},
		{"us in batch", func(r *pricing.Request) { r.InferenceGeo, r.ServiceTier = "us", "batch" }, plain/20*11 + search},
		{"regional", func(r *pricing.Request) { r.Model = "eu.anthropic.claude-opus-5-5-v1:0" }, plain/10*11 + search},
		{"all", func(r *pricing.Request) {
			r.Model, r.InferenceGeo, r.ServiceTier = "us.anthropic.claude-opus-5-5-v1:0", "us", "batch"
		}, plain/200*121 + search},
		{"us before 4.6", func(r *pricing.Request) { r.Model, r.InferenceGeo = "claude-opus-4-5", "us" }, 46_750_000 + search},
		{"regional before 4.5", func(r *pricing.Request) { r.Model = "us.anthropic.claude-opus-4-1-20250805-v1:0" }, 140_250_000 + search},
	} {
		r := thousand("claude-opus-5-5")
		r.WebSearches = 1
		c.change(&r)
		if got := pricing.Builtin().Price(&r); got != measured(c.want) {
			t.Errorf("%s: %+v, want %d", c.name, got, c.want)
		}
	}
}

func TestACloudRequestOfUnknownEndpointIsARange(t *testing.T) {
	for _, c := range []struct{ model, platform string }{
		{"claude-opus-5-5", "bedrock"}, {"claude-opus-5-5", "vertex"}, {"claude-opus-5-5@20261001", ""},
	} {
		r := thousand(c.model)
		r.Platform = c.platform
		if got := pricing.Builtin().Price(&r); got != estimated(37_200_000, schemas.SomeLong(40_920_000)) {
			t.Errorf("%s at %q: %+v", c.model, c.platform, got)
		}
	}
	r := thousand("claude-opus-4-1")
	r.Platform = "vertex"
	if got := pricing.Builtin().Price(&r); got != measured(140_250_000) {
		t.Errorf("a model older than the surcharge: %+v", got)
	}
}

func TestARequestIsRoundedOnceAndHalfUp(t *testing.T) {
	for _, c := range []struct {
		input, read int64
		tier, geo   string
		want        int64
	}{
		{0, 1, "batch", "", 5},                // 10 / 2
		{1, 0, "batch", "us", 55},             // 100 × 0.55
		{0, 1, "batch", "us", 6},              // 5.5, up
		{0, 3, "batch", "us", 17},             // 16.5 once, not 3 × 6
		{1, 1, "batch", "us", 61},             // 55 + 5.5
		{99_999, 1, "batch", "us", 5_499_951}, // 5 499 945 + 5.5
	} {
		got := pricing.Builtin().Price(&pricing.Request{Model: "claude-haiku-5-5", OccurredAt: today,
			Input: c.input, CacheRead: c.read, ServiceTier: c.tier, InferenceGeo: c.geo})
		if got != measured(c.want) {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestAnUnsplitCacheWriteIsARangeFromFiveMinutesToAnHour(t *testing.T) {
	r := pricing.Request{Model: "claude-opus-5-5", OccurredAt: today, CacheWrite5m: 10, CacheWrite1h: 20, CacheWriteUnsplit: 1000, WebSearches: 1}
	const rest = 10*5000 + 20*8000 + 10_000_000
	if got := pricing.Builtin().Price(&r); got != estimated(1000*5000+rest, schemas.SomeLong(1000*8000+rest)) {
		t.Errorf("%+v", got)
	}
}

func TestAPartialOutputIsALowerBoundWithoutAnUpperOne(t *testing.T) {
	r := pricing.Request{Model: "claude-opus-5-5", OccurredAt: today, Output: 3, OutputPartial: true}
	if got := pricing.Builtin().Price(&r); got != estimated(60_000, schemas.OptLong{}) {
		t.Errorf("%+v", got)
	}
}

func TestTheRiseThatWasCalledOffIsNotCharged(t *testing.T) {
	for _, day := range []string{"2026-07-01", "2026-08-31", "2026-09-01", "2026-12-01"} {
		r := thousand("claude-sonnet-5")
		r.OccurredAt = at(day)
		if got := pricing.Builtin().Price(&r); got != measured(18_700_000) {
			t.Errorf("sonnet-5 on %s: %+v", day, got)
		}
	}
}

func TestPricingDoesNotAllocate(t *testing.T) {
	r := thousand("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
	table := pricing.Builtin()
	if n := testing.AllocsPerRun(100, func() { table.Price(&r) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

func FuzzNoModelIdPanicsOrIsPricedBelowZero(f *testing.F) {
	f.Add("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock", "batch", "us", int64(1), int64(100_000_000))
	f.Add("arn:aws:bedrock:x/-v@-latest[1m]", "", "", "", int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, model, platform, tier, geo string, a, b int64) {
		c := pricing.Builtin().Price(&pricing.Request{Model: model, Platform: platform, ServiceTier: tier, InferenceGeo: geo,
			OccurredAt: a, Input: a, Output: b, CacheRead: a, CacheWrite5m: b, CacheWriteUnsplit: a, WebSearches: b})
		switch {
		case c.Grade == schemas.CostGradeUnpriced:
			if c != unpriced {
				t.Errorf("unpriced with a figure: %+v", c)
			}
		case c.NanoUsd.Value < 0 || c.MaxNanoUsd.Value < c.NanoUsd.Value:
			t.Errorf("%+v", c)
		}
	})
}

func BenchmarkPrice(b *testing.B) {
	table := pricing.Builtin()
	for _, model := range []string{"claude-opus-5-5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-zephyr-9"} {
		b.Run(model, func(b *testing.B) {
			r := thousand(model)
			b.ReportAllocs()
			for b.Loop() {
				table.Price(&r)
			}
		})
	}
}
