package reference

import (
	"context"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/schemas"
)

func TestEventsAndRowsAreReadFromAllLogs(t *testing.T) {
	ctx := context.Background()
	b := memory.New(2, memory.WithClock(func() int64 { return start }))
	defer b.Close()
	add := func(to broker.Log, payload []byte) {
		t.Helper()
		if _, err := b.Append(ctx, to, payload); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]bool{}
	for p := range 2 {
		for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
			e := schemas.Event{SessionId: string(rune('a'+p)) + lane.String(), Kind: schemas.KindPrompt, Witness: schemas.WitnessHook}
			want[e.SessionId] = true
			f := schemas.Frame{Segments: []schemas.Segment{{Org: "acme", Schema: schemas.EventSchema, Events: [][]byte{{0xFF}, e.AppendAvro(nil)}}}}
			log := broker.Log{Topic: broker.Events, Partition: p, Lane: lane}
			add(log, f.AppendMessage(nil))
			tick := schemas.Control{Type: schemas.ControlTypeTick}
			add(log, tick.AppendMessage(nil))
			add(log, []byte("nothing that can be read"))
		}
	}
	events, err := Events(ctx, b)
	if err != nil || len(events) != len(want) {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for _, in := range events {
		if in.Org != "acme" || in.AppendedAt != start || !want[in.Event.SessionId] {
			t.Errorf("%+v", in)
		}
		delete(want, in.Event.SessionId)
	}

	for p, row := range []schemas.Enriched{said("a", 1, 1, 5), said("b", 1, 1, 7)} {
		f := schemas.EnrichedFrame{Rows: []schemas.Enriched{row}}
		add(broker.Log{Topic: broker.Enriched, Partition: p}, f.AppendMessage(nil))
	}
	rows, err := Published(ctx, b)
	if err != nil || len(rows) != 2 || rows[0] != said("a", 1, 1, 5) || rows[1] != said("b", 1, 1, 7) {
		t.Fatalf("%+v, %v", rows, err)
	}
	add(broker.Log{Topic: broker.Enriched}, []byte("no frame"))
	if _, err := Published(ctx, b); err == nil {
		t.Error("a message of no rows goes unnoticed")
	}
}
