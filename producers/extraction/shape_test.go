package extraction

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// alike are results of two runs that did the same.
var alike = [][2]string{
	{"# duration_ms 133.233191\n", "# duration_ms 45.3\n"},                           // node
	{"  duration_ms: 27.238964\n  x", "  duration_ms: 8\n  x"},                       // node, TAP
	{"✔ adds (0.52ms)\n✖ rounds (1.3ms)\n", "✔ adds (12.1ms)\n✖ rounds (171ms)\n"},   // node, spec
	{"  ✓ adds (2 ms)\n", "  ✓ adds\n"},                                              // jest leaves 0 ms out
	{"Time:        1.2 s, estimated 2 s\n", "Time:        0.987 s, estimated 1 s\n"}, // jest
	{" ✓ test/a.test.js (3 tests) 5ms\n", " ✓ test/a.test.js (3 tests) 171ms\n"},     // vitest
	{"   Start at  12:34:56\n   Duration  1.20s (transform 30ms, setup 0ms)", "   Start at  09:01:02\n   Duration  812ms (transform 5ms, setup 1ms)"},
	{"\x1b[2m   Duration \x1b[22m 171ms\x1b[0m", "\x1b[2m   Duration \x1b[22m 165ms\x1b[0m"},
	{"\x1b[32m171ms\x1b[0m", "\x1b[32m2.1s\x1b[0m"},
	{"===== 1 failed, 2 passed in 0.12s =====", "==== 1 failed, 2 passed in 10.12s ===="},                          // pytest
	{"1 failed in 65.12s (0:01:05)", "1 failed in 71.00s (0:01:11)"},                                               // pytest
	{"Ran 3 tests in 0.001s\n\nOK", "Ran 3 tests in 1.201s\n\nOK"},                                                 // unittest
	{"--- FAIL: TestTax (0.00s)\nFAIL\nFAIL\tshop\t0.005s", "--- FAIL: TestTax (1.20s)\nFAIL\nFAIL\tshop\t1.213s"}, // go
	{`{"Time":"2026-11-26T22:03:45.883653919Z","Action":"fail","Elapsed":0.52}`, `{"Time":"2026-11-27T01:03:45.8836Z","Action":"fail","Elapsed":12}`},
	{"goroutine 7 [running]:\nmain.f(0xc0000b4000, 0x3)", "goroutine 19 [running]:\nmain.f(0xc00012a0f8, 0x3)"},
	{"test result: FAILED. 1 passed; 1 failed; finished in 0.00s", "test result: FAILED. 1 passed; 1 failed; finished in 2.31s"}, // cargo
	{"Finished `test` profile target(s) in 1m 3s", "Finished `test` profile target(s) in 58.31s"},
	{"Tests run: 3, Failures: 1, Time elapsed: 0.05 s <<< FAILURE!", "Tests run: 3, Failures: 1, Time elapsed: 1.131 s <<< FAILURE!"}, // Maven
	{"[INFO] Total time:  1.234 s\n[INFO] Finished at: 2026-08-01T12:34:56+02:00", "[INFO] Total time:  0.9 s\n[INFO] Finished at: 2026-08-02T01:04:06+02:00"},
	{`<testcase name="a" time="0.003"/>`, `<testcase name="a" time="1.5"/>`},
	{"BUILD FAILED in 1m 3s\n", "BUILD FAILED in 2m 14s\n"}, // Gradle
	{"real\t0m1.234s\nuser\t0m0.9s", "real\t1m12.001s\nuser\t0m1.1s"},
	{"It took 3 minutes", "It took 12 minutes"},
	{`{"stdout":"a\n171ms\nb"}`, `{"stdout":"a\n2s\nb"}`},
	{`{"stdout":"{\"duration_ms\": 45}"}`, `{"stdout":"{\"duration_ms\": 171}"}`},
	{`{"durationMs":12,"numFiles":3}`, `{"durationMs":7,"numFiles":3}`},
	{"2026-08-01 12:34:56,789 ERROR x", "2026-08-02 02:04:06,001 ERROR x"},
	{"[2026/08/01 12:34:56] x", "[2026/08/02 02:04:06] x"},
	{"Sat, 01 Aug 2026 12:34:56 GMT", "Mon, 03 Aug 2026 02:04:06 GMT"},
	{"[01/Aug/2026:12:34:56 +0000] GET", "[02/Sep/2026:02:04:06 +0000] GET"},
	{"Sat Aug  1 12:34:56 UTC 2026", "Thu Sep 10 02:04:06 UTC 2026"},
	{"-rw-r--r-- 1 dev dev 12 Aug  1 12:34 a.js", "-rw-r--r-- 1 dev dev 12 Sep 10 02:04 a.js"},
	{"commit at Jan 2, 2006", "commit at Feb 12, 2007"},
	{"at 11:52 AM", "at 2:04 PM"},
	{"id 123e4567-e89b-12d3-a456-426614174000.", "id a23e4567-e89b-42d3-a456-426614174fff."},
	{"<object at 0x7f3a2c1d5e50>", "<object at 0x7fffa2c1d5e5>"},
	{"open /tmp/tmp.Ab3dE6/x.js: no such file", "open /tmp/tmp.Zz9/x.js: no such file"},
	{"file:///tmp/shop-AbC123/x", "file:///tmp/shop-Qq9/x"},
	{"/tmp/pytest-of-dev/pytest-12/test_a0/x", "/tmp/pytest-of-dev/pytest-13/test_a0/x"},
	{"/private/var/folders/zz/q1w2e3/T/tmpa1b2/x", "/private/var/folders/zz/q1w2e3/T/tmpq9/x"},
	{"(node:12345) Warning: x", "(node:999) Warning: x"},
	{"[1] 12345\n", "[1] 23456\n"},
	{"started with pid 123", "started with pid 4567"},
	{"startTime\":1764194625883,", "startTime\":1764194631000,"},
	{"ready in 3h2m1s", "ready in 5m3s"},
}

