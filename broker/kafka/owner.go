package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/broker/internal/commitlog"
	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// maxCommit is the longest commit in bytes, with outputs and delta.
	maxCommit = maxMessage - 4096
	// restorePart is how many changes of state Restore gives at a time.
	restorePart = 1000
	// transactionBackoff is the pause before asking again while the cluster ends
	// the transaction before.
	transactionBackoff = 2 * time.Millisecond
	// transactionRecords is more than any commit has.
	transactionRecords = 1 << 20
)

// Acquire takes over the transactional id of the partition, which fences every
// older owner and aborts its open transaction, and reads the tail. It ends with
// Close.
func (b *Broker) Acquire(ctx context.Context, processor string, partition int, name string) (broker.Owner, error) {
	o, err := b.acquire(ctx, processor, partition)
	if err != nil {
		return nil, fmt.Errorf("cannot acquire %s/%d for %s: %w", processor, partition, name, err)
	}
	return o, nil
}

func (b *Broker) acquire(ctx context.Context, processor string, partition int) (*owner, error) {
	at, err := b.changelog(ctx, processor, partition)
	if err != nil {
		return nil, err
	}
	partitions, err := b.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	o := &owner{
		b: b, processor: processor, partition: partition, partitions: partitions,
		changelog: at, said: map[broker.Log]int64{},
	}
	o.client, err = kgo.NewClient(b.with(
		kgo.TransactionalID(fmt.Sprintf("%s.%s.%d", b.config.generation(), processor, partition)),
		kgo.TransactionTimeout(b.config.TransactionTimeout),
		kgo.RetryTimeout(commitPatience),
		kgo.ConcurrentTransactionsBackoff(transactionBackoff),
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(transactionRecords),
	)...)
	if err != nil {
		return nil, err
	}
	o.life, o.stop = context.WithCancel(b.life)
	context.AfterFunc(o.life, o.client.Close)
	if err := o.takeOver(ctx); err != nil {
		o.stop()
		return nil, err
	}
	return o, nil
}

// owner is a [broker.Owner].
type owner struct {
	b          *Broker
	client     *kgo.Client // with the partition's transactional id
	processor  string
	partition  int
	partitions int // of every topic
	changelog  place
	end        int64           // high watermark of the changelog when it was taken over
	tail       *schemas.Commit // newest commit, nil = none
	epoch      int64
	said       map[broker.Log]int64 // newest commit of this owner with rows for each log
	life       context.Context
	stop       context.CancelFunc
	restored   bool
	dead       error
	buffer     []byte
}

// String names the partition that is owned.
func (o *owner) String() string { return fmt.Sprintf("%s/%d", o.processor, o.partition) }

// takeOver fences first and reads then: after it no older owner can add
// anything. The high watermark, not the last stable offset, is the end: what a
// transaction holds back may be committed yet.
func (o *owner) takeOver(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	if _, _, err := o.client.ProducerID(limited); fenced(err) {
		return wrap(err, broker.ErrFenced) // another worker takes it over at the same time
	} else if err != nil {
		return asked(ctx, err)
	}
	failpoint.Hit("kafka.acquired")
	var err error
	if o.end, err = o.b.listOffset(ctx, o.changelog, offsetEnd); err != nil {
		return err
	}
	if o.tail, err = o.b.tail(ctx, o.changelog, o.end); err != nil {
		return err
	}
	o.epoch = 1
	if o.tail != nil {
		o.epoch = o.tail.Epoch + 1
	}
	return nil
}

// Epoch is the tail's epoch + 1.
func (o *owner) Epoch() int64 { return o.epoch }

// Restore gives the state as it stands in the changelog, in parts that look
// like the tail's commit with some of the changes each, in the order in which
// they were committed.
func (o *owner) Restore(ctx context.Context, apply func(*schemas.Commit) error) error {
	if o.restored {
		return fmt.Errorf("cannot restore %s: it was restored already", o)
	}
	err := o.alive()
	if err == nil {
		err = o.restore(ctx, apply)
	}
	if err != nil {
		o.kill(err)
		return fmt.Errorf("cannot restore %s: %w", o, err)
	}
	o.restored = true
	return nil
}

