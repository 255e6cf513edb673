package tasks

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flightlog/flightlog/schemas"
)

const minute = int64(time.Minute / time.Microsecond)

// begin is when the sessions of these tests begin.
const begin = int64(1_795_000_000_000_000)

// story makes rows of one session, a second apart.
type story struct {
	session string
	at      int64
	rows    []*schemas.Enriched
}

func newStory(session string) *story { return &story{session: session, at: begin} }

func (s *story) add(kind schemas.Kind, change func(*schemas.Enriched)) *schemas.Enriched {
	s.at += 1_000_000
	r := &schemas.Enriched{FactKey: schemas.FactKey(s.session, kind, fmt.Sprint(len(s.rows))), Version: 1, Sign: 1, Generation: 1, Kind: kind, OccurredAt: s.at,
		SessionId: s.session, RootSessionId: s.session, TaskId: "t", TaskIdSource: schemas.TaskIdSourceTicket, PromptId: "p"}
	if change != nil {
		change(r)
	}
	s.rows = append(s.rows, r)
	return r
}

func (s *story) prompt(id string) {
	s.add(schemas.KindPrompt, func(r *schemas.Enriched) { r.PromptId, r.Detail = id, "human" })
}

func (s *story) stop(id string) {
	s.add(schemas.KindTurnEnd, func(r *schemas.Enriched) { r.PromptId, r.Success = id, schemas.SomeBool(true) })
}

func (s *story) fail(id, class string) {
	s.add(schemas.KindTurnEnd, func(r *schemas.Enriched) { r.PromptId, r.Success, r.ErrorClass = id, schemas.SomeBool(false), class })
}

func (s *story) edit(path, fileType string) {
	s.add(schemas.KindFileChange, func(r *schemas.Enriched) { r.FilePath, r.FileType = path, fileType })
}

func (s *story) test(outcome schemas.TestOutcome) {
	s.add(schemas.KindTestRun, func(r *schemas.Enriched) { r.TestOutcome = outcome })
}

func (s *story) call(id string, change func(*schemas.Enriched)) *schemas.Enriched {
	return s.add(schemas.KindToolCall, func(r *schemas.Enriched) {
		r.ToolUseId, r.ToolName, r.ToolTarget, r.CommandClass, r.Success = id, "Bash", "npm test", "test", schemas.SomeBool(true)
		if change != nil {
			change(r)
		}
	})
}

func (s *story) inBackground(id string) *schemas.Enriched {
	return s.call(id, func(r *schemas.Enriched) { r.Background = schemas.SomeBool(true) })
}

