package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// TestComposeWorksAsAWhole runs what docker-compose.yml runs, with commands and
// environment as they stand there, in processes instead of containers: the
// broker by its configuration, and the stand-in for OpenObserve. Only
// addresses and folders are others.
func TestComposeWorksAsAWhole(t *testing.T) {
	p := compose(t, nil)
	secrets, volume, home := t.TempDir(), t.TempDir(), t.TempDir()
	const token, password = "aToken-of_40", "a password"
	for name, content := range map[string]string{"nats_token": token, "openobserve_password": password + "\n"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(content), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	ns := startBroker(t, p.Services["nats"], "nats.conf", strconv.Quote(token))
	environment := p.Services["openobserve"].Environment
	hours, err := strconv.Atoi(*environment["ZO_INGEST_ALLOWED_UPTO"])
	if err != nil {
		t.Fatal(err)
	}
	store, err := o2test.Start(o2test.Config{AllowedUpTo: hours, Root: *environment["ZO_ROOT_USER_EMAIL"], RootPassword: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)

	elsewhere := strings.NewReplacer("nats://nats:4222", ns.ClientURL(), "http://openobserve:5080", store.URL(), "/run/secrets", secrets, "/var/lib/flightlog", volume)
	admins := map[string]string{}
	in := func(s types.ServiceConfig, arguments ...string) *exec.Cmd {
		c := flightlogCommand(t, home, arguments...)
		for name, value := range s.Environment {
			if name == variable("admin") {
				if admins[s.Name] == "" {
					admins[s.Name] = freeAddress(t)
				}
				c.Env = append(c.Env, name+"="+admins[s.Name])
				continue
			}
			c.Env = append(c.Env, name+"="+elsewhere.Replace(*value))
		}
		return c
	}
	for range 2 { // docker compose up again
		for _, name := range []string{"provision-broker", "provision-openobserve"} {
			if out, err := in(p.Services[name], p.Services[name].Command...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
		}
	}
	for _, name := range []string{"process", "sink"} {
		s := p.Services[name]
		c, log := in(s, s.Command...), new(bytes.Buffer)
		c.Stderr = log
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Signal(os.Interrupt)
			if err := c.Wait(); err != nil || t.Failed() {
				t.Errorf("%s ended with %v:\n%s", name, err, log)
			}
		})
		var out []byte
		if !comesTrue(func() bool {
			out, err = in(s, s.HealthCheck.Test[2:]...).CombinedOutput()
			return err == nil
		}) {
			t.Fatalf("%s is not healthy: %s", name, out)
		}
	}
	// As docs/compose.md says: in the service's environment.
	worker := p.Services["process"]
	if out, err := in(worker, "loadtest", "replay", "--sessions", "20", "--seed", "1", "--shift-to-now").CombinedOutput(); err != nil {
		t.Fatalf("replay: %v %s", err, out)
	}
	rows := 0
	if !comesTrue(func() bool {
		before := rows
		rows = store.Count("flightlog_enriched")
		return rows > 100 && rows == before
	}) {
		t.Errorf("%d rows are in the store", rows)
	}
	if n := store.Count("flightlog_deadletters"); n > 0 {
		t.Errorf("%d rows were refused", n)
	}
}

// comesTrue waits for it.
func comesTrue(is func() bool) bool {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}
