package pricing_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/processors/pricing"
)

// table is version 7 of a table; a row has what all others have, but for the
// fields that it names.
func table(rows ...string) []byte {
	for i, row := range rows {
		for _, field := range []string{`"input": 1`, `"output": 2`, `"cache_write_5m": 3`, `"cache_write_1h": 4`, `"cache_read": 5`, `"web_search": 6`, `"source": "a test"`} {
			if name, _, _ := strings.Cut(field, " "); !strings.Contains(row, name) {
				row += ", " + field
			}
		}
		rows[i] = "{" + row + "}"
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
		"not JSON":        {[]byte("{"), []string{"line 1: is not JSON"}},
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
		"two at one time": {table(good, good+`, "valid_from": "2026-02-02"`), []string{`row 2: "m" has another row`}},
		"empty":           {[]byte(" \n"), []string{"is empty"}},
		"no object":       {[]byte("[]"), []string{"line 1: is [], must be an object"}},
		"kinds": {[]byte("{\"unit\": \"nano-USD per token, and per search\", \"Rows\": [],\n\"rows\": [\n{\"models\": \"m\",\n\"input\": 1.5,\n\"known_from\": \"2026-13-01\", \"us_surcharge\": 1},\n5,\n{\"models\": [\"\\ud800\"]}],\n\"contracted\": {}}"),
			[]string{`line 1: there is no field "Rows"`, `line 3: row 1: models is "m", must be a list of texts`, "line 4: row 1: input is 1.5, must be a whole number",
				`line 5: row 1: known_from is "2026-13-01", must be a day`, "line 5: row 1: us_surcharge is 1, must be true or false", "line 6: row 2: it is 5, must be an object",
				"line 7: row 3: models: \"\ufffd\" has a broken character", "line 8: contracted rows is an object, must be a list"}},
		"out of range":   {table(good + `, "input": 99999999999999999999`), []string{"input is 99999999999999999999, must be a whole number"}},
		"epoch":          {table(`"models": ["m"], "known_from": "1970-01-01"`), []string{`known_from is "1970-01-01", must be a day after`}},
		"platform":       {table(good + `, "platform": "Bedrock"`), []string{`platform is "Bedrock", must be firstParty, bedrock, vertex, foundry`}},
		"nameless model": {table(`"models": [""], "known_from": "2026-01-01"`), []string{"models is empty, or one of them"}},
		"twice a field":  {table(good + `, "source": "a", "source": "b"`), []string{`row 1: "source" stands twice`}},
		"twice an alias": {[]byte(`{"unit": "x", "unit": "y", "aliases": {"a": "b", "a": "c"}}`), []string{`"unit" stands twice`, `"a" stands twice`}},
		"not UTF-8":      {table("\"models\": [\"m\xff\"], \"known_from\": \"2026-01-01\""), []string{"line 1: a character is not UTF-8"}},
	} {
		_, err := pricing.Parse(c.doc, 7)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want one with %q", name, err, want)
			}
		}
		if err != nil && (strings.Contains(err.Error(), "Go ") || strings.Contains(err.Error(), "json:")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFaultNamesTheFileAndItsOwnRow(t *testing.T) {
	const good = `"models": ["m"], "known_from": "2026-01-01"`
	ours := pricing.File{Name: "ours.json", Text: append([]byte("\ufeff"), table(`"models": ["n"], "known_from": "2026-01-01"`, good+`, "input": 3`)...)}
	_, _, err := pricing.Join(pricing.File{Name: "first.json", Text: table(good)}, ours, pricing.File{Name: "none.json"})
	for _, want := range []string{`ours.json:1: row 2: "m" has another row`, "none.json is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "first.json") {
		t.Error(err)
	}
	text, joined, err := pricing.Join(ours)
	if err != nil {
		t.Fatal(err)
	}
	if rows, _ := joined.Rows(); len(rows) != 2 || !strings.Contains(string(text), `"n"`) {
		t.Errorf("%s", text)
	}
}
