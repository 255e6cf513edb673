package extraction

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// call walks a simple command: its substitutions, then what it runs.
func (sh *shell) call(cmd *syntax.CallExpr) {
	if len(cmd.Args) == 0 {
		sh.assign(cmd.Assigns)
		return
	}
	for _, assign := range cmd.Assigns {
		sh.word(assign.Value)
	}
	args := make([]word, len(cmd.Args))
	for i, arg := range cmd.Args {
		args[i] = sh.word(arg)
	}
	sh.run(args)
}

// run tells what a program does by its words.
func (sh *shell) run(args []word) {
	whole := args
	args = unwrapped(args)
	for _, wrapper := range whole[:len(whole)-min(len(whole), len(args))] {
		sh.facts.Waits = sh.facts.Waits || wrapper.text == "watch"
	}
	if len(args) == 0 || !args[0].known {
		return
	}
	called, args := args[0], args[1:]
	name := programName(called.text)
	sh.facts.Waits = sh.facts.Waits || waits(name, args)
	if sh.bypasses(called.text, args) {
		return
	}
	sh.carry(name, args)
	sh.packages(name, args)
	if by := sh.fromNetwork(called); by != "" {
		sh.networkInstall(by, sourceScript)
	}
	switch name {
	case "":
	case "cd", "pushd", "popd":
		sh.changeFolder(name, args)
		sh.name("other", name, 0)
	case "eval":
		sh.evaluate(args)
	case "source", ".":
		if len(args) > 0 && sh.fromNetwork(args[0]) != "" {
			sh.networkInstall(sh.fromNetwork(args[0]), sourceScript)
		}
		sh.name("interpreter", "source", 0)
	case "find":
		sh.find(args)
	case "bash", "sh":
		sh.runShell(name, args)
	default:
		if module, rest, ok := pythonModule(name, args); ok {
			sh.run(append([]word{module}, rest...))
			return
		}
		if programs()[name].class == "interpreter" && sh.runFile(name, args) {
			return
		}
		sh.program(name, called.text, args)
		sh.writesOf(name, args)
	}
}

// fromNetwork is the program that loads a word from the network, or that loaded
// the file that it names; "" if none does.
func (sh *shell) fromNetwork(w word) string {
	if !w.known || w.text == "" {
		return w.fetched
	}
	return sh.fetched[sh.resolve(w.text)]
}

// programName is the name of a program in the table: its base name, under one
// name where it has several (python3.12, pip3, ./gradlew).
func programName(text string) string {
	name := baseName(text)
	switch name {
	case ".":
		return name
	case "[":
		return "test"
	}
	for _, suffix := range []string{".exe", ".cmd", ".bat"} {
		name = strings.TrimSuffix(name, suffix)
	}
	for _, family := range []string{"python", "pip", "ruby", "perl", "php", "lua", "pypy"} {
		if rest, ok := strings.CutPrefix(name, family); ok && strings.Trim(rest, "0123456789.") == "" {
			name = family
		}
	}
	if other, ok := otherNames[name]; ok {
		name = other
	}
	if !safeName(name) {
		return ""
	}
	return name
}

