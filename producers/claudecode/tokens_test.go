package claudecode_test

import (
	"path/filepath"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// usage is what a request used, as transcripts tell it.
type usage struct{ input, output, thinking, read, write5m, write1h int64 }

// requests is the model requests that a scenario's transcripts tell of. The
// lines of one message merge by maximum.
func requests(t *testing.T, scenario string) map[string]usage {
	found := map[string]usage{}
	for _, e := range transcriptsOf(t, scenario).of(schemas.KindModelRequest) {
		b, u := &e.Body.Model, found[e.RequestId]
		if b.TokenCacheWrite.Valid {
			t.Errorf("%s: %d tokens written to a cache of unknown lifetime", scenario, b.TokenCacheWrite.Value)
		}
		found[e.RequestId] = usage{
			max(u.input, b.TokenInput.Value), max(u.output, b.TokenOutput.Value), max(u.thinking, b.TokenThinking.Value),
			max(u.read, b.TokenCacheRead.Value), max(u.write5m, b.TokenCacheWrite5m.Value), max(u.write1h, b.TokenCacheWrite1h.Value),
		}
	}
	return found
}

// Every request that the endpoint answered is one model_request with what the
// endpoint said that it used, and there is no other one. What transcripts miss
// is named in the recordings' README.
func TestTokensAreWhatTheEndpointAnswered(t *testing.T) {
	missing := map[string]map[string]int{ // by scenario: requests of a script that are in no transcript
		"compact-manual": {"compact": 1}, "interactive": {"compact": 1, "aux": 1}, "websearch": {"search": 1}, "no-persistence": {"main": 3},
	}
	total := 0
	for _, scenario := range recordings.Scenarios() {
		found := requests(t, scenario)
		truth, err := recordings.Endpoint(filepath.Join(recorded, scenario))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range truth {
			if !r.Answered() {
				continue
			}
			got, ok := found[r.RequestId]
			if !ok {
				if missing[scenario][r.Lane]--; missing[scenario] == nil || missing[scenario][r.Lane] < 0 {
					t.Errorf("%s: request %s (%s, %d output tokens, at most %d) is in no transcript", scenario, r.RequestId, r.Lane, r.Usage.Output, r.MaxTokens)
				}
				continue
			}
			delete(found, r.RequestId)
			total++
			u := r.Usage
			want := usage{u.Input, u.Output, u.Thinking, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h}
			if r.MidStreamError != "" && scenario == "api-retries" && 0 < got.output && got.output < want.output {
				want.output = got.output // what was seen until the stream broke
			}
			if got != want {
				t.Errorf("%s: request %s used %+v, the endpoint said %+v", scenario, r.RequestId, got, want)
			}
		}
		for id, u := range found {
			t.Errorf("%s: the endpoint knows no request %s (%+v)", scenario, id, u)
		}
		for lane, n := range missing[scenario] {
			if n != 0 {
				t.Errorf("%s: %d requests of %s are in a transcript", scenario, n, lane)
			}
		}
	}
	if total < 200 {
		t.Errorf("%d requests only", total)
	}
}
