package spend

import (
	"maps"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/schemas"
)

// Claim is what a witness says of one session.
type Claim struct {
	Session     string
	First, Last int64 // µs, the time that it tells of; 0 = it does not say
	Models      map[string]*Figures
	NoSum       bool   // it knows the session, and has no sum of it
	Behind      bool   // it shows requests that its sum does not have
	Unread      bool   // a line of it could not be read that may be a newer sum
	Parent      string // the session it was forked from, where its sum begins with that one's
}

// CompareSessions holds the rows of [from, to), in µs, against what a witness
// says of sessions. Sessions that it tells of before or after that time alone
// are passed over.
func (r *Record) CompareSessions(from, to int64, claims []*Claim) *Comparison {
	result := &Comparison{}
	ours := r.bySession(result)
	told, summed := map[string]bool{}, map[string]bool{}
	for _, c := range claims {
		summed[c.Session] = summed[c.Session] || !c.NoSum
		if told[c.Session] = true; ours[c.Session] == nil && c.Last != 0 && (c.Last < from || c.First >= to) {
			continue
		}
		models := map[string]bool{}
		for model := range c.Models {
			models[model] = true
		}
		for model := range ours[c.Session] {
			models[model] = true
		}
		for _, model := range slices.Sorted(maps.Keys(models)) {
			r.compareModel(result, c, model, ours, c.First != 0 && c.First < from || c.Last >= to)
		}
	}
	for _, c := range r.sessions.Cells() {
		result.cover(&c, c.Values[0], summed[c.Values[0]])
	}
	for session, models := range ours {
		if !told[session] {
			for model, a := range models {
				result.add(Difference{Model: model, Billing: a.billing, Figure: FigureCost, Reason: NotTold, Subjects: 1, Ours: a.Measures[CostNanoUsd]}, session)
			}
		}
	}
	return result
}

// account is what rows say of a model in a session, or on a day.
type account struct {
	Measures
	billing string
	silent  Measures // of it what has no client figure
}

func (a *account) take(c *Cell) error {
	switch billing := c.Billing.String(); a.billing {
	case "", billing:
		a.billing = billing
	default:
		a.billing = "mixed"
	}
	return a.Measures.Add(c.Measures)
}

// bySession is what rows say, by session and model.
func (r *Record) bySession(result *Comparison) map[string]map[string]*account {
	all := map[string]map[string]*account{}
	for _, c := range r.sessions.Cells() {
		of := all[c.Values[0]]
		if of == nil {
			of = map[string]*account{}
			all[c.Values[0]] = of
		}
		if of[c.Values[1]] == nil {
			of[c.Values[1]] = &account{}
		}
		result.failed(of[c.Values[1]].take(&c))
	}
	for _, c := range r.silent.Cells() {
		if a := all[c.Values[0]][c.Values[1]]; a != nil {
			result.failed(a.silent.Add(c.Measures))
		}
	}
	return all
}

func (r *Record) compareModel(result *Comparison, c *Claim, model string, all map[string]map[string]*account, edge bool) {
	ours, parent := all[c.Session][model], all[c.Parent][model]
	if ours == nil {
		ours = &account{billing: schemas.BillingUnknown.String()}
	}
	if parent == nil {
		parent = &account{}
	}
	theirs := c.Models[model]
	if theirs == nil {
		theirs = &Figures{}
		for f := range figures {
			theirs[f].Valid = f != FigureCacheWrite5m && f != FigureCacheWrite1h && f != FigureSearches
		}
	}
	for f := range figures {
		t, o := theirs[f].Value, ours.figure(f)
		if !theirs[f].Valid || t == 0 && o == 0 {
			continue
		}
		slack := int64(0)
		if f == FigureCost {
			slack = 1 + ours.Measures[Requests] // both sides were rounded
		}
		reason := Unexplained
		switch d := t - o; {
		case c.NoSum && c.Unread:
			reason = Unread
		case c.NoSum:
			reason = NoSum
		case near(t, o, slack):
			reason = Agrees
		case c.Unread:
			reason = Unread
		case all[c.Session] == nil:
			reason = NoRows
		case edge:
			reason = OverTheEdge
		case c.Behind && d < 0:
			reason = AfterTheSum
		case c.Parent != "" && d > 0 && d <= parent.figure(f)+slack:
			reason = ParentIncluded
		case near(-d, ours.silent.figure(f), slack):
			reason = Uncounted
		case f == FigureCost && ours.Measures[PricedRequests] < ours.Measures[Requests]:
			reason = Unpriced
		case f == FigureCost && near(t, ours.Measures[CostClientNanoUsd], slack):
			reason = ClientsPrice
		case f == FigureOutput && d > 0 && d <= ours.lostOutput(), f == FigureCost && d > 0 && d <= ours.lostCost():
			reason = PartialOutput
		case f == FigureCost && d > 0 && t <= ours.Measures[CostNanoUsdMax]+slack:
			reason = CacheLifetime
		case f == FigureSearches && d < 0:
			reason = FetchesToo
		case c.Last != 0 && d < 0 && r.last[c.Session] > c.Last:
			reason = AfterTheSum
		}
		result.add(Difference{Model: model, Billing: ours.billing, Figure: f, Reason: reason, Subjects: 1, Ours: o, Theirs: t}, c.Session)
	}
}

