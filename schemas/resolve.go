package schemas

import (
	"encoding/json"
	"math"
	"slices"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// resolve turns a record of an older writer's schema into the reader's: Avro's
// schema resolution for the part of the language that package avsc reads.
func resolve(writer, reader *avsc.Schema, record []byte) ([]byte, error) {
	r := resolver{in: record}
	end := r.value(writer, reader, 0)
	if end >= 0 && end != len(record) {
		end = invalid
	}
	if end < 0 {
		return nil, fault(end, writer.ShortName(), "*")
	}
	return r.out, nil
}

type resolver struct{ in, out []byte }

// value writes the value at i, of the writer's schema, by the reader's, and
// returns the offset after it, or a negative one.
func (r *resolver) value(writer, reader *avsc.Schema, i int) int {
	switch {
	case i < 0:
		return i
	case len(r.out) > maxMessage:
		return tooLong
	case writer.Kind == avsc.Union:
		branch, i := readBranch(r.in, i, len(writer.Branches))
		return r.value(writer.Branches[branch], reader, i)
	case reader.Kind == avsc.Union:
		branch := slices.IndexFunc(reader.Branches, func(b *avsc.Schema) bool { return b.Kind == writer.Kind && b.Name == writer.Name })
		if branch < 0 {
			branch = slices.IndexFunc(reader.Branches, func(b *avsc.Schema) bool { return promotes(writer.Kind, b.Kind) })
		}
		if branch < 0 {
			return invalid
		}
		r.out = appendLong(r.out, int64(branch))
		return r.value(writer, reader.Branches[branch], i)
	case writer.Kind != reader.Kind:
		return r.promoted(writer, reader, i)
	}
	switch writer.Kind {
	case avsc.Record:
		return r.record(writer, reader, i)
	case avsc.Enum:
		v, next := readLong(r.in, i)
		symbol := reader.Default
		if v >= 0 && v < int64(len(writer.Symbols)) && slices.Contains(reader.Symbols, writer.Symbols[v]) {
			symbol = writer.Symbols[v]
		}
		return r.symbol(reader, symbol, next)
	case avsc.Array:
		return r.array(writer, reader, i)
	case avsc.Fixed:
		if writer.Size != reader.Size {
			return invalid
		}
	}
	next := skipValue(writer, r.in, i)
	if next >= 0 {
		r.out = append(r.out, r.in[i:next]...)
	}
	return next
}

// promotes tells a writer's kind that a reader's kind takes in.
func promotes(writer, reader string) bool {
	switch reader {
	case avsc.Long:
		return writer == avsc.Int
	case avsc.Double:
		return writer == avsc.Int || writer == avsc.Long
	case avsc.String, avsc.Bytes:
		return writer == avsc.String || writer == avsc.Bytes
	}
	return false
}

func (r *resolver) promoted(writer, reader *avsc.Schema, i int) int {
	next := skipValue(writer, r.in, i)
	switch {
	case next < 0:
		return next
	case !promotes(writer.Kind, reader.Kind):
		return invalid
	case reader.Kind == avsc.Double:
		v, _ := readLong(r.in, i)
		r.out = appendDouble(r.out, float64(v))
	default:
		r.out = append(r.out, r.in[i:next]...)
	}
	return next
}

// record finds where each of the writer's fields is, and writes the reader's
// fields from there or by their defaults.
func (r *resolver) record(writer, reader *avsc.Schema, i int) int {
	starts := make([]int, len(writer.Fields))
	for n, f := range writer.Fields {
		starts[n] = i
		i = skipValue(f.Type, r.in, i)
	}
	for _, f := range reader.Fields {
		n := slices.IndexFunc(writer.Fields, func(w avsc.Field) bool { return w.Name == f.Name })
		end := 0
		if n >= 0 {
			end = r.value(writer.Fields[n].Type, f.Type, starts[n])
		} else {
			end = r.byDefault(f.Type, f.Default)
		}
		if end < 0 {
			return end
		}
	}
	return i
}

func (r *resolver) array(writer, reader *avsc.Schema, i int) int {
	for {
		var n int
		if n, i = readBlock(r.in, i, 0, len(r.in), 1); i < 0 {
			return i
		}
		r.out = appendLong(r.out, int64(n))
		if n == 0 {
			return i
		}
		for ; n > 0; n-- {
			i = r.value(writer.Items, reader.Items, i)
		}
	}
}

func (r *resolver) symbol(enum *avsc.Schema, symbol string, next int) int {
	v := slices.Index(enum.Symbols, symbol)
	if v < 0 {
		return invalid
	}
	r.out = appendLong(r.out, int64(v))
	return next
}

// byDefault writes a field's default; negative if there is none that fits.
func (r *resolver) byDefault(s *avsc.Schema, text json.RawMessage) int {
	var v any
	if json.Unmarshal(text, &v) != nil {
		return invalid
	}
	number, isNumber := v.(float64)
	switch {
	case s.Kind == avsc.Union: // the default is of the first branch
		r.out = append(r.out, 0)
		return r.byDefault(s.Branches[0], text)
	case s.Kind == avsc.Null && v == nil:
		return 0
	case s.Kind == avsc.Boolean && (v == true || v == false):
		r.out = appendBool(r.out, v == true)
		return 0
	case (s.Kind == avsc.Int || s.Kind == avsc.Long) && isNumber && number == math.Trunc(number):
		r.out = appendLong(r.out, int64(number))
		return 0
	case s.Kind == avsc.Double && isNumber:
		r.out = appendDouble(r.out, number)
		return 0
	}
	switch word, isWord := v.(string); {
	case !isWord && s.Kind == avsc.Array:
		if list, ok := v.([]any); ok && len(list) == 0 {
			r.out = append(r.out, 0)
			return 0
		}
	case isWord && s.Kind == avsc.String:
		r.out = appendString(r.out, word)
		return 0
	case isWord && s.Kind == avsc.Enum:
		return r.symbol(s, word, 0)
	case isWord && (s.Kind == avsc.Bytes || s.Kind == avsc.Fixed): // code points are bytes
		raw := make([]byte, 0, len(word))
		for _, c := range word {
			raw = append(raw, byte(c))
		}
		if s.Kind == avsc.Bytes {
			r.out = appendBytes(r.out, raw)
			return 0
		}
		if len(raw) == s.Size {
			r.out = append(r.out, raw...)
			return 0
		}
	}
	return invalid
}

// skipValue is the offset after the value at i, or a negative one.
func skipValue(s *avsc.Schema, b []byte, i int) int {
	switch s.Kind {
	case avsc.Boolean:
		return skipBool(b, i)
	case avsc.Int, avsc.Long, avsc.Enum:
		return skipLong(b, i)
	case avsc.Double:
		return skipFixed(b, i, 8)
	case avsc.Fixed:
		return skipFixed(b, i, s.Size)
	case avsc.String, avsc.Bytes:
		return skipText(b, i, len(b))
	case avsc.Record:
		for _, f := range s.Fields {
			i = skipValue(f.Type, b, i)
		}
	case avsc.Array:
		for n := 1; n > 0 && i >= 0; {
			n, i = readBlock(b, i, 0, len(b), 1)
			for range n {
				i = skipValue(s.Items, b, i)
			}
		}
	case avsc.Union:
		branch, i := readBranch(b, i, len(s.Branches))
		return skipValue(s.Branches[branch], b, i)
	}
	return i
}
