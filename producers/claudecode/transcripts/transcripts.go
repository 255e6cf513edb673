// Package transcripts reads the transcripts that Claude Code writes of its
// sessions and of their subagents' runs (contract §3) as events.
//
// The format is internal to the client and changes with any release, so a
// reader takes what it knows and passes over the rest: unknown types of lines,
// unknown fields, and fields of a type that it does not expect, unless they
// name something.
package transcripts

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// ReadFile reads the transcript of a session, or of a subagent's run with the
// .meta.json beside it, and hands its events to the sink in the order of the
// file. Reading a file again makes the same events. Lines that a fork has
// copied are left out. What cannot be read becomes a dead letter
// ([producers.Lines]).
func ReadFile(ctx context.Context, path string, options claudecode.Options, sink producers.Sink) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read a transcript: %w", err)
	}
	defer file.Close()
	r := newReader(path, options, sink)
	if r.run != nil {
		err = r.meta(strings.TrimSuffix(path, ".jsonl") + ".meta.json")
	} else {
		r.fork, err = forkOf(file)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("cannot read the transcript %s: %w", producers.Homeless(path), err)
	}
	err = producers.Lines(file, path, schemas.WitnessTranscript, sink, func(n int64, raw []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return r.read(n, raw)
	})
	if err != nil {
		return err
	}
	return r.end()
}

// reader is what must be known of the lines before.
type reader struct {
	maker   *claudecode.Maker
	sink    producers.Sink
	folder  string // under projects/
	session string // by the file's name
	fork    fork
	run     *run // of a subagent's transcript

	prompts  map[string]string           // the running prompt by agent run
	calls    map[string]*claudecode.Call // open ones
	copied   map[string]bool             // open calls of the copied lines
	message  message
	request  struct{ ref, source string } // the last api-request line
	turn     turn
	boundary *line // compact_boundary that waits for its prompt
}

func newReader(path string, options claudecode.Options, sink producers.Sink) *reader {
	r := &reader{
		maker: claudecode.NewMaker(schemas.WitnessTranscript, sink, options), sink: sink,
		session: strings.TrimSuffix(filepath.Base(path), ".jsonl"),
		prompts: map[string]string{}, calls: map[string]*claudecode.Call{}, copied: map[string]bool{},
	}
	if id, ok := strings.CutPrefix(r.session, "agent-"); ok {
		r.run = &run{id: id}
		r.session = ""
		if dir := filepath.Dir(path); filepath.Base(dir) == "subagents" {
			path = filepath.Dir(dir) + ".jsonl" // the session's
			r.session = strings.TrimSuffix(filepath.Base(path), ".jsonl")
		}
	}
	r.folder = extraction.Folder(path)
	return r
}

// line is what counts of one line. Which fields there are depends on its type
// (contract §3.2).
type line struct {
	kind, subtype       string
	scene               claudecode.Scene
	uuid, prompt, agent string
	message             gjson.Result

	// user
	origin, denial  string
	result          gjson.Result
	decision        gjson.Result
	meta, unseen    bool // not a person's words
	summary         bool // of a compaction
	side            bool // of a subagent
	deniedBeforeRun bool

	// assistant
	requestId, requestRef, requested, attribution string
	gaveUp                                        bool // isApiErrorMessage

	err, status           gjson.Result // assistant, system/api_error
	wait, attempt         gjson.Result // system/api_error
	duration              gjson.Result // system/turn_duration
	compaction            gjson.Result // system/compact_boundary
	attachment            gjson.Result
	id, querySource, link string // api-request, pr-link
}

// state is the types of lines that tell of no fact. They are many and long.
var state = map[string]bool{
	"api-request-shape": true, "api-request-blob": true, "queue-operation": true, "last-prompt": true,
	"mode": true, "permission-mode": true, "tools-used": true, "atis-latch": true, "cost-state": true,
	"file-history-snapshot": true, "file-history-delta": true, "summary": true, "progress": true,
}

