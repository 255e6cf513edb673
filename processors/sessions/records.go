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
//	t session turn      the calls of a run between two prompts, for the detectors
//	w session page      the session's turns, pageSize to a record
//	q session           the session's test runs, for the detectors
//	c session           what it contributes to its tasks, as was told last
//	n session finding   a finding and its last published row
//	v session page      the session's findings, pageSize to a record
//	h host              which witnesses the sessions of a host have
//	o finding           something that is told once a day
//	r                   restatements, and how far they have come
const (
	sessionKind  = 's'
	factKind     = 'f'
	pageKind     = 'p'
	linkKind     = 'l'
	linksKind    = 'm'
	turnKind     = 't'
	turnsKind    = 'w'
	testsKind    = 'q'
	toldKind     = 'c'
	findingKind  = 'n'
	findingsKind = 'v'
	hostKind     = 'h'
	seenKind     = 'o'
	restateKey   = "r"

	pageSize = 32
)

func sessionKey(s schemas.Id) string { return string(sessionKind) + string(s[:]) }

func factKey(s, f schemas.Id) string { return string(factKind) + string(s[:]) + string(f[:]) }

// pagesKey is a page of what a session has of some kind.
func pagesKey(kind byte, s schemas.Id, page int64) string {
	return string(binary.BigEndian.AppendUint32(append([]byte{kind}, s[:]...), uint32(page)))
}

func pageKey(s schemas.Id, page int64) string { return pagesKey(pageKind, s, page) }

func linksKey(s schemas.Id, page int64) string { return pagesKey(linksKind, s, page) }

func turnsKey(s schemas.Id, page int64) string { return pagesKey(turnsKind, s, page) }

func findingsKey(s schemas.Id, page int64) string { return pagesKey(findingsKind, s, page) }

func turnKey(s, t schemas.Id) string    { return string(turnKind) + string(s[:]) + string(t[:]) }
func testsKey(s schemas.Id) string      { return string(testsKind) + string(s[:]) }
func toldKey(s schemas.Id) string       { return string(toldKind) + string(s[:]) }
func findingKey(s, f schemas.Id) string { return string(findingKind) + string(s[:]) + string(f[:]) }
func hostKey(h schemas.Id) string       { return string(hostKind) + string(h[:]) }
func seenKey(f schemas.Id) string       { return string(seenKind) + string(f[:]) }

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
	spent       bool       // what it cost was told to the processor spend
	texts       [texts]text
	numbers     [numbers]number
	changed     bool // must be put
}

// session is what the facts of a session share.
type session struct {
	id           schemas.Id
	facts        int64        // facts listed in its pages
	shown        uint16       // who has spoken, bit by channel
	first        int64        // least append time of its events, µs
	lastEvent    int64        // latest occurred_at, µs
	endAt        int64        // append time at which it counts as ended, 0 = it has ended and nothing came since
	closing      bool         // the client said the session ends
	sweepAt      int64        // append time at which published rows are compared anew, 0 = not needed
	sweptAt      int64        // append time of the last sweep
	cursor       int64        // facts that a running sweep has seen
	ending       bool         // the running sweep is the one at the end
	asked        bool         // a permission request was seen
	compareAll   bool         // every published row is to be compared, not only those that wait
	related      bool         // its facts stand in the links that they belong to
	compared     int64        // walk of restatements that has compared all of its rows
	said         bool         // a row was published
	branchAt     int64        // occurred_at of the earliest branch seen, µs
	links        int64        // links listed in their pages
	closeAt      int64        // append time at which it leaves the state, 0 = it has not ended
	away         int64        // how much of it has left
	gone         bool         // it has left in this overlay
	touched      bool         // facts of it may have changed in this overlay
	turns        int64        // turns listed in their pages
	findings     int64        // findings listed in theirs
	judged       int64        // append time at which all of its rows were judged, 0 = never
	otherMode    int64        // occurred_at of its first call in a mode in which somebody is asked, µs
	backgroundAt int64        // occurred_at of the first call that went on in the background, µs
	criticalAt   int64        // append time at which the minute began in which critical findings are counted
	criticals    int64        // of that minute
	tasksAt      int64        // append time at which its tasks are told, 0 = nothing is new
	openTurns    []schemas.Id // with open findings
	pending      []schemas.Id // permission requests that are open
	prompts      []int64      // occurred_at of the last ones of the main thread, in order, µs
	texts        [sessionTexts]text
	changed      bool
}

