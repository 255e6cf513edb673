package simulation_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/simulated"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// loss is what a seed takes from the log for good, at most one of them.
type loss int

const (
	nothing      loss = iota
	inputEnd          // the input loses its end: producers send it again, it is folded again
	commitsEnd        // the commit logs lose their end
	topicEnd          // a topic loses its end: routed again
	tornSnapshot      // a part of the newest snapshot is missing or damaged
	pruned            // commits that no snapshot stands for are pruned
	emptied           // every commit of a partition is gone, maybe with the topics
	losses
)

func (l loss) String() string {
	return [...]string{"nothing", "end of input", "end of commit logs", "end of a topic", "part of a snapshot", "commits pruned", "all commits of a partition"}[l]
}

// plan is what a seed chooses.
type plan struct {
	partitions, workers, frames int
	faults                      simulated.Faults
	trouble                     float64 // probability of a disturbance by step
	steps                       int     // with faults
	loss                        loss
	lossAt                      int
	snapshotCommits             int64
	padding                     int
	linger                      time.Duration
}

func planOf(random *rand.Rand) plan {
	rate := func(most float64) float64 { // often 0, so that faults are also met alone
		return max(0, random.Float64()*2-1) * most
	}
	p := plan{
		partitions: 1 + random.IntN(2), workers: 1 + random.IntN(3), frames: 5 + random.IntN(30),
		faults: simulated.Faults{LostRequest: rate(0.1), LostAnswer: rate(0.15), LateAnswer: rate(0.3), Delay: rate(0.1),
			Busy: rate(0.2), Refused: rate(0.1)},
		trouble: rate(0.06), steps: 150 + random.IntN(450),
		snapshotCommits: 2 + random.Int64N(20),
		linger:          1 + time.Duration(random.Int64N(50e6)), // no timers of one moment
	}
	if random.IntN(2) == 0 {
		p.loss = loss(1 + random.IntN(int(losses)-1))
		p.lossAt = p.steps/4 + random.IntN(p.steps/2)
	}
	if random.IntN(40) == 0 {
		p.padding = 90 << 10 // snapshots of several parts
	}
	return p
}

// pause of a producer or the operator before the next try.
const pause = 500 * time.Millisecond

// worker is one process that runs the engine.
type worker struct {
	*simulated.Broker
	name  string
	stop  context.CancelFunc
	ended chan struct{}
	err   error // once it has ended
}

func (k *worker) hasEnded() bool {
	select {
	case <-k.ended:
		return true
	default:
		return false
	}
}

// shipment is a frame that a producer sends until it is acknowledged.
type shipment struct {
	log     broker.Log
	payload []byte
	events  []observed
	sending atomic.Int64
}

// told is a commit that a worker was told to stand.
type told struct {
	partition, number, epoch int64
	owner                    string
}

// run is one seed.
type run struct {
	plan
	w         *simulated.World
	observer  *simulated.Broker
	outside   *simulated.Broker // of producers and the operator
	slots     []*worker
	all       []*worker
	shipments []*shipment
	unsent    []*shipment
	revoke    []func()       // revocations that are late
	others    sync.WaitGroup // producers and the operator
	mu        sync.Mutex     // of told
	told      []told
	stops     []error
	stopsCalm int
	starts    int
	kills     int
	applying  atomic.Int64
	applied   []string
	lost      bool // the loss has happened
	calm      bool
	step      int
	logger    *slog.Logger
	violation error
}

