package extraction

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// Canonical appends to dst the one form in which equal JSON values are equal
// bytes: keys sorted, no blanks, numbers as they were written, strings escaped
// only where JSON must. Of a key that comes twice the last one counts. What
// hooks add to a call's arguments by themselves is left out:
// "replace_all":false at the top (contract §2.4). Bytes that are no UTF-8
// become U+FFFD.
//
// The error names the offset in rawJSON; dst then comes back as it was. Values
// nested over 512 deep are refused.
func Canonical(dst, rawJSON []byte) ([]byte, error) {
	c := canonicalizers.Get().(*canonicalizer)
	c.src, c.at, c.depth, c.members = rawJSON, 0, 0, c.members[:0]
	defer c.release()
	out, err := c.value(dst)
	if err == nil {
		c.blanks()
		if c.at < len(c.src) {
			err = errors.New("more than one value")
		}
	}
	if err != nil {
		return dst, fmt.Errorf("cannot read JSON at byte %d of %d: %w", c.at, len(rawJSON), err)
	}
	return out, nil
}

// canonicalizer reads src and writes its canonical form.
type canonicalizer struct {
	src     []byte
	at      int
	depth   int
	members []member // of the objects that are open, outermost first
	scratch []byte   // an object's members while they are put in order
}

// member is where a key and its value stand, from start of the object's
// members.
type member struct{ key, keyEnd, end int }

var (
	canonicalizers = sync.Pool{New: func() any { return new(canonicalizer) }}
	buffers        = sync.Pool{New: func() any { return new([]byte) }}
)

const (
	deepest  = 512
	mostKept = 1 << 20 // bytes of a buffer that is used again
)

// release gives c back for the next value, without what was large.
func (c *canonicalizer) release() {
	c.src = nil
	if cap(c.scratch) > mostKept || cap(c.members) > mostKept/32 {
		c.scratch, c.members = nil, nil
	}
	canonicalizers.Put(c)
}

func (c *canonicalizer) blanks() {
	for c.at < len(c.src) {
		switch c.src[c.at] {
		case ' ', '\t', '\r', '\n':
			c.at++
		default:
			return
		}
	}
}

// next is the byte that reading goes on with, 0 at the end.
func (c *canonicalizer) next() byte {
	if c.at < len(c.src) {
		return c.src[c.at]
	}
	return 0
}

func (c *canonicalizer) value(dst []byte) ([]byte, error) {
	c.blanks()
	switch b := c.next(); {
	case b == '"':
		return c.text(dst)
	case b == '{' || b == '[':
		if c.depth++; c.depth > deepest {
			return dst, fmt.Errorf("nested over %d deep", deepest)
		}
		c.at++
		read := c.array
		if b == '{' {
			read = c.object
		}
		dst, err := read(append(dst, b))
		c.depth--
		return dst, err
	case b == '-' || isDigit(b):
		return c.number(dst)
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(c.src[c.at:], []byte(word)) {
			c.at += len(word)
			return append(dst, word...), nil
		}
	}
	if c.at == len(c.src) {
		return dst, errors.New("it ends too early")
	}
	return dst, errors.New("no value begins so")
}

func (c *canonicalizer) array(dst []byte) (_ []byte, err error) {
	for first := true; ; first = false {
		c.blanks()
		if c.next() == ']' && first {
			break
		}
		if dst, err = c.value(dst); err != nil {
			return dst, err
		}
		c.blanks()
		if c.next() != ',' {
			break
		}
		c.at++
		dst = append(dst, ',')
	}
	if c.next() != ']' {
		return dst, errors.New("an array goes on with , or ]")
	}
	c.at++
	return append(dst, ']'), nil
}

// object writes the members as they come, each with a comma after it, and puts
// them in order at the end if they were not.
func (c *canonicalizer) object(dst []byte) (_ []byte, err error) {
	start, open, sorted := len(dst), len(c.members), true
	for {
		c.blanks()
		if c.next() == '}' && len(dst) == start {
			break
		}
		if c.next() != '"' {
			return dst, errors.New("a member begins with its key")
		}
		m := member{key: len(dst) - start}
		if dst, err = c.text(dst); err != nil {
			return dst, err
		}
		m.keyEnd = len(dst) - start
		c.blanks()
		if c.next() != ':' {
			return dst, errors.New("no colon after a key")
		}
		c.at++
		if dst, err = c.value(append(dst, ':')); err != nil {
			return dst, err
		}
		m.end = len(dst) - start
		written := dst[start:]
		if c.depth == 1 && string(written[m.key:]) == `"replace_all":false` {
			dst = dst[:start+m.key]
		} else {
			if n := len(c.members); n > open {
				last := c.members[n-1]
				sorted = sorted && bytes.Compare(written[last.key:last.keyEnd], written[m.key:m.keyEnd]) < 0
			}
			c.members = append(c.members, m)
			dst = append(dst, ',')
		}
		c.blanks()
		if c.next() != ',' {
			break
		}
		c.at++
		c.blanks()
		if c.next() == '}' {
			return dst, errors.New("a member begins with its key")
		}
	}
	if c.next() != '}' {
		return dst, errors.New("an object goes on with , or }")
	}
	c.at++
	if !sorted {
		dst = c.sort(dst, start, c.members[open:])
	}
	c.members = c.members[:open]
	if n := len(dst); n > start {
		dst = dst[:n-1]
	}
	return append(dst, '}'), nil
}

