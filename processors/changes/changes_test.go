package changes_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/changes"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/tasks"
	"github.com/flightlog/flightlog/schemas"
)

const (
	repo  = "github.com/acme/shop"
	begin = int64(1_795_000_000_000_000)
	hour  = int64(3600e6)
	day   = 24 * hour
)

// sha is a commit's id that begins so.
func sha(begins string) string { return begins + strings.Repeat("0", 40-len(begins)) }

// did is a row of what a session did at an hour.
func did(kind schemas.Kind, task string, hours int64, fill func(*schemas.Enriched)) *schemas.Enriched {
	r := &schemas.Enriched{Kind: kind, Family: schemas.FamilyArtifact, Org: "o", Repo: repo, SessionId: "session of " + task, TaskId: task,
		OccurredAt: begin + hours*hour, Sign: 1, Version: 1, Branch: "fix/x", Success: schemas.SomeBool(true)}
	fill(r)
	r.FactKey = schemas.FactKey(r.SessionId, kind, cmp.Or(r.CommitId, r.ChangeId, fmt.Sprint(hours)))
	return r
}

func commit(task string, hours int64, id string) *schemas.Enriched {
	return did(schemas.KindCommit, task, hours, func(r *schemas.Enriched) { r.CommitId = id })
}

func opened(task string, hours int64, number int) *schemas.Enriched {
	return did(schemas.KindPullRequest, task, hours, func(r *schemas.Enriched) { r.ChangeId, r.Detail = pullID(number), "created" })
}

// reviewed is what a session did with a pull request that it did not make.
func reviewed(task string, hours int64, number int, operation string) *schemas.Enriched {
	r := opened(task, hours, number)
	r.Detail, r.FactKey = operation, schemas.FactKey(r.SessionId, r.Kind, schemas.PullRequestFact(r.ChangeId, operation))
	return r
}

func pullID(number int) string { return fmt.Sprintf("%s#%d", repo, number) }

// observed is an observation of the forge at an hour, as sessions hands it on.
func observed(kind schemas.Kind, hours int64, fill func(*schemas.Event, *schemas.ArtifactBody)) *schemas.Enriched {
	e := &schemas.Event{Kind: kind, Witness: schemas.WitnessForge, Repo: repo, OccurredAt: begin + hours*hour}
	e.Body.Branch = schemas.EventBodyArtifact
	a := &e.Body.Artifact
	a.TargetBranch = "main"
	fill(e, a)
	id := a.ChangeId
	switch kind {
	case schemas.KindForgePush:
		id = a.CommitId + "@" + e.Branch
	case schemas.KindCheckRun, schemas.KindDeployment:
		id = a.CommitId + "/" + a.Name
	}
	e.FactKey = schemas.FactKey(repo, kind, id)
	schemas.SetEventID(e)
	r, err := changes.Observed("o", e)
	if err != nil {
		panic(err)
	}
	return &r
}

func pull(number int, operation string, hours int64, head string, more ...func(*schemas.ArtifactBody)) *schemas.Enriched {
	return observed(schemas.KindForgePullRequest, hours, func(e *schemas.Event, a *schemas.ArtifactBody) {
		e.Branch, a.ChangeId, a.Operation, a.CommitId = "fix/x", pullID(number), operation, head
		for _, f := range more {
			f(a)
		}
	})
}

func mergedAs(id string) func(*schemas.ArtifactBody) {
	return func(a *schemas.ArtifactBody) { a.MergeCommitId = id }
}

func reverts(what string) func(*schemas.ArtifactBody) {
	return func(a *schemas.ArtifactBody) { a.Reverts = what }
}

func ofPull(number int) func(*schemas.ArtifactBody) {
	return func(a *schemas.ArtifactBody) { a.ChangeId = pullID(number) }
}

func push(id string, hours int64, more ...func(*schemas.ArtifactBody)) *schemas.Enriched {
	return observed(schemas.KindForgePush, hours, func(e *schemas.Event, a *schemas.ArtifactBody) {
		e.Branch, a.CommitId = "main", id
		for _, f := range more {
			f(a)
		}
	})
}

