package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/redaction"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/files"
)

// importOptions are the flags of import.
type importOptions struct {
	place
	out, mode, org   string
	json, shiftToNow bool
	now              func() time.Time // nil = time.Now
}

func importCommand() *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use:   "import PATH...",
		Short: "Read recorded sessions: transcripts, hooks, OTLP; and events of a forge and CI",
		Long: `Reads sessions that were recorded before and brings them through the pipeline.

PATH is a transcript (*.jsonl), a folder of them such as ~/.claude/projects, or a
folder with hooks.ndjson, otlp-logs.ndjson, otlp-metrics.ndjson, otlp-traces.ndjson
and projects/, or an archive of 'flightlog sink files' (its events; docs/archive.md),
or events.ndjson, *.events.ndjson: events in the JSON form of their schema, such as
what a forge and CI tell of pushes, pull requests, checks and deployments
(docs/changes.md).
What it cannot read becomes a dead letter with file and line.

It ends when every session that it brought has its final rows. The same input
again adds nothing. If 'flightlog up' runs on the data folder, it is used.
` + shiftHelp + `
That is for demos on a fresh installation, with fresh sinks: the ids stay, so the
same sessions are the same facts. A session of which there are rows is refused;
and do not import the sessions again without the flag, for a fact would then
take its times from either. It reads the input twice.`,
		Example: `  flightlog import ~/.claude/projects --out rows
  flightlog import recordings/success --json
  flightlog import forge.events.ndjson
  flightlog import recordings --data demo --shift-to-now`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("nothing to import: give a path, e.g. ~/.claude/projects (see flightlog import --help)")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return runImport(c.Context(), c, args, o) },
	}
	importFlags(c, &o)
	return c
}

func importFlags(c *cobra.Command, o *importOptions) {
	o.place.flags(c)
	c.Flags().StringVar(&o.out, "out", "", "folder for the rows as NDJSON: enriched.ndjson, findings.ndjson, tasks.ndjson, spend.ndjson, deadletters.ndjson")
	c.Flags().StringVar(&o.mode, "capture", "metadata", "what of the texts is kept: metadata, redacted or full (until the content topic exists, these two keep references and hashes only)")
	c.Flags().StringVar(&o.org, "org", "local", "organisation that the sessions belong to")
	c.Flags().BoolVar(&o.json, "json", false, "print the summary as JSON")
	shiftFlag(c, &o.shiftToNow)
}

func runImport(ctx context.Context, c *cobra.Command, paths []string, o importOptions) error {
	mode, err := redaction.ParseMode(o.mode)
	if err != nil {
		return err
	}
	sources, err := findSourcesOf(paths, o.org)
	if err != nil {
		return err
	}
	if len(sources) == 0 {
		return fmt.Errorf("nothing to import under %q: no transcripts (*.jsonl), hooks.ndjson, otlp-*.ndjson or events.ndjson", paths)
	}
	in, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	summary, err := in.importSources(ctx, c, sources, mode, o)
	if err != nil {
		return err
	}
	if o.json {
		err = json.NewEncoder(c.OutOrStdout()).Encode(summary)
	} else {
		err = summary.print(c.OutOrStdout())
	}
	if summary.Unread != nil {
		err = errors.Join(err, fmt.Errorf("not everything could be read; the rest was imported:\n%w", summary.Unread))
	}
	return err
}

// importSources brings the sources through the pipeline and waits until all
// of it stands.
func (in *installation) importSources(ctx context.Context, c *cobra.Command, sources []source, mode redaction.Mode, o importOptions) (*summary, error) {
	if in.server != nil {
		var stop func()
		ctx, stop = in.processBeside(ctx)
		defer stop()
	}
	started := time.Now()
	ship, err := shipper.New(ctx, in.broker, o.org, "import", started.UnixMicro())
	if err != nil {
		return nil, err
	}
	f := newFeed(ctx, ship)
	var behind producers.Sink = f // of redaction
	if o.shiftToNow {
		if o.now == nil {
			o.now = time.Now
		}
		if behind, err = in.shiftToNow(ctx, sources, o.now(), f); err != nil {
			return nil, cause(ctx, err)
		}
	}
	if err := in.madeBefore(ctx, sources); err != nil {
		return nil, cause(ctx, err)
	}
	redacting := redaction.NewSink(mode, behind)
	bar := progress(sources, "importing")
	var bytes int64
	var unread []error
	for i, s := range sources {
		var fault *fs.PathError
		var sink producers.Sink = redacting
		if s.kind == archiveSource {
			sink = behind // its events were redacted when they were first sent, and keep their event_id
		}
		switch err := s.read(ctx, sink); {
		case errors.As(err, &fault): // this file only: it is gone, or not ours to read
			unread = append(unread, err)
		case err != nil:
			return nil, cause(ctx, err)
		default:
			bytes += s.size
		}
		bar.add(s.size)
		if i+1 == len(sources) || sources[i+1].group != s.group {
			if err := f.endGroup(); err != nil {
				return nil, cause(ctx, err)
			}
		}
	}
	if err := f.end(); err != nil {
		return nil, cause(ctx, err)
	}
	bar.done()
	if err := in.settled(ctx, ship); err != nil {
		return nil, cause(ctx, err)
	}
	if o.out != "" {
		sink, err := files.New(o.out, delivery.Topics...)
		if err != nil {
			return nil, err
		}
		defer sink.Close()
		if err := sink.Drain(ctx, in.broker); err != nil {
			return nil, cause(ctx, err)
		}
	}
	result, err := summarize(ctx, in.broker, f.all, f.facts)
	if err != nil {
		return nil, cause(ctx, err)
	}
	result.Sources, result.Bytes, result.Events = len(sources), bytes, f.count.events
	result.DeadLetters += f.count.deadLetters
	result.Out, result.Seconds = o.out, time.Since(started).Seconds()
	result.Unread = errors.Join(unread...)
	return result, nil
}

