package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// shellLines are the lines of the shell in a page.
func shellLines(t *testing.T, page string) (lines []string) {
	t.Helper()
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(read(t, page), -1) {
		for _, line := range strings.Split(strings.TrimSpace(block[1]), "\n") {
			line, _, _ = strings.Cut(line, " # ")
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) == 0 {
		t.Fatalf("no commands in %s", page)
	}
	return lines
}

func TestThePageAboutComposeNamesWhatThereIs(t *testing.T) {
	p := compose(t, nil, "kafka")
	page := read(t, "docs/compose.md")
	for _, code := range regexp.MustCompile("`([^`\n]*)`").FindAllStringSubmatch(page, -1) {
		word := code[1]
		if line, ok := strings.CutPrefix(word, "docker compose "); ok {
			composeLine(t, p, line)
		}
		if strings.HasPrefix(word, "deploy/") && !strings.Contains(word, "secrets/nats") && !strings.Contains(word, "secrets/openobserve") {
			if _, err := os.Stat(filepath.Join(checkout, word)); err != nil {
				t.Error(err)
			}
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#]*)\)`).FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join(checkout, "docs", link[1])); err != nil {
			t.Error(err)
		}
	}
	targets := read(t, "Makefile")
	for _, line := range shellLines(t, "docs/compose.md") {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "docker compose "):
			composeLine(t, p, strings.TrimPrefix(line, "docker compose "))
		case strings.HasPrefix(line, "docker run "), strings.HasPrefix(line, "docker volume rm "):
			for _, field := range fields {
				volume, _, _ := strings.Cut(field, ":")
				if name, ok := strings.CutPrefix(volume, p.Name+"_"); ok && p.Volumes[name].Name != volume {
					t.Errorf("%s: there is no volume %s", line, volume)
				}
				if strings.HasPrefix(field, "busybox") && !strings.Contains(read(t, "deploy/compose/openobserve/Dockerfile"), "--from="+field+" ") {
					t.Errorf("%s: another busybox", line)
				}
			}
		case fields[0] == "bin/flightlog":
			c := commandOf(t, fields[1:])
			token := filepath.Join(p.WorkingDir, filepath.FromSlash(c.Flags().Lookup("token-file").Value.String()))
			if address := c.Flags().Lookup("broker").Value.String(); token != p.Secrets["nats_token"].File || address != "nats://127.0.0.1:4222" {
				t.Errorf("%s: token in %s, broker %s", line, token, address)
			}
		case fields[0] == "make":
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(fields[1]) + `:`).MatchString(targets) {
				t.Errorf("%s: there is no such target", line)
			}
		case fields[0] == "export":
			if name, _, _ := strings.Cut(fields[1], "="); !strings.Contains(read(t, "docker-compose.yml"), "${"+name+":-") {
				t.Errorf("%s: nobody reads it", line)
			}
		case strings.HasPrefix(line, "deploy/"):
			if info, err := os.Stat(filepath.Join(checkout, line)); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s: %v", line, err)
			}
		case line != "git pull" && line != "docker stats":
			t.Errorf("%s: nobody has checked this", line)
		}
	}
}

// composeLine checks what is said to Docker Compose: services, and what runs in
// them.
func composeLine(t *testing.T, p *types.Project, line string) {
	t.Helper()
	fields := strings.Fields(line)
	for len(fields) > 0 && fields[0] == "--profile" {
		if !slices.Contains(slices.Collect(maps.Keys(profiles)), fields[1]) {
			t.Errorf("%s: there is no profile %s", line, fields[1])
		}
		fields = fields[2:]
	}
	verb, fields := fields[0], fields[1:]
	if !slices.Contains([]string{"up", "down", "run", "exec", "ps", "logs", "build", "stop", "start", "create"}, verb) {
		t.Errorf("%s: nobody has checked this", line)
	}
	for i, field := range fields {
		if scale, ok := strings.CutPrefix(field, "process="); ok {
			if _, err := strconv.Atoi(scale); err != nil || len(p.Services["process"].Ports) > 0 {
				t.Errorf("%s: cannot be", line)
			}
			continue
		}
		if strings.HasPrefix(field, "-") {
			continue
		}
		s, err := p.GetService(field)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			return
		}
		if verb != "run" && verb != "exec" {
			continue
		}
		arguments := fields[i+1:]
		if verb == "exec" {
			if arguments[0] != "/flightlog" {
				t.Errorf("%s: the image has nothing but /flightlog", line)
			}
			arguments = arguments[1:]
		}
		broker := commandOf(t, arguments).Flags().Lookup("broker")
		if broker == nil || s.Environment[variable("broker")] == nil {
			t.Errorf("%s: it does not find the broker", line)
		}
		return
	}
}