func (o *owner) restore(ctx context.Context, apply func(*schemas.Commit) error) error {
	if o.tail == nil {
		return nil
	}
	start, err := o.b.listOffset(ctx, o.changelog, offsetStart)
	if err != nil {
		return err
	}
	var newest *schemas.Commit
	var delta []schemas.Change
	give := func() error {
		part := *o.tail
		part.Delta, delta = delta, nil
		return apply(&part)
	}
	err = o.b.scan(ctx, o.changelog, start, o.end, func(r *kgo.Record) error {
		if isPosition(r) {
			c, err := readPosition(r)
			if err == nil {
				err = follows(newest, c)
			}
			newest = c
			return err
		}
		change, err := readChange(r)
		if err != nil {
			return err
		}
		if delta = append(delta, change); len(delta) < restorePart {
			return nil
		}
		return give()
	})
	if err != nil {
		return err
	}
	if newest == nil || newest.Hash != o.tail.Hash {
		return o.overtaken(ctx)
	}
	return give()
}

// overtaken tells why the changelog does not lead to the tail: a newer owner's
// commits have replaced it, or something is lost.
func (o *owner) overtaken(ctx context.Context) error {
	last, err := o.b.lastCommit(ctx, o.processor, o.partition)
	if err != nil {
		return err
	}
	if last != nil && last.CommitNumber > o.tail.CommitNumber {
		return fmt.Errorf("%q has committed %d: %w", last.Owner, last.CommitNumber, broker.ErrFenced)
	}
	return fmt.Errorf("the changelog does not lead to commit %d: %w", o.tail.CommitNumber, broker.ErrLost)
}

// Commit is one transaction. Where its end was not acknowledged the owner is
// dead, and the log tells what became of it.
func (o *owner) Commit(ctx context.Context, c *schemas.Commit) error {
	err := o.alive()
	if err == nil {
		err = o.commit(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("cannot commit %s number %d: %w", o, c.CommitNumber, err)
	}
	return nil
}

func (o *owner) commit(ctx context.Context, c *schemas.Commit) error {
	if err := o.validate(c); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var previous schemas.Hash
	if o.tail != nil {
		previous = o.tail.Hash
	}
	c.Routed = c.CommitNumber // outputs stand with the commit
	if o.buffer = broker.AppendCommit(o.buffer[:0], c, previous); len(o.buffer) > maxCommit {
		return fmt.Errorf("%d bytes of at most %d: %w", len(o.buffer), maxCommit, broker.ErrTooLarge)
	}
	records, err := o.records(ctx, c)
	if err != nil {
		return err
	}
	if err := o.transact(ctx, c, records); err != nil {
		return err
	}
	o.tail = withoutContents(c)
	for i := range c.Outputs {
		o.said[destination(&c.Outputs[i])] = c.CommitNumber
	}
	return nil
}

// transact stores records, all or none. It kills the owner unless the
// transaction was aborted for certain.
func (o *owner) transact(ctx context.Context, c *schemas.Commit, records []*kgo.Record) error {
	limited, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	err := o.client.BeginTransaction()
	if err == nil {
		failpoint.Hit("kafka.begun")
		err = o.produce(limited, records)
	}
	if err != nil {
		return o.abort(limited, err)
	}
	failpoint.Hit("kafka.produced")
	err = o.client.EndTransaction(limited, kgo.TryCommit)
	failpoint.Hit("kafka.committed")
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.OperationNotAttempted), errors.Is(err, kerr.TransactionAbortable):
		return o.abort(limited, err)
	}
	return o.settle(limited, c, err)
}

