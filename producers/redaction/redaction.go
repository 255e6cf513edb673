// Package redaction decides what of an event leaves the machine (DESIGN §3).
//
// Events hold no texts by design, but strings of theirs come from texts: a
// branch, a path, a skill, the name of a program. In every capture mode the
// [Sink] takes out of them what must not leave: secrets, the user's name in
// paths and branches, characters that do harm in a database or a terminal.
package redaction

import (
	"fmt"
	"os/user"
	"strings"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// Mode is what of the texts leaves the machine: metadata (nothing), redacted
// (texts without secrets) or full.
type Mode = schemas.CaptureMode

// ParseMode reads a capture mode as settings write it. Any other word is an
// error that names the three; there is no default.
func ParseMode(text string) (Mode, error) {
	mode, ok := schemas.ParseCaptureMode(text)
	if !ok {
		return mode, fmt.Errorf("cannot use capture mode %q: it is metadata, redacted or full", text)
	}
	return mode, nil
}

// Sink hands events and dead letters on to the next sink, stamped with the
// capture mode and with every string field scrubbed. It changes them in place.
// An event that it changes gets its event_id anew; its fact_key stays, for it
// is a hash, and the same for every witness of the fact. Safe for concurrent
// use if the next sink is.
type Sink struct {
	mode  Mode
	next  producers.Sink
	login string // of who runs this process
}

// NewSink makes a sink before next.
func NewSink(mode Mode, next producers.Sink) *Sink {
	s := &Sink{mode: mode, next: next}
	if u, err := user.Current(); err == nil {
		s.login = u.Username[strings.LastIndexByte(u.Username, '\\')+1:]
	}
	return s
}

// Event implements [producers.Sink].
func (s *Sink) Event(e *schemas.Event) error {
	s.clean(e)
	return s.next.Event(e)
}

// DeadLetter implements [producers.Sink]. A payload that is no readable event
// cannot be scrubbed and is dropped: the letter still tells place, size and
// hash.
func (s *Sink) DeadLetter(d *schemas.DeadLetter) error {
	c := scrubber{login: s.login}
	if c.deadLetter(d); c.changed {
		d.Cap()
	}
	if len(d.Payload) > 0 {
		var e schemas.Event
		if rest, err := e.DecodeAvro(d.Payload); err != nil || len(rest) > 0 {
			d.Payload = nil
		} else if s.clean(&e) {
			d.Payload = e.AppendAvro(nil)
		}
	}
	return s.next.DeadLetter(d)
}

// clean stamps and scrubs an event, and tells whether that changed it.
func (s *Sink) clean(e *schemas.Event) bool {
	c := scrubber{login: s.login, name: userName(e), changed: e.CaptureMode != s.mode}
	e.CaptureMode = s.mode
	c.event(e)
	if c.changed {
		e.Cap()
		schemas.SetEventID(e)
	}
	return c.changed
}

// userName is what paths and branches may call the event's user: the login, or
// the local part of the e-mail.
func userName(e *schemas.Event) string {
	name, _, _ := strings.Cut(e.User, "@")
	return name
}
