package main

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/loadtest/bill"
)

// corpus is a case as a naive tool reads it: lines, records, spans and points as
// they come.
type corpus struct {
	t   testing.TB
	dir string
}

// naiveLine is a line of a transcript.
type naiveLine struct {
	file string
	gjson.Result
}

func (l naiveLine) get(path string) gjson.Result { return l.Get(path) }
func (l naiveLine) message() string              { return l.Get("message.id").Str }
func (l naiveLine) side() bool                   { return l.Get("isSidechain").Bool() }

// request is the usage of an assistant's line.
func (l naiveLine) request() *bill.Request {
	r := usageRequest(l.Get("message.usage"))
	r.Model = l.Get("message.model").Str
	r.At, _ = time.Parse(time.RFC3339, l.Get("timestamp").Str)
	r.RequestID = l.Get("requestId").Str
	return r
}

func usageRequest(u gjson.Result) *bill.Request {
	n := func(path string) int64 { return u.Get(path).Int() }
	r := &bill.Request{Region: "global", Input: n("input_tokens"), Output: n("output_tokens"), CacheRead: n("cache_read_input_tokens"),
		CacheWrite5m: n("cache_creation.ephemeral_5m_input_tokens"), CacheWrite1h: n("cache_creation.ephemeral_1h_input_tokens"),
		WebSearches: n("server_tool_use.web_search_requests"), Tier: u.Get("service_tier").Str, Geo: u.Get("inference_geo").Str, Speed: u.Get("speed").Str}
	if !u.Get("cache_creation").Exists() {
		r.CacheWriteUnsplit = n("cache_creation_input_tokens")
	}
	return r
}

// listPrice is the list price of a request, 1e-9 USD; 0 where there is none.
func listPrice(r *bill.Request) int64 {
	if c := bill.Price(r, nil).Cost; c != nil {
		return *c
	}
	return 0
}

func onlyTokens(model string, input, output int64) *bill.Request {
	return &bill.Request{Model: model, Region: "global", Input: input, Output: output}
}

func readRequest(model string, tokens int64) *bill.Request {
	return &bill.Request{Model: model, Region: "global", CacheRead: tokens}
}

func inputRequest(r *bill.Request) *bill.Request {
	in := *r
	in.Output = 0
	return &in
}

// plainName is the vendor's name of a model, from an id of a cloud or a date.
func plainName(id string) string {
	for _, name := range []string{"claude-3-5-sonnet", "claude-3-5-haiku", "claude-sonnet-4-5", "claude-opus-4-1", "claude-opus-4-5", "claude-opus-4-8"} {
		if strings.Contains(id, name) {
			return name
		}
	}
	return id
}

func nanoOf(usd float64) int64 { return int64(math.Round(usd * 1e9)) }

// lines are all lines of all transcripts, file by file.
func (c corpus) lines() (all []naiveLine) {
	err := filepath.WalkDir(filepath.Join(c.dir, "projects"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".jsonl" {
			return err
		}
		text, err := os.ReadFile(path)
		for line := range bytes.Lines(text) {
			all = append(all, naiveLine{path, gjson.ParseBytes(line)})
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

func (c corpus) assistants() (all []naiveLine) {
	for _, l := range c.lines() {
		if l.Get("type").Str == "assistant" {
			all = append(all, l)
		}
	}
	return all
}

// once is a request for each request id of the transcripts, the last line's.
func (c corpus) once() (all []*bill.Request) {
	at := map[string]int{}
	for _, l := range c.assistants() {
		r := l.request()
		if i, ok := at[r.RequestID]; ok {
			all[i] = r
			continue
		}
		at[r.RequestID] = len(all)
		all = append(all, r)
	}
	return all
}

// union is once, and what only events tell of.
func (c corpus) union() []*bill.Request {
	all := c.once()
	known := map[string]bool{}
	for _, r := range all {
		known[r.RequestID] = true
	}
	for _, e := range c.events("api_request") {
		if r := e.request(); !known[r.RequestID] {
			all = append(all, r)
		}
	}
	return all
}

func oncePerFile(c corpus) (sum int64) {
	seen := map[string]bool{}
	for _, l := range c.assistants() {
		if key := l.file + l.message(); !seen[key] {
			seen[key] = true
			sum += listPrice(l.request())
		}
	}
	return sum
}

func oncePerMessage(c corpus) (sum int64) {
	seen := map[string]bool{}
	for _, l := range c.assistants() {
		if !seen[l.message()] {
			seen[l.message()] = true
			sum += listPrice(l.request())
		}
	}
	return sum
}

// naiveRecord is a log record, a span or a point of a metric.
type naiveRecord struct{ gjson.Result }

func (r naiveRecord) get(path string) gjson.Result { return r.Get(path) }

func (r naiveRecord) value(key string) (v gjson.Result) {
	r.Get("attributes").ForEach(func(_, a gjson.Result) bool {
		if a.Get("key").Str == key {
			a.Get("value").ForEach(func(_, x gjson.Result) bool { v = x; return false })
		}
		return true
	})
	return v
}

func (r naiveRecord) text(key string) string    { return r.value(key).Str }
func (r naiveRecord) number(key string) float64 { return r.value(key).Float() }

func (r naiveRecord) request() *bill.Request {
	n := func(key string) int64 { return r.value(key).Int() }
	q := &bill.Request{Model: r.text("model"), Region: "global", RequestID: r.text("request_id"), Input: n("input_tokens"), Output: n("output_tokens"),
		CacheRead: n("cache_read_tokens"), CacheWrite5m: n("cache_creation_tokens") - n("cache_creation_1h_tokens"), CacheWrite1h: n("cache_creation_1h_tokens")}
	q.At, _ = time.Parse(time.RFC3339, r.text("event.timestamp"))
	return q
}

func (c corpus) exported(file, path string) (all []naiveRecord) {
	text, err := os.ReadFile(filepath.Join(c.dir, file))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		gjson.GetBytes(line, path).ForEach(func(_, r gjson.Result) bool {
			all = append(all, naiveRecord{r})
			return true
		})
	}
	return all
}

func (c corpus) events(name string) (all []naiveRecord) {
	for _, r := range c.exported("otlp-logs.ndjson", "body.resourceLogs.0.scopeLogs.0.logRecords") {
		if r.text("event.name") == name {
			all = append(all, r)
		}
	}
	return all
}

func (c corpus) spans() []naiveRecord {
	return c.exported("otlp-traces.ndjson", "body.resourceSpans.0.scopeSpans.0.spans")
}

func (c corpus) metrics(name string) (all []naiveRecord) {
	for _, m := range c.exported("otlp-metrics.ndjson", "body.resourceMetrics.0.scopeMetrics.0.metrics") {
		if m.Get("name").Str == name {
			m.Get("sum.dataPoints").ForEach(func(_, p gjson.Result) bool {
				all = append(all, naiveRecord{p})
				return true
			})
		}
	}
	return all
}

// stateLines are the client's own sums.
func (c corpus) stateLines() (all []naiveLine) {
	if _, err := os.Stat(filepath.Join(c.dir, "projects")); err != nil {
		return nil // no-persistence
	}
	for _, l := range c.lines() {
		if l.Get("type").Str == "cost-state" {
			all = append(all, l)
		}
	}
	return all
}
