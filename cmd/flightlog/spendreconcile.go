package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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

A reason is given where the evidence bears it; what is left is unexplained. With
--strict that is exit code 1, as are prices that differ, requests without a
price, and a witness that is incomplete or tells nothing of the period.`,
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
				if err == nil && o.strict && len(r.Fails) > 0 {
					err = fmt.Errorf("not reconciled: %s", strings.Join(r.Fails, "; "))
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
	f.BoolVar(&o.strict, "strict", false, "exit with 1 unless every difference is explained, and every witness says something")
	return c
}

// spendReconciled is what spend reconcile tells.
type spendReconciled struct {
	spendSpan
	Sources     *spendSources   `json:"sources"`
	Witnesses   []*spendWitness `json:"witnesses"`
	Summary     []*spendReason  `json:"summary"`
	Unexplained int64           `json:"unexplained"` // subjects times figures
	Fails       []string        `json:"fails"`       // why it is not reconciled, for --strict
}

// spendReason is what differs for one reason, or agrees.
type spendReason struct {
	Witness     string `json:"witness"`
	Billing     string `json:"billing"` // kinds of money are never added
	Reason      string `json:"reason"`  // without the client's price
	Passes      bool   `json:"passes"`  // --strict
	Differences int64  `json:"differences"`
	Costs       int64  `json:"costs"` // of them, those of cost; the rest are of tokens and searches
	Ours        int64  `json:"ours_nano_usd"`
	Theirs      int64  `json:"theirs_nano_usd"`
	Difference  int64  `json:"difference_nano_usd"`
}

// spendWitness is rows beside one witness.
type spendWitness struct {
	Witness     string            `json:"witness"`
	Of          string            `json:"of"` // what its subjects are
	Notes       []string          `json:"notes"`
	Covers      []spend.Coverage  `json:"covers"` // of the rows, by billing
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
	usage, cut, errUsage := readUsage(o.usage)
	sums, unread, errSums := readCostStates(o.transcripts)
	if err := errors.Join(errMetrics, errUsage, errSums); err != nil {
		return nil, err
	}
	record := spend.NewRecord(maxGroups)
	reader := spendReader{spendPeriod: &o.spendPeriod, broker: in.broker, each: func(r spendRow) error { return record.Add(r.Enriched) }}
	sources, err := reader.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := wholeFacts(record.Faults()); err != nil {
		return nil, err
	}
	r := &spendReconciled{spendSpan: o.span(), Sources: sources, Summary: []*spendReason{}, Fails: []string{}}
	errs := []error{r.add("client", "requests", record.Client())}
	from, to := o.from.UnixMicro(), o.to.UnixMicro()
	if len(o.metrics) > 0 {
		errs = append(errs, r.add("metrics", "sessions", record.CompareSessions(from, to, metrics)))
	}
	if o.transcripts != "" {
		errs = append(errs, r.add("cost-state", "sessions", record.CompareSessions(from, to, sums), unread...))
	}
	if len(o.usage) > 0 {
		var notes []string
		if cut {
			notes = append(notes, "the last page of the export is not among the files: days are missing")
			r.Fails = append(r.Fails, "usage: has_more is true, its last page is not among the files")
		}
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
	r.judge()
	return r, errors.Join(errs...)
}

// judge adds what fails --strict: reasons that do not pass, and witnesses that
// say nothing. The client's figures may be missing where another witness speaks.
func (r *spendReconciled) judge() {
	for _, s := range r.Summary {
		if !s.Passes {
			r.Fails = append(r.Fails, fmt.Sprintf("%s: %d × %s", s.Witness, s.Differences, s.Reason))
		}
	}
	for _, w := range r.Witnesses {
		told, requests := int64(0), false
		for _, c := range w.Covers {
			told, requests = told+c.Subjects, requests || c.SubjectsOf > 0
		}
		if told == 0 && (w.Witness != "client" || requests && len(r.Witnesses) == 1) {
			r.Fails = append(r.Fails, w.Witness+": it tells of nothing that the rows of the period have")
		}
	}
}

func (r *spendReconciled) add(witness, of string, found *spend.Comparison, notes ...string) error {
	differences, err := found.Differences()
	if err != nil {
		return fmt.Errorf("cannot sum up %s: %w", witness, err)
	}
	w := &spendWitness{Witness: witness, Of: of, Notes: append([]string{}, notes...), Covers: append([]spend.Coverage{}, found.Covers()...), Differences: []spendDifference{}}
	for _, d := range differences {
		if d.Reason == spend.Unexplained {
			r.Unexplained += d.Subjects
		}
		if err := r.sum(witness, &d); err != nil {
			return fmt.Errorf("cannot sum up %s: %w", witness, err)
		}
		w.Differences = append(w.Differences, spendDifference{spend.Model.Label(d.Model), d.Billing, d.Figure.String(), d.Reason, d.Subjects, d.Ours, d.Theirs, d.Theirs - d.Ours, append([]string{}, d.Examples...)})
	}
	r.Witnesses = append(r.Witnesses, w)
	return nil
}

// sum puts a difference into the summary.
func (r *spendReconciled) sum(witness string, d *spend.Difference) error {
	reason := spend.Kind(d.Reason)
	i := slices.IndexFunc(r.Summary, func(s *spendReason) bool { return s.Witness == witness && s.Billing == d.Billing && s.Reason == reason })
	if i < 0 {
		i = len(r.Summary)
		r.Summary = append(r.Summary, &spendReason{Witness: witness, Billing: d.Billing, Reason: reason, Passes: spend.Passes(reason)})
	}
	s := r.Summary[i]
	s.Differences += d.Subjects
	if d.Figure != spend.FigureCost {
		return nil
	}
	s.Costs += d.Subjects
	var errOurs, errTheirs error
	s.Ours, errOurs = spend.Plus(s.Ours, d.Ours)
	s.Theirs, errTheirs = spend.Plus(s.Theirs, d.Theirs)
	s.Difference = s.Theirs - s.Ours
	return errors.Join(errOurs, errTheirs)
}

// print writes it for a person.
func (r *spendReconciled) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	r.spendSpan.head(w)
	r.Sources.head(w)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, witness := range r.Witnesses {
		fmt.Fprintf(out, "\n%s\n", witness.Witness)
		for _, note := range witness.Notes {
			fmt.Fprintln(out, "note:", printable(note))
		}
		for _, c := range witness.Covers {
			fmt.Fprintf(out, "covers %s of %s USD, %d of %d %s, billing %s\n", usd(c.CostNanoUsd), usd(c.CostOf), c.Subjects, c.SubjectsOf, witness.Of, c.Billing)
		}
		if len(witness.Covers) == 0 {
			fmt.Fprintln(out, nothingSpent)
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
	if err := r.summary(out); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d differences are unexplained\n", r.Unexplained)
	for _, why := range r.Fails {
		fmt.Fprintln(out, "not reconciled:", printable(why))
	}
	return err
}

// summary writes what the reasons come to.
func (r *spendReconciled) summary(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nsummary\tbilling\tours USD\ttheirs USD\tdifference USD\tdifferences\t--strict\treason")
	for _, s := range r.Summary {
		passes, ours, theirs, difference := "fails", "-", "-", "-"
		if s.Passes {
			passes = "passes"
		}
		if s.Costs > 0 {
			ours, theirs, difference = usd(s.Ours), usd(s.Theirs), usd(s.Difference)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", s.Witness, s.Billing, ours, theirs, difference, s.Differences, passes, s.Reason)
	}
	return w.Flush()
}
