package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Redriven is what became of rows that were dead letters.
type Redriven struct {
	Stored  int            // those that the store held already too
	Refused map[string]int // by reason: still dead letters
}

// Redrive loads rows of a topic that were dead letters. A row that the store
// holds is not sent again; one that is refused once more stays a dead letter and
// makes none. It returns when every row is accounted for, and waits for a store
// that is down.
func Redrive(ctx context.Context, c Config, topic string, rows []Row) (Redriven, error) {
	w := newWorker(c.withDefaults())
	done := Redriven{Refused: map[string]int{}}
	var mu sync.Mutex // of done
	for len(rows) > 0 {
		s := &slice{log: broker.Log{Topic: topic}, again: true}
		n := 0
		for ; n < len(rows) && !s.full; n++ {
			s.put(w.Destination, &rows[n], n)
		}
		rows = rows[n:]
		deliverer := &sender{worker: w, traffic: w.traffic[queue{topic, schemas.LaneNormal}], slice: s, working: ctx, bury: func(_ context.Context, _ *Batch, rows []int, reason, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			done.Refused[reason] += len(rows)
			return nil
		}}
		for _, b := range s.batches {
			b.Scattered, b.ID = true, nameOf(b)
			if err := deliverer.deliver(ctx, b); err != nil {
				return done, err
			}
			done.Stored += b.Len()
		}
	}
	for _, n := range done.Refused {
		done.Stored -= n
	}
	return done, nil
}

// nameOf names a batch by its rows: H(ids).
func nameOf(b *Batch) string {
	h := sha256.New()
	for i := range b.rows {
		h.Write(b.rows[i].id[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
