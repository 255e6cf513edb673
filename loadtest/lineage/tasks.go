package lineage

import (
	"strconv"
	"time"
)

// twoHundred people are on the main branch of one repository, each with a piece
// of work. Some sessions are resumed, forked or continued: it is the same work.
func twoHundred(w *world) {
	repo := w.repo()
	morning := w.now
	for range 200 {
		w.now = morning.Add(w.duration(0, 8*time.Hour))
		s := w.session(w.person(), w.onMain(repo), w.work())
		s.brief = true
		chain := []*session{s}
		switch n := w.between(0, 99); {
		case n < 20:
			s.reads()
			s.ends()
			w.pass(time.Hour, day)
			s.resumes()
		case n < 32:
			s.reads()
			s.ends()
			chain = append(chain, s.forked())
		case n < 38:
			s.reads()
			s.ends()
			chain = append(chain, s.continued())
		}
		for _, s := range chain {
			if w.chance(50) {
				w.landsAll(repo, s.builds(1), s.work)
			} else {
				s.reads()
			}
			s.endsPerhaps()
		}
	}
}

// ticketSeveralPeople: sessions of several people on branches of one ticket are
// one piece of work.
func ticketSeveralPeople(w *world) {
	repo, ticket, work := w.repo(), w.ticket(), w.work()
	at := w.on(repo, ticket)
	var made []commit
	var last *session
	for range w.between(2, 5) {
		if w.chance(25) { // a branch of its own for the same ticket
			s := w.session(w.person(), w.on(repo, ticket), work)
			s.reads()
			s.ends()
		}
		last = w.session(w.person(), at, work)
		made = append(made, last.builds(w.between(1, 2))...)
		last.ends()
		w.pass(time.Hour, day)
	}
	w.tells(at, made)
	p := w.opens(at, made[len(made)-1], work)
	p.ending(made)
	// Another ticket of the same people is another piece of work.
	s := w.session(last.person, w.on(repo, w.ticket()), w.work())
	s.reads()
	s.ends()
}

// sameTicketTwoRepos: the same ticket in two repositories is two pieces of work.
func sameTicketTwoRepos(w *world) {
	ticket, branch, who := w.ticket(), "", w.person()
	for range w.between(2, 3) {
		repo := w.repo()
		at := w.on(repo, ticket)
		if branch == "" {
			branch = at.branch
		}
		if w.chance(50) {
			at.branch = branch
		}
		s := w.session(who, at, w.work())
		made := s.builds(1)
		s.ends()
		w.tells(at, made)
		w.opens(at, made[0], s.work).ending(made)
		if w.chance(50) {
			who = w.person()
		}
	}
}

// sameBranchTwoOwners: a branch without a ticket is one piece of work for each
// owner. Only one of them has pushed.
func sameBranchTwoOwners(w *world) {
	at := w.plain(w.repo())
	a := w.session(w.person(), at, w.work())
	made := a.builds(w.between(1, 2))
	b := w.session(w.person(), at, w.work())
	b.git = false
	b.asks()
	if w.chance(50) {
		b.commits(1)
	}
	b.answers()
	b.ends()
	w.tells(at, made)
	p := w.opens(at, made[len(made)-1], a.work)
	a.ends()
	again := w.session(a.person, at, a.work)
	again.reads()
	again.ends()
	p.ending(made)
}

// sameOwnerTwoHosts: an owner goes on with a branch on another host.
func sameOwnerTwoHosts(w *world) {
	at := w.plain(w.repo())
	who, work := w.person(), w.work()
	a := w.session(who, at, work)
	made := a.builds(1)
	a.ends()
	w.pass(time.Hour, 2*day)
	who.host = "devbox-" + who.name
	b := w.session(who, at, work)
	b.asks()
	made = append(made, b.commits(1)...)
	b.pushes()
	w.tells(at, made)
	p := b.opens(made[len(made)-1])
	b.answers()
	b.ends()
	p.ending(made)
}

