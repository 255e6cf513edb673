package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	labelled "github.com/flightlog/flightlog/loadtest/corpus"
)

// The detectors on sessions that are labelled by docs/detectors.md and by nobody
// who knew their code. make bench-detectors prints the table for 1,000 of them.

// score counts what was found and what should have been.
type score struct{ right, wrong, missed int }

func (s score) precision() float64 { return ratio(s.right, s.right+s.wrong) }
func (s score) recall() float64    { return ratio(s.right, s.right+s.missed) }

func ratio(a, b int) float64 {
	if b == 0 {
		return 1
	}
	return float64(a) / float64(b)
}

func number(name string, standard int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return standard
}

func TestDetectorsOnTheLabelledCorpus(t *testing.T) {
	sessions, seed := number("FLIGHTLOG_SESSIONS", 330), number("FLIGHTLOG_SEED", 1)
	dir := t.TempDir()
	labels, err := labelled.Generate(filepath.Join(dir, "in"), uint64(seed), sessions)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	run(t, t.TempDir(), "import", filepath.Join(dir, "in"), "--data", filepath.Join(dir, "data"), "--out", out)
	found, attempts := findingsOf(t, out), attemptsOf(t, out)
	byKind, byFamily := map[string]*score{}, map[string]*score{}
	at := func(m map[string]*score, key string) *score {
		if m[key] == nil {
			m[key] = &score{}
		}
		return m[key]
	}
	var differ []string
	for _, l := range labels {
		got := slices.DeleteFunc(found[l.SessionID], func(f toldFinding) bool { return !slices.Contains(labelled.Kinds, f.Kind) })
		for _, w := range l.Want {
			i := slices.IndexFunc(got, func(f toldFinding) bool {
				return f.Kind == w.Kind && (w.Subject == "" || f.Subject == w.Subject) && (w.ProtectedClass == "" || f.ProtectedClass == w.ProtectedClass) &&
					(w.State == "" || f.State == w.State)
			})
			if i < 0 {
				at(byKind, w.Kind).missed++
				at(byFamily, l.Family).missed++
				differ = append(differ, fmt.Sprintf("%s: %s %s %s %s is missed", l.Folder, w.Kind, w.ProtectedClass, w.Subject, w.State))
				continue
			}
			at(byKind, w.Kind).right++
			at(byFamily, l.Family).right++
			got = slices.Delete(got, i, i+1)
		}
		at(byFamily, l.Family) // also where nothing is to be found
		for _, f := range got {
			at(byKind, f.Kind).wrong++
			at(byFamily, l.Family).wrong++
			differ = append(differ, fmt.Sprintf("%s: %s %s %s %s is wrong: %s", l.Folder, f.Kind, f.ProtectedClass, f.Subject, f.State, f.Sentence))
		}
		for _, a := range l.Attempts {
			s := at(byKind, "attempt")
			switch got, ok := attempts[a.ToolUseID]; {
			case !ok:
				s.missed++
				differ = append(differ, fmt.Sprintf("%s: %s has no attempt", l.Folder, a.ToolUseID))
			case got != fmt.Sprint(a.Attempt, " ", a.RetryReason):
				s.wrong++
				s.missed++
				differ = append(differ, fmt.Sprintf("%s: %s is attempt %s, want %d %s", l.Folder, a.ToolUseID, got, a.Attempt, a.RetryReason))
			default:
				s.right++
			}
		}
	}
	t.Log("\n" + scores("DETECTOR", byKind) + "\n" + scores("FAMILY", byFamily))
	slices.Sort(differ)
	t.Logf("%d sessions, seed %d, %d differences:\n%s", sessions, seed, len(differ), strings.Join(differ, "\n"))
	for kind, s := range byKind {
		if s.precision() < 0.98 || s.recall() < 0.95 {
			t.Errorf("%s: precision %.3f, recall %.3f; want 0.98 and 0.95", kind, s.precision(), s.recall())
		}
	}
}

func scores(title string, of map[string]*score) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\tright\twrong\tmissed\tprecision\trecall\t\n", title)
	for _, name := range slices.Sorted(maps.Keys(of)) {
		s := of[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.3f\t%.3f\t\n", name, s.right, s.wrong, s.missed, s.precision(), s.recall())
	}
	w.Flush()
	return b.String()
}

// toldFinding is what counts of a finding's row.
type toldFinding struct {
	FindingID      string `json:"finding_id"`
	Sign           int    `json:"sign"`
	Version        int64  `json:"version"`
	SessionID      string `json:"session_id"`
	Kind           string `json:"kind"`
	ProtectedClass string `json:"protected_class"`
	Subject        string `json:"subject"`
	Severity       string `json:"severity"`
	State          string `json:"state"`
	Sentence       string `json:"sentence"`
	Backfill       bool   `json:"backfill"`
}

// toldCall is what counts of a tool call's row.
type toldCall struct {
	Kind        string `json:"kind"`
	Sign        int    `json:"sign"`
	Version     int64  `json:"version"`
	ToolUseID   string `json:"tool_use_id"`
	Attempt     *int64 `json:"attempt"`
	RetryReason string `json:"retry_reason"`
}

// lines reads NDJSON.
func lines[T any](t testing.TB, path string) (all []T) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := json.NewDecoder(f); ; {
		var v T
		if err := d.Decode(&v); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
}

// findingsOf are the findings of a folder of rows as they stand, by session.
func findingsOf(t testing.TB, out string) map[string][]toldFinding {
	t.Helper()
	last := map[string]toldFinding{}
	for _, f := range lines[toldFinding](t, filepath.Join(out, "findings.ndjson")) {
		if f.Sign > 0 && f.Version > last[f.FindingID].Version {
			last[f.FindingID] = f
		}
	}
	found := map[string][]toldFinding{}
	for _, f := range last {
		if f.State != "withdrawn" {
			found[f.SessionID] = append(found[f.SessionID], f)
		}
	}
	for _, all := range found {
		slices.SortFunc(all, func(a, b toldFinding) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Sentence, b.Sentence))
		})
	}
	return found
}

// attemptsOf are the attempts of the calls of a folder of rows: number and reason.
func attemptsOf(t testing.TB, out string) map[string]string {
	t.Helper()
	attempts, version := map[string]string{}, map[string]int64{}
	for _, r := range lines[toldCall](t, filepath.Join(out, "enriched.ndjson")) {
		if r.Kind == "tool_call" && r.Sign > 0 && r.Version > version[r.ToolUseID] && r.Attempt != nil {
			version[r.ToolUseID], attempts[r.ToolUseID] = r.Version, fmt.Sprint(*r.Attempt, " ", r.RetryReason)
		}
	}
	return attempts
}
