package o2test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// scalars are the functions that panels use and the database does not have, or
// has with another meaning.
func (d *database) scalars() map[string]func([]driver.Value) (driver.Value, error) {
	return map[string]func([]driver.Value) (driver.Value, error){
		"histogram": d.histogram,
		"str_match": func(a []driver.Value) (driver.Value, error) { return matches(a, strings.Contains) },
		"str_match_ignore_case": func(a []driver.Value) (driver.Value, error) {
			return matches(a, func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) })
		},
		"re_match": func(a []driver.Value) (driver.Value, error) {
			if len(a) != 2 {
				return nil, errArguments
			}
			pattern, err := regexp.Compile(fmt.Sprint(a[1]))
			if err != nil {
				return nil, err
			}
			return matches(a, func(text, _ string) bool { return pattern.MatchString(text) })
		},
	}
}

var errArguments = errors.New("wrong number of arguments")

// matches is null where the text is.
func matches(a []driver.Value, match func(text, with string) bool) (driver.Value, error) {
	switch {
	case len(a) != 2:
		return nil, errArguments
	case a[0] == nil || a[1] == nil:
		return nil, nil
	}
	return match(fmt.Sprint(a[0]), fmt.Sprint(a[1])), nil
}

// histogram is the beginning of the interval that a time lies in.
func (d *database) histogram(a []driver.Value) (driver.Value, error) {
	seconds := d.interval
	if len(a) == 0 || len(a) > 2 {
		return nil, errArguments
	}
	at, ok := a[0].(int64)
	if !ok {
		return nil, nil
	}
	if len(a) == 2 {
		var err error
		if seconds, err = parseInterval(fmt.Sprint(a[1])); err != nil {
			return nil, err
		}
	}
	step := seconds * 1_000_000
	return time.UnixMicro(at - at%step).UTC().Format("2006-01-02T15:04:05"), nil
}

