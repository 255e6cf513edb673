package engine

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// headKey is the state record of the engine itself. No processor's key starts
// with a zero byte.
const headKey = "\x00head"

// head is what the engine remembers beside the processor's records.
type head struct {
	heard    [16]int64        // last append time by witness, µs
	mark     int64            // highest watermark so far, µs
	outputs  map[string]int64 // last commit with output, by topic
	versions []pointer        // configuration in force or to come
	late     []pointer        // that took effect before it was known here: the fold is still to be told
	seen     [2]seen          // last message folded, by lane

	// Which record ends the workers that fold it?
	claimed [2]place // where the owners before began, by lane
	starts  int64    // how many of them came no further
	singly  int64    // records that are folded one by one
	tried   [2]place // the record that is marked as about to be folded
	tries   int64    // how often it was
}

// pointer is a config event: from effectiveAt on, this version holds.
type pointer struct {
	kind        string
	version     int64
	effectiveAt int64
}

// How late events of a witness may be, and how long one may be silent before
// the watermark goes on without it (DESIGN §5), µs.
const (
	silence         = 60e6
	transcriptBound = 120e6
)

func bound(w schemas.Witness) int64 {
	switch w {
	case schemas.WitnessHook:
		return 10e6
	case schemas.WitnessOtlp:
		return 30e6
	}
	return transcriptBound
}

// clone is a copy that a slice may change.
func (h *head) clone() head {
	c := *h
	c.outputs, c.versions, c.late = maps.Clone(h.outputs), slices.Clone(h.versions), slices.Clone(h.late)
	return c
}

func (s *slice) heardFrom(w schemas.Witness, at int64) {
	if int(w) < len(s.head.heard) {
		s.head.heard[w] = max(s.head.heard[w], at)
	}
}

// watermark is the time up to which everything has been heard from the
// witnesses that still speak, never going back.
func (h *head) watermark(now int64) int64 {
	mark := int64(0)
	for w, at := range h.heard {
		if at == 0 || now-at > silence {
			continue
		}
		if m := at - bound(schemas.Witness(w)); mark == 0 || m < mark {
			mark = m
		}
	}
	if mark == 0 { // all are silent: nothing is on its way
		for w, at := range h.heard {
			if at != 0 {
				mark = max(mark, now-bound(schemas.Witness(w)))
			}
		}
	}
	h.mark = max(h.mark, mark)
	return h.mark
}

// config notes a config event at the fold's time. The same version again changes
// nothing.
func (h *head) config(c *schemas.Control, now int64) {
	for _, p := range h.versions {
		if p.kind == c.ConfigKind && p.version == c.ConfigVersion {
			return
		}
	}
	p := pointer{strings.Clone(c.ConfigKind), c.ConfigVersion, c.EffectiveAt}
	h.versions = append(h.versions, p)
	if p.effectiveAt <= now {
		h.late = append(h.late, p)
	}
}

// versionsAt are the newest versions whose time has come; 1 is what the fold
// brings along.
func (h *head) versionsAt(now int64) schemas.Versions {
	newest := func(kind string) int64 {
		v := int64(1)
		for _, p := range h.versions {
			if p.kind == kind && p.effectiveAt <= now {
				v = max(v, p.version)
			}
		}
		return v
	}
	return schemas.Versions{Rules: newest("rules"), Prices: newest("prices"), Directory: newest("directory")}
}

// put stores the head as a state record.
func (h *head) put(tx *Tx) {
	b := []byte{headVersion}
	b = binary.AppendUvarint(b, uint64(len(h.heard)))
	for _, at := range h.heard {
		b = binary.AppendUvarint(b, uint64(at))
	}
	b = binary.AppendUvarint(b, uint64(h.mark))
	b = binary.AppendUvarint(b, uint64(len(h.outputs)))
	for _, topic := range slices.Sorted(maps.Keys(h.outputs)) {
		b = appendString(b, topic)
		b = binary.AppendUvarint(b, uint64(h.outputs[topic]))
	}
	b = appendPointers(b, h.versions)
	for _, v := range h.numbers() {
		b = binary.AppendUvarint(b, uint64(*v))
	}
	b = appendPointers(b, h.late)
	tx.Put(headKey, b, 0)
}

// headVersion is the version of the head's encoding; 1 had no numbers, 2 nothing
// that is late.
const headVersion = 3

func appendPointers(b []byte, all []pointer) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, p := range all {
		b = appendString(b, p.kind)
		b = binary.AppendUvarint(b, uint64(p.version))
		b = binary.AppendUvarint(b, uint64(p.effectiveAt))
	}
	return b
}

func (h *head) numbers() []*int64 {
	numbers := []*int64{&h.starts, &h.singly, &h.tries}
	for i := range h.seen {
		numbers = append(numbers, &h.seen[i].message, &h.seen[i].identity)
	}
	for _, places := range [...]*[2]place{&h.claimed, &h.tried} {
		for i := range places {
			numbers = append(numbers, &places[i].message, &places[i].index)
		}
	}
	return numbers
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errHead = errors.New("the engine's own state record is damaged")

// decode reads what put wrote; an empty value is a new partition.
func (h *head) decode(b []byte) error {
	*h = head{outputs: map[string]int64{}}
	if len(b) == 0 {
		return nil
	}
	version := b[0]
	if version == 0 || version > headVersion {
		return errHead
	}
	b = b[1:]
	bad := false
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad = true
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() string {
		n := number()
		if bad || n > uint64(len(b)) {
			bad = true
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	for i, n := uint64(0), number(); i < n && !bad; i++ {
		at := int64(number())
		if i < uint64(len(h.heard)) {
			h.heard[i] = at
		}
	}
	h.mark = int64(number())
	for i, n := uint64(0), number(); i < n && !bad; i++ {
		topic := text()
		h.outputs[topic] = int64(number())
	}
	pointers := func() (all []pointer) {
		for i, n := uint64(0), number(); i < n && !bad; i++ {
			p := pointer{kind: text()}
			p.version, p.effectiveAt = int64(number()), int64(number())
			all = append(all, p)
		}
		return all
	}
	h.versions = pointers()
	if version > 1 {
		for _, v := range h.numbers() {
			*v = int64(number())
		}
	}
	if version > 2 {
		h.late = pointers()
	}
	if bad {
		return errHead
	}
	return nil
}
