// Package otlp reads what Claude Code tells by OpenTelemetry: the log records
// and spans of export requests, as JSON or Protobuf (contract §4).
//
// OTLP is the witness for cost: it tells of every billed request with its
// tokens and id, and of each approval. It knows no exit status, of paths not
// what they are in the repository, and output only from spans (contract §6).
// Texts leave a record as hash and length only.
//
// A commit's fact is named by the first seven hex digits of its id: that much
// every witness has, from the short form that git prints to the client's hooks
// to the whole id in OTLP, and a session never makes so many commits that two
// of them share it.
package otlp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"mime"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// MaxBody is the longest export request in bytes, after decompression.
const MaxBody = 64 << 20

// Limits of one record. The client cuts each text at 61 440 UTF-16 units, and
// OpenTelemetry's SDKs send at most 128 attributes.
const (
	maxRecord     = 1 << 20
	maxAttributes = 512
	maxValueDepth = 32
)

// maxBuried is how many records of a request become dead letters. A request
// with more of them is bad as a whole: nobody would look at each.
const maxBuried = 1000

// maxSkippedNames bounds Skipped: names come from the input.
const maxSkippedNames = 256

// Content types of OTLP over HTTP.
const (
	JSON     = "application/json"
	Protobuf = "application/x-protobuf"
)

// A Reader turns export requests into events. It is used by one goroutine at a
// time.
type Reader struct {
	// Source names the file in dead letters of Recorded.
	Source string

	sink    producers.Sink
	skipped map[string]int64
	record  record
	made    [maxEvents]made
	n       int
}

// maxEvents is the most that one record makes: a tool call, its file change or
// test run, and a commit.
const maxEvents = 3

type made struct {
	event schemas.Event
	id    string
}

// New gives a reader whose events and dead letters go to sink.
func New(sink producers.Sink) *Reader {
	return &Reader{sink: sink, skipped: map[string]int64{}}
}

// Skipped counts what no event was made of, by name: records of kinds that say
// nothing of their own (hook_registered is two fifths of all records), points
// of metrics, and records without a session.
func (r *Reader) Skipped() map[string]int64 { return maps.Clone(r.skipped) }

func (r *Reader) skip(name string, n int64) {
	if _, known := r.skipped[name]; !known && (len(r.skipped) >= maxSkippedNames || name == "" || len(name) > 128) {
		name = "other"
	}
	r.skipped[name] += n
}

// Logs reads the body of one export request for logs. source and position say
// where it came from, for dead letters.
//
// A request that cannot be read is a *[producers.BadInput]: too_long (over
// [MaxBody]), not_utf8, not_json, too_deep, undecodable, content_type,
// wrong_type (above the records), or invalid (more than 1000 bad records); the
// last two may come after events of records that stand before. A record that
// cannot be read becomes a dead letter with the record's index in its position,
// and the others are read. An error of the sink ends the reading. Sent again, a
// request makes the same events.
func (r *Reader) Logs(body []byte, contentType, source string, position int64) error {
	return r.body(logs, body, contentType, place{source, position})
}

// Traces is [Reader.Logs] for spans.
func (r *Reader) Traces(body []byte, contentType, source string, position int64) error {
	return r.body(traces, body, contentType, place{source, position})
}

// Metrics checks an export request for metrics as [Reader.Logs] does, and
// counts its points as skipped. It makes no event: metrics tell the same
// tokens and costs as the log records without saying of which request, and
// whoever adds both counts twice (contract §4.4).
func (r *Reader) Metrics(body []byte, contentType, source string, position int64) error {
	return r.body(metrics, body, contentType, place{source, position})
}

