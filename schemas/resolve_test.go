package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// olderEvent is an Event schema of a release that might have been: fields
// less, fields more, in another order, other symbols, branches and types.
func olderEvent(t testing.TB) *avsc.Schema {
	s := parsed(t, EventFingerprint)
	field := func(s *avsc.Schema, name string) int {
		return slices.IndexFunc(s.Fields, func(f avsc.Field) bool { return f.Name == name })
	}
	drop := func(s *avsc.Schema, name string) {
		i := field(s, name)
		s.Fields = slices.Delete(s.Fields, i, i+1)
	}
	for _, name := range []string{"skill", "duration_ms", "work_kind", "critical", "ticket"} {
		drop(s, name)
	}
	kind := s.Fields[field(s, "kind")].Type
	kind.Symbols = []string{"unknown", "tool_call", "renamed_since", "prompt", "model_request"}
	s.Fields[field(s, "occurred_at")].Type = &avsc.Schema{Kind: avsc.Int}
	note := &avsc.Schema{Kind: avsc.Record, Name: "flightlog.Note", Fields: []avsc.Field{
		{Name: "text", Type: &avsc.Schema{Kind: avsc.String}, MaxBytes: 50},
		{Name: "weight", Type: &avsc.Schema{Kind: avsc.Double}},
		{Name: "id", Type: s.Fields[0].Type},
	}}
	null := &avsc.Schema{Kind: avsc.Null}
	s.Fields = slices.Insert(s.Fields, 2,
		avsc.Field{Name: "notes", Type: &avsc.Schema{Kind: avsc.Array, Items: note}, MaxItems: 9},
		avsc.Field{Name: "last_note", Type: &avsc.Schema{Kind: avsc.Union, Branches: []*avsc.Schema{null, note}}})
	slices.Reverse(s.Fields[6:20])
	body := s.Fields[field(s, "body")].Type
	body.Branches = []*avsc.Schema{body.Branches[2], body.Branches[1], body.Branches[0]}
	model := body.Branches[1]
	drop(model, "token_input")
	drop(model, "output_partial")
	for name, kind := range map[string]string{"token_output": avsc.Long, "token_thinking": avsc.Int, "cost_client_usd": avsc.Long} {
		f := &model.Fields[field(model, name)]
		f.Type, f.Default = &avsc.Schema{Kind: kind}, nil
	}
	return s
}

// olderFrame is a frame of rows with a column more and one less.
func olderFrame(t testing.TB) *avsc.Schema {
	s := parsed(t, FindingFrameFingerprint)
	row := s.Fields[1].Type.Items
	row.Fields = slices.Delete(row.Fields, len(row.Fields)-1, len(row.Fields))
	row.Fields = append(row.Fields, avsc.Field{Name: "score", Type: &avsc.Schema{Kind: avsc.Double}})
	return s
}

// olderDeadLetter has narrower types.
func olderDeadLetter(t testing.TB) *avsc.Schema {
	s := parsed(t, DeadLetterFingerprint)
	for name, kind := range map[string]string{"payload": avsc.String, "size": avsc.Int, "occurred_at": avsc.Int} {
		i := slices.IndexFunc(s.Fields, func(f avsc.Field) bool { return f.Name == name })
		s.Fields[i].Type, s.Fields[i].Default = &avsc.Schema{Kind: kind}, nil
	}
	return s
}

func TestMessagesOfOlderWritersReadAsOtherLibrariesReadThem(t *testing.T) {
	for _, test := range []struct {
		record string
		older  *avsc.Schema
	}{
		{"Event", olderEvent(t)},
		{"FindingFrame", olderFrame(t)},
		{"DeadLetter", olderDeadLetter(t)},
	} {
		t.Run(test.record, func(t *testing.T) {
			present := rootOf(t, test.record)
			reader := parsed(t, present.fingerprint)
			definitions.Store(test.older.Fingerprint(), test.older)
			defer definitions.Delete(test.older.Fingerprint())
			others := oracles(t, test.older, reader)
			rapid.Check(t, func(t *rapid.T) {
				v := draw(t, avsc.Field{Name: test.record}, test.older)
				for _, other := range others {
					old, err := other.encode(v)
					if err != nil {
						t.Fatal(err)
					}
					want, err := other.resolve(old)
					if err != nil {
						t.Fatalf("%s cannot resolve: %v", other.name, err)
					}
					x := present.fresh()
					if err := x.DecodeMessage(append(appendHeader(nil, test.older.Fingerprint()), old...)); err != nil {
						t.Fatal(err)
					}
					if got := saidBy(reader, x); !reflect.DeepEqual(got, want) {
						t.Fatalf("%s resolves\n%v\nto\n%v\nwe to\n%v", other.name, untagged(v), want, got)
					}
				}
			})
		})
	}
}

func TestATruncatedOlderMessageIsAnErrorAtEveryByte(t *testing.T) {
	older, present := olderEvent(t), parsed(t, EventFingerprint)
	body := make([]byte, 0, 100)
	var e Event
	body = e.AppendAvro(body)
	back, err := resolve(present, older, body)
	if err == nil {
		t.Fatalf("resolved a missing default: %x", back)
	}
	rapid.Check(t, func(t *rapid.T) {
		v := draw(t, avsc.Field{Name: "Event"}, older)
		b := encodeSimply(nil, older, v)
		if _, err := resolve(older, present, b); err != nil {
			t.Fatal(err)
		}
		for n := range b {
			if _, err := resolve(older, present, b[:n]); !typed(err) {
				t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
			}
		}
		if _, err := resolve(older, present, append(b, 0)); !errors.Is(err, ErrInvalid) {
			t.Fatalf("a byte after the end: %v", err)
		}
	})
}

