package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
)

// TestCcusageBesideOurs reads the same transcripts with Flightlog and with
// ccusage and asserts that each difference has one of the reasons below, to
// the nano-dollar, and that each reason still occurs (make test-ccusage,
// docs/ccusage.md).
//
// Between the two stands a plain bill, which shares no code with readers, fold
// and prices: it must be what Flightlog says, and with the reasons what
// ccusage says, and what one more of them changes is its amount.
func TestCcusageBesideOurs(t *testing.T) {
	program := os.Getenv("FLIGHTLOG_CCUSAGE")
	if program == "" {
		t.Skip("run by make test-ccusage")
	}
	corpora := map[string]string{} // name: folder that holds projects
	root := recordings.Dir(t)
	for _, name := range recordings.Scenarios() {
		if name != "no-persistence" { // the client wrote no transcript there
			corpora[name] = filepath.Join(root, name)
		}
	}
	traps, err := filepath.Glob(filepath.Join("..", "..", "processors", "pricing", "testdata", "traps", "*", "projects"))
	if err != nil {
		t.Fatal(err)
	}
	for _, projects := range traps {
		corpora["trap "+filepath.Base(filepath.Dir(projects))] = filepath.Dir(projects)
	}
	for name, lines := range probes() {
		dir := t.TempDir()
		writeProbe(t, dir, lines)
		corpora["probe "+name] = dir
	}

	occurred := map[reason]bool{}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "recording\tmodel\ttokens in/out/read/write: ours\tccusage\tUSD: ours\tccusage\tdifference\treason")
	for _, name := range slices.Sorted(maps.Keys(corpora)) {
		config := filepath.Join(t.TempDir(), "claude")
		if err := os.CopyFS(filepath.Join(config, "projects"), os.DirFS(filepath.Join(corpora[name], "projects"))); err != nil {
			t.Fatal(err)
		}
		requests := readPlain(t, config)
		within := 1 + int64(len(requests))/2 // ccusage does not round
		ours := ourFigures(t, config)
		if plain := plainBill(requests, nil); !sameFigures(ours, plain, 0) {
			t.Errorf("%s: Flightlog says %v, the plain bill %v", name, ours, plain)
		}
		var calculated map[string]figure
		for _, run := range ccusageRuns {
			theirs := ccusageFigures(t, program, config, run.mode, run.prices)
			// From ours to ccusage's: each stage is under one reason more.
			stages := []map[string]figure{plainBill(requests, nil)}
			for i := range run.reasons {
				stages = append(stages, plainBill(requests, run.reasons[:i+1]))
			}
			if want := stages[len(stages)-1]; !sameFigures(theirs, want, within) {
				t.Errorf("%s%s: a difference has no reason: Flightlog says %v, ccusage %v, by the reasons it would be %v",
					name, run.label, ours, theirs, want)
			}
			models := map[string]bool{}
			for _, stage := range append(stages, ours, theirs) {
				for model := range stage {
					models[model] = true
				}
			}
			all := run.reasons
			for _, model := range slices.Sorted(maps.Keys(models)) {
				var said []string
				for i, r := range all {
					if before, after := stages[i][model], stages[i+1][model]; before != after {
						occurred[r] = true
						said = append(said, r.amount(before, after))
					}
				}
				o, c := ours[model], theirs[model]
				if calculated != nil && (c == calculated[model] || run.mode == "display" && c.nano == 0) {
					continue // as above, or 0 as everywhere in mode display
				}
				fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, run.label, model, o.tokens(), c.tokens(), o.usd(), c.usd(),
					nanoUSD(c.nano-o.nano), strings.Join(said, "; "))
			}
			if calculated == nil {
				calculated = theirs
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("ccusage %s beside Flightlog\n%s", ccusageVersion(t, program), table.String())
	for _, r := range slices.Concat(reasons, []reason{noPrice, noStepGiven, lineCost, lineCostOnly}) {
		if !occurred[r] {
			t.Errorf("the reason %q no longer occurs: take it out", r)
		}
	}
}

// ccusageRuns are the ways in which ccusage is asked.
var ccusageRuns = []struct {
	label, mode string
	reasons     []reason // in the order in which they are applied
	prices      bool     // given ours where it has none
}{
	{"", "calculate", slices.Concat(reasons, []reason{noPrice}), false},
	{" (our prices given)", "calculate", slices.Concat(reasons, []reason{noStepGiven}), true},
	{" (mode auto)", "auto", slices.Concat([]reason{lineCost}, reasons, []reason{noPrice}), false},
	{" (mode display)", "display", slices.Concat([]reason{lineCost, lineCostOnly}, reasons), false},
}

// reason is why ccusage says something else than Flightlog.
type reason string

const (
	notRead      reason = "ccusage reads only lines that hold \"usage\":{ without a blank"
	noCompaction reason = "ccusage does not count compaction iterations"
	onlySplit    reason = "ccusage counts of cache writes what their split by lifetime holds, even where the total is more"
	lateReplays  reason = "ccusage takes a subagent's line for a copy of the main thread's only where their times are the same"
	notDated     reason = "ccusage has one price per model, not one per date"
	byClass      reason = "ccusage takes the price over 200 000 tokens for the excess of each class, not for the request"
	noVertexStep reason = "ccusage has no price over 200 000 tokens for claude-sonnet-4-5@20250929"
	noGeo        reason = "ccusage does not add a tenth for inference in the US"
	noRegion     reason = "ccusage adds the tenth of a Bedrock region only where its own list has the id"
	noBatch      reason = "ccusage does not halve batch requests"
	fastSixfold  reason = "ccusage charges fast opus-4.6 and 4.7 sixfold"
	noSearch     reason = "ccusage does not count web searches"
	anyFast      reason = "ccusage prices fast speed as standard where it knows no price of it, Flightlog leaves it unpriced"
	guessed      reason = "ccusage prices an unknown name as the known model that it begins with, Flightlog leaves it unpriced"
	anyTier      reason = "ccusage prices every service tier as standard, Flightlog leaves what has no list price unpriced"

	noPrice      reason = "ccusage has no price for the model offline"
	noStepGiven  reason = "a step at 100 000 tokens cannot be given to ccusage"
	lineCost     reason = "ccusage takes costUSD of the line where there is one"
	lineCostOnly reason = "ccusage counts 0 where the line has no costUSD"
)

// reasons are those that hold in every mode, in the order in which they are
// applied.
var reasons = []reason{notRead, noCompaction, onlySplit, lateReplays, notDated, noVertexStep, byClass, noGeo, noRegion, noBatch, fastSixfold,
	noSearch, anyFast, anyTier, guessed}

// unpricedOffline are the models that the price list inside ccusage lacks.
var unpricedOffline = []string{"claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-2", "claude-mythos-5-2"}

// amount says what a reason changes.
func (r reason) amount(before, after figure) string {
	var changes []string
	if d := after.nano - before.nano; d != 0 {
		changes = append(changes, nanoUSD(d)+" USD")
	}
	if before.counts != after.counts {
		var d figure
		for i := range d.counts {
			d.counts[i] = after.counts[i] - before.counts[i]
		}
		changes = append(changes, d.tokens()+" tokens")
	}
	if before.unpriced != after.unpriced {
		changes = append(changes, fmt.Sprintf("%+d unpriced", after.unpriced-before.unpriced))
	}
	return string(r) + ": " + strings.Join(changes, ", ")
}

// figure is what one model used and cost.
type figure struct {
	counts   [4]int64 // input, output, cache read, cache write
	nano     int64    // 1e-9 USD, of what has a price
	unpriced int64    // 1 where something has none
}

func (f figure) tokens() string {
	return fmt.Sprintf("%d/%d/%d/%d", f.counts[0], f.counts[1], f.counts[2], f.counts[3])
}

func (f figure) usd() string {
	if f.unpriced > 0 && f.nano == 0 {
		return "unpriced"
	}
	return nanoUSD(f.nano) + strings.Repeat(" and unpriced", int(f.unpriced))
}

func nanoUSD(n int64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.9f", float64(n)/1e9), "0"), ".")
}

func sameFigure(a, b figure, within int64) bool {
	return a.counts == b.counts && a.unpriced == b.unpriced && max(a.nano-b.nano, b.nano-a.nano) <= within
}

func sameFigures(a, b map[string]figure, within int64) bool {
	return maps.EqualFunc(a, b, func(x, y figure) bool { return sameFigure(x, y, within) })
}

// ourFigures is what Flightlog says of the transcripts alone. Fast requests
// are a model of their own, as ccusage shows them.
func ourFigures(t *testing.T, dir string) map[string]figure {
	t.Helper()
	ours := map[string]figure{}
	for _, r := range standing(fold(t, observe(t, dir, transcriptWitness).events)) {
		u := rowUsage(&r)
		if u == (usage{}) && !r.CostNanoUsd.Valid {
			continue
		}
		f := ours[shownModel(r.Model, r.Speed)]
		f.add([4]int64{u[0], u[1], u[2], u[3] + u[4]}, r.CostNanoUsd.Value, r.CostGrade != schemas.CostGradeUnpriced)
		if f != (figure{}) {
			ours[shownModel(r.Model, r.Speed)] = f
		}
	}
	return ours
}

func (f *figure) add(counts [4]int64, nano int64, priced bool) {
	for i := range counts {
		f.counts[i] += counts[i]
	}
	f.nano += nano
	if !priced {
		f.unpriced = 1
	}
}

func shownModel(model, speed string) string {
	if speed == "fast" {
		return model + "-fast"
	}
	return model
}

// ccusageFigures is what ccusage says: with the prices that it brings, or
// given ours for the models that it does not know.
func ccusageFigures(t *testing.T, program, config, mode string, prices bool) map[string]figure {
	t.Helper()
	home := t.TempDir()
	args := []string{"claude", "session", "--offline", "--json", "--breakdown", "--mode", mode, "--timezone", "UTC"}
	if prices {
		file := filepath.Join(home, "prices.json")
		if err := os.WriteFile(file, givenPrices(t), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", file)
	}
	c := exec.Command(program, args...)
	c.Dir = home
	c.Env = []string{"HOME=" + home, "CLAUDE_CONFIG_DIR=" + config, "PATH=" + os.Getenv("PATH")}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, errs.String())
	}
	var report struct {
		Sessions []struct {
			ModelBreakdowns []struct {
				ModelName                                                       string
				InputTokens, OutputTokens, CacheReadTokens, CacheCreationTokens int64
				Cost                                                            float64
				MissingPricing                                                  bool
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, out.String())
	}
	theirs := map[string]figure{}
	for _, s := range report.Sessions {
		for _, m := range s.ModelBreakdowns {
			f := theirs[m.ModelName]
			f.add([4]int64{m.InputTokens, m.OutputTokens, m.CacheReadTokens, m.CacheCreationTokens},
				int64(math.Round(m.Cost*1e9)), !m.MissingPricing)
			theirs[m.ModelName] = f
		}
	}
	return theirs
}

func ccusageVersion(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "ccusage ")
}

