package otlp_test

import (
	"errors"
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
	for _, scenario := range []string{"success", "permission-denied", "mcp", "git-commit", "api-failure"} {
		for _, body := range bodies(f, scenario, signal) {
			if contentType == otlp.Protobuf {
				body = toProtobuf(f, signal, body)
			}
			f.Add(body)
		}
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
