package spend

import (
	"maps"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Coverage is how much of the rows of one billing a witness tells of.
type Coverage struct {
	Billing     string `json:"billing"`
	Subjects    int64  `json:"subjects"` // requests, sessions or days that it tells of
	SubjectsOf  int64  `json:"subjects_of"`
	CostNanoUsd int64  `json:"cost_nano_usd"` // ours, of these
	CostOf      int64  `json:"cost_nano_usd_of"`
}

// covered is a Coverage whose subjects are being counted, each once.
type covered struct {
	told, all map[string]bool
	Coverage
}

func (c *Comparison) coverage(billing schemas.Billing) *covered {
	if c.covers == nil {
		c.covers = map[schemas.Billing]*covered{}
	}
	if c.covers[billing] == nil {
		c.covers[billing] = &covered{map[string]bool{}, map[string]bool{}, Coverage{Billing: billing.String()}}
	}
	return c.covers[billing]
}

// cover notes rows of a subject, and whether the witness tells of it.
func (c *Comparison) cover(rows *Cell, subject string, told bool) {
	of, cost := c.coverage(rows.Billing), rows.Measures[CostNanoUsd]
	of.all[subject] = true
	c.increase(&of.CostOf, cost)
	if told {
		of.told[subject] = true
		c.increase(&of.CostNanoUsd, cost)
	}
	of.Subjects, of.SubjectsOf = int64(len(of.told)), int64(len(of.all))
}

func (c *Comparison) increase(sum *int64, by int64) {
	var err error
	*sum, err = Plus(*sum, by)
	c.failed(err)
}

// Covers is how much of the rows the witness tells of, by billing.
func (c *Comparison) Covers() (all []Coverage) {
	for _, billing := range slices.Sorted(maps.Keys(c.covers)) {
		all = append(all, c.covers[billing].Coverage)
	}
	return all
}
