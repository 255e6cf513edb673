package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flightlog/flightlog/processors/tasks"
	"github.com/flightlog/flightlog/schemas"
)

// taskView is a task with its path.
type taskView struct {
	*schemas.Task
	Path *tasks.Node
}

func (v *taskView) asJSON() any {
	return struct {
		Task json.RawMessage `json:"task"`
		Path *tasks.Node     `json:"path"`
	}{v.AppendJSON(nil), v.Path}
}

// line is a label and what it says.
type line struct{ Label, Text string }

// Head says what the task is and how it stands.
func (v *taskView) Head() []line {
	t := v.Task
	return []line{
		{"task", t.TaskId},
		{"outcome", outcomeText(t) + ": " + t.OutcomeRule},
		{"evidence", evidenceText(t.OutcomeEvidence)},
		{"who", joinKnown(t.User, t.Team, t.Org, t.Agent)},
		{"where", joinKnown(t.Repo, t.Branch, t.Workflow, symbolText(t.WorkKind.String()))},
		{"when", when(time.UnixMicro(t.FirstSeen)) + " to " + when(time.UnixMicro(t.LastSeen))},
		{"intent", dash(t.TaskIntentRef)},
		{"work", fmt.Sprintf("%d sessions, %d prompts, %d requests, %d tool calls (%d failed), %d attempts of what was tried again (%d retries)",
			t.Sessions, t.Prompts, t.ModelRequests, t.ToolCalls, t.FailedCalls, t.Attempts, t.Retries)},
		{"approvals", fmt.Sprintf("%d, waited %s, the longest %s", t.Approvals, milliseconds(t.ApprovalWaitMs), milliseconds(t.ApprovalWaitMsLongest))},
		{"time", fmt.Sprintf("model %s, tools %s, approvals %s, idle %s", milliseconds(t.ModelMs), milliseconds(t.ToolMs), milliseconds(t.ApprovalMs), milliseconds(t.IdleMs))},
		{"cost USD", costText(t.CostNanoUsd, t.UnpricedRequests) + ", " + t.CostGrade.String()},
	}
}

// Parts says where the money went.
func (v *taskView) Parts() (lines []line) {
	for _, p := range v.Task.Parts {
		lines = append(lines, line{p.Run.String() + " " + p.Model, fmt.Sprintf("%s USD, %d requests; tokens: %d in, %d out, %d from cache, %d to cache",
			usd(p.CostNanoUsd), p.ModelRequests, p.TokenInput, p.TokenOutput, p.TokenCacheRead, p.TokenCacheWrite)})
	}
	return lines
}

// Lineage says how sessions and runs came about.
func (v *taskView) Lineage() (lines []line) {
	for _, e := range v.Edges {
		times := ""
		if e.Times > 1 {
			times = fmt.Sprintf(", %d times", e.Times)
		}
		lines = append(lines, line{e.Reason.String(), e.FromSession + " -> " + e.To + times})
	}
	if v.MoreEdges > 0 {
		lines = append(lines, line{"more", strconv.FormatInt(v.MoreEdges, 10)})
	}
	return lines
}

// Forge says how the task's changes stand at the forge.
func (v *taskView) Forge() (lines []line) {
	for _, c := range v.Changes {
		text := fmt.Sprintf("%s, %s, linked by %s", c.ChangeId, when(time.UnixMicro(c.At)), strings.ReplaceAll(c.Link.String(), "_", " "))
		if n := c.ChecksPassed + c.ChecksFailed; n > 0 {
			text += fmt.Sprintf(", %d of %d checks passed", c.ChecksPassed, n)
		}
		if c.Deployments > 0 {
			text += fmt.Sprintf(", deployed %d times", c.Deployments)
		}
		lines = append(lines, line{c.State.String(), text})
	}
	if v.MoreChanges > 0 {
		lines = append(lines, line{"more changes", strconv.FormatInt(v.MoreChanges, 10)})
	}
	return lines
}

// Says is what the final message says.
func (v *taskView) Says() []line {
	return []line{{"claims", dash(v.FinalClaim)}, {"text", dash(v.FinalMessageRef)}}
}

