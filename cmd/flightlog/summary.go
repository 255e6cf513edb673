package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// totals of a session or of all of them: signed sums over rows of enriched.
type totals struct {
	Prompts          int64 `json:"prompts"`
	Requests         int64 `json:"requests"`
	ToolCalls        int64 `json:"tool_calls"`
	FailedCalls      int64 `json:"failed_calls"`
	FilesChanged     int64 `json:"files_changed"`
	TokenInput       int64 `json:"token_input"`
	TokenOutput      int64 `json:"token_output"`
	TokenCacheRead   int64 `json:"token_cache_read"`
	TokenCacheWrite  int64 `json:"token_cache_write"`
	CostNanoUsd      int64 `json:"cost_nano_usd"`
	UnpricedRequests int64 `json:"unpriced_requests"`
}

type sessionTotals struct {
	SessionID string `json:"session_id"`
	User      string `json:"user,omitempty"`
	Repo      string `json:"repo,omitempty"`
	totals
	DurationMs int64 `json:"duration_ms"`
	Final      bool  `json:"final"`

	from, to int64
	files    map[string]int64
}

// summary is what an import tells in the end.
type summary struct {
	Sessions    []*sessionTotals `json:"sessions"`
	Total       totals           `json:"total"`
	Rows        int64            `json:"rows"`
	Facts       int64            `json:"facts"`
	DeadLetters int64            `json:"dead_letters"`
	Sources     int              `json:"sources"`
	Bytes       int64            `json:"bytes"`
	Events      int64            `json:"events"`
	Seconds     float64          `json:"seconds"`
	Out         string           `json:"out,omitempty"`
	Unread      error            `json:"-"` // files that could not be read
}

// rows calls f with every row of a topic's partitions, as of now.
func rows(ctx context.Context, b broker.Broker, topic string, f func(payload []byte) error) error {
	n, err := b.Partitions(ctx)
	if err != nil {
		return err
	}
	for p := range n {
		log := broker.Log{Topic: topic, Partition: p}
		if err := broker.Scan(ctx, b, log, func(m broker.Message) error { return f(m.Payload) }); err != nil {
			return err
		}
	}
	return nil
}

// summarize adds up the rows of some sessions, and counts those of some facts
// without one: one of each row_id, signed.
func summarize(ctx context.Context, b broker.Broker, sessions map[string]bool, facts map[schemas.Id]bool) (*summary, error) {
	s := &summary{}
	by := map[string]*sessionTotals{}
	seen := map[schemas.Id]bool{}
	var frame schemas.EnrichedFrame
	err := rows(ctx, b, broker.Enriched, func(payload []byte) error {
		if err := frame.DecodeMessage(payload); err != nil {
			return err
		}
		for i := range frame.Rows {
			r := &frame.Rows[i]
			if !sessions[r.SessionId] && !facts[r.FactKey] || seen[r.RowId] {
				continue
			}
			seen[r.RowId] = true
			s.Rows++
			s.Facts += int64(r.Sign)
			if r.SessionId == "" {
				continue
			}
			t := by[r.SessionId]
			if t == nil {
				t = &sessionTotals{SessionID: r.SessionId, from: r.OccurredAt, to: r.OccurredAt, files: map[string]int64{}}
				by[r.SessionId] = t
				s.Sessions = append(s.Sessions, t)
			}
			t.add(r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(s.Sessions, func(a, b *sessionTotals) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.SessionID, b.SessionID))
	})
	for _, t := range s.Sessions {
		for _, n := range t.files {
			if n > 0 {
				t.FilesChanged++
			}
		}
		t.DurationMs = (t.to - t.from) / 1000
		s.Total.sum(t.totals)
	}
	return s, nil
}

// add adds a row, by its sign.
func (t *sessionTotals) add(r *schemas.Enriched) {
	sign := int64(r.Sign)
	if r.Sign > 0 {
		t.User, t.Repo = cmp.Or(r.User, t.User), cmp.Or(r.Repo, t.Repo)
		t.from, t.to = min(t.from, r.OccurredAt), max(t.to, r.OccurredAt)
	}
	switch r.Kind {
	case schemas.KindPrompt:
		t.Prompts += sign
	case schemas.KindModelRequest:
		t.Requests += sign
		t.TokenInput += sign * r.TokenInput.Value
		t.TokenOutput += sign * r.TokenOutput.Value
		t.TokenCacheRead += sign * r.TokenCacheRead.Value
		t.TokenCacheWrite += sign * (r.TokenCacheWrite5m.Value + r.TokenCacheWrite1h.Value)
		t.CostNanoUsd += sign * r.CostNanoUsd.Value
		if r.CostGrade == schemas.CostGradeUnpriced {
			t.UnpricedRequests += sign
		}
	case schemas.KindToolCall:
		t.ToolCalls += sign
		if r.Success.Valid && !r.Success.Value {
			t.FailedCalls += sign
		}
	case schemas.KindFileChange:
		t.files[r.FilePath] += sign
	case schemas.KindSessionEnd:
		t.Final = r.Sign > 0 && r.Final
	}
}

func (t *totals) sum(o totals) {
	t.Prompts += o.Prompts
	t.Requests += o.Requests
	t.ToolCalls += o.ToolCalls
	t.FailedCalls += o.FailedCalls
	t.FilesChanged += o.FilesChanged
	t.TokenInput += o.TokenInput
	t.TokenOutput += o.TokenOutput
	t.TokenCacheRead += o.TokenCacheRead
	t.TokenCacheWrite += o.TokenCacheWrite
	t.CostNanoUsd += o.CostNanoUsd
	t.UnpricedRequests += o.UnpricedRequests
}

// print writes the table for a person.
func (s *summary) print(out io.Writer) error {
	if len(s.Sessions) > 0 || s.Events == 0 { // what a forge tells has none
		if err := s.printSessions(out); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d events from %d files (%.1f MB) became %d facts in %d rows, %d dead letters, in %.1f s\n",
		s.Events, s.Sources, float64(s.Bytes)/1e6, s.Facts, s.Rows, s.DeadLetters, s.Seconds)
	if s.DeadLetters > 0 {
		fmt.Fprintln(out, "dead letters: flightlog deadletters ls")
	}
	if s.Out != "" {
		fmt.Fprintf(out, "rows: %s\n", s.Out)
	}
	return nil
}

func (s *summary) printSessions(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "session\tprompts\trequests\ttool calls\tfailed\tfiles\tinput\toutput\tcache read\tcache write\tcost USD\tduration\t")
	line := func(name string, t *totals, duration string) {
		cost := fmt.Sprintf("%.6f", float64(t.CostNanoUsd)/1e9)
		if t.UnpricedRequests > 0 {
			cost += fmt.Sprintf(" + %d unpriced", t.UnpricedRequests)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t\n", name, t.Prompts, t.Requests, t.ToolCalls,
			t.FailedCalls, t.FilesChanged, t.TokenInput, t.TokenOutput, t.TokenCacheRead, t.TokenCacheWrite, cost, duration)
	}
	for _, t := range s.Sessions {
		line(t.SessionID, &t.totals, (time.Duration(t.DurationMs) * time.Millisecond).Round(100*time.Millisecond).String())
	}
	line(fmt.Sprintf("%d sessions", len(s.Sessions)), &s.Total, "")
	fmt.Fprintln(w)
	return w.Flush()
}
