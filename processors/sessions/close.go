package sessions

import "github.com/flightlog/flightlog/schemas"

// recall asks for a session that has left the state.
func (x *fold) recall(org, sessionID string) error {
	id := schemas.SessionKey(org, sessionID)
	key := sessionKey(id)
	if s, ok := x.open[key]; ok {
		if s.(*session).gone {
			return x.tx.Recall(id)
		}
		return nil
	}
	if _, _, ok := x.tx.Get(key); ok {
		return nil
	}
	return x.tx.Recall(id)
}

// close archives a session: its facts, their pages, its links, turns and findings, their pages, and
// at last the session itself. It stops when the commit is full and goes on in
// the next.
func (x *fold) close(s *session) {
	s.changed = true
	var step int64
	archive := func(key string) (full bool) {
		step++
		if step <= s.away {
			return false
		}
		if x.tx.Full() {
			return true
		}
		value, due, ok := x.tx.Get(key)
		if ok {
			x.tx.Archive(s.id, key, value, due)
		}
		s.away = step
		return false
	}
	for _, kind := range [...]struct {
		n    int64
		page func(schemas.Id, int64) string
		key  func(s, id schemas.Id) string
	}{{s.facts, pageKey, factKey}, {s.links, linksKey, linkKey}, {s.turns, turnsKey, turnKey}, {s.findings, findingsKey, findingKey}} {
		for first := int64(0); first < kind.n; first += pageSize {
			listed := kind.page(s.id, first/pageSize)
			if p := load[page](x, listed, nil); p != nil {
				for _, id := range p.facts {
					if archive(kind.key(s.id, id)) {
						return
					}
				}
				if archive(listed) {
					return
				}
				continue
			}
			step += min(pageSize, kind.n-first) + 1 // this page has left before
		}
	}
	if archive(testsKey(s.id)) || archive(toldKey(s.id)) || archive(branchesKey(s.id)) || x.tx.Full() {
		return
	}
	s.away = 0 // as it comes back
	x.tx.Archive(s.id, sessionKey(s.id), s.encode(), s.due())
	s.gone = true
}
