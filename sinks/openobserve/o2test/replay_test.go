package o2test_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// skipped are the exchanges of parts that this stand-in does not have, by their
// row and name, with the reason.
var skipped = map[string]string{
	"traces-ok: OTLP traces JSON, one good chat span": traces,
	"62: OTLP traces JSON, one old span":              traces,
	"64: OTLP traces JSON, 8-byte trace id":           traces,
	"65: OTLP traces, no usable content type":         traces,
	"68: OTLP traces, end before start":               traces,
	"traces-twice: the same span sent twice":          traces,
	"traces-ok: read back spans":                      traces,
	"traces-latest: latest traces":                    traces,
	"66: OTLP logs, application/json; charset=utf-8":  otlpLogs,
	"67: OTLP logs JSON, ok":                          otlpLogs,
	"manage: create template":                         alerts,
	"manage: create the same template again":          alerts,
	"manage: create destination":                      alerts,
	"manage: create the same destination again":       alerts,
	"manage: destination with unknown template":       alerts,
	"manage: create scheduled SQL alert":              alerts,
	"manage: create the same alert again":             alerts,
	"manage: alert with SELECT *":                     alerts,
	"manage: alert on an unknown stream":              alerts,
	"manage: create realtime alert":                   alerts,
	"manage: list alerts":                             alerts,
	"manage: trigger the alert now":                   alerts,
}

const (
	traces   = "traces are out"
	otlpLogs = "OTLP logs are out"
	alerts   = "alerts are out"
)

// exchange is one request to a real server, and what it answered.
type exchange struct {
	Row     any
	What    string
	Note    string
	Request struct {
		Method, Path, Auth, Body string
		BodyEncoding             string `json:"body_encoding"`
		Headers                  map[string]string
	}
	Response struct {
		Status  int
		Closed  string
		Headers map[string]string
		Body    string
	}
}

func (x *exchange) name() string { return fmt.Sprintf("%v: %s", x.Row, x.What) }

