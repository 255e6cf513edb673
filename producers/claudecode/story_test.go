package claudecode_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

// fact is what the events of one fact tell together: of each field the last
// value.
type fact map[string]any

// facts merges events into facts, in the order of their first events.
func facts(t *testing.T, k *kept) (merged []fact) {
	t.Helper()
	byKey := map[schemas.Id]fact{}
	for i := range k.events {
		e := &k.events[i]
		f := byKey[e.FactKey]
		if f == nil {
			f = fact{}
			byKey[e.FactKey] = f
			merged = append(merged, f)
		}
		var fields map[string]any
		if err := json.Unmarshal(e.AppendJSON(nil), &fields); err != nil {
			t.Fatal(err)
		}
		body, _ := fields["body"].(map[string]any)
		delete(fields, "body")
		maps.Copy(f, fields)
		for field, v := range body {
			if field != "done" || v == true {
				f[field] = v
			}
		}
	}
	return merged
}

func (f fact) str(field string) string {
	if f[field] == nil {
		return ""
	}
	return fmt.Sprint(f[field])
}

// with is a field behind some words, or nothing where it is not told.
func (f fact) with(words, field string) string {
	if s := f.str(field); s != "" {
		return words + s
	}
	return ""
}

func (f fact) lines() string { return f.with(" +", "lines_added") + f.with(" -", "lines_removed") }

// outcome is how it went: nothing while that is open.
func (f fact) outcome() string {
	switch f["success"] {
	case true:
		return " ok"
	case false:
		return strings.TrimRight(" failed "+f.str("error_class"), " ")
	}
	return ""
}

// String is the fact as a sentence, without ids and texts.
func (f fact) String() string {
	s := f.str("kind")
	switch s {
	case "session_start", "session_end", "notification":
		s += f.with(" ", "reason")
	case "prompt":
		s += f.with(" ", "reason") + f.with(" /", "command")
	case "turn_end":
		s += f.outcome()
	case "subagent":
		s += f.with(" ", "agent_type") + f.with(" background ", "background") + f.outcome()
	case "compaction":
		s += f.with(" ", "reason") + f.with(" from ", "tokens_before") + f.with(" to ", "tokens_after")
	case "config_change":
		s += f.with(" ", "reason") + f.with(" ", "path")
	case "model_retry", "model_error":
		s += f.outcome() + f.with(" ", "status_code") + f.with(" attempt ", "attempt")
	case "tool_call":
		s = f.str("tool_name") + f.with(" ", "tool_target") + f.outcome() + f.with(" exit ", "exit_status")
		if f["approval_source"] != "config" || f["approval_decision"] == "reject" {
			s += f.with(" ", "approval_decision") + f.with(" by ", "approval_source") + f.with(" ", "approval_reason")
		}
		if f["background"] == true {
			s += " in background"
		}
		s += f.with(" secret ", "secret_class")
	case "approval":
		s += f.with(" ", "tool_name") + f.with(" ", "tool_target")
	case "file_change":
		s = strings.TrimLeft(f.str("operation")+f.with(" ", "file_path"), " ") + f.lines() + f.with(" ", "change_grade") + f.with(" ", "protected_class")
	case "commit", "push":
		s += f.with(" ", "commit_id") + f.with(" on ", "branch")
	case "pull_request":
		s += f.with(" ", "change_id") + f.with(" ", "operation")
	case "test_run":
		s += f.with(" ", "test_outcome") + f.with(" ", "tests_passed") + f.with("/", "tests_failed")
	}
	if f["critical"] == true {
		s += " !"
	}
	return s
}

// story is the facts as sentences, without the requests.
func story(t *testing.T, k *kept) (lines []string) {
	t.Helper()
	for _, f := range facts(t, k) {
		if f["kind"] != "model_request" {
			lines = append(lines, f.String())
		}
	}
	return lines
}
