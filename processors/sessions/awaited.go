package sessions

import (
	"slices"

	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/schemas"
)

// Permission requests that nobody answers: long_approval.

// waiting judges a permission request: by the clock of the log while it is open,
// by the clock of its host once it has ended.
func (x *fold) waiting(s *session, f *fact, r *schemas.Enriched, ok bool) {
	id := (&detectors.Finding{Kind: detectors.LongApproval, Key: string(f.key[:])}).ID(s.id)
	n := load[finding](x, findingKey(s.id, id), nil)
	if !ok {
		if n != nil && n.State != schemas.FindingStateWithdrawn {
			gone := n.Finding
			gone.State, gone.By = schemas.FindingStateWithdrawn, x.rulesAt(f.first).For(detectors.Place{})
			x.find(s, n, gone)
		}
		return
	}
	settings := x.settings(f, r)
	if !settings.Enabled(detectors.LongApproval) {
		return
	}
	found := detectors.Finding{Kind: detectors.LongApproval, Key: string(f.key[:]), Subject: detectors.SubjectOf(r), Severity: schemas.SeverityMedium,
		Count: 1, First: r.OccurredAt, Last: r.OccurredAt, Evidence: []schemas.Id{f.key}, By: settings}
	end, after, now := x.answered(s, f, r.OccurredAt), settings.ApprovalAfter(), x.tx.Now()
	s.watch(f.key, end == 0)
	switch {
	case end != 0 && (end-r.OccurredAt >= after || n != nil && n.State != schemas.FindingStateWithdrawn):
		found.State, found.Wait, found.Last = schemas.FindingStateResolved, (end-r.OccurredAt)/1000, end
	case end == 0 && (now-f.first >= after || s.ending && now-r.OccurredAt >= after):
		found.Wait = after / 1000
	case end == 0:
		f.dueBy(f.first + after)
		return
	default:
		return
	}
	if n := x.findingOf(s, id); n != nil {
		x.find(s, n, found)
	}
}

// asks keeps the times of the last prompts, in order.
func (s *session) asks(at int64) {
	i, known := slices.BinarySearch(s.prompts, at)
	if known {
		return
	}
	s.prompts, s.changed = slices.Insert(s.prompts, i, at), true
	if len(s.prompts) > maxPrompts {
		s.prompts = s.prompts[1:]
	}
}

// watch keeps the permission requests that are open.
func (s *session) watch(request schemas.Id, open bool) {
	i := slices.Index(s.pending, request)
	switch {
	case open && i < 0 && len(s.pending) < maxPending:
		s.pending, s.changed = append(s.pending, request), true
	case !open && i >= 0:
		s.pending, s.changed = slices.Delete(s.pending, i, i+1), true
	}
}

// askAgain makes open permission requests due: their turn has ended.
func (x *fold) askAgain(s *session) {
	for _, id := range s.pending {
		if f := x.known(s, id); f != nil {
			f.dueBy(x.tx.Now())
		}
	}
}

// answered is when a permission request that was made at a time came to its end,
// µs; 0 while it is open. It is the decision, or else the begin of the call that
// it was for, by its end and how long it ran, or else the end of its turn or its
// session.
func (x *fold) answered(s *session, f *fact, asked int64) int64 {
	id, l := x.linkOf(s, f)
	if l != nil {
		if call := x.callFor(s, id, l, moment{f.key, f.numbers[nOccurredAt].value}); call != nil {
			// Other witnesses tell of a decision when the call has ended.
			if d := call.numbers[nDecidedAt]; d.rank == decisionBy[otlpLog] && d.value >= asked {
				return d.value
			}
			if done := call.numbers[nEndedAt]; done.rank != 0 {
				return max(asked, done.value-call.numbers[nDurationMs].value*1000)
			}
		}
	}
	session := s.texts[sSessionId].value
	prompt, agent := f.texts[tPromptId].value, f.texts[tAgentRunId].value
	for _, key := range [...]schemas.Id{
		schemas.FactKey(session, schemas.KindTurnEnd, prompt+"/"+agent),
		schemas.FactKey(session, schemas.KindTurnEnd, prompt+"/"),
		schemas.FactKey(session, schemas.KindSessionEnd, "end"),
	} {
		if e := x.known(s, key); e != nil && e.numbers[nOccurredAt].value >= asked {
			return e.numbers[nOccurredAt].value
		}
	}
	for _, at := range s.prompts { // a person has looked
		if at > asked {
			return at
		}
	}
	return 0
}
