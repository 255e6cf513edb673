package detectors

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/flightlog/flightlog/schemas"
)

// Turn judges the calls of one run between two prompts, see docs/detectors.md:
// attempts, repeated_retries and loop. The zero value is an empty turn.
type Turn struct {
	// Late tells that a row came that belongs before what is summed up already:
	// what Judge says is right again once all rows are judged anew.
	Late bool
	// Cost gives what the model request cost that made a call, nano-dollars; nil =
	// nothing is known. Not part of the record.
	Cost func(call schemas.Id) int64
	// Background is when the session first put a task into the background, µs; 0 =
	// never. Not part of the record.
	Background int64

	scope
	name      uint32 // of its prompt and run
	calls     []step // in order; the first done of them are in the summary
	done      int
	marks     []mark // not in the summary yet, in order
	upTo      int64  // time up to which all is in the summary, µs
	ended     int64  // the next prompt, µs; 0 = none yet
	base      machine
	unbounded bool
}

const (
	longestCycle = 6
	history      = 3 * longestCycle // calls that a call is compared with
	slack        = 12               // calls that stay in order of time, for late ones
	maxMarks     = 24
	maxOpen      = 8  // findings of a turn
	maxChains    = 12 // intents that failed last
	maxFiles     = 6  // files that were changed last
	maxTests     = 4
	maxNovel     = 8 // attempts of a chain that are told apart
)

// step is a call that has ended.
type step struct {
	fact    schemas.Id
	at, end int64  // µs; end 0 = not known
	call    uint32 // tool_use_id
	request uint32 // that made it
	intent  uint32
	args    uint32 // tool and arguments, 0 = not known
	shape   uint32 // result, 0 = not known
	subject string
	is      bits
	reason  reason // why it failed
}

type bits uint8

const (
	failed bits = 1 << iota
	waits
	changes // its tool is one that changes files
	tests
	answers // its failure is an answer: grep without a hit, diff of two files
)

// mark is a change of a file or the outcome of a test run: what a call did.
type mark struct {
	fact schemas.Id
	at   int64
	when int64  // where it stands: a test run behind the begin of its call, a change where it happened
	call uint32 // the call that did it
	file uint32 // path of the changed file; 0 = it is a test run
	red  bool   // a test run that failed
}

// reason is why an attempt failed.
type reason uint8

var reasons = [...]string{"", "tool_error", "permission_denied", "hook_blocked", "interrupted", "timeout", "edit_mismatch", "test_failed"}

const (
	toolError reason = iota + 1
	permissionDenied
	hookBlocked
	interrupted
	timeout
	editMismatch
	testFailed
)

// reasonOf is why a call failed, by its error class, decision and command.
func reasonOf(r *schemas.Enriched) reason {
	switch r.ErrorClass {
	case "interrupted", "user-abort", "aborted":
		return interrupted
	case "timeout":
		return timeout
	case "validation":
		if changesFiles(r.ToolName) {
			return editMismatch
		}
		return toolError
	case "hook-denied", "hook", "hook-blocked", "PermissionRequest-hook":
		return hookBlocked
	}
	if r.ApprovalDecision == "reject" {
		if len(r.ApprovalKind) >= 4 && r.ApprovalKind[:4] == "hook" {
			return hookBlocked
		}
		if r.ApprovalKind == "user_abort" {
			return interrupted
		}
		return permissionDenied
	}
	switch r.ErrorClass {
	case "permission-rule", "user-rejected", "automode", "automode-denied", "automode-unavailable", "permission", "mode":
		return permissionDenied
	}
	if r.CommandClass == "test" {
		return testFailed
	}
	return toolError
}

func changesFiles(tool string) bool {
	switch tool {
	case "Edit", "MultiEdit", "Write", "NotebookEdit":
		return true
	}
	return false
}

// InTurn tells rows that a [Turn] is made of.
func InTurn(r *schemas.Enriched) bool {
	switch r.Kind {
	case schemas.KindToolCall:
		return ended(r)
	case schemas.KindFileChange, schemas.KindTestRun:
		return true
	}
	return false
}

