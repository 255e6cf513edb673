package broker_test

import (
	"crypto/sha256"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

func sample() *schemas.Commit {
	return &schemas.Commit{
		Processor: "sessions", Partition: 300, Generation: 2, CommitNumber: 1 << 40, Epoch: 77, Owner: strings.Repeat("w", 100),
		Slices:  []schemas.Slice{{FirstMessage: 1, NextMessage: 2}},
		Outputs: []schemas.Output{{Topic: broker.Enriched, Rows: [][]byte{[]byte("row")}}},
		Delta:   []schemas.Change{{Key: []byte("key"), Value: []byte("value")}},
	}
}

func TestTheHashIsThatOfTheRecordWithItsOwnBytesAsZeros(t *testing.T) {
	c := sample()
	previous := schemas.Hash{1, 2, 3}
	message := broker.AppendCommit([]byte("before it"), c, previous)[len("before it"):]
	if c.PreviousHash != previous {
		t.Errorf("previous hash is %x, want %x", c.PreviousHash, previous)
	}
	zeroed := *c
	zeroed.Hash = schemas.Hash{}
	if want := schemas.Hash(sha256.Sum256(zeroed.AppendAvro(nil))); c.Hash != want {
		t.Errorf("hash is %x, want %x", c.Hash, want)
	}
	got, err := broker.DecodeCommit(message)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("decoded %+v (%v), want %+v", got, err, c)
	}
}

func TestACommitWithAnyOtherByteDoesNotDecode(t *testing.T) {
	message := broker.AppendCommit(nil, sample(), schemas.Hash{})
	for i := range message {
		changed := append([]byte(nil), message...)
		changed[i] ^= 1
		if _, err := broker.DecodeCommit(changed); !errors.Is(err, broker.ErrLost) {
			t.Errorf("byte %d changed: %v, want %v", i, err, broker.ErrLost)
		}
		if _, err := broker.DecodeCommit(message[:i]); !errors.Is(err, broker.ErrLost) {
			t.Errorf("cut at byte %d: %v, want %v", i, err, broker.ErrLost)
		}
	}
}

func FuzzDecodeCommit(f *testing.F) {
	f.Add(broker.AppendCommit(nil, sample(), schemas.Hash{}))
	f.Add(broker.AppendCommit(nil, &schemas.Commit{}, schemas.Hash{}))
	f.Fuzz(func(t *testing.T, message []byte) {
		c, err := broker.DecodeCommit(message)
		if err == nil && c.Hash == (schemas.Hash{}) {
			t.Error("a commit without a hash decodes")
		}
	})
}

func TestTheHeadOfRowsIsReadForEveryTopicOfRows(t *testing.T) {
	want := schemas.RowHeader{Processor: "sessions", SourcePartition: 3, Generation: 1, FirstCommit: 4, LastCommit: 5,
		PreviousCommit: 2, CommitHash: schemas.Hash{9}, Watermark: 6}
	for _, topic := range broker.RowTopics() {
		message := broker.AppendRows(nil, topic, &want, nil)
		if got, err := broker.RowsHeader(topic, message); err != nil || got != want {
			t.Errorf("%s: read %+v (%v), want %+v", topic, got, err, want)
		}
		if _, err := broker.RowsHeader(topic, message[:20]); err == nil {
			t.Errorf("%s: a cut message has a head", topic)
		}
	}
	if _, err := broker.RowsHeader(broker.Events, nil); err == nil || broker.IsRowTopic(broker.Events) {
		t.Error("events hold rows")
	}
}

func TestWhatProcessorsReadAndFindingsHaveACriticalLane(t *testing.T) {
	two := map[string]bool{broker.Events: true, broker.Findings: true, broker.TaskFacts: true, broker.SpendDeltas: true, broker.ChangeFacts: true}
	for _, topic := range append(broker.RowTopics(), broker.Events, broker.Config) {
		if broker.TwoLanes(topic) != two[topic] {
			t.Errorf("%s has two lanes: %v", topic, broker.TwoLanes(topic))
		}
	}
}
