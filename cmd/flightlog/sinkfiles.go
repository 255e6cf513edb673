package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/sinks/files"
)

// sinkFilesOptions are the flags of sink files.
type sinkFilesOptions struct {
	place
	out, archive   string
	topics         []string
	untilEnd, json bool
	admin          string
}

func sinkFilesCommand() *cobra.Command {
	var o sinkFilesOptions
	c := &cobra.Command{
		Use:   "files",
		Short: "Write the rows of the topics as NDJSON, and an archive of them as Avro",
		Long: `Follows the topics and writes what they hold into folders, each row exactly once,
whatever kills it and whenever.

--out is a folder for rows as NDJSON, one file per topic. --archive is one for
Avro object container files, one per topic, partition and hour, that never change
once they are complete; the events are among them, so that 'flightlog import' can
bring them through the pipeline again when the topics have forgotten them
(docs/archive.md). It deletes nothing: how long files are kept is up to you.

One process writes to a folder. It waits while the broker is away. Stop it with
SIGTERM: all that it has read is then on the disk. Without --broker it uses the
'flightlog up' that runs on the data folder.`,
		Example: `  flightlog sink files --archive /srv/flightlog/archive --broker nats://nats.internal:4222
  flightlog sink files --archive backup --until-end`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{serves: "yes"},
		RunE:        func(c *cobra.Command, _ []string) error { return sinkFiles(c.Context(), c, &o) },
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.out, "out", "", "folder for the rows as NDJSON, a file for each topic: enriched.ndjson, ...")
	f.StringVar(&o.archive, "archive", "", "folder for the archive")
	f.StringSliceVar(&o.topics, "topics", files.ArchiveTopics, "topics to write; events go into the archive only")
	f.BoolVar(&o.untilEnd, "until-end", false, "write what the topics hold by now, and end")
	f.BoolVar(&o.json, "json", false, "print the summary of --until-end as JSON")
	adminFlag(c, &o.admin)
	return c
}

func sinkFiles(ctx context.Context, c *cobra.Command, o *sinkFilesOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	var sinks fileSinks
	defer func() { sinks.close() }()
	if err := sinks.open(o); err != nil {
		return err
	}
	if o.untilEnd {
		return sinkFilesUntilEnd(ctx, c, o, &sinks)
	}
	a, err := serveAdmin(ctx, o.admin)
	if err != nil {
		return err
	}
	defer a.Close()
	began := func() {
		a.loading()
		fmt.Fprintf(c.ErrOrStderr(), "flightlog writes to %s%s\n", o.folders(), a.where())
	}
	err = serve(ctx, &o.place, began, func(ctx context.Context, in *installation) error {
		return sinks.each(ctx, func(ctx context.Context, s *files.Sink) error { return s.Run(ctx, in.broker) })
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // stopped while the broker was away: what was read is on the disk
	}
	return err
}

// check reports everything that is wrong with the flags.
func (o *sinkFilesOptions) check() error {
	var errs []error
	if o.out == "" && o.archive == "" {
		errs = append(errs, errors.New("give --out or --archive, a folder to write to, or both"))
	}
	if o.out != "" && o.archive != "" && filepath.Clean(o.out) == filepath.Clean(o.archive) {
		errs = append(errs, errors.New("give --out and --archive two folders"))
	}
	for _, topic := range o.topics {
		if !slices.Contains(files.ArchiveTopics, topic) {
			errs = append(errs, fmt.Errorf("cannot use --topics %s: there are %s", topic, strings.Join(files.ArchiveTopics, ", ")))
		}
	}
	switch {
	case len(o.topics) == 0:
		errs = append(errs, errors.New("--topics names none"))
	case o.out != "" && len(o.rowTopics()) == 0:
		errs = append(errs, errors.New("--topics names none that --out writes: events go into the archive only"))
	}
	if o.json && !o.untilEnd {
		errs = append(errs, errors.New("--json is for the summary of --until-end"))
	}
	return errors.Join(errs...)
}

// rowTopics are the topics that --out writes.
func (o *sinkFilesOptions) rowTopics() []string {
	return slices.DeleteFunc(slices.Clone(o.topics), func(topic string) bool { return topic == broker.Events })
}

// folders are those that are written to, for people.
func (o *sinkFilesOptions) folders() string {
	return strings.Join(slices.DeleteFunc([]string{o.out, o.archive}, func(dir string) bool { return dir == "" }), " and ")
}

// fileSinks are the sinks of the folders that were asked for; nil = not asked
// for.
type fileSinks struct{ rows, archive *files.Sink }

func (s *fileSinks) open(o *sinkFilesOptions) (err error) {
	if o.out != "" {
		if s.rows, err = files.New(o.out, o.rowTopics()...); err != nil {
			return err
		}
	}
	if o.archive != "" {
		s.archive, err = files.NewArchive(o.archive, o.topics...)
	}
	return err
}

func (s *fileSinks) all() []*files.Sink {
	return slices.DeleteFunc([]*files.Sink{s.rows, s.archive}, func(s *files.Sink) bool { return s == nil })
}

func (s *fileSinks) close() {
	for _, sink := range s.all() {
		_ = sink.Close() // what stands was synced
	}
}

// each lets every sink work, until all have ended or one fails.
func (s *fileSinks) each(ctx context.Context, work func(context.Context, *files.Sink) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var working sync.WaitGroup
	for _, sink := range s.all() {
		working.Go(func() {
			if err := work(ctx, sink); err != nil {
				stop(err)
			}
		})
	}
	working.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// sinkFilesUntilEnd writes what the topics hold by now.
func sinkFilesUntilEnd(ctx context.Context, c *cobra.Command, o *sinkFilesOptions, sinks *fileSinks) error {
	started := time.Now()
	in, err := o.look(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	told, stop := context.WithCancel(ctx)
	var bar sync.WaitGroup
	bar.Go(func() { sinks.tell(told) })
	err = sinks.each(ctx, func(ctx context.Context, s *files.Sink) error { return s.Drain(ctx, in.broker) })
	stop()
	bar.Wait()
	if err == nil {
		err = ctx.Err() // told to stop before the end
	}
	if err != nil {
		return err
	}
	summary, err := o.summary(sinks)
	if err != nil {
		return err
	}
	summary.Seconds = time.Since(started).Seconds()
	if o.json {
		return json.NewEncoder(c.OutOrStdout()).Encode(summary)
	}
	return summary.print(c.OutOrStdout())
}

// tell shows how far the sinks have come, on a terminal, until ctx ends.
func (s *fileSinks) tell(ctx context.Context) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return
	}
	bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("writing"),
		progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	for {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			_ = bar.Finish()
			return
		}
		var done, total uint64
		for _, sink := range s.all() {
			p := sink.Progress()
			done, total = done+p.Done, total+p.Total
		}
		bar.ChangeMax64(int64(max(1, total)))
		_ = bar.Set64(int64(done))
	}
}

