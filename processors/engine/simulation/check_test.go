package simulation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// check holds the logs against what was sent.
func (r *run) check() error {
	if r.violation != nil {
		return r.violation
	}
	for _, err := range r.stops {
		if !errors.Is(err, broker.ErrLost) || !r.lost {
			return fmt.Errorf("a worker stopped without reason: %w", err)
		}
	}
	for p := range r.partitions {
		if err := r.checkPartition(p); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}

func (r *run) checkPartition(p int) error {
	commits, err := r.commits(p)
	if err != nil {
		return err
	}
	reason := r.reason(p, commits)
	unrouted := r.lost && r.unrouted(p, commits)
	state, err := r.restored(p)
	switch {
	case errors.Is(err, broker.ErrLost) && (reason != "" || unrouted):
		return nil // stopped, as it must
	case err != nil:
		return fmt.Errorf("it cannot be restored and should be: %w", err)
	case reason != "":
		return fmt.Errorf("it can be restored and should not be: %s", reason)
	}
	if err := r.checkChain(p, commits); err != nil {
		return err
	}
	if unrouted {
		return nil // the next row of that topic will stop it
	}
	routed, err := r.checkTopics(p, commits)
	if err != nil {
		return err
	}
	if r.stopped() {
		return nil // another partition has stopped the workers, perhaps before this one was folded
	}
	if !routed {
		return errors.New("not all rows are in the topics")
	}
	if err := r.checkEvents(p, commits, state); err != nil {
		return err
	}
	if r.loss == inputEnd && r.lost {
		return nil // what was folded before is not all there to be folded again
	}
	if err := r.checkCounts(p, commits); err != nil {
		return err
	}
	return r.replay(p, commits)
}

// checkCounts compares the records of the input, also those of control, with
// the number that the commits say to have read.
func (r *run) checkCounts(p int, commits []*schemas.Commit) error {
	records, counted := int64(0), int64(0)
	for _, s := range commits[len(commits)-1].Slices {
		for _, m := range r.w.History(broker.Log{Topic: broker.Events, Partition: p, Lane: s.Lane}) {
			if m.Position > uint64(s.NextMessage) {
				continue
			}
			var f schemas.Frame
			if err := f.DecodeMessage(m.Payload); err != nil {
				records++ // of control
			}
			for i := range f.Segments {
				records += int64(len(f.Segments[i].Events))
			}
		}
	}
	for _, c := range commits {
		counted += c.Counts.In
	}
	if records != counted {
		return fmt.Errorf("the commits have read %d records of %d", counted, records)
	}
	return nil
}

// commits is every commit of a partition that was not lost.
func (r *run) commits(p int) ([]*schemas.Commit, error) {
	var commits []*schemas.Commit
	for _, m := range r.w.CommitHistory("ledger", p) {
		c, err := broker.DecodeCommit(m.Payload)
		if err != nil {
			return nil, err
		}
		commits = append(commits, c)
	}
	return commits, nil
}

// reason is why a partition must not be worked on any more, empty if there is
// none.
func (r *run) reason(p int, commits []*schemas.Commit) string {
	if !r.lost {
		return ""
	}
	held, err := r.held(p)
	if err != nil {
		return err.Error()
	}
	if len(held) == 0 && r.w.Started("ledger", p) {
		return "its commits are gone"
	}
	if r.loss == commitsEnd {
		if err := chained(commits); err != nil {
			return err.Error() // positions were given out twice
		}
	}
	if r.loss == pruned && len(held) > 0 && held[0].CommitNumber > 1 &&
		(len(held[len(held)-1].Snapshots) == 0 || held[len(held)-1].Snapshots[0].CommitNumber < held[0].CommitNumber-1) {
		return "commits were pruned that no snapshot stands for"
	}
	hashes := map[int64]schemas.Hash{}
	for _, c := range commits {
		hashes[c.CommitNumber] = c.Hash
	}
	reason := ""
	r.w.Each(func(topic string, m broker.Message) {
		if !broker.IsRowTopic(topic) {
			return
		}
		header, err := broker.RowsHeader(topic, m.Payload)
		if err == nil && header.SourcePartition == int64(p) && hashes[header.LastCommit] != header.CommitHash {
			reason = fmt.Sprintf("%s holds rows of a commit %d that the log does not have", topic, header.LastCommit)
		}
	})
	return reason
}

// held is the commits that the log still holds.
func (r *run) held(p int) (held []*schemas.Commit, err error) {
	err = r.observer.History(context.Background(), "ledger", p, func(c *schemas.Commit) error {
		held = append(held, c)
		return nil
	})
	return held, err
}

func chained(commits []*schemas.Commit) error {
	var previous *schemas.Commit
	for _, c := range commits {
		if err := broker.Follows(previous, c); err != nil {
			return err
		}
		previous = c
	}
	return nil
}

// unrouted tells that commits are gone whose rows are not in the topics: no
// owner can say them again.
func (r *run) unrouted(p int, commits []*schemas.Commit) bool {
	held, err := r.held(p)
	if err != nil || len(held) == 0 {
		return err != nil || len(commits) > 0
	}
	for _, topic := range rowTopics {
		for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
			newest := int64(0)
			for _, m := range r.w.History(broker.Log{Topic: topic, Partition: p, Lane: lane}) {
				if header, err := broker.RowsHeader(topic, m.Payload); err == nil {
					newest = header.LastCommit
				}
			}
			for _, c := range commits {
				if c.CommitNumber > newest && c.CommitNumber < held[0].CommitNumber &&
					slices.ContainsFunc(c.Outputs, func(o schemas.Output) bool { return o.Topic == topic && o.Lane == lane }) {
					return true
				}
			}
		}
	}
	return false
}

