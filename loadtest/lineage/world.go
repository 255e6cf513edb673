package lineage

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// world is a story while it is told. Its clock goes on with what happens.
type world struct {
	random   *rand.Rand
	number   int
	now      time.Time
	main     string // default branch
	bare     bool   // hooks and OTLP know no branch and no chain of sessions, as with the real client
	branches bool   // the forge tells pushes to other branches than the default one
	patches  bool   // the forge tells patch ids
	terse    bool   // later events of a pull request say only what is new
	names    bool   // pushes name the pull request that they are of
	events   []*schemas.Event
	sessions []*session
	changes  map[string]*Change
	numbers  map[string]int // of the last pull request, by repository
	works    int
	people   int
	used     map[string]bool // names of branches, tickets, repositories
}

func newWorld(random *rand.Rand, number int) *world {
	w := &world{random: random, number: number, changes: map[string]*Change{}, numbers: map[string]int{}, used: map[string]bool{}}
	w.now = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC).Add(w.duration(0, 90*24*time.Hour))
	w.main = pick(w, "main", "main", "main", "master", "trunk")
	w.bare, w.branches, w.patches, w.terse, w.names = w.chance(33), w.chance(60), w.chance(40), w.chance(30), w.chance(50)
	return w
}

// Random values.

func (w *world) chance(percent int) bool { return w.random.IntN(100) < percent }

// between is a number from low to high.
func (w *world) between(low, high int) int { return low + w.random.IntN(high-low+1) }

func pick[T any](w *world, of ...T) T { return of[w.random.IntN(len(of))] }

// duration is one from low to high, to the microsecond.
func (w *world) duration(low, high time.Duration) time.Duration {
	return (low + time.Duration(w.random.Int64N(int64(high-low)+1))).Truncate(time.Microsecond)
}

// pass lets time go by.
func (w *world) pass(low, high time.Duration) { w.now = w.now.Add(w.duration(low, high)) }

const day = 24 * time.Hour

func (w *world) hex(digits int) string {
	b := make([]byte, (digits+1)/2)
	for i := range b {
		b[i] = byte(w.random.UintN(256))
	}
	return hex.EncodeToString(b)[:digits]
}

func (w *world) uuid() string {
	h := w.hex(30)
	return h[:8] + "-" + h[8:12] + "-4" + h[12:15] + "-a" + h[15:18] + "-" + h[18:]
}

// commit is one of a repository. The patch is the same after a rebase.
type commit struct{ id, patch string }

func (w *world) commit() commit { return commit{w.hex(40), w.hex(40)} }

// again is a commit with the same patch and another id: rebased.
func (w *world) again(c commit) commit { return commit{w.hex(40), c.patch} }

// alike is another commit whose id begins with the same digits.
func (w *world) alike(c commit, digits int) commit {
	other := w.commit()
	next := "0"
	if c.id[digits] == '0' {
		next = "1"
	}
	other.id = c.id[:digits] + next + other.id[digits+1:]
	return other
}

// People and places.

// person works on a host.
type person struct{ name, host string }

func (w *world) person() person {
	w.people++
	first := pick(w, "ann", "bob", "cem", "dora", "emil", "fay", "gus", "hana", "ivo", "jun")
	name := fmt.Sprintf("%s.%d", first, w.people)
	return person{name + "@acme.example", "laptop-" + name}
}

// place is where work is done. The ticket is the one in the branch.
type place struct{ repo, branch, ticket string }

// unique is what the function gives, once.
func (w *world) unique(what func() string) string {
	for {
		if s := what(); !w.used[s] {
			w.used[s] = true
			return s
		}
	}
}

// repo is a repository of its own.
func (w *world) repo() string {
	return w.unique(func() string {
		return "github.com/acme/" + pick(w, "shop", "cart", "billing", "search", "mail") + fmt.Sprintf("-%04d-%d", w.number, w.between(1, 99))
	})
}

func (w *world) slug() string {
	return pick(w, "rounding", "freight", "login", "export", "cache", "titles", "limits", "locale", "invoice", "banner") +
		"-" + strconv.Itoa(w.between(1, 999))
}

func (w *world) prefix() string { return pick(w, "fix/", "feat/", "chore/", "") }

// plain is a branch without a ticket.
func (w *world) plain(repo string) place {
	return place{repo: repo, branch: w.unique(func() string { return w.prefix() + w.slug() })}
}

func (w *world) ticket() string {
	return w.unique(func() string { return pick(w, "SHOP", "CART", "PAY", "OPS") + "-" + strconv.Itoa(w.between(1, 9999)) })
}

