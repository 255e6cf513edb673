package schemas

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// goldens are the messages of a version that history keeps.
func goldens(t testing.TB, record, fingerprint string) (messages [][]byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("history", record, fingerprint+".golden"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		b, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, b)
	}
	return messages
}

// presentGoldens are the messages of a root's present version.
func presentGoldens(t testing.TB, name string, fingerprint uint64) [][]byte {
	t.Helper()
	return goldens(t, name, hex.EncodeToString(binary.BigEndian.AppendUint64(nil, fingerprint)))
}

func typed(err error) bool {
	return errors.Is(err, ErrTruncated) || errors.Is(err, ErrTooLong) || errors.Is(err, ErrInvalid)
}

func TestATruncatedRecordIsAnErrorAtEveryByte(t *testing.T) {
	for _, root := range roots {
		for _, message := range presentGoldens(t, root.name, root.fingerprint) {
			for n := range message {
				if err := root.fresh().DecodeMessage(message[:n]); !typed(err) {
					t.Fatalf("%s: message cut to %d of %d bytes: %v", root.name, n, len(message), err)
				}
			}
			record := message[headerSize:]
			for n := range record {
				if _, err := root.fresh().DecodeAvro(record[:n]); !errors.Is(err, ErrTruncated) {
					t.Fatalf("%s: record cut to %d of %d bytes: %v", root.name, n, len(record), err)
				}
			}
			if err := root.fresh().DecodeMessage(append(message[:len(message):len(message)], 0)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: a byte after the record: %v", root.name, err)
			}
		}
	}
}

// hostileNumbers are lengths, counts and indexes that no honest writer sends.
func hostileNumbers() (all [][]byte) {
	for _, v := range []int64{-1, math.MinInt64, math.MinInt64 + 1, math.MaxInt64, 1 << 20, 1 << 32, 1 << 40, 65537} {
		all = append(all, binary.AppendVarint(nil, v))
	}
	return append(all, bytes.Repeat([]byte{0xff}, 11), bytes.Repeat([]byte{0x80}, 12))
}

func TestHostileNumbersNeitherPanicNorGrowMemory(t *testing.T) {
	hostiles := hostileNumbers()
	for _, root := range roots {
		for _, message := range presentGoldens(t, root.name, root.fingerprint) {
			x := root.fresh()
			for i := headerSize; i < len(message); i++ {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for _, hostile := range hostiles {
					_ = x.DecodeMessage(append(append(message[:i:i], hostile...), message[i+1:]...))
				}
				runtime.ReadMemStats(&after)
				if grown := int(after.TotalAlloc-before.TotalAlloc) / len(hostiles); grown > 64*len(message)+4<<10 {
					t.Fatalf("%s: hostile numbers at byte %d of %d: a decoding allocates %d bytes", root.name, i, len(message), grown)
				}
			}
		}
	}
}

func TestBadValuesAreRefusedByName(t *testing.T) {
	control := func(change func([]byte) []byte) []byte {
		return change((&Control{Type: ControlTypeTick, Org: "acme"}).AppendAvro(nil))
	}
	commit := (&Commit{Processor: "p"}).AppendAvro(nil)
	event := (&Event{}).AppendAvro(nil)
	tests := []struct {
		name  string
		input []byte
		x     record
		want  error
		field string
	}{
		{"a string over its cap", (&Control{Org: strings.Repeat("x", 129)}).AppendAvro(nil), &Control{}, ErrTooLong, "Control.org"},
		{"a long string over its cap", (&DeadLetter{Source: strings.Repeat("x", 4097)}).AppendAvro(nil), &DeadLetter{}, ErrTooLong, "DeadLetter.source"},
		{"bytes over their cap", (&DeadLetter{Payload: make([]byte, 65537)}).AppendAvro(nil), &DeadLetter{}, ErrTooLong, "DeadLetter.payload"},
		{"a short string that is not UTF-8", (&Control{Org: "\xff"}).AppendAvro(nil), &Control{}, ErrInvalid, "Control.org"},
		{"a long string that is not UTF-8", (&Control{Org: strings.Repeat("x", 99) + "\xff"}).AppendAvro(nil), &Control{}, ErrInvalid, "Control.org"},
		{"a negative length", control(func(b []byte) []byte { b[1] = 1; return b }), &Control{}, ErrInvalid, "Control.org"},
		{"a negative enum index", control(func(b []byte) []byte { b[0] = 1; return b }), &Control{}, ErrInvalid, "Control.type"},
		{"a boolean of 2", append(event[:38:38], 2), &Event{}, ErrInvalid, "Event.critical"},
		{"a union index of 7", append(event[:40:40], 14), &Event{}, ErrInvalid, "Event.duration_ms"},
		{"a body of no family", append(event[:len(event)-11:len(event)-11], 8), &Event{}, ErrInvalid, "Event.body"},
		{"a varint of 11 bytes", append(event[:39:39], bytes.Repeat([]byte{0xff}, 11)...), &Event{}, ErrInvalid, "Event.occurred_at"},
		{"an int over 32 bits", append(append(make([]byte, 16), binary.AppendVarint(nil, 1<<31)...), make([]byte, 400)...), &Enriched{}, ErrInvalid, "Enriched.sign"},
		{"more items than allowed", append(commit[:71:71], append(binary.AppendVarint(nil, 17), make([]byte, 500)...)...), &Commit{}, ErrTooLong, "Commit.slices"},
		{"more items than bytes", append(commit[:71:71], append(binary.AppendVarint(nil, 16), make([]byte, 79)...)...), &Commit{}, ErrTruncated, "Commit.slices"},
		{"a block larger than the rest", append(commit[:71:71], append(binary.AppendVarint(binary.AppendVarint(nil, -1), 1000), make([]byte, 79)...)...), &Commit{}, ErrInvalid, "Commit.slices"},
	}
	for _, test := range tests {
		_, err := test.x.DecodeAvro(test.input)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.field+":") {
			t.Errorf("%s: got %v, want %s: %v", test.name, err, test.field, test.want)
		}
	}
}

