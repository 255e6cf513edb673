package schemas

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	hamba "github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"
	"pgregory.net/rapid"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// TestMain keeps rapid from writing failed inputs into the tree.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// record is what every root has.
type record interface {
	AppendAvro([]byte) []byte
	AppendMessage([]byte) []byte
	DecodeAvro([]byte) ([]byte, error)
	DecodeMessage([]byte) error
}

type root struct {
	name        string
	fingerprint uint64
	fresh       func() record
}

var roots = []root{
	{"Event", EventFingerprint, func() record { return &Event{} }},
	{"Frame", FrameFingerprint, func() record { return &Frame{} }},
	{"Control", ControlFingerprint, func() record { return &Control{} }},
	{"Commit", CommitFingerprint, func() record { return &Commit{} }},
	{"DeadLetter", DeadLetterFingerprint, func() record { return &DeadLetter{} }},
	{"Enriched", EnrichedFingerprint, func() record { return &Enriched{} }},
	{"Finding", FindingFingerprint, func() record { return &Finding{} }},
	{"Task", TaskFingerprint, func() record { return &Task{} }},
	{"TaskFact", TaskFactFingerprint, func() record { return &TaskFact{} }},
	{"Spend", SpendFingerprint, func() record { return &Spend{} }},
	{"SpendDelta", SpendDeltaFingerprint, func() record { return &SpendDelta{} }},
	{"DeadLetterFrame", DeadLetterFrameFingerprint, func() record { return &DeadLetterFrame{} }},
	{"EnrichedFrame", EnrichedFrameFingerprint, func() record { return &EnrichedFrame{} }},
	{"FindingFrame", FindingFrameFingerprint, func() record { return &FindingFrame{} }},
	{"TaskFrame", TaskFrameFingerprint, func() record { return &TaskFrame{} }},
	{"TaskFactFrame", TaskFactFrameFingerprint, func() record { return &TaskFactFrame{} }},
	{"SpendFrame", SpendFrameFingerprint, func() record { return &SpendFrame{} }},
	{"SpendDeltaFrame", SpendDeltaFrameFingerprint, func() record { return &SpendDeltaFrame{} }},
	{"Closed", ClosedFingerprint, func() record { return &Closed{} }},
	{"ClosedFrame", ClosedFrameFingerprint, func() record { return &ClosedFrame{} }},
	{"Config", ConfigFingerprint, func() record { return &Config{} }},
}

// rootOf is the root with a name; a name of none fails the test.
func rootOf(t testing.TB, name string) root {
	t.Helper()
	i := slices.IndexFunc(roots, func(r root) bool { return r.name == name })
	if i < 0 {
		t.Fatalf("no root %q", name)
	}
	return roots[i]
}

