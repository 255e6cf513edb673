package verify

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// topic is one log of rows, read along with the commits of one partition.
type topic struct {
	follower
	whole          bool   // nothing has aged out
	begun          *frame // read and not yet wholly compared
	last, previous int64  // last commit whose rows were met, and the one that it names
	blind          int64  // up to this commit rows cannot be compared
}

// frame is a message of rows.
type frame struct {
	schemas.RowHeader
	position uint64
	rows     [][]byte           // encoded
	facts    []schemas.Enriched // the same, on the topic enriched
	next     int                // first row that is not compared yet
}

// readFrame decodes a message of rows.
func readFrame(of broker.Log, m broker.Message) (f *frame, err error) {
	f = &frame{position: m.Position}
	if fingerprint, _ := schemas.MessageFingerprint(m.Payload); schemas.FingerprintName(fingerprint) == "Control" {
		return f, nil // of nobody: inputs of processors hold them beside rows
	}
	switch of.Topic {
	case broker.Enriched:
		var d schemas.EnrichedFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.facts, f.rows = d.Header, d.Rows, encoded(d.Rows)
	case broker.ChangeFacts:
		var d schemas.EnrichedFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.rows = d.Header, encoded(d.Rows)
	case broker.Findings:
		var d schemas.FindingFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.rows = d.Header, encoded(d.Rows)
	case broker.DeadLetters:
		var d schemas.DeadLetterFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.rows = d.Header, encoded(d.Rows)
	case broker.Tasks:
		var d schemas.TaskFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.rows = d.Header, encoded(d.Rows)
	case broker.TaskFacts:
		var d schemas.TaskFactFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.rows = d.Header, encoded(d.Rows)
	case broker.Spend:
		var d schemas.SpendFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.rows = d.Header, encoded(d.Rows)
	case broker.SpendDeltas:
		var d schemas.SpendDeltaFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.rows = d.Header, encoded(d.Rows)
	case broker.Closed:
		var d schemas.ClosedFrame
		err = d.DecodeMessage(m.Payload)
		f.RowHeader, f.rows = d.Header, encoded(d.Rows)
	default:
		err = fmt.Errorf("topic %q holds no rows", of.Topic)
	}
	return f, err
}

func encoded[T any, P interface {
	*T
	AppendAvro(b []byte) []byte
}](rows []T) [][]byte {
	all := make([][]byte, len(rows))
	for i := range rows {
		all[i] = P(&rows[i]).AppendAvro(nil)
	}
	return all
}

// follow opens a log of rows up to the end that it had before the commits were
// read.
func (p *partition) follow(ctx context.Context, of broker.Log) error {
	t := &topic{follower: follower{broker: p.broker, log: of, end: p.ends[of]}}
	p.topics[of] = t
	p.followed[source{of, int64(p.number)}] = true
	var err error
	t.whole, err = t.follower.whole(ctx)
	return err
}

// peek is the frame of this partition that comes next, or that is begun; nil at
// the end.
func (p *partition) peek(ctx context.Context, t *topic) (*frame, error) {
	for t.begun == nil {
		m, ok, err := t.follower.next(ctx)
		if err != nil || !ok {
			return nil, err
		}
		f, err := readFrame(t.log, m)
		switch {
		case err != nil:
			p.wrong(Routed, 0, "%s cannot be read at %d: %v", name(t.log), m.Position, err)
		case f.Processor != p.Processor: // another processor's, or a producer's
		case f.SourcePartition != int64(p.number):
			p.seen[source{t.log, f.SourcePartition}]++
		case f.Generation != p.report.Generation:
			p.wrong(Routed, f.FirstCommit, "the frame at %d of %s is of generation %d", f.position, name(t.log), f.Generation)
		case f.LastCommit > p.tail || f.FirstCommit > f.LastCommit:
			p.wrong(Routed, f.LastCommit, "the frame at %d of %s holds commits %d to %d, and the log ends at %d",
				f.position, name(t.log), f.FirstCommit, f.LastCommit, p.tail)
		default:
			t.begun = f
		}
	}
	return t.begun, nil
}

// outputs compares what a commit says with what stands in the topics.
func (p *partition) outputs(ctx context.Context, c *schemas.Commit) error {
	if len(c.Outputs) == 0 && !p.fits(c) {
		return p.collect(ctx, c)
	}
	for i := range c.Outputs {
		out := &c.Outputs[i]
		of := broker.Log{Topic: out.Topic, Partition: int(out.Partition), Lane: out.Lane}
		if _, known := p.ends[of]; !known {
			p.wrong(Routed, c.CommitNumber, "it has rows for %s, which is no log of rows", name(of))
			continue
		}
		if p.topics[of] == nil {
			if err := p.follow(ctx, of); err != nil {
				return err
			}
		}
		if err := p.expect(ctx, p.topics[of], c, out); err != nil {
			return err
		}
	}
	p.deadLetters(c)
	return nil
}

