package changes

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// Processor keeps the facts of the forge, says them as signed rows on enriched,
// and tells the processor tasks what became of changes. Its input is, by
// repository, what sessions did and what the forge observed, as rows of enriched;
// those of the forge have no version yet. Its fold is pure.
//
// A fact that changes leaves a mark for every fact that it may concern: a record
// that is due at once, so that each is judged anew and no commit grows too large.
type Processor struct{}

// NewProcessor makes the processor.
func NewProcessor() Processor { return Processor{} }

// Name implements engine.Processor.
func (Processor) Name() string { return "changes" }

// Version implements engine.Processor.
func (Processor) Version() int64 { return 1 }

// Input implements engine.FrameProcessor.
func (Processor) Input() string { return broker.ChangeFacts }

// Begin implements engine.Processor.
func (Processor) Begin(tx *engine.Tx) engine.Fold {
	return &fold{tx: tx, open: map[string]record{}}
}

const (
	factKind = 'f' // f with H(org, fact_key): a fact
	nodeKeys = 'n' // n with H(org, repo, kind, name): the facts that name something
	markKind = 'j' // j with H(org, fact_key): the fact is to be judged

	maxSteps  = 2 * maxReverts // from a fact to the last one that it may concern
	again     = 1              // what comes back is looked at again a day later (engine.Tx.Archive)
	maxAtNode = 256            // facts of one node; of more the first that came
	maxSpread = 1024           // facts that one fact may concern
)

// Observed is an event of the forge as a row that has no version yet. The error
// wraps [engine.ErrInvalid].
func Observed(org string, e *schemas.Event) (schemas.Enriched, error) {
	a := &e.Body.Artifact
	invalid := func(format string, args ...any) (schemas.Enriched, error) {
		return schemas.Enriched{}, fmt.Errorf("%w: "+format, append([]any{engine.ErrInvalid}, args...)...)
	}
	switch {
	case e.Body.Branch != schemas.EventBodyArtifact:
		return invalid("kind %s without an artifact body", e.Kind)
	case e.Repo == "":
		return invalid("kind %s without a repo", e.Kind)
	case a.ChangeId != "" && !strings.HasPrefix(a.ChangeId, e.Repo+"#"):
		return invalid("a change_id that is not of the repo: want host/owner/name#number")
	case e.Kind == schemas.KindForgePullRequest && a.ChangeId == "":
		return invalid("a forge_pull_request without a change_id")
	case e.Kind != schemas.KindForgePullRequest && stem(a.CommitId) == "":
		return invalid("a %s without a commit_id", e.Kind)
	case !slices.Contains(schemas.OperationsOf(e.Kind), a.Operation):
		return invalid("an operation that no %s has", e.Kind)
	}
	r := schemas.Enriched{FactKey: e.FactKey, EventId: e.EventId, Family: schemas.FamilyArtifact, Kind: e.Kind, Witnesses: e.Witness.String(),
		CaptureMode: e.CaptureMode, OccurredAt: e.OccurredAt, DurationMs: e.DurationMs, Success: e.Success, ErrorClass: e.ErrorClass,
		Org: org, User: e.User, UserSource: e.UserSource, Repo: e.Repo, Branch: e.Branch, Workflow: e.Workflow, WorkflowSource: e.WorkflowSource,
		CommitId: a.CommitId, ChangeId: a.ChangeId, PatchId: a.PatchId, TargetBranch: a.TargetBranch, MergeCommitId: a.MergeCommitId, Reverts: a.Reverts,
		Detail: cmp.Or(a.Name, a.Operation)}
	if e.Kind == schemas.KindForgePullRequest {
		r.Detail = a.Operation
	}
	r.Link = a.Operation // until it is said: what the observation is of
	r.Cap()
	return r, nil
}

// fold is one overlay.
type fold struct {
	engine.NoEvents
	tx    *engine.Tx
	open  map[string]record
	order []string
	needs error // what the state lacks, of facts
}

type record interface {
	encode() []byte
	decode([]byte) error
	due(now int64) int64
	wasChanged() bool
}

func factRecord(org string, key schemas.Id) string {
	return string(factKind) + hash("fact", org, string(key[:]))
}

func nodeRecord(n node) string {
	return string(nodeKeys) + hash("node", n.org, n.repo, string(n.kind), n.name)
}

// hash is the first 16 bytes of the SHA-256 of parts, each behind its length.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return string(h.Sum(nil)[:16])
}

func recordID(key string) (id schemas.Id) {
	copy(id[:], key[1:])
	return id
}

// here tells a record that has not left the state.
func (x *fold) here(key string) bool {
	if r, ok := x.open[key]; ok {
		return !gone(r)
	}
	_, _, ok := x.tx.Get(key)
	return ok
}

// recall brings a record back that has left the state, if its archive still stands.
func (x *fold) recall(key string) error {
	if err := x.recallFact(key); !errors.Is(err, engine.ErrArchived) {
		return err
	}
	return nil
}

