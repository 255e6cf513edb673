package extraction

import (
	"math"
	"strings"
	"sync"
)

// mostScanned is how much of a text is searched for secrets.
const mostScanned = 1 << 20

// SecretClass is the id of the rule by which the text holds a secret, "" if
// it holds none. The rules are those of gitleaks v8 and a few of our own (see
// loadSecretRules). Of a text over 1 MiB the first MiB is searched.
func SecretClass(text []byte) (rule string) {
	findSecrets(text, func(_, _ int, id string) bool {
		rule = id
		return false
	})
	return rule
}

// HideSecrets replaces each secret in a string by [redacted:<rule>].
func HideSecrets(text string) string {
	type span struct {
		start, end int
		rule       string
	}
	for range 8 { // what is left of two that overlap may be one by itself
		var first span
		findSecrets([]byte(text), func(start, end int, rule string) bool {
			first = span{start, end, rule}
			return false
		})
		if first.rule == "" {
			return text
		}
		text = text[:first.start] + "[redacted:" + first.rule + "]" + text[first.end:]
	}
	return "[redacted]"
}

// Plain tells quickly (a nanosecond a byte) that a string holds nothing to
// hide: no word that a secret comes with, no folder that may be a home folder,
// no control or non-ASCII character, nothing as long as an unnamed key. False
// means no more than: look closer.
func Plain(text string) bool {
	return !plain().any(text) && longKey(text, 0) < 0 && (text == "" || text[0] != '~' || isHomePath(text))
}

func isHomePath(text string) bool { return text == "~" || text[1] == '/' }

var plain = sync.OnceValue(func() *keywords {
	words := []string{"\x00", "/root", "-home-", "-users-"}
	for _, home := range homes {
		words = append(words, strings.ToLower(home.parent))
	}
	k := newKeywords(append(words, secretRules().words...))
	for b := range k.class {
		if b < ' ' || b >= 0x7f {
			k.class[b] = k.class[0]
		}
	}
	return k
})

// findSecrets calls found with the place and rule of secrets, in about their
// order, until found returns false.
func findSecrets(text []byte, found func(start, end int, rule string) bool) {
	if len(text) > mostScanned {
		text = text[:mostScanned]
	}
	set := secretRules()
	done := false
	report := func(start, end int, rule string) bool {
		done = !found(start, end, rule)
		return !done
	}
	scan(set.keywords, text, func(word, end int) bool {
		for _, rule := range set.byWord[word] {
			if !rule.near(text, end-len(set.words[word]), end) {
				continue
			}
			if !rule.find(text, end-len(set.words[word]), report) {
				return false
			}
		}
		return true
	})
	for at := 0; !done; {
		start := longKey(text, at)
		if start < 0 {
			return
		}
		at = start + longKeyLength
		report(start, at, "aws-secret-access-key")
	}
}

// find looks for the rule's secrets around a keyword that begins at word.
func (r *secretRule) find(text []byte, word int, found func(start, end int, rule string) bool) bool {
	from := max(0, word-r.before)
	window := text[from:min(len(text), word+r.after)]
	for _, at := range r.regex().FindAllSubmatchIndex(window, 8) {
		start, end := r.secretAt(at)
		secret := window[start:end]
		if entropy(secret) <= r.entropy && r.entropy > 0 || r.allowed(window, at, secret) {
			continue
		}
		if !found(from+start, from+end, r.id) {
			return false
		}
	}
	return true
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

// near tells in a few nanoseconds whether the rule can match around a keyword:
// most words like key, token or api are no part of an assignment, and most
// short keywords no part of a long run of characters.
func (r *secretRule) near(text []byte, start, end int) bool {
	switch r.shape {
	case shapeAssigned:
		return assigned(text, end, r.generic)
	case shapeToken:
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
	return true
}

// assigned tells whether a keyword that ends at end is followed by something
// that gives it a value: = : > , or |, and a run of at least eight characters
// (ten with a digit for the rule that knows no more than the keyword).
func assigned(text []byte, end int, generic bool) bool {
	i := end
	for stop := min(len(text), end+24); ; i++ {
		if i >= stop {
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
		c := text[i]
		if c > ' ' && strings.IndexByte("=:>,|?`'\"", c) < 0 {
			break
		}
	}
	run, digit := 0, false
	for ; i < len(text) && tokenByte[text[i]]; i++ {
		run++
		digit = digit || isDigit(text[i])
		if run >= 10 && digit || run >= 8 && !generic {
			return true
		}
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
		padded := end < len(text) && text[end] == '=' // base64 of something
		if end-start == longKeyLength && start >= at && !padded && mixed(text[start:end]) {
			return start
		}
		i = end + longKeyLength
	}
	return -1
}

// mixed tells a random key from a path, a long name or a hash in hex: small and
// capital letters, digits and a sign, which change often.
func mixed[T string | []byte](key T) bool {
	var seen [4]bool
	changes, last := 0, -1
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
		if kind != last {
			changes++
		}
		last = kind
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
