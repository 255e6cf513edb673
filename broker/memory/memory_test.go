package memory_test

import (
	"errors"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/brokertest"
	"github.com/flightlog/flightlog/broker/memory"
)

func TestMemoryKeepsTheContractOfABroker(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		b := memory.New(brokertest.Partitions, memory.WithSnapshots(20, 1<<30))
		return brokertest.Installation{
			LeaseTTL: time.Second, SnapshotCommits: 20,
			Open: func(*testing.T) broker.Broker { return b.Handle() },
			OpenLossy: func(*testing.T) broker.Broker {
				b.LoseNextAck()
				return b.Handle()
			},
		}
	})
}

func TestAppendTimeDoesNotGoBackWithTheClock(t *testing.T) {
	clock := []int64{10, 30, 20, 40}
	b := memory.New(1, memory.WithClock(func() int64 {
		now := clock[0]
		clock = clock[1:]
		return now
	}))
	for range 4 {
		if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Events}, nil); err != nil {
			t.Fatal(err)
		}
	}
	r, err := b.Read(t.Context(), broker.Log{Topic: broker.Events}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{10, 30, 30, 40} {
		if m, err := r.Next(t.Context()); err != nil || m.AppendedAt != want {
			t.Errorf("append time %d (%v), want %d", m.AppendedAt, err, want)
		}
	}
}

func TestAPositionThatHasExpiredIsLost(t *testing.T) {
	b := memory.New(2)
	events := broker.Log{Topic: broker.Events}
	var positions []uint64
	for range 3 {
		position, err := b.Append(t.Context(), events, nil)
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, position)
	}
	r, err := b.Read(t.Context(), events, positions[0])
	if err != nil {
		t.Fatal(err)
	}
	b.Expire(events, positions[1])
	if _, err := r.Next(t.Context()); !errors.Is(err, broker.ErrLost) {
		t.Errorf("a reader in the middle: %v, want %v", err, broker.ErrLost)
	}
	if _, err := b.Read(t.Context(), events, positions[0]); !errors.Is(err, broker.ErrLost) {
		t.Errorf("a new reader: %v, want %v", err, broker.ErrLost)
	}
	for _, after := range []uint64{0, positions[1]} {
		r, err := b.Read(t.Context(), events, after)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := r.Next(t.Context()); err != nil || m.Position != positions[2] {
			t.Errorf("behind %d: read position %d (%v), want %d", after, m.Position, err, positions[2])
		}
	}
}

func TestATimeLeadsBehindWhatHasExpired(t *testing.T) {
	now := int64(0)
	b := memory.New(1, memory.WithClock(func() int64 { return now }))
	events := broker.Log{Topic: broker.Events}
	var positions []uint64
	for _, at := range []int64{10, 20, 20, 30} {
		now = at
		position, err := b.Append(t.Context(), events, nil)
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, position)
	}
	seek := func(at int64) uint64 {
		t.Helper()
		position, err := b.Seek(t.Context(), events, at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(t.Context(), events, position); err != nil {
			t.Errorf("behind the place for %d: %v", at, err)
		}
		return position
	}
	for at, want := range map[int64]uint64{0: 0, 11: positions[0], 20: positions[0], 21: positions[2], 31: positions[3]} {
		if got := seek(at); got != want {
			t.Errorf("time %d leads behind %d, want %d", at, got, want)
		}
	}
	b.Expire(events, positions[2])
	if got := seek(0); got != positions[2] {
		t.Errorf("with three messages expired, time 0 leads behind %d, want %d", got, positions[2])
	}
	b.Expire(events, positions[3])
	if got := seek(0); got != positions[3] {
		t.Errorf("with all expired, time 0 leads behind %d, want %d", got, positions[3])
	}
}
