// Package avsc reads Avro schemas in JSON: as much of the language as
// Flightlog's contract uses. The code generator and the resolution of older
// writers' messages stand on the same reading.
package avsc

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Kinds of schemas. Maps, floats and aliases are no part of the contract and
// are refused.
const (
	Null    = "null"
	Boolean = "boolean"
	Int     = "int"
	Long    = "long"
	Double  = "double"
	Bytes   = "bytes"
	String  = "string"
	Record  = "record"
	Enum    = "enum"
	Fixed   = "fixed"
	Array   = "array"
	Union   = "union"
)

// Schema is one type. Named types (record, enum, fixed) are shared by pointer,
// so that two uses of a name are the same Schema.
type Schema struct {
	Kind     string
	Name     string // record, enum, fixed: full name
	Doc      string
	Logical  string    // logicalType, if any
	Fields   []Field   // record
	Symbols  []string  // enum
	Default  string    // enum: symbol that stands for unknown ones; empty = none
	Size     int       // fixed
	Items    *Schema   // array
	Branches []*Schema // union
	MaxBytes int       // record: cap of the whole encoding; 0 = none
	Framed   bool      // record: a row, packed into frames
}

// Field is one field of a record.
type Field struct {
	Name     string
	Doc      string
	Unit     string
	Group    string
	Type     *Schema
	Default  json.RawMessage // nil = none
	MaxBytes int             // of a string, of bytes, or of each item
	MaxItems int             // of an array
}

// ShortName is the name without its namespace.
func (s *Schema) ShortName() string { return s.Name[strings.LastIndexByte(s.Name, '.')+1:] }

// Names holds the named types read so far, by full name.
type Names map[string]*Schema

// Parse reads one schema. It may use the named types that names already holds,
// and adds its own.
func (names Names) Parse(text []byte) (*Schema, error) {
	s, err := names.parse(text, "")
	if err != nil {
		return nil, fmt.Errorf("cannot read schema: %w", err)
	}
	return s, nil
}

type node struct {
	Type        json.RawMessage   `json:"type"`
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Doc         string            `json:"doc"`
	LogicalType string            `json:"logicalType"`
	Fields      []json.RawMessage `json:"fields"`
	Symbols     []string          `json:"symbols"`
	Default     json.RawMessage   `json:"default"`
	Size        int               `json:"size"`
	Items       json.RawMessage   `json:"items"`
	MaxBytes    int               `json:"maxBytes"`
	MaxItems    int               `json:"maxItems"`
	Unit        string            `json:"unit"`
	Group       string            `json:"group"`
	Framed      bool              `json:"framed"`
}

func (names Names) parse(text json.RawMessage, space string) (*Schema, error) {
	if len(text) == 0 {
		return nil, fmt.Errorf("type missing")
	}
	switch text[0] {
	case '"':
		var name string
		if err := json.Unmarshal(text, &name); err != nil {
			return nil, err
		}
		switch name {
		case Null, Boolean, Int, Long, Double, Bytes, String:
			return &Schema{Kind: name}, nil
		}
		if s := names[fullName(name, space)]; s != nil {
			return s, nil
		}
		return nil, fmt.Errorf("type %q is unknown or unsupported", name)
	case '[':
		var branches []json.RawMessage
		if err := json.Unmarshal(text, &branches); err != nil {
			return nil, err
		}
		if len(branches) == 0 {
			return nil, fmt.Errorf("a union of nothing")
		}
		u := &Schema{Kind: Union}
		for _, b := range branches {
			s, err := names.parse(b, space)
			if err != nil {
				return nil, err
			}
			u.Branches = append(u.Branches, s)
		}
		return u, nil
	}
	var n node
	if err := json.Unmarshal(text, &n); err != nil {
		return nil, err
	}
	var kind string
	if json.Unmarshal(n.Type, &kind) != nil {
		return names.parse(n.Type, space)
	}
	switch kind {
	case Record, Enum, Fixed:
		return names.parseNamed(kind, n, space)
	case Array:
		items, err := names.parse(n.Items, space)
		if err != nil {
			return nil, err
		}
		return &Schema{Kind: Array, Items: items}, nil
	}
	s, err := names.parse(n.Type, space)
	if err != nil || n.LogicalType == "" {
		return s, err
	}
	return &Schema{Kind: s.Kind, Logical: n.LogicalType}, nil
}

func (names Names) parseNamed(kind string, n node, space string) (*Schema, error) {
	if n.Namespace != "" {
		space = n.Namespace
	}
	s := &Schema{Kind: kind, Name: fullName(n.Name, space), Doc: n.Doc, Logical: n.LogicalType,
		Size: n.Size, Symbols: n.Symbols, MaxBytes: n.MaxBytes, Framed: n.Framed}
	if n.Name == "" || names[s.Name] != nil {
		return nil, fmt.Errorf("name %q missing or given twice", s.Name)
	}
	names[s.Name] = s
	if kind == Enum && n.Default != nil {
		if err := json.Unmarshal(n.Default, &s.Default); err != nil {
			return nil, fmt.Errorf("%s: default: %w", s.Name, err)
		}
	}
	if kind == Fixed && n.Size <= 0 {
		return nil, fmt.Errorf("%s: size %d", s.Name, n.Size)
	}
	for _, text := range n.Fields {
		var f node
		if err := json.Unmarshal(text, &f); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		t, err := names.parse(f.Type, space)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", s.Name, f.Name, err)
		}
		s.Fields = append(s.Fields, Field{Name: f.Name, Doc: f.Doc, Unit: f.Unit, Group: f.Group, Type: t,
			Default: f.Default, MaxBytes: f.MaxBytes, MaxItems: f.MaxItems})
	}
	return s, nil
}

func fullName(name, space string) string {
	if strings.Contains(name, ".") || space == "" {
		return name
	}
	return space + "." + name
}