// parse reads a line's fields; nil for a line that tells of no fact.
func (r *reader) parse(raw string) (l *line, err error) {
	l = &line{}
	var time gjson.Result
	id := func(v gjson.Result, field string) (s string) {
		if err == nil {
			s, err = claudecode.ID(v, field)
		}
		return s
	}
	s := &l.scene
	gjson.Parse(raw).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "type":
			l.kind = v.Str
			return !state[l.kind]
		case "subtype":
			l.subtype = v.Str
		case "uuid":
			l.uuid = id(v, key.Str)
		case "timestamp":
			time = v
		case "sessionId":
			s.Session = id(v, key.Str)
		case "promptId":
			l.prompt = id(v, key.Str)
		case "agentId":
			l.agent = id(v, key.Str)
		case "requestId":
			l.requestId = id(v, key.Str)
		case "cwd":
			s.Cwd = claudecode.Short(v, 4096)
		case "gitBranch":
			s.Branch = claudecode.Short(v, 512)
		case "version":
			s.Version = claudecode.Short(v, 64)
		case "entrypoint":
			s.Entrypoint = claudecode.Short(v, 256)
		case "attributionSkill":
			s.Skill = claudecode.Short(v, 256)
		case "message":
			l.message = v
		case "toolUseResult":
			l.result = v
		case "attachment":
			l.attachment = v
		case "permissionDecision":
			l.decision = v
		case "attributionAgent":
			l.attribution = claudecode.Short(v, 128)
		case "requestRef":
			l.requestRef = claudecode.Code(v)
		case "requestedModel":
			l.requested = v.Str
		case "error":
			l.err = v
		case "apiErrorStatus":
			l.status = v
		case "retryInMs":
			l.wait = v
		case "retryAttempt":
			l.attempt = v
		case "durationMs":
			l.duration = v
		case "compactMetadata":
			l.compaction = v
		case "turnOrigin":
			l.origin = claudecode.Code(v)
		case "toolDenialKind":
			l.denial = claudecode.Code(v)
		case "toolDenialBeforeRun":
			l.deniedBeforeRun = v.Type == gjson.True
		case "isMeta":
			l.meta = v.Type == gjson.True
		case "isCompactSummary":
			l.summary = v.Type == gjson.True
		case "isVisibleInTranscriptOnly":
			l.unseen = v.Type == gjson.True
		case "isApiErrorMessage":
			l.gaveUp = v.Type == gjson.True
		case "isSidechain":
			l.side = v.Type == gjson.True
		case "prUrl":
			l.link = v.Str
		case "id":
			l.id = claudecode.Code(v)
		case "querySource":
			l.querySource = claudecode.Code(v)
		}
		return true
	})
	if state[l.kind] || err != nil {
		return nil, err
	}
	switch l.kind {
	case "user", "assistant", "system", "attachment", "pr-link":
		if s.At, err = claudecode.Time(time, "timestamp"); err != nil {
			return nil, err
		}
	case "api-request":
	default:
		return nil, nil
	}
	if s.Session == "" {
		if s.Session = r.session; s.Session == "" {
			return nil, &producers.BadInput{Reason: "missing_field", Detail: "sessionId"}
		}
	}
	return l, nil
}

func (r *reader) read(n int64, raw []byte) error {
	l, err := r.parse(string(raw))
	if err != nil || l == nil {
		return err
	}
	if n <= r.fork.copied {
		r.pass(l)
		return nil
	}
	s := &l.scene
	s.Folder = r.folder
	s.Agent = l.agent
	if r.run != nil {
		if s.Agent == "" {
			s.Agent = r.run.id
		}
		s.ParentAgent = r.run.parent
	} else {
		s.Root, s.Parent = s.Session, r.fork.parent
		if r.fork.root != "" {
			s.Root = r.fork.root
		}
	}
	if l.prompt != "" {
		claudecode.Remember(r.prompts, s.Agent, strings.Clone(l.prompt))
	}
	// Assistant and system lines bear no promptId: they belong to the prompt
	// of the user's line before them in the same run.
	s.Prompt = r.prompts[s.Agent]
	if r.run != nil && l.kind != "api-request" {
		if err := r.runBegun(l); err != nil {
			return err
		}
	}
	switch l.kind {
	case "user":
		return r.user(l)
	case "assistant":
		return r.assistant(l)
	case "system":
		return r.system(l)
	case "attachment":
		return r.attachment(l)
	case "pr-link":
		return r.pullRequest(l)
	case "api-request":
		r.request.ref, r.request.source = strings.Clone(l.id), strings.Clone(l.querySource)
	}
	return nil
}

// pass reads a copied line: of its calls the fork may hold the results.
func (r *reader) pass(l *line) {
	l.message.Get("content").ForEach(func(_, block gjson.Result) bool {
		switch block.Get("type").Str {
		case "tool_use":
			if id, err := claudecode.Need(block.Get("id"), "id"); err == nil {
				claudecode.Remember(r.copied, strings.Clone(id), true)
			}
		case "tool_result":
			delete(r.copied, block.Get("tool_use_id").Str)
		}
		return true
	})
}

// end tells what waited for a line that did not come.
func (r *reader) end() error {
	if r.boundary != nil {
		if err := r.compacted(r.boundary, ""); err != nil {
			return err
		}
	}
	if err := r.turnEnded(); err != nil {
		return err
	}
	return r.runEnded()
}