// restored is the state that a new owner gets.
func (r *run) restored(p int) (map[string]*entries, error) {
	ctx := context.Background()
	owner, err := r.observer.Acquire(ctx, "ledger", p, "the checker")
	if err != nil {
		return nil, err
	}
	state := map[string]*entries{}
	err = owner.Restore(ctx, func(c *schemas.Commit) error {
		for _, change := range c.Delta {
			key := string(change.Key)
			switch {
			case key[0] != 's':
			case len(change.Value) == 0:
				delete(state, key)
			default:
				state[key[1:]] = decodeEntries(bytes.Clone(change.Value), change.Due)
			}
		}
		return nil
	})
	if err == nil {
		err = owner.Flush(ctx)
	}
	return state, errors.Join(err, owner.Release(ctx))
}

// checkChain holds the commits against each other and against what the workers
// were told.
func (r *run) checkChain(p int, commits []*schemas.Commit) error {
	if err := chained(commits); err != nil {
		return err
	}
	owners := map[int64]string{}
	stored := map[told]bool{}
	for _, c := range commits {
		if owner, ok := owners[c.Epoch]; ok && owner != c.Owner {
			return fmt.Errorf("epoch %d belongs to %s and to %s", c.Epoch, owner, c.Owner)
		}
		owners[c.Epoch] = c.Owner
		stored[told{c.Partition, c.CommitNumber, c.Epoch, c.Owner}] = true
		if n := c.Counts; n.In != n.Applied+n.Duplicate+n.Dead+n.Passed {
			return fmt.Errorf("commit %d does not balance: %+v", c.CommitNumber, n)
		}
	}
	for _, c := range r.told {
		if c.partition == int64(p) && !stored[c] && !(r.lost && r.loss == commitsEnd) {
			return fmt.Errorf("%s was told that its commit %d of epoch %d stands, and it does not", c.owner, c.number, c.epoch)
		}
	}
	return nil
}

// checkTopics compares the rows in the topics with those of the commits. It
// tells whether all are there.
func (r *run) checkTopics(p int, commits []*schemas.Commit) (complete bool, err error) {
	said := map[broker.Log][][]byte{}
	for _, c := range commits {
		for _, o := range c.Outputs {
			to := broker.Log{Topic: o.Topic, Partition: int(o.Partition), Lane: o.Lane}
			said[to] = append(said[to], o.Rows...)
		}
	}
	complete = true
	for _, topic := range rowTopics {
		for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
			to := broker.Log{Topic: topic, Partition: p, Lane: lane}
			rows, err := r.rows(to)
			if err != nil {
				return false, err
			}
			if len(rows) > len(said[to]) || !slices.EqualFunc(rows, said[to][:len(rows)], bytes.Equal) {
				return false, fmt.Errorf("%s (%s) holds %d rows, the commits said %d, and they are not the same", topic, lane, len(rows), len(said[to]))
			}
			complete = complete && len(rows) == len(said[to])
		}
	}
	return complete, nil
}

