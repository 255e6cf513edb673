package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// A rebuilt generation says the facts of the first one anew, under ids of its
// own.
func TestARebuildSaysTheSameFactsBesideTheOldOnes(t *testing.T) {
	dir := t.TempDir()
	input, data := filepath.Join(dir, "recordings"), filepath.Join(dir, "data")
	if err := recordings.Unpack(input); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "import", input, "--data", data)
	if out, err := flightlogCommand(t, dir, "rebuild", "--data", data).CombinedOutput(); err == nil || !strings.Contains(string(out), "--generation") {
		t.Errorf("without a number: %v\n%s", err, out)
	}
	for range 2 { // again it changes nothing
		run(t, dir, "rebuild", "--data", data, "--generation", "2")
	}
	facts := func(generation int64) map[schemas.Id]string {
		in, err := start(t.Context(), data, "", generation)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		found := map[schemas.Id]string{}
		for p := range partitions {
			err := broker.Scan(t.Context(), in.broker, broker.Log{Topic: broker.Enriched, Partition: p}, func(m broker.Message) error {
				var f schemas.EnrichedFrame
				err := f.DecodeMessage(m.Payload)
				for i := range f.Rows {
					r := &f.Rows[i]
					if r.Generation != generation {
						t.Errorf("a row of generation %d among those of %d", r.Generation, generation)
					}
					if r.Sign > 0 {
						r.RowId, r.Generation, r.Version, r.EventId, r.Final, r.Witnesses = schemas.Id{}, 0, 0, schemas.Id{}, false, ""
						found[r.FactKey] = string(r.AppendAvro(nil))
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return found
	}
	first, second := facts(1), facts(2)
	if len(first) == 0 || len(first) != len(second) {
		t.Fatalf("%d facts, rebuilt %d", len(first), len(second))
	}
	for key, row := range first {
		if second[key] != row {
			t.Errorf("fact %s is told otherwise", key)
		}
	}
}
