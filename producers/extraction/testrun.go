package extraction

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// mostOutput is how much of an output is read, from its end: summaries come
// last.
const mostOutput = 64 << 10

// TestRun is the outcome of a test run by its output: the summaries of node,
// TAP, jest, vitest, mocha, pytest, unittest, go, cargo, Maven, Gradle, JUnit,
// rspec, minitest, phpunit, dotnet, ctest, ExUnit, XCTest, deno, bun, AVA,
// Playwright, Flutter, ScalaTest, bazel and gotestsum. Several summaries add up. Of an output
// over 64 KiB the end is read.
//
// The output wins over failed, the exit status: `npm test | tail` succeeds
// whatever the tests say (contract §6, gotcha 7), and a run whose tests pass
// may still end in an error of something else. Without a summary failed alone
// decides. Errored means that tests could not be run. The counts are valid
// only where the output tells them.
func TestRun(output string, failed bool) (outcome schemas.TestOutcome, passed, failed_ schemas.OptLong) {
	if len(output) > mostOutput {
		output = output[len(output)-mostOutput:]
	}
	var r results
	for line := range strings.Lines(output) {
		r.line(plainLine(line))
	}
	r.close()
	switch {
	case r.failed > 0 || r.red:
		outcome = schemas.TestOutcomeFailed
	case r.errored:
		outcome = schemas.TestOutcomeErrored
	case r.passed > 0 || r.green:
		outcome = schemas.TestOutcomePassed
	case r.missing || r.knowsPassed && failed:
		outcome = schemas.TestOutcomeErrored
	case r.knowsPassed: // that none was run
		outcome = schemas.TestOutcomeUnknown
	case failed:
		outcome = schemas.TestOutcomeFailed
	default:
		outcome = schemas.TestOutcomePassed
	}
	return outcome, schemas.OptLong{Value: r.passed, Valid: r.knowsPassed}, schemas.OptLong{Value: r.failed, Valid: r.knowsFailed}
}

// results add up what the lines of an output say.
type results struct {
	passed, failed           int64
	knowsPassed, knowsFailed bool // a summary told the number
	green, red               bool // it told an outcome
	errored                  bool // some tests could not be run
	missing                  bool // there is no such test or runner

	tapPassed, tapFailed  int64 // single tests, which count where no summary does
	goPassed, goFailed    int64
	mavenPassed, mavenRed int64 // of classes, which count where no total does
	unittests             int64 // have run, and wait for the line that says how
	xcodePassed, xcodeRed int64 // of the last suite, which holds those before it
	unittest, xcode       bool
}

func (r *results) count(passed, failed int64) {
	r.passed += passed
	r.failed += failed
	r.knowsPassed, r.knowsFailed = true, true
}

// close counts what was waiting for a summary that never came.
func (r *results) close() {
	if r.xcode {
		r.count(r.xcodePassed, r.xcodeRed)
	}
	switch {
	case r.knowsPassed:
	case r.goPassed+r.goFailed > 0 || r.green:
		// Without -v go names those that fail only.
		r.count(r.goPassed, r.goFailed)
		r.knowsPassed = r.goPassed > 0
	case r.mavenPassed+r.mavenRed > 0:
		r.count(r.mavenPassed, r.mavenRed)
	case r.tapPassed+r.tapFailed > 0:
		r.count(r.tapPassed, r.tapFailed)
	}
}

// summary is a form of line that tells of a test run.
type summary struct {
	part  string // is in every such line
	regex *regexp.Regexp
	tell  func(r *results, groups []string)
}