// encodeSimply is Avro's encoding of a drawn value.
func encodeSimply(b []byte, s *avsc.Schema, v any) []byte {
	switch s.Kind {
	case avsc.Boolean:
		return appendBool(b, v.(bool))
	case avsc.Int:
		return appendLong(b, int64(v.(int)))
	case avsc.Long:
		return appendLong(b, v.(int64))
	case avsc.Double:
		return appendDouble(b, v.(float64))
	case avsc.String:
		return appendString(b, v.(string))
	case avsc.Bytes:
		return appendBytes(b, v.([]byte))
	case avsc.Fixed:
		for i := range s.Size {
			b = append(b, byte(reflect.ValueOf(v).Index(i).Uint()))
		}
		return b
	case avsc.Enum:
		return appendLong(b, int64(slices.Index(s.Symbols, v.(string))))
	case avsc.Record:
		for _, f := range s.Fields {
			b = encodeSimply(b, f.Type, v.(map[string]any)[f.Name])
		}
		return b
	case avsc.Array:
		for _, item := range v.([]any) {
			b = encodeSimply(appendLong(b, 1), s.Items, item)
		}
		return append(b, 0)
	}
	for i, branch := range s.Branches {
		if tagged, ok := v.(map[string]any); ok && tagged[branch.Name] != nil {
			return encodeSimply(appendLong(b, int64(i)), branch, tagged[branch.Name])
		}
	}
	if v == nil {
		return append(b, 0)
	}
	return encodeSimply(append(b, 2), s.Branches[1], v)
}

func TestDefaultsOfEveryKindAreWritten(t *testing.T) {
	id := &avsc.Schema{Kind: avsc.Fixed, Name: "x.F", Size: 2}
	color := &avsc.Schema{Kind: avsc.Enum, Name: "x.E", Symbols: []string{"red", "blue"}}
	null := &avsc.Schema{Kind: avsc.Null}
	list := &avsc.Schema{Kind: avsc.Array, Items: id}
	simple := func(kind string) *avsc.Schema { return &avsc.Schema{Kind: kind} }
	for _, test := range []struct {
		schema *avsc.Schema
		text   string
		want   []byte // nil = refused
	}{
		{simple(avsc.Boolean), "true", []byte{1}},
		{simple(avsc.Boolean), "1", nil},
		{simple(avsc.Int), "-3", []byte{5}},
		{simple(avsc.Long), "64", []byte{0x80, 1}},
		{simple(avsc.Long), "0.5", nil},
		{simple(avsc.Double), "1", []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
		{simple(avsc.String), `"é"`, []byte{4, 0xc3, 0xa9}},
		{simple(avsc.String), "null", nil},
		{simple(avsc.Bytes), `"\u00ff"`, []byte{2, 0xff}},
		{id, `"\u0001\u00fe"`, []byte{1, 0xfe}},
		{id, `"x"`, nil},
		{color, `"blue"`, []byte{2}},
		{color, `"green"`, nil},
		{list, "[]", []byte{0}},
		{list, `["xx"]`, nil},
		{&avsc.Schema{Kind: avsc.Union, Branches: []*avsc.Schema{null, id}}, "null", []byte{0}},
		{&avsc.Schema{Kind: avsc.Union, Branches: []*avsc.Schema{simple(avsc.Long), null}}, "1", []byte{0, 2}},
		{simple(avsc.Long), "", nil},
	} {
		var r resolver
		end := r.byDefault(test.schema, json.RawMessage(test.text))
		if (end < 0) != (test.want == nil) || end >= 0 && !bytes.Equal(r.out, test.want) {
			t.Errorf("%s by default %s: %x (%d), want %x", test.schema.Kind, test.text, r.out, end, test.want)
		}
	}
}

// Every version that a release held decodes with today's code, to what another
// library makes of it; the present version encodes to the same bytes again.
func TestGoldenBytesOfEveryVersionDecode(t *testing.T) {
	list, err := os.ReadFile(filepath.Join("history", "VERSIONS"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		record, hex := f[0], f[1]
		fingerprint, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if FingerprintName(fingerprint) != record {
			t.Errorf("FingerprintName(%s) = %q, want %s", hex, FingerprintName(fingerprint), record)
		}
		present := rootOf(t, record)
		reader := parsed(t, present.fingerprint)
		other := oracles(t, parsed(t, fingerprint), reader)[1]
		for _, message := range goldens(t, record, hex) {
			x := present.fresh()
			if err := x.DecodeMessage(message); err != nil {
				t.Errorf("%s %s: %v", record, hex, err)
				continue
			}
			want, err := other.resolve(message[headerSize:])
			if err != nil {
				t.Fatal(err)
			}
			if got := saidBy(reader, x); !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s reads as\n%v\nwant\n%v", record, hex, got, want)
			}
			if fingerprint == present.fingerprint && !bytes.Equal(x.AppendMessage(nil), message) {
				t.Errorf("%s %s: encoding it again makes other bytes", record, hex)
			}
			seen++
		}
	}
	if seen < len(roots) {
		t.Errorf("%d golden messages for %d records", seen, len(roots))
	}
}
