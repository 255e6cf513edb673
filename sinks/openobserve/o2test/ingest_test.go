package o2test_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

const (
	tooOld = "Too old data, only last 5 hours data can be ingested. Data discarded. You can adjust ingestion max time by setting the environment variable ZO_INGEST_ALLOWED_UPTO=<max_hours>"
	tooFar = "Too far data, only future 24 hours data can be ingested. Data discarded. You can adjust ingestion max time by setting the environment variable ZO_INGEST_ALLOWED_IN_FUTURE=<max_hours>"
)

// counted is the answer of _json and _multi.
func counted(successful, failed int, problem string) string {
	if problem != "" {
		problem = fmt.Sprintf(`,"error":"%s"`, problem)
	}
	return fmt.Sprintf(`{"code":200,"status":[{"name":"cc","successful":%d,"failed":%d%s}]}`, successful, failed, problem)
}

func failure(code int, text string) string {
	return fmt.Sprintf(`{"code":%d,"message":"%s"}`, code, text)
}

// TestEdgeCasesThatNoExchangeShows are rows of contract §12 that the recording
// does not have, or has of one version only.
func TestEdgeCasesThatNoExchangeShows(t *testing.T) {
	const hour = 3_600_000_000
	now := noon.UnixMicro()
	at := func(micros int64) string { return fmt.Sprintf(`[{"_timestamp":%d,"row_id":"a"}]`, micros) }
	lines := func(lines ...string) string { return strings.Join(lines, "\n") }
	both := []o2test.Profile{o2test.V060, o2test.V093}
	old, head := both[:1], both[1:]
	for _, c := range []struct {
		row      string
		profiles []o2test.Profile
		config   o2test.Config
		ask      ask
		status   int
		body     string
		rows     int // stored of cc
	}{
		{"8: just in the window", both, o2test.Config{}, ask{body: at(now - 5*hour)}, 200, counted(1, 0, ""), 1},
		{"8: just too old", both, o2test.Config{}, ask{body: at(now - 5*hour - 1)}, 200, counted(0, 1, tooOld), 0},
		{"8: just not too far", both, o2test.Config{}, ask{body: at(now + 24*hour)}, 200, counted(1, 0, ""), 1},
		{"8: just too far", both, o2test.Config{}, ask{body: at(now + 24*hour + 1)}, 200, counted(0, 1, tooFar), 0},
		{"8: of another window", both, o2test.Config{AllowedUpTo: 30}, ask{body: at(now - 31*hour)}, 200,
			counted(0, 1, strings.Replace(tooOld, "5 hours", "30 hours", 1)), 0},
		{"15", both, o2test.Config{}, ask{body: ""}, 400, failure(400, "SerdeJsonError# EOF while parsing a value at line 1 column 0"), 0},
		{"16: behind a good record", both, o2test.Config{}, ask{body: "[{\"a\":1},\n {\"b\":1,}]"}, 400,
			failure(400, "SerdeJsonError# trailing comma at line 2 column 9"), 0},
		{"16: no end", both, o2test.Config{}, ask{body: `{"a":1} x`}, 400, failure(400, "SerdeJsonError# trailing characters at line 1 column 9"), 0},
		{"17", old, o2test.Config{}, ask{body: `[{"a":1}, 7]`}, 400, failure(400, "Error# flatten value must be an object"), 0},
		{"18", head, o2test.Config{}, ask{body: `[{"a":1}, 7]`}, 200, counted(1, 1, "flatten value must be an object"), 1},
		{"19", old, o2test.Config{}, ask{body: `"x"`}, 400, failure(400, "Error# flatten value must be an object"), 0},
		{"19", head, o2test.Config{}, ask{body: `"x"`}, 200, counted(0, 1, "flatten value must be an object"), 0},
		{"21", both, o2test.Config{}, ask{path: "/api/default/cc/_multi", body: "{\"a\":1}\n{\"a\":tru}\n"}, 400,
			failure(400, `Error# Failed processing: JsonError(Error(\"expected ident\", line: 1, column: 9))`), 0},
		{"22: a number", both, o2test.Config{}, ask{body: `[{"a":1},{"_id":5}]`}, 0, "", 0},
		{"22: nested, then flat", both, o2test.Config{}, ask{body: `[{"_id":true,"a":{"b":1}}]`}, 0, "", 0},
		{"22: on _multi", both, o2test.Config{}, ask{path: "/api/default/cc/_multi", body: `{"_id":5}`}, 0, "", 0},
		{"22: a text is none", both, o2test.Config{}, ask{body: `[{"_id":"5"}]`}, 200, counted(1, 0, ""), 1},
		{"29: the union counts", both, o2test.Config{ColumnLimit: 3}, ask{body: `[{"a":1,"b":1},{"c":1}]`}, 200, counted(0, 0, ""), 0},
		{"29: up to the limit", both, o2test.Config{ColumnLimit: 4}, ask{body: `[{"a":1,"b":1},{"c":1}]`}, 200, counted(2, 0, ""), 2},
		{"29: refused records do not count", both, o2test.Config{ColumnLimit: 3}, ask{body: `[{"a":1,"b":1},{"c":1,"_timestamp":1}]`}, 200, counted(1, 1, tooOld), 1},
		{"30", both, o2test.Config{Faults: o2test.Faults{DiskFull: true}}, ask{body: `[{"a":1},{"a":2}]`}, 200, counted(2, 0, ""), 0},
		{"31", both, o2test.Config{Faults: o2test.Faults{Overflow: 1}}, ask{body: `[{"a":1}]`}, 503, failure(503, "Error# MemoryTableOverflowError"), 0},
		{"32: memory", both, o2test.Config{Faults: o2test.Faults{MemoryBreaker: 1}}, ask{body: `[{"a":1}]`}, 503, failure(503, "Error# MemoryCircuitBreakerError"), 0},
		{"32: disk", both, o2test.Config{Faults: o2test.Faults{DiskBreaker: 1}}, ask{body: `[{"a":1}]`}, 503, failure(503, "Error# DiskCircuitBreakerError"), 0},
		{"33", both, o2test.Config{Faults: o2test.Faults{Deleting: true}}, ask{body: `[{"a":1}]`}, 400, failure(400, "Error# stream [cc] is being deleted"), 0},
		{"34", both, o2test.Config{Faults: o2test.Faults{Blocked: true}}, ask{body: `[{"a":1}]`}, 400, failure(400, "Error# Quota exceeded for this organization [default]"), 0},
		{"35", both, o2test.Config{Faults: o2test.Faults{NotIngester: true}}, ask{body: `[{"a":1}]`}, 400, failure(400, "Error# not an ingester"), 0},
		{"53", old, o2test.Config{}, ask{path: "/api/default/_bulk", body: lines(`7`, `{"index":{"_index":"cc"}}`, `{}`)}, 0, "", 0},
		{"53", head, o2test.Config{}, ask{path: "/api/default/_bulk", body: lines(`7`, `{"index":{"_index":"cc"}}`, `{}`)}, 200,
			`{"took":0,"errors":false,"items":[` + item("cc", "") + `]}`, 1},
		{"54: its record is skipped, too", both, o2test.Config{},
			ask{path: "/api/default/_bulk", body: lines(`{"delete":{"_index":"cc"}}`, `{"a":1}`, `{"update":{"_index":"cc","_id":"1"}}`, `{"a":1}`)}, 200,
			`{"took":0,"errors":false,"items":[` + item("cc", "1") + `]}`, 1},
		{"51: the whole request", both, o2test.Config{}, ask{path: "/api/default/_bulk", body: lines(`{"index":{"_index":"cc"}}`, `{"a":1}`, `{"a"`)}, 400,
			failure(400, "SerdeJsonError# EOF while parsing an object at line 1 column 4"), 0},
		{"57", both, o2test.Config{ColumnLimit: 3}, ask{path: "/api/default/_bulk", body: lines(
			`{"index":{"_index":"cc","_id":"1"}}`, `{"a":1,"b":1,"c":1}`, `{"index":{"_index":"ok","_id":"2"}}`, `{"a":1}`)}, 200,
			`{"took":0,"errors":false,"items":[` + item("ok", "2") + `]}`, 0},
		{"58", both, o2test.Config{Faults: o2test.Faults{BulkOverflow: true}}, ask{path: "/api/default/_bulk", body: lines(
			`{"index":{"_index":"cc","_id":"1"}}`, `{"a":1}`, `{"index":{"_index":"dd","_id":"2"}}`, `{"a":1}`)}, 200,
			`{"took":0,"errors":true,"items":[` + item("cc", "1") + `,{"index":{"_index":"dd","_id":"","status":422,"error":{"type":"pipeline_execution_failed",` +
				`"reason":"Error# MemoryTableOverflowError","index_uuid":"0","shard":"1","index":"dd"},"originalRecord":null}}]}`, 1},
		{"61", both, o2test.Config{Faults: o2test.Faults{Overflow: 1}}, ask{path: "/api/default/_hec", body: `{"index":"cc","event":"x"}`}, 400,
			`{"text":"Incorrect index","code":400}`, 0},
		{"hec without an index", old, o2test.Config{}, ask{path: "/api/default/_hec", body: `{"event":"x"}`}, 400, `{"text":"Incorrect index","code":400}`, 0},
		{"hec that is fine", both, o2test.Config{}, ask{path: "/api/default/_hec", body: `{"index":"cc","time":1767268800,"fields":{"f":1},"event":{"e":2}}`}, 200,
			`{"text":"Success","code":200}`, 1},
		{"72", both, o2test.Config{Faults: o2test.Faults{Overflow: 1}}, ask{path: "/api/default/ingest/metrics/_json", body: `[]`}, 503,
			`{"code":503,"error":"Error# MemoryTableOverflowError"}`, 0},
		{"78", both, o2test.Config{Faults: o2test.Faults{NoIngester: 1}}, ask{body: `[{"a":1}]`}, 503, "No online ingester nodes", 0},
		{"79", both, o2test.Config{Faults: o2test.Faults{BadGateway: 1}}, ask{body: `[{"a":1}]`}, 502, "Proxy request failed: error sending request", 0},
		{"no name", both, o2test.Config{}, ask{path: "/api/default//_json", body: `[{"a":1}]`}, 400, failure(400, "Error# Stream name is empty"), 0},
		{"wrong method", both, o2test.Config{}, ask{method: "GET", path: "/api/default/cc/_json"}, 405, "", 0},
		{"what is out", both, o2test.Config{}, ask{path: "/api/default/v1/traces"}, 501, "o2test does not do POST /api/default/v1/traces", 0},
	} {
		for _, p := range c.profiles {
			c.config.Profile = p
			s := start(t, still(c.config))
			if c.ask.path == "" {
				c.ask.path = "/api/default/cc/_json"
			}
			r := send(t, s, c.ask)
			if r.status != c.status || r.status > 0 && r.body != c.body || s.Count("cc") != c.rows {
				t.Errorf("row %s, profile %d: %v and %d rows, want %d %s and %d", c.row, p, r, s.Count("cc"), c.status, c.body, c.rows)
			}
			if c.rows == 0 && slices.Contains(s.Streams(), "cc") {
				t.Errorf("row %s, profile %d: a stream was made", c.row, p)
			}
			if r.header.Get("Retry-After") != "" || r.status == 503 && r.header.Get("x-api-node") == "" {
				t.Errorf("row %s: headers %v", c.row, r.header)
			}
			s.Close()
		}
	}
}

