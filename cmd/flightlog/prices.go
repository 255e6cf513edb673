package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/pricing"
	"github.com/flightlog/flightlog/schemas"
)

func pricesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "prices",
		Short: "What a request costs, since when and by whose word: ls, check, explain, apply, restate",
		Long: `Prices are dated rows: what a model costs per token class, from when until when in
the world, since when we know it, and who says so. This release comes with the
public list (version 1); an organisation adds a file of its own, with contracted
prices, other names of its models, or list prices that this release does not
know. docs/prices.md has the form of the file.

A request is priced by the row of its time, by the version in force when it was
first told of. A price that changes is a new row, never an edited one; what was
priced before changes only by 'flightlog prices restate'.`,
	}
	c.AddCommand(pricesLsCommand(), pricesCheckCommand(), pricesExplainCommand(), pricesApplyCommand(), restateCommand("prices", "what a request costs"))
	return family(c)
}

// readPrices merges files with the builtin list.
func readPrices(names []string) ([]byte, *pricing.Table, error) {
	files := [][]byte{pricing.BuiltinText()}
	for _, name := range names {
		text, err := readConfiguration(name)
		if err != nil {
			return nil, nil, err
		}
		if _, err := pricing.Merge(text); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		files = append(files, text)
	}
	text, err := pricing.Merge(files...)
	if err != nil {
		return nil, nil, err
	}
	t, err := pricing.Parse(text, 0)
	return text, t, err
}

// priceSource says which table a command shows.
type priceSource struct {
	place
	files []string
	asOf  string
}

func (s *priceSource) flags(c *cobra.Command) {
	s.place.flags(c)
	c.Flags().StringArrayVar(&s.files, "file", nil, "show the builtin list with this file, not what was applied (several times)")
	c.Flags().StringVar(&s.asOf, "as-of", "", "as it was known on this day")
}

// tables are the builtin table and all that were applied, or the one of files;
// the last is the newest.
func (s *priceSource) tables(ctx context.Context) (tables []*pricing.Table, err error) {
	tables = []*pricing.Table{pricing.Builtin()}
	if len(s.files) > 0 {
		_, t, err := readPrices(s.files)
		return append(tables, t), err
	}
	if s.broker == "" {
		folder, err := dataFolder(s.data)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(folder, "broker")); err != nil {
			return tables, nil // nothing was ever applied
		}
	}
	in, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	applied, err := appliedPrices(ctx, in.broker)
	return append(tables, applied...), err
}

