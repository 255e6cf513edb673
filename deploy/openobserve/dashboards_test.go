package openobserve_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/broker"
	deployed "github.com/flightlog/flightlog/deploy/openobserve"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
)

// dashboard is the part of version 8 that our files use (contract §6.2): what is
// no pointer must be there.
type dashboard struct {
	Version     int
	DashboardID string `json:"dashboardId"`
	Title       string
	Description string
	Tabs        []struct {
		TabID  string `json:"tabId"`
		Name   string
		Panels []panel
	}
	Variables struct {
		List               []variable
		ShowDynamicFilters bool `json:"showDynamicFilters"`
	}
	DefaultDatetimeDuration struct {
		Type               string
		RelativeTimePeriod string `json:"relativeTimePeriod"`
	} `json:"defaultDatetimeDuration"`
}

type panel struct {
	ID, Type, Title, Description string
	QueryType                    string `json:"queryType"`
	Config                       struct {
		ShowLegends      *bool            `json:"show_legends"`
		LegendsPosition  *json.RawMessage `json:"legends_position"`
		Unit             string
		Decimals         *float64
		TopResults       *int  `json:"top_results"`
		TopResultsOthers *bool `json:"top_results_others"`
	}
	Queries []panelQuery
	Layout  *struct{ X, Y, W, H, I *int }
}

type panelQuery struct {
	Query            string
	VrlFunctionQuery string `json:"vrlFunctionQuery"`
	CustomQuery      *bool  `json:"customQuery"`
	Fields           struct {
		Stream     string
		StreamType string `json:"stream_type"`
		X, Y, Z    []axis
		Breakdown  []axis
		Filter     *struct {
			FilterType      string `json:"filterType"`
			LogicalOperator string `json:"logicalOperator"`
			Conditions      []json.RawMessage
		}
	}
	Config *struct {
		PromqlLegend *string `json:"promql_legend"`
	}
}

type axis struct {
	Label, Alias, Type string
	Color              *string
	IsDerived          bool `json:"isDerived"`
}

type variable struct {
	Type, Name, Label string
	QueryData         struct {
		StreamType    string `json:"stream_type"`
		Stream, Field string
		MaxRecordSize int `json:"max_record_size"`
		Filter        []json.RawMessage
	} `json:"query_data"`
	Value                        *json.RawMessage
	Options                      []json.RawMessage
	MultiSelect                  bool   `json:"multiSelect"`
	SelectAllValueForMultiSelect string `json:"selectAllValueForMultiSelect"`
	HideOnDashboard              bool   `json:"hideOnDashboard"`
	EscapeSingleQuotes           bool   `json:"escapeSingleQuotes"`
	Scope                        string
}

// What the server knows and our files may use. Lines and areas are not among it:
// they draw nothing between sparse points (contract §0.0).
var (
	panelTypes = []string{"metric", "bar", "h-bar", "stacked", "h-stacked", "table", "pie", "donut", "gauge"}
	units      = []string{"", "numbers", "milliseconds", "percent", "currency-dollar"}
)

const gridWidth = 192

