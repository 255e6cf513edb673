package otlp

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// A record is one log record or span: what either encoding tells of it.
//
// Its readers return what an attribute says, the record's own before the
// resource's. The client's types are not uniform, so numbers and booleans may
// be strings (contract §4.3). An attribute of another type, or a number out of
// its range, is remembered in bad, and no event is made of the record.
type record struct {
	signal       schemas.Signal
	name         string
	at, observed int64 // µs; a span's start
	resource     []attribute
	attributes   []attribute
	output       []attribute // of the span event tool.output
	hasOutput    bool
	bad          *producers.BadInput
}

type attribute struct {
	key   string
	value value
}

// A value is an AnyValue that is no list.
type value struct {
	kind   valueKind
	text   string
	long   int64 // boolean: 0 or 1
	double float64
}

type valueKind uint8

const (
	kindNone valueKind = iota
	kindText
	kindLong
	kindDouble
	kindBoolean
	kindOther
)

func boolValue(b bool) value {
	v := value{kind: kindBoolean}
	if b {
		v.long = 1
	}
	return v
}

func wrongType(what, want string) error {
	return &producers.BadInput{Reason: "wrong_type", Detail: what + ": want " + want}
}

func tooLong(what string, size, limit int) error {
	return &producers.BadInput{Reason: "too_long", Detail: fmt.Sprintf("%s of %d bytes, the limit is %d", what, size, limit)}
}

func tooMany() error {
	return &producers.BadInput{Reason: "too_long", Detail: fmt.Sprintf("more than %d attributes", maxAttributes)}
}

func (r *record) wrong(key, want string) {
	if r.bad == nil {
		r.bad = &producers.BadInput{Reason: "wrong_type", Detail: "attribute " + key + ": want " + want}
	}
}

func lookup(attributes []attribute, key string) value {
	for i := range attributes {
		if attributes[i].key == key {
			return attributes[i].value
		}
	}
	return value{}
}

func (r *record) value(key string) value {
	if v := lookup(r.attributes, key); v.kind != kindNone {
		return v
	}
	return lookup(r.resource, key)
}

func (r *record) text(key string) string {
	v := r.value(key)
	if v.kind != kindText && v.kind != kindNone {
		r.wrong(key, "a string")
	}
	return v.text
}

func (r *record) double(key string) schemas.OptDouble {
	v := r.value(key)
	switch v.kind {
	case kindNone:
		return schemas.OptDouble{}
	case kindLong:
		v.double = float64(v.long)
	case kindText:
		var err error
		if v.double, err = strconv.ParseFloat(v.text, 64); err != nil {
			v.double = math.NaN()
		}
	case kindBoolean, kindOther:
		v.double = math.NaN()
	}
	if math.IsNaN(v.double) || math.IsInf(v.double, 0) {
		r.wrong(key, "a number")
		return schemas.OptDouble{}
	}
	return schemas.SomeDouble(v.double)
}

// count reads an integer that is never negative.
func (r *record) count(key string) schemas.OptLong {
	v := r.value(key)
	ok := v.kind == kindLong
	switch v.kind {
	case kindNone:
		return schemas.OptLong{}
	case kindText:
		n, err := strconv.ParseInt(v.text, 10, 64)
		v.long, ok = n, err == nil
	case kindDouble:
		v.long, ok = integral(v.double)
	}
	if !ok || v.long < 0 {
		r.wrong(key, "a count")
		return schemas.OptLong{}
	}
	return schemas.SomeLong(v.long)
}

// integral is d as an integer, if it is one that a double holds exactly.
func integral(d float64) (int64, bool) {
	return int64(d), d == math.Trunc(d) && math.Abs(d) < 1<<53
}

// duration reads milliseconds. A clock that was set back makes them negative;
// then they are not known, and the rest of the record still counts.
func (r *record) duration(key string) schemas.OptLong {
	if d := r.double(key); d.Valid && d.Value >= 0 && d.Value < 1<<53 {
		return schemas.SomeLong(int64(d.Value))
	}
	return schemas.OptLong{}
}

func (r *record) boolean(key string) schemas.OptBool {
	switch v := r.value(key); {
	case v.kind == kindNone:
		return schemas.OptBool{}
	case v.kind == kindBoolean:
		return schemas.SomeBool(v.long == 1)
	case v.kind == kindText && (v.text == "true" || v.text == "false"):
		return schemas.SomeBool(v.text == "true")
	}
	r.wrong(key, "a boolean")
	return schemas.OptBool{}
}

// dated makes sure that the record has a time. timeUnixNano is the client's
// event.timestamp, a few milliseconds later at most.
func (r *record) dated() {
	if r.at == 0 {
		if t, err := time.Parse(time.RFC3339, r.text("event.timestamp")); err == nil {
			r.at = t.UnixMicro()
		}
	}
	if r.at <= 0 {
		r.at = r.observed
	}
	if r.at <= 0 && r.bad == nil {
		r.bad = &producers.BadInput{Reason: "missing_field", Detail: "want timeUnixNano"}
	}
}

// identity is the fact's own id or, where the client did not send one, the
// record's.
func (r *record) identity(key string) string {
	if id := r.text(key); id != "" {
		return id
	}
	return r.ownIdentity()
}

// ownIdentity is what tells the record from every other of the session: its
// name, time and sequence number (which starts anew with each process, contract
// §0).
func (r *record) ownIdentity() string {
	return fmt.Sprintf("otlp:%s:%d:%d", r.name, r.at, r.count("event.sequence").Value)
}
