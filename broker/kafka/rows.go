package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

// Headers of a row: numbers in decimal digits, hash and fingerprint in hex. The
// rows that a commit says for one partition all bear the same ones.
const (
	headerProcessor       = "flightlog-processor"
	headerSourcePartition = "flightlog-source-partition"
	headerGeneration      = "flightlog-generation"
	headerCommit          = "flightlog-commit"
	headerPreviousCommit  = "flightlog-previous-commit"
	headerCommitHash      = "flightlog-commit-hash"
	headerWatermark       = "flightlog-watermark"
	headerSchema          = "flightlog-schema" // CRC-64-AVRO, in Confluent's format only
)

// confluentHeader is the length of magic byte and schema id.
const confluentHeader = 5

// subjectSuffix makes a registry's subject of a topic.
const subjectSuffix = "-value"

// singleObject is how a single-object encoded record begins.
var singleObject = []byte{0xc3, 0x01}

// rowRecords makes the records of rows for one log. id is the registry's id of
// their schema, 0 without a registry. Nothing of rows is kept.
func rowRecords(to broker.Log, at place, header *schemas.RowHeader, fingerprint uint64, id int, rows [][]byte) ([]*kgo.Record, error) {
	size := 0
	for _, row := range rows {
		size += len(row) + 10
	}
	buffer := make([]byte, 0, size)
	headers := rowHeaders(header, fingerprint, id)
	made := make([]kgo.Record, len(rows))
	records := make([]*kgo.Record, len(rows))
	for i, row := range rows {
		key, err := rowKey(to.Topic, row)
		if err != nil {
			return nil, fmt.Errorf("row %d for %s/%d: %w", i, to.Topic, to.Partition, err)
		}
		start := len(buffer)
		if id != 0 {
			buffer = binary.BigEndian.AppendUint32(append(buffer, 0), uint32(id))
			buffer = append(buffer, row...)
		} else {
			buffer = schemas.AppendRecord(buffer, fingerprint, row)
		}
		made[i] = kgo.Record{Topic: at.topic, Partition: at.partition, Key: key, Value: buffer[start:len(buffer):len(buffer)], Headers: headers}
		records[i] = &made[i]
	}
	return records, nil
}

func rowHeaders(h *schemas.RowHeader, fingerprint uint64, id int) []kgo.RecordHeader {
	number := func(n int64) []byte { return strconv.AppendInt(nil, n, 10) }
	headers := []kgo.RecordHeader{
		{Key: headerProcessor, Value: []byte(h.Processor)},
		{Key: headerSourcePartition, Value: number(h.SourcePartition)},
		{Key: headerGeneration, Value: number(h.Generation)},
		{Key: headerCommit, Value: number(h.LastCommit)},
		{Key: headerPreviousCommit, Value: number(h.PreviousCommit)},
		{Key: headerCommitHash, Value: hex.AppendEncode(nil, h.CommitHash[:])},
		{Key: headerWatermark, Value: number(h.Watermark)},
	}
	if id != 0 {
		headers = append(headers, kgo.RecordHeader{Key: headerSchema, Value: fmt.Appendf(nil, "%016x", fingerprint)})
	}
	return headers
}

