package spend

import (
	"fmt"
	"strings"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// Dimension is what money is broken down by: a column of the row, or the UTC day
// on which the fact occurred.
type Dimension uint8

// Dimensions, by the names that String gives.
const (
	User Dimension = iota
	Team
	Repo
	Branch
	Workflow
	WorkKind
	Task
	Model
	Skill
	AgentRun
	QuerySource
	Session
	Platform
	Speed
	CostGrade
	Day
	Org
	Host
	Agent
)

// Words for an empty value.
const (
	unattributed = "unattributed" // nobody could tell whose the money is
	none         = "(none)"
	mainThread   = "(main thread)"
	unknown      = "(unknown)"
)

var dimensions = [...]struct {
	name  string
	empty string // what an empty value is called
	of    func(*schemas.Enriched) string
}{
	User:     {"user", unattributed, func(r *schemas.Enriched) string { return r.User }},
	Team:     {"team", unattributed, func(r *schemas.Enriched) string { return r.Team }},
	Repo:     {"repo", unattributed, func(r *schemas.Enriched) string { return r.Repo }},
	Branch:   {"branch", unattributed, func(r *schemas.Enriched) string { return r.Branch }},
	Workflow: {"workflow", unattributed, func(r *schemas.Enriched) string { return r.Workflow }},
	WorkKind: {"work_kind", unattributed, func(r *schemas.Enriched) string {
		if r.WorkKind == schemas.WorkKindUnknown {
			return ""
		}
		return r.WorkKind.String()
	}},
	Task:        {"task", unattributed, func(r *schemas.Enriched) string { return r.TaskId }},
	Model:       {"model", unknown, func(r *schemas.Enriched) string { return r.Model }},
	Skill:       {"skill", none, func(r *schemas.Enriched) string { return r.Skill }},
	AgentRun:    {"agent_run", mainThread, func(r *schemas.Enriched) string { return r.AgentRunId }},
	QuerySource: {"query_source", unknown, func(r *schemas.Enriched) string { return r.QuerySource }},
	Session:     {"session", unknown, func(r *schemas.Enriched) string { return r.SessionId }},
	Platform:    {"platform", unknown, func(r *schemas.Enriched) string { return r.Platform }},
	Speed:       {"speed", unknown, func(r *schemas.Enriched) string { return r.Speed }},
	CostGrade:   {"cost_grade", unknown, func(r *schemas.Enriched) string { return r.CostGrade.String() }},
	Day:         {"day", unknown, func(r *schemas.Enriched) string { return time.UnixMicro(r.OccurredAt).UTC().Format(time.DateOnly) }},
	Org:         {"org", unknown, func(r *schemas.Enriched) string { return r.Org }},
	Host:        {"host", unknown, func(r *schemas.Enriched) string { return r.Host }},
	Agent:       {"agent", unknown, func(r *schemas.Enriched) string { return r.Agent }},
}

// Dimensions are all of them.
func Dimensions() (all []Dimension) {
	for d := range dimensions {
		all = append(all, Dimension(d))
	}
	return all
}

// ParseDimension finds a dimension by its name. The error lists the names.
func ParseDimension(name string) (Dimension, error) {
	var names []string
	for d := range dimensions {
		if dimensions[d].name == name {
			return Dimension(d), nil
		}
		names = append(names, dimensions[d].name)
	}
	return 0, fmt.Errorf("there is no dimension %q: there are %s", name, strings.Join(names, ", "))
}

func (d Dimension) String() string { return dimensions[d].name }

// Of is a row's value; empty where the row has none.
func (d Dimension) Of(r *schemas.Enriched) string { return dimensions[d].of(r) }

// Label is a value as a report shows it: an empty one has a word, so that it is
// a row of the report and no hole.
func (d Dimension) Label(value string) string {
	if value == "" {
		return dimensions[d].empty
	}
	return value
}

// Attributes tells whether money with an empty value is unattributed: nobody
// knows whose it is. Elsewhere empty means none (skill, the main thread) or not
// told.
func (d Dimension) Attributes() bool { return dimensions[d].empty == unattributed }
