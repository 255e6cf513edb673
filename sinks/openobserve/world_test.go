package openobserve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// world is a broker in memory, a stand-in of the server, and a front between the
// sink and it that may answer itself.
type world struct {
	t      *testing.T
	broker *memory.Broker
	server *o2test.Server
	url    string
	to     atomic.Pointer[url.URL] // the server behind the front
	shift  atomic.Int64            // of the server's clock, ns

	mu       sync.Mutex
	front    front
	attempts int
	n        int // rows that were said
	commits  map[broker.Log]int64
	said     map[string]bool
}

// front answers an attempt to load rows of enriched.
type front func(a *attempt)

// attempt is the n-th (from 1) to load rows, given as JSON.
type attempt struct {
	http.ResponseWriter
	n       int
	rows    []gjson.Result
	encoded string
	// forward passes rows on and the answer back; store passes them on only.
	forward, store func(rows ...gjson.Result)
}

func newWorld(t *testing.T, config o2test.Config) *world {
	t.Helper()
	w := &world{t: t, broker: memory.New(2), commits: map[broker.Log]int64{}, said: map[string]bool{}}
	if config.AllowedUpTo == 0 {
		config.AllowedUpTo = 1080
	}
	config.Now = func() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }
	var err error
	if w.server, err = o2test.Start(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.server.Close)
	to, err := url.Parse(w.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	w.to.Store(to)
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(w.to.Load()) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // as the server's own
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/flightlog_enriched/_json") {
			proxy.ServeHTTP(rw, r)
			return
		}
		w.mu.Lock()
		w.attempts++
		n, front := w.attempts, w.front
		w.mu.Unlock()
		if front == nil {
			proxy.ServeHTTP(rw, r)
			return
		}
		rows, err := rowsOf(r)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		pass := func(to http.ResponseWriter) func(rows ...gjson.Result) {
			return func(rows ...gjson.Result) {
				var body bytes.Buffer
				for i, row := range rows {
					body.WriteByte("[,"[min(i, 1)])
					body.WriteString(row.Raw)
				}
				body.WriteByte(']')
				again := r.Clone(context.WithoutCancel(r.Context()))
				again.Body, again.ContentLength = io.NopCloser(&body), int64(body.Len())
				again.Header.Del("Content-Encoding")
				proxy.ServeHTTP(to, again)
			}
		}
		front(&attempt{rw, n, rows, r.Header.Get("Content-Encoding"), pass(rw), pass(httptest.NewRecorder())})
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func rowsOf(r *http.Request) ([]gjson.Result, error) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	text, err := io.ReadAll(body)
	return gjson.ParseBytes(text).Array(), err
}

func (w *world) config() openobserve.Config {
	return openobserve.Config{URL: w.url, Timeout: 500 * time.Millisecond,
		Loading: openobserve.Account{User: o2test.DefaultRoot, Password: o2test.DefaultPasscode},
		Admin:   openobserve.Account{User: o2test.DefaultRoot, Password: o2test.DefaultRootPassword}}
}

