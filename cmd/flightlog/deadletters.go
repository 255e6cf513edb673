package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
)

func deadLettersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "deadletters",
		Short: "Look at what could not be processed, and try it again: ls, show, redrive",
		Long: `A dead letter is an input that could not be processed as it was, kept with the
reason: a line that does not parse, an event that the fold refuses, a row that a
store does not take. Nothing is dropped without one.`,
	}
	c.AddCommand(deadLettersLsCommand(), deadLettersShowCommand(), deadLettersRedriveCommand())
	return family(c)
}

// selection says which dead letters are meant.
type selection struct {
	reason, source, since string
	from                  int64 // since, µs
	ids                   []string
}

func (s *selection) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.reason, "reason", "", "only with this reason, e.g. outside_window")
	f.StringVar(&s.source, "source", "", "only of sources that begin so: a file, or a topic such as enriched/")
	f.StringVar(&s.since, "since", "", "only what was found since then: a duration (90m), a day (2026-11-23) or a time")
}

func (s *selection) parse() (err error) {
	s.from, err = parseSince(s.since, time.Now())
	return err
}

func (s *selection) has(d *schemas.DeadLetter) bool {
	return (s.reason == "" || d.Reason == s.reason) && strings.HasPrefix(d.Source, s.source) && d.OccurredAt >= s.from &&
		(len(s.ids) == 0 || slices.ContainsFunc(s.ids, func(id string) bool { return strings.HasPrefix(d.RowId.String(), id) }))
}

// each calls f with the dead letters that are meant, each once.
func (s *selection) each(ctx context.Context, b broker.Broker, f func(d *schemas.DeadLetter) error) error {
	seen := map[schemas.Id]bool{}
	var frame schemas.DeadLetterFrame
	return rows(ctx, b, broker.DeadLetters, func(payload []byte) error {
		if err := frame.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range frame.Rows {
			d := frame.Rows[i]
			if !s.has(&d) || seen[d.RowId] {
				continue
			}
			seen[d.RowId] = true
			if err := f(&d); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkIDs refuses what cannot begin a dead letter's id.
func checkIDs(ids []string) error {
	for _, id := range ids {
		padded := id + strings.Repeat("0", len(id)%2)
		if _, err := hex.DecodeString(padded); err != nil || len(id) < 6 || len(id) > 32 {
			return fmt.Errorf("cannot use %q: want the row_id of a dead letter, or its first 6 digits or more ('flightlog deadletters ls --each' lists them)", id)
		}
	}
	return nil
}

func deadLettersLsCommand() *cobra.Command {
	var at place
	var s selection
	var each, asJSON bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "List the dead letters by reason and source, or each of them",
		Example: `  flightlog deadletters ls
  flightlog deadletters ls --reason outside_window --each`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.parse(); err != nil {
				return err
			}
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			if each {
				return listEach(c.Context(), in.broker, &s, c.OutOrStdout(), asJSON)
			}
			return listGroups(c.Context(), in.broker, &s, c.OutOrStdout(), asJSON)
		},
	}
	at.flags(c)
	s.flags(c)
	c.Flags().BoolVar(&each, "each", false, "one line for each, in the order of the topic")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	return c
}

// letterGroup is the dead letters of one reason and kind of source.
type letterGroup struct {
	Reason string    `json:"reason"`
	Source string    `json:"source"` // a topic, or "files"
	Count  int       `json:"count"`
	Whole  int       `json:"redrivable"` // that hold what they are about
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

func listGroups(ctx context.Context, b broker.Broker, s *selection, out io.Writer, asJSON bool) error {
	groups := map[[2]string]*letterGroup{}
	if err := s.each(ctx, b, func(d *schemas.DeadLetter) error {
		source := "files"
		if topic, _, ok := strings.Cut(d.Source, "/"); ok && (topic == broker.Events || broker.IsRowTopic(topic)) {
			source = topic
		}
		key, at := [2]string{d.Reason, source}, time.UnixMicro(d.OccurredAt).UTC()
		g := groups[key]
		if g == nil {
			g = &letterGroup{Reason: d.Reason, Source: source, First: at, Last: at}
			groups[key] = g
		}
		g.Count++
		if len(d.Payload) > 0 {
			g.Whole++
		}
		if at.Before(g.First) {
			g.First = at
		}
		if at.After(g.Last) {
			g.Last = at
		}
		return nil
	}); err != nil {
		return err
	}
	sorted := slices.SortedFunc(maps.Values(groups), func(a, b *letterGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Source, b.Source))
	})
	if asJSON {
		e := json.NewEncoder(out)
		for _, g := range sorted {
			if err := e.Encode(g); err != nil {
				return err
			}
		}
		return nil
	}
	if len(sorted) == 0 {
		_, err := fmt.Fprintln(out, "no dead letters")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "reason\tsource\tcount\tre-drivable\tfirst\tlast")
	for _, g := range sorted {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", g.Reason, g.Source, g.Count, g.Whole, g.First.Format(time.RFC3339), g.Last.Format(time.RFC3339))
	}
	return w.Flush()
}

func listEach(ctx context.Context, b broker.Broker, s *selection, out io.Writer, asJSON bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(w, "row_id\tfound\treason\tsource\tposition\tdetail")
	}
	err := s.each(ctx, b, func(d *schemas.DeadLetter) error {
		if asJSON {
			short := *d
			short.Payload = nil
			_, err := fmt.Fprintf(out, "%s\n", short.AppendJSON(nil))
			return err
		}
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.RowId, time.UnixMicro(d.OccurredAt).UTC().Format(time.RFC3339),
			printable(d.Reason), printable(d.Source), printable(d.Position), printable(d.Detail))
		return err
	})
	return errors.Join(err, w.Flush())
}

