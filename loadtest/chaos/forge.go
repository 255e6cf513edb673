//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
)

// What a forge tells beside each piece of the load: pull requests of people, and
// the one that the recorded session has made, which all of its copies name. It is
// merged, and taken back later.
const (
	forgeRepo   = "github.com/example/shop"
	sessionPull = forgeRepo + "#17"
	peoplePulls = 12
)

// forgeFacts is how many facts the forge tells of: of each pull request itself, the
// push of its merge, and a check; and the push that takes the session's back.
const forgeFacts = 3*(peoplePulls+1) + 1

func forgeEvents(org string, now time.Time) (early, late []*schemas.Event) {
	event := func(kind schemas.Kind, id, branch string, fill func(*schemas.Event, *schemas.ArtifactBody)) *schemas.Event {
		e := &schemas.Event{Kind: kind, Witness: schemas.WitnessForge, Repo: forgeRepo, Branch: branch, OccurredAt: now.UnixMicro()}
		e.Body.Branch, e.Body.Artifact.TargetBranch = schemas.EventBodyArtifact, "main"
		fill(e, &e.Body.Artifact)
		producers.Finish(e, id)
		e.FactKey = schemas.FactKey(org, kind, id) // of each piece its own
		schemas.SetEventID(e)
		return e
	}
	pull := func(change, operation, merge string) *schemas.Event {
		return event(schemas.KindForgePullRequest, change, "people", func(_ *schemas.Event, a *schemas.ArtifactBody) {
			a.ChangeId, a.Operation, a.MergeCommitId = change, operation, merge
		})
	}
	push := func(commit, reverts string) *schemas.Event {
		return event(schemas.KindForgePush, commit+"@main", "main", func(_ *schemas.Event, a *schemas.ArtifactBody) {
			a.CommitId, a.Reverts = commit, reverts
		})
	}
	for i := range peoplePulls + 1 {
		change, merge := fmt.Sprintf("%s#%d", forgeRepo, 100+i), fmt.Sprintf("%08x%032d", 0xabc00000+i, i)
		if i == peoplePulls {
			change = sessionPull
			late = append(late, push(fmt.Sprintf("%040x", 0xdef), merge))
		}
		early = append(early, pull(change, "opened", ""), push(merge, ""))
		late = append(late, pull(change, "merged", merge), event(schemas.KindCheckRun, merge+"/unit", "main", func(e *schemas.Event, a *schemas.ArtifactBody) {
			e.Success, a.CommitId, a.Name = schemas.SomeBool(i%3 > 0), merge, "unit"
		}))
	}
	return early, late
}

// forge sends them in any order, some twice and some on the critical lane.
func forge(ctx context.Context, b broker.Broker, org string, random *rand.Rand, events []*schemas.Event) error {
	s, err := shipper.New(ctx, b, org, fmt.Sprint("forge", random.Uint32()), time.Now().UnixMicro())
	if err != nil {
		return err
	}
	random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, e := range events {
		encoded, partition := e.AppendAvro(nil), s.Partition(producers.PartitionKey(e))
		for range 1 + random.IntN(2) {
			send := s.Event
			if random.IntN(8) == 0 {
				send = s.Critical
			}
			if err := send(ctx, partition, encoded); err != nil {
				return err
			}
		}
	}
	return s.Flush(ctx)
}

// checkForge compares what stands of the forge's facts in a piece, and on the tasks
// of the sessions that made the pull request, with what was sent.
func checkForge(ctx context.Context, b broker.Broker, org string) (differences []string, err error) {
	facts, wanted, n := map[schemas.Id]schemas.Enriched{}, map[string]bool{}, int64(0)
	if n, err = eachRow(ctx, b, broker.Enriched, func(payload []byte) error {
		var f schemas.EnrichedFrame
		err := f.DecodeMessage(payload)
		for _, r := range f.Rows {
			switch {
			case r.Org != org:
			case r.Kind == schemas.KindPullRequest && r.Sign > 0:
				wanted[r.TaskId] = true
			case r.Kind == schemas.KindPullRequest:
				delete(wanted, r.TaskId) // its new row follows
			case r.SessionId == "":
				facts[r.FactKey] = r
			}
		}
		return err
	}); err != nil {
		return nil, err
	}
	say := func(format string, args ...any) {
		differences = append(differences, fmt.Sprintf("%s: "+format, append([]any{org}, args...)...))
	}
	if len(facts) != forgeFacts {
		say("%d facts of the forge have rows, want %d (of %d frames)", len(facts), forgeFacts, n)
	}
	for _, r := range facts {
		want := "none"
		if ofSession := r.ChangeId == sessionPull || r.CommitId == fmt.Sprintf("%08x%032d", 0xabc00000+peoplePulls, peoplePulls); ofSession && len(wanted) == 1 {
			want = "pull_request"
		} else if ofSession && len(wanted) > 1 {
			want = "several"
		}
		if r.Sign < 0 || r.Link != want || r.Kind == schemas.KindForgePullRequest && r.Detail != "merged" {
			say("%s %s%s stands as %q with link %s, sign %d; want link %s", r.Kind, r.ChangeId, r.CommitId, r.Detail, r.Link, r.Sign, want)
		}
	}
	states := map[string]schemas.ChangeState{}
	if _, err := eachRow(ctx, b, broker.Tasks, func(payload []byte) error {
		var f schemas.TaskFrame
		err := f.DecodeMessage(payload)
		for _, t := range f.Rows {
			if t.Org == org && t.Sign > 0 {
				states[t.TaskId] = schemas.ChangeStateUnknown
				if len(t.Changes) == 1 && t.Changes[0].ChangeId == sessionPull {
					states[t.TaskId] = t.Changes[0].State
				}
			}
		}
		return err
	}); err != nil {
		return nil, err
	}
	for task := range wanted {
		if states[task] != schemas.ChangeStateReverted {
			say("the pull request of task %s is %s, want reverted", task, states[task])
		}
	}
	return differences, nil
}

func eachRow(ctx context.Context, b broker.Broker, topic string, each func([]byte) error) (frames int64, err error) {
	n, err := b.Partitions(ctx)
	if err != nil {
		return 0, err
	}
	for p := range n {
		if err := broker.Scan(ctx, b, broker.Log{Topic: topic, Partition: p}, func(m broker.Message) error {
			frames++
			return each(m.Payload)
		}); err != nil {
			return frames, err
		}
	}
	return frames, nil
}
