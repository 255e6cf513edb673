package spend

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flightlog/flightlog/schemas"
)

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil { // tests write into temp folders only
		panic(err)
	}
	os.Exit(m.Run())
}

// request is a row of a model request as a processor says it.
func request(id string, version int64, sign int32, change func(*schemas.Enriched)) schemas.Enriched {
	key := schemas.FactKey("s", schemas.KindModelRequest, id)
	r := schemas.Enriched{Sign: sign, FactKey: key, Version: version, Generation: 1, Kind: schemas.KindModelRequest,
		RowId: schemas.RowID(1, key, version, sign), SessionId: "s", Model: "m", OccurredAt: 1_790_000_000_000_000,
		TokenInput: schemas.SomeLong(1000), TokenOutput: schemas.SomeLong(1000),
		CostNanoUsd: schemas.SomeLong(7), CostNanoUsdMax: schemas.SomeLong(7), CostGrade: schemas.CostGradeMeasured}
	if change != nil {
		change(&r)
	}
	return r
}

// retract is the row that takes one back.
func retract(r schemas.Enriched) schemas.Enriched {
	r.Sign, r.Version = -1, r.Version+1
	r.RowId = schemas.RowID(1, r.FactKey, r.Version, -1)
	return r
}

// said is a fact in some versions, each taken back before the next.
func said(versions ...schemas.Enriched) (rows []schemas.Enriched) {
	for i, r := range versions {
		r.Version = int64(i + 1)
		r.RowId = schemas.RowID(1, r.FactKey, r.Version, 1)
		if i > 0 {
			rows = append(rows, retract(rows[len(rows)-1]))
		}
		rows = append(rows, r)
	}
	return rows
}

// anyFact draws a fact with some versions, perhaps withdrawn in the end.
func anyFact(t *rapid.T, id int) []schemas.Enriched {
	var versions []schemas.Enriched
	for range rapid.IntRange(1, 4).Draw(t, "versions") {
		versions = append(versions, request(fmt.Sprint(id), 1, 1, func(r *schemas.Enriched) {
			text := func(name string) string { return rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, name) }
			r.User, r.Team, r.Repo, r.Skill, r.SessionId, r.Model = text("user"), text("team"), text("repo"), text("skill"), text("session"), text("model")
			r.TokenInput = schemas.SomeLong(rapid.Int64Range(0, 1e6).Draw(t, "input"))
			r.Billing = rapid.SampledFrom([]schemas.Billing{schemas.BillingUnknown, schemas.BillingApi, schemas.BillingSubscription}).Draw(t, "billing")
			r.CostNanoUsd = schemas.SomeLong(rapid.Int64Range(0, 1e12).Draw(t, "cost"))
			r.CostNanoUsdMax = r.CostNanoUsd
			if rapid.Bool().Draw(t, "unpriced") {
				r.CostNanoUsd, r.CostNanoUsdMax, r.CostGrade = schemas.OptLong{}, schemas.OptLong{}, schemas.CostGradeUnpriced
			}
			if rapid.Bool().Draw(t, "contracted") {
				r.CostContractedNanoUsd = schemas.SomeLong(rapid.Int64Range(0, 1e12).Draw(t, "contract"))
			}
		}))
	}
	rows := said(versions...)
	if rapid.Bool().Draw(t, "withdrawn") {
		rows = append(rows, retract(rows[len(rows)-1]))
	}
	return rows
}

func anyRows(t *rapid.T) (rows []schemas.Enriched) {
	for id := range rapid.IntRange(0, 12).Draw(t, "facts") {
		rows = append(rows, anyFact(t, id)...)
	}
	return rows
}

func sum(t require, rows []schemas.Enriched, by ...Dimension) *Ledger {
	l := NewLedger(1000, by...)
	for i := range rows {
		if err := l.Add(&rows[i]); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return l
}

type require interface{ Fatalf(string, ...any) }

func TestTheOrderOfRowsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := anyRows(t)
		want := sum(t, rows, Team, Model).Cells()
		shuffled := append([]schemas.Enriched(nil), rows...)
		rand.New(rand.NewSource(rapid.Int64().Draw(t, "seed"))).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := sum(t, shuffled, Team, Model).Cells(); !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\nwant %v", got, want)
		}
	})
}

