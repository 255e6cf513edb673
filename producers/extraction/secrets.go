package extraction

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"
)

// mostScanned is how much of a text is searched for secrets.
const mostScanned = 1 << 20

// SecretClass is the id of the rule by which the text holds a secret, the
// first one; "" if it holds none. The rules are those of gitleaks v8 and a few
// of our own (see secretRules). Of a text over 1 MiB the first MiB is searched.
func SecretClass(text []byte) (rule string) {
	if found := secrets(text); len(found) > 0 {
		return found[0].rule.id
	}
	return ""
}

// SecretClassIn is SecretClass for the text of a file: the well-known examples of
// documentation (keys that say EXAMPLE) do not count in a file of documentation.
// A path of "" is no such file. The text may be JSON.
func SecretClassIn(path string, text []byte) (rule string) {
	documentation := false
	switch FileType(path) {
	case "md", "mdx", "rst", "adoc", "txt", "html":
		documentation = true
	}
	text = unescaped(text[:min(len(text), mostScanned)])
	for _, s := range secrets(text) {
		if !documentation || !bytes.Contains(bytes.ToUpper(text[s.start:s.end]), []byte("EXAMPLE")) {
			return s.rule.id
		}
	}
	return ""
}

// unescaped is a text, or a copy of it, with quotes and white space for their
// escapes in JSON, at any depth: rules know what may stand around a secret, and
// a backslash or an n is none of it.
func unescaped(text []byte) []byte {
	var out []byte
	from := 0
	for at := bytes.IndexByte(text, '\\'); at >= 0; {
		end := at + 1
		for end < len(text) && text[end] == '\\' {
			end++
		}
		if end == len(text) {
			break
		}
		if as := unescapes[text[end]]; as != 0 {
			if out == nil {
				out = make([]byte, 0, len(text))
			}
			out = append(append(out, text[from:at]...), as)
			from = end + 1
		}
		next := bytes.IndexByte(text[end:], '\\')
		if next < 0 {
			break
		}
		at = end + next
	}
	if out == nil {
		return text
	}
	return append(out, text[from:]...)
}

var unescapes = [256]byte{'"': '"', 'n': '\n', 'r': '\r', 't': '\t'}

// HideSecrets replaces each secret in a string by [redacted:<rule>].
func HideSecrets(text string) string {
	for range 4 { // a long string may hold more than are found at once
		found := secrets([]byte(text))
		if len(found) == 0 {
			return text
		}
		var b strings.Builder
		at := 0
		for _, s := range found {
			b.WriteString(text[at:s.start])
			b.WriteString("[redacted:" + s.rule.id + "]")
			at = s.end
		}
		b.WriteString(text[at:])
		text = b.String()
	}
	return "[redacted]"
}

// Plain tells quickly (a nanosecond or two a byte) that a string holds nothing
// to hide: no secret, no home folder, no control or non-ASCII character. False
// means no more than: look closer.
func Plain(text string) bool {
	if obvious(text) {
		return true
	}
	set := secretRules()
	suspect := len(text) > 1 && text[0] == '~' && text[1] != '/'
	scan(set.suspects, text, func(word, end int) bool {
		if word >= len(set.words) {
			suspect = true
			return false
		}
		for _, rule := range set.byWord[word] {
			suspect = suspect || near(rule, text, end-len(set.words[word]), end)
		}
		return !suspect
	})
	return !suspect && longKey(text, 0) < 0
}

// obvious tells the plain strings that most fields hold: uuids and hashes in
// hex, and short words, which no secret is short enough for.
func obvious(text string) bool {
	kind := hexByte | wordByte
	for i := range len(text) {
		kind &= plainKind[text[i]]
	}
	return kind&hexByte != 0 || kind&wordByte != 0 && len(text) < tokenRun && (text == "" || text[0] != '-')
}

const (
	hexByte  uint8 = 1 << iota // 0-9 a-f -
	wordByte                   // letters, digits, - _ . and blanks
)

