package jetstream

import (
	"context"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
)

// What could not be handed to a slow caller before its consumer ended does not
// count as read ahead.
func TestAFeedThatIsInterruptedTakesTheSameMessageAgain(t *testing.T) {
	f := &feed{messages: make(chan fed, feedMessages), room: make(chan struct{}, 1)}
	for i := range feedMessages { // the caller lags
		f.feed(t.Context(), fed{Message: broker.Message{Position: uint64(i + 1), Payload: make([]byte, 100)}})
	}
	large := fed{Message: broker.Message{Position: feedMessages + 1, Payload: make([]byte, 200<<10)}}
	reconnect, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if f.feed(reconnect, large) {
		t.Fatal("it was taken although nobody reads")
	}
	for len(f.messages) > 0 {
		f.handedOut(<-f.messages)
	}
	again, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if !f.feed(again, large) {
		t.Error("it waits although nothing is queued")
	}
}
