package reference

import (
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// ordered are events of a story in an order: t2- is the begin of its second call,
// t2+ the end, p2 its second prompt, | a pause.
func ordered(words, order string) (events []sent) {
	named := map[string]*schemas.Event{}
	for _, s := range toldEvents(strings.Fields(words)...) {
		switch e := s.event; {
		case e.Kind == schemas.KindPrompt:
			named[e.PromptId] = e
		case e.Kind == schemas.KindToolCall && e.Body.Tool.Done:
			named[e.ToolUseId+"+"] = e
		case e.Kind == schemas.KindToolCall:
			named[e.ToolUseId+"-"] = e
		}
	}
	var pause time.Duration
	for _, name := range strings.Fields(order) {
		if name == "|" {
			pause = 5 * time.Second
			continue
		}
		events = append(events, sent{org: "acme", event: named[name], pause: pause})
		pause = 0
	}
	return events
}

// moved is a call that is told without its run, then with it, while another of the
// intent ends in the main thread.
func moved() []sent {
	events := ordered("prompt x:1:- x:1:-", "t3- t2+ | t2+ t3+")
	again := *events[2].event
	again.Witness, again.AgentRunId = schemas.WitnessTranscript, "a"
	schemas.SetEventID(&again)
	events[2].event = &again
	return events
}

// unended is a call that was refused by what one witness says, and was not by what
// a better one says later.
func unended() []sent {
	events := ordered("prompt x:4:!", "t2+ | t2-")
	later := *events[1].event
	later.Witness, later.Signal, later.Body.Tool.ApprovalDecision = schemas.WitnessOtlp, schemas.SignalLog, "accept"
	schemas.SetEventID(&later)
	first := *events[0].event
	first.Success, first.ErrorClass = schemas.OptBool{}, ""
	schemas.SetEventID(&first)
	events[0].event, events[1].event = &first, &later
	return events
}

func failedChange() []sent {
	events := toldEvents("prompt", "edit:.env:a,protected=secrets")
	change := events[len(events)-1].event
	change.Success = schemas.SomeBool(false)
	schemas.SetEventID(change)
	return events
}

// What the fold once did otherwise than the reference, by the order in which the
// same events came.
func TestTheFoldDoesNotDependOnTheOrderOfEvents(t *testing.T) {
	late := "t3+ t4+ t5+ t6+ t7+ t8+ t9+ t10+ t11+ t12+ t13+ t14+ t15+ | t2+"
	for _, c := range []struct {
		name   string
		events []sent
		end    ending
	}{
		{"a call that ends late, thirteen of its intent after it", ordered("prompt"+strings.Repeat(" x:1:-,args=a", 14), late), bySilence},
		{"a prompt just before the session's end", ordered("prompt x:1:- x:1:-,~25 x:1:-,~25 x:1:-,~25 prompt", "t5- t3- t2+ | t3+ t4+ t5+ p2"), bySourceEnd},
		{"the same, ended by silence", ordered("prompt x:1:- x:1:-,~25 x:1:-,~25 x:1:-,~25 prompt", "t5- t3- t2+ | t3+ t4+ t5+ p2"), bySilence},
		{"a call of which the run is told later", moved(), bySilence},
		{"a call that has not ended after all", unended(), bySilence},
		{"a change that failed", failedChange(), bySilence},
	} {
		t.Run(c.name, func(t *testing.T) {
			given, said, findings, batch := process(t, c.events, c.end)
			final, problems := Final(said)
			problems = append(problems, Compare(batch.Rows(given), final)...)
			problems = append(problems, compareFindings(batch.Findings(given), findings)...)
			for _, p := range problems {
				t.Error(p)
			}
		})
	}
}