// deadLetters verifies that what is dead has a dead letter: timers may have more.
func (p *partition) deadLetters(c *schemas.Commit) {
	letters := 0
	for i := range c.Outputs {
		if c.Outputs[i].Topic == broker.DeadLetters {
			letters += len(c.Outputs[i].Rows)
		}
	}
	if int64(letters) < c.Counts.Dead {
		p.wrong(Counts, c.CommitNumber, "dead is %d, and it has %d dead letters", c.Counts.Dead, letters)
	}
}

// fits tells that a commit with these outputs has its hash.
func (p *partition) fits(c *schemas.Commit) bool {
	again := *c
	p.buffer = broker.AppendCommit(p.buffer[:0], &again, c.PreviousHash)
	p.fitted = p.fitted || again.Hash == c.Hash
	return again.Hash == c.Hash
}

// meet is the next frame that holds rows of a commit or of later ones; nil at
// the end. What comes before it no commit has said there, or it stands twice.
func (p *partition) meet(ctx context.Context, t *topic, number int64) (*frame, error) {
	for {
		f, err := p.peek(ctx, t)
		switch {
		case err != nil || f == nil || f.FirstCommit >= number || f.next > 0 && f.LastCommit >= number:
			return f, err
		case f.next == 0 && f.FirstCommit < p.found.FirstCommit && f.FirstCommit >= t.last: // of commits that were purged
			p.link(t, f, f.PreviousCommit)
			p.unproven(t, f)
		default:
			p.unexpected(t, f)
		}
	}
}

// pass hands rows of a frame to the rules of rows.
func (p *partition) pass(f *frame, commit int64, rows int) {
	for i := f.next; i < f.next+rows && i < len(f.facts); i++ {
		if broken := p.facts.check(commit, &f.facts[i]); broken != "" {
			p.wrong(Rows, commit, "%s", broken)
		}
	}
	f.next += rows
}

// unproven passes over what is left of a frame that cannot be compared.
func (p *partition) unproven(t *topic, f *frame) {
	left := len(f.rows) - f.next
	p.found.Unproven += int64(left)
	p.pass(f, f.LastCommit, left)
	t.last, t.blind, t.begun = f.LastCommit, f.LastCommit, nil
}

// unexpected passes over what should not stand in a topic.
func (p *partition) unexpected(t *topic, f *frame) {
	t.begun = nil
	at := fmt.Sprintf("the frame of commits %d to %d at %d of %s", f.FirstCommit, f.LastCommit, f.position, name(t.log))
	switch {
	case f.next > 0:
		p.wrong(Routed, f.LastCommit, "%s does not end with what its last commit has said: %d rows are left", at, len(f.rows)-f.next)
	case f.FirstCommit <= t.last:
		p.wrong(Routed, f.FirstCommit, "%s stands there twice, or behind later ones", at)
	default:
		p.wrong(Routed, f.FirstCommit, "%s: these commits have said nothing there", at)
	}
}

// link verifies that a frame names the last commit before it with rows there, as
// the commit does. Frames of one commit, of one row each, name the same.
func (p *partition) link(t *topic, f *frame, previous int64) {
	before := t.last
	if f.FirstCommit == t.last {
		before = t.previous
	}
	if f.PreviousCommit != previous || before != 0 && f.PreviousCommit != before {
		p.wrong(Routed, f.FirstCommit, "the frame at %d of %s names commit %d as the one before, the commit names %d, and the topic holds %d",
			f.position, name(t.log), f.PreviousCommit, previous, before)
	}
	t.previous = f.PreviousCommit
}

// ended verifies a frame whose rows are all compared, at its last commit.
func (p *partition) ended(t *topic, f *frame, c *schemas.Commit) {
	if f.next < len(f.rows) {
		p.unexpected(t, f)
	} else if f.CommitHash != c.Hash || f.Watermark != c.Watermark {
		p.wrong(Routed, c.CommitNumber, "the frame at %d of %s is of another commit with that number: hash %x, watermark %d, not %x, %d",
			f.position, name(t.log), f.CommitHash[:8], f.Watermark, c.Hash[:8], c.Watermark)
	}
	t.last, t.begun = c.CommitNumber, nil
}

