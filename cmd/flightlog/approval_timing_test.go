package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
)

// BenchmarkOpenApproval is how late an approval that nobody gives is reported after
// its threshold, by append times, with the embedded broker and its processors
// (issue 7: within 2 s).
func BenchmarkOpenApproval(b *testing.B) {
	ctx := b.Context()
	in, err := start(ctx, b.TempDir(), "", 1)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	const threshold = 7 * time.Second // the row of a request is said after 5 s, if no other witness tells of it
	if _, _, err := engine.ApplyConfig(ctx, in.broker, "rules", []byte("defaults: {long_approval: {after: 7s}}"), "bench", time.Now().Add(-time.Hour).UnixMicro()); err != nil {
		b.Fatal(err)
	}
	_, stop := in.processBeside(ctx)
	defer stop()
	ship, err := shipper.New(ctx, in.broker, localOrg, "bench", 1)
	if err != nil {
		b.Fatal(err)
	}
	asked := map[string]int64{}
	for i := range 40 {
		session := fmt.Sprint("session ", i)
		asked[session] = time.Now().UnixMicro()
		for _, kind := range []schemas.Kind{schemas.KindPrompt, schemas.KindToolCall, schemas.KindApproval} {
			e := &schemas.Event{Kind: kind, Witness: schemas.WitnessHook, Agent: "claude-code", SessionId: session, PromptId: "p", OccurredAt: asked[session]}
			if kind != schemas.KindPrompt {
				e.Body.Branch = schemas.EventBodyTool
				e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ToolTarget: "git push", ArgumentsHash: "a"}
			}
			producers.Finish(e, "id")
			if err := ship.Event(ctx, ship.Partition(session), e.AppendAvro(nil)); err != nil {
				b.Fatal(err)
			}
		}
		if err := ship.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		time.Sleep(53 * time.Millisecond)
	}
	var late []float64
	for deadline := time.Now().Add(30 * time.Second); len(late) < len(asked) && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		late = late[:0]
		for p := range partitions {
			for _, lane := range []schemas.Lane{schemas.LaneCritical, schemas.LaneNormal} {
				if err := broker.Scan(ctx, in.broker, broker.Log{Topic: broker.Findings, Partition: p, Lane: lane}, func(m broker.Message) error {
					var f schemas.FindingFrame
					err := f.DecodeMessage(m.Payload)
					for _, r := range f.Rows {
						late = append(late, float64(m.AppendedAt-asked[r.SessionId])/1000-float64(threshold.Milliseconds()))
					}
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	if len(late) != len(asked) {
		b.Fatalf("%d of %d approvals were reported", len(late), len(asked))
	}
	slices.Sort(late)
	b.ReportMetric(late[len(late)/2], "ms-late-p50")
	b.ReportMetric(late[len(late)-1], "ms-late-max")
	b.ReportMetric(0, "ns/op")
}
