package tasks

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/processors/findings"
	"github.com/flightlog/flightlog/processors/records"
	"github.com/flightlog/flightlog/schemas"
)

// Hosts that fell silent (docs/detectors.md, missing_telemetry). That no session
// comes any more is seen only where what all partitions know of a host meets.

const (
	dayLength  = int64(86400e6)
	grace      = int64(6 * 3600e6) // after a day, for what was spooled, µs
	usual      = 5                 // of the last seven working days
	hostMemory = 14 * dayLength    // then the host is taken for gone
)

// host is a host in the state.
type host struct {
	org, name, team, user string
	days                  []int64 // days since 1970 with sessions, the last ones
	lookAt                int64   // when to look at it next, µs; 0 = it was found silent
	silent                int64   // first day of the finding that is open, 0 = none
	said                  findings.Said
	gone                  bool
}

const mostDays = 16 // that are remembered

// remember notes a day, in order.
func remember(days []int64, day int64) []int64 {
	if i, known := slices.BinarySearch(days, day); !known {
		days = slices.Insert(days, i, day)
	}
	return days[max(0, len(days)-mostDays):]
}

func (h *host) last() int64 { return h.days[len(h.days)-1] }

// over is when a day is over and what was spooled has come.
func over(day int64) int64 { return (day+1)*dayLength + grace }

// workday tells Monday to Friday, UTC.
func workday(n int64) bool { return (n+3)%7 < 5 } // day 0 was a Thursday

func hostRecord(org, name string) string {
	id := schemas.FactKey(org, 0, name)
	return string(hostKind) + string(id[:])
}

// alive takes the word that a host has had a session. That anybody of the
// organisation has makes the day one on which a host can be silent: none is where
// nobody works, or nothing is told of anybody.
func (x *fold) alive(f *schemas.TaskFact) {
	day := min(f.Task.LastSeen, x.tx.Now()) / dayLength
	org := x.hostOf(f.Task.Org, "")
	org.days = remember(org.days, day)
	h := x.hostOf(f.Task.Org, f.Host)
	h.team, h.user = strings.Clone(f.Task.Team), strings.Clone(f.Task.User)
	h.days = remember(h.days, day)
	if h.lookAt == 0 || h.last() == day {
		h.lookAt = over(h.last() + 1)
	}
	x.speaks(h)
}

// hostOf is the record of a host, or of the organisation where it has no name.
func (x *fold) hostOf(org, name string) *host {
	key := hostRecord(org, name)
	if h := x.host(key); h != nil && !h.gone {
		return h
	}
	h := &host{org: strings.Clone(org), name: strings.Clone(name)}
	x.hosts[key] = h
	x.hostOrder = append(x.hostOrder, key)
	x.tx.Touch()
	return h
}

// speaks resolves the finding that is open.
func (x *fold) speaks(h *host) {
	if h.silent != 0 {
		x.findSilent(h, schemas.FindingStateResolved)
		h.silent = 0
	}
}

// hostDue looks at a host when a day is over, and forgets it in the end.
func (x *fold) hostDue(key string) {
	h := x.host(key)
	if h == nil {
		return
	}
	now := x.tx.Now()
	if h.lookAt != 0 && h.lookAt <= now && h.name != "" {
		x.look(h, now)
	}
	if over(h.last())+hostMemory <= now {
		x.speaks(h)
		h.gone = true
	}
}

// look finds a host silent that had sessions on most working days, and none on the
// two that are over since. Working days are those on which others had some.
func (x *fold) look(h *host, now int64) {
	var since, before []int64 // working days, the last first
	others := x.hostOf(h.org, "").days
	for _, d := range slices.Backward(others) {
		switch {
		case !workday(d):
		case d > h.last() && over(d) <= now:
			since = append(since, d)
		case d <= h.last() && len(before) < 7:
			before = append(before, d)
		}
	}
	if h.lookAt += dayLength; len(since) < 2 {
		return
	}
	h.lookAt = 0
	n := 0
	for _, d := range before {
		if slices.Contains(h.days, d) {
			n++
		}
	}
	if n >= usual && x.settings().Enabled(detectors.MissingTelemetry) {
		h.silent = since[len(since)-1]
		x.findSilent(h, schemas.FindingStateOpen)
	}
}

func (x *fold) settings() *detectors.Settings {
	return x.rules.Rules(x.tx.Versions().Rules, x.tx.Config).For(detectors.Place{})
}

func (x *fold) findSilent(h *host, state schemas.FindingState) {
	f := detectors.HostSilent(h.name, h.silent*dayLength, x.tx.Now(), state, x.settings())
	r := schemas.Finding{FindingId: f.ID(schemas.SessionKey(h.org, "")), Org: h.org, Team: h.team, User: h.user}
	f.Fill(&r)
	h.said.Say(x.tx, &r, func() bool { return true })
}

func (x *fold) host(key string) *host {
	if h := x.hosts[key]; h != nil {
		return h
	}
	b, _, ok := x.tx.Get(key)
	if !ok {
		return nil
	}
	h := &host{}
	if err := h.decode(b); err != nil {
		panic(fmt.Errorf("cannot read the record of a host: %w", err))
	}
	x.hosts[key] = h
	x.hostOrder = append(x.hostOrder, key)
	x.tx.Touch()
	return h
}

func (x *fold) putHosts() {
	for _, key := range x.hostOrder {
		switch h := x.hosts[key]; {
		case h.gone:
			x.tx.Put(key, nil, 0)
		case h.lookAt != 0 && h.name != "":
			x.tx.Put(key, h.encode(), h.lookAt)
		default:
			x.tx.Put(key, h.encode(), over(h.last())+hostMemory)
		}
	}
}

func (h *host) encode() []byte {
	w := records.New(256)
	for _, t := range [...]string{h.org, h.name, h.team, h.user} {
		w.Text(t)
	}
	h.said.Write(&w)
	w.Int(h.lookAt, h.silent)
	w.Uint(uint64(len(h.days)))
	w.Int(h.days...)
	return w
}

func (h *host) decode(b []byte) error {
	r := records.Read(b)
	h.org, h.name, h.team, h.user = r.Text(), r.Text(), r.Text(), r.Text()
	wrong := h.said.Read(&r)
	r.Ints(&h.lookAt, &h.silent)
	for range r.Count() {
		h.days = append(h.days, r.Int())
	}
	return errors.Join(wrong, r.Err())
}
