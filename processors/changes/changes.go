// Package changes joins what the forge and CI tell of commits and pull requests
// with the tasks of the sessions that made them (docs/changes.md). What a fact is
// linked to, and how a change stands, are functions of the set of facts: their
// order does not matter.
package changes

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// Words of a row's column link where there is no task.
const (
	linkNone      = "none"
	linkSeveral   = "several"
	linkAmbiguous = "ambiguous"
)

const (
	shortest   = 7         // hex digits by which git names a commit at least
	tolerance  = 10 * 60e6 // between the clocks of a forge and a laptop, µs
	maxReverts = 3         // a revert of a revert of a revert, whatever takes that back
	maxChange  = 250       // bytes of a change's name
)

// node is what facts of a repository have in common by naming it.
type node struct {
	org, repo string
	kind      nodeKind
	name      string
}

type nodeKind byte

const (
	ofCommit nodeKind = 'c' // made, pushed, or the head of a pull request; by the first digits
	ofMerge  nodeKind = 'm' // made by the merge of a pull request
	ofChecks nodeKind = 'k' // checked or deployed
	ofRevert nodeKind = 'r' // taken back
	ofPatch  nodeKind = 'p'
	ofBranch nodeKind = 'b' // worked on, or the head of a pull request
	ofPull   nodeKind = 'q'
)

// index finds the facts that name something.
type index interface {
	facts(node) []*schemas.Enriched
}

// OfForge tells a kind that the forge or CI tells of.
func OfForge(k schemas.Kind) bool { return schemas.OperationsOf(k) != nil }

// OfSession tells a kind of what a session did that changes are joined with.
func OfSession(k schemas.Kind) bool {
	return k == schemas.KindCommit || k == schemas.KindPush || k == schemas.KindPullRequest
}

func isCheck(r *schemas.Enriched) bool {
	return r.Kind == schemas.KindCheckRun || r.Kind == schemas.KindDeployment
}

// Repo is the repository that a row is joined in, in lower case, for forges do not
// tell such names apart: that of the pull request, which may be another than the
// session's where it works in a fork.
func Repo(r *schemas.Enriched) string {
	if repo, _, ok := strings.Cut(r.ChangeId, "#"); ok && r.Kind == schemas.KindPullRequest {
		return strings.ToLower(repo)
	}
	return strings.ToLower(r.Repo)
}

func at(r *schemas.Enriched, kind nodeKind, name string) node {
	if kind == ofPull || kind == ofRevert {
		name = strings.ToLower(name)
	}
	return node{r.Org, Repo(r), kind, name}
}

// stem is the part of a commit's id by which it is found, empty where that is too
// short to name one.
func stem(commit string) string {
	if len(commit) < shortest {
		return ""
	}
	return strings.ToLower(commit[:shortest])
}

