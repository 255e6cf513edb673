package otlp_test

import (
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/schemas"
)

// discard is a sink that counts.
type discard struct{ events, letters int }

func (d *discard) Event(*schemas.Event) error           { d.events++; return nil }
func (d *discard) DeadLetter(*schemas.DeadLetter) error { d.letters++; return nil }

// Budget: 5 ms of CPU per MB of JSON, which is 200 MB/s.
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
	for b.Loop() {
		for _, body := range all {
			if err := send(r, signal, body, contentType); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(sink.events)/float64(b.N), "events/op")
	if sink.letters > 0 {
		b.Errorf("%d dead letters", sink.letters)
	}
}
