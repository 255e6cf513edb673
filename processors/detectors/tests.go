package detectors

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// Tests judges test runs, changes and final messages of a session, see
// docs/detectors.md: red_tests, false_claim and test_tamper. The zero value is an
// empty session.
type Tests struct {
	Late bool // as of a [Turn]

	scope
	items     []item // not in the summary yet, in order
	upTo      int64  // time up to which all is in the summary, µs
	base      account
	unbounded bool
}

const (
	maxItems  = 24
	maxFound  = 24  // findings of a session
	maxKept   = 200 // bytes of a path that is told
	noOutcome = schemas.TestOutcomeUnknown
)

type itemKind uint8

const (
	testRun itemKind = iota + 1
	codeChange
	testChange // of a test file
	codeDeleted
	turnEnd
)

// item is what counts for the tests of a session.
type item struct {
	fact    schemas.Id
	at      int64
	prompt  uint32
	kind    itemKind
	outcome schemas.TestOutcome // testRun
	tamper  string              // testChange
	path    string              // testChange
	claims  bool                // turnEnd: that tests pass
	name    uint32              // of the changed file, without its folder
	created bool
	stem    uint32 // codeDeleted, testChange: the name of the file without what makes it a test
}

// stemOf is what the names of a test and of the code that it tests have in common:
// plan of plan.go, plan_test.go, test_plan.py, PlanTest.java, plan.spec.ts.
func stemOf(file string) uint32 {
	name := strings.ToLower(path.Base(file))
	name, _, _ = strings.Cut(name, ".")
	for _, part := range [...]string{"tests", "test", "specs", "spec"} {
		name = strings.TrimSuffix(strings.TrimPrefix(name, part), part)
	}
	return hash(strings.Trim(name, "_-"))
}

// InTests tells rows that [Tests] is made of.
func InTests(r *schemas.Enriched) bool {
	_, ok := itemOf(r)
	return ok
}

func itemOf(r *schemas.Enriched) (item, bool) {
	i := item{fact: r.FactKey, at: r.OccurredAt, prompt: hash(r.PromptId)}
	switch r.Kind {
	case schemas.KindTestRun:
		i.kind, i.outcome = testRun, r.TestOutcome
	case schemas.KindToolCall:
		// A run in the background: how it ended is not known.
		i.kind = testRun
		return i, r.CommandClass == "test" && r.Background.Value
	case schemas.KindTurnEnd:
		i.kind, i.claims = turnEnd, r.Claim == "tests_pass"
		return i, r.AgentRunId == "" && r.Success.Value // a subagent tells the agent and not a person
	case schemas.KindFileChange:
		i.name = hash(strings.ToLower(path.Base(r.FilePath)))
		i.created = r.Detail == "create"
		switch {
		case r.Success.Valid && !r.Success.Value:
			return i, false
		case r.TestTamper != "":
			i.stem = stemOf(r.FilePath)
			i.kind, i.tamper, i.path = testChange, r.TestTamper, r.FilePath[:min(len(r.FilePath), maxKept)]
		case isText(r.FileType), strings.HasPrefix(r.FilePath, "/"), strings.HasPrefix(r.FilePath, "~"):
			return i, false // no code of the repository
		case r.Detail == "delete":
			i.kind, i.stem = codeDeleted, stemOf(r.FilePath)
		default:
			i.kind = codeChange
		}
	default:
		return i, false
	}
	return i, true
}

// isText tells files in which no code is.
func isText(fileType string) bool {
	switch fileType {
	case "md", "mdx", "txt", "rst", "adoc", "log", "csv", "png", "svg", "jpg", "license", "changelog", "readme", "gitignore", "gitattributes", "editorconfig":
		return true
	}
	return false
}

// Add puts a row of the session into its place, or at its new one.
func (t *Tests) Add(r *schemas.Enriched, appended int64) {
	i, ok := itemOf(r)
	if !ok {
		return
	}
	t.scope.take(r, appended)
	if t.unbounded {
		t.items = append(t.items, i)
		return
	}
	if i.at <= t.upTo {
		t.Late = true
		return
	}
	t.items = put(t.items, 0, i, func(o *item) (schemas.Id, int64) { return o.fact, o.at })
	t.shrink()
}

// shrink sums up the oldest items where there are too many.
func (t *Tests) shrink() {
	for len(t.items) > maxItems {
		t.base.take(&t.items[0])
		t.upTo = t.items[0].at
		t.items = slices.Delete(t.items, 0, 1)
	}
}

// Remove takes a fact out that has no row any more.
func (t *Tests) Remove(fact schemas.Id) {
	before := len(t.items)
	t.items = slices.DeleteFunc(t.items, func(o item) bool { return o.fact == fact })
	t.Late = t.Late || len(t.items) == before
}

// Judge is what the rules find.
func (t *Tests) Judge(rules RulesAt) (findings []Finding) {
	if t.first == 0 {
		return nil
	}
	s := t.settings(rules)
	a := t.base.clone()
	for i := range t.items {
		a.take(&t.items[i])
	}
	for _, f := range a.found {
		if s.Enabled(f.Kind) {
			f.By = s
			findings = append(findings, f.Finding)
		}
	}
	return findings
}

// account is the summary of a session's tests.
type account struct {
	run     run // the last one
	green   int64
	changed evidence // last change of code
	prompt  uint32   // whose turn it is
	red     bool     // this turn had a red run
	created []uint32 // names of the files that the session made, the last ones
	deleted []uint32 // stems of the code that this turn deleted
	found   []tested
}

