package redaction

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// scrubber scrubs the string fields of one record and notes whether one
// changed. A test holds the lists below against the schema.
type scrubber struct {
	login   string // of who runs this process
	name    string // of the event's user
	changed bool
}

func (c *scrubber) event(e *schemas.Event) {
	c.text(&e.Agent)
	c.text(&e.AgentVersion)
	c.text(&e.ErrorClass)
	c.text(&e.SessionId)
	c.text(&e.RootSessionId)
	c.text(&e.ParentSessionId)
	c.text(&e.PromptId)
	c.text(&e.AgentRunId)
	c.text(&e.ParentAgentRunId)
	c.text(&e.RequestId)
	c.text(&e.ToolUseId)
	c.text(&e.Host)
	c.text(&e.User)
	c.text(&e.Owner)
	c.text(&e.Team)
	c.text(&e.Repo)
	c.path(&e.Branch)
	c.text(&e.Ticket)
	c.text(&e.TaskId)
	c.text(&e.Workflow)
	c.text(&e.Skill)
	switch e.Body.Branch {
	case schemas.EventBodySession:
		c.session(&e.Body.Session)
	case schemas.EventBodyModel:
		c.model(&e.Body.Model)
	case schemas.EventBodyTool:
		c.tool(&e.Body.Tool)
	case schemas.EventBodyArtifact:
		c.artifact(&e.Body.Artifact)
	}
}

func (c *scrubber) session(b *schemas.SessionBody) {
	c.text(&b.Reason)
	c.text(&b.TextHash)
	c.text(&b.Command)
	c.text(&b.AgentType)
	c.path(&b.Path)
	c.text(&b.Claim)
}

func (c *scrubber) model(b *schemas.ModelBody) {
	c.text(&b.Model)
	c.text(&b.ModelRequested)
	c.text(&b.MessageId)
	c.text(&b.StopReason)
	c.text(&b.QuerySource)
	c.text(&b.Platform)
	c.text(&b.Speed)
	c.text(&b.ServiceTier)
	c.text(&b.InferenceGeo)
	c.text(&b.TextHash)
}

func (c *scrubber) tool(b *schemas.ToolBody) {
	c.text(&b.ToolName)
	c.path(&b.ToolTarget)
	c.text(&b.McpServer)
	c.text(&b.ArgumentsHash)
	c.text(&b.ResultHash)
	c.text(&b.CommandClass)
	c.text(&b.SecretClass)
	c.text(&b.PermissionMode)
	c.text(&b.ApprovalDecision)
	c.text(&b.ApprovalSource)
	c.text(&b.ApprovalReason)
	c.text(&b.AgentRunStarted)
	c.text(&b.ResultShape)
	c.text(&b.InstallSource)
}

func (c *scrubber) artifact(b *schemas.ArtifactBody) {
	c.path(&b.FilePath)
	c.text(&b.FileType)
	c.text(&b.Operation)
	c.text(&b.DiffHash)
	c.text(&b.ProtectedClass)
	c.text(&b.CommitId)
	c.text(&b.ChangeId)
	c.text(&b.TestTamper)
	c.text(&b.PatchId)
	c.text(&b.TargetBranch)
	c.text(&b.MergeCommitId)
	c.text(&b.Reverts)
	c.text(&b.Name)
}

func (c *scrubber) deadLetter(d *schemas.DeadLetter) {
	c.text(&d.Reason)
	c.text(&d.Detail)
	c.path(&d.Source)
	c.text(&d.Position)
	c.text(&d.Hash)
	c.text(&d.Org)
	c.text(&d.ProducerId)
	c.text(&d.SessionId)
}

// text scrubs a field.
func (c *scrubber) text(field *string) {
	if *field == "" || extraction.Plain(*field) {
		return
	}
	c.set(field, scrubbed(*field))
}

// path scrubs a field that is a path or a branch, which may name the user.
func (c *scrubber) path(field *string) {
	if *field == "" {
		return
	}
	c.text(field)
	c.set(field, extraction.HideLogin(extraction.HideLogin(*field, c.login), c.name))
}

func (c *scrubber) set(field *string, value string) {
	if value != *field {
		*field, c.changed = value, true
	}
}

// scrubbed is a text without secrets, home folders and characters that nobody
// can see.
func scrubbed(text string) string {
	return extraction.HideSecrets(extraction.HideHome(visible(text)))
}

// visible drops control characters, what is no UTF-8, and the marks that turn
// the direction of writing.
func visible(text string) string {
	hidden := func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029 || r == 0xFEFF
	}
	if utf8.ValidString(text) && strings.IndexFunc(text, hidden) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		if hidden(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}
