package extraction

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

func TestATestRunIsJudgedByItsOutput(t *testing.T) {
	for _, c := range []struct {
		name, output string
		exit         bool // failed
		want         string
	}{
		{"node as TAP", "TAP version 13\nok 1 - total\nok 2 - discount\n1..2\n# tests 2\n# pass 2\n# fail 0\n# cancelled 0", false, "passed 2 0"},
		{"node that fails behind a pipe", "not ok 1 - total\nok 2 - x\n# pass 1\n# fail 1\n", false, "failed 1 1"},
		{"node in a terminal", "✔ total (1.6ms)\n\x1b[34mℹ pass 4\x1b[39m\n\x1b[34mℹ fail 0\x1b[39m\n", false, "passed 4 0"},
		{"cut by tail to its end", "# fail 1\n# cancelled 0\n# skipped 0", false, "failed 0 1"},
		{"TAP alone", "1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP slow\nnot ok 4 - d # TODO\n", true, "failed 1 1"},
		{"jest", "Test Suites: 1 failed, 1 passed, 2 total\nTests:       1 failed, 1 skipped, 5 passed, 7 total\nSnapshots:   0 total\n", true, "failed 5 1"},
		{"jest, all well", "Test Suites: 2 passed, 2 total\nTests:       6 passed, 6 total\n", false, "passed 6 0"},
		{"jest, with a suite that does not load", "Test Suites: 1 failed, 1 passed, 2 total\nTests:       6 passed, 6 total\n", true, "failed 6 0"},
		{"vitest", " Test Files  1 failed | 2 passed (3)\n      Tests  1 failed | 6 passed (7)\n", true, "failed 6 1"},
		{"vitest, all well", " Test Files  2 passed (2)\n      Tests  6 passed | 1 skipped (7)\n", false, "passed 6 0"},
		{"mocha", "\n  4 passing (12ms)\n  1 failing\n", true, "failed 4 1"},
		{"pytest", "===== 1 failed, 2 passed, 3 warnings in 0.12s =====\n", true, "failed 2 1"},
		{"pytest, quiet", "..\n2 passed in 0.01s\n", false, "passed 2 0"},
		{"pytest, expected failures", "=== 2 passed, 1 xfailed in 1.20s (0:00:01) ===", false, "passed 2 0"},
		{"pytest that cannot collect", "=== 1 error in 0.08s ===", true, "errored ? ?"},
		{"pytest without tests", "=== no tests ran in 0.01s ===", true, "errored ? ?"},
		{"unittest", "Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=1)\n", true, "failed 3 2"},
		{"unittest, all well", "Ran 5 tests in 0.001s\n\nOK (skipped=1)\n", false, "passed 5 0"},
		{"go", "ok  \texample.com/a\t0.1s\nok  \texample.com/b\t(cached)\n?   \texample.com/c\t[no test files]\n", false, "passed ? 0"},
		{"go that fails", "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\nFAIL\nFAIL\texample.com/a\t0.1s\nok  \texample.com/b\t0.2s\nFAIL\n", true, "failed ? 1"},
		{"go -v", "=== RUN   TestA\n--- PASS: TestA (0.00s)\n--- PASS: TestB (0.00s)\nPASS\nok  \texample.com/a\t0.1s\n", false, "passed 2 0"},
		{"go that does not build", "# example.com/a\n./a.go:1:1: syntax error\nFAIL\texample.com/a [build failed]\n", true, "errored ? ?"},
		{"go -json", `{"Time":"x","Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}` + "\n" + `{"Action":"fail","Package":"p"}`, true, "failed 1 1"},
		{"cargo", "test result: ok. 5 passed; 0 failed; 0 ignored\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n", true, "failed 6 2"},
		{"cargo that does not build", "error[E0308]: mismatched types\nerror: could not compile `shop`\n", true, "errored ? ?"},
		{"cargo nextest", "     Summary [   0.012s] 3 tests run: 2 passed, 1 failed, 0 skipped\n", true, "failed 2 1"},
		{"Maven", "[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0.1 s - in A\n[ERROR] Tests run: 4, Failures: 1, Errors: 1, Skipped: 1\n", true, "failed 1 2"},
		{"Maven without a total", "Tests run: 3, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0.1 s - in A\nTests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.1 s\n", false, "passed 4 0"},
		{"Gradle", "5 tests completed, 1 failed\n", true, "failed 4 1"},
		{"JUnit", "[         4 tests successful      ]\n[         1 tests failed          ]\n", true, "failed 4 1"},
		{"rspec", "5 examples, 1 failure, 2 pending\n", true, "failed 2 1"},
		{"phpunit", "OK (5 tests, 10 assertions)\n", false, "passed 5 0"},
		{"phpunit that fails", "FAILURES!\nTests: 5, Assertions: 10, Errors: 1, Failures: 1.\n", true, "failed 3 2"},
		{"minitest", "5 runs, 10 assertions, 1 failures, 0 errors, 0 skips\n", true, "failed 4 1"},
		{"dotnet", "Failed!  - Failed:     1, Passed:     4, Skipped:     0, Total:     5\n", true, "failed 4 1"},
		{"ctest", "80% tests passed, 1 tests failed out of 5\n", true, "failed 4 1"},
		{"ExUnit", "3 doctests, 5 tests, 1 failure\n", true, "failed 4 1"},
		{"XCTest, whose last suite holds all", "Executed 2 tests, with 0 failures (0 unexpected)\nExecuted 5 tests, with 1 failure (0 unexpected)\n", true, "failed 4 1"},
		{"deno", "FAILED | 4 passed (2 steps) | 1 failed (12ms)\n", true, "failed 4 1"},
		{"bun", " 4 pass\n 1 fail\n", true, "failed 4 1"},
		{"AVA", "  4 tests passed\n  1 test failed\n", true, "failed 4 1"},
		{"Playwright", "  1 failed\n  4 passed (3.2s)\n", true, "failed 4 1"},
		{"Flutter", "00:01 +4 -1: Some tests failed.\n", true, "failed 4 1"},
		{"ScalaTest", "[info] Tests: succeeded 4, failed 1, canceled 0\n", true, "failed 4 1"},
		{"bazel", "Executed 2 out of 2 tests: 1 test passes and 1 fails locally.\n", true, "failed 1 1"},
		{"bazel behind a pipe", "//a:t   FAILED in 0.1s\n\nExecuted 3 out of 3 tests: 2 tests pass and 1 fails remotely.\n", false, "failed 2 1"},
		{"bazel, all well and cached", "Executed 0 out of 2 tests: 2 tests pass.\n", false, "passed 2 0"},
		{"bazel that does not build", "Executed 0 out of 1 test: 1 fails to build.\n", true, "errored ? ?"},
		{"gotestsum", "=== FAIL: a TestB (0.00s)\n--- FAIL: TestB (0.00s)\n\nDONE 4 tests, 1 failure in 0.012s\n", false, "failed 3 1"},
		{"gotestsum without a time", "DONE 4 tests, 1 failure\n", false, "failed 3 1"},
		{"gotestsum, all well", "✓  example.com/a (2ms)\n\nDONE 4 tests, 1 skipped in 0.012s\n", false, "passed 3 0"},
		{"gotestsum that does not build", "DONE 0 tests, 1 error in 0.3s\n", true, "errored 0 0"},
		{"two runs in one command", "# pass 2\n# fail 0\n# pass 3\n# fail 0\n", false, "passed 5 0"},
		{"tests that pass in a command that fails elsewhere", "# pass 4\n# fail 0\nlint: 3 problems\n", true, "passed 4 0"},
		{"no test at all", "Tests:       0 total\n", false, "unknown 0 0"},
		{"no test at all, with an error", "# pass 0\n# fail 0\n", true, "errored 0 0"},
		{"a script that is not there", "npm error Missing script: \"test\"\n", true, "errored ? ?"},
		{"a runner that is not there", "/bin/bash: line 1: jest: command not found\n", true, "errored ? ?"},
		{"nothing said, exit 0", "", false, "passed ? ?"},
		{"nothing said, exit 1", "boom\n", true, "failed ? ?"},
		{"words that look like a summary", "I saw 3 failing tests in 12 files\n12 passed away in 1970s\nok then\n", false, "passed ? ?"},
		{"a summary after a megabyte", strings.Repeat("log line\n", 120_000) + "# pass 4\n# fail 1\n", false, "failed 4 1"},
	} {
		outcome, passed, failed := TestRun(c.output, c.exit)
		count := func(n schemas.OptLong) string {
			if !n.Valid {
				return "?"
			}
			return fmt.Sprint(n.Value)
		}
		if got := outcome.String() + " " + count(passed) + " " + count(failed); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func FuzzTestRun(f *testing.F) {
	f.Add("# pass 4\n# fail 99999999999999999999\n", true)
	f.Add("Tests run: 3, Failures: 9, Errors: 9, Skipped: 9\nExecuted 1 test, with 5 failures\n\x1b[31m1 failing", false)
	f.Fuzz(func(t *testing.T, output string, exit bool) {
		outcome, passed, failed := TestRun(output, exit)
		if passed.Value < 0 || failed.Value < 0 {
			t.Fatalf("%d passed, %d failed", passed.Value, failed.Value)
		}
		if failed.Value > 0 && outcome == schemas.TestOutcomePassed {
			t.Fatalf("%d failed and yet it passed", failed.Value)
		}
	})
}

func BenchmarkTestRun(b *testing.B) {
	output := strings.Repeat("ok 1 - total with a discount\n  ---\n  duration_ms: 1.636837\n  ...\n", 200) + "# pass 200\n# fail 0\n"
	b.SetBytes(int64(len(output)))
	for b.Loop() {
		TestRun(output, false)
	}
}
