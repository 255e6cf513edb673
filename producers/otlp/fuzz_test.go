package otlp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/schemas"
)

func FuzzLogsJSON(f *testing.F)       { fuzz(f, "logs", otlp.JSON) }
func FuzzLogsProtobuf(f *testing.F)   { fuzz(f, "logs", otlp.Protobuf) }
func FuzzTracesProtobuf(f *testing.F) { fuzz(f, "traces", otlp.Protobuf) }

// fuzz sends any body: it is bad input or read, an event that is made of it
// survives its encoding, and the same body makes the same events.
func fuzz(f *testing.F, signal, contentType string) {
	for _, body := range samples(f, signal) {
		if contentType == otlp.Protobuf {
			body = toProtobuf(f, signal, body)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var once, again seen
		err := send(otlp.New(&once), signal, body, contentType)
		var bad *producers.BadInput
		if err != nil && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		for _, e := range once.events {
			var back schemas.Event
			if rest, err := back.DecodeAvro(e.AppendAvro(nil)); err != nil || len(rest) != 0 {
				t.Fatalf("the event cannot be read back: %v: %+v", err, e)
			}
			if e.SessionId == "" && e.FactKey.IsZero() {
				t.Fatalf("event of nothing: %+v", e)
			}
		}
		_ = send(otlp.New(&again), signal, body, contentType)
		if len(once.events) != len(again.events) || len(once.letters) != len(again.letters) {
			t.Fatalf("%d events, then %d", len(once.events), len(again.events))
		}
		for i := range once.events {
			if once.events[i].EventId != again.events[i].EventId {
				t.Fatalf("event %d has another id", i)
			}
		}
	})
}

// samples gives a request with one record of each kind, as small as they come:
// a fuzzer does little with 100 kB.
func samples(f *testing.F, signal string) map[string][]byte {
	found := map[string][]byte{}
	for _, scenario := range []string{"success", "permission-denied", "mcp", "git-commit", "api-failure", "compact-manual", "subagent"} {
		for _, body := range bodies(f, scenario, signal) {
			var all map[string][]map[string]json.RawMessage
			var scopes []map[string]json.RawMessage
			var records []json.RawMessage
			must(f, body, &all)
			for resources, list := range all {
				name := map[string][2]string{"resourceLogs": {"scopeLogs", "logRecords"}, "resourceSpans": {"scopeSpans", "spans"}}[resources]
				must(f, list[0][name[0]], &scopes)
				must(f, scopes[0][name[1]], &records)
				for _, record := range records {
					var r struct {
						Name string
						Body struct{ StringValue string }
					}
					must(f, record, &r)
					if kind := r.Name + r.Body.StringValue; len(record) < 4096 && (found[kind] == nil || len(record) < len(found[kind])-200) {
						found[kind] = fmt.Appendf(nil, `{%q:[{"resource":%s,%q:[{%q:[%s]}]}]}`, resources, list[0]["resource"], name[0], name[1], record)
					}
				}
			}
		}
	}
	if len(found) < 5 {
		f.Fatalf("only %d kinds of records", len(found))
	}
	return found
}

func must(f *testing.F, text []byte, into any) {
	if err := json.Unmarshal(text, into); err != nil {
		f.Fatal(err)
	}
}
