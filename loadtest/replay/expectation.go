package replay

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/processors/pricing"
	"github.com/flightlog/flightlog/schemas"
)

// Expectation is what the rows of a run must add up to when all of it has been
// folded: facts as the readers named them, tokens and cost as the model's
// endpoint answered. It is small for any number of copies, because the sessions
// of a copy follow from the seed; its JSON lists every session.
type Expectation struct {
	Org    string    `json:"org"`
	Seed   uint64    `json:"seed"`
	Start  time.Time `json:"start"`
	Copies int64     `json:"copies"`
	Sent   Summary   `json:"sent"`
	// DistinctEvents is the number of different event_ids that were sent.
	DistinctEvents int64 `json:"distinct_events"`
	Total          Sums  `json:"total"`
	// Recordings in the order of play: copy n is one of number n modulo their
	// number.
	Recordings []ExpectedRecording `json:"recordings"`
}

// ExpectedRecording is what each copy of a recording must add up to.
type ExpectedRecording struct {
	Name           string            `json:"name"`
	Events         int64             `json:"events"`
	DistinctEvents int64             `json:"distinct_events"`
	Sessions       []ExpectedSession `json:"sessions"`
}

// ExpectedSession is what the rows of one session must add up to.
type ExpectedSession struct {
	SessionID string `json:"session_id"`
	Sums
}

// Sums are signed sums over the rows of a session or of all of them.
type Sums struct {
	// Facts by kind: SUM(sign).
	Facts map[string]int64 `json:"facts"`
	// Bill is absent where the endpoint's truth of a recording is not known.
	Bill *Bill `json:"bill,omitempty"`
}

// Bill is the sums over the rows of model requests. Token classes are disjoint.
type Bill struct {
	Requests          int64 `json:"requests"`
	Unpriced          int64 `json:"unpriced"` // requests of a model without a list price
	TokenInput        int64 `json:"token_input"`
	TokenOutput       int64 `json:"token_output"`
	TokenCacheRead    int64 `json:"token_cache_read"`
	TokenCacheWrite5m int64 `json:"token_cache_write_5m"`
	TokenCacheWrite1h int64 `json:"token_cache_write_1h"`
	CostNanoUsd       int64 `json:"cost_nano_usd"`
}

// plus is the sum of two bills, the other one times n; absent if one is.
func (b *Bill) plus(o *Bill, n int64) *Bill {
	if b == nil || o == nil {
		return nil
	}
	return &Bill{
		b.Requests + n*o.Requests, b.Unpriced + n*o.Unpriced, b.TokenInput + n*o.TokenInput, b.TokenOutput + n*o.TokenOutput,
		b.TokenCacheRead + n*o.TokenCacheRead, b.TokenCacheWrite5m + n*o.TokenCacheWrite5m,
		b.TokenCacheWrite1h + n*o.TokenCacheWrite1h, b.CostNanoUsd + n*o.CostNanoUsd,
	}
}

// expect is what so many copies add up to.
func (p *plan) expect(copies int64, org string) *Expectation {
	e := &Expectation{Org: org, Seed: p.seed, Start: time.UnixMicro(p.start).UTC(), Copies: copies,
		Total: Sums{Facts: map[string]int64{}, Bill: &Bill{}}}
	played := int64(len(p.patterns))
	for i, pattern := range p.patterns {
		x := pattern.expect(p.start)
		e.Recordings = append(e.Recordings, x)
		n := copies / played
		if int64(i) < copies%played {
			n++
		}
		if n == 0 {
			continue
		}
		e.DistinctEvents += n * x.DistinctEvents
		for _, s := range x.Sessions {
			for kind, facts := range s.Facts {
				e.Total.Facts[kind] += n * facts
			}
			e.Total.Bill = e.Total.Bill.plus(s.Bill, n)
		}
	}
	return e
}

