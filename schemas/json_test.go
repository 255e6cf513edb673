package schemas

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

type object interface {
	record
	AppendJSON([]byte) []byte
}

// random decodes a drawn value into x.
func random(t *rapid.T, s *avsc.Schema, x record) {
	if _, err := x.DecodeAvro(encodeSimply(nil, s, draw(t, avsc.Field{Name: s.Name}, s))); err != nil {
		t.Fatal(err)
	}
}

// shown is what JSON is to hold of a value in the oracles' form: all but what
// is not known.
func shown(s *avsc.Schema, v any) (out any, known bool) {
	switch s.Kind {
	case avsc.Record:
		m := map[string]any{}
		for _, f := range s.Fields {
			if e, known := shown(f.Type, v.(map[string]any)[f.Name]); known {
				m[f.Name] = e
			}
		}
		return m, true
	case avsc.Union:
		if v == nil {
			return nil, false
		}
		if s.Branches[0].Kind == avsc.Null {
			return shown(s.Branches[1], v)
		}
		for _, b := range s.Branches {
			if m := v.(map[string]any); len(m) == len(b.Fields) {
				if _, mine := m[b.Fields[0].Name]; mine {
					return shown(b, v)
				}
			}
		}
	case avsc.Array:
		var items []any
		for _, item := range v.([]any) {
			e, _ := shown(s.Items, item)
			items = append(items, e)
		}
		return items, len(items) > 0
	case avsc.String:
		return v, v != ""
	case avsc.Bytes:
		b, _ := hex.DecodeString(v.(string))
		return base64.StdEncoding.EncodeToString(b), len(b) > 0
	case avsc.Enum:
		return v, v != "unknown" && v != "none"
	}
	return v, true
}

func TestJSONHoldsWhatIsKnown(t *testing.T) {
	for _, test := range []struct {
		name string
		x    object
	}{{"Event", &Event{}}, {"Enriched", &Enriched{}}, {"Finding", &Finding{}}, {"Task", &Task{}}, {"DeadLetter", &DeadLetter{}}} {
		t.Run(test.name, func(t *testing.T) {
			s := parsed(t, rootOf(t, test.name).fingerprint)
			rapid.Check(t, func(t *rapid.T) {
				random(t, s, test.x)
				text := test.x.AppendJSON(nil)
				var got any
				d := json.NewDecoder(bytes.NewReader(text))
				d.UseNumber()
				if err := d.Decode(&got); err != nil {
					t.Fatalf("%v in\n%s", err, text)
				}
				want, _ := shown(s, saidBy(s, test.x))
				if !reflect.DeepEqual(numbers(t, got), numbers(t, want)) {
					t.Fatalf("got\n%v\nwant\n%v", got, want)
				}
			})
		})
	}
}

// numbers makes numbers comparable without loss: as the shortest text.
func numbers(t *rapid.T, v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = numbers(t, e)
		}
	case []any:
		for i, e := range x {
			x[i] = numbers(t, e)
		}
	case int64, float64:
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		return json.Number(b)
	case json.Number:
		if f, err := x.Float64(); err == nil && bytes.ContainsAny([]byte(x), ".eE") {
			return numbers(t, f)
		}
	}
	return v
}

func TestJSONKeepsTheSchemasOrderAndForms(t *testing.T) {
	e := Event{
		EventId: Id{0xab}, FactKey: Id{15: 1}, Kind: KindToolCall, Witness: WitnessHook, OccurredAt: math.MaxInt64,
		DurationMs: SomeLong(0), Success: SomeBool(false), User: "\"\\\n\r\t\x01\u2028\u2029<&>é\xff😀",
		Body: EventBody{Branch: EventBodyModel, Model: ModelBody{CostClientUsd: SomeDouble(0.1), TokenInput: SomeLong(-1)}},
	}
	const want = `{"event_id":"ab000000000000000000000000000000","fact_key":"00000000000000000000000000000001","kind":"tool_call","witness":"hook",` +
		`"capture_mode":"metadata","critical":false,"occurred_at":9223372036854775807,"duration_ms":0,"success":false,` +
		`"user":"\"\\\n\r\t\u0001\u2028\u2029<&>é\ufffd😀","body":{"token_input":-1,"output_partial":false,"cost_client_usd":0.1}}`
	if got := string(e.AppendJSON([]byte("x "))); got != "x "+want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string((&SessionBody{}).AppendJSON(nil)); got != "{}" {
		t.Errorf("an empty record is %s", got)
	}
	f := Finding{Evidence: []Id{{1}, {2}}, CostNanoUsd: SomeLong(5)}
	if got := f.AppendJSON(nil); !bytes.Contains(got, []byte(`"evidence":["01000000000000000000000000000000","02000000000000000000000000000000"],"cost_nano_usd":5`)) {
		t.Errorf("got %s", got)
	}
	for v, want := range map[float64]string{0: "0", 1e21: "1e+21", 1.5e-9: "1.5e-09", 123456.75: "123456.75"} {
		r := Enriched{CostUsd: SomeDouble(v)}
		if got := r.AppendJSON(nil); !bytes.Contains(got, []byte(`"cost_usd":`+want+`,`)) {
			t.Errorf("%v: %s", v, got)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		r := Enriched{CostUsd: SomeDouble(v)}
		if got := r.AppendJSON(nil); !json.Valid(got) || bytes.Contains(got, []byte(`"cost_usd"`)) {
			t.Errorf("%v: %s", v, got)
		}
	}
}

func TestJSONStringsAreThoseOfTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text") + string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		ours := appendJSONString(nil, s)
		theirs, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got, want string
		if err := json.Unmarshal(ours, &got); err != nil {
			t.Fatalf("%v in %s", err, ours)
		}
		if err := json.Unmarshal(theirs, &want); err != nil {
			t.Fatal(err)
		}
		if got != want || !utf8.Valid(ours) {
			t.Fatalf("%q became %q, want %q", s, got, want)
		}
	})
}

func TestEventsInJSONFulfilTheJSONSchema(t *testing.T) {
	text, err := os.ReadFile("event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("event.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(text []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	s := parsed(t, EventFingerprint)
	rapid.Check(t, func(t *rapid.T) {
		var e Event
		random(t, s, &e)
		if err := validate(e.AppendJSON(nil)); err != nil {
			t.Fatalf("%v in\n%s", err, e.AppendJSON(nil))
		}
	})
	good := typicalEvents()[0].AppendJSON(nil)
	for was, is := range map[string]string{
		`"kind":"tool_call"`:     `"kind":"tool_cal"`,
		`"agent":"claude-code"`:  `"agnet":"claude-code"`,
		`"duration_ms":1834`:     `"duration_ms":"1834"`,
		`"event_id":"01`:         `"event_id":"0x`,
		`"critical":false,`:      ``,
		`"tool_name":"Bash"`:     `"tool_nam":"Bash"`,
		`"success":true`:         `"success":null`,
		`"agent_version":"2.1.`:  `"agent_version":"` + string(bytes.Repeat([]byte("2"), 65)),
		`"occurred_at":17600000`: `"occurred_at":0.17600000`,
	} {
		bad := bytes.Replace(good, []byte(was), []byte(is), 1)
		if bytes.Equal(bad, good) || validate(bad) == nil {
			t.Errorf("%s for %s is valid", is, was)
		}
	}
}
