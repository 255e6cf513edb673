package o2test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tidwall/gjson"
	"modernc.org/sqlite"
)

// database runs the queries that the indexes do not serve. A table is filled
// from the rows of a stream when a query names it, with the columns that the
// queries so far named; the query then sees a view of the table, of the rows in
// its time.
type database struct {
	mu       sync.Mutex // one query at a time
	conn     *sql.Conn
	close    func() error
	tables   map[*stream]*table
	made     int   // tables
	interval int64 // of a histogram without one, of the query at hand
}

// table is what was loaded of a stream.
type table struct {
	name    string
	columns []column
	rows    int
	cuts    int // of the stream, when it was loaded
}

// connector opens the driver of one database: each has functions of its own.
type connector struct{ driver *sqlite.Driver }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	return c.driver.Open(":memory:?_dqs=0&_pragma=case_sensitive_like(1)&_pragma=synchronous(0)&_pragma=journal_mode(off)")
}

func (c connector) Driver() driver.Driver { return c.driver }

func openDatabase() (*database, error) {
	d := &database{tables: map[*stream]*table{}}
	c := connector{&sqlite.Driver{}}
	if err := d.register(c.driver); err != nil {
		return nil, err
	}
	all := sql.OpenDB(c)
	conn, err := all.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	d.conn, d.close = conn, all.Close
	return d, nil
}

// run answers a query over streams.
func (d *database) run(ctx context.Context, c *query, s *statement, streams []*stream) (*result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &result{order: s.order}
	d.interval = autoInterval(c.end - c.start)
	if s.histogram {
		r.interval = d.interval
		if s.interval != "" {
			var err error
			if r.interval, err = parseInterval(s.interval); err != nil {
				return nil, &searchError{codeExecution, "Search SQL execute error: " + err.Error()}
			}
		}
	}
	for _, st := range streams {
		n, err := d.show(ctx, c, s, st)
		if err != nil {
			return nil, err
		}
		r.scanned += n
	}
	var err error
	r.hits, err = d.hits(ctx, c, s.sql)
	if err != nil {
		return nil, asSearchError(err, s, streams)
	}
	return r, nil
}

