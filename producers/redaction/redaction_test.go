package redaction

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

// Put together here, so that no scanner takes this file for a leak.
const token = "ghp_" + "Zb3kQ9mXv1Lt7RwYc5NpHs2DfJg8Ua4E6oT0"

// kept is a sink that keeps what came last.
type kept struct {
	event  schemas.Event
	letter schemas.DeadLetter
	err    error
}

func (k *kept) Event(e *schemas.Event) error           { k.event = *e; return k.err }
func (k *kept) DeadLetter(d *schemas.DeadLetter) error { k.letter = *d; return k.err }

// through sends an event through a sink.
func through(t *testing.T, mode Mode, e schemas.Event) schemas.Event {
	t.Helper()
	var next kept
	if err := NewSink(mode, &next).Event(&e); err != nil {
		t.Fatal(err)
	}
	return next.event
}

// stringFields are all string fields of a record, those of records in it
// included, by their path.
func stringFields(v reflect.Value, path string, fields map[string]reflect.Value) {
	for i := range v.NumField() {
		field, name := v.Field(i), path+v.Type().Field(i).Name
		switch {
		case field.Kind() == reflect.String:
			fields[name] = field
		case field.Kind() == reflect.Struct:
			stringFields(field, name+".", fields)
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() != reflect.Uint8:
			fields[name] = field // a list that this test knows nothing of
		}
	}
}

var branches = map[string]schemas.EventBodyBranch{
	"Body.Session.": schemas.EventBodySession, "Body.Model.": schemas.EventBodyModel,
	"Body.Tool.": schemas.EventBodyTool, "Body.Artifact.": schemas.EventBodyArtifact,
}

func TestNoStringFieldOfAnEventIsForgotten(t *testing.T) {
	var shape schemas.Event
	names := map[string]reflect.Value{}
	stringFields(reflect.ValueOf(&shape).Elem(), "", names)
	if len(names) < 50 {
		t.Fatalf("only %d fields", len(names))
	}
	for name := range names {
		var e schemas.Event
		for prefix, branch := range branches {
			if strings.HasPrefix(name, prefix) {
				e.Body.Branch = branch
			}
		}
		fields := map[string]reflect.Value{}
		stringFields(reflect.ValueOf(&e).Elem(), "", fields)
		fields[name].SetString("a\x00b\x1b[0m " + token + " /home/anna/x")
		before := e.EventId
		got := through(t, schemas.CaptureModeMetadata, e)
		stringFields(reflect.ValueOf(&got).Elem(), "", fields)
		value := fields[name].String()
		if want := "ab[0m [redacted:github-pat] ~/x"; value != want && !strings.HasPrefix(want, value) || strings.Contains(value, "ghp_") || value == "" {
			t.Errorf("%s: %q", name, value)
		}
		if got.EventId == before {
			t.Errorf("%s: the event_id is the old one", name)
		}
	}
}

func TestNoStringFieldOfADeadLetterIsForgotten(t *testing.T) {
	var shape schemas.DeadLetter
	names := map[string]reflect.Value{}
	stringFields(reflect.ValueOf(&shape).Elem(), "", names)
	for name := range names {
		var d schemas.DeadLetter
		fields := map[string]reflect.Value{}
		stringFields(reflect.ValueOf(&d).Elem(), "", fields)
		fields[name].SetString("\x00" + token + " /Users/anna/x")
		var next kept
		if err := NewSink(schemas.CaptureModeFull, &next).DeadLetter(&d); err != nil {
			t.Fatal(err)
		}
		stringFields(reflect.ValueOf(&next.letter).Elem(), "", fields)
		if value, want := fields[name].String(), "[redacted:github-pat] ~/x"; value == "" || !strings.HasPrefix(want, value) {
			t.Errorf("%s: %q", name, value)
		}
	}
}