// recallFact is recall of what must not begin anew: its row still stands somewhere.
func (x *fold) recallFact(key string) error {
	if x.here(key) {
		return nil
	}
	return x.tx.Recall(recordID(key))
}

func gone(r record) bool {
	switch r := r.(type) {
	case *fact:
		return r.gone
	case *members:
		return r.gone
	}
	return false
}

func load[R any, P interface {
	*R
	record
}](x *fold, key string, fresh bool) P {
	if r, ok := x.open[key]; ok && !gone(r) {
		return r.(P)
	}
	r := P(new(R))
	if value, _, ok := x.tx.Get(key); ok && x.open[key] == nil {
		if err := r.decode(value); err != nil {
			panic(fmt.Errorf("cannot read a record of changes: %w", err))
		}
	} else if !fresh {
		return nil
	}
	if x.open[key] == nil {
		x.order = append(x.order, key)
		x.tx.Touch()
	}
	x.open[key] = r
	return r
}

// facts implements index: it reads the state, and notes what has left it.
func (x *fold) facts(at node) (rows []*schemas.Enriched) {
	if at.name == "" {
		return nil
	}
	key := nodeRecord(at)
	if err := x.recall(key); err != nil {
		x.needs = cmp.Or(x.needs, err)
		return nil
	}
	m := load[members](x, key, false)
	if m == nil {
		return nil
	}
	for _, member := range m.facts {
		key := string(factKind) + string(member.id[:])
		if member.closed != 0 && !x.here(key) { // all that anybody asks of it
			rows = append(rows, &schemas.Enriched{Kind: schemas.KindForgePullRequest, Detail: closed, OccurredAt: member.closed})
			continue
		}
		if err := x.recall(key); err != nil {
			x.needs = cmp.Or(x.needs, err)
			return nil
		}
		if f := load[fact](x, key, false); f != nil {
			if r := f.now(); r != nil {
				rows = append(rows, r)
			}
		}
	}
	return rows
}

// Frame implements engine.FrameFold.
func (x *fold) Frame(payload []byte) error {
	var frame schemas.EnrichedFrame
	if err := frame.DecodeMessage(payload); err != nil {
		return fmt.Errorf("%w: %w", engine.ErrInvalid, err)
	}
	for i := range frame.Rows {
		r := &frame.Rows[i]
		if !OfForge(r.Kind) && !OfSession(r.Kind) || Repo(r) == "" {
			return fmt.Errorf("%w: a row of kind %s without a repository", engine.ErrInvalid, r.Kind)
		}
		key := factRecord(r.Org, r.FactKey)
		if err := x.recallFact(key); err != nil {
			return err
		}
		nodes := nodesOf(r)
		if f := load[fact](x, key, false); f != nil && f.now() != nil {
			nodes = append(nodes, nodesOf(f.now())...)
		}
		for _, at := range nodes {
			if err := x.recall(nodeRecord(at)); err != nil {
				return err
			}
		}
	}
	for i := range frame.Rows {
		x.take(&frame.Rows[i])
	}
	return nil
}

// take joins a row into its fact.
func (x *fold) take(r *schemas.Enriched) {
	key := factRecord(r.Org, r.FactKey)
	f := load[fact](x, key, true)
	before := f.now()
	if !f.take(r) {
		return
	}
	f.arrived, f.changed, f.spreads = x.tx.Now(), true, true
	if before != nil { // what it concerned may be linked otherwise, too
		for _, name := range namesOf(concerns(before)) {
			if !slices.Contains(f.was, name) && len(f.was) < maxWas {
				f.was = append(f.was, name)
			}
		}
	}
	now := f.now()
	if now == nil {
		now = r
	}
	for _, at := range nodesOf(now) {
		shut := int64(0)
		if at.kind == ofBranch && now.Kind == schemas.KindForgePullRequest {
			shut = closedAt(now)
		}
		if m := load[members](x, nodeRecord(at), true); m.put(recordID(key), shut) {
			m.arrived, m.changed = x.tx.Now(), true
		}
	}
}

// Due implements engine.Fold.
func (x *fold) Due(key string) error {
	if err := x.recall(key); err != nil {
		return err
	}
	switch key[0] {
	case markKind:
		return x.judge(key)
	case nodeKeys:
		if m := load[members](x, key, false); m != nil {
			m.changed = true
			if m.arrived+closeAfter <= x.tx.Now() {
				x.tx.Archive(recordID(key), key, m.encode(), again)
				m.gone = true
			}
		}
		return nil
	}
	f := load[fact](x, key, false)
	if f == nil {
		return nil
	}
	if f.spreads {
		concerned, err := x.concerned(key, f)
		if err != nil {
			return err
		}
		for _, id := range concerned {
			m := load[mark](x, string(markKind)+id, true)
			m.stands = true
		}
		f.spreads, f.was = false, nil
	}
	f.changed = true
	if f.arrived+closeAfter <= x.tx.Now() {
		x.tx.Archive(recordID(key), key, f.encode(), again)
		f.gone = true
	}
	return nil
}