// ended tells a call whose end is known.
func ended(r *schemas.Enriched) bool {
	return r.Success.Valid || r.ErrorClass != "" || r.ApprovalDecision == "reject"
}

// Add puts a row of the turn into its place, or at its new one; appended is the
// least append time of the fact's events, ended when a call was seen to end, µs
// (0 = not known).
func (t *Turn) Add(r *schemas.Enriched, appended, ended int64) {
	t.take(r, appended)
	t.name = hash(r.PromptId, r.AgentRunId)
	if r.Kind == schemas.KindToolCall {
		s := stepOf(r, ended)
		if t.unbounded {
			t.calls = append(t.calls, s)
			return
		}
		for _, m := range slices.Clone(t.marks) {
			if m.file == 0 && m.call == s.call && m.when != s.at {
				m.when = s.at
				t.marks = put(t.marks, 0, m, placeOfMark)
			}
		}
		t.late(s.fact, s.at)
		if s.at <= t.upTo {
			return
		}
		t.calls = put(t.calls, t.done, s, func(o *step) (schemas.Id, int64) { return o.fact, o.at })
	} else {
		if r.Success.Valid && !r.Success.Value && r.Kind == schemas.KindFileChange {
			return // nothing was changed
		}
		m := mark{fact: r.FactKey, at: r.OccurredAt, when: r.OccurredAt, call: hash(r.ToolUseId)}
		if r.Kind == schemas.KindFileChange {
			m.file = hash(r.FilePath)
		}
		m.red = r.TestOutcome == schemas.TestOutcomeFailed || r.TestOutcome == schemas.TestOutcomeErrored
		if t.unbounded {
			t.marks = append(t.marks, m)
			return
		}
		if by := callOf(t.calls, m.call); by != nil && m.file == 0 {
			m.when = by.at
		}
		if m.when <= t.upTo && !slices.ContainsFunc(t.marks, func(o mark) bool { return o.fact == m.fact }) {
			t.Late = true // or it is summed up as it is
			return
		}
		t.marks = put(t.marks, 0, m, placeOfMark)
	}
	t.shrink()
}

func placeOfMark(m *mark) (schemas.Id, int64) { return m.fact, m.when }

// Remove takes a fact out that has no row any more.
func (t *Turn) Remove(fact schemas.Id) {
	calls, marks := len(t.calls), len(t.marks)
	kept := slices.DeleteFunc(t.calls[t.done:], func(o step) bool { return o.fact == fact })
	t.calls = t.calls[:t.done+len(kept)]
	t.marks = slices.DeleteFunc(t.marks, func(o mark) bool { return o.fact == fact })
	t.Late = t.Late || len(t.calls) == calls && len(t.marks) == marks
}

// late notes that a fact belongs where all is summed up.
func (t *Turn) late(fact schemas.Id, at int64) {
	if at <= t.upTo && !slices.ContainsFunc(t.calls[:t.done], func(o step) bool { return o.fact == fact && o.at == at }) {
		t.Late = true
	}
}

