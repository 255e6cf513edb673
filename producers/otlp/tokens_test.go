package otlp_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// tokens are the classes that a request is billed by; write is all of what
// was written to caches.
type tokens struct{ input, output, cacheRead, write5m, write1h, write int64 }

func tokensOf(e *schemas.Event) tokens {
	b := &e.Body.Model
	return tokens{
		b.TokenInput.Value, b.TokenOutput.Value, b.TokenCacheRead.Value,
		b.TokenCacheWrite5m.Value, b.TokenCacheWrite1h.Value,
		b.TokenCacheWrite5m.Value + b.TokenCacheWrite1h.Value + b.TokenCacheWrite.Value,
	}
}

// billed gives the tokens of each request that a signal tells of. A request
// may be told of more than once, but only once with tokens.
func (s *seen) billed(t *testing.T, signal schemas.Signal) map[string]tokens {
	t.Helper()
	found := map[string]tokens{}
	facts := map[schemas.Id]string{}
	for _, e := range s.of(schemas.KindModelRequest, signal) {
		if want := schemas.FactKey(e.SessionId, schemas.KindModelRequest, e.RequestId); e.FactKey != want {
			t.Errorf("the fact of %s is %s, want %s", e.RequestId, e.FactKey, want)
		}
		if other, ok := facts[e.FactKey]; ok && other != e.RequestId {
			t.Errorf("%s and %s are one fact", other, e.RequestId)
		}
		facts[e.FactKey] = e.RequestId
		if !e.Body.Model.TokenInput.Valid {
			continue
		}
		if _, twice := found[e.RequestId]; twice {
			t.Errorf("%s was told of twice", e.RequestId)
		}
		found[e.RequestId] = tokensOf(&e)
	}
	return found
}

func TestTheTokensOfARequestAreThoseThatTheEndpointAnswered(t *testing.T) {
	requests := 0
	for _, scenario := range recordings.Scenarios() {
		t.Run(scenario, func(t *testing.T) {
			truth, err := recordings.Endpoint(filepath.Join(recordings.Dir(t), scenario))
			if err != nil {
				t.Fatal(err)
			}
			s, _ := read(t, scenario, "logs")
			got := s.billed(t, byLog)
			var sum, wantSum tokens
			for _, q := range truth {
				if !q.Answered() {
					continue
				}
				requests++
				u := q.Usage
				want := tokens{u.Input, u.Output, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, u.CacheWrite5m + u.CacheWrite1h}
				have, ok := got[q.RequestId]
				delete(got, q.RequestId)
				switch {
				case scenario == "collector-down": // all telemetry is lost
					if ok {
						t.Errorf("%s was told of by a client that could not tell", q.RequestId)
					}
					continue
				case scenario == "interactive" && q.MaxTokens == 1: // a probe before a model switch: in no log record
					if ok {
						t.Errorf("the probe %s was told of", q.RequestId)
					}
					continue
				case scenario == "api-retries" && q.MidStreamError != "": // counts with the output seen until it broke
					if !ok || have.output > want.output {
						t.Errorf("the broken request %s has %+v of %+v", q.RequestId, have, want)
					}
					have.output = want.output
				}
				if have != want {
					t.Errorf("%s has %+v, want %+v", q.RequestId, have, want)
				}
				sum.add(have)
				wantSum.add(want)
			}
			if sum != wantSum {
				t.Errorf("the sum is %+v, want %+v", sum, wantSum)
			}
			for id := range got {
				t.Errorf("the endpoint never answered %s", id)
			}
		})
	}
	if requests < 200 {
		t.Errorf("only %d requests were compared", requests)
	}
}

func (a *tokens) add(b tokens) {
	a.input += b.input
	a.output += b.output
	a.cacheRead += b.cacheRead
	a.write5m += b.write5m
	a.write1h += b.write1h
	a.write += b.write
}

func TestSpansTellTheSameTokensAsLogsButNotHowLongACacheLives(t *testing.T) {
	spans := 0
	var unlogged []string
	for _, scenario := range recordings.Scenarios() {
		s, _ := read(t, scenario, "logs", "traces")
		told := s.billed(t, byLog)
		for id, got := range s.billed(t, bySpan) {
			spans++
			want, ok := told[id]
			if !ok {
				unlogged = append(unlogged, scenario+" "+id)
				continue
			}
			want.write5m, want.write1h = 0, 0
			if got != want {
				t.Errorf("%s: the span of %s has %+v, the log %+v", scenario, id, got, want)
			}
		}
	}
	if spans < 200 {
		t.Errorf("only %d spans were compared", spans)
	}
	// Only a span tells of the probe before a model switch.
	truth, err := recordings.Endpoint(filepath.Join(recordings.Dir(t), "interactive"))
	if err != nil {
		t.Fatal(err)
	}
	var probes []string
	for _, q := range truth {
		if q.MaxTokens == 1 {
			probes = append(probes, "interactive "+q.RequestId)
		}
	}
	if len(probes) != 1 || !slices.Equal(unlogged, probes) {
		t.Errorf("only spans tell of %v, want %v", unlogged, probes)
	}
}

func TestASpanCountsTheRetriesOfARequest(t *testing.T) {
	s, _ := read(t, "api-retries")
	last := map[string]int64{} // duration of the last attempt
	for _, e := range s.of(schemas.KindModelRequest, byLog) {
		last[e.RequestId] = e.DurationMs.Value
	}
	retried := 0
	for _, e := range s.of(schemas.KindModelRequest, bySpan) {
		b := e.Body.Model
		if b.Attempt.Value > 1 {
			retried++
			if e.DurationMs.Value < last[e.RequestId]+100 { // the client waits before it tries again
				t.Errorf("%s took %d ms with %d attempts, the last alone %d ms", e.RequestId, e.DurationMs.Value, b.Attempt.Value, last[e.RequestId])
			}
		}
		if b.StopReason == "" || b.ModelRequested == "" || e.Success != schemas.SomeBool(true) || !b.Attempt.Valid {
			t.Errorf("request %+v", e)
		}
	}
	if retried < 3 {
		t.Errorf("%d requests were tried again", retried)
	}
	if n := len(s.of(schemas.KindModelError, byLog)); n != 0 {
		t.Errorf("%d failures, though all worked in the end", n)
	}
}
