package extraction

import (
	"bufio"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// RepoName is the name of a repository by the URL of its remote, as
// host/owner/name: the host in lower case, without credentials, port and
// ".git". It understands https://, ssh://, git:// and git@host:owner/name
// forms; "" for a folder of the machine and whatever else has no host.
func RepoName(remoteURL string) string {
	remoteURL = strings.TrimSpace(remoteURL)
	var host, name string
	if scheme, _, found := strings.Cut(remoteURL, "://"); found {
		u, err := url.Parse(remoteURL)
		if err != nil || strings.EqualFold(scheme, "file") || strings.Contains(scheme, ":") {
			return ""
		}
		host, name = u.Hostname(), u.Path
	} else {
		host, name, found = strings.Cut(remoteURL, ":")
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			host = host[at+1:]
		}
		if !found || len(host) < 2 || strings.ContainsAny(host, `/\`) {
			return ""
		}
	}
	name = strings.TrimSuffix(strings.Trim(name, "/"), ".git")
	if host == "" || name == "" || strings.ContainsAny(host+name, " \t\r\n\\") {
		return ""
	}
	return strings.ToLower(host) + "/" + strings.TrimPrefix(name, "~")
}

// Repository reads what the git repository around a folder of this machine is:
// its root (of the worktree, if cwd lies in one), the name of its remote
// "origin" (see [RepoName]), the branch ("" when detached), and user.email by
// the repository's or else the user's own configuration. What is not found is
// empty. It reads files only, at most 256 KiB of each, starts no process, and
// follows neither include nor insteadOf.
func Repository(cwd string) (root, repo, branch, email string) {
	root, gitDir := findGit(cwd)
	if root == "" {
		return "", "", "", ""
	}
	common := gitDir
	if dir := firstLine(filepath.Join(gitDir, "commondir")); dir != "" {
		common = within(gitDir, dir)
	}
	if ref, ok := strings.CutPrefix(firstLine(filepath.Join(gitDir, "HEAD")), "ref: refs/heads/"); ok && ref != ".invalid" {
		branch = ref
	}
	config := readConfig(filepath.Join(common, "config"))
	email = config["user.email"]
	for _, global := range globalConfigs() {
		if email != "" {
			break
		}
		email = readConfig(global)["user.email"]
	}
	return root, RepoName(config[`remote.origin.url`]), branch, email
}

// findGit walks up from a folder to the one that holds .git: the repository's
// own folder, or in worktrees and submodules a file that names it.
func findGit(cwd string) (root, gitDir string) {
	if !filepath.IsAbs(cwd) {
		return "", ""
	}
	for dir := filepath.Clean(cwd); ; dir = filepath.Dir(dir) {
		git := filepath.Join(dir, ".git")
		if info, err := os.Stat(git); err == nil {
			if info.IsDir() {
				return dir, git
			}
			if target, ok := strings.CutPrefix(firstLine(git), "gitdir: "); ok {
				return dir, within(dir, target)
			}
		}
		if dir == filepath.Dir(dir) {
			return "", ""
		}
	}
}

func within(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

func globalConfigs() []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	xdg := os.Getenv("XDG_CONFIG_HOME")
	if xdg == "" {
		xdg = filepath.Join(home, ".config")
	}
	return []string{filepath.Join(home, ".gitconfig"), filepath.Join(xdg, "git", "config")}
}

// open opens a regular file for bounded reading; a pipe would block.
func open(name string) (io.ReadCloser, error) {
	const most = 256 << 10
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, os.ErrInvalid
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, most), f}, nil
}

func firstLine(name string) string {
	f, err := open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	return strings.TrimSpace(line)
}

// readConfig reads a git configuration into section.key and
// section.subsection.key, the last value of each.
func readConfig(name string) map[string]string {
	values := map[string]string{}
	f, err := open(name)
	if err != nil {
		return values
	}
	defer f.Close()
	section := ""
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 256<<10)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			end := strings.LastIndexByte(line, ']')
			if end < 0 {
				continue
			}
			head, sub, quoted := strings.Cut(line[1:end], `"`)
			section = strings.ToLower(strings.TrimSpace(head))
			if quoted {
				section += "." + strings.TrimSuffix(sub, `"`)
			}
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		values[section+"."+strings.ToLower(strings.TrimSpace(key))] = configValue(value)
	}
	return values
}

// configValue takes quotes and a comment off the value of a configuration.
func configValue(text string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case (c == '#' || c == ';') && !quoted:
			return strings.TrimSpace(b.String())
		default:
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(b.String())
}
