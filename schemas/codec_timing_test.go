package schemas

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

// The anchor: an Event codec as one would write it by hand for speed, with an
// append encoder and a decoder that copies the record once and lets strings
// alias the copy. It checks bounds, but neither caps nor UTF-8.

func handLong(b []byte, v int64) []byte {
	return binary.AppendUvarint(b, uint64(v<<1)^uint64(v>>63))
}

func handText(b []byte, s string) []byte { return append(handLong(b, int64(len(s))), s...) }

func handBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func handOpt(b []byte, v OptLong) []byte {
	if !v.Valid {
		return append(b, 0)
	}
	return handLong(append(b, 2), v.Value)
}

func handOptBool(b []byte, v OptBool) []byte {
	if !v.Valid {
		return append(b, 0)
	}
	return handBool(append(b, 2), v.Value)
}

func handEncode(b []byte, e *Event) []byte {
	b = append(b, e.EventId[:]...)
	b = append(b, e.FactKey[:]...)
	b = append(b, byte(e.Kind)<<1, byte(e.Witness)<<1, byte(e.Signal)<<1)
	b = handText(b, e.Agent)
	b = handText(b, e.AgentVersion)
	b = append(b, byte(e.CaptureMode)<<1)
	b = handBool(b, e.Critical)
	b = handLong(b, e.OccurredAt)
	b = handOpt(b, e.DurationMs)
	b = handOptBool(b, e.Success)
	b = handText(b, e.ErrorClass)
	b = handText(b, e.SessionId)
	b = handText(b, e.RootSessionId)
	b = handText(b, e.ParentSessionId)
	b = handText(b, e.PromptId)
	b = handText(b, e.AgentRunId)
	b = handText(b, e.ParentAgentRunId)
	b = handText(b, e.RequestId)
	b = handText(b, e.ToolUseId)
	b = handText(b, e.Host)
	b = handText(b, e.User)
	b = append(b, byte(e.UserSource)<<1)
	b = handText(b, e.Owner)
	b = handText(b, e.Team)
	b = handText(b, e.Repo)
	b = handText(b, e.Branch)
	b = handText(b, e.Ticket)
	b = handText(b, e.TaskId)
	b = handText(b, e.Workflow)
	b = append(b, byte(e.WorkflowSource)<<1, byte(e.WorkKind)<<1, byte(e.WorkKindSource)<<1)
	b = handText(b, e.Skill)
	b = append(b, byte(e.Body.Branch)<<1)
	switch e.Body.Branch {
	case EventBodyModel:
		m := &e.Body.Model
		b = handText(b, m.Model)
		b = handText(b, m.ModelRequested)
		b = handText(b, m.MessageId)
		b = handText(b, m.StopReason)
		b = handText(b, m.QuerySource)
		b = handOpt(b, m.TokenInput)
		b = handOpt(b, m.TokenOutput)
		b = handOpt(b, m.TokenThinking)
		b = handOpt(b, m.TokenCacheRead)
		b = handOpt(b, m.TokenCacheWrite5m)
		b = handOpt(b, m.TokenCacheWrite1h)
		b = handOpt(b, m.TokenCacheWrite)
		b = handBool(b, m.OutputPartial)
		b = handText(b, m.Platform)
		b = handText(b, m.Speed)
		b = handText(b, m.ServiceTier)
		b = handText(b, m.InferenceGeo)
		b = handOpt(b, m.WebSearches)
		b = handOpt(b, m.WebFetches)
		if m.CostClientUsd.Valid {
			b = binary.LittleEndian.AppendUint64(append(b, 2), math.Float64bits(m.CostClientUsd.Value))
		} else {
			b = append(b, 0)
		}
		b = handOpt(b, m.StatusCode)
		b = handOpt(b, m.Attempt)
		b = handOpt(b, m.WaitMs)
		b = handText(b, m.TextHash)
		b = handOpt(b, m.TextLength)
	case EventBodyTool:
		t := &e.Body.Tool
		b = handText(b, t.ToolName)
		b = handText(b, t.ToolTarget)
		b = handText(b, t.McpServer)
		b = handText(b, t.ArgumentsHash)
		b = handOpt(b, t.ArgumentsLength)
		b = handText(b, t.ResultHash)
		b = handOpt(b, t.ResultLength)
		b = handOpt(b, t.ExitStatus)
		b = handText(b, t.CommandClass)
		b = handText(b, t.SecretClass)
		b = handText(b, t.PermissionMode)
		b = handText(b, t.ApprovalDecision)
		b = handText(b, t.ApprovalSource)
		b = handText(b, t.ApprovalReason)
		b = handOptBool(b, t.Background)
		b = handText(b, t.AgentRunStarted)
		b = handBool(b, t.Done)
		b = handText(b, t.ResultShape)
		b = handBool(b, t.Waits)
		b = handText(b, t.InstallSource)
	}
	return b
}