// produce returns after every record has come in, or one has not.
func (o *owner) produce(ctx context.Context, records []*kgo.Record) error {
	failed := make(chan error, 1)
	for _, r := range records {
		o.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	err := o.client.Flush(ctx)
	select {
	case first := <-failed:
		return first
	default:
		return err
	}
}

// abort ends a transaction that nobody has tried to commit. If that works the
// owner lives on.
func (o *owner) abort(ctx context.Context, cause error) error {
	var class error
	switch {
	case fenced(cause):
		class = broker.ErrFenced
	case o.life.Err() != nil:
		class = broker.ErrClosed
	default:
		err := o.client.AbortBufferedRecords(ctx)
		if err == nil {
			err = o.client.EndTransaction(ctx, kgo.TryAbort)
		}
		switch {
		case fenced(err):
			class = broker.ErrFenced
		case err != nil:
			class = broker.ErrUnknown
		case errors.Is(cause, kerr.TransactionAbortable):
			return wrap(cause, broker.ErrRetry)
		default:
			return asked(context.WithoutCancel(ctx), cause)
		}
	}
	cause = wrap(cause, class)
	o.kill(cause)
	return cause
}

// settle finds out what became of a commit whose end was not acknowledged, or
// answered with "fenced", which may be the answer to a second attempt whose
// first one committed. It ends the transaction, if need be by taking the
// transactional id over once more, which only its last owner can, and reads the
// log until no transaction holds it back: then it is certain. The owner lives on
// where it could.
func (o *owner) settle(ctx context.Context, c *schemas.Commit, answer error) error {
	verdict := broker.ErrRetry
	if !fenced(answer) {
		if err := o.client.EndTransaction(ctx, kgo.TryAbort); err != nil && !fenced(err) {
			err = fmt.Errorf("%w: %w: %w", answer, err, broker.ErrUnknown)
			o.kill(err)
			return err
		} else if err != nil {
			answer = fmt.Errorf("%w: %w", answer, err)
		}
	}
	if fenced(answer) {
		verdict = broker.ErrFenced
		o.kill(wrap(answer, verdict))
	}
	stands, err := o.stands(ctx, c)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w: %w", answer, err, broker.ErrUnknown)
		o.kill(err)
		return err
	case stands:
		return nil
	}
	return wrap(answer, verdict)
}

// stands tells whether a commit that is the owner's last one is in the log.
func (o *owner) stands(ctx context.Context, c *schemas.Commit) (bool, error) {
	end, err := o.b.listOffset(ctx, o.changelog, offsetEnd)
	if err != nil {
		return false, err
	}
	var last *schemas.Commit // up to c's number
	newer := false
	_, err = o.b.newest(ctx, o.changelog, end, func(r *kgo.Record) bool {
		if !isPosition(r) {
			return false
		}
		found, err := readPosition(r)
		if err != nil || found.CommitNumber > c.CommitNumber {
			newer = true
			return false
		}
		last = found
		return true
	})
	switch {
	case err != nil:
		return false, err
	case newer && (last == nil || last.CommitNumber < c.CommitNumber):
		return false, fmt.Errorf("commit %d was compacted away", c.CommitNumber)
	}
	return last != nil && last.Hash == c.Hash, nil
}

// validate refuses a commit that the owner may not make, before anything is
// stored.
func (o *owner) validate(c *schemas.Commit) error {
	var errs []error
	mismatch := func(what string, have, want any) {
		if have != want {
			errs = append(errs, fmt.Errorf("%s is %v, not %v", what, have, want))
		}
	}
	var number int64
	if o.tail != nil {
		number = o.tail.CommitNumber
	}
	mismatch("processor", c.Processor, o.processor)
	mismatch("partition", c.Partition, int64(o.partition))
	mismatch("generation", c.Generation, o.b.config.Generation)
	mismatch("epoch", c.Epoch, o.epoch)
	mismatch("commit_number", c.CommitNumber, number+1)
	seen := make(map[broker.Log]bool, len(c.Outputs))
	for i := range c.Outputs {
		out := &c.Outputs[i]
		to := destination(out)
		name := fmt.Sprintf("output %s/%d/%s", to.Topic, to.Partition, to.Lane)
		if !broker.IsRowTopic(to.Topic) {
			errs = append(errs, fmt.Errorf("%s: no topic of rows", name))
			continue
		}
		if err := commitlog.CheckLog(to, o.partitions); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		switch {
		case seen[to]:
			errs = append(errs, fmt.Errorf("%s: stands twice", name))
		case len(out.Rows) == 0:
			errs = append(errs, fmt.Errorf("%s: has no rows", name))
		}
		mismatch(name+": schema", uint64(out.Schema), broker.RowSchema(to.Topic))
		if before, ok := o.said[to]; ok {
			mismatch(name+": previous", out.Previous, before)
		} else if out.Previous < 0 || out.Previous > number {
			errs = append(errs, fmt.Errorf("%s: previous is %d, the tail is %d", name, out.Previous, number))
		}
		seen[to] = true
	}
	for i := range c.Delta {
		if key := string(c.Delta[i].Key); key == "" || key == positionKey {
			errs = append(errs, fmt.Errorf("delta %d: no state has the key %q", i, key))
		}
	}
	return errors.Join(errs...)
}

