package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Config of a worker.
type Config struct {
	Broker    broker.Broker
	Processor Processor
	// Owner names this worker in commits and logs.
	Owner string
	// Generation of log, state and rows; 1 if 0.
	Generation int64
	// Linger is how long a commit waits for more input; 50 ms if 0.
	Linger time.Duration
	// Clock tells the wall time in µs. It is only a hint for when to write a
	// tick; time.Now if nil.
	Clock func() int64
	// Logger; slog.Default if nil.
	Logger *slog.Logger
	// Committed, if set, is told of every commit, on the partition's goroutine.
	Committed func(*schemas.Commit)
}

func (c *Config) setDefaults() error {
	if c.Broker == nil || c.Processor == nil || c.Owner == "" {
		return errors.New("engine: Broker, Processor and Owner are required")
	}
	if c.Generation == 0 {
		c.Generation = 1
	}
	if c.Linger == 0 {
		c.Linger = 50 * time.Millisecond
	}
	if c.Clock == nil {
		c.Clock = func() int64 { return time.Now().UnixMicro() }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Run owns every partition of the processor until ctx ends, then commits
// nothing more, finishes the routing and releases them. It returns an error
// only where going on would be wrong: a broken log, a newer fold.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.setDefaults(); err != nil {
		return err
	}
	n, err := cfg.Broker.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("cannot run processor %s: %w", cfg.Processor.Name(), err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := keep(ctx, cfg, i); err != nil {
				stop(err)
			}
		})
	}
	all.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
		return cause
	}
	return nil
}

// keep owns one partition, again and again: every doubt about the ownership
// drops all that was held and acquires anew.
func keep(ctx context.Context, cfg Config, number int) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		started := time.Now()
		err := hold(ctx, cfg, number)
		switch {
		case ctx.Err() != nil:
			if err != nil {
				cfg.Logger.Warn("partition was not released cleanly", "processor", cfg.Processor.Name(), "partition", number, "error", err)
			}
			return nil
		case errors.Is(err, broker.ErrFenced), errors.Is(err, broker.ErrUnknown), errors.Is(err, broker.ErrRetry):
			cfg.Logger.Warn("partition is acquired anew", "processor", cfg.Processor.Name(), "partition", number, "error", err)
		default:
			return err
		}
		if time.Since(started) > time.Minute {
			wait = 50 * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// hold owns one partition once.
func hold(ctx context.Context, cfg Config, number int) error {
	p, err := open(ctx, cfg, number)
	if err != nil {
		return err
	}
	err = p.run(ctx)
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err == nil {
		err = p.park(release)
	}
	return errors.Join(err, p.owner.Release(release))
}
