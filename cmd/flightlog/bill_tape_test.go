package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/loadtest/bill"
)

// tape makes a small recording in the form of those of the client 2.1.330
// (loadtest/recordings): shortened lines of the same shape, with ids of its own
// that are the same at every run.
type tape struct {
	t     *testing.T
	trap  string // the case's folder, which the ids are made of
	at    time.Time
	files map[string]*strings.Builder
	ids   int

	records  []any // log records of the one export request
	spans    []any
	metrics  map[string][]any // data points by metric
	sequence int
	version  string // of the client that exports
	requests []*reply
}

// usageBlock is usage in the order in which the client writes it.
type usageBlock struct {
	Input         int64             `json:"input_tokens"`
	CacheWrite    int64             `json:"cache_creation_input_tokens"`
	CacheRead     int64             `json:"cache_read_input_tokens"`
	Output        int64             `json:"output_tokens"`
	ServerToolUse map[string]int64  `json:"server_tool_use,omitempty"`
	Tier          string            `json:"service_tier,omitempty"`
	CacheCreation *cacheCreation    `json:"cache_creation,omitempty"`
	Geo           string            `json:"inference_geo,omitempty"`
	Iterations    []json.RawMessage `json:"iterations"`
	Speed         string            `json:"speed,omitempty"`
}

type cacheCreation struct {
	Hour        int64 `json:"ephemeral_1h_input_tokens"`
	FiveMinutes int64 `json:"ephemeral_5m_input_tokens"`
}

// reply is one answered request.
type reply struct {
	model                      string
	in, out, read, w5, w1      int64
	unsplit, zeros             bool  // the answer does not split the cache writes by lifetime; it does, but with zeros
	seen                       int64 // output tokens that the client was shown, where fewer
	speed, asked               string
	tier, geo                  string
	searches                   int64
	billing                    string
	stop                       string
	iterations                 []string
	noUsage                    bool
	source, run                string // query_source, subagent
	message, request, branch   string
	session                    *taped
	at                         time.Time
	broken                     string // error in the middle of the stream
	carriesBranch, carriesVers bool   // the truth names the branch, the client's version
}

// taped is a session, or a subagent's run in it.
type taped struct {
	tape              *tape
	id, prompt, agent string
	file              string
	version, branch   string
	parent            string // uuid of the line before
	email             string // of the person signed in
	provider          string
}

func newTape(t *testing.T, name string, at string) *tape {
	begun, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		t.Fatal(err)
	}
	return &tape{t: t, trap: name, at: begun, files: map[string]*strings.Builder{}, metrics: map[string][]any{}, version: "2.1.330"}
}

// id is a new id: 32 hex digits.
func (p *tape) id() string {
	p.ids++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", p.trap, p.ids))
	return hex.EncodeToString(sum[:16])
}

func (p *tape) uuid() string {
	d := p.id()
	return strings.Join([]string{d[:8], d[8:12], "4" + d[13:16], "a" + d[17:20], d[20:32]}, "-")
}

// name is an id in the form of the endpoint's: req_011C…, msg_01…, toolu_01….
func (p *tape) name(prefix string) string { return prefix + p.id()[:24-len(prefix)+4] }

func (p *tape) tick(ms int) { p.at = p.at.Add(time.Duration(ms) * time.Millisecond) }

func (p *tape) now() string { return p.at.UTC().Format("2006-01-02T15:04:05.000Z") }

func (p *tape) write(file string, line any) {
	p.t.Helper()
	if p.files[file] == nil {
		p.files[file] = &strings.Builder{}
	}
	text := &strings.Builder{}
	e := json.NewEncoder(text)
	e.SetEscapeHTML(false)
	if err := e.Encode(line); err != nil {
		p.t.Fatal(err)
	}
	p.files[file].WriteString(text.String())
}

const startFolder = "projects/-home-dev-src-shop/"

// begin begins a session with a prompt.
func (p *tape) begin(prompt string) *taped {
	s := &taped{tape: p, id: p.uuid(), version: "2.1.330", branch: "main", provider: "firstParty"}
	s.file = startFolder + s.id + ".jsonl"
	s.asks(prompt)
	return s
}

// on sets who is signed in, or the platform.
func (s *taped) on(provider, email string) *taped {
	s.provider, s.email = provider, email
	return s
}