// givenPrices is a configuration of ccusage with our prices for the models
// that it has none for.
func givenPrices(t *testing.T) []byte {
	t.Helper()
	overrides := map[string]any{}
	for _, model := range unpricedOffline {
		p := plainRates[model]
		overrides[model] = map[string]any{
			"inputCostPerToken": float64(p.input) / 1e9, "outputCostPerToken": float64(p.output) / 1e9,
			"cacheReadInputTokenCost": float64(p.read) / 1e9, "cacheCreationInputTokenCost": float64(p.input) * 1.25 / 1e9,
			"fastMultiplier": max(p.fast, 1),
		}
	}
	text, err := json.Marshal(map[string]any{"defaults": map[string]any{"pricingOverrides": overrides}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// plainRate is what a token costs in nano-dollars. Writes to a cache cost 1.25
// (5 minutes) and 2 (1 hour) times the input throughout.
type plainRate struct {
	input, output, read   int64
	fast                  int64     // factor of fast speed; 0 = not offered
	step                  int64     // longer prompts cost more; 0 = they do not
	overInput, overOutput int64     // then, cache in proportion to input
	until                 time.Time // the step ended then
	region, us            bool      // a tenth more in a region of a cloud, in the US
}

var stepEnded = time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC)

var plainRates = map[string]plainRate{
	"claude-3-5-haiku":  {input: 800, output: 4000, read: 80},
	"claude-haiku-4-5":  {input: 1000, output: 5000, read: 100, region: true},
	"claude-haiku-5-5":  {input: 100, output: 500, read: 10, step: 100_000, overInput: 500, overOutput: 2500, region: true, us: true},
	"claude-3-5-sonnet": {input: 3000, output: 15000, read: 300},
	"claude-3-7-sonnet": {input: 3000, output: 15000, read: 300},
	"claude-sonnet-4":   {input: 3000, output: 15000, read: 300, step: 200_000, overInput: 6000, overOutput: 22500},
	"claude-sonnet-4-5": {input: 3000, output: 15000, read: 300, step: 200_000, overInput: 6000, overOutput: 22500, region: true},
	"claude-sonnet-4-6": {input: 3000, output: 15000, read: 300, step: 200_000, overInput: 6000, overOutput: 22500, until: stepEnded, region: true, us: true},
	"claude-sonnet-5":   {input: 2000, output: 10000, read: 200, region: true, us: true},
	"claude-sonnet-5-5": {input: 2000, output: 10000, read: 100, region: true, us: true},
	"claude-opus-4":     {input: 15000, output: 75000, read: 1500},
	"claude-opus-4-1":   {input: 15000, output: 75000, read: 1500},
	"claude-opus-4-5":   {input: 5000, output: 25000, read: 500, region: true},
	"claude-opus-4-6":   {input: 5000, output: 25000, read: 500, fast: 1, step: 200_000, overInput: 10000, overOutput: 37500, until: stepEnded, region: true, us: true},
	"claude-opus-4-7":   {input: 5000, output: 25000, read: 500, fast: 1, region: true, us: true},
	"claude-opus-4-8":   {input: 5000, output: 25000, read: 500, fast: 2, region: true, us: true},
	"claude-opus-5":     {input: 5000, output: 25000, read: 500, fast: 2, region: true, us: true},
	"claude-opus-5-5":   {input: 4000, output: 20000, read: 200, fast: 2, region: true, us: true},
	"claude-fable-5":    {input: 10000, output: 50000, read: 1000, region: true, us: true},
	"claude-fable-5-1":  {input: 10000, output: 50000, read: 250, region: true, us: true},
	"claude-mythos-5":   {input: 10000, output: 50000, read: 1000, region: true, us: true},
	"claude-mythos-5-1": {input: 10000, output: 50000, read: 250, region: true, us: true},
	"claude-mythos-5-2": {input: 8000, output: 40000, read: 200, region: true, us: true},
	"claude-fable-5-2":  {input: 8000, output: 40000, read: 200, fast: 2, region: true, us: true},
}

// plainModel takes away what platforms put around a model's name; prefix is what
// an id of Bedrock begins with, as "us.".
func plainModel(id string) (model string, bedrock bool, prefix string) {
	id = id[strings.LastIndexByte(id, '/')+1:]
	if before, after, found := strings.Cut(id, "anthropic."); found {
		bedrock, prefix, id = true, before, after
	}
	if i := strings.IndexAny(id, "@:["); i >= 0 {
		id = id[:i]
	}
	id = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(id, "-v1"), "-v2"), "-latest")
	if i := strings.LastIndexByte(id, '-'); i >= 0 && len(id)-i == 9 {
		id = id[:i]
	}
	return id, bedrock, prefix
}