// show makes the view of a stream for a query, and tells how many rows it has.
func (d *database) show(ctx context.Context, c *query, s *statement, st *stream) (int, error) {
	h := st.snapshot()
	t, err := d.load(ctx, st, &h, s)
	if err != nil {
		return 0, err
	}
	var names []string
	for _, column := range t.columns {
		names = append(names, quote(column.name))
	}
	_, err = d.conn.ExecContext(ctx, fmt.Sprintf(`DROP VIEW IF EXISTS temp.%[1]s;
		CREATE TEMP VIEW %[1]s AS SELECT %[2]s FROM main.%[3]s WHERE %[4]s <= %[5]d AND %[6]s >= %[7]d AND %[6]s < %[8]d`,
		quote(st.key.name), strings.Join(names, ", "), t.name, rowNumber, h.visible(c), timeColumn, c.start, c.end))
	return h.scanned(c), err
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// load brings the table of a stream up to date, so that it has what a query names.
func (d *database) load(ctx context.Context, st *stream, h *held, s *statement) (*table, error) {
	t := d.tables[st]
	if t == nil {
		d.made++
		t = &table{name: "t" + strconv.Itoa(d.made), cuts: -1}
		d.tables[st] = t
	}
	var columns []column
	for _, c := range h.schema.columns {
		if s.star || s.names[c.name] || c.name == timeColumn || t.has(c.name) {
			columns = append(columns, c)
		}
	}
	if t.cuts != h.cuts || !slices.Equal(columns, t.columns) {
		if err := d.remake(ctx, t, columns); err != nil {
			return nil, err
		}
		t.cuts = h.cuts
	}
	return t, d.fill(ctx, t, h)
}

// forget drops what was loaded of a stream.
func (d *database) forget(st *stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tables[st]; t != nil {
		_, _ = d.conn.ExecContext(context.Background(), "DROP TABLE main."+t.name) // it only takes memory
		delete(d.tables, st)
	}
}

func (t *table) has(name string) bool {
	return slices.ContainsFunc(t.columns, func(c column) bool { return c.name == name })
}

// affinities are the types of the database. Only BOOLEAN matters for reading.
var affinities = map[columnType]string{utf8Type: "TEXT", int64Type: "INTEGER", uint64Type: "INTEGER", float64Type: "REAL", boolType: "BOOLEAN"}

// rowNumber is a column of all tables; no column of a stream has that name.
const rowNumber = `"#"`

func (d *database) remake(ctx context.Context, t *table, columns []column) error {
	defs := []string{rowNumber + " INTEGER PRIMARY KEY"}
	for _, c := range columns {
		defs = append(defs, quote(c.name)+" "+affinities[c.typ])
	}
	t.columns, t.rows = nil, 0
	_, err := d.conn.ExecContext(ctx, fmt.Sprintf("DROP TABLE IF EXISTS main.%[1]s; CREATE TABLE main.%[1]s (%[2]s)", t.name, strings.Join(defs, ", ")))
	if err == nil {
		t.columns = columns
	}
	return err
}

// fill loads the rows that came since the table was last filled.
func (d *database) fill(ctx context.Context, t *table, h *held) error {
	if t.rows == h.rows {
		return nil
	}
	tx, err := d.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // unless it was committed
	insert, err := tx.PrepareContext(ctx, fmt.Sprintf("INSERT INTO main.%s VALUES (NULL%s)", t.name, strings.Repeat(", ?", len(t.columns))))
	if err != nil {
		return err
	}
	defer insert.Close()
	places := map[string]int{}
	for i, c := range t.columns {
		places[c.name] = i
	}
	args := make([]any, len(t.columns))
	for _, b := range h.blocks[h.block(t.rows):] { // t.rows is where a block begins
		for line := range bytes.Lines(b.lines()) {
			if err := t.args(args, line, places); err != nil {
				return err
			}
			if _, err := insert.ExecContext(ctx, args...); err != nil {
				return err
			}
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	t.rows = h.rows
	return nil
}

// args are the values of a stored row for the columns of the table.
func (t *table) args(args []any, line []byte, places map[string]int) error {
	clear(args)
	s := &scanner{data: line}
	s.pos++
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		_, value, err := s.value(1)
		if err != nil {
			return err
		}
		if i, ok := places[string(key)]; ok {
			args[i] = asType(gjson.ParseBytes(value), t.columns[i].typ)
		}
	}
}

// asType is a value as its column stores it (contract §1.6).
func asType(v gjson.Result, t columnType) any {
	switch t {
	case utf8Type:
		switch v.Type {
		case gjson.Null:
			return nil
		case gjson.Number:
			return v.Raw
		}
		return v.String()
	case boolType:
		if v.Type == gjson.Number {
			return v.Num > 0
		}
	}
	switch v.Type {
	case gjson.True, gjson.False:
		if t == boolType {
			return v.Bool()
		}
		return map[bool]int64{true: 1}[v.Bool()]
	case gjson.Number:
		return asNumber(v, t)
	}
	return nil
}

func asNumber(v gjson.Result, t columnType) any {
	if t == float64Type {
		return v.Num
	}
	n, err := strconv.ParseInt(v.Raw, 10, 64)
	switch {
	case err == nil && n < 0 && t == uint64Type:
		return float64(uint64(n)) // wrapped; the database has no such integers
	case err == nil:
		return n
	case math.Abs(v.Num) < math.MaxInt64:
		return int64(v.Num) // a float in a column of integers is cut off
	}
	return v.Num
}

// hits reads what a query finds: objects with their keys in order and without nulls.
func (d *database) hits(ctx context.Context, c *query, text string) (hits []json.RawMessage, err error) {
	rows, err := d.conn.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	values, into := make([]any, len(types)), make([]any, len(types))
	for i := range values {
		into[i] = &values[i]
	}
	for n := 0; rows.Next() && len(hits) < c.limit(); n++ {
		if n < c.from {
			continue
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		hit := map[string]string{}
		for i, v := range values {
			if text, ok := render(v, types[i].DatabaseTypeName()); ok {
				hit[types[i].Name()] = text
			}
		}
		hits = append(hits, object(hit))
	}
	return hits, rows.Err()
}

// render is a value in JSON; ok is false for null.
func render(v any, declared string) (text string, ok bool) {
	switch v := v.(type) {
	case nil:
		return "", false
	case int64:
		if declared == "BOOLEAN" {
			return strconv.FormatBool(v != 0), true
		}
		return strconv.FormatInt(v, 10), true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return float(v), true
	case []byte:
		return jsonText(string(v)), true
	}
	return jsonText(v), true
}

// float writes a number as the server does: with a fraction, always.
func float(v float64) string {
	text := strings.ReplaceAll(strconv.FormatFloat(v, 'g', -1, 64), "e+", "e")
	if abs := math.Abs(v); abs < 1e16 && (abs >= 1e-5 || abs == 0) {
		text = strconv.FormatFloat(v, 'f', -1, 64)
	}
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

func object(members map[string]string) json.RawMessage {
	out := []byte{'{'}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, jsonText(key)...), ':'), members[key]...)
	}
	return append(out, '}')
}

var missing = regexp.MustCompile(`no such (column|function|table): ([^\s)]+)`)

// asSearchError tells apart why the database refuses a query (contract §5.1).
func asSearchError(err error, s *statement, streams []*stream) error {
	text := strings.TrimPrefix(err.Error(), "SQL logic error: ")
	m := missing.FindStringSubmatch(text)
	switch {
	case m != nil && m[1] == "column":
		var valid []string
		for _, st := range streams {
			for _, c := range st.snapshot().schema.columns {
				if s.names[c.name] {
					valid = append(valid, st.key.name+"."+c.name)
				}
			}
		}
		return &searchError{codeField, fmt.Sprintf("Search field not found: Schema error: No field named %s. Valid fields are %s.", m[2], strings.Join(valid, ", "))}
	case m != nil && m[1] == "function":
		return &searchError{codeFunction, "Search function not defined: " + m[2]}
	case m != nil:
		return &searchError{codeStream, "Search stream not found: " + m[2]}
	case strings.Contains(text, "syntax error") || strings.Contains(text, "incomplete input") || strings.Contains(text, "unrecognized token"):
		return &searchError{codeSQL, "Search SQL not valid: " + text}
	}
	return &searchError{codeExecution, "Search SQL execute error: " + text}
}
