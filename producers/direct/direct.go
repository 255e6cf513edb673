// Package direct reads events in the JSON form of their schema
// (schemas/event.schema.json), one object a line: what a forge, CI or an agent of
// another kind tells by itself.
package direct

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// Reader makes events of lines. It is used by one goroutine.
type Reader struct{ sink producers.Sink }

// New makes a reader that hands events to a sink.
func New(sink producers.Sink) *Reader { return &Reader{sink} }

// Line reads one line. event_id is made anew, and fact_key where the line has
// none, of what the kind is known by. The error is a *[producers.BadInput], or one
// of the sink.
func (r *Reader) Line(_ int64, raw []byte) error {
	e, err := Parse(raw)
	if err != nil {
		return err
	}
	return r.sink.Event(e)
}

// Parse reads an event. The error is a *[producers.BadInput] that names the field
// and holds no value of it.
func Parse(raw []byte) (*schemas.Event, error) {
	fields := json.NewDecoder(bytes.NewReader(raw))
	fields.UseNumber()
	object := map[string]any{}
	if err := fields.Decode(&object); err != nil {
		return nil, &producers.BadInput{Reason: "not_json", Detail: "want one JSON object"}
	}
	if _, err := fields.Token(); err != io.EOF {
		return nil, &producers.BadInput{Reason: "not_json", Detail: "want one JSON object"}
	}
	e := &schemas.Event{}
	body, _ := object["body"].(map[string]any)
	delete(object, "body")
	if err := fill(reflect.ValueOf(e).Elem(), "", object); err != nil {
		return nil, err
	}
	to := bodyOf(e)
	if !to.IsValid() {
		return nil, missing("kind", "a kind of the schema")
	}
	if err := fill(to, "body.", body); err != nil {
		return nil, err
	}
	switch {
	case e.Witness == schemas.WitnessUnknown:
		return nil, missing("witness", "forge, ci, git or direct")
	case e.OccurredAt <= 0:
		return nil, missing("occurred_at", "µs since 1970")
	case schemas.OperationsOf(e.Kind) != nil:
		if err := forge(e); err != nil {
			return nil, err
		}
	case e.SessionId == "":
		return nil, missing("session_id", fmt.Sprintf("the session of a %s", e.Kind))
	}
	given := e.FactKey
	id := identity(e)
	if given.IsZero() && id == "" {
		return nil, missing("fact_key", fmt.Sprintf("it, or what a %s is known by", e.Kind))
	}
	producers.Finish(e, id)
	if !given.IsZero() {
		e.FactKey = given
		schemas.SetEventID(e)
	}
	return e, nil
}

func missing(field, want string) error {
	return &producers.BadInput{Reason: "missing_field", Detail: fmt.Sprintf("%s: want %s", field, want)}
}

// bodyOf is where the fields of the event's body belong, by its kind.
func bodyOf(e *schemas.Event) reflect.Value {
	if e.Kind == schemas.KindUnknown {
		return reflect.Value{}
	}
	b := &e.Body
	switch schemas.FamilyOf(e.Kind) {
	case schemas.FamilySession:
		b.Branch = schemas.EventBodySession
		return reflect.ValueOf(&b.Session).Elem()
	case schemas.FamilyModel:
		b.Branch = schemas.EventBodyModel
		return reflect.ValueOf(&b.Model).Elem()
	case schemas.FamilyTool:
		b.Branch = schemas.EventBodyTool
		return reflect.ValueOf(&b.Tool).Elem()
	}
	b.Branch = schemas.EventBodyArtifact
	return reflect.ValueOf(&b.Artifact).Elem()
}

// identity is what a fact of a kind is known by (DESIGN §4), empty where the event
// does not say.
func identity(e *schemas.Event) string {
	a := &e.Body.Artifact
	and := func(of, more string) string {
		if of == "" || more == "" {
			return ""
		}
		return of + more
	}
	switch e.Kind {
	case schemas.KindPrompt, schemas.KindTurnEnd:
		return e.PromptId
	case schemas.KindModelRequest:
		return e.RequestId
	case schemas.KindToolCall:
		return e.ToolUseId
	case schemas.KindCommit:
		return a.CommitId
	case schemas.KindPullRequest:
		if a.ChangeId != "" {
			return schemas.PullRequestFact(a.ChangeId, a.Operation)
		}
	case schemas.KindForgePullRequest:
		return a.ChangeId
	case schemas.KindForgePush:
		return and(a.CommitId, "@"+e.Branch)
	case schemas.KindCheckRun, schemas.KindDeployment:
		return and(and(a.CommitId, "/"), a.Name)
	}
	return ""
}

