package detectors

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// Spike says when the money of an hour is a spike: above the median of the same
// hour of the last 28 days by Factor deviations, and by a floor.
type Spike struct {
	Factor       int64
	FloorNanoUsd int64
	Samples      int // hours with spend that there must be
}

// Spike are the thresholds of spend_spike.
func (s *Settings) Spike() Spike { return s.spike }

// Baseline is what an hour usually costs: the median of the same hour on earlier
// days, and a standard deviation by their median absolute deviation.
type Baseline struct{ Samples, Median, Deviation int64 }

// BaselineOf is that of the money of such hours.
func BaselineOf(samples []int64) Baseline {
	if len(samples) == 0 {
		return Baseline{}
	}
	median := medianOf(samples)
	deviations := make([]int64, len(samples))
	for i, v := range samples {
		deviations[i] = max(v-median, median-v)
	}
	// 1.4826 * MAD estimates a standard deviation; a spender who is very steady still
	// varies by a tenth.
	return Baseline{int64(len(samples)), median, max(medianOf(deviations)*14826/10000, median/10)}
}

// Judge tells whether an hour's money is a spike. while it is one already, half of
// the deviations are enough (hysteresis). known is false while there are too few
// samples to tell.
func (s Spike) Judge(now int64, usual Baseline, already bool) (spike, known bool) {
	if usual.Samples < int64(s.Samples) {
		return false, false
	}
	factor, floor := s.Factor, s.FloorNanoUsd
	if already {
		factor, floor = max(1, factor/2), floor/2
	}
	more := now - usual.Median
	return more > factor*usual.Deviation && more >= floor, true
}

func medianOf(values []int64) int64 {
	v := slices.Clone(values)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return v[n/2-1] + (v[n/2]-v[n/2-1])/2
	}
	return v[len(v)/2]
}

// Budget is a hard number for the values of a dimension in a period.
type Budget struct {
	Dimension schemas.SpendDimension
	values    pattern
	Period    string // hour, day or month (UTC)
	NanoUsd   int64
}

// Budgets are those of a value.
func (s *Settings) Budgets(d schemas.SpendDimension, value string) (all []Budget) {
	for _, b := range s.budgets {
		if b.Dimension == d && b.values.fits(value) {
			all = append(all, b)
		}
	}
	return all
}

// parseBudget reads "user * day 20": dimension, pattern of values, period, USD.
func parseBudget(text string) (b Budget, err error) {
	words := strings.Fields(text)
	if len(words) != 4 {
		return b, fmt.Errorf("%q is no budget: want dimension, value or pattern, period and USD, such as: repo github.com/acme/* day 200", text)
	}
	var ok bool
	if b.Dimension, ok = schemas.ParseSpendDimension(words[0]); !ok || b.Dimension == schemas.SpendDimensionUnknown {
		return b, fmt.Errorf("%q is no dimension of a budget (org, repo, team, user, workflow, work_kind, model)", words[0])
	}
	if words[1] == "*" { // of one value each, whatever it is
		words[1] = "**"
	}
	b.values = patternOf(words[1])
	if b.Period = words[2]; !slices.Contains([]string{"hour", "day", "month"}, b.Period) {
		return b, fmt.Errorf("%q is no period of a budget (hour, day, month)", words[2])
	}
	usd, err := strconv.ParseFloat(words[3], 64)
	if err != nil || usd <= 0 || usd > 1e9 || math.IsNaN(usd) {
		return b, fmt.Errorf("%q is no amount of a budget: want USD above 0", words[3])
	}
	b.NanoUsd = int64(math.Round(usd * 1e9))
	return b, nil
}

// dollars is an amount for people.
func dollars(nano int64) string { return strconv.FormatFloat(float64(nano)/1e9, 'f', 2, 64) }

// SpikeFound is the finding of a spike: since when it lasts, what the last hour
// cost, and what is usual.
func SpikeFound(d schemas.SpendDimension, value string, since, hour, cost, median int64, open bool, by *Settings) Finding {
	f := Finding{Kind: SpendSpike, Key: fmt.Sprint(d, "\x00", value, "\x00", since), Subject: short(d.String() + " " + value), Severity: schemas.SeverityMedium,
		Count: 1, First: since, Last: hour, Cost: cost, By: by}
	f.Detail = fmt.Sprintf("%s spent $%s in the hour from %s; $%s is usual then.", f.Subject, dollars(cost), time.UnixMicro(hour).UTC().Format("15:04"), dollars(median))
	if !open {
		f.State = schemas.FindingStateResolved
	}
	return f
}

// BudgetFound is the finding of a budget that is exceeded in the period that began
// at a time.
func BudgetFound(b Budget, value string, began, at, cost int64, by *Settings) Finding {
	f := Finding{Kind: BudgetExceeded, Key: fmt.Sprint(b.Dimension, "\x00", value, "\x00", b.Period, "\x00", began), Subject: short(b.Dimension.String() + " " + value),
		Severity: schemas.SeverityHigh, Count: 1, First: began, Last: at, Cost: cost, By: by}
	f.Detail = fmt.Sprintf("%s spent $%s of the %s's budget of $%s.", f.Subject, dollars(cost), b.Period, dollars(b.NanoUsd))
	return f
}