// filesSummary is what sink files --until-end tells.
type filesSummary struct {
	Out      string          `json:"out,omitempty"`
	Rows     []files.Written `json:"rows,omitempty"` // written to Out
	Archive  string          `json:"archive,omitempty"`
	Archived []archivedTopic `json:"archived,omitempty"`
	Seconds  float64         `json:"seconds"`
}

// archivedTopic is a topic in the archive: what was written to it now, and what
// it holds.
type archivedTopic struct {
	files.Written
	Files         int        `json:"files"`
	Bytes         int64      `json:"bytes"`
	Held          int64      `json:"held"`                     // rows or events in all of them
	CoveredFrom   *time.Time `json:"covered_from,omitempty"`   // append time; none = from the beginning
	CoveredBefore *time.Time `json:"covered_before,omitempty"` // none = nothing is covered yet

	coverage files.Coverage
}

func (o *sinkFilesOptions) summary(sinks *fileSinks) (*filesSummary, error) {
	s := &filesSummary{Out: o.out, Archive: o.archive}
	if sinks.rows != nil {
		s.Rows = sinks.rows.Written()
	}
	if sinks.archive == nil {
		return s, nil
	}
	archive, err := files.OpenArchive(o.archive)
	if err != nil {
		return nil, err
	}
	written := map[string]files.Written{}
	for _, w := range sinks.archive.Written() {
		written[w.Topic] = w
	}
	for _, topic := range archive.Topics() {
		t := archivedTopic{Written: written[topic]}
		t.Topic = topic
		err := archive.Files(topic, func(f *files.File) error {
			t.Files++
			t.Bytes, t.Held = t.Bytes+f.Bytes, t.Held+f.Rows
			return nil
		})
		if err != nil {
			return nil, err
		}
		if t.coverage, err = archive.Coverage(topic); err != nil {
			return nil, err
		}
		if !t.coverage.From.IsZero() {
			t.CoveredFrom = &t.coverage.From
		}
		if !t.coverage.Until.IsZero() {
			t.CoveredBefore = &t.coverage.Until
		}
		s.Archived = append(s.Archived, t)
	}
	return s, nil
}

// print writes the summary for a person.
func (s *filesSummary) print(out io.Writer) error {
	if s.Out != "" {
		rows := int64(0)
		for _, w := range s.Rows {
			rows += w.Rows
		}
		fmt.Fprintf(out, "rows: %s, %d of them new\n", s.Out, rows)
	}
	if s.Archive == "" {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "topic\twritten\theld\tfiles\tMB\tholds")
	for _, t := range s.Archived {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.1f\t%s\n", t.Topic, t.Written.Rows, t.Held, t.Files, float64(t.Bytes)/1e6, t.coverage)
		if t.Unreadable > 0 {
			fmt.Fprintf(w, "\t%d events do not decode: the processors make dead letters of them\n", t.Unreadable)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\narchive: %s\n", s.Archive)
	return err
}
