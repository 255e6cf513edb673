package o2test

import (
	"bytes"
	"fmt"
)

// kind is what a JSON value is, as far as a column's type cares.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt   // fits an int64
	kindUint  // fits an uint64 only
	kindBig   // an integer beyond 64 bits
	kindFloat // has a fraction or an exponent
	kindString
	kindArray
	kindObject
)

// syntaxError is a JSON syntax error in the words of the server's parser.
type syntaxError struct {
	text         string
	line, column int
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("%s at line %d column %d", e.text, e.line, e.column)
}

// maxDepth is how deep arrays and objects may be nested.
const maxDepth = 127

// scanner walks JSON strictly and once, without building values. Its errors
// name the place as the server does (contract §12 rows 15, 16, 21, 40, 51).
type scanner struct {
	data []byte
	pos  int
	// broken tells that white space outside of strings held a line break since
	// it was last reset.
	broken bool
}

// fail is the error at the place where the scanner stands.
func (s *scanner) fail(text string) error {
	seen := s.data[:min(len(s.data), s.pos+1)]
	return &syntaxError{text, 1 + bytes.Count(seen, newline), len(seen) - 1 - bytes.LastIndexByte(seen, '\n')}
}

var newline = []byte{'\n'}

// peek skips white space and gives the next byte without taking it; 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t':
		case '\n', '\r':
			s.broken = true
		default:
			return c
		}
		s.pos++
	}
	return 0
}

// end checks that nothing but white space is left.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.data) {
		return s.fail("trailing characters")
	}
	return nil
}

// value takes one value, of which it tells the kind and the bytes.
func (s *scanner) value(depth int) (kind, []byte, error) {
	c := s.peek()
	from := s.pos
	var k kind
	var err error
	switch {
	case c == '"':
		k, err = kindString, s.str()
	case c == '{':
		k, err = kindObject, s.nested(depth, true)
	case c == '[':
		k, err = kindArray, s.nested(depth, false)
	case c == 't':
		k, err = kindBool, s.ident("true")
	case c == 'f':
		k, err = kindBool, s.ident("false")
	case c == 'n':
		k, err = kindNull, s.ident("null")
	case c == '-' || c >= '0' && c <= '9':
		k, err = s.number()
	case from == len(s.data):
		err = s.fail("EOF while parsing a value")
	default:
		err = s.fail("expected value")
	}
	return k, s.data[from:s.pos], err
}

// nested takes an object or array and checks all that is in it.
func (s *scanner) nested(depth int, object bool) error {
	if depth >= maxDepth {
		return s.fail("recursion limit exceeded")
	}
	s.pos++
	for first := true; ; first = false {
		var more bool
		var err error
		if object {
			_, more, err = s.key(first)
		} else {
			more, err = s.element(first)
		}
		if err != nil || !more {
			return err
		}
		if _, _, err := s.value(depth + 1); err != nil {
			return err
		}
	}
}

// element moves to the next element of an array, or behind its end.
func (s *scanner) element(first bool) (bool, error) {
	c := s.peek()
	switch {
	case s.pos == len(s.data):
		return false, s.fail("EOF while parsing a list")
	case c == ']':
		s.pos++
		return false, nil
	case first:
		return true, nil
	case c != ',':
		return false, s.fail("expected `,` or `]`")
	}
	s.pos++
	if s.peek() == ']' {
		return false, s.fail("trailing comma")
	}
	return true, nil
}

// key takes the next key of an object, without its quotes, and the colon; or
// moves behind the object's end.
func (s *scanner) key(first bool) (key []byte, more bool, err error) {
	c := s.peek()
	switch {
	case s.pos == len(s.data):
		return nil, false, s.fail("EOF while parsing an object")
	case c == '}':
		s.pos++
		return nil, false, nil
	case !first && c != ',':
		return nil, false, s.fail("expected `,` or `}`")
	case !first:
		s.pos++
		if c = s.peek(); c == '}' {
			return nil, false, s.fail("trailing comma")
		}
	}
	switch {
	case s.pos == len(s.data):
		return nil, false, s.fail("EOF while parsing a value")
	case c != '"':
		return nil, false, s.fail("key must be a string")
	}
	from := s.pos + 1
	if err := s.str(); err != nil {
		return nil, false, err
	}
	key = s.data[from : s.pos-1]
	c = s.peek()
	switch {
	case s.pos == len(s.data):
		return nil, false, s.fail("EOF while parsing an object")
	case c != ':':
		return nil, false, s.fail("expected `:`")
	}
	s.pos++
	return key, true, nil
}

// plain are the bytes that stand for themselves in a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// str takes a string with its quotes.
func (s *scanner) str() error {
	s.pos++
	for {
		i, data := s.pos, s.data
		for i < len(data) && plain[data[i]] {
			i++
		}
		s.pos = i
		switch {
		case i == len(data):
			return s.fail("EOF while parsing a string")
		case data[i] == '"':
			s.pos++
			return nil
		case data[i] != '\\':
			return s.fail("control character (\\u0000-\\u001F) found while parsing a string")
		}
		if err := s.escape(); err != nil {
			return err
		}
	}
}

// escape takes one escape sequence of a string.
func (s *scanner) escape() error {
	s.pos++
	if s.pos == len(s.data) {
		return s.fail("EOF while parsing a string")
	}
	switch s.data[s.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		return s.fail("invalid escape")
	}
	s.pos++
	for range 4 {
		if s.pos == len(s.data) {
			return s.fail("EOF while parsing a string")
		}
		c := s.data[s.pos] | 0x20
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return s.fail("invalid escape")
		}
		s.pos++
	}
	return nil
}

func (s *scanner) ident(word string) error {
	for i := range len(word) {
		switch {
		case s.pos == len(s.data):
			return s.fail("EOF while parsing a value")
		case s.data[s.pos] != word[i]:
			return s.fail("expected ident")
		}
		s.pos++
	}
	return nil
}

// digits takes a run of digits and tells how many.
func (s *scanner) digits() int {
	from := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - from
}

func (s *scanner) number() (kind, error) {
	from := s.pos
	negative := s.data[s.pos] == '-'
	if negative {
		s.pos++
	}
	zero := s.pos < len(s.data) && s.data[s.pos] == '0'
	whole := s.digits()
	switch {
	case whole == 0 && s.pos == len(s.data):
		return 0, s.fail("EOF while parsing a value")
	case whole == 0, zero && whole > 1:
		return 0, s.fail("invalid number")
	}
	k := integerKind(s.data[from:s.pos], negative)
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		k = kindFloat
		s.pos++
		if err := s.someDigits(); err != nil {
			return 0, err
		}
	}
	if s.pos < len(s.data) && s.data[s.pos]|0x20 == 'e' {
		k = kindFloat
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		if err := s.someDigits(); err != nil {
			return 0, err
		}
	}
	return k, nil
}

func (s *scanner) someDigits() error {
	switch n := s.digits(); {
	case n == 0 && s.pos == len(s.data):
		return s.fail("EOF while parsing a value")
	case n == 0:
		return s.fail("invalid number")
	}
	return nil
}

// integerKind tells which integer type holds a number in decimal.
func integerKind(text []byte, negative bool) kind {
	if len(text) < 19 {
		return kindInt
	}
	digits, limit := text, "9223372036854775807"
	if negative {
		digits, limit = text[1:], "9223372036854775808"
	}
	fits := func(limit string) bool {
		return len(digits) < len(limit) || len(digits) == len(limit) && string(digits) <= limit
	}
	switch {
	case fits(limit):
		return kindInt
	case !negative && fits("18446744073709551615"):
		return kindUint
	}
	return kindBig
}
