package reference

import (
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// channel is a witness; OTLP counts as one per signal. The order is that in
// which channels are believed that a column does not name.
type channel int

const (
	hook channel = iota
	transcript
	otlpLog
	otlpSpan
	otlpMetric
	git
	ci
	forge
	direct
)

func channelOf(e *schemas.Event) channel {
	switch {
	case e.Witness == schemas.WitnessOtlp && e.Signal == schemas.SignalSpan:
		return otlpSpan
	case e.Witness == schemas.WitnessOtlp && e.Signal == schemas.SignalMetric:
		return otlpMetric
	}
	return map[schemas.Witness]channel{
		schemas.WitnessHook: hook, schemas.WitnessTranscript: transcript, schemas.WitnessOtlp: otlpLog,
		schemas.WitnessGit: git, schemas.WitnessCi: ci, schemas.WitnessForge: forge, schemas.WitnessDirect: direct,
	}[e.Witness]
}

// ranking says how far an observation is believed in a column: the least rank
// is believed, and what others tell counts only where nobody of that rank tells
// anything.
type ranking func(observation) int

// by ranks the channels that are named in that order, then all others.
func by(first ...channel) ranking {
	return func(o observation) int {
		if i := slices.Index(first, o.by); i >= 0 {
			return i
		}
		return len(first) + int(o.by)
	}
}

// Who is believed for what (DESIGN §4; contracts/claude-code.md §6).
var (
	times     = by(hook, transcript, otlpLog, otlpSpan)
	record    = by(transcript, hook, otlpLog, otlpSpan) // what the client wrote down in full
	usage     = by(otlpLog, transcript, otlpSpan)
	served    = by(transcript, otlpSpan, otlpLog) // OTLP's log tells the speed that was asked for
	durations = by(hook, otlpLog, transcript, otlpSpan)
	decisions = by(otlpLog, transcript, hook, otlpSpan)
	commits   = by(git, forge, otlpLog, transcript, hook) // whole ids before abbreviated ones
	attempts  = by(otlpSpan, otlpLog, transcript, hook)   // only spans count every one
)

// anyone is believed alike.
func anyone(observation) int { return 0 }

// The sources of a user, a workflow and a kind of work are enums with the best
// first; one that is not said is the last.

func userSource(o observation) int     { return knownFirst(int(o.UserSource)) }
func workflowSource(o observation) int { return knownFirst(int(o.WorkflowSource)) }
func workKindSource(o observation) int { return knownFirst(int(o.WorkKindSource)) }

func knownFirst(source int) int {
	const last = 1 << 10
	if source == 0 {
		return last
	}
	return source
}

// believed are the observations that tell something, of the best rank that
// tells anything.
func believed(told []observation, rank ranking, tells func(observation) bool) []observation {
	told = slices.DeleteFunc(slices.Clone(told), func(o observation) bool { return !tells(o) })
	if len(told) == 0 {
		return nil
	}
	best := rank(slices.MinFunc(told, func(a, b observation) int { return cmp.Compare(rank(a), rank(b)) }))
	return slices.DeleteFunc(told, func(o observation) bool { return rank(o) != best })
}

// A text column picks among what is believed. Empty texts tell nothing.

type text func(observation) string

func (value text) believed(told []observation, rank ranking) []observation {
	return believed(told, rank, func(o observation) bool { return value(o) != "" })
}

// newest is the text told of the latest time, among those the greatest.
func (value text) newest(told []observation, rank ranking) string {
	told = value.believed(told, rank)
	if len(told) == 0 {
		return ""
	}
	return value(slices.MaxFunc(told, func(a, b observation) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(value(a), value(b)))
	}))
}

// greatest is the greatest text, whenever it was told.
func (value text) greatest(told []observation, rank ranking) string {
	var greatest string
	for _, o := range value.believed(told, rank) {
		greatest = max(greatest, value(o))
	}
	return greatest
}

// A number column does the same. Null tells nothing.

type number func(observation) schemas.OptLong

func (value number) believed(told []observation, rank ranking) []observation {
	return believed(told, rank, func(o observation) bool { return value(o).Valid })
}

func (value number) greatest(told []observation, rank ranking) schemas.OptLong {
	return value.pick(told, rank, slices.Max[[]int64])
}

func (value number) least(told []observation, rank ranking) schemas.OptLong {
	return value.pick(told, rank, slices.Min[[]int64])
}

func (value number) pick(told []observation, rank ranking, of func([]int64) int64) schemas.OptLong {
	var values []int64
	for _, o := range value.believed(told, rank) {
		values = append(values, value(o).Value)
	}
	if len(values) == 0 {
		return schemas.OptLong{}
	}
	return schemas.SomeLong(of(values))
}

// ordinal is an enum as a number, best last; its first symbol tells nothing.
func ordinal[E ~uint8](symbol E) schemas.OptLong {
	return schemas.OptLong{Value: int64(symbol), Valid: symbol != 0}
}