// concerned are the facts of the forge that may be linked or stand otherwise
// because of a fact: itself, and the nearest first.
func (x *fold) concerned(key string, f *fact) (found []string, err error) {
	r, since := f.now(), int64(0)
	if len(f.given) > 0 && OfForge(f.given[0].Kind) {
		found = append(found, key[1:])
	}
	for i := range f.given {
		if at := f.given[i].OccurredAt; since == 0 || at < since {
			since = at
		}
	}
	seen := map[string]bool{key: true}
	next := slices.Clone(f.was)
	if r != nil {
		next = append(next, namesOf(concerns(r))...)
	}
	steps := maxSteps
	if r != nil && isCheck(r) { // nothing stands otherwise because of it but what names its commit
		steps = 1
	}
	for range steps {
		var beyond []string
		for _, name := range next {
			if seen[name] {
				continue
			}
			seen[name] = true
			if err := x.recall(name); err != nil {
				return nil, err
			}
			m := load[members](x, name, false)
			if m == nil {
				continue
			}
			for _, member := range m.facts {
				key := string(factKind) + string(member.id[:])
				if seen[key] || len(found) == maxSpread || member.closed != 0 && member.closed+tolerance < since {
					continue
				}
				seen[key] = true
				if err := x.recall(key); err != nil {
					return nil, err
				}
				other := load[fact](x, key, false)
				if other == nil || other.now() == nil {
					continue
				}
				r := other.now()
				if OfForge(r.Kind) {
					found = append(found, string(member.id[:]))
				}
				if !isCheck(r) { // a branch is of no concern to those who do not stand there
					beyond = append(beyond, namesOf(slices.DeleteFunc(concerns(r), func(n node) bool { return n.kind == ofBranch }))...)
				}
			}
		}
		next = beyond
	}
	return found, nil
}

func namesOf(nodes []node) (names []string) {
	for _, n := range nodes {
		names = append(names, nodeRecord(n))
	}
	return names
}

// judge says a marked fact as it is linked now, and tells its tasks.
func (x *fold) judge(key string) error {
	of := string(factKind) + key[1:]
	if err := x.recall(of); err != nil {
		return err
	}
	f := load[fact](x, of, false)
	if f == nil {
		load[mark](x, key, true).stands = false
		return nil
	}
	r := *f.now()
	x.needs = nil
	l := linker{x}.of(&r)
	facts := linker{x}.contributions(&r)
	if x.needs != nil {
		return x.needs
	}
	load[mark](x, key, true).stands = false
	f.changed, f.arrived = true, x.tx.Now()
	r.TaskId, r.Link = l.word()
	x.say(f, &r)
	x.tell(f, r.Org, facts)
	return nil
}

// say says the row, if it is another than the one that stands.
func (x *fold) say(f *fact, r *schemas.Enriched) {
	r.Generation, r.Final = x.tx.Generation(), false
	var last schemas.Enriched
	if f.row != nil {
		if _, err := last.DecodeAvro(f.row); err != nil {
			panic(err)
		}
		cause := r.EventId
		r.RowId, r.Sign, r.Version, r.EventId, r.Witnesses = last.RowId, last.Sign, last.Version, last.EventId, last.Witnesses
		if bytes.Equal(r.AppendAvro(nil), f.row) {
			return
		}
		r.EventId = cause
	}
	f.version++
	if f.row != nil {
		last.Sign, last.Version, last.EventId = -1, f.version, r.EventId
		last.RowId = schemas.RowID(last.Generation, last.FactKey, f.version, -1)
		x.tx.Emit(broker.Enriched, last.AppendAvro(nil))
	}
	r.Sign, r.Version, r.Witnesses = 1, f.version, f.witnesses()
	r.RowId = schemas.RowID(r.Generation, r.FactKey, f.version, 1)
	f.row = r.AppendAvro(nil)
	x.tx.Emit(broker.Enriched, f.row)
}

// tell tells tasks what a change contributes, where that is another than before.
func (x *fold) tell(f *fact, org string, facts []schemas.TaskFact) {
	var now []told
	for i := range facts {
		c := &facts[i]
		c.Cap()
		row := c.AppendAvro(nil)
		t := told{task: c.Task.TaskId, change: c.ChangeId, hash: hash(string(row))}
		if !slices.Contains(f.told, t) {
			x.tx.EmitFor(broker.TaskFacts, t.task, row)
		}
		now = append(now, t)
	}
	for _, before := range f.told {
		if !slices.ContainsFunc(now, func(t told) bool { return t.task == before.task && t.change == before.change }) {
			c := withdrawal(org, before.task, before.change)
			x.tx.EmitFor(broker.TaskFacts, before.task, c.AppendAvro(nil))
		}
	}
	f.told = now
}

// End implements engine.Fold.
func (x *fold) End() {
	for _, key := range x.order {
		if r := x.open[key]; r.wasChanged() {
			x.tx.Put(key, r.encode(), r.due(x.tx.Now()))
		}
	}
}
