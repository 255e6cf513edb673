package extraction

import (
	"maps"
	"strings"
)

// carry walks the command that a program runs by a text, in a container or on
// another machine, which names the line if it tells more than the program.
func (sh *shell) carry(name string, args []word) {
	switch name {
	case "nix-shell":
		for _, long := range []string{"--run", "--command"} {
			if text, ok := option(args, long, long); ok {
				sh.apart(func() { sh.script(text.text) })
			}
		}
	case "firebase":
		if len(args) > 0 && args[0].text == "emulators:exec" {
			if texts := operands(args[1:], "--only --project -P --config -c --import --inspect-functions --ui"); len(texts) > 0 {
				sh.apart(func() { sh.script(texts[0].text) })
			}
		}
	case "docker", "podman", "nerdctl", "docker-compose":
		sh.elsewhere(func() { sh.runAll(inContainer(args)) })
	case "kubectl", "oc":
		if sub := operands(args, "-n --namespace --context --kubeconfig"); len(sub) == 0 || sub[0].text != "exec" && sub[0].text != "run" {
			return
		}
		for i, arg := range args {
			if arg.text == "--" {
				sh.elsewhere(func() { sh.runAll(args[i+1:]) })
				return
			}
		}
	case "ssh":
		sh.elsewhere(func() { sh.remote(args) })
	}
}

func (sh *shell) runAll(args []word) {
	if len(args) > 0 && sh.nested < mostNested {
		sh.nested++
		sh.run(args)
		sh.nested--
	}
}

// elsewhere walks commands that do not change the files of this machine.
func (sh *shell) elsewhere(walk func()) {
	f := sh.facts
	writes, deletes, restores, commit, push := len(f.Writes), f.Deletes, f.Restores, f.Commit, f.Push
	fetched, redirected := maps.Clone(sh.fetched), sh.redirected
	sh.redirected = false
	sh.apart(walk)
	f.Writes, f.Deletes, f.Restores, f.Commit, f.Push = f.Writes[:writes], deletes, restores, commit, push
	sh.fetched, sh.redirected = fetched, redirected
}

// remote walks the command that ssh is given after the host, or its input.
func (sh *shell) remote(args []word) {
	for len(args) > 0 && strings.HasPrefix(args[0].text, "-") {
		valued := len(args[0].text) == 2 && strings.Contains("BbcDEeFIiJLlmOoPpQRSWw", args[0].text[1:])
		args = args[1:]
		if valued && len(args) > 0 {
			args = args[1:]
		}
	}
	if len(args) == 0 {
		return
	}
	var text []string
	for i, arg := range args[1:] {
		if i == 0 && arg.text == "--" {
			continue
		}
		if !arg.known {
			break
		}
		text = append(text, arg.text)
	}
	if script := sh.heredoc; len(args) == 1 && script != "" {
		sh.heredoc = ""
		text = append(text, script)
	}
	sh.script(strings.Join(text, " "))
}

// containerFlags take no value in docker run, docker exec and docker compose.
var containerFlags = set(`--rm --detach --interactive --tty --privileged --init --no-deps --service-ports --build
	--quiet --quiet-pull --read-only --publish-all --no-healthcheck --oom-kill-disable --use-aliases --remove-orphans
	--no-TTY --no-tty --debug --tls --tlsverify --verbose --compatibility --all-resources --replace --sig-proxy`)

// inContainer is the command that docker run, docker exec and the like run, none
// if they name none.
func inContainer(args []word) []word {
	args = afterContainerOptions(args)
	for len(args) > 0 && (args[0].text == "compose" || args[0].text == "container") {
		args = afterContainerOptions(args[1:])
	}
	if len(args) == 0 || args[0].text != "run" && args[0].text != "exec" {
		return nil
	}
	options := args[1:]
	args = afterContainerOptions(options)
	if len(args) == 0 {
		return nil
	}
	if entry, ok := option(options[:len(options)-len(args)], "--entrypoint", "--entrypoint"); ok && entry.text != "" {
		return append([]word{entry}, args[1:]...)
	}
	return args[1:]
}

func afterContainerOptions(args []word) []word {
	for len(args) > 0 {
		text := args[0].text
		if len(text) < 2 || text[0] != '-' {
			return args
		}
		args = args[1:]
		if text == "--" {
			return args
		}
		valued := !containerFlags[text] && !strings.Contains(text, "=")
		if text[1] != '-' {
			letters := strings.TrimLeft(text[1:], "ditTPqD")
			valued = len(letters) == 1
		}
		if valued && len(args) > 0 {
			args = args[1:]
		}
	}
	return nil
}
