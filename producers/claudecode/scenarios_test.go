package claudecode_test

import (
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

// stories tells what hooks and transcripts make of the scenarios whose
// behaviour the recordings' README names; "!" marks what is critical. Where
// both tell the same, "both" leaves out how a story begins and ends: hooks
// know the session's start and end, transcripts who gave the prompt.
var stories = map[string]struct{ both, hooks, transcripts string }{
	"edit-mismatch": { // calls that fail validation show in PostToolBatch only
		both: `
		Edit src/cart.js ok
		update src/cart.js +1 -1 exact
		Read src/cart.js ok
		Edit src/cart.js failed validation
		Edit src/cart.js failed validation
		Edit src/cart.js ok
		update src/cart.js +1 -1 exact
		turn_end ok`},
	"fail-then-retry": {both: `
		Bash npm run failed exit exit 1
		Bash nmp failed exit exit 127
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok`},
	"false-claim": {both: `
		Read src/price.js ok
		Edit src/price.js ok
		update src/price.js +1 -1 exact
		Bash npm test failed exit exit 1
		test_run failed 2/2
		turn_end ok`},
	"ci-edit": {both: `
		Read .github/workflows/ci.yml ok
		Edit .github/workflows/ci.yml ok
		update .github/workflows/ci.yml +1 -0 exact ci !
		turn_end ok`},
	"git-commit": {both: `
		Bash git switch ok exit 0
		Read src/price.js ok
		Edit src/price.js ok
		update src/price.js +1 -1 exact
		Bash git diff ok exit 0
		Bash npm test ok exit 0
		test_run passed 4/0
		Bash git commit ok exit 0
		commit b107a8e on fix/rounding
		Bash git push failed exit exit 128
		turn_end ok`},
	"pull-request": { // the quiet commits leave nothing; the transcript's pr-link line comes first
		hooks: `
		session_start startup
		prompt
		Bash git switch ok exit 0
		Read src/price.js ok
		Edit src/price.js ok
		update src/price.js +1 -1 exact
		Bash git commit ok exit 0
		Bash git commit ok exit 0
		push on fix/rounding
		Bash gh pr create ok exit 0
		pull_request github.com/example/shop#17 created
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Bash git switch ok exit 0
		Read src/price.js ok
		Edit src/price.js ok
		update src/price.js +1 -1 exact
		Bash git commit ok exit 0
		Bash git commit ok exit 0
		push on fix/rounding
		pull_request github.com/example/shop#17 created
		Bash gh pr create ok exit 0
		turn_end ok`},
	"secrets": {both: `
		Read config/dev.env ok secret aws-access-token !
		Bash curl ok exit 0 secret github-pat !
		turn_end ok`},
	"parallel-tools": {both: `
		Read src/price.js ok
		Read src/cart.js ok
		Bash sleep ok exit 0
		Bash cat failed exit exit 1
		turn_end ok`},
	"background-bash": { // the notification in the middle of the turn is no prompt
		both: `
		Bash sleep ok in background
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok`},
	"classic-tools": {both: `
		TaskCreate ok
		TaskCreate ok
		TaskUpdate ok
		Grep src ok
		Glob ok
		TaskUpdate ok
		TaskUpdate ok
		Read src/price.js ok
		Edit src/price.js ok
		update src/price.js +1 -1 exact
		TaskUpdate ok
		TaskList ok
		TodoWrite failed validation
		turn_end ok`},
	"mcp": {both: `
		mcp__stock__get_stock ok
		mcp__stock__reserve failed error
		turn_end ok`},
	"websearch": {both: `
		ToolSearch ok
		WebSearch ok
		WebFetch failed error
		turn_end ok`},
	"cwd-change": { // paths stay those of the repository
		both: `
		Bash mkdir ok exit 0
		Read packages/api/README.md ok
		Bash pwd ok exit 0
		turn_end ok`},
	"http-hooks": { // two handlers tell of each hook, a third of one
		both: `
		Read src/price.js ok
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok`},
	"hook-timeouts": { // _hook_finished lines are no hooks
		both: `
		Read src/price.js ok
		turn_end ok`},
	"auto-mode": {both: `
		Bash npm test failed automode-unavailable reject by classifier classifier:auto-mode:unavailable
		Bash curl failed automode-unavailable reject by classifier classifier:auto-mode:unavailable !
		turn_end ok`},
	"plugin-hooks": { // the plugin hooks no prompts
		hooks: `
		session_start startup
		Read src/price.js ok
		Edit src/price.js ok
		update src/price.js +1 -1 exact
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Read src/price.js ok
		Edit src/price.js ok
		update src/price.js +1 -1 exact
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok`},
	"permission-denied": { // hooks do not know who decided, nor whether one was asked in vain
		hooks: `
		session_start startup
		prompt
		Read src/price.js ok
		Bash rm failed permission-rule reject by config
		Bash curl failed reject !
		approval Bash curl
		Write src/tax.js failed reject
		approval Write src/tax.js
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Read src/price.js ok accept by user_permanent rule:userSettings
		Bash rm failed permission-rule reject by config rule:userSettings
		Bash curl failed user-rejected reject by config bashMiss:no-rule-match !
		Write src/tax.js failed user-rejected reject by config
		Bash npm test ok exit 0 accept by user_permanent rule:userSettings
		test_run passed 4/0
		turn_end ok`},
	"permission-prompt-host": {
		hooks: `
		session_start startup
		prompt
		Write src/tax.js ok
		approval Write src/tax.js
		create src/tax.js +1 -0 exact
		turn_end ok
		prompt
		Bash git push failed reject
		approval Bash git push
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Write src/tax.js ok accept by user_temporary
		create src/tax.js +1 -0 exact
		turn_end ok
		prompt sdk
		Bash git push failed permission-rule reject by user_reject bashMiss:no-rule-match
		turn_end ok`},
	"hook-deny": { // Stop comes twice, the turn ends once
		hooks: `
		session_start startup
		prompt
		Bash cat failed permission-rule reject by hook hook:PreToolUse
		Bash git push failed permission-rule reject by hook hook:PreToolUse
		Bash echo ok exit 0
		turn_end ok
		Bash npm test ok exit 0
		test_run passed 4/0
		session_end other`,
		transcripts: `
		prompt sdk
		Bash cat failed permission-rule reject by hook hook:PreToolUse
		Bash git push failed permission-rule reject by hook hook:PreToolUse
		Bash echo ok exit 0 accept by hook hook
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok`},
	"misc-hooks": {
		hooks: `
		session_start startup
		prompt
		Bash echo ok exit 0
		config_change local_settings .claude/settings.local.json !
		create .claude/settings.local.json +1 -0 exact agent_settings !
		update .env +1 -1 exact secrets !
		turn_end ok
		prompt
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Bash echo ok exit 0
		create .claude/settings.local.json +1 -0 exact agent_settings !
		update .env +1 -1 exact secrets !
		turn_end ok
		prompt sdk
		turn_end ok`},
	"subagent": {
		hooks: `
		session_start startup
		prompt
		Agent Explore ok
		subagent Explore background false ok
		Bash grep ok exit 0
		Read src/price.js ok
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Agent Explore ok
		subagent Explore background false ok
		turn_end ok
		Bash grep ok exit 0
		Read src/price.js ok`},
	"subagent-background": {
		hooks: `
		session_start startup
		prompt
		Agent general-purpose ok in background
		subagent general-purpose background true ok
		Bash git status ok exit 0
		Bash npm test ok exit 0
		turn_end ok
		test_run passed 4/0
		prompt task_notification
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Agent general-purpose ok in background
		subagent general-purpose background true ok
		Bash git status ok exit 0
		turn_end ok
		prompt task_notification
		turn_end ok
		Bash npm test ok exit 0
		test_run passed 4/0`},
	"subagent-worktree": { // a path in the worktree is that of the repository
		hooks: `
		session_start startup
		prompt
		Agent general-purpose ok
		subagent general-purpose background false ok
		Bash npm test ok exit 0
		test_run passed 4/0
		update src/price.js +1 -1 exact
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Agent general-purpose ok
		subagent general-purpose background false ok
		turn_end ok
		Bash npm test ok exit 0
		test_run passed 4/0
		update src/price.js derived`},
	"slash-command": {
		hooks: `
		session_start startup
		prompt /check
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok
		session_end other
		session_start startup
		prompt
		Skill house-style ok
		turn_end ok
		session_end other
		session_start startup
		prompt /house-style
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk /check
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok
		prompt sdk
		Skill house-style ok
		turn_end ok
		prompt sdk /house-style
		turn_end ok`},
	"resume": { // four processes, two sessions: what the fork copied is not told again
		hooks: `
		session_start startup
		prompt
		Read src/price.js ok
		turn_end ok
		session_end other
		session_start resume
		prompt
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok
		session_start resume
		prompt
		turn_end ok
		session_start fork
		prompt
		Bash git status ok exit 0
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		Bash git status ok exit 0
		turn_end ok
		prompt sdk
		Read src/price.js ok
		turn_end ok
		prompt sdk
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok
		prompt sdk
		turn_end ok`},
	"compact-manual": {
		hooks: `
		session_start startup
		prompt
		Read src/price.js ok
		turn_end ok
		session_end other
		session_start resume
		compaction manual
		session_start compact
		session_start resume
		prompt
		turn_end ok`,
		transcripts: `
		prompt sdk
		Read src/price.js ok
		turn_end ok
		compaction manual from 12787 to 2757
		prompt command /compact
		prompt sdk
		turn_end ok`},
	"interactive": { // a refusal and an interruption end a turn without a hook
		hooks: `
		session_start startup
		prompt
		Write src/tax.js ok
		approval Write src/tax.js
		create src/tax.js +1 -0 exact
		Bash rm
		approval Bash rm
		notification permission_prompt
		prompt
		Bash node
		approval Bash node
		prompt
		turn_end ok
		compaction manual
		session_start compact
		prompt
		turn_end ok
		notification idle_prompt
		session_end prompt_input_exit`,
		transcripts: `
		prompt human
		Write src/tax.js ok accept by user_temporary
		create src/tax.js +1 -0 exact
		Bash rm failed user-rejected reject by user_reject
		turn_end failed interrupted
		prompt human
		Bash node failed user-rejected
		turn_end failed interrupted
		prompt command /model
		prompt human
		turn_end ok
		compaction manual from 14853 to 2970
		prompt command /compact
		prompt human
		turn_end ok`},
	"sigint": {
		hooks: `
		session_start startup
		prompt
		Read src/price.js ok
		Bash sleep
		session_end other`,
		transcripts: `
		prompt sdk
		Read src/price.js ok
		Bash sleep failed user-rejected
		turn_end failed interrupted`},
	"max-turns": {
		hooks: `
		session_start startup
		prompt
		Bash git status ok exit 0
		Bash git status ok exit 0
		Bash git status ok exit 0
		session_end other`,
		transcripts: `
		prompt sdk
		Bash git status ok exit 0
		Bash git status ok exit 0
		Bash git status ok exit 0
		turn_end failed max_turns`},
	"api-retries": {
		hooks: `
		session_start startup
		prompt
		Read src/price.js ok
		Bash npm test ok exit 0
		test_run passed 4/0
		Bash git status ok exit 0
		Bash git log ok exit 0
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		model_retry failed overloaded 529 attempt 1
		model_retry failed overloaded 529 attempt 2
		Read src/price.js ok
		model_retry failed rate_limit 429 attempt 1
		Bash npm test ok exit 0
		test_run passed 4/0
		model_retry failed server_error 500 attempt 1
		Bash git status ok exit 0
		model_retry failed connection_error attempt 1
		Bash git log ok exit 0
		turn_end ok`},
	"api-failure": {
		hooks: `
		session_start startup
		prompt
		turn_end failed server_error
		session_end other`,
		transcripts: `
		prompt sdk
		model_retry failed overloaded 529 attempt 1
		model_retry failed overloaded 529 attempt 2
		model_error failed server_error 529
		turn_end failed server_error`},
	"stop-reasons": { // the client goes on by itself in the same turn
		hooks: `
		session_start startup
		prompt
		turn_end ok
		prompt
		turn_end ok
		prompt
		turn_end ok
		session_end other`,
		transcripts: `
		prompt sdk
		turn_end ok
		prompt sdk
		turn_end ok
		prompt sdk
		turn_end ok`},
	"no-persistence": {
		hooks: `
		session_start startup
		prompt
		Read .github/workflows/ci.yml ok
		Edit .github/workflows/ci.yml ok
		update .github/workflows/ci.yml +1 -0 exact ci !
		turn_end ok
		session_end other`},
	"collector-down": {
		transcripts: `
		prompt sdk
		Read src/price.js ok
		Edit src/price.js ok
		update src/price.js +1 -1 exact
		Bash npm test ok exit 0
		test_run passed 4/0
		turn_end ok`},
}

// sentences cuts a story into its lines, without indentation.
func sentences(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestScenariosAreToldAsTheyHappened(t *testing.T) {
	for scenario, want := range stories {
		hooks, transcripts := sentences(want.hooks), sentences(want.transcripts)
		if want.both != "" {
			middle := sentences(want.both)
			hooks = append(append([]string{"session_start startup", "prompt"}, middle...), "session_end other")
			transcripts = append([]string{"prompt sdk"}, middle...)
		}
		for witness, c := range map[string]struct{ got, want []string }{
			"hooks": {story(t, hooksOf(t, scenario)), hooks}, "transcripts": {story(t, transcriptsOf(t, scenario)), transcripts},
		} {
			if got, want := strings.Join(c.got, "\n\t"), strings.Join(c.want, "\n\t"); got != want {
				t.Errorf("%s, %s tell\n\t%s\nwant\n\t%s", scenario, witness, got, want)
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
