package extraction

import "strings"

// wrapper is a program that runs another one, named by its operands.
type wrapper struct {
	valued   string // options that take a value of their own
	operands int    // operands before the program
	assigns  bool   // NAME=value may stand before it
	after    string // the option that it follows
	as       string // the program whose words the operands are, if not one of their own
	scripts  bool   // its operand may also be a script of the project, as in pdm run test
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
	"cross-env": {assigns: true}, "dotenv": {valued: "-e -f"}, "dotenv run": {valued: "-f --file"}, "dotenvx run": {valued: "-f"},
	"doppler run": {valued: "-p --project -c --config -t --token"}, "op run": {valued: "--env-file --account"},
	"aws-vault exec": {valued: "-d --duration --region -t --mfa-token", operands: 1}, "infisical run": {valued: "--env --path"},
	"npm exec": {valued: "-p --package -w --workspace"}, "pnpm exec": {}, "pnpm dlx": {}, "yarn exec": {}, "yarn dlx": {},
	"yarn workspace": {operands: 1, as: "yarn"},
	"uv run": {valued: "--with --with-requirements --extra --group --only-group --no-group --env-file --package -p --python --directory --project",
		scripts: true},
	"poetry run": {scripts: true}, "pdm run": {valued: "-p --project", scripts: true}, "pipenv run": {scripts: true},
	"hatch run": {scripts: true}, "rye run": {scripts: true},
	"conda run": {valued: "-n -p"}, "bundle exec": {}, "coverage run": {valued: "--source --omit --include --rcfile --data-file --context --concurrency", as: "python"},
	"mise exec": {after: "--"}, "mise x": {after: "--"}, "devbox run": {valued: "-c --config -e --env", scripts: true},
	"asdf exec": {}, "direnv exec": {operands: 1}, "nix develop": {after: "-c --command"}, "nix shell": {after: "-c --command"},
	"xvfb-run":         {valued: "-n --server-num -s --server-args -e --error-file -f --auth-file -p --xauth-protocol -w --wait"},
	"dbus-run-session": {},
}

// unwrapped takes the programs off that do no more than run another one.
func unwrapped(args []word) []word {
	for len(args) > 0 && args[0].known {
		name := baseName(args[0].text)
		rest := args[1:]
		var w wrapper
		ok := false
		if len(rest) > 0 && rest[0].known {
			if w, ok = wrappers[name+" "+rest[0].text]; ok {
				rest = rest[1:]
			}
		}
		if !ok {
			w, ok = wrappers[name]
		}
		if !ok {
			break
		}
		for w.after != "" && len(rest) > 0 && !listed(w.after, rest[0].text) {
			rest = rest[1:]
		}
		operands := w.operands
		for len(rest) > 0 && rest[0].known {
			arg := rest[0].text
			if w.as == "python" && arg == "-m" {
				break
			}
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
		if w.as != "" {
			return append([]word{{text: w.as, known: true}}, rest...)
		}
		if w.scripts && isScriptName(rest[0].text) {
			break
		}
		args = rest
	}
	return args
}

// isScriptName tells a word after pdm run and the like that names a script of
// the project by what it does, and no program.
func isScriptName(text string) bool {
	_, program := programs()[programName(text)]
	return !program && !strings.ContainsAny(text, `/\`) && kindOfScript(text) != ""
}
