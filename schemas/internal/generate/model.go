package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// aliasing records lend their byte slices from the input: a frame's events are
// decoded, and copied, one by one later.
var aliasing = []string{"Frame", "Segment"}

// isRoot tells a record that travels on its own.
func isRoot(s *avsc.Schema) bool { return s.ShortName() != "RowHeader" }

// named lists every named type that the roots use, each once, in the order of
// first use.
func named(roots []*avsc.Schema) (all []*avsc.Schema) {
	var visit func(s *avsc.Schema)
	visit = func(s *avsc.Schema) {
		if s.Name != "" {
			if slices.Contains(all, s) {
				return
			}
			all = append(all, s)
		}
		for _, f := range s.Fields {
			visit(f.Type)
		}
		for _, b := range s.Branches {
			visit(b)
		}
		if s.Items != nil {
			visit(s.Items)
		}
	}
	for _, s := range roots {
		visit(s)
	}
	return all
}

// jsonNeeded lists the records with an AppendJSON, the event and the rows, and
// those inside them.
func jsonNeeded(roots []*avsc.Schema) (all []*avsc.Schema) {
	for _, s := range roots {
		if s.Framed || s.ShortName() == "Event" {
			all = append(all, s)
		}
	}
	return named(all)
}

// camel is the Go name of an Avro name: each part capitalised, no initialisms.
func camel(name string) string {
	var w strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		if part != "" {
			w.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return w.String()
}

// optional is the x of a ["null", x] union, or nil.
func optional(s *avsc.Schema) *avsc.Schema {
	if s.Kind == avsc.Union && len(s.Branches) == 2 && s.Branches[0].Kind == avsc.Null {
		return s.Branches[1]
	}
	return nil
}

// unionName is the Go type of a field's union of records.
func unionName(record string, f avsc.Field) string { return record + camel(f.Name) }

// branchName is a branch's name within its union: SessionBody in a field
// "body" is Session.
func branchName(branch *avsc.Schema, f avsc.Field) string {
	return strings.TrimSuffix(branch.ShortName(), camel(f.Name))
}

// goType is the Go type of a field of a record.
func goType(record string, f avsc.Field, s *avsc.Schema) string {
	switch s.Kind {
	case avsc.Boolean:
		return "bool"
	case avsc.Int:
		return "int32"
	case avsc.Long:
		return "int64"
	case avsc.Double:
		return "float64"
	case avsc.Bytes:
		return "[]byte"
	case avsc.String:
		return "string"
	case avsc.Array:
		return "[]" + goType(record, f, s.Items)
	case avsc.Union:
		if x := optional(s); x != nil {
			return map[string]string{avsc.Long: "OptLong", avsc.Double: "OptDouble", avsc.Boolean: "OptBool"}[x.Kind]
		}
		return unionName(record, f)
	}
	return s.ShortName()
}

// minSize is the least number of bytes that a value's encoding takes.
func minSize(s *avsc.Schema) int {
	switch s.Kind {
	case avsc.Null:
		return 0
	case avsc.Double:
		return 8
	case avsc.Fixed:
		return s.Size
	case avsc.Record:
		n := 0
		for _, f := range s.Fields {
			n += minSize(f.Type)
		}
		return n
	case avsc.Union:
		n := minSize(s.Branches[0])
		for _, b := range s.Branches[1:] {
			n = min(n, minSize(b))
		}
		return 1 + n
	}
	return 1
}

// verify refuses what the codecs cannot bound or express.
func verify(roots []*avsc.Schema) error {
	for _, s := range named(roots) {
		if s.Kind == avsc.Enum && (s.Default == "" || len(s.Symbols) > 64 || !slices.Contains(s.Symbols, s.Default)) {
			return fmt.Errorf("%s: an enum needs a default and at most 64 symbols", s.Name)
		}
		for _, f := range s.Fields {
			if err := verifyField(f); err != nil {
				return fmt.Errorf("%s.%s: %w", s.Name, f.Name, err)
			}
		}
	}
	return nil
}

func verifyField(f avsc.Field) error {
	t := f.Type
	if text := string(f.Default); f.Default != nil && (t.Kind == avsc.Record || t.Kind == avsc.Array && text != "[]") {
		return fmt.Errorf("a default %s, which resolution does not write", text)
	}
	if f.Doc == "" {
		return fmt.Errorf("no doc")
	}
	if t.Kind == avsc.Array {
		t = t.Items
		if f.MaxItems <= 0 {
			return fmt.Errorf("an array without maxItems")
		}
		if minSize(t) == 0 || t.Kind != avsc.Record && t.Kind != avsc.Fixed && t.Kind != avsc.Bytes {
			return fmt.Errorf("an array of %s", t.Kind)
		}
	}
	switch t.Kind {
	case avsc.String, avsc.Bytes:
		if f.MaxBytes <= 0 {
			return fmt.Errorf("a %s without maxBytes", t.Kind)
		}
	case avsc.Union:
		if x := optional(t); x != nil {
			if x.Kind == avsc.Long || x.Kind == avsc.Double || x.Kind == avsc.Boolean {
				return nil
			}
			return fmt.Errorf("an optional %s", x.Kind)
		}
		for _, b := range t.Branches {
			if b.Kind != avsc.Record {
				return fmt.Errorf("a union with a %s", b.Kind)
			}
		}
	}
	return nil
}
