package sessions

import (
	"math"

	"github.com/flightlog/flightlog/schemas"
)

// channel is a witness, with OTLP split by signal: what one may be believed
// differs.
type channel uint8

const (
	hook channel = iota
	transcript
	otlpLog
	otlpSpan
	otlpMetric
	git
	ci
	forge
	direct
	channels
)

func channelOf(e *schemas.Event) channel {
	switch e.Witness {
	case schemas.WitnessHook:
		return hook
	case schemas.WitnessTranscript:
		return transcript
	case schemas.WitnessOtlp:
		switch e.Signal {
		case schemas.SignalSpan:
			return otlpSpan
		case schemas.SignalMetric:
			return otlpMetric
		}
		return otlpLog
	case schemas.WitnessGit:
		return git
	case schemas.WitnessCi:
		return ci
	case schemas.WitnessForge:
		return forge
	}
	return direct
}

// authority ranks the channels for a field: 1 is believed first. A channel of
// higher rank replaces what a lower one said; within a rank the join below
// decides. So merging is commutative, associative and idempotent.
type authority [channels]uint8

func by(first ...channel) (a authority) {
	rank := uint8(1)
	for _, c := range first {
		a[c] = rank
		rank++
	}
	for c := range a {
		if a[c] == 0 {
			a[c] = rank
			rank++
		}
	}
	return a
}

// The orders that fields follow (DESIGN §4, contracts/claude-code.md §6).
var (
	timesBy    = by(hook, transcript, otlpLog, otlpSpan)   // when it happened
	recordBy   = by(transcript, hook, otlpLog, otlpSpan)   // what the client wrote down in full
	tokensBy   = by(otlpLog, transcript, otlpSpan)         // usage; a broken stream is right in all
	servedBy   = by(transcript, otlpSpan, otlpLog)         // speed as served: OTLP says what was asked for
	durationBy = by(hook, otlpLog, transcript, otlpSpan)   // spans count the wait for the user
	decisionBy = by(otlpLog, transcript, hook, otlpSpan)   // approvals: OTLP decision, then the rest
	namesBy    = by(git, forge, otlpLog, transcript, hook) // commit ids: whole before abbreviated
	spansBy    = by(otlpSpan, otlpLog, transcript, hook)   // attempts: spans count every one
)

// anyone is believed: the join alone decides.
var anyone = func() (a authority) {
	for c := range a {
		a[c] = 1
	}
	return a
}()

// join decides between two values of the same rank.
type join uint8

const (
	greatest join = iota
	least
	latest // the one that was said of the later time; texts always join so
)

// Text fields of a fact. The numbers are part of the state's encoding: add at
// the end, never reuse.
const (
	tErrorClass = iota
	tAgentVersion
	tPromptId
	tAgentRunId
	tParentAgentRunId
	tRequestId
	tToolUseId
	tRepo
	tBranch
	tTicket
	tTaskId
	tSkill
	tWorkflow
	tWorkKind
	tReason
	tTextHash
	tCommand
	tAgentType
	tPath
	tModel
	tModelRequested
	tMessageId
	tStopReason
	tQuerySource
	tPlatform
	tSpeed
	tServiceTier
	tInferenceGeo
	tToolName
	tToolTarget
	tMcpServer
	tArgumentsHash
	tResultHash
	tCommandClass
	tSecretClass
	tPermissionMode
	tApprovalDecision
	tApprovalSource
	tApprovalReason
	tFileType
	tOperation
	tDiffHash
	tProtectedClass
	tCommitId
	tChangeId
	tClaim
	tResultShape
	tInstallSource
	tTestTamper
	tRetryReason // by the fold: why the attempt before failed
	tPatchId
	texts
)

// Number fields of a fact; the same rule.
const (
	nOccurredAt = iota
	nDecidedAt
	nDurationMs
	nSuccess
	nTextLength
	nTokensBefore
	nTokensAfter
	nTokenInput
	nTokenOutput
	nTokenThinking
	nTokenCacheRead
	nTokenCacheWrite5m
	nTokenCacheWrite1h
	nTokenCacheWrite
	nOutputPartial
	nWebSearches
	nWebFetches
	nCostClientUsd // bits of a float64
	nStatusCode
	nAttempt
	nWaitMs
	nExitStatus
	nLinesAdded
	nLinesRemoved
	nChangeGrade
	nTestOutcome
	nTestsPassed
	nTestsFailed
	nResultLength
	nWaits
	nBackground
	nEndedAt
	numbers
)

type textField struct {
	field int
	by    authority
	from  func(*schemas.Event) string
}

