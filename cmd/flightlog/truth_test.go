package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/producers/redaction"
	"github.com/flightlog/flightlog/schemas"
)

// collected keeps what the readers make.
type collected struct {
	events []*schemas.Event
	dead   []schemas.DeadLetter
}

func (c *collected) Event(e *schemas.Event) error {
	var kept schemas.Event
	if _, err := kept.DecodeAvro(e.AppendAvro(nil)); err != nil {
		return fmt.Errorf("the event does not survive its own codec: %w", err)
	}
	c.events = append(c.events, &kept)
	return nil
}

func (c *collected) DeadLetter(d *schemas.DeadLetter) error {
	c.dead = append(c.dead, *d)
	return nil
}

// observe reads one recorded scenario as the witnesses told it, in order of
// time.
func observe(t testing.TB, dir string, witnesses ...schemas.Witness) *collected {
	t.Helper()
	all, err := findSources([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	c := &collected{}
	for _, s := range all {
		w := map[sourceKind]schemas.Witness{hookSource: schemas.WitnessHook, otlpSource: schemas.WitnessOtlp, transcriptSource: schemas.WitnessTranscript}[s.kind]
		if len(witnesses) > 0 && !slices.Contains(witnesses, w) {
			continue
		}
		if err := s.read(context.Background(), redaction.NewSink(schemas.CaptureModeMetadata, c)); err != nil {
			t.Fatalf("%s: %v", s.path, err)
		}
	}
	sort.SliceStable(c.events, func(i, j int) bool { return c.events[i].OccurredAt < c.events[j].OccurredAt })
	return c
}

// fold brings events through the engine and gives every row that was said.
func fold(t testing.TB, events []*schemas.Event) []schemas.Enriched {
	t.Helper()
	h := engine.NewHarness(sessions.New(), 1_795_400_000_000_000)
	ids := map[string]bool{}
	for n := 0; n < len(events); n += 100 {
		segment := schemas.Segment{Org: "test", ProducerId: "test", Schema: schemas.EventSchema}
		for _, e := range events[n:min(n+100, len(events))] {
			segment.Events = append(segment.Events, e.AppendAvro(nil))
			ids[e.SessionId] = true
		}
		f := schemas.Frame{Segments: []schemas.Segment{segment}}
		if err := h.Append(f.AppendMessage(nil)); err != nil {
			t.Fatal(err)
		}
		h.Now += 20_000
	}
	return rowsAtEnd(t, h, ids)
}

// rowsAtEnd ends the sources of sessions and gives every row that was said.
func rowsAtEnd(t testing.TB, h *engine.Harness, ids map[string]bool) []schemas.Enriched {
	t.Helper()
	for id := range ids {
		if err := h.SourceEnd("test", id); err != nil {
			t.Fatal(err)
		}
	}
	for _, encoded := range h.Rows(broker.DeadLetters) {
		var d schemas.DeadLetter
		_, _ = d.DecodeAvro(encoded)
		t.Fatalf("the fold made a dead letter: %s %s", d.Reason, d.Detail)
	}
	var rows []schemas.Enriched
	for _, encoded := range h.Rows(broker.Enriched) {
		var r schemas.Enriched
		if _, err := r.DecodeAvro(encoded); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

// standing is the state of each fact: the +1 row of its highest version.
func standing(rows []schemas.Enriched) map[schemas.Id]schemas.Enriched {
	last := map[schemas.Id]schemas.Enriched{}
	for _, r := range rows {
		if old, ok := last[r.FactKey]; !ok || r.Version > old.Version || r.Version == old.Version && r.Sign > 0 {
			last[r.FactKey] = r
		}
	}
	for key, r := range last {
		if r.Sign < 0 {
			delete(last, key)
		}
	}
	return last
}

// usage is tokens by class: input, output, cache read, cache write 5 min and 1 h.
type usage [5]int64

func (u usage) plus(o usage, sign int64) usage {
	for i := range u {
		u[i] += sign * o[i]
	}
	return u
}

func rowUsage(r *schemas.Enriched) usage {
	return usage{r.TokenInput.Value, r.TokenOutput.Value, r.TokenCacheRead.Value, r.TokenCacheWrite5m.Value, r.TokenCacheWrite1h.Value}
}

func trueUsage(r recordings.Request) usage {
	return usage{r.Usage.Input, r.Usage.Output, r.Usage.CacheRead, r.Usage.CacheWrite5m, r.Usage.CacheWrite1h}
}

const (
	hookWitness       = schemas.WitnessHook
	transcriptWitness = schemas.WitnessTranscript
	otlpWitness       = schemas.WitnessOtlp
)

// documented are the differences that the README of the recordings names, as
// requests that a set of witnesses does not show. Everything else must agree.
func documented(scenario string, witnesses []schemas.Witness, r recordings.Request) (hidden bool) {
	otlp := len(witnesses) == 0 || slices.Contains(witnesses, otlpWitness)
	transcript := len(witnesses) == 0 || slices.Contains(witnesses, transcriptWitness)
	switch {
	case !otlp && !transcript:
		return true // hooks carry no tokens
	case r.MaxTokens == 1:
		// A probe before a model switch, "in no client source": that holds for
		// events and metrics; its span (query_source model_validation) has it.
		return !otlp
	case scenario == "collector-down" && !transcript:
		return true // "no events, no metrics"
	case scenario == "no-persistence" && !otlp:
		return true // "no transcript"
	case (scenario == "compact-manual" || scenario == "interactive") && !otlp:
		return r.Lane == "compact" // "in events, metrics and cost, not in transcripts"
	case scenario == "websearch" && !otlp:
		return r.Lane == "search"
	}
	return false
}

// cutShort is what a request counts that broke in its stream: the client shows
// the output tokens seen until then, here 4 of 10 ("all client sources agree").
func cutShort(r recordings.Request) usage {
	u := trueUsage(r)
	if r.MidStreamError != "" {
		u[1] = 4
	}
	return u
}

var witnessSets = [][]schemas.Witness{
	{hookWitness}, {transcriptWitness}, {otlpWitness},
	{hookWitness, transcriptWitness}, {hookWitness, otlpWitness}, {transcriptWitness, otlpWitness},
	{hookWitness, transcriptWitness, otlpWitness},
}

func setName(witnesses []schemas.Witness) string {
	var names []string
	for _, w := range witnesses {
		names = append(names, w.String())
	}
	return strings.Join(names, "+")
}

// eachScenario runs f for every recorded scenario.
func eachScenario(t *testing.T, f func(t *testing.T, name, dir string)) {
	root := recordings.Dir(t)
	for _, name := range recordings.Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, name, filepath.Join(root, name))
		})
	}
}

