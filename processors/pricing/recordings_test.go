package pricing_test

import (
	"encoding/json"
	"io/fs"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/processors/pricing"
	"github.com/flightlog/flightlog/schemas"
)

// bill is the plain bill of one answer in nano-dollars, by a table of its own:
// USD per million tokens of input, output, cache write 5 min, 1 h, cache read.
func bill(t *testing.T, r recordings.Request) *big.Rat {
	t.Helper()
	usd := map[string][5]string{
		"claude-opus-5-5":            {"4", "20", "5", "8", "0.20"},
		"claude-opus-5-5 fast":       {"8", "40", "10", "16", "0.40"},
		"claude-sonnet-4-6":          {"3", "15", "3.75", "6", "0.30"},
		"claude-sonnet-4-5-20250929": {"3", "15", "3.75", "6", "0.30"},
		"claude-sonnet-5-5":          {"2", "10", "2.50", "4", "0.10"},
		"claude-haiku-5-5":           {"0.10", "0.50", "0.125", "0.20", "0.01"},
		"claude-haiku-5-5 long":      {"0.50", "2.50", "0.625", "1", "0.05"},
		"claude-fable-5-2":           {"8", "40", "10", "16", "0.20"},
		"claude-zephyr-9":            {"4", "20", "5", "8", "0.20"}, // unknown: the client charges what opus-5.5 costs
	}
	u, name := r.Usage, r.AnswerModel
	if u.Speed == "fast" {
		name += " fast"
	}
	if name == "claude-haiku-5-5" && u.Input+u.CacheRead+u.CacheWrite5m+u.CacheWrite1h > 100_000 {
		name += " long"
	}
	rates, ok := usd[name]
	if !ok {
		t.Fatalf("no rates for %s", name)
	}
	sum := big.NewRat(10_000_000*u.WebSearches, 1)
	for i, tokens := range []int64{u.Input, u.Output, u.CacheWrite5m, u.CacheWrite1h, u.CacheRead} {
		rate, ok := new(big.Rat).SetString(rates[i])
		if !ok {
			t.Fatalf("rate %q", rates[i])
		}
		sum.Add(sum, rate.Mul(rate, big.NewRat(1000*tokens, 1)))
	}
	return sum
}

func priceOf(r recordings.Request) pricing.Cost {
	return pricing.Builtin().Price(&pricing.Request{
		Model: r.AnswerModel, Platform: "firstParty", Speed: r.Usage.Speed, ServiceTier: r.Usage.ServiceTier,
		InferenceGeo: r.Usage.InferenceGeo, OccurredAt: r.Time.UnixMicro(),
		Input: r.Usage.Input, Output: r.Usage.Output, CacheRead: r.Usage.CacheRead,
		CacheWrite5m: r.Usage.CacheWrite5m, CacheWrite1h: r.Usage.CacheWrite1h, WebSearches: r.Usage.WebSearches,
	})
}

func TestEveryRecordedAnswerCostsWhatAPlainBillSays(t *testing.T) {
	dir := recordings.Dir(t)
	priced := 0
	for _, scenario := range recordings.Scenarios() {
		requests, err := recordings.Endpoint(filepath.Join(dir, scenario))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range requests {
			switch got := priceOf(r); {
			case !r.Answered():
			case r.AnswerModel == "claude-zephyr-9":
				if got != unpriced {
					t.Errorf("%s: an unknown model costs %+v", scenario, got)
				}
			default:
				priced++
				if want := bill(t, r); got.Grade != schemas.CostGradeMeasured || big.NewRat(got.NanoUsd.Value, 1).Cmp(want) != 0 {
					t.Errorf("%s %s: %+v, want %s", scenario, r.RequestId, got, want.FloatString(3))
				}
			}
		}
	}
	if priced != 240 {
		t.Errorf("%d answers priced, want 240", priced)
	}
}

// TestTheClientsOwnBillsAgree compares the sum over the requests of a session
// with the last cost-state of its transcript. Where the two are known to
// differ, the difference is named, explained and exact.
func TestTheClientsOwnBillsAgree(t *testing.T) {
	dir := recordings.Dir(t)
	named := map[string]func(ours map[string]int64, requests []recordings.Request) int64{ // ours minus the client's
		"api-retries/e9f3bf2a": func(map[string]int64, []recordings.Request) int64 {
			return 6 * 20_000 // the request that broke in its stream: the client saw 4 of its 10 output tokens
		},
		"interactive/b543cf5f": func(_ map[string]int64, requests []recordings.Request) (cost int64) {
			for _, r := range requests {
				if r.MaxTokens == 1 { // a probe before a model switch is in no client source
					cost += priceOf(r).NanoUsd.Value
				}
			}
			return cost
		},
		"resume/9ab82915": func(ours map[string]int64, _ []recordings.Request) int64 {
			return -ours["acda5c2d-201a-43a6-be16-f28edb038d48"] // a fork starts from its parent's sum
		},
		"usage-shapes/7646bcd1": func(_ map[string]int64, requests []recordings.Request) (cost int64) {
			for _, r := range requests {
				if r.AnswerModel == "claude-zephyr-9" { // unknown: the client guesses, we do not
					cost -= bill(t, r).Num().Int64()
				}
			}
			return cost
		},
	}
	explained, compared := 0, 0
	for _, scenario := range recordings.Scenarios() {
		requests, err := recordings.Endpoint(filepath.Join(dir, scenario))
		if err != nil {
			t.Fatal(err)
		}
		ours := map[string]int64{}
		for _, r := range requests {
			if r.Answered() {
				ours[r.SessionId] += priceOf(r).NanoUsd.Value
			}
		}
		for session, theirs := range costStates(t, filepath.Join(dir, scenario)) {
			compared++
			name, want := scenario+"/"+session[:8], int64(0)
			if explain := named[name]; explain != nil {
				explained++
				if want = explain(ours, requests); want == 0 {
					t.Errorf("%s: the difference explains nothing", name)
				}
			}
			if diff := ours[session] - theirs; diff != want {
				t.Errorf("%s: ours %d, the client's %d: difference %d, want %d", name, ours[session], theirs, diff, want)
			}
		}
	}
	if compared != 55 || explained != len(named) {
		t.Errorf("%d sessions compared, %d differences explained, want 55 and %d", compared, explained, len(named))
	}
}

// costStates gives the last cost-state of each session in nano-dollars. The
// client adds up floating-point dollars, so its sum is rounded to the
// nearest nano-dollar.
func costStates(t *testing.T, scenarioDir string) map[string]int64 {
	t.Helper()
	states := map[string]int64{}
	err := fs.WalkDir(os.DirFS(scenarioDir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".jsonl" {
			return err
		}
		transcript, err := os.ReadFile(filepath.Join(scenarioDir, name))
		for line := range strings.Lines(string(transcript)) {
			var state struct {
				Type         string
				SessionId    string
				TotalCostUSD float64
			}
			if err := json.Unmarshal([]byte(line), &state); err != nil {
				return err
			}
			if state.Type == "cost-state" {
				states[state.SessionId] = int64(math.Round(state.TotalCostUSD * 1e9))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return states
}
