package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// provisioning runs provision openobserve against a stand-in, with what the
// environment says beside its arguments.
type provisioning struct {
	t    *testing.T
	home string
	env  []string
}

// run gives what it printed, and what it said at the end if it failed.
func (p *provisioning) run(args ...string) (out, failed string) {
	p.t.Helper()
	c := flightlogCommand(p.t, p.home, append([]string{"provision", "openobserve"}, args...)...)
	c.Env = append(c.Env, p.env...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		failed = stderr.String() + err.Error()
	}
	if strings.Contains(stdout.String()+stderr.String(), o2test.DefaultRootPassword) {
		p.t.Errorf("the password is in\n%s%s", stdout.String(), stderr.String())
	}
	return stdout.String(), failed
}

func TestProvisionOpenObserve(t *testing.T) {
	server, err := o2test.Start(o2test.Config{AllowedUpTo: 9600})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	home := t.TempDir()
	passcode := filepath.Join(home, "passcode")
	p := &provisioning{t, home, []string{"FLIGHTLOG_OPENOBSERVE=" + server.URL(), "FLIGHTLOG_OPENOBSERVE_ADMIN_USER=" + o2test.DefaultRoot,
		"FLIGHTLOG_OPENOBSERVE_ADMIN_PASSWORD=" + o2test.DefaultRootPassword}}
	must := func(want string, args ...string) string {
		t.Helper()
		out, failed := p.run(args...)
		if failed != "" || !strings.Contains(out, want) {
			t.Fatalf("%v: %s\n%s, want %q", args, failed, out, want)
		}
		return out
	}

	plan := must("create dashboard Flightlog overview: 21 panels", "--dry-run", "--passcode-file", passcode)
	if n := len(server.Streams()); n > 0 {
		t.Errorf("the plan has made %d streams", n)
	}
	if out := must("create stream flightlog_enriched", "--passcode-file", passcode); out != plan {
		t.Errorf("done was\n%s\nplanned was\n%s", out, plan)
	}
	if text, err := os.ReadFile(passcode); err != nil || strings.TrimSpace(string(text)) != o2test.DefaultPasscode {
		t.Errorf("the passcode's file holds %q, %v", text, err)
	}
	if out := must("nothing to change", "--passcode-file", passcode); !strings.Contains(out, "note: window: the server takes rows of up to 9600 h back") {
		t.Errorf("the window is not in\n%s", out)
	}
	must("create dashboard Flightlog overview (g2)", "--generation", "2", "--topics", "enriched", "--retention-days", "30")

	var changes []openobserve.Change
	if err := json.Unmarshal([]byte(must("", "--remove", "--with-data", "--dry-run", "--json")), &changes); err != nil || len(changes) != 7 ||
		changes[0].Action != openobserve.Delete || changes[0].Object != "dashboard" {
		t.Errorf("%v: %v", changes, err)
	}
	out, failed := p.run("--remove", "--with-data")
	if !strings.Contains(failed, "give --yes") || !strings.Contains(out, "delete stream flightlog_enriched: with all its rows") || len(server.Streams()) != 6 {
		t.Errorf("%s%s, left are %v", out, failed, server.Streams())
	}
	must("note: stream flightlog_enriched: it stays, with its rows", "--remove")
	must("delete stream flightlog_enriched", "--remove", "--with-data", "--yes")
	must("nothing to change", "--remove", "--with-data", "--yes")
	must("delete folder Flightlog", "--remove", "--with-data", "--yes", "--generation", "2")
	if got := server.Streams(); len(got) > 0 {
		t.Errorf("left are %v", got)
	}

	for want, args := range map[string][]string{
		"--with-data goes with --remove only": {"--with-data"},
		"does not go with --remove":           {"--remove", "--passcode-file", passcode},
		"generation: 0":                       {"--generation", "0"},
		"holds no certificate in PEM":         {"--openobserve-ca-file", passcode},
		"connection refused":                  {"--openobserve", "http://127.0.0.1:1"},
		"check the account root@example.com":  {"--openobserve-admin-password-file", passcode},
	} {
		if _, failed := p.run(args...); !strings.Contains(failed, want) {
			t.Errorf("%v: %s, want %q", args, failed, want)
		}
	}
	p.env = nil
	if _, failed := p.run(); !strings.Contains(failed, "give --openobserve, the URL") || !strings.Contains(failed, "give --openobserve-admin-user") {
		t.Errorf("%s", failed)
	}
}
