package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// A lane that was idle for longer than events are kept has a place that is gone.
// The next owner goes on with what is held.
func TestALaneThatWasIdleForLongerThanEventsAreKeptGoesOn(t *testing.T) {
	server, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	config := jetstream.Config{InProcess: server, LeaseTTL: time.Second, Layout: jetstream.Layout{EventsAge: time.Second}}
	if err := jetstream.Provision(t.Context(), config, 1); err != nil {
		t.Fatal(err)
	}
	connect := func() *jetstream.Broker {
		b, err := jetstream.Connect(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}
	b := connect()
	first, ended := connect(), make(chan error, 1)
	go func() {
		ended <- engine.Run(context.WithoutCancel(t.Context()), engine.Config{Broker: first, Processor: counter{}, Owner: "first"})
	}()
	appendTo(t, b, 0, schemas.LaneCritical, frame("c"))
	eventually(t, "folded", func() bool { return folded(t, b, 1) == 1 })
	n := int64(1)
	eventually(t, "aged out", func() bool {
		appendTo(t, b, 0, schemas.LaneNormal, frame("n"))
		n++
		end, err := b.End(t.Context(), broker.Log{Topic: broker.Events, Lane: schemas.LaneCritical})
		time.Sleep(50 * time.Millisecond)
		return err == nil && end == 0
	})
	eventually(t, "folded", func() bool { return folded(t, b, 1) == n })
	first.Close() // as when it is killed: its places are not moved on
	if err := <-ended; !errors.Is(err, broker.ErrClosed) {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		ended <- engine.Run(ctx, engine.Config{Broker: connect(), Processor: counter{}, Owner: "second"})
	}()
	eventually(t, "the critical lane goes on", func() bool {
		appendTo(t, b, 0, schemas.LaneCritical, frame("c"))
		time.Sleep(50 * time.Millisecond)
		return folded(t, b, 1) > n
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
