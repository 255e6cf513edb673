package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// copyOf is one copy of a recording. Everything about it follows from the seed
// and its number: nothing is kept for a copy but its place in the schedule.
type copyOf struct {
	*Recording
	name  name
	begin int64 // µs since 1970: what the times of its events are counted from
}

// template is an event that was encoded once, to be patched for each copy:
// encoding it anew costs twice as much.
type template struct {
	encoded    []byte // event_id and fact_key are zeros
	ids        []span // session_id is the first
	occurredAt int    // where it stands
	after      int64  // occurred_at, µs after the recording's begin
	kind       schemas.Kind
	fact       []string // the fact's own id in pieces, see factID
}

type span struct{ begin, end int }

// The ids that we make stand at the begin of an encoded event.
const (
	eventIDAt = 0
	factKeyAt = len(schemas.Id{})
	idsEnd    = 2 * factKeyAt
)

// epoch and future are the times between which the encoding of an occurred_at
// has the same length.
const epoch, future = int64(1) << 48, int64(1)<<55 - 1

// newTemplate encodes an event. Where its fields stand is found by changing
// them one by one.
func newTemplate(e schemas.Event, fact []string) template {
	t := template{after: e.OccurredAt, kind: e.Kind, fact: fact}
	e.EventId, e.FactKey, e.OccurredAt = schemas.Id{}, schemas.Id{}, epoch
	t.encoded = e.AppendAvro(nil)
	changed := func() int {
		for i, c := range e.AppendAvro(nil) {
			if c != t.encoded[i] {
				return i
			}
		}
		panic("a field is not in the encoding of its event")
	}
	for _, id := range idsOf(&e) {
		if text := *id; text != "" {
			*id = string(text[0]^1) + text[1:]
			begin := changed()
			t.ids = append(t.ids, span{begin, begin + len(text)})
			*id = text
		}
	}
	e.OccurredAt = epoch + 1
	t.occurredAt = changed()
	return t
}

// appendEvent appends an event of the copy, encoded, with the copy's ids and
// times, and with fact_key and event_id made anew of them. It gives the
// session, too.
func (c *copyOf) appendEvent(b []byte, index int) (encoded []byte, session string) {
	r := &c.events[index]
	begin := len(b)
	encoded = append(b, r.encoded...)
	e := encoded[begin:]
	for _, at := range r.ids {
		c.name.rename(e[at.begin:at.end])
	}
	binary.PutUvarint(e[r.occurredAt:], uint64(c.begin+r.after)<<1) // zigzag
	session = string(e[r.ids[0].begin:r.ids[0].end])
	key := schemas.FactKey(session, r.kind, c.name.factID(r.fact))
	copy(e[factKeyAt:], key[:])
	id := sha256.Sum256(e) // as schemas.SetEventID, which a test compares
	copy(e[eventIDAt:factKeyAt], id[:])
	return encoded, session
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

// valueIn are the values of a digit, -1 for what is none.
func valueIn(alphabet string) (values [256]int8) {
	for c := range values {
		values[c] = int8(strings.IndexByte(alphabet, byte(c)))
	}
	return values
}

var hexValues, values = valueIn(hexDigits), valueIn(digits)

// rename gives an id of the recording to the copy, in place. Digits are
// replaced one by one, each by its place, so different ids stay different, an
// abbreviated one stays the beginning of the whole, and length and form stay:
// of req_01..., msg_01... and toolu_01... what follows, of everything else the
// hex digits.
func (n name) rename(id []byte) {
	if prefix := bytes.IndexByte(id, '_') + 1; prefix > 0 {
		for i := min(prefix+2, len(id)); i < len(id); i++ {
			if v := values[id[i]]; v >= 0 {
				id[i] = digits[(uint64(v)+uint64(n)>>(4*i&63)&15)%uint64(len(digits))]
			}
		}
		return
	}
	for i, c := range id {
		if v := hexValues[c]; v >= 0 {
			id[i] = hexDigits[(uint64(v)^uint64(n)>>(4*i&63))&15]
		}
	}
}

// renamed is an id of the recording as the copy has it.
func (n name) renamed(id string) string {
	b := []byte(id)
	n.rename(b)
	return string(b)
}

// factID puts the id of a fact together from pieces in turns to rename and to
// keep.
func (n name) factID(pieces []string) string {
	var buffer [128]byte
	id := buffer[:0]
	for i, piece := range pieces {
		id = append(id, piece...)
		if i%2 == 0 {
			n.rename(id[len(id)-len(piece):])
		}
	}
	return string(id)
}