// problems lists what in a file goes against the rules.
func problems(file []byte) (all []error) {
	wrong := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	var d dashboard
	decoder := json.NewDecoder(bytes.NewReader(file))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return []error{err}
	}
	if d.Version != 8 || d.DashboardID != "" || d.Title == "" || d.Description == "" {
		wrong("version 8, no dashboardId, a title and a description: %d %q %q %q", d.Version, d.DashboardID, d.Title, d.Description)
	}
	if strings.Contains(d.Description, "[flightlog") {
		wrong("the mark is put in when it is provisioned")
	}
	seen := map[string]bool{}
	once := func(kind, name string) {
		if name == "" || seen[kind+name] {
			wrong("%s %q is empty or there twice", kind, name)
		}
		seen[kind+name] = true
	}
	variables := map[string]bool{}
	for _, v := range d.Variables.List {
		once("variable", v.Name)
		variables[v.Name] = false
		if v.Type != "query_values" || !v.MultiSelect || v.SelectAllValueForMultiSelect != "all" || !v.EscapeSingleQuotes || v.Scope != "global" {
			wrong("variable %s: must offer several values of the stream, all by default, with quotes escaped", v.Name)
		}
		if v.QueryData.Field != v.Name || v.QueryData.StreamType != "logs" || columnsOf(v.QueryData.Stream)[v.QueryData.Field] == "" {
			wrong("variable %s: there is no column %s in the stream %s", v.Name, v.QueryData.Field, v.QueryData.Stream)
		}
	}
	for _, tab := range d.Tabs {
		once("tab", tab.TabID)
		taken := map[[2]int]string{}
		numbers := map[int]bool{}
		for _, p := range tab.Panels {
			once("panel", p.ID)
			once("title", p.Title)
			for _, err := range p.problems(variables) {
				wrong("panel %s: %w", p.ID, err)
			}
			l := p.Layout
			if l == nil || l.X == nil || l.Y == nil || l.W == nil || l.H == nil || l.I == nil {
				wrong("panel %s: a layout has x, y, w, h and i", p.ID)
				continue
			}
			if *l.X < 0 || *l.Y < 0 || *l.W < 1 || *l.H < 1 || *l.X+*l.W > gridWidth || numbers[*l.I] {
				wrong("panel %s: layout outside of %d columns, or i %d is there twice", p.ID, gridWidth, *l.I)
			}
			numbers[*l.I] = true
			for x := *l.X; x < *l.X+*l.W; x++ {
				for y := *l.Y; y < *l.Y+*l.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" && other != p.ID {
						wrong("panel %s lies on panel %s", p.ID, other)
						x, y = gridWidth, 1<<20
						continue
					}
					taken[[2]int{x, y}] = p.ID
				}
			}
		}
	}
	for name, used := range variables {
		if !used {
			wrong("variable %s is not used", name)
		}
	}
	return all
}

// columnsOf are the columns of a stream with default names; nil if there is none.
func columnsOf(stream string) map[string]string {
	for _, topic := range delivery.Topics {
		if (&openobserve.Config{}).StreamName(topic) != stream {
			continue
		}
		columns, err := openobserve.Columns(topic)
		if err != nil {
			return nil
		}
		types := map[string]string{"_timestamp": "Int64"}
		for _, c := range columns {
			types[c.Name] = c.Type
		}
		return types
	}
	return nil
}

func (p *panel) problems(variables map[string]bool) (all []error) {
	wrong := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	if !slices.Contains(panelTypes, p.Type) {
		wrong("type %q: must be of %v", p.Type, panelTypes)
	}
	if p.Title == "" || p.Description == "" || p.QueryType != "sql" || p.Config.ShowLegends == nil || !slices.Contains(units, p.Config.Unit) {
		wrong("title, description, queryType sql, show_legends and a unit that is known: %q %q %q %q", p.Title, p.Description, p.QueryType, p.Config.Unit)
	}
	if len(p.Queries) != 1 {
		wrong("%d queries", len(p.Queries))
		return all
	}
	q := &p.Queries[0]
	f := &q.Fields
	if q.CustomQuery == nil || !*q.CustomQuery || q.Config == nil || q.Config.PromqlLegend == nil || f.StreamType != "logs" ||
		f.Filter == nil || f.Filter.FilterType != "group" || f.Filter.LogicalOperator == "" || f.X == nil || f.Y == nil {
		wrong("customQuery, config.promql_legend, stream_type logs, x, y and a filter are required")
	}
	x, y, b := len(f.X), len(f.Y), len(f.Breakdown)
	fits := map[string]bool{
		"metric": x == 0 && y == 1 && b == 0, "table": x+y > 0 && b == 0, "bar": x == 1 && y > 0, "h-bar": x == 1 && y > 0,
		"stacked": x == 1 && y == 1 && b == 1, "h-stacked": x == 1 && y == 1 && b == 1,
		"pie": x == 1 && y == 1, "donut": x == 1 && y == 1, "gauge": y == 1,
	}
	if !fits[p.Type] {
		wrong("%d x, %d y and %d breakdowns do not make a %s", x, y, b, p.Type)
	}
	var aliases []string
	for _, a := range slices.Concat(f.X, f.Y, f.Z, f.Breakdown) {
		aliases = append(aliases, a.Alias)
		if a.Label == "" || a.Type != "custom" || a.IsDerived {
			wrong("axis %s: must have a label and be custom", a.Alias)
		}
	}
	parsed, err := parse(q.Query)
	if err != nil {
		wrong("%w", err)
		return all
	}
	if outputs := slices.Sorted(slices.Values(parsed.outputs)); !slices.Equal(outputs, slices.Sorted(slices.Values(aliases))) {
		wrong("the query gives %v, the axes are %v", outputs, aliases)
	}
	list := parsed.all()
	if stream := list[len(list)-1].stream; stream != f.Stream {
		wrong("it reads %s and says %s", stream, f.Stream)
	}
	return append(append(all, parsed.problems()...), placeholders(q.Query, variables)...)
}

