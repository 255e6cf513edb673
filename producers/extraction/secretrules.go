package extraction

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"
)

// secretRule is one rule. Its regular expression is compiled when a text first
// needs it: most never are.
type secretRule struct {
	id      string
	index   int // among all rules
	regex   func() *regexp.Regexp
	group   int     // the group that is the secret, 0 for the first one
	entropy float64 // a secret has more, in bits a character
	allow   []allowlist
	shape   shape
	generic bool // known by words such as key or token alone
	bounded bool // shapeToken: no character of a name stands before the keyword
	before  int  // bytes before the keyword that a match may begin at
	after   int  // bytes from the keyword that it may end at
}

// shape is what the surroundings of a keyword must look like.
type shape uint8

const (
	shapeAny      shape = iota
	shapeAssigned       // keyword, operator, value
	shapeToken          // a long run that holds the keyword
	shapeURL            // scheme://user:password@
)

// allowlist is what is no secret although a rule matches.
type allowlist struct {
	target    string // what the regular expressions are held against: "" the secret, match, line
	regexes   []func() *regexp.Regexp
	stopwords []string // in the secret
}

// ruleSet is all rules by their keywords.
type ruleSet struct {
	rules    int // how many
	words    []string
	byWord   [][]*secretRule
	keywords *keywords
	suspects *keywords // the same words, and after them what else Plain looks for
	allow    allowlist // for all rules
}

// vague orders rules by how little they know: a rule that goes by a word or by
// the place of a secret knows less than one that knows its form.
func (r *secretRule) vague() int {
	switch r.shape {
	case shapeAssigned:
		if r.generic {
			return 3
		}
		return 1
	case shapeURL:
		return 2
	}
	return 0
}

// longKeyRule is for keys that no keyword tells (see longKey).
var longKeyRule = &secretRule{id: "aws-secret-access-key"}

// tomlRule and tomlRules are what of gitleaks' configuration is used. Its own
// reader is left aside: it brings a detector that reads 4 MB/s where this one
// reads over 100 (see BenchmarkSecretClass), because it runs each regular
// expression over the whole text.
type tomlRule struct {
	ID          string
	Regex       string
	Path        string
	SecretGroup int
	Entropy     float64
	Keywords    []string
	Allowlists  []tomlAllowlist
}

type tomlAllowlist struct {
	RegexTarget string
	Condition   string
	Paths       []string
	Regexes     []string
	Stopwords   []string
}

type tomlRules struct {
	Allowlist tomlAllowlist
	Rules     []tomlRule
}

// ownRules are added to gitleaks', and replace those of the same id: ours also
// find keys that were cut short in an output, and passwords in URLs. An empty
// pattern keeps gitleaks' and changes the keywords only.
var ownRules = []tomlRule{
	{ID: "private-key", Keywords: []string{"private key"}, Entropy: 3,
		Regex: `-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----(?:(?:\s|\\[nr])*[A-Za-z-]{1,20}: [^\r\n\\]{0,100})*(?:\s|\\[nr])*([A-Za-z0-9+/=\s\\-]{32,})`},
	{ID: "github-pat", Keywords: []string{"ghp_"}, Entropy: 2, Regex: `ghp_[0-9a-zA-Z]{30,255}`},
	{ID: "anthropic-api-key", Keywords: []string{"sk-ant-"}, Entropy: 3, Regex: `\bsk-ant-[a-z]{2,10}[0-9]{2}-[\w-]{24,256}`},
	{ID: "url-password", Keywords: []string{"://"},
		Regex: `(?i)\b[a-z][a-z0-9+.-]{1,30}://[^\s:/@'"<>]{0,64}:([^\s:/@'"<>]{4,200})@[\w\[.-]`},
	{ID: "twilio-api-key", Keywords: []string{"sk"}, Entropy: 3, Regex: `\bSK[0-9a-fA-F]{32}`},
	{ID: "jwt", Keywords: []string{"eyj"}},
	{ID: "kubernetes-secret-yaml", Keywords: []string{"kind: secret"}},
}

// placeholders are what stands for a password in URLs of documentation,
// templates and development set-ups.
const placeholders = `(?i)^(?:\$.*|%.*%|\{.*\}|\[.*\]|\*+|x+|\.+|pass(?:word)?|pwd|passwd|secret|token|user(?:name)?|postgres|root|admin|guest|test|x-oauth-basic|changeme)$`

// uuid names something far more often than it opens something.
const uuid = `(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`

