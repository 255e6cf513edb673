package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/loadtest/replay"
	"github.com/flightlog/flightlog/producers/redaction"
	"github.com/flightlog/flightlog/schemas"
)

func loadtestCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "loadtest",
		Short: "Put load on an installation and say what must come of it",
	}
	c.AddCommand(replayCommand())
	return family(c)
}

// replayOptions are the flags of loadtest replay.
type replayOptions struct {
	place
	replay.Options
	speed, start, expect string
	json, shiftToNow     bool
}

func replayCommand() *cobra.Command {
	var o replayOptions
	c := &cobra.Command{
		Use:   "replay [DIR]",
		Short: "Send recorded sessions over and over, as if many people worked",
		Long: `Reads recorded sessions once and sends copies of them, each with ids and times
of its own. DIR is what 'flightlog import' takes; without it the recordings that
come with Flightlog are sent.

It only sends: a 'flightlog up' on the data folder or a 'flightlog process' on
the broker makes rows of it, at the same time or later.

With one seed and one start every run sends the same events in the same order
per partition; what arrives twice is merged. For other sessions give another
seed. --expect writes what the rows must add up to: facts by kind, and the bill
by what the model's endpoint answered, where DIR holds endpoint.ndjson.

Times are near now unless --start says otherwise: with --speed above 0 sessions
happen while they are sent; else they end within the hour before. --shift-to-now
makes the last of these end just now. Requests are priced as of the copy's times.`,
		Example: `  flightlog loadtest replay --sessions 1000 --expect expected.json
  flightlog loadtest replay --for 1m --speed 10 --rate 5000 --duplicates 0.05 --late 0.02`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runReplay(c.Context(), c, args, o) },
	}
	o.flags(c)
	f := c.Flags()
	f.Int64Var(&o.Sessions, "sessions", 0, "end after this many sessions (default each recorded one once, or no limit with --for)")
	f.DurationVar(&o.For, "for", 0, "end after this time, e.g. 1m; sessions that were begun are sent to their end")
	f.StringVar(&o.speed, "speed", "max", "how much faster than recorded a session goes, e.g. 10; max or 0 = as fast as the broker takes it")
	f.Float64Var(&o.Rate, "rate", 0, "events per second, sent when they are due however slow the broker is (default as speed, sessions and time give it)")
	f.Uint64Var(&o.Seed, "seed", 0, "chooses ids, order, and what is sent twice or late; 0 = another one each time")
	f.StringVar(&o.start, "start", "", "time that the sessions' times are counted from, as 2006-01-02T15:04:05Z (default now)")
	f.BoolVar(&o.shiftToNow, "shift-to-now", false, "let the newest event lie at now, when the run begins; not with --start")
	f.StringVar(&o.Org, "org", "loadtest", "organisation that the sessions belong to")
	f.Float64Var(&o.Duplicates, "duplicates", 0, "share of events that are sent twice, 0 to 1")
	f.Float64Var(&o.Late, "late", 0, "share of events that are held back, 0 to 1")
	f.DurationVar(&o.LateBy, "late-by", 10*time.Second, "how long they are")
	f.IntVar(&o.Frame, "frame", 100, "events per frame, 1 to 100")
	f.StringVar(&o.expect, "expect", "", "file for what the rows must add up to, as JSON")
	f.BoolVar(&o.json, "json", false, "print the summary as JSON")
	return c
}

func runReplay(ctx context.Context, c *cobra.Command, paths []string, o replayOptions) (err error) {
	if o.speed != "max" {
		if o.Speed, err = strconv.ParseFloat(o.speed, 64); err != nil {
			return fmt.Errorf("cannot use --speed %q: want max or a number", o.speed)
		}
	}
	if o.EndAtStart = o.shiftToNow; o.shiftToNow && o.start != "" {
		return fmt.Errorf("cannot use --shift-to-now with --start %q: it starts now", o.start)
	}
	if o.start != "" {
		if o.Start, err = time.Parse(time.RFC3339, o.start); err != nil {
			return fmt.Errorf("cannot use --start %q: want a time as 2006-01-02T15:04:05Z", o.start)
		}
	}
	all, err := readRecordings(ctx, paths)
	if err != nil {
		return err
	}
	in, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	var done func()
	o.Progress, done = replayProgress(o.Sessions)
	for o.Seed == 0 {
		o.Seed = rand.Uint64N(1_000_000)
	}
	sent, expected, err := replay.Run(ctx, in.broker, all, o.Options)
	done()
	if err != nil {
		return err
	}
	if o.expect != "" {
		if err := writeExpectation(o.expect, expected); err != nil {
			return err
		}
	}
	if o.json {
		return json.NewEncoder(c.OutOrStdout()).Encode(sent)
	}
	return printReplay(c.OutOrStdout(), sent, expected)
}

// readRecordings reads what is under the paths, or else the recordings that
// come with Flightlog, with the truth where it stands beside them.
func readRecordings(ctx context.Context, paths []string) (all []*replay.Recording, err error) {
	if len(paths) == 0 {
		dir, err := os.MkdirTemp("", "flightlog-replay-*")
		if err != nil {
			return nil, fmt.Errorf("cannot make a folder for the recordings: %w", err)
		}
		defer os.RemoveAll(dir)
		if err := recordings.Unpack(dir); err != nil {
			return nil, err
		}
		paths = []string{dir}
	}
	sources, err := findSources(paths)
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("nothing to replay under %q: no transcripts (*.jsonl), hooks.ndjson or otlp-*.ndjson", paths)
	}
	for i, s := range sources {
		if i == 0 || s.group != sources[i-1].group {
			truth, err := recordings.Endpoint(s.group)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			all = append(all, &replay.Recording{Name: filepath.Base(s.group), Truth: truth})
		}
		if err := s.read(ctx, redaction.NewSink(schemas.CaptureModeMetadata, all[len(all)-1])); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", s.path, err)
		}
	}
	return all, nil
}

func writeExpectation(path string, e *replay.Expectation) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot write what is expected: %w", err)
	}
	return errors.Join(e.WriteJSON(f), f.Close())
}

// replayProgress shows on a terminal how far a replay is, and nothing
// elsewhere. done takes it away.
func replayProgress(sessions int64) (show func(replay.Summary), done func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, func() {}
	}
	if sessions == 0 {
		sessions = -1
	}
	bar := bar{progressbar.NewOptions64(sessions, progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionShowCount(), progressbar.OptionSetDescription("sessions"),
		progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))}
	return func(sent replay.Summary) { _ = bar.Set64(sent.Sessions) }, bar.done
}

// printReplay writes the table for a person.
func printReplay(out io.Writer, sent *replay.Summary, expected *replay.Expectation) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "sessions\tevents\tduplicates\tlate\tframes\tMB\tevents/s\tCPU µs/event\tbehind ms\t")
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%.1f\t%.0f\t%.2f\t%d\t\n", sent.Sessions, sent.Events, sent.Duplicates, sent.Late,
		sent.Frames, float64(sent.Bytes)/1e6, sent.EventsPerSecond(), sent.CPUPerEvent(), sent.BehindMs)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nseed %d, start %s, in %.1f s\n", expected.Seed, expected.Start.Format(time.RFC3339Nano), sent.Seconds)
	if bill := expected.Total.Bill; bill != nil {
		fmt.Fprintf(out, "expected of the rows: %d model requests for USD %.6f\n", bill.Requests, float64(bill.CostNanoUsd)/1e9)
	}
	if sent.DeadLetters > 0 {
		fmt.Fprintf(out, "%d records could not be read and are in no copy\n", sent.DeadLetters)
	}
	return nil
}
