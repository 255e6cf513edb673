package reference

import (
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// shared is what all facts of a session have in common.
type shared struct {
	team, user, owner, host, agent, agentVersion string
	userSource                                   schemas.UserSource
	root, parent                                 string // session_ids
	repo, branch, workflow                       string
	workflowSource                               schemas.WorkflowSource
}

// share computes what the facts of a session have in common. Apart from the
// agent's version and the branch it does not follow the time: of several values
// that are believed alike it is the greatest.
func (s *session) share() shared {
	pick := func(rank ranking, value text) string { return value.greatest(s.observations, rank) }
	user := text(func(o observation) string { return o.User }).believed(s.observations, userSource)
	// A command is the workflow of its prompt, not of the session.
	workflow := text(func(o observation) string {
		if o.WorkflowSource == schemas.WorkflowSourceCommand {
			return ""
		}
		return o.Workflow
	})
	c := shared{
		team:         pick(usage, func(o observation) string { return o.Team }),
		user:         pick(userSource, func(o observation) string { return o.User }),
		owner:        pick(record, func(o observation) string { return o.Owner }),
		host:         pick(record, func(o observation) string { return o.Host }),
		agent:        pick(anyone, func(o observation) string { return o.Agent }),
		agentVersion: text(agentVersion).newest(s.observations, record), // the newest that ran
		root:         cmp.Or(pick(record, func(o observation) string { return o.RootSessionId }), s.id),
		parent:       pick(record, func(o observation) string { return o.ParentSessionId }),
		repo:         pick(record, repo),
		branch:       s.branch(),
		workflow:     pick(workflowSource, workflow),
	}
	if len(user) > 0 {
		c.userSource = user[0].UserSource
	}
	if told := workflow.believed(s.observations, workflowSource); len(told) > 0 {
		c.workflowSource = told[0].WorkflowSource
	}
	return c
}

// who fills the columns that a fact takes from its session.
func (s *session) who(r *schemas.Enriched) {
	c := &s.shared
	r.Team, r.User, r.UserSource, r.Host = c.team, c.user, c.userSource, c.host
	r.Agent, r.AgentVersion = c.agent, cmp.Or(r.AgentVersion, c.agentVersion)
	r.RootSessionId, r.ParentSessionId = c.root, c.parent
}

func repo(o observation) string { return o.Repo }

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
	r.Skill = cmp.Or(f.text(record, skill), prompt.text(record, skill))
	r.Repo = cmp.Or(f.text(record, repo), s.shared.repo)

	// Ticket and kind of work go with the branch: they come from where it does.
	from := f
	if r.Branch = f.text(record, branch); r.Branch == "" {
		if r.Branch = prompt.text(record, branch); r.Branch != "" {
			from = prompt
		} else {
			r.Branch = s.shared.branch
		}
	}
	r.WorkKind, r.WorkKindSource = from.workKind()
	r.Workflow, r.WorkflowSource = s.workflow(f, prompt)
	// The task may be of the branch that the work went over to.
	taskBranch := r.Branch
	if to := s.wentTo(prompt); to != nil && r.Branch == s.beganOn(prompt) && r.Repo == s.repoOf(prompt) {
		taskBranch, from = to.text(record, branch), to
	}
	ticket := from.text(record, func(o observation) string { return o.Ticket })
	explicit := f.text(record, func(o observation) string { return o.TaskId })
	switch {
	case explicit != "":
		r.TaskId, r.TaskIdSource = explicit, schemas.TaskIdSourceExplicit
	case ticket != "" && r.Repo != "":
		r.TaskId, r.TaskIdSource = r.Repo+"#"+ticket, schemas.TaskIdSourceTicket
	case r.Repo != "" && s.shared.owner != "" && !slices.Contains(sharedBranches, taskBranch):
		r.TaskId, r.TaskIdSource = r.Repo+"@"+taskBranch+":"+s.shared.owner, schemas.TaskIdSourceBranch
	default:
		r.TaskId, r.TaskIdSource = r.RootSessionId, schemas.TaskIdSourceSession
	}
}