func TestTokensAreWhatTheEndpointAnswered(t *testing.T) {
	eachScenario(t, func(t *testing.T, name, dir string) {
		requests, err := recordings.Endpoint(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, witnesses := range witnessSets {
			rows := fold(t, observe(t, dir, witnesses...).events)
			var want, signed, stand usage
			var paid = map[string]usage{} // by session
			for _, r := range requests {
				if r.Answered() && !documented(name, witnesses, r) {
					want = want.plus(cutShort(r), 1)
					paid[r.SessionId] = paid[r.SessionId].plus(cutShort(r), 1)
				}
			}
			bySession := map[string]usage{}
			for i := range rows {
				signed = signed.plus(rowUsage(&rows[i]), int64(rows[i].Sign))
			}
			for _, r := range standing(rows) {
				stand = stand.plus(rowUsage(&r), 1)
				if u := rowUsage(&r); u != (usage{}) {
					bySession[r.SessionId] = bySession[r.SessionId].plus(u, 1)
				}
			}
			if signed != want || stand != want {
				t.Errorf("%s: signed sums %v, last rows %v, the endpoint answered %v", setName(witnesses), signed, stand, want)
			}
			if !reflect.DeepEqual(bySession, paid) {
				t.Errorf("%s: by session %v, the endpoint answered %v", setName(witnesses), bySession, paid)
			}
		}
	})
}

func TestWitnessesInAnyOrderGiveTheSameFinalRows(t *testing.T) {
	eachScenario(t, func(t *testing.T, name, dir string) {
		for _, witnesses := range witnessSets {
			events := observe(t, dir, witnesses...).events
			want := comparable(standing(fold(t, events)))
			for _, order := range []string{"twice", "reverse", "shuffled"} {
				reordered := slices.Clone(events)
				switch order {
				case "twice":
					reordered = append(reordered, events...)
				case "reverse":
					slices.Reverse(reordered)
				case "shuffled":
					random := rand.New(rand.NewPCG(1, uint64(len(name))))
					random.Shuffle(len(reordered), func(i, j int) { reordered[i], reordered[j] = reordered[j], reordered[i] })
				}
				got := comparable(standing(fold(t, reordered)))
				compareRows(t, setName(witnesses)+" "+order, got, want, nil)
			}
		}
	})
}

// comparable takes out what only tells how a row came about.
func comparable(rows map[schemas.Id]schemas.Enriched) map[schemas.Id]schemas.Enriched {
	for key, r := range rows {
		r.RowId, r.Version, r.Final, r.Witnesses, r.EventId = schemas.Id{}, 0, false, "", schemas.Id{}
		rows[key] = r
	}
	return rows
}

func compareRows(t *testing.T, what string, got, want map[schemas.Id]schemas.Enriched, skip func(*schemas.Enriched, string) bool) {
	t.Helper()
	for key, w := range want {
		g, ok := got[key]
		if !ok {
			t.Errorf("%s: %s %s%s%s is missing", what, w.Kind, w.ToolUseId, w.RequestId, w.PromptId)
			continue
		}
		gv, wv := reflect.ValueOf(g), reflect.ValueOf(w)
		for i := range wv.NumField() {
			column := wv.Type().Field(i).Name
			if a, b := gv.Field(i).Interface(), wv.Field(i).Interface(); a != b && (skip == nil || !skip(&w, column)) {
				t.Errorf("%s: %s %s: %s is %v, want %v", what, g.Kind, key, column, a, b)
			}
		}
	}
	for key, g := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: %s %s was not there before", what, g.Kind, key)
		}
	}
}