// Facts are what the task did.
func (v *taskView) Facts() []line {
	d := &v.Did
	files := []string{}
	for _, f := range d.Files {
		files = append(files, fmt.Sprintf("%d %s (+%d -%d)", f.Files, dash(f.FileType), f.LinesAdded, f.LinesRemoved))
	}
	last := testsText(d)
	if d.LastTestAt.Valid {
		last += " at " + when(time.UnixMicro(d.LastTestAt.Value))
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []line{
		{"last test run", last}, {"test runs", count(d.TestRuns)}, {"files", dash(strings.Join(files, ", "))},
		{"failed commands", count(d.FailedCommands)}, {"denied calls", count(d.DeniedCalls)}, {"package installs", count(d.PackageInstalls)},
		{"commits", count(d.Commits)}, {"pushes", count(d.Pushes)}, {"pull requests", count(d.PullRequests)},
	}
}

// print writes the task for a terminal.
func (v *taskView) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, lines := range [][]line{v.Head(), v.Parts(), v.Lineage(), v.Forge()} {
		for _, l := range lines {
			fmt.Fprintf(w, "%s\t%s\n", printable(l.Label), printable(l.Text))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nfinal message\t\tdid\n")
	says := v.Says()
	for i, d := range v.Facts() {
		said := ""
		if i < len(says) {
			said = says[i].Label + " " + says[i].Text
		}
		fmt.Fprintf(w, "  %s\t|\t%s\t%s\n", printable(said), d.Label, printable(d.Text))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return printTree(out, v.Path)
}

// printTree writes a path, a line for each node, with the time of day (UTC).
func printTree(out io.Writer, root *tasks.Node) error {
	var b strings.Builder
	var walk func(n *tasks.Node, label, before, below string)
	walk = func(n *tasks.Node, label, before, below string) {
		fmt.Fprintf(&b, "%s  %s%s%s\n", time.UnixMicro(n.At).UTC().Format("15:04:05.000"), before, label, printable(nodeText(n)))
		type child struct {
			*tasks.Node
			label string
		}
		var children []child
		for i, a := range n.Attempts {
			children = append(children, child{a, fmt.Sprintf("attempt %d: ", i+1)})
		}
		for _, c := range n.Children {
			children = append(children, child{c, ""})
		}
		for i, c := range children {
			if i == len(children)-1 {
				walk(c.Node, c.label, below+"└─ ", below+"   ")
			} else {
				walk(c.Node, c.label, below+"├─ ", below+"│  ")
			}
		}
	}
	walk(root, "", "", "")
	_, err := io.WriteString(out, b.String())
	return err
}

// nodeText says a node in one line: what, how it ended, how long, what it cost.
func nodeText(n *tasks.Node) string {
	text := n.Kind
	for _, part := range []string{n.Title, n.Reason} {
		if part != "" {
			text += " " + part
		}
	}
	if len(n.Attempts) > 0 {
		text += fmt.Sprintf(", attempt %d", len(n.Attempts)+1)
	}
	if n.State != "" {
		text += ", " + n.State
	}
	if n.DurationMs > 0 {
		text += ", " + milliseconds(n.DurationMs)
	}
	switch cost := n.Cost(); {
	case n.Unpriced:
		text += ", unpriced"
	case n.Kind == schemas.KindModelRequest.String():
		text += ", " + usd(n.CostNanoUsd) + " USD"
	case cost > 0:
		text += ", " + usd(cost) + " USD in all"
	}
	if n.Ref != "" {
		text += ", " + refName(n.Kind) + " " + n.Ref
	}
	return text
}

// refName is what a node's reference leads to.
func refName(kind string) string {
	switch kind {
	case schemas.KindFileChange.String():
		return "diff"
	case schemas.KindToolCall.String(), schemas.KindApproval.String():
		return "arguments"
	}
	return "text"
}

func outcomeText(t *schemas.Task) string {
	if t.MergeReady {
		return t.TaskOutcome.String() + ", merge-ready"
	}
	return t.TaskOutcome.String()
}

// testsText is the last test run, and whether code was changed after it.
func testsText(d *schemas.Did) string {
	switch {
	case !d.LastTestAt.Valid && d.EditsAfterTest:
		return "none, code changed"
	case !d.LastTestAt.Valid:
		return "none"
	case d.EditsAfterTest:
		return d.LastTestOutcome.String() + ", then edits"
	}
	return d.LastTestOutcome.String()
}

func costText(nano, unpriced int64) string {
	if unpriced > 0 {
		return fmt.Sprintf("%s + %d unpriced", usd(nano), unpriced)
	}
	return usd(nano)
}

func evidenceText(keys []schemas.Id) string {
	var texts []string
	for _, k := range keys {
		texts = append(texts, k.String())
	}
	return dash(strings.Join(texts, " "))
}

// milliseconds is a duration for a person.
func milliseconds(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }

// ageText is how long ago something was.
func ageText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

func dash(text string) string { return cmp.Or(printable(text), "-") }

// symbolText is a symbol that says something.
func symbolText(symbol string) string {
	if symbol == "unknown" {
		return ""
	}
	return symbol
}

func joinKnown(texts ...string) string {
	var all []string
	for _, t := range texts {
		if t != "" {
			all = append(all, t)
		}
	}
	return dash(strings.Join(all, ", "))
}
