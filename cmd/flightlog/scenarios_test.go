package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"sort"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

func TestScenarioDump(t *testing.T) {
	for _, name := range recordings.Scenarios() {
		fmt.Println("====", name)
		var rows []schemas.Enriched
		for _, r := range standing(fold(t, observe(t, filepath.Join(recordings.Dir(t), name)).events)) {
			rows = append(rows, r)
		}
		sort.Slice(rows, func(i, j int) bool { return rows[i].OccurredAt < rows[j].OccurredAt })
		for _, r := range rows {
			var m map[string]any
			json.Unmarshal(r.AppendJSON(nil), &m)
			for _, k := range []string{"row_id", "fact_key", "event_id", "sign", "generation", "capture_mode", "org", "user", "user_source", "host", "repo", "agent", "agent_version", "task_id", "task_id_source", "work_kind", "work_kind_source", "cost_usd", "price_version", "billing", "tool_arguments_hash", "result_hash", "family", "version", "platform", "service_tier","cost_nano_usd_max"} {
				delete(m, k)
			}
			for k, v := range m {
				if v == nil || v == "" || v == "unknown" || v == false {
					delete(m, k)
				}
			}
			for _, k := range []string{"session_id", "prompt_id", "tool_use_id", "request_id", "root_session_id", "agent_run_id"} {
				if s, ok := m[k].(string); ok && len(s) > 8 {
					m[k] = s[:4] + ".." + s[len(s)-4:]
				}
			}
			if m["root_session_id"] == m["session_id"] {
				delete(m, "root_session_id")
			}
			kind := m["kind"]
			delete(m, "kind")
			delete(m, "occurred_at")
			b, _ := json.Marshal(m)
			fmt.Println("  ", kind, string(b))
		}
	}
}
