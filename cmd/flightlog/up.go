package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/files"
)

func upCommand() *cobra.Command {
	var data, listen, out string
	var generation int64
	var admin string
	var load sinkOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Run the pipeline in one process: broker, processors, sinks",
		Long: `Runs an embedded NATS JetStream with its data in the data folder, the processors,
and a sink that writes the rows of each topic as NDJSON. Stops cleanly on SIGTERM
and Ctrl-C; whatever was committed when it dies is there when it starts again.

With --openobserve it loads the rows into OpenObserve as well, as 'flightlog sink
openobserve' does. Where that cannot go on, because of a wrong password for
example, the rest does; the log and /readyz say so, and it is tried again.

While it runs, 'flightlog import' and 'flightlog tail' on the same data folder
use it. It listens on loopback only.`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{serves: "yes"},
		RunE: func(c *cobra.Command, _ []string) error {
			if load.url != "" {
				if err := load.check(); err != nil {
					return err
				}
			}
			folder, err := dataFolder(data)
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join(folder, "rows")
				if generation > 1 {
					out += fmt.Sprintf("-g%d", generation)
				}
			}
			return up(c.Context(), c, folder, listen, out, admin, generation, load)
		},
	}
	dataFlag(c, &data)
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback address for other flightlog commands on this machine; port 0 = any free one")
	c.Flags().StringVar(&out, "out", "", "folder for the rows (default <data>/rows, or rows-gN of generation N)")
	c.Flags().Int64Var(&generation, "generation", 1, "generation of log, state and rows to run")
	load.flags(c)
	adminFlag(c, &admin)
	return c
}

func up(ctx context.Context, c *cobra.Command, folder, listen, out, adminAddress string, generation int64, load sinkOptions) error {
	in, err := start(ctx, folder, listen, generation)
	if err != nil {
		return err
	}
	defer in.Close()
	sink, err := files.New(out, delivery.Topics...)
	if err != nil {
		return err
	}
	defer sink.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a, err := serveAdmin(ctx, adminAddress)
	if err != nil {
		return err
	}
	defer a.Close()
	// The sink ends after the processors, so that it has their last rows.
	sinkCtx, stopSink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSink()
	var processors, sinks sync.WaitGroup
	sinks.Go(func() {
		if err := sink.Run(sinkCtx, in.broker); err != nil {
			stop(fmt.Errorf("the files sink stopped: %w", err))
		}
	})
	if load.url != "" {
		sinks.Go(func() { in.keepLoading(sinkCtx, load, a) })
	}
	processors.Go(func() {
		if err := in.process(ctx, a); err != nil {
			stop(fmt.Errorf("the sessions processor stopped: %w", err))
		}
	})
	fmt.Fprintf(c.ErrOrStderr(), "flightlog is up: data in %s, rows in %s%s\n", folder, out, a.where())
	<-ctx.Done()
	processors.Wait()
	stopSink()
	sinks.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return sink.Drain(last, in.broker)
}

// keepLoading loads until ctx ends. A store that cannot be loaded does not end
// the recording: it is said, readiness tells, and it is tried again.
func (in *installation) keepLoading(ctx context.Context, load sinkOptions, a *admin) {
	for ctx.Err() == nil {
		err := in.load(ctx, load, a)
		if ctx.Err() != nil {
			return
		}
		slog.Error("nothing is loaded into OpenObserve, the rest goes on; it is tried again in a minute", "error", err)
		a.loading().Fail(err)
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
		}
	}
}
