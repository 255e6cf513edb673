package o2test_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// tenRows are the body of a request.
func tenRows() string {
	var rows []string
	for i := range 10 {
		rows = append(rows, record(fmt.Sprint(i)))
	}
	return "[" + strings.Join(rows, ",") + "]"
}

// TestEachFaultDoesWhatItSays has each of them strike every request.
func TestEachFaultDoesWhatItSays(t *testing.T) {
	const all, none, some = 10, 0, -1
	for _, c := range []struct {
		name   string
		faults o2test.Faults
		status int
		body   string // "" = not looked at
		rows   int
		// claimed are the rows that the answer counts: some = those that are stored.
		claimed int
	}{
		{"", o2test.Faults{}, 200, "", all, all},
		{"Overflow", o2test.Faults{Overflow: 1}, 503, `{"code":503,"message":"Error# MemoryTableOverflowError"}`, none, none},
		{"MemoryBreaker", o2test.Faults{MemoryBreaker: 1}, 503, `{"code":503,"message":"Error# MemoryCircuitBreakerError"}`, none, none},
		{"DiskBreaker", o2test.Faults{DiskBreaker: 1}, 503, `{"code":503,"message":"Error# DiskCircuitBreakerError"}`, none, none},
		{"NoIngester", o2test.Faults{NoIngester: 1}, 503, `No online ingester nodes`, none, none},
		{"BadGateway", o2test.Faults{BadGateway: 1}, 502, ``, none, none},
		{"Internal", o2test.Faults{Internal: 1}, 500, ``, none, none},
		{"ResetBeforeBody", o2test.Faults{ResetBeforeBody: 1}, 0, ``, none, none},
		{"ResetAfterBody", o2test.Faults{ResetAfterBody: 1}, 0, ``, none, none},
		{"ResetAfterStore", o2test.Faults{ResetAfterStore: 1}, 0, ``, all, none},
		{"LoseAll", o2test.Faults{LoseAll: 1}, 200, ``, none, none},
		{"LosePart", o2test.Faults{LosePart: 1}, 200, ``, some, some},
		{"LosePartClaimed", o2test.Faults{LosePartClaimed: 1}, 200, ``, some, all},
		{"DiskFull", o2test.Faults{DiskFull: true}, 200, ``, none, all},
		{"Deleting", o2test.Faults{Deleting: true}, 400, ``, none, none},
		{"Blocked", o2test.Faults{Blocked: true}, 400, ``, none, none},
		{"NotIngester", o2test.Faults{NotIngester: true}, 400, ``, none, none},
		{"Delay", o2test.Faults{Delay: o2test.Span{Min: time.Millisecond, Max: 2 * time.Millisecond}}, 200, ``, all, all},
		{"Late", o2test.Faults{Late: o2test.Span{Min: time.Millisecond}}, 200, ``, all, all},
	} {
		s := start(t, still(o2test.Config{Faults: c.faults}))
		r := post(t, s, "/api/default/cc/_json", tenRows())
		rows, claimed := s.Count("cc"), int(gjson.Get(r.body, "status.0.successful").Int())
		want := c.rows
		if c.rows == some {
			if want = rows; rows >= all {
				t.Errorf("%s: all rows are stored", c.name)
			}
		}
		if c.claimed == some {
			c.claimed = rows
		}
		if r.status != c.status || c.body != "" && r.body != c.body || rows != want || claimed != c.claimed || gjson.Get(r.body, "status.0.failed").Int() != 0 {
			t.Errorf("%s: %v and %d rows, want %d %s, %d rows and %d claimed", c.name, r, rows, c.status, c.body, want, c.claimed)
		}
		wanted := map[string]int{}
		if c.name != "" {
			wanted[c.name] = 1
		}
		if got := s.Injected(); !mapsEqual(got, wanted) {
			t.Errorf("%s: injected %v, want %v", c.name, got, wanted)
		}
		for id := range s.Stored("cc") { // what is left is found
			if hits := search(t, s, fmt.Sprintf(`SELECT row_id FROM "cc" WHERE row_id IN ('%s')`, gjson.GetBytes(id, "row_id").Str)); len(hits.Array()) != 1 {
				t.Errorf("%s: %s is not found", c.name, id)
			}
		}
		s.Close()
	}
}

// TestResetsAreResets: the client sees what it sees of a server that died; one of
// them before it has sent its body.
func TestResetsAreResets(t *testing.T) {
	for name, f := range map[string]o2test.Faults{"before": {ResetBeforeBody: 1}, "after": {ResetAfterBody: 1}, "stored": {ResetAfterStore: 1}} {
		s := start(t, still(o2test.Config{Faults: f}))
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		body := tenRows()
		r, err := http.NewRequest("POST", s.URL()+"/api/default/cc/_json", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(o2test.DefaultRoot, o2test.DefaultRootPassword)
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n", r.URL.Path, r.Header.Get("Authorization"), len(body))
		if name != "before" {
			fmt.Fprint(conn, body)
		}
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %d bytes and %v, want a reset", name, n, err)
		}
		_ = conn.Close()
	}
}

