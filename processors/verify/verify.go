// Package verify reads the logs of an installation and proves what the engine
// promises (DESIGN §5): that the commits of each partition are one chain, that
// every record of the input was folded and counted, that the topics hold what
// the commits said, once and in order, that rows keep the rules of signed rows,
// and that folding again what was folded gives the same bytes (check A).
//
// It reads as a stream, partition by partition, also while workers work. What
// it keeps grows with facts (about 100 bytes for each of the partition that is
// read) and with the lives of producers, not with events; check A adds the
// state of one partition.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// Options of a run.
type Options struct {
	// Processor whose commits are read.
	Processor string
	// Input is the topic that it reads; events if empty.
	Input string
	// Folds are the processor by the version of its fold, for check A. Commits
	// of other versions are taken as they are; without any, check A is left out.
	Folds map[int64]engine.Processor
	// Settled tells that no worker and no producer is at work any more: what is
	// not folded or not routed then is a violation, and not on its way.
	Settled bool
	// Reference, if set, is check B: it tells in sentences how the topics differ
	// from what they must hold.
	Reference func(ctx context.Context, b broker.Broker) ([]string, error)
	// Progress, if set, is told now and then how many commits of a partition
	// have been read.
	Progress func(partition int, commits int64)
	// Clock tells the time that lag is measured by, µs; time.Now if nil.
	Clock func() int64
}

// Run verifies one processor of an installation. The error tells that the logs
// could not be read; what is wrong in them stands in the report.
func Run(ctx context.Context, b broker.Broker, o Options) (*Report, error) {
	if o.Clock == nil {
		o.Clock = func() int64 { return time.Now().UnixMicro() }
	}
	if o.Progress == nil {
		o.Progress = func(int, int64) {}
	}
	v := &verifier{Options: o, broker: b, seen: map[source]int64{}, followed: map[source]bool{}}
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("cannot verify %s: %w", o.Processor, err)
	}
	return &v.report, nil
}

// verifier is one run.
type verifier struct {
	Options
	broker     broker.Broker
	partitions int
	report     Report
	seen       map[source]int64 // frames in logs of other partitions than the source's
	followed   map[source]bool  // which of them were compared with the commits
}

// source is a partition of the processor that has rows in a log.
type source struct {
	in        broker.Log
	partition int64
}

func (v *verifier) run(ctx context.Context) (err error) {
	if v.partitions, err = v.broker.Partitions(ctx); err != nil {
		return err
	}
	if v.report.Installation, err = v.broker.Installation(ctx); err != nil {
		return err
	}
	v.report.Processor, v.report.Generation = v.Processor, v.broker.Generation()
	for version, f := range v.Folds {
		if f.Name() != v.Processor || f.Version() != version {
			return fmt.Errorf("fold %d is version %d of the processor %s", version, f.Version(), f.Name())
		}
	}
	for number := range v.partitions {
		if err := v.partition(ctx, number); err != nil {
			return fmt.Errorf("partition %d: %w", number, err)
		}
	}
	for s, frames := range v.seen {
		if !v.followed[s] {
			v.report.add(Violation{Routed, int(s.partition), 0,
				fmt.Sprintf("%s holds %d frames of the partition, and no commit of it names that log", name(s.in), frames)})
		}
	}
	v.report.compareVersions()
	if v.Reference == nil {
		return nil
	}
	differences, err := v.Reference(ctx, v.broker)
	if err != nil {
		return fmt.Errorf("check B: %w", err)
	}
	for _, d := range differences {
		v.report.add(Violation{Reference, NoPartition, 0, d})
	}
	v.report.Reference = true
	return nil
}

// purgedAnew is how often a partition is read again because its log was purged
// under the reading.
const purgedAnew = 5

// errPurged: commits were purged before they could be read.
var errPurged = errors.New("the log is purged faster than it can be read")

func (v *verifier) partition(ctx context.Context, number int) error {
	for try := 1; ; try++ {
		p := &partition{verifier: v, number: number, topics: map[broker.Log]*topic{}}
		p.found.Partition = number
		err := p.verify(ctx)
		p.close()
		if errors.Is(err, errPurged) && try < purgedAnew {
			continue
		}
		if err != nil {
			return err
		}
		v.report.Partitions = append(v.report.Partitions, p.found)
		v.report.merge(&p.violations)
		v.report.merge(&p.doubtful)
		return nil
	}
}

// partition is the reading of one partition of the processor.
type partition struct {
	*verifier
	number int
	found  Partition

	violations violations
	// doubtful are what differs from the input. They are withdrawn when the
	// input is rewound: then it was another one when these commits were made.
	doubtful violations

	previous *schemas.Commit // nil before the first
	input    *input
	topics   map[broker.Log]*topic
	ends     map[broker.Log]uint64 // of all topics of rows, as of before the commits were read
	routed   int64                 // commits whose rows must be in the topics
	tail     int64                 // newest commit whose rows may be there
	fitted   bool                  // a commit of this epoch had the hash that it must have
	// compacted: the commits before this one were compacted away (Kafka), and of
	// their state records some are given with it.
	compacted bool
	snapshots bool // stand, of the state
	facts     facts
	replay    *replay
	buffer    []byte
}

func (p *partition) wrong(kind Kind, commit int64, format string, args ...any) {
	p.violations.add(Violation{kind, p.number, commit, fmt.Sprintf(format, args...)})
}

