package extraction

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

func TestEqualValuesHaveOneCanonicalForm(t *testing.T) {
	for _, c := range []struct{ name, a, b string }{
		{"keys in another order", `{"b":1,"a":{"d":[1,2],"c":null}}`, `{"a":{"c":null,"d":[1,2]},"b":1}`},
		{"blanks", "{ \"a\" : [ 1 ,\n2 ] }\t", `{"a":[1,2]}`},
		{"escapes that need not be", `"\u0041\/\u00e9\ud83d\ude00\u007f"`, "\"A/é😀\x7f\""},
		{"escapes in capitals", `"\u001F\u000a\uD800"`, `"\u001f\n\ud800"`},
		{"escaped keys", `{"\u0062":1,"a":2}`, `{"a":2,"b":1}`},
		{"the default that hooks add", `{"replace_all":false,"old_string":"a","file_path":"b"}`, `{"file_path":"b","old_string":"a"}`},
		{"the default alone", `{"replace_all": false }`, `{}`},
		{"a key that comes twice", `{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
		{"bytes that are no UTF-8", "\"a\xffb\"", `"a�b"`},
	} {
		if a, b := HashJSON([]byte(c.a)), HashJSON([]byte(c.b)); a != b {
			x, err := Canonical(nil, []byte(c.a))
			t.Errorf("%s: %s %v", c.name, x, err)
		}
	}
}

func TestDifferentValuesHaveDifferentForms(t *testing.T) {
	for _, c := range []struct{ name, a, b string }{
		{"numbers as they were written", `1.0`, `1`},
		{"the order of an array", `[1,2]`, `[2,1]`},
		{"null and nothing", `{"a":null}`, `{}`},
		{"a default that is set", `{"replace_all":true}`, `{}`},
		{"a default of something inside", `{"edits":[{"replace_all":false}]}`, `{"edits":[{}]}`},
		{"a string and a number", `"1"`, `1`},
		{"an escaped backslash", `"\\n"`, `"\n"`},
		{"halves of pairs", `"\ud800"`, `"\udc00"`},
	} {
		if HashJSON([]byte(c.a)) == HashJSON([]byte(c.b)) {
			t.Errorf("%s: %s and %s are one", c.name, c.a, c.b)
		}
	}
}

func TestBadJSONIsAnErrorAndItsHashThatOfTheBytes(t *testing.T) {
	for _, bad := range []string{
		"", " ", "{", "}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `[1,]`, `[1 2]`, `[`, `"a`, `"\x"`, `"\u12"`, "\"\n\"", "01", "1.", "-", "1e", "+1",
		"tru", "nul", "{} {}", "NaN", `{"a":1 "b":2}`, strings.Repeat("[", 513) + strings.Repeat("]", 513),
	} {
		got, err := Canonical([]byte("kept"), []byte(bad))
		if err == nil || string(got) != "kept" {
			t.Errorf("%.20q: %q, %v", bad, got, err)
		}
		if HashJSON([]byte(bad)) != schemas.TextHash([]byte(bad)) {
			t.Errorf("%.20q: another hash", bad)
		}
	}
	if _, err := Canonical(nil, []byte(strings.Repeat("[", 512)+strings.Repeat("]", 512))); err != nil {
		t.Errorf("512 deep: %v", err)
	}
}

func TestPatchLinesAreCounted(t *testing.T) {
	for patch, want := range map[string][2]int64{
		`[{"oldStart":1,"lines":[" a","-b","+c","+d"]},{"lines":["-e","\\ No newline at end of file"]}]`: {2, 2},
		`[{"oldStart":1,"oldLines":1,"newStart":1,"newLines":1,"lines":["+++","---"]}]`:                  {1, 1},
		`[{"lines":[]}]`: {0, 0},
	} {
		if added, removed, ok := PatchLines([]byte(patch)); !ok || added != want[0] || removed != want[1] {
			t.Errorf("%s: +%d -%d %v", patch, added, removed, ok)
		}
	}
	for _, patch := range []string{"", "null", "[]", "{}", `"x"`, `[{"lines":[1]}]`, `[{"lines":"x"}]`, `[{"lines":[null]}]`, `[`} {
		if added, removed, ok := PatchLines([]byte(patch)); ok || added != 0 || removed != 0 {
			t.Errorf("%s: +%d -%d %v", patch, added, removed, ok)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"b":[1.5e3,true,null,"\u00e9\ud83d\ude00"],"a":{"a":{}},"replace_all":false}`, `"\ud800\udc00"`, "[[],{}]", "\"\xff\"", `{"a":1,"a":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := Canonical(nil, raw)
		if (err == nil) != json.Valid(raw) && !strings.Contains(string(raw), strings.Repeat("[", 100)) && !strings.Contains(string(raw), strings.Repeat("{", 100)) {
			t.Fatalf("%v, but encoding/json says valid: %v", err, json.Valid(raw))
		}
		if err != nil {
			return
		}
		twice, err := Canonical(nil, once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q, then %q, %v", once, twice, err)
		}
		var before, after any
		if json.Unmarshal(raw, &before) == nil && json.Unmarshal(once, &after) == nil {
			if m, ok := before.(map[string]any); ok && m["replace_all"] == false {
				delete(m, "replace_all")
			}
			if !reflect.DeepEqual(before, after) && !bytes.Contains(raw, []byte("replace_all")) {
				t.Fatalf("%q means %v, %q means %v", raw, before, once, after)
			}
		}
	})
}

func FuzzPatchLines(f *testing.F) {
	f.Add([]byte(`[{"oldStart":1,"lines":[" a","-b","+c"]}]`))
	f.Add([]byte(`[{"lines":["","\u002b"]}]`))
	f.Fuzz(func(t *testing.T, patch []byte) {
		added, removed, ok := PatchLines(patch)
		if !ok && added+removed != 0 || added+removed > int64(len(patch)) {
			t.Fatalf("+%d -%d %v of %d bytes", added, removed, ok, len(patch))
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	raw := []byte(`{"old_string":"` + strings.Repeat(`  const total = items.reduce((sum, item) => sum + item.price, 0);\n`, 20) +
		`","new_string":"` + strings.Repeat(`  return Math.round(total * 100) / 100;\n`, 20) +
		`","file_path":"/home/dev/src/shop/src/cart.js","replace_all":false}`)
	var dst []byte
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = Canonical(dst[:0], raw)
	}
}
