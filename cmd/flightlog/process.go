package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
)

func processCommand() *cobra.Command {
	var at place
	var admin string
	c := &cobra.Command{
		Use:   "process",
		Short: "Run the processors on a broker, sharing its partitions with others",
		Long: `Runs the processors: events become facts, and facts signed rows on the topics.

Start it as often as you like, on as many machines: the workers share the
partitions among them. When one ends its partitions go to the others, at once
after SIGTERM and within the lease's time + 5 s after a crash; nothing is lost
and nothing said twice. Without --broker it helps the 'flightlog up' that runs
on the data folder.`,
		Example: `  flightlog process --broker nats://nats.internal:4222 --credentials-file worker.creds
  FLIGHTLOG_BROKER=nats://127.0.0.1:4222 flightlog process`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{serves: "yes"},
		RunE: func(c *cobra.Command, _ []string) error {
			return process(c.Context(), c, &at, admin)
		},
	}
	at.flags(c)
	adminFlag(c, &admin)
	return c
}

func process(ctx context.Context, c *cobra.Command, at *place, adminAddress string) error {
	a, err := serveAdmin(ctx, adminAddress)
	if err != nil {
		return err
	}
	defer a.Close()
	began := func() { fmt.Fprintf(c.ErrOrStderr(), "flightlog processes%s\n", a.where()) }
	return serve(ctx, at, began, func(ctx context.Context, in *installation) error { return in.process(ctx, a) })
}

// serve works on an installation until ctx ends (nil). It waits for a broker
// that does not answer yet, and where it has joined an up that ends, for the
// next one. Somebody is told when it begins.
func serve(ctx context.Context, at *place, began func(), work func(ctx context.Context, in *installation) error) error {
	for told := false; ; {
		in, err := reachInTime(ctx, at, told)
		if err != nil {
			return err
		}
		if !told {
			began()
			told = true
		}
		err = workOn(ctx, in, work)
		in.Close()
		if !errors.Is(err, errUpEnded) {
			return err
		}
		slog.Warn("waiting for a new one", "reason", err)
	}
}

// workOn works until ctx ends (nil) or the up that was joined does
// (errUpEnded).
func workOn(ctx context.Context, in *installation, work func(ctx context.Context, in *installation) error) error {
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go in.watch(working, stop)
	err := work(working, in)
	if cause := context.Cause(working); errors.Is(cause, errUpEnded) {
		return cause
	}
	return err
}

// reachInTime waits for a broker that does not answer: a worker may start
// before it, or outlive it.
func reachInTime(ctx context.Context, at *place, outlived bool) (*installation, error) {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		in, err := at.reach(ctx)
		waits := errors.Is(err, broker.ErrRetry) || outlived && errors.Is(err, errNoUp)
		if err == nil || !waits {
			return in, err
		}
		slog.Warn("the broker does not answer, trying again", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
