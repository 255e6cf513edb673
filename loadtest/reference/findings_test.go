package reference

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

// storyOf is a random session in words: few tools, arguments and results, of
// which much is repeated.
func storyOf(random *rand.Rand) []string {
	words := []string{"prompt"}
	prompts := 1
	subagents := random.IntN(3) == 0
	background := !subagents && random.IntN(4) == 0 // then there is one prompt
	policy := random.IntN(4) == 0
	command := func(name string) string {
		word := name + ":" + pick(random, "1:+", "1:+", "2:-", "2:-", "2:-", "3:-", "4:!", "5:h", "6:i")
		if random.IntN(8) == 0 {
			word += ",args=" + pick(random, "a", "b")
		}
		return word
	}
	act := func() string {
		switch random.IntN(12) {
		case 0:
			if !background && prompts < 4 && random.IntN(2) == 0 {
				prompts++
				return "prompt"
			}
			return "stop:" + pick(random, "", "", "tests_pass", "tests_pass", "tests_fail")
		case 1, 2:
			return "edit:" + pick(random, "f.go", "f.go", "g.go", "d.md") + ":" + pick(random, "a", "a", "b", "c") + pick(random, "", "", "", ",shell", ":v", ",nochange")
		case 3, 4:
			return "test:" + pick(random, "1:-", "1:-", "1:-", "2:-", "3:+", "3:+", "4:e", "5:?,tests=?", "6:+,tests=-", "7:-,tests=none") + pick(random, "", "", "", ",args=one")
		}
		return command(pick(random, "x", "x", "y", "z"))
	}
	more := func() (s string) {
		if subagents && random.IntN(3) == 0 {
			s += ",@" + pick(random, "a", "b")
		}
		switch random.IntN(20) {
		case 0:
			s += ",~25"
		case 1:
			s += ",waits"
		case 2:
			s += ",~-1.37" // beside the one before
		case 3:
			s += ",~-0.83"
		case 4:
			if background {
				s += ",background"
			}
		}
		if policy {
			s += pick(random, "", "", "", ",secret=aws", ",secret=gh", ",source=script", ",source=url", ",source=registry", ",mode=default", ",mode=plan",
				",mode=bypassPermissions", ",target=terraform_apply", ",target=npm_publish", ",class=install", ",protected=ci", ",protected=lock_file", ",protected=secrets",
				",tamper=skipped", ",tamper=weakened", ",tamper=deleted,delete", ",delete")
		}
		return s
	}
	for len(words) < 4+random.IntN(60) {
		if n := 1 + random.IntN(5); n < len(words) && random.IntN(3) == 0 {
			again := slices.Clone(words[len(words)-n:])
			if slices.Contains(again, "prompt") {
				continue
			}
			for range 1 + random.IntN(4) {
				words = append(words, again...)
			}
			continue
		}
		word := act()
		if !strings.HasPrefix(word, "prompt") && !strings.HasPrefix(word, "stop") {
			word += more()
		}
		words = append(words, word)
	}
	return words
}

// arrived are the events of a story as they may come: told by one witness or by
// two, in whatever order, twice, and after the end.
func arrived(random *rand.Rand, events []sent) []sent {
	if random.IntN(2) == 0 {
		for _, s := range slices.Clone(events) {
			if random.IntN(3) > 0 {
				e := *s.event
				e.Witness = schemas.WitnessTranscript
				e.OccurredAt += 10_000
				schemas.SetEventID(&e)
				events = append(events, sent{org: s.org, event: &e})
			}
		}
		slices.SortStableFunc(events, func(a, b sent) int { return int(a.event.OccurredAt - b.event.OccurredAt) })
	}
	switch random.IntN(4) {
	case 0:
		random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	case 1:
		for i := range events {
			j := min(len(events)-1, i+random.IntN(6))
			events[i], events[j] = events[j], events[i]
		}
	}
	if random.IntN(2) == 0 {
		events = append(events, events[random.IntN(len(events)):]...)
	}
	long := random.IntN(3) == 0
	for i := range events {
		events[i].pause = max(0, time.Duration(random.IntN(60)-50)*time.Second)
		if long && random.IntN(40) == 0 {
			events[i].pause = pick(random, 45*time.Minute, 45*time.Minute, 26*time.Hour) // the session ends, or has left the state, and goes on
		}
	}
	return events
}