var (
	placeholderPattern = regexp.MustCompile(`\$\{?(\w+)`)
	filterPattern      = regexp.MustCompile(`COALESCE\("?(\w+)"?, ''\) IN \(\$\{(\w+):singlequote\}\)`)
)

// placeholders checks that variables stand in filters only, and take rows in
// which the column is not known for ones with an empty text: with a plain IN
// nobody could choose them.
func placeholders(sql string, variables map[string]bool) (all []error) {
	filters := filterPattern.FindAllStringSubmatch(sql, -1)
	if n := len(placeholderPattern.FindAllString(sql, -1)); n != len(filters) {
		all = append(all, fmt.Errorf("%d of %d placeholders stand as COALESCE(column, '') IN (${column:singlequote})", len(filters), n))
	}
	for _, f := range filters {
		if _, ok := variables[f[2]]; !ok || f[1] != f[2] {
			all = append(all, fmt.Errorf("%s is compared with the variable %s", f[1], f[2]))
			continue
		}
		variables[f[2]] = true
	}
	for _, name := range []string{"repo", "team", "user"} {
		if !strings.Contains(sql, "${"+name+":singlequote}") {
			all = append(all, fmt.Errorf("the variable %s does not filter it", name))
		}
	}
	return all
}

// measures stand on rows of one kind (DESIGN §4).
var measures = map[string]string{
	"token_input": "model_request", "token_output": "model_request", "token_cache_read": "model_request",
	"token_cache_write_5m": "model_request", "token_cache_write_1h": "model_request",
	"cost_nano_usd": "model_request", "cost_nano_usd_max": "model_request", "cost_contracted_nano_usd": "model_request",
	"cost_grade": "model_request", "billing": "model_request", "model": "model_request",
	"lines_added": "file_change", "lines_removed": "file_change", "approval_wait_ms": "approval", "tool_cost_nano_usd": "tool_call",
	"tool_name": "tool_call",
}

// never are columns that no query adds up: a float beside the exact figure, the
// client's figure, a part of another measure.
var never = []string{"cost_usd", "cost_client_usd", "token_thinking"}

var aggregates = []string{"SUM", "COUNT", "MIN", "MAX", "AVG", "approx_percentile_cont", "median"}