// program names the line by a program and its subcommand, and sets the facts
// that follow from them.
func (sh *shell) program(name, path string, args []word) {
	p, known := programs()[name]
	if !known {
		sh.unknown(name, path, args)
		return
	}
	target, class, rest := name, p.class, args
	var sub subcommand
	for level := name; ; {
		word, after, ok := findSubcommand(programs()[level].subs, rest)
		if !ok {
			break
		}
		sub, rest = programs()[level].subs[word], after
		target, class, level = target+" "+word, sub.class, level+"."+word
	}
	switch {
	case name == "pacman" && hasOption(args, "-S", 'S'), name == "nix-env" && hasOption(args, "-iA", 'i'):
		class, sub.adds = "install", true
	case runners[name]:
		class, target = kindOfTargets(name, target, class, args)
	case class == "package_manager":
		class = kindOfPackageScript(target, rest)
	case name == "node" && hasOption(args, "--test", 0):
		class = "test"
	}
	if class == "test" && (runsNone(args) || runners[name] && onlyPrints(name, args)) {
		class = "read"
	}
	if target == "go test" && hasWord(rest, "-c") && class == "test" {
		class = "build"
	}
	source := ""
	if sub.adds {
		source = sh.installSource(name, rest)
	}
	switch {
	case source != "":
		sh.networkInstall(target, source)
	case class == "install":
		sh.facts.Install = true
	case class == "test":
		sh.facts.Test = true
	case target == "git commit":
		sh.facts.Commit = sh.facts.Commit || !hasOption(rest, "--dry-run", 0)
	case target == "git push":
		sh.facts.Push = sh.facts.Push || !hasOption(rest, "--dry-run", 'n')
	case name == "curl" || name == "wget":
		sh.fetches = name
	}
	weight := telling[target]
	if turnedOn(args, "--dry-run", "--help", "-help", "-h") && !hasWord(args, "--dry-run=none") || target == "git push" && hasOption(rest, "--dry-run", 'n') {
		weight = 0
	}
	sh.name(class, target, weight)
}

// telling are the commands that tell more of a line than others of their class:
// commits, pushes and pull requests, of which the first names the line, and
// still more releases and changes of infrastructure, of which the last does.
var telling = func() map[string]int {
	weights := map[string]int{"git commit": 1, "git push": 1, "gh pr create": 1, "gh pr merge": 1}
	for _, target := range []string{"gh release create",
		"terraform apply", "terraform destroy", "tofu apply", "tofu destroy", "terragrunt apply", "terragrunt destroy",
		"pulumi up", "pulumi destroy", "helm install", "helm upgrade", "helm uninstall", "helm rollback", "helm push",
		"kubectl apply", "kubectl create", "kubectl delete", "kubectl drain", "kubectl patch", "kubectl replace",
		"kubectl scale", "kubectl set", "skaffold deploy", "skaffold run", "fly deploy", "vercel deploy", "netlify deploy",
		"wrangler deploy", "wrangler publish", "docker push", "docker compose push", "podman push", "nerdctl push",
		"npm publish", "pnpm publish", "yarn publish", "bun publish", "cargo publish", "poetry publish", "uv publish",
		"hatch publish", "gem push", "deno publish", "lerna publish"} {
		weights[target] = 2
	}
	return weights
}()

