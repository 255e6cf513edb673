package reference

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

// said is a row of a call as a processor says it.
func said(call string, version int64, sign int32, tokens int64) schemas.Enriched {
	key := schemas.FactKey("s", schemas.KindModelRequest, call)
	return schemas.Enriched{RowId: schemas.RowID(1, key, version, sign), Sign: sign, FactKey: key, Version: version, Generation: 1,
		Org: "acme", SessionId: "s", Kind: schemas.KindModelRequest, RequestId: call, Witnesses: "hook,otlp", TokenOutput: schemas.SomeLong(tokens)}
}

// history is two facts: one that was restated, one that was withdrawn and said
// again.
func history() []schemas.Enriched {
	return []schemas.Enriched{
		said("a", 1, 1, 5), said("b", 1, 1, 7),
		said("a", 2, -1, 5), said("a", 2, 1, 6),
		said("b", 2, -1, 7), said("b", 3, 1, 9),
	}
}

// has checks that the one thing told is about part.
func has(t *testing.T, what string, told []string, part string) {
	t.Helper()
	if part == "" && len(told) == 0 || part != "" && len(told) > 0 && strings.Contains(strings.Join(told, "\n"), part) {
		return
	}
	t.Errorf("%s: told %q, want %q", what, told, part)
}

func TestFinalGivesTheRowsThatStand(t *testing.T) {
	rows := history()
	rows = append(rows, rows[1:4]...) // delivered twice
	slices.Reverse(rows)
	final, violations := Final(rows)
	has(t, "history", violations, "")
	want := []schemas.Enriched{said("a", 2, 1, 6), said("b", 3, 1, 9)}
	slices.SortFunc(want, func(a, b schemas.Enriched) int { return nameOf(&a).compare(nameOf(&b)) })
	if !slices.Equal(final, want) {
		t.Errorf("%+v", final)
	}
	has(t, "sums", CompareSums(Sums(want), Sums(rows)), "")
	if sums := Sums(rows); len(sums) != 1 {
		t.Errorf("sums %+v", sums)
	}
	if withdrawn, violations := Final(append(history(), said("b", 4, -1, 9))); len(withdrawn) != 1 || len(violations) > 0 {
		t.Errorf("after a withdrawal %+v stand, violations %q", withdrawn, violations)
	}
}

func TestFinalTellsEveryBreachOfTheRulesOfSigns(t *testing.T) {
	for name, c := range map[string]struct {
		breach func(rows []schemas.Enriched) []schemas.Enriched
		want   string
	}{
		"a column that the row taken back did not have": {func(r []schemas.Enriched) []schemas.Enriched {
			r[2].Branch = "main"
			return r
		}, "branch is \"main\", want not known"},
		"witnesses that the row taken back did not have": {func(r []schemas.Enriched) []schemas.Enriched {
			r[2].Witnesses = "hook"
			return r
		}, "witnesses is"},
		"final that the row taken back did not have": {func(r []schemas.Enriched) []schemas.Enriched {
			r[2].Final = true
			return r
		}, "final is true"},
		"a gap": {func(r []schemas.Enriched) []schemas.Enriched {
			return append(r, said("a", 4, -1, 6), said("a", 4, 1, 8))
		}, "version 4 comes after version 2"},
		"no first version":   {func(r []schemas.Enriched) []schemas.Enriched { return r[1:] }, "version 2 comes after version 0"},
		"nothing taken back": {func(r []schemas.Enriched) []schemas.Enriched { return slices.Delete(r, 2, 3) }, "while that of version 1 stands"},
		"taken back twice": {func(r []schemas.Enriched) []schemas.Enriched {
			return append(r, said("b", 4, -1, 9), said("b", 5, -1, 9))
		}, "where none stands"},
		"two facts in one row_id": {func(r []schemas.Enriched) []schemas.Enriched { r[1].RowId = r[0].RowId; return r }, "is also one of"},
		"two rows in one row_id":  {func(r []schemas.Enriched) []schemas.Enriched { return append(r, said("a", 1, 1, 4)) }, "is there twice, and token_output is 4, want 5"},
		"a row_id of another version": {func(r []schemas.Enriched) []schemas.Enriched {
			r[5].RowId = schemas.RowID(1, r[5].FactKey, 4, 1)
			return r
		}, "does not name version 3, sign 1"},
		"two generations":                     {func(r []schemas.Enriched) []schemas.Enriched { r[5].Generation = 2; return r }, "generation 2, others have 1"},
		"a sign that is none":                 {func(r []schemas.Enriched) []schemas.Enriched { r[5].Sign = 2; return r }, "sign is 2"},
		"another organisation takes the same": {func(r []schemas.Enriched) []schemas.Enriched { r[2].Org = "other"; return r }, "where none stands"},
	} {
		_, violations := Final(c.breach(history()))
		has(t, name, violations, c.want)
	}
}

