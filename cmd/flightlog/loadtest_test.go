package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/loadtest/replay"
	"github.com/flightlog/flightlog/schemas"
)

// replaying runs loadtest replay and gives what it prints.
func replaying(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := loadtestCommand()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceUsage = true
	c.SetArgs(append([]string{"replay"}, args...))
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAReplayThroughTheEmbeddedBrokerAddsUpToWhatIsExpected(t *testing.T) {
	data, expect := t.TempDir(), filepath.Join(t.TempDir(), "expected.json")
	args := []string{"--data", data, "--expect", expect, "--json", "--sessions", "150", "--seed", "4",
		"--start", "2026-11-23T12:00:00Z", "--duplicates", "0.1", "--late", "0.1"}
	if _, err := replaying(t, args...); err != nil {
		t.Fatal(err)
	}
	out, err := replaying(t, args...) // the same again adds nothing
	if err != nil {
		t.Fatal(err)
	}
	var sent replay.Summary
	if err := json.Unmarshal([]byte(out), &sent); err != nil || sent.Sessions < 150 || sent.Duplicates == 0 || sent.Late == 0 {
		t.Fatalf("%v: %s", err, out)
	}

	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	in, err := startOrJoin(ctx, data, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	running, end := context.WithCancel(ctx)
	processed := make(chan error, 1)
	go func() { processed <- in.process(running, nil) }()
	for p, last := range sent.Last {
		if err := in.settledPartition(ctx, p, schemas.LaneNormal, int64(last)); err != nil {
			t.Fatal(err)
		}
	}
	end()
	if err := <-processed; err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile(expect)
	if err != nil {
		t.Fatal(err)
	}
	var expected replay.Expectation
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	differences, err := expected.Check(replay.Rows(ctx, in.broker))
	if err != nil || expected.Total.Bill.Requests == 0 {
		t.Error(err, expected.Total)
	}
	for _, d := range differences {
		t.Error(d)
	}
}

func TestReplayTellsWhatItSent(t *testing.T) {
	dir := filepath.Join(recordings.Dir(t), "success")
	out, err := replaying(t, dir, "--data", t.TempDir(), "--speed", "100", "--frame", "1", "--sessions", "3", "--seed", "1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sessions", "CPU µs/event", "156", "seed 1", "model requests for USD"} { // 52 events each
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for flag, want := range map[string]string{"--speed=fast": "speed", "--start=noon": "start", "--frame=0": "frame"} {
		if _, err := replaying(t, dir, "--data", t.TempDir(), flag); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if _, err := replaying(t, dir, "--data", t.TempDir(), "--shift-to-now", "--start", "2026-11-23T12:00:00Z"); err == nil || !strings.Contains(err.Error(), "cannot use --shift-to-now with --start") {
		t.Errorf("two times to start from: %v", err)
	}
	if _, err := replaying(t, t.TempDir(), "--data", t.TempDir()); err == nil || !strings.Contains(err.Error(), "nothing to replay") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestAShiftedReplayHasJustHappened(t *testing.T) {
	dir, data, expect := filepath.Join(recordings.Dir(t), "success"), t.TempDir(), filepath.Join(t.TempDir(), "expected.json")
	before := time.Now()
	if _, err := replaying(t, dir, "--data", data, "--sessions", "3", "--seed", "1", "--shift-to-now", "--expect", expect); err != nil {
		t.Fatal(err)
	}
	var expected replay.Expectation
	text, err := os.ReadFile(expect)
	if err == nil {
		err = json.Unmarshal(text, &expected)
	}
	if err != nil || expected.Start.Before(before) || expected.Start.After(time.Now()) {
		t.Fatalf("%v: it started at %v, want between %v and now", err, expected.Start, before)
	}
	var newest int64
	in, err := startOrJoin(t.Context(), data, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	err = rows(t.Context(), in.broker, broker.Events, func(payload []byte) error {
		var f schemas.Frame
		if f.DecodeMessage(payload) != nil {
			return nil // a control record
		}
		for _, segment := range f.Segments {
			for _, encoded := range segment.Events {
				var e schemas.Event
				if _, err := e.DecodeAvro(encoded); err != nil {
					return err
				}
				newest = max(newest, toldAt(&e))
			}
		}
		return nil
	})
	if err != nil || newest != expected.Start.UnixMicro() {
		t.Errorf("%v: the newest event is %v old at the start", err, expected.Start.Sub(time.UnixMicro(newest)))
	}
}
