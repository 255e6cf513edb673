package detectors

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flightlog/flightlog/schemas"
)

// story makes rows of a session of steps in words, one second apart:
//
//	TOOL TARGET ARGUMENTS RESULT [word...]
//
// with the words fail, wait, background, test, red, green, deny, hook, mismatch,
// edit:PATH (the call changed the file), tamper:CLASS:PATH, delete:PATH, +SECONDS
// before it, agent:ID. Other lines are: prompt, end, end claims.
func story(t interface {
	Helper()
	Fatalf(string, ...any)
}, lines ...string) []*schemas.Enriched {
	t.Helper()
	var rows []*schemas.Enriched
	at, turn, calls := int64(1_000_000_000_000_000), 0, 0
	add := func(kind schemas.Kind, set func(r *schemas.Enriched)) {
		r := &schemas.Enriched{Kind: kind, OccurredAt: at, SessionId: "s", PromptId: "p" + strconv.Itoa(turn)}
		set(r)
		r.FactKey = schemas.FactKey("s", kind, fmt.Sprint(r.ToolUseId, r.FilePath, at))
		rows = append(rows, r)
	}
	for _, line := range lines {
		at += 1e6
		switch line {
		case "prompt":
			turn++
			add(schemas.KindPrompt, func(*schemas.Enriched) {})
			continue
		case "end", "end claims":
			add(schemas.KindTurnEnd, func(r *schemas.Enriched) {
				r.Success = schemas.SomeBool(true)
				if line != "end" {
					r.Claim = "tests_pass"
				}
			})
			continue
		}
		words := strings.Fields(line)
		if len(words) < 4 {
			t.Fatalf("no step: %q", line)
		}
		calls++
		id := fmt.Sprint("toolu_", calls)
		var agent string
		for _, w := range words[4:] {
			if s, ok := strings.CutPrefix(w, "+"); ok {
				n, _ := strconv.Atoi(s)
				at += int64(n) * 1e6
			}
			if a, ok := strings.CutPrefix(w, "agent:"); ok {
				agent = a
			}
		}
		add(schemas.KindToolCall, func(r *schemas.Enriched) {
			r.ToolUseId, r.AgentRunId, r.RequestId = id, agent, "req "+id
			r.ToolName, r.ToolTarget, r.ToolArgumentsHash, r.ResultShape = words[0], strings.Trim(words[1], "-"), words[2], words[3]
			r.Success, r.DurationMs = schemas.SomeBool(true), schemas.SomeLong(100)
			for _, w := range words[4:] {
				switch w {
				case "fail":
					r.Success, r.ErrorClass = schemas.SomeBool(false), "exit"
				case "mismatch":
					r.Success, r.ErrorClass = schemas.SomeBool(false), "validation"
				case "deny":
					r.Success, r.ErrorClass, r.ApprovalDecision = schemas.SomeBool(false), "permission-rule", "reject"
				case "wait":
					r.Waits = schemas.SomeBool(true)
				case "background":
					r.Background = schemas.SomeBool(true)
				case "test", "red", "green":
					r.CommandClass = "test"
				}
			}
		})
		for _, w := range words[4:] {
			kind, path, _ := strings.Cut(w, ":")
			change := func(set func(r *schemas.Enriched)) {
				at += 1000
				add(schemas.KindFileChange, func(r *schemas.Enriched) {
					r.ToolUseId, r.AgentRunId, r.FilePath, r.Success, r.Detail = id, agent, path, schemas.SomeBool(true), "update"
					_, r.FileType, _ = strings.Cut(path, ".")
					set(r)
				})
			}
			run := func(o schemas.TestOutcome) {
				at += 1000
				add(schemas.KindTestRun, func(r *schemas.Enriched) { r.ToolUseId, r.AgentRunId, r.TestOutcome = id, agent, o })
			}
			switch kind {
			case "edit":
				change(func(*schemas.Enriched) {})
			case "delete":
				change(func(r *schemas.Enriched) { r.Detail = "delete" })
			case "tamper":
				class, file, _ := strings.Cut(path, ":")
				path = file
				change(func(r *schemas.Enriched) { r.TestTamper = class })
			case "red":
				run(schemas.TestOutcomeFailed)
			case "green":
				run(schemas.TestOutcomePassed)
			}
		}
	}
	return rows
}

