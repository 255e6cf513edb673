package extraction

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// writesOf notes the files that a program writes to by its operands.
func (sh *shell) writesOf(name string, args []word) {
	switch name {
	case "tee":
		operation := "unknown"
		if hasOption(args, "--append", 'a') {
			operation = "update"
		}
		sh.writeAll(operands(args, ""), operation)
	case "touch":
		sh.writeAll(operands(args, "-t -d -r --date --reference"), "create")
	case "truncate":
		size, _ := option(args, "-s", "--size")
		for _, file := range operands(args, "-s --size -r --reference") {
			sh.writeFile(file, "update", size.text == "0" || hasOption(args, "-s0", 0))
		}
	case "rm", "rmdir", "unlink", "shred":
		sh.deletes(operands(args, "-n -s --iterations --size"))
	case "cp", "install", "ln", "mv":
		sh.copies(name, args)
	case "dd":
		for _, arg := range args {
			if file, ok := strings.CutPrefix(arg.text, "of="); ok {
				sh.write(word{text: file, known: true}, "unknown")
			}
		}
	case "sed":
		sh.edits(name, args, "efl", "ef")
	case "perl", "ruby":
		sh.edits(name, args, "eEIMmxFCr", "eE")
	case "patch":
		if files := operands(args, "-p -i -o -d -F -D -B -z -r --strip --input --output --directory"); len(files) > 0 {
			sh.write(files[0], "update")
		} else {
			sh.patches(sh.heredoc)
		}
	case "apply_patch":
		for _, arg := range args {
			sh.patches(arg.text)
		}
		sh.patches(sh.heredoc)
	case "git":
		sh.gitWrites(args)
	case "curl":
		sh.download(name, args, "-o", "--output")
	case "wget":
		sh.download(name, args, "-O", "--output-document")
	case "sort":
		if file, ok := option(args, "-o", "--output"); ok {
			sh.write(file, "unknown")
		}
	}
}

func (sh *shell) writeAll(files []word, operation string) {
	for _, file := range files {
		sh.write(file, operation)
	}
}

func (sh *shell) deletes(files []word) {
	sh.facts.Deletes = true
	for _, file := range files {
		sh.writeFile(file, "delete", true)
	}
}

// operands are the words that are no options. Valued names the options that
// take the next word as their value.
func operands(args []word, valued string) (files []word) {
	for i := 0; i < len(args); i++ {
		text := args[i].text
		switch {
		case text == "--":
			return append(files, args[i+1:]...)
		case len(text) > 1 && text[0] == '-':
			if listed(valued, text) {
				i++
			}
		default:
			files = append(files, args[i])
		}
	}
	return files
}

// option is the value of an option, after it or, in its long form, after =.
func option(args []word, short, long string) (value word, ok bool) {
	for i, arg := range args {
		if text, ok := strings.CutPrefix(arg.text, long+"="); ok {
			return word{text: text, known: true}, true
		}
		// A short option may be the last letter of several: -sSLo file.
		cluster := len(arg.text) > 2 && arg.text[0] == '-' && arg.text[1] != '-' && strings.HasSuffix(arg.text, short[1:])
		if (arg.text == short || arg.text == long || cluster) && i+1 < len(args) {
			return args[i+1], true
		}
	}
	return word{}, false
}

// copies notes the target of cp, install, ln and mv, and what mv takes away.
func (sh *shell) copies(name string, args []word) {
	if name == "install" && hasOption(args, "--directory", 'd') {
		return
	}
	files := operands(args, "-t --target-directory -S --suffix -m --mode -o --owner -g --group")
	folder, given := option(args, "-t", "--target-directory")
	if !given && len(files) > 1 {
		folder, files = files[len(files)-1], files[:len(files)-1]
	}
	if name == "mv" {
		sh.writeAll(files, "delete")
	}
	operation := "unknown"
	if name == "ln" {
		operation = "create"
	}
	if !folder.known {
		return
	}
	if !given && len(files) == 1 && !isFolder(folder.text) {
		sh.write(folder, operation)
		return
	}
	for _, file := range files {
		if file.known && file.text != "" {
			sh.write(word{text: strings.TrimRight(folder.text, "/") + "/" + baseName(file.text), known: true}, operation)
		}
	}
}

func isFolder(name string) bool {
	return strings.HasSuffix(name, "/") || name == "." || name == ".." || name == "~" || strings.HasSuffix(name, "/.")
}

// edits notes the files that sed -i or perl -i changes. Letters that take a
// value end a cluster of options; if one of those is the script, no operand is.
func (sh *shell) edits(name string, args []word, valued, script string) {
	var files []word
	inPlace, scripted := false, false
	for i := 0; i < len(args); i++ {
		text := args[i].text
		if !args[i].known || len(text) < 2 || text[0] != '-' {
			files = append(files, args[i])
			continue
		}
		if long, ok := strings.CutPrefix(text, "--"); ok {
			inPlace = inPlace || strings.HasPrefix(long, "in-place")
			switch {
			case long == "expression" || long == "file":
				scripted = true
				i++
			case strings.HasPrefix(long, "expression=") || strings.HasPrefix(long, "file="):
				scripted = true
			}
			continue
		}
		for at := 1; at < len(text); at++ {
			if text[at] == 'i' {
				inPlace = true
				// What follows -i is a suffix, if it does not read like options.
				if strings.Trim(text[at+1:], "eEnprs") != "" {
					break
				}
				continue
			}
			if strings.IndexByte(valued, text[at]) >= 0 {
				scripted = scripted || strings.IndexByte(script, text[at]) >= 0
				if at == len(text)-1 {
					i++
				}
				break
			}
		}
	}
	if len(files) > 0 && files[0].known && files[0].text == "" { // sed -i '' of BSD
		files = files[1:]
	}
	if !scripted && len(files) > 0 {
		files = files[1:]
	}
	if inPlace {
		sh.writeAll(files, "update")
		sh.name("write", name, 0)
	}
}

