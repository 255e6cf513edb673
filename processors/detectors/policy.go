package detectors

import (
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// Context is what the rules of one row need besides it.
type Context struct {
	// Settings in force at the row's place.
	Settings *Settings
	// CommandClass of the call that made a file change, if it is known.
	CommandClass string
	// OtherMode is when the session first ran a call in another mode than
	// bypassPermissions, µs; 0 = never.
	OtherMode int64
}

// Observable tells calls that [Observe] may find something in.
func Observable(r *schemas.Enriched) bool {
	return r.SecretClass != "" || r.PermissionMode == "bypassPermissions" || r.InstallSource != "" || r.CommandClass == "permission_bypass" ||
		!r.Success.Value && r.CommandClass != ""
}

// Observe is what one row shows: findings with that fact as their evidence.
func Observe(r *schemas.Enriched, c Context) (found []Finding) {
	see := func(kind, class, subject string, severity schemas.Severity, detail string) {
		if !c.Settings.Enabled(kind) {
			return
		}
		f := Finding{Kind: kind, Key: class + "\x00" + subject, Class: class, Subject: short(subject), Severity: severity, Count: 1, Detail: detail, By: c.Settings}
		f.add(r.FactKey, r.OccurredAt)
		found = append(found, f)
	}
	switch r.Kind {
	case schemas.KindFileChange:
		if r.Success.Valid && !r.Success.Value {
			break
		}
		if class, severity := c.Settings.classOf(r.FilePath, r.ProtectedClass); class != "" && !elsewhere(r.FilePath, class) &&
			!(class == "lock_file" && installs(c.CommandClass)) {
			see(ProtectedPath, class, r.FilePath, severity, r.Detail)
		}
	case schemas.KindToolCall:
		if r.SecretClass != "" {
			see(Secret, "", r.SecretClass, schemas.SeverityHigh, SubjectOf(r))
		}
		if !ended(r) {
			break
		}
		if r.CommandClass == "permission_bypass" && r.ApprovalDecision != "reject" {
			see(PermissionBypass, "", SubjectOf(r), schemas.SeverityCritical, "command")
		}
		if r.PermissionMode == "bypassPermissions" && c.OtherMode != 0 && c.OtherMode < r.OccurredAt {
			see(PermissionBypass, "", r.PermissionMode, schemas.SeverityCritical, "mode")
		}
		if s := r.InstallSource; (s == "script" || s == "url") && ran(r) {
			see(NetworkInstall, "", SubjectOf(r), schemas.SeverityHigh, s)
		}
		if !r.Success.Value && ran(r) && slices.Contains(c.Settings.commands, r.ToolTarget) {
			see(CriticalCommand, "", r.ToolTarget, schemas.SeverityMedium, "")
		}
	}
	return found
}

// ran tells a call that was let run, however it ended.
func ran(r *schemas.Enriched) bool {
	return r.ApprovalDecision != "reject" && (r.Success.Value || !slices.Contains([]reason{permissionDenied, hookBlocked}, reasonOf(r)))
}

// installs tells commands that write a lock file by themselves.
func installs(class string) bool {
	return class == "install" || class == "network_install" || class == "package_manager"
}

// elsewhere tells paths outside of the repository and of the home folder: what
// bears a protected name there is no such file. An agent's settings for the whole
// machine are.
func elsewhere(file, class string) bool {
	return strings.HasPrefix(file, "/") && class != "agent_settings"
}

// Policies are the observations of a session, by cause.
type Policies struct {
	found []Finding
}

// Add takes what a row shows.
func (p *Policies) Add(f Finding) {
	for i := range p.found {
		if o := &p.found[i]; o.Kind == f.Kind && o.Key == f.Key {
			o.Merge(f)
			return
		}
	}
	p.found = append(p.found, f)
}

// Findings in the order of their causes.
func (p *Policies) Findings() []Finding {
	slices.SortFunc(p.found, compareFindings)
	return p.found
}

// Merge adds the evidence of the same cause.
func (f *Finding) Merge(o Finding) {
	for _, fact := range o.Evidence {
		if slices.Contains(f.Evidence, fact) {
			continue
		}
		f.Count++
		f.add(fact, o.Last)
	}
	f.Severity = max(f.Severity, o.Severity)
}
