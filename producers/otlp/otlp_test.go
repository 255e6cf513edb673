package otlp_test

import (
	"bytes"
	"encoding/json"
	"log"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/schemas"
)

// process holds the recordings for all tests, so that they are unpacked once.
type process struct{ end func() }

func (*process) Helper()                           {}
func (*process) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }
func (p *process) Cleanup(end func())              { p.end = end }

func TestMain(m *testing.M) {
	var p process
	recordings.Dir(&p)
	code := m.Run()
	p.end()
	os.Exit(code)
}

// seen is a sink that keeps everything.
type seen struct {
	events  []schemas.Event
	letters []schemas.DeadLetter
}

func (s *seen) Event(e *schemas.Event) error           { s.events = append(s.events, *e); return nil }
func (s *seen) DeadLetter(d *schemas.DeadLetter) error { s.letters = append(s.letters, *d); return nil }

// of gives the events of a kind that came by a signal.
func (s *seen) of(kind schemas.Kind, signal schemas.Signal) (found []schemas.Event) {
	for _, e := range s.events {
		if e.Kind == kind && e.Signal == signal {
			found = append(found, e)
		}
	}
	return found
}

// call gives the one event that a signal made of a tool call and that matches.
func (s *seen) call(t *testing.T, signal schemas.Signal, match func(*schemas.Event) bool) schemas.Event {
	t.Helper()
	var found []schemas.Event
	for _, e := range s.of(schemas.KindToolCall, signal) {
		if match(&e) {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d tool calls match, want 1: %+v", len(found), found)
	}
	return found[0]
}

const (
	bySpan = schemas.SignalSpan
	byLog  = schemas.SignalLog
)

// read gives what is made of the signals of a scenario (all where none is
// named), and checks that nothing of it is bad.
func read(t testing.TB, scenario string, signals ...string) (*seen, *otlp.Reader) {
	t.Helper()
	s := &seen{}
	r := otlp.New(s)
	if len(signals) == 0 {
		signals = []string{"logs", "metrics", "traces"}
	}
	for _, signal := range signals {
		r.Source = scenario + "/otlp-" + signal + ".ndjson"
		f, err := os.Open(filepath.Join(recordings.Dir(t), r.Source))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := producers.Lines(f, r.Source, schemas.WitnessOtlp, s, r.Recorded); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for _, d := range s.letters {
		t.Errorf("%s became a dead letter: %s: %s", d.Position, d.Reason, d.Detail)
	}
	return s, r
}

// bodies gives the recorded requests of a signal, as JSON.
func bodies(t testing.TB, scenario, signal string) (found [][]byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(recordings.Dir(t), scenario, "otlp-"+signal+".ndjson"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var envelope struct{ Body json.RawMessage }
		if err := json.Unmarshal(line, &envelope); err != nil {
			t.Fatal(err)
		}
		found = append(found, envelope.Body)
	}
	return found
}

func TestARequestMakesTheSameEventsInProtobufAndJSON(t *testing.T) {
	t.Run("as the client sent them", func(t *testing.T) {
		var byMessage, byBody seen
		messages, inJSON := otlp.New(&byMessage), otlp.New(&byBody)
		for _, signal := range []string{"logs", "metrics", "traces"} {
			b, err := os.ReadFile(filepath.Join(recordings.Dir(t), "otlp-protobuf", "otlp-"+signal+".ndjson"))
			if err != nil {
				t.Fatal(err)
			}
			n := int64(0)
			for line := range bytes.Lines(b) {
				n++
				if err := messages.Recorded(n, line); err != nil {
					t.Fatal(err)
				}
				var envelope map[string]json.RawMessage
				if err := json.Unmarshal(line, &envelope); err != nil {
					t.Fatal(err)
				}
				if len(envelope["raw_base64"]) == 0 {
					t.Fatalf("line %d has no message", n)
				}
				delete(envelope, "raw_base64")
				plain, err := json.Marshal(envelope)
				if err != nil {
					t.Fatal(err)
				}
				if err := inJSON.Recorded(n, plain); err != nil {
					t.Fatal(err)
				}
			}
		}
		same(t, &byMessage, &byBody)
		if got, want := messages.Skipped(), inJSON.Skipped(); !maps.Equal(got, want) || got["hook_registered"] == 0 || got["claude_code.token.usage"] == 0 {
			t.Errorf("skipped %v, in JSON %v", got, want)
		}
	})
	for _, scenario := range recordings.Scenarios() {
		t.Run(scenario, func(t *testing.T) {
			var inJSON, inProtobuf seen
			each(t, scenario, func(signal string, body []byte, position int64) {
				if err := send(otlp.New(&inJSON), signal, body, otlp.JSON); err != nil {
					t.Fatal(err)
				}
				if err := send(otlp.New(&inProtobuf), signal, toProtobuf(t, signal, body), otlp.Protobuf); err != nil {
					t.Fatal(err)
				}
			})
			if scenario != "collector-down" {
				same(t, &inProtobuf, &inJSON)
			}
		})
	}
}

func same(t *testing.T, a, b *seen) {
	t.Helper()
	if len(a.events) == 0 || len(a.letters) != 0 || len(b.letters) != 0 {
		t.Fatalf("%d events, dead letters: %v, %v", len(a.events), a.letters, b.letters)
	}
	if !reflect.DeepEqual(a.events, b.events) {
		for i := range min(len(a.events), len(b.events)) {
			if a.events[i] != b.events[i] {
				t.Fatalf("event %d differs:\n%+v\n%+v", i, a.events[i], b.events[i])
			}
		}
		t.Fatalf("%d and %d events", len(a.events), len(b.events))
	}
}

func each(t testing.TB, scenario string, do func(signal string, body []byte, position int64)) {
	for _, signal := range []string{"logs", "metrics", "traces"} {
		for i, body := range bodies(t, scenario, signal) {
			do(signal, body, int64(i))
		}
	}
}

func send(r *otlp.Reader, signal string, body []byte, contentType string) error {
	switch signal {
	case "logs":
		return r.Logs(body, contentType, "test", 1)
	case "traces":
		return r.Traces(body, contentType, "test", 1)
	}
	return r.Metrics(body, contentType, "test", 1)
}

// toProtobuf translates a request by the standard's own types.
func toProtobuf(t testing.TB, signal string, body []byte) []byte {
	t.Helper()
	m := map[string]proto.Message{
		"logs": &logspb.LogsData{}, "traces": &tracepb.TracesData{}, "metrics": &metricspb.MetricsData{},
	}[signal]
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestARequestSentTwiceMakesTheSameEvents(t *testing.T) {
	for _, scenario := range []string{"success", "interactive", "api-failure"} {
		once, _ := read(t, scenario)
		again, _ := read(t, scenario)
		same(t, once, again)
		ids := map[schemas.Id]bool{}
		for _, e := range once.events {
			if e.EventId.IsZero() || e.FactKey.IsZero() || ids[e.EventId] {
				t.Errorf("%s: event %s of fact %s", scenario, e.EventId, e.FactKey)
			}
			ids[e.EventId] = true
		}
	}
}

func TestAGhostSessionMakesNoEvent(t *testing.T) {
	s, r := read(t, "resume")
	known := map[string]bool{}
	hooks, err := os.ReadFile(filepath.Join(recordings.Dir(t), "resume", "hooks.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(hooks) {
		var hook struct {
			Input struct {
				SessionId string `json:"session_id"`
			}
		}
		if err := json.Unmarshal(line, &hook); err != nil {
			t.Fatal(err)
		}
		known[hook.Input.SessionId] = true
	}
	told := map[string]bool{}
	for _, e := range s.events {
		told[e.SessionId] = true
		if !known[e.SessionId] {
			t.Errorf("%s of session %q, which no hook knows", e.Kind, e.SessionId)
		}
	}
	if len(told) != 2 { // the conversation and its fork
		t.Errorf("events of %d sessions, want 2", len(told))
	}
	ghosts := map[string]bool{}
	for _, body := range bodies(t, "resume", "logs") {
		for _, rest := range strings.Split(string(body), `"session.id","value":{"stringValue":"`)[1:] {
			if id, _, _ := strings.Cut(rest, `"`); !known[id] {
				ghosts[id] = true
			}
		}
	}
	if len(ghosts) != 1 {
		t.Errorf("the recording has %d ghosts, want 1", len(ghosts))
	}
	if r.Skipped()["hook_registered"] < 100 {
		t.Errorf("skipped %v", r.Skipped())
	}
}

func TestEveryEventSaysWhoseItIs(t *testing.T) {
	for _, scenario := range recordings.Scenarios() {
		s, _ := read(t, scenario)
		for _, e := range s.events {
			if e.Witness != schemas.WitnessOtlp || e.Agent != "claude-code" || e.AgentVersion != "2.1.330" ||
				e.SessionId == "" || e.OccurredAt < 1_795_000_000_000_000 || e.OccurredAt > 1_796_000_000_000_000 {
				t.Errorf("%s: %s", scenario, e.AppendJSON(nil))
			}
			if e.Signal == byLog && e.PromptId == "" {
				t.Errorf("%s: %s has no prompt", scenario, e.Kind)
			}
			if e.User != "" || e.Owner != "" {
				t.Errorf("%s: the id of the installation was taken for the person %q", scenario, e.User)
			}
		}
	}
}

func TestWhatIsSkippedIsCounted(t *testing.T) {
	_, r := read(t, "success")
	skipped := r.Skipped()
	for _, name := range []string{"hook_registered", "managed_settings_resolved", "assistant_response", "claude_code.interaction", "claude_code.tool.blocked_on_user", "claude_code.cost.usage"} {
		if skipped[name] == 0 {
			t.Errorf("%s was not counted: %v", name, skipped)
		}
		delete(skipped, name)
	}
	for _, name := range []string{"user_prompt", "api_request", "tool_result", "claude_code.tool", "claude_code.llm_request"} {
		if skipped[name] != 0 {
			t.Errorf("%s was skipped", name)
		}
	}
	if r.Skipped()["hook_registered"] == 0 {
		t.Error("the counts are the caller's to keep")
	}
}
