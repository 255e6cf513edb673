package producers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// MaxDepth is the deepest nesting of arrays and objects that [CheckObject]
// lets pass, so that a parser that recurses is safe with it.
const MaxDepth = 512

// CheckObject returns a *[BadInput] unless raw is one JSON object (RFC 8259)
// in valid UTF-8 that is neither too long nor nested too deep: what a parser
// may trust. Of its own because it reads every byte of an import: it takes a
// third of the time of gjson's, and does not recurse.
func CheckObject(raw []byte) error {
	switch {
	case len(raw) > MaxLine:
		return &BadInput{"too_long", fmt.Sprintf("line of %d bytes, the limit is %d", len(raw), MaxLine)}
	case !utf8.Valid(raw):
		return &BadInput{"not_utf8", ""}
	case !bytes.HasPrefix(raw, []byte{'{'}):
		return &BadInput{"not_json", "want one JSON object"}
	}
	var c checker
	switch end := c.value(raw); {
	case end == tooDeep:
		return &BadInput{"too_deep", fmt.Sprintf("nested deeper than %d", MaxDepth)}
	case end < 0 || skipSpace(raw, end) < len(raw):
		return &BadInput{"not_json", "want one JSON object"}
	}
	return nil
}

// Readers of a part of JSON return the index after it, or one of these.
const (
	notJSON = -1 - iota
	tooDeep
)

// checker holds which of the open brackets are those of objects.
type checker struct {
	depth   int
	objects [MaxDepth/64 + 1]uint64
}

func (c *checker) open(object bool) bool {
	c.depth++
	bit := uint64(1) << (c.depth % 64)
	c.objects[c.depth/64] &^= bit
	if object {
		c.objects[c.depth/64] |= bit
	}
	return c.depth <= MaxDepth
}

func (c *checker) inObject() bool { return c.objects[c.depth/64]>>(c.depth%64)&1 == 1 }

// value reads a value and all that is in it.
func (c *checker) value(b []byte) int {
	i := 0
	for {
		// Here a value begins.
		i = skipSpace(b, i)
		if i == len(b) {
			return notJSON
		}
		switch b[i] {
		case '{', '[':
			object := b[i] == '{'
			if !c.open(object) {
				return tooDeep
			}
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == closing(object) {
				break // closed below
			}
			if object {
				i = member(b, i)
			}
			if i < 0 {
				return i
			}
			continue
		case '"':
			i = text(b, i+1)
		case 't':
			i = literal(b, i, "true")
		case 'f':
			i = literal(b, i, "false")
		case 'n':
			i = literal(b, i, "null")
		default:
			i = number(b, i)
		}
		if i < 0 {
			return i
		}
		// Here a value has ended, or an empty one is about to.
		for {
			if c.depth == 0 {
				return i
			}
			i = skipSpace(b, i)
			if i == len(b) {
				return notJSON
			}
			if b[i] == closing(c.inObject()) {
				c.depth--
				i++
				continue
			}
			if b[i] != ',' {
				return notJSON
			}
			i++
			if c.inObject() {
				i = member(b, skipSpace(b, i))
			}
			if i < 0 {
				return i
			}
			break
		}
	}
}

func closing(object bool) byte {
	if object {
		return '}'
	}
	return ']'
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// member reads a member's name and the colon.
func member(b []byte, i int) int {
	if i == len(b) || b[i] != '"' {
		return notJSON
	}
	if i = text(b, i+1); i < 0 {
		return i
	}
	if i = skipSpace(b, i); i == len(b) || b[i] != ':' {
		return notJSON
	}
	return i + 1
}

func literal(b []byte, i int, word string) int {
	if !bytes.HasPrefix(b[i:], []byte(word)) {
		return notJSON
	}
	return i + len(word)
}

// text reads a string from after its opening quote, eight bytes at a time
// where nothing in them needs a look.
func text(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i < len(b) {
		if i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			quote, slash := w^ones*'"', w^ones*'\\'
			// Of each term, the lowest byte that has its high bit set is one
			// below ' ', a quote or a backslash; higher ones may be chance.
			look := ((w-ones*' ')&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs
			if look == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(look) / 8
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = escape(b, i+1); i < 0 {
				return i
			}
		case c < ' ':
			return notJSON
		default:
			i++
		}
	}
	return notJSON
}

// escape reads what follows a backslash.
func escape(b []byte, i int) int {
	if i == len(b) {
		return notJSON
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if i+5 > len(b) {
			return notJSON
		}
		for _, c := range b[i+1 : i+5] {
			if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f') {
				return notJSON
			}
		}
		return i + 5
	}
	return notJSON
}

func number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	first := i
	if i = digits(b, i); i < 0 || b[first] == '0' && i > first+1 {
		return notJSON
	}
	if i < len(b) && b[i] == '.' {
		if i = digits(b, i+1); i < 0 {
			return i
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i
}

// digits reads one digit or more.
func digits(b []byte, i int) int {
	first := i
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	if i == first {
		return notJSON
	}
	return i
}