// printable has nothing in it that a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

func deadLettersShowCommand() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use:   "show ID...",
		Short: "Print dead letters whole, with the event or row that they hold, as JSON",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("give the row_id of a dead letter, or its first digits")
			}
			return checkIDs(args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			found := 0
			s := selection{ids: args}
			if err := s.each(c.Context(), in.broker, func(d *schemas.DeadLetter) error {
				found++
				return printJSON(c.OutOrStdout(), whole(d))
			}); err != nil {
				return err
			}
			if found == 0 {
				return fmt.Errorf("no dead letter has a row_id that begins with %s", strings.Join(args, " or "))
			}
			return nil
		},
	}
	at.flags(c)
	return c
}

// whole is a dead letter with its payload decoded.
func whole(d *schemas.DeadLetter) map[string]json.RawMessage {
	short := *d
	short.Payload = nil
	shown := map[string]json.RawMessage{"dead_letter": short.AppendJSON(nil)}
	var e schemas.Event
	if topic, row, err := delivery.RowOf(d); err == nil {
		shown["row_of_"+topic] = row.AppendJSON(nil)
	} else if err := e.DecodeMessage(d.Payload); err == nil {
		shown["event"] = e.AppendJSON(nil)
	}
	return shown
}

// redriveOptions are the flags of deadletters redrive.
type redriveOptions struct {
	place
	openobserveFlags
	selection
	all, dryRun, json bool
}

// redriven is what a re-drive comes to.
type redriven struct {
	Events     int            `json:"events"`      // sent to the topic of events again
	Stored     int            `json:"rows_stored"` // those that the store held already too
	Refused    map[string]int `json:"rows_refused"`
	Incomplete int            `json:"without_payload"` // hold nothing that could be sent
	DryRun     bool           `json:"dry_run,omitempty"`
}

