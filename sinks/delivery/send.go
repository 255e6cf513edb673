package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// Rows that are still missing after so many doubts are halved; sooner where
	// the connection broke, as it does when a handler dies over a row. A row alone
	// is taken for the reason after so many doubts while the store answered others.
	doubtsOfMany, breaksOfMany, doubtsOfOne = 5, 2, 3
	// silences is how often rows are sent that the store does not say it has
	// stored, before they are dead letters.
	silences = 5
	// patienceWithStored is how many times Settle a store is given to show what it
	// said it has stored.
	patienceWithStored = 15
	// stallsAfter is after how many times Backoff the sink counts as not ready,
	// complainAfter after how long somebody is told, and how often.
	stallsAfter   = 6
	complainAfter = 10 * time.Second
	complainEvery = time.Minute
)

// sender brings batches of one lane to the store.
type sender struct {
	*worker
	traffic *traffic
	slice   *slice
	// working ends when nothing more is to be tried: what is on its way may come
	// to its end.
	working context.Context
	// bury takes rows that cannot be stored; there is at least one. It may be
	// called by several at once.
	bury func(ctx context.Context, b *Batch, rows []int, reason, detail string) error
}

// deliver returns nil when every row of a batch is stored or a dead letter.
func (s *sender) deliver(ctx context.Context, b *Batch) error {
	return s.load(ctx, b, b.all(), s.slice.again)
}

// load is deliver for some rows. With doubtful they may be stored already.
func (s *sender) load(ctx context.Context, b *Batch, rows []int, doubtful bool) (err error) {
	t := s.newTries(b)
	defer func() { t.end(err) }()
	var doubts, silent int
	for {
		if doubtful {
			missing, err := s.missing(ctx, b, rows, t, s.Settle)
			switch {
			case errors.Is(err, ErrBlind): // sent again: a row stored twice counts once by its row_id
			case err != nil:
				return err
			default:
				if len(missing) < len(rows) {
					doubts = 0
				}
				s.account(b, len(rows)-len(missing))
				rows = missing
			}
			doubtful = false
		}
		if rows, err = s.refuse(ctx, b, rows); err != nil || len(rows) == 0 {
			return err
		}
		if limit := t.limit(len(rows)); doubts >= limit {
			reason := "unanswered"
			if t.broke {
				reason = "breaks_connection"
			}
			return s.halve(ctx, b, rows, reason, t.why)
		}
		if err := s.traffic.window.acquire(s.working); err != nil {
			return err
		}
		began := time.Now()
		out := s.Destination.Send(ctx, b, rows)
		s.traffic.window.release(out.Overloaded)
		s.Metrics.sent(b, len(rows), out.Class, time.Since(began))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if out.Class != Doubtful && out.Class != Untouched {
			doubts = 0
		}
		switch out.Class {
		case Stored:
			if out.Err != nil {
				slog.Error("the store has taken rows, and something is wrong with it", "sink", s.Group, "topic", b.Topic, "error", out.Err)
			}
			missing, err := s.missing(ctx, b, rows, t, patienceWithStored*s.Settle)
			if errors.Is(err, ErrBlind) || err == nil && len(missing) == 0 {
				s.account(b, len(rows))
				return nil
			}
			if err != nil {
				return err
			}
			s.account(b, len(rows)-len(missing))
			out.Err = fmt.Errorf("the store said that it has stored %d rows, but it does not hold %d of them", len(rows), len(missing))
			rows = missing
		case Untouched:
		case Doubtful:
			if len(rows) > 1 || s.Destination.Answers(ctx) == nil { // else it is the store
				doubts++
			}
			t.broke, t.why = out.Broken, out.Err
			doubtful = true
		case Partial:
			if rows, err = s.partial(ctx, b, rows, &out, t); err != nil {
				return err
			}
		case Silent:
			missing, err := s.missing(ctx, b, rows, t, s.Settle)
			if err != nil && !errors.Is(err, ErrBlind) {
				return err
			}
			if err == nil {
				s.account(b, len(rows)-len(missing))
				rows = missing
			}
			if silent++; silent >= silences && len(rows) > 0 {
				return s.bury(ctx, b, rows, "silently_dropped", out.Err.Error())
			}
		case Refused, TooLarge:
			reason := out.Reason
			if out.Class == TooLarge {
				reason = "too_large"
			}
			return s.halve(ctx, b, rows, reason, out.Err)
		case Impossible:
			return fmt.Errorf("%w: %w", ErrImpossible, out.Err)
		}
		if len(rows) == 0 {
			return nil
		}
		if err := t.pause(&out); err != nil {
			return err
		}
	}
}

// halve finds the rows that the store does not bear. Nothing of rows is stored.
// The halves go on side by side, so that one that is held back does not keep the
// other from showing that the store answers.
func (s *sender) halve(ctx context.Context, b *Batch, rows []int, reason string, cause error) error {
	if len(rows) == 1 {
		return s.bury(ctx, b, rows, reason, cause.Error())
	}
	s.Metrics.halvings.Inc()
	middle := len(rows) / 2
	var first error
	var half sync.WaitGroup
	half.Go(func() { first = s.load(ctx, b, rows[:middle:middle], false) })
	second := s.load(ctx, b, rows[middle:], false)
	half.Wait()
	return errors.Join(first, second)
}

