package reference

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/pricing"
	"github.com/flightlog/flightlog/schemas"
)

// words are the texts of random events by field: few, so that they meet. Every
// other text field has those of "".
var words = map[string][]string{
	"":                 {"", "", "a", "b", "c"},
	"PromptId":         {"", "p1", "p2", "p3"},
	"RequestId":        {"", "p1", "p2", "p3"},
	"AgentRunId":       {"", "", "", "run"},
	"Branch":           {"", "", "main", "fix/a", "HEAD"},
	"Repo":             {"", "github.com/example/shop", "github.com/example/shop", "github.com/example/bar"},
	"TaskId":           {"", "", "", "", "task"},
	"Model":            {"", "claude-opus-5-5", "claude-haiku-5-5", "claude-zephyr-9", "claude-opus-5", "us.anthropic.claude-opus-4-5-20251101-v1:0", "claude-sonnet-4-5@20250929"},
	"Platform":         {"", "firstParty", "bedrock", "vertex", "foundry", "elsewhere"},
	"Speed":            {"", "", "standard", "normal", "fast"},
	"ServiceTier":      {"", "", "standard", "batch", "priority"},
	"InferenceGeo":     {"", "", "us", "global", "moon"},
	"QuerySource":      {"", "sdk", "web_search_tool"},
	"ToolName":         {"", "Bash", "Bash", "Edit", "Agent", "Skill", "mcp__a__b"},
	"ArgumentsHash":    {"", "h1", "h1", "h2"},
	"ToolTarget":       {"", "a", "a", "b"},
	"CommandClass":     {"", "a", "test"},
	"ErrorClass":       {"", "", "a", "exit", "validation", "permission-rule", "user-rejected", "interrupted", "timeout", "denied"},
	"ApprovalDecision": {"", "", "a", "accept", "reject"},
	"ApprovalSource":   {"hook", "", "config", "user_temporary", "user_permanent", "user_reject"},
}

// symbols are how many symbols of an enum random events use.
var symbols = map[string]int{
	"CaptureMode": 3, "UserSource": 5, "WorkflowSource": 5, "WorkKind": 7, "WorkKindSource": 5, "ChangeGrade": 3, "TestOutcome": 4,
}

// fill gives that share of the fields of a record random values; ids, and enums
// that are not among symbols, stay as they are.
func fill(random *rand.Rand, record reflect.Value, share float64) {
	for i := range record.NumField() {
		if random.Float64() > share {
			continue
		}
		field, name := record.Field(i), record.Type().Field(i).Name
		switch v := field.Addr().Interface().(type) {
		case *string:
			pool, ok := words[name]
			if !ok {
				pool = words[""]
			}
			*v = pool[random.IntN(len(pool))]
		case *bool:
			*v = random.IntN(2) == 0
		case *schemas.OptBool:
			*v = schemas.OptBool{Valid: random.IntN(2) == 0, Value: random.IntN(2) == 0}
		case *schemas.OptLong:
			if *v = (schemas.OptLong{}); random.IntN(2) == 0 {
				*v = schemas.SomeLong(random.Int64N(5) * []int64{1, 1, 1000, 60_000}[random.IntN(4)])
			}
		case *schemas.OptDouble:
			if *v = (schemas.OptDouble{}); random.IntN(2) == 0 {
				*v = schemas.SomeDouble(float64(random.IntN(5)) / 8)
			}
		default:
			if n := symbols[field.Type().Name()]; n > 0 {
				field.SetUint(uint64(random.IntN(n)))
			}
		}
	}
}

