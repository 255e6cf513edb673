package o2test_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// manage sends a request of management and wants a status.
func manage(t *testing.T, s *o2test.Server, method, path, body string, status int) string {
	t.Helper()
	r := send(t, s, ask{method: method, path: path, body: body})
	if r.status != status {
		t.Errorf("%s %s: %v, want %d", method, path, r, status)
	}
	return r.body
}

func TestStreamsAreMadeChangedAndDeleted(t *testing.T) {
	s := start(t, still(o2test.Config{ColumnLimit: 2}))
	const cc = "/api/default/streams/cc"
	manage(t, s, "GET", cc+"/schema", "", 404)
	manage(t, s, "PUT", cc+"/settings", `{}`, 404)
	manage(t, s, "DELETE", cc, "", 404)
	manage(t, s, "POST", "/api/default/streams/CC?type=logs", `{"fields":[{"name":"a","type":"Int64"},{"name":"b","type":"Utf8"}],
		"settings":{"partition_keys":[{"field":"b","types":"value"}],"bloom_filter_fields":["b"],"data_retention":3}}`, 200)
	// More columns than the limit are fine when they are those of the stream (§1.6).
	ingest(t, s, "cc", `{"a":1,"b":"x"}`)
	if r := post(t, s, "/api/default/cc/_json", `{"a":1,"c":1}`); r.body != counted(0, 0, "") {
		t.Errorf("%v, want that all is lost", r)
	}
	manage(t, s, "PUT", cc+"/settings?type=logs", `{"bloom_filter_fields":{"add":["a","a"],"remove":["b","z"]},"index_fields":{"add":["a"]},"max_query_range":5}`, 200)
	schema := manage(t, s, "GET", cc+"/schema?type=logs", "", 200)
	for path, want := range map[string]string{
		"schema":                       `[{"name":"a","type":"Int64"},{"name":"b","type":"Utf8"},{"name":"_timestamp","type":"Int64"}]`,
		"settings.partition_keys":      `{"L0":{"field":"b","types":"value"}}`,
		"settings.bloom_filter_fields": `["a"]`,
		"settings.data_retention":      `3`,
		"settings.max_query_range":     `5`,
		"settings.index_updated_at":    fmt.Sprint(noon.UnixMicro()),
		"total_fields":                 `3`,
	} {
		if got := gjson.Get(schema, path).Raw; got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	ingest(t, s, "ca", `{"a":1}`)
	ingest(t, s, "zz", `{"a":1}`)
	for query, want := range map[string]string{
		"":                            `["ca","cc","zz"] 3 []`,
		"&keyword=c":                  `["ca","cc"] 2 []`,
		"&offset=1&limit=1":           `["cc"] 3 []`,
		"&offset=9":                   `[] 3 `,
		"&keyword=z&fetchSchema=true": `["zz"] 1 [{"name":"_timestamp","type":"Int64"},{"name":"a","type":"Int64"}]`,
	} {
		list := manage(t, s, "GET", "/api/default/streams?type=logs"+query, "", 200)
		if got := gjson.Get(list, "list.#.name").Raw + " " + gjson.Get(list, "total").Raw + " " + gjson.Get(list, "list.0.schema").Raw; got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if got := gjson.Get(manage(t, s, "GET", "/api/default/streams?type=metrics", "", 200), "list").Raw; got != `[]` {
		t.Errorf("metrics: %s", got)
	}
	search(t, s, `SELECT a FROM cc`)
	manage(t, s, "DELETE", cc+"?type=logs&delete_all=true", "", 200)
	if r := ranged(t, s, `SELECT a FROM cc`, day); gjson.Get(r.body, "code").Int() != 20002 {
		t.Errorf("a search in a deleted stream: %v", r)
	}
	ingest(t, s, "cc", `{"n":1}`)
	if got := search(t, s, `SELECT * FROM cc`).Get("#.n").Raw; got != `[1]` || s.Count("cc") != 1 {
		t.Errorf("the new stream has %s", got)
	}
}

func TestManagementWantsJSONOfTheRightTypes(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	for path, wrong := range map[string]string{"/api/default/streams/cc": `{"fields":{}}`, "/api/v2/default/folders/dashboards": `{"name":1}`} {
		manage(t, s, "POST", path, `{`, 400)
		manage(t, s, "POST", path, wrong, 422)
		if r := send(t, s, ask{path: path, body: `{}`, header: map[string]string{"Content-Type": "text/plain"}}); r.status != 415 {
			t.Errorf("%s: %v, want 415", path, r)
		}
	}
}

const panel = `{"id":"p","type":"line","title":"t","description":"","config":{"show_legends":true,"decimals":2,"from_head":1},"queries":[],"layout":{"x":0,"y":0,"w":1,"h":1,"i":1},"from_head":{}}`

func dashboard(title, panel string) string {
	return fmt.Sprintf(`{"title":%q,"dashboardId":"mine","tabs":[{"tabId":"a","name":"a","panels":[%s]}],"from_head":1}`, title, panel)
}

func TestDashboardsAreMadeChangedAndDeleted(t *testing.T) {
	s := start(t, still(o2test.Config{Orgs: []string{"other"}}))
	const all, folders = "/api/default/dashboards", "/api/v2/default/folders/dashboards"
	folder := gjson.Get(manage(t, s, "POST", folders, `{"name":"Ours"}`, 200), "folderId").Str
	manage(t, s, "GET", folders+"/name/Theirs", "", 404)
	manage(t, s, "GET", "/api/v2/other/folders/dashboards/name/Ours", "", 404)
	manage(t, s, "PUT", folders+"/"+folder, `{"name":"Ours","description":"d"}`, 200)
	if got := gjson.Get(manage(t, s, "GET", folders, "", 200), "list").Raw; got != fmt.Sprintf(`[{"folderId":"default","name":"default","description":""},{"folderId":%q,"name":"Ours","description":"d"}]`, folder) {
		t.Errorf("folders %s", got)
	}

	made := manage(t, s, "POST", all+"?folder="+folder, dashboard("One", panel), 200)
	id, hash := gjson.Get(made, "v8.dashboardId").Str, gjson.Get(made, "hash").Str
	want := `{"version":8,"dashboardId":"` + id + `","title":"One","role":"","owner":"root@example.com","created":"2026-01-01T12:00:00Z","tabs":[{"tabId":"a","name":"a","panels":[` +
		`{"id":"p","type":"line","title":"t","description":"","config":{"show_legends":true,"decimals":2.0,"base_map":null,"map_view":null},"queries":[],"layout":{"x":0,"y":0,"w":1,"h":1,"i":1}}]}]}`
	if got := gjson.Get(made, "v8").Raw; got != want || id == "mine" {
		t.Errorf("it is stored as\n%s, want\n%s", got, want)
	}
	other := gjson.Get(manage(t, s, "POST", all, dashboard("Two", panel), 200), "v8.dashboardId").Str
	five := gjson.Get(manage(t, s, "POST", all, `{"version":5,"title":"Five","kept":1}`, 200), "v5.kept").Int()
	if five != 1 {
		t.Error("one of version 5 is not kept as it is")
	}
	for query, want := range map[string]string{"": `["One","Two","Five"]`, "?folder=" + folder: `["One"]`, "?folder=default": `["Two","Five"]`, "?title=wo": `["Two"]`, "?pageSize=1": `["One"]`} {
		if got := gjson.Get(manage(t, s, "GET", all+query, "", 200), "dashboards.#.title").Raw; got != want {
			t.Errorf("%s lists %s, want %s", query, got, want)
		}
	}
	manage(t, s, "GET", all+"?folder=nosuch", "", 404)

	put := all + "/" + id + "?folder=" + folder
	manage(t, s, "PUT", put, dashboard("Uno", panel), 500) // without the hash
	manage(t, s, "PUT", put+"&hash=1", dashboard("Uno", panel), 409)
	manage(t, s, "PUT", all+"/nosuch?folder="+folder+"&hash="+hash, dashboard("Uno", panel), 500)
	changed := manage(t, s, "PUT", put+"&hash="+hash, dashboard("Uno", panel), 200)
	manage(t, s, "PUT", put+"&hash="+hash, dashboard("Un", panel), 409)
	manage(t, s, "PUT", put+"&hash="+gjson.Get(changed, "hash").Str, dashboard(" ", panel), 500)
	if got := manage(t, s, "GET", all+"/"+id, "", 200); got != changed || gjson.Get(got, "v8.title").Str != "Uno" {
		t.Errorf("%s, want %s", got, changed)
	}
	manage(t, s, "DELETE", folders+"/"+folder, "", 400) // it is not empty
	manage(t, s, "DELETE", all+"/"+id+"?folder="+folder, "", 200)
	manage(t, s, "DELETE", all+"/"+id+"?folder="+folder, "", 404)
	manage(t, s, "GET", all+"/"+id, "", 404)
	manage(t, s, "GET", "/api/other/dashboards/"+other, "", 404)
	manage(t, s, "DELETE", folders+"/"+folder, "", 200)
	manage(t, s, "GET", folders+"/"+folder, "", 404)
}

// TestADashboardOfAnotherShapeIsRefused is contract §6.1.
func TestADashboardOfAnotherShapeIsRefused(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	without := func(old, new string) string { return dashboard("t", strings.Replace(panel, old, new, 1)) }
	for body, want := range map[string]string{
		`[]`:                                "invalid type: sequence, expected an object",
		`{"tabs":[]}`:                       "missing field `title`",
		`{"title":1}`:                       "invalid type: number, expected a string",
		`{"title":"t","tabs":{}}`:           "invalid type: map, expected a sequence",
		`{"title":"t","version":9}`:         "unsupported dashboard version",
		without(`"type":"line",`, ``):       "missing field `type`",
		without(`"queries":[],`, ``):        "missing field `queries`",
		without(`"show_legends":true,`, ``): "missing field `show_legends`",
		without(`true`, `"yes"`):            "invalid type: string, expected a boolean",
		without(`"i":1`, `"i":"1"`):         "invalid type: string, expected a number",
		without(`"queries":[]`, `"queries":[{"customQuery":true,"config":{"promql_legend":""},"fields":{"stream":"s"}}]`): "missing field `stream_type`",
	} {
		if got := manage(t, s, "POST", "/api/default/dashboards", body, 422); got != "Failed to deserialize the JSON body into the target type: "+want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestConfigTellsTheVersion(t *testing.T) {
	for p, want := range map[o2test.Profile]string{o2test.V060: "v0.60.5", o2test.V093: "v0.93.0"} {
		s := start(t, still(o2test.Config{Profile: p}))
		if got := gjson.Get(manage(t, s, "GET", "/config", "", 200), "version").Str; got != want {
			t.Errorf("version %s, want %s", got, want)
		}
	}
}
