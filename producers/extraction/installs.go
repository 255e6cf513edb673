package extraction

import "strings"

// installValues take a value of their own in commands that install; the value
// is no package.
var installValues = set(`-r --requirement -c --constraint -e --editable -t --target --prefix --root -i --index-url
	--extra-index-url -f --find-links --python -p --path --registry --cache -C --dir --cwd -n --name --workspace
	--filter -F --group --extra --features --version --channel --tag --branch --rev --source`)

// names tells whether an install command names something that comes from the
// network: an operand that is no file of the machine.
func names(args []word) bool {
	for i := 0; i < len(args); i++ {
		text := args[i].text
		switch {
		case !args[i].known:
			return true
		case strings.HasPrefix(text, "-"):
			if installValues[text] {
				i++
			}
		case text == "" || text[0] == '.' || text[0] == '/' || text[0] == '~' || strings.HasPrefix(text, "file:"):
		case strings.Contains(text, "://"):
			return true
		case strings.HasSuffix(text, ".whl") || strings.HasSuffix(text, ".tgz") || strings.HasSuffix(text, ".deb") ||
			strings.HasSuffix(text, ".rpm") || strings.HasSuffix(text, ".tar.gz") || strings.HasSuffix(text, ".gem"):
		default:
			return true
		}
	}
	return false
}

// networkInstall notes that something named on the command line, or a script,
// comes from the network.
func (sh *shell) networkInstall(target string) {
	sh.facts.Install, sh.facts.NetworkInstall = true, true
	sh.name("network_install", target, false)
}
