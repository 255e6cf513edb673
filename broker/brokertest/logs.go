package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

var events = broker.Log{Topic: broker.Events, Partition: 1}

func numbered(from, to int) []string {
	var names []string
	for i := from; i <= to; i++ {
		names = append(names, fmt.Sprint("message ", i))
	}
	return names
}

func readInOrder(b *bench) {
	want := numbered(1, 200)
	positions := b.append(events, want...)
	messages := b.take(b.read(events, 0), len(want))
	if got := payloads(messages); !slices.Equal(got, want) {
		b.Errorf("read %q, want %q", got, want)
	}
	for i, m := range messages {
		if m.Position != positions[i] {
			b.Errorf("message %d: read at %d, appended at %d", i, m.Position, positions[i])
		}
		if i > 0 && m.Position <= positions[i-1] {
			b.Errorf("message %d: position %d after %d", i, m.Position, positions[i-1])
		}
	}
}

func readFromPosition(b *bench) {
	positions := b.append(events, numbered(1, 9)...)
	for _, read := range []int{1, 5, 8} {
		r := b.read(events, positions[read-1])
		if got, want := payloads(b.take(r, 9-read)), numbered(read+1, 9); !slices.Equal(got, want) {
			b.Errorf("behind message %d: read %q, want %q", read, got, want)
		}
		if r.Passed() < positions[8] {
			b.Errorf("behind message %d: passed %d, the last message is at %d", read, r.Passed(), positions[8])
		}
	}
	r := b.read(events, positions[8])
	b.append(broker.Log{Topic: broker.Events, Partition: 2}, "elsewhere")
	b.append(events, "later")
	if got := payloads(b.take(r, 1)); got[0] != "later" {
		b.Errorf("behind the end: read %q, want %q", got, "later")
	}
}

func logsAreSeparate(b *bench) {
	logs := []broker.Log{{Topic: broker.Events, Partition: 3}}
	for _, topic := range append(broker.RowTopics(), broker.Events, broker.Config) {
		logs = append(logs, broker.Log{Topic: topic})
		if broker.TwoLanes(topic) {
			logs = append(logs, broker.Log{Topic: topic, Lane: schemas.LaneCritical})
		}
	}
	for round := range 3 {
		for _, l := range logs {
			b.append(l, fmt.Sprint(l, round))
		}
	}
	for _, l := range logs {
		want := []string{fmt.Sprint(l, 0), fmt.Sprint(l, 1), fmt.Sprint(l, 2)}
		if got := payloads(b.take(b.read(l, 0), 3)); !slices.Equal(got, want) {
			b.Errorf("%v: read %q, want %q", l, got, want)
		}
	}
}

func pending(b *bench) {
	b.append(events, numbered(1, 10)...)
	for i, m := range b.take(b.read(events, 0), 10) {
		if m.Pending != int64(9-i) {
			b.Errorf("message %d of 10 has %d pending, want %d", i+1, m.Pending, 9-i)
		}
	}
}

func seek(b *bench) {
	at := func(at int64) uint64 {
		b.Helper()
		position, err := b.Seek(b.ctx, events, at)
		b.must(err)
		return position
	}
	other := broker.Log{Topic: broker.Events, Partition: 2}
	fresh := b.read(events, at(1))
	for i := 1; i <= 8; i++ {
		b.append(events, numbered(i, i)...)
		b.append(other, "elsewhere")
		for now := time.Now(); time.Since(now) < 3*time.Millisecond; { // a clock may count by the millisecond
			runtime.Gosched()
		}
	}
	if got := payloads(b.take(fresh, 1)); got[0] != "message 1" {
		b.Errorf("behind the place in the empty log: read %q", got)
	}
	messages := b.take(b.read(events, 0), 8)
	for i, m := range messages {
		first := b.take(b.read(events, at(m.AppendedAt)), 1)[0]
		if first.Position > m.Position || i > 1 && first.Position < messages[i-1].Position {
			b.Errorf("from the time of message %d on: read %q first", i+1, first.Payload)
		}
	}
	if first := b.take(b.read(events, at(0)), 1)[0]; string(first.Payload) != "message 1" {
		b.Errorf("from the beginning of time on: read %q first", first.Payload)
	}
	r := b.read(events, at(messages[7].AppendedAt+time.Minute.Microseconds()))
	b.append(events, "later")
	if got := payloads(b.take(r, 1)); got[0] != "later" {
		b.Errorf("from a later time on: read %q first", got)
	}
}

func endOfLog(b *bench) {
	end, err := b.End(b.ctx, events)
	b.must(err)
	if end != 0 {
		b.Errorf("a new log ends at %d, want 0", end)
	}
	positions := b.append(events, "one", "two")
	b.append(broker.Log{Topic: broker.Events, Partition: 2}, "elsewhere")
	end, err = b.End(b.ctx, events)
	b.must(err)
	if end != positions[1] {
		b.Errorf("the log ends at %d, want %d", end, positions[1])
	}
}

func appendTime(b *bench) {
	b.append(events, numbered(1, 50)...)
	last := int64(0)
	for i, m := range b.take(b.read(events, 0), 50) {
		if m.AppendedAt < last || m.AppendedAt == 0 {
			b.Errorf("message %d: append time %d after %d", i, m.AppendedAt, last)
		}
		last = m.AppendedAt
	}
}

func readerWaits(b *bench) {
	other := b.open()
	r := b.read(events, 0)
	var appending sync.WaitGroup
	appending.Go(func() {
		for _, p := range numbered(1, 20) {
			if _, err := other.Append(b.ctx, events, []byte(p)); err != nil {
				b.Error(err)
			}
		}
	})
	if got, want := payloads(b.take(r, 20)), numbered(1, 20); !slices.Equal(got, want) {
		b.Errorf("read %q, want %q", got, want)
	}
	appending.Wait()
}

