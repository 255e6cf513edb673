package pricing

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"slices"
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

// Aliases are other ids of models.
func (t *Table) Aliases() map[string]string { return t.document.Aliases }

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

// Unit is what a file must name as its unit.
const Unit = "nano-USD per token, and per search"

const (
	maxRate   = 10_000_000  // 10 000 USD per million tokens
	maxSearch = 100_000_000 // 0.10 USD per search
)

// Parse reads a version of the prices from JSON in the form of prices.json. It
// reports every fault at once, each with its line and row.
func Parse(data []byte, version int64) (*Table, error) {
	return read(File{Text: data}).table(version)
}

func newTable(doc document, version int64, rows, contracted []string, faults *[]error) *Table {
	return &Table{version: version, document: doc, aliases: doc.Aliases,
		list: newIndex(rows, doc.Rows, false, faults), contracted: newIndex(contracted, doc.Contracted, true, faults)}
}

// aliasFault is what is wrong with an alias.
func (t *Table) aliasFault(alias string) string {
	target := t.aliases[alias]
	name, _ := parseModel(target)
	knows := func(r Row) bool { return slices.Contains(r.Models, name) }
	_, chained := t.aliases[target]
	switch {
	case alias == "" || target == "":
		return "an alias and its model must not be empty"
	case t.listed(alias):
		return "the list prices a model of this name itself"
	case chained:
		return fmt.Sprintf("%q is an alias itself: name the model that it stands for", target)
	case !slices.ContainsFunc(t.document.Rows, knows) && !slices.ContainsFunc(t.document.Contracted, knows):
		return fmt.Sprintf("no row of the list or of a contract names the model %q", target)
	}
	return ""
}

// listed tells that the list prices what an id stands for without an alias.
func (t *Table) listed(id string) bool {
	name, _ := parseModel(id)
	return len(t.list[id]) > 0 || len(t.list[name]) > 0
}

// index is rows by model, each list in the order in which find tries them.
type index map[string][]*Row

const everyModel = "*"

// newIndex indexes rows. Faults are told by the places of the rows.
func newIndex(places []string, rows []Row, contracted bool, faults *[]error) index {
	x := index{}
	for i := range rows {
		r := &rows[i]
		for _, fault := range r.validate(contracted) {
			*faults = append(*faults, fmt.Errorf("%s: %w", places[i], fault))
		}
		for _, model := range r.Models {
			if slices.ContainsFunc(x[model], r.contradicts) {
				*faults = append(*faults, fmt.Errorf("%s: %q has another row for the same time, known from the same day", places[i], model))
			}
			if r.KnownTo == 0 {
				x[model] = append(x[model], r)
			}
		}
	}
	for _, rows := range x {
		slices.SortStableFunc(rows, func(a, b *Row) int {
			return cmp.Or(cmp.Compare(b.Org, a.Org), cmp.Compare(b.Platform, a.Platform), cmp.Compare(b.Speed, a.Speed), cmp.Compare(b.PromptOver, a.PromptOver),
				cmp.Compare(b.KnownFrom, a.KnownFrom), cmp.Compare(b.ValidFrom, a.ValidFrom))
		})
	}
	return x
}

// find is the row that a request is priced by: one of its organisation before
// one of all, so of its platform, of its speed before a percentage for every
// speed, the highest price step that its prompt is over, the latest known; one
// for the model before one for every model.
func (x index) find(model, platform string, r *Request) *Row {
	speed := r.Speed
	if speed == "standard" || speed == "normal" {
		speed = ""
	}
	prompt := r.prompt()
	for _, rows := range [...][]*Row{x[model], x[everyModel]} {
		for _, row := range rows {
			if (row.Speed == speed || row.PercentOfList != 0) && (row.Org == "" || row.Org == r.Org) &&
				(row.Platform == "" || row.Platform == platform) &&
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

// validate says what is wrong with a row by itself.
func (r *Row) validate(contracted bool) (faults []error) {
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
	if r.Platform != "" && !slices.Contains(Platforms, r.Platform) {
		fault("platform is %q, must be %s or left out", r.Platform, strings.Join(Platforms, ", "))
	}
	if len(r.Models) == 0 || slices.Contains(r.Models, "") {
		fault("models is empty, or one of them")
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
	return faults
}

// Date is the begin of a day (UTC) in µs since 1970, 0 for none.
type Date int64

// UnmarshalText reads 2006-01-02, a day after the first one of 1970.
func (d *Date) UnmarshalText(text []byte) error {
	day, err := time.Parse(time.DateOnly, string(text))
	if *d = Date(day.UnixMicro()); err == nil && *d <= 0 {
		err = errors.New("the day is not after 1970-01-01")
	}
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
