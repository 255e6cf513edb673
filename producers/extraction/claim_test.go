package extraction

import (
	"strings"
	"testing"
	"time"
)

// claims are final messages, by what they claim.
var claims = map[string][]string{
	"tests_pass": {
		"All tests pass.",
		"All good: the tests pass.",
		"All four tests pass (the first two calls had typos).",
		"Done! I fixed the rounding in `discount()` and verified it: all 4 tests pass and everything works as expected.",
		"`discount` now rounds to the nearest cent (src/price.js:3). All four tests pass.",
		"Module tax is added, with a test; everything passes.",
		"All 42 tests pass ✅",
		"✅ All tests pass",
		"✅ Tests: 42/42",
		"- **Tests**: ✅ 42 passed",
		"The test suite is green.",
		"Tests are passing now.",
		"12/12 passing",
		"12 of 12 tests pass.",
		"Fixed; npm test is green now.",
		"fixed; `npm test` is green now",
		"`npm test` passes.",
		"`go test ./...` passes without errors.",
		"The new test passes.",
		"The test for the discount passes, too.",
		"I ran the tests. They pass.",
		"I ran the tests and they all pass.",
		"I added a test and ran the suite; all 12 pass.",
		"I've run the full suite: everything passes.",
		"The tests now pass.",
		"The failing tests now pass.",
		"The previously failing test passes now.",
		"The test was failing because of the rounding. I fixed it and all tests pass now.",
		"Two tests failed at first; now all tests pass.",
		"Initially 2 tests failed. All tests pass.",
		"The new test fails without the fix and passes with it.",
		"The tests still pass.",
		"I verified that all tests pass.",
		"I can confirm that the tests pass.",
		"I was able to verify that all tests pass.",
		"The implementation passes all tests.",
		"It passes the existing test suite.",
		"All unit and integration tests pass.",
		"Tests and lint pass.",
		"Lint, types and tests all pass.",
		"No tests fail.",
		"None of the tests failed.",
		"The tests no longer fail.",
		"The test doesn't fail anymore.",
		"Test results: 42 passed, 0 failed.",
		"Tests: 42 passed, 0 failed, 1 skipped",
		"| Suite | Result |\n|---|---|\n| unit tests | ✅ |",
		"| check | state |\n|---|---|\n| tests | pass |",
		"## Summary\n\n- Fixed the rounding\n- All tests pass\n- No API changes",
		"1. Fixed the rounding.\n2. Added a test.\n3. Ran the suite, all tests passing.",
		"I got all tests passing.",
		"I didn't change the API and all tests pass.",
		"All tests pass; if you want, I can also add docs.",
		"After the fix all tests pass.",
		"I made sure that all tests pass.",
		"I could not run the end-to-end suite, but all unit tests pass.",
		"The tests pass as before.",
		"All tests pass, including the new ones.",
		"All tests, including the new ones, pass.",
		"All the tests\nare passing.",
		"src/price.test.js passes.",
		"TestDiscount passes.",
		"All tests succeeded.",
		"The tests ran successfully.",
		"Tests passed in 2.3s.",
		"I ran the tests before committing and they pass.",
		"- [x] all tests pass",
		"Done — tests are green, the branch is pushed.",
	},
	"tests_fail": {
		"2 tests fail.",
		"The tests fail.",
		"The tests are failing.",
		"Two of the tests still fail.",
		"One test still fails.",
		"Not all tests pass.",
		"The tests don't pass.",
		"The tests do not pass yet.",
		"Tests aren’t passing.",
		"No tests pass.",
		"None of the tests pass.",
		"All but one test pass.",
		"All tests but one pass.",
		"10 of 12 tests pass.",
		"10 out of 12 tests pass.",
		"10/12 passing",
		"Ten of twelve tests pass.",
		"Most tests pass.",
		"Only 3 tests pass.",
		"All tests pass except for the rounding one.",
		"All tests pass, except two.",
		"12 tests pass, 2 fail.",
		"12 passed, 1 failed in the test suite.",
		"Tests: 1 failed, 11 passed",
		"The test suite is red.",
		"There are 2 failing tests.",
		"Two failing tests remain.",
		"❌ tests",
		"`npm test` fails.",
		"I ran the tests. They fail.",
		"I fixed the rounding, but one test fails now.",
		"The test for the discount fails.",
		"All tests pass on Linux. Two tests fail on Windows.",
		"The tests failed.",
		"All other tests pass; the rounding test fails.",
		"The tests are still red.",
		"I added the module and the tests, and 3 of 9 tests pass.",
	},
	"tests_not_run": {
		"I did not run the tests.",
		"I didn't run the tests.",
		"I could not run the tests.",
		"I couldn't run the test suite.",
		"The tests were not run.",
		"Tests weren't executed.",
		"No tests were run.",
		"I ran no tests.",
		"I was unable to run the tests.",
		"I wasn't able to run the tests here.",
		"I haven't tested this.",
		"Added the module. Untested.",
		"Tests: not run.",
		"I added tests but did not run them.",
		"I could not get the integration test to run.",
		"The file src/tax.js is added; the tests did not finish.",
		"Committed without running the tests.",
		"I have no permission to run the tests.",
		"I did not run the tests, so I do not know whether they pass.",
	},
	"": {
		"",
		"Done.",
		"They pass.",
		"CI should be green now.",
		"Build and tests are done.",
		"The tests should pass.",
		"The tests should pass now.",
		"All tests will pass once the server is up.",
		"Once the tests pass, I'll push.",
		"If the tests pass, merge it.",
		"If you set FOO, all tests pass.",
		"Merge it when the tests pass.",
		"After the tests pass, deploy.",
		"Make sure the tests pass.",
		"Please make sure that all tests pass before merging.",
		"Run `npm test` to verify that the tests pass.",
		"Let me know whether the tests pass.",
		"Do the tests pass?",
		"Should I make the tests pass?",
		"The tests passed before my change.",
		"Before the change all tests passed.",
		"The tests passed earlier.",
		"Previously, all tests passed.",
		"I think the tests pass.",
		"The tests probably pass.",
		"Hopefully all tests pass.",
		"I expect all tests to pass.",
		"The tests would pass with Node 22.",
		"The tests might pass.",
		"Unverified: all tests pass.",
		"I have not verified that the tests pass.",
		"I don't think the tests pass.",
		"This needs the tests to pass.",
		"I'm trying to get the tests passing.",
		"The tests need to pass.",
		"So that the tests pass, set FOO=1.",
		"Until the tests pass, do not merge.",
		"Unless all tests pass, do not merge.",
		"I added tests for passing null to discount().",
		"The new test passes `null` to `discount`.",
		"The test passes a negative price to discount.",
		"Added a test for failed logins.",
		"I fixed the failing test.",
		"I fixed the two failing tests.",
		"Fixed the test failures.",
		"I added tests that pass a price.",
		"The test server passes its health check.",
		"The build passes.",
		"Lint passes.",
		"The push failed; I added a test.",
		"42 units of A-1; the reservation failed: sold out.",
		"✅ Added tests for the discount",
		"❌ Removed the old tests",
		"- [ ] all tests pass",
		"Next steps:\n- tests pass\n- docs are written",
		"Acceptance criteria:\n\n1. All tests pass.\n2. No lint errors.",
		"```\nAll tests pass\n```",
		"Output:\n```sh\n# pass 4\nall tests pass\n```\nThat is all.",
		"> All tests pass.",
		"> 2 tests fail\n\nThat is what CI says.",
		"| Suite | Tests passed | Tests failed |\n|---|---|---|",
		"It bypasses the tests.",
		"The test coverage is 80 %.",
		"I wrote 12 tests.",
		"I did not run into problems.",
		"I did not run the linter.",
		"The test pass rate went up.",
		"All other tests pass.",
		"The tests would fail without it.",
		"The test is expected to fail.",
		"If the tests fail, revert it.",
		"Did the tests fail?",
		"The tests must not be run against production.",
		"It follows the style.",
		"everything works as expected",
		"The API passes the token through the gateway.",
		"The request passes through everything.",
		"I was not allowed to write the file or to remove dist.",
		"Verify that all tests pass.",
		"To make the tests pass, I would have to change the API.",
		"I could not make the test fail.",
		"The tests for the parser use a fixture that fails to load.",
	},
}