// invented are random events of a few facts of the sessions of two
// organisations, as any witness might tell of them.
func invented(random *rand.Rand) []sent {
	share := []float64{0.1, 0.5, 1}[random.IntN(3)] // of the fields that an event tells
	kinds := []schemas.Kind{
		schemas.KindSessionStart, schemas.KindSessionEnd, schemas.KindTurnEnd, schemas.KindSubagent, schemas.KindCompaction,
		schemas.KindModelRequest, schemas.KindModelRetry, schemas.KindModelError, schemas.KindToolCall, schemas.KindApproval,
		schemas.KindFileChange, schemas.KindCommit, schemas.KindPush, schemas.KindPullRequest, schemas.KindTestRun,
	}
	// Few kinds beside the prompts, so that several events tell of one fact.
	random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = append(kinds[:1+random.IntN(4)], schemas.KindPrompt)
	switch random.IntN(5) {
	case 2:
		kinds = []schemas.Kind{schemas.KindModelRequest, schemas.KindToolCall, schemas.KindToolCall}
	case 0:
		kinds = []schemas.Kind{schemas.KindPrompt, schemas.KindToolCall, schemas.KindToolCall, schemas.KindApproval}
	case 1:
		kinds = []schemas.Kind{schemas.KindPrompt, schemas.KindModelRequest}
	}
	var events []sent
	for range 5 + random.IntN(60) {
		kind := kinds[random.IntN(len(kinds))]
		id := fmt.Sprint("p", 1+random.IntN(3))
		if kind == schemas.KindSessionEnd {
			id = "end"
		}
		org := []string{"acme", "acme", "acme", "other"}[random.IntN(4)]
		session := fmt.Sprint("session of ", org)
		var e schemas.Event
		fill(random, reflect.ValueOf(&e).Elem(), share)
		e.SessionId, e.FactKey, e.Kind = session, schemas.FactKey(session, kind, id), kind
		e.OccurredAt = start + random.Int64N(8)*1_000_000
		if random.IntN(10) == 0 {
			e.OccurredAt += 3600 * 1_000_000 // its clock is an hour ahead
		}
		e.Witness = schemas.Witness(1 + random.IntN(int(schemas.WitnessDirect)))
		if random.IntN(2) == 0 {
			e.Witness = schemas.WitnessHook + schemas.Witness(random.IntN(3))
		}
		if e.Witness == schemas.WitnessOtlp {
			e.Signal = schemas.SignalLog + schemas.Signal(random.IntN(3))
		}
		switch schemas.FamilyOf(kind) {
		case schemas.FamilySession:
			e.Body.Branch = schemas.EventBodySession
			fill(random, reflect.ValueOf(&e.Body.Session).Elem(), share)
		case schemas.FamilyModel:
			e.Body.Branch = schemas.EventBodyModel
			fill(random, reflect.ValueOf(&e.Body.Model).Elem(), share)
		case schemas.FamilyTool:
			e.Body.Branch = schemas.EventBodyTool
			fill(random, reflect.ValueOf(&e.Body.Tool).Elem(), share)
		case schemas.FamilyArtifact:
			e.Body.Branch = schemas.EventBodyArtifact
			fill(random, reflect.ValueOf(&e.Body.Artifact).Elem(), share)
		}
		schemas.SetEventID(&e)
		events = append(events, sent{org: org, event: &e})
	}
	return events
}

func TestWhateverWitnessesTellEndsAsTheReferenceSays(t *testing.T) {
	// The last three have found what the others do not: calls and requests that
	// change to other ones.
	for seed := range uint64(503) {
		if seed >= 500 {
			seed = []uint64{1161, 4012, 6064}[seed-500]
		}
		random := rand.New(rand.NewPCG(seed, 4))
		events := invented(random)
		for i := range events {
			events[i].pause = max(0, time.Duration(random.IntN(60)-40)*time.Second)
			if random.IntN(40) == 0 {
				events[i].pause = 45 * time.Minute // the session ends, and goes on
			}
		}
		configured(t, random, events)
		if events = append(events, events[random.IntN(len(events)):]...); !agree(t, fmt.Sprint("seed ", seed), events, []ending{bySourceEnd, bySilence}[seed%2]) {
			return
		}
	}
}

// configured has prices and directory applied, and facts restated, between some
// events.
func configured(t *testing.T, random *rand.Rand, events []sent) {
	for range random.IntN(6) {
		factor, ahead, since := 1+random.Int64N(3), random.Int64N(90)*1_000_000, start+random.Int64N(10)*1_000_000
		var configure func(h *engine.Harness, b *Batch) error
		switch random.IntN(4) {
		case 0:
			text := dearer(t, factor, random.IntN(2) == 0)
			configure = func(h *engine.Harness, b *Batch) error {
				version, effective := b.Prices[len(b.Prices)-1].Number+1, h.Now+ahead
				p, err := ParsePrices(text, version)
				b.Prices = append(b.Prices, Version[*Prices]{version, effective, p})
				return errors.Join(err, h.Config("prices", version, text, effective))
			}
		case 1:
			text := fmt.Appendf(nil, "user,team,billing\na,team %d,\n*,,%s\nb,t,api\n", factor, []string{"api", "subscription", "cloud"}[factor-1])
			configure = func(h *engine.Harness, b *Batch) error {
				version, effective := int64(2+len(b.Directories)), h.Now+ahead
				d, err := ParseDirectory(text)
				b.Directories = append(b.Directories, Version[*Directory]{version, effective, d})
				return errors.Join(err, h.Config("directory", version, text, effective))
			}
		default:
			kind := []string{"prices", "directory"}[random.IntN(2)]
			configure = func(h *engine.Harness, b *Batch) error {
				r := Restatement{Kind: kind, Since: since, Reason: fmt.Sprint("reason ", factor), Asked: h.Now - ahead}
				if kind == "prices" {
					r.Version = b.Prices[random.IntN(len(b.Prices))].Number
				} else if len(b.Directories) > 0 {
					r.Version = b.Directories[random.IntN(len(b.Directories))].Number
				}
				if r.Version < 2 {
					return nil
				}
				b.restate(r)
				return h.Restate(engine.Restatement(r))
			}
		}
		events[random.IntN(len(events))].configure = configure
	}
}