// asks writes a prompt.
func (s *taped) asks(prompt string) {
	p := s.tape
	p.tick(40)
	s.prompt = p.uuid()
	l := s.line("user")
	l.PromptID = s.prompt
	l.Message = map[string]any{"role": "user", "content": prompt}
	if s.agent == "" {
		l.PermissionMode, l.PromptSource, l.TurnOrigin = "acceptEdits", "sdk", "sdk"
	}
	p.write(s.file, l)
}

// starts begins a subagent's run in a file of its own.
func (s *taped) starts(kind, model, toolUse, prompt string) *taped {
	p := s.tape
	a := *s
	a.agent, a.parent = "a"+p.id()[:16], ""
	a.file = startFolder + s.id + "/subagents/agent-" + a.agent + ".jsonl"
	p.write(strings.TrimSuffix(a.file, ".jsonl")+".meta.json", map[string]any{"agentType": kind, "toolUseId": toolUse, "spawnDepth": 1,
		"requestShape": "foreground", "model": model, "finished": true})
	l := a.line("user")
	l.PromptID = s.prompt
	l.Message = map[string]any{"role": "user", "content": prompt}
	p.write(a.file, l)
	return &a
}

// transcriptLine is a line of a transcript, shortened to what tells something
// (contract §3.2).
type transcriptLine struct {
	ParentUUID     *string        `json:"parentUuid"`
	IsSidechain    bool           `json:"isSidechain"`
	AgentID        string         `json:"agentId,omitempty"`
	PromptID       string         `json:"promptId,omitempty"`
	Type           string         `json:"type"`
	Message        any            `json:"message,omitempty"`
	RequestID      string         `json:"requestId,omitempty"`
	RequestedModel string         `json:"requestedModel,omitempty"`
	UUID           string         `json:"uuid"`
	Timestamp      string         `json:"timestamp"`
	ToolUseResult  any            `json:"toolUseResult,omitempty"`
	PermissionMode string         `json:"permissionMode,omitempty"`
	PromptSource   string         `json:"promptSource,omitempty"`
	TurnOrigin     string         `json:"turnOrigin,omitempty"`
	Subtype        string         `json:"subtype,omitempty"`
	Error          map[string]any `json:"error,omitempty"`
	RetryInMs      int64          `json:"retryInMs,omitempty"`
	RetryAttempt   int64          `json:"retryAttempt,omitempty"`
	Entrypoint     string         `json:"entrypoint"`
	Cwd            string         `json:"cwd"`
	SessionID      string         `json:"sessionId"`
	Version        string         `json:"version"`
	GitBranch      string         `json:"gitBranch"`
}

func (s *taped) line(kind string) *transcriptLine {
	l := &transcriptLine{IsSidechain: s.agent != "", AgentID: s.agent, Type: kind, UUID: s.tape.uuid(), Timestamp: s.tape.now(),
		Entrypoint: "sdk-cli", Cwd: "/home/dev/src/shop", SessionID: s.id, Version: s.version, GitBranch: s.branch}
	if s.parent != "" {
		before := s.parent
		l.ParentUUID = &before
	}
	s.parent = l.UUID
	return l
}

// Blocks of a message.
func textBlock(text string) map[string]any { return map[string]any{"type": "text", "text": text} }
func thought() map[string]any {
	return map[string]any{"type": "thinking", "thinking": "", "signature": "c2ln"}
}
func (p *tape) call(tool string, input map[string]any) map[string]any {
	return map[string]any{"type": "tool_use", "id": p.name("toolu_01"), "name": tool, "input": input}
}
func (p *tape) bash(command string) map[string]any {
	return p.call("Bash", map[string]any{"command": command})
}
func (p *tape) readFile() map[string]any {
	return p.call("Read", map[string]any{"file_path": "/home/dev/src/shop/src/price.js"})
}

// usage is the usage block of a reply, as the answer had it.
func (a *reply) usage() *usageBlock {
	if a.noUsage {
		return nil
	}
	u := &usageBlock{Input: a.in, CacheWrite: a.w5 + a.w1, CacheRead: a.read, Output: a.out, Tier: a.tier, Geo: a.geo, Speed: a.speed,
		CacheCreation: &cacheCreation{a.w1, a.w5}, Iterations: []json.RawMessage{}}
	for _, it := range a.iterations {
		u.Iterations = append(u.Iterations, json.RawMessage(it))
	}
	if u.Speed == "" {
		u.Speed = "standard"
	}
	if u.Tier == "" {
		u.Tier = "standard"
	}
	if u.Geo == "" {
		u.Geo = "not_available"
	}
	if a.searches > 0 {
		u.ServerToolUse = map[string]int64{"web_search_requests": a.searches, "web_fetch_requests": 0}
	}
	if a.unsplit {
		u.CacheCreation = nil
	}
	if a.zeros {
		u.CacheCreation = &cacheCreation{}
	}
	return u
}

