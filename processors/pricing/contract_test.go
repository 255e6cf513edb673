package pricing_test

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/processors/pricing"
	"github.com/flightlog/flightlog/schemas"
)

// file is a price file of an organisation.
func file(contracted string, list ...string) []byte {
	return aliased(`"ours": "m"`, contracted, list...)
}

func aliased(aliases, contracted string, list ...string) []byte {
	return fmt.Appendf(nil, `{"unit": "nano-USD per token, and per search", "aliases": {%s}, "rows": [%s], "contracted": [%s]}`,
		aliases, strings.Join(list, ", "), contracted)
}

const (
	rates  = `"input": 10, "output": 20, "cache_write_5m": 30, "cache_write_1h": 40, "cache_read": 5, "web_search": 1000, "source": "a test", "known_from": "2026-01-01"`
	listed = `{"models": ["m"], ` + rates + `}`
)

func parsed(t *testing.T, text []byte) *pricing.Table {
	t.Helper()
	p, err := pricing.Parse(text, 2)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAContractStandsBesideTheListPrice(t *testing.T) {
	p := parsed(t, file(`
		{"models": ["*"], "percent_of_list": 87.5, "source": "all", "known_from": "2026-01-01", "valid_from": "2026-02-01"},
		{"models": ["*"], "org": "acme", "percent_of_list": 50, "source": "acme", "known_from": "2026-01-01"},
		{"models": ["own"], "input": 1, "output": 2, "cache_write_5m": 3, "cache_write_1h": 4, "cache_read": 5, "web_search": 6, "source": "rates", "known_from": "2026-01-01"}`, listed))
	for _, c := range []struct {
		name             string
		r                pricing.Request
		list, contracted schemas.OptLong
	}{
		{"before the contract", pricing.Request{Model: "m", Input: 1, OccurredAt: at("2026-01-31")}, schemas.SomeLong(10), schemas.OptLong{}},
		{"half a nano-dollar up", pricing.Request{Model: "m", Input: 1, WebSearches: 1, OccurredAt: at("2026-02-01")}, schemas.SomeLong(1010), schemas.SomeLong(884)},
		{"an organisation's own goes before", pricing.Request{Model: "m", Org: "acme", Input: 1, OccurredAt: at("2026-02-01")}, schemas.SomeLong(10), schemas.SomeLong(5)},
		{"any speed and length", pricing.Request{Model: "m", Org: "acme", Input: 3, CacheRead: 1, ServiceTier: "batch"}, schemas.SomeLong(18), schemas.SomeLong(9)},
		{"rates, of a model that no list knows", pricing.Request{Model: "own", Input: 1, Output: 1}, schemas.OptLong{}, schemas.SomeLong(3)},
		{"a share of nothing", pricing.Request{Model: "other", Org: "acme", Input: 1}, schemas.OptLong{}, schemas.OptLong{}},
		{"an alias", pricing.Request{Model: "ours", Org: "acme", Output: 1}, schemas.SomeLong(20), schemas.SomeLong(10)},
	} {
		got := p.Price(&c.r)
		if got.NanoUsd != c.list || got.ContractedNanoUsd != c.contracted || got.PriceVersion != 2 {
			t.Errorf("%s: %+v, want list %v, contracted %v", c.name, got, c.list, c.contracted)
		}
	}
}

func TestAShareOfTheListIsRoundedOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	for range 2000 {
		hundredths := 1 + random.Int64N(10_000)
		p := parsed(t, file(fmt.Sprintf(`{"models": ["*"], "percent_of_list": %d.%02d, "source": "x", "known_from": "2026-01-01"}`, hundredths/100, hundredths%100),
			strings.Replace(listed, `"input": 10`, `"input": 9999991`, 1)))
		r := pricing.Request{Model: "m", Input: random.Int64N(100_000_000), Output: random.Int64N(1000), ServiceTier: []string{"", "batch"}[random.IntN(2)]}
		exact := new(big.Rat).SetInt64(r.Input*9_999_991 + r.Output*20)
		if r.ServiceTier == "batch" {
			exact.Mul(exact, big.NewRat(1, 2))
		}
		exact.Mul(exact, big.NewRat(hundredths, 10_000)).Add(exact, big.NewRat(1, 2))
		want := new(big.Int).Div(exact.Num(), exact.Denom()).Int64()
		if got := p.Price(&r).ContractedNanoUsd; got != schemas.SomeLong(want) {
			t.Fatalf("%d hundredths of %+v: %v, want %d", hundredths, r, got, want)
		}
	}
}

