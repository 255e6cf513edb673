package otlp

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// A call is what a record says of the tool that was called. With
// OTEL_LOG_TOOL_DETAILS off it is hardly more than the tool's name.
type call struct {
	tool, server string
	target       string // as hooks and transcripts name it
	path         string // of the file that the call is about
	command      string // of a shell
	facts        extraction.CommandFacts
	input        string // arguments as JSON; values may be cut
	secret       string // class of one in the arguments
	background   bool
	commit       string // git's id of the commit that the command made
	branch       string // that it is on
}

// calledByLog reads tool_decision and tool_result.
func calledByLog(rec *record) *call {
	parameters, input := parse(rec.text("tool_parameters")), parse(rec.text("tool_input"))
	c := &call{
		tool:       rec.text("tool_name"),
		input:      rec.text("tool_input"),
		background: input.Get("run_in_background").Bool(),
		commit:     rec.text("vcs.ref.head.revision"),
		branch:     parameters.Get("git_branch").Str,
	}
	if c.commit == "" {
		c.commit = parameters.Get("git_commit_id").Str
	}
	if rec.text("vcs.ref.head.type") == "branch" {
		c.branch = rec.text("vcs.ref.head.name")
	}
	switch c.tool {
	case "Bash":
		c.setCommand(parameters.Get("full_command").Str)
	case "Agent":
		c.target = parameters.Get("subagent_type").Str
	case "Skill":
		c.target = parameters.Get("skill_name").Str
	case "mcp_tool": // all MCP calls; their names are details
		c.tool = ""
		c.server = parameters.Get("mcp_server_name").Str
		if tool := parameters.Get("mcp_tool_name").Str; tool != "" && c.server != "" {
			c.tool = "mcp__" + c.server + "__" + tool
		}
	default:
		for _, field := range []string{"file_path", "notebook_path", "path"} {
			c.setPath(input.Get(field).Str)
		}
	}
	if c.secret == "" {
		c.secret = extraction.SecretClassIn(c.path, []byte(c.input))
	}
	return c
}

// calledBySpan reads the tool span.
func calledBySpan(rec *record) *call {
	c := &call{tool: rec.text("tool_name"), server: rec.text("anthropic.mcp.server.name")}
	switch c.tool {
	case "Bash":
		c.setCommand(rec.text("full_command"))
	case "Agent":
		c.target = rec.text("subagent_type")
	case "Skill":
		c.target = rec.text("skill_name")
	default:
		c.setPath(rec.text("file_path"))
	}
	return c
}

// parse reads the JSON in a string attribute; nothing where there is none, or
// where a cut has made it something else.
func parse(text string) gjson.Result {
	if text == "" || checkJSON(text) != nil {
		return gjson.Result{}
	}
	return gjson.Parse(text)
}

// cutMark begins the end of a value that the client has cut: "…[39556 chars]".
const cutMark = "…["

func (c *call) setPath(path string) {
	if c.path == "" && path != "" && !strings.Contains(path, cutMark) {
		c.path = extraction.Place{}.Path(path)
		c.target = c.path
	}
}

func (c *call) setCommand(command string) {
	if command != "" {
		c.command = command
		c.facts = extraction.Command(command, "")
		c.target = c.facts.Target
		if c.secret == "" { // the input may be cut, or not there
			c.secret = extraction.SecretClass([]byte(command))
		}
	}
}

func (c *call) fill(b *schemas.ToolBody) {
	b.ToolName = c.tool
	b.ToolTarget = c.target
	b.McpServer = c.server
	b.CommandClass = c.facts.Class
	b.Waits, b.InstallSource = c.facts.Waits, c.facts.InstallSource
	b.SecretClass = c.secret
}

func (r *Reader) toolDecision(rec *record) {
	e := r.add(rec, schemas.KindToolCall, schemas.EventBodyTool, rec.identity("tool_use_id"))
	b := &e.Body.Tool
	calledByLog(rec).fill(b)
	b.PermissionMode = rec.text("permission_mode")
	b.ApprovalDecision = rec.text("decision")
	b.ApprovalSource = rec.text("source")
	// The classifier of mode auto decides as "config"; hooks and transcripts
	// call it by its name.
	if verdict := rec.text("classifier_verdict"); verdict != "" {
		b.ApprovalSource = "classifier"
		b.ApprovalReason = "classifier:auto-mode:" + verdict
	}
	if b.ApprovalDecision == "reject" { // there will be no tool_result
		e.Success = schemas.SomeBool(false)
		e.ErrorClass = "denied"
		b.Done = true
	}
}

