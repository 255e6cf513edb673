package sessions

import (
	"bytes"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// When a row is said (DESIGN §4), µs of append time.
const (
	firstVersion = 5e6  // a fact waits this long for the other witnesses
	nextVersion  = 30e6 // at most one version in this time
)

// tellersOf are the channels that can tell of a kind; a fact does not wait for
// the others.
func tellersOf(k schemas.Kind) uint16 {
	const hook, transcript, log, span = 1 << hook, 1 << transcript, 1 << otlpLog, 1 << otlpSpan
	switch k {
	case schemas.KindModelRequest:
		return transcript | log | span
	case schemas.KindModelError:
		return transcript | log
	case schemas.KindToolCall:
		return hook | transcript | log | span
	case schemas.KindPrompt, schemas.KindCompaction:
		return hook | transcript | log
	case schemas.KindFileChange, schemas.KindCommit, schemas.KindPush, schemas.KindPullRequest,
		schemas.KindTestRun, schemas.KindTurnEnd:
		return hook | transcript
	}
	return hook
}

// whole tells that everybody who has spoken in the session, and can tell of
// such a fact, has said what they know.
func (f *fact) whole(s *session) bool {
	told := f.shown
	switch f.kind {
	case schemas.KindToolCall:
		told = f.ended
	case schemas.KindApproval, schemas.KindSubagent, schemas.KindSessionStart:
		return false // more is always to come
	}
	return tellersOf(f.kind)&s.shown&^told == 0
}

// knowsPaths are the channels that tell a path as it is in the repository. What
// OTLP alone tells is not urgent while one of them is to come.
const knowsPaths = 1<<hook | 1<<transcript | 1<<direct

// arrange decides when a fact that changed is said.
func (x *fold) arrange(s *session, f *fact) {
	now := x.tx.Now()
	switch {
	case f.kind == schemas.KindSessionEnd:
		// It says that all rows of the session stand: the sweep at the end does.
	case f.version > 0:
		f.dueBy(max(now, f.published+nextVersion))
	case f.critical && f.shown&knowsPaths != 0, f.whole(s), x.urgent(s, f):
		x.publish(s, f, false)
	default:
		f.dueBy(f.first + firstVersion)
	}
}

// dueBy asks for a version at a time, or earlier if that was asked before.
func (f *fact) dueBy(at int64) {
	if f.due == 0 || at < f.due {
		f.due, f.changed = at, true
	}
}

// expectEnd moves the time at which the session counts as ended.
func (s *session) expectEnd(e *schemas.Event, now int64) {
	switch e.Kind {
	case schemas.KindSessionEnd:
		s.closing = true
	case schemas.KindSessionStart:
		s.closing = s.closing && e.OccurredAt < s.lastEvent
	}
	wait := int64(quiet)
	if s.closing {
		wait = goodbye
	}
	s.endAt, s.closeAt = now+wait, 0
}

// sweepLater asks for published rows to be compared anew.
func (s *session) sweepLater(now int64) {
	if !s.said {
		return
	}
	s.compareAll, s.changed = true, true
	if s.sweepAt == 0 {
		s.sweepAt = max(now+firstVersion, s.sweptAt+nextVersion)
	}
}

// Due implements engine.Fold.
func (x *fold) Due(key string) error {
	if key == restateKey {
		if rs := x.restatements(); rs.due != 0 {
			return x.walk(rs)
		}
		return nil
	}
	switch key[0] {
	case seenKind:
		x.forget(key)
		return nil
	case hostKind:
		x.forgetHost(key)
		return nil
	}
	var id schemas.Id
	copy(id[:], key[1:])
	s := load[session](x, sessionKey(id), nil)
	if s == nil {
		return nil
	}
	if key[0] == factKind {
		if f := load[fact](x, key, nil); f != nil && f.due != 0 && f.due <= x.tx.Now() {
			x.publish(s, f, false)
		}
		return nil
	}
	if key[0] == findingKind {
		if n := load[finding](x, key, nil); n != nil && n.due != 0 && n.due <= x.tx.Now() {
			x.publishFinding(s, n)
		}
		return nil
	}
	closes := s.endAt == 0 && s.sweepAt == 0 && s.closeAt != 0 && s.closeAt <= x.tx.Now()
	if s.tasksAt != 0 && s.away == 0 && (s.tasksAt <= x.tx.Now() || closes) {
		x.tellTasks(s)
		s.touched = true
	}
	if closes {
		if s.touched {
			return nil // its facts leave as they are committed: in the next commit
		}
		if !x.mustCompare(s) {
			x.close(s)
			return nil
		}
		x.compare(s) // before it leaves
	}
	x.sweep(s)
	return nil
}

// sweep compares every published row of a session with what it would be now;
// at the session's end it also says what still waits, and then session_end. It
// stops when the commit is full and goes on from its cursor in the next.
func (x *fold) sweep(s *session) {
	now := x.tx.Now()
	if s.cursor == 0 {
		s.ending = s.endAt != 0 && s.endAt <= now
	}
	if !s.ending && (s.sweepAt == 0 || s.sweepAt > now) {
		return
	}
	s.changed = true
	x.relateAll(s)
	if rs := x.restatements(); rs != nil && s.cursor == 0 && s.compareAll {
		s.compared = rs.walks
	}
	for ; s.cursor < s.facts; s.cursor++ {
		if x.tx.Full() {
			return
		}
		p := load[page](x, pageKey(s.id, s.cursor/pageSize), nil)
		f := x.known(s, p.facts[s.cursor%pageSize])
		switch {
		case f.kind == schemas.KindSessionEnd:
		case f.version > 0 && f.due == 0 && !s.compareAll && !s.asked:
			// Nothing that its row is made of has changed since.
		case s.ending, f.version > 0:
			x.publish(s, f, s.ending)
		}
	}
	endKey := schemas.FactKey(s.texts[sSessionId].value, schemas.KindSessionEnd, "end")
	switch {
	case !s.ending && s.endAt == 0: // all rows stood before, and stand again
		if end := x.known(s, endKey); end != nil && end.version > 0 {
			x.publish(s, end, true)
		}
		if s.compareAll {
			x.placeFindings(s)
		}
	case s.ending:
		x.judge(s)
		x.publish(s, x.fact(s, endKey, schemas.KindSessionEnd, s.lastEvent), true)
		s.endAt, s.closing = 0, false
		s.closeAt = now + rest
		x.tellTasks(s)
	}
	s.cursor, s.ending, s.compareAll, s.sweepAt, s.sweptAt = 0, false, false, 0, now
}

// publish says the fact's next version, if its row differs from the one that
// was published last: that one with sign -1, then the new one. A fact that has
// no row any more gets the -1 row alone.
func (x *fold) publish(s *session, f *fact, final bool) {
	s.touched = true
	if f.due != 0 {
		f.due, f.changed = 0, true
	}
	row, ok := x.row(s, f)
	if !ok && f.row == nil {
		return
	}
	if ok {
		row.Cap() // a column may be put together of several
	}
	if f.kind == schemas.KindApproval {
		x.saying = ok
		x.waiting(s, f, row, ok)
		x.saying = false
	}
	last := &x.last
	if f.row != nil {
		if _, err := last.DecodeAvro(f.row); err != nil {
			panic(err)
		}
		if ok && same(row, last, f.row) {
			return
		}
	}
	if !x.judged {
		x.saying = ok
		x.observe(s, f, row, ok)
		x.saying = false
	}
	if s.tasksAt == 0 {
		s.tasksAt, s.changed = x.tx.Now()+tasksPace(s), true
	}
	f.changed = true
	f.version++
	f.published = x.tx.Now()
	if !s.said {
		s.said, s.changed = true, true
	}
	if f.kind == schemas.KindModelRequest {
		if f.row != nil && f.spent { // rows of before there was spend were not told of
			x.addSpend(last, -1)
		}
		if f.spent = ok; ok {
			x.addSpend(row, 1)
		}
	}
	if f.row != nil {
		last.Sign, last.Version, last.EventId = -1, f.version, f.cause
		last.RowId = schemas.RowID(last.Generation, f.key, f.version, -1)
		back := last.AppendAvro(nil)
		x.tx.Emit(broker.Enriched, back)
		x.tellChanges(last, back)
		f.row = nil
	}
	if ok {
		row.Sign, row.Version, row.EventId, row.Final = 1, f.version, f.cause, final
		row.RowId = schemas.RowID(row.Generation, f.key, f.version, 1)
		f.row = row.AppendAvro(make([]byte, 0, 512))
		x.tx.Emit(broker.Enriched, f.row)
		x.tellChanges(row, f.row)
	}
}

// same tells that a row says nothing new: final, witnesses and event_id alone
// never make a version.
func same(row, last *schemas.Enriched, encoded []byte) bool {
	witnesses := row.Witnesses
	row.RowId, row.Sign, row.Version, row.EventId, row.Final, row.Witnesses =
		last.RowId, last.Sign, last.Version, last.EventId, last.Final, last.Witnesses
	var buffer [1024]byte
	same := bytes.Equal(row.AppendAvro(buffer[:0]), encoded)
	row.Witnesses = witnesses // the caller sets the rest
	return same
}
