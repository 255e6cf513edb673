package tasks

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Contribute is what one session did for one task: rows are the state of that
// task's facts in that session (the +1 row of the highest version of each), end
// is the session's row session_end, whatever task it stands on, nil while the
// session goes on. It is a function of the set of rows. The result is at most
// 4 KiB: lists are cut, sums are whole.
func Contribute(rows []*schemas.Enriched, end *schemas.Enriched) schemas.TaskFact {
	rows = inOrder(rows)
	c := &contribution{links: linksOf(rows), turns: map[string]*turn{}, parts: map[part]*schemas.TaskPart{},
		files: map[string]*filesOfType{}, edges: map[edge]int64{}, pulls: map[uint32]bool{}}
	for _, r := range rows {
		c.add(r)
	}
	return c.fact(end)
}

// inOrder is a copy of rows in order of time.
func inOrder(rows []*schemas.Enriched) []*schemas.Enriched {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b *schemas.Enriched) int {
		return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.Kind, b.Kind), slices.Compare(a.FactKey[:], b.FactKey[:]))
	})
	return rows
}

// links are the rows of a session that belong to a tool call, by its id.
type links struct {
	calls, approvals, runs map[string]*schemas.Enriched
	notified               int64 // last notice that something in the background has ended
}

func linksOf(rows []*schemas.Enriched) links {
	l := links{map[string]*schemas.Enriched{}, map[string]*schemas.Enriched{}, map[string]*schemas.Enriched{}, 0}
	for _, r := range rows {
		switch {
		case r.Kind == schemas.KindToolCall:
			l.calls[r.ToolUseId] = r
		case r.Kind == schemas.KindApproval && r.ToolUseId != "":
			l.approvals[r.ToolUseId] = r
		case r.Kind == schemas.KindSubagent && r.ToolUseId != "":
			l.runs[r.ToolUseId] = r
		case r.Kind == schemas.KindPrompt && r.Detail == notice:
			l.notified = max(l.notified, r.OccurredAt)
		}
	}
	return l
}

// notice is the origin of a prompt by which the client tells that something in
// the background has ended.
const notice = "task_notification"

// background tells a subagent's call that the main thread did not wait for.
func (l *links) background(toolUse string) bool {
	call := l.calls[toolUse]
	return call != nil && call.Background.Value
}

// contribution is a TaskFact that is being made of rows in order of time.
type contribution struct {
	links
	schemas.TaskFact
	turns    map[string]*turn // by prompt
	parts    map[part]*schemas.TaskPart
	files    map[string]*filesOfType
	pulls    map[uint32]bool // pull requests, by hash
	edges    map[edge]int64  // how often
	lineage  []edge          // in order of time
	resent   resent
	branches [2]string // of the last commit, of the last fact of a prompt
	spans    []span
}

type part struct {
	run   schemas.TaskRun
	model string
}

type edge struct {
	from, to string
	reason   schemas.EdgeReason
}

// filesOfType are the changed files of a type, by the hashes of their paths.
type filesOfType struct {
	paths          map[uint32]bool
	added, removed int64
}

// resent counts requests to a model that were sent again: by their retries, and
// by what the last of them says. OTLP alone tells the second only.
type resent struct{ retries, again, ends int64 }

// add takes the next row.
func (c *contribution) add(r *schemas.Enriched) {
	c.who(r)
	c.inTurn(r)
	t := &c.Task
	if r.Kind != schemas.KindSessionEnd {
		c.seen(r.OccurredAt)
	}
	switch r.Kind {
	case schemas.KindSessionStart:
		if r.Detail == "resume" {
			c.link(r.SessionId, r.SessionId, schemas.EdgeReasonResume)
		}
	case schemas.KindPrompt:
		t.Prompts++
	case schemas.KindModelRequest:
		c.request(r)
	case schemas.KindModelRetry:
		c.resent.retries++
		c.span(modelTime, r.OccurredAt, r.DurationMs)
	case schemas.KindModelError:
		c.sent(r)
	case schemas.KindToolCall:
		c.call(r)
	case schemas.KindApproval:
		t.Approvals++
		t.ApprovalWaitMs += r.ApprovalWaitMs.Value
		t.ApprovalWaitMsLongest = max(t.ApprovalWaitMsLongest, r.ApprovalWaitMs.Value)
		c.span(approvalTime, r.OccurredAt, r.ApprovalWaitMs)
	case schemas.KindSubagent:
		reason := schemas.EdgeReasonSubagent
		if c.background(r.ToolUseId) {
			reason = schemas.EdgeReasonBackground
		}
		c.link(r.SessionId, r.AgentRunId, reason)
	case schemas.KindFileChange:
		c.change(r)
	case schemas.KindTestRun:
		t.Did.TestRuns++
		t.Did.LastTestOutcome, t.Did.LastTestAt, c.Test = r.TestOutcome, schemas.SomeLong(r.OccurredAt), r.FactKey
	case schemas.KindCommit:
		t.Did.Commits++
		c.CommittedAt, c.Commit = r.OccurredAt, r.FactKey
	case schemas.KindPush:
		if !unsuccessful(r) {
			t.Did.Pushes++
		}
	case schemas.KindPullRequest:
		if schemas.MadePullRequest(r.Detail) {
			c.pulls[hash(cmp.Or(r.ChangeId, r.FactKey.String()))] = true
		}
	}
}

