package o2test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
)

// defaultSize is how many hits a search gives when it does not say.
const defaultSize = 1000

// query is what a search asks.
type query struct {
	sql        string
	org, kind  string
	start, end int64 // start <= _timestamp < end
	from, size int
	visible    int64 // rows that were stored later are not found, µs
	cached     bool  // an earlier answer will do
}

// result is what a search found.
type result struct {
	hits     []json.RawMessage
	scanned  int        // rows of all streams of the query that are in its time
	interval int64      // of histogram, in s; 0 = it has none
	order    [][]string // column and direction
	cached   int        // percent
}

// searchError is an answer other than 200.
type searchError struct {
	code int
	text string
}

func (e *searchError) Error() string { return fmt.Sprintf("%d: %s", e.code, e.text) }

func (e *searchError) status() int {
	if e.code == codeInternal {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// Codes of search errors (contract §5.1).
const (
	codeInternal  = 10001
	codeSQL       = 20001
	codeStream    = 20002
	codeField     = 20004
	codeFunction  = 20005
	codeExecution = 20008
)

type searchRequest struct {
	Query struct {
		SQL       string `json:"sql"`
		StartTime int64  `json:"start_time"`
		EndTime   int64  `json:"end_time"`
		From      int    `json:"from"`
		Size      *int   `json:"size"`
	} `json:"query"`
}

type searchAnswer struct {
	Took       int `json:"took"`
	TookDetail struct {
		Total        int `json:"total"`
		CacheTook    int `json:"cache_took"`
		FileListTook int `json:"file_list_took"`
		WaitInQueue  int `json:"wait_in_queue"`
		IdxTook      int `json:"idx_took"`
		SearchTook   int `json:"search_took"`
	} `json:"took_detail"`
	Hits                []json.RawMessage `json:"hits"`
	Total               int               `json:"total"`
	From                int               `json:"from"`
	Size                int               `json:"size"`
	CachedRatio         int               `json:"cached_ratio"`
	ScanSize            int               `json:"scan_size"`
	IdxScanSize         int               `json:"idx_scan_size"`
	ScanRecords         int               `json:"scan_records"`
	TraceID             string            `json:"trace_id"`
	IsPartial           bool              `json:"is_partial"`
	HistogramInterval   int64             `json:"histogram_interval,omitempty"`
	ResultCacheRatio    int               `json:"result_cache_ratio"`
	OrderBy             string            `json:"order_by,omitempty"`
	OrderByMetadata     [][]string        `json:"order_by_metadata,omitempty"`
	IsHistogramEligible bool              `json:"is_histogram_eligible"`
	PeakMemoryUsage     json.Number       `json:"peak_memory_usage"`
}

type searchFailure struct {
	Code        int    `json:"code"`
	Message     string `json:"message"`
	ErrorDetail string `json:"error_detail"`
	TraceID     string `json:"trace_id"`
}

// search answers POST /api/{org}/_search (contract §5.1).
func (q *request) search() {
	s := q.server
	suffered := s.faults.search()
	if !pause(q.r.Context(), suffered.delay) {
		crash()
	}
	if suffered.strike == strikeSearchError {
		q.searchFailed(&searchError{codeInternal, "server internal error"})
		return
	}
	var asked searchRequest
	if !q.decode(&asked) {
		return
	}
	c := query{
		sql:     asked.Query.SQL,
		org:     q.vars["org"],
		kind:    q.param("type"),
		start:   asked.Query.StartTime,
		end:     asked.Query.EndTime,
		from:    asked.Query.From,
		size:    defaultSize,
		visible: s.now().Add(-s.faults.invisible()).UnixMicro(),
	}
	// The parameter decides, not the body (contract §5.1).
	c.cached = q.param("use_cache") != "false" && c.end <= s.now().UnixMicro()
	if c.kind == "" {
		c.kind = "logs"
	}
	if size := asked.Query.Size; size != nil {
		c.size = *size
	}
	found, err := s.find(q.r.Context(), &c)
	var failed *searchError
	switch {
	case errors.As(err, &failed):
		q.searchFailed(failed)
		return
	case q.r.Context().Err() != nil:
		crash() // the client has left
	case err != nil:
		q.searchFailed(&searchError{codeInternal, err.Error()})
		return
	}
	a := searchAnswer{Hits: found.hits, Total: len(found.hits), From: c.from, Size: c.size, ScanRecords: found.scanned, TraceID: traceID(),
		CachedRatio: found.cached, ResultCacheRatio: found.cached, HistogramInterval: found.interval, OrderByMetadata: found.order, IsHistogramEligible: true, PeakMemoryUsage: "0.0"}
	if len(found.order) > 0 {
		a.OrderBy = found.order[0][1]
	}
	if a.Hits == nil {
		a.Hits = []json.RawMessage{}
	}
	q.answer(http.StatusOK, a)
}

// keptResults is how many answers the cache holds.
const keptResults = 1000

// find answers a query. One whose time is over is answered as the first time,
// whatever was stored since, unless the search asks for no cache (contract §2).
func (s *Server) find(ctx context.Context, c *query) (*result, error) {
	if !c.cached {
		return s.findNow(ctx, c)
	}
	key := *c
	key.visible = 0
	s.caching.Lock()
	earlier := s.cache[key]
	s.caching.Unlock()
	if earlier != nil {
		again := *earlier
		again.cached = 100
		return &again, nil
	}
	found, err := s.findNow(ctx, c)
	if err == nil {
		s.caching.Lock()
		if len(s.cache) == keptResults {
			clear(s.cache)
		}
		s.cache[key] = found
		s.caching.Unlock()
	}
	return found, err
}

// findNow answers a query from the indexes, if it is one of those that they
// serve, else from the database.
func (s *Server) findNow(ctx context.Context, c *query) (*result, error) {
	if found, ok := s.probe(c); ok {
		return found, nil
	}
	parsed, err := parse(c.sql)
	if err != nil {
		return nil, err
	}
	var streams []*stream
	for _, name := range parsed.streams {
		st := s.stream(streamKey{c.org, c.kind, name})
		if st == nil {
			return nil, &searchError{codeStream, "Search stream not found: " + name}
		}
		if !slices.Contains(streams, st) {
			streams = append(streams, st)
		}
	}
	if len(streams) == 0 {
		return nil, &searchError{codeSQL, "Search SQL not valid: it names no stream"}
	}
	d, err := s.open()
	if err != nil {
		return nil, err
	}
	return d.run(ctx, c, parsed, streams)
}

// open gives the database, made when it is first needed.
func (s *Server) open() (*database, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if d := s.database.Load(); d != nil {
		return d, nil
	}
	d, err := openDatabase()
	if err == nil {
		s.database.Store(d)
	}
	return d, err
}

func (q *request) searchFailed(e *searchError) {
	q.w.Header().Set("X-Error-Message", e.text)
	q.answer(e.status(), searchFailure{e.code, e.text, "", traceID()})
}

func traceID() string {
	id := make([]byte, 16)
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	return hex.EncodeToString(id)
}

// decode reads a typed JSON body, and answers as the framework does when it is
// none (contract §0.2): 415, 400 or 422 in plain text.
func (q *request) decode(into any) bool {
	if t := q.r.Header.Get("Content-Type"); !bytes.HasPrefix([]byte(t), []byte("application/json")) {
		q.text(http.StatusUnsupportedMediaType, "Expected request with `Content-Type: application/json`")
		return false
	}
	body, ok := q.body()
	if !ok {
		return false
	}
	defer release(body)
	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(body.Bytes(), into); {
	case errors.As(err, &wrongType):
		q.text(http.StatusUnprocessableEntity, "Failed to deserialize the JSON body into the target type: "+err.Error())
		return false
	case err != nil:
		q.text(http.StatusBadRequest, "Failed to parse the request body as JSON: "+err.Error())
		return false
	}
	return true
}