// rowKey is the key of a row in its topic: the partition key of its fact, the
// subject of a finding, the task, dimension and value of spend, the state key of an
// archive, none for a dead letter.
func rowKey(topic string, row []byte) ([]byte, error) {
	var err error
	switch topic {
	case broker.Enriched:
		var r schemas.Enriched
		_, err = r.DecodeAvro(row)
		if r.SessionId != "" {
			return []byte(r.SessionId), err
		}
		return []byte(r.Repo), err
	case broker.ChangeFacts:
		var r schemas.Enriched
		_, err = r.DecodeAvro(row)
		return []byte(r.Repo), err
	case broker.Findings:
		var r schemas.Finding
		_, err = r.DecodeAvro(row)
		return []byte(r.Subject), err
	case broker.Tasks:
		var r schemas.Task
		_, err = r.DecodeAvro(row)
		return []byte(r.TaskId), err
	case broker.TaskFacts:
		var r schemas.TaskFact
		_, err = r.DecodeAvro(row)
		return []byte(r.Task.TaskId), err
	case broker.Spend:
		var r schemas.Spend
		_, err = r.DecodeAvro(row)
		return []byte(r.Dimension.String() + "\x00" + r.Value), err
	case broker.SpendDeltas:
		var r schemas.SpendDelta
		_, err = r.DecodeAvro(row)
		return []byte(r.Dimension.String() + "\x00" + r.Value), err
	case broker.Closed:
		var r schemas.Closed
		_, err = r.DecodeAvro(row)
		return bytes.Clone(r.Key), err
	}
	return nil, err
}

// unpack reads a frame of rows; there are none where the payload is no frame.
func unpack(topic string, payload []byte) (header schemas.RowHeader, rows [][]byte) {
	var err error
	switch topic {
	case broker.Enriched, broker.ChangeFacts:
		var f schemas.EnrichedFrame
		err = f.DecodeMessage(payload)
		header, rows = f.Header, encode(f.Rows, (*schemas.Enriched).AppendAvro)
	case broker.Findings:
		var f schemas.FindingFrame
		err = f.DecodeMessage(payload)
		header, rows = f.Header, encode(f.Rows, (*schemas.Finding).AppendAvro)
	case broker.DeadLetters:
		var f schemas.DeadLetterFrame
		err = f.DecodeMessage(payload)
		header, rows = f.Header, encode(f.Rows, (*schemas.DeadLetter).AppendAvro)
	case broker.Tasks:
		var f schemas.TaskFrame
		err = f.DecodeMessage(payload)
		header, rows = f.Header, encode(f.Rows, (*schemas.Task).AppendAvro)
	case broker.TaskFacts:
		var f schemas.TaskFactFrame
		err = f.DecodeMessage(payload)
		header, rows = f.Header, encode(f.Rows, (*schemas.TaskFact).AppendAvro)
	case broker.Spend:
		var f schemas.SpendFrame
		err = f.DecodeMessage(payload)
		header, rows = f.Header, encode(f.Rows, (*schemas.Spend).AppendAvro)
	case broker.SpendDeltas:
		var f schemas.SpendDeltaFrame
		err = f.DecodeMessage(payload)
		header, rows = f.Header, encode(f.Rows, (*schemas.SpendDelta).AppendAvro)
	case broker.Closed:
		var f schemas.ClosedFrame
		err = f.DecodeMessage(payload)
		header, rows = f.Header, encode(f.Rows, (*schemas.Closed).AppendAvro)
	}
	if err != nil {
		return schemas.RowHeader{}, nil
	}
	return header, rows
}

func encode[R any](rows []R, appendAvro func(*R, []byte) []byte) [][]byte {
	encoded := make([][]byte, len(rows))
	for i := range rows {
		encoded[i] = appendAvro(&rows[i], nil)
	}
	return encoded
}

// payloadOf is what a record says as a message: a row with its headers as a
// frame of one row in the schema that this release reads, else its value.
func payloadOf(topic string, r *kgo.Record) ([]byte, error) {
	isRow := slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == headerProcessor })
	if !broker.IsRowTopic(topic) || !isRow {
		return r.Value, nil
	}
	header, fingerprint, err := readHeaders(r)
	if err != nil {
		return nil, err
	}
	var row []byte
	switch {
	case bytes.HasPrefix(r.Value, singleObject):
		var ok bool
		if fingerprint, ok = schemas.MessageFingerprint(r.Value); !ok {
			return nil, fmt.Errorf("%d bytes are no record", len(r.Value))
		}
		row = r.Value[len(singleObject)+8:]
	case len(r.Value) >= confluentHeader && r.Value[0] == 0 && fingerprint != 0:
		row = r.Value[confluentHeader:]
	default:
		return nil, errors.New("it is neither single-object encoded nor in Confluent's format with the header " + headerSchema)
	}
	if row, err = schemas.Resolve(fingerprint, broker.RowSchema(topic), row); err != nil {
		return nil, err
	}
	return broker.AppendRows(nil, topic, &header, [][]byte{row}), nil
}

