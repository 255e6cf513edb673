//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/loadtest/replay"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/claudecode/hooks"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/producers/redaction"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
)

// readRecordings reads the recordings that come with Flightlog.
func readRecordings(ctx context.Context, dir string) (all []*replay.Recording, err error) {
	if err := recordings.Unpack(dir); err != nil {
		return nil, err
	}
	for _, name := range recordings.Scenarios() {
		r := &replay.Recording{Name: name}
		sink := redaction.NewSink(schemas.CaptureModeMetadata, r)
		scenario := filepath.Join(dir, name)
		if r.Truth, err = recordings.Endpoint(scenario); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, file := range []string{"hooks.ndjson", "otlp-logs.ndjson", "otlp-metrics.ndjson", "otlp-traces.ndjson"} {
			witness, line := schemas.WitnessOtlp, otlp.New(sink).Recorded
			if file == "hooks.ndjson" {
				witness, line = schemas.WitnessHook, hooks.New(sink, claudecode.Options{}).Recorded
			}
			f, err := os.Open(filepath.Join(scenario, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = errors.Join(producers.Lines(f, file, witness, sink, line), f.Close())
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read %s of %s: %w", file, name, err)
			}
		}
		files, err := transcripts.Find(scenario)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if err := transcripts.ReadFile(ctx, file, claudecode.Options{}, sink); err != nil {
				return nil, err
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// The load is sent in pieces, each with an organisation and an expectation of
// its own, until there are no more kills.
const (
	eventsPerSecond = 300
	pieceLength     = 10 * time.Second
	// lateBy is longer than a session rests with the tag quick: what is late
	// brings it back.
	lateBy = 7 * time.Second
)

// load sends pieces until stop is closed, and gives what the rows must add up
// to.
func load(ctx context.Context, b broker.Broker, all []*replay.Recording, seed uint64, stop <-chan struct{}) (expected []*replay.Expectation, err error) {
	for piece := uint64(0); ; piece++ {
		select {
		case <-stop:
			return expected, nil
		default:
		}
		org := fmt.Sprint("load", piece)
		ways, err := newBothLanes(ctx, b, org)
		if err != nil {
			return nil, err
		}
		early, late := forgeEvents(org, time.Now())
		random := rand.New(rand.NewPCG(seed, piece))
		if err := forge(ctx, b, org, random, early); err != nil {
			return nil, err
		}
		sent, e, err := replay.Run(ctx, ways, all, replay.Options{
			Org: org, For: pieceLength, Speed: 20, Rate: eventsPerSecond, Seed: seed<<16 + piece,
			Duplicates: 0.1, Late: 0.03, LateBy: lateBy, Frame: 10,
		})
		if err != nil {
			return nil, err
		}
		slog.Info("sent", "org", org, "sessions", sent.Sessions, "events", sent.Events, "late", sent.Late,
			"duplicates", sent.Duplicates, "seconds", sent.Seconds, "behind_ms", sent.BehindMs)
		if err := forge(ctx, b, org, random, late); err != nil {
			return nil, err
		}
		expected = append(expected, e)
	}
}

// bothLanes is a broker on which some events of the normal lane come on the
// critical one too, by a second producer, before or after.
type bothLanes struct {
	broker.Broker
	shippers []*shipper.Shipper // by partition
}

func newBothLanes(ctx context.Context, b broker.Broker, org string) (*bothLanes, error) {
	n, err := b.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	w := &bothLanes{Broker: b}
	for range n {
		s, err := shipper.New(ctx, b, org, "critical", time.Now().UnixMicro())
		if err != nil {
			return nil, err
		}
		w.shippers = append(w.shippers, s)
	}
	return w, nil
}

// Append implements broker.Broker. Calls for one partition come one at a time.
func (w *bothLanes) Append(ctx context.Context, to broker.Log, payload []byte) (uint64, error) {
	var f schemas.Frame
	if f.DecodeMessage(payload) != nil { // a control record
		return w.Broker.Append(ctx, to, payload)
	}
	if err := w.critical(ctx, to.Partition, &f, 0); err != nil {
		return 0, err
	}
	position, err := w.Broker.Append(ctx, to, payload)
	if err != nil {
		return 0, err
	}
	return position, w.critical(ctx, to.Partition, &f, 1)
}

// critical sends one of 16 events, those of which the id's second byte has a
// last bit. An event begins with its id.
func (w *bothLanes) critical(ctx context.Context, partition int, f *schemas.Frame, bit byte) error {
	for _, s := range f.Segments {
		for _, encoded := range s.Events {
			if encoded[0]%16 == 0 && encoded[1]&1 == bit {
				if err := w.shippers[partition].Critical(ctx, partition, encoded); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
