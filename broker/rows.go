package broker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// rowFrames are the topics that hold frames of rows: for each the schemas of
// row and frame, and how the head of such a frame is read.
var rowFrames = map[string]frames{
	Enriched:    enrichedFrames,
	ChangeFacts: enrichedFrames,
	Findings: {schemas.FindingFingerprint, schemas.FindingFrameFingerprint, func(message []byte) (schemas.RowHeader, error) {
		var f schemas.FindingFrame
		err := f.DecodeMessage(message)
		return f.Header, err
	}},
	DeadLetters: {schemas.DeadLetterFingerprint, schemas.DeadLetterFrameFingerprint, func(message []byte) (schemas.RowHeader, error) {
		var f schemas.DeadLetterFrame
		err := f.DecodeMessage(message)
		return f.Header, err
	}},
	Tasks: {schemas.TaskFingerprint, schemas.TaskFrameFingerprint, func(message []byte) (schemas.RowHeader, error) {
		var f schemas.TaskFrame
		err := f.DecodeMessage(message)
		return f.Header, err
	}},
	TaskFacts: {schemas.TaskFactFingerprint, schemas.TaskFactFrameFingerprint, func(message []byte) (schemas.RowHeader, error) {
		var f schemas.TaskFactFrame
		err := f.DecodeMessage(message)
		return f.Header, err
	}},
	Spend: {schemas.SpendFingerprint, schemas.SpendFrameFingerprint, func(message []byte) (schemas.RowHeader, error) {
		var f schemas.SpendFrame
		err := f.DecodeMessage(message)
		return f.Header, err
	}},
	SpendDeltas: {schemas.SpendDeltaFingerprint, schemas.SpendDeltaFrameFingerprint, func(message []byte) (schemas.RowHeader, error) {
		var f schemas.SpendDeltaFrame
		err := f.DecodeMessage(message)
		return f.Header, err
	}},
	Closed: {schemas.ClosedFingerprint, schemas.ClosedFrameFingerprint, func(message []byte) (schemas.RowHeader, error) {
		var f schemas.ClosedFrame
		err := f.DecodeMessage(message)
		return f.Header, err
	}},
}

type frames struct {
	row, fingerprint uint64
	header           func(message []byte) (schemas.RowHeader, error)
}

var enrichedFrames = frames{schemas.EnrichedFingerprint, schemas.EnrichedFrameFingerprint, func(message []byte) (schemas.RowHeader, error) {
	var f schemas.EnrichedFrame
	err := f.DecodeMessage(message)
	return f.Header, err
}}

// RowTopics are the topics that hold frames of rows, in order of name.
func RowTopics() []string { return slices.Sorted(maps.Keys(rowFrames)) }

// IsRowTopic tells whether a topic holds frames of rows.
func IsRowTopic(topic string) bool {
	_, ok := rowFrames[topic]
	return ok
}

// RowSchema is the fingerprint of the schema that rows of one of RowTopics are
// written with.
func RowSchema(topic string) uint64 { return rowFrames[topic].row }

// CompareOutputs is the order of the outputs of a commit.
func CompareOutputs(a, b schemas.Output) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Partition, b.Partition))
}

// AppendRows appends a frame of already encoded rows as a message of one of
// RowTopics.
func AppendRows(b []byte, topic string, header *schemas.RowHeader, rows [][]byte) []byte {
	return schemas.AppendRowFrame(b, rowFrames[topic].fingerprint, header, rows)
}

// RowsHeader reads the head of a message of one of RowTopics.
func RowsHeader(topic string, message []byte) (schemas.RowHeader, error) {
	if !IsRowTopic(topic) {
		return schemas.RowHeader{}, fmt.Errorf("cannot read rows: topic %q holds none", topic)
	}
	header, err := rowFrames[topic].header(message)
	if err != nil {
		return header, fmt.Errorf("cannot read rows of %s: %w", topic, err)
	}
	return header, nil
}
