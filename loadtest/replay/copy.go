package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// copyOf is one copy of a recording, from its begin until its last event was
// sent. Everything about it follows from the seed and its number.
type copyOf struct {
	*pattern
	number    int64
	at        int64 // when it begins, µs of the run
	begin     int64 // what the times of its events are counted from, µs since 1970
	ids       []byte
	session   []string // ids of the sessions
	partition []int    // of each session
	factKeys  []schemas.Id
}

// copyOf makes the copy with a number.
func (p *plan) copyOf(number int64) *copyOf {
	name := nameOf(p.seed, number)
	c := &copyOf{pattern: p.patternOf(number), number: number, at: p.beginOf(number)}
	switch {
	case p.live:
		c.begin = p.start + c.at
	case p.endAtStart && number == 0:
		c.begin = p.start - c.length()
	default:
		c.begin = p.start - c.length() - int64(mix(uint64(name))%uint64(past.Microseconds()))
	}
	c.ids = bytes.Clone(c.pattern.ids)
	for _, id := range c.spans {
		name.rename(c.ids[id.begin:id.end])
	}
	for _, s := range c.sessions {
		id := string(c.ids[s.begin:s.end])
		c.session = append(c.session, id)
		c.partition = append(c.partition, broker.PartitionOf(id, p.partitions))
	}
	c.factKeys = make([]schemas.Id, len(c.facts))
	for i, f := range c.facts {
		c.factKeys[i] = schemas.FactKey(c.session[f.session], f.kind, name.factID(f.id))
	}
	return c
}

// appendEvent appends an event of the copy, encoded: with the copy's ids and
// times, and with fact_key and event_id made anew of them.
func (c *copyOf) appendEvent(b []byte, index int) []byte {
	t := &c.templates[index]
	begin := len(b)
	b = append(b, t.encoded...)
	e := b[begin:]
	for _, id := range t.patches {
		copy(e[id.at:], c.ids[id.begin:id.end])
	}
	binary.PutUvarint(e[t.occurredAt:], uint64(c.begin+t.occurred)<<1) // zigzag
	// An encoded event begins with event_id and fact_key. event_id is made as
	// schemas.SetEventID does, which a test compares.
	key := c.factKeys[t.fact]
	copy(e[len(key):], key[:])
	id := sha256.Sum256(e)
	copy(e[:len(key)], id[:])
	return b
}

// name is what tells the ids of one copy from those of all others.
type name uint64

// nameOf is the name of a copy: with one seed no two copies have the same.
func nameOf(seed uint64, copy int64) name { return name(mix(mix(seed) + uint64(copy))) }

// mix is a bijection that spreads its input over all bits (the finalizer of
// SplitMix64, Steele et al. 2014).
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

const (
	hexDigits = "0123456789abcdef"
	digits    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// valuesIn are the values of digits, -1 for what is none.
func valuesIn(alphabet string) (values [256]int8) {
	for c := range values {
		values[c] = int8(strings.IndexByte(alphabet, byte(c)))
	}
	return values
}

var hexValues, values = valuesIn(hexDigits), valuesIn(digits)

// rename gives an id of the recording to the copy, in place. Digits are
// replaced one by one, each by its place, so different ids stay different, an
// abbreviated one stays the beginning of the whole, and length and form stay:
// of req_01..., msg_01... and toolu_01... what follows, of everything else the
// hex digits.
func (n name) rename(id []byte) {
	if prefix := bytes.IndexByte(id, '_') + 1; prefix > 0 {
		for i := min(prefix+2, len(id)); i < len(id); i++ {
			if v := values[id[i]]; v >= 0 {
				id[i] = digits[(uint64(v)+n.digit(i))%uint64(len(digits))]
			}
		}
		return
	}
	for i, c := range id {
		if v := hexValues[c]; v >= 0 {
			id[i] = hexDigits[uint64(v)^n.digit(i)]
		}
	}
}

// digit is the i-th of the name's 16 hex digits, again and again.
func (n name) digit(i int) uint64 { return uint64(n) >> (i % 16 * 4) & 15 }

// renamed is an id of the recording as the copy has it.
func (n name) renamed(id string) string {
	b := []byte(id)
	n.rename(b)
	return string(b)
}

// factID puts the id of a fact together from pieces that are renamed or kept
// in turns.
func (n name) factID(pieces []string) string {
	var buffer [64]byte
	id := buffer[:0]
	for i, piece := range pieces {
		id = append(id, piece...)
		if i%2 == 0 {
			n.rename(id[len(id)-len(piece):])
		}
	}
	return string(id)
}
