// Package claudecode holds what the readers of Claude Code's witnesses share.
// Hooks and transcripts tell of the same calls, files and commits; what both
// of them know is made here, so that a fact reads the same whoever tells it.
//
// The sources of all facts about the client: "contract" is its description of
// version 2.1.330, and the recordings beside it.
package claudecode

import (
	"strings"
	"unicode/utf8"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// Options of the readers of hooks and transcripts.
type Options struct {
	// Host is the name of the machine that the agent ran on.
	Host string
	// Repository finds the repository that a folder of this machine belongs
	// to: its root, its name as host/owner/name, and the git e-mail there; all
	// empty where there is none. Called once per folder. The default is
	// [extraction.Repository].
	Repository func(folder string) (root, repo, branch, email string)
	// Requests remembers who made a request over the transcripts that it is
	// given to; nil = each is read by itself.
	Requests *Requests
}

// Requests are the sessions that made API requests. Older clients copy the
// history into the file of a session that goes on, and do not say whose it was:
// a request counts once over all files (contract §3.5), for the session whose
// file is read first. Read files in the order in which they ended. Not safe for
// concurrent use.
type Requests struct {
	made map[schemas.Id]string
	last string // session
}

// NewRequests makes an empty one.
func NewRequests() *Requests { return &Requests{made: map[schemas.Id]string{}} }

// Made notes that a session made a request, if no other did.
func (r *Requests) Made(request, session string) {
	if r == nil || request == "" {
		return
	}
	id := schemas.FactKey(request, schemas.KindModelRequest, "")
	if _, known := r.made[id]; !known {
		if r.last != session {
			r.last = strings.Clone(session) // and not the line that it is a part of
		}
		r.made[id] = r.last
	}
}

// By is the session that made a request, empty if it is not known.
func (r *Requests) By(request string) string {
	if r == nil {
		return ""
	}
	return r.made[schemas.FactKey(request, schemas.KindModelRequest, "")]
}

// Scene is where and when something happened, as the witness knows it.
type Scene struct {
	At                    int64 // µs since 1970
	Session, Root, Parent string
	Prompt, Request       string
	Agent, ParentAgent    string // subagent runs; empty in the main thread
	Folder                string // of the session under projects/, see [extraction.Folder]
	Cwd                   string
	Branch                string
	Version, Entrypoint   string // of the client
	Skill                 string
}

// Maker makes events of one witness. It remembers the places of sessions, so
// that one Maker reads one source after another; it is used by one goroutine.
type Maker struct {
	witness      schemas.Witness
	sink         producers.Sink
	options      Options
	event        schemas.Event
	places       map[string]place      // by session
	repositories map[string]repository // by folder
	branch       branch
	buffer       []byte // for canonical JSON
}

type place struct {
	extraction.Place
	repository
	sure bool // the root is of the folder that the session started in
}

type repository struct{ root, name, email string }

type branch struct {
	name, ticket string
	kind         schemas.WorkKind
}

// NewMaker makes events of a witness for a sink.
func NewMaker(witness schemas.Witness, sink producers.Sink, options Options) *Maker {
	if options.Repository == nil {
		options.Repository = extraction.Repository
	}
	return &Maker{
		witness: witness, sink: sink, options: options,
		places: map[string]place{}, repositories: map[string]repository{},
	}
}

// Event begins an event with everything that the scene tells. The event is the
// Maker's: it is good until the next call, and [Maker.Emit] ends it.
func (m *Maker) Event(s *Scene, kind schemas.Kind) *schemas.Event {
	p := m.place(s)
	m.event = schemas.Event{
		Kind: kind, Witness: m.witness, Agent: "claude-code", AgentVersion: s.Version,
		OccurredAt: s.At, SessionId: s.Session, RootSessionId: s.Root, ParentSessionId: s.Parent,
		PromptId: s.Prompt, AgentRunId: s.Agent, ParentAgentRunId: s.ParentAgent, RequestId: s.Request,
		Host: m.options.Host, Repo: p.name, Skill: s.Skill,
		User: p.email, UserSource: schemas.UserSourceGitEmail, Owner: p.email,
		Workflow: s.Entrypoint, WorkflowSource: schemas.WorkflowSourceEntrypoint,
	}
	e := &m.event
	if e.User == "" {
		e.User, e.UserSource, e.Owner = p.Login, schemas.UserSourceOsLogin, p.Login
	}
	if e.User == "" {
		e.UserSource = schemas.UserSourceUnknown
	}
	if e.Workflow == "" {
		e.WorkflowSource = schemas.WorkflowSourceUnknown
	}
	m.onBranch(e, s.Branch)
	switch schemas.FamilyOf(kind) {
	case schemas.FamilyModel:
		e.Body.Branch = schemas.EventBodyModel
	case schemas.FamilyTool:
		e.Body.Branch = schemas.EventBodyTool
	case schemas.FamilyArtifact:
		e.Body.Branch = schemas.EventBodyArtifact
	}
	return e
}

// Emit finishes the event that was begun last, and hands it to the sink. id is
// the fact's own id within its session and kind.
func (m *Maker) Emit(id string) error {
	m.event.Critical = extraction.Critical(&m.event)
	producers.Finish(&m.event, id)
	return m.sink.Event(&m.event)
}

// onBranch sets the branch and what its name tells. A detached HEAD is no
// branch.
func (m *Maker) onBranch(e *schemas.Event, name string) {
	if name == "" || name == "HEAD" {
		return
	}
	if m.branch.name != name {
		name = strings.Clone(name)
		m.branch = branch{name, extraction.Ticket(name), extraction.WorkKind(name)}
	}
	e.Branch, e.Ticket, e.WorkKind = m.branch.name, m.branch.ticket, m.branch.kind
	if e.WorkKind != schemas.WorkKindUnknown {
		e.WorkKindSource = schemas.WorkKindSourceBranchPrefix
	}
}

// Place is where the session works. Its root stays the repository that the
// session started in, wherever its shell went since: it is looked for until it
// is sure, by the name of the session's folder (contract §3.1).
func (m *Maker) Place(s *Scene) extraction.Place { return m.place(s).Place }

func (m *Maker) place(s *Scene) place {
	p, known := m.places[s.Session]
	if p.sure || known && s.Cwd == "" {
		return p
	}
	found := place{Place: extraction.PlaceOf(s.Folder, strings.Clone(s.Cwd))}
	found.sure = s.Folder != "" && folderOf(found.Root) == s.Folder
	if known && !found.sure {
		return p
	}
	if found.repository = m.repository(found.Root); found.root != "" {
		found.Root = found.root
	}
	Remember(m.places, strings.Clone(s.Session), found)
	return found
}

// folderOf is the name of a start folder's folder under projects/: every
// UTF-16 unit but ASCII letters and digits is replaced (contract §3.1).
func folderOf(start string) string {
	b := make([]byte, 0, len(start))
	for _, r := range start {
		switch {
		case 'a' <= r|0x20 && r|0x20 <= 'z' && r < utf8.RuneSelf, '0' <= r && r <= '9':
			b = append(b, byte(r))
		case r > 0xFFFF:
			b = append(b, "--"...)
		default:
			b = append(b, '-')
		}
	}
	return string(b)
}

func (m *Maker) repository(folder string) (r repository) {
	if folder == "" {
		return r
	}
	r, ok := m.repositories[folder]
	if !ok {
		r.root, r.name, _, r.email = m.options.Repository(folder)
		Remember(m.repositories, folder, r)
	}
	return r
}

// Remember adds to a map that input may fill without end: when it is full it
// starts anew. What is forgotten costs an event a field, never more. The key
// must not be a part of a longer text.
func Remember[K comparable, V any](m map[K]V, k K, v V) {
	if len(m) >= 1<<14 {
		clear(m)
	}
	m[k] = v
}
