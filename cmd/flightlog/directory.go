package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

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

func readDirectory(name string) ([]byte, *directory.Directory, error) {
	text, err := readConfiguration(name)
	if err != nil {
		return nil, nil, err
	}
	d, err := directory.Parse(text)
	return text, d, err
}

func directoryCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say every fault of a directory file",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, d, err := readDirectory(args[0])
			if err == nil {
				_, err = fmt.Fprintf(c.OutOrStdout(), "%d people and domains\n", d.Len())
			}
			return err
		},
	}
}

func directoryApplyCommand() *cobra.Command {
	var at place
	var asJSON bool
	c := &cobra.Command{
		Use:     "apply FILE",
		Short:   "Make a file the next version of the directory, in force in a minute",
		Example: `  flightlog directory apply teams.csv`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, _, err := readDirectory(args[0])
			if err != nil {
				return err
			}
			in, err := at.open(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			return applyText(c.Context(), c, in.broker, "directory", text, asJSON)
		},
	}
	at.flags(c)
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
				if _, d, err = readDirectory(file); err != nil {
					return err
				}
			} else {
				in, err := at.look(c.Context())
				if err != nil {
					return err
				}
				defer in.Close()
				all, err := configurations(c.Context(), in.broker, "directory")
				if err != nil {
					return err
				}
				last := newestOf(all)
				if last == nil {
					return fmt.Errorf("no directory was applied: 'flightlog directory apply FILE' comes first")
				}
				if d, err = directory.Parse(last.Text); err != nil {
					return err
				}
				version = last.Version
			}
			team, billing := d.Find(args[0], when)
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"user": args[0], "at": time.UnixMicro(when).UTC(), "team": team, "billing": billing.String(), "version": version})
			}
			if team == "" {
				team = "no team"
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s, billing %s\n", args[0], team, billing)
			return err
		},
	}
	at.flags(c)
	c.Flags().StringVar(&day, "at", "", "time to say it for: a day (UTC) or a time (default now)")
	c.Flags().StringVar(&file, "file", "", "look in this file instead of the version that was applied last")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