// Usage is what a vendor's export says of a model on a UTC day.
type Usage struct {
	Day   string // as 2026-11-23
	Model string
	Figures
}

// CompareUsage holds the rows against a vendor's export: those that its own API
// served and that no subscription paid for, of the whole days from one to before
// another. Models are compared by their names without dates. leftOut is how many
// requests a cloud served or a subscription paid for.
func (r *Record) CompareUsage(usage []Usage, from, to string) (result *Comparison, leftOut int64) {
	result = &Comparison{}
	type of struct{ day, model string }
	ours, theirs, days := map[of]*account{}, map[of]*Figures{}, map[string]bool{}
	oursAll, theirsAll := map[string]*account{}, map[string]*Figures{}
	for _, u := range usage {
		if u.Day < from || u.Day >= to {
			continue
		}
		key := of{u.Day, undated(u.Model)}
		days[u.Day] = true
		if theirs[key] == nil {
			theirs[key] = &Figures{}
		}
		if theirsAll[key.model] == nil {
			theirsAll[key.model] = &Figures{}
		}
		result.failed(theirs[key].Add(u.Figures))
		result.failed(theirsAll[key.model].Add(u.Figures))
	}
	for _, c := range r.days.Cells() {
		platform, whole := c.Values[2], c.Values[0] >= from && c.Values[0] < to
		others := c.Billing == schemas.BillingSubscription || c.Billing == schemas.BillingCloud || platform != "" && platform != "firstParty"
		result.cover(&c, c.Values[0], whole && !others && days[c.Values[0]])
		switch {
		case !whole:
			continue
		case others:
			leftOut += c.Measures[Requests]
			continue
		}
		key := of{c.Values[0], undated(c.Values[1])}
		if ours[key] == nil {
			ours[key] = &account{}
		}
		if oursAll[key.model] == nil {
			oursAll[key.model] = &account{}
		}
		result.failed(ours[key].take(&c))
		result.failed(oursAll[key.model].take(&c))
	}
	keys := map[of]bool{}
	for key := range ours {
		keys[key] = true
	}
	for key := range theirs {
		keys[key] = true
	}
	for key := range keys {
		o, t := ours[key], theirs[key]
		if o == nil {
			o = &account{billing: schemas.BillingUnknown.String()}
		}
		if t == nil {
			t = &Figures{}
			for f := range figures {
				t[f].Valid = f != FigureCacheWrite && f != FigureCost
			}
		}
		for f := range figures {
			a, b := o.figure(f), t[f].Value
			if !t[f].Valid || a == 0 && b == 0 {
				continue
			}
			writes := o.Measures[TokenCacheWrite5m] + o.Measures[TokenCacheWrite1h]
			reason := Unexplained
			switch {
			case a == b:
				reason = Agrees
			case !days[key.day]:
				reason = NotExported
			case oursAll[key.model] == nil:
				reason = NoRowsOfModel
			case theirsAll[key.model] != nil && oursAll[key.model].figure(f) == theirsAll[key.model][f].Value:
				reason = OtherDay
			case (f == FigureCacheWrite5m || f == FigureCacheWrite1h) && writes == t[FigureCacheWrite5m].Value+t[FigureCacheWrite1h].Value:
				reason = CacheLifetime
			case f == FigureOutput && b > a && b-a <= o.lostOutput():
				reason = PartialOutput
			case f == FigureSearches && a > b:
				reason = FetchesToo
			}
			result.add(Difference{Model: key.model, Billing: o.billing, Figure: f, Reason: reason, Subjects: 1, Ours: a, Theirs: b}, key.day)
		}
	}
	return result, leftOut
}

// undated is a model's name without the date of its release and the marks of a
// context window (contract §8).
func undated(model string) string {
	model = strings.TrimSuffix(model, "[1m]")
	i := strings.LastIndexByte(model, '-')
	if i < 0 {
		return model
	}
	tail := model[i+1:]
	if tail == "latest" || len(tail) == 8 && strings.Trim(tail, "0123456789") == "" {
		return model[:i]
	}
	return model
}
