package broker

import (
	"context"
	"fmt"
)

// Scan calls each with every message that a log holds as of the call, in
// order, and ends. An error of each ends it at once.
func Scan(ctx context.Context, b Broker, log Log, each func(Message) error) error {
	end, err := b.End(ctx, log)
	if err != nil || end == 0 {
		return err
	}
	r, err := b.Read(ctx, log, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		m, err := r.Next(ctx)
		if err == nil {
			err = each(m)
		}
		if err != nil {
			return fmt.Errorf("cannot read %s/%d: %w", log.Topic, log.Partition, err)
		}
		if m.Position >= end {
			return nil
		}
	}
}
