package openobserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// indexed are the columns that single rows are looked up by: of one batch (the
// sink does, before a resend), one fact, session, task or row. What panels filter
// by (kind, repo, model) has few values and is better scanned.
var indexed = []string{"row_id", batchColumn, "fact_key", "finding_id", "session_id", "task_id"}

// indexFields are those of a topic's stream.
func indexFields(columns []Column) (fields []string) {
	for _, c := range columns {
		if slices.Contains(indexed, c.Name) {
			fields = append(fields, c.Name)
		}
	}
	return fields
}

// streamSettings are the settings of a stream that the layout has an opinion on.
type streamSettings struct {
	IndexFields       []string        `json:"index_fields"`
	DataRetention     int             `json:"data_retention"` // days; 0 = the server's own
	StoreOriginalData bool            `json:"store_original_data"`
	PartitionKeys     json.RawMessage `json:"partition_keys"`
}

// listEdit is how a PUT of settings changes a list (contract §5.4). v0.60.5 adds
// what is there already a second time, so only what is missing is added.
type listEdit[T any] struct {
	Add    []T `json:"add"`
	Remove []T `json:"remove"`
}

func adding[T any](items []T) *listEdit[T] {
	if len(items) == 0 {
		return nil
	}
	return &listEdit[T]{items, []T{}}
}

// settingsEdit is the body of a PUT of settings; what is nil stays as it is.
type settingsEdit struct {
	Fields            *listEdit[Column] `json:"fields,omitempty"`
	IndexFields       *listEdit[string] `json:"index_fields,omitempty"`
	DataRetention     *int              `json:"data_retention,omitempty"`
	StoreOriginalData *bool             `json:"store_original_data,omitempty"`
}

// stream compares the stream of a topic with what it should be.
func (p *provisioner) stream(ctx context.Context, topic string) ([]Change, error) {
	columns, err := Columns(topic)
	if err != nil {
		return nil, err
	}
	name := p.client.config.StreamName(topic)
	have, err := p.client.stream(ctx, name)
	if errors.Is(err, ErrNoStream) {
		return []Change{p.newStream(topic, name, columns)}, nil
	}
	if err != nil {
		return nil, err
	}
	var settings streamSettings
	if err := json.Unmarshal(have.Settings, &settings); err != nil {
		return nil, fmt.Errorf("cannot read the settings of stream %s: %w", name, err)
	}
	changes := []Change{}
	if missing, err := have.missingColumns(topic); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		changes = append(changes, p.newColumns(topic, name, missing))
	}
	if diff, edit := p.settings(&settings, columns); len(diff) > 0 {
		changes = append(changes, Change{Action: Update, Object: "stream", Name: name, Says: "settings", Diff: diff,
			make: func(ctx context.Context) ([]Change, error) {
				_, err := p.editStream(ctx, name, edit)
				return nil, err
			}})
	}
	changes = append(changes, otherTypes(name, have.Schema, columns)...)
	if keys := gjson.ParseBytes(settings.PartitionKeys); keys.Get("@values.#").Int() > 0 && keys.Type != gjson.Null {
		changes = append(changes, Change{Action: Note, Object: "stream", Name: name,
			Says: "it has partition keys, which cannot be taken back and multiply files and memory: a new generation has none"})
	}
	return changes, nil
}

// newStream makes a stream with its columns typed. Another process may have been
// faster: then the stream is compared as one that was there.
func (p *provisioner) newStream(topic, name string, columns []Column) Change {
	fields := indexFields(columns)
	days := p.layout.RetentionDays
	if days == 0 {
		days = DefaultRetentionDays
	}
	body := map[string]any{"fields": columns, "settings": map[string]any{
		"partition_keys": []string{}, "full_text_search_keys": []string{}, "bloom_filter_fields": []string{},
		"index_fields": fields, "data_retention": days, "store_original_data": false,
	}}
	return Change{Action: Create, Object: "stream", Name: name,
		Says: fmt.Sprintf("%d columns, index_fields %s, data_retention %d", len(columns), strings.Join(fields, " "), days),
		make: func(ctx context.Context) ([]Change, error) {
			a, err := p.call(ctx, http.MethodPost, p.streamPath(name, ""), url.Values{"type": {"logs"}}, body, nil)
			if err != nil && (a == nil || a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "already exists")) {
				return nil, err
			}
			return p.stream(ctx, topic)
		}}
}

