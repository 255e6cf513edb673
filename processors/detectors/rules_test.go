package detectors

import (
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

func TestEveryMistakeOfTheRulesIsNamedWithItsPlace(t *testing.T) {
	_, err := Parse([]byte(`defaults:
  lop: {single: 3}
  loop: {single: one, wait: 3}
  red_tests: {severity: loud}
  protected_path: {classes: {lockfile: {enabled: false}, own: {paths: ["src/**"]}}}
  critical_command: {commands: [terraform apply, "kubectl *"]}
  budget_exceeded: {budgets: ["user * week 5"]}
overrides:
  - match: {rpo: x}
    owner: a
  - owner: b
  - match: {work_kind: play}
    loop: {single: 2, single: 3}
extra: 1
`), 2)
	if err == nil {
		t.Fatal("it has no mistake")
	}
	want := []string{"2:3: lop is no setting, did you mean loop?", `3:18: loop.single: "one" must be a number`, `3:29: loop.wait: "3" must be a duration`,
		`4:25: red_tests.severity: "loud" is no severity`, "5:30: the class lockfile has no paths", `6:32: critical_command.commands: "kubectl *" is no command`,
		`7:30: budget_exceeded.budgets: "week" is no period`, "9:13: match.rpo is no setting, did you mean repo?", "11:5: override 2 fits everything",
		`12:24: "play" is no kind of work`, "13:23: single stands here twice", "14:1: extra is no setting"}
	got := strings.Split(err.Error(), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("the mistakes are\n%s\nwant\n%s", err, strings.Join(want, "\n"))
		}
	}
}

func TestTheMostSpecificOverrideWins(t *testing.T) {
	r, err := Parse([]byte(`
defaults: {loop: {single: 5}}
overrides:
  - {name: exact, match: {repo: host/acme/shop}, loop: {single: 9}}
  - {name: workflow, match: {workflow: release}, loop: {single: 7}, owner: releasers}
  - {name: pattern, match: {repo: "host/acme/*"}, loop: {single: 8}, owner: acme}
  - {name: longer, match: {repo: "host/acme/sh*"}, owner: sh}
  - {name: kind, match: {work_kind: docs}, loop: {single: 6, repetitions: 11}}
`), 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at     Place
		single int64
		owner  string
	}{
		{Place{}, 5, ""}, {Place{Repo: "host/acme/shop"}, 9, "sh"}, {Place{Repo: "HOST/acme/other"}, 8, "acme"}, {Place{Repo: "host/acme/a/b"}, 5, ""},
		{Place{Workflow: "release"}, 7, "releasers"}, {Place{Repo: "host/acme/x", Workflow: "release", WorkKind: "docs"}, 8, "acme"}, {Place{WorkKind: "docs"}, 6, ""},
	} {
		s := r.For(c.at)
		if s.turnRules.single != c.single || s.Owner != c.owner || s.RulesVersion != 3 {
			t.Errorf("%+v: single %d, owner %q", c.at, s.turnRules.single, s.Owner)
		}
	}
	for _, s := range r.Explain(Place{Repo: "host/acme/x", WorkKind: "docs"}) {
		if want := map[string]string{"loop.single": "8 pattern, line 6", "loop.repetitions": "11 kind, line 8", "loop.wait": "20s built in"}[s.Name]; want != "" && want != s.Value+" "+s.From {
			t.Errorf("%s is %s from %s, want %s", s.Name, s.Value, s.From, want)
		}
	}
}

func TestAClassOfTheRules(t *testing.T) {
	r, err := Parse([]byte(`defaults: {protected_path: {classes: {money: {severity: critical, paths: ["src/pay/**"]}, ci: {enabled: false}}}}`), 2)
	if err != nil {
		t.Fatal(err)
	}
	s := r.For(Place{})
	for path, want := range map[string]string{"src/pay/a/b.go": "money", "src/a.go": "", ".github/workflows/ci.yml": "", "/srv/src/pay/a.go": ""} {
		row := &schemas.Enriched{Kind: schemas.KindFileChange, FilePath: path}
		if strings.HasPrefix(path, ".github") {
			row.ProtectedClass = "ci"
		}
		class := ""
		for _, f := range Observe(row, Context{Settings: s}) {
			class = f.Class
		}
		if class != want {
			t.Errorf("%s is %q, want %q", path, class, want)
		}
	}
}
