package brokertest

import (
	"encoding/binary"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
)

var (
	enriched    = broker.Log{Topic: broker.Enriched, Partition: 1}
	elsewhere   = broker.Log{Topic: broker.Enriched, Partition: 3}
	findings    = broker.Log{Topic: broker.Findings, Partition: 2}
	deadLetters = broker.Log{Topic: broker.DeadLetters, Partition: 1}
)

// row is an encoded row that carries a number.
func row(to broker.Log, number int) []byte {
	var id schemas.Id
	binary.BigEndian.PutUint64(id[:], uint64(number))
	switch to.Topic {
	case broker.Enriched:
		return (&schemas.Enriched{RowId: id, Sign: 1, Repo: "example.org/flight/log"}).AppendAvro(nil)
	case broker.Findings:
		return (&schemas.Finding{RowId: id, Sign: 1, Kind: "loop"}).AppendAvro(nil)
	}
	return (&schemas.DeadLetter{RowId: id, Reason: "invalid"}).AppendAvro(nil)
}

// frame is a frame of rows as a reader sees it.
type frame struct {
	schemas.RowHeader
	rows []int
}

// decode reads a message of rows.
func (b *bench) decode(from broker.Log, message []byte) frame {
	b.Helper()
	var ids []schemas.Id
	var header schemas.RowHeader
	switch from.Topic {
	case broker.Enriched:
		var f schemas.EnrichedFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			ids = append(ids, f.Rows[i].RowId)
		}
	case broker.Findings:
		var f schemas.FindingFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			ids = append(ids, f.Rows[i].RowId)
		}
	default:
		var f schemas.DeadLetterFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			ids = append(ids, f.Rows[i].RowId)
		}
	}
	f := frame{RowHeader: header}
	for _, id := range ids {
		f.rows = append(f.rows, int(binary.BigEndian.Uint64(id[:])))
	}
	return f
}

// frames reads everything that a log of rows holds now.
func (b *bench) frames(of broker.Log) []frame {
	b.Helper()
	end, err := b.End(b.ctx, of)
	b.must(err)
	var all []frame
	if end == 0 {
		return nil
	}
	for r := b.read(of, 0); ; {
		m := b.take(r, 1)[0]
		all = append(all, b.decode(of, m.Payload))
		if m.Position == end {
			return all
		}
	}
}

// rows checks that a log holds these rows of one source, each once and in this
// order, in frames that name each other.
func (b *bench) rows(of broker.Log, want ...int) []frame {
	b.Helper()
	var got []int
	previous := int64(0)
	frames := b.frames(of)
	for i, f := range frames {
		if f.PreviousCommit != previous {
			b.Errorf("%v: frame %d names commit %d as the one before, want %d", of, i, f.PreviousCommit, previous)
		}
		if f.FirstCommit <= previous || f.LastCommit < f.FirstCommit {
			b.Errorf("%v: frame %d holds commits %d to %d behind %d", of, i, f.FirstCommit, f.LastCommit, previous)
		}
		previous = f.LastCommit
		got = append(got, f.rows...)
	}
	if !slices.Equal(got, want) {
		b.Errorf("%v holds rows %v, want %v", of, got, want)
	}
	return frames
}

// said is rows for one log.
type said struct {
	to   broker.Log
	rows []int
}

func say(to broker.Log, rows ...int) said { return said{to, rows} }

// worker is an owner that keeps what an engine keeps: the commit number and the
// last commit with rows for each log.
type worker struct {
	*bench
	owner     broker.Owner
	processor string
	partition int
	next      int64
	said      map[broker.Log]int64
	restored  []*schemas.Commit
}

// acquire makes a worker on partition 1 of sessions and restores it.
func (b *bench) acquire(c broker.Broker, name string) *worker {
	b.Helper()
	w, err := b.tryAcquire(c, name)
	b.must(err)
	return w
}

func (b *bench) tryAcquire(c broker.Broker, name string) (*worker, error) {
	w := &worker{bench: b, processor: "sessions", partition: 1, next: 1, said: map[broker.Log]int64{}}
	var err error
	if w.owner, err = c.Acquire(b.ctx, w.processor, w.partition, name); err != nil {
		return nil, err
	}
	return w, w.owner.Restore(b.ctx, func(commit *schemas.Commit) error {
		w.restored = append(w.restored, commit)
		w.committed(commit)
		return nil
	})
}

