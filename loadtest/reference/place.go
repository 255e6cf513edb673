package reference

import (
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// whoAndWhere fills the columns that all facts of a session share.
func (s *session) whoAndWhere(r *schemas.Enriched) {
	r.Team = s.text(usage, func(o observation) string { return o.Team })
	r.Host = s.text(record, func(o observation) string { return o.Host })
	r.Agent = s.text(anyone, func(o observation) string { return o.Agent })
	r.ParentSessionId = s.text(record, func(o observation) string { return o.ParentSessionId })
	r.RootSessionId = cmp.Or(s.text(record, func(o observation) string { return o.RootSessionId }), s.id)
	r.AgentVersion = cmp.Or(r.AgentVersion, text(agentVersion).newest(s.observations, record)) // the newest that ran

	user := text(func(o observation) string { return o.User })
	if told := user.believed(s.observations, userSource); len(told) > 0 {
		r.User, r.UserSource = user.greatest(told, anyone), told[0].UserSource
	}
}

// text is a column of the session: it does not follow the time.
func (s *session) text(rank ranking, value text) string { return value.greatest(s.observations, rank) }

func branch(o observation) string { return o.Branch }

// branch is where the session began: that of its earliest observation with one.
// A commit, push or pull request may stand elsewhere, and OTLP tells a branch
// only after a commit.
func (s *session) branch() string {
	told := slices.DeleteFunc(slices.Clone(s.observations), func(o observation) bool {
		switch o.Kind {
		case schemas.KindCommit, schemas.KindPush, schemas.KindPullRequest:
			return true
		}
		return o.Branch == "" || o.Witness == schemas.WitnessOtlp
	})
	if len(told) == 0 {
		return ""
	}
	return slices.MinFunc(told, func(a, b observation) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.Branch, b.Branch))
	}).Branch
}

// prompt is the prompt that a row belongs to, nil if it is not known.
func (s *session) prompt(r *schemas.Enriched) *fact {
	if r.PromptId == "" {
		return nil
	}
	return s.facts[schemas.FactKey(s.id, schemas.KindPrompt, r.PromptId)]
}

// place fills repository, branch, kind of work, skill, workflow and task: what
// the fact says itself, else its prompt, else its session.
func (s *session) place(r *schemas.Enriched, f *fact) {
	prompt := s.prompt(r)
	if prompt == nil || f.kind == schemas.KindPrompt {
		prompt = f
	}
	skill := text(func(o observation) string { return o.Skill })
	repo := text(func(o observation) string { return o.Repo })
	r.Skill = cmp.Or(f.text(record, skill), prompt.text(record, skill))
	r.Repo = cmp.Or(f.text(record, repo), s.text(record, repo))

	// Ticket and kind of work go with the branch: they come from where it does.
	from := f
	if r.Branch = f.text(record, branch); r.Branch == "" {
		if r.Branch = prompt.text(record, branch); r.Branch != "" {
			from = prompt
		} else {
			r.Branch = s.branch()
		}
	}
	r.WorkKind, r.WorkKindSource = from.workKind()
	r.Workflow, r.WorkflowSource = s.workflow(f, prompt)
	ticket := from.text(record, func(o observation) string { return o.Ticket })
	owner := s.text(record, func(o observation) string { return o.Owner })
	explicit := f.text(record, func(o observation) string { return o.TaskId })
	switch {
	case explicit != "":
		r.TaskId, r.TaskIdSource = explicit, schemas.TaskIdSourceExplicit
	case ticket != "" && r.Repo != "":
		r.TaskId, r.TaskIdSource = r.Repo+"#"+ticket, schemas.TaskIdSourceTicket
	case r.Repo != "" && owner != "" && !slices.Contains(sharedBranches, r.Branch):
		r.TaskId, r.TaskIdSource = r.Repo+"@"+r.Branch+":"+owner, schemas.TaskIdSourceBranch
	default:
		r.TaskId, r.TaskIdSource = r.RootSessionId, schemas.TaskIdSourceSession
	}
}

// sharedBranches are no task of their own: no branch, a detached head, and the
// usual names of default branches.
var sharedBranches = []string{"", "HEAD", "main", "master", "trunk", "develop", "development"}

// workKind is by the best source; within it the newest.
func (f *fact) workKind() (schemas.WorkKind, schemas.WorkKindSource) {
	name := text(func(o observation) string {
		if o.WorkKind == schemas.WorkKindUnknown {
			return ""
		}
		return o.WorkKind.String()
	})
	told := name.believed(f.observations, workKindSource)
	if len(told) == 0 {
		return schemas.WorkKindUnknown, schemas.WorkKindSourceUnknown
	}
	kind, _ := schemas.ParseWorkKind(name.newest(told, anyone))
	return kind, told[0].WorkKindSource
}

// workflow is the first match by source of what fact, prompt and session say;
// where they name the same source, the nearest. A command is the workflow of its
// prompt, never of the session.
func (s *session) workflow(f, prompt *fact) (string, schemas.WorkflowSource) {
	value := text(func(o observation) string { return o.Workflow })
	ofSession := slices.DeleteFunc(slices.Clone(s.observations), func(o observation) bool {
		return o.WorkflowSource == schemas.WorkflowSourceCommand
	})
	var workflow string
	var source schemas.WorkflowSource
	better := func(told []observation) bool {
		return len(told) > 0 && (workflow == "" || workflowSource(told[0]) < knownFirst(int(source)))
	}
	for _, near := range []*fact{f, prompt} {
		if told := value.believed(near.observations, workflowSource); better(told) {
			workflow, source = value.newest(told, anyone), told[0].WorkflowSource
		}
	}
	if told := value.believed(ofSession, workflowSource); better(told) {
		workflow, source = value.greatest(told, anyone), told[0].WorkflowSource
	}
	return workflow, source
}
