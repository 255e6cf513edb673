package corpus

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// project is where a session works, and who works there.
type project struct {
	random     *rand.Rand
	templates  map[string]*template
	lang       *language
	login      string
	userID     string
	name       string // of the repository
	branch     string
	entrypoint string
	modules    []string
	files      map[string]string // content by path
	size       int               // tests that the suite has
}

func (p *project) cwd() string { return "/home/" + p.login + "/src/" + p.name }

func (p *project) path(name string) string {
	if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "~") {
		return name
	}
	return p.cwd() + "/" + name
}

// language is how projects of a language look.
type language struct {
	name             string
	source, test     string // path of a module's code and tests, with %[1]s for the module
	code             string // %[1]s the module, %[2]d a number
	suite            string // %[1]s the module, %[2]s its test cases
	check            string // an assertion: %[1]s the module, %[2]d and %[3]d numbers
	open, close      string // of a test case: %[1]s its name
	skip             [2]string
	testAll, testOne string
	install, lint    string
	build            string
	manifest, lock   string
	output           func(p *project, red []string, n int) string
}

var languages = []*language{
	{
		name: "node", source: "src/%[1]s.js", test: "test/%[1]s.test.js",
		code:  "// %[1]s, in cents.\nexport const LIMIT = %[2]d;\n\nexport function %[1]s(cents, count) {\n  if (count > LIMIT) {\n    return 0;\n  }\n  return cents * count;\n}\n",
		suite: "import test from \"node:test\";\nimport assert from \"node:assert/strict\";\nimport { %[1]s } from \"../src/%[1]s.js\";\n\n%[2]s",
		check: "  assert.equal(%[1]s(%[2]d, 1), %[3]d);\n", open: "test(\"%[1]s\", () => {\n", close: "});\n\n",
		skip: [2]string{"test(", "test.skip("}, testAll: "npm test", testOne: "node --test test/%[1]s.test.js",
		install: "npm ci", lint: "npx eslint src", build: "npm run build", manifest: "package.json", lock: "package-lock.json", output: nodeOutput,
	},
	{
		name: "go", source: "%[1]s/%[1]s.go", test: "%[1]s/%[1]s_test.go",
		code:  "// Package %[1]s counts in cents.\npackage %[1]s\n\nconst limit = %[2]d\n\n// Sum adds up.\nfunc Sum(cents, count int) int {\n\tif count > limit {\n\t\treturn 0\n\t}\n\treturn cents * count\n}\n",
		suite: "package %[1]s\n\nimport (\n\t\"testing\"\n\n\t\"github.com/stretchr/testify/require\"\n)\n\n%[2]s",
		check: "\trequire.Equal(t, %[3]d, Sum(%[2]d, 1))\n", open: "func Test_%[1]s(t *testing.T) {\n", close: "}\n\n",
		skip: [2]string{"(t *testing.T) {\n", "(t *testing.T) {\n\tt.Skip(\"flaky\")\n"}, testAll: "go test ./...", testOne: "go test ./%[1]s",
		install: "go mod download", lint: "go vet ./...", build: "go build ./...", manifest: "go.mod", lock: "go.sum", output: goOutput,
	},
	{
		name: "python", source: "app/%[1]s.py", test: "tests/test_%[1]s.py",
		code:  "\"\"\"%[1]s, in cents.\"\"\"\n\nLIMIT = %[2]d\n\n\ndef %[1]s(cents, count):\n    if count > LIMIT:\n        return 0\n    return cents * count\n",
		suite: "import pytest\n\nfrom app.%[1]s import %[1]s\n\n\n%[2]s",
		check: "    assert %[1]s(%[2]d, 1) == %[3]d\n", open: "def test_%[1]s():\n", close: "\n\n",
		skip: [2]string{"def test_", "@pytest.mark.skip(reason=\"flaky\")\ndef test_"}, testAll: "pytest", testOne: "pytest tests/test_%[1]s.py",
		install: "pip install -r requirements.txt", lint: "ruff check app", build: "python -m compileall app", manifest: "pyproject.toml", lock: "poetry.lock", output: pythonOutput,
	},
	{
		name: "rust", source: "src/%[1]s.rs", test: "tests/%[1]s.rs",
		code:  "//! %[1]s, in cents.\n\npub const LIMIT: u64 = %[2]d;\n\npub fn %[1]s(cents: u64, count: u64) -> u64 {\n    if count > LIMIT {\n        return 0;\n    }\n    cents * count\n}\n",
		suite: "use app::%[1]s::%[1]s;\n\n%[2]s",
		check: "    assert_eq!(%[1]s(%[2]d, 1), %[3]d);\n", open: "#[test]\nfn %[1]s() {\n", close: "}\n\n",
		testAll: "cargo test", testOne: "cargo test --test %[1]s",
		install: "cargo fetch --locked", lint: "cargo clippy", build: "cargo build", manifest: "Cargo.toml", lock: "Cargo.lock", output: rustOutput,
	},
	{
		name: "java", source: "src/main/java/app/%[1]s.java", test: "src/test/java/app/%[1]sTest.java",
		code:  "package app;\n\n/** %[1]s, in cents. */\nfinal class %[1]s {\n    static final int LIMIT = %[2]d;\n\n    static int sum(int cents, int count) {\n        if (count > LIMIT) {\n            return 0;\n        }\n        return cents * count;\n    }\n}\n",
		suite: "package app;\n\nimport static org.junit.jupiter.api.Assertions.assertEquals;\n\nimport org.junit.jupiter.api.Test;\n\nclass %[1]sTest {\n%[2]s}\n",
		check: "        assertEquals(%[3]d, %[1]s.sum(%[2]d, 1));\n", open: "    @Test\n    void %[1]s() {\n", close: "    }\n\n",
		testAll: "mvn test", testOne: "mvn test -Dtest=%[1]sTest",
		install: "mvn dependency:resolve", lint: "mvn checkstyle:check", build: "mvn package -DskipTests", manifest: "pom.xml", lock: "gradle.lockfile", output: javaOutput,
	},
}