// parsed is a schema with a parse of its own, so that a test may change it.
func parsed(t testing.TB, fingerprint uint64) *avsc.Schema {
	t.Helper()
	text, ok := Definition(fingerprint)
	if !ok {
		t.Fatalf("no definition of %016x", fingerprint)
	}
	s, err := avsc.Names{}.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An oracle is a foreign Avro library. Values go through it as maps by field
// name, unions of records with the record's name around them.
type oracle struct {
	name    string
	encode  func(v any) ([]byte, error)
	decode  func(b []byte) (any, error)
	resolve func(b []byte) (any, error) // bytes of the writer's schema, by the reader's
}

// oracles read and write by the writer's schema, and resolve to the reader's.
func oracles(t testing.TB, writer, reader *avsc.Schema) []oracle {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	hw, err := hamba.ParseWithCache(plain(writer), "", &hamba.SchemaCache{})
	must(err)
	hr, err := hamba.ParseWithCache(plain(reader), "", &hamba.SchemaCache{})
	must(err)
	hb, err := hamba.NewSchemaCompatibility().Resolve(hr, hw)
	must(err)
	tw, err := twmb.Parse(plain(writer))
	must(err)
	tr, err := twmb.Parse(plain(reader))
	must(err)
	tb, err := twmb.Resolve(tw, tr)
	must(err)
	// Two APIs of one hamba schema share decoders by fingerprint, which does
	// not tell a resolved schema from the reader's: each use has its own API.
	hambaDecode := func(s hamba.Schema) func([]byte) (any, error) {
		api := hamba.Config{MaxByteSliceSize: 1 << 20}.Freeze()
		return func(b []byte) (v any, err error) { err = api.Unmarshal(s, b, &v); return untagged(v), err }
	}
	twmbDecode := func(s *twmb.Schema) func([]byte) (any, error) {
		return func(b []byte) (v any, err error) { _, err = s.Decode(b, &v); return untagged(v), err }
	}
	return []oracle{
		{"hamba", func(v any) ([]byte, error) { return hamba.Marshal(hw, v) }, hambaDecode(hw), hambaDecode(hb)},
		{"twmb", func(v any) ([]byte, error) { return tw.Encode(v) }, twmbDecode(tw), twmbDecode(tb)},
	}
}

// plain is the schema's text without logical types, which the oracles would
// turn into Go times.
func plain(s *avsc.Schema) string {
	return strings.ReplaceAll(string(s.Resolved()), `"logicalType": "timestamp-micros"`, `"comment": "micros"`)
}

// untagged makes values of different libraries comparable.
func untagged(v any) any {
	switch x := reflect.ValueOf(v); x.Kind() {
	case reflect.Map:
		out := map[string]any{}
		for _, k := range x.MapKeys() {
			e := untagged(x.MapIndex(k).Interface())
			if x.Len() == 1 && strings.HasPrefix(k.String(), "flightlog.") {
				return e
			}
			out[k.String()] = e
		}
		return out
	case reflect.Int, reflect.Int32, reflect.Int64:
		return x.Int()
	case reflect.Array, reflect.Slice:
		if x.Type().Elem().Kind() == reflect.Uint8 {
			return hexOf(x)
		}
		out := []any{}
		for i := range x.Len() {
			out = append(out, untagged(x.Index(i).Interface()))
		}
		return out
	}
	return v
}

// hexOf is the hex text of bytes in a slice or an array.
func hexOf(v reflect.Value) string {
	b := make([]byte, v.Len())
	reflect.Copy(reflect.ValueOf(b), v)
	return hex.EncodeToString(b)
}

// draw makes a random value of the schema in the oracles' form.
func draw(t *rapid.T, f avsc.Field, s *avsc.Schema) any {
	switch s.Kind {
	case avsc.Null:
		return nil
	case avsc.Boolean:
		return rapid.Bool().Draw(t, f.Name)
	case avsc.Int:
		return int(rapid.Int32().Draw(t, f.Name))
	case avsc.Long:
		return rapid.Int64().Draw(t, f.Name)
	case avsc.Double:
		return rapid.Float64().Draw(t, f.Name)
	case avsc.String:
		return drawText(t, f)
	case avsc.Bytes:
		return rapid.SliceOfN(rapid.Byte(), 0, min(f.MaxBytes, 80)).Draw(t, f.Name)
	case avsc.Fixed:
		a := reflect.New(reflect.ArrayOf(s.Size, reflect.TypeFor[byte]())).Elem()
		reflect.Copy(a, reflect.ValueOf(rapid.SliceOfN(rapid.Byte(), s.Size, s.Size).Draw(t, f.Name)))
		return a.Interface()
	case avsc.Enum:
		return rapid.SampledFrom(s.Symbols).Draw(t, f.Name)
	case avsc.Record:
		m := map[string]any{}
		for _, f := range s.Fields {
			m[f.Name] = draw(t, f, f.Type)
		}
		return m
	case avsc.Array:
		list := []any{}
		for range rapid.IntRange(0, min(f.MaxItems, 3)).Draw(t, f.Name) {
			list = append(list, draw(t, f, s.Items))
		}
		return list
	}
	branch := s.Branches[rapid.IntRange(0, len(s.Branches)-1).Draw(t, f.Name)]
	v := draw(t, f, branch)
	if branch.Kind == avsc.Record {
		return map[string]any{branch.Name: v}
	}
	return v
}

func drawText(t *rapid.T, f avsc.Field) string {
	switch rapid.IntRange(0, 7).Draw(t, f.Name) {
	case 0, 1, 2:
		return ""
	case 3:
		return strings.Repeat("x", rapid.IntRange(0, f.MaxBytes).Draw(t, f.Name))
	}
	return rapid.StringN(0, 24, f.MaxBytes).Draw(t, f.Name)
}

// said is a Go record in the oracles' form, untagged.
func said(s *avsc.Schema, v reflect.Value) any {
	switch s.Kind {
	case avsc.Boolean:
		return v.Bool()
	case avsc.Int, avsc.Long:
		return v.Int()
	case avsc.Double:
		return v.Float()
	case avsc.String:
		return v.String()
	case avsc.Bytes, avsc.Fixed:
		return hexOf(v)
	case avsc.Enum:
		return v.Interface().(fmt.Stringer).String()
	case avsc.Record:
		m := map[string]any{}
		for _, f := range s.Fields {
			m[f.Name] = said(f.Type, v.FieldByName(goName(f.Name)))
		}
		return m
	case avsc.Array:
		list := []any{}
		for i := range v.Len() {
			list = append(list, said(s.Items, v.Index(i)))
		}
		return list
	}
	if s.Branches[0].Kind == avsc.Null {
		if !v.FieldByName("Valid").Bool() {
			return nil
		}
		return said(s.Branches[1], v.FieldByName("Value"))
	}
	branch := s.Branches[v.FieldByName("Branch").Uint()]
	return said(branch, v.FieldByName(strings.TrimSuffix(branch.ShortName(), "Body")))
}

func goName(name string) string {
	out := ""
	for part := range strings.SplitSeq(name, "_") {
		out += strings.ToUpper(part[:1]) + part[1:]
	}
	return out
}

func saidBy(s *avsc.Schema, x record) any { return said(s, reflect.ValueOf(x).Elem()) }

func TestOtherLibrariesReadWhatWeWriteAndTheOtherWayRound(t *testing.T) {
	for _, root := range roots {
		t.Run(root.name, func(t *testing.T) {
			s := parsed(t, root.fingerprint)
			others := oracles(t, s, s)
			used := root.fresh() // decoded into again and again
			rapid.Check(t, func(t *rapid.T) {
				v := draw(t, avsc.Field{Name: root.name}, s)
				want := untagged(v)
				for _, other := range others {
					theirs, err := other.encode(v)
					if err != nil {
						t.Fatalf("%s cannot encode: %v", other.name, err)
					}
					for _, x := range []record{root.fresh(), used} {
						rest, err := x.DecodeAvro(append(theirs[:len(theirs):len(theirs)], "rest"...))
						if err != nil || string(rest) != "rest" {
							t.Fatalf("cannot decode what %s wrote: %v, rest %q", other.name, err, rest)
						}
						if got := saidBy(s, x); !reflect.DeepEqual(got, want) {
							t.Fatalf("%s wrote\n%v\nwe read\n%v", other.name, want, got)
						}
					}
					got, err := other.decode(used.AppendAvro(nil))
					if err != nil || !reflect.DeepEqual(got, want) {
						t.Fatalf("we wrote\n%v\n%s read\n%v (%v)", want, other.name, got, err)
					}
				}
				message := used.AppendMessage(nil)
				x := root.fresh()
				if err := x.DecodeMessage(message); err != nil || !reflect.DeepEqual(saidBy(s, x), want) {
					t.Fatalf("message: %v", err)
				}
			})
		})
	}
}