// expect compares the rows that a commit says for a log, byte by byte.
func (p *partition) expect(ctx context.Context, t *topic, c *schemas.Commit, out *schemas.Output) error {
	n := c.CommitNumber
	f, err := p.meet(ctx, t, n)
	if err != nil {
		return err
	}
	missing := f == nil || f.FirstCommit > n
	switch {
	case n <= t.blind, missing && t.last == 0 && !t.whole: // its rows may have aged out
		p.found.Unproven += int64(len(out.Rows))
		return nil
	case f == nil && n > p.routed:
		p.found.Unrouted += int64(len(out.Rows))
		return nil
	case missing:
		p.wrong(Routed, n, "its %d rows for %s are missing", len(out.Rows), name(t.log))
		t.last = n
		return nil
	}
	if f.next == 0 {
		p.link(t, f, out.Previous)
	}
	for i, row := range out.Rows {
		want, err := schemas.Resolve(uint64(out.Schema), broker.RowSchema(out.Topic), row)
		switch at := f.next + i; {
		case err != nil:
			p.wrong(Routed, n, "row %d of %d for %s cannot be read: %v", i, len(out.Rows), name(t.log), err)
		case at >= len(f.rows):
			p.wrong(Routed, n, "%d of its %d rows for %s are missing", len(out.Rows)-i, len(out.Rows), name(t.log))
		case !bytes.Equal(want, f.rows[at]):
			p.wrong(Routed, n, "row %d of %d for %s is another one in the topic", i, len(out.Rows), name(t.log))
		default:
			continue
		}
		p.unproven(t, f)
		return nil
	}
	p.found.said(out.Topic, len(out.Rows))
	p.pass(f, n, len(out.Rows))
	if n == f.LastCommit {
		p.ended(t, f, c)
	}
	return nil
}

// said counts rows that were compared.
func (p *Partition) said(topic string, rows int) {
	if p.Rows == nil {
		p.Rows = map[string]int64{}
	}
	p.Rows[topic] += int64(rows)
}

// headKey is the engine's own record. It is in the delta of every commit, so it
// is the first that a compaction takes from one.
const headKey = "\x00head"

// whole tells that the whole delta of a commit is given.
func (p *partition) whole(c *schemas.Commit) bool {
	return !p.compacted && slices.ContainsFunc(c.Delta, func(d schemas.Change) bool { return string(d.Key) == headKey })
}

// collect takes the rows of a commit whose outputs stand in the topics only
// (Kafka), and proves them by the commit's hash. That needs its whole delta:
// where a part of it was compacted away, they are not proven byte by byte. The
// same goes for the commits of a worker of another release: none of them fits.
func (p *partition) collect(ctx context.Context, c *schemas.Commit) error {
	n, rows := c.CommitNumber, 0
	said := *c
	for _, of := range p.rowLogs() {
		t, out := p.topics[of], schemas.Output{Topic: of.Topic, Partition: int64(of.Partition), Lane: of.Lane, Schema: int64(broker.RowSchema(of.Topic))}
		for {
			f, err := p.meet(ctx, t, n)
			if err != nil {
				return err
			}
			if f == nil || f.FirstCommit > n {
				break
			}
			if len(out.Rows) == 0 {
				out.Previous = f.PreviousCommit
			}
			p.link(t, f, out.Previous)
			out.Rows = append(out.Rows, f.rows...)
			p.pass(f, n, len(f.rows))
			p.ended(t, f, c)
		}
		if rows += len(out.Rows); len(out.Rows) > 0 {
			said.Outputs = append(said.Outputs, out)
		}
	}
	if n > p.routed { // the ends of the topics were noted before it
		return nil
	}
	p.deadLetters(&said)
	slices.SortFunc(said.Outputs, broker.CompareOutputs)
	const few = 6 // earlier releases kept the order in which rows were said first
	if !p.fits(&said) && (len(said.Outputs) > few || !p.fitsInAnyOrder(&said, 0)) {
		p.found.Unproven += int64(rows)
		if p.fitted && p.whole(c) {
			p.wrong(Routed, n, "the %d rows of it in the topics are not those that it has said: its hash is another", rows)
		}
		return nil
	}
	for i := range said.Outputs {
		p.found.said(said.Outputs[i].Topic, len(said.Outputs[i].Rows))
	}
	return nil
}

// fitsInAnyOrder tells that a commit fits with its outputs in some order, the
// first ones as they are.
func (p *partition) fitsInAnyOrder(c *schemas.Commit, first int) bool {
	if first >= len(c.Outputs)-1 {
		return p.fits(c)
	}
	for i := first; i < len(c.Outputs); i++ {
		c.Outputs[first], c.Outputs[i] = c.Outputs[i], c.Outputs[first]
		if p.fitsInAnyOrder(c, first+1) {
			return true
		}
		c.Outputs[first], c.Outputs[i] = c.Outputs[i], c.Outputs[first]
	}
	return false
}

// unsaid verifies that the topics hold nothing more.
func (p *partition) unsaid(ctx context.Context) error {
	for _, t := range p.topics {
		if _, err := p.meet(ctx, t, math.MaxInt64); err != nil {
			return err
		}
	}
	p.found.Facts = int64(len(p.facts.known))
	return nil
}