func TestTheEventOfADeadLetterIsScrubbedToo(t *testing.T) {
	e := schemas.Event{SessionId: "s", Branch: "fix/" + token}
	var next kept
	sink := NewSink(schemas.CaptureModeRedacted, &next)
	if err := sink.DeadLetter(&schemas.DeadLetter{Payload: e.AppendAvro(nil)}); err != nil {
		t.Fatal(err)
	}
	var got schemas.Event
	if _, err := got.DecodeAvro(next.letter.Payload); err != nil {
		t.Fatal(err)
	}
	if got.Branch != "fix/[redacted:github-pat]" || got.CaptureMode != schemas.CaptureModeRedacted || got.SessionId != "s" {
		t.Errorf("got %+v", got)
	}
	for _, payload := range []string{"{\"token\": \"" + token + "\"}", "\xff\xff", string(e.AppendAvro(nil)) + "x"} {
		if err := sink.DeadLetter(&schemas.DeadLetter{Payload: []byte(payload), Size: 7}); err != nil {
			t.Fatal(err)
		}
		if next.letter.Payload != nil || next.letter.Size != 7 {
			t.Errorf("%q stayed: %q", payload, next.letter.Payload)
		}
	}
}

// clean is an event as there are most: nothing in it is to be hidden.
func clean() schemas.Event {
	e := schemas.Event{
		Kind: schemas.KindToolCall, Witness: schemas.WitnessHook, Agent: "claude-code", AgentVersion: "2.1.330",
		OccurredAt: 1795354705962634, DurationMs: schemas.SomeLong(192), Success: schemas.SomeBool(true),
		SessionId: "0b1e03d9-bbb2-4e1e-9988-f298a32e97b9", RootSessionId: "0b1e03d9-bbb2-4e1e-9988-f298a32e97b9",
		PromptId: "f4558300-e652-4b13-9e99-390718f617c6", ToolUseId: "toolu_01CmXJWzsbPPmdh66tSkWfHC",
		Host: "devbox", User: "anna@example.com", UserSource: schemas.UserSourceGitEmail, Owner: "anna@example.com",
		Team: "checkout", Repo: "github.com/example/shop", Branch: "fix/SHOP-12-rounding", Ticket: "SHOP-12",
		Workflow: "cli", WorkflowSource: schemas.WorkflowSourceEntrypoint, WorkKind: schemas.WorkKindBugfix,
	}
	e.Body.Branch = schemas.EventBodyTool
	e.Body.Tool = schemas.ToolBody{
		ToolName: "Bash", ToolTarget: "npm test", ArgumentsHash: "8f14e45fceea167a5a36dedd4bea2543",
		ArgumentsLength: schemas.SomeLong(72), ResultHash: "c9f0f895fb98ab9159f51fd0297e236d",
		ResultLength: schemas.SomeLong(812), ExitStatus: schemas.SomeLong(0), CommandClass: "test",
		PermissionMode: "acceptEdits", Done: true,
	}
	schemas.SetEventID(&e)
	return e
}

func TestACleanEventStaysAsItIs(t *testing.T) {
	e := clean()
	if got := through(t, schemas.CaptureModeMetadata, e); !reflect.DeepEqual(got, e) {
		t.Errorf("got  %+v\nwant %+v", got, e)
	}
}

func TestTheCaptureModeIsStampedAndIsPartOfTheEventID(t *testing.T) {
	e := clean()
	got := through(t, schemas.CaptureModeFull, e)
	if got.CaptureMode != schemas.CaptureModeFull || got.EventId == e.EventId {
		t.Errorf("mode %s, event_id %s", got.CaptureMode, got.EventId)
	}
	again := through(t, schemas.CaptureModeFull, e)
	if again.EventId != got.EventId {
		t.Error("the same event twice has two ids")
	}
}

func TestPathsAndBranchesLoseTheUsersNameButTheUserKeepsIt(t *testing.T) {
	for _, c := range []struct {
		name, user string
		source     schemas.UserSource
		branch     string
		want       string
	}{
		{"by the login", "anna", schemas.UserSourceOsLogin, "anna/fix", "~/fix"},
		{"by the e-mail", "anna@example.com", schemas.UserSourceGitEmail, "users/anna/fix", "users/~/fix"},
		{"another's name", "anna", schemas.UserSourceOsLogin, "bob/fix", "bob/fix"},
		{"a word", "dev", schemas.UserSourceOsLogin, "dev/fix", "dev/fix"},
		{"a home folder", "", schemas.UserSourceUnknown, "/home/zoe/fix", "~/fix"},
		{"a redacted word that holds it", "redacted", schemas.UserSourceOsLogin, "x/y", "x/y"},
	} {
		e := clean()
		e.User, e.UserSource, e.Branch, e.Owner = c.user, c.source, c.branch, c.user
		e.Body = schemas.EventBody{Branch: schemas.EventBodyArtifact, Artifact: schemas.ArtifactBody{FilePath: c.branch}}
		got := through(t, schemas.CaptureModeMetadata, e)
		if got.Branch != c.want || got.Body.Artifact.FilePath != c.want {
			t.Errorf("%s: branch %s, path %s, want %s", c.name, got.Branch, got.Body.Artifact.FilePath, c.want)
		}
		if got.User != c.user || got.Owner != c.user || got.Repo != e.Repo {
			t.Errorf("%s: user %s, owner %s, repo %s", c.name, got.User, got.Owner, got.Repo)
		}
	}
}

