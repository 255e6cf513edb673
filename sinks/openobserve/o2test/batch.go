package o2test

import (
	"bytes"
	"errors"
	"hash/maphash"
)

// Names of columns that the server, or this stand-in, treats in a way of their
// own. The values of row_id and batch_id are indexed: a sink that probes what
// is there asks for them over and over.
const (
	timeColumn  = "_timestamp"
	docColumn   = "_id"
	rowColumn   = "row_id"
	batchColumn = "batch_id"
)

// errCrash: the server's handler dies on this record, and closes the connection
// without an answer (contract §12 rows 22, 52, 53).
var errCrash = errors.New("the handler crashed")

// errNotObject: what should be a record is none (contract §12 rows 17 to 19).
var errNotObject = errors.New("flatten value must be an object")

// run is a row of consecutive rows that have the same batch_id.
type run struct {
	batch    string
	first, n int
}

// batch is what one request brings for one stream: its rows, checked and in the
// form in which they are stored, and what they do to the columns. A flat record
// with normal names and a time in µs is copied as it is.
type batch struct {
	rules   *rules
	schema  *schema        // of the stream, as it was when the request began
	columns []batchField   // those of the schema first
	fresh   map[string]int // where the others are
	union   int            // columns that any row has

	rows    []byte   // NDJSON
	times   []int64  // of each row
	ids     []uint64 // of each row: hash of row_id, 0 = it has none
	runs    []run
	docs    []string // _id of each row as _bulk named it; nil when the request is another one
	strange bool     // a row_id or batch_id cannot be indexed: no string, or with escapes

	fields  []field // of the record at hand
	timeAt  int     // which of them is the time; -1 = none
	serial  uint32  // of the record at hand
	scratch []byte
}

// batchField is a column as one batch sees it.
type batchField struct {
	column
	used   bool   // a row has it
	serial uint32 // of the last record that has it
}

// field is one member of a record.
type field struct {
	column int
	kind   kind
	value  []byte
}

// newBatch makes a batch for rows of about so many bytes.
func newBatch(r *rules, s *schema, size int) *batch {
	b := &batch{rules: r, schema: s, rows: make([]byte, 0, size), columns: make([]batchField, len(s.columns), len(s.columns)+16), fresh: map[string]int{}}
	for i, c := range s.columns {
		b.columns[i].column = c
	}
	return b
}

// add takes the value that the scanner stands before. An error of the syntax
// ends the request; refused tells why this record is not stored.
func (b *batch) add(s *scanner) (refused, syntax error) {
	if s.peek() != '{' {
		if _, _, err := s.value(1); err != nil {
			return nil, err
		}
		return errNotObject, nil
	}
	from := s.pos
	s.broken = false
	plain, err := b.walk(s)
	if err != nil {
		return nil, err
	}
	raw := s.data[from:s.pos]
	if plain && !s.broken {
		if at := b.micros(); at != 0 {
			if err := b.rules.window(at); err != nil {
				return err, nil
			}
			return b.take(raw, at), nil
		}
	}
	raw, at, err := b.rules.normalise(raw, b.scratch[:0])
	if err != nil {
		return err, nil
	}
	b.scratch = raw
	if _, err := b.walk(&scanner{data: raw}); err != nil {
		return nil, err
	}
	return b.take(raw, at), nil
}

// walk takes an object and notes its members. It tells whether the record can be
// stored as it is: flat, with names that are normal and no two of them equal.
func (b *batch) walk(s *scanner) (plain bool, err error) {
	b.fields, b.timeAt = b.fields[:0], -1
	b.serial++
	plain = true
	next := 0
	s.pos++
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return plain, err
		}
		k, value, err := s.value(2)
		if err != nil {
			return false, err
		}
		if k >= kindArray {
			plain = false
		}
		if !plain {
			continue // only the syntax still matters
		}
		// Records mostly have the same columns in the same order.
		if next >= len(b.columns) || b.columns[next].name != string(key) {
			if next = b.find(key); next < 0 {
				plain = false
				continue
			}
		}
		c := &b.columns[next]
		if c.serial == b.serial {
			plain = false
			continue
		}
		c.serial = b.serial
		if c.name == timeColumn {
			b.timeAt = len(b.fields)
		}
		b.fields = append(b.fields, field{next, k, value})
		next++
	}
}

