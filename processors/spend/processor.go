package spend

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/findings"
	"github.com/flightlog/flightlog/processors/records"
	"github.com/flightlog/flightlog/schemas"
)

// Processor adds up what the sessions spend by panes of a minute, an hour and a
// day, and says increments on the topic spend; it finds spikes and budgets that
// are exceeded. Its input are the deltas of all partitions of sessions, by
// dimension and value. Its fold is pure.
type Processor struct{ rules *detectors.Cache }

// NewProcessor makes the processor.
func NewProcessor() *Processor { return &Processor{detectors.NewCache()} }

// Name implements engine.Processor.
func (*Processor) Name() string { return "spend" }

// Version implements engine.Processor.
func (*Processor) Version() int64 { return 1 }

// Input implements engine.FrameProcessor.
func (*Processor) Input() string { return broker.SpendDeltas }

// Begin implements engine.Processor.
func (p *Processor) Begin(tx *engine.Tx) engine.Fold {
	return &fold{tx: tx, rules: p.rules, values: map[string]*value{}}
}

// State keys: v with the hash of org, dimension and value; h with the same, what it
// spent before the present hour and day, which is seldom looked at; w for the watermarks.
const (
	valueKind    = 'v'
	earlierKind  = 'h'
	watermarkKey = "w"
)

// Times in µs.
const (
	second     = int64(1e6)
	minutePane = 60 * second
	hourPane   = 60 * minutePane
	dayPane    = 24 * hourPane

	minutePace = 10 * second // how long an increment of a minute's pane waits for more
	otherPace  = minutePane  // of an hour's or a day's
	silence    = minutePane  // a source that is silent for so long leaves the watermark
	hourMemory = 28 * 24     // hours that are remembered
	dayMemory  = 62          // days
	valueLife  = 40 * dayPane
)

// fold is one overlay.
type fold struct {
	engine.NoEvents
	tx     *engine.Tx
	rules  *detectors.Cache
	values map[string]*value
	order  []string
	marks  *marks
}

// Frame implements engine.FrameFold.
func (x *fold) Frame(payload []byte) error {
	var frame schemas.SpendDeltaFrame
	if err := frame.DecodeMessage(payload); err != nil {
		return fmt.Errorf("%w: %w", engine.ErrInvalid, err)
	}
	for i := range frame.Rows {
		if err := valid(&frame.Rows[i]); err != nil {
			return err
		}
	}
	m := x.watermarks()
	m.hear(frame.Header.SourcePartition, frame.Header.Watermark, x.tx.AppendedAt())
	for i := range frame.Rows {
		x.add(&frame.Rows[i], m.mark)
	}
	return nil
}

func valid(d *schemas.SpendDelta) error {
	if d.Dimension == schemas.SpendDimensionUnknown || d.Minute < 0 || d.Minute%minutePane != 0 {
		return fmt.Errorf("%w: no pane", engine.ErrInvalid)
	}
	return nil
}

// add puts a delta into its panes.
func (x *fold) add(d *schemas.SpendDelta, watermark int64) {
	v := x.value(d)
	now := x.tx.Now()
	sizes := []schemas.PaneSize{schemas.PaneSizeHour, schemas.PaneSizeDay}
	if d.Dimension == schemas.SpendDimensionOrg || d.Dimension == schemas.SpendDimensionRepo {
		sizes = append(sizes, schemas.PaneSizeMinute)
	}
	for _, size := range sizes {
		length, pace := lengthOf(size), otherPace
		if size == schemas.PaneSizeMinute {
			pace = minutePace
		}
		k := paneKey{size, d.Minute - d.Minute%length, d.Billing, d.CostGrade}
		p := v.pane(k)
		p.late = p.late || watermark >= k.start+length
		switch {
		case p.late: // nothing more is expected: a batch of history does not wait
			p.due = now
		case p.due == 0:
			p.due = now + pace
		}
		p.add(d)
	}
	hour, day := v.hours.last.at, v.days.last.at
	v.hours.add(d.Minute/hourPane, d.CostNanoUsd)
	if d.Minute/hourPane < v.usualAt {
		v.usualAt = 0
	}
	v.days.add(d.Minute/dayPane, d.CostNanoUsd)
	if v.last = now; v.hours.last.at != hour || v.days.last.at != day {
		v.forget(now)
	}
	v.changed = true
	x.judge(v, d.Minute, watermark)
}

