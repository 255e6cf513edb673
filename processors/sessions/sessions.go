// Package sessions is the processor that joins the witnesses: it folds events
// with a session into facts, and says signed rows about them on the topic
// enriched (DESIGN §4).
//
// A fact is a set of registers, one per field; merging an event is a join
// (authority.go), so order and repetition cannot change what it ends as. A row
// is a function of the fact and of what its session and its prompt share
// (row.go). When a row is said is a matter of time only (publish.go).
package sessions

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// Processor is the sessions processor. Its fold is pure: what it knows besides
// the state are versions of prices and directory, the first of which it brings
// along.
type Processor struct {
	folds          sync.Pool // overlays that ended
	facts          sync.Pool // their facts, which are large
	configurations sync.Map  // by configuration, parsed
	ruleTexts      *detectors.Cache
}

// New makes the processor.
func New() *Processor {
	return &Processor{
		ruleTexts: detectors.NewCache(),
		folds: sync.Pool{New: func() any {
			return &fold{open: map[string]any{}, parsedTexts: map[configuration]any{}}
		}},
		facts: sync.Pool{New: func() any { return new(fact) }},
	}
}

// Name implements engine.Processor.
func (p *Processor) Name() string { return "sessions" }

// version of the fold. The tag fold2 makes it one more, for kill runs in which
// workers of two versions are mixed.
var version int64 = 4

// Version implements engine.Processor. It grows with every change of what the
// fold says for the same input.
func (p *Processor) Version() int64 { return version }

// Begin implements engine.Processor.
func (p *Processor) Begin(tx *engine.Tx) engine.Fold {
	x := p.folds.Get().(*fold)
	x.Processor, x.tx = p, tx
	return x
}

// fold is one overlay: the records that it has read, decoded, by state key.
type fold struct {
	*Processor
	tx    *engine.Tx
	open  map[string]any
	order []string // keys in the order of first use, for a deterministic delta
	// parsedTexts are those that the overlay has asked for.
	parsedTexts map[configuration]any
	// Reused: a row is said before the next is made.
	said, last schemas.Enriched
	spend      map[spendKey]*schemas.SpendDelta // of the rows so far
	rows       []schemas.Enriched               // of eachRow
	judged     bool                             // what is being said was judged with all other rows
	saying     bool                             // said is the row of a fact that is being judged
}

type record interface{ decode([]byte) error }

// load returns a record of the overlay or the committed state; fresh says what
// a missing one starts as, nil leaves it missing.
func load[R any, P interface {
	*R
	record
}](x *fold, key string, fresh func() P) P {
	if r, ok := x.open[key]; ok {
		return r.(P)
	}
	var r P
	if value, _, ok := x.tx.Get(key); ok {
		if _, isFact := any(r).(*fact); isFact {
			r = x.facts.Get().(P)
		} else {
			r = P(new(R))
		}
		if err := r.decode(value); err != nil {
			panic(fmt.Errorf("cannot read state record %q: %w", key[:1], err))
		}
	} else if fresh != nil {
		r = fresh()
	} else {
		return nil
	}
	x.open[key] = r
	x.order = append(x.order, key)
	x.tx.Touch()
	return r
}

func (x *fold) session(org, sessionID string) *session {
	id := schemas.SessionKey(org, sessionID)
	return load(x, sessionKey(id), func() *session {
		s := &session{id: id, related: true}
		if rs := x.restatements(); rs != nil {
			s.compared = rs.walks // its rows go by them from the first on
		}
		s.texts[sOrg].join(strings.Clone(org), 1, 0)
		s.texts[sSessionId].join(strings.Clone(sessionID), 1, 0)
		return s
	})
}

// fact returns a fact, made anew where there is none; at is when it happened,
// as far as is known.
func (x *fold) fact(s *session, key schemas.Id, kind schemas.Kind, at int64) *fact {
	return load(x, factKey(s.id, key), func() *fact {
		x.list(s, &s.facts, pageKind, key)
		f := x.facts.Get().(*fact)
		*f = fact{key: key, kind: kind, first: x.tx.AppendedAt(), base: at}
		return f
	})
}