// unknown names the line by a program that is not in the table: a script by
// what it is called.
func (sh *shell) unknown(name, path string, args []word) {
	class := "other"
	if strings.ContainsAny(path, `/\`) || strings.HasSuffix(name, ".sh") {
		class = "interpreter"
		if kind := kindOfScript(name); kind != "" && !(kind == "test" && runsNone(args)) {
			class = kind
		}
	}
	sh.facts.Test = sh.facts.Test || class == "test"
	sh.name(class, name, 0)
}

// changeFolder follows cd. A folder that is not known makes paths stay as they
// are written.
func (sh *shell) changeFolder(name string, args []word) {
	for len(args) > 0 && args[0].known && len(args[0].text) > 1 && args[0].text[0] == '-' {
		args = args[1:]
	}
	switch {
	case name == "popd" || len(args) > 0 && (!args[0].known || args[0].text == "-"):
		sh.cwd = ""
	case len(args) == 0:
		sh.cwd = "~"
	case args[0].text != "":
		sh.cwd = sh.resolve(args[0].text)
	}
}

// find runs programs and deletes files that it finds; which, nobody knows.
func (sh *shell) find(args []word) {
	class := "search"
	for i, arg := range args {
		switch arg.text {
		case "-delete":
			class, sh.facts.Deletes = "delete", true
		case "-exec", "-execdir", "-ok", "-okdir":
			rest := args[i+1:]
			for end, word := range rest {
				if word.text == ";" || word.text == "+" {
					rest = rest[:end]
					break
				}
			}
			called := make([]word, len(rest))
			for at, word := range rest {
				if !strings.Contains(word.text, "{}") {
					called[at] = word
				}
			}
			sh.run(called)
		}
	}
	sh.name(class, "find", 0)
}

// findSubcommand is the first operand, if it is one of the known subcommands.
// What follows an option may be its value.
func findSubcommand(subs map[string]subcommand, args []word) (name string, rest []word, ok bool) {
	afterOption := false
	for i := 0; i < len(args) && args[i].known; i++ {
		text := args[i].text
		switch _, known := subs[text]; {
		case known:
			return text, args[i+1:], true
		case strings.HasPrefix(text, "-") || strings.HasPrefix(text, "+"):
			afterOption = true
			if valuedOptions[text] {
				i++
			}
		case !afterOption:
			return "", args, false
		default:
			afterOption = false
		}
	}
	return "", args, false
}

// runners run targets that a repository names.
var runners = set("make gmake just task rake invoke gradle mvn ant sbt lein nx turbo bazel buck2 xcodebuild rails mix ninja cmake meson")

// kindOfTargets is the class of the targets that a runner is given, the most
// telling one, and the runner's name with that target if it is a common one.
func kindOfTargets(name, target, class string, args []word) (string, string) {
	for _, arg := range operands(args, "-C -f -j -p -P -pl -x --exclude-task --file --project-dir") {
		kind := kindOfScript(arg.text)
		if arg.text == "check" || arg.text == "verify" {
			kind = "test"
		}
		if kind != "" && class != "test" && !strings.Contains(arg.text, "=") {
			class = kind
			if _, common := programs()[name].subs[arg.text]; common {
				target = name + " " + arg.text
			}
		}
	}
	return class, target
}

// kindOfPackageScript is the class of a script of a package that npm run and
// the like are given.
func kindOfPackageScript(target string, rest []word) string {
	switch {
	case target == "yarn" && len(rest) == 0:
		return "install"
	case target == "yarn" || target == "pnpm" || target == "bun", strings.HasSuffix(target, " run"),
		strings.HasSuffix(target, " run-script"), strings.HasSuffix(target, " task"):
		if scripts := operands(rest, "-w --workspace --prefix --filter -F --cwd -C"); len(scripts) > 0 {
			if kind := kindOfScript(scripts[0].text); kind != "" {
				return kind
			}
		}
	}
	return "package_manager"
}

// runsNone tells a test command that runs no test.
func runsNone(args []word) bool {
	for _, arg := range args {
		switch arg.text {
		case "--help", "-h", "--version", "--no-run", "--collect-only", "--co", "--listTests", "--list", "-list",
			"--list-tests", "--dry-run", "--showConfig", "--init", "--fixtures", "-DskipTests", "-DskipTests=true",
			"-Dmaven.test.skip=true", "--markers", "--setup-plan":
			return true
		}
		if strings.HasPrefix(arg.text, "-list=") {
			return true
		}
	}
	return false
}

// onlyPrints tells a runner that prints what it would do.
func onlyPrints(name string, args []word) bool {
	switch name {
	case "make", "gmake":
		for _, arg := range args {
			// Other letters take a value that may hold an n: -Cnode.
			if letters, ok := strings.CutPrefix(arg.text, "-"); ok && letters != "" && strings.Trim(letters, "nksBe") == "" &&
				strings.Contains(letters, "n") {
				return true
			}
		}
		return hasWord(args, "--just-print") || hasWord(args, "--recon")
	case "just", "ninja", "rake":
		return hasWord(args, "-n")
	case "gradle":
		return hasWord(args, "-m")
	}
	return false
}

// hasOption tells whether an option is among the words, in its long form or as
// a letter among others (0 for none).
func hasOption(args []word, long string, short byte) bool {
	for _, arg := range args {
		if arg.text == long || strings.HasPrefix(arg.text, long+"=") && strings.HasPrefix(long, "--") {
			return true
		}
		if short != 0 && len(arg.text) > 1 && arg.text[0] == '-' && arg.text[1] != '-' && strings.IndexByte(arg.text, short) > 0 {
			return true
		}
	}
	return false
}

// listed tells whether a word stands in a list of words with one blank between.
func listed(list, word string) bool {
	for list != "" {
		first, rest, _ := strings.Cut(list, " ")
		if first == word {
			return true
		}
		list = rest
	}
	return false
}
