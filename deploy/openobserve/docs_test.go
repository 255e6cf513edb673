package openobserve_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

// TestTheQueriesOfTheDocsAreRight: those that docs/openobserve.md shows keep the
// rules of dashboards, and give what the facts are.
func TestTheQueriesOfTheDocsAreRight(t *testing.T) {
	page, err := os.ReadFile("../../docs/openobserve.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	in := provisioned(t)
	h := newHistory(5, 1000)
	in.load(h.rows, "b1")
	in.load(h.rows[:300], "b2")
	c := choices()["all"]
	want := []func() table{
		func() table {
			spend := table{}
			priced := func(f *fact) []schemas.OptLong {
				return []schemas.OptLong{flag(f.CostNanoUsd.Valid), f.CostNanoUsd}
			}
			for key, v := range sums(h.facts, schemas.KindModelRequest, &c, func(f *fact) string { return known(f.Repo) + "|" + known(billingColumn(f)) }, priced) {
				if v[0].Value > 0 {
					spend[key] = []*float64{number(v[0]), dollars(v[1])}
				}
			}
			return spend
		},
		func() table {
			return latency(h.facts, schemas.KindToolCall, &c, func(f *fact) string { return known(f.ToolName) })
		},
	}
	if len(blocks) != len(want) {
		t.Fatalf("the page shows %d queries", len(blocks))
	}
	for i, block := range blocks {
		q, err := parse(block[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range q.problems() {
			t.Errorf("query %d: %v", i, err)
		}
		var p panel
		p.Queries = append(p.Queries, panelQuery{Query: strings.ReplaceAll(block[1], "flightlog_enriched", "staging_enriched_g2")})
		for _, output := range q.outputs {
			if _, isKey := columnsOf("flightlog_enriched")[output]; isKey {
				p.Queries[0].Fields.X = append(p.Queries[0].Fields.X, axis{Alias: output})
			} else {
				p.Queries[0].Fields.Y = append(p.Queries[0].Fields.Y, axis{Alias: output})
			}
		}
		if got, _ := in.run(&p, &c); !got.equal(want[i]()) {
			t.Errorf("query %d gives\n%s\nthe facts are\n%s", i, got, want[i]())
		}
	}
}

// known is a column as a hit shows it: what is not known is not there.
func known(text string) string {
	if text == "" {
		return "<nil>"
	}
	return text
}

func billingColumn(f *fact) string {
	if f.Billing == schemas.BillingUnknown {
		return ""
	}
	return f.Billing.String()
}
