package engine

import (
	"container/heap"

	"github.com/flightlog/flightlog/schemas"
)

// State is the committed state of one partition: small encoded records by key,
// each with the append time from which it wants to be looked at again.
type State struct {
	records map[string]record
	timers  timers
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
		if len(c.Value) == 0 {
			delete(s.records, key)
			continue
		}
		old := s.records[key]
		s.records[key] = record{value: c.Value, due: c.Due}
		if c.Due != 0 && (old.due == 0 || c.Due < old.due) {
			heap.Push(&s.timers, timer{c.Due, key})
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

// Tx is what a fold sees of the world: the committed state under its overlay,
// the time, and a place for what it says.
type Tx struct {
	state      *State
	generation int64
	now        int64
	watermark  int64
	versions   schemas.Versions
	delta      []schemas.Change
	outputs    []output
	size       int
	touched    int
	again      bool // a record was put that is due already
}

type output struct {
	topic string
	row   []byte
}

// Now is the fold's time: the highest append time seen in the partition, µs.
func (tx *Tx) Now() int64 { return tx.now }

// Watermark of the partition, µs; 0 while no source has spoken.
func (tx *Tx) Watermark() int64 { return tx.watermark }

// Generation of log, state and rows.
func (tx *Tx) Generation() int64 { return tx.generation }

// Versions of rules, prices and directory in force at Now.
func (tx *Tx) Versions() schemas.Versions { return tx.versions }

// Get reads a committed record. The value must not be changed.
func (tx *Tx) Get(key string) (value []byte, due int64, ok bool) {
	r, ok := tx.state.records[key]
	return r.value, r.due, ok
}

// Touch tells that one more record will be put at the end.
func (tx *Tx) Touch() { tx.touched++ }

// Put stores a record at the end of the fold; an empty value deletes it. due
// is the append time from which [Fold.Due] is called for it, 0 for never.
// Records must be put in an order that does not depend on map order.
func (tx *Tx) Put(key string, value []byte, due int64) {
	tx.delta = append(tx.delta, schemas.Change{Key: []byte(key), Value: value, Due: due})
	tx.size += len(key) + len(value)
	tx.again = tx.again || due != 0 && due <= tx.now
}

// Emit says a row for a topic; the row is the transaction's from then on.
func (tx *Tx) Emit(topic string, row []byte) {
	tx.outputs = append(tx.outputs, output{topic, row})
	tx.size += len(row)
}

// Full tells that the commit has reached its size: go on in the next one.
func (tx *Tx) Full() bool { return tx.size+tx.touched*recordSize >= SoftBytes }
