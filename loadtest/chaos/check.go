//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/reference"
	"github.com/flightlog/flightlog/loadtest/replay"
	"github.com/flightlog/flightlog/processors/changes"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/processors/tasks"
	"github.com/flightlog/flightlog/processors/verify"
	"github.com/flightlog/flightlog/schemas"
)

// versioned is a processor that calls its fold another version.
type versioned struct {
	engine.Processor
	version int64
}

func (v versioned) Version() int64 { return v.version }

// check proves from the logs that nothing was lost, doubled or changed: the
// invariants, folding again (check A), the plain reference (check B), and what
// the load knows of the recordings' truth.
func (r *run) check(ctx context.Context, b broker.Broker, expected []*replay.Expectation) error {
	folds := map[int64]engine.Processor{}
	for version := range r.programs {
		folds[version] = versioned{sessions.New(), version}
	}
	found, err := verify.Run(ctx, b, verify.Options{Processor: processor, Folds: folds, Settled: true, Reference: r.reference})
	if err != nil {
		return err
	}
	for _, p := range []engine.Processor{changes.NewProcessor(), tasks.NewProcessor(), spend.NewProcessor()} {
		other, err := verify.Run(ctx, b, verify.Options{Processor: p.Name(), Input: engine.InputOf(p), Folds: map[int64]engine.Processor{p.Version(): p}, Settled: true})
		if err != nil {
			return err
		}
		found.Others = append(found.Others, other)
	}
	f, err := os.Create(filepath.Join(r.dir, "verify.txt"))
	if err != nil {
		return err
	}
	err = found.WriteText(f)
	f.Close()
	if err != nil {
		return err
	}
	told := int64(0)
	for _, of := range append(found.Others, found) {
		told += int64(len(of.Violations))
		for _, v := range of.Violations {
			r.violate("%s: %s, partition %d, commit %d: %s", of.Processor, v.Kind, v.Partition, v.Commit, v.Text)
		}
	}
	if rest := found.Total() - told; rest > 0 {
		r.violate("and %d more", rest)
	}
	for i := range found.Partitions {
		p := &found.Partitions[i]
		r.count(func(s *result) {
			s.Commits += p.LastCommit
			s.Replayed += p.Replayed
		})
	}
	for _, e := range expected {
		r.count(func(s *result) { s.Events += e.Sent.Events })
		differences, err := e.Check(replay.Rows(ctx, b))
		if err != nil {
			return err
		}
		for _, d := range differences {
			r.violate("%s: %s", e.Org, d)
		}
		if differences, err = checkForge(ctx, b, e.Org); err != nil {
			return err
		}
		for _, d := range differences {
			r.violate("%s", d)
		}
	}
	return r.countReloads(ctx, b)
}

// reference is check B, and counts what is lost or doubled.
func (r *run) reference(ctx context.Context, b broker.Broker) ([]string, error) {
	text, err := os.ReadFile("processors/pricing/prices.json")
	if err != nil {
		return nil, fmt.Errorf("run it in the module's folder: %w", err)
	}
	batch, err := reference.Configured(ctx, b, text)
	if err != nil {
		return nil, err
	}
	events, err := reference.Events(ctx, b)
	if err != nil {
		return nil, err
	}
	published, err := reference.Published(ctx, b)
	if err != nil {
		return nil, err
	}
	want := batch.Rows(events)
	got, differences := reference.Final(published)
	r.count(func(s *result) { s.Lost, s.Doubled = missing(want, got), twice(published) })
	return slices.Concat(differences, reference.Compare(want, got),
		reference.CompareSums(reference.Sums(want), reference.Sums(published))), nil
}

// missing counts the facts that are wanted and have no row.
func missing(want, got []schemas.Enriched) (n int64) {
	there := map[schemas.Id]bool{}
	for i := range got {
		there[got[i].FactKey] = true
	}
	for i := range want {
		if !there[want[i].FactKey] {
			n++
		}
	}
	return n
}

// twice counts the rows that were said before.
func twice(rows []schemas.Enriched) (n int64) {
	seen := map[schemas.Id]bool{}
	for i := range rows {
		if seen[rows[i].RowId] {
			n++
		}
		seen[rows[i].RowId] = true
	}
	return n
}

// countReloads counts what has left the state and come back, as far as the
// commits still tell.
func (r *run) countReloads(ctx context.Context, b broker.Broker) error {
	for p := range r.watch.partitions {
		if err := broker.Scan(ctx, b, broker.Log{Topic: broker.Closed, Partition: p}, func(m broker.Message) error {
			var f schemas.ClosedFrame
			if err := f.DecodeMessage(m.Payload); err != nil {
				return err
			}
			r.count(func(s *result) { s.Closed += int64(len(f.Rows)) })
			return nil
		}); err != nil {
			return err
		}
		if err := b.History(ctx, processor, p, func(c *schemas.Commit) error {
			r.count(func(s *result) { s.Reloaded += int64(len(c.Reloads)) })
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
