package producers_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/flightlog/flightlog/producers"
)

// agrees checks CheckObject against the standard library.
func agrees(t *testing.T, in []byte) {
	t.Helper()
	err := producers.CheckObject(in)
	var bad *producers.BadInput
	if err != nil && !errors.As(err, &bad) {
		t.Fatalf("%q: %v is no bad input", in, err)
	}
	if bad != nil && bad.Reason == "too_deep" {
		return
	}
	if want := utf8.Valid(in) && len(in) > 0 && in[0] == '{' && json.Valid(in); want != (err == nil) {
		t.Errorf("%q: %v, the standard library says %v", in, err, want)
	}
}

func TestCheckObjectAgreesWithTheStandardLibrary(t *testing.T) {
	for _, value := range []string{
		`{}`, `[]`, `[[],{}]`, `[1,2]`, `[1,]`, `[,1]`, `[`, `]`, `[}`, `{]`, `[1 2]`, `""`, `"a`, `"\"`, `"\\"`, `"\u12aF"`, `"\u12g4"`, `"\u123`, `"\x"`,
		"\"\t\"", "\"\x1f\"", "\"\x7f\"", `"0123456789abcdef"`, `"0123456\"89abcdef"`, "\"0123456789\x01\"", `"äöü€𝄞"`,
		`0`, `-0`, `-`, `01`, `1.`, `.1`, `1.5`, `1e5`, `1E+5`, `1e-`, `1e`, `+1`, `1.5e10`, `true`, `tru`, `false`, `null`, `nul`, `NaN`, `x`, ``,
		`{"a":1}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{1:1}`, `{"a":1 "b":2}`, ` { "a" : [ 1 , { "b" : null } ] , "c" : "d" } `, `{"a":{"b":[{"c":[]}]}}`,
	} {
		agrees(t, []byte(`{"v":`+value+`}`))
		agrees(t, []byte(value))
		agrees(t, []byte(`{"v":[`+value+`,`+value+`]}`))
	}
}

func FuzzCheckObject(f *testing.F) {
	f.Add([]byte(`{"a":[1,-2.5e+3,"x\n\u00e4",true,false,null,{}],"b":{"c":[]}}`))
	f.Add([]byte(`{"` + strings.Repeat("x", 20) + `\"":""}`))
	f.Fuzz(agrees)
}