// beganOn is the branch of a prompt as it is told, or that of the session.
func (s *session) beganOn(prompt *fact) string {
	return cmp.Or(prompt.text(record, branch), s.shared.branch)
}

// repoOf is the repository of a fact.
func (s *session) repoOf(f *fact) string { return cmp.Or(f.text(record, repo), s.shared.repo) }

// wentTo is the commit, push or end of a turn by which the work of a prompt went over
// to another branch, nil if it did not: the first one from the prompt on, if it stands
// on a branch of its own that is not that of its own prompt, and that one and all
// prompts from this one on to it began on this one's branch. Turns that end where they
// began do not count, nor does what is in another repository than its prompt. Those of subagents do not count,
// nor those of which nobody knows branch or prompt.
func (s *session) wentTo(prompt *fact) *fact {
	if prompt.kind != schemas.KindPrompt {
		return nil
	}
	runOf := func(f *fact) string { return f.text(record, func(o observation) string { return o.AgentRunId }) }
	promptOf := func(f *fact) string { return f.text(record, func(o observation) string { return o.PromptId }) }
	after := func(a, b *fact) bool { // a after b
		return cmp.Or(cmp.Compare(a.at, b.at), slices.Compare(a.key[:], b.key[:])) > 0
	}
	beganWith := func(f *fact) *fact {
		if own := s.facts[schemas.FactKey(s.id, schemas.KindPrompt, promptOf(f))]; own != nil && own.kind == schemas.KindPrompt {
			return own
		}
		return nil
	}
	var next *fact
	for _, f := range s.facts {
		if own := beganWith(f); own != nil && s.repoOf(f) != s.repoOf(own) {
			continue
		}
		if f.kind == schemas.KindTurnEnd {
			if own := beganWith(f); own == nil || f.text(record, branch) == s.beganOn(own) || slices.Contains(sharedBranches, f.text(record, branch)) {
				continue
			}
		}
		if (f.kind == schemas.KindTurnEnd || f.kind == schemas.KindCommit || f.kind == schemas.KindPush) && f.text(record, branch) != "" && runOf(f) == "" && promptOf(f) != "" &&
			after(f, prompt) && (next == nil || after(next, f)) {
			next = f
		}
	}
	if next == nil || slices.Contains(sharedBranches, next.text(record, branch)) {
		return nil
	}
	own := beganWith(next)
	alone := !slices.Contains(sharedBranches, s.beganOn(prompt)) // on a branch of its own only the prompt itself moves
	if alone && own != prompt {
		return nil
	}
	if own == nil || s.beganOn(own) == next.text(record, branch) || s.beganOn(own) != s.beganOn(prompt) || s.repoOf(own) != s.repoOf(prompt) {
		return nil
	}
	for _, f := range s.facts {
		if f.kind == schemas.KindPrompt && after(f, prompt) && after(next, f) && (alone || s.beganOn(f) != s.beganOn(prompt) || s.repoOf(f) != s.repoOf(prompt)) {
			return nil
		}
	}
	return next
}

// sharedBranches are no task of their own: no branch, a detached head, and the
// usual names of default branches.
var sharedBranches = []string{"", "HEAD", "main", "master", "trunk", "develop", "development", "dev", "next", "staging", "production"}

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
// where they name the same source, the nearest.
func (s *session) workflow(f, prompt *fact) (string, schemas.WorkflowSource) {
	value := text(func(o observation) string { return o.Workflow })
	var workflow string
	var source schemas.WorkflowSource
	consider := func(name string, from schemas.WorkflowSource) {
		if name != "" && (workflow == "" || knownFirst(int(from)) < knownFirst(int(source))) {
			workflow, source = name, from
		}
	}
	for _, near := range []*fact{f, prompt} {
		if told := value.believed(near.observations, workflowSource); len(told) > 0 {
			consider(value.newest(told, anyone), told[0].WorkflowSource)
		}
	}
	consider(s.shared.workflow, s.shared.workflowSource)
	return workflow, source
}
