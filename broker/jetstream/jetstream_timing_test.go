//go:build unix

package jetstream_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/schemas"
)

// cpu is the processor time of this process, client and embedded server both.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs do b.N times and reports processor time beside the wall clock's.
func measure(b *testing.B, do func(n int) error, end func() error) {
	b.ResetTimer()
	before := cpu(b)
	for n := range b.N {
		if err := do(n); err != nil {
			b.Fatal(err)
		}
	}
	if err := end(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func benchmarks(b *testing.B, run func(*testing.B, *jetstream.Broker)) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync_always=%v", sync), func(b *testing.B) {
			config := jetstream.Config{InProcess: embed(b, jetstream.EmbedConfig{Dir: b.TempDir(), SyncAlways: sync})}
			provision(b, config, 4)
			run(b, connect(b, config))
		})
	}
}

func BenchmarkAppendOfA64KiBFrame(b *testing.B) {
	benchmarks(b, func(b *testing.B, jet *jetstream.Broker) {
		frame := make([]byte, 64<<10)
		b.SetBytes(int64(len(frame)))
		measure(b, func(int) error {
			_, err := jet.Append(b.Context(), broker.Log{Topic: broker.Events}, frame)
			return err
		}, func() error { return nil })
	})
}

func BenchmarkReadOfA64KiBFrame(b *testing.B) {
	benchmarks(b, func(b *testing.B, jet *jetstream.Broker) {
		events := broker.Log{Topic: broker.Events}
		frame := make([]byte, 64<<10)
		for range b.N {
			if _, err := jet.Append(b.Context(), events, frame); err != nil {
				b.Fatal(err)
			}
		}
		r, err := jet.Read(b.Context(), events, 0)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(frame)))
		measure(b, func(int) error {
			_, err := r.Next(b.Context())
			return err
		}, r.Close)
	})
}

// A commit of 100 rows and their state is about 64 KiB, and so is its frame.
func BenchmarkCommitOf100RowsAndItsRouting(b *testing.B) {
	benchmarks(b, func(b *testing.B, jet *jetstream.Broker) {
		owner, err := jet.Acquire(b.Context(), "sessions", 0, "worker")
		if err != nil {
			b.Fatal(err)
		}
		var rows [][]byte
		var delta []schemas.Change
		for range 100 {
			row := schemas.Enriched{Repo: "example.org/flight/log", SessionId: "5f0b9d6e-9a0b-4c39-8f62-6f1f6a3c2b11", ToolName: "Bash"}
			rows = append(rows, row.AppendAvro(nil))
			delta = append(delta, schemas.Change{Key: make([]byte, 17), Value: make([]byte, 256)})
		}
		c := schemas.Commit{Processor: "sessions", Generation: 1, Epoch: 1, Delta: delta,
			Outputs: []schemas.Output{{Topic: broker.Enriched, Schema: int64(broker.RowSchema(broker.Enriched)), Rows: rows}}}
		b.SetBytes(int64(len(c.AppendMessage(nil))))
		measure(b, func(n int) error {
			c.CommitNumber, c.Outputs[0].Previous = int64(n+1), int64(n)
			return owner.Commit(b.Context(), &c)
		}, func() error { return owner.Release(b.Context()) })
	})
}
