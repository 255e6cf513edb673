// Package lineage makes worlds of sessions and a forge with the truth beside
// them: which piece of work a session belongs to, of which pieces of work a
// change at the forge is, and how it stands.
//
// The labels follow the story that a world is made of, as docs/tasks.md and
// docs/changes.md tell it, and not the code of any processor. Stories of which
// the pages say nothing are left out, and so are times within the 10 minutes
// that clocks may differ by, but where the story is of just that.
//
// Nothing in one scenario names anything of another one: sessions, repositories,
// explicit ids and commits are its own. So all may go through one installation.
package lineage

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// Scenario is a world of sessions and a forge with the truth beside it.
type Scenario struct {
	// Family is the shape of the story, e.g. squash, reused-branch, two-hundred-on-main.
	Family string
	// Events of sessions (with session_id) and of the forge (without), in the order in which they come.
	Events []*schemas.Event
	// Tasks is the piece of work of each session, by session_id, or of each of its prompts, by session_id + "/" + prompt_id,
	// where they are of several. It is that of the prompts and of what was done under them: a hook that knows no
	// branch cannot say of what work a start or an end of a session is.
	Tasks map[string]string
	// Changes is every pull request, by "host/owner/name#n", and every commit that was pushed to the default branch
	// without a pull request, by "repo@commit". Commits that a pull request brought, and pushes to other branches, are not in it.
	Changes map[string]Change
}

// Change is the truth of a change at the forge.
type Change struct {
	Works []string // names of the pieces of work that it is of, sorted; empty: of none, made by people without an agent
	State string   // open, closed, merged, reverted
}

// order is how events come.
type order int

const (
	seeded     order = iota // one of the next four, as the seed has it
	inTime                  // as they happened
	shuffled                // in any order
	forgeFirst              // all facts of the forge before those of sessions
	forgeLast               // and behind them
	late                    // as they happened, but a third of them behind all others
	twice                   // as they happened, but many come again, some at once and some much later
)

// family is a shape of stories.
type family struct {
	name  string
	order order
	tell  func(w *world)
}

var families = []family{
	// How work lands.
	{"merge-commit", seeded, lands("merge")},
	{"squash", seeded, lands("squash")},
	{"rebase", seeded, lands("rebase")},
	{"rebase-patch-id", seeded, patchID},
	{"person-opens", seeded, personOpens},
	{"clock-skew", seeded, clockSkew},
	{"direct-push", seeded, directPush},
	{"fast-forward", seeded, fastForward},
	{"closed", seeded, closed},
	{"reopened-merged", seeded, reopenedMerged},
	{"reopened", seeded, reopened},
	// What is taken back, and what is not.
	{"revert-push", seeded, revertPush},
	{"revert-pull-request", seeded, revertPullRequest},
	{"revert-30-days-later", seeded, revertMuchLater},
	{"revert-of-revert", seeded, revertOfRevert},
	{"revert-not-merged", seeded, revertNotMerged},
	{"revert-similar-prefix", seeded, revertSimilarPrefix},
	{"revert-partial", seeded, revertPartial},
	{"revert-in-fork", seeded, revertInFork},
	// In which order it is told.
	{"forge-first", forgeFirst, anyStory},
	{"forge-last", forgeLast, anyStory},
	{"shuffled", shuffled, anyStory},
	{"late", late, anyStory},
	{"duplicates", twice, anyStory},
	// What only looks alike.
	{"abbreviated", seeded, abbreviated},
	{"shared-prefix", seeded, sharedPrefix},
	{"reused-branch", seeded, reusedBranch},
	{"same-branch-two-repos", seeded, sameBranchTwoRepos},
	{"same-number-two-repos", seeded, sameNumberTwoRepos},
	{"human-only", seeded, humanOnly},
	{"reviewed-by-agent", seeded, reviewedByAgent},
	{"two-works-one-pull-request", seeded, twoWorks},
	{"two-pull-requests-one-head", seeded, twoTargets},
	{"fork", seeded, fork},
	{"checks", seeded, checks},
	// What a piece of work is.
	{"two-hundred-on-main", seeded, twoHundred},
	{"ticket-several-people", seeded, ticketSeveralPeople},
	{"same-ticket-two-repos", seeded, sameTicketTwoRepos},
	{"same-branch-two-owners", seeded, sameBranchTwoOwners},
	{"same-owner-two-hosts", seeded, sameOwnerTwoHosts},
	{"moves-between-tickets", seeded, moves},
	{"resumes-and-forks", seeded, resumesAndForks},
	{"explicit-id", seeded, explicitID},
	{"branch-made", seeded, branchMade},
	{"shared-branches", seeded, sharedBranches},
}

// Families are the names of all families, in the order of [Generate].
func Families() []string {
	names := make([]string, len(families))
	for i, f := range families {
		names[i] = f.name
	}
	return names
}

// Generate makes n scenarios over all families, one after the other. The same
// seed makes the same scenarios, and fewer are the first of more.
func Generate(seed uint64, n int) []Scenario {
	scenarios := make([]Scenario, n)
	for i := range scenarios {
		f := families[i%len(families)]
		w := newWorld(rand.New(rand.NewPCG(seed, uint64(i)+1)), i)
		f.tell(w)
		scenarios[i] = Scenario{f.name, w.arranged(f.order), w.truthOfSessions(), w.truthOfChanges()}
	}
	return scenarios
}

// arranged are the events in the order in which they come.
func (w *world) arranged(o order) []*schemas.Event {
	if o == seeded {
		o = pick(w, inTime, inTime, shuffled, forgeFirst, forgeLast)
	}
	events := slices.Clone(w.events)
	slices.SortStableFunc(events, func(a, b *schemas.Event) int { return cmp.Compare(a.OccurredAt, b.OccurredAt) })
	shuffle := func(of []*schemas.Event) {
		w.random.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	}
	switch o {
	case shuffled:
		shuffle(events)
	case forgeFirst:
		ours, theirs := split(events, func(e *schemas.Event) bool { return e.SessionId == "" })
		return append(ours, theirs...)
	case forgeLast:
		ours, theirs := split(events, func(e *schemas.Event) bool { return e.SessionId != "" })
		return append(ours, theirs...)
	case late:
		after, before := split(events, func(*schemas.Event) bool { return w.chance(33) })
		shuffle(after)
		return append(before, after...)
	case twice:
		for i := 0; i < len(events); i++ {
			if !w.chance(35) {
				continue
			}
			again, at := *events[i], i+1
			if w.chance(50) {
				at = w.between(i+1, len(events))
			}
			events = slices.Insert(events, at, &again)
		}
	}
	return events
}

// split parts events by whether they are such.
func split(events []*schemas.Event, such func(*schemas.Event) bool) (yes, no []*schemas.Event) {
	for _, e := range events {
		if such(e) {
			yes = append(yes, e)
		} else {
			no = append(no, e)
		}
	}
	return yes, no
}
