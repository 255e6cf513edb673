package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var enriched = broker.Log{Topic: broker.Enriched, Partition: 1}

// owned is what only another client of the cluster can bring about, tried on
// the fake and on a real Kafka.
var owned = []struct {
	sentence string
	try      func(t *testing.T, config kafka.Config)
}{
	{"restore waits for a transaction that is committed late", restoreToTheHighWatermark},
	{"restore sees nothing of a transaction that is aborted late", restoreOverAnAbort},
	{"a zombie's open transaction ends at once and leaves nothing", zombie},
	{"rows of aborted transactions are never read, and a scan ends behind them", abortedRows},
	{"a reader passes what it does not see", passesMarkers},
}

func TestWhatTransactionsOfOthersDoToOwnersAndReaders(t *testing.T) {
	for _, test := range owned {
		t.Run(test.sentence, func(t *testing.T) {
			config := configOf(newCluster(t).ListenAddrs())
			provision(t, config, 4)
			test.try(t, config)
		})
	}
}

// worker commits for partition 1 of sessions.
type worker struct {
	*testing.T
	broker.Owner
	b     broker.Broker
	next  int64
	said  int64 // last commit with rows
	state map[string]string
}

// acquire makes a restored worker.
func acquire(t *testing.T, b broker.Broker) *worker {
	t.Helper()
	owner, err := b.Acquire(t.Context(), "sessions", 1, "worker")
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{T: t, Owner: owner, b: b, next: 1, state: map[string]string{}}
	if err := w.restore(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *worker) restore() error {
	return w.Restore(w.Context(), func(c *schemas.Commit) error {
		w.next = c.CommitNumber + 1
		w.apply(c)
		return nil
	})
}

func (w *worker) apply(c *schemas.Commit) {
	for _, change := range c.Delta {
		if len(change.Value) == 0 {
			delete(w.state, string(change.Key))
		} else {
			w.state[string(change.Key)] = fmt.Sprint(string(change.Value), change.Due)
		}
	}
}

// build makes a commit that sets keys (or deletes, where the value is empty)
// and says rows.
func (w *worker) build(set map[string]string, rows ...string) *schemas.Commit {
	c := &schemas.Commit{
		Processor: "sessions", Partition: 1, Generation: 1, CommitNumber: w.next, Epoch: w.Epoch(), Owner: "worker",
		Slices:    []schemas.Slice{{FirstMessage: w.next, NextMessage: w.next + 1}},
		Watermark: 1000 * w.next,
	}
	for key, value := range set {
		c.Delta = append(c.Delta, schemas.Change{Key: []byte(key), Value: []byte(value), Due: w.next})
	}
	if len(rows) > 0 {
		out := schemas.Output{Topic: broker.Enriched, Partition: 1, Previous: w.said, Schema: int64(broker.RowSchema(broker.Enriched))}
		for _, session := range rows {
			out.Rows = append(out.Rows, (&schemas.Enriched{Sign: 1, SessionId: session}).AppendAvro(nil))
		}
		c.Outputs = []schemas.Output{out}
	}
	return c
}

func (w *worker) try(set map[string]string, rows ...string) error {
	c := w.build(set, rows...)
	err := w.Commit(w.Context(), c)
	if err == nil {
		w.next++
		w.apply(c)
		if len(rows) > 0 {
			w.said = c.CommitNumber
		}
	}
	return err
}

func (w *worker) commit(set map[string]string, rows ...string) {
	w.Helper()
	if err := w.try(set, rows...); err != nil {
		w.Fatal(err)
	}
}

// sessions reads the session of every row that a scan of enriched gives.
func sessions(t *testing.T, b broker.Broker) []string {
	t.Helper()
	var seen []string
	err := broker.Scan(t.Context(), b, enriched, func(m broker.Message) error {
		var f schemas.EnrichedFrame
		if err := f.DecodeMessage(m.Payload); err != nil {
			return err
		}
		for _, row := range f.Rows {
			seen = append(seen, row.SessionId)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// stranger is a client with a transactional id of its own choice and an open
// transaction that holds records.
func stranger(t *testing.T, config kafka.Config, id string, records ...*kgo.Record) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(config.Brokers...), kgo.TransactionalID(id),
		kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return client
}

// commitRecords are those that the worker's next commit would store in the
// changelog.
func (w *worker) commitRecords(config kafka.Config, key, value string) []*kgo.Record {
	w.Helper()
	last, err := w.b.LastCommit(w.Context(), "sessions", 1)
	if err != nil {
		w.Fatal(err)
	}
	c := w.build(nil)
	broker.AppendCommit(nil, c, last.Hash)
	topic := config.Prefix + ".g1.sessions.changelog"
	return []*kgo.Record{
		{Topic: topic, Partition: 1, Key: []byte(key), Value: append([]byte{0}, value...)},
		{Topic: topic, Partition: 1, Key: []byte("\x00commit"), Value: c.AppendMessage(nil)},
	}
}

func end(t *testing.T, client *kgo.Client, how kgo.TransactionEndTry) {
	t.Helper()
	if err := client.EndTransaction(t.Context(), how); err != nil {
		t.Fatal(err)
	}
}

// acquireBehind acquires while a stranger's transaction holds records of the
// changelog back, and ends that.
func acquireBehind(t *testing.T, config kafka.Config, how kgo.TransactionEndTry) *worker {
	before := acquire(t, connect(t, config))
	before.commit(map[string]string{"first": "1"})
	open := stranger(t, config, config.Prefix+"-stranger", before.commitRecords(config, "late", "2")...)
	epoch := epochOf(t, config)
	acquired := make(chan *worker)
	go func() {
		defer close(acquired)
		w := &worker{T: t, b: connect(t, config), next: 1, state: map[string]string{}}
		var err error
		if w.Owner, err = w.b.Acquire(t.Context(), "sessions", 1, "behind"); err == nil {
			err = w.restore()
		}
		if err != nil {
			t.Error(err)
			return
		}
		acquired <- w
	}()
	// It would be done soon after it has taken the id over if it did not wait.
	for deadline := time.Now().Add(20 * time.Second); epochOf(t, config) == epoch; {
		if time.Now().After(deadline) {
			t.Fatal("nobody takes the transactional id over")
		}
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case <-acquired:
		t.Fatal("restored while records were held back")
	case <-time.After(time.Second):
	}
	end(t, open, how)
	w := <-acquired
	if w == nil {
		t.FailNow()
	}
	return w
}

// epochOf is the producer's epoch of the transactional id of partition 1.
func epochOf(t *testing.T, config kafka.Config) int16 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(config.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	id := config.Prefix + ".g1.sessions.1"
	described, err := kadm.NewClient(client).DescribeTransactions(t.Context(), id)
	if err == nil {
		_, err = described.On(id, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return described[id].ProducerEpoch
}

func restoreToTheHighWatermark(t *testing.T, config kafka.Config) {
	w := acquireBehind(t, config, kgo.TryCommit)
	if want := map[string]string{"first": "11", "late": "20"}; !maps.Equal(w.state, want) {
		t.Errorf("restored %v, want %v", w.state, want)
	}
	if w.Epoch() != 2 || w.next < 3 {
		t.Errorf("the next commit is %d in epoch %d", w.next, w.Epoch())
	}
	w.commit(nil)
}

func restoreOverAnAbort(t *testing.T, config kafka.Config) {
	w := acquireBehind(t, config, kgo.TryAbort)
	if want := map[string]string{"first": "11"}; !maps.Equal(w.state, want) {
		t.Errorf("restored %v, want %v", w.state, want)
	}
	w.commit(map[string]string{"first": "again"})
}

func zombie(t *testing.T, config kafka.Config) {
	before := acquire(t, connect(t, config))
	before.commit(map[string]string{"first": "1"}, "one")
	records := append(before.commitRecords(config, "zombie", "2"),
		&kgo.Record{Topic: config.Prefix + ".g1.enriched", Partition: 1, Value: (&schemas.Enriched{SessionId: "zombie"}).AppendMessage(nil)})
	open := stranger(t, config, config.Prefix+".g1.sessions.1", records...)
	began := time.Now()
	w := acquire(t, connect(t, config))
	t.Logf("acquired over an open transaction in %v", time.Since(began))
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("acquired in %v, and the transaction ends by itself after a minute", took)
	}
	if err := open.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
		t.Error("the zombie commits")
	}
	if want := map[string]string{"first": "11"}; !maps.Equal(w.state, want) || w.next != 2 {
		t.Errorf("restored %v up to commit %d, want %v", w.state, w.next-1, want)
	}
	w.said = 1
	w.commit(nil, "two")
	if got := fmt.Sprint(sessions(t, w.b)); got != "[one two]" {
		t.Errorf("rows of sessions %s, want [one two]", got)
	}
}

func abortedRows(t *testing.T, config kafka.Config) {
	w := acquire(t, connect(t, config))
	w.commit(nil, "one", "two")
	for range 3 {
		end(t, stranger(t, config, config.Prefix+"-stranger", &kgo.Record{Topic: config.Prefix + ".g1.enriched", Partition: 1,
			Value: (&schemas.Enriched{SessionId: "aborted"}).AppendMessage(nil)}), kgo.TryAbort)
	}
	if got := fmt.Sprint(sessions(t, w.b)); got != "[one two]" {
		t.Errorf("rows of sessions %s, want [one two]", got)
	}
	w.commit(nil, "three")
	if got := fmt.Sprint(sessions(t, w.b)); got != "[one two three]" {
		t.Errorf("rows of sessions %s, want [one two three]", got)
	}
}

func passesMarkers(t *testing.T, config kafka.Config) {
	w := acquire(t, connect(t, config))
	w.commit(nil, "one")
	end(t, stranger(t, config, config.Prefix+"-stranger", &kgo.Record{Topic: config.Prefix + ".g1.enriched", Partition: 1}), kgo.TryAbort)
	r, err := w.b.Read(t.Context(), enriched, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	const everything = 4 // row, marker, aborted row, marker
	for deadline := time.Now().Add(20 * time.Second); r.Passed() != everything; {
		waiting, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		m, err := r.Next(waiting)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("read %v (%v) on an idle log", m, err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("passed %d, want %d", r.Passed(), everything)
		}
	}
	again, err := w.b.Read(t.Context(), enriched, r.Passed())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	w.commit(nil, "two")
	if m, err := again.Next(t.Context()); err != nil || m.Position != everything+1 {
		t.Errorf("behind what was passed: position %d (%v), want %d", m.Position, err, everything+1)
	}
}

func TestACommitThatWasAbortedForCertainMayBeTriedAgain(t *testing.T) {
	cluster := newCluster(t)
	config := configOf(cluster.ListenAddrs())
	provision(t, config, 4)
	w := acquire(t, connect(t, config))
	w.commit(nil, "one")
	for _, fault := range []kfake.Fault{
		{Keys: []kmsg.Key{kmsg.Produce}, Topic: config.Prefix + ".g1.enriched", Err: kerr.TransactionAbortable},
		{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError},
	} {
		hits := cluster.Fault(fault)
		if err := w.try(nil, "refused"); !errors.Is(err, broker.ErrRetry) {
			t.Errorf("with %v: %v, want %v", fault.Err, err, broker.ErrRetry)
		}
		if hits.Hits() != 1 {
			t.Errorf("%v was answered %d times", fault.Err, hits.Hits())
		}
		w.commit(map[string]string{"key": "value"}, fault.Err.Message)
	}
	want := fmt.Sprint([]string{"one", kerr.TransactionAbortable.Message, kerr.UnknownServerError.Message})
	if got := fmt.Sprint(sessions(t, w.b)); got != want {
		t.Errorf("rows of sessions %s, want %s", got, want)
	}
}

func TestACommitThatWasAnsweredWithAnErrorAndStandsIsACommit(t *testing.T) {
	for _, answer := range []struct {
		err   *kerr.Error
		alive bool
	}{{kerr.UnknownServerError, true}, {kerr.ProducerFenced, false}} {
		var acks ackLoser
		config := configOf(newCluster(t, kfake.ListenFn(acks.listen)).ListenAddrs())
		provision(t, config, 4)
		w := acquire(t, connect(t, config))
		w.commit(nil, "one")
		acks.code.Store(int32(answer.err.Code))
		acks.armed.Store(true)
		w.commit(nil, "two")
		if acks.armed.Load() {
			t.Error("no answer was spoilt")
		}
		err := w.try(nil, "three")
		if answer.alive && err != nil || !answer.alive && !errors.Is(err, broker.ErrFenced) {
			t.Errorf("the commit after %v: %v", answer.err, err)
		}
		want := "[one two three]"
		if !answer.alive {
			want = "[one two]"
		}
		if got := fmt.Sprint(sessions(t, w.b)); got != want {
			t.Errorf("after %v: rows of sessions %s, want %s", answer.err, got, want)
		}
	}
}

func TestAnOwnerThatCannotTellWhatBecameOfItsCommitIsDead(t *testing.T) {
	cluster := newCluster(t)
	config := configOf(cluster.ListenAddrs())
	provision(t, config, 4)
	w := acquire(t, connect(t, config))
	w.commit(nil, "one")
	refusing := cluster.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, Count: -1},
		kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.UnknownServerError, Count: -1})
	for range 2 {
		if err := w.try(nil, "lost"); !errors.Is(err, broker.ErrUnknown) {
			t.Errorf("commit: %v, want %v", err, broker.ErrUnknown)
		}
	}
	refusing.Remove()
	w = acquire(t, w.b)
	w.said = 1
	w.commit(nil, "two")
	if got := fmt.Sprint(sessions(t, w.b)); got != "[one two]" {
		t.Errorf("rows of sessions %s, want [one two]", got)
	}
}

func TestStateIsRestoredFromACompactedChangelog(t *testing.T) {
	cluster := newCluster(t)
	config := configOf(cluster.ListenAddrs())
	config.Layout.CompactionLag = 0
	provision(t, config, 4)
	w := acquire(t, connect(t, config))
	for i := range 40 {
		set := map[string]string{fmt.Sprint("key ", i%7): fmt.Sprint(i)}
		if i%5 == 0 {
			set[fmt.Sprint("key ", (i+3)%7)] = ""
		}
		w.commit(set)
	}
	before := offsets(t, config)
	cluster.Compact()
	if after := offsets(t, config); after >= before {
		t.Fatalf("%d records in the changelog, %d before it was compacted", after, before)
	}
	next := acquire(t, connect(t, config))
	if !maps.Equal(next.state, w.state) || next.next != w.next {
		t.Errorf("restored %v up to commit %d, want %v up to %d", next.state, next.next-1, w.state, w.next-1)
	}
	next.commit(nil)
}

// offsets counts the committed records of the changelog.
func offsets(t *testing.T, config kafka.Config) int {
	t.Helper()
	n := 0
	for _, r := range everything(t, config, config.Prefix+".g1.sessions.changelog", 1) {
		if r != nil {
			n++
		}
	}
	return n
}

// everything reads the committed records of a partition as any client does.
func everything(t *testing.T, config kafka.Config, topic string, partition int32) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(config.Brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	listed, err := kadm.NewClient(client).ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := listed.Lookup(topic, partition)
	var records []*kgo.Record
	for next := int64(0); next < last.Offset; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records
}

func TestAChangelogThatNamesNoCommitIsLost(t *testing.T) {
	cluster := newCluster(t)
	config := configOf(cluster.ListenAddrs())
	provision(t, config, 4)
	w := acquire(t, connect(t, config))
	for range 3 {
		w.commit(map[string]string{"key": "value"})
	}
	if err := cluster.DeleteRecords(config.Prefix+".g1.sessions.changelog", 1, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.b.Acquire(t.Context(), "sessions", 1, "next"); !errors.Is(err, broker.ErrLost) {
		t.Errorf("acquired with %v, want %v", err, broker.ErrLost)
	}
	if _, err := w.b.LastCommit(t.Context(), "sessions", 1); !errors.Is(err, broker.ErrLost) {
		t.Errorf("last commit: %v, want %v", err, broker.ErrLost)
	}
}

func TestStateUnderTheKeyOfPositionsIsRefused(t *testing.T) {
	config := configOf(newCluster(t).ListenAddrs())
	provision(t, config, 4)
	w := acquire(t, connect(t, config))
	for _, key := range []string{"", "\x00commit"} {
		if err := w.try(map[string]string{key: "value"}); err == nil {
			t.Errorf("state with the key %q is stored", key)
		}
	}
	w.commit(nil)
}
