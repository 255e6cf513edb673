package pricing_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/processors/pricing"
)

// table is version 7 of a table; a row's fields go before the ones it shares
// with all others.
func table(rows ...string) []byte {
	const rest = `"input": 1, "output": 2, "cache_write_5m": 3, "cache_write_1h": 4, "cache_read": 5, "web_search": 6, "source": "a test"`
	for i, row := range rows {
		rows[i] = "{" + rest + ", " + row + "}" // the last of two equal names counts
	}
	return fmt.Appendf(nil, `{"unit": "nano-USD per token, and per search", "rows": [%s]}`, strings.Join(rows, ", "))
}

func TestARequestCostsWhatItCostWhenItHappened(t *testing.T) {
	prices, err := pricing.Parse(table(
		`"models": ["m"], "valid_to": "2026-02-01", "known_from": "2026-01-01"`,
		`"models": ["m"], "valid_from": "2026-02-01", "valid_to": "2026-03-01", "known_from": "2026-01-01", "platform": "vertex"`), 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		platform string
		at       int64
		want     string
	}{
		{"", at("2020-01-01"), "measured"},
		{"", 0, "measured"},
		{"", -1, "measured"},
		{"", at("2026-02-01") - 1, "measured"},
		{"", at("2026-02-01"), "unpriced"},
		{"vertex", at("2026-02-01"), "measured"},
		{"vertex", at("2026-03-01") - 1, "measured"},
		{"vertex", at("2026-03-01"), "unpriced"},
	} {
		got := prices.Price(&pricing.Request{Model: "m", Platform: c.platform, OccurredAt: c.at, Input: 1})
		if got.Grade.String() != c.want || got.PriceVersion != 7 {
			t.Errorf("at %d on %q: %+v, want %s", c.at, c.platform, got, c.want)
		}
	}
}

func TestTheLaterKnownOfTwoRowsForOneTimeCounts(t *testing.T) {
	announced := `"models": ["m"], "known_from": "2026-06-01", "valid_from": "2026-09-01", "input": 3`
	calledOff := `"models": ["m"], "known_from": "2026-08-01", "input": 2`
	for _, rows := range [][]string{{announced, calledOff}, {calledOff, announced}} {
		prices, err := pricing.Parse(table(rows...), 7)
		if err != nil {
			t.Fatal(err)
		}
		if got := prices.Price(&pricing.Request{Model: "m", Input: 1, OccurredAt: at("2026-10-01")}).NanoUsd.Value; got != 2 {
			t.Errorf("%d a token, want 2", got)
		}
	}
}

func TestAFaultyTableIsRefusedWithEveryFault(t *testing.T) {
	const good = `"models": ["m"], "known_from": "2026-01-01"`
	if _, err := pricing.Parse(table(good), 7); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		doc  []byte
		want []string
	}{
		"not JSON":        {[]byte("{"), []string{"cannot read the price table"}},
		"unknown field":   {table(good + `, "inputs": 1`), []string{"inputs"}},
		"unit":            {[]byte(`{"unit": "USD"}`), []string{`unit is "USD"`}},
		"two documents":   {append(table(good), "{}"...), []string{"more behind"}},
		"bad date":        {table(`"models": ["m"], "known_from": "soon"`), []string{"soon"}},
		"null row":        {[]byte(`{"unit": "nano-USD per token, and per search", "rows": [null]}`), []string{"row 1", "source is missing"}},
		"several":         {table(`"models": [], "prompt_over": -1, "speed": "slow"`), []string{"models is empty", "prompt_over is -1", `speed is "slow"`, "known_from is missing"}},
		"free tokens":     {table(good + `, "output": 0`), []string{"output is 0"}},
		"too dear":        {table(good + `, "output": 10000001`), []string{"output is 10000001"}},
		"upside down":     {table(good + `, "cache_write_1h": 2`), []string{"cache_write_1h is 2"}},
		"never valid":     {table(good + `, "valid_from": "2026-02-02", "valid_to": "2026-02-02"`), []string{"valid_to"}},
		"two at one time": {table(good, good+`, "valid_from": "2026-02-02"`), []string{"row 2: m has another row"}},
	} {
		_, err := pricing.Parse(c.doc, 7)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want one with %q", name, err, want)
			}
		}
	}
}
