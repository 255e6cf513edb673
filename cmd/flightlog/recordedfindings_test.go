package main

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// What the detectors must find in each recording, by its README; in all others
// nothing.
var recordedFindings = map[string][]string{
	"ci-edit":        {"protected_path ci .github/workflows/ci.yml high open"},
	"no-persistence": {"protected_path ci .github/workflows/ci.yml high open"},
	"false-claim":    {"false_claim  tests high open"}, // and no red_tests beside it
	"loop": { // eight failing test runs alike, then the agent gives up
		"loop  Bash node high open",
		"red_tests  tests medium open"},
	"misc-hooks": {
		"protected_path agent_settings .claude/settings.local.json critical open",
		"protected_path secrets .env critical open"},
	"secrets": {
		"secret  aws-access-token high open",
		"secret  github-pat high open"},
	"usage-shapes": {"unpriced_model  claude-zephyr-9 low open"},
}

// Calls that are retries, by the same.
var recordedAttempts = map[string][]string{
	"edit-mismatch": {"2 edit_mismatch", "3 edit_mismatch"},
	"long-session":  {"2 test_failed"}, // one of its prompts has a failing run and a repair
	"loop":          {"2 test_failed", "3 test_failed", "4 test_failed", "5 test_failed", "6 test_failed", "7 test_failed", "8 test_failed"},
}

func TestFindingsOfTheRecordings(t *testing.T) {
	dir := recordings.Dir(t)
	for _, mode := range []string{"metadata", "full"} {
		for _, name := range recordings.Scenarios() {
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				home := t.TempDir()
				out := filepath.Join(home, "rows")
				run(t, home, "import", filepath.Join(dir, name), "--capture", mode, "--out", out)
				got := []string{}
				for _, all := range findingsOf(t, out) {
					for _, f := range all {
						got = append(got, f.Kind+" "+f.ProtectedClass+" "+f.Subject+" "+f.Severity+" "+f.State)
						if !f.Backfill {
							t.Errorf("%s is not told as history", f.Sentence)
						}
					}
				}
				slices.Sort(got)
				if want := recordedFindings[name]; !reflect.DeepEqual(got, append([]string{}, want...)) {
					t.Errorf("found\n%q, want\n%q", got, want)
				}
				retries := []string{}
				for _, a := range attemptsOf(t, out) {
					if a != "1 " {
						retries = append(retries, a)
					}
				}
				slices.Sort(retries)
				if want := recordedAttempts[name]; !reflect.DeepEqual(retries, append([]string{}, want...)) {
					t.Errorf("retries %q, want %q", retries, want)
				}
			})
		}
	}
}
