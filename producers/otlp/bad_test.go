package otlp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/schemas"
)

func TestABadRecordDoesNotHideItsNeighbours(t *testing.T) {
	good := logRecord("api_request", map[string]any{"request_id": "r1", "input_tokens": 1})
	for name, bad := range map[string]string{
		"wrong_type: record: want an object":                      `"text"`,
		"wrong_type: attributes: want an array":                   `{"body":{"stringValue":"claude_code.api_request"},"attributes":{}}`,
		"wrong_type: attribute: want an object":                   `{"attributes":[1]}`,
		"wrong_type: attribute key: want a string":                `{"attributes":[{"key":1}]}`,
		"wrong_type: attribute value: want an object":             `{"attributes":[{"key":"a","value":1}]}`,
		"wrong_type: timeUnixNano: want nanoseconds since 1970":   `{"timeUnixNano":"soon"}`,
		"wrong_type: attribute session.id: want a string":         logRecord("api_request", map[string]any{"session.id": 5}),
		"wrong_type: attribute input_tokens: want a count":        logRecord("api_request", map[string]any{"input_tokens": "many"}),
		"wrong_type: attribute output_tokens: want a count":       logRecord("api_request", map[string]any{"output_tokens": -1}),
		"wrong_type: attribute cache_read_tokens: want a count":   logRecord("api_request", map[string]any{"cache_read_tokens": 1.5}),
		"wrong_type: attribute cost_usd: want a number":           logRecord("api_request", map[string]any{"cost_usd": "NaN"}),
		"wrong_type: attribute success: want a boolean":           toolResult("Bash", map[string]any{"success": "perhaps"}),
		"wrong_type: attribute model: want a string":              logRecord("api_request", map[string]any{"model": json.RawMessage(`{"arrayValue":{"values":[]}}`)}),
		"missing_field: want timeUnixNano":                        `{"attributes":[{"key":"session.id","value":{"stringValue":"s"}},{"key":"event.name","value":{"stringValue":"api_request"}}]}`,
		"too_long: more than 512 attributes":                      `{"attributes":[` + strings.Repeat(`{},`, 512) + `{}]}`,
		"too_long: record of 1048607 bytes, the limit is 1048576": `{"attributes":[{"key":"` + strings.Repeat("k", 1<<20+4) + `"}]}`,
		"wrong_type: attributes: want an array ":                  `{"attributes":5}`,
	} {
		s, _ := logs(t, good, bad, strings.Replace(good, "r1", "r2", 1))
		if len(s.events) != 2 || s.events[0].RequestId != "r1" || s.events[1].RequestId != "r2" {
			t.Errorf("%s: %d events", name, len(s.events))
		}
		if len(s.letters) != 1 {
			t.Fatalf("%s: %d dead letters", name, len(s.letters))
		}
		d := s.letters[0]
		if d.Reason+": "+d.Detail != strings.TrimSpace(name) {
			t.Errorf("the reason is %s: %s, want %s", d.Reason, d.Detail, name)
		}
		if d.Position != "7:1" || d.Source != "~/x.ndjson" || d.Hash != schemas.TextHash([]byte(bad)) || d.Size != int64(len(bad)) || d.Witness != schemas.WitnessOtlp || d.RowId.IsZero() || d.OccurredAt == 0 {
			t.Errorf("%s: dead letter %+v", name, d)
		}
	}
}

func TestARequestOfBadRecordsIsBadAsAWhole(t *testing.T) {
	s := &seen{}
	body := request(strings.Repeat("1,", 100_000) + "1")
	err := otlp.New(s).Logs([]byte(body), otlp.JSON, "test", 1)
	var bad *producers.BadInput
	if !errors.As(err, &bad) || bad.Reason != "invalid" || len(s.letters) != 1000 {
		t.Errorf("%v, %d dead letters", err, len(s.letters))
	}
}

func TestABadRecordInProtobufDoesNotHideItsNeighbours(t *testing.T) {
	body := toProtobuf(t, "logs", []byte(request(
		logRecord("api_request", map[string]any{"request_id": "first"}),
		logRecord("api_request", map[string]any{"request_id": "broken"}),
		logRecord("api_request", map[string]any{"request_id": "last"}))))
	broken := []byte(strings.Replace(string(body), "broken", "bro\xff\xffn", 1)) // not UTF-8
	s := &seen{}
	if err := otlp.New(s).Logs(broken, otlp.Protobuf, "test", 1); err != nil {
		t.Fatal(err)
	}
	if len(s.events) != 2 || s.events[0].RequestId != "first" || s.events[1].RequestId != "last" {
		t.Errorf("events %+v", s.events)
	}
	if len(s.letters) != 1 || s.letters[0].Reason != "undecodable" || s.letters[0].Position != "1:1" {
		t.Errorf("dead letters %+v", s.letters)
	}
}