// rows is every row that a log ever held, encoded. Where a topic has lost its
// end, two owners may give the same position to different frames, so that both
// stand: as every reader does, it drops those that it has read by their commit
// number.
func (r *run) rows(of broker.Log) (rows [][]byte, err error) {
	read := int64(0)
	for _, m := range r.w.History(of) {
		header, err := broker.RowsHeader(of.Topic, m.Payload)
		if err != nil {
			return nil, err
		}
		if r.lost && r.loss == topicEnd && header.LastCommit <= read {
			continue
		}
		read = header.LastCommit
		switch of.Topic {
		case broker.Enriched:
			var f schemas.EnrichedFrame
			err = f.DecodeMessage(m.Payload)
			for i := range f.Rows {
				rows = append(rows, f.Rows[i].AppendAvro(nil))
			}
		case broker.Findings:
			var f schemas.FindingFrame
			err = f.DecodeMessage(m.Payload)
			for i := range f.Rows {
				rows = append(rows, f.Rows[i].AppendAvro(nil))
			}
		case broker.DeadLetters:
			var f schemas.DeadLetterFrame
			err = f.DecodeMessage(m.Payload)
			for i := range f.Rows {
				rows = append(rows, f.Rows[i].AppendAvro(nil))
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// checkEvents follows every event that was sent to its end: the state and the
// rows, or a dead letter.
func (r *run) checkEvents(p int, commits []*schemas.Commit, state map[string]*entries) error {
	rows, dead, err := r.said(commits)
	if err != nil {
		return err
	}
	inState := map[observed]int{}
	for session, e := range state {
		for _, n := range e.events {
			inState[observed{session, n}]++
		}
		if kind := (observed{session: session}).kind(); kind == timed {
			if n := rows[session+" rest"]; n != 1 || !e.said {
				return fmt.Errorf("the timer of %s has said %d rows, want 1", session, n)
			}
		}
	}
	applied := 0
	for _, s := range r.shipments {
		if s.log.Partition != p {
			continue
		}
		for _, o := range s.events {
			n := rows[o.session+" "+strconv.FormatUint(o.number, 10)]
			want := 1
			switch o.kind() {
			case invalid, panics:
				if want = 0; dead[o] == 0 {
					return fmt.Errorf("event %d of %s has no dead letter", o.number, o.session)
				}
			case foreign:
				want = 0
			default:
				if inState[o] == 0 && dead[o] > 0 {
					want = 0 // it was taken for what had ended three workers
				}
			}
			if n != want || inState[o] != want {
				return fmt.Errorf("event %d of %s was applied %d times and said %d rows, want %d", o.number, o.session, inState[o], n, want)
			}
			applied += n
			delete(inState, o)
		}
	}
	for o := range inState {
		return fmt.Errorf("event %d of %s was never sent", o.number, o.session)
	}
	counted := int64(0)
	for _, c := range commits {
		counted += c.Counts.Applied
	}
	if counted != int64(applied) {
		return fmt.Errorf("the commits count %d applied events of %d", counted, applied)
	}
	return nil
}

// said are the rows of the commits by session and event, and the dead letters
// by event.
func (r *run) said(commits []*schemas.Commit) (rows map[string]int, dead map[observed]int, err error) {
	rows, dead = map[string]int{}, map[observed]int{}
	for _, c := range commits {
		for _, o := range c.Outputs {
			for _, encoded := range o.Rows {
				switch o.Topic {
				case broker.Enriched:
					var row schemas.Enriched
					if _, err := row.DecodeAvro(encoded); err != nil {
						return nil, nil, err
					}
					rows[row.SessionId+" "+row.RequestId]++
				case broker.Findings:
					var row schemas.Finding
					if _, err := row.DecodeAvro(encoded); err != nil {
						return nil, nil, err
					}
					rows[row.SessionId+" "+strconv.FormatInt(row.Version, 10)]++
				case broker.DeadLetters:
					var row schemas.DeadLetter
					if _, err := row.DecodeAvro(encoded); err != nil {
						return nil, nil, err
					}
					var e schemas.Event
					if err := e.DecodeMessage(row.Payload); err != nil {
						return nil, nil, fmt.Errorf("dead letter %q: %w", row.Reason, err)
					}
					n, err := strconv.ParseUint(e.RequestId, 10, 64)
					if err != nil {
						return nil, nil, err
					}
					dead[observed{e.SessionId, n}]++
				}
			}
		}
	}
	return rows, dead, nil
}

// replay folds what the commits say that they have folded.
func (r *run) replay(p int, commits []*schemas.Commit) error {
	replay, err := engine.NewReplay(r.observer, ledger{r.padding}, p)
	if err != nil {
		return err
	}
	for _, c := range commits {
		if err := replay.Next(context.Background(), c, ledger{r.padding}); err != nil {
			return err
		}
	}
	return nil
}
