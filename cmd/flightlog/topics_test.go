package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

func TestEveryTopicIsShownWithItsLanes(t *testing.T) {
	b := memory.New(1)
	names := append(broker.RowTopics(), broker.Events, broker.Config)
	for _, topic := range topics() {
		if !slices.Contains(names, topic.Name) {
			t.Errorf("%s is no topic", topic.Name)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == topic.Name })
		for _, lane := range []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical} {
			_, err := b.End(t.Context(), broker.Log{Topic: topic.Name, Lane: lane})
			if has := slices.Contains(topic.Lanes, lane); has != !errors.Is(err, broker.ErrNotProvisioned) {
				t.Errorf("%s has the lane %s: %v; the broker says %v", topic.Name, lane, has, err)
			}
		}
		columns, _, err := fields(topic.record)
		if err != nil || len(columns) == 0 {
			t.Errorf("%s has the fields %v, %v", topic.Name, columns, err)
		}
		for _, f := range columns {
			if f.Type == "" || f.Doc == "" {
				t.Errorf("field %s of %s is not documented: %+v", f.Name, topic.Name, f)
			}
		}
	}
	if len(names) > 0 {
		t.Errorf("not shown: %v", names)
	}
}

func TestTheNewestRowOfEveryTopicOfRowsIsShown(t *testing.T) {
	for topic, row := range map[string][]byte{
		broker.Enriched:    (&schemas.Enriched{Sign: 1, Repo: "here"}).AppendAvro(nil),
		broker.Findings:    (&schemas.Finding{Sign: 1, Subject: "here"}).AppendAvro(nil),
		broker.Tasks:       (&schemas.Task{Sign: 1, TaskId: "here"}).AppendAvro(nil),
		broker.Spend:       (&schemas.Spend{Sign: 1, Value: "here"}).AppendAvro(nil),
		broker.DeadLetters: (&schemas.DeadLetter{Source: "here"}).AppendAvro(nil),
		broker.Closed:      (&schemas.Closed{Key: []byte("here"), Part: 7}).AppendAvro(nil),
		broker.TaskFacts:   (&schemas.TaskFact{SessionId: "here"}).AppendAvro(nil),
		broker.SpendDeltas: (&schemas.SpendDelta{Value: "here"}).AppendAvro(nil),
	} {
		got, err := lastRow(broker.AppendRows(nil, topic, &schemas.RowHeader{}, [][]byte{row}))
		if err != nil || !strings.Contains(string(got), `"here"`) && !strings.Contains(string(got), `"aGVyZQ=="`) {
			t.Errorf("%s: %s, %v", topic, got, err)
		}
		if slices.Contains(tailTopics, topic) {
			var out bytes.Buffer
			tail := tail{topic: topic, out: bufio.NewWriter(&out), where: [][2]string{{"row_id", schemas.Id{}.String()}}}
			err := errors.Join(tail.checkColumns(), tail.message(broker.AppendRows(nil, topic, &schemas.RowHeader{}, [][]byte{row})), tail.out.Flush())
			if err != nil || strings.TrimSpace(out.String()) != string(got) {
				t.Errorf("tail %s: %s, %v", topic, out.String(), err)
			}
		}
	}
	for _, topic := range broker.RowTopics() {
		if name := schemas.FingerprintName(broker.RowSchema(topic)); name == "" || topicNamed(topic).record != broker.RowSchema(topic) {
			t.Errorf("%s is shown with another schema than %s", topic, name)
		}
	}
	for _, topic := range topics() {
		if topic.Public && !slices.Contains(tailTopics, topic.Name) {
			t.Errorf("tail does not show %s", topic.Name)
		}
	}
}

func topicNamed(name string) topic { return topics()[slices.Index(topicNames(), name)] }

