package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/processors/spend"
)

// spendReconcileOptions are the flags of spend reconcile.
type spendReconcileOptions struct {
	spendPeriod
	metrics, usage []string
	transcripts    string
	json, strict   bool
}

func spendReconcileCommand() *cobra.Command {
	var o spendReconcileOptions
	c := &cobra.Command{
		Use:   "reconcile",
		Short: "Hold the figures of a period against what others say, each difference with its reason",
		Long: `Sets the rows of a period beside other witnesses of the same work, per model:

  client       the cost that the client gave for each request, on the rows
  metrics      OTLP metrics of the client (--metrics: one export request as OTLP
               JSON a line), per session
  cost-state   the sums that the client leaves in its transcripts (--transcripts)
  usage        the vendor's export (--usage: pages of the Admin API's
               usage_report/messages, or the console's CSV), per day

A reason is given where the evidence bears it; what is left is unexplained.`,
		Example: `  flightlog spend reconcile --month 2026-11
  flightlog spend reconcile --month 2026-11 --usage usage-2026-11.json --strict
  flightlog spend reconcile --from 2026-11-22 --metrics metrics.ndjson --transcripts ~/.claude/projects`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.parse(); err != nil {
				return err
			}
			return o.run(c.Context(), func(ctx context.Context, in *installation) error {
				r, err := o.reconcile(ctx, in)
				if err != nil {
					return err
				}
				if o.json {
					err = printJSON(c.OutOrStdout(), r)
				} else {
					err = r.print(c.OutOrStdout())
				}
				if err == nil && o.strict && r.Unexplained > 0 {
					err = fmt.Errorf("%d differences are unexplained", r.Unexplained)
				}
				return err
			})
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringArrayVar(&o.metrics, "metrics", nil, "file of OTLP metrics; may be given several times")
	f.StringArrayVar(&o.usage, "usage", nil, "file of the vendor's usage export; may be given several times")
	f.StringVar(&o.transcripts, "transcripts", "", "folder with transcripts, or one")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 where a difference is unexplained")
	return c
}

// spendReconciled is what spend reconcile tells.
type spendReconciled struct {
	From        time.Time       `json:"from"`
	To          time.Time       `json:"to"`
	Sources     *spendSources   `json:"sources"`
	Witnesses   []*spendWitness `json:"witnesses"`
	Unexplained int64           `json:"unexplained"` // subjects times figures
}

// spendWitness is rows beside one witness.
type spendWitness struct {
	Witness     string            `json:"witness"`
	Of          string            `json:"of"` // what its subjects are
	Notes       []string          `json:"notes"`
	Differences []spendDifference `json:"differences"`
}

// spendDifference is one line: what both say of a model in one figure.
type spendDifference struct {
	Model      string   `json:"model"`
	Billing    string   `json:"billing"`
	Figure     string   `json:"figure"`
	Reason     string   `json:"reason"` // agrees where there is no difference
	Subjects   int64    `json:"subjects"`
	Ours       int64    `json:"ours"`
	Theirs     int64    `json:"theirs"`
	Difference int64    `json:"difference"` // theirs - ours
	Examples   []string `json:"examples"`
}

func (o *spendReconcileOptions) reconcile(ctx context.Context, in *installation) (*spendReconciled, error) {
	// The files first: whoever named a wrong one is told at once.
	metrics, errMetrics := readMetrics(o.metrics)
	usage, notes, errUsage := readUsage(o.usage)
	sums, errSums := readCostStates(o.transcripts)
	if err := errors.Join(errMetrics, errUsage, errSums); err != nil {
		return nil, err
	}
	record := spend.NewRecord(maxGroups)
	reader := spendReader{spendPeriod: &o.spendPeriod, broker: in.broker, each: func(r spendRow) error { return record.Add(r.Enriched) }}
	sources, err := reader.read(ctx)
	if err != nil {
		return nil, err
	}
	r := &spendReconciled{From: o.from, To: o.to, Sources: sources}
	errs := []error{r.add("client", "requests", record.Client())}
	from, to := o.from.UnixMicro(), o.to.UnixMicro()
	if len(o.metrics) > 0 {
		errs = append(errs, r.add("metrics", "sessions", record.CompareSessions(from, to, metrics)))
	}
	if o.transcripts != "" {
		errs = append(errs, r.add("cost-state", "sessions", record.CompareSessions(from, to, sums)))
	}
	if len(o.usage) > 0 {
		const day = 24 * time.Hour
		first, end := o.from.Add(day-1).Truncate(day), o.to.Truncate(day)
		if !first.Equal(o.from) || !end.Equal(o.to) {
			notes = append(notes, fmt.Sprintf("only whole days are compared: those from %s to before %s", first.Format(time.DateOnly), end.Format(time.DateOnly)))
		}
		compared, leftOut := record.CompareUsage(usage, first.Format(time.DateOnly), end.Format(time.DateOnly))
		if leftOut > 0 {
			notes = append(notes, fmt.Sprintf("%d requests are left out: a cloud served them, or a subscription paid for them", leftOut))
		}
		errs = append(errs, r.add("usage", "days", compared, notes...))
	}
	return r, errors.Join(errs...)
}

func (r *spendReconciled) add(witness, of string, found *spend.Comparison, notes ...string) error {
	differences, err := found.Differences()
	if err != nil {
		return fmt.Errorf("cannot sum up %s: %w", witness, err)
	}
	w := &spendWitness{Witness: witness, Of: of, Notes: append([]string{}, notes...), Differences: []spendDifference{}}
	for _, d := range differences {
		if d.Reason == spend.Unexplained {
			r.Unexplained += d.Subjects
		}
		w.Differences = append(w.Differences, spendDifference{spend.Model.Label(d.Model), d.Billing, d.Figure.String(), d.Reason, d.Subjects, d.Ours, d.Theirs, d.Theirs - d.Ours, append([]string{}, d.Examples...)})
	}
	r.Witnesses = append(r.Witnesses, w)
	return nil
}

// print writes it for a person.
func (r *spendReconciled) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "period\tfrom %s to before %s\n", when(r.From), when(r.To))
	r.Sources.head(w)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, witness := range r.Witnesses {
		fmt.Fprintf(out, "\n%s\n", witness.Witness)
		for _, note := range witness.Notes {
			fmt.Fprintln(out, "note:", printable(note))
		}
		if len(witness.Differences) == 0 {
			fmt.Fprintln(out, "nothing to compare")
			continue
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "model\tbilling\tfigure\tours\ttheirs\tdifference\t%s\treason\n", witness.Of)
		for _, d := range witness.Differences {
			figure, number := d.Figure, func(n int64) string { return fmt.Sprint(n) }
			if d.Figure == spend.FigureCost.String() {
				figure, number = "cost USD", usd
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", printable(d.Model), d.Billing, figure, number(d.Ours), number(d.Theirs), number(d.Difference), d.Subjects, d.Reason)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\n%d differences are unexplained\n", r.Unexplained)
	return err
}
