package extraction

import "strings"

// wrapper is a program that runs another one, named by its operands.
type wrapper struct {
	valued   string // options that take a value of their own
	operands int    // operands before the program
	assigns  bool   // NAME=value may stand before it
}

// wrappers by name, or by name and subcommand.
var wrappers = map[string]wrapper{
	"env":  {valued: "-u --unset -C --chdir", assigns: true},
	"sudo": {valued: "-u --user -g --group -h --host -p --prompt -C -D --chdir -R -T -U -r -t", assigns: true},
	"doas": {valued: "-u -C"},
	"time": {valued: "-f --format -o --output"}, "nice": {valued: "-n --adjustment"},
	"ionice": {valued: "-c -n"}, "nohup": {}, "setsid": {}, "command": {}, "builtin": {}, "caffeinate": {},
	"exec": {valued: "-a"}, "stdbuf": {valued: "-i -o -e"}, "unbuffer": {}, "chronic": {},
	"timeout": {valued: "-k --kill-after -s --signal", operands: 1}, "gtimeout": {valued: "-k -s", operands: 1},
	"flock": {valued: "-w -E", operands: 1}, "watch": {valued: "-n --interval"}, "busybox": {},
	"xargs": {valued: "-I -i -n -P -L -l -s -d -a -E --max-args --max-procs --replace --delimiter --arg-file"},
	"npx":   {valued: "-p --package"}, "bunx": {}, "uvx": {valued: "--from --with"},
	"cross-env": {assigns: true}, "dotenv": {valued: "-e -f"}, "dotenvx run": {}, "doppler run": {}, "op run": {},
	"npm exec": {valued: "-p --package -w --workspace"}, "pnpm exec": {}, "pnpm dlx": {}, "yarn exec": {}, "yarn dlx": {},
	"uv run": {valued: "--with --extra --group -p --python --directory --project"}, "poetry run": {}, "pdm run": {},
	"pipenv run": {}, "hatch run": {}, "conda run": {valued: "-n -p"}, "bundle exec": {}, "rye run": {},
	"mise exec": {}, "asdf exec": {}, "direnv exec": {operands: 1},
}

// unwrapped takes the programs off that do no more than run another one.
func unwrapped(args []word) []word {
	for len(args) > 0 && args[0].known {
		name := baseName(args[0].text)
		w, ok := wrappers[name]
		rest := args[1:]
		if !ok && len(rest) > 0 && rest[0].known {
			w, ok = wrappers[name+" "+rest[0].text]
			rest = rest[1:]
		}
		if !ok {
			break
		}
		operands := w.operands
		for len(rest) > 0 && rest[0].known {
			arg := rest[0].text
			if strings.HasPrefix(arg, "-") && arg != "-" {
				if name == "command" && strings.EqualFold(arg, "-v") {
					return []word{{text: "which", known: true}}
				}
				rest = rest[1:]
				if listed(w.valued, arg) && len(rest) > 0 {
					rest = rest[1:]
				}
				continue
			}
			if w.assigns && strings.Contains(arg, "=") {
				rest = rest[1:]
				continue
			}
			if operands == 0 {
				break
			}
			operands--
			rest = rest[1:]
		}
		if len(rest) == 0 {
			break // env alone prints the environment
		}
		args = rest
	}
	return args
}
