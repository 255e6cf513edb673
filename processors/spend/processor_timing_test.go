package spend_test

import (
	"fmt"
	"testing"

	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/schemas"
)

// BenchmarkRequest is what a priced request costs the processor: its six deltas,
// 10 requests to a commit of sessions, each value with money in every hour of 28
// days.
func BenchmarkRequest(b *testing.B) {
	const users = 100
	request := func(n int, at int64) (deltas []*schemas.SpendDelta) {
		for d, value := range map[schemas.SpendDimension]string{
			schemas.SpendDimensionOrg: "acme", schemas.SpendDimensionRepo: fmt.Sprint("github.com/acme/", n%20), schemas.SpendDimensionTeam: fmt.Sprint("team ", n%10),
			schemas.SpendDimensionUser: fmt.Sprint("user ", n), schemas.SpendDimensionWorkflow: "", schemas.SpendDimensionModel: fmt.Sprint("model ", n%3)} {
			deltas = append(deltas, &schemas.SpendDelta{Org: "acme", Dimension: d, Value: value, Minute: at - at%60e6,
				Requests: 1, TokenInput: 10, TokenOutput: 100, TokenCacheRead: 10_000, CostNanoUsd: 5e7, CostGrade: schemas.CostGradeMeasured})
		}
		return deltas
	}
	h := engine.NewHarness(spend.NewProcessor(), noon)
	send := func(deltas []*schemas.SpendDelta) {
		if err := h.Append(frame(1, h.Now-10e6, deltas...)); err != nil {
			b.Fatal(err)
		}
		h.Commits = nil
	}
	for range 28 * 24 {
		var all []*schemas.SpendDelta
		for n := range users {
			all = append(all, request(n, h.Now)...)
		}
		send(all)
		h.Now += hour
	}
	b.ResetTimer()
	for i := range b.N {
		var all []*schemas.SpendDelta
		for n := range 10 {
			all = append(all, request((i*10+n)%users, h.Now)...)
		}
		send(all)
		h.Now += 50e3
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1000/float64(b.N*10), "µs/request")
	_, bytes := h.Records()
	b.ReportMetric(float64(bytes), "B-state")
}
