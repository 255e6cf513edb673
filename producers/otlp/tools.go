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
	path         string // of the file that Read, Edit, Write or NotebookEdit is about
	command      string // of a shell
	facts        extraction.CommandFacts
	background   bool
	input        string // arguments as JSON; values may be cut
	parameters   gjson.Result
}

// calledByLog reads tool_decision and tool_result.
func calledByLog(rec *record) *call {
	c := &call{tool: rec.text("tool_name"), input: rec.text("tool_input")}
	c.parameters = parse(rec.text("tool_parameters"))
	input := parse(c.input)
	c.background = input.Get("run_in_background").Bool()
	c.setPath(input.Get("file_path").Str)
	c.setPath(input.Get("notebook_path").Str)
	c.setCommand(c.parameters.Get("full_command").Str)
	// MCP calls are all mcp_tool here; their names are details.
	if c.tool == "mcp_tool" {
		c.tool = ""
		c.server = c.parameters.Get("mcp_server_name").Str
		if tool := c.parameters.Get("mcp_tool_name").Str; tool != "" && c.server != "" {
			c.tool = "mcp__" + c.server + "__" + tool
		}
	}
	return c
}

// calledBySpan reads the tool span.
func calledBySpan(rec *record) *call {
	c := &call{tool: rec.text("tool_name")}
	c.setPath(rec.text("file_path"))
	c.setCommand(rec.text("full_command"))
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
	if path != "" && !strings.Contains(path, cutMark) {
		c.path = extraction.Place{}.Path(path)
	}
}

func (c *call) setCommand(command string) {
	if command != "" {
		c.command = command
		c.facts = extraction.Command(command, "")
	}
}

func (c *call) fill(b *schemas.ToolBody) {
	b.ToolName = c.tool
	b.McpServer = c.server
	b.ToolTarget = c.path
	if c.command != "" {
		b.ToolTarget = c.facts.Target
		b.CommandClass = c.facts.Class
	}
}

func (r *Reader) toolDecision(rec *record) {
	e := r.add(rec, schemas.KindToolCall, schemas.EventBodyTool, rec.identity("tool_use_id"))
	b := &e.Body.Tool
	calledByLog(rec).fill(b)
	b.PermissionMode = rec.text("permission_mode")
	b.ApprovalDecision = rec.text("decision")
	b.ApprovalSource = rec.text("source")
	if verdict := rec.text("classifier_verdict"); verdict != "" {
		b.ApprovalReason = "classifier:" + verdict
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
	if c.inputWhole(b.ArgumentsLength) {
		b.ArgumentsHash = extraction.HashJSON([]byte(c.input))
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

// inputWhole tells whether nothing of the arguments was cut: values over 512
// characters, and all of it over about 4 kB (contract §4.3).
func (c *call) inputWhole(size schemas.OptLong) bool {
	return c.input != "" && !strings.Contains(c.input, cutMark) &&
		(!size.Valid || size.Value <= int64(len(c.input))) && checkJSON(c.input) == nil
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
	if c.path == "" || c.tool != "Edit" && c.tool != "Write" && c.tool != "NotebookEdit" {
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
	if other, _, _ := extraction.TestRun(output, !failed); outcome != other && !statusTells(c.command) {
		return
	}
	e, b := r.addMade(rec, schemas.KindTestRun, rec.identity("tool_use_id"))
	e.Success = schemas.SomeBool(outcome == schemas.TestOutcomePassed)
	b.TestOutcome, b.TestsPassed, b.TestsFailed = outcome, passes, failures
}

// statusTells tells whether a command that tests fails with its tests: it is
// one command or a chain of && ("npm test | tail" always works, contract §6).
func statusTells(command string) bool {
	rest := strings.NewReplacer("&&", "", "2>&1", "").Replace(strings.TrimSpace(command))
	return !strings.ContainsAny(rest, "|;&\n")
}

// commit adds the commit that a shell command made, and gives the branch to
// the call's own event.
func (r *Reader) commit(rec *record, c *call) {
	id := rec.text("vcs.ref.head.revision")
	if id == "" {
		id = c.parameters.Get("git_commit_id").Str
	}
	id = strings.ToLower(id)
	if len(id) < shortCommit || !isHex(id) {
		return
	}
	branch := c.parameters.Get("git_branch").Str
	if rec.text("vcs.ref.head.type") == "branch" {
		branch = rec.text("vcs.ref.head.name")
	}
	e, b := r.addMade(rec, schemas.KindCommit, id[:shortCommit])
	e.Success = schemas.SomeBool(true)
	b.CommitId = id
	for _, e := range []*schemas.Event{&r.made[0].event, e} {
		e.Branch = branch
		e.Ticket = extraction.Ticket(branch)
		if e.WorkKind = extraction.WorkKind(branch); e.WorkKind != schemas.WorkKindUnknown {
			e.WorkKindSource = schemas.WorkKindSourceBranchPrefix
		}
	}
}

// shortCommit is how much of a commit's id names its fact: see the package.
const shortCommit = 7
