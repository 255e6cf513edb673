package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
)

var errImpossible = errors.New("nothing can be stored before a setting is changed")

const (
	// resetsOfOne is how often a row alone must break the connection to be taken
	// for the reason, and resetsOfMany the same for several rows, which are then
	// halved.
	resetsOfOne  = 5
	resetsOfMany = 2
	// silences is how often rows are sent that the store does not say it has
	// stored, before they are dead letters.
	silences = 5
	// looks is how often the store is asked for rows that it has not shown yet,
	// within Settle.
	looks = 5
	// complainAfter is how long something is tried before somebody is told, and
	// how often.
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
	// bury takes rows that cannot be stored; there is at least one.
	bury func(ctx context.Context, b *Batch, rows []int, reason, detail string) error
}

// deliver returns nil when every row of a batch is stored or a dead letter.
func (s *sender) deliver(ctx context.Context, b *Batch) error {
	return s.load(ctx, b, b.all(), s.slice.again)
}

// load is deliver for some rows. With doubtful they may be stored already.
func (s *sender) load(ctx context.Context, b *Batch, rows []int, doubtful bool) error {
	t := s.newTries(b)
	defer t.end()
	resets, silent := 0, 0
	for {
		if doubtful {
			missing, err := s.missing(ctx, b, rows, t)
			switch {
			case errors.Is(err, ErrBlind): // sent again: a row stored twice counts once by its row_id
			case err != nil:
				return err
			default:
				rows = missing
			}
			doubtful = false
		}
		var err error
		if rows, err = s.refuse(ctx, b, rows); err != nil || len(rows) == 0 {
			return err
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
		if out.Class != Doubtful || !out.Broken {
			resets = 0
		}
		switch out.Class {
		case Stored:
			missing, err := s.missing(ctx, b, rows, t)
			if errors.Is(err, ErrBlind) || err == nil && len(missing) == 0 {
				s.Metrics.stored(b, len(rows))
				return nil
			}
			if err != nil {
				return err
			}
			s.Metrics.stored(b, len(rows)-len(missing))
			out.Err = fmt.Errorf("the store said that it has stored %d rows, but it does not hold %d of them", len(rows), len(missing))
			rows = missing
		case Untouched:
		case Doubtful:
			if out.Broken {
				resets++
			}
			doubtful = true
			if resets < resetsOfMany || resets < resetsOfOne && len(rows) == 1 {
				break
			}
			missing, err := s.missing(ctx, b, rows, t)
			if err != nil && !errors.Is(err, ErrBlind) {
				return err
			}
			if err == nil && len(missing) < len(rows) { // the rows are not what breaks it
				rows, doubtful = missing, false
				break
			}
			return s.halve(ctx, b, rows, "breaks_connection", out.Err)
		case Partial:
			if rows, err = s.partial(ctx, b, rows, &out, t); err != nil {
				return err
			}
		case Silent:
			missing, err := s.missing(ctx, b, rows, t)
			if err != nil && !errors.Is(err, ErrBlind) {
				return err
			}
			if err == nil {
				s.Metrics.stored(b, len(rows)-len(missing))
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
			return fmt.Errorf("%w: %w", errImpossible, out.Err)
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
func (s *sender) halve(ctx context.Context, b *Batch, rows []int, reason string, cause error) error {
	if len(rows) == 1 {
		return s.bury(ctx, b, rows, reason, cause.Error())
	}
	s.Metrics.halvings.Inc()
	middle := len(rows) / 2
	if err := s.load(ctx, b, rows[:middle:middle], false); err != nil {
		return err
	}
	return s.load(ctx, b, rows[middle:], false)
}

// partial buries the rows that were refused for what they are and returns those
// that are missing besides, to be sent again.
func (s *sender) partial(ctx context.Context, b *Batch, rows []int, out *Outcome, t *tries) ([]int, error) {
	missing, err := s.missing(ctx, b, rows, t)
	if errors.Is(err, ErrBlind) { // which rows it were shows when they are sent one by one
		return nil, s.halve(ctx, b, rows, out.Reason, out.Err)
	}
	if err != nil {
		return nil, err
	}
	s.Metrics.stored(b, len(rows)-len(missing))
	var offenders, others []int
	for _, i := range missing {
		if out.Offends == nil || out.Offends(b.rows[i].at) {
			offenders = append(offenders, i)
		} else {
			others = append(others, i)
		}
	}
	if len(offenders) == 0 && len(others) > 0 {
		slog.Error("the store refuses rows for their time that it should take: its clock and this machine's differ",
			"sink", s.Group, "topic", b.Topic, "partition", b.Partition, "rows", len(others), "error", out.Err)
	}
	if len(offenders) > 0 {
		err = s.bury(ctx, b, offenders, out.Reason, out.Err.Error())
	}
	return others, err
}

// refuse makes dead letters of the rows that the store would not take any more,
// and returns the others.
func (s *sender) refuse(ctx context.Context, b *Batch, rows []int) ([]int, error) {
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

// missing asks until every row shows, or a row that was stored would have shown.
// While the store does not answer it goes on asking.
func (s *sender) missing(ctx context.Context, b *Batch, rows []int, t *tries) ([]int, error) {
	pause, spent := s.Settle/(1<<looks), time.Duration(0)
	for {
		missing, err := s.Destination.Missing(ctx, b, rows)
		switch {
		case errors.Is(err, ErrBlind):
			return nil, err
		case err != nil:
			if err := t.pause(&Outcome{Class: Untouched, Err: fmt.Errorf("it does not say what it holds: %w", err)}); err != nil {
				return nil, err
			}
			continue
		case len(missing) == 0 || spent >= s.Settle:
			return missing, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		spent += pause
		pause *= 2
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
}

func (s *sender) newTries(b *Batch) *tries {
	return &tries{sender: s, batch: b, began: time.Now(), backoff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.Backoff), backoff.WithMaxInterval(s.MaxBackoff), backoff.WithMaxElapsedTime(0))}
}

// pause waits before the next try, and says so when it takes long.
func (t *tries) pause(out *Outcome) error {
	if !t.stalling {
		t.stalling = true
		t.Status.stalled(1, out.Err)
	}
	if now := time.Now(); now.Sub(t.began) > complainAfter && now.Sub(t.told) > complainEvery {
		t.told = now
		slog.Error("the store does not take rows: reading is held back, nothing is lost",
			"sink", t.Group, "topic", t.batch.Topic, "partition", t.batch.Partition, "for", now.Sub(t.began).Round(time.Second), "error", out.Err)
	}
	return sleep(t.working, max(t.backoff.NextBackOff(), out.RetryAfter))
}

func (t *tries) end() {
	if t.stalling {
		t.Status.stalled(-1, nil)
	}
	if !t.told.IsZero() {
		slog.Info("the batch that was held back is accounted for", "sink", t.Group, "topic", t.batch.Topic, "partition", t.batch.Partition)
	}
}
