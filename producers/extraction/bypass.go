package extraction

import "strings"

// agents are coding agents by the names of their programs and packages.
var agents = set(`claude claude-code codex gemini gemini-cli qwen qwen-code copilot cursor-agent amp opencode crush
	aider goose droid`)

// carriers run a program of their operands somewhere else.
var carriers = set("docker podman kubectl ssh tmux screen script devcontainer docker-compose")

// bypasses tells whether an agent is started that asks for no permission, and
// names the line by it.
func (sh *shell) bypasses(called string, args []word) bool {
	name := agentName(called)
	switch {
	case agents[name]:
		if !asksNothing(args) {
			return false
		}
	case carriers[name]:
		carried := ""
		for i, arg := range args {
			if agents[agentName(arg.text)] && asksNothing(args[i+1:]) {
				carried = agentName(arg.text)
			} else if strings.Contains(arg.text, " --") && sh.nested < mostNested {
				inner := shell{facts: &CommandFacts{}, vars: map[string]string{}, fetched: map[string]string{}, rank: -1, nested: sh.nested}
				if inner.script(arg.text); inner.facts.Class == "permission_bypass" {
					carried = inner.facts.Target
				}
			}
		}
		if carried == "" {
			return false
		}
		name = carried
	default:
		return false
	}
	sh.name("permission_bypass", name, 0)
	return true
}

// agentName is the base name of a program or package, without the version after
// @: @anthropic-ai/claude-code@latest.
func agentName(text string) string {
	name, _, _ := strings.Cut(baseName(text), "@")
	return name
}

// asksNothing tells the options with which agents ask for no permission.
func asksNothing(args []word) bool {
	for i, arg := range args {
		switch arg.text {
		case "--dangerously-skip-permissions", "--yolo", "--dangerously-bypass-approvals-and-sandbox",
			"--dangerously-allow-all", "--allow-all-tools", "--permission-mode=bypassPermissions":
			return true
		case "--permission-mode":
			if i+1 < len(args) && args[i+1].text == "bypassPermissions" {
				return true
			}
		}
	}
	return false
}