// served notes that the endpoint answered a reply in a session, and gives it its
// ids. What the client shows of it is up to the caller.
func (s *taped) served(a *reply) *reply {
	p := s.tape
	p.tick(120)
	a.session, a.at, a.branch, a.run = s, p.at, s.branch, s.agent
	a.request, a.message = p.name("req_011C"), p.name("msg_01")
	if a.stop == "" {
		a.stop = "end_turn"
	}
	if a.source == "" {
		a.source = "sdk"
		if a.run != "" {
			a.source = "agent:builtin:Explore"
		}
	}
	l := struct {
		AnswerModel string            `json:"answer_model"`
		Headers     map[string]string `json:"headers"`
		MessageID   string            `json:"message_id"`
		Broken      string            `json:"mid_stream_error,omitempty"`
		RequestID   string            `json:"request_id"`
		Status      int               `json:"status"`
		Stop        string            `json:"stop_reason"`
		T           string            `json:"t"`
		Usage       *usageBlock       `json:"usage"`
		Seen        map[string]int64  `json:"seen,omitempty"`
		Platform    string            `json:"platform"`
		Billing     string            `json:"billing,omitempty"`
		Branch      string            `json:"branch,omitempty"`
		Version     string            `json:"agent_version,omitempty"`
	}{a.model, map[string]string{"x-claude-code-session-id": s.id}, a.message, a.broken, a.request, 200, a.stop,
		p.now(), a.usage(), nil, s.provider, a.billing, "", ""}
	if a.seen > 0 {
		l.Seen = map[string]int64{"output_tokens": a.seen}
	}
	if a.carriesBranch {
		l.Branch = s.branch
	}
	if a.carriesVers {
		l.Version = s.version
	}
	p.write("endpoint.ndjson", l)
	p.requests = append(p.requests, a)
	return a
}

// refused notes a request that the endpoint did not answer, and the line that
// the client writes before it tries again.
func (s *taped) refused(model string, status int, attempt int64) {
	p := s.tape
	p.tick(120)
	id := p.name("req_011C")
	p.write("endpoint.ndjson", map[string]any{"headers": map[string]string{"x-claude-code-session-id": s.id}, "model": model,
		"request_id": id, "status": status, "t": p.now(), "platform": s.provider})
	l := s.line("system")
	l.Subtype, l.RetryInMs, l.RetryAttempt = "api_error", 500, attempt
	l.Error = map[string]any{"status": status, "requestId": id, "message": "Overloaded"}
	p.write(s.file, l)
	p.tick(500)
}

// shows writes a reply into the transcript: one line for each block, each with
// the message's whole usage (contract §3.3).
func (s *taped) shows(a *reply, blocks ...map[string]any) {
	for _, b := range blocks {
		s.showsLine(a, a.usage(), a.stop, b)
	}
}

func (s *taped) showsLine(a *reply, u *usageBlock, stop string, block map[string]any) {
	p := s.tape
	message := map[string]any{"id": a.message, "type": "message", "role": "assistant", "model": a.model, "content": []any{block}, "stop_reason": nil}
	if stop != "" {
		message["stop_reason"] = stop
	}
	if u != nil {
		message["usage"] = u
	}
	l := s.line("assistant")
	l.Message, l.RequestID, l.RequestedModel = message, a.request, a.model
	p.write(s.file, l)
	p.tick(3)
}

// result writes the result of a call.
func (s *taped) result(call map[string]any, content string, result any) {
	p := s.tape
	p.tick(30)
	l := s.line("user")
	l.PromptID = s.prompt
	l.Message = map[string]any{"role": "user", "content": []any{map[string]any{"tool_use_id": call["id"], "type": "tool_result", "content": content, "is_error": false}}}
	l.ToolUseResult = result
	p.write(s.file, l)
}

// answers is served and shows as one text.
func (s *taped) answers(a *reply, text string) *reply {
	s.served(a)
	s.shows(a, textBlock(text))
	return a
}

