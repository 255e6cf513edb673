package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Config of a worker.
type Config struct {
	Broker    broker.Broker
	Processor Processor
	// Owner names this worker in leases, commits and logs. No other worker has
	// the same.
	Owner string
	// Linger is how long a commit waits for more input; 50 ms if 0. What comes
	// on the critical lane waits for nothing.
	Linger time.Duration
	// Watchdog is how long one fold of a slice may take before the process
	// ends itself; 1 min if 0.
	Watchdog time.Duration
	// Clock tells the wall time in µs. It is only a hint for when to write a
	// tick; time.Now if nil.
	Clock func() int64
	// Logger; slog.Default if nil.
	Logger *slog.Logger
	// Metrics, if set, are kept up to date.
	Metrics *Metrics
	// Status, if set, is kept up to date.
	Status *Status
	// Stopped, if set, is told of a partition that cannot be worked on, such as
	// one whose log has lost something: it is left alone, and tried again once a
	// minute, and the others go on. Without it the worker ends with the error.
	Stopped func(partition int, err error)
	// Committed, if set, is told of every commit, on the partition's goroutine.
	Committed func(*schemas.Commit)

	generation int64
	partitions int // of every topic
	configs    *configs
}

func (c *Config) setDefaults() error {
	if c.Broker == nil || c.Processor == nil || c.Owner == "" {
		return errors.New("engine: Broker, Processor and Owner are required")
	}
	if c.Linger == 0 {
		c.Linger = 50 * time.Millisecond
	}
	if c.Watchdog == 0 {
		c.Watchdog = time.Minute
	}
	if c.Clock == nil {
		c.Clock = func() int64 { return time.Now().UnixMicro() }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.generation = c.Broker.Generation()
	c.configs = &configs{broker: c.Broker}
	return nil
}

// Run works on the partitions of the processor that fall to this worker, until
// ctx ends: then it commits what it has folded, finishes the routing and gives
// them up. It returns an error only where going on would be wrong: a broken log,
// or a partition that a newer release of the fold has worked on. An older one
// then leaves all of its partitions to the newer ones.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.setDefaults(); err != nil {
		return err
	}
	name := cfg.Processor.Name()
	cfg.Status.run(true)
	defer cfg.Status.run(false)
	for {
		err := stopped(ctx, cfg.Broker.Share(ctx, name, cfg.Owner, func(ctx context.Context, partition int) error {
			return keep(ctx, cfg, partition)
		}))
		if err == nil {
			return nil
		}
		if !errors.Is(err, broker.ErrRetry) && !errors.Is(err, broker.ErrUnknown) || ctx.Err() != nil {
			return fmt.Errorf("cannot run processor %s: %w", name, err)
		}
		cfg.Logger.Warn("cannot share partitions, trying again", "processor", name, "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// stoppedPause is how long a partition that cannot be worked on is left alone.
const stoppedPause = time.Minute

// keep owns one partition, again and again: every doubt about the ownership
// drops all that was held and acquires anew.
func keep(ctx context.Context, cfg Config, number int) error {
	name := cfg.Processor.Name()
	defer cfg.Status.drop(number)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		started := time.Now()
		err := hold(ctx, cfg, number)
		log := cfg.Logger.With("processor", name, "partition", number)
		switch {
		case ctx.Err() != nil:
			if err != nil {
				log.Warn("partition was not released cleanly", "error", err)
			}
			return nil
		case errors.Is(err, broker.ErrFenced):
			cfg.Metrics.lost(name, number, "fenced")
		case errors.Is(err, broker.ErrUnknown):
			cfg.Metrics.lost(name, number, "unknown")
		case errors.Is(err, broker.ErrRetry):
			cfg.Metrics.lost(name, number, "retry")
		case cfg.Stopped != nil && !errors.Is(err, errOldFold):
			cfg.Metrics.lost(name, number, "stopped")
			cfg.Stopped(number, err)
			wait = stoppedPause
		default:
			return err
		}
		log.Warn("partition is acquired anew", "error", err)
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
	cfg.Status.hold(number, false)
	p, err := open(ctx, cfg, number)
	if err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil && !errors.Is(err, broker.ErrUnknown) {
			return nil // stopped before it was held: there is nothing to release
		}
		return err
	}
	cfg.Status.hold(number, true)
	defer cfg.Metrics.released(p)
	err = p.run(ctx)
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainPatience)
	defer cancel()
	if err == nil {
		err = p.park(release)
	}
	return errors.Join(err, p.owner.Release(release))
}
