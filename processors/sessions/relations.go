package sessions

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Rows need of other facts of the session: a call the request that made it and
// that one's other calls, a request those of the same message, a permission
// request its call (approval.go). What has something in common stands in a link.

// group is the link with an id, made anew where there is none.
func (x *fold) group(s *session, id schemas.Id) *link {
	return load(x, linkKey(s.id, id), func() *link {
		x.list(s, &s.links, linksKind, id)
		return &link{}
	})
}

// list adds an id to the pages of a kind, which the session counts.
func (x *fold) list(s *session, n *int64, kind byte, id schemas.Id) {
	p := load(x, pagesKey(kind, s.id, *n/pageSize), func() *page { return &page{} })
	p.facts = append(p.facts, id)
	p.changed = true
	*n++
	s.changed = true
}

// add puts a fact into one side of the link, or moves it to its new time. A side
// that is full keeps the ones that go before the others, whatever came first.
func (l *link) add(side []moment, f *fact, goesBefore func(a, b moment) bool) []moment {
	m := moment{f.key, f.numbers[nOccurredAt].value}
	i := slices.IndexFunc(side, func(o moment) bool { return o.fact == f.key })
	switch {
	case i >= 0 && side[i] == m:
		return side
	case i >= 0:
		side[i] = m
	case len(side) < maxMoments:
		side = append(side, m)
	default:
		last := 0
		for i := range side {
			if goesBefore(side[last], side[i]) {
				last = i
			}
		}
		if !goesBefore(m, side[last]) {
			return side
		}
		side[last] = m
	}
	l.changed = true
	slices.SortFunc(side, compareMoments)
	return side
}

// later goes before: of permission requests and calls the latest are linked.
func later(a, b moment) bool { return compareMoments(a, b) > 0 }

func compareMoments(a, b moment) int {
	return cmp.Or(cmp.Compare(a.at, b.at), bytes.Compare(a.fact[:], b.fact[:]))
}

// requestOf is the fact_key of the model request that made a call, zeros if it is
// not known.
func (s *session) requestOf(f *fact) (id schemas.Id) {
	if request := f.texts[tRequestId].value; request != "" {
		id = schemas.FactKey(s.texts[sSessionId].value, schemas.KindModelRequest, request)
	}
	return id
}

// messageOf and callsOf name what facts of a session have in common: the requests
// of a message, and the calls of a request, which is a fact_key.
func messageOf(id string) schemas.Id { return schemas.FactKey(id, schemas.KindModelRequest, "message") }
func callsOf(request schemas.Id) schemas.Id {
	return schemas.FactKey(string(request[:]), schemas.KindToolCall, "calls")
}

// kin is what a fact has in common with others.
type kin struct {
	request schemas.Id // of a call
	message string     // of a model request
}

func (s *session) kinOf(f *fact) (k kin) {
	switch f.kind {
	case schemas.KindToolCall:
		k.request = s.requestOf(f)
	case schemas.KindModelRequest:
		k.message = f.texts[tMessageId].value
	}
	return k
}

// relateMoney keeps what rows need of other facts for their money: the calls of
// a request, and the requests of a message. It makes the others due when one
// changed, also those that it had in common before.
func (x *fold) relateMoney(s *session, f *fact, before kin) {
	now := s.kinOf(f)
	switch f.kind {
	case schemas.KindToolCall:
		if before.request != now.request {
			x.reconsiderLink(s, callsOf(before.request), f)
		}
		if !now.request.IsZero() {
			l := x.group(s, callsOf(now.request))
			was := len(l.calls)
			if l.calls = l.add(l.calls, f, later); len(l.calls) != was {
				x.reconsider(s, l.calls, f)
			}
		}
	case schemas.KindModelRequest:
		x.reconsiderLink(s, callsOf(f.key), f)
		if before.message != now.message {
			x.reconsiderLink(s, messageOf(before.message), f)
		}
		if now.message != "" {
			l := x.group(s, messageOf(now.message))
			l.requests = l.add(l.requests, f, func(a, b moment) bool { return x.counts(s, a, b) })
			x.reconsider(s, l.requests, f)
		}
	}
}

// relateAll brings a session up to this fold that an earlier one has written: it
// made no links for money, and noted no first time.
func (x *fold) relateAll(s *session) {
	if s.related || s.away > 0 {
		return
	}
	s.related, s.changed = true, true
	for i := range s.facts {
		p := load[page](x, pageKey(s.id, i/pageSize), nil)
		f := x.known(s, p.facts[i%pageSize])
		x.relateMoney(s, f, kin{})
		if s.first == 0 || f.first < s.first {
			s.first = f.first
		}
	}
}

// reconsiderLink is reconsider for all of a link, if there is one.
func (x *fold) reconsiderLink(s *session, id schemas.Id, but *fact) {
	if l := load[link](x, linkKey(s.id, id), nil); l != nil {
		x.reconsider(s, l.requests, but)
		x.reconsider(s, l.calls, but)
	}
}

// reconsider makes the published rows of facts due, but for one.
func (x *fold) reconsider(s *session, facts []moment, but *fact) {
	for _, m := range facts {
		if other := x.known(s, m.fact); other != but && other.version > 0 {
			other.dueBy(max(x.tx.Now(), other.published+nextVersion))
		}
	}
}

// callsOf is the number of calls that a request made, at least 1.
func (x *fold) callsOf(s *session, request schemas.Id) (n int64) {
	if l := load[link](x, linkKey(s.id, callsOf(request)), nil); l != nil {
		for _, m := range l.calls {
			if s.requestOf(x.known(s, m.fact)) == request {
				n++
			}
		}
	}
	return max(1, n)
}

// copied tells a request that a subagent's file only repeats from elsewhere,
// under a new request id: the message is another request's (background of
// DESIGN §6, trap 3.4). The main thread's counts, else the earliest.
func (x *fold) copied(s *session, f *fact) bool {
	message := f.texts[tMessageId].value
	if message == "" || f.texts[tAgentRunId].value == "" {
		return false
	}
	l := load[link](x, linkKey(s.id, messageOf(message)), nil)
	if l == nil {
		return false
	}
	mine := moment{f.key, f.numbers[nOccurredAt].value}
	return slices.ContainsFunc(l.requests, func(m moment) bool {
		return m.fact != f.key && x.known(s, m.fact).texts[tMessageId].value == message && x.counts(s, m, mine)
	})
}

// counts tells which of two requests of one message counts before the other: one
// of the main thread, else the earlier.
func (x *fold) counts(s *session, a, b moment) bool {
	if mainA, mainB := x.ofMain(s, a), x.ofMain(s, b); mainA != mainB {
		return mainA
	}
	return compareMoments(a, b) < 0
}

func (x *fold) ofMain(s *session, m moment) bool {
	return x.known(s, m.fact).texts[tAgentRunId].value == ""
}
