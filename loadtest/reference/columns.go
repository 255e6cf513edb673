package reference

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// row is the row of a fact; false if it has none.
func (b Batch) row(s *session, f *fact) (schemas.Enriched, bool) {
	if f.kind == schemas.KindSessionEnd && f.key != s.endKey() {
		return schemas.Enriched{}, false // a session ends under one key
	}
	r := schemas.Enriched{
		Sign: 1, FactKey: f.key, Generation: b.Generation, Kind: f.kind, Family: schemas.FamilyOf(f.kind),
		Org: s.org, SessionId: s.id,
		Witnesses: f.witnesses(), CaptureMode: f.captureMode(), OccurredAt: f.at,
		DurationMs:   number(func(o observation) schemas.OptLong { return o.DurationMs }).greatest(f.observations, durations),
		Success:      f.success(),
		ErrorClass:   f.text(record, func(o observation) string { return o.ErrorClass }),
		AgentRunId:   f.agentRunId(),
		RequestId:    f.requestId(),
		ToolUseId:    f.toolUseId(),
		AgentVersion: f.text(record, agentVersion),

		ParentAgentRunId: f.text(record, func(o observation) string { return o.ParentAgentRunId }),
	}
	if f.kind != schemas.KindSessionStart && f.kind != schemas.KindSessionEnd { // these belong to no prompt
		r.PromptId = f.text(record, func(o observation) string { return o.PromptId })
	}
	if f.kind == schemas.KindModelRequest && s.copied(f) {
		return schemas.Enriched{}, false
	}
	s.who(&r)
	s.place(&r, f)
	billing := b.attribute(&r, f)
	switch r.Family {
	case schemas.FamilySession:
		f.session(&r)
	case schemas.FamilyModel:
		b.model(&r, f, billing)
	case schemas.FamilyTool:
		f.tool(&r, s)
		if f.kind != schemas.KindApproval {
			b.toolCost(&r, s, f)
		}
	case schemas.FamilyArtifact:
		f.artifact(&r)
	}
	r.Cap()
	return r, true
}

func (f *fact) text(rank ranking, value text) string { return value.newest(f.observations, rank) }

func (f *fact) greatest(rank ranking, value number) schemas.OptLong {
	return value.greatest(f.observations, rank)
}

func agentVersion(o observation) string { return o.AgentVersion }

func (f *fact) agentRunId() string {
	return f.text(record, func(o observation) string { return o.AgentRunId })
}

func (f *fact) requestId() string {
	return f.text(record, func(o observation) string { return o.RequestId })
}

func (f *fact) toolUseId() string {
	return f.text(record, func(o observation) string { return o.ToolUseId })
}

// witnesses names who told of the fact, in the order of the enum.
func (f *fact) witnesses() string {
	var names []string
	for w := schemas.WitnessHook; w <= schemas.WitnessDirect; w++ {
		if slices.ContainsFunc(f.observations, func(o observation) bool { return o.Witness == w }) {
			names = append(names, w.String())
		}
	}
	return strings.Join(names, ",")
}

// captureMode is the highest of all.
func (f *fact) captureMode() (mode schemas.CaptureMode) {
	for _, o := range f.observations {
		mode = max(mode, o.CaptureMode)
	}
	return mode
}

// occurredAt is when it began: the earliest time that was told. A turn's and a
// session's end may come several times under one fact, and the last is meant.
// Of an end that nobody told of, it is the last thing that happened in the
// session.
func (f *fact) occurredAt(s *session) int64 {
	told := number(func(o observation) schemas.OptLong { return schemas.SomeLong(o.at) })
	switch {
	case len(f.observations) == 0:
		return told.greatest(s.observations, anyone).Value
	case f.kind == schemas.KindTurnEnd, f.kind == schemas.KindSessionEnd:
		return told.greatest(f.observations, times).Value
	}
	return told.least(f.observations, times).Value
}

// success is true if any of those believed say so.
func (f *fact) success() schemas.OptBool {
	told := believed(f.observations, record, func(o observation) bool { return o.Success.Valid })
	return schemas.OptBool{
		Valid: len(told) > 0,
		Value: slices.ContainsFunc(told, func(o observation) bool { return o.Success.Value }),
	}
}

