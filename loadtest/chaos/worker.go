//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/sessions"
)

// place is a worker's place in the run: a process that is started again
// whenever it ends, as a service manager does.
type place struct {
	run    *run
	number int
	random *rand.Rand // what the next processes are
	logs   *os.File
	ended  chan struct{} // closed when no process is started any more

	mu      sync.Mutex
	process *exec.Cmd // nil = between two processes
	fold    int64     // version of its fold
	armed   string    // failpoint that it dies at; empty = none
	since   time.Time // start of the process
	frozen  bool
	shot    bool // this program has killed it
	over    bool // the next end is the last
}

// armedPatience is how long a worker may take to come to its failpoint before
// it may be killed otherwise.
const armedPatience = 8 * time.Second

func (r *run) newPlace(number int) (*place, error) {
	logs, err := os.Create(filepath.Join(r.dir, fmt.Sprintf("worker%d.log", number)))
	if err != nil {
		return nil, err
	}
	return &place{run: r, number: number, random: rand.New(rand.NewPCG(r.Seed, uint64(number)+100)),
		logs: logs, ended: make(chan struct{})}, nil
}

// keep runs process after process.
func (p *place) keep() {
	defer close(p.ended)
	defer p.logs.Close()
	for {
		said, err := p.start()
		if err != nil {
			p.run.violate("worker %d: %v", p.number, err)
			return
		}
		if said == nil {
			return
		}
		p.listen(said)
		err = p.process.Wait()
		p.mu.Lock()
		state := p.process.ProcessState
		p.process = nil
		e := end{place: p.number, pid: state.Pid(), armed: p.armed, byUs: p.shot, last: p.over,
			killed: killed(state), clean: err == nil, code: state.ExitCode(), said: strings.Join(said.last, "\n")}
		p.mu.Unlock()
		p.run.ended(e)
		if e.last {
			return
		}
		if !e.clean && !e.killed {
			time.Sleep(200 * time.Millisecond) // a service manager waits, too
		}
	}
}

// end is how a worker's process has ended.
type end struct {
	place, pid    int
	armed         string
	byUs          bool // SIGKILL by this program
	last          bool
	killed, clean bool
	code          int
	said          string // the last of its log
}

// start starts the next process; nil if there is to be none.
func (p *place) start() (*words, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return nil, nil
	}
	p.fold, p.armed = p.run.nextFold(p.random), p.run.nextFailpoint(p.random)
	p.frozen, p.shot = false, false
	c := p.run.flightlog(p.fold, append([]string{"process", "--broker", p.run.servers.address(), "--admin", ""}, p.run.servers.flags(false)...)...)
	if p.armed != "" {
		c.Env = append(c.Env, "FLIGHTLOG_FAILPOINT="+p.armed)
	}
	out, err := c.StderrPipe()
	if err != nil {
		return nil, err
	}
	c.Stdout = p.logs
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("cannot start: %w", err)
	}
	p.process, p.since = c, time.Now()
	fmt.Fprintf(p.logs, "--- %s pid %d fold %d %s\n", time.Now().Format(time.RFC3339Nano), c.Process.Pid, p.fold, p.armed)
	return &words{from: out}, nil
}

// words are what a process writes.
type words struct {
	from io.Reader
	last []string
}

// listen reads what the process says until it ends.
func (p *place) listen(w *words) {
	lines := bufio.NewScanner(w.from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(p.logs, line)
		if w.last = append(w.last, line); len(w.last) > 20 {
			w.last = w.last[1:]
		}
		if strings.HasSuffix(p.armed, stopSuffix) && strings.HasPrefix(line, "failpoint ") {
			p.froze()
		}
		p.run.heard(line)
	}
}

// target is a process that may be killed now: pid 0 if there is none.
func (p *place) target() (pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	alive := p.process != nil && !p.frozen && !p.shot
	if alive && (p.armed == "" || time.Since(p.since) > armedPatience) {
		return p.process.Process.Pid
	}
	return 0
}

// signal sends a signal to the process with a pid, unless it has ended.
func (p *place) signal(pid int, s syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil || p.process.Process.Pid != pid || p.process.Process.Signal(s) != nil {
		return false
	}
	switch s {
	case syscall.SIGSTOP:
		p.frozen = true
	case syscall.SIGCONT:
		p.frozen = false
	case syscall.SIGKILL:
		p.shot = true
	}
	return true
}