// on is a branch for a ticket.
func (w *world) on(repo, ticket string) place {
	return place{repo, w.unique(func() string { return w.prefix() + ticket + pick(w, "", "-"+w.slug()) }), ticket}
}

// branch is one of either form.
func (w *world) branch(repo string) place {
	if w.chance(50) {
		return w.on(repo, w.ticket())
	}
	return w.plain(repo)
}

func (w *world) onMain(repo string) place { return place{repo: repo, branch: w.main} }

// work is the name of a new piece of work.
func (w *world) work() string {
	w.works++
	return fmt.Sprintf("work %d", w.works)
}

// Sessions.

// session is one of an agent. Embedding its world, it shares the clock.
type session struct {
	*world
	person
	id, root, parent string
	place            place
	task             string // explicit id
	work             string // of its next prompt
	prompt           string
	asked            []asked
	digits           int           // of a commit's id, as the client printed it
	git              bool          // the witness git saw its commits, too
	skew             time.Duration // its clock is ahead by that
	brief            bool          // only one witness tells
	head             *place        // where commits and pushes go, if the client does not say so of the rest yet
}

type asked struct{ prompt, work string }

// session starts one for a piece of work.
func (w *world) session(p person, at place, work string) *session { return w.explicit(p, at, work, "") }

// explicit starts one with an explicit id of the task.
func (w *world) explicit(p person, at place, work, task string) *session {
	s := w.begun(&session{world: w, person: p, id: w.uuid(), place: at, work: work, task: task})
	s.root = s.id
	s.start("startup")
	return s
}

// forked starts a session that begins with what s was.
func (s *session) forked() *session { return s.successor(s.id) }

// continued starts a session of the same chain that is no fork.
func (s *session) continued() *session { return s.successor("") }

func (s *session) successor(parent string) *session {
	f := s.begun(&session{world: s.world, person: s.person, id: s.uuid(), root: s.root, parent: parent,
		place: s.place, task: s.task, work: s.work, brief: s.brief})
	f.start("resume")
	return f
}

func (w *world) begun(s *session) *session {
	s.digits, s.git = 40, w.chance(30)
	if !s.git && w.chance(30) {
		s.digits = w.between(7, 12)
	}
	w.sessions = append(w.sessions, s)
	return s
}

// say makes an event of a session.
func (s *session) say(kind schemas.Kind, witness schemas.Witness, id string, fill func(e *schemas.Event)) {
	s.pass(200*time.Millisecond, 4*time.Second)
	e := &schemas.Event{
		Kind: kind, Witness: witness, Agent: "claude-code", AgentVersion: "2.1.330", CaptureMode: schemas.CaptureModeMetadata,
		OccurredAt: s.now.Add(s.skew).UnixMicro(), SessionId: s.id, RootSessionId: s.root, ParentSessionId: s.parent, PromptId: s.prompt,
		Host: s.host, User: s.name, UserSource: schemas.UserSourceGitEmail, Owner: s.name,
		Repo: s.place.repo, Branch: s.place.branch, Ticket: s.place.ticket, TaskId: s.task,
	}
	switch schemas.FamilyOf(kind) {
	case schemas.FamilyModel:
		e.Body.Branch = schemas.EventBodyModel
	case schemas.FamilyTool:
		e.Body.Branch = schemas.EventBodyTool
	case schemas.FamilyArtifact:
		e.Body.Branch = schemas.EventBodyArtifact
	}
	if witness == schemas.WitnessOtlp {
		e.Signal, e.UserSource = schemas.SignalLog, schemas.UserSourceOtlpEmail
	}
	if s.head != nil && (kind == schemas.KindCommit || kind == schemas.KindPush) {
		e.Branch, e.Ticket = s.head.branch, s.head.ticket
	}
	if fill != nil {
		fill(e)
	}
	if s.bare && (witness == schemas.WitnessHook || witness == schemas.WitnessOtlp) {
		e.Branch, e.Ticket, e.ParentSessionId = "", "", ""
		if kind != schemas.KindSessionStart || s.parent != "" || s.root != s.id {
			e.RootSessionId = ""
		}
	}
	producers.Finish(e, id)
	s.events = append(s.events, e)
}

func (s *session) start(source string) {
	s.say(schemas.KindSessionStart, schemas.WitnessHook, strconv.FormatInt(s.now.UnixMicro(), 10)+"/"+source,
		func(e *schemas.Event) { e.Body.Session.Reason = source })
}

