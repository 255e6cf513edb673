package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/schemas"
)

// findingsFilter says which findings are shown.
type findingsFilter struct {
	state, kind, repo, task string
	least                   schemas.Severity
	since                   int64
}

func findingsCommand() *cobra.Command {
	var at place
	var o findingsFilter
	var since, severity string
	var follow, asJSON bool
	c := &cobra.Command{
		Use:   "findings",
		Short: "What the detectors found: loops, retries, protected paths, false claims, ...",
		Long: `Lists what the detectors found, the newest last: loops and retries, writes to
protected paths, secrets, installs from the network, long approvals, red tests,
claims that the record contradicts (docs/detectors.md says what each of them is).

A finding is open until what it tells of has ended (resolved) or turned out not to
be so (withdrawn). history means that its events were old when they came, as in an
import: nothing of now.

--follow goes on and prints every change of a finding as it comes.`,
		Example: `  flightlog findings
  flightlog findings --state open --severity high --since 24h
  flightlog findings --follow --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			var ok bool
			if o.least, ok = schemas.ParseSeverity(cmp.Or(severity, "info")); !ok {
				return fmt.Errorf("cannot use --severity %q: want info, low, medium, high or critical", severity)
			}
			if o.state != "" && !slices.Contains([]string{"open", "resolved", "withdrawn", "all"}, o.state) {
				return fmt.Errorf("cannot use --state %q: want open, resolved, withdrawn or all", o.state)
			}
			if o.kind != "" && !slices.Contains(detectors.Kinds, o.kind) {
				return fmt.Errorf("cannot use --kind %q: there are %s", o.kind, strings.Join(detectors.Kinds, ", "))
			}
			if follow {
				return followFindings(c.Context(), &at, &o, c.OutOrStdout(), asJSON)
			}
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			all, err := findings(c.Context(), in.broker)
			if err != nil {
				return err
			}
			return printFindings(c.OutOrStdout(), slices.DeleteFunc(all, func(f schemas.Finding) bool { return !o.shows(&f) }), asJSON)
		},
	}
	at.flags(c)
	c.Flags().StringVar(&o.state, "state", "", "open, resolved, withdrawn or all (default open and resolved)")
	c.Flags().StringVar(&o.kind, "kind", "", "only this kind")
	c.Flags().StringVar(&severity, "severity", "", "only of this severity or a higher one")
	c.Flags().StringVar(&o.repo, "repo", "", "only of this repository (host/owner/name)")
	c.Flags().StringVar(&o.task, "task", "", "only of this task")
	c.Flags().StringVar(&since, "since", "", "only what was seen since then: a duration (90m, 24h), a day (2026-11-23) or a time")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on and print what changes, until interrupted; needs a running up, or --broker")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	return c
}

// shows tells a finding that is asked for.
func (o *findingsFilter) shows(f *schemas.Finding) bool {
	state := o.state == "all" || o.state == f.State.String() || o.state == "" && f.State != schemas.FindingStateWithdrawn
	return state && f.Severity >= o.least && f.LastSeen >= o.since && (o.kind == "" || o.kind == f.Kind) &&
		(o.repo == "" || strings.EqualFold(o.repo, f.Repo)) && (o.task == "" || o.task == f.TaskId)
}

// findings are the findings that a broker holds, each as it stands now, in the
// order in which they were first seen.
func findings(ctx context.Context, b broker.Broker) ([]schemas.Finding, error) {
	n, err := b.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	stand := map[schemas.Id]schemas.Finding{}
	for p := range n {
		for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
			err := broker.Scan(ctx, b, broker.Log{Topic: broker.Findings, Partition: p, Lane: lane}, func(m broker.Message) error {
				var frame schemas.FindingFrame
				if err := frame.DecodeMessage(m.Payload); err != nil {
					return err
				}
				for _, r := range frame.Rows {
					if old, ok := stand[r.FindingId]; r.Sign > 0 && (!ok || r.Version > old.Version) {
						stand[r.FindingId] = r
					}
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	all := make([]schemas.Finding, 0, len(stand))
	for _, f := range stand {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b schemas.Finding) int {
		return cmp.Or(cmp.Compare(a.FirstSeen, b.FirstSeen), slices.Compare(a.FindingId[:], b.FindingId[:]))
	})
	return all, nil
}

func printFindings(out io.Writer, all []schemas.Finding, asJSON bool) error {
	if asJSON {
		for i := range all {
			if _, err := out.Write(append(all[i].AppendJSON(nil), '\n')); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "no findings")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIRST SEEN\tSEVERITY\tSTATE\tKIND\tREPO\tUSER\tUSD\tWHAT\tTASK")
	for i := range all {
		fmt.Fprintln(w, findingLine(&all[i], "\t"))
	}
	return w.Flush()
}

// findingLine is a finding on one line.
func findingLine(f *schemas.Finding, between string) string {
	state, money := f.State.String(), "-"
	if f.Backfill {
		state += " (history)"
	}
	if f.CostNanoUsd.Valid {
		money = usd(f.CostNanoUsd.Value)
	}
	return strings.Join([]string{time.UnixMicro(f.FirstSeen).UTC().Format(time.DateTime), f.Severity.String(), state, f.Kind,
		printable(cmp.Or(f.Repo, "-")), printable(cmp.Or(f.User, "-")), money, printable(f.Sentence), printable(f.TaskId)}, between)
}

// followFindings prints every version of a finding as it comes.
func followFindings(ctx context.Context, at *place, o *findingsFilter, out io.Writer, asJSON bool) error {
	in, err := at.reach(ctx)
	if err != nil {
		return fmt.Errorf("cannot follow: %w", err)
	}
	defer in.Close()
	n, err := in.broker.Partitions(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go in.watch(ctx, stop)
	var mu sync.Mutex
	var readers sync.WaitGroup
	follow := func(log broker.Log) error {
		r, err := in.broker.Read(ctx, log, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		for {
			m, err := r.Next(ctx)
			if err != nil {
				return err
			}
			var frame schemas.FindingFrame
			if err := frame.DecodeMessage(m.Payload); err != nil {
				return err
			}
			mu.Lock()
			for i := range frame.Rows {
				f := &frame.Rows[i]
				switch {
				case f.Sign < 0 || !o.shows(f):
				case asJSON:
					_, err = out.Write(append(f.AppendJSON(nil), '\n'))
				default:
					_, err = fmt.Fprintln(out, findingLine(f, "  "))
				}
			}
			mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
	for p := range n {
		for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
			log := broker.Log{Topic: broker.Findings, Partition: p, Lane: lane}
			readers.Go(func() {
				if err := follow(log); err != nil && ctx.Err() == nil {
					stop(fmt.Errorf("cannot follow %s/%d: %w", log.Topic, p, err))
				}
			})
		}
	}
	readers.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
