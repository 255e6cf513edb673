package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/processors/changes"
	"github.com/flightlog/flightlog/processors/tasks"
	"github.com/flightlog/flightlog/schemas"
)

// tasksFlags are those of the command tasks.
type tasksFlags struct {
	place
	archive, repo, since, page string
	open, unlinked, json       bool
}

func tasksCommand() *cobra.Command {
	var o tasksFlags
	c := &cobra.Command{
		Use:   "tasks [ID]",
		Short: "What the agents worked on, what came of it, and how",
		Long: `Lists the tasks that the rows of the topic enriched tell of, those that were active
last first. With an ID, or the beginning of one, it shows the path of that task as
a tree: prompts, requests, tool calls, approvals, changes, test runs, commits, with
times, costs and how each ended, and what the final message claims beside what the
task did (docs/tasks.md).`,
		Example: `  flightlog tasks --open --repo example/shop --since 24h
  flightlog tasks 6b8fa451
  flightlog tasks 'github.com/example/shop#SHOP-12' --html task.html`,
		RunE: func(c *cobra.Command, args []string) error {
			id := strings.Join(args, " ")
			if err := o.check(id); err != nil {
				return err
			}
			now := time.Now()
			since, err := parseSince(o.since, now)
			if err != nil {
				return err
			}
			in, err := o.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			switch {
			case id != "":
				return o.one(c, in, id, now)
			case o.unlinked:
				return o.listUnlinked(c, in, since, now)
			}
			return o.list(c, in, since, now)
		},
	}
	o.place.flags(c)
	f := c.Flags()
	f.BoolVar(&o.open, "open", false, "only tasks that are open")
	f.BoolVar(&o.unlinked, "unlinked", false, "instead of tasks the pull requests and pushed commits that no single task is known of, and why")
	f.StringVar(&o.repo, "repo", "", "only tasks of a repository: host/owner/name, or the end of it")
	f.StringVar(&o.since, "since", "", "only tasks that were active since then: a duration (90m, 24h), a day (2026-11-23) or a time (2026-11-23T10:00:00Z)")
	f.StringVar(&o.archive, "archive", "", "archive with what the topic does not hold any more ('flightlog sink files --archive')")
	f.StringVar(&o.page, "html", "", "write the task as one page into this file; it needs nothing from elsewhere")
	f.BoolVar(&o.json, "json", false, "print JSON: a task a line, or with an ID the task and its path")
	return c
}

// check refuses flags that do not go together.
func (o *tasksFlags) check(id string) error {
	var errs []error
	if id == "" && o.page != "" {
		errs = append(errs, errors.New("--html shows one task: give its ID ('flightlog tasks' lists them)"))
	}
	if id != "" && (o.open || o.unlinked || o.repo != "" || o.since != "") {
		errs = append(errs, errors.New("--open, --unlinked, --repo and --since choose from the list: give them without an ID"))
	}
	if o.open && o.unlinked {
		errs = append(errs, errors.New("--open chooses tasks, and --unlinked shows none: give one of them"))
	}
	return errors.Join(errs...)
}

// reader reads every row that topic and archive hold.
func (o *tasksFlags) reader(in *installation, now time.Time) *spendReader {
	return &spendReader{every: true, broker: in.broker,
		spendPeriod: &spendPeriod{place: o.place, archive: o.archive, from: time.Unix(0, 0).Add(spendMargin).UTC(), to: now.UTC().Add(spendMargin), now: now.UTC()}}
}

// contributions are those of all sessions and changes, and since when the topic
// holds all rows (zero = its beginning). Rows of sessions are held for one partition
// at a time.
func (o *tasksFlags) contributions(ctx context.Context, in *installation, now time.Time) (facts []schemas.TaskFact, held time.Time, err error) {
	r, state, forge := o.reader(in, now), tasks.NewState(), changes.NewState()
	defer func() { facts = append(facts, forge.Contributions()...) }()
	r.each = func(row spendRow) error {
		state.Add(row.Enriched)
		forge.Add(row.Enriched)
		return nil
	}
	r.ended = func() error {
		facts = append(facts, state.Contributions()...)
		state = tasks.NewState()
		return nil
	}
	sources, err := r.read(ctx)
	if err != nil {
		return nil, held, err
	}
	if sources.Archive != nil {
		if from := sources.Archive.From; from != nil {
			held = *from
		}
		return facts, held, nil
	}
	for _, p := range sources.Topic {
		if p.HeldFrom != nil && p.HeldFrom.After(held) {
			held = *p.HeldFrom
		}
	}
	return facts, held, nil
}

// partly says that tasks may have begun before what is held: those whose first row
// lies within a day of where that begins.
func partly(out io.Writer, held time.Time, all ...schemas.Task) {
	near := func(t schemas.Task) bool { return t.FirstSeen < held.Add(24*time.Hour).UnixMicro() }
	if !held.IsZero() && slices.ContainsFunc(all, near) {
		fmt.Fprintf(out, "flightlog: rows are held since %s: what a task did before is not told (--archive)\n", when(held))
	}
}

// list prints the tasks.
func (o *tasksFlags) list(c *cobra.Command, in *installation, since int64, now time.Time) error {
	facts, held, err := o.contributions(c.Context(), in, now)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(tasks.Group(facts, now.UnixMicro()), func(t schemas.Task) bool {
		return idle(&t) || t.LastSeen < since || o.open && t.TaskOutcome != schemas.TaskOutcomeOpen ||
			o.repo != "" && t.Repo != o.repo && !strings.HasSuffix(t.Repo, "/"+o.repo)
	})
	partly(c.ErrOrStderr(), held, all...)
	if o.json {
		_, err := c.OutOrStdout().Write(taskLines(all))
		return err
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), "no tasks")
		return err
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "task\trepo\tbranch\tuser\toutcome\tcost USD\ttests\tage\tintent")
	for i := range all {
		t := &all[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.12s\n", printable(t.TaskId), dash(t.Repo), dash(t.Branch), dash(t.User), outcomeText(t),
			costText(t.CostNanoUsd, t.UnpricedRequests), testsText(&t.Did), ageText(now.Sub(time.UnixMicro(t.LastSeen))), dash(t.TaskIntentRef))
	}
	return w.Flush()
}