// dearer is the builtin list with output times a factor, and a contract.
func dearer(t *testing.T, factor int64, contract bool) []byte {
	list, _ := pricing.Builtin().Rows()
	rows := slices.Clone(list)
	for i := range rows {
		rows[i].Output *= factor
	}
	doc := map[string]any{"unit": "nano-USD per token, and per search", "rows": rows, "aliases": map[string]string{"a": "claude-opus-5"}}
	if contract {
		doc["contracted"] = []map[string]any{
			{"models": []string{"*"}, "percent_of_list": 33.33, "known_from": "2026-01-01", "source": "test", "org": "acme"},
			{"models": []string{"claude-haiku-5-5"}, "input": 7 * factor, "output": 11, "cache_write_5m": 3, "cache_write_1h": 5, "cache_read": 2, "web_search": 13, "known_from": "2026-01-01", "source": "test"},
		}
	}
	text, err := json.Marshal(doc)
	if err == nil {
		_, err = pricing.Parse(text, 2)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// crowd are permission requests and calls with the same tool and arguments,
// more of both than are linked.
func crowd(random *rand.Rand) []sent {
	var events []sent
	for n := range 2 * (maxLinked + 20) {
		kind := []schemas.Kind{schemas.KindToolCall, schemas.KindApproval}[n%2]
		id := fmt.Sprint("toolu_", n)
		e := &schemas.Event{SessionId: "crowd", FactKey: schemas.FactKey("crowd", kind, id), Kind: kind, Witness: schemas.WitnessHook,
			ToolUseId: id, OccurredAt: start + random.Int64N(200)*1_000_000}
		e.Body.Branch, e.Body.Tool = schemas.EventBodyTool, schemas.ToolBody{ToolName: "Bash", ArgumentsHash: "h1", Done: true}
		if kind == schemas.KindApproval {
			e.ToolUseId = ""
		} else {
			e.Body.Tool.ApprovalDecision, e.Body.Tool.ApprovalSource = "accept", "user_permanent"
		}
		schemas.SetEventID(e)
		events = append(events, sent{org: "acme", event: e})
	}
	random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	return paced(events, func(int) time.Duration { return time.Duration(random.IntN(60)-50) * time.Second })
}

func TestOfACrowdOfRequestsAndCallsTheLatestAreLinked(t *testing.T) {
	for seed := range uint64(20) {
		if !agree(t, fmt.Sprint("seed ", seed), crowd(rand.New(rand.NewPCG(seed, 5))), bySourceEnd) {
			return
		}
	}
}

// Prompts, commits and pushes of few branches, in any order: which work a prompt is
// of depends on what came before and after it.
func TestBranchesThatAreMadeEndAsTheReferenceSays(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 5))
		var events []sent
		for range 4 + random.IntN(14) {
			kind := []schemas.Kind{schemas.KindPrompt, schemas.KindPrompt, schemas.KindCommit, schemas.KindPush, schemas.KindToolCall, schemas.KindPullRequest, schemas.KindTurnEnd}[random.IntN(7)]
			e := &schemas.Event{Kind: kind, Witness: schemas.WitnessTranscript, Agent: "claude-code", SessionId: "s", Owner: "ann", Repo: "github.com/example/shop",
				Branch: []string{"", "main", "main", "fix/a", "fix/b"}[random.IntN(5)], OccurredAt: start + random.Int64N(12)*1_000_000,
				PromptId: fmt.Sprint("p", 1+random.IntN(4))}
			id := fmt.Sprint(random.IntN(3))
			switch schemas.FamilyOf(kind) {
			case schemas.FamilySession:
				e.Body.Branch, id = schemas.EventBodySession, e.PromptId
			case schemas.FamilyTool:
				e.Body.Branch = schemas.EventBodyTool
			case schemas.FamilyArtifact:
				e.Body.Branch = schemas.EventBodyArtifact
			}
			switch random.IntN(6) {
			case 0:
				e.Witness, e.Signal = schemas.WitnessOtlp, schemas.SignalLog
			case 1, 2:
				e.Witness = schemas.WitnessHook
			}
			if random.IntN(8) == 0 {
				e.AgentRunId = "run"
			}
			if random.IntN(6) == 0 {
				e.Repo = []string{"", "github.com/example/lib"}[random.IntN(2)]
			}
			if random.IntN(4) == 0 && e.Branch != "" {
				e.Ticket = "SHOP-" + id
			}
			e.FactKey = schemas.FactKey("s", kind, id)
			schemas.SetEventID(e)
			events = append(events, sent{org: "acme", event: e, pause: max(0, time.Duration(random.IntN(60)-50)*time.Second)})
		}
		if !agree(t, fmt.Sprint("seed ", seed), events, []ending{bySourceEnd, bySilence}[seed%2]) {
			return
		}
	}
}