func repeat(n int, lines ...string) (all []string) {
	for range n {
		all = append(all, lines...)
	}
	return all
}

// judged are the findings of a story, as "kind state" or "kind:detail state".
func judged(rows []*schemas.Enriched) []string {
	var s Session
	for _, r := range rows {
		s.Add(r, 1, 0)
	}
	found, _ := s.Judge(func(int64) *Rules { return Builtin() })
	return named(found)
}

func named(found []Finding) []string {
	all := []string{}
	for _, f := range found {
		all = append(all, fmt.Sprintf("%s %s %d", f.Kind, f.State, f.Count))
	}
	slices.Sort(all)
	return all
}

const (
	fails = "Bash make a r fail"
	poll  = "Bash curl status pending"
	red   = "Bash npm-test t r fail red"
	green = "Bash npm-test t g green"
	edit  = "Edit x.go e1 ok edit:x.go"
)

// Every line of docs/detectors.md about runs and turns.
func TestTheBehavioursOfThePage(t *testing.T) {
	join := func(parts ...[]string) []string { return slices.Concat(parts...) }
	for name, c := range map[string]struct {
		lines []string
		want  []string
	}{
		"four failing calls alike":                     {join([]string{"prompt"}, repeat(4, fails)), []string{"loop open 4"}},
		"three are too few":                            {join([]string{"prompt"}, repeat(3, fails)), nil},
		"eight":                                        {join([]string{"prompt"}, repeat(8, fails)), []string{"loop open 8"}},
		"a period of two":                              {join([]string{"prompt"}, repeat(3, "Bash a 1 x", "Bash b 2 y")), []string{"loop open 3"}},
		"a period of two, twice":                       {join([]string{"prompt"}, repeat(2, "Bash a 1 x", "Bash b 2 y")), nil},
		"a period of six":                              {join([]string{"prompt"}, repeat(3, "R a 1 x", "R b 2 y", "R c 3 z", "R d 4 u", "R e 5 v", "R f 6 w")), []string{"loop open 3"}},
		"progress":                                     {join([]string{"prompt"}, repeat(5, fails), []string{"Read a 1 x"}), []string{"loop resolved 5"}},
		"the next prompt":                              {join([]string{"prompt"}, repeat(5, fails), []string{"prompt", "Read a 1 x"}), []string{"loop resolved 5"}},
		"a prompt in between":                          {join([]string{"prompt"}, repeat(2, fails), []string{"prompt"}, repeat(2, fails)), nil},
		"polling, the output changes":                  {[]string{"prompt", poll + "1", poll + "2", poll + "3", poll + "4", poll + "5"}, nil},
		"polling with sleep":                           {join([]string{"prompt"}, repeat(6, poll, "Bash sleep 5 ok wait")), nil},
		"polling, the command waits":                   {join([]string{"prompt"}, repeat(6, poll+" wait")), nil},
		"polling every 25 s":                           {join([]string{"prompt"}, repeat(6, poll+" +25")), nil},
		"polling for a background task":                {join([]string{"prompt", "Bash npm-run server started background"}, repeat(6, poll)), nil},
		"failing beside a background task":             {join([]string{"prompt", "Bash npm-run server started background"}, repeat(4, fails)), []string{"loop open 4"}},
		"two runs in turn":                             {join([]string{"prompt"}, repeat(3, fails, fails+" agent:sub")), nil},
		"a loop of a subagent":                         {join([]string{"prompt"}, repeat(4, "Read a 1 x agent:sub")), []string{"loop open 4"}},
		"edit, undo, edit":                             {[]string{"prompt", "Edit x 1 a edit:x", "Bash t 1 q1", "Edit x 2 b edit:x", "Bash t 1 q2", "Edit x 1 c edit:x", "Bash t 1 q3", "Edit x 2 d edit:x"}, []string{"loop open 4"}},
		"edit by turns with other edits":               {[]string{"prompt", "Edit x 1 a edit:x", "Edit x 2 b edit:x", "Edit x 3 c edit:x", "Edit x 1 d edit:x", "Edit x 2 e edit:x"}, nil},
		"the same test fails, reads in between":        {[]string{"prompt", red, "Read a 1 x", red, "Read b 2 x", red, "Read c 3 x", red, "end"}, []string{"loop open 4", "red_tests open 1"}},
		"the same test fails, edits in between":        {[]string{"prompt", red, edit, red, "Edit x.go e2 ok edit:x.go", red, "Edit x.go e3 ok edit:x.go", red}, nil},
		"fix, test, fix, test, with other outputs":     {[]string{"prompt", red, edit, red + " fail", "Edit x.go e2 ok edit:x.go", red, green, "end"}, nil},
		"retries with the same two arguments by turns": {[]string{"prompt", "Bash make a 1 fail", "Bash make b 2 fail", "Read r 1 x", "Bash make b 2 fail", "Bash make a 1 fail"}, []string{"repeated_retries open 4"}},
		"retries that succeed":                         {[]string{"prompt", "Bash make a 1 fail", "Bash make b 2 fail", "Read r 1 x", "Bash make b 2 fail", "Bash make a 1 fail", "Bash make c ok"}, []string{"repeated_retries resolved 4"}},
		"four searches without a hit":                  {[]string{"prompt", "Bash grep a 1 fail", "Bash grep b 1 fail", "Bash grep c 1 fail", "Bash grep d 1 fail"}, nil},
		"four other outputs":                           {[]string{"prompt", "Bash make a 1 fail", "Bash make a 2 fail", "Bash make a 3 fail", "Bash make a 4 fail"}, nil},
		"four denials of other commands":               {[]string{"prompt", "Bash git a 1 deny", "Bash git b 1 deny", "Bash git c 1 deny", "Bash git d 1 deny"}, nil},
		"red at the end":                               {[]string{"prompt", edit, red, "end"}, []string{"red_tests open 1"}},
		"red, then green":                              {[]string{"prompt", edit, red, "Edit x.go e2 ok edit:x.go", green, "end claims"}, nil},
		"red in an earlier turn":                       {[]string{"prompt", red, "end", "prompt", "Read a 1 x", "end"}, []string{"red_tests open 1"}},
		"red, green in a later turn":                   {[]string{"prompt", red, "end", "prompt", green, "end"}, []string{"red_tests resolved 1"}},
		"a claim beside a red run":                     {[]string{"prompt", edit, red, "end claims"}, []string{"false_claim open 1"}},
		"a claim after an edit":                        {[]string{"prompt", green, edit, "end claims"}, []string{"false_claim open 1"}},
		"a claim without a run":                        {[]string{"prompt", edit, "end claims"}, []string{"false_claim open 1"}},
		"a claim without a change":                     {[]string{"prompt", "Read a 1 x", "end claims"}, nil},
		"a claim after a text was edited":              {[]string{"prompt", edit, green, "Edit r e1 ok edit:r.md", "end claims"}, nil},
		"a claim that is true":                         {[]string{"prompt", edit, green, "end claims"}, nil},
		"a claim of an earlier green":                  {[]string{"prompt", edit, green, "end", "prompt", "end claims"}, nil},
		"tests skipped":                                {[]string{"prompt", "Edit t e1 ok tamper:skipped:a.test.js"}, []string{"test_tamper open 1"}},
		"a test deleted with its code":                 {[]string{"prompt", "Bash rm e1 ok tamper:deleted:a.test.js delete:a.js"}, nil},
		"the code deleted first":                       {[]string{"prompt", "Bash rm e1 ok delete:a.js tamper:deleted:a.test.js"}, nil},
	} {
		rows := story(t, c.lines...)
		want := append([]string{}, c.want...)
		if got := judged(rows); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: found %q, want %q", name, got, want)
		}
	}
}