func check(id, name string, hours int64, passed bool) *schemas.Enriched {
	return observed(schemas.KindCheckRun, hours, func(e *schemas.Event, a *schemas.ArtifactBody) {
		e.Success, a.CommitId, a.Name, a.Operation = schemas.SomeBool(passed), id, name, "completed"
	})
}

// otherwise is a row whose repository is written in other letters.
func otherwise(r *schemas.Enriched) *schemas.Enriched {
	r.Repo, r.ChangeId = strings.ToUpper(r.Repo), strings.ToUpper(r.ChangeId)
	return r
}

// onBranch is a row of another branch.
func onBranch(branch string, r *schemas.Enriched) *schemas.Enriched {
	r.Branch = branch
	return r
}

// world is what the processor has said: the rows that stand, and the contributions.
type world struct {
	rows  map[schemas.Id]*schemas.Enriched
	facts map[string]schemas.TaskFact // by task and change
}

// play folds rows one by one, some time apart.
func play(t *testing.T, rows []*schemas.Enriched, apart time.Duration) world {
	t.Helper()
	h := engine.NewHarness(changes.NewProcessor(), begin+1000*day)
	for n, r := range rows {
		header := &schemas.RowHeader{Processor: "sessions", FirstCommit: int64(n + 1), LastCommit: int64(n + 1)}
		if err := h.Append(broker.AppendRows(nil, broker.ChangeFacts, header, [][]byte{r.AppendAvro(nil)})); err != nil {
			t.Fatal(err)
		}
		if err := h.Advance(apart); err != nil {
			t.Fatal(err)
		}
	}
	if letters := h.Rows(broker.DeadLetters); len(letters) > 0 {
		t.Fatalf("%d dead letters: %s", len(letters), letters[0])
	}
	w := world{map[schemas.Id]*schemas.Enriched{}, map[string]schemas.TaskFact{}}
	facts := map[schemas.Id]int64{}
	for _, encoded := range h.Rows(broker.Enriched) {
		r := &schemas.Enriched{}
		if _, err := r.DecodeAvro(encoded); err != nil {
			t.Fatal(err)
		}
		if facts[r.FactKey] += int64(r.Sign); facts[r.FactKey] < 0 || facts[r.FactKey] > 1 {
			t.Errorf("%s of %s stands %d times", r.Kind, r.FactKey, facts[r.FactKey])
		}
		w.rows[r.FactKey] = r
	}
	for _, encoded := range h.Rows(broker.TaskFacts) {
		var f schemas.TaskFact
		if _, err := f.DecodeAvro(encoded); err != nil {
			t.Fatal(err)
		}
		key := f.Task.TaskId + " " + f.ChangeId
		if w.facts[key] = f; len(f.Task.Changes) == 0 {
			delete(w.facts, key)
		}
	}
	return w
}

// said is what became of each task's changes: state and link.
func (w world) said() (lines []string) {
	for _, key := range slices.Sorted(maps.Keys(w.facts)) {
		f := w.facts[key]
		c := f.Task.Changes[0]
		line := fmt.Sprintf("%s: %s %s by %s", f.Task.TaskId, strings.TrimPrefix(strings.TrimPrefix(c.ChangeId, repo), "@"), c.State, c.Link)
		if c.ChecksPassed+c.ChecksFailed > 0 {
			line += fmt.Sprintf(", checks %d/%d", c.ChecksPassed, c.ChecksPassed+c.ChecksFailed)
		}
		lines = append(lines, line)
	}
	return lines
}

// links are the column link of the forge's rows that have no single task.
func (w world) unlinked() (lines []string) {
	for _, r := range w.rows {
		if r.TaskId == "" && (r.Kind == schemas.KindForgePullRequest || r.Kind == schemas.KindForgePush) {
			lines = append(lines, r.Kind.String()+" "+r.Link)
		}
	}
	slices.Sort(lines)
	return lines
}