// secretRules are the rules of gitleaks v8 as its package config embeds them,
// compiled ourselves, with these changes: rules that need the path of a file
// are left out, all but kubernetes-secret-yaml; keys of documentation
// (AKIA...EXAMPLE) count, for an agent that puts them into a file does the
// same with a real one; and ownRules.
var secretRules = sync.OnceValue(func() *ruleSet {
	var file tomlRules
	if err := toml.Unmarshal([]byte(config.DefaultConfig), &file); err != nil {
		panic("cannot read the rules that gitleaks embeds: " + err.Error())
	}
	own := map[string]tomlRule{}
	for _, rule := range ownRules {
		own[rule.ID] = rule
	}
	set := &ruleSet{allow: newAllowlist(file.Allowlist)}
	index := map[string]int{}
	add := func(rule tomlRule) {
		r := newSecretRule(rule)
		r.index = set.rules
		set.rules++
		for _, word := range rule.Keywords {
			word = strings.ToLower(word)
			at, ok := index[word]
			if !ok {
				at = len(set.words)
				index[word] = at
				set.words, set.byWord = append(set.words, word), append(set.byWord, nil)
			}
			set.byWord[at] = append(set.byWord[at], r)
		}
	}
	for _, rule := range file.Rules {
		replaced, ok := own[rule.ID]
		switch {
		case ok && replaced.Regex == "":
			rule.Keywords = replaced.Keywords
			add(rule)
		case !ok && rule.Path == "" && rule.Regex != "":
			add(rule)
		}
	}
	for _, rule := range ownRules {
		if rule.Regex != "" {
			add(rule)
		}
	}
	set.keywords = newKeywords(set.words)
	set.suspects = newSuspects(set.words)
	return set
})

// newSuspects adds to the keywords what begins a home folder, and all bytes
// that are no printable ASCII.
func newSuspects(words []string) *keywords {
	words = append(slices.Clip(words), "\x00", "/root")
	for _, home := range homes {
		words = append(words, strings.ToLower(home.parent))
	}
	k := newKeywords(words)
	for b := range k.class {
		if b < ' ' || b >= 0x7f {
			k.class[b] = k.class[0]
		}
	}
	return k
}

func newSecretRule(rule tomlRule) *secretRule {
	r := &secretRule{
		id: rule.ID, group: rule.SecretGroup, entropy: rule.Entropy, before: 512, after: 1024,
		regex:   lazily(rule.Regex),
		generic: rule.ID == "generic-api-key",
	}
	shortest := len(rule.Keywords[0])
	for _, word := range rule.Keywords {
		shortest = min(shortest, len(word))
	}
	switch {
	case rule.ID == "url-password":
		r.shape = shapeURL
		r.allow = append(r.allow, newAllowlist(tomlAllowlist{Regexes: []string{placeholders}}))
	case r.generic:
		r.shape, r.before, r.after = shapeAssigned, 64, 320
		r.allow = append(r.allow, newAllowlist(tomlAllowlist{Regexes: []string{uuid}}))
	case strings.Contains(rule.Regex, `(?:=|>|:{1,3}=|`):
		r.shape, r.before, r.after = shapeAssigned, 64, 320
	case shortest <= 3:
		r.shape, r.before, r.bounded = shapeToken, 256, strings.HasPrefix(rule.Regex, `\b`)
	}
	for _, list := range rule.Allowlists {
		documentation := len(list.Regexes) == 1 && strings.Contains(list.Regexes[0], "EXAMPLE")
		if len(list.Paths) == 0 && !documentation {
			r.allow = append(r.allow, newAllowlist(list))
		}
	}
	return r
}

func newAllowlist(list tomlAllowlist) allowlist {
	a := allowlist{target: list.RegexTarget, stopwords: list.Stopwords}
	for _, pattern := range list.Regexes {
		a.regexes = append(a.regexes, lazily(pattern))
	}
	return a
}

func lazily(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// allowed tells whether a match is on one of the rule's lists or the common one.
func (r *secretRule) allowed(text []byte, match []int, secret []byte) bool {
	common := secretRules().allow
	if common.holds(text, match, secret) {
		return true
	}
	for _, list := range r.allow {
		if list.holds(text, match, secret) {
			return true
		}
	}
	return false
}

func (a *allowlist) holds(text []byte, match []int, secret []byte) bool {
	target := secret
	switch a.target {
	case "match":
		target = text[match[0]:match[1]]
	case "line":
		target = lineAround(text, match[0], match[1])
	}
	for _, regex := range a.regexes {
		if regex().Match(target) {
			return true
		}
	}
	if len(a.stopwords) > 0 {
		lower := strings.ToLower(string(secret))
		for _, word := range a.stopwords {
			if strings.Contains(lower, word) {
				return true
			}
		}
	}
	return false
}

func lineAround(text []byte, start, end int) []byte {
	for start > 0 && text[start-1] != '\n' {
		start--
	}
	for end < len(text) && text[end] != '\n' {
		end++
	}
	return text[start:end]
}
