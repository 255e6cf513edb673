// Package files is the sink that needs nothing but a folder. It follows topics
// and writes what they hold in one of two forms: their rows as NDJSON, one file
// per topic ([New]), or an archive of Avro object container files, one per log
// and hour ([NewArchive]), which [OpenArchive] reads.
//
// Each row stands in one file exactly once, whatever kills the sink and
// whenever: a checkpoint names for each file a length, and for each log the
// position that these lengths stand for. It is replaced (never changed) after
// the data is on disk; a sink that starts cuts each file back to it and goes on
// from there. So rows beyond the checkpoint may still be written again, and in
// another order between partitions; rows of one partition always stand in the
// order of its log.
package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// Sink writes what the topics of one installation hold into one folder. Not
// safe for concurrent use, but for Written and Progress.
type Sink struct {
	dir   string
	lock  *os.File
	store store
	pace  pace
	done  checkpoint // what the files hold
	fresh int        // 0 = the checkpoint says it all; grows by bytes and messages
	dead  error      // the disk failed: what the files hold is not known
	tally tally
}

// store is where a sink writes. One goroutine uses it, but for decoders.
type store interface {
	// open opens the files of a folder, cut back to what its checkpoint says. It
	// tells whether there are new ones that a checkpoint has to list.
	open(c *checkpoint) (created bool, err error)
	// logs are those to follow, in the order in which Drain reads them.
	logs(partitions int) []broker.Log
	// decoder reads the messages of one log into frames.
	decoder(log broker.Log) func(broker.Message, *frame) error
	// begin is called before a log is followed.
	begin(ctx context.Context, b broker.Broker, installation string, at *place) error
	// write takes a message in; its rows are no news where they stand already.
	write(f *frame, at *place, news bool) error
	// whole: everything that was appended to the log before a time (µs) was
	// written. It tells whether that is to be kept.
	whole(at *place, before int64) bool
	// sync returns once everything that was written is on disk and c names it.
	sync(c *checkpoint) error
	// stands does what has to wait until c is on disk.
	stands(c *checkpoint) error
	Close() error
}

// pace is how often a checkpoint is made.
type pace struct {
	every time.Duration
	bytes int
	// asks: the ends of the logs are asked for as often, so that a log without
	// news is known to be whole.
	asks bool
}

// settle is how long a message may be on its way: appended, and not yet seen by
// readers (a transaction that is not committed), or by a clock that is ahead of
// this one's.
const settle = time.Minute

// Run follows the topics until ctx ends, and then returns nil with all that was
// read on disk. It refuses a folder with the rows of another installation, and
// with broker.ErrLost a log that ends before what was read of it. A lost position, a frame missing from its chain or a frame that
// does not decode stops it with an error: it never skips. While the broker is
// away it waits.
func (s *Sink) Run(ctx context.Context, b broker.Broker) error {
	if err := s.run(ctx, b); err != nil {
		return fmt.Errorf("cannot write rows to %s: %w", s.dir, err)
	}
	return nil
}

// Drain reads each log up to its end as of now and returns with all of it on
// disk. It fails like Run, and with ctx's error if ctx ends before. Only Run
// keeps the place in an idle log from aging out.
func (s *Sink) Drain(ctx context.Context, b broker.Broker) error {
	if err := s.drain(ctx, b); err != nil {
		return fmt.Errorf("cannot write rows to %s: %w", s.dir, err)
	}
	return nil
}

// Close gives the folder free. What came after the last checkpoint is written
// again by the next sink; Run and Drain end with one.
func (s *Sink) Close() error {
	if err := errors.Join(s.store.Close(), s.lock.Close()); err != nil {
		return fmt.Errorf("cannot close the rows in %s: %w", s.dir, err)
	}
	return nil
}

