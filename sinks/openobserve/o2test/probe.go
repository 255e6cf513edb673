package o2test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// The queries that are served from the indexes: what a sink asks to find out
// which rows of a batch are there.
var (
	countOfBatch = regexp.MustCompile(`^(?i:SELECT\s+COUNT\(\s*\*\s*\)\s+AS\s+)(\w+)(?i:\s*,\s*COUNT\(\s*DISTINCT\s+row_id\s*\)\s+AS\s+)(\w+)(?i:\s+FROM\s+)"([^"]+)"(?i:\s+WHERE\s+batch_id\s*=\s*)('.*')$`)
	rowsOfBatch  = regexp.MustCompile(`^(?i:SELECT\s+(DISTINCT\s+)?row_id\s+FROM\s+)"([^"]+)"(?i:\s+WHERE\s+batch_id\s*=\s*)('.*')$`)
	rowsByID     = regexp.MustCompile(`^(?i:SELECT\s+(DISTINCT\s+)?row_id\s+FROM\s+)"([^"]+)"(?i:\s+WHERE\s+row_id\s+IN\s*)\(`)
)

// probe answers a query from the indexes; ok is false when they do not serve it.
func (s *Server) probe(c *query) (found *result, ok bool) {
	sql := strings.TrimSpace(c.sql)
	if m := countOfBatch.FindStringSubmatch(sql); m != nil {
		if st, id, ok := s.probed(c, m[3], m[4]); ok {
			defer st.mu.Unlock()
			return st.countBatch(c, id, m[1], m[2]), true
		}
	} else if m := rowsOfBatch.FindStringSubmatch(sql); m != nil {
		if st, id, ok := s.probed(c, m[2], m[3]); ok {
			defer st.mu.Unlock()
			return st.result(c, st.inBatch(c, id), m[1] != ""), true
		}
	} else if m := rowsByID.FindStringSubmatch(sql); m != nil {
		if st, ids, ok := s.probed(c, m[2], strings.TrimSuffix(sql[len(m[0]):], ")")); ok {
			defer st.mu.Unlock()
			return st.result(c, st.withIDs(c, ids), m[1] != ""), true
		}
	}
	return nil, false
}

// probed locks the stream of a probe, if it has indexes that serve it, and reads
// the literals.
func (s *Server) probed(c *query, name, list string) (*stream, []string, bool) {
	st := s.stream(streamKey{c.org, c.kind, name})
	if st == nil {
		return nil, nil, false
	}
	literals, ok := literals(list)
	st.mu.Lock()
	_, hasID := st.schema.byName[rowColumn]
	_, hasBatch := st.schema.byName[batchColumn]
	if !ok || st.strange || !hasID || !hasBatch {
		st.mu.Unlock()
		return nil, nil, false
	}
	return st, literals, true
}

// literals reads 'a', 'b', ...
func literals(list string) (all []string, ok bool) {
	for {
		list = strings.TrimSpace(list)
		if !strings.HasPrefix(list, "'") {
			return nil, false
		}
		text := ""
		for list = list[1:]; ; list = list[1:] {
			end := strings.IndexByte(list, '\'')
			if end < 0 {
				return nil, false
			}
			text, list = text+list[:end], list[end+1:]
			if !strings.HasPrefix(list, "'") {
				break
			}
			text += "'"
		}
		all = append(all, text)
		list = strings.TrimSpace(list)
		if list == "" {
			return all, true
		}
		if list[0] != ',' {
			return nil, false
		}
		list = list[1:]
	}
}

// hit is a row that a probe found.
type hit struct {
	at int64
	id string
	no bool // it has no row_id
}

// each calls with the rows of a batch that a query can see.
func (s *stream) each(c *query, id string, visit func(b *block, row int)) {
	visible := s.visible(c)
	for _, r := range s.runs[id] {
		b := &s.blocks[s.block(r.first)]
		if r.first >= visible {
			return
		}
		for row := r.first; row < r.first+r.n; row++ {
			if at := b.times[row-b.first]; at >= c.start && at < c.end {
				visit(b, row)
			}
		}
	}
}

func (s *stream) countBatch(c *query, ids []string, countName, distinctName string) *result {
	n, distinct := 0, map[uint64]bool{}
	s.each(c, ids[0], func(b *block, row int) {
		n++
		if hash := b.ids[row-b.first]; hash != 0 {
			distinct[hash] = true
		}
	})
	values := map[string]int{countName: n, distinctName: len(distinct)}
	hit, err := json.Marshal(values)
	if err != nil {
		panic(err) // a map of numbers
	}
	r := &result{scanned: s.scanned(c)}
	if c.from == 0 {
		r.hits = []json.RawMessage{hit}
	}
	return r
}

// inBatch finds the rows of a batch.
func (s *stream) inBatch(c *query, ids []string) (hits []hit) {
	var open *block
	var lines [][]byte
	s.each(c, ids[0], func(b *block, row int) {
		if b != open {
			open, lines = b, bytes.Split(b.lines(), newline)
		}
		i := row - b.first
		hits = append(hits, hit{b.times[i], gjson.GetBytes(lines[i], rowColumn).String(), b.ids[i] == 0})
	})
	return hits
}

// withIDs finds the rows that have one of the ids.
func (s *stream) withIDs(c *query, ids []string) (hits []hit) {
	visible := s.visible(c)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		for _, row := range s.rowsOf(id) {
			b := &s.blocks[s.block(row)]
			if at := b.times[row-b.first]; row < visible && at >= c.start && at < c.end {
				hits = append(hits, hit{at, id, false})
			}
		}
	}
	return hits
}

// result renders hits as the server does: newest first, and with their time
// unless they are DISTINCT.
func (s *stream) result(c *query, hits []hit, distinct bool) *result {
	r := &result{scanned: s.scanned(c)}
	if distinct {
		slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.id, b.id) })
		hits = slices.CompactFunc(hits, func(a, b hit) bool { return a.id == b.id })
	} else {
		slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.at, a.at) })
		r.order = [][]string{{timeColumn, "desc"}}
	}
	hits = hits[min(c.from, len(hits)):]
	hits = hits[:min(c.limit(), len(hits))]
	for _, h := range hits {
		out := []byte{'{'}
		if !distinct {
			out = strconv.AppendInt(append(out, `"_timestamp":`...), h.at, 10)
		}
		if !h.no {
			if !distinct {
				out = append(out, ',')
			}
			out = gjson.AppendJSONString(append(out, `"row_id":`...), h.id)
		}
		r.hits = append(r.hits, append(out, '}'))
	}
	return r
}

// limit is how many hits are given at most.
func (c *query) limit() int {
	if c.size <= 0 {
		return defaultSize
	}
	return c.size
}
