package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/schemas"
)

func rebuildCommand() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use:   "rebuild --generation N",
		Short: "Make a new generation of state and rows from the events, beside the old one",
		Long: `Folds every event that the broker still holds again, into a generation of its own:
own log, own state, own topics. The old generation is not touched, and stays for
what is older than the events; a reader or dashboard chooses one and never adds
two. This is also the way out when a log was lost or damaged.

It ends when the new generation has come to where the input ended when it began;
run 'flightlog process --generation N' (or up) to keep it going. A rebuild that
was interrupted goes on where it was.`,
		Example: `  flightlog rebuild --broker nats://127.0.0.1:4222 --generation 2`,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return rebuild(c.Context(), c, &at) },
	}
	at.flags(c)
	return c
}

func rebuild(ctx context.Context, c *cobra.Command, at *place) error {
	if at.generation < 2 {
		return errors.New("give --generation: the number of the new one, 2 or more")
	}
	if err := at.provisionGeneration(ctx); err != nil {
		return fmt.Errorf("cannot make generation %d: %w", at.generation, err)
	}
	in, err := at.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	ends, err := ends(ctx, in.broker, broker.Events)
	if err != nil {
		return err
	}
	ctx, stop := in.processBeside(ctx)
	defer stop()
	started := time.Now()
	for p, end := range ends {
		if err := in.settledPartition(ctx, p, schemas.LaneNormal, int64(end)); err != nil {
			return cause(ctx, err)
		}
		fmt.Fprintf(c.ErrOrStderr(), "partition %d of %d is rebuilt\n", p+1, len(ends))
	}
	fmt.Fprintf(c.OutOrStdout(), "generation %d stands, in %v; keep it going with --generation %d\n",
		at.generation, time.Since(started).Round(time.Millisecond), at.generation)
	return nil
}

// provisionGeneration makes the logs of the generation where they are missing.
func (p *place) provisionGeneration(ctx context.Context) error {
	first := *p
	first.generation = 1
	in, err := first.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := in.broker.Partitions(ctx)
	if err != nil {
		return err
	}
	switch {
	case p.broker != "":
		_, provision, err := p.provisioner(brokerLayout{partitions: n})
		if err != nil {
			return err
		}
		return provision(ctx)
	case in.server != nil:
		return jetstream.Provision(ctx, jetstream.Config{InProcess: in.server, Token: in.token, Generation: p.generation}, n)
	}
	a, err := in.address()
	if err != nil {
		return err
	}
	return jetstream.Provision(ctx, jetstream.Config{URL: a.URL, Token: a.Token, Generation: p.generation}, n)
}
