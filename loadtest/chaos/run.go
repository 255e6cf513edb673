//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/replay"
)

// options of one run.
type options struct {
	Broker     string
	Kills      int // SIGKILLs of workers and brokers
	Seed       uint64
	Partitions int
	Workers    int
}

// run is one installation that is killed at and then checked.
type run struct {
	options
	dir      string
	programs map[int64]string // the program by the version of its fold
	servers  servers
	watch    *watch

	mu         sync.Mutex
	result     *result
	failpoints []string // the one that was longest ago comes first
	calm       bool     // there are no more kills

	applied applied // used by one goroutine

	places []*place
	thaws  sync.WaitGroup // zombies that are still frozen
}

// newRun is a run in an empty folder.
func newRun(o options, build, dir string, programs map[int64]string) *run {
	return &run{options: o, dir: dir, programs: programs, applied: applied{}, result: newResult(build, o.Broker, o.Seed, o.Kills)}
}

func (r *run) count(change func(*result)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.result)
}

func (r *run) violate(format string, args ...any) {
	r.count(func(s *result) { s.violate(format, args...) })
}

func (r *run) killed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result.killed()
}

// do makes the run. The error tells that it could not be made; what was found
// stands in the result.
func (r *run) do(ctx context.Context) (err error) {
	began := time.Now()
	defer func() { r.result.Seconds = time.Since(began).Seconds() }()
	all, err := readRecordings(ctx, filepath.Join(r.dir, "recordings"))
	if err != nil {
		return err
	}
	if r.servers, err = startServers(ctx, r.Broker, r.dir, r.Seed); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.servers.close()) }()
	if err := r.provision(ctx); err != nil {
		return err
	}
	b, err := r.servers.connect(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	r.watch = newWatch(b, r.Partitions, r.servers.lease()/20)
	random := rand.New(rand.NewPCG(r.Seed, 0))
	r.failpoints = append([]string{foldedFailpoint, frozenFold, "engine.committed"}, r.servers.failpoints()...)
	random.Shuffle(len(r.failpoints), func(i, j int) {
		r.failpoints[i], r.failpoints[j] = r.failpoints[j], r.failpoints[i]
	})

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go r.watch.run(ctx)
	for number := range r.Workers {
		p, err := r.newPlace(number)
		if err != nil {
			return err
		}
		r.places = append(r.places, p)
		go p.keep()
	}
	defer r.abandon()
	enough, sent := make(chan struct{}), make(chan []*replay.Expectation, 1)
	go func() {
		expected, err := load(ctx, b, all, r.Seed, enough)
		if err != nil {
			end(fmt.Errorf("cannot send the load: %w", err))
		}
		sent <- expected
	}()
	if err := r.faults(ctx, b, random); err != nil {
		return err
	}
	close(enough)
	var expected []*replay.Expectation
	select {
	case expected = <-sent:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.reset(ctx, b); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.stop()
	end(nil)
	return r.check(context.WithoutCancel(ctx), b, expected)
}

// provision makes what the installation needs; a cluster may need a while.
func (r *run) provision(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	return until(ctx, 200*time.Millisecond, "provisioned broker", func(context.Context) error {
		c := r.flightlog(presentFold, append([]string{"provision", "broker", "--broker", r.servers.address(),
			"--partitions", fmt.Sprint(r.Partitions)}, r.servers.flags(true)...)...)
		out, err := c.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// Pauses between two faults, and how long a broker stays down, at most.
const (
	shortestPause = 300 * time.Millisecond
	longestPause  = 1500 * time.Millisecond
	longestDown   = time.Second
	// faultPatience is how long the next fault may take to become possible.
	faultPatience = 2 * time.Minute
)

// faults makes one fault after the other until there are enough kills, and then
// lets everything heal.
func (r *run) faults(ctx context.Context, b broker.Broker, random *rand.Rand) error {
	starting, cancel := context.WithTimeout(ctx, faultPatience)
	defer cancel()
	if err := until(starting, 100*time.Millisecond, "first commits", func(context.Context) error {
		if n := r.watch.commits(); n < int64(r.Partitions) {
			return fmt.Errorf("only %d commits", n)
		}
		return nil
	}); err != nil {
		return err
	}
	for n := 0; r.killed() < r.Kills; n++ {
		select {
		case <-time.After(shortestPause + time.Duration(random.Int64N(int64(longestPause-shortestPause)))):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if n%3 == 2 {
			if err := r.configure(ctx, b, n/3); err != nil {
				return err
			}
		}
		if err := r.fault(ctx, random); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.calm = true
	r.mu.Unlock()
	r.thaws.Wait()
	for _, p := range r.places {
		p.rearm()
	}
	return r.servers.heal(ctx)
}

// fault makes one fault, if a worker is there for it. The workers that die at
// failpoints make theirs by themselves.
func (r *run) fault(ctx context.Context, random *rand.Rand) error {
	draw, length := random.IntN(20), random.Float64()
	slog.Info("fault", "kills", r.killed(), "draw", draw, "commits", r.watch.commits())
	if draw < 4 {
		return r.killBroker(ctx, random, length)
	}
	place, pid := r.target(random)
	switch {
	case pid == 0:
	case draw < 7:
		if place.signal(pid, syscall.SIGSTOP) {
			r.count(func(s *result) { s.Faults[zombie]++ })
			r.thaw(place, pid, length)
		}
	case draw < 9:
		if place.signal(pid, syscall.SIGTERM) {
			r.count(func(s *result) { s.Faults[drain]++ })
		}
	default:
		// Frozen, the worker commits no more while it is asked what it had.
		if place.signal(pid, syscall.SIGSTOP) {
			r.strike(workerKill, "", pid, time.Now())
			place.signal(pid, syscall.SIGKILL)
		}
	}
	return nil
}

// thaw wakes a zombie after 1.2 to 2.2 times the lease's time.
func (r *run) thaw(p *place, pid int, length float64) {
	r.thaws.Go(func() {
		time.Sleep(time.Duration((1.2 + length) * float64(r.servers.lease())))
		p.signal(pid, syscall.SIGCONT)
	})
}

// target draws a worker's process that may be killed now; pid 0 if there is
// none.
func (r *run) target(random *rand.Rand) (*place, int) {
	for _, i := range random.Perm(len(r.places)) {
		if pid := r.places[i].target(); pid != 0 {
			return r.places[i], pid
		}
	}
	return nil, 0
}

// killBroker kills, waits, sometimes kills a worker meanwhile, and heals.
func (r *run) killBroker(ctx context.Context, random *rand.Rand, length float64) error {
	after, work, err := r.uncommitted(ctx, 0, time.Now())
	at := time.Now()
	n, killErr := r.servers.kill(random)
	if killErr != nil {
		return killErr
	}
	r.count(func(s *result) {
		s.Faults[brokerKill] += n
		if err == nil {
			s.Judged += n
			if work {
				s.Uncommitted += n
			}
		}
	})
	time.Sleep(time.Duration(length * float64(longestDown)))
	if length < 0.5 {
		if place, pid := r.target(random); pid != 0 && place.signal(pid, syscall.SIGKILL) {
			r.count(func(s *result) { s.Faults[workerKill]++ })
		}
	}
	if err == nil {
		r.watch.struck(at, after)
	}
	return r.servers.heal(ctx)
}

// strike counts the kill of a worker's process, and what it had not committed.
func (r *run) strike(kind, failpoint string, pid int, at time.Time) {
	after, work, err := r.uncommitted(context.Background(), pid, at)
	if err == nil {
		r.watch.struck(at, after)
	}
	r.count(func(s *result) {
		s.Faults[kind]++
		if failpoint != "" {
			s.Failpoints[failpoint]++
		}
		if err == nil && len(after) > 0 {
			s.Judged++
			if work {
				s.Uncommitted++
			}
		}
	})
}

// uncommitted is watch.uncommitted, which must not wait for a broker that is
// down.
func (r *run) uncommitted(ctx context.Context, pid int, at time.Time) (map[int]int64, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return r.watch.uncommitted(ctx, pid, at)
}

// settle waits until everything is folded and nothing has a time to wait for
// any more.
func (r *run) settle(ctx context.Context) error {
	began, most := time.Now(), 3*r.servers.lease()+30*time.Second
	lag := func(ctx context.Context) error {
		lanes, err := r.watch.lag(ctx)
		if err == nil && lanes > 0 {
			err = fmt.Errorf("%d lanes lag", lanes)
		}
		return err
	}
	within, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := until(within, 50*time.Millisecond, "end of the lag", lag); err != nil {
		r.violate("%v after the last fault and event, by invariant I8 there should be: %v", most, err)
		return nil
	}
	r.count(func(s *result) { s.SettledMs = time.Since(began).Milliseconds() })

	// Sessions end, close and come to rest by timers of a few seconds.
	const quiet = 6 * time.Second
	within, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	commits, since := r.watch.commits(), time.Now()
	if err := until(within, 100*time.Millisecond, "rest", func(ctx context.Context) error {
		if now := r.watch.commits(); now != commits {
			commits, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return errors.New("there are new commits")
		}
		return lag(ctx)
	}); err != nil {
		r.violate("after the end: %v", err)
	}
	took, idle := r.watch.recoveries()
	r.count(func(s *result) {
		s.Idle = idle
		for _, d := range took {
			s.RecoveryMs = append(s.RecoveryMs, d.Milliseconds())
		}
	})
	return nil
}

// stopPatience is how long workers may take to drain.
const stopPatience = 30 * time.Second

// stop drains all workers.
func (r *run) stop() {
	for _, p := range r.places {
		p.stop()
	}
	patience := time.After(stopPatience)
	for _, p := range r.places {
		select {
		case <-p.ended:
		case <-patience:
			r.violate("worker %d does not end by SIGTERM within %v", p.number, stopPatience)
			return
		}
	}
}

// abandon kills what still runs.
func (r *run) abandon() {
	r.thaws.Wait()
	for _, p := range r.places {
		p.abandon()
	}
	for _, p := range r.places {
		<-p.ended
	}
}

// keepOrRemove keeps the folder of a run that has failed.
func (r *run) keepOrRemove(err error) error {
	if err != nil || len(r.result.Violations) > 0 {
		return nil
	}
	return os.RemoveAll(r.dir)
}
