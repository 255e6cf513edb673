package corpus

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// template is a real line of the recordings with holes for what differs from
// session to session. It is text, hole, text, hole, ..., text.
type template struct{ texts, holes []string }

// values fill the holes of a template: JSON for a path, plain text for a name
// with $.
type values map[string]string

func (t *template) fill(v values) string {
	var b strings.Builder
	for i, text := range t.texts {
		b.WriteString(text)
		if i < len(t.holes) {
			b.WriteString(v[t.holes[i]])
		}
	}
	return b.String()
}

// cut makes holes where a line has the paths, and where it names its session
// and its place. A path that the line does not have makes no hole.
func cut(line, session string, paths ...string) *template {
	type span struct {
		at, end int
		name    string
	}
	var spans []span
	for _, path := range paths {
		if r := gjson.Get(line, path); r.Exists() && r.Index > 0 {
			spans = append(spans, span{r.Index, r.Index + len(r.Raw), path})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.at, b.at) })
	t, at := &template{}, 0
	for _, s := range spans {
		if s.at < at {
			panic("holes of a template overlap: " + s.name)
		}
		t.text(line[at:s.at], session)
		t.holes = append(t.holes, s.name)
		at = s.end
	}
	t.text(line[at:], session)
	return t
}

// text adds a text without holes by path.
func (t *template) text(text, session string) {
	for _, name := range [...][2]string{{session, "$session"}, {"/home/dev/src/shop", "$cwd"}, {"-home-dev-src-shop", "$folder"}, {"/home/dev", "$home"}} {
		if before, after, ok := strings.Cut(text, name[0]); ok {
			t.text(before, session)
			t.holes = append(t.holes, name[1])
			t.text(after, session)
			return
		}
	}
	t.texts = append(t.texts, text)
}

// templates by name: hook/<event>, transcript/<what>, otlp/<what>; those with
// /agent at their end are of subagents.
var templates = sync.OnceValues(func() (map[string]*template, error) {
	dir, err := os.MkdirTemp("", "flightlog-corpus-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := recordings.Unpack(dir); err != nil {
		return nil, err
	}
	all := map[string]*template{}
	for _, w := range wanted {
		line, err := w.find(filepath.Join(dir, w.scenario))
		if err != nil {
			return nil, fmt.Errorf("cannot find a line for %s in the recording %s: %w", w.name, w.scenario, err)
		}
		session := cmp.Or(gjson.Get(line, "input.session_id").Str, gjson.Get(line, "sessionId").Str, "no session")
		switch {
		case strings.HasPrefix(w.name, "hook/"):
			all[w.name] = cut(line, session, hookHoles...)
			all[w.name+"/agent"] = cut(strings.Replace(line, `"effort":`, `"agent_id":"","agent_type":"","effort":`, 1), session, hookHoles...)
		case strings.HasPrefix(w.name, "transcript/"):
			all[w.name] = cut(line, session, transcriptHoles...)
			all[w.name+"/agent"] = cut(strings.Replace(line, `"isSidechain":false`, `"isSidechain":true,"agentId":""`, 1), session, transcriptHoles...)
		case w.name == "otlp/export":
			record := gjson.Get(line, "body.resourceLogs.0.scopeLogs.0.logRecords.0")
			all[w.name] = cut(line, session, "received_at", "body.resourceLogs.0.scopeLogs.0.logRecords")
			all["otlp/record"] = cut(record.Raw, session, "timeUnixNano", "observedTimeUnixNano", "body.stringValue", "attributes")
		default:
			all[w.name] = cut(line, session, "status", "prompt", "agentId", "agentType", "content.1.text", "resolvedModel", "totalDurationMs", "totalToolUseCount", "description", "outputFile")
		}
	}
	return all, nil
})

var hookHoles = []string{
	"recorded_at", "input.prompt_id", "input.permission_mode", "input.agent_id", "input.agent_type", "input.tool_name", "input.tool_input",
	"input.tool_response", "input.tool_use_id", "input.duration_ms", "input.error", "input.tool_calls", "input.last_assistant_message",
	"input.prompt", "input.reason", "input.agent_transcript_path", "input.permission_suggestions", "input.mcp_server.name",
}