func TestARequestThatCannotBeReadIsToldAsAWhole(t *testing.T) {
	body := []byte(request(logRecord("api_request", map[string]any{"request_id": "r1"})))
	message := toProtobuf(t, "logs", body)
	deep := func(n int) []byte {
		nested := strings.Repeat(`{"kvlistValue":{"values":[{"key":"k","value":`, n) + `{"stringValue":"x"}` + strings.Repeat(`}]}}`, n)
		return []byte(request(logRecord("api_request", map[string]any{"request_id": "r1", "nested": json.RawMessage(nested)})))
	}
	for name, c := range map[string]struct {
		body        []byte
		contentType string
		reason      string
	}{
		"cut JSON":             {body[:len(body)-1], otlp.JSON, "not_json"},
		"two values":           {append(slices.Clone(body), body...), otlp.JSON, "not_json"},
		"nothing":              {nil, otlp.JSON, "not_json"},
		"not UTF-8":            {[]byte("{\"a\":\"\xff\"}"), otlp.JSON, "not_utf8"},
		"deep values":          {deep(100), otlp.JSON, "too_deep"},
		"a bomb of brackets":   {[]byte(strings.Repeat("[", 1<<20)), otlp.JSON, "too_deep"},
		"a list":               {[]byte(`[]`), otlp.JSON, "wrong_type"},
		"no list of resources": {[]byte(`{"resourceLogs":{}}`), otlp.JSON, "wrong_type"},
		"no list of scopes":    {[]byte(`{"resourceLogs":[{"scopeLogs":1}]}`), otlp.JSON, "wrong_type"},
		"no list of records":   {[]byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":"x"}]}]}`), otlp.JSON, "wrong_type"},
		"a bad resource":       {[]byte(`{"resourceLogs":[{"resource":{"attributes":[1]}}]}`), otlp.JSON, "wrong_type"},
		"cut Protobuf":         {message[:len(message)-1], otlp.Protobuf, "undecodable"},
		"JSON as Protobuf":     {body, otlp.Protobuf, "undecodable"},
		"another type":         {body, "text/plain", "content_type"},
		"no type":              {body, "", "content_type"},
		"too much":             {make([]byte, otlp.MaxBody+1), otlp.JSON, "too_long"},
	} {
		for _, signal := range []string{"logs", "traces", "metrics"} {
			if signal != "logs" && c.reason == "wrong_type" && name != "a list" {
				continue // names members of logs
			}
			s := &seen{}
			err := send(otlp.New(s), signal, c.body, c.contentType)
			var bad *producers.BadInput
			if !errors.As(err, &bad) || bad.Reason != c.reason {
				t.Errorf("%s as %s: %v, want %s", name, signal, err, c.reason)
			}
			if len(s.events) != 0 || len(s.letters) != 0 {
				t.Errorf("%s as %s: %d events, %d dead letters", name, signal, len(s.events), len(s.letters))
			}
		}
	}
	for _, ok := range [][]byte{deep(32), []byte(`{}`), []byte(` {"resourceLogs":null} `), []byte(`{"resourceLogs":[{"scopeLogs":[{}]}],"x":{"y":[1]}}`)} {
		if err := otlp.New(&seen{}).Logs(ok, "application/json; charset=utf-8", "test", 1); err != nil {
			t.Errorf("%.60s: %v", ok, err)
		}
	}
	if err := otlp.New(&seen{}).Logs(nil, otlp.Protobuf, "test", 1); err != nil {
		t.Errorf("an empty message: %v", err)
	}
}

func TestProtobufThatNestsTooDeepIsRefusedBeforeItIsDecoded(t *testing.T) {
	nest := func(n int) []byte {
		v := &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: "x"}}
		for range n {
			v = &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: []*commonpb.KeyValue{{Key: "k", Value: v}}}}}
		}
		text := func(key, value string) *commonpb.KeyValue {
			return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
		}
		b, err := proto.Marshal(&logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{{
			TimeUnixNano: 1795354684457000000,
			Attributes:   []*commonpb.KeyValue{text("event.name", "api_request"), text("session.id", "s"), {Key: "nested", Value: v}},
		}}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for depth, events := range map[int]int{32: 1, 40: 0, 5000: 0} {
		s := &seen{}
		if err := otlp.New(s).Logs(nest(depth), otlp.Protobuf, "test", 1); err != nil {
			t.Fatal(err)
		}
		if len(s.events) != events || len(s.letters) != 1-events {
			t.Errorf("depth %d: %d events, %d dead letters", depth, len(s.events), len(s.letters))
		}
	}
}

