package delivery

import (
	"context"
	"sync"
)

// growAfter is how many batches in a row must go well before one more is sent
// at a time (contract openobserve §13.2).
const growAfter = 20

// window is how many batches may be on their way: as many as the store takes.
type window struct {
	most int

	mu    sync.Mutex
	limit int
	used  int
	well  int           // batches since the limit has changed
	freed chan struct{} // closed at the next release
}

func newWindow(most int) *window {
	return &window{most: most, limit: most, freed: make(chan struct{})}
}

// acquire waits for a place.
func (w *window) acquire(ctx context.Context) error {
	for ctx.Err() == nil {
		w.mu.Lock()
		freed, ok := w.freed, w.used < w.limit
		if ok {
			w.used++
		}
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// release gives a place back; an overload halves how many there are.
func (w *window) release(overloaded bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used--
	if overloaded {
		w.limit, w.well = max(1, w.limit/2), 0
	} else if w.well++; w.well >= growAfter {
		w.limit, w.well = min(w.most, w.limit+1), 0
	}
	close(w.freed)
	w.freed = make(chan struct{})
}