// asks is a prompt with the model's first answer to it.
func (s *session) asks() {
	s.pass(5*time.Second, 3*time.Minute)
	s.prompt = s.uuid()
	s.asked = append(s.asked, asked{s.prompt, s.work})
	text := schemas.TextHash([]byte(s.prompt))
	if !s.brief {
		s.say(schemas.KindPrompt, schemas.WitnessHook, s.prompt, func(e *schemas.Event) { e.Body.Session.TextHash = text })
	}
	s.say(schemas.KindPrompt, schemas.WitnessTranscript, s.prompt, func(e *schemas.Event) {
		e.Body.Session.TextHash, e.Body.Session.Reason = text, "human"
	})
	request := "req_011C" + s.hex(20)
	answer := func(e *schemas.Event) {
		e.RequestId, e.Success = request, schemas.SomeBool(true)
		m := &e.Body.Model
		m.Model, m.ModelRequested, m.TokenInput, m.TokenOutput = "claude-opus-4-7", "claude-opus-4-7", schemas.SomeLong(4), schemas.SomeLong(310)
		m.TokenCacheRead, m.TokenCacheWrite5m, m.StopReason = schemas.SomeLong(21_000), schemas.SomeLong(840), "tool_use"
	}
	s.say(schemas.KindModelRequest, schemas.WitnessTranscript, request, answer)
	if !s.brief {
		s.say(schemas.KindModelRequest, schemas.WitnessOtlp, request, func(e *schemas.Event) {
			answer(e)
			e.Body.Model.StopReason, e.Body.Model.TokenCacheWrite = "", e.Body.Model.TokenCacheWrite5m
			e.Body.Model.TokenCacheWrite5m = schemas.OptLong{}
		})
	}
}

// call is a call of a tool; it returns its id.
func (s *session) call(tool, target, class string) string {
	id := "toolu_01" + s.hex(22)
	call := func(e *schemas.Event) {
		e.ToolUseId, e.Success = id, schemas.SomeBool(true)
		b := &e.Body.Tool
		b.ToolName, b.ToolTarget, b.CommandClass, b.Done = tool, target, class, true
	}
	s.say(schemas.KindToolCall, schemas.WitnessTranscript, id, call)
	if !s.brief && s.chance(30) {
		s.say(schemas.KindToolCall, schemas.WitnessHook, id, call)
	}
	return id
}

// artifact is what a call left behind, as the transcript tells it.
func (s *session) artifact(kind schemas.Kind, call, id string, fill func(e *schemas.Event, a *schemas.ArtifactBody)) {
	s.say(kind, schemas.WitnessTranscript, id, func(e *schemas.Event) {
		e.ToolUseId, e.Success = call, schemas.SomeBool(true)
		fill(e, &e.Body.Artifact)
	})
}

// edits changes a file.
func (s *session) edits() {
	path := "src/" + s.slug() + ".go"
	call := s.call("Edit", path, "")
	s.artifact(schemas.KindFileChange, call, call, func(_ *schemas.Event, a *schemas.ArtifactBody) {
		a.FilePath, a.FileType, a.Operation, a.ChangeGrade = path, "go", "update", schemas.ChangeGradeExact
		a.LinesAdded, a.LinesRemoved, a.DiffHash = schemas.SomeLong(int64(s.between(1, 40))), schemas.SomeLong(2), s.hex(32)
	})
}

// commits makes n commits, each of an edit.
func (s *session) commits(n int) []commit {
	made := make([]commit, n)
	for i := range made {
		made[i] = s.commit()
		s.edits()
		s.commitsThis(made[i])
	}
	return made
}

// commitsThis is a commit of which the id is given.
func (s *session) commitsThis(c commit) {
	call := s.call("Bash", "git commit", "vcs")
	printed := c.id[:s.digits]
	s.artifact(schemas.KindCommit, call, printed, func(_ *schemas.Event, a *schemas.ArtifactBody) { a.CommitId = printed })
	if !s.git {
		return
	}
	s.say(schemas.KindCommit, schemas.WitnessGit, c.id, func(e *schemas.Event) {
		e.Success = schemas.SomeBool(true)
		e.Body.Artifact.CommitId, e.Body.Artifact.PatchId = c.id, c.patch
	})
}

// pushes is a push of its branch, as the session knows it.
func (s *session) pushes() {
	call := s.call("Bash", "git push", "vcs")
	s.artifact(schemas.KindPush, call, call, func(*schemas.Event, *schemas.ArtifactBody) {})
}