func agreeOnStory(t testing.TB, seed uint64, words []string) bool {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	events := arrived(random, toldEvents(words...))
	end := []ending{bySourceEnd, bySilence}[seed%2]
	given, said, findings, batch := process(t, events, end)
	final, problems := Final(said)
	want := batch.Rows(given)
	problems = append(problems, Compare(want, final)...)
	problems = append(problems, compareFindings(batch.Findings(given), findings)...)
	for _, p := range problems[:min(len(problems), 10)] {
		t.Errorf("seed %d: %s", seed, p)
	}
	if len(problems) > 0 {
		t.Logf("seed %d: %q", seed, words)
		for _, f := range findings {
			t.Logf("the fold: %x v%d %+d %s %s: %s", f.FindingId[:3], f.Version, f.Sign, f.Kind, f.State, f.Sentence)
		}
	}
	return len(problems) == 0
}

func TestFindingsOfRandomSessionsAreThoseOfTheReference(t *testing.T) {
	for seed := range seeds(t) {
		if !agreeOnStory(t, seed, storyOf(rand.New(rand.NewPCG(seed, 6)))) {
			return
		}
	}
}

// seeds is how many random sessions are played: REFERENCE_SEEDS, else some.
func seeds(t *testing.T) uint64 {
	text := os.Getenv("REFERENCE_SEEDS")
	if text == "" {
		return 200
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What docs/detectors.md says, case by case: of the model, and of the fold.
func TestTheReferenceJudgesAsTheDefinitionsSay(t *testing.T) {
	for _, c := range []struct{ name, words, want string }{
		{"three failures are too few", "prompt x:1:- y:1:- x:1:- z:1:- x:1:-", ""},
		{"the fourth failure", "prompt x:1:- y:1:- x:1:- x:1:- z:2:- x:1:-", "repeated_retries open"},
		{"then it works", "prompt x:1:- y:1:- x:1:- x:1:- z:2:- x:1:- x:3:+", "repeated_retries resolved"},
		{"then a file is changed", "prompt x:1:- y:1:- x:1:- x:1:- z:2:- x:1:- edit:f.go:a", "repeated_retries open"},
		{"then a file is changed and it is tried again", "prompt x:1:- y:1:- x:1:- x:1:- z:2:- x:1:- edit:f.go:a x:1:-", "repeated_retries resolved"},
		{"then somebody asks", "prompt x:1:- y:1:- x:1:- x:1:- z:2:- x:1:- prompt", "repeated_retries resolved"},
		{"fix, test, fix, test", "prompt test:1:- edit:f.go:a test:1:- edit:f.go:b test:1:- edit:f.go:c test:1:- edit:f.go:d test:1:-", ""},
		{"four searches", "prompt x:1:-,args=a x:1:-,args=b x:1:-,args=c x:1:-,args=d", ""},
		{"four outputs", "prompt x:1:- x:2:- x:3:- x:4:-", ""},
		{"four denials", "prompt x:4:!,args=a x:4:!,args=b x:4:!,args=c x:4:!,args=d", ""},
		{"half of the attempts are new", "prompt x:1:- y:1:- x:2:- x:1:- z:1:- x:2:-", "repeated_retries open"},
		{"more than half are new", "prompt x:1:- y:1:- x:2:- x:3:- z:1:- x:2:-", ""},
		{"the fourth failure after a prompt", "prompt x:1:- y:1:- x:1:- x:1:- prompt x:1:-", ""},
		{"a subagent's change is none of the run", "prompt x:1:- y:1:- x:1:- x:1:- edit:f.go:a,@a x:1:-", "repeated_retries open"},
		{"retries in two turns", "prompt x:1:- y:1:- x:1:- x:1:- z:2:- x:1:- prompt x:1:- y:1:- x:1:- x:1:- z:2:- x:1:-", "repeated_retries open, repeated_retries resolved"},

		{"three alike", "prompt x:1:+ x:1:+ x:1:+", ""},
		{"four alike", "prompt x:1:+ x:1:+ x:1:+ x:1:+", "loop open"},
		{"four alike that fail are a loop only", "prompt x:1:- x:1:- x:1:- x:1:-", "loop open"},
		{"a loop is left", "prompt x:1:+ x:1:+ x:1:+ x:1:+ y:1:+", "loop resolved"},
		{"three times two", "prompt x:1:+ y:1:+ x:1:+ y:1:+ x:1:+ y:1:+", "loop open"},
		{"twice six", "prompt a:1:+ b:1:+ c:1:+ d:1:+ e:1:+ f:1:+ a:1:+ b:1:+ c:1:+ d:1:+ e:1:+ f:1:+", ""},
		{"three times six", "prompt a:1:+ b:1:+ c:1:+ d:1:+ e:1:+ f:1:+ a:1:+ b:1:+ c:1:+ d:1:+ e:1:+ f:1:+ a:1:+ b:1:+ c:1:+ d:1:+ e:1:+ f:1:+", "loop open"},
		{"polling with another output", "prompt x:1:+ x:2:+ x:3:+ x:4:+", ""},
		{"polling with a sleep", "prompt x:1:+ y:1:+,waits x:1:+ y:1:+,waits x:1:+ y:1:+,waits", ""},
		{"polling with a pause", "prompt x:1:+ x:1:+,~20 x:1:+,~20 x:1:+,~20", ""},
		{"a pause that is too short", "prompt x:1:+ x:1:+,~19 x:1:+,~19 x:1:+,~19", "loop open"},
		{"waiting for the background", "prompt bg:1:+,background x:1:+ x:1:+ x:1:+ x:1:+", ""},
		{"waiting for the background of a turn before", "prompt bg:1:+,background prompt x:1:+ x:1:+ x:1:+ x:1:+", ""},
		{"what fails does not wait for it", "prompt bg:1:+,background x:1:- x:1:- x:1:- x:1:-", "loop open"},
		{"five turns", "prompt x:1:+ prompt x:1:+ prompt x:1:+ prompt x:1:+ prompt x:1:+", ""},
		{"the same loop in two turns", "prompt x:1:+ x:1:+ x:1:+ x:1:+ prompt x:1:+ x:1:+ x:1:+ x:1:+", "loop open, loop resolved"},
		{"the same loop in two runs", "prompt x:1:+ x:1:+ x:1:+ x:1:+ x:1:+,@a x:1:+,@a x:1:+,@a x:1:+,@a", "loop open, loop open"},
		{"two loops that share a step", "prompt x:1:+ x:1:+ x:1:+ x:1:+ q:1:+ x:1:+ y:1:+ x:1:+ y:1:+ x:1:+ y:1:+", "loop open, loop resolved"},
		{"a subagent's loop and the next prompt", "prompt x:1:+,@a x:1:+,@a x:1:+,@a x:1:+,@a prompt", "loop resolved"},
		{"to and fro", "prompt edit:f.go:a x:1:+ edit:f.go:b y:1:+ edit:f.go:a z:1:+ edit:f.go:b", "loop open"},
		{"to and fro, left", "prompt edit:f.go:a edit:f.go:b edit:f.go:a edit:f.go:b edit:f.go:c", "loop resolved"},
		{"to and fro, a step of the two again", "prompt edit:f.go:a edit:f.go:b edit:f.go:a edit:f.go:b edit:f.go:b edit:f.go:a", "loop open"},
		{"to and fro over two turns", "prompt edit:f.go:a edit:f.go:b prompt edit:f.go:a edit:f.go:b", ""},
		{"the same test fails", "prompt test:1:- x:1:+ test:1:- y:1:+ test:1:- z:1:+ test:1:-", "loop open"},
		{"the same test fails, then a change", "prompt test:1:- x:1:+ test:1:- y:1:+ test:1:- z:1:+ test:1:- edit:f.go:a", "loop resolved"},
		{"the same test, and a step beside its last run", "prompt test:1:- y:1:+ test:1:- test:1:- test:1:- test:1:-,took=5 x:1:+,~-4.5", "loop resolved"},

		{"protected paths", "prompt edit:.env:a,protected=secrets edit:.env:b,protected=secrets edit:go.sum:a,protected=lock_file", "protected_path open, protected_path open"},
		{"what an install writes", "prompt edit:go.sum:a,protected=lock_file,shell,class=install", ""},
		{"outside of repository and home", "prompt edit:/tmp/ci.yml:a,protected=ci", ""},
		{"a change that failed", "prompt edit:.env:a:-,protected=secrets", ""},
		{"secrets", "prompt x:1:+,secret=aws y:2:-,secret=aws z:1:+,secret=gh", "secret open, secret open"},
		{"installs", "prompt x:1:+,source=script y:1:+,source=url z:1:+,source=registry z:4:!,source=url", "network_install open, network_install open"},
		{"bypass from the start", "prompt x:1:+,mode=bypassPermissions y:1:+,mode=bypassPermissions", ""},
		{"bypass later", "prompt x:1:+,mode=default y:1:+,mode=bypassPermissions", "permission_bypass open"},
		{"critical commands", "prompt x:1:-,target=terraform_apply y:1:+,target=npm_publish z:4:!,target=docker_push", "critical_command open"},
		{"tests tampered with", "prompt edit:a_test.go:a,tamper=skipped edit:b_test.go:a,tamper=deleted,delete", "test_tamper open, test_tamper open"},
		{"a test deleted with its code", "prompt edit:a_test.go:a,tamper=deleted,delete edit:a.go:a,delete", ""},

		{"red at the end", "prompt test:1:- edit:f.go:a stop", "red_tests open"},
		{"red, edit, green", "prompt test:1:- edit:f.go:a test:2:+ stop", ""},
		{"red, and green later", "prompt test:1:- stop prompt test:2:+", "red_tests resolved"},
		{"red in an earlier turn", "prompt test:1:- prompt stop", ""},
		{"a claim after red", "prompt test:1:- stop:tests_pass", "false_claim open"},
		{"a claim after red of an earlier turn", "prompt test:1:- prompt stop:tests_pass", "false_claim open"},
		{"a claim after green", "prompt edit:f.go:a test:1:+ stop:tests_pass", ""},
		{"a claim after a change", "prompt test:1:+ edit:f.go:a stop:tests_pass", "false_claim open"},
		{"a claim after a change of a text", "prompt test:1:+ edit:f.md:a stop:tests_pass", ""},
		{"a claim without a run", "prompt edit:f.go:a stop:tests_pass", "false_claim open"},
		{"a claim with nothing done", "prompt stop:tests_pass", ""},
		{"no claim", "prompt edit:f.go:a stop:tests_not_run", ""},
		{"a subagent's claim", "prompt test:1:- stop:tests_pass,@a", ""},
		{"a claim, and green later", "prompt edit:f.go:a stop:tests_pass prompt test:1:+", "false_claim resolved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			given, _, findings, batch := process(t, toldEvents(strings.Fields(c.words)...), bySilence)
			var model, fold []string
			for _, f := range batch.Findings(given) {
				model = append(model, f.Kind+map[bool]string{true: " open", false: " resolved"}[f.Open])
			}
			for _, f := range standingFindings(findings) {
				if slices.Contains(judgedKinds, f.Kind) {
					fold = append(fold, f.Kind+" "+f.State.String())
				}
			}
			slices.Sort(model)
			slices.Sort(fold)
			if got := strings.Join(model, ", "); got != c.want {
				t.Errorf("%s: the reference finds %q, want %q", c.words, got, c.want)
			}
			if got := strings.Join(fold, ", "); got != c.want {
				t.Errorf("%s: the fold finds %q, want %q", c.words, got, c.want)
			}
		})
	}
}
