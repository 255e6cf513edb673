package o2test

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// authorised checks the credentials and answers when they do not do (contract
// §0.3, §12 rows 41 to 46). Tokens do for ingestion only.
func (q *request) authorised(ingestion bool) bool {
	s := q.server
	header := q.r.Header.Get("Authorization")
	if header == "" {
		q.say(http.StatusUnauthorized, "Unauthorized Access")
		return false
	}
	if strings.HasPrefix(header, "Bearer") {
		q.refuse("Not Supported")
		return false
	}
	user, password, ok := q.r.BasicAuth()
	if !ok {
		q.refuse("Unauthorized Access")
		return false
	}
	q.user = user
	s.mu.RLock()
	passcode := s.passcodes[user]
	s.mu.RUnlock()
	further, known := s.config.Users[user]
	switch {
	case user == s.config.Root && password == s.config.RootPassword:
		q.root = true
	case known && password == further:
	case ingestion && passcode != "" && password == passcode:
		q.root = user == s.config.Root
	case ingestion && s.config.Profile == V093 && password == s.config.OrgToken:
	default:
		q.refuse("Unauthorized Access")
		return false
	}
	return true
}

// refuse is the answer of the layer that checks credentials: it has no content type.
func (q *request) refuse(text string) {
	q.w.Header().Set("WWW-Authenticate", `Bearer realm="openobserve"`)
	q.w.Header()["Content-Type"] = nil
	q.w.WriteHeader(http.StatusUnauthorized)
	_, _ = q.w.Write([]byte(text))
}

// orgKnown tells whether the organisation is there; root makes it by ingesting
// (contract §12 row 44).
func (q *request) orgKnown(ingestion bool) bool {
	s, org := q.server, q.vars["org"]
	s.mu.Lock()
	defer s.mu.Unlock()
	if ingestion && q.root && q.r.Method == http.MethodPost {
		s.orgs[org] = true
	}
	return s.orgs[org]
}

type passcodeAnswer struct {
	Data struct {
		Passcode string `json:"passcode"`
		User     string `json:"user"`
	} `json:"data"`
}

// showPasscode shows the passcode of who asks, made if need be.
func (q *request) showPasscode() { q.passcode(false) }

// rotatePasscode makes a new one; the old one is no longer valid.
func (q *request) rotatePasscode() { q.passcode(true) }

func (q *request) passcode(replace bool) {
	s := q.server
	s.mu.Lock()
	if replace || s.passcodes[q.user] == "" {
		s.passcodes[q.user] = rand.Text()[:16]
	}
	var a passcodeAnswer
	a.Data.Passcode, a.Data.User = s.passcodes[q.user], q.user
	s.mu.Unlock()
	q.answer(http.StatusOK, a)
}
