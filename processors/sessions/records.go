package sessions

import (
	"encoding/binary"
	"errors"

	"github.com/flightlog/flightlog/schemas"
)

// State keys start with the record's kind, then the session, so that nothing
// that one session says can touch another's facts.
//
//	s session           who and where, what was shown, when it ends
//	f session fact_key  one fact: registers and its last published row
//	p session page      the session's facts, pageSize to a record
//	l session H(what)   facts that have something in common
//	m session page      the session's links, pageSize to a record
//	r                   restatements, and how far they have come
const (
	sessionKind = 's'
	factKind    = 'f'
	pageKind    = 'p'
	linkKind    = 'l'
	linksKind   = 'm'
	restateKey  = "r"

	pageSize = 32
)

func sessionKey(s schemas.Id) string { return string(sessionKind) + string(s[:]) }

func factKey(s, f schemas.Id) string { return string(factKind) + string(s[:]) + string(f[:]) }

func pageKey(s schemas.Id, page int64) string {
	return string(binary.BigEndian.AppendUint32(append([]byte{pageKind}, s[:]...), uint32(page)))
}

func linksKey(s schemas.Id, page int64) string {
	return string(binary.BigEndian.AppendUint32(append([]byte{linksKind}, s[:]...), uint32(page)))
}

func linkKey(s schemas.Id, call schemas.Id) string {
	return string(linkKind) + string(s[:]) + string(call[:])
}

// fact is what is known of one fact while it is open: for each field the value
// of the most believed witness, and the row that was published last.
type fact struct {
	key         schemas.Id
	kind        schemas.Kind
	witnesses   uint16 // merged so far: bit by schemas.Witness
	shown       uint16 // the same, bit by channel
	ended       uint16 // tool calls: channels that saw its end
	captureMode schemas.CaptureMode
	critical    bool
	first       int64      // least append time of its events, µs
	base        int64      // occurred_at of its first event, µs: times are kept relative to it
	due         int64      // append time at which a version is due, 0 if none
	published   int64      // append time of the last version, 0 if none
	version     int64      // of the last version
	cause       schemas.Id // event that changed it last
	row         []byte     // last published +1 row, encoded; nil if none stands
	texts       [texts]text
	numbers     [numbers]number
	changed     bool // must be put
}

// session is what the facts of a session share.
type session struct {
	id         schemas.Id
	facts      int64  // facts listed in its pages
	shown      uint16 // who has spoken, bit by channel
	first      int64  // least append time of its events, µs
	lastEvent  int64  // latest occurred_at, µs
	endAt      int64  // append time at which it counts as ended, 0 = it has ended and nothing came since
	closing    bool   // the client said the session ends
	sweepAt    int64  // append time at which published rows are compared anew, 0 = not needed
	sweptAt    int64  // append time of the last sweep
	cursor     int64  // facts that a running sweep has seen
	ending     bool   // the running sweep is the one at the end
	asked      bool   // a permission request was seen
	compareAll bool   // every published row is to be compared, not only those that wait
	related    bool   // its facts stand in the links that they belong to
	compared   int64  // walk of restatements that has compared all of its rows
	said       bool   // a row was published
	branchAt   int64  // occurred_at of the earliest branch seen, µs
	links      int64  // links listed in their pages
	closeAt    int64  // append time at which it leaves the state, 0 = it has not ended
	away       int64  // how much of it has left
	gone       bool   // it has left in this overlay
	touched    bool   // facts of it may have changed in this overlay
	texts      [sessionTexts]text
	changed    bool
}

// due is when the session wants to be looked at.
func (s *session) due() int64 {
	due := s.endAt
	for _, at := range [...]int64{s.sweepAt, s.closeAt} {
		if due == 0 || at != 0 && at < due {
			due = at
		}
	}
	return due
}

// Shared columns of a session; part of the state's encoding.
const (
	sOrg = iota
	sSessionId
	sRootSessionId
	sParentSessionId
	sUser
	sOwner
	sHost
	sTeam
	sAgent
	sAgentVersion
	sRepo
	sWorkflow
	sBranch
	sessionTexts
)

// page lists facts or links of a session, in the order in which they came.
type page struct {
	facts   []schemas.Id
	changed bool
}

// link holds facts that have something in common: permission requests with the
// same tool and arguments and the calls that they may be for, the calls of a
// model request, the model requests of a message.
type link struct {
	requests []moment
	calls    []moment
	changed  bool
}

// moment is a fact and when it happened by the hooks' clock, µs.
type moment struct {
	fact schemas.Id
	at   int64
}

const maxMoments = 64 // per link and side; more are not linked

var errRecord = errors.New("state record is damaged")

// The records' encoding: a version byte, varints, length-prefixed texts; only
// registers that are set are written.

const recordVersion = 1

type encoder []byte

func (e *encoder) uint(v uint64)   { *e = binary.AppendUvarint(*e, v) }
func (e *encoder) int(v int64)     { *e = binary.AppendVarint(*e, v) }
func (e *encoder) id(v schemas.Id) { *e = append(*e, v[:]...) }
func (e *encoder) bytes(v []byte) {
	e.uint(uint64(len(v)))
	*e = append(*e, v...)
}
func (e *encoder) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	*e = append(*e, b)
}

func (e *encoder) texts(registers []text, base int64) {
	for i := range registers {
		if t := &registers[i]; t.rank != 0 {
			*e = append(*e, byte(i+1), t.rank)
			e.uint(uint64(len(t.value)))
			*e = append(*e, t.value...)
			e.int(t.at - base)
		}
	}
	*e = append(*e, 0)
}