func readerKeepsPlace(b *bench) {
	b.append(events, "one")
	r := b.read(events, 0)
	b.take(r, 1)
	ended, cancel := context.WithCancel(b.ctx)
	waiting := make(chan error)
	go func() {
		_, err := r.Next(ended)
		waiting <- err
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		b.Errorf("Next: %v, want %v", err, context.Canceled)
	}
	b.append(events, "two", "three")
	if _, err := r.Next(ended); !errors.Is(err, context.Canceled) {
		b.Errorf("Next with a message there: %v, want %v", err, context.Canceled)
	}
	if got := payloads(b.take(r, 2)); !slices.Equal(got, []string{"two", "three"}) {
		b.Errorf("read %q behind the first", got)
	}
}

func payloadsAreOwned(b *bench) {
	payload := []byte("as it was")
	_, err := b.Append(b.ctx, events, payload)
	b.must(err)
	copy(payload, "changed !")
	first := b.take(b.read(events, 0), 1)[0]
	if string(first.Payload) != "as it was" {
		b.Errorf("read %q after the appender has changed its own", first.Payload)
	}
	copy(first.Payload, "changed !")
	if second := b.take(b.read(events, 0), 1)[0]; string(second.Payload) != "as it was" {
		b.Errorf("read %q after another reader has changed its own", second.Payload)
	}
}

func appendTooLarge(b *bench) {
	if _, err := b.Append(b.ctx, events, make([]byte, 64<<20)); !errors.Is(err, broker.ErrTooLarge) {
		b.Errorf("64 MiB: %v, want %v", err, broker.ErrTooLarge)
	}
	frame := bytes.Repeat([]byte{1}, 768<<10)
	_, err := b.Append(b.ctx, events, frame)
	b.must(err)
	if got := b.take(b.read(events, 0), 1)[0].Payload; !bytes.Equal(got, frame) {
		b.Errorf("read %d bytes, want the %d that were appended", len(got), len(frame))
	}
}

func unknownLogs(b *bench) {
	n, err := b.Partitions(b.ctx)
	b.must(err)
	if n != Partitions {
		b.Errorf("%d partitions, want %d", n, Partitions)
	}
	for _, l := range []broker.Log{
		{Topic: broker.Events, Partition: Partitions},
		{Topic: broker.Events, Partition: -1},
		{Topic: "weather"},
		{Topic: broker.Enriched, Lane: schemas.LaneCritical},
		{Topic: broker.Tasks, Lane: schemas.LaneCritical},
		{Topic: broker.Spend, Lane: schemas.LaneCritical},
		{Topic: broker.TaskFacts, Lane: 7},
		{Topic: broker.Events, Lane: 7},
		{Topic: broker.Config, Partition: 1},
		{Topic: broker.Config, Lane: schemas.LaneCritical},
	} {
		if _, err := b.Append(b.ctx, l, []byte("x")); err == nil {
			b.Errorf("append to %v succeeds", l)
		}
		if _, err := b.Read(b.ctx, l, 0); err == nil {
			b.Errorf("read of %v succeeds", l)
		}
		if _, err := b.End(b.ctx, l); err == nil {
			b.Errorf("end of %v succeeds", l)
		}
	}
	if _, err := b.Acquire(b.ctx, "sessions", Partitions, "worker"); err == nil {
		b.Errorf("partition %d can be acquired", Partitions)
	}
}

func closedConnection(b *bench) {
	c := b.installation.Open(b.T)
	r, err := c.Read(b.ctx, events, 0)
	b.must(err)
	owner, err := c.Acquire(b.ctx, "sessions", 0, "worker")
	b.must(err)
	waiting := make(chan error)
	go func() {
		_, err := r.Next(b.ctx)
		waiting <- err
	}()
	b.must(c.Close())
	if err := <-waiting; !errors.Is(err, broker.ErrClosed) {
		b.Errorf("Next: %v, want %v", err, broker.ErrClosed)
	}
	if _, err := c.Append(b.ctx, events, []byte("x")); !errors.Is(err, broker.ErrClosed) {
		b.Errorf("Append: %v, want %v", err, broker.ErrClosed)
	}
	if _, err := c.Read(b.ctx, events, 0); !errors.Is(err, broker.ErrClosed) {
		b.Errorf("Read: %v, want %v", err, broker.ErrClosed)
	}
	w := b.worker("sessions", 0)
	w.owner = owner
	if err := w.try(); !errors.Is(err, broker.ErrClosed) {
		b.Errorf("Commit: %v, want %v", err, broker.ErrClosed)
	}
	b.must(r.Close())
}

func installationName(b *bench) {
	name := func(c broker.Broker) string {
		b.Helper()
		name, err := c.Installation(b.ctx)
		b.must(err)
		return name
	}
	first := name(b)
	if first == "" {
		b.Error("it has no name")
	}
	if second := name(b.open()); second != first {
		b.Errorf("another connection to %q says %q", first, second)
	}
	if other := name(b.closing(b.provision(b.T).Open(b.T))); other == first {
		b.Errorf("another installation is named %q too", other)
	}
	if b.installation.Restart == nil {
		return
	}
	b.append(events, "to settle by")
	b.installation.Restart(b.T)
	b.Broker = b.open()
	b.settle()
	if after := name(b); after != first {
		b.Errorf("after a restart %q is named %q", first, after)
	}
}
