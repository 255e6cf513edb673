package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// metricFigures are the figures of claude_code.token.usage by its attribute
// type (contract §4.4).
var metricFigures = map[string]spend.Figure{"input": spend.FigureInput, "output": spend.FigureOutput,
	"cacheRead": spend.FigureCacheRead, "cacheCreation": spend.FigureCacheWrite}

// readMetrics reads what files of OTLP metrics say of each session: one export
// request as OTLP JSON a line, bare or as {"body": ...}. A line that is none is
// an error that names it.
func readMetrics(names []string) ([]*spend.Claim, error) {
	m := metricsFile{series: map[string]*metricSeries{}}
	for _, name := range names {
		if err := m.read(name); err != nil {
			return nil, fmt.Errorf("cannot read the metrics in %s: %w", name, err)
		}
	}
	if len(names) > 0 && len(m.series) == 0 {
		return nil, fmt.Errorf("cannot use the metrics in %s: there is no point of claude_code.token.usage or claude_code.cost.usage", strings.Join(names, ", "))
	}
	return m.claims()
}

// metricsFile collects the points of series.
type metricsFile struct{ series map[string]*metricSeries }

// metricSeries is one stream of points: what has the same attributes.
type metricSeries struct {
	session, model string
	figure         spend.Figure
	first, last    int64 // ns, the time that its points tell of

	delta float64
	told  []interval          // of deltas: merged where one begins at the end of another
	sums  map[int64]cumulated // of cumulative points, by start
}

// interval is a time that a delta has told of, in ns.
type interval struct{ from, to int64 }

// cumulated is the last sum since a start.
type cumulated struct {
	at    int64
	value float64
}

func (m *metricsFile) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 64<<10), producers.MaxLine)
	n, requests := 0, 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := m.line(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		requests++
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d MiB", n+1, producers.MaxLine>>20)
	} else if err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	if requests == 0 {
		return errors.New("it is empty")
	}
	return nil
}

func (m *metricsFile) line(raw []byte) error {
	if err := producers.CheckObject(raw); err != nil {
		return err
	}
	request := gjson.ParseBytes(raw)
	if body := request.Get("body"); body.IsObject() {
		request = body
	}
	if !request.Get("resourceMetrics").IsArray() {
		return errors.New("it is no export request for metrics: it has no resourceMetrics")
	}
	var failed error
	for _, resource := range request.Get("resourceMetrics").Array() {
		process := resource.Get("resource.attributes").Raw
		for _, scope := range resource.Get("scopeMetrics").Array() {
			for _, metric := range scope.Get("metrics").Array() {
				failed = cmp.Or(failed, m.metric(metric, process))
			}
		}
	}
	return failed
}

