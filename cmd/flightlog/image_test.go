package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile.
type instruction struct{ name, rest string }

// lintDockerfile checks what every Dockerfile must keep and gives its
// instructions.
func lintDockerfile(t *testing.T, folder string) (all []instruction) {
	t.Helper()
	stages := map[string]bool{}
	for _, line := range strings.Split(strings.ReplaceAll(read(t, filepath.Join(folder, "Dockerfile")), "\\\n", " "), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		all = append(all, instruction{name, rest})
		fields := strings.Fields(rest)
		switch name {
		case "FROM":
			if fields[0] != "scratch" && !pinned.MatchString(fields[0]) {
				t.Errorf("%s: not pinned", line)
			}
			if len(fields) == 3 {
				stages[fields[2]] = true
			}
		case "COPY":
			from := ""
			for len(fields) > 0 && strings.HasPrefix(fields[0], "--") {
				if image, ok := strings.CutPrefix(fields[0], "--from="); ok {
					from = image
				}
				fields = fields[1:]
			}
			switch {
			case from == "":
				for _, source := range fields[:len(fields)-1] {
					if _, err := os.Stat(filepath.Join(checkout, folder, source)); err != nil {
						t.Errorf("%s: %v", line, err)
					}
				}
			case !stages[from] && !pinned.MatchString(from):
				t.Errorf("%s: neither a stage nor pinned", line)
			}
		case "ENTRYPOINT":
			if !strings.HasPrefix(rest, "[") {
				t.Errorf("%s: by a shell", line)
			}
		case "ADD", "MAINTAINER", "EXPOSE":
			t.Errorf("%s: not here", line)
		}
	}
	return all
}

func TestTheImageIsTheStaticBinaryAndNothingElse(t *testing.T) {
	all := lintDockerfile(t, ".")
	build := -1
	var final []instruction
	for i, in := range all {
		if in.name == "FROM" {
			final = all[i:]
		}
		if in.name == "RUN" && strings.Contains(in.rest, "go build") {
			build = i
		}
	}
	// The build is that of make build: the same flags, in the same order.
	made := regexp.MustCompile(`(?m)^\t(CGO_ENABLED=0) \$\(GO\) (build .*)-ldflags '(.*)\$\(VERSION\)' -o bin/ (\S+)$`).FindStringSubmatch(read(t, "Makefile"))
	if made == nil || build < 0 {
		t.Fatal("no build in Makefile or Dockerfile")
	}
	want := fmt.Sprintf(`%s go %s-ldflags "%s$VERSION" -o /out/ %s`, made[1], made[2], made[3], made[4])
	if got := all[build].rest; got != want {
		t.Errorf("it builds by\n%s, make build by\n%s", got, want)
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "go.mod"))[1]
	if got := all[0].rest; got != "golang:"+version+" AS build" {
		t.Errorf("it is built by %s, go.mod wants %s", got, version)
	}
	if !slices.Contains(all, instruction{"ARG", "VERSION=devel"}) {
		t.Error("it has no version")
	}
	if final[0].rest != "scratch" {
		t.Errorf("it stands on %s", final[0].rest)
	}
	user := ""
	for _, in := range final {
		switch in.name {
		case "RUN":
			t.Errorf("RUN %s: there is no shell", in.rest)
		case "USER":
			user = in.rest
		}
	}
	uid, _, _ := strings.Cut(user, ":")
	if n, err := strconv.Atoi(uid); err != nil || n < 1000 {
		t.Errorf("it runs as %q, want the number of a user that is not root", user)
	}
	if last := final[len(final)-1]; last != (instruction{"ENTRYPOINT", `["/flightlog"]`}) {
		t.Errorf("it ends with %v", last)
	}
	// Folders of volumes belong to the user: Docker gives them to a new volume.
	for _, s := range compose(t, nil, "kafka").Services {
		for _, v := range s.Volumes {
			if ours(s) && !slices.ContainsFunc(all, func(in instruction) bool { return in.name == "RUN" && strings.Contains(in.rest, "/folders"+v.Target) }) {
				t.Errorf("%s is no folder of the image", v.Target)
			}
		}
	}
	if !slices.Contains(final, instruction{"COPY", "--from=build --chown=" + user + " /folders/ /"}) {
		t.Error("the folders are not the user's")
	}
}

func TestTheImageIsBuiltOfWhatItNeeds(t *testing.T) {
	lines := strings.Fields(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(read(t, ".dockerignore"), ""))
	if lines[0] != "*" {
		t.Fatalf("it begins with %s, want nothing", lines[0])
	}
	let := map[string]bool{}
	for _, line := range lines[1:] {
		if name, ok := strings.CutPrefix(line, "!"); ok {
			let[name] = true
			if _, err := os.Stat(filepath.Join(checkout, name)); err != nil {
				t.Error(err)
			}
		}
	}
	list := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "./cmd/...")
	list.Dir = checkout
	var out, errs bytes.Buffer
	list.Stdout, list.Stderr = &out, &errs
	if err := list.Run(); err != nil {
		t.Fatalf("go list: %v %s", err, errs.String())
	}
	needed := map[string]bool{"go.mod": true, "go.sum": true}
	for _, p := range strings.Fields(out.String()) {
		room, inner, _ := strings.Cut(strings.TrimPrefix(p, "github.com/flightlog/flightlog/"), "/")
		if room == "deploy" { // beside what the build needs of it are the secrets
			inner, _, _ = strings.Cut(inner, "/")
			room += "/" + inner
		}
		needed[room] = true
	}
	if !maps.Equal(let, needed) {
		t.Errorf("the build gets %v, needs %v", slices.Sorted(maps.Keys(let)), slices.Sorted(maps.Keys(needed)))
	}
}
