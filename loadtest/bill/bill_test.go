package bill_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/loadtest/bill"
)

func at(t *testing.T, day string) time.Time {
	t.Helper()
	d, err := time.Parse(time.RFC3339, day)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// said is a line as text: least, most, contracted, grade.
func said(l bill.Line) string {
	n := func(p *int64) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprint(*p)
	}
	return n(l.Cost) + " " + n(l.Max) + " " + n(l.Contracted) + " " + l.Grade
}

// TestFiguresWorkedOutByHand holds the program against sums that were done on
// paper from contract §8.
func TestFiguresWorkedOutByHand(t *testing.T) {
	const day = "2026-11-22T12:00:00Z"
	for name, c := range map[string]struct {
		at   string
		r    bill.Request
		want string
	}{
		// 1000 × 4 + 500 × 20 + 10 000 × 5 + 20 000 × 8 + 200 000 × 0.20 USD a million: the recording's 0.264.
		"five classes":         {day, bill.Request{Model: "claude-opus-5-5", Input: 1000, Output: 500, CacheWrite5m: 10000, CacheWrite1h: 20000, CacheRead: 200000}, "264000000 264000000 - measured"},
		"long haiku":           {day, bill.Request{Model: "claude-haiku-5-5", Input: 2000, Output: 1000, CacheWrite5m: 20000, CacheRead: 120000}, "22000000 22000000 - measured"},
		"not over":             {day, bill.Request{Model: "claude-haiku-5-5", CacheRead: 100000}, "1000000 1000000 - measured"},
		"sonnet 4.6 before":    {"2026-03-12T23:59:59Z", bill.Request{Model: "claude-sonnet-4-6", Input: 250000, Output: 10000}, "1725000000 1725000000 - measured"},
		"sonnet 4.6 after":     {"2026-03-13T00:00:00Z", bill.Request{Model: "claude-sonnet-4-6", Input: 250000, Output: 10000}, "900000000 900000000 - measured"},
		"lifetime unknown":     {day, bill.Request{Model: "claude-opus-5-5", CacheWriteUnsplit: 1000}, "5000000 8000000 - estimated"},
		"fast":                 {day, bill.Request{Model: "claude-opus-5-5", Speed: "fast", Input: 1000, Output: 1000, CacheWrite5m: 1000, CacheRead: 1000}, "58400000 58400000 - measured"},
		"fast on 4.6":          {day, bill.Request{Model: "claude-opus-4-6", Speed: "fast", Input: 1000}, "5000000 5000000 - measured"},
		"fast without a price": {day, bill.Request{Model: "claude-sonnet-5-5", Speed: "fast", Input: 1000}, "- - - unpriced"},
		"batch, US, region":    {day, bill.Request{Model: "us.anthropic.claude-opus-4-8-v1:0", Tier: "batch", Geo: "us", Input: 1000}, "3025000 3025000 - measured"}, // 5000 × 1/2 × 1.1 × 1.1
		"US before 4.6":        {day, bill.Request{Model: "claude-opus-4-5-20251101", Geo: "us", Input: 1000}, "5000000 5000000 - measured"},
		"half a nano-dollar":   {day, bill.Request{Model: "claude-haiku-5-5", Tier: "batch", CacheWrite5m: 1}, "63 63 - measured"}, // 62.5
		"searches":             {day, bill.Request{Model: "claude-sonnet-5", Tier: "batch", Input: 1000, WebSearches: 2}, "21000000 21000000 - measured"},
		"region unknown":       {day, bill.Request{Model: "claude-opus-4-8@20260301", Platform: "vertex", Input: 1000}, "5000000 5500000 - estimated"},
		"region told":          {day, bill.Request{Model: "claude-opus-4-8@20260301", Platform: "vertex", Region: "regional", Input: 1000}, "5500000 5500000 - measured"},
		"region before 4.5":    {day, bill.Request{Model: "claude-opus-4-1@20250805", Platform: "vertex", Input: 1000}, "15000000 15000000 - measured"},
		"unknown model":        {day, bill.Request{Model: "claude-zephyr-9", Input: 1000}, "- - - unpriced"},
		"no model in the id":   {day, bill.Request{Model: "arn:aws:bedrock:us-east-1:1:application-inference-profile/a1", Platform: "bedrock", Input: 1000}, "- - - unpriced"},
		"no usage":             {day, bill.Request{Model: "claude-opus-5-5", NoUsage: true}, "- - - unpriced"},
		"lower bound":          {day, bill.Request{Model: "claude-opus-5-5", Output: 4, LowerBound: true, Billed: 10}, "80000 - - estimated"},
	} {
		c.r.At = at(t, c.at)
		if got := said(bill.Price(&c.r, nil)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestABillOfAFolder bills what was answered only, with its iterations and the
// organisation's own prices.
func TestABillOfAFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"endpoint.ndjson": strings.Join([]string{
			`{"t":"2026-11-22T12:00:00Z","request_id":"r1","message_id":"m1","answer_model":"claude-sonnet-5-5","platform":"bedrock","usage":{"input_tokens":10,"output_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"iterations":[{"type":"message","input_tokens":10,"output_tokens":5},{"type":"advisor_message","model":"claude-opus-5-5","input_tokens":100,"output_tokens":7}]}}`,
			`{"t":"2026-11-22T12:00:01Z","request_id":"r2","model":"claude-opus-5-5","status":529}`,
			`{"t":"2026-11-22T12:00:02Z","request_id":"r3","message_id":"m3","answer_model":"claude-zephyr-9","usage":{"input_tokens":1000,"output_tokens":1}}`,
			`{"t":"2026-11-22T12:00:03Z","request_id":"r4","message_id":"m4","answer_model":"claude-opus-5-5","billing":"api","usage":{"input_tokens":1000,"output_tokens":0}}`,
		}, "\n"),
		"prices.json": `{"unit":"nano-USD per token, and per search",
			"rows":[{"models":["claude-opus-5-5"],"platform":"firstParty","input":1,"output":1,"cache_write_5m":1,"cache_write_1h":1,"cache_read":1}],
			"contracted":[{"models":["claude-opus-5-5"],"percent_of_list":87.5},{"models":["*"],"input":1000,"output":2000,"cache_write_5m":1,"cache_write_1h":1,"cache_read":1}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := bill.Of(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range b.Lines {
		got = append(got, l.Request.RequestID+" "+l.Request.Part+" "+l.Request.Billing+" "+said(l))
	}
	// r1 is a range, as the region on Bedrock is not told.
	want := []string{"r1  cloud 70000 77000 20000 estimated", "r1 advisor cloud 540000 594000 472500 estimated", "r3  unknown - - - unpriced", "r4  api 4000000 4000000 3500000 measured"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("%q, want %q", got, want)
	}
	if b.UnpricedRequests != 1 || b.UnpricedTokens != 1001 || b.Totals["cloud"].Cost != 610000 || b.Totals["api"].Contracted != 3500000 || b.Totals["unknown"] != nil {
		t.Errorf("%+v %+v", b, b.Totals["cloud"])
	}
}
