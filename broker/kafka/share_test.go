package kafka_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker/kafka"
)

// share lets a worker share on a connection of its own until the test ends.
func share(t *testing.T, config kafka.Config, name string, hold func(ctx context.Context, partition int) error) {
	ctx, stop := context.WithCancel(context.Background())
	b := connect(t, config)
	done := make(chan error, 1)
	go func() { done <- b.Share(ctx, "sessions", name, hold) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Share: %v", name, err)
		}
	})
}

func TestThePartitionsOfASlowWorkerGoToAnotherAfterItHasGivenThemUp(t *testing.T) {
	config := configOf(newCluster(t).ListenAddrs())
	provision(t, config, 4)
	var mu sync.Mutex
	holding := map[int]string{}
	began, ending, release := make(chan int, 100), make(chan int, 100), make(chan struct{})
	hold := func(name string) func(context.Context, int) error {
		return func(ctx context.Context, partition int) error {
			mu.Lock()
			if other := holding[partition]; other != "" {
				t.Errorf("%s and %s hold partition %d", name, other, partition)
			}
			holding[partition] = name
			mu.Unlock()
			began <- partition
			<-ctx.Done()
			ending <- partition
			<-release
			mu.Lock()
			defer mu.Unlock()
			delete(holding, partition)
			return nil
		}
	}
	share(t, config, "slow", hold("slow"))
	for range 4 {
		<-began
	}
	share(t, config, "other", hold("other"))
	for range 4 {
		<-ending
	}
	select {
	case partition := <-began:
		t.Errorf("partition %d is held before it was given up", partition)
	case <-time.After(time.Second):
	}
	close(release)
	for range 4 {
		<-began
	}
}
