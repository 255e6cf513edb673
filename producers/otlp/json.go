package otlp

import (
	"strconv"
	"strings"
)

// jsonRequest is an export request in the JSON form, accepted by checkJSON.
type jsonRequest string

func (q jsonRequest) walk(s *signal, visit func([]attribute, encoded) error) error {
	c := cursor{s: string(q)}
	return c.members("request", func(key string) error {
		if key != s.resources {
			c.skip()
			return nil
		}
		return c.elements(key, func() error {
			var resource []attribute
			if at, ok := c.find("resource"); ok {
				if at, ok = at.find("attributes"); ok {
					var err error
					if resource, err = at.attributes(nil); err != nil {
						return err
					}
				}
			}
			return c.list(s.resources, s.scopes, func() error {
				return c.list(s.scopes, s.records, func() error {
					return visit(resource, jsonRecord(c.skip()))
				})
			})
		})
	})
}

// list visits the elements of one member of the object that comes next.
func (c *cursor) list(what, member string, visit func() error) error {
	return c.members(what, func(key string) error {
		if key != member {
			c.skip()
			return nil
		}
		return c.elements(key, visit)
	})
}

func (c *cursor) attributes(into []attribute) ([]attribute, error) {
	err := c.elements("attributes", func() error {
		if len(into) == maxAttributes {
			return tooMany()
		}
		var a attribute
		err := c.members("attribute", func(key string) (err error) {
			switch key {
			case "key":
				a.key, err = c.text("attribute key")
			case "value":
				a.value, err = c.value()
			default:
				c.skip()
			}
			return err
		})
		into = append(into, a)
		return err
	})
	return into, err
}

// value reads an AnyValue. Lists, bytes and what is none of the known forms
// (a bare {"values": []} has been seen) are values that no reader asks for.
func (c *cursor) value() (v value, err error) {
	err = c.members("attribute value", func(key string) (err error) {
		switch key {
		case "stringValue":
			v.kind = kindText
			v.text, err = c.text(key)
		case "boolValue":
			v = boolValue(strings.Trim(c.skip(), `"`) == "true")
		case "intValue", "doubleValue":
			v = numberValue(strings.Trim(c.skip(), `"`))
		default:
			v.kind = kindOther
			c.skip()
		}
		return err
	})
	return v, err
}

// numberValue reads a number; the client writes intValue as a JSON number, the
// standard as a string (contract §4.1).
func numberValue(s string) value {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return value{kind: kindLong, long: n}
	}
	if d, err := strconv.ParseFloat(s, 64); err == nil {
		return value{kind: kindDouble, double: d}
	}
	return value{kind: kindOther}
}

// jsonRecord is one record of a jsonRequest.
type jsonRecord string

func (r jsonRecord) bytes() []byte { return []byte(r) }

func (r jsonRecord) name(s *signal) string {
	at, ok := cursor{s: string(r)}.find(s.name)
	if ok && s == logs {
		at, ok = at.find("stringValue")
	}
	if !ok {
		return ""
	}
	name, _ := at.text("")
	return s.known(name)
}

func (r jsonRecord) read(into *record) error {
	c := cursor{s: string(r)}
	return c.members("record", func(key string) (err error) {
		switch key {
		case "timeUnixNano", "startTimeUnixNano":
			into.at, err = c.micros(key)
		case "observedTimeUnixNano":
			into.observed, err = c.micros(key)
		case "attributes":
			into.attributes, err = c.attributes(into.attributes[:0])
		case "events":
			err = c.elements(key, func() error { return c.spanEvent(into) })
		default:
			c.skip()
		}
		return err
	})
}

func (c *cursor) spanEvent(into *record) error {
	var output []attribute
	isOutput := false
	err := c.members("span event", func(key string) (err error) {
		switch key {
		case "name":
			var name string
			name, err = c.text("name of a span event")
			isOutput = name == toolOutput
		case "attributes":
			output, err = c.attributes(nil)
		default:
			c.skip()
		}
		return err
	})
	if isOutput {
		into.output, into.hasOutput = output, true
	}
	return err
}

func (r jsonRecord) points() (n int64, err error) {
	c := cursor{s: string(r)}
	err = c.members("metric", func(key string) error {
		switch key {
		case "sum", "gauge", "histogram", "exponentialHistogram", "summary":
			return c.list(key, "dataPoints", func() error {
				n++
				return c.members("data point", func(string) error { c.skip(); return nil })
			})
		}
		c.skip()
		return nil
	})
	return n, err
}
