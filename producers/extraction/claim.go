package extraction

import (
	"regexp"
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
	r.message(noStatement.ReplaceAllString(message, " "))
	claim := r.claim()
	if claim == "tests_pass" && (reportsFailure.MatchString(message) || crossedOut(message)) {
		return "tests_fail" // in doubt nobody is accused
	}
	return claim
}

var (
	// noStatement is what has the words of a claim and says nothing: what is quoted,
	// and who passes tests on to somebody.
	noStatement = regexp.MustCompile(`"[^"\n]{1,200}"|“[^”\n]{1,200}”|(?i)\bpass(?:es|ed|ing)? (?:the |its |all )?tests? (?:director|arra|folder|path|file|list|object|argument|option|config|name|data|flag|suite to)\w*`)
	// reportsFailure is what is said of a failure in words that are no statement about
	// the tests as a whole.
	reportsFailure = regexp.MustCompile(`(?i)\b(?:reports?|shows?|gives?|had|has) (?:one|two|three|\d+) (?:test )?fail|\b(?:one|two|three) (?:of them |test )?(?:still )?fails?\b|\bfail(?:s|ed) again\b|\bstill fail`)
)

// crossedOut tells a line about tests that begins with a cross.
func crossedOut(message string) bool {
	if !strings.ContainsAny(message, "❌✗✘") {
		return false
	}
	for line := range strings.Lines(message) {
		line = strings.ToLower(strings.TrimLeft(line, " -*+\t"))
		if strings.Contains(line, "test") && (strings.HasPrefix(line, "❌") || strings.HasPrefix(line, "✗") || strings.HasPrefix(line, "✘")) {
			return true
		}
	}
	return false
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
			header := i+1 < len(lines) && strings.HasPrefix(strings.TrimSpace(lines[i+1]), "|") && strings.Contains(lines[i+1], "---")
			if !header {
				paragraph = append(paragraph, strings.ReplaceAll(line, "|", " "))
				flush()
			}
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
	r.sentence++
	r.conditional, r.about, r.past = false, false, false
	for i := range words {
		r.about = r.about || (&claimClause{words: words}).isTest(i)
	}
	first := len(r.said)
	start := 0
	cut := func(end int) {
		if start < end {
			r.clause(words[start:end])
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
	if question || r.wishes {
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
func (r *claimReader) clause(words []claimWord) {
	c := claimClause{words: words, subject: -1}
	for i := range words {
		if c.subject < 0 && c.isTest(i) {
			c.subject = i
		}
		r.conditional = r.conditional || conditions[words[i].text]
	}
	c.known = r.about || r.tests > 0 && r.sentence-r.tests <= 2
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
		if !c.onlyNames(i) {
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
	return c.isPronoun(i, kind)
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
	sure := c.known
	for at := range i {
		text := c.at(at)
		_, total, fraction := fractionOf(text)
		switch {
		case fraction && total > 0:
			sure = true
		case text == "everything" && kind == passing && c.at(i) != "green":
			sure = true
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
			return true
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
	switch text {
	case "green", "ok", "okay", "successful":
		if !beVerbs[before] && !everything[before] && !nows[before] && !(i > 0 && c.isTest(i-1)) {
			return false
		}
	case "successfully":
		return c.any(0, i, runVerbs)
	case "passing":
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
		if text := c.at(at); negations[text] {
			near := i-at <= 3 || everything[c.at(at+1)] || text == "no" || text == "none" || text == "neither"
			return near, true
		}
	}
	return false, false
}

// hedged tells that the word at i is no statement: it should pass, make it
// pass, when the tests pass.
func (c *claimClause) hedged(i int) bool {
	if before := c.at(i - 1); before == "to" && !strings.HasPrefix(c.at(i-2), "continue") || before == "that" || before == "which" && i > 1 || before == "not" && c.at(i-2) == "or" {
		return true
	}
	for at := range i {
		text := c.at(at)
		switch {
		case c.words[at].code:
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
		case text == "that" && at == 0: // so that the tests pass
			return true
		}
	}
	return false
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
		if ok && n < of && !everything[c.at(at-1)] || at < i && parts[text] || text == "but" {
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
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '`':
			code = !code
		case claimMarks[r]:
			words = append(words, claimWord{text: string(r)})
		case wordRune(r):
			end := i + size
			for end < len(text) {
				r, size := utf8.DecodeRuneInString(text[end:])
				if !wordRune(r) && !(strings.ContainsRune("'’-./:", r) && end+size < len(text) && wordRune(rune(text[end+size]))) {
					break
				}
				end += size
			}
			words = appendWord(words, text[i:end], code)
			i = end
			continue
		case code:
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
