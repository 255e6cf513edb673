package detectors

import (
	"encoding/binary"
	"errors"

	"github.com/flightlog/flightlog/schemas"
)

// The records of a [Turn] and of [Tests]: a version, varints, length-prefixed
// texts. One walk over the fields writes and reads them.

const recordVersion = 1

var errRecord = errors.New("record is damaged")

// codec writes fields where it has none to read.
type codec struct {
	b       []byte
	reading bool
	bad     bool
}

func (c *codec) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *codec) int(v *int64) {
	if !c.reading {
		c.b = binary.AppendVarint(c.b, *v)
		return
	}
	n := 0
	if *v, n = binary.Varint(c.b); n <= 0 {
		c.bad, c.b = true, nil
		return
	}
	c.b = c.b[n:]
}

func (c *codec) hash(v *uint32) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint32(c.b, *v)
	} else if b := c.take(4); b != nil {
		*v = binary.LittleEndian.Uint32(b)
	}
}

func (c *codec) byte(v *uint8) {
	if !c.reading {
		c.b = append(c.b, *v)
	} else if b := c.take(1); b != nil {
		*v = b[0]
	}
}

func (c *codec) bool(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	c.byte(&b)
	*v = b != 0
}

func (c *codec) id(v *schemas.Id) {
	if !c.reading {
		c.b = append(c.b, v[:]...)
	} else {
		copy(v[:], c.take(uint64(len(v))))
	}
}

func (c *codec) text(v *string) {
	n := int64(len(*v))
	c.int(&n)
	if !c.reading {
		c.b = append(c.b, *v...)
	} else {
		*v = string(c.take(uint64(n)))
	}
}

// list is a list of items, each at least a byte long.
func list[T any](c *codec, items *[]T, each func(*T)) {
	n := int64(len(*items))
	c.int(&n)
	if c.reading {
		if n < 0 || n > int64(len(c.b)) {
			c.bad, c.b = true, nil
			return
		}
		*items = make([]T, n)
	}
	for i := range *items {
		each(&(*items)[i])
	}
}

func (c *codec) version() {
	v := uint8(recordVersion)
	if c.byte(&v); v != recordVersion {
		c.bad = true
	}
}

func (c *codec) scope(s *scope) {
	c.int(&s.first)
	c.int(&s.appended)
	c.text(&s.place.Repo)
	c.text(&s.place.Workflow)
	c.text(&s.place.WorkKind)
}

func (c *codec) evidence(e *[]evidence) {
	list(c, e, func(e *evidence) { c.id(&e.fact); c.int(&e.at); c.id(&e.call); c.hash(&e.request) })
}

func (c *codec) pairs(p *[]pair) {
	list(c, p, func(p *pair) { c.hash(&p.args); c.hash(&p.shape) })
}

func (c *codec) finding(f *Finding) {
	c.text(&f.Kind)
	c.text(&f.Key)
	c.text(&f.Class)
	c.text(&f.Subject)
	c.byte((*uint8)(&f.Severity))
	c.byte((*uint8)(&f.State))
	c.int(&f.Count)
	c.int(&f.First)
	c.int(&f.Last)
	c.int(&f.Wait)
	c.int(&f.Cost)
	c.text(&f.Detail)
	list(c, &f.Evidence, c.id)
}

func (c *codec) turn(t *Turn) {
	c.version()
	c.bool(&t.Late)
	c.scope(&t.scope)
	c.hash(&t.name)
	c.int(&t.upTo)
	c.int(&t.ended)
	done := int64(t.done)
	c.int(&done)
	t.done = int(done)
	base := t.upTo
	since := func(at *int64) { // times are kept relative to the summary's
		v := *at - base
		c.int(&v)
		*at = v + base
	}
	list(c, &t.calls, func(s *step) {
		c.id(&s.fact)
		since(&s.at)
		length := s.end - s.at
		if s.end == 0 {
			length = -1
		}
		c.int(&length)
		if s.end = s.at + length; length < 0 {
			s.end = 0
		}
		c.hash(&s.call)
		c.hash(&s.request)
		c.hash(&s.intent)
		c.hash(&s.args)
		c.hash(&s.shape)
		c.byte((*uint8)(&s.is))
		c.byte((*uint8)(&s.reason))
		c.text(&s.subject)
	})
	list(c, &t.marks, func(m *mark) {
		c.id(&m.fact)
		since(&m.at)
		since(&m.when)
		c.hash(&m.call)
		c.hash(&m.file)
		c.bool(&m.red)
	})
	c.machine(&t.base)
	c.bad = c.bad || t.done < 0 || t.done > len(t.calls)
}

