package files_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/files"
)

// run opens the folder, and runs the sink for a while.
func run(t *testing.T, dir string, b broker.Broker, d time.Duration) error {
	t.Helper()
	s, err := files.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	return errors.Join(s.Run(ctx, b), s.Close())
}

// refused checks the error of a folder that belongs to another installation.
func refused(t *testing.T, dir string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "the rows in "+dir+" come from another installation (") ||
		!strings.Contains(err.Error(), "give another folder, or remove "+dir+" to write them anew") {
		t.Errorf("error %v, want that the rows come from another installation", err)
	}
}

// asBefore makes the checkpoint one of before installations had names.
func asBefore(t *testing.T, dir, id string) {
	t.Helper()
	now := contents(t, dir)["checkpoint.json"]
	before := strings.Replace(now, `"installation":"`+id+`",`, "", 1)
	before = strings.ReplaceAll(before, `"last":6,`, "")
	if strings.Contains(before, id) || strings.Contains(before, `"last":6`) || before == now {
		t.Fatalf("the checkpoint does not name %s: %s", id, now)
	}
	write(t, dir, "checkpoint.json", before)
}

func TestAFolderWithTheRowsOfAnotherInstallationIsRefused(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		b := memory.New(1)
		frame := schemas.EnrichedFrame{Rows: make([]schemas.Enriched, 1)}
		for range 2 - i { // the second one is the shorter
			if _, err := b.Append(t.Context(), enriched(0), frame.AppendMessage(nil)); err != nil {
				t.Fatal(err)
			}
		}
		if i == 0 {
			if err := drain(t, dir, b); err != nil {
				t.Fatal(err)
			}
			continue
		}
		before := contents(t, dir)
		refused(t, dir, drain(t, dir, b))
		refused(t, dir, run(t, dir, b, time.Second))
		same(t, "after the refusal", contents(t, dir), before)
	}
}

func TestAFolderWithoutRowsBelongsToTheFirstInstallationThatItSaw(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	b.id = "another/g1"
	b.say(t, enriched(0), 1)
	refused(t, dir, drain(t, dir, b))
}

func TestACheckpointWithoutAnInstallationIsTakenForTheOneThatHoldsItsPositions(t *testing.T) {
	b, dir := newLogs(2), t.TempDir()
	b.say(t, enriched(1), 1)
	b.say(t, enriched(1), 1)
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	asBefore(t, dir, b.id)

	shorter := newLogs(2)
	shorter.say(t, enriched(1), 1)
	before := contents(t, dir)
	refused(t, dir, drain(t, dir, shorter))
	same(t, "after the refusal", contents(t, dir), before)

	if err := drain(t, dir, b); err != nil { // without news
		t.Fatal(err)
	}
	b.lose(enriched(1), 3)
	if err := drain(t, dir, b); !errors.Is(err, broker.ErrLost) {
		t.Errorf("after the loss of its end: %v, want %v", err, broker.ErrLost)
	}
	b.id = "another/g1"
	refused(t, dir, drain(t, dir, b))
}

func TestALogThatHasLostItsEndIsAnErrorAndNeverSkipped(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	for range 3 {
		b.say(t, enriched(0), 1)
	}
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	b.lose(enriched(0), 3)
	for how, err := range map[string]error{"drain": drain(t, dir, b), "run": run(t, dir, b, time.Second)} {
		if !errors.Is(err, broker.ErrLost) || !strings.Contains(err.Error(), "enriched/0 ends at position 3, the last message read was at 9") {
			t.Errorf("%s: %v, want %v", how, err, broker.ErrLost)
		}
	}
	same(t, "after the refusal", contents(t, dir), before)
}

func TestAPlaceThatMovedOnBehindTheEndOfAnIdleLogIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newLogs(1), t.TempDir()
		b.say(t, enriched(0), 1)
		b.passed = 40
		for range 2 {
			if err := run(t, dir, b, 2*time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		b.lose(enriched(0), 0) // as when all of it ages out
		if err := drain(t, dir, b); err != nil {
			t.Error(err)
		}
	})
}
