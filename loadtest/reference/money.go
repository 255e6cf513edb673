package reference

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// Directory is a version of the directory: lines of a CSV file with a header.
type Directory struct{ lines []map[string]string }

// ParseDirectory reads a version of the directory. It believes what is in it.
func ParseDirectory(text []byte) (*Directory, error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comment, r.TrimLeadingSpace = '#', true
	records, err := r.ReadAll()
	if err != nil || len(records) == 0 {
		return nil, fmt.Errorf("cannot read the directory: %w", err)
	}
	d := &Directory{}
	for _, record := range records[1:] {
		line := map[string]string{}
		for i, name := range records[0] {
			line[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(record[i])
		}
		d.lines = append(d.lines, line)
	}
	return d, nil
}

// find is team and billing of a person at a time: each of the two by the
// person's own line, else the domain's, else that for everybody.
func (d *Directory) find(user string, at int64) (team, billing string) {
	if d == nil {
		return "", ""
	}
	user = strings.ToLower(user)
	names := []string{user, "*"}
	if i := strings.LastIndex(user, "@"); i >= 0 {
		names = []string{user, "*" + user[i:], "*"}
	}
	day := time.UnixMicro(at).UTC().Format(time.DateOnly)
	for _, name := range names {
		for _, line := range d.lines {
			if strings.ToLower(line["user"]) == name && line["from"] <= day && (line["to"] == "" || day < line["to"]) {
				team, billing = cmp.Or(team, line["team"]), cmp.Or(billing, line["billing"])
			}
		}
	}
	return team, billing
}

// inForce is the newest version that was in force at a time.
func inForce[T any](versions []Version[T], at int64) (v Version[T]) {
	for _, other := range versions {
		if other.EffectiveAt <= at && other.Number >= v.Number {
			v = other
		}
	}
	return v
}

// later are the restatements to later versions than was in force, of what
// occurred at a time, in the order in which they were asked for.
func (b Batch) later(kind string, inForce, at int64) (found []Restatement) {
	for _, r := range b.Restatements {
		if r.Kind == kind && r.Since <= at && r.Version > inForce {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b Restatement) int {
		return cmp.Or(cmp.Compare(a.Asked, b.Asked), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Since, b.Since), cmp.Compare(a.Reason, b.Reason))
	})
	return found
}

// restate adds a restatement; asked for again, it stands at the later time.
func (b *Batch) restate(r Restatement) {
	for i, o := range b.Restatements {
		if o.Asked = r.Asked; o == r {
			b.Restatements[i].Asked = max(b.Restatements[i].Asked, r.Asked)
			return
		}
	}
	b.Restatements = append(b.Restatements, r)
}

func (r Restatement) String() string { return fmt.Sprintf("%s %d: %s", r.Kind, r.Version, r.Reason) }

func numbered[T any](versions []Version[T], number int64) (v Version[T]) {
	for _, other := range versions {
		if other.Number == number {
			v = other
		}
	}
	return v
}

// attribute fills the team and gives who pays how.
func (b Batch) attribute(r *schemas.Enriched, f *fact) schemas.Billing {
	then := inForce(b.Directories, f.first)
	says := func(d *Directory) [2]string {
		team, billing := d.find(r.User, r.OccurredAt)
		if f.kind != schemas.KindModelRequest {
			billing = ""
		}
		return [2]string{team, billing}
	}
	said := says(then.Text)
	for _, again := range b.later("directory", max(1, then.Number), r.OccurredAt) {
		if other := says(numbered(b.Directories, again.Version).Text); other != said {
			said, r.Restatement = other, again.String()
		}
	}
	r.Team = cmp.Or(said[0], r.Team)
	known, _ := schemas.ParseBilling(said[1])
	return known
}

// pricesOf are the prices that a request goes by: those of its time, and then each
// later ones that it was restated by, if they make another figure of it.
func (b Batch) pricesOf(f *fact, at int64, figure func(*Prices) string) (p *Prices, restatement string) {
	p = inForce(b.Prices, f.first).Text
	for _, again := range b.later("prices", p.version, at) {
		if other := numbered(b.Prices, again.Version).Text; figure(other) != figure(p) {
			p, restatement = other, again.String()
		}
	}
	return p, restatement
}

// figures are all that the prices say of a request.
func (p *Prices) figures(q request) string {
	least, most, ok := p.cost(q)
	contracted, known := p.contract(q)
	return fmt.Sprint(least, most, ok, contracted, known)
}

func both(a, b string) string {
	if a != "" && b != "" {
		return a + "; " + b
	}
	return a + b
}

// toolCost fills what a call cost by the request that made it: the output
// divided by the calls, and the result's length in fours as input (DESIGN §6).
func (b Batch) toolCost(r *schemas.Enriched, s *session, f *fact) {
	id := f.requestId()
	m := s.facts[schemas.FactKey(s.id, schemas.KindModelRequest, id)]
	if id == "" || m == nil || !m.greatest(usage, tokenInput).Valid && !m.greatest(usage, tokenOutput).Valid {
		return
	}
	calls := int64(0)
	for _, other := range s.facts {
		if other.kind == schemas.KindToolCall && other.requestId() == id {
			calls++
		}
	}
	calls = min(calls, maxLinked)
	q, _ := m.usage(r.Org)
	length := f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Tool.ResultLength }).Value
	tokens := (max(0, length) + 3) / 4
	prices, restatement := b.pricesOf(m, q.at, func(p *Prices) string { return fmt.Sprint(p.call(q, calls, tokens)) })
	r.CostGrade = schemas.CostGradeUnpriced
	if cost, ok := prices.call(q, calls, tokens); ok {
		r.ToolCostNanoUsd, r.CostGrade = schemas.SomeLong(cost), schemas.CostGradeDerived
	}
	r.Restatement = both(r.Restatement, restatement)
}

// call is what one of the calls of a request costs: the output divided by them,
// and the tokens of its result as input, by the row of the request.
func (p *Prices) call(q request, calls, tokens int64) (nano int64, ok bool) {
	row := p.find(p.rows, q)
	if row == nil || tokens > 100_000_000 {
		return 0, false
	}
	if _, _, ok := p.bill(p.rows, q); !ok {
		return 0, false
	}
	alone := &Prices{p.version, p.aliases, []price{*row}, nil}
	alone.rows[0].PromptOver = 0 // the step is that of the request
	only := request{org: q.org, model: q.model, platform: q.platform, speed: q.speed, tier: q.tier, geo: q.geo, at: q.at}
	output, result := only, only
	output.output, result.input = q.output, tokens
	first, _, _ := alone.bill(alone.rows, output)
	second, _, _ := alone.bill(alone.rows, result)
	share := new(big.Rat).Quo(first, new(big.Rat).SetInt64(calls))
	return roundHalfUp(share.Add(share, second)), true
}

func messageID(o observation) string { return o.Body.Model.MessageId }

func (f *fact) messageId() string { return f.text(record, messageID) }

// copied tells a request of a subagent whose message is another request's: of
// the main thread, or an earlier one.
func (s *session) copied(f *fact) bool {
	if f.messageId() == "" || f.agentRunId() == "" {
		return false
	}
	var same []*fact
	for _, other := range s.facts {
		if other.kind == schemas.KindModelRequest && other.messageId() == f.messageId() {
			same = append(same, other)
		}
	}
	return slices.ContainsFunc(same, func(o *fact) bool {
		return o != f && (o.agentRunId() == "" || cmp.Or(cmp.Compare(o.at, f.at), bytes.Compare(o.key[:], f.key[:])) < 0)
	})
}
