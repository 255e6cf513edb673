package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// Prices and directory are configuration: versions in the topic config that
// partitions are pointed to (DESIGN §5).

// maxConfiguration is the most that a file of ours may hold, bytes.
const maxConfiguration = 16 << 20

// readConfiguration reads a file that a person wrote; "-" is standard input.
func readConfiguration(name string) ([]byte, error) {
	in := os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxConfiguration+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfiguration {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxConfiguration>>20)
	}
	return text, nil
}

// configurations are the versions of a kind that were applied, oldest first.
func configurations(ctx context.Context, b broker.Broker, kind string) (all []schemas.Config, err error) {
	seen := map[int64]bool{}
	err = engine.Configs(ctx, b, func(c *schemas.Config) {
		if c.Kind == kind && !seen[c.Version] {
			seen[c.Version] = true
			all = append(all, *c)
		}
	})
	if err != nil {
		err = fmt.Errorf("cannot read which %s were applied: %w", kind, err)
	}
	return all, err
}

// newestOf is the last version, nil if there is none.
func newestOf(all []schemas.Config) *schemas.Config {
	if len(all) == 0 {
		return nil
	}
	return &all[len(all)-1]
}

// operator is who applies something.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// applyText applies a text and says what came of it.
func applyText(ctx context.Context, c *cobra.Command, b broker.Broker, kind string, text []byte, asJSON bool) error {
	version, missed, err := engine.ApplyConfig(ctx, b, kind, text, operator(), time.Now().UnixMicro())
	if err != nil {
		if len(missed) > 0 {
			err = fmt.Errorf("%w; apply it again: partitions that know it stay as they are", err)
		}
		return err
	}
	all, err := configurations(ctx, b, kind)
	if err != nil {
		return err
	}
	in := newestOf(all)
	effective := time.UnixMicro(in.EffectiveAt).UTC()
	if asJSON {
		return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"kind": kind, "version": version, "effective_at": effective, "bytes": len(text)})
	}
	when := "in force since " + effective.Format(time.RFC3339)
	if left := time.Until(effective); left > 0 {
		when = fmt.Sprintf("in force in %v, for what is appended from %s on", left.Round(time.Second), effective.Format(time.RFC3339))
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s: version %d, %s\nwhat was told before stays as it is; 'flightlog %s restate --since DAY' says it anew\n", kind, version, when, kind)
	return err
}

// restateCommand asks for signed corrections by the newest version of a kind.
func restateCommand(kind, what string) *cobra.Command {
	var at place
	var since, reason string
	var version int64
	var asJSON bool
	c := &cobra.Command{
		Use:   "restate --since DAY --reason TEXT",
		Short: "Say earlier facts anew by the newest version, as signed corrections",
		Long: `Asks the processors to say every fact that occurred since a day anew by the newest
version that was applied (or by --version), where that makes a difference to ` + what + `.

Nothing is overwritten: each change is a row that takes the earlier one back and
a new one, with the reason in the column restatement, so that a report as of
before still shows what it showed. Sessions that have left the state are brought
back for it. It ends when everything is said; a version that is applied later
holds for facts that come later, and for these only if they are restated again.`,
		Example: `  flightlog ` + kind + ` restate --since 2026-11-01 --reason "contract signed late"`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if since == "" || reason == "" {
				return errors.New("give --since and --reason")
			}
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			r := engine.Restatement{Kind: kind, Version: version, Since: from, Reason: reason}
			return in.restate(c.Context(), c, r, asJSON)
		},
	}
	at.flags(c)
	c.Flags().StringVar(&since, "since", "", "facts that occurred since then: a day (2026-11-01, UTC), a time, or a duration (90m)")
	c.Flags().StringVar(&reason, "reason", "", "why, in a few words; rows show it")
	c.Flags().Int64Var(&version, "version", 0, "version to go by (default: the newest)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// restate waits until the version is in force, asks, and waits until all is
// said.
func (in *installation) restate(ctx context.Context, c *cobra.Command, r engine.Restatement, asJSON bool) error {
	all, err := configurations(ctx, in.broker, r.Kind)
	if err != nil {
		return err
	}
	by := newestOf(all)
	for i := range all {
		if all[i].Version == r.Version {
			by = &all[i]
		}
	}
	switch {
	case by == nil:
		return fmt.Errorf("no %s were applied: 'flightlog %s apply' comes first", r.Kind, r.Kind)
	case r.Version != 0 && by.Version != r.Version:
		return fmt.Errorf("there is no version %d of %s: the newest is %d", r.Version, r.Kind, by.Version)
	}
	r.Version = by.Version
	if left := time.Until(time.UnixMicro(by.EffectiveAt)); left > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "version %d takes effect in %v, waiting\n", by.Version, left.Round(time.Second))
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stop(nil) // before the wait
	if in.server != nil {
		workers.Go(func() {
			if err := in.process(ctx, nil); err != nil {
				stop(err)
			}
		})
	}
	started := time.Now()
	positions, err := engine.Restate(ctx, in.broker, r)
	if err != nil {
		return fmt.Errorf("%w; ask again: what is said is not said twice", err)
	}
	for p, position := range positions {
		if err := in.settledPartition(ctx, p, schemas.LaneCritical, int64(position)); err != nil {
			return fmt.Errorf("partition %d was asked, and goes on without this command: %w", p, cause(ctx, err))
		}
		fmt.Fprintf(c.ErrOrStderr(), "partition %d of %d is restated\n", p+1, len(positions))
	}
	if asJSON {
		return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"kind": r.Kind, "version": r.Version,
			"since": time.UnixMicro(r.Since).UTC(), "reason": r.Reason, "seconds": time.Since(started).Seconds()})
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "restated by version %d of %s what occurred since %s, in %v\n", r.Version, r.Kind,
		time.UnixMicro(r.Since).UTC().Format(time.RFC3339), time.Since(started).Round(time.Millisecond))
	return err
}
