package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// asked puts a failed request that changes nothing into its class. ctx is the
// caller's.
func asked(ctx context.Context, err error) error {
	var refused *kerr.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil, classified(err):
		return err
	case errors.Is(err, kgo.ErrClientClosed):
		return wrap(err, broker.ErrClosed)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &certificate):
		return err
	case errors.As(err, &refused):
		switch refused {
		case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
			return wrap(err, broker.ErrNotProvisioned)
		case kerr.OffsetOutOfRange:
			return wrap(err, broker.ErrLost)
		case kerr.MessageTooLarge, kerr.RecordListTooLarge:
			return wrap(err, broker.ErrTooLarge)
		}
		if !refused.Retriable && refused != kerr.UnknownServerError {
			return err
		}
	}
	return wrap(err, broker.ErrRetry)
}

// appended puts a failed append outside of a transaction into its class.
func appended(err error) error {
	var refused *kerr.Error
	switch {
	case err == nil, classified(err):
		return err
	case errors.Is(err, kgo.ErrClientClosed):
		return wrap(err, broker.ErrClosed)
	case errors.As(err, &refused):
		switch refused {
		case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
			return wrap(err, broker.ErrNotProvisioned)
		case kerr.MessageTooLarge, kerr.RecordListTooLarge:
			return wrap(err, broker.ErrTooLarge)
		case kerr.NotEnoughReplicas, kerr.ThrottlingQuotaExceeded:
			return wrap(err, broker.ErrRetry)
		}
		if !refused.Retriable && refused != kerr.UnknownServerError {
			return err
		}
	}
	return wrap(err, broker.ErrUnknown)
}

// fenced tells that the cluster knows a newer producer under the transactional
// id, or has ended this one's transaction.
func fenced(err error) bool {
	return slices.ContainsFunc([]error{
		kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.InvalidProducerIDMapping,
		kerr.UnknownProducerID, kerr.OutOfOrderSequenceNumber,
	}, func(target error) bool { return errors.Is(err, target) })
}

// classified tells errors that bear their class already.
func classified(err error) bool {
	return slices.ContainsFunc([]error{
		broker.ErrFenced, broker.ErrUnknown, broker.ErrRetry,
		broker.ErrNotProvisioned, broker.ErrLost, broker.ErrTooLarge, broker.ErrClosed,
	}, func(target error) bool { return errors.Is(err, target) })
}

func wrap(err, class error) error { return fmt.Errorf("%w: %w", err, class) }
