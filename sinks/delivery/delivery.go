// Package delivery brings the rows of public topics to a store that has no
// transactions of ours: each at least once, and none without a word.
//
// The workers of one sink are a group (broker.Consume): they share the
// partitions of a topic, and the broker keeps a cursor for each log. A lane of a
// partition is read in order and cut, at positions, into slices; a slice falls
// into one batch for each hour of its rows' time. Before a slice is sent its end
// is written into the cursor, and the cursor passes it when every row of it is
// stored or a dead letter. So whoever takes over after a crash makes the same
// batches again, byte by byte, and asks the store for each before it is sent a
// second time.
//
// What the store answers is put into a class by its [Destination]; what follows
// from the class is decided here, the same for every store. Nothing is dropped:
// a store that is down or full holds reading back, and a row that can never be
// stored becomes a dead letter with the row in it.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Destination is a store that a sink loads. Safe for concurrent use.
type Destination interface {
	// AppendRow writes a row as Send will need it. Nothing of the row is kept.
	AppendRow(b []byte, topic string, row *Row) []byte
	// Refuses tells why the store would not take a row with a time (µs) if it
	// were sent now, as a dead letter says it; "" if it would. What it takes lies
	// between two times.
	Refuses(at int64) (reason, detail string)
	// Send tries once to store some rows of a batch, by their index.
	Send(ctx context.Context, batch *Batch, rows []int) Outcome
	// Answers is an error unless the store answers at present to a request like
	// Send's that stores nothing: a row that is not answered alone is then the
	// reason itself.
	Answers(ctx context.Context) error
	// Missing tells which of these rows the store does not hold, as far as can be
	// seen now. ErrBlind where the store cannot be asked at all, ErrImpossible
	// where it never will.
	Missing(ctx context.Context, batch *Batch, rows []int) ([]int, error)
}

var (
	// ErrBlind: the store cannot be asked what it holds.
	ErrBlind = errors.New("the store cannot be asked what it holds")
	// ErrImpossible: nothing can be stored, or asked, before a setting is changed.
	ErrImpossible = errors.New("nothing can be stored before a setting is changed")
)

// Class is what an attempt to store rows came to.
type Class int

const (
	// Stored: the store says that it has all of them. An error beside it is for
	// the operator.
	Stored Class = iota
	// Untouched: it has stored none, and may take the same later (it is down,
	// or has too much to do).
	Untouched
	// Doubtful: it may have stored them or not (the answer was lost).
	Doubtful
	// Partial: it has stored some, and refused others (Failed) for what they are.
	Partial
	// Silent: it says that it has stored fewer than were sent, and not why.
	Silent
	// Refused: it has stored none, because of what at least one of them is.
	Refused
	// TooLarge: it has stored none, because they are too much at once.
	TooLarge
	// Impossible: nothing will be stored before somebody changes a setting
	// (credentials, address). The sink ends.
	Impossible
)

var classNames = [...]string{"stored", "untouched", "doubtful", "partial", "silent", "refused", "too_large", "impossible"}

// String is the class as metrics name it.
func (c Class) String() string { return classNames[c] }

// Outcome is what an attempt came to.
type Outcome struct {
	Class Class
	// Overloaded: the store has too much to do; fewer batches at a time.
	Overloaded bool
	// Broken: the connection broke without an answer, as it does when a row
	// brings the store's handler down.
	Broken bool
	// RetryAfter is what the store asks to wait at least.
	RetryAfter time.Duration
	// Failed is how many rows a Partial outcome refused.
	Failed int
	// Offends tells of a Partial outcome whether a row with this time is one of
	// those that were refused, if it is not stored; nil = every one is.
	Offends func(at int64) bool
	// Reason is a dead letter's for rows that were refused.
	Reason string
	// Err says what the store said; nil where all is stored.
	Err error
}

// Config of a sink's worker.
type Config struct {
	Broker      broker.Broker
	Destination Destination
	// Group names the sink, and owns its cursors.
	Group string
	// Store names what the group loads into. A group that has loaded into another
	// one refuses: its cursors say nothing of this one. Empty = any; SameStore
	// says that it is the same under another name.
	Store     string
	SameStore bool
	// Worker names this process.
	Worker string
	// Topics to load; default Topics.
	Topics []string
	// Window is how far back rows may lie that the store takes; the sink raises
	// the alarm when it lags behind by half of it. 0 = as far as you like.
	Window time.Duration
	// InFlight is how many batches are sent at a time, at most; default 4. The
	// critical lane has as many of its own.
	InFlight int
	// Linger is how long a row of the normal lane waits for others; default 1 s.
	Linger time.Duration
	// Backoff is the first pause before something is tried again, and MaxBackoff
	// the longest; default 0.5 s and 30 s.
	Backoff, MaxBackoff time.Duration
	// Settle is how long after an attempt a stored row may still be invisible;
	// default 2 s.
	Settle time.Duration
	// SkipLost: where rows have gone before they were loaded (they have aged out,
	// or a frame is missing), go on with what is held, and leave a dead letter that
	// names the gap. Default: leave the lane alone and raise the alarm.
	SkipLost bool
	// Metrics that the worker keeps up to date; nil = none.
	Metrics *Metrics
	// Status for whoever asks; nil = nobody does.
	Status *Status
}

const (
	inFlight   = 4
	linger     = time.Second
	backoff0   = 500 * time.Millisecond
	backoffMax = 30 * time.Second
	settle     = 2 * time.Second
	// grace is how long what was sent may take to come to its end when the
	// worker stops or gives a partition up.
	grace = 10 * time.Second
	// rest is how long a partition that failed is left alone.
	rest = time.Minute
)