// who takes the columns of who and where: the last that are known.
func (c *contribution) who(r *schemas.Enriched) {
	t := &c.Task
	c.SessionId, t.TaskId, t.Generation = r.SessionId, r.TaskId, r.Generation
	c.RootSessionId = cmp.Or(r.RootSessionId, c.RootSessionId)
	t.Org, t.Team, t.User = cmp.Or(r.Org, t.Org), cmp.Or(r.Team, t.Team), cmp.Or(r.User, t.User)
	t.Repo, t.Workflow, t.Agent = cmp.Or(r.Repo, t.Repo), cmp.Or(r.Workflow, t.Workflow), cmp.Or(r.Agent, t.Agent)
	t.TaskIdSource = better(t.TaskIdSource, r.TaskIdSource)
	if s := better(t.WorkKindSource, r.WorkKindSource); s == r.WorkKindSource && s != 0 {
		t.WorkKind, t.WorkKindSource = r.WorkKind, s
	}
	if r.Kind == schemas.KindCommit {
		c.branches[0] = cmp.Or(r.Branch, c.branches[0])
	}
	if r.PromptId != "" {
		c.branches[1] = cmp.Or(r.Branch, c.branches[1])
	}
	if r.ParentSessionId != "" {
		c.link(r.ParentSessionId, r.SessionId, schemas.EdgeReasonFork)
	} else if r.RootSessionId != "" && r.RootSessionId != r.SessionId {
		c.link(r.RootSessionId, r.SessionId, schemas.EdgeReasonContinue)
	}
}