// item is what _bulk says of a record that was stored.
func item(index, id string) string {
	return fmt.Sprintf(`{"index":{"_index":%q,"_id":%q,"_version":1,"result":"created","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":1,"_primary_term":1,"status":200}}`, index, id)
}

func TestBodiesAreDecodedAsTheVersionCan(t *testing.T) {
	body := []byte(`[{"a":1}]`)
	var gz, zl bytes.Buffer
	g, z := gzip.NewWriter(&gz), zlib.NewWriter(&zl)
	if _, err := g.Write(body); err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(body); err != nil {
		t.Fatal(err)
	}
	_, _ = g.Close(), z.Close()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zs := e.EncodeAll(body, nil)
	for _, c := range []struct {
		encoding string
		body     []byte
		statuses [2]int // of the two profiles
	}{
		{"gzip", gz.Bytes(), [2]int{200, 200}}, // row 37
		{"GZIP", gz.Bytes(), [2]int{200, 200}},
		{"gzip", gz.Bytes()[:gz.Len()-4], [2]int{400, 400}}, // row 38
		{"deflate", zl.Bytes(), [2]int{200, 200}},
		{"zstd", zs, [2]int{415, 200}}, // row 39
		{"identity", body, [2]int{200, 200}},
		{"snappy", body, [2]int{200, 200}}, // row 40: the bytes are taken as they are
		{"lz4", body, [2]int{415, 415}},
	} {
		for p, status := range c.statuses {
			s := start(t, still(o2test.Config{Profile: o2test.Profile(p)}))
			r := send(t, s, ask{path: "/api/default/cc/_json", body: string(c.body), header: map[string]string{"Content-Encoding": c.encoding}})
			want := map[bool]string{false: "gzip,deflate,br", true: "gzip,deflate,br,zstd"}[p == 1]
			if r.status != status || status == 415 && r.header.Get("Accept-Encoding") != want || (s.Count("cc") == 1) != (status == 200) {
				t.Errorf("%s, profile %d: %v with %q, want %d", c.encoding, p, r, r.header.Get("Accept-Encoding"), status)
			}
			if status == 400 && !strings.HasPrefix(r.body, "Failed to buffer the request body: ") {
				t.Errorf("%s: %s", c.encoding, r.body)
			}
		}
	}
}

