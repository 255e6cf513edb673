package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// fixedNow is later than every recording, and has been: the fold clamps times
// that lie ahead of the broker's clock.
var fixedNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// importing runs import in this process, by a clock that stands still at now,
// and gives the rows that it wrote.
func importing(t *testing.T, data string, now time.Time, shifted bool, paths ...string) (summary, []row, error) {
	t.Helper()
	c := importCommand()
	var out bytes.Buffer
	c.SetOut(&out)
	rows := t.TempDir()
	err := runImport(t.Context(), c, paths, importOptions{place: place{data: data, generation: 1}, out: rows, mode: "metadata", org: "local",
		json: true, shiftToNow: shifted, now: func() time.Time { return now }})
	if err != nil {
		return summary{}, nil, err
	}
	var s summary
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	return s, readRows(t, filepath.Join(rows, "enriched.ndjson")), nil
}

// lastRows are the last row of each fact, by its key.
func lastRows(rows []row) map[string]row {
	last := map[string]row{}
	for _, r := range rows {
		if r.number("sign") > 0 {
			last[r.text("fact_key")] = r
		}
	}
	return last
}

func TestAShiftedImportDiffersFromAPlainOneByOneOffset(t *testing.T) {
	inputs := []string{filepath.Join(recordings.Dir(t), "resume"), filepath.Join(recordings.Dir(t), "otlp-all"), filepath.Join(recordings.Dir(t), "subagent")}
	_, plain, err := importing(t, t.TempDir(), fixedNow, false, inputs...)
	if err != nil {
		t.Fatal(err)
	}
	_, shifted, err := importing(t, t.TempDir(), fixedNow, true, inputs...)
	if err != nil {
		t.Fatal(err)
	}
	sources, err := findSources(inputs)
	if err != nil {
		t.Fatal(err)
	}
	last := newest{sessions: map[string]bool{}}
	for _, s := range sources {
		if err := s.read(t.Context(), &last); err != nil {
			t.Fatal(err)
		}
	}
	offset := fixedNow.UnixMicro() - last.at
	was, is := lastRows(plain), lastRows(shifted)
	if len(was) != len(is) || len(was) < 50 {
		t.Fatalf("%d facts plain, %d shifted", len(was), len(is))
	}
	for key, before := range was {
		after := is[key]
		if after == nil {
			t.Errorf("fact %s is gone", key)
			continue
		}
		if got := after.number("occurred_at") - before.number("occurred_at"); got != offset {
			t.Errorf("%s %s was moved by %d µs, want %d", before.text("kind"), key, got, offset)
		}
		if after.number("occurred_at") > fixedNow.UnixMicro() {
			t.Errorf("%s %s lies in the future", before.text("kind"), key)
		}
		for column, value := range before {
			// The event that caused a version has another id, its content differs.
			if slices.Contains([]string{"occurred_at", "event_id", "row_id", "version", "final"}, column) {
				continue
			}
			if a, b := mustJSON(t, after[column]), mustJSON(t, value); a != b {
				t.Errorf("%s %s: %s is %s, was %s", before.text("kind"), key, column, a, b)
			}
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// gathered is a sink that keeps copies.
type gathered struct{ events []schemas.Event }

func (g *gathered) Event(e *schemas.Event) error         { g.events = append(g.events, *e); return nil }
func (g *gathered) DeadLetter(*schemas.DeadLetter) error { return nil }

func TestTheNewestEventIsShiftedToNowAndNothingBeyond(t *testing.T) {
	at := func(s schemas.Signal, at, ms int64) schemas.Event {
		e := schemas.Event{Signal: s, OccurredAt: at, DurationMs: schemas.SomeLong(ms)}
		schemas.SetEventID(&e)
		return e
	}
	const now = int64(1e15)
	recorded := []schemas.Event{at(schemas.SignalNone, 100, 7), at(schemas.SignalLog, 5_000_000, 9000), at(schemas.SignalSpan, 2_000_000, 4000)}
	n := newest{sessions: map[string]bool{}}
	for i := range recorded {
		if err := n.Event(&recorded[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n.at != 6_000_000 {
		t.Fatalf("the newest event was told of at %d, want the end of the span", n.at)
	}
	var to gathered
	s := shift{next: &to, by: now - n.at, now: now}
	// Since then the file has grown: an event, and a span that goes on longer.
	grown := append(recorded, at(schemas.SignalNone, 6_000_001, 0), at(schemas.SignalSpan, 6_000_000, 3000))
	for i := range grown {
		before := grown[i]
		if err := s.Event(&grown[i]); err != nil {
			t.Fatal(err)
		}
		if grown[i] != before {
			t.Errorf("the reader's own event %d was changed", i)
		}
	}
	for i, want := range []int64{now - 5_999_900, now - 1_000_000, now - 4_000_000, now, now - 3_000_000} {
		got := to.events[i]
		if got.OccurredAt != want || got.DurationMs != grown[i].DurationMs || got.FactKey != grown[i].FactKey {
			t.Errorf("event %d: at %d for %v, want %d for %v", i, got.OccurredAt, got.DurationMs, want, grown[i].DurationMs)
		}
		id := got.EventId
		if schemas.SetEventID(&got); got.EventId != id || id == grown[i].EventId {
			t.Errorf("event %d: event_id %s is not that of its content", i, id)
		}
	}
}

func TestAShiftedImportOfSessionsThatAreThereIsRefused(t *testing.T) {
	data, input := t.TempDir(), filepath.Join(recordings.Dir(t), "success")
	if _, _, err := importing(t, data, fixedNow, true, input); err != nil {
		t.Fatal(err)
	}
	_, first, err := importing(t, data, fixedNow, false, filepath.Join(recordings.Dir(t), "loop")) // others may come
	if err != nil {
		t.Fatal(err)
	}
	for name, now := range map[string]time.Time{"later": fixedNow.Add(time.Hour), "at the same time": fixedNow} {
		if _, _, err := importing(t, data, now, true, input); err == nil || !strings.Contains(err.Error(), "was imported before") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, again, err := importing(t, data, fixedNow, false, filepath.Join(recordings.Dir(t), "loop"))
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != len(first) {
		t.Errorf("%d rows after what was refused, %d before", len(again), len(first))
	}
}

func TestAShiftedRequestIsPricedAsOfNow(t *testing.T) {
	// Until 2026-03-13 this model cost twice as much for a long prompt.
	request := `{"type":"assistant","uuid":"5b0c7c6a-0d5c-4c59-8f0e-2f6b6a3f6a01","sessionId":"0b3f1a52-2f4e-4b52-9d1e-6f0f3d2c9a10","timestamp":"2026-11-20T10:00:00.000Z",` +
		`"requestId":"req_011CabcdefGHIJKLMNOPQRST","message":{"id":"msg_01AbCdEfGhIjKlMnOpQrStUv","type":"message","role":"assistant","model":"claude-sonnet-4-6",` +
		`"content":[],"stop_reason":"end_turn","usage":{"input_tokens":300000,"output_tokens":10}}}` + "\n"
	input := filepath.Join(t.TempDir(), "0b3f1a52-2f4e-4b52-9d1e-6f0f3d2c9a10.jsonl")
	if err := os.WriteFile(input, []byte(request), 0o600); err != nil {
		t.Fatal(err)
	}
	cost := func(now time.Time, shifted bool) int64 {
		t.Helper()
		s, _, err := importing(t, t.TempDir(), now, shifted, input)
		if err != nil || s.Total.Requests != 1 {
			t.Fatalf("%v: %+v", err, s)
		}
		return s.Total.CostNanoUsd
	}
	recorded := cost(fixedNow, false)
	if now := cost(fixedNow, true); now != recorded || now == 0 {
		t.Errorf("as of %v it costs %d, when it was recorded %d: the same price list held", fixedNow, now, recorded)
	}
	if then := cost(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), true); then <= recorded {
		t.Errorf("as of March it costs %d, want more than %d", then, recorded)
	}
}

func TestAShiftedImportOfNothingButBadLines(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.jsonl")
	if err := os.WriteFile(broken, []byte("{\"type\":\"user\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err := importing(t, t.TempDir(), fixedNow, true, broken)
	if err != nil || s.DeadLetters != 1 || s.Events != 0 {
		t.Errorf("%v: %+v", err, s)
	}
}

func TestAShiftEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	in, err := start(t.Context(), t.TempDir(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	sources, err := findSources([]string{recordings.Dir(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.shiftToNow(ctx, sources, fixedNow, nil); err == nil {
		t.Error("it went on")
	}
}

func TestAShiftedDemoHasJustHappened(t *testing.T) {
	home := t.TempDir()
	before := time.Now()
	run(t, home, "demo", "--shift-to-now", "--out", filepath.Join(home, "rows"))
	var last int64
	for _, r := range readRows(t, filepath.Join(home, "rows", "enriched.ndjson")) {
		last = max(last, r.number("occurred_at"))
		if at := time.UnixMicro(r.number("occurred_at")); at.After(time.Now()) || before.Sub(at) > time.Hour {
			t.Fatalf("%s %s happened at %v", r.text("kind"), r.text("fact_key"), at)
		}
	}
	if age := before.Sub(time.UnixMicro(last)); age > 10*time.Second {
		t.Errorf("the newest row is %v old", age)
	}
}