func TestARowThatWasGivenUpPricesNothingAndStillShowsAsOfThen(t *testing.T) {
	announced := `{"models": ["m"], ` + strings.NewReplacer(`"input": 10`, `"input": 15`, "2026-01-01", "2026-06-01").Replace(rates) + `, "valid_from": "2026-09-01", "known_to": "2026-08-22"}`
	p := parsed(t, file("", listed, announced))
	r := pricing.Request{Model: "m", Input: 1, OccurredAt: at("2026-10-01")}
	if got := p.Price(&r).NanoUsd.Value; got != 10 {
		t.Errorf("it costs %d, want 10: the rise was called off", got)
	}
	for day, want := range map[string]int64{"2026-05-31": 10, "2026-08-21": 15, "2026-08-22": 10, "2026-09-30": 10} {
		if got := p.AsOf(pricing.Date(at(day))).Price(&r).NanoUsd.Value; got != want {
			t.Errorf("as of %s it costs %d, want %d", day, got, want)
		}
	}
	if got := p.AsOf(pricing.Date(at("2025-12-31"))).Price(&r); got.Grade != schemas.CostGradeUnpriced {
		t.Errorf("as of before any row was known: %+v", got)
	}
}

func TestAFileOfAnOrganisationIsAddedToTheList(t *testing.T) {
	ours := file(`{"models": ["*"], "percent_of_list": 90, "source": "contract", "known_from": "2026-01-01"}`, listed)
	text, err := pricing.Merge(pricing.BuiltinText(), ours, ours)
	if err != nil {
		t.Fatal(err)
	}
	again, err := pricing.Merge(text)
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("merged again it is another text: %v", err)
	}
	p := parsed(t, text)
	builtin, _ := pricing.Builtin().Rows()
	if list, contracted := p.Rows(); len(list) != len(builtin)+1 || len(contracted) != 1 {
		t.Errorf("%d rows and %d of contracts", len(list), len(contracted))
	}
	for _, model := range []string{"claude-opus-5-5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"} {
		r := thousand(model)
		got, want := p.Price(&r), pricing.Builtin().Price(&r)
		if got.NanoUsd != want.NanoUsd || got.ContractedNanoUsd.Value != (want.NanoUsd.Value*9+5)/10 {
			t.Errorf("%s: %+v", model, got)
		}
	}
	if _, err := pricing.Merge(ours, bytes.Replace(ours, []byte(`"ours": "m"`), []byte(`"ours": "n"`), 1)); err == nil {
		t.Error("one alias for two models is merged")
	}
}

