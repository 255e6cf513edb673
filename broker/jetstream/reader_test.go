package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

var (
	busy  = broker.Log{Topic: broker.Events, Partition: 1}
	quiet = broker.Log{Topic: broker.Events, Partition: 2}
)

// stand is an installation with its streams as an operator gets at them.
type stand struct {
	*testing.T
	*jetstream.Broker
	config jetstream.Config
	js     natsjs.JetStream
	events natsjs.Stream
}

func newStand(t *testing.T, layout jetstream.Layout) *stand {
	t.Helper()
	s := embed(t, jetstream.EmbedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: token})
	config := jetstream.Config{URL: s.ClientURL(), Token: token, Layout: layout}
	provision(t, config, 4)
	conn, err := nats.Connect(s.ClientURL(), nats.Token(token))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := natsjs.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	events, err := js.Stream(t.Context(), "flightlog-events")
	if err != nil {
		t.Fatal(err)
	}
	return &stand{t, connect(t, config), config, js, events}
}

func (s *stand) append(to broker.Log, payload string) uint64 {
	s.Helper()
	position, err := s.Append(s.T.Context(), to, []byte(payload))
	if err != nil {
		s.Fatal(err)
	}
	return position
}

func (s *stand) read(from broker.Log, after uint64) broker.Reader {
	s.Helper()
	r, err := s.Read(s.T.Context(), from, after)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { r.Close() })
	return r
}

func (s *stand) expect(r broker.Reader, payload string) {
	s.Helper()
	m, err := r.Next(s.T.Context())
	if err != nil || string(m.Payload) != payload {
		s.Fatalf("read %q (%v), want %q", m.Payload, err, payload)
	}
}

// purge removes everything before a position, as age does.
func (s *stand) purge(before uint64) {
	s.Helper()
	if err := s.events.Purge(s.T.Context(), natsjs.WithPurgeSequence(before)); err != nil {
		s.Fatal(err)
	}
}

func TestAPositionThatHasAgedOutIsLost(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	first := s.append(busy, "one")
	second := s.append(busy, "two")
	third := s.append(busy, "three")
	s.purge(third)
	if _, err := s.Read(t.Context(), busy, first); !errors.Is(err, broker.ErrLost) {
		t.Errorf("behind the first message: %v, want %v", err, broker.ErrLost)
	}
	s.expect(s.read(busy, second), "three")
	s.expect(s.read(busy, 0), "three")
	s.purge(third + 1)
	s.read(busy, third)
}

func TestAReaderThatIsPurgedUnderNeverSkips(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	s.append(busy, "first")
	r := s.read(busy, 0)
	s.expect(r, "first")
	last := uint64(0)
	for i := range 500 {
		last = s.append(busy, fmt.Sprint("message ", i))
	}
	for i := range 10 {
		s.expect(r, fmt.Sprint("message ", i))
	}
	s.purge(last)
	for i := 10; ; i++ {
		m, err := r.Next(t.Context())
		if errors.Is(err, broker.ErrLost) {
			break
		}
		if err != nil || string(m.Payload) != fmt.Sprint("message ", i) {
			t.Fatalf("read %q (%v), want message %d or %v", m.Payload, err, i, broker.ErrLost)
		}
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, broker.ErrLost) {
		t.Errorf("read again: %v, want %v", err, broker.ErrLost)
	}
}

func TestTheReaderOfAnIdleLogMovesItsPlaceOn(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	s.SetIdle(20 * time.Millisecond)
	old := s.append(quiet, "one")
	r := s.read(quiet, 0)
	s.expect(r, "one")
	last := uint64(0)
	for range 20 {
		last = s.append(busy, "noise")
	}
	waited := make(chan error)
	go func() {
		m, err := r.Next(t.Context())
		if err == nil && string(m.Payload) != "two" {
			err = fmt.Errorf("read %q, want %q", m.Payload, "two")
		}
		waited <- err
	}()
	other := s.read(quiet, old)
	for deadline := time.Now().Add(20 * time.Second); other.Passed() < last; {
		next(t, other, 50*time.Millisecond)
		if time.Now().After(deadline) {
			t.Fatalf("passed %d, want %d", other.Passed(), last)
		}
	}
	s.purge(last + 1)
	s.append(quiet, "two")
	if err := <-waited; err != nil {
		t.Error(err)
	}
	s.expect(other, "two")
	s.expect(s.read(quiet, last), "two")
	if _, err := s.Read(t.Context(), quiet, old); !errors.Is(err, broker.ErrLost) {
		t.Errorf("behind the message that is gone: %v, want %v", err, broker.ErrLost)
	}
}

