package replay

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// Recording is what was recorded together: one session, or several that go on
// from each other. It is a [producers.Sink]: readers fill it, and [Run] copies
// it as a whole.
type Recording struct {
	// Name of its folder.
	Name string
	// Truth is what the model's endpoint answered; nil where nobody wrote it
	// down, and then nothing is expected of tokens and cost.
	Truth []recordings.Request
	// DeadLetters counts what could not be read and is in no copy.
	DeadLetters int64

	events []*schemas.Event
}

// Event implements [producers.Sink]. An event without a session is left out:
// nothing tells one copy of it from another.
func (r *Recording) Event(e *schemas.Event) error {
	if e.SessionId == "" {
		return nil
	}
	var kept schemas.Event
	if _, err := kept.DecodeAvro(e.AppendAvro(nil)); err != nil {
		return fmt.Errorf("cannot keep an event of %s: %w", r.Name, err)
	}
	r.events = append(r.events, &kept)
	return nil
}

// DeadLetter implements [producers.Sink].
func (r *Recording) DeadLetter(*schemas.DeadLetter) error {
	r.DeadLetters++
	return nil
}

// witnessed tells whether a witness speaks in the recording.
func (r *Recording) witnessed(by schemas.Witness) bool {
	return slices.ContainsFunc(r.events, func(e *schemas.Event) bool { return e.Witness == by })
}

// pattern is a recording that was made ready to be copied: each event is
// encoded once, and only what differs from copy to copy is patched.
type pattern struct {
	*Recording
	templates []template // in the order of sending
	sessions  []session
	facts     []fact
	ids       []byte // every id once, one after the other
	spans     []span // of each in ids
	distinct  int64  // different event_ids
}

type session struct {
	id   string
	span       // of the id in ids
	last int64 // when its last event is sent, µs after the recording's begin
}

type fact struct {
	session int
	kind    schemas.Kind
	id      []string // in pieces, see factID
}

// template is one event. Times are µs after the recording's begin.
type template struct {
	encoded       []byte // event_id and fact_key are zeros
	patches       []patch
	session, fact int
	occurred      int64
	occurredAt    int   // where that stands in encoded
	at            int64 // when it is sent
	isLast        bool  // of its session
}

// span is a part of the ids.
type span struct{ begin, end int }

// patch says where in an event one of the ids stands.
type patch struct {
	at int
	span
}

// epoch is a time, µs since 1970, from which on (to the year 3111) the encoding
// of an occurred_at has the same length.
const epoch = int64(1) << 48

// newPattern makes a recording ready, with its times divided by speed.
func newPattern(r *Recording, speed float64) *pattern {
	p := &pattern{Recording: r}
	begin := r.events[0].OccurredAt
	for _, e := range r.events {
		begin = min(begin, e.OccurredAt)
	}
	after := func(at int64) int64 { return int64(float64(at-begin) / speed) }
	names := factNames(r.events)
	spans, sessions, facts, ids := map[string]span{}, map[string]int{}, map[schemas.Id]int{}, map[schemas.Id]bool{}
	for _, recorded := range r.events {
		for _, id := range idsOf(recorded) {
			if _, ok := spans[*id]; !ok {
				spans[*id] = span{len(p.ids), len(p.ids) + len(*id)}
				p.spans = append(p.spans, spans[*id])
				p.ids = append(p.ids, *id...)
			}
		}
		e := *recorded
		at := e.OccurredAt
		if e.Signal == schemas.SignalSpan {
			at += e.DurationMs.Value * 1000 // a span is told of when it ends
		}
		e.OccurredAt = after(e.OccurredAt)
		if schemas.SetEventID(&e); !ids[e.EventId] {
			ids[e.EventId] = true
			p.distinct++
		}
		if _, ok := sessions[e.SessionId]; !ok {
			sessions[e.SessionId] = len(p.sessions)
			p.sessions = append(p.sessions, session{id: e.SessionId, span: spans[e.SessionId]})
		}
		if _, ok := facts[e.FactKey]; !ok {
			facts[e.FactKey] = len(p.facts)
			p.facts = append(p.facts, fact{sessions[e.SessionId], e.Kind, names[e.FactKey]})
		}
		t := newTemplate(e, spans)
		t.session, t.fact, t.at = sessions[e.SessionId], facts[e.FactKey], after(at)
		p.templates = append(p.templates, t)
	}
	sort.SliceStable(p.templates, func(i, j int) bool { return p.templates[i].at < p.templates[j].at })
	last := make([]int, len(p.sessions))
	for i := range p.templates {
		t := &p.templates[i]
		last[t.session], p.sessions[t.session].last = i, t.at
	}
	for _, i := range last {
		p.templates[i].isLast = true
	}
	return p
}

// newTemplate encodes an event. Where its fields stand is found by changing
// them one by one.
func newTemplate(e schemas.Event, spans map[string]span) template {
	t := template{occurred: e.OccurredAt}
	e.EventId, e.FactKey, e.OccurredAt = schemas.Id{}, schemas.Id{}, epoch
	t.encoded = e.AppendAvro(nil)
	changed := func() int {
		for i, c := range e.AppendAvro(nil) {
			if c != t.encoded[i] {
				return i
			}
		}
		panic("a field is not in the encoding of its event")
	}
	for _, id := range idsOf(&e) {
		if text := *id; text != "" {
			*id = string(text[0]^1) + text[1:]
			t.patches = append(t.patches, patch{changed(), spans[text]})
			*id = text
		}
	}
	e.OccurredAt = epoch + 1
	t.occurredAt = changed()
	return t
}

// length is when the last event is sent, µs after the recording's begin.
func (p *pattern) length() int64 { return p.templates[len(p.templates)-1].at }

// idsOf are the fields of an event that hold ids of others: they name things
// of one session, so every copy has its own.
func idsOf(e *schemas.Event) [11]*string {
	return [...]*string{&e.SessionId, &e.RootSessionId, &e.ParentSessionId, &e.PromptId, &e.AgentRunId, &e.ParentAgentRunId,
		&e.RequestId, &e.ToolUseId, &e.Body.Model.MessageId, &e.Body.Tool.AgentRunStarted, &e.Body.Artifact.CommitId}
}

// factNames finds the id that each fact_key was made of, in pieces that are
// renamed or kept in turns: any witness of the fact may show it. An id that
// none shows (of a line, or of a time) is replaced by the fact_key itself, so
// that all witnesses of a copy still mean the same fact.
func factNames(events []*schemas.Event) map[schemas.Id][]string {
	names := map[schemas.Id][]string{}
	for _, e := range events {
		for _, id := range possibleFacts(e) {
			if schemas.FactKey(e.SessionId, e.Kind, strings.Join(id, "")) == e.FactKey {
				names[e.FactKey] = id
			}
		}
	}
	for _, e := range events {
		if names[e.FactKey] == nil {
			names[e.FactKey] = []string{"", e.FactKey.String()}
		}
	}
	return names
}

// possibleFacts are the ids that the readers name facts by, as far as an event
// shows them.
func possibleFacts(e *schemas.Event) [][]string {
	call := e.ToolUseId
	found := [][]string{{e.PromptId}, {call}, {e.RequestId}, {e.Body.Model.MessageId}, {e.AgentRunId}, {e.Body.Tool.AgentRunStarted},
		{e.PromptId, "/", e.AgentRunId}, {call, "\x00" + e.Body.Artifact.FilePath}, {"", e.Body.Artifact.ChangeId}, {"", "end"}}
	if id := e.Body.Artifact.CommitId; len(id) >= 7 {
		found = append(found, []string{id[:7]}, []string{id})
	}
	return found
}
