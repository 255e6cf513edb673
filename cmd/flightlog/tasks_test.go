package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/processors/tasks"
	"github.com/flightlog/flightlog/schemas"
)

// updateTasks writes the trees anew: go test ./cmd/flightlog -run RecordedTask -update-tasks.
var updateTasks = flag.Bool("update-tasks", false, "write testdata/tasks anew")

// afterAnHour is when the recorded tasks are judged: nothing more happens, and
// no week has passed.
const afterAnHour = int64(time.Hour / time.Microsecond)

// viewOf is the only task of some rows, an hour after it was last active.
func viewOf(t *testing.T, rows []schemas.Enriched) *taskView {
	t.Helper()
	state, last := tasks.NewState(), int64(0)
	for i := range rows {
		state.Add(&rows[i])
		last = max(last, rows[i].OccurredAt)
	}
	all := tasks.Group(state.Contributions(), last+afterAnHour)
	if len(all) != 1 {
		t.Fatalf("%d tasks, want one", len(all))
	}
	return &taskView{&all[0], tasks.Path(state.Rows(all[0].Org, all[0].TaskId))}
}

// recordedTasks is what the README of the recordings says of each, in words of
// the task.
var recordedTasks = map[string]struct {
	outcome, rule                      string
	sessions, prompts, requests        int64
	calls, failed, denied, commands    int64 // tool calls, of them failed, denied; failed shell commands
	files                              string
	tests                              string
	commits, pushes, pulls             int64
	retries, attempts, approvals, wait int64
	edges                              string
	inSubagents, mergeReady            bool
}{
	"success":         {outcome: "completed", sessions: 1, prompts: 1, requests: 4, calls: 3, files: "1 js (+1 -1)", tests: "passed"},
	"fail-then-retry": {outcome: "completed", sessions: 1, prompts: 1, requests: 4, calls: 3, failed: 2, commands: 2, files: "-", tests: "passed"},
	"false-claim": {outcome: "open", rule: "is red", sessions: 1, prompts: 1, requests: 4, calls: 3, failed: 1, commands: 1,
		files: "1 js (+1 -1)", tests: "failed"},
	"resume":              {outcome: "completed", sessions: 2, prompts: 4, requests: 7, calls: 3, files: "-", tests: "passed", edges: "resume 2, fork 1"},
	"compact-manual":      {outcome: "completed", sessions: 1, prompts: 3, requests: 4, calls: 1, files: "-", tests: "none", edges: "resume 2"},
	"subagent":            {outcome: "completed", sessions: 1, prompts: 1, requests: 5, calls: 3, files: "-", tests: "none", edges: "subagent 1", inSubagents: true},
	"subagent-background": {outcome: "completed", sessions: 1, prompts: 2, requests: 6, calls: 3, files: "-", tests: "passed", edges: "background 1", inSubagents: true},
	"subagent-worktree":   {outcome: "completed", sessions: 1, prompts: 1, requests: 4, calls: 2, files: "1 js (+1 -1)", tests: "passed", edges: "subagent 1", inSubagents: true},
	"git-commit": {outcome: "completed", mergeReady: true, sessions: 1, prompts: 1, requests: 7, calls: 7, failed: 1, commands: 1,
		files: "1 js (+1 -1)", tests: "passed", commits: 1},
	"pull-request": {outcome: "completed", sessions: 1, prompts: 1, requests: 7, calls: 6, files: "1 js (+1 -1)", tests: "none, code changed",
		commits: 2, pushes: 1, pulls: 1},
	"sigint": {outcome: "interrupted", sessions: 1, prompts: 1, requests: 2, calls: 2, failed: 1, files: "-", tests: "none"},
	"long-session": {outcome: "completed", mergeReady: true, sessions: 1, prompts: 5, requests: 37, calls: 37, failed: 1, commands: 1,
		files: "10 js (+41 -1)", tests: "passed", commits: 5, retries: 1, attempts: 2}, // a failing run and its repair
	"permission-prompt-host": {outcome: "completed", sessions: 1, prompts: 2, requests: 4, calls: 2, failed: 1, denied: 1,
		files: "1 js (+1 -0)", tests: "none, code changed", approvals: 2, wait: 12},
	"api-failure": {outcome: "failed", sessions: 1, prompts: 1, files: "-", tests: "none", retries: 2, attempts: 3},
}

