package engine

import (
	"container/heap"
	"iter"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// State is the committed state of one partition: small encoded records by key,
// each with the append time from which it wants to be looked at again.
type State struct {
	records map[string]record
	timers  timers
	bytes   int64 // of keys and values
	ordered ordered
}

// ordered is the keys with a prefix in order, while somebody walks over them.
type ordered struct {
	prefix string   // "" = nobody does
	keys   []string // some may be deleted
	added  []string // since, in no order
}

// keys are up to n keys that begin with prefix and come after another one.
func (s *State) keys(prefix, after string, n int) (keys []string) {
	o := &s.ordered
	if o.prefix != prefix {
		*o = ordered{prefix: prefix}
		for key := range s.records {
			if strings.HasPrefix(key, prefix) {
				o.added = append(o.added, key)
			}
		}
	}
	if len(o.added) > 0 {
		o.keys = append(o.keys, o.added...)
		slices.Sort(o.keys)
		o.keys, o.added = slices.Compact(o.keys), nil
	}
	i, found := slices.BinarySearch(o.keys, after)
	if found {
		i++
	}
	for ; i < len(o.keys) && len(keys) < n; i++ {
		if _, ok := s.records[o.keys[i]]; ok {
			keys = append(keys, o.keys[i])
		}
	}
	if len(keys) < n {
		*o = ordered{} // the walk has come to its end
	}
	return keys
}

type record struct {
	value []byte
	due   int64
}

func newState() *State { return &State{records: map[string]record{}} }

// apply merges a delta that is committed. The values are the state's from then
// on.
func (s *State) apply(delta []schemas.Change) {
	for i := range delta {
		c := &delta[i]
		key := string(c.Key)
		old, known := s.records[key]
		if known {
			s.bytes -= int64(len(key) + len(old.value))
		}
		if len(c.Value) == 0 {
			delete(s.records, key)
			continue
		}
		s.bytes += int64(len(key) + len(c.Value))
		if !known && s.ordered.prefix != "" && strings.HasPrefix(key, s.ordered.prefix) {
			s.ordered.added = append(s.ordered.added, key)
		}
		s.records[key] = record{value: c.Value, due: c.Due}
		if c.Due != 0 && (old.due == 0 || c.Due < old.due) {
			heap.Push(&s.timers, timer{c.Due, key})
		}
	}
}

// all gives every record, in no order. The state may change meanwhile: what is
// deleted before its turn does not come, what is new may.
func (s *State) all() iter.Seq[schemas.Change] {
	return func(yield func(schemas.Change) bool) {
		for key, r := range s.records {
			if !yield(schemas.Change{Key: []byte(key), Value: r.value, Due: r.due}) {
				return
			}
		}
	}
}

// nextDue is the earliest time at which a record is due, 0 if none is.
func (s *State) nextDue() int64 {
	for len(s.timers) > 0 {
		t := s.timers[0]
		r, ok := s.records[t.key]
		if ok && r.due == t.due {
			return t.due
		}
		heap.Pop(&s.timers)
		if ok && r.due > t.due { // moved to later: it was not pushed then
			heap.Push(&s.timers, timer{r.due, t.key})
		}
	}
	return 0
}

// due returns up to n keys whose time has come, earliest first, by key where
// times are equal. The queue keeps them until a commit moves their time.
func (s *State) due(now int64, n int) []string {
	var keys []string
	var taken []timer
	for len(keys) < n {
		at := s.nextDue()
		if at == 0 || at > now {
			break
		}
		t := heap.Pop(&s.timers).(timer)
		taken = append(taken, t)
		if len(keys) == 0 || keys[len(keys)-1] != t.key {
			keys = append(keys, t.key)
		}
	}
	for _, t := range taken {
		heap.Push(&s.timers, t)
	}
	return keys
}

type timer struct {
	due int64
	key string
}

// timers is a min-heap of (due, key). An entry may be stale: the record's own
// due is the truth, and no record is due before its earliest entry.
type timers []timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return t[i].due < t[j].due || t[i].due == t[j].due && t[i].key < t[j].key
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)   { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}