func deadLettersRedriveCommand() *cobra.Command {
	var o redriveOptions
	c := &cobra.Command{
		Use:   "redrive [ID...]",
		Short: "Try again what dead letters hold: events into the pipeline, rows into the store",
		Long: `Sends the events of dead letters to the topic of events again, and loads their
rows into OpenObserve (--openobserve). Doing it twice adds nothing: an event is
merged by event_id, and a row that the store holds is not sent. What is refused
again stays a dead letter. The dead letters themselves are kept as the topic
keeps them.

Lines of files that could not be read are not held: import the file again.`,
		Example: `  flightlog deadletters redrive --reason outside_window --openobserve https://o2.internal ... # after the window was raised
  flightlog deadletters redrive --source events/ --dry-run`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkIDs(args); err != nil {
				return err
			}
			o.ids = args
			if o.reason == "" && o.source == "" && len(args) == 0 && !o.all {
				return errors.New("say which dead letters: ids, --reason, --source, or --all")
			}
			if err := o.parse(); err != nil {
				return err
			}
			in, err := o.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			done, err := in.redrive(c.Context(), &o)
			if err != nil {
				return err
			}
			if o.json {
				err = json.NewEncoder(c.OutOrStdout()).Encode(done)
			} else {
				err = done.print(c.OutOrStdout())
			}
			switch {
			case err != nil || o.dryRun:
			case len(args) > 0 && done.Events+done.Stored+done.Incomplete+len(done.Refused) == 0:
				err = fmt.Errorf("no dead letter has a row_id that begins with %s", strings.Join(args, " or "))
			case len(done.Refused) > 0:
				err = errors.New("rows were refused again: they stay dead letters")
			}
			return err
		},
	}
	o.place.flags(c)
	o.loadingFlags(c)
	o.selection.flags(c)
	c.Flags().BoolVar(&o.all, "all", false, "every dead letter")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say what would be tried")
	c.Flags().BoolVar(&o.json, "json", false, "print what came of it as JSON")
	return c
}

// redriveRows are held at a time.
const redriveRows = 10_000

func (in *installation) redrive(ctx context.Context, o *redriveOptions) (*redriven, error) {
	done := &redriven{Refused: map[string]int{}, DryRun: o.dryRun}
	var sink *openobserve.Sink
	shippers := map[string]*shipper.Shipper{} // by organisation
	waiting := map[string][]delivery.Row{}    // by topic
	load := func(topic string) error {
		rows := waiting[topic]
		delete(waiting, topic)
		if o.dryRun {
			done.Stored += len(rows)
			return nil
		}
		if sink == nil {
			if o.url == "" {
				return fmt.Errorf("dead letters of %s hold rows: give --openobserve to load them, or --source to leave them out", topic)
			}
			if o.adminUser == "" {
				return errors.New("give --openobserve-admin-user: without it nobody can tell which rows are stored, and they would stand twice")
			}
			var err error
			if sink, err = openobserve.Open(ctx, o.config(in.broker.Generation()), delivery.Topics, o.window); err != nil {
				return err
			}
		}
		came, err := delivery.Redrive(ctx, delivery.Config{Broker: in.broker, Destination: sink, Group: "redrive"}, topic, rows)
		done.Stored += came.Stored
		for reason, n := range came.Refused {
			done.Refused[reason] += n
		}
		return err
	}
	defer func() {
		if sink != nil {
			sink.Close()
		}
	}()
	err := o.each(ctx, in.broker, func(d *schemas.DeadLetter) error {
		topic, row, err := delivery.RowOf(d)
		if err == nil {
			waiting[topic] = append(waiting[topic], row)
			if len(waiting[topic]) >= redriveRows {
				return load(topic)
			}
			return nil
		}
		var e schemas.Event
		if err := e.DecodeMessage(d.Payload); err != nil {
			done.Incomplete++
			return nil
		}
		done.Events++
		if o.dryRun {
			return nil
		}
		s := shippers[d.Org]
		if s == nil {
			if s, err = shipper.New(ctx, in.broker, d.Org, "redrive", time.Now().UnixMicro()); err != nil {
				return err
			}
			shippers[d.Org] = s
		}
		return s.Event(ctx, s.Partition(producers.PartitionKey(&e)), e.AppendAvro(nil))
	})
	for _, topic := range slices.Sorted(maps.Keys(waiting)) {
		if err == nil {
			err = load(topic)
		}
	}
	for _, s := range shippers {
		if err == nil {
			err = s.Flush(ctx)
		}
	}
	return done, err
}

func (r *redriven) print(out io.Writer) error {
	if r.DryRun {
		_, err := fmt.Fprintf(out, "would send %d events and load %d rows; %d dead letters hold nothing that could be sent\n", r.Events, r.Stored, r.Incomplete)
		return err
	}
	fmt.Fprintf(out, "%d events sent to the topic of events, %d rows are stored\n", r.Events, r.Stored)
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(out, "%d rows are refused again: %s\n", r.Refused[reason], reason)
	}
	if r.Incomplete > 0 {
		fmt.Fprintf(out, "%d dead letters hold nothing that could be sent: read their sources again\n", r.Incomplete)
	}
	return nil
}
