package openobserve_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// query is one SELECT of a panel's SQL, as far as the rules of dashboards go: it
// reads one stream, or one query within.
type query struct {
	items   []item
	stream  string // that it reads, or
	within  *query // the query that it reads
	where   []string
	group   []string
	having  []string
	rest    []string // ORDER BY, LIMIT
	outputs []string
}

// item is what is selected, with its name.
type item struct {
	tokens []string
	name   string
}

var tokenPattern = regexp.MustCompile(`'(?:[^']|'')*'|"[^"]*"|\$\{[^}]*\}|[A-Za-z_][A-Za-z0-9_]*|[0-9][0-9.e]*|<=|>=|<>|\|\||\S`)

// parse reads the SQL that panels are written in: nested SELECTs, no WITH, no
// JOIN, no UNION.
func parse(sql string) (*query, error) {
	p := &parser{tokens: tokenPattern.FindAllString(sql, -1)}
	q, err := p.query()
	if err == nil && p.at < len(p.tokens) {
		err = fmt.Errorf("%q is left over", strings.Join(p.tokens[p.at:], " "))
	}
	return q, err
}

type parser struct {
	tokens []string
	at     int
}

func (p *parser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return ""
}

func (p *parser) take(words ...string) error {
	for _, word := range words {
		if p.peek() != word {
			return fmt.Errorf("%q where %s should be", p.peek(), word)
		}
		p.at++
	}
	return nil
}

// until takes tokens up to one of the words outside of parentheses.
func (p *parser) until(words ...string) (taken []string) {
	for depth := 0; p.at < len(p.tokens); p.at++ {
		t := p.tokens[p.at]
		if depth == 0 && (slices.Contains(words, t) || t == ")") {
			break
		}
		switch t {
		case "(":
			depth++
		case ")":
			depth--
		}
		taken = append(taken, t)
	}
	return taken
}

func (p *parser) query() (*query, error) {
	if err := p.take("SELECT"); err != nil {
		return nil, err
	}
	q := &query{}
	for {
		tokens := p.until(",", "FROM")
		i := item{tokens: tokens}
		if n := len(tokens); n > 2 && tokens[n-2] == "AS" {
			i.tokens, i.name = tokens[:n-2], unquoted(tokens[n-1])
		} else if n == 1 {
			i.name = unquoted(tokens[0])
		} else {
			return nil, fmt.Errorf("%q has no name", strings.Join(tokens, " "))
		}
		q.items, q.outputs = append(q.items, i), append(q.outputs, i.name)
		if p.peek() != "," {
			break
		}
		p.at++
	}
	if err := p.take("FROM"); err != nil {
		return nil, err
	}
	if p.peek() == "(" {
		p.at++
		var err error
		if q.within, err = p.query(); err != nil {
			return nil, err
		}
		if err := p.take(")", "AS"); err != nil {
			return nil, err
		}
		p.at++
	} else {
		if q.stream = p.peek(); !strings.HasPrefix(q.stream, `"`) {
			return nil, fmt.Errorf("stream %s is not in quotes", q.stream)
		}
		q.stream = unquoted(q.stream)
		p.at++
	}
	clauses := []string{"WHERE", "GROUP", "HAVING", "ORDER", "LIMIT"}
	if p.peek() == "WHERE" {
		p.at++
		q.where = p.until(clauses...)
	}
	if p.peek() == "GROUP" {
		if err := p.take("GROUP", "BY"); err != nil {
			return nil, err
		}
		q.group = p.until(clauses...)
	}
	if p.peek() == "HAVING" {
		p.at++
		q.having = p.until(clauses...)
	}
	if p.peek() == "ORDER" {
		if err := p.take("ORDER", "BY"); err != nil {
			return nil, err
		}
		q.rest = p.until("LIMIT")
	}
	if p.peek() == "LIMIT" {
		p.at += 2
	}
	return q, nil
}

func unquoted(name string) string { return strings.Trim(name, `"`) }

// all are the query and those within, the outermost first.
func (q *query) all() (list []*query) {
	for ; q != nil; q = q.within {
		list = append(list, q)
	}
	return list
}

// keywords are the words that are no names, besides functions (which stand before
// a parenthesis). user is one of them: unquoted it is the account that asks.
var keywords = strings.Fields("AND OR NOT IN IS NULL CASE WHEN THEN ELSE END AS OVER PARTITION BY ORDER ASC DESC NULLS LAST true false user")

// names are the columns that tokens name, and whether a keyword that the server
// would take for something else stands among them.
func names(tokens []string) (columns []string, err error) {
	for i, t := range tokens {
		c := t[0]
		switch {
		case c == '"':
			columns = append(columns, unquoted(t))
		case t == "user":
			return nil, fmt.Errorf(`user must be in quotes: "user"`)
		case c != '_' && (c|0x20 < 'a' || c|0x20 > 'z'), slices.Contains(keywords, t), i+1 < len(tokens) && tokens[i+1] == "(":
		default:
			columns = append(columns, t)
		}
	}
	return columns, nil
}

// calls are the arguments of every call of a function among tokens.
func calls(tokens []string, function string) (arguments [][]string) {
	for i := range tokens {
		if tokens[i] != function || i+1 >= len(tokens) || tokens[i+1] != "(" {
			continue
		}
		depth := 1
		var taken []string
		for _, t := range tokens[i+2:] {
			switch t {
			case "(":
				depth++
			case ")":
				depth--
			}
			if depth == 0 {
				break
			}
			taken = append(taken, t)
		}
		arguments = append(arguments, taken)
	}
	return arguments
}

func text(tokens []string) string { return strings.Join(tokens, " ") }