func (e *encoder) moments(ms []moment) {
	e.uint(uint64(len(ms)))
	for _, m := range ms {
		e.id(m.fact)
		e.int(m.at)
	}
}

type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) id() (v schemas.Id) {
	copy(v[:], d.take(uint64(len(v))))
	return v
}

func (d *decoder) texts(registers []text, base int64) {
	for !d.bad {
		i := d.byte()
		if i == 0 {
			return
		}
		rank := d.byte()
		value, at := d.take(d.uint()), d.int()+base
		if int(i) <= len(registers) {
			registers[i-1] = text{string(value), rank, at}
		}
	}
}

func (d *decoder) moments() (ms []moment) {
	for n := d.uint(); n > 0 && !d.bad; n-- {
		ms = append(ms, moment{d.id(), d.int()})
	}
	return ms
}

func (d *decoder) version() {
	if d.byte() != recordVersion {
		d.bad = true
	}
}

func (d *decoder) err() error {
	if d.bad {
		return errRecord
	}
	return nil
}

func (f *fact) encode() []byte {
	e := make(encoder, 0, 384+len(f.row))
	e = append(e, recordVersion, byte(f.kind), byte(f.captureMode))
	e.bool(f.critical)
	e.id(f.key)
	e.id(f.cause)
	e.uint(uint64(f.witnesses))
	e.uint(uint64(f.shown))
	e.uint(uint64(f.ended))
	e.int(f.first)
	e.int(f.base)
	e.int(f.due)
	e.int(f.published)
	e.int(f.version)
	e.uint(schemas.EnrichedFingerprint)
	e.bytes(f.row)
	e.texts(f.texts[:], f.base)
	for i := range f.numbers {
		if n := &f.numbers[i]; n.rank != 0 {
			e = append(e, byte(i+1), n.rank)
			e.int(n.value)
			e.int(n.at)
		}
	}
	return append(e, 0)
}

func (f *fact) decode(b []byte) error {
	*f = fact{}
	d := decoder{b: b}
	d.version()
	f.kind, f.captureMode, f.critical = schemas.Kind(d.byte()), schemas.CaptureMode(d.byte()), d.byte() != 0
	f.key, f.cause = d.id(), d.id()
	f.witnesses, f.shown, f.ended = uint16(d.uint()), uint16(d.uint()), uint16(d.uint())
	f.first, f.base, f.due, f.published, f.version = d.int(), d.int(), d.int(), d.int(), d.int()
	row, err := schemas.Resolve(d.uint(), schemas.EnrichedFingerprint, d.take(d.uint()))
	if err != nil {
		return err
	}
	f.row = append([]byte(nil), row...)
	d.texts(f.texts[:], f.base)
	for !d.bad {
		i := d.byte()
		if i == 0 {
			break
		}
		n := number{rank: d.byte(), value: d.int(), at: d.int()}
		if int(i) <= len(f.numbers) {
			f.numbers[i-1] = n
		}
	}
	return d.err()
}

func (s *session) encode() []byte {
	e := make(encoder, 0, 256)
	e = append(e, recordVersion)
	e.id(s.id)
	e.int(s.facts)
	e.uint(uint64(s.shown))
	e.int(s.lastEvent)
	e.int(s.endAt)
	e.bool(s.closing)
	e.int(s.sweepAt)
	e.int(s.sweptAt)
	e.int(s.cursor)
	e.bool(s.ending)
	e.bool(s.said)
	e.bool(s.asked)
	e.bool(s.compareAll)
	e.int(s.branchAt)
	e.texts(s.texts[:], 0)
	e.int(s.links)
	e.int(s.closeAt)
	e.int(s.away)
	e.int(s.first)
	e.int(s.compared)
	e.bool(s.related)
	return e
}

func (s *session) decode(b []byte) error {
	*s = session{}
	d := decoder{b: b}
	d.version()
	s.id, s.facts, s.shown = d.id(), d.int(), uint16(d.uint())
	s.lastEvent, s.endAt, s.closing = d.int(), d.int(), d.byte() != 0
	s.sweepAt, s.sweptAt, s.cursor, s.ending, s.said, s.asked, s.compareAll = d.int(), d.int(), d.int(), d.byte() != 0, d.byte() != 0, d.byte() != 0, d.byte() != 0
	s.branchAt = d.int()
	d.texts(s.texts[:], 0)
	if len(d.b) > 0 { // of before sessions were closed
		s.links, s.closeAt, s.away = d.int(), d.int(), d.int()
	}
	if len(d.b) > 0 { // of before prices were applied
		s.first, s.compared, s.related = d.int(), d.int(), d.byte() != 0
	}
	return d.err()
}

func (p *page) encode() []byte {
	e := encoder{recordVersion}
	e.uint(uint64(len(p.facts)))
	for _, id := range p.facts {
		e.id(id)
	}
	return e
}

func (p *page) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	for n := d.uint(); n > 0 && !d.bad; n-- {
		p.facts = append(p.facts, d.id())
	}
	return d.err()
}

func (l *link) encode() []byte {
	e := encoder{recordVersion}
	e.moments(l.requests)
	e.moments(l.calls)
	return e
}

func (l *link) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	l.requests, l.calls = d.moments(), d.moments()
	return d.err()
}