func TestTheOutcomeFollowsTheRules(t *testing.T) {
	passed, failed := schemas.TestOutcomePassed, schemas.TestOutcomeFailed
	for name, c := range map[string]struct {
		tell  func(*story)
		after int64 // µs since the last row
		end   bool  // of the session
		want  string
		rule  string // part of it
		ready bool
	}{
		"stopped":                         {tell: func(s *story) { s.prompt("p"); s.stop("p") }, after: 30 * minute, want: "completed"},
		"stopped just now":                {tell: func(s *story) { s.prompt("p"); s.stop("p") }, after: 30*minute - 1, want: "open", rule: "less than 30 minutes"},
		"it works":                        {tell: func(s *story) { s.prompt("p"); s.call("1", nil) }, after: 30 * minute, want: "open", rule: "has not ended"},
		"it worked and the session ended": {tell: func(s *story) { s.prompt("p"); s.call("1", nil) }, end: true, want: "interrupted"},
		"interrupted":                     {tell: func(s *story) { s.prompt("p"); s.fail("p", "interrupted") }, want: "interrupted"},
		"interrupted, and a week ago":     {tell: func(s *story) { s.prompt("p"); s.fail("p", "interrupted") }, after: 8 * 24 * 60 * minute, want: "interrupted"},
		"an error":                        {tell: func(s *story) { s.prompt("p"); s.fail("p", "server_error") }, want: "failed"},
		"an error without an end":         {tell: func(s *story) { s.prompt("p"); s.add(schemas.KindModelError, nil) }, want: "failed"},
		"an error, then an answer": {tell: func(s *story) {
			s.prompt("p")
			s.add(schemas.KindModelError, nil)
			s.add(schemas.KindModelRequest, nil)
		}, want: "open", rule: "has not ended"},
		"an error, then a prompt that stopped": {tell: func(s *story) { s.prompt("p"); s.fail("p", "server_error"); s.prompt("q"); s.stop("q") }, after: 30 * minute, want: "completed"},
		"a command of the client came last":    {tell: func(s *story) { s.prompt("p"); s.stop("p"); command(s, "exit") }, after: 30 * minute, want: "completed"},
		"nothing was asked":                    {tell: func(s *story) { command(s, "exit") }, want: "open", rule: "no prompt"},
		"nothing for a week":                   {tell: func(s *story) { s.prompt("p"); s.call("1", nil) }, after: 7 * 24 * 60 * minute, want: "abandoned", rule: "has not ended"},
		"completed, and a week ago":            {tell: func(s *story) { s.prompt("p"); s.stop("p") }, after: 7 * 24 * 60 * minute, want: "completed"},
		"red":                                  {tell: func(s *story) { s.prompt("p"); s.edit("a.go", "go"); s.test(failed); s.stop("p") }, after: 30 * minute, want: "open", rule: "red"},
		"red and abandoned":                    {tell: func(s *story) { s.prompt("p"); s.test(failed); s.stop("p") }, after: 7 * 24 * 60 * minute, want: "abandoned", rule: "red"},
		"red, then a text was changed":         {tell: func(s *story) { s.prompt("p"); s.test(failed); s.edit("a.md", "md"); s.stop("p") }, after: 30 * minute, want: "open", rule: "red"},
		"red, then code was changed":           {tell: func(s *story) { s.prompt("p"); s.test(failed); s.edit("a.go", "go"); s.stop("p") }, after: 30 * minute, want: "completed"},
		"red, then green":                      {tell: func(s *story) { s.prompt("p"); s.edit("a.go", "go"); s.test(failed); s.test(passed); s.stop("p") }, after: 30 * minute, want: "completed"},
		"green and committed": {tell: func(s *story) {
			s.prompt("p")
			s.edit("a.go", "go")
			s.test(passed)
			s.add(schemas.KindCommit, nil)
			s.stop("p")
		}, after: 30 * minute, want: "completed", ready: true},
		"committed, then green": {tell: func(s *story) {
			s.prompt("p")
			s.edit("a.go", "go")
			s.add(schemas.KindCommit, nil)
			s.test(passed)
			s.stop("p")
		}, after: 30 * minute, want: "completed", ready: true},
		"green, committed, changed": {tell: func(s *story) {
			s.prompt("p")
			s.test(passed)
			s.add(schemas.KindCommit, nil)
			s.edit("a.go", "go")
			s.stop("p")
		}, after: 30 * minute, want: "completed"},
		"green, committed, a text changed": {tell: func(s *story) {
			s.prompt("p")
			s.test(passed)
			s.add(schemas.KindCommit, nil)
			s.edit("a.md", "md")
			s.stop("p")
		}, after: 30 * minute, want: "completed"},
		"green and not committed":                     {tell: func(s *story) { s.prompt("p"); s.edit("a.go", "go"); s.test(passed); s.stop("p") }, after: 30 * minute, want: "completed"},
		"a command in the background":                 {tell: func(s *story) { s.prompt("p"); s.inBackground("1"); s.stop("p") }, after: 30 * minute, want: "open", rule: "background"},
		"a command in the background, session ended":  {tell: func(s *story) { s.prompt("p"); s.inBackground("1"); s.stop("p") }, after: 30 * minute, end: true, want: "completed"},
		"a command in the background that has ended":  {tell: func(s *story) { s.prompt("p"); s.inBackground("1"); s.stop("p"); notify(s); s.stop("n") }, after: 30 * minute, want: "completed"},
		"a subagent in the background":                {tell: func(s *story) { s.prompt("p"); s.inBackground("1"); subagent(s, "1", "r", false); s.stop("p") }, after: 30 * minute, want: "open", rule: "background"},
		"a subagent in the background that has ended": {tell: func(s *story) { s.prompt("p"); s.inBackground("1"); subagent(s, "1", "r", true); s.stop("p") }, after: 30 * minute, want: "completed"},
	} {
		s := newStory("s")
		c.tell(s)
		var end *schemas.Enriched
		if c.end {
			end = &schemas.Enriched{OccurredAt: s.at}
		}
		got := Combine([]schemas.TaskFact{Contribute(s.rows, end)}, s.at+c.after)
		if got.TaskOutcome.String() != c.want || !strings.Contains(got.OutcomeRule, c.rule) || got.MergeReady != c.ready {
			t.Errorf("%s: %s (merge-ready: %t), because %s; want %s", name, got.TaskOutcome, got.MergeReady, got.OutcomeRule, c.want)
		}
		if len(got.OutcomeEvidence) == 0 && name != "nothing was asked" {
			t.Errorf("%s: no evidence", name)
		}
	}
}

