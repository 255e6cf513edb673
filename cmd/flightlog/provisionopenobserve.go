package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	deployed "github.com/flightlog/flightlog/deploy/openobserve"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
)

// openobserveLayout is what provision openobserve is told beside the place.
type openobserveLayout struct {
	openobserveFlags
	openobserve.Layout
	generation             int64
	dryRun, asJSON         bool
	remove, withData, sure bool
}

func provisionOpenObserveCommand() *cobra.Command {
	var l openobserveLayout
	c := &cobra.Command{
		Use:   "openobserve",
		Short: "Make or change the streams and dashboards in OpenObserve, or take them away",
		Long: `Makes what the rows need in OpenObserve: a stream for each topic, with the types
of its columns, and the dashboard "Flightlog overview" in a folder of its own. What
is there is brought up to this release. Prints every change with what differs,
before it makes it; with --dry-run it makes none. Run again it changes nothing.

A dashboard that was edited is brought back to its file: copy it to keep edits. One
of the same title that this command did not make is left alone. It probes how old
rows may be (ZO_INGEST_ALLOWED_UPTO) and says how to raise that.

--remove takes away the dashboards, and the folder once it is empty; with
--with-data and --yes also the streams with all their rows.`,
		Example: `  flightlog provision openobserve --openobserve https://o2.internal \
    --openobserve-admin-user admin@example.com --openobserve-admin-password-file password \
    --passcode-file passcode --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return l.run(c.Context(), c.OutOrStdout()) },
	}
	l.flags(c)
	f := c.Flags()
	f.Int64Var(&l.generation, "generation", 1, "generation of the rows: each has streams and a dashboard of its own")
	f.StringSliceVar(&l.Topics, "topics", delivery.Topics, "topics that have a stream")
	f.IntVar(&l.RetentionDays, "retention-days", 0, fmt.Sprintf("days that the streams keep rows (default: %d, or what is there if it is longer)", openobserve.DefaultRetentionDays))
	f.StringVar(&l.PasscodeFile, "passcode-file", "", "write the admin account's ingestion passcode into this file, for 'flightlog sink openobserve': it is good for sending rows only")
	f.BoolVar(&l.dryRun, "dry-run", false, "only print what would be changed")
	f.BoolVar(&l.asJSON, "json", false, "print the changes as JSON")
	f.BoolVar(&l.remove, "remove", false, "take away what this command made, but no rows")
	f.BoolVar(&l.withData, "with-data", false, "with --remove: delete the streams, too, with all their rows")
	f.BoolVar(&l.sure, "yes", false, "with --with-data: the rows may be lost for good")
	return c
}

// check reports what does not go together.
func (l *openobserveLayout) check() error {
	var errs []error
	if l.url == "" {
		errs = append(errs, errors.New("give --openobserve, the URL of the server"))
	}
	if l.adminUser == "" {
		errs = append(errs, errors.New("give --openobserve-admin-user, and its password by --openobserve-admin-password-file or "+openobserveAdminPassword))
	}
	if l.generation < 1 {
		errs = append(errs, fmt.Errorf("generation: %d: must be 1 or more", l.generation))
	}
	if l.withData && !l.remove {
		errs = append(errs, errors.New("--with-data goes with --remove only"))
	}
	if l.PasscodeFile != "" && sameFile(l.PasscodeFile, l.adminPasswordFile) {
		errs = append(errs, errors.New("--passcode-file must be another file than --openobserve-admin-password-file, which it would replace"))
	}
	if l.remove && l.PasscodeFile != "" {
		errs = append(errs, errors.New("--passcode-file does not go with --remove: delete the file yourself"))
	}
	return errors.Join(errs...)
}

// sameFile tells whether two names are of one file that exists.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}

func (l *openobserveLayout) run(ctx context.Context, out io.Writer) error {
	if err := l.check(); err != nil {
		return err
	}
	config := l.config(l.generation)
	if err := config.Validate(); err != nil {
		return fmt.Errorf("cannot use OpenObserve: %w", err)
	}
	if config.InClear() {
		slog.Warn("the password goes to OpenObserve unencrypted: use https", "url", config.URL)
	}
	files := deployed.Dashboards()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		l.Dashboards = append(l.Dashboards, files[name])
	}
	shown := []openobserve.Change{}
	show := func(c openobserve.Change) {
		shown = append(shown, c)
		if !l.asJSON {
			fmt.Fprintln(out, c)
		}
	}
	err := l.apply(ctx, config, show)
	switch {
	case l.asJSON:
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = errors.Join(err, encoder.Encode(shown))
	case err == nil && !slices.ContainsFunc(shown, func(c openobserve.Change) bool { return c.Makes() }):
		fmt.Fprintln(out, "nothing to change")
	}
	return err
}

// errNotSure: rows would be lost that nobody has given up yet.
var errNotSure = errors.New("nothing was removed: --with-data deletes the rows for good; give --yes, too")

// apply shows what is to be done and does it, if it shall.
func (l *openobserveLayout) apply(ctx context.Context, config openobserve.Config, show func(openobserve.Change)) error {
	ask := l.remove && l.withData && !l.sure
	switch {
	case l.remove && !l.dryRun && !ask:
		return openobserve.Remove(ctx, config, l.Layout, l.withData, show)
	case !l.remove && !l.dryRun:
		return openobserve.Provision(ctx, config, l.Layout, show)
	}
	var changes []openobserve.Change
	var err error
	if l.remove {
		changes, err = openobserve.PlanRemoval(ctx, config, l.Layout, l.withData)
	} else {
		changes, err = openobserve.Plan(ctx, config, l.Layout)
	}
	for _, c := range changes {
		show(c)
	}
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(changes, func(c openobserve.Change) bool { return c.Action == openobserve.Problem }):
		return openobserve.ErrProblems
	case ask && !l.dryRun && slices.ContainsFunc(changes, func(c openobserve.Change) bool { return c.Makes() }):
		return errNotSure
	}
	return nil
}