func TestSignedSumsByEveryColumnAreTheSumsOverLastRows(t *testing.T) {
	columns := []string{"Org", "Team", "User", "UserSource", "Host", "Repo", "Branch", "Workflow", "WorkflowSource", "WorkKind",
		"WorkKindSource", "Skill", "Agent", "AgentVersion", "TaskId", "TaskIdSource", "SessionId", "RootSessionId",
		"ParentSessionId", "PromptId", "AgentRunId", "ParentAgentRunId", "RequestId", "ToolUseId"}
	check := func(t *testing.T, what string, rows []schemas.Enriched) {
		for _, column := range columns {
			type sums struct{ facts, tokens, cost, lines int64 }
			signed, stand := map[string]sums{}, map[string]sums{}
			add := func(to map[string]sums, r *schemas.Enriched, sign int64) {
				value := fmt.Sprint(reflect.ValueOf(r).Elem().FieldByName(column).Interface())
				s := to[value]
				u := rowUsage(r)
				to[value] = sums{s.facts + sign, s.tokens + sign*(u[0]+u[1]+u[2]+u[3]+u[4]), s.cost + sign*r.CostNanoUsd.Value, s.lines + sign*(r.LinesAdded.Value+r.LinesRemoved.Value)}
			}
			for i := range rows {
				add(signed, &rows[i], int64(rows[i].Sign))
			}
			for _, r := range standing(rows) {
				add(stand, &r, 1)
			}
			for value, s := range signed {
				if s != stand[value] {
					t.Errorf("%s, by %s %q: signed sums %v, last rows %v", what, column, value, s, stand[value])
				}
			}
		}
	}
	eachScenario(t, func(t *testing.T, name, dir string) {
		events := observe(t, dir).events
		check(t, "as it came", fold(t, events))

		// OTLP brings the user only when everything else has been said.
		var early, late []*schemas.Event
		for _, e := range events {
			if e.Witness == otlpWitness {
				n := *e
				n.User, n.UserSource = "dev@example.com", schemas.UserSourceOtlpEmail
				schemas.SetEventID(&n)
				late = append(late, &n)
				continue
			}
			early = append(early, e)
		}
		rows := fold(t, append(early, late...))
		check(t, "late user", rows)
		if len(late) > 0 {
			for _, r := range standing(rows) {
				if r.SessionId == late[0].SessionId && r.User != "dev@example.com" {
					t.Errorf("late user: %s of %s has user %q", r.Kind, r.SessionId, r.User)
				}
			}
		}
	})
}

func TestTheBranchThatChangesInASessionShowsOnItsFacts(t *testing.T) {
	dir := filepath.Join(recordings.Dir(t), "git-commit")
	branches := map[string]bool{}
	for _, r := range standing(fold(t, observe(t, dir).events)) {
		branches[r.Branch] = true
	}
	if !branches["main"] || !branches["fix/rounding"] {
		t.Errorf("branches of the rows: %v, want main and fix/rounding", branches)
	}
}

