package reference

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// Found is a finding as far as it is compared: how many a session has of a kind,
// and how many of them are open. Subject is for reading only.
type Found struct {
	Org, Session, Kind, Subject string
	Open                        bool

	signs []sign // of a loop's steps
	asked bool   // it is a subagent's and was ended by a prompt
}

// Findings are what the detectors must have found in the end by the default
// rules (docs/detectors.md), of the kinds that one session decides.
func (b Batch) Findings(events []Input) (found []Found) {
	for _, s := range sessionsOf(events) {
		for _, f := range judge(b.rows(s)) {
			f.Org, f.Session = s.org, s.id
			found = append(found, f)
		}
	}
	return found
}

// judge finds in the rows of one session.
func judge(rows []*schemas.Enriched) (found []Found) {
	inTime(rows)
	r := newJudged(rows)
	found = append(found, r.policy()...)
	found = append(found, r.claims()...)
	for _, t := range r.turns() {
		found = append(found, r.watch(t)...)
	}
	return found
}

// judged is the rows of a session by kind, each in the order of time.
type judged struct {
	calls, steps, prompts, ends, changes, runs []*schemas.Enriched

	call    map[string]*schemas.Enriched   // by tool_use_id
	changed map[string][]*schemas.Enriched // the changes of a call
	run     map[string]*schemas.Enriched   // the test run of a call
}

func newJudged(rows []*schemas.Enriched) *judged {
	r := &judged{steps: stepsOf(rows), call: map[string]*schemas.Enriched{}, changed: map[string][]*schemas.Enriched{}, run: map[string]*schemas.Enriched{}}
	for _, row := range rows {
		switch row.Kind {
		case schemas.KindToolCall:
			r.calls = append(r.calls, row)
			r.call[row.ToolUseId] = row
		case schemas.KindPrompt:
			r.prompts = append(r.prompts, row)
		case schemas.KindTurnEnd:
			if row.AgentRunId == "" { // a subagent's message goes to the agent
				r.ends = append(r.ends, row)
			}
		case schemas.KindFileChange:
			if succeeded(row) || !row.Success.Valid { // a witness tells of what was done
				r.changes = append(r.changes, row)
				r.changed[row.ToolUseId] = append(r.changed[row.ToolUseId], row)
			}
		case schemas.KindTestRun:
			r.runs = append(r.runs, row)
			r.run[row.ToolUseId] = row
		}
	}
	return r
}

func (r *judged) turns() (turns [][]*schemas.Enriched) {
	of := map[turn]int{}
	for _, s := range r.steps {
		t := turnOf(s)
		i, ok := of[t]
		if !ok {
			i = len(turns)
			of[t], turns = i, append(turns, nil)
		}
		turns[i] = append(turns[i], s)
	}
	return turns
}

func refused(s *schemas.Enriched) bool {
	return s.ApprovalDecision == "reject" || whyItFailed(s) == "permission_denied"
}

func isCode(change *schemas.Enriched) bool {
	return !slices.Contains([]string{"md", "txt", "rst"}, change.FileType)
}

func red(run *schemas.Enriched) bool {
	return run != nil && (run.TestOutcome == schemas.TestOutcomeFailed || run.TestOutcome == schemas.TestOutcomeErrored)
}

func green(run *schemas.Enriched) bool { return run.TestOutcome == schemas.TestOutcomePassed }

// --- Policy: one fact is enough, and there is one finding for each subject.

var critical = []string{"terraform apply", "terraform destroy", "kubectl apply", "kubectl delete", "helm upgrade", "helm install",
	"npm publish", "cargo publish", "docker push"}

const bypass = "bypassPermissions"

