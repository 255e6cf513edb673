package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/reference"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/verify"
)

func verifyCommand() *cobra.Command {
	var at place
	var v verification
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove from the logs that nothing was lost, doubled or changed",
		Long: `Reads the logs and proves what the pipeline promises, also while it runs: the
commits of every partition are one chain; every record of the input was folded
and counted (in = applied + duplicate + dead + passed); the topics hold what the
commits said, once and in order, byte by byte; every row keeps the rules of
signed rows; no sequence number of a producer is missing; and folding again what
was folded gives the same bytes.

It ends with exit code 1 when it finds a violation, and changes nothing. Where
the first commits were purged it reads the newest snapshot as a new worker does;
rows that a dead worker has left unrouted are then routed.`,
		Example: `  flightlog verify
  flightlog verify --broker nats://nats.internal:4222 --json > report.json
  flightlog verify --settled --reference prices.json   # after a test run: checks A and B`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			return v.run(c.Context(), in.broker, c.OutOrStdout())
		},
	}
	at.flags(c)
	f := c.Flags()
	f.BoolVar(&v.json, "json", false, "print the report as JSON")
	f.BoolVar(&v.noReplay, "no-replay", false, "do not fold again (check A), which takes most of the time")
	f.BoolVar(&v.settled, "settled", false, "nobody sends or works any more: what is not folded or not routed is a violation")
	f.StringVar(&v.prices, "reference", "", "compare the rows with a plain reference too (check B), priced by this file; all sessions must have ended, and all events be held and fit in memory")
	return c
}

// verification is what the flags of verify say.
type verification struct {
	json, noReplay, settled bool
	prices                  string // file of prices for check B; empty = without it
}

// run verifies, and prints the report. It returns an error when there are
// violations.
func (v *verification) run(ctx context.Context, b broker.Broker, out io.Writer) error {
	var report *verify.Report
	for i, p := range processors() {
		one, err := v.verify(ctx, b, p)
		if err != nil {
			return err
		}
		if i == 0 {
			report = one
		} else {
			report.Others = append(report.Others, one)
		}
	}
	var err error
	if v.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.WriteText(out)
	}
	if err == nil && !report.Clean() {
		err = fmt.Errorf("%d violations", report.Total())
	}
	return err
}

// verify verifies one processor.
func (v *verification) verify(ctx context.Context, b broker.Broker, p engine.Processor) (*verify.Report, error) {
	o := verify.Options{Processor: p.Name(), Input: engine.InputOf(p), Settled: v.settled, Progress: func(partition int, commits int64) {
		slog.Debug("verified", "processor", p.Name(), "partition", partition, "commits", commits)
	}}
	if !v.noReplay {
		o.Folds = map[int64]engine.Processor{p.Version(): p}
	}
	if v.prices != "" && p.Name() == "sessions" {
		text, err := os.ReadFile(v.prices)
		if err != nil {
			return nil, fmt.Errorf("cannot read the prices of the reference: %w", err)
		}
		o.Reference = referenceCheck(text)
	}
	return verify.Run(ctx, b, o)
}

// referenceCheck is check B: the rows that the topics end with are those of a
// plain reference, and so are the signed sums.
func referenceCheck(prices []byte) func(context.Context, broker.Broker) ([]string, error) {
	return func(ctx context.Context, b broker.Broker) ([]string, error) {
		batch, err := reference.Configured(ctx, b, prices)
		if err != nil {
			return nil, err
		}
		events, err := reference.Events(ctx, b)
		if err != nil {
			return nil, err
		}
		published, err := reference.Published(ctx, b)
		if err != nil {
			return nil, err
		}
		want := batch.Rows(events)
		got, differences := reference.Final(published)
		differences = append(differences, reference.Compare(want, got)...)
		return append(differences, reference.CompareSums(reference.Sums(want), reference.Sums(published))...), nil
	}
}
