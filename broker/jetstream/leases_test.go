package jetstream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
)

func TestAWorkerThatIsCutOffEndsItsHoldsAndTakesThemUpAgain(t *testing.T) {
	disk := jetstream.EmbedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: token}
	server := embed(t, disk)
	disk.Listen = strings.TrimPrefix(server.ClientURL(), "nats://")
	config := jetstream.Config{URL: server.ClientURL(), Token: token, LeaseTTL: time.Second, Timeout: time.Second}
	provision(t, config, 4)
	b := connect(t, config)
	began, ended, done := make(chan int, 100), make(chan int, 100), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		done <- b.Share(ctx, "sessions", "worker.example.org 7", func(ctx context.Context, partition int) error {
			began <- partition
			<-ctx.Done()
			ended <- partition
			return nil
		})
	}()
	four := func(what string, from <-chan int) {
		t.Helper()
		for i := range 4 {
			select {
			case <-from:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s of %d partitions, want 4", what, i)
			}
		}
	}
	four("began to hold", began)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	four("held on", ended)
	embed(t, disk)
	four("began again", began)
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Share: %v, want %v", err, context.Canceled)
	}
	four("left", ended)
}

func TestPartitionsAreSharedOnlyWhereThereIsABucket(t *testing.T) {
	config := jetstream.Config{InProcess: embed(t, jetstream.EmbedConfig{Dir: t.TempDir()})}
	hold := func(context.Context, int) error { return nil }
	if err := connect(t, config).Share(t.Context(), "sessions", "worker", hold); !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("shared before it was provisioned: %v, want %v", err, broker.ErrNotProvisioned)
	}
	provision(t, config, 4)
	if err := connect(t, config).Share(t.Context(), "no.processor", "worker", hold); err == nil {
		t.Error("shared the partitions of no processor")
	}
}
