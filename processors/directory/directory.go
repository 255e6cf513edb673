// Package directory says which team a person belonged to and who paid how at a
// time: a pure rule over a dated list, without clock and I/O.
package directory

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
}

// columns of the file.
var columns = []string{"user", "team", "billing", "from", "to"}

// Parse reads a CSV file with a header row that names its columns: user, and
// any of team, billing (api, cloud, subscription), from and to (2006-01-02 UTC,
// to exclusive; empty = open). A user is as in the column user of rows, without
// regard to case, or *@domain for all of a domain, or * for everybody. Nobody is
// in two lines of one time. It reports every fault at once, each with its line.
func Parse(data []byte) (*Directory, error) {
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
	var faults []error
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, csv.ErrFieldCount) {
			return nil, fmt.Errorf("cannot read the directory: %w", err)
		}
		line, _ := r.FieldPos(0)
		if err == nil {
			err = d.add(func(column string) string {
				if i, ok := at[column]; ok {
					return strings.TrimSpace(record[i])
				}
				return ""
			})
		}
		if err != nil && len(faults) < 100 {
			faults = append(faults, fmt.Errorf("line %d: %w", line, err))
		}
	}
	if faults != nil {
		return nil, fmt.Errorf("cannot use the directory: %w", errors.Join(faults...))
	}
	return d, nil
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

func (d *Directory) add(field func(string) string) error {
	e := entry{team: field("team")}
	user := strings.ToLower(field("user"))
	if user == "" {
		return errors.New("user is empty")
	}
	if i := strings.IndexByte(user, '*'); i > 0 || i == 0 && user != "*" && !strings.HasPrefix(user, "*@") {
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
			if err != nil {
				return fmt.Errorf("%s is %q, must be a day as 2006-01-02", t.column, text)
			}
			*t.at = day.UnixMicro()
		}
	}
	if e.to != 0 && e.to <= e.from {
		return errors.New("to is not after from")
	}
	list, name := d.users, user
	if strings.HasPrefix(user, "*@") {
		list, name = d.domains, user[1:]
	}
	if slices.ContainsFunc(list[name], e.overlaps) {
		return fmt.Errorf("%s is in another line of the same time", user)
	}
	list[name] = append(list[name], e)
	return nil
}

func (e entry) overlaps(o entry) bool {
	return (e.to == 0 || o.from < e.to) && (o.to == 0 || e.from < o.to)
}

// Len is the number of people and domains listed.
func (d *Directory) Len() int { return len(d.users) + len(d.domains) }

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