var words = strings.Fields(`basket cart price invoice ledger account order refund parcel route ticket session voucher stock shelf
	supplier warehouse courier address country currency discount rebate margin forecast budget tenant plan quota meter badge
	calendar schedule reminder holiday payroll salary report chart table filter search index cache queue worker retry
	locale sizing catalog product review rating comment profile avatar upload thumbnail archive backup export import`)

var logins = []string{"dev", "amara", "bjorn", "chiara", "dmitri", "elif", "farid", "greta", "hiro", "ines", "jonas", "kofi"}

// newProject makes a repository with some modules and their tests.
func newProject(random *rand.Rand, templates map[string]*template) project {
	p := project{random: random, templates: templates, lang: pick(random, languages...), login: pick(random, logins...), files: map[string]string{}}
	p.entrypoint = p.one("cli", "cli", "sdk-cli")
	p.userID = p.one("3f", "a1", "c7") + fmt.Sprintf("%062x", len(p.login)*7919+int(p.login[0])*104729)
	p.name = p.one(words...) + p.one("-api", "-web", "-service", "", "-core", "-tools")
	p.branch = p.one("main", "main", "feature/", "fix/", "chore/")
	if strings.HasSuffix(p.branch, "/") {
		p.branch += strings.ToUpper(p.one(words...)) + fmt.Sprintf("-%d-", p.between(1, 900)) + p.one(words...)
	}
	for len(p.modules) < 4 {
		if m := p.one(words...); !slices.Contains(p.modules, m) && m != "import" && m != "export" && m != "index" && m != "table" && m != "test" {
			p.modules = append(p.modules, m)
			p.files[p.source(m)] = fmt.Sprintf(p.lang.code, m, p.between(10, 900))
			p.files[p.test(m)] = p.suite(m, 3)
		}
	}
	p.size = 12
	version := p.between(1, 80)
	p.files["README.md"] = fmt.Sprintf("# %s\n\nThe %s of the shop, with %s and %s.\n\n## Usage\n\nInstall it with `%s`, then run `%s`.\n", p.name, p.name, p.modules[0], p.modules[1], p.lang.install, p.lang.testAll)
	p.files["docs/guide.md"] = fmt.Sprintf("# Guide\n\n## %s\n\nHow the %s is counted. Version %d.\n\n## %s\n\nNot written yet.\n", p.modules[0], p.modules[0], version, p.modules[1])
	p.files[p.lang.manifest] = fmt.Sprintf("name = \"%s\"\nversion = \"0.%d.0\"\n", p.name, version)
	p.files[".github/workflows/ci.yml"] = fmt.Sprintf("name: ci\non: [push]\njobs:\n  test:\n    runs-on: ubuntu-latest\n    timeout-minutes: %d\n    steps:\n      - uses: actions/checkout@v4\n      - run: %s\n      - run: %s\n", p.between(5, 30), p.lang.install, p.lang.testAll)
	p.files["Dockerfile"] = fmt.Sprintf("FROM debian:12\nWORKDIR /srv/%s\nCOPY . .\nRUN %s\n", p.name, p.lang.build)
	p.files["CLAUDE.md"] = fmt.Sprintf("# %s\n\nRun `%s` before a commit.\n", p.name, p.lang.testAll)
	p.files[".claude/settings.json"] = "{\n  \"permissions\": {\n    \"deny\": [\"Bash(git push:*)\"]\n  }\n}\n"
	p.files["deploy/main.tf"] = fmt.Sprintf("resource \"null_resource\" \"%s\" {\n  count = %d\n}\n", p.modules[2], p.between(1, 9))
	p.files[".env.example"] = "SHOP_MODE=dev\nSHOP_PORT=8080\n"
	return p
}

