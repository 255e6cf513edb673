package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// What can be wrong with an encoded record. Every decoding error wraps one of
// them and names the record and the field.
var (
	// ErrTruncated: the bytes end before the record does.
	ErrTruncated = errors.New("truncated")
	// ErrTooLong: a string, an array or the record is over its cap.
	ErrTooLong = errors.New("over its cap")
	// ErrInvalid: no Avro encoding of the schema (varint, boolean, union
	// branch, UTF-8, header, trailing bytes).
	ErrInvalid = errors.New("invalid encoding")
)

// A reader gets the offset of its value and returns the offset after it, or
// one of these. Each hands a negative offset on, so a run of reads needs one
// check at its end.
const (
	truncated = -1 - iota
	tooLong
	invalid
)

// fault is the error of a negative offset.
func fault(i int, record, field string) error {
	cause := ErrInvalid
	switch i {
	case truncated:
		cause = ErrTruncated
	case tooLong:
		cause = ErrTooLong
	}
	return fmt.Errorf("cannot decode %s.%s: %w", record, field, cause)
}

func appendLong(b []byte, v int64) []byte {
	u := uint64(v<<1) ^ uint64(v>>63)
	if u < 0x80 {
		return append(b, byte(u))
	}
	return binary.AppendUvarint(b, u)
}

func appendString(b []byte, s string) []byte {
	return append(appendLong(b, int64(len(s))), s...)
}

