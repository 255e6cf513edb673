// Package synthetic makes signed rows without a pipeline, as many as one likes,
// and knows what they add up to: load for sinks.
package synthetic

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Models that the requests are answered by.
var Models = []string{"claude-opus-4-7", "claude-sonnet-4-6", "claude-haiku-4-5"}

// Load says rows of kind model_request, one fact after the other, of which every
// fourth is corrected at once. Not safe for concurrent use.
type Load struct {
	Facts int64
	Rows  int64
	Costs map[string]int64 // by model: SUM(sign * cost_nano_usd)
	Signs map[string]int64 // by model: SUM(sign)

	random  *rand.Rand
	now     time.Time // of the next fact
	step    time.Duration
	commits map[int]int64 // by partition
}

// New makes a load; the first fact bears the number first, and happened at a
// time, each one after it a step later.
func New(seed uint64, first int64, at time.Time, step time.Duration) *Load {
	return &Load{Facts: first, Costs: map[string]int64{}, Signs: map[string]int64{}, commits: map[int]int64{},
		random: rand.New(rand.NewPCG(seed, 1)), now: at, step: step}
}

// Frame is a message of enriched with so many rows, or two more, as the sessions
// processor would say it for a partition.
func (l *Load) Frame(partition, rows int) []byte {
	var encoded [][]byte
	say := func(r schemas.Enriched, version int64, sign int32) {
		r.Version, r.Sign = version, sign
		r.RowId = schemas.RowID(1, r.FactKey, version, sign)
		encoded = append(encoded, r.AppendAvro(nil))
		l.Costs[r.Model] += int64(sign) * r.CostNanoUsd.Value
		l.Signs[r.Model] += int64(sign)
		l.Rows++
	}
	for len(encoded) < rows {
		r := l.fact()
		say(r, 1, 1)
		if l.Facts%4 == 0 {
			say(r, 2, -1)
			r.CostNanoUsd.Value += l.random.Int64N(1000)
			r.Team = "corrected"
			say(r, 2, 1)
		}
	}
	l.commits[partition]++
	n := l.commits[partition]
	header := schemas.RowHeader{Processor: "sessions", SourcePartition: int64(partition), Generation: 1,
		FirstCommit: n, LastCommit: n, PreviousCommit: n - 1, Watermark: l.now.UnixMicro()}
	return broker.AppendRows(nil, broker.Enriched, &header, encoded)
}

func (l *Load) fact() schemas.Enriched {
	l.Facts++
	n := l.Facts
	l.now = l.now.Add(l.step)
	session := fmt.Sprintf("5f3c9e0a-1b2c-4d5e-8f90-%012x", n/50)
	tokens := l.random.Int64N(20_000)
	ticket := strconv.Itoa(int(n / 200 % 313))
	r := schemas.Enriched{Generation: 1, Family: schemas.FamilyModel, Kind: schemas.KindModelRequest, Witnesses: "transcript,otlp",
		CaptureMode: schemas.CaptureModeMetadata, OccurredAt: l.now.UnixMicro(),
		DurationMs: schemas.SomeLong(l.random.Int64N(30_000)), Success: schemas.SomeBool(true), Org: "acme", Team: "platform",
		User: fmt.Sprintf("dev%d@example.com", n/50%997), UserSource: schemas.UserSourceOtlpEmail, Host: fmt.Sprintf("laptop-%d", n/50%997),
		Repo: "git.example.com/acme/shop", Branch: "feature/CART-" + ticket, Workflow: "sdk-cli", WorkKind: schemas.WorkKindFeature,
		Agent: "claude-code", AgentVersion: "2.1.330", TaskId: "git.example.com/acme/shop#CART-" + ticket, SessionId: session, RootSessionId: session,
		PromptId: fmt.Sprintf("%08x-aaaa-bbbb-cccc-%012x", n/10, n/50), RequestId: fmt.Sprintf("req_011CU%018x", n),
		Model: Models[n%3], ModelRequested: Models[n%3], StopReason: "tool_use", QuerySource: "repl_main_thread",
		TokenInput: schemas.SomeLong(tokens % 100), TokenOutput: schemas.SomeLong(tokens), TokenThinking: schemas.SomeLong(tokens / 5),
		TokenCacheRead: schemas.SomeLong(tokens * 7), TokenCacheWrite5m: schemas.SomeLong(tokens / 3), TokenCacheWrite1h: schemas.SomeLong(0),
		Platform: "firstParty", Speed: "standard", ServiceTier: "standard", CostNanoUsd: schemas.SomeLong(tokens * 15_001),
		CostUsd: schemas.SomeDouble(float64(tokens*15_001) / 1e9), CostNanoUsdMax: schemas.SomeLong(tokens * 15_001),
		CostGrade: schemas.CostGradeMeasured, PriceVersion: 1, Billing: schemas.BillingApi}
	binary.BigEndian.PutUint64(r.FactKey[:], l.random.Uint64())
	binary.BigEndian.PutUint64(r.FactKey[8:], uint64(n))
	r.EventId = r.FactKey
	return r
}
