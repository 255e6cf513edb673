package avsc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Canonical is the schema's Parsing Canonical Form (Avro specification,
// "Parsing Canonical Form for Schemas").
func (s *Schema) Canonical() string {
	var w strings.Builder
	s.write(&w, map[string]bool{}, false)
	return w.String()
}

// Resolved is the schema as one self-contained JSON text, with docs, defaults
// and caps.
func (s *Schema) Resolved() []byte {
	var w strings.Builder
	s.write(&w, map[string]bool{}, true)
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(w.String()), "", " "); err != nil {
		panic(fmt.Sprintf("schema %s: %v", s.Name, err)) // what write wrote is JSON
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// Fingerprint is the CRC-64-AVRO (Rabin) fingerprint of the canonical form; a
// single-object header holds it in little-endian order.
func (s *Schema) Fingerprint() uint64 {
	const empty = 0xc15d213aa4d7a795
	fp := uint64(empty)
	for _, c := range []byte(s.Canonical()) {
		fp ^= uint64(c)
		for range 8 {
			fp = fp>>1 ^ empty&-(fp&1)
		}
	}
	return fp
}

func (s *Schema) write(w *strings.Builder, seen map[string]bool, full bool) {
	if s.Name != "" && seen[s.Name] {
		w.WriteString(quote(s.Name))
		return
	}
	seen[s.Name] = true
	switch s.Kind {
	case Union:
		w.WriteByte('[')
		for i, b := range s.Branches {
			comma(w, i)
			b.write(w, seen, full)
		}
		w.WriteByte(']')
		return
	case Array:
		w.WriteString(`{"type":"array","items":`)
		s.Items.write(w, seen, full)
		w.WriteByte('}')
		return
	case Record, Enum, Fixed:
		fmt.Fprintf(w, `{"name":%s,"type":"%s"`, quote(s.Name), s.Kind)
	default:
		if !full || s.Logical == "" {
			w.WriteString(quote(s.Kind))
		} else {
			fmt.Fprintf(w, `{"type":"%s","logicalType":%s}`, s.Kind, quote(s.Logical))
		}
		return
	}
	if full {
		attribute(w, "doc", s.Doc)
		attribute(w, "default", s.Default)
		number(w, "maxBytes", s.MaxBytes)
		if s.Framed {
			w.WriteString(`,"framed":true`)
		}
	}
	switch s.Kind {
	case Record:
		w.WriteString(`,"fields":[`)
		for i, f := range s.Fields {
			comma(w, i)
			fmt.Fprintf(w, `{"name":%s,"type":`, quote(f.Name))
			f.Type.write(w, seen, full)
			if full {
				if f.Default != nil {
					w.WriteString(`,"default":` + string(f.Default))
				}
				number(w, "maxBytes", f.MaxBytes)
				number(w, "maxItems", f.MaxItems)
				attribute(w, "unit", f.Unit)
				attribute(w, "group", f.Group)
				attribute(w, "doc", f.Doc)
			}
			w.WriteByte('}')
		}
		w.WriteByte(']')
	case Enum:
		w.WriteString(`,"symbols":[`)
		for i, symbol := range s.Symbols {
			comma(w, i)
			w.WriteString(quote(symbol))
		}
		w.WriteByte(']')
	case Fixed:
		number(w, "size", s.Size)
	}
	w.WriteByte('}')
}

func comma(w *strings.Builder, i int) {
	if i > 0 {
		w.WriteByte(',')
	}
}

func attribute(w *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(w, `,"%s":%s`, name, quote(value))
	}
}

func number(w *strings.Builder, name string, value int) {
	if value != 0 {
		fmt.Fprintf(w, `,"%s":%d`, name, value)
	}
}

func quote(s string) string {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("string %q: %v", s, err)) // a string always encodes
	}
	return strings.TrimSuffix(w.String(), "\n")
}
