package sessions

import (
	"fmt"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// inherited are the columns that a prompt's facts take from it, with their
// sources, which are columns, too.
func inherited(f *fact) (columns [5]text) {
	for i, field := range [...]int{tBranch, tTicket, tWorkKind, tSkill, tWorkflow} {
		columns[i] = text{value: f.texts[field].value, rank: f.texts[field].rank}
	}
	return columns
}

// row is the row of a fact as it would be said now. It is a function of the
// merged facts alone: the fact, its session, its prompt, and for approvals the
// call that they are linked to. false: the fact has no row.
func (x *fold) row(s *session, f *fact) (*schemas.Enriched, bool) {
	if f.kind == schemas.KindModelRequest && x.copied(s, f) {
		return nil, false
	}
	t, n := &f.texts, &f.numbers
	r := &x.said
	*r = schemas.Enriched{
		FactKey:     f.key,
		Generation:  x.tx.Generation(),
		Family:      schemas.FamilyOf(f.kind),
		Kind:        f.kind,
		Witnesses:   witnessNames(f.witnesses),
		CaptureMode: f.captureMode,
		OccurredAt:  n[nOccurredAt].value,
		DurationMs:  n[nDurationMs].long(),
		Success:     n[nSuccess].bool(),
		ErrorClass:  t[tErrorClass].value,

		Org:             s.texts[sOrg].value,
		User:            s.texts[sUser].value,
		Host:            s.texts[sHost].value,
		Agent:           s.texts[sAgent].value,
		AgentVersion:    first(t[tAgentVersion], s.texts[sAgentVersion]),
		SessionId:       s.texts[sSessionId].value,
		RootSessionId:   s.texts[sRootSessionId].value,
		ParentSessionId: s.texts[sParentSessionId].value,

		PromptId:         t[tPromptId].value,
		AgentRunId:       t[tAgentRunId].value,
		ParentAgentRunId: t[tParentAgentRunId].value,
		RequestId:        t[tRequestId].value,
		ToolUseId:        t[tToolUseId].value,
	}
	if r.User != "" {
		r.UserSource = schemas.UserSource(s.texts[sUser].rank)
	}
	if r.RootSessionId == "" {
		r.RootSessionId = r.SessionId
	}
	if f.kind == schemas.KindSessionStart || f.kind == schemas.KindSessionEnd {
		r.PromptId = "" // it belongs to no prompt, whatever ran last
	}
	x.place(r, s, f)
	if f.kind == schemas.KindSessionEnd && r.OccurredAt == 0 {
		r.OccurredAt = s.lastEvent // no witness told when
	}
	billing := x.attribute(r, s, f)
	switch r.Family {
	case schemas.FamilySession:
		switch f.kind {
		case schemas.KindPrompt:
			r.Detail = first(t[tCommand], t[tReason])
		case schemas.KindSubagent:
			r.Detail = t[tAgentType].value
		default:
			r.Detail = t[tReason].value
		}
		r.ResultHash = t[tTextHash].value
		r.FilePath = t[tPath].value
		r.Claim = t[tClaim].value
	case schemas.FamilyModel:
		x.model(r, s, f, billing)
	case schemas.FamilyTool:
		x.tool(r, s, f)
	case schemas.FamilyArtifact:
		r.FilePath, r.FileType = t[tPath].value, t[tFileType].value
		r.LinesAdded, r.LinesRemoved = n[nLinesAdded].long(), n[nLinesRemoved].long()
		r.ChangeGrade = schemas.ChangeGrade(n[nChangeGrade].value)
		r.DiffRef = ref(f, t[tDiffHash].value)
		r.ProtectedClass = t[tProtectedClass].value
		r.TestOutcome = schemas.TestOutcome(n[nTestOutcome].value)
		r.TestTamper = t[tTestTamper].value
		r.CommitId, r.ChangeId, r.PatchId = t[tCommitId].value, t[tChangeId].value, t[tPatchId].value
		r.Detail = t[tOperation].value
		if passed, failed := n[nTestsPassed].long(), n[nTestsFailed].long(); passed.Valid || failed.Valid {
			r.DiffStats = fmt.Sprintf("%d passed, %d failed", passed.Value, failed.Value)
		}
	}
	return r, true
}

// place fills where the work belongs: what the fact itself says, else its
// prompt, else its session.
func (x *fold) place(r *schemas.Enriched, s *session, f *fact) {
	own := &f.texts
	prompt, promptKey := own, f.key
	if r.PromptId != "" && f.kind != schemas.KindPrompt {
		promptKey = schemas.FactKey(r.SessionId, schemas.KindPrompt, r.PromptId)
		if p := x.known(s, promptKey); p != nil {
			prompt = &p.texts
		}
	}
	r.Repo = first(own[tRepo], s.texts[sRepo])
	ticket, kind := own[tTicket], own[tWorkKind]
	switch {
	case own[tBranch].rank != 0:
		r.Branch = own[tBranch].value
	case prompt[tBranch].rank != 0:
		r.Branch, ticket, kind = prompt[tBranch].value, prompt[tTicket], prompt[tWorkKind]
	default:
		r.Branch = s.texts[sBranch].value
	}
	of := r.Branch // that the task is of: the column is where it happened
	if to, from := x.movedTo(s, promptKey); to != nil && from == (began{r.Repo, r.Branch}) {
		of, ticket = to.texts[tBranch].value, to.texts[tTicket]
	}
	if kind.rank != 0 {
		if k, ok := schemas.ParseWorkKind(kind.value); ok {
			r.WorkKind, r.WorkKindSource = k, schemas.WorkKindSource(kind.rank)
		}
	}
	r.Skill = first(own[tSkill], prompt[tSkill])
	workflow := own[tWorkflow]
	for _, w := range [...]text{prompt[tWorkflow], s.texts[sWorkflow]} {
		if w.rank != 0 && (workflow.rank == 0 || w.rank < workflow.rank) {
			workflow = w
		}
	}
	if workflow.rank != 0 {
		r.Workflow, r.WorkflowSource = workflow.value, schemas.WorkflowSource(workflow.rank)
	}
	switch owner := s.texts[sOwner].value; {
	case own[tTaskId].rank != 0:
		r.TaskId, r.TaskIdSource = own[tTaskId].value, schemas.TaskIdSourceExplicit
	case ticket.rank != 0 && r.Repo != "":
		r.TaskId, r.TaskIdSource = r.Repo+"#"+ticket.value, schemas.TaskIdSourceTicket
	case r.Repo != "" && owner != "" && !schemas.SharedBranch(of):
		r.TaskId, r.TaskIdSource = r.Repo+"@"+of+":"+owner, schemas.TaskIdSourceBranch
	default:
		r.TaskId, r.TaskIdSource = r.RootSessionId, schemas.TaskIdSourceSession
	}
}

func (x *fold) model(r *schemas.Enriched, s *session, f *fact, billing schemas.Billing) {
	t, n := &f.texts, &f.numbers
	r.Model, r.ModelRequested = t[tModel].value, t[tModelRequested].value
	r.StopReason, r.QuerySource = t[tStopReason].value, t[tQuerySource].value
	r.Platform, r.Speed, r.ServiceTier = t[tPlatform].value, t[tSpeed].value, t[tServiceTier].value
	r.Attempt = n[nAttempt].long()
	r.ResultHash = t[tTextHash].value
	switch f.kind {
	case schemas.KindModelRetry, schemas.KindModelError:
		r.RetryReason = retryReason(t[tErrorClass].value)
		if f.kind == schemas.KindModelRetry {
			r.DurationMs = n[nWaitMs].long()
		}
		return
	}
	x.cost(r, s, f, billing)
}

// retryReason is why a request is sent again; the class says it in full.
func retryReason(class string) string {
	if strings.HasPrefix(class, "rate_limit") {
		return "rate_limited"
	}
	return "api_error"
}

func (x *fold) tool(r *schemas.Enriched, s *session, f *fact) {
	t, n := &f.texts, &f.numbers
	r.ToolName, r.ToolTarget, r.McpServer = t[tToolName].value, t[tToolTarget].value, t[tMcpServer].value
	r.ToolArgumentsHash, r.ResultHash = t[tArgumentsHash].value, t[tResultHash].value
	r.ToolArgumentsRef, r.ResultRef = ref(f, r.ToolArgumentsHash), ref(f, r.ResultHash)
	r.ExitStatus = n[nExitStatus].long()
	r.CommandClass, r.SecretClass = t[tCommandClass].value, t[tSecretClass].value
	r.PermissionMode, r.InstallSource = t[tPermissionMode].value, t[tInstallSource].value
	r.Waits, r.Background = n[nWaits].bool(), n[nBackground].bool()
	if f.kind == schemas.KindApproval {
		x.approval(r, s, f)
		return
	}
	r.ResultShape = t[tResultShape].value
	r.Attempt, r.RetryReason = n[nAttempt].long(), t[tRetryReason].value
	r.ApprovalDecision = t[tApprovalDecision].value
	r.ApprovalKind = approvalKind(f)
	if asked := x.requestFor(s, f); asked || userDecided(f) {
		r.ApprovalRequired = schemas.SomeBool(true)
	}
	x.toolCost(r, s, f)
}

// ref names a text in the content topic: in mode metadata there is none.
func ref(f *fact, hash string) string {
	if f.captureMode == schemas.CaptureModeMetadata {
		return ""
	}
	return hash
}

// first is the value of the first register that is set.
func first(registers ...text) string {
	for _, t := range registers {
		if t.rank != 0 {
			return t.value
		}
	}
	return ""
}