// madeBefore tells the readers of transcripts which sessions have made requests
// by the rows that there are, so that a copy of a history counts no more in this
// import than it did in an earlier one.
func (in *installation) madeBefore(ctx context.Context, sources []source) error {
	i := slices.IndexFunc(sources, func(s source) bool { return s.requests != nil })
	if i < 0 {
		return nil
	}
	requests := sources[i].requests // of all
	var frame schemas.EnrichedFrame
	return rows(ctx, in.broker, broker.Enriched, func(payload []byte) error {
		if err := frame.DecodeMessage(payload); err != nil {
			return err
		}
		for j := range frame.Rows {
			if r := &frame.Rows[j]; r.Kind == schemas.KindModelRequest && r.Sign > 0 {
				requests.Made(r.RequestId, r.SessionId)
			}
		}
		return nil
	})
}

// processBeside runs the processors beside the work that waits for them, until
// stop, which returns when they have ended. The context is that of the work: it
// ends when a processor fails ([cause] says of what).
func (in *installation) processBeside(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var processors sync.WaitGroup
	processors.Go(func() {
		if err := in.process(ctx, nil); err != nil {
			cancel(err)
		}
	})
	return ctx, func() {
		cancel(nil)
		processors.Wait()
	}
}

// cause is why the work ended: a processor's failure rather than the
// cancellation that it brought about.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	return err
}

// settled waits until everything that was shipped is folded, nothing more is
// to be said about it, and every row has reached its topic.
func (in *installation) settled(ctx context.Context, ship *shipper.Shipper) error {
	n, err := in.broker.Partitions(ctx)
	if err != nil {
		return err
	}
	for p := range n {
		if err := in.settledPartition(ctx, p, schemas.LaneNormal, int64(ship.Last(p))); err != nil {
			return fmt.Errorf("cannot see partition %d come to its end: %w", p, err)
		}
	}
	// What sessions told the other processors is in their inputs now, and what
	// changes told tasks is before tasks is looked at.
	for _, next := range [...]struct{ processor, input string }{{"changes", broker.ChangeFacts}, {"tasks", broker.TaskFacts}, {"spend", broker.SpendDeltas}} {
		for p := range n {
			input := broker.Log{Topic: next.input, Partition: p}
			end, err := in.broker.End(ctx, input)
			if err == nil {
				err = in.settledInput(ctx, next.processor, input, int64(end))
			}
			if err != nil {
				return fmt.Errorf("cannot see partition %d of %s come to its end: %w", p, next.processor, err)
			}
		}
	}
	return nil
}

// patience is how long a partition may stand still before somebody is told.
const patience = 10 * time.Second

// settledPartition waits until a partition has folded one lane up to a place, and
// all that it then had to say has reached the topics.
func (in *installation) settledPartition(ctx context.Context, p int, lane schemas.Lane, last int64) error {
	return in.settledInput(ctx, "sessions", broker.Log{Topic: broker.Events, Partition: p, Lane: lane}, last)
}

// settledInput is settledPartition for a processor and its input.
func (in *installation) settledInput(ctx context.Context, processor string, input broker.Log, last int64) error {
	p, lane := input.Partition, input.Lane
	if last == 0 {
		return nil
	}
	tick := schemas.Control{Type: schemas.ControlTypeTick}
	said := int64(-1) // number of the commit after which nothing was left to say
	seen, since := int64(-1), time.Now()
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		c, err := in.broker.LastCommit(ctx, processor, p)
		if err != nil {
			return err
		}
		if c != nil && c.CommitNumber != seen {
			seen, since = c.CommitNumber, time.Now()
		} else if time.Since(since) > patience {
			slog.Warn("nobody folds this partition: does a 'flightlog process' or 'up' run?", "processor", processor, "partition", p)
			since = time.Now()
		}
		if c != nil {
			next := sliceOf(c, lane)
			if said < 0 && !c.More && (next.NextMessage > last || next.NextMessage == last && next.NextIndex == 0) {
				said = c.CommitNumber
			}
			if said >= 0 && c.Routed >= said {
				return nil
			}
		}
		if said >= 0 {
			// The next commit will tell how far routing has come.
			if _, err := in.broker.Append(ctx, broker.Log{Topic: input.Topic, Partition: p}, tick.AppendMessage(nil)); err != nil {
				return err
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sliceOf is where a commit stands in a lane.
func sliceOf(c *schemas.Commit, lane schemas.Lane) schemas.Slice {
	for _, s := range c.Slices {
		if s.Lane == lane {
			return s
		}
	}
	return schemas.Slice{}
}

// bar is a progress bar on a terminal, and nothing elsewhere.
type bar struct{ *progressbar.ProgressBar }

func progress(sources []source, doing string) bar {
	var total int64
	for _, s := range sources {
		total += s.size
	}
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return bar{}
	}
	return bar{progressbar.NewOptions64(total, progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionShowBytes(true), progressbar.OptionSetDescription(doing),
		progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))}
}

func (b bar) add(n int64) {
	if b.ProgressBar != nil {
		_ = b.Add64(n)
	}
}

func (b bar) done() {
	if b.ProgressBar != nil {
		_ = b.Finish()
	}
}
