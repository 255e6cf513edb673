package brokertest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
)

var (
	enriched    = broker.Log{Topic: broker.Enriched, Partition: 1}
	elsewhere   = broker.Log{Topic: broker.Enriched, Partition: 3}
	findings    = broker.Log{Topic: broker.Findings, Partition: 2}
	deadLetters = broker.Log{Topic: broker.DeadLetters, Partition: 1}
	closed      = broker.Log{Topic: broker.Closed, Partition: 1}
	urgent      = broker.Log{Topic: broker.Findings, Partition: 2, Lane: schemas.LaneCritical}
	tasks       = broker.Log{Topic: broker.Tasks, Partition: 3}
	spend       = broker.Log{Topic: broker.Spend, Partition: 2}
	taskFacts   = broker.Log{Topic: broker.TaskFacts, Partition: 3}
	changeFacts = broker.Log{Topic: broker.ChangeFacts, Partition: 1}
	spendDeltas = broker.Log{Topic: broker.SpendDeltas, Partition: 2, Lane: schemas.LaneCritical}
)

// row is an encoded row that carries a number.
func row(to broker.Log, number int) []byte {
	var id schemas.Id
	binary.BigEndian.PutUint64(id[:], uint64(number))
	switch to.Topic {
	case broker.Enriched, broker.ChangeFacts:
		return (&schemas.Enriched{RowId: id, Sign: 1, Repo: "example.org/flight/log"}).AppendAvro(nil)
	case broker.Findings:
		return (&schemas.Finding{RowId: id, Sign: 1, Kind: "loop"}).AppendAvro(nil)
	case broker.Tasks:
		return (&schemas.Task{RowId: id, Sign: 1, TaskId: "FL-1"}).AppendAvro(nil)
	case broker.Spend:
		return (&schemas.Spend{RowId: id, Sign: 1, Value: "example.org/flight/log"}).AppendAvro(nil)
	case broker.TaskFacts:
		return (&schemas.TaskFact{Task: schemas.Task{RowId: id, TaskId: "FL-1"}}).AppendAvro(nil)
	case broker.SpendDeltas:
		return (&schemas.SpendDelta{Value: "example.org/flight/log", Requests: int64(number)}).AppendAvro(nil)
	case broker.Closed:
		return (&schemas.Closed{Key: id[:], Last: true}).AppendAvro(nil)
	case broker.DeadLetters:
		return (&schemas.DeadLetter{RowId: id, Reason: "invalid"}).AppendAvro(nil)
	}
	panic("no rows of " + to.Topic)
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
	var numbers []int // of rows without an id
	var header schemas.RowHeader
	switch from.Topic {
	case broker.Enriched, broker.ChangeFacts:
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
	case broker.Closed:
		var f schemas.ClosedFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			ids = append(ids, schemas.Id(f.Rows[i].Key))
		}
	case broker.Tasks:
		var f schemas.TaskFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			ids = append(ids, f.Rows[i].RowId)
		}
	case broker.Spend:
		var f schemas.SpendFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			ids = append(ids, f.Rows[i].RowId)
		}
	case broker.TaskFacts:
		var f schemas.TaskFactFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			ids = append(ids, f.Rows[i].Task.RowId)
		}
	case broker.SpendDeltas:
		var f schemas.SpendDeltaFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			numbers = append(numbers, int(f.Rows[i].Requests))
		}
	case broker.DeadLetters:
		var f schemas.DeadLetterFrame
		b.must(f.DecodeMessage(message))
		header = f.Header
		for i := range f.Rows {
			ids = append(ids, f.Rows[i].RowId)
		}
	default:
		b.Fatalf("no rows of %s", from.Topic)
	}
	f := frame{RowHeader: header, rows: numbers}
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
// order, in frames that name each other. Where outputs stand with the commit,
// the rows of one commit may be in several frames.
func (b *bench) rows(of broker.Log, want ...int) []frame {
	b.Helper()
	var got []int
	previous := int64(0)
	frames := b.frames(of)
	for i, f := range frames {
		if i > 0 && b.installation.Transactional && f.FirstCommit == previous && f.PreviousCommit == frames[i-1].PreviousCommit {
			got = append(got, f.rows...)
			continue
		}
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

// worker is an owner that keeps what an engine keeps: the commit number and a
// state, in which stands the last commit with rows for each log.
type worker struct {
	*bench
	owner     broker.Owner
	processor string
	partition int
	next      int64
	state     map[string]string
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
	w := b.worker("sessions", 1)
	var err error
	if w.owner, err = c.Acquire(b.ctx, w.processor, w.partition, name); err != nil {
		return nil, err
	}
	return w, w.restore()
}

// worker has no owner yet.
func (b *bench) worker(processor string, partition int) *worker {
	return &worker{bench: b, processor: processor, partition: partition, next: 1, state: map[string]string{}}
}

func (w *worker) restore() error {
	return w.owner.Restore(w.ctx, func(c *schemas.Commit) error {
		w.restored = append(w.restored, c)
		w.committed(c)
		return nil
	})
}

// saidKey is the state record that names the last commit with rows for a log.
func saidKey(to broker.Log) string {
	return fmt.Sprintf("said %s/%d/%s", to.Topic, to.Partition, to.Lane)
}

func (w *worker) lastSaid(to broker.Log) int64 {
	number, _ := strconv.ParseInt(w.state[saidKey(to)], 10, 64)
	return number
}

// build makes the next commit. It changes a few state records and deletes one
// that an earlier commit has made.
func (w *worker) build(outputs ...said) *schemas.Commit {
	c := &schemas.Commit{
		Processor: w.processor, Partition: int64(w.partition), Generation: 1,
		CommitNumber: w.next, Epoch: w.owner.Epoch(), Owner: "worker",
		Slices:    []schemas.Slice{{FirstMessage: w.next, NextMessage: w.next + 1}},
		Watermark: 1000 * w.next,
	}
	set := func(key, value string) {
		c.Delta = append(c.Delta, schemas.Change{Key: []byte(key), Value: []byte(value)})
	}
	set("commits", fmt.Sprint(w.next))
	set(fmt.Sprint("record ", w.next), fmt.Sprint("of commit ", w.next))
	set(fmt.Sprint("record ", w.next/3), fmt.Sprint("of commit ", w.next, " again"))
	if w.next > 9 {
		set(fmt.Sprint("record ", w.next-9), "")
	}
	for _, s := range outputs {
		out := schemas.Output{Topic: s.to.Topic, Partition: int64(s.to.Partition), Lane: s.to.Lane,
			Previous: w.lastSaid(s.to), Schema: int64(broker.RowSchema(s.to.Topic))}
		for _, number := range s.rows {
			out.Rows = append(out.Rows, row(s.to, number))
		}
		c.Outputs = append(c.Outputs, out)
		set(saidKey(s.to), fmt.Sprint(w.next))
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
	for _, change := range c.Delta {
		if len(change.Value) == 0 {
			delete(w.state, string(change.Key))
		} else {
			w.state[string(change.Key)] = string(change.Value)
		}
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
	w := b.worker("sessions", 1)
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
		if out.Topic != to.Topic || int(out.Partition) != to.Partition || out.Lane != to.Lane {
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
