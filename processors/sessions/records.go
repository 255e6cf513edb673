package sessions

import (
	"encoding/binary"
	"errors"

	"github.com/flightlog/flightlog/processors/records"
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
//	b session           where its prompts, commits and pushes stand
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
	branchesKind = 'b'
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
func branchesKey(s schemas.Id) string   { return string(branchesKind) + string(s[:]) }
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
	moved        bool         // a prompt is of another branch than it began on
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

// encoder and decoder know the registers, of which only those are written that
// are set.
type (
	encoder struct{ records.Writer }
	decoder struct{ records.Reader }
)

func encode() encoder         { return encoder{records.New(32)} }
func decode(b []byte) decoder { return decoder{records.Read(b)} }

func (e *encoder) texts(registers []text, base int64) {
	for i := range registers {
		if t := &registers[i]; t.rank != 0 {
			e.Byte(byte(i+1), t.rank)
			e.Text(t.value)
			e.Int(t.at - base)
		}
	}
	e.Byte(0)
}

func (e *encoder) moments(ms []moment) {
	e.Uint(uint64(len(ms)))
	for _, m := range ms {
		e.ID(m.fact)
		e.Int(m.at)
	}
}

func (d *decoder) texts(registers []text, base int64) {
	for i := d.Byte(); i != 0; i = d.Byte() {
		rank := d.Byte()
		value, at := d.Text(), d.Int()+base
		if int(i) <= len(registers) {
			registers[i-1] = text{value, rank, at}
		}
	}
}

func (d *decoder) moments() (ms []moment) {
	for range d.Count() {
		ms = append(ms, moment{d.ID(), d.Int()})
	}
	return ms
}

func (f *fact) encode() []byte {
	e := encoder{records.New(384 + len(f.row))}
	e.Byte(byte(f.kind), byte(f.captureMode))
	e.Bool(f.critical)
	e.ID(f.key)
	e.ID(f.cause)
	e.Uint(uint64(f.witnesses))
	e.Uint(uint64(f.shown))
	e.Uint(uint64(f.ended))
	e.Int(f.first)
	e.Int(f.base)
	e.Int(f.due)
	e.Int(f.published)
	e.Int(f.version)
	e.Uint(schemas.EnrichedFingerprint)
	e.Bytes(f.row)
	e.texts(f.texts[:], f.base)
	for i := range f.numbers {
		if n := &f.numbers[i]; n.rank != 0 {
			e.Byte(byte(i+1), n.rank)
			e.Int(n.value)
			e.Int(n.at)
		}
	}
	e.Byte(0)
	if f.spent {
		e.Bool(true)
	}
	return e.Writer
}

// rowOf is the row of an encoded fact.
func rowOf(b []byte) ([]byte, error) {
	var f fact
	d := decode(b)
	return f.head(&d)
}

// head reads what stands before the registers, and returns the row.
func (f *fact) head(d *decoder) ([]byte, error) {
	f.kind, f.captureMode, f.critical = schemas.Kind(d.Byte()), schemas.CaptureMode(d.Byte()), d.Bool()
	f.key, f.cause = d.ID(), d.ID()
	f.witnesses, f.shown, f.ended = uint16(d.Uint()), uint16(d.Uint()), uint16(d.Uint())
	f.first, f.base, f.due, f.published, f.version = d.Int(), d.Int(), d.Int(), d.Int(), d.Int()
	return schemas.Resolve(d.Uint(), schemas.EnrichedFingerprint, d.Bytes())
}

func (f *fact) decode(b []byte) error {
	*f = fact{}
	d := decode(b)
	row, err := f.head(&d)
	if err != nil {
		return err
	}
	f.row = append([]byte(nil), row...)
	d.texts(f.texts[:], f.base)
	for {
		i := d.Byte()
		if i == 0 {
			break
		}
		n := number{rank: d.Byte(), value: d.Int(), at: d.Int()}
		if int(i) <= len(f.numbers) {
			f.numbers[i-1] = n
		}
	}
	f.spent = len(d.Rest()) > 0 && d.Bool()
	return d.Err()
}

func (s *session) encode() []byte {
	e := encoder{records.New(256)}
	e.ID(s.id)
	e.Int(s.facts)
	e.Uint(uint64(s.shown))
	e.Int(s.lastEvent)
	e.Int(s.endAt)
	e.Bool(s.closing)
	e.Int(s.sweepAt)
	e.Int(s.sweptAt)
	e.Int(s.cursor)
	e.Bool(s.ending)
	e.Bool(s.said)
	e.Bool(s.asked)
	e.Bool(s.compareAll)
	e.Int(s.branchAt)
	e.texts(s.texts[:], 0)
	e.Int(s.links)
	e.Int(s.closeAt)
	e.Int(s.away)
	e.Int(s.first)
	e.Int(s.compared)
	e.Bool(s.related)
	for _, v := range [...]int64{s.turns, s.findings, s.judged, s.otherMode, s.backgroundAt, s.criticalAt, s.criticals, s.tasksAt} {
		e.Int(v)
	}
	e.IDs(s.openTurns)
	e.IDs(s.pending)
	e.Uint(uint64(len(s.prompts)))
	for _, at := range s.prompts {
		e.Int(at)
	}
	e.Bool(s.moved)
	return e.Writer
}

func (s *session) decode(b []byte) error {
	*s = session{}
	d := decode(b)
	s.id, s.facts, s.shown = d.ID(), d.Int(), uint16(d.Uint())
	s.lastEvent, s.endAt, s.closing = d.Int(), d.Int(), d.Bool()
	s.sweepAt, s.sweptAt, s.cursor, s.ending, s.said, s.asked, s.compareAll = d.Int(), d.Int(), d.Int(), d.Bool(), d.Bool(), d.Bool(), d.Bool()
	s.branchAt = d.Int()
	d.texts(s.texts[:], 0)
	if len(d.Rest()) > 0 { // of before sessions were closed
		s.links, s.closeAt, s.away = d.Int(), d.Int(), d.Int()
	}
	if len(d.Rest()) > 0 { // of before prices were applied
		s.first, s.compared, s.related = d.Int(), d.Int(), d.Bool()
	}
	if len(d.Rest()) > 0 { // of before there were detectors
		for _, v := range [...]*int64{&s.turns, &s.findings, &s.judged, &s.otherMode, &s.backgroundAt, &s.criticalAt, &s.criticals, &s.tasksAt} {
			*v = d.Int()
		}
		s.openTurns, s.pending = d.IDs(), d.IDs()
		for range d.Count() {
			s.prompts = append(s.prompts, d.Int())
		}
	}
	s.moved = len(d.Rest()) > 0 && d.Bool()
	return d.Err()
}

func (p *page) encode() []byte {
	e := encode()
	e.IDs(p.facts)
	return e.Writer
}

func (p *page) decode(b []byte) error {
	d := decode(b)
	p.facts = d.IDs()
	return d.Err()
}

func (l *link) encode() []byte {
	e := encode()
	e.moments(l.requests)
	e.moments(l.calls)
	return e.Writer
}

func (l *link) decode(b []byte) error {
	d := decode(b)
	l.requests, l.calls = d.moments(), d.moments()
	return d.Err()
}

func (t *turn) encode() []byte {
	e := encode()
	e.IDs(t.said)
	return t.Append(e.Writer)
}

func (t *turn) decode(b []byte) error {
	d := decode(b)
	t.said = d.IDs()
	if d.Err() != nil {
		return records.ErrDamaged
	}
	return t.Decode(d.Rest())
}

func (t *testRuns) encode() []byte {
	e := encode()
	e.IDs(t.said)
	return t.Append(e.Writer)
}

func (t *testRuns) decode(b []byte) error {
	d := decode(b)
	t.said = d.IDs()
	if d.Err() != nil {
		return records.ErrDamaged
	}
	return t.Decode(d.Rest())
}

func (n *finding) encode() []byte {
	e := encode()
	e.ID(n.id)
	e.Int(n.rules, n.due)
	n.Write(&e.Writer)
	return n.Append(e.Writer)
}

func (n *finding) decode(b []byte) error {
	d := decode(b)
	n.id, n.rules, n.due = d.ID(), d.Int(), d.Int()
	if err := errors.Join(n.Read(&d.Reader), d.Err()); err != nil {
		return err
	}
	return n.Decode(d.Rest())
}

func (h *host) encode() []byte {
	e := encode()
	e.Int(h.sessions)
	e.Int(h.due)
	for _, at := range h.heard {
		e.Int(at)
	}
	e.Int(h.told)
	return e.Writer
}

func (h *host) decode(b []byte) error {
	d := decode(b)
	h.sessions, h.due = d.Int(), d.Int()
	for c := range h.heard {
		h.heard[c] = d.Int()
	}
	if len(d.Rest()) > 0 {
		h.told = d.Int()
	}
	return d.Err()
}

func (n *seen) encode() []byte {
	e := encode()
	e.Int(n.due)
	return e.Writer
}

func (n *seen) decode(b []byte) error {
	d := decode(b)
	n.due = d.Int()
	return d.Err()
}