// find is the column of a name, made if need be; -1 for a name that is not in
// normal form.
func (b *batch) find(key []byte) int {
	if i, ok := b.schema.byName[string(key)]; ok {
		return i
	}
	if i, ok := b.fresh[string(key)]; ok {
		return i
	}
	name := string(key)
	if normalName(name) != name {
		return -1
	}
	b.fresh[name] = len(b.columns)
	b.columns = append(b.columns, batchField{column: column{name: name}})
	return len(b.columns) - 1
}

// micros is the time of the record at hand, if it is an integer in µs; else 0.
func (b *batch) micros() int64 {
	if b.timeAt < 0 || b.fields[b.timeAt].kind != kindInt {
		return 0
	}
	n := int64(0)
	for _, c := range b.fields[b.timeAt].value {
		if c == '-' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	if n <= milliLimit || n > microLimit {
		return 0
	}
	return n
}

var hashSeed = maphash.MakeSeed()

// hashOf is never 0.
func hashOf(id []byte) uint64 { return maphash.Bytes(hashSeed, id) | 1 }

// take appends the record that was walked.
func (b *batch) take(raw []byte, at int64) error {
	for _, f := range b.fields {
		if f.kind != kindString && b.columns[f.column].name == docColumn {
			return errCrash
		}
	}
	id := uint64(0)
	for _, f := range b.fields {
		if f.kind == kindNull {
			continue
		}
		c := &b.columns[f.column]
		if !c.used {
			c.used = true
			b.union++
		}
		c.typ = widen(c.typ, f.kind, b.rules.profile)
		switch c.name {
		case rowColumn:
			if text, ok := b.indexable(f); ok {
				id = hashOf(text)
			}
		case batchColumn:
			if text, ok := b.indexable(f); ok {
				b.extend(text)
			}
		}
	}
	b.rows = append(append(b.rows, raw...), '\n')
	b.times = append(b.times, at)
	b.ids = append(b.ids, id)
	return nil
}

func (b *batch) indexable(f field) ([]byte, bool) {
	if f.kind != kindString || bytes.IndexByte(f.value, '\\') >= 0 {
		b.strange = true
		return nil, false
	}
	return f.value[1 : len(f.value)-1], true
}

// extend notes the batch_id of the row that comes next.
func (b *batch) extend(id []byte) {
	row := len(b.times)
	if n := len(b.runs); n > 0 {
		if r := &b.runs[n-1]; r.first+r.n == row && r.batch == string(id) {
			r.n++
			return
		}
	}
	b.runs = append(b.runs, run{string(id), row, 1})
}

// changes are the columns that the batch adds or widens.
func (b *batch) changes() map[string]columnType {
	var changes map[string]columnType
	for i, c := range b.columns {
		if !c.used || i < len(b.schema.columns) && c.typ == b.schema.columns[i].typ {
			continue
		}
		if changes == nil {
			changes = map[string]columnType{}
		}
		changes[c.name] = c.typ
	}
	return changes
}

// keep drops all rows but those for which the predicate holds.
func (b *batch) keep(holds func(row int) bool) {
	rest, kept := b.rows, *b
	b.rows, b.times, b.ids, b.runs, b.docs = nil, nil, nil, nil, nil
	runs := kept.runs
	for row := range kept.times {
		end := bytes.IndexByte(rest, '\n') + 1
		line := rest[:end]
		rest = rest[end:]
		for len(runs) > 0 && row >= runs[0].first+runs[0].n {
			runs = runs[1:]
		}
		if !holds(row) {
			continue
		}
		if len(runs) > 0 && row >= runs[0].first {
			b.extend([]byte(runs[0].batch))
		}
		b.rows = append(b.rows, line...)
		b.times = append(b.times, kept.times[row])
		b.ids = append(b.ids, kept.ids[row])
		if kept.docs != nil {
			b.docs = append(b.docs, kept.docs[row])
		}
	}
}
