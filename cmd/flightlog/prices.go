package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

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

// readPrices merges files with the builtin list, to what can be applied.
func readPrices(names []string) ([]byte, *pricing.Table, error) {
	files := []pricing.File{{Name: "list of this release", Text: pricing.BuiltinText()}}
	for _, name := range names {
		text, err := readConfiguration(name)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, pricing.File{Name: name, Text: text})
	}
	text, t, err := pricing.Join(files...)
	if err == nil {
		err = fits("the list of this release with your files", text)
	}
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
	in, err := s.lookIfAny(ctx)
	if in == nil {
		return tables, err // nothing was ever applied
	}
	defer in.Close()
	applied, err := appliedPrices(ctx, in.broker)
	return append(tables, applied...), err
}

// appliedPrices are the versions that were applied, oldest first. A text that
// is none counts as the version before it, as it does for rows.
func appliedPrices(ctx context.Context, b broker.Broker) (tables []*pricing.Table, err error) {
	all, err := configurations(ctx, b, "prices")
	if err != nil {
		return nil, err
	}
	for i := range all {
		t, fault := pricing.Parse(all[i].Text, all[i].Version)
		if fault != nil {
			slog.Warn("a version of the prices cannot be used, the one before it counts", "version", all[i].Version, "error", fault)
			continue
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

// priceList is a table, or a part of one, in the form of a prices file.
type priceList struct {
	Unit       string            `json:"unit"`
	Aliases    map[string]string `json:"aliases"`
	Rows       []pricing.Row     `json:"rows"`
	Contracted []pricing.Row     `json:"contracted"`
}

func newPriceList(list, contracted []pricing.Row, aliases map[string]string) *priceList {
	l := &priceList{pricing.Unit, aliases, list, contracted}
	if l.Aliases == nil {
		l.Aliases = map[string]string{}
	}
	l.Rows, l.Contracted = append([]pricing.Row{}, list...), append([]pricing.Row{}, contracted...)
	return l
}

func (l *priceList) empty() bool { return len(l.Rows)+len(l.Contracted)+len(l.Aliases) == 0 }

// of is the part of some models: those whose names hold a text.
func (l *priceList) of(model string) *priceList {
	rows := func(rows []pricing.Row) []pricing.Row {
		return slices.DeleteFunc(slices.Clone(rows), func(r pricing.Row) bool {
			return !slices.ContainsFunc(r.Models, func(name string) bool { return strings.Contains(name, model) || name == "*" })
		})
	}
	aliases := maps.Clone(l.Aliases)
	maps.DeleteFunc(aliases, func(_, target string) bool { return !strings.Contains(target, model) })
	return newPriceList(rows(l.Rows), rows(l.Contracted), aliases)
}

func pricesLsCommand() *cobra.Command {
	var s priceSource
	var model string
	var wide, asJSON bool
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
			all := newPriceList(list, contracted, t.Aliases())
			shown := all.of(model)
			head, notes := fmt.Sprintf("version %d", t.Version()), c.OutOrStdout()
			if len(s.files) > 0 {
				head = "not applied: the list of this release with " + printable(strings.Join(s.files, ", "))
			}
			if asJSON {
				notes = c.ErrOrStderr()
			} else {
				fmt.Fprintf(notes, "%s; USD per million tokens, web search per thousand\n\n", head)
			}
			switch {
			case all.empty():
				fmt.Fprintln(notes, "no price was known then")
			case len(shown.Rows) == 0:
				fmt.Fprintf(notes, "the list has no model whose name holds %q\n", model)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), shown)
			}
			return shown.print(c.OutOrStdout(), wide)
		},
	}
	s.flags(c)
	c.Flags().StringVar(&model, "model", "", "only rows of models whose names hold this")
	c.Flags().BoolVar(&wide, "wide", false, "do not cut the sources")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, in the form of a prices file")
	return c
}

