package otlp

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
)

// maxJSONDepth lets an AnyValue nest 32 deep, four levels of JSON each, inside
// a request inside the envelope of a recording.
const maxJSONDepth = 4*maxValueDepth + 16

// checkJSON tells whether text is one JSON value (RFC 8259) in UTF-8, nested
// at most maxJSONDepth deep. It does not recurse, and what it accepts a cursor
// reads without any further check.
func checkJSON(text string) error {
	if !utf8.ValidString(text) {
		return &producers.BadInput{Reason: "not_utf8", Detail: "text is not UTF-8"}
	}
	var open [maxJSONDepth]byte // the brackets that are open, as their ends
	depth := 0
	c := cursor{s: text}
	for {
		switch first := c.peek(); {
		case first == '{' || first == '[':
			if depth == maxJSONDepth {
				return &producers.BadInput{Reason: "too_deep", Detail: fmt.Sprintf("nested deeper than %d", maxJSONDepth)}
			}
			c.i++
			open[depth] = first + 2 // '}' is '{'+2, ']' is '['+2
			depth++
			if c.peek() == first+2 {
				break
			}
			if first == '{' && !c.checkKey() {
				return c.notJSON()
			}
			continue
		case first == '"':
			if !c.checkString() {
				return c.notJSON()
			}
		default:
			if !c.checkScalar() {
				return c.notJSON()
			}
		}
		for { // after a value, or before the end of an empty array or object
			if depth == 0 {
				if c.peek(); c.i < len(text) {
					return c.notJSON()
				}
				return nil
			}
			next := c.peek()
			c.i++
			if next == open[depth-1] {
				depth--
				continue
			}
			if next != ',' || open[depth-1] == '}' && !c.checkKey() {
				return c.notJSON()
			}
			break
		}
	}
}

func (c *cursor) notJSON() error {
	return &producers.BadInput{Reason: "not_json", Detail: fmt.Sprintf("not JSON at byte %d of %d", min(c.i, len(c.s)), len(c.s))}
}

func (c *cursor) checkKey() bool {
	if c.peek() != '"' || !c.checkString() || c.peek() != ':' {
		return false
	}
	c.i++
	return true
}

func (c *cursor) checkString() bool {
	for i := special(c.s, c.i+1); i < len(c.s); i = special(c.s, i+1) {
		switch c.s[i] {
		case '"':
			c.i = i + 1
			return true
		case '\\':
			i++
			switch {
			case i < len(c.s) && strings.IndexByte(`"\/bfnrt`, c.s[i]) >= 0:
				continue
			case i+4 < len(c.s) && c.s[i] == 'u' && isHex(c.s[i+1:i+5]):
				i += 4
				continue
			}
		}
		c.i = i
		return false
	}
	c.i = len(c.s)
	return false
}

// special is where the next byte is, from i on, that does not stand for itself
// in a JSON string: a quote, a backslash or a control character. It looks at
// eight bytes at a time: most of a request is strings.
func special(s string, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(s); i += 8 {
		b := s[i : i+8]
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		quote, backslash := w^'"'*ones, w^'\\'*ones
		// The lowest high bit left is that of the first special byte.
		if m := ((quote-ones)&^quote | (backslash-ones)&^backslash | (w-' '*ones)&^w) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

func (c *cursor) checkScalar() bool {
	rest := c.s[c.i:]
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(rest, word) {
			c.i += len(word)
			return true
		}
	}
	digits := func() bool {
		from := c.i
		for c.i < len(c.s) && c.s[c.i]-'0' <= 9 {
			c.i++
		}
		return c.i > from
	}
	has := func(set string) bool {
		ok := c.i < len(c.s) && strings.IndexByte(set, c.s[c.i]) >= 0
		if ok {
			c.i++
		}
		return ok
	}
	has("-")
	if !has("0") && !digits() {
		return false
	}
	if has(".") && !digits() {
		return false
	}
	if has("eE") {
		has("+-")
		return digits()
	}
	return true
}

// A cursor reads a text that checkJSON has accepted, from left to right,
// without building anything: one pass where a parser that hands out nested
// pieces scans each byte once per level (measured: 6 times slower).
type cursor struct {
	s string
	i int
}

// peek is the first byte of the next token, 0 at the end.
func (c *cursor) peek() byte {
	for ; c.i < len(c.s); c.i++ {
		switch b := c.s[c.i]; b {
		case ' ', '\t', '\n', '\r':
		default:
			return b
		}
	}
	return 0
}

// skip goes over the next value and returns it as it was written.
func (c *cursor) skip() string {
	first := c.peek()
	s, from := c.s, c.i
	i := from
	switch first {
	case '"':
		i = stringEnd(s, i)
	case '{', '[':
		for depth := 1; depth > 0 && i+1 < len(s); {
			i++
			switch s[i] {
			case '"':
				i = stringEnd(s, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
		}
		i++
	default:
		for i < len(s) && s[i] > ' ' && s[i] != ',' && s[i] != '}' && s[i] != ']' {
			i++
		}
	}
	c.i = i
	return s[from:i]
}

// stringEnd is where the string that begins at i has ended.
func stringEnd(s string, i int) int {
	for i = special(s, i+1); i < len(s); i = special(s, i+1) {
		if s[i] == '"' {
			return i + 1
		}
		i++
	}
	return len(s)
}

// members calls visit with each key of the object that comes next; visit
// reads or skips the value. null is an object without members (the JSON
// mapping of Protobuf says so).
func (c *cursor) members(what string, visit func(key string) error) error {
	if c.peek() != '{' {
		if c.skip() == "null" {
			return nil
		}
		return wrongType(what, "an object")
	}
	c.i++
	for c.peek() == '"' {
		key := unquote(c.skip())
		c.peek()
		c.i++ // the colon
		if err := visit(key); err != nil {
			return err
		}
		if c.peek() == ',' {
			c.i++
		}
	}
	c.i++
	return nil
}

// elements calls visit before each element of the array that comes next;
// visit reads or skips it. null is an empty array.
func (c *cursor) elements(what string, visit func() error) error {
	if c.peek() != '[' {
		if c.skip() == "null" {
			return nil
		}
		return wrongType(what, "an array")
	}
	c.i++
	for next := c.peek(); next != ']' && next != 0; next = c.peek() {
		if err := visit(); err != nil {
			return err
		}
		if c.peek() == ',' {
			c.i++
		}
	}
	c.i++
	return nil
}

// text reads a string; null is an empty one.
func (c *cursor) text(what string) (string, error) {
	switch raw := c.skip(); {
	case raw == "null":
		return "", nil
	case raw[0] != '"':
		return "", wrongType(what, "a string")
	default:
		return unquote(raw), nil
	}
}

// micros reads a time: nanoseconds since 1970 as a number or, as the standard
// wants it, a string.
func (c *cursor) micros(what string) (int64, error) {
	raw := c.skip()
	if raw == "null" {
		return 0, nil
	}
	nanos, err := strconv.ParseInt(strings.Trim(raw, `"`), 10, 64)
	if err != nil || nanos < 0 {
		return 0, wrongType(what, "nanoseconds since 1970")
	}
	return nanos / 1000, nil
}

// find goes to the value of a key of the object that comes next.
func (c cursor) find(key string) (at cursor, ok bool) {
	_ = c.members("", func(k string) error {
		if k == key {
			ok = true
			return errFound
		}
		c.skip()
		return nil
	})
	return c, ok && c.peek() != 0
}

var errFound = errors.New("found")

func unquote(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	return gjson.Parse(raw).Str
}
