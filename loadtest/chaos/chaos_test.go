//go:build unix

package main

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(natsVariable); spec != "" {
		fmt.Fprintln(os.Stderr, serveNATS(spec))
		os.Exit(1)
	}
	slog.SetLogLoggerLevel(slog.LevelError)
	os.Exit(m.Run())
}

func found(build, broker string, seed uint64, kills int, violations ...string) *result {
	s := newResult(build, broker, seed, kills)
	s.Faults[workerKill], s.Faults[brokerKill], s.Faults[zombie] = kills-1, 1, 2
	s.Failpoints["engine.folded"] = 1
	s.RecoveryMs, s.Uncommitted, s.Judged = []int64{int64(1000 * seed)}, kills/2, kills
	s.Violations = violations
	return s
}

func TestRunsOfOneBuildAddUpBySeed(t *testing.T) {
	r, err := openReport(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*result{
		found("old", "jetstream", 1, 10), found("new", "jetstream", 2, 10, "lost"), found("new", "jetstream", 1, 10),
		found("new", "kafka", 1, 4), found("new", "jetstream", 2, 10),
	} {
		if err := r.write(s); err != nil {
			t.Fatal(err)
		}
	}
	all, err := r.of("new")
	if err != nil || len(all) != 3 {
		t.Fatalf("%d results: %v", len(all), err)
	}
	var out strings.Builder
	if err := writeSums(&out, all); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"kills -9": "20 4", "runs": "2 1", "zombie": "4 2", "with uncommitted work": "50 % 50 %",
		"recovery p99 s": "2.0 1.0", "violations": "0 0", "jetstream, killed at failpoints:": "engine.folded 2"} {
		if got := strings.Join(strings.Fields(rowOf(out.String(), name)), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// rowOf is the rest of the line that begins with a name.
func rowOf(table, name string) string {
	for line := range strings.Lines(table) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return rest
		}
	}
	return ""
}

func TestARunIsDoneWhenItFoundNothing(t *testing.T) {
	all := []*result{found("b", "jetstream", 1, 10), found("b", "jetstream", 2, 10, "lost")}
	for seed, want := range map[uint64]bool{1: true, 2: false, 3: false} {
		if got := done(all, "jetstream", seed, 10) != nil; got != want {
			t.Errorf("seed %d: done is %v", seed, got)
		}
	}
	if done(all, "kafka", 1, 10) != nil || done(all, "jetstream", 1, 20) != nil {
		t.Error("another run counts as done")
	}
}

func TestARecoveryIsOverWhenEveryPartitionHasANewCommit(t *testing.T) {
	w := newWatch(nil, 3, time.Second)
	w.seen(0, 5)
	w.struck(time.Now(), map[int]int64{0: 5, 2: 7})
	w.struck(time.Now(), nil) // it held nothing
	for _, step := range []struct {
		partition int
		number    int64
		over      int
	}{{0, 5, 0}, {1, 9, 0}, {2, 8, 0}, {0, 6, 1}} {
		w.seen(step.partition, step.number)
		if took, waiting := w.recoveries(); len(took) != step.over || len(took)+waiting != 1 {
			t.Errorf("%+v: %d over, %d waiting", step, len(took), waiting)
		}
	}
}

func TestACommitIsBehindUntilItReachesTheEndOfALane(t *testing.T) {
	c := &schemas.Commit{Slices: []schemas.Slice{{Lane: schemas.LaneCritical, NextMessage: 4}, {Lane: schemas.LaneNormal, NextMessage: 9, NextIndex: 2}}}
	for _, at := range []struct {
		lane schemas.Lane
		end  uint64
		want bool
	}{{schemas.LaneCritical, 4, false}, {schemas.LaneCritical, 5, true}, {schemas.LaneNormal, 9, true}} {
		if got := behind(c, at.lane, at.end); got != at.want {
			t.Errorf("%+v: %v", at, got)
		}
	}
	if !behind(&schemas.Commit{}, schemas.LaneNormal, 1) {
		t.Error("a commit without the lane is not behind")
	}
}

func TestWorkersAreArmedWithOneFailpointAfterTheOther(t *testing.T) {
	r := newRun(options{Broker: "jetstream", Kills: 100, Seed: 1}, "", t.TempDir(), nil)
	r.failpoints = []string{"engine.folded", frozenFold, "snapshot.named"}
	random := rand.New(rand.NewPCG(1, 1))
	armed := map[string]int{}
	for range 200 {
		point := r.nextFailpoint(random)
		name, rest, _ := strings.Cut(point, ":")
		_, how, _ := strings.Cut(rest, ":")
		armed[name+":"+how]++
	}
	a, b, c, none := armed["engine.folded:"], armed["engine.folded:stop"], armed["snapshot.named:"], armed[":"]
	if a+b+c+none != 200 || none < 50 || max(a, b, c)-min(a, b, c) > 1 {
		t.Errorf("%v", armed)
	}
	r.calm = true
	if point := r.nextFailpoint(random); point != "" {
		t.Errorf("%s after the last kill", point)
	}
}

func TestWhatAWorkerSaysIsCounted(t *testing.T) {
	r := newRun(options{}, "", "", nil)
	for line, want := range map[string]string{
		`level=WARN msg="partition is acquired anew" error="cannot commit: fenced by another owner"`:        "fenced",
		`level=WARN msg="partition was not released cleanly" error="cannot commit: outcome unknown"`:        "unknown",
		`level=WARN msg="cannot look after leases, trying again" error="outbound buffer exceeded: not now"`: "",
	} {
		r.result.Doubts = map[string]int{}
		r.heard(line)
		if len(r.result.Doubts) != len(strings.Fields(want)) || want != "" && r.result.Doubts[want] != 1 {
			t.Errorf("%s: %v", line, r.result.Doubts)
		}
	}
	r.heard(`level=ERROR msg="the input has lost its end or was rewritten"`)
	if len(r.result.Violations) != 1 {
		t.Error("a rewind is no violation")
	}
}

func TestAnEndThatNobodyAskedForIsAViolation(t *testing.T) {
	for _, c := range []struct {
		e          end
		violations int
	}{
		{end{clean: true}, 0},
		{end{killed: true, byUs: true}, 0},
		{end{killed: true}, 1},
		{end{code: 1, said: "commit 7 was made by version 3: run the newer release"}, 0},
		{end{code: 1, said: "cannot connect: not now"}, 0},
		{end{code: 1, said: "cannot connect: not now", last: true}, 1},
		{end{code: 1, said: "cannot acquire: position lost"}, 1},
		{end{code: 2, said: "panic: index out of range"}, 1},
		{end{code: watchdogCode}, 1},
	} {
		r := newRun(options{}, "", "", nil)
		if r.ended(c.e); len(r.result.Violations) != c.violations {
			t.Errorf("%+v: %v", c.e, r.result.Violations)
		}
	}
}
