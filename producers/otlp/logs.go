package otlp

import (
	"strings"
	"unicode/utf16"

	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// logEvents are the log events that facts are made of (contract §4.3).
// skill_activated says nothing that the requests under the skill do not say.
var logEvents = map[string]func(*Reader, *record){
	"user_prompt":             (*Reader).prompt,
	"api_request":             (*Reader).apiRequest,
	"api_refusal":             (*Reader).apiRefusal,
	"api_error":               (*Reader).apiError,
	"api_retries_exhausted":   (*Reader).apiError,
	"tool_decision":           (*Reader).toolDecision,
	"tool_result":             (*Reader).toolResult,
	"permission_mode_changed": (*Reader).modeChanged,
	"compaction":              (*Reader).compaction,
	"subagent_completed":      (*Reader).subagent,
}

// add begins an event of a record: all that every kind has.
func (r *Reader) add(rec *record, kind schemas.Kind, branch schemas.EventBodyBranch, id string) *schemas.Event {
	m := &r.made[r.n]
	r.n++
	m.id = id
	m.event = schemas.Event{
		Kind:             kind,
		Witness:          schemas.WitnessOtlp,
		Signal:           rec.signal,
		Agent:            "claude-code",
		AgentVersion:     rec.text("service.version"),
		OccurredAt:       rec.at,
		SessionId:        rec.text("session.id"),
		PromptId:         rec.text("prompt.id"),
		AgentRunId:       rec.text("agent_id"),
		ParentAgentRunId: rec.text("parent_agent_id"),
		RequestId:        rec.text("request_id"),
		ToolUseId:        rec.text("tool_use_id"),
		Host:             rec.text("host.name"),
		Team:             rec.text("team"),
		Repo:             extraction.RepoName(rec.text("vcs.repository.url.full")),
		Skill:            rec.text("skill.name"),
		Body:             schemas.EventBody{Branch: branch},
	}
	e := &m.event
	if e.Team == "" { // the name in the vendor's own example
		e.Team = rec.text("team.id")
	}
	// user.id is no person but an installation (contract §1).
	if managed := rec.text("enduser.id"); managed != "" {
		e.User, e.UserSource, e.Owner = managed, schemas.UserSourceManaged, managed
	} else if email := rec.text("user.email"); email != "" {
		e.User, e.UserSource = email, schemas.UserSourceOtlpEmail
	}
	if e.Skill != "" {
		e.Workflow, e.WorkflowSource = e.Skill, schemas.WorkflowSourceCommand
	} else if entrypoint := rec.text("app.entrypoint"); entrypoint != "" {
		e.Workflow, e.WorkflowSource = entrypoint, schemas.WorkflowSourceEntrypoint
	}
	return e
}

// redacted stands for a prompt's text unless OTEL_LOG_USER_PROMPTS is set
// (contract §4.1).
const redacted = "<REDACTED>"

func (r *Reader) prompt(rec *record) {
	e := r.add(rec, schemas.KindPrompt, schemas.EventBodySession, rec.identity("prompt.id"))
	b := &e.Body.Session
	prompt, length := rec.text("prompt"), rec.count("prompt_length")
	// prompt_length counts UTF-16 units; a text of another length was cut. Of a
	// text that is not here it stands for the length in bytes, which is never
	// less.
	b.TextLength = length
	if prompt != redacted && (!length.Valid || length.Value == utf16Length(prompt)) {
		b.TextHash = schemas.TextHash([]byte(prompt))
		b.TextLength = schemas.SomeLong(int64(len(prompt)))
	}
	b.Command = rec.text("command_name")
	switch source := rec.text("command_source"); {
	case source == "builtin": // /model, /compact, /exit: no hook tells of them
		b.Reason = "command"
	case b.Command != "":
		e.Workflow, e.WorkflowSource = b.Command, schemas.WorkflowSourceCommand
	case strings.HasPrefix(prompt, "<task-notification>"):
		b.Reason = "task_notification"
	}
}

func utf16Length(s string) (n int64) {
	for _, c := range s {
		n += int64(utf16.RuneLen(c))
	}
	return n
}

func (r *Reader) apiRequest(rec *record) {
	e := r.add(rec, schemas.KindModelRequest, schemas.EventBodyModel, rec.identity("request_id"))
	e.Success = schemas.SomeBool(true)
	e.DurationMs = rec.duration("duration_ms") // of the last attempt; the span has the whole time
	b := &e.Body.Model
	fillModel(b, rec)
	fillTokens(b, rec)
	b.QuerySource = rec.text("query_source")
	b.CostClientUsd = rec.double("cost_usd")
}

func (r *Reader) apiRefusal(rec *record) {
	e := r.add(rec, schemas.KindModelRequest, schemas.EventBodyModel, rec.identity("request_id"))
	b := &e.Body.Model
	fillModel(b, rec)
	b.QuerySource = rec.text("query_source")
	b.StopReason = "refusal"
}

// apiError reads api_error and api_retries_exhausted: two records of the one
// failure that the client gives up on. A prompt has at most one.
func (r *Reader) apiError(rec *record) {
	e := r.add(rec, schemas.KindModelError, schemas.EventBodyModel, rec.identity("prompt.id"))
	e.Success = schemas.SomeBool(false)
	b := &e.Body.Model
	fillModel(b, rec)
	b.QuerySource = rec.text("query_source")
	b.StatusCode = rec.count("status_code")
	if !b.StatusCode.Valid {
		b.StatusCode = statusIn(rec.text("error"))
	}
	e.ErrorClass = errorClass(b.StatusCode)
	if rec.name == "api_retries_exhausted" {
		b.Attempt = rec.count("total_attempts")
		return
	}
	b.Attempt = rec.count("attempt")
	e.DurationMs = rec.duration("duration_ms")
}

// statusIn finds an HTTP status in the text of an error: a client that gave up
// on repeated answers says "Repeated 529 Overloaded errors" and sends no
// status_code.
func statusIn(text string) schemas.OptLong {
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return c < '0' || c > '9' }) {
		if len(word) == 3 && (word[0] == '4' || word[0] == '5') {
			return schemas.SomeLong(int64(word[0]-'0')*100 + int64(word[1]-'0')*10 + int64(word[2]-'0'))
		}
	}
	return schemas.OptLong{}
}