type numberField struct {
	field int
	by    authority
	join  join
	from  func(*schemas.Event) schemas.OptLong
}

// always is asked of every event, families of those with that body.
var always = struct {
	texts   []textField
	numbers []numberField
}{
	texts: []textField{
		{tErrorClass, recordBy, func(e *schemas.Event) string { return e.ErrorClass }},
		{tAgentVersion, recordBy, func(e *schemas.Event) string { return e.AgentVersion }},
		{tPromptId, recordBy, func(e *schemas.Event) string { return e.PromptId }},
		{tAgentRunId, recordBy, func(e *schemas.Event) string { return e.AgentRunId }},
		{tParentAgentRunId, recordBy, func(e *schemas.Event) string { return e.ParentAgentRunId }},
		{tRequestId, recordBy, func(e *schemas.Event) string { return e.RequestId }},
		{tToolUseId, recordBy, func(e *schemas.Event) string { return e.ToolUseId }},
		{tRepo, recordBy, func(e *schemas.Event) string { return e.Repo }},
		{tBranch, recordBy, func(e *schemas.Event) string { return e.Branch }},
		{tTicket, recordBy, func(e *schemas.Event) string { return e.Ticket }},
		{tTaskId, recordBy, func(e *schemas.Event) string { return e.TaskId }},
		{tSkill, recordBy, func(e *schemas.Event) string { return e.Skill }},
	},
	numbers: []numberField{
		{nOccurredAt, timesBy, least, func(e *schemas.Event) schemas.OptLong { return schemas.SomeLong(e.OccurredAt) }},
		{nDurationMs, durationBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.DurationMs }},
		{nSuccess, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return flag(e.Success) }},
	},
}

