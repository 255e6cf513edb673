package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/loadtest/replay"
	"github.com/flightlog/flightlog/processors/verify"
	"github.com/flightlog/flightlog/schemas"
)

// verifying runs verify and gives what it prints.
func verifying(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := verifyCommand()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestVerifyProvesAReplayAndFindsARowThatNobodySaid(t *testing.T) {
	data := t.TempDir()
	out, err := replaying(t, "--data", data, "--json", "--sessions", "60", "--seed", "5",
		"--start", "2026-11-23T12:00:00Z", "--duplicates", "0.1", "--late", "0.1")
	if err != nil {
		t.Fatal(err)
	}
	var sent replay.Summary
	if err := json.Unmarshal([]byte(out), &sent); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	in, err := startOrJoin(ctx, data, 1)
	if err != nil {
		t.Fatal(err)
	}
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
	in.Close()

	prices := filepath.Join("..", "..", "processors", "pricing", "prices.json")
	if out, err = verifying(t, "--data", data, "--settled", "--json", "--reference", prices); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var report verify.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Partitions) != partitions || !report.Clean() || !report.Reference {
		t.Errorf("%s", out)
	}
	for _, p := range report.Partitions {
		if p.Replayed != p.Commits || p.Commits == 0 || p.Rows[broker.Enriched] == 0 || p.Counts.Duplicate == 0 {
			t.Errorf("%+v", p)
		}
	}

	if in, err = startOrJoin(ctx, data, 1); err != nil {
		t.Fatal(err)
	}
	log := broker.Log{Topic: broker.Enriched}
	var first broker.Message
	if err := broker.Scan(ctx, in.broker, log, func(m broker.Message) error {
		if first.Position == 0 {
			first = m
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := in.broker.Append(ctx, log, first.Payload); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out, err = verifying(t, "--data", data, "--no-replay")
	if err == nil || !strings.Contains(err.Error(), "violation") || !strings.Contains(out, "VIOLATION routed partition 0 commit") || !strings.Contains(out, "twice") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestVerifyNeedsData(t *testing.T) {
	if _, err := verifying(t, "--data", filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "there is no data") {
		t.Error(err)
	}
	data := t.TempDir()
	run(t, data, "import", filepath.Join(recordings.Dir(t), "success"), "--data", data)
	if _, err := verifying(t, "--data", data, "--reference", "none.json"); err == nil || !strings.Contains(err.Error(), "prices") {
		t.Error(err)
	}
	if _, err := verifying(t, "--data", data, "--generation", "5"); err == nil || !strings.Contains(err.Error(), "no generation 5") {
		t.Error(err)
	}
}
