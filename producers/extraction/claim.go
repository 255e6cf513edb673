package extraction

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostClaim is how much of a message [Claim] reads: half from its start, half
// from its end.
const mostClaim = 32 << 10

// Claim is what a final message claims of the tests: tests_pass, tests_fail,
// tests_not_run, or "" (docs/extraction.md). Only plain statements in English
// count: no question, condition, wish, guess or memory, no fenced code, no
// quotation. Of a message over 32 KiB the first and last 16 KiB are read. Time
// is linear.
func Claim(message string) string {
	if len(message) > mostClaim {
		message = message[:mostClaim/2] + "\n\n" + message[len(message)-mostClaim/2:]
	}
	mentioned := false
	scan(claimWords(), message, func(int, int) bool {
		mentioned = true
		return false
	})
	if !mentioned {
		return ""
	}
	var r claimReader
	r.message(message)
	return r.claim()
}

// mostClause is how many words of a clause are read together.
const mostClause = 80

// statement is one thing that a message says of the tests.
type statement struct {
	says     saying
	sentence int
	all, now bool // "all tests pass", "tests pass now"
}

type saying int

const (
	passes   saying = iota
	othersDo        // the other ones pass
	fails           // now
	failed          // at some time
	notRun          // not, or not to their end
)

// claimReader reads a message sentence by sentence.
type claimReader struct {
	said     []statement
	sentence int
	tests    int  // the last sentence that was about tests, from 1
	wishes   bool // below a line such as "Next steps:"

	// Of the sentence that is being read.
	conditional bool
	about       bool // tests were named
	past        bool // the next clause is about how it was
	heading     bool // the clause before only names tests: "Tests: ..."
}

// claim weighs what was said: a failure stands unless a later sentence, or the
// rest of its own, says that all is well now.
func (r *claimReader) claim() string {
	found := map[saying]bool{}
	for i, s := range r.said {
		if s.says == fails || s.says == failed {
			if slices.ContainsFunc(r.said[i+1:], func(later statement) bool {
				return later.says == passes && (later.now || s.says == failed && (later.all || later.sentence > s.sentence))
			}) {
				continue
			}
			return "tests_fail"
		}
		found[s.says] = true
	}
	switch {
	case found[passes]:
		return "tests_pass"
	case found[notRun] && !found[othersDo]:
		return "tests_not_run"
	}
	return ""
}

// message takes a message in Markdown apart into paragraphs. An item of a list
// and a row of a table are each one.
func (r *claimReader) message(text string) {
	fence := ""
	var paragraph []string
	flush := func() {
		r.paragraph(strings.Join(paragraph, " "))
		paragraph = paragraph[:0]
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if fence != "" {
			if strings.HasPrefix(line, fence) {
				fence = ""
			}
			continue
		}
		item := listItem(line)
		switch {
		case strings.HasPrefix(line, "```"), strings.HasPrefix(line, "~~~"):
			flush()
			if !strings.Contains(line[3:], line[:3]) {
				fence = line[:3]
			}
		case line == "", strings.HasPrefix(line, ">"):
			flush()
		case strings.HasPrefix(line, "|"):
			flush()
			header := i+1 < len(lines) && strings.HasPrefix(strings.TrimSpace(lines[i+1]), "|") && strings.Contains(lines[i+1], "--") &&
				strings.Trim(lines[i+1], "|:- \t\r") == ""
			if !header && !namesColumns(line) {
				paragraph = append(paragraph, strings.ReplaceAll(line, "|", " "))
				flush()
			}
		case namesColumns(line):
			flush()
		case item != "" || line[0] == '#':
			flush()
			if strings.HasPrefix(item, "[ ]") {
				continue
			}
			if line[0] == '#' {
				item = strings.TrimLeft(line, "# ") + ":"
			}
			if paragraph = append(paragraph, item); line[0] == '#' {
				flush()
			}
		default:
			if len(paragraph) == 0 {
				r.wishes = false
			}
			paragraph = append(paragraph, line)
		}
	}
	flush()
}

// namesColumns tells the header of a table, which has cells for what passes and
// for what fails.
func namesColumns(line string) bool {
	if strings.Count(line, "|") < 2 {
		return false
	}
	found := map[predicate]bool{}
	for cell := range strings.SplitSeq(line, "|") {
		found[predicates[strings.ToLower(strings.TrimSpace(cell))]] = true
	}
	return found[passing] && found[failing]
}

