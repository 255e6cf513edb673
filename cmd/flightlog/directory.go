package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/directory"
)

func directoryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "directory",
		Short: "Who belongs to which team, and who pays how, since when: find, check, apply, restate",
		Long: `The directory says for each person which team they belonged to at a time, and who
paid how (billing: api, cloud, subscription). It is a CSV file:

  user,team,billing,from,to
  ada@example.com,checkout,,,2026-10-01
  ada@example.com,payments,,2026-10-01,
  *@example.com,,subscription,,
  *,,api,,

user is as in the column user of rows; *@domain stands for all of a domain, * for
everybody. from and to are days (UTC), to exclusive, empty = open. Nobody stands
in two lines of one time; what a line leaves empty, the next wider one says.

A row bears the team of the time at which it happened, by the version in force
when it was first told of; who is in no line has the team that the client's own
settings name, or none.`,
	}
	c.AddCommand(directoryFindCommand(), directoryCheckCommand(), directoryApplyCommand(), restateCommand("directory", "team or billing"))
	return family(c)
}

// readDirectory reads a file that can be applied. One without a line can only if
// that is allowed.
func readDirectory(name string, allowEmpty bool) ([]byte, *directory.Directory, error) {
	text, err := readConfiguration(name)
	if err != nil {
		return nil, nil, err
	}
	if err := fits(name, text); err != nil {
		return nil, nil, err
	}
	d, err := directory.Parse(text)
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", name, err)
	case d.Len() == 0 && !allowEmpty:
		err = fmt.Errorf("%s has no line, so that nobody is in a team: 'flightlog directory apply --allow-empty' takes it", name)
	}
	return text, d, err
}

// appliedDirectory is the newest version, nil and 0 if there is none. A text
// that is none counts as the version before it, as it does for rows.
func appliedDirectory(ctx context.Context, b broker.Broker) (*directory.Directory, int64, error) {
	all, err := configurations(ctx, b, "directory")
	for _, c := range slices.Backward(all) {
		d, fault := directory.Parse(c.Text)
		if fault == nil {
			return d, c.Version, err
		}
		slog.Warn("a version of the directory cannot be used, the one before it counts", "version", c.Version, "error", fault)
	}
	return nil, 0, err
}

func directoryCheckCommand() *cobra.Command {
	var at place
	var asJSON bool
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Say every fault of a directory file, and what it would change",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, d, err := readDirectory(args[0], false)
			if err != nil {
				return err
			}
			var before *directory.Directory
			var version int64
			in, err := at.lookIfAny(c.Context())
			if err != nil {
				return err
			}
			if in != nil {
				defer in.Close()
				if before, version, err = appliedDirectory(c.Context(), in.broker); err != nil {
					return err
				}
			}
			return printDirectoryChange(c.OutOrStdout(), before, version, d, asJSON)
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with all names")
	return c
}

// printDirectoryChange says who is new, left or changed.
func printDirectoryChange(out io.Writer, before *directory.Directory, version int64, after *directory.Directory, asJSON bool) error {
	change := after.Since(before)
	if asJSON {
		return printJSON(out, struct {
			Against int64 `json:"against_version"` // 0 = nothing was applied
			Listed  int   `json:"listed"`
			directory.Change
		}{version, after.Len(), change})
	}
	against := "no directory was applied"
	if version > 0 {
		against = fmt.Sprintf("against version %d", version)
	}
	fmt.Fprintf(out, "%d people and domains; %s: %d added, %d removed, %d changed\n", after.Len(), against, len(change.Added), len(change.Removed), len(change.Changed))
	const most = 20
	for _, kind := range []struct {
		what  string
		names []string
	}{{"added", change.Added}, {"removed", change.Removed}, {"changed", change.Changed}} {
		for _, name := range kind.names[:min(most, len(kind.names))] {
			fmt.Fprintf(out, "  %s %s\n", kind.what, printable(name))
		}
		if more := len(kind.names) - most; more > 0 {
			fmt.Fprintf(out, "  %s, and %d more\n", kind.what, more)
		}
	}
	return nil
}

func directoryApplyCommand() *cobra.Command {
	var at place
	var dryRun, allowEmpty, asJSON bool
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make a file the next version of the directory, in force in a minute",
		Example: `  flightlog directory apply teams.csv --dry-run
  flightlog directory apply teams.csv`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, d, err := readDirectory(args[0], allowEmpty)
			if err != nil {
				return err
			}
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			if dryRun {
				before, version, err := appliedDirectory(c.Context(), in.broker)
				if err != nil {
					return err
				}
				return printDirectoryChange(c.OutOrStdout(), before, version, d, asJSON)
			}
			return applyText(c.Context(), c, in.broker, "directory", text, asJSON)
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	c.Flags().BoolVar(&allowEmpty, "allow-empty", false, "take a file without a line: nobody is in a team any more")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func directoryFindCommand() *cobra.Command {
	var at place
	var day, file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "find USER",
		Short: "Say team and billing of a person at a time",
		Example: `  flightlog directory find ada@example.com --at 2026-09-30
  flightlog directory find ada@example.com --file teams.csv`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			moment := time.Now()
			if day != "" {
				var err error
				if moment, err = parseTime("at", day); err != nil {
					return err
				}
			}
			when := moment.UnixMicro()
			var d *directory.Directory
			version := int64(0)
			if file != "" {
				var err error
				if _, d, err = readDirectory(file, true); err != nil {
					return err
				}
			} else {
				in, err := at.look(c.Context())
				if err != nil {
					return err
				}
				defer in.Close()
				if d, version, err = appliedDirectory(c.Context(), in.broker); err != nil {
					return err
				}
				if version == 0 {
					return notApplied("directory")
				}
			}
			team, billing := d.Find(args[0], when)
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"user": args[0], "at": time.UnixMicro(when).UTC(), "team": team, "billing": billing.String(), "version": version})
			}
			if team == "" {
				team = "no team (rows then have the team that the client's own settings name, if any)"
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s, billing %s\n", printable(args[0]), printable(team), billing)
			return err
		},
	}
	at.flags(c)
	c.Flags().StringVar(&day, "at", "", "time to say it for: a day (UTC) or a time (default now)")
	c.Flags().StringVar(&file, "file", "", "look in this file instead of the version that was applied last")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
