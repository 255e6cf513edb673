package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/loadtest/lineage"
	"github.com/flightlog/flightlog/processors/changes"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
)

// Tasks and changes of worlds whose truth is told by docs/tasks.md and
// docs/changes.md, and by nobody who knew the processors. They are played into 16
// partitions with two workers, in months of a clock of its own, so that records
// leave the state and come back. make bench-lineage prints the table for 440.

const lineageOrg = "acme"

// played is what stands at the end.
type played struct {
	rows  map[schemas.Id]schemas.Enriched // by fact
	tasks map[string]schemas.Task         // by task_id
}

// playScenarios brings the events of all scenarios as if each had come when it
// happened, or when what came before it did.
func playScenarios(t *testing.T, scenarios []lineage.Scenario) played {
	t.Helper()
	type arrival struct {
		at    int64
		event *schemas.Event
	}
	var arrivals []arrival
	for _, s := range scenarios {
		at := int64(0)
		for _, e := range s.Events {
			at = max(at, e.OccurredAt)
			arrivals = append(arrivals, arrival{at, e})
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })

	var clock atomic.Int64
	clock.Store(arrivals[0].at)
	b := memory.New(16, memory.WithClock(clock.Load))
	in := &installation{broker: b}
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for _, p := range processors() {
		for n := range 2 {
			cfg := engine.Config{Broker: b.Handle(), Processor: p, Owner: fmt.Sprint("worker ", n), Linger: time.Millisecond, Clock: clock.Load, Logger: slog.New(slog.DiscardHandler)}
			workers.Go(func() {
				if err := engine.Run(ctx, cfg); err != nil {
					t.Errorf("%s of %s: %v", cfg.Owner, p.Name(), err)
				}
			})
		}
	}
	defer func() { stop(); workers.Wait() }()

	ship, err := shipper.New(ctx, b, lineageOrg, "producer", 1)
	settle := func() {
		if err == nil {
			err = ship.Flush(ctx)
		}
		if err == nil {
			err = in.settled(ctx, ship)
		}
	}
	settled := clock.Load()
	for _, a := range arrivals {
		if clock.Store(a.at); a.at-settled > 2*86400e6 {
			settle()
			settled = a.at
		}
		if err == nil {
			err = ship.Event(ctx, ship.Partition(producers.PartitionKey(a.event)), a.event.AppendAvro(nil))
		}
	}
	for range 3 { // sessions end by silence, and the rest follows
		settle()
		clock.Add(2 * 3600e6)
	}
	settle()
	p := played{map[schemas.Id]schemas.Enriched{}, map[string]schemas.Task{}}
	if err == nil {
		var all []schemas.Enriched
		var f schemas.EnrichedFrame
		err = rows(ctx, b, broker.Enriched, func(payload []byte) error {
			err := f.DecodeMessage(payload)
			all = append(all, f.Rows...)
			return err
		})
		p.rows = standing(all)
	}
	if err == nil {
		err = rows(ctx, b, broker.Tasks, func(payload []byte) error {
			var f schemas.TaskFrame // its rows hold lists that the next one would write over
			err := f.DecodeMessage(payload)
			for _, r := range f.Rows {
				if last := p.tasks[r.TaskId]; r.Version > last.Version || r.Version == last.Version && r.Sign > 0 {
					p.tasks[r.TaskId] = r
				}
			}
			return err
		})
		maps.DeleteFunc(p.tasks, func(_ string, r schemas.Task) bool { return r.Sign < 0 })
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pairs counts pairs of prompts of which both or one say that they are one task.
func pairs(labelled, said []string) (s score) {
	count := func(of func(i int) string) (pairs int) {
		sizes := map[string]int{}
		for i := range labelled {
			pairs += sizes[of(i)]
			sizes[of(i)]++
		}
		return pairs
	}
	s.right = count(func(i int) string { return labelled[i] + "\x00" + said[i] })
	s.wrong = count(func(i int) string { return said[i] }) - s.right
	s.missed = count(func(i int) string { return labelled[i] }) - s.right
	return s
}

func TestLineageOfLabelledWorlds(t *testing.T) {
	n, seed := number("FLIGHTLOG_WORLDS", len(lineage.Families())), number("FLIGHTLOG_SEED", 1)
	scenarios := lineage.Generate(uint64(seed), n)
	p := playScenarios(t, scenarios)

	of := map[string]string{}                             // task by session/prompt
	changed := map[string]map[string]schemas.TaskChange{} // of each change, by task
	for _, r := range p.rows {
		if r.Kind == schemas.KindPrompt {
			of[r.SessionId+"/"+r.PromptId] = r.TaskId
		}
	}
	for id, task := range p.tasks {
		if task.MoreChanges > 0 {
			t.Errorf("task %s has more changes than fit", id)
		}
		for _, c := range task.Changes {
			if changed[c.ChangeId] == nil {
				changed[c.ChangeId] = map[string]schemas.TaskChange{}
			}
			changed[c.ChangeId][id] = c
		}
	}
	state := changes.NewState()
	for _, r := range p.rows {
		state.Add(&r)
	}
	unlinked := map[string]*schemas.Enriched{}
	everything, _ := state.Changes()
	for _, c := range everything {
		if c.Row.TaskId == "" {
			unlinked[cmp.Or(c.Row.ChangeId, c.Row.Repo+"@"+c.Row.CommitId)] = c.Row
		}
	}

	byFamily := map[string]*score{}
	var allLabels, allTasks, differ []string
	links, states := score{}, score{}
	different := func(s lineage.Scenario, i int, format string, args ...any) {
		differ = append(differ, fmt.Sprintf("%s (%d): ", s.Family, i)+fmt.Sprintf(format, args...))
	}
	for i, s := range scenarios {
		var labels, said []string
		tasksOf := map[string][]string{}
		for _, r := range p.rows {
			work, ok := s.Tasks[r.SessionId]
			if !ok && r.SessionId != "" && r.PromptId != "" {
				work, ok = s.Tasks[r.SessionId+"/"+r.PromptId]
			}
			if !ok || r.PromptId == "" {
				continue
			}
			if want := of[r.SessionId+"/"+r.PromptId]; r.TaskId != want {
				different(s, i, "%s of prompt %s of %s is of task %s, its prompt of %s", r.Kind, r.PromptId, work, r.TaskId, want)
			}
			if r.Kind == schemas.KindPrompt {
				labels, said = append(labels, fmt.Sprint(i, "/", work)), append(said, r.TaskId)
				tasksOf[work] = append(tasksOf[work], r.TaskId)
			}
		}
		if len(labels) < len(s.Tasks) {
			different(s, i, "%d prompts stand, of %d labels", len(labels), len(s.Tasks))
		}
		family := pairs(labels, said)
		if family.wrong+family.missed > 0 {
			different(s, i, "pairs: %d right, %d wrong, %d missed: %v", family.right, family.wrong, family.missed, tasksOf)
		}
		allLabels, allTasks = append(allLabels, labels...), append(allTasks, said...)

		for id, c := range s.Changes {
			wanted, got := map[string]bool{}, changed[id]
			for _, work := range c.Works {
				for _, task := range tasksOf[work] {
					wanted[task] = true
				}
			}
			before := links
			for task, change := range got {
				if !wanted[task] {
					links.wrong++
					different(s, i, "%s is linked to task %s by %s, want %v", id, task, change.Link, c.Works)
					continue
				}
				links.right++
				if change.State.String() == c.State {
					states.right++
				} else {
					states.wrong, states.missed = states.wrong+1, states.missed+1
					different(s, i, "%s is %s, want %s", id, change.State, c.State)
				}
			}
			for task := range wanted {
				if _, ok := got[task]; !ok {
					links.missed++
					different(s, i, "%s is not linked to task %s (%v); unlinked: %t", id, task, c.Works, unlinked[id] != nil)
				}
			}
			if r := unlinked[id]; len(wanted) == 0 && r == nil {
				different(s, i, "%s is of no task, and not among the unlinked", id)
			}
			family.right += links.right - before.right
			family.wrong += links.wrong - before.wrong
			family.missed += links.missed - before.missed
		}
		if byFamily[s.Family] == nil {
			byFamily[s.Family] = &score{}
		}
		f := byFamily[s.Family]
		f.right, f.wrong, f.missed = f.right+family.right, f.wrong+family.wrong, f.missed+family.missed
	}
	same := pairs(allLabels, allTasks)
	all := map[string]*score{"same task or not": &same, "links of changes": &links, "states of changes": &states}
	t.Log("\n" + scores("LINEAGE", all) + "\n" + scores("FAMILY", byFamily))
	t.Logf("%d worlds, seed %d, %d prompts, %d differences:\n%s", n, seed, len(allLabels), len(differ), strings.Join(differ, "\n"))
	for what, s := range all {
		if s.precision() < 0.98 || s.recall() < 0.98 || s.right == 0 {
			t.Errorf("%s: precision %.3f, recall %.3f; want 0.98", what, s.precision(), s.recall())
		}
	}
}