var families = map[schemas.EventBodyBranch]struct {
	texts   []textField
	numbers []numberField
}{
	schemas.EventBodySession: {
		texts: []textField{
			{tReason, recordBy, func(e *schemas.Event) string { return e.Body.Session.Reason }},
			{tTextHash, recordBy, func(e *schemas.Event) string { return e.Body.Session.TextHash }},
			{tCommand, recordBy, func(e *schemas.Event) string { return e.Body.Session.Command }},
			{tAgentType, recordBy, func(e *schemas.Event) string { return e.Body.Session.AgentType }},
			{tPath, recordBy, func(e *schemas.Event) string { return e.Body.Session.Path }},
			{tClaim, recordBy, func(e *schemas.Event) string { return e.Body.Session.Claim }},
		},
		numbers: []numberField{
			{nTextLength, recordBy, latest, func(e *schemas.Event) schemas.OptLong { return e.Body.Session.TextLength }},
			{nTokensBefore, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Session.TokensBefore }},
			{nTokensAfter, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Session.TokensAfter }},
		},
	},
	schemas.EventBodyModel: {
		texts: []textField{
			{tModel, tokensBy, func(e *schemas.Event) string { return e.Body.Model.Model }},
			{tModelRequested, recordBy, func(e *schemas.Event) string { return e.Body.Model.ModelRequested }},
			{tMessageId, recordBy, func(e *schemas.Event) string { return e.Body.Model.MessageId }},
			{tStopReason, recordBy, func(e *schemas.Event) string { return e.Body.Model.StopReason }},
			{tQuerySource, tokensBy, func(e *schemas.Event) string { return e.Body.Model.QuerySource }},
			{tPlatform, tokensBy, func(e *schemas.Event) string { return e.Body.Model.Platform }},
			{tSpeed, servedBy, func(e *schemas.Event) string { return e.Body.Model.Speed }},
			{tServiceTier, recordBy, func(e *schemas.Event) string { return e.Body.Model.ServiceTier }},
			{tInferenceGeo, recordBy, func(e *schemas.Event) string { return e.Body.Model.InferenceGeo }},
			{tTextHash, recordBy, func(e *schemas.Event) string { return e.Body.Model.TextHash }},
		},
		numbers: []numberField{
			{nTokenInput, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.TokenInput }},
			{nTokenOutput, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.TokenOutput }},
			{nTokenThinking, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.TokenThinking }},
			{nTokenCacheRead, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.TokenCacheRead }},
			{nTokenCacheWrite5m, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.TokenCacheWrite5m }},
			{nTokenCacheWrite1h, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.TokenCacheWrite1h }},
			{nTokenCacheWrite, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.TokenCacheWrite }},
			{nOutputPartial, tokensBy, least, func(e *schemas.Event) schemas.OptLong {
				if e.Kind != schemas.KindModelRequest || !e.Body.Model.TokenOutput.Valid {
					return schemas.OptLong{}
				}
				return flag(schemas.SomeBool(e.Body.Model.OutputPartial))
			}},
			{nWebSearches, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.WebSearches }},
			{nWebFetches, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.WebFetches }},
			{nCostClientUsd, tokensBy, greatest, func(e *schemas.Event) schemas.OptLong {
				c := e.Body.Model.CostClientUsd
				return schemas.OptLong{Value: int64(math.Float64bits(c.Value)), Valid: c.Valid}
			}},
			{nStatusCode, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.StatusCode }},
			{nAttempt, spansBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.Attempt }},
			{nWaitMs, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.WaitMs }},
			{nTextLength, recordBy, latest, func(e *schemas.Event) schemas.OptLong { return e.Body.Model.TextLength }},
		},
	},
	schemas.EventBodyTool: {
		texts: []textField{
			{tToolName, recordBy, func(e *schemas.Event) string { return e.Body.Tool.ToolName }},
			{tToolTarget, recordBy, func(e *schemas.Event) string { return e.Body.Tool.ToolTarget }},
			{tMcpServer, recordBy, func(e *schemas.Event) string { return e.Body.Tool.McpServer }},
			{tArgumentsHash, recordBy, func(e *schemas.Event) string { return e.Body.Tool.ArgumentsHash }},
			{tResultHash, recordBy, func(e *schemas.Event) string { return e.Body.Tool.ResultHash }},
			{tResultShape, recordBy, func(e *schemas.Event) string { return e.Body.Tool.ResultShape }},
			{tInstallSource, recordBy, func(e *schemas.Event) string { return e.Body.Tool.InstallSource }},
			{tCommandClass, recordBy, func(e *schemas.Event) string { return e.Body.Tool.CommandClass }},
			{tSecretClass, recordBy, func(e *schemas.Event) string { return e.Body.Tool.SecretClass }},
			{tPermissionMode, recordBy, func(e *schemas.Event) string { return e.Body.Tool.PermissionMode }},
			{tApprovalDecision, decisionBy, func(e *schemas.Event) string { return e.Body.Tool.ApprovalDecision }},
			{tApprovalSource, decisionBy, func(e *schemas.Event) string { return e.Body.Tool.ApprovalSource }},
			{tApprovalReason, recordBy, func(e *schemas.Event) string { return e.Body.Tool.ApprovalReason }},
		},
		numbers: []numberField{
			{nDecidedAt, decisionBy, least, func(e *schemas.Event) schemas.OptLong {
				return schemas.OptLong{Value: e.OccurredAt, Valid: e.Body.Tool.ApprovalDecision != ""}
			}},
			{nEndedAt, timesBy, least, func(e *schemas.Event) schemas.OptLong {
				return schemas.OptLong{Value: e.OccurredAt, Valid: e.Body.Tool.Done}
			}},
			{nResultLength, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Tool.ResultLength }},
			{nExitStatus, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Tool.ExitStatus }},
			{nWaits, anyone, greatest, func(e *schemas.Event) schemas.OptLong { return schemas.OptLong{Value: 1, Valid: e.Body.Tool.Waits} }},
			{nBackground, anyone, greatest, func(e *schemas.Event) schemas.OptLong { return flag(e.Body.Tool.Background) }},
		},
	},
	schemas.EventBodyArtifact: {
		texts: []textField{
			{tPath, recordBy, func(e *schemas.Event) string { return e.Body.Artifact.FilePath }},
			{tFileType, recordBy, func(e *schemas.Event) string { return e.Body.Artifact.FileType }},
			{tOperation, recordBy, func(e *schemas.Event) string { return e.Body.Artifact.Operation }},
			{tDiffHash, recordBy, func(e *schemas.Event) string { return e.Body.Artifact.DiffHash }},
			{tProtectedClass, recordBy, func(e *schemas.Event) string { return e.Body.Artifact.ProtectedClass }},
			{tCommitId, namesBy, func(e *schemas.Event) string { return e.Body.Artifact.CommitId }},
			{tChangeId, recordBy, func(e *schemas.Event) string { return e.Body.Artifact.ChangeId }},
			{tPatchId, namesBy, func(e *schemas.Event) string { return e.Body.Artifact.PatchId }},
			{tTestTamper, recordBy, func(e *schemas.Event) string { return e.Body.Artifact.TestTamper }},
		},
		numbers: []numberField{
			{nLinesAdded, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Artifact.LinesAdded }},
			{nLinesRemoved, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Artifact.LinesRemoved }},
			{nChangeGrade, anyone, greatest, func(e *schemas.Event) schemas.OptLong { return symbol(uint8(e.Body.Artifact.ChangeGrade)) }},
			{nTestOutcome, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return symbol(uint8(e.Body.Artifact.TestOutcome)) }},
			{nTestsPassed, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Artifact.TestsPassed }},
			{nTestsFailed, recordBy, greatest, func(e *schemas.Event) schemas.OptLong { return e.Body.Artifact.TestsFailed }},
		},
	},
}