// partial buries the rows that were refused for what they are and returns those
// that are missing besides, to be sent again. Where more are missing than were
// refused the store has lost some, and all of them are: it refuses again what it
// refuses.
func (s *sender) partial(ctx context.Context, b *Batch, rows []int, out *Outcome, t *tries) ([]int, error) {
	missing, err := s.missing(ctx, b, rows, t, s.Settle)
	blind := errors.Is(err, ErrBlind)
	if err != nil && !blind {
		return nil, err
	}
	if blind {
		missing = rows
	} else {
		s.account(b, len(rows)-len(missing))
	}
	var offenders, others []int
	for _, i := range missing {
		if out.Offends == nil && !blind || out.Offends != nil && out.Offends(b.rows[i].at) {
			offenders = append(offenders, i)
		} else {
			others = append(others, i)
		}
	}
	switch {
	case blind && len(offenders) == out.Failed: // by their times; the others are stored
		others = nil
	case blind: // which rows it were shows when they are sent one by one
		return nil, s.halve(ctx, b, rows, out.Reason, out.Err)
	case len(missing) > out.Failed && len(missing) > 1:
		return missing, nil
	case len(offenders) == 0 && len(others) > 0:
		slog.Error("the store refuses rows for their time that it should take: its clock and this machine's differ",
			"sink", s.Group, "topic", b.Topic, "partition", b.Partition, "rows", len(others), "error", out.Err)
	}
	if len(offenders) == 0 {
		return others, nil
	}
	return others, s.bury(ctx, b, offenders, out.Reason, out.Err.Error())
}

// account counts rows that are stored.
func (s *sender) account(b *Batch, rows int) {
	s.Metrics.stored(b, rows)
	s.stored.Add(int64(rows))
}

// refuse makes dead letters of the rows that the store would not take any more,
// and returns the others.
func (s *sender) refuse(ctx context.Context, b *Batch, rows []int) ([]int, error) {
	first, last := b.Span()
	oldest, _ := s.Destination.Refuses(first)
	newest, _ := s.Destination.Refuses(last)
	if oldest == "" && newest == "" {
		return rows, nil
	}
	fine := rows[:0:0]
	type refusal struct{ reason, detail string }
	refused := map[refusal][]int{}
	for _, i := range rows {
		reason, detail := s.Destination.Refuses(b.rows[i].at)
		if reason == "" {
			fine = append(fine, i)
		} else {
			refused[refusal{reason, detail}] = append(refused[refusal{reason, detail}], i)
		}
	}
	for why, rows := range refused {
		if err := s.bury(ctx, b, rows, why.reason, why.detail); err != nil {
			return nil, err
		}
	}
	return fine, nil
}

// missing asks until every row shows, or a time has passed by which it would
// have. While the store does not answer it goes on asking.
func (s *sender) missing(ctx context.Context, b *Batch, rows []int, t *tries, within time.Duration) ([]int, error) {
	pause, spent := s.Settle/32, time.Duration(0)
	for {
		missing, err := s.Destination.Missing(ctx, b, rows)
		switch {
		case errors.Is(err, ErrBlind), errors.Is(err, ErrImpossible):
			return nil, err
		case err != nil:
			if err := t.pause(&Outcome{Class: Untouched, Err: fmt.Errorf("it does not say what it holds: %w", err)}); err != nil {
				return nil, err
			}
			continue
		case len(missing) == 0 || spent >= within:
			return missing, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		spent += pause
		pause = min(2*pause, s.Settle)
	}
}

// tries is how one batch, or a part of it, is tried again and again.
type tries struct {
	*sender
	batch    *Batch
	backoff  *backoff.ExponentialBackOff
	began    time.Time
	told     time.Time // when somebody was told last; zero = nobody was
	stalling bool
	broke    bool // the connection, at the last doubt
	why      error
}

func (s *sender) newTries(b *Batch) *tries {
	return &tries{sender: s, batch: b, began: time.Now(), backoff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.Backoff), backoff.WithMaxInterval(s.MaxBackoff), backoff.WithMaxElapsedTime(0))}
}

// limit is how many doubts so many rows have to be halved, or one to be buried.
func (t *tries) limit(rows int) int {
	switch {
	case rows == 1:
		return doubtsOfOne
	case t.broke:
		return breaksOfMany
	}
	return doubtsOfMany
}

// pause waits before the next try, and says so when it takes long.
func (t *tries) pause(out *Outcome) error {
	now := time.Now()
	if !t.stalling && now.Sub(t.began) > stallsAfter*t.Backoff {
		t.stalling = true
		t.Status.stalled(1, out.Err)
	}
	if now.Sub(t.began) > complainAfter && now.Sub(t.told) > complainEvery {
		t.told = now
		slog.Error("the store does not take rows: reading is held back, nothing is lost",
			"sink", t.Group, "topic", t.batch.Topic, "partition", t.batch.Partition, "for", now.Sub(t.began).Round(time.Second), "error", out.Err)
	}
	return sleep(t.working, max(t.backoff.NextBackOff(), out.RetryAfter))
}

func (t *tries) end(err error) {
	if t.stalling {
		t.Status.stalled(-1, nil)
	}
	if !t.told.IsZero() && err == nil {
		slog.Info("the batch that was held back is accounted for", "sink", t.Group, "topic", t.batch.Topic, "partition", t.batch.Partition)
	}
}
