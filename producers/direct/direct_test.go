package direct

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// What an event says as JSON is read again as the same event.
func TestTheJSONFormIsReadAsItIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z0-9/#-]{1,12}`)
		e := &schemas.Event{Kind: schemas.Kind(rapid.IntRange(1, int(schemas.KindTestRun)).Draw(t, "kind")), Witness: schemas.WitnessForge,
			OccurredAt: 1_795_000_000_000_000, Repo: text.Draw(t, "repo"), Branch: text.Draw(t, "branch"), DurationMs: schemas.SomeLong(5), Success: schemas.SomeBool(true),
			SessionId: "s", FactKey: schemas.FactKey("r", schemas.KindCheckRun, text.Draw(t, "id")), WorkKind: schemas.WorkKindBugfix}
		body := bodyOf(e)
		for i := range body.NumField() {
			switch f := body.Field(i).Addr().Interface().(type) {
			case *string:
				*f = text.Draw(t, "text")
			case *schemas.OptLong:
				*f = schemas.SomeLong(rapid.Int64().Draw(t, "number"))
			case *schemas.OptDouble:
				*f = schemas.OptDouble{Value: 0.25, Valid: true}
			case *bool:
				*f = true
			}
		}
		schemas.SetEventID(e)
		got, err := Parse(e.AppendJSON(nil))
		if err != nil {
			t.Fatalf("%s: %v", e.AppendJSON(nil), err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("%+v\nis read as\n%+v", e, got)
		}
	})
}