// Recorded reads one line of a recording of export requests, {signal, body,
// raw_base64, ...}: the Protobuf message where there is one, else the JSON
// body. Errors are those of [Reader.Logs].
func (r *Reader) Recorded(line int64, raw []byte) error {
	envelope := string(raw)
	if err := checkJSON(envelope); err != nil {
		return err
	}
	var name, body, message string
	c := cursor{s: envelope}
	err := c.members("line", func(key string) (err error) {
		switch key {
		case "signal":
			name, err = c.text(key)
		case "body":
			body = c.skip()
		case "raw_base64":
			message, err = c.text(key)
		default:
			c.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	at := place{r.Source, line}
	s, ok := map[string]*signal{"logs": logs, "metrics": metrics, "traces": traces}[name]
	switch {
	case !ok:
		return wrongType("signal", "logs, metrics or traces")
	case message != "":
		b, err := base64.StdEncoding.DecodeString(message)
		if err != nil {
			return wrongType("raw_base64", "base64")
		}
		return r.body(s, b, Protobuf, at)
	case body != "":
		return r.request(s, jsonRequest(body), at)
	}
	return &producers.BadInput{Reason: "missing_field", Detail: "want body or raw_base64"}
}

// place says where a request came from.
type place struct {
	source   string
	position int64
}

// A signal is what differs between logs, metrics and traces.
type signal struct {
	kind                       schemas.Signal
	resources, scopes, records string // members of the JSON form
	name                       string // member that holds a record's name
	events                     map[string]func(*Reader, *record)
}

var (
	logs = &signal{
		kind:      schemas.SignalLog,
		resources: "resourceLogs", scopes: "scopeLogs", records: "logRecords",
		name: "body", events: logEvents,
	}
	traces = &signal{
		kind:      schemas.SignalSpan,
		resources: "resourceSpans", scopes: "scopeSpans", records: "spans",
		name: "name", events: spanEvents,
	}
	metrics = &signal{
		kind:      schemas.SignalMetric,
		resources: "resourceMetrics", scopes: "scopeMetrics", records: "metrics",
		name: "name",
	}
)

// known is the name that Skipped and the tables of events use, from what the
// client puts where a record's name stands. Other programs put any text there.
func (s *signal) known(name string) string {
	if s == logs {
		event, ok := strings.CutPrefix(name, "claude_code.")
		if !ok {
			return ""
		}
		return event
	}
	return name
}

// request is an export request in one of the two encodings.
type request interface {
	// walk visits each record in order, with the attributes of its resource.
	walk(s *signal, visit func(resource []attribute, record encoded) error) error
}

// encoded is a record that was not decoded yet.
type encoded interface {
	bytes() []byte
	// name is the record's name, found without decoding the rest; empty if it
	// is not where the client puts it.
	name(s *signal) string
	// read decodes a log record or a span.
	read(into *record) error
	// points counts the points of a metric.
	points() (int64, error)
}

func (r *Reader) body(s *signal, body []byte, contentType string, at place) error {
	if len(body) > MaxBody {
		return tooLong("request", len(body), MaxBody)
	}
	mediaType, _, _ := mime.ParseMediaType(contentType)
	switch mediaType {
	case JSON:
		text := string(body)
		if err := checkJSON(text); err != nil {
			return err
		}
		return r.request(s, jsonRequest(text), at)
	case Protobuf:
		q := protobufRequest(body)
		if err := q.check(); err != nil {
			return err
		}
		return r.request(s, q, at)
	}
	return &producers.BadInput{Reason: "content_type", Detail: "want " + JSON + " or " + Protobuf}
}

func (r *Reader) request(s *signal, q request, at place) error {
	// The strings of record and events lie in the request: let go of it.
	defer func() { r.record, r.made = record{}, [maxEvents]made{} }()
	index, buried := -1, 0
	return q.walk(s, func(resource []attribute, e encoded) error {
		index++
		err := r.one(s, resource, e)
		var bad *producers.BadInput
		if !errors.As(err, &bad) {
			return err
		}
		if buried++; buried > maxBuried {
			return &producers.BadInput{Reason: "invalid", Detail: fmt.Sprintf("more than %d bad records", maxBuried)}
		}
		return r.bury(bad, e.bytes(), at, index)
	})
}

// one makes the events of a record, all or none.
func (r *Reader) one(s *signal, resource []attribute, e encoded) error {
	name := e.name(s)
	if s == metrics {
		n, err := e.points()
		r.skip(name, n)
		return err
	}
	events, ok := s.events[name]
	if name != "" && !ok {
		r.skip(name, 1)
		return nil
	}
	if size := len(e.bytes()); size > maxRecord {
		return tooLong("record", size, maxRecord)
	}
	rec := &r.record
	*rec = record{signal: s.kind, name: name, resource: resource, attributes: rec.attributes[:0]}
	if err := e.read(rec); err != nil {
		return err
	}
	if name == "" {
		rec.name = rec.text("event.name")
		events, ok = s.events[rec.name]
	}
	switch {
	case rec.bad != nil:
	case !ok:
		r.skip(rec.name, 1)
		return nil
	case rec.text("session.id") == "" && rec.bad == nil:
		r.skip("without session.id", 1)
		return nil
	default:
		rec.dated()
		r.n = 0
		events(r, rec)
	}
	if rec.bad != nil {
		return rec.bad
	}
	return r.send()
}

func (r *Reader) send() error {
	for i := range r.n {
		m := &r.made[i]
		m.event.Critical = extraction.Critical(&m.event)
		producers.Finish(&m.event, m.id)
		if err := r.sink.Event(&m.event); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) bury(bad *producers.BadInput, record []byte, at place, index int) error {
	d := schemas.DeadLetter{
		Generation: 1,
		Reason:     bad.Reason,
		Detail:     bad.Detail,
		Source:     producers.Homeless(at.source),
		Position:   strconv.FormatInt(at.position, 10) + ":" + strconv.Itoa(index),
		Hash:       schemas.TextHash(record),
		Size:       int64(len(record)),
		Witness:    schemas.WitnessOtlp,
		OccurredAt: time.Now().UnixMicro(),
	}
	schemas.SetDeadLetterID(&d)
	return r.sink.DeadLetter(&d)
}
