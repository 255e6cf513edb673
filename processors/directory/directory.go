// Package directory says which team a person belonged to and who paid how at a
// time: a pure rule over a dated list, without clock and I/O.
package directory

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/flightlog/flightlog/schemas"
)

// Directory is one version of the list. It never changes; nil is an empty one.
type Directory struct {
	users   map[string][]entry // by name in lower case
	domains map[string][]entry // by @domain
}

type entry struct {
	team     string
	billing  schemas.Billing
	from, to int64 // µs since 1970, to exclusive; 0 = open
	line     int
}

// columns of the file.
var columns = []string{"user", "team", "billing", "from", "to"}

// Parse reads a CSV file with a header row that names its columns: user, and
// any of team, billing (api, cloud, subscription), from and to (2006-01-02 UTC,
// to exclusive; empty = open). A user is as in the column user of rows, without
// regard to case, or *@domain for all of a domain, or * for everybody. Nobody is
// in two lines of one time. It reports every fault at once, each with its line.
func Parse(data []byte) (*Directory, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("cannot read the directory: it is empty")
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.TrimLeadingSpace = '#', true
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("cannot read the directory: %w", err)
	}
	at, err := places(header)
	if err != nil {
		return nil, fmt.Errorf("cannot use the directory: %w", err)
	}
	d := &Directory{users: map[string][]entry{}, domains: map[string][]entry{}}
	var faults []fault
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, csv.ErrFieldCount) {
			return nil, fmt.Errorf("cannot read the directory: %w", err)
		}
		line, _ := r.FieldPos(0)
		if err != nil {
			err = fmt.Errorf("there are %d fields, the header has %d", len(record), len(header))
		} else {
			err = d.add(line, func(column string) string {
				if i, ok := at[column]; ok {
					return strings.TrimSpace(record[i])
				}
				return ""
			})
		}
		if err != nil {
			faults = append(faults, fault{line, err})
		}
	}
	faults = append(overlaps(d.users, ""), append(overlaps(d.domains, "*"), faults...)...)
	if faults == nil {
		return d, nil
	}
	slices.SortFunc(faults, func(a, b fault) int { return a.line - b.line })
	var told []error
	for _, f := range faults[:min(len(faults), maxFaults)] {
		told = append(told, fmt.Errorf("line %d: %w", f.line, f.err))
	}
	if more := len(faults) - maxFaults; more > 0 {
		told = append(told, fmt.Errorf("and %d more", more))
	}
	return nil, fmt.Errorf("cannot use the directory:\n%w", errors.Join(told...))
}

// fault is what is wrong with a line.
type fault struct {
	line int
	err  error
}

// maxFaults is how many of them are told.
const maxFaults = 100

// overlaps brings each one's entries into the order of time, and tells of those
// that begin before one before them has ended.
func overlaps(list map[string][]entry, prefix string) (faults []fault) {
	for name, entries := range list {
		slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.from, b.from) })
		for i, last := 1, entries[0]; i < len(entries); i++ {
			e := entries[i]
			if last.to == 0 || e.from < last.to {
				faults = append(faults, fault{max(e.line, last.line), fmt.Errorf("%s is in another line of the same time: line %d", prefix+name, min(e.line, last.line))})
			}
			if last.to != 0 && (e.to == 0 || e.to > last.to) {
				last = e
			}
		}
	}
	return faults
}

// places is where each column stands.
func places(header []string) (map[string]int, error) {
	at := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if _, twice := at[name]; twice || !slices.Contains(columns, name) {
			return nil, fmt.Errorf("column %q: the columns are %s, each once", name, strings.Join(columns, ", "))
		}
		at[name] = i
	}
	if _, ok := at["user"]; !ok {
		return nil, errors.New("there is no column user")
	}
	return at, nil
}

