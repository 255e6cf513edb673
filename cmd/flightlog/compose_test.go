package main

import (
	"encoding/xml"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// docker-compose.yml is held against the program, the configuration and the
// documentation as far as that goes without a container engine and a registry.
// The broker's configuration runs for real.

// checkout is the root of the module.
const checkout = "../.."

// profiles are the sets of services that are started together.
var profiles = map[string][]string{"default": nil, "kafka": {"kafka"}}

// read reads a file of the checkout.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compose is docker-compose.yml as Docker Compose reads it, with an environment
// of its own.
func compose(t *testing.T, environment types.Mapping, profiles ...string) *types.Project {
	t.Helper()
	root, err := filepath.Abs(checkout)
	if err != nil {
		t.Fatal(err)
	}
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{WorkingDir: root, Environment: environment,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(root, "docker-compose.yml")}}},
		loader.WithProfiles(profiles))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// eachService runs a check for each service of each profile.
func eachService(t *testing.T, check func(t *testing.T, p *types.Project, s types.ServiceConfig)) {
	for name, enabled := range profiles {
		p := compose(t, nil, enabled...)
		for _, service := range slices.Sorted(maps.Keys(p.Services)) {
			t.Run(name+"/"+service, func(t *testing.T) { check(t, p, p.Services[service]) })
		}
	}
}

// ours tells a service that runs the image of the Dockerfile.
func ours(s types.ServiceConfig) bool { return strings.HasPrefix(s.Image, "flightlog:") }

// commandOf is the command that arguments of the binary run, with its flags
// parsed.
func commandOf(t *testing.T, arguments []string) *cobra.Command {
	t.Helper()
	c, rest, err := command().Find(arguments)
	if err != nil || !c.Runnable() {
		t.Fatalf("flightlog %s: there is no such command (%v)", strings.Join(arguments, " "), err)
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Fatalf("flightlog %s: %v", strings.Join(arguments, " "), err)
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		t.Fatalf("flightlog %s: %v", strings.Join(arguments, " "), err)
	}
	return c
}

// settings are the flags of a service, by name: those of its command line and
// those of its environment.
func settings(t *testing.T, s types.ServiceConfig) map[string]string {
	t.Helper()
	c, all, variables := commandOf(t, s.Command), map[string]string{}, map[string]string{}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		variables[variable(f.Name)] = f.Name
		if f.Changed {
			all[f.Name] = f.Value.String()
		}
	})
	for name, value := range s.Environment {
		flag, ok := variables[name]
		switch {
		case !ok:
			t.Errorf("%s: flightlog %s has no such flag", name, strings.Join(s.Command, " "))
		case value == nil || *value == "":
			t.Errorf("%s: without a value", name)
		case all[flag] != "":
			t.Errorf("%s: --%s is given, too", name, flag)
		default:
			if err := c.Flags().Set(flag, *value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			all[flag] = *value
		}
	}
	return all
}

