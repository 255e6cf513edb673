package reference

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// story makes the events of a session from words, one for each thing that is
// done, a second and its pause after the one before:
//
//	prompt             the next prompt, p1, p2, ...
//	stop[:claim]       the turn ends
//	x:r:outcome        the command "x", with result r: + it worked, - it failed,
//	                   ! a person refused it, h a hook did, i it was interrupted
//	edit:file:diff     the file is changed, so that its diff is that
//	test:r:outcome     tests are run; their outcome is the command's
//
// What follows after a comma sets more: @run, ~pause in seconds, waits,
// background, tool=, args=, target=, class=, mode=, source=, secret=, tests=,
// tamper=, protected=, shell (an edit by a shell command), delete,
// nochange (no file_change tells of it), turn=.
type story struct {
	events     []*schemas.Event
	at         int64
	n, prompts int
	turn       int // that what is told belongs to
}

const storySession = "story"

func (s *story) event(kind schemas.Kind, id, run string) *schemas.Event {
	e := &schemas.Event{SessionId: storySession, Kind: kind, FactKey: schemas.FactKey(storySession, kind, id),
		Witness: schemas.WitnessHook, OccurredAt: s.at, AgentRunId: run, Agent: "claude-code"}
	if s.turn > 0 {
		e.PromptId = fmt.Sprint("p", s.turn)
	}
	s.events = append(s.events, e)
	return e
}

var outcomes = map[string]schemas.TestOutcome{"+": schemas.TestOutcomePassed, "-": schemas.TestOutcomeFailed, "?": schemas.TestOutcomeUnknown, "e": schemas.TestOutcomeErrored}

func (s *story) tell(word string) {
	head, rest, _ := strings.Cut(word, ",")
	more := map[string]string{}
	for _, o := range strings.Split(rest, ",") {
		name, value, _ := strings.Cut(o, "=")
		switch {
		case strings.HasPrefix(o, "@"):
			name, value = "run", o[1:]
		case strings.HasPrefix(o, "~"):
			name, value = "pause", o[1:]
		}
		more[name] = value
	}
	has := func(name string) bool { _, ok := more[name]; return ok }
	pause, _ := strconv.ParseFloat(cmp.Or(more["pause"], "1"), 64)
	s.at += int64(pause * 1e6)
	part := append(strings.Split(head, ":"), "", "", "")
	s.n++
	id, run := fmt.Sprint("t", s.n), more["run"]
	if s.turn = s.prompts; has("turn") {
		s.turn, _ = strconv.Atoi(more["turn"])
	}
	switch part[0] {
	case "prompt":
		s.prompts++
		s.turn = s.prompts
		for _, e := range s.events {
			s.at = max(s.at, e.OccurredAt+1_000_000)
		}
		e := s.event(schemas.KindPrompt, fmt.Sprint("p", s.prompts), run)
		e.Body.Branch = schemas.EventBodySession
		s.at += 60_000_000 // what is done beside the one before is not before it
		return
	case "stop":
		e := s.event(schemas.KindTurnEnd, fmt.Sprint("p", s.prompts, "/", run), run)
		e.Body.Branch, e.Body.Session.Claim, e.Success = schemas.EventBodySession, part[1], schemas.SomeBool(true)
		return
	}
	tool := schemas.ToolBody{ToolName: "Bash", ToolTarget: part[0], ArgumentsHash: part[0], ResultHash: part[1], ResultShape: part[1], CommandClass: cmp.Or(more["class"], "other"),
		PermissionMode: more["mode"], InstallSource: more["source"], SecretClass: more["secret"], Waits: has("waits")}
	outcome := part[2]
	switch part[0] {
	case "edit":
		tool.ToolName, tool.ToolTarget, tool.ArgumentsHash, tool.ResultHash = "Edit", part[1], part[1]+part[2], part[1]+part[2]
		if outcome = part[3]; outcome == "" {
			outcome = "+"
		}
		tool.ResultShape = tool.ResultHash
		if has("shell") {
			tool.ToolName, tool.ToolTarget = "Bash", "sed"
		}
	case "test":
		tool.ToolTarget, tool.ArgumentsHash, tool.CommandClass = "go test", "go test", "test"
	}
	tool.ToolName, tool.ToolTarget = cmp.Or(more["tool"], tool.ToolName), cmp.Or(strings.ReplaceAll(more["target"], "_", " "), tool.ToolTarget)
	if tool.ToolTarget == "none" {
		tool.ToolTarget = ""
	}
	tool.ArgumentsHash = cmp.Or(more["args"], tool.ArgumentsHash)
	if has("background") {
		tool.Background = schemas.SomeBool(true)
	}
	began := s.event(schemas.KindToolCall, id, run)
	began.ToolUseId = id
	began.Body.Branch, began.Body.Tool = schemas.EventBodyTool, tool
	began.Body.Tool.ResultHash, began.Body.Tool.ResultShape, began.Body.Tool.Background = "", "", schemas.OptBool{}
	if outcome == "" {
		return
	}
	duration := int64(1000)
	if d, err := strconv.ParseInt(more["took"], 10, 64); err == nil {
		duration = d * 1000
	}
	s.at += duration * 1000
	e := s.event(schemas.KindToolCall, id, run)
	e.ToolUseId, e.DurationMs = id, schemas.SomeLong(duration)
	e.Body.Branch, e.Body.Tool = schemas.EventBodyTool, tool
	e.Body.Tool.Done = true
	worked := outcome == "+" || outcome == "?"
	e.Success = schemas.SomeBool(worked)
	switch outcome {
	case "-", "e":
		e.ErrorClass = "exit"
	case "!":
		e.ErrorClass, e.Body.Tool.ApprovalDecision, e.Body.Tool.ApprovalSource = "user-rejected", "reject", "user_reject"
	case "h":
		e.ErrorClass, e.Body.Tool.ApprovalDecision, e.Body.Tool.ApprovalSource = "permission-rule", "reject", "hook"
	case "i":
		e.ErrorClass = "interrupted"
	case "v":
		e.ErrorClass = "validation"
	}
	switch {
	case has("nochange"):
	case part[0] == "edit" && worked:
		if has("shell") {
			id += "\x00" + part[1]
		}
		e := s.event(schemas.KindFileChange, id, run)
		e.ToolUseId, e.Success = began.ToolUseId, schemas.SomeBool(true)
		e.Body.Branch = schemas.EventBodyArtifact
		e.Body.Artifact = schemas.ArtifactBody{FilePath: part[1], FileType: strings.TrimPrefix(path.Ext(part[1]), "."), Operation: "update",
			DiffHash: part[2], ChangeGrade: schemas.ChangeGradeExact, TestTamper: more["tamper"], ProtectedClass: more["protected"]}
		if has("delete") {
			e.Body.Artifact.Operation = "delete"
		}
	case part[0] == "test" || has("tests"):
		o, ok := outcomes[cmp.Or(more["tests"], outcome)]
		if !ok || more["tests"] == "none" {
			break
		}
		e := s.event(schemas.KindTestRun, id, run)
		e.ToolUseId = id
		e.Body.Branch, e.Body.Artifact.TestOutcome = schemas.EventBodyArtifact, o
		if o != schemas.TestOutcomeUnknown {
			e.Success = schemas.SomeBool(o == schemas.TestOutcomePassed)
		}
	}
}