func (c Config) withDefaults() Config {
	orDuration := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	orDuration(&c.Linger, linger)
	orDuration(&c.Backoff, backoff0)
	orDuration(&c.MaxBackoff, backoffMax)
	orDuration(&c.Settle, settle)
	if c.InFlight == 0 {
		c.InFlight = inFlight
	}
	if c.Topics == nil {
		c.Topics = Topics
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Status == nil {
		c.Status = new(Status)
	}
	return c
}

// Validate reports everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(key string, value any, right string) {
		errs = append(errs, fmt.Errorf("%s: %v: %s", key, value, right))
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"linger", c.Linger}, {"backoff", c.Backoff}, {"max_backoff", c.MaxBackoff}, {"settle", c.Settle}, {"window", c.Window},
	} {
		if d.value < 0 {
			wrong(d.key, d.value, "must not be negative")
		}
	}
	if c.InFlight < 0 || c.InFlight > 64 {
		wrong("in_flight", c.InFlight, "must be 1 to 64")
	}
	if c.Group != "" && !groupPattern.MatchString(c.Group) {
		wrong("group", c.Group, "must be small letters, digits, - and _, at most 64, a letter first")
	}
	for _, topic := range c.Topics {
		if !isPublic(topic) {
			wrong("topics", topic, fmt.Sprintf("must be of %v", Topics))
		}
	}
	return errors.Join(errs...)
}

var groupPattern = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

func isPublic(topic string) bool {
	for _, t := range Topics {
		if t == topic {
			return true
		}
	}
	return false
}

// Run works until ctx ends, and then returns nil with what was sent accounted
// for. It ends with an error where no partition can go on: an outcome that is
// Impossible, or a broker that refuses for good. A single lane that cannot go on
// is reported and tried again every minute, while the others go on.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("cannot run the sink %s: %w", c.Group, err)
	}
	w := newWorker(c.withDefaults())
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var topics sync.WaitGroup
	for _, topic := range w.Topics {
		topics.Go(func() {
			group := broker.Group{Name: w.Group, Topic: topic}
			err := patiently(ctx, func() error {
				return w.Broker.Consume(ctx, group, w.Worker, func(ctx context.Context, claim broker.Claim) error {
					return w.hold(ctx, topic, claim)
				})
			})
			if ctx.Err() == nil {
				stop(err)
			}
		})
	}
	topics.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return fmt.Errorf("the sink %s stopped: %w", w.Group, cause)
	}
	return nil
}

// worker is what the lanes of one process share.
type worker struct {
	Config
	traffic map[queue]*traffic
	// stored and refused count rows; the ones that are too old apart.
	stored, refused atomic.Int64
}

// queue is the lanes of one kind of one topic, in all partitions.
type queue struct {
	topic string
	lane  schemas.Lane
}

// traffic bounds what goes to the store, and what waits for it in memory.
type traffic struct {
	// window is shared by the topics: they go to one server. Critical lanes have
	// one of their own, and do not stand in line with the others.
	window *window
	// slices that are cut and not done. Each topic has its own, so that one whose
	// stream takes nothing holds the others back no more than by its tries.
	slices chan struct{}
}

func newWorker(c Config) *worker {
	w := &worker{Config: c, traffic: map[queue]*traffic{}}
	windows := map[schemas.Lane]*window{}
	for _, topic := range Topics {
		for _, lane := range lanes(topic) {
			if windows[lane] == nil {
				windows[lane] = newWindow(c.InFlight)
			}
			w.traffic[queue{topic, lane}] = &traffic{windows[lane], make(chan struct{}, 2*c.InFlight)}
		}
	}
	return w
}

// lanes of a topic.
func lanes(topic string) []schemas.Lane {
	if broker.TwoLanes(topic) {
		return []schemas.Lane{schemas.LaneCritical, schemas.LaneNormal}
	}
	return []schemas.Lane{schemas.LaneNormal}
}

// hold loads the lanes of a partition until ctx ends, or the claim is lost.
func (w *worker) hold(ctx context.Context, topic string, claim broker.Claim) error {
	w.Status.claimed(1)
	defer w.Status.claimed(-1)
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	for _, lane := range lanes(topic) {
		running.Go(func() {
			stop(w.load(working, claim, broker.Log{Topic: topic, Partition: claim.Partition(), Lane: lane}))
		})
	}
	running.Wait()
	if err := context.Cause(working); errors.Is(err, ErrImpossible) {
		return err
	}
	return nil // nobody needs it any more, or another worker has it
}

// load loads one lane until ctx ends, or nobody can go on. Where only this lane
// cannot, it is left alone for a while.
func (w *worker) load(ctx context.Context, claim broker.Claim, log broker.Log) error {
	for {
		err := newLane(w, claim, log).run(ctx)
		if ctx.Err() != nil || errors.Is(err, broker.ErrFenced) || errors.Is(err, broker.ErrClosed) || errors.Is(err, ErrImpossible) {
			return err
		}
		err = fmt.Errorf("%s/%d, lane %s: %w", log.Topic, log.Partition, log.Lane, err)
		slog.Error("a lane is stopped, the others go on; it is tried again in a minute", "sink", w.Group, "way_out", wayOut(err), "error", err)
		w.Metrics.stopped(log, true)
		w.Status.stalled(1, err)
		ended := sleep(ctx, rest)
		w.Status.stalled(-1, nil)
		w.Metrics.stopped(log, false)
		if ended != nil {
			return ended
		}
	}
}

func wayOut(err error) string {
	switch {
	case errors.Is(err, broker.ErrLost):
		return "rows are gone that were never loaded: --skip-lost goes on with what is still there and leaves a dead letter that names the gap"
	case errors.Is(err, errNewer):
		return "rows come from a newer release: update this sink"
	}
	return "see the error"
}
