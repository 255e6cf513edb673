package extraction

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRepoNameIsHostOwnerAndName(t *testing.T) {
	for url, want := range map[string]string{
		"https://github.com/example/shop.git":                 "github.com/example/shop",
		"https://GitHub.com/Example/Shop":                     "github.com/Example/Shop",
		"https://anna:ghp_secret@github.com/example/shop.git": "github.com/example/shop",
		"https://git.example.com:8443/group/sub/shop.git/":    "git.example.com/group/sub/shop",
		"ssh://git@example.com:22/example/shop.git":           "example.com/example/shop",
		"git@github.com:example/shop.git":                     "github.com/example/shop",
		"github.com:example/shop":                             "github.com/example/shop",
		"git://example.com/shop.git":                          "example.com/shop",
		"https://github.com/example/shop.git?token=x#y":       "github.com/example/shop",
		"git@ssh.dev.azure.com:v3/org/project/repo":           "ssh.dev.azure.com/v3/org/project/repo",
		"/srv/git/shop.git":                                   "",
		"../shop.git":                                         "",
		"file:///srv/git/shop.git":                            "",
		`C:\git\shop`:                                         "",
		"codecommit::eu-west-1://profile@shop":                "",
		"https://":                                            "",
		"":                                                    "",
	} {
		if got := RepoName(url); got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}

// files writes a tree of files below a folder.
func files(t *testing.T, root string, contents map[string]string) {
	t.Helper()
	for name, content := range contents {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARepositoryIsReadFromItsFiles(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("XDG_CONFIG_HOME", "")
	config := "[core]\n\tbare = false ; no\n[remote \"fork\"]\n\turl = https://example.com/anna/shop\n" +
		"[remote \"origin\"]\n\turl = \"https://x:tok@github.com/example/shop.git\" # main\n\tfetch = +refs\n[User]\n\tEmail = anna@example.com\n"
	files(t, dir, map[string]string{
		"shop/.git/HEAD":                      "ref: refs/heads/fix/rounding\n",
		"shop/.git/config":                    config,
		"shop/src/a.js":                       "",
		"shop/.git/worktrees/agent/HEAD":      "ref: refs/heads/agent-1\n",
		"shop/.git/worktrees/agent/commondir": "../..\n",
		"shop/.claude/worktrees/agent/.git":   "gitdir: " + filepath.Join(dir, "shop/.git/worktrees/agent") + "\n",
		"detached/.git/HEAD":                  "0123456789abcdef0123456789abcdef01234567\n",
		"home/.gitconfig":                     "[user]\nname = Anna\nemail = home@example.com\n",
	})
	for _, c := range []struct{ cwd, root, repo, branch, email string }{
		{"shop", "shop", "github.com/example/shop", "fix/rounding", "anna@example.com"},
		{"shop/src", "shop", "github.com/example/shop", "fix/rounding", "anna@example.com"},
		{"shop/gone/for/good", "shop", "github.com/example/shop", "fix/rounding", "anna@example.com"},
		{"shop/.claude/worktrees/agent", "shop/.claude/worktrees/agent", "github.com/example/shop", "agent-1", "anna@example.com"},
		{"detached", "detached", "", "", "home@example.com"},
	} {
		root, repo, branch, email := Repository(filepath.Join(dir, c.cwd))
		if root != filepath.Join(dir, c.root) || repo != c.repo || branch != c.branch || email != c.email {
			t.Errorf("%s: got %s, %s, %s, %s", c.cwd, root, repo, branch, email)
		}
	}
}

func TestWhereThereIsNoRepositoryEverythingIsEmpty(t *testing.T) {
	dir := t.TempDir()
	files(t, dir, map[string]string{"a/.git": "not a git file", "b/c": ""})
	for _, cwd := range []string{filepath.Join(dir, "a"), filepath.Join(dir, "b"), "", "relative", "/"} {
		if root, repo, branch, email := Repository(cwd); root+repo+branch+email != "" {
			t.Errorf("%s: got %s, %s, %s, %s", cwd, root, repo, branch, email)
		}
	}
}

func TestAHugeOrOddGitConfigurationIsReadInPart(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	files(t, dir, map[string]string{
		".git/HEAD":   strings.Repeat("x", 1<<20),
		".git/config": "[remote \"origin\"]\nurl = https://example.com/a/b\n[broken\n= no key\n" + strings.Repeat("#", 1<<20),
	})
	if _, repo, branch, _ := Repository(dir); repo != "example.com/a/b" || branch != "" {
		t.Errorf("got %q, %q", repo, branch)
	}
}
