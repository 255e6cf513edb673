package transcripts_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/schemas"
)

const (
	original = "aaaaaaaa-1111-2222-3333-444444444444"
	fork2    = "bbbbbbbb-1111-2222-3333-444444444444"
)

// asked is the line of an answer as clients without marks copy it: with the
// session's own id.
func asked(session, request string, second int) string {
	return fmt.Sprintf(`{"type":"assistant","sessionId":%q,"uuid":"u%s","timestamp":"2026-11-22T10:00:%02d.000Z","version":"2.1.330","requestId":"req_%s",`+
		`"message":{"id":"msg_%s","model":"claude-opus-5-5","stop_reason":"end_turn","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}`+"\n",
		session, request, second, request, request)
}

var noRequest = regexp.MustCompile(`"requestId":"[^"]*",`)

// payers reads transcripts one after the other and gives who made each request.
func payers(t *testing.T, requests *claudecode.Requests, files ...[]string) map[string]string {
	t.Helper()
	dir, who := t.TempDir(), map[string]string{}
	for _, lines := range files {
		path := filepath.Join(dir, lines[0]+".jsonl")
		if err := os.WriteFile(path, []byte(strings.Join(lines[1:], "")), 0o600); err != nil {
			t.Fatal(err)
		}
		k := &kept{}
		if err := transcripts.ReadFile(t.Context(), path, claudecode.Options{Requests: requests, Repository: options.Repository}, k); err != nil {
			t.Fatal(err)
		}
		for _, e := range k.events {
			if e.Kind == schemas.KindModelRequest {
				id := cmp.Or(e.RequestId, e.Body.Model.MessageId)
				if by, twice := who[id]; twice && by != e.SessionId {
					t.Errorf("%s is told by two sessions", id)
				}
				who[id] = e.SessionId
			}
		}
	}
	return who
}

func TestACopyWithoutAMarkIsTheSessionsWhoseFileIsReadFirst(t *testing.T) {
	a := func(requests ...string) []string {
		lines := []string{original}
		for i, r := range requests {
			lines = append(lines, asked(original, r, i))
		}
		return lines
	}
	b := func(requests ...string) []string {
		lines := []string{fork2}
		for i, r := range requests {
			lines = append(lines, asked(fork2, r, i))
		}
		return lines
	}
	for name, c := range map[string]struct {
		files [][]string
		want  map[string]string
	}{
		"a history that goes on":               {[][]string{a("1", "2"), b("1", "2", "3")}, map[string]string{"1": original, "2": original, "3": fork2}},
		"both go on":                           {[][]string{a("1", "2", "4"), b("1", "2", "3")}, map[string]string{"1": original, "2": original, "3": fork2, "4": original}},
		"own ones between copies are not lost": {[][]string{b("1", "3", "4"), a("1", "2", "3", "5")}, map[string]string{"1": fork2, "2": original, "3": fork2, "4": fork2, "5": original}},
		"nothing in common":                    {[][]string{a("1"), b("2")}, map[string]string{"1": original, "2": fork2}},
	} {
		// As they are, and as clouds answer: without a request id.
		got := payers(t, claudecode.NewRequests(), c.files...)
		var without [][]string
		for _, lines := range c.files {
			bare := slices.Clone(lines)
			for i := range bare {
				bare[i] = noRequest.ReplaceAllString(bare[i], "")
			}
			without = append(without, bare)
		}
		if bare := payers(t, claudecode.NewRequests(), without...); len(bare) != len(c.want) {
			t.Errorf("%s, without request ids: %v", name, bare)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v", name, got)
		}
		for request, session := range c.want {
			if got["req_"+request] != session {
				t.Errorf("%s: request %s is %q's, want %q", name, request, got["req_"+request], session)
			}
		}
	}
}

func TestEndedIsTheTimeOfTheLastLineWithOne(t *testing.T) {
	line := asked(original, "1", 7)
	at := time.Date(2026, 11, 22, 10, 0, 7, 0, time.UTC).UnixMicro()
	for name, c := range map[string]struct {
		text string
		want int64
	}{
		"empty":                   {"", 0},
		"no time":                 {"{}\n{}\n", 0},
		"last":                    {asked(original, "0", 1) + line, at},
		"without a line's end":    {asked(original, "0", 1) + strings.TrimSpace(line), at},
		"before lines without":    {line + "{\"type\":\"summary\"}\n\n", at},
		"before a very long one":  {line + `{"type":"x","text":"` + strings.Repeat("x", 3<<20) + "\"}\n", at},
		"a very long one":         {asked(original, "0", 1) + strings.Replace(line, `"content":[]`, `"content":"`+strings.Repeat("x", 1<<20)+`"`, 1), at},
		"no JSON behind":          {line + "\x00\x00\xff{", at},
		"and in a time of no use": {line + `{"timestamp":"soon"}` + "\n", at},
	} {
		path := filepath.Join(t.TempDir(), "x.jsonl")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := transcripts.Ended(path); got != c.want || err != nil {
			t.Errorf("%s: %d (%v), want %d", name, got, err, c.want)
		}
	}
}
