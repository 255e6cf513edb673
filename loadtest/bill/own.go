package bill

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"slices"
	"time"
)

// Own is an organisation's own prices: list prices that go before ours, and
// what it has contracted.
type Own struct{ Rows, Contracted []ownRow }

// ownRow is a row of prices.json, in whole nano-dollars per token.
type ownRow struct {
	Models       []string
	Platform     string
	Speed        string
	PromptOver   int64       `json:"prompt_over"`
	Input        int64       `json:"input"`
	Output       int64       `json:"output"`
	CacheWrite5m int64       `json:"cache_write_5m"`
	CacheWrite1h int64       `json:"cache_write_1h"`
	CacheRead    int64       `json:"cache_read"`
	Percent      json.Number `json:"percent_of_list"`
	ValidFrom    string      `json:"valid_from"` // a day, UTC; empty = always
	ValidTo      string      `json:"valid_to"`   // before this day; empty = still
}

// agreed is a contracted price: rates, or a percentage of the list price.
type agreed struct {
	rate
	percent *big.Rat
}

func readOwn(path string) (*Own, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var own Own
	if err := json.Unmarshal(text, &own); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return &own, nil
}

// holds tells that a row is for a request: its model, platform and speed, at the
// time of the request (trap 3.17).
func (o *ownRow) holds(r *Request) bool {
	day := r.At.UTC().Format(time.DateOnly)
	plain := r.Speed == "" || r.Speed == "standard" || r.Speed == "normal"
	model, _ := modelOf(r.Model)
	named := slices.Contains(o.Models, "*") || slices.Contains(o.Models, r.Model) ||
		slices.ContainsFunc(o.Models, func(id string) bool { n, ok := names[id]; return ok && n == model })
	return named && (o.Platform == "" || o.Platform == r.Platform) &&
		(o.Percent != "" || o.Speed == r.Speed || o.Speed == "" && plain) &&
		(o.PromptOver == 0 || r.prompt() > o.PromptOver) &&
		(o.ValidFrom == "" || o.ValidFrom <= day) && (o.ValidTo == "" || day < o.ValidTo)
}

func (o *ownRow) rate() rate {
	perMillion := func(nanoPerToken int64) string { return big.NewRat(nanoPerToken, 1000).FloatString(3) }
	return rate{perMillion(o.Input), perMillion(o.Output), perMillion(o.CacheWrite5m), perMillion(o.CacheWrite1h), perMillion(o.CacheRead)}
}

func (own *Own) list(r *Request) *rate {
	if own == nil {
		return nil
	}
	for i := range own.Rows {
		if o := &own.Rows[i]; o.holds(r) {
			p := o.rate()
			return &p
		}
	}
	return nil
}

func (own *Own) contracted(r *Request) *agreed {
	if own == nil {
		return nil
	}
	for i := range own.Contracted {
		if o := &own.Contracted[i]; o.holds(r) {
			if o.Percent != "" {
				return &agreed{percent: usd(o.Percent.String())}
			}
			return &agreed{rate: o.rate()}
		}
	}
	return nil
}