func TestAReaderGoesOnWhenItsConsumerIsRemoved(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	s.append(busy, "one")
	r := s.read(busy, 0)
	s.expect(r, "one")
	for _, payload := range []string{"two", "three"} {
		names := s.events.ConsumerNames(t.Context())
		for name := range names.Name() {
			if err := s.events.DeleteConsumer(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		s.append(busy, payload)
		s.expect(r, payload)
	}
}

func TestAReaderNoticesThatAMessageDidNotArrive(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	s.append(busy, "first")
	r := s.read(busy, 0)
	s.expect(r, "first")
	for i := range 200 {
		s.append(busy, fmt.Sprint("message ", i))
	}
	for name := range s.events.ConsumerNames(t.Context()).Name() {
		consumer, err := s.events.Consumer(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if stolen, err := consumer.Next(); err != nil {
			t.Fatalf("stole %v: %v", stolen, err)
		}
	}
	for i := range 200 {
		s.expect(r, fmt.Sprint("message ", i))
	}
}

func TestClosedReadersLeaveNothingBehind(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	s.append(busy, "one")
	open := func() {
		r, err := s.Read(t.Context(), busy, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.expect(r, "one")
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	open()
	before := runtime.NumGoroutine()
	for range 50 {
		open()
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		info, err := s.events.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		goroutines := runtime.NumGoroutine()
		if info.State.Consumers == 0 && goroutines < before+10 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d consumers and %d goroutines are left, %d were before", info.State.Consumers, goroutines, before)
		}
	}
}

func TestNoReplicaThatLagsAnswersForTheLeader(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	if info := s.events.CachedInfo(); info.Config.AllowDirect || info.Config.Duplicates > time.Second {
		t.Errorf("direct gets %v, duplicate window %v", info.Config.AllowDirect, info.Config.Duplicates)
	}
}

func TestAFullTopicRefusesUntilThereIsRoom(t *testing.T) {
	s := newStand(t, jetstream.Layout{EventsBytes: 64 << 10})
	last := uint64(0)
	for {
		position, err := s.Append(t.Context(), busy, make([]byte, 8<<10))
		if errors.Is(err, broker.ErrRetry) {
			break
		}
		if err != nil || last > 100 {
			t.Fatalf("append to a full topic: %v, want %v", err, broker.ErrRetry)
		}
		last = position
	}
	s.purge(last + 1)
	s.append(busy, "fits")
}

func TestAReaderFetchesNoMoreAheadThanItMay(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	frame := string(make([]byte, 128<<10))
	for range 160 { // 20 MiB
		s.append(busy, frame)
	}
	for _, readAhead := range []int{4 << 20, 1} {
		config := s.config
		config.ReadAhead = readAhead
		b := connect(t, config)
		r, err := b.Read(t.Context(), busy, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		most := max(readAhead, 2<<20+1<<10) + 512<<10 // a message in every hand, and headers
		before, steady := uint64(0), 0
		for deadline := time.Now().Add(20 * time.Second); steady < 5; time.Sleep(20 * time.Millisecond) {
			delivered := uint64(0)
			for consumer := range s.events.ListConsumers(t.Context()).Info() {
				delivered = consumer.Delivered.Consumer
			}
			if steady++; delivered != before || delivered == 0 {
				before, steady = delivered, 0
			}
			if time.Now().After(deadline) {
				t.Fatalf("it does not come to rest: %d messages", delivered)
			}
		}
		if fetched := int(before) * len(frame); fetched > most {
			t.Errorf("with read-ahead %d it has fetched %d bytes, want at most %d", readAhead, fetched, most)
		}
		for range 159 { // and all of it arrives
			if _, err := r.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
		for left := 1; left > 0; {
			info, err := s.events.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			left = info.State.Consumers
		}
	}
}

func TestAMessageOfAnyLengthPassesASmallReadAhead(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	config := s.config
	config.ReadAhead = 1
	b := connect(t, config)
	longest := string(make([]byte, b.MaxPayload()))
	for _, payload := range []string{"first", longest, "last"} {
		s.append(busy, payload)
	}
	r, err := b.Read(t.Context(), busy, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, want := range []int{5, len(longest), 4} {
		if m, err := r.Next(t.Context()); err != nil || len(m.Payload) != want {
			t.Fatalf("read %d bytes (%v), want %d", len(m.Payload), err, want)
		}
	}
}

func TestATimeLeadsBehindWhatHasAgedOut(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	seek := func(in broker.Log, at time.Time) uint64 {
		t.Helper()
		position, err := s.Seek(t.Context(), in, at.UnixMicro())
		if err != nil {
			t.Fatal(err)
		}
		return position
	}
	began := time.Now()
	s.append(busy, "one")
	s.append(quiet, "noise")
	third := s.append(busy, "two")
	s.purge(third)
	s.expect(s.read(busy, seek(busy, began.Add(-time.Hour))), "two")
	r := s.read(quiet, seek(quiet, began)) // holds nothing any more
	s.purge(third + 1)
	r2 := s.read(busy, seek(busy, began))
	s.append(quiet, "three")
	s.append(busy, "four")
	s.expect(r, "three")
	s.expect(r2, "four")
}

// next waits for a message for a while.
func next(t *testing.T, r broker.Reader, patience time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if m, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("read %q (%v), want none", m.Payload, err)
	}
}

// A stream that was made anew stands for one that has lost its end: its
// sequences are given out again.
func TestAReaderOfAStreamThatHasLostItsEndNeverSkips(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	s.append(busy, "one")
	s.append(busy, "two")
	r, err := s.Read(t.Context(), busy, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.js.DeleteStream(t.Context(), "flightlog-events"); err != nil {
		t.Fatal(err)
	}
	provision(t, s.config, 4)
	s.append(busy, "another")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if m, err := r.Next(ctx); !errors.Is(err, broker.ErrLost) && !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("read %q (%v), want %v", m.Payload, err, broker.ErrLost)
	}
}
