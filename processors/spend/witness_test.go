package spend

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/schemas"
)

func differences(t *testing.T, c *Comparison) []Difference {
	t.Helper()
	all, err := c.Differences()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAComparisonDoesNotOverflow(t *testing.T) {
	most := Usage{Day: "2026-09-21", Model: "m"}
	most.Figures[FigureInput] = schemas.SomeLong(math.MaxInt64)
	result, _ := NewRecord(1).CompareUsage([]Usage{most, most}, "2026-09-21", "2026-09-22")
	if _, err := result.Differences(); !errors.Is(err, ErrOverflow) {
		t.Errorf("%v", err)
	}
}

func TestEachDifferenceOfARequestHasItsReason(t *testing.T) {
	for want, change := range map[string]func(*schemas.Enriched){
		NoClientFigure: func(r *schemas.Enriched) { r.CostClientUsd = schemas.OptDouble{} },
		NoUsage: func(r *schemas.Enriched) {
			r.CostNanoUsd, r.CostNanoUsdMax, r.CostGrade = schemas.OptLong{}, schemas.OptLong{}, schemas.CostGradeUnknown
		},
		Agrees: func(r *schemas.Enriched) {},
		"unpriced by us: the client went by 4/20": func(r *schemas.Enriched) { // as claude-zephyr-9 in usage-shapes
			r.CostNanoUsd, r.CostNanoUsdMax, r.CostGrade = schemas.OptLong{}, schemas.OptLong{}, schemas.CostGradeUnpriced
			r.TokenCacheRead, r.TokenCacheWrite5m, r.CostClientUsd = schemas.SomeLong(1000), schemas.SomeLong(1000), schemas.SomeDouble(0.0292)
		},
		Unpriced: func(r *schemas.Enriched) {
			r.CostNanoUsd, r.CostNanoUsdMax, r.CostGrade = schemas.OptLong{}, schemas.OptLong{}, schemas.CostGradeUnpriced
			r.CostClientUsd = schemas.SomeDouble(0.012345678)
		},
		CacheLifetime: func(r *schemas.Enriched) {
			r.TokenCacheWrite5m, r.CostNanoUsd, r.CostNanoUsdMax = schemas.SomeLong(1000), schemas.SomeLong(17_000_000), schemas.SomeLong(20_000_000)
			r.CostGrade, r.CostClientUsd = schemas.CostGradeEstimated, schemas.SomeDouble(0.02)
		},
		PartialOutput: func(r *schemas.Enriched) {
			r.CostNanoUsdMax, r.CostGrade, r.CostClientUsd = schemas.OptLong{}, schemas.CostGradeEstimated, schemas.SomeDouble(0.0123)
		},
		NestedSearch: func(r *schemas.Enriched) {
			r.CostNanoUsdMax, r.CostGrade, r.CostClientUsd, r.QuerySource = schemas.OptLong{}, schemas.CostGradeEstimated, schemas.SomeDouble(0.022), "web_search_tool"
		},
		FastSpeed:                                func(r *schemas.Enriched) { r.CostClientUsd = schemas.SomeDouble(0.024) },
		Surcharge:                                func(r *schemas.Enriched) { r.CostClientUsd = schemas.SomeDouble(0.0132) },
		"price differs: the client went by 3/15": func(r *schemas.Enriched) { r.CostClientUsd = schemas.SomeDouble(0.018) },
		Unexplained:                              func(r *schemas.Enriched) { r.CostClientUsd = schemas.SomeDouble(0.012345678) },
	} {
		r := request("1", 1, 1, func(r *schemas.Enriched) { // 2/10: 1000 tokens in, 1000 out
			r.CostNanoUsd, r.CostNanoUsdMax, r.CostClientUsd = schemas.SomeLong(12_000_000), schemas.SomeLong(12_000_000), schemas.SomeDouble(0.012)
			change(r)
		})
		record := NewRecord(10)
		if err := record.Add(&r); err != nil {
			t.Fatal(err)
		}
		if d := differences(t, record.Client()); len(d) != 1 || d[0].Reason != want {
			t.Errorf("%+v, want the reason %q", d, want)
		}
		back := retract(r)
		if err := record.Add(&back); err != nil {
			t.Fatal(err)
		}
		if d := differences(t, record.Client()); len(d) != 0 {
			t.Errorf("%s: after it was taken back: %+v", want, d)
		}
	}
}

// broken is a request of 2/10 with 1000 tokens in and 1000 out whose stream
// broke.
func broken(client float64, source string) schemas.Enriched {
	return request("1", 1, 1, func(r *schemas.Enriched) {
		r.CostNanoUsd, r.CostNanoUsdMax, r.CostGrade = schemas.SomeLong(12_000_000), schemas.OptLong{}, schemas.CostGradeEstimated
		r.CostClientUsd, r.QuerySource = schemas.SomeDouble(client), source
	})
}

// TestABrokenStreamExplainsNoMoreThanAModelPutsOut: 128 000 tokens, here 1.28 USD.
func TestABrokenStreamExplainsNoMoreThanAModelPutsOut(t *testing.T) {
	for _, c := range []struct {
		client float64
		source string
		want   string
	}{
		{0.012 + 1.28, "", PartialOutput},
		{0.012 + 1.280001, "", Unexplained},
		{0.012 + 0.03, "web_search_tool", NestedSearch},
		{0.012 + 0.031, "web_search_tool", PartialOutput},
		{0.012 + 2, "web_search_tool", Unexplained},
	} {
		r, record := broken(c.client, c.source), NewRecord(10)
		if err := record.Add(&r); err != nil {
			t.Fatal(err)
		}
		if d := differences(t, record.Client()); len(d) != 1 || d[0].Reason != c.want {
			t.Errorf("%g %s: %+v, want %q", c.client, c.source, d, c.want)
		}
	}
	r, record := broken(0.012, ""), NewRecord(10)
	if err := record.Add(&r); err != nil {
		t.Fatal(err)
	}
	for lost, want := range map[int64]string{128_000: PartialOutput, 128_001: Unexplained} {
		claim, usage := told("s", 1000), Usage{Day: "2026-09-21", Model: "m"}
		claim.Models["m"][FigureOutput], claim.Models["m"][FigureCost] = schemas.SomeLong(1000+lost), schemas.SomeLong(12_000_000+lost*10_000)
		usage.Figures[FigureOutput] = schemas.SomeLong(1000 + lost)
		days, _ := record.CompareUsage([]Usage{usage}, "2026-09-21", "2026-09-22")
		for _, d := range append(differences(t, record.CompareSessions(0, 1<<60, []*Claim{claim})), differences(t, days)...) {
			if d.Figure != FigureInput && d.Reason != want {
				t.Errorf("%d tokens more: %+v, want %q", lost, d, want)
			}
		}
	}
	r.TokenInput, r.TokenOutput = schemas.OptLong{}, schemas.OptLong{}
	if got := lostCost(&r); got != 0 {
		t.Errorf("without tokens there is a price: %d", got)
	}
}

func TestReasonsThatPass(t *testing.T) {
	for reason, want := range map[string]bool{Agrees: true, NoClientFigure: true, CacheLifetime: true, PartialOutput: true, NotTold: true, NoRowsOfModel: true,
		Unexplained: false, Unpriced: false, Unpriced + wentBy(4000): false, PriceDiffers + wentBy(3000): false, Unread: false} {
		if Passes(reason) != want {
			t.Errorf("%s passes: %t", reason, !want)
		}
	}
	if got := Kind(PriceDiffers + wentBy(3000)); got != PriceDiffers {
		t.Errorf("%q", got)
	}
}

func TestAWitnessSaysWhatItCovers(t *testing.T) {
	record := NewRecord(100)
	for i, change := range []func(*schemas.Enriched){
		func(r *schemas.Enriched) { r.CostClientUsd = schemas.SomeDouble(7e-9) },
		func(r *schemas.Enriched) { r.SessionId = "other" },
		func(r *schemas.Enriched) { r.Billing = schemas.BillingSubscription },
		func(r *schemas.Enriched) { r.OccurredAt += 86_400_000_000; r.SessionId = "cut" },
	} {
		r := request(fmt.Sprint(i), 1, 1, change)
		if err := record.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	usage := Usage{Day: "2026-09-21", Model: "m"}
	days, _ := record.CompareUsage([]Usage{usage}, "2026-09-21", "2026-09-22")
	noSum := told("cut", 0)
	noSum.NoSum = true
	for witness, c := range map[string]struct {
		got  []Coverage
		want []Coverage
	}{
		"client":   {record.Client().Covers(), []Coverage{{"unknown", 1, 3, 7, 21}, {"subscription", 0, 1, 0, 7}}},
		"sessions": {record.CompareSessions(0, 1<<60, []*Claim{told("s", 1), noSum}).Covers(), []Coverage{{"unknown", 1, 3, 7, 21}, {"subscription", 1, 1, 7, 7}}},
		"usage":    {days.Covers(), []Coverage{{"unknown", 1, 2, 14, 21}, {"subscription", 0, 1, 0, 7}}},
	} {
		slices.SortFunc(c.want, func(a, b Coverage) int { return cmp.Compare(billing(a), billing(b)) })
		slices.SortFunc(c.got, func(a, b Coverage) int { return cmp.Compare(billing(a), billing(b)) })
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s covers %+v, want %+v", witness, c.got, c.want)
		}
	}
}

func billing(c Coverage) string { return c.Billing }

func TestARecordWithRowsMissingHasFaults(t *testing.T) {
	record, back := NewRecord(10), retract(request("1", 1, 1, nil))
	if err := record.Add(&back); err != nil {
		t.Fatal(err)
	}
	if faults := record.Faults(); len(faults) != 2 || !strings.Contains(faults[0], "-1 requests") {
		t.Errorf("%q", faults)
	}
}

// told is a claim of input tokens.
func told(session string, input int64) *Claim {
	f := &Figures{}
	f[FigureInput] = schemas.SomeLong(input)
	return &Claim{Session: session, Models: map[string]*Figures{"m": f}}
}

func TestEachDifferenceOfASessionHasItsReason(t *testing.T) {
	const from, to = 1_780_000_000_000_000, 1_800_000_000_000_000
	record := NewRecord(100)
	for i, session := range []string{"s", "s", "parent", "silent"} {
		r := request(fmt.Sprint(i), 1, 1, func(r *schemas.Enriched) {
			r.SessionId = session
			if session != "silent" {
				r.CostClientUsd = schemas.SomeDouble(1)
			}
		})
		if err := record.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	with := func(c *Claim, change func(*Claim)) *Claim { change(c); return c }
	for want, claim := range map[string]*Claim{
		Agrees:         told("s", 2000),
		NoRows:         told("other", 5),
		NoSum:          with(told("s", 0), func(c *Claim) { c.NoSum, c.Models = true, nil }),
		Unread:         with(told("s", 1999), func(c *Claim) { c.Unread, c.Behind = true, true }),
		OverTheEdge:    with(told("s", 5000), func(c *Claim) { c.First, c.Last = from-1, from+1 }),
		AfterTheSum:    with(told("s", 1000), func(c *Claim) { c.Behind = true }),
		ParentIncluded: with(told("s", 3000), func(c *Claim) { c.Parent = "parent" }),
		Uncounted:      told("silent", 0),
		Unexplained:    told("s", 1234),
	} {
		found := ""
		for _, d := range differences(t, record.CompareSessions(from, to, []*Claim{claim})) {
			if d.Figure == FigureInput && d.Examples[0] == claim.Session {
				found = d.Reason
			}
		}
		if found != want {
			t.Errorf("%q, want %q", found, want)
		}
	}
	ended := with(told("s", 1000), func(c *Claim) { c.First, c.Last = from, from+1 })
	if d := differences(t, record.CompareSessions(from, to, []*Claim{ended})); d[0].Reason != AfterTheSum {
		t.Errorf("a witness that ended early: %+v", d)
	}
	outside := with(told("other", 5), func(c *Claim) { c.First, c.Last = to, to+1 })
	for _, d := range differences(t, record.CompareSessions(from, to, []*Claim{outside})) {
		if d.Reason != NotTold {
			t.Errorf("a session after the period: %+v", d)
		}
	}
}

func TestEachDifferenceOfADayHasItsReason(t *testing.T) {
	record := NewRecord(100)
	add := func(id string, change func(*schemas.Enriched)) {
		r := request(id, 1, 1, func(r *schemas.Enriched) { r.Model, r.Platform = "claude-x-1-20260901", "firstParty"; change(r) })
		if err := record.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	const day = 86_400_000_000
	add("1", func(r *schemas.Enriched) { r.OccurredAt = 1_790_000_000_000_000 }) // 2026-09-21
	add("2", func(r *schemas.Enriched) { r.OccurredAt += day; r.TokenCacheWrite5m = schemas.SomeLong(50) })
	add("3", func(r *schemas.Enriched) { r.Billing = schemas.BillingSubscription })
	add("4", func(r *schemas.Enriched) { r.Platform = "bedrock" })
	add("5", func(r *schemas.Enriched) { r.OccurredAt += 30 * day }) // not a day that is compared
	usage := func(day, model string, input, output, write5m, write1h int64) Usage {
		u := Usage{Day: day, Model: model}
		u.Figures[FigureInput], u.Figures[FigureOutput] = schemas.SomeLong(input), schemas.SomeLong(output)
		u.Figures[FigureCacheWrite5m], u.Figures[FigureCacheWrite1h] = schemas.SomeLong(write5m), schemas.SomeLong(write1h)
		return u
	}
	found := map[string]string{}
	result, leftOut := record.CompareUsage([]Usage{
		usage("2026-09-21", "claude-x-1", 1500, 1000, 0, 0),
		usage("2026-09-22", "claude-x-1", 500, 999, 20, 30),
		usage("2026-09-22", "claude-y-1", 7, 0, 0, 0),
		usage("2026-10-21", "claude-x-1", 7, 0, 0, 0),
	}, "2026-09-21", "2026-09-24")
	if leftOut != 2 {
		t.Errorf("%d requests are left out, want 2", leftOut)
	}
	for _, d := range differences(t, result) {
		for _, day := range d.Examples {
			found[fmt.Sprint(day, " ", d.Model, " ", d.Figure)] = d.Reason
		}
	}
	for key, want := range map[string]string{
		"2026-09-21 claude-x-1 input": OtherDay, "2026-09-22 claude-x-1 input": OtherDay,
		"2026-09-21 claude-x-1 output": Agrees, "2026-09-22 claude-x-1 output": Unexplained,
		"2026-09-22 claude-x-1 cache_write_5m": CacheLifetime, "2026-09-22 claude-x-1 cache_write_1h": CacheLifetime,
		"2026-09-22 claude-y-1 input": NoRowsOfModel,
	} {
		if found[key] != want {
			t.Errorf("%s: %q, want %q", key, found[key], want)
		}
		delete(found, key)
	}
	if len(found) > 0 {
		t.Errorf("also %v", found)
	}
	result, _ = record.CompareUsage([]Usage{usage("2026-09-22", "claude-x-1", 1000, 1000, 50, 0)}, "2026-09-21", "2026-09-24")
	for _, d := range differences(t, result) {
		if d.Examples[0] == "2026-09-21" && d.Reason != NotExported {
			t.Errorf("a day that is not exported: %+v", d)
		}
	}
}