func TestACutMessageMakesNoEvents(t *testing.T) {
	message := toProtobuf(t, "logs", []byte(request(logRecord("api_request", map[string]any{"request_id": "r"}))))
	s := &seen{}
	if err := otlp.New(s).Logs(append(slices.Clone(message), message[:len(message)-1]...), otlp.Protobuf, "test", 1); err == nil || len(s.events) != 0 {
		t.Errorf("%v, %d events", err, len(s.events))
	}
}

func TestRecordsThatSayNothingAreSkippedAndCounted(t *testing.T) {
	s, r := logs(t,
		logRecord("api_request", map[string]any{"session.id": nil}),
		logRecord("api_request", map[string]any{"session.id": ""}),
		logRecord("hook_registered", map[string]any{"session.id": 5}), // never looked at
		`{"body":{"stringValue":"GET /secret"},"attributes":[]}`,
		`{"body":{"stringValue":"claude_code.`+strings.Repeat("x", 200)+`"}}`,
		`{}`)
	if len(s.events) != 0 || len(s.letters) != 0 {
		t.Errorf("%d events, dead letters %+v", len(s.events), s.letters)
	}
	want := map[string]int64{"without session.id": 2, "hook_registered": 1, "other": 3}
	if !maps.Equal(r.Skipped(), want) {
		t.Errorf("skipped %v, want %v", r.Skipped(), want)
	}
	for i := range 1000 {
		if err := r.Logs([]byte(request(logRecord(fmt.Sprint("kind", i), nil))), otlp.JSON, "test", 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.Skipped()); n > 300 {
		t.Errorf("%d names are counted", n)
	}
}

func TestALineOfARecordingIsAnEnvelope(t *testing.T) {
	body := request(logRecord("api_request", map[string]any{"request_id": "r"}))
	for line, reason := range map[string]string{
		`{"signal":"logs","body":` + body + `}`:                "",
		`{"body":` + body + `,"signal":"logs","protocol":"x"}`: "",
		`{"signal":"logs"}`:                                    "missing_field",
		`{"signal":"profiles","body":{}}`:                      "wrong_type",
		`{"signal":7,"body":{}}`:                               "wrong_type",
		`{"body":{}}`:                                          "wrong_type",
		`{"signal":"logs","raw_base64":"?"}`:                   "wrong_type",
		`{"signal":"logs","raw_base64":"AAAA"}`:                "undecodable",
		`{"signal":"logs","body":[1]}`:                         "wrong_type",
		`[]`:                                                   "wrong_type",
		`{"signal":"logs","body":{}`:                           "not_json",
	} {
		s := &seen{}
		err := otlp.New(s).Recorded(3, []byte(line))
		var bad *producers.BadInput
		if reason == "" {
			if err != nil || len(s.events) != 1 {
				t.Errorf("%.40s: %v, %d events", line, err, len(s.events))
			}
		} else if !errors.As(err, &bad) || bad.Reason != reason {
			t.Errorf("%.40s: %v, want %s", line, err, reason)
		}
	}
}

var errFull = errors.New("full")

// full is a sink that takes nothing.
type full struct{}

func (full) Event(*schemas.Event) error           { return errFull }
func (full) DeadLetter(*schemas.DeadLetter) error { return errFull }

func TestAnErrorOfTheSinkEndsTheReading(t *testing.T) {
	good := logRecord("api_request", map[string]any{"request_id": "r"})
	for _, record := range []string{good, `5`} {
		if err := otlp.New(full{}).Logs([]byte(request(record, good)), otlp.JSON, "test", 1); !errors.Is(err, errFull) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestABadMetricIsToldAndItsNeighboursAreCounted(t *testing.T) {
	metric := `{"name":"m","sum":{"dataPoints":[{"asDouble":1},{"asInt":2}]}}`
	wrap := func(metrics ...string) []byte {
		return []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[` + strings.Join(metrics, ",") + `]}]}]}`)
	}
	for _, bad := range []string{`1`, `{"name":"x","sum":[]}`, `{"name":"x","gauge":{"dataPoints":5}}`, `{"name":"x","histogram":{"dataPoints":[1]}}`} {
		s := &seen{}
		r := otlp.New(s)
		if err := r.Metrics(wrap(metric, bad, metric), otlp.JSON, "test", 1); err != nil {
			t.Fatal(err)
		}
		if len(s.letters) != 1 || s.letters[0].Position != "1:1" || r.Skipped()["m"] != 4 || len(s.events) != 0 {
			t.Errorf("%s: dead letters %+v, skipped %v", bad, s.letters, r.Skipped())
		}
	}
	r := otlp.New(&seen{})
	if err := r.Metrics(toProtobuf(t, "metrics", wrap(metric)), otlp.Protobuf, "test", 1); err != nil || r.Skipped()["m"] != 2 {
		t.Errorf("%v, skipped %v", err, r.Skipped())
	}
}
