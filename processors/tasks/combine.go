package tasks

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Combine is the record of a task as of now (µs since 1970), from what its
// sessions contribute, and changes at the forge: a function of the set of
// contributions, one for each session and change. It is version 1, sign +1, and at
// most 4 KiB: lists are cut, sums are whole. A file or pull request of several
// sessions counts once, as far as contributions name it. Without a session there
// is no task.
func Combine(facts []schemas.TaskFact, now int64) schemas.Task {
	if !slices.ContainsFunc(facts, ofSession) {
		return schemas.Task{}
	}
	return combine(facts, now).task()
}

// ofSession tells what a session contributes from what a change does.
func ofSession(f schemas.TaskFact) bool { return f.ChangeId == "" }

// combine takes contributions in order of their first facts.
func combine(facts []schemas.TaskFact, now int64) *combination {
	facts = slices.Clone(facts)
	var changes []schemas.TaskChange
	for i := range facts {
		if !ofSession(facts[i]) {
			changes = append(changes, facts[i].Task.Changes...)
		}
	}
	facts = slices.DeleteFunc(facts, func(f schemas.TaskFact) bool { return !ofSession(f) })
	slices.SortFunc(facts, func(a, b schemas.TaskFact) int {
		return cmp.Or(cmp.Compare(a.Task.FirstSeen, b.Task.FirstSeen), cmp.Compare(a.SessionId, b.SessionId))
	})
	c := &combination{now: now, files: map[string]*filesOfSessions{}, pulls: map[uint32]bool{}}
	for i := range facts {
		c.add(&facts[i].Task, &facts[i])
	}
	c.who(facts)
	c.lineage(facts)
	c.Changes = changes
	slices.SortFunc(c.Changes, func(a, b schemas.TaskChange) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.ChangeId, b.ChangeId))
	})
	return c
}

// combination is a Task that is being made of contributions in order of their
// first facts.
type combination struct {
	schemas.Task
	now        int64
	files      map[string]*filesOfSessions
	pulls      map[uint32]bool
	morePulls  int64
	intent     *schemas.TaskFact // of the first prompt
	last       *schemas.TaskFact // of the last turn
	running    *schemas.TaskFact // whose turn has not ended
	background *schemas.TaskFact
	test       *schemas.TaskFact
	codeEdit   *schemas.TaskFact
	commit     *schemas.TaskFact
	editedAt   int64
}

// filesOfSessions are files that contributions name, and how many more there are.
type filesOfSessions struct {
	paths map[uint32]bool
	sum   schemas.FilesOfType // Files are those without a name
}

// later keeps the contribution of the later time; of two at once the first.
func later(kept **schemas.TaskFact, f *schemas.TaskFact, at func(*schemas.TaskFact) int64) {
	if at(f) > 0 && (*kept == nil || at(f) > at(*kept)) {
		*kept = f
	}
}

func (c *combination) add(t *schemas.Task, f *schemas.TaskFact) {
	if c.FirstSeen == 0 || t.FirstSeen < c.FirstSeen {
		c.FirstSeen = t.FirstSeen
	}
	c.LastSeen = max(c.LastSeen, t.LastSeen)
	c.Sessions += t.Sessions
	c.Prompts += t.Prompts
	c.ToolCalls += t.ToolCalls
	c.FailedCalls += t.FailedCalls
	c.Attempts += t.Attempts
	c.Retries += t.Retries
	c.Approvals += t.Approvals
	c.ApprovalWaitMs += t.ApprovalWaitMs
	c.ApprovalWaitMsLongest = max(c.ApprovalWaitMsLongest, t.ApprovalWaitMsLongest)
	c.UnpricedRequests += t.UnpricedRequests
	c.CostGrade = max(c.CostGrade, t.CostGrade)
	c.Parts = append(c.Parts, t.Parts...)
	c.ModelMs += t.ModelMs
	c.ToolMs += t.ToolMs
	c.ApprovalMs += t.ApprovalMs
	c.IdleMs += t.IdleMs
	c.MoreEdges += t.MoreEdges

	d := &c.Did
	d.FailedCommands += t.Did.FailedCommands
	d.DeniedCalls += t.Did.DeniedCalls
	d.TestRuns += t.Did.TestRuns
	d.PackageInstalls += t.Did.PackageInstalls
	d.Commits += t.Did.Commits
	d.Pushes += t.Did.Pushes
	c.addFiles(f)
	c.morePulls += t.Did.PullRequests - int64(len(f.Pulls)/4)
	for h := f.Pulls; len(h) >= 4; h = h[4:] {
		c.pulls[binary.BigEndian.Uint32(h)] = true
	}

	if f.IntentAt > 0 && (c.intent == nil || f.IntentAt < c.intent.IntentAt) {
		c.intent = f
	}
	later(&c.last, f, func(f *schemas.TaskFact) int64 { return f.TurnAt })
	later(&c.test, f, func(f *schemas.TaskFact) int64 { return f.Task.Did.LastTestAt.Value })
	later(&c.codeEdit, f, func(f *schemas.TaskFact) int64 { return f.CodeEditedAt })
	later(&c.commit, f, func(f *schemas.TaskFact) int64 { return f.CommittedAt })
	c.editedAt = max(c.editedAt, f.EditedAt)
	if f.Turn == schemas.TurnStateRunning {
		later(&c.running, f, func(f *schemas.TaskFact) int64 { return f.TurnAt })
	}
	if f.Background > 0 && c.background == nil {
		c.background = f
	}
}