func TestARecordedTaskIsWhatItsReadmeSays(t *testing.T) {
	for name, want := range recordedTasks {
		t.Run(name, func(t *testing.T) {
			rows := fold(t, observe(t, filepath.Join(recordings.Dir(t), name)).events)
			v := viewOf(t, rows)
			var cost, inSubagents int64
			for _, r := range standing(rows) {
				cost += r.CostNanoUsd.Value
			}
			for _, p := range v.Task.Parts {
				if p.Run == schemas.TaskRunSubagent {
					inSubagents += p.CostNanoUsd
				}
			}
			if v.CostNanoUsd != cost || v.Path.Cost() != cost {
				t.Errorf("the rows cost %d nano-dollars, the task %d, its tree %d", cost, v.CostNanoUsd, v.Path.Cost())
			}
			if (inSubagents > 0) != want.inSubagents {
				t.Errorf("subagents cost %d", inSubagents)
			}
			if span := v.ModelMs + v.ToolMs + v.ApprovalMs + v.IdleMs; v.Sessions == 1 && (v.LastSeen-v.FirstSeen)/1000-span > 3 {
				t.Errorf("%d ms are told, the task took %d µs", span, v.LastSeen-v.FirstSeen)
			}
			if n := nodes(v.Path); n != len(standing(rows))+1+int(v.Sessions) {
				t.Errorf("the tree has %d nodes, of %d rows", n, len(standing(rows)))
			}
			d := &v.Did
			if v.TaskOutcome.String() != want.outcome || !strings.Contains(v.OutcomeRule, want.rule) || len(v.OutcomeEvidence) == 0 || v.MergeReady != want.mergeReady {
				t.Errorf("%s (merge-ready: %t): %s, by %d facts", v.TaskOutcome, v.MergeReady, v.OutcomeRule, len(v.OutcomeEvidence))
			}
			got := []any{v.Sessions, v.Prompts, v.ModelRequests, v.ToolCalls, v.FailedCalls, d.DeniedCalls, d.FailedCommands, v.Facts()[2].Text, testsText(d),
				d.Commits, d.Pushes, d.PullRequests, v.Retries, v.Attempts, v.Approvals, v.ApprovalWaitMs, edgesText(v.Edges)}
			wants := []any{want.sessions, want.prompts, want.requests, want.calls, want.failed, want.denied, want.commands, want.files, want.tests,
				want.commits, want.pushes, want.pulls, want.retries, want.attempts, want.approvals, want.wait, want.edges}
			if !slices.Equal(got, wants) {
				t.Errorf("sessions, prompts, requests, calls, failed, denied, failed commands, files, tests, commits, pushes, pull requests, retries, attempts, approvals, wait, edges:\ngot  %v\nwant %v", got, wants)
			}
			var text bytes.Buffer
			if err := v.print(&text); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "tasks", name+".txt"), text.Bytes())
		})
	}
}

// nodes counts the nodes of a tree.
func nodes(n *tasks.Node) int {
	count := 1
	for _, m := range append(slices.Clone(n.Attempts), n.Children...) {
		count += nodes(m)
	}
	return count
}

func edgesText(edges []schemas.TaskEdge) string {
	var texts []string
	for _, e := range edges {
		texts = append(texts, fmt.Sprintf("%s %d", e.Reason, e.Times))
	}
	return strings.Join(texts, ", ")
}

// golden compares a text with a file that a person has checked.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *updateTasks {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is printed; where that is right: go test ./cmd/flightlog -run RecordedTask -update-tasks\n%s", path, got)
	}
}

// theTopicSaysTheSame holds the records that the processor tasks has made of
// contributions against those that are made of the rows.
func theTopicSaysTheSame(t *testing.T, topic string, listed []string) {
	t.Helper()
	stands, signed := map[string]row{}, map[string]int64{}
	for _, r := range readRows(t, topic) {
		id := r.text("task_id")
		signed[id] += r.number("sign")
		if r.number("sign") > 0 && r.number("version") > stands[id].number("version") {
			stands[id] = r
		}
	}
	if len(stands) != len(listed) {
		t.Errorf("the topic tasks holds %d tasks, want %d", len(stands), len(listed))
	}
	for _, line := range listed {
		var want row
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		got := stands[want.text("task_id")]
		for _, r := range []row{got, want} {
			for _, column := range []string{"row_id", "version", "generation"} {
				delete(r, column)
			}
		}
		if signed[want.text("task_id")] != 1 || !reflect.DeepEqual(got, want) {
			t.Errorf("the topic says of the task\n%v\nwith signs that add up to %d, its rows\n%v", got, signed[want.text("task_id")], want)
		}
	}
}

