package otlp

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var jsonTexts = []string{
	`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `1.5e+3`, `1E9`, `""`, `"a\u00e9\n\"\\\/"`, ` [ 1 , { "a" : [ ] } ] `,
	`{"a":{"b":[1,2,{"c":null}]},"d":"}]"}`, "\"\u2028\"", `"\ud800"`,
	``, ` `, `{`, `}`, `[1,]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{1:1}`, `[1 2]`, `{"a":1 "b":2}`, `01`, `1.`, `.5`, `-`, `1e`, `+1`,
	`tru`, `truex`, `nul`, `"`, `"a`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\\u00e\x19\"", "\"\n\"", "\"\x00\"", `[}`, `{]`, `[[]`, `[]]`, `{}{}`, `,`, `[,]`, `{,}`, `"a"b`, `nullnull`,
	`"12345678\"12345678"`, `"1234567\\"`, "\"1234567\x1f\"",
}

func TestJSONIsJudgedAsTheStandardLibraryJudgesIt(t *testing.T) {
	for _, text := range jsonTexts {
		if got, want := checkJSON(text) == nil, json.Valid([]byte(text)); got != want {
			t.Errorf("%q: accepted %t, want %t", text, got, want)
		}
	}
	if err := checkJSON(strings.Repeat("[", maxJSONDepth) + strings.Repeat("]", maxJSONDepth)); err != nil {
		t.Errorf("nested as deep as it may: %v", err)
	}
	if err := checkJSON(strings.Repeat("[", maxJSONDepth+1) + strings.Repeat("]", maxJSONDepth+1)); err == nil {
		t.Error("nested too deep was accepted")
	}
}

// FuzzJSON holds the check and the cursor against the standard library.
func FuzzJSON(f *testing.F) {
	for _, text := range jsonTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ok := checkJSON(text) == nil
		if !utf8.ValidString(text) || strings.Count(text, "[")+strings.Count(text, "{") > maxJSONDepth {
			return
		}
		if want := json.Valid([]byte(text)); ok != want {
			t.Fatalf("%q: accepted %t, want %t", text, ok, want)
		}
		if !ok {
			return
		}
		c := cursor{s: text}
		if raw := c.skip(); raw != strings.Trim(text, " \t\r\n") {
			t.Fatalf("%q was skipped as %q", text, raw)
		}
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &members) == nil {
			got := map[string]string{}
			c := cursor{s: text}
			if err := c.members("", func(key string) error { got[key] = c.skip(); return nil }); err != nil {
				t.Fatal(err)
			}
			for key, want := range members {
				if strings.Trim(got[key], " \t\r\n") != string(want) {
					t.Fatalf("%q: member %q is %q, want %q", text, key, got[key], want)
				}
			}
		}
		var list []json.RawMessage
		if json.Unmarshal([]byte(text), &list) == nil {
			n := 0
			c := cursor{s: text}
			if err := c.elements("", func() error { n++; c.skip(); return nil }); err != nil || n != len(list) {
				t.Fatalf("%q: %d elements, want %d: %v", text, n, len(list), err)
			}
		}
		var s string
		if json.Unmarshal([]byte(text), &s) == nil {
			c := cursor{s: text}
			if got, err := c.text(""); err != nil || got != s {
				t.Fatalf("%q is %q, want %q: %v", text, got, s, err)
			}
		}
	})
}
