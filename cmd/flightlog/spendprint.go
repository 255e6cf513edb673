package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/schemas"
)

// write prints the report: as JSON, or the head and the groups.
func (r *spendReport) write(format string, out, errs io.Writer) error {
	switch format {
	case "json":
		return printJSON(out, r)
	case "csv":
		if err := r.head(errs); err != nil {
			return err
		}
		return r.csv(out)
	}
	if err := r.head(out); err != nil {
		return err
	}
	return r.table(out)
}

// head writes what goes before the groups.
func (r *spendReport) head(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	r.spendSpan.head(w)
	r.Sources.head(w)
	for _, u := range r.Unpriced {
		fmt.Fprintf(w, "%s\t%s, billing %s: %s\n", u.Grade, printable(u.Model), u.Billing, countText(u.Measures))
	}
	if len(r.Unpriced) == 0 {
		fmt.Fprintln(w, "unpriced\tnothing")
	}
	for _, u := range r.Unattributed {
		fmt.Fprintf(w, "unattributed\t%s, billing %s: %s USD in %d requests\n", u.Dimension, u.Billing, usd(u.Measures[spend.CostNanoUsd]), u.Measures[spend.Requests])
	}
	if len(r.Unattributed) == 0 {
		fmt.Fprintln(w, "unattributed\tnothing")
	}
	for _, e := range r.Estimated {
		if e.UnboundedRequests > 0 {
			fmt.Fprintf(w, "estimated\tbilling %s: at least %s USD in %d requests, of which %d have no upper bound\n", e.Billing, usd(e.CostNanoUsd), e.Requests, e.UnboundedRequests)
		} else {
			fmt.Fprintf(w, "estimated\tbilling %s: %s to %s USD in %d requests\n", e.Billing, usd(e.CostNanoUsd), usd(e.CostNanoUsdMax), e.Requests)
		}
	}
	if len(r.Estimated) == 0 {
		fmt.Fprintln(w, "estimated\tnothing")
	}
	r.Late.head(w)
	if len(r.Groups) == 0 {
		fmt.Fprintf(w, "\n%s\n", nothingSpent)
	} else {
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func (s *spendSources) head(w io.Writer) {
	fmt.Fprintf(w, "generation\t%d of installation %s\n", s.Generation, s.Installation)
	for _, p := range s.Topic {
		held := "its beginning"
		if p.HeldFrom != nil {
			held = when(*p.HeldFrom)
		}
		read := "nothing read"
		if p.First != nil {
			read = fmt.Sprintf("read %s to %s", when(*p.First), when(*p.Last))
		}
		if p.Watermark != nil {
			read += ", watermark " + when(*p.Watermark)
		}
		lost := ""
		if p.LostUntil != nil {
			lost = fmt.Sprintf(", for it has lost rows that it should have kept, up to those of %s", when(*p.LostUntil))
		}
		fmt.Fprintf(w, "topic enriched/%d\tholds all since %s%s; %s; %d rows\n", p.Partition, held, lost, read, p.Rows)
	}
	if s.Spare != "" {
		fmt.Fprintf(w, "archive %s\tis of this installation, and was not needed: the topic holds all of the period\n", printable(s.Spare))
	}
	if a := s.Archive; a != nil {
		from := "the topic's beginning"
		if a.From != nil {
			from = when(*a.From)
		}
		fmt.Fprintf(w, "archive %s\tholds what was appended from %s to %s; %d files, %d rows\n", printable(a.Dir), from, when(*a.Until), a.Files, a.Rows)
	}
}

func (l *spendLate) head(w io.Writer) {
	if l == nil {
		return
	}
	fmt.Fprintf(w, "since %s\t%d new facts%s; %d corrections%s; %d restatements%s; %d facts taken back%s\n", when(l.Since),
		l.Counts.New, moneyText(l.New), l.Counts.Corrected, moneyText(l.Corrected), l.Counts.Restated, moneyText(l.Restated),
		l.Counts.Withdrawn, moneyText(l.Withdrawn))
	for _, reason := range l.Reasons {
		fmt.Fprintf(w, "restated\t%d × %s\n", reason.Count, cmp.Or(printable(reason.Reason), "(an earlier restatement does not hold any more)"))
	}
}

// moneyText is the money of a change, kind by kind.
func moneyText(changes []lateMoney) string {
	var parts []string
	for _, c := range changes {
		text := fmt.Sprintf("%s USD %s", usd(c.Change.Measures[spend.CostNanoUsd]), c.Billing)
		if c.Change.Measures[spend.CostContractedNanoUsd] != 0 || c.Change.Measures[spend.ContractedRequests] != 0 {
			text += fmt.Sprintf(" and %s USD contracted", usd(c.Change.Measures[spend.CostContractedNanoUsd]))
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// countText is requests and tokens in words.
func countText(m spend.Measures) string {
	return fmt.Sprintf("%d requests, %d tokens in, %d out, %d read from and %d written to a cache", m[spend.Requests], m[spend.TokenInput],
		m[spend.TokenOutput], m[spend.TokenCacheRead], m[spend.TokenCacheWrite5m]+m[spend.TokenCacheWrite1h])
}

// table writes the groups for a person.
func (r *spendReport) table(out io.Writer) error {
	if len(r.Groups) == 0 {
		return nil // the head has said so
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, name := range r.By {
		fmt.Fprintf(w, "%s\t", name)
	}
	fmt.Fprintln(w, "billing\trequests\tunpriced\tinput\toutput\tthinking\tcache read\tcache write\tserver tools\tUSD\tup to\teach\tcontracted USD\t")
	line := func(names []string, g *spendGroup) {
		m := g.Measures
		for _, name := range names {
			fmt.Fprintf(w, "%s\t", printable(name))
		}
		cost, average, contracted, most := "-", "-", "-", "-" // what has no price costs not zero
		if g.Average != nil {
			cost, average = usd(m[spend.CostNanoUsd]), usd(*g.Average)
		}
		if n := m[spend.ContractedRequests]; n > 0 {
			contracted = fmt.Sprintf("%s (%d)", usd(m[spend.CostContractedNanoUsd]), n)
		}
		if m[spend.CostNanoUsdMax] != m[spend.CostNanoUsd] || m[spend.UnboundedRequests] > 0 {
			most = usd(m[spend.CostNanoUsdMax])
		}
		if m[spend.UnboundedRequests] > 0 {
			most += "+"
		}
		fmt.Fprintf(w, "%s (%s)\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t\n", g.Billing, g.Money, m[spend.Requests], m[spend.Requests]-m[spend.PricedRequests],
			m[spend.TokenInput], m[spend.TokenOutput], m[spend.TokenThinking], m[spend.TokenCacheRead],
			m[spend.TokenCacheWrite5m]+m[spend.TokenCacheWrite1h], m[spend.ServerToolUses], cost, most, average, contracted)
	}
	if len(r.By) > 0 {
		for _, g := range r.Groups {
			line(r.names(g), g)
		}
	}
	for _, g := range r.Totals {
		names := make([]string, len(r.By))
		if len(names) > 0 {
			names[0] = "total"
		}
		line(names, g)
	}
	return w.Flush()
}

// names are a group's values, in the order of the dimensions.
func (r *spendReport) names(g *spendGroup) (names []string) {
	for _, name := range r.By {
		names = append(names, g.Values[name])
	}
	return names
}

// csvGrades are the grades that csv has columns for.
var csvGrades = []schemas.CostGrade{schemas.CostGradeMeasured, schemas.CostGradeDerived, schemas.CostGradeEstimated, schemas.CostGradeUnpriced, schemas.CostGradeUnknown}

// nanoCell is a figure of csv; empty where there is none.
func nanoCell(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

// csv writes the groups, without totals: they add up to them by billing.
func (r *spendReport) csv(out io.Writer) error {
	w := csv.NewWriter(out)
	header := append(slices.Clone(r.By), "billing", "money")
	for _, m := range spend.AllMeasures() {
		header = append(header, m.String())
	}
	header = append(header, "average_nano_usd")
	for _, g := range csvGrades {
		header = append(header, "requests_"+g.String(), "cost_nano_usd_"+g.String())
	}
	if err := w.Write(header); err != nil {
		return err
	}
	for _, g := range r.Groups {
		record := append(r.names(g), g.Billing, g.Money)
		for m, n := range g.Measures {
			if !g.Measures.Known(spend.Measure(m)) {
				record = append(record, "")
				continue
			}
			record = append(record, strconv.FormatInt(n, 10))
		}
		record = append(record, nanoCell(g.Average))
		for _, grade := range csvGrades {
			share := g.Grades[grade.String()]
			record = append(record, strconv.FormatInt(share.Requests, 10), nanoCell(share.CostNanoUsd))
		}
		if err := w.Write(record); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
