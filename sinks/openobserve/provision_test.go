package openobserve_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// board is a small dashboard of version 8.
const board = `{"version": 8, "dashboardId": "", "title": "Flightlog board", "description": "Facts.", "tabs": [{"tabId": "t", "name": "T", "panels": [
 {"id": "facts", "type": "metric", "title": "Facts", "description": "all", "queryType": "sql", "config": {"show_legends": false, "legends_position": null, "decimals": 0},
  "queries": [{"query": "SELECT SUM(sign) AS \"y_axis_1\" FROM (SELECT row_id, MAX(sign) AS sign FROM \"flightlog_enriched\" GROUP BY row_id) AS one", "vrlFunctionQuery": "", "customQuery": true,
   "fields": {"stream": "flightlog_enriched", "stream_type": "logs", "x": [], "y": [{"label": "Facts", "alias": "y_axis_1", "color": null, "type": "custom", "isDerived": false}], "z": [], "breakdown": [],
    "filter": {"filterType": "group", "logicalOperator": "AND", "conditions": []}}, "config": {"promql_legend": ""}}],
  "layout": {"x": 0, "y": 0, "w": 96, "h": 8, "i": 1}}]}],
 "variables": {"list": [], "showDynamicFilters": false}, "defaultDatetimeDuration": {"type": "relative", "relativeTimePeriod": "7d"}}`

// site is a stand-in of the server behind a front that notes the requests, and
// may answer some itself.
type site struct {
	t      *testing.T
	server *o2test.Server
	config openobserve.Config
	layout openobserve.Layout

	mu       sync.Mutex
	requests []string // method and path
	answer   func(w http.ResponseWriter, r *http.Request) bool
}

