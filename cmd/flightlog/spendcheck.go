package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/processors/spend"
)

// checkedDimensions are those whose sums spend check proves, with every pair of
// them.
var checkedDimensions = []spend.Dimension{spend.User, spend.Team, spend.Repo, spend.Branch, spend.Workflow, spend.WorkKind,
	spend.Task, spend.Model, spend.Skill, spend.AgentRun, spend.Session}

func spendCheckCommand() *cobra.Command {
	var p spendPeriod
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Prove that the sums of a period agree, whatever they are broken down by",
		Long: `Sums the rows of a period by every pair of user, team, repo, branch, workflow,
work_kind, task, model, skill, agent_run and session, and proves that the cells
folded by either of the two are that dimension's own sums, and these the total;
that no cell has money without a request; that every row with sign -1 is the one
that it takes back; and that the state of every fact, without any sign, sums up to
the same cells. It ends with exit code 1 when it finds a fault.`,
		Example: `  flightlog spend check --month 2026-11
  flightlog spend check --month 2026-07 --archive /srv/flightlog/archive --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := p.parse(); err != nil {
				return err
			}
			return p.run(c.Context(), func(ctx context.Context, in *installation) error {
				checked, err := p.check(ctx, in)
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), checked)
				} else {
					err = checked.print(c.OutOrStdout())
				}
				if err == nil && checked.Found > 0 {
					err = fmt.Errorf("%d faults, the first: %s", checked.Found, checked.Faults[0])
				}
				return err
			})
		},
	}
	p.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print what was checked as JSON")
	return c
}

// spendChecked is what spend check tells.
type spendChecked struct {
	Sources *spendSources `json:"sources"`
	*spend.Proof
}

func (p *spendPeriod) check(ctx context.Context, in *installation) (*spendChecked, error) {
	audit := spend.NewAudit(maxGroups, checkedDimensions...)
	reader := spendReader{spendPeriod: p, broker: in.broker, ended: audit.EndPartition,
		each: func(r spendRow) error { return audit.Add(r.Enriched) }}
	sources, err := reader.read(ctx)
	if errors.Is(err, spend.ErrTooMany) {
		err = fmt.Errorf("%w: check the period day by day: days add up", err)
	}
	if err != nil {
		return nil, err
	}
	proof, err := audit.Proof()
	return &spendChecked{sources, proof}, err
}

func (c *spendChecked) print(out io.Writer) error {
	fmt.Fprintf(out, "%d rows of %d requests; %d sums of %d cells compared\n", c.Rows, c.Facts, c.Sums, c.Cells)
	for _, fault := range c.Faults {
		fmt.Fprintln(out, "fault:", printable(fault))
	}
	if more := c.Found - int64(len(c.Faults)); more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	if c.Found == 0 {
		_, err := fmt.Fprintln(out, "every sum agrees")
		return err
	}
	return nil
}
