package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
)

// errNewer: rows of a schema that this release does not know.
var errNewer = errors.New("written by a newer release")

// mostCut is how many slices may stand behind the place: while one is held back
// those after it go on, and each has its end in the note.
const mostCut = 32

// lane loads one lane of a partition. One goroutine runs it.
type lane struct {
	*worker
	claim   broker.Claim
	log     broker.Log
	traffic *traffic
	name    string // of the installation

	place   uint64        // up to which everything is accounted for
	done    note          // of that, without Ends
	kept    broker.Cursor // that stands with the broker
	planned []uint64      // ends of slices to be made again
	first   uint64        // position of the first message of these
	// expected is first until a message was read: a later one tells that it has
	// aged out.
	expected uint64
	gap      uint64       // before which a message is missing; 0 = none is
	suspect  uint64       // up to here the log was said again, perhaps otherwise
	open     *slice       // is being filled; nil = nothing waits
	cut      []*slice     // behind the place, oldest first
	flying   int          // of these
	landed   chan landing // their deliveries have returned
	decoder  Decoder
	chain    Chain
	alarmed  time.Time // when the alarm about the lag was raised last
}

func newLane(w *worker, claim broker.Claim, log broker.Log) *lane {
	t := w.traffic[queue{log.Topic, log.Lane}]
	return &lane{worker: w, claim: claim, log: log, traffic: t, landed: make(chan landing, cap(t.slices))}
}

// run loads until ctx ends or something fails; then it waits a while for what
// was sent, and keeps the cursor.
func (l *lane) run(ctx context.Context) (err error) {
	if err := l.begin(ctx); err != nil {
		return err
	}
	reading, stopReading := context.WithCancel(ctx)
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	entries, ended := make(chan Entry, 16), make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		ended <- Follow(reading, l.Broker, l.log, l.place, Endless, func(e Entry) error {
			select {
			case entries <- e:
				return nil
			case <-reading.Done():
				return reading.Err()
			}
		})
	})
	defer l.Metrics.left(l.log)
	err = l.work(ctx, sending, entries, ended)
	stopReading()
	reader.Wait()
	overdue := time.AfterFunc(grace, stopSending)
	defer overdue.Stop()
	if errors.Is(err, broker.ErrFenced) || errors.Is(err, ErrImpossible) {
		stopSending()
	}
	for l.flying > 0 {
		if landErr := l.land(<-l.landed); err == nil {
			err = landErr
		}
	}
	if !errors.Is(err, broker.ErrFenced) {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err = errors.Join(err, l.keep(closing))
	}
	return err
}

// work reads, cuts and lets slices fly until ctx ends or something fails. Where
// reading cannot go on, what was read before is loaded first.
func (l *lane) work(ctx, sending context.Context, entries <-chan Entry, ended <-chan error) error {
	linger := time.NewTimer(l.Linger)
	linger.Stop()
	keep := time.NewTicker(keepEvery)
	defer keep.Stop()
	var unreadable error // why reading cannot go on
	ready := false       // the open slice is to be cut
	for unreadable == nil || l.open != nil || l.flying > 0 {
		in, slots := entries, chan<- struct{}(nil)
		if ready {
			in = nil
			if len(l.cut) < mostCut {
				slots = l.traffic.slices
			}
		}
		if unreadable != nil {
			in, ended = nil, nil
		}
		select {
		case e := <-in:
			opened := l.open == nil
			full, err := l.add(ctx, e)
			if err != nil {
				unreadable = err
			}
			switch {
			case l.open == nil:
			case full || unreadable != nil:
				ready = true
			case len(l.planned) > 0:
			case l.log.Lane == schemas.LaneCritical:
				ready = len(entries) == 0
			case opened:
				linger.Reset(l.Linger)
			}
		case <-linger.C:
			ready = l.open != nil
		case slots <- struct{}{}:
			linger.Stop()
			ready = false
			if err := l.launch(ctx, sending); err != nil {
				return err
			}
		case s := <-l.landed:
			if err := l.land(s); err != nil {
				return err
			}
		case <-keep.C:
			l.watch()
			if err := l.keep(ctx); err != nil {
				return err
			}
		case unreadable = <-ended:
			ready = l.open != nil
		case <-ctx.Done():
			return nil
		}
	}
	return unreadable
}

