//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Kinds of faults. The first three are kills.
const (
	workerKill    = "worker"    // SIGKILL of a worker at any time
	failpointKill = "failpoint" // SIGKILL of a worker at a named place
	brokerKill    = "broker"    // SIGKILL of a broker's process
	zombie        = "zombie"    // SIGSTOP of a worker past its lease, then SIGCONT
	drain         = "drain"     // SIGTERM of a worker
	// foldedZombie is a zombie that was stopped with a folded slice.
	foldedZombie = "zombie with a folded slice"
)

// result is what one run has found; a line of the report.
type result struct {
	// Build is the hash of the programs under test: only results of one build
	// add up.
	Build  string
	Broker string
	Seed   uint64
	Wanted int // kills
	Began  time.Time
	// Seconds of the whole run.
	Seconds float64

	Faults     map[string]int // by kind
	Failpoints map[string]int // kills by failpoint
	// Uncommitted kills met records that were appended and in no commit yet;
	// Judged are the kills of which that could be asked.
	Uncommitted, Judged int
	Doubts              map[string]int // ownerships given up, by reason
	Refused             int            // workers that an upgraded partition has refused
	GaveUp              int            // workers that ended without their broker
	Configs             int            // versions of prices and directory that were applied
	Restatements        int

	RecoveryMs []int64 // from a kill to the next commit of all partitions that it hit
	Idle       int     // kills after which some partition had nothing to do any more
	SettledMs  int64   // from the end of load and faults until no lag was left

	Events, Commits, Replayed int64 // events sent, duplicates included; commits; those folded again (check A)
	Closed, Reloaded          int64 // parts of archives that were written, and that came back
	Lost, Doubled             int64 // facts without a row, rows that are there twice
	Violations                []string
}

func newResult(build, broker string, seed uint64, kills int) *result {
	return &result{Build: build, Broker: broker, Seed: seed, Wanted: kills, Began: time.Now().UTC(),
		Faults: map[string]int{}, Failpoints: map[string]int{}, Doubts: map[string]int{}}
}

// killed is the number of kills.
func (s *result) killed() int {
	return s.Faults[workerKill] + s.Faults[failpointKill] + s.Faults[brokerKill]
}

// maxTold is how many violations are told one by one.
const maxTold = 50

func (s *result) violate(format string, args ...any) {
	if len(s.Violations) < maxTold {
		s.Violations = append(s.Violations, fmt.Sprintf(format, args...))
	}
}

// add adds up what two runs have found.
func (s *result) add(o *result) {
	s.Wanted += o.Wanted
	s.Seconds += o.Seconds
	for _, m := range []struct{ to, from map[string]int }{{s.Faults, o.Faults}, {s.Failpoints, o.Failpoints}, {s.Doubts, o.Doubts}} {
		for key, n := range m.from {
			m.to[key] += n
		}
	}
	s.Uncommitted, s.Judged = s.Uncommitted+o.Uncommitted, s.Judged+o.Judged
	s.Refused, s.GaveUp, s.Configs = s.Refused+o.Refused, s.GaveUp+o.GaveUp, s.Configs+o.Configs
	s.Restatements += o.Restatements
	s.RecoveryMs, s.Idle = append(s.RecoveryMs, o.RecoveryMs...), s.Idle+o.Idle
	s.SettledMs = max(s.SettledMs, o.SettledMs)
	s.Events, s.Commits, s.Replayed = s.Events+o.Events, s.Commits+o.Commits, s.Replayed+o.Replayed
	s.Closed, s.Reloaded = s.Closed+o.Closed, s.Reloaded+o.Reloaded
	s.Lost, s.Doubled = s.Lost+o.Lost, s.Doubled+o.Doubled
	s.Violations = append(s.Violations, o.Violations...)
}

// report is the file with a line for each run. The last line of a broker, seed,
// number of kills and build counts.
type report struct{ path string }

func openReport(dir string) (report, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return report{}, fmt.Errorf("cannot make the report's folder: %w", err)
	}
	return report{filepath.Join(dir, "report.jsonl")}, nil
}