func (d *Directory) add(line int, field func(string) string) error {
	e := entry{team: field("team"), line: line}
	for _, column := range [...]string{"user", "team"} {
		switch text := field(column); {
		case !utf8.ValidString(text):
			return fmt.Errorf("%s is %q, which is not UTF-8", column, text)
		case strings.ContainsFunc(text, unseen):
			return fmt.Errorf("%s is %q, which has a control character in it", column, text)
		}
	}
	user := strings.ToLower(field("user"))
	if user == "" {
		return errors.New("user is empty")
	}
	domain, ofDomain := strings.CutPrefix(user, "*@")
	if ofDomain && (domain == "" || strings.ContainsAny(domain, "*@")) || !ofDomain && user != "*" && strings.Contains(user, "*") {
		return fmt.Errorf("user is %q, must be a name, *@domain or *", user)
	}
	if b := field("billing"); b != "" {
		var ok bool
		if e.billing, ok = schemas.ParseBilling(b); !ok || e.billing == schemas.BillingUnknown {
			return fmt.Errorf("billing is %q, must be api, cloud, subscription or empty", b)
		}
	}
	for _, t := range [...]struct {
		column string
		at     *int64
	}{{"from", &e.from}, {"to", &e.to}} {
		if text := field(t.column); text != "" {
			day, err := time.Parse(time.DateOnly, text)
			if *t.at = day.UnixMicro(); err != nil || *t.at <= 0 {
				return fmt.Errorf("%s is %q, must be a day after 1970-01-01 such as 2026-11-23", t.column, text)
			}
		}
	}
	if e.to != 0 && e.to <= e.from {
		return errors.New("to is not after from")
	}
	list, name := d.users, user
	if ofDomain {
		list, name = d.domains, user[1:]
	}
	list[name] = append(list[name], e)
	return nil
}

// unseen are characters that names have no use for, and that change what a
// person sees of a name.
func unseen(c rune) bool {
	return unicode.IsControl(c) || unicode.In(c, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// Len is the number of people and domains listed.
func (d *Directory) Len() int { return len(d.users) + len(d.domains) }

// Change says how a directory differs from one before it: people, *@domain and
// *, in order.
type Change struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`
}

// Since is how the directory differs from one before it.
func (d *Directory) Since(before *Directory) (c Change) {
	c = Change{Added: []string{}, Removed: []string{}, Changed: []string{}}
	now, was := d.lines(), before.lines()
	for name, entries := range now {
		if old, ok := was[name]; !ok {
			c.Added = append(c.Added, name)
		} else if !slices.EqualFunc(entries, old, entry.says) {
			c.Changed = append(c.Changed, name)
		}
	}
	for name := range was {
		if _, ok := now[name]; !ok {
			c.Removed = append(c.Removed, name)
		}
	}
	for _, names := range [...][]string{c.Added, c.Removed, c.Changed} {
		slices.Sort(names)
	}
	return c
}

// lines are all entries, by user as in the file.
func (d *Directory) lines() map[string][]entry {
	if d == nil {
		return nil
	}
	all := maps.Clone(d.users)
	for domain, entries := range d.domains {
		all["*"+domain] = entries
	}
	return all
}

func (e entry) says(o entry) bool {
	e.line = o.line
	return e == o
}

// Find is what the directory says of a person at a time (µs): what the person's
// own line leaves empty, or a person without one, has what the domain's line
// says, then what the line for everybody says. Nobody is in no team and pays
// in no known way.
func (d *Directory) Find(user string, at int64) (team string, billing schemas.Billing) {
	if d == nil {
		return "", schemas.BillingUnknown
	}
	user = strings.ToLower(user)
	domain := user[max(0, strings.LastIndexByte(user, '@')):]
	for _, entries := range [...][]entry{d.users[user], d.domains[domain], d.users["*"]} {
		for _, e := range entries {
			if at < e.from || e.to != 0 && at >= e.to {
				continue
			}
			if team == "" {
				team = e.team
			}
			if billing == schemas.BillingUnknown {
				billing = e.billing
			}
		}
	}
	return team, billing
}
