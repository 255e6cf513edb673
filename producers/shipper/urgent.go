package shipper

// The critical lane takes this many events of one session in one minute of its
// time; the rest goes the normal way, still marked critical.
const (
	urgentEvents = 5
	minute       = 60e6 // µs
)

// urgentSessions bounds what is remembered; beyond it all is forgotten, which
// lets some more events pass.
const urgentSessions = 10_000

// urgent counts the critical events of each session's present minute.
type urgent struct {
	sessions map[string]share
}

type share struct {
	minute int64
	events int
}

// admits tells whether one more may take the critical lane.
func (u *urgent) admits(session string, at int64) bool {
	if len(u.sessions) >= urgentSessions {
		u.sessions = nil
	}
	if u.sessions == nil {
		u.sessions = map[string]share{}
	}
	s := u.sessions[session]
	if s.minute != at/minute {
		s = share{minute: at / minute}
	}
	if s.events == urgentEvents {
		return false
	}
	s.events++
	u.sessions[session] = s
	return true
}