func command(s *story, name string) {
	s.add(schemas.KindPrompt, func(r *schemas.Enriched) { r.PromptId, r.Detail = name, name })
}

func notify(s *story) {
	s.add(schemas.KindPrompt, func(r *schemas.Enriched) { r.PromptId, r.Detail = "n", notice })
}

func subagent(s *story, call, run string, ended bool) {
	s.add(schemas.KindSubagent, func(r *schemas.Enriched) {
		r.ToolUseId, r.AgentRunId, r.Success = call, run, schemas.OptBool{Value: ended, Valid: ended}
	})
}

// TestTwoSessionsOfATicketAreOneTask: the last turn of either decides, a test of
// one judges a change of the other, and a file of both is one file.
func TestTwoSessionsOfATicketAreOneTask(t *testing.T) {
	a, b := newStory("a"), newStory("b")
	a.prompt("p")
	a.edit("x.go", "go")
	a.edit("y.go", "go")
	a.stop("p")
	b.at = a.at
	b.prompt("q")
	b.edit("x.go", "go")
	b.test(schemas.TestOutcomePassed)
	b.add(schemas.KindCommit, func(r *schemas.Enriched) { r.Branch = "fix" })
	for _, s := range []*story{a, b} {
		s.add(schemas.KindPullRequest, func(r *schemas.Enriched) { r.ChangeId = "github.com/a/b#1" })
	}
	b.stop("q")
	facts := []schemas.TaskFact{Contribute(b.rows, nil), Contribute(a.rows, nil)}
	got := Combine(facts, b.at+30*minute)
	if got.Sessions != 2 || got.Prompts != 2 || len(got.Did.Files) != 1 || got.Did.Files[0].Files != 2 || got.Did.PullRequests != 1 || !got.MergeReady || got.Branch != "fix" {
		t.Errorf("%+v", got)
	}
	want := []schemas.TaskEdge{{FromSession: "a", To: "b", Reason: schemas.EdgeReasonSameTicket, Times: 1}}
	if !slices.Equal(got.Edges, want) {
		t.Errorf("edges are %v, want %v", got.Edges, want)
	}
	tree := Path(slices.Concat(b.rows, a.rows))
	if len(tree.Children) != 2 || tree.Children[0].Title != "a" || tree.Children[1].Reason != "same_ticket of a" {
		t.Errorf("%+v", tree)
	}
	a.prompt("r") // it goes on in the other session
	a.at += 10 * minute
	facts[1] = Contribute(a.rows, nil)
	if got := Combine(facts, a.at+30*minute); got.TaskOutcome != schemas.TaskOutcomeOpen || !strings.Contains(got.OutcomeRule, "has not ended") {
		t.Errorf("%s: %s", got.TaskOutcome, got.OutcomeRule)
	}
}

func TestTwoHundredPeopleOnMainAreTwoHundredTasks(t *testing.T) {
	state := NewState()
	for i := range 200 {
		s := newStory(fmt.Sprintf("session-%d", i))
		s.prompt("p")
		s.stop("p")
		for _, r := range s.rows {
			r.Repo, r.Branch, r.User, r.TaskId, r.TaskIdSource = "github.com/a/b", "main", fmt.Sprint("user", i), s.session, schemas.TaskIdSourceSession
			state.Add(r)
		}
	}
	all := Group(state.Contributions(), begin)
	users := map[string]bool{}
	for _, task := range all {
		users[task.User] = true
		if task.Sessions != 1 || task.Prompts != 1 || len(task.Edges) != 0 {
			t.Errorf("%+v", task)
		}
	}
	if len(all) != 200 || len(users) != 200 {
		t.Errorf("%d tasks of %d people", len(all), len(users))
	}
}

