package sessions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// A worker that is stopped at any moment, and workers that fight over the same
// partitions, leave the rows that one undisturbed worker says.
func TestWorkersThatComeAndGoSayEveryRowOnce(t *testing.T) {
	frames, events := workload(2, 100)
	want := map[schemas.Id]schemas.Enriched{}
	for p := range frames {
		h := engine.NewHarness(New(), start)
		for _, f := range frames[p] {
			if err := h.Append(f); err != nil {
				t.Fatal(err)
			}
		}
		for key, r := range lastRows(decoded(t, h.Rows(broker.Enriched))) {
			want[key] = r
		}
	}
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 3))
		b := memory.New(2)
		for p := range frames {
			for _, f := range frames[p] {
				if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Events, Partition: p}, f); err != nil {
					t.Fatal(err)
				}
			}
		}
		for round, settled := 1, false; !settled; round++ {
			ctx, stop := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(20*round))*time.Millisecond)
			workers := 1 + random.IntN(2)
			ended := make(chan error, workers)
			for i := range workers {
				go func() {
					ended <- engine.Run(ctx, engine.Config{Broker: b, Processor: New(), Owner: fmt.Sprint("worker", i), Linger: time.Millisecond})
				}()
			}
			for range workers {
				if err := <-ended; err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			stop()
			settled = allFolded(t, b, frames)
		}
		// One more owner routes what the last one may have left.
		for p := range frames {
			owner, err := b.Acquire(t.Context(), "sessions", p, "last")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(owner.Flush(t.Context()), owner.Release(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		var rows []schemas.Enriched
		seen := map[schemas.Id]bool{}
		for p := range frames {
			for _, r := range topicRows(t, b, p) {
				if seen[r.RowId] {
					t.Fatalf("seed %d: row %s was routed twice", seed, r.RowId)
				}
				seen[r.RowId] = true
				rows = append(rows, r)
			}
		}
		signedSumsAgree(t, rows)
		got := lastRows(rows)
		if len(got) != len(want) {
			t.Errorf("seed %d: %d facts of %d events, want %d", seed, len(got), events, len(want))
		}
		for key, w := range want {
			if g := got[key]; g != w {
				t.Fatalf("seed %d: %s\n got %+v\nwant %+v", seed, w.Kind, g, w)
			}
		}
	}
}

// allFolded tells that every partition has committed its whole input, with
// nothing left to say.
func allFolded(t *testing.T, b broker.Broker, frames [][][]byte) bool {
	t.Helper()
	for p := range frames {
		end, err := b.End(t.Context(), broker.Log{Topic: broker.Events, Partition: p})
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.LastCommit(t.Context(), "sessions", p)
		if err != nil {
			t.Fatal(err)
		}
		if c == nil || c.More || c.Slices[1].NextMessage < int64(end) || c.Slices[1].NextIndex != 0 {
			return false
		}
	}
	return true
}

func topicRows(t *testing.T, b broker.Broker, p int) (rows []schemas.Enriched) {
	t.Helper()
	err := broker.Scan(t.Context(), b, broker.Log{Topic: broker.Enriched, Partition: p}, func(m broker.Message) error {
		var f schemas.EnrichedFrame
		err := f.DecodeMessage(m.Payload)
		rows = append(rows, f.Rows...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