// sort puts the members that stand in dst from start on in the order of their
// keys.
func (c *canonicalizer) sort(dst []byte, start int, members []member) []byte {
	from := append(c.scratch[:0], dst[start:]...)
	key := func(m member) []byte { return from[m.key:m.keyEnd] }
	slices.SortStableFunc(members, func(a, b member) int { return bytes.Compare(key(a), key(b)) })
	dst = dst[:start]
	for i, m := range members {
		if i+1 < len(members) && bytes.Equal(key(m), key(members[i+1])) {
			continue
		}
		dst = append(append(dst, from[m.key:m.end]...), ',')
	}
	c.scratch = from
	return dst
}

// number copies a number by JSON's grammar.
func (c *canonicalizer) number(dst []byte) ([]byte, error) {
	start := c.at
	digits := func() bool {
		from := c.at
		for isDigit(c.next()) {
			c.at++
		}
		return c.at > from
	}
	if c.next() == '-' {
		c.at++
	}
	zero := c.next() == '0'
	from := c.at
	ok := digits() && !(zero && c.at > from+1)
	if ok && c.next() == '.' {
		c.at++
		ok = digits()
	}
	if ok && c.next()|0x20 == 'e' {
		c.at++
		if s := c.next(); s == '+' || s == '-' {
			c.at++
		}
		ok = digits()
	}
	if !ok {
		return dst, errors.New("no number is written so")
	}
	return append(dst, c.src[start:c.at]...), nil
}

// text copies a string, with the escapes that JSON demands and no others.
func (c *canonicalizer) text(dst []byte) ([]byte, error) {
	c.at++
	dst = append(dst, '"')
	for {
		from := c.at
		for c.at < len(c.src) && plainByte[c.src[c.at]] {
			c.at++
		}
		dst = append(dst, c.src[from:c.at]...)
		if c.at == len(c.src) {
			return dst, errors.New("a string has no end")
		}
		switch b := c.src[c.at]; {
		case b == '"':
			c.at++
			return append(dst, '"'), nil
		case b == '\\':
			var err error
			if dst, err = c.escape(dst); err != nil {
				return dst, err
			}
		case b < ' ':
			return dst, errors.New("a control character stands in a string")
		default:
			r, size := utf8.DecodeRune(c.src[c.at:])
			dst = utf8.AppendRune(dst, r)
			c.at += size
		}
	}
}

// plainByte are the ASCII characters that stand for themselves in a string.
var plainByte = func() (plain [256]bool) {
	for b := ' '; b < utf8.RuneSelf; b++ {
		plain[b] = b != '"' && b != '\\'
	}
	return plain
}()

// escape reads one escaped character.
func (c *canonicalizer) escape(dst []byte) ([]byte, error) {
	c.at++
	b := c.next()
	c.at++
	switch b {
	case '"', '\\', '/':
		return appendCharacter(dst, rune(b)), nil
	case 'b':
		return appendCharacter(dst, '\b'), nil
	case 'f':
		return appendCharacter(dst, '\f'), nil
	case 'n':
		return appendCharacter(dst, '\n'), nil
	case 'r':
		return appendCharacter(dst, '\r'), nil
	case 't':
		return appendCharacter(dst, '\t'), nil
	case 'u':
		r, ok := c.hex()
		if !ok {
			break
		}
		if !utf16.IsSurrogate(r) {
			return appendCharacter(dst, r), nil
		}
		if c.next() == '\\' && c.at+1 < len(c.src) && c.src[c.at+1] == 'u' {
			back := c.at
			c.at += 2
			if low, ok := c.hex(); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					return utf8.AppendRune(dst, pair), nil
				}
			}
			c.at = back
		}
		// Half a pair stays an escape: it has no UTF-8.
		return fmt.Appendf(dst, `\u%04x`, r), nil
	}
	return dst, errors.New("no character is escaped so")
}

func (c *canonicalizer) hex() (r rune, ok bool) {
	if c.at+4 > len(c.src) {
		return 0, false
	}
	for _, b := range c.src[c.at : c.at+4] {
		switch {
		case isDigit(b):
			r = r<<4 | rune(b-'0')
		case 'a' <= b|0x20 && b|0x20 <= 'f':
			r = r<<4 | rune(b|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	c.at += 4
	return r, true
}

// appendCharacter writes a decoded character in its one form.
func appendCharacter(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	if r < ' ' {
		return fmt.Appendf(dst, `\u%04x`, r)
	}
	return utf8.AppendRune(dst, r)
}