// problems of a query: what makes it count a row twice, take a retraction for a
// fact, or name what is not there.
func (q *query) problems() (all []error) {
	wrong := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	list := q.all()
	inner := list[len(list)-1]
	columns := columnsOf(inner.stream)
	if columns == nil {
		wrong("there is no stream %s", inner.stream)
		return all
	}

	// The server runs a query once over the whole time only if it sees an
	// aggregate: a GROUP BY outside, or an aggregate that stands in no other call.
	if len(q.group) == 0 && !slices.ContainsFunc(q.items, func(i item) bool { return standsAlone(i.tokens) }) {
		wrong("the outermost SELECT must group or have an aggregate that is in no other function")
	}

	// Names.
	for n, s := range list {
		known := func(name string) bool {
			if s.within != nil {
				return slices.Contains(s.within.outputs, name)
			}
			return columns[name] != ""
		}
		for _, i := range s.items {
			for _, name := range namesOf(i.tokens, wrong) {
				if !known(name) {
					wrong("SELECT %d names %s, which is not there", n, name)
				}
			}
		}
		for _, name := range namesOf(s.where, wrong) {
			if !known(name) {
				wrong("WHERE of SELECT %d names %s, which is not there", n, name)
			}
		}
		for _, name := range namesOf(slices.Concat(s.group, s.having, s.rest), wrong) {
			if !known(name) && !slices.Contains(s.outputs, name) {
				wrong("SELECT %d groups or orders by %s, which is not there", n, name)
			}
		}
	}

	// One row for each row_id.
	if key := text(inner.group); key != "row_id" && key != "row_id , _timestamp" {
		wrong("the SELECT from the stream groups by %q, not by row_id", key)
	}
	for _, i := range inner.items {
		if i.name != "row_id" && i.name != "_timestamp" && (len(i.tokens) < 4 || i.tokens[0] != "MAX" || len(calls(i.tokens, "MAX")[0])+3 != len(i.tokens)) {
			wrong("of a row_id %s is not taken by MAX", text(i.tokens))
		}
	}
	if !slices.Contains(inner.outputs, "sign") {
		wrong("it takes no sign")
	}
	for _, s := range list[:len(list)-1] {
		if s.within == inner && !strings.Contains(text(slices.Concat(flat(s.items), s.having, s.where)), "sign") {
			wrong("it does not use the sign")
		}
		for _, sum := range calls(slices.Concat(flat(s.items), s.having, s.rest), "SUM") {
			if sum[0] != "sign" || len(sum) > 1 && sum[1] != "*" {
				wrong("SUM(%s) is not signed", text(sum))
			}
		}
		standing := s.within != nil && text(s.within.having) == "SUM ( sign ) > 0"
		if len(calls(flat(s.items), "COUNT")) > 0 && !standing {
			wrong("COUNT counts retractions: SUM(sign) counts facts")
		}
		for _, aggregate := range []string{"MIN", "MAX", "AVG", "approx_percentile_cont", "median"} {
			if len(calls(flat(s.items), aggregate)) > 0 && !latestOnly(s) {
				wrong("%s cannot be signed: it needs the facts' latest rows", aggregate)
			}
		}
	}

	// Measures.
	where := text(inner.where)
	kind := regexp.MustCompile(`\b(?:kind|family) = '(\w+)'`).FindStringSubmatch(where)
	if kind == nil {
		wrong("it is not about one kind")
		return all
	}
	used, _ := names(slices.Concat(flat(inner.items), inner.where))
	for _, name := range used {
		if on := measures[name]; on != "" && on != kind[1] {
			wrong("%s stands on rows of kind %s, not %s", name, on, kind[1])
		}
		if slices.Contains(never, name) {
			wrong("%s is not for adding up", name)
		}
	}
	if money := regexp.MustCompile(`SUM \( sign \* cost_\w+`); money.MatchString(text(flat(q.items))) {
		split := slices.ContainsFunc(q.items, func(i item) bool {
			return slices.Contains(i.tokens, "billing") && slices.ContainsFunc(q.group, func(t string) bool { return unquoted(t) == i.name })
		})
		if !split {
			wrong("kinds of billing are added up in one sum of money")
		}
		for _, i := range q.items {
			if money.MatchString(text(i.tokens)) && !strings.Contains(where, "cost_nano_usd IS NOT NULL") &&
				!strings.HasPrefix(text(i.tokens), "CASE WHEN SUM ( sign * priced ) > 0 THEN") {
				wrong("%s is zero where nothing is priced", i.name)
			}
		}
	}
	return all
}

// latestOnly tells a query that takes of each fact the row that stands now: the
// one of the highest version, if it asserts.
func latestOnly(s *query) bool {
	return s.within != nil && strings.HasPrefix(text(s.where), "place = 1 AND sign = 1") &&
		slices.ContainsFunc(s.within.items, func(i item) bool {
			return i.name == "place" && text(i.tokens) == "ROW_NUMBER ( ) OVER ( PARTITION BY fact_key ORDER BY version DESC , sign DESC )"
		})
}

// standsAlone tells an aggregate that is in no call of another function.
func standsAlone(tokens []string) bool {
	depth := 0
	for i, t := range tokens {
		switch {
		case depth == 0 && slices.Contains(aggregates, t) && i+1 < len(tokens) && tokens[i+1] == "(":
			return true
		case t == "(":
			depth++
		case t == ")":
			depth--
		}
	}
	return false
}

func flat(items []item) (tokens []string) {
	for _, i := range items {
		tokens = append(append(tokens, i.tokens...), ",")
	}
	return tokens
}

