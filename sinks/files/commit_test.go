package files_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/schemas"
)

func TestRowsOfCommitsArriveOnceWhoeverOwnsThePartition(t *testing.T) {
	t.Run("in frames that are routed", func(t *testing.T) { rowsOfCommitsArriveOnce(t, memory.New(2)) })
	t.Run("as records of their own", func(t *testing.T) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		config := kafka.Config{Brokers: cluster.ListenAddrs()}
		if err := kafka.Provision(t.Context(), config, 2); err != nil {
			t.Fatal(err)
		}
		b, err := kafka.Connect(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		rowsOfCommitsArriveOnce(t, b)
	})
}

func rowsOfCommitsArriveOnce(t *testing.T, b broker.Broker) {
	dir, archived := t.TempDir(), t.TempDir()
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
			one, two := schemas.Enriched{SessionId: string(rune('a' + number))}, schemas.Enriched{SessionId: string(rune('A' + number))}
			c := &schemas.Commit{Processor: "sessions", Partition: 1, Generation: memory.Generation, CommitNumber: number, Epoch: o.Epoch(), Owner: "worker"}
			if number%2 == 0 { // every other commit says something
				c.Outputs = []schemas.Output{{Topic: broker.Enriched, Partition: 1, Previous: previous, Schema: int64(broker.RowSchema(broker.Enriched)), Rows: [][]byte{one.AppendAvro(nil), two.AppendAvro(nil)}}}
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
			if err := errors.Join(drain(t, dir, b), archive(t, archived, b)); err != nil {
				t.Fatalf("after owner %d: %v", owner, err)
			}
		}
	}
	want := []string{"c", "C", "e", "E", "g", "G", "i", "I"}
	if got := rows(t, dir, "enriched.ndjson"); !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
	var got []string // an hour may have passed
	byFile := archivedNames(t, archived, broker.Enriched)
	for _, file := range slices.Sorted(maps.Keys(byFile)) {
		got = append(got, byFile[file]...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("archived rows %q, want %q", got, want)
	}
}
