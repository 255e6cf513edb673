package extraction

import "strings"

// installValues take a value of their own in commands that install; the value
// is no package.
var installValues = set(`-r --requirement -c --constraint -e --editable -t --target --prefix --root -i --index-url
	--extra-index-url -f --find-links --python -p --path --registry --cache -C --dir --cwd -n --name --workspace
	--filter -F --group --extra --features --version --channel --tag --branch --rev --source`)

// Sources of what is installed, the graver ones last.
const (
	sourceRegistry = "registry"
	sourceURL      = "url"
	sourceScript   = "script"
)

// installSource is where an install command takes what it names from: url if
// one of its operands is an address, or a file that the line downloaded, else
// registry; "" if all are files of the machine.
func (sh *shell) installSource(program string, args []word) (source string) {
	for i := 0; i < len(args); i++ {
		text := args[i].text
		switch {
		case !args[i].known:
			source = sourceRegistry
		case strings.HasPrefix(text, "-"):
			name, value, ok := strings.Cut(text, "=")
			if installValues[text] && i+1 < len(args) {
				i++
				value, ok = args[i].text, true
			}
			if ok && addressed[name] && isAddress(program, value) {
				return sourceURL
			}
		case isAddress(program, text), sh.fromNetwork(args[i]) != "":
			return sourceURL
		case text == "" || text[0] == '.' || text[0] == '/' || text[0] == '~' || strings.HasPrefix(text, "file:"):
		case strings.HasSuffix(text, ".whl") || strings.HasSuffix(text, ".tgz") || strings.HasSuffix(text, ".deb") ||
			strings.HasSuffix(text, ".rpm") || strings.HasSuffix(text, ".tar.gz") || strings.HasSuffix(text, ".gem"):
		default:
			source = sourceRegistry
		}
	}
	return source
}

// packages are installed by dpkg -i, rpm -i and the like from files, which run
// their scripts as root.
func (sh *shell) packages(name string, args []word) {
	switch name {
	case "dpkg":
		if !hasOption(args, "--install", 'i') {
			return
		}
	case "rpm":
		if !hasOption(args, "--install", 'i') && !hasOption(args, "--upgrade", 'U') || hasOption(args, "--query", 'q') {
			return
		}
	case "installer":
	default:
		return
	}
	for _, arg := range args {
		if by := sh.fromNetwork(arg); by != "" {
			sh.networkInstall(by, sourceScript)
		} else if name == "rpm" && isAddress(name, arg.text) {
			sh.networkInstall(name, sourceURL)
		}
	}
}

// addressed are options whose value is a package, or a list of them.
var addressed = set("-r --requirement -c --constraint -e --editable --git")

// isAddress tells a package that is named by where it is.
func isAddress(program, text string) bool {
	for _, forge := range []string{"git+", "git@", "github:", "gitlab:", "bitbucket:", "gist:", "git:"} {
		if strings.HasPrefix(text, forge) {
			return true
		}
	}
	if strings.Contains(text, "://") && !strings.HasPrefix(text, "file:") {
		return true
	}
	switch program {
	case "npm", "pnpm", "yarn", "bun": // owner/name is one of GitHub
		owner, name, ok := strings.Cut(text, "/")
		return ok && owner != "" && safeName(owner) && name != "" && !strings.Contains(name, "/")
	}
	return false
}

// networkInstall notes that something named on the command line, or a script,
// comes from the network.
func (sh *shell) networkInstall(target, source string) {
	sh.facts.Install, sh.facts.NetworkInstall = true, true
	if old := sh.facts.InstallSource; old == "" || source == sourceScript || source == sourceURL && old == sourceRegistry {
		sh.facts.InstallSource = source
	}
	sh.name("network_install", target, 0)
}
