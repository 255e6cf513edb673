package main

import (
	"bytes"
	"encoding/json"
	"fmt"
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
		{[]string{"prices", "ls", "--wide", "--model", "claude-sonnet-5"}, []string{"version 1", "claude-sonnet-5 ", "2026-09-01", "called off"}},
		{[]string{"prices", "ls", "--file", file, "--json"}, []string{`"percent_of_list": 87.5`, `"claude-zephyr-9"`}},
		{[]string{"prices", "ls", "--as-of", "2026-08-21"}, []string{"version 1"}},
		{[]string{"prices", "check", file}, []string{"new or given up against version 1", "87.5 % of list", "our contract"}},
		{[]string{"prices", "explain", "--model", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "--tier", "batch", "--input", "1000", "--web-searches", "1"},
			[]string{"model claude-sonnet-4-5", "batch 1/2", "regional endpoint 11/10", "measured: 0.01165 USD"}},
		{[]string{"prices", "explain", "--model", "our-deployment", "--output", "3", "--cache-write", "10", "--file", file},
			[]string{"estimated: 0.00011 USD to 0.00014 USD", "contracted: 0.00009625 USD"}},
		{[]string{"prices", "explain", "--model", "claude-zephyr-9", "--input", "1"}, []string{"no list price is known"}},
		{[]string{"prices", "explain", "--model", "claude-opus-5-5", "--output", "3", "--file", file, "--json"},
			[]string{`"cost_grade": "measured"`, `"cost_nano_usd": 60000`, `"cost_contracted_nano_usd": 52500`, `"rate_nano_usd": 20000`, `"known_from": "`}},
		{[]string{"prices", "explain", "--model", "no-model", "--json"}, []string{`"cost_grade": "unpriced"`, `"cost_nano_usd": null`, `"terms": []`, `"list_row": null`}},
		{[]string{"prices", "ls", "--file", file}, []string{"not applied: the list of this release with " + file, "our-deployment = claude-opus-5-5"}},
		{[]string{"prices", "ls", "--file", file, "--json"}, []string{`"our-deployment": "claude-opus-5-5"`}},
		{[]string{"prices", "ls", "--model", "nine"}, []string{`no model whose name holds "nine"`}},
		{[]string{"prices", "ls", "--as-of", "2020-01-01"}, []string{"no price was known then"}},
		{[]string{"prices", "ls", "--wide"}, []string{"which its own bill of a recorded session bears out"}},
		{[]string{"prices", "check", file}, []string{"our-deployment = claude-opus-5-5"}},
		{[]string{"prices", "check", file, "--json"}, []string{`"against_version": 1`, `"our-deployment": "claude-opus-5-5"`}},
		{[]string{"directory", "check", write(t, "teams.csv", "user,team\nada,a\n*@x.org,b\n")}, []string{"2 people and domains; no directory was applied: 2 added, 0 removed, 0 changed", "  added ada"}},
		{[]string{"directory", "find", "eve", "--file", write(t, "teams.csv", "user,team\nada,a\n")}, []string{"eve: no team (rows then have the team that the client's own settings name"}},
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
		{[]string{"prices", "apply", file, "--data", data}, "there is no data in"},
		{[]string{"prices", "apply", file, "--dry-run", "--data", data}, "there is no data in"},
		{[]string{"directory", "apply", write(t, "teams.csv", "user,team\nada,a\n"), "--data", data}, "there is no data in"},
		{[]string{"directory", "apply", write(t, "teams.csv", "user,team\nada,a\n"), "--dry-run", "--data", data}, "there is no data in"},
		{[]string{"prices", "check", write(t, "empty.json", "")}, "empty.json is empty"},
		{[]string{"prices", "check", write(t, "chain.json", strings.Replace(ourPrices, `"claude-opus-5-5"`, `"b", "b": "claude-opus-5-5"`, 1))}, `"b" is an alias itself`},
		{[]string{"prices", "check", write(t, "type.json", strings.Replace(ourPrices, `"input": 4000`, `"input": 1.5`, 1))}, "type.json:2: row 1: input is 1.5, must be a whole number"},
		{[]string{"prices", "check", write(t, "day.json", strings.Replace(ourPrices, `"2026-11-26"`, `"26.11.2026"`, 1))}, `day.json:3: row 1: known_from is "26.11.2026", must be a day`},
		{[]string{"prices", "check", write(t, "edited.json", strings.Replace(ourPrices, `"input": 4000`, `"input": 0`, 1))}, "edited.json:2: row 1: input is 0"},
		{[]string{"prices", "explain", "--model", "claude-opus-5-5", "--input", "-1", "--output", "100000001", "--platform", "aws", "--speed", "slow", "--tier", "x", "--geo", "eu"},
			"cannot use --platform \"aws\": want one of firstParty, bedrock, vertex, foundry\n" +
				"cannot use --speed \"slow\": want one of standard, normal, fast\ncannot use --tier \"x\": want one of standard, batch\n" +
				"cannot use --geo \"eu\": want one of global, us, not_available\n" +
				"cannot use --input -1: want 0 to 100000000\ncannot use --output 100000001: want 0 to 100000000"},
		{[]string{"prices", "explain", "--request", "req_1", "--file", file}, "--file has no meaning with --request"},
		{[]string{"prices", "explain", "--request", "req_1", "--as-of", "2026-11-01"}, "--as-of has no meaning with --request"},
		{[]string{"prices", "explain", "--request", "req_1", "--input", "5"}, "--input has no meaning with --request"},
		{[]string{"prices", "restate", "--version", "2"}, "unknown flag: --version"},
		{[]string{"prices", "restate", "--since", "2026-11-01", "--reason", strings.Repeat("x", 257)}, "--reason has 257 bytes, may have 256"},
		{[]string{"directory", "check", write(t, "big.csv", "user\n"+strings.Repeat("#"+strings.Repeat("x", 99)+"\n", 9176))}, "big.csv has 926781 bytes, may have 917504"},
		{[]string{"directory", "check", write(t, "none.csv", "user,team\n")}, "none.csv has no line"},
		{[]string{"directory", "check", write(t, "signs.csv", "user,team\n*@*.x,a\nada,a\u202eb\n")}, `line 3: team is "a\u202eb", which has a control character`},
	} {
		if _, err := saying(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.args, err, c.want)
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("a command that only looks has made the data folder")
	}
}

