package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// messages writes what every record that travels on its own has: DecodeAvro
// and the single-object encoding.
func (w *source) messages(s *avsc.Schema) {
	name := s.ShortName()
	limit := "maxMessage"
	if s.MaxBytes > 0 {
		limit = strconv.Itoa(s.MaxBytes)
	}
	w.line("// %sFingerprint is the CRC-64-AVRO fingerprint of %s's present schema.", name, name)
	w.line("const %sFingerprint uint64 = 0x%016x\n", name, s.Fingerprint())

	if slices.Contains(aliasing, name) {
		w.comment("DecodeAvro reads one record from the front of b and returns what follows it. Byte slices lie in b, strings are copied. " +
			"It uses the memory of x's slices again. After an error (ErrTruncated, ErrTooLong, ErrInvalid) x is undefined.")
	} else {
		w.comment("DecodeAvro reads one record from the front of b and returns what follows it. The record owns one copy of its bytes; " +
			"if b goes on after it, finding its end takes a second decoding. " +
			"It uses the memory of x's slices again. After an error (ErrTruncated, ErrTooLong, ErrInvalid) x is undefined.")
	}
	w.line("func (x *%s) DecodeAvro(b []byte) (rest []byte, err error) {", name)
	owned := "clone(%s)"
	if slices.Contains(aliasing, name) {
		owned = "%s"
		w.line("end, err := x.decode(b, 0)")
	} else {
		w.line("end, err := x.decode(clone(b), 0)\nif err == nil && end < len(b) {\n_, err = x.decode(clone(b[:end]), 0)\n}")
	}
	w.line("if err == nil && end > %s {\nerr = fault(tooLong, %q, \"*\")\n}", limit, name)
	w.line("if err != nil {\nreturn nil, err\n}\nreturn b[end:], nil\n}\n")

	w.line("// AppendMessage appends the record in single-object encoding: header and AppendAvro.")
	w.line("func (x *%s) AppendMessage(b []byte) []byte {\nreturn x.AppendAvro(appendHeader(b, %sFingerprint))\n}\n", name, name)

	w.comment("DecodeMessage reads a message that is one record in single-object encoding, of the present schema or of an older one in history. " +
		"Memory and errors are DecodeAvro's; bytes after the record are ErrInvalid.")
	w.line("func (x *%s) DecodeMessage(b []byte) error {", name)
	w.line("body, err := messageBody(b, %q, %sFingerprint, %s)\nif err != nil {\nreturn err\n}", name, name, limit)
	w.line("end, err := x.decode(%s, 0)\nreturn messageEnd(%q, end, len(body), err)\n}\n", fmt.Sprintf(owned, "body"), name)
}

// fingerprints writes FingerprintName.
func (w *source) fingerprints(versions []version) {
	w.comment("FingerprintName is the record whose schema, present or older, has the fingerprint; empty for an unknown one.")
	w.line("func FingerprintName(fingerprint uint64) string {\nswitch fingerprint {")
	for _, v := range versions {
		w.line("case 0x%s:\nreturn %q", v.fingerprint, v.record)
	}
	w.line("}\nreturn \"\"\n}\n")
}

// capped tells a type that Cap has something to do in.
func capped(s *avsc.Schema) bool {
	switch s.Kind {
	case avsc.String:
		return true
	case avsc.Record:
		return slices.ContainsFunc(s.Fields, func(f avsc.Field) bool { return capped(f.Type) })
	case avsc.Array:
		return capped(s.Items)
	case avsc.Union:
		return slices.ContainsFunc(s.Branches, capped)
	}
	return false
}

func (w *source) capper(s *avsc.Schema) {
	if !capped(s) {
		return
	}
	w.comment("Cap cuts every string to its cap at a rune's boundary, and makes it UTF-8, so that decoders take the record. It leaves bytes and counts as they are.")
	w.line("func (x *%s) Cap() {", s.ShortName())
	for _, f := range s.Fields {
		v := "x." + camel(f.Name)
		if !capped(f.Type) {
			continue
		}
		switch f.Type.Kind {
		case avsc.String:
			w.line("%s = capText(%s, %d)", v, v, f.MaxBytes)
		case avsc.Record:
			w.line("%s.Cap()", v)
		case avsc.Array:
			w.line("for i := range %s {\n%s[i].Cap()\n}", v, v)
		case avsc.Union:
			w.line("switch %s.Branch {", v)
			for _, b := range f.Type.Branches {
				if capped(b) {
					w.line("case %s%s:\n%s.%s.Cap()", unionName(s.ShortName(), f), branchName(b, f), v, branchName(b, f))
				}
			}
			w.line("}")
		}
	}
	w.line("}\n")
}

// omitted tells an enum whose first symbol says nothing and is left out of JSON.
func omitted(enum *avsc.Schema) bool {
	return enum.Symbols[0] == "unknown" || enum.Symbols[0] == "none"
}

// object writes AppendJSON.
func (w *source) object(s *avsc.Schema) {
	name := s.ShortName()
	w.comment("AppendJSON appends the record as a JSON object with the schema's names and order. What is not known is left out: empty strings, bytes and arrays, nulls, and enums that are 'unknown' or 'none'. Ids are hex, bytes base64.")
	w.line("func (x *%s) AppendJSON(b []byte) []byte {\nstart := len(b)", name)
	for _, f := range s.Fields {
		v, t := "x."+camel(f.Name), f.Type
		switch t.Kind {
		case avsc.Boolean, avsc.Long, avsc.Double, avsc.String:
			w.line("b = json%s(b, %q, %s)", codecName(t), f.Name, v)
		case avsc.Int:
			w.line("b = jsonLong(b, %q, int64(%s))", f.Name, v)
		case avsc.Bytes:
			w.line("b = jsonBase64(b, %q, %s)", f.Name, v)
		case avsc.Fixed:
			w.line("b = jsonHex(b, %q, %s[:])", f.Name, v)
		case avsc.Enum:
			if omitted(t) {
				w.line("if %s != 0 {\nb = jsonString(b, %q, %s.String())\n}", v, f.Name, v)
			} else {
				w.line("b = jsonString(b, %q, %s.String())", f.Name, v)
			}
		case avsc.Record:
			w.line("b = %s.AppendJSON(jsonKey(b, %q))", v, f.Name)
		case avsc.Array:
			w.line("for i := range %s {\nif i == 0 {\nb = append(jsonKey(b, %q), '[')\n} else {\nb = append(b, ',')\n}", v, f.Name)
			if t.Items.Kind == avsc.Record {
				w.line("b = %s[i].AppendJSON(b)", v)
			} else {
				w.line("b = appendJSONHex(b, %s[i][:])", v)
			}
			w.line("}\nif len(%s) > 0 {\nb = append(b, ']')\n}", v)
		case avsc.Union:
			if optional(t) != nil {
				w.line("b = json%s(b, %q, %s)", codecName(t), f.Name, v)
				continue
			}
			w.line("b = jsonKey(b, %q)\nswitch %s.Branch {", f.Name, v)
			for i, br := range slices.Backward(t.Branches) {
				if i > 0 {
					w.line("case %s%s:", unionName(name, f), branchName(br, f))
				} else {
					w.line("default:")
				}
				w.line("b = %s.%s.AppendJSON(b)", v, branchName(br, f))
			}
			w.line("}")
		}
	}
	w.line("return jsonClose(b, start)\n}\n")
}