var (
	a, b, c, m, m2 = sha("aaaaaaa1"), sha("bbbbbbb1"), sha("ccccccc1"), sha("ddddddd1"), sha("eeeeeee1")
	patch          = func(p string) func(*schemas.ArtifactBody) {
		return func(a *schemas.ArtifactBody) { a.PatchId = p }
	}
)

var stories = map[string]struct {
	rows     []*schemas.Enriched
	said     []string
	unlinked []string
}{
	"merged as a session's commit": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "opened", 2, a), pull(1, "merged", 3, a, mergedAs(m)), push(a, 3), push(m, 3)},
		[]string{"T: #1 merged by commit"}, nil},
	"squashed, with an abbreviated commit": {
		[]*schemas.Enriched{commit("T", 1, a[:7]), pull(1, "merged", 3, a, mergedAs(m)), push(m, 3), check(a, "unit", 2, false), check(m, "unit", 4, true)},
		[]string{"T: #1 merged by commit, checks 1/2"}, nil},
	"opened by the session, the head is another's": {
		[]*schemas.Enriched{commit("T", 1, a), opened("T", 1, 1), pull(1, "merged", 3, b, mergedAs(m)), push(m, 3)},
		[]string{"T: #1 merged by pull_request"}, nil},
	"rebased": {
		[]*schemas.Enriched{did(schemas.KindCommit, "T", 1, func(r *schemas.Enriched) { r.CommitId, r.PatchId = a, "p1" }), push(b, 3, patch("p1"))},
		[]string{"T: " + b + " merged by patch_id"}, nil},
	"by the branch": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, b, mergedAs(m))},
		[]string{"T: #1 merged by branch"}, nil},
	"a branch that is used again": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "closed", 3, a), pull(2, "merged", 30, c, mergedAs(m))},
		[]string{"T: #1 closed by commit"}, []string{"forge_pull_request none"}},
	"a commit that came after the merge": {
		[]*schemas.Enriched{pull(1, "merged", 3, b, mergedAs(m)), commit("T", 5, a)},
		nil, []string{"forge_pull_request none"}},
	"main is no branch of work": {
		[]*schemas.Enriched{onBranch("main", commit("T", 1, a)), observed(schemas.KindForgePullRequest, 3, func(e *schemas.Event, x *schemas.ArtifactBody) {
			e.Branch, x.ChangeId, x.Operation, x.CommitId, x.TargetBranch = "main", pullID(1), "merged", b, "release"
		})},
		nil, []string{"forge_pull_request none"}},
	"pushed without a pull request": {
		[]*schemas.Enriched{onBranch("main", commit("T", 1, a)), push(a, 2)},
		[]string{"T: " + a + " merged by commit"}, nil},
	"pushed to its own branch only": {
		[]*schemas.Enriched{commit("T", 1, a), observed(schemas.KindForgePush, 2, func(e *schemas.Event, x *schemas.ArtifactBody) { e.Branch, x.CommitId = "fix/x", a })},
		nil, nil},
	"reverted by a push after 30 days": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)), push(b, 30*24, reverts(m))},
		[]string{"T: #1 reverted by commit"}, []string{"forge_push none"}},
	"reverted by a pull request": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)),
			onBranch("revert-1", pull(2, "merged", 30, b, mergedAs(m2), reverts(pullID(1))))},
		[]string{"T: #1 reverted by commit"}, []string{"forge_pull_request none"}},
	"a revert that is not merged": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)), onBranch("revert-1", pull(2, "opened", 30, b, reverts(pullID(1))))},
		[]string{"T: #1 merged by commit"}, []string{"forge_pull_request none"}},
	"a revert that is reverted": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)), push(b, 30, reverts(m)), push(c, 40, reverts(b))},
		[]string{"T: #1 merged by commit"}, []string{"forge_push none", "forge_push none"}},
	"each takes back the one before it": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)), push(b, 30, reverts(pullID(1))),
			onBranch("revert-2", pull(2, "merged", 40, c, mergedAs(m2), reverts(b))), push(m2, 40, ofPull(2)),
			onBranch("revert-3", pull(3, "merged", 50, sha("fffffff1"), mergedAs(sha("fffffff2")), reverts(m2))), push(sha("fffffff2"), 50, ofPull(3), reverts(m2))},
		[]string{"T: #1 reverted by commit"}, []string{"forge_pull_request none", "forge_pull_request none", "forge_push none", "forge_push none", "forge_push none"}},
	"each takes back the one before it by number, and only its commit says so": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)),
			onBranch("revert-2", pull(2, "merged", 30, c, mergedAs(m2))), push(m2, 30, reverts(pullID(1))),
			onBranch("revert-3", pull(3, "merged", 40, sha("fffffff1"), mergedAs(sha("fffffff2")))), push(sha("fffffff2"), 40, reverts(pullID(2))),
			push(b, 50, reverts(pullID(3)))},
		[]string{"T: #1 reverted by commit"}, []string{"forge_pull_request none", "forge_pull_request none", "forge_push none", "forge_push none", "forge_push none"}},
	"a revert whose pull request is reverted": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)),
			onBranch("revert-2", pull(2, "merged", 30, c, mergedAs(m2))), push(m2, 30, reverts(m)), push(b, 40, reverts(pullID(2)))},
		[]string{"T: #1 merged by commit"}, []string{"forge_pull_request none", "forge_push none", "forge_push none"}},
	"reviewed and merged by an agent": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)), reviewed("U", 2, 1, "commented"), reviewed("U", 3, 1, "merged")},
		[]string{"T: #1 merged by commit"}, nil},
	"a forge that writes the repository otherwise": {
		[]*schemas.Enriched{commit("T", 1, a), otherwise(pull(1, "merged", 3, a, mergedAs(m))), otherwise(push(b, 30, reverts(strings.ToUpper(pullID(1)))))},
		[]string{"T: " + strings.ToUpper(pullID(1)) + " reverted by commit"}, []string{"forge_push none"}},
	"closed, and edited after it": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "opened", 1, a), pull(1, "closed", 2, a), pull(1, "updated", 3, a)},
		[]string{"T: #1 closed by commit"}, nil},
	"closed and opened again in one second": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "opened", 1, a), pull(1, "reopened", 2, a), pull(1, "closed", 2, a)},
		[]string{"T: #1 closed by commit"}, nil},
	"with a title": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "closed", 2, a, func(b *schemas.ArtifactBody) { b.Name = "Round prices" })},
		[]string{"T: #1 closed by commit"}, nil},
	"a revert that named another one by mistake": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m)),
			onBranch("revert-2", pull(2, "merged", 30, c, mergedAs(m2), reverts(pullID(1)))), onBranch("revert-2", pull(2, "merged", 31, c, mergedAs(m2), reverts(pullID(9))))},
		[]string{"T: #1 merged by commit"}, []string{"forge_pull_request none"}},
	"a head that moves on from a person's commit": {
		[]*schemas.Enriched{opened("T", 1, 1), onBranch("other", pull(1, "opened", 2, b)), check(b, "unit", 3, true), onBranch("other", pull(1, "updated", 4, c))},
		[]string{"T: #1 open by pull_request"}, nil},
	"closed, and its commit pushed by hand": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "opened", 2, a), pull(1, "closed", 3, a), push(a, 4)},
		[]string{"T: #1 closed by commit", "T: " + a + " merged by commit"}, nil},
	"the forge abbreviates what fits two commits": {
		[]*schemas.Enriched{onBranch("main", commit("T", 1, a)), onBranch("main", commit("U", 1, sha("aaaaaaa2"))), push("aaaaaaa", 2)},
		nil, []string{"forge_push ambiguous"}},
	"one check by two names of its commit": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "opened", 1, a), check(a, "unit", 2, false), check(a[:12], "unit", 3, true)},
		[]string{"T: #1 open by commit, checks 1/1"}, nil},
	"an abbreviated id that fits two commits": {
		[]*schemas.Enriched{onBranch("main", commit("T", 1, "aaaaaaa")), push(a, 2), push(sha("aaaaaaa2"), 2)},
		nil, []string{"forge_push ambiguous", "forge_push ambiguous"}},
	"commits of two tasks": {
		[]*schemas.Enriched{commit("T", 1, a), opened("U", 2, 1), pull(1, "merged", 3, a, mergedAs(m))},
		[]string{"T: #1 merged by commit", "U: #1 merged by pull_request"}, []string{"forge_pull_request several"}},
	"a pull request of people": {
		[]*schemas.Enriched{commit("T", 1, a), onBranch("other", pull(1, "merged", 3, b, mergedAs(m))), push(m, 3)},
		nil, []string{"forge_pull_request none", "forge_push none"}},
	"closed, opened again and merged": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "opened", 1, a), pull(1, "closed", 2, a), pull(1, "reopened", 3, a), pull(1, "merged", 4, a, mergedAs(m)), pull(1, "updated", 5, a)},
		[]string{"T: #1 merged by commit"}, nil},
	"a check that was run again": {
		[]*schemas.Enriched{commit("T", 1, a), pull(1, "opened", 1, a), check(a, "unit", 2, false), check(a, "unit", 3, true), check(a, "lint", 2, true)},
		[]string{"T: #1 open by commit, checks 2/2"}, nil},
}