func newRun(seed uint64, mutation simulated.Mutation, trace func(string, ...any)) *run {
	p := planOf(rand.New(rand.NewPCG(seed, 1)))
	r := &run{plan: p, logger: slog.New(slog.DiscardHandler)}
	r.w = simulated.New(simulated.Config{Seed: seed, Partitions: p.partitions, Faults: p.faults, Mutation: mutation,
		SnapshotCommits: p.snapshotCommits, Trace: trace})
	if trace != nil {
		trace("seed %d: %+v", seed, p)
		r.logger = slog.Default()
	}
	r.observer, r.outside = r.w.Observe(), r.w.Connect("outside")
	r.slots = make([]*worker, p.workers)
	number := uint64(0)
	for range p.frames {
		s := &shipment{log: broker.Log{Topic: broker.Events, Partition: r.w.Random.IntN(p.partitions)}}
		if r.w.Random.IntN(5) == 0 {
			s.log.Lane = schemas.LaneCritical
		}
		for range 1 + r.w.Random.IntN(4) {
			number++
			kind := sessionKinds[r.w.Random.IntN(len(sessionKinds))]
			if (kind == invalid || kind == panics) && r.w.Random.IntN(3) > 0 {
				kind = plain
			}
			s.events = append(s.events, observed{fmt.Sprintf("%s-%d-%d", kind, s.log.Partition, r.w.Random.IntN(3)), number})
		}
		s.payload = frameOf(s.events)
		r.shipments = append(r.shipments, s)
	}
	r.unsent = slices.Clone(r.shipments)
	return r
}

// mostSteps bounds a run that does not come to rest.
const mostSteps = 6000

// play runs the seed to its end.
func (r *run) play() {
	for ; !r.settled(); r.step++ {
		if r.step > mostSteps {
			r.violation = fmt.Errorf("the logs do not come to rest in %d steps; in flight: %q", mostSteps, r.w.Pending())
			break
		}
		if r.step == r.steps {
			r.w.Calm()
			r.calm = true
		}
		r.reap()
		r.grant()
		r.produce()
		if !r.calm {
			r.disturb()
		}
		idle := 100 * time.Millisecond
		if r.w.Random.IntN(20) == 0 {
			idle = 2 * time.Minute
		}
		r.w.Step(idle)
	}
	r.drain()
}

// drain ends the workers that live, then everything.
func (r *run) drain() {
	for _, k := range r.all {
		if !k.Dead() {
			k.stop()
		}
	}
	for n := 0; n < mostSteps && slices.ContainsFunc(r.all, func(k *worker) bool { return !k.Dead() && !k.hasEnded() }); n++ {
		r.w.Step(time.Second)
	}
	r.w.Calm()
	for n := 0; n < mostSteps && !r.w.Idle(); n++ { // what is still on its way arrives
		r.w.Step(time.Minute)
	}
	r.reap()
	r.w.End()
	for _, k := range r.all {
		k.stop()
		_ = k.Close()
	}
	for _, k := range r.all {
		<-k.ended
	}
	r.others.Wait()
	_ = r.outside.Close()
}

// reap takes note of workers that have ended, and starts others in their place.
func (r *run) reap() {
	for i, k := range r.slots {
		switch {
		case k == nil || k.Dead():
			if r.w.Random.IntN(10) == 0 && !r.stopped() {
				r.start(i)
			}
		case k.hasEnded():
			if k.err != nil {
				r.stops = append(r.stops, k.err)
				if r.calm {
					r.stopsCalm++
				}
			}
			_ = k.Close()
			r.slots[i] = nil
		}
	}
}

// stopped tells that workers stop again and again, with no faults around.
func (r *run) stopped() bool { return r.stopsCalm > 3 }

func (r *run) start(slot int) {
	r.starts++
	k := &worker{name: fmt.Sprintf("worker%d.%d", slot, r.starts), ended: make(chan struct{})}
	k.Broker = r.w.Connect(k.name)
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	r.slots[slot] = k
	r.all = append(r.all, k)
	go func() {
		k.err = engine.Run(ctx, engine.Config{Broker: k.Broker, Processor: ledger{r.padding}, Owner: k.name, Linger: r.linger,
			Logger: r.logger.With("worker", k.name),
			Committed: func(c *schemas.Commit) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.told = append(r.told, told{c.Partition, c.CommitNumber, c.Epoch, c.Owner})
			}})
		close(k.ended)
	}()
}