type hand struct {
	s   string
	i   int
	bad bool
}

func (h *hand) long() int64 {
	var u uint64
	for shift := 0; shift < 64; shift += 7 {
		if h.i >= len(h.s) {
			break
		}
		c := h.s[h.i]
		h.i++
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	h.bad = true
	return 0
}

func (h *hand) text() string {
	n := h.long()
	if n < 0 || n > int64(len(h.s)-h.i) {
		h.bad = true
		return ""
	}
	v := h.s[h.i : h.i+int(n)]
	h.i += int(n)
	return v
}

func (h *hand) byte() byte {
	if h.i >= len(h.s) {
		h.bad = true
		return 0
	}
	c := h.s[h.i]
	h.i++
	return c
}

func (h *hand) opt() OptLong {
	if h.byte() == 0 {
		return OptLong{}
	}
	return OptLong{h.long(), true}
}

func (h *hand) optBool() OptBool {
	if h.byte() == 0 {
		return OptBool{}
	}
	return OptBool{h.byte() == 1, true}
}

func (h *hand) id() (id Id) {
	if len(h.s)-h.i < len(id) {
		h.bad = true
		return id
	}
	copy(id[:], h.s[h.i:])
	h.i += len(id)
	return id
}

func handDecode(b []byte, e *Event) error {
	h := hand{s: string(b)}
	e.EventId = h.id()
	e.FactKey = h.id()
	e.Kind = Kind(h.byte() >> 1)
	e.Witness = Witness(h.byte() >> 1)
	e.Signal = Signal(h.byte() >> 1)
	e.Agent = h.text()
	e.AgentVersion = h.text()
	e.CaptureMode = CaptureMode(h.byte() >> 1)
	e.Critical = h.byte() == 1
	e.OccurredAt = h.long()
	e.DurationMs = h.opt()
	e.Success = h.optBool()
	e.ErrorClass = h.text()
	e.SessionId = h.text()
	e.RootSessionId = h.text()
	e.ParentSessionId = h.text()
	e.PromptId = h.text()
	e.AgentRunId = h.text()
	e.ParentAgentRunId = h.text()
	e.RequestId = h.text()
	e.ToolUseId = h.text()
	e.Host = h.text()
	e.User = h.text()
	e.UserSource = UserSource(h.byte() >> 1)
	e.Owner = h.text()
	e.Team = h.text()
	e.Repo = h.text()
	e.Branch = h.text()
	e.Ticket = h.text()
	e.TaskId = h.text()
	e.Workflow = h.text()
	e.WorkflowSource = WorkflowSource(h.byte() >> 1)
	e.WorkKind = WorkKind(h.byte() >> 1)
	e.WorkKindSource = WorkKindSource(h.byte() >> 1)
	e.Skill = h.text()
	e.Body.Branch = EventBodyBranch(h.byte() >> 1)
	switch e.Body.Branch {
	case EventBodyModel:
		m := &e.Body.Model
		m.Model = h.text()
		m.ModelRequested = h.text()
		m.MessageId = h.text()
		m.StopReason = h.text()
		m.QuerySource = h.text()
		m.TokenInput = h.opt()
		m.TokenOutput = h.opt()
		m.TokenThinking = h.opt()
		m.TokenCacheRead = h.opt()
		m.TokenCacheWrite5m = h.opt()
		m.TokenCacheWrite1h = h.opt()
		m.TokenCacheWrite = h.opt()
		m.OutputPartial = h.byte() == 1
		m.Platform = h.text()
		m.Speed = h.text()
		m.ServiceTier = h.text()
		m.InferenceGeo = h.text()
		m.WebSearches = h.opt()
		m.WebFetches = h.opt()
		m.CostClientUsd = OptDouble{}
		if h.byte() != 0 {
			if len(h.s)-h.i < 8 {
				return errors.New("truncated")
			}
			m.CostClientUsd = OptDouble{math.Float64frombits(binary.LittleEndian.Uint64([]byte(h.s[h.i : h.i+8]))), true}
			h.i += 8
		}
		m.StatusCode = h.opt()
		m.Attempt = h.opt()
		m.WaitMs = h.opt()
		m.TextHash = h.text()
		m.TextLength = h.opt()
	case EventBodyTool:
		t := &e.Body.Tool
		t.ToolName = h.text()
		t.ToolTarget = h.text()
		t.McpServer = h.text()
		t.ArgumentsHash = h.text()
		t.ArgumentsLength = h.opt()
		t.ResultHash = h.text()
		t.ResultLength = h.opt()
		t.ExitStatus = h.opt()
		t.CommandClass = h.text()
		t.SecretClass = h.text()
		t.PermissionMode = h.text()
		t.ApprovalDecision = h.text()
		t.ApprovalSource = h.text()
		t.ApprovalReason = h.text()
		t.Background = h.optBool()
		t.AgentRunStarted = h.text()
		t.Done = h.byte() == 1
		t.ResultShape = h.text()
		t.Waits = h.byte() == 1
		t.InstallSource = h.text()
	}
	if h.bad || h.i != len(h.s) {
		return errors.New("truncated")
	}
	return nil
}

// typicalEvents are a tool call and a model request as the client makes them.
func typicalEvents() []Event {
	envelope := Event{
		EventId: Id{1}, FactKey: Id{2}, Witness: WitnessTranscript, Agent: "claude-code", AgentVersion: "2.1.50",
		OccurredAt: 1_760_000_000_123_456, DurationMs: SomeLong(1834), Success: SomeBool(true),
		SessionId: "0192cf3e-7d0c-7b6e-9d1a-3f8e2c5b7a90", RootSessionId: "0192cf3e-7d0c-7b6e-9d1a-3f8e2c5b7a90",
		PromptId: "5b1f8c2e-33aa-4f0e-8a52-2f9a1c77d0b4", RequestId: "req_011CTxyzABCDEFGHJKMNPQ",
		Host: "dev-laptop-17", User: "ada@example.com", UserSource: UserSourceGitEmail, Owner: "ada@example.com",
		Repo: "github.com/acme/shop", Branch: "feature/SHOP-12-cart", Ticket: "SHOP-12",
		Workflow: "cli", WorkflowSource: WorkflowSourceEntrypoint,
	}
	tool, model := envelope, envelope
	tool.Kind, tool.ToolUseId = KindToolCall, "toolu_01ABCDEFGHJKMNPQRSTVWXYZ"
	tool.Body = EventBody{Branch: EventBodyTool, Tool: ToolBody{
		ToolName: "Bash", ToolTarget: "go test", ArgumentsHash: "00112233445566778899aabbccddeeff", ArgumentsLength: SomeLong(123),
		ResultHash: "ffeeddccbbaa99887766554433221100", ResultLength: SomeLong(4567), ExitStatus: SomeLong(0),
		CommandClass: "test", PermissionMode: "acceptEdits", Done: true, ResultShape: "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
	}}
	model.Kind = KindModelRequest
	model.Body = EventBody{Branch: EventBodyModel, Model: ModelBody{
		Model: "claude-sonnet-4-5-20250929", MessageId: "msg_01ABCDEFGHJKMNPQRSTVWXYZ", StopReason: "tool_use", QuerySource: "repl_main_thread",
		TokenInput: SomeLong(12), TokenOutput: SomeLong(845), TokenCacheRead: SomeLong(48210), TokenCacheWrite5m: SomeLong(1520), TokenCacheWrite1h: SomeLong(0),
		Platform: "firstParty", Speed: "standard", ServiceTier: "standard", CostClientUsd: SomeDouble(0.0412),
		TextHash: "0123456789abcdef0123456789abcdef", TextLength: SomeLong(2210),
	}}
	return []Event{tool, model}
}

func TestTheAnchorIsTheSameCodec(t *testing.T) {
	for _, e := range typicalEvents() {
		b := e.AppendAvro(nil)
		if string(handEncode(nil, &e)) != string(b) {
			t.Errorf("%s: the hand-written encoder differs", e.Kind)
		}
		var got Event
		if err := handDecode(b, &got); err != nil || got != e {
			t.Errorf("%s: the hand-written decoder differs: %v", e.Kind, err)
		}
	}
}

func BenchmarkEventEncode(b *testing.B) {
	events := typicalEvents()
	buf := make([]byte, 0, 4096)
	for _, c := range []struct {
		name   string
		encode func([]byte, *Event) []byte
	}{
		{"hand", handEncode},
		{"generated", func(b []byte, e *Event) []byte { return e.AppendAvro(b) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				buf = c.encode(buf[:0], &events[i&1])
			}
		})
	}
}

