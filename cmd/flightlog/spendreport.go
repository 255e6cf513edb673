package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/schemas"
)

// spendReportOptions are the flags of spend report.
type spendReportOptions struct {
	spendPeriod
	byNames        []string
	format         string
	json           bool
	lastReportText string

	by         []spend.Dimension
	lastReport time.Time // zero = nothing is late
}

func spendReportCommand() *cobra.Command {
	var o spendReportOptions
	c := &cobra.Command{
		Use:   "report",
		Short: "What a period cost, by team, repository, model, ...",
		Long: `Adds up the rows of the model requests that occurred in a period. The head says
where they were read and how far that goes, what has no price, whose money nobody
knows, what is estimated, and what came since the last report.

Money is exact and of three kinds that are never added: list price (billing api,
cloud and unknown), notional (subscription: what it would have cost by the list),
and contracted. Requests without a price are counted apart, and averages are over
those that have one. --format csv and json hold whole nano-dollars; of csv the
head goes to stderr.

Dimensions for --by: ` + dimensionNames() + ".",
		Example: `  flightlog spend report --month 2026-11 --by team,model
  flightlog spend report --from 2026-11-01 --to 2026-11-15 --by repo --format csv > november.csv
  flightlog spend report --month 2026-07 --archive /srv/flightlog/archive --as-of 2026-08-03`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.parse(); err != nil {
				return err
			}
			return o.run(c.Context(), func(ctx context.Context, in *installation) error {
				report, err := o.report(ctx, in)
				if err != nil {
					return err
				}
				return report.write(o.format, c.OutOrStdout(), c.ErrOrStderr())
			})
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringSliceVar(&o.byNames, "by", nil, "dimensions to break the sums down by; none = the totals by billing")
	f.StringVar(&o.format, "format", "", "table, csv or json (default table)")
	f.BoolVar(&o.json, "json", false, "the same as --format json")
	f.StringVar(&o.lastReportText, "last-report", "", "tell what was appended since a day or a time (default the end of the period, when it is over)")
	return c
}

func (o *spendReportOptions) parse() error {
	errs := []error{o.spendPeriod.parse()}
	by, err := parseDimensions(o.byNames)
	errs, o.by = append(errs, err), by
	switch {
	case o.json && o.format != "" && o.format != "json":
		errs = append(errs, fmt.Errorf("give --json or --format %s", o.format))
	case o.json:
		o.format = "json"
	case o.format == "":
		o.format = "table"
	}
	if !slices.Contains([]string{"table", "csv", "json"}, o.format) {
		errs = append(errs, fmt.Errorf("cannot use --format %q: want table, csv or json", o.format))
	}
	switch {
	case o.lastReportText != "":
		o.lastReport, err = parseTime("last-report", o.lastReportText)
		errs = append(errs, err, o.past("last-report", o.lastReport))
	case o.to.Before(o.now):
		o.lastReport = o.to
	}
	return errors.Join(errs...)
}

// spendReport is what spend report tells.
type spendReport struct {
	spendSpan
	Sources      *spendSources       `json:"sources"`
	Unpriced     []spendUnpriced     `json:"unpriced"`
	Unattributed []spendUnattributed `json:"unattributed"`
	Estimated    []spendEstimated    `json:"estimated"`
	Late         *spendLate          `json:"late"` // null = the period is not over, and no --last-report was given
	By           []string            `json:"by"`
	Groups       []*spendGroup       `json:"groups"`
	Totals       []*spendGroup       `json:"totals"` // by billing
}

// spendUnpriced is requests of a model that have no price.
type spendUnpriced struct {
	Model    string         `json:"model"`
	Billing  string         `json:"billing"`
	Grade    string         `json:"cost_grade"` // unpriced; unknown where not even tokens are known
	Measures spend.Measures `json:"measures"`
}

// spendUnattributed is what nobody could attribute in one dimension.
type spendUnattributed struct {
	Dimension string         `json:"dimension"`
	Billing   string         `json:"billing"`
	Measures  spend.Measures `json:"measures"`
}

// spendEstimated is money that is a range.
type spendEstimated struct {
	Billing           string `json:"billing"`
	Requests          int64  `json:"requests"`
	CostNanoUsd       int64  `json:"cost_nano_usd"`
	CostNanoUsdMax    int64  `json:"cost_nano_usd_max"`
	UnboundedRequests int64  `json:"unbounded_requests"` // of them without an upper bound
}

// spendLate is what was appended since the last report.
type spendLate struct {
	Since     time.Time      `json:"since"`
	New       []lateMoney    `json:"new"`
	Corrected []lateMoney    `json:"corrected"`
	Restated  []lateMoney    `json:"restated"`
	Withdrawn []lateMoney    `json:"withdrawn"`
	Counts    lateCounts     `json:"counts"`
	Reasons   []spend.Reason `json:"reasons"` // of restatements
}

type lateCounts struct {
	New       int64 `json:"new"` // facts
	Corrected int64 `json:"corrected"`
	Restated  int64 `json:"restated"`
	Withdrawn int64 `json:"withdrawn"`
}

// lateMoney is how the sums of one billing changed.
type lateMoney struct {
	Billing string        `json:"billing"`
	Change  spend.Changed `json:"change"`
}

// spendGroup is one line of the report.
type spendGroup struct {
	Values   map[string]string     `json:"values"` // by dimension; an empty value has a word
	Empty    []string              `json:"empty"`  // dimensions of which the rows have no value
	Billing  string                `json:"billing"`
	Money    string                `json:"money"` // what cost_nano_usd is: list or notional
	Measures spend.Measures        `json:"measures"`
	Average  *int64                `json:"average_nano_usd"` // per priced request, rounded; null = there is none
	Grades   map[string]gradeShare `json:"grades"`

	values []string // as the rows have them
}

// gradeShare is the part of one grade in a group.
type gradeShare struct {
	Requests    int64  `json:"requests"`
	CostNanoUsd *int64 `json:"cost_nano_usd"` // null = they have no price
}

// unattributedByDefault are told of where --by names no dimension that
// attributes.
var unattributedByDefault = []spend.Dimension{spend.User, spend.Team, spend.Repo}

func (o *spendReportOptions) report(ctx context.Context, in *installation) (*spendReport, error) {
	groups, unpriced, late := spend.NewLedger(maxGroups, o.by...), spend.NewLedger(maxGroups, spend.Model), spend.NewLate()
	nobodys := map[spend.Dimension]*spend.Ledger{}
	attributing := slices.DeleteFunc(slices.Clone(o.by), func(d spend.Dimension) bool { return !d.Attributes() })
	if len(attributing) == 0 {
		attributing = unattributedByDefault
	}
	for _, d := range attributing {
		nobodys[d] = spend.NewLedger(maxGroups)
	}
	reader := spendReader{spendPeriod: &o.spendPeriod, lateFrom: o.lastReport, broker: in.broker, each: func(r spendRow) error {
		err := groups.Add(r.Enriched)
		if r.CostGrade == schemas.CostGradeUnpriced || r.CostGrade == schemas.CostGradeUnknown {
			err = errors.Join(err, unpriced.Add(r.Enriched))
		}
		for _, d := range attributing {
			if d.Of(r.Enriched) == "" {
				err = errors.Join(err, nobodys[d].Add(r.Enriched))
			}
		}
		if r.late {
			err = errors.Join(err, late.Add(r.Enriched))
		}
		return err
	}}
	sources, err := reader.read(ctx)
	if errors.Is(err, spend.ErrTooMany) {
		err = fmt.Errorf("%w: name fewer dimensions in --by, or a shorter period", err)
	}
	if err != nil {
		return nil, err
	}
	if err := late.End(); err != nil {
		return nil, err
	}
	faults := slices.Concat(groups.Faults(), unpriced.Faults())
	for _, d := range attributing {
		faults = append(faults, nobodys[d].Faults()...)
	}
	if err := wholeFacts(faults); err != nil {
		return nil, err
	}
	report := &spendReport{spendSpan: o.span(), Sources: sources, By: []string{},
		Unpriced: []spendUnpriced{}, Unattributed: []spendUnattributed{}, Estimated: []spendEstimated{}}
	for _, d := range o.by {
		report.By = append(report.By, d.String())
	}
	if report.Groups, err = groupsOf(groups); err != nil {
		return nil, err
	}
	totals, err := groups.Fold()
	if err != nil {
		return nil, err
	}
	if report.Totals, err = groupsOf(totals); err != nil {
		return nil, err
	}
	for _, c := range unpriced.Cells() {
		report.Unpriced = append(report.Unpriced, spendUnpriced{spend.Model.Label(c.Values[0]), c.Billing.String(), c.Grade.String(), c.Measures})
	}
	for _, d := range attributing {
		lines, err := groupsOf(nobodys[d])
		if err != nil {
			return nil, err
		}
		for _, g := range lines {
			report.Unattributed = append(report.Unattributed, spendUnattributed{d.String(), g.Billing, g.Measures})
		}
	}
	for _, c := range totals.Cells() {
		if c.Grade == schemas.CostGradeEstimated {
			report.Estimated = append(report.Estimated, spendEstimated{c.Billing.String(), c.Measures[spend.Requests],
				c.Measures[spend.CostNanoUsd], c.Measures[spend.CostNanoUsdMax], c.Measures[spend.UnboundedRequests]})
		}
	}
	if !o.lastReport.IsZero() {
		report.Late, err = lateOf(o.lastReport, late)
	}
	return report, err
}

func lateOf(since time.Time, late *spend.Late) (*spendLate, error) {
	l := &spendLate{Since: since, New: []lateMoney{}, Corrected: []lateMoney{}, Restated: []lateMoney{}, Withdrawn: []lateMoney{},
		Reasons: append([]spend.Reason{}, late.Reasons()...),
		Counts:  lateCounts{late.New.Count, late.Corrected.Count, late.Restated.Count, late.Withdrawn.Count}}
	for _, part := range []struct {
		change spend.Change
		into   *[]lateMoney
	}{{late.New, &l.New}, {late.Corrected, &l.Corrected}, {late.Restated, &l.Restated}, {late.Withdrawn, &l.Withdrawn}} {
		by := map[schemas.Billing]*spend.Measures{}
		for _, c := range part.change.By() {
			if by[c.Billing] == nil {
				by[c.Billing] = &spend.Measures{}
			}
			if err := by[c.Billing].Add(c.Measures); err != nil {
				return nil, err
			}
		}
		for _, billing := range slices.Sorted(maps.Keys(by)) {
			*part.into = append(*part.into, lateMoney{billing.String(), spend.Changed{Measures: *by[billing]}})
		}
	}
	return l, nil
}

// groupsOf puts the grades of a ledger's groups together, the dearest first.
func groupsOf(l *spend.Ledger) ([]*spendGroup, error) {
	groups := map[string]*spendGroup{}
	for _, c := range l.Cells() {
		key := c.Billing.String() + fmt.Sprintf("%q", c.Values)
		g := groups[key]
		if g == nil {
			g = &spendGroup{Values: map[string]string{}, Empty: []string{}, Billing: c.Billing.String(), Money: "list", Grades: map[string]gradeShare{}, values: c.Values}
			if c.Billing == schemas.BillingSubscription {
				g.Money = "notional"
			}
			for i, d := range l.By() {
				g.Values[d.String()] = d.Label(c.Values[i])
				if c.Values[i] == "" {
					g.Empty = append(g.Empty, d.String())
				}
			}
			groups[key] = g
		}
		if err := g.Measures.Add(c.Measures); err != nil {
			return nil, err
		}
		share := gradeShare{Requests: c.Measures[spend.Requests]}
		if c.Measures.Known(spend.CostNanoUsd) {
			share.CostNanoUsd = &c.Measures[spend.CostNanoUsd]
		}
		g.Grades[c.Grade.String()] = share
	}
	all := slices.AppendSeq(make([]*spendGroup, 0, len(groups)), maps.Values(groups))
	slices.SortFunc(all, func(a, b *spendGroup) int {
		return cmp.Or(cmp.Compare(b.Measures[spend.CostNanoUsd], a.Measures[spend.CostNanoUsd]), slices.Compare(a.values, b.values), cmp.Compare(a.Billing, b.Billing))
	})
	for _, g := range all {
		if n := g.Measures[spend.PricedRequests]; n > 0 {
			average := (g.Measures[spend.CostNanoUsd] + n/2) / n
			g.Average = &average
		}
	}
	return all, nil
}