func newSite(t *testing.T, config o2test.Config) *site {
	t.Helper()
	if config.AllowedUpTo == 0 {
		config.AllowedUpTo = 9600
	}
	server, err := o2test.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := &site{t: t, server: server, layout: openobserve.Layout{Dashboards: [][]byte{[]byte(board)}}}
	to, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		answer := s.answer
		s.mu.Unlock()
		if answer == nil || !answer(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	s.config = openobserve.Config{URL: front.URL, Admin: openobserve.Account{User: o2test.DefaultRoot, Password: o2test.DefaultRootPassword}}
	return s
}

// fronted makes the front answer what it can.
func (s *site) fronted(answer func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// asked are the requests since it was last called.
func (s *site) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}

// plan are the changes of a plan, as they are shown; the window is left out.
func (s *site) plan() []string {
	s.t.Helper()
	changes, err := openobserve.Plan(s.t.Context(), s.config, s.layout)
	if err != nil {
		s.t.Fatal(err)
	}
	return withoutWindow(changes)
}

func withoutWindow(changes []openobserve.Change) (lines []string) {
	for _, c := range changes {
		if c.Object != "window" {
			lines = append(lines, c.String())
		}
	}
	return lines
}

// provision makes what is missing and gives what was shown.
func (s *site) provision() ([]string, error) {
	var changes []openobserve.Change
	err := openobserve.Provision(s.t.Context(), s.config, s.layout, func(c openobserve.Change) { changes = append(changes, c) })
	return withoutWindow(changes), err
}

func (s *site) mustProvision() []string {
	s.t.Helper()
	shown, err := s.provision()
	if err != nil {
		s.t.Fatalf("%v\n%s", err, strings.Join(shown, "\n"))
	}
	return shown
}

func (s *site) mustRemove(withData bool) (lines []string) {
	s.t.Helper()
	planned, err := openobserve.PlanRemoval(s.t.Context(), s.config, s.layout, withData)
	if err != nil {
		s.t.Fatal(err)
	}
	err = openobserve.Remove(s.t.Context(), s.config, s.layout, withData, func(c openobserve.Change) { lines = append(lines, c.String()) })
	if err != nil {
		s.t.Fatal(err)
	}
	if want := withoutWindow(planned); !slices.Equal(lines, want) {
		s.t.Errorf("removed\n%s\nwas planned as\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	return lines
}

// as is a request of the admin.
func (s *site) as(method, path string, body any) (int, gjson.Result) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequest(method, s.server.URL()+path, bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth(o2test.DefaultRoot, o2test.DefaultRootPassword)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, gjson.ParseBytes(got)
}

func (s *site) stream(topic string) gjson.Result {
	s.t.Helper()
	status, stream := s.as("GET", "/api/default/streams/"+s.config.StreamName(topic)+"/schema?type=logs", nil)
	if status != http.StatusOK {
		s.t.Fatalf("stream of %s: %d %s", topic, status, stream.Raw)
	}
	return stream
}

// dashboards are those of our folder.
func (s *site) dashboards() []gjson.Result {
	s.t.Helper()
	status, folder := s.as("GET", "/api/v2/default/folders/dashboards/name/Flightlog", nil)
	if status == http.StatusNotFound {
		return nil
	}
	_, list := s.as("GET", "/api/default/dashboards?folder="+folder.Get("folderId").Str, nil)
	return list.Get("dashboards").Array()
}

// edit changes a dashboard as somebody in the UI does.
func (s *site) edit(d gjson.Result, from, to string) {
	s.t.Helper()
	content := strings.Replace(d.Get("v8").Raw, from, to, 1)
	if content == d.Get("v8").Raw {
		s.t.Fatalf("%s is not in %s", from, content)
	}
	status, said := s.as("PUT", "/api/default/dashboards/"+d.Get("dashboard_id").Str+"?folder="+d.Get("folder_id").Str+"&hash="+d.Get("hash").Str, json.RawMessage(content))
	if status != http.StatusOK {
		s.t.Fatalf("%d %s", status, said.Raw)
	}
}

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	fits := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		fits = fits && strings.HasPrefix(got[i], want[i])
	}
	if !fits {
		t.Errorf("%s is\n%s\nmust begin with\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestProvisionMakesTypedStreamsAndADashboardAndThenNothing(t *testing.T) {
	s := newSite(t, o2test.Config{})
	var everything []string
	for topic, fields := range map[string]string{broker.Enriched: "row_id fact_key task_id session_id batch_id",
		broker.Findings: "row_id finding_id task_id session_id batch_id", broker.DeadLetters: "row_id session_id batch_id",
		broker.Tasks: "row_id task_id batch_id", broker.Spend: "row_id batch_id"} {
		columns, err := openobserve.Columns(topic)
		if err != nil {
			t.Fatal(err)
		}
		everything = append(everything, fmt.Sprintf("create stream flightlog_%s: %d columns, index_fields %s, data_retention 400", topic, len(columns), fields))
	}
	slices.SortFunc(everything, func(a, b string) int { // in the order of the topics
		return cmp.Compare(slices.IndexFunc(delivery.Topics, func(t string) bool { return strings.Contains(a, "_"+t) }),
			slices.IndexFunc(delivery.Topics, func(t string) bool { return strings.Contains(b, "_"+t) }))
	})
	everything = append(everything, "create folder Flightlog", "create dashboard Flightlog board: 1 panels")
	wantLines(t, "the plan", s.plan(), everything...)
	for _, r := range s.asked() {
		if !strings.HasPrefix(r, "GET ") && r != "POST /api/default/flightlog_window/_json" {
			t.Errorf("the plan has sent %s", r)
		}
	}
	if got := s.server.Streams(); len(got) > 0 || len(s.dashboards()) > 0 {
		t.Errorf("the plan has made %v", got)
	}

	wantLines(t, "what was done", s.mustProvision(), everything...)
	for _, topic := range delivery.Topics {
		columns, err := openobserve.Columns(topic)
		if err != nil {
			t.Fatal(err)
		}
		stream := s.stream(topic)
		for _, c := range columns {
			if got := stream.Get(`schema.#(name=="` + c.Name + `").type`).Str; got != c.Type {
				t.Errorf("%s: column %s is %q, not %s", topic, c.Name, got, c.Type)
			}
		}
		if n := len(stream.Get("schema").Array()); n != len(columns)+1 { // and _timestamp
			t.Errorf("%s has %d columns", topic, n)
		}
		settings := stream.Get("settings")
		for path, want := range map[string]string{"partition_keys": "{}", "full_text_search_keys": "[]", "bloom_filter_fields": "[]",
			"data_retention": "400", "store_original_data": "false"} {
			if got := settings.Get(path).Raw; got != want {
				t.Errorf("%s: %s is %s, not %s", topic, path, got, want)
			}
		}
		for _, f := range settings.Get("index_fields").Array() {
			if !slices.ContainsFunc(columns, func(c openobserve.Column) bool { return c.Name == f.Str }) {
				t.Errorf("%s: index on %s", topic, f.Str)
			}
		}
	}

	wantLines(t, "the second plan", s.plan())
	wantLines(t, "what was done then", s.mustProvision())
}

func TestAnotherGenerationStandsBesideTheFirst(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.mustProvision()
	s.config.Generation = 2
	wantLines(t, "what was done", s.mustProvision(), "create stream flightlog_enriched_g2", "create stream flightlog_findings_g2", "create stream flightlog_tasks_g2", "create stream flightlog_spend_g2", "create stream flightlog_deadletters_g2",
		"create dashboard Flightlog board (g2)")
	s.config.Streams = "staging"
	s.layout.Topics = []string{broker.Enriched}
	wantLines(t, "what was done", s.mustProvision(), "create stream staging_enriched_g2", "create dashboard Flightlog board (staging, g2)")
	if got := s.dashboards(); len(got) != 3 {
		t.Fatalf("%d dashboards", len(got))
	}
	for _, d := range s.dashboards() {
		stream := map[string]string{"Flightlog board": "flightlog_enriched", "Flightlog board (g2)": "flightlog_enriched_g2",
			"Flightlog board (staging, g2)": "staging_enriched_g2"}[d.Get("title").Str]
		q := d.Get("v8.tabs.0.panels.0.queries.0")
		if stream == "" || q.Get("fields.stream").Str != stream || strings.Count(q.Get("query").Str, "enriched") != 1 || !strings.Contains(q.Get("query").Str, `FROM "`+stream+`" `) {
			t.Errorf("%s: %s", d.Get("title").Str, q.Raw)
		}
	}
	wantLines(t, "what is removed of staging", s.mustRemove(true), "delete dashboard Flightlog board (staging, g2)", "note: folder Flightlog: it holds 2 dashboards besides",
		"delete stream staging_enriched_g2: with all its rows")
	if got := s.server.Streams(); len(got) != 10 {
		t.Errorf("left are %v", got)
	}
}

func TestWhatIsThereIsBroughtUp(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.layout.Topics, s.layout.Dashboards = []string{broker.Findings}, nil
	columns, err := openobserve.Columns(broker.Findings)
	if err != nil {
		t.Fatal(err)
	}
	status, said := s.as("POST", "/api/default/streams/flightlog_findings?type=logs", map[string]any{"fields": columns, "settings": map[string]any{
		"index_fields": []string{"row_id", "repo"}, "data_retention": 45, "store_original_data": true, "partition_keys": []any{map[string]string{"field": "team", "types": "value"}}}})
	if status != http.StatusOK {
		t.Fatal(said.Raw)
	}
	want := []string{"change stream flightlog_findings: settings\n    index_fields: + finding_id, task_id, session_id, batch_id\n    data_retention: 45 -> 400\n    store_original_data: true -> false",
		"note: stream flightlog_findings: it has partition keys"}
	wantLines(t, "what was done", s.mustProvision(), want...)
	settings := s.stream(broker.Findings).Get("settings")
	if got := settings.Get("index_fields").Raw; got != `["row_id","repo","finding_id","task_id","session_id","batch_id"]` {
		t.Errorf("index_fields are %s", got)
	}
	wantLines(t, "what was done then", s.mustProvision(), want[1])

	// Retention is never shortened unless one says so.
	s.layout.RetentionDays = 1000
	wantLines(t, "longer", s.mustProvision(), "change stream flightlog_findings: settings\n    data_retention: 400 -> 1000", want[1])
	s.layout.RetentionDays = 0
	wantLines(t, "not said", s.mustProvision(), want[1])
	s.layout.RetentionDays = 30
	wantLines(t, "shorter", s.mustProvision(), "change stream flightlog_findings: settings\n    data_retention: 1000 -> 30 (the server deletes rows older than 30 days)", want[1])
}

// addsColumns is a front that adds columns to streams as the server does: the
// stand-in does not yet.
func addsColumns(s *site, stream string) func(w http.ResponseWriter, r *http.Request) bool {
	added := "[]"
	return func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+stream+"/settings"):
			body, err := io.ReadAll(r.Body)
			if err != nil {
				s.t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			if add := gjson.GetBytes(body, "fields.add"); add.Exists() {
				added = add.Raw
				_, _ = io.WriteString(w, `{"code":200,"message":""}`)
				return true
			}
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+stream+"/schema"):
			_, have := s.as("GET", r.URL.RequestURI(), nil)
			schema := strings.TrimSuffix(have.Get("schema").Raw, "]")
			for _, c := range gjson.Parse(added).Array() {
				schema += "," + c.Raw
			}
			_, _ = io.WriteString(w, strings.Replace(have.Raw, have.Get("schema").Raw, schema+"]", 1))
			return true
		}
		return false
	}
}