// expect is what one copy adds up to, with the prices of a time in µs.
func (p *pattern) expect(at int64) ExpectedRecording {
	x := ExpectedRecording{Name: p.Name, Events: int64(len(p.templates)), DistinctEvents: p.distinct}
	for _, s := range p.sessions {
		want := ExpectedSession{s.id, Sums{Facts: map[string]int64{}}}
		if p.Truth != nil {
			want.Bill = p.bill(s.id, at)
		}
		x.Sessions = append(x.Sessions, want)
	}
	for _, f := range p.facts {
		x.Sessions[f.session].Facts[f.kind.String()]++
	}
	for _, s := range x.Sessions {
		s.Facts[schemas.KindSessionEnd.String()] = 1 // made by the fold where nobody told of it
	}
	return x
}

// bill is what a session cost by what the endpoint answered, as far as the
// client shows it to the witnesses of the recording.
func (r *Recording) bill(session string, at int64) *Bill {
	b := &Bill{}
	for _, q := range r.Truth {
		if q.SessionId != session || !q.Answered() || r.hidden(q) {
			continue
		}
		u := q.Usage
		if q.MidStreamError != "" {
			u.Output = 4 // "all client sources agree": the tokens seen until it broke
		}
		if !r.witnessed(schemas.WitnessTranscript) {
			u.Speed = "" // OTLP says what was asked for
		}
		cost := pricing.Builtin().Price(&pricing.Request{
			Model: q.AnswerModel, Speed: u.Speed, ServiceTier: u.ServiceTier, InferenceGeo: u.InferenceGeo, OccurredAt: at,
			Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite5m: u.CacheWrite5m, CacheWrite1h: u.CacheWrite1h,
			WebSearches: u.WebSearches,
		})
		b = b.plus(&Bill{1, 0, u.Input, u.Output, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, cost.NanoUsd.Value}, 1)
		if !cost.NanoUsd.Valid {
			b.Unpriced++
		}
	}
	return b
}

// hidden are the requests that the witnesses of a recording do not show: the
// differences between the sources that the recordings' README names.
func (r *Recording) hidden(q recordings.Request) bool {
	otlp, transcript := r.witnessed(schemas.WitnessOtlp), r.witnessed(schemas.WitnessTranscript)
	switch {
	case !otlp && !transcript:
		return true // hooks carry no tokens
	case otlp:
		return false
	case q.MaxTokens == 1:
		return true // a probe before a model switch: only its span has it
	}
	// "in events, metrics and cost, not in transcripts"
	return q.Lane == "compact" || r.Name == "websearch" && q.Lane == "search"
}

// Check compares rows of the topic enriched with what is expected, and names
// every difference, at most some hundred. A row that comes twice counts once;
// rows of other organisations do not count. The error is that of rows.
func (e *Expectation) Check(rows iter.Seq2[*schemas.Enriched, error]) (differences []string, err error) {
	found := map[string]Sums{}
	seen := map[schemas.Id]struct{}{}
	for r, err := range rows {
		if err != nil {
			return nil, fmt.Errorf("cannot check the rows: %w", err)
		}
		if _, twice := seen[r.RowId]; twice || r.Org != e.Org || r.SessionId == "" { // what a forge tells has no session
			continue
		}
		seen[r.RowId] = struct{}{}
		s, ok := found[r.SessionId]
		if !ok {
			s = Sums{Facts: map[string]int64{}, Bill: &Bill{}}
			found[r.SessionId] = s
		}
		s.add(r)
	}
	total := Sums{Facts: map[string]int64{}, Bill: &Bill{}}
	differ := func(what string, got, want Sums) {
		if text := got.differs(want); text != "" && len(differences) < 100 {
			differences = append(differences, what+": "+text)
		}
	}
	for id, want := range e.Sessions() {
		got := found[id]
		delete(found, id)
		for kind, n := range got.Facts {
			total.Facts[kind] += n
		}
		total.Bill = total.Bill.plus(cmp.Or(got.Bill, &Bill{}), 1)
		differ("session "+id, got, want)
	}
	differ("all sessions", total, e.Total)
	for _, id := range slices.Sorted(maps.Keys(found)) {
		differ("session "+id+", which was not sent", found[id], Sums{})
	}
	return differences, nil
}