func TestStories(t *testing.T) {
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			w := play(t, s.rows, time.Minute)
			if !slices.Equal(w.said(), s.said) || !slices.Equal(w.unlinked(), s.unlinked) {
				t.Errorf("said %q, without a task %q; want %q, %q", w.said(), w.unlinked(), s.said, s.unlinked)
			}
		})
	}
}

// Order, duplicates and the time between them change nothing in the end: also
// where records have left the state and come back.
func TestAnyOrderGivesTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			for range 12 {
				rows := append(slices.Clone(s.rows), s.rows[random.IntN(len(s.rows))])
				random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
				apart := []time.Duration{0, time.Hour, 20 * 24 * time.Hour}[random.IntN(3)]
				if w := play(t, rows, apart); !slices.Equal(w.said(), s.said) || !slices.Equal(w.unlinked(), s.unlinked) {
					t.Errorf("%v apart: said %q, without a task %q; want %q, %q", apart, w.said(), w.unlinked(), s.said, s.unlinked)
				}
			}
		})
	}
}

// What rows say by themselves is what the processor has told tasks.
func TestRowsTellTheSame(t *testing.T) {
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			w := play(t, s.rows, time.Minute)
			state := changes.NewState()
			for _, r := range s.rows {
				if changes.OfSession(r.Kind) {
					state.Add(r)
				}
			}
			for _, r := range w.rows {
				state.Add(r)
			}
			again := world{facts: map[string]schemas.TaskFact{}}
			for _, f := range state.Contributions() {
				again.facts[f.Task.TaskId+" "+f.ChangeId] = f
			}
			if !slices.Equal(again.said(), w.said()) {
				t.Errorf("rows tell %q, the processor %q", again.said(), w.said())
			}
		})
	}
}

