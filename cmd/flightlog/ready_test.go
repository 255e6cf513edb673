package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReadyAsksTheProcessThatServes(t *testing.T) {
	home, address := t.TempDir(), freeAddress(t)
	if out, err := flightlogCommand(t, home, "up", "--admin", address, "--ready").CombinedOutput(); err == nil || !strings.Contains(string(out), "not ready") {
		t.Errorf("nobody serves: %v %s", err, out)
	}
	up := flightlogCommand(t, home, "up", "--admin", address)
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = up.Process.Signal(os.Interrupt)
		if err := up.Wait(); err != nil {
			t.Errorf("up ended with %v", err)
		}
	}()
	var out []byte
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ask := flightlogCommand(t, home, "up", "--ready")
		ask.Env = append(ask.Env, "FLIGHTLOG_ADMIN="+address) // the environment of a container
		if out, err = ask.CombinedOutput(); err == nil {
			break
		}
	}
	if err != nil || len(out) > 0 {
		t.Errorf("up is not ready: %v %s", err, out)
	}
}

// freeAddress is an address on loopback where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestReadyTellsWhatItWasAnswered(t *testing.T) {
	a, err := serveAdmin(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := askReady(t.Context(), a.listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "not ready: it has not begun") {
		t.Errorf("a worker that has not begun: %v", err)
	}
	asked := ""
	yes := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.Method + " " + r.URL.Path }))
	defer yes.Close()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	if err := askReady(t.Context(), yes.Listener.Addr().String()); err != nil || asked != "GET /readyz" {
		t.Errorf("%v, asked %q", err, asked)
	}
	for _, address := range []string{"", "127.0.0.1:0", "192.0.2.1:9100", "localhost:9100", "127.0.0.1"} {
		if err := askReady(t.Context(), address); err == nil || !strings.Contains(err.Error(), "--admin") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestReadyRunsNothing(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	c := upCommand()
	c.SetArgs([]string{"--data", data, "--admin", freeAddress(t), "--ready"})
	c.SilenceUsage, c.SilenceErrors = true, true
	if err := c.ExecuteContext(t.Context()); err == nil {
		t.Error("it says that nobody is ready")
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("it made the data folder")
	}
}