// add adds a row by its sign.
func (s Sums) add(r *schemas.Enriched) {
	sign := int64(r.Sign)
	s.Facts[r.Kind.String()] += sign
	if r.Kind != schemas.KindModelRequest {
		return
	}
	*s.Bill = *s.Bill.plus(&Bill{1, 0, r.TokenInput.Value, r.TokenOutput.Value, r.TokenCacheRead.Value,
		r.TokenCacheWrite5m.Value, r.TokenCacheWrite1h.Value, r.CostNanoUsd.Value}, sign)
	if r.CostGrade == schemas.CostGradeUnpriced {
		s.Bill.Unpriced += sign
	}
}

// differs says how sums differ from those that are wanted; empty if they do
// not. What is not known is not compared.
func (s Sums) differs(want Sums) string {
	var text string
	for _, kind := range slices.Sorted(maps.Keys(merged(s.Facts, want.Facts))) {
		if s.Facts[kind] != want.Facts[kind] {
			text += fmt.Sprintf(" %s %d, want %d;", kind, s.Facts[kind], want.Facts[kind])
		}
	}
	if got := cmp.Or(s.Bill, &Bill{}); want.Bill != nil && *got != *want.Bill {
		text += fmt.Sprintf(" bill %+v, want %+v;", *got, *want.Bill)
	}
	return text
}

func merged(a, b map[string]int64) map[string]int64 {
	m := maps.Clone(a)
	if m == nil {
		m = map[string]int64{}
	}
	maps.Copy(m, b)
	return m
}

// Sessions are the sessions of all copies by their ids, in the order in which
// the copies begin.
func (e *Expectation) Sessions() iter.Seq2[string, Sums] {
	return func(yield func(string, Sums) bool) {
		for copy := range e.Copies {
			name := nameOf(e.Seed, copy)
			for _, s := range e.Recordings[copy%int64(len(e.Recordings))].Sessions {
				if !yield(name.renamed(s.SessionID), s.Sums) {
					return
				}
			}
		}
	}
}

// WriteJSON writes the expectation as JSON, with a list of all sessions: the id
// of each, and where in recordings its sums stand. json.Unmarshal reads it back.
func (e *Expectation) WriteJSON(w io.Writer) error {
	head, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("cannot write what is expected: %w", err)
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s,\n\"sessions\": [", head[:len(head)-1])
	separator := "\n"
	for copy := range e.Copies {
		name, recording := nameOf(e.Seed, copy), copy%int64(len(e.Recordings))
		for i, s := range e.Recordings[recording].Sessions {
			fmt.Fprintf(out, `%s{"session_id": %q, "recording": %d, "session": %d}`, separator, name.renamed(s.SessionID), recording, i)
			separator = ",\n"
		}
	}
	fmt.Fprint(out, "\n]}\n")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("cannot write what is expected: %w", err)
	}
	return nil
}

// Rows are the rows that the topic enriched holds as of the call, for [Expectation.Check].
// A row is good until the next one.
func Rows(ctx context.Context, b broker.Broker) iter.Seq2[*schemas.Enriched, error] {
	errStopped := errors.New("the caller has enough")
	return func(yield func(*schemas.Enriched, error) bool) {
		n, err := b.Partitions(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		var frame schemas.EnrichedFrame
		for p := range n {
			err := broker.Scan(ctx, b, broker.Log{Topic: broker.Enriched, Partition: p}, func(m broker.Message) error {
				if err := frame.DecodeMessage(m.Payload); err != nil {
					return err
				}
				for i := range frame.Rows {
					if !yield(&frame.Rows[i], nil) {
						return errStopped
					}
				}
				return nil
			})
			if err != nil {
				if !errors.Is(err, errStopped) {
					yield(nil, err)
				}
				return
			}
		}
	}
}
