package extraction

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// Keys are put together here, so that no scanner takes this file for a leak.
const (
	githubToken = "ghp_" + "Zb3kQ9mXv1Lt7RwYc5NpHs2DfJg8Ua4E6oT0"
	jwt         = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJleGFtcGxlIn0." + "c2lnbmF0dXJlLWV4YW1wbGU"
	awsSecret   = "wJalrXUtnFEMI/K7MDENG" + "/bPxRfiCYEXAMPLEKEY"
)

func TestSecretsAreFoundByTheirRule(t *testing.T) {
	for _, c := range []struct{ name, text, rule string }{
		{"an AWS key of the documentation", "AWS_ACCESS_KEY_ID=AKIA" + "IOSFODNN7EXAMPLE\n", "aws-access-token"},
		{"its secret, in a file", "AWS_SECRET_ACCESS_KEY=" + awsSecret + "\n", "aws-secret-access-key"},
		{"its secret, in a prompt", "Is " + awsSecret + " somewhere in the config?", "aws-secret-access-key"},
		{"a password in a URL", "DATABASE_URL=postgres://shop:hunter2-example@db.example.com/shop\n", "url-password"},
		{"a token of GitHub", "token is " + githubToken, "github-pat"},
		{"a token of GitHub that was cut", "token is ghp_" + strings.Repeat("EXAMPLE", 5), "github-pat"},
		{"a token in a remote", "https://x-access-token:" + githubToken + "@github.com/a/b", "github-pat"},
		{"a header of curl", `curl -s -H "Authorization: Bearer ` + jwt + `" http://127.0.0.1:9/`, "curl-auth-header"},
		{"a JWT", `{"jwt":"` + jwt + `"}`, "jwt"},
		{"a private key", "-----BEGIN RSA PRIVATE " + "KEY-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA7bq3kQ9mXv1Lt7Rw\n", 20), "private-key"},
		{"a private key of PGP", "-----BEGIN PGP PRIVATE " + "KEY BLOCK-----\nVersion: GnuPG v1\n\nlQHYBE2rFNoBBADFwqWQIW/DSqcB4yCQqnAFTJ27qS5AnB46ccAdw3u4Greeu3Bp\n", "private-key"},
		{"a private key as JSON", `"-----BEGIN PRIVATE ` + `KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIB\n"`, "private-key"},
		{"a key of Anthropic", "ANTHROPIC_API_KEY=sk-ant-" + "api03-Zb3kQ9mXv1Lt7RwYc5NpHs2DfJg8Ua4E6oT0-AA", "anthropic-api-key"},
		{"a token of Slack", "xoxb-" + "123456789012-1234567890123-Zb3kQ9mXv1Lt7RwYc5NpHs2D", "slack-bot-token"},
		{"a token of GitLab", "glpat-" + "Zb3kQ9mXv1Lt7RwYc5Np", "gitlab-pat"},
		{"a token of npm", "//registry.npmjs.org/:_authToken=npm_" + "zb3kq9mxv1lt7rwyc5nphs2dfjg8ua4e6ot0", "npm-access-token"},
		{"any key by its name", `api_key = "` + `zb3kq9mxv1lt7rwyc5nphs2d` + `"`, "generic-api-key"},
		{"a manifest of Kubernetes", "apiVersion: v1\ndata:\n  password: aHVudGVyMi1leGFtcGxl\nkind: Secret\n", "kubernetes-secret-yaml"},
	} {
		if got := SecretClass([]byte(c.text)); got != c.rule {
			t.Errorf("%s: got %q, want %q", c.name, got, c.rule)
		}
		if Plain(c.text) {
			t.Errorf("%s: taken for a plain text", c.name)
		}
		if hidden := HideSecrets(c.text); !strings.Contains(hidden, "[redacted:"+c.rule+"]") || SecretClass([]byte(hidden)) != "" {
			t.Errorf("%s: hidden as %s", c.name, hidden)
		}
	}
}

