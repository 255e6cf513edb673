package direct

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

const (
	earliest = int64(946_684_800e6) // 2000, µs: seconds or milliseconds lie before it
	ahead    = 24 * time.Hour       // that clocks may be
)

// forge checks what a forge or CI tells, and writes it as sessions do: repositories
// as host/owner/name, commits in lower case, branches by their names.
func forge(e *schemas.Event) error {
	a := &e.Body.Artifact
	if e.SessionId != "" {
		return wrong("session_id", "none: a %s has no session", e.Kind)
	}
	repo := repoName(e.Repo)
	if e.Repo == "" {
		return missing("repo", "host/owner/name")
	} else if repo == "" {
		return wrong("repo", "host/owner/name, as in github.com/acme/shop")
	}
	e.Repo = repo
	if e.OccurredAt < earliest || e.OccurredAt > time.Now().Add(ahead).UnixMicro() {
		return wrong("occurred_at", "when it happened, in µs since 1970")
	}
	e.Branch, a.TargetBranch = strings.TrimPrefix(e.Branch, "refs/heads/"), strings.TrimPrefix(a.TargetBranch, "refs/heads/")
	for _, c := range [...]struct {
		field string
		id    *string
	}{{"commit_id", &a.CommitId}, {"merge_commit_id", &a.MergeCommitId}, {"patch_id", &a.PatchId}} {
		if *c.id = strings.ToLower(*c.id); *c.id != "" && !isHash(*c.id) {
			return wrong("body."+c.field, "7 to 64 hex digits")
		}
	}
	if a.ChangeId != "" {
		if a.ChangeId = pullOf(a.ChangeId, repo); !strings.HasPrefix(a.ChangeId, repo+"#") {
			return wrong("body.change_id", "%s#number, a pull request of its repo", repo)
		}
	}
	if a.Reverts != "" {
		if pull := pullOf(a.Reverts, repo); pull != "" {
			a.Reverts = pull
		} else if a.Reverts = strings.ToLower(a.Reverts); !isHash(a.Reverts) {
			return wrong("body.reverts", "a commit, or a pull request as host/owner/name#number")
		}
	}
	switch {
	case e.Kind == schemas.KindForgePullRequest && a.ChangeId == "":
		return missing("body.change_id", repo+"#number")
	case e.Kind != schemas.KindForgePullRequest && a.CommitId == "":
		return missing("body.commit_id", fmt.Sprintf("the commit of a %s", e.Kind))
	case (e.Kind == schemas.KindCheckRun || e.Kind == schemas.KindDeployment) && a.Name == "" && e.FactKey.IsZero():
		return missing("body.name", "the name of the check, or the environment")
	}
	if known := schemas.OperationsOf(e.Kind); !slices.Contains(known, a.Operation) {
		return wrong("body.operation", "%s", strings.Join(slices.DeleteFunc(append([]string{"none"}, known...), func(o string) bool {
			return o == "" || o == "none" && !slices.Contains(known, "")
		}), ", "))
	}
	return nil
}

func wrong(field, want string, args ...any) error {
	return &producers.BadInput{Reason: "wrong_value", Detail: field + ": want " + fmt.Sprintf(want, args...)}
}

// repoName is a repository as host/owner/name, "" if it is none.
func repoName(name string) string {
	if strings.Contains(name, "://") || strings.Contains(name, "@") {
		name = extraction.RepoName(name)
	}
	name = strings.TrimSuffix(strings.Trim(strings.TrimSpace(name), "/"), ".git")
	host, path, _ := strings.Cut(name, "/")
	owner, last, ok := strings.Cut(path, "/")
	if host == "" || owner == "" || last == "" || !ok || strings.ContainsAny(name, " \t\r\n\\#") {
		return ""
	}
	return strings.ToLower(host) + "/" + path
}

// pullOf is a pull request as host/owner/name#number, which a repository may call by
// its number, "" if it is none.
func pullOf(name, repo string) string {
	of, number, ok := strings.Cut(name, "#")
	if of != "" {
		repo = repoName(of)
	}
	if !ok || repo == "" || number == "" || strings.Trim(number, "0123456789") != "" {
		return ""
	}
	return repo + "#" + number
}

func isHash(id string) bool {
	return len(id) >= 7 && len(id) <= 64 && strings.Trim(id, "0123456789abcdef") == ""
}
