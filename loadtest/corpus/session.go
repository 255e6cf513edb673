package corpus

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/extraction"
)

// session is one that is being made: what its user, its client and its files
// are, and the lines that its witnesses have written so far.
type session struct {
	*run // the main thread
	project
	label Label
	id    string
	mode  string // permission mode
	model string

	withHooks, withTranscript, withOtlp bool

	prompt   string // id of the running one
	turns    int
	sequence int // of OTLP records
	runs     []*run
	hooks    []line
	records  []line
	tests    tests
	killed   bool
	recent   []string // what was looked at
}

// run is the main thread or a subagent: each has its own clock.
type run struct {
	*session
	agent, kind string // of a subagent
	now         time.Time
	parent      string // uuid of the last line of its transcript
	lines       []line
	request     string // id of the last one
	steps       int
	context     int // tokens
	failures    map[string]failure
	meta        string
}

// failure is the last attempt of an intent that failed.
type failure struct {
	attempt int
	reason  string
}

type line struct {
	at   time.Time
	text string
}

// step is a tool call, as a family writes it down.
type step struct {
	tool, input string
	response    string // JSON; "" for a call that failed
	text        string // what the model gets
	failed      bool
	refused     string // by a rule, a hook, a host, in a dialog, or because nobody could be asked
	invalid     bool   // it did not pass the validation
	took, gap   time.Duration
	wait        time.Duration // for a person; 0 if nobody is asked
	background  bool
	outcome     string           // red or green, of a test run
	work        func(a *run)     // of a subagent
	change      func(s *session) // what it does to the files
	id          string
}

// tests is what the record says of the tests, by docs/detectors.md.
type tests struct {
	last, lastOfTurn string // red or green
	changed          bool   // code, since the last green run
	ever             bool   // code was changed in the session
	open, resolved   []int  // wanted findings that a green run ends, or has ended
}

// obj is a JSON object of keys and values in their order. A value is a string,
// a number, a bool, or JSON.
func obj(pairs ...any) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if b.WriteByte(','); i == 0 {
			b.Reset()
			b.WriteByte('{')
		}
		b.WriteString(quote(pairs[i].(string)) + ":" + text(pairs[i+1]))
	}
	return b.String() + "}"
}

// raw is a text that is JSON already.
type raw string

func text(v any) string {
	switch v := v.(type) {
	case raw:
		return string(v)
	case string:
		return quote(v)
	}
	return fmt.Sprint(v)
}

// quote is a string in JSON as the client writes it.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string has a JSON form
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Random values.

func (s *session) uuid() string {
	b := s.bytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (p *project) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(p.random.UintN(256))
	}
	return b
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// key is a random text of n characters.
func (p *project) key(n int, of string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = of[p.random.IntN(len(of))]
	}
	return string(b)
}

func (p *project) chance(percent int) bool { return p.random.IntN(100) < percent }

// between is a number from low to high.
func (p *project) between(low, high int) int { return low + p.random.IntN(high-low+1) }

