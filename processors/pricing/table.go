package pricing

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed prices.json
var builtin []byte

// Table is one version of the prices. It never changes.
type Table struct {
	version    int64
	document   document
	aliases    map[string]string
	list       index
	contracted index
}

// document is a table as a file holds it.
type document struct {
	Unit string `json:"unit"`
	// Aliases are other ids of models, as an organisation's own deployments have
	// them, and the vendor's names or ids.
	Aliases    map[string]string `json:"aliases,omitempty"`
	Rows       []Row             `json:"rows,omitempty"`       // the list
	Contracted []Row             `json:"contracted,omitempty"` // an organisation's own prices
}

// Row is one line of the prices: what some models cost from ValidFrom until
// before ValidTo. Rates are whole nano-dollars per token.
type Row struct {
	Models     []string `json:"models"`                // the vendor's names without date; "*" = every model (contracted)
	Org        string   `json:"org,omitempty"`         // contracted: whose; empty = of every organisation
	Platform   string   `json:"platform,omitempty"`    // empty = every platform
	Speed      string   `json:"speed,omitempty"`       // fast; empty = standard
	PromptOver int64    `json:"prompt_over,omitempty"` // only for prompts of more tokens than this; 0 = for every prompt

	Input        int64 `json:"input,omitempty"`
	Output       int64 `json:"output,omitempty"`
	CacheWrite5m int64 `json:"cache_write_5m,omitempty"`
	CacheWrite1h int64 `json:"cache_write_1h,omitempty"`
	CacheRead    int64 `json:"cache_read,omitempty"`
	WebSearch    int64 `json:"web_search,omitempty"` // per search

	// PercentOfList stands in place of the rates: so much of the list price, in
	// hundredths of a percent (contracted). It holds for every speed and prompt.
	PercentOfList int64 `json:"-"`

	USSurcharge       bool `json:"us_surcharge,omitempty"`       // 11/10 for inference_geo us
	RegionalSurcharge bool `json:"regional_surcharge,omitempty"` // 11/10 at regional endpoints of Bedrock and Vertex

	ValidFrom Date   `json:"valid_from,omitempty"` // left out = since the model's release
	ValidTo   Date   `json:"valid_to,omitempty"`   // left out = still
	KnownFrom Date   `json:"known_from"`           // when we learned of it; of two rows for one time the later known counts
	KnownTo   Date   `json:"known_to,omitempty"`   // when we learned that it does not hold; such a row prices nothing
	Source    string `json:"source"`               // who says so
}

// Version of the table: that of the configuration it was applied as; 1 is the
// builtin one.
func (t *Table) Version() int64 { return t.version }

// Rows of the price list, and of the contracts.
func (t *Table) Rows() (list, contracted []Row) { return t.document.Rows, t.document.Contracted }

// Builtin is the table that this release comes with, version 1. What an
// installation is priced by from a later time on is applied to it, so that
// nothing that was priced changes by an upgrade.
func Builtin() *Table { return parseBuiltin() }

// BuiltinText is the file that Builtin is read from.
func BuiltinText() []byte { return builtin }

var parseBuiltin = sync.OnceValue(func() *Table {
	t, err := Parse(builtin, 1)
	if err != nil {
		panic(err) // the binary itself is broken
	}
	return t
})

const (
	priceUnit = "nano-USD per token, and per search"
	maxRate   = 10_000_000  // 10 000 USD per million tokens
	maxSearch = 100_000_000 // 0.10 USD per search
)

// Parse reads a version of the prices from JSON in the form of prices.json. It
// reports every fault at once, each with its row.
func Parse(data []byte, version int64) (*Table, error) {
	doc, err := read(data)
	if err != nil {
		return nil, err
	}
	return newTable(doc, version)
}

func read(data []byte) (doc document, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return doc, fmt.Errorf("cannot read the price table: %w", err)
	}
	if d.More() {
		return doc, errors.New("cannot read the price table: there is more behind it")
	}
	if doc.Unit != priceUnit {
		return doc, fmt.Errorf("cannot use the price table: unit is %q, must be %q", doc.Unit, priceUnit)
	}
	return doc, nil
}

