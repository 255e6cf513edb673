package o2test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// flattenLevel is how deep nested objects become columns; what lies deeper
// becomes text (contract §1.5).
const flattenLevel = 3

// isNormal tells whether a name is a column name as it is.
func isNormal(key []byte) bool {
	for _, c := range key {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// normalName is the column name for a key: lower case; all that is no lower-case
// letter, number or _ becomes _ (contract §1.5).
func normalName(key string) string {
	if isNormal([]byte(key)) {
		return key
	}
	out := make([]byte, 0, len(key))
	for _, c := range key {
		for _, c := range string(unicode.ToLower(c)) {
			if c != '_' && !unicode.IsLower(c) && !unicode.IsNumber(c) {
				c = '_'
			}
			out = utf8.AppendRune(out, c)
		}
	}
	return string(out)
}

// normalise appends the form in which a record is stored to dst: flat, with
// normal names, and its time in µs, which it also gives.
func (r *rules) normalise(raw, dst []byte) ([]byte, int64, error) {
	var record map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&record); err != nil {
		return dst, 0, err
	}
	flat := map[string]any{}
	flatten(flat, "", record, 1, nested(record))
	value, ok := flat[timeColumn]
	at, err := r.micros(value, !ok)
	if err != nil {
		return dst, 0, err
	}
	flat[timeColumn] = json.Number(strconv.FormatInt(at, 10))
	dst, err = appendJSON(dst, flat)
	return dst, at, err
}

// nested tells whether any value of a record is an object or an array.
func nested(record map[string]any) bool {
	for _, v := range record {
		switch v.(type) {
		case map[string]any, []any:
			return true
		}
	}
	return false
}

// flatten puts the members of an object into flat. They are taken by name, so
// that the last of those with the same normal name stays (contract §12 row 25).
func flatten(flat map[string]any, prefix string, object map[string]any, level int, dropNull bool) {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		name := prefix + normalName(key)
		switch v := object[key].(type) {
		case nil:
			if !dropNull {
				flat[name] = nil
			}
		case map[string]any:
			switch {
			case len(v) == 0:
			case level < flattenLevel:
				flatten(flat, name+"_", v, level+1, dropNull)
			default:
				flat[name] = jsonText(v)
			}
		case []any:
			if len(v) > 0 {
				flat[name] = jsonText(v)
			}
		default:
			flat[name] = v
		}
	}
}

// jsonText is a value as JSON, with sorted keys.
func jsonText(v any) string {
	text, err := appendJSON(nil, v)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return string(text)
}

func appendJSON(dst []byte, v any) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return dst, err
	}
	return bytes.TrimSuffix(out.Bytes(), newline), nil
}
