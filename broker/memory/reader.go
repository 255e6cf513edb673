package memory

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/flightlog/flightlog/broker"
)

// reader is a [broker.Reader].
type reader struct {
	b      *Broker
	of     broker.Log
	after  uint64
	once   sync.Once
	closed chan struct{}
}

func (r *reader) Next(ctx context.Context) (broker.Message, error) {
	for {
		if err := r.state(ctx); err != nil {
			return broker.Message{}, err
		}
		r.b.mu.Lock()
		log := r.b.log(r.of)
		i, changed := log.after(r.after), log.changed
		if r.after != 0 && r.after < log.expired {
			r.b.mu.Unlock()
			return broker.Message{}, fmt.Errorf("cannot read %s/%d after %d: %w", r.of.Topic, r.of.Partition, r.after, broker.ErrLost)
		}
		if i < len(log.messages) {
			m := log.messages[i]
			m.Pending = int64(len(log.messages) - i - 1)
			r.b.mu.Unlock()
			m.Payload = bytes.Clone(m.Payload)
			r.after = m.Position
			return m, nil
		}
		r.b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		case <-r.closed:
		case <-r.b.life.Done():
		}
	}
}

// state is why the reader cannot go on.
func (r *reader) state(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-r.closed:
	case <-r.b.life.Done():
	default:
		return nil
	}
	return fmt.Errorf("cannot read %s/%d: %w", r.of.Topic, r.of.Partition, broker.ErrClosed)
}

// Passed is the end of all logs where this one has nothing left.
func (r *reader) Passed() uint64 {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	log := r.b.log(r.of)
	if log.after(r.after) == len(log.messages) {
		return r.b.end
	}
	return r.after
}

func (r *reader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
