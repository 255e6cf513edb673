package kafka_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// headers of a record as a map.
func headers(r *kgo.Record) map[string]string {
	found := map[string]string{}
	for _, h := range r.Headers {
		found[h.Key] = string(h.Value)
	}
	return found
}

func TestRowsAreSingleRecordsThatOthersCanRead(t *testing.T) {
	config := configOf(newCluster(t).ListenAddrs())
	provision(t, config, 4)
	w := acquire(t, connect(t, config))
	w.commit(nil)
	c := w.build(nil, "one", "two")
	finding := schemas.Finding{Sign: 1, Subject: "a subject"}
	letter := schemas.DeadLetter{Reason: "invalid"}
	closed := schemas.Closed{Key: []byte("a key"), Payload: []byte("records")}
	task, fact := schemas.Task{TaskId: "FL-1"}, schemas.TaskFact{SessionId: "one", Task: schemas.Task{TaskId: "FL-2"}}
	increment := schemas.Spend{Dimension: schemas.SpendDimensionRepo, Value: "example.org/a/repo"}
	delta := schemas.SpendDelta{Dimension: schemas.SpendDimensionUser, Value: "ada"}
	for _, out := range []schemas.Output{
		{Topic: broker.Enriched, Partition: 2, Rows: [][]byte{(&schemas.Enriched{Repo: "example.org/a/repo"}).AppendAvro(nil)}},
		{Topic: broker.Findings, Lane: schemas.LaneCritical, Rows: [][]byte{finding.AppendAvro(nil)}},
		{Topic: broker.DeadLetters, Rows: [][]byte{letter.AppendAvro(nil)}},
		{Topic: broker.Closed, Rows: [][]byte{closed.AppendAvro(nil)}},
		{Topic: broker.Tasks, Rows: [][]byte{task.AppendAvro(nil)}},
		{Topic: broker.Spend, Rows: [][]byte{increment.AppendAvro(nil)}},
		{Topic: broker.TaskFacts, Rows: [][]byte{fact.AppendAvro(nil)}},
		{Topic: broker.ChangeFacts, Rows: [][]byte{(&schemas.Enriched{SessionId: "one", Kind: schemas.KindCommit, Repo: "example.org/a/repo"}).AppendAvro(nil)}},
		{Topic: broker.SpendDeltas, Lane: schemas.LaneCritical, Rows: [][]byte{delta.AppendAvro(nil)}},
	} {
		out.Schema = int64(broker.RowSchema(out.Topic))
		c.Outputs = append(c.Outputs, out)
	}
	if err := w.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, topic := range broker.RowTopics() {
		if !slices.ContainsFunc(c.Outputs, func(out schemas.Output) bool { return out.Topic == topic }) {
			t.Errorf("nothing is said to %s", topic)
		}
	}
	for topic, want := range map[string][]string{
		"enriched/1": {"one", "two"}, "enriched/2": {"example.org/a/repo"}, "findings.critical/0": {"a subject"},
		"deadletters/0": {""}, "closed/0": {"a key"}, "tasks/0": {"FL-1"}, "task-facts/0": {"FL-2"},
		"spend/0": {"repo\x00example.org/a/repo"}, "spend-deltas.critical/0": {"user\x00ada"},
		"change-facts/0": {"example.org/a/repo"},
	} {
		name, partition, _ := strings.Cut(topic, "/")
		var keys []string
		for _, r := range everything(t, config, config.Prefix+".g1."+name, int32(partition[0]-'0')) {
			keys = append(keys, string(r.Key))
			want := map[string]string{
				"flightlog-processor": "sessions", "flightlog-source-partition": "1", "flightlog-generation": "1",
				"flightlog-commit": "2", "flightlog-previous-commit": "0", "flightlog-watermark": "2000",
				"flightlog-commit-hash": fmt.Sprintf("%x", c.Hash),
			}
			if got := headers(r); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: headers %v, want %v", topic, got, want)
			}
			var row schemas.Enriched
			if name == "enriched" {
				if err := row.DecodeMessage(r.Value); err != nil || row.SessionId+row.Repo != string(r.Key) {
					t.Errorf("%s: row %+v (%v)", topic, row, err)
				}
			}
		}
		if !slices.Equal(keys, want) {
			t.Errorf("%s: keys %q, want %q", topic, keys, want)
		}
	}
}