// likelyModel is the known model of the longest name that an unknown one
// begins with, before a word.
func likelyModel(model string) string {
	found := ""
	for known := range plainRates {
		rest, ok := strings.CutPrefix(model, known+"-")
		if ok && rest != "" && rest[0] >= 'a' && len(known) > len(found) {
			found = known
		}
	}
	return cmp.Or(found, model)
}

// plainRequest is one request as the transcripts tell it.
type plainRequest struct {
	model, speed, tier, geo           string
	at                                time.Time
	input, output, read, write5, hour int64
	searches                          int64
	rest                              int64 // of write5: what the split by lifetime does not hold
	costUSD                           *float64
	compaction                        bool
	unread                            bool // by ccusage
	unmarked                          bool // a fork's copy that does not say whose it was
	replay, late                      bool // a subagent's copy of what the main thread asked, of another time
}

func (p *plainRequest) counts() [4]int64 {
	return [4]int64{p.input, p.output, p.read, p.write5 + p.hour}
}

// plainUsage is the usage block of a message, and of an iteration within it.
type plainUsage struct {
	Type         string
	Model        string
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	CacheRead    int64 `json:"cache_read_input_tokens"`
	CacheWrite   int64 `json:"cache_creation_input_tokens"`
	Split        *struct {
		FiveMinutes int64 `json:"ephemeral_5m_input_tokens"`
		Hour        int64 `json:"ephemeral_1h_input_tokens"`
	} `json:"cache_creation"`
	Server struct {
		Searches int64 `json:"web_search_requests"`
	} `json:"server_tool_use"`
	Tier       string `json:"service_tier"`
	Geo        string `json:"inference_geo"`
	Speed      string
	Iterations []plainUsage
}