func TestARestatementAndItsReverseLeaveEverySum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := anyRows(t)
		before := sum(t, rows, Team, Model, Session).Cells()
		last := map[schemas.Id]schemas.Enriched{}
		for _, r := range rows {
			last[r.FactKey] = r
		}
		for _, stands := range last {
			if stands.Sign < 0 {
				continue
			}
			back := retract(stands)
			other := stands
			other.Version, other.Team = back.Version, "moved"
			other.CostNanoUsd, other.CostNanoUsdMax, other.CostGrade, other.Restatement = schemas.SomeLong(9e9), schemas.SomeLong(9e9), schemas.CostGradeMeasured, "prices 2: test"
			again := retract(other)
			stands.Version = again.Version
			rows = append(rows, back, other, again, stands)
		}
		if got := sum(t, rows, Team, Model, Session).Cells(); !reflect.DeepEqual(got, before) {
			t.Fatalf("%v\nwant %v", got, before)
		}
	})
}

func TestPairsOfDimensionsAgreeWithTheStateOfEachFact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := anyRows(t)
		if faults := audit(t, rows).Faults; len(faults) > 0 {
			t.Fatalf("%v", faults)
		}
	})
}

func audit(t require, rows []schemas.Enriched) *Proof {
	a := NewAudit(1000, User, Team, Repo, Model, Skill, Session)
	for i := range rows {
		if err := a.Add(&rows[i]); err != nil {
			t.Fatalf("%v", err)
		}
	}
	if err := a.EndPartition(); err != nil {
		t.Fatalf("%v", err)
	}
	p, err := a.Proof()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

func TestTheAuditNamesWhatIsBroken(t *testing.T) {
	one, two := request("1", 1, 1, nil), request("2", 1, 1, func(r *schemas.Enriched) { r.Team = "a" })
	wrongCost := retract(one)
	wrongCost.CostNanoUsd = schemas.SomeLong(6)
	wrongTeam := retract(two)
	wrongTeam.Team = "b"
	wrongWitness := retract(one)
	wrongWitness.Witnesses = "git"
	unpriced := request("3", 1, 1, func(r *schemas.Enriched) { r.CostGrade = schemas.CostGradeUnpriced })
	for name, c := range map[string]struct {
		rows []schemas.Enriched
		want string
	}{
		"other cost":       {[]schemas.Enriched{one, wrongCost}, "cost_nano_usd is 6 and not 7"},
		"money that stays": {[]schemas.Enriched{one, wrongCost}, "cost_nano_usd is 1 and not 0 without a request"},
		"other team":       {[]schemas.Enriched{two, wrongTeam}, `team is "b" and not "a"`},
		"less than none":   {[]schemas.Enriched{two, wrongTeam}, "-1 requests"},
		"other column":     {[]schemas.Enriched{one, wrongWitness}, "another column differs"},
		"none stands":      {[]schemas.Enriched{retract(one)}, "takes a row back, and none stands"},
		"twice":            {[]schemas.Enriched{one, request("1", 2, 1, nil)}, "is said over version 1, which stands"},
		"backwards":        {[]schemas.Enriched{request("1", 5, 1, nil), retract(one)}, "comes after version 5"},
		"state":            {[]schemas.Enriched{one, request("1", 2, 1, nil)}, "are not those of the facts' states"},
		"priced unpriced":  {[]schemas.Enriched{unpriced}, "has the grade unpriced, and a cost: true"},
	} {
		p := audit(t, c.rows)
		if text := strings.Join(p.Faults, "\n"); !strings.Contains(text, c.want) || p.Found < int64(len(p.Faults)) {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}

func TestWhatHasNoPriceIsACellOfItsOwn(t *testing.T) {
	rows := []schemas.Enriched{request("1", 1, 1, nil), request("2", 1, 1, func(r *schemas.Enriched) {
		r.CostNanoUsd, r.CostNanoUsdMax, r.CostGrade = schemas.OptLong{}, schemas.OptLong{}, schemas.CostGradeUnpriced
	})}
	cells := sum(t, rows).Cells()
	if len(cells) != 2 || cells[0].Measures[CostNanoUsd] != 7 || cells[0].Measures[PricedRequests] != 1 ||
		cells[1].Grade != schemas.CostGradeUnpriced || cells[1].Measures[PricedRequests] != 0 || cells[1].Measures[TokenInput] != 1000 {
		t.Errorf("%+v", cells)
	}
}

func TestARowTakenBackLeavesNoCell(t *testing.T) {
	one := request("1", 1, 1, nil)
	if cells := sum(t, []schemas.Enriched{one, retract(one)}, Team).Cells(); len(cells) != 0 {
		t.Errorf("%v", cells)
	}
}

func TestSumsDoNotOverflow(t *testing.T) {
	big := func(id string, n int64) schemas.Enriched {
		return request(id, 1, 1, func(r *schemas.Enriched) { r.CostNanoUsd = schemas.SomeLong(n) })
	}
	l := NewLedger(10)
	most, one, least := big("1", math.MaxInt64-5), big("2", 6), big("3", math.MinInt64)
	if err := l.Add(&most); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(&one); !errors.Is(err, ErrOverflow) || !strings.Contains(err.Error(), "cost_nano_usd") {
		t.Errorf("%v", err)
	}
	if got := l.Cells()[0].Measures; got[CostNanoUsd] != math.MaxInt64-5 || got[Requests] != 1 {
		t.Errorf("after the error: %v", got)
	}
	least.Sign = -1
	if _, err := Of(&least); !errors.Is(err, ErrOverflow) {
		t.Errorf("%v", err)
	}
	if one.Sign = 2; l.Add(&one) == nil {
		t.Error("a row with the sign 2 was added")
	}
}

func TestALedgerHoldsAsManyCellsAsItMay(t *testing.T) {
	l := NewLedger(2, Team)
	for i, want := range []error{nil, nil, ErrTooMany} {
		r := request(fmt.Sprint(i), 1, 1, func(r *schemas.Enriched) { r.Team = fmt.Sprint(i) })
		if err := l.Add(&r); !errors.Is(err, want) {
			t.Errorf("row %d: %v, want %v", i, err, want)
		}
	}
	if _, err := l.Fold(User); err == nil || !strings.Contains(err.Error(), "cannot fold sums to user") {
		t.Errorf("%v", err)
	}
}

func TestEveryDimensionHasAWordForNothing(t *testing.T) {
	names := map[string]bool{}
	for _, d := range Dimensions() {
		parsed, err := ParseDimension(d.String())
		if err != nil || parsed != d || names[d.String()] || d.Label("") == "" || d.Label("x") != "x" {
			t.Errorf("%s: %v, %q", d, err, d.Label(""))
		}
		names[d.String()] = true
		if got := d.Of(&schemas.Enriched{}); got != "" && d != Day && d != CostGrade {
			t.Errorf("%s of nothing is %q", d, got)
		}
		if d.Attributes() != (d.Label("") == "unattributed") {
			t.Errorf("%s attributes: %t", d, d.Attributes())
		}
	}
	if _, err := ParseDimension("colour"); err == nil || !strings.Contains(err.Error(), "user, team, repo") {
		t.Errorf("%v", err)
	}
	for m := range measures {
		if m.String() == "" {
			t.Errorf("measure %d has no name", m)
		}
	}
}

func TestARestatementIsARowWhoseReasonIsAnother(t *testing.T) {
	because := func(reason string, nano int64) schemas.Enriched {
		return request("1", 1, 1, func(r *schemas.Enriched) { r.CostNanoUsd, r.Restatement = schemas.SomeLong(nano), reason })
	}
	rows := said(because("", 7), because("prices 2: a", 9), because("prices 2: a", 11), // a correction: what restated it was before
		because("prices 3: b", 13), because("prices 3: b", 13), because("", 17))
	late := NewLate()
	for i := range rows {
		if err := late.Add(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	want := []Reason{{"", 1}, {"prices 2: a", 1}, {"prices 3: b", 1}}
	if late.New.Count != 1 || late.Corrected.Count != 2 || late.Restated.Count != 3 || !reflect.DeepEqual(late.Reasons(), want) {
		t.Errorf("%d new, %d corrected, %d restated: %v", late.New.Count, late.Corrected.Count, late.Restated.Count, late.Reasons())
	}
}

func TestASubscriptionHasNoContractedMoney(t *testing.T) {
	contracted := func(billing schemas.Billing) schemas.Enriched {
		return request("1", 1, 1, func(r *schemas.Enriched) { r.Billing, r.CostContractedNanoUsd = billing, schemas.SomeLong(5) })
	}
	api, subscription := contracted(schemas.BillingApi), contracted(schemas.BillingSubscription)
	if m, err := Of(&api); err != nil || m[CostContractedNanoUsd] != 5 || m[ContractedRequests] != 1 {
		t.Errorf("api: %v, %v", m, err)
	}
	if m, err := Of(&subscription); err != nil || m[CostContractedNanoUsd] != 0 || m[ContractedRequests] != 0 || m[CostNanoUsd] != 7 {
		t.Errorf("subscription: %v, %v", m, err)
	}
}

func TestMoneyThatNoRequestHasIsNull(t *testing.T) {
	m := Measures{Requests: 1, TokenInput: 5}
	told, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := json.Marshal(Changed{m})
	if err != nil {
		t.Fatal(err)
	}
	for _, measure := range []Measure{CostNanoUsd, CostNanoUsdMax, CostContractedNanoUsd, CostClientNanoUsd} {
		if !strings.Contains(string(told), fmt.Sprintf("%q:null", measure)) || !strings.Contains(string(changed), fmt.Sprintf("%q:0", measure)) {
			t.Errorf("%s: %s, as a change %s", measure, told, changed)
		}
	}
	if m[PricedRequests] = 1; !m.Known(CostNanoUsd) || m.Known(CostContractedNanoUsd) || !m.Known(TokenOutput) {
		t.Error("a price of nothing is not known")
	}
}

func TestLateTellsWhatRowsDid(t *testing.T) {
	restated := request("3", 1, 1, func(r *schemas.Enriched) { r.CostNanoUsd, r.Restatement = schemas.SomeLong(20), "prices 2: wrong" })
	history := [][]schemas.Enriched{
		said(request("1", 1, 1, nil)),
		said(request("2", 1, 1, nil), request("2", 1, 1, func(r *schemas.Enriched) { r.CostNanoUsd = schemas.SomeLong(9) })),
		said(request("3", 1, 1, nil), restated)[1:], // the first was told before
		{retract(request("4", 1, 1, nil))},
		{request("5", 1, 1, func(r *schemas.Enriched) { r.Kind = schemas.KindToolCall })},
	}
	late, all := NewLate(), []schemas.Enriched{}
	for _, rows := range history {
		for i := range rows {
			if err := late.Add(&rows[i]); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, rows...)
	}
	if err := late.End(); err != nil {
		t.Fatal(err)
	}
	changed := Measures{}
	for i, want := range []struct{ count, requests, cost int64 }{{2, 2, 14}, {1, 0, 2}, {1, 0, 13}, {1, -1, -7}} {
		c := *late.all()[i]
		var got Measures
		for _, cell := range c.By() {
			if err := got.Add(cell.Measures); err != nil {
				t.Fatal(err)
			}
		}
		if err := changed.Add(got); err != nil {
			t.Fatal(err)
		}
		if c.Count != want.count || got[Requests] != want.requests || got[CostNanoUsd] != want.cost {
			t.Errorf("change %d: %d, %d requests, %d nano-dollars, want %+v", i, c.Count, got[Requests], got[CostNanoUsd], want)
		}
	}
	if want := sum(t, all).Cells()[0].Measures; changed != want {
		t.Errorf("the changes come to %v, the rows to %v", changed, want)
	}
	if reasons := late.Reasons(); !reflect.DeepEqual(reasons, []Reason{{"prices 2: wrong", 1}}) {
		t.Errorf("%v", reasons)
	}
}
