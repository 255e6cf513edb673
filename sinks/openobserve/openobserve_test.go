package openobserve_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRowsAreFlatAndTyped(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	stop := w.run(w.open())
	at := time.Now().Add(-time.Minute).UnixMicro()
	finding := schemas.Finding{RowId: id(1), Sign: 1, FindingId: id(2), Version: 1, Generation: 1, Kind: "loop", Subject: "s",
		FirstSeen: at, LastSeen: at + 5, Evidence: []schemas.Id{id(3), id(4)}, Sentence: "say \"it\"\n"}
	letter := schemas.DeadLetter{RowId: id(5), Generation: 1, Reason: "not_json", Source: "a", Position: "1", OccurredAt: at, Payload: []byte("event")}
	undated := schemas.DeadLetter{RowId: id(6), Generation: 1, Reason: "not_json", Source: "a", Position: "1"}
	task := schemas.Task{RowId: id(7), Sign: -1, Version: 2, Generation: 1, TaskId: "FL-7", TaskOutcome: schemas.TaskOutcomeCompleted,
		OutcomeEvidence: []schemas.Id{id(8), id(9)}, FirstSeen: at, LastSeen: at + 7, CostNanoUsd: 12,
		Parts: []schemas.TaskPart{{Model: "opus \"5\"", CostNanoUsd: 12}}, Did: schemas.Did{Commits: 3, EditsAfterTest: true,
			Files: []schemas.FilesOfType{{FileType: "go", Files: 2}}}, Edges: []schemas.TaskEdge{{To: "s2", Times: 1}}}
	task.Did.LastTestAt = schemas.OptLong{Value: at + 6, Valid: true}
	increment := schemas.Spend{RowId: id(10), Sign: 1, Generation: 1, Dimension: schemas.SpendDimensionRepo, Value: "example.org/a/repo",
		PaneStart: at - 3, PaneSize: schemas.PaneSizeMinute, Stage: schemas.PaneStageEarly, CostNanoUsd: -5}
	header := schemas.RowHeader{Processor: "p", Generation: 1}
	for topic, rows := range map[string][][]byte{
		broker.Tasks:       {task.AppendAvro(nil)},
		broker.Spend:       {increment.AppendAvro(nil)},
		broker.Findings:    {finding.AppendAvro(nil)},
		broker.DeadLetters: {letter.AppendAvro(nil), undated.AppendAvro(nil)},
	} {
		if _, err := w.broker.Append(t.Context(), broker.Log{Topic: topic}, broker.AppendRows(nil, topic, &header, rows)); err != nil {
			t.Fatal(err)
		}
	}
	w.say(time.UnixMicro(at))
	w.settle()
	for deadline := time.Now().Add(10 * time.Second); w.server.Count("flightlog_findings")+w.server.Count("flightlog_tasks")+w.server.Count("flightlog_spend")+w.server.Count("flightlog_deadletters") < 5; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("rows are missing")
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got := first(t, w, "flightlog_findings")
	if got.Get("_timestamp").Int() != at || got.Get("evidence").Str != id(3).String()+","+id(4).String() || got.Get("sentence").Str != finding.Sentence ||
		len(got.Get("batch_id").Str) != 32 || got.Get("sign").Raw != "1" {
		t.Errorf("finding %s", got.Raw)
	}
	got = first(t, w, "flightlog_tasks")
	for column, want := range map[string]string{"_timestamp": fmt.Sprint(at), "first_seen": fmt.Sprint(at), "sign": "-1", "task_outcome": `"completed"`,
		"outcome_evidence": `"` + id(8).String() + "," + id(9).String() + `"`, "did_commits": "3", "did_edits_after_test": "true",
		"did_last_test_at": fmt.Sprint(at + 6), "cost_nano_usd": "12", "did": ""} {
		if got.Get(column).Raw != want {
			t.Errorf("tasks.%s is %s, want %s", column, got.Get(column).Raw, want)
		}
	}
	for column, want := range map[string]string{"did_files": "0.file_type=go", "parts": `0.model=opus "5"`, "edges": "0.to=s2"} {
		if path, value, _ := strings.Cut(want, "="); gjson.Get(got.Get(column).Str, path).Str != value {
			t.Errorf("tasks.%s is %s, want %s", column, got.Get(column).Raw, want)
		}
	}
	got = first(t, w, "flightlog_spend")
	if got.Get("_timestamp").Int() != at-3 || got.Get("cost_nano_usd").Raw != "-5" || got.Get("dimension").Str != "repo" || got.Get("stage").Str != "early" {
		t.Errorf("spend %s", got.Raw)
	}
	for row := range w.server.Stored("flightlog_deadletters") {
		r := gjson.ParseBytes(row)
		if r.Get("payload").Exists() {
			t.Errorf("a dead letter's payload is stored: %s", row)
		}
		if r.Get("row_id").Str == id(6).String() && (r.Get("_timestamp").Int() < at || r.Get("_timestamp").Int() > time.Now().UnixMicro()) {
			t.Errorf("a row without a time bears %d, want its append time", r.Get("_timestamp").Int())
		}
	}
	got = first(t, w, "flightlog_enriched")
	if got.Get("cost_nano_usd").Raw != "1000" || got.Get("cost_usd").Raw != "0.000001" || got.Get("row_id").Str != id(1).String() {
		t.Errorf("enriched %s", got.Raw)
	}
	// No row changes the type of a column.
	for _, topic := range delivery.Topics {
		columns, err := openobserve.Columns(topic)
		if err != nil {
			t.Fatal(err)
		}
		_, text := w.request("GET", "/api/default/streams/flightlog_"+topic+"/schema?type=logs", nil)
		types := map[string]string{}
		for _, c := range gjson.Get(text, "schema").Array() {
			types[c.Get("name").Str] = c.Get("type").Str
		}
		for _, c := range columns {
			if types[c.Name] != c.Type {
				t.Errorf("%s.%s has the type %q, want %q", topic, c.Name, types[c.Name], c.Type)
			}
			delete(types, c.Name)
		}
		if delete(types, "_timestamp"); len(types) > 0 {
			t.Errorf("%s has columns of its own: %v", topic, types)
		}
	}
}

