package claudecode

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// Call is one tool call, as its arguments tell it. It holds no text of theirs.
type Call struct {
	Id, Name string
	Skill    string
	Request  string

	place     extraction.Place
	target    string // path in the repository, or program and subcommand
	server    string // of an MCP tool
	hash      string // of the canonical arguments
	length    schemas.OptLong
	secret    string
	agentType string // of an Agent call
	content   content
	command   extraction.CommandFacts // of a Bash call
	writes    []extraction.Write      // of a call to an MCP server
	tamper    string                  // of an Edit call, by the texts that it replaces
}

// What is longer is no path, and no command that one can look into: calls are
// remembered until they end.
const (
	maxPath    = 4096
	maxCommand = 64<<10 + 1 // more than what extraction looks into
)

// content is the file that a Write call writes.
type content struct {
	hash  string
	lines int64
	blank bool // nothing but blanks
}

// Outcome is the end of a call, as its witness saw it.
type Outcome struct {
	Failed bool
	// Result is the tool's structured response (contract §2.4); it need not
	// exist, and a call that failed has none.
	Result gjson.Result
	// Text is the message of a call that failed, else the result as the model
	// got it, if the witness knows it.
	Text       string
	ErrorClass string // where the witness knows it; else it follows from Text
	Refused    bool   // it was not allowed to run
	Decision   Decision
	Duration   schemas.OptLong // ms
	Mode       string          // permission mode
}

// Decision is who let a call run, or did not.
type Decision struct{ Decision, Source, Reason string }

// NewCall reads a call's arguments, which may be any JSON. The call keeps
// little of the input, and nothing of its memory.
func (m *Maker) NewCall(s *Scene, id, name string, arguments gjson.Result) *Call {
	c := &Call{
		Id: strings.Clone(id), Name: strings.Clone(name),
		Skill: strings.Clone(s.Skill), Request: strings.Clone(s.Request), place: m.Place(s),
	}
	if arguments.Exists() {
		text := m.canonicalText(arguments)
		c.hash, c.length = extraction.ArgumentsHash(name, text), schemas.SomeLong(int64(len(text)))
	}
	target := ""
	switch name {
	case "Bash":
		command := arguments.Get("command").Str
		command = command[:min(len(command), maxCommand)]
		c.command = extraction.Command(strings.Clone(command), strings.Clone(s.Cwd))
		target = c.command.Target
	case "Agent", "Task":
		kind := arguments.Get("subagent_type")
		c.agentType, target = strings.Clone(Short(kind, 128)), Code(kind)
	case "Skill":
		target = Code(arguments.Get("skill"))
	default:
		for _, field := range []string{"file_path", "notebook_path", "path"} {
			if path := Short(arguments.Get(field), maxPath); path != "" {
				target = c.place.Path(path)
				break
			}
		}
		if rest, ok := strings.CutPrefix(c.Name, "mcp__"); ok {
			var tool string
			c.server, tool, _ = strings.Cut(rest, "__")
			target = ""
			c.writes = mcpWrites(tool, arguments)
		}
	}
	c.target = strings.Clone(target)
	if arguments.Exists() {
		c.secret = extraction.SecretClassIn(c.target, []byte(arguments.Raw))
	}
	switch name {
	case "Write":
		text := arguments.Get("content").Str
		c.content.hash, _ = Hash(text)
		c.content.lines, c.content.blank = linesOf(text), strings.TrimSpace(text) == ""
	case "Edit":
		c.tamper = extraction.TestTamperOf(c.target, arguments.Get("old_string").Str, arguments.Get("new_string").Str)
	}
	return c
}

// canonicalText is a value's canonical JSON, good until the next call.
func (m *Maker) canonicalText(v gjson.Result) []byte {
	b, err := extraction.Canonical(m.buffer[:0], []byte(v.Raw))
	if err != nil {
		return []byte(v.Raw)
	}
	m.buffer = b
	return b
}

// Started tells that a call was asked for.
func (m *Maker) Started(s *Scene, c *Call, mode string) error {
	m.call(s, c, mode)
	return m.Emit(c.Id)
}

// call begins the event of a call.
func (m *Maker) call(s *Scene, c *Call, mode string) *schemas.Event {
	e := m.Event(s, schemas.KindToolCall)
	e.ToolUseId = c.Id
	e.RequestId, e.Skill = c.Request, c.Skill
	e.Body.Tool = c.body(mode)
	return e
}