// background is true if anybody says so.
func (f *fact) background() schemas.OptBool {
	told := believed(f.observations, anyone, func(o observation) bool { return o.Body.Tool.Background.Valid })
	return schemas.OptBool{
		Valid: len(told) > 0,
		Value: slices.ContainsFunc(told, func(o observation) bool { return o.Body.Tool.Background.Value }),
	}
}

// ref names a text in the topic content, where no text comes in mode metadata.
func (f *fact) ref(hash string) string {
	if f.captureMode() == schemas.CaptureModeMetadata {
		return ""
	}
	return hash
}

func (f *fact) session(r *schemas.Enriched) {
	reason := f.text(record, func(o observation) string { return o.Body.Session.Reason })
	switch f.kind {
	case schemas.KindPrompt:
		r.Detail = f.text(record, func(o observation) string { return o.Body.Session.Command })
		if r.Detail == "" {
			r.Detail = reason
		}
	case schemas.KindSubagent:
		r.Detail = f.text(record, func(o observation) string { return o.Body.Session.AgentType })
	default:
		r.Detail = reason
	}
	r.ResultHash = f.text(record, func(o observation) string { return o.Body.Session.TextHash })
	r.FilePath = f.text(record, func(o observation) string { return o.Body.Session.Path })
	r.Claim = f.text(record, func(o observation) string { return o.Body.Session.Claim })
}

func (f *fact) tool(r *schemas.Enriched, s *session) {
	r.ToolName, r.ToolArgumentsHash = f.toolName(), f.argumentsHash()
	r.ToolArgumentsRef = f.ref(r.ToolArgumentsHash)
	r.ToolTarget = f.text(record, func(o observation) string { return o.Body.Tool.ToolTarget })
	r.McpServer = f.text(record, func(o observation) string { return o.Body.Tool.McpServer })
	r.ResultHash = f.text(record, func(o observation) string { return o.Body.Tool.ResultHash })
	r.ResultRef = f.ref(r.ResultHash)
	r.ExitStatus = f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Tool.ExitStatus })
	r.CommandClass = f.text(record, func(o observation) string { return o.Body.Tool.CommandClass })
	r.SecretClass = f.text(record, func(o observation) string { return o.Body.Tool.SecretClass })
	r.PermissionMode = f.text(record, func(o observation) string { return o.Body.Tool.PermissionMode })
	r.InstallSource = f.text(record, func(o observation) string { return o.Body.Tool.InstallSource })
	if slices.ContainsFunc(f.observations, func(o observation) bool { return o.Body.Tool.Waits }) {
		r.Waits = schemas.SomeBool(true)
	}
	r.Background = f.background()
	if f.kind == schemas.KindToolCall {
		r.ResultShape = f.text(record, func(o observation) string { return o.Body.Tool.ResultShape })
	}
	s.approvals(r, f)
}

func (f *fact) artifact(r *schemas.Enriched) {
	r.FilePath = f.text(record, func(o observation) string { return o.Body.Artifact.FilePath })
	r.FileType = f.text(record, func(o observation) string { return o.Body.Artifact.FileType })
	r.Detail = f.text(record, func(o observation) string { return o.Body.Artifact.Operation })
	r.LinesAdded = f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Artifact.LinesAdded })
	r.LinesRemoved = f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Artifact.LinesRemoved })
	r.DiffRef = f.ref(f.text(record, func(o observation) string { return o.Body.Artifact.DiffHash }))
	r.ProtectedClass = f.text(record, func(o observation) string { return o.Body.Artifact.ProtectedClass })
	r.TestTamper = f.text(record, func(o observation) string { return o.Body.Artifact.TestTamper })
	r.CommitId = f.text(commits, func(o observation) string { return o.Body.Artifact.CommitId })
	r.PatchId = f.text(commits, func(o observation) string { return o.Body.Artifact.PatchId })
	r.ChangeId = f.text(record, func(o observation) string { return o.Body.Artifact.ChangeId })
	r.ChangeGrade = schemas.ChangeGrade(f.greatest(anyone, func(o observation) schemas.OptLong { return ordinal(o.Body.Artifact.ChangeGrade) }).Value)
	r.TestOutcome = schemas.TestOutcome(f.greatest(record, func(o observation) schemas.OptLong { return ordinal(o.Body.Artifact.TestOutcome) }).Value)
	passed := f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Artifact.TestsPassed })
	failed := f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Artifact.TestsFailed })
	if passed.Valid || failed.Valid {
		r.DiffStats = fmt.Sprintf("%d passed, %d failed", passed.Value, failed.Value)
	}
}
