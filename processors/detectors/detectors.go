// Package detectors holds the rules by which rows become findings: what each
// behaviour is stands in docs/detectors.md. It is a pure rule: no clock, no I/O.
//
// There are three of them, and all take the rows of one session in any order:
//
//   - [Observe] judges one row: protected paths, secrets, installs, ...
//   - [Turn] judges the calls of one run (main thread or subagent) between two
//     prompts: attempts, retries and loops;
//   - [Tests] judges test runs, changes and final messages of a session: red
//     tests, claims that the record contradicts, tests that were weakened.
//
// Turn and Tests keep the last few items as they are, in order of time, and what
// was before as a summary, so that an item that comes late but not too late is
// put in its place, and a session of any length takes the same room. What comes
// later than that sets Late: the caller judges all rows anew ([Session]) when the
// session has ended.
package detectors

import (
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Kinds of findings (DESIGN §7).
const (
	RepeatedRetries  = "repeated_retries"
	Loop             = "loop"
	ProtectedPath    = "protected_path"
	Secret           = "secret"
	NetworkInstall   = "network_install"
	PermissionBypass = "permission_bypass"
	CriticalCommand  = "critical_command"
	TestTamper       = "test_tamper"
	LongApproval     = "long_approval"
	RedTests         = "red_tests"
	FalseClaim       = "false_claim"
	MissingTelemetry = "missing_telemetry"
	UnpricedModel    = "unpriced_model"
	SpendSpike       = "spend_spike"
	BudgetExceeded   = "budget_exceeded"
)

// Finding is what a detector has found in a session. Its identity is (session,
// Kind, Key): the same cause has the same key, whatever came first.
type Finding struct {
	Kind     string
	Key      string // of the cause, within session and kind
	Class    string // protected_path: class of the path
	Subject  string // path, program and subcommand, class of a secret, ...
	Severity schemas.Severity
	State    schemas.FindingState
	Count    int64 // repetitions, attempts, facts
	First    int64 // occurred_at of the first evidence, µs
	Last     int64 // of the last, µs
	Wait     int64 // long_approval: how long it was or is open, ms
	Cost     int64 // of the requests that made its calls, nano-dollars: loop and repeated_retries
	// Evidence are facts in the order of time: the first ones and the last, at
	// most MaxEvidence.
	Evidence []schemas.Id
	Detail   string // what the sentence says besides
	// By are the settings that it was found by.
	By *Settings
}

// MaxEvidence is the cap of a finding's evidence.
const MaxEvidence = 32

// add notes one more fact of evidence; of many the last one replaces the last.
func (f *Finding) add(fact schemas.Id, at int64) {
	if len(f.Evidence) == 0 || at < f.First {
		f.First = at
	}
	f.Last = max(f.Last, at)
	if n := len(f.Evidence); n > 0 && f.Evidence[n-1] == fact {
		return
	}
	if len(f.Evidence) == MaxEvidence {
		f.Evidence[MaxEvidence-1] = fact
		return
	}
	f.Evidence = append(f.Evidence, fact)
}

// hash is a short name of texts that belong together, within one session.
func hash(texts ...string) uint32 {
	h := uint32(2166136261)
	for _, t := range texts {
		for i := range len(t) {
			h = (h ^ uint32(t[i])) * 16777619
		}
		h = (h ^ 0xff) * 16777619
	}
	if h == 0 {
		return 1 // 0 is not known
	}
	return h
}

// Place is where thresholds hold.
type Place struct{ Repo, Workflow, WorkKind string }

// PlaceOf is the place of a row.
func PlaceOf(r *schemas.Enriched) Place { return Place{r.Repo, r.Workflow, r.WorkKind.String()} }

// scope is what thresholds a turn or a session goes by: those of the place of its
// first fact, by the rules in force when the first of its events was appended.
type scope struct {
	first    int64 // occurred_at of its first fact, µs; 0 = none yet
	place    Place
	appended int64 // least append time of its facts, µs
}

func (c *scope) take(r *schemas.Enriched, appended int64) {
	if c.first == 0 || r.OccurredAt < c.first {
		c.first, c.place = r.OccurredAt, PlaceOf(r)
	}
	if c.appended == 0 || appended < c.appended {
		c.appended = appended
	}
}

// RulesAt gives the rules in force at an append time, µs.
type RulesAt func(appended int64) *Rules

func (c *scope) settings(rules RulesAt) *Settings { return rules(c.appended).For(c.place) }

// Session judges all rows of a session at once: what [Turn], [Tests] and
// [Observe] come to when nothing is late. The zero value has no row.
type Session struct {
	turns      map[turnKey]*Turn
	order      []turnKey
	tests      Tests
	observed   []observed
	prompts    []int64
	commands   map[uint32]string     // class, by call
	requests   map[schemas.Id]string // that made a call
	costs      map[string]int64      // of a request, nano-dollars
	otherMode  int64
	background int64 // first task that was put into the background, µs
}

type turnKey struct{ prompt, agent string }

type observed struct {
	row      schemas.Enriched // what Observe looks at
	appended int64
}

// Add takes the row of a fact that stands, in any order, each fact once; appended
// and ended are as of [Turn.Add].
func (s *Session) Add(r *schemas.Enriched, appended, ended int64) {
	if s.turns == nil {
		s.turns, s.commands, s.tests.unbounded = map[turnKey]*Turn{}, map[uint32]string{}, true
		s.requests, s.costs = map[schemas.Id]string{}, map[string]int64{}
	}
	switch r.Kind {
	case schemas.KindPrompt:
		if r.AgentRunId == "" {
			s.prompts = append(s.prompts, r.OccurredAt)
		}
	case schemas.KindModelRequest:
		s.costs[r.RequestId] = r.CostNanoUsd.Value
	case schemas.KindToolCall:
		s.requests[r.FactKey] = r.RequestId
		s.commands[hash(r.ToolUseId)] = r.CommandClass
		if Background(r) && (s.background == 0 || r.OccurredAt < s.background) {
			s.background = r.OccurredAt
		}
		if OtherMode(r) && (s.otherMode == 0 || r.OccurredAt < s.otherMode) {
			s.otherMode = r.OccurredAt
		}
	}
	s.tests.Add(r, appended)
	if InTurn(r) {
		key := turnKey{r.PromptId, r.AgentRunId}
		t := s.turns[key]
		if t == nil {
			t = &Turn{unbounded: true, Cost: func(call schemas.Id) int64 { return s.costs[s.requests[call]] }}
			s.turns[key] = t
			s.order = append(s.order, key)
		}
		t.Add(r, appended, ended)
	}
	if r.Kind == schemas.KindFileChange || r.Kind == schemas.KindToolCall && Observable(r) {
		s.observed = append(s.observed, observed{*r, appended})
	}
}

// Judge is what the rules find, and the attempts of all calls.
func (s *Session) Judge(rules RulesAt) (findings []Finding, attempts []Attempt) {
	slices.Sort(s.prompts)
	for _, key := range s.order {
		t := s.turns[key]
		t.Background = s.background
		calls := map[uint32]int64{}
		for i := range t.calls {
			calls[t.calls[i].call] = t.calls[i].at
		}
		for i := range t.marks {
			if at, ok := calls[t.marks[i].call]; ok && t.marks[i].file == 0 {
				t.marks[i].when = at
			}
		}
		slices.SortFunc(t.calls, func(a, b step) int { return inTime(a.at, b.at, a.fact, b.fact) })
		slices.SortFunc(t.marks, func(a, b mark) int { return inTime(a.when, b.when, a.fact, b.fact) })
		if i, _ := slices.BinarySearch(s.prompts, t.last()+1); i < len(s.prompts) {
			t.End(s.prompts[i])
		}
		fs, as := t.Judge(rules)
		findings, attempts = append(findings, fs...), append(attempts, as...)
	}
	slices.SortFunc(s.tests.items, func(a, b item) int { return inTime(a.at, b.at, a.fact, b.fact) })
	findings = append(findings, s.tests.Judge(rules)...)
	var policies Policies
	for i := range s.observed {
		o := &s.observed[i]
		c := Context{Settings: rules(o.appended).For(PlaceOf(&o.row)), CommandClass: s.commands[hash(o.row.ToolUseId)], OtherMode: s.otherMode}
		for _, f := range Observe(&o.row, c) {
			policies.Add(f)
		}
	}
	return append(findings, policies.Findings()...), attempts
}

// Settle gives the turns and the tests as those who see row by row keep them, with
// nothing late; after Judge.
func (s *Session) Settle(turn func(prompt, agent string, t *Turn)) *Tests {
	for _, key := range s.order {
		t := s.turns[key]
		t.unbounded = false
		t.shrink()
		turn(key.prompt, key.agent, t)
	}
	s.tests.unbounded = false
	s.tests.shrink()
	return &s.tests
}

func inTime(a, b int64, x, y schemas.Id) int {
	return cmp.Or(cmp.Compare(a, b), slices.Compare(x[:], y[:]))
}

// Background tells a command that went on in the background: what asks for its
// state is no loop. A subagent there is none: its own calls may be one.
func Background(r *schemas.Enriched) bool {
	return r.Kind == schemas.KindToolCall && r.Background.Value && r.ToolName != "Agent" && r.ToolName != "Task"
}

// OtherMode tells a call that ran in a mode in which somebody is asked.
func OtherMode(r *schemas.Enriched) bool {
	return r.PermissionMode != "" && r.PermissionMode != "bypassPermissions"
}