// due is when the session wants to be looked at.
func (s *session) due() int64 {
	due := s.endAt
	for _, at := range [...]int64{s.sweepAt, s.closeAt, s.tasksAt} {
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
func (e *encoder) ids(ids []schemas.Id) {
	e.uint(uint64(len(ids)))
	for _, id := range ids {
		e.id(id)
	}
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

func (d *decoder) ids() (ids []schemas.Id) {
	for n := d.uint(); n > 0 && !d.bad; n-- {
		ids = append(ids, d.id())
	}
	return ids
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
	e = append(e, 0)
	if f.spent {
		e.bool(true)
	}
	return e
}

// rowOf is the row of an encoded fact.
func rowOf(b []byte) ([]byte, error) {
	var f fact
	d := decoder{b: b}
	return f.head(&d)
}

// head reads what stands before the registers, and returns the row.
func (f *fact) head(d *decoder) ([]byte, error) {
	d.version()
	f.kind, f.captureMode, f.critical = schemas.Kind(d.byte()), schemas.CaptureMode(d.byte()), d.byte() != 0
	f.key, f.cause = d.id(), d.id()
	f.witnesses, f.shown, f.ended = uint16(d.uint()), uint16(d.uint()), uint16(d.uint())
	f.first, f.base, f.due, f.published, f.version = d.int(), d.int(), d.int(), d.int(), d.int()
	return schemas.Resolve(d.uint(), schemas.EnrichedFingerprint, d.take(d.uint()))
}

func (f *fact) decode(b []byte) error {
	*f = fact{}
	d := decoder{b: b}
	row, err := f.head(&d)
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
	f.spent = len(d.b) > 0 && d.byte() != 0
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
	for _, v := range [...]int64{s.turns, s.findings, s.judged, s.otherMode, s.backgroundAt, s.criticalAt, s.criticals, s.tasksAt} {
		e.int(v)
	}
	e.ids(s.openTurns)
	e.ids(s.pending)
	e.uint(uint64(len(s.prompts)))
	for _, at := range s.prompts {
		e.int(at)
	}
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
	if len(d.b) > 0 { // of before there were detectors
		for _, v := range [...]*int64{&s.turns, &s.findings, &s.judged, &s.otherMode, &s.backgroundAt, &s.criticalAt, &s.criticals, &s.tasksAt} {
			*v = d.int()
		}
		s.openTurns, s.pending = d.ids(), d.ids()
		for n := d.uint(); n > 0 && !d.bad; n-- {
			s.prompts = append(s.prompts, d.int())
		}
	}
	return d.err()
}

func (p *page) encode() []byte {
	e := encoder{recordVersion}
	e.ids(p.facts)
	return e
}

func (p *page) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	p.facts = d.ids()
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

func (t *turn) encode() []byte {
	e := encoder{recordVersion}
	e.ids(t.said)
	return t.Append(e)
}

func (t *turn) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	t.said = d.ids()
	if d.bad {
		return errRecord
	}
	return t.Decode(d.b)
}

func (t *testRuns) encode() []byte {
	e := encoder{recordVersion}
	e.ids(t.said)
	return t.Append(e)
}

func (t *testRuns) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	t.said = d.ids()
	if d.bad {
		return errRecord
	}
	return t.Decode(d.b)
}

func (n *finding) encode() []byte {
	e := encoder{recordVersion}
	e.id(n.id)
	e.int(n.rules)
	e.int(n.Version)
	e.int(n.Published)
	e.int(n.due)
	e.uint(schemas.FindingFingerprint)
	e.bytes(n.Row)
	return n.Append(e)
}

func (n *finding) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	n.id, n.rules, n.Version, n.Published, n.due = d.id(), d.int(), d.int(), d.int(), d.int()
	row, err := schemas.Resolve(d.uint(), schemas.FindingFingerprint, d.take(d.uint()))
	if err != nil || d.bad {
		return errors.Join(err, d.err())
	}
	if n.Row = nil; len(row) > 0 {
		n.Row = append([]byte(nil), row...)
	}
	return n.Decode(d.b)
}

func (h *host) encode() []byte {
	e := encoder{recordVersion}
	e.int(h.sessions)
	e.int(h.due)
	for _, at := range h.heard {
		e.int(at)
	}
	e.int(h.told)
	return e
}

func (h *host) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	h.sessions, h.due = d.int(), d.int()
	for c := range h.heard {
		h.heard[c] = d.int()
	}
	if len(d.b) > 0 {
		h.told = d.int()
	}
	return d.err()
}

func (n *seen) encode() []byte {
	e := encoder{recordVersion}
	e.int(n.due)
	return e
}

func (n *seen) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	n.due = d.int()
	return d.err()
}