// touches is a pull request that it made (created), or did something else with.
func (s *session) touches(id, operation string) {
	call := s.call("Bash", "gh pr", "vcs")
	s.artifact(schemas.KindPullRequest, call, id, func(_ *schemas.Event, a *schemas.ArtifactBody) {
		a.ChangeId, a.Operation = id, operation
	})
}

// answers is the end of a turn.
func (s *session) answers() {
	done := func(e *schemas.Event) { e.Success = schemas.SomeBool(true) }
	s.say(schemas.KindTurnEnd, schemas.WitnessHook, s.prompt+"/", done)
	if !s.brief {
		s.say(schemas.KindTurnEnd, schemas.WitnessTranscript, s.prompt+"/", done)
	}
}

func (s *session) ends() {
	s.say(schemas.KindSessionEnd, schemas.WitnessHook, "end", func(e *schemas.Event) { e.Body.Session.Reason = "prompt_input_exit" })
}

// resumes goes on with a session that has ended.
func (s *session) resumes() { s.start("resume") }

// goes moves to another branch; prompts from now on are of that work.
func (s *session) goes(to place, work string) { s.place, s.work = to, work }

// reads is a whole turn that changes nothing.
func (s *session) reads() {
	s.asks()
	s.call("Read", "README.md", "")
	s.answers()
}

// builds is a whole turn that ends with a push of n commits.
func (s *session) builds(n int) []commit {
	s.asks()
	made := s.commits(n)
	s.pushes()
	s.answers()
	return made
}

// The forge.

// observed makes an event of the forge or of CI.
func (w *world) observed(kind schemas.Kind, witness schemas.Witness, repo, id string, fill func(e *schemas.Event, a *schemas.ArtifactBody)) {
	w.pass(time.Second, 5*time.Second)
	e := &schemas.Event{Kind: kind, Witness: witness, Repo: repo, OccurredAt: w.now.UnixMicro(), CaptureMode: schemas.CaptureModeMetadata}
	e.Body.Branch = schemas.EventBodyArtifact
	fill(e, &e.Body.Artifact)
	producers.Finish(e, id)
	w.events = append(w.events, e)
}

// push is a commit of a push to a branch.
func (w *world) push(repo, branch string, c commit, change, reverts string) {
	w.observed(schemas.KindForgePush, schemas.WitnessForge, repo, c.id+"@"+branch, func(e *schemas.Event, a *schemas.ArtifactBody) {
		e.Branch, a.CommitId, a.TargetBranch, a.ChangeId, a.Reverts = branch, c.id, w.main, change, reverts
		if w.patches {
			a.PatchId = c.patch
		}
	})
}

// tells is a push of commits to a branch that is not the default one, if the
// forge tells such.
func (w *world) tells(at place, commits []commit) {
	if w.branches {
		for _, c := range commits {
			w.push(at.repo, at.branch, c, "", "")
		}
	}
}

// change begins the truth of a change at the forge.
func (w *world) change(id, state string, works ...string) *Change {
	slices.Sort(works)
	c := &Change{slices.Compact(works), state}
	w.changes[id] = c
	return c
}

// landing is a change, and the names by which it can be taken back.
type landing struct {
	*Change
	names []string
}

// lands is a commit that comes to the default branch without a pull request.
func (w *world) lands(repo string, c commit, works ...string) landing {
	w.push(repo, w.main, c, "", "")
	return landing{w.change(repo+"@"+c.id, "merged", works...), []string{c.id}}
}

// landsAll is a push of commits of one piece of work to the default branch.
func (w *world) landsAll(repo string, commits []commit, works ...string) (l landing) {
	for _, c := range commits {
		l = w.lands(repo, c, works...)
	}
	return l
}

// pull is a pull request.
type pull struct {
	*world
	*Change
	id, repo, branch, target, head, reverts string
}

// next is the id of the next pull request of a repository.
func (w *world) next(repo string) string {
	if w.numbers[repo] == 0 {
		w.numbers[repo] = w.between(1, 900)
	}
	w.numbers[repo]++
	return repo + "#" + strconv.Itoa(w.numbers[repo])
}

// opens is a pull request of a branch to the default branch.
func (w *world) opens(from place, head commit, works ...string) *pull {
	return w.opensAs(w.next(from.repo), from.repo, from.branch, head, "", works...)
}

// opensAs is one whose id is given, and which may take something back.
func (w *world) opensAs(id, repo, branch string, head commit, reverts string, works ...string) *pull {
	return w.opensTo(w.main, id, repo, branch, head, reverts, works...)
}

