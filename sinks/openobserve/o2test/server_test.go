package o2test_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// noon is the time of servers whose clock stands still.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// still is a config with such a clock.
func still(c o2test.Config) o2test.Config {
	c.Now = func() time.Time { return noon }
	return c
}

// start starts a server that ends with the test.
func start(t testing.TB, c o2test.Config) *o2test.Server {
	t.Helper()
	s, err := o2test.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ask is a request; as root and with JSON unless it says otherwise.
type ask struct {
	method, path, body string
	user, password     string
	header             map[string]string
}

// reply is what it was answered; without a status the connection was closed.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

func send(t testing.TB, s *o2test.Server, a ask) reply {
	t.Helper()
	if a.method == "" {
		a.method = "POST"
	}
	if a.user == "" {
		a.user, a.password = o2test.DefaultRoot, o2test.DefaultRootPassword
	}
	r, err := http.NewRequest(a.method, s.URL()+a.path, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	r.GetBody = nil // so that nothing is sent twice
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth(a.user, a.password)
	for key, value := range a.header {
		r.Header.Set(key, value)
	}
	response, err := client.Do(r)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{body: err.Error()}
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

func post(t testing.TB, s *o2test.Server, path, body string) reply {
	t.Helper()
	return send(t, s, ask{path: path, body: body})
}

// ingest sends records to a stream of the default organisation, which has to take all.
func ingest(t testing.TB, s *o2test.Server, stream string, records ...string) {
	t.Helper()
	r := post(t, s, "/api/default/"+stream+"/_json", "["+strings.Join(records, ",")+"]")
	if want := fmt.Sprintf(`{"code":200,"status":[{"name":%q,"successful":%d,"failed":0}]}`, stream, len(records)); r.status != 200 || r.body != want {
		t.Fatalf("%v, want %s", r, want)
	}
}

// record is one with a time and a name.
func record(id string) string {
	return fmt.Sprintf(`{"_timestamp":%d,"row_id":%q,"batch_id":"b"}`, noon.UnixMicro(), id)
}

// stored are the rows of a stream.
func stored(s *o2test.Server, stream string) (rows []string) {
	for row := range s.Stored(stream) {
		rows = append(rows, string(row))
	}
	return rows
}

// ids are the names of the rows of a stream.
func ids(s *o2test.Server, stream string) (ids []string) {
	for row := range s.Stored(stream) {
		ids = append(ids, gjson.GetBytes(row, "row_id").Str)
	}
	return ids
}

func TestOnlyLoopbackIsListenedOn(t *testing.T) {
	for address, ok := range map[string]bool{"0.0.0.0:0": false, ":0": false, "nonsense": false, "localhost:0": true} {
		s, err := o2test.Start(o2test.Config{Address: address})
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
		if err == nil {
			s.Close()
		}
	}
}

func TestWhatWasStoredOutlivesAKill(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	url := s.URL()
	ingest(t, s, "cc", record("a"))
	s.Kill()
	s.Kill() // once more does nothing
	if r := post(t, s, "/api/default/cc/_json", record("b")); r.status != 0 {
		t.Errorf("a dead server says %v", r)
	}
	for range 2 {
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	ingest(t, s, "cc", record("c"))
	if got := ids(s, "cc"); s.URL() != url || !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("%s has %q, want a and c at %s", s.URL(), got, url)
	}
}

func TestAKillMayTakeTheNewestRequestsThatFit(t *testing.T) {
	s := start(t, still(o2test.Config{LoseOnKill: 4}))
	ingest(t, s, "one", record("a"))
	ingest(t, s, "two", record("b"), record("c"), record("d"))
	ingest(t, s, "one", record("e"), record("f"))
	ingest(t, s, "two", record("g"))
	// The indexes and the database have something to forget.
	if got := search(t, s, `SELECT DISTINCT row_id FROM "one" WHERE row_id IN ('e')`).Raw + search(t, s, `SELECT row_id FROM "one" ORDER BY row_id`).Get("#.row_id").Raw; got != `[{"row_id":"e"}]["a","e","f"]` {
		t.Errorf("found %s", got)
	}
	s.Kill()
	client.CloseIdleConnections()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if one, two := ids(s, "one"), ids(s, "two"); !slices.Equal(one, []string{"a"}) || !slices.Equal(two, []string{"b", "c", "d"}) {
		t.Errorf("one has %q and two has %q, want the newest three rows gone: b to d would be too many", one, two)
	}
	ingest(t, s, "one", record("h"))
	for sql, want := range map[string]string{
		`SELECT row_id FROM "one" ORDER BY row_id`:                                                                 `["a","h"]`,
		`SELECT COUNT(*) AS n FROM "one"`:                                                                          `[{"n":2}]`,
		`SELECT row_id FROM "one" WHERE row_id IN ('a', 'e', 'f', 'h') ORDER BY row_id`:                            `["a","h"]`,
		`SELECT DISTINCT row_id FROM "one" WHERE row_id IN ('a', 'e', 'f', 'h')`:                                   `["a","h"]`,
		`SELECT COUNT(*) AS n, COUNT(DISTINCT row_id) AS u FROM "one" WHERE batch_id = 'b'`:                        `[{"n":2,"u":2}]`,
		`SELECT COUNT(*) AS n, COUNT(DISTINCT row_id) AS u FROM "two" WHERE batch_id = 'b' AND row_id <> 'nobody'`: `[{"n":3,"u":3}]`,
	} {
		hits := search(t, s, sql)
		if got := hits.Raw; got != want && hits.Get("#.row_id").Raw != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

// TestNothingIsStoredAfterAKill has requests on their way when the server dies.
func TestNothingIsStoredAfterAKill(t *testing.T) {
	s := start(t, still(o2test.Config{Faults: o2test.Faults{Delay: o2test.Span{Min: 200 * time.Millisecond}}}))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			if r := post(t, s, "/api/default/cc/_json", record(fmt.Sprint(i))); r.status != 0 {
				t.Errorf("a request in progress is answered %v", r)
			}
		})
	}
	for s.Injected()["Delay"] < 4 {
		time.Sleep(time.Millisecond)
	}
	s.Kill()
	all.Wait()
	time.Sleep(300 * time.Millisecond)
	if got := s.Count("cc"); got != 0 {
		t.Errorf("%d rows were stored by a server that was dead", got)
	}
}

// TestAKillComesBeforeTheRowsAreStored has a request that was past everything
// that a kill could interrupt.
func TestAKillComesBeforeTheRowsAreStored(t *testing.T) {
	var calls atomic.Int32
	arrived, killed := make(chan bool), make(chan bool)
	s := start(t, o2test.Config{Now: func() time.Time {
		if calls.Add(1) == 2 { // when the records are looked at
			close(arrived)
			<-killed
		}
		return noon
	}})
	answered := make(chan reply)
	go func() { answered <- post(t, s, "/api/default/cc/_json", record("a")) }()
	<-arrived
	s.Kill()
	close(killed)
	s.Close()
	if r := <-answered; r.status != 0 || s.Count("cc") != 0 {
		t.Errorf("%v, and %d rows are stored", r, s.Count("cc"))
	}
}

func TestStoredGivesEveryRowInOrderAndOverHTTPAsWell(t *testing.T) {
	var mu sync.Mutex
	told := map[string]int{}
	s := start(t, still(o2test.Config{Orgs: []string{"o"}, OnIngest: func(stream string, rows int) {
		mu.Lock()
		defer mu.Unlock()
		told[stream] += rows
	}}))
	ingest(t, s, "cc", record("a"), record("b"))
	ingest(t, s, "cc", record("b"))
	post(t, s, "/api/o/cc/_json", `[`+record("c")+`]`)
	post(t, s, "/api/default/ingest/metrics/_json", fmt.Sprintf(`[{"__name__":"m","value":1,"_timestamp":%d}]`, noon.UnixMicro()))
	post(t, s, "/api/default/none/_json", `[]`)
	if got := ids(s, "cc"); !slices.Equal(got, []string{"a", "b", "b"}) || s.Count("cc") != 3 || s.Count("none") != 0 {
		t.Errorf("cc has %q, by count %d", got, s.Count("cc"))
	}
	names := []string{"cc", "default/metrics/m", "o/cc"}
	if got := s.Streams(); !slices.Equal(got, names) {
		t.Errorf("streams %q, want %q", got, names)
	}
	for name, n := range map[string]int{"cc": 3, "default/metrics/m": 1, "o/cc": 1} {
		r, err := http.Get(s.URL() + "/__stored?stream=" + name) // without credentials
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if want := strings.Join(stored(s, name), "\n") + "\n"; err != nil || string(body) != want || s.Count(name) != n || told[name] != n {
			t.Errorf("%s: %q over HTTP (%v), want %q; %d rows counted and %d told, want %d", name, body, err, want, s.Count(name), told[name], n)
		}
	}
	want := map[string]int{"POST /api/{org}/{stream}/_json": 4, "POST /api/{org}/ingest/metrics/_json": 1, "GET /__stored": 3}
	if got := s.Requests(); !mapsEqual(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

func mapsEqual(a, b map[string]int) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}
