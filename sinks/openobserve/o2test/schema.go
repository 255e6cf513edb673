package o2test

import (
	"maps"
	"slices"
)

// columnType is the type of a stored column, by the name that the server gives
// it (contract §1.6).
type columnType string

const (
	utf8Type    columnType = "Utf8"
	int64Type   columnType = "Int64"
	uint64Type  columnType = "UInt64"
	float64Type columnType = "Float64"
	boolType    columnType = "Boolean"
)

func (t columnType) known() bool {
	switch t {
	case utf8Type, int64Type, uint64Type, float64Type, boolType:
		return true
	}
	return false
}

// typeOf is the type of a new column by its first value; none for null.
func typeOf(k kind) columnType {
	switch k {
	case kindBool:
		return boolType
	case kindInt:
		return int64Type
	case kindUint:
		return uint64Type
	case kindFloat:
		return float64Type
	case kindString, kindBig:
		return utf8Type
	}
	return ""
}

// widen is the type that a column has after it got a value: types only ever
// widen (contract §1.6 and §12 rows 26 to 28).
func widen(t columnType, k kind, p Profile) columnType {
	switch {
	case t == utf8Type || k == kindNull:
		return t
	case k == kindString || k == kindBig:
		return utf8Type
	case t == "":
		return typeOf(k)
	case t == int64Type && k == kindFloat:
		return float64Type
	case t == int64Type && k == kindUint:
		return uint64Type
	case t == boolType && p == V093:
		if k != kindBool {
			return typeOf(k)
		}
	}
	return t
}

// merge widens one type by another, as widen does for one value.
func merge(t, other columnType, p Profile) columnType {
	switch other {
	case utf8Type:
		return utf8Type
	case int64Type:
		return widen(t, kindInt, p)
	case uint64Type:
		return widen(t, kindUint, p)
	case float64Type:
		return widen(t, kindFloat, p)
	case boolType:
		return widen(t, kindBool, p)
	}
	return t
}

type column struct {
	name string
	typ  columnType
}

// schema is the columns of a stream. It is never changed, only replaced.
type schema struct {
	columns []column
	byName  map[string]int
}

var noColumns = newSchema(nil)

func newSchema(columns []column) *schema {
	s := &schema{columns, make(map[string]int, len(columns))}
	for i, c := range columns {
		s.byName[c.name] = i
	}
	return s
}

// with is the schema with columns added or widened; the same one if nothing
// changes. New columns stand behind the old ones, by name.
func (s *schema) with(changes map[string]columnType, p Profile) *schema {
	var columns []column
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		i, ok := s.byName[name]
		if ok && merge(s.columns[i].typ, changes[name], p) == s.columns[i].typ {
			continue
		}
		if columns == nil {
			columns = slices.Clone(s.columns)
		}
		if ok {
			columns[i].typ = merge(columns[i].typ, changes[name], p)
		} else {
			columns = append(columns, column{name, changes[name]})
		}
	}
	if columns == nil {
		return s
	}
	return newSchema(columns)
}
