package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// saying runs a command in this process and gives what it prints on stdout.
func saying(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(new(bytes.Buffer))
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// write makes a file in a temp folder.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const ourPrices = `{"unit": "nano-USD per token, and per search", "aliases": {"our-deployment": "claude-opus-5-5"},
	"rows": [{"models": ["claude-zephyr-9"], "input": 4000, "output": 20000, "cache_write_5m": 5000, "cache_write_1h": 8000, "cache_read": 200,
		"web_search": 10000000, "known_from": "2026-11-26", "source": "our contract"}],
	"contracted": [{"models": ["*"], "percent_of_list": 87.5, "known_from": "2026-11-01", "source": "contract 4711"}]}`

func TestPricesAreShownCheckedAndExplained(t *testing.T) {
	data, file := filepath.Join(t.TempDir(), "none"), write(t, "ours.json", ourPrices)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"prices", "ls", "--model", "claude-sonnet-5"}, []string{"version 1", "claude-sonnet-5 ", "2026-09-01", "called off"}},
		{[]string{"prices", "ls", "--file", file, "--json"}, []string{`"percent_of_list": 87.5`, `"claude-zephyr-9"`}},
		{[]string{"prices", "ls", "--as-of", "2026-08-21"}, []string{"version 1"}},
		{[]string{"prices", "check", file}, []string{"new or given up against version 1", "87.5 % of list", "our contract"}},
		{[]string{"prices", "explain", "--model", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "--tier", "batch", "--input", "1000", "--web-searches", "1"},
			[]string{"model claude-sonnet-4-5", "batch 1/2", "regional endpoint 11/10", "measured: 0.01165 USD"}},
		{[]string{"prices", "explain", "--model", "our-deployment", "--output", "3", "--cache-write", "10", "--file", file},
			[]string{"estimated: 0.00011 USD to 0.00014 USD", "contracted: 0.00009625 USD"}},
		{[]string{"prices", "explain", "--model", "claude-zephyr-9", "--input", "1"}, []string{"no list price is known"}},
	} {
		out, err := saying(t, append(c.args, "--data", data)...)
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%q: no %q in\n%s", c.args, want, out)
			}
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"prices", "check", write(t, "bad.json", `{"unit": "USD"}`)}, `unit is "USD"`},
		{[]string{"prices", "check", filepath.Join(data, "no such file")}, "no such file"},
		{[]string{"prices", "explain"}, "--model"},
		{[]string{"prices", "ls", "--as-of", "soon"}, "--as-of"},
		{[]string{"prices", "restate", "--data", data}, "--since and --reason"},
		{[]string{"prices", "apply", write(t, "edited.json", strings.Replace(ourPrices, `"input": 4000`, `"input": 0`, 1)), "--data", data}, "input is 0"},
		{[]string{"prices", "rise"}, "unknown command"},
		{[]string{"directory", "check", write(t, "bad.csv", "user,team\n,x\n")}, "line 2: user is empty"},
		{[]string{"directory", "find", "ada", "--data", data}, "there is no data"},
	} {
		if _, err := saying(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.args, err, c.want)
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("a command that only looks has made the data folder")
	}
}

// From the recordings on: applied, restated, explained, reported, taken back.
func TestPricesAndDirectoryAreAppliedAndFactsRestated(t *testing.T) {
	if testing.Short() {
		t.Skip("waits a minute until the versions take effect")
	}
	t.Parallel()
	data := t.TempDir()
	must := func(args ...string) string {
		t.Helper()
		out, err := saying(t, append(args, "--data", data)...)
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return out
	}
	type group struct {
		Billing  string
		Measures map[string]int64
	}
	report := func(by string) []group {
		t.Helper()
		var r struct{ Groups []group }
		out := must("spend", "report", "--month", "2026-11", "--by", by, "--json")
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		return r.Groups
	}
	must("import", filepath.Join(recordings.Dir(t), "usage-shapes"))
	before := report("model")
	if len(before) == 0 {
		t.Fatal("an empty report")
	}
	reported := time.Now().UTC().Format(time.RFC3339Nano)
	file := write(t, "ours.json", ourPrices)
	if out := must("prices", "apply", file); !strings.Contains(out, "version 2, in force in") {
		t.Error(out)
	}
	if out := must("prices", "apply", file, "--dry-run"); !strings.Contains(out, "nothing new against version 2") {
		t.Error(out)
	}
	edited := write(t, "edited.json", strings.Replace(ourPrices, `"input": 4000`, `"input": 4001`, 1))
	if _, err := saying(t, "prices", "apply", edited, "--data", data); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("a row that was applied is edited: %v", err)
	}
	must("directory", "apply", write(t, "teams.csv", "user,team,billing\ndev,checkout,subscription\n"))
	if out := must("directory", "find", "DEV"); !strings.Contains(out, "checkout, billing subscription") {
		t.Error(out)
	}

	must("prices", "restate", "--since", "2026-11-01", "--reason", "our contract") // waits until it is in force
	must("directory", "restate", "--since", "2026-11-01", "--reason", "teams are known")
	if out := must("prices", "ls"); !strings.Contains(out, "version 2") {
		t.Error(out)
	}
	verified := must("verify", "--settled")
	if !strings.Contains(verified, "no violations") {
		t.Error(verified)
	}
	after := report("model")
	var priced, unpriced int
	for _, g := range after {
		if g.Billing != "subscription" {
			t.Errorf("billing %v", g.Billing)
		}
		if g.Measures["priced_requests"] < g.Measures["requests"] {
			unpriced++
		}
		if list, contracted := g.Measures["cost_nano_usd"], g.Measures["cost_contracted_nano_usd"]; list > 0 && contracted == (list*7+4)/8 {
			priced++
		}
	}
	if unpriced != 0 || priced != len(after) {
		t.Errorf("%d models are unpriced, %d of %d have a contracted price", unpriced, priced, len(after))
	}
	if out := must("spend", "report", "--month", "2026-11", "--last-report", reported); !strings.Contains(out, "prices 2: our contract") {
		t.Errorf("the report does not say why it was restated:\n%s", out)
	}
	if out := must("spend", "check", "--month", "2026-11"); !strings.Contains(out, "every sum agrees") {
		t.Error(out)
	}
}