// write adds a line.
func (r report) write(s *result) error {
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// of reads the results of a build, in the order of brokers and seeds.
func (r report) of(build string) ([]*result, error) {
	f, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the report: %w", err)
	}
	defer f.Close()
	last := map[string]*result{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		s := newResult("", "", 0, 0)
		if err := json.Unmarshal(lines.Bytes(), s); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", r.path, err)
		}
		if s.Build == build {
			last[fmt.Sprintf("%s %020d %d", s.Broker, s.Seed, s.Wanted)] = s
		}
	}
	var all []*result
	for _, key := range slices.Sorted(maps.Keys(last)) {
		all = append(all, last[key])
	}
	return all, lines.Err()
}

// done is the result of a run that has been made before, without violations.
func done(all []*result, broker string, seed uint64, kills int) *result {
	for _, s := range all {
		if s.Broker == broker && s.Seed == seed && s.Wanted == kills && len(s.Violations) == 0 {
			return s
		}
	}
	return nil
}

// write prints the sums by broker.
func writeSums(out io.Writer, all []*result) error {
	sums := map[string]*result{}
	seeds := map[string]int{}
	for _, s := range all {
		if sums[s.Broker] == nil {
			sums[s.Broker] = newResult(s.Build, s.Broker, 0, 0)
		}
		sums[s.Broker].add(s)
		seeds[s.Broker]++
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, of func(*result) any) {
		fmt.Fprintf(w, "%s\t", name)
		for _, broker := range slices.Sorted(maps.Keys(sums)) {
			fmt.Fprintf(w, "%v\t", of(sums[broker]))
		}
		fmt.Fprintln(w)
	}
	row("", func(s *result) any { return s.Broker })
	row("runs", func(s *result) any { return seeds[s.Broker] })
	row("kills -9", func(s *result) any { return s.killed() })
	for _, kind := range []string{workerKill, failpointKill, brokerKill, zombie, foldedZombie, drain} {
		row(kind, func(s *result) any { return s.Faults[kind] })
	}
	row("with uncommitted work", func(s *result) any { return percent(s.Uncommitted, s.Judged) })
	row("fenced", func(s *result) any { return s.Doubts["fenced"] })
	row("in doubt", func(s *result) any { return s.Doubts["unknown"] + s.Doubts["retry"] })
	row("refused by a newer fold", func(s *result) any { return s.Refused })
	row("ended without broker", func(s *result) any { return s.GaveUp })
	row("config versions", func(s *result) any { return s.Configs })
	row("restatements", func(s *result) any { return s.Restatements })
	row("recovery p50 s", func(s *result) any { return quantile(s.RecoveryMs, 0.5) })
	row("recovery p99 s", func(s *result) any { return quantile(s.RecoveryMs, 0.99) })
	row("lag 0 after s, at most", func(s *result) any { return seconds(s.SettledMs) })
	row("events", func(s *result) any { return s.Events })
	row("commits", func(s *result) any { return s.Commits })
	row("folded again", func(s *result) any { return s.Replayed })
	row("archived parts", func(s *result) any { return s.Closed })
	row("reloads seen", func(s *result) any { return s.Reloaded })
	row("lost", func(s *result) any { return s.Lost })
	row("doubled", func(s *result) any { return s.Doubled })
	row("violations", func(s *result) any { return len(s.Violations) })
	if err := w.Flush(); err != nil {
		return err
	}
	for _, broker := range slices.Sorted(maps.Keys(sums)) {
		var hits []string
		for _, name := range slices.Sorted(maps.Keys(sums[broker].Failpoints)) {
			hits = append(hits, fmt.Sprintf("%s %d", name, sums[broker].Failpoints[name]))
		}
		fmt.Fprintf(out, "%s, killed at failpoints: %s\n", broker, strings.Join(hits, ", "))
	}
	return nil
}

func percent(part, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(of))
}

func seconds(ms int64) string { return fmt.Sprintf("%.1f", float64(ms)/1000) }

// quantile is the time in ms below which a part of them lies, in seconds.
func quantile(ms []int64, part float64) string {
	if len(ms) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(ms))
	return seconds(sorted[min(len(sorted)-1, int(part*float64(len(sorted))))])
}
