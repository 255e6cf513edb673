package corpus

import (
	"fmt"
	"slices"
	"strings"
)

// Texts of people and of the model. None of them says anything of tests.

func (p *project) remark() string {
	return p.one("Let me have a look.", "One moment.", "Next, the "+p.module()+" part.", "I want to see how "+p.module()+" does it.", "Now the other side.", "That tells me something.")
}

func (p *project) wish() string {
	m := p.module()
	return fmt.Sprintf(p.one("Have a look at %s, the %s part is odd", "Please change the %s in %s", "We need the limit of %s raised for %s", "Can you tidy up %s and the %s?", "The numbers of %s look wrong since the %s change", "Finish the work on %s, see the %s ticket"), m, p.one(words...)) + fmt.Sprintf(" (%d)", p.between(1, 999))
}

func (p *project) done() string {
	m := p.module()
	return fmt.Sprintf(p.one("I changed %s; have a look at the %s.", "Done: %s is as you wanted it, with the %s left alone.", "That was it for %s. The %s could be next.", "The %s part is finished, the %s needs your opinion."), m, p.one(words...))
}

// passes says that the tests pass.
func (p *project) passes() string {
	return p.one("All tests pass.", "The change is in and all tests pass now.", "Fixed. All "+fmt.Sprint(p.size)+" tests pass.", "Done, the test suite is green.", "I adjusted "+p.module()+". The tests are passing.", "Everything is done and the tests pass.")
}

// talk begins a turn with a request of a person.
func (s *session) talk() { s.ask(s.wish()) }

// finish ends a turn with words that claim nothing.
func (s *session) finish() { s.stop(s.done()) }

// look reads and searches n times, each time something else.
func (r *run) look(n int) {
	for range n {
		for {
			s, key := r.glance()
			if !slices.Contains(r.recent, key) {
				if r.recent = append(r.recent, key); len(r.recent) > 10 {
					r.recent = r.recent[1:]
				}
				r.do(s)
				break
			}
		}
	}
}

func (r *run) glance() (step, string) {
	m := r.module()
	n := r.between(1, 40)
	switch r.between(0, 9) {
	case 0, 1:
		return r.read(r.source(m)), "read " + m
	case 2:
		if r.files[r.test(m)] != "" {
			return r.read(r.test(m)), "test " + m
		}
	case 3:
		return r.part(r.source(m), n%9+1), fmt.Sprint("part ", m, n%9)
	case 4:
		return sh(fmt.Sprintf("git log --oneline -n %d", n), r.log(min(n, 5))), fmt.Sprint("log ", n)
	case 5:
		word := r.one(words...)
		return sh(fmt.Sprintf("grep -rn %s .", word), fmt.Sprintf("./README.md:%d:the %s of the shop", n, word)), "grep " + word
	case 6:
		return sh(fmt.Sprintf("ls -1 %s", strings.SplitN(r.source(m), "/", 2)[0]), strings.Join(r.modules, "\n")), "ls"
	case 7:
		word := r.one(words...)
		return r.hit(word, n), "Grep " + word
	case 8:
		return r.glob(fmt.Sprintf("**/*%s*", m), []string{r.source(m), r.test(m)}), "glob " + m
	}
	return sh(fmt.Sprintf("sed -n '%d,%dp' README.md", n, n+5), fmt.Sprintf("Line %d of the page.", n)), fmt.Sprint("sed ", n)
}

// hit is a search with one hit.
func (p *project) hit(word string, n int) step {
	return p.grep(word, []string{fmt.Sprintf("%s:%d:// see the %s", p.source(p.modules[0]), n, word)})
}

func (p *project) log(n int) string {
	var lines []string
	for range n {
		lines = append(lines, p.key(7, "0123456789abcdef")+" "+p.one("Fix", "Change", "Add", "Drop")+" the "+p.one(words...))
	}
	return strings.Join(lines, "\n")
}

// fix changes a module, in a way that never was.
func (s *session) fix() {
	if s.chance(50) {
		s.do(s.tweak(s.module()))
	} else {
		s.do(s.grow(s.module()))
	}
}
