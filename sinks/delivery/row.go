package delivery

import (
	"cmp"
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Topics are the public topics that sinks load.
var Topics = []string{broker.Enriched, broker.Findings, broker.Tasks, broker.Spend, broker.DeadLetters}

// Row is one row of a public topic, as its consumer's decoder holds it.
type Row struct {
	ID schemas.Id
	// At is the row's time in µs since 1970, the same for a row and its
	// retraction, so that they are found and expire together: occurred_at, of a
	// finding or task first_seen, of spend pane_start; where that is not known the
	// append time of the message. All versions of a fact have the same one, but
	// for a task of which an earlier session came late: its next version begins
	// earlier. The retraction stays beside the version that it takes back, for it
	// repeats that row.
	At int64
	// Enriched, Finding, Task, Spend or DeadLetter: the one that is set.
	Enriched   *schemas.Enriched
	Finding    *schemas.Finding
	Task       *schemas.Task
	Spend      *schemas.Spend
	DeadLetter *schemas.DeadLetter
}

// AppendJSON writes the row as docs/schemas.md describes it.
func (r *Row) AppendJSON(b []byte) []byte {
	switch {
	case r.Enriched != nil:
		return r.Enriched.AppendJSON(b)
	case r.Finding != nil:
		return r.Finding.AppendJSON(b)
	case r.Task != nil:
		return r.Task.AppendJSON(b)
	case r.Spend != nil:
		return r.Spend.AppendJSON(b)
	}
	return r.DeadLetter.AppendJSON(b)
}

// AppendMessage writes the row as a record in single-object encoding.
func (r *Row) AppendMessage(b []byte) []byte {
	switch {
	case r.Enriched != nil:
		return r.Enriched.AppendMessage(b)
	case r.Finding != nil:
		return r.Finding.AppendMessage(b)
	case r.Task != nil:
		return r.Task.AppendMessage(b)
	case r.Spend != nil:
		return r.Spend.AppendMessage(b)
	}
	return r.DeadLetter.AppendMessage(b)
}

// Decoder reads messages of public topics. Rows are good until the next
// message. Not safe for concurrent use.
type Decoder struct {
	enriched    schemas.EnrichedFrame
	findings    schemas.FindingFrame
	tasks       schemas.TaskFrame
	spend       schemas.SpendFrame
	deadLetters schemas.DeadLetterFrame
	rows        []Row
}

// Decode reads a frame of rows that was appended at a time.
func (d *Decoder) Decode(topic string, m broker.Message) (schemas.RowHeader, []Row, error) {
	d.rows = d.rows[:0]
	switch topic {
	case broker.Enriched:
		f := &d.enriched
		if err := f.DecodeMessage(m.Payload); err != nil {
			return schemas.RowHeader{}, nil, err
		}
		for i := range f.Rows {
			r := &f.Rows[i]
			d.rows = append(d.rows, Row{ID: r.RowId, At: cmp.Or(r.OccurredAt, m.AppendedAt), Enriched: r})
		}
		return f.Header, d.rows, nil
	case broker.Findings:
		f := &d.findings
		if err := f.DecodeMessage(m.Payload); err != nil {
			return schemas.RowHeader{}, nil, err
		}
		for i := range f.Rows {
			r := &f.Rows[i]
			d.rows = append(d.rows, Row{ID: r.RowId, At: cmp.Or(r.FirstSeen, m.AppendedAt), Finding: r})
		}
		return f.Header, d.rows, nil
	case broker.Tasks:
		f := &d.tasks
		if err := f.DecodeMessage(m.Payload); err != nil {
			return schemas.RowHeader{}, nil, err
		}
		for i := range f.Rows {
			r := &f.Rows[i]
			d.rows = append(d.rows, Row{ID: r.RowId, At: cmp.Or(r.FirstSeen, m.AppendedAt), Task: r})
		}
		return f.Header, d.rows, nil
	case broker.Spend:
		f := &d.spend
		if err := f.DecodeMessage(m.Payload); err != nil {
			return schemas.RowHeader{}, nil, err
		}
		for i := range f.Rows {
			r := &f.Rows[i]
			d.rows = append(d.rows, Row{ID: r.RowId, At: cmp.Or(r.PaneStart, m.AppendedAt), Spend: r})
		}
		return f.Header, d.rows, nil
	case broker.DeadLetters:
		f := &d.deadLetters
		if err := f.DecodeMessage(m.Payload); err != nil {
			return schemas.RowHeader{}, nil, err
		}
		for i := range f.Rows {
			r := &f.Rows[i]
			d.rows = append(d.rows, Row{ID: r.RowId, At: cmp.Or(r.OccurredAt, m.AppendedAt), DeadLetter: r})
		}
		return f.Header, d.rows, nil
	}
	return schemas.RowHeader{}, nil, fmt.Errorf("%s is no public topic of rows", topic)
}

// RowOf is the row that a sink's dead letter holds, and its topic. A row without
// a time of its own bears that of the dead letter.
func RowOf(d *schemas.DeadLetter) (topic string, row Row, err error) {
	fingerprint, _ := schemas.MessageFingerprint(d.Payload)
	switch name := schemas.FingerprintName(fingerprint); name {
	case "Enriched":
		r := new(schemas.Enriched)
		err = r.DecodeMessage(d.Payload)
		return broker.Enriched, Row{ID: r.RowId, At: cmp.Or(r.OccurredAt, d.OccurredAt), Enriched: r}, err
	case "Finding":
		r := new(schemas.Finding)
		err = r.DecodeMessage(d.Payload)
		return broker.Findings, Row{ID: r.RowId, At: cmp.Or(r.FirstSeen, d.OccurredAt), Finding: r}, err
	case "Task":
		r := new(schemas.Task)
		err = r.DecodeMessage(d.Payload)
		return broker.Tasks, Row{ID: r.RowId, At: cmp.Or(r.FirstSeen, d.OccurredAt), Task: r}, err
	case "Spend":
		r := new(schemas.Spend)
		err = r.DecodeMessage(d.Payload)
		return broker.Spend, Row{ID: r.RowId, At: cmp.Or(r.PaneStart, d.OccurredAt), Spend: r}, err
	case "DeadLetter":
		r := new(schemas.DeadLetter)
		err = r.DecodeMessage(d.Payload)
		return broker.DeadLetters, Row{ID: r.RowId, At: cmp.Or(r.OccurredAt, d.OccurredAt), DeadLetter: r}, err
	case "":
		return "", Row{}, fmt.Errorf("%d bytes are no record of a known schema", len(d.Payload))
	default:
		return "", Row{}, fmt.Errorf("a %s is no row", name)
	}
}