// TestRecordsAreFlattened is contract §1.5. Each record comes without a time, and
// with one that alone would let it be stored as it is.
func TestRecordsAreFlattened(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	now := fmt.Sprintf(`"_timestamp":%d`, noon.UnixMicro())
	for i, c := range []struct{ record, want string }{
		{`{"a":null,"b":{"c":null,"d":1}}`, `"b_d":1`},
		{`{"a":null,"b":[]}`, ``},
		{`{"a":{}}`, ``},
		{`{"a":{"b":{"c":1}}}`, `"a_b_c":1`},
		{`{"a":{"b":{"c":{"z":1,"d":[2,{"e":"<&>"}]}}}}`, `"a_b_c":"{\"d\":[2,{\"e\":\"<&>\"}],\"z\":1}"`},
		{`{"a":[1.50,"x",{"z":1,"b":null}]}`, `"a":"[1.50,\"x\",{\"b\":null,\"z\":1}]"`},
		{`{"Foo.Bar":1,"foo-bar":2}`, `"foo_bar":2`},
		{`{"größe":1,"ÄPFEL":2,"中文":3,"x²":4,"a b":5}`, `"__":3,"a_b":5,"größe":1,"x²":4,"äpfel":2`},
		{`{"a":1,"a":2}`, `"a":2`},
		{`{"\u0061":1}`, `"a":1`},
		{`{"A":null,"big":18446744073709551616,"exp":1e400,"text":"\u00e4\n\ud83d\ude00"}`, `"a":null,"big":18446744073709551616,"exp":1e400,"text":"ä\n😀"`},
		{"{\"a\":\n1,\"b\":2}", `"a":1,"b":2`},
	} {
		stream := fmt.Sprintf("s%d", i)
		ingest(t, s, stream, c.record, strings.Replace(c.record, "{", "{"+now+",", 1))
		for _, row := range stored(s, stream) {
			var members []string
			gjson.Parse(row).ForEach(func(key, value gjson.Result) bool {
				if member := key.Raw + ":" + value.Raw; member != now {
					members = append(members, member)
				}
				return true
			})
			if got := strings.Join(members, ","); got != c.want || !strings.Contains(row, now) {
				t.Errorf("%s is stored as %s, want %s", c.record, row, c.want)
			}
		}
	}
	// Normal names make @timestamp a time, unless there is one.
	early := fmt.Sprintf(`timestamp":%d`, noon.UnixMicro()-7)
	ingest(t, s, "at", `{"@`+early+`}`, `{"@`+early+`,`+now+`}`)
	if got := stored(s, "at"); got[0] != `{"_`+early+`}` || got[1] != `{`+now+`}` {
		t.Errorf("@timestamp is stored as %q", got)
	}
}

