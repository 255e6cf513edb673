package main

import (
	"encoding/binary"
	"math"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// sample writes a record with every field set, straight from its schema: bytes
// that the generated codecs had no part in.
type sample struct {
	bytes  []byte
	branch int   // of unions of records
	count  int64 // values written, so that no two numbers are the same
}

func (w *sample) header(fingerprint uint64) {
	w.bytes = binary.LittleEndian.AppendUint64(append(w.bytes, 0xC3, 0x01), fingerprint)
}

func (w *sample) long(v int64) { w.bytes = binary.AppendVarint(w.bytes, v) }

func (w *sample) value(f avsc.Field, s *avsc.Schema) {
	w.count++
	switch s.Kind {
	case avsc.Boolean:
		w.bytes = append(w.bytes, 1)
	case avsc.Int:
		w.long(-1)
	case avsc.Long:
		w.long(w.count * 1_000_003)
	case avsc.Double:
		w.bytes = binary.LittleEndian.AppendUint64(w.bytes, math.Float64bits(float64(w.count)+0.25))
	case avsc.String, avsc.Bytes:
		text := f.Name + " é"
		text = text[:min(len(text), f.MaxBytes)]
		w.long(int64(len(text)))
		w.bytes = append(w.bytes, text...)
	case avsc.Fixed:
		for i := range s.Size {
			w.bytes = append(w.bytes, byte(w.count)+byte(i))
		}
	case avsc.Enum:
		w.long(int64(len(s.Symbols) - 1))
	case avsc.Record:
		for _, f := range s.Fields {
			w.value(f, f.Type)
		}
	case avsc.Array:
		w.long(2)
		w.value(f, s.Items)
		w.value(f, s.Items)
		w.long(0)
	case avsc.Union:
		i := min(w.branch, len(s.Branches)-1)
		if optional(s) != nil {
			i = 1
		}
		w.long(int64(i))
		w.value(f, s.Branches[i])
	}
}
