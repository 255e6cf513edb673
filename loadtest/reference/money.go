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

// restated is the restatement to the newest version later than one that was in
// force, of what occurred at a time; the last of those that ask for it.
func (b Batch) restated(kind string, inForce, at int64) (found Restatement) {
	for _, r := range b.Restatements {
		if r.Kind == kind && r.Since <= at && r.Version > inForce && r.Version >= found.Version {
			found = r
		}
	}
	return found
}

// restate adds a restatement; the same one asked for again is none.
func (b *Batch) restate(r Restatement) {
	if !slices.Contains(b.Restatements, r) {
		b.Restatements = append(b.Restatements, r)
	}
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
	team, billing := then.Text.find(r.User, r.OccurredAt)
	if again := b.restated("directory", max(1, then.Number), r.OccurredAt); again.Version != 0 {
		laterTeam, laterBilling := numbered(b.Directories, again.Version).Text.find(r.User, r.OccurredAt)
		if laterTeam != team || f.kind == schemas.KindModelRequest && laterBilling != billing {
			team, billing, r.Restatement = laterTeam, laterBilling, again.String()
		}
	}
	r.Team = cmp.Or(team, r.Team)
	known, _ := schemas.ParseBilling(billing)
	return known
}

// pricesOf are the prices that a request goes by: those of its time unless a
// restatement makes a difference.
func (b Batch) pricesOf(f *fact, q request) (p *Prices, restatement string) {
	then := inForce(b.Prices, f.first).Text
	if again := b.restated("prices", then.version, q.at); again.Version != 0 {
		if later := numbered(b.Prices, again.Version).Text; later.figures(q) != then.figures(q) {
			return later, again.String()
		}
	}
	return then, ""
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
	prices, restatement := b.pricesOf(m, q)
	length := f.greatest(record, func(o observation) schemas.OptLong { return o.Body.Tool.ResultLength }).Value
	output := q
	output.input, output.cacheRead, output.cacheWrite5m, output.cacheWrite1h, output.cacheWriteUnsplit, output.searches = 0, 0, 0, 0, 0, 0
	result := output
	result.output, result.input = 0, (max(0, length)+3)/4
	// The step of the prompt is that of the request.
	row := prices.find(prices.rows, q)
	if row == nil {
		r.CostGrade = schemas.CostGradeUnpriced
		return
	}
	alone := &Prices{prices.version, prices.aliases, []price{*row}, nil}
	alone.rows[0].PromptOver = 0
	first, _, ok := alone.bill(alone.rows, output)
	if !ok || result.input > 100_000_000 {
		r.CostGrade = schemas.CostGradeUnpriced
		return
	}
	second, _, _ := alone.bill(alone.rows, result)
	share := new(big.Rat).Quo(first, new(big.Rat).SetInt64(calls))
	r.ToolCostNanoUsd, r.CostGrade = schemas.SomeLong(roundHalfUp(share.Add(share, second))), schemas.CostGradeDerived
	r.Restatement = both(r.Restatement, restatement)
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