func TestTheLoginOfTheProcessIsHidden(t *testing.T) {
	var next kept
	sink := NewSink(schemas.CaptureModeMetadata, &next)
	sink.login = "zoe"
	if err := sink.Event(&schemas.Event{Branch: "zoe/fix"}); err != nil || next.event.Branch != "~/fix" {
		t.Errorf("got %s, %v", next.event.Branch, err)
	}
}

func TestWhatNobodyCanSeeIsDropped(t *testing.T) {
	e := clean()
	e.Skill, e.Host, e.Team = "a\u202Eb\u2028c\ufeff", "h\xffost\x7f\n\u0085", "Kaffeeküche ☕ 日本"
	got := through(t, schemas.CaptureModeMetadata, e)
	if got.Skill != "abc" || got.Host != "host" || got.Team != e.Team {
		t.Errorf("got %q, %q, %q", got.Skill, got.Host, got.Team)
	}
}

func TestAnEventStaysWithinItsCaps(t *testing.T) {
	e := clean()
	e.Ticket = "x " + strings.Repeat(token+" ", 10)
	if got := through(t, schemas.CaptureModeMetadata, e); len(got.Ticket) > 64 || strings.Contains(got.Ticket, "ghp_") {
		t.Errorf("%d bytes: %s", len(got.Ticket), got.Ticket)
	}
}

func TestErrorsOfTheNextSinkComeBack(t *testing.T) {
	full := errors.New("spool is full")
	sink := NewSink(schemas.CaptureModeMetadata, &kept{err: full})
	e := clean()
	if err := sink.Event(&e); !errors.Is(err, full) {
		t.Error(err)
	}
	if err := sink.DeadLetter(&schemas.DeadLetter{}); !errors.Is(err, full) {
		t.Error(err)
	}
}

func TestCaptureModesAreReadByTheirName(t *testing.T) {
	for text, want := range map[string]Mode{
		"metadata": schemas.CaptureModeMetadata, "redacted": schemas.CaptureModeRedacted, "full": schemas.CaptureModeFull,
	} {
		if got, err := ParseMode(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Full", "none"} {
		if mode, err := ParseMode(text); err == nil || !strings.Contains(err.Error(), "metadata, redacted or full") || mode != schemas.CaptureModeMetadata {
			t.Errorf("%q: %v, %v", text, mode, err)
		}
	}
}

func FuzzSink(f *testing.F) {
	f.Add("/home/anna/"+token, "anna")
	f.Add("\x00\xff~x/..", "root")
	f.Fuzz(func(t *testing.T, text, user string) {
		e := schemas.Event{Branch: text, Host: text, User: user, Body: schemas.EventBody{Branch: schemas.EventBodyTool}}
		e.Body.Tool.ToolTarget = text
		once := through(t, schemas.CaptureModeMetadata, e)
		for _, got := range []string{once.Branch, once.Host, once.Body.Tool.ToolTarget} {
			if strings.ContainsAny(got, "\x00\x1b\n\u202e") || got != strings.ToValidUTF8(got, "") {
				t.Fatalf("%q became %q", text, got)
			}
		}
	})
}

func BenchmarkSink(b *testing.B) {
	e := clean()
	sink := NewSink(schemas.CaptureModeMetadata, &kept{})
	b.ReportAllocs()
	for b.Loop() {
		if err := sink.Event(&e); err != nil {
			b.Fatal(err)
		}
	}
}
