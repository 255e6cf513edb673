package spend

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// Figure is a number that another witness tells, and that rows can be held
// against.
type Figure uint8

// Figures, by the names that String gives. Cache writes are told as a whole or
// by their lifetime.
const (
	FigureInput Figure = iota
	FigureOutput
	FigureCacheRead
	FigureCacheWrite
	FigureCacheWrite5m
	FigureCacheWrite1h
	FigureSearches // of rows: all server tools, web fetches among them
	FigureCost     // nano-dollars

	figures
)

var figureNames = [figures]string{"input", "output", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h", "web_searches", "cost_nano_usd"}

func (f Figure) String() string { return figureNames[f] }

// Figures are numbers of a witness; null = it does not tell.
type Figures [figures]schemas.OptLong

// Add adds up what is told. It may end with ErrOverflow.
func (f *Figures) Add(o Figures) error {
	for i, v := range o {
		if !v.Valid {
			continue
		}
		sum, err := Plus(f[i].Value, v.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", Figure(i), err)
		}
		f[i] = schemas.SomeLong(sum)
	}
	return nil
}

// figure is the same number of rows.
func (m *Measures) figure(f Figure) int64 {
	switch f {
	case FigureInput:
		return m[TokenInput]
	case FigureOutput:
		return m[TokenOutput]
	case FigureCacheRead:
		return m[TokenCacheRead]
	case FigureCacheWrite:
		return m[TokenCacheWrite5m] + m[TokenCacheWrite1h]
	case FigureCacheWrite5m:
		return m[TokenCacheWrite5m]
	case FigureCacheWrite1h:
		return m[TokenCacheWrite1h]
	case FigureSearches:
		return m[ServerToolUses]
	}
	return m[CostNanoUsd]
}

// Reasons of a difference between rows and a witness. Each is only given where
// the evidence bears it; what is left is unexplained.
const (
	Agrees      = "agrees"
	Unexplained = "unexplained"

	// Of a request, against the client's own figure.
	NoClientFigure = "no client figure"
	NoUsage        = "no usage known"
	Unpriced       = "unpriced by us"
	CacheLifetime  = "cache-write lifetime unknown"
	PartialOutput  = "output known in part: the stream broke"
	NestedSearch   = "searches of a nested request are not told"
	FastSpeed      = "fast speed, known to one side"
	Surcharge      = "batch, geography or region"
	PriceDiffers   = "price differs" // Unpriced and PriceDiffers may go on with the client's price (Kind)

	// Of a session, against sums of the client.
	NoRows         = "no rows of the session"
	NotTold        = "the witness does not know the session"
	NoSum          = "the session has no sum: killed, or still running"
	Unread         = "a line of the witness cannot be read"
	OverTheEdge    = "the session goes over the edge of the period"
	AfterTheSum    = "requests after the witness's last word"
	ParentIncluded = "the sum of a fork includes its parent's"
	ClientsPrice   = "as the client's own figures on the rows"
	Uncounted      = "requests that the client did not count"

	// Of a day, against the vendor's export.
	NoRowsOfModel = "no rows of the model: another client of the organisation's keys"
	NotExported   = "the export does not hold the day"
	OtherDay      = "requests that the export counts on a neighbouring day"
	FetchesToo    = "web fetches are counted with searches"
)

// clientWentBy goes before the client's price in a reason.
const clientWentBy = ": the client went by "

// Kind is a reason without the client's price.
func Kind(reason string) string {
	kind, _, _ := strings.Cut(reason, clientWentBy)
	return kind
}

// Passes tells whether a bill with a difference of that reason is reconciled:
// not where nobody can say why, where the two go by different prices, where we
// have none, or where the witness could not be read.
func Passes(reason string) bool {
	switch Kind(reason) {
	case Unexplained, PriceDiffers, Unpriced, Unread:
		return false
	}
	return true
}

// Difference is what rows and a witness say of a model in one figure, over all
// subjects (requests, sessions or days) that differ for one reason, or agree.
type Difference struct {
	Model    string
	Billing  string // kinds of money stay apart; mixed where a subject has several
	Figure   Figure
	Reason   string
	Subjects int64
	Ours     int64
	Theirs   int64
	Examples []string // the first of the subjects, by name
}

// maxExamples are named of each Difference.
const maxExamples = 5

type differenceKey struct {
	model, billing string
	figure         Figure
	reason         string
}

// Comparison collects differences.
type Comparison struct {
	found  map[differenceKey]*Difference
	covers map[schemas.Billing]*covered
	err    error // of the first sum that does not fit
}

func (c *Comparison) failed(err error) { c.err = cmp.Or(c.err, err) }

func (c *Comparison) add(d Difference, subject string) {
	if c.found == nil {
		c.found = map[differenceKey]*Difference{}
	}
	key := differenceKey{d.Model, d.Billing, d.Figure, d.Reason}
	sum := c.found[key]
	if sum == nil {
		sum = &Difference{Model: d.Model, Billing: d.Billing, Figure: d.Figure, Reason: d.Reason}
		c.found[key] = sum
	}
	var errs [2]error
	sum.Subjects += d.Subjects
	sum.Ours, errs[0] = Plus(sum.Ours, d.Ours)
	sum.Theirs, errs[1] = Plus(sum.Theirs, d.Theirs)
	c.failed(cmp.Or(errs[:]...))
	if i, there := slices.BinarySearch(sum.Examples, subject); !there && subject != "" && i < maxExamples {
		sum.Examples = slices.Insert(sum.Examples, i, subject)
		sum.Examples = sum.Examples[:min(len(sum.Examples), maxExamples)]
	}
}

// Differences are those found, by model, billing, figure and reason. It fails
// with ErrOverflow where a sum does not fit.
func (c *Comparison) Differences() ([]Difference, error) {
	if c.err != nil {
		return nil, c.err
	}
	var all []Difference
	for _, d := range c.found {
		if d.Subjects != 0 || d.Ours != 0 || d.Theirs != 0 {
			all = append(all, *d)
		}
	}
	slices.SortFunc(all, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Billing, b.Billing), cmp.Compare(a.Figure, b.Figure), cmp.Compare(a.Reason, b.Reason))
	})
	return all, nil
}