// restores are the subcommands of git that put other states of files into the
// folder.
var restores = set("bisect checkout cherry-pick merge pull rebase reset restore revert stash switch worktree")

// gitWrites notes the files that git changes by name.
func (sh *shell) gitWrites(args []word) {
	sub, rest, ok := findSubcommand(programs()["git"].subs, args)
	if !ok {
		return
	}
	sh.facts.Restores = sh.facts.Restores || restores[sub]
	switch sub {
	case "checkout":
		for i, arg := range rest {
			if arg.text == "--" {
				sh.writeAll(rest[i+1:], "update")
			}
		}
	case "restore":
		if !hasOption(rest, "--staged", 'S') || hasOption(rest, "--worktree", 'W') {
			sh.writeAll(operands(rest, "-s --source --pathspec-from-file"), "update")
		}
	case "rm":
		if !hasOption(rest, "--cached", 0) {
			sh.deletes(operands(rest, "--pathspec-from-file"))
		}
	case "mv":
		sh.copies("mv", rest)
	case "apply", "am":
		sh.patches(sh.heredoc)
	}
}

// download notes the file that curl or wget writes to, which may be run later.
func (sh *shell) download(name string, args []word, short, long string) {
	file, ok := option(args, short, long)
	if !ok {
		sh.downloadByName(name, args)
	}
	if !ok || !file.known || file.text == "-" || file.text == "" {
		return
	}
	sh.write(file, "unknown")
	sh.fetched[sh.resolve(file.text)] = name
	sh.fetches = ""
}

// downloadByName notes the files that curl -O and wget name after their
// addresses. They are no writes, since wget may choose another name.
func (sh *shell) downloadByName(name string, args []word) {
	folder, given := option(args, "-P", "--directory-prefix")
	if name == "curl" {
		if !hasOption(args, "--remote-name", 'O') && !hasOption(args, "--remote-name-all", 0) {
			return
		}
		folder, given = option(args, "--output-dir", "--output-dir")
		sh.fetches = ""
	} else if hasOption(args, "--output-document", 'O') {
		return
	}
	for _, arg := range args {
		address, _, _ := strings.Cut(arg.text, "?")
		file := address[strings.LastIndexByte(address, '/')+1:]
		if !strings.Contains(address, "://") || file == "" || strings.HasPrefix(address, "-") {
			continue
		}
		if given && folder.text != "" {
			file = strings.TrimRight(folder.text, "/") + "/" + file
		}
		sh.fetched[sh.resolve(file)] = name
	}
}

// downloadInto notes the files that the output of a program that loads
// something from the network is redirected to.
func (sh *shell) downloadInto(redirects []*syntax.Redirect, by string) {
	for _, redirect := range redirects {
		switch redirect.Op {
		case syntax.RdrOut, syntax.RdrClob, syntax.RdrAll, syntax.RdrAllClob:
		default:
			continue
		}
		if redirect.N != nil && redirect.N.Value != "1" {
			continue
		}
		if file := sh.word(redirect.Word); file.known && file.text != "" && !device(file.text) {
			sh.fetched[sh.resolve(file.text)] = by
		}
	}
}

// patches notes the files that a patch changes, in the form of diff -u or of
// apply_patch.
func (sh *shell) patches(text string) {
	old := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if name, ok := strings.CutPrefix(line, "--- "); ok {
			old = patched(name)
		} else if name, ok := strings.CutPrefix(line, "+++ "); ok {
			file, operation := word{text: patched(name), known: true}, "update"
			switch {
			case old == "/dev/null":
				operation = "create"
			case file.text == "/dev/null":
				file.text, operation = old, "delete"
			}
			sh.writeFile(file, operation, operation == "delete")
		}
		for _, head := range patchHeads {
			if name, ok := strings.CutPrefix(line, head.prefix); ok {
				sh.writeFile(word{text: strings.TrimSpace(name), known: true}, head.operation, head.operation == "delete")
			}
		}
	}
}

// patchHeads begin the parts of an apply_patch.
var patchHeads = []struct{ prefix, operation string }{
	{"*** Update File: ", "update"}, {"*** Add File: ", "create"}, {"*** Delete File: ", "delete"},
	{"*** Move to: ", "create"},
}

// patched is the name of a file in the head of a patch, without a/ or b/ and
// time.
func patched(name string) string {
	name, _, _ = strings.Cut(name, "\t")
	name = strings.TrimSpace(name)
	if strings.HasPrefix(name, "a/") || strings.HasPrefix(name, "b/") {
		return name[2:]
	}
	return name
}
