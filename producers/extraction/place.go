package extraction

import (
	"path"
	"strings"
)

// Place is where a session works: what turns the absolute paths of records
// into paths of the repository, without the user's name.
type Place struct {
	Root  string // folder that paths become relative to: the repository or start folder
	Home  string // the user's home folder, "" if the root does not lie in one
	Login string // the user's login by the name of that folder; "" if unknown, or root
}

// PlaceOf finds the place of a record. Folder is the name of Claude's project
// folder, which is the start folder with every character outside [A-Za-z0-9]
// replaced by '-' (contract §3.1); it may be empty. The root is the ancestor
// of cwd (or cwd itself) that encodes to folder; else, in a worktree that the
// client made, the folder that holds .claude/worktrees; else cwd.
func PlaceOf(folder, cwd string) Place {
	cwd = slashed(cwd[:min(len(cwd), longestPath)])
	p := Place{Root: cwd}
	if root, found := ancestor(folder, cwd); found {
		p.Root = root
	} else if before, _, found := strings.Cut(cwd, "/"+worktrees); found && before != "" {
		p.Root = before
	}
	if start, end := nextHome(cwd); start == 0 {
		p.Home = cwd[:end]
		if p.Home != "/root" {
			p.Login = path.Base(p.Home)
		}
	}
	return p
}

// worktrees is where the client puts worktrees, agent-<id> for those of
// subagents (contract §6, gotcha 8).
const worktrees = ".claude/worktrees/"

// longestPath is how much of a path is read; an event keeps 4 KiB of it.
const longestPath = 8 << 10

// Path is a path of a record relative to the root, with '/'. A file in a
// worktree of the client is named like the same file of the repository. What
// lies outside of the root starts with ~ if it is in anybody's home folder,
// and is absolute else. The user's login is replaced by ~ wherever it is an
// element of the path, unless it is an everyday word such as dev.
func (p Place) Path(name string) string {
	if name == "" {
		return ""
	}
	name = slashed(name[:min(len(name), longestPath)])
	if isDrive(p.Root) {
		name = strings.ReplaceAll(name, `\`, "/")
	}
	if rest, ok := strings.CutPrefix(name, "~/"); ok && p.Home != "" {
		name = p.Home + "/" + rest
	}
	if name[0] != '/' && name[0] != '~' && !isDrive(name) && p.Root != "" {
		name = p.Root + "/" + name
	}
	name = path.Clean(name)
	rest, ok := under(name, p.Root)
	if !ok {
		return HideLogin(HideHome(name), p.Login)
	}
	if inside, ok := strings.CutPrefix(rest, worktrees); ok {
		if _, file, found := strings.Cut(inside, "/"); found {
			rest = file
		} else {
			rest = "."
		}
	}
	return HideLogin(rest, p.Login)
}

// Folder is the name of the project folder in the path of a transcript,
// .../projects/<folder>/<session>.jsonl, or of a file below it (contract
// §3.1); "" if the path has another form.
func Folder(transcriptPath string) string {
	const projects = "/projects/"
	transcriptPath = slashed(transcriptPath)
	at := strings.LastIndex(transcriptPath, projects)
	if at < 0 {
		return ""
	}
	folder, _, found := strings.Cut(transcriptPath[at+len(projects):], "/")
	if !found {
		return ""
	}
	return folder
}

// ancestor is cwd or the folder above it whose encoded name is folder: every
// character outside [A-Za-z0-9] a dash. The client counts in UTF-16 units.
func ancestor(folder, cwd string) (string, bool) {
	if folder == "" {
		return "", false
	}
	at := 0 // in folder
	for i, r := range cwd {
		if at == len(folder) {
			return cwd[:i], r == '/'
		}
		switch {
		case r < 0x80 && isAlnum(byte(r)):
			if folder[at] != byte(r) {
				return "", false
			}
		case r > 0xFFFF && strings.HasPrefix(folder[at:], "--"):
			at++
		case folder[at] != '-':
			return "", false
		}
		at++
	}
	return cwd, at == len(folder)
}

// slashed gives a Windows path, which may mix both separators, slashes only.
// Elsewhere a backslash is a character of a name.
func slashed(name string) string {
	if isDrive(name) || strings.HasPrefix(name, `\\`) {
		return strings.ReplaceAll(name, `\`, "/")
	}
	return name
}

func isDrive(name string) bool {
	return len(name) >= 3 && isLetter(name[0]) && name[1] == ':' && (name[2] == '/' || name[2] == '\\')
}

// under is the rest of a cleaned path below root, "." for root itself.
func under(name, root string) (string, bool) {
	root = strings.TrimRight(root, "/")
	if root == "" || len(name) < len(root) {
		return "", false
	}
	head, rest := name[:len(root)], name[len(root):]
	if head != root && !(isDrive(root) && strings.EqualFold(head, root)) {
		return "", false
	}
	if rest == "" {
		return ".", true
	}
	return rest[1:], rest[0] == '/'
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool  { return isLetter(c) || isDigit(c) }
