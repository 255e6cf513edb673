package claudecode_test

import (
	"os"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// readStories reads testdata/stories.txt: sentences by scenario and teller.
func readStories(t *testing.T) map[string]map[string][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/stories.txt")
	if err != nil {
		t.Fatal(err)
	}
	stories := map[string]map[string][]string{}
	var scenario, teller string
	for line := range strings.Lines(string(text)) {
		if head, ok := strings.CutPrefix(line, "== "); ok {
			scenario, teller, _ = strings.Cut(strings.TrimSpace(head), " ")
			if stories[scenario] == nil {
				stories[scenario] = map[string][]string{}
			}
		} else if sentence, ok := strings.CutPrefix(line, "  "); ok {
			stories[scenario][teller] = append(stories[scenario][teller], strings.TrimSpace(sentence))
		}
	}
	return stories
}

func TestScenariosAreToldAsTheyHappened(t *testing.T) {
	stories := readStories(t)
	if len(stories) < 35 {
		t.Errorf("%d stories only", len(stories))
	}
	for scenario, want := range stories {
		if middle := want["both"]; middle != nil {
			want["hooks"] = append(append([]string{"session_start startup", "prompt"}, middle...), "session_end other")
			want["transcripts"] = append([]string{"prompt sdk"}, middle...)
		}
		for teller, got := range map[string][]string{"hooks": story(t, hooksOf(t, scenario)), "transcripts": story(t, transcriptsOf(t, scenario))} {
			if got, want := strings.Join(got, "\n\t"), strings.Join(want[teller], "\n\t"); got != want {
				t.Errorf("%s, %s tell\n\t%s\nwant\n\t%s", scenario, teller, got, want)
			}
		}
	}
}

// Every line of every recording can be read, and nothing that is told names
// the user's home folder or holds one of the recorded secrets.
func TestRecordingsLeaveNoDeadLettersAndNoTexts(t *testing.T) {
	secrets := []string{"/home/dev", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI", "hunter2", "ghp_EXAMPLE", "eyJhbGci", "anna.example"}
	events := 0
	for _, scenario := range recordings.Scenarios() {
		for _, k := range []*kept{hooksOf(t, scenario), transcriptsOf(t, scenario)} {
			for _, d := range k.dead {
				t.Errorf("%s: line %s of %s: %s %s", scenario, d.Position, d.Source, d.Reason, d.Detail)
			}
			for i := range k.events {
				events++
				text := string(k.events[i].AppendJSON(nil))
				for _, secret := range secrets {
					if strings.Contains(text, secret) {
						t.Errorf("%s: %q is in %s", scenario, secret, text)
					}
				}
			}
		}
	}
	if events < 1500 {
		t.Errorf("%d events only", events)
	}
}
