package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// published puts a failed publish into its class.
//
// 10071 and 10164 are both "wrong last sequence", but only 10071 says that the
// subject's last message is another one. 10164 says that the leader of a
// replicated stream still has a write of the subject in its hands; a lone
// writer sees it too, right after its own acknowledgement.
func published(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		switch {
		case api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
			return wrap(err, commitlog.ErrConflict)
		case api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return wrap(err, commitlog.ErrBusy)
		case api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return wrap(err, broker.ErrTooLarge)
		case api.Code >= 500: // full, no leader, out of resources
			return wrap(err, broker.ErrRetry)
		}
		return err
	case errors.Is(err, nats.ErrMaxPayload):
		return wrap(err, broker.ErrTooLarge)
	case errors.Is(err, nats.ErrReconnectBufExceeded), // never sent
		errors.Is(err, jetstream.ErrNoStreamResponse): // sent to nobody
		return wrap(err, broker.ErrRetry)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return wrap(err, broker.ErrClosed)
	}
	return wrap(err, broker.ErrUnknown)
}

// asked puts a failed request that changes nothing into its class. ctx is the
// caller's.
func asked(ctx context.Context, err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return wrap(err, broker.ErrNotProvisioned)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return wrap(err, broker.ErrClosed)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &api) && api.Code < 500:
		return err
	}
	return wrap(err, broker.ErrRetry)
}

func wrap(err, class error) error { return fmt.Errorf("%w: %w", err, class) }

// logAsync reports what the client finds out on its own. A slow consumer is a
// reader whose caller is slow: what is dropped is a status that the server
// sends behind the last message of a pull, and a feed would see the gap if it
// were a message.
func logAsync(_ *nats.Conn, _ *nats.Subscription, err error) {
	if !errors.Is(err, nats.ErrSlowConsumer) {
		slog.Warn("nats connection", "error", err)
	}
}