// TestAFlatRecordIsStoredAsItIs: with a time in µs nothing of it is changed.
func TestAFlatRecordIsStoredAsItIs(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	flat := fmt.Sprintf(`{"z":1.50, "a":"\u0041","_timestamp":%d,"n":null,"b":-0}`, noon.UnixMicro())
	ingest(t, s, "cc", flat)
	if got := stored(s, "cc"); got[0] != flat {
		t.Errorf("%s, want %s", got[0], flat)
	}
}

// TestTimesOfAnyForm is contract §1.4.
func TestTimesOfAnyForm(t *testing.T) {
	const cannot = "Can't parse timestamp"
	at := noon.UnixMicro()
	for _, c := range []struct {
		value string
		want  int64
		err   string
	}{
		{`1767268800`, at, ""},
		{`1767268800123`, at + 123_000, ""},
		{`1767268800123456`, at + 123_456, ""},
		{`1767268800123456789`, at + 123_456, ""},
		{`"1767268800123"`, at + 123_000, ""},
		{`"1767268800.9"`, at, ""},
		{`1767268800.9`, at, ""},
		{`1.7672688e9`, at, ""},
		{`0`, at, ""},
		{`"0"`, at, ""},
		{`null`, at, ""},
		{`"2026-01-01 12:00:00"`, at, ""},
		{`"2026-01-01T12:00:00"`, at, ""},
		{`"2026-01-01T12:00:00.123"`, at + 123_000, ""},
		{`"2026-01-01T12:00:00.123456"`, at + 123_456, ""},
		{`"2026-01-01T12:00:00.12"`, 0, cannot},
		{`"2026-01-01T12:00:00Z"`, at, ""},
		{`"2026-01-01T13:00:00.5+01:00"`, at + 500_000, ""},
		{`"Thu, 01 Jan 2026 12:00:00 +0000"`, at, ""},
		{`""`, 0, cannot},
		{`"NaN"`, 0, cannot},
		{`"0x10"`, 0, cannot},
		{`true`, 0, cannot},
		{`[1]`, 0, cannot},
		{`-1`, 0, tooOld},
		{`-9223372036854775808`, 0, tooOld},
		{`9223372036854775807`, 0, tooFar},
		{`31536000000`, 0, tooFar},       // the last one that is seconds
		{`31536000001`, 0, tooOld},       // ... milliseconds
		{`31536000000000`, 0, tooFar},    // the last one that is milliseconds
		{`31536000000001`, 0, tooOld},    // ... µs
		{`31536000000000000`, 0, tooFar}, // the last one that is µs
		{`31536000000000001`, 0, tooOld}, // ... ns
	} {
		s := start(t, still(o2test.Config{}))
		r := post(t, s, "/api/default/cc/_json", `{"_timestamp":`+c.value+`}`)
		want := counted(1, 0, "")
		if c.err != "" {
			want = counted(0, 1, c.err)
		}
		if r.body != want {
			t.Errorf("%s: %v, want %s", c.value, r, want)
		} else if c.err == "" && gjson.Get(stored(s, "cc")[0], "_timestamp").Raw != fmt.Sprint(c.want) {
			t.Errorf("%s is stored as %s, want %d", c.value, stored(s, "cc")[0], c.want)
		}
		s.Close()
	}
}