// put inserts an item behind the first few in the order of time; an earlier one
// of the same fact goes.
func put[T any](list []T, behind int, item T, of func(*T) (schemas.Id, int64)) []T {
	fact, at := of(&item)
	for i := behind; i < len(list); i++ {
		if id, _ := of(&list[i]); id == fact {
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	i := len(list)
	for i > behind {
		id, t := of(&list[i-1])
		if inTime(t, at, id, fact) <= 0 {
			break
		}
		i--
	}
	return slices.Insert(list, i, item)
}

// shrink sums up the oldest items where there are too many.
func (t *Turn) shrink() {
	t.base.cost, t.base.background = t.Cost, t.Background
	for len(t.calls)-t.done > slack || len(t.marks) > maxMarks {
		if len(t.marks) > 0 && (t.done == len(t.calls) || t.marks[0].when < t.calls[t.done].at) {
			t.base.mark(&t.marks[0], t.calls[:t.done])
			t.upTo = max(t.upTo, t.marks[0].when)
			t.marks = slices.Delete(t.marks, 0, 1)
			continue
		}
		t.base.call(t.calls, t.done, nil)
		t.upTo = max(t.upTo, t.calls[t.done].at)
		t.done++
	}
	if t.done > history {
		t.calls = slices.Delete(t.calls, 0, t.done-history)
		t.done = history
	}
}

// End tells that the next prompt came.
func (t *Turn) End(at int64) {
	if at > t.last() && (t.ended == 0 || at < t.ended) {
		t.ended = at
	}
}

// last is the time of its last item, µs.
func (t *Turn) last() (at int64) {
	at = t.upTo
	if n := len(t.calls); n > 0 {
		at = max(at, t.calls[n-1].at)
	}
	if n := len(t.marks); n > 0 {
		at = max(at, t.marks[n-1].when)
	}
	return at
}

// Attempt is which attempt of its intent a call is, and why the one before
// failed.
type Attempt struct {
	Fact   schemas.Id
	Number int64
	Reason string // empty for the first
}

// Judge is what the rules find in the turn, and the attempts of the calls that
// may still change.
func (t *Turn) Judge(rules RulesAt) (findings []Finding, attempts []Attempt) {
	// The summary may have been made by others, where its first fact came late.
	s := t.settings(rules)
	t.base.rules, t.base.cost, t.base.background = s.turnRules, t.Cost, t.Background
	m := t.base.clone()
	marks := t.marks
	for i := t.done; i < len(t.calls); i++ {
		for len(marks) > 0 && marks[0].when < t.calls[i].at {
			m.mark(&marks[0], t.calls[:i])
			marks = marks[1:]
		}
		m.call(t.calls, i, &attempts)
	}
	for len(marks) > 0 {
		m.mark(&marks[0], t.calls)
		marks = marks[1:]
	}
	if t.ended != 0 && t.ended > t.last() {
		m.prompt()
	}
	for i := range m.found {
		if f := m.found[i].Finding; s.Enabled(f.Kind) {
			f.By = s
			f.Key += " " + strconv.FormatUint(uint64(t.name), 16)
			findings = append(findings, f)
		}
	}
	return findings, attempts
}

// stepOf is a call as the machine sees it.
func stepOf(r *schemas.Enriched, ended int64) step {
	s := step{fact: r.FactKey, at: r.OccurredAt, end: ended, call: hash(r.ToolUseId), request: hash(r.RequestId), subject: SubjectOf(r)}
	if s.end < s.at {
		if s.end = 0; r.DurationMs.Valid {
			s.end = s.at + r.DurationMs.Value*1000
		}
	}
	s.intent = intentOf(r)
	if r.ToolArgumentsHash != "" {
		s.args = hash(r.ToolName, r.ToolArgumentsHash)
	}
	if shape := cmp.Or(r.ResultShape, r.ResultHash); shape != "" {
		s.shape = hash(shape)
	}
	set := func(b bits, is bool) {
		if is {
			s.is |= b
		}
	}
	set(failed, !r.Success.Value)
	set(waits, r.Waits.Value || r.ToolName == "TaskOutput" || r.ToolName == "BashOutput" || r.ToolName == "Monitor")
	set(changes, changesFiles(r.ToolName))
	set(tests, r.CommandClass == "test")
	set(answers, r.ExitStatus == schemas.SomeLong(1) && slices.Contains(answering, r.ToolTarget))
	if s.is&failed != 0 {
		s.reason = reasonOf(r)
	}
	return s
}

// answering are commands whose exit status 1 says no.
var answering = []string{"grep", "egrep", "rg", "git grep", "git diff", "diff", "cmp", "test", "[", "which", "command", "type", "pgrep", "pidof", "systemctl is-active"}

// intentOf is what a call tries to do: of a shell command its program and
// subcommand, of a tool for files the tool and the path, else the tool and its
// arguments.
func intentOf(r *schemas.Enriched) uint32 {
	if r.ToolTarget != "" && r.ToolName != "Agent" && r.ToolName != "Task" {
		return hash(r.ToolName, r.ToolTarget)
	}
	return hash(r.ToolName, r.ToolTarget, r.ToolArgumentsHash)
}

// SubjectOf names a call for people.
func SubjectOf(r *schemas.Enriched) string {
	if r.ToolTarget == "" {
		return r.ToolName
	}
	return short(r.ToolName + " " + r.ToolTarget)
}

// short cuts a subject to what a record has room for.
func short(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most]
}

// turnRules are the thresholds of a turn.
type turnRules struct {
	attempts    int64
	single      int64 // repetitions of one call
	repetitions int64 // of a longer cycle
	wait        int64 // µs
}

// machine is the summary of a turn up to some call.
type machine struct {
	cost       func(call schemas.Id) int64
	background int64 // as of the turn
	rules      turnRules
	runs       [longestCycle]int64 // calls in a row that are as the one p before
	last       int64               // end of the call before, µs
	cycle      cycle
	chains     []chain
	files      []file
	failing    []failing
	found      []found
}

// cycle is the calls that repeat themselves now.
type cycle struct {
	key   uint32 // 0 = none
	calls []pair
}

type pair struct{ args, shape uint32 }

// chain is an intent whose last attempt failed.
type chain struct {
	intent   uint32
	attempts int64 // so far
	failed   int64 // since a file was changed
	novel    int64 // of these, attempts that are like none before
	seen     []pair
	evidence []evidence
	changed  bool // a file was changed since the last attempt
	reason   reason
}

type evidence struct {
	fact    schemas.Id
	at      int64
	call    schemas.Id // that did it
	request uint32     // that made the call
}

func (s *step) evidence() evidence { return evidence{s.fact, s.at, s.fact, s.request} }

// file is a file that was changed.
type file struct {
	path         uint32
	before, last uint32 // arguments of the last two changes
	alternates   int64  // changes in a row that are as the one but one before, and not as the one before; with these two
	evidence     []evidence
}

// failing is a test command that fails with the same result, and no file was changed.
type failing struct {
	pair
	count    int64
	evidence []evidence
}

// found is a finding, and what may resolve it.
type found struct {
	Finding
	intent uint32 // repeated_retries
	calls  []pair // loop
	file   uint32 // loop of a file's states
	states pair   // the two that it goes between, by the arguments that made them
	last   uint32 // request that was counted last
}

// grow adds evidence, and what its request cost if it was not counted yet.
func (m *machine) grow(f *found, e evidence) {
	f.add(e.fact, e.at)
	if e.request != f.last && m.cost != nil {
		f.Cost += m.cost(e.call)
		f.last = e.request
	}
}

func (m *machine) clone() machine {
	c := *m
	c.cycle.calls = slices.Clone(m.cycle.calls)
	c.chains, c.files, c.failing, c.found = slices.Clone(m.chains), slices.Clone(m.files), slices.Clone(m.failing), slices.Clone(m.found)
	for i := range c.chains {
		c.chains[i].seen, c.chains[i].evidence = slices.Clone(c.chains[i].seen), slices.Clone(c.chains[i].evidence)
	}
	for i := range c.files {
		c.files[i].evidence = slices.Clone(c.files[i].evidence)
	}
	for i := range c.failing {
		c.failing[i].evidence = slices.Clone(c.failing[i].evidence)
	}
	for i := range c.found {
		c.found[i].Evidence = slices.Clone(c.found[i].Evidence)
	}
	return c
}

// call takes calls[i], with those before it.
func (m *machine) call(calls []step, i int, attempts *[]Attempt) {
	s := &calls[i]
	paused := s.is&waits != 0 || m.last != 0 && s.at-m.last >= m.rules.wait
	waited := paused || m.background != 0 && s.at > m.background && s.is&(failed|changes) == 0
	if m.last = max(m.last, s.end); s.end == 0 {
		m.last = 0 // nobody knows
	}
	m.repeats(calls, i, waited)
	m.attempt(s, paused, attempts)
}

// repeats looks for a cycle that ends with a call.
func (m *machine) repeats(calls []step, i int, waited bool) {
	s := &calls[i]
	period := 0
	for p := 1; p <= longestCycle; p++ {
		if i < p || waited || !s.like(&calls[i-p]) {
			m.runs[p-1] = 0
			continue
		}
		m.runs[p-1]++
		times := m.rules.repetitions
		if p == 1 {
			times = m.rules.single
		}
		if period == 0 && m.runs[p-1] >= (times-1)*int64(p) {
			period = p
		}
	}
	at := pair{s.args, s.shape}
	m.resolve(func(f *found) bool { // progress
		return f.Kind == Loop && f.Detail == "cycle" && !slices.Contains(f.calls, at)
	})
	if !slices.Contains(m.cycle.calls, at) {
		m.cycle = cycle{}
	}
	if period == 0 {
		return
	}
	if m.cycle.key == 0 || m.runs[len(m.cycle.calls)-1] == 0 {
		c := cycle{key: uint32(period)}
		for j := i - period + 1; j <= i; j++ {
			c.calls = append(c.calls, pair{calls[j].args, calls[j].shape})
			c.key += mix(calls[j].args, calls[j].shape)
		}
		m.cycle = c
	}
	period = len(m.cycle.calls)
	repetitions := m.runs[period-1]/int64(period) + 1
	if f := m.cycleOf(); f != nil {
		f.State = schemas.FindingStateOpen
		f.Count = max(f.Count, repetitions)
		m.grow(f, s.evidence())
		return
	}
	f := found{calls: slices.Clone(m.cycle.calls), Finding: Finding{Kind: Loop, Key: key("cycle", m.cycle.key), Subject: s.subject, Count: repetitions, Detail: "cycle"}}
	first := max(0, i+1-int(repetitions)*period)
	for j := first; j <= i; j++ {
		m.grow(&f, calls[j].evidence())
		m.forget(calls[j].intent)
	}
	m.open(f)
}

// cycleOf is the loop of the present cycle, or of a test that is part of it and
// fails alike: one finding for one cause.
func (m *machine) cycleOf() *found {
	for i := range m.found {
		f := &m.found[i]
		switch {
		case f.Kind != Loop:
		case f.Detail == "cycle" && f.repeats(m.cycle.calls):
			return f
		case f.Detail == "test" && f.repeats(m.cycle.calls):
			f.Detail = "cycle" // now it is one, and ends as one
			return f
		case f.Detail == "test" && f.State == schemas.FindingStateOpen && f.shares(m.cycle.calls):
			return f
		}
	}
	return nil
}

// repeats tells that a loop is of just these calls, wherever it begins.
func (f *found) repeats(calls []pair) bool {
	if len(f.calls) != len(calls) {
		return false
	}
	for i := range calls {
		if slices.Equal(f.calls, slices.Concat(calls[i:], calls[:i])) {
			return true
		}
	}
	return false
}

// loopOf is the loop of a turn that a call is part of.
func (m *machine) loopOf(call pair) *found {
	for i := range m.found {
		if f := &m.found[i]; f.Kind == Loop && slices.Contains(f.calls, call) {
			return f
		}
	}
	return nil
}

// shares tells that a loop has a call in common with others.
func (f *found) shares(calls []pair) bool {
	return slices.ContainsFunc(calls, func(p pair) bool { return slices.Contains(f.calls, p) })
}

// forget takes back that an intent is retried for nothing: it is a loop.
func (m *machine) forget(intent uint32) {
	m.found = slices.DeleteFunc(m.found, func(f found) bool { return f.Kind == RepeatedRetries && f.intent == intent })
}

// attempt counts the attempts of an intent.
func (m *machine) attempt(s *step, paused bool, attempts *[]Attempt) {
	i := slices.IndexFunc(m.chains, func(c chain) bool { return c.intent == s.intent })
	a := Attempt{Fact: s.fact, Number: 1}
	if i >= 0 {
		a.Number, a.Reason = m.chains[i].attempts+1, reasons[m.chains[i].reason]
	}
	if attempts != nil {
		*attempts = append(*attempts, a)
	}
	retries := func(f *found) bool { return f.Kind == RepeatedRetries && f.intent == s.intent }
	if s.is&failed == 0 {
		if i >= 0 {
			m.chains = slices.Delete(m.chains, i, i+1)
			m.resolve(retries)
		}
		return
	}
	if i < 0 {
		if len(m.chains) == maxChains {
			m.chains = slices.Delete(m.chains, 0, 1)
		}
		m.chains = append(m.chains, chain{intent: s.intent})
		i = len(m.chains) - 1
	}
	c := &m.chains[i]
	if c.changed { // what failed before was another state of the files
		m.resolve(retries)
	}
	if c.changed || paused { // it was told to wait
		c.failed, c.novel, c.seen, c.evidence, c.changed = 0, 0, nil, nil, false
	}
	c.attempts, c.reason = a.Number, s.reason
	if s.is&answers != 0 {
		return
	}
	c.failed++
	if p := (pair{s.args, s.shape}); !slices.Contains(c.seen, p) {
		c.novel++
		if len(c.seen) < maxNovel {
			c.seen = append(c.seen, p)
		}
	}
	if len(c.evidence) < maxNovel {
		c.evidence = append(c.evidence, s.evidence())
	}
	if c.failed < m.rules.attempts || 2*c.novel > c.failed {
		return
	}
	if m.loopOf(pair{s.args, s.shape}) != nil {
		return
	}
	for j := range m.found {
		if f := &m.found[j]; retries(f) {
			f.State, f.Count = schemas.FindingStateOpen, max(f.Count, c.failed)
			m.grow(f, s.evidence())
			return
		}
	}
	f := found{intent: s.intent, Finding: Finding{Kind: RepeatedRetries, Key: key("intent", s.intent), Subject: s.subject, Count: c.failed, Detail: reasons[s.reason]}}
	for _, e := range c.evidence {
		m.grow(&f, e)
	}
	m.grow(&f, s.evidence())
	m.open(f)
}

// mark takes a change or a test run; calls are those before it.
func (m *machine) mark(k *mark, calls []step) {
	by := callOf(calls, k.call)
	if k.file == 0 {
		m.tested(k, by)
		return
	}
	for i := range m.chains {
		m.chains[i].changed = true
	}
	m.failing = m.failing[:0]
	m.resolve(func(f *found) bool { return f.Kind == Loop && f.Detail == "test" })
	m.changed(k, by)
}

// callOf is the call that did something, nil if it is not among the last ones.
func callOf(calls []step, call uint32) *step {
	for i := len(calls) - 1; i >= 0 && i >= len(calls)-history; i-- {
		if calls[i].call == call {
			return &calls[i]
		}
	}
	return nil
}

// changed looks for two states of a file that alternate.
func (m *machine) changed(k *mark, by *step) {
	i := slices.IndexFunc(m.files, func(f file) bool { return f.path == k.file })
	if i < 0 {
		if len(m.files) == maxFiles {
			m.files = slices.Delete(m.files, 0, 1)
		}
		m.files = append(m.files, file{path: k.file})
		i = len(m.files) - 1
	}
	f := m.files[i]
	m.files = append(slices.Delete(m.files, i, i+1), f) // the last one changed goes last
	p := &m.files[len(m.files)-1]
	args := uint32(0)
	if by != nil {
		args = by.args
	}
	switch {
	case args == 0, args == p.last:
		p.alternates, p.evidence = 1, nil
	case args == p.before:
		p.alternates++
	case p.last != 0:
		p.alternates = 2
		p.evidence = p.evidence[max(0, len(p.evidence)-1):]
	default:
		p.alternates = 1
	}
	ofFile := func(o *found) bool { return o.Kind == Loop && o.file == k.file }
	m.resolve(func(o *found) bool { return ofFile(o) && args != o.states.args && args != o.states.shape })
	p.before, p.last = p.last, args
	e := evidence{fact: k.fact, at: k.at}
	if by != nil {
		e.call, e.request = by.fact, by.request
	}
	p.evidence = append(p.evidence, e)
	if len(p.evidence) > maxNovel {
		p.evidence = p.evidence[1:]
	}
	const alternating = 4 // A, B, A, B, A
	if p.alternates < alternating {
		return
	}
	for j := range m.found {
		if o := &m.found[j]; ofFile(o) {
			o.State, o.Count = schemas.FindingStateOpen, max(o.Count, p.alternates)
			m.grow(o, e)
			return
		}
	}
	if by != nil && m.loopOf(pair{by.args, by.shape}) != nil {
		return // the same calls are a loop already
	}
	o := found{file: k.file, states: pair{p.before, p.last}, Finding: Finding{Kind: Loop, Key: key("file", k.file), Count: p.alternates, Detail: "undo"}}
	if by != nil {
		o.Subject = by.subject
	}
	for _, e := range p.evidence {
		m.grow(&o, e)
	}
	m.open(o)
}

// tested looks for a test that fails again though nothing was changed.
func (m *machine) tested(k *mark, by *step) {
	if by == nil || by.args == 0 || by.shape == 0 {
		return
	}
	p := pair{by.args, by.shape}
	i := slices.IndexFunc(m.failing, func(f failing) bool { return f.args == p.args })
	if !k.red || i >= 0 && m.failing[i].shape != p.shape {
		if i >= 0 {
			m.failing = slices.Delete(m.failing, i, i+1)
			i = -1
		}
		m.resolve(func(f *found) bool {
			return f.Kind == Loop && f.Detail == "test" && f.calls[0].args == p.args
		})
		if !k.red {
			return
		}
	}
	if i < 0 {
		if len(m.failing) == maxTests {
			m.failing = slices.Delete(m.failing, 0, 1)
		}
		m.failing = append(m.failing, failing{pair: p})
		i = len(m.failing) - 1
	}
	f := &m.failing[i]
	f.count++
	if len(f.evidence) < maxNovel {
		f.evidence = append(f.evidence, by.evidence())
	}
	if f.count < m.rules.single {
		return
	}
	if l := m.loopOf(p); l != nil {
		if l.Detail == "test" {
			l.State, l.Count = schemas.FindingStateOpen, max(l.Count, f.count)
			m.grow(l, by.evidence())
		}
		return
	}
	o := found{calls: []pair{p}, Finding: Finding{Kind: Loop, Key: key("test", mix(p.args, p.shape)), Subject: by.subject, Count: f.count, Detail: "test"}}
	for _, e := range f.evidence {
		m.grow(&o, e)
	}
	m.grow(&o, by.evidence())
	m.forget(by.intent)
	m.open(o)
}

// prompt ends the turn: a person has looked.
func (m *machine) prompt() { m.resolve(func(*found) bool { return true }) }

func (m *machine) open(f found) {
	f.Severity, f.State = schemas.SeverityHigh, schemas.FindingStateOpen
	if f.Kind == RepeatedRetries {
		f.Severity = schemas.SeverityMedium
	}
	if len(m.found) < maxOpen {
		m.found = append(m.found, f)
	}
}

func (m *machine) resolve(which func(*found) bool) {
	for i := range m.found {
		if f := &m.found[i]; f.State == schemas.FindingStateOpen && which(f) {
			f.State = schemas.FindingStateResolved
		}
	}
}

// like tells that two calls are the same by tool, arguments and result. What is
// not known is like nothing.
func (s *step) like(o *step) bool {
	return s.args != 0 && s.shape != 0 && s.args == o.args && s.shape == o.shape
}

func mix(a, b uint32) uint32 {
	h := a*2654435761 ^ b
	h ^= h >> 15
	return h*2246822519 | 1
}
