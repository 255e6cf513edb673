package extraction

import "testing"

// What must not be taken for a claim that tests pass.
func TestWhatIsNoClaimThatTestsPass(t *testing.T) {
	for _, text := range []string{
		"All tests pass in CI on main; on this branch one fails.",
		"I ran `tsc --noEmit`, which passes, and `npm test`, which reports 1 failure that also exists on main",
		"- ❌ Tests passing",
		`I wrote "All tests pass" in the changelog.`,
		"This passes the tests directory to jest.",
		"The function passes the tests array to run().",
		"they all pass on CI, I was told",
		"I re-ran the failing test in isolation and it passes. In the full run it failed again.",
	} {
		if got := Claim(text); got == "tests_pass" {
			t.Errorf("%q is %s", text, got)
		}
	}
}
