package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/processors/spend"
)

// reconcileRecorded reconciles all recordings in a home, and gives the lines by
// witness.
func reconcileRecorded(t *testing.T, home string, args ...string) (map[string][]spendDifference, *spendReconciled) {
	t.Helper()
	var r spendReconciled
	if err := json.Unmarshal([]byte(run(t, home, append([]string{"spend", "reconcile", "--month", "2026-11", "--json", "--strict"}, args...)...)), &r); err != nil {
		t.Fatal(err)
	}
	by := map[string][]spendDifference{}
	for _, w := range r.Witnesses {
		by[w.Witness] = w.Differences
	}
	return by, &r
}

// TestEachDifferenceFromTheWitnessesOfTheRecordingsHasItsReason holds the rows
// against what the client says, and against a vendor's export made of what the
// endpoint answered. The differences are those that the recordings' README
// names.
func TestEachDifferenceFromTheWitnessesOfTheRecordingsHasItsReason(t *testing.T) {
	home, _ := recorded(t)
	args := []string{"--transcripts", recordings.Dir(t)}
	for _, scenario := range recordings.Scenarios() {
		if name := filepath.Join(recordings.Dir(t), scenario, "otlp-metrics.ndjson"); exists(t, name) {
			args = append(args, "--metrics", name)
		}
	}
	page, table := exported(t, home)
	by, r := reconcileRecorded(t, home, append(args, "--usage", page)...)
	if r.Unexplained != 0 {
		t.Errorf("%d are unexplained", r.Unexplained)
	}
	for witness, want := range map[string][]string{
		"client":     {spend.NoClientFigure, "unpriced by us: the client went by 4/20"}, // usage-shapes: claude-zephyr-9
		"metrics":    {spend.NotTold, spend.Uncounted, spend.Unpriced},                  // collector-down, the probe of interactive
		"cost-state": {spend.NotTold, spend.ParentIncluded, spend.Uncounted, spend.Unpriced},
		"usage":      {spend.PartialOutput},
	} {
		reasons, agree := map[string]bool{}, 0
		for _, d := range by[witness] {
			if d.Reason == spend.Agrees && d.Ours != 0 {
				agree++
			} else if d.Reason != spend.Agrees {
				reasons[d.Reason] = true
			}
		}
		if agree < 5 {
			t.Errorf("%s agrees in %d lines", witness, agree)
		}
		for reason := range reasons {
			if !slices.Contains(want, reason) {
				t.Errorf("%s has %q", witness, reason)
			}
		}
		if witness != "usage" && len(reasons) != len(want) {
			t.Errorf("%s has %v, want %v", witness, reasons, want)
		}
	}
	csv, _ := reconcileRecorded(t, home, "--usage", table)
	if fmt.Sprint(csv["usage"]) != fmt.Sprint(by["usage"]) {
		t.Errorf("the console's CSV says %v, the API %v", csv["usage"], by["usage"])
	}
	text := run(t, home, append([]string{"spend", "reconcile", "--month", "2026-11", "--usage", page}, args...)...)
	for _, want := range []string{"\nclient\n", "\nmetrics\n", "\ncost-state\n", "\nusage\n", "the client went by 4/20", "0 differences are unexplained"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

func exists(t *testing.T, name string) bool {
	t.Helper()
	_, err := os.Stat(name)
	return err == nil
}

// exported is a vendor's export, as JSON and as CSV, of what the endpoint
// answered in all recordings.
func exported(t *testing.T, dir string) (page, table string) {
	t.Helper()
	type result map[string]any
	var days []result
	csv := "\ufeffusage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed\n"
	for _, scenario := range recordings.Scenarios() {
		requests, err := recordings.Endpoint(filepath.Join(recordings.Dir(t), scenario))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range requests {
			if !r.Answered() {
				continue
			}
			u := r.Usage
			day := r.Time.UTC()
			days = append(days, result{"starting_at": day.Format("2006-01-02T00:00:00Z"), "ending_at": day.AddDate(0, 0, 1).Format("2006-01-02T00:00:00Z"),
				"results": []result{{"model": r.AnswerModel, "uncached_input_tokens": u.Input, "cache_read_input_tokens": u.CacheRead, "output_tokens": u.Output,
					"cache_creation": result{"ephemeral_5m_input_tokens": u.CacheWrite5m, "ephemeral_1h_input_tokens": u.CacheWrite1h}, "server_tool_use": result{"web_search_requests": u.WebSearches},
					"service_tier": "standard", "context_window": "0-200k", "inference_geo": "not_available"}}})
			csv += fmt.Sprintf("%s,%s,\"a, key\",Default,standard,≤ 200k,%d,%d,%d,%d,%d,%d,not_available,\n", day.Format("2006-01-02"), r.AnswerModel, u.Input, u.CacheWrite5m, u.CacheWrite1h, u.CacheRead, u.Output, u.WebSearches)
		}
	}
	text, err := json.Marshal(result{"data": days, "has_more": false, "next_page": nil})
	if err != nil {
		t.Fatal(err)
	}
	return file(t, dir, "usage.json", string(text)), file(t, dir, "usage.csv", csv)
}

func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// metricLine is an export request with points {start, time, value} in ns.
func metricLine(name string, temporality int, attributes string, points ...[3]int64) string {
	var all []string
	for _, p := range points {
		all = append(all, fmt.Sprintf(`{"attributes":[{"key":"session.id","value":{"stringValue":"s"}},{"key":"model","value":{"stringValue":"m"}}%s],"startTimeUnixNano":"%d","timeUnixNano":"%d","asDouble":%d}`, attributes, p[0], p[1], p[2]))
	}
	return fmt.Sprintf(`{"resourceMetrics":[{"resource":{},"scopeMetrics":[{"metrics":[{"name":%q,"sum":{"aggregationTemporality":%d,"dataPoints":[%s]}}]}]}]}`, name, temporality, strings.Join(all, ",")) + "\n"
}

func TestMetricsAreSummedByTheirTemporality(t *testing.T) {
	const input, output = `,{"key":"type","value":{"stringValue":"input"}}`, `,{"key":"type","value":{"stringValue":"output"}}`
	deltas := metricLine("claude_code.token.usage", 1, input, [3]int64{10, 20, 5}, [3]int64{20, 30, 7}) +
		metricLine("claude_code.token.usage", 1, input, [3]int64{20, 30, 7}) + // sent twice
		metricLine("claude_code.token.usage", 1, input, [3]int64{50, 60, 1}) +
		metricLine("claude_code.token.usage", 1, input, [3]int64{40, 50, 2}) + // late
		metricLine("claude_code.token.usage", 1, input, [3]int64{10, 20, 5}) + "\n"
	sums := metricLine("claude_code.token.usage", 2, output, [3]int64{10, 20, 5}, [3]int64{10, 30, 12}) +
		metricLine("claude_code.token.usage", 2, output, [3]int64{10, 20, 5}) + // late
		metricLine("claude_code.token.usage", 2, output, [3]int64{40, 50, 3}) + // the next process
		metricLine("claude_code.cost.usage", 2, "", [3]int64{10, 20, 2}) +
		metricLine("claude_code.session.count", 2, "", [3]int64{10, 20, 2})
	dir := t.TempDir()
	wrapped := `{"signal":"metrics","body":` + strings.TrimSpace(metricLine("claude_code.cost.usage", 1, "", [3]int64{60, 70_000, 1})) + "}\n"
	claims, err := readMetrics([]string{file(t, dir, "a", deltas), file(t, dir, "b", sums), file(t, dir, "c", wrapped)})
	if err != nil || len(claims) != 1 {
		t.Fatal(len(claims), err)
	}
	f := claims[0].Models["m"]
	if f[spend.FigureInput].Value != 15 || f[spend.FigureOutput].Value != 15 || f[spend.FigureCost].Value != 3_000_000_000 || claims[0].Last != 70 {
		t.Errorf("%+v, until %d", f, claims[0].Last)
	}
}

func TestWitnessesThatCannotBeReadSayWhy(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"{}":      "line 1: it is no export request for metrics",
		"\n[1]\n": "line 2: not_json",
		`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"claude_code.cost.usage","sum":{}}]}]}]}`:    "has the temporality \"\"",
		metricLine("claude_code.token.usage", 1, "", [3]int64{1, 2, 3}):                                        "a point of the type \"\"",
		metricLine("claude_code.cost.usage", 1, "", [3]int64{1, 2, -3}):                                        "a point of -3",
		metricLine("claude_code.cost.usage", 1, "", [3]int64{5, 2, 3}):                                         "a point from 5 to 2",
		strings.ReplaceAll(metricLine("claude_code.cost.usage", 1, "", [3]int64{1, 2, 3}), "session.id", "id"): "without session.id",
		strings.Repeat("[", 1000): "not_json",
		"{\"a\":" + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}": "too_deep",
	} {
		if _, err := readMetrics([]string{file(t, dir, "metrics", text)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("metrics %.80s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                          "want JSON of usage_report/messages, or the console's CSV",
		"a,b\n1,2\n":                `its first line is "a,b"`,
		"{":                         "unexpected EOF",
		"{}":                        `it has no "data"`,
		`{"data":[{"results":[]}]}`: "is no day",
		`{"data":[{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-08T00:00:00Z","results":[]}]}`:                                                   "is no day",
		`{"data":[{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-02T00:00:00Z","results":[{"output_tokens":1}]}]}`:                                "group_by[]=model",
		`{"data":[{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-02T00:00:00Z","results":[{"model":"m","output_tokens":-1}]}]}`:                   "says output -1 of m",
		`{"data":[{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-02T00:00:00Z","results":[{"model":"m","output_tokens":99999999999999999999}]}]}`: "cannot unmarshal",
		"usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\n2026-11-01,m,1,x\n":                                                    "line 2: usage_output_tokens is \"x\"",
		"usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\nnovember,m,1,1\n":                                                      "line 2: usage_date_utc is \"november\"",
		"usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\n2026-11-01,m,1\n":                                                      "wrong number of fields",
	} {
		if _, _, err := readUsage([]string{file(t, dir, "usage", text)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("usage %.80s: %v, want %q", text, err, want)
		}
	}
	page := `{"data":[{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-02T00:00:00Z","results":[]}],"has_more":%t}`
	first, last := file(t, dir, "first", fmt.Sprintf(page, true)), file(t, dir, "last", fmt.Sprintf(page, false))
	if _, notes, err := readUsage([]string{first}); err != nil || len(notes) != 1 {
		t.Errorf("a page without the last: %v, %v", notes, err)
	}
	if _, notes, err := readUsage([]string{first, last}); err != nil || len(notes) != 0 {
		t.Errorf("both pages: %v, %v", notes, err)
	}
	if _, err := readCostStates(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was read")
	}
}

func FuzzReadMetrics(f *testing.F) {
	f.Add([]byte(metricLine("claude_code.cost.usage", 1, "", [3]int64{1, 2, 3})))
	f.Fuzz(func(t *testing.T, text []byte) {
		m := metricsFile{series: map[string]*metricSeries{}}
		if m.line(text) == nil {
			_, _ = m.claims()
		}
	})
}

func FuzzReadUsage(f *testing.F) {
	f.Add([]byte(`{"data":[{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-02T00:00:00Z","results":[{"model":"m","output_tokens":1}]}]}`))
	f.Add([]byte("usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\n2026-11-01,m,1,1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _, _ = usagePages(text)
		_, _ = usageCSV(text)
	})
}
