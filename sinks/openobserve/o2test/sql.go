package o2test

import (
	"strings"
)

// token is one token of an SQL text.
type token struct {
	kind     byte // w word, i quoted identifier, s string, 0 number, else the sign itself
	text     string
	from, to int
	depth    int // of parentheses
}

// word is the token in lower case if it is an unquoted word, else "".
func (t token) word() string {
	if t.kind == 'w' {
		return strings.ToLower(t.text)
	}
	return ""
}

// name is what the token names, if it can name something; unquoted names are
// taken in lower case, as the server does.
func (t token) name() string {
	switch t.kind {
	case 'w':
		return strings.ToLower(t.text)
	case 'i':
		return t.text
	}
	return ""
}

func isWordByte(c byte) bool {
	return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c >= 0x80
}

// tokens splits an SQL text. What is no SQL is left to the database to refuse.
func tokens(sql string) (all []token) {
	depth := 0
	for at := 0; at < len(sql); {
		c, to := sql[at], at+1
		t := token{kind: c, from: at, depth: depth}
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			at++
			continue
		case strings.HasPrefix(sql[at:], "--"):
			if to = strings.IndexByte(sql[at:], '\n'); to < 0 {
				return all
			}
			at += to
			continue
		case c == '\'' || c == '"':
			t.kind, t.text, to = 's', "", quotedEnd(sql, at)
			t.text = strings.ReplaceAll(strings.TrimSuffix(sql[at+1:to], string(c)), string(c)+string(c), string(c))
			if c == '"' {
				t.kind = 'i'
			}
		case isWordByte(c):
			for to < len(sql) && isWordByte(sql[to]) {
				to++
			}
			t.kind, t.text = 'w', sql[at:to]
			if c >= '0' && c <= '9' {
				t.kind = '0'
			}
		case c == '(':
			depth++
		case c == ')':
			depth--
			t.depth = depth
		}
		t.to, at = to, to
		all = append(all, t)
	}
	return all
}

// quotedEnd is the end of the text in quotes that begins at a place.
func quotedEnd(sql string, at int) int {
	quote := sql[at]
	for i := at + 1; i < len(sql); i++ {
		if sql[i] != quote {
			continue
		}
		if i+1 == len(sql) || sql[i+1] != quote {
			return i + 1
		}
		i++
	}
	return len(sql)
}

// statement is what has to be known of a query to run it.
type statement struct {
	sql     string
	streams []string        // that it names
	names   map[string]bool // all names in it, among them those of its columns
	star    bool            // it selects all columns
	order   [][]string      // column and direction

	histogram bool
	interval  string // of the histogram; "" = it names none
}

// clauses end the list of a FROM.
var clauses = map[string]bool{"where": true, "group": true, "having": true, "window": true, "order": true, "limit": true, "offset": true,
	"union": true, "intersect": true, "except": true, "on": true, "using": true, "join": true, "left": true, "right": true, "inner": true,
	"full": true, "cross": true, "natural": true}

var aggregates = map[string]bool{"count": true, "sum": true, "min": true, "max": true, "avg": true, "median": true, "approx_median": true,
	"approx_distinct": true, "approx_percentile_cont": true, "group_concat": true, "string_agg": true}

// parse reads a query. What the server adds to one that only picks rows of one
// stream is put into its text: the column _timestamp, and the order newest first
// unless it has one.
func parse(sql string) (*statement, error) {
	all := tokens(sql)
	for len(all) > 0 && all[len(all)-1].kind == ';' {
		all = all[:len(all)-1]
	}
	if len(all) == 0 || all[0].word() != "select" && all[0].word() != "with" {
		return nil, &searchError{codeSQL, "Search SQL not valid: it is no query"}
	}
	s := &statement{names: map[string]bool{}}
	ctes := s.read(all)
	for _, name := range s.streamsIn(all) {
		if !ctes[name] {
			s.streams = append(s.streams, name)
		}
	}
	p := picks(all)
	s.order = orderOf(all)
	s.sql = sql[:all[len(all)-1].to]
	if p.plain {
		end := len(s.sql)
		if p.limit > 0 {
			end = all[p.limit].from
		}
		tail := s.sql[end:]
		s.sql = s.sql[:all[p.from].from] + ", " + timeColumn + " " + s.sql[all[p.from].from:end]
		if s.order == nil {
			s.order = [][]string{{timeColumn, "desc"}}
			s.sql += " ORDER BY " + timeColumn + " DESC "
		}
		s.sql += tail
	}
	return s, nil
}