// flag is a truth value as a number.
func flag(b schemas.OptBool) schemas.OptLong {
	n := schemas.OptLong{Valid: b.Valid}
	if b.Value {
		n.Value = 1
	}
	return n
}

// symbol is an enum as a number; the first symbol says nothing.
func symbol(s uint8) schemas.OptLong {
	return schemas.OptLong{Value: int64(s), Valid: s != 0}
}

// merge joins what an event says into the fact. It tells whether anything
// changed: a merge that changes nothing is the duplicate.
func (f *fact) merge(e *schemas.Event) (changed bool) {
	c := channelOf(e)
	if bit := uint16(1) << c; f.shown&bit == 0 {
		f.shown |= bit
		changed = true
	}
	if bit := uint16(1) << c; e.Body.Branch == schemas.EventBodyTool && e.Body.Tool.Done && f.ended&bit == 0 {
		f.ended |= bit
		changed = true
	}
	if bit := uint16(1) << e.Witness; f.witnesses&bit == 0 {
		f.witnesses |= bit
		changed = true
	}
	if e.CaptureMode > f.captureMode {
		f.captureMode, changed = e.CaptureMode, true
	}
	if e.Critical && !f.critical {
		f.critical, changed = true, true
	}
	// The workflow and the kind of work come with a source of their own, which
	// is their rank: the first match counts.
	if e.Workflow != "" {
		changed = f.texts[tWorkflow].join(e.Workflow, uint8(e.WorkflowSource), e.OccurredAt) || changed
	}
	if e.WorkKind != schemas.WorkKindUnknown {
		changed = f.texts[tWorkKind].join(e.WorkKind.String(), uint8(e.WorkKindSource), e.OccurredAt) || changed
	}
	own, at := families[e.Body.Branch], e.OccurredAt
	for _, fields := range [...][]textField{always.texts, own.texts} {
		for i := range fields {
			if v := fields[i].from(e); v != "" {
				changed = f.texts[fields[i].field].join(v, fields[i].by[c], at) || changed
			}
		}
	}
	for _, fields := range [...][]numberField{always.numbers, own.numbers} {
		for i := range fields {
			if v := fields[i].from(e); v.Valid {
				j := fields[i].join
				if fields[i].field == nOccurredAt && lastOfSeveral(e.Kind) {
					j = greatest
				}
				changed = f.numbers[fields[i].field].join(v.Value, fields[i].by[c], j, at) || changed
			}
		}
	}
	return changed
}

// lastOfSeveral are kinds that may be told several times under one fact, the
// last of which is meant: a Stop hook sends the agent back, a session is resumed
// and ends again.
func lastOfSeveral(k schemas.Kind) bool {
	return k == schemas.KindTurnEnd || k == schemas.KindSessionEnd
}

// text is a register: a value, the rank of who said it (0 = nobody), and of
// what time. Within a rank the later time wins, then the greater value.
type text struct {
	value string
	rank  uint8
	at    int64
}

func (t *text) join(value string, rank uint8, at int64) bool {
	if rank == 0 {
		rank = math.MaxUint8 // a source that does not say what it is
	}
	if t.rank != 0 && (rank > t.rank || rank == t.rank && (at < t.at || at == t.at && value <= t.value)) {
		return false
	}
	*t = text{value, rank, at}
	return true
}

// number is a register for numbers, times and truth values.
type number struct {
	value int64
	rank  uint8
	at    int64 // for the join latest only
}

func (n *number) join(value int64, rank uint8, j join, at int64) bool {
	if j != latest {
		at = 0
	}
	if n.rank != 0 {
		if rank > n.rank {
			return false
		}
		if rank == n.rank && !n.yields(value, j, at) {
			return false
		}
	}
	*n = number{value, rank, at}
	return true
}

// yields tells that a value of the same rank takes the register's place.
func (n *number) yields(value int64, j join, at int64) bool {
	switch {
	case at != n.at:
		return at > n.at
	case j == least:
		return value < n.value
	}
	return value > n.value
}

func (n number) long() schemas.OptLong {
	return schemas.OptLong{Value: n.value, Valid: n.rank != 0}
}

func (n number) bool() schemas.OptBool {
	return schemas.OptBool{Value: n.value != 0, Valid: n.rank != 0}
}