// oldStream makes a stream of enriched without some columns, and with others
// instead.
func (s *site) oldStream(change map[string]string) {
	s.t.Helper()
	columns, err := openobserve.Columns(broker.Enriched)
	if err != nil {
		s.t.Fatal(err)
	}
	var old []openobserve.Column
	for _, c := range columns {
		switch to, changed := change[c.Name]; {
		case !changed:
			old = append(old, c)
		case to != "":
			old = append(old, openobserve.Column{Name: c.Name, Type: to})
		}
	}
	status, said := s.as("POST", "/api/default/streams/flightlog_enriched?type=logs", map[string]any{"fields": old, "settings": map[string]any{
		"index_fields": []string{"row_id", "fact_key", "session_id", "task_id", "batch_id"}, "data_retention": 400}})
	if status != http.StatusOK {
		s.t.Fatal(said.Raw)
	}
}

func TestColumnsOfALaterReleaseAreAddedWhereTheServerDoesIt(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.layout.Topics, s.layout.Dashboards = []string{broker.Enriched}, nil
	s.oldStream(map[string]string{"cost_nano_usd_max": "", "detail": ""})
	want := "change stream flightlog_enriched: columns\n    column cost_nano_usd_max: (none) -> Int64\n    column detail: (none) -> Utf8"

	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"it ignores them": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut {
				return false
			}
			_, _ = io.WriteString(w, `{"code":200,"message":""}`)
			return true
		},
		"it refuses them": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut {
				return false
			}
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, "unknown field `fields`")
			return true
		},
	} {
		s.fronted(answer)
		shown := s.mustProvision()
		wantLines(t, name, shown, want, "note: stream flightlog_enriched: this server does not add columns to a stream that is there: cost_nano_usd_max, detail. The sink keeps their values as JSON in the column extra")
		if name == "it refuses them" && !strings.Contains(shown[1], "unknown field") {
			t.Errorf("the server's words are not in %s", shown[1])
		}
	}

	s.fronted(addsColumns(s, "flightlog_enriched"))
	wantLines(t, "it adds them", s.mustProvision(), want)
	wantLines(t, "then", s.mustProvision())
}

