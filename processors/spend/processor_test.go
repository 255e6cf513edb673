package spend_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/schemas"
)

// noon of a day, µs.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixMicro()

const hour = int64(3600e6)

// frame is what a commit of sessions says, as a message.
func frame(commit, watermark int64, deltas ...*schemas.SpendDelta) []byte {
	var rows [][]byte
	for _, d := range deltas {
		rows = append(rows, d.AppendAvro(nil))
	}
	h := schemas.RowHeader{Processor: "sessions", Generation: 1, FirstCommit: commit, LastCommit: commit, Watermark: watermark}
	return schemas.AppendRowFrame(nil, schemas.SpendDeltaFrameFingerprint, &h, rows)
}

func user(at, usd int64) *schemas.SpendDelta {
	return &schemas.SpendDelta{Org: "acme", Dimension: schemas.SpendDimensionUser, Value: "ada", Minute: at - at%60e6,
		Requests: 1, CostNanoUsd: usd * 1e9, CostGrade: schemas.CostGradeMeasured}
}

// spends appends deltas at the harness's time.
func spends(t *testing.T, h *engine.Harness, deltas ...*schemas.SpendDelta) {
	t.Helper()
	if err := h.Append(frame(1, h.Now-10e6, deltas...)); err != nil {
		t.Fatal(err)
	}
}

func sums(t *testing.T, h *engine.Harness) map[string]int64 {
	t.Helper()
	total := map[string]int64{}
	seen := map[schemas.Id]bool{}
	for _, b := range h.Rows(broker.Spend) {
		var r schemas.Spend
		if _, err := r.DecodeAvro(b); err != nil {
			t.Fatal(err)
		}
		if seen[r.RowId] {
			t.Fatalf("row %s is said twice", r.RowId)
		}
		seen[r.RowId] = true
		total[fmt.Sprint(r.PaneSize, " ", r.Dimension, " ", r.Value, " ", r.PaneStart, " ", r.Billing)] += r.CostNanoUsd
		total[fmt.Sprint(r.PaneSize, " ", r.Dimension, " requests")] += r.Requests
	}
	return total
}

func found(t *testing.T, h *engine.Harness) []string {
	t.Helper()
	last, order := map[schemas.Id]schemas.Finding{}, []schemas.Id{}
	for _, b := range h.Rows(broker.Findings) {
		var f schemas.Finding
		if _, err := f.DecodeAvro(b); err != nil {
			t.Fatal(err)
		}
		if _, ok := last[f.FindingId]; !ok {
			order = append(order, f.FindingId)
		}
		if f.Sign > 0 {
			last[f.FindingId] = f
		}
	}
	all := []string{}
	for _, id := range order {
		f := last[id]
		all = append(all, fmt.Sprintf("%s %s: %s", f.Kind, f.State, f.Sentence))
	}
	return all
}

