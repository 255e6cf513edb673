package extraction

import "strings"

// runShell walks what a shell runs: the text after -c, its input where the
// command says it, or a file.
func (sh *shell) runShell(name string, args []word) {
	reads := true // its input
	for i, arg := range args {
		text := arg.text
		if text == "-s" || text == "-" {
			break
		}
		if arg.known && strings.HasPrefix(text, "-") {
			if !strings.HasPrefix(text, "--") && strings.HasSuffix(text, "c") && i+1 < len(args) {
				sh.runText(name, args[i+1])
				return
			}
			continue
		}
		reads = false
		break
	}
	if !reads {
		if !sh.runFile(name, args) {
			sh.name("interpreter", name, 0)
		}
		return
	}
	sh.runsInput = name
	if script := sh.heredoc; script != "" {
		sh.heredoc = ""
		sh.apart(func() { sh.script(script) })
	}
	sh.name("interpreter", name, 0)
}

// runText walks a script that stands in a word.
func (sh *shell) runText(name string, script word) {
	if script.fetched != "" {
		sh.networkInstall(script.fetched, sourceScript)
	}
	sh.apart(func() { sh.script(script.text) })
	sh.name("interpreter", name, 0)
}

// evaluate walks the words of eval as the script that they make.
func (sh *shell) evaluate(args []word) {
	var script []string
	for _, arg := range args {
		if arg.fetched != "" {
			sh.networkInstall(arg.fetched, sourceScript)
		}
		if !arg.known {
			sh.name("interpreter", "eval", 0)
			return
		}
		script = append(script, arg.text)
	}
	sh.script(strings.Join(script, " "))
	sh.name("interpreter", "eval", 0)
}

// pythonModule is the program that python -m runs, where it is one of the
// table.
func pythonModule(name string, args []word) (module word, rest []word, ok bool) {
	if name != "python" {
		return word{}, nil, false
	}
	for i, arg := range args {
		if arg.text == "-m" && i+1 < len(args) {
			_, ok := programs()[args[i+1].text]
			return args[i+1], args[i+2:], ok
		}
		if !strings.HasPrefix(arg.text, "-") {
			break
		}
	}
	return word{}, nil, false
}

// runFile names the line by the file that an interpreter runs, if it came from
// the network or its name tells of a test or build. Without a file the
// interpreter runs its input.
func (sh *shell) runFile(name string, args []word) bool {
	for i, arg := range args {
		if arg.known && len(arg.text) > 1 && arg.text[0] == '-' {
			if arg.text[1] != '-' && strings.ContainsAny(arg.text, "ecpErR") {
				if i+1 < len(args) && args[i+1].whole { // code on the command line
					sh.networkInstall(args[i+1].fetched, sourceScript)
					return true
				}
				return false
			}
			continue
		}
		if arg.text == "-" {
			break
		}
		if by := sh.fromNetwork(arg); by != "" {
			sh.networkInstall(by, sourceScript)
			return true
		}
		file := baseName(arg.text)
		kind := ""
		if strings.ContainsAny(arg.text, "./") {
			kind = kindOfScript(file)
		}
		if (file == "manage.py" || file == "setup.py" || file == "artisan") && i+1 < len(args) {
			kind = kindOfScript(args[i+1].text)
		}
		if kind == "" || kind == "test" && runsNone(args) {
			return false
		}
		sh.facts.Test = sh.facts.Test || kind == "test"
		sh.name(kind, name, 0)
		return true
	}
	if sh.runsInput == "" && !hasOption(args, "--version", 'v') && !hasOption(args, "--test", 0) {
		sh.runsInput = name
	}
	return false
}
