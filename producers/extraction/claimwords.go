package extraction

import (
	"strings"
	"sync"
)

// claimWords are in every message that claims anything of tests.
var claimWords = sync.OnceValue(func() *keywords {
	return newKeywords([]string{"test", "suite", "spec", "pass"})
})

// predicate is what a word says of its subject.
type predicate int

const (
	nothing predicate = iota
	passing
	failing
	running
	passMark
	failMark
)

var predicates = func() map[string]predicate {
	words := map[string]predicate{}
	for list, kind := range map[string]predicate{
		"pass passes passed passing green ok okay succeed succeeds succeeded successful successfully clean exits exited": passing,
		"fail fails failed failing failure failures red broken broke":                                                    failing,
		"run ran runs running execute executed executing tested untested finish finished complete completed":             running,
		"✅ ✔ ✓ ☑ 🟢": passMark,
		"❌ ✗ ✘ 🔴":   failMark,
	} {
		for _, word := range strings.Fields(list) {
			words[word] = kind
		}
	}
	return words
}()

var claimMarks = map[rune]bool{'✅': true, '✔': true, '✓': true, '☑': true, '🟢': true, '❌': true, '✗': true, '✘': true, '🔴': true}

var (
	testNouns = set("test tests testsuite suite suites specs pytest vitest jest rspec")
	// testThings are called after tests and are none: the test server passes.
	testThings = set(`server servers environment env data database db account page plan coverage framework runner helper
		helpers user users cluster deployment site card connection configuration config container image bench rate fixture fixtures name
		names title mock mocks setup utils input output grade`)
	failVerbs = set("fail fails failed failing broken red")
	runVerbs  = set("run ran runs running execute executed complete completed finished finish")
	beVerbs   = set("is are was were be been stay stays stayed remain remains turned turns went goes back still keep keeps kept being")
	remains   = set("still remain remains left remaining")
	negations = set("not no never none neither nor without nothing hardly")
	nows      = set("now finally")
	pronouns  = set(`they it everything all these those them of is are was were do does did be have has now also still
		finally both each again and that result results status with again so i see saw there only just most some
		nearly almost half the others rest remaining other could can been able yet which`)
	dets = set(`all the a its every each existing new unit integration e2e regression related relevant full whole entire our your my
		these those both of other affected end-to-end node js python go rust backend frontend any automated local own
		updated added current remaining whole complete following previously original price-related`)
	everything = set("all every everything each entire whole full suite")
	others     = set("other others rest remaining")
	// hearsays are in sentences about what others say.
	hearsays = set("told apparently supposedly reportedly allegedly")
	// places are where tests are run: on this branch.
	places = set("branch run suite ci windows linux macos")
	// reports come before how many tests failed.
	reports = set("reports reported shows gives has")
	// handed follow tests in what is given to something: passes the tests array.
	handed     = set("to directory directories dir folder path paths file files array list object argument arguments flag option options filter pattern glob as into")
	parts      = set("most some only half nearly almost partially partly several few majority")
	exceptions = set("except apart aside excluding besides")
	repairs    = set("fix fixed fixes fixing resolve resolved resolves repair repaired address addressed addresses cause caused causes why reason")
	unables    = set("unable failed impossible")
	musts      = set("should must would shall need needs please let want will might")
	// hedges make a statement a wish, a guess or a task.
	hedges = set(`should would could might may must will shall ensure ensures check make making get getting let lets
		help helps need needs want wants wanted try trying tried please hopefully presumably probably likely theoretically
		expect expected expects believe think assume assumes guess hope hoping unverified unconfirmed untested unclear
		waiting pending see todo asked ask said says claims states requires required goal aim idea target requirement`)
	beforeNot  = set("did do could can have")
	conditions = set("according ideally if unless until whether once assuming provided")
	times      = set("earlier originally initially previously yesterday formerly used prior")
	// clauseHeads begin a clause of their own.
	clauseHeads = set("but however although though while whereas yet so because since then")
	wishHeads   = set("unverified ensure must aim target next todo plan criteria requirements checklist should need needs goal goals expected verify recommended suggestions")
	afterPass   = set(`now again locally in on with after too also here under for at and both today already fine every
		since against when across within including inside from per while this either throughout over there together
		without all before even end overall still once here except apart aside excluding besides but`)
	numbers = strings.Fields(`zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
		fifteen sixteen seventeen eighteen nineteen twenty`)
)
