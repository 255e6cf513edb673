package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// tailTopics are the topics that tail can show.
var tailTopics = []string{broker.Enriched, broker.Findings, broker.Tasks, broker.Spend, broker.DeadLetters, broker.Events}

func tailCommand() *cobra.Command {
	var at place
	var since string
	var where []string
	var follow bool
	c := &cobra.Command{
		Use:   "tail TOPIC",
		Short: "Print the rows of a topic as JSON lines",
		Long: `Prints what a topic holds, one JSON object a line, in the order of each partition:
enriched (signed rows), findings (their normal lane), tasks, spend, deadletters, or
events (what producers sent).

A row with sign -1 takes an earlier row of the same fact back: sum sign * measure,
or keep the highest version of each fact_key whose sign is 1.`,
		Example: `  flightlog tail enriched --where kind=tool_call --where success=false
  flightlog tail enriched --follow --since 1h
  flightlog tail deadletters`,
		ValidArgs: tailTopics,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(tailTopics, args[0]) {
				return fmt.Errorf("give one topic of: %s", strings.Join(tailTopics, ", "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			t := tail{topic: args[0], out: bufio.NewWriter(c.OutOrStdout())}
			var err error
			if t.since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			for _, w := range where {
				column, value, ok := strings.Cut(w, "=")
				if !ok || column == "" {
					return fmt.Errorf("cannot use --where %q: want column=value", w)
				}
				t.where = append(t.where, [2]string{column, value})
			}
			if err := t.checkColumns(); err != nil {
				return err
			}
			if follow {
				return t.followUp(c.Context(), &at)
			}
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			return errors.Join(rows(c.Context(), in.broker, t.topic, t.message), t.out.Flush())
		},
	}
	at.flags(c)
	c.Flags().StringVar(&since, "since", "", "only what occurred since then: a duration (90m, 24h), a day (2026-11-23) or a time (2026-11-23T10:00:00Z)")
	c.Flags().StringArrayVar(&where, "where", nil, "only rows with column=value; may be given several times, all must hold")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on and print what comes, until interrupted; needs a running up, or --broker")
	return c
}

// parseSince reads a duration before now, or a time; "" is the beginning. µs.
func parseSince(s string, now time.Time) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UnixMicro(), nil
	}
	if t, ok := dayOrTime(s); ok {
		return t.UnixMicro(), nil
	}
	return 0, fmt.Errorf("cannot use --since %q: want a duration such as 90m, a day such as 2026-11-23, or a time such as 2026-11-23T10:00:00Z", s)
}

// dayOrTime reads a day (its beginning, UTC) or a time.
func dayOrTime(s string) (time.Time, bool) {
	for _, layout := range [...]string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

type tail struct {
	topic string
	since int64
	where [][2]string

	mu   sync.Mutex
	out  *bufio.Writer
	line []byte
}

// checkColumns refuses a filter on a column that the topic's rows do not have.
func (t *tail) checkColumns() error {
	schema := map[string]uint64{broker.Enriched: schemas.EnrichedFingerprint,
		broker.Findings: schemas.FindingFingerprint, broker.Tasks: schemas.TaskFingerprint, broker.Spend: schemas.SpendFingerprint, broker.DeadLetters: schemas.DeadLetterFingerprint, broker.Events: schemas.EventFingerprint}[t.topic]
	definition, ok := schemas.Definition(schema)
	if !ok {
		return fmt.Errorf("no schema of %s", t.topic)
	}
	for _, w := range t.where {
		column, _, _ := strings.Cut(w[0], ".")
		if !gjson.GetBytes(definition, `fields.#(name=="`+column+`")`).Exists() {
			return fmt.Errorf("cannot use --where %s=%s: rows of %s have no column %q (docs/schemas.md lists them)", w[0], w[1], t.topic, column)
		}
	}
	return nil
}

// followUp follows the topic until ctx ends, or the up whose broker it is.
func (t *tail) followUp(ctx context.Context, at *place) error {
	in, err := at.reach(ctx)
	if err != nil {
		return fmt.Errorf("cannot follow: %w", err)
	}
	defer in.Close()
	n, err := in.broker.Partitions(ctx)
	if err != nil {
		return err
	}
	b := in.broker
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go in.watch(ctx, stop)
	var readers sync.WaitGroup
	for p := range n {
		readers.Go(func() {
			if err := t.partition(ctx, b, broker.Log{Topic: t.topic, Partition: p}); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("cannot follow %s/%d: %w", t.topic, p, err))
			}
		})
	}
	readers.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (t *tail) partition(ctx context.Context, b broker.Broker, log broker.Log) error {
	r, err := b.Read(ctx, log, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		m, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := t.message(m.Payload); err != nil {
			return err
		}
		t.mu.Lock()
		err = t.out.Flush()
		t.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// message prints the rows of one message.
func (t *tail) message(payload []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fingerprint, _ := schemas.MessageFingerprint(payload)
	switch schemas.FingerprintName(fingerprint) {
	case "EnrichedFrame":
		var f schemas.EnrichedFrame
		if err := f.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range f.Rows {
			if err := t.row(f.Rows[i].OccurredAt, &f.Rows[i]); err != nil {
				return err
			}
		}
	case "FindingFrame":
		var f schemas.FindingFrame
		if err := f.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range f.Rows {
			if err := t.row(f.Rows[i].LastSeen, &f.Rows[i]); err != nil {
				return err
			}
		}
	case "TaskFrame":
		var f schemas.TaskFrame
		if err := f.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range f.Rows {
			if err := t.row(f.Rows[i].LastSeen, &f.Rows[i]); err != nil {
				return err
			}
		}
	case "SpendFrame":
		var f schemas.SpendFrame
		if err := f.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range f.Rows {
			if err := t.row(f.Rows[i].PaneStart, &f.Rows[i]); err != nil {
				return err
			}
		}
	case "DeadLetterFrame":
		var f schemas.DeadLetterFrame
		if err := f.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range f.Rows {
			if err := t.row(f.Rows[i].OccurredAt, &f.Rows[i]); err != nil {
				return err
			}
		}
	case "Frame":
		var f schemas.Frame
		if err := f.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range f.Segments {
			for _, encoded := range f.Segments[i].Events {
				var e schemas.Event
				if _, err := e.DecodeAvro(encoded); err != nil {
					continue // its processor makes it a dead letter
				}
				if err := t.row(e.OccurredAt, &e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t *tail) row(occurredAt int64, r interface{ AppendJSON([]byte) []byte }) error {
	if occurredAt < t.since {
		return nil
	}
	t.line = append(r.AppendJSON(t.line[:0]), '\n')
	for _, w := range t.where {
		if gjson.GetBytes(t.line, w[0]).String() != w[1] {
			return nil
		}
	}
	if _, err := t.out.Write(t.line); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}