func expect(t *testing.T, h *engine.Harness, want ...string) {
	t.Helper()
	if got := found(t, h); !reflect.DeepEqual(got, append([]string{}, want...)) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// days is a harness after days in which the user spent about a dollar at noon.
func days(t *testing.T, n int) *engine.Harness {
	t.Helper()
	h := engine.NewHarness(spend.NewProcessor(), noon)
	for i := range n {
		spends(t, h, user(h.Now, 1+int64(i%2)))
		if err := h.Advance(24 * time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestAValueThatIsSpentNoMoreLeavesNothing(t *testing.T) {
	h := days(t, 10)
	for range 50 {
		if err := h.Advance(24 * time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range h.Keys() {
		if key[0] == 'v' || key[0] == 'h' {
			t.Errorf("record %q is left", key[:1])
		}
	}
}

func TestASpikeEndsWithItsRule(t *testing.T) {
	h := days(t, 10)
	spends(t, h, user(h.Now, 30))
	if err := h.Config("rules", 2, []byte("defaults: {spend_spike: {enabled: false}}"), h.Now); err != nil {
		t.Fatal(err)
	}
	h.Now += 1e6
	spends(t, h, user(h.Now, 1))
	if all := found(t, h); len(all) != 1 || !strings.Contains(all[0], "resolved") {
		t.Errorf("found %q, want a spike that is resolved", all)
	}
}

// The money of the last minutes comes when the hour is over.
func TestASpikeAtTheEndOfItsHour(t *testing.T) {
	h := days(t, 10)
	h.Now += hour - 20e6
	spends(t, h, user(h.Now, 1))
	at := h.Now
	h.Now += 60e6 // its deltas wait for the commit of their session
	if err := h.Append(frame(1, at-10e6, user(at, 30))); err != nil {
		t.Fatal(err)
	}
	if all := found(t, h); len(all) != 1 {
		t.Errorf("found %q, want a spike", all)
	}
}

func TestWhatIsUsualFollowsCorrectionsOfEarlierDays(t *testing.T) {
	h := engine.NewHarness(spend.NewProcessor(), noon)
	for range 10 {
		spends(t, h, user(h.Now, 100))
		if err := h.Advance(24 * time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	spends(t, h, user(h.Now, 150))
	expect(t, h) // half more than usual
	for i := range int64(10) {
		spends(t, h, user(h.Now-(i+1)*24*hour, -90))
	}
	spends(t, h, user(h.Now, 1))
	if all := found(t, h); len(all) != 1 {
		t.Errorf("found %q, want a spike", all)
	}
}

func TestASpikeIsFoundAgainstTheSameHourOfEarlierDays(t *testing.T) {
	h := days(t, 10)
	spends(t, h, user(h.Now, 3))
	expect(t, h) // more than usual, and no spike
	spends(t, h, user(h.Now, 30))
	const sentence = "user ada spent $33.00 in the hour from 12:00; $1.50 is usual then."
	expect(t, h, "spend_spike open: "+sentence)
	if err := h.Advance(10 * time.Minute); err != nil {
		t.Fatal(err)
	}
	spends(t, h, user(h.Now, 7))
	expect(t, h, "spend_spike open: user ada spent $40.00 in the hour from 12:00; $1.50 is usual then.")
	if err := h.Advance(2 * time.Hour); err != nil {
		t.Fatal(err)
	}
	expect(t, h, "spend_spike resolved: user ada spent $40.00 in the hour from 12:00; $1.50 is usual then.")
}

func TestWhatIsNoSpike(t *testing.T) {
	cold := days(t, 6)
	spends(t, cold, user(cold.Now, 100))
	expect(t, cold) // too few days to tell

	steady := engine.NewHarness(spend.NewProcessor(), noon)
	for range 12 {
		spends(t, steady, user(steady.Now, 500))
		if err := steady.Advance(24 * time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	spends(t, steady, user(steady.Now, 600))
	expect(t, steady) // a large and steady spender

	late := days(t, 10)
	spends(t, late, user(late.Now-24*hour, 100)) // a batch of yesterday
	spends(t, late, user(late.Now-5*hour, 100))  // catching up after an outage
	spends(t, late, user(late.Now-8*24*hour, 900), user(late.Now-200*24*hour, 900))
	expect(t, late)

	dearer := days(t, 10)
	spends(t, dearer, user(dearer.Now, 1))
	for i := range int64(9) { // new prices: the rows of earlier days are taken back and said anew
		spends(t, dearer, &schemas.SpendDelta{Org: "acme", Dimension: schemas.SpendDimensionUser, Value: "ada", Minute: noon + i*24*hour, CostNanoUsd: 50e9})
	}
	expect(t, dearer)

	small := days(t, 10)
	spends(t, small, user(small.Now, 5)) // below the floor above what is usual
	expect(t, small)
}

func TestBudgets(t *testing.T) {
	h := engine.NewHarness(spend.NewProcessor(), noon)
	if err := h.Config("rules", 2, []byte(`defaults: {spend_spike: {enabled: false}, budget_exceeded: {budgets: ["user * day 10", "user ada month 25", "repo ** day 1"]}}`), noon); err != nil {
		t.Fatal(err)
	}
	spends(t, h, user(h.Now, 9))
	expect(t, h)
	spends(t, h, user(h.Now, 2))
	expect(t, h, "budget_exceeded open: user ada spent $11.00 of the day's budget of $10.00.")
	if err := h.Advance(24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	spends(t, h, user(h.Now, 9))
	spends(t, h, user(h.Now-24*hour, 3)) // late money of yesterday counts for the month only
	expect(t, h, "budget_exceeded open: user ada spent $11.00 of the day's budget of $10.00.")
	spends(t, h, user(h.Now, 2))
	expect(t, h, "budget_exceeded open: user ada spent $11.00 of the day's budget of $10.00.",
		"budget_exceeded open: user ada spent $11.00 of the day's budget of $10.00.",
		"budget_exceeded open: user ada spent $25.00 of the month's budget of $25.00.")
}

// Increments add up to the deltas, whatever their order and however they are cut
// into frames.
func TestIncrementsAddUp(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 7))
		var deltas []*schemas.SpendDelta
		want := map[string]int64{}
		for range 200 {
			d := user(noon-random.Int64N(72)*hour+random.Int64N(60)*60e6, random.Int64N(9)-2)
			d.Billing = schemas.Billing(random.IntN(3))
			if random.IntN(2) == 0 {
				d.Dimension, d.Value = schemas.SpendDimensionRepo, fmt.Sprint("r", random.IntN(3))
			}
			deltas = append(deltas, d)
			for size, length := range map[string]int64{"minute": 60e6, "hour": hour, "day": 24 * hour} {
				if size == "minute" && d.Dimension == schemas.SpendDimensionUser {
					continue
				}
				want[fmt.Sprint(size, " ", d.Dimension, " ", d.Value, " ", d.Minute-d.Minute%length, " ", d.Billing)] += d.CostNanoUsd
				want[fmt.Sprint(size, " ", d.Dimension, " requests")] += d.Requests
			}
		}
		h := engine.NewHarness(spend.NewProcessor(), noon)
		random.Shuffle(len(deltas), func(i, j int) { deltas[i], deltas[j] = deltas[j], deltas[i] })
		for len(deltas) > 0 {
			n := 1 + random.IntN(min(20, len(deltas)))
			spends(t, h, deltas[:n]...)
			deltas = deltas[n:]
			switch random.IntN(4) {
			case 0:
				if err := h.Advance(time.Duration(random.IntN(90)) * time.Second); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := h.Restart(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := h.Advance(5 * time.Minute); err != nil {
			t.Fatal(err)
		}
		got := sums(t, h)
		for key, v := range got {
			if v == 0 && want[key] == 0 {
				delete(got, key)
			}
		}
		for key, v := range want {
			if v == 0 {
				delete(want, key)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: the increments add up to\n%v, want\n%v", seed, got, want)
		}
	}
}

func TestAnIncrementTellsItsStage(t *testing.T) {
	h := engine.NewHarness(spend.NewProcessor(), noon)
	org := func(at int64) *schemas.SpendDelta {
		return &schemas.SpendDelta{Org: "acme", Dimension: schemas.SpendDimensionOrg, Value: "acme", Minute: at - at%60e6, Requests: 1}
	}
	stages := func() (all []string) {
		for _, b := range h.Rows(broker.Spend) {
			var r schemas.Spend
			if _, err := r.DecodeAvro(b); err != nil {
				t.Fatal(err)
			}
			if r.PaneSize == schemas.PaneSizeMinute {
				all = append(all, r.Stage.String())
			}
		}
		return all
	}
	advance := func(d time.Duration) {
		if err := h.Advance(d); err != nil {
			t.Fatal(err)
		}
	}
	spends(t, h, org(noon))
	advance(11 * time.Second)
	spends(t, h, org(noon+30e6))
	h.Now += 5e6
	if err := h.Append(frame(1, noon+61e6, org(noon+60e6))); err != nil { // the watermark has passed the first minute
		t.Fatal(err)
	}
	advance(11 * time.Second)
	spends(t, h, org(noon))
	advance(11 * time.Second)
	if got, want := stages(), []string{"early", "on_time", "early", "late"}; !reflect.DeepEqual(got, want) {
		t.Errorf("stages %q, want %q", got, want)
	}
}