var plainKind = func() (kinds [256]uint8) {
	for b := range kinds {
		c := byte(b)
		if isDigit(c) || 'a' <= c && c <= 'f' || c == '-' {
			kinds[b] |= hexByte
		}
		if isAlnum(c) || c == '-' || c == '_' || c == '.' || c == ' ' {
			kinds[b] |= wordByte
		}
	}
	return kinds
}()

// secret is where a text holds a secret.
type secret struct {
	start, end int
	rule       *secretRule
}

// secrets are the first secrets of a text in their order, without overlaps.
// Where two rules find the same, the one that knows more counts.
func secrets(text []byte) []secret {
	const most = 64
	if len(text) > mostScanned {
		text = text[:mostScanned]
	}
	set := secretRules()
	var found []secret
	var searched []int // by rule: up to which keyword its surroundings were searched
	scan(set.keywords, text, func(word, end int) bool {
		start := end - len(set.words[word])
		for _, rule := range set.byWord[word] {
			if !near(rule, text, start, end) {
				continue
			}
			if searched == nil {
				searched = make([]int, set.rules)
			}
			if start < searched[rule.index] {
				continue
			}
			searched[rule.index] = start + rule.after
			found = rule.find(text, start, found)
		}
		return len(found) < most
	})
	for at := longKey(text, 0); at >= 0 && len(found) < 2*most; at = longKey(text, at+longKeyLength) {
		found = append(found, secret{at, at + longKeyLength, longKeyRule})
	}
	if len(found) > 1 {
		found = apart(found)
	}
	return found
}

// apart leaves of secrets that overlap the one whose rule knows most, then the
// first, then the longest.
func apart(found []secret) []secret {
	slices.SortFunc(found, func(a, b secret) int {
		return cmp.Or(a.rule.vague()-b.rule.vague(), a.start-b.start, b.end-a.end)
	})
	var kept []secret
	for _, s := range found {
		if !slices.ContainsFunc(kept, func(k secret) bool { return s.start < k.end && k.start < s.end }) {
			kept = append(kept, s)
		}
	}
	slices.SortFunc(kept, func(a, b secret) int { return a.start - b.start })
	return kept
}

// find adds the rule's secrets around a keyword that begins at word, and
// around every one that begins up to r.after later.
func (r *secretRule) find(text []byte, word int, found []secret) []secret {
	from := max(0, word-r.before)
	window := text[from:min(len(text), word+2*r.after)]
	for _, at := range r.regex().FindAllSubmatchIndex(window, 16) {
		start, end := r.secretAt(at)
		value := window[start:end]
		if start < end && (r.entropy == 0 || entropy(value) > r.entropy) && !r.allowed(window, at, value) {
			found = append(found, secret{from + start, from + end, r})
		}
	}
	return found
}

// secretAt is the place of the secret in a match: its group, else the first
// group that took part, else the whole.
func (r *secretRule) secretAt(match []int) (start, end int) {
	if r.group > 0 && match[2*r.group] >= 0 {
		return match[2*r.group], match[2*r.group+1]
	}
	for i := 2; i+1 < len(match); i += 2 {
		if match[i] >= 0 && match[i] < match[i+1] {
			return match[i], match[i+1]
		}
	}
	return match[0], match[1]
}

// near tells in a few nanoseconds whether a rule can match around its keyword:
// most words like key, token or api are no part of an assignment, and most
// short keywords no part of a long run of characters.
func near[T string | []byte](rule *secretRule, text T, start, end int) bool {
	switch rule.shape {
	case shapeAssigned:
		return assigned(text, end, rule.generic)
	case shapeToken:
		if rule.bounded && start > 0 && (isAlnum(text[start-1]) || text[start-1] == '_') {
			return false
		}
		run := end - start
		for i := start - 1; i >= 0 && tokenByte[text[i]] && run < tokenRun; i-- {
			run++
		}
		for i := end; i < len(text) && tokenByte[text[i]] && run < tokenRun; i++ {
			run++
		}
		return run >= tokenRun
	case shapeURL:
		for i := end; i < min(len(text), end+256); i++ {
			switch c := text[i]; {
			case c == '@':
				return true
			case c <= ' ' || c == '/' || c == '"' || c == '\'' || c == '<' || c == '>':
				return false
			}
		}
		return false
	}
	return len(text) >= tokenRun
}