func TestAColumnOfAnotherTypeIsAProblemThatIsNotPassedOver(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.layout.Topics = []string{broker.Enriched}
	s.oldStream(map[string]string{"cost_nano_usd": "Utf8", "token_input": "Float64", "success": "Int64"})
	want := []string{
		"problem: stream flightlog_enriched: column success is Int64 and must be Boolean: its values are stored as something else than they are",
		"problem: stream flightlog_enriched: column token_input is Float64 and must be Int64: sums of it are not exact, and the server never turns it back. Load a new generation",
		"problem: stream flightlog_enriched: column cost_nano_usd is Utf8 and must be Int64: SUM and comparisons of numbers fail on it, and the server never turns it back. Load a new generation ('flightlog rebuild'), or delete the stream with its rows (--remove --with-data)",
	}
	wantLines(t, "the plan", s.plan(), append(slices.Clone(want), "create folder", "create dashboard")...)
	shown, err := s.provision()
	if !errors.Is(err, openobserve.ErrProblems) {
		t.Errorf("%v", err)
	}
	wantLines(t, "what was done", shown, append(slices.Clone(want), "create folder", "create dashboard")...)

	// The way out.
	s.mustRemove(true)
	s.mustProvision()
	wantLines(t, "then", s.plan())
}

func TestADashboardThatSomebodyEditedIsShownAndBroughtBack(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.mustProvision()
	s.edit(s.dashboards()[0], `MAX(sign) AS sign`, `MIN(sign) AS sign`)
	s.edit(s.dashboards()[0], `"w":96`, `"w":100`)
	s.edit(s.dashboards()[0], `"title":"Facts"`, `"title":"My facts"`)
	s.edit(s.dashboards()[0], `"panels":[`, `"panels":[{"id":"more","type":"html","title":"Mine","description":"","config":{"show_legends":false},"queries":[],"layout":{"x":0,"y":9,"w":9,"h":9,"i":2}},`)
	want := `change dashboard Flightlog board: somebody has edited it since it was provisioned; this is taken back
    tabs[t].panels[more]: "Mine" -> (none)
    tabs[t].panels[facts].layout.w: 100 -> 96
    tabs[t].panels[facts].queries[0].query: ... FROM (SELECT row_id, MIN(sign) AS sign FROM \"flightlog_enriched\" GR... -> ... FROM (SELECT row_id, MAX(sign) AS sign FROM \"flightlog_enriched\" GR...
    tabs[t].panels[facts].title: "My facts" -> "Facts"`
	wantLines(t, "the plan", s.plan(), want)
	shown := s.mustProvision()
	if wantLines(t, "what was done", shown, want); shown[0] != want {
		t.Errorf("shown was\n%s", shown[0])
	}
	if got := s.dashboards(); len(got) != 1 || strings.Contains(got[0].Raw, "MIN(") || len(got[0].Get("v8.tabs.0.panels").Array()) != 1 {
		t.Errorf("the dashboards are %v", got)
	}
	wantLines(t, "then", s.plan())
}