// Record is our side of a reconciliation: rows of model requests. Each row_id is
// added once. Memory grows with sessions and days.
type Record struct {
	client   Comparison
	sessions *Ledger // by session and model
	silent   *Ledger // of them what has no client figure
	days     *Ledger // by day, model and platform
	last     map[string]int64
}

// NewRecord makes one of at most limit cells.
func NewRecord(limit int) *Record {
	return &Record{sessions: NewLedger(limit, Session, Model), silent: NewLedger(limit, Session, Model), days: NewLedger(limit, Day, Model, Platform),
		last: map[string]int64{}}
}

// Add adds a row by its sign; other kinds than model_request are passed over.
func (r *Record) Add(row *schemas.Enriched) error {
	if row.Kind != schemas.KindModelRequest {
		return nil
	}
	if err := r.sessions.Add(row); err != nil {
		return err
	}
	client := clientNano(row)
	r.client.add(Difference{Model: row.Model, Billing: row.Billing.String(), Figure: FigureCost, Reason: clientReason(row, client),
		Subjects: int64(row.Sign), Ours: int64(row.Sign) * row.CostNanoUsd.Value, Theirs: int64(row.Sign) * client.Value}, "")
	if !client.Valid {
		if err := r.silent.Add(row); err != nil {
			return err
		}
	}
	if row.Sign > 0 {
		r.last[row.SessionId] = max(r.last[row.SessionId], row.OccurredAt)
	}
	return r.days.Add(row)
}

// Client holds each request against the figure that the client gave for it
// (contract §8): the reason is a function of the row.
func (r *Record) Client() *Comparison {
	result := &Comparison{found: r.client.found, err: r.client.err}
	for _, c := range r.sessions.Cells() {
		of := result.coverage(c.Billing)
		for sum, by := range map[*int64]int64{&of.Subjects: c.Measures[Requests], &of.SubjectsOf: c.Measures[Requests],
			&of.CostNanoUsd: c.Measures[CostNanoUsd], &of.CostOf: c.Measures[CostNanoUsd]} {
			result.increase(sum, by)
		}
	}
	for _, c := range r.silent.Cells() {
		of := result.coverage(c.Billing)
		result.increase(&of.Subjects, -c.Measures[Requests])
		result.increase(&of.CostNanoUsd, -c.Measures[CostNanoUsd])
	}
	return result
}

// Faults names the sums that no whole facts come to, as Ledger.Faults does.
func (r *Record) Faults() []string { return slices.Concat(r.sessions.Faults(), r.days.Faults()) }

