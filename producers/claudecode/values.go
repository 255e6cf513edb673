package claudecode

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// maxID is the longest id in bytes: longer than any that the client makes, and
// short enough to be remembered.
const maxID = 256

// ID is the string of a field that names something. A field that is missing or
// null is empty; one of another type, or too long, is a [producers.BadInput].
func ID(v gjson.Result, field string) (string, error) {
	if v.Exists() && v.Type != gjson.String && v.Type != gjson.Null {
		return "", &producers.BadInput{Reason: "wrong_type", Detail: fmt.Sprintf("%s: want a string, got %s", field, v.Type)}
	}
	if len(v.Str) > maxID {
		return "", &producers.BadInput{Reason: "wrong_type", Detail: fmt.Sprintf("%s: %d bytes are no id", field, len(v.Str))}
	}
	return v.Str, nil
}

// Short is a string of at most so many bytes; anything else is not what it
// should be, and empty.
func Short(v gjson.Result, limit int) string {
	if len(v.Str) > limit {
		return ""
	}
	return v.Str
}

// Code is one of the client's own words, such as a reason or a type; empty for
// what may be a text.
func Code(v gjson.Result) string {
	for _, c := range []byte(v.Str) {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return Short(v, 128)
}

// Need is [ID] of a field that must not be missing or empty.
func Need(v gjson.Result, field string) (string, error) {
	id, err := ID(v, field)
	if err == nil && id == "" {
		err = &producers.BadInput{Reason: "missing_field", Detail: field}
	}
	return id, err
}

// Time is a field's time in µs since 1970.
func Time(v gjson.Result, field string) (int64, error) {
	text, err := Need(v, field)
	if err != nil {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, &producers.BadInput{Reason: "wrong_type", Detail: field + ": want a time as RFC 3339"}
	}
	return t.UnixMicro(), nil
}

// Count is a number that cannot be negative; unknown if v is anything else.
func Count(v gjson.Result) schemas.OptLong {
	if v.Type != gjson.Number || v.Num < 0 || v.Num >= 1<<53 {
		return schemas.OptLong{}
	}
	return schemas.SomeLong(int64(v.Num))
}

// Truth is a boolean; unknown if v is anything else.
func Truth(v gjson.Result) schemas.OptBool {
	if v.Type != gjson.True && v.Type != gjson.False {
		return schemas.OptBool{}
	}
	return schemas.SomeBool(v.Type == gjson.True)
}

// Text is the text of a message's content: a string, or a list of blocks of
// which the text blocks count.
func Text(content gjson.Result) string {
	if content.Type == gjson.String {
		return content.Str
	}
	var texts []string
	content.ForEach(func(_, block gjson.Result) bool {
		if block.Get("type").Str == "text" {
			texts = append(texts, block.Get("text").Str)
		}
		return true
	})
	return strings.Join(texts, "\n")
}

// Hash is the hash and length of a text; both unknown for an empty text.
func Hash(text string) (hash string, length schemas.OptLong) {
	if text == "" {
		return "", schemas.OptLong{}
	}
	return schemas.TextHash([]byte(text)), schemas.SomeLong(int64(len(text)))
}

// Command makes a prompt's event that of a slash command or skill, by its name
// without the slash: that is its workflow too.
func Command(e *schemas.Event, name string) {
	if name = strings.TrimPrefix(name, "/"); name != "" {
		e.Body.Session.Command = name
		e.Workflow, e.WorkflowSource = name, schemas.WorkflowSourceCommand
	}
}
