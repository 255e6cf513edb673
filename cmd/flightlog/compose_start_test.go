package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/flightlog/flightlog/broker/jetstream"
)

// inSandbox is a script with its absolute paths in a folder, and programs of
// the test's instead of others.
func inSandbox(t *testing.T, script string, replaced ...string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "start.sh")
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replaced...).Replace(read(t, script))), 0o700); err != nil {
		t.Fatal(err)
	}
	return exec.Command("/bin/sh", file)
}

func program(t *testing.T, name, script string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheBrokerOfComposeRunsAsItIsConfigured(t *testing.T) {
	s := compose(t, nil).Services["nats"]
	if got := strings.Join(s.Entrypoint, " "); got != "/bin/sh /etc/flightlog/start.sh" || len(s.Command) > 0 {
		t.Fatalf("nats runs %s %v", got, s.Command)
	}
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "nats_token")
	// Tokens that look like numbers, and as create and editors write them.
	for _, token := range []string{"12e3", "007", "true", "a_B-9", "Zb3kQ9mXv1Lt7RwYc5NpHs2DfJg8Ua4E6oT0qqqq\n"} {
		if err := os.WriteFile(secret, []byte(token), 0o444); err != nil {
			t.Fatal(err)
		}
		start := inSandbox(t, "deploy/compose/nats/start.sh", "/run/secrets", dir, "nats-server", program(t, "nats-server", `printf '%s\n' "$NATS_TOKEN" "$@"`))
		out, err := start.CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if err != nil || len(lines) != 3 || lines[1] != "--config" || path.Dir(lines[2]) != "/etc/flightlog" {
			t.Fatalf("%q: %v %s", token, err, out)
		}
		ns := startBroker(t, s, path.Base(lines[2]), lines[0])
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		at := jetstream.Config{URL: ns.ClientURL(), TokenFile: secret, Generation: 1}
		if err := jetstream.Provision(ctx, at, 1); err != nil {
			t.Fatalf("%q: %v", token, err)
		}
		at.TokenFile, at.Token = "", "another"
		if b, err := jetstream.Connect(ctx, at); err == nil {
			b.Close()
			t.Errorf("%q: it lets another token in", token)
		}
	}
	for name, token := range map[string]string{"empty": "", "a quote": `a"b`, "two lines": "a\nb"} {
		if err := errors.Join(os.Chmod(secret, 0o644), os.WriteFile(secret, []byte(token), 0o444)); err != nil {
			t.Fatal(err)
		}
		start := inSandbox(t, "deploy/compose/nats/start.sh", "/run/secrets", dir, "nats-server", "/bin/true")
		if out, err := start.CombinedOutput(); err == nil || !strings.Contains(string(out), "must be letters") {
			t.Errorf("a token that is %s: %v %s", name, err, out)
		}
	}
}

// startBroker runs the broker as its configuration says, with the variable that
// holds the token, but for addresses and folder.
func startBroker(t *testing.T, s types.ServiceConfig, config, variable string) *server.Server {
	t.Helper()
	t.Setenv("NATS_TOKEN", variable)
	o, err := server.ProcessConfigFile(filepath.Join(checkout, "deploy/compose/nats", config))
	if err != nil {
		t.Fatal(err)
	}
	stored := slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Type == types.VolumeTypeVolume && v.Target == o.StoreDir && !v.ReadOnly
	})
	if !o.JetStream || !o.SyncAlways || !stored || o.MaxPayload != 2<<20 || o.Host != "0.0.0.0" {
		t.Errorf("JetStream %v, sync always %v, %s on a volume %v, at most %d bytes, on %s", o.JetStream, o.SyncAlways, o.StoreDir, stored, o.MaxPayload, o.Host)
	}
	if len(s.Ports) != 1 || int(s.Ports[0].Target) != o.Port {
		t.Errorf("it listens on port %d, published is %v", o.Port, s.Ports)
	}
	asked := s.HealthCheck.Test[len(s.HealthCheck.Test)-1]
	rest, ok := strings.CutPrefix(asked, fmt.Sprintf("http://%s:%d/", o.HTTPHost, o.HTTPPort))
	if !ok {
		t.Fatalf("it tells of its health on %s:%d, asked is %s", o.HTTPHost, o.HTTPPort, asked)
	}
	o.Host, o.Port, o.HTTPPort, o.StoreDir, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, server.RANDOM_PORT, t.TempDir(), true, true
	ns, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker does not start")
	}
	answer, err := http.Get(fmt.Sprintf("http://%s/%s", ns.MonitorAddr(), rest))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("it answers %d %s, %v", answer.StatusCode, text, err)
	}
	return ns
}

func TestOpenObserveOfComposeGetsItsPassword(t *testing.T) {
	dockerfile := read(t, "deploy/compose/openobserve/Dockerfile")
	s := compose(t, nil).Services["openobserve"]
	_, version, _ := strings.Cut(s.Image, ":")
	if !strings.Contains(dockerfile, "\nFROM public.ecr.aws/zinclabs/openobserve:"+version+"\n") {
		t.Errorf("%s is not built from that version", s.Image)
	}
	lintDockerfile(t, "deploy/compose/openobserve")
	if len(s.Entrypoint) > 0 || len(s.Command) > 0 {
		t.Errorf("it runs %v %v, not what the image says", s.Entrypoint, s.Command)
	}
	if !strings.HasSuffix(dockerfile, "\nCOPY start.sh /start.sh\nENTRYPOINT [\"/bin/busybox\", \"sh\", \"/start.sh\"]\n") {
		t.Error("the image does not begin with start.sh")
	}
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	secret, shown := filepath.Join(dir, "openobserve_password"), program(t, "openobserve", `printf '%s' "$ZO_ROOT_USER_PASSWORD"`)
	for _, password := range []string{"12345678", "12345678\n", `a "$b" \n c#'%`, "Zb3kQ9mXv1Lt7RwYc5NpHs2DfJg8Ua4E6oT0qqqq"} {
		if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
		start := inSandbox(t, "deploy/compose/openobserve/start.sh", "/run/secrets", dir, "exec /openobserve", "exec "+shown)
		start.Env = []string{} // the image has no PATH to find anything in
		if out, err := start.CombinedOutput(); err != nil || string(out) != strings.TrimSuffix(password, "\n") {
			t.Errorf("%q: %v %q", password, err, out)
		}
	}
	for name, password := range map[string]string{"empty": "", "short": "1234567\n"} {
		if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
		start := inSandbox(t, "deploy/compose/openobserve/start.sh", "/run/secrets", dir, "exec /openobserve", "exec "+shown)
		if out, err := start.CombinedOutput(); err == nil || !strings.Contains(string(out), "8 characters") {
			t.Errorf("a password that is %s: %v %q", name, err, out)
		}
	}
}
