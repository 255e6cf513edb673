package replay

import "testing"

// What replaying costs up to the broker: ids, times, hashes, encoding, order
// and frames, for events of every recording.
func BenchmarkReplay(b *testing.B) {
	all := recordAll(b)
	var events int64
	before := cpu()
	b.ReportAllocs()
	for b.Loop() {
		nowhere := &input{partitions: 4, took: func(int, []byte) {}}
		sent, _, err := Run(b.Context(), nowhere, all, Options{Org: "loadtest", Sessions: 10_000, Duplicates: 0.02, Late: 0.02, LateBy: 1e9, Frame: 100})
		if err != nil {
			b.Fatal(err)
		}
		events += sent.Events
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(events), "cpu-ns/event")
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
}
