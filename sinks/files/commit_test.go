package files_test

import (
	"slices"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/schemas"
)

func TestRowsOfCommitsArriveOnceWhoeverOwnsThePartition(t *testing.T) {
	b, dir := memory.New(2), t.TempDir()
	number, previous := int64(0), int64(0)
	for owner := range 3 {
		o, err := b.Acquire(t.Context(), "sessions", 1, "worker")
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Restore(t.Context(), func(*schemas.Commit) error { return nil }); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			number++
			row := schemas.Enriched{SessionId: string(rune('a' + number))}
			c := &schemas.Commit{Processor: "sessions", Partition: 1, Generation: memory.Generation, CommitNumber: number, Epoch: o.Epoch(), Owner: "worker"}
			if number%2 == 0 { // every other commit says something
				c.Outputs = []schemas.Output{{Topic: broker.Enriched, Partition: 1, Previous: previous, Schema: int64(broker.RowSchema(broker.Enriched)), Rows: [][]byte{row.AppendAvro(nil)}}}
				previous = number
			}
			if err := o.Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := drain(t, dir, b); err != nil {
				t.Fatalf("after owner %d: %v", owner, err)
			}
		}
	}
	if got, want := rows(t, dir, "enriched.ndjson"), []string{"c", "e", "g", "i"}; !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
}
