package pricing

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

//go:embed prices.json
var builtin []byte

// Table is one version of the price list: dated rows per model. It never
// changes.
type Table struct {
	version int64
	models  map[string][]*row // in the order in which find tries them
}

// row is one line of the price list: what some models cost from ValidFrom
// until before ValidTo. Rates are whole nano-dollars per token.
type row struct {
	Models     []string `json:"models"`      // the vendor's names without date
	Platform   string   `json:"platform"`    // empty = every platform
	Speed      string   `json:"speed"`       // fast; empty = standard
	PromptOver int64    `json:"prompt_over"` // only for prompts of more tokens than this; 0 = for every prompt

	Input        int64 `json:"input"`
	Output       int64 `json:"output"`
	CacheWrite5m int64 `json:"cache_write_5m"`
	CacheWrite1h int64 `json:"cache_write_1h"`
	CacheRead    int64 `json:"cache_read"`
	WebSearch    int64 `json:"web_search"` // per search

	USSurcharge       bool `json:"us_surcharge"`       // 11/10 for inference_geo us
	RegionalSurcharge bool `json:"regional_surcharge"` // 11/10 at regional endpoints of Bedrock and Vertex

	ValidFrom date   `json:"valid_from"` // left out = since the model's release
	ValidTo   date   `json:"valid_to"`   // left out = still
	KnownFrom date   `json:"known_from"` // when we learned of it; of two rows for one time the later known counts
	Source    string `json:"source"`     // who says so
}

// Version counts the table's versions, from 1.
func (t *Table) Version() int64 { return t.version }

// Builtin is the table that this release comes with.
func Builtin() *Table { return parseBuiltin() }

var parseBuiltin = sync.OnceValue(func() *Table {
	t, err := Parse(builtin)
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

// Parse reads a table from JSON in the form of prices.json. It reports every
// fault at once, each with its row.
func Parse(data []byte) (*Table, error) {
	var doc struct {
		Version int64  `json:"version"`
		Unit    string `json:"unit"`
		Rows    []row  `json:"rows"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("cannot read the price table: %w", err)
	}
	var faults []error
	if doc.Version < 1 {
		faults = append(faults, fmt.Errorf("version is %d, must be 1 or more", doc.Version))
	}
	if doc.Unit != priceUnit {
		faults = append(faults, fmt.Errorf("unit is %q, must be %q", doc.Unit, priceUnit))
	}
	t := &Table{version: doc.Version, models: map[string][]*row{}}
	for i := range doc.Rows {
		r := &doc.Rows[i]
		if err := r.validate(); err != nil {
			faults = append(faults, fmt.Errorf("row %d (%q): %w", i+1, r.Models, err))
		}
		for _, model := range r.Models {
			if slices.ContainsFunc(t.models[model], r.contradicts) {
				faults = append(faults, fmt.Errorf("row %d: %s has another row for the same time, known from the same day", i+1, model))
			}
			t.models[model] = append(t.models[model], r)
		}
	}
	if faults != nil {
		return nil, fmt.Errorf("cannot use the price table: %w", errors.Join(faults...))
	}
	for _, rows := range t.models {
		slices.SortFunc(rows, func(a, b *row) int {
			return cmp.Or(cmp.Compare(b.Platform, a.Platform), cmp.Compare(b.PromptOver, a.PromptOver),
				cmp.Compare(b.KnownFrom, a.KnownFrom), cmp.Compare(b.ValidFrom, a.ValidFrom))
		})
	}
	return t, nil
}

// find is the row that a request is priced by: one of its platform before one
// of all, the highest price step that its prompt is over, the latest known.
func (t *Table) find(model string, r *Request) *row {
	speed := r.Speed
	if speed == "standard" || speed == "normal" {
		speed = ""
	}
	prompt := r.prompt()
	for _, row := range t.models[model] {
		if row.Speed == speed && (row.Platform == "" || row.Platform == r.Platform) &&
			(row.PromptOver == 0 || prompt > row.PromptOver) && row.holdsAt(r.OccurredAt) {
			return row
		}
	}
	return nil
}

func (r *row) holdsAt(at int64) bool {
	return (r.ValidFrom == 0 || int64(r.ValidFrom) <= at) && (r.ValidTo == 0 || at < int64(r.ValidTo))
}

// contradicts tells that neither of two rows of a model goes before the other.
func (r *row) contradicts(o *row) bool {
	return r.Platform == o.Platform && r.Speed == o.Speed && r.PromptOver == o.PromptOver && r.KnownFrom == o.KnownFrom &&
		(r.ValidTo == 0 || o.ValidFrom < r.ValidTo) && (o.ValidTo == 0 || r.ValidFrom < o.ValidTo)
}

func (r *row) validate() error {
	var faults []error
	within := func(key string, value, limit int64) {
		if value < 1 || value > limit {
			faults = append(faults, fmt.Errorf("%s is %d, must be 1 to %d", key, value, limit))
		}
	}
	within("input", r.Input, maxRate)
	within("output", r.Output, maxRate)
	within("cache_write_5m", r.CacheWrite5m, maxRate)
	within("cache_write_1h", r.CacheWrite1h, maxRate)
	within("cache_read", r.CacheRead, maxRate)
	within("web_search", r.WebSearch, maxSearch)
	if r.CacheWrite1h < r.CacheWrite5m {
		faults = append(faults, fmt.Errorf("cache_write_1h is %d, must not be below cache_write_5m", r.CacheWrite1h))
	}
	if r.PromptOver < 0 {
		faults = append(faults, fmt.Errorf("prompt_over is %d, must not be below 0", r.PromptOver))
	}
	if r.Speed != "" && r.Speed != "fast" {
		faults = append(faults, fmt.Errorf("speed is %q, must be fast or left out", r.Speed))
	}
	if len(r.Models) == 0 {
		faults = append(faults, errors.New("models is empty"))
	}
	if r.KnownFrom == 0 {
		faults = append(faults, errors.New("known_from is missing"))
	}
	if r.Source == "" {
		faults = append(faults, errors.New("source is missing"))
	}
	if r.ValidTo != 0 && r.ValidTo <= r.ValidFrom {
		faults = append(faults, errors.New("valid_to is not after valid_from"))
	}
	return errors.Join(faults...)
}

// date is the begin of a day (UTC) in µs since 1970, 0 for none.
type date int64

func (d *date) UnmarshalText(text []byte) error {
	day, err := time.Parse(time.DateOnly, string(text))
	*d = date(day.UnixMicro())
	return err
}
