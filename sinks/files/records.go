package files

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Event is an event of an archive, with what its frame said of it.
type Event struct {
	Org        string
	ProducerID string
	Event      *schemas.Event
}

// eventFields stand before the fields of the event in a record of the topic
// events: what its frame says, and how long it is, so that it can be read
// without its schema being known here by name.
const eventFields = `
  {
   "name": "org",
   "type": "string",
   "doc": "Organisation that the event belongs to, as its frame says."
  },
  {
   "name": "producer_id",
   "type": "string",
   "doc": "Producer, as its frame says."
  },
  {
   "name": "event_bytes",
   "type": "long",
   "doc": "Length of the event, the fields that follow, as it is encoded here."
  },`

// schemaOf is the present schema of a topic's rows, or events.
func schemaOf(topic string) uint64 {
	if topic == broker.Events {
		return schemas.EventFingerprint
	}
	return broker.RowSchema(topic)
}

// definitionOf is the schema of a file of a topic: that of a row, or of an event
// with eventFields.
func definitionOf(topic string, fingerprint uint64) ([]byte, error) {
	text, ok := schemas.Definition(fingerprint)
	if !ok {
		return nil, fmt.Errorf("the schema %016x is not known to this release", fingerprint)
	}
	if topic != broker.Events {
		return text, nil
	}
	before, after, ok := bytes.Cut(text, []byte(`"fields": [`))
	if !ok {
		return nil, fmt.Errorf("the schema %016x has no fields", fingerprint)
	}
	return slices.Concat(before, []byte(`"fields": [`), []byte(eventFields), after), nil
}

// framePrefix makes a block of rows a message of their topic; nil for events.
func framePrefix(topic string) []byte {
	if topic == broker.Events {
		return nil
	}
	message := broker.AppendRows(nil, topic, &schemas.RowHeader{}, nil)
	return message[:len(message)-1] // but the end of its rows
}

// decodeEvents reads a message of the topic events. An event that does not
// decode does not hide its neighbours; the sessions processor makes a dead
// letter of it, with what it holds.
func decodeEvents(m broker.Message, f *frame) error {
	if fingerprint, _ := schemas.MessageFingerprint(m.Payload); schemas.FingerprintName(fingerprint) == "Control" {
		return nil
	}
	var frame schemas.Frame
	if err := frame.DecodeMessage(m.Payload); err != nil {
		f.unreadable++
		return nil
	}
	var e schemas.Event
	var encoded []byte
	for i := range frame.Segments {
		s := &frame.Segments[i]
		for _, written := range s.Events {
			if err := decodeEvent(&e, uint64(s.Schema), written); err != nil {
				f.unreadable++
				continue
			}
			encoded = e.AppendAvro(encoded[:0])
			f.rows = binary.AppendVarint(appendText(appendText(f.rows, s.Org), s.ProducerId), int64(len(encoded)))
			f.rows = append(f.rows, encoded...)
			f.occurred(f.count, e.OccurredAt)
			f.count++
			if !slices.Contains(f.orgs, s.Org) {
				f.orgs = append(f.orgs, s.Org)
			}
		}
	}
	return nil
}

// decodeEvent reads an event by its writer's schema.
func decodeEvent(e *schemas.Event, schema uint64, encoded []byte) error {
	body, err := schemas.Resolve(schema, schemas.EventFingerprint, encoded)
	if err != nil {
		return err
	}
	rest, err := e.DecodeAvro(body)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after the event", len(rest))
	}
	return err
}

// takeEvent reads the first of the records of the topic events.
func takeEvent(records []byte, schema uint64, e *Event) (rest []byte, err error) {
	org, rest, ok := takeText(records)
	producer, rest, ok2 := takeText(rest)
	encoded, rest, ok3 := takeText(rest) // a length and so many bytes
	if !ok || !ok2 || !ok3 {
		return nil, fmt.Errorf("an event is cut off")
	}
	e.Org, e.ProducerID = string(org), string(producer)
	return rest, decodeEvent(e.Event, schema, encoded)
}

// takeText reads a string.
func takeText(b []byte) (text, rest []byte, ok bool) {
	n, used := binary.Varint(b)
	if used <= 0 || n < 0 || n > int64(len(b)-used) {
		return nil, nil, false
	}
	return b[used : used+int(n)], b[used+int(n):], true
}
