package reference

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Events are all events of sessions that the logs of an installation hold, of both
// lanes of all partitions, as of the call. Events that do not decode are left out: the
// processor made dead letters of them.
func Events(ctx context.Context, b broker.Broker) ([]Input, error) {
	var events []Input
	err := scan(ctx, b, broker.Events, []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical}, func(m broker.Message) error {
		fingerprint, _ := schemas.MessageFingerprint(m.Payload)
		if schemas.FingerprintName(fingerprint) != "Frame" {
			return nil // a control record, or nothing that can be read
		}
		var f schemas.Frame
		if f.DecodeMessage(m.Payload) != nil {
			return nil
		}
		for _, segment := range f.Segments {
			for _, encoded := range segment.Events {
				in := Input{Org: segment.Org, AppendedAt: m.AppendedAt}
				if in.Event.DecodeMessage(schemas.AppendRecord(nil, uint64(segment.Schema), encoded)) == nil && in.Event.SessionId != "" {
					events = append(events, in)
				}
			}
		}
		return nil
	})
	return events, err
}

// Configured is a batch with all versions of prices and directory that an
// installation was given, and what was restated; builtin are the prices that a
// release brings along.
func Configured(ctx context.Context, b broker.Broker, builtin []byte) (Batch, error) {
	batch := Batch{Generation: b.Generation()}
	add := func(kind string, number, effectiveAt int64, text []byte) error {
		switch kind {
		case "prices":
			p, err := ParsePrices(text, number)
			batch.Prices = append(batch.Prices, Version[*Prices]{number, effectiveAt, p})
			return err
		case "directory":
			d, err := ParseDirectory(text)
			batch.Directories = append(batch.Directories, Version[*Directory]{number, effectiveAt, d})
			return err
		}
		return nil
	}
	if err := add("prices", 1, 0, builtin); err != nil {
		return batch, err
	}
	seen := map[string]bool{} // of two that were applied at once, the first stands
	err := broker.Scan(ctx, b, broker.Log{Topic: broker.Config}, func(m broker.Message) error {
		var c schemas.Config
		if err := c.DecodeMessage(m.Payload); err != nil {
			return err
		}
		name := fmt.Sprint(c.Kind, c.Version)
		if seen[name] {
			return nil
		}
		seen[name] = true
		return add(c.Kind, c.Version, c.EffectiveAt, bytes.Clone(c.Text))
	})
	if err != nil {
		return batch, fmt.Errorf("cannot read the configuration: %w", err)
	}
	// Every partition was told the same.
	err = broker.Scan(ctx, b, broker.Log{Topic: broker.Events, Lane: schemas.LaneCritical}, func(m broker.Message) error {
		var c schemas.Control
		if c.DecodeMessage(m.Payload) == nil && c.Type == schemas.ControlTypeRestate {
			batch.restate(Restatement{strings.Clone(c.ConfigKind), c.ConfigVersion, c.Since, strings.Clone(c.Reason), c.EffectiveAt})
		}
		return nil
	})
	return batch, err
}

// Published are all rows of sessions that the topic enriched holds as of the call,
// as they were said.
func Published(ctx context.Context, b broker.Broker) ([]schemas.Enriched, error) {
	var rows []schemas.Enriched
	err := scan(ctx, b, broker.Enriched, []schemas.Lane{schemas.LaneNormal}, func(m broker.Message) error {
		var f schemas.EnrichedFrame
		if err := f.DecodeMessage(m.Payload); err != nil {
			return err
		}
		for i := range f.Rows {
			if f.Rows[i].SessionId != "" {
				rows = append(rows, f.Rows[i])
			}
		}
		return nil
	})
	return rows, err
}

func scan(ctx context.Context, b broker.Broker, topic string, lanes []schemas.Lane, each func(broker.Message) error) error {
	n, err := b.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", topic, err)
	}
	for p := range n {
		for _, lane := range lanes {
			if err := broker.Scan(ctx, b, broker.Log{Topic: topic, Partition: p, Lane: lane}, each); err != nil {
				return err
			}
		}
	}
	return nil
}
