package files

import (
	"maps"
	"slices"
	"sync"

	"github.com/flightlog/flightlog/broker"
)

// Written is what a sink has written of a topic since it was opened.
type Written struct {
	Topic string `json:"topic"`
	// Rows, or events of the topic events.
	Rows int64 `json:"rows"`
	// Unreadable events were passed over: the sessions processor makes dead
	// letters of them, which hold them.
	Unreadable int64 `json:"unreadable,omitempty"`
}

// Progress is how far Drain has come.
type Progress struct {
	// Done and Total count positions of the logs: they grow faster than
	// messages, and not evenly.
	Done, Total uint64
}

// Written tells what was written so far, by topic. Safe for concurrent use.
func (s *Sink) Written() []Written {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	var all []Written
	for _, topic := range slices.Sorted(maps.Keys(s.tally.topics)) {
		all = append(all, *s.tally.topics[topic])
	}
	return all
}

// Progress tells how far Drain has come. Safe for concurrent use.
func (s *Sink) Progress() Progress {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	return s.tally.progress
}

// tally counts what a sink does.
type tally struct {
	mu       sync.Mutex
	topics   map[string]*Written
	progress Progress
	ends     map[broker.Log]uint64 // that Drain reads up to
}

// ahead adds what there is to read of a log.
func (t *tally) ahead(l stretch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends == nil {
		t.ends = map[broker.Log]uint64{}
	}
	if l.end > l.after {
		t.ends[l.log] = l.end
		t.progress.Total += l.end - l.after
	}
}

// passed counts that a log was read from one position to another.
func (t *tally) passed(log broker.Log, from, to uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if to = min(to, t.ends[log]); to > from {
		t.progress.Done += to - from
	}
}

// took counts a message.
func (t *tally) took(f *frame, news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.topics == nil {
		t.topics = map[string]*Written{}
	}
	w := t.topics[f.log.Topic]
	if w == nil {
		w = &Written{Topic: f.log.Topic}
		t.topics[f.log.Topic] = w
	}
	if news {
		w.Rows += int64(f.count)
		w.Unreadable += int64(f.unreadable)
	}
}
