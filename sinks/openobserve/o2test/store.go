package o2test

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/s2"
)

// streamKey names a stream: a type is part of the name (contract §1.3).
type streamKey struct{ org, kind, name string }

// streamName reads the name of a stream as the methods of Server take it.
func streamName(text string) streamKey {
	key := streamKey{defaultOrg, "logs", text}
	switch parts := strings.Split(text, "/"); len(parts) {
	case 2:
		key.org, key.name = parts[0], parts[1]
	case 3:
		key = streamKey{parts[0], parts[1], parts[2]}
	}
	return key
}

// String is the shortest name that streamName reads.
func (k streamKey) String() string {
	switch {
	case k.kind != "logs":
		return k.org + "/" + k.kind + "/" + k.name
	case k.org != defaultOrg:
		return k.org + "/" + k.name
	}
	return k.name
}

// stream is one stream.
type stream struct {
	key     streamKey
	created int64 // µs

	mu sync.Mutex
	held
	settings settings
	strange  bool // see batch
	runs     map[string][]run
	byID     rowIndex
}

// held is what is stored of a stream: its rows in blocks, one per request. A
// copy stays as it is whatever is stored later.
type held struct {
	schema *schema
	blocks []block
	rows   int
	cuts   int // how often rows were lost
}

// snapshot is what is stored now.
func (s *stream) snapshot() held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// block is the rows of one request, compressed.
type block struct {
	first  int    // row
	serial uint64 // of all blocks of the server
	at     int64  // when it was stored, µs
	packed []byte
	times  []int64
	ids    []uint64
	oldest int64 // of the times
	newest int64
}

// rowIndex finds rows by the hash of their row_id. It is made when a search
// first needs it, and extended when one needs it again.
type rowIndex struct {
	last    map[uint64]int // hash -> 1 + its last row
	earlier []int          // row -> 1 + the row before with the same hash
}

func newStream(key streamKey, created int64) *stream {
	return &stream{key: key, created: created, held: held{schema: noColumns}, settings: newSettings(), runs: map[string][]run{}}
}

// lines gives the rows of a block as NDJSON.
func (b *block) lines() []byte {
	text, err := s2.Decode(nil, b.packed)
	if err != nil {
		panic(err) // it was packed here
	}
	return text
}

// append stores a batch, whose rows come packed. It tells whether it did: more
// columns than the limit lose all of it, unless they are just those of the stream
// (contract §1.6, §12 row 29).
func (s *stream) append(b *batch, packed []byte, on *Server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.schema.with(b.changes(), b.rules.profile)
	if b.union > on.config.ColumnLimit && (next != s.schema || b.union != len(s.schema.columns)) {
		return false
	}
	s.schema = next
	s.strange = s.strange || b.strange
	for _, r := range b.runs {
		r.first += s.rows
		s.runs[r.batch] = append(s.runs[r.batch], r)
	}
	s.blocks = append(s.blocks, block{s.rows, on.serial.Add(1), on.now().UnixMicro(), packed, b.times, b.ids, slices.Min(b.times), slices.Max(b.times)})
	s.rows += len(b.times)
	return true
}

// cut drops the newest block.
func (s *stream) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts++
	last := len(s.blocks) - 1
	s.rows = s.blocks[last].first
	s.blocks = slices.Clip(s.blocks[:last]) // copies keep the lost one
	for id, runs := range s.runs {
		for len(runs) > 0 && runs[len(runs)-1].first >= s.rows {
			runs = runs[:len(runs)-1]
		}
		if s.runs[id] = runs; len(runs) == 0 {
			delete(s.runs, id)
		}
	}
	s.byID = rowIndex{}
}

// block is the place of the block that holds a row.
func (s *held) block(row int) int {
	i, found := slices.BinarySearchFunc(s.blocks, row, func(b block, row int) int { return cmp.Compare(b.first, row) })
	if !found {
		i--
	}
	return i
}

// rowsOf gives the rows that have a row_id, newest last.
func (s *stream) rowsOf(id string) (rows []int) {
	x := &s.byID
	if x.last == nil {
		x.last = map[uint64]int{}
	}
	if from := len(x.earlier); from < s.rows {
		for _, b := range s.blocks[s.block(from):] {
			for _, hash := range b.ids[max(0, from-b.first):] {
				x.earlier = append(x.earlier, x.last[hash])
				x.last[hash] = len(x.earlier)
			}
		}
	}
	for at := x.last[hashOf([]byte(id))]; at > 0; at = x.earlier[at-1] {
		rows = append(rows, at-1)
	}
	slices.Reverse(rows)
	return rows
}

// visible is how many rows a query can see: those that came later are not found.
func (s *held) visible(c *query) int {
	for i := len(s.blocks) - 1; i >= 0; i-- {
		if b := &s.blocks[i]; b.at <= c.visible {
			return b.first + len(b.times)
		}
	}
	return 0
}

// scanned counts the rows that are in the time of a query, and visible.
func (s *held) scanned(c *query) (n int) {
	visible := s.visible(c)
	for i := range s.blocks {
		b := &s.blocks[i]
		switch {
		case b.first >= visible:
			return n
		case b.oldest >= c.start && b.newest < c.end:
			n += len(b.times)
		case b.newest >= c.start && b.oldest < c.end:
			for _, at := range b.times {
				if at >= c.start && at < c.end {
					n++
				}
			}
		}
	}
	return n
}