func TestANewerFileReplacesADashboardThatNobodyEdited(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.mustProvision()
	s.layout.Dashboards[0] = []byte(strings.Replace(board, `"decimals": 0`, `"decimals": 1`, 1))
	wantLines(t, "what was done", s.mustProvision(), "change dashboard Flightlog board: to what this release has\n    description: ")
	if got := s.dashboards(); len(got) != 1 || got[0].Get("v8.tabs.0.panels.0.config.decimals").Num != 1 {
		t.Errorf("the dashboards are %v", got)
	}
	wantLines(t, "then", s.plan())
}

// TestAnEditInBetweenIsShownBeforeItIsTakenBack: the server refuses a hash that
// is stale (409), once or more often.
func TestAnEditInBetweenIsShownBeforeItIsTakenBack(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.mustProvision()
	s.edit(s.dashboards()[0], `"title":"Facts"`, `"title":"My facts"`)
	edits := 0
	editing := func(times int) {
		edits = 0
		s.fronted(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && edits < times {
				edits++
				d := s.dashboards()[0]
				s.edit(d, `"description":"all`, `"description":"all of them `)
			}
			return false
		})
	}
	editing(1)
	shown := s.mustProvision()
	wantLines(t, "what was done", shown, "change dashboard Flightlog board: somebody has edited it", "change dashboard Flightlog board: somebody has edited it")
	if len(shown) == 2 && (strings.Contains(shown[0], "of them") || !strings.Contains(shown[1], "panels[facts].description: \"all of them \" -> \"all\"")) {
		t.Errorf("the second edit was not shown: %q", shown)
	}
	wantLines(t, "then", s.plan())

	s.edit(s.dashboards()[0], `"title":"Facts"`, `"title":"My facts"`)
	editing(2)
	if _, err := s.provision(); err == nil || !strings.Contains(err.Error(), "cannot change dashboard Flightlog board") || !strings.Contains(err.Error(), "409") || edits != 2 {
		t.Errorf("after %d edits: %v", edits, err)
	}
}

