// Package simulated is the log in virtual time under a seeded scheduler: every
// call of every worker waits until the scheduler has chosen it, so that one
// seed is one history. What a call does to the log, and whether its answer
// comes back, at once, late or never, are two things; between them anything may
// happen to the worker or to the log. Simulations of processors stand on it.
//
// A [World] lives in one bubble of testing/synctest. The test's own goroutine
// is the scheduler: it calls [World.Step] again and again, and between two steps
// it may let something happen (a worker dies, a stream loses its end). Nobody
// else touches the log.
//
// As on JetStream, the logs of a topic lie in one stream, whose positions they
// share and which ages and loses its end as a whole; so do all commit logs, and
// all snapshots together with the marks of started partitions.
package simulated

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/flightlog/flightlog/broker"
)

// Generation of every commit and row.
const Generation = 1

const (
	maxPayload = 1 << 20
	timeout    = time.Second     // of one call
	patience   = 3 * time.Second // of one commit
	linger     = 20 * time.Millisecond
)

// Faults are the probabilities with which single calls go wrong.
type Faults struct {
	LostRequest float64 // a call never reaches the log
	LostAnswer  float64 // a write takes effect, and its caller is not told
	LateAnswer  float64 // a write takes effect, and its caller is told later
	Delay       float64 // a write takes effect up to 20 s later, maybe when its caller is long dead
	Busy        float64 // an append to a chain is told that another one is being stored
	Refused     float64 // a call is told to come again
}

// Mutation is a bug that is put in on purpose, to see that it is found.
type Mutation int

// Mutations of the log.
const (
	None Mutation = iota
	// IgnoreCondition stores an append to a chain whatever its last entry is.
	IgnoreCondition
	// StaleTail keeps a commit unseen by all but the worker that made it for
	// a while, also when an append is held against the last entry: what a
	// restore to the last stable offset of a Kafka log sees.
	StaleTail
	// ForgetStart answers that no partition was ever started.
	ForgetStart
	// EarlyAnswer tells the caller of a commit that it stands before it is
	// stored: the overlay is merged before the acknowledgement.
	EarlyAnswer
)

// stale is how long StaleTail keeps a commit unseen.
const stale = 2 * time.Second

// Config of a world.
type Config struct {
	Seed       uint64
	Partitions int
	Faults     Faults
	Mutation   Mutation
	// SnapshotCommits is how many commits there are between two snapshots.
	SnapshotCommits int64
	// Trace, if set, is told of every step.
	Trace func(format string, args ...any)
}

// World is one installation and the network around it.
type World struct {
	Config
	// Random is the scheduler's; the test takes its own decisions from it too.
	Random *rand.Rand

	streams   map[string]*stream
	calls     []*call // in flight, in order of arrival
	downUntil time.Time
	ended     chan struct{}
	arrived   chan struct{} // something was added to fresh

	mu    sync.Mutex // the scheduler holds it but while it waits
	fresh []*call    // in flight since the last step, in no order
}

// New makes a world. It must be called in the bubble.
func New(config Config) *World {
	w := &World{
		Config: config, Random: rand.New(rand.NewPCG(config.Seed, 0)),
		streams: map[string]*stream{}, ended: make(chan struct{}), arrived: make(chan struct{}, 1),
	}
	w.mu.Lock()
	return w
}

// Calm ends all faults, as far as single calls go.
func (w *World) Calm() {
	w.Faults = Faults{}
	w.downUntil = time.Time{}
}

// Down makes every call fail for a while, as when a stream has no leader.
func (w *World) Down(d time.Duration) {
	w.downUntil = time.Now().Add(d)
	w.trace("no leader for %v", d)
}

// Pending names the calls in flight, in order of arrival.
func (w *World) Pending() (names []string) {
	for _, c := range w.calls {
		names = append(names, c.name())
	}
	return names
}

// End answers what is still in flight and all that comes with broker.ErrClosed,
// so that every goroutine comes to its end. The world stands still after it, to
// be looked at when they have.
func (w *World) End() {
	close(w.ended)
	w.mu.Unlock()
}

// Idle tells that no call is in flight that has an effect.
func (w *World) Idle() bool {
	w.settle()
	return !slices.ContainsFunc(w.calls, func(c *call) bool { return !c.reads })
}