func appendBytes(b, v []byte) []byte {
	return append(appendLong(b, int64(len(v))), v...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendDouble(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

func appendOptLong(b []byte, v OptLong) []byte {
	if !v.Valid {
		return append(b, 0)
	}
	return appendLong(append(b, 2), v.Value)
}

func appendOptDouble(b []byte, v OptDouble) []byte {
	if !v.Valid {
		return append(b, 0)
	}
	return appendDouble(append(b, 2), v.Value)
}

func appendOptBool(b []byte, v OptBool) []byte {
	if !v.Valid {
		return append(b, 0)
	}
	return appendBool(append(b, 2), v.Value)
}

// appendEnum writes an enum's index; a value outside of the enum as its
// default. Enums have at most 64 symbols (the generator checks), so an index
// is one byte.
func appendEnum[E ~uint8](b []byte, v, n, other E) []byte {
	if v >= n {
		v = other
	}
	return append(b, byte(v)<<1)
}

func readLong(b []byte, i int) (int64, int) {
	if uint(i) < uint(len(b)) && b[i] < 0x80 {
		return int64(b[i]>>1) ^ -int64(b[i]&1), i + 1
	}
	return readVarint(b, i)
}

func readVarint(b []byte, i int) (int64, int) {
	if i < 0 {
		return 0, i
	}
	u, n := binary.Uvarint(b[i:])
	switch {
	case n == 0:
		return 0, truncated
	case n < 0:
		return 0, invalid
	}
	return int64(u>>1) ^ -int64(u&1), i + n
}

func readInt(b []byte, i int) (int32, int) {
	v, i := readLong(b, i)
	if int64(int32(v)) != v {
		return 0, invalid
	}
	return int32(v), i
}

func readBool(b []byte, i int) (bool, int) {
	if uint(i) < uint(len(b)) && b[i] < 2 {
		return b[i] == 1, i + 1
	}
	return false, noByte(b, i)
}

// noByte is why there is no fitting byte at i.
func noByte(b []byte, i int) int {
	switch {
	case i < 0:
		return i
	case i >= len(b):
		return truncated
	}
	return invalid
}

func readDouble(b []byte, i int) (float64, int) {
	if i = skipFixed(b, i, 8); i < 0 {
		return 0, i
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b[i-8:])), i
}

// readNull reads the index of a ["null", x] union.
func readNull(b []byte, i int) (valid bool, next int) {
	if uint(i) < uint(len(b)) && b[i]&^2 == 0 {
		return b[i] == 2, i + 1
	}
	return false, noByte(b, i)
}

func readOptLong(b []byte, i int) (OptLong, int) {
	valid, i := readNull(b, i)
	if !valid {
		return OptLong{}, i
	}
	v, i := readLong(b, i)
	return OptLong{v, true}, i
}

func readOptDouble(b []byte, i int) (OptDouble, int) {
	valid, i := readNull(b, i)
	if !valid {
		return OptDouble{}, i
	}
	v, i := readDouble(b, i)
	return OptDouble{v, true}, i
}

func readOptBool(b []byte, i int) (OptBool, int) {
	valid, i := readNull(b, i)
	if !valid {
		return OptBool{}, i
	}
	v, i := readBool(b, i)
	return OptBool{v, true}, i
}

// readSymbol reads the index of an enum of n symbols; one beyond them is a
// newer writer's and becomes the default.
func readSymbol(b []byte, i int, n, other uint8) (uint8, int) {
	if uint(i) < uint(len(b)) && b[i]&0x81 == 0 && b[i]>>1 < n {
		return b[i] >> 1, i + 1
	}
	v, i := readLong(b, i)
	if v < 0 {
		return 0, invalid
	}
	return other, i
}

// readBranch reads the index of a union of n branches.
func readBranch(b []byte, i, n int) (int, int) {
	v, i := readLong(b, i)
	if v < 0 || v >= int64(n) {
		return 0, invalid
	}
	return int(v), i
}

// readSpan reads a length of at most max and returns the offsets of the bytes
// that it announces; end is negative on errors.
func readSpan(b []byte, i, max int) (start, end int) {
	n, i := readLong(b, i)
	switch {
	case i < 0:
		return 0, i
	case n < 0:
		return 0, invalid
	case n > int64(max):
		return 0, tooLong
	case n > int64(len(b)-i):
		return 0, truncated
	}
	return i, i + int(n)
}

// readString returns a string that lies in b.
func readString(b []byte, i, max int) (string, int) {
	if uint(i) < uint(len(b)) && b[i]&0x81 == 0 {
		// A length below 64, the common case.
		start := i + 1
		end := start + int(b[i]>>1)
		if end == start {
			return "", end
		}
		if end-start <= max && end <= len(b) {
			if !ascii(b, start, end) && !utf8.Valid(b[start:end]) {
				return "", invalid
			}
			return unsafe.String(&b[start], end-start), end
		}
	}
	start, end := readSpan(b, i, max)
	if end <= start {
		return "", end
	}
	if !utf8.Valid(b[start:end]) {
		return "", invalid
	}
	return unsafe.String(&b[start], end-start), end
}

// ascii tells that b[start:end] is ASCII; a false may be wrong for text at
// the end of b.
func ascii(b []byte, start, end int) bool {
	var all uint64
	for ; end-start > 8; start += 8 {
		all |= binary.LittleEndian.Uint64(b[start:])
	}
	if len(b)-start < 8 {
		return false
	}
	all |= binary.LittleEndian.Uint64(b[start:]) << (64 - 8*(end-start))
	return all&0x8080808080808080 == 0
}

// readStringCopy returns a string of its own.
func readStringCopy(b []byte, i, max int) (string, int) {
	s, i := readString(b, i, max)
	return strings.Clone(s), i
}

// readBytes returns bytes that lie in b.
func readBytes(b []byte, i, max int) ([]byte, int) {
	start, end := readSpan(b, i, max)
	if end < 0 {
		return nil, end
	}
	return b[start:end:end], end
}

// readBlock reads the head of an array's next block and returns its count, 0
// at the array's end. have items were read before, max may come in all, each
// of at least size bytes.
func readBlock(b []byte, i, have, max, size int) (n, next int) {
	count, i := readLong(b, i)
	if count < 0 {
		// A negative count is followed by the block's size in bytes.
		var block int64
		if block, i = readLong(b, i); block < 0 || block > int64(len(b)) {
			return 0, invalid
		}
		if count = -count; count < 0 {
			return 0, invalid
		}
	}
	switch {
	case i < 0:
		return 0, i
	case count > int64(max-have):
		return 0, tooLong
	case count*int64(size) > int64(len(b)-i):
		return 0, truncated
	}
	return int(count), i
}

func skipFixed(b []byte, i, size int) int {
	switch {
	case i < 0:
		return i
	case size > len(b)-i:
		return truncated
	}
	return i + size
}

func skipLong(b []byte, i int) int {
	_, i = readLong(b, i)
	return i
}

func skipBool(b []byte, i int) int {
	_, i = readBool(b, i)
	return i
}

// skipText skips a string or bytes.
func skipText(b []byte, i, max int) int {
	if uint(i) < uint(len(b)) && b[i] == 0 {
		return i + 1
	}
	_, i = readSpan(b, i, max)
	return i
}

// clone is b's bytes in memory of their own.
func clone(b []byte) []byte {
	c := make([]byte, len(b))
	copy(c, b)
	return c
}

// extend makes s longer by n items, in its own memory where that is enough.
// The new items hold what that memory held: decoding sets every field.
func extend[T any](s []T, n int) []T {
	return slices.Grow(s, n)[:len(s)+n]
}

// capText is s cut to max bytes at a rune's boundary; bytes that are no UTF-8
// become U+FFFD.
func capText(s string, max int) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s[:min(len(s), max)], "\uFFFD")
	}
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
