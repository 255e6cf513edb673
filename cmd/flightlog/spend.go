package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/processors/spend"
)

func spendCommand() *cobra.Command {
	var panes spendPanes
	c := &cobra.Command{
		Use:   "spend --by DIMENSION --every 1h",
		Short: "What the agents cost, by time, proved and reconciled: report, check, reconcile",
		Long: `With --by or --every it shows what was spent by minute, hour or day, as bars, from
the increments of the topic spend. Panes of now grow for up to a minute.

The commands below add up what model requests cost, from the signed rows of the topic enriched
and, for what is older, from an archive. Sums are exact, in nano-dollars; what
has no price is shown apart, and kinds of money are never added
(docs/spend.md).`,
		Example: `  flightlog spend --by repo --every 1h --since 48h
  flightlog spend report --month 2026-11`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if panes.by == "" && panes.every == "" {
				return c.Help()
			}
			return panes.run(c.Context(), c.OutOrStdout())
		},
	}
	panes.flags(c)
	c.AddCommand(spendReportCommand(), spendCheckCommand(), spendReconcileCommand())
	return c
}

// maxGroups is how many cells a sum may have: some hundred MB.
const maxGroups = 1_000_000

// spendPeriod is the flags that say which facts are meant, and where their rows
// are.
type spendPeriod struct {
	place
	month, first, last, asOfText string
	archive                      string

	from, to time.Time // facts that occurred in [from, to)
	asOf     time.Time // rows that were appended before; zero = all there are
	now      time.Time
}

func (p *spendPeriod) flags(c *cobra.Command) {
	p.place.flags(c)
	f := c.Flags()
	f.StringVar(&p.month, "month", "", "facts of a month (UTC), as 2026-11")
	f.StringVar(&p.first, "from", "", "facts since a day (2026-11-23) or a time (2026-11-23T10:00:00Z)")
	f.StringVar(&p.last, "to", "", "facts before a day or a time (default now)")
	f.StringVar(&p.asOfText, "as-of", "", "only rows that were appended before a day or a time: what a report of then said")
	f.StringVar(&p.archive, "archive", "", "archive with what the topic does not hold any more ('flightlog sink files --archive')")
}

// parse reads the flags, and reports everything that is wrong with them.
func (p *spendPeriod) parse() error {
	p.now = time.Now().Truncate(time.Microsecond)
	var errs []error
	read := func(flag, text string, into *time.Time) {
		t, err := parseTime(flag, text)
		errs, *into = append(errs, err), t
	}
	switch {
	case p.month != "" && (p.first != "" || p.last != ""):
		errs = append(errs, errors.New("give --month, or --from and --to"))
	case p.month != "":
		m, err := time.Parse("2006-01", p.month)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot use --month %q: want a month such as 2026-11", p.month))
		}
		p.from, p.to = m, m.AddDate(0, 1, 0)
	case p.first == "":
		errs = append(errs, errors.New("say which period: --month, or --from and --to"))
	default:
		read("from", p.first, &p.from)
		if p.to = p.now.UTC(); p.last != "" {
			read("to", p.last, &p.to)
		}
	}
	if p.asOfText != "" {
		read("as-of", p.asOfText, &p.asOf)
		errs = append(errs, p.past("as-of", p.asOf))
	}
	if errors.Join(errs...) == nil && !p.from.Before(p.to) {
		errs = append(errs, fmt.Errorf("the period from %s to %s is empty", when(p.from), when(p.to)))
	}
	return errors.Join(errs...)
}

// parseTime reads a flag that is a day or a time.
func parseTime(flag, text string) (time.Time, error) {
	if t, ok := dayOrTime(text); ok {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("cannot use --%s %q: want a day such as 2026-11-23, or a time such as 2026-11-23T10:00:00Z", flag, text)
}

// past refuses a time that is not yet.
func (p *spendPeriod) past(flag string, t time.Time) error {
	if t.After(p.now) {
		return fmt.Errorf("cannot use --%s %s: it is in the future", flag, when(t))
	}
	return nil
}

// spendSpan is the period that is told, and of when.
type spendSpan struct {
	From time.Time  `json:"from"`
	To   time.Time  `json:"to"` // the first moment that does not belong to it
	Over bool       `json:"over"`
	AsOf *time.Time `json:"as_of"` // null = all rows there are
}

func (p *spendPeriod) span() spendSpan {
	s := spendSpan{From: p.from, To: p.to, Over: p.to.Before(p.now)}
	if !p.asOf.IsZero() {
		s.AsOf = &p.asOf
	}
	return s
}

func (s *spendSpan) head(w io.Writer) {
	over, asOf := "", "all rows there are"
	if !s.Over {
		over = ", which is not over"
	}
	if s.AsOf != nil {
		asOf = "rows that were appended before " + when(*s.AsOf)
	}
	fmt.Fprintf(w, "period\tfrom %s to before %s%s\nas of\t%s\n", when(s.From), when(s.To), over, asOf)
}

// nothingSpent is said where a period has no facts.
const nothingSpent = "no model requests in this period"

// wholeFacts refuses sums that no whole facts come to.
func wholeFacts(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("rows are missing or wrong, so the sums cannot be told ('flightlog spend check' says more): %s", faults[0])
}

// holds tells whether a fact occurred in the period.
func (p *spendPeriod) holds(occurredAt int64) bool {
	return p.from.UnixMicro() <= occurredAt && occurredAt < p.to.UnixMicro()
}

// run opens the installation and calls work.
func (p *spendPeriod) run(ctx context.Context, work func(ctx context.Context, in *installation) error) error {
	in, err := p.look(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	return work(ctx, in)
}

// when is a time as reports have it.
func when(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// parseDimensions reads --by.
func parseDimensions(names []string) (by []spend.Dimension, err error) {
	var errs []error
	for _, name := range names {
		name = strings.TrimSpace(name)
		d, err := spend.ParseDimension(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("cannot use --by %s: %w", name, err))
		case slices.Contains(by, d):
			errs = append(errs, fmt.Errorf("--by names %s twice", name))
		}
		by = append(by, d)
	}
	return by, errors.Join(errs...)
}

// dimensionNames lists what --by takes.
func dimensionNames() string {
	var names []string
	for _, d := range spend.Dimensions() {
		names = append(names, d.String())
	}
	return strings.Join(names, ", ")
}

// usd is an exact sum in dollars, with at least two decimals.
func usd(nano int64) string {
	sign, n := "", uint64(nano)
	if nano < 0 {
		sign, n = "-", -n
	}
	decimals := strings.TrimRight(fmt.Sprintf("%09d", n%1e9), "0")
	return fmt.Sprintf("%s%d.%s", sign, n/1e9, decimals+strings.Repeat("0", max(0, 2-len(decimals))))
}
