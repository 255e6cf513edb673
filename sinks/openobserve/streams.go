package openobserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Columns that are not of the rows' schemas.
const (
	batchColumn = "batch_id" // the batch that brought the row
	extraColumn = "extra"    // what the stream has no column for, as JSON
)

// Column is a column of a stream with its type, as the server calls it.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// leftOut are fields of rows that are not stored, by topic: a dead letter's
// payload is for a re-drive, and stays in the topic.
var leftOut = map[string][]string{broker.DeadLetters: {"payload"}}

// StreamName is the stream of a topic's rows.
func (c *Config) StreamName(topic string) string {
	config := c.withDefaults()
	if config.Generation > 1 {
		return fmt.Sprintf("%s_%s_g%d", config.Streams, topic, config.Generation)
	}
	return config.Streams + "_" + topic
}

// Columns are the columns of a topic's stream, apart from _timestamp: those of
// the rows' schema in its order, then batch_id and extra. A record in a row is a
// column for each of its fields, did_commits for commits of did. A type never
// changes; the server would only ever widen it (contract §1.6).
func Columns(topic string) ([]Column, error) {
	text, ok := schemas.Definition(broker.RowSchema(topic))
	if !ok {
		return nil, fmt.Errorf("no schema of the rows of %s", topic)
	}
	columns, err := columnsOf("", text)
	if err != nil {
		return nil, fmt.Errorf("the schema of the rows of %s: %w", topic, err)
	}
	columns = slices.DeleteFunc(columns, func(c Column) bool { return slices.Contains(leftOut[topic], c.Name) })
	return append(columns, Column{batchColumn, "Utf8"}, Column{extraColumn, "Utf8"}), nil
}

// columnsOf are the columns of a record, with what their names begin with.
func columnsOf(prefix string, record []byte) (columns []Column, err error) {
	var definition struct {
		Fields []struct {
			Name string          `json:"name"`
			Type json.RawMessage `json:"type"`
		} `json:"fields"`
	}
	if err := json.Unmarshal(record, &definition); err != nil {
		return nil, err
	}
	for _, f := range definition.Fields {
		var inner struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(f.Type, &inner) != nil || inner.Type != "record" {
			columns = append(columns, Column{prefix + f.Name, columnType(f.Type)})
			continue
		}
		more, err := columnsOf(prefix+f.Name+"_", f.Type)
		if err != nil {
			return nil, err
		}
		columns = append(columns, more...)
	}
	return columns, nil
}

// columnType is the type of a column for an Avro type: enums, ids, bytes and
// lists are text.
func columnType(avro json.RawMessage) string {
	var name string
	if json.Unmarshal(avro, &name) == nil {
		switch name {
		case "int", "long":
			return "Int64"
		case "float", "double":
			return "Float64"
		case "boolean":
			return "Boolean"
		}
		return "Utf8"
	}
	var union []json.RawMessage
	if json.Unmarshal(avro, &union) == nil {
		for _, branch := range union {
			if string(branch) != `"null"` {
				return columnType(branch)
			}
		}
		return "Utf8"
	}
	var complex struct {
		Type json.RawMessage `json:"type"`
	}
	if json.Unmarshal(avro, &complex) == nil && len(complex.Type) > 0 {
		return columnType(complex.Type)
	}
	return "Utf8"
}

// ErrNoStream: the server has no such stream.
var ErrNoStream = errors.New("there is no such stream")

// stream is what the server says of one.
type stream struct {
	Name     string          `json:"name"`
	Schema   []Column        `json:"schema"`
	Settings json.RawMessage `json:"settings"`
}

// stream asks for one by name; ErrNoStream if it has none.
func (c *Client) stream(ctx context.Context, name string) (*stream, error) {
	found := new(stream)
	a, err := c.call(ctx, &c.config.Admin, http.MethodGet, c.org("/streams/"+url.PathEscape(name)+"/schema"), url.Values{"type": {"logs"}}, nil, found)
	if a != nil && a.status == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", name, ErrNoStream)
	}
	return found, err
}

// missingColumns are the columns of a topic that its stream has not.
func (s *stream) missingColumns(topic string) ([]Column, error) {
	columns, err := Columns(topic)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(columns, func(c Column) bool {
		return slices.ContainsFunc(s.Schema, func(have Column) bool { return have.Name == c.Name })
	}), nil
}
