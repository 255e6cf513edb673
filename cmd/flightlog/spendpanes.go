package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// spendPanes sums the increments of the topic spend by one dimension and one size
// of panes.
type spendPanes struct {
	place
	by, every, since string
	json             bool

	dimension schemas.SpendDimension
	size      schemas.PaneSize
	from      int64
}

// paneSizes are the panes that there are, by their length.
var paneSizes = map[time.Duration]schemas.PaneSize{time.Minute: schemas.PaneSizeMinute, time.Hour: schemas.PaneSizeHour, 24 * time.Hour: schemas.PaneSizeDay}

// paneSum is what one value spent in one pane, of one kind of money.
type paneSum struct {
	PaneStart   time.Time `json:"pane_start"`
	Value       string    `json:"value"`
	Billing     string    `json:"billing"`
	CostNanoUsd int64     `json:"cost_nano_usd"`
	Requests    int64     `json:"requests"`
	Unpriced    int64     `json:"unpriced_requests"`
}

func (p *spendPanes) flags(c *cobra.Command) {
	p.place.flags(c)
	f := c.Flags()
	f.StringVar(&p.by, "by", "", "show panes by a dimension: org, repo, team, user, workflow, work_kind or model")
	f.StringVar(&p.every, "every", "", "length of a pane: 1m (org and repo only), 1h or 24h (default 24h)")
	f.StringVar(&p.since, "since", "", "panes that begin then or later: a duration (48h), a day or a time")
	f.BoolVar(&p.json, "json", false, "print JSON, one object a line")
}

func (p *spendPanes) parse() error {
	var ok bool
	if p.dimension, ok = schemas.ParseSpendDimension(cmp.Or(p.by, "org")); !ok || p.dimension == schemas.SpendDimensionUnknown {
		return fmt.Errorf("cannot use --by %q: want org, repo, team, user, workflow, work_kind or model", p.by)
	}
	length, err := time.ParseDuration(cmp.Or(p.every, "24h"))
	if p.size, ok = paneSizes[length]; err != nil || !ok {
		return fmt.Errorf("cannot use --every %q: there are panes of 1m, 1h and 24h", p.every)
	}
	if p.size == schemas.PaneSizeMinute && p.dimension != schemas.SpendDimensionOrg && p.dimension != schemas.SpendDimensionRepo {
		return errors.New("panes of 1m are by org and repo only")
	}
	p.from, err = parseSince(p.since, time.Now())
	return err
}

// run prints the panes.
func (p *spendPanes) run(ctx context.Context, out io.Writer) error {
	if err := p.parse(); err != nil {
		return err
	}
	in, err := p.look(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	sums, err := p.sums(ctx, in.broker)
	if err != nil {
		return err
	}
	if p.json {
		e := json.NewEncoder(out)
		for i := range sums {
			if err := e.Encode(&sums[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return p.bars(out, sums)
}

// sums adds the increments up: one of each row_id.
func (p *spendPanes) sums(ctx context.Context, b broker.Broker) ([]paneSum, error) {
	type key struct {
		start   int64
		value   string
		billing schemas.Billing
	}
	by := map[key]*paneSum{}
	seen := map[schemas.Id]bool{}
	var frame schemas.SpendFrame
	err := rows(ctx, b, broker.Spend, func(payload []byte) error {
		if err := frame.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range frame.Rows {
			r := &frame.Rows[i]
			if r.Dimension != p.dimension || r.PaneSize != p.size || r.PaneStart < p.from || seen[r.RowId] {
				continue
			}
			seen[r.RowId] = true
			k := key{r.PaneStart, r.Value, r.Billing}
			if by[k] == nil {
				by[k] = &paneSum{PaneStart: time.UnixMicro(r.PaneStart).UTC(), Value: r.Value, Billing: r.Billing.String()}
			}
			by[k].CostNanoUsd += r.CostNanoUsd
			by[k].Requests += r.Requests
			if r.CostGrade == schemas.CostGradeUnpriced {
				by[k].Unpriced += r.Requests
			}
		}
		return nil
	})
	sums := make([]paneSum, 0, len(by))
	for s := range maps.Values(by) {
		if s.Requests != 0 || s.CostNanoUsd != 0 {
			sums = append(sums, *s)
		}
	}
	slices.SortFunc(sums, func(a, b paneSum) int {
		return cmp.Or(a.PaneStart.Compare(b.PaneStart), cmp.Compare(b.CostNanoUsd, a.CostNanoUsd), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Billing, b.Billing))
	})
	return sums, err
}

// bars prints a bar for each sum; the longest is the dearest.
func (p *spendPanes) bars(out io.Writer, sums []paneSum) error {
	if len(sums) == 0 {
		_, err := fmt.Fprintln(out, "nothing was spent")
		return err
	}
	const longest = 40
	most := int64(1)
	for i := range sums {
		most = max(most, sums[i].CostNanoUsd)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "PANE (UTC)\t%s\tBILLING\tREQUESTS\tUSD\t\n", strings.ToUpper(p.dimension.String()))
	for i := range sums {
		s := &sums[i]
		bar := strings.Repeat("█", int(max(0, s.CostNanoUsd)*longest/most))
		if s.Unpriced > 0 {
			bar += fmt.Sprintf(" + %d unpriced", s.Unpriced)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", s.PaneStart.Format("2006-01-02 15:04"), printable(cmp.Or(s.Value, "(not attributed)")), s.Billing, s.Requests, usd(s.CostNanoUsd), bar)
	}
	return w.Flush()
}