func (u *plainUsage) request(model string, at time.Time) plainRequest {
	p := plainRequest{model: model, at: at, speed: u.Speed, tier: u.Tier, geo: u.Geo, searches: u.Server.Searches,
		input: u.InputTokens, output: u.OutputTokens, read: u.CacheRead, write5: u.CacheWrite}
	if u.Split != nil {
		p.hour = u.Split.Hour
		p.rest = max(u.CacheWrite-p.hour-u.Split.FiveMinutes, 0)
		p.write5 = u.Split.FiveMinutes + p.rest
	}
	return p
}

// readPlain reads the requests of all transcripts under a folder, each once.
func readPlain(t *testing.T, dir string) []plainRequest {
	t.Helper()
	type line struct {
		Type, RequestId, Timestamp  string
		SessionId, RequestSessionId string
		IsSidechain                 bool
		CostUSD                     *float64
		Message                     struct {
			Id, Model string
			Usage     *plainUsage
		}
		raw []byte
	}
	var lines []line
	originals := map[string]line{} // by message, of the main thread
	files, err := findSources([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := os.Open(file.path)
		if err != nil {
			t.Fatal(err)
		}
		scanner := bufio.NewScanner(f)
		scanner.Buffer(nil, 16<<20)
		for scanner.Scan() {
			var l line
			if json.Unmarshal(scanner.Bytes(), &l) != nil || l.Type != "assistant" || l.Message.Usage == nil {
				continue
			}
			l.raw = bytes.Clone(scanner.Bytes())
			if _, seen := originals[l.Message.Id]; !seen && !l.IsSidechain {
				originals[l.Message.Id] = l
			}
			lines = append(lines, l)
		}
		if err := scanner.Err(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	byKey, payer := map[string]int{}, map[string]string{} // where its requests are; the session of the first
	var requests [][]plainRequest
	for _, l := range lines {
		at, _ := time.Parse(time.RFC3339, l.Timestamp)
		u := l.Message.Usage
		main := u.request(l.Message.Model, at)
		main.costUSD, main.unread = l.CostUSD, !bytes.Contains(l.raw, []byte(`"usage":{`))
		all := []plainRequest{main}
		for _, i := range u.Iterations {
			switch i.Type {
			case "advisor_message":
				a := i.request(i.Model, at)
				all = append(all, a)
			case "compaction":
				c := i.request(l.Message.Model, at)
				c.compaction, c.speed, c.tier, c.geo = true, u.Speed, u.Tier, u.Geo
				all = append(all, c)
			default:
				continue
			}
			all[len(all)-1].unread = main.unread
		}
		key := cmp.Or(l.RequestId, l.Message.Id)
		if original, ok := originals[l.Message.Id]; ok && l.IsSidechain && l.RequestId != original.RequestId {
			for i := range all {
				all[i].replay, all[i].late = true, l.Timestamp != original.Timestamp
			}
		}
		session := cmp.Or(l.RequestSessionId, l.SessionId)
		if payer[key] = cmp.Or(payer[key], session); payer[key] != session {
			for i := range all {
				all[i].unmarked = true
			}
		}
		key += session
		if i, ok := byKey[key]; !ok {
			byKey[key] = len(requests)
			requests = append(requests, all)
		} else if len(all) >= len(requests[i]) && main.output >= requests[i][0].output {
			all[0].at = requests[i][0].at // what came last says most, but the first line says when
			requests[i] = all
		}
	}
	return slices.Concat(requests...)
}

// plainBill adds up the requests under some of the reasons.
func plainBill(requests []plainRequest, under []reason) map[string]figure {
	bill := map[string]figure{}
	for _, p := range requests {
		has := func(r reason) bool { return slices.Contains(under, r) }
		if has(onlySplit) {
			p.write5 -= p.rest
		}
		switch {
		case p.unread && has(notRead), p.compaction && has(noCompaction),
			p.unmarked, p.replay && !(p.late && has(lateReplays)),
			p.counts() == [4]int64{} && p.searches == 0:
			continue
		}
		nano, priced := p.price(under)
		f := bill[shownModel(p.model, p.speed)]
		f.add(p.counts(), nano, priced)
		bill[shownModel(p.model, p.speed)] = f
	}
	return bill
}

// price is what a request costs under some of the reasons, in nano-dollars,
// half a one rounded up.
func (p *plainRequest) price(under []reason) (nano int64, priced bool) {
	has := func(r reason) bool { return slices.Contains(under, r) }
	if has(lineCost) && p.costUSD != nil {
		return int64(math.Round(*p.costUSD * 1e9)), true
	}
	if has(lineCostOnly) {
		return 0, true
	}
	model, bedrock, prefix := plainModel(p.model)
	if has(guessed) {
		model = likelyModel(model)
	}
	rate, known := plainRates[model]
	if !known || has(noPrice) && slices.Contains(unpricedOffline, model) {
		return 0, false
	}
	if p.speed == "fast" && rate.fast == 0 && !has(anyFast) ||
		!slices.Contains([]string{"", "standard", "batch"}, p.tier) && !has(anyTier) {
		return 0, false
	}

	classes := [5]int64{p.input, p.output, p.read, p.write5, p.hour}
	list := [5]int64{4 * rate.input, 4 * rate.output, 4 * rate.read, 5 * rate.input, 8 * rate.input} // in quarters
	over := list
	if rate.step > 0 {
		over = [5]int64{4 * rate.overInput, 4 * rate.overOutput, 4 * rate.read * rate.overInput / rate.input, 5 * rate.overInput, 8 * rate.overInput}
	}
	stepped := rate.step > 0 && !(has(noVertexStep) && p.model == "claude-sonnet-4-5@20250929") &&
		(rate.until.IsZero() || p.at.Before(rate.until) && !has(notDated))
	var sum int64
	for i, n := range classes {
		switch {
		case !stepped || rate.step == 100_000 && has(noStepGiven):
			sum += n * list[i]
		case has(byClass) && rate.step == 200_000:
			sum += min(n, rate.step)*list[i] + max(n-rate.step, 0)*over[i]
		case p.input+p.read+p.write5+p.hour > rate.step:
			sum += n * over[i]
		default:
			sum += n * list[i]
		}
	}

	num, den := int64(1), int64(4)
	tenth := func() { num, den = num*11, den*10 }
	if p.speed == "fast" {
		num *= max(rate.fast, 1)
		if has(fastSixfold) && (model == "claude-opus-4-6" || model == "claude-opus-4-7") {
			num *= 6
		}
	}
	if p.geo == "us" && rate.us && !has(noGeo) {
		tenth()
	}
	if bedrock && prefix != "global." && rate.region &&
		!(has(noRegion) && (prefix == "" || slices.Contains(unpricedOffline, model))) {
		tenth()
	}
	if p.tier == "batch" && !has(noBatch) {
		den *= 2
	}
	nano = (sum*num + den/2) / den
	if !has(noSearch) {
		nano += p.searches * 10_000_000
	}
	return nano, true
}

// probes are transcripts of a few lines, each for one reason that the
// recordings may not have, and for what both must agree on.
func probes() map[string][]string {
	count := 0
	line := func(model, at, top, usage string) string {
		count++
		return fmt.Sprintf(`{"type":"assistant","uuid":"8d0c1b9e-0000-4000-8000-%012d","parentUuid":null,"isSidechain":false,"timestamp":"%s",`+
			`"sessionId":"%s","version":"2.1.330","cwd":"/home/dev/src/shop","requestId":"req_probe%d",%s"message":{"id":"msg_probe%d",`+
			`"type":"message","role":"assistant","model":"%s","content":[{"type":"text","text":"Done."}],"stop_reason":"end_turn","usage":{%s}}}`,
			count, at, probeSession, count, top, count, model, usage)
	}
	// changed is a line with other words in places.
	changed := func(line string, oldnew ...string) string { return strings.NewReplacer(oldnew...).Replace(line) }
	const now, before = "2026-11-22T10:00:00.000Z", "2026-02-01T10:00:00.000Z"
	plain := func(in, out int) string { return fmt.Sprintf(`"input_tokens":%d,"output_tokens":%d`, in, out) }
	first := line("claude-opus-4-8", now, "", plain(1000, 2))
	asked, askedToo := line("claude-opus-4-8", now, "", plain(1000, 100)), line("claude-opus-4-8", now, "", plain(1000, 100))
	return map[string][]string{
		"growing-output": {
			changed(first, "2.1.330", "2.1.30", `"end_turn"`, "null"),
			changed(first, "2.1.330", "2.1.30", `"output_tokens":2`, `"output_tokens":9`, "8d0c1b9e-0000", "8d0c1b9e-0001"),
		},
		"subagent-replay": {
			asked,
			changed(asked, `"isSidechain":false`, `"isSidechain":true`, `"requestId":"`, `"agentId":"a1b2c3d4","requestId":"replayed_`, "8d0c1b9e-0000", "8d0c1b9e-0001"),
			askedToo,
			changed(askedToo, `"isSidechain":false`, `"isSidechain":true`, `"requestId":"`, `"agentId":"a1b2c3d4","requestId":"replayed_`, "8d0c1b9e-0000", "8d0c1b9e-0001",
				"10:00:00.000Z", "10:00:05.000Z"),
		},
		"unmarked-fork": {asked, changed(asked, probeSession, probeFork, "2.1.330", "2.0.76")},
		"iterations": {
			line("claude-sonnet-4-6", now, "", plain(1000, 100)+`,"iterations":[{"type":"compaction","input_tokens":9000,"output_tokens":900},`+
				`{"type":"advisor_message","model":"claude-opus-4-8","input_tokens":5000,"output_tokens":700},{"type":"message","input_tokens":1000,"output_tokens":100}]`),
			line("claude-opus-4-8", now, "", plain(1000, 100)+`,"speed":"fast","iterations":[`+
				`{"type":"advisor_message","model":"claude-opus-5","input_tokens":5000,"output_tokens":700}]`),
		},
		"cache-writes": {
			line("claude-opus-4-8", now, "", plain(1000, 100)+`,"cache_creation_input_tokens":3000,"cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":2000}`),
			line("claude-opus-4-8", now, "", plain(1000, 100)+`,"cache_creation_input_tokens":3000`),
		},
		"split-of-less": {
			line("claude-opus-4-8", now, "", plain(1000, 100)+`,"cache_creation_input_tokens":3000,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}`),
		},
		"long-prompts": {
			line("claude-sonnet-4-5-20250929", now, "", plain(150_000, 1000)+`,"cache_read_input_tokens":150000`),
			line("claude-sonnet-4-5-20250929", now, "", plain(250_000, 1000)),
			line("claude-sonnet-4-5@20250929", now, "", plain(250_000, 1000)),
			line("claude-sonnet-4-6", now, "", plain(250_000, 1000)),
		},
		"long-prompt-before-2026-03-13": {line("claude-sonnet-4-6", before, "", plain(250_000, 1000))},
		"us-inference":                  {line("claude-opus-4-8", now, "", plain(1000, 100)+`,"inference_geo":"us"`)},
		"bedrock": {
			line("anthropic.claude-opus-4-5-20251101-v1:0", now, "", plain(1000, 100)),
			line("us.anthropic.claude-opus-4-5-20251101-v1:0", now, "", plain(1000, 100)),
			line("global.anthropic.claude-opus-4-5-20251101-v1:0", now, "", plain(1000, 100)),
		},
		"batch":         {line("claude-opus-4-8", now, "", plain(1000, 100)+`,"service_tier":"batch"`)},
		"priority-tier": {line("claude-opus-4-8", now, "", plain(1000, 100)+`,"service_tier":"priority"`)},
		"fast": {
			line("claude-opus-4-6", now, "", plain(1000, 100)+`,"speed":"fast"`),
			line("claude-opus-4-8", now, "", plain(1000, 100)+`,"speed":"fast"`),
			line("claude-sonnet-4-6", now, "", plain(1000, 100)+`,"speed":"fast"`),
		},
		"unknown-name": {
			line("claude-opus-4-8-preview", now, "", plain(1000, 100)),
			line("claude-opus-4-9", now, "", plain(1000, 100)),
		},
		"web-search": {line("claude-opus-4-8", now, "", plain(1000, 100)+`,"server_tool_use":{"web_search_requests":3,"web_fetch_requests":1}`)},
		"blanks":     {changed(line("claude-opus-4-8", now, "", plain(1000, 100)), `"usage":`, `"usage": `)},
		"cost-of-the-line": {
			line("claude-opus-4-8", now, `"costUSD":0.5,`, plain(1000, 100)),
			line("claude-opus-4-8", now, "", plain(1000, 100)),
		},
	}
}

const probeSession, probeFork = "5f0c3a52-1111-4111-8111-000000000001", "5f0c3a52-1111-4111-8111-000000000002"

// writeProbe writes each line into the file of its session.
func writeProbe(t *testing.T, dir string, lines []string) {
	t.Helper()
	folder := filepath.Join(dir, "projects", "-home-dev-src-shop")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, line := range lines {
		var l struct{ SessionId string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		files[l.SessionId] += line + "\n"
	}
	for session, text := range files {
		if err := os.WriteFile(filepath.Join(folder, session+".jsonl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