// known returns a fact if there is one.
func (x *fold) known(s *session, key schemas.Id) *fact {
	return load[fact](x, factKey(s.id, key), nil)
}

// maxAhead is how far after its append time an event may claim to have
// happened, µs (DESIGN §5).
const maxAhead = 5 * 60e6

// Event implements engine.Fold.
func (x *fold) Event(org string, e *schemas.Event) (engine.Outcome, error) {
	if err := validate(e); err != nil {
		return 0, err
	}
	if e.SessionId == "" {
		return x.observed(org, e)
	}
	if err := x.recall(org, e.SessionId); err != nil {
		return 0, err
	}
	e.OccurredAt = min(e.OccurredAt, x.tx.AppendedAt()+maxAhead)

	s := x.session(org, e.SessionId)
	x.relateAll(s)
	f := x.fact(s, e.FactKey, e.Kind, e.OccurredAt)
	if f.kind != e.Kind {
		return 0, fmt.Errorf("%w: kind %s, but its fact is a %s", engine.ErrInvalid, e.Kind, f.kind)
	}
	before, kin := inherited(f), s.kinOf(f)
	began := s.began("", "")
	shared := x.share(s, e)
	changed := x.dated(s, f)
	changed = f.merge(e) || changed
	later := e.OccurredAt > s.lastEvent
	if later {
		s.lastEvent, s.changed = e.OccurredAt, true
	}
	if !changed && !shared {
		if later && s.endAt == 0 { // its end has to be said anew
			s.expectEnd(e, x.tx.Now())
		}
		return engine.Duplicate, nil
	}
	s.changed = true
	s.expectEnd(e, x.tx.Now())
	moved := false
	if s.began("", "") != began || stands(f.kind) {
		moved = x.stood(s, f)
	}
	if shared || moved || f.kind == schemas.KindPrompt && inherited(f) != before {
		s.sweepLater(x.tx.Now())
	}
	if changed {
		f.changed, f.cause = true, e.EventId
		x.relate(s, f, kin)
		x.arrange(s, f)
	}
	return engine.Applied, nil
}

func validate(e *schemas.Event) error {
	switch {
	case e.FactKey.IsZero():
		return fmt.Errorf("%w: no fact_key", engine.ErrInvalid)
	case e.Kind == schemas.KindUnknown:
		return fmt.Errorf("%w: unknown kind", engine.ErrInvalid)
	case e.Witness == schemas.WitnessUnknown:
		return fmt.Errorf("%w: unknown witness", engine.ErrInvalid)
	case e.OccurredAt <= 0:
		return fmt.Errorf("%w: no occurred_at", engine.ErrInvalid)
	}
	var family schemas.Family
	switch e.Body.Branch {
	case schemas.EventBodySession:
		family = schemas.FamilySession
	case schemas.EventBodyModel:
		family = schemas.FamilyModel
	case schemas.EventBodyTool:
		family = schemas.FamilyTool
	case schemas.EventBodyArtifact:
		family = schemas.FamilyArtifact
	}
	if family != schemas.FamilyOf(e.Kind) {
		return fmt.Errorf("%w: kind %s with a body of family %s", engine.ErrInvalid, e.Kind, family)
	}
	return nil
}