// costState writes what the client adds up at its exit, USD.
func (s *taped) costState(total float64) {
	s.tape.write(s.file, map[string]any{"type": "cost-state", "sessionId": s.id, "totalCostUSD": total, "hasUnknownModelCost": false})
}

// clientUsd is the cost that the client says: here by the list, as the real one.
func (a *reply) clientUsd() float64 {
	l := bill.Price(a.billed(), nil)
	if l.Cost == nil {
		return 0
	}
	return float64(*l.Cost) / 1e9
}

func (a *reply) billed() *bill.Request {
	return &bill.Request{At: a.at, Model: a.model, Platform: a.session.provider, Region: "global", Speed: a.speed, Tier: a.tier, Geo: a.geo, Input: a.in, Output: a.out,
		CacheRead: a.read, CacheWrite5m: a.w5, CacheWrite1h: a.w1, WebSearches: a.searches}
}

// attributes are OTLP attributes in the order given: key, value, key, value.
func attributes(pairs ...any) (list []any) {
	for i := 0; i < len(pairs); i += 2 {
		var value map[string]any
		switch v := pairs[i+1].(type) {
		case string:
			if v == "" {
				continue
			}
			value = map[string]any{"stringValue": v}
		case int64:
			value = map[string]any{"intValue": v}
		case float64:
			value = map[string]any{"doubleValue": v}
		case bool:
			value = map[string]any{"boolValue": v}
		default:
			panic(fmt.Sprintf("attribute %v of type %T", pairs[i], v))
		}
		list = append(list, struct {
			Key   string         `json:"key"`
			Value map[string]any `json:"value"`
		}{pairs[i].(string), value})
	}
	return list
}

// standardAttributes stand on every record (contract §4.2).
func (s *taped) standardAttributes() []any {
	sum := sha256.Sum256([]byte(s.tape.trap + s.email))
	return attributes("user.id", hex.EncodeToString(sum[:]), "user.email", s.email, "session.id", s.id, "anthropic.provider", s.provider)
}

// event exports a log record of a session (contract §4.3).
func (s *taped) event(name string, pairs ...any) {
	p := s.tape
	all := append(s.standardAttributes(), attributes("event.name", name, "event.timestamp", p.now(), "event.sequence", int64(p.sequence), "prompt.id", s.prompt)...)
	p.sequence++
	p.records = append(p.records, struct {
		Time       string         `json:"timeUnixNano"`
		Body       map[string]any `json:"body"`
		Attributes []any          `json:"attributes"`
	}{fmt.Sprint(p.at.UnixNano()), map[string]any{"stringValue": "claude_code." + name}, append(all, attributes(pairs...)...)})
}

// apiRequest exports the log record of a reply. Where the answer does not split
// its cache writes, neither does the record, as with older clients (trap 3.7).
func (a *reply) apiRequest() {
	asked := a.asked
	if asked == "" {
		asked = "normal"
	}
	pairs := []any{"model", a.model, "input_tokens", a.in, "output_tokens", a.out, "cache_read_tokens", a.read, "cache_creation_tokens", a.w5 + a.w1}
	if !a.unsplit {
		pairs = append(pairs, "cache_creation_5m_tokens", a.w5, "cache_creation_1h_tokens", a.w1)
	}
	pairs = append(pairs, "cost_usd", a.clientUsd(), "duration_ms", int64(118), "request_id", a.request, "speed", asked, "query_source", a.source, "agent_id", a.run)
	a.session.event("api_request", pairs...)
}

// span exports a span of a session (contract §4.5).
func (s *taped) span(name, parent string, begun time.Time, pairs ...any) (id string) {
	p := s.tape
	id = p.id()[:16]
	p.spans = append(p.spans, struct {
		Trace      string `json:"traceId"`
		Span       string `json:"spanId"`
		Parent     string `json:"parentSpanId,omitempty"`
		Name       string `json:"name"`
		Kind       int    `json:"kind"`
		Start      string `json:"startTimeUnixNano"`
		End        string `json:"endTimeUnixNano"`
		Attributes []any  `json:"attributes"`
	}{strings.ReplaceAll(s.id, "-", ""), id, parent, "claude_code." + name, 1, fmt.Sprint(begun.UnixNano()), fmt.Sprint(p.at.UnixNano()),
		append(s.standardAttributes(), attributes(append([]any{"span.type", name}, pairs...)...)...)})
	return id
}