func (r *Reader) toolResult(rec *record) {
	e := r.add(rec, schemas.KindToolCall, schemas.EventBodyTool, rec.identity("tool_use_id"))
	c := calledByLog(rec)
	e.Success = rec.boolean("success")
	e.ErrorClass = rec.text("error_type")
	e.DurationMs = rec.duration("duration_ms")
	b := &e.Body.Tool
	c.fill(b)
	b.ArgumentsLength = rec.count("tool_input_size_bytes")
	b.ResultLength = rec.count("tool_result_size_bytes")
	if whole := c.arguments(b.ArgumentsLength); whole != nil { // as hooks and transcripts count them
		b.ArgumentsHash = extraction.ArgumentsHash(c.tool, whole)
		b.ArgumentsLength = schemas.SomeLong(int64(len(whole)))
	}
	b.ApprovalDecision = rec.text("decision_type")
	b.ApprovalSource = rec.text("decision_source")
	b.Done = true
	worked := e.Success.Value
	switch {
	case c.background:
		b.Background = schemas.SomeBool(true)
	case c.tool == "Bash" && worked: // no exit status is sent; a success is 0
		b.ExitStatus = schemas.SomeLong(0)
	}
	r.commit(rec, c)
	if worked {
		r.fileChange(rec, c, "")
	}
	if e.Success.Valid && !c.background {
		r.testRun(rec, c, "", !worked)
	}
}

// arguments are the canonical arguments of a call if nothing of them was cut:
// values over 512 characters, and all of it over about 4 kB (contract §4.3).
func (c *call) arguments(size schemas.OptLong) []byte {
	if c.input == "" || strings.Contains(c.input, cutMark) || size.Valid && size.Value > int64(len(c.input)) {
		return nil
	}
	whole, err := extraction.Canonical(nil, []byte(c.input))
	if err != nil {
		return nil
	}
	return whole
}

// addMade adds an event of something that a call made.
func (r *Reader) addMade(rec *record, kind schemas.Kind, id string) (*schemas.Event, *schemas.ArtifactBody) {
	e := r.add(rec, kind, schemas.EventBodyArtifact, id)
	return e, &e.Body.Artifact
}

// fileChange adds the change of the file that an editing tool was called for.
// patch is the client's own, as JSON; without it the lines are not known, and
// neither is whether Write made the file or replaced it.
func (r *Reader) fileChange(rec *record, c *call, patch string) {
	switch c.tool {
	case "Edit", "MultiEdit", "Write", "NotebookEdit":
	default:
		return
	}
	if c.path == "" {
		return
	}
	e, b := r.addMade(rec, schemas.KindFileChange, rec.identity("tool_use_id"))
	e.Success = schemas.SomeBool(true)
	b.FilePath = c.path
	b.FileType = extraction.FileType(c.path)
	b.ProtectedClass = extraction.ProtectedClass(c.path)
	if c.tool != "Write" {
		b.Operation = "update"
	}
	if patch == "" {
		return
	}
	if added, removed, ok := extraction.PatchLines([]byte(patch)); ok {
		b.LinesAdded, b.LinesRemoved = schemas.SomeLong(added), schemas.SomeLong(removed)
		b.DiffHash = extraction.HashJSON([]byte(patch))
		b.ChangeGrade = schemas.ChangeGradeExact
	}
}

// testRun adds the test run that a shell command was, if its outcome is known:
// from the output, else from the exit status where that is the tests' own.
func (r *Reader) testRun(rec *record, c *call, output string, failed bool) {
	if !c.facts.Test {
		return
	}
	outcome, passes, failures := extraction.TestRun(output, failed)
	other, _, _ := extraction.TestRun(output, !failed)
	if outcome == schemas.TestOutcomeUnknown || outcome != other && !statusTells(c.command) {
		return
	}
	e, b := r.addMade(rec, schemas.KindTestRun, rec.identity("tool_use_id"))
	if rec.signal == schemas.SignalLog { // a span's counts the wait for the user as well
		e.DurationMs = rec.duration("duration_ms")
	}
	e.Success = schemas.SomeBool(outcome == schemas.TestOutcomePassed)
	b.TestOutcome, b.TestsPassed, b.TestsFailed = outcome, passes, failures
}

// statusTells tells whether a command that tests fails with its tests: it is
// one command or a chain of && ("npm test | tail" always works, contract §6).
func statusTells(command string) bool {
	rest := strings.NewReplacer("&&", "", "2>&1", "").Replace(strings.TrimSpace(command))
	return !strings.ContainsAny(rest, "|;&\n")
}

// commit adds the commit that a shell command made, and gives its branch to
// the call's own event.
func (r *Reader) commit(rec *record, c *call) {
	id := strings.ToLower(c.commit)
	if len(id) < shortCommit || !isHex(id) {
		return
	}
	e, b := r.addMade(rec, schemas.KindCommit, id[:shortCommit])
	e.Success = schemas.SomeBool(true)
	b.CommitId = id
	onBranch(e, c.branch)
	onBranch(&r.made[0].event, c.branch)
}

func onBranch(e *schemas.Event, branch string) {
	e.Branch = branch
	e.Ticket = extraction.Ticket(branch)
	if e.WorkKind = extraction.WorkKind(branch); e.WorkKind != schemas.WorkKindUnknown {
		e.WorkKindSource = schemas.WorkKindSourceBranchPrefix
	}
}

// shortCommit is how much of a commit's id names its fact: see the package.
const shortCommit = 7