func TestComposeRunsOurCommandsWithFlagsThatTheyHave(t *testing.T) {
	base := []string{"nats", "openobserve", "process", "provision-broker", "provision-openobserve", "sink"}
	more := []string{"kafka", "process-kafka", "provision-broker-kafka", "provision-openobserve-kafka", "registry", "sink-kafka"}
	for profile, want := range map[string][]string{"": base, "kafka": slices.Sorted(slices.Values(append(more, base...)))} {
		if got := slices.Sorted(maps.Keys(compose(t, nil, profile).Services)); !slices.Equal(got, want) {
			t.Errorf("profile %q runs %v, want %v", profile, got, want)
		}
	}
	eachService(t, func(t *testing.T, p *types.Project, s types.ServiceConfig) {
		if !ours(s) {
			return
		}
		flags := settings(t, s)
		if len(s.Entrypoint) > 0 || len(s.Command) == 0 {
			t.Errorf("it runs %q %q, want a command of the image's binary", s.Entrypoint, s.Command)
		}
		if s.Build == nil || s.Build.Context != p.WorkingDir || s.Build.Args["VERSION"] == nil {
			t.Errorf("it is built from %+v, want the checkout and a version", s.Build)
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || s.Privileged || s.User != "" {
			t.Error("it may more than it needs")
		}
		// What has a URL has it of a service that is there, on a port of it.
		for name, value := range flags {
			_, rest, isURL := strings.Cut(value, "://")
			if !isURL {
				continue
			}
			host, port, err := net.SplitHostPort(strings.TrimSuffix(rest, "/"))
			if err != nil {
				t.Errorf("--%s %s: %v", name, value, err)
				continue
			}
			if _, err := p.GetService(host); err != nil {
				t.Errorf("--%s %s: %v", name, value, err)
			}
			if want := map[string]string{"nats": "4222", "openobserve": "5080", "kafka": "19092", "registry": "8081"}[host]; port != want {
				t.Errorf("--%s %s: %s listens on %s", name, value, host, want)
			}
			if _, waits := s.DependsOn[host]; !waits {
				t.Errorf("--%s %s: it does not wait for %s", name, value, host)
			}
		}
	})
}

func TestComposeMountsEveryFileThatIsNamed(t *testing.T) {
	eachService(t, func(t *testing.T, p *types.Project, s types.ServiceConfig) {
		mounted := func(file string) (writable, ok bool) {
			for _, secret := range s.Secrets {
				target := secret.Target
				if target == "" {
					target = secret.Source
				}
				if !path.IsAbs(target) {
					target = "/run/secrets/" + target
				}
				if target == file {
					return false, true
				}
			}
			for _, v := range s.Volumes {
				if file == v.Target || strings.HasPrefix(file, v.Target+"/") {
					return !v.ReadOnly, true
				}
			}
			return false, false
		}
		named := map[string]string{}
		if ours(s) {
			for name, value := range settings(t, s) {
				if path.IsAbs(value) {
					named["--"+name] = value
				}
			}
			if named["--token-file"] != "" && named["--token-file"] != "/run/secrets/nats_token" {
				t.Errorf("the token is in %s", named["--token-file"])
			}
		}
		for _, data := range []string{"ZO_DATA_DIR", "KAFKA_LOG_DIRS"} {
			if value := s.Environment[data]; value != nil {
				named[data] = *value
			}
		}
		for name, file := range named {
			writable, ok := mounted(file)
			if written := name == "--passcode-file" || !strings.HasPrefix(name, "--"); !ok || written && !writable {
				t.Errorf("%s %s: mounted %v, writable %v", name, file, ok, writable)
			}
		}
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeVolume:
				if _, ok := p.Volumes[v.Source]; !ok {
					t.Errorf("volume %s is not declared", v.Source)
				}
			case types.VolumeTypeBind:
				if rel, err := filepath.Rel(p.WorkingDir, v.Source); err != nil || !strings.HasPrefix(filepath.ToSlash(rel), "deploy/compose/") || !v.ReadOnly {
					t.Errorf("it mounts %s, want something of deploy/compose, read only", v.Source)
				}
				if _, err := os.Stat(v.Source); err != nil {
					t.Error(err)
				}
			default:
				t.Errorf("it mounts a %s", v.Type)
			}
		}
	})
	// The passcode goes from the one that fetches it to the one that uses it.
	p := compose(t, nil, "kafka")
	for _, suffix := range []string{"", "-kafka"} {
		from, to := p.Services["provision-openobserve"+suffix], p.Services["sink"+suffix]
		if got, want := settings(t, to)["openobserve-password-file"], settings(t, from)["passcode-file"]; got != want || want == "" {
			t.Errorf("sink%s reads the passcode from %q, it is in %q", suffix, got, want)
		}
		if len(from.Volumes) != 1 || len(to.Volumes) != 1 || from.Volumes[0].Source != to.Volumes[0].Source || from.Volumes[0].Target != to.Volumes[0].Target || !to.Volumes[0].ReadOnly {
			t.Errorf("sink%s has not the volume of provision-openobserve%s", suffix, suffix)
		}
		if got, want := settings(t, to)["openobserve-streams"], settings(t, from)["openobserve-streams"]; got != want || (got != "") != (suffix != "") {
			t.Errorf("sink%s loads into the streams %q, made are %q", suffix, got, want)
		}
	}
	used := map[string]bool{}
	for _, s := range p.Services {
		for _, v := range s.Volumes {
			used[v.Source] = true
		}
	}
	for name := range p.Volumes {
		if !used[name] {
			t.Errorf("nobody uses the volume %s", name)
		}
	}
}

func TestComposeWaitsForWhatIsNeeded(t *testing.T) {
	eachService(t, func(t *testing.T, p *types.Project, s types.ServiceConfig) {
		for name, dependency := range s.DependsOn {
			on, err := p.GetService(name)
			if err != nil {
				t.Error(err)
				continue
			}
			oneShot := ours(on) && on.Command[0] == "provision"
			switch dependency.Condition {
			case types.ServiceConditionHealthy:
				if on.HealthCheck == nil || on.HealthCheck.Disable || oneShot {
					t.Errorf("it waits for the health of %s, which has no check", name)
				}
			case types.ServiceConditionCompletedSuccessfully:
				if !oneShot || on.Restart != "" {
					t.Errorf("it waits for the end of %s, which goes on", name)
				}
			default:
				t.Errorf("it waits for %s: %s", name, dependency.Condition)
			}
		}
		if ours(s) && s.Command[0] == "provision" {
			if s.Restart != "" || s.HealthCheck != nil {
				t.Error("it runs once, and is neither started again nor asked how it is")
			}
			return
		}
		if s.Restart != types.RestartPolicyUnlessStopped || s.HealthCheck == nil {
			t.Errorf("restart %q, health check %v", s.Restart, s.HealthCheck)
		}
	})
}

