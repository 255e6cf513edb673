package recordings_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

func TestEveryScenarioIsWholeWhenUnpacked(t *testing.T) {
	dir := recordings.Dir(t)
	names := recordings.Scenarios()
	if len(names) != 47 || !slices.IsSorted(names) {
		t.Fatalf("scenarios: %d %q", len(names), names)
	}
	without := map[string][]string{ // by the recordings' own README
		"no-persistence": {"projects"},
		"collector-down": {"hooks.ndjson", "otlp-logs.ndjson", "otlp-metrics.ndjson", "otlp-traces.ndjson"},
	}
	for _, name := range names {
		for _, file := range []string{"scenario.json", "steps.json", "endpoint.ndjson", "hooks.ndjson", "git-log.txt",
			"otlp-logs.ndjson", "otlp-metrics.ndjson", "projects"} {
			_, err := os.Stat(filepath.Join(dir, name, file))
			if there, want := err == nil, !slices.Contains(without[name], file); there != want {
				t.Errorf("%s/%s: there %v, want %v", name, file, there, want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
		t.Error(err)
	}
}

func TestTheFolderOfATestIsSharedAndGoneAfterIt(t *testing.T) {
	var dir string
	t.Run("first", func(t *testing.T) {
		dir = recordings.Dir(t)
		t.Run("second", func(t *testing.T) {
			if again := recordings.Dir(t); again != dir {
				t.Errorf("%s, then %s", dir, again)
			}
		})
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("removed while in use: %v", err)
		}
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestUnpackingAgainRestoresAChangedFile(t *testing.T) {
	dir := t.TempDir()
	if err := recordings.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "success", "endpoint.ndjson")
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(want, "more"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := recordings.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); string(got) != string(want) {
		t.Errorf("%d bytes after unpacking again, want %d", len(got), len(want))
	}
}

func TestTheEndpointKnewWhatItAnswered(t *testing.T) {
	dir := recordings.Dir(t)
	var requests, answered, counting, dropped, broken int
	for _, name := range recordings.Scenarios() {
		rs, err := recordings.Endpoint(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			requests++
			switch {
			case r.Answered():
				answered++
				if r.Status != 200 || r.AnswerModel == "" || r.StopReason == "" || r.Usage.Output == 0 {
					t.Errorf("%s: an answer without its parts: %+v", name, r)
				}
			case strings.HasPrefix(r.Path, "/v1/messages/count_tokens"):
				counting++
			case r.Status == 0:
				dropped++
			}
			if r.MidStreamError != "" {
				broken++
			}
			if r.RequestId == "" || r.SessionId == "" || r.Model == "" || r.Time.IsZero() {
				t.Errorf("%s: a request without its ids: %+v", name, r)
			}
		}
	}
	if got, want := [5]int{requests, answered, counting, dropped, broken}, [5]int{253, 241, 1, 1, 1}; got != want {
		t.Errorf("requests, answered, counting, dropped, broken = %v, want %v", got, want)
	}

	success, err := recordings.Endpoint(filepath.Join(dir, "success"))
	if err != nil {
		t.Fatal(err)
	}
	first := recordings.Usage{Input: 9, Output: 49, CacheWrite5m: 12632, ServiceTier: "standard", InferenceGeo: "not_available"}
	if success[0].Usage != first || success[0].Lane != "main" || success[0].MaxTokens != 128000 ||
		success[0].SessionId != "15a8756e-40f0-462f-bc65-aa3a5b92fae2" {
		t.Errorf("first request of success: %+v", success[0])
	}
	var output int64
	for _, r := range success {
		output += r.Usage.Output
	}
	if output != 175 {
		t.Errorf("success has %d output tokens, want 175", output)
	}
}

func TestATornLineOfTheTruthIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "endpoint.ndjson"), []byte("{}\n{\"status\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := recordings.Endpoint(dir); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v, want one that names line 2", err)
	}
}

func BenchmarkUnpack(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if err := recordings.Unpack(dir); err != nil {
			b.Fatal(err)
		}
	}
}
