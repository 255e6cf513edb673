package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func provisionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "provision",
		Short: "Make what Flightlog needs elsewhere: broker, openobserve",
	}
	c.AddCommand(provisionBrokerCommand(), provisionOpenObserveCommand())
	return family(c)
}

// defaultPartitions of a broker that several machines use (DESIGN §3).
const defaultPartitions = 16

// brokerLayout is what provision broker is told beside the place.
type brokerLayout struct {
	partitions, replicas int
	eventsAge, rowsAge   time.Duration
	commitsAge           time.Duration
	eventsBytes          int64
	dryRun               bool
}

func provisionBrokerCommand() *cobra.Command {
	var at place
	var l brokerLayout
	c := &cobra.Command{
		Use:   "broker",
		Short: "Make or change the streams, buckets and topics of an installation",
		Long: `Makes what an installation needs on a broker, and brings what an earlier release
made up to this one. Prints every change; with --dry-run it makes none. Run again
it changes nothing but what the flags say otherwise.

The number of partitions is fixed for the life of a generation.`,
		Example: `  flightlog provision broker --broker nats://127.0.0.1:4222 --replicas 3 --dry-run`,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return provisionBroker(c.Context(), c, &at, l) },
	}
	at.brokerFlags(c)
	f := c.Flags()
	f.IntVar(&l.partitions, "partitions", 0, "partitions of every topic (default: 16, or what is there)")
	f.IntVar(&l.replicas, "replicas", 0, "replicas of everything (default: 1, or what is there)")
	f.DurationVar(&l.eventsAge, "events-age", 0, "how long events are kept (default: 720h, or what is there)")
	f.DurationVar(&l.rowsAge, "rows-age", 0, "how long rows are kept (default: 1080h, or what is there)")
	f.DurationVar(&l.commitsAge, "commits-age", 0, "Kafka: how long every commit stays readable for 'flightlog verify' (default: until it is compacted)")
	f.Int64Var(&l.eventsBytes, "events-bytes", 0, "NATS: size at which the topic of events refuses more (default: the disk's)")
	f.BoolVar(&l.dryRun, "dry-run", false, "only print what would be changed")
	return c
}

func provisionBroker(ctx context.Context, c *cobra.Command, at *place, l brokerLayout) error {
	if at.broker == "" {
		return fmt.Errorf("give --broker; the broker of a data folder provisions itself")
	}
	if l.partitions == 0 {
		l.partitions = defaultPartitions
		if in, err := at.connect(ctx); err == nil {
			l.partitions, err = in.broker.Partitions(ctx)
			in.Close()
			if err != nil {
				return err
			}
		}
	}
	plan, provision, err := at.provisioner(l)
	if err != nil {
		return err
	}
	changes, err := plan(ctx)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		fmt.Fprintln(c.OutOrStdout(), "nothing to change")
		return nil
	}
	fmt.Fprintln(c.OutOrStdout(), strings.Join(changes, "\n"))
	if l.dryRun {
		return nil
	}
	return provision(ctx)
}
