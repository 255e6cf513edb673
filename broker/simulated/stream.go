package simulated

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
)

// Names of the streams that are no topics.
const (
	Commits   = "commits"
	Snapshots = "snapshots" // and the marks of started partitions
)

// subject is a log in a stream and who appends to it.
type subject struct {
	log    broker.Log
	source string
}

// stream is the messages of a topic, or of all chains of one kind.
type stream struct {
	messages []message
	last     uint64    // position of the newest message that it has had; a lost end is forgotten
	aged     []message // that are gone by age or purge, oldest first
	first    uint64    // up to here all has aged
	readers  []*reader
}

type message struct {
	broker.Message
	subject subject
	by      *Broker
}

func (w *World) stream(name string) *stream {
	s := w.streams[name]
	if s == nil {
		s = &stream{}
		w.streams[name] = s
	}
	return s
}

func (s *stream) append(by *Broker, to subject, payload []byte) uint64 {
	at := time.Now().UnixMicro()
	if n := len(s.messages); n > 0 {
		at = max(at, s.messages[n-1].AppendedAt)
	}
	s.last++
	s.messages = append(s.messages, message{broker.Message{Position: s.last, AppendedAt: at, Payload: payload}, to, by})
	return s.last
}

// after is the index of the first message behind a position.
func (s *stream) after(position uint64) int {
	return sort.Search(len(s.messages), func(i int) bool { return s.messages[i].Position > position })
}

// Lose cuts the newest n messages off a stream, as a power failure does to what
// was not synced. It returns what was lost.
func (w *World) Lose(name string, n int) []broker.Message {
	s := w.stream(name)
	kept := max(0, len(s.messages)-n)
	var lost []broker.Message
	for _, m := range s.messages[kept:] {
		lost = append(lost, m.Message)
	}
	if len(lost) == 0 {
		return nil
	}
	s.messages = slices.Clip(s.messages[:kept])
	s.last = lost[0].Position - 1
	for _, r := range s.readers {
		r.lost = r.lost || r.after > s.last
	}
	w.trace("%s loses its end from position %d on", name, lost[0].Position)
	return lost
}

// Spare is how many of the newest messages of a stream can be lost so that
// something is left of every log. A log of which nothing is left cannot be told
// from one that has aged out.
func (w *World) Spare(name string) int {
	messages := w.stream(name).messages
	left := map[subject]int{}
	for _, m := range messages {
		left[m.subject]++
	}
	for i := len(messages) - 1; i >= 0; i-- {
		if left[messages[i].subject]--; left[messages[i].subject] == 0 {
			return len(messages) - 1 - i
		}
	}
	return 0
}

// Age removes the oldest n messages of a stream.
func (w *World) Age(name string, n int) {
	s := w.stream(name)
	n = min(n, len(s.messages))
	if n == 0 {
		return
	}
	s.first = s.messages[n-1].Position
	s.aged = append(s.aged, s.messages[:n]...)
	s.messages = slices.Clone(s.messages[n:])
	w.trace("%s ages up to position %d", name, s.first)
}

// Prune removes the commits of a partition up to a number of them from the
// newest, as an operator might by mistake.
func (w *World) Prune(processor string, partition int, but int) {
	s, of := w.stream(Commits), commitsOf(processor, partition)
	n := 0
	for i := len(s.messages) - 1; i >= 0; i-- {
		if s.messages[i].subject != of {
			continue
		}
		if n++; n > but {
			position := s.messages[i].Position
			s.purge(of, position+1)
			w.trace("commits of %s/%d are pruned up to position %d", processor, partition, position)
			return
		}
	}
}