// Columns that a witness supplies agree with the rows of all three together,
// apart from these, where the others know better.
func TestEachWitnessAgreesWithAllOnWhatItSupplies(t *testing.T) {
	eachScenario(t, func(t *testing.T, name, dir string) {
		all := standing(fold(t, observe(t, dir).events))
		for _, witnesses := range witnessSets[:6] {
			for key, g := range standing(fold(t, observe(t, dir, witnesses...).events)) {
				w, ok := all[key]
				if !ok {
					t.Errorf("%s: %s %s is no fact of all three", setName(witnesses), g.Kind, key)
					continue
				}
				gv, wv := reflect.ValueOf(g), reflect.ValueOf(w)
				for i := range gv.NumField() {
					column := gv.Type().Field(i).Name
					if gv.Field(i).IsZero() || knowsBetter(name, witnesses, &g, &w, column) {
						continue
					}
					if a, b := gv.Field(i).Interface(), wv.Field(i).Interface(); a != b {
						t.Errorf("%s: %s %s: %s is %v, with all three %v", setName(witnesses), g.Kind, key, column, a, b)
					}
				}
			}
		}
	})
}

// knowsBetter names the columns in which another witness is believed more, so
// that a set without it says something else.
func knowsBetter(scenario string, witnesses []schemas.Witness, r, all *schemas.Enriched, column string) bool {
	has := func(w schemas.Witness) bool { return slices.Contains(witnesses, w) }
	switch column {
	case "RowId", "Version", "Final", "Witnesses", "EventId":
		return true // how the row came about
	case "OccurredAt", "DurationMs":
		return true // times: hooks, then transcripts, then OTLP; spans count the wait
	case "ErrorClass":
		return !has(transcriptWitness) // it alone has toolDenialKind; OTLP says ShellError for an exit
	case "ApprovalKind":
		return !has(transcriptWitness) || !has(otlpWitness) // OTLP says who, the transcript why
	case "ToolTarget", "FilePath":
		return r.Witnesses == "otlp" // it knows no repository to be relative to
	case "Workflow", "WorkflowSource":
		return all.WorkflowSource < r.WorkflowSource // the first match of more
	case "RootSessionId", "TaskId":
		return scenario == "resume" && !has(transcriptWitness) // a fork's parent is in the transcript only
	case "Speed", "CostNanoUsd", "CostUsd", "CostNanoUsdMax":
		return scenario == "usage-shapes" && !has(transcriptWitness) // "api_request says speed normal while cost and the metrics are those of speed fast"
	case "ToolCostNanoUsd":
		return !has(transcriptWitness) || !has(hookWitness) // each measures the length of a result by what it has of it
	case "ToolArgumentsHash":
		return scenario == "hook-deny" && !has(transcriptWitness) // "PostToolUse has [the changed input], PostToolBatch [has] the original"
	case "Attempt", "RetryReason":
		return scenario == "edit-mismatch" && r.Witnesses == "otlp" // it does not tell of edits that did not match
	case "CommitId":
		return !has(otlpWitness) // the client prints it abbreviated
	case "Branch":
		return !has(transcriptWitness) // OTLP tells the branch after a commit
	case "ChangeGrade":
		return !has(hookWitness) // bashEditDiff
	case "CostGrade":
		return r.CostGrade == schemas.CostGradeEstimated || r.CostGrade == schemas.CostGradeUnknown && r.Kind == schemas.KindToolCall // hooks do not know the request
	}
	return false
}

// The design aims at 1.3 versions per fact on the recordings (DESIGN §4).
func TestMostFactsAreSaidOnce(t *testing.T) {
	facts, versions, rows := 0, int64(0), 0
	root := recordings.Dir(t)
	for _, name := range recordings.Scenarios() {
		said := fold(t, observe(t, filepath.Join(root, name)).events)
		rows += len(said)
		for _, r := range standing(said) {
			facts++
			versions += r.Version
		}
	}
	perFact := float64(versions) / float64(facts)
	t.Logf("%d facts, %d rows: %.2f versions and %.2f rows per fact", facts, rows, perFact, float64(rows)/float64(facts))
	if perFact > 1.3 {
		t.Errorf("%.2f versions per fact, the aim is 1.3", perFact)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("FLIGHTLOG_TEST_RUN") == "flightlog" {
		main()
		return
	}
	if err := flag.Set("rapid.nofailfile", "true"); err != nil { // tests write into temp folders only
		panic(err)
	}
	os.Exit(m.Run())
}
