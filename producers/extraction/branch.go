package extraction

import (
	"regexp"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

var (
	// The key of an issue as trackers write it. Lower case is left out:
	// node-18 and python-3 look the same.
	ticketKey = regexp.MustCompile(`(?:^|[^A-Za-z0-9])([A-Z][A-Z0-9]{1,9}-[1-9][0-9]{0,5})(?:[^A-Za-z0-9]|$)`)
	// An issue of a forge, named as such.
	ticketNumber = regexp.MustCompile(`(?i)(?:#|(?:^|[/_-])(?:gh|issues?)[-/_])([1-9][0-9]{0,6})(?:[^A-Za-z0-9]|$)`)
)

// notProjects begin standards and versions, not tickets: UTF-8, SHA-256.
var notProjects = set(`AES ARM CVE CWE ES GPT HTTP IEC IPV ISO JDK MD MP PEP PR PY RC RFC SHA TLS UTF V VERSION WIN X`)

// Ticket is the ticket that a branch names without doubt: SHOP-12, or #123 for
// #123, gh-123 and issue-123. "" for anything less clear, such as 123-fix.
func Ticket(branch string) string {
	for rest := branch; ; {
		at := ticketKey.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		key := rest[at[2]:at[3]]
		if project, _, _ := strings.Cut(key, "-"); !notProjects[strings.TrimRight(project, "0123456789")] {
			return key
		}
		rest = rest[at[3]:]
	}
	if at := ticketNumber.FindStringSubmatch(branch); at != nil {
		return "#" + at[1]
	}
	return ""
}

// workKinds are the first words of branches, by the kind of work they announce.
var workKinds = map[string]schemas.WorkKind{
	"fix": schemas.WorkKindBugfix, "bugfix": schemas.WorkKindBugfix, "hotfix": schemas.WorkKindBugfix,
	"bug": schemas.WorkKindBugfix, "patch": schemas.WorkKindBugfix,
	"feat": schemas.WorkKindFeature, "feature": schemas.WorkKindFeature, "features": schemas.WorkKindFeature,
	"test": schemas.WorkKindTest, "tests": schemas.WorkKindTest,
	"doc": schemas.WorkKindDocs, "docs": schemas.WorkKindDocs,
	"migrate": schemas.WorkKindMigration, "migration": schemas.WorkKindMigration,
	"migrations": schemas.WorkKindMigration,
	"chore":      schemas.WorkKindChore, "refactor": schemas.WorkKindChore, "build": schemas.WorkKindChore,
	"ci": schemas.WorkKindChore, "deps": schemas.WorkKindChore, "perf": schemas.WorkKindChore,
	"style": schemas.WorkKindChore, "cleanup": schemas.WorkKindChore, "release": schemas.WorkKindChore,
	"dependabot": schemas.WorkKindChore, "renovate": schemas.WorkKindChore,
}

// WorkKind is the kind of work that the prefix of a branch announces: fix/...,
// feat-..., anna/docs/.... The first element with such a prefix decides; a word
// alone (test) announces nothing.
func WorkKind(branch string) schemas.WorkKind {
	for rest := strings.ToLower(branch); rest != ""; {
		element, after, found := strings.Cut(rest, "/")
		word, _, dashed := strings.Cut(strings.ReplaceAll(element, "_", "-"), "-")
		if kind, ok := workKinds[word]; ok && (dashed || found) {
			return kind
		}
		rest = after
	}
	return schemas.WorkKindUnknown
}
