package engine

import (
	"slices"
	"strconv"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Tx is what a fold sees of the world: the committed state under its overlay,
// the time, the configuration in force, and a place for what it says.
type Tx struct {
	state      *State
	configs    *configs
	head       *head
	generation int64
	partition  int
	partitions int
	commit     int64
	now        int64
	appendedAt int64
	watermark  int64
	versions   schemas.Versions
	delta      []schemas.Change
	outputs    []output
	size       int
	touched    int
	again      bool // a record was put that is due already
	archives   []*archive
	stubs      map[string][]byte // pages of stubs that changed
	gone       map[schemas.Id]bool
}

type output struct {
	topic     string
	lane      schemas.Lane
	partition int
	row       []byte
}

// Now is the fold's time: the highest append time seen in the partition, µs.
func (tx *Tx) Now() int64 { return tx.now }

// AppendedAt is the append time of the event that is being folded, µs. It may
// lie before Now: the critical lane is folded first.
func (tx *Tx) AppendedAt() int64 { return tx.appendedAt }

// Partition that is folded, and the number of the commit that is made.
func (tx *Tx) Partition() int      { return tx.partition }
func (tx *Tx) CommitNumber() int64 { return tx.commit }

// Watermark of the partition, µs; 0 while no source has spoken.
func (tx *Tx) Watermark() int64 { return tx.watermark }

// Generation of log, state and rows.
func (tx *Tx) Generation() int64 { return tx.generation }

// Versions of rules, prices and directory in force at Now.
func (tx *Tx) Versions() schemas.Versions { return tx.versions }

// VersionsAt are the versions of rules, prices and directory by which an event is
// folded that was appended at a time, µs.
func (tx *Tx) VersionsAt(at int64) schemas.Versions { return tx.head.versionsAt(at) }

// Config is the text of a version of rules, prices or directory, as the topic
// config holds it; nil for version 1, which is what the fold brings along. It
// must not be changed.
func (tx *Tx) Config(kind string, version int64) []byte { return tx.configs.text(kind, version) }

// Get reads a committed record. The value must not be changed.
func (tx *Tx) Get(key string) (value []byte, due int64, ok bool) {
	r, ok := tx.state.records[key]
	return r.value, r.due, ok
}

// Keys are up to n keys of committed records that begin with prefix and come
// after another key, in order. The first call of a walk looks at every record of
// the state; the one that gives fewer than n ends it.
func (tx *Tx) Keys(prefix, after string, n int) []string { return tx.state.keys(prefix, after, n) }

// Used is the size of what the transaction says and stores so far, bytes.
func (tx *Tx) Used() int { return tx.size + tx.touched*recordSize }

// Touch tells that one more record will be put at the end.
func (tx *Tx) Touch() { tx.touched++ }

// Put stores a record at the end of the fold; an empty value deletes it. due
// is the append time from which [Fold.Due] is called for it, 0 for never.
// Records must be put in an order that does not depend on map order. Keys that
// begin with a byte below ' ' are the engine's.
func (tx *Tx) Put(key string, value []byte, due int64) {
	tx.delta = append(tx.delta, schemas.Change{Key: []byte(key), Value: value, Due: due})
	tx.size += len(key) + len(value)
	tx.again = tx.again || due != 0 && due <= tx.now
}

// Emit says a row for a topic; the row is the transaction's from then on.
func (tx *Tx) Emit(topic string, row []byte) {
	tx.emit(topic, schemas.LaneNormal, tx.partition, row)
}

// EmitFor says a row for the partition of a topic that a key belongs to.
func (tx *Tx) EmitFor(topic, key string, row []byte) {
	tx.emit(topic, schemas.LaneNormal, schemas.PartitionOf(key, tx.partitions), row)
}

// EmitCritical says a row on the critical lane of a topic that has one.
func (tx *Tx) EmitCritical(topic string, row []byte) {
	tx.emit(topic, schemas.LaneCritical, tx.partition, row)
}

func (tx *Tx) emit(topic string, lane schemas.Lane, partition int, row []byte) {
	tx.outputs = append(tx.outputs, output{topic, lane, partition, row})
	tx.size += len(row)
}

// Full tells that the commit has reached its size: go on in the next one.
func (tx *Tx) Full() bool { return tx.Used() >= SoftBytes }

// grouped puts the rows together by topic, lane and partition, in this order, and
// within one in the order in which they were said. previous is the last commit with rows by destination.
func (tx *Tx) grouped(previous map[string]int64) []schemas.Output {
	var outputs []schemas.Output
	at := map[string]int{}
	for _, o := range tx.outputs {
		name := destination(o.topic, o.lane, o.partition, tx.partition)
		i, ok := at[name]
		if !ok {
			i = len(outputs)
			at[name] = i
			outputs = append(outputs, schemas.Output{Topic: o.topic, Partition: int64(o.partition), Lane: o.lane,
				Previous: previous[name], Schema: int64(broker.RowSchema(o.topic))})
		}
		outputs[i].Rows = append(outputs[i].Rows, o.row)
	}
	slices.SortFunc(outputs, broker.CompareOutputs)
	return outputs
}

// destination names a lane of a topic in the head, and its partition where that
// is another one than the source's own.
func destination(topic string, lane schemas.Lane, partition, own int) string {
	if lane != schemas.LaneNormal {
		topic += "/" + lane.String()
	}
	if partition != own {
		topic += "#" + strconv.Itoa(partition)
	}
	return topic
}