// moves: one session works on several tickets, one prompt after the other.
func moves(w *world) {
	repo := w.repo()
	s := w.session(w.person(), w.on(repo, w.ticket()), w.work())
	if w.chance(30) { // it begins on the main branch
		s.goes(w.onMain(repo), s.work)
		s.reads()
		s.goes(w.on(repo, w.ticket()), w.work())
	}
	first, work := s.place, s.work
	for i := range w.between(2, 3) {
		if i > 0 {
			s.goes(w.on(repo, w.ticket()), w.work())
		}
		s.asks()
		made := s.commits(w.between(1, 2))
		s.pushes()
		w.tells(s.place, made)
		if w.chance(60) {
			s.opens(made[len(made)-1]).ending(made)
		} else {
			w.opens(s.place, made[len(made)-1], s.work).ending(made)
		}
		s.answers()
	}
	if w.chance(40) { // and back
		s.goes(first, work)
		s.reads()
	}
	s.ends()
}

// resumesAndForks: a chain of resumes and forks on a shared branch is one piece
// of work. A session that only comes after it is another one.
func resumesAndForks(w *world) {
	repo := w.repo()
	s := w.session(w.person(), w.onMain(repo), w.work())
	s.reads()
	s.ends()
	for range w.between(2, 4) {
		w.pass(time.Hour, 3*day)
		switch w.between(0, 2) {
		case 0:
			s.resumes()
		case 1:
			s = s.forked()
		case 2:
			s = s.continued()
		}
		if w.chance(60) {
			w.landsAll(repo, s.builds(1), s.work)
		} else {
			s.reads()
		}
		s.ends()
	}
	other := w.session(s.person, w.onMain(repo), w.work())
	other.reads()
	other.ends()
}

// explicitID: an explicit id is one piece of work wherever it is; a session
// without it on the same branch is of another one.
func explicitID(w *world) {
	here, there, who := w.repo(), w.repo(), w.person()
	id := "incident-" + strconv.Itoa(w.number) + "-" + strconv.Itoa(w.between(100, 999))
	at, work := w.branch(here), w.work()
	a := w.explicit(who, at, work, id)
	made := a.builds(w.between(1, 2))
	a.ends()
	b := w.explicit(w.person(), w.onMain(there), work, id)
	w.landsAll(there, b.builds(1), work)
	b.ends()
	c := w.session(who, at, w.work())
	c.reads()
	c.ends()
	d := w.explicit(who, at, w.work(), id+"-b")
	d.reads()
	d.ends()
	w.tells(at, made)
	w.opens(at, made[len(made)-1], work).ending(made)
}

// sharedBranches: on a shared branch, without one, or without a repository, each
// session is a piece of work, even of one owner.
func sharedBranches(w *world) {
	repo, who := w.repo(), w.person()
	for _, branch := range []string{"main", "master", "trunk", "develop", "development", ""} {
		for range 2 {
			s := w.session(who, place{repo: repo, branch: branch}, w.work())
			if branch == w.main {
				w.landsAll(repo, s.builds(1), s.work)
			} else {
				s.reads()
			}
			s.endsPerhaps()
			w.pass(time.Minute, time.Hour)
		}
	}
	for range 2 {
		s := w.session(who, place{}, w.work())
		s.reads()
		s.ends()
	}
}

// branchMade: the work begins on the main branch, and goes over to one that is made
// for it. What was done there before a commit to the main branch is another work.
func branchMade(w *world) {
	repo := w.repo()
	s := w.session(w.person(), w.onMain(repo), w.work())
	if w.chance(40) {
		w.landsAll(repo, s.builds(1), s.work)
		s.work = w.work()
	}
	for range w.between(0, 2) {
		s.reads()
	}
	s.asks()
	s.call("Bash", "git switch", "vcs")
	at := w.branch(repo)
	s.head = &at
	if w.chance(30) { // nothing is committed yet: the end of the turn tells where it went
		s.edits()
		s.head, s.place = nil, at
		s.answers()
		if w.chance(50) {
			s.reads()
		}
		made := s.builds(1)
		w.tells(at, made)
		w.opens(at, made[0], s.work).ending(made)
		s.ends()
		return
	}
	made := s.commits(w.between(1, 2))
	s.pushes()
	w.tells(at, made)
	p := w.opens(at, made[len(made)-1], s.work)
	if w.chance(60) {
		s.touches(p.id, "created")
	}
	s.answers()
	s.head, s.place = nil, at // now the client knows
	if w.chance(50) {
		more := s.builds(1)
		p.updates(more)
		made = append(made, more...)
	}
	s.ends()
	p.ending(made)
}