// fill puts the values of an object into the fields of a record.
func fill(record reflect.Value, path string, object map[string]any) error {
	for name, value := range object {
		field := record.FieldByName(goName(name))
		if name != strings.ToLower(name) || !field.IsValid() || field.Kind() == reflect.Struct && field.Type().Name() == "EventBody" {
			return &producers.BadInput{Reason: "unknown_field", Detail: fmt.Sprintf("%s%.40q is no field of the event schema for this kind", path, name)}
		}
		if err := set(field, value); err != nil {
			return &producers.BadInput{Reason: "wrong_type", Detail: fmt.Sprintf("%s%s: want %v", path, name, err)}
		}
	}
	return nil
}

// goName is the name of a field in Go: token_cache_write_5m is TokenCacheWrite5m.
func goName(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		if part == "" {
			return ""
		}
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// symbols of the enums of an event.
var symbols = map[reflect.Type]func(string) (uint8, bool){
	reflect.TypeFor[schemas.Kind]():           enum(schemas.ParseKind),
	reflect.TypeFor[schemas.Witness]():        enum(schemas.ParseWitness),
	reflect.TypeFor[schemas.Signal]():         enum(schemas.ParseSignal),
	reflect.TypeFor[schemas.CaptureMode]():    enum(schemas.ParseCaptureMode),
	reflect.TypeFor[schemas.UserSource]():     enum(schemas.ParseUserSource),
	reflect.TypeFor[schemas.WorkflowSource](): enum(schemas.ParseWorkflowSource),
	reflect.TypeFor[schemas.WorkKind]():       enum(schemas.ParseWorkKind),
	reflect.TypeFor[schemas.WorkKindSource](): enum(schemas.ParseWorkKindSource),
	reflect.TypeFor[schemas.ChangeGrade]():    enum(schemas.ParseChangeGrade),
	reflect.TypeFor[schemas.TestOutcome]():    enum(schemas.ParseTestOutcome),
}

func enum[E ~uint8](parse func(string) (E, bool)) func(string) (uint8, bool) {
	return func(s string) (uint8, bool) {
		v, ok := parse(s)
		return uint8(v), ok
	}
}

// symbolsOf are the names of an enum's values but unknown.
func symbolsOf(t reflect.Type) (names []string) {
	for v := 1; ; v++ {
		name := reflect.New(t).Elem()
		name.SetUint(uint64(v))
		if s := fmt.Sprint(name.Interface()); s != "unknown" {
			names = append(names, s)
			continue
		}
		return names
	}
}

// set puts a JSON value into a field; the error is what was wanted. null is a value
// that is not known.
func set(field reflect.Value, value any) error {
	if value == nil {
		return nil
	}
	text, isText := value.(string)
	truth, isBool := value.(bool)
	number, isNumber := value.(json.Number)
	if parse, ok := symbols[field.Type()]; ok {
		v, known := parse(text)
		if !isText || !known {
			return fmt.Errorf("one of %s", strings.Join(symbolsOf(field.Type()), ", "))
		}
		field.SetUint(uint64(v))
		return nil
	}
	switch to := field.Addr().Interface().(type) {
	case *string:
		if !isText {
			return fmt.Errorf("a text")
		}
		*to = text
	case *bool:
		if !isBool {
			return fmt.Errorf("true or false")
		}
		*to = truth
	case *schemas.OptBool:
		if !isBool {
			return fmt.Errorf("true or false")
		}
		*to = schemas.SomeBool(truth)
	case *int64:
		n, err := number.Int64()
		if !isNumber || err != nil {
			return fmt.Errorf("a whole number")
		}
		*to = n
	case *schemas.OptLong:
		n, err := number.Int64()
		if !isNumber || err != nil {
			return fmt.Errorf("a whole number")
		}
		*to = schemas.SomeLong(n)
	case *schemas.OptDouble:
		v, err := number.Float64()
		if !isNumber || err != nil || math.IsInf(v, 0) {
			return fmt.Errorf("a number")
		}
		*to = schemas.OptDouble{Value: v, Valid: true}
	case *schemas.Id:
		b, err := hex.DecodeString(text)
		if !isText || err != nil || len(b) != len(to) {
			return fmt.Errorf("32 hex digits")
		}
		copy(to[:], b)
	default:
		return fmt.Errorf("no value at all")
	}
	return nil
}