// metric takes the points of one metric in, if it is of tokens or cost.
func (m *metricsFile) metric(metric gjson.Result, process string) error {
	name := metric.Get("name").String()
	if name != "claude_code.token.usage" && name != "claude_code.cost.usage" {
		return nil
	}
	temporality := metric.Get("sum.aggregationTemporality").String()
	delta := temporality == "1" || temporality == "AGGREGATION_TEMPORALITY_DELTA"
	if !delta && temporality != "2" && temporality != "AGGREGATION_TEMPORALITY_CUMULATIVE" {
		return fmt.Errorf("%s has the temporality %q, want delta or cumulative", name, temporality)
	}
	for _, point := range metric.Get("sum.dataPoints").Array() {
		if err := m.point(name, process, point, delta); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (m *metricsFile) point(name, process string, point gjson.Result, delta bool) error {
	var attributes []string
	known := map[string]string{}
	for _, a := range point.Get("attributes").Array() {
		key, value := a.Get("key").String(), a.Get("value")
		attributes = append(attributes, fmt.Sprintf("%q=%s", key, value.Raw))
		known[key] = value.Get("stringValue").String()
	}
	figure, ok := spend.FigureCost, true
	if name == "claude_code.token.usage" {
		figure, ok = metricFigures[known["type"]]
	}
	value := point.Get("asDouble").Float()
	if i := point.Get("asInt"); i.Exists() {
		value = float64(i.Int())
	}
	start, at := point.Get("startTimeUnixNano").Int(), point.Get("timeUnixNano").Int()
	switch {
	case !ok:
		return fmt.Errorf("a point of the type %q", known["type"])
	case known["session.id"] == "" || known["model"] == "":
		return errors.New("a point without session.id or model")
	case !(value >= 0 && value < 1e15):
		return fmt.Errorf("a point of %v", value)
	case at <= 0 || start < 0 || start > at:
		return fmt.Errorf("a point from %d to %d", start, at)
	}
	slices.Sort(attributes)
	key := fmt.Sprintf("%s %s %v", name, process, attributes)
	s := m.series[key]
	if s == nil {
		if len(m.series) >= maxGroups {
			return fmt.Errorf("more than %d series", maxGroups)
		}
		s = &metricSeries{session: known["session.id"], model: known["model"], figure: figure, first: start, sums: map[int64]cumulated{}}
		m.series[key] = s
	}
	s.first, s.last = min(s.first, start), max(s.last, at)
	if !delta {
		if before := s.sums[start]; at >= before.at {
			s.sums[start] = cumulated{at, value}
		}
		return nil
	}
	if s.tell(interval{start, at}) {
		s.delta += value
	}
	return nil
}

// tell notes that a delta has told of a time; false where it was told before:
// the export was sent twice.
func (s *metricSeries) tell(new interval) bool {
	i, _ := slices.BinarySearchFunc(s.told, new.from, func(t interval, from int64) int { return cmp.Compare(t.to, from) })
	if i < len(s.told) && s.told[i].from <= new.from && new.to <= s.told[i].to {
		return false
	}
	if i < len(s.told) && s.told[i].from <= new.to { // touches it
		s.told[i] = interval{min(s.told[i].from, new.from), max(s.told[i].to, new.to)}
		return true
	}
	s.told = slices.Insert(s.told, i, new)
	return true
}

// claims puts the series together, by session and model.
func (m *metricsFile) claims() ([]*spend.Claim, error) {
	claims := map[string]*spend.Claim{}
	for _, key := range slices.Sorted(maps.Keys(m.series)) {
		s := m.series[key]
		c := claims[s.session]
		if c == nil {
			c = &spend.Claim{Session: s.session, First: s.first / 1000, Last: s.last / 1000, Models: map[string]*spend.Figures{}}
			claims[s.session] = c
		}
		c.First, c.Last = min(c.First, s.first/1000), max(c.Last, s.last/1000)
		f := c.Models[s.model]
		if f == nil {
			f = &spend.Figures{}
			for _, figure := range []spend.Figure{spend.FigureInput, spend.FigureOutput, spend.FigureCacheRead, spend.FigureCacheWrite, spend.FigureCost} {
				f[figure] = schemas.SomeLong(0)
			}
			c.Models[s.model] = f
		}
		sum, err := s.sum()
		if err == nil {
			err = f.Add(sum)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot sum up the metrics of session %s: %w", s.session, err)
		}
	}
	return slices.SortedFunc(maps.Values(claims), func(a, b *spend.Claim) int { return strings.Compare(a.Session, b.Session) }), nil
}

// sum is what a series comes to: the deltas, and the last sum since each start.
func (s *metricSeries) sum() (f spend.Figures, err error) {
	value := s.delta
	for _, start := range slices.Sorted(maps.Keys(s.sums)) {
		value += s.sums[start].value
	}
	if s.figure == spend.FigureCost {
		value *= 1e9
	}
	if value >= 1<<62 {
		return f, fmt.Errorf("%s %g: %w", s.figure, value, spend.ErrOverflow)
	}
	f[s.figure] = schemas.SomeLong(int64(math.Round(value)))
	return f, nil
}