func exchanges(t *testing.T) (all []*exchange) {
	t.Helper()
	data, err := os.ReadFile("testdata/v0.60.5.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		// A placeholder makes the body of a request no JSON, not the line.
		x := &exchange{}
		if err := json.Unmarshal(line, x); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	return all
}

// The recording was made in two sessions; searches have the times of them in
// their windows.
var (
	firstSession  = time.UnixMicro(1795398637303554)
	secondSession = time.UnixMicro(1795398656779458)
)

// replay is a server that is asked what the real one was.
type replay struct {
	*o2test.Server
	clock time.Time
	ids   map[string]string // of the recording -> of the server
}

func newReplay(t *testing.T) *replay {
	r := &replay{clock: firstSession, ids: map[string]string{}}
	r.Server = start(t, o2test.Config{
		Now:          func() time.Time { return r.clock },
		PayloadLimit: payloadLimit,
		Passcode:     "frbCbfPIyzk1YaTd", // with which the recording asks
	})
	return r
}

// payloadLimit stands for the 200 MiB of the recording, so that the test is quick.
const payloadLimit = 1 << 20

func TestEveryRecordedExchangeIsAnsweredAsByTheRealServer(t *testing.T) {
	r := newReplay(t)
	names := map[string]bool{}
	replayed := 0
	for _, x := range exchanges(t) {
		name := x.name()
		if names[name] {
			t.Errorf("two exchanges are called %q", name)
		}
		names[name] = true
		r.prepare(t, x)
		differs := r.differs(t, x)
		switch reason, skip := skipped[name]; {
		case skip && len(differs) == 0:
			t.Errorf("%s passes, though it is skipped: %s", name, reason)
		case !skip:
			replayed++
			for _, d := range differs {
				t.Errorf("%s: %s", name, d)
			}
		}
	}
	for name := range skipped {
		if !names[name] {
			t.Errorf("no exchange is called %q", name)
		}
	}
	t.Logf("%d exchanges replayed, %d skipped", replayed, len(skipped))
}

// prepare does what the recording took for granted.
func (r *replay) prepare(t *testing.T, x *exchange) {
	switch x.What {
	case "list of streams": // OTLP logs, which are skipped, had made one
		post(t, r.Server, "/api/default/ol/_json", `{}`)
	case "create stream with types":
		r.clock = secondSession
	}
}

// body is the one of an exchange with the clock put in, or made by its
// description where the recording has none.
func (r *replay) body(t *testing.T, x *exchange) []byte {
	long := []byte(`[{"a":"` + strings.Repeat("x", 2*payloadLimit) + `"}]`)
	switch x.What {
	case "1101 columns":
		columns := []string{`"event_id":"s1"`}
		for i := range 1100 {
			columns = append(columns, fmt.Sprintf(`"c%d":1`, i))
		}
		return []byte("[{" + strings.Join(columns, ",") + "}]")
	case "body over ZO_PAYLOAD_LIMIT, identity":
		return long
	case "body over ZO_PAYLOAD_LIMIT, gzip":
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(long); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	case "load rows", "the same rows again": // as the answers of the searches tell
		var rows []string
		for i := range 60 {
			rows = append(rows, fmt.Sprintf(`{"_timestamp":%d,"row_id":"r%d","team":%q,"sign":1,"cost_usd":%g,"token_input":%d}`,
				secondSession.Add(-time.Duration(i)*time.Minute).UnixMicro(), i, []string{"core", "web"}[i%2], float64(i)/100, 100+i))
		}
		return []byte("[" + strings.Join(rows, ",") + "]")
	}
	if x.Request.BodyEncoding == "base64" {
		body, err := base64.StdEncoding.DecodeString(x.Request.Body)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	return []byte(placeholder.ReplaceAllStringFunc(r.translated(x.Request.Body), func(text string) string {
		m := placeholder.FindStringSubmatch(text)
		at := r.clock
		if m[2] != "" {
			shift, err := time.ParseDuration(m[2])
			if err != nil {
				t.Fatal(err)
			}
			at = at.Add(shift)
		}
		return strconv.FormatInt(at.UnixNano()/map[string]int64{"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}[m[1]], 10)
	}))
}

var placeholder = regexp.MustCompile(`\{\{now_(ns|us|ms|s)([+-]\w+)?\}\}`)

// translated is a text with the ids of this server.
func (r *replay) translated(text string) string {
	for recorded, ours := range r.ids {
		text = strings.ReplaceAll(text, recorded, ours)
	}
	return text
}

// differs replays an exchange and tells in what the answer is another one.
func (r *replay) differs(t *testing.T, x *exchange) (differs []string) {
	request, err := http.NewRequest(x.Request.Method, r.URL()+r.translated(x.Request.Path), bytes.NewReader(r.body(t, x)))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range x.Request.Headers {
		request.Header.Set(key, value)
	}
	switch x.Request.Auth {
	case "root":
		request.SetBasicAuth(o2test.DefaultRoot, o2test.DefaultRootPassword)
	case "none":
	default:
		request.Header.Set("Authorization", x.Request.Auth)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		if x.Response.Closed == "" {
			differs = append(differs, err.Error())
		}
		return differs
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if x.Response.Closed != "" || response.StatusCode != x.Response.Status {
		return []string{fmt.Sprintf("status %d %s, want %d %s", response.StatusCode, body, x.Response.Status, x.Response.Closed)}
	}
	for _, key := range []string{"content-type", "www-authenticate", "accept-encoding"} {
		if got, want := response.Header.Get(key), x.Response.Headers[key]; got != want {
			differs = append(differs, fmt.Sprintf("%s is %q, want %q", key, got, want))
		}
	}
	got, want := string(body), x.Response.Body
	if gjson.Valid(want) {
		if !gjson.Valid(got) {
			return append(differs, "no JSON: "+got)
		}
		c := &comparison{replay: r, part: x.Note == "cut to the fields that a sink reads"}
		c.compare("", gjson.Parse(got), gjson.Parse(want))
		return append(differs, c.differs...)
	}
	if got != want {
		differs = append(differs, fmt.Sprintf("body %q, want %q", got, want))
	}
	return differs
}

// comparison compares answers member by member, and in their order.
type comparison struct {
	*replay
	part    bool // the recorded answer is a part of what the real server said
	differs []string
}

func (c *comparison) different(path, format string, args ...any) {
	c.differs = append(c.differs, path+": "+fmt.Sprintf(format, args...))
}

func (c *comparison) compare(path string, got, want gjson.Result) {
	key := path[strings.LastIndexByte(path, '.')+1:]
	switch key {
	case "took", "took_detail", "trace_id", "peak_memory_usage", "created", "passcode":
		return // of the moment, or secret
	case "is_histogram_eligible":
		return // for the user interface only; how it is found out is not known
	case "folderId", "dashboardId", "hash", "folder_id", "dashboard_id":
		// What the server makes up: different at first, but always the same.
		if ours, ok := c.ids[want.Str]; !ok {
			c.ids[want.Str] = got.Str
		} else if ours != got.Str {
			c.different(path, "%s, want %s as before", got.Raw, ours)
		}
		return
	case "_timestamp", "created_at", "index_updated_at":
		if math.Abs(got.Num-want.Num) > 60e6 {
			c.different(path, "%s, want about %s", got.Raw, want.Raw)
		}
		return
	case "message": // a list that ends an error is shortened
		before, _, listed := strings.Cut(want.Str, " Valid fields are")
		if got.Str != want.Str && !(listed && strings.HasPrefix(got.Str, before)) {
			c.different(path, "%s, want %s", got.Raw, want.Raw)
		}
		return
	}
	switch {
	case want.IsObject() && got.IsObject():
		c.objects(path, got, want)
	case want.IsArray() && got.IsArray():
		a, b := got.Array(), want.Array()
		if len(a) != len(b) {
			c.different(path, "%s, want %s", got.Raw, want.Raw)
			return
		}
		for i := range a {
			c.compare(path+".", a[i], b[i])
		}
	case want.Type == gjson.Number && got.Type == gjson.Number:
		if math.Abs(got.Num-want.Num) > 1e-9 || strings.Contains(got.Raw, ".") != strings.Contains(want.Raw, ".") {
			c.different(path, "%s, want %s", got.Raw, want.Raw)
		}
	case got.Raw != want.Raw:
		c.different(path, "%s, want %s", got.Raw, want.Raw)
	}
}

func (c *comparison) objects(path string, got, want gjson.Result) {
	if got, want := keys(got), keys(want); !c.part && !slices.Equal(got, want) {
		c.different(path, "keys %q, want %q", got, want)
		return
	}
	want.ForEach(func(key, value gjson.Result) bool {
		c.compare(path+"."+key.Str, got.Get(gjson.Escape(key.Str)), value)
		return true
	})
}

func keys(object gjson.Result) (keys []string) {
	object.ForEach(func(key, _ gjson.Result) bool {
		keys = append(keys, key.Str)
		return true
	})
	return keys
}
