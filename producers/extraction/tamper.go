package extraction

import (
	"encoding/json"
	"path"
	"strings"
)

// What was done to a test file so that its tests tell less (docs/detectors.md).
const (
	TamperSkipped  = "skipped"  // more skip marks than before
	TamperDeleted  = "deleted"  // the file is deleted or emptied
	TamperWeakened = "weakened" // fewer tests and assertions than before
)

// TestTamper is what a change does to a test file by its structuredPatch, a JSON
// array of hunks with "lines" (contract §2.4): skipped, weakened, or "". It
// compares what the removed and the added lines hold, so what is only moved or
// replaced does not count. "" for a file that is no test (see [TestFile]). Time
// is linear.
func TestTamper(relPath string, structuredPatch []byte) string {
	if len(structuredPatch) == 0 || !TestFile(relPath) {
		return ""
	}
	var hunks []struct{ Lines []string }
	if json.Unmarshal(structuredPatch, &hunks) != nil {
		return ""
	}
	var change testMarks
	for _, hunk := range hunks {
		for _, line := range hunk.Lines {
			switch {
			case strings.HasPrefix(line, "+"):
				change.line(line[1:], 1)
			case strings.HasPrefix(line, "-"):
				change.line(line[1:], -1)
			}
		}
	}
	return change.tamper()
}

// TestTamperOf is [TestTamper] by the texts that an edit replaces, for witnesses
// that have no patch.
func TestTamperOf(relPath, before, after string) string {
	if !TestFile(relPath) {
		return ""
	}
	var change testMarks
	for line := range strings.Lines(before) {
		change.line(line, -1)
	}
	for line := range strings.Lines(after) {
		change.line(line, 1)
	}
	return change.tamper()
}

// TestFile tells a file of tests by its path in the repository: x.test.js,
// x.spec.js, x_test.go, test_x.py, and code below test, tests, spec, specs and
// __tests__. Files that are not of the repository's own are none.
func TestFile(relPath string) bool {
	name := strings.ToLower(relPath)
	if name == "" || name[0] == '/' || name[0] == '~' || isDrive(name) || strings.HasPrefix(name, "../") || !codeFiles[strings.TrimPrefix(path.Ext(name), ".")] {
		return false
	}
	dirs, base := path.Split(name)
	stem := strings.TrimSuffix(base, path.Ext(base))
	test := strings.HasSuffix(stem, ".test") || strings.HasSuffix(stem, ".spec") || strings.HasSuffix(stem, "_test") ||
		strings.HasSuffix(stem, "_spec") || strings.HasPrefix(stem, "test_")
	for dir := range strings.SplitSeq(dirs, "/") {
		switch {
		case testFolders[dir]:
			test = true
		case foreignFolders[dir]:
			return false
		}
	}
	return test
}

// TestFolder tells a path that is a folder of tests by its name alone.
func TestFolder(relPath string) bool {
	base := path.Base(relPath)
	return (base == "tests" || base == "__tests__" || base == "specs") && TestFile(relPath+"/x.js")
}

var (
	testFolders    = set("test tests spec specs __tests__")
	foreignFolders = set("node_modules vendor dist build target coverage .venv venv")
	codeFiles      = set(`js jsx ts tsx mjs cjs mts cts py go rs java kt kts scala groovy rb php cs fs swift c cc cpp cxx h hpp m
		mm ex exs erl clj cljs dart lua pl t sh bats r jl hs ml elm vue svelte feature`)
)

// testMarks is by how many a change adds or, below zero, takes away.
type testMarks struct{ skips, checks int }

func (m *testMarks) tamper() string {
	switch {
	case m.skips > 0:
		return TamperSkipped
	case m.checks < 0:
		return TamperWeakened
	}
	return ""
}

// line counts the tests, assertions and skip marks of a line of code. Comments,
// imports and what stands in quotes do not count.
func (m *testMarks) line(line string, by int) {
	line = strings.TrimSpace(line)
	for _, skipped := range []string{"//", "/*", "*", "import ", "from ", "use ", "# ", "#!", "package "} {
		if strings.HasPrefix(line, skipped) {
			return
		}
	}
	if strings.Contains(line, " require(") && strings.HasPrefix(line, "const ") {
		return
	}
	for _, mark := range lineMarks {
		if strings.HasPrefix(line, mark.begin) {
			if mark.skip {
				m.skips += by
			} else {
				m.checks += by
			}
			if mark.whole {
				return
			}
			break
		}
	}
	start := true
	for i := 0; i < len(line); {
		b := line[i]
		switch {
		case b == '"' || b == '\'' || b == '`':
			end := strings.IndexByte(line[i+1:], b)
			if end < 0 {
				return
			}
			i += end + 2
		case isLetter(b) || b == '_' || b == '@' || b == '$':
			end := i + 1
			for end < len(line) && (isAlnum(line[end]) || strings.IndexByte("_.!?$", line[end]) >= 0) {
				end++
			}
			m.chain(line[i:end], line[end:], start, by)
			i = end
		case b == '/' && i+1 < len(line) && line[i+1] == '/':
			return
		default:
			i++
		}
		start = false
	}
}

