package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// dictionary is docs/schemas.md: every record, field and symbol of the contract.
func dictionary(roots []*avsc.Schema) []byte {
	w := &source{}
	w.line("# Data dictionary\n")
	w.line("Generated from `schemas/*.avsc` by `go generate ./schemas`; do not edit.\n")
	w.line("An empty string and null mean \"not known\". A cap is the greatest length in bytes of a string or of bytes, or of each item, or")
	w.line("the greatest number of items. Records in messages of their own are in Avro's single-object encoding: C3 01, the fingerprint")
	w.line("below in little-endian order, the record. `schemas/history` holds the self-contained schema of every version.\n")
	all := named(roots)
	w.line("| record | fingerprint | what it is |\n| --- | --- | --- |")
	for _, s := range roots {
		if isRoot(s) {
			w.line("| [%s](#%s) | `%016x` | %s |", s.ShortName(), strings.ToLower(s.ShortName()), s.Fingerprint(), firstSentence(s.Doc))
		}
	}
	for _, s := range all {
		if s.Kind == avsc.Record {
			w.recordTable(s)
		}
	}
	w.line("\n## Enums and ids\n\nA symbol that a reader does not know reads as the default.\n")
	w.line("| type | values | default | what it is |\n| --- | --- | --- | --- |")
	for _, s := range all {
		switch s.Kind {
		case avsc.Enum:
			w.line("| %s | `%s` | `%s` | %s |", s.ShortName(), strings.Join(s.Symbols, "`, `"), s.Default, cell(s.Doc))
		case avsc.Fixed:
			w.line("| %s | %d bytes | | %s |", s.ShortName(), s.Size, cell(s.Doc))
		}
	}
	return w.Bytes()
}

func (w *source) recordTable(s *avsc.Schema) {
	w.line("\n## %s\n\n%s\n", s.ShortName(), s.Doc)
	if s.MaxBytes > 0 {
		w.line("At most %d bytes.\n", s.MaxBytes)
	}
	grouped := slices.ContainsFunc(s.Fields, func(f avsc.Field) bool { return f.Group != "" })
	group, rule := "", ""
	if grouped {
		group, rule = " group |", " --- |"
	}
	w.line("| field | type | unit | cap |%s what it is |\n| --- | --- | --- | --- |%s --- |", group, rule)
	for _, f := range s.Fields {
		if grouped {
			group = " " + f.Group + " |"
		}
		w.line("| `%s` | %s | %s | %s |%s %s |", f.Name, typeText(f.Type), f.Unit, capText(f), group, cell(f.Doc))
	}
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func firstSentence(doc string) string {
	sentence, _, _ := strings.Cut(doc, ". ")
	return cell(strings.TrimSuffix(sentence, ".") + ".")
}

func capText(f avsc.Field) string {
	var parts []string
	if f.MaxItems > 0 {
		parts = append(parts, strconv.Itoa(f.MaxItems)+" items")
	}
	if f.MaxBytes > 0 {
		parts = append(parts, strconv.Itoa(f.MaxBytes)+" B")
	}
	return strings.Join(parts, ", ")
}

func typeText(s *avsc.Schema) string {
	switch s.Kind {
	case avsc.Array:
		return "array of " + typeText(s.Items)
	case avsc.Union:
		if x := optional(s); x != nil {
			return typeText(x) + " or null"
		}
		var names []string
		for _, b := range s.Branches {
			names = append(names, typeText(b))
		}
		return "one of " + strings.Join(names, ", ")
	case avsc.Record:
		return fmt.Sprintf("[%s](#%s)", s.ShortName(), strings.ToLower(s.ShortName()))
	case avsc.Enum, avsc.Fixed:
		return fmt.Sprintf("[%s](#enums-and-ids)", s.ShortName())
	}
	if s.Logical != "" {
		return s.Logical
	}
	return s.Kind
}

// eventSchema is the JSON Schema of what Event.AppendJSON writes.
func eventSchema(roots []*avsc.Schema) ([]byte, error) {
	event := roots[slices.IndexFunc(roots, func(s *avsc.Schema) bool { return s.ShortName() == "Event" })]
	object := jsonObject(event)
	object["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	object["$comment"] = fmt.Sprintf("Generated from event.avsc (fingerprint %016x) by go generate ./schemas; do not edit.", event.Fingerprint())
	object["title"] = event.ShortName()
	defs := map[string]any{}
	for _, f := range event.Fields {
		if f.Type.Kind == avsc.Union && optional(f.Type) == nil {
			for _, b := range f.Type.Branches {
				defs[b.ShortName()] = jsonObject(b)
			}
		}
	}
	object["$defs"] = defs
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(object)
	return out.Bytes(), err
}

func jsonObject(s *avsc.Schema) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range s.Fields {
		p, always := jsonType(f)
		p["description"] = f.Doc
		if f.Unit != "" {
			p["description"] = f.Doc + " [" + f.Unit + "]"
		}
		properties[f.Name] = p
		if always {
			required = append(required, f.Name)
		}
	}
	return map[string]any{"type": "object", "description": s.Doc, "properties": properties, "required": required, "additionalProperties": false}
}

// jsonType is a field's JSON Schema, and whether AppendJSON always writes it.
func jsonType(f avsc.Field) (p map[string]any, always bool) {
	t := f.Type
	if x := optional(t); x != nil {
		p, _ = jsonType(avsc.Field{Type: x})
		return p, false
	}
	switch t.Kind {
	case avsc.Boolean:
		return map[string]any{"type": "boolean"}, true
	case avsc.Int, avsc.Long:
		return map[string]any{"type": "integer"}, true
	case avsc.Double:
		return map[string]any{"type": "number"}, true
	case avsc.String:
		return map[string]any{"type": "string", "minLength": 1, "maxLength": f.MaxBytes}, false
	case avsc.Fixed:
		return map[string]any{"type": "string", "pattern": fmt.Sprintf("^[0-9a-f]{%d}$", 2*t.Size)}, true
	case avsc.Enum:
		if omitted(t) {
			return map[string]any{"enum": t.Symbols[1:]}, false
		}
		return map[string]any{"enum": t.Symbols}, true
	}
	var branches []any
	for _, b := range t.Branches {
		branches = append(branches, map[string]any{"$ref": "#/$defs/" + b.ShortName()})
	}
	return map[string]any{"anyOf": branches}, true
}
