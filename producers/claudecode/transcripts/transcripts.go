// Package transcripts reads the transcripts that Claude Code writes of its
// sessions and of their subagents' runs (contract §3) as events.
//
// The format is internal to the client and changes with any release, so a
// reader takes what it knows and passes over the rest: unknown types of lines,
// unknown fields, and fields of a type that it does not expect, unless they
// name something.
package transcripts

import (
	"cmp"
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
		r.fork, err = forkOf(file, options.Requests)
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
	made    *claudecode.Requests
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
		maker: claudecode.NewMaker(schemas.WitnessTranscript, sink, options), made: options.Requests, sink: sink,
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

func (r *reader) read(n int64, raw []byte) error {
	l, err := parse(string(raw))
	if err != nil || l == nil {
		return err
	}
	if l.scene.Session == "" {
		if l.scene.Session = r.session; r.session == "" {
			return &producers.BadInput{Reason: "missing_field", Detail: "sessionId"}
		}
	}
	if n <= r.fork.copied || r.copy(l) {
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
		claudecode.Remember(r.prompts, strings.Clone(s.Agent), strings.Clone(l.prompt))
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

// copy tells an answer that another session's file holds, which was read before.
func (r *reader) copy(l *line) bool {
	if r.made == nil || l.kind != "assistant" {
		return false
	}
	by := r.made.By(cmp.Or(l.requestId, l.message.Get("id").Str))
	return by != "" && by != l.scene.Session
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