// lineMarks are beginnings of lines. The first that fits counts, and with whole
// nothing else of the line does.
var lineMarks = []struct {
	begin       string
	skip, whole bool
}{
	{"#[ignore", true, true}, {"@Disabled", true, true}, {"@Ignore", true, true}, {"[Ignore", true, true},
	{"@unittest.skip", true, true}, {"@unittest.expectedFailure", true, true}, {"@expectedFailure", true, true},
	{"@skip", true, true}, {"@pytest.mark.skip", true, true}, {"@pytest.mark.xfail", true, true}, {"@tag :skip", true, true},
	{"def test", false, true}, {"async def test", false, true}, {"func test", false, true}, {"func Test", false, true},
	{"func Fuzz", false, true}, {"func Example", false, true}, {"public function test", false, true},
	{"@Test", false, false}, {"@ParameterizedTest", false, false}, {"@RepeatedTest", false, false},
	{"[Fact(Skip", true, true}, {"[Fact", false, true}, {"[Theory(Skip", true, true}, {"[Theory", false, true}, {"[Test", false, true},
	{"#[test]", false, true}, {"#[tokio::test", false, true}, {"#[rstest", false, true},
	{"it \"", false, false}, {"it '", false, false}, {"test \"", false, false}, {"specify \"", false, false}, {"specify '", false, false},
	{"scenario \"", false, false}, {"scenario '", false, false}, {"xit \"", true, false}, {"xit '", true, false},
	{"xdescribe \"", true, false}, {"xdescribe '", true, false}, {"xcontext \"", true, false}, {"xcontext '", true, false},
	{"skip \"", true, true}, {"skip '", true, true}, {"pending \"", true, true}, {"pending '", true, true},
	{"assert ", false, true},
}

// chain counts a name such as expect, it.skip or self.assertEqual with what
// follows it; begins tells that the line begins with it.
func (m *testMarks) chain(name, rest string, begins bool, by int) {
	called := strings.HasPrefix(rest, "(")
	first, others, _ := strings.Cut(name, ".")
	switch first {
	case "skip", "pending":
		switch {
		case begins && (rest == "" || called) && others == "", // of Ruby
			strings.HasPrefix(rest, ":") && others == "" && !begins && !strings.HasPrefix(strings.TrimSpace(rest[1:]), "false"):
			m.skips += by
		}
		return
	case "xit", "xtest", "xdescribe", "xcontext", "xspecify":
		if called || strings.HasPrefix(others, "each") {
			m.skips += by
		}
		return
	case "it", "test", "specify", "Deno":
		if skipping(others) {
			m.skips += by
		}
		if (called || strings.HasPrefix(rest, "`")) && isTestCall(others) || first == "Deno" && others == "test" {
			m.checks += by
		}
		return
	case "describe", "suite", "context":
		if skipping(others) {
			m.skips += by
		}
		return
	case "t", "b", "tb", "f", "this", "self", "pytest", "pytestmark", "unittest", "raise", "ctx":
		switch {
		case strings.HasPrefix(others, "Skip") || strings.HasPrefix(others, "skip") && !strings.HasPrefix(others, "skipped"),
			strings.HasPrefix(others, "mark.skip"), strings.HasPrefix(others, "mark.xfail"), others == "xfail":
			m.skips += by
			return
		case first != "this" && first != "self" && (strings.HasPrefix(others, "Error") || strings.HasPrefix(others, "Fatal") || strings.HasPrefix(others, "Fail")),
			others == "raises" || others == "warns":
			m.checks += by
			return
		}
	case "SkipTest", "XCTSkip", "XCTSkipIf", "XCTSkipUnless", "GTEST_SKIP":
		m.skips += by
		return
	case "require":
		if others != "" && 'A' <= others[0] && others[0] <= 'Z' {
			m.checks += by
		}
		return
	case "expect":
		if called && (others == "" || others == "soft" || others == "poll") || strings.HasPrefix(rest, " {") {
			m.checks += by
		}
		return
	case "is_expected", "should":
		if others != "" || called {
			m.checks += by
		}
		return
	case "TEST", "TEST_F", "TEST_P", "TEST_CASE", "REQUIRE", "CHECK":
		if called {
			m.checks += by
		}
		return
	}
	for part := range strings.SplitSeq(name, ".") {
		switch {
		case strings.HasPrefix(part, "markTestSkipped"), strings.HasPrefix(part, "markTestIncomplete"):
			m.skips += by
			return
		case part == "should" && !strings.HasSuffix(name, ".should"), part == "expect" && called && first == "chai",
			(called || strings.HasSuffix(name, "!")) && (strings.HasPrefix(part, "assert") || strings.HasPrefix(part, "Assert") ||
				strings.HasPrefix(part, "XCTAssert") || strings.HasPrefix(part, "EXPECT_") || strings.HasPrefix(part, "ASSERT_")):
			m.checks += by
			return
		}
	}
}

// skipping tells the modifiers of it and describe that keep tests from running.
func skipping(modifiers string) bool {
	for part := range strings.SplitSeq(modifiers, ".") {
		if part == "skip" || part == "fixme" || part == "skipIf" {
			return true
		}
	}
	return false
}

// isTestCall tells that it or test with these modifiers makes tests.
func isTestCall(modifiers string) bool {
	for part := range strings.SplitSeq(modifiers, ".") {
		switch part {
		case "", "only", "skip", "skipIf", "runIf", "each", "for", "concurrent", "sequential", "fails", "failing", "fixme":
		default:
			return false
		}
	}
	return true
}