// better is the better of two sources: their enums begin with unknown, then the
// best.
func better[E schemas.TaskIdSource | schemas.WorkKindSource](a, b E) E {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// link counts an edge; a fork is one, however many rows tell of it.
func (c *contribution) link(from, to string, reason schemas.EdgeReason) {
	e := edge{from, to, reason}
	if c.edges[e]++; c.edges[e] == 1 {
		c.lineage = append(c.lineage, e)
	}
	if reason != schemas.EdgeReasonResume {
		c.edges[e] = 1
	}
}

// seen takes a time at which something happened.
func (c *contribution) seen(at int64) {
	if c.Task.FirstSeen == 0 || at < c.Task.FirstSeen {
		c.Task.FirstSeen = at
	}
	c.Task.LastSeen = max(c.Task.LastSeen, at)
}

// sent takes the end of a request, which is its time.
func (c *contribution) sent(r *schemas.Enriched) {
	if r.Attempt.Value > 1 {
		c.resent.again, c.resent.ends = c.resent.again+r.Attempt.Value-1, c.resent.ends+1
	}
	c.span(modelTime, r.OccurredAt-micros(r.DurationMs), r.DurationMs)
}

func (c *contribution) request(r *schemas.Enriched) {
	c.sent(r)
	p := part{schemas.TaskRunMain, r.Model}
	if r.AgentRunId != "" {
		p.run = schemas.TaskRunSubagent
	}
	if c.parts[p] == nil {
		c.parts[p] = &schemas.TaskPart{Run: p.run, Model: p.model}
	}
	addPart(c.parts[p], &schemas.TaskPart{ModelRequests: 1, TokenInput: r.TokenInput.Value, TokenOutput: r.TokenOutput.Value, TokenCacheRead: r.TokenCacheRead.Value,
		TokenCacheWrite: r.TokenCacheWrite5m.Value + r.TokenCacheWrite1h.Value, CostNanoUsd: r.CostNanoUsd.Value})
	if !r.CostNanoUsd.Valid {
		c.Task.UnpricedRequests++
	}
	c.Task.CostGrade = max(c.Task.CostGrade, r.CostGrade)
}

func (c *contribution) call(r *schemas.Enriched) {
	t := &c.Task
	t.ToolCalls++
	failed, denied := unsuccessful(r), Denied(r)
	switch {
	case denied:
		t.FailedCalls, t.Did.DeniedCalls = t.FailedCalls+1, t.Did.DeniedCalls+1
	case failed:
		t.FailedCalls++
		if r.CommandClass != "" && !stopped(r) {
			t.Did.FailedCommands++
		}
	case r.Success.Value && (r.CommandClass == "install" || r.CommandClass == "network_install"):
		t.Did.PackageInstalls++
	}
	if r.Attempt.Value > 1 {
		t.Attempts, t.Retries = t.Attempts+1, t.Retries+1
	}
	if r.Attempt.Value == 2 {
		t.Attempts++ // the first
	}
	if c.runs[r.ToolUseId] != nil {
		return // what its run does is time of its own
	}
	at := r.OccurredAt
	if a := c.approvals[r.ToolUseId]; a != nil { // it runs when it was allowed
		at = max(at, a.OccurredAt+micros(a.ApprovalWaitMs))
	}
	c.span(toolTime, at, r.DurationMs)
}

// Denied tells a tool call that was refused by whoever decided.
func Denied(r *schemas.Enriched) bool { return r.ApprovalDecision == "reject" }

// stopped tells a call that was allowed and then interrupted by a person.
func stopped(r *schemas.Enriched) bool {
	return unsuccessful(r) && !Denied(r) && (r.ErrorClass == "interrupted" || r.ErrorClass == "user-rejected")
}

// unsuccessful tells a row of something that did not succeed.
func unsuccessful(r *schemas.Enriched) bool { return r.Success.Valid && !r.Success.Value }

func (c *contribution) change(r *schemas.Enriched) {
	if unsuccessful(r) {
		return
	}
	f := c.files[r.FileType]
	if f == nil {
		f = &filesOfType{paths: map[uint32]bool{}}
		c.files[r.FileType] = f
	}
	f.paths[hash(r.FilePath)] = true
	f.added, f.removed = f.added+r.LinesAdded.Value, f.removed+r.LinesRemoved.Value
	c.EditedAt = max(c.EditedAt, r.OccurredAt)
	switch r.FileType {
	case "md", "txt", "rst": // texts are no code (docs/detectors.md)
	default:
		c.CodeEditedAt, c.CodeEdit = r.OccurredAt, r.FactKey
	}
}

// hash names a text in 4 bytes.
func hash(text string) uint32 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint32(sum[:])
}

// fact is what all rows come to.
func (c *contribution) fact(end *schemas.Enriched) schemas.TaskFact {
	t := &c.Task
	t.Sessions = 1
	c.times()
	t.Branch = cmp.Or(c.branches[0], c.branches[1])
	retries := max(c.resent.retries, c.resent.again)
	t.Retries += retries
	t.Attempts += retries + max(c.resent.ends, min(1, retries))
	ended := end != nil && end.OccurredAt >= t.LastSeen
	c.lastTurn(ended)
	if !ended {
		c.inBackground()
	}
	t.Did.EditsAfterTest = c.CodeEditedAt > t.Did.LastTestAt.Value
	for _, p := range c.parts {
		t.Parts = append(t.Parts, *p)
	}
	for _, e := range c.lineage {
		t.Edges = append(t.Edges, schemas.TaskEdge{FromSession: e.from, To: e.to, Reason: e.reason, Times: c.edges[e]})
	}
	t.Did.PullRequests = int64(len(c.pulls))
	for _, h := range slices.Sorted(maps.Keys(c.pulls)) {
		c.Pulls = binary.BigEndian.AppendUint32(c.Pulls, h)
	}
	for name, f := range c.files {
		t.Did.Files = append(t.Did.Files, schemas.FilesOfType{FileType: name, Files: int64(len(f.paths)), LinesAdded: f.added, LinesRemoved: f.removed})
	}
	c.Cap()
	t.Parts, t.Did.Files = cutParts(t.Parts, maxParts), cutFiles(t.Did.Files, maxFiles)
	for i, f := range t.Did.Files {
		if of := c.files[f.FileType]; of != nil {
			for _, h := range slices.Sorted(maps.Keys(of.paths)) {
				c.Paths = binary.BigEndian.AppendUint32(append(c.Paths, byte(i)), h)
			}
		}
	}
	sumParts(t)
	fitFact(&c.TaskFact)
	return c.TaskFact
}
