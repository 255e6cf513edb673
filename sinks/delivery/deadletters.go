package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

const (
	// frameLetters is how many dead letters share a message, unless they are long.
	frameLetters      = 100
	frameLettersBytes = 512 << 10
	maxPayload        = 64 << 10 // of a dead letter (schemas/deadletter.avsc)
)

// SourceTopic is the topic that a sink's dead letter came from; "" for those of
// producers and processors, whose sources are files and the topic of events.
func SourceTopic(d *schemas.DeadLetter) string {
	if topic, _, ok := strings.Cut(d.Source, "/"); ok && isPublic(topic) {
		return topic
	}
	return ""
}

// toTopic makes dead letters of rows, each with the row in it, and returns when
// the topic has them.
//
// A dead letter about a row of the topic deadletters is a row of it again, and so
// on: one about such a dead letter is counted and logged only. It stays where it
// was.
func (s *sender) toTopic(ctx context.Context, b *Batch, rows []int, reason, detail string) error {
	s.Metrics.dead(b.Topic, len(rows), reason)
	slog.Warn("rows cannot be stored", "sink", s.Group, "topic", b.Topic, "partition", b.Partition, "rows", len(rows), "reason", reason, "detail", detail)
	if reason != "outside_window" {
		refused, stored := s.refused.Add(int64(len(rows))), s.stored.Load()
		if alarming(refused-int64(len(rows)), stored) != alarming(refused, stored) {
			slog.Error("more than one row of a hundred is refused: something is wrong with the rows, or with the store", "sink", s.Group, "refused", refused, "stored", stored)
		}
	}
	var frame [][]byte
	size := 0
	for n, i := range rows {
		d, err := s.letter(b, i, reason, detail)
		if err != nil {
			return err
		}
		if d != nil {
			letter := d.AppendAvro(nil)
			frame, size = append(frame, letter), size+len(letter)
		}
		full := len(frame) >= frameLetters || size >= frameLettersBytes
		if len(frame) == 0 || !full && n+1 < len(rows) {
			continue
		}
		if err := appendLetters(ctx, s.worker, b.Partition, frame); err != nil {
			return err
		}
		frame, size = nil, 0
	}
	return nil
}

// alarming: some rows may be bad, but not one in a hundred (contract openobserve
// §13.3).
func alarming(refused, stored int64) bool { return refused >= 10 && refused*100 > stored }

// letter is the dead letter of a row; nil where there is one too many. The same
// row refused for the same reason is the same dead letter.
func (s *sender) letter(b *Batch, i int, reason, detail string) (*schemas.DeadLetter, error) {
	r := b.rows[i]
	m := s.slice.messages[r.message]
	var decoder Decoder
	_, decoded, err := decoder.Decode(b.Topic, broker.Message{Position: m.position, Payload: m.payload})
	if err != nil {
		return nil, fmt.Errorf("the message at position %d: %w", m.position, err)
	}
	row := &decoded[r.index]
	d := &schemas.DeadLetter{
		Generation: s.Broker.Generation(), Reason: reason, Detail: detail,
		Source: s.slice.log.String(), Position: fmt.Sprintf("%d/%d", m.position, r.index),
		OccurredAt: time.Now().UnixMicro(),
	}
	switch {
	case row.Enriched != nil:
		d.Org, d.SessionId = row.Enriched.Org, row.Enriched.SessionId
	case row.Finding != nil:
		d.Org, d.SessionId = row.Finding.Org, row.Finding.SessionId
	case row.Task != nil:
		d.Org = row.Task.Org
	case row.Spend != nil:
		d.Org = row.Spend.Org
	case SourceTopic(row.DeadLetter) == broker.DeadLetters:
		return nil, nil
	}
	fill(d, row.AppendMessage(nil))
	return d, nil
}

// fill names what a dead letter is about, and takes it in where it fits.
func fill(d *schemas.DeadLetter, what []byte) {
	d.Hash, d.Size = schemas.TextHash(what), int64(len(what))
	if len(what) <= maxPayload {
		d.Payload = what
	}
	d.Cap()
	schemas.SetDeadLetterID(d)
}

// appendLetters tries until the broker has them.
func appendLetters(ctx context.Context, w *worker, partition int, letters [][]byte) error {
	header := schemas.RowHeader{Processor: w.Group, SourcePartition: int64(partition), Generation: w.Broker.Generation()}
	message := broker.AppendRows(nil, broker.DeadLetters, &header, letters)
	return patiently(ctx, func() error {
		_, err := w.Broker.Append(ctx, broker.Log{Topic: broker.DeadLetters, Partition: partition}, message)
		return err
	})
}

// patiently calls again while the broker says that it may work later.
func patiently(ctx context.Context, call func() error) error {
	for told := false; ; {
		err := call()
		if !errors.Is(err, broker.ErrRetry) && !errors.Is(err, broker.ErrUnknown) {
			return err
		}
		if !told {
			slog.Warn("the broker does not answer, trying again", "error", err)
			told = true
		}
		if err := sleep(ctx, retryAfter); err != nil {
			return err
		}
	}
}
