// Package extraction takes from paths, commands, outputs and patches what later
// steps need to know of them (write targets, command class, test outcome,
// hashes, ticket, class of a secret), so that the texts themselves can stay
// on the machine (DESIGN §3).
//
// Everything here works on input that nobody checked: it never panics, its
// time and memory are bounded by caps named beside each function, and it holds
// no state. Only [Repository] reads files; nothing starts a process.
package extraction

import "github.com/flightlog/flightlog/schemas"

// Critical is the built-in list of critical events (DESIGN §4): a change of a
// protected path (ci, agent_settings, agent_instructions, secrets), a change
// of the agent's settings or hooks, a switch into a mode that bypasses
// permissions, a secret in arguments or result, an install of something from
// the network, a start of an agent that asks for no permission. Work that merely goes on in a bypass mode is not critical.
//
// A change of mode is a config_change whose reason is the new mode
// (OTLP permission_mode_changed, contract §4.3); other config_changes carry
// the settings source (hook ConfigChange, contract §2.3).
func Critical(e *schemas.Event) bool {
	switch e.Kind {
	case schemas.KindFileChange:
		switch e.Body.Artifact.ProtectedClass {
		case ClassCI, ClassAgentSettings, ClassAgentInstructions, ClassSecrets:
			return e.Body.Branch == schemas.EventBodyArtifact
		}
	case schemas.KindConfigChange:
		if e.Body.Branch != schemas.EventBodySession {
			return false
		}
		switch e.Body.Session.Reason {
		case "user_settings", "project_settings", "local_settings", "policy_settings",
			"bypassPermissions":
			return true
		}
		return ProtectedClass(e.Body.Session.Path) == ClassAgentSettings
	case schemas.KindToolCall:
		tool := &e.Body.Tool
		return e.Body.Branch == schemas.EventBodyTool &&
			(tool.SecretClass != "" || tool.CommandClass == "network_install" || tool.CommandClass == "permission_bypass")
	}
	return false
}