// build makes the next commit.
func (w *worker) build(outputs ...said) *schemas.Commit {
	c := &schemas.Commit{
		Processor: w.processor, Partition: int64(w.partition), Generation: 1,
		CommitNumber: w.next, Epoch: w.owner.Epoch(), Owner: "worker",
		Slices:    []schemas.Slice{{FirstMessage: w.next, NextMessage: w.next + 1}},
		Watermark: 1000 * w.next,
		Delta:     []schemas.Change{{Key: []byte("key"), Value: []byte("value")}},
	}
	for _, s := range outputs {
		out := schemas.Output{Topic: s.to.Topic, Partition: int64(s.to.Partition), Previous: w.said[s.to], Schema: int64(broker.RowSchema(s.to.Topic))}
		for _, number := range s.rows {
			out.Rows = append(out.Rows, row(s.to, number))
		}
		c.Outputs = append(c.Outputs, out)
	}
	return c
}

// try commits outputs and takes note of them.
func (w *worker) try(outputs ...said) error {
	c := w.build(outputs...)
	err := w.owner.Commit(w.ctx, c)
	if err == nil {
		w.committed(c)
	}
	return err
}

func (w *worker) committed(c *schemas.Commit) {
	w.next = c.CommitNumber + 1
	for _, out := range c.Outputs {
		w.said[broker.Log{Topic: out.Topic, Partition: int(out.Partition)}] = c.CommitNumber
	}
}

// commit commits outputs, or fails the test.
func (w *worker) commit(outputs ...said) {
	w.Helper()
	w.must(w.try(outputs...))
}

func (w *worker) flush() {
	w.Helper()
	w.must(w.owner.Flush(w.ctx))
}

// script writes into the chains of an installation what owners left there when
// they died at a bad moment.
type script struct {
	*worker
	store    commitlog.Store
	previous schemas.Hash
}

// script skips the test where commits are not chains of conditional appends.
func (b *bench) script() *script {
	store, ok := b.Broker.(commitlog.Store)
	if !ok {
		b.Skip("the broker has no chains to write into")
	}
	w := &worker{bench: b, processor: "sessions", partition: 1, next: 1, said: map[broker.Log]int64{}}
	w.owner = dead{}
	return &script{worker: w, store: store}
}

// dead is the owner of a script.
type dead struct{ broker.Owner }

func (dead) Epoch() int64 { return 1 }

// commit stores a commit and routes nothing.
func (s *script) commit(routed int64, outputs ...said) *schemas.Commit {
	s.Helper()
	c := s.build(outputs...)
	c.Routed = routed
	s.storeCommit(c)
	s.committed(c)
	return c
}

func (s *script) storeCommit(c *schemas.Commit) {
	s.Helper()
	message := broker.AppendCommit(nil, c, s.previous)
	s.storeMessage(s.store.Commits(s.processor, s.partition), message)
	s.previous = c.Hash
}

// route stores the frame of one commit's rows in a log.
func (s *script) route(c *schemas.Commit, to broker.Log) {
	s.Helper()
	for _, out := range c.Outputs {
		if out.Topic != to.Topic || int(out.Partition) != to.Partition {
			continue
		}
		header := schemas.RowHeader{
			Processor: c.Processor, SourcePartition: c.Partition, Generation: c.Generation,
			FirstCommit: c.CommitNumber, LastCommit: c.CommitNumber, PreviousCommit: out.Previous,
			CommitHash: c.Hash, Watermark: c.Watermark,
		}
		message := broker.AppendRows(nil, to.Topic, &header, out.Rows)
		s.storeMessage(s.store.Rows(to, s.processor, s.partition), message)
	}
}

func (s *script) storeMessage(chain commitlog.Chain, message []byte) {
	s.Helper()
	last, err := chain.Last(s.ctx)
	s.must(err)
	_, err = chain.Append(s.ctx, message, last.Position)
	s.must(err)
}