// appliedPrices are the versions that were applied, oldest first.
func appliedPrices(ctx context.Context, b broker.Broker) (tables []*pricing.Table, err error) {
	all, err := configurations(ctx, b, "prices")
	if err != nil {
		return nil, err
	}
	for i := range all {
		t, err := pricing.Parse(all[i].Text, all[i].Version)
		if err != nil {
			return nil, fmt.Errorf("version %d: %w", all[i].Version, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// table is the newest, as it was known on the day asked for.
func (s *priceSource) table(ctx context.Context) (*pricing.Table, error) {
	tables, err := s.tables(ctx)
	if err != nil {
		return nil, err
	}
	t := tables[len(tables)-1]
	if s.asOf != "" {
		var day pricing.Date
		if err := day.UnmarshalText([]byte(s.asOf)); err != nil {
			return nil, fmt.Errorf("cannot use --as-of %q: want a day such as 2026-11-23", s.asOf)
		}
		t = t.AsOf(day)
	}
	return t, nil
}

func pricesLsCommand() *cobra.Command {
	var s priceSource
	var model string
	var asJSON bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "List the prices",
		Example: `  flightlog prices ls --model claude-sonnet-5
  flightlog prices ls --as-of 2026-08-22 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := s.table(c.Context())
			if err != nil {
				return err
			}
			list, contracted := t.Rows()
			list, contracted = rowsOf(list, model), rowsOf(contracted, model)
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"version": t.Version(), "unit": "nano-USD per token, and per search", "rows": list, "contracted": contracted})
			}
			return printPrices(c.OutOrStdout(), t.Version(), list, contracted)
		},
	}
	s.flags(c)
	c.Flags().StringVar(&model, "model", "", "only rows of models whose names hold this")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, in the form of a prices file")
	return c
}

func rowsOf(rows []pricing.Row, model string) []pricing.Row {
	return slices.DeleteFunc(slices.Clone(rows), func(r pricing.Row) bool {
		return !slices.ContainsFunc(r.Models, func(name string) bool { return strings.Contains(name, model) || name == "*" })
	})
}

func printPrices(out io.Writer, version int64, list, contracted []pricing.Row) error {
	fmt.Fprintf(out, "version %d; USD per million tokens, web search per thousand\n\n", version)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MODELS\tFOR\tINPUT\tOUTPUT\tWRITE 5M\tWRITE 1H\tREAD\tSEARCH\tVALID\tKNOWN\tSOURCE")
	for i, rows := range [][]pricing.Row{list, contracted} {
		for _, r := range rows {
			var for_ []string
			if i == 1 {
				for_ = append(for_, "contract")
			}
			for _, word := range []string{r.Org, r.Platform, r.Speed} {
				if word != "" {
					for_ = append(for_, word)
				}
			}
			if r.PromptOver > 0 {
				for_ = append(for_, fmt.Sprintf("prompt over %d", r.PromptOver))
			}
			if r.USSurcharge {
				for_ = append(for_, "us x1.1")
			}
			if r.RegionalSurcharge {
				for_ = append(for_, "regional x1.1")
			}
			fmt.Fprintf(w, "%s\t%s\t", strings.Join(r.Models, " "), strings.Join(for_, ", "))
			if r.PercentOfList != 0 {
				fmt.Fprintf(w, "%s %% of list\t\t\t\t\t\t", strconv.FormatFloat(float64(r.PercentOfList)/100, 'f', -1, 64))
			} else {
				for _, rate := range []int64{r.Input, r.Output, r.CacheWrite5m, r.CacheWrite1h, r.CacheRead} {
					fmt.Fprintf(w, "%s\t", thousandths(rate))
				}
				fmt.Fprintf(w, "%s\t", thousandths(r.WebSearch/1000))
			}
			fmt.Fprintf(w, "%s to %s\t%s to %s\t%s\n", r.ValidFrom, r.ValidTo, r.KnownFrom, r.KnownTo, r.Source)
		}
	}
	return w.Flush()
}

// thousandths writes nano-dollars per token as USD per million.
func thousandths(n int64) string { return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) }

func pricesCheckCommand() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use:   "check FILE...",
		Short: "Say every fault of prices files, and what they would change",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, t, err := readPrices(args)
			if err != nil {
				return err
			}
			s := priceSource{place: at}
			before, err := s.table(c.Context())
			if err != nil {
				return err
			}
			if err := t.Continues(before); err != nil {
				return err
			}
			return printChange(c.OutOrStdout(), before, t)
		},
	}
	at.flags(c)
	return c
}

// printChange says which rows are new, and which were given up.
func printChange(out io.Writer, before, after *pricing.Table) error {
	list, contracted := after.News(before)
	if len(list)+len(contracted) == 0 {
		_, err := fmt.Fprintf(out, "nothing new against version %d\n", before.Version())
		return err
	}
	fmt.Fprintf(out, "new or given up against version %d:\n", before.Version())
	return printPrices(out, before.Version()+1, list, contracted)
}

func pricesApplyCommand() *cobra.Command {
	var at place
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use:   "apply [FILE...]",
		Short: "Make the builtin list and an organisation's files the next version, in force in a minute",
		Long: `Makes the list of this release, and the files given, the next version of the
prices: it holds for requests that are told of from a minute on. Give all your
files each time: a row that was applied stays, and one that is missing or was
edited is an error. Without a file, the list of this release alone: after an
upgrade that knows new prices.`,
		Example: `  flightlog prices check ours.json
  flightlog prices apply ours.json
  flightlog prices restate --since 2026-11-01 --reason "contract of November"`,
		RunE: func(c *cobra.Command, args []string) error {
			text, t, err := readPrices(args)
			if err != nil {
				return err
			}
			in, err := at.open(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			applied, err := appliedPrices(c.Context(), in.broker)
			if err != nil {
				return err
			}
			before := append([]*pricing.Table{pricing.Builtin()}, applied...)[len(applied)]
			if err := t.Continues(before); err != nil {
				return err
			}
			if dryRun {
				return printChange(c.OutOrStdout(), before, t)
			}
			return applyText(c.Context(), c, in.broker, "prices", text, asJSON)
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func pricesExplainCommand() *cobra.Command {
	var s priceSource
	var r pricing.Request
	var when, id string
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain",
		Short: "Say how the price of a request comes about",
		Example: `  flightlog prices explain --model claude-opus-5-5 --input 1200 --output 800 --cache-read 50000
  flightlog prices explain --request req_011CSHoEeqs5C35K2UUqR7Fy`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if id != "" {
				return explainRow(c.Context(), c, &s, id, asJSON)
			}
			if r.Model == "" {
				return fmt.Errorf("give --model and what was used, or --request")
			}
			r.OccurredAt = time.Now().UnixMicro()
			if when != "" {
				at, err := parseTime("at", when)
				if err != nil {
					return err
				}
				r.OccurredAt = at.UnixMicro()
			}
			t, err := s.table(c.Context())
			if err != nil {
				return err
			}
			return printExplanation(c.OutOrStdout(), t.Explain(&r), asJSON)
		},
	}
	s.flags(c)
	f := c.Flags()
	f.StringVar(&id, "request", "", "request_id of a request in the topic enriched; all other flags but --as-of and --file say where to look")
	f.StringVar(&when, "at", "", "when it happened: a day or a time (default now)")
	f.StringVar(&r.Model, "model", "", "model, by any id that a platform uses for it")
	f.StringVar(&r.Org, "org", "", "organisation, for its contracted prices")
	f.StringVar(&r.Platform, "platform", "", "firstParty, bedrock, vertex or foundry")
	f.StringVar(&r.Speed, "speed", "", "fast")
	f.StringVar(&r.ServiceTier, "tier", "", "batch")
	f.StringVar(&r.InferenceGeo, "geo", "", "us")
	for _, n := range []struct {
		name string
		at   *int64
		help string
	}{
		{"input", &r.Input, "tokens neither read from nor written to a cache"}, {"output", &r.Output, "tokens, thinking included"},
		{"cache-read", &r.CacheRead, "tokens"}, {"cache-write-5m", &r.CacheWrite5m, "tokens"}, {"cache-write-1h", &r.CacheWrite1h, "tokens"},
		{"cache-write", &r.CacheWriteUnsplit, "tokens written to a cache of unknown lifetime"}, {"web-searches", &r.WebSearches, "server web searches"},
	} {
		f.Int64Var(n.at, n.name, 0, n.help)
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// explainRow explains the figures of a request in the topic, by the version of
// the prices that it was priced by.
func explainRow(ctx context.Context, c *cobra.Command, s *priceSource, id string, asJSON bool) error {
	in, err := s.look(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	var found []schemas.Enriched // states by fact
	var frame schemas.EnrichedFrame
	err = rows(ctx, in.broker, broker.Enriched, func(payload []byte) error {
		if err := frame.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range frame.Rows {
			row := &frame.Rows[i]
			if row.Kind != schemas.KindModelRequest || row.RequestId != id || row.Sign < 0 {
				continue
			}
			found = append(slices.DeleteFunc(found, func(o schemas.Enriched) bool { return o.FactKey == row.FactKey }), *row)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("no request %q in the topic enriched", id)
	}
	applied, err := appliedPrices(ctx, in.broker)
	if err != nil {
		return err
	}
	tables := append([]*pricing.Table{pricing.Builtin()}, applied...)
	for i := range found {
		row := &found[i]
		t := tables[0]
		for _, other := range tables {
			if other.Version() == row.PriceVersion {
				t = other
			}
		}
		e := t.Explain(pricedBy(row, t))
		if !asJSON {
			fmt.Fprintf(c.OutOrStdout(), "%s %s, %s, %s by version %d of the prices\n", row.QuerySource, row.RequestId,
				time.UnixMicro(row.OccurredAt).UTC().Format(time.RFC3339Nano), row.CostGrade, row.PriceVersion)
			if row.Restatement != "" {
				fmt.Fprintf(c.OutOrStdout(), "restated: %s\n", row.Restatement)
			}
		}
		if err := printExplanation(c.OutOrStdout(), e, asJSON); err != nil {
			return err
		}
		if e.Cost.NanoUsd != row.CostNanoUsd {
			return fmt.Errorf("the row says %d nano-dollars: its columns do not hold all that it was priced by", row.CostNanoUsd.Value)
		}
	}
	return nil
}

// pricedBy is what a row was priced by. Where it was served is in no column:
// of two ways the one that gives its figure.
func pricedBy(row *schemas.Enriched, t *pricing.Table) *pricing.Request {
	r := &pricing.Request{Org: row.Org, Model: row.Model, Platform: row.Platform, Speed: row.Speed, ServiceTier: row.ServiceTier, OccurredAt: row.OccurredAt,
		Input: row.TokenInput.Value, Output: row.TokenOutput.Value, CacheRead: row.TokenCacheRead.Value,
		CacheWrite5m: row.TokenCacheWrite5m.Value, CacheWrite1h: row.TokenCacheWrite1h.Value, WebSearches: row.ServerToolUses.Value}
	same := func() bool { c := t.Price(r); return c.NanoUsd == row.CostNanoUsd }
	for _, try := range []func(){
		func() {}, func() { r.InferenceGeo = "us" },
		func() { r.InferenceGeo, r.WebSearches = "", 0 }, func() { r.InferenceGeo = "us" },
		func() { r.InferenceGeo = "" },
	} {
		if try(); same() {
			break
		}
	}
	if row.CostGrade == schemas.CostGradeEstimated && row.CostNanoUsdMax.Valid && !row.TokenCacheWrite1h.Valid {
		r.CacheWrite5m, r.CacheWriteUnsplit = 0, r.CacheWrite5m
	}
	return r
}

func printExplanation(out io.Writer, e pricing.Explanation, asJSON bool) error {
	if asJSON {
		return printJSON(out, e)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "model %s", e.Model)
	if e.List == nil {
		fmt.Fprintf(out, ": no list price is known\n")
	} else {
		fmt.Fprintf(out, ", list price valid %s to %s, known from %s\n  %s\n", e.List.ValidFrom, e.List.ValidTo, e.List.KnownFrom, e.List.Source)
		for _, t := range e.Terms {
			fmt.Fprintf(w, "  %s\t%d\tx %d nano-USD\t= %s USD\t\n", t.Class, t.Count, t.Rate, usd(t.NanoUsd))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, f := range e.Factors {
			fmt.Fprintf(out, "  tokens times: %s\n", f)
		}
		fmt.Fprintf(out, "  %s: %s USD", e.Cost.Grade, usd(e.Cost.NanoUsd.Value))
		switch {
		case !e.Cost.MaxNanoUsd.Valid:
			fmt.Fprintf(out, " at least")
		case e.Cost.MaxNanoUsd != e.Cost.NanoUsd:
			fmt.Fprintf(out, " to %s USD", usd(e.Cost.MaxNanoUsd.Value))
		}
		fmt.Fprintln(out)
	}
	if e.Contracted != nil {
		fmt.Fprintf(out, "  contracted: %s USD (%s)\n", usd(e.Cost.ContractedNanoUsd.Value), e.Contracted.Source)
	}
	return nil
}