// newColumns adds typed columns to a stream that is there. Not every version of
// the server does what it is asked to (the contract has no exchange of it), so
// that it is looked at again.
func (p *provisioner) newColumns(topic, name string, missing []Column) Change {
	var diff []string
	for _, c := range missing {
		diff = append(diff, fmt.Sprintf("column %s: (none) -> %s", c.Name, c.Type))
	}
	return Change{Action: Update, Object: "stream", Name: name, Says: "columns", Diff: diff,
		make: func(ctx context.Context) ([]Change, error) {
			a, err := p.editStream(ctx, name, settingsEdit{Fields: adding(missing)})
			refused := err != nil && a != nil && a.status >= 400 && a.status <= 500 && a.status != http.StatusUnauthorized && a.status != http.StatusForbidden
			if err != nil && !refused {
				return nil, err
			}
			have, lookErr := p.client.stream(ctx, name)
			if lookErr != nil {
				return nil, lookErr
			}
			left, lookErr := have.missingColumns(topic)
			if lookErr != nil || len(left) == 0 {
				return nil, lookErr
			}
			says := fmt.Sprintf("this server does not add columns to a stream that is there: %s. The sink keeps their values as JSON in the column %s. "+
				"Columns of their own come with a new generation ('flightlog rebuild'), or when the stream is deleted and loaded again",
				columnNames(left), extraColumn)
			if refused {
				says += fmt.Sprintf(" (%v)", err)
			}
			return []Change{{Action: Note, Object: "stream", Name: name, Says: says}}, nil
		}}
}

func columnNames(columns []Column) string {
	var names []string
	for _, c := range columns {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// settings compares settings: what is missing is added. What somebody has added
// to them (further indexes) is no matter of ours.
func (p *provisioner) settings(have *streamSettings, columns []Column) (diff []string, edit settingsEdit) {
	missing := slices.DeleteFunc(indexFields(columns), func(f string) bool { return slices.Contains(have.IndexFields, f) })
	if edit.IndexFields = adding(missing); len(missing) > 0 {
		diff = append(diff, "index_fields: + "+strings.Join(missing, ", "))
	}
	days := p.layout.RetentionDays
	if days == 0 && have.DataRetention > 0 {
		days = max(have.DataRetention, DefaultRetentionDays)
	}
	if days > 0 && days != have.DataRetention {
		line := fmt.Sprintf("data_retention: %d -> %d", have.DataRetention, days)
		if days < have.DataRetention || have.DataRetention == 0 {
			line += fmt.Sprintf(" (the server deletes rows older than %d days)", days)
		}
		diff, edit.DataRetention = append(diff, line), &days
	}
	if have.StoreOriginalData {
		diff, edit.StoreOriginalData = append(diff, "store_original_data: true -> false"), new(bool)
	}
	return diff, edit
}

// otherTypes are the columns that have another type than the rows: queries that
// rely on it fail or lie, and the server never narrows a type again (contract §1.6).
func otherTypes(stream string, have, want []Column) (problems []Change) {
	for _, w := range want {
		i := slices.IndexFunc(have, func(h Column) bool { return h.Name == w.Name })
		if i < 0 || sameType(have[i].Type, w.Type) {
			continue
		}
		means := "its values are stored as something else than they are"
		switch {
		case isText(have[i].Type):
			means = "SUM and comparisons of numbers fail on it"
		case w.Type == "Int64":
			means = "sums of it are not exact"
		}
		problems = append(problems, Change{Action: Problem, Object: "stream", Name: stream, Says: fmt.Sprintf(
			"column %s is %s and must be %s: %s, and the server never turns it back. Load a new generation ('flightlog rebuild'), "+
				"or delete the stream with its rows (--remove --with-data), provision again and load again",
			w.Name, have[i].Type, w.Type, means)})
	}
	return problems
}

func sameType(a, b string) bool { return a == b || isText(a) && isText(b) }

// isText: versions differ in how they store text.
func isText(t string) bool { return t == "Utf8" || t == "LargeUtf8" || t == "Utf8View" }

func (p *provisioner) streamPath(name, rest string) string {
	return p.client.org("/streams/" + url.PathEscape(name) + rest)
}

func (p *provisioner) editStream(ctx context.Context, name string, edit settingsEdit) (*answer, error) {
	return p.call(ctx, http.MethodPut, p.streamPath(name, "/settings"), url.Values{"type": {"logs"}}, edit, nil)
}
