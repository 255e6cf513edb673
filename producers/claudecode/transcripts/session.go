package transcripts

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/schemas"
)

// user reads a line of the user's side: a prompt, results of calls, or what
// the client itself put there.
func (r *reader) user(l *line) error {
	if l.summary {
		return r.summary(l)
	}
	content := l.message.Get("content")
	var results []gjson.Result
	if content.IsArray() {
		content.ForEach(func(_, block gjson.Result) bool {
			if block.Get("type").Str == "tool_result" {
				results = append(results, block)
			}
			return true
		})
	}
	for _, block := range results {
		if err := r.result(l, block, len(results) == 1); err != nil {
			return err
		}
	}
	if len(results) > 0 || l.meta || l.unseen || l.side || l.scene.Agent != "" {
		return nil
	}
	return r.prompt(l, claudecode.Text(content))
}

// prompt is an input that a person or a host gave. Outputs of local commands
// and notes of an interruption have the same form.
func (r *reader) prompt(l *line, text string) error {
	s := &l.scene
	if strings.HasPrefix(text, "[Request interrupted by user") {
		return r.turnFailed(l, "interrupted", "")
	}
	command, typed := commandOf(text)
	if command == "" && l.origin == "" && (strings.HasPrefix(text, "<local-command-") || strings.HasPrefix(text, "<bash-")) {
		return nil
	}
	if err := r.turnEnded(); err != nil {
		return err
	}
	if l.prompt == "" { // older clients
		s.Prompt = l.uuid
		claudecode.Remember(r.prompts, "", strings.Clone(l.uuid))
	}
	e := r.maker.Event(s, schemas.KindPrompt)
	b := &e.Body.Session
	b.Reason = l.origin
	if command != "" {
		text = typed
		if l.origin != "" {
			claudecode.Command(e, command)
		} else { // of the client itself: /model, /compact
			b.Reason, b.Command = "command", strings.TrimPrefix(command, "/")
		}
	}
	b.TextHash, b.TextLength = claudecode.Hash(text)
	return r.maker.Emit(s.Prompt)
}

// commandOf is a slash command and what the user typed, from the tags that the
// client writes instead; empty for another text.
func commandOf(text string) (name, typed string) {
	if !strings.HasPrefix(text, "<command-") {
		return "", ""
	}
	tag := func(name string) string {
		_, rest, _ := strings.Cut(text, "<"+name+">")
		inner, _, ok := strings.Cut(rest, "</"+name+">")
		if !ok {
			return ""
		}
		return inner
	}
	name = tag("command-name")
	return name, strings.TrimSpace(name + " " + tag("command-args"))
}

// turn is the answer to the running prompt, as far as it has come.
type turn struct {
	scene   claudecode.Scene
	text    string // hash of the assistant's last text
	length  schemas.OptLong
	claim   string
	last    bool // the model has ended its turn
	blocked bool // a Stop hook has sent it back
}

// turnEnded tells that the turn has ended as Stop does: by the last message
// of the assistant (recording stop-reasons: not by what was said before it).
func (r *reader) turnEnded() error {
	t := r.turn
	if r.run != nil {
		return nil
	}
	r.turn = turn{}
	if !t.last {
		return nil
	}
	return r.endOf(&t, schemas.OptLong{})
}

func (r *reader) endOf(t *turn, duration schemas.OptLong) error {
	e := r.maker.Event(&t.scene, schemas.KindTurnEnd)
	e.Success = schemas.SomeBool(true)
	e.DurationMs = duration
	b := &e.Body.Session
	b.TextHash, b.TextLength, b.Claim = t.text, t.length, t.claim
	return r.maker.Emit(t.scene.Prompt + "/" + t.scene.Agent)
}

// turnFailed tells that the turn has ended without an answer. A subagent's run
// has no turns.
func (r *reader) turnFailed(l *line, class, text string) error {
	if r.run != nil {
		return nil
	}
	r.turn = turn{}
	e := r.maker.Event(&l.scene, schemas.KindTurnEnd)
	e.Success = schemas.SomeBool(false)
	e.ErrorClass = class
	e.Body.Session.TextHash, e.Body.Session.TextLength = claudecode.Hash(text)
	return r.maker.Emit(l.scene.Prompt + "/" + l.scene.Agent)
}

func (r *reader) system(l *line) error {
	switch l.subtype {
	case "stop_hook_summary":
		if r.turn.blocked {
			r.turn = turn{}
			return nil
		}
		if l.scene.Branch != "" { // the client looks at the branch anew when a turn ends (recording pull-request)
			r.turn.scene.Branch = l.scene.Branch
		}
		return r.turnEnded()
	case "turn_duration":
		if r.run != nil {
			return nil
		}
		t := turn{scene: l.scene}
		return r.endOf(&t, claudecode.Count(l.duration))
	case "api_error":
		return r.retry(l)
	case "compact_boundary":
		if r.boundary != nil {
			if err := r.compacted(r.boundary, ""); err != nil {
				return err
			}
		}
		r.boundary = l
	}
	return nil
}

// summary is the line after a compaction's boundary. It bears the prompt that
// the compaction belongs to, which names it as it does in hooks.
func (r *reader) summary(l *line) error {
	b := r.boundary
	if b == nil {
		return nil
	}
	r.boundary = nil
	return r.compacted(b, l.prompt)
}

func (r *reader) compacted(l *line, prompt string) error {
	id := prompt
	if id == "" {
		id = l.uuid
	} else {
		l.scene.Prompt = prompt
	}
	e := r.maker.Event(&l.scene, schemas.KindCompaction)
	e.DurationMs = claudecode.Count(l.compaction.Get("durationMs"))
	e.Success = schemas.SomeBool(true)
	b := &e.Body.Session
	b.Reason = claudecode.Code(l.compaction.Get("trigger"))
	b.TokensBefore = claudecode.Count(l.compaction.Get("preTokens"))
	b.TokensAfter = claudecode.Count(l.compaction.Get("postTokens"))
	return r.maker.Emit(id)
}

func (r *reader) attachment(l *line) error {
	switch a := l.attachment; a.Get("type").Str {
	case "hook_blocking_error":
		r.turn.blocked = r.turn.blocked || a.Get("hookEvent").Str == "Stop"
	case "max_turns_reached":
		return r.turnFailed(l, "max_turns", "")
	}
	return nil
}

func (r *reader) pullRequest(l *line) error {
	id := claudecode.ChangeID(l.link)
	if id == "" {
		return nil
	}
	e := r.maker.Event(&l.scene, schemas.KindPullRequest)
	e.Success = schemas.SomeBool(true)
	e.Body.Artifact.ChangeId = id
	return r.maker.Emit(id)
}