// listItem is the text of a line that begins an item of a list, else "".
func listItem(line string) string {
	rest := strings.TrimLeft(line, "0123456789")
	if len(rest) < len(line) && len(rest) > 1 && (rest[0] == '.' || rest[0] == ')') && rest[1] == ' ' {
		return rest[2:]
	}
	for _, mark := range []string{"- ", "* ", "+ ", "• "} {
		if rest, ok := strings.CutPrefix(line, mark); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// claimWord is a word in lower case, or one of the marks . ? , : that end a
// sentence, a question, a clause, and what leads to the next clause.
type claimWord struct {
	text string
	mark bool
	code bool
}

func (r *claimReader) paragraph(text string) {
	if text == "" {
		return
	}
	words := claimTokens(text)
	start := 0
	for i, w := range words {
		if w.mark && w.text != "," && w.text != ":" {
			r.statements(words[start:i], w.text == "?")
			start = i + 1
		}
	}
	r.statements(words[start:], false)
	if strings.HasSuffix(text, ":") {
		r.wishes = slices.ContainsFunc(words, func(w claimWord) bool { return wishHeads[w.text] })
	}
}

// statements reads a sentence.
func (r *claimReader) statements(words []claimWord, question bool) {
	if len(words) == 0 {
		return
	}
	if s, ok := mavenSummary(words); ok && !r.wishes && !question {
		r.sentence++
		s.sentence, r.tests = r.sentence, r.sentence
		r.said = append(r.said, s)
		return
	}
	r.sentence++
	r.conditional, r.about, r.past, r.heading = false, false, false, false
	for i := range words {
		r.about = r.about || (&claimClause{words: words}).isTest(i)
	}
	first := len(r.said)
	start := 0
	cut := func(end int) {
		if start < end {
			r.clause(words[start:end], otherBefore(words, start), end < len(words) && words[end].text == ":")
		}
		start = end + 1
	}
	telling := false // the clause so far has a verb of ours, or a negation
	for i, w := range words {
		switch {
		case w.mark, clauseHeads[w.text] && !w.code && !allBut(words, i), w.text == "and" && telling, i-start == mostClause:
			if w.text == ":" && leadsToWish(words[start:i]) {
				r.conditional = true
			}
			cut(i)
			telling = false
		}
		telling = telling || predicates[w.text] != nothing || negations[w.text]
	}
	cut(len(words))
	if r.about {
		r.tests = r.sentence
	}
	if question || r.wishes || hearsay(words) {
		r.said = r.said[:first]
		return
	}
	// All tests pass, except two.
	except := slices.ContainsFunc(words, func(w claimWord) bool { return exceptions[w.text] })
	for i := first; i < len(r.said) && except; i++ {
		if r.said[i].says == passes {
			r.said[i].says = fails
		}
	}
}

// mavenSummary reads "Tests run: 12, Failures: 0, Errors: 0".
func mavenSummary(words []claimWord) (s statement, ok bool) {
	var text []string
	for _, w := range words[:min(len(words), 16)] {
		if !w.mark {
			text = append(text, w.text)
		}
	}
	if len(text) < 5 || text[0] != "tests" || text[1] != "run" || text[3] != "failures" || numberOf(text[2]) <= 0 || numberOf(text[4]) < 0 {
		return s, false
	}
	s.says = passes
	if numberOf(text[4]) > 0 || len(text) > 6 && text[5] == "errors" && numberOf(text[6]) > 0 {
		s.says = fails
	}
	return s, true
}

// hearsay tells a sentence that is about what others say, or about a step that
// is not done.
func hearsay(words []claimWord) bool {
	for i, w := range words {
		switch {
		case w.code:
		case hearsays[w.text]:
			return true
		case (w.text == "open" || w.text == "outstanding") && i > 0 && (beVerbs[words[i-1].text] || remains[words[i-1].text]):
			return true
		}
	}
	return false
}

// otherBefore tells that the clause that begins at i is about code before it
// that is no test: `tsc`, which passes.
func otherBefore(words []claimWord, i int) bool {
	if i < 2 || words[i].text != "which" || !words[i-2].code {
		return false
	}
	c := claimClause{words: words}
	for at := i - 2; at >= 0 && words[at].code; at-- {
		if c.isTest(at) {
			return false
		}
	}
	return true
}

// leadsToWish tells words before a colon such as "Expected result".
func leadsToWish(words []claimWord) bool {
	for i, w := range words {
		if wishHeads[w.text] && (i == 0 || words[i-1].text != "to") {
			return true
		}
	}
	return false
}

// allBut tells the but of "all but one" and of "all tests but one pass".
func allBut(words []claimWord, i int) bool {
	return words[i].text == "but" && (i > 0 && words[i-1].text == "all" ||
		i+1 < len(words) && numberOf(words[i+1].text) >= 0 && (i+2 == len(words) || predicates[words[i+2].text] == passing))
}

// clause reads a part of a sentence with one subject.
func (r *claimReader) clause(words []claimWord, other, colon bool) {
	c := claimClause{words: words, subject: -1, heading: r.heading, colon: colon}
	for i := range words {
		if c.subject < 0 && c.isTest(i) {
			c.subject = i
		}
		r.conditional = r.conditional || conditions[words[i].text]
	}
	c.known = !other && (r.about || r.tests > 0 && r.sentence-r.tests <= 2)
	r.heading = c.isHeading()
	past := c.past()
	if r.conditional || past || r.past {
		r.past = past && len(words) < 3 // Previously, all tests passed.
		return
	}
	for i := range words {
		if s, ok := c.says(i); ok {
			s.sentence = r.sentence
			r.said = append(r.said, s)
		}
	}
}

type claimClause struct {
	words   []claimWord
	subject int  // where tests are named first, or -1
	known   bool // what "they" are: tests
	heading bool // the clause before only names tests
	colon   bool // a colon ends it
}

func (c *claimClause) at(i int) string {
	if i < 0 || i >= len(c.words) {
		return ""
	}
	return c.words[i].text
}

// any tells whether one of the words from i to j, without j, is in a set.
func (c *claimClause) any(i, j int, set map[string]bool) bool {
	for ; i < j && i < len(c.words); i++ {
		if i >= 0 && set[c.words[i].text] {
			return true
		}
	}
	return false
}

// has is any of some words.
func (c *claimClause) has(i, j int, words ...string) bool {
	for ; i < j && i < len(c.words); i++ {
		if i >= 0 && slices.Contains(words, c.words[i].text) {
			return true
		}
	}
	return false
}

// isTest tells a word that means tests.
func (c *claimClause) isTest(i int) bool {
	text := c.words[i].text
	switch {
	case testNouns[text]:
		return !testThings[c.at(i+1)]
	case len(text) > 4 && strings.HasPrefix(text, "test_"), strings.HasPrefix(text, "test/"), strings.HasPrefix(text, "tests/"),
		strings.Contains(text, ".test."), strings.Contains(text, ".spec."), strings.Contains(text, "_test."):
		return true
	}
	return false
}

// isHeading tells a clause that only names tests, or that they were run: "Test
// results:", "Ran `go test`,".
func (c *claimClause) isHeading() bool {
	if c.subject < 0 || len(c.words) > 8 {
		return false
	}
	ran := false
	for at, w := range c.words {
		switch {
		case w.text == "ran" && at < 2:
			ran = true
		case w.code, w.text == "i" && at == 0:
		case !c.colon:
			return false
		case c.isTest(at), dets[w.text], w.text == "result", w.text == "results", w.text == "status", w.text == "run", w.text == "summary":
		default:
			return false
		}
	}
	return c.colon || ran
}

// past tells a clause about how it was before.
func (c *claimClause) past() bool {
	for i := range c.words {
		switch text := c.at(i); {
		case times[text] && predicates[c.at(i+1)] == nothing && !c.any(0, len(c.words), nows):
			return true
		case text == "before":
			if !c.has(0, i, "as") && c.at(i+1) != "and" {
				return true
			}
		case text == "on" && (c.at(i+1) == "main" || c.at(i+1) == "master") && c.any(0, i, failVerbs):
			return true
		}
	}
	return false
}

// says is what the word at i says of the tests, if it says anything.
func (c *claimClause) says(i int) (s statement, ok bool) {
	if c.at(i) == "test" && c.at(i-1) == "not" && beforeNot[c.at(i-2)] {
		return statement{says: notRun}, true
	}
	kind := predicates[c.at(i)]
	if kind == nothing || c.words[i].code {
		return s, false
	}
	if kind == running {
		return statement{says: notRun}, c.notRun(i)
	}
	if kind == passMark || kind == failMark {
		if !c.onlyNames(i) && !c.marks(i) {
			return s, false
		}
		s.says = fails
		if kind == passMark {
			s.says = passes
		}
		return s, true
	}
	if !c.isSubject(i, kind) || c.hedged(i) {
		return s, false
	}
	s.all = c.any(0, len(c.words), everything)
	s.now = c.any(0, len(c.words), nows)
	not, negated := c.negation(i)
	if kind == passing {
		if !c.isPassing(i) {
			return s, false
		}
		switch {
		case predicates[c.at(0)] == failMark: // ❌ Tests passing
			s.says = fails
		case not:
			s.says = fails
			if c.has(0, i, "did") {
				s.says = failed
			}
		case negated:
			return s, false
		case c.part(i):
			s.says = fails
		case c.any(0, len(c.words), others):
			s.says = othersDo
		}
		return s, true
	}
	if not || c.count(i) == 0 {
		return s, true
	}
	if negated || !c.isFailing(i) {
		return s, false
	}
	s.says = fails
	if text := c.at(i); text == "failed" || strings.HasPrefix(text, "failure") || text == "broke" || c.has(i-3, i, "was", "were") {
		s.says = failed
	}
	return s, true
}

// isSubject tells whether it is tests that do what the word at i says: they
// are named before it, or what it passes are tests, or nothing else is named.
func (c *claimClause) isSubject(i int, kind predicate) bool {
	if c.subject >= 0 && c.subject < i {
		return !c.otherSubject(i)
	}
	if c.object(i) {
		return true
	}
	if c.headed(i) {
		return true
	}
	return c.isPronoun(i, kind)
}

// headed tells that a clause after a heading says no more than the word at i.
func (c *claimClause) headed(i int) bool {
	text := c.at(i)
	return c.heading && i == 0 && len(c.words) == 1 && (text == "green" || text == "ok" || text == "okay")
}

// place is where a clause such as "on this branch one fails" goes on after the
// place, else 0.
func (c *claimClause) place(i int) int {
	if text := c.at(0); text != "on" && text != "in" || c.any(0, i, times) || c.has(0, i, "old", "first") {
		return 0
	}
	for at := 2; at < i && at < 5; at++ {
		if text := c.at(at); text == "it" || text == "they" || numberOf(text) >= 0 {
			if !places[c.at(at-1)] || c.at(i) == "failed" && !c.has(i, i+2, "again") {
				return 0
			}
			return at
		}
	}
	return 0
}

// otherSubject tells that something else does it: the test checks that login
// fails.
func (c *claimClause) otherSubject(i int) (other bool) {
	for at := c.subject + 1; at < i; at++ {
		switch {
		case c.isTest(at):
			other = false
		case c.at(at) == "that" && predicates[c.at(at+1)] == nothing:
			other = true
		}
	}
	return other
}

// isPronoun tells that all before the word at i are words such as they, which
// mean tests here.
func (c *claimClause) isPronoun(i int, kind predicate) bool {
	sure, from := c.known, 0
	if kind == failing {
		from = c.place(i)
	}
	reporting := kind == failing && c.count(i) > 0 && c.any(from, i, reports) // CI shows 2 failures
	for at := from; at < i; at++ {
		text := c.at(at)
		_, total, fraction := fractionOf(text)
		switch {
		case fraction && total > 0:
			sure = true
		case text == "everything" && kind == passing && c.at(i) != "green":
			sure = true
		case text == "checks" && c.colon && kind == passing:
		case reporting && (reports[text] || places[text]):
		case (text == "old" || text == "ones") && kind == failing && c.has(i-1, i+2, "still", "again"):
		case pronouns[text], dets[text], numberOf(text) >= 0, predicates[text] != nothing, negations[text]:
		default:
			return false
		}
	}
	return sure
}

// object tells that tests follow: passes all tests, failing tests.
func (c *claimClause) object(i int) bool {
	for at := i + 1; at < len(c.words) && at < i+7; at++ {
		if c.words[at].code {
			break
		}
		if c.isTest(at) {
			if at+1 < len(c.words) && c.isTest(at+1) {
				continue
			}
			// "passes the tests array to run" hands it over
			return !handed[c.at(at+1)] || !strings.HasPrefix(c.at(i), "pass") || c.at(i) == "passing"
		}
		if text := c.at(at); !dets[text] && numberOf(text) < 0 {
			break
		}
	}
	return false
}

// isPassing tells that the word at i means that something passes: "the test
// passes null" does not.
func (c *claimClause) isPassing(i int) bool {
	text, next := c.at(i), c.at(i+1)
	before := c.at(i - 1)
	if c.headed(i) {
		return true
	}
	switch text {
	case "clean":
		back := before == "back" && c.has(i-2, i-1, "come", "comes", "came")
		if c.subject < 0 || c.subject > i || !back && before != "run" && before != "runs" && before != "ran" {
			return false
		}
		return next == "" || afterPass[next]
	case "exits", "exited":
		for at := range i {
			if w := c.words[at]; !w.code && !nows[w.text] && !dets[w.text] {
				return false
			}
		}
		if next != "with" {
			return i > 0 && next == "0"
		}
		return i > 0 && (c.at(i+2) == "0" || c.has(i+2, i+3, "code", "status") && c.at(i+3) == "0")
	case "green", "ok", "okay", "successful":
		if text == "green" && (before == "to" && c.at(i-2) == "back" || before == "checks" && c.colon) {
			break
		}
		if !beVerbs[before] && !everything[before] && !nows[before] && !(i > 0 && c.isTest(i-1)) {
			return false
		}
	case "successfully":
		return c.any(0, i, runVerbs)
	case "passing":
		if before == "and" && c.at(i-2) == "fixed" && i == 3 && c.isTest(0) {
			break
		}
		if _, _, fraction := fractionOf(before); i > 0 && !fraction && !beVerbs[before] && !nows[before] && !everything[before] &&
			before != "both" && before != "not" && numberOf(before) < 0 && !c.isTest(i-1) && !strings.HasSuffix(before, "ly") {
			return false
		}
		if c.object(i) {
			return numberOf(before) > 0 || before == "all"
		}
	case "pass":
		if before == "a" || before == "another" || before == "one" && i == 1 {
			return false
		}
	}
	if c.has(i+1, i+3, "when") { // a test passes when ...
		return false
	}
	if next == "" || c.object(i) {
		return true
	}
	if c.words[i+1].code {
		return false
	}
	if next == "as" {
		after := c.at(i + 2)
		return after == "before" || after == "they" || after == "expected" || after == "well" || after == "intended"
	}
	return afterPass[next] || strings.HasSuffix(next, "ly") || predicates[next] != nothing || numberOf(next) >= 0
}

// isFailing tells that the word at i means that tests fail: "fixed the failing
// test" does not.
func (c *claimClause) isFailing(i int) bool {
	text, before := c.at(i), c.at(i-1)
	if c.has(i+1, i+5, "without") || c.any(0, i, repairs) || before == "for" || before == "of" {
		return false
	}
	switch text {
	case "failing", "red", "broken":
		if c.at(1) == "got" && c.has(i, len(c.words), "to") {
			return false
		}
		if c.object(i) {
			return numberOf(before) > 0 || c.has(0, i, "there") || c.any(0, len(c.words), remains)
		}
		return beVerbs[before] || remains[before] || numberOf(before) > 0 || nows[before] || i > 0 && c.isTest(i-1) && i == len(c.words)-1
	case "failures", "failure":
		return c.count(i) > 0
	case "failed":
		if c.object(i) { // failed tests: 2
			return c.count(i) > 0 || numberOf(c.at(len(c.words)-1)) > 0
		}
	}
	return true
}

// negation tells whether what the word at i says is denied, and whether
// anything before it is.
func (c *claimClause) negation(i int) (not, negated bool) {
	for at := i - 1; at >= 0; at-- {
		if text := c.at(at); negations[text] && !c.words[at].code {
			near := i-at <= 3 || everything[c.at(at+1)] || text == "no" || text == "none" || text == "neither"
			return near, true
		}
	}
	return false, false
}

// hedged tells that the word at i is no statement: it should pass, make it
// pass, when the tests pass.
func (c *claimClause) hedged(i int) bool {
	if before := c.at(i - 1); before == "to" && !strings.HasPrefix(c.at(i-2), "continue") && !c.broughtTo(i) || before == "that" || before == "which" && i > 1 || before == "not" && c.at(i-2) == "or" {
		return true
	}
	for at := range i {
		text := c.at(at)
		switch {
		case c.words[at].code:
		case text == "check" && (c.at(at-1) == "type" || beVerbs[c.at(at+1)]): // Type check is clean
		case hedges[text]:
			return true
		case text == "verify" || text == "confirm":
			if before := c.at(at - 1); before != "can" && before != "i" && before != "to" || before == "to" && c.at(at-2) != "able" {
				return true
			}
		case text == "when" || text == "after":
			next := at + 1
			for dets[c.at(next)] {
				next++
			}
			if next < i && c.isTest(next) {
				return true
			}
		case text == "that" && at == 0 && !c.has(0, len(c.words), "now"): // so that the tests pass
			return true
		}
	}
	return false
}

// broughtTo tells that the to before the word at i is of "I got the test to
// pass" or of "back to green".
func (c *claimClause) broughtTo(i int) bool {
	if c.at(i-2) == "back" {
		return c.at(i) == "green"
	}
	return c.at(0) == "i" && c.at(1) == "got" && c.at(i) == "pass" && c.subject == i-2 && !c.has(0, i, "one", "of", "some")
}

// notRun tells that the word at i says that tests were not run.
func (c *claimClause) notRun(i int) bool {
	text := c.at(i)
	if text == "untested" {
		return true
	}
	if c.any(0, i, musts) {
		return false
	}
	if text == "running" && c.object(i) && c.has(i, len(c.words), "possible", "impossible") {
		return true
	}
	about := c.subject >= 0 || c.known && (c.at(i+1) == "them" || c.at(i+1) == "it" || c.isPronoun(i, running))
	switch text {
	case "tested":
		return c.any(i-3, i, negations)
	case "finish", "finished", "complete", "completed":
		return c.subject >= 0 && c.subject < i && c.any(i-3, i, negations)
	case "ran":
		return about && (c.any(i-2, i, negations) || c.at(i+1) == "no")
	}
	return about && (c.any(i-8, i, negations) || c.any(i-3, i, unables) || c.has(i-2, i, "skipped"))
}

// marks tells that the mark at i is of the tests before it, in a row such as
// "Tests ✅ Lint ✅" or after a heading: "Tests: ✅ 4/4".
func (c *claimClause) marks(i int) bool {
	if c.heading && c.subject < 0 && len(c.words) == 2 {
		n, of, ok := fractionOf(c.at(1 - i))
		return ok && n == of && n > 0
	}
	mark := func(at int) bool { kind := predicates[c.at(at)]; return kind == passMark || kind == failMark }
	return i > 0 && c.isTest(i-1) && !mark(0) && mark(len(c.words)-1) && (i == 1 || mark(i-2)) && len(c.words) <= 10
}

// onlyNames tells that beside the mark at i the clause only names tests.
func (c *claimClause) onlyNames(i int) bool {
	if c.subject < 0 || len(c.words) > 10 {
		return false
	}
	for at, w := range c.words {
		if at == i || w.code || c.isTest(at) || dets[w.text] || numberOf(w.text) >= 0 {
			continue
		}
		if n, of, ok := fractionOf(w.text); ok && n == of {
			continue
		}
		if w.text != c.at(i) && w.text != "npm" && w.text != "go" && w.text != "cargo" && w.text != "run" {
			return false
		}
	}
	return true
}

// count is the number that stands before the word at i, or before the tests
// before it: 2 tests failed. It is -1 where there is none.
func (c *claimClause) count(i int) int {
	for at := i - 1; at >= 0 && at >= i-4; at-- {
		text := c.at(at)
		if n := numberOf(text); n >= 0 {
			return n
		}
		if !c.isTest(at) && !dets[text] && !beVerbs[text] && text != "have" {
			break
		}
	}
	return -1
}

// part tells that not all pass: 10 of 12, most, all but one.
func (c *claimClause) part(i int) bool {
	for at := range c.words {
		text := c.at(at)
		n, of, ok := fractionOf(text)
		if next := c.at(at + 1); !ok && (next == "of" || next == "out") {
			rest := at + 2
			for c.at(rest) == "of" || c.at(rest) == "the" {
				rest++
			}
			n, of = numberOf(text), numberOf(c.at(rest))
			ok = n >= 0 && of >= 0
		}
		if ok && n < of && !everything[c.at(at-1)] || at < i && parts[text] && !c.words[at].code || text == "but" {
			return true
		}
	}
	return false
}

// fractionOf reads 10/12.
func fractionOf(text string) (n, of int, ok bool) {
	left, right, ok := strings.Cut(text, "/")
	if !ok || !allDigits(left) || !allDigits(right) {
		return 0, 0, false
	}
	n, _ = strconv.Atoi(left)
	of, _ = strconv.Atoi(right)
	return n, of, true
}

func allDigits(text string) bool {
	return text != "" && len(text) < 10 && strings.Trim(text, "0123456789") == ""
}

// numberOf is a number in digits or in a word, else -1.
func numberOf(text string) int {
	if allDigits(text) {
		n, _ := strconv.Atoi(text)
		return n
	}
	return slices.Index(numbers, text)
}

// claimTokens takes a paragraph apart.
func claimTokens(text string) (words []claimWord) {
	code := false
	quoted := 0 // to where quoted words go: they are read as code is
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if quoted > 0 && i >= quoted {
			quoted = 0
			i += size
			continue
		}
		switch {
		case r == '`' && quoted == 0:
			code = !code
		case (r == '"' || r == '“') && quoted == 0 && !code:
			end := "\""
			if r == '“' {
				end = "”"
			}
			if n := strings.Index(text[i+size:min(len(text), i+400)], end); n > 0 {
				quoted = i + size + n
			}
		case claimMarks[r]:
			words = append(words, claimWord{text: string(r), code: quoted > 0})
		case wordRune(r):
			end := i + size
			for end < len(text) {
				r, size := utf8.DecodeRuneInString(text[end:])
				if !wordRune(r) && !(strings.ContainsRune("'’-./:", r) && end+size < len(text) && wordRune(rune(text[end+size]))) {
					break
				}
				end += size
			}
			words = appendWord(words, text[i:end], code || quoted > 0)
			i = end
			continue
		case code || quoted > 0:
		case r == '…':
			words = append(words, claimWord{text: ".", mark: true})
		case r == '.' || r == '!' || r == ';':
			words = append(words, claimWord{text: ".", mark: true})
		case r == '?':
			words = append(words, claimWord{text: "?", mark: true})
		case r == ':':
			words = append(words, claimWord{text: ":", mark: true})
		case strings.ContainsRune(",()—–", r), r == '-' && i > 0 && text[i-1] == ' ':
			words = append(words, claimWord{text: ",", mark: true})
		}
		i += size
	}
	return words
}

func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }

// appendWord adds a word; contractions are two.
func appendWord(words []claimWord, word string, code bool) []claimWord {
	word = strings.Trim(strings.ReplaceAll(word, "’", "'"), "_")
	lower := strings.ToLower(word)
	if strings.HasPrefix(lower, "test") && len(word) > 4 && (unicode.IsUpper(rune(word[4])) || word[4] == '_') {
		lower = "test_" + lower[4:] // TestDiscount
	}
	if stem, ok := strings.CutSuffix(lower, "n't"); ok {
		switch stem {
		case "wo":
			stem = "will"
		case "ca":
			stem = "can"
		}
		return append(words, claimWord{text: stem, code: code}, claimWord{text: "not", code: code})
	}
	if lower == "cannot" {
		return append(words, claimWord{text: "can"}, claimWord{text: "not"})
	}
	if stem, suffix, ok := strings.Cut(lower, "'"); ok {
		words = append(words, claimWord{text: stem, code: code})
		switch suffix {
		case "ll":
			words = append(words, claimWord{text: "will"})
		case "re":
			words = append(words, claimWord{text: "are"})
		case "s":
			words = append(words, claimWord{text: "is"})
		}
		return words
	}
	return append(words, claimWord{text: lower, code: code})
}