// summaries in the order in which they are tried; the first that fits counts.
var summaries = []summary{
	// node --test
	{"# ", regexp.MustCompile(`^# (pass|fail|cancelled) (\d+)$`), nodeTests},
	{"ℹ ", regexp.MustCompile(`^ℹ (pass|fail|cancelled) (\d+)$`), nodeTests},
	// jest, vitest, Pest: Tests: 1 failed, 2 passed, 3 total; Tests  1 failed | 2 passed (3)
	{"Tests", regexp.MustCompile(`^\s*Tests:? +((?:\d+ \w+[,| ]*)+)(?:\(|$)`), func(r *results, g []string) { r.pairs(g[1]) }},
	{"Suites", regexp.MustCompile(`^Test Suites: +[1-9]\d* failed`), func(r *results, _ []string) { r.red = true }},
	{"Files", regexp.MustCompile(`^\s*Test Files +[1-9]\d* failed`), func(r *results, _ []string) { r.red = true }},
	// pytest
	{" in ", regexp.MustCompile(`^=* ?((?:\d+ [a-z]+,? ?)+) in [\d.:]+ ?s`), func(r *results, g []string) { r.pairs(g[1]) }},
	{"no tests ran", regexp.MustCompile(`^=* ?no tests ran in `), func(r *results, _ []string) { r.errored = true }},
	// unittest
	{"Ran ", regexp.MustCompile(`^Ran (\d+) tests? in `), func(r *results, g []string) { r.unittests, r.unittest = number(g[1]), true }},
	{"OK", regexp.MustCompile(`^OK(?: \([a-z]+=.*\))?$`), func(r *results, _ []string) {
		if r.unittest {
			r.count(r.unittests, 0)
			r.unittest = false
		}
	}},
	{"FAILED (", regexp.MustCompile(`^FAILED \((?:failures=(\d+))?(?:, )?(?:errors=(\d+))?`), func(r *results, g []string) {
		if r.unittest {
			red := number(g[1]) + number(g[2])
			r.count(max(0, r.unittests-red), red)
			r.unittest = false
		}
	}},
	// go test: tests with -v and those that fail, packages, -json
	{"--- ", regexp.MustCompile(`^--- (PASS|FAIL): `), func(r *results, g []string) {
		if g[1] == "PASS" {
			r.goPassed++
		} else {
			r.goFailed++
		}
	}},
	{"ok", regexp.MustCompile(`^ok\s+\S+\s+(?:[\d.]+s|\(cached\))(.*)`), func(r *results, g []string) {
		r.green = r.green || !strings.Contains(g[1], "[no tests to run]")
	}},
	{"FAIL\t", regexp.MustCompile(`^FAIL\t\S+(?: \[(?:build|setup) failed\])?`), func(r *results, g []string) {
		if strings.HasSuffix(g[0], "failed]") {
			r.errored = true
		} else {
			r.red = true
		}
	}},
	{`"Action"`, regexp.MustCompile(`"Action":"(pass|fail)","Package":"[^"]*"(?:,"Test":"([^"]*)")?`), func(r *results, g []string) {
		switch {
		case g[2] == "":
			r.green, r.red = r.green || g[1] == "pass", r.red || g[1] == "fail"
		case strings.Contains(g[2], "/"):
		case g[1] == "pass":
			r.goPassed++
		default:
			r.goFailed++
		}
	}},
	// cargo test, cargo nextest
	{"test result: ", regexp.MustCompile(`^test result: \w+\. (\d+) passed; (\d+) failed`), both},
	{"could not compile", regexp.MustCompile(`^error: could not compile`), func(r *results, _ []string) { r.errored = true }},
	{"Summary", regexp.MustCompile(`^\s*Summary \[.*\] \d+ tests? run: (\d+) passed(?:.*?(\d+) failed)?`), both},
	// mocha, cypress
	{" passing", regexp.MustCompile(`^\s+(\d+) passing\b`), func(r *results, g []string) { r.count(number(g[1]), 0) }},
	{" failing", regexp.MustCompile(`^\s+(\d+) failing\b`), func(r *results, g []string) { r.count(0, number(g[1])) }},
	// Maven Surefire: a line for each class, with a time, and a total
	{"Tests run:", regexp.MustCompile(`Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)(.*)`), func(r *results, g []string) {
		red := number(g[2]) + number(g[3])
		green := max(0, number(g[1])-red-number(g[4]))
		if strings.Contains(g[5], "Time elapsed") {
			r.mavenPassed += green
			r.mavenRed += red
		} else {
			r.count(green, red)
		}
	}},
	// Gradle, which tells only what failed; JUnit's console
	{"tests completed", regexp.MustCompile(`^(\d+) tests? completed, (\d+) failed`), func(r *results, g []string) {
		r.count(max(0, number(g[1])-number(g[2])), number(g[2]))
	}},
	{" tests ", regexp.MustCompile(`^\[ +(\d+) tests (successful|failed) +\]`), func(r *results, g []string) {
		if g[2] == "failed" {
			r.count(0, number(g[1]))
		} else {
			r.count(number(g[1]), 0)
		}
	}},
	// rspec
	{"example", regexp.MustCompile(`^(\d+) examples?, (\d+) failures?(?:, (\d+) pending)?(?:, (\d+) errors? occurred)?`), func(r *results, g []string) {
		r.count(max(0, number(g[1])-number(g[2])-number(g[3])), number(g[2]))
		r.errored = r.errored || number(g[4]) > 0
	}},
	// phpunit
	{"OK (", regexp.MustCompile(`^OK \((\d+) tests?, `), func(r *results, g []string) { r.count(number(g[1]), 0) }},
	{"Assertions:", regexp.MustCompile(`^Tests: (\d+), Assertions: \d+(?:, Errors: (\d+))?(?:, Failures: (\d+))?`), func(r *results, g []string) {
		red := number(g[2]) + number(g[3])
		r.count(max(0, number(g[1])-red), red)
	}},
	// minitest, test-unit
	{"assertions", regexp.MustCompile(`^(\d+) (?:runs|tests), \d+ assertions, (\d+) failures, (\d+) errors`), func(r *results, g []string) {
		red := number(g[2]) + number(g[3])
		r.count(max(0, number(g[1])-red), red)
	}},
	// dotnet test
	{"Failed:", regexp.MustCompile(`^(?:Passed|Failed)!\s+- Failed:\s+(\d+), Passed:\s+(\d+)`), func(r *results, g []string) {
		r.count(number(g[2]), number(g[1]))
	}},
	// ctest
	{"tests passed,", regexp.MustCompile(`^\d+% tests passed, (\d+) tests failed out of (\d+)`), func(r *results, g []string) {
		r.count(max(0, number(g[2])-number(g[1])), number(g[1]))
	}},
	// ExUnit, bats
	{" test", regexp.MustCompile(`^(?:\d+ doctests?, )?(\d+) tests?, (\d+) failures?\b`), func(r *results, g []string) {
		r.count(max(0, number(g[1])-number(g[2])), number(g[2]))
	}},
	// bazel, gotestsum
	{"Executed ", regexp.MustCompile(`^Executed \d+ out of \d+ tests?: (.+)`), func(r *results, g []string) {
		for _, part := range bazelPart.FindAllStringSubmatch(g[1], -1) {
			switch {
			case strings.HasPrefix(part[2], "pass"):
				r.count(number(part[1]), 0)
			case part[3] != "":
				r.errored = true
			default:
				r.count(0, number(part[1]))
			}
		}
	}},
	{"DONE ", regexp.MustCompile(`^DONE (?:\d+ runs?, )?(\d+) tests?(?:, (\d+) skipped)?(?:, (\d+) failures?)?(?:, (\d+) errors?)?(?: in [\d.]+m?s)?$`), func(r *results, g []string) {
		r.count(max(0, number(g[1])-number(g[2])-number(g[3])), number(g[3]))
		r.errored = r.errored || number(g[4]) > 0
	}},
	// XCTest
	{"Executed ", regexp.MustCompile(`^\s*Executed (\d+) tests?, with (\d+) failures?`), func(r *results, g []string) {
		r.xcode, r.xcodeRed = true, number(g[2])
		r.xcodePassed = max(0, number(g[1])-number(g[2]))
	}},
	// deno, bun, AVA, Playwright
	{" | ", regexp.MustCompile(`^(?:ok|FAILED) \| (\d+) passed.* \| (\d+) failed`), both},
	{" pass", regexp.MustCompile(`^\s*(\d+) (?:pass|tests? passed)$|^\s+(\d+) passed(?: \([\d.]+m?s?\))?$`), func(r *results, g []string) {
		r.count(number(g[1])+number(g[2]), 0)
	}},
	{" fail", regexp.MustCompile(`^\s*(\d+) (?:fail|tests? failed)$|^\s+(\d+) failed$`), func(r *results, g []string) {
		r.count(0, number(g[1])+number(g[2]))
	}},
	// flutter test
	{"tests ", regexp.MustCompile(`\+(\d+)(?: ~\d+)?(?: -(\d+))?: (?:All tests passed!|Some tests failed\.)`), both},
	// ScalaTest
	{"succeeded", regexp.MustCompile(`Tests: succeeded (\d+), failed (\d+)`), both},
	// TAP without a summary
	{"ok ", regexp.MustCompile(`^(not )?ok \d+\b(?:.*# (?i:(todo|skip)))?`), func(r *results, g []string) {
		switch {
		case g[2] != "":
		case g[1] == "":
			r.tapPassed++
		default:
			r.tapFailed++
		}
	}},
	// what keeps tests from being run
	{"issing script", regexp.MustCompile(`[Mm]issing script: "?test`), func(r *results, _ []string) { r.missing = true }},
	{"o tests found", regexp.MustCompile(`^No tests found|^Error: No tests found`), func(r *results, _ []string) { r.missing = true }},
	{": command not found", regexp.MustCompile(`: command not found$`), func(r *results, _ []string) { r.missing = true }},
}

