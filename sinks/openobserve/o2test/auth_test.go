package o2test_test

import (
	"testing"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// TestWhoMayDoWhat is contract §0.3 and §12 rows 41 to 46.
func TestWhoMayDoWhat(t *testing.T) {
	const ann, annPassword = "ann@example.com", "ann's password"
	const ingestion, searching = "/api/default/cc/_json", "/api/default/_search"
	for _, c := range []struct {
		what           string
		path           string
		user, password string
		statuses       [2]int // of the two profiles
	}{
		{"root", ingestion, o2test.DefaultRoot, o2test.DefaultRootPassword, [2]int{200, 200}},
		{"root", searching, o2test.DefaultRoot, o2test.DefaultRootPassword, [2]int{200, 200}},
		{"a further user", ingestion, ann, annPassword, [2]int{200, 200}},
		{"a further user", searching, ann, annPassword, [2]int{200, 200}},
		{"a wrong password", ingestion, ann, "wrong", [2]int{401, 401}},
		{"no password", ingestion, ann, "", [2]int{401, 401}},
		{"nobody", ingestion, "bob@example.com", annPassword, [2]int{401, 401}},
		{"a passcode", ingestion, o2test.DefaultRoot, o2test.DefaultPasscode, [2]int{200, 200}},
		{"a passcode", "/api/default/cc/_multi", o2test.DefaultRoot, o2test.DefaultPasscode, [2]int{200, 200}},
		{"a passcode", "/api/default/_bulk", o2test.DefaultRoot, o2test.DefaultPasscode, [2]int{200, 200}},
		{"a passcode, searching", searching, o2test.DefaultRoot, o2test.DefaultPasscode, [2]int{401, 401}}, // row 45
		{"a passcode, managing", "/api/default/streams/x", o2test.DefaultRoot, o2test.DefaultPasscode, [2]int{401, 401}},
		{"a passcode on no route", "/api/default/x/y/z", o2test.DefaultRoot, o2test.DefaultPasscode, [2]int{401, 401}},
		{"the passcode of another", ingestion, ann, o2test.DefaultPasscode, [2]int{401, 401}},
		{"an organisation's token", ingestion, "any", o2test.DefaultOrgToken, [2]int{401, 200}}, // row 46
		{"an organisation's token, searching", searching, "any", o2test.DefaultOrgToken, [2]int{401, 401}},
		{"another organisation", "/api/other/cc/_json", ann, annPassword, [2]int{200, 200}},
		{"no organisation", "/api/nosuch/cc/_json", ann, annPassword, [2]int{404, 404}}, // row 44
		{"no organisation, searching", "/api/nosuch/_search", o2test.DefaultRoot, o2test.DefaultRootPassword, [2]int{404, 404}},
		{"an organisation that root makes", "/api/made/cc/_json", o2test.DefaultRoot, o2test.DefaultRootPassword, [2]int{200, 200}},
	} {
		for p, status := range c.statuses {
			s := start(t, still(o2test.Config{Profile: o2test.Profile(p), Users: map[string]string{ann: annPassword}, Orgs: []string{"other"}}))
			ingest(t, s, "cc", record("there"))
			body := `{"index":{"_index":"cc"}}`
			if c.path == searching {
				body = `{"query":{"sql":"SELECT * FROM cc"}}`
			}
			r := send(t, s, ask{path: c.path, body: body, user: c.user, password: c.password})
			if r.status != status {
				t.Errorf("%s, %s, profile %d: %v, want %d", c.what, c.path, p, r, status)
			}
			switch status {
			case 401:
				if r.body != "Unauthorized Access" || r.header.Get("WWW-Authenticate") != `Bearer realm="openobserve"` {
					t.Errorf("%s: %v, %v", c.what, r, r.header)
				}
			case 404:
				if r.body != "Organization not found" {
					t.Errorf("%s: %v", c.what, r)
				}
			}
			s.Close()
		}
	}
}

// TestTheLayersComeInOrder: 415 before 401 before 413 (contract §0.2).
func TestTheLayersComeInOrder(t *testing.T) {
	s := start(t, still(o2test.Config{PayloadLimit: 10}))
	long := `[{"a":"` + string(make([]byte, 100)) + `"}]`
	for _, c := range []struct {
		encoding, password string
		status             int
	}{
		{"lz4", "wrong", 415},
		{"gzip", "wrong", 401},
		{"", "wrong", 401},
		{"", o2test.DefaultRootPassword, 0}, // the connection breaks: 413 is for what is compressed
	} {
		r := send(t, s, ask{path: "/api/default/cc/_json", body: long, user: o2test.DefaultRoot, password: c.password,
			header: map[string]string{"Content-Encoding": c.encoding}})
		if r.status != c.status {
			t.Errorf("%q with %q: %v, want %d", c.encoding, c.password, r, c.status)
		}
	}
}

func TestANewPasscodeEndsTheOldOne(t *testing.T) {
	s := start(t, still(o2test.Config{Users: map[string]string{"ann": "pw"}}))
	for _, u := range []ask{{}, {user: "ann", password: "pw"}} {
		get, put := u, u
		get.method, get.path = "GET", "/api/default/passcode"
		put.method, put.path = "PUT", "/api/default/passcode"
		before := gjson.Get(send(t, s, get).body, "data.passcode").Str
		after := gjson.Get(send(t, s, put).body, "data.passcode").Str
		user := gjson.Get(send(t, s, get).body, "data.user").Str
		if before == after || before == "" || after == "" || gjson.Get(send(t, s, get).body, "data.passcode").Str != after {
			t.Errorf("passcodes %q and then %q", before, after)
		}
		for passcode, status := range map[string]int{before: 401, after: 200} {
			if r := send(t, s, ask{path: "/api/default/cc/_json", body: `[]`, user: user, password: passcode}); r.status != status {
				t.Errorf("%s with %s: %v, want %d", user, passcode, r, status)
			}
		}
	}
}