// share joins what an event says of its whole session. It tells whether a
// shared column changed.
func (x *fold) share(s *session, e *schemas.Event) (changed bool) {
	c := channelOf(e)
	if bit := uint16(1) << c; s.shown&bit == 0 {
		s.shown |= bit
		s.changed = true
	}
	for _, v := range [...]struct {
		field int
		value string
		rank  uint8
	}{
		{sRootSessionId, e.RootSessionId, recordBy[c]},
		{sParentSessionId, e.ParentSessionId, recordBy[c]},
		{sUser, e.User, uint8(e.UserSource)},
		{sOwner, e.Owner, recordBy[c]},
		{sHost, e.Host, recordBy[c]},
		{sTeam, e.Team, tokensBy[c]},
		{sAgent, e.Agent, 1},
		{sAgentVersion, e.AgentVersion, recordBy[c]},
		{sRepo, e.Repo, recordBy[c]},
		{sWorkflow, e.Workflow, uint8(e.WorkflowSource)},
	} {
		if v.value == "" || v.field == sWorkflow && e.WorkflowSource == schemas.WorkflowSourceCommand {
			continue // a command is the workflow of its prompt, not of the session
		}
		at := int64(0)
		if v.field == sAgentVersion {
			at = e.OccurredAt // the newest that ran; other columns do not follow the time
		}
		t := &s.texts[v.field]
		before := *t
		if t.join(v.value, v.rank, at) {
			s.changed = true
			changed = changed || t.value != before.value || t.rank != before.rank // the source is a column, too
		}
	}
	// The branch of a commit or push is where that went, not where the session
	// began; OTLP tells a branch after a commit only.
	elsewhere := e.Kind == schemas.KindCommit || e.Kind == schemas.KindPush || e.Kind == schemas.KindPullRequest ||
		e.Witness == schemas.WitnessOtlp
	if t := &s.texts[sBranch]; e.Branch != "" && !elsewhere && (t.rank == 0 || e.OccurredAt < s.branchAt ||
		e.OccurredAt == s.branchAt && e.Branch < t.value) {
		if e.Branch != t.value {
			changed = true
		}
		*t, s.branchAt, s.changed = text{value: e.Branch, rank: 1}, e.OccurredAt, true
	}
	s.changed = s.changed || changed
	return changed && s.said // rows that were said have it otherwise
}

// SourceEnd implements engine.Fold.
func (x *fold) SourceEnd(id schemas.Id) {
	s := load[session](x, sessionKey(id), nil)
	if s == nil || s.endAt == 0 {
		return // unknown, or it has ended and nothing came since
	}
	s.endAt, s.changed = x.tx.Now(), true
}

// End implements engine.Fold.
func (x *fold) End() {
	for _, key := range x.order {
		switch r := x.open[key].(type) {
		case *session:
			if r.changed && !r.gone {
				x.tx.Put(key, r.encode(), r.due())
			}
		case *fact:
			if r.changed {
				x.tx.Put(key, r.encode(), r.due)
			}
			x.facts.Put(r)
		case *page:
			if r.changed {
				x.tx.Put(key, r.encode(), 0)
			}
		case *link:
			if r.changed {
				x.tx.Put(key, r.encode(), 0)
			}
		case *restatements:
			if r.changed {
				x.tx.Put(key, r.encode(), r.due)
			}
		case *turn:
			if r.changed {
				x.tx.Put(key, r.encode(), 0)
			}
		case *testRuns:
			if r.changed {
				x.tx.Put(key, r.encode(), 0)
			}
		case *branches:
			if r.changed {
				x.tx.Put(key, r.encode(), 0)
			}
		case *contributed:
			if r.changed {
				x.tx.Put(key, r.encode(), 0)
			}
		case *finding:
			if r.changed {
				x.tx.Put(key, r.encode(), r.due)
			}
		case *host:
			x.keep(key, r.changed, r.due, r.encode)
		case *seen:
			x.keep(key, r.changed, r.due, r.encode)
		}
	}
	x.emitSpend()
	clear(x.open)
	clear(x.parsedTexts)
	if x.order, x.tx = x.order[:0], nil; cap(x.rows) > mostRows {
		x.rows = nil
	}
	x.folds.Put(x)
}

// keep puts a record that is kept until a time; without one it goes.
func (x *fold) keep(key string, changed bool, due int64, encode func() []byte) {
	switch {
	case !changed:
	case due == 0:
		x.tx.Put(key, nil, 0)
	default:
		x.tx.Put(key, encode(), due)
	}
}

// mostRows is how many rows an overlay keeps room for.
const mostRows = 4096

// witnessNames is the column witnesses.
func witnessNames(bits uint16) string {
	var names []string
	for w := schemas.WitnessHook; w <= schemas.WitnessDirect; w++ {
		if bits&(1<<w) != 0 {
			names = append(names, w.String())
		}
	}
	return strings.Join(slices.Clip(names), ",")
}