func TestItemsMayComeInSeveralBlocksWithOrWithoutSizes(t *testing.T) {
	f := Finding{Evidence: []Id{{1}, {2}, {3}}}
	whole := f.AppendAvro(nil)
	ids := append(binary.AppendVarint(nil, 3), make([]byte, 0)...)
	for _, id := range f.Evidence {
		ids = append(ids, id[:]...)
	}
	blocks := append(binary.AppendVarint(binary.AppendVarint(nil, -2), 32), ids[1:33]...)
	blocks = append(append(blocks, 2), ids[33:]...)
	split := bytes.Replace(whole, ids, blocks, 1)
	var got Finding
	if rest, err := got.DecodeAvro(split); err != nil || len(rest) > 0 || !reflect.DeepEqual(got.Evidence, f.Evidence) {
		t.Errorf("got %v, %v, rest %x", got.Evidence, err, rest)
	}
}

func TestANewerWritersSymbolReadsAsTheDefault(t *testing.T) {
	b := (&Control{Type: ControlTypeTick}).AppendAvro(nil)
	for _, index := range []byte{50, 62} {
		b[0] = index << 1
		var c Control
		if _, err := c.DecodeAvro(b); err != nil || c.Type != ControlTypeUnknown {
			t.Errorf("index %d: got %s, %v", index, c.Type, err)
		}
	}
	if b := (&Control{Type: 200}).AppendAvro(nil); b[0] != byte(ControlTypeUnknown) {
		t.Errorf("a value outside of the enum is written as index %d", b[0]>>1)
	}
	if ControlType(200).String() != "unknown" {
		t.Errorf("a value outside of the enum is named %q", ControlType(200))
	}
}

func TestSymbolsParseToTheirValues(t *testing.T) {
	for k := KindUnknown; k <= KindDeployment; k++ {
		if got, ok := ParseKind(k.String()); !ok || got != k {
			t.Errorf("ParseKind(%q) = %v, %v", k, got, ok)
		}
	}
	if got, ok := ParseSeverity("Critical"); ok || got != SeverityInfo {
		t.Errorf("ParseSeverity of no symbol = %v, %v", got, ok)
	}
}

func TestADecodedRecordOutlivesItsInput(t *testing.T) {
	for _, root := range roots {
		if root.name == "Frame" {
			continue
		}
		for _, message := range presentGoldens(t, root.name, root.fingerprint) {
			input := bytes.Clone(message)
			x, y := root.fresh(), root.fresh()
			if err := x.DecodeMessage(input); err != nil {
				t.Fatal(err)
			}
			if _, err := y.DecodeAvro(input[headerSize:]); err != nil {
				t.Fatal(err)
			}
			clear(input)
			if !bytes.Equal(x.AppendMessage(nil), message) || !bytes.Equal(y.AppendMessage(nil), message) {
				t.Errorf("%s changed with its input", root.name)
			}
		}
	}
}

func TestAFrameLendsItsEventsFromTheMessage(t *testing.T) {
	f := Frame{Segments: []Segment{{Org: "acme", ProducerId: "p1", Events: [][]byte{[]byte("one"), []byte("two")}}}}
	message := f.AppendMessage(nil)
	var got Frame
	if err := got.DecodeMessage(message); err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(message, []byte("two"))
	if &got.Segments[0].Events[1][0] != &message[i] {
		t.Error("an event was copied")
	}
	if cap(got.Segments[0].Events[0]) != 3 {
		t.Error("appending to an event would overwrite its neighbour")
	}
	clear(message)
	if s := got.Segments[0]; s.Org != "acme" || s.ProducerId != "p1" {
		t.Errorf("strings lie in the message: %q %q", s.Org, s.ProducerId)
	}
}

func TestDecodingIntoAUsedEventLeavesNothingOfTheOldBody(t *testing.T) {
	tool := Event{Body: EventBody{Branch: EventBodyTool, Tool: ToolBody{ToolName: "Bash"}}}
	model := Event{Body: EventBody{Branch: EventBodyModel, Model: ModelBody{Model: "m"}}}
	e := tool
	if _, err := e.DecodeAvro(model.AppendAvro(nil)); err != nil || e != model {
		t.Errorf("got %+v, %v", e.Body, err)
	}
}