func namesOf(tokens []string, wrong func(string, ...any)) []string {
	columns, err := names(tokens)
	if err != nil {
		wrong("%w", err)
	}
	return columns
}

func TestDashboardsKeepTheRules(t *testing.T) {
	all := deployed.Dashboards()
	if all["overview"] == nil {
		t.Errorf("the overview is not among %d dashboards", len(all))
	}
	for name, file := range all {
		for _, err := range problems(file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTheRulesTellRightFromWrong breaks the overview in many ways.
func TestTheRulesTellRightFromWrong(t *testing.T) {
	file := string(deployed.Dashboards()["overview"])
	for _, c := range []struct{ from, to, want string }{
		{`"type": "stacked"`, `"type": "area-stacked"`, "must be of"},
		{`"type": "stacked"`, `"type": "metric"`, "do not make a metric"},
		{`"title": "Prompts"`, `"titel": "Prompts"`, "unknown field"},
		{`"customQuery": true,`, ``, "required"},
		{`{"promql_legend": ""}`, `{}`, "required"},
		{`"layout": {"x": 32,`, `"layout": {"x": 31,`, "lies on panel"},
		{`"layout": {"x": 160,`, `"layout": {"x": 161,`, "outside of 192"},
		{`"i": 2}`, `"i": 1}`, "there twice"},
		{`"alias": "y_axis_1"`, `"alias": "y_axis_9"`, "the axes are"},
		{`FROM \"flightlog_enriched\"`, `FROM \"flightlog_rows\"`, "there is no stream flightlog_rows"},
		{`MAX(token_input) AS token_input`, `MAX(token_inputs) AS token_input`, "token_inputs, which is not there"},
		{`GROUP BY row_id) AS one`, `GROUP BY fact_key) AS one`, "not by row_id"},
		{`MAX(session_id) AS session_id`, `session_id`, "is not taken by MAX"},
		{`SELECT SUM(sign) AS \"y_axis_1\"`, `SELECT COUNT(*) AS \"y_axis_1\"`, "COUNT counts retractions"},
		{`SELECT SUM(sign) AS \"y_axis_1\"`, `SELECT COALESCE(SUM(sign), 0) AS \"y_axis_1\"`, "in no other function"},
		{`SUM(sign * token_output)`, `SUM(token_output)`, "is not signed"},
		{`place = 1 AND sign = 1`, `place = 1`, "cannot be signed"},
		{`COALESCE(\"user\", '') IN`, `COALESCE(user, '') IN`, "must be in quotes"},
		{`COALESCE(team, '') IN (${team:singlequote})`, `team IN (${team:singlequote})`, "placeholders stand as"},
		{`COALESCE(team, '') IN (${team:singlequote})`, `COALESCE(team, '') IN (${repo:singlequote})`, "compared with the variable repo"},
		{`COALESCE(repo, '(none)') || ' (' || COALESCE(billing, 'unknown') || ')'`, `COALESCE(repo, '(none)')`, "added up in one sum of money"},
		{`SUM(sign * cost_nano_usd) / 1e9`, `SUM(sign * cost_usd)`, "cost_usd"},
		{`MAX(tool_name) AS tool_name FROM \"flightlog_enriched\" WHERE kind = 'tool_call'`, `MAX(tool_name) AS tool_name FROM \"flightlog_enriched\" WHERE kind = 'model_request'`, "tool_name stands on rows of kind tool_call"},
		{`CASE WHEN SUM(sign * priced) > 0 THEN SUM(sign * cost_nano_usd) / 1e9 END`, `SUM(sign * cost_nano_usd) / 1e9`, "zero where nothing is priced"},
		{`"multiSelect": true`, `"multiSelect": false`, "several values"},
		{`"dashboardId": ""`, `"dashboardId": "7"`, "no dashboardId"},
	} {
		changed := strings.Replace(file, c.from, c.to, 1)
		if changed == file {
			t.Errorf("%s is not there to be broken", c.from)
			continue
		}
		if got := errors.Join(problems([]byte(changed))...); got == nil || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%s -> %s: %v, want %q", c.from, c.to, got, c.want)
		}
	}
	if columnsOf((&openobserve.Config{}).StreamName(broker.Enriched))["cost_nano_usd"] != "Int64" {
		t.Error("the columns of the stream of enriched are not known")
	}
}