type run struct {
	evidence
	prompt  uint32
	outcome schemas.TestOutcome
}

// tested is a finding, and the turn that it is of.
type tested struct {
	Finding
	prompt uint32
	stem   uint32 // test_tamper
	name   uint32
}

func (a *account) clone() account {
	c := *a
	c.found, c.deleted, c.created = slices.Clone(a.found), slices.Clone(a.deleted), slices.Clone(a.created)
	for i := range c.found {
		c.found[i].Evidence = slices.Clone(c.found[i].Evidence)
	}
	return c
}

func (a *account) take(i *item) {
	if i.prompt != a.prompt {
		a.prompt, a.red, a.deleted = i.prompt, false, nil
	}
	switch i.kind {
	case testRun:
		a.run = run{evidence{fact: i.fact, at: i.at}, i.prompt, i.outcome}
		a.red = a.red || isRed(i.outcome)
		if i.outcome == schemas.TestOutcomePassed {
			a.green = i.at
			for j := range a.found {
				if f := &a.found[j]; f.Kind != TestTamper && f.State == schemas.FindingStateOpen {
					f.State = schemas.FindingStateResolved
				}
			}
		}
	case codeDeleted:
		if len(a.deleted) < maxItems {
			a.deleted = append(a.deleted, i.stem)
		}
		a.found = slices.DeleteFunc(a.found, func(f tested) bool {
			return f.Kind == TestTamper && f.Detail == "deleted" && f.prompt == i.prompt && f.stem == i.stem
		})
		a.changed = evidence{fact: i.fact, at: i.at}
	case codeChange:
		if i.created && !slices.Contains(a.created, i.name) {
			if a.created = append(a.created, i.name); len(a.created) > maxItems {
				a.created = a.created[1:]
			}
			// What went and was made elsewhere has moved.
			a.found = slices.DeleteFunc(a.found, func(f tested) bool {
				return f.Kind == TestTamper && f.Detail == "deleted" && f.prompt == i.prompt && f.name == i.name
			})
		}
		a.changed = evidence{fact: i.fact, at: i.at}
	case testChange:
		a.changed = evidence{fact: i.fact, at: i.at}
		a.tampered(i)
	case turnEnd:
		a.turnEnded(i)
	}
}

func isRed(o schemas.TestOutcome) bool {
	return o == schemas.TestOutcomeFailed || o == schemas.TestOutcomeErrored
}

func (a *account) tampered(i *item) {
	if i.tamper == "deleted" && (slices.Contains(a.deleted, i.stem) || slices.Contains(a.created, i.name)) {
		return // with the code that it tests; or it is the session's own, or has moved
	}
	severity := schemas.SeverityMedium
	if a.red {
		severity = schemas.SeverityHigh
	}
	for j := range a.found {
		if f := &a.found[j]; f.Kind == TestTamper && f.Key == i.path {
			f.Severity = max(f.Severity, severity)
			f.Count++
			f.add(i.fact, i.at)
			return
		}
	}
	f := Finding{Kind: TestTamper, Key: i.path, Subject: i.path, Severity: severity, Count: 1, Detail: i.tamper}
	f.add(i.fact, i.at)
	a.open(f, i.prompt)
	last := &a.found[len(a.found)-1]
	last.stem, last.name = i.stem, i.name
}

func (a *account) turnEnded(i *item) {
	redRun := isRed(a.run.outcome)
	ofTurn := func(f tested) bool { return f.prompt == i.prompt && (f.Kind == RedTests || f.Kind == FalseClaim) }
	a.found = slices.DeleteFunc(a.found, ofTurn) // the turn went on after an earlier end
	f := Finding{Key: key("turn", i.prompt), Subject: "tests", Count: 1, Severity: schemas.SeverityMedium}
	ran := a.run.fact != schemas.Id{}
	unproven := a.changed.at > max(a.green, 0) && (a.changed.fact != schemas.Id{})
	switch {
	case i.claims && ran && a.run.outcome == noOutcome && a.run.at >= a.changed.at:
		return // how the run ended is not known
	case i.claims && redRun:
		f.Kind, f.Severity, f.Detail = FalseClaim, schemas.SeverityHigh, "red"
		f.add(a.run.fact, a.run.at)
	case i.claims && unproven && a.green > 0:
		f.Kind, f.Severity, f.Detail = FalseClaim, schemas.SeverityHigh, "changed"
		f.add(a.run.fact, a.run.at)
		f.add(a.changed.fact, a.changed.at)
	case i.claims && unproven:
		f.Kind, f.Severity, f.Detail = FalseClaim, schemas.SeverityHigh, "never"
		f.add(a.changed.fact, a.changed.at)
	case redRun && a.run.prompt == i.prompt:
		f.Kind, f.Detail = RedTests, a.run.outcome.String()
		f.add(a.run.fact, a.run.at)
	default:
		return
	}
	f.add(i.fact, i.at)
	a.open(f, i.prompt)
}

// open keeps a finding; of too many the oldest that is resolved goes.
func (a *account) open(f Finding, prompt uint32) {
	f.State = schemas.FindingStateOpen
	if len(a.found) == maxFound {
		i := slices.IndexFunc(a.found, func(o tested) bool { return o.State == schemas.FindingStateResolved })
		a.found = slices.Delete(a.found, max(0, i), max(0, i)+1)
	}
	a.found = append(a.found, tested{Finding: f, prompt: prompt})
}

func compareFindings(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
}
