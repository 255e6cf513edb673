package commitlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
)

const (
	// frameBytes is how many bytes of rows a frame takes from several commits.
	// The rows that one commit says for one log are never cut: a reader knows
	// by the commit number what it has already seen.
	frameBytes = 64 << 10
	// queueBytes is how many bytes of rows may wait before Commit waits.
	queueBytes = 8 << 20
)

// router brings the outputs of committed records to their topics, one owner's
// after another's, in commit order. One goroutine runs it; it owns heads.
type router struct {
	Config
	store Store
	log   Chain
	heads map[broker.Log]head

	mu       sync.Mutex
	queue    []routing
	queued   int           // bytes in queue, and those on their way
	routed   int64         // every output of commits up to it is in its topic
	added    int64         // newest commit that was added
	since    time.Time     // when the oldest of queue was added
	hurry    int           // callers that wait in flush
	err      error         // why it has ended
	wake     chan struct{} // something to do, or more of it
	progress chan struct{} // closed when anything above has changed
}

// head is the last frame of a chain of rows.
type head struct {
	position uint64
	commit   int64 // last one in the frame
	hash     schemas.Hash
}

// routing is one commit with what is left to route of it.
type routing struct {
	number    int64
	hash      schemas.Hash
	watermark int64
	outputs   []output
}

// output is the rows of one commit for one log.
type output struct {
	to       broker.Log
	previous int64
	rows     [][]byte
	size     int
}

func newRouter(config Config, store Store, heads map[broker.Log]head, routed int64) *router {
	return &router{
		Config: config, store: store, log: store.Commits(config.Processor, config.Partition),
		heads: heads, routed: routed,
		wake: make(chan struct{}, 1), progress: make(chan struct{}),
	}
}

// start tells where routing stood before anything was added.
func (r *router) start() (map[broker.Log]head, int64) {
	return maps.Clone(r.heads), r.routed
}

// add queues the outputs of a commit that still have to be routed. The rows are
// copied.
func (r *router) add(c *schemas.Commit, missing func(broker.Log) bool) {
	next := routing{number: c.CommitNumber, hash: c.Hash, watermark: c.Watermark}
	size := 0
	for i := range c.Outputs {
		out := &c.Outputs[i]
		if to := destination(out); missing(to) {
			o := output{to: to, previous: out.Previous}
			o.rows, o.size = copyRows(out.Rows)
			next.outputs = append(next.outputs, o)
			size += o.size
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	idle := r.routed >= r.added
	r.added = max(r.added, next.number)
	if len(next.outputs) > 0 {
		r.routed = min(r.routed, next.number-1)
	} else if idle {
		r.routed = max(r.routed, next.number)
		return
	}
	if len(r.queue) == 0 {
		r.since = time.Now()
	}
	r.queue = append(r.queue, next)
	r.queued += size
	r.signal()
}

// copyRows copies rows into one buffer; size is what they take in a frame.
func copyRows(rows [][]byte) (copied [][]byte, size int) {
	for _, row := range rows {
		size += len(row)
	}
	buffer := make([]byte, 0, size)
	copied = make([][]byte, len(rows))
	for i, row := range rows {
		start := len(buffer)
		buffer = append(buffer, row...)
		copied[i] = buffer[start:len(buffer):len(buffer)]
	}
	return copied, size
}

// done is the newest commit up to which every output is in its topic.
func (r *router) done() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.routed
}

// room waits until the queue takes another commit.
func (r *router) room(ctx context.Context) error {
	return r.wait(ctx, func() bool { return r.queued < queueBytes })
}

// flush waits until everything that was added is routed, without lingering.
func (r *router) flush(ctx context.Context) error {
	r.mu.Lock()
	r.hurry++
	r.signal()
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.hurry--
		r.mu.Unlock()
	}()
	return r.wait(ctx, func() bool { return r.routed >= r.added })
}