func TestCompareTellsFactAndColumn(t *testing.T) {
	for name, c := range map[string]struct {
		change func(got []schemas.Enriched) []schemas.Enriched
		want   string
	}{
		"the same": {func(g []schemas.Enriched) []schemas.Enriched { return g }, ""},
		"what tells how a row came about": {func(g []schemas.Enriched) []schemas.Enriched {
			g[0].RowId, g[0].EventId, g[0].Version, g[0].Final = schemas.Id{1}, schemas.Id{2}, 7, true
			return g
		}, ""},
		"fewer witnesses":  {func(g []schemas.Enriched) []schemas.Enriched { g[0].Witnesses = "otlp"; return g }, ""},
		"another witness":  {func(g []schemas.Enriched) []schemas.Enriched { g[0].Witnesses = "git"; return g }, `witnesses are "git"`},
		"a column":         {func(g []schemas.Enriched) []schemas.Enriched { g[0].TokenOutput.Value++; return g }, "token_output is 6, want 5"},
		"null for zero":    {func(g []schemas.Enriched) []schemas.Enriched { g[1].TokenOutput.Valid = false; return g }, "token_output is not known, want 0"},
		"a fact less":      {func(g []schemas.Enriched) []schemas.Enriched { return g[1:] }, "a of session acme/s, fact " + said("a", 1, 1, 5).FactKey.String() + " is missing"},
		"a fact more":      {func(g []schemas.Enriched) []schemas.Enriched { return append(g, said("c", 1, 1, 1)) }, "should not be there"},
		"a fact twice":     {func(g []schemas.Enriched) []schemas.Enriched { return append(g, g[0]) }, "is present twice"},
		"another org":      {func(g []schemas.Enriched) []schemas.Enriched { g[0].Org = "other"; return g }, "is missing"},
		"a sign":           {func(g []schemas.Enriched) []schemas.Enriched { g[0].Sign = -1; return g }, "sign is -1, want 1"},
		"another grade":    {func(g []schemas.Enriched) []schemas.Enriched { g[0].CostGrade = schemas.CostGradeMeasured; return g }, `cost_grade is "measured"`},
		"another moment":   {func(g []schemas.Enriched) []schemas.Enriched { g[0].OccurredAt++; return g }, "occurred_at is 1, want 0"},
		"another own cost": {func(g []schemas.Enriched) []schemas.Enriched { g[0].CostClientUsd = schemas.SomeDouble(0); return g }, "cost_client_usd is 0"},
	} {
		want := []schemas.Enriched{said("a", 1, 1, 5), said("b", 1, 1, 0)}
		has(t, name, Compare(want, c.change(slices.Clone(want))), c.want)
	}
}

func TestWhatIsToldIsBounded(t *testing.T) {
	var many []schemas.Enriched
	for i := range 80 {
		many = append(many, said(fmt.Sprint("r", i), 1, 1, 5))
	}
	if told := Compare(many, nil); len(told) != maxTold+1 || told[maxTold] != "... and 30 more" {
		t.Errorf("%d told, the last %q", len(told), told[len(told)-1])
	}
}

func TestSumsThatDifferAreTold(t *testing.T) {
	rows := history()
	for name, c := range map[string]struct {
		change func(*schemas.Enriched)
		want   string
	}{
		"nothing":         {func(*schemas.Enriched) {}, ""},
		"a measure":       {func(r *schemas.Enriched) { r.CostNanoUsd = schemas.SomeLong(3) }, "CostNanoUsd:3"},
		"another group":   {func(r *schemas.Enriched) { r.Repo = "github.com/example/shop" }, "Repo:github.com/example/shop"},
		"no measure":      {func(r *schemas.Enriched) { r.ExitStatus = schemas.SomeLong(3) }, ""},
		"a row too many":  {func(r *schemas.Enriched) { r.Sign = 2 }, "Facts:3"},
		"a row withdrawn": {func(r *schemas.Enriched) { r.Sign = 0 }, "Facts:1"},
	} {
		changed := slices.Clone(rows)
		c.change(&changed[5])
		has(t, name, CompareSums(Sums(rows), Sums(changed)), c.want)
	}
}
