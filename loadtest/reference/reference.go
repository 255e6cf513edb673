// Package reference computes what the sessions processor must have said at the
// end, rows and findings, the plain way (check B of DESIGN §5): from all events of
// a partition at once, single-threaded, with maps, slices and sorts. It shares no
// code with the processors; a reader checks it against the rules of DESIGN §4 and
// §6, and against docs/detectors.md.
//
// Nothing here knows of state, merging, versions or time of arrival: a fact is
// the set of all observations of it, and every column picks from that set. What
// the processor said in commits and versions is brought to the same form by
// [Final], and the two are compared by [Compare] and [CompareSums].
package reference

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Input is one event as the log of events holds it.
type Input struct {
	Org        string
	AppendedAt int64 // append time, µs since 1970
	Event      schemas.Event
}

// Batch is what the rows depend on besides the events.
type Batch struct {
	// Versions of prices and directory in force, the oldest first. The first
	// version of the prices holds from the beginning.
	Prices       []Version[*Prices]
	Directories  []Version[*Directory]
	Restatements []Restatement
	Generation   int64
}

// Version is one of prices or directory: events that were appended from
// EffectiveAt on (µs) are told by it.
type Version[T any] struct {
	Number      int64
	EffectiveAt int64
	Text        T
}

// Restatement tells facts that occurred from Since on (µs) by a version. They
// follow each other by the time at which they were asked for, µs.
type Restatement struct {
	Kind           string // prices or directory
	Version, Since int64
	Reason         string
	Asked          int64
}

// maxAhead is how far after its append time an event may claim to have
// happened, µs (DESIGN §5).
const maxAhead = 5 * 60 * 1_000_000

// observation is an event with what decides how far it is believed.
type observation struct {
	*schemas.Event
	by channel
	at int64 // occurred_at, clamped, µs

	appended int64 // append time, µs
}

// fact is all that was observed of one fact.
type fact struct {
	key          schemas.Id
	kind         schemas.Kind
	observations []observation
	at           int64 // occurred_at of its row, µs
	first        int64 // least append time that its versions go by, µs
}

// session is all that was observed of one session.
type session struct {
	org, id      string
	observations []observation
	facts        map[schemas.Id]*fact
	shared       shared           // what its facts have in common
	alike        map[call][]*fact // calls and permission requests, the earliest first
}

// Rows are the +1 rows that stand when every session has ended, by source_end
// or by silence, ordered by org, session and fact. The order of the events and
// how often each is there do not matter. Of row_id, version, event_id and final,
// which tell how a row came about, only the sign is set. Events that belong to
// another processor, and those that the fold refuses, are left out. A fact_key
// under two kinds is what was appended first; the rest of it is refused.
func (b Batch) Rows(events []Input) []schemas.Enriched {
	var rows []schemas.Enriched
	for _, s := range sessionsOf(events) {
		for _, r := range b.rows(s) {
			rows = append(rows, *r)
		}
	}
	slices.SortFunc(rows, func(a, b schemas.Enriched) int {
		return cmp.Or(cmp.Compare(a.Org, b.Org), cmp.Compare(a.SessionId, b.SessionId), bytes.Compare(a.FactKey[:], b.FactKey[:]))
	})
	return rows
}

// rows are those of a session, in any order.
func (b Batch) rows(s *session) (rows []*schemas.Enriched) {
	for _, f := range s.facts {
		if row, ok := b.row(s, f); ok {
			rows = append(rows, &row)
		}
	}
	countAttempts(rows)
	return rows
}

// sessionsOf groups events by organisation and session, and within by fact_key.
func sessionsOf(events []Input) []*session {
	type name struct{ org, id string }
	sessions := map[name]*session{}
	ordered := slices.Clone(events)
	slices.SortStableFunc(ordered, func(a, b Input) int { return cmp.Compare(a.AppendedAt, b.AppendedAt) })
	for i := range ordered {
		in := &ordered[i]
		if in.Event.SessionId == "" || !valid(&in.Event) {
			continue
		}
		key := name{in.Org, in.Event.SessionId}
		s := sessions[key]
		if s == nil {
			s = &session{org: key.org, id: key.id, facts: map[schemas.Id]*fact{}}
			sessions[key] = s
		}
		f := s.facts[in.Event.FactKey]
		if f == nil {
			f = &fact{key: in.Event.FactKey, kind: in.Event.Kind}
			s.facts[f.key] = f
		}
		if f.kind != in.Event.Kind {
			continue
		}
		o := observation{&in.Event, channelOf(&in.Event), min(in.Event.OccurredAt, in.AppendedAt+maxAhead), in.AppendedAt}
		f.observations = append(f.observations, o)
		s.observations = append(s.observations, o)
	}
	for _, s := range sessions {
		if end := s.endKey(); s.facts[end] == nil { // nobody told of its end, but it has ended
			s.facts[end] = &fact{key: end, kind: schemas.KindSessionEnd}
		}
		for _, f := range s.facts {
			f.at = f.occurredAt(s)
			told := f.observations
			if f.kind == schemas.KindSessionEnd { // nobody may have told of it
				told = s.observations
			}
			f.first = slices.MinFunc(told, func(a, b observation) int { return cmp.Compare(a.appended, b.appended) }).appended
		}
		s.shared, s.alike = s.share(), s.groupAlike()
	}
	return slices.Collect(maps.Values(sessions))
}

// endKey is the fact_key of the session's end: it has one, however often it was
// resumed.
func (s *session) endKey() schemas.Id { return schemas.FactKey(s.id, schemas.KindSessionEnd, "end") }

// valid tells an event that a fold does not refuse: it names fact, kind, witness
// and time, and its body is of the kind's family.
func valid(e *schemas.Event) bool {
	families := map[schemas.EventBodyBranch]schemas.Family{
		schemas.EventBodySession:  schemas.FamilySession,
		schemas.EventBodyModel:    schemas.FamilyModel,
		schemas.EventBodyTool:     schemas.FamilyTool,
		schemas.EventBodyArtifact: schemas.FamilyArtifact,
	}
	return !e.FactKey.IsZero() && e.Kind != schemas.KindUnknown && e.Witness != schemas.WitnessUnknown &&
		e.OccurredAt > 0 && families[e.Body.Branch] == schemas.FamilyOf(e.Kind)
}