func (p *project) source(module string) string { return fmt.Sprintf(p.lang.source, module) }
func (p *project) test(module string) string   { return fmt.Sprintf(p.lang.test, module) }

// suite is a test file with so many test cases.
func (p *project) suite(module string, n int) string {
	var cases strings.Builder
	for i := range n {
		cases.WriteString(p.testCase(module, i))
	}
	return strings.TrimSuffix(fmt.Sprintf(p.lang.suite, module, cases.String()), "\n")
}

// testCase is a test case with two assertions.
func (p *project) testCase(module string, i int) string {
	a, b := p.between(2, 500), p.between(501, 999)
	return fmt.Sprintf(p.lang.open, fmt.Sprintf("%s_%d", module, i)) + fmt.Sprintf(p.lang.check, module, a, a) + fmt.Sprintf(p.lang.check, module, b, b) + p.lang.close
}

// module is one of the repository's.
func (p *project) module() string { return p.one(p.modules...) }

// Outputs of test runs: n tests, of which the red ones fail. They differ in
// durations from run to run, and in nothing else.

func (p *project) ms() string { return fmt.Sprintf("%.6f", 0.1+p.random.Float64()*3) }

func (p *project) testName(i int) string {
	return fmt.Sprintf("%s_%d", p.modules[i/3%len(p.modules)], i%3)
}