func TestADashboardOfSomebodyElseIsLeftAlone(t *testing.T) {
	s := newSite(t, o2test.Config{})
	_, folder := s.as("POST", "/api/v2/default/folders/dashboards", map[string]string{"name": "Flightlog", "description": "mine"})
	theirs := strings.Replace(board, "Facts.", "By hand.", 1)
	if status, said := s.as("POST", "/api/default/dashboards?folder="+folder.Get("folderId").Str, json.RawMessage(theirs)); status != http.StatusOK {
		t.Fatal(said.Raw)
	}
	before := s.dashboards()[0].Raw
	shown, err := s.provision()
	if !errors.Is(err, openobserve.ErrProblems) {
		t.Errorf("%v", err)
	}
	wantLines(t, "what was done", shown, "create stream", "create stream", "create stream", "create stream", "create stream",
		"problem: dashboard Flightlog board: the folder Flightlog holds one of this title that was not made by 'flightlog provision openobserve'")
	wantLines(t, "what is removed", s.mustRemove(false), "note: dashboard Flightlog board: one of this title was not made by", "note: folder Flightlog: it was not made by",
		"note: stream flightlog_enriched: it stays, with its rows (--with-data would delete both)", "note: stream flightlog_findings", "note: stream flightlog_tasks", "note: stream flightlog_spend", "note: stream flightlog_deadletters")
	if got := s.dashboards(); len(got) != 1 || got[0].Raw != before {
		t.Errorf("it is now %v", got)
	}

	// With another title it is no matter of ours, and ours comes beside it.
	s.edit(s.dashboards()[0], `"title":"Flightlog board"`, `"title":"My Flightlog board (g2)"`)
	wantLines(t, "what was done then", s.mustProvision(), "create dashboard Flightlog board")
	wantLines(t, "what is removed then", s.mustRemove(false)[:2], "delete dashboard Flightlog board", "note: folder Flightlog: it was not made by")
	if got := s.dashboards(); len(got) != 1 {
		t.Errorf("left are %v", got)
	}
}

func TestRemoveTakesAwayOnlyWhatProvisionMade(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.mustProvision()
	if status, said := s.as("POST", "/api/default/flightlog_other/_json", []map[string]int{{"n": 1}}); status != http.StatusOK {
		t.Fatal(said.Raw)
	}
	s.edit(s.dashboards()[0], `"title":"Facts"`, `"title":"My facts"`) // it is ours all the same
	s.asked()
	wantLines(t, "what is removed", s.mustRemove(false), "delete dashboard Flightlog board", "delete folder Flightlog", "note: stream", "note: stream", "note: stream", "note: stream", "note: stream")
	for _, r := range s.asked() {
		if strings.HasPrefix(r, "POST") || strings.HasPrefix(r, "PUT") || strings.HasPrefix(r, "DELETE /api/default/streams") {
			t.Errorf("it has sent %s", r)
		}
	}
	if status, _ := s.as("GET", "/api/v2/default/folders/dashboards/name/Flightlog", nil); status != http.StatusNotFound {
		t.Errorf("the folder is there: %d", status)
	}
	wantLines(t, "what is removed with data", s.mustRemove(true), "delete stream flightlog_enriched: with all its rows", "delete stream flightlog_findings", "delete stream flightlog_tasks", "delete stream flightlog_spend", "delete stream flightlog_deadletters")
	if got := s.server.Streams(); !slices.Equal(got, []string{"flightlog_other"}) {
		t.Errorf("left are %v", got)
	}
	wantLines(t, "what is removed then", s.mustRemove(true))
	s.mustProvision()
	wantLines(t, "then", s.plan())
}

func TestAStreamThatRowsMadeIsNotOurs(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.layout.Topics, s.layout.Dashboards = []string{broker.Enriched}, nil
	if status, said := s.as("POST", "/api/default/flightlog_enriched/_json", []map[string]any{{"row_id": "1", "batch_id": "2"}}); status != http.StatusOK {
		t.Fatal(said.Raw)
	}
	wantLines(t, "what is removed", s.mustRemove(true), "note: stream flightlog_enriched: it was not made by 'flightlog provision openobserve' (it has no column extra): it is left alone")
	if s.server.Count("flightlog_enriched") != 1 {
		t.Error("its rows are gone")
	}
}