func (p *partition) doubt(kind Kind, commit int64, format string, args ...any) {
	p.doubtful.add(Violation{kind, p.number, commit, fmt.Sprintf(format, args...)})
}

func (p *partition) note(format string, args ...any) {
	p.found.Notes = append(p.found.Notes, fmt.Sprintf(format, args...))
}

func (p *partition) verify(ctx context.Context) error {
	if err := p.open(ctx); err != nil {
		return err
	}
	var failed error
	err := p.broker.History(ctx, p.Processor, p.number, func(c *schemas.Commit) error {
		if failed = p.commit(ctx, c); failed != nil {
			failed = fmt.Errorf("commit %d: %w", c.CommitNumber, failed)
		}
		return failed
	})
	switch {
	case failed != nil:
		return failed
	case errors.Is(err, broker.ErrLost):
		p.wrong(Chain, p.found.LastCommit, "the commits behind it cannot be read: %v", err)
	case err != nil:
		return err
	}
	return p.finish(ctx)
}

// open notes where everything stood before the commits are read: whatever is in
// a topic by then is of a commit that will be read.
func (p *partition) open(ctx context.Context) error {
	last, err := p.broker.LastCommit(ctx, p.Processor, p.number)
	switch {
	case errors.Is(err, broker.ErrLost):
		p.wrong(Chain, 0, "the last commit cannot be read: %v", err)
	case err != nil:
		return err
	case last != nil:
		p.routed = last.Routed
	}
	if p.Settled {
		p.routed = math.MaxInt64
	}
	p.ends = map[broker.Log]uint64{}
	for q := range p.partitions {
		for _, of := range rowLogs(q) {
			if p.ends[of], err = p.broker.End(ctx, of); err != nil {
				return err
			}
		}
	}
	if last, err = p.broker.LastCommit(ctx, p.Processor, p.number); err == nil && last != nil {
		p.tail, p.snapshots = last.CommitNumber, len(last.Snapshots) > 0
	} else if err != nil && !errors.Is(err, broker.ErrLost) {
		return err
	}
	for _, of := range p.rowLogs() {
		if err := p.follow(ctx, of); err != nil {
			return err
		}
	}
	enriched := p.topics[broker.Log{Topic: broker.Enriched, Partition: p.number}]
	p.facts = facts{known: map[schemas.Id]standing{}, whole: enriched.whole, generation: p.broker.Generation()}
	p.input, err = openInput(ctx, p.broker, cmp.Or(p.Input, broker.Events), p.number)
	return err
}

// rowLogs are the logs of rows of one partition.
func rowLogs(partition int) []broker.Log {
	var logs []broker.Log
	for _, topic := range broker.RowTopics() {
		logs = append(logs, broker.Log{Topic: topic, Partition: partition})
	}
	return append(logs, broker.Log{Topic: broker.Findings, Partition: partition, Lane: schemas.LaneCritical})
}

// rowLogs are the logs that this partition may have said rows for: its own, and
// all of the topics that lead to other processors.
func (p *partition) rowLogs() []broker.Log {
	logs := rowLogs(p.number)
	for _, topic := range [...]string{broker.TaskFacts, broker.SpendDeltas, broker.ChangeFacts} {
		for q := range p.partitions {
			if q != p.number {
				logs = append(logs, broker.Log{Topic: topic, Partition: q})
			}
		}
	}
	return logs
}

// commit verifies the commit that comes next.
func (p *partition) commit(ctx context.Context, c *schemas.Commit) error {
	if err := p.chain(ctx, c); err != nil {
		return err
	}
	folded, err := p.records(ctx, c)
	if err != nil {
		return err
	}
	if err := p.outputs(ctx, c); err != nil {
		return err
	}
	if err := p.again(ctx, c, folded); err != nil {
		return err
	}
	p.previous = &schemas.Commit{CommitNumber: c.CommitNumber, Hash: c.Hash, Epoch: c.Epoch, Owner: c.Owner, Now: c.Now,
		Watermark: c.Watermark, Versions: c.Versions, More: c.More, Slices: slices.Clone(c.Slices)}
	if p.found.Commits++; p.found.Commits%256 == 0 {
		p.Progress(p.number, p.found.Commits)
	}
	return ctx.Err()
}

// finish looks at what stands behind the last commit.
func (p *partition) finish(ctx context.Context) error {
	if err := p.unsaid(ctx); err != nil {
		return err
	}
	if err := p.lag(ctx); err != nil {
		return err
	}
	p.gaps()
	if p.Settled && p.previous != nil && p.previous.More {
		p.wrong(Behind, p.previous.CommitNumber, "the fold has more to say, and nobody works any more")
	}
	p.Progress(p.number, p.found.Commits)
	return nil
}

func (p *partition) close() {
	if p.input != nil {
		for _, l := range p.input.lanes {
			l.close()
		}
	}
	for _, t := range p.topics {
		t.close()
	}
}

// name is a log's in sentences.
func name(l broker.Log) string {
	if l.Lane == schemas.LaneNormal {
		return fmt.Sprintf("%s/%d", l.Topic, l.Partition)
	}
	return fmt.Sprintf("%s/%d/%s", l.Topic, l.Partition, l.Lane)
}
