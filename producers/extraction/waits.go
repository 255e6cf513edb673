package extraction

import "strings"

// waits tells a program that does nothing but wait, or that goes on until
// something is so.
func waits(name string, args []word) bool {
	switch name {
	case "sleep", "wait", "watch", "wait-on", "wait-for-it.sh", "wait-for-it", "inotifywait", "Start-Sleep":
		return true
	case "tail":
		return hasOption(args, "--follow", 'f') || hasOption(args, "--retry", 'F')
	case "journalctl":
		return hasOption(args, "--follow", 'f')
	case "gh":
		return turnedOn(args, "--watch") || subcommands(args, "run", "watch")
	case "kubectl":
		return turnedOn(args, "--watch") || turnedOn(args, "--wait") || hasWord(args, "-w") ||
			subcommands(args, "wait", "") || subcommands(args, "rollout", "status") ||
			subcommands(args, "logs", "") && turnedOn(args, "-f", "--follow")
	case "docker", "docker-compose", "podman":
		return subcommands(args, "wait", "") || turnedOn(args, "--wait") ||
			hasWord(args, "logs") && turnedOn(args, "-f", "--follow")
	case "helm":
		return turnedOn(args, "--wait")
	case "aws":
		return len(args) > 1 && args[1].text == "wait"
	}
	// Compilers, test runners and the like go on with --watch.
	return turnedOn(args, "--watch", "--watchAll", "--watch-all")
}

// turnedOn tells whether an option is given, and not as =false.
func turnedOn(args []word, names ...string) bool {
	for _, arg := range args {
		for _, name := range names {
			if rest, ok := strings.CutPrefix(arg.text, name); ok && (rest == "" || rest[0] == '=' && rest != "=false") {
				return true
			}
		}
	}
	return false
}

func hasWord(args []word, text string) bool {
	for _, arg := range args {
		if arg.text == text {
			return true
		}
	}
	return false
}

// subcommands tells whether the first operands are these; then may be "".
func subcommands(args []word, first, then string) bool {
	files := operands(args, "-n --namespace --context --kubeconfig -R --repo -f --file -p --project-name -H --host")
	return len(files) > 0 && files[0].text == first && (then == "" || len(files) > 1 && files[1].text == then)
}