func (r *judged) policy() (found []Found) {
	add := func(kind, subject string) {
		if !slices.ContainsFunc(found, func(f Found) bool { return f.Kind == kind && f.Subject == subject }) {
			found = append(found, Found{Kind: kind, Subject: subject, Open: true})
		}
	}
	for _, c := range r.calls {
		name := c.ToolName + " " + c.ToolTarget
		if c.SecretClass != "" {
			add("secret", c.SecretClass)
		}
		if (c.InstallSource == "script" || c.InstallSource == "url") && ended(c) && !refused(c) {
			add("network_install", name)
		}
		if c.PermissionMode == bypass && ended(c) && slices.ContainsFunc(r.calls, func(o *schemas.Enriched) bool {
			return o.OccurredAt < c.OccurredAt && o.PermissionMode != "" && o.PermissionMode != bypass
		}) {
			add("permission_bypass", "")
		}
		if c.CommandClass != "" && slices.Contains(critical, c.ToolTarget) && ended(c) && !succeeded(c) && !refused(c) {
			add("critical_command", c.ToolTarget)
		}
	}
	for _, c := range r.changes {
		if c.ProtectedClass != "" && !strings.HasPrefix(c.FilePath, "/") && !(c.ProtectedClass == "lock_file" && r.installed(c)) {
			add("protected_path", c.FilePath+" "+c.ProtectedClass)
		}
		if c.TestTamper != "" && !(c.TestTamper == "deleted" && r.codeWent(c)) {
			add("test_tamper", c.FilePath)
		}
	}
	return found
}

// installed tells a file that an install wrote by itself.
func (r *judged) installed(change *schemas.Enriched) bool {
	call := r.call[change.ToolUseId]
	return call != nil && (call.CommandClass == "install" || call.CommandClass == "network_install")
}

// codeWent tells that the code of a test was deleted in the turn in which its file
// was: a file whose name is that of the test without the word test or spec.
func (r *judged) codeWent(test *schemas.Enriched) bool {
	return slices.ContainsFunc(r.changes, func(c *schemas.Enriched) bool {
		return c.PromptId == test.PromptId && c.Detail == "delete" && c.TestTamper == "" && isCode(c) && tested(c.FilePath) == tested(test.FilePath)
	})
}

var testWord = regexp.MustCompile(`^(tests?|specs?)[_-]?|[_-]?(tests?|specs?)$`)

func tested(file string) string {
	name, _, _ := strings.Cut(strings.ToLower(path.Base(file)), ".")
	return testWord.ReplaceAllString(name, "")
}

// --- Claims: what a turn ends with.

func (r *judged) claims() (found []Found) {
	for _, end := range r.ends {
		var last, ofTurn, change *schemas.Enriched
		open := true
		for _, run := range r.runs {
			if run.OccurredAt >= end.OccurredAt {
				open = open && !green(run)
				continue
			}
			last = run
			if run.PromptId == end.PromptId {
				ofTurn = run
			}
		}
		for _, c := range r.changes {
			if c.OccurredAt < end.OccurredAt && isCode(c) {
				change = c
			}
		}
		untested := change != nil && (last == nil || change.OccurredAt > last.OccurredAt)
		switch {
		case end.Claim == "tests_pass" && (red(last) || untested):
			found = append(found, Found{Kind: "false_claim", Subject: end.PromptId, Open: open})
		case red(ofTurn):
			found = append(found, Found{Kind: "red_tests", Subject: end.PromptId, Open: open})
		}
	}
	return found
}

// --- Loops and retries: the steps of one run in one turn.

// sign is what two steps of a cycle have in common.
type sign struct{ tool, arguments, result string }

// unknown tells a step of which no witness tells all: it is like no other.
func (s sign) unknown() bool { return s.tool == "" || s.arguments == "" || s.result == "" }

func signOf(s *schemas.Enriched) sign {
	return sign{s.ToolName, s.ToolArgumentsHash, cmp.Or(s.ResultShape, s.ResultHash)}
}

// cycle is a loop that was found. It ends with a step that is not in it; one of
// tests that fail alike only, with a change or another result.
type cycle struct {
	signs []sign // of a file: of its two states
	tests bool   // known only as the same test that fails unchanged
	file  string // that goes to and fro
	open  bool
	last  int64 // µs
}

func (c *cycle) has(s sign) bool { return slices.Contains(c.signs, s) }

// cycles are those of a turn.
type cycles []*cycle

// with is a cycle that a step is in.
func (l cycles) with(s sign) *cycle {
	for _, c := range l {
		if c.file == "" && c.has(s) {
			return c
		}
	}
	return nil
}

// of is the cycle of a file.
func (l cycles) of(file string) *cycle {
	for _, c := range l {
		if c.file == file {
			return c
		}
	}
	return nil
}