func first(t *testing.T, w *world, stream string) gjson.Result {
	t.Helper()
	for row := range w.server.Stored(stream) {
		return gjson.ParseBytes(row)
	}
	t.Fatalf("%s is empty", stream)
	return gjson.Result{}
}

func TestWhatAStreamHasNoColumnForGoesToExtra(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams("cost_usd", "model")
	stop := w.run(w.open())
	w.say(recent(1)...)
	w.settle()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got := first(t, w, "flightlog_enriched")
	if got.Get("cost_usd").Exists() || got.Get("model").Exists() || got.Get("extra").Str != `{"model":"claude-x","cost_usd":0.000001}` || got.Get("cost_nano_usd").Raw != "1000" {
		t.Errorf("row %s", got.Raw)
	}
}

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	w := newWorld(t, o2test.Config{AllowedUpTo: 5})
	for _, test := range []struct {
		what   string
		change func(c *openobserve.Config)
		need   time.Duration
		made   bool
		words  string
	}{
		{"a window that is too short", func(*openobserve.Config) {}, 1080 * time.Hour, true, "ZO_INGEST_ALLOWED_UPTO=1080"},
		{"a wrong passcode", func(c *openobserve.Config) { c.Loading.Password = "wrong" }, 0, true, "status 401"},
		{"a wrong admin password", func(c *openobserve.Config) { c.Admin.Password = "wrong" }, 0, true, "status 401"},
		{"no streams", func(*openobserve.Config) {}, 0, false, "flightlog provision openobserve"},
		{"no account", func(c *openobserve.Config) { c.Loading = openobserve.Account{} }, 0, true, "user"},
		{"an unknown organisation", func(c *openobserve.Config) { c.Org = "other" }, 0, true, ""},
		{"a name of streams that the server would change", func(c *openobserve.Config) { c.Streams = "My-Logs" }, 0, true, "small letters"},
		{"a URL with a password", func(c *openobserve.Config) { c.URL = "http://a:hidden@127.0.0.1" }, 0, true, "without user or password"},
	} {
		t.Run(test.what, func(t *testing.T) {
			w := w
			if test.made {
				w = newWorld(t, o2test.Config{AllowedUpTo: 5, Users: map[string]string{"other@example.com": "secretsecret"}})
				w.makeStreams()
			}
			config := w.config()
			if config.Org == "" && test.what == "an unknown organisation" {
				config.Loading = openobserve.Account{User: "other@example.com", Password: "secretsecret"}
			}
			test.change(&config)
			s, err := openobserve.Open(t.Context(), config, delivery.Topics, test.need)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.words) || strings.Contains(err.Error(), "hidden@") {
				t.Errorf("Open: %v, want %q", err, test.words)
			}
		})
	}
}

