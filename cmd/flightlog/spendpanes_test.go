package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/schemas"
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

func TestWhatIsUsualOfAnHour(t *testing.T) {
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	var sums []paneSum
	for d := range 9 { // nine days, the third without
		if d != 2 {
			sums = append(sums, paneSum{PaneStart: noon.AddDate(0, 0, d), Value: "a", Billing: "api", CostNanoUsd: int64(1 + d), Requests: 1},
				paneSum{PaneStart: noon.AddDate(0, 0, d), Value: "a", Billing: "subscription", CostNanoUsd: 10, Requests: 1})
		}
		sums = append(sums, paneSum{PaneStart: noon.AddDate(0, 0, d).Add(time.Hour), Value: "a", CostNanoUsd: 1000}, paneSum{PaneStart: noon.AddDate(0, 0, d), Value: "b", CostNanoUsd: 1000})
	}
	p := spendPanes{dimension: schemas.SpendDimensionRepo}
	p.addUsual(sums, detectors.Builtin())
	for _, s := range sums {
		if s.Value != "a" || s.PaneStart.Hour() != 12 {
			continue
		}
		var want usual
		switch s.PaneStart.Day() {
		case 27: // 11, 12, 14, 15, 16, 17 of the days before
			want = usual{14, 6, true}
		case 28:
			want = usual{15, 7, false}
		default:
			continue
		}
		if *s.Usual != want {
			t.Errorf("usual on %s is %+v, want %+v", s.PaneStart, *s.Usual, want)
		}
	}
}