func TestWhatIsWrongWithALine(t *testing.T) {
	for line, want := range map[string]string{
		`{"kind":"forge_push","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1"}}`:                                               "missing_field: witness",
		`{"kind":"forge_push","witness":"forge","repo":"h/o/n","body":{"commit_id":"abcdef1"}}`:                                                            "missing_field: occurred_at",
		`{"kind":"forge_push","witness":"forge","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1"}}`:                                            "missing_field: repo",
		`{"kind":"forge_push","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{}}`:                                                  "missing_field: body.commit_id",
		`{"kind":"commit","witness":"git","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1"}}`:                                   "missing_field: session_id",
		`{"kind":"merge","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{}}`:                                                       "wrong_type: kind: want one of session_start, session_end, prompt",
		`{"witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{}}`:                                                                      "missing_field: kind",
		`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":"secret","body":{}}`:                                                              "wrong_type: occurred_at: want a whole number",
		`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":1795000000000000,"body":{"token_input":4}}`:                                       `unknown_field: body."token_input"`,
		`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":1795000000000000,"Repo":"x"}`:                                                     `unknown_field: "Repo"`,
		`{"kind":"check_run","witness":"ci","repo":7}`:                                                                                                     "wrong_type: repo: want a text",
		`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":1795000000000000,"fact_key":"00","body":{}}`:                                      "wrong_type: fact_key: want 32 hex digits",
		`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":1795000000000000,"success":"yes","body":{}}`:                                      "wrong_type: success: want true or false",
		`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1","name":"unit","lines_added":1.5}}`: "wrong_type: body.lines_added: want a whole number",
		`{"kind":"check_run"} {}`: "not_json",
		`{"kind":"commit","witness":"git","session_id":"s","occurred_at":1795000000000000,"body":{}}`:                                                           "missing_field: fact_key",
		`{"kind":"forge_push","witness":"forge","repo":"h/o/n","session_id":"s","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1"}}`:                 "wrong_value: session_id",
		`{"kind":"forge_push","witness":"forge","repo":"o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1"}}`:                                    "wrong_value: repo",
		`{"kind":"forge_push","witness":"forge","repo":"h/o/n","occurred_at":1795000000,"body":{"commit_id":"abcdef1"}}`:                                        "wrong_value: occurred_at",
		`{"kind":"forge_push","witness":"forge","repo":"h/o/n","occurred_at":17950000000000000,"body":{"commit_id":"abcdef1"}}`:                                 "wrong_value: occurred_at",
		`{"kind":"forge_push","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abc"}}`:                                      "wrong_value: body.commit_id: want 7 to 64 hex digits",
		`{"kind":"forge_push","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1","reverts":"that one"}}`:             "wrong_value: body.reverts",
		`{"kind":"forge_push","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1","operation":"forced"}}`:             "wrong_value: body.operation: want none",
		`{"kind":"forge_pull_request","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{"operation":"opened"}}`:                           "missing_field: body.change_id: want h/o/n#number",
		`{"kind":"forge_pull_request","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{"change_id":"h/o/m#1","operation":"opened"}}`:     "wrong_value: body.change_id",
		`{"kind":"forge_pull_request","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{"change_id":"h/o/n#one","operation":"opened"}}`:   "wrong_value: body.change_id",
		`{"kind":"forge_pull_request","witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,"body":{"change_id":"h/o/n#1","operation":"approved"}}`:   "wrong_value: body.operation: want opened, updated, reopened, closed, merged",
		`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1"}}`:                                      "missing_field: body.name",
		`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1","name":"unit","operation":"secretly"}}`: "wrong_value: body.operation: want none, queued, in_progress, completed",
	} {
		_, err := Parse([]byte(line))
		var bad *producers.BadInput
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func TestFactsOfTheForgeAreKnownByWhatTheyAre(t *testing.T) {
	parse := func(line string) *schemas.Event {
		e, err := Parse([]byte(`{"witness":"forge","repo":"h/o/n","occurred_at":1795000000000000,` + line + `}`))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	opened := parse(`"kind":"forge_pull_request","body":{"change_id":"h/o/n#4","operation":"opened"}`)
	merged := parse(`"kind":"forge_pull_request","body":{"change_id":"h/o/n#4","operation":"merged"}`)
	if opened.FactKey != merged.FactKey || opened.EventId == merged.EventId {
		t.Error("two observations of a pull request are not two events of one fact")
	}
	made := parse(`"kind":"pull_request","session_id":"s","body":{"change_id":"h/o/n#4","operation":"created"}`)
	linked := parse(`"kind":"pull_request","session_id":"s","body":{"change_id":"h/o/n#4"}`)
	commented := parse(`"kind":"pull_request","session_id":"s","body":{"change_id":"h/o/n#4","operation":"commented"}`)
	if made.FactKey != linked.FactKey || made.FactKey == commented.FactKey {
		t.Error("that a session made a pull request, and that it commented on it, are not two facts")
	}
	onMain := parse(`"kind":"forge_push","branch":"main","body":{"commit_id":"abcdef1"}`)
	onSide := parse(`"kind":"forge_push","branch":"side","body":{"commit_id":"abcdef1"}`)
	if onMain.FactKey == onSide.FactKey {
		t.Error("a commit on two branches is one fact")
	}
}

// A forge may write names otherwise than sessions do.
func TestNamesOfTheForgeAreThoseOfSessions(t *testing.T) {
	for _, repo := range []string{"github.com/acme/shop", "GitHub.com/acme/shop", "https://github.com/acme/shop", "https://token@github.com/acme/shop.git", "git@github.com:acme/shop.git", " github.com/acme/shop/ "} {
		e, err := Parse([]byte(`{"kind":"forge_pull_request","witness":"forge","repo":"` + repo + `","occurred_at":1795000000000000,"branch":"refs/heads/fix","body":{"change_id":"#4","operation":"merged","commit_id":"ABCDEF12","target_branch":"refs/heads/main","reverts":"#3"}}`))
		if err != nil {
			t.Errorf("%s: %v", repo, err)
			continue
		}
		a := e.Body.Artifact
		if e.Repo != "github.com/acme/shop" || a.ChangeId != "github.com/acme/shop#4" || a.Reverts != "github.com/acme/shop#3" || a.CommitId != "abcdef12" || e.Branch != "fix" || a.TargetBranch != "main" {
			t.Errorf("%s: %s", repo, e.AppendJSON(nil))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"kind":"check_run","witness":"ci","repo":"h/o/n","occurred_at":1795000000000000,"body":{"commit_id":"abcdef1","name":"unit"}}`)
	f.Fuzz(func(t *testing.T, line string) {
		var bad *producers.BadInput
		if _, err := Parse([]byte(line)); err != nil && !errors.As(err, &bad) {
			t.Errorf("%v", err)
		}
	})
}
