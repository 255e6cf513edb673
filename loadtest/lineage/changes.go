package lineage

import (
	"strconv"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

var ways = []string{"merge", "squash", "rebase"}

// proposed is a piece of work of an agent up to its pull request, which the
// session made, or a person from the head that the session pushed.
func (w *world) proposed(repo string) (*session, *pull, []commit) {
	s := w.session(w.person(), w.branch(repo), w.work())
	s.asks()
	made := s.commits(w.between(1, 3))
	s.pushes()
	w.tells(s.place, made)
	head := made[len(made)-1]
	if w.chance(60) {
		p := s.opens(head)
		s.answers()
		s.endsPerhaps()
		return s, p, made
	}
	s.answers()
	s.endsPerhaps()
	w.pass(time.Minute, day)
	return s, w.opens(s.place, head, s.work), made
}

func (s *session) endsPerhaps() {
	if s.chance(80) {
		s.ends()
	}
}

// landed is a piece of work of an agent that has landed: by a pull request, or
// by a push of one commit.
func (w *world) landed(repo string) landing {
	if w.chance(25) {
		s := w.session(w.person(), w.onMain(repo), w.work())
		made := s.builds(1)
		l := w.lands(repo, made[0], s.work)
		s.ends()
		return l
	}
	_, p, made := w.proposed(repo)
	return p.merges(pick(w, ways...), made)
}

// byPeople is a pull request that no agent had a part in, and its commits.
func (w *world) byPeople(from place) (*pull, []commit) {
	commits := make([]commit, w.between(1, 3))
	for i := range commits {
		commits[i] = w.commit()
	}
	w.pass(time.Minute, 3*time.Hour)
	w.tells(from, commits)
	return w.opens(from, commits[len(commits)-1]), commits
}

// ending lets a pull request become something.
func (p *pull) ending(commits []commit) {
	switch p.between(0, 3) {
	case 0: // it stays open
	case 1:
		p.closes()
	default:
		p.merges(pick(p.world, ways...), commits)
	}
}

// lands is the plain story: an agent's pull request is merged in one way.
func lands(how string) func(w *world) {
	return func(w *world) {
		repo := w.repo()
		s, p, made := w.proposed(repo)
		if w.chance(40) { // review asks for more
			w.pass(time.Hour, day)
			s.resumes()
			more := s.builds(w.between(1, 2))
			p.updates(more)
			s.ends()
			made = append(made, more...)
		}
		p.merges(how, made)
		if w.chance(50) {
			other, commits := w.byPeople(w.branch(repo))
			other.ending(commits)
		}
	}
}

// patchID: the commits that land, or those of the pull request, have other ids
// than those of the session, but the same patches.
func patchID(w *world) {
	w.patches = true
	repo := w.repo()
	s := w.session(w.person(), w.branch(repo), w.work())
	s.git, s.digits = true, pick(w, 40, 40, 7)
	made := s.builds(w.between(1, 3))
	if w.chance(50) {
		w.tells(s.place, made)
	}
	s.ends()
	w.pass(time.Minute, day)
	rebased := make([]commit, len(made))
	for i, c := range made {
		rebased[i] = w.again(c)
	}
	from := s.place
	if w.chance(60) { // only the patches join it then
		from.branch = w.unique(func() string { return "review/" + w.slug() })
	}
	id, change := w.next(repo), ""
	if w.names {
		change = id
	}
	for _, c := range rebased { // a push tells the patch of the head
		w.push(repo, from.branch, c, change, "")
	}
	p := w.opensAs(id, repo, from.branch, rebased[len(rebased)-1], "", s.work)
	p.merges(pick(w, "rebase", "rebase", "merge", "squash"), rebased)
}

// personOpens: a person squashed or rebased what the agent pushed, so that no
// commit is the agent's any more, and made the pull request of the same branch.
func personOpens(w *world) {
	repo := w.repo()
	s := w.session(w.person(), w.branch(repo), w.work())
	s.git = s.git && !w.patches
	made := s.builds(w.between(1, 3))
	w.tells(s.place, made)
	s.endsPerhaps()
	w.pass(time.Hour, 2*day)
	mine := make([]commit, w.between(1, len(made)))
	for i := range mine {
		mine[i] = w.commit()
	}
	w.tells(s.place, mine)
	p := w.opens(s.place, mine[len(mine)-1], s.work)
	if w.chance(20) {
		p.closes()
		return
	}
	p.merges(pick(w, ways...), mine)
}

// clockSkew: as before, but it was merged at once, and the session's clock is
// ahead by less than 10 minutes.
func clockSkew(w *world) {
	s := w.session(w.person(), w.branch(w.repo()), w.work())
	s.git, s.skew = false, w.duration(5*time.Minute, 8*time.Minute)
	s.asks()
	s.commits(1)
	s.pushes()
	w.pass(30*time.Second, time.Minute)
	mine := w.commit()
	p := w.opens(s.place, mine, s.work)
	w.pass(30*time.Second, time.Minute)
	p.mergesNow(pick(w, ways...), []commit{mine})
	s.answers()
	s.ends()
}

// directPush: an agent pushes to the default branch, and so do people.
func directPush(w *world) {
	repo := w.repo()
	for range w.between(1, 3) {
		s := w.session(w.person(), w.onMain(repo), w.work())
		w.landsAll(repo, s.builds(w.between(1, 3)), s.work)
		s.endsPerhaps()
		w.pass(time.Minute, day)
		w.lands(repo, w.commit())
	}
}

// fastForward: a person brings an agent's branch to the default branch without a
// pull request.
func fastForward(w *world) {
	repo := w.repo()
	s := w.session(w.person(), w.branch(repo), w.work())
	made := s.builds(w.between(1, 3))
	w.tells(s.place, made)
	s.ends()
	w.pass(time.Hour, 3*day)
	w.landsAll(repo, made, s.work)
	w.lands(repo, w.commit())
}

func closed(w *world) {
	_, p, _ := w.proposed(w.repo())
	p.closes()
}

func reopenedMerged(w *world) {
	_, p, made := w.proposed(w.repo())
	for range w.between(1, 2) {
		p.closes()
		p.reopens()
	}
	p.merges(pick(w, ways...), made)
}

// reopened: it is open again, or closed for good.
func reopened(w *world) {
	_, p, _ := w.proposed(w.repo())
	p.closes()
	p.reopens()
	if w.chance(40) {
		p.closes()
	}
}

// takesBack reverts what has landed: by push or pull request, by a person or an agent.
func (w *world) takesBack(repo string, l landing, how string) landing {
	w.pass(time.Hour, 2*day)
	named := pick(w, l.names...)
	l.State = "reverted"
	c := w.commit()
	c.patch = "" // the revert of a revert would have the first one's
	var works []string
	if how == "push" {
		if w.chance(30) {
			s := w.session(w.person(), w.onMain(repo), w.work())
			s.git = false
			s.asks()
			s.commitsThis(c)
			s.pushes()
			s.answers()
			s.ends()
			works = append(works, s.work)
		}
		w.push(repo, w.main, c, "", named)
		return landing{w.change(repo+"@"+c.id, "merged", works...), []string{c.id}}
	}
	from := w.plain(repo)
	from.branch = "revert-" + from.branch
	id := w.next(repo)
	if w.chance(30) {
		s := w.session(w.person(), from, w.work())
		s.git = false
		s.asks()
		s.commitsThis(c)
		s.pushes()
		s.touches(id, "created")
		s.answers()
		s.ends()
		works = append(works, s.work)
	}
	if w.branches {
		w.push(repo, from.branch, c, "", named)
	}
	return w.opensAs(id, repo, from.branch, c, named, works...).merges(pick(w, "merge", "squash"), []commit{c})
}

func revertPush(w *world) {
	repo := w.repo()
	w.takesBack(repo, w.landed(repo), "push")
}

func revertPullRequest(w *world) {
	repo := w.repo()
	w.takesBack(repo, w.landed(repo), "pull request")
}

// revertMuchLater: records have left every state since.
func revertMuchLater(w *world) {
	repo := w.repo()
	l := w.landed(repo)
	for range 3 { // meanwhile others work
		w.pass(9*day, 11*day)
		w.landed(repo)
	}
	w.takesBack(repo, l, pick(w, "push", "pull request"))
}

// revertOfRevert: each takes back the one before it, so the last one counts, and
// every second before it.
func revertOfRevert(w *world) {
	repo := w.repo()
	chain := []landing{w.landed(repo)}
	for range w.between(2, 3) {
		chain = append(chain, w.takesBack(repo, chain[len(chain)-1], pick(w, "push", "pull request")))
	}
	for i, l := range chain {
		if l.State = "merged"; (len(chain)-1-i)%2 == 1 {
			l.State = "reverted"
		}
	}
}

// revertNotMerged: somebody wanted to take it back, and did not.
func revertNotMerged(w *world) {
	repo := w.repo()
	l := w.landed(repo)
	w.pass(time.Hour, 2*day)
	named, c, branch := pick(w, l.names...), commit{id: w.hex(40)}, "revert-"+w.slug()
	w.push(repo, branch, c, "", named)
	if w.chance(75) {
		p := w.opensAs(w.next(repo), repo, branch, c, named)
		if w.chance(60) {
			p.closes()
		}
	}
}

// revertSimilarPrefix: what was taken back is another commit, which only begins alike.
func revertSimilarPrefix(w *world) {
	repo := w.repo()
	l := w.landed(repo)
	mine := commit{id: l.names[len(l.names)-1]}
	shared := w.between(7, 16)
	other := w.lands(repo, w.alike(mine, shared))
	if s := w.sessions[len(w.sessions)-1]; len(l.names) == 1 && s.digits <= shared && !s.git {
		l.Works = nil // what the client printed fits both
	}
	w.takesBack(repo, other, pick(w, "push", "pull request"))
}

// revertPartial: one commit of several of a pull request is taken back. Neither
// its number nor the commit of its merge is named: it stays merged.
func revertPartial(w *world) {
	repo := w.repo()
	s := w.session(w.person(), w.branch(repo), w.work())
	s.asks()
	made := s.commits(w.between(2, 4))
	s.pushes()
	w.tells(s.place, made)
	p := s.opens(made[len(made)-1])
	s.answers()
	s.ends()
	p.merges("merge", made)
	w.pass(time.Hour, 2*day)
	back := commit{id: w.hex(40)}
	w.push(repo, w.main, back, "", made[0].id)
	w.change(repo+"@"+back.id, "merged")
}

// revertInFork: somebody takes it back in a repository of their own.
func revertInFork(w *world) {
	repo, own := w.repo(), w.repo()
	l := w.landed(repo)
	w.pass(time.Hour, 2*day)
	back := commit{id: w.hex(40)}
	w.push(own, w.main, back, "", l.names[len(l.names)-1])
	w.change(own+"@"+back.id, "merged")
}

// anyStory is told in the order that its family has.
func anyStory(w *world) {
	pick(w, lands("merge"), lands("squash"), lands("rebase"), patchID, personOpens, directPush, closed, reopenedMerged,
		revertPush, revertPullRequest, revertOfRevert, reusedBranch, twoWorks, checks, moves, resumesAndForks)(w)
}

// abbreviated: the client printed only the beginning of the ids. Nothing but
// commits joins the two.
func abbreviated(w *world) {
	repo := w.repo()
	at := w.onMain(repo)
	direct := w.chance(40)
	if !direct {
		at = w.branch(repo)
	}
	s := w.session(w.person(), at, w.work())
	s.git, s.digits = false, pick(w, 7, 7, 8, 10)
	made := s.builds(w.between(1, 3))
	s.ends()
	if direct {
		w.landsAll(repo, made, s.work)
		w.lands(repo, w.commit())
		return
	}
	w.pass(time.Hour, day)
	from := place{repo: repo, branch: "review/" + w.slug()}
	w.tells(from, made)
	p := w.opens(from, made[len(made)-1], s.work)
	p.merges(pick(w, "merge", "squash"), made)
}

// sharedPrefix: two commits of one repository begin with the same 7 digits.
func sharedPrefix(w *world) {
	repo := w.repo()
	at := w.onMain(repo)
	variant := w.between(0, 3)
	if variant == 1 {
		at = w.plain(repo)
	}
	s := w.session(w.person(), at, w.work())
	s.git, s.digits = false, 7
	if variant == 2 {
		s.digits = w.between(9, 12)
	}
	c := s.builds(1)[0]
	s.ends()
	other := w.alike(c, 7)
	switch variant {
	case 0: // nobody can tell which of the two it was
		w.lands(repo, c)
		w.pass(time.Minute, 2*day)
		w.lands(repo, other)
	case 1: // nor here: the branch has another name
		p := w.opens(place{repo: repo, branch: "review/" + w.slug()}, c)
		w.lands(repo, other)
		p.merges("squash", []commit{c})
	case 2: // but two digits more are enough
		w.lands(repo, other)
		w.lands(repo, c, s.work)
	case 3: // and the other one is of another repository
		w.lands(repo, c, s.work)
		w.lands(w.repo(), other)
	}
}

// reusedBranch: a branch name is used again when its first pull request is closed.
func reusedBranch(w *world) {
	repo := w.repo()
	at := w.plain(repo)
	w.patches = false
	// round is a piece of work on the branch, joined to its pull request by one link or another.
	round := func() {
		s := w.session(w.person(), at, w.work())
		s.asks()
		made := s.commits(w.between(1, 2))
		s.pushes()
		w.tells(at, made)
		var p *pull
		switch w.between(0, 2) {
		case 0: // pull_request
			p = s.opens(made[len(made)-1])
		case 1: // commit
			p = w.opens(at, made[len(made)-1], s.work)
		case 2: // branch
			made = []commit{w.commit()}
			p = w.opens(at, made[0], s.work)
		}
		s.answers()
		s.ends()
		if w.chance(30) {
			p.closes()
		} else {
			p.merges(pick(w, ways...), made)
		}
		w.pass(day, 9*day)
	}
	people := func() {
		p, commits := w.byPeople(at)
		if w.chance(50) {
			p.merges(pick(w, ways...), commits)
		} else {
			p.closes()
		}
		w.pass(day, 9*day)
	}
	switch w.between(0, 4) {
	case 0:
		round()
		people()
	case 1:
		round()
		round()
	case 2:
		people()
		round()
	case 3:
		round()
		people()
		round()
	case 4: // an agent goes on there, when it is closed, and nothing comes of it
		people()
		s := w.session(w.person(), at, w.work())
		s.builds(1)
		s.ends()
	}
}

func sameBranchTwoRepos(w *world) {
	here, there := w.repo(), w.repo()
	s := w.session(w.person(), w.plain(here), w.work())
	made := s.builds(w.between(1, 2))
	s.ends()
	w.tells(s.place, made)
	p := w.opens(s.place, made[len(made)-1], s.work)
	other, commits := w.byPeople(place{repo: there, branch: s.place.branch})
	if w.chance(50) {
		other.merges(pick(w, ways...), commits)
		p.ending(made)
	} else {
		p.merges(pick(w, ways...), made)
		other.ending(commits)
	}
	if w.chance(40) { // a session of an agent there, by the same person, is another work
		t := w.session(s.person, place{repo: there, branch: s.place.branch}, w.work())
		t.reads()
		t.ends()
	}
}

func sameNumberTwoRepos(w *world) {
	here, there := w.repo(), w.repo()
	w.numbers[here] = w.between(1, 900)
	w.numbers[there] = w.numbers[here]
	_, p, made := w.proposed(here)
	var other *pull
	var commits []commit
	if w.chance(50) {
		other, commits = w.byPeople(w.branch(there))
	} else {
		_, other, commits = w.proposed(there)
	}
	p.merges(pick(w, ways...), made)
	if w.chance(50) {
		other.closes()
	} else {
		other.merges(pick(w, ways...), commits)
	}
}

// humanOnly: people work where agents work, too.
func humanOnly(w *world) {
	repo := w.repo()
	_, p, made := w.proposed(repo)
	for range w.between(1, 3) {
		other, commits := w.byPeople(w.branch(repo))
		other.ending(commits)
	}
	w.lands(repo, w.commit())
	p.ending(made)
	if w.chance(60) { // of the main branch of a fork, while an agent pushes to that of the repository
		s := w.session(w.person(), w.onMain(repo), w.work())
		w.landsAll(repo, s.builds(1), s.work)
		c := w.commit()
		fork := w.opens(w.onMain(repo), c)
		s.ends()
		fork.ending([]commit{c})
	}
	if w.chance(60) { // of a branch on which an agent only read
		s := w.session(w.person(), w.plain(repo), w.work())
		s.reads()
		s.ends()
		other, commits := w.byPeople(s.place)
		other.ending(commits)
	}
}

// reviewedByAgent: a session that comments on a pull request, merges or closes
// it did not make it.
func reviewedByAgent(w *world) {
	repo := w.repo()
	var p *pull
	var made []commit
	if w.chance(50) {
		_, p, made = w.proposed(repo)
	} else {
		p, made = w.byPeople(w.branch(repo))
	}
	w.pass(time.Hour, day)
	s := w.session(w.person(), w.onMain(repo), w.work())
	s.asks()
	switch w.between(0, 2) {
	case 0:
		s.touches(p.id, "commented")
		p.ending(made)
	case 1:
		s.touches(p.id, "merged")
		p.mergesNow(pick(w, ways...), made)
	case 2:
		p.State = "closed"
		s.touches(p.id, "closed")
		p.says("closed", "")
	}
	s.answers()
	s.ends()
}

// twoWorks: one pull request with commits of two pieces of work.
func twoWorks(w *world) {
	w.names = true
	repo := w.repo()
	at := w.on(repo, w.ticket())
	other := w.on(repo, w.ticket())
	if w.chance(30) { // two people on one branch without a ticket
		at = w.plain(repo)
		other = at
	}
	a := w.session(w.person(), other, w.work())
	first := a.builds(w.between(1, 2))
	a.ends()
	w.tells(other, first)
	w.pass(time.Hour, day)
	b := w.session(w.person(), at, w.work())
	b.asks()
	second := b.commits(w.between(1, 2))
	b.pushes()
	all := append(first, second...)
	var p *pull
	if w.chance(50) {
		p = b.opens(second[len(second)-1])
	} else {
		p = w.opens(at, second[len(second)-1])
	}
	p.Change = w.change(p.id, "open", a.work, b.work)
	for _, c := range all {
		w.push(repo, at.branch, c, p.id, "")
	}
	b.answers()
	b.ends()
	if w.chance(20) {
		p.closes()
		return
	}
	p.merges(pick(w, "merge", "squash"), all)
}

// twoTargets: one head, two pull requests, of which one goes to a release.
func twoTargets(w *world) {
	_, p, made := w.proposed(w.repo())
	head := commit{id: p.head}
	release := w.opensTo("release/"+strconv.Itoa(w.between(1, 9)), w.next(p.repo), p.repo, p.branch, head, "", p.Works...)
	p.merges("squash", made)
	release.ending(made)
}

// fork: the session works in a fork, and makes its pull request in the repository
// that was forked, where others work, too.
func fork(w *world) {
	upstream := w.repo()
	own := w.unique(func() string {
		return "github.com/" + pick(w, "ann", "bob", "cem") + "-dev" + upstream[len("github.com/acme"):]
	})
	s := w.session(w.person(), w.branch(own), w.work())
	s.asks()
	made := s.commits(w.between(1, 3))
	s.pushes()
	id := w.next(upstream)
	s.touches(id, "created")
	p := w.opensAs(id, upstream, s.place.branch, made[len(made)-1], "", s.work)
	s.answers()
	s.ends()
	other, commits := w.byPeople(w.branch(upstream))
	if w.chance(50) {
		_, other, commits = w.proposed(upstream)
	}
	other.ending(commits)
	p.ending(made)
}

// checks: runs on the head and on what was merged, red, queued again and green;
// deployments that fail and succeed.
func checks(w *world) {
	repo := w.repo()
	_, p, made := w.proposed(repo)
	red, green := schemas.SomeBool(false), schemas.SomeBool(true)
	run := func(id string) {
		for _, name := range []string{"unit", "lint", "e2e"}[:w.between(1, 3)] {
			if w.chance(60) {
				w.check(repo, id, name, pick(w, "", "completed"), red)
			}
			if w.chance(50) {
				w.check(repo, id, name, pick(w, "queued", "in_progress"), schemas.OptBool{})
			}
			w.check(repo, id, name, pick(w, "", "completed"), green)
		}
	}
	run(p.head)
	if w.chance(20) {
		p.closes()
	} else {
		l := p.merges(pick(w, ways...), made)
		run(l.names[1])
		w.deploys(repo, l.names[1], "staging", true)
		if w.chance(50) {
			w.deploys(repo, l.names[1], "production", false)
		}
		w.deploys(repo, l.names[1], "production", true)
	}
	c := w.commit()
	w.lands(repo, c)
	run(c.id)
	run(w.commit().id) // of which nobody else tells
}