func nodeOutput(p *project, red []string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "> %s@0.3.0 test\n> node --test test/\n\nTAP version 13\n", p.name)
	for i := range n {
		name := p.testName(i)
		fmt.Fprintf(&b, "# Subtest: %s\n", name)
		if slices.Contains(red, name) {
			fmt.Fprintf(&b, "not ok %d - %s\n  ---\n  duration_ms: %s\n  failureType: 'testCodeFailure'\n  error: |-\n    Expected values to be strictly equal:\n    \n    0 !== %d\n  code: 'ERR_ASSERTION'\n  ...\n", i+1, name, p.ms(), 10+i)
		} else {
			fmt.Fprintf(&b, "ok %d - %s\n  ---\n  duration_ms: %s\n  ...\n", i+1, name, p.ms())
		}
	}
	fmt.Fprintf(&b, "1..%d\n# tests %d\n# suites 0\n# pass %d\n# fail %d\n# cancelled 0\n# skipped 0\n# todo 0\n# duration_ms %.6f", n, n, n-len(red), len(red), 90+p.random.Float64()*200)
	return b.String()
}

func goOutput(p *project, red []string, n int) string {
	var b strings.Builder
	failed := false
	for i, m := range p.modules[:(n+2)/3] {
		bad := false
		for j := range 3 {
			if name := p.testName(3*i + j); slices.Contains(red, name) {
				fmt.Fprintf(&b, "--- FAIL: Test_%s (0.0%ds)\n    %s_test.go:%d: \n        \tError:      \tNot equal: \n        \t            \texpected: %d\n        \t            \tactual  : 0\n", name, p.between(0, 9), m, 12+j, 10+i)
				bad = true
			}
		}
		if bad {
			failed = true
			fmt.Fprintf(&b, "FAIL\nFAIL\texample.com/%s/%s\t0.%03ds\n", p.name, m, p.between(3, 900))
		} else {
			fmt.Fprintf(&b, "ok  \texample.com/%s/%s\t0.%03ds\n", p.name, m, p.between(3, 900))
		}
	}
	if failed {
		b.WriteString("FAIL\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func pythonOutput(p *project, red []string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "============================= test session starts ==============================\nplatform linux -- Python 3.12.4, pytest-8.2.2, pluggy-1.5.0\nrootdir: %s\ncollected %d items\n\n", p.cwd(), n)
	for i, m := range p.modules[:(n+2)/3] {
		fmt.Fprintf(&b, "tests/test_%s.py ", m)
		for j := range 3 {
			b.WriteString(map[bool]string{true: "F", false: "."}[slices.Contains(red, p.testName(3*i+j))])
		}
		b.WriteString("\n")
	}
	if len(red) == 0 {
		fmt.Fprintf(&b, "\n============================== %d passed in %.2fs ==============================", n, 0.05+p.random.Float64()*3)
		return b.String()
	}
	b.WriteString("\n=================================== FAILURES ===================================\n")
	for i, name := range red {
		fmt.Fprintf(&b, "____ test_%s ____\n\nmodule = <app.Module object at 0x7f%010x>\n\n>       assert value == %d\nE       assert 0 == %d\n", name, p.random.Uint64N(1<<40), 10+i, 10+i)
	}
	b.WriteString("=========================== short test summary info ============================\n")
	for i, name := range red {
		fmt.Fprintf(&b, "FAILED tests/test_%s.py::test_%s - assert 0 == %d\n", name[:strings.Index(name, "_")], name, 10+i)
	}
	fmt.Fprintf(&b, "========================= %d failed, %d passed in %.2fs =========================", len(red), n-len(red), 0.05+p.random.Float64()*3)
	return b.String()
}

func rustOutput(p *project, red []string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "    Finished `test` profile [unoptimized + debuginfo] target(s) in %.2fs\n", 0.1+p.random.Float64()*9)
	for i, m := range p.modules[:(n+2)/3] {
		fmt.Fprintf(&b, "     Running tests/%s.rs (target/debug/deps/%s)\n\nrunning 3 tests\n", m, m)
		bad := 0
		for j := range 3 {
			name := p.testName(3*i + j)
			if slices.Contains(red, name) {
				bad++
				fmt.Fprintf(&b, "test %s ... FAILED\n", name)
			} else {
				fmt.Fprintf(&b, "test %s ... ok\n", name)
			}
		}
		fmt.Fprintf(&b, "\ntest result: %s. %d passed; %d failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.%02ds\n\n", map[bool]string{true: "ok", false: "FAILED"}[bad == 0], 3-bad, bad, p.between(0, 99))
	}
	return strings.TrimRight(b.String(), "\n")
}

func javaOutput(p *project, red []string, n int) string {
	var b strings.Builder
	b.WriteString("[INFO] Scanning for projects...\n[INFO] -------------------------------------------------------\n[INFO]  T E S T S\n")
	for i, m := range p.modules[:(n+2)/3] {
		bad := 0
		for j := range 3 {
			if slices.Contains(red, p.testName(3*i+j)) {
				bad++
			}
		}
		level, end := "[INFO]", ""
		if bad > 0 {
			level, end = "[ERROR]", " <<< FAILURE!"
		}
		fmt.Fprintf(&b, "[INFO] Running app.%sTest\n%s Tests run: 3, Failures: %d, Errors: 0, Skipped: 0, Time elapsed: 0.%03d s%s -- in app.%sTest\n", m, level, bad, p.between(3, 900), end, m)
	}
	result := "BUILD SUCCESS"
	if len(red) > 0 {
		result = "BUILD FAILURE"
	}
	fmt.Fprintf(&b, "[INFO] Results:\n[INFO] Tests run: %d, Failures: %d, Errors: 0, Skipped: 0\n[INFO] %s\n[INFO] Total time:  %d.%03d s", n, len(red), result, p.between(2, 20), p.between(0, 999))
	return b.String()
}

// Steps.

func shellInput(command, description string) string {
	return obj("command", command, "description", description)
}

// sh is a shell command that works.
func sh(command, stdout string) step {
	shown := stdout
	if shown == "" {
		shown = "(Bash completed with no output)"
	}
	return step{tool: "Bash", input: shellInput(command, describe(command)), text: shown,
		response: obj("stdout", stdout, "stderr", "", "interrupted", false, "isImage", false, "noOutputExpected", false)}
}

// bad is a shell command that fails.
func bad(command string, code int, output string) step {
	return step{tool: "Bash", input: shellInput(command, describe(command)), failed: true, text: strings.TrimSpace(fmt.Sprintf("Exit code %d\n%s", code, output))}
}

func describe(command string) string {
	first, _, _ := strings.Cut(command, " ")
	return "Run " + first
}

// refused is a step that is not allowed to run; by is as in [step].
func refused(s step, by string) step {
	s.refused, s.failed, s.response = by, false, ""
	switch by {
	case "rule":
		s.text = "Permission to use " + s.tool + " has been denied."
		if command := gjson.Get(s.input, "command").Str; command != "" {
			s.text = "Permission to use " + s.tool + " with command " + command + " has been denied."
		}
	case "hook":
		s.text = "PreToolUse:" + s.tool + " hook error: Not allowed in this repository"
	case "nobody":
		s.text = "This command requires approval"
	case "host":
		s.text = "Not in this repository, please."
	case "dialog":
		s.text = "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit, the new_string was NOT written to the file). STOP what you are doing and wait for the user to tell you how to proceed."
	}
	return s
}

// read is a Read of a file.
func (p *project) read(name string) step {
	content := p.files[name]
	lines := strings.Split(content, "\n")
	var numbered []string
	for i, l := range lines {
		numbered = append(numbered, fmt.Sprintf("%d\t%s", i+1, l))
	}
	return step{tool: "Read", input: obj("file_path", p.path(name)), text: strings.Join(numbered, "\n"),
		response: obj("type", "text", "file", raw(obj("filePath", p.path(name), "content", content, "numLines", len(lines), "startLine", 1, "totalLines", len(lines))))}
}

// part is a Read of a few lines of a file.
func (p *project) part(name string, from int) step {
	lines := strings.Split(p.files[name], "\n")
	shown := lines[min(from-1, len(lines)-1):min(from+2, len(lines))]
	return step{tool: "Read", input: obj("file_path", p.path(name), "offset", from, "limit", 3), text: strings.Join(shown, "\n"),
		response: obj("type", "text", "file", raw(obj("filePath", p.path(name), "content", strings.Join(shown, "\n"), "numLines", len(shown), "startLine", from, "totalLines", len(lines))))}
}

// edit is an Edit of a file.
func (p *project) edit(name, before, after string) step {
	content := p.files[name]
	changed := strings.Replace(content, before, after, 1)
	if before == "" || changed == content {
		panic("nothing to edit in " + name + ": " + before)
	}
	return step{tool: "Edit", input: obj("file_path", p.path(name), "old_string", before, "new_string", after, "replace_all", false),
		text:     "The file " + p.path(name) + " has been updated successfully. (file state is current in your context — no need to Read it back)",
		response: obj("filePath", p.path(name), "oldString", before, "newString", after, "originalFile", content, "structuredPatch", raw(patch(content, changed)), "userModified", false, "replaceAll", false),
		change:   func(s *session) { s.files[name] = changed }}
}

// mismatch is an Edit whose text is not in the file.
func (p *project) mismatch(name, before, after string) step {
	return step{tool: "Edit", input: obj("file_path", p.path(name), "old_string", before, "new_string", after, "replace_all", false), invalid: true,
		text: "String to replace not found in file.\nString: " + before}
}

// writes is a Write of a file.
func (p *project) writes(name, content string) step {
	old, known := p.files[name]
	s := step{tool: "Write", input: obj("file_path", p.path(name), "content", content), change: func(s *session) { s.files[name] = content }}
	if known {
		s.text = "The file " + p.path(name) + " has been updated successfully. (file state is current in your context — no need to Read it back)"
		s.response = obj("type", "update", "filePath", p.path(name), "content", content, "structuredPatch", raw(patch(old, content)), "originalFile", old, "userModified", false)
	} else {
		s.text = "File created successfully at: " + p.path(name) + " (file state is current in your context — no need to Read it back)"
		s.response = obj("type", "create", "filePath", p.path(name), "content", content, "structuredPatch", raw("[]"), "originalFile", raw("null"), "userModified", false)
	}
	return s
}

// patch is the change of a file as one hunk with three lines around it.
func patch(before, after string) string {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	end := 0
	for end < min(len(a), len(b))-same && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	from := max(0, same-3)
	var lines []string
	add := func(mark string, of []string) {
		for _, l := range of {
			lines = append(lines, quote(mark+l))
		}
	}
	add(" ", a[from:same])
	add("-", a[same:len(a)-end])
	add("+", b[same:len(b)-end])
	tail := min(3, end)
	add(" ", a[len(a)-end:len(a)-end+tail])
	return "[" + obj("oldStart", from+1, "oldLines", len(a)-end+tail-from, "newStart", from+1, "newLines", len(b)-end+tail-from, "lines", raw("["+strings.Join(lines, ",")+"]")) + "]"
}

// tweak is an Edit of the limit of a module to a number that it never had.
func (p *project) tweak(module string) step {
	name := p.source(module)
	lines := strings.Split(p.files[name], "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(strings.ToLower(l), "limit") && strings.Contains(l, "=") })
	head, _, _ := strings.Cut(lines[i], "=")
	end := ""
	if strings.HasSuffix(lines[i], ";") {
		end = ";"
	}
	return p.edit(name, lines[i], fmt.Sprintf("%s= %d%s", head, p.between(1000, 999999), end))
}

// comment begins one.
func (p *project) comment() string {
	if p.lang.name == "python" {
		return "#"
	}
	return "//"
}

// grow is an Edit that adds a comment with words of its own to a module.
func (p *project) grow(module string) step {
	name := p.source(module)
	last := strings.TrimRight(p.files[name], "\n")
	last = last[strings.LastIndex(last, "\n")+1:]
	return p.edit(name, last+"\n", fmt.Sprintf("%s\n%s See %s and %s %d.\n", last, p.comment(), p.one(words...), p.one(words...), p.between(1, 9999)))
}

// suiteRun is a run of all tests; red names those that fail.
func (p *project) suiteRun(red ...string) step {
	return p.testRun(p.lang.testAll, p.size, red...)
}

func (p *project) testRun(command string, n int, red ...string) (s step) {
	output := p.lang.output(p, red, n)
	if len(red) > 0 {
		s = bad(command, 1, output)
		s.outcome = "red"
	} else {
		s = sh(command, output)
		s.outcome = "green"
	}
	s.took = p.seconds(1, 40)
	return s
}

// oneRun is a run of the tests of the first module.
func (p *project) oneRun(red ...string) step {
	return p.testRun(fmt.Sprintf(p.lang.testOne, p.modules[0]), 3, red...)
}

// after is a step with that time before it.
func after(gap time.Duration, s step) step {
	s.gap = gap
	return s
}

// asked is a step that a person allows after a time.
func asked(wait time.Duration, s step) step {
	s.wait = wait
	return s
}

// subagent is a call that starts one.
func subagent(kind, description, prompt, report string, work func(a *run)) step {
	return step{tool: "Agent", input: obj("description", description, "prompt", prompt, "subagent_type", kind, "run_in_background", false), text: report, work: work}
}

// behind is the same subagent in the background.
func behind(s step) step {
	s.input = strings.Replace(s.input, `"run_in_background":false`, `"run_in_background":true`, 1)
	s.background = true
	return s
}

// backgroundShell is a command that goes on in the background.
func (p *project) backgroundShell(command string) step {
	id := "b" + p.key(8, "abcdefghijklmnopqrstuvwxyz0123456789")
	return step{tool: "Bash", input: obj("command", command, "description", describe(command), "run_in_background", true),
		text:     "Command running in background with ID: " + id + ". You will be notified when it completes.",
		response: obj("stdout", "", "stderr", "", "interrupted", false, "isImage", false, "noOutputExpected", false, "backgroundTaskId", id)}
}

// mcp is a call of an MCP tool.
func mcp(tool, input, result string) step {
	return step{tool: tool, input: input, text: result, response: "[" + obj("type", "text", "text", result) + "]"}
}

// mcpBad is one that fails.
func mcpBad(tool, input, message string) step {
	return step{tool: tool, input: input, text: message, failed: true}
}

// grep is a call of the tool Grep.
func (p *project) grep(pattern string, hits []string) step {
	content := strings.Join(hits, "\n")
	shown := content
	if shown == "" {
		shown = "No matches found"
	}
	return step{tool: "Grep", input: obj("pattern", pattern, "output_mode", "content", "-n", true), text: shown,
		response: obj("mode", "content", "numFiles", 0, "filenames", raw("[]"), "content", content, "numLines", len(hits), "totalLines", len(hits))}
}

// glob is a call of the tool Glob.
func (p *project) glob(pattern string, names []string) step {
	var quoted []string
	for _, n := range names {
		quoted = append(quoted, quote(n))
	}
	return step{tool: "Glob", input: obj("pattern", pattern), text: strings.Join(names, "\n"),
		response: obj("filenames", raw("["+strings.Join(quoted, ",")+"]"), "durationMs", p.between(2, 30), "numFiles", len(names), "truncated", false, "totalMatches", len(names), "countIsComplete", true)}
}

// notebook is an edit of a cell of a notebook.
func (p *project) notebook(name, cell, source string) step {
	return step{tool: "NotebookEdit", input: obj("notebook_path", p.path(name), "cell_id", cell, "new_source", source), text: "Updated cell " + cell + " with " + source,
		response: obj("new_source", source, "cell_type", "code", "language", "python", "edit_mode", "replace", "cell_id", cell, "notebook_path", p.path(name))}
}
