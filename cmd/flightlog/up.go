package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/sinks/files"
)

func upCommand() *cobra.Command {
	var data, listen, out string
	c := &cobra.Command{
		Use:   "up",
		Short: "Run the pipeline in one process: broker, processors, sinks",
		Long: `Runs an embedded NATS JetStream with its data in the data folder, the processors,
and a sink that writes the rows of each topic as NDJSON. Stops cleanly on SIGTERM
and Ctrl-C; whatever was committed when it dies is there when it starts again.

While it runs, 'flightlog import' and 'flightlog tail' on the same data folder
use it. It listens on loopback only.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			folder, err := dataFolder(data)
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join(folder, "rows")
			}
			return up(c.Context(), c, folder, listen, out)
		},
	}
	dataFlag(c, &data)
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback address for other flightlog commands on this machine; port 0 = any free one")
	c.Flags().StringVar(&out, "out", "", "folder for the rows (default <data>/rows)")
	return c
}

func up(ctx context.Context, c *cobra.Command, folder, listen, out string) error {
	in, err := start(ctx, folder, listen)
	if err != nil {
		return err
	}
	defer in.Close()
	sink, err := files.New(out)
	if err != nil {
		return err
	}
	defer sink.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	run := func(name string, f func() error) {
		parts.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("%s stopped: %w", name, err))
			}
		})
	}
	run("the sessions processor", func() error { return in.process(ctx, nil) })
	run("the files sink", func() error { return sink.Run(ctx, in.broker) })
	fmt.Fprintf(c.ErrOrStderr(), "flightlog is up: data in %s, rows in %s\n", folder, out)
	parts.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
