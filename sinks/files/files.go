// Package files is the sink that needs nothing but a folder: it follows public
// topics and writes their rows as NDJSON, one file per topic.
//
// Each row stands in its file exactly once, whatever kills the sink and
// whenever: a checkpoint names for each file a length, and for each log the
// position that this length stands for. It is replaced (never changed) after
// the data is on disk; a sink that starts cuts each file back to it and goes on
// from there. So rows beyond the checkpoint, at most about a second old, may
// still be written again, and in another order between partitions; rows of one
// partition always stand in the order of its log.
package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// topics are the ones that are written, in the order in which Drain reads them.
var topics = []string{broker.Enriched, broker.DeadLetters}

const (
	checkpointEvery = time.Second
	checkpointBytes = 4 << 20
)

// Sink writes the rows of one installation into one folder: enriched.ndjson,
// deadletters.ndjson, checkpoint.json and lock. Not safe for concurrent use.
type Sink struct {
	dir   string
	lock  *os.File
	files map[string]*rowFile // by topic
	done  checkpoint          // what the files hold
	fresh int                 // 0 = the checkpoint says it all; grows by bytes and rows
	dead  error               // the disk failed: what the files hold is not known
}

// New opens the folder, makes it if need be, and cuts its files back to their
// checkpoint. It fails if another sink has the folder, or if the files hold
// less than their checkpoint says.
func New(dir string) (*Sink, error) {
	s, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the rows in %s: %w", dir, err)
	}
	return s, nil
}

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
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	if err := errors.Join(append(errs, s.lock.Close())...); err != nil {
		return fmt.Errorf("cannot close the rows in %s: %w", s.dir, err)
	}
	return nil
}

func (s *Sink) run(ctx context.Context, b broker.Broker) error {
	logs, err := s.begin(ctx, b)
	if err != nil {
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
		readers.Go(func() { failed <- follow(reading, b, l.log, l.after, delivery.Endless, deliver) })
	}
	tick := time.NewTicker(checkpointEvery)
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
	for i := 0; i < len(logs) && err == nil; i++ {
		err = follow(ctx, b, logs[i].log, logs[i].after, logs[i].end, s.write)
	}
	return errors.Join(err, s.checkpoint())
}

// stretch is what there is to read of one log.
type stretch struct {
	log        broker.Log
	after, end uint64
}

// begin says where each log goes on, and refuses a broker that is not the one
// that the checkpoint was made with.
func (s *Sink) begin(ctx context.Context, b broker.Broker) ([]stretch, error) {
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
	for _, topic := range topics {
		for p := range n {
			place := s.done.place(topic, p)
			l := stretch{log: broker.Log{Topic: topic, Partition: p}, after: place.Position}
			if l.end, err = b.End(ctx, l.log); err != nil {
				return nil, err
			}
			switch {
			case s.done.Installation == "" && l.end < l.after:
				return nil, s.foreign(fmt.Sprintf("it is not named, and this one's %s/%d ends at position %d, not %d", topic, p, l.end, l.after))
			case 0 < l.end && l.end < place.Last: // an end of 0: all of it has aged out
				return nil, fmt.Errorf("%s/%d ends at position %d, the last message read was at %d: %w", topic, p, l.end, place.Last, broker.ErrLost)
			}
			if s.done.Installation == "" { // of before there was Last: the log holds it
				place.Last = l.after
			}
			logs = append(logs, l)
		}
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

// write appends a frame's rows to the topic's file, unless it holds them.
func (s *Sink) write(f frame) error {
	place := s.done.place(f.log.Topic, f.log.Partition)
	checksum := delivery.Checksum(f.rows)
	news, err := place.Follows(f.header, checksum)
	if err != nil {
		return fmt.Errorf("%s/%d at position %d: %w", f.log.Topic, f.log.Partition, f.position, err)
	}
	if news {
		if err := s.files[f.log.Topic].append(f.rows); err != nil {
			s.dead = err
			return err
		}
		place.Note(f.header, checksum)
	}
	place.Position = f.position
	if f.message {
		place.Last = f.position
	}
	failpoint.Hit("files.appended")
	if s.fresh += len(f.rows) + 1; s.fresh >= checkpointBytes {
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
	for topic, f := range s.files {
		if s.dead = f.sync(); s.dead != nil {
			return s.dead
		}
		s.done.Files[topic] = f.length
	}
	failpoint.Hit("files.synced")
	if s.dead = s.done.store(s.dir); s.dead != nil {
		return s.dead
	}
	failpoint.Hit("files.checkpointed")
	s.fresh = 0
	return nil
}