// A chain of reverts counts as far as the third, in whatever order it comes.
func TestAChainOfRevertsCountsToItsThird(t *testing.T) {
	rows := []*schemas.Enriched{commit("T", 1, a), pull(1, "merged", 3, a, mergedAs(m))}
	back := m
	for n := range 7 {
		next := sha(fmt.Sprintf("%07x", 0x1000000+n))
		rows = append(rows, push(next, int64(10+n), reverts(back)))
		back = next
		want := []string{"T: #1 " + map[bool]string{true: "merged", false: "reverted"}[n == 1] + " by commit"} // the second takes the first back
		forward, backward := play(t, rows, time.Minute).said(), slices.Clone(rows)
		slices.Reverse(backward)
		if got := play(t, backward, time.Minute).said(); !slices.Equal(got, want) || !slices.Equal(forward, want) {
			t.Errorf("%d reverts: said %q forward and %q backward, want %q", n+1, forward, got, want)
		}
	}
}

// A commit whose session finds another task later tells the old one no more.
func TestAWithdrawnLinkIsTakenBack(t *testing.T) {
	first := commit("T", 1, a)
	back := *first
	back.Sign, back.Version = -1, 2
	moved := *first
	moved.TaskId, moved.Version = "U", 2
	w := play(t, []*schemas.Enriched{first, pull(1, "merged", 3, a, mergedAs(m)), &back, &moved}, time.Second)
	if want := []string{"U: #1 merged by commit"}; !slices.Equal(w.said(), want) {
		t.Errorf("said %q, want %q", w.said(), want)
	}
	for _, r := range w.rows {
		if r.TaskId != "U" || r.Sign != 1 {
			t.Errorf("%s of task %q, sign %d", r.Kind, r.TaskId, r.Sign)
		}
	}
}

