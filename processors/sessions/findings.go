package sessions

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/processors/findings"
	"github.com/flightlog/flightlog/schemas"
)

// Findings are a function of the rows that stand. While a session goes on they
// are judged row by row as rows are said (observe); when it has ended, all of
// its rows are judged anew (judge), so that what came late or out of order
// counts as what came in time.

const (
	maxFindings   = 256       // of a session; more are not said
	maxOpenTurns  = 16        // whose findings the next prompt resolves
	maxPrompts    = 32        // whose times are kept
	maxPending    = 32        // permission requests that are watched
	oldAtSight    = 10 * 60e6 // an event this much older than its append time is history, µs
	criticalBurst = 5         // critical findings of a session in a minute that are urgent
	hostMemory    = 7 * 24 * 3600e6
)

// turn is the record of a run between two prompts.
type turn struct {
	detectors.Turn
	said    []schemas.Id // its findings
	changed bool
}

// testRuns is the record of a session's tests.
type testRuns struct {
	detectors.Tests
	said    []schemas.Id
	changed bool
}

// finding is the record of a finding.
type finding struct {
	detectors.Finding
	findings.Said
	id      schemas.Id
	rules   int64 // version that it was found by
	due     int64
	changed bool
}

// rules are a version of the rules.
func (x *fold) rules(version int64) *detectors.Rules { return x.ruleTexts.Rules(version, x.tx.Config) }

// rulesAt are the rules that an event goes by that was appended at a time.
func (x *fold) rulesAt(appended int64) *detectors.Rules {
	return x.rules(x.tx.VersionsAt(appended).Rules)
}

// settings are the thresholds for a fact by its row.
func (x *fold) settings(f *fact, r *schemas.Enriched) *detectors.Settings {
	return x.rulesAt(f.first).For(detectors.PlaceOf(r))
}

// observe judges a row that is about to be said: it may set the row's attempt.
// ok is false where the fact has no row any more.
func (x *fold) observe(s *session, f *fact, r *schemas.Enriched, ok bool) {
	if ok && f.kind == schemas.KindToolCall && detectors.OtherMode(r) && (s.otherMode == 0 || r.OccurredAt < s.otherMode) {
		s.otherMode, s.changed = r.OccurredAt, true
	}
	if ok && detectors.Background(r) && (s.backgroundAt == 0 || r.OccurredAt < s.backgroundAt) {
		s.backgroundAt, s.changed = r.OccurredAt, true
	}
	switch f.kind {
	case schemas.KindToolCall, schemas.KindFileChange, schemas.KindTestRun:
		x.observeTurn(s, f, r, ok)
		x.observeTests(s, f, r, ok)
		x.observeRow(s, f, r, ok)
	case schemas.KindTurnEnd:
		x.observeTests(s, f, r, ok)
		x.askAgain(s)
	case schemas.KindPrompt:
		if ok && r.AgentRunId == "" {
			x.endTurns(s, r.OccurredAt)
			s.asks(r.OccurredAt)
			x.askAgain(s)
		}
	case schemas.KindModelRequest:
		if ok && r.CostGrade == schemas.CostGradeUnpriced && f.used() {
			x.unpriced(s, f, r)
		}
	}
}

// turnOf is the record of a row's turn.
func (x *fold) turnOf(s *session, prompt, agent string) (*turn, schemas.Id) {
	id := schemas.FactKey(prompt, schemas.KindPrompt, agent)
	t := load(x, turnKey(s.id, id), func() *turn {
		x.list(s, &s.turns, turnsKind, id)
		return &turn{}
	})
	t.Background = s.backgroundAt
	t.Cost = func(call schemas.Id) int64 { return x.costOf(s, call) }
	return t, id
}