// grant gives every partition that nobody alive holds to somebody.
func (r *run) grant() {
	for p := range r.partitions {
		if !slices.ContainsFunc(r.slots, func(k *worker) bool { return k != nil && !k.Dead() && k.Holds(p) }) && r.w.Random.IntN(5) == 0 {
			if k := r.somebody(); k != nil {
				k.Grant(p)
			}
		}
	}
	r.revoke = slices.DeleteFunc(r.revoke, func(late func()) bool {
		if r.calm || r.w.Random.IntN(40) == 0 {
			late()
			return true
		}
		return false
	})
}

// somebody is one of the workers that live, nil if none does.
func (r *run) somebody() *worker {
	if k := r.slots[r.w.Random.IntN(len(r.slots))]; k != nil && !k.Dead() && !k.hasEnded() {
		return k
	}
	return nil
}

// produce sends the next frame, now and then.
func (r *run) produce() {
	if len(r.unsent) > 0 && (r.calm || r.w.Random.IntN(r.steps) < 2*r.frames) {
		s := r.unsent[0]
		r.unsent = r.unsent[1:]
		r.send(s)
	}
}

func (r *run) send(s *shipment) {
	s.sending.Add(1)
	r.others.Go(func() {
		defer s.sending.Add(-1)
		for {
			if _, err := r.outside.Append(context.Background(), s.log, s.payload); err == nil {
				return
			}
			if r.outside.Ended() {
				return
			}
			time.Sleep(pause)
		}
	})
}

// apply brings a version of the prices out.
func (r *run) apply(text string) {
	r.applying.Add(1)
	r.others.Go(func() {
		defer r.applying.Add(-1)
		for {
			if _, _, err := engine.ApplyConfig(context.Background(), r.outside, "prices", []byte(text), "operator", time.Now().UnixMicro()); err == nil {
				return
			}
			if r.outside.Ended() {
				return
			}
			time.Sleep(pause)
		}
	})
}

// disturb lets something happen between two steps, now and then.
func (r *run) disturb() {
	if r.loss != nothing && !r.lost && r.step >= r.lossAt {
		r.lost = r.lose()
	}
	random := r.w.Random
	if random.Float64() >= r.trouble {
		return
	}
	k := r.somebody()
	switch what := random.IntN(8); {
	case what == 0:
		r.w.Down(time.Duration(random.Int64N(int64(6 * time.Second))))
	case what == 1 && r.applying.Load() == 0 && len(r.applied) < 2:
		r.applied = append(r.applied, fmt.Sprint("text ", len(r.applied)))
		r.apply(r.applied[len(r.applied)-1])
	case what == 2:
		r.age()
	case k == nil:
	case what == 3 && r.kills < 5:
		r.kills++
		k.Kill()
	case what == 4:
		r.w.Down(0)
		k.stop()
	case what == 5:
		k.Pause(time.Duration(random.Int64N(int64(10 * time.Second))))
	default: // the partition moves; who held it may not know for a while
		p := random.IntN(r.partitions)
		for _, old := range r.slots {
			if old != nil && old != k && old.Holds(p) {
				r.revoke = append(r.revoke, func() { old.Revoke(p) })
			}
		}
		if k.Holds(p) {
			k.Revoke(p)
		} else {
			k.Grant(p)
		}
	}
}

// rowTopics are those that the ledger says rows for.
var rowTopics = []string{broker.Enriched, broker.Findings, broker.DeadLetters}

// age removes the oldest frames of a topic, those that the commits say have
// arrived.
func (r *run) age() {
	// An empty topic is as the tail says. Where that or the topic has lost its end
	// too, nobody can know.
	if r.loss == topicEnd || r.loss == commitsEnd {
		return
	}
	topic := rowTopics[r.w.Random.IntN(len(rowTopics))]
	n, stop := 0, false
	r.w.Each(func(stream string, m broker.Message) {
		if stream != topic || stop {
			return
		}
		header, err := broker.RowsHeader(topic, m.Payload)
		tail := r.tail(int(header.SourcePartition))
		young := m.AppendedAt > time.Now().Add(-time.Minute).UnixMicro() // nothing is delayed for so long
		if stop = err != nil || young || tail == nil || tail.Routed < header.LastCommit; !stop {
			n++
		}
	})
	if n > 0 {
		r.w.Age(topic, 1+r.w.Random.IntN(n))
	}
}

