package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// Prices and directory are configuration: versions in the topic config that
// partitions are pointed to (DESIGN §5).

const (
	maxConfigurationFile = 16 << 20 // bytes of a file that is read
	maxReason            = 256      // bytes of a restatement's reason
)

// readConfiguration reads a file that a person wrote; "-" is standard input.
func readConfiguration(name string) ([]byte, error) {
	if name == "-" {
		return readAll(os.Stdin, name, maxConfigurationFile)
	}
	return readFile(name, maxConfigurationFile)
}

// readFile reads a file of at most some bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, limit)
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, limit>>20)
	}
	return text, nil
}

// fits is an error for a text that is too long to be applied.
func fits(what string, text []byte) error {
	if len(text) > engine.MaxConfig {
		return fmt.Errorf("%s has %d bytes, may have %d", what, len(text), engine.MaxConfig)
	}
	return nil
}

// lookIfAny is look, and nil where the data folder has no data yet.
func (p *place) lookIfAny(ctx context.Context) (*installation, error) {
	if p.broker == "" {
		folder, err := dataFolder(p.data)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(folder, "broker")); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return p.look(ctx)
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

// applyText applies a text and says what came of it. The same text once more
// points partitions to its version that were missed.
func applyText(ctx context.Context, c *cobra.Command, b broker.Broker, kind string, text []byte, asJSON bool) error {
	before, err := configurations(ctx, b, kind)
	if err != nil {
		return err
	}
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
	effective := time.UnixMicro(newestOf(all).EffectiveAt).UTC()
	last := newestOf(before)
	isNew := last == nil || last.Version != version
	if asJSON {
		return printJSON(c.OutOrStdout(), map[string]any{"kind": kind, "version": version, "new": isNew, "effective_at": effective, "bytes": len(text)})
	}
	left := time.Until(effective)
	switch since := effective.Format(time.RFC3339); {
	case !isNew && left > 0:
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s: nothing new: version %d, in force in %v\n", kind, version, left.Round(time.Second))
	case !isNew:
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s: nothing new: version %d since %s\n", kind, version, since)
	default:
		_, err = fmt.Fprintf(c.OutOrStdout(), `%s: version %d, in force in %v, for what is appended from %s on
what was told before stays as it is; 'flightlog %s restate --since DAY' says it anew
`, kind, version, max(0, left).Round(time.Second), since, kind)
	}
	return err
}

// restateCommand asks for signed corrections by the newest version of a kind.
func restateCommand(kind, what string) *cobra.Command {
	var at place
	var since, reason string
	var asJSON bool
	c := &cobra.Command{
		Use:   "restate --since DAY --reason TEXT",
		Short: "Say earlier facts anew by the newest version, as signed corrections",
		Long: `Asks the processors to say every fact that occurred since a day anew by the newest
version that was applied, where that makes a difference to ` + what + `.

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
			if len(reason) > maxReason {
				return fmt.Errorf("--reason has %d bytes, may have %d", len(reason), maxReason)
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
			return in.restate(c.Context(), c, engine.Restatement{Kind: kind, Since: from, Reason: reason, Asked: time.Now().UnixMicro()}, asJSON)
		},
	}
	at.flags(c)
	c.Flags().StringVar(&since, "since", "", "facts that occurred since then: a day (2026-11-01, UTC), a time, or a duration (90m)")
	c.Flags().StringVar(&reason, "reason", "", "why, in a few words (256 bytes); rows show it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// notApplied tells that no version of a kind was applied.
func notApplied(kind string) error {
	verb := "was"
	if kind == "prices" {
		verb = "were"
	}
	return fmt.Errorf("no %s %s applied: 'flightlog %s apply' comes first", kind, verb, kind)
}

// restate waits until the newest version is in force, asks, and waits until all
// is said.
func (in *installation) restate(ctx context.Context, c *cobra.Command, r engine.Restatement, asJSON bool) error {
	all, err := configurations(ctx, in.broker, r.Kind)
	if err != nil {
		return err
	}
	by := newestOf(all)
	if by == nil {
		return notApplied(r.Kind)
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
	if in.server != nil {
		var stop func()
		ctx, stop = in.processBeside(ctx)
		defer stop()
	}
	started := time.Now()
	before, err := ends(ctx, in.broker, broker.Enriched)
	if err != nil {
		return err
	}
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
	rows, err := in.restatedSince(ctx, before, r.String())
	if err != nil {
		return fmt.Errorf("all is restated, but cannot count how many rows: %w", err)
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), map[string]any{"kind": r.Kind, "version": r.Version, "since": time.UnixMicro(r.Since).UTC(),
			"reason": r.Reason, "rows": rows, "seconds": time.Since(started).Seconds()})
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "restated by version %d of %s what occurred since %s, in %v: %d facts have a new row\n", r.Version, r.Kind,
		time.UnixMicro(r.Since).UTC().Format(time.RFC3339), time.Since(started).Round(time.Millisecond), rows)
	return err
}

// ends are the positions of the last messages of a topic's normal lanes, by
// partition.
func ends(ctx context.Context, b broker.Broker, topic string) ([]uint64, error) {
	n, err := b.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	ends := make([]uint64, n)
	for p := range ends {
		if ends[p], err = b.End(ctx, broker.Log{Topic: topic, Partition: p}); err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// restatedSince counts the rows after some positions that say a fact anew for a
// reason.
func (in *installation) restatedSince(ctx context.Context, after []uint64, why string) (count int, err error) {
	ends, err := ends(ctx, in.broker, broker.Enriched)
	if err != nil {
		return 0, err
	}
	var frame schemas.EnrichedFrame
	seen := map[schemas.Id]bool{} // the topic may hold a row twice
	for p, end := range ends {
		err := delivery.Follow(ctx, in.broker, broker.Log{Topic: broker.Enriched, Partition: p}, after[p], end, func(e delivery.Entry) error {
			if e.Idle {
				return nil
			}
			if err := frame.DecodeMessage(e.Payload); err != nil {
				return err
			}
			for i := range frame.Rows {
				if row := &frame.Rows[i]; row.Sign > 0 && strings.Contains(row.Restatement, why) {
					seen[row.RowId] = true
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return len(seen), nil
}