// found opens a cycle, wherever in it its steps begin.
func (l *cycles) found(at int64, file string, signs ...sign) (c *cycle, first bool) {
	c = &cycle{file: file, signs: signs}
	if i := slices.IndexFunc(*l, c.same); i >= 0 {
		c = (*l)[i]
	} else {
		*l, first = append(*l, c), true
	}
	c.signs, c.open, c.last = signs, true, at
	return c, first
}

func (c *cycle) same(o *cycle) bool {
	if c.file != "" || o.file != "" {
		return c.file == o.file
	}
	return len(c.signs) == len(o.signs) && slices.ContainsFunc(rotations(c.signs), func(t []sign) bool { return slices.Equal(t, o.signs) })
}

// rotations are a cycle from each of its steps on.
func rotations(signs []sign) (turned [][]sign) {
	for i := range signs {
		turned = append(turned, slices.Concat(signs[i:], signs[:i]))
	}
	return turned
}

// retried is a finding of retries.
type retried struct {
	open bool
	last int64 // µs
}

const maxPeriod = 6

func repetitions(period int) int {
	if period == 1 {
		return 4
	}
	return 3
}

// watch goes through the steps of a turn.
func (r *judged) watch(steps []*schemas.Enriched) (found []Found) {
	t := turnOf(steps[0])
	var loops cycles
	retries := map[intent]*retried{}
	chains := map[intent][]*schemas.Enriched{} // failed attempts since a success or a change
	for i, s := range steps {
		now, in, until := signOf(s), intentOf(s), steps[:i+1]
		for _, c := range loops {
			if !c.tests && c.file == "" && !c.has(now) {
				c.open = false
			}
		}
		if period := r.repeated(until); period > 0 {
			members := steps[i+1-period : i+1]
			c, first := loops.found(s.OccurredAt, "", signsOf(members)...)
			c.tests = false
			for _, member := range members {
				if first { // there is the loop only
					delete(retries, intentOf(member))
				}
			}
		}
		r.toAndFro(until, &loops)
		if r.sameTest(until, &loops) {
			delete(retries, in)
		}

		chain := chains[in]
		if len(chain) > 0 && r.changedBetween(chain[len(chain)-1], s) || succeeded(s) {
			chain = nil
			if f := retries[in]; f != nil {
				f.open = false
			}
		}
		if paused(until) {
			chain = nil
		}
		if !succeeded(s) {
			chain = append(chain, s)
		}
		chains[in] = chain
		if len(chain) >= 4 && 2*distinct(chain) <= len(chain) && loops.with(now) == nil {
			retries[in] = &retried{true, s.OccurredAt}
		}
	}
	asked := func(since int64) bool { // the next prompt
		return slices.ContainsFunc(r.prompts, func(p *schemas.Enriched) bool { return p.PromptId != t.prompt && p.OccurredAt > since })
	}
	for _, c := range loops {
		if c.tests && r.changedSince(t, c.last) {
			c.open = false
		}
		found = append(found, Found{Kind: "loop", Subject: c.file, Open: c.open && !asked(c.last), signs: c.signs, asked: t.run != "" && c.open && asked(c.last)})
	}
	for in, f := range retries {
		found = append(found, Found{Kind: "repeated_retries", Subject: fmt.Sprint(in), Open: f.open && !asked(f.last), asked: t.run != "" && f.open && asked(f.last)})
	}
	return found
}

func signsOf(steps []*schemas.Enriched) (signs []sign) {
	for _, s := range steps {
		signs = append(signs, signOf(s))
	}
	return signs
}

func distinct(steps []*schemas.Enriched) int {
	seen := map[sign]bool{}
	for _, s := range steps {
		seen[signOf(s)] = true
	}
	return len(seen)
}

// repeated is the least period of what the last steps repeat, 0 if they do not or
// if they wait.
func (r *judged) repeated(steps []*schemas.Enriched) int {
	signs := signsOf(steps)
	for period := 1; period <= maxPeriod; period++ {
		n := period * repetitions(period)
		if n > len(steps) {
			continue
		}
		last := signs[len(signs)-n:]
		same := !slices.ContainsFunc(last, sign.unknown)
		for i := period; i < n; i++ {
			same = same && last[i] == last[i-period]
		}
		if same && !r.waits(steps, n, period) {
			return period
		}
	}
	return 0
}