func TestRecordsLeaveTheState(t *testing.T) {
	h := engine.NewHarness(changes.NewProcessor(), begin+1000*day)
	for _, r := range stories["reverted by a push after 30 days"].rows {
		if err := h.Append(broker.AppendRows(nil, broker.ChangeFacts, &schemas.RowHeader{}, [][]byte{r.AppendAvro(nil)})); err != nil {
			t.Fatal(err)
		}
	}
	before := len(h.Keys())
	if err := h.Advance(9 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, key := range h.Keys() {
		if key[0] >= ' ' {
			t.Errorf("after nine days without arrivals record %q is still there, of %d", key[:1], before)
		}
	}
}

// records are those of the processor.
func records(h *engine.Harness) (n int) {
	for _, key := range h.Keys() {
		if key[0] >= ' ' {
			n++
		}
	}
	return n
}

// More checks of a commit than a node takes are said, too.
func TestEveryFactIsSaid(t *testing.T) {
	rows := []*schemas.Enriched{commit("T", 1, a), pull(1, "opened", 1, a)}
	for n := range 300 {
		rows = append(rows, check(a, fmt.Sprint("job ", n), 2, true))
	}
	if w := play(t, rows, 0); len(w.rows) != 301 {
		t.Errorf("%d rows of 301 stand", len(w.rows))
	}
}

// What comes back to be looked at leaves again, and what has aged out is not said
// anew: its row still stands.
func TestWhatHasLeft(t *testing.T) {
	h := engine.NewHarness(changes.NewProcessor(), begin+1000*day)
	tell := func(r *schemas.Enriched) {
		t.Helper()
		if err := h.Append(broker.AppendRows(nil, broker.ChangeFacts, &schemas.RowHeader{Processor: "sessions"}, [][]byte{r.AppendAvro(nil)})); err != nil {
			t.Fatal(err)
		}
	}
	advance := func(days int) {
		t.Helper()
		for range days {
			if err := h.Advance(24 * time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range 40 {
		tell(commit("T", int64(n), sha(fmt.Sprintf("%07x", 0xabc0000+n))))
	}
	tell(pull(1, "opened", 50, sha("abc0001")))
	advance(10)
	if n := records(h); n > 0 {
		t.Fatalf("%d records after ten days", n)
	}
	tell(onBranch("fix/x", pull(2, "opened", 300, b)))
	if records(h) < 40 {
		t.Fatal("the branch's facts did not come back")
	}
	advance(12)
	if n := records(h); n > 0 {
		t.Errorf("%d records came back and stay", n)
	}
	h.ExpireClosed()
	tell(pull(1, "merged", 600, sha("abc0001"), mergedAs(m)))
	signs := map[schemas.Id]int32{}
	for _, b := range h.Rows(broker.Enriched) {
		var r schemas.Enriched
		if _, err := r.DecodeAvro(b); err != nil {
			t.Fatal(err)
		}
		signs[r.FactKey] += r.Sign
	}
	for key, n := range signs {
		if n != 1 {
			t.Errorf("%s stands %d times", key, n)
		}
	}
	if n := len(h.Rows(broker.DeadLetters)); n != 1 {
		t.Errorf("%d dead letters, want that of the merge", n)
	}
}

// A branch that is used for ever: what was closed long ago costs nothing.
func TestABusyBranchIsNotLookedThrough(t *testing.T) {
	h := engine.NewHarness(changes.NewProcessor(), begin+1000*day)
	for n := 1; n <= 300; n++ {
		before := len(h.Commits)
		for _, r := range []*schemas.Enriched{pull(n, "opened", int64(n)*24, sha(fmt.Sprintf("%07x", 0xabc0000+n))), pull(n, "closed", int64(n)*24+2, "")} {
			if err := h.Append(broker.AppendRows(nil, broker.ChangeFacts, &schemas.RowHeader{Processor: "sessions"}, [][]byte{r.AppendAvro(nil)})); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Advance(24 * time.Hour); err != nil {
			t.Fatal(err)
		}
		changed := 0
		for _, c := range h.Commits[before:] {
			changed += len(c.Delta)
		}
		if made := len(h.Commits) - before; made > 12 || changed > 120 {
			t.Fatalf("%d commits with %d records for pull request %d", made, changed, n)
		}
	}
	if n := records(h); n > 60 {
		t.Errorf("%d records", n)
	}
}

func TestOutcomesOfTheForge(t *testing.T) {
	session := schemas.TaskFact{SessionId: "s", Task: schemas.Task{Org: "o", TaskId: "T", Sessions: 1, Prompts: 1, FirstSeen: begin, LastSeen: begin + hour},
		Turn: schemas.TurnStateStopped, TurnAt: begin, EditedAt: begin + hour}
	of := func(state schemas.ChangeState, id string, hours int64) schemas.TaskFact {
		return schemas.TaskFact{ChangeId: id, Task: schemas.Task{Org: "o", TaskId: "T", Changes: []schemas.TaskChange{
			{ChangeId: id, State: state, At: begin + hours*hour}}}}
	}
	merged, reverted := schemas.ChangeStateMerged, schemas.ChangeStateReverted
	for name, c := range map[string]struct {
		changes []schemas.TaskFact
		want    schemas.TaskOutcome
	}{
		"open":                      {[]schemas.TaskFact{of(schemas.ChangeStateOpen, pullID(1), 2)}, schemas.TaskOutcomeCompleted},
		"merged":                    {[]schemas.TaskFact{of(merged, pullID(1), 2)}, schemas.TaskOutcomeMerged},
		"merged, then edits":        {[]schemas.TaskFact{of(merged, pullID(1), 0)}, schemas.TaskOutcomeCompleted},
		"reverted":                  {[]schemas.TaskFact{of(reverted, pullID(1), 2)}, schemas.TaskOutcomeReverted},
		"the last one counts":       {[]schemas.TaskFact{of(reverted, pullID(1), 2), of(merged, pullID(2), 3)}, schemas.TaskOutcomeMerged},
		"the last one was reverted": {[]schemas.TaskFact{of(merged, pullID(1), 2), of(reverted, pullID(2), 3)}, schemas.TaskOutcomeReverted},
		"pulls before commits":      {[]schemas.TaskFact{of(reverted, pullID(1), 2), of(merged, repo+"@"+a, 3)}, schemas.TaskOutcomeReverted},
		"a commit without pulls":    {[]schemas.TaskFact{of(merged, repo+"@"+a, 3)}, schemas.TaskOutcomeMerged},
		"closed counts for nothing": {[]schemas.TaskFact{of(schemas.ChangeStateClosed, pullID(1), 3)}, schemas.TaskOutcomeCompleted},
	} {
		got := tasks.Combine(append(c.changes, session), begin+5*hour)
		if got.TaskOutcome != c.want || got.Sessions != 1 || len(got.Changes) != len(c.changes) {
			t.Errorf("%s: %s (%s) with %d changes, want %s", name, got.TaskOutcome, got.OutcomeRule, len(got.Changes), c.want)
		}
	}
	if got := tasks.Combine([]schemas.TaskFact{of(merged, pullID(1), 2)}, begin); got.TaskId != "" {
		t.Errorf("a change without a session is task %q", got.TaskId)
	}
}