// different are results that say something else.
var different = [][2]string{
	{"40 %", "60 %"}, {"40%", "60%"}, {"duration: 40%", "duration: 60%"}, {"12.3 MB", "14 MB"}, {"3 of 7", "4 of 7"},
	{"# pass 3", "# pass 4"}, {"# fail 1\n# duration_ms 3", "# fail 2\n# duration_ms 3"}, {"expected 3 to be 4", "expected 3 to be 5"},
	{"price.js:6:10", "price.js:6:12"}, {"price.js:12:34:56", "price.js:12:34:57"}, {"at 6:10 error", "at 6:12 error"},
	{"v1.2.3", "v1.2.4"}, {"1.2.3", "1.2.4"}, {"listening on port 3000", "listening on port 3001"}, {"localhost:34567", "localhost:34568"},
	{"commit 93c2aaf", "commit 44da985"}, {"93c2aaf01234567890123456789012345678abcd", "44da985012345678901234567890123456789abc"},
	{"0x40", "0x60"}, {"exit status 1", "exit status 2"}, {"250m", "500m"}, {"3 m", "4 m"}, {"/home/dev/tmp/a", "/home/dev/tmp/b"},
	{"src/tmp/a.js", "src/tmp/b.js"}, {"a 5s b", "a 5s c"}, {"12 passed in 1s", "13 passed in 1s"}, {"rapid 5", "rapid 6"}, {"time 5", "time 6"},
	{`{"stdout":"queued"}`, `{"stdout":"running"}`}, {`{"stdout":"a\n1"}`, `{"stdout":"a\n2"}`}, {"[1] 5 items", "[1] 6 items"}, {"x5s", "x6s"},
	{"building 3/10 (1.2s)", "building 4/10 (1.3s)"}, {"1234567890123", "1234567890124x"}, {"Maybe 5", "Maybe 6"}, {"99.5", "99.6"},
	{"\x1b[31mred", "\x1b[32mred"}, {"replicas 2/3 AGE 5m", "replicas 3/3 AGE 6m"},
}

func TestResultShape(t *testing.T) {
	for _, pair := range alike {
		if ResultShape([]byte(pair[0])) != ResultShape([]byte(pair[1])) {
			t.Errorf("differ: %q and %q: %q and %q", pair[0], pair[1], shapeOf(pair[0]), shapeOf(pair[1]))
		}
	}
	for _, pair := range different {
		if ResultShape([]byte(pair[0])) == ResultShape([]byte(pair[1])) {
			t.Errorf("are the same: %q and %q: %q", pair[0], pair[1], shapeOf(pair[0]))
		}
	}
}

func shapeOf(text string) string {
	var s shaper
	s.copyOf([]byte(text))
	return string(s.out)
}

func TestResultShapeOfALongResult(t *testing.T) {
	long := func(end string, took int) []byte {
		var b strings.Builder
		for i := range 9000 {
			fmt.Fprintf(&b, "ok %d - adds (%d ms)\n", i, took*(i%7))
		}
		return []byte(b.String() + end)
	}
	if ResultShape(long("done", 3)) != ResultShape(long("done", 1712)) {
		t.Error("durations count in a long result")
	}
	if ResultShape(long("1 failed", 3)) == ResultShape(long("2 failed", 3)) {
		t.Error("the end of a long result does not count")
	}
}

func TestResultShapeTakesLinearTime(t *testing.T) {
	for _, part := range []string{"1", "1:", "1m", "1m ", "-", "12345678-", "/tmp/", `\`, "\x1b[", "=", " ", "1 ", "Jan 1 ", "0x", "(1s", "[1] 1", "a_"} {
		text := []byte(strings.Repeat(part, 60<<10/len(part)))
		start := time.Now()
		ResultShape(text)
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("%q: %v", part, took)
		}
	}
}

func FuzzResultShape(f *testing.F) {
	for _, pair := range append(alike, different...) {
		f.Add([]byte(pair[0]))
		f.Add([]byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		if ResultShape(text) != ResultShape(before) || !bytes.Equal(text, before) {
			t.Error("a result has two shapes, or was changed")
		}
	})
}

func BenchmarkResultShape(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	var out, code bytes.Buffer
	for i := 0; out.Len() < 32<<10; i++ {
		fmt.Fprintf(&out, "ok %d - the discount of order %d rounds (%d.%d ms)\n  at /home/dev/src/shop/src/price.js:%d:%d\n", i, random.IntN(99), i%7, i, i%90, i%40)
		fmt.Fprintf(&code, "\texport function discount%d(price, percent) { return Math.round(price * (100 - percent)) / %d }\n", i, i)
	}
	for name, text := range map[string][]byte{"output": out.Bytes(), "code": code.Bytes()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				ResultShape(text)
			}
		})
	}
}
