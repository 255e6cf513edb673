//go:debug randseednop=0

// Package simulation_test plays the engine on a simulated log: real workers,
// the real commit log, virtual time, and a seeded scheduler that decides which
// call takes effect when and what goes wrong. One seed is one history.
package simulation_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	oldrand "math/rand"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/simulated"
	"github.com/flightlog/flightlog/schemas"
)

var (
	one   = flag.Uint64("seed", 0, "play this seed alone, with its trace")
	seeds = flag.Uint64("seeds", 500, "play so many seeds")
	first = flag.Uint64("first", 1, "begin with this seed")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *one == 0 {
		slog.SetDefault(slog.New(slog.DiscardHandler))
	}
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// play plays a seed in a bubble of its own, and checks it.
func play(t *testing.T, seed uint64, mutation simulated.Mutation, trace func(string, ...any)) (r *run, err error) {
	oldrand.Seed(int64(seed)) //nolint:staticcheck // the retries of the commit log take their pauses from it
	synctest.Test(t, func(*testing.T) {
		r = newRun(seed, mutation, trace)
		r.play()
		err = r.check()
	})
	return r, err
}

func TestEverySeedKeepsTheGuarantees(t *testing.T) {
	if *one != 0 {
		r, err := play(t, *one, simulated.None, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
		if err != nil {
			t.Fatalf("seed %d: %v", *one, err)
		}
		t.Logf("%d steps, stops: %v", r.step, r.stops)
		return
	}
	began := time.Now()
	failed, played := 0, 0
	var sum struct{ starts, kills, stops, commits int }
	for seed := *first; seed < *first+*seeds; seed++ {
		r, err := play(t, seed, simulated.None, nil)
		played++
		sum.starts += r.starts
		sum.kills += r.kills
		sum.stops += len(r.stops)
		sum.commits += len(r.told)
		if err != nil {
			t.Errorf("seed %d (lost: %v): %v\n\tgo test ./processors/engine/simulation -run TestEverySeed -seed %d", seed, r.loss, err, seed)
			if failed++; failed == 10 {
				break
			}
		}
	}
	t.Logf("%d seeds: %d workers were started, %d killed, %d stopped by a loss; %d commits; %.0f seeds per second",
		played, sum.starts, sum.kills, sum.stops, sum.commits, float64(played)/time.Since(began).Seconds())
}

func TestTheSameSeedIsTheSameHistory(t *testing.T) {
	for seed, compared := uint64(1), 0; compared < 20; seed++ {
		first, _ := play(t, seed, simulated.None, nil)
		if first.padding > 0 || len(first.stops) > 0 {
			// Which records are in which part of a snapshot is up to the order of a
			// map, and which of two reasons stops a worker, to a select.
			continue
		}
		second, _ := play(t, seed, simulated.None, nil)
		if a, b := first.history(), second.history(); a != b {
			t.Errorf("seed %d has two histories: %s", seed, difference(a, b))
		}
		compared++
	}
}

// history is a line for every message that the streams hold.
func (r *run) history() string {
	var b strings.Builder
	r.w.Each(func(stream string, m broker.Message) {
		fmt.Fprintf(&b, "%s %d %d %x\n", stream, m.Position, m.AppendedAt, sha256.Sum256(unordered(stream, m.Payload)))
	})
	return b.String()
}

// unordered is a message without what depends on the order of the records in a
// part of a snapshot, which is that of a map: the records themselves, and the
// hash that names the part in the commits after it.
func unordered(stream string, payload []byte) []byte {
	var hashes []schemas.Hash
	if c, err := broker.DecodeCommit(payload); err == nil {
		hashes = append(hashes, c.Hash, c.PreviousHash)
		for _, s := range c.Snapshots {
			hashes = append(hashes, s.Hash)
		}
		if stream == simulated.Snapshots {
			slices.SortFunc(c.Delta, func(a, b schemas.Change) int { return bytes.Compare(a.Key, b.Key) })
			payload = c.AppendMessage(nil)
		}
	} else if broker.IsRowTopic(stream) {
		header, err := broker.RowsHeader(stream, payload)
		if err == nil {
			hashes = append(hashes, header.CommitHash)
		}
	}
	for _, hash := range hashes {
		payload = bytes.ReplaceAll(payload, hash[:], nil)
	}
	return payload
}

// difference is the first line in which two histories differ.
func difference(a, b string) string {
	right := strings.Split(b, "\n")
	for i, line := range strings.Split(a, "\n") {
		if i >= len(right) || line != right[i] {
			return fmt.Sprintf("line %d: %s", i+1, line)
		}
	}
	return "one is longer"
}

// The bugs that are put in on purpose are found within so many seeds.
func TestEveryMutationIsFound(t *testing.T) {
	for _, m := range []struct {
		name     string
		mutation simulated.Mutation
		within   uint64
	}{
		{"the condition of an append is ignored", simulated.IgnoreCondition, 100},
		{"the overlay is merged before the acknowledgement", simulated.EarlyAnswer, 100},
		{"a restore stops before the tail", simulated.StaleTail, 100},
		{"the mark of a started partition is ignored", simulated.ForgetStart, 400},
	} {
		t.Run(m.name, func(t *testing.T) {
			for seed := uint64(1); seed <= m.within; seed++ {
				if _, err := play(t, seed, m.mutation, nil); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("not found in %d seeds", m.within)
		})
	}
}
