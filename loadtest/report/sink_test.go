package report

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	fastgzip "github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/synthetic"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// standIn is the variable that makes the test's binary a stand-in of OpenObserve
// in a process of its own, until its input ends.
const standIn = "FLIGHTLOG_REPORT_STANDIN"

func TestMain(m *testing.M) {
	if os.Getenv(standIn) == "" {
		os.Exit(m.Run())
	}
	server, err := o2test.Start(o2test.Config{AllowedUpTo: 9600})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Close()
}

// startStandIn gives the address of a stand-in whose CPU is not ours.
func startStandIn(t *testing.T) string {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), standIn+"=1")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = c.Wait() })
	var url string
	if _, err := fmt.Fscanln(out, &url); err != nil {
		t.Fatal(err)
	}
	makeStreams(t, url)
	return url
}

// root may do everything.
var root = openobserve.Account{User: o2test.DefaultRoot, Password: o2test.DefaultRootPassword}

func makeStreams(t *testing.T, url string) {
	t.Helper()
	err := openobserve.Provision(t.Context(), openobserve.Config{URL: url, Admin: root}, openobserve.Layout{}, func(openobserve.Change) {})
	if err != nil {
		t.Fatal(err)
	}
}

func post(t *testing.T, url, encoding string, body []byte) (int, string) {
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(o2test.DefaultRoot, o2test.DefaultRootPassword)
	r.Header.Set("Content-Type", "application/json")
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

// stands is how many rows a stream has.
func stands(t *testing.T, url, stream string) int64 {
	now := time.Now().UnixMicro()
	sql := fmt.Sprintf(`{"query":{"sql":"SELECT COUNT(*) AS n FROM \"%s\"","start_time":%d,"end_time":%d,"size":1}}`, stream, now-9000*3600*1_000_000, now+3600*1_000_000)
	status, text := post(t, url+"/api/default/_search?type=logs&use_cache=false", "", []byte(sql))
	if status != http.StatusOK {
		return 0
	}
	return gjson.Get(text, "hits.0.n").Int()
}

// rowsAsked is how many rows a row of the table loads.
func rowsAsked() int {
	if n, err := strconv.Atoi(os.Getenv("FLIGHTLOG_REPORT_ROWS")); err == nil {
		return n
	}
	return 400_000
}

// frames of rows of the last hours, round the partitions.
func frames(rows int) (messages [partitions][][]byte, said int64) {
	l := synthetic.New(1, 0, time.Now().Add(-3*time.Hour), 20*time.Millisecond)
	for p := 0; l.Rows < int64(rows); p = (p + 1) % partitions {
		messages[p] = append(messages[p], l.Frame(p, 100))
	}
	return messages, l.Rows
}

const batch = 5000

// rounds of the comparison; medians are printed.
const rounds = 3

// TestSinkThroughput compares the sink on a broker with the least that the same
// work takes without one, and with the simple way, in turn. The stand-in runs in
// a process of its own: its CPU is not counted, but it shares the cores.
func TestSinkThroughput(t *testing.T) {
	asked(t)
	messages, said := frames(rowsAsked())
	flat := slices.Concat(messages[:]...)
	r := jetStream(t, "", false)
	b := r.connect(t)
	defer b.Close()
	for p, all := range messages {
		for _, m := range all {
			if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Enriched, Partition: p}, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	ways := []struct {
		what      string
		load      func(url, group string)
		per, rate []float64
	}{
		{what: "no broker: decode, append, gzip 1, POST, 4 at a time", load: func(url, _ string) { plainly(t, url, flat, newLeanly) }},
		{what: "no broker: decode, encoding/json, compress/gzip, POST, 4 at a time", load: func(url, _ string) { plainly(t, url, flat, newSimply) }},
		{what: "sink on JetStream in the process, lazy, frames of 100, each batch read back", load: func(url, group string) { bySink(t, b, url, group, true, said) }},
		{what: "the same, not read back", load: func(url, group string) { bySink(t, b, url, group+"-blind", false, said) }},
	}
	for round := range rounds {
		for i := range ways {
			way := &ways[i]
			url := startStandIn(t)
			cpu, started := spent(), time.Now()
			way.load(url, fmt.Sprint("report-", round))
			took := time.Since(started)
			cpu = spent() - cpu // before the stand-in counts, which takes long
			if got := stands(t, url, "flightlog_enriched"); got != said {
				t.Errorf("%s: %d rows stand, want %d", way.what, got, said)
			}
			way.per = append(way.per, float64(cpu.Nanoseconds())/1000/float64(said))
			way.rate = append(way.rate, float64(said)/took.Seconds())
		}
	}
	median := func(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }
	fmt.Printf("%d rows, medians of %d rounds\n\n| what | rows/s | µs CPU/row, this process | ratio |\n| --- | --- | --- | --- |\n", said, rounds)
	for _, way := range ways {
		fmt.Printf("| %s | %.0f | %.2f | %.2f |\n", way.what, median(way.rate), median(way.per), median(way.per)/median(ways[0].per))
	}
	if ratio := median(ways[2].per) / median(ways[0].per); ratio > 1.5 {
		t.Errorf("the sink takes %.2f times the CPU of the same work without a broker, want 1.5 at most", ratio)
	}
}

// encoder makes a body of frames; what it needs it keeps for the next one.
type encoder interface {
	body(frames [][]byte) ([]byte, error)
}

// plainly loads frames without a broker.
func plainly(t *testing.T, url string, frames [][]byte, newEncoder func() encoder) {
	work := make(chan [][]byte)
	var posters sync.WaitGroup
	for range 4 {
		posters.Go(func() {
			e := newEncoder()
			for some := range work {
				body, err := e.body(some)
				if err != nil {
					t.Error(err)
				}
				if status, text := post(t, url+"/api/default/flightlog_enriched/_json", "gzip", body); status != http.StatusOK || !strings.Contains(text, `"failed":0`) {
					t.Errorf("%d %s", status, text)
				}
			}
		})
	}
	for some := range slices.Chunk(frames, batch/100) {
		work <- some
	}
	close(work)
	posters.Wait()
}

// leanly is the least that has to be done: nothing is copied or made anew.
type leanly struct {
	frame schemas.EnrichedFrame
	text  []byte
	gzip  *fastgzip.Writer
}

func newLeanly() encoder {
	w, _ := fastgzip.NewWriterLevel(nil, fastgzip.BestSpeed)
	return &leanly{gzip: w}
}

func (e *leanly) body(frames [][]byte) ([]byte, error) {
	e.text = append(e.text[:0], '[')
	for _, m := range frames {
		if err := e.frame.DecodeMessage(m); err != nil {
			return nil, err
		}
		for i := range e.frame.Rows {
			r := &e.frame.Rows[i]
			if len(e.text) > 1 {
				e.text = append(e.text, ',')
			}
			e.text = strconv.AppendInt(append(e.text, `{"_timestamp":`...), r.OccurredAt, 10)
			comma := len(e.text)
			e.text = r.AppendJSON(e.text)
			e.text[comma] = ','
		}
	}
	e.text = append(e.text, ']')
	var body bytes.Buffer
	e.gzip.Reset(&body)
	_, _ = e.gzip.Write(e.text)
	err := e.gzip.Close()
	return body.Bytes(), err
}

// simply is the simple way.
type simply struct{ frame schemas.EnrichedFrame }

func newSimply() encoder { return &simply{} }

func (e *simply) body(frames [][]byte) ([]byte, error) {
	var rows []schemas.Enriched
	for _, m := range frames {
		if err := e.frame.DecodeMessage(m); err != nil {
			return nil, err
		}
		rows = append(rows, e.frame.Rows...)
	}
	return marshalRows(rows), nil
}

// marshalRows is what one writes first: a map for each row, so that what is not
// known stays away, and the standard library.
func marshalRows(rows []schemas.Enriched) []byte {
	maps := make([]map[string]any, len(rows))
	for i := range rows {
		r := &rows[i]
		m := map[string]any{"_timestamp": r.OccurredAt, "row_id": r.RowId.String(), "fact_key": r.FactKey.String(), "event_id": r.EventId.String(),
			"sign": r.Sign, "version": r.Version, "generation": r.Generation, "final": r.Final, "family": r.Family.String(), "kind": r.Kind.String(),
			"capture_mode": r.CaptureMode.String(), "occurred_at": r.OccurredAt, "user_source": r.UserSource.String(), "work_kind": r.WorkKind.String(),
			"cost_grade": r.CostGrade.String(), "billing": r.Billing.String(), "price_version": r.PriceVersion, "success": r.Success.Value, "cost_usd": r.CostUsd.Value}
		for name, v := range map[string]string{"witnesses": r.Witnesses, "org": r.Org, "team": r.Team, "user": r.User, "host": r.Host, "repo": r.Repo,
			"branch": r.Branch, "workflow": r.Workflow, "agent": r.Agent, "agent_version": r.AgentVersion, "task_id": r.TaskId, "session_id": r.SessionId,
			"root_session_id": r.RootSessionId, "prompt_id": r.PromptId, "request_id": r.RequestId, "model": r.Model, "model_requested": r.ModelRequested,
			"stop_reason": r.StopReason, "query_source": r.QuerySource, "platform": r.Platform, "speed": r.Speed, "service_tier": r.ServiceTier} {
			m[name] = v
		}
		for name, v := range map[string]schemas.OptLong{"duration_ms": r.DurationMs, "token_input": r.TokenInput, "token_output": r.TokenOutput,
			"token_thinking": r.TokenThinking, "token_cache_read": r.TokenCacheRead, "token_cache_write_5m": r.TokenCacheWrite5m,
			"token_cache_write_1h": r.TokenCacheWrite1h, "cost_nano_usd": r.CostNanoUsd, "cost_nano_usd_max": r.CostNanoUsdMax} {
			m[name] = v.Value
		}
		maps[i] = m
	}
	text, _ := json.Marshal(maps)
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	_, _ = w.Write(text)
	_ = w.Close()
	return body.Bytes()
}

// openSink is the sink as the command runs it.
func openSink(t *testing.T, url string, admin bool) *openobserve.Sink {
	t.Helper()
	config := openobserve.Config{URL: url, Loading: root}
	if admin {
		config.Admin = root
	}
	s, err := openobserve.Open(t.Context(), config, delivery.Topics, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bySink loads what stands in the topic.
func bySink(t *testing.T, b broker.Broker, url, group string, admin bool, said int64) {
	s := openSink(t, url, admin)
	defer s.Close()
	registry := prometheus.NewRegistry()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- delivery.Run(ctx, delivery.Config{Broker: b, Destination: s, Group: group, Worker: "report", Metrics: delivery.NewMetrics(registry)})
	}()
	for deadline := time.Now().Add(10 * time.Minute); storedBy(t, registry) < said && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// storedBy is how many rows a sink says that it has stored.
func storedBy(t *testing.T, registry *prometheus.Registry) (rows int64) {
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "flightlog_sink_rows_stored_total" {
			for _, m := range f.GetMetric() {
				rows += int64(m.GetCounter().GetValue())
			}
		}
	}
	return rows
}

// TestCriticalRowOvertakesAMillion says how long a critical finding takes from
// the broker's acknowledgement to the store while a million rows are loaded.
func TestCriticalRowOvertakesAMillion(t *testing.T) {
	asked(t)
	rows := 1_000_000
	if n := rowsAsked(); n < 400_000 {
		rows = n
	}
	stored := make(chan time.Time, 1)
	server, err := o2test.Start(o2test.Config{AllowedUpTo: 9600, OnIngest: func(stream string, _ int) {
		if strings.HasSuffix(stream, "flightlog_findings") {
			stored <- time.Now()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	makeStreams(t, server.URL())
	r := jetStream(t, "", false)
	b := r.connect(t)
	defer b.Close()
	messages, said := frames(rows)
	for p, all := range messages {
		for _, m := range all {
			if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Enriched, Partition: p}, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := openSink(t, server.URL(), true)
	defer s.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- delivery.Run(ctx, delivery.Config{Broker: b, Destination: s, Group: "openobserve", Worker: "report"})
	}()
	for server.Count("flightlog_enriched") == 0 {
		time.Sleep(time.Millisecond)
	}
	var took []time.Duration
	for n := 0; server.Count("flightlog_enriched") < int(said)*9/10; n++ {
		at := time.Now().UnixMicro()
		finding := schemas.Finding{Sign: 1, Version: 1, Generation: 1, Kind: "secret", Severity: schemas.SeverityCritical, Subject: "s", FirstSeen: at, LastSeen: at}
		finding.FindingId = schemas.FactKey("report", schemas.KindToolCall, strconv.Itoa(n))
		finding.RowId = schemas.RowID(1, finding.FindingId, 1, 1)
		header := schemas.RowHeader{Processor: "sessions", SourcePartition: int64(n % partitions), Generation: 1,
			FirstCommit: int64(n/partitions + 1), LastCommit: int64(n/partitions + 1), PreviousCommit: int64(n / partitions)}
		message := broker.AppendRows(nil, broker.Findings, &header, [][]byte{finding.AppendAvro(nil)})
		if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Findings, Partition: n % partitions, Lane: schemas.LaneCritical}, message); err != nil {
			t.Fatal(err)
		}
		appended := time.Now()
		took = append(took, (<-stored).Sub(appended))
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	fmt.Printf("%d critical rows while %d rows were queued (%d loaded meanwhile): appended to stored p50 %v, p99 %v, longest %v\n",
		len(took), said, server.Count("flightlog_enriched"), percentile(took, 0.5), percentile(took, 0.99), slices.Max(took))
	if p99 := percentile(took, 0.99); p99 > 250*time.Millisecond {
		t.Errorf("p99 %v, want 250 ms at most", p99)
	}
}
