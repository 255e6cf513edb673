package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// TestDeadLettersAreSeenAndTriedAgain: rows that a server does not take for
// their age become dead letters, and are loaded once its window is raised; an
// event that the fold refused goes into the pipeline again.
func TestDeadLettersAreSeenAndTriedAgain(t *testing.T) {
	b, flags := loadedBroker(t, "")
	home := t.TempDir()
	flightlog := func(args ...string) string {
		t.Helper()
		return run(t, home, append(args, flags...)...)
	}
	said := newLoad(t, b, 1, 0)
	said.frame(50)
	old := newLoad(t, b, 2, 400*time.Hour)
	old.next = 1 // another partition
	old.frame(30)

	// A server that takes rows of the last 5 hours only.
	narrow, err := o2test.Start(o2test.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(narrow.Close)
	provisionStreams(t, narrow)
	server := func(s *o2test.Server) []string {
		return []string{"--openobserve", s.URL(), "--openobserve-admin-user", o2test.DefaultRoot}
	}
	start := func(args ...string) *exec.Cmd {
		c := flightlogCommand(t, home, append(args, flags...)...)
		c.Env = append(c.Env, openobserveAdminPassword+"="+o2test.DefaultRootPassword)
		return c
	}
	if out, err := start(append([]string{"sink", "openobserve"}, server(narrow)...)...).CombinedOutput(); err == nil || !strings.Contains(string(out), "ZO_INGEST_ALLOWED_UPTO=1080") {
		t.Fatalf("a sink with a window that is too short: %v\n%s", err, out)
	}
	sink := start(append([]string{"sink", "openobserve", "--openobserve-window", "5h"}, server(narrow)...)...)
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Process.Kill() })
	var group letterGroup
	for deadline := time.Now().Add(30 * time.Second); group.Count < int(old.Rows); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("dead letters %+v, want %d", group, old.Rows)
		}
		if text := flightlog("deadletters", "ls", "--reason", "outside_window", "--json"); text != "" {
			if err := json.Unmarshal([]byte(text), &group); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
		}
	}
	for deadline := time.Now().Add(30 * time.Second); !said.stands(narrow, "flightlog_enriched"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("rows inside of the window are not stored")
		}
	}
	if err := sink.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := sink.Wait(); err != nil {
		t.Errorf("the sink did not stop cleanly: %v", err)
	}
	if group.Reason != "outside_window" || group.Source != "enriched" || group.Whole != group.Count {
		t.Errorf("group %+v", group)
	}
	each := strings.Split(strings.TrimSpace(flightlog("deadletters", "ls", "--each", "--json")), "\n")
	if len(each) != int(old.Rows) {
		t.Errorf("%d lines, want %d", len(each), old.Rows)
	}
	one := gjson.Parse(each[0])
	shown := gjson.Parse(flightlog("deadletters", "show", one.Get("row_id").Str[:12]))
	if shown.Get("dead_letter.reason").Str != "outside_window" || shown.Get("row_of_enriched.model").Str == "" || shown.Get("dead_letter.payload").Exists() {
		t.Errorf("shown: %s", shown.Raw)
	}

	// An event that the fold refuses.
	e := schemas.Event{Kind: schemas.KindPrompt, SessionId: "s1", OccurredAt: time.Now().UnixMicro()}
	letter := schemas.DeadLetter{Generation: 1, Reason: "panic", Source: "events/0", Position: "1/0", Org: "acme", OccurredAt: time.Now().UnixMicro(), Payload: e.AppendMessage(nil)}
	raw := schemas.DeadLetter{Generation: 1, Reason: "not_json", Source: "~/x.jsonl", Position: "7", OccurredAt: time.Now().UnixMicro()}
	var letters [][]byte
	for _, d := range []*schemas.DeadLetter{&letter, &raw} {
		schemas.SetDeadLetterID(d)
		letters = append(letters, d.AppendAvro(nil))
	}
	header := schemas.RowHeader{Processor: "sessions", Generation: 1}
	if _, err := b.Append(t.Context(), broker.Log{Topic: broker.DeadLetters}, broker.AppendRows(nil, broker.DeadLetters, &header, letters)); err != nil {
		t.Fatal(err)
	}

	// Without an address of a store only events can go.
	if out, err := start("deadletters", "redrive", "--all").CombinedOutput(); err == nil || !strings.Contains(string(out), "--openobserve") {
		t.Errorf("redrive without a store: %v\n%s", err, out)
	}
	redrive := func(s *o2test.Server, args ...string) redriven {
		t.Helper()
		c := start(append(append([]string{"deadletters", "redrive", "--json"}, args...), server(s)...)...)
		var errs strings.Builder
		c.Stderr = &errs
		out, failed := c.Output()
		var r redriven
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("redrive: %v, %v\n%s", failed, err, errs.String())
		}
		if (failed != nil) != (len(r.Refused) > 0) {
			t.Errorf("redrive: %v, of %+v", failed, r)
		}
		return r
	}
	n := int(old.Rows)
	if got, want := redrive(narrow, "--all", "--dry-run"), (redriven{Events: 1, Stored: n, Incomplete: 1, DryRun: true}); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("a dry run: %+v, want %+v", got, want)
	}
	if got := redrive(narrow, "--source", "enriched/"); got.Refused["outside_window"] != n || got.Stored != 0 {
		t.Errorf("while the window is as it was: %+v", got)
	}
	wide, err := o2test.Start(o2test.Config{AllowedUpTo: 1080})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wide.Close)
	provisionStreams(t, wide)
	for range 2 {
		if got := redrive(wide, "--all"); got.Stored != n || got.Events != 1 || got.Incomplete != 1 || len(got.Refused) > 0 {
			t.Errorf("with the window raised: %+v", got)
		}
		if got := wide.Count("flightlog_enriched"); got != n {
			t.Errorf("%d rows stand, want %d", got, n)
		}
	}
	old.sums(t, wide, "flightlog_enriched")
	found := 0
	for p := range 4 {
		if err := broker.Scan(t.Context(), b, broker.Log{Topic: broker.Events, Partition: p}, func(m broker.Message) error {
			var f schemas.Frame
			if err := f.DecodeMessage(m.Payload); err != nil {
				return err
			}
			if f.Segments[0].Org != "acme" {
				t.Errorf("the event came as one of %q", f.Segments[0].Org)
			}
			found += len(f.Segments[0].Events)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if found != 2 { // it was re-driven twice, and is merged by its event_id
		t.Errorf("%d events, want 2", found)
	}
}
