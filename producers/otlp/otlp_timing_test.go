package otlp_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/schemas"
)

// discard is a sink that counts.
type discard struct{ events, letters int }

func (d *discard) Event(*schemas.Event) error           { d.events++; return nil }
func (d *discard) DeadLetter(*schemas.DeadLetter) error { d.letters++; return nil }

// cpu is the time that this process has computed for: other work on the
// machine does not count.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Budget: 5 ms of CPU per MB of JSON.
func BenchmarkLogsJSON(b *testing.B)     { benchmark(b, "logs", otlp.JSON) }
func BenchmarkLogsProtobuf(b *testing.B) { benchmark(b, "logs", otlp.Protobuf) }
func BenchmarkTracesJSON(b *testing.B)   { benchmark(b, "traces", otlp.JSON) }
func BenchmarkMetricsJSON(b *testing.B)  { benchmark(b, "metrics", otlp.JSON) }

func benchmark(b *testing.B, signal, contentType string) {
	var all [][]byte
	for _, scenario := range recordings.Scenarios() {
		for _, body := range bodies(b, scenario, signal) {
			if contentType == otlp.Protobuf {
				body = toProtobuf(b, signal, body)
			}
			all = append(all, body)
		}
	}
	size := 0
	for _, body := range all {
		size += len(body)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	var sink discard
	r := otlp.New(&sink)
	start := cpu()
	for b.Loop() {
		for _, body := range all {
			if err := send(r, signal, body, contentType); err != nil {
				b.Fatal(err)
			}
		}
	}
	used := cpu() - start
	b.ReportMetric(used.Seconds()*1e3/(float64(size)*float64(b.N)/1e6), "cpu-ms/MB")
	b.ReportMetric(float64(sink.events)/float64(b.N), "events/op")
	if sink.letters > 0 {
		b.Errorf("%d dead letters", sink.letters)
	}
}
