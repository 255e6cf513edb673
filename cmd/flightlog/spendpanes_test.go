package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Σ enriched = Σ spend: for every dimension, value, pane and kind of money the
// increments add up to the signed rows (DESIGN §3).
func TestSpendOfTheTopicIsThatOfTheRows(t *testing.T) {
	home, rows := recorded(t)
	want, got := map[string]int64{}, map[string]int64{}
	for _, r := range rows {
		if r.text("kind") != "model_request" {
			continue
		}
		at := time.UnixMicro(r.number("occurred_at")).UTC()
		for _, dimension := range []string{"org", "repo", "team", "user", "workflow", "work_kind", "model"} {
			value := r.text(dimension)
			if dimension == "work_kind" && value == "" {
				value = "unknown"
			}
			for size, length := range map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour} {
				if size == "minute" && dimension != "org" && dimension != "repo" {
					continue
				}
				key := fmt.Sprint(dimension, " ", value, " ", size, " ", at.Truncate(length).UnixMicro(), " ", r.text("billing"), " ", r.text("cost_grade"))
				want[key+" cost"] += r.number("sign") * r.number("cost_nano_usd")
				want[key+" requests"] += r.number("sign")
				want[key+" output"] += r.number("sign") * r.number("token_output")
			}
		}
	}
	for _, r := range readRows(t, filepath.Join(home, "rows", "spend.ndjson")) {
		key := fmt.Sprint(r.text("dimension"), " ", r.text("value"), " ", r.text("pane_size"), " ", r.number("pane_start"), " ", r.text("billing"), " ", r.text("cost_grade"))
		got[key+" cost"] += r.number("cost_nano_usd")
		got[key+" requests"] += r.number("requests")
		got[key+" output"] += r.number("token_output")
	}
	zero := func(_ string, n int64) bool { return n == 0 }
	maps.DeleteFunc(want, zero)
	maps.DeleteFunc(got, zero)
	if len(want) == 0 || !maps.Equal(got, want) {
		for key := range want {
			if got[key] != want[key] {
				t.Errorf("%s: the topic says %d, the rows %d", key, got[key], want[key])
			}
		}
		t.Fatalf("%d sums of the topic, %d of the rows", len(got), len(want))
	}
	if out := run(t, home, "spend", "--by", "model", "--every", "24h"); !strings.Contains(out, "claude-opus-5-5") || !strings.Contains(out, "█") || !strings.Contains(out, "1 unpriced") {
		t.Errorf("the panes are\n%s", out)
	}
}