// listUnlinked prints what the forge tells of and no single task is known of.
func (o *tasksFlags) listUnlinked(c *cobra.Command, in *installation, since int64, now time.Time) error {
	r, forge := o.reader(in, now), changes.NewState()
	r.each = func(row spendRow) error { forge.Add(row.Enriched); return nil }
	if _, err := r.read(c.Context()); err != nil {
		return err
	}
	all, elsewhere := forge.Changes()
	all = slices.DeleteFunc(all, func(c changes.Change) bool {
		return c.Row.OccurredAt < since || o.repo != "" && c.Row.Repo != o.repo && !strings.HasSuffix(c.Row.Repo, "/"+o.repo)
	})
	unlinked := slices.DeleteFunc(slices.Clone(all), func(c changes.Change) bool { return c.Row.TaskId != "" })
	out := c.OutOrStdout()
	if o.json {
		var lines []byte
		for _, c := range unlinked {
			lines = append(c.Row.AppendJSON(lines), '\n')
		}
		_, err := out.Write(lines)
		return err
	}
	if elsewhere > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "flightlog: %d pushed commits are of no pull request and on no target branch: they are no changes\n", elsewhere)
	}
	switch {
	case len(all) == 0:
		_, err := fmt.Fprintln(out, "the forge has told of no change: import what it tells (docs/changes.md)")
		return err
	case len(unlinked) == 0:
		_, err := fmt.Fprintf(out, "all %d changes that the forge tells of are linked to a task\n", len(all))
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "change\tstate\tbranch\twhen\twhy")
	for _, c := range unlinked {
		r := c.Row
		fmt.Fprintf(w, "%.90s\t%s\t%.60s\t%s\t%s\n", dash(cmp.Or(r.ChangeId, r.Repo+"@"+r.CommitId)), c.State, dash(r.Branch), when(time.UnixMicro(r.OccurredAt)), unlinkedText(r.Link))
	}
	fmt.Fprintf(w, "%d of %d changes\n", len(unlinked), len(all))
	return w.Flush()
}

// unlinkedText says why a change has no task.
func unlinkedText(link string) string {
	switch link {
	case "several":
		return "sessions of several tasks made it"
	case "ambiguous":
		return "an abbreviated commit id fits several commits"
	}
	return "no session is known to have made it"
}

// idle tells a task that only the beginning or end of a session stands on.
func idle(t *schemas.Task) bool { return t.Prompts+t.ModelRequests+t.ToolCalls == 0 }

func taskLines(all []schemas.Task) (text []byte) {
	for i := range all {
		text = append(all[i].AppendJSON(text), '\n')
	}
	return text
}

// one prints the task that an id, or the beginning of one, names.
func (o *tasksFlags) one(c *cobra.Command, in *installation, id string, now time.Time) error {
	facts, held, err := o.contributions(c.Context(), in, now)
	if err != nil {
		return err
	}
	t, err := findTask(tasks.Group(facts, now.UnixMicro()), id)
	if err != nil {
		return err
	}
	partly(c.ErrOrStderr(), held, *t)
	r, state := o.reader(in, now), tasks.NewState()
	r.each = func(row spendRow) error {
		if row.TaskId == t.TaskId && row.Org == t.Org {
			state.Add(row.Enriched)
		}
		return nil
	}
	if _, err := r.read(c.Context()); err != nil {
		return err
	}
	v := taskView{t, tasks.Path(state.Rows(t.Org, t.TaskId))}
	if o.page != "" {
		var page bytes.Buffer
		if err := v.page(&page); err != nil {
			return err
		}
		if err := replaceFile(o.page, page.Bytes()); err != nil {
			return err
		}
		if !o.json {
			_, err = fmt.Fprintf(c.OutOrStdout(), "page: %s\n", o.page)
			return err
		}
	}
	if o.json {
		return printJSON(c.OutOrStdout(), v.asJSON())
	}
	return v.print(c.OutOrStdout())
}

// maxCandidates are named where an id says too little.
const maxCandidates = 10

// findTask is the task with an id, else the only one whose id begins so.
func findTask(all []schemas.Task, id string) (*schemas.Task, error) {
	var found, begin []*schemas.Task
	for i := range all {
		switch t := &all[i]; {
		case t.TaskId == id:
			found = append(found, t)
		case strings.HasPrefix(t.TaskId, id):
			begin = append(begin, t)
		}
	}
	if len(found) == 0 {
		found = begin
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no task is %q or begins so: 'flightlog tasks' lists those that the rows tell of", id)
	case 1:
		return found[0], nil
	}
	var names strings.Builder
	for _, t := range found[:min(len(found), maxCandidates)] {
		fmt.Fprintf(&names, "\n  %s  (%s, %s, %s)", printable(t.TaskId), cmp.Or(printable(t.Org), "no org"), dash(t.Repo), dash(t.User))
	}
	if more := len(found) - maxCandidates; more > 0 {
		fmt.Fprintf(&names, "\n  and %d more", more)
	}
	return nil, fmt.Errorf("%d tasks are or begin with %q:%s", len(found), id, names.String())
}
