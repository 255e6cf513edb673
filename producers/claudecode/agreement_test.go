package claudecode_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// own is what a witness tells of its observation, not of the fact.
var own = []string{"event_id", "witness", "occurred_at", "capture_mode"}

// disagreements are the fields that hooks and transcripts rightly tell
// differently, by scenario, kind and field.
var disagreements = map[string]string{
	"hook-deny/tool_call/arguments_hash":         "a hook changed the input: PostToolUse tells what ran, all others what was asked for",
	"hook-deny/tool_call/arguments_length":       "the same",
	"hook-deny/turn_end/text_hash":               "a Stop hook sent the agent back: the first Stop could not know, the later one stands",
	"hook-deny/turn_end/text_length":             "the same",
	"subagent-worktree/file_change/change_grade": "transcripts of subagents have no structured results, so the write target of the command is all they tell",
}

// told collects what a witness's events tell of each fact: by fact key, by
// field, the values in order. What is false may only be not yet so.
func told(t *testing.T, k *kept) map[schemas.Id]map[string][]string {
	facts := map[schemas.Id]map[string][]string{}
	for i := range k.events {
		e := &k.events[i]
		var fields map[string]any
		if err := json.Unmarshal(e.AppendJSON(nil), &fields); err != nil {
			t.Fatal(err)
		}
		body, _ := fields["body"].(map[string]any)
		delete(fields, "body")
		maps.Copy(fields, body)
		fact := facts[e.FactKey]
		if fact == nil {
			fact = map[string][]string{}
			facts[e.FactKey] = fact
		}
		for field, v := range fields {
			if value := fmt.Sprint(v); !slices.Contains(own, field) && !(v == false && (field == "done" || field == "critical" || field == "output_partial")) && !slices.Contains(fact[field], value) {
				fact[field] = append(fact[field], value)
			}
		}
	}
	return facts
}

func TestHooksAndTranscriptsTellTheSameOfAFact(t *testing.T) {
	shared, found := 0, map[string]bool{}
	for _, scenario := range recordings.Scenarios() {
		byHook, byTranscript := told(t, hooksOf(t, scenario)), told(t, transcriptsOf(t, scenario))
		for key, hook := range byHook {
			transcript := byTranscript[key]
			if transcript == nil {
				continue
			}
			shared++
			for field, values := range hook {
				other := transcript[field]
				if other == nil || slices.Equal(values, other) {
					continue
				}
				name := strings.Join([]string{scenario, hook["kind"][0], field}, "/")
				if disagreements[name] == "" {
					t.Errorf("%s %v: hooks say %q, transcripts say %q", name, hook["tool_use_id"], values, other)
				}
				found[name] = true
			}
		}
	}
	for name := range disagreements {
		if !found[name] {
			t.Errorf("%s: no disagreement was found, though one is listed", name)
		}
	}
	if shared < 300 {
		t.Errorf("hooks and transcripts share %d facts only", shared)
	}
	t.Logf("%d shared facts", shared)
}