func both(r *results, g []string) { r.count(number(g[1]), number(g[2])) }

func nodeTests(r *results, g []string) {
	if g[1] == "pass" {
		r.count(number(g[2]), 0)
	} else {
		r.count(0, number(g[2]))
	}
}

// line reads one line.
func (r *results) line(text string) {
	if len(text) > 400 && !strings.Contains(text, `"Action"`) {
		return
	}
	for i := range summaries {
		s := &summaries[i]
		if !strings.Contains(text, s.part) {
			continue
		}
		if groups := s.regex.FindStringSubmatch(text); groups != nil {
			s.tell(r, groups)
			return
		}
	}
}

// bazelPart is 1 test passes, 2 tests pass, 1 fails locally, 1 fails to build.
var bazelPart = regexp.MustCompile(`(\d+) (?:tests? )?(pass(?:es)?|fails?)( to build)?\b`)

var pair = regexp.MustCompile(`(\d+) (\w+)`)

// pairs reads 1 failed, 2 passed, 1 error.
func (r *results) pairs(text string) {
	for _, p := range pair.FindAllStringSubmatch(text, -1) {
		switch p[2] {
		case "passed", "xpassed":
			r.count(number(p[1]), 0)
		case "failed":
			r.count(0, number(p[1]))
		case "error", "errors":
			r.errored = r.errored || number(p[1]) > 0
		case "total", "skipped", "todo", "pending", "xfailed", "deselected", "warning", "warnings":
			r.count(0, 0)
		}
	}
}

// number reads digits, as far as they make sense.
func number(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return 0
	}
	return n
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// plainLine is a line without its end and without the escapes of a terminal.
func plainLine(line string) string {
	line = strings.TrimRight(line, "\r\n")
	if strings.IndexByte(line, 0x1b) >= 0 {
		line = escapes.ReplaceAllString(line, "")
	}
	return strings.TrimRight(line, " ")
}