func BenchmarkEventDecode(b *testing.B) {
	var plain, message [2][]byte
	for i, e := range typicalEvents() {
		plain[i], message[i] = e.AppendAvro(nil), e.AppendMessage(nil)
	}
	var e Event
	for _, c := range []struct {
		name   string
		decode func(i int) error
	}{
		{"hand", func(i int) error { return handDecode(plain[i], &e) }},
		{"message", func(i int) error { return e.DecodeMessage(message[i]) }},
		{"avro", func(i int) error { _, err := e.DecodeAvro(plain[i]); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := c.decode(i & 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEnriched(b *testing.B) {
	row := Enriched{
		RowId: Id{1}, Sign: 1, FactKey: Id{2}, Version: 2, Generation: 1, EventId: Id{3}, Family: FamilyModel, Kind: KindModelRequest,
		Witnesses: "hook,transcript,otlp", OccurredAt: 1_760_000_000_123_456, DurationMs: SomeLong(1834), Success: SomeBool(true),
		Org: "acme", Team: "checkout", User: "ada@example.com", UserSource: UserSourceGitEmail, Host: "dev-laptop-17",
		Repo: "github.com/acme/shop", Branch: "feature/SHOP-12-cart", Workflow: "cli", Agent: "claude-code", AgentVersion: "2.1.50",
		TaskId: "SHOP-12@github.com/acme/shop", TaskIdSource: TaskIdSourceTicket, SessionId: "0192cf3e-7d0c-7b6e-9d1a-3f8e2c5b7a90",
		Model: "claude-sonnet-4-5-20250929", StopReason: "tool_use", TokenInput: SomeLong(12), TokenOutput: SomeLong(845),
		TokenCacheRead: SomeLong(48210), CostNanoUsd: SomeLong(41_200_000), CostUsd: SomeDouble(0.0412), CostGrade: CostGradeMeasured,
	}
	encoded := row.AppendAvro(nil)
	rows := make([][]byte, 100)
	for i := range rows {
		rows[i] = encoded
	}
	message := AppendRowFrame(nil, EnrichedFrameFingerprint, &RowHeader{Processor: "sessions"}, rows)
	buf := make([]byte, 0, 4096)
	var frame EnrichedFrame
	for _, c := range []struct {
		name string
		run  func() error
	}{
		{"encode", func() error { buf = row.AppendAvro(buf[:0]); return nil }},
		{"decode", func() error { _, err := row.DecodeAvro(encoded); return err }},
		{"json", func() error { buf = row.AppendJSON(buf[:0]); return nil }},
		{"frame of 100/decode", func() error { return frame.DecodeMessage(message) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