// assigned tells whether a keyword that ends at end is followed by something
// that gives it a value: = : > , or |, and a run of at least eight characters
// (ten with a digit for the rule that knows no more than the keyword).
func assigned[T string | []byte](text T, end int, generic bool) bool {
	const between, longest = 24, 160
	i := end
	for ; ; i++ {
		if i >= len(text) || i >= end+between {
			return false
		}
		c := text[i]
		if c == '=' || c == ':' || c == '>' || c == ',' || c == '|' || c == '?' {
			break
		}
		if !isAlnum(c) && c != '_' && c != '-' && c != '.' && c > ' ' && c != '\'' && c != '"' {
			return false
		}
	}
	for stop := min(len(text), i+10); i < stop; i++ {
		if c := text[i]; c > ' ' && strings.IndexByte("=:>,|?`'\"", c) < 0 {
			break
		}
	}
	digit := false
	for run := 1; i < len(text) && tokenByte[text[i]] && run <= longest; run++ {
		digit = digit || isDigit(text[i])
		if run >= 10 && digit || run >= 8 && !generic {
			return true
		}
		i++
	}
	return false
}

// tokenRun is the length of the shortest secrets that are known by a keyword of
// two or three letters.
const tokenRun = 20

var tokenByte = byteSet("_-./+=~:@")

func byteSet(others string) (set [256]bool) {
	for b := range set {
		set[b] = isAlnum(byte(b)) || strings.IndexByte(others, byte(b)) >= 0
	}
	return set
}

// longKeyLength is the length of an AWS secret access key, which no keyword
// tells.
const longKeyLength = 40

var longKeyByte = byteSet("/+")

// longKey is where the first word from at on begins that looks like an AWS
// secret access key standing alone: 40 characters of base64, of even mixture.
// It looks at every fortieth byte of ordinary text.
func longKey[T string | []byte](text T, at int) int {
	for i := at + longKeyLength - 1; i < len(text); {
		if !longKeyByte[text[i]] {
			i += longKeyLength
			continue
		}
		start, end := i, i+1
		for start > 0 && longKeyByte[text[start-1]] && end-start <= longKeyLength {
			start--
		}
		for end < len(text) && longKeyByte[text[end]] {
			end++
		}
		if end-start == longKeyLength && start >= at && !inBlock(text, start, end) && mixed(text[start:end]) {
			return start
		}
		i = end + longKeyLength
	}
	return -1
}

// inBlock tells a word that is the last line of a block of base64.
func inBlock[T string | []byte](text T, start, end int) bool {
	if end < len(text) && text[end] == '=' {
		return true
	}
	const line = longKeyLength + 1
	if start < line || text[start-1] != '\n' {
		return false
	}
	for i := start - line; i < start-1; i++ {
		if !longKeyByte[text[i]] {
			return false
		}
	}
	return true
}

// mixed tells a random key from a path, a long name or a hash in hex: small and
// capital letters, digits and a sign, which change often, and no whole word.
func mixed[T string | []byte](key T) bool {
	const longestWord = 6
	var seen [4]bool
	changes, word, last := 0, 0, -1
	for i := range len(key) {
		kind := 3
		switch c := key[i]; {
		case 'a' <= c && c <= 'z':
			kind = 0
		case 'A' <= c && c <= 'Z':
			kind = 1
		case isDigit(c):
			kind = 2
		}
		seen[kind] = true
		word++
		if kind != last {
			changes++
			word = 1
		}
		if last = kind; kind == 0 && word > longestWord {
			return false
		}
	}
	return seen == [4]bool{true, true, true, true} && changes >= 16 && entropy(key) > 4.3
}

// entropy is Shannon's, in bits a character.
func entropy[T string | []byte](text T) float64 {
	if len(text) == 0 {
		return 0
	}
	var counts [256]int
	for i := range len(text) {
		counts[text[i]]++
	}
	bits, total := 0.0, float64(len(text))
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / total
			bits -= p * math.Log2(p)
		}
	}
	return bits
}
