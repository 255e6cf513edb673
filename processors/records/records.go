// Package records is how processors encode the records of their state: a version
// byte, varints, and texts with their length before them.
package records

import (
	"encoding/binary"
	"errors"

	"github.com/flightlog/flightlog/schemas"
)

// version of the encoding; what a record gains stands behind what it had.
const version = 1

// ErrDamaged tells that bytes are no record, or end too early.
var ErrDamaged = errors.New("state record is damaged")

// Writer appends the fields of a record.
type Writer []byte

// New begins a record of about that many bytes.
func New(size int) Writer { return append(make(Writer, 0, size), version) }

// Uint appends a number without sign.
func (w *Writer) Uint(v uint64) { *w = binary.AppendUvarint(*w, v) }

// Int appends numbers.
func (w *Writer) Int(values ...int64) {
	for _, v := range values {
		*w = binary.AppendVarint(*w, v)
	}
}

// Byte appends bytes as they are.
func (w *Writer) Byte(b ...byte) { *w = append(*w, b...) }

// Bool appends a byte.
func (w *Writer) Bool(v bool) {
	if v {
		w.Byte(1)
	} else {
		w.Byte(0)
	}
}

// Bytes appends bytes with their length.
func (w *Writer) Bytes(b []byte) {
	w.Uint(uint64(len(b)))
	*w = append(*w, b...)
}

// Text appends a text.
func (w *Writer) Text(t string) {
	w.Uint(uint64(len(t)))
	*w = append(*w, t...)
}

// ID appends an id.
func (w *Writer) ID(id schemas.Id) { *w = append(*w, id[:]...) }

// IDs appends ids with their number.
func (w *Writer) IDs(ids []schemas.Id) {
	w.Uint(uint64(len(ids)))
	for _, id := range ids {
		w.ID(id)
	}
}

// Reader reads the fields of a record in the order in which they were written. At
// the end of a damaged one all that it gives is nothing.
type Reader struct {
	rest []byte
	bad  bool
}

// Read begins with a record, of which it keeps no copy.
func Read(b []byte) Reader {
	r := Reader{rest: b}
	r.bad = r.Byte() != version
	return r
}

// Uint reads a number without sign.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Int reads a number.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Ints reads numbers.
func (r *Reader) Ints(to ...*int64) {
	for _, v := range to {
		*v = r.Int()
	}
}

// Take reads as many bytes as they are; they belong to the record.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	v := r.rest[:n:n]
	r.rest = r.rest[n:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if v := r.Take(1); v != nil {
		return v[0]
	}
	return 0
}

// Bool reads a byte.
func (r *Reader) Bool() bool { return r.Byte() != 0 }

// Bytes reads bytes with their length; they belong to the record.
func (r *Reader) Bytes() []byte { return r.Take(r.Uint()) }

// Text reads a text.
func (r *Reader) Text() string { return string(r.Bytes()) }

// ID reads an id.
func (r *Reader) ID() (id schemas.Id) {
	copy(id[:], r.Take(uint64(len(id))))
	return id
}

// IDs reads ids with their number.
func (r *Reader) IDs() (ids []schemas.Id) {
	for range r.Count() {
		ids = append(ids, r.ID())
	}
	return ids
}

// Count reads how many items follow; no more than there are bytes.
func (r *Reader) Count() uint64 {
	n := r.Uint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return 0
	}
	return n
}

// Rest is what was not read yet.
func (r *Reader) Rest() []byte { return r.rest }

// Err tells whether the record was damaged, as far as it was read.
func (r *Reader) Err() error {
	if r.bad {
		return ErrDamaged
	}
	return nil
}
