package tasks

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Kinds of nodes that are no kinds of rows.
const (
	TaskNode    = "task"
	SessionNode = "session"
)

// Node is one thing on the path of a task. Its children are in order of time.
type Node struct {
	Kind        string  `json:"kind"` // that of the row; task, session
	FactKey     string  `json:"fact_key,omitempty"`
	Title       string  `json:"title,omitempty"`
	Reason      string  `json:"reason,omitempty"`        // why a session belongs to the task; why it was tried again
	At          int64   `json:"at"`                      // µs since 1970
	DurationMs  int64   `json:"duration_ms,omitempty"`   // 0 = not known
	CostNanoUsd int64   `json:"cost_nano_usd,omitempty"` // of this request alone; see Cost
	Unpriced    bool    `json:"unpriced,omitempty"`      // a request without a price
	State       string  `json:"state,omitempty"`         // how it ended
	Ref         string  `json:"ref,omitempty"`           // name of its text or diff in the content topic
	Attempts    []*Node `json:"attempts,omitempty"`      // those before this one, of the same intent
	Children    []*Node `json:"children,omitempty"`
}

// Cost is what the node and all below it cost, in nano-dollars: of the root it
// is the sum of the task's rows.
func (n *Node) Cost() int64 {
	sum := n.CostNanoUsd
	for _, below := range [][]*Node{n.Attempts, n.Children} {
		for _, m := range below {
			sum += m.Cost()
		}
	}
	return sum
}

// Path is the path of a task as a tree: sessions, prompts, the requests of each,
// the calls that a request asked for, and what a call did. A subagent stands
// under the call that started it, tries of one intent under the last of them, and
// what the forge tells beside the sessions.
// Rows are the state of the task's facts; every row is in the tree once,
// whatever its links lead to. It is a function of the set of rows.
func Path(rows []*schemas.Enriched) *Node {
	sessions := map[string][]*schemas.Enriched{}
	for _, r := range rows {
		sessions[r.SessionId] = append(sessions[r.SessionId], r)
	}
	forge := sessions[""]
	delete(sessions, "")
	var facts []schemas.TaskFact
	for _, rows := range sessions {
		facts = append(facts, Contribute(rows, nil))
	}
	if len(facts) == 0 {
		return &Node{Kind: TaskNode}
	}
	t := combine(facts, 0)
	root := &Node{Kind: TaskNode, Title: t.TaskId, At: t.FirstSeen, DurationMs: (t.LastSeen - t.FirstSeen) / 1000}
	for _, f := range facts {
		n := sessionPath(inOrder(sessions[f.SessionId]))
		n.Kind, n.Title, n.At, n.DurationMs = SessionNode, f.SessionId, f.Task.FirstSeen, (f.Task.LastSeen-f.Task.FirstSeen)/1000
		for _, e := range t.Edges {
			if e.To == f.SessionId && e.FromSession != f.SessionId {
				n.Reason = e.Reason.String() + " of " + e.FromSession
			}
		}
		root.Children = append(root.Children, n)
	}
	for _, r := range forge {
		root.Children = append(root.Children, nodeOf(r))
	}
	root.sort()
	return root
}

func (n *Node) sort() {
	for _, m := range n.Children {
		m.sort()
	}
	for _, m := range n.Attempts {
		m.sort()
	}
	slices.SortFunc(n.Children, func(a, b *Node) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(rank(a), rank(b)), cmp.Compare(a.FactKey, b.FactKey), cmp.Compare(a.Title, b.Title))
	})
}

// rank orders what happened at one moment.
func rank(n *Node) int {
	k, _ := schemas.ParseKind(n.Kind)
	return int(k)
}

// place finds where in a session's path a row belongs.
type place struct {
	session                        *Node
	prompts, requests, calls, runs map[string]*Node
	above                          map[*Node]*Node // what each node hangs below
}

// sessionPath is the path of one session, of rows in order of time.
func sessionPath(rows []*schemas.Enriched) *Node {
	p := place{&Node{}, map[string]*Node{}, map[string]*Node{}, map[string]*Node{}, map[string]*Node{}, map[*Node]*Node{}}
	nodes := make([]*Node, len(rows))
	for i, r := range rows {
		n := nodeOf(r)
		nodes[i] = n
		switch r.Kind {
		case schemas.KindPrompt:
			p.prompts[r.PromptId] = n
		case schemas.KindModelRequest:
			p.requests[r.RequestId] = n
		case schemas.KindToolCall:
			p.calls[r.ToolUseId] = n
		case schemas.KindSubagent:
			p.runs[r.AgentRunId] = n
		}
	}
	for _, m := range []map[string]*Node{p.prompts, p.requests, p.calls, p.runs} {
		delete(m, "")
	}
	p.fold(rows, nodes)
	for i, r := range rows {
		n := nodes[i]
		if p.above[n] == nil {
			p.hang(n, p.of(r))
		}
		if prompt := p.prompts[r.PromptId]; prompt != nil && r.Kind == schemas.KindTurnEnd {
			prompt.State, prompt.DurationMs = n.State, max(0, r.OccurredAt-prompt.At)/1000
		}
	}
	return p.session
}

// hang puts a node below another. Where that is below the node itself, which no
// honest rows say, it goes below the session.
func (p *place) hang(n, below *Node) {
	for m := below; m != nil; m = p.above[m] {
		if m == n {
			below = nil
			break
		}
	}
	if below == nil {
		below = p.session
	}
	p.above[n] = below
	below.Children = append(below.Children, n)
}