// costOf is what the request cost that made a call, as far as it is known.
func (x *fold) costOf(s *session, call schemas.Id) int64 {
	c := x.known(s, call)
	if c == nil {
		return 0
	}
	request := x.known(s, s.requestOf(c))
	if request == nil || request.row == nil {
		return 0
	}
	var r schemas.Enriched
	if _, err := r.DecodeAvro(request.row); err != nil {
		panic(err)
	}
	return r.CostNanoUsd.Value
}

func (x *fold) observeTurn(s *session, f *fact, r *schemas.Enriched, ok bool) {
	ok = ok && detectors.InTurn(r)
	prompt, agent := f.texts[tPromptId].value, f.texts[tAgentRunId].value
	if f.row != nil {
		var last schemas.Enriched
		if _, err := last.DecodeAvro(f.row); err != nil {
			panic(err)
		}
		if moved := last.PromptId != prompt || last.AgentRunId != agent; detectors.InTurn(&last) && (moved || !ok) {
			t, _ := x.turnOf(s, last.PromptId, last.AgentRunId)
			t.Remove(f.key)
			x.judgeTurn(s, t, nil, nil)
		}
	}
	if !ok {
		if f.numbers[nAttempt].rank != 0 && f.kind == schemas.KindToolCall {
			x.setAttempt(f, detectors.Attempt{})
			r.Attempt, r.RetryReason = schemas.OptLong{}, ""
		}
		return
	}
	t, id := x.turnOf(s, prompt, agent)
	t.Add(r, f.first, f.numbers[nEndedAt].value)
	if x.judgeTurn(s, t, f, r) && !slices.Contains(s.openTurns, id) && len(s.openTurns) < maxOpenTurns {
		s.openTurns, s.changed = append(s.openTurns, id), true
	}
}

// judgeTurn says what is found in a turn and numbers the attempts; f and r are the
// fact and the row that are being said, if any. It tells whether a finding is open.
func (x *fold) judgeTurn(s *session, t *turn, f *fact, r *schemas.Enriched) (open bool) {
	t.changed = true
	found, attempts := t.Judge(x.rulesAt)
	for _, a := range attempts {
		switch other := x.known(s, a.Fact); {
		case other == nil:
		case other == f:
			x.setAttempt(f, a)
			r.Attempt, r.RetryReason = f.numbers[nAttempt].long(), f.texts[tRetryReason].value
		case x.setAttempt(other, a) && other.version > 0:
			other.dueBy(max(x.tx.Now(), other.published+nextVersion))
		}
	}
	x.say(s, found, &t.said, t.Late)
	return slices.ContainsFunc(found, func(f detectors.Finding) bool { return f.State == schemas.FindingStateOpen })
}

// setAttempt notes which attempt a call is. It tells whether that is new.
func (x *fold) setAttempt(f *fact, a detectors.Attempt) bool {
	n, reason := number{rank: 1, value: a.Number}, text{value: a.Reason}
	if a.Number == 0 {
		n = number{} // it is none
	}
	if a.Reason != "" {
		reason.rank = 1
	}
	if f.numbers[nAttempt] == n && f.texts[tRetryReason] == reason {
		return false
	}
	f.numbers[nAttempt], f.texts[tRetryReason], f.changed = n, reason, true
	return true
}

// endTurns tells turns with open findings that the next prompt came.
func (x *fold) endTurns(s *session, at int64) {
	for _, id := range s.openTurns {
		if t := load[turn](x, turnKey(s.id, id), nil); t != nil {
			t.End(at)
			t.changed = true
			found, _ := t.Judge(x.rulesAt)
			x.say(s, found, &t.said, t.Late)
		}
	}
	if len(s.openTurns) > 0 {
		s.openTurns, s.changed = nil, true
	}
}

func (x *fold) observeTests(s *session, f *fact, r *schemas.Enriched, ok bool) {
	ok = ok && detectors.InTests(r)
	if !ok && f.row == nil || !ok && f.kind == schemas.KindToolCall {
		return
	}
	t := load(x, testsKey(s.id), func() *testRuns { return &testRuns{} })
	if ok {
		t.Add(r, f.first)
	} else {
		t.Remove(f.key)
	}
	t.changed = true
	x.say(s, t.Judge(x.rulesAt), &t.said, t.Late)
}