// TestTheFasterOneOfTwoWins: what another process makes in between is no error.
func TestTheFasterOneOfTwoWins(t *testing.T) {
	s := newSite(t, o2test.Config{})
	other := newSite(t, o2test.Config{})
	other.config, other.server = s.config, s.server
	var once sync.Once
	s.fronted(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/streams/") {
			once.Do(func() {
				s.fronted(nil)
				other.layout.RetentionDays = 500
				other.mustProvision()
			})
		}
		return false
	})
	s.layout.RetentionDays = 600
	wantLines(t, "what was done", s.mustProvision(), "create stream flightlog_enriched", "change stream flightlog_enriched: settings\n    data_retention: 500 -> 600",
		"change stream flightlog_findings: settings", "change stream flightlog_tasks: settings", "change stream flightlog_spend: settings", "change stream flightlog_deadletters: settings")
	wantLines(t, "then", s.plan())

	// The same where both make the folder, and where both make the dashboard.
	for path, want := range map[string][]string{
		"/api/v2/default/folders/dashboards": nil,
		"/api/default/dashboards":            {"note: dashboard Flightlog board: it is there 2 times"},
	} {
		s.mustRemove(false)
		s.fronted(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost && r.URL.Path == path {
				s.fronted(nil)
				other.layout.RetentionDays = 0
				other.mustProvision()
			}
			return false
		})
		if shown := s.mustProvision(); !strings.HasPrefix(shown[0], "create folder") {
			t.Errorf("done was %q", shown)
		}
		wantLines(t, "then", s.plan(), want...)
	}
	if s.mustRemove(false); len(s.dashboards()) > 0 {
		t.Error("a dashboard is left")
	}
}

func TestTheWindowIsToldWithTheSettingThatRaisesIt(t *testing.T) {
	for _, c := range []struct {
		hours, retention int
		want             string
	}{
		{5, 0, "the server takes rows of up to 5 h back and 24 h ahead; older ones become dead letters (outside_window), though topics and streams keep rows for up to 9600 h: start the server with ZO_INGEST_ALLOWED_UPTO=9600"},
		{1080, 30, "the server takes rows of up to 1080 h back and 24 h ahead"},
		{1079, 30, "start the server with ZO_INGEST_ALLOWED_UPTO=1080"},
		{9600, 0, "the server takes rows of up to 9600 h back and 24 h ahead"},
		{9600, 500, "start the server with ZO_INGEST_ALLOWED_UPTO=12000"},
	} {
		s := newSite(t, o2test.Config{AllowedUpTo: c.hours})
		s.layout.RetentionDays = c.retention
		changes, err := openobserve.Plan(t.Context(), s.config, s.layout)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(changes, func(c openobserve.Change) bool { return c.Object == "window" })
		if i < 0 || changes[i].Makes() || !strings.HasSuffix(changes[i].Says, c.want) {
			t.Errorf("%d h, %d days: %v", c.hours, c.retention, changes)
		}
		if streams := s.server.Streams(); len(streams) > 0 {
			t.Errorf("the probe has made %v", streams)
		}
	}
}

func TestWhatCannotWorkIsSaidClearly(t *testing.T) {
	s := newSite(t, o2test.Config{Users: map[string]string{"ada@example.com": "longenough"}})
	for name, c := range map[string]struct {
		change func(*openobserve.Config, *openobserve.Layout)
		want   string
	}{
		"no account":     {func(c *openobserve.Config, _ *openobserve.Layout) { c.Admin = openobserve.Account{} }, `admin_user: "": must be set`},
		"wrong password": {func(c *openobserve.Config, _ *openobserve.Layout) { c.Admin.Password = "wrong-secret" }, "status 401: Unauthorized Access: check the account " + o2test.DefaultRoot},
		"a passcode":     {func(c *openobserve.Config, _ *openobserve.Layout) { c.Admin.Password = o2test.DefaultPasscode }, "an ingestion passcode is not enough"},
		"organisation":   {func(c *openobserve.Config, _ *openobserve.Layout) { c.Org = "nosuch" }, "status 404: Organization not found: check the organisation nosuch"},
		"server down":    {func(c *openobserve.Config, _ *openobserve.Layout) { c.URL = "http://127.0.0.1:1" }, "OpenObserve at http://127.0.0.1:1: cannot GET /api/default/streams"},
		"topic":          {func(_ *openobserve.Config, l *openobserve.Layout) { l.Topics = []string{"closed"} }, "topics: closed: must be of enriched, findings, tasks, spend, deadletters"},
		"retention":      {func(_ *openobserve.Config, l *openobserve.Layout) { l.RetentionDays = -1 }, "retention_days: -1"},
		"no dashboard":   {func(_ *openobserve.Config, l *openobserve.Layout) { l.Dashboards = [][]byte{[]byte("{}")} }, "it has no title"},
	} {
		config, layout := s.config, s.layout
		c.change(&config, &layout)
		for _, run := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := openobserve.Plan(ctx, config, layout); return err },
			func(ctx context.Context) error {
				return openobserve.Provision(ctx, config, layout, func(openobserve.Change) {})
			},
		} {
			err := run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "wrong-secret") {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		}
	}
	// Nobody has made the organisation by asking for its window.
	if status, said := s.as("GET", "/api/nosuch/streams?type=logs", nil); status != http.StatusNotFound {
		t.Errorf("the organisation is there: %d %s", status, said.Raw)
	}
}

