package main

import (
	"encoding/csv"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/processors/spend"
)

// recorded imports all recordings into a home of its own, and gives the rows.
func recorded(t *testing.T) (home string, rows []row) {
	t.Helper()
	home = t.TempDir()
	run(t, home, "import", recordings.Dir(t), "--out", filepath.Join(home, "rows"))
	return home, readRows(t, filepath.Join(home, "rows", "enriched.ndjson"))
}

// TestSpendReportIsWhatTheRowsSay compares the report with sums over the rows of
// the NDJSON files.
func TestSpendReportIsWhatTheRowsSay(t *testing.T) {
	home, rows := recorded(t)
	for _, by := range [][]string{nil, {"model"}, {"team", "repo"}, {"session"}, {"user", "skill", "task"}} {
		var report struct {
			Unpriced []struct {
				Model    string
				Measures map[string]int64
			}
			Sources struct{ Topic []struct{ Rows int64 } }
			Groups  []struct {
				Values         map[string]string
				Billing, Money string
				Measures       map[string]int64
				Average        *int64 `json:"average_nano_usd"`
				Grades         map[string]map[string]int64
			}
		}
		args := []string{"spend", "report", "--month", "2026-11", "--json"}
		if by != nil {
			args = append(args, "--by", strings.Join(by, ","))
		}
		if err := json.Unmarshal([]byte(run(t, home, args...)), &report); err != nil {
			t.Fatal(err)
		}
		columns := map[string]string{"task": "task_id", "session": "session_id"}
		want, all := map[string]map[string]int64{}, int64(0)
		for _, r := range rows {
			if r.text("kind") != "model_request" {
				continue
			}
			all++
			key := "unknown"
			for _, name := range by {
				column := name
				if c, ok := columns[name]; ok {
					column = c
				}
				value := r.text(column)
				if value == "" && name == "skill" {
					value = "(none)"
				} else if value == "" {
					value = "unattributed"
				}
				key += "," + value
			}
			if want[key] == nil {
				want[key] = map[string]int64{}
			}
			want[key]["requests"] += r.number("sign")
			if r["cost_nano_usd"] != nil {
				want[key]["priced_requests"] += r.number("sign")
			}
			for _, column := range []string{"token_input", "token_output", "token_thinking", "token_cache_read", "token_cache_write_5m", "token_cache_write_1h", "server_tool_uses", "cost_nano_usd"} {
				want[key][column] += r.number("sign") * r.number(column)
			}
		}
		maps.DeleteFunc(want, func(_ string, m map[string]int64) bool { return m["requests"] == 0 })
		read := int64(0)
		for _, p := range report.Sources.Topic {
			read += p.Rows
		}
		if read != all || len(report.Groups) != len(want) {
			t.Errorf("by %v: %d rows in %d groups, want %d in %d", by, read, len(report.Groups), all, len(want))
		}
		for i, g := range report.Groups {
			key := g.Billing
			for _, name := range by {
				key += "," + g.Values[name]
			}
			for column, w := range want[key] {
				if g.Measures[column] != w {
					t.Errorf("by %v, %s: %s is %d, want %d", by, key, column, g.Measures[column], w)
				}
			}
			graded := int64(0)
			for _, grade := range g.Grades {
				graded += grade["requests"]
			}
			if n := g.Measures["priced_requests"]; graded != g.Measures["requests"] || (g.Average == nil) != (n == 0) || n > 0 && *g.Average != (g.Measures["cost_nano_usd"]+n/2)/n {
				t.Errorf("by %v, %s: %+v", by, key, g)
			}
			if i > 0 && g.Measures["cost_nano_usd"] > report.Groups[i-1].Measures["cost_nano_usd"] {
				t.Errorf("by %v: group %d is dearer than the one before", by, i)
			}
		}
		if len(report.Unpriced) != 1 || report.Unpriced[0].Model != "claude-zephyr-9" || report.Unpriced[0].Measures["token_output"] != 1000 {
			t.Errorf("unpriced: %+v", report.Unpriced)
		}
	}

	text := run(t, home, "spend", "report", "--month", "2026-11", "--by", "team,model")
	for _, want := range []string{"which is not over", "generation", "watermark", "claude-zephyr-9, billing unknown: 1 requests, 1000 tokens in", "unattributed  ", "estimated", "unknown (list)", "total", "server tools", "at least 0.0"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table does not say %q:\n%s", want, text)
		}
	}
	records, err := csv.NewReader(strings.NewReader(run(t, home, "spend", "report", "--month", "2026-11", "--by", "model", "--format", "csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column, sum, want, unpriced := slices.Index(records[0], "cost_nano_usd"), int64(0), int64(0), 0
	for _, record := range records[1:] {
		if priced := slices.Index(records[0], "priced_requests"); record[priced] == "0" {
			for _, name := range []string{"cost_nano_usd", "cost_nano_usd_max", "cost_contracted_nano_usd", "cost_client_nano_usd", "average_nano_usd", "cost_nano_usd_unpriced", "cost_nano_usd_measured"} {
				if cell := record[slices.Index(records[0], name)]; cell != "" && name != "cost_client_nano_usd" {
					t.Errorf("%s without a price is %q in csv", name, cell)
				}
			}
			unpriced++
			continue
		}
		n, err := strconv.ParseInt(record[column], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	for _, r := range rows {
		want += r.number("sign") * r.number("cost_nano_usd")
	}
	if sum != want || want == 0 || unpriced != 1 {
		t.Errorf("%d lines are unpriced, csv comes to %d, the rows to %d", unpriced, sum, want)
	}
	if out := run(t, home, "spend", "check", "--month", "2026-11"); !strings.Contains(out, "67 sums of") || !strings.Contains(out, "every sum agrees") {
		t.Errorf("check says %s", out)
	}
	if out := run(t, home, "spend", "report", "--month", "2026-10"); !strings.Contains(out, "; 0 rows") || strings.Contains(out, "not over") || !strings.HasSuffix(out, "\nno model requests in this period\n") {
		t.Errorf("a month without facts: %s", out)
	}
}

func TestSpendSaysWhatIsWrongWithItsFlags(t *testing.T) {
	home := t.TempDir()
	for args, wants := range map[string][]string{
		"report":                                            {"say which period"},
		"report --month 2026-11 --from 2026-01":             {"give --month, or"},
		"report --month november":                           {"--month \"november\""},
		"report --from yesterday --as-of x":                 {"--from \"yesterday\"", "--as-of \"x\""},
		"report --from 2026-11-02 --to 2026-11-01":          {"is empty"},
		"report --month 2026-11 --by colour,user,user":      {"there is no dimension \"colour\"", "names user twice"},
		"report --month 2026-11 --format xml":               {"want table, csv or json"},
		"check --month 2026-11":                             {"there is no data in"},
		"reconcile --month 2026-11 --usage none":            {"there is no data in"},
		"report --month 2026-11 --json --format csv":        {"give --json or --format csv"},
		"report --month 2026-11 --as-of 2999-01-01":         {"cannot use --as-of 2999-01-01T00:00:00Z: it is in the future"},
		"check --month 2026-11 --as-of 2999-01-01":          {"it is in the future"},
		"report --from 2026-01-01 --last-report 2999-01-01": {"cannot use --last-report 2999-01-01T00:00:00Z: it is in the future"},
		"report --month 2026-11 --json --format json":       {"there is no data in"},
		"forecast": {"unknown command"},
	} {
		out, err := flightlogCommand(t, home, append([]string{"spend"}, strings.Fields(args)...)...).CombinedOutput()
		for _, want := range wants {
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("spend %s: %v, %q, want %q", args, err, out, want)
			}
		}
	}
}

func TestDimensionsMayHaveBlanksBetween(t *testing.T) {
	by, err := parseDimensions([]string{"team", " repo "})
	if err != nil || !slices.Equal(by, []spend.Dimension{spend.Team, spend.Repo}) {
		t.Errorf("%v, %v", by, err)
	}
}

func TestSumsOfDollarsAreExact(t *testing.T) {
	for nano, want := range map[int64]string{0: "0.00", 1: "0.000000001", 5_150_147_245: "5.150147245", -20_000_000: "-0.02", 12_000_000_000: "12.00", -1 << 63: "-9223372036.854775808"} {
		if got := usd(nano); got != want {
			t.Errorf("usd(%d) = %s, want %s", nano, got, want)
		}
	}
}
