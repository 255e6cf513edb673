package claudecode_test

import (
	"testing"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/schemas"
)

// ended makes the events of a call's end.
func ended(t *testing.T, options claudecode.Options, s claudecode.Scene, tool, arguments string, o claudecode.Outcome) *kept {
	t.Helper()
	k := &kept{}
	m := claudecode.NewMaker(schemas.WitnessHook, k, options)
	if err := m.Ended(&s, m.NewCall(&s, "toolu_1", tool, gjson.Parse(arguments)), &o); err != nil {
		t.Fatal(err)
	}
	return k
}

var scene = claudecode.Scene{At: 1, Session: "s", Folder: "-home-anna-r-d-sh-p", Cwd: "/home/anna/r&d/sh.p"}

func nowhereKnown(string) (root, repo, branch, email string) { return "", "", "", "" }

func TestPathsStayThoseOfTheFolderThatTheSessionStartedIn(t *testing.T) {
	k := &kept{}
	m := claudecode.NewMaker(schemas.WitnessHook, k, claudecode.Options{Repository: nowhereKnown})
	for _, c := range []struct{ session, cwd, path, want string }{
		{"s", "/home/anna/r&d/sh.p/docs", "/home/anna/r&d/sh.p/a.go", "a.go"}, // found by the folder's name
		{"s", "/tmp", "/home/anna/r&d/sh.p/a.go", "a.go"},                     // the shell went away
		{"s", "/home/anna/r&d/sh.p/.claude/worktrees/agent-1", "/home/anna/r&d/sh.p/x/b.go", "x/b.go"},
		{"s", "/home/anna", "/home/anna/other/c.go", "~/other/c.go"},
		{"late", "/tmp", "/tmp/d.go", "d.go"},                               // seen first elsewhere,
		{"late", "/home/anna/r&d/sh.p", "/home/anna/r&d/sh.p/a.go", "a.go"}, // known as soon as it is there
		{"late", "/tmp", "/home/anna/r&d/sh.p/a.go", "a.go"},                // and from then on
		{"bare", "", "/home/anna/x.go", "~/x.go"},
	} {
		s := scene
		s.Session, s.Cwd = c.session, c.cwd
		if got := m.Place(&s).Path(c.path); got != c.want {
			t.Errorf("session %s in %s: %s is told as %q, want %q", c.session, c.cwd, c.path, got, c.want)
		}
	}
}

func TestARepositoryOnThisMachineGivesRootNameAndPerson(t *testing.T) {
	asked := 0
	options := claudecode.Options{Host: "h", Repository: func(folder string) (root, repo, branch, email string) {
		asked++
		if folder != "/home/anna/r&d/sh.p" {
			t.Errorf("asked for %s", folder)
		}
		return "/home/anna/r&d", "example.com/r/d", "main", "anna@example.com"
	}}
	k := ended(t, options, scene, "Write", `{"file_path":"/home/anna/r&d/lib/a.go","content":"a"}`, claudecode.Outcome{})
	for _, e := range k.events {
		if e.Repo != "example.com/r/d" || e.User != "anna@example.com" || e.UserSource != schemas.UserSourceGitEmail || e.Owner != e.User || e.Branch != "" {
			t.Errorf("%s", e.AppendJSON(nil))
		}
	}
	if got := k.of(schemas.KindFileChange)[0].Body.Artifact.FilePath; got != "lib/a.go" {
		t.Errorf("the file is told as %q, want lib/a.go", got)
	}
	if asked != 1 {
		t.Errorf("the repository was looked for %d times", asked)
	}
}

func TestADetachedHeadIsNoBranch(t *testing.T) {
	s := scene
	s.Branch = "HEAD"
	if e := ended(t, claudecode.Options{Repository: nowhereKnown}, s, "Read", `{}`, claudecode.Outcome{}).events[0]; e.Branch != "" {
		t.Errorf("branch %q", e.Branch)
	}
	s.Branch = "feature/SHOP-12-tax"
	if e := ended(t, claudecode.Options{Repository: nowhereKnown}, s, "Read", `{}`, claudecode.Outcome{}).events[0]; e.Branch != s.Branch || e.Ticket != "SHOP-12" || e.WorkKind != schemas.WorkKindFeature {
		t.Errorf("branch %q, ticket %q, work %s", e.Branch, e.Ticket, e.WorkKind)
	}
}