// observeRow says what one row shows by itself.
func (x *fold) observeRow(s *session, f *fact, r *schemas.Enriched, ok bool) {
	if f.kind == schemas.KindTestRun || f.kind == schemas.KindToolCall && ok && !detectors.Observable(r) && f.row == nil {
		return
	}
	var now []detectors.Finding
	if ok {
		now = detectors.Observe(r, x.context(s, f, r))
	}
	var ids []schemas.Id
	for i := range now {
		id := now[i].ID(s.id)
		ids = append(ids, id)
		if n := x.findingOf(s, id); n != nil {
			before := n.Finding
			before.Evidence = slices.Clone(before.Evidence)
			if n.Row != nil && n.State == schemas.FindingStateOpen {
				before.Merge(now[i])
			} else {
				before = now[i]
			}
			before.By = now[i].By
			x.find(s, n, before)
		}
	}
	if f.row == nil {
		return
	}
	last := schemas.Enriched{}
	if _, err := last.DecodeAvro(f.row); err != nil {
		panic(err)
	}
	for _, gone := range detectors.Observe(&last, x.context(s, f, &last)) {
		id := gone.ID(s.id)
		if slices.Contains(ids, id) {
			continue
		}
		if n := load[finding](x, findingKey(s.id, id), nil); n != nil && n.State != schemas.FindingStateWithdrawn {
			rest := n.Finding
			rest.By = gone.By
			rest.Evidence = slices.DeleteFunc(slices.Clone(rest.Evidence), func(id schemas.Id) bool { return id == f.key })
			if rest.Count--; len(rest.Evidence) == 0 {
				rest = n.Finding
				rest.By, rest.State = gone.By, schemas.FindingStateWithdrawn
			}
			x.find(s, n, rest)
		}
	}
}

// context is what the rules of one row need besides it.
func (x *fold) context(s *session, f *fact, r *schemas.Enriched) detectors.Context {
	c := detectors.Context{Settings: x.settings(f, r), OtherMode: s.otherMode}
	if f.kind == schemas.KindFileChange {
		call := schemas.FactKey(s.texts[sSessionId].value, schemas.KindToolCall, r.ToolUseId)
		if c_ := x.known(s, call); c_ != nil {
			c.CommandClass = c_.texts[tCommandClass].value
		}
	}
	return c
}

// urgent tells a change of a path that is critical by the rules, though its
// producer did not know.
func (x *fold) urgent(s *session, f *fact) bool {
	if f.kind != schemas.KindFileChange || f.shown&knowsPaths == 0 {
		return false
	}
	r := schemas.Enriched{Kind: f.kind, Repo: first(f.texts[tRepo], s.texts[sRepo]), FilePath: f.texts[tPath].value,
		ProtectedClass: f.texts[tProtectedClass].value, ToolUseId: f.texts[tToolUseId].value}
	for _, found := range detectors.Observe(&r, x.context(s, f, &r)) {
		if found.Severity == schemas.SeverityCritical {
			return true
		}
	}
	return false
}

// eachRow calls each with the rows that stand and their facts' keys. The rows are
// good until the next call of it.
func (x *fold) eachRow(s *session, each func(schemas.Id, *schemas.Enriched)) {
	if int64(cap(x.rows)) < s.facts {
		x.rows = make([]schemas.Enriched, 0, 2*s.facts)
	}
	x.rows = x.rows[:0]
	for i := range s.facts {
		key := load[page](x, pageKey(s.id, i/pageSize), nil).facts[i%pageSize]
		row := x.standing(s, key)
		if len(row) == 0 {
			continue
		}
		x.rows = x.rows[:len(x.rows)+1]
		r := &x.rows[len(x.rows)-1]
		if _, err := r.DecodeAvro(row); err != nil {
			panic(err)
		}
		each(key, r)
	}
}