// Tear damages or removes one part among the newest n of a partition's
// snapshots. It tells whether there was one.
func (w *World) Tear(processor string, partition, n int) bool {
	s, of := w.stream(Snapshots), snapshotsOf(processor, partition)
	var at []int
	for i := range s.messages {
		if s.messages[i].subject == of {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return false
	}
	at = at[max(0, len(at)-n):]
	i := at[w.Random.IntN(len(at))]
	w.trace("the part at position %d of a snapshot of %s/%d is torn", s.messages[i].Position, processor, partition)
	if w.Random.IntN(2) == 0 {
		s.messages = slices.Delete(slices.Clone(s.messages), i, i+1)
		return true
	}
	damaged := bytes.Clone(s.messages[i].Payload)
	damaged[len(damaged)-1-w.Random.IntN(min(8, len(damaged)))] ^= 1
	s.messages[i].Payload = damaged
	return true
}

// Len is the number of messages that a stream holds.
func (w *World) Len(name string) int { return len(w.stream(name).messages) }

// History is every message of a log but those that a stream has lost with its
// end: also what was purged or has aged out.
func (w *World) History(of broker.Log) []broker.Message {
	return w.stream(of.Topic).history(func(s subject) bool { return s.log == of })
}

// CommitHistory is every commit of a partition but those that were lost.
func (w *World) CommitHistory(processor string, partition int) []broker.Message {
	of := commitsOf(processor, partition)
	return w.stream(Commits).history(func(s subject) bool { return s == of })
}

func (s *stream) history(of func(subject) bool) []broker.Message {
	var found []broker.Message
	for _, part := range [][]message{s.aged, s.messages} {
		for _, m := range part {
			if of(m.subject) {
				found = append(found, m.Message)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b broker.Message) int { return int(int64(a.Position) - int64(b.Position)) })
	return found
}

// Each gives every message that the streams hold, in order of stream and
// position.
func (w *World) Each(each func(stream string, m broker.Message)) {
	for _, name := range slices.Sorted(maps.Keys(w.streams)) {
		for _, m := range w.streams[name].messages {
			each(name, m.Message)
		}
	}
}

// Started tells whether the mark of a started partition stands.
func (w *World) Started(processor string, partition int) bool {
	return slices.ContainsFunc(w.stream(Snapshots).messages, func(m message) bool { return m.subject == startOf(processor, partition) })
}

func startOf(processor string, partition int) subject {
	return subject{broker.Log{Topic: "start of " + processor, Partition: partition}, processor}
}

func commitsOf(processor string, partition int) subject {
	return subject{broker.Log{Topic: "commits of " + processor, Partition: partition}, processor}
}

func snapshotsOf(processor string, partition int) subject {
	return subject{broker.Log{Topic: "snapshots of " + processor, Partition: partition}, processor}
}

// Commits is the commit log of a processor's partition.
func (b *Broker) Commits(processor string, partition int) commitlog.Chain {
	return &chain{b, Commits, commitsOf(processor, partition)}
}

// Snapshots holds the parts of its snapshots.
func (b *Broker) Snapshots(processor string, partition int) commitlog.Chain {
	return &chain{b, Snapshots, snapshotsOf(processor, partition)}
}

// Started holds one entry from its first commit on.
func (b *Broker) Started(processor string, partition int) commitlog.Chain {
	return &chain{b, Snapshots, startOf(processor, partition)}
}

// Rows is what one source has routed to a log.
func (b *Broker) Rows(to broker.Log, processor string, source int) commitlog.Chain {
	return &chain{b, to.Topic, subject{to, sourceName(processor, source)}}
}

func sourceName(processor string, source int) string {
	return processor + "/" + strconv.Itoa(source)
}

// Destinations are the logs that hold rows of a source.
func (b *Broker) Destinations(ctx context.Context, processor string, source int) (found []broker.Log, err error) {
	var logs []broker.Log
	err = b.do(ctx, &call{what: fmt.Sprintf("destinations of %s/%d", processor, source), reads: true, effect: func() error {
		for _, topic := range broker.RowTopics() {
			for _, m := range b.world.stream(topic).messages {
				if m.subject.source == sourceName(processor, source) && !slices.Contains(logs, m.subject.log) {
					logs = append(logs, m.subject.log)
				}
			}
		}
		return nil
	}})
	if err == nil {
		found = logs
	}
	return found, err
}

// MaxPayload is the longest message in bytes.
func (b *Broker) MaxPayload() int { return maxPayload }

// chain is the messages of one source in a log.
type chain struct {
	*Broker
	in string
	of subject
}

func (c *chain) named(what string) string {
	return fmt.Sprintf("%s %s/%d %s", what, c.of.log.Topic, c.of.log.Partition, c.of.source)
}

// sees tells whether the chain's holder sees a message.
func (c *chain) sees(m *message) bool {
	if m.subject != c.of {
		return false
	}
	switch c.world.Mutation {
	case StaleTail:
		return c.in != Commits || m.by == c.Broker || time.Now().UnixMicro()-m.AppendedAt > stale.Microseconds()
	case ForgetStart:
		return m.subject != startOf(c.of.source, c.of.log.Partition)
	}
	return true
}

// last is the newest message as the chain's holder sees it.
func (c *chain) last() commitlog.Entry {
	messages := c.world.stream(c.in).messages
	for i := len(messages) - 1; i >= 0; i-- {
		if c.sees(&messages[i]) {
			return entry(&messages[i])
		}
	}
	return commitlog.Entry{}
}

func (c *chain) Last(ctx context.Context) (commitlog.Entry, error) {
	return c.read(ctx, "last of", c.last)
}

func (c *chain) At(ctx context.Context, position uint64) (commitlog.Entry, error) {
	return c.read(ctx, fmt.Sprintf("at %d of", position), func() commitlog.Entry { return c.at(position) })
}

func (c *chain) at(position uint64) commitlog.Entry {
	s := c.world.stream(c.in)
	for i := s.after(max(position, 1) - 1); i < len(s.messages); i++ {
		if c.sees(&s.messages[i]) {
			return entry(&s.messages[i])
		}
	}
	return commitlog.Entry{}
}

func (c *chain) read(ctx context.Context, what string, find func() commitlog.Entry) (commitlog.Entry, error) {
	var found commitlog.Entry
	err := c.do(ctx, &call{what: c.named(what), reads: true, effect: func() error {
		found = find()
		return nil
	}})
	if err != nil {
		return commitlog.Entry{}, err
	}
	return found, nil
}

// Scan reads up to four entries by one call.
func (c *chain) Scan(ctx context.Context, from, to uint64, each func(commitlog.Entry) error) error {
	for position := max(from, 1); position <= to; {
		var found []commitlog.Entry
		err := c.do(ctx, &call{what: c.named(fmt.Sprintf("scan from %d of", position)), reads: true, effect: func() error {
			for next := position; len(found) < 4; {
				e := c.at(next)
				if e.Position == 0 || e.Position > to {
					return nil
				}
				found = append(found, e)
				next = e.Position + 1
			}
			return nil
		}})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		for _, e := range found {
			if err := each(e); err != nil {
				return err
			}
			position = e.Position + 1
		}
	}
	return nil
}

func (c *chain) Append(ctx context.Context, payload []byte, after uint64) (uint64, error) {
	payload = bytes.Clone(payload)
	var position uint64
	err := c.do(ctx, &call{what: c.named(fmt.Sprintf("append after %d to", after)), chained: true, effect: func() error {
		if c.last().Position != after && c.world.Mutation != IgnoreCondition {
			return commitlog.ErrConflict
		}
		position = c.world.stream(c.in).append(c.Broker, c.of, payload)
		return nil
	}})
	if err != nil {
		return 0, err
	}
	return position, nil
}

func (c *chain) Purge(ctx context.Context, before uint64) error {
	return c.do(ctx, &call{what: c.named(fmt.Sprintf("purge before %d of", before)), effect: func() error {
		c.world.stream(c.in).purge(c.of, before)
		return nil
	}})
}

// purge removes the messages of a subject before a position.
func (s *stream) purge(of subject, before uint64) {
	var kept []message
	for _, m := range s.messages {
		if m.subject == of && m.Position < before {
			s.aged = append(s.aged, m)
		} else {
			kept = append(kept, m)
		}
	}
	s.messages = kept
}

func entry(m *message) commitlog.Entry {
	return commitlog.Entry{Position: m.Position, Payload: bytes.Clone(m.Payload)}
}