func TestComposePublishesOnLoopbackOnly(t *testing.T) {
	taken := map[string]string{}
	eachService(t, func(t *testing.T, p *types.Project, s types.ServiceConfig) {
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" || port.Published == "" {
				t.Errorf("port %d is published on %q %q", port.Target, port.HostIP, port.Published)
			}
			if other := taken[port.Published]; other != "" && other != s.Name {
				t.Errorf("port %s is that of %s, too", port.Published, other)
			}
			taken[port.Published] = s.Name
		}
		if s.NetworkMode == "host" || ours(s) && len(s.Ports) > 0 {
			t.Errorf("network %q, ports %v", s.NetworkMode, s.Ports)
		}
	})
}

func TestComposeAsksEndpointsThatExist(t *testing.T) {
	eachService(t, func(t *testing.T, p *types.Project, s types.ServiceConfig) {
		if s.HealthCheck == nil {
			return
		}
		h := s.HealthCheck
		if len(h.Test) < 2 || h.Test[0] != "CMD" || h.Interval == nil || h.Timeout == nil || h.Retries == nil || h.StartPeriod == nil {
			t.Fatalf("health check %+v", h)
		}
		if ours(s) {
			if want := append([]string{"/flightlog"}, append(slices.Clone(s.Command), "--ready")...); !slices.Equal(h.Test[1:], want) {
				t.Errorf("it asks by %q, want %q: the same command with the same settings", h.Test[1:], want)
			}
			if err := onLoopback(settings(t, s)["admin"]); err != nil || time.Duration(*h.Timeout) <= readyPatience {
				t.Errorf("--admin: %v; timeout %v, it answers within %v", err, h.Timeout, readyPatience)
			}
			commandOf(t, h.Test[2:])
			return
		}
		want, ok := map[string]string{
			"nats":        "wget -q -O - http://127.0.0.1:8222/healthz",              // docs.nats.io, monitoring; the port is checked where the configuration runs
			"openobserve": "/bin/busybox wget -q -O - http://127.0.0.1:5080/healthz", // its HTTP port
			"kafka":       "/opt/kafka/bin/kafka-broker-api-versions.sh --bootstrap-server 127.0.0.1:9092",
			"registry":    "python3 /opt/karapace/healthcheck.py http://127.0.0.1:8081/_health", // as its image does
		}[s.Name]
		if got := strings.Join(h.Test[1:], " "); !ok || got != want {
			t.Errorf("it asks by %q, want %q", got, want)
		}
	})
	// What --ready asks is asked of a real admin server in ready_test.go, and
	// every command that serves there can ask.
	var all func(c *cobra.Command)
	all = func(c *cobra.Command) {
		if (c.Flags().Lookup("admin") == nil) != (c.Flags().Lookup("ready") == nil) {
			t.Errorf("%s has only one of --admin and --ready", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			all(sub)
		}
	}
	all(command())
}

// pinned is an image with a version that does not move on, or a digest.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+(:\d+/[a-z0-9./-]+)?(:v?\d+\.\d+\.\d+[a-z0-9.-]*|@sha256:[0-9a-f]{64})$`)

func TestComposePinsItsImages(t *testing.T) {
	eachService(t, func(t *testing.T, p *types.Project, s types.ServiceConfig) {
		if ours(s) {
			if s.Image != "flightlog:devel" {
				t.Errorf("image %s", s.Image)
			}
		} else if !pinned.MatchString(s.Image) {
			t.Errorf("image %s is not pinned", s.Image)
		}
	})
	if got := compose(t, types.Mapping{"FLIGHTLOG_VERSION": "v1.2.3", "OPENOBSERVE_USER": "you@example.com"}).Services["sink"]; got.Image != "flightlog:v1.2.3" || *got.Build.Args["VERSION"] != "v1.2.3" ||
		*got.Environment["FLIGHTLOG_OPENOBSERVE_USER"] != "you@example.com" {
		t.Errorf("with a version and a user: %s %v %v", got.Image, got.Build.Args, got.Environment)
	}
	// The brokers are those that the tests run.
	p := compose(t, nil, "kafka")
	version := regexp.MustCompile(`nats-io/nats-server/v2 v(\S+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	if got, want := p.Services["nats"].Image, "nats:"+version+"-alpine"; got != want {
		t.Errorf("%s, the tests embed %s", got, want)
	}
	var pom struct {
		Version string `xml:"dependencies>dependency>version"`
	}
	if err := xml.Unmarshal([]byte(read(t, "broker/kafka/kafkatest/pom.xml")), &pom); err != nil {
		t.Fatal(err)
	}
	if got, want := p.Services["kafka"].Image, "apache/kafka:"+pom.Version; got != want {
		t.Errorf("%s, the tests run %s", got, want)
	}
}