// of is what a row belongs to, the nearest that there is; nil = the session.
func (p *place) of(r *schemas.Enriched) *Node {
	switch r.Kind {
	case schemas.KindPrompt, schemas.KindSessionStart, schemas.KindSessionEnd:
		return nil
	case schemas.KindSubagent:
		return cmp.Or(p.calls[r.ToolUseId], p.runs[r.ParentAgentRunId], p.prompts[r.PromptId])
	case schemas.KindModelRequest, schemas.KindModelRetry, schemas.KindModelError:
		return p.run(r)
	case schemas.KindToolCall:
		return cmp.Or(p.requests[r.RequestId], p.run(r))
	}
	return cmp.Or(p.calls[r.ToolUseId], p.run(r))
}

// run is the run that a row belongs to: a subagent, or the prompt. A subagent
// without a row of its own gets a node.
func (p *place) run(r *schemas.Enriched) *Node {
	if r.AgentRunId == "" {
		return p.prompts[r.PromptId]
	}
	if p.runs[r.AgentRunId] == nil {
		n := &Node{Kind: schemas.KindSubagent.String(), Title: r.AgentRunId, At: r.OccurredAt}
		p.hang(n, cmp.Or(p.runs[r.ParentAgentRunId], p.prompts[r.PromptId]))
		p.runs[r.AgentRunId] = n
	}
	return p.runs[r.AgentRunId]
}

// intent is what a call or a request tries to do, in a run and turn.
type intent struct{ prompt, run, tool, target string }

// fold puts attempts of one intent below the last of them: calls by their
// number (docs/detectors.md), requests that were sent again below the one that
// came through.
func (p *place) fold(rows []*schemas.Enriched, nodes []*Node) {
	before := map[intent][]*Node{}
	for i, r := range rows {
		n, of := nodes[i], intent{prompt: r.PromptId, run: r.AgentRunId}
		switch r.Kind {
		case schemas.KindModelRetry:
			before[of] = append(before[of], n)
			continue
		case schemas.KindModelRequest, schemas.KindModelError:
			n.Attempts, before[of] = before[of], nil
		case schemas.KindToolCall:
			of.tool, of.target = r.ToolName, cmp.Or(r.ToolTarget, r.ToolArgumentsHash)
			if r.Attempt.Value > 1 && len(before[of]) > 0 {
				last := before[of][0]
				n.Attempts, last.Attempts = append(last.Attempts, last), nil
			}
			before[of] = []*Node{n}
		}
		for _, m := range n.Attempts {
			p.above[m] = n
		}
	}
}

// nodeOf is the node of a row.
func nodeOf(r *schemas.Enriched) *Node {
	n := &Node{Kind: r.Kind.String(), FactKey: r.FactKey.String(), At: r.OccurredAt, DurationMs: r.DurationMs.Value, Reason: r.RetryReason, State: state(r)}
	switch r.Kind {
	case schemas.KindPrompt, schemas.KindTurnEnd:
		n.Title, n.Ref = cmp.Or(r.Detail, r.Claim), r.ResultHash
	case schemas.KindModelRequest:
		n.Title, n.CostNanoUsd, n.Unpriced = r.Model, r.CostNanoUsd.Value, !r.CostNanoUsd.Valid
	case schemas.KindModelError:
		n.Title = r.Model
	case schemas.KindToolCall, schemas.KindApproval:
		n.Title, n.Ref = words(r.ToolName, r.ToolTarget), r.ToolArgumentsRef
		if r.Kind == schemas.KindApproval {
			n.DurationMs = r.ApprovalWaitMs.Value
		}
	case schemas.KindFileChange:
		n.Title, n.Ref = fmt.Sprintf("%s +%d -%d", r.FilePath, r.LinesAdded.Value, r.LinesRemoved.Value), r.DiffRef
	case schemas.KindTestRun:
		n.Title = r.DiffStats
	case schemas.KindCommit:
		n.Title = r.CommitId
	case schemas.KindPullRequest, schemas.KindForgePullRequest:
		n.Title = words(r.ChangeId, r.Detail)
	case schemas.KindForgePush:
		n.Title = words(r.Branch, r.CommitId)
	case schemas.KindCheckRun, schemas.KindDeployment:
		n.Title = words(r.Detail, r.CommitId)
	case schemas.KindSubagent:
		n.Title = words(r.Detail, r.AgentRunId)
	case schemas.KindConfigChange:
		n.Title = r.FilePath
	default:
		n.Title = r.Detail
	}
	return n
}

func words(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

// state is how a thing ended.
func state(r *schemas.Enriched) string {
	switch r.Kind {
	case schemas.KindSessionStart, schemas.KindSessionEnd, schemas.KindPrompt, schemas.KindNotification, schemas.KindConfigChange:
		return ""
	case schemas.KindApproval:
		return words(cmp.Or(r.ApprovalDecision, "open"), r.ApprovalKind)
	case schemas.KindTestRun:
		return r.TestOutcome.String()
	case schemas.KindTurnEnd:
		if !unsuccessful(r) {
			return "stopped"
		}
		return cmp.Or(r.ErrorClass, "failed")
	}
	switch {
	case r.Kind == schemas.KindToolCall && Denied(r):
		return words("denied", r.ErrorClass)
	case stopped(r):
		return "interrupted"
	case unsuccessful(r) && r.ExitStatus.Value != 0:
		return fmt.Sprintf("failed exit %d", r.ExitStatus.Value)
	case unsuccessful(r):
		return words("failed", r.ErrorClass)
	case r.Background.Value:
		return "in the background"
	case r.Success.Valid:
		return "ok"
	case r.Kind == schemas.KindToolCall || r.Kind == schemas.KindSubagent:
		return "running"
	}
	return ""
}