// addFiles takes the changed files: those that a contribution names once each.
func (c *combination) addFiles(f *schemas.TaskFact) {
	files := f.Task.Did.Files
	named := make([]int64, len(files))
	at := func(i int) *filesOfSessions {
		name := files[i].FileType
		if c.files[name] == nil {
			c.files[name] = &filesOfSessions{map[uint32]bool{}, schemas.FilesOfType{FileType: name}}
		}
		return c.files[name]
	}
	for p := f.Paths; len(p) >= 5 && int(p[0]) < len(files); p = p[5:] {
		named[p[0]]++
		at(int(p[0])).paths[binary.BigEndian.Uint32(p[1:])] = true
	}
	for i, t := range files {
		sum := &at(i).sum
		sum.Files, sum.LinesAdded, sum.LinesRemoved = sum.Files+t.Files-named[i], sum.LinesAdded+t.LinesAdded, sum.LinesRemoved+t.LinesRemoved
	}
}

// who takes the columns of who and where, of the session that was active last;
// what that does not know, of the one before it.
func (c *combination) who(facts []schemas.TaskFact) {
	first := &facts[0].Task
	c.Generation, c.TaskId, c.Org = first.Generation, first.TaskId, first.Org
	active := make([]*schemas.Task, len(facts))
	for i := range facts {
		active[i] = &facts[i].Task
	}
	slices.SortStableFunc(active, func(a, b *schemas.Task) int { return cmp.Compare(a.LastSeen, b.LastSeen) })
	for _, t := range active {
		c.Team, c.User, c.Repo = cmp.Or(t.Team, c.Team), cmp.Or(t.User, c.User), cmp.Or(t.Repo, c.Repo)
		c.Branch, c.Workflow, c.Agent = cmp.Or(t.Branch, c.Branch), cmp.Or(t.Workflow, c.Workflow), cmp.Or(t.Agent, c.Agent)
		c.TaskIdSource = better(c.TaskIdSource, t.TaskIdSource)
		if s := better(c.WorkKindSource, t.WorkKindSource); s == t.WorkKindSource && s != 0 {
			c.WorkKind, c.WorkKindSource = t.WorkKind, s
		}
	}
	if c.commit != nil && c.commit.Task.Branch != "" {
		c.Branch = c.commit.Task.Branch
	}
}

// lineage takes the edges of the sessions, and joins those that only the task's
// id joins.
func (c *combination) lineage(facts []schemas.TaskFact) {
	for i := range facts {
		f := &facts[i]
		came := slices.ContainsFunc(f.Task.Edges, func(e schemas.TaskEdge) bool { return e.To == f.SessionId && e.FromSession != f.SessionId })
		if reason := joins(c.TaskIdSource); i > 0 && !came && reason != schemas.EdgeReasonUnknown {
			c.Edges = append(c.Edges, schemas.TaskEdge{FromSession: facts[i-1].SessionId, To: f.SessionId, Reason: reason, Times: 1})
		}
		c.Edges = append(c.Edges, f.Task.Edges...)
	}
}

// joins is the reason by which a task's id joins sessions.
func joins(source schemas.TaskIdSource) schemas.EdgeReason {
	switch source {
	case schemas.TaskIdSourceExplicit:
		return schemas.EdgeReasonExplicit
	case schemas.TaskIdSourceTicket:
		return schemas.EdgeReasonSameTicket
	case schemas.TaskIdSourceBranch:
		return schemas.EdgeReasonSameBranch
	}
	return schemas.EdgeReasonUnknown
}

// task is what all contributions come to.
func (c *combination) task() schemas.Task {
	c.Sign, c.Version = 1, 1
	c.RowId = schemas.RowID(c.Generation, schemas.TaskKey(c.Org, c.TaskId), c.Version, c.Sign)
	if c.intent != nil {
		c.TaskIntentRef = c.intent.Task.TaskIntentRef
	}
	if c.last != nil {
		c.FinalMessageRef, c.FinalClaim = c.last.Task.FinalMessageRef, c.last.Task.FinalClaim
	}
	d := &c.Did
	if c.test != nil {
		d.LastTestOutcome, d.LastTestAt = c.test.Task.Did.LastTestOutcome, c.test.Task.Did.LastTestAt
	}
	d.EditsAfterTest = c.codeEdit != nil && c.codeEdit.CodeEditedAt > d.LastTestAt.Value
	d.PullRequests = int64(len(c.pulls)) + c.morePulls
	for _, f := range c.files {
		f.sum.Files += int64(len(f.paths))
		d.Files = append(d.Files, f.sum)
	}
	c.Parts, d.Files = cutParts(c.Parts, maxParts), cutFiles(d.Files, maxFiles)
	sumParts(&c.Task)
	c.judge()
	if n := len(c.Changes); n > maxChanges {
		c.Changes, c.MoreChanges = c.Changes[:maxChanges], int64(n-maxChanges)
	}
	c.Cap()
	fit(&c.Task, func() int { return len(c.AppendAvro(nil)) })
	return c.Task
}