func TestAPriceThatWasAppliedIsNeverEdited(t *testing.T) {
	before := parsed(t, file("", listed))
	for name, c := range map[string]struct {
		text []byte
		want string // "" = it continues
	}{
		"the same":          {file("", listed), ""},
		"another row":       {file("", listed, strings.Replace(listed, "2026-01-01", "2026-02-01", 1)), ""},
		"another source":    {file("", strings.Replace(listed, "a test", "a letter", 1)), ""},
		"given up":          {file("", strings.Replace(listed, `"known_from"`, `"known_to": "2026-03-01", "known_from"`, 1)), ""},
		"edited":            {file("", strings.Replace(listed, `"input": 10`, `"input": 11`, 1)), "was changed"},
		"left out":          {file("", strings.Replace(listed, `"m"`, `"n", "m"`, 1)), "missing"},
		"alias left out":    {aliased("", "", listed), `alias "ours" of version 2 ("m") is missing`},
		"alias changed":     {aliased(`"ours": "n"`, "", listed, strings.Replace(listed, `"m"`, `"n"`, 1)), `alias "ours" of version 2 was changed from "m" to "n"`},
		"alias now listed":  {aliased("", "", listed, strings.Replace(listed, `"m"`, `"ours"`, 1)), ""},
		"another beginning": {file("", strings.Replace(listed, `"known_from"`, `"valid_from": "2026-03-01", "known_from"`, 1)), "was changed"},
	} {
		err := parsed(t, c.text).Continues(before)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestAnAliasIsAnotherNameOfAModelThatIsKnown(t *testing.T) {
	dated := strings.Replace(listed, `"m"`, `"claude-x-1"`, 1)
	givenUp := strings.Replace(listed, `"known_from"`, `"known_to": "2026-03-01", "known_from"`, 1)
	contract := `{"models": ["own"], ` + rates + `}`
	for name, c := range map[string]struct {
		text []byte
		want string // "" = it is right
	}{
		"of a list":            {aliased(`"ours": "m"`, "", listed), ""},
		"of a contract":        {aliased(`"ours": "own"`, contract), ""},
		"by an id":             {aliased(`"ours": "us.anthropic.claude-x-1-20260101-v1:0"`, "", dated), ""},
		"of one given up":      {aliased(`"ours": "m"`, "", givenUp), ""},
		"for a contract":       {aliased(`"own": "m"`, contract, listed), ""},
		"a listed name":        {aliased(`"m": "n"`, "", listed, strings.Replace(listed, `"m"`, `"n"`, 1)), `alias "m": the list prices a model of this name itself`},
		"a listed id":          {aliased(`"claude-x-1-20260101": "m"`, "", listed, dated), "the list prices a model of this name itself"},
		"of a model not known": {aliased(`"ours": "claude-nine"`, "", listed), `no row of the list or of a contract names the model "claude-nine"`},
		"a chain":              {aliased(`"a": "b", "b": "m"`, "", listed), `alias "a": "b" is an alias itself: name the model`},
		"empty":                {aliased(`"": "m"`, "", listed), "must not be empty"},
		"of no text":           {aliased(`"a": 5`, "", listed), `alias "a" is 5, must be a text`},
	} {
		_, err := pricing.Parse(c.text, 2)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	p := parsed(t, aliased(`"a": "m", "b": "m"`, "", listed))
	if _, _, news := p.News(parsed(t, aliased(`"a": "m"`, "", listed))); len(news) != 1 || news["b"] != "m" {
		t.Errorf("new aliases: %v", news)
	}
	if then := p.AsOf(pricing.Date(at("2025-12-31"))); len(then.Aliases()) != 0 || len(p.Aliases()) != 2 {
		t.Errorf("as of before any row was known: %v", then.Aliases())
	}
}

func TestAFastRowGoesBeforeAPercentageInAnyOrder(t *testing.T) {
	percent := `{"models": ["m"], "percent_of_list": 50, "source": "percent", "known_from": "2026-03-01"}`
	fast := `{"models": ["m"], "speed": "fast", ` + rates + `}`
	for _, contracts := range []string{percent + ", " + fast, fast + ", " + percent} {
		p := parsed(t, file(contracts, listed, fast))
		for speed, want := range map[string]int64{"": 5, "standard": 5, "fast": 10} {
			if got := p.Price(&pricing.Request{Model: "m", Speed: speed, Input: 1, OccurredAt: at("2026-04-01")}).ContractedNanoUsd; got != schemas.SomeLong(want) {
				t.Errorf("%q by %s: %v, want %d", speed, contracts, got, want)
			}
		}
	}
}

func TestEveryWordOfARequestThatIsAllowedIsPriced(t *testing.T) {
	p := parsed(t, file("", listed, `{"models": ["m"], "speed": "fast", `+rates+`}`))
	for _, platform := range pricing.Platforms {
		for _, speed := range pricing.Speeds {
			for _, tier := range pricing.ServiceTiers {
				for _, geo := range pricing.InferenceGeos {
					r := pricing.Request{Model: "m", Platform: platform, Speed: speed, ServiceTier: tier, InferenceGeo: geo, Input: pricing.MaxCount}
					if p.Price(&r).Grade == schemas.CostGradeUnpriced {
						t.Errorf("%+v is unpriced", r)
					}
					if r.Input++; p.Price(&r).Grade != schemas.CostGradeUnpriced {
						t.Errorf("%+v is believed", r)
					}
				}
			}
		}
	}
}

func TestFaultsOfAContractAreNamed(t *testing.T) {
	for contracted, want := range map[string]string{
		`{"models": ["*"], "percent_of_list": 0, "source": "x", "known_from": "2026-01-01"}`:                            "percent_of_list is 0",
		`{"models": ["*"], "percent_of_list": 101, "source": "x", "known_from": "2026-01-01"}`:                          "percent_of_list is 101",
		`{"models": ["*"], "percent_of_list": 12.345, "source": "x", "known_from": "2026-01-01"}`:                       "two decimals",
		`{"models": ["*"], "percent_of_list": -5, "source": "x", "known_from": "2026-01-01"}`:                           "percent_of_list",
		`{"models": ["*"], "percent_of_list": 90, "input": 1, "source": "x", "known_from": "2026-01-01"}`:               "in place of rates",
		`{"models": ["*"], "percent_of_list": 90, "source": "x", "known_from": "2026-01-01", "known_to": "2025-01-01"}`: "known_to is before",
		`{"models": ["*"], "source": "x", "known_from": "2026-01-01"}`:                                                  "input is 0",
	} {
		if _, err := pricing.Parse(file(contracted, listed), 2); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", contracted, err, want)
		}
	}
	for _, row := range []string{`{"models": ["*"], ` + rates + `}`, `{"models": ["m"], "org": "acme", ` + rates + `}`} {
		if _, err := pricing.Parse(file("", row), 2); err == nil || !strings.Contains(err.Error(), "for contracted prices") {
			t.Errorf("%s: %v", row, err)
		}
	}
}

func TestACallBearsItsShareOfTheOutputAndItsResultAsInput(t *testing.T) {
	p := parsed(t, file("", listed))
	for _, c := range []struct {
		r             pricing.Request
		calls, result int64
		want          schemas.OptLong
	}{
		{pricing.Request{Model: "m", Output: 9, Input: 1000}, 3, 0, schemas.SomeLong(60)},
		{pricing.Request{Model: "m", Output: 10}, 3, 2, schemas.SomeLong(87)}, // 66.67 + 20, rounded once
		{pricing.Request{Model: "m", Output: 10, ServiceTier: "batch"}, 2, 2, schemas.SomeLong(60)},
		{pricing.Request{Model: "other", Output: 10}, 2, 2, schemas.OptLong{}},
		{pricing.Request{Model: "m", Output: 10}, 0, 2, schemas.OptLong{}},
		{pricing.Request{Model: "m", Output: 10}, 1, -1, schemas.OptLong{}},
	} {
		if got := p.ToolCost(&c.r, c.calls, c.result); got != c.want {
			t.Errorf("%+v, %d calls, result of %d tokens: %v, want %v", c.r, c.calls, c.result, got, c.want)
		}
	}
}

func TestAnExplanationAddsUpToThePrice(t *testing.T) {
	r := pricing.Request{Model: "us.anthropic.claude-sonnet-4-5-20250929-v1:0", ServiceTier: "batch", OccurredAt: today,
		Input: 7, Output: 11, CacheRead: 13, CacheWrite5m: 17, CacheWrite1h: 19, WebSearches: 2}
	e := pricing.Builtin().Explain(&r)
	tokens := int64(0)
	for _, term := range e.Terms {
		if term.NanoUsd != term.Count*term.Rate {
			t.Errorf("%+v", term)
		}
		if term.Class != "web search" {
			tokens += term.NanoUsd
		}
	}
	if want := (tokens*11 + 10) / 20; e.Cost.NanoUsd != schemas.SomeLong(want+2*10_000_000) {
		t.Errorf("%+v, want %d and two searches", e, want)
	}
	if e.Model != "claude-sonnet-4-5" || len(e.Factors) != 2 || e.List == nil || e.List.Source == "" {
		t.Errorf("%+v", e)
	}
}

// The builtin list is version 1 for ever: what was priced by it does not change
// by an upgrade. A price that changes, or a model that is new, is a row of a
// list with which a release begins a new fold, or that is applied.
func TestTheBuiltinListIsThatOfTheFold(t *testing.T) {
	const hash = "194624cbe38e7c37dcea2b48b1d71fc4"
	if got := schemas.TextHash(pricing.BuiltinText()); got != hash {
		t.Errorf("the list has hash %s: a new list comes with a new version of the sessions fold, and this hash", got)
	}
}