// standing is the row of a fact that stands, by itself: a session has thousands.
func (x *fold) standing(s *session, key schemas.Id) []byte {
	record := factKey(s.id, key)
	if f, ok := x.open[record]; ok {
		return f.(*fact).row
	}
	value, _, _ := x.tx.Get(record)
	row, err := rowOf(value)
	if err != nil {
		panic(fmt.Errorf("cannot read state record %q: %w", record[:1], err))
	}
	return row
}

// judge judges all rows of a session that has ended, whatever came late.
func (x *fold) judge(s *session) {
	for _, id := range slices.Clone(s.pending) { // all that may have answered them is said
		if f := x.known(s, id); f != nil {
			x.publish(s, f, true)
		}
	}
	var all detectors.Session
	x.eachRow(s, func(key schemas.Id, r *schemas.Enriched) {
		f := x.known(s, key)
		all.Add(r, f.first, f.numbers[nEndedAt].value)
	})
	found, attempts := all.Judge(x.rulesAt)
	x.judged = true // what is said now is judged
	for _, a := range attempts {
		if f := x.known(s, a.Fact); x.setAttempt(f, a) || f.due != 0 { // or it was set as others were said
			x.publish(s, f, true)
		}
	}
	x.judged = false
	tests := all.Settle(func(prompt, agent string, settled *detectors.Turn) {
		if t, _ := x.turnOf(s, prompt, agent); !bytes.Equal(t.Append(nil), settled.Append(nil)) {
			t.Turn, t.changed = *settled, true
		}
	})
	if t := load[testRuns](x, testsKey(s.id), nil); t != nil && !bytes.Equal(t.Append(nil), tests.Append(nil)) {
		t.Tests, t.changed = *tests, true
	}
	stands := map[schemas.Id]bool{}
	for i := range found {
		id := found[i].ID(s.id)
		stands[id] = true
		if n := x.findingOf(s, id); n != nil {
			x.find(s, n, found[i])
			x.publishFinding(s, n)
		}
	}
	for i := range s.findings {
		p := load[page](x, pagesKey(findingsKind, s.id, i/pageSize), nil)
		id := p.facts[i%pageSize]
		n := load[finding](x, findingKey(s.id, id), nil)
		switch {
		case n == nil || stands[id] || n.State == schemas.FindingStateWithdrawn:
		case n.Kind == detectors.LongApproval || n.Kind == detectors.MissingTelemetry:
			x.publishFinding(s, n)
		default:
			gone := n.Finding
			gone.State = schemas.FindingStateWithdrawn
			x.find(s, n, gone)
		}
	}
	x.missing(s)
	s.judged, s.changed = x.tx.Now(), true
}

// findingOf is the record of a finding, made anew where there is none; nil where
// the session has too many.
func (x *fold) findingOf(s *session, id schemas.Id) *finding {
	if n := load[finding](x, findingKey(s.id, id), nil); n != nil {
		return n
	}
	if s.findings >= maxFindings {
		return nil
	}
	return load(x, findingKey(s.id, id), func() *finding {
		x.list(s, &s.findings, findingsKind, id)
		return &finding{id: id}
	})
}

// say makes the findings of a turn or of the tests stand, and takes those back
// that were said before and stand no more, unless late rows leave that to the end.
func (x *fold) say(s *session, found []detectors.Finding, said *[]schemas.Id, late bool) {
	var now []schemas.Id
	for i := range found {
		id := found[i].ID(s.id)
		now = append(now, id)
		if n := x.findingOf(s, id); n != nil {
			x.find(s, n, found[i])
		}
	}
	for _, id := range *said {
		if slices.Contains(now, id) {
			continue
		}
		n := load[finding](x, findingKey(s.id, id), nil)
		if n == nil || late || n.State == schemas.FindingStateWithdrawn {
			continue
		}
		gone := n.Finding
		gone.State = schemas.FindingStateWithdrawn
		x.find(s, n, gone)
	}
	*said = now
}