// TestTasksAtTheTerminal goes by what import, the list, one task and its page say
// of the same rows.
func TestTasksAtTheTerminal(t *testing.T) {
	home, rows := recorded(t)
	costs, ids := map[string]int64{}, []string{}
	for _, r := range rows {
		costs[r.text("task_id")] += r.number("sign") * r.number("cost_nano_usd")
	}
	listed := strings.Split(strings.TrimSpace(run(t, home, "tasks", "--json")), "\n")
	if len(listed) != len(costs) {
		t.Errorf("%d tasks are listed, and rows tell of %d", len(listed), len(costs))
	}
	theTopicSaysTheSame(t, filepath.Join(home, "rows", "tasks.ndjson"), listed)
	for _, line := range listed {
		var task row
		if err := json.Unmarshal([]byte(line), &task); err != nil {
			t.Fatal(err)
		}
		id := task.text("task_id")
		ids = append(ids, id)
		if task.number("cost_nano_usd") != costs[id] || task.number("sign") != 1 || task.number("version") != 1 {
			t.Errorf("task %s is %s, its rows cost %d", id, line, costs[id])
		}
	}
	if out := run(t, home, "tasks"); strings.Count(out, "\n") != len(listed)+1 || !strings.HasPrefix(out, "task ") || !strings.Contains(out, "merge-ready") || !strings.Contains(out, "github.com/example/shop") {
		t.Errorf("the list is\n%s", out)
	}
	if out := run(t, home, "tasks", "--repo", "example/shop"); strings.Count(out, "\n") != 2 {
		t.Errorf("the tasks of example/shop are\n%s", out)
	}
	for _, args := range [][]string{{"--repo", "hop"}, {"--since", "1m"}, {"--open", "--since", "1m"}} {
		if out := run(t, home, append([]string{"tasks"}, args...)...); out != "no tasks\n" {
			t.Errorf("tasks %v: %s", args, out)
		}
	}

	page := filepath.Join(home, "task.html")
	for _, id := range ids[:5] {
		var one struct {
			Task row
			Path tasks.Node
		}
		if err := json.Unmarshal([]byte(run(t, home, "tasks", id[:13], "--json", "--html", page)), &one); err != nil {
			t.Fatal(err)
		}
		if one.Task.text("task_id") != id || one.Path.Cost() != costs[id] {
			t.Errorf("task %s: %v, its path costs %d, its rows %d", id, one.Task, one.Path.Cost(), costs[id])
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("<title>"+ids[4]+"</title>")) || regexp.MustCompile(`(?i)<script|<link|<img|src=|href=|url\(`).Match(text) {
		t.Errorf("the page is\n%s", text)
	}

	for _, wrong := range []struct{ args, want string }{
		{"tasks nothing", `no task is "nothing" or begins so`},
		{"tasks --html x.html", "give its ID"},
		{"tasks x --open", "without an ID"},
		{"tasks --since yesterday", `--since "yesterday"`},
		{"tasks --data " + filepath.Join(home, "none"), "there is no data in"},
		{"tasks --archive " + filepath.Join(home, "none"), "none"},
	} {
		c := flightlogCommand(t, home, strings.Fields(wrong.args)...)
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), wrong.want) {
			t.Errorf("%s: %v, %s", wrong.args, err, out)
		}
	}
}

func TestATaskIsFoundByTheBeginningOfItsID(t *testing.T) {
	all := []schemas.Task{{TaskId: "github.com/a/b#T 1", User: "u"}, {TaskId: "github.com/a/b#T 12"}, {TaskId: "x"}, {TaskId: "x", Org: "acme"}}
	for id, want := range map[string]string{
		"github.com/a/b#T 1":  "github.com/a/b#T 1", // whole, though another begins so
		"github.com/a/b#T 12": "github.com/a/b#T 12",
	} {
		if got, err := findTask(all, id); err != nil || got.TaskId != want {
			t.Errorf("%s: %v, %v", id, got, err)
		}
	}
	for id, want := range map[string]string{
		"github.com/a": "2 tasks are or begin with \"github.com/a\":\n  github.com/a/b#T 1  (no org, -, u)\n  github.com/a/b#T 12",
		"x":            "(acme, -, -)",
		"y":            "no task is \"y\"",
	} {
		if _, err := findTask(all, id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", id, err, want)
		}
	}
}

func TestAnEditAfterTheTestShows(t *testing.T) {
	ran := schemas.Did{LastTestOutcome: schemas.TestOutcomePassed, LastTestAt: schemas.SomeLong(1)}
	edited := ran
	edited.EditsAfterTest = true
	for want, d := range map[string]schemas.Did{"none": {}, "none, code changed": {EditsAfterTest: true}, "passed": ran, "passed, then edits": edited} {
		if got := testsText(&d); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestTextsOfOthersDoNoHarm puts what agents may say into a page and on a
// terminal.
func TestTextsOfOthersDoNoHarm(t *testing.T) {
	evil := "</title><script>alert(1)</script>\x1b[31m\r\n"
	rows := []schemas.Enriched{{Sign: 1, Version: 1, FactKey: schemas.Id{1}, Kind: schemas.KindToolCall, SessionId: evil, TaskId: evil, RootSessionId: evil, User: evil, Repo: evil,
		Branch: evil, ToolName: evil, ToolTarget: evil, ErrorClass: evil, Success: schemas.SomeBool(false), PromptId: evil, AgentRunId: evil, OccurredAt: 1}}
	v := viewOf(t, rows)
	var page, text bytes.Buffer
	if err := v.page(&page); err != nil {
		t.Fatal(err)
	}
	if err := v.print(&text); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(page.Bytes(), []byte("<script>")) || !bytes.Contains(page.Bytes(), []byte("&lt;script&gt;")) {
		t.Errorf("the page is\n%s", page.Bytes())
	}
	if bytes.ContainsAny(text.Bytes(), "\x1b\r") {
		t.Errorf("the text is\n%q", text.Bytes())
	}
}