// wait waits until what it asks for is so, or until routing has ended.
func (r *router) wait(ctx context.Context, so func() bool) error {
	for {
		r.mu.Lock()
		err, ok, progress := r.err, so(), r.progress
		r.mu.Unlock()
		if err != nil || ok {
			return err
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// signal wakes run; mu is held.
func (r *router) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run routes until life ends or something is lost.
func (r *router) run(life context.Context) {
	for {
		batch, err := r.take(life)
		if err == nil {
			err = r.route(life, batch)
		}
		r.mu.Lock()
		if err != nil {
			r.err = err
			if life.Err() != nil {
				r.err = broker.ErrClosed
			}
		} else {
			r.routed = max(r.routed, batch[len(batch)-1].number)
			for _, c := range batch {
				for _, out := range c.outputs {
					r.queued -= out.size
				}
			}
		}
		close(r.progress)
		r.progress = make(chan struct{})
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take waits for commits and takes all that are there: at once if they fill a
// frame or somebody waits for them, else after Linger.
func (r *router) take(life context.Context) ([]routing, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		r.mu.Lock()
		left := r.Linger - time.Since(r.since)
		if len(r.queue) > 0 && (r.queued >= frameBytes || r.hurry > 0 || left <= 0) {
			batch := r.queue
			r.queue = nil
			r.mu.Unlock()
			return batch, nil
		}
		if len(r.queue) > 0 {
			timer.Reset(left)
		}
		r.mu.Unlock()
		select {
		case <-r.wake:
		case <-timer.C:
		case <-life.Done():
			return nil, life.Err()
		}
	}
}

// route brings a batch of commits to their topics, log by log.
func (r *router) route(life context.Context, batch []routing) error {
	var order []broker.Log
	byLog := map[broker.Log][]routing{}
	for _, c := range batch {
		for i, out := range c.outputs {
			if _, ok := byLog[out.to]; !ok {
				order = append(order, out.to)
			}
			one := c
			one.outputs = c.outputs[i : i+1]
			byLog[out.to] = append(byLog[out.to], one)
		}
	}
	for _, to := range order {
		if err := r.routeTo(life, to, byLog[to]); err != nil {
			return fmt.Errorf("cannot route %s/%d to %s/%d: %w", r.Processor, r.Partition, to.Topic, to.Partition, err)
		}
	}
	return nil
}

// routeTo brings commits, each with one output, to one log. An append on the
// condition that the frame before is the last one makes every row arrive once,
// also when an acknowledgement is lost or an owner that was fenced still
// routes: whoever meets another frame than expected goes on behind it.
func (r *router) routeTo(life context.Context, to broker.Log, commits []routing) error {
	chain := r.store.Rows(to, r.Processor, r.Partition)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(10*time.Millisecond),
		backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(0))
	var buffer []byte
	for {
		h := r.heads[to]
		var err error
		if commits, err = drop(commits, h); err != nil || len(commits) == 0 {
			return err
		}
		if first := commits[0].outputs[0].previous; h.position != 0 && first != h.commit {
			return fmt.Errorf("commit %d names %d as the one before, the topic ends at %d: %w",
				commits[0].number, first, h.commit, broker.ErrLost)
		}
		n := fill(commits)
		buffer = r.frame(buffer[:0], to, commits[:n])
		failpoint.Hit("jetstream.routing")
		position, err := r.attempt(life, chain, buffer, h.position)
		if err == nil {
			failpoint.Hit("jetstream.routed")
			r.heads[to] = head{position, commits[n-1].number, commits[n-1].hash}
			pause.Reset()
			continue
		}
		if !transient(err) {
			return err
		}
		if !errors.Is(err, broker.ErrRetry) && !errors.Is(err, ErrBusy) {
			if err := r.reread(life, chain, to); err != nil && !transient(err) {
				return err
			}
			if r.heads[to] != h {
				continue
			}
		}
		wait := pause.NextBackOff()
		if wait > time.Second/2 {
			slog.Warn("cannot route, trying again", "processor", r.Processor, "partition", r.Partition,
				"topic", to.Topic, "to", to.Partition, "error", err)
		}
		if !sleep(life, wait) {
			return life.Err()
		}
	}
}

// reread reads the head of a chain again. Where the frames have aged out since,
// the log tells what they held.
func (r *router) reread(life context.Context, chain Chain, to broker.Log) error {
	ctx, cancel := context.WithTimeout(life, r.Timeout)
	defer cancel()
	h, err := readHead(ctx, chain, to)
	if err != nil {
		return err
	}
	if h.position == 0 && r.heads[to].position != 0 {
		last, err := r.log.Last(ctx)
		if err != nil {
			return err
		}
		c, err := DecodeCommit(last)
		if err != nil {
			return err
		}
		h.commit = c.Routed
	}
	r.heads[to] = h
	return nil
}

// drop returns the commits behind a head.
func drop(commits []routing, h head) ([]routing, error) {
	for len(commits) > 0 && commits[0].number <= h.commit {
		if commits[0].number == h.commit && h.position != 0 && commits[0].hash != h.hash {
			return nil, fmt.Errorf("the topic holds rows of another commit %d: %w", h.commit, broker.ErrLost)
		}
		commits = commits[1:]
	}
	return commits, nil
}

// fill is the number of commits that go into the next frame.
func fill(commits []routing) int {
	size, rows := 0, 0
	for i, c := range commits {
		size += c.outputs[0].size
		rows += len(c.outputs[0].rows)
		if i > 0 && (size > frameBytes || rows > maxRows) {
			return i
		}
	}
	return len(commits)
}

// maxRows is the cap of a frame's rows in its schema.
const maxRows = 65536

// frame appends the frame of commits for one log.
func (r *router) frame(b []byte, to broker.Log, commits []routing) []byte {
	first, last := commits[0], commits[len(commits)-1]
	header := schemas.RowHeader{
		Processor: r.Processor, SourcePartition: int64(r.Partition), Generation: r.Generation,
		FirstCommit: first.number, LastCommit: last.number,
		PreviousCommit: first.outputs[0].previous,
		CommitHash:     last.hash, Watermark: last.watermark,
	}
	var rows [][]byte
	for _, c := range commits {
		rows = append(rows, c.outputs[0].rows...)
	}
	return broker.AppendRows(b, to.Topic, &header, rows)
}

func (r *router) attempt(life context.Context, chain Chain, frame []byte, after uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(life, r.Timeout)
	defer cancel()
	return chain.Append(ctx, frame, after)
}

// readHead reads the last frame of a chain of rows.
func readHead(ctx context.Context, chain Chain, to broker.Log) (head, error) {
	last, err := chain.Last(ctx)
	if err != nil || last.Position == 0 {
		return head{}, err
	}
	header, err := broker.RowsHeader(to.Topic, last.Payload)
	if err != nil {
		return head{}, fmt.Errorf("position %d of %s/%d: %w", last.Position, to.Topic, to.Partition, err)
	}
	return head{last.Position, header.LastCommit, header.CommitHash}, nil
}

// transient tells errors that another attempt may mend.
func transient(err error) bool {
	return slices.ContainsFunc([]error{ErrConflict, ErrBusy, broker.ErrRetry, broker.ErrUnknown,
		context.DeadlineExceeded}, func(target error) bool { return errors.Is(err, target) })
}