// TestTriesAreFoldedBelowTheLast goes by the columns attempt and retry_reason.
func TestTriesAreFoldedBelowTheLast(t *testing.T) {
	s := newStory("s")
	s.prompt("p")
	for i := range int64(3) {
		s.add(schemas.KindModelRequest, func(r *schemas.Enriched) { r.RequestId, r.CostNanoUsd = fmt.Sprint("q", i), schemas.SomeLong(7) })
		s.call(fmt.Sprint(i), func(r *schemas.Enriched) {
			r.RequestId, r.Attempt, r.Success = fmt.Sprint("q", i), schemas.SomeLong(i+1), schemas.SomeBool(i == 2)
			if i > 0 {
				r.RetryReason = "test_failed"
			}
		})
		s.add(schemas.KindTestRun, func(r *schemas.Enriched) { r.ToolUseId, r.TestOutcome = fmt.Sprint(i), schemas.TestOutcomeFailed })
	}
	s.call("other", func(r *schemas.Enriched) { r.ToolTarget, r.RequestId = "npm run", "q2" })
	got := Contribute(s.rows, nil)
	if got.Task.Attempts != 3 || got.Task.Retries != 2 || got.Task.FailedCalls != 2 {
		t.Errorf("%d attempts, %d retries, %d failed", got.Task.Attempts, got.Task.Retries, got.Task.FailedCalls)
	}
	prompt := Path(s.rows).Children[0].Children[0]
	last := prompt.Children[2].Children[0]
	if len(prompt.Children) != 3 || len(last.Attempts) != 2 || last.State != "ok" || last.Reason != "test_failed" ||
		last.Attempts[0].State != "failed" || len(last.Attempts[0].Children) != 1 || len(prompt.Children[0].Children) != 0 || prompt.Cost() != 21 {
		t.Errorf("%+v", prompt)
	}
}

func TestEveryMomentCountsOnce(t *testing.T) {
	s := newStory("s")
	second := func(r *schemas.Enriched, at, seconds int64) {
		r.OccurredAt, r.DurationMs = begin+at*1_000_000, schemas.SomeLong(seconds*1000)
	}
	request := func(run string, end, seconds int64) {
		s.add(schemas.KindModelRequest, func(r *schemas.Enriched) { r.AgentRunId = run; second(r, end, seconds) })
	}
	call := func(id string, at, seconds int64) {
		s.call(id, func(r *schemas.Enriched) { second(r, at, seconds) })
	}
	s.prompt("p")       // at 1 s
	request("", 5, 3)   // 2 to 5
	call("1", 6, 2)     // asks at 7, is allowed at 10, runs to 12
	call("2", 11, 2)    // to 13
	call("3", 14, 6)    // a subagent, whose time is what it does
	request("r", 18, 4) // 14 to 18
	request("q", 19, 4) // 15 to 19
	call("4", 17, 1)    // to 18, while the model answers
	s.add(schemas.KindApproval, func(r *schemas.Enriched) {
		r.ToolUseId, r.OccurredAt, r.ApprovalWaitMs = "1", begin+7_000_000, schemas.SomeLong(3000)
	})
	subagent(s, "3", "r", true)
	s.rows[len(s.rows)-1].OccurredAt = begin + 14_000_000
	got := Contribute(s.rows, nil).Task
	if got.ModelMs != 7000 || got.ToolMs != 4000 || got.ApprovalMs != 3000 || got.IdleMs != 4000 {
		t.Errorf("model %d, tools %d, approvals %d, idle %d", got.ModelMs, got.ToolMs, got.ApprovalMs, got.IdleMs)
	}
}

