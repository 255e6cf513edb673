package verify

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/flightlog/flightlog/schemas"
)

// Kind is what a violation breaks.
type Kind string

// Kinds of violations, with the invariants of the test plan.
const (
	Chain     Kind = "chain"     // the commits are not one chain, or time or versions go back (I4, I7)
	Counts    Kind = "counts"    // in is not applied + duplicate + dead + passed, or not what stands in the input (I1, I9)
	Input     Kind = "input"     // the input is not the one that was folded, or a part of it was not folded (I1)
	Gap       Kind = "gap"       // a producer's sequence has a hole (I1)
	Routed    Kind = "routed"    // a topic does not hold what the commits said, once and in order (I3, I6)
	Rows      Kind = "rows"      // a row breaks the rules of signed rows (I2, I3)
	Replay    Kind = "replay"    // a commit is not what its slices fold to (I5, check A)
	Behind    Kind = "behind"    // something waits though nobody works any more (I8)
	Reference Kind = "reference" // the topics differ from the reference (I6, check B)
)

// NoPartition is the partition of a violation of the whole.
const NoPartition = -1

// Violation is something that must never be.
type Violation struct {
	Kind      Kind   `json:"kind"`
	Partition int    `json:"partition"`        // -1 = of the whole
	Commit    int64  `json:"commit,omitempty"` // 0 = of none
	Text      string `json:"text"`             // a sentence
}

// maxTold is how many violations are told one by one.
const maxTold = 100

// violations are the first ones found, and how many there were by kind.
type violations struct {
	told   []Violation
	counts map[Kind]int64
}

func (v *violations) add(one Violation) {
	if v.counts == nil {
		v.counts = map[Kind]int64{}
	}
	v.counts[one.Kind]++
	if len(v.told) < maxTold {
		v.told = append(v.told, one)
	}
}

// Report is what a run has found.
type Report struct {
	Processor    string      `json:"processor"`
	Generation   int64       `json:"generation"`
	Installation string      `json:"installation"`
	Partitions   []Partition `json:"partitions"`
	// Versions that differ between the last commits of partitions, in sentences.
	// They do while a new version takes effect, and on partitions without input.
	Versions []string `json:"versions,omitempty"`
	// Reference tells that check B was made.
	Reference bool `json:"reference"`
	// Violations are the first that were found; Counts are how many there were,
	// by kind.
	Violations []Violation    `json:"violations,omitempty"`
	Counts     map[Kind]int64 `json:"counts,omitempty"`
	// Others are the reports of the processors that read what this one says.
	Others []*Report `json:"others,omitempty"`
}

// Partition is what was read of one partition.
type Partition struct {
	Partition   int              `json:"partition"`
	FirstCommit int64            `json:"first_commit"` // oldest that is held, 0 = none
	LastCommit  int64            `json:"last_commit"`
	Commits     int64            `json:"commits"`
	Epochs      int64            `json:"epochs"` // owners that committed
	Counts      schemas.Counts   `json:"counts"` // sums over the commits held
	Versions    schemas.Versions `json:"versions"`
	Rewinds     int64            `json:"rewinds"` // how often the input was folded again from its start

	// Uncounted commits have read input that has aged out since: their counts
	// were not compared with it.
	Uncounted int64 `json:"uncounted_commits"`

	// Rows of this partition in the topics, by topic, that were compared with
	// the commits.
	Rows map[string]int64 `json:"rows"`
	// Unproven rows could not be compared byte by byte: they or their commits
	// have aged out or were purged, or the broker does not hold what the commit
	// said elsewhere (Kafka, after compaction).
	Unproven int64 `json:"unproven_rows"`
	// Unrouted rows were on their way to their topics.
	Unrouted int64 `json:"unrouted_rows"`
	Facts    int64 `json:"facts"`

	// Replayed commits were folded again, from ReplayedFrom on. Taken ones were
	// not: their input or a fold of their version is not there.
	Replayed     int64 `json:"replayed_commits"`
	ReplayedFrom int64 `json:"replayed_from"`
	Taken        int64 `json:"taken_commits"`

	// Lag is what stands in the input behind the last commit.
	Lag Lag `json:"lag"`
	// Gaps and Repeats are sequence numbers of producers that are missing, and
	// that came again (which is no error). Producers lists the first that have
	// any.
	Gaps      int64      `json:"gaps"`
	Repeats   int64      `json:"repeats"`
	Producers []Producer `json:"producers,omitempty"`
	Notes     []string   `json:"notes,omitempty"`
}

// Lag is what waits to be folded.
type Lag struct {
	Messages int64   `json:"messages"`
	Seconds  float64 `json:"seconds"` // since the oldest of them was appended
}

// Producer is one run of sequence numbers.
type Producer struct {
	Org        string     `json:"org"`
	ProducerID string     `json:"producer_id"`
	Epoch      int64      `json:"epoch"`
	Lane       string     `json:"lane"`
	Next       int64      `json:"next"` // first number that has not come
	Repeats    int64      `json:"repeats"`
	Gaps       [][2]int64 `json:"gaps,omitempty"` // first and last number that are missing
}

// Clean tells that there are no violations.
func (r *Report) Clean() bool { return r.Total() == 0 }

// Total is the number of violations.
func (r *Report) Total() (n int64) {
	for _, count := range r.Counts {
		n += count
	}
	for _, o := range r.Others {
		n += o.Total()
	}
	return n
}