// llmRequest exports the span of a reply.
func (a *reply) llmRequest(parent string) {
	pairs := []any{"model", a.model, "gen_ai.request.model", a.model, "speed", "normal", "query_source_safe", strings.ReplaceAll(a.source, ":", "."), "duration_ms", int64(120)}
	if !a.noUsage {
		pairs = append(pairs, "input_tokens", a.in, "output_tokens", a.out, "cache_read_tokens", a.read, "cache_creation_tokens", a.w5+a.w1)
	}
	pairs = append(pairs, "success", true, "attempt", int64(1), "request_id", a.request, "gen_ai.response.id", a.request, "stop_reason", a.stop, "agent_id", a.run)
	a.session.span("llm_request", parent, a.at.Add(-120*time.Millisecond), pairs...)
}

// metric exports a point of a delta sum (contract §4.4).
func (s *taped) metric(name string, from, to time.Time, value float64, pairs ...any) {
	p := s.tape
	p.metrics[name] = append(p.metrics[name], struct {
		Attributes []any   `json:"attributes"`
		Start      string  `json:"startTimeUnixNano"`
		Time       string  `json:"timeUnixNano"`
		Value      float64 `json:"asDouble"`
	}{append(s.standardAttributes(), attributes(pairs...)...), fmt.Sprint(from.UnixNano()), fmt.Sprint(to.UnixNano()), value})
}

// exports writes what was exported, one request for each signal.
func (p *tape) exports() {
	resource := map[string]any{"attributes": attributes("service.name", "claude-code", "service.version", p.version, "os.type", "linux")}
	scope := func(name string) map[string]any {
		return map[string]any{"name": "com.anthropic.claude_code" + name, "version": p.version}
	}
	export := func(file, signal string, body map[string]any) {
		p.write(file, struct {
			Received string         `json:"received_at"`
			Signal   string         `json:"signal"`
			Protocol string         `json:"protocol"`
			Body     map[string]any `json:"body"`
		}{p.now(), signal, "http/json", body})
	}
	if p.records != nil {
		export("otlp-logs.ndjson", "logs", map[string]any{"resourceLogs": []any{map[string]any{"resource": resource,
			"scopeLogs": []any{map[string]any{"scope": scope(".events"), "logRecords": p.records}}}}})
	}
	if p.spans != nil {
		export("otlp-traces.ndjson", "traces", map[string]any{"resourceSpans": []any{map[string]any{"resource": resource,
			"scopeSpans": []any{map[string]any{"scope": scope(".tracing"), "spans": p.spans}}}}})
	}
	var metrics []any
	for _, name := range []string{"claude_code.cost.usage", "claude_code.token.usage"} {
		if points := p.metrics[name]; points != nil {
			metrics = append(metrics, map[string]any{"name": name, "unit": map[string]string{"claude_code.cost.usage": "USD", "claude_code.token.usage": "tokens"}[name],
				"sum": map[string]any{"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": points}})
		}
	}
	if metrics != nil {
		export("otlp-metrics.ndjson", "metrics", map[string]any{"resourceMetrics": []any{map[string]any{"resource": resource,
			"scopeMetrics": []any{map[string]any{"scope": scope(""), "metrics": metrics}}}}})
	}
}

// save writes the recording into a folder, which it empties first.
func (p *tape) save(dir string) {
	p.t.Helper()
	p.exports()
	if err := os.RemoveAll(dir); err != nil {
		p.t.Fatal(err)
	}
	for name, text := range p.files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

// copyLines copies the lines of a session into a fork's file: the session's id
// is the fork's, all others stay, and the assistant's lines of a marked one say
// who paid.
func (p *tape) copyLines(of, fork *taped, marked bool) {
	for line := range strings.Lines(p.files[of.file].String()) {
		if strings.Contains(line, `"type":"cost-state"`) {
			continue
		}
		line = strings.ReplaceAll(line, `"sessionId":"`+of.id+`"`, `"sessionId":"`+fork.id+`"`)
		if marked && strings.Contains(line, `"type":"assistant"`) {
			line = strings.TrimSuffix(line, "}\n") + `,"requestSessionId":"` + of.id + `"}` + "\n"
		}
		if p.files[fork.file] == nil {
			p.files[fork.file] = &strings.Builder{}
		}
		p.files[fork.file].WriteString(line)
	}
}
