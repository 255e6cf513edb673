// Package redaction decides what of the texts leaves a machine (DESIGN §3).
package redaction

import (
	"fmt"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// Mode is the capture mode.
type Mode = schemas.CaptureMode

// ParseMode reads a capture mode.
func ParseMode(s string) (Mode, error) {
	if m, ok := schemas.ParseCaptureMode(s); ok {
		return m, nil
	}
	return 0, fmt.Errorf("cannot use capture mode %q: want metadata, redacted or full", s)
}

type Sink struct {
	mode Mode
	next producers.Sink
}

func NewSink(mode Mode, next producers.Sink) *Sink { return &Sink{mode, next} }

func (s *Sink) Event(e *schemas.Event) error {
	e.CaptureMode = s.mode
	schemas.SetEventID(e)
	return s.next.Event(e)
}

func (s *Sink) DeadLetter(d *schemas.DeadLetter) error { return s.next.DeadLetter(d) }
