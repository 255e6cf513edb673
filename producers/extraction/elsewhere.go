package extraction

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// elsewhere is the command that a program runs in a container, on another host or
// in an environment of its own, as a text; "" if it runs none. What it writes is
// written there: only whether it runs tests counts here.
func elsewhere(name string, args []word) string {
	texts := make([]string, len(args))
	for i, a := range args {
		if texts[i] = a.text; !a.known {
			texts[i] = "$unknown"
		}
	}
	is := func(words ...string) bool { return len(texts) > 0 && slices.Contains(words, texts[0]) }
	const valued = "-e --env --env-file -u --user -w --workdir -v --volume --name --network -p --publish --entrypoint --mount -f --file --profile --project-name --platform -l --label -m --memory --cpus -H --host"
	switch name {
	case "docker", "podman", "docker-compose", "podman-compose", "nerdctl":
		texts = operandsFrom(texts, valued)
		if is("compose") {
			texts = operandsFrom(texts[1:], valued)
		}
		if is("container") {
			texts = texts[1:]
		}
		if !is("run", "exec") {
			return ""
		}
		if texts = operandsFrom(texts[1:], valued); len(texts) < 2 { // service, container or image
			return ""
		}
		return quoted(texts[1:])
	case "kubectl", "oc", "aws-vault", "chamber", "doppler", "teller":
		if i := slices.Index(texts, "--"); i >= 0 && is("exec", "run", "-n", "--namespace", "--context") {
			return quoted(texts[i+1:])
		}
	case "ssh":
		if texts = operandsFrom(texts, "-p -i -l -o -F -J -L -R -D -b -c -e -m -S -W"); len(texts) > 1 {
			return strings.Join(texts[1:], " ")
		}
	case "nix", "nix-shell", "firebase", "flox":
		for i, text := range texts {
			switch {
			case i+1 == len(texts):
			case text == "-c" || text == "--command":
				return quoted(texts[i+1:])
			case text == "--run", text == "emulators:exec":
				return texts[len(texts)-1]
			}
		}
	case "xvfb-run":
		return quoted(operandsFrom(texts, "-s --server-args -n --server-num -e --error-file -f --auth-file -w --wait"))
	case "yarn":
		if is("workspace") && len(texts) > 2 {
			return "yarn " + quoted(texts[2:])
		}
	case "coverage":
		if len(texts) > 2 && texts[0] == "run" && texts[1] == "-m" {
			return quoted(texts[2:])
		}
	case "mise", "devbox", "moon", "task", "just", "earthly", "pdm", "rye", "hatch":
		for _, text := range texts {
			if text == "test" || text == "tests" || text == "+test" || strings.HasSuffix(text, ":test") {
				return "make test"
			}
		}
	}
	return ""
}

// operandsFrom is what stands from the first operand on.
func operandsFrom(texts []string, valued string) []string {
	for len(texts) > 0 && strings.HasPrefix(texts[0], "-") {
		n := 1
		if listed(valued, texts[0]) {
			n = 2
		}
		texts = texts[min(n, len(texts)):]
	}
	return texts
}

// quoted is a command of some words.
func quoted(words []string) string {
	all := make([]string, 0, len(words))
	for _, w := range words {
		if q, err := syntax.Quote(w, syntax.LangBash); err == nil {
			w = q
		}
		all = append(all, w)
	}
	return strings.Join(all, " ")
}

// testsElsewhere tells of a program that runs tests elsewhere.
func (sh *shell) testsElsewhere(name string, args []word) {
	text := elsewhere(name, args)
	if text == "" {
		return
	}
	var facts CommandFacts
	there := shell{facts: &facts, vars: map[string]string{}, fetched: map[string]string{}, rank: -1, nested: sh.nested, statements: sh.statements}
	there.script(text)
	sh.statements = there.statements
	if facts.Test {
		sh.facts.Test = true
		sh.name("test", facts.Target, true)
	}
}
