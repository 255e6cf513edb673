package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// reconcileRecorded reconciles all recordings in a home, and gives the lines by
// witness.
func reconcileRecorded(t *testing.T, home string, args ...string) (map[string][]spendDifference, *spendReconciled) {
	t.Helper()
	var r spendReconciled
	if err := json.Unmarshal([]byte(run(t, home, append([]string{"spend", "reconcile", "--month", "2026-11", "--json"}, args...)...)), &r); err != nil {
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
	unpriced := []string{"client: 1 × unpriced by us", "metrics: 1 × unpriced by us", "cost-state: 1 × unpriced by us"}
	if r.Unexplained != 0 || !slices.Equal(r.Fails, unpriced) {
		t.Errorf("%d are unexplained, it fails for %q", r.Unexplained, r.Fails)
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
	if out, err := flightlogCommand(t, home, "spend", "reconcile", "--month", "2026-11", "--strict").CombinedOutput(); err == nil || !strings.Contains(string(out), "not reconciled: client: 1 × unpriced by us") {
		t.Errorf("--strict: %v, %s", err, out)
	}
	csv, _ := reconcileRecorded(t, home, "--usage", table)
	if fmt.Sprint(csv["usage"]) != fmt.Sprint(by["usage"]) {
		t.Errorf("the console's CSV says %v, the API %v", csv["usage"], by["usage"])
	}
	text := run(t, home, append([]string{"spend", "reconcile", "--month", "2026-11", "--usage", page}, args...)...)
	for _, want := range []string{"\nclient\n", "\nmetrics\n", "\ncost-state\n", "\nusage\n", "the client went by 4/20", "0 differences are unexplained", "which is not over", "as of", "covers 5.0", " of 5.150147245 USD, ", " sessions, billing unknown\n", "cost-state: 1 × unpriced by us"} {
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
		"":   "it is empty",
		"\n": "it is empty",
		metricLine("claude_code.session.count", 1, "", [3]int64{1, 2, 3}): "there is no point of claude_code.token.usage",
		`{"a":"` + strings.Repeat("x", producers.MaxLine) + `"}`:          "line 1 is longer than 32 MiB",
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
		`{"data":[]}`:               "it tells of no day",
		`{"data":[{"results":[]}]}`: "is no day",
		`{"data":[{"starting_at":"2026-11-01T00:00:00Z","ending_at":"2026-11-01T01:00:00Z","results":[]}]}`:                                                   "bucket_width=1d",
		`{"data":[{"starting_at":"2026-11-01T06:00:00Z","ending_at":"2026-11-02T06:00:00Z","results":[]}]}`:                                                   "bucket_width=1d",
		"usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\n":                                                                      "it tells of no day",
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
	if _, cut, err := readUsage([]string{first}); err != nil || !cut {
		t.Errorf("a page without the last: %t, %v", cut, err)
	}
	if _, cut, err := readUsage([]string{first, last}); err != nil || cut {
		t.Errorf("both pages: %t, %v", cut, err)
	}
	w := historical(t)
	r, err := w.reconcile(t, func(o *spendReconcileOptions) { o.usage = []string{first} })
	if err != nil || !slices.Contains(r.Fails, "usage: has_more is true, its last page is not among the files") || !slices.Contains(r.Fails, "usage: it tells of nothing that the rows of the period have") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := w.reconcile(t, nil); err != nil || !slices.Equal(r.Fails, []string{"client: it tells of nothing that the rows of the period have"}) {
		t.Errorf("without any witness: %+v, %v", r, err)
	}
	if _, _, err := readCostStates(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was read")
	}
}

func TestTranscriptsThatCannotBeReadAreNamed(t *testing.T) {
	const session = "dc72bd30-2642-41e1-b553-2d61701378ec"
	line := `{"type":"user","sessionId":"` + session + `","timestamp":"2026-06-01T12:00:00Z"}` + "\n"
	sum := `{"type":"cost-state","sessionId":"` + session + `","modelUsage":{"m":{"inputTokens":5}}}` + "\n"
	for name, c := range map[string]struct{ text, err, note string }{
		"empty":    {"", "cannot use the transcripts in ", ""},
		"no JSON":  {"a\nb\n", "line 1 cannot be read: not_json", ""},
		"none":     {`{"a":1}` + "\n", "no line of 1 files names a session", ""},
		"cut":      {line + sum[:40], "", ", line 2 cannot be read: truncated"},
		"cut once": {line + sum[:40] + "\n" + sum, "", ", line 2 cannot be read: not_json"},
		"whole":    {line + sum, "", ""},
	} {
		path := file(t, t.TempDir(), session+".jsonl", c.text)
		claims, notes, err := readCostStates(path)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
			continue
		}
		if err != nil || len(claims) != 1 || (len(notes) > 0) != (c.note != "") || c.note != "" && !strings.HasSuffix(notes[0], session+".jsonl"+c.note) {
			t.Errorf("%s: %v, %q, want %q", name, err, notes, c.note)
			continue
		}
		if claims[0].Unread != (name == "cut") || claims[0].NoSum != (name == "cut") {
			t.Errorf("%s: %+v", name, claims[0])
		}
	}
	if _, _, err := readCostStates(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no line of 0 files names a session") {
		t.Errorf("an empty folder: %v", err)
	}

	w := newWorld()
	r := spent("1", 1, 1, clock(12, 0), "a", 100)
	r.SessionId = session
	w.say(t, 0, r)
	reconciled, err := w.reconcile(t, func(o *spendReconcileOptions) { o.transcripts = file(t, t.TempDir(), session+".jsonl", line+sum[:40]) })
	if err != nil || !slices.Contains(reconciled.Fails, "cost-state: 1 × a line of the witness cannot be read") || len(reconciled.Witnesses[1].Notes) != 1 {
		t.Errorf("%+v, %v", reconciled, err)
	}
}

func TestASummaryTellsWhatEachReasonComesTo(t *testing.T) {
	w := newWorld()
	client := func(id string, usd float64, billing schemas.Billing) schemas.Enriched {
		r := spent(id, 1, 1, clock(12, 0), "a", 12_000_000)
		r.TokenInput, r.TokenOutput, r.CostClientUsd, r.Billing = schemas.SomeLong(1000), schemas.SomeLong(1000), schemas.SomeDouble(usd), billing
		return r
	}
	w.say(t, 0, client("1", 0.018, schemas.BillingApi), client("2", 0.03, schemas.BillingApi), client("3", 0.018, schemas.BillingSubscription), client("4", 0.012, schemas.BillingApi))
	r, err := w.reconcile(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]spendReason{
		"api price differs":          {"client", "api", spend.PriceDiffers, false, 2, 2, 24_000_000, 48_000_000, 24_000_000},
		"subscription price differs": {"client", "subscription", spend.PriceDiffers, false, 1, 1, 12_000_000, 18_000_000, 6_000_000},
		"api agrees":                 {"client", "api", spend.Agrees, true, 1, 1, 12_000_000, 12_000_000, 0},
	}
	for _, s := range r.Summary {
		if key := s.Billing + " " + s.Reason; *s != want[key] {
			t.Errorf("%+v, want %+v", *s, want[key])
		} else {
			delete(want, key)
		}
	}
	if len(want) > 0 || len(r.Fails) != 2 || r.Unexplained != 0 {
		t.Errorf("missing %v; fails %q", want, r.Fails)
	}
	var text bytes.Buffer
	if err := r.print(&text); err != nil || !strings.Contains(strings.Join(strings.Fields(text.String()), " "), "client api 0.024 0.048 0.024 2 fails price differs") {
		t.Errorf("%v, %s", err, text.String())
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
