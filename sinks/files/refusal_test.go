package files_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/files"
)

func TestALostPositionIsAnErrorAndNeverSkipped(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.say(t, enriched(0), 1)
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	b.say(t, enriched(0), 1)
	b.say(t, enriched(0), 1)
	b.age(enriched(0), 2)
	if err := drain(t, dir, b); !errors.Is(err, broker.ErrLost) || !strings.Contains(err.Error(), "enriched/0 after position 3") {
		t.Errorf("aged out: %v", err)
	}
	same(t, "after the refusal", contents(t, dir), before)
}

func TestAMissingFrameStopsTheSinkBeforeItsSuccessor(t *testing.T) {
	header := schemas.RowHeader{Processor: "sessions", Generation: 1, FirstCommit: 7, LastCommit: 8, PreviousCommit: 5}
	for name, c := range map[string]struct {
		change func(*schemas.RowHeader)
		want   string // part of the error; empty = the frame follows
		rows   int
	}{
		"in the middle":            {func(*schemas.RowHeader) {}, "commits 7 to 8 of sessions/0 (generation 1) follows commit 5, the last one seen is 4", 2},
		"an overlap":               {func(h *schemas.RowHeader) { h.FirstCommit, h.PreviousCommit = 3, 2 }, "follows commit 2, the last one seen is 4", 2},
		"begin of another source":  {func(h *schemas.RowHeader) { h.SourcePartition = 1 }, "follows commit 5, the last one seen is 0", 2},
		"nothing":                  {func(h *schemas.RowHeader) { h.FirstCommit, h.PreviousCommit = 5, 4 }, "", 3},
		"nothing, another source":  {func(h *schemas.RowHeader) { h.Processor, h.PreviousCommit = "changes", 0 }, "", 3},
		"nothing, next generation": {func(h *schemas.RowHeader) { h.Generation, h.PreviousCommit = 2, 0 }, "", 3},
		"nothing, without commits": {func(h *schemas.RowHeader) { *h = schemas.RowHeader{} }, "", 3},
		"nothing, said twice":      {func(h *schemas.RowHeader) { h.FirstCommit, h.LastCommit, h.PreviousCommit = 3, 4, 2 }, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			b, dir := newLogs(1), t.TempDir()
			b.say(t, enriched(0), 1)
			b.say(t, enriched(0), 1)
			h := header
			c.change(&h)
			b.sayFrame(t, enriched(0), h, 1)
			for range 2 { // the second time from the checkpoint
				err := drain(t, dir, b)
				switch {
				case c.want == "" && err != nil:
					t.Errorf("error %v", err)
				case c.want != "" && (!errors.Is(err, broker.ErrLost) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "enriched/0 at position 9")):
					t.Errorf("error %v, want one with %q", err, c.want)
				}
				if got := rows(t, dir, "enriched.ndjson"); len(got) != c.rows {
					t.Errorf("rows %q, want %d", got, c.rows)
				}
			}
		})
	}
}

func TestATopicThatLostOldFramesByAgeIsReadFromItsMiddle(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	for range 3 {
		b.say(t, enriched(0), 1)
	}
	b.age(enriched(0), 2)
	changes := schemas.RowHeader{Processor: "changes", SourcePartition: 1, Generation: 1, FirstCommit: 9, LastCommit: 9, PreviousCommit: 8}
	b.sayFrame(t, enriched(0), changes, 1)
	if err := drain(t, dir, b); err != nil {
		t.Fatal(err)
	}
	changes.FirstCommit, changes.LastCommit, changes.PreviousCommit = 11, 11, 10
	b.sayFrame(t, enriched(0), changes, 1)
	if err := drain(t, dir, b); !errors.Is(err, broker.ErrLost) {
		t.Errorf("a gap after the start in the middle: %v", err)
	}
	if got := rows(t, dir, "enriched.ndjson"); len(got) != 2 {
		t.Errorf("rows %q, want 2", got)
	}
}

func TestAFrameThatDoesNotDecodeStopsTheSink(t *testing.T) {
	b, dir := newLogs(1), t.TempDir()
	b.say(t, enriched(0), 1)
	if _, err := b.Append(t.Context(), enriched(0), []byte("no frame")); err != nil {
		t.Fatal(err)
	}
	if err := drain(t, dir, b); err == nil || !strings.Contains(err.Error(), "enriched/0 after position 3: the message at position 6") {
		t.Errorf("error %v", err)
	}
	if got := rows(t, dir, "enriched.ndjson"); len(got) != 1 {
		t.Errorf("rows %q, want the one before", got)
	}
}

func TestAFolderIsRefusedWhereItsFilesDoNotHoldWhatTheCheckpointSays(t *testing.T) {
	b, good := newLogs(1), t.TempDir()
	b.say(t, enriched(0), 3)
	if err := drain(t, good, b); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"a missing file": {func(dir string) error { return os.Remove(filepath.Join(dir, "enriched.ndjson")) },
			"enriched.ndjson is missing, but its checkpoint says"},
		"a missing empty file": {func(dir string) error { return os.Remove(filepath.Join(dir, "deadletters.ndjson")) },
			"deadletters.ndjson is missing, but its checkpoint says 0 bytes"},
		"a short file": {func(dir string) error { return os.Truncate(filepath.Join(dir, "enriched.ndjson"), 7) },
			"enriched.ndjson holds 7 bytes, but its checkpoint says"},
		"a missing checkpoint": {func(dir string) error { return os.Remove(filepath.Join(dir, "checkpoint.json")) },
			"but checkpoint.json does not know of it: move it away"},
		"a torn checkpoint": {func(dir string) error { return os.Truncate(filepath.Join(dir, "checkpoint.json"), 20) },
			"checkpoint.json: "},
		"another layout": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "checkpoint.json"), []byte(`{"version": 2}`), 0o600)
		}, "checkpoint.json has version 2, want 1"},
		"another number of partitions": {func(dir string) error { b.n = 2; return nil }, "the broker has 2 partitions, the checkpoint is for 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range contents(t, good) {
				write(t, dir, file, content)
			}
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			if err := drain(t, dir, b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			b.n = 1
		})
	}
}

func TestTwoSinksDoNotShareAFolder(t *testing.T) {
	dir := t.TempDir()
	first, err := files.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.New(dir); err == nil || !strings.Contains(err.Error(), "another sink writes to it") {
		t.Errorf("the second sink: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := files.New(dir)
	if err != nil {
		t.Fatalf("after the first was closed: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
