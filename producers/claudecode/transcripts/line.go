package transcripts

import (
	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/claudecode"
)

// line is what counts of one line. Which fields there are depends on its type
// (contract §3.2).
type line struct {
	kind, subtype       string
	scene               claudecode.Scene
	uuid, prompt, agent string
	message             gjson.Result

	// user
	origin, denial  string
	result          gjson.Result
	decision        gjson.Result
	meta, unseen    bool // not a person's words
	summary         bool // of a compaction
	side            bool // of a subagent
	deniedBeforeRun bool

	// assistant
	requestId, requestRef, requested, attribution string
	gaveUp                                        bool // isApiErrorMessage

	err, status           gjson.Result // assistant, system/api_error
	wait, attempt         gjson.Result // system/api_error
	duration              gjson.Result // system/turn_duration
	compaction            gjson.Result // system/compact_boundary
	attachment            gjson.Result
	id, querySource, link string // api-request, pr-link
}

// state is the types of lines that tell of no fact. They are many and long.
var state = map[string]bool{
	"api-request-shape": true, "api-request-blob": true, "queue-operation": true, "last-prompt": true,
	"mode": true, "permission-mode": true, "tools-used": true, "atis-latch": true, "cost-state": true,
	"file-history-snapshot": true, "file-history-delta": true, "summary": true, "progress": true,
}

// parse reads a line's fields; nil for a line that tells of no fact: of a type
// of state, of an unknown type, or one without a time (contract §3.1).
func parse(raw string) (*line, error) {
	l := &line{}
	var err error
	var time gjson.Result
	id := func(v gjson.Result, field string) (s string) {
		if err == nil {
			s, err = claudecode.ID(v, field)
		}
		return s
	}
	s := &l.scene
	gjson.Parse(raw).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "type":
			l.kind = v.Str
			return !state[l.kind]
		case "subtype":
			l.subtype = v.Str
		case "uuid":
			l.uuid = id(v, key.Str)
		case "timestamp":
			time = v
		case "sessionId":
			s.Session = id(v, key.Str)
		case "promptId":
			l.prompt = id(v, key.Str)
		case "agentId":
			l.agent = id(v, key.Str)
		case "requestId":
			l.requestId = id(v, key.Str)
		case "cwd":
			s.Cwd = claudecode.Short(v, 4096)
		case "gitBranch":
			s.Branch = claudecode.Short(v, 512)
		case "version":
			s.Version = claudecode.Short(v, 64)
		case "entrypoint":
			s.Entrypoint = claudecode.Short(v, 256)
		case "attributionSkill":
			s.Skill = claudecode.Short(v, 256)
		case "message":
			l.message = v
		case "toolUseResult":
			l.result = v
		case "attachment":
			l.attachment = v
		case "permissionDecision":
			l.decision = v
		case "attributionAgent":
			l.attribution = claudecode.Short(v, 128)
		case "requestRef":
			l.requestRef = claudecode.Code(v)
		case "requestedModel":
			l.requested = v.Str
		case "error":
			l.err = v
		case "apiErrorStatus":
			l.status = v
		case "retryInMs":
			l.wait = v
		case "retryAttempt":
			l.attempt = v
		case "durationMs":
			l.duration = v
		case "compactMetadata":
			l.compaction = v
		case "turnOrigin":
			l.origin = claudecode.Code(v)
		case "toolDenialKind":
			l.denial = claudecode.Code(v)
		case "toolDenialBeforeRun":
			l.deniedBeforeRun = v.Type == gjson.True
		case "isMeta":
			l.meta = v.Type == gjson.True
		case "isCompactSummary":
			l.summary = v.Type == gjson.True
		case "isVisibleInTranscriptOnly":
			l.unseen = v.Type == gjson.True
		case "isApiErrorMessage":
			l.gaveUp = v.Type == gjson.True
		case "isSidechain":
			l.side = v.Type == gjson.True
		case "prUrl":
			l.link = v.Str
		case "id":
			l.id = claudecode.Code(v)
		case "querySource":
			l.querySource = claudecode.Code(v)
		}
		return true
	})
	switch l.kind {
	case "attachment", "system":
		if !time.Exists() {
			return nil, nil
		}
		fallthrough
	case "user", "assistant", "pr-link":
		if err == nil {
			s.At, err = claudecode.Time(time, "timestamp")
		}
	case "api-request":
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}