func TestTopicsTellsHowAnInstallationStands(t *testing.T) {
	home := t.TempDir()
	run(t, home, "import", filepath.Join(recordings.Dir(t), "success"))

	var all []topicState
	if err := json.Unmarshal([]byte(run(t, home, "topics", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	by := map[string]topicState{}
	for _, s := range all {
		by[s.Name] = s
	}
	if s := by[broker.Enriched]; !s.Public || s.Partitions != 4 || s.Messages == 0 || s.LastAppend == nil || time.Since(*s.LastAppend) > time.Hour || s.Lag != nil {
		t.Errorf("enriched: %+v", s)
	}
	if s := by[broker.Findings]; !slices.Equal(s.LaneNames, []string{"normal", "critical"}) || s.Messages != 0 || s.LastAppend != nil {
		t.Errorf("findings: %+v", s)
	}
	if s := by[broker.Events]; s.Public || s.Messages == 0 || s.Lag == nil || *s.Lag != (topicLag{Processor: "sessions"}) {
		t.Errorf("events: %+v, lag %+v", s, s.Lag)
	}
	if table := run(t, home, "topics"); strings.Count(table, "\n") != 1+len(all) || !strings.Contains(table, "sessions: 0") {
		t.Errorf("the table is\n%s", table)
	}

	var one struct {
		topicState
		Fields      []field
		Fingerprint string
		Schema      struct{ Name string }
		NewestRow   row `json:"newest_row"`
	}
	if err := json.Unmarshal([]byte(run(t, home, "topics", "enriched", "--json")), &one); err != nil {
		t.Fatal(err)
	}
	want := field{"cost_nano_usd", "long or null", "1e-9 USD", "List price of the request, rounded once; null when unpriced."}
	if !slices.Contains(one.Fields, want) || one.Schema.Name != "flightlog.Enriched" || len(one.Fingerprint) != 16 {
		t.Errorf("fields %+v of schema %s %s", one.Fields, one.Schema.Name, one.Fingerprint)
	}
	lines := strings.Split(strings.TrimSpace(run(t, home, "tail", "enriched")), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, `"row_id":"`+one.NewestRow.text("row_id")+`"`) {
		t.Errorf("the newest row is %v, want %s", one.NewestRow, last)
	}
	for _, want := range []string{"cost_nano_usd ", "1e-9 USD", "model_request, model_retry", `"row_id": "` + one.NewestRow.text("row_id") + `"`} {
		if text := run(t, home, "topics", "enriched"); !strings.Contains(text, want) {
			t.Errorf("topics enriched does not print %q:\n%s", want, text)
		}
	}
	if text := run(t, home, "topics", "findings"); !strings.Contains(text, "no example: the topic holds no row") {
		t.Errorf("topics findings invents a row:\n%s", text)
	}
	if out, err := flightlogCommand(t, home, "topics", "enrich").CombinedOutput(); err == nil || !strings.Contains(string(out), "give at most one topic of: enriched, ") {
		t.Errorf("an unknown topic: %v %s", err, out)
	}
	if out, err := flightlogCommand(t, t.TempDir(), "topics").CombinedOutput(); err == nil || !strings.Contains(string(out), "there is no data") {
		t.Errorf("without data: %v %s", err, out)
	}
}

// eventsTopic is how the topic of events stands.
func eventsTopic(t *testing.T, b broker.Broker, now time.Time) *topicState {
	t.Helper()
	s, err := topics()[slices.Index(topicNames(), broker.Events)].state(t.Context(), b, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheLagCountsWhatNoCommitHasRead(t *testing.T) {
	clock := int64(0)
	b := memory.New(2, memory.WithClock(func() int64 { clock += 1e6; return clock }))
	tick := schemas.Control{Type: schemas.ControlTypeTick}
	var positions []uint64
	for range 5 { // at 1 to 5 s
		at, err := b.Append(t.Context(), broker.Log{Topic: broker.Events, Partition: 1}, tick.AppendMessage(nil))
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, at)
	}
	if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Events, Partition: 1, Lane: schemas.LaneCritical}, tick.AppendMessage(nil)); err != nil {
		t.Fatal(err) // at 6 s
	}
	now := time.UnixMicro(10e6)
	lag := func(messages int64, seconds float64, text string) {
		t.Helper()
		s := eventsTopic(t, b, now)
		if want := (topicLag{"sessions", messages, seconds, false}); *s.Lag != want || s.Lag.text() != text || s.Messages != 6 {
			t.Errorf("lag %+v %q of %d messages, want %+v %q", *s.Lag, s.Lag.text(), s.Messages, want, text)
		}
	}
	lag(6, 9, "sessions: 6 messages, 9.0 s")
	commit(t, b, schemas.Slice{NextMessage: int64(positions[2])})
	lag(3, 6, "sessions: 3 messages, 6.0 s")
	commit(t, b, schemas.Slice{NextMessage: int64(positions[4]), NextIndex: 3}) // the last is not read to its end
	lag(2, 5, "sessions: 2 messages, 5.0 s")
	commit(t, b, schemas.Slice{NextMessage: int64(positions[4])}, schemas.Slice{Lane: schemas.LaneCritical, NextMessage: int64(positions[4]) + 1})
	lag(0, 0, "sessions: 0")
}

func TestALostPositionOfAProcessorShows(t *testing.T) {
	b := memory.New(1)
	log := broker.Log{Topic: broker.Events}
	tick := schemas.Control{Type: schemas.ControlTypeTick}
	for range 5 {
		if _, err := b.Append(t.Context(), log, tick.AppendMessage(nil)); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, b, schemas.Slice{NextMessage: 1})
	b.Expire(log, 3)
	if s := eventsTopic(t, b, time.Now()); !s.Lag.Lost || s.Lag.text() != "sessions: position lost" || s.Messages != 2 {
		t.Errorf("lag %+v of %d messages", *s.Lag, s.Messages)
	}
}

// commit says how far sessions has read partition 1, or the only one.
func commit(t *testing.T, b *memory.Broker, slices ...schemas.Slice) {
	t.Helper()
	n, err := b.Partitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o, err := b.Acquire(t.Context(), "sessions", n-1, "worker")
	if err != nil {
		t.Fatal(err)
	}
	number := int64(1)
	err = o.Restore(t.Context(), func(c *schemas.Commit) error {
		number = c.CommitNumber + 1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &schemas.Commit{Processor: "sessions", Partition: int64(n - 1), Generation: b.Generation(), CommitNumber: number,
		Epoch: o.Epoch(), Owner: "worker", Slices: slices}
	if err := errors.Join(o.Commit(t.Context(), c), o.Release(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestTheNewestEventIsFoundBehindControlRecords(t *testing.T) {
	b := memory.New(1)
	log := broker.Log{Topic: broker.Events}
	event := schemas.Event{SessionId: "s1", Kind: schemas.KindPrompt, Body: schemas.EventBody{Session: schemas.SessionBody{Reason: "other"}}}
	frame := schemas.Frame{Segments: []schemas.Segment{{Org: "o", Events: [][]byte{event.AppendAvro(nil), []byte("no event")}}}}
	tick := schemas.Control{Type: schemas.ControlTypeTick}
	messages := [][]byte{tick.AppendMessage(nil), frame.AppendMessage(nil)}
	for range 30 {
		messages = append(messages, tick.AppendMessage(nil))
	}
	for _, m := range messages {
		if _, err := b.Append(t.Context(), log, m); err != nil {
			t.Fatal(err)
		}
	}
	newest := func() string {
		t.Helper()
		row, err := eventsTopic(t, b, time.Now()).newestRow(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		return string(row)
	}
	if got := newest(); got != string(event.AppendJSON(nil)) {
		t.Errorf("the newest event is %s, want %s", got, event.AppendJSON(nil))
	}
	b.Expire(log, 5)
	if got := newest(); got != "" {
		t.Errorf("the newest event is %s, want none: it has aged out", got)
	}
}

func TestEveryKindOfRowHasAnExample(t *testing.T) {
	rows := map[string][]byte{
		broker.Enriched:    (&schemas.EnrichedFrame{Rows: []schemas.Enriched{{Repo: "first"}, {Repo: "last"}}}).AppendMessage(nil),
		broker.Findings:    (&schemas.FindingFrame{Rows: []schemas.Finding{{Repo: "first"}, {Repo: "last"}}}).AppendMessage(nil),
		broker.DeadLetters: (&schemas.DeadLetterFrame{Rows: []schemas.DeadLetter{{Source: "first"}, {Source: "last"}}}).AppendMessage(nil),
		broker.Closed:      (&schemas.ClosedFrame{Rows: []schemas.Closed{{Payload: []byte("first")}, {Payload: []byte("last")}}}).AppendMessage(nil),
		broker.Config:      (&schemas.Config{Kind: "rules", Version: 1, Text: []byte("last")}).AppendMessage(nil),
	}
	b := memory.New(1)
	for topic, message := range rows {
		if _, err := b.Append(t.Context(), broker.Log{Topic: topic}, message); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := showTopic(t.Context(), &out, b, topic, false); err != nil {
			t.Fatal(err)
		}
		last := "last"
		if topic == broker.Closed {
			last = "bGFzdA==" // bytes
		}
		if text := out.String(); !strings.Contains(text, "the newest row:\n{") || !strings.Contains(text, `: "`+last) {
			t.Errorf("%s: %s", topic, text)
		}
	}
}

// keeps is a broker that tells how long it keeps topics.
type keeps struct {
	broker.Broker
	kept map[string]time.Duration
}

func (k keeps) Kept(_ context.Context, topic string) (time.Duration, error) {
	return k.kept[topic], nil
}

func TestTopicsAreKeptAsTheBrokerTells(t *testing.T) {
	b := memory.New(1)
	k := keeps{b, map[string]time.Duration{broker.Enriched: 45 * 24 * time.Hour, broker.Events: 90 * time.Minute}}
	for topic, want := range map[string]string{broker.Enriched: "45 d", broker.Events: "1h30m0s", broker.Config: "for ever"} {
		for b, want := range map[broker.Broker]string{b: "-", &k: want} {
			s, err := topics()[slices.Index(topicNames(), topic)].state(t.Context(), b, time.Now())
			if err != nil || s.kept() != want {
				t.Errorf("%s is kept %q, want %q, %v", topic, s.kept(), want, err)
			}
		}
	}
}