func TestWhatIsListedCanBeChecked(t *testing.T) {
	data, file := filepath.Join(t.TempDir(), "none"), write(t, "ours.json", ourPrices)
	for _, args := range [][]string{{}, {"--file", file}, {"--file", file, "--as-of", "2026-11-10"}, {"--model", "opus"}, {"--model", "nine"}} {
		list, err := saying(t, append([]string{"prices", "ls", "--json", "--data", data}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := saying(t, "prices", "check", write(t, "list.json", list), "--data", data); err != nil || len(args) == 0 && !strings.Contains(out, "nothing new") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}

func TestWhatAFileSaysCannotMoveTheTerminal(t *testing.T) {
	evil := strings.NewReplacer("claude-zephyr-9", `claude-\u001b[2Jzephyr`, "our contract", `our \u001b]0;x\u0007`+strings.Repeat("long ", 20), "our-deployment", `our-\u202e`).Replace(ourPrices)
	file, data := write(t, "evil.json", evil), filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		args  []string
		whole bool // the source is not cut
	}{
		{[]string{"prices", "ls", "--file", file}, false},
		{[]string{"prices", "ls", "--file", file, "--wide"}, true},
		{[]string{"prices", "check", file}, false},
		{[]string{"prices", "explain", "--file", file, "--model", "claude-\x1b[2Jzephyr", "--input", "1"}, true},
	} {
		out, err := saying(t, append(c.args, "--data", data)...)
		if err != nil || strings.ContainsAny(out, "\x1b\x07\u202e") || !strings.Contains(out, "\ufffd") {
			t.Errorf("%q: %v\n%q", c.args, err, out)
		}
		if got := strings.Contains(out, strings.TrimSpace(strings.Repeat("long ", 20))); got != c.whole {
			t.Errorf("%q: the whole source: %v", c.args, got)
		}
	}
	table := "A  SOURCE\n1  " + strings.Repeat("é", 80) + "\n2  short\n"
	for width, want := range map[int]int{0: 63, 40: 40, 10: 23, 200: 83} {
		line := strings.Split(cutSources(table, width), "\n")[1]
		if got := len([]rune(line)); got != want || strings.HasSuffix(line, "…") != (want < 83) {
			t.Errorf("in %d: %d characters, want %d: %s", width, got, want, line)
		}
	}
}

func TestApplyingTellsWhatIsNew(t *testing.T) {
	data := t.TempDir()
	ends := func(want string, args ...string) {
		t.Helper()
		out, err := saying(t, append(args, "--data", data)...)
		if err != nil {
			out = err.Error()
		}
		if !strings.Contains(out, want) {
			t.Errorf("%q: no %q in\n%s", args, want, out)
		}
	}
	in, err := (&place{data: data, generation: 1}).open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	file := write(t, "ours.json", ourPrices)
	ends(`"our-deployment": "claude-opus-5-5"`, "prices", "apply", file, "--dry-run", "--json")
	ends("no prices were applied", "prices", "restate", "--since", "2026-11-01", "--reason", "x")
	ends("no directory was applied", "directory", "restate", "--since", "2026-11-01", "--reason", "x")
	ends("no directory was applied", "directory", "find", "ada")
	ends("prices: version 2, in force in", "prices", "apply", file)
	ends("prices: nothing new: version 2, in force in", "prices", "apply", file)
	ends(`"new": false`, "prices", "apply", file, "--json")
	ends("is missing", "prices", "check", write(t, "without.json", strings.Replace(ourPrices, `"our-deployment": "claude-opus-5-5"`, "", 1)))
	ends("was changed", "prices", "check", write(t, "other.json", strings.Replace(ourPrices, `"our-deployment": "claude-opus-5-5"`, `"our-deployment": "claude-zephyr-9"`, 1)))
	ends("second = claude-zephyr-9", "prices", "check", write(t, "more.json", strings.Replace(ourPrices, `"aliases": {`, `"aliases": {"second": "claude-zephyr-9", `, 1)))
	ends("our-deployment = claude-opus-5-5", "prices", "ls")

	var many strings.Builder
	many.WriteString("user,team\n")
	for i := range 30 {
		fmt.Fprintf(&many, "p%02d,a\n", i)
	}
	teams := write(t, "teams.csv", many.String())
	ends("30 people and domains; no directory was applied: 30 added", "directory", "apply", teams, "--dry-run")
	ends("directory: version 2, in force in", "directory", "apply", teams)
	ends("directory: nothing new: version 2", "directory", "apply", teams)
	moved := write(t, "moved.csv", strings.Replace(strings.Replace(many.String(), "p00,a", "p00,b", 1), "p01,a\n", "", 1)+"new,a\n")
	ends("30 people and domains; against version 2: 1 added, 1 removed, 1 changed\n  added new\n  removed p01\n  changed p00\n", "directory", "check", moved)
	ends(`"changed": [`, "directory", "apply", moved, "--dry-run", "--json")
	ends("0 people and domains; against version 2: 0 added, 30 removed, 0 changed\n  removed p00", "directory", "apply", write(t, "none.csv", "user\n"), "--allow-empty", "--dry-run")
	ends("  removed, and 10 more", "directory", "apply", write(t, "none.csv", "user\n"), "--allow-empty", "--dry-run")
	ends("--allow-empty", "directory", "apply", write(t, "none.csv", "user\n"))
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
	must("directory", "apply", write(t, "teams.csv", "user,team,billing\ndev,checkout,cloud\n"))
	if out := must("directory", "find", "DEV"); !strings.Contains(out, "checkout, billing cloud") {
		t.Error(out)
	}

	if out := must("prices", "restate", "--since", "2026-11-01", "--reason", "our contract"); strings.Contains(out, ": 0 facts") || !strings.Contains(out, "facts have a new row") { // waits until it is in force
		t.Error(out)
	}
	if out := must("prices", "restate", "--since", "2026-11-01", "--reason", "our contract", "--json"); !strings.Contains(out, `"rows": 0`) {
		t.Error(out)
	}
	if out := must("prices", "apply", file); !strings.Contains(out, "nothing new: version 2 since 20") {
		t.Error(out)
	}
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
		if g.Billing != "cloud" {
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
