package detectors

import (
	"fmt"
	"strconv"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

func key(what string, n uint32) string { return what + " " + strconv.FormatUint(uint64(n), 16) }

// ID names a finding for ever: the session (or another scope), what was found,
// and its cause.
func (f *Finding) ID(scope schemas.Id) schemas.Id {
	return schemas.FactKey(string(scope[:]), 0, f.Kind+"\x00"+f.Key)
}

// Fill puts a finding into its row: what is found, not where.
func (f *Finding) Fill(r *schemas.Finding) {
	s := f.By
	r.Kind, r.ProtectedClass, r.Subject, r.State = f.Kind, f.Class, f.Subject, f.State
	r.Severity = f.Severity
	if f.Kind != ProtectedPath {
		r.Severity = s.severityOf(f)
	}
	r.FirstSeen, r.LastSeen, r.Evidence = f.First, f.Last, f.Evidence
	r.Rule, r.RulesVersion, r.Owner = f.Kind, s.RulesVersion, s.Owner
	r.Sentence = f.sentence()
}

// HostSilent is the finding of a host that had sessions on most working days, and
// none on two, the first of which began at day (µs).
func HostSilent(host string, day, now int64, state schemas.FindingState, by *Settings) Finding {
	f := Finding{Kind: MissingTelemetry, Key: "host\x00" + host + "\x00" + strconv.FormatInt(day, 10), Subject: short(host), Severity: schemas.SeverityLow,
		State: state, Count: 1, First: day, Last: max(day, now), By: by}
	f.Detail = fmt.Sprintf("%s has had no session since %s, and had some on most working days before.", f.Subject, time.UnixMicro(day).UTC().Format("Monday, 2 January"))
	return f
}

// sentence says what was found for a person. It holds no text of the agent's.
func (f *Finding) sentence() string {
	span := time.Duration(f.Last-f.First) * time.Microsecond
	in := span.Round(time.Second).String()
	if span < 10*time.Second {
		in = span.Round(100 * time.Millisecond).String()
	}
	switch f.Kind {
	case RepeatedRetries:
		return fmt.Sprintf("%s failed %d times in %s and was tried again as it was (%s).", f.Subject, f.Count, in, f.Detail)
	case Loop:
		switch f.Detail {
		case "undo":
			return fmt.Sprintf("%s: the file went to and fro between two states, %d changes in %s.", f.Subject, f.Count, in)
		case "test":
			return fmt.Sprintf("%s failed %d times alike in %s while no file was changed.", f.Subject, f.Count, in)
		}
		return fmt.Sprintf("%s: the same calls with the same results %d times in %s, without progress.", f.Subject, f.Count, in)
	case ProtectedPath:
		if f.Count > 1 {
			return fmt.Sprintf("%s (%s) was changed %d times by the agent.", f.Subject, f.Class, f.Count)
		}
		return fmt.Sprintf("%s (%s) was changed by the agent.", f.Subject, f.Class)
	case Secret:
		return fmt.Sprintf("A secret (%s) is in the arguments or the result of %s.", f.Subject, f.Detail)
	case NetworkInstall:
		if f.Detail == "url" {
			return fmt.Sprintf("%s installed a package by its address.", f.Subject)
		}
		return fmt.Sprintf("%s ran what it had downloaded.", f.Subject)
	case PermissionBypass:
		if f.Detail == "mode" {
			return "The session went over to a mode in which nobody is asked."
		}
		return fmt.Sprintf("%s started an agent that asks nobody.", f.Subject)
	case CriticalCommand:
		return fmt.Sprintf("%s failed.", f.Subject)
	case TestTamper:
		what := map[string]string{"skipped": "tests are skipped now", "deleted": "the test file was deleted", "weakened": "tests or assertions were taken away"}[f.Detail]
		if f.Severity == schemas.SeverityHigh {
			what += " after a run had failed"
		}
		return fmt.Sprintf("%s: %s.", f.Subject, what)
	case LongApproval:
		wait := (time.Duration(f.Wait) * time.Millisecond).Round(time.Second)
		if f.State == schemas.FindingStateOpen {
			return fmt.Sprintf("%s waits for a permission, for more than %v.", f.Subject, wait)
		}
		return fmt.Sprintf("%s waited for a permission for %v.", f.Subject, wait)
	case RedTests:
		return fmt.Sprintf("The turn ended while the last test run was %s.", f.Detail)
	case FalseClaim:
		switch f.Detail {
		case "red":
			return "The final message says that tests pass; the last run failed."
		case "changed":
			return "The final message says that tests pass; code was changed after the last green run."
		}
		return "The final message says that tests pass; code was changed and no test was run."
	case MissingTelemetry:
		if f.Detail != "" {
			return f.Detail
		}
		return fmt.Sprintf("The session has ended without a word from %s, which this host's sessions have.", f.Subject)
	case SpendSpike, BudgetExceeded:
		return f.Detail
	case UnpricedModel:
		return fmt.Sprintf("%s has no price: its requests count nothing.", f.Subject)
	}
	return f.Kind
}