func TestTheWindowIsWhatTheServerSays(t *testing.T) {
	w := newWorld(t, o2test.Config{AllowedUpTo: 9600, AllowedInFuture: 48})
	w.makeStreams()
	got := w.open().Window()
	if got.Back != 9600*time.Hour || got.Ahead != 48*time.Hour {
		t.Errorf("window %v", got)
	}
	for _, name := range w.server.Streams() {
		if strings.Contains(name, "window") {
			t.Errorf("asking for the window has made the stream %s", name)
		}
	}
}

func TestPasswordsAreNeverTold(t *testing.T) {
	config := openobserve.Config{URL: "http://127.0.0.1:1", Loading: openobserve.Account{User: "u", Password: "topsecret", PasswordFile: "/none"}}
	if err := config.Validate(); err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("Validate: %v", err)
	}
}

func TestTheCertificateIsCheckedAgainstTheGivenAuthorities(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	to, err := url.Parse(w.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(to))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that fail
	secure.StartTLS()
	t.Cleanup(secure.Close)
	authorities := t.TempDir() + "/ca.pem"
	write(t, authorities, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	config := w.config()
	config.URL = secure.URL
	if _, err := openobserve.Open(t.Context(), config, delivery.Topics, 0); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of an unknown authority: %v", err)
	}
	config.CAFile = authorities
	s, err := openobserve.Open(t.Context(), config, delivery.Topics, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w.say(recent(3)...)
	stop := w.run(s)
	w.settle()
	if err := stop(); err != nil {
		t.Error(err)
	}
	config.CAFile = t.TempDir() + "/none"
	if err := config.Validate(); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("a file of authorities that is not there: %v", err)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the request and its password %v went elsewhere", r.Header["Authorization"] != nil)
	}))
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	config := w.config()
	config.URL = server.URL
	if _, err := openobserve.Open(t.Context(), config, delivery.Topics, 0); err == nil {
		t.Error("a redirect is taken for an answer")
	}
}

func TestARaisedWindowIsNoticed(t *testing.T) {
	w := newWorld(t, o2test.Config{AllowedUpTo: 5})
	w.makeStreams()
	s := w.open(func(c *openobserve.Config) { c.AskEvery = 10 * time.Millisecond })
	stop := w.run(s)
	w.say(time.Now().Add(-20 * time.Hour))
	w.settle()
	if reasons, _ := w.letters(); reasons["outside_window"] != 1 {
		t.Errorf("dead letters %v", reasons)
	}
	wide := newWorld(t, o2test.Config{AllowedUpTo: 100}) // the server, started anew
	wide.makeStreams()
	to, err := url.Parse(wide.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	w.to.Store(to)
	for deadline := time.Now().Add(10 * time.Second); s.Window().Back != 100*time.Hour; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the window is still %v", s.Window().Back)
		}
	}
	w.say(time.Now().Add(-20 * time.Hour))
	for deadline := time.Now().Add(10 * time.Second); len(wide.stored()) != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a row inside of the raised window is not stored")
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
