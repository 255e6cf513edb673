package pricing

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Merge is one file with the rows and aliases of several. A row that stands in
// two of them counts once, and with known_to if one of them has it.
func Merge(files ...[]byte) ([]byte, error) {
	var named []File
	for _, text := range files {
		named = append(named, File{Text: text})
	}
	r := merge(named)
	if err := r.err(); err != nil {
		return nil, err
	}
	return json.Marshal(r.document)
}

// merge reads files and makes one of them.
func merge(files []File) *reading {
	m := &reading{document: document{Unit: Unit, Aliases: map[string]string{}}, aliases: map[string]string{}}
	for _, f := range files {
		r := read(f)
		m.faults = append(m.faults, r.faults...)
		for _, alias := range slices.Sorted(maps.Keys(r.Aliases)) {
			if have, ok := m.Aliases[alias]; ok && have != r.Aliases[alias] {
				m.faults = append(m.faults, fmt.Errorf("%s is %q, and %q in %s", r.aliases[alias], r.Aliases[alias], have, m.aliases[alias]))
				continue
			}
			m.Aliases[alias], m.aliases[alias] = r.Aliases[alias], r.aliases[alias]
		}
		m.Rows, m.rows = mergeRows(m.Rows, m.rows, r.Rows, r.rows)
		m.Contracted, m.contracted = mergeRows(m.Contracted, m.contracted, r.Contracted, r.contracted)
	}
	return m
}

func mergeRows(rows []Row, places []string, more []Row, morePlaces []string) ([]Row, []string) {
	for i := range more {
		at := slices.IndexFunc(rows, more[i].says)
		switch {
		case at < 0:
			rows, places = append(rows, more[i]), append(places, morePlaces[i])
		case more[i].KnownTo != 0:
			rows[at].KnownTo, places[at] = more[i].KnownTo, morePlaces[i]
		}
	}
	return rows, places
}

// says tells that two rows say the same; how long that was believed, and who
// says it, is left aside.
func (r *Row) says(o Row) bool {
	a := *r
	a.KnownTo, a.Source, a.Models = o.KnownTo, o.Source, nil
	b := o
	b.Models = nil
	return slices.Equal(r.Models, o.Models) && fmt.Sprint(a) == fmt.Sprint(b)
}

// Continues is an error that names the rows and aliases of an earlier version
// that are not in this one: a price that was applied is never changed or left out, another
// row follows it (DESIGN §6).
func (t *Table) Continues(before *Table) error {
	var faults []error
	missing := func(what string, rows, in []Row) {
		for i := range rows {
			at := slices.IndexFunc(in, rows[i].says)
			if at < 0 {
				faults = append(faults, fmt.Errorf("%s %d of version %d (%q, known from %s) is missing or was changed: leave it, and add a row that is known from a later day",
					what, i+1, before.version, rows[i].Models, rows[i].KnownFrom))
			} else if rows[i].KnownTo != 0 && in[at].KnownTo != rows[i].KnownTo {
				faults = append(faults, fmt.Errorf("%s %d of version %d (%q) was given up on %s, and is not now", what, i+1, before.version, rows[i].Models, rows[i].KnownTo))
			}
		}
	}
	missing("row", before.document.Rows, t.document.Rows)
	missing("contracted row", before.document.Contracted, t.document.Contracted)
	for _, alias := range slices.Sorted(maps.Keys(before.aliases)) {
		was := before.aliases[alias]
		switch now, ok := t.aliases[alias]; {
		case !ok && !t.listed(alias): // a model that the list prices by now needs none
			faults = append(faults, fmt.Errorf("alias %q of version %d (%q) is missing: leave it", alias, before.version, was))
		case ok && now != was:
			faults = append(faults, fmt.Errorf("alias %q of version %d was changed from %q to %q: leave it, and take another alias", alias, before.version, was, now))
		}
	}
	return errors.Join(faults...)
}

// AsOf is the table as it was known at the end of a day.
func (t *Table) AsOf(day Date) *Table {
	known := func(rows []Row) (then []Row) {
		for _, r := range rows {
			if r.KnownFrom > day {
				continue
			}
			if r.KnownTo > day {
				r.KnownTo = 0
			}
			then = append(then, r)
		}
		return then
	}
	doc := t.document
	doc.Rows, doc.Contracted = known(doc.Rows), known(doc.Contracted)
	doc.Aliases = maps.Clone(doc.Aliases)
	var faults []error // none: fewer rows than were right together
	then := newTable(doc, t.version, make([]string, len(doc.Rows)), make([]string, len(doc.Contracted)), &faults)
	maps.DeleteFunc(then.aliases, func(alias, _ string) bool { return then.aliasFault(alias) != "" }) // of models that came later
	return then
}

// News are the rows that an earlier table does not have, or that were given up
// since, and the aliases that it does not have.
func (t *Table) News(before *Table) (list, contracted []Row, aliases map[string]string) {
	news := func(rows, old []Row) (n []Row) {
		for _, r := range rows {
			at := slices.IndexFunc(old, r.says)
			if at < 0 || old[at].KnownTo != r.KnownTo {
				n = append(n, r)
			}
		}
		return n
	}
	aliases = maps.Clone(t.aliases)
	maps.DeleteFunc(aliases, func(alias, target string) bool { return before.aliases[alias] == target })
	return news(t.document.Rows, before.document.Rows), news(t.document.Contracted, before.document.Contracted), aliases
}
