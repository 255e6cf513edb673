package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/schemas"
)

func rulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rules",
		Short: "What the detectors go by: show, check, explain, apply",
		Long: `The rules say what the detectors look for and from which threshold on, everywhere
(defaults) and where it differs (overrides by repo, workflow and work_kind):

  defaults:
    owner: "#platform"
    long_approval: {after: 10m}
    protected_path:
      classes:
        payments: {severity: critical, paths: ["src/payments/**"]}
  overrides:
    - name: build tools
      match: {repo: github.com/acme/build-*}
      owner: "#build"
      protected_path: {classes: {ci: {severity: low}}}

* stands for anything without a slash, ** for anything. Of several overrides the
most specific wins, setting by setting: repo weighs more than workflow, that more
than work_kind; an exact name more than a pattern, a longer pattern more than a
shorter one; of equals the later one. What no rule says is as 'flightlog rules
show --builtin' has it.`,
	}
	c.AddCommand(rulesShowCommand(), rulesCheckCommand(), rulesExplainCommand(), rulesApplyCommand())
	return family(c)
}

// readRules reads a file that can be applied.
func readRules(name string) ([]byte, *detectors.Rules, error) {
	text, err := readConfiguration(name)
	if err != nil {
		return nil, nil, err
	}
	if err := fits(name, text); err != nil {
		return nil, nil, err
	}
	r, err := detectors.Parse(text, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use %s (line:column):\n%w", name, err)
	}
	return text, r, nil
}

// appliedRules are the newest rules, the built-in ones if none were applied, and
// their text. A text that is none counts as the version before it, as it does for
// findings.
func appliedRules(ctx context.Context, b broker.Broker) (*detectors.Rules, []byte, error) {
	all, err := configurations(ctx, b, "rules")
	for _, c := range slices.Backward(all) {
		r, fault := detectors.Parse(c.Text, c.Version)
		if fault == nil {
			return r, c.Text, err
		}
		slog.Warn("a version of the rules cannot be used, the one before it counts", "version", c.Version, "error", fault)
	}
	return detectors.Builtin(), detectors.Defaults(), err
}

// rulesInForce are those of a file, else those that were applied, else the
// built-in ones.
func rulesInForce(ctx context.Context, at *place, file string) (*detectors.Rules, []byte, error) {
	if file != "" {
		text, r, err := readRules(file)
		return r, text, err
	}
	in, err := at.lookIfAny(ctx)
	if err != nil {
		return nil, nil, err
	}
	if in == nil {
		return detectors.Builtin(), detectors.Defaults(), nil
	}
	defer in.Close()
	return appliedRules(ctx, in.broker)
}

func rulesShowCommand() *cobra.Command {
	var at place
	var builtin bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Print the rules that were applied last, or the built-in ones",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			text := detectors.Defaults()
			if !builtin {
				var err error
				if _, text, err = rulesInForce(c.Context(), &at, ""); err != nil {
					return err
				}
			}
			_, err := c.OutOrStdout().Write(text)
			return err
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&builtin, "builtin", false, "the built-in rules, whatever was applied")
	return c
}

func rulesCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say every mistake of a rules file, with line and column",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, _, err := readRules(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: no mistakes\n", args[0])
			return err
		},
	}
}

func rulesExplainCommand() *cobra.Command {
	var at place
	var of detectors.Place
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain --repo R [--workflow W] [--work-kind K]",
		Short: "Say which thresholds hold at a place, and why",
		Example: `  flightlog rules explain --repo github.com/acme/shop
  flightlog rules explain --repo github.com/acme/shop --workflow release --rules rules.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, ok := schemas.ParseWorkKind(of.WorkKind); of.WorkKind != "" && !ok {
				return fmt.Errorf("cannot use --work-kind %q: want bugfix, feature, test, docs, migration, chore or unknown", of.WorkKind)
			}
			if of == (detectors.Place{}) {
				return errors.New("give --repo, --workflow or --work-kind")
			}
			r, _, err := rulesInForce(c.Context(), &at, file)
			if err != nil {
				return err
			}
			return printSettings(c.OutOrStdout(), r, of, asJSON)
		},
	}
	at.flags(c)
	c.Flags().StringVar(&of.Repo, "repo", "", "repository (host/owner/name)")
	c.Flags().StringVar(&of.Workflow, "workflow", "", "workflow")
	c.Flags().StringVar(&of.WorkKind, "work-kind", "", "kind of work")
	c.Flags().StringVar(&file, "rules", "", "rules of this file instead of those in force")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printSettings(out io.Writer, r *detectors.Rules, of detectors.Place, asJSON bool) error {
	all := r.Explain(of)
	if asJSON {
		return printJSON(out, map[string]any{"version": r.Version(), "repo": of.Repo, "workflow": of.Workflow, "work_kind": of.WorkKind, "settings": all})
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, printable(s.Value), printable(s.From))
	}
	return w.Flush()
}

func rulesApplyCommand() *cobra.Command {
	var at place
	var asJSON bool
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make a file the next version of the rules, in force in a minute",
		Long: `Makes a file the next version of the rules. It holds for what is appended from a
minute on; every finding names the version that it was found by. Try it before:
'flightlog backtest --rules FILE'.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, _, err := readRules(args[0])
			if err != nil {
				return err
			}
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			return applyText(c.Context(), c, in.broker, "rules", text, asJSON)
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