// tail is the newest commit of a partition, as it stands in the log.
func (r *run) tail(partition int) *schemas.Commit {
	c, err := r.observer.LastCommit(context.Background(), "ledger", partition)
	if err != nil {
		return nil
	}
	return c
}

// lose lets the seed's loss happen. It tells whether there was something to
// lose.
func (r *run) lose() bool {
	random := r.w.Random
	p := random.IntN(r.partitions)
	switch r.loss {
	case inputEnd:
		lost := r.w.Lose(broker.Events, min(1+random.IntN(10), r.w.Spare(broker.Events)))
		again := map[*shipment]bool{}
		for _, m := range lost {
			for _, s := range r.shipments {
				if bytes.Equal(s.payload, m.Payload) && !again[s] {
					again[s] = true
					r.send(s)
				}
			}
		}
		if len(r.applied) > 0 { // the pointers may be lost
			r.apply(r.applied[len(r.applied)-1])
		}
		return len(lost) > 0
	case commitsEnd:
		return len(r.w.Lose(simulated.Commits, 1+random.IntN(6))) > 0
	case topicEnd:
		topic := rowTopics[random.IntN(len(rowTopics))]
		return len(r.w.Lose(topic, min(1+random.IntN(6), r.w.Spare(topic)))) > 0
	case tornSnapshot:
		return r.w.Tear("ledger", p, 1)
	case pruned:
		if r.tail(p) == nil {
			return false
		}
		r.w.Prune("ledger", p, random.IntN(4)+1)
		return true
	case emptied:
		if r.tail(p) == nil || !r.w.Started("ledger", p) || !r.w.Idle() { // the mark follows the first commit
			return false
		}
		for _, k := range r.slots { // who acquired before the first commit would not notice
			if k != nil && !k.Dead() {
				k.Kill()
			}
		}
		if r.partitions == 1 && random.IntN(2) == 0 {
			for _, topic := range rowTopics {
				r.w.Age(topic, r.w.Len(topic))
			}
		}
		r.w.Prune("ledger", p, 0)
	}
	return true
}

// settled tells that the faults are over and everything sent was folded, or
// that the workers have stopped for good.
func (r *run) settled() bool {
	if !r.calm || r.stopped() {
		return r.calm
	}
	if len(r.unsent) > 0 || r.applying.Load() > 0 || !r.w.Idle() ||
		slices.ContainsFunc(r.shipments, func(s *shipment) bool { return s.sending.Load() > 0 }) {
		return false
	}
	for p := range r.partitions {
		if !r.folded(p) {
			return false
		}
	}
	return true
}

// folded tells that the commits of a partition have come to the end of its
// input and past every timer.
func (r *run) folded(partition int) bool {
	c := r.tail(partition)
	if c == nil || c.More {
		return false
	}
	for _, s := range c.Slices {
		var last broker.Message
		for _, m := range r.w.History(broker.Log{Topic: broker.Events, Partition: partition, Lane: s.Lane}) {
			if name, _ := schemas.MessageFingerprint(m.Payload); schemas.FingerprintName(name) != "Control" {
				last = m
			}
		}
		if last.Position > uint64(s.NextMessage) || s.NextIndex != 0 {
			return false
		}
	}
	commits, err := r.commits(partition)
	due := map[string]int64{}
	for _, c := range commits {
		for _, change := range c.Delta {
			due[string(change.Key)] = change.Due
		}
	}
	for _, at := range due {
		if at != 0 {
			return false
		}
	}
	return err == nil
}
