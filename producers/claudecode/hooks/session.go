package hooks

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// event makes the events of one payload. Hooks that tell of no fact, and hooks
// that are not known, make none.
func (r *Reader) event(s *session, p *payload) error {
	switch p.name {
	case "PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "PermissionRequest", "PermissionDenied", "Stop":
		r.running(s, p)
	}
	when := strconv.FormatInt(p.At, 10)
	switch p.name {
	case "SessionStart":
		source := p.code("source")
		if source == "startup" || source == "clear" {
			p.Root = p.Session
		}
		r.begin(p, schemas.KindSessionStart).Reason = source
		return r.maker.Emit(when + "/" + source)
	case "SessionEnd":
		r.begin(p, schemas.KindSessionEnd).Reason = p.code("reason")
		return r.maker.Emit("end")
	case "UserPromptSubmit":
		return r.prompt(s, p)
	case "UserPromptExpansion":
		return r.command(s, p)
	case "Stop", "StopFailure":
		e := r.maker.Event(&p.Scene, schemas.KindTurnEnd)
		e.Success = schemas.SomeBool(p.name == "Stop")
		e.ErrorClass = p.code("error")
		hash(&e.Body.Session, p.text("last_assistant_message"))
		if p.name == "Stop" && p.Agent == "" {
			e.Body.Session.Claim = extraction.Claim(p.text("last_assistant_message"))
		}
		return r.maker.Emit(cmp.Or(p.Prompt, when) + "/" + p.Agent)
	case "SubagentStart", "SubagentStop":
		return r.subagent(p)
	case "PreCompact", "PostCompact":
		e := r.maker.Event(&p.Scene, schemas.KindCompaction)
		e.Body.Session.Reason = p.code("trigger")
		if p.name == "PostCompact" {
			e.Success = schemas.SomeBool(true)
		}
		return r.maker.Emit(cmp.Or(p.Prompt, when))
	case "ConfigChange":
		source := p.code("source")
		path := p.text("file_path")
		if path != "" {
			path = r.maker.Place(&p.Scene).Path(path)
		}
		b := r.begin(p, schemas.KindConfigChange)
		b.Reason, b.Path = source, path
		return r.maker.Emit(when + "/" + source + "/" + path)
	case "Notification":
		kind := p.code("notification_type")
		r.begin(p, schemas.KindNotification).Reason = kind
		return r.maker.Emit(when + "/" + kind)
	}
	return r.tool(p)
}

func (r *Reader) begin(p *payload, kind schemas.Kind) *schemas.SessionBody {
	return &r.maker.Event(&p.Scene, kind).Body.Session
}

func hash(b *schemas.SessionBody, text string) {
	b.TextHash, b.TextLength = claudecode.Hash(text)
}

// running remembers the prompt that a session's main thread works on; a
// subagent may still work for an earlier one (contract §1).
func (r *Reader) running(s *session, p *payload) {
	if p.Prompt != "" && p.Agent == "" {
		s.prompt = strings.Clone(p.Prompt)
	}
}

// prompt is what UserPromptSubmit tells. It also fires for task notifications:
// one that wakes an idle session is a prompt of its own, one in the middle of a
// turn bears the id of the running prompt (contract §1) and must not speak for
// that prompt, so it makes no event. When the Reader does not know which it is,
// the event says no more than that there is a prompt.
func (r *Reader) prompt(s *session, p *payload) error {
	text := p.text("prompt")
	notification := strings.HasPrefix(text, "<task-notification>")
	if notification && p.Prompt == s.prompt {
		return nil
	}
	known := s.prompt != ""
	r.running(s, p)
	if strings.HasPrefix(text, "/") {
		p.Entrypoint = "" // perhaps a command: UserPromptExpansion tells the workflow
	}
	b := r.begin(p, schemas.KindPrompt)
	switch {
	case !notification:
		hash(b, text)
	case known:
		hash(b, text)
		b.Reason = "task_notification"
	}
	return r.maker.Emit(cmp.Or(p.Prompt, strconv.FormatInt(p.At, 10)))
}

// command is a prompt that is a slash command, by its name. It comes beside
// UserPromptSubmit, in no fixed order.
func (r *Reader) command(s *session, p *payload) error {
	r.running(s, p)
	e := r.maker.Event(&p.Scene, schemas.KindPrompt)
	claudecode.Command(e, claudecode.Short(p.fields["command_name"], 256))
	hash(&e.Body.Session, p.text("prompt"))
	return r.maker.Emit(cmp.Or(p.Prompt, strconv.FormatInt(p.At, 10)))
}

// subagent is a run's start or end. A run without a type is the client's own
// fork that writes a compaction's summary (contract §2.3).
func (r *Reader) subagent(p *payload) error {
	if p.text("agent_type") == "" {
		return nil
	}
	run, err := claudecode.Need(p.fields["agent_id"], "agent_id")
	if err != nil {
		return err
	}
	e := r.maker.Event(&p.Scene, schemas.KindSubagent)
	b := &e.Body.Session
	b.AgentType = claudecode.Short(p.fields["agent_type"], 128)
	if p.name == "SubagentStop" {
		e.Success = schemas.SomeBool(true)
		hash(b, p.text("last_assistant_message"))
	}
	return r.maker.Emit(run)
}