// add takes an entry into the open slice and tells whether that is to be cut.
func (l *lane) add(ctx context.Context, e Entry) (bool, error) {
	if e.Idle {
		if l.open == nil && len(l.cut) == 0 {
			l.place = max(l.place, e.Position)
		}
		return false, nil
	}
	if l.expected != 0 && e.Position > l.expected {
		l.gap = e.Position
		return false, fmt.Errorf("position %d, that was read before, has aged out: %w", l.expected, broker.ErrLost)
	}
	l.expected = 0
	header, rows, err := l.decode(ctx, e.Message)
	if err != nil {
		return false, err
	}
	checksum := Checksum(e.Payload)
	news, err := l.chain.Follows(header, checksum)
	if err != nil {
		l.gap = e.Position // it stays so for whoever comes next
		return false, fmt.Errorf("position %d: %w", e.Position, err)
	}
	if !news {
		rows = nil
	} else {
		l.chain.Note(header, checksum)
	}
	if l.open == nil {
		l.open = &slice{log: l.log}
	}
	l.open.add(l.Destination, e.Message, checksum, rows)
	l.Metrics.read(l.log, len(rows))
	if len(l.planned) > 0 {
		l.open.again = e.Position == l.planned[0]
		return e.Position >= l.planned[0], nil // it stays planned until it is cut
	}
	return l.open.full, nil
}

// decode reads a message. One that is damaged is a row that cannot be stored;
// one of an unknown schema is for a newer release.
func (l *lane) decode(ctx context.Context, m broker.Message) (schemas.RowHeader, []Row, error) {
	header, rows, err := l.decoder.Decode(l.log.Topic, m)
	if err == nil {
		return header, rows, nil
	}
	if fingerprint, ok := schemas.MessageFingerprint(m.Payload); ok && schemas.FingerprintName(fingerprint) == "" {
		return header, nil, fmt.Errorf("position %d has the schema %016x: %w", m.Position, fingerprint, errNewer)
	}
	slog.Error("a message cannot be read", "sink", l.Group, "topic", l.log.Topic, "partition", l.log.Partition, "position", m.Position, "error", err)
	if l.log.Topic == broker.DeadLetters {
		return schemas.RowHeader{}, nil, nil
	}
	return schemas.RowHeader{}, nil, l.buryLog(ctx, "undecodable", err.Error(), m.Position, m.AppendedAt, m.Payload)
}

// launch cuts the open slice, notes its end with the broker, and sends it.
func (l *lane) launch(ctx, sending context.Context) error {
	s := l.open
	l.open = nil
	if len(l.planned) > 0 && l.planned[0] <= s.last {
		l.planned = l.planned[1:]
	}
	s.seal(l.name)
	if s.first <= l.suspect {
		s.again = true
		for _, b := range s.batches {
			b.Scattered = true
		}
	}
	l.cut = append(l.cut, s)
	l.flying++
	if s.rows == 0 {
		l.landed <- landing{s, nil}
		return nil
	}
	failpoint.Hit("delivery.cut")
	if err := l.keep(ctx); err != nil {
		l.landed <- landing{s, err} // it was not sent
		return err
	}
	slog.Debug("slice", "sink", l.Group, "topic", l.log.Topic, "partition", l.log.Partition, "lane", l.log.Lane, "first", s.first, "last", s.last, "rows", s.rows, "again", s.again)
	failpoint.Hit("delivery.noted")
	go func() {
		deliverer := &sender{worker: l.worker, traffic: l.traffic, slice: s, working: ctx}
		deliverer.bury = deliverer.toTopic
		var err error
		for _, b := range s.batches {
			if err = deliverer.deliver(sending, b); err != nil {
				break
			}
			failpoint.Hit("delivery.stored")
		}
		l.landed <- landing{s, err}
	}()
	return nil
}

// landing is a slice whose delivery has returned.
type landing struct {
	slice *slice
	err   error
}

// land takes a slice that has come to its end into the account. The cursor
// passes it when it has passed those before it; one that failed stays planned.
func (l *lane) land(of landing) error {
	<-l.traffic.slices
	l.flying--
	of.slice.done = of.err == nil
	of.slice.free()
	for len(l.cut) > 0 && l.cut[0].done {
		first := l.cut[0]
		l.place, l.done = first.last, note{Last: first.last, Check: first.check}
		l.cut = l.cut[1:]
	}
	return of.err
}

// watch raises the alarm when the lane is so far behind that rows may get too
// old for the store.
func (l *lane) watch() {
	var oldest int64
	switch {
	case len(l.cut) > 0:
		oldest = l.cut[0].appendedAt
	case l.open != nil:
		oldest = l.open.appendedAt
	}
	var lag time.Duration
	if oldest > 0 {
		lag = max(0, time.Since(time.UnixMicro(oldest)))
	}
	l.Metrics.lagging(l.log, lag)
	if l.Window == 0 || lag < l.Window/2 {
		return
	}
	if now := time.Now(); now.Sub(l.alarmed) > complainEvery {
		l.alarmed = now
		slog.Error("the sink is so far behind that rows will soon be too old for the store", "sink", l.Group,
			"topic", l.log.Topic, "partition", l.log.Partition, "lag", lag.Round(time.Second), "window", l.Window)
	}
}
