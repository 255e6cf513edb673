package tasks

import (
	"cmp"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// What a moment of a session was spent with: of two at once, the later counts.
const (
	modelTime = iota
	toolTime
	approvalTime
	kindsOfTime
)

// span is a time spent with one of them, in µs.
type span struct {
	from, to int64
	with     int
}

// maxSpan is the longest duration that is believed, in ms.
const maxSpan = 90 * 24 * 3_600_000

// micros is a duration in µs.
func micros(ms schemas.OptLong) int64 { return max(0, min(ms.Value, maxSpan)) * 1000 }

func (c *contribution) span(with int, from int64, ms schemas.OptLong) {
	to := from + micros(ms)
	c.spans = append(c.spans, span{from, to, with})
	c.seen(to)
}

// times splits the time from the first to the last fact: every moment counts
// once.
func (c *contribution) times() {
	type change struct {
		at   int64
		with int
		by   int
	}
	var changes []change
	for _, s := range c.spans {
		from := max(s.from, c.Task.FirstSeen)
		if from < s.to {
			changes = append(changes, change{from, s.with, 1}, change{s.to, s.with, -1})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	var running [kindsOfTime]int
	var spent [kindsOfTime]int64
	busy := int64(0)
	for i, x := range changes {
		if i > 0 {
			for with := kindsOfTime - 1; with >= 0; with-- {
				if running[with] > 0 {
					spent[with] += x.at - changes[i-1].at
					busy += x.at - changes[i-1].at
					break
				}
			}
		}
		running[x.with] += x.by
	}
	t := &c.Task
	t.ModelMs, t.ToolMs, t.ApprovalMs = spent[modelTime]/1000, spent[toolTime]/1000, spent[approvalTime]/1000
	t.IdleMs = (t.LastSeen - t.FirstSeen - busy) / 1000
}