// rearm ends a process that waits for its failpoint, when there are to be no
// more kills.
func (p *place) rearm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil && p.armed != "" {
		_ = p.process.Process.Signal(syscall.SIGTERM)
	}
}

// stop drains the process; none follows it.
func (p *place) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.process != nil {
		_ = p.process.Process.Signal(syscall.SIGTERM)
	}
}

// abandon kills the process; none follows it.
func (p *place) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over, p.shot = true, true
	if p.process != nil {
		_ = p.process.Process.Kill()
	}
}

// flightlog is the program with a version of the fold.
func (r *run) flightlog(fold int64, args ...string) *exec.Cmd {
	c := exec.Command(r.programs[fold], args...)
	c.Env = []string{"HOME=" + r.dir, "TMPDIR=" + r.dir, "PATH=" + os.Getenv("PATH")}
	c.SysProcAttr = attributes()
	return c
}

// doubts are why an ownership is given up.
var doubts = map[string]error{"fenced": broker.ErrFenced, "unknown": broker.ErrUnknown, "retry": broker.ErrRetry}

// heard counts what a line of a worker's log tells.
func (r *run) heard(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.Contains(line, "partition is acquired anew"), strings.Contains(line, "partition was not released cleanly"):
		for reason, err := range doubts {
			if strings.Contains(line, err.Error()) {
				r.result.Doubts[reason]++
			}
		}
	case strings.Contains(line, "lost its end"):
		r.result.violate("a worker says: %s", line)
	}
}

// ended judges how a process has ended.
func (r *run) ended(e end) {
	name, _, _ := strings.Cut(e.armed, ":")
	atFailpoint := e.killed && !e.byUs && strings.Contains(e.said, "failpoint "+name)
	switch {
	case atFailpoint:
		r.strike(failpointKill, name, e.pid, time.Now())
	case e.killed && e.byUs:
	case e.clean:
	case strings.Contains(e.said, "newer release"):
		r.count(func(s *result) { s.Refused++ })
	case strings.Contains(e.said, broker.ErrLost.Error()), strings.Contains(e.said, "panic:"), e.killed, e.code == watchdogCode, e.last:
		r.violate("worker %d (pid %d) has ended with code %d: %s", e.place, e.pid, e.code, e.said)
	default: // the broker was down; the log keeps why
		r.count(func(s *result) { s.GaveUp++ })
	}
}

// watchdogCode is the exit code of a worker whose fold does not come back.
const watchdogCode = 70

// presentFold and newerFold are the versions that are mixed; the tag fold2
// makes the newer one.
var (
	presentFold = sessions.New().Version()
	newerFold   = presentFold + 1
)

// nextFold is the version of the fold of the next process: an upgrade that
// begins after a third of the kills, with old workers that try again.
func (r *run) nextFold(random *rand.Rand) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	draw := random.Int64N(2)
	switch {
	case r.calm:
		return newerFold
	case r.result.killed() < r.Kills/3:
		return presentFold
	}
	return presentFold + draw
}

// hitsAt is how often a place is passed, at most, before a worker dies there.
func hitsAt(name string) int {
	switch {
	case strings.HasPrefix(name, "snapshot."), name == "kafka.acquired":
		return 2
	}
	return 15
}

// nextFailpoint is what the next process dies at, with the hit; empty for none.
func (r *run) nextFailpoint(random *rand.Rand) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	draw, hit := random.IntN(5), random.IntN(1<<20)
	if r.calm || draw < 2 || r.result.killed() >= r.Kills {
		return ""
	}
	name, end := r.failpoints[0], ""
	r.failpoints = append(r.failpoints[1:], name)
	if name == frozenFold {
		name, end = foldedFailpoint, stopSuffix
	}
	return fmt.Sprintf("%s:%d%s", name, 1+hit%hitsAt(name), end)
}

// At this place a worker has folded a slice and not committed it. One that is
// frozen there wakes as a zombie that commits what another has committed.
const (
	foldedFailpoint = "engine.folded"
	frozenFold      = "a zombie with a folded slice" // in the turn of failpoints
	stopSuffix      = ":stop"                        // SIGSTOP at a failpoint, not SIGKILL
)

// froze makes a zombie of a worker that has stopped itself at its failpoint.
func (p *place) froze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen, p.armed = true, ""
	p.run.count(func(s *result) {
		s.Faults[zombie]++
		s.Faults[foldedZombie]++
	})
	p.run.thaw(p, p.process.Process.Pid, p.random.Float64())
}