func TestRowsAreReadAsFramesWithWhatTheirHeadersSay(t *testing.T) {
	config := configOf(newCluster(t).ListenAddrs())
	provision(t, config, 4)
	b := connect(t, config)
	header := schemas.RowHeader{Processor: "tasks", SourcePartition: 3, Generation: 1, FirstCommit: 8, LastCommit: 8, PreviousCommit: 5,
		CommitHash: schemas.Hash{1, 2, 3}, Watermark: -9}
	rows := map[string][]byte{
		broker.Enriched:    (&schemas.Enriched{SessionId: "one"}).AppendAvro(nil),
		broker.Findings:    (&schemas.Finding{Subject: "one"}).AppendAvro(nil),
		broker.DeadLetters: (&schemas.DeadLetter{Reason: "one"}).AppendAvro(nil),
		broker.Closed:      (&schemas.Closed{Key: []byte("one")}).AppendAvro(nil),
		broker.Tasks:       (&schemas.Task{TaskId: "one"}).AppendAvro(nil),
		broker.TaskFacts:   (&schemas.TaskFact{SessionId: "one"}).AppendAvro(nil),
		broker.Spend:       (&schemas.Spend{Value: "one"}).AppendAvro(nil),
		broker.SpendDeltas: (&schemas.SpendDelta{Value: "one"}).AppendAvro(nil),
		broker.ChangeFacts: (&schemas.Enriched{Repo: "one"}).AppendAvro(nil),
	}
	for _, topic := range broker.RowTopics() {
		to := broker.Log{Topic: topic}
		position, err := b.Append(t.Context(), to, broker.AppendRows(nil, topic, &header, [][]byte{rows[topic], rows[topic]}))
		if err != nil {
			t.Fatal(err)
		}
		want := broker.AppendRows(nil, topic, &header, [][]byte{rows[topic]})
		n := 0
		err = broker.Scan(t.Context(), b, to, func(m broker.Message) error {
			if n++; string(m.Payload) != string(want) {
				t.Errorf("%s: read %x, want %x", topic, m.Payload, want)
			}
			if n == 2 && m.Position != position {
				t.Errorf("%s: the last row is at %d, was appended at %d", topic, m.Position, position)
			}
			return nil
		})
		if err != nil || n != 2 {
			t.Errorf("%s: read %d messages (%v), want 2", topic, n, err)
		}
	}
}

// fakeRegistry is a schema registry that knows what was registered.
type fakeRegistry struct {
	mu       sync.Mutex
	subjects map[string]string // schema by subject
	posts    int
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var sent struct{ Schema string }
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	subject, registering := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/subjects/"), "/versions")
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	switch {
	case registering:
		f.posts++
		f.subjects[subject] = sent.Schema
	case f.subjects[subject] != sent.Schema:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error_code":40403,"message":"Schema not found"}`)
		return
	}
	fmt.Fprintf(w, `{"id":%d,"version":1,"subject":%q,"schema":%q}`, 70000+len(subject), subject, sent.Schema)
}

func TestWithARegistryRowsAreInConfluentsFormat(t *testing.T) {
	registry := &fakeRegistry{subjects: map[string]string{}}
	server := httptest.NewServer(registry)
	defer server.Close()
	plain := configOf(newCluster(t).ListenAddrs())
	config := plain
	config.RegistryURL = server.URL
	if lines := strings.Join(plan(t, config, 4), "\n"); !strings.Contains(lines, "as "+config.Prefix+".g1.enriched-value") || registry.posts != 0 {
		t.Errorf("%d schemas were registered by the plan\n%s", registry.posts, lines)
	}
	provision(t, config, 4)
	if again := plan(t, config, 4); registry.posts != len(broker.RowTopics()) || len(again) != 0 {
		t.Errorf("%d schemas are registered, the plan is %q", registry.posts, again)
	}
	subject := config.Prefix + ".g1.enriched-value"
	if text, _ := schemas.Definition(schemas.EnrichedFingerprint); registry.subjects[subject] != string(text) {
		t.Errorf("%s is %q", subject, registry.subjects[subject])
	}
	w := acquire(t, connect(t, config))
	w.commit(nil, "one", "two")
	for i, r := range everything(t, config, config.Prefix+".g1.enriched", 1) {
		var row schemas.Enriched
		if r.Value[0] != 0 || int(binary.BigEndian.Uint32(r.Value[1:])) != 70000+len(subject) {
			t.Fatalf("row %d begins with % x", i, r.Value[:5])
		}
		if rest, err := row.DecodeAvro(r.Value[5:]); err != nil || len(rest) != 0 || row.SessionId != string(r.Key) {
			t.Errorf("row %d is %+v (%v)", i, row, err)
		}
	}
	if got := fmt.Sprint(sessions(t, connect(t, plain))); got != "[one two]" {
		t.Errorf("without a registry it reads %s", got)
	}
	acquire(t, connect(t, plain)).commit(nil, "three")
	if got := fmt.Sprint(sessions(t, w.b)); got != "[one two three]" {
		t.Errorf("both formats in one topic are read as %s", got)
	}
}