// anyRows draws rows of one task in some sessions, with links that lead
// anywhere.
func anyRows(t *rapid.T) (rows []*schemas.Enriched) {
	name := rapid.SampledFrom([]string{"", "a", "b", "c"})
	long := rapid.SampledFrom([]string{"", "x", "go", "md", strings.Repeat("é", 2000)})
	for i := range rapid.IntRange(1, 60).Draw(t, "rows") {
		number := func(label string) schemas.OptLong {
			return schemas.OptLong{Value: rapid.Int64Range(-5, 1_000_000).Draw(t, label), Valid: rapid.Bool().Draw(t, label)}
		}
		flag := func(label string) schemas.OptBool {
			return schemas.OptBool{Value: rapid.Bool().Draw(t, label), Valid: rapid.Bool().Draw(t, label)}
		}
		kind := schemas.Kind(rapid.IntRange(1, int(schemas.KindTestRun)).Draw(t, "kind"))
		r := &schemas.Enriched{FactKey: schemas.FactKey("", kind, fmt.Sprint(i)), Sign: 1, Version: 1, Generation: 1, Kind: kind, OccurredAt: begin + rapid.Int64Range(0, 50).Draw(t, "at")*1000,
			SessionId: "s" + name.Draw(t, "session"), RootSessionId: "s" + name.Draw(t, "root"), ParentSessionId: name.Draw(t, "parent"),
			TaskId: strings.Repeat("t", 1200), TaskIdSource: schemas.TaskIdSourceTicket, PromptId: name.Draw(t, "prompt"), AgentRunId: name.Draw(t, "run"),
			ParentAgentRunId: name.Draw(t, "parent run"), RequestId: name.Draw(t, "request"), ToolUseId: name.Draw(t, "call"), ToolName: "Bash", ToolTarget: name.Draw(t, "target"),
			Repo: long.Draw(t, "repo"), Branch: long.Draw(t, "branch"), User: long.Draw(t, "user"), Team: long.Draw(t, "team"), Workflow: long.Draw(t, "workflow"),
			Model: fmt.Sprint(long.Draw(t, "model"), i%20), FilePath: fmt.Sprint(name.Draw(t, "path"), i), FileType: fmt.Sprint(long.Draw(t, "type"), i%15),
			CostNanoUsd: number("cost"), DurationMs: number("duration"), ApprovalWaitMs: number("wait"), Attempt: schemas.SomeLong(rapid.Int64Range(0, 3).Draw(t, "attempt")),
			Success: flag("success"), Background: flag("background"), Detail: rapid.SampledFrom([]string{"", "resume", "human", notice, "exit"}).Draw(t, "detail"),
			TestOutcome: schemas.TestOutcome(rapid.IntRange(0, 3).Draw(t, "test")), ApprovalDecision: rapid.SampledFrom([]string{"", "accept", "reject"}).Draw(t, "decision")}
		rows = append(rows, r)
	}
	return rows
}

func TestATaskIsAFunctionOfItsSetOfRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := anyRows(t)
		task, tree := told(rows)
		again := slices.Concat(rows, rows[:len(rows)/2]) // some come twice
		againTask, againTree := told(rapid.Permutation(again).Draw(t, "order"))
		if !bytes.Equal(task.AppendAvro(nil), againTask.AppendAvro(nil)) {
			t.Errorf("in another order it is\n%s, not\n%s", againTask.AppendJSON(nil), task.AppendJSON(nil))
		}
		if shape(tree) != shape(againTree) {
			t.Errorf("in another order its path is\n%s, not\n%s", shape(againTree), shape(tree))
		}
		cost, calls, seen := int64(0), int64(0), map[string]int{}
		for _, r := range rows {
			if r.Kind == schemas.KindModelRequest {
				cost += r.CostNanoUsd.Value
			}
			if r.Kind == schemas.KindToolCall {
				calls++
			}
		}
		each(tree, func(n *Node) { seen[n.FactKey]++ })
		delete(seen, "")
		for key, n := range seen {
			if n != 1 {
				t.Errorf("fact %s stands %d times in the tree", key, n)
			}
		}
		var parts int64
		for _, p := range task.Parts {
			parts += p.CostNanoUsd
		}
		if len(seen) != len(rows) || tree.Cost() != cost || task.CostNanoUsd != cost || parts != cost || task.ToolCalls != calls {
			t.Errorf("of %d rows %d are in the tree; they cost %d, the tree %d, the task %d, its parts %d; %d calls of %d", len(rows), len(seen), cost, tree.Cost(), task.CostNanoUsd, parts, task.ToolCalls, calls)
		}
		var decoded schemas.Task
		if err := decoded.DecodeMessage(task.AppendMessage(nil)); err != nil {
			t.Errorf("the record does not decode: %v", err)
		}
	})
}