// clientReason says why a request's cost is not the client's figure.
func clientReason(r *schemas.Enriched, client schemas.OptLong) string {
	theirs, ours := client.Value, r.CostNanoUsd.Value
	price := clientPrice(r, theirs)
	searches := searchNano * r.ServerToolUses.Value
	switch {
	case !client.Valid:
		return NoClientFigure
	case !r.CostNanoUsd.Valid && r.CostGrade == schemas.CostGradeUnknown:
		return NoUsage
	case !r.CostNanoUsd.Valid:
		return Unpriced + wentBy(price)
	case near(ours, theirs, 1):
		return Agrees
	case !r.CostNanoUsdMax.Valid && r.QuerySource == "web_search_tool" && theirs >= ours && theirs-ours <= maxSearches*searchNano+1 &&
		near((theirs-ours+1)%searchNano, 1, 1):
		return NestedSearch
	case !r.CostNanoUsdMax.Valid && theirs >= ours && theirs-ours <= lostCost(r):
		return PartialOutput
	case ours <= theirs && theirs <= r.CostNanoUsdMax.Value && r.TokenCacheWrite5m.Value > 0:
		return CacheLifetime
	case ours <= theirs && theirs <= r.CostNanoUsdMax.Value, r.ServiceTier == "batch" && near(2*ours, theirs, 2),
		near(10*ours, 11*theirs, 11), near(11*ours, 10*theirs, 11):
		return Surcharge
	case near(2*(ours-searches), theirs-searches, 2), near(ours-searches, 2*(theirs-searches), 2):
		return FastSpeed
	case price > 0:
		return PriceDiffers + wentBy(price)
	}
	return Unexplained
}

// searchNano is what a web search costs.
const searchNano = 10_000_000

// maxSearches is more than a nested request makes.
const maxSearches = 100

// maxOutput is the most tokens that a model puts out for one request, and so the
// most that a stream which broke can have lost.
const maxOutput = 128_000

// lostOutput is the most output that requests whose stream broke can have had
// beside what is known.
func (m *Measures) lostOutput() int64 { return maxOutput * max(0, m[UnboundedRequests]) }

// lostCost is the most that it can have cost, in nano-dollars, at the highest
// price by which the known tokens come to the known cost: output is at most 5
// times input, a cache read at least a fortieth. 0 where nothing is known.
func (m *Measures) lostCost() int64 {
	in := float64(m[TokenInput]) + 5*float64(m[TokenOutput]) + 1.25*float64(m[TokenCacheWrite5m]) + 2*float64(m[TokenCacheWrite1h]) + float64(m[TokenCacheRead])/40
	cost := float64(m[CostNanoUsd]) - searchNano*float64(m[ServerToolUses])
	if in < 1 || cost <= 0 {
		return 0
	}
	return int64(min(float64(m.lostOutput())*5*cost/in, 1<<62))
}

// lostCost of one request, whatever its sign.
func lostCost(r *schemas.Enriched) int64 {
	said := *r
	said.Sign = 1
	m, err := Of(&said)
	if err != nil {
		return 0
	}
	return m.lostCost()
}

// wentBy names a price of the client, in nano-dollars per input token, as USD
// per million tokens of input and output. A model that it does not know it
// prices like one that it does.
func wentBy(price int64) string {
	if price == 0 {
		return ""
	}
	return fmt.Sprintf(clientWentBy+"%g/%g", float64(price)/1e3, float64(price)/200)
}

// clientPrice is the price of an input token, in nano-dollars, by which a figure
// of the client comes out to the nano-dollar; 0 = none does. In the client's
// list (contract §8) output is 5 times input, cache writes 1.25 and 2 times,
// cache reads a tenth, twentieth or fortieth, and every price a multiple of 0.05
// USD per million. Of few tokens nothing can be told.
func clientPrice(r *schemas.Enriched, nano int64) int64 {
	const step, parts = 50, 40
	for _, read := range [...]int64{4, 2, 1} {
		weight := parts*r.TokenInput.Value + 5*parts*r.TokenOutput.Value + 50*r.TokenCacheWrite5m.Value + 80*r.TokenCacheWrite1h.Value + read*r.TokenCacheRead.Value
		for _, tools := range [...]int64{0, searchNano * r.ServerToolUses.Value} {
			if weight < 20*parts || weight > 1<<40 || nano <= tools {
				continue
			}
			price := (parts*(nano-tools)/weight + step/2) / step * step
			if price > 0 && price < 1_000_000 && near((price*weight+parts/2)/parts, nano-tools, 1) {
				return price
			}
		}
	}
	return 0
}

func near(a, b, by int64) bool { return a-b <= by && b-a <= by }
