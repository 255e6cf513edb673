// Package hooks reads what Claude Code tells its hooks (contract §2) as
// events.
//
// Hooks carry neither time nor version: both come from the handler that
// recorded them. What a single payload cannot tell, the Reader remembers of
// the payloads before it: the running prompt of a session, which calls are
// open, and what another handler of the same hook has told already. A Reader
// that starts in the middle says less, and never anything else.
package hooks

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// Reader makes events of hook payloads. It is used by one goroutine.
type Reader struct {
	maker    *claudecode.Maker
	sessions map[string]*session
	calls    map[string]*call // open calls by tool_use_id
	told     map[uint64]*telling
	seed     maphash.Seed
}

// session is what the Reader remembers of a session.
type session struct {
	prompt              string // the running one
	version, entrypoint string // of the client
}

// call is a call that PreToolUse has told of and PostToolBatch has not.
type call struct {
	cwd   string // before the call, which may change it
	ended bool   // by PostToolUse or PostToolUseFailure
}

// telling is a payload that was told, by some handlers.
type telling struct {
	at       int64
	handlers []string
}

// New makes a reader that hands events to a sink.
func New(sink producers.Sink, options claudecode.Options) *Reader {
	return &Reader{
		maker:    claudecode.NewMaker(schemas.WitnessHook, sink, options),
		sessions: map[string]*session{}, calls: map[string]*call{}, told: map[uint64]*telling{},
		seed: maphash.MakeSeed(),
	}
}

// Recorded reads one line as a recording handler writes it: an object with
// event, recorded_at, via, tag, env and input, the payload. It is made for
// [producers.Lines] and returns what that buries. Lines of other events than
// hooks (_hook_finished) are skipped.
func (r *Reader) Recorded(_ int64, raw []byte) error {
	var event, at, via, tag, input, env gjson.Result
	gjson.ParseBytes(raw).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "event":
			event = v
		case "recorded_at":
			at = v
		case "via":
			via = v
		case "tag":
			tag = v
		case "input":
			input = v
		case "env":
			env = v
		}
		return true
	})
	if strings.HasPrefix(event.Str, "_") {
		return nil
	}
	when, err := claudecode.Time(at, "recorded_at")
	if err != nil {
		return err
	}
	if !input.IsObject() {
		return &producers.BadInput{Reason: "missing_field", Detail: "input: want an object"}
	}
	return r.payload(when, claudecode.Short(via, 64)+"/"+claudecode.Short(tag, 64), input, func(name string) string { return claudecode.Short(env.Get(name), 64) })
}

// Payload reads one payload as the client handed it to a hook at a time in µs
// since 1970. env is the environment of the hook, of which AI_AGENT and
// CLAUDE_CODE_ENTRYPOINT count; it may be nil. A payload that cannot be read
// is a *[producers.BadInput].
func (r *Reader) Payload(at int64, input []byte, env map[string]string) error {
	input = bytes.TrimSpace(input)
	if err := producers.CheckObject(input); err != nil {
		return err
	}
	return r.payload(at, "", gjson.ParseBytes(input), func(name string) string { return env[name] })
}

func (r *Reader) payload(at int64, handler string, input gjson.Result, env func(string) string) error {
	if r.again(at, handler, input.Raw) {
		return nil
	}
	p, err := parse(at, input)
	if err != nil {
		return err
	}
	s := r.session(p.Session)
	if v := env("CLAUDE_CODE_ENTRYPOINT"); v != "" {
		s.entrypoint = strings.Clone(v)
	}
	if v := version(env("AI_AGENT")); v != "" {
		s.version = v
	}
	p.Version, p.Entrypoint = s.version, s.entrypoint
	return r.event(s, p)
}

// again tells whether another handler has told of the same hook. One handler
// repeats a payload only when the hook came again; but two installations of
// one handler look like one, and tell within a moment.
func (r *Reader) again(at int64, handler, payload string) bool {
	const (
		late   = int64(10 * time.Second / time.Microsecond)
		moment = int64(250 * time.Millisecond / time.Microsecond)
	)
	key := maphash.String(r.seed, payload)
	if t := r.told[key]; t != nil {
		since := max(at-t.at, t.at-at)
		if since <= moment {
			return true
		}
		if since <= late && !slices.Contains(t.handlers, handler) {
			t.handlers = append(t.handlers, strings.Clone(handler))
			return true
		}
	}
	claudecode.Remember(r.told, key, &telling{at, []string{strings.Clone(handler)}})
	return false
}

func (r *Reader) session(id string) *session {
	s := r.sessions[id]
	if s == nil {
		s = new(session)
		claudecode.Remember(r.sessions, strings.Clone(id), s)
	}
	return s
}

// version is the client's, from AI_AGENT, e.g. claude-code_2-1-330_harness:
// the only place of a hook that has it (contract §2.1).
func version(agent string) string {
	_, rest, _ := strings.Cut(agent, "_")
	v, _, ok := strings.Cut(rest, "_")
	if !ok {
		return ""
	}
	return strings.ReplaceAll(v, "-", ".")
}

// payload is one hook's payload.
type payload struct {
	claudecode.Scene
	name   string // hook_event_name
	mode   string // permission_mode
	fields map[string]gjson.Result
}

func (p *payload) text(field string) string { return p.fields[field].Str }
func (p *payload) code(field string) string { return claudecode.Code(p.fields[field]) }

func parse(at int64, input gjson.Result) (*payload, error) {
	p := &payload{fields: make(map[string]gjson.Result, 16)}
	input.ForEach(func(key, v gjson.Result) bool {
		p.fields[key.Str] = v
		return true
	})
	var err error
	for _, f := range []struct {
		field string
		to    *string
		need  bool
	}{
		{"hook_event_name", &p.name, true}, {"session_id", &p.Session, true},
		{"prompt_id", &p.Prompt, false}, {"agent_id", &p.Agent, false},
	} {
		read := claudecode.ID
		if f.need {
			read = claudecode.Need
		}
		if *f.to, err = read(p.fields[f.field], f.field); err != nil {
			return nil, err
		}
	}
	p.At = at
	p.Cwd, p.mode = claudecode.Short(p.fields["cwd"], 4096), p.code("permission_mode")
	p.Folder = extraction.Folder(p.text("transcript_path"))
	return p, nil
}