// told is the task of rows, and its path. Every contribution must decode.
func told(rows []*schemas.Enriched) (schemas.Task, *Node) {
	state := NewState()
	for _, r := range rows {
		state.Add(r)
	}
	facts := state.Contributions()
	for i := range facts {
		var decoded schemas.TaskFact
		if err := decoded.DecodeMessage(facts[i].AppendMessage(nil)); err != nil {
			panic(err)
		}
	}
	return Combine(facts, begin+60*minute), Path(state.Rows("", rows[0].TaskId))
}

func each(n *Node, visit func(*Node)) {
	visit(n)
	for _, m := range slices.Concat(n.Attempts, n.Children) {
		each(m, visit)
	}
}

func shape(n *Node) string {
	var b strings.Builder
	each(n, func(n *Node) { fmt.Fprintf(&b, "%s %s %s %d %d\n", n.Kind, n.FactKey, n.Title, n.At, len(n.Children)) })
	return b.String()
}

// TestAHugeTaskFitsItsRecord: sums are whole though lists are cut.
func TestAHugeTaskFitsItsRecord(t *testing.T) {
	state, long := NewState(), strings.Repeat("ü", 600)
	for n := range 40 {
		s := newStory(fmt.Sprintf("%0128d", n))
		for i := range 300 {
			s.edit(fmt.Sprintf("%d/%d/%s", n, i, long), fmt.Sprintf("%d%s", i%30, long))
			s.add(schemas.KindModelRequest, func(r *schemas.Enriched) {
				r.Model, r.AgentRunId, r.CostNanoUsd, r.TokenInput = fmt.Sprintf("%d%s", i%30, long), []string{"", "r"}[i%2], schemas.SomeLong(math.MaxInt32), schemas.SomeLong(math.MaxInt32)
			})
			subagent(s, fmt.Sprint(i), fmt.Sprintf("%0128d", i), true)
		}
		s.prompt("p")
		s.stop("p")
		for _, r := range s.rows {
			r.TaskId, r.Repo, r.Branch, r.User, r.Team, r.Workflow, r.Org, r.Agent = strings.Repeat("t", 1200), long[:512], long[:512], long[:256], long[:256], long[:256], long[:128], long[:64]
			state.Add(r)
		}
	}
	facts := state.Contributions()
	for i := range facts {
		if n := len(facts[i].AppendAvro(nil)); n > maxRecord {
			t.Fatalf("a contribution has %d bytes", n)
		}
	}
	task := Combine(facts, begin)
	var files, edges int64
	for _, f := range task.Did.Files {
		files += f.Files
	}
	for _, e := range task.Edges {
		edges += e.Times
	}
	if n := len(task.AppendAvro(nil)); n > maxRecord || task.Sessions != 40 || files != 40*300 || task.CostNanoUsd != 40*300*math.MaxInt32 || edges+task.MoreEdges != 40*300+39 {
		t.Errorf("%d bytes, %d sessions, %d files, %d nano-dollars, %d + %d edges", n, task.Sessions, files, task.CostNanoUsd, edges, task.MoreEdges)
	}
	var decoded schemas.Task
	if err := decoded.DecodeMessage(task.AppendMessage(nil)); err != nil {
		t.Error(err)
	}
}

// TestAFactThatMovedIsNoLongerInTheOldTask: its last row there takes it back.
func TestAFactThatMovedIsNoLongerInTheOldTask(t *testing.T) {
	s := newStory("s")
	s.prompt("p")
	s.stop("p")
	moved := *s.rows[1]
	back, there := moved, moved
	back.Sign, back.Version = -1, 2
	there.Version, there.TaskId = 2, "u"
	state := NewState()
	for _, r := range []*schemas.Enriched{&there, &back, s.rows[1], s.rows[0]} {
		state.Add(r)
	}
	if rows, others := state.Rows("", "t"), state.Rows("", "u"); len(rows) != 1 || len(others) != 1 || len(state.Contributions()) != 2 {
		t.Errorf("%d rows stand, %d elsewhere, %d contributions", len(rows), len(others), len(state.Contributions()))
	}
}
