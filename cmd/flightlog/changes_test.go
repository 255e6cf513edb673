package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// forgeEvents are what a forge tells of the recorded pull request, which is
// squashed, and of one that people made.
func forgeEvents(more ...string) string {
	const merge = "91be77c000000000000000000000000000000000"
	event := func(kind string, at int, branch, body string) string {
		return fmt.Sprintf(`{"kind":%q,"witness":"forge","repo":"github.com/example/shop","occurred_at":%d,"branch":%q,"body":{%s}}`, kind, 1_795_400_000_000_000+at*1_000_000, branch, body)
	}
	pull := `"change_id":"github.com/example/shop#17","target_branch":"main","operation":`
	lines := []string{
		event("forge_pull_request", 1, "fix/rounding", pull+`"opened"`),
		event("forge_pull_request", 5, "fix/rounding", pull+`"merged","merge_commit_id":"`+merge+`"`),
		event("forge_push", 5, "main", `"target_branch":"main","commit_id":"`+merge+`"`),
		strings.Replace(event("check_run", 9, "main", `"name":"unit","commit_id":"`+merge+`"`), `"body"`, `"success":true,"body"`, 1),
		event("forge_pull_request", 7, "docs", `"change_id":"github.com/example/shop#18","target_branch":"main","operation":"merged"`),
	}
	return strings.Join(append(lines, more...), "\n") + "\n"
}

// TestAMergedPullRequestShowsOnItsTask goes by what import, tasks and the topic say,
// whichever of the recording and the forge's events comes first.
func TestAMergedPullRequestShowsOnItsTask(t *testing.T) {
	const task = "7074bdfe-e632-4508-b227-bfcfc3e8a06c"
	for _, order := range []string{"forge first", "session first"} {
		t.Run(order, func(t *testing.T) {
			home := t.TempDir()
			forge, rows := filepath.Join(home, "forge.events.ndjson"), filepath.Join(home, "rows")
			if err := os.WriteFile(forge, []byte(forgeEvents()), 0o600); err != nil {
				t.Fatal(err)
			}
			paths := []string{forge, filepath.Join(recordings.Dir(t), "pull-request")}
			if order == "session first" {
				slices.Reverse(paths)
			}
			run(t, home, "import", paths[0])
			run(t, home, "import", paths[1], "--out", rows)

			listed := strings.Split(strings.TrimSpace(run(t, home, "tasks", "--json")), "\n")
			if len(listed) != 1 || !strings.Contains(listed[0], `"task_outcome":"merged"`) {
				t.Errorf("tasks are %s", listed)
			}
			theTopicSaysTheSame(t, filepath.Join(rows, "tasks.ndjson"), listed)
			out := run(t, home, "tasks", task)
			for _, want := range []string{"merged: its last change is on the target branch", "github.com/example/shop#17, 2026-11-23T02:13", "linked by pull request, 1 of 1 checks passed",
				"forge_pull_request github.com/example/shop#17 merged", "forge_push main 91be77c0", "check_run unit 91be77c0"} {
				if !strings.Contains(out, want) {
					t.Errorf("the task lacks %q:\n%s", want, out)
				}
			}
			if out := run(t, home, "tasks", "--unlinked"); !strings.Contains(out, "github.com/example/shop#18  merged") || !strings.Contains(out, "no session is known to have made it") || !strings.HasSuffix(out, "1 of 2 changes\n") {
				t.Errorf("unlinked are\n%s", out)
			}
			if out := run(t, home, "verify"); strings.Count(out, "no violations") != 4 {
				t.Errorf("verify says\n%s", out)
			}

			// The same again changes nothing; a revert does.
			if err := os.WriteFile(forge, []byte(forgeEvents(strings.Replace(strings.Split(forgeEvents(), "\n")[2], `"commit_id":"91be77c0`, `"reverts":"91be77c000000000000000000000000000000000","commit_id":"0000000`, 1))), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, home, "import", forge)
			if out := run(t, home, "tasks", "--json"); !strings.Contains(out, `"task_outcome":"reverted"`) || strings.Count(out, "\n") != 1 {
				t.Errorf("after the revert tasks are %s", out)
			}
		})
	}
}

func TestALineThatIsNoEventIsADeadLetter(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "events.ndjson")
	if err := os.WriteFile(file, []byte(forgeEvents(
		`{"kind":"forge_pull_request","witness":"forge","repo":"github.com/example/shop","occurred_at":1795354450000000,"body":{"change_id":"github.com/example/shop#19","operation":"sold"}}`,
		`{"kind":"forge_push"}`,
		`{"kind":"tool_call","witness":"direct","repo":"github.com/example/shop","occurred_at":1,"tool_use_id":"t","body":{"tool_name":"Bash"}}`)), 0o600); err != nil {
		t.Fatal(err)
	}
	var summary struct {
		DeadLetters int `json:"dead_letters"`
		Facts       int
	}
	if err := json.Unmarshal([]byte(run(t, home, "import", home, "--json")), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.DeadLetters != 3 || summary.Facts != 4 {
		t.Errorf("%d dead letters, %d facts, want 3, 4", summary.DeadLetters, summary.Facts)
	}
	out := run(t, home, "deadletters", "ls")
	for _, want := range []string{"missing_field  files   2 ", "wrong_value    files   1 "} {
		if !strings.Contains(out, want) {
			t.Errorf("the dead letters lack %s:\n%s", want, out)
		}
	}
}
