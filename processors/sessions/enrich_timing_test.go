package sessions

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// workload is a day of many sessions, by partition, as encoded frames of 100
// events: each session has prompts, requests and calls that three witnesses
// tell of, interleaved with the other sessions'.
func workload(partitions, sessions int) (frames [][][]byte, events int) {
	frames = make([][][]byte, partitions)
	segments := make([]schemas.Segment, partitions)
	flush := func(p int) {
		f := schemas.Frame{Segments: []schemas.Segment{segments[p]}}
		frames[p] = append(frames[p], f.AppendMessage(nil))
		segments[p].Events = nil
	}
	for p := range segments {
		segments[p] = schemas.Segment{Org: "acme", ProducerId: "bench", Schema: schemas.EventSchema}
	}
	const together = 50 // sessions that run at the same time
	for first := 0; first < sessions; first += together {
		stories := make([][]*schemas.Event, together)
		for i := range stories {
			stories[i] = story()
		}
		for step := range stories[0] {
			for i := range stories {
				e := *stories[i][step]
				e.SessionId = fmt.Sprintf("%08d-2222-3333-4444-555555555555", first+i)
				e.FactKey = schemas.FactKey(e.SessionId, e.Kind, e.FactKey.String())
				schemas.SetEventID(&e)
				p := broker.PartitionOf(e.SessionId, partitions)
				segments[p].Events = append(segments[p].Events, e.AppendAvro(nil))
				if events++; len(segments[p].Events) == 100 {
					flush(p)
				}
			}
		}
	}
	for p := range segments {
		flush(p)
		end := schemas.Control{Type: schemas.ControlTypeSourceEnd, Org: "acme"}
		for i := range sessions {
			if id := fmt.Sprintf("%08d-2222-3333-4444-555555555555", i); broker.PartitionOf(id, partitions) == p {
				end.Sessions = append(end.Sessions, schemas.SessionKey("acme", id))
			}
		}
		frames[p] = append(frames[p], end.AppendMessage(nil))
		events++
	}
	return frames, events
}

// spent is the CPU time of this process so far, user and system.
func spent() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEnrich measures event to enriched row in CPU per event, broker
// included, against the same fold without a broker (DESIGN §10). One iteration
// is the whole load; compare the two metrics of one run.
func BenchmarkEnrich(b *testing.B) {
	const sessions, partitions = 2000, 4
	frames, events := workload(partitions, sessions)
	report := func(b *testing.B, began time.Duration, rows int) {
		b.ReportMetric(float64((spent()-began).Nanoseconds())/float64(events*b.N)/1000, "µs-CPU/event")
		b.ReportMetric(float64(rows)/float64(events*b.N), "rows/event")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("without broker", func(b *testing.B) {
		began, rows := spent(), 0
		for range b.N {
			for p := range frames {
				h := engine.NewHarness(New(), start)
				for _, f := range frames[p] {
					if err := h.Append(f); err != nil {
						b.Fatal(err)
					}
					for _, c := range h.Commits {
						for _, o := range c.Outputs {
							rows += len(o.Rows)
						}
					}
					h.Commits = h.Commits[:0]
				}
			}
		}
		report(b, began, rows)
	})
	b.Run("JetStream, frames of 100, lazy sync", func(b *testing.B) {
		var began time.Duration
		rows := 0
		for range b.N {
			began += jetStream(b, frames, events, &rows)
		}
		report(b, spent()-began, rows)
	})
}

// jetStream sends the load through an embedded server and waits until all of
// it is committed and routed; it returns the CPU time that took.
func jetStream(b *testing.B, frames [][][]byte, events int, rows *int) time.Duration {
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	server, err := jetstream.Embed(ctx, jetstream.EmbedConfig{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	cfg := jetstream.Config{InProcess: server}
	if err := jetstream.Provision(ctx, cfg, len(frames)); err != nil {
		b.Fatal(err)
	}
	log, err := jetstream.Connect(ctx, cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	began := spent()
	committed := make(chan *schemas.Commit, 1024)
	ended := make(chan error, 1)
	go func() {
		ended <- engine.Run(ctx, engine.Config{Broker: log, Processor: New(), Owner: "bench",
			Committed: func(c *schemas.Commit) { committed <- c }})
	}()
	go func() {
		for p := range frames {
			for _, f := range frames[p] {
				if _, err := log.Append(ctx, broker.Log{Topic: broker.Events, Partition: p}, f); err != nil {
					b.Error(err)
				}
			}
		}
	}()
	more := map[int64]bool{}
	for in := 0; in < events || slices.Contains(slices.Collect(maps.Values(more)), true); {
		c := <-committed
		in += int(c.Counts.In)
		more[c.Partition] = c.More
		for _, o := range c.Outputs {
			*rows += len(o.Rows)
		}
	}
	go func() {
		for range committed {
		}
	}()
	stop() // releases the partitions: routing is finished
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return spent() - began
}