func (w *world) opensTo(target, id, repo, branch string, head commit, reverts string, works ...string) *pull {
	p := &pull{w, w.change(id, "open", works...), id, repo, branch, target, head.id, reverts}
	p.says("opened", "")
	return p
}

// opens is a pull request that the session makes in its own repository.
func (s *session) opens(head commit) *pull {
	s.call("Bash", "gh pr create", "vcs")
	p := s.world.opens(s.place, head, s.work)
	s.touches(p.id, "created")
	return p
}

// says is an event of the pull request.
func (p *pull) says(operation, merge string) {
	p.observed(schemas.KindForgePullRequest, schemas.WitnessForge, p.repo, p.id, func(e *schemas.Event, a *schemas.ArtifactBody) {
		a.ChangeId, a.Operation, a.MergeCommitId = p.id, operation, merge
		if !p.terse || operation == "opened" {
			e.Branch, a.TargetBranch, a.CommitId, a.Reverts = p.branch, p.target, p.head, p.reverts
		} else if operation == "updated" {
			a.CommitId = p.head
		}
	})
}

// updates is a push of further commits to the pull request.
func (p *pull) updates(commits []commit) {
	p.tells(place{repo: p.repo, branch: p.branch}, commits)
	p.head = commits[len(commits)-1].id
	p.says("updated", "")
}

func (p *pull) closes() {
	p.pass(time.Hour, 2*day)
	p.State = "closed"
	p.says("closed", "")
}

func (p *pull) reopens() {
	p.pass(time.Hour, 2*day)
	p.State = "open"
	p.says("reopened", "")
}

// merges lands a pull request that consists of these commits: merge, squash or
// rebase. It returns the commit of the merge.
func (p *pull) merges(how string, commits []commit) landing {
	p.pass(time.Hour, 2*day)
	return p.mergesNow(how, commits)
}

func (p *pull) mergesNow(how string, commits []commit) landing {
	var pushed []commit
	switch how {
	case "merge": // a merge has no patch
		pushed = append(slices.Clone(commits), commit{id: p.hex(40)})
	case "squash": // of one commit it has the same patch
		pushed = []commit{p.commit()}
		if len(commits) == 1 {
			pushed[0].patch = commits[0].patch
		}
	case "rebase":
		for _, c := range commits {
			pushed = append(pushed, p.again(c))
		}
	}
	merge := pushed[len(pushed)-1]
	p.State = "merged"
	p.says("merged", merge.id)
	for _, c := range pushed {
		change, reverts := "", ""
		if p.names {
			change = p.id
		}
		if c == merge && p.chance(50) {
			reverts = p.reverts // git's text of the commit says it, too
		}
		p.push(p.repo, p.target, c, change, reverts)
	}
	return landing{p.Change, []string{p.id, merge.id}}
}

// check is a run of a check on a commit; a later run of that name takes its place.
func (w *world) check(repo, id, name, operation string, success schemas.OptBool) {
	w.ci(schemas.KindCheckRun, repo, id, name, operation, success)
}

// deploys is a deployment of a commit to an environment.
func (w *world) deploys(repo, id, environment string, success bool) {
	w.ci(schemas.KindDeployment, repo, id, environment, pick(w, "", "completed"), schemas.SomeBool(success))
}

func (w *world) ci(kind schemas.Kind, repo, id, name, operation string, success schemas.OptBool) {
	w.pass(time.Minute, 10*time.Minute)
	w.observed(kind, schemas.WitnessCi, repo, id+"/"+name, func(e *schemas.Event, a *schemas.ArtifactBody) {
		e.Success, a.CommitId, a.Name, a.Operation = success, id, name, operation
		if success.Valid {
			e.DurationMs = schemas.SomeLong(int64(w.between(5_000, 400_000)))
		}
		if success.Valid && !success.Value {
			e.ErrorClass = "failure"
		}
	})
}

// The truth.

func (w *world) truthOfSessions() map[string]string {
	truth := map[string]string{}
	for _, s := range w.sessions {
		if len(s.asked) == 0 {
			continue
		}
		several := slices.ContainsFunc(s.asked, func(a asked) bool { return a.work != s.asked[0].work })
		for _, a := range s.asked {
			if several {
				truth[s.id+"/"+a.prompt] = a.work
			} else {
				truth[s.id] = a.work
			}
		}
	}
	return truth
}

func (w *world) truthOfChanges() map[string]Change {
	truth := map[string]Change{}
	for id, c := range w.changes {
		truth[id] = *c
	}
	return truth
}