// seconds is a time from low to high.
func (p *project) seconds(low, high float64) time.Duration {
	return time.Duration((low + p.random.Float64()*(high-low)) * 1e9)
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (p *project) one(of ...string) string { return pick(p.random, of...) }

// Witnesses.

func (r *run) hook(at time.Time, event string, v values) {
	if !r.withHooks {
		return
	}
	name := "hook/" + event
	if tool := v["input.tool_name"]; strings.HasPrefix(tool, `"mcp__`) && r.templates["hook/mcp/"+event] != nil {
		name = "hook/mcp/" + event
		v["input.mcp_server.name"] = quote(strings.Split(tool, "__")[1])
	}
	if r.agent != "" {
		name += "/agent"
	}
	r.place(v)
	v["recorded_at"] = quote(at.Format("2006-01-02T15:04:05.000000000Z"))
	v["input.prompt_id"], v["input.permission_mode"] = quote(r.prompt), quote(r.mode)
	v["input.agent_id"], v["input.agent_type"] = quote(r.agent), quote(r.kind)
	r.hooks = append(r.hooks, line{at, r.templates[name].fill(v)})
}

func (s *session) place(v values) {
	v["$session"], v["$cwd"], v["$folder"], v["$home"] = s.id, s.cwd(), strings.ReplaceAll(s.cwd(), "/", "-"), "/home/"+s.login
}

// write adds a line to the transcript and returns its uuid.
func (r *run) write(at time.Time, what string, v values) string {
	if r.agent != "" {
		what += "/agent"
	}
	id := r.uuid()
	r.place(v)
	v["uuid"], v["parentUuid"], v["agentId"] = quote(id), "null", quote(r.agent)
	if r.parent != "" {
		v["parentUuid"] = quote(r.parent)
	}
	v["timestamp"] = quote(at.Format("2006-01-02T15:04:05.000Z"))
	v["entrypoint"], v["gitBranch"], v["promptId"] = quote(r.entrypoint), quote(r.branch), quote(r.prompt)
	v["requestId"], v["requestedModel"], v["message.model"] = quote(r.request), quote(r.model), quote(r.model)
	r.parent = id
	r.lines = append(r.lines, line{at, r.templates["transcript/"+what].fill(v)})
	return id
}

// record adds an OTLP log record. Attributes are keys and values in turns.
func (r *run) record(at time.Time, event string, attributes ...any) {
	if !r.withOtlp {
		return
	}
	all := append([]any{"team", "checkout", "service.namespace", "agents", "user.id", r.userID, "session.id", r.id,
		"anthropic.provider", "firstParty", "terminal.type", "xterm-256color", "event.name", event,
		"event.timestamp", at.Format("2006-01-02T15:04:05.000Z"), "event.sequence", r.sequence, "prompt.id", r.prompt}, attributes...)
	if r.agent != "" {
		all = append(all, "agent_id", r.agent)
	}
	var b strings.Builder
	for i := 0; i < len(all); i += 2 {
		if b.WriteByte(','); i == 0 {
			b.Reset()
			b.WriteByte('[')
		}
		kind := "intValue"
		switch all[i+1].(type) {
		case string:
			kind = "stringValue"
		case float64:
			kind = "doubleValue"
		}
		b.WriteString(obj("key", all[i], "value", raw(obj(kind, all[i+1]))))
	}
	r.sequence++
	nano := quote(strconv.FormatInt(at.Truncate(time.Millisecond).UnixNano(), 10))
	r.records = append(r.records, line{at, r.templates["otlp/record"].fill(values{"timeUnixNano": nano, "observedTimeUnixNano": nano,
		"body.stringValue": quote("claude_code." + event), "attributes": b.String() + "]"})})
}

// answer is a message of the model: texts and calls, one line for each.
func (r *run) answer(at time.Time, say string, stop string, calls ...*step) (uuids []string) {
	r.request = "req_011C" + r.key(20, letters)
	fresh, output := r.between(80, 2500), r.between(20, 600)
	v := func() values {
		return values{"message.usage.input_tokens": "4", "message.usage.output_tokens": strconv.Itoa(output),
			"message.usage.cache_creation_input_tokens": strconv.Itoa(fresh), "message.usage.cache_creation.ephemeral_5m_input_tokens": strconv.Itoa(fresh),
			"message.usage.cache_read_input_tokens": strconv.Itoa(r.context), "message.stop_reason": quote(stop), "requestRef": quote(r.uuid())}
	}
	message := quote("msg_01" + r.key(22, letters))
	block := 0
	add := func(what, content string) string {
		one := v()
		one["message.id"], one["message.content"], one["apiBlockIndex"] = message, "["+content+"]", strconv.Itoa(block)
		block++
		return r.write(at.Add(time.Duration(block-len(calls)-2)*9*time.Millisecond), what, one)
	}
	if say != "" {
		add("text", obj("text", say, "type", "text"))
	}
	for _, c := range calls {
		uuids = append(uuids, add("use", obj("id", c.id, "input", raw(c.input), "name", c.tool, "type", "tool_use")))
	}
	in, out := 4.0, 20.0 // USD per million tokens
	read := 0.2
	if strings.Contains(r.model, "sonnet") {
		in, out, read = 2, 10, 0.1
	}
	cost := (4*in + float64(output)*out + float64(fresh)*in*1.25 + float64(r.context)*read) / 1e6
	source := "sdk"
	if r.agent != "" {
		source = "agent:builtin:" + r.kind
	} else if r.entrypoint == "cli" {
		source = "repl_main_thread"
	}
	r.record(at, "api_request", "model", r.model, "input_tokens", 4, "output_tokens", output, "cache_read_tokens", r.context,
		"cache_creation_tokens", fresh, "cache_creation_5m_tokens", fresh, "cache_creation_1h_tokens", 0, "cost_usd", cost,
		"cost_usd_micros", int(cost*1e6), "duration_ms", r.between(700, 900), "ttft_ms", r.between(300, 600), "request_id", r.request,
		"speed", "normal", "query_source", source, "effort", "medium")
	r.context += fresh
	return uuids
}

// What happens.

// ask begins a turn.
func (s *session) ask(prompt string) {
	s.prompt = s.uuid()
	s.now = s.now.Add(s.seconds(20, 400))
	s.turns++
	s.tests.lastOfTurn = ""
	for _, r := range s.runs {
		r.failures = map[string]failure{}
	}
	for i, w := range s.label.Want { // a person has looked
		if w.State == "open" && (w.Kind == "loop" || w.Kind == "repeated_retries") {
			s.settle(i, "resolved")
		}
	}
	s.write(s.now.Add(-12*time.Millisecond), "prompt", values{"message.content": "[" + obj("type", "text", "text", prompt) + "]",
		"permissionMode": quote(s.mode), "turnPosition.turnIndex": strconv.Itoa(s.turns)})
	s.record(s.now.Add(-4*time.Millisecond), "user_prompt", "prompt_length", strconv.Itoa(len(prompt)), "prompt", prompt, "prompt_text", prompt, "message.uuid", s.parent)
	s.hook(s.now, "UserPromptSubmit", values{"input.prompt": quote(prompt)})
}

// stop ends a turn with a message that claims nothing of the tests.
func (s *session) stop(message string) { s.ends(message, false) }

// claim ends a turn with a message that says that the tests pass.
func (s *session) claim(message string) { s.ends(message, true) }

func (s *session) ends(message string, claims bool) {
	s.now = s.now.Add(s.seconds(1, 6))
	for _, r := range s.runs { // the last word waits for the agents in the background
		if s.now.Before(r.now) {
			s.now = r.now.Add(s.seconds(1, 4))
		}
	}
	s.answer(s.now, message, "end_turn")
	s.hook(s.now.Add(25*time.Millisecond), "Stop", values{"input.last_assistant_message": quote(message)})
	s.write(s.now.Add(33*time.Millisecond), "stopped", values{"toolUseID": quote(s.uuid())})
	t := &s.tests
	switch {
	case claims && (t.last == "red" || t.changed):
		t.open = append(t.open, s.want("false_claim", "", "open"))
	case claims && t.last == "":
		panic("a claim of which docs/detectors.md says nothing, in " + s.label.Family)
	case t.lastOfTurn == "red":
		t.open = append(t.open, s.want("red_tests", "", "open"))
	}
}

// end is the end of the session.
func (s *session) end() {
	s.now = s.now.Add(s.seconds(1, 90))
	reason := "other"
	if s.entrypoint == "cli" {
		reason = "prompt_input_exit"
	}
	s.hook(s.now, "SessionEnd", values{"input.reason": quote(reason)})
}

// want notes a finding that must be there, once for a kind and a subject that is named.
func (s *session) want(kind, subject, state string) int {
	w := Want{Kind: kind, Subject: subject, State: state}
	if kind == "protected_path" {
		w.ProtectedClass = extraction.ProtectedClass(subject)
	}
	if i := slices.Index(s.label.Want, w); i >= 0 && subject != "" {
		return i
	}
	s.label.Want = append(s.label.Want, w)
	return len(s.label.Want) - 1
}

// settle says the state of a finding that was wanted before.
func (s *session) settle(i int, state string) { s.label.Want[i].State = state }

// do is a message of the model with these calls and what becomes of them. It
// returns their ids.
func (r *run) do(steps ...step) (ids []string) {
	gap := steps[0].gap
	if gap == 0 {
		gap = r.seconds(1, 9)
	}
	start := r.now.Add(gap)
	say := ""
	if r.chance(25) {
		say = r.remark()
	}
	var calls []*step
	for i := range steps {
		steps[i].id = "toolu_01" + r.key(22, letters)
		ids = append(ids, steps[i].id)
		calls = append(calls, &steps[i])
	}
	uuids := r.answer(start.Add(-20*time.Millisecond), say, "tool_use", calls...)
	request := r.request
	var batch []string
	for i, c := range calls {
		began := start.Add(time.Duration(i) * 15 * time.Millisecond)
		end := r.call(began, c, uuids[i], request)
		if r.now.Before(end) || i == 0 {
			r.now = end
		}
		response := quote(c.text)
		if strings.HasPrefix(c.tool, "mcp__") && !c.failed {
			response = c.response
		}
		batch = append(batch, obj("tool_name", c.tool, "tool_input", raw(c.input), "tool_use_id", c.id, "tool_response", raw(response)))
		if c.refused == "dialog" {
			r.write(end.Add(8*time.Millisecond), "interrupted", values{"message.content": "[" + obj("type", "text", "text", "[Request interrupted by user for tool use]") + "]"})
			return ids
		}
	}
	r.now = r.now.Add(30 * time.Millisecond)
	r.hook(r.now, "PostToolBatch", values{"input.tool_calls": "[" + strings.Join(batch, ",") + "]"})
	return ids
}

// call tells of one call and returns when it ended.
func (r *run) call(at time.Time, c *step, uuid, request string) (end time.Time) {
	r.steps++
	took := c.took
	if took == 0 {
		took = r.seconds(0.02, 0.4)
	}
	tool, input, id := quote(c.tool), c.input, quote(c.id)
	if !c.invalid {
		r.hook(at, "PreToolUse", values{"input.tool_name": tool, "input.tool_input": input, "input.tool_use_id": id})
	}
	decided := at.Add(20*time.Millisecond + c.wait)
	asked := c.wait > 0 || c.refused == "host" || c.refused == "dialog"
	if asked || c.refused == "nobody" {
		decided = decided.Add(40 * time.Millisecond)
		r.hook(at.Add(35*time.Millisecond), "PermissionRequest", values{"input.tool_name": tool, "input.tool_input": input, "input.permission_suggestions": "[]"})
	}
	if c.work != nil {
		took = r.delegate(decided, c)
	}
	end = decided.Add(took)
	decision, source := obj("decision", "accept", "source", "config", "reasonType", "mode"), "config"
	switch {
	case asked:
		decision, source = obj("decision", "accept", "source", "user_temporary", "grantScope", "once", "reasonCode", "unknown"), "user_temporary"
	case r.mode == "default":
		decision, source = obj("decision", "accept", "source", "user_permanent", "reasonType", "rule", "ruleSource", "userSettings"), "user_permanent"
	}
	ms := strconv.FormatInt(took.Milliseconds(), 10)
	v := values{"promptId": quote(r.prompt), "sourceToolAssistantUUID": quote(uuid)}
	content := func(failed bool, text string) {
		result := obj("tool_use_id", c.id, "type", "tool_result", "content", text)
		if failed {
			result = obj("type", "tool_result", "content", text, "is_error", true, "tool_use_id", c.id)
		}
		v["message.content"] = "[" + result + "]"
	}
	attributes := append(r.named(c), "tool_use_id", c.id, "request_id", request)
	what := "result"
	switch {
	case c.invalid:
		end = at
		content(true, "<tool_use_error>"+c.text+"</tool_use_error>")
		v["toolUseResult"] = quote("Error: " + c.text)
		c.text = "<tool_use_error>" + c.text + "</tool_use_error>"
		what = "invalid"
	case c.refused != "":
		end = decided
		content(true, c.text)
		v["toolUseResult"], v["toolDenialKind"] = quote("Error: "+c.text), `"permission-rule"`
		what, source = "refused", "config"
		decision = obj("decision", "reject", "source", "config", "reasonType", "subcommandResults", "ruleSource", "userSettings", "reasonCode", "rule:userSettings")
		switch c.refused {
		case "hook":
			source = "hook"
			decision = obj("decision", "reject", "source", "hook", "reasonType", "hook", "reasonCode", "hook:PreToolUse")
		case "nobody":
			v["toolDenialKind"] = `"user-rejected"`
			decision = obj("decision", "reject", "source", "config", "reasonCode", "bashMiss:no-rule-match")
		case "host":
			source = "user_reject"
			decision = obj("decision", "reject", "source", "user_reject", "reasonCode", "bashMiss:no-rule-match")
		case "dialog":
			what, source = "rejected", "user_reject"
			v["toolUseResult"], v["toolDenialKind"] = `"User rejected tool use"`, `"user-rejected"`
		}
		r.record(decided, "tool_decision", append([]any{"decision", "reject", "source", source, "tool_source", toolSource(c), "permission_mode", r.mode}, attributes...)...)
	case c.failed:
		r.record(decided, "tool_decision", append([]any{"decision", "accept", "source", source, "tool_source", toolSource(c), "permission_mode", r.mode}, attributes...)...)
		kind, message := "ShellError", "Shell command failed"
		if c.tool != "Bash" {
			kind, message = "Error", c.text
		}
		r.record(end, "tool_result", append(append([]any{"success", "false", "duration_ms", ms, "error_type", kind, "error", message}, attributes...), r.arguments(c)...)...)
		r.hook(end.Add(11*time.Millisecond), "PostToolUseFailure", values{"input.tool_name": tool, "input.tool_input": input, "input.tool_use_id": id,
			"input.error": quote(c.text), "input.duration_ms": ms})
		content(true, c.text)
		v["toolUseResult"] = quote("Error: " + c.text)
		what = "failed"
		if c.tool == "Bash" {
			what = "failed-shell"
		}
	default:
		r.record(decided, "tool_decision", append([]any{"decision", "accept", "source", source, "tool_source", toolSource(c), "permission_mode", r.mode}, attributes...)...)
		r.record(end, "tool_result", append(append([]any{"success", "true", "duration_ms", ms}, attributes...), r.arguments(c)...)...)
		r.hook(end.Add(11*time.Millisecond), "PostToolUse", values{"input.tool_name": tool, "input.tool_input": input, "input.tool_use_id": id,
			"input.tool_response": c.response, "input.duration_ms": ms})
		content(false, c.text)
		v["toolUseResult"] = c.response
		if c.tool == "Bash" {
			what = "shell"
		}
		if c.change != nil {
			c.change(r.session)
		}
	}
	v["permissionDecision"] = decision
	r.write(end.Add(5*time.Millisecond), what, v)
	r.judge(c)
	return end
}

func toolSource(c *step) string {
	if strings.HasPrefix(c.tool, "mcp__") {
		return "mcp"
	}
	return "builtin"
}

// named are the OTLP attributes that name a call.
func (r *run) named(c *step) []any {
	if parts := strings.Split(c.tool, "__"); len(parts) == 3 {
		return []any{"tool_name", "mcp_tool", "tool_parameters", obj("mcp_server_name", parts[1], "mcp_tool_name", parts[2])}
	}
	a := []any{"tool_name", c.tool}
	switch c.tool {
	case "Bash":
		command := gjson.Get(c.input, "command").Str
		first, _, _ := strings.Cut(command, " ")
		a = append(a, "tool_parameters", obj("bash_command", first, "full_command", command, "description", gjson.Get(c.input, "description").Str))
	case "Agent":
		a = append(a, "tool_parameters", obj("subagent_type", gjson.Get(c.input, "subagent_type").Str))
	}
	return a
}

// arguments are the attributes of what went in and out. Long values are cut as
// the client does it.
func (r *run) arguments(c *step) []any {
	var pairs []any
	gjson.Parse(c.input).ForEach(func(key, v gjson.Result) bool {
		if n := len([]rune(v.Str)); n > 512 {
			pairs = append(pairs, key.Str, string([]rune(v.Str)[:128])+fmt.Sprintf("…[%d chars]", n-128))
		} else {
			pairs = append(pairs, key.Str, raw(v.Raw))
		}
		return true
	})
	a := []any{"tool_input", obj(pairs...), "tool_input_size_bytes", strconv.Itoa(len(c.input))}
	if !c.failed {
		a = append(a, "tool_result_size_bytes", strconv.Itoa(len(c.text)))
	}
	return a
}

// delegate lets a subagent work, and returns how long its call took.
func (r *run) delegate(at time.Time, c *step) time.Duration {
	in := gjson.Parse(c.input)
	a := &run{session: r.session, agent: "a" + hex.EncodeToString(r.bytes(8)), kind: in.Get("subagent_type").Str, now: at.Add(60 * time.Millisecond), context: 6000, failures: map[string]failure{}}
	r.runs = append(r.runs, a)
	a.meta = obj("agentType", a.kind, "isBuiltIn", true, "description", in.Get("description").Str, "toolUseId", c.id, "spawnDepth", 1,
		"requestShape", map[bool]string{true: "background", false: "foreground"}[c.background], "requestNonInteractive", true, "model", r.model, "finished", true)
	a.hook(at.Add(40*time.Millisecond), "SubagentStart", values{})
	a.write(a.now, "prompt", values{"message.content": "[" + obj("type", "text", "text", in.Get("prompt").Str) + "]", "permissionMode": quote(r.mode), "turnPosition.turnIndex": "1"})
	c.work(a)
	a.now = a.now.Add(a.seconds(1, 4))
	a.answer(a.now, c.text, "end_turn")
	path := fmt.Sprintf("/home/%s/.claude/projects/%s/%s/subagents/agent-%s.jsonl", r.login, strings.ReplaceAll(r.cwd(), "/", "-"), r.id, a.agent)
	a.hook(a.now.Add(12*time.Millisecond), "SubagentStop", values{"input.agent_transcript_path": quote(path), "input.last_assistant_message": quote(c.text)})
	took := a.now.Sub(at) + 30*time.Millisecond
	v := values{"prompt": in.Get("prompt").Raw, "agentId": quote(a.agent), "agentType": quote(a.kind), "resolvedModel": quote(r.model), "description": in.Get("description").Raw}
	if c.background {
		note := fmt.Sprintf("<task-notification>\n<task-id>%s</task-id>\n<tool-use-id>%s</tool-use-id>\n<status>completed</status>\n<summary>Agent %q finished</summary>\n<result>%s</result>\n</task-notification>",
			a.agent, c.id, in.Get("description").Str, c.text)
		r.hook(a.now.Add(40*time.Millisecond), "UserPromptSubmit", values{"input.prompt": quote(note)})
		v["outputFile"], v["status"] = quote("/tmp/claude-1000/tasks/"+a.agent+".output"), `"async_launched"`
		c.response, c.text = r.templates["agent/launched"].fill(v), "Async agent launched successfully.\nagentId: "+a.agent
		return 20 * time.Millisecond
	}
	v["status"], v["content.1.text"] = `"completed"`, quote(c.text)
	v["totalDurationMs"], v["totalToolUseCount"] = strconv.FormatInt(took.Milliseconds(), 10), strconv.Itoa(a.steps)
	c.response = r.templates["agent/completed"].fill(v)
	return took
}

// judge notes what docs/detectors.md says of a call: the attempt that it is,
// and what it means for the tests.
func (r *run) judge(c *step) {
	failed := c.failed || c.refused != "" || c.invalid
	intent := r.intent(c)
	before, again := r.failures[intent]
	if again {
		r.label.Attempts = append(r.label.Attempts, Attempt{ToolUseID: c.id, Attempt: before.attempt + 1, RetryReason: before.reason})
	}
	delete(r.failures, intent)
	if failed {
		reason := "tool_error"
		switch {
		case c.refused == "hook":
			reason = "hook_blocked"
		case c.refused != "":
			reason = "permission_denied"
		case c.invalid:
			reason = "edit_mismatch"
		case c.outcome == "red":
			reason = "test_failed"
		}
		r.failures[intent] = failure{before.attempt + 1, reason}
	}
	if !failed && r.changesCode(c) {
		r.tests.changed, r.tests.ever = true, true
		for _, i := range r.tests.resolved { // by docs/detectors.md it may be open again
			r.settle(i, "")
		}
		r.tests.resolved = nil
	}
	if c.outcome != "" {
		r.tests.last, r.tests.lastOfTurn = c.outcome, c.outcome
		if c.outcome == "green" {
			r.tests.changed = false
			for _, i := range r.tests.open {
				r.settle(i, "resolved")
			}
			r.tests.resolved, r.tests.open = append(r.tests.resolved, r.tests.open...), nil
		}
	}
}

// intent is what a call tries to do.
func (r *run) intent(c *step) string {
	in := gjson.Parse(c.input)
	switch c.tool {
	case "Bash":
		return "Bash " + extraction.Command(in.Get("command").Str, r.cwd()).Target
	case "Read", "Edit", "Write", "NotebookEdit":
		return c.tool + " " + in.Get("file_path").Str + in.Get("notebook_path").Str
	}
	return c.tool + " " + c.input
}

func (r *run) changesCode(c *step) bool {
	var paths []string
	in := gjson.Parse(c.input)
	switch c.tool {
	case "Edit", "Write", "NotebookEdit":
		paths = []string{in.Get("file_path").Str + in.Get("notebook_path").Str}
	case "Bash":
		for _, w := range extraction.Command(in.Get("command").Str, r.cwd()).Writes {
			paths = append(paths, w.Path)
		}
		gjson.Get(c.response, "bashEditDiff.changedFiles").ForEach(func(_, p gjson.Result) bool {
			paths = append(paths, p.Str)
			return true
		})
	}
	return slices.ContainsFunc(paths, func(p string) bool {
		return !slices.Contains([]string{".md", ".txt", ".rst"}, filepath.Ext(p))
	})
}

// save writes the session's files.
func (s *session) save(dir string) error {
	files := map[string][]line{}
	if s.withHooks {
		files["hooks.ndjson"] = s.hooks
	}
	if s.withTranscript {
		base := filepath.Join("projects", strings.ReplaceAll(s.cwd(), "/", "-"), s.id)
		for _, r := range s.runs {
			name := base + ".jsonl"
			if r.agent != "" {
				name = filepath.Join(base, "subagents", "agent-"+r.agent)
				files[name+".meta.json"] = []line{{text: r.meta}}
				name += ".jsonl"
			}
			files[name] = r.lines
		}
	}
	if s.withOtlp {
		files["otlp-logs.ndjson"] = s.exports()
	}
	for name, lines := range files {
		slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
		var b strings.Builder
		for _, l := range lines {
			b.WriteString(l.text + "\n")
		}
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// exports packs the OTLP records into requests, as the client does it every
// five seconds.
func (s *session) exports() (requests []line) {
	slices.SortStableFunc(s.records, func(a, b line) int { return a.at.Compare(b.at) })
	for rest := s.records; len(rest) > 0; {
		due := rest[0].at.Add(5 * time.Second)
		n := 0
		var records []string
		for ; n < len(rest) && rest[n].at.Before(due); n++ {
			records = append(records, rest[n].text)
		}
		v := values{"received_at": quote(due.Format("2006-01-02T15:04:05.000000000Z")), "body.resourceLogs.0.scopeLogs.0.logRecords": "[" + strings.Join(records, ",") + "]"}
		s.place(v)
		requests = append(requests, line{due, s.templates["otlp/export"].fill(v)})
		rest = rest[n:]
	}
	return requests
}