// find notes what a finding is now. It is said at once where it is new or its
// state or severity is another; what grows waits for nextVersion.
func (x *fold) find(s *session, n *finding, now detectors.Finding) {
	before := n.Finding
	if now.By != nil {
		n.rules = now.By.RulesVersion
	}
	n.Finding, n.changed = now, true
	switch {
	case n.Version == 0 || before.State != now.State || before.Severity != now.Severity:
		x.publishFinding(s, n)
	case before.Count != now.Count || before.Last != now.Last || before.Cost != now.Cost:
		if n.due == 0 {
			n.due = max(x.tx.Now(), n.Published+nextVersion)
		}
	}
}

// publishFinding says the next version of a finding, if its row is another.
func (x *fold) publishFinding(s *session, n *finding) {
	if n.due != 0 {
		n.due, n.changed = 0, true
	}
	if n.By == nil {
		n.By = x.rules(n.rules).For(detectors.Place{Repo: s.texts[sRepo].value, Workflow: s.texts[sWorkflow].value})
	}
	r := schemas.Finding{FindingId: n.id}
	x.placeFinding(s, n, &r)
	n.Fill(&r)
	if n.Said.Say(x.tx, &r, func() bool { return s.urgent(x.tx.Now()) }) {
		n.changed = true
	}
}

// placeFindings says the findings anew whose who and where has changed with the rows.
func (x *fold) placeFindings(s *session) {
	for i := range s.findings {
		p := load[page](x, findingsKey(s.id, i/pageSize), nil)
		if n := load[finding](x, findingKey(s.id, p.facts[i%pageSize]), nil); n != nil && n.Version > 0 {
			x.publishFinding(s, n)
		}
	}
}

// placeFinding fills who and where from the last fact of the evidence.
func (x *fold) placeFinding(s *session, n *finding, r *schemas.Finding) {
	r.Org, r.SessionId, r.Repo, r.Branch = s.texts[sOrg].value, s.texts[sSessionId].value, s.texts[sRepo].value, s.texts[sBranch].value
	r.User, r.Agent, r.Workflow, r.TaskId = s.texts[sUser].value, s.texts[sAgent].value, s.texts[sWorkflow].value, first(s.texts[sRootSessionId], s.texts[sSessionId])
	if n.Cost != 0 {
		r.CostNanoUsd = schemas.SomeLong(n.Cost)
	}
	if len(n.Evidence) == 0 {
		return
	}
	if f := x.known(s, n.Evidence[0]); f != nil {
		r.Backfill = f.first-f.numbers[nOccurredAt].value > oldAtSight
	}
	f := x.known(s, n.Evidence[len(n.Evidence)-1])
	if f == nil {
		return
	}
	var e schemas.Enriched
	if row := x.rowOf(s, f); row != nil {
		e = *row
	}
	if e.SessionId == "" {
		return
	}
	r.Team, r.User, r.Repo, r.Branch, r.Workflow, r.Agent, r.TaskId = e.Team, e.User, e.Repo, e.Branch, e.Workflow, e.Agent, e.TaskId
}

// rowOf is the row of a fact: the one that is being said, else the last one.
func (x *fold) rowOf(s *session, f *fact) *schemas.Enriched {
	if x.said.FactKey == f.key && x.saying {
		return &x.said
	}
	if f.row == nil {
		return nil
	}
	var r schemas.Enriched
	if _, err := r.DecodeAvro(f.row); err != nil {
		panic(err)
	}
	return &r
}

// urgent counts the critical findings of a minute.
func (s *session) urgent(now int64) bool {
	const minute = 60e6
	if now-s.criticalAt >= minute {
		s.criticalAt, s.criticals = now, 0
	}
	s.criticals++
	s.changed = true
	return s.criticals <= criticalBurst
}
