package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/changes"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/processors/tasks"
	"github.com/flightlog/flightlog/schemas"
)

// topic is what the contract says of a topic (DESIGN §3).
type topic struct {
	Name   string         `json:"name"`
	Public bool           `json:"public"` // a product: versioned, documented, for readers that are not us
	Holds  string         `json:"holds"`
	Lanes  []schemas.Lane `json:"-"`

	record, message uint64 // schemas of a row or record, and of the message that it stands in
	processor       string // that reads it, empty = none with a place of its own
}

var (
	oneLane  = []schemas.Lane{schemas.LaneNormal}
	twoLanes = []schemas.Lane{schemas.LaneNormal, schemas.LaneCritical}
)

// topics are all topics, the public ones first.
func topics() []topic {
	return []topic{
		{Name: broker.Enriched, Public: true, Holds: "signed rows, one per fact version", Lanes: oneLane,
			record: schemas.EnrichedFingerprint, message: schemas.EnrichedFrameFingerprint},
		{Name: broker.Findings, Public: true, Holds: "what detectors report, as signed rows", Lanes: twoLanes,
			record: schemas.FindingFingerprint, message: schemas.FindingFrameFingerprint},
		{Name: broker.Tasks, Public: true, Holds: "task records, as signed rows", Lanes: oneLane,
			record: schemas.TaskFingerprint, message: schemas.TaskFrameFingerprint},
		{Name: broker.Spend, Public: true, Holds: "increments of spend by minute, hour and day", Lanes: oneLane,
			record: schemas.SpendFingerprint, message: schemas.SpendFrameFingerprint},
		{Name: broker.ChangeFacts, Holds: "commits and pull requests of sessions, and what the forge tells", Lanes: twoLanes,
			record: schemas.EnrichedFingerprint, message: schemas.EnrichedFrameFingerprint, processor: changes.NewProcessor().Name()},
		{Name: broker.TaskFacts, Holds: "what sessions and changes contribute to tasks", Lanes: twoLanes,
			record: schemas.TaskFactFingerprint, message: schemas.TaskFactFrameFingerprint, processor: tasks.NewProcessor().Name()},
		{Name: broker.SpendDeltas, Holds: "what commits of sessions add to spend", Lanes: twoLanes,
			record: schemas.SpendDeltaFingerprint, message: schemas.SpendDeltaFrameFingerprint, processor: spend.NewProcessor().Name()},
		{Name: broker.Events, Holds: "events as producers sent them, and control records", Lanes: twoLanes,
			record: schemas.EventFingerprint, message: schemas.FrameFingerprint, processor: sessions.New().Name()},
		{Name: broker.DeadLetters, Holds: "what could not be processed, and why", Lanes: oneLane,
			record: schemas.DeadLetterFingerprint, message: schemas.DeadLetterFrameFingerprint},
		{Name: broker.Closed, Holds: "archived state of closed sessions", Lanes: oneLane,
			record: schemas.ClosedFingerprint, message: schemas.ClosedFrameFingerprint},
		{Name: broker.Config, Holds: "every version of rules, prices and directory", Lanes: oneLane,
			record: schemas.ConfigFingerprint, message: schemas.ConfigFingerprint},
	}
}

func topicNames() (names []string) {
	for _, t := range topics() {
		names = append(names, t.Name)
	}
	return names
}