func TestWhatAShellCommandWroteIsExactWhereTheClientListsIt(t *testing.T) {
	const command = `{"command":"sed -i s/a/b/ listed.go && echo x > target.go && rm gone.go"}`
	result := `{"stdout":"","bashEditDiff":{"files":[
		{"filePath":"/home/anna/r&d/sh.p/listed.go","hunks":[{"lines":["-a","+b"," c"]}]},
		{"filePath":"/home/anna/r&d/sh.p/new.go","hunks":[{"lines":["+a","+b"]}],"created":true},
		{"filePath":7}, 8],
		"moreFiles":1,"changedFiles":["/home/anna/r&d/sh.p/listed.go","/home/anna/r&d/sh.p/more.go",9]}}`
	options := claudecode.Options{Repository: nowhereKnown}
	want := map[string]string{
		"listed.go": "update listed.go +1 -1 exact", "new.go": "create new.go +2 -0 exact",
		"target.go": "target.go derived", "gone.go": "delete gone.go derived", "more.go": "update more.go derived",
	}
	keys := map[string]schemas.Id{}
	k := ended(t, options, scene, "Bash", command, claudecode.Outcome{Result: gjson.Parse(result)})
	for _, e := range k.of(schemas.KindFileChange) {
		keys[e.Body.Artifact.FilePath] = e.FactKey
	}
	if len(keys) != len(want) {
		t.Errorf("%d files, want %d", len(keys), len(want))
	}
	for _, f := range facts(t, k) {
		if f["kind"] == "file_change" && f.String() != want[f.str("file_path")] {
			t.Errorf("told %q, want %q", f, want[f.str("file_path")])
		}
	}
	// A witness without the list tells of the same fact.
	for _, e := range ended(t, options, scene, "Bash", command, claudecode.Outcome{}).of(schemas.KindFileChange) {
		if e.FactKey != keys[e.Body.Artifact.FilePath] || e.Body.Artifact.ChangeGrade != schemas.ChangeGradeDerived || e.Body.Artifact.LinesAdded.Valid {
			t.Errorf("without the list: %s", e.AppendJSON(nil))
		}
	}
}

func TestACallThatDidNotEndWellLeavesNoFiles(t *testing.T) {
	command := `{"command":"echo x > a.go; npm test"}`
	for name, o := range map[string]claudecode.Outcome{
		"failed":      {Failed: true, Text: "Exit code 2\nno"},
		"refused":     {Failed: true, Refused: true},
		"interrupted": {Result: gjson.Parse(`{"stdout":"","interrupted":true}`)},
		"background":  {Result: gjson.Parse(`{"stdout":"","backgroundTaskId":"b1"}`)},
	} {
		k := ended(t, claudecode.Options{Repository: nowhereKnown}, scene, "Bash", command, o)
		if files := k.of(schemas.KindFileChange); len(files) != 0 {
			t.Errorf("%s: %d files", name, len(files))
		}
		runs, call := k.of(schemas.KindTestRun), k.of(schemas.KindToolCall)[0]
		if (len(runs) == 1) != (name == "failed") {
			t.Errorf("%s: %d test runs", name, len(runs))
		}
		if exit := call.Body.Tool.ExitStatus; exit.Valid != (name == "failed") || name == "failed" && exit.Value != 2 {
			t.Errorf("%s: exit status %v", name, exit)
		}
	}
}

func TestChangeIDNamesAPullRequestByItsAddress(t *testing.T) {
	for url, want := range map[string]string{
		"https://github.com/example/shop/pull/17":             "github.com/example/shop#17",
		"https://GitHub.com/example/shop/pull/17/files":       "github.com/example/shop#17",
		"https://gitlab.example.com/a/b/c/-/merge_requests/3": "gitlab.example.com/a/b/c#3",
		"https://bitbucket.org/team/repo/pull-requests/5":     "bitbucket.org/team/repo#5",
		"https://codeberg.org/a/b/pulls/9":                    "codeberg.org/a/b#9",
		"https://github.com/example/shop/pull/":               "",
		"https://github.com/example/shop/pull/x":              "",
		"https://github.com/example/shop":                     "",
		"github.com/example/shop/pull/17":                     "",
		"":                                                    "",
	} {
		if got := claudecode.ChangeID(url); got != want {
			t.Errorf("%q is %q, want %q", url, got, want)
		}
	}
}

func TestFailuresReadTheSameFromBothWitnesses(t *testing.T) {
	for in, want := range map[string]string{
		"Error: Exit code 1\nno": "Exit code 1\nno", "Exit code 1\nno": "Exit code 1\nno",
		"<tool_use_error>String to replace not found</tool_use_error>": "!String to replace not found",
		"<tool_use_error>Error: No such tool</tool_use_error>":         "!No such tool",
		"Error: No such tool": "No such tool", "": "",
	} {
		got, invalid := claudecode.FailureText(in)
		if invalid {
			got = "!" + got
		}
		if got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
