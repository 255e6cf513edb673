package tasks

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/processors/detectors"
	"github.com/flightlog/flightlog/processors/findings"
	"github.com/flightlog/flightlog/schemas"
)

// Hosts that fell silent (docs/detectors.md, missing_telemetry). That no session
// comes any more is seen only where what all partitions know of a host meets.

const (
	day        = int64(86400e6)
	grace      = int64(6 * 3600e6) // after a day, for what was spooled, µs
	usual      = 5                 // of the last seven working days
	hostMemory = 14 * day          // then the host is taken for gone
)

// host is a host in the state.
type host struct {
	org, name, team, user string
	days                  []int64 // working days since 1970 with sessions, the last ten
	last                  int64   // append time of the last word, µs
	lookAt                int64   // when the two next working days are over, 0 = it was looked at
	silent                int64   // first working day of the finding that is open, 0 = none
	said                  findings.Said
	gone                  bool
}

// workday tells Monday to Friday, UTC.
func workday(n int64) bool { return (n+3)%7 < 5 } // day 0 was a Thursday

func nextWorkday(n int64) int64 {
	for n++; !workday(n); n++ {
	}
	return n
}

func hostRecord(org, name string) string {
	id := schemas.FactKey(org, 0, name)
	return string(hostKind) + string(id[:])
}

// alive takes the word that a host has a session.
func (x *fold) alive(f *schemas.TaskFact) {
	key := hostRecord(f.Task.Org, f.Host)
	h := x.host(key)
	if h == nil || h.gone {
		h = &host{org: strings.Clone(f.Task.Org), name: strings.Clone(f.Host)}
		x.hosts[key] = h
		x.hostOrder = append(x.hostOrder, key)
		x.tx.Touch()
	}
	h.team, h.user = strings.Clone(f.Task.Team), strings.Clone(f.Task.User)
	h.last = x.tx.Now()
	today := h.last / day
	if workday(today) && !slices.Contains(h.days, today) {
		h.days = append(h.days, today)
		h.days = h.days[max(0, len(h.days)-10):]
	}
	h.lookAt = (nextWorkday(nextWorkday(today))+1)*day + grace
	x.speaks(h)
}

// speaks resolves the finding that is open.
func (x *fold) speaks(h *host) {
	if h.silent != 0 {
		x.findSilent(h, schemas.FindingStateResolved)
		h.silent = 0
	}
}

// hostDue looks at a host whose next working days are over, or that is to be forgotten.
func (x *fold) hostDue(key string) {
	h := x.host(key)
	if h == nil {
		return
	}
	now := x.tx.Now()
	if h.lookAt != 0 && h.lookAt <= now {
		silent := nextWorkday(h.last / day)
		from := silent
		for range 7 {
			for from--; !workday(from); from-- {
			}
		}
		n := 0
		h.lookAt = 0
		for _, d := range h.days {
			if d >= from && d < silent {
				n++
			}
		}
		if n >= usual && x.settings().Enabled(detectors.MissingTelemetry) {
			h.silent = silent
			x.findSilent(h, schemas.FindingStateOpen)
		}
	}
	if h.last+hostMemory <= now {
		x.speaks(h)
		h.gone = true
	}
}

func (x *fold) settings() *detectors.Settings {
	return x.rules.Rules(x.tx.Versions().Rules, x.tx.Config).For(detectors.Place{})
}

func (x *fold) findSilent(h *host, state schemas.FindingState) {
	f := detectors.HostSilent(h.name, h.silent*day, x.tx.Now(), state, x.settings())
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
		case h.lookAt != 0:
			x.tx.Put(key, h.encode(), h.lookAt)
		default:
			x.tx.Put(key, h.encode(), h.last+hostMemory)
		}
	}
}

func (h *host) encode() []byte {
	b := []byte{recordVersion}
	for _, t := range [...]string{h.org, h.name, h.team, h.user, string(h.said.Row)} {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	for _, n := range append([]int64{h.said.Version, h.said.Published, h.last, h.lookAt, h.silent}, h.days...) {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func (h *host) decode(b []byte) error {
	if len(b) == 0 || b[0] != recordVersion {
		return errRecord
	}
	b = b[1:]
	var row string
	for _, to := range [...]*string{&h.org, &h.name, &h.team, &h.user, &row} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return errRecord
		}
		*to, b = string(b[size:size+int(n)]), b[size+int(n):]
	}
	if row != "" {
		h.said.Row = []byte(row)
	}
	var numbers []int64
	for len(b) > 0 {
		n, size := binary.Varint(b)
		if size <= 0 {
			return errRecord
		}
		numbers, b = append(numbers, n), b[size:]
	}
	if len(numbers) < 5 {
		return errRecord
	}
	h.said.Version, h.said.Published, h.last, h.lookAt, h.silent = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
	h.days = numbers[5:]
	return nil
}
