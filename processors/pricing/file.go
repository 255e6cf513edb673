package pricing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Join is Merge and Parse; each fault is told with the file's name and the
// row's number in it.
func Join(files ...File) ([]byte, *Table, error) {
	r := merge(files)
	t, err := r.table(0)
	if err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(r.document)
	return text, t, err
}

// table is the table of a document that was read.
func (r *reading) table(version int64) (*Table, error) {
	t := newTable(r.document, version, r.rows, r.contracted, &r.faults)
	for _, alias := range slices.Sorted(maps.Keys(t.aliases)) {
		if text := t.aliasFault(alias); text != "" {
			r.faults = append(r.faults, fmt.Errorf("%s: %s", r.aliases[alias], text))
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return t, nil
}

// File is a file of prices; its name goes before each of its faults.
type File struct {
	Name string // empty = none
	Text []byte
}

// reading is a document with the place of each row and alias, and its faults.
// A row that cannot be read is not in it.
type reading struct {
	document
	name             string
	text             []byte
	rows, contracted []string
	aliases          map[string]string
	faults           []error
	line, lineAt     int // newlines before an offset
}

func (r *reading) err() error {
	if r.faults == nil {
		return nil
	}
	return fmt.Errorf("cannot use the price table:\n%w", errors.Join(r.faults...))
}

// place is where an offset of the text is.
func (r *reading) place(at int) string {
	if at < r.lineAt {
		r.line, r.lineAt = 0, 0
	}
	r.line, r.lineAt = r.line+bytes.Count(r.text[r.lineAt:at], []byte("\n")), at
	if r.name == "" {
		return fmt.Sprintf("line %d", r.line+1)
	}
	return fmt.Sprintf("%s:%d", r.name, r.line+1)
}

func (r *reading) fault(at int, format string, values ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s: %s", r.place(at), fmt.Sprintf(format, values...)))
}

func read(f File) *reading {
	r := &reading{name: f.Name, text: bytes.TrimPrefix(f.Text, []byte("\ufeff")), aliases: map[string]string{}}
	if len(bytes.TrimSpace(r.text)) == 0 {
		name := f.Name
		if name == "" {
			name = "the file"
		}
		r.faults = append(r.faults, fmt.Errorf("%s is empty", name))
		return r
	}
	for at := 0; at < len(r.text); {
		c, size := utf8.DecodeRune(r.text[at:])
		if c == utf8.RuneError && size == 1 {
			r.fault(at, "a character is not UTF-8")
			return r
		}
		at += size
	}
	var whole json.RawMessage
	if err := json.Unmarshal(r.text, &whole); err != nil {
		at := len(r.text)
		if e := (*json.SyntaxError)(nil); errors.As(err, &e) {
			at = max(0, int(e.Offset)-1)
		}
		what := "is not JSON: " + err.Error()
		if strings.HasSuffix(err.Error(), "after top-level value") {
			what = "there is more behind the end of the table"
		}
		r.fault(at, "%s", what)
		return r
	}
	at := bytes.IndexByte(r.text, whole[0])
	if whole[0] != '{' {
		r.fault(at, "is %s, must be an object with unit and rows", shown(whole))
		return r
	}
	r.fields(whole, at, "", func(name string, value []byte, at int) {
		switch name {
		case "unit":
			r.decode(value, at, "", name, &r.Unit)
		case "aliases":
			r.object(value, at, "", name, func(alias string, value []byte, at int) {
				var target string
				if r.decode(value, at, "alias ", strconv.Quote(alias), &target) {
					if r.Aliases == nil {
						r.Aliases = map[string]string{}
					}
					r.Aliases[alias], r.aliases[alias] = target, fmt.Sprintf("%s: alias %q", r.place(at), alias)
				}
			})
		case "rows":
			r.rowsOf(value, at, "row", &r.Rows, &r.rows)
		case "contracted":
			r.rowsOf(value, at, "contracted row", &r.Contracted, &r.contracted)
		default:
			r.fault(at, "there is no field %q: the fields are unit, aliases, rows, contracted", name)
		}
	})
	if r.Unit != Unit {
		r.fault(at, "unit is %q, must be %q", r.Unit, Unit)
	}
	return r
}

// rowsOf reads a list of rows.
func (r *reading) rowsOf(list []byte, begin int, what string, rows *[]Row, places *[]string) {
	var values []json.RawMessage
	if !r.decode(list, begin, "", what+"s", &values) {
		return
	}
	d := json.NewDecoder(bytes.NewReader(list))
	_, _ = d.Token()
	for i := range values {
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return // it was decoded before
		}
		at := begin + int(d.InputOffset()) - len(value)
		row, label, before := Row{}, fmt.Sprintf("%s %d", what, i+1), len(r.faults)
		targets := row.fields()
		r.object(value, at, label+": ", "it", func(name string, value []byte, at int) {
			switch target, known := targets[name]; {
			case name == "percent_of_list":
				if row.PercentOfList = percent(value); row.PercentOfList == 0 {
					r.fault(at, "%s: %s is %s, must be more than 0, at most 100, with at most two decimals", label, name, shown(value))
				}
			case known:
				r.decode(value, at, label+": ", name, target)
			default:
				r.fault(at, "%s: there is no field %q", label, name)
			}
		})
		if len(r.faults) == before {
			*rows, *places = append(*rows, row), append(*places, r.place(at)+": "+label)
		}
	}
}

// fields are where the values of a row go.
func (r *Row) fields() map[string]any {
	return map[string]any{"models": &r.Models, "org": &r.Org, "platform": &r.Platform, "speed": &r.Speed, "prompt_over": &r.PromptOver,
		"input": &r.Input, "output": &r.Output, "cache_write_5m": &r.CacheWrite5m, "cache_write_1h": &r.CacheWrite1h, "cache_read": &r.CacheRead,
		"web_search": &r.WebSearch, "us_surcharge": &r.USSurcharge, "regional_surcharge": &r.RegionalSurcharge,
		"valid_from": &r.ValidFrom, "valid_to": &r.ValidTo, "known_from": &r.KnownFrom, "known_to": &r.KnownTo, "source": &r.Source}
}

// percent are hundredths of a percent, 0 if it is none.
func percent(value []byte) int64 {
	hundredths, err := strconv.ParseFloat(string(value), 64)
	if hundredths *= 100; err != nil || hundredths < 1 || hundredths > wholly || math.Abs(hundredths-math.Round(hundredths)) > 1e-6 {
		return 0
	}
	return int64(math.Round(hundredths))
}

// object reads the fields of an object, null counts as an empty one.
func (r *reading) object(value []byte, at int, before, name string, each func(name string, value []byte, at int)) {
	switch value[0] {
	case '{':
		r.fields(value, at, before, each)
	case 'n':
	default:
		r.fault(at, "%s%s is %s, must be an object", before, name, shown(value))
	}
}

// fields calls each with every field of an object: its name, its value and
// where that begins.
func (r *reading) fields(object []byte, begin int, before string, each func(name string, value []byte, at int)) {
	d := json.NewDecoder(bytes.NewReader(object))
	_, _ = d.Token()
	seen := map[string]bool{}
	for d.More() {
		token, _ := d.Token()
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return // it was decoded before
		}
		name, _ := token.(string)
		at := begin + int(d.InputOffset()) - len(value)
		if seen[name] {
			r.fault(at, "%s%q stands twice", before, name)
			continue
		}
		if seen[name] = true; strings.ContainsRune(name, utf8.RuneError) {
			r.fault(at, "%s%q has a broken character", before, name)
			continue
		}
		each(name, value, at)
	}
}