func lengthOf(s schemas.PaneSize) int64 {
	switch s {
	case schemas.PaneSizeMinute:
		return minutePane
	case schemas.PaneSizeHour:
		return hourPane
	}
	return dayPane
}

// Due implements engine.Fold.
func (x *fold) Due(key string) error {
	v := x.load(key)
	if v == nil {
		return nil
	}
	now, watermark := x.tx.Now(), x.watermarks().mark
	var waits []*pane
	for _, p := range v.panes {
		if p.due > now || x.tx.Full() {
			waits = append(waits, p)
			continue
		}
		x.say(v, p, watermark)
		v.changed = true
	}
	v.panes = waits
	if v.spike != nil || v.judgeAt != 0 && v.judgeAt <= now {
		x.judge(v, now, watermark)
	}
	if v.forgetAt() <= now && len(v.panes) == 0 {
		v.gone, v.changed = true, true
	}
	v.changed = true
	return nil
}

// say emits an increment.
func (x *fold) say(v *value, p *pane, watermark int64) {
	if p.empty() {
		return
	}
	r := schemas.Spend{Sign: 1, Generation: x.tx.Generation(), Dimension: v.dimension, Value: v.value, Org: v.org,
		PaneStart: p.start, PaneSize: p.size, Billing: p.billing, CostGrade: p.grade,
		Requests: p.requests, TokenInput: p.input, TokenOutput: p.output, TokenCacheRead: p.cacheRead, TokenCacheWrite: p.cacheWrite, CostNanoUsd: p.cost}
	switch {
	case p.late:
		r.Stage = schemas.PaneStageLate
	case watermark >= p.start+lengthOf(p.size):
		r.Stage = schemas.PaneStageOnTime
	default:
		r.Stage = schemas.PaneStageEarly
	}
	r.RowId = schemas.FactKey(v.org, 0, strings.Join([]string{v.dimension.String(), v.value, p.size.String(), p.billing.String(), p.grade.String(),
		number(r.Generation), number(p.start), number(int64(x.tx.Partition())), number(x.tx.CommitNumber())}, "\x00"))
	r.Cap()
	x.tx.Emit(broker.Spend, r.AppendAvro(nil))
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// judge looks at the hour, day and month of now, and at the hour before while its pane
// is on time: what came for an earlier time opens nothing.
func (x *fold) judge(v *value, at, watermark int64) {
	now := x.tx.Now()
	if at < now-hourPane || at > now+hourPane {
		return
	}
	s := x.settings(v)
	hour := now / hourPane
	switch {
	case !s.Enabled(detectors.SpendSpike):
		x.endSpike(v, s)
	case at/hourPane == hour-1 && watermark < hour*hourPane && (v.spike == nil || v.spike.hour < hour):
		x.judgeSpike(v, s, hour-1)
	default:
		x.judgeSpike(v, s, hour)
	}
	if s.Enabled(detectors.BudgetExceeded) {
		x.judgeBudgets(v, s, now)
	}
	v.judgeAt = 0
	if v.spike != nil { // it ends with its hour, if nothing comes
		v.judgeAt = (hour+1)*hourPane + 5*minutePane
	}
}

func (x *fold) judgeSpike(v *value, s *detectors.Settings, hour int64) {
	cost := v.hours.at(hour)
	if v.spike == nil && cost < s.Spike().FloorNanoUsd {
		return // whatever it was before
	}
	if v.usualAt != hour {
		v.usualAt, v.usual = hour, detectors.BaselineOf(v.hours.same(hour))
	}
	spike, known := s.Spike().Judge(cost, v.usual, v.spike != nil)
	switch {
	case spike && v.spike == nil:
		v.spike = &spikeState{since: hour * hourPane}
	case !spike && v.spike != nil && hour > v.spike.hour:
		x.endSpike(v, s) // the hour that was one has ended, and this one is none
		return
	case v.spike == nil || !known:
		return
	}
	if spike {
		v.spike.hour, v.spike.cost, v.spike.median = hour, cost, v.usual.Median
	}
	if x.saidLately(&v.spike.said) {
		return
	}
	x.find(v, detectors.SpikeFound(v.dimension, v.value, v.spike.since, v.spike.hour*hourPane, v.spike.cost, v.spike.median, true, s), &v.spike.said)
}

// endSpike resolves the finding that is open.
func (x *fold) endSpike(v *value, s *detectors.Settings) {
	if v.spike != nil {
		x.find(v, detectors.SpikeFound(v.dimension, v.value, v.spike.since, v.spike.hour*hourPane, v.spike.cost, v.spike.median, false, s), &v.spike.said)
		v.spike, v.changed = nil, true
	}
}

func (x *fold) judgeBudgets(v *value, s *detectors.Settings, now int64) {
	v.budgets = slices.DeleteFunc(v.budgets, func(b budgetState) bool { return b.ends <= now })
	for _, b := range s.Budgets(v.dimension, v.value) {
		began, ends := periodOf(b.Period, now)
		var cost int64
		if b.Period == "hour" {
			cost = v.hours.at(now / hourPane)
		} else {
			cost = v.days.between(began/dayPane, ends/dayPane)
		}
		i := slices.IndexFunc(v.budgets, func(o budgetState) bool { return o.period == b.Period && o.began == began && o.limit == b.NanoUsd })
		if cost < b.NanoUsd {
			continue // what was exceeded stays so: the finding told the truth of its time
		}
		if i < 0 {
			v.budgets = append(v.budgets, budgetState{period: b.Period, began: began, ends: ends, limit: b.NanoUsd})
			i = len(v.budgets) - 1
		}
		if x.saidLately(&v.budgets[i].said) {
			continue
		}
		f := detectors.BudgetFound(b, v.value, began, now-now%hourPane, cost, s)
		x.find(v, f, &v.budgets[i].said)
	}
}

// saidLately tells an open finding that only grew, and may wait: it is said at most
// once in a minute.
func (x *fold) saidLately(said *findings.Said) bool {
	return said.Version > 0 && x.tx.Now()-said.Published < otherPace
}

// find says a finding.
func (x *fold) find(v *value, f detectors.Finding, said *findings.Said) {
	r := schemas.Finding{FindingId: f.ID(schemas.SessionKey(v.org, "")), Org: v.org, CostNanoUsd: schemas.SomeLong(f.Cost)}
	switch v.dimension {
	case schemas.SpendDimensionRepo:
		r.Repo = v.value
	case schemas.SpendDimensionTeam:
		r.Team = v.value
	case schemas.SpendDimensionUser:
		r.User = v.value
	case schemas.SpendDimensionWorkflow:
		r.Workflow = v.value
	}
	f.Fill(&r)
	said.Say(x.tx, &r, func() bool { return true })
	v.changed = true
}

// settings are the thresholds of a value by the rules in force.
func (x *fold) settings(v *value) *detectors.Settings {
	return x.rules.Rules(x.tx.Versions().Rules, x.tx.Config).For(detectors.PlaceOfValue(v.dimension, v.value))
}

// End implements engine.Fold.
func (x *fold) End() {
	for _, key := range x.order {
		switch v := x.values[key]; {
		case v.gone:
			x.tx.Put(key, nil, 0)
			x.tx.Put(earlierOf(key), nil, 0)
		case v.changed:
			x.tx.Put(key, v.encode(), v.due())
			if v.earlier.changed {
				x.tx.Put(earlierOf(key), v.earlier.encode(v), 0)
			}
		}
	}
	if x.marks != nil {
		x.tx.Put(watermarkKey, x.marks.encode(), 0)
	}
}

func (x *fold) value(d *schemas.SpendDelta) *value {
	id := schemas.FactKey(d.Org, 0, d.Dimension.String()+"\x00"+d.Value)
	key := string(valueKind) + string(id[:])
	if v := x.load(key); v != nil {
		v.gone = false
		return v
	}
	v := &value{org: strings.Clone(d.Org), dimension: d.Dimension, value: strings.Clone(d.Value)}
	v.remembers(func() []byte { return nil })
	x.values[key] = v
	x.order = append(x.order, key)
	x.tx.Touch()
	return v
}

func (x *fold) load(key string) *value {
	if v := x.values[key]; v != nil {
		return v
	}
	b, _, ok := x.tx.Get(key)
	if !ok {
		return nil
	}
	v := &value{}
	if err := v.decode(b); err != nil {
		panic(fmt.Errorf("cannot read state record %q: %w", key[:1], err))
	}
	v.remembers(func() []byte { b, _, _ := x.tx.Get(earlierOf(key)); return b })
	x.values[key] = v
	x.order = append(x.order, key)
	x.tx.Touch()
	return v
}

func earlierOf(key string) string { return string(earlierKind) + key[1:] }

func (x *fold) watermarks() *marks {
	if x.marks == nil {
		x.marks = &marks{}
		if b, _, ok := x.tx.Get(watermarkKey); ok {
			if err := x.marks.decode(b); err != nil {
				panic(err)
			}
		}
	}
	return x.marks
}

// marks are how far the sources have come.
type marks struct {
	mark    int64 // no delta of an earlier time is expected, µs
	sources []source
}

type source struct{ partition, watermark, heard int64 }

func (m *marks) hear(partition, watermark, at int64) {
	i := slices.IndexFunc(m.sources, func(s source) bool { return s.partition == partition })
	if i < 0 {
		m.sources = append(m.sources, source{partition: partition})
		i = len(m.sources) - 1
	}
	m.sources[i].watermark, m.sources[i].heard = max(m.sources[i].watermark, watermark), at
	least := int64(0)
	for _, s := range m.sources {
		if at-s.heard <= silence && (least == 0 || s.watermark < least) {
			least = s.watermark
		}
	}
	m.mark = max(m.mark, least)
}

// value is the state of one value of a dimension.
type value struct {
	org, value string
	dimension  schemas.SpendDimension
	panes      []*pane // increments that wait
	hours      history // by hours since 1970
	days       history // by days
	earlier    earlier // of both
	last       int64   // append time of the last delta, µs
	usualAt    int64   // hour since 1970 that usual is of
	usual      detectors.Baseline
	judgeAt    int64
	spike      *spikeState
	budgets    []budgetState
	changed    bool
	gone       bool
}

type spikeState struct {
	since              int64 // begin of its first hour, µs
	hour, cost, median int64 // of the last hour that was one
	said               findings.Said
}

type budgetState struct {
	period      string
	began, ends int64
	limit       int64
	said        findings.Said
}

type paneKey struct {
	size    schemas.PaneSize
	start   int64
	billing schemas.Billing
	grade   schemas.CostGrade
}

// pane is an increment of a pane that waits to be said.
type pane struct {
	paneKey
	due                                                  int64
	late                                                 bool
	requests, input, output, cacheRead, cacheWrite, cost int64
}

func (p *pane) add(d *schemas.SpendDelta) {
	p.requests += d.Requests
	p.input += d.TokenInput
	p.output += d.TokenOutput
	p.cacheRead += d.TokenCacheRead
	p.cacheWrite += d.TokenCacheWrite
	p.cost += d.CostNanoUsd
}

func (p *pane) empty() bool {
	return p.requests == 0 && p.input == 0 && p.output == 0 && p.cacheRead == 0 && p.cacheWrite == 0 && p.cost == 0
}

func (v *value) pane(k paneKey) *pane {
	for _, p := range v.panes {
		if p.paneKey == k {
			return p
		}
	}
	p := &pane{paneKey: k}
	v.panes = append(v.panes, p)
	return p
}

// forget drops what is too old.
func (v *value) forget(now int64) {
	v.hours.forget(now/hourPane - hourMemory)
	v.days.forget(now/dayPane - dayMemory)
}

func (v *value) forgetAt() int64 { return v.last + valueLife }

// due is when the value wants to be looked at.
func (v *value) due() int64 {
	due := v.forgetAt()
	for _, p := range v.panes {
		due = min(due, p.due)
	}
	if v.judgeAt != 0 {
		due = min(due, v.judgeAt)
	}
	return due
}

// history is money by hour or day; what is not in it is nothing. The last one is
// at hand, and the earlier ones stand encoded in order, for they are seldom looked
// at: at and cost, two varints each.
type history struct {
	last    amount
	earlier []byte
	record  *earlier // that earlier is of
}

// earlier is the record of what a value spent before the present hour and day. It is
// read when it is asked for.
type earlier struct {
	read    func()
	changed bool
}

// remembers says where the value's earlier amounts are.
func (v *value) remembers(record func() []byte) {
	v.earlier.read = func() {
		v.earlier.read = nil
		if b := record(); b != nil {
			r := records.Read(b)
			v.hours.earlier, v.days.earlier = r.Bytes(), r.Bytes()
			if r.Err() != nil {
				panic(fmt.Errorf("cannot read state record %q: %w", earlierKind, r.Err()))
			}
		}
	}
	v.hours.record, v.days.record = &v.earlier, &v.earlier
}

func (e *earlier) encode(v *value) []byte {
	w := records.New(16 + len(v.hours.earlier) + len(v.days.earlier))
	w.Bytes(v.hours.earlier)
	w.Bytes(v.days.earlier)
	return w
}

// all reads the earlier amounts, if they are not there yet.
func (h *history) all() {
	if h.record != nil && h.record.read != nil {
		h.record.read()
	}
}

type amount struct{ at, cost int64 }

func (h *history) add(at, cost int64) {
	switch {
	case h.last == amount{}:
		h.last = amount{at, cost}
	case at == h.last.at:
		h.last.cost += cost
	case at > h.last.at:
		h.keep(h.last)
		h.last = amount{at, cost}
	default: // late
		known, list := false, []amount{}
		for a := range h.each {
			if a.at == at {
				a.cost, known = a.cost+cost, true
			}
			list = append(list, a)
		}
		if !known {
			list = append(list, amount{at, cost})
			slices.SortFunc(list, func(a, b amount) int { return cmp.Compare(a.at, b.at) })
		}
		h.set(list)
	}
}

// keep puts an amount behind the earlier ones.
func (h *history) keep(a amount) {
	h.all()
	if h.record != nil {
		h.record.changed = true
	}
	h.earlier = binary.AppendVarint(binary.AppendVarint(slices.Clip(h.earlier), a.at), a.cost)
}

func (h *history) set(list []amount) {
	*h = history{record: h.record}
	for i, a := range list {
		if i == len(list)-1 {
			h.last = a
		} else {
			h.keep(a)
		}
	}
}

// each yields all amounts, in order.
func (h *history) each(yield func(amount) bool) {
	h.all()
	for b := h.earlier; len(b) > 0; {
		at, n := binary.Varint(b)
		cost, m := binary.Varint(b[max(n, 0):])
		if n <= 0 || m <= 0 || !yield(amount{at, cost}) {
			return
		}
		b = b[n+m:]
	}
	if h.last != (amount{}) {
		yield(h.last)
	}
}

func (h *history) forget(before int64) {
	h.all()
	for len(h.earlier) > 0 {
		at, n := binary.Varint(h.earlier)
		_, m := binary.Varint(h.earlier[max(n, 0):])
		if n <= 0 || m <= 0 || at >= before {
			return
		}
		h.earlier = h.earlier[n+m:]
	}
	if h.last.at < before {
		h.last = amount{}
	}
}

func (h *history) at(at int64) int64 {
	if h.last.at == at {
		return h.last.cost
	}
	return h.between(at, at+1)
}

func (h *history) between(from, to int64) (sum int64) {
	for a := range h.each {
		if a.at >= from && a.at < to {
			sum += a.cost
		}
	}
	return sum
}

// same is the money of the same hour of earlier days, of those that have some.
func (h *history) same(hour int64) (samples []int64) {
	for a := range h.each {
		if a.at < hour && a.at >= hour-hourMemory && (hour-a.at)%24 == 0 && a.cost > 0 {
			samples = append(samples, a.cost)
		}
	}
	return samples
}

func (m *marks) encode() []byte {
	w := records.New(64)
	w.Int(m.mark)
	w.Uint(uint64(len(m.sources)))
	for _, s := range m.sources {
		w.Int(s.partition, s.watermark, s.heard)
	}
	return w
}

func (m *marks) decode(b []byte) error {
	r := records.Read(b)
	r.Ints(&m.mark)
	for range r.Count() {
		var s source
		r.Ints(&s.partition, &s.watermark, &s.heard)
		m.sources = append(m.sources, s)
	}
	return r.Err()
}

func (v *value) encode() []byte {
	w := records.New(256)
	w.Int(int64(v.dimension), v.last, v.judgeAt, v.usualAt, v.usual.Samples, v.usual.Median, v.usual.Deviation)
	w.Text(v.org)
	w.Text(v.value)
	w.Uint(uint64(len(v.panes)))
	for _, p := range v.panes {
		late := int64(0)
		if p.late {
			late = 1
		}
		w.Int(int64(p.size), p.start, int64(p.billing), int64(p.grade), p.due, late,
			p.requests, p.input, p.output, p.cacheRead, p.cacheWrite, p.cost)
	}
	for _, h := range [...]*history{&v.hours, &v.days} {
		w.Int(h.last.at, h.last.cost)
	}
	w.Bool(v.spike != nil)
	if s := v.spike; s != nil {
		w.Int(s.since, s.hour, s.cost, s.median)
		s.said.Write(&w)
	}
	w.Uint(uint64(len(v.budgets)))
	for i := range v.budgets {
		b := &v.budgets[i]
		w.Text(b.period)
		w.Int(b.began, b.ends, b.limit)
		b.said.Write(&w)
	}
	return w
}

func (v *value) decode(b []byte) error {
	r := records.Read(b)
	var wrong error
	var dimension int64
	r.Ints(&dimension, &v.last, &v.judgeAt, &v.usualAt, &v.usual.Samples, &v.usual.Median, &v.usual.Deviation)
	v.dimension = schemas.SpendDimension(dimension)
	v.org, v.value = r.Text(), r.Text()
	for range r.Count() {
		p := &pane{}
		var size, billing, grade, late int64
		r.Ints(&size, &p.start, &billing, &grade, &p.due, &late, &p.requests, &p.input, &p.output, &p.cacheRead, &p.cacheWrite, &p.cost)
		p.size, p.billing, p.grade, p.late = schemas.PaneSize(size), schemas.Billing(billing), schemas.CostGrade(grade), late != 0
		v.panes = append(v.panes, p)
	}
	for _, h := range [...]*history{&v.hours, &v.days} {
		r.Ints(&h.last.at, &h.last.cost)
	}
	if r.Bool() {
		v.spike = &spikeState{}
		r.Ints(&v.spike.since, &v.spike.hour, &v.spike.cost, &v.spike.median)
		wrong = v.spike.said.Read(&r)
	}
	for range r.Count() {
		b := budgetState{period: r.Text()}
		r.Ints(&b.began, &b.ends, &b.limit)
		wrong = cmp.Or(wrong, b.said.Read(&r))
		v.budgets = append(v.budgets, b)
	}
	return errors.Join(wrong, r.Err())
}

// periodOf is the period of a budget (hour, day, month of UTC) that holds a time, µs.
func periodOf(period string, at int64) (began, ends int64) {
	switch period {
	case "hour":
		began = at - at%hourPane
		return began, began + hourPane
	case "day":
		began = at - at%dayPane
		return began, began + dayPane
	}
	t := time.UnixMicro(at).UTC()
	first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return first.UnixMicro(), first.AddDate(0, 1, 0).UnixMicro()
}
