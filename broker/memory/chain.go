package memory

import (
	"bytes"
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
)

// Topics that no reader gets at, each followed by a processor.
const (
	commits   = "commits of "
	snapshots = "snapshots of "
	started   = "start of "
)

// Commits is the commit log of a processor's partition.
func (l *logs) Commits(processor string, partition int) commitlog.Chain {
	return &chain{l, broker.Log{Topic: commits + processor, Partition: partition}, processor}
}

// Snapshots holds the parts of its snapshots.
func (l *logs) Snapshots(processor string, partition int) commitlog.Chain {
	return &chain{l, broker.Log{Topic: snapshots + processor, Partition: partition}, processor}
}

// Started holds one entry from its first commit on.
func (l *logs) Started(processor string, partition int) commitlog.Chain {
	return &chain{l, broker.Log{Topic: started + processor, Partition: partition}, processor}
}

// Rows is what one source has routed to a log.
func (l *logs) Rows(to broker.Log, processor string, source int) commitlog.Chain {
	return &chain{l, to, sourceName(processor, source)}
}

// Destinations are the logs that hold rows of a source.
func (l *logs) Destinations(_ context.Context, processor string, source int) ([]broker.Log, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []broker.Log
	for of, log := range l.logs {
		if broker.IsRowTopic(of.Topic) && log.last(sourceName(processor, source)).Position != 0 {
			found = append(found, of)
		}
	}
	return found, nil
}

// MaxPayload is the longest message in bytes.
func (l *logs) MaxPayload() int { return maxPayload }

func sourceName(processor string, source int) string {
	return processor + "/" + strconv.Itoa(source)
}

// chain is the messages of one source in a log.
type chain struct {
	*logs
	of     broker.Log
	source string
}

func (c *chain) Last(ctx context.Context) (commitlog.Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log(c.of).last(c.source), ctx.Err()
}

func (c *chain) At(ctx context.Context, position uint64) (commitlog.Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.log(c.of)
	for i := l.after(position - 1); i < len(l.messages); i++ {
		if l.sources[i] == c.source {
			return entry(l.messages[i]), ctx.Err()
		}
	}
	return commitlog.Entry{}, ctx.Err()
}

func (c *chain) Scan(ctx context.Context, from, to uint64, each func(commitlog.Entry) error) error {
	for position := max(from, 1); position <= to; position++ {
		e, err := c.At(ctx, position)
		if err != nil {
			return err
		}
		if e.Position == 0 || e.Position > to {
			return nil
		}
		if err := each(e); err != nil {
			return err
		}
		position = e.Position
	}
	return nil
}

func (c *chain) Append(ctx context.Context, payload []byte, after uint64) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("%w: %w", ctx.Err(), broker.ErrRetry)
	case c.log(c.of).last(c.source).Position != after:
		return 0, commitlog.ErrConflict
	}
	position := c.append(c.of, c.source, payload)
	if c.loseAck && strings.HasPrefix(c.of.Topic, commits) {
		c.loseAck = false
		return 0, broker.ErrUnknown
	}
	return position, nil
}

func (c *chain) Purge(ctx context.Context, before uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, old := c.log(c.of), *c.log(c.of)
	l.messages, l.sources = nil, nil
	for i, m := range old.messages {
		if old.sources[i] != c.source || m.Position >= before {
			l.messages, l.sources = append(l.messages, m), append(l.sources, old.sources[i])
		}
	}
	return ctx.Err()
}

// last is the newest message of a source ("" = of any).
func (l *log) last(source string) commitlog.Entry {
	for i := len(l.messages) - 1; i >= 0; i-- {
		if source == "" || l.sources[i] == source {
			return entry(l.messages[i])
		}
	}
	return commitlog.Entry{}
}

// after is the index of the first message behind a position.
func (l *log) after(position uint64) int {
	return sort.Search(len(l.messages), func(i int) bool { return l.messages[i].Position > position })
}

func entry(m broker.Message) commitlog.Entry {
	return commitlog.Entry{Position: m.Position, Payload: bytes.Clone(m.Payload)}
}