func TestCodecsAllocateNoMoreThanPromised(t *testing.T) {
	buf := make([]byte, 0, 1<<16)
	for _, root := range roots {
		x := root.fresh()
		message := presentGoldens(t, root.name, root.fingerprint)[0]
		if err := x.DecodeMessage(message); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { buf = x.AppendMessage(buf[:0]) }); n != 0 {
			t.Errorf("encoding a %s allocates %v times", root.name, n)
		}
		want := 1.0
		if root.name == "Frame" {
			want = 4 // two segments with two strings each
		}
		if n := testing.AllocsPerRun(100, func() { _ = x.DecodeMessage(message) }); n > want {
			t.Errorf("decoding a %s again allocates %v times", root.name, n)
		}
	}
	event := typicalEvents()[0].AppendAvro(nil)
	var e Event
	if n := testing.AllocsPerRun(100, func() { _, _ = e.DecodeAvro(event) }); n > 1 {
		t.Errorf("decoding an Event allocates %v times", n)
	}
	row := (&Enriched{Org: "acme", Repo: "github.com/acme/shop"}).AppendAvro(nil)
	var r Enriched
	if n := testing.AllocsPerRun(100, func() { _, _ = r.DecodeAvro(row) }); n > 1 {
		t.Errorf("decoding an Enriched allocates %v times", n)
	}
	var d DeadLetter
	d.Payload = event
	if n := testing.AllocsPerRun(100, func() { buf = d.AppendJSON(buf[:0]); buf = e.AppendJSON(buf[:0]); buf = r.AppendJSON(buf[:0]) }); n != 0 {
		t.Errorf("JSON allocates %v times", n)
	}
}

func TestCappedEventsAlwaysDecode(t *testing.T) {
	text := rapid.Custom(func(t *rapid.T) string {
		s := string(rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "bytes")) + rapid.StringN(0, 6, -1).Draw(t, "text")
		return strings.Repeat(s, rapid.SampledFrom([]int{1, 1, 30, 600}).Draw(t, "times"))
	})
	rapid.Check(t, func(t *rapid.T) {
		e := Event{Agent: text.Draw(t, "agent"), SessionId: text.Draw(t, "session"), Repo: text.Draw(t, "repo")}
		e.Body.Branch = EventBodyBranch(rapid.IntRange(0, 3).Draw(t, "branch"))
		e.Body.Session.Path = text.Draw(t, "path")
		e.Body.Tool.ToolTarget = e.Body.Session.Path
		e.Body.Model.TextHash = e.Body.Session.Path
		e.Body.Artifact.FilePath = e.Body.Session.Path
		was := e
		e.Cap()
		var got Event
		if err := got.DecodeMessage(e.AppendMessage(nil)); err != nil {
			t.Fatal(err)
		}
		for _, s := range [][2]string{{was.Agent, e.Agent}, {was.SessionId, e.SessionId}, {was.Repo, e.Repo}} {
			if utf8.ValidString(s[0]) && !strings.HasPrefix(s[0], s[1]) {
				t.Fatalf("%q became %q", s[0], s[1])
			}
		}
		again := e
		again.Cap()
		if again != e {
			t.Fatal("a second Cap changes the event")
		}
	})
}

func TestTextIsCutAtARunesBoundary(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"12345678", "12345678"}, {"123456789", "12345678"}, {"1234567é", "1234567"}, {"123456é9", "123456é"},
		{"12345日本", "12345日"}, {"ab\xffcd", "ab\uFFFDcd"}, {"1234567\xff", "1234567"}, {"", ""},
	} {
		if got := capText(test.text, 8); got != test.want {
			t.Errorf("capText(%q, 8) = %q, want %q", test.text, got, test.want)
		}
	}
}

func TestAFullEventFitsItsCap(t *testing.T) {
	full := strings.Repeat("x", 1<<16)
	e := Event{
		Agent: full, AgentVersion: full, ErrorClass: full, SessionId: full, RootSessionId: full, ParentSessionId: full, PromptId: full,
		AgentRunId: full, ParentAgentRunId: full, RequestId: full, ToolUseId: full, Host: full, User: full, Owner: full, Team: full,
		Repo: full, Branch: full, Ticket: full, TaskId: full, Workflow: full, Skill: full,
		Body: EventBody{Branch: EventBodyTool, Tool: ToolBody{ToolName: full, ToolTarget: full, McpServer: full, ApprovalReason: full}},
	}
	e.Cap()
	var got Event
	if err := got.DecodeMessage(e.AppendMessage(nil)); err != nil {
		t.Error(err)
	}
	oversized := append(e.AppendMessage(nil), make([]byte, 1<<16)...)
	if err := got.DecodeMessage(oversized); !errors.Is(err, ErrTooLong) {
		t.Errorf("a message over 64 KiB: %v", err)
	}
}