// Step lets a little time pass and then one call go a step on: to the log, or
// back to its caller. Where none can, it lets time pass until one is made, at
// most for as long as given.
func (w *World) Step(most time.Duration) {
	latency := 1 + time.Duration(w.Random.Int64N(int64(200*time.Microsecond)))
	w.pass(func() { time.Sleep(latency) })
	w.settle()
	if ready := w.ready(); len(ready) > 0 {
		w.step(ready[w.Random.IntN(len(ready))])
		w.settle()
		return
	}
	timer := time.NewTimer(min(most, w.held()))
	defer timer.Stop()
	w.pass(func() {
		select {
		case <-w.arrived:
		case <-timer.C:
		}
	})
}

// pass lets the others go on meanwhile.
func (w *World) pass(wait func()) {
	w.mu.Unlock()
	wait()
	w.mu.Lock()
}

// settle waits until every goroutine waits, and takes the calls that they have
// made. Those of one moment are put in order by name.
func (w *World) settle() {
	w.pass(synctest.Wait)
	select {
	case <-w.arrived:
	default:
	}
	slices.SortStableFunc(w.fresh, func(a, b *call) int { return cmp.Compare(a.name(), b.name()) })
	w.calls = append(w.calls, w.fresh...)
	w.fresh = nil
	w.calls = slices.DeleteFunc(w.calls, func(c *call) bool { return c.reads && (c.gone || c.from.dead) })
}

// ready are the calls that can go a step on.
func (w *World) ready() []*call {
	var ready []*call
	now := time.Now()
	for _, c := range w.calls {
		if !now.Before(c.notBefore) && !now.Before(c.from.pausedUntil) && (c.ready == nil || c.ready()) {
			ready = append(ready, c)
		}
	}
	return ready
}

// held is how long it takes until a call that is held up can go on.
func (w *World) held() time.Duration {
	least := time.Hour
	now := time.Now()
	for _, c := range w.calls {
		for _, until := range []time.Time{c.notBefore, c.from.pausedUntil} {
			if d := until.Sub(now); d > 0 {
				least = min(least, d)
			}
		}
	}
	return least
}

// step lets a call go a step on, with the faults that may befall it.
func (w *World) step(c *call) {
	f := w.Faults
	hit := func(p float64) bool { return p > 0 && w.Random.Float64() < p }
	switch {
	case c.took:
		w.answer(c, c.err, "late answer")
	case c.reader != nil:
		c.err = c.effect()
		w.answer(c, c.err, "")
	case time.Now().Before(w.downUntil):
		if c.reads || hit(0.5) {
			w.answer(c, broker.ErrRetry, "no leader")
		} else {
			w.answer(c, broker.ErrUnknown, "no leader, unknown")
		}
	case hit(f.LostRequest):
		w.lose(c, "request lost")
	case hit(f.Refused):
		w.answer(c, broker.ErrRetry, "refused")
	case c.reads:
		c.err = c.effect()
		w.answer(c, c.err, "")
	case c.chained && hit(f.Busy):
		w.answer(c, errBusy, "busy")
	case !c.delayed && hit(f.Delay):
		c.delayed = true
		c.notBefore = time.Now().Add(time.Duration(w.Random.Int64N(int64(20 * time.Second))))
		w.trace("%s: delayed until %v", c.name(), c.notBefore.Sub(epoch))
	default:
		c.err, c.took = c.effect(), true
		switch {
		case hit(f.LostAnswer):
			w.lose(c, "answer lost")
		case hit(f.LateAnswer):
			w.trace("%s: took effect (%v), to be answered later", c.name(), c.err)
		default:
			w.answer(c, c.err, "")
		}
	}
}

// lose ends a call without telling its caller what has become of it: at once,
// or by the caller's own patience.
func (w *World) lose(c *call, how string) {
	switch {
	case w.Random.IntN(2) == 0:
		w.remove(c)
		w.trace("%s: %s", c.name(), how)
	case c.reads:
		w.answer(c, broker.ErrRetry, how)
	default:
		w.answer(c, broker.ErrUnknown, how)
	}
}

func (w *World) answer(c *call, err error, how string) {
	w.remove(c)
	c.err = err
	if w.Trace != nil {
		if c.gone || c.from.dead {
			how += " nobody waits for it"
		}
		w.trace("%s: %v %s", c.name(), err, how)
	}
	close(c.answered)
}

func (w *World) remove(c *call) {
	w.calls = slices.Delete(w.calls, slices.Index(w.calls, c), slices.Index(w.calls, c)+1)
}

// epoch is when a bubble's time begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *World) trace(format string, args ...any) {
	if w.Trace != nil {
		w.Trace("%12v  %s", time.Since(epoch), fmt.Sprintf(format, args...))
	}
}
