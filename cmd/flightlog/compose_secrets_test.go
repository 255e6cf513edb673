package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

var secretName = regexp.MustCompile(`(?i)password|passwd|passcode|token|secret|credential`)

func TestComposeHoldsNoSecret(t *testing.T) {
	eachService(t, func(t *testing.T, p *types.Project, s types.ServiceConfig) {
		for name, value := range s.Environment {
			if value != nil && secretName.MatchString(name) && !strings.HasSuffix(name, "_FILE") {
				t.Errorf("%s stands in the environment", name)
			}
		}
		for _, secret := range s.Secrets {
			if _, ok := p.Secrets[secret.Source]; !ok {
				t.Errorf("secret %s is not declared", secret.Source)
			}
		}
	})
	ignored := strings.Split(strings.TrimSpace(read(t, "deploy/compose/secrets/.gitignore")), "\n")
	if !slices.Contains(ignored, "*") {
		t.Error("git does not ignore the folder of the secrets")
	}
	p := compose(t, nil, "kafka")
	var made []string
	for name, secret := range p.Secrets {
		rel, err := filepath.Rel(p.WorkingDir, secret.File)
		if err != nil || filepath.ToSlash(filepath.Dir(rel)) != "deploy/compose/secrets" || slices.Contains(ignored, "!"+filepath.Base(rel)) {
			t.Errorf("secret %s is in %q, want a file in deploy/compose/secrets that git ignores", name, secret.File)
		}
		made = append(made, filepath.Base(rel))
	}

	// create makes just these, for this folder's owner only, and keeps them.
	dir := t.TempDir()
	script := filepath.Join(dir, "create")
	if err := os.WriteFile(script, []byte(read(t, "deploy/compose/secrets/create")), 0o700); err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{}
	for range 2 {
		if out, err := exec.Command(script).CombinedOutput(); err != nil {
			t.Fatalf("create: %v %s", err, out)
		}
		for _, name := range made {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !regexp.MustCompile(`^[A-Za-z0-9]{40}$`).Match(text) {
				t.Errorf("%s: %v, %d bytes", name, err, len(text))
			}
			if old, ok := contents[name]; ok && old != string(text) {
				t.Errorf("%s was made anew", name)
			}
			contents[name] = string(text)
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o444 {
				t.Errorf("%s: %v %v, want 0444", name, info.Mode(), err)
			}
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v, want 0700", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(made)+1 {
		t.Errorf("%v: create left %v, want %v", err, entries, made)
	}
}