// request asks the stand-in as root.
func (w *world) request(method, path string, in any) (int, string) {
	w.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequest(method, w.server.URL()+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth(o2test.DefaultRoot, o2test.DefaultRootPassword)
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

// makeStreams makes typed streams, without some columns.
func (w *world) makeStreams(without ...string) {
	w.t.Helper()
	config := w.config()
	for _, topic := range delivery.Topics {
		columns, err := openobserve.Columns(topic)
		if err != nil {
			w.t.Fatal(err)
		}
		columns = slices.DeleteFunc(columns, func(c openobserve.Column) bool { return slices.Contains(without, c.Name) })
		if status, text := w.request("POST", "/api/default/streams/"+config.StreamName(topic)+"?type=logs", map[string]any{"fields": columns, "settings": map[string]any{}}); status != 200 {
			w.t.Fatalf("cannot make the stream of %s: %d %s", topic, status, text)
		}
	}
}

func (w *world) open(change ...func(*openobserve.Config)) *openobserve.Sink {
	w.t.Helper()
	config := w.config()
	for _, f := range change {
		f(&config)
	}
	s, err := openobserve.Open(w.t.Context(), config, delivery.Topics, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// run loads until the test stops it.
func (w *world) run(s *openobserve.Sink) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- delivery.Run(ctx, delivery.Config{Broker: w.broker, Destination: s, Group: "openobserve", Worker: "w",
			Linger: 20 * time.Millisecond, Backoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, Settle: 200 * time.Millisecond})
	}()
	w.t.Cleanup(cancel)
	return func() error {
		cancel()
		return <-done
	}
}

// id of the n-th row.
func id(n int) (id schemas.Id) {
	copy(id[:], fmt.Sprintf("row-%012d", n))
	return id
}

// say appends a frame of rows of enriched with a time each, and gives their ids.
func (w *world) say(times ...time.Time) (ids []string) {
	w.t.Helper()
	log := broker.Log{Topic: broker.Enriched, Partition: 1}
	var rows [][]byte
	for _, at := range times {
		w.n++
		r := schemas.Enriched{RowId: id(w.n), Sign: 1, FactKey: id(w.n), Version: 1, Generation: 1, Kind: schemas.KindModelRequest,
			OccurredAt: at.UnixMicro(), SessionId: "s1", Model: "claude-x", CostNanoUsd: schemas.SomeLong(int64(w.n) * 1000), CostUsd: schemas.SomeDouble(float64(w.n) / 1e6)}
		rows = append(rows, r.AppendAvro(nil))
		ids = append(ids, id(w.n).String())
		w.said[id(w.n).String()] = true
	}
	w.commits[log]++
	n := w.commits[log]
	header := schemas.RowHeader{Processor: "sessions", SourcePartition: 1, Generation: 1, FirstCommit: n, LastCommit: n, PreviousCommit: n - 1}
	if _, err := w.broker.Append(w.t.Context(), log, broker.AppendRows(nil, log.Topic, &header, rows)); err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// recent are so many times of just now.
func recent(n int) []time.Time {
	times := make([]time.Time, n)
	for i := range times {
		times[i] = time.Now().Truncate(time.Hour).Add(-time.Hour + time.Duration(i)*time.Second)
	}
	return times
}

// stored is the ids of the rows of enriched, in order, twice where they are.
func (w *world) stored() (ids []string) {
	for row := range w.server.Stored("flightlog_enriched") {
		ids = append(ids, gjson.GetBytes(row, "row_id").Str)
	}
	slices.Sort(ids)
	return ids
}

// letters are the dead letters by reason, and the ids of their rows.
func (w *world) letters() (reasons map[string]int, rows []string) {
	w.t.Helper()
	reasons = map[string]int{}
	for p := range 2 {
		if err := broker.Scan(context.Background(), w.broker, broker.Log{Topic: broker.DeadLetters, Partition: p}, func(m broker.Message) error {
			var f schemas.DeadLetterFrame
			err := f.DecodeMessage(m.Payload)
			for _, d := range f.Rows {
				reasons[d.Reason]++
				if _, row, err := delivery.RowOf(&d); err == nil {
					rows = append(rows, row.ID.String())
				}
			}
			return err
		}); err != nil {
			w.t.Fatal(err)
		}
	}
	slices.Sort(rows)
	return reasons, rows
}

// settle waits until every row is stored or a dead letter.
func (w *world) settle() {
	w.t.Helper()
	var want []string
	for id := range w.said {
		want = append(want, id)
	}
	slices.Sort(want)
	var have []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		_, buried := w.letters()
		have = slices.Compact(slices.Sorted(slices.Values(append(w.stored(), buried...))))
		if slices.Equal(have, want) {
			return
		}
	}
	w.t.Fatalf("%d of %d rows are accounted for", len(have), len(want))
}

// place is the position of the cursor in enriched/1, and the topic's end.
func (w *world) place() (at, end uint64) {
	w.t.Helper()
	log := broker.Log{Topic: broker.Enriched, Partition: 1}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	_ = w.broker.Consume(ctx, broker.Group{Name: "openobserve", Topic: log.Topic}, "look", func(ctx context.Context, claim broker.Claim) error {
		if claim.Partition() != log.Partition {
			<-ctx.Done()
			return nil
		}
		c, err := claim.Cursor(ctx, log.Lane)
		if err != nil {
			return err
		}
		at = c.Position
		stop()
		return nil
	})
	end, err := w.broker.End(context.Background(), log)
	if err != nil {
		w.t.Fatal(err)
	}
	return at, end
}