func newTable(doc document, version int64) (*Table, error) {
	t := &Table{version: version, document: doc, aliases: doc.Aliases}
	var faults []error
	for alias, model := range doc.Aliases {
		if _, chained := doc.Aliases[model]; alias == "" || model == "" || chained {
			faults = append(faults, fmt.Errorf("alias %q: %q is no model's name", alias, model))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	t.list = newIndex("row", doc.Rows, false, &faults)
	t.contracted = newIndex("contracted row", doc.Contracted, true, &faults)
	if faults != nil {
		return nil, fmt.Errorf("cannot use the price table: %w", errors.Join(faults...))
	}
	return t, nil
}

// Merge is one file with the rows and aliases of several. A row that stands in
// two of them counts once, and with known_to if one of them has it.
func Merge(files ...[]byte) ([]byte, error) {
	merged := document{Unit: priceUnit, Aliases: map[string]string{}}
	for _, file := range files {
		doc, err := read(file)
		if err != nil {
			return nil, err
		}
		for alias, model := range doc.Aliases {
			if have, ok := merged.Aliases[alias]; ok && have != model {
				return nil, fmt.Errorf("alias %q is %q and %q", alias, have, model)
			}
			merged.Aliases[alias] = model
		}
		merged.Rows = mergeRows(merged.Rows, doc.Rows)
		merged.Contracted = mergeRows(merged.Contracted, doc.Contracted)
	}
	return json.Marshal(merged)
}

func mergeRows(rows, more []Row) []Row {
	for i := range more {
		at := slices.IndexFunc(rows, more[i].says)
		switch {
		case at < 0:
			rows = append(rows, more[i])
		case more[i].KnownTo != 0:
			rows[at].KnownTo = more[i].KnownTo
		}
	}
	return rows
}

// says tells that two rows say the same; how long that was believed, and who
// says it, is left aside.
func (r *Row) says(o Row) bool {
	a := *r
	a.KnownTo, a.Source, a.Models = o.KnownTo, o.Source, nil
	b := o
	b.Models = nil
	return slices.Equal(r.Models, o.Models) && fmt.Sprint(a) == fmt.Sprint(b)
}

// Continues is an error that names the rows of an earlier version that are not
// in this one: a price that was applied is never changed or left out, another
// row follows it (DESIGN §6).
func (t *Table) Continues(before *Table) error {
	var faults []error
	missing := func(what string, rows, in []Row) {
		for i := range rows {
			at := slices.IndexFunc(in, rows[i].says)
			if at < 0 {
				faults = append(faults, fmt.Errorf("%s %d of version %d (%q, known from %s) is missing or was changed: leave it, and add a row that is known from a later day",
					what, i+1, before.version, rows[i].Models, rows[i].KnownFrom))
			} else if rows[i].KnownTo != 0 && in[at].KnownTo != rows[i].KnownTo {
				faults = append(faults, fmt.Errorf("%s %d of version %d (%q) was given up on %s, and is not now", what, i+1, before.version, rows[i].Models, rows[i].KnownTo))
			}
		}
	}
	missing("row", before.document.Rows, t.document.Rows)
	missing("contracted row", before.document.Contracted, t.document.Contracted)
	return errors.Join(faults...)
}

// AsOf is the table as it was known at the end of a day.
func (t *Table) AsOf(day Date) *Table {
	known := func(rows []Row) (then []Row) {
		for _, r := range rows {
			if r.KnownFrom > day {
				continue
			}
			if r.KnownTo > day {
				r.KnownTo = 0
			}
			then = append(then, r)
		}
		return then
	}
	doc := t.document
	doc.Rows, doc.Contracted = known(doc.Rows), known(doc.Contracted)
	then, err := newTable(doc, t.version)
	if err != nil {
		panic(err) // fewer rows than were right together
	}
	return then
}

// index is rows by model, each list in the order in which find tries them.
type index map[string][]*Row

const everyModel = "*"

func newIndex(what string, rows []Row, contracted bool, faults *[]error) index {
	x := index{}
	for i := range rows {
		r := &rows[i]
		if err := r.validate(contracted); err != nil {
			*faults = append(*faults, fmt.Errorf("%s %d (%q): %w", what, i+1, r.Models, err))
		}
		for _, model := range r.Models {
			if slices.ContainsFunc(x[model], r.contradicts) {
				*faults = append(*faults, fmt.Errorf("%s %d: %s has another row for the same time, known from the same day", what, i+1, model))
			}
			if r.KnownTo == 0 {
				x[model] = append(x[model], r)
			}
		}
	}
	for _, rows := range x {
		slices.SortStableFunc(rows, func(a, b *Row) int {
			return cmp.Or(cmp.Compare(b.Org, a.Org), cmp.Compare(b.Platform, a.Platform), cmp.Compare(b.PromptOver, a.PromptOver),
				cmp.Compare(b.KnownFrom, a.KnownFrom), cmp.Compare(b.ValidFrom, a.ValidFrom))
		})
	}
	return x
}

// find is the row that a request is priced by: one of its organisation before
// one of all, so of its platform, the highest price step that its prompt is
// over, the latest known; one for the model before one for every model.
func (x index) find(model string, r *Request) *Row {
	speed := r.Speed
	if speed == "standard" || speed == "normal" {
		speed = ""
	}
	prompt := r.prompt()
	for _, rows := range [...][]*Row{x[model], x[everyModel]} {
		for _, row := range rows {
			if (row.Speed == speed || row.PercentOfList != 0) && (row.Org == "" || row.Org == r.Org) &&
				(row.Platform == "" || row.Platform == r.Platform) &&
				(row.PromptOver == 0 || prompt > row.PromptOver) && row.holdsAt(r.OccurredAt) {
				return row
			}
		}
	}
	return nil
}

func (r *Row) holdsAt(at int64) bool {
	return (r.ValidFrom == 0 || int64(r.ValidFrom) <= at) && (r.ValidTo == 0 || at < int64(r.ValidTo))
}

// contradicts tells that neither of two rows of a model goes before the other.
func (r *Row) contradicts(o *Row) bool {
	return r.Org == o.Org && r.Platform == o.Platform && r.Speed == o.Speed && r.PromptOver == o.PromptOver &&
		r.KnownFrom == o.KnownFrom && r.KnownTo != r.KnownFrom && o.KnownTo != o.KnownFrom &&
		(r.ValidTo == 0 || o.ValidFrom < r.ValidTo) && (o.ValidTo == 0 || r.ValidFrom < o.ValidTo)
}

func (r *Row) validate(contracted bool) error {
	var faults []error
	fault := func(format string, values ...any) { faults = append(faults, fmt.Errorf(format, values...)) }
	within := func(key string, value, limit int64) {
		if value < 1 || value > limit {
			fault("%s is %d, must be 1 to %d", key, value, limit)
		}
	}
	if r.PercentOfList != 0 {
		if r.Input|r.Output|r.CacheWrite5m|r.CacheWrite1h|r.CacheRead|r.WebSearch != 0 || r.Speed != "" || r.PromptOver != 0 || r.USSurcharge || r.RegionalSurcharge {
			fault("percent_of_list stands in place of rates, speed, prompt_over and surcharges")
		}
		within("percent_of_list (in hundredths)", r.PercentOfList, wholly)
	} else {
		within("input", r.Input, maxRate)
		within("output", r.Output, maxRate)
		within("cache_write_5m", r.CacheWrite5m, maxRate)
		within("cache_write_1h", r.CacheWrite1h, maxRate)
		within("cache_read", r.CacheRead, maxRate)
		within("web_search", r.WebSearch, maxSearch)
		if r.CacheWrite1h < r.CacheWrite5m {
			fault("cache_write_1h is %d, must not be below cache_write_5m", r.CacheWrite1h)
		}
	}
	if r.PromptOver < 0 {
		fault("prompt_over is %d, must not be below 0", r.PromptOver)
	}
	if r.Speed != "" && r.Speed != "fast" {
		fault("speed is %q, must be fast or left out", r.Speed)
	}
	if len(r.Models) == 0 {
		fault("models is empty")
	}
	if !contracted && (r.PercentOfList != 0 || r.Org != "" || slices.Contains(r.Models, everyModel)) {
		fault("org, percent_of_list and the model %q are for contracted prices", everyModel)
	}
	if r.KnownFrom == 0 {
		fault("known_from is missing")
	}
	if r.KnownTo != 0 && r.KnownTo < r.KnownFrom {
		fault("known_to is before known_from")
	}
	if r.Source == "" {
		fault("source is missing")
	}
	if r.ValidTo != 0 && r.ValidTo <= r.ValidFrom {
		fault("valid_to is not after valid_from")
	}
	return errors.Join(faults...)
}

// Date is the begin of a day (UTC) in µs since 1970, 0 for none.
type Date int64

// UnmarshalText reads 2006-01-02.
func (d *Date) UnmarshalText(text []byte) error {
	day, err := time.Parse(time.DateOnly, string(text))
	*d = Date(day.UnixMicro())
	return err
}

// MarshalText writes it so.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the date as 2006-01-02, or a dash for none.
func (d Date) String() string {
	if d == 0 {
		return "-"
	}
	return time.UnixMicro(int64(d)).UTC().Format(time.DateOnly)
}

// UnmarshalJSON reads a row; rates and percentages are exact.
func (r *Row) UnmarshalJSON(data []byte) error {
	type plain Row
	in := struct {
		*plain
		PercentOfList json.Number `json:"percent_of_list"`
	}{plain: (*plain)(r)}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return err
	}
	if in.PercentOfList != "" {
		hundredths, err := strconv.ParseFloat(in.PercentOfList.String(), 64)
		if hundredths *= 100; err != nil || math.Abs(hundredths) > wholly || math.Abs(hundredths-math.Round(hundredths)) > 1e-6 {
			return fmt.Errorf("percent_of_list is %s, must be more than 0, at most 100, with two decimals", in.PercentOfList)
		}
		if r.PercentOfList = int64(math.Round(hundredths)); r.PercentOfList == 0 {
			return errors.New("percent_of_list is 0")
		}
	}
	return nil
}

// MarshalJSON writes a row as a file holds it.
func (r Row) MarshalJSON() ([]byte, error) {
	type plain Row
	out := struct {
		*plain
		PercentOfList json.Number `json:"percent_of_list,omitempty"`
	}{plain: (*plain)(&r)}
	if r.PercentOfList != 0 {
		out.PercentOfList = json.Number(strconv.FormatFloat(float64(r.PercentOfList)/100, 'f', -1, 64))
	}
	return json.Marshal(out)
}

// News are the rows that an earlier table does not have, or that were given up
// since.
func (t *Table) News(before *Table) (list, contracted []Row) {
	news := func(rows, old []Row) (n []Row) {
		for _, r := range rows {
			at := slices.IndexFunc(old, r.says)
			if at < 0 || old[at].KnownTo != r.KnownTo {
				n = append(n, r)
			}
		}
		return n
	}
	return news(t.document.Rows, before.document.Rows), news(t.document.Contracted, before.document.Contracted)
}