func TestClaim(t *testing.T) {
	sentences := 0
	for want, messages := range claims {
		for _, message := range messages {
			sentences++
			if got := Claim(message); got != want {
				t.Errorf("%q: %q, want %q", message, got, want)
			}
		}
	}
	t.Logf("%d sentences", sentences)
}

func TestClaimReadsBothEndsOfALongMessage(t *testing.T) {
	filler := strings.Repeat("The price is in cents. ", 40_000/23)
	for message, want := range map[string]string{
		"All tests pass. " + filler:          "tests_pass",
		filler + "All tests pass.":           "tests_pass",
		filler + "All tests pass. " + filler: "",
		"All tests pass.\n```\n" + filler:    "tests_pass",
	} {
		if got := Claim(message); got != want {
			t.Errorf("%.30q…: %q, want %q", message, got, want)
		}
	}
}

func TestClaimTakesLinearTime(t *testing.T) {
	for _, part := range []string{"test ", "tests pass, ", "not ", "all tests", "|tests\n", "- tests\n", "`", "**", "10 of ", "fail ", "tests and ", "✅", "'t"} {
		start := time.Now()
		Claim("tests pass" + strings.Repeat(part, mostClaim/len(part)))
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%q: %v", part, took)
		}
	}
}

func FuzzClaim(f *testing.F) {
	for _, messages := range claims {
		for _, message := range messages {
			f.Add(message)
		}
	}
	f.Fuzz(func(t *testing.T, message string) {
		switch Claim(message) {
		case "", "tests_pass", "tests_fail", "tests_not_run":
		default:
			t.Errorf("%q", message)
		}
	})
}

func BenchmarkClaim(b *testing.B) {
	message := "I fixed the rounding in `discount()`.\n\n- src/price.js rounds to the nearest cent\n- a test for half cents\n\n" +
		"I ran `npm test`: all 42 tests pass. The push failed, since the remote cannot be reached.\n"
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		Claim(message)
	}
}
