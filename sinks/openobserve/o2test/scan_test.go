package o2test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestTheScannerTakesJustJSON mangles JSON and asks the standard library.
func TestTheScannerTakesJustJSON(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	seeds := []string{
		`[{"a":1,"b":[true,false,null,-0.5e+7,"x\u00e4\n\"\\"],"c":{"d":{}}} , [] ]`,
		`{"_timestamp":1767268800000000,"row_id":"r","n":-12,"f":1.25E-3}`,
		`"text"`, `0`, `-0`, `10.01`, ` [ 1 , 2 ] `, `{}`,
	}
	alphabet := "{}[]\",:\\utrefalsn0123456789.-+E \n\tx\x01"
	valid := 0
	for range 100_000 {
		text := []byte(seeds[random.IntN(len(seeds))])
		for range random.IntN(4) {
			at := random.IntN(len(text))
			switch random.IntN(3) {
			case 0:
				text[at] = alphabet[random.IntN(len(alphabet))]
			case 1:
				text = append(text[:at], text[at+1:]...)
			default:
				text = append(text[:at], append([]byte{alphabet[random.IntN(len(alphabet))]}, text[at:]...)...)
			}
			if len(text) == 0 {
				break
			}
		}
		s := &scanner{data: text}
		_, _, err := s.value(0)
		if err == nil {
			err = s.end()
		}
		if got, want := err == nil, json.Valid(text); got != want {
			t.Fatalf("%q: %v, want valid = %t", text, err, want)
		}
		var syntax *syntaxError
		if err == nil {
			valid++
		} else if !errors.As(err, &syntax) {
			t.Fatalf("%q: %v is no error of the syntax", text, err)
		}
	}
	if valid < 10_000 || valid > 90_000 {
		t.Errorf("%d of 100000 texts are valid", valid)
	}
}

func TestThePlacesOfErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                       "EOF while parsing a value at line 1 column 0",
		`[1`:                     "EOF while parsing a list at line 1 column 2",
		`{"a":1`:                 "EOF while parsing an object at line 1 column 6",
		`"a`:                     "EOF while parsing a string at line 1 column 2",
		"[1,\n\n 2 3]":           "expected `,` or `]` at line 3 column 4",
		`{"a" 1}`:                "expected `:` at line 1 column 6",
		`{"a":1 "b":2}`:          "expected `,` or `}` at line 1 column 8",
		`{1:2}`:                  "key must be a string at line 1 column 2",
		"\n?":                    "expected value at line 2 column 1",
		`01`:                     "invalid number at line 1 column 2",
		`[1,]`:                   "trailing comma at line 1 column 4",
		`"\x"`:                   "invalid escape at line 1 column 3",
		strings.Repeat("[", 200): "recursion limit exceeded at line 1 column 128",
	} {
		s := &scanner{data: []byte(text)}
		if _, _, err := s.value(0); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestTheKindOfANumber(t *testing.T) {
	for text, want := range map[string]kind{
		"0": kindInt, "-0": kindInt, "9223372036854775807": kindInt, "9223372036854775808": kindUint, "-9223372036854775808": kindInt,
		"-9223372036854775809": kindBig, "18446744073709551615": kindUint, "18446744073709551616": kindBig, "1e3": kindFloat, "1.0": kindFloat,
	} {
		if got, _, err := (&scanner{data: []byte(text)}).value(0); err != nil || got != want {
			t.Errorf("%s: kind %d, %v, want %d", text, got, err, want)
		}
	}
}