var transcriptHoles = []string{
	"parentUuid", "promptId", "agentId", "uuid", "timestamp", "entrypoint", "gitBranch", "permissionMode", "turnPosition.turnIndex", "toolUseResult",
	"toolDenialKind", "sourceToolAssistantUUID", "permissionDecision", "requestId", "requestRef", "requestedModel", "apiBlockIndex", "toolUseID",
	"message.id", "message.model", "message.stop_reason", "message.content", "message.usage.input_tokens", "message.usage.cache_creation_input_tokens",
	"message.usage.cache_read_input_tokens", "message.usage.output_tokens", "message.usage.cache_creation.ephemeral_5m_input_tokens",
}

// want says where the line of a template stands: the last line of a file for
// which all paths have these values, so that it has no environment if any has
// none.
type want struct {
	name, scenario, file string
	where                []string // path=value; path alone must exist, !path must not
	part                 string   // of the line
}

func hook(event, scenario string, where ...string) want {
	return want{name: "hook/" + event, scenario: scenario, file: "hooks.ndjson", where: append(where, "event="+event)}
}

func transcript(what, scenario string, where ...string) want {
	return want{name: "transcript/" + what, scenario: scenario, file: "projects/*/*.jsonl", where: where}
}

var wanted = []want{
	hook("SessionStart", "success"),
	hook("UserPromptSubmit", "multi-prompt"),
	hook("PreToolUse", "success"),
	hook("PostToolUse", "success"),
	hook("PostToolUseFailure", "fail-then-retry"),
	hook("PostToolBatch", "success"),
	hook("PermissionRequest", "permission-denied"),
	hook("Stop", "multi-prompt"),
	hook("SubagentStart", "subagent"),
	hook("SubagentStop", "subagent"),
	hook("SessionEnd", "multi-prompt"),
	{"hook/mcp/PreToolUse", "mcp", "hooks.ndjson", []string{"event=PreToolUse", "input.mcp_server"}, ""},
	{"hook/mcp/PostToolUse", "mcp", "hooks.ndjson", []string{"event=PostToolUse", "input.mcp_server"}, ""},
	{"hook/mcp/PostToolUseFailure", "mcp", "hooks.ndjson", []string{"event=PostToolUseFailure", "input.mcp_server"}, ""},
	transcript("prompt", "success", "type=user", "turnPosition"),
	transcript("text", "success", "type=assistant", "message.content.0.type=text"),
	transcript("use", "success", "type=assistant", "message.content.0.type=tool_use"),
	transcript("result", "success", "type=user", "toolUseResult", "!sandboxed"),
	transcript("shell", "success", "type=user", "sandboxed"),
	transcript("failed", "mcp", "type=user", "message.content.0.is_error=true"),
	transcript("failed-shell", "fail-then-retry", "type=user", "message.content.0.is_error=true"),
	transcript("refused", "permission-denied", "type=user", "toolDenialKind"),
	transcript("rejected", "interactive", "type=user", "toolDenialBeforeRun"),
	transcript("invalid", "edit-mismatch", "type=user", "message.content.0.is_error=true"),
	transcript("interrupted", "interactive", "type=user", "message.content.0.text=[Request interrupted by user for tool use]", "!interruptedMessageId"),
	transcript("stopped", "success", "subtype=stop_hook_summary"),
	{"otlp/export", "success", "otlp-logs.ndjson", nil, ""},
	{"agent/completed", "subagent", "hooks.ndjson", []string{"event=PostToolUse", "input.tool_name=Agent"}, "input.tool_response"},
	{"agent/launched", "subagent-background", "hooks.ndjson", []string{"event=PostToolUse", "input.tool_name=Agent"}, "input.tool_response"},
}

func (w *want) find(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, w.file))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no file %s: %w", w.file, err)
	}
	found := ""
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			if line := lines.Text(); w.fits(line) {
				found = line
			}
		}
		if err := cmp.Or(lines.Err(), f.Close()); err != nil {
			return "", err
		}
	}
	if found != "" && w.part != "" {
		found = gjson.Get(found, w.part).Raw
	}
	if found == "" {
		return "", fmt.Errorf("no line with %q", w.where)
	}
	return found, nil
}

func (w *want) fits(line string) bool {
	for _, condition := range w.where {
		path, value, given := strings.Cut(condition, "=")
		absent := strings.HasPrefix(path, "!")
		r := gjson.Get(line, strings.TrimPrefix(path, "!"))
		if r.Exists() == absent || given && r.String() != value {
			return false
		}
	}
	return true
}