// print writes the list for a person, with the sources whole or cut to what the
// terminal has room for.
func (l *priceList) print(out io.Writer, wide bool) error {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	if len(l.Rows)+len(l.Contracted) > 0 {
		fmt.Fprintln(w, "MODELS\tFOR\tINPUT\tOUTPUT\tWRITE 5M\tWRITE 1H\tREAD\tSEARCH\tVALID\tKNOWN\tSOURCE")
	}
	for i, rows := range [][]pricing.Row{l.Rows, l.Contracted} {
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
			fmt.Fprintf(w, "%s\t%s\t", printable(strings.Join(r.Models, " ")), printable(strings.Join(for_, ", ")))
			if r.PercentOfList != 0 {
				fmt.Fprintf(w, "%s %% of list\t\t\t\t\t\t", strconv.FormatFloat(float64(r.PercentOfList)/100, 'f', -1, 64))
			} else {
				for _, rate := range []int64{r.Input, r.Output, r.CacheWrite5m, r.CacheWrite1h, r.CacheRead} {
					fmt.Fprintf(w, "%s\t", thousandths(rate))
				}
				fmt.Fprintf(w, "%s\t", thousandths(r.WebSearch/1000))
			}
			fmt.Fprintf(w, "%s to %s\t%s to %s\t%s\n", r.ValidFrom, r.ValidTo, r.KnownFrom, r.KnownTo, printable(r.Source))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	table := text.String()
	if !wide {
		table = cutSources(table, terminalWidth(out))
	}
	if _, err := io.WriteString(out, table); err != nil {
		return err
	}
	for i, alias := range slices.Sorted(maps.Keys(l.Aliases)) {
		if i == 0 {
			fmt.Fprintln(out, "\nALIASES")
		}
		fmt.Fprintf(out, "%s = %s\n", printable(alias), printable(l.Aliases[alias]))
	}
	return nil
}

// terminalWidth is the width of a terminal, 0 for what is none.
func terminalWidth(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// cutSources cuts the last column of a table to what is left of a width, but to
// no less than a few words; to 60 characters if there is no width.
func cutSources(table string, width int) string {
	lines := strings.Split(table, "\n")
	before, _, _ := strings.Cut(lines[0], "SOURCE")
	begin := utf8.RuneCountInString(before)
	end := begin + 60
	if width > 0 {
		end = max(begin+20, width)
	}
	for i, line := range lines {
		if characters := []rune(line); len(characters) > end {
			lines[i] = string(characters[:end-1]) + "…"
		}
	}
	return strings.Join(lines, "\n")
}

// thousandths writes nano-dollars per token as USD per million.
func thousandths(n int64) string { return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) }

func pricesCheckCommand() *cobra.Command {
	var at place
	var asJSON bool
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
			return printChange(c.OutOrStdout(), before, t, asJSON)
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printChange says which rows and aliases are new, and which rows were given up.
func printChange(out io.Writer, before, after *pricing.Table, asJSON bool) error {
	news := newPriceList(after.News(before))
	if asJSON {
		return printJSON(out, struct {
			Against int64 `json:"against_version"`
			*priceList
		}{before.Version(), news})
	}
	if news.empty() {
		_, err := fmt.Fprintf(out, "nothing new against version %d\n", before.Version())
		return err
	}
	fmt.Fprintf(out, "new or given up against version %d; USD per million tokens, web search per thousand\n\n", before.Version())
	return news.print(out, false)
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
			in, err := at.look(c.Context())
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
				return printChange(c.OutOrStdout(), before, t, asJSON)
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
	asked := []string{"model", "org", "platform", "speed", "tier", "geo"}
	c := &cobra.Command{
		Use:   "explain",
		Short: "Say how the price of a request comes about",
		Example: `  flightlog prices explain --model claude-opus-5-5 --input 1200 --output 800 --cache-read 50000
  flightlog prices explain --request req_011CSHoEeqs5C35K2UUqR7Fy`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if id != "" {
				for _, name := range append(asked, "file", "as-of", "at") {
					if c.Flags().Changed(name) {
						return fmt.Errorf("--%s has no meaning with --request, which is explained as it was priced", name)
					}
				}
				return explainRow(c.Context(), c, &s, id, asJSON)
			}
			if r.Model == "" {
				return fmt.Errorf("give --model and what was used, or --request")
			}
			if err := believable(&r); err != nil {
				return err
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
			e := t.Explain(&r)
			if asJSON {
				return printJSON(c.OutOrStdout(), newExplanation(&e))
			}
			return printExplanation(c.OutOrStdout(), &e)
		},
	}
	s.flags(c)
	f := c.Flags()
	f.StringVar(&id, "request", "", "request_id of a request in the topic enriched; goes with flags that say where to look")
	f.StringVar(&when, "at", "", "when it happened: a day or a time (default now)")
	f.StringVar(&r.Model, "model", "", "model, by any id that a platform uses for it")
	f.StringVar(&r.Org, "org", "", "organisation, for its contracted prices")
	f.StringVar(&r.Platform, "platform", "", strings.Join(pricing.Platforms, ", "))
	f.StringVar(&r.Speed, "speed", "", strings.Join(pricing.Speeds, ", "))
	f.StringVar(&r.ServiceTier, "tier", "", strings.Join(pricing.ServiceTiers, ", "))
	f.StringVar(&r.InferenceGeo, "geo", "", strings.Join(pricing.InferenceGeos, ", "))
	for _, n := range counts(&r) {
		f.Int64Var(n.at, n.name, 0, n.help)
		asked = append(asked, n.name)
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// requestCount is a flag for how much of a class a request used.
type requestCount struct {
	name string
	at   *int64
	help string
}

func counts(r *pricing.Request) []requestCount {
	return []requestCount{
		{"input", &r.Input, "tokens neither read from nor written to a cache"}, {"output", &r.Output, "tokens, thinking included"},
		{"cache-read", &r.CacheRead, "tokens"}, {"cache-write-5m", &r.CacheWrite5m, "tokens"}, {"cache-write-1h", &r.CacheWrite1h, "tokens"},
		{"cache-write", &r.CacheWriteUnsplit, "tokens written to a cache of unknown lifetime"}, {"web-searches", &r.WebSearches, "server web searches"},
	}
}

// believable is an error for a request that nothing can be priced of, whatever
// the prices.
func believable(r *pricing.Request) error {
	var faults []error
	for _, word := range []struct {
		name, value string
		allowed     []string
	}{{"platform", r.Platform, pricing.Platforms}, {"speed", r.Speed, pricing.Speeds}, {"tier", r.ServiceTier, pricing.ServiceTiers}, {"geo", r.InferenceGeo, pricing.InferenceGeos}} {
		if word.value != "" && !slices.Contains(word.allowed, word.value) {
			faults = append(faults, fmt.Errorf("cannot use --%s %q: want one of %s", word.name, word.value, strings.Join(word.allowed, ", ")))
		}
	}
	for _, n := range counts(r) {
		if *n.at < 0 || *n.at > pricing.MaxCount {
			faults = append(faults, fmt.Errorf("cannot use --%s %d: want 0 to %d", n.name, *n.at, int64(pricing.MaxCount)))
		}
	}
	return errors.Join(faults...)
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
		if asJSON {
			x := newExplanation(&e)
			x.Request = &explainedRow{row.RequestId, row.QuerySource, time.UnixMicro(row.OccurredAt).UTC(), row.CostGrade.String(), optional(row.CostNanoUsd), row.Restatement}
			err = printJSON(c.OutOrStdout(), x)
		} else {
			fmt.Fprintf(c.OutOrStdout(), "%s %s, %s, %s by version %d of the prices\n", printable(row.QuerySource), printable(row.RequestId),
				time.UnixMicro(row.OccurredAt).UTC().Format(time.RFC3339Nano), row.CostGrade, row.PriceVersion)
			if row.Restatement != "" {
				fmt.Fprintf(c.OutOrStdout(), "restated: %s\n", printable(row.Restatement))
			}
			err = printExplanation(c.OutOrStdout(), &e)
		}
		if err != nil {
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

// explanation is a pricing.Explanation in JSON.
type explanation struct {
	Request       *explainedRow   `json:"request,omitempty"`
	Model         string          `json:"model"`
	PriceVersion  int64           `json:"price_version"` // 0 = of files that were not applied
	Grade         string          `json:"cost_grade"`
	NanoUsd       *int64          `json:"cost_nano_usd"`
	MaxNanoUsd    *int64          `json:"cost_nano_usd_max"`
	ContractedUsd *int64          `json:"cost_contracted_nano_usd"`
	Terms         []explainedTerm `json:"terms"`
	Factors       []string        `json:"factors"`
	List          *pricing.Row    `json:"list_row"`
	Contracted    *pricing.Row    `json:"contracted_row"`
}

// explainedRow is what the row of a request says.
type explainedRow struct {
	RequestId   string    `json:"request_id"`
	QuerySource string    `json:"query_source"`
	OccurredAt  time.Time `json:"occurred_at"`
	Grade       string    `json:"cost_grade"`
	NanoUsd     *int64    `json:"cost_nano_usd"`
	Restatement string    `json:"restatement"`
}

type explainedTerm struct {
	Class   string `json:"class"`
	Count   int64  `json:"count"`
	Rate    int64  `json:"rate_nano_usd"`
	NanoUsd int64  `json:"nano_usd"`
}

func newExplanation(e *pricing.Explanation) *explanation {
	x := &explanation{Model: e.Model, PriceVersion: e.Cost.PriceVersion, Grade: e.Cost.Grade.String(), NanoUsd: optional(e.Cost.NanoUsd),
		MaxNanoUsd: optional(e.Cost.MaxNanoUsd), ContractedUsd: optional(e.Cost.ContractedNanoUsd),
		Terms: []explainedTerm{}, Factors: append([]string{}, e.Factors...), List: e.List, Contracted: e.Contracted}
	for _, t := range e.Terms {
		x.Terms = append(x.Terms, explainedTerm(t))
	}
	return x
}

// optional is a number or null.
func optional(n schemas.OptLong) *int64 {
	if !n.Valid {
		return nil
	}
	return &n.Value
}

func printExplanation(out io.Writer, e *pricing.Explanation) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "model %s", printable(e.Model))
	if e.List == nil {
		fmt.Fprintf(out, ": no list price is known\n")
	} else {
		fmt.Fprintf(out, ", list price valid %s to %s, known from %s\n  %s\n", e.List.ValidFrom, e.List.ValidTo, e.List.KnownFrom, printable(e.List.Source))
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
		fmt.Fprintf(out, "  contracted: %s USD (%s)\n", usd(e.Cost.ContractedNanoUsd.Value), printable(e.Contracted.Source))
	}
	return nil
}
