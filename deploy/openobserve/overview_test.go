package openobserve_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	deployed "github.com/flightlog/flightlog/deploy/openobserve"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// installation is a server with streams and dashboard of one, of another
// generation and with another prefix than the file.
type installation struct {
	t      *testing.T
	server *o2test.Server
	config openobserve.Config
	panels []panel // as the server has them
}

func provisioned(t *testing.T) *installation {
	t.Helper()
	server, err := o2test.Start(o2test.Config{AllowedUpTo: 9600, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	in := &installation{t: t, server: server, config: openobserve.Config{URL: server.URL(), Streams: "staging", Generation: 2,
		Admin: openobserve.Account{User: o2test.DefaultRoot, Password: o2test.DefaultRootPassword}}}
	layout := openobserve.Layout{Dashboards: [][]byte{deployed.Dashboards()["overview"]}}
	err = openobserve.Provision(t.Context(), in.config, layout, func(c openobserve.Change) {
		if c.Action != openobserve.Create && c.Object != "window" {
			t.Errorf("on an empty server: %s", c)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var folder struct{ FolderID string }
	in.ask("GET", "/api/v2/default/folders/dashboards/name/Flightlog", nil, &folder)
	var list struct {
		Dashboards []struct {
			Title string
			V8    dashboard
		}
	}
	in.ask("GET", "/api/default/dashboards?folder="+folder.FolderID, nil, &list)
	if len(list.Dashboards) != 1 || list.Dashboards[0].Title != "Flightlog overview (staging, g2)" {
		t.Fatalf("the server has the dashboards %+v", list)
	}
	in.panels = list.Dashboards[0].V8.Tabs[0].Panels
	return in
}

// ask is one exchange as root.
func (in *installation) ask(method, path string, body, answer any) {
	in.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		in.t.Fatal(err)
	}
	r, err := http.NewRequest(method, in.server.URL()+path, bytes.NewReader(text))
	if err != nil {
		in.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth(o2test.DefaultRoot, o2test.DefaultRootPassword)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		in.t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		in.t.Fatalf("%s %s: %d %.500s, %v\n%.3000s", method, path, response.StatusCode, got, err, text)
	}
	if err := json.Unmarshal(got, answer); err != nil {
		in.t.Fatalf("%s %s: %v: %.500s", method, path, err, got)
	}
}

// load stores rows as the sink writes them, in an order of its own.
func (in *installation) load(rows []schemas.Enriched, batch string) {
	in.t.Helper()
	rows = slices.Clone(rows)
	rand.New(rand.NewPCG(7, 7)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	var all []json.RawMessage
	for i := range rows {
		row := rows[i].AppendJSON(nil)
		all = append(all, fmt.Appendf(nil, `{"_timestamp":%d,"batch_id":%q,%s`, rows[i].OccurredAt, batch, row[1:]))
	}
	var said struct {
		Status []struct{ Successful, Failed int }
	}
	in.ask("POST", "/api/default/"+in.config.StreamName(broker.Enriched)+"/_json", all, &said)
	if said.Status[0].Successful != len(rows) {
		in.t.Fatalf("of %d rows: %+v", len(rows), said)
	}
}

// choice is what somebody who looks at the dashboard has chosen: a time, and for
// each variable some values (nil = all, as the UI's own word for it).
type choice struct {
	from, to time.Time
	values   map[string][]string
}

// allWord stands for all values of a variable; the server takes the comparison
// out (read in its source).
const allWord = "_o2_all_"

var allFilter = regexp.MustCompile(`COALESCE\("?\w+"?, ''\) IN \('` + allWord + `'\)`)

// filled puts the chosen values into a query, as the UI does.
func (c *choice) filled(sql string) string {
	return placeholder.ReplaceAllStringFunc(sql, func(found string) string {
		values, ok := c.values[placeholder.FindStringSubmatch(found)[1]]
		if !ok {
			values = []string{allWord}
		}
		var quoted []string
		for _, v := range values {
			quoted = append(quoted, "'"+strings.ReplaceAll(v, "'", "''")+"'")
		}
		return strings.Join(quoted, ",")
	})
}

var placeholder = regexp.MustCompile(`\$\{(\w+):singlequote\}`)

func (c *choice) takes(f *fact) bool {
	has := map[string]string{"repo": f.Repo, "team": f.Team, "user": f.User}
	if f.Kind == schemas.KindModelRequest {
		has["model"], has["billing"] = f.Model, f.Billing.String()
		if f.Billing == schemas.BillingUnknown { // rows leave it out
			has["billing"] = ""
		}
	}
	for name, value := range has {
		if chosen, ok := c.values[name]; ok && !slices.Contains(chosen, value) {
			return false
		}
	}
	return f.OccurredAt >= c.from.UnixMicro() && f.OccurredAt < c.to.UnixMicro()
}

// table is what a panel shows: for each of its keys (x and breakdown), the values
// of y; nil is none.
type table map[string][]*float64

func (t table) String() string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(t)) {
		line := fmt.Sprintf("%q:", key)
		for _, v := range t[key] {
			if v == nil {
				line += " -"
			} else {
				line += fmt.Sprintf(" %.9f", *v)
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// run runs a panel's query. interval is that of its time axis.
func (in *installation) run(p *panel, c *choice) (shown table, interval int64) {
	in.t.Helper()
	q := p.Queries[0]
	sql := allFilter.ReplaceAllString(c.filled(q.Query), "true")
	var answer struct {
		Hits     []map[string]any
		Interval int64 `json:"histogram_interval"`
	}
	in.ask("POST", "/api/default/_search?type=logs&use_cache=false", map[string]any{"query": map[string]any{
		"sql": sql, "start_time": c.from.UnixMicro(), "end_time": c.to.UnixMicro(), "from": 0, "size": -1}}, &answer)
	shown = table{}
	for _, hit := range answer.Hits {
		var key []string
		for _, a := range slices.Concat(q.Fields.X, q.Fields.Breakdown) {
			key = append(key, fmt.Sprint(hit[a.Alias]))
			delete(hit, a.Alias)
		}
		var values []*float64
		for _, a := range q.Fields.Y {
			value, ok := hit[a.Alias].(float64)
			if !ok && hit[a.Alias] != nil {
				in.t.Fatalf("%s: %s is %v", p.ID, a.Alias, hit[a.Alias])
			}
			values = append(values, nil)
			if ok {
				values[len(values)-1] = &value
			}
			delete(hit, a.Alias)
		}
		if _, twice := shown[strings.Join(key, "|")]; twice || len(hit) > 0 {
			in.t.Fatalf("%s: %v is there twice, or %v is nothing that the panel shows", p.ID, key, hit)
		}
		shown[strings.Join(key, "|")] = values
	}
	return shown, answer.Interval
}

func (t table) equal(other table) bool {
	return maps.EqualFunc(t, other, func(a, b []*float64) bool {
		return slices.EqualFunc(a, b, func(x, y *float64) bool {
			return (x == nil) == (y == nil) && (x == nil || math.Abs(*x-*y) < 5e-10*max(1, math.Abs(*x))) // half a nano-dollar
		})
	})
}

// measure adds one fact to the values of its key; a value that no fact has is none.
type measure func(f *fact) []schemas.OptLong

// sums adds up the measures of the facts that a kind and a choice take, by key.
func sums(facts []fact, kind schemas.Kind, c *choice, key func(*fact) string, of measure) map[string][]schemas.OptLong {
	all := map[string][]schemas.OptLong{}
	for i := range facts {
		f := &facts[i]
		if f.withdrawn || f.Kind != kind || !c.takes(f) {
			continue
		}
		k, values := key(f), of(f)
		if all[k] == nil {
			all[k] = make([]schemas.OptLong, len(values))
		}
		for n, v := range values {
			if v.Valid {
				all[k][n] = long(all[k][n].Value + v.Value)
			}
		}
	}
	return all
}

func number(v schemas.OptLong) *float64 {
	if !v.Valid {
		return nil
	}
	n := float64(v.Value)
	return &n
}

func dollars(v schemas.OptLong) *float64 {
	if n := number(v); n != nil {
		*n /= 1e9
		return n
	}
	return nil
}

func share(part, of schemas.OptLong) *float64 {
	if of.Value == 0 {
		return nil
	}
	n := 100 * float64(part.Value) / float64(of.Value)
	return &n
}

func flag(set bool) schemas.OptLong {
	if set {
		return long(1)
	}
	return long(0)
}

func orNone(text string) string { return cmp.Or(text, "(none)") }

// hour is the label of the interval that a fact lies in.
func (f *fact) hour(interval int64) string {
	at := time.UnixMicro(f.OccurredAt).UTC()
	return at.Truncate(time.Duration(interval) * time.Second).Format("2006-01-02T15:04:05")
}

// percentile is by linear interpolation and cut off to a whole number, as the
// stand-in's is (the server's is an approximation of it).
func percentile(values []int64, q float64) *float64 {
	slices.Sort(values)
	place := q * float64(len(values)-1)
	low := int(place)
	v := float64(values[low])
	if low+1 < len(values) {
		v += float64(values[low+1]-values[low]) * (place - float64(low))
	}
	v = math.Floor(v)
	return &v
}

func latency(facts []fact, kind schemas.Kind, c *choice, key func(*fact) string) table {
	by := map[string][]int64{}
	for i := range facts {
		if f := &facts[i]; !f.withdrawn && f.Kind == kind && c.takes(f) && f.DurationMs.Valid {
			by[key(f)] = append(by[key(f)], f.DurationMs.Value)
		}
	}
	want := table{}
	for k, values := range by {
		want[k] = []*float64{percentile(values, 0.5), percentile(values, 0.95)}
	}
	return want
}

// expected is what a panel must show, from the facts alone.
func expected(id string, facts []fact, c *choice, interval int64) table {
	const request, tool = schemas.KindModelRequest, schemas.KindToolCall
	nothing := func(*fact) string { return "" }
	count := func(*fact) []schemas.OptLong { return []schemas.OptLong{long(1)} }
	unpriced := func(f *fact) schemas.OptLong { return flag(f.CostGrade == schemas.CostGradeUnpriced) }
	outcome := func(f *fact) []schemas.OptLong {
		return []schemas.OptLong{long(1), flag(f.Success.Valid && !f.Success.Value), flag(f.Success.Valid)}
	}
	billing := func(f *fact) string { return f.Billing.String() }
	grade := func(f *fact) string { return f.CostGrade.String() }
	toolName := func(f *fact) string { return orNone(f.ToolName) }
	timed := func(key func(*fact) string) func(*fact) string {
		return func(f *fact) string { return f.hour(interval) + "|" + key(f) }
	}
	want := table{}
	one := func(kind schemas.Kind, of measure, value func([]schemas.OptLong) *float64) table { // a number
		all := sums(facts, kind, c, nothing, of)
		if all[""] == nil {
			return table{"": {nil}}
		}
		return table{"": {value(all[""])}}
	}
	first := func(v []schemas.OptLong) *float64 { return number(v[0]) }
	spend := func(key func(*fact) string) table { // bars of money
		for k, v := range sums(facts, request, c, timed(key), func(f *fact) []schemas.OptLong { return []schemas.OptLong{f.CostNanoUsd} }) {
			if v[0].Valid { // what has no price is not there
				want[k] = []*float64{dollars(v[0])}
			}
		}
		return want
	}
	tokens := func(f *fact) []schemas.OptLong {
		return []schemas.OptLong{f.TokenInput, f.TokenOutput, f.TokenCacheRead, f.TokenCacheWrite5m, f.TokenCacheWrite1h}
	}
	money := func(key func(*fact) string, more measure) table { // tables of money
		of := func(f *fact) []schemas.OptLong {
			return append([]schemas.OptLong{long(1), f.CostNanoUsd, f.CostNanoUsdMax, unpriced(f)}, more(f)...)
		}
		for k, v := range sums(facts, request, c, key, of) {
			want[k] = []*float64{number(v[0]), dollars(v[1]), dollars(v[2]), number(v[3])}
			for _, n := range v[4:] {
				want[k] = append(want[k], number(n))
			}
		}
		return want
	}
	none := func(*fact) []schemas.OptLong { return nil }
	switch id {
	case "sessions":
		sessions := map[string]bool{}
		for i := range facts {
			if f := &facts[i]; !f.withdrawn && f.Family == schemas.FamilySession && c.takes(f) {
				sessions[f.SessionId] = true
			}
		}
		return table{"": {number(long(int64(len(sessions))))}}
	case "prompts":
		return one(schemas.KindPrompt, count, first)
	case "requests":
		return one(request, count, first)
	case "unpriced":
		return one(request, func(f *fact) []schemas.OptLong { return []schemas.OptLong{unpriced(f)} }, first)
	case "tool_calls":
		return one(tool, count, first)
	case "tool_failure_rate":
		return one(tool, outcome, func(v []schemas.OptLong) *float64 { return share(v[1], v[2]) })
	case "spend_by_repo":
		return spend(func(f *fact) string { return orNone(f.Repo) + " (" + billing(f) + ")" })
	case "spend_by_model":
		return spend(func(f *fact) string { return orNone(f.Model) + " (" + billing(f) + ")" })
	case "spend_by_billing":
		return spend(billing)
	case "spend_by_grade":
		return spend(func(f *fact) string { return grade(f) + " (" + billing(f) + ")" })
	case "tokens_by_class":
		for k, v := range sums(facts, request, c, func(f *fact) string { return f.hour(interval) }, tokens) {
			for _, n := range v {
				want[k] = append(want[k], number(n))
			}
		}
		return want
	case "requests_by_grade":
		for k, v := range sums(facts, request, c, timed(grade), count) {
			want[k] = []*float64{number(v[0])}
		}
		return want
	case "tool_calls_by_tool":
		for k, v := range sums(facts, tool, c, timed(toolName), count) {
			want[k] = []*float64{number(v[0])}
		}
		return want
	case "failure_rate_by_tool":
		for k, v := range sums(facts, tool, c, toolName, outcome) {
			if v[1].Value > 0 {
				want[k] = []*float64{share(v[1], v[2])}
			}
		}
		return want
	case "request_latency":
		return latency(facts, request, c, func(f *fact) string { return orNone(f.Model) })
	case "tool_latency":
		return latency(facts, tool, c, toolName)
	case "table_by_repo":
		return money(func(f *fact) string { return orNone(f.Repo) + "|" + billing(f) }, none)
	case "table_by_model":
		return money(func(f *fact) string { return orNone(f.Model) + "|" + billing(f) }, tokens)
	case "table_by_grade":
		return money(func(f *fact) string { return billing(f) + "|" + grade(f) }, none)
	case "table_unpriced":
		of := func(f *fact) []schemas.OptLong {
			return []schemas.OptLong{unpriced(f), f.TokenInput, f.TokenOutput}
		}
		key := func(f *fact) string {
			return orNone(f.Model) + "|" + orNone(f.Platform) + "|" + fmt.Sprint(f.CostGrade == schemas.CostGradeUnpriced)
		}
		for k, v := range sums(facts, request, c, key, of) {
			if k, isUnpriced := strings.CutSuffix(k, "|true"); isUnpriced {
				want[k] = []*float64{number(v[0]), number(v[1]), number(v[2])}
			}
		}
		return want
	case "table_tools":
		for k, v := range sums(facts, tool, c, func(f *fact) string { return toolName(f) + "|" + orNone(f.McpServer) }, outcome) {
			want[k] = []*float64{number(v[0]), number(v[1]), number(long(v[0].Value - v[2].Value)), share(v[1], v[2])}
		}
		return want
	}
	return nil
}

// choices are looks at the dashboard.
func choices() map[string]choice {
	week := choice{from: now.Add(-7 * 24 * time.Hour), to: now}
	with := func(values map[string][]string) choice { return choice{week.from, week.to, values} }
	var billings []string
	for b := schemas.BillingUnknown; b <= schemas.BillingSubscription; b++ {
		billings = append(billings, b.String())
	}
	billings[0] = ""
	return map[string]choice{
		"all":                   week,
		"each":                  with(map[string][]string{"repo": repos, "team": teams, "user": users, "model": models, "billing": billings}),
		"half a day":            {from: now.Add(-12 * time.Hour), to: now.Add(-30 * time.Minute)},
		"a repository":          with(map[string][]string{"repo": {repos[1]}}),
		"no repository":         with(map[string][]string{"repo": {""}}),
		"two users with quotes": with(map[string][]string{"user": {users[2], users[3]}, "repo": {repos[3]}}),
		"a model and a billing": with(map[string][]string{"model": {"opus", ""}, "billing": {"api", ""}, "team": {"core"}}),
		"what is unpriced":      with(map[string][]string{"model": {"unheard-of"}}),
		"nothing":               with(map[string][]string{"team": {"nobody"}}),
	}
}

// TestEveryPanelShowsTheFactsAsTheyStand compares every panel, for every choice,
// with what is computed from the facts: once with each row stored once, and once
// with half of them stored twice.
func TestEveryPanelShowsTheFactsAsTheyStand(t *testing.T) {
	in := provisioned(t)
	h := newHistory(42, 2000)
	in.load(h.rows, "b1")
	for _, doubled := range []bool{false, true} {
		if doubled {
			in.load(h.rows[:len(h.rows)/2], "b2")
		}
		for name, c := range choices() {
			for i := range in.panels {
				p := &in.panels[i]
				got, interval := in.run(p, &c)
				want := expected(p.ID, h.facts, &c, interval)
				switch {
				case want == nil:
					t.Errorf("nobody says what panel %s must show", p.ID)
				case !got.equal(want):
					t.Errorf("panel %s, choice %q, rows doubled %v: the server shows\n%s\nthe facts are\n%s", p.ID, name, doubled, got, want)
				case len(want) == 0 && name == "all":
					t.Errorf("panel %s shows nothing: the test proves nothing", p.ID)
				}
			}
		}
	}
}

// TestACorrectionOnItsWayHasPercentilesRight: the new row of a fact may be stored
// before the retraction of the old one.
func TestACorrectionOnItsWayHasPercentilesRight(t *testing.T) {
	in := provisioned(t)
	f := fact{Enriched: schemas.Enriched{FactKey: schemas.FactKey("test", schemas.KindToolCall, "1"), Generation: 2,
		Kind: schemas.KindToolCall, Family: schemas.FamilyTool, ToolName: "Bash", OccurredAt: now.Add(-time.Hour).UnixMicro(), DurationMs: long(100)}}
	var h history
	f.say(&h, 1, 1)
	f.say(&h, 2, -1)
	f.DurationMs = long(7000)
	f.say(&h, 2, 1)
	in.load([]schemas.Enriched{h.rows[0], h.rows[2]}, "b1")
	c := choices()["all"]
	i := slices.IndexFunc(in.panels, func(p panel) bool { return p.ID == "tool_latency" })
	for range 2 {
		if got, _ := in.run(&in.panels[i], &c); !got.equal(table{"Bash": {number(long(7000)), number(long(7000))}}) {
			t.Errorf("the server shows\n%s", got)
		}
		in.load(h.rows[1:2], "b2")
	}
}

// TestTablesAreInOrder: the largest first, what has no price last.
func TestTablesAreInOrder(t *testing.T) {
	in := provisioned(t)
	in.load(newHistory(3, 500).rows, "b1")
	c := choices()["all"]
	i := slices.IndexFunc(in.panels, func(p panel) bool { return p.ID == "table_by_model" })
	var answer struct{ Hits []map[string]any }
	sql := allFilter.ReplaceAllString(c.filled(in.panels[i].Queries[0].Query), "true")
	in.ask("POST", "/api/default/_search?type=logs&use_cache=false", map[string]any{"query": map[string]any{
		"sql": sql, "start_time": c.from.UnixMicro(), "end_time": c.to.UnixMicro(), "size": -1}}, &answer)
	last := math.Inf(1)
	for _, hit := range answer.Hits {
		usd, priced := hit["y_axis_2"].(float64)
		if !priced {
			usd = math.Inf(-1)
		}
		if usd > last {
			t.Errorf("%v stands behind %v", usd, last)
		}
		last = usd
	}
	if !math.IsInf(last, -1) {
		t.Error("the model without prices is not there, or has a cost")
	}
}