func (s *Sink) run(ctx context.Context, b broker.Broker) error {
	logs, err := s.begin(ctx, b)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil
		}
		return err
	}
	reading, stop := context.WithCancel(ctx)
	frames, failed := make(chan frame), make(chan error, len(logs))
	deliver := func(f frame) error {
		select {
		case frames <- f:
			return nil
		case <-reading.Done():
			return reading.Err()
		}
	}
	var readers sync.WaitGroup
	for _, l := range logs {
		readers.Go(func() {
			failed <- follow(reading, b, l.log, l.after, delivery.Endless, s.store.decoder(l.log), deliver)
		})
	}
	if s.pace.asks {
		readers.Go(func() { s.askForEnds(reading, b, logs, deliver) })
	}
	tick := time.NewTicker(s.pace.every)
	defer tick.Stop()
	for err == nil {
		select {
		case f := <-frames:
			err = s.write(f)
		case <-tick.C:
			err = s.checkpoint()
		case err = <-failed:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	stop()
	readers.Wait()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return errors.Join(err, s.checkpoint())
}

func (s *Sink) drain(ctx context.Context, b broker.Broker) error {
	logs, err := s.begin(ctx, b)
	for _, l := range logs {
		s.tally.ahead(l)
	}
	for i := 0; i < len(logs) && err == nil; i++ {
		l := logs[i]
		if err = follow(ctx, b, l.log, l.after, l.end, s.store.decoder(l.log), s.write); err == nil {
			err = s.write(frame{log: l.log, end: l.end, asOf: l.asked})
		}
	}
	return errors.Join(err, s.checkpoint())
}

// askForEnds delivers, again and again, where the logs end. A broker that does
// not answer is asked again the next time.
func (s *Sink) askForEnds(ctx context.Context, b broker.Broker, logs []stretch, deliver func(frame) error) {
	for {
		select {
		case <-time.After(s.pace.every):
		case <-ctx.Done():
			return
		}
		for _, l := range logs {
			asked := time.Now().UnixMicro()
			end, err := b.End(ctx, l.log)
			if err == nil {
				err = deliver(frame{log: l.log, end: end, asOf: asked})
			}
			if err != nil {
				slog.Debug("the end of a log is not known", "topic", l.log.Topic, "partition", l.log.Partition, "error", err)
			}
		}
	}
}

// stretch is what there is to read of one log.
type stretch struct {
	log        broker.Log
	after, end uint64
	asked      int64 // µs: the end is as of then
}

// begin is beginNow, as soon as the broker answers.
func (s *Sink) begin(ctx context.Context, b broker.Broker) ([]stretch, error) {
	for told := false; ; told = true {
		logs, err := s.beginNow(ctx, b)
		if !errors.Is(err, broker.ErrRetry) && !errors.Is(err, broker.ErrUnknown) {
			return logs, err
		}
		if !told {
			slog.Warn("the broker does not answer, trying again", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// beginNow says where each log goes on, and refuses a broker that is not the one
// that the checkpoint was made with.
func (s *Sink) beginNow(ctx context.Context, b broker.Broker) ([]stretch, error) {
	if s.dead != nil {
		return nil, fmt.Errorf("open them anew after: %w", s.dead)
	}
	installation, err := b.Installation(ctx)
	if err != nil {
		return nil, err
	}
	if s.done.Installation != "" && s.done.Installation != installation {
		return nil, s.foreign(fmt.Sprintf("%s, this one is %s", s.done.Installation, installation))
	}
	n, err := b.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	if s.done.Partitions == 0 {
		s.done.Partitions = n
	}
	if n != s.done.Partitions {
		return nil, fmt.Errorf("the broker has %d partitions, the checkpoint is for %d", n, s.done.Partitions)
	}
	var logs []stretch
	for _, log := range s.store.logs(n) {
		place := s.done.place(log)
		l := stretch{log: log, after: place.Position, asked: time.Now().UnixMicro()}
		if l.end, err = b.End(ctx, log); err != nil {
			return nil, err
		}
		switch {
		case s.done.Installation == "" && l.end < l.after:
			return nil, s.foreign(fmt.Sprintf("it is not named, and this one's %s/%d ends at position %d, not %d", log.Topic, log.Partition, l.end, l.after))
		case 0 < l.end && l.end < place.Last: // an end of 0: all of it has aged out
			return nil, fmt.Errorf("%s/%d ends at position %d, the last message read was at %d: %w", log.Topic, log.Partition, l.end, place.Last, broker.ErrLost)
		}
		if s.done.Installation == "" { // of before there was Last: the log holds it
			place.Last = l.after
		}
		if err := s.store.begin(ctx, b, installation, place); err != nil {
			return nil, err
		}
		logs = append(logs, l)
	}
	if s.done.Installation == "" {
		s.done.Installation = installation
		s.fresh++ // to be stored although there may be no rows
	}
	return logs, nil
}

func (s *Sink) foreign(why string) error {
	return fmt.Errorf("the rows in %s come from another installation (%s): give another folder, or remove %s to write them anew", s.dir, why, s.dir)
}

// write brings a frame's rows to their file, unless it holds them.
func (s *Sink) write(f frame) error {
	place := s.done.place(f.log)
	if f.asOf > 0 {
		if f.end <= place.Position && s.store.whole(place, f.asOf-settle.Microseconds()) {
			s.fresh++
		}
		return nil
	}
	if f.message {
		news, err := place.Follows(f.header, f.checksum)
		if err != nil {
			return fmt.Errorf("%s/%d at position %d: %w", f.log.Topic, f.log.Partition, f.position, err)
		}
		if err := s.store.write(&f, place, news); err != nil {
			s.dead = err
			return err
		}
		if news {
			place.Note(f.header, f.checksum)
		}
		place.Last = f.position
		s.tally.took(&f, news)
	}
	s.tally.passed(f.log, place.Position, f.position)
	place.Position = f.position
	failpoint.Hit("files.appended")
	if s.fresh += len(f.rows) + 1; s.fresh >= s.pace.bytes {
		return s.checkpoint()
	}
	return nil
}

// checkpoint makes what was written so far stand: first the rows, then the
// record of them.
func (s *Sink) checkpoint() error {
	if s.fresh == 0 || s.dead != nil {
		return nil
	}
	if s.dead = s.store.sync(&s.done); s.dead != nil {
		return s.dead
	}
	failpoint.Hit("files.synced")
	if s.dead = s.done.store(s.dir); s.dead != nil {
		return s.dead
	}
	failpoint.Hit("files.checkpointed")
	if s.dead = s.store.stands(&s.done); s.dead != nil {
		return s.dead
	}
	s.fresh = 0
	return nil
}
