// Package replay sends recorded sessions to a broker as if many people worked
// at the same time: copies with ids and times of their own, in the order and
// pace of a schedule, with events sent twice and late where that is asked for.
// It knows from the recordings' truth, not from our own fold, what the rows of
// all copies must add up to ([Expectation]). Every throughput, kill and latency
// figure of this project uses it.
package replay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/producers/shipper"
)

// Options say what is replayed and how. With the same recordings, options,
// Start and number of copies, every run sends the same bytes of events in the
// same order per partition; ids do not even depend on Start.
type Options struct {
	// Org is the organisation that the copies belong to.
	Org string
	// Sessions ends the run when this many were begun; it may go over by the
	// other sessions of a recording that holds several. 0 = no limit, or with
	// For 0 each recorded session once.
	Sessions int64
	// For ends the run when this much time is over: no more copies are begun,
	// and those that were are sent to their end. 0 = no limit.
	For time.Duration
	// Speed is how much faster than recorded a session goes. 0 = as fast as
	// the broker takes it, with the times inside of a session as recorded, and
	// the session's end in the hour before Start. duration_ms is never scaled.
	Speed float64
	// Rate is how many events are sent per second. They are due then, however
	// slow the broker answers. With Speed given it says how often sessions
	// begin, so that it is reached when the first of them end. 0 = as Speed,
	// Sessions and For give it.
	Rate float64
	// Seed chooses ids, order, and what is sent twice or late.
	Seed uint64
	// Start is the time that the copies' times are counted from; zero = now.
	Start time.Time
	// EndAtStart makes the newest event of the run lie at Start: with Speed 0 the
	// first copy ends then, not somewhere in the hour before. With Speed given,
	// sessions go on from Start at the pace of the clock, and it does nothing.
	EndAtStart bool
	// Duplicates is the share of events that are sent twice, half of the second
	// times at once, half up to LateBy later.
	Duplicates float64
	// Late is the share of events that are held back by LateBy.
	Late   float64
	LateBy time.Duration // time of the run; with Speed 0 time inside of a session
	// Frame is how many events a frame holds, 1 to 100. One that does not fill
	// is sent after 20 ms.
	Frame int
	// Progress is called now and then with what was sent so far; may be nil.
	Progress func(Summary)
}

func (o *Options) check() error {
	var faults []error
	within := func(name string, value, from, to float64) {
		if !(value >= from && value <= to) {
			faults = append(faults, fmt.Errorf("%s is %v, must be %v to %v", name, value, from, to))
		}
	}
	within("sessions", float64(o.Sessions), 0, 1e12)
	within("for", o.For.Seconds(), 0, 1e9)
	within("speed", o.Speed, 0, 1e9)
	within("rate", o.Rate, 0, 1e9)
	within("duplicates", o.Duplicates, 0, 1)
	within("late", o.Late, 0, 1)
	within("late-by", o.LateBy.Seconds(), 0, 1e9)
	within("frame", float64(o.Frame), 1, 100)
	if year := o.Start.Year(); year < 1980 || year > 3000 {
		faults = append(faults, fmt.Errorf("start is in the year %d, must be in 1980 to 3000", year))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("cannot replay: %w", err)
	}
	return nil
}

// Summary is what was sent.
type Summary struct {
	Sessions   int64 `json:"sessions"`
	Events     int64 `json:"events"`     // sent, duplicates included
	Duplicates int64 `json:"duplicates"` // events that were sent for the second time
	Late       int64 `json:"late"`       // events that were held back
	Frames     int64 `json:"frames"`
	Bytes      int64 `json:"bytes"` // of encoded events
	// DeadLetters is how many records of the recordings could not be read.
	DeadLetters int64   `json:"dead_letters"`
	Seconds     float64 `json:"seconds"`
	// CPUSeconds is the CPU time of this process while it sent, with that of a
	// broker that it runs.
	CPUSeconds float64 `json:"cpu_seconds"`
	// BehindMs is by how much an event was sent after it was due, at most.
	BehindMs int64 `json:"behind_ms"`
	// Last is the position of the last message sent, by partition; 0 = none.
	Last []uint64 `json:"last"`
}

// EventsPerSecond is how fast the events were sent, on the average.
func (s *Summary) EventsPerSecond() float64 { return float64(s.Events) / max(s.Seconds, 1e-9) }

// CPUPerEvent is the CPU time of an event in µs.
func (s *Summary) CPUPerEvent() float64 { return s.CPUSeconds * 1e6 / max(float64(s.Events), 1) }

// plan is what a run does, as far as it is known before.
type plan struct {
	patterns   []*pattern // in the order of play, over and over
	partitions int
	seed       uint64
	start      int64 // µs since 1970
	live       bool  // events are due by the clock: Speed is given
	endAtStart bool
	most       int64 // copies; 0 = no limit
	spacing    int64 // between the begins of two copies, µs
	duplicates share
	late       share
	lateBy     int64 // µs
}

