package o2test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is one call of the API. Parts of the path in braces stand for anything.
type route struct {
	method string
	path   string
	access access
	handle func(*request)
}

// access is who may use a route.
type access int

const (
	forUsers  access = iota // users with their passwords
	forTokens               // ingestion: passcodes, too
	forAll                  // no credentials
)

var routes = []route{
	{"GET", "/healthz", forAll, (*request).health},
	{"HEAD", "/healthz", forAll, (*request).health},
	{"GET", "/config", forAll, (*request).about},
	{"GET", "/__stored", forAll, (*request).stored},
	{"POST", "/api/{org}/_search", forUsers, (*request).search},
	{"GET", "/api/{org}/streams", forUsers, (*request).listStreams},
	{"GET", "/api/{org}/streams/{stream}/schema", forUsers, (*request).showStream},
	{"POST", "/api/{org}/streams/{stream}", forUsers, (*request).createStream},
	{"PUT", "/api/{org}/streams/{stream}/settings", forUsers, (*request).changeStream},
	{"DELETE", "/api/{org}/streams/{stream}", forUsers, (*request).deleteStream},
	{"GET", "/api/v2/{org}/folders/dashboards", forUsers, (*request).listFolders},
	{"POST", "/api/v2/{org}/folders/dashboards", forUsers, (*request).createFolder},
	{"GET", "/api/v2/{org}/folders/dashboards/name/{name}", forUsers, (*request).folderByName},
	{"GET", "/api/v2/{org}/folders/dashboards/{id}", forUsers, (*request).showFolder},
	{"PUT", "/api/v2/{org}/folders/dashboards/{id}", forUsers, (*request).changeFolder},
	{"DELETE", "/api/v2/{org}/folders/dashboards/{id}", forUsers, (*request).deleteFolder},
	{"GET", "/api/{org}/dashboards", forUsers, (*request).listDashboards},
	{"POST", "/api/{org}/dashboards", forUsers, (*request).createDashboard},
	{"GET", "/api/{org}/dashboards/{id}", forUsers, (*request).showDashboard},
	{"PUT", "/api/{org}/dashboards/{id}", forUsers, (*request).changeDashboard},
	{"DELETE", "/api/{org}/dashboards/{id}", forUsers, (*request).deleteDashboard},
	{"GET", "/api/{org}/passcode", forUsers, (*request).showPasscode},
	{"PUT", "/api/{org}/passcode", forUsers, (*request).rotatePasscode},
	{"POST", "/api/{org}/_bulk", forTokens, (*request).ingestBulk},
	{"POST", "/api/{org}/_hec", forTokens, (*request).ingestHEC},
	{"POST", "/api/{org}/ingest/metrics/_json", forTokens, (*request).ingestMetrics},
	{"POST", "/api/{org}/{stream}/_json", forTokens, (*request).ingestJSON},
	{"POST", "/api/{org}/{stream}/_multi", forTokens, (*request).ingestMulti},
	{"POST", "/api/{org}/v1/{signal}", forTokens, (*request).out},
	{"POST", "/api/{org}/prometheus/api/v1/write", forTokens, (*request).out},
	{"POST", "/api/{org}/loki/api/v1/push", forTokens, (*request).out},
}

// request is one that is being answered.
type request struct {
	w      http.ResponseWriter
	r      *http.Request
	server *Server
	life   *life
	vars   map[string]string // parts of the path
	user   string            // who asks
	root   bool              // it is root
}

// serve takes the steps in the order of the server's layers: 415 comes before
// 401, and 401 before 413 (contract §0.2).
func (s *Server) serve(l *life, w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	dead := l.dead
	if !dead {
		l.handlers.Add(1)
	}
	s.mu.RUnlock()
	if dead {
		crash()
	}
	defer l.handlers.Done()
	w.Header().Set("x-api-node", "o2test")
	q := &request{w: w, r: r, server: s, life: l}
	if !q.encodingKnown() {
		return
	}
	known, wrongMethod := q.route()
	if known != nil {
		s.count(known.method + " " + known.path)
	}
	switch {
	case known != nil && known.access == forAll:
	case strings.HasPrefix(r.URL.Path, "/api/"):
		if !q.authorised(known != nil && known.access == forTokens) {
			return
		}
		if wrongMethod {
			break
		}
		if known == nil {
			q.text(http.StatusNotFound, "Organization not found") // as seen: contract §0.0
			return
		}
		if !q.orgKnown(known.access == forTokens) {
			q.text(http.StatusNotFound, "Organization not found")
			return
		}
	}
	switch {
	case known != nil:
		known.handle(q)
	case wrongMethod:
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// out answers calls that the real server has and this one does not.
func (q *request) out() {
	q.text(http.StatusNotImplemented, "o2test does not do "+q.r.Method+" "+q.r.URL.Path)
}

func (s *Server) count(route string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[route]++
}

// route finds the route of a request, and the parts of its path that have a name.
func (q *request) route() (known *route, wrongMethod bool) {
	parts := strings.Split(q.r.URL.EscapedPath(), "/")
	for i, p := range parts {
		if raw, err := url.PathUnescape(p); err == nil {
			parts[i] = raw
		}
	}
	for i := range routes {
		r := &routes[i]
		pattern := strings.Split(r.path, "/")
		vars := map[string]string{}
		fits := slices.EqualFunc(pattern, parts, func(pattern, part string) bool {
			if strings.HasPrefix(pattern, "{") {
				vars[strings.Trim(pattern, "{}")] = part
				return true
			}
			return pattern == part
		})
		switch {
		case fits && r.method == q.r.Method:
			q.vars = vars
			return r, false
		case fits:
			wrongMethod = true
		}
	}
	return nil, wrongMethod
}

// param is a parameter of the query string.
func (q *request) param(name string) string { return q.r.URL.Query().Get(name) }

// message is the answer of the server's own code.
type message struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// say answers with a message.
func (q *request) say(status int, text string) { q.answer(status, message{status, text}) }

// answer answers in JSON.
func (q *request) answer(status int, body any) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		panic(err) // all answers are made here
	}
	q.raw(status, bytes.TrimSuffix(out.Bytes(), newline))
}

func (q *request) raw(status int, body []byte) {
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(status)
	_, _ = q.w.Write(body) // the client may be gone
}

// text answers in plain text, as the framework and routers do.
func (q *request) text(status int, body string) {
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	q.w.WriteHeader(status)
	_, _ = q.w.Write([]byte(body))
}

// crash closes the connection without an answer, as a handler does that dies.
func crash() { panic(http.ErrAbortHandler) }

// reset closes the connection with a reset.
func (q *request) reset() {
	conn, _, err := http.NewResponseController(q.w).Hijack()
	if err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	crash()
}