// waits tells that something waits between the repetitions, which are the last n
// steps: a command, the agent, or all for a task in the background.
func (r *judged) waits(steps []*schemas.Enriched, n, period int) bool {
	const pause = 20_000_000 // µs
	window := steps[len(steps)-n:]
	for i := period; i < n; i++ {
		end := window[i-1].OccurredAt + 1000*window[i-1].DurationMs.Value
		if window[i].Waits.Value || window[i].OccurredAt-end >= pause {
			return true
		}
	}
	// A task went into the background before.
	now := steps[len(steps)-1]
	return slices.ContainsFunc(window[n-period:], asksForStatus) && slices.ContainsFunc(r.steps, func(s *schemas.Enriched) bool {
		return s.Background.Value && s != now && s.OccurredAt <= now.OccurredAt
	})
}

// paused tells that the last step waits, or came after a pause.
func paused(steps []*schemas.Enriched) bool {
	const pause = 20_000_000 // µs
	now, end := steps[len(steps)-1], int64(0)
	for _, s := range steps[:len(steps)-1] {
		end = max(end, s.OccurredAt+1000*s.DurationMs.Value)
	}
	return now.Waits.Value || end != 0 && now.OccurredAt-end >= pause
}

// asksForStatus tells a step that may ask how a task in the background is.
func asksForStatus(s *schemas.Enriched) bool {
	return succeeded(s) && !slices.Contains(edits, s.ToolName)
}

// toAndFro finds a file that two changes bring to and fro: the last four changes
// of it are two, twice.
func (r *judged) toAndFro(steps []*schemas.Enriched, loops *cycles) {
	now := steps[len(steps)-1]
	for _, change := range r.changed[now.ToolUseId] {
		var states []sign
		for _, s := range steps {
			if slices.ContainsFunc(r.changed[s.ToolUseId], func(c *schemas.Enriched) bool { return c.FilePath == change.FilePath }) {
				states = append(states, signOf(s))
			}
		}
		if c := loops.of(change.FilePath); c != nil && !c.has(signOf(now)) {
			c.open = false
		}
		if n := len(states); n >= 4 && states[n-1] == states[n-3] && states[n-2] == states[n-4] && states[n-1] != states[n-2] {
			loops.found(now.OccurredAt, change.FilePath, states[n-2:]...)
		}
	}
}

// sameTest finds a test command that fails alike four times while no file is
// changed, unless it is a loop already.
func (r *judged) sameTest(steps []*schemas.Enriched, loops *cycles) bool {
	now := steps[len(steps)-1]
	if r.run[now.ToolUseId] == nil {
		return false
	}
	fails := red(r.run[now.ToolUseId])
	for _, c := range *loops {
		if c.tests && now.ToolArgumentsHash == c.signs[0].arguments && (signOf(now) != c.signs[0] || !fails) {
			c.open = false
		}
	}
	known := loops.with(signOf(now))
	if !fails || signOf(now).unknown() || known != nil && !known.tests {
		return false
	}
	times, next := 1, now
	for _, s := range slices.Backward(steps[:len(steps)-1]) {
		if s.ToolName != now.ToolName || s.ToolArgumentsHash != now.ToolArgumentsHash || r.run[s.ToolUseId] == nil {
			continue
		}
		if signOf(s) != signOf(now) || !red(r.run[s.ToolUseId]) || r.changedBetween(s, next) {
			break
		}
		times, next = times+1, s
	}
	if times < 4 {
		return false
	}
	c, first := loops.found(now.OccurredAt, "", signOf(now))
	c.tests = true
	return first
}

// changedBetween tells that the run of two steps changed a file between them.
func (r *judged) changedBetween(a, b *schemas.Enriched) bool {
	return slices.ContainsFunc(r.changes, func(c *schemas.Enriched) bool {
		return c.AgentRunId == a.AgentRunId && a.OccurredAt <= c.OccurredAt && c.OccurredAt < b.OccurredAt
	})
}

// changedSince tells that a run changed a file in a turn after a time.
func (r *judged) changedSince(t turn, since int64) bool {
	return slices.ContainsFunc(r.changes, func(c *schemas.Enriched) bool { return turnOf(c) == t && c.OccurredAt > since })
}