func topicsCommand() *cobra.Command {
	var at place
	var asJSON bool
	c := &cobra.Command{
		Use:   "topics [NAME]",
		Short: "Show the topics, or the fields of one, and how they stand",
		Long: `Shows every topic: for whom it is, partitions, lanes, how long a message is kept,
how many messages it holds, when the last one was appended, and how far the
processor that reads it is behind. With a name it shows the fields of its rows
with type and unit, and the newest row.

Public topics are for readers of your own; docs/subscribe.md shows them in Python
and Go. A message of JetStream is a frame of rows, one of Kafka a row or the mark
that a transaction leaves.`,
		Example: `  flightlog topics
  flightlog topics enriched --json | jq .schema`,
		ValidArgs: topicNames(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && !slices.Contains(topicNames(), args[0]) {
				return fmt.Errorf("give at most one topic of: %s", strings.Join(topicNames(), ", "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			in, err := at.look(c.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			if len(args) == 1 {
				return showTopic(c.Context(), c.OutOrStdout(), in.broker, args[0], asJSON)
			}
			return showTopics(c.Context(), c.OutOrStdout(), in.broker, asJSON)
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; with a name also the Avro schemas")
	return c
}

// topicState is how a topic stands.
type topicState struct {
	topic
	Partitions  int        `json:"partitions"`
	LaneNames   []string   `json:"lanes"`
	KeptSeconds *int64     `json:"kept_seconds"` // 0 = for ever, null = the broker does not tell
	Messages    int64      `json:"messages"`
	LastAppend  *time.Time `json:"last_append"` // null = it holds nothing
	Lag         *topicLag  `json:"lag,omitempty"`

	logs []logState // that hold something, the one with the newest message first
}

// topicLag is how far a processor is behind.
type topicLag struct {
	Processor string  `json:"processor"`
	Messages  int64   `json:"messages"`
	Seconds   float64 `json:"seconds"`        // age of the oldest message that it has not read
	Lost      bool    `json:"lost,omitempty"` // its position has aged out
}

// logState is what one log holds.
type logState struct {
	broker.Log
	end      uint64
	appended int64 // append time of the last message
}

// keeper is a broker that tells how long it keeps the messages of a topic, as
// it is provisioned; 0 is for ever.
type keeper interface {
	Kept(ctx context.Context, topic string) (time.Duration, error)
}

// state asks the broker about every log of a topic.
func (t topic) state(ctx context.Context, b broker.Broker, now time.Time) (*topicState, error) {
	s := &topicState{topic: t, Partitions: 1}
	if t.Name != broker.Config {
		n, err := b.Partitions(ctx)
		if err != nil {
			return nil, err
		}
		s.Partitions = n
	}
	if k, ok := b.(keeper); ok {
		kept, err := k.Kept(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		seconds := int64(kept / time.Second)
		s.KeptSeconds = &seconds
	}
	if t.processor != "" {
		s.Lag = &topicLag{Processor: t.processor}
	}
	for _, lane := range t.Lanes {
		s.LaneNames = append(s.LaneNames, lane.String())
		for p := range s.Partitions {
			if err := s.add(ctx, b, broker.Log{Topic: t.Name, Partition: p, Lane: lane}, now); err != nil {
				return nil, fmt.Errorf("cannot tell how %s/%d stands: %w", t.Name, p, err)
			}
		}
	}
	slices.SortFunc(s.logs, func(a, b logState) int { return cmp.Compare(b.appended, a.appended) })
	if len(s.logs) > 0 {
		at := time.UnixMicro(s.logs[0].appended).UTC()
		s.LastAppend = &at
	}
	return s, nil
}

// add adds one log.
func (s *topicState) add(ctx context.Context, b broker.Broker, log broker.Log, now time.Time) error {
	end, err := b.End(ctx, log)
	if err != nil || end == 0 {
		return err
	}
	first, err := following(ctx, b, log, 0)
	if err != nil {
		return err
	}
	last, err := following(ctx, b, log, end-1)
	if err != nil {
		return err
	}
	s.Messages += first.Pending + 1
	s.logs = append(s.logs, logState{log, end, last.AppendedAt})
	if s.Lag == nil {
		return nil
	}
	read, err := readUpTo(ctx, b, s.processor, log)
	if err != nil || end <= read {
		return err
	}
	next, err := following(ctx, b, log, read)
	if errors.Is(err, broker.ErrLost) {
		s.Lag.Lost = true
		return nil
	}
	if err != nil {
		return err
	}
	s.Lag.Messages += next.Pending + 1
	s.Lag.Seconds = max(s.Lag.Seconds, now.Sub(time.UnixMicro(next.AppendedAt)).Seconds())
	return nil
}

// following is the message after a position; there must be one.
func following(ctx context.Context, b broker.Broker, log broker.Log, after uint64) (broker.Message, error) {
	r, err := b.Read(ctx, log, after)
	if err != nil {
		return broker.Message{}, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return r.Next(ctx)
}

// readUpTo is the last message of a log that a processor has read to its end.
func readUpTo(ctx context.Context, b broker.Broker, processor string, log broker.Log) (uint64, error) {
	c, err := b.LastCommit(ctx, processor, log.Partition)
	if err != nil || c == nil {
		return 0, err
	}
	for _, s := range c.Slices {
		if s.Lane == log.Lane && s.NextMessage > 0 {
			if s.NextIndex > 0 {
				return uint64(s.NextMessage) - 1, nil
			}
			return uint64(s.NextMessage), nil
		}
	}
	return 0, nil
}

// newestRow is the newest row of a topic as JSON; nil if it holds none. A
// message without one (a control record) is passed over, backwards.
func (s *topicState) newestRow(ctx context.Context, b broker.Broker) (json.RawMessage, error) {
	for _, l := range s.logs {
		for back := uint64(1); ; back *= 4 {
			after := l.end - min(back, l.end)
			row, err := newestRowAfter(ctx, b, l, after)
			if errors.Is(err, broker.ErrLost) {
				after = 0
				row, err = newestRowAfter(ctx, b, l, after)
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read %s/%d: %w", l.Topic, l.Partition, err)
			}
			if row != nil {
				return row, nil
			}
			if after == 0 {
				break
			}
		}
	}
	return nil, nil
}

func newestRowAfter(ctx context.Context, b broker.Broker, l logState, after uint64) (json.RawMessage, error) {
	r, err := b.Read(ctx, l.Log, after)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var newest json.RawMessage
	for {
		m, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		row, err := lastRow(m.Payload)
		if err != nil {
			return nil, err
		}
		if row != nil {
			newest = row
		}
		if m.Position >= l.end {
			return newest, nil
		}
	}
}

// lastRow is the last row, event or record of a message as JSON; nil if there
// is none in it.
func lastRow(message []byte) (json.RawMessage, error) {
	fingerprint, _ := schemas.MessageFingerprint(message)
	switch schemas.FingerprintName(fingerprint) {
	case "EnrichedFrame":
		var f schemas.EnrichedFrame
		err := f.DecodeMessage(message)
		return lastOf(f.Rows, (*schemas.Enriched).AppendJSON), err
	case "FindingFrame":
		var f schemas.FindingFrame
		err := f.DecodeMessage(message)
		return lastOf(f.Rows, (*schemas.Finding).AppendJSON), err
	case "TaskFrame":
		var f schemas.TaskFrame
		err := f.DecodeMessage(message)
		return lastOf(f.Rows, (*schemas.Task).AppendJSON), err
	case "SpendFrame":
		var f schemas.SpendFrame
		err := f.DecodeMessage(message)
		return lastOf(f.Rows, (*schemas.Spend).AppendJSON), err
	case "TaskFactFrame":
		var f schemas.TaskFactFrame
		err := f.DecodeMessage(message)
		return lastOf(f.Rows, (*schemas.TaskFact).AppendJSON), err
	case "SpendDeltaFrame":
		var f schemas.SpendDeltaFrame
		err := f.DecodeMessage(message)
		return lastOf(f.Rows, (*schemas.SpendDelta).AppendJSON), err
	case "DeadLetterFrame":
		var f schemas.DeadLetterFrame
		err := f.DecodeMessage(message)
		return lastOf(f.Rows, (*schemas.DeadLetter).AppendJSON), err
	case "ClosedFrame":
		var f schemas.ClosedFrame
		err := f.DecodeMessage(message)
		return lastOf(f.Rows, (*schemas.Closed).AppendJSON), err
	case "Frame":
		var f schemas.Frame
		err := f.DecodeMessage(message)
		for _, segment := range slices.Backward(f.Segments) {
			for _, encoded := range slices.Backward(segment.Events) {
				var e schemas.Event
				if _, wrong := e.DecodeAvro(encoded); wrong == nil { // else its processor makes it a dead letter
					return e.AppendJSON(nil), err
				}
			}
		}
		return nil, err
	case "Config":
		var c schemas.Config
		if err := c.DecodeMessage(message); err != nil {
			return nil, err
		}
		return json.Marshal(map[string]any{"kind": c.Kind, "version": c.Version, "hash": c.Hash,
			"effective_at": c.EffectiveAt, "applied_by": c.AppliedBy, "text": string(c.Text)})
	}
	return nil, nil
}

func lastOf[R any](rows []R, appendJSON func(*R, []byte) []byte) json.RawMessage {
	if len(rows) == 0 {
		return nil
	}
	return appendJSON(&rows[len(rows)-1], nil)
}

// field is one column of a topic's rows.
type field struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Unit string `json:"unit,omitempty"`
	Doc  string `json:"doc"`
}

// fields reads the columns of a record from its schema, and the symbols of each
// enum in it, in order.
func fields(record uint64) (columns []field, enums [][2]string, err error) {
	text, ok := schemas.Definition(record)
	if !ok {
		return nil, nil, fmt.Errorf("no schema has the fingerprint %016x", record)
	}
	var definition struct {
		Fields []struct {
			Name string `json:"name"`
			Type any    `json:"type"`
			Unit string `json:"unit"`
			Doc  string `json:"doc"`
		} `json:"fields"`
	}
	if err := json.Unmarshal(text, &definition); err != nil {
		return nil, nil, fmt.Errorf("cannot read schema %016x: %w", record, err)
	}
	for _, f := range definition.Fields {
		columns = append(columns, field{f.Name, typeText(f.Type, &enums), f.Unit, f.Doc})
	}
	return columns, enums, nil
}

// typeText names an Avro type and collects the enums that it defines.
func typeText(of any, enums *[][2]string) string {
	switch of := of.(type) {
	case string:
		return of[strings.LastIndexByte(of, '.')+1:]
	case []any:
		var branches []string
		null := false
		for _, branch := range of {
			if branch == "null" {
				null = true
				continue
			}
			branches = append(branches, typeText(branch, enums))
		}
		if null {
			branches = append(branches, "null")
		}
		return strings.Join(branches, " or ")
	case map[string]any:
		if logical, ok := of["logicalType"].(string); ok {
			return logical
		}
		if of["type"] == "array" {
			return "array of " + typeText(of["items"], enums)
		}
		name, named := of["name"]
		if !named {
			return typeText(of["type"], enums)
		}
		short := typeText(name, enums)
		if symbols, ok := of["symbols"].([]any); ok {
			text := fmt.Sprint(symbols) // [a b c]
			*enums = append(*enums, [2]string{short, strings.ReplaceAll(strings.Trim(text, "[]"), " ", ", ")})
		}
		return short
	}
	return fmt.Sprint(of)
}

func showTopics(ctx context.Context, out io.Writer, b broker.Broker, asJSON bool) error {
	now := time.Now()
	all := topics()
	states, errs := make([]*topicState, len(all)), make([]error, len(all))
	var asking sync.WaitGroup
	for i, t := range all {
		asking.Go(func() { states[i], errs[i] = t.state(ctx, b, now) })
	}
	asking.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if asJSON {
		return printJSON(out, states)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "topic\tfor\tpartitions\tlanes\tkept\tmessages\tlast append\tlag\tholds")
	for _, s := range states {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\n", s.Name, s.audience(), s.Partitions, strings.Join(s.LaneNames, ", "),
			s.kept(), s.Messages, s.lastAppend(), s.Lag.text(), s.Holds)
	}
	return w.Flush()
}

func showTopic(ctx context.Context, out io.Writer, b broker.Broker, name string, asJSON bool) error {
	t := topics()[slices.Index(topicNames(), name)]
	s, err := t.state(ctx, b, time.Now())
	if err != nil {
		return err
	}
	columns, enums, err := fields(t.record)
	if err != nil {
		return err
	}
	example, err := s.newestRow(ctx, b)
	if err != nil {
		return err
	}
	if asJSON {
		record, _ := schemas.Definition(t.record)
		message, _ := schemas.Definition(t.message)
		return printJSON(out, struct {
			*topicState
			Fields             []field         `json:"fields"`
			Fingerprint        string          `json:"fingerprint"`
			Schema             json.RawMessage `json:"schema"`
			MessageFingerprint string          `json:"message_fingerprint"`
			MessageSchema      json.RawMessage `json:"message_schema"`
			NewestRow          json.RawMessage `json:"newest_row"` // null = it holds none
		}{s, columns, fingerprintText(t.record), record, fingerprintText(t.message), message, example})
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "topic\t%s\nfor\t%s\nholds\t%s\n", s.Name, s.audience(), s.Holds)
	fmt.Fprintf(w, "schema\t%s %s\n", schemas.FingerprintName(t.record), fingerprintText(t.record))
	if t.message != t.record {
		fmt.Fprintf(w, "frame\t%s %s\n", schemas.FingerprintName(t.message), fingerprintText(t.message))
	}
	fmt.Fprintf(w, "partitions\t%d\nlanes\t%s\nkept\t%s\nmessages\t%d\nlast append\t%s\nlag\t%s\n", s.Partitions,
		strings.Join(s.LaneNames, ", "), s.kept(), s.Messages, s.lastAppend(), s.Lag.text())
	fmt.Fprintln(w, "\nfield\ttype\tunit\twhat it is")
	for _, f := range columns {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Name, f.Type, f.Unit, f.Doc)
	}
	if len(enums) > 0 {
		fmt.Fprintln(w, "\nenum\tvalues")
		for _, enum := range enums {
			fmt.Fprintf(w, "%s\t%s\n", enum[0], enum[1])
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if example == nil {
		_, err := fmt.Fprintln(out, "\nno example: the topic holds no row")
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, example, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nthe newest row:\n%s\n", pretty.Bytes())
	return err
}

func printJSON(out io.Writer, value any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

func fingerprintText(fingerprint uint64) string { return fmt.Sprintf("%016x", fingerprint) }

func (t *topic) audience() string {
	if t.Public {
		return "public"
	}
	return "internal"
}

func (s *topicState) kept() string {
	const day = 24 * 60 * 60
	switch {
	case s.KeptSeconds == nil:
		return "-"
	case *s.KeptSeconds == 0:
		return "for ever"
	case *s.KeptSeconds%day == 0:
		return strconv.FormatInt(*s.KeptSeconds/day, 10) + " d"
	}
	return (time.Duration(*s.KeptSeconds) * time.Second).String()
}

func (s *topicState) lastAppend() string {
	if s.LastAppend == nil {
		return "-"
	}
	return s.LastAppend.Format(time.RFC3339)
}

func (l *topicLag) text() string {
	switch {
	case l == nil:
		return "-"
	case l.Lost:
		return l.Processor + ": position lost"
	case l.Messages == 0:
		return l.Processor + ": 0"
	}
	return fmt.Sprintf("%s: %d messages, %.1f s", l.Processor, l.Messages, l.Seconds)
}