func (r *Report) add(v Violation) {
	r.merge(&violations{told: []Violation{v}, counts: map[Kind]int64{v.Kind: 1}})
}

func (r *Report) merge(v *violations) {
	r.Violations = append(r.Violations, v.told[:min(len(v.told), maxTold-len(r.Violations))]...)
	for kind, n := range v.counts {
		if r.Counts == nil {
			r.Counts = map[Kind]int64{}
		}
		r.Counts[kind] += n
	}
}

// compareVersions names what the partitions fold by differently.
func (r *Report) compareVersions() {
	for _, kind := range []struct {
		name string
		of   func(schemas.Versions) int64
	}{
		{"fold", func(v schemas.Versions) int64 { return v.Fold }},
		{"rules", func(v schemas.Versions) int64 { return v.Rules }},
		{"prices", func(v schemas.Versions) int64 { return v.Prices }},
		{"directory", func(v schemas.Versions) int64 { return v.Directory }},
	} {
		by := map[int64][]string{}
		for i := range r.Partitions {
			if p := &r.Partitions[i]; p.Commits > 0 {
				by[kind.of(p.Versions)] = append(by[kind.of(p.Versions)], fmt.Sprint(p.Partition))
			}
		}
		if len(by) < 2 {
			continue
		}
		var parts []string
		for _, version := range slices.Sorted(maps.Keys(by)) {
			parts = append(parts, fmt.Sprintf("version %d in %s", version, strings.Join(by[version], ", ")))
		}
		r.Versions = append(r.Versions, kind.name+": "+strings.Join(parts, "; "))
	}
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	err := r.writeText(w)
	for _, o := range r.Others {
		if err == nil {
			_, err = fmt.Fprintln(w)
		}
		if err == nil {
			err = o.writeText(w)
		}
	}
	return err
}

func (r *Report) writeText(w io.Writer) error {
	t := &text{w: w}
	t.line("processor %s, generation %d, installation %s", r.Processor, r.Generation, r.Installation)
	t.line("")
	table := tabwriter.NewWriter(t, 0, 0, 2, ' ', tabwriter.AlignRight)
	cells := &text{w: table}
	cells.line("partition\tcommits\towners\tin\tapplied\tduplicate\tdead\tpassed\trows\tfacts\treplayed\tlag\tgaps\trepeats\tversions\t")
	for i := range r.Partitions {
		p := &r.Partitions[i]
		rows := int64(0)
		for _, n := range p.Rows {
			rows += n
		}
		held := "-"
		if p.Commits > 0 {
			held = fmt.Sprintf("%d..%d", p.FirstCommit, p.LastCommit)
		}
		cells.line("%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d (%.0f s)\t%d\t%d\t%d/%d/%d/%d\t", p.Partition, held, p.Epochs,
			p.Counts.In, p.Counts.Applied, p.Counts.Duplicate, p.Counts.Dead, p.Counts.Passed, rows, p.Facts, p.Replayed,
			p.Lag.Messages, p.Lag.Seconds, p.Gaps, p.Repeats, p.Versions.Fold, p.Versions.Rules, p.Versions.Prices, p.Versions.Directory)
	}
	if err := cmp.Or(cells.err, table.Flush()); err != nil {
		return err
	}
	t.line("in = applied + duplicate + dead + passed; versions are those of fold, rules, prices and directory")
	for _, v := range r.Versions {
		t.line("differs by partition: %s", v)
	}
	for i := range r.Partitions {
		r.Partitions[i].notes(t)
	}
	t.line("")
	if r.Clean() {
		t.line("no violations")
		return t.err
	}
	for _, v := range r.Violations {
		where := ""
		if v.Partition != NoPartition {
			where = fmt.Sprintf(" partition %d", v.Partition)
		}
		if v.Commit != 0 {
			where += fmt.Sprintf(" commit %d", v.Commit)
		}
		t.line("VIOLATION %s%s: %s", v.Kind, where, v.Text)
	}
	if rest := r.Total() - int64(len(r.Violations)); rest > 0 {
		t.line("... and %d more", rest)
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(r.Counts)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, r.Counts[kind]))
	}
	t.line("%d violations: %s", r.Total(), strings.Join(kinds, ", "))
	return t.err
}

// notes writes what the table does not tell.
func (p *Partition) notes(t *text) {
	about := func(n int64, format string) {
		if n > 0 {
			t.line("partition %d: "+format, p.Partition, n)
		}
	}
	about(p.Rewinds, "the input had lost its end or was rewritten, and was folded again from its start: %d times")
	about(p.Uncounted, "the input of %d commits has aged out: not counted again")
	about(p.Unproven, "%d rows could not be compared byte by byte")
	about(p.Unrouted, "%d rows are on their way to their topics")
	about(p.Taken, "%d commits were not folded again")
	for _, s := range p.Producers {
		t.line("partition %d: producer %s/%s epoch %d lane %s: next %d, %d repeats, missing %v",
			p.Partition, s.Org, s.ProducerID, s.Epoch, s.Lane, s.Next, s.Repeats, s.Gaps)
	}
	for _, note := range p.Notes {
		t.line("partition %d: %s", p.Partition, note)
	}
}

// text writes lines until the first error.
type text struct {
	w   io.Writer
	err error
}

func (t *text) Write(b []byte) (int, error) { return t.w.Write(b) }

func (t *text) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}
