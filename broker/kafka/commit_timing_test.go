//go:build unix

package kafka_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/kafka/kafkatest"
	"github.com/flightlog/flightlog/schemas"
)

// cpu is the processor time of this process: the client's on a real Kafka, the
// fake broker's too else.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A commit of 512 events says 0.7 rows and changes 0.8 state records of 200
// bytes for each of them.
func BenchmarkCommitOf512Events(b *testing.B) {
	const events = 512
	brokers := map[string]func() []string{"fake": func() []string { return newCluster(b).ListenAddrs() }}
	if os.Getenv(kafkatest.JarsVariable) != "" {
		brokers["real"] = func() []string { return []string{kafkatest.Run(b).Addr()} }
	}
	for name, start := range brokers {
		b.Run(name, func(b *testing.B) {
			config := configOf(start())
			provision(b, config, 4)
			owner, err := connect(b, config).Acquire(b.Context(), "sessions", 1, "worker")
			if err != nil {
				b.Fatal(err)
			}
			out := schemas.Output{Topic: broker.Enriched, Partition: 1, Schema: int64(broker.RowSchema(broker.Enriched))}
			var delta []schemas.Change
			for i := range events {
				if i%10 < 7 {
					row := schemas.Enriched{
						Sign: 1, Version: 1, Generation: 1, Org: "example", Repo: "example.org/flight/log", Branch: "main", ToolName: "Bash",
						SessionId: fmt.Sprintf("5f0b9d6e-9a0b-4c39-8f62-%012x", i), OccurredAt: int64(i) << 40,
					}
					binary.BigEndian.PutUint64(row.RowId[:], uint64(i)*0x9e3779b97f4a7c15)
					out.Rows = append(out.Rows, row.AppendAvro(nil))
				}
				if i%10 < 8 {
					value := make([]byte, 200)
					for at := 0; at < len(value); at += 20 {
						binary.BigEndian.PutUint64(value[at:], uint64(i+at)*0x9e3779b97f4a7c15)
					}
					delta = append(delta, schemas.Change{Key: value[:17], Value: value})
				}
			}
			latencies := make([]time.Duration, 0, b.N)
			b.ResetTimer()
			before := cpu(b)
			for n := range b.N {
				out.Previous = int64(n)
				began := time.Now()
				err := owner.Commit(b.Context(), &schemas.Commit{
					Processor: "sessions", Partition: 1, Generation: 1, CommitNumber: int64(n + 1), Epoch: 1, Owner: "worker",
					Delta: delta, Outputs: []schemas.Output{out},
				})
				if err != nil {
					b.Fatal(err)
				}
				latencies = append(latencies, time.Since(began))
			}
			b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N)/events/1000, "client-cpu-µs/event")
			b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
			report(b, latencies)
		})
	}
}

// report gives the median and the slowest hundredth in ms.
func report(b *testing.B, latencies []time.Duration) {
	slices.Sort(latencies)
	b.ReportMetric(float64(latencies[len(latencies)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Microseconds())/1000, "p99-ms")
}