func TestBulkNamesJustTheRowsThatAreLeft(t *testing.T) {
	var lines, all []string
	for i := range 10 {
		all = append(all, fmt.Sprint(i))
		lines = append(lines, fmt.Sprintf(`{"index":{"_index":"cc","_id":"%d"}}`, i), `{"a":1}`)
	}
	for name, f := range map[string]o2test.Faults{"LoseAll": {LoseAll: 1}, "LosePart": {LosePart: 1}, "LosePartClaimed": {LosePartClaimed: 1}, "DiskFull": {DiskFull: true}} {
		s := start(t, still(o2test.Config{Faults: f}))
		r := post(t, s, "/api/default/_bulk", strings.Join(lines, "\n"))
		var named, there []string
		for _, item := range gjson.Get(r.body, "items.#.index._id").Array() {
			named = append(named, item.Str)
		}
		for row := range s.Stored("cc") {
			there = append(there, gjson.GetBytes(row, "_id").Str)
		}
		want := there
		if name == "LosePartClaimed" || name == "DiskFull" {
			want = all
		}
		if !slices.Equal(named, want) || len(there) == 10 || gjson.Get(r.body, "errors").Bool() {
			t.Errorf("%s: %q are named and %q stored, want %q", name, named, there, want)
		}
	}
}

// TestProbabilitiesHold draws often; equal seeds draw alike.
func TestProbabilitiesHold(t *testing.T) {
	f := o2test.Faults{Seed: 3, Overflow: 0.2, LoseAll: 0.3, SearchError: 0.25}
	s := start(t, still(o2test.Config{Faults: f}))
	run := func() (answers []string) {
		for range 400 {
			answers = append(answers, fmt.Sprint(post(t, s, "/api/default/cc/_json", record("a")), post(t, s, "/api/default/_search", `{"query":{"sql":"SELECT 1"}}`).status))
		}
		return answers
	}
	first := run()
	got := s.Injected()
	for name, want := range map[string]int{"Overflow": 80, "LoseAll": 120, "SearchError": 100} {
		if n := got[name]; n < want*3/4 || n > want*5/4 {
			t.Errorf("%s struck %d times of 400, want about %d", name, n, want)
		}
	}
	if got := s.Count("cc"); got != 400-s.Injected()["Overflow"]-s.Injected()["LoseAll"] {
		t.Errorf("%d rows with %v", got, s.Injected())
	}
	s.SetFaults(f)
	if second := run(); !slices.Equal(first, second) {
		t.Error("the same seed draws otherwise")
	}
	f.Seed = 4
	s.SetFaults(f)
	if third := run(); slices.Equal(first, third) {
		t.Error("another seed draws alike")
	}
	s.SetFaults(o2test.Faults{})
	ingest(t, s, "cc", record("a")) // and nothing strikes any more
}

func TestFaultsCanConcernOneStream(t *testing.T) {
	s := start(t, still(o2test.Config{Faults: o2test.Faults{Stream: "ill", Overflow: 1}}))
	s.Storm(time.Minute)
	for path, status := range map[string]int{"ill": 503, "ILL": 503, "well": 200} {
		if r := post(t, s, "/api/default/"+path+"/_json", record("a")); r.status != status {
			t.Errorf("%s: %v, want %d", path, r, status)
		}
	}
	if r := post(t, s, "/api/default/_bulk", "{\"index\":{\"_index\":\"ill\"}}\n{}"); r.status != 200 {
		t.Errorf("_bulk: %v", r)
	}
}

func TestAStormPasses(t *testing.T) {
	clock := noon
	s := start(t, o2test.Config{Now: func() time.Time { return clock }})
	s.Storm(10 * time.Second)
	for seconds, status := range []int{503, 503, 200} {
		if r := post(t, s, "/api/default/cc/_json", record("a")); r.status != status {
			t.Errorf("after %d steps: %v, want %d", seconds, r, status)
		}
		clock = clock.Add(5 * time.Second)
	}
	if got := s.Injected(); !mapsEqual(got, map[string]int{"Storm": 2}) || s.Count("cc") != 1 {
		t.Errorf("injected %v, %d rows", got, s.Count("cc"))
	}
}

// TestWhoLeavesDuringTheDelayTakesHisRequestWithHim; who leaves while the answer
// is late does not.
func TestWhoLeavesDuringTheDelayTakesHisRequestWithHim(t *testing.T) {
	long := o2test.Span{Min: 200 * time.Millisecond}
	for name, c := range map[string]struct {
		faults o2test.Faults
		rows   int
	}{"Delay": {o2test.Faults{Delay: long}, 0}, "Late": {o2test.Faults{Late: long}, 1}} {
		s := start(t, still(o2test.Config{Faults: c.faults}))
		ctx, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
		r, err := http.NewRequestWithContext(ctx, "POST", s.URL()+"/api/default/cc/_json", strings.NewReader(record("a")))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(o2test.DefaultRoot, o2test.DefaultRootPassword)
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_ = answer.Body.Close()
			t.Errorf("%s: there was an answer in time", name)
		}
		leave()
		time.Sleep(250 * time.Millisecond)
		if got := s.Count("cc"); got != c.rows {
			t.Errorf("%s: %d rows are stored, want %d", name, got, c.rows)
		}
	}
}

func TestSearchesCanFailAndBeSlow(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	ingest(t, s, "cc", record("a"))
	s.SetFaults(o2test.Faults{SearchError: 1})
	if r := ranged(t, s, `SELECT row_id FROM cc`, day); r.status != 500 || gjson.Get(r.body, "code").Int() != 10001 {
		t.Errorf("%v, want 500", r)
	}
	s.SetFaults(o2test.Faults{SearchDelay: o2test.Span{Min: 50 * time.Millisecond, Max: 60 * time.Millisecond}})
	begin := time.Now()
	search(t, s, `SELECT row_id FROM cc`)
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("the search took %v", took)
	}
	if got := s.Injected(); !mapsEqual(got, map[string]int{"SearchError": 1, "SearchDelay": 1}) {
		t.Errorf("injected %v", got)
	}
}