// read notes names and gives those of the common table expressions.
func (s *statement) read(all []token) (ctes map[string]bool) {
	ctes = map[string]bool{}
	at := func(i int) token {
		if i < 0 || i >= len(all) {
			return token{}
		}
		return all[i]
	}
	for i, t := range all {
		if name := t.name(); name != "" {
			s.names[name] = true
		}
		switch {
		case t.kind == '*':
			before := at(i - 1)
			s.star = s.star || before.kind == ',' || before.kind == '.' || before.word() == "select" || before.word() == "distinct"
		case t.word() == "histogram" && at(i+1).kind == '(':
			s.histogram = true
			for j := i + 2; j < len(all) && all[j].depth > t.depth; j++ {
				if all[j].kind == 's' {
					s.interval = all[j].text
				}
			}
		case t.word() == "as" && at(i+1).kind == '(':
			j := i - 1
			if at(j).kind == ')' { // names of columns
				for j--; j >= 0 && (all[j].kind != '(' || all[j].depth != t.depth); j-- {
				}
				j--
			}
			ctes[at(j).name()] = true
		}
	}
	return ctes
}

// streamsIn are the tables that the FROM and JOIN clauses name.
func (s *statement) streamsIn(all []token) (streams []string) {
	listed := map[int]bool{} // depths where a comma is followed by a table
	for i, t := range all {
		word := t.word()
		switch {
		case word == "from" || word == "join":
			listed[t.depth] = true
		case clauses[word]:
			delete(listed, t.depth)
			continue
		case t.kind == ')':
			delete(listed, t.depth+1)
			continue
		case t.kind == ',' && listed[t.depth]:
		default:
			continue
		}
		if i+1 < len(all) {
			if name := all[i+1].name(); name != "" {
				streams = append(streams, name)
			}
		}
	}
	return streams
}

// pick tells whether a query only picks rows of one stream, and where its
// clauses are.
type pick struct {
	plain       bool
	from, limit int // tokens; 0 = there is none
}

func picks(all []token) (p pick) {
	p.plain = all[0].word() == "select"
	for i, t := range all {
		if t.depth > 0 {
			continue
		}
		next := token{}
		if i+1 < len(all) {
			next = all[i+1]
		}
		switch word := t.word(); {
		case word == "from" && p.from == 0:
			p.from = i
			p.plain = p.plain && next.name() != ""
		case word == "limit" || word == "offset":
			if p.limit == 0 {
				p.limit = i
			}
		case word == "group" || word == "distinct" || word == "union" || word == "intersect" || word == "except" || word == "join",
			t.kind == ',' && p.from > 0 && !inOrder(all[:i]),
			aggregates[word] && next.kind == '(':
			p.plain = false
		}
	}
	p.plain = p.plain && p.from > 0
	return p
}

// inOrder tells whether an ORDER BY has begun.
func inOrder(before []token) bool {
	for _, t := range before {
		if t.depth == 0 && t.word() == "order" {
			return true
		}
	}
	return false
}

// orderOf is the ORDER BY of the outermost query.
func orderOf(all []token) (order [][]string) {
	begin := -1
	for i, t := range all {
		if t.depth == 0 && t.word() == "order" && i+1 < len(all) && all[i+1].word() == "by" {
			begin = i + 2
		}
	}
	if begin < 0 {
		return nil
	}
	item := []string{"", "asc"}
	for _, t := range all[begin:] {
		word := t.word()
		if t.depth == 0 && (word == "limit" || word == "offset") {
			break
		}
		switch {
		case t.depth == 0 && t.kind == ',':
			order = append(order, item)
			item = []string{"", "asc"}
		case word == "asc" || word == "desc":
			item[1] = word
		case word == "nulls" || word == "first" || word == "last":
		case t.kind == 's':
			item[0] += "'" + t.text + "'"
		case t.text != "":
			item[0] += t.text
		default:
			item[0] += string(t.kind)
		}
	}
	return append(order, item)
}