func TestWhatTheServerDropsIsSaid(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.layout.Dashboards[0] = []byte(strings.Replace(board, `"decimals": 0`, `"decimals": 0, "sparkline": true`, 1))
	shown := s.mustProvision()
	wantLines(t, "what was done", shown[6:], "create dashboard", "note: dashboard Flightlog board: this server does not keep all of it as it was given\n    tabs[t].panels[facts].config.sparkline: true -> (none)")
}

func TestThePasscodeIsForTheSinkAlone(t *testing.T) {
	s := newSite(t, o2test.Config{})
	s.layout.Topics, s.layout.Dashboards = []string{broker.Enriched}, nil
	path := filepath.Join(t.TempDir(), "passcode")
	s.layout.PasscodeFile = path
	create, replace := "create passcode file "+path+": the ingestion passcode of "+o2test.DefaultRoot, "change passcode file "+path
	wantLines(t, "the plan", s.plan(), "create stream", create)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the plan has made it: %v", err)
	}
	check := func() os.FileInfo {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(text)) != o2test.DefaultPasscode {
			t.Errorf("it holds %q, %v", text, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %v, %v", info.Mode(), err)
		}
		return info
	}
	wantLines(t, "what was done", s.mustProvision(), "create stream", create)
	first := check()
	wantLines(t, "then", s.mustProvision())
	if !os.SameFile(first, check()) {
		t.Error("it was replaced for nothing")
	}

	// Another one's passcode, or a file that others may read, is replaced as a whole.
	for name, spoil := range map[string]func() error{
		"old":      func() error { return os.WriteFile(path, []byte("rotated"), 0o600) },
		"readable": func() error { return os.Chmod(path, 0o644) },
	} {
		before := check()
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		wantLines(t, name, s.mustProvision(), replace)
		if os.SameFile(before, check()) {
			t.Errorf("%s: it was written in place", name)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}

	s.layout.PasscodeFile = filepath.Join(filepath.Dir(path), "no", "folder")
	if _, err := s.provision(); err == nil || !strings.Contains(err.Error(), "cannot create passcode file") || strings.Contains(err.Error(), o2test.DefaultPasscode) {
		t.Errorf("%v", err)
	}

	// It is enough for loading, and for nothing else.
	s.layout.PasscodeFile = ""
	s.config.Loading = openobserve.Account{User: o2test.DefaultRoot, PasswordFile: path}
	wantLines(t, "with the passcode for the window", s.mustProvision())
}

func TestChangesAreReadByMachines(t *testing.T) {
	s := newSite(t, o2test.Config{AllowedUpTo: 5})
	changes, err := openobserve.Plan(t.Context(), s.config, s.layout)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(changes)
	if err != nil {
		t.Fatal(err)
	}
	got := gjson.ParseBytes(text)
	if got.Get("0.action").Str != "create" || got.Get("0.object").Str != "stream" || got.Get("0.name").Str != "flightlog_enriched" ||
		got.Get(`#(object=="window").action`).Str != "note" {
		t.Errorf("%s", text)
	}
}