// decode reads a value; false and a fault if it is another kind of value.
func (r *reading) decode(value []byte, at int, before, name string, target any) bool {
	must := ""
	var texts []string
	err := json.Unmarshal(value, target)
	switch target := target.(type) {
	case *string:
		must, texts = "a text", []string{*target}
	case *[]string:
		must, texts = "a list of texts", *target
	case *[]json.RawMessage:
		must = "a list"
	case *int64:
		must = "a whole number"
	case *bool:
		must = "true or false"
	case *Date:
		must = "a day after 1970-01-01 such as 2026-11-23"
	}
	if err != nil {
		r.fault(at, "%s%s is %s, must be %s", before, name, shown(value), must)
		return false
	}
	if i := slices.IndexFunc(texts, func(s string) bool { return strings.ContainsRune(s, utf8.RuneError) }); i >= 0 {
		r.fault(at, "%s%s: %q has a broken character", before, name, texts[i])
		return false
	}
	return true
}

// shown is a value as a fault names it.
func shown(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '"':
		var text string
		_ = json.Unmarshal(value, &text)
		return fmt.Sprintf("%.60q", text)
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, fmt.Sprintf("%.60s", value))
}

// MarshalJSON writes a row as a file holds it.
func (r Row) MarshalJSON() ([]byte, error) {
	type plain Row
	out := struct {
		*plain
		PercentOfList json.Number `json:"percent_of_list,omitempty"`
	}{plain: (*plain)(&r)}
	if r.PercentOfList != 0 {
		out.PercentOfList = json.Number(strconv.FormatFloat(float64(r.PercentOfList)/100, 'f', -1, 64))
	}
	return json.Marshal(out)
}