func readHeaders(r *kgo.Record) (h schemas.RowHeader, fingerprint uint64, err error) {
	for _, header := range r.Headers {
		var wrong error
		number := func(to *int64) {
			*to, wrong = strconv.ParseInt(string(header.Value), 10, 64)
		}
		switch header.Key {
		case headerProcessor:
			h.Processor = string(header.Value)
		case headerSourcePartition:
			number(&h.SourcePartition)
		case headerGeneration:
			number(&h.Generation)
		case headerCommit:
			number(&h.LastCommit)
			h.FirstCommit = h.LastCommit
		case headerPreviousCommit:
			number(&h.PreviousCommit)
		case headerCommitHash:
			if hex.DecodedLen(len(header.Value)) != len(h.CommitHash) {
				wrong = errors.New("it has another length")
			} else {
				_, wrong = hex.Decode(h.CommitHash[:], header.Value)
			}
		case headerWatermark:
			number(&h.Watermark)
		case headerSchema:
			fingerprint, wrong = strconv.ParseUint(string(header.Value), 16, 64)
		}
		if wrong != nil {
			return h, 0, fmt.Errorf("header %s: %w", header.Key, wrong)
		}
	}
	return h, fingerprint, nil
}

// registry knows the ids of schemas in a schema registry.
type registry struct {
	client *sr.Client

	mu  sync.Mutex
	ids map[string]int // by topic
}

func newRegistry(url string) (*registry, error) {
	client, err := sr.NewClient(sr.URLs(url))
	if err != nil {
		return nil, err
	}
	return &registry{client: client, ids: map[string]int{}}, nil
}

// knows tells whether register would change nothing.
func (g *registry) knows(ctx context.Context, topic string, fingerprint uint64) (bool, error) {
	schema, err := avro(fingerprint)
	if err != nil {
		return false, err
	}
	_, err = g.client.LookupSchema(ctx, topic+subjectSuffix, schema)
	var refused *sr.ResponseError
	if errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
		return false, nil
	}
	return err == nil, registryError(topic, err)
}

// registryError: a registry that refuses (4xx) will refuse again.
func registryError(topic string, err error) error {
	var refused *sr.ResponseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.StatusCode/100 == 4:
		return fmt.Errorf("registry, schema of %s: %w", topic, err)
	}
	return fmt.Errorf("registry, schema of %s: %w: %w", topic, err, broker.ErrRetry)
}

// avro is a schema as the registry takes it.
func avro(fingerprint uint64) (sr.Schema, error) {
	text, ok := schemas.Definition(fingerprint)
	if !ok {
		return sr.Schema{}, fmt.Errorf("no schema has the fingerprint %016x", fingerprint)
	}
	return sr.Schema{Schema: string(text), Type: sr.TypeAvro}, nil
}

// register makes the schema of a topic's rows known to the registry, which
// checks that it is compatible, and returns its id. It changes nothing where it
// is known.
func (g *registry) register(ctx context.Context, topic string, fingerprint uint64) (int, error) {
	g.mu.Lock()
	id := g.ids[topic]
	g.mu.Unlock()
	if id != 0 {
		return id, nil
	}
	schema, err := avro(fingerprint)
	if err != nil {
		return 0, err
	}
	id, err = g.client.RegisterSchema(ctx, topic+subjectSuffix, schema, -1, -1)
	if err != nil {
		return 0, registryError(topic, err)
	}
	g.mu.Lock()
	g.ids[topic] = id
	g.mu.Unlock()
	return id, nil
}