func TestAttemptsAreNumbered(t *testing.T) {
	rows := story(t, "prompt", "Bash make a 1 fail", "Bash make b 2 fail", "Bash make c ok", "Bash make d 1 fail",
		"Edit x e1 r mismatch", "Edit x e2 r", "Edit y e2 r deny", "Edit y e2 r", "Bash npm-test t r fail test", "Bash npm-test t r", "prompt", "Bash make d ok")
	var s Session
	for _, r := range rows {
		s.Add(r, 1, 0)
	}
	_, attempts := s.Judge(func(int64) *Rules { return Builtin() })
	var got []string
	for _, a := range attempts {
		got = append(got, fmt.Sprint(a.Number, a.Reason))
	}
	want := []string{"1", "2tool_error", "3tool_error", "1", "1", "2edit_mismatch", "1", "2permission_denied", "1", "2test_failed", "1"}
	if !slices.Equal(got, want) {
		t.Errorf("attempts %q, want %q", got, want)
	}
}

// The detectors that see row by row come to what all rows come to, whatever the
// length of the turn, through their records.
func TestRowByRowIsAsAllAtOnce(t *testing.T) {
	words := []string{"Bash make a 1 fail", "Bash make b 2 fail", "Bash make a 1", "Read x 1 r", "Read y 1 r", "Edit x.go e1 ok edit:x.go", "Edit x.go e2 ok edit:x.go",
		"Bash npm-test t 1 fail red", "Bash npm-test t 2 green", "Bash sleep 1 r wait", "Read x 1 r agent:a", "Bash make a 1 fail agent:a", "prompt", "end", "end claims", "Edit t e ok tamper:skipped:a.test.js"}
	rapid.Check(t, func(t *rapid.T) {
		lines := []string{"prompt"}
		for range rapid.IntRange(0, 12).Draw(t, "blocks") {
			block := rapid.SliceOfN(rapid.SampledFrom(words), 1, 4).Draw(t, "block")
			lines = append(lines, repeat(rapid.IntRange(1, 6).Draw(t, "times"), block...)...)
		}
		rows := story(t, lines...)
		rules := func(int64) *Rules { return Builtin() }
		turns, order := map[turnKey]*Turn{}, []turnKey(nil)
		var tests Tests
		var last *Turn
		for _, r := range rows {
			if r.Kind == schemas.KindPrompt && last != nil {
				for _, turn := range turns {
					turn.End(r.OccurredAt)
				}
			}
			tests.Add(r, 1)
			if InTurn(r) {
				k := turnKey{r.PromptId, r.AgentRunId}
				if turns[k] == nil {
					turns[k] = &Turn{}
					order = append(order, k)
				}
				last = turns[k]
				last.Add(r, 1, 0)
				last.Judge(rules) // as the fold does: the summary goes by the rules from then on
				var again Turn
				if err := again.Decode(last.Append(nil)); err != nil {
					t.Fatal(err)
				}
				*last = again
			}
			var again Tests
			if err := again.Decode(tests.Append(nil)); err != nil {
				t.Fatal(err)
			}
			tests = again
		}
		var found []Finding
		for _, k := range order {
			if turns[k].Late {
				t.Fatalf("turn %v: nothing was late", k)
			}
			fs, _ := turns[k].Judge(rules)
			found = append(found, fs...)
		}
		found = append(found, tests.Judge(rules)...)
		if got, want := named(found), judged(rows); !slices.Equal(got, want) {
			t.Fatalf("%q:\nrow by row  %q\nall at once %q", lines, got, want)
		}
	})
}