// body is what the arguments tell.
func (c *Call) body(mode string) schemas.ToolBody {
	return schemas.ToolBody{
		ToolName: c.Name, ToolTarget: c.target, McpServer: c.server,
		ArgumentsHash: c.hash, ArgumentsLength: c.length, SecretClass: c.secret,
		CommandClass: c.command.Class, PermissionMode: mode,
		Waits: c.command.Waits, InstallSource: c.command.InstallSource,
	}
}

// Approval tells that the user was asked for permission. The request names no
// call (contract §2.3), so its own time, tool and arguments name it.
func (m *Maker) Approval(s *Scene, c *Call, mode string) error {
	e := m.Event(s, schemas.KindApproval)
	e.Body.Tool = c.body(mode)
	return m.Emit(strconv.FormatInt(s.At, 10) + "/" + c.Name + "/" + c.hash)
}

// Ended tells the end of a call, and what it did to files, commits and tests.
func (m *Maker) Ended(s *Scene, c *Call, o *Outcome) error {
	r := responseOf(c, o)
	failed := o.Failed || r.interrupted
	e := m.call(s, c, o.Mode)
	t := &e.Body.Tool
	t.Done = true
	e.DurationMs = o.Duration
	e.Success = schemas.SomeBool(!failed)
	t.ApprovalDecision, t.ApprovalSource, t.ApprovalReason = o.Decision.Decision, o.Decision.Source, o.Decision.Reason
	if o.Failed {
		e.ErrorClass, t.ExitStatus = failure(o, c.Name)
		if t.ResultHash, t.ResultLength = Hash(o.Text); o.Text != "" {
			t.ResultShape = extraction.ResultShape([]byte(o.Text))
		}
	} else if o.Result.Exists() {
		b := m.canonicalText(o.Result)
		t.ResultHash, t.ResultLength = schemas.TextHash(b), schemas.SomeLong(int64(len(b)))
		t.ResultShape = extraction.ResultShape(b)
	}
	switch {
	case r.interrupted:
		e.ErrorClass = "interrupted"
	case r.background:
		t.Background = schemas.SomeBool(true)
	case c.Name == "Bash" && !failed:
		t.ExitStatus = schemas.SomeLong(0) // contract §2.4: success means 0
	}
	if t.SecretClass == "" {
		t.SecretClass = extraction.SecretClassIn(c.target, []byte(o.Result.Raw))
	}
	if t.SecretClass == "" && !o.Result.Exists() {
		t.SecretClass = extraction.SecretClassIn(c.target, []byte(o.Text))
	}
	t.AgentRunStarted = r.agent
	if err := m.Emit(c.Id); err != nil {
		return err
	}
	if r.agent != "" {
		if err := m.agentStarted(s, c, &r); err != nil {
			return err
		}
	}
	return m.artifacts(s, c, o, &r, failed)
}

// failure is the class of a failure and, of a shell command that ran, its exit
// status, which is only in the text (contract §2.3).
func failure(o *Outcome, tool string) (class string, exit schemas.OptLong) {
	if o.ErrorClass != "" || o.Refused {
		return o.ErrorClass, exit
	}
	if rest, ok := strings.CutPrefix(o.Text, "Exit code "); ok && tool == "Bash" {
		digits := rest
		if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
			digits = rest[:i]
		}
		if n, err := strconv.ParseInt(digits, 10, 32); err == nil {
			return "exit", schemas.SomeLong(n)
		}
	}
	return "error", exit
}

// FailureText is the message of a call that failed, without what one witness
// or the other wraps it in: "Error: " before it in transcripts, the tags of a
// failed validation in what the model gets. invalid tells those tags.
func FailureText(text string) (message string, invalid bool) {
	if inner, ok := strings.CutPrefix(text, "<tool_use_error>"); ok {
		text, invalid = strings.TrimSuffix(inner, "</tool_use_error>"), true
	}
	return strings.TrimPrefix(text, "Error: "), invalid
}

// agentStarted tells of the subagent run that an Agent call started.
func (m *Maker) agentStarted(s *Scene, c *Call, r *response) error {
	e := m.Event(s, schemas.KindSubagent)
	e.AgentRunId, e.ParentAgentRunId, e.ToolUseId = r.agent, s.Agent, c.Id
	e.Body.Session.AgentType = r.agentType
	if r.agentType == "" {
		e.Body.Session.AgentType = c.agentType
	}
	e.Body.Session.Background = schemas.SomeBool(r.background)
	if r.completed {
		e.Success = schemas.SomeBool(true)
		e.DurationMs = r.duration
	}
	return m.Emit(r.agent)
}
