package extraction

import (
	"strings"
	"testing"
)

func TestThePlaceIsFoundByTheNameOfTheProjectFolder(t *testing.T) {
	for _, c := range []struct {
		name, folder, cwd string
		want              Place
	}{
		{"the start folder itself", "-home-dev-src-shop", "/home/dev/src/shop", Place{"/home/dev/src/shop", "/home/dev", "dev"}},
		{"a folder below it", "-home-dev-src-shop", "/home/dev/src/shop/packages/api", Place{"/home/dev/src/shop", "/home/dev", "dev"}},
		{"a folder whose name has other characters", "-home-dev-my-app--2-", "/home/dev/my app (2)", Place{"/home/dev/my app (2)", "/home/dev", "dev"}},
		{"a character of two UTF-16 units", "-srv---", "/srv/😀", Place{"/srv/😀", "", ""}},
		{"a worktree of a subagent", "", "/home/dev/shop/.claude/worktrees/agent-a10f/src", Place{"/home/dev/shop", "/home/dev", "dev"}},
		{"another folder", "-home-dev-src-shop", "/srv/other", Place{"/srv/other", "", ""}},
		{"no folder", "", "/Users/anna/shop", Place{"/Users/anna/shop", "/Users/anna", "anna"}},
		{"root's home", "", "/root/shop", Place{"/root/shop", "/root", ""}},
		{"Windows", "C--Users-anna-shop", `C:\Users\anna\shop\src`, Place{"C:/Users/anna/shop", "C:/Users/anna", "anna"}},
		{"Windows with both separators", "", `C:\Users/anna\shop`, Place{"C:/Users/anna/shop", "C:/Users/anna", "anna"}},
		{"nothing", "", "", Place{}},
	} {
		if got := PlaceOf(c.folder, c.cwd); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestPathsBecomeRelativeToTheRepository(t *testing.T) {
	shop := PlaceOf("", "/home/anna/src/shop")
	windows := PlaceOf("", `C:\Users\anna\shop`)
	for _, c := range []struct {
		place      Place
		path, want string
	}{
		{shop, "/home/anna/src/shop/src/a.js", "src/a.js"},
		{shop, "src/a.js", "src/a.js"},
		{shop, "./src/../b.js", "b.js"},
		{shop, "/home/anna/src/shop", "."},
		{shop, "/home/anna/src/shop/.claude/worktrees/agent-a10fac45/src/a.js", "src/a.js"},
		{shop, ".claude/worktrees/agent-a10fac45/src/a.js", "src/a.js"},
		{shop, "/home/anna/src/shop/.claude/worktrees/agent-a10fac45", "."},
		{shop, "/home/anna/src/shop/.claude/settings.json", ".claude/settings.json"},
		{shop, "/home/anna/src/shopping/a.js", "~/src/shopping/a.js"},
		{shop, "../other/a.js", "~/src/other/a.js"},
		{shop, "/home/anna/.claude/settings.json", "~/.claude/settings.json"},
		{shop, "~/.bashrc", "~/.bashrc"},
		{shop, "~/src/shop/a.js", "a.js"},
		{shop, "~bob/x", "~/x"},
		{shop, "/home/bob/notes", "~/notes"},
		{shop, "/Users/bob/notes", "~/notes"},
		{shop, "/home/anna", "~"},
		{shop, "/root/.ssh/id_rsa", "~/.ssh/id_rsa"},
		{shop, "/etc/claude-code/managed-settings.json", "/etc/claude-code/managed-settings.json"},
		{shop, "/mnt/data/anna/x", "/mnt/data/~/x"},
		{shop, "/tmp/claude-1000/-home-anna-src-shop/tasks/x", "/tmp/claude-1000/~-src-shop/tasks/x"},
		{shop, "src/home/index.js", "src/home/index.js"},
		{shop, "users/anna/notes.md", "users/~/notes.md"},
		{shop, "/var/home/anna/x", "~/x"},
		{shop, "C:/Users/anna/x", "~/x"},
		{shop, "/srv/root/x", "/srv/root/x"},
		{shop, "", ""},
		{PlaceOf("", "/home/dev/shop"), "config/dev/values.yaml", "config/dev/values.yaml"},
		{PlaceOf("", "/srv/shop"), "/srv/shop/a.js", "a.js"},
		{Place{}, "/home/anna/a.js", "~/a.js"},
		{Place{}, "src/../a.js", "a.js"},
		{windows, `C:\Users\anna\shop\src\a.js`, "src/a.js"},
		{windows, `c:\users\Anna\Shop\src\a.js`, "src/a.js"},
		{windows, `src\a.js`, "src/a.js"},
		{windows, `C:\Users\anna\AppData\x`, "~/AppData/x"},
		{windows, `D:\data\x`, "D:/data/x"},
		{PlaceOf("", `C:\Users\Anna Example\shop`), `C:\Users\Anna Example\x`, "~/x"},
	} {
		if got := c.place.Path(c.path); got != c.want {
			t.Errorf("%s in %s: got %s, want %s", c.path, c.place.Root, got, c.want)
		}
	}
}

func TestFolderIsFoundInThePathsOfTranscripts(t *testing.T) {
	for path, want := range map[string]string{
		"/home/dev/.claude/projects/-home-dev-src-shop/0b1e.jsonl":                     "-home-dev-src-shop",
		"/home/dev/.claude/projects/-home-dev-src-shop/0b1e/subagents/agent-a10.jsonl": "-home-dev-src-shop",
		"/home/dev/projects/x/.claude/projects/-home-dev-projects-x/0b1e.jsonl":        "-home-dev-projects-x",
		`C:\Users\anna\.claude\projects\C--Users-anna-shop\0b1e.jsonl`:                 "C--Users-anna-shop",
		"/home/dev/.claude/history.jsonl":                                              "",
		"/home/dev/.claude/projects/":                                                  "",
		"":                                                                             "",
	} {
		if got := Folder(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestHomeFoldersAreHiddenWhereverTheyStand(t *testing.T) {
	for text, want := range map[string]string{
		"/home/anna":                               "~",
		"/home/anna/x:/home/bob/y":                 "~/x:~/y",
		"cp /home/anna/a /Users/bob/b":             "cp ~/a ~/b",
		`open C:\Users\Anna Example\x now`:         `open ~\x now`,
		"file:///home/anna/x":                      "file://~/x",
		"/mnt/c/Users/anna/x":                      "~/x",
		"https://example.com/home/anna":            "https://example.com/home/anna",
		"src/home/anna":                            "src/home/anna",
		"/Users/Shared/x":                          "/Users/Shared/x",
		"/home/":                                   "/home/",
		"projects/-home-anna-shop":                 "projects/~-shop",
		"my-home-improvement":                      "my-home-improvement",
		"/rootless":                                "/rootless",
		"in /root and /root/x":                     "in ~ and ~/x",
		strings.Repeat("/home/a/", 3):              "~/~/~/",
		"/home/" + strings.Repeat("x", 100) + "/y": "~" + strings.Repeat("x", 36) + "/y",
	} {
		if got := HideHome(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestTheLoginIsHiddenInBranchesButNotInWords(t *testing.T) {
	for _, c := range []struct{ name, login, want string }{
		{"anna/fix-rounding", "anna", "~/fix-rounding"},
		{"users/anna/fix", "anna", "users/~/fix"},
		{"anna-fix-rounding", "anna", "~-fix-rounding"},
		{"anna", "anna", "~"},
		{"fix/annapurna", "anna", "fix/annapurna"},
		{"fix/hanna", "anna", "fix/hanna"},
		{"dev/fix", "dev", "dev/fix"},
		{"fix", "", "fix"},
	} {
		if got := HideLogin(c.name, c.login); got != c.want {
			t.Errorf("%s of %s: got %s, want %s", c.name, c.login, got, c.want)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("-home-anna-shop", "/home/anna/shop", "/home/anna/x")
	f.Add("", `C:\Users\anna x\shop`, `..\x`)
	f.Add("", "/root", "~anna/..")
	f.Fuzz(func(t *testing.T, folder, cwd, path string) {
		place := PlaceOf(folder, cwd)
		got := place.Path(path)
		if len(got) > 2*(len(cwd)+len(path)+2) {
			t.Errorf("%d bytes for %d", len(got), len(path))
		}
		Folder(path)
		HideHome(path)
	})
}

func TestHugePathsAreCutAndQuick(t *testing.T) {
	for _, path := range []string{strings.Repeat("/home/a", 1<<17), strings.Repeat("/", 1<<20), strings.Repeat(`C:\Users\a`, 1<<17), strings.Repeat("/..", 1<<18)} {
		if got := PlaceOf("-x", path).Path(path); len(got) > longestPath {
			t.Errorf("%.20s: %d bytes", path, len(got))
		}
	}
}
