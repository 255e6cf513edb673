package replay

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/producers"
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

	events []recorded
}

// recorded is one event as it was read.
type recorded struct {
	template
	event  *schemas.Event // its time counts from the recording's begin once it is prepared
	at     int64          // when it is sent, µs after the recording's begin
	last   int64          // when the last event of its session is sent, likewise
	isLast bool
}

// Event implements [producers.Sink]. An event without a session is left out:
// nothing tells one copy of it from another.
func (r *Recording) Event(e *schemas.Event) error {
	if e.SessionId == "" {
		return nil
	}
	kept := recorded{event: new(schemas.Event), at: e.OccurredAt}
	if _, err := kept.event.DecodeAvro(e.AppendAvro(nil)); err != nil {
		return fmt.Errorf("cannot keep an event of %s: %w", r.Name, err)
	}
	if e.Signal == schemas.SignalSpan {
		kept.at += e.DurationMs.Value * 1000 // a span is told of when it ends
	}
	r.events = append(r.events, kept)
	return nil
}

// DeadLetter implements [producers.Sink].
func (r *Recording) DeadLetter(*schemas.DeadLetter) error {
	r.DeadLetters++
	return nil
}

// prepared is the recording with its events in the order in which they are
// sent, their times counted from its begin and divided by speed.
func (r *Recording) prepared(speed float64) *Recording {
	p := &Recording{Name: r.Name, Truth: r.Truth, DeadLetters: r.DeadLetters, events: slices.Clone(r.events)}
	begin := p.events[0].event.OccurredAt
	for i := range p.events {
		begin = min(begin, p.events[i].event.OccurredAt)
	}
	known := knownFacts(p.events)
	after := func(at int64) int64 { return int64(float64(at-begin) / speed) }
	for i := range p.events {
		e, scaled := &p.events[i], *p.events[i].event
		scaled.OccurredAt = after(scaled.OccurredAt)
		e.at, e.event = after(e.at), &scaled
		e.template = newTemplate(scaled, known[scaled.FactKey])
	}
	sort.SliceStable(p.events, func(i, j int) bool { return p.events[i].at < p.events[j].at })
	last := map[string]int{}
	for i := range p.events {
		last[p.events[i].event.SessionId] = i
	}
	for i := range p.events {
		of := last[p.events[i].event.SessionId]
		p.events[i].last, p.events[i].isLast = p.events[of].at, of == i
	}
	return p
}

// length is when the last event is sent, µs after the recording's begin.
func (r *Recording) length() int64 { return r.events[len(r.events)-1].at }

// sessions are the sessions of the recording, in the order of their first event.
func (r *Recording) sessions() (ids []string) {
	for i := range r.events {
		if id := r.events[i].event.SessionId; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// witnesses tells whether a witness speaks in the recording.
func (r *Recording) witnessed(by schemas.Witness) bool {
	return slices.ContainsFunc(r.events, func(e recorded) bool { return e.event.Witness == by })
}

// idsOf are the fields of an event that hold ids of others: they name things
// of one session, so every copy has its own.
func idsOf(e *schemas.Event) [11]*string {
	return [...]*string{&e.SessionId, &e.RootSessionId, &e.ParentSessionId, &e.PromptId, &e.AgentRunId, &e.ParentAgentRunId,
		&e.RequestId, &e.ToolUseId, &e.Body.Model.MessageId, &e.Body.Tool.AgentRunStarted, &e.Body.Artifact.CommitId}
}

// knownFacts finds the id that each fact_key was made of, in pieces that are
// renamed one by one: any witness of the fact may show it. An id that none
// shows (of a line, or of a time) is replaced by the fact_key itself, so that
// all witnesses of a copy still mean the same fact.
func knownFacts(events []recorded) map[schemas.Id][]string {
	known := map[schemas.Id][]string{}
	for i := range events {
		e := events[i].event
		if known[e.FactKey] != nil {
			continue
		}
		for _, id := range possibleFacts(e) {
			if schemas.FactKey(producers.PartitionKey(e), e.Kind, strings.Join(id, "")) == e.FactKey {
				known[e.FactKey] = id
				break
			}
		}
	}
	for i := range events {
		if key := events[i].event.FactKey; known[key] == nil {
			known[key] = []string{"", key.String()}
		}
	}
	return known
}

// possibleFacts are the ids that the readers name facts by, as far as an event
// shows them: pieces in turns to rename and to keep.
func possibleFacts(e *schemas.Event) [][]string {
	call := e.ToolUseId
	found := [][]string{{e.PromptId}, {call}, {e.RequestId}, {e.Body.Model.MessageId}, {e.AgentRunId}, {e.Body.Tool.AgentRunStarted},
		{e.PromptId, "/", e.AgentRunId}, {call, "\x00" + e.Body.Artifact.FilePath}, {"", e.Body.Artifact.ChangeId}, {"", "end"}}
	if id := e.Body.Artifact.CommitId; len(id) >= 7 {
		found = append(found, []string{id[:7]}, []string{id})
	}
	return found
}