// records are what a commit stores: its rows, its changes of state and, last,
// its position record.
func (o *owner) records(ctx context.Context, c *schemas.Commit) ([]*kgo.Record, error) {
	n := len(c.Delta) + 1
	for i := range c.Outputs {
		n += len(c.Outputs[i].Rows)
	}
	records := make([]*kgo.Record, 0, n)
	for i := range c.Outputs {
		out := &c.Outputs[i]
		to := destination(out)
		id, err := o.b.schemaID(ctx, to.Topic)
		if err != nil {
			return nil, err
		}
		header := schemas.RowHeader{
			Processor: c.Processor, SourcePartition: c.Partition, Generation: c.Generation,
			FirstCommit: c.CommitNumber, LastCommit: c.CommitNumber, PreviousCommit: out.Previous,
			CommitHash: c.Hash, Watermark: c.Watermark,
		}
		rows, err := rowRecords(to, o.b.config.place(to), &header, uint64(out.Schema), id, out.Rows)
		if err != nil {
			return nil, err
		}
		records = append(records, rows...)
	}
	for i := range c.Delta {
		records = append(records, o.changeRecord(&c.Delta[i]))
	}
	position := *c
	position.Outputs, position.Delta = nil, nil
	return append(records, &kgo.Record{
		Topic: o.changelog.topic, Partition: o.changelog.partition, Key: []byte(positionKey), Value: position.AppendMessage(nil),
	}), nil
}

// changeRecord is a state record: due time as a varint and value, or a tombstone.
func (o *owner) changeRecord(change *schemas.Change) *kgo.Record {
	r := &kgo.Record{Topic: o.changelog.topic, Partition: o.changelog.partition, Key: change.Key}
	if len(change.Value) > 0 {
		r.Value = make([]byte, 0, binary.MaxVarintLen64+len(change.Value))
		r.Value = append(binary.AppendVarint(r.Value, change.Due), change.Value...)
	}
	return r
}

func readChange(r *kgo.Record) (schemas.Change, error) {
	change := schemas.Change{Key: r.Key}
	if len(r.Value) == 0 {
		return change, nil
	}
	due, n := binary.Varint(r.Value)
	if n <= 0 || n == len(r.Value) {
		return change, fmt.Errorf("offset %d: cannot read state of %d bytes: %w", r.Offset, len(r.Value), broker.ErrLost)
	}
	change.Due, change.Value = due, r.Value[n:]
	return change, nil
}

// SnapshotDue is never: the cluster compacts the changelog.
func (o *owner) SnapshotDue() bool { return false }

// Snapshot does nothing: the changelog is one.
func (o *owner) Snapshot(context.Context, []schemas.Change, bool) error { return o.alive() }

// Flush has nothing to wait for: outputs stand with their commit.
func (o *owner) Flush(context.Context) error { return o.alive() }

// Release gives the partition up.
func (o *owner) Release(context.Context) error {
	if o.dead == nil {
		o.kill(broker.ErrClosed)
	}
	return nil
}

func (o *owner) alive() error {
	if o.dead == nil && o.life.Err() != nil {
		return broker.ErrClosed
	}
	return o.dead
}

// kill ends the owner and its connection.
func (o *owner) kill(err error) {
	o.dead = err
	o.stop()
}

// destination is the log that an output goes to.
func destination(out *schemas.Output) broker.Log {
	return broker.Log{Topic: out.Topic, Partition: int(out.Partition), Lane: out.Lane}
}
