package extraction

import "strings"

// HideHome replaces each home folder in a string by ~, whoever it belongs to:
// /home/<login>, /Users/<login>, C:\Users\<login>, /root, ~<login>, and the
// encoded form -home-<login> of Claude's project folders. A folder "home"
// inside of a repository is none.
func HideHome(text string) string {
	start, end := nextHome(text)
	if start < 0 {
		return text
	}
	var b strings.Builder
	for ; start >= 0; start, end = nextHome(text) {
		b.WriteString(text[:start])
		b.WriteByte('~')
		text = text[end:]
		// What follows a home folder is no start of another one.
		if text != "" {
			b.WriteByte(text[0])
			text = text[1:]
		}
	}
	b.WriteString(text)
	return b.String()
}

// HideLogin replaces by ~ what names the user between the separators of a path
// or branch: an element that is the login, or begins with it and a dash as in
// anna-fix-login. A login that is an everyday word (dev, admin) names nobody
// and stays.
func HideLogin(name, login string) string {
	if login == "" || !strings.Contains(name, login) || everyday[strings.ToLower(login)] {
		return name
	}
	elements := strings.Split(name, "/")
	for i, element := range elements {
		if rest, ok := strings.CutPrefix(element, login); ok && (rest == "" || rest[0] == '-' || rest[0] == '_') {
			elements[i] = "~" + rest
		}
	}
	return strings.Join(elements, "/")
}

// everyday are logins of machines and containers, which are also common names
// of folders and branches.
var everyday = set(`admin administrator agent app build builder ci circleci claude codespace coder
	debian default deploy dev develop developer devcontainer docker ec2-user fix git github gitlab gitpod
	guest home jenkins local main master node nobody prod release root runner runneradmin sandbox server
	service shared src staging system test tester tmp ubuntu user vagrant vscode work worker workspace www
	www-data`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, word := range strings.Fields(words) {
		m[word] = true
	}
	return m
}

// homes are the folders that hold home folders, and what else they may be
// reached through.
var homes = []struct {
	parent string // as it is written after the mount
	mounts []string
}{
	{"/home/", []string{"/var", "/export", "/usr", "/mnt"}},
	{"/Users/", []string{"/System/Volumes/Data", "/mnt/?", "/cygdrive/?", "/?", "?:"}},
	{`\Users\`, []string{"?:"}},
	{"-home-", nil},
	{"-Users-", []string{"?-"}},
}

// nextHome is where the first home folder of a text begins and ends; -1 if
// there is none.
func nextHome(text string) (start, end int) {
	start = -1
	for _, home := range homes {
		for from := 0; ; {
			at := indexFold(text[from:], home.parent)
			if at < 0 {
				break
			}
			at += from
			from = at + 1
			begin, ok := mounted(text[:at], home.mounts)
			if !ok || start >= 0 && begin >= start {
				continue
			}
			login := text[at+len(home.parent):]
			if n := loginEnd(login, home.parent[0]); n > 0 && !strings.EqualFold(login[:n], "shared") {
				start, end = begin, at+len(home.parent)+n
				break
			}
		}
	}
	for from := 0; ; {
		at := strings.Index(text[from:], "/root")
		if at < 0 || start >= 0 && from+at >= start {
			break
		}
		at += from
		from = at + 1
		if after := text[at+len("/root"):]; standsAlone(text[:at]) && (after == "" || !nameByte[after[0]]) {
			start, end = at, at+len("/root")
			break
		}
	}
	if len(text) > 1 && text[0] == '~' && isAlnum(text[1]) && strings.IndexByte(text, '/') > 0 {
		return 0, strings.IndexByte(text, '/')
	}
	return start, end
}

// mounted tells where a home folder begins that follows before: at one of the
// mounts, or right after it. A name before it makes it an ordinary folder.
func mounted(before string, mounts []string) (begin int, ok bool) {
	for _, mount := range mounts {
		begin := len(before) - len(mount)
		if begin >= 0 && matches(before[begin:], mount) && standsAlone(before[:begin]) {
			return begin, true
		}
	}
	return len(before), standsAlone(before)
}

// matches compares a text with a mount, in which ? is any letter.
func matches(text, mount string) bool {
	for i := range len(mount) {
		if text[i] != mount[i] && !(mount[i] == '?' && isLetter(text[i])) {
			return false
		}
	}
	return true
}

func standsAlone(before string) bool {
	if before == "" {
		return true
	}
	return !nameByte[before[len(before)-1]]
}

// nameByte may be part of the name of a folder, or end a variable or ~ that
// stands for one.
var nameByte = func() [256]bool {
	set := byteSet("_.-~}")
	for b := 0x80; b < len(set); b++ {
		set[b] = true
	}
	return set
}()

// loginEnd is the length of the login that a text begins with. It ends at a
// separator; a login may hold a blank only if one follows.
func loginEnd(text string, separator byte) int {
	const longest = 64
	blank := -1
	for i := range min(len(text), longest+1) {
		switch c := text[i]; {
		case c == '/' || c == '\\' || c == separator:
			return i
		case c == ' ' && blank < 0:
			blank = i
		case c < ' ' || strings.IndexByte("\"'`:;,|<>()$*?&", c) >= 0:
			if blank >= 0 {
				return blank
			}
			return i
		}
	}
	if blank >= 0 {
		return blank
	}
	return min(len(text), longest)
}

// indexFold is strings.Index without regard to ASCII case. Windows and macOS
// have no case in their paths.
func indexFold(text, part string) int {
	for i := 0; i+len(part) <= len(text); i++ {
		if text[i] == part[0] && strings.EqualFold(text[i:i+len(part)], part) {
			return i
		}
	}
	return -1
}