// sameCommit tells that one of two ids is the other or its beginning.
func sameCommit(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return len(a) >= shortest && len(b) >= shortest && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// revertNode is where what takes something back is found.
func revertNode(r *schemas.Enriched, name string) node {
	if strings.Contains(name, "#") {
		return at(r, ofRevert, name)
	}
	return at(r, ofRevert, stem(name))
}

// nodesOf are those that a fact stands at.
func nodesOf(r *schemas.Enriched) (nodes []node) {
	add := func(n node) {
		if n.name != "" {
			nodes = append(nodes, n)
		}
	}
	branch := func() {
		if !schemas.SharedBranch(r.Branch) {
			add(at(r, ofBranch, r.Branch))
		}
	}
	switch r.Kind {
	case schemas.KindCommit:
		add(at(r, ofCommit, stem(r.CommitId)))
		add(at(r, ofPatch, r.PatchId))
		branch()
	case schemas.KindPush:
		branch()
	case schemas.KindPullRequest:
		if schemas.MadePullRequest(r.Detail) {
			add(at(r, ofPull, r.ChangeId))
		}
	case schemas.KindForgePush:
		add(at(r, ofCommit, stem(r.CommitId)))
		add(at(r, ofPatch, r.PatchId))
		add(at(r, ofPull, r.ChangeId))
		add(revertNode(r, r.Reverts))
	case schemas.KindForgePullRequest:
		add(at(r, ofCommit, stem(r.CommitId)))
		add(at(r, ofMerge, stem(r.MergeCommitId)))
		add(at(r, ofPull, r.ChangeId))
		add(revertNode(r, r.Reverts))
		branch()
	case schemas.KindCheckRun, schemas.KindDeployment:
		add(at(r, ofChecks, stem(r.CommitId)))
	}
	return nodes
}

// concerns are the nodes whose facts may be linked or stand otherwise because of
// a fact.
func concerns(r *schemas.Enriched) (nodes []node) {
	nodes = nodesOf(r)
	for _, commit := range [...]string{r.CommitId, r.MergeCommitId, r.Reverts} {
		if s := stem(commit); s != "" && !strings.Contains(commit, "#") {
			for _, kind := range [...]nodeKind{ofCommit, ofMerge, ofChecks, ofRevert} {
				nodes = append(nodes, at(r, kind, s))
			}
		}
	}
	if strings.Contains(r.Reverts, "#") {
		nodes = append(nodes, at(r, ofPull, r.Reverts))
	}
	return nodes
}

// links are the tasks that a fact is linked to, each by the surest link.
type links struct {
	tasks     map[string]schemas.ChangeLink
	ambiguous bool // an abbreviated id would fit, but fits others, too
}

func (l *links) add(task string, by schemas.ChangeLink) {
	if task == "" {
		return
	}
	if l.tasks == nil {
		l.tasks = map[string]schemas.ChangeLink{}
	}
	if known, ok := l.tasks[task]; !ok || by < known {
		l.tasks[task] = by
	}
}

func (l *links) join(other links) {
	for task, by := range other.tasks {
		l.add(task, by)
	}
	l.ambiguous = l.ambiguous || other.ambiguous
}

// word is the row's column link, and the task if it is one.
func (l *links) word() (task, link string) {
	switch {
	case len(l.tasks) > 1:
		return "", linkSeveral
	case len(l.tasks) == 0 && l.ambiguous:
		return "", linkAmbiguous
	}
	for task, by := range l.tasks {
		return task, by.String()
	}
	return "", linkNone
}

// linker links facts of an index.
type linker struct{ index }

// commit are the tasks whose sessions made a commit: by its id, or by its patch.
func (x linker) commit(of *schemas.Enriched, id, patch string) (l links) {
	if stem(id) == "" {
		return l
	}
	facts := x.facts(at(of, ofCommit, stem(id)))
	patches := map[string]bool{}
	if patch != "" {
		patches[patch] = true
	}
	for _, f := range facts {
		switch {
		case f.Kind == schemas.KindForgePush && sameCommit(f.CommitId, id) && f.PatchId != "":
			patches[f.PatchId] = true
		case f.Kind != schemas.KindCommit || !sameCommit(f.CommitId, id):
		case slices.ContainsFunc(facts, func(o *schemas.Enriched) bool { // the shorter of the two fits another, too
			return sameCommit(o.CommitId, f.CommitId) != sameCommit(o.CommitId, id)
		}):
			l.ambiguous = true
		default:
			l.add(f.TaskId, schemas.ChangeLinkCommit)
		}
	}
	for _, patch := range slices.Sorted(maps.Keys(patches)) {
		for _, f := range x.facts(at(of, ofPatch, patch)) {
			if f.Kind == schemas.KindCommit && f.PatchId == patch {
				l.add(f.TaskId, schemas.ChangeLinkPatchId)
			}
		}
	}
	return l
}

// pull are the tasks that a pull request belongs to.
func (x linker) pull(of *schemas.Enriched, id string) (l links) {
	var pull *schemas.Enriched
	for _, f := range x.facts(pullNode(of, id)) {
		switch f.Kind {
		case schemas.KindPullRequest:
			l.add(f.TaskId, schemas.ChangeLinkPullRequest)
		case schemas.KindForgePush:
			l.join(x.commit(f, f.CommitId, f.PatchId))
		case schemas.KindForgePullRequest:
			pull = f
		}
	}
	if pull == nil {
		return l
	}
	l.join(x.commit(pull, pull.CommitId, ""))
	if len(l.tasks) == 0 && !schemas.SharedBranch(pull.Branch) && pull.Branch != pull.TargetBranch {
		l.join(x.branch(pull))
	}
	return l
}

// pullNode is where a pull request is found, which may be of another repository than
// the row that names it.
func pullNode(of *schemas.Enriched, id string) node {
	repo, _, ok := strings.Cut(id, "#")
	if !ok {
		repo = Repo(of)
	}
	return node{of.Org, strings.ToLower(repo), ofPull, strings.ToLower(id)}
}

// branch are the tasks whose sessions committed to or pushed the head of a pull
// request: since another one of that branch was closed, and before this one was.
func (x linker) branch(pull *schemas.Enriched) (l links) {
	facts := x.facts(at(pull, ofBranch, pull.Branch))
	until, since := closedAt(pull), int64(0)
	for _, f := range facts {
		if at := closedAt(f); f.Kind == schemas.KindForgePullRequest && f.FactKey != pull.FactKey && at != 0 && (until == 0 || at < until) {
			since = max(since, at)
		}
	}
	for _, f := range facts {
		if OfSession(f.Kind) && f.Branch == pull.Branch && f.OccurredAt > since && (until == 0 || f.OccurredAt <= until+tolerance) {
			l.add(f.TaskId, schemas.ChangeLinkBranch)
		}
	}
	return l
}

// closedAt is when a pull request was merged or closed, µs; 0 = it is open.
func closedAt(pull *schemas.Enriched) int64 {
	if pull.Detail == merged || pull.Detail == closed {
		return pull.OccurredAt
	}
	return 0
}

// pullsAt are the pull requests that a commit belongs to: by what the forge says
// of it, as what their merge made, or as their head.
func (x linker) pullsAt(r *schemas.Enriched) (ids []string) {
	add := func(f *schemas.Enriched, of string) {
		if f.Kind == schemas.KindForgePullRequest && f.ChangeId != "" && sameCommit(of, r.CommitId) && !slices.Contains(ids, f.ChangeId) {
			ids = append(ids, f.ChangeId)
		}
	}
	if r.ChangeId != "" {
		ids = append(ids, r.ChangeId)
	}
	for _, f := range x.facts(at(r, ofMerge, stem(r.CommitId))) {
		add(f, f.MergeCommitId)
	}
	for _, f := range x.facts(at(r, ofCommit, stem(r.CommitId))) {
		add(f, f.CommitId)
	}
	return ids
}

// of are the tasks of a fact of the forge.
func (x linker) of(r *schemas.Enriched) (l links) {
	if r.Kind == schemas.KindForgePullRequest {
		return x.pull(r, r.ChangeId)
	}
	l = x.commit(r, r.CommitId, r.PatchId)
	for _, id := range x.pullsAt(r) {
		l.join(x.pull(r, id))
	}
	return l
}

// Operations of a pull request.
const (
	merged = "merged"
	closed = "closed"
)

// landed tells what is on its target branch, or was.
func landed(r *schemas.Enriched) bool {
	switch r.Kind {
	case schemas.KindForgePullRequest:
		return r.Detail == merged
	case schemas.KindForgePush:
		return r.Branch != "" && r.Branch == r.TargetBranch
	}
	return false
}

// reverted is what took a change back that had landed, nil if nothing did that
// stands itself.
func (x linker) reverted(r *schemas.Enriched) *schemas.Enriched {
	type place struct {
		fact  schemas.Id
		depth int
	}
	known := map[place]*schemas.Enriched{} // many may take back the same
	var by func(r *schemas.Enriched, depth int) *schemas.Enriched
	by = func(r *schemas.Enriched, depth int) (back *schemas.Enriched) {
		if depth == maxReverts || !landed(r) {
			return nil
		}
		at := place{r.FactKey, depth}
		if back, ok := known[at]; ok {
			return back
		}
		defer func() { known[at] = back }()
		for _, name := range x.namesToRevert(r) {
			node := revertNode(r, name)
			if node.name == "" {
				continue
			}
			for _, f := range x.facts(node) {
				same := strings.EqualFold(f.Reverts, name) || !strings.Contains(name, "#") && sameCommit(f.Reverts, name)
				if same && f.FactKey != r.FactKey && landed(f) && by(f, depth+1) == nil {
					return f
				}
			}
		}
		return nil
	}
	return by(r, 0)
}

// namesToRevert are those by which what has landed can be taken back: the number
// of a pull request and the commit of its merge, of a commit those of its pull
// request, too.
func (x linker) namesToRevert(r *schemas.Enriched) (names []string) {
	if r.Kind == schemas.KindForgePullRequest {
		return []string{r.ChangeId, cmp.Or(r.MergeCommitId, r.CommitId)}
	}
	names = []string{r.CommitId}
	for _, pull := range x.forgePulls(r) {
		if landed(pull) {
			names = append(names, x.namesToRevert(pull)...)
		}
	}
	return names
}

// change is how a pull request stands, or a commit that landed without one; false
// where a fact is neither.
func (x linker) change(r *schemas.Enriched) (c schemas.TaskChange, ok bool) {
	c = schemas.TaskChange{ChangeId: r.ChangeId, State: schemas.ChangeStateOpen, At: r.OccurredAt, Evidence: []schemas.Id{r.FactKey}}
	commits := []string{r.CommitId}
	switch {
	case r.Kind == schemas.KindForgePullRequest:
		commits = append(commits, r.MergeCommitId)
	case !landed(r) || slices.ContainsFunc(x.forgePulls(r), landed):
		return c, false
	default:
		c.ChangeId = r.Repo + "@" + r.CommitId
	}
	c.ChangeId = c.ChangeId[:min(len(c.ChangeId), maxChange)]
	switch {
	case landed(r):
		c.State = schemas.ChangeStateMerged
		if by := x.reverted(r); by != nil {
			c.State = schemas.ChangeStateReverted
			c.Evidence = append(c.Evidence, by.FactKey)
		}
	case r.Detail == closed:
		c.State = schemas.ChangeStateClosed
	}
	x.checks(r, commits, &c)
	return c, true
}

// forgePulls are the pull requests of a commit that the forge tells of.
func (x linker) forgePulls(r *schemas.Enriched) (pulls []*schemas.Enriched) {
	for _, id := range x.pullsAt(r) {
		for _, f := range x.facts(pullNode(r, id)) {
			if f.Kind == schemas.KindForgePullRequest {
				pulls = append(pulls, f)
			}
		}
	}
	return pulls
}

// checks counts the checks and deployments of some commits, a check by its name
// and commit.
func (x linker) checks(r *schemas.Enriched, commits []string, c *schemas.TaskChange) {
	last := map[string]*schemas.Enriched{}
	for i, commit := range commits {
		if stem(commit) == "" || slices.ContainsFunc(commits[:i], func(o string) bool { return sameCommit(o, commit) }) {
			continue
		}
		for _, f := range x.facts(at(r, ofChecks, stem(commit))) {
			if !f.Success.Valid || !sameCommit(f.CommitId, commit) {
				continue
			}
			if f.Kind == schemas.KindDeployment {
				if f.Success.Value && landed(r) {
					c.Deployments++
				}
				continue
			}
			name := commit + " " + f.Detail
			if k := last[name]; k == nil || cmp.Or(cmp.Compare(k.OccurredAt, f.OccurredAt), slices.Compare(k.FactKey[:], f.FactKey[:])) < 0 {
				last[name] = f
			}
		}
	}
	for _, f := range last {
		if f.Success.Value {
			c.ChecksPassed++
		} else {
			c.ChecksFailed++
		}
	}
}

// contributions are what a change contributes to its tasks, by task_id.
func (x linker) contributions(r *schemas.Enriched) (facts []schemas.TaskFact) {
	if r.Kind != schemas.KindForgePullRequest && r.Kind != schemas.KindForgePush {
		return nil
	}
	c, ok := x.change(r)
	if !ok {
		return nil
	}
	l := x.of(r)
	for _, task := range slices.Sorted(maps.Keys(l.tasks)) {
		c.Link = l.tasks[task]
		f := withdrawal(r.Org, task, c.ChangeId)
		f.Task.Changes = []schemas.TaskChange{c}
		facts = append(facts, f)
	}
	return facts
}

// withdrawal is a contribution of nothing.
func withdrawal(org, task, change string) schemas.TaskFact {
	return schemas.TaskFact{ChangeId: change, Task: schemas.Task{Org: org, TaskId: task}}
}
