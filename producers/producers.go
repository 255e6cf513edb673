// Package producers holds what every producer shares: where its events go, and
// how an observation becomes one. Each format has a room of its own
// (claudecode/hooks, claudecode/transcripts, otlp, ...).
//
// A reader turns raw records into events that hold no texts: extraction takes
// what later steps need, redaction decides what of the rest leaves the machine
// (DESIGN §3). A record that cannot be read becomes a dead letter with its
// place; unknown fields and unknown kinds of records are skipped.
package producers

import "github.com/flightlog/flightlog/schemas"

// Sink takes what a reader makes, in the order it was read. The pointed-to
// records are the reader's again after the call.
type Sink interface {
	Event(*schemas.Event) error
	DeadLetter(*schemas.DeadLetter) error
}

// Finish completes an event that a reader has filled in: fact_key from the
// kind and the fact's own id, capped fields, and event_id. id is the best
// stable id that the witness has (request_id, tool_use_id, prompt id, ...).
func Finish(e *schemas.Event, id string) {
	e.FactKey = schemas.FactKey(PartitionKey(e), e.Kind, id)
	e.Cap()
	schemas.SetEventID(e)
}

// PartitionKey is the key that the event's partition is chosen by: its
// session, or its repository where it has none.
func PartitionKey(e *schemas.Event) string {
	if e.SessionId != "" {
		return e.SessionId
	}
	return e.Repo
}