func (c *codec) machine(m *machine) {
	for i := range m.runs {
		c.int(&m.runs[i])
	}
	for _, v := range [...]*int64{&m.rules.attempts, &m.rules.single, &m.rules.repetitions, &m.rules.wait, &m.last} {
		c.int(v)
	}
	c.hash(&m.cycle.key)
	c.pairs(&m.cycle.calls)
	list(c, &m.chains, func(h *chain) {
		c.hash(&h.intent)
		c.int(&h.attempts)
		c.int(&h.failed)
		c.int(&h.novel)
		c.pairs(&h.seen)
		c.evidence(&h.evidence)
		c.bool(&h.changed)
		c.byte((*uint8)(&h.reason))
	})
	list(c, &m.files, func(f *file) {
		c.hash(&f.path)
		c.hash(&f.before)
		c.hash(&f.last)
		c.int(&f.alternates)
		c.evidence(&f.evidence)
	})
	list(c, &m.failing, func(f *failing) {
		c.hash(&f.args)
		c.hash(&f.shape)
		c.int(&f.count)
		c.evidence(&f.evidence)
	})
	list(c, &m.found, func(f *found) {
		c.finding(&f.Finding)
		c.hash(&f.intent)
		c.pairs(&f.calls)
		c.hash(&f.file)
		c.hash(&f.states.args)
		c.hash(&f.states.shape)
		c.hash(&f.last)
	})
}

func (c *codec) tests(t *Tests) {
	c.version()
	c.bool(&t.Late)
	c.scope(&t.scope)
	c.int(&t.upTo)
	list(c, &t.items, func(i *item) {
		c.id(&i.fact)
		c.int(&i.at)
		c.hash(&i.prompt)
		c.byte((*uint8)(&i.kind))
		c.byte((*uint8)(&i.outcome))
		c.text(&i.tamper)
		c.text(&i.path)
		c.bool(&i.claims)
		c.hash(&i.stem)
		c.hash(&i.name)
		c.bool(&i.created)
	})
	a := &t.base
	c.id(&a.run.fact)
	c.int(&a.run.at)
	c.hash(&a.run.prompt)
	c.byte((*uint8)(&a.run.outcome))
	c.int(&a.green)
	c.id(&a.changed.fact)
	c.int(&a.changed.at)
	c.hash(&a.prompt)
	c.bool(&a.red)
	list(c, &a.deleted, c.hash)
	list(c, &a.created, c.hash)
	list(c, &a.found, func(f *tested) {
		c.finding(&f.Finding)
		c.hash(&f.prompt)
		c.hash(&f.stem)
		c.hash(&f.name)
	})
}

func (c *codec) err() error {
	if c.bad || len(c.b) > 0 {
		return errRecord
	}
	return nil
}

// Append appends the record.
func (t *Turn) Append(b []byte) []byte {
	c := codec{b: b}
	c.turn(t)
	return c.b
}

// Decode reads a record that Append wrote.
func (t *Turn) Decode(b []byte) error {
	c := codec{b: b, reading: true}
	c.turn(t)
	return c.err()
}

// Append appends the record.
func (t *Tests) Append(b []byte) []byte {
	c := codec{b: b}
	c.tests(t)
	return c.b
}

// Decode reads a record that Append wrote.
func (t *Tests) Decode(b []byte) error {
	c := codec{b: b, reading: true}
	c.tests(t)
	return c.err()
}

// Append appends a finding, without the settings that it was found by.
func (f *Finding) Append(b []byte) []byte {
	c := codec{b: b}
	c.finding(f)
	return c.b
}

// Decode reads what Append wrote.
func (f *Finding) Decode(b []byte) error {
	c := codec{b: b, reading: true}
	c.finding(f)
	return c.err()
}