// together is how many sessions are under way at the same time where neither
// Rate nor Sessions and For say it.
const together = 64

// past is how long before Start copies end that are sent as fast as it goes, at
// most.
const past = time.Hour

func newPlan(all []*Recording, o Options, partitions int) (*plan, error) {
	p := &plan{partitions: partitions, seed: o.Seed, start: o.Start.UnixMicro(), live: o.Speed > 0, endAtStart: o.EndAtStart,
		duplicates: shareOf(o.Duplicates), late: shareOf(o.Late), lateBy: o.LateBy.Microseconds()}
	speed := o.Speed
	if !p.live {
		speed = 1
	}
	var events, length int64
	for _, r := range all {
		if len(r.events) > 0 {
			pattern := newPattern(r, speed)
			p.patterns = append(p.patterns, pattern)
			events, length = events+int64(len(r.events)), length+pattern.length()
		}
	}
	n := int64(len(p.patterns))
	if n == 0 {
		return nil, errors.New("cannot replay: the recordings hold no events")
	}
	random := rand.New(rand.NewPCG(o.Seed, 0))
	random.Shuffle(len(p.patterns), func(i, j int) {
		p.patterns[i], p.patterns[j] = p.patterns[j], p.patterns[i]
	})
	switch {
	case o.Sessions > 0:
		p.most = p.copiesFor(o.Sessions)
	case o.For == 0:
		p.most = n
	}
	switch {
	case p.live && o.Rate > 0:
		p.spacing = int64(float64(events) / float64(n) / o.Rate * 1e6)
	case p.live && p.most > 0 && o.For > 0:
		p.spacing = o.For.Microseconds() / p.most
	default:
		p.spacing = length / n / together
	}
	p.spacing = max(p.spacing, 1)
	return p, nil
}

// copiesFor is how many copies hold so many sessions.
func (p *plan) copiesFor(sessions int64) int64 {
	counts := make([]int64, len(p.patterns))
	var all int64
	for i, r := range p.patterns {
		counts[i] = int64(len(r.sessions))
		all += counts[i]
	}
	copies := sessions / all * int64(len(counts))
	for left := sessions % all; left > 0; copies++ {
		left -= counts[copies%int64(len(counts))]
	}
	return copies
}

// patternOf is what a copy is made of.
func (p *plan) patternOf(copy int64) *pattern { return p.patterns[copy%int64(len(p.patterns))] }

// beginOf is when a copy begins, µs of the run.
func (p *plan) beginOf(copy int64) int64 {
	return copy*p.spacing + int64(mix(uint64(nameOf(p.seed, copy)))%uint64(p.spacing))
}

// Run sends copies of the recordings. What is expected of a run that was ended
// by an error is unknown; the same run again sends the same, and what arrives
// twice is merged.
func Run(ctx context.Context, b broker.Broker, all []*Recording, o Options) (*Summary, *Expectation, error) {
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	n, err := b.Partitions(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot replay: %w", err)
	}
	p, err := newPlan(all, o, n)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &run{plan: p, o: o, ctx: ctx, lanes: make([]*lane, n), began: time.Now()}
	used := cpu()
	for _, recording := range all {
		r.sent.DeadLetters += recording.DeadLetters
	}
	for partition := range r.lanes {
		s, err := shipper.New(ctx, b, o.Org, fmt.Sprintf("replay-%d", o.Seed), o.Start.UnixMicro())
		if err != nil {
			return nil, nil, err
		}
		r.lanes[partition] = &lane{partition: partition, shipper: s, full: make(chan *batch, 2), free: make(chan *batch, 4)}
	}
	var senders sync.WaitGroup
	for _, l := range r.lanes {
		senders.Go(func() {
			if err := l.ship(ctx); err != nil {
				stop(err)
			}
		})
	}
	copies, err := r.sendAll()
	for _, l := range r.lanes {
		close(l.full)
	}
	senders.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return nil, nil, err
	}
	r.sent.Seconds, r.sent.CPUSeconds = time.Since(r.began).Seconds(), (cpu() - used).Seconds()
	for _, l := range r.lanes {
		r.sent.Last = append(r.sent.Last, l.shipper.Last(l.partition))
	}
	e := p.expect(copies, o.Org)
	e.Sent = r.sent
	return &r.sent, e, nil
}

// run is one run: one goroutine makes the events, and one per partition sends
// them.
type run struct {
	*plan
	o       Options
	ctx     context.Context
	lanes   []*lane // by partition
	began   time.Time
	waiting time.Time // since when something waits for a frame to fill; zero = nothing does
	encoded []byte    // the event that is being sent
	sent    Summary
}

// lane is the way to one partition, with a shipper of its own.
type lane struct {
	partition int
	shipper   *shipper.Shipper
	batch     *batch      // that is being filled; nil = none
	over      []string    // sessions that have ended since the last batch that said so
	full      chan *batch // to send
	free      chan *batch // to fill again
}

