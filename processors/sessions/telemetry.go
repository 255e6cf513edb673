package sessions

import (
	"fmt"
	"math/bits"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/schemas"
)

// What is missing in the record itself: witnesses that do not speak, models
// without a price.

const day = int64(24 * 3600e6) // µs

// host is the record of a host: when its sessions last had a witness, µs.
type host struct {
	heard    [channels]int64
	sessions int64
	due      int64 // append time at which it is forgotten
	told     int64 // day since 1970 on which it was told last that it is there
	changed  bool
}

// unpriced reports a model without a price, once for each day.
func (x *fold) unpriced(s *session, f *fact, r *schemas.Enriched) {
	found := detectors.Finding{Kind: detectors.UnpricedModel, Key: fmt.Sprint(r.Model, "\x00", r.OccurredAt/day), Subject: r.Model,
		Severity: schemas.SeverityLow, Count: 1, First: r.OccurredAt, Last: r.OccurredAt, Evidence: []schemas.Id{f.key}, By: x.settings(f, r)}
	if !found.By.Enabled(found.Kind) {
		return
	}
	id := found.ID(schemas.SessionKey(r.Org, ""))
	seen := load(x, seenKey(id), func() *seen { return &seen{} })
	if seen.due == 0 {
		seen.due, seen.changed = x.tx.Now()+2*day, true
		n := &finding{id: id}
		x.find(s, n, found)
	}
}

// missing reports witnesses that the sessions of a host have and this one, which
// has ended, does not.
func (x *fold) missing(s *session) {
	if s.texts[sHost].value == "" {
		return
	}
	const all = 1<<hook | 1<<transcript | 1<<otlpLog
	h := load(x, hostKey(s.hostID()), func() *host { return &host{} })
	if s.judged == 0 {
		h.sessions++
		h.due, h.changed = x.tx.Now()+hostMemory, true
	}
	place := detectors.Place{Repo: s.texts[sRepo].value, Workflow: s.texts[sWorkflow].value}
	settings := x.rulesAt(s.first).For(place)
	for c := range h.heard {
		one := uint16(1) << c
		if all&one == 0 {
			continue
		}
		if s.shown&one != 0 {
			if s.lastEvent > h.heard[c] {
				h.heard[c], h.changed = s.lastEvent, true
			}
		}
		found := detectors.Finding{Kind: detectors.MissingTelemetry, Key: witnessOf(channel(c)), Subject: witnessOf(channel(c)), Severity: schemas.SeverityLow,
			Count: 1, First: s.lastEvent, Last: s.lastEvent, By: settings,
			Evidence: []schemas.Id{schemas.FactKey(s.texts[sSessionId].value, schemas.KindSessionEnd, "end")}}
		fid := found.ID(s.id)
		n := load[finding](x, findingKey(s.id, fid), nil)
		silent := s.shown&one == 0 && bits.OnesCount16(s.shown&all) > 0 && h.heard[c] != 0 && s.lastEvent-h.heard[c] < hostMemory &&
			h.sessions > 2 && settings.Enabled(found.Kind)
		switch {
		case silent && (n == nil || n.State != schemas.FindingStateOpen):
			if n = x.findingOf(s, fid); n != nil {
				x.find(s, n, found)
			}
		case !silent && s.shown&one != 0 && n != nil && n.State == schemas.FindingStateOpen:
			found.State = schemas.FindingStateWithdrawn
			x.find(s, n, found)
		}
	}
}

// tellHost tells once a day that a session's host is there, of what happens now:
// history says nothing of it.
func (x *fold) tellHost(s *session, team string) {
	now := x.tx.Now()
	f := schemas.TaskFact{Host: s.texts[sHost].value}
	if f.Host == "" || now-s.lastEvent > day {
		return
	}
	h := load(x, hostKey(s.hostID()), func() *host { return &host{} })
	if today := now / day; h.told < today {
		h.told, h.due, h.changed = today, max(h.due, now+hostMemory), true
		f.Task.Org, f.Task.Team, f.Task.User, f.Task.LastSeen = s.texts[sOrg].value, team, s.texts[sUser].value, s.lastEvent
		x.tx.EmitFor(broker.TaskFacts, f.Host, f.AppendAvro(nil))
	}
}

// hostID names the host of a session, by agent.
func (s *session) hostID() schemas.Id {
	return schemas.FactKey(s.texts[sOrg].value, schemas.KindSessionEnd, s.texts[sHost].value+"\x00"+s.texts[sAgent].value)
}

func witnessOf(c channel) string {
	switch c {
	case hook:
		return schemas.WitnessHook.String()
	case transcript:
		return schemas.WitnessTranscript.String()
	}
	return schemas.WitnessOtlp.String()
}

// seen is a record of something that is told once.
type seen struct {
	due     int64
	changed bool
}

// forget removes a record whose time has come.
func (x *fold) forget(key string) {
	if n := load[seen](x, key, nil); n != nil && n.due <= x.tx.Now() {
		n.due, n.changed = 0, true
	}
}

// forgetHost removes a host of which no session has ended for long.
func (x *fold) forgetHost(key string) {
	if h := load[host](x, key, nil); h != nil && h.due <= x.tx.Now() {
		h.due, h.changed = 0, true
	}
}