// toldEvents are the events of a story, in the order of time.
func toldEvents(words ...string) (events []sent) {
	s := story{at: start - 3_600_000_000} // what is ahead of its arrival would be clamped
	for _, w := range words {
		s.tell(w)
	}
	slices.SortStableFunc(s.events, func(a, b *schemas.Event) int { return cmp.Compare(a.OccurredAt, b.OccurredAt) })
	for _, e := range s.events {
		schemas.SetEventID(e)
		events = append(events, sent{org: "acme", event: e})
	}
	return events
}

// standingFindings are the +1 rows of the highest version of each finding that is
// not withdrawn.
func standingFindings(said []schemas.Finding) (findings []schemas.Finding) {
	last := map[schemas.Id]schemas.Finding{}
	for _, f := range said {
		if f.Sign == 1 && f.Version >= last[f.FindingId].Version {
			last[f.FindingId] = f
		}
	}
	for _, f := range last {
		if f.State != schemas.FindingStateWithdrawn {
			findings = append(findings, f)
		}
	}
	slices.SortFunc(findings, func(a, b schemas.Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.FirstSeen, b.FirstSeen), cmp.Compare(a.FindingId.String(), b.FindingId.String()))
	})
	return findings
}

var judgedKinds = []string{"repeated_retries", "loop", "protected_path", "secret", "network_install",
	"permission_bypass", "critical_command", "test_tamper", "red_tests", "false_claim"}

// compareFindings tells in words where model and fold differ: in how many findings
// there are of each session and kind, by state.
func compareFindings(model []Found, said []schemas.Finding) (differences []string) {
	want, got := map[string]int{}, map[string]int{}
	name := func(org, session, kind string, open bool) string {
		return fmt.Sprintf("%s/%s %s, open: %v", org, session, kind, open)
	}
	for _, f := range model {
		if !known(model, f.Org, f.Session, f.Kind) {
			want[name(f.Org, f.Session, f.Kind, f.Open)]++
		}
	}
	for _, f := range standingFindings(said) {
		if slices.Contains(judgedKinds, f.Kind) && !known(model, f.Org, f.SessionId, f.Kind) {
			got[name(f.Org, f.SessionId, f.Kind, f.State == schemas.FindingStateOpen)]++
		}
	}
	all := maps.Clone(want)
	maps.Copy(all, got)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if want[name] != got[name] {
			differences = append(differences, fmt.Sprintf("findings %s: %d, want %d", name, got[name], want[name]))
		}
	}
	return differences
}

// known tells what the fold is known to judge otherwise than docs/detectors.md:
// it makes one finding of a session where there is one for each cycle of a turn,
// and one for each intent of a turn; cycles that share a step are one, too. And
// the next prompt does not end what a subagent does.
func known(model []Found, org, session, kind string) bool {
	if kind != "loop" && kind != "repeated_retries" {
		return false
	}
	for i, a := range model {
		if a.Org == org && a.Session == session && a.asked {
			return true
		}
		for _, b := range model[:i] {
			if a.Org != org || b.Org != org || a.Session != session || b.Session != session || a.Kind != b.Kind {
				continue
			}
			if a.Kind == "repeated_retries" && a.Subject == b.Subject {
				return true
			}
			if a.Kind == "loop" && a.Subject == b.Subject && (a.Subject != "" || slices.ContainsFunc(a.signs, func(s sign) bool { return slices.Contains(b.signs, s) })) {
				return true
			}
		}
	}
	return false
}