// errorClass is the client's own word for a failed request: StopFailure's
// error (contract §2.3). Repeated 529 is a server_error there.
func errorClass(status schemas.OptLong) string {
	switch {
	case !status.Valid:
		return "unknown"
	case status.Value == 429:
		return "rate_limit"
	case status.Value == 401 || status.Value == 403:
		return "authentication_failed"
	case status.Value == 404:
		return "model_not_found"
	case status.Value >= 500:
		return "server_error"
	}
	return "invalid_request"
}

// modeChanged makes a change of the permission mode a config_change whose
// reason is the new mode: a switch to bypassPermissions is critical.
func (r *Reader) modeChanged(rec *record) {
	e := r.add(rec, schemas.KindConfigChange, schemas.EventBodySession, rec.ownIdentity())
	e.Body.Session.Reason = rec.text("to_mode")
}

func (r *Reader) compaction(rec *record) {
	e := r.add(rec, schemas.KindCompaction, schemas.EventBodySession, rec.identity("prompt.id"))
	e.Success = rec.boolean("success")
	e.DurationMs = rec.duration("duration_ms")
	e.Body.Session = schemas.SessionBody{
		Reason:       rec.text("trigger"),
		TokensBefore: rec.count("pre_tokens"),
		TokensAfter:  rec.count("post_tokens"),
	}
}

// subagent leaves total_tokens out: it is the size of the last request, not a
// sum (contract §6).
func (r *Reader) subagent(rec *record) {
	e := r.add(rec, schemas.KindSubagent, schemas.EventBodySession, rec.identity("agent_id"))
	e.DurationMs = rec.duration("duration_ms")
	e.Body.Session = schemas.SessionBody{
		AgentType:  rec.text("agent_type"),
		Background: rec.boolean("is_async"),
	}
}

// fillModel reads what log records and spans say of a request in the same
// words.
func fillModel(b *schemas.ModelBody, rec *record) {
	b.Model = rec.text("model")
	b.Platform = rec.text("anthropic.provider")
	if b.Speed = rec.text("speed"); b.Speed == "normal" { // what was asked for
		b.Speed = "standard"
	}
	b.Attempt = rec.count("attempt")
}

// fillTokens reads the disjoint classes of tokens. Cache writes are split by
// lifetime where both parts are there and make up the whole.
func fillTokens(b *schemas.ModelBody, rec *record) {
	b.TokenInput = rec.count("input_tokens")
	b.TokenOutput = rec.count("output_tokens")
	b.TokenCacheRead = rec.count("cache_read_tokens")
	whole := rec.count("cache_creation_tokens")
	short, hour := rec.count("cache_creation_5m_tokens"), rec.count("cache_creation_1h_tokens")
	if short.Valid && hour.Valid && (!whole.Valid || short.Value+hour.Value == whole.Value) {
		b.TokenCacheWrite5m, b.TokenCacheWrite1h = short, hour
	} else {
		b.TokenCacheWrite = whole
	}
}