// units of intervals, in s.
var units = map[string]int64{"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400,
	"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

// parseInterval reads "5 minute", "1 hours", "30s", ...
func parseInterval(text string) (seconds int64, err error) {
	text = strings.ToLower(strings.TrimSpace(text))
	end := strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' })
	if end < 0 {
		end = len(text)
	}
	n, err := strconv.ParseInt(text[:end], 10, 32)
	unit := strings.TrimSpace(text[end:])
	if units[unit] == 0 {
		unit = strings.TrimSuffix(unit, "s")
	}
	if err != nil || n < 1 || units[unit] == 0 {
		return 0, fmt.Errorf("%q is no interval", text)
	}
	return n * units[unit], nil
}

// autoInterval is the interval of a histogram that names none: about a hundred
// of them are in the time of the query. The real server has a table of its own.
func autoInterval(micros int64) int64 {
	steps := []int64{1, 5, 10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600}
	for _, step := range steps {
		if micros/1_000_000 <= 100*step {
			return step
		}
	}
	return 86400
}

// aggregate is a function over rows of which it keeps the values.
type aggregate struct {
	values []float64
	ints   bool // all values were integers
	finish func(a *aggregate) driver.Value
	at     float64 // the second argument
}

func (a *aggregate) Step(_ *sqlite.FunctionContext, args []driver.Value) error {
	if len(args) == 0 {
		return errArguments
	}
	if len(args) > 1 {
		switch at := args[1].(type) {
		case float64:
			a.at = at
		case int64:
			a.at = float64(at)
		}
	}
	switch v := args[0].(type) {
	case nil:
	case int64:
		a.values = append(a.values, float64(v))
	case float64:
		a.values, a.ints = append(a.values, v), false
	default:
		return errText
	}
	return nil
}

var (
	errText   = errors.New("the column is text")
	errWindow = errors.New("not available over a window")
)

func (a *aggregate) WindowInverse(*sqlite.FunctionContext, []driver.Value) error { return errWindow }

func (a *aggregate) WindowValue(*sqlite.FunctionContext) (driver.Value, error) {
	if len(a.values) == 0 {
		return nil, nil
	}
	return a.finish(a), nil
}

func (a *aggregate) Final(*sqlite.FunctionContext) {}

// quantile interpolates; of integers it is an integer, cut off (as seen).
func (a *aggregate) quantile(q float64) driver.Value {
	slices.Sort(a.values)
	place := max(0, min(1, q)) * float64(len(a.values)-1)
	low := int(place)
	v := a.values[low]
	if low+1 < len(a.values) {
		v += (a.values[low+1] - v) * (place - float64(low))
	}
	if a.ints {
		return int64(math.Floor(v))
	}
	return v
}

// distinct is APPROX_DISTINCT, which is exact here.
type distinct struct{ seen map[driver.Value]bool }

func (d *distinct) Step(_ *sqlite.FunctionContext, args []driver.Value) error {
	if d.seen == nil {
		d.seen = map[driver.Value]bool{}
	}
	if args[0] != nil {
		d.seen[args[0]] = true
	}
	return nil
}

func (d *distinct) WindowInverse(*sqlite.FunctionContext, []driver.Value) error { return errWindow }

func (d *distinct) WindowValue(*sqlite.FunctionContext) (driver.Value, error) {
	return int64(len(d.seen)), nil
}

func (d *distinct) Final(*sqlite.FunctionContext) {}

// total is SUM and AVG: unlike the database's own they refuse text, as the
// server does (contract §1.6).
type total struct {
	n      int
	whole  int64
	sum    float64
	floats bool
	mean   bool
}

func (t *total) Step(_ *sqlite.FunctionContext, args []driver.Value) error { return t.add(args[0], 1) }

func (t *total) WindowInverse(_ *sqlite.FunctionContext, args []driver.Value) error {
	return t.add(args[0], -1)
}

func (t *total) add(value driver.Value, sign int) error {
	switch v := value.(type) {
	case nil:
		return nil
	case int64:
		t.whole += int64(sign) * v
	case float64:
		t.sum += float64(sign) * v
		t.floats = true
	default:
		return errText
	}
	t.n += sign
	return nil
}

func (t *total) WindowValue(*sqlite.FunctionContext) (driver.Value, error) {
	switch {
	case t.n == 0:
		return nil, nil
	case t.mean:
		return (t.sum + float64(t.whole)) / float64(t.n), nil
	case t.floats:
		return t.sum + float64(t.whole), nil
	}
	return t.whole, nil
}

func (t *total) Final(*sqlite.FunctionContext) {}

// register makes the functions known to a driver.
func (d *database) register(to *sqlite.Driver) error {
	for name, f := range d.scalars() {
		impl := &sqlite.FunctionImpl{NArgs: -1, Scalar: func(_ *sqlite.FunctionContext, a []driver.Value) (driver.Value, error) { return f(a) }}
		if err := to.RegisterFunction(name, impl); err != nil {
			return err
		}
	}
	keeping := func(finish func(*aggregate) driver.Value) func(sqlite.FunctionContext) (sqlite.AggregateFunction, error) {
		return func(sqlite.FunctionContext) (sqlite.AggregateFunction, error) {
			return &aggregate{ints: true, finish: finish}, nil
		}
	}
	median := func(a *aggregate) driver.Value { return a.quantile(0.5) }
	for name, f := range map[string]struct {
		args int32
		make func(sqlite.FunctionContext) (sqlite.AggregateFunction, error)
	}{
		"approx_percentile_cont": {-1, keeping(func(a *aggregate) driver.Value { return a.quantile(a.at) })},
		"approx_distinct":        {1, func(sqlite.FunctionContext) (sqlite.AggregateFunction, error) { return &distinct{}, nil }},
		"median":                 {1, keeping(median)},
		"approx_median":          {1, keeping(median)},
		"sum":                    {1, func(sqlite.FunctionContext) (sqlite.AggregateFunction, error) { return &total{}, nil }},
		"avg":                    {1, func(sqlite.FunctionContext) (sqlite.AggregateFunction, error) { return &total{mean: true}, nil }},
	} {
		if err := to.RegisterFunction(name, &sqlite.FunctionImpl{NArgs: f.args, MakeAggregate: f.make}); err != nil {
			return err
		}
	}
	return nil
}