// batch is one frame of events, and the sessions that end after it.
type batch struct {
	encoded []byte // the events, one after the other
	ends    []int  // of each event in encoded
	over    []string
}

const (
	frameBytes = 64 << 10 // as the shipper
	linger     = 20 * time.Millisecond
	// endsAtOnce is how many ended sessions a full frame waits for: a control
	// record has a message of its own.
	endsAtOnce = 100
	// early is how much too early an event may be sent, to wait less often.
	early = time.Millisecond
)

// sendAll sends everything that is planned, and tells how many copies that was.
func (r *run) sendAll() (copies int64, err error) {
	s := schedule{plan: r.plan}
	for {
		if !s.sealed && r.o.For > 0 && r.sent.Events%64 == 0 && time.Since(r.began) >= r.o.For {
			s.sealed = true
		}
		next, ok := s.next()
		if !ok {
			return s.copies, r.flush()
		}
		if err := r.wait(next.at); err != nil {
			return 0, err
		}
		if err := r.send(next); err != nil {
			return 0, err
		}
		if r.sent.Events%1024 == 0 && r.o.Progress != nil {
			r.o.Progress(r.sent)
		}
	}
}

// wait waits until the next event is due, and sends frames that have waited
// long enough.
func (r *run) wait(at int64) error {
	due := time.Duration(at) * time.Microsecond
	switch {
	case r.live:
	case r.o.Rate > 0:
		due = time.Duration(float64(r.sent.Events) / r.o.Rate * 1e9)
	default:
		return r.ctx.Err()
	}
	for {
		now := time.Now()
		ahead := r.began.Add(due).Sub(now)
		if !r.waiting.IsZero() && now.Sub(r.waiting) >= linger {
			if err := r.flush(); err != nil {
				return err
			}
		}
		if ahead <= early {
			r.sent.BehindMs = max(r.sent.BehindMs, (-ahead).Milliseconds())
			return r.ctx.Err()
		}
		if !r.waiting.IsZero() {
			ahead = min(ahead, r.waiting.Add(linger).Sub(now))
		}
		select {
		case <-time.After(ahead):
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// send puts an event into the frame of its session's partition.
func (r *run) send(next sending) error {
	c, t := next.copy, &next.copy.templates[next.index]
	r.encoded = c.appendEvent(r.encoded[:0], next.index)
	l := r.lanes[c.partition[t.session]]
	if l.batch != nil && len(l.batch.encoded)+len(r.encoded) > frameBytes {
		if err := r.pass(l, false); err != nil {
			return err
		}
	}
	l.open()
	l.batch.encoded = append(l.batch.encoded, r.encoded...)
	l.batch.ends = append(l.batch.ends, len(l.batch.encoded))
	r.sent.Events++
	r.sent.Bytes += int64(len(r.encoded))
	switch next.kind {
	case duplicate:
		r.sent.Duplicates++
	case late:
		r.sent.Late++
	}
	if t.isLast && next.kind != duplicate {
		r.sent.Sessions++
	}
	if next.over() {
		l.over = append(l.over, c.session[t.session])
	}
	if len(l.batch.ends) == r.o.Frame {
		if err := r.pass(l, false); err != nil {
			return err
		}
	}
	if r.waiting.IsZero() && (r.live || r.o.Rate > 0) && (l.batch != nil || len(l.over) > 0) {
		r.waiting = time.Now()
	}
	return nil
}

// open makes sure that there is a batch to fill.
func (l *lane) open() {
	if l.batch != nil {
		return
	}
	select {
	case b := <-l.free:
		l.batch = &batch{b.encoded[:0], b.ends[:0], b.over[:0]}
	default:
		l.batch = &batch{}
	}
}

// pass hands the batch of a partition to its sender; with all, ended sessions
// do not wait for others.
func (r *run) pass(l *lane, all bool) error {
	if all || len(l.over) >= endsAtOnce {
		l.open()
		l.batch.over, l.over = append(l.batch.over, l.over...), l.over[:0]
	}
	if l.batch == nil {
		return nil
	}
	if len(l.batch.ends) > 0 {
		r.sent.Frames++
	}
	select {
	case l.full <- l.batch:
		l.batch = nil
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// flush passes everything that waits.
func (r *run) flush() error {
	r.waiting = time.Time{}
	for _, l := range r.lanes {
		if l.batch != nil || len(l.over) > 0 {
			if err := r.pass(l, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// ship sends what is passed to the lane until there is no more.
func (l *lane) ship(ctx context.Context) error {
	for b := range l.full {
		begin := 0
		for _, end := range b.ends {
			if err := l.shipper.Event(ctx, l.partition, b.encoded[begin:end]); err != nil {
				return err
			}
			begin = end
		}
		if err := l.shipper.SourceEnd(ctx, b.over); err != nil { // sends the frame, too
			return err
		}
		select {
		case l.free <- b:
		default:
		}
	}
	return nil
}

// cpu is the CPU time that this process has used, in user mode and in the
// system.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