func TestSecretsAreFoundInJSON(t *testing.T) {
	google := "AIza" + "SyB3kQ9mXv1Lt7RwYc5NpHs2DfJg8Ua4E6o"
	stripe := "sk_" + "live_Zb3kQ9mXv1Lt7RwYc5NpHs2D"
	for text, rule := range map[string]string{
		`key: "` + google + `"`:         "gcp-api-key",
		"a\n" + google + "\nb":          "gcp-api-key",
		"a\t" + google + "\t":           "gcp-api-key",
		`const k="` + stripe + `"`:      "stripe-access-token",
		`const k='` + stripe + `'`:      "stripe-access-token",
		"A_SECRET=\"" + awsSecret + `"`: "aws-secret-access-key",
		`const k="live"; \n "x"`:        "",
	} {
		for depth := range 4 {
			if got := SecretClassIn("", []byte(text)); got != rule {
				t.Errorf("%d deep: %s: %q, want %q", depth, text, got, rule)
			}
			b, err := json.Marshal(map[string]string{"text": text})
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
	}
	plain := []byte(`a "plain" text C:\x \u0041 \`)
	if got := unescaped(plain); &got[0] != &plain[0] {
		t.Error("a text without such escapes is copied")
	}
}

func TestWhatOnlyLooksLikeASecretIsNone(t *testing.T) {
	for _, text := range []string{
		"the token is read from the environment: process.env.GITHUB_TOKEN",
		"password = os.environ[\"DB_PASSWORD\"]",
		"api_key: ${API_KEY}",
		"const accessKey = getAccessKeyFromConfiguration2(options)",
		"commit 0123456789abcdef0123456789abcdef01234567",
		"integrity sha512-z+R5SIqQ3rgxuUWvFpNoxaBzJhGTnHyXvHPFZFKkTlIzVbLzMyGkpBGBfHhAmRTyBPxUuaBbqFbDFfFDCdXP7w==",
		"src/Components/Button2/ButtonContainer/X",
		"Documents/Invoices2026/QuarterlyFbxyzKwp", "Workspace/BlueJacket/ProximityFq3kzGhvLm", "abcdef/ghijkl/MNOPQRSTUVWXYZ/0123456789/",
		"getUserAccountSettingsFromDatabaseV2Asyn",
		"postgres://postgres:postgres@localhost:5432/shop",
		"postgres://$USER:$PASSWORD@db/shop", "https://user:****@example.com", "http://localhost:3000/@scope/pkg",
		"git@github.com:example/shop.git", "https://fonts.example.com/css?family=Roboto:wght@400;700",
		"key: 4f5bb1c2-0b1e-4e1e-9988-f298a32e97b9 is the session",
		"toolu_01CmXJWzsbPPmdh66tSkWfHC", "req_011CVQ9mXv1Lt7RwYc5NpHs2", "msg_01XFDUDYJgAACzvnptvVoYEL",
		"-----BEGIN CERTIFICATE-----\n" + strings.Repeat("MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n", 3) + awsSecret + "\n-----END CERTIFICATE-----",
		"it was the eyewitness who said so.", "sk-ant-", "-----BEGIN PRIVATE KEY-----", "", "\x00\xff",
	} {
		if got := SecretClass([]byte(text)); got != "" {
			t.Errorf("%q: %s", text, got)
		}
		if HideSecrets(text) != text {
			t.Errorf("%q: hidden as %q", text, HideSecrets(text))
		}
	}
}

func TestAPlainStringNeedsNoCloserLook(t *testing.T) {
	for _, text := range []string{"claude-code", "0b1e03d9-bbb2-4e1e-9988-f298a32e97b9", "src/cart.js", "~/notes.md", "npm test", "fix/rounding", ""} {
		if !Plain(text) {
			t.Errorf("%q is plain", text)
		}
	}
	for _, text := range []string{"a\x00b", "a\x1b[0m", "é", "/home/x", "/Users/x", `C:\users\x`, "~bob/x", "-home-bob-", "/root/x", "\x7f"} {
		if Plain(text) {
			t.Errorf("%q is not plain", text)
		}
	}
}

func TestOneSecretAfterAnotherIsHidden(t *testing.T) {
	text := githubToken + " " + jwt + " and " + githubToken
	if got, want := HideSecrets(text), "[redacted:github-pat] [redacted:jwt] and [redacted:github-pat]"; got != want {
		t.Errorf("got %s", got)
	}
	if got := HideSecrets(strings.Repeat(githubToken+" ", 100)); strings.Contains(got, "ghp_") {
		t.Errorf("got %.200s", got)
	}
}

func TestEveryRuleCompilesAndHasAKeyword(t *testing.T) {
	set := secretRules()
	rules := map[*secretRule]bool{}
	for i, word := range set.words {
		if word == "" || word != strings.ToLower(word) {
			t.Errorf("keyword %q", word)
		}
		for _, rule := range set.byWord[i] {
			rules[rule] = true
		}
	}
	if len(rules) < 200 {
		t.Errorf("%d rules: gitleaks has 222", len(rules))
	}
	for rule := range rules {
		rule.regex()
		if rule.group > rule.regex().NumSubexp() {
			t.Errorf("%s has no group %d", rule.id, rule.group)
		}
		for _, list := range rule.allow {
			for _, regex := range list.regexes {
				regex()
			}
		}
	}
}

func TestKeywordsAreFoundAsASearchForEachFindsThem(t *testing.T) {
	words := []string{"he", "she", "his", "hers", "a", "key", "api_key", "y_", "keyes"}
	k := newKeywords(words)
	for _, text := range []string{"ushers", "API_KEYES", "hishe", "sshe", "", "keykeyapi_ke", "x", "\xffhe\x00a"} {
		got := map[[2]int]bool{}
		scan(k, text, func(word, end int) bool {
			got[[2]int{word, end}] = true
			return true
		})
		want := map[[2]int]bool{}
		for i, word := range words {
			for _, at := range regexp.MustCompile(`(?i)`+word).FindAllStringIndex(text, -1) {
				want[[2]int{i, at[1]}] = true
			}
		}
		for at := range want {
			if !got[at] {
				t.Errorf("%q: %q that ends at %d was not found", text, words[at[0]], at[1])
			}
		}
		for at := range got {
			if !strings.HasSuffix(strings.ToLower(text[:at[1]]), words[at[0]]) {
				t.Errorf("%q: %q does not end at %d", text, words[at[0]], at[1])
			}
		}
	}
}

func TestHostileTextsAreScannedQuickly(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("key=", mostScanned/4), strings.Repeat("s.", mostScanned/2), strings.Repeat("eyJ", mostScanned/3),
		strings.Repeat("curl ", mostScanned/5), strings.Repeat("a://b:c", mostScanned/7), strings.Repeat("A", mostScanned),
		strings.Repeat("token: zzzzzzzz11 ", mostScanned/18), strings.Repeat("private key", mostScanned/11), strings.Repeat("\x00", 4*mostScanned),
	} {
		start := time.Now()
		SecretClass([]byte(text))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%.20q took %v", text, took)
		}
	}
}

func TestOnlyTheFirstMegabyteIsScanned(t *testing.T) {
	if got := SecretClass([]byte(strings.Repeat(" ", mostScanned) + githubToken)); got != "" {
		t.Errorf("got %s", got)
	}
}

func FuzzSecrets(f *testing.F) {
	f.Add("token=" + githubToken)
	f.Add("https://a:" + awsSecret + "@b -----BEGIN PRIVATE KEY-----")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for _, s := range secrets([]byte(text)) {
			if s.start < last || s.start >= s.end || s.end > len(text) {
				t.Fatalf("%d to %d of %d by %s", s.start, s.end, len(text), s.rule.id)
			}
			last = s.end
		}
		if hidden := HideSecrets(text); SecretClass([]byte(text)) != "" && (hidden == text || Plain(text)) {
			t.Fatalf("%q holds %s", text, SecretClass([]byte(text)))
		}
	})
}

func TestCriticalEventsAreTheBuiltInList(t *testing.T) {
	change := func(class string) *schemas.Event {
		e := &schemas.Event{Kind: schemas.KindFileChange}
		e.Body.Branch, e.Body.Artifact.ProtectedClass = schemas.EventBodyArtifact, class
		return e
	}
	config := func(reason, path string) *schemas.Event {
		e := &schemas.Event{Kind: schemas.KindConfigChange}
		e.Body.Branch, e.Body.Session.Reason, e.Body.Session.Path = schemas.EventBodySession, reason, path
		return e
	}
	call := func(class, secret, mode string) *schemas.Event {
		e := &schemas.Event{Kind: schemas.KindToolCall}
		e.Body.Branch, e.Body.Tool.CommandClass = schemas.EventBodyTool, class
		e.Body.Tool.SecretClass, e.Body.Tool.PermissionMode = secret, mode
		return e
	}
	for name, c := range map[string]struct {
		e    *schemas.Event
		want bool
	}{
		"a change of CI":                          {change(ClassCI), true},
		"a change of the agent's settings":        {change(ClassAgentSettings), true},
		"a change of the agent's instructions":    {change(ClassAgentInstructions), true},
		"a change of a file of secrets":           {change(ClassSecrets), true},
		"a change of a lock file":                 {change(ClassLockFile), false},
		"a change of infrastructure":              {change(ClassInfrastructure), false},
		"a change of any file":                    {change(""), false},
		"a change of settings":                    {config("local_settings", ".claude/settings.local.json"), true},
		"a change of skills":                      {config("skills", ".claude/skills/x/SKILL.md"), false},
		"a switch into bypass":                    {config("bypassPermissions", ""), true},
		"a switch into plan":                      {config("plan", ""), false},
		"an install from the network":             {call("network_install", "", ""), true},
		"an install of what the lock file names":  {call("install", "", ""), false},
		"a secret in a call":                      {call("read", "jwt", ""), true},
		"a call while permissions are bypassed":   {call("test", "", "bypassPermissions"), false},
		"an event of another kind with a class":   {&schemas.Event{Kind: schemas.KindPrompt, Body: change(ClassCI).Body}, false},
		"a record that does not match its branch": {&schemas.Event{Kind: schemas.KindToolCall, Body: change(ClassCI).Body}, false},
	} {
		if got := Critical(c.e); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func BenchmarkSecretClass(b *testing.B) {
	code := strings.Repeat(`export async function total(items, { discount = 0, currency = "EUR" } = {}) {
  const token = await session.token(); // refreshes the access token when it is old
  const sum = items.reduce((sum, item) => sum + item.price * item.count, 0);
  if (!Number.isFinite(sum)) throw new TypeError("cannot add up: " + JSON.stringify(items));
  return { key: cacheKey(items, currency), value: Math.round(sum * (1 - discount)) };
}
`, 100)
	output := strings.Repeat("ok 1 - total with a discount\n  ---\n  duration_ms: 1.636837\n  location: '/home/dev/src/shop/test/cart.test.js:5:1'\n  ...\n", 200)
	for name, text := range map[string]string{"code": code, "output": output} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				SecretClass([]byte(text))
			}
		})
	}
}

func BenchmarkPlain(b *testing.B) {
	text := "0b1e03d9-bbb2-4e1e-9988-f298a32e97b9"
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Plain(text)
	}
}

func TestASecretInQuotesThatStandInJSON(t *testing.T) {
	key := "AIza" // and 35 letters and digits
	for i := range 35 {
		key += string("SyD7qPz0LkM3nVb8RtX1cW5hJg2QfE9aUo4i6YlNTwsB"[(i*17+5)%44])
	}
	for _, text := range []string{`{"new_string":"const key = \"` + key + `\""}`, `{"stdout":"key: '` + key + `'"}`, `{"stdout":"{\"key\":\"` + key + `\"}"}`} {
		if got := SecretClassIn("src/a.js", []byte(text)); got != "gcp-api-key" {
			t.Errorf("%s: %q", text, got)
		}
	}
}
