package reference

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// maxTold is how many differences or violations are told one by one.
const maxTold = 50

// report is a bounded list of findings in words.
type report struct {
	told []string
	more int
}

func (r *report) add(format string, args ...any) {
	if len(r.told) == maxTold {
		r.more++
		return
	}
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

func (r *report) words() []string {
	if r.more > 0 {
		return append(r.told, fmt.Sprintf("... and %d more", r.more))
	}
	return r.told
}

// factName names a fact in words and in maps: two organisations may have
// sessions, and so facts, of the same name.
type factName struct {
	org string
	key schemas.Id
}

func nameOf(r *schemas.Enriched) factName { return factName{r.Org, r.FactKey} }

func (n factName) compare(o factName) int {
	return cmp.Or(cmp.Compare(n.org, o.org), bytes.Compare(n.key[:], o.key[:]))
}

func inWords(r *schemas.Enriched) string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s%s of session %s/%s, fact %s",
		r.Kind, r.ToolUseId, r.RequestId, r.PromptId, r.Org, r.SessionId, r.FactKey)), " ")
}

// Compare tells in words how two sets of +1 rows differ, by fact and column; no
// words, no difference. row_id, version, event_id and final are not compared:
// they tell how a row came about. Of the witnesses, got may miss some: when one
// says nothing new, no version is made for it.
func Compare(want, got []schemas.Enriched) []string {
	var differences report
	wanted := byFact(want, "wanted", &differences)
	present := byFact(got, "present", &differences)
	for _, name := range inOrder(wanted) {
		w := wanted[name]
		g, ok := present[name]
		if !ok {
			differences.add("%s is missing", inWords(&w))
			continue
		}
		if !subset(g.Witnesses, w.Witnesses) {
			differences.add("%s: witnesses are %q, want %q", inWords(&w), g.Witnesses, w.Witnesses)
		}
		for _, row := range []*schemas.Enriched{&w, &g} {
			row.RowId, row.Version, row.EventId, row.Final, row.Witnesses = schemas.Id{}, 0, schemas.Id{}, false, ""
		}
		for _, d := range columnsThatDiffer(&w, &g) {
			differences.add("%s: %s", inWords(&w), d)
		}
	}
	for _, name := range inOrder(present) {
		if _, ok := wanted[name]; !ok {
			g := present[name]
			differences.add("%s should not be there", inWords(&g))
		}
	}
	return differences.words()
}

func byFact(rows []schemas.Enriched, what string, differences *report) map[factName]schemas.Enriched {
	facts := make(map[factName]schemas.Enriched, len(rows))
	for i := range rows {
		name := nameOf(&rows[i])
		if _, twice := facts[name]; twice {
			differences.add("%s is %s twice", inWords(&rows[i]), what)
		}
		facts[name] = rows[i]
	}
	return facts
}

func inOrder[V any](facts map[factName]V) []factName {
	return slices.SortedFunc(maps.Keys(facts), factName.compare)
}

// subset tells that all names of a list are in the other.
func subset(list, of string) bool {
	all := strings.Split(of, ",")
	for name := range strings.SplitSeq(list, ",") {
		if name != "" && !slices.Contains(all, name) {
			return false
		}
	}
	return true
}

// columnsThatDiffer says "token_output is 7, want 8" for each, in the order of
// their names; null and the empty text are "not known".
func columnsThatDiffer(want, got *schemas.Enriched) (differences []string) {
	if *want == *got {
		return nil
	}
	w, g := columns(want), columns(got)
	names := maps.Clone(w)
	maps.Copy(names, g)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if w[name] != g[name] {
			differences = append(differences, fmt.Sprintf("%s is %s, want %s", name, cmp.Or(g[name], "not known"), cmp.Or(w[name], "not known")))
		}
	}
	if len(differences) == 0 {
		differences = []string{fmt.Sprintf("the row is %+v, want %+v", *got, *want)} // the words hide it
	}
	return differences
}

// columns are the columns of a row that are known, as JSON.
func columns(r *schemas.Enriched) map[string]string {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(r.AppendJSON(nil), &raw); err != nil {
		panic(fmt.Sprintf("the codec writes a row that is no JSON: %v", err))
	}
	known := make(map[string]string, len(raw))
	for name, value := range raw {
		known[name] = string(value)
	}
	return known
}
