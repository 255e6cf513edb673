package otlp

import (
	"fmt"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// Field numbers of the OTLP messages that are read without being decoded. The
// requests of all three signals, their resources and scopes use the same.
const (
	requestResources = 1
	resourceResource = 1
	resourceScopes   = 2
	scopeRecords     = 2
	logBody          = 5
	anyString        = 1
	spanName         = 5
	metricName       = 1
)

// unmarshal decodes one record. An AnyValue may nest 32 deep, three messages
// each, inside an attribute of a span event.
var unmarshal = proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 3*maxValueDepth + 8}.Unmarshal

// protobufRequest is an export request in the Protobuf form. It is walked
// field by field and each record is decoded on its own, so that a bad record
// does not hide its neighbours and a request of 64 MiB never becomes
// gigabytes of decoded messages.
type protobufRequest []byte

func (q protobufRequest) walk(_ *signal, visit func([]attribute, encoded) error) error {
	return fields(q, requestResources, func(b []byte) error {
		var resource []attribute
		err := fields(b, resourceResource, func(b []byte) error {
			var m resourcepb.Resource
			if len(b) > maxRecord {
				return tooLong("resource", len(b), maxRecord)
			}
			if err := unmarshal(b, &m); err != nil {
				return undecodable("resource", b)
			}
			var err error
			resource, err = protobufAttributes(nil, m.Attributes)
			return err
		})
		if err != nil {
			return err
		}
		return fields(b, resourceScopes, func(b []byte) error {
			return fields(b, scopeRecords, func(b []byte) error {
				return visit(resource, protobufRecord(b))
			})
		})
	})
}

// check tells whether all of the request can be walked.
func (q protobufRequest) check() error {
	return q.walk(nil, func([]attribute, encoded) error { return nil })
}

// fields calls visit with the content of each field of a message that has the
// number and holds a message or a string.
func fields(b []byte, number protowire.Number, visit func([]byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return undecodable("tag", b)
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return undecodable("field", b)
		}
		if num == number && typ == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(b[n:])
			if err := visit(content); err != nil {
				return err
			}
		}
		b = b[n+size:]
	}
	return nil
}

func undecodable(what string, b []byte) error {
	return &producers.BadInput{Reason: "undecodable", Detail: fmt.Sprintf("cannot decode a %s in %d bytes of Protobuf", what, len(b))}
}

func protobufAttributes(into []attribute, list []*commonpb.KeyValue) ([]attribute, error) {
	if len(list) > maxAttributes {
		return nil, tooMany()
	}
	for _, kv := range list {
		into = append(into, attribute{kv.GetKey(), protobufValue(kv.GetValue())})
	}
	return into, nil
}

func protobufValue(v *commonpb.AnyValue) value {
	switch v := v.GetValue().(type) {
	case nil:
		return value{}
	case *commonpb.AnyValue_StringValue:
		return value{kind: kindText, text: v.StringValue}
	case *commonpb.AnyValue_BoolValue:
		return boolValue(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return value{kind: kindLong, long: v.IntValue}
	case *commonpb.AnyValue_DoubleValue:
		return value{kind: kindDouble, double: v.DoubleValue}
	}
	return value{kind: kindOther}
}

// protobufRecord is one record of a protobufRequest.
type protobufRecord []byte

func (r protobufRecord) bytes() []byte { return r }

func (r protobufRecord) name(s *signal) (name string) {
	at := func(b []byte) error { name = string(b); return nil }
	switch s {
	case logs:
		_ = fields(r, logBody, func(b []byte) error { return fields(b, anyString, at) })
	case traces:
		_ = fields(r, spanName, at)
	case metrics:
		_ = fields(r, metricName, at)
	}
	return s.known(name)
}

func (r protobufRecord) read(into *record) (err error) {
	if into.signal == schemas.SignalSpan {
		return r.readSpan(into)
	}
	var m logspb.LogRecord
	if err := unmarshal(r, &m); err != nil {
		return undecodable("log record", r)
	}
	into.at, into.observed = int64(m.TimeUnixNano/1000), int64(m.ObservedTimeUnixNano/1000)
	into.attributes, err = protobufAttributes(into.attributes[:0], m.Attributes)
	return err
}

func (r protobufRecord) readSpan(into *record) (err error) {
	var m tracepb.Span
	if err := unmarshal(r, &m); err != nil {
		return undecodable("span", r)
	}
	into.at = int64(m.StartTimeUnixNano / 1000)
	for _, e := range m.Events {
		if e.GetName() == toolOutput {
			if into.output, err = protobufAttributes(nil, e.GetAttributes()); err != nil {
				return err
			}
			into.hasOutput = true
		}
	}
	into.attributes, err = protobufAttributes(into.attributes[:0], m.Attributes)
	return err
}

func (r protobufRecord) points() (int64, error) {
	var m metricspb.Metric
	if err := unmarshal(r, &m); err != nil {
		return 0, undecodable("metric", r)
	}
	switch d := m.Data.(type) {
	case *metricspb.Metric_Sum:
		return int64(len(d.Sum.GetDataPoints())), nil
	case *metricspb.Metric_Gauge:
		return int64(len(d.Gauge.GetDataPoints())), nil
	case *metricspb.Metric_Histogram:
		return int64(len(d.Histogram.GetDataPoints())), nil
	case *metricspb.Metric_ExponentialHistogram:
		return int64(len(d.ExponentialHistogram.GetDataPoints())), nil
	case *metricspb.Metric_Summary:
		return int64(len(d.Summary.GetDataPoints())), nil
	}
	return 0, nil
}
