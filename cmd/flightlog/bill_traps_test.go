package main

import (
	"strings"
	"time"
)

// trapCase is one of the ways in which tools get the cost of coding agents
// wrong (the 27 traps), as a small recording with its exact bill and the naive
// answer. testdata/README.md of processors/pricing describes the corpus.
type trapCase struct {
	trap   string // its number
	folder string
	title  string
	rule   string   // the right one
	peers  []string // reports of tools that fell into it
	needs  []string // what a tool must be given beside the recording
	naive  string   // the wrong rule, in words
	figure string   // what the naive total is to be compared with; empty = the sum of the bill

	at     string // when it begins; empty = a morning
	record func(p *tape)
	files  map[string]string // beside the recording
	answer func(c corpus) int64
	exact  func(c *caseFile) int64 // the figure, where it is not the sum of the bill
}

// opus55 and so on are the models that the cases use most.
const (
	opus46, opus48, opus55      = "claude-opus-4-6", "claude-opus-4-8", "claude-opus-5-5"
	sonnet46, sonnet5, sonnet55 = "claude-sonnet-4-6", "claude-sonnet-5", "claude-sonnet-5-5"
	haiku55, fable51, fable52   = "claude-haiku-5-5", "claude-fable-5-1", "claude-fable-5-2"
	morning                     = "2026-11-22T09:00:00Z"
	ownDirectory, ownPrices     = "directory", "prices"
)

var traps = []trapCase{
	{
		trap: "3.1", folder: "01-one-answer-many-lines", title: "One answer is written as several transcript lines, each with its usage",
		rule:  "Count a request once, by its id (message id and request id).",
		peers: []string{"claude-code#87303", "claude-code#5904", "ccusage#389", "ccusage#994", "ccusage#1728", "Mai0313/VibeCodingTracker#281", "michellzappa/headroom#28", "titeya/dms-claudecode#52", "Claude-Code-Agent-Monitor#293", "ClaudeBar#207", "claude-devtools#74", "ClaudeLens#56", "GraphCode#135"},
		naive: "Add the usage of every transcript line.",
		record: func(p *tape) {
			s := p.begin("Fix the rounding of discounts")
			first := s.served(&reply{model: opus55, in: 9, w5: 12632, out: 149, stop: "tool_use"})
			call := p.readFile()
			s.shows(first, thought(), textBlock("I read the price module first."), call)
			s.result(call, "1\texport function discount(cents, percent) {", nil)
			second := s.served(&reply{model: opus55, in: 5, w5: 229, read: 12641, out: 270, stop: "tool_use"})
			test, list := p.bash("npm test"), p.bash("git status --short")
			s.shows(second, textBlock("Now the tests and the state of the tree."), test, list)
			s.result(test, "# pass 4", nil)
			s.result(list, " M src/price.js", nil)
			s.answers(&reply{model: opus55, in: 4, w5: 310, read: 12870, out: 31}, "Discounts are rounded now.")
		},
		answer: func(c corpus) (sum int64) {
			for _, l := range c.assistants() {
				sum += listPrice(l.request())
			}
			return sum
		},
	},
	{
		trap: "3.2", folder: "02-partial-lines", at: "2026-11-22T23:59:59.300Z", title: "Early lines of a stream carry a small output count",
		rule:  "Keep the greatest count, and the first time for the day. Where a client only ever wrote a placeholder (up to 2.1.39), the figure is a lower bound and says so.",
		peers: []string{"ccusage#901", "codeburn#201"},
		naive: "The first line of a message wins.",
		record: func(p *tape) {
			s := p.begin("Explain the cart")
			first := s.served(&reply{model: sonnet55, in: 12, w5: 1840, read: 16560, out: 6412, stop: "tool_use"})
			part := first.usage()
			part.Output = 1
			s.showsLine(first, part, "", textBlock("I look at"))
			part = first.usage()
			part.Output = 37
			s.showsLine(first, part, "", textBlock("I look at the cart module"))
			p.tick(800) // past midnight
			call := p.readFile()
			s.showsLine(first, first.usage(), first.stop, call)
			s.result(call, "1\texport class Cart {", nil)
			s.answers(&reply{model: sonnet55, in: 3, w5: 6420, read: 18412, out: 188}, "The cart adds up lines and rounds once.")

			old := p.begin("What changed?")
			old.version = "2.1.39"
			placeholder := old.served(&reply{model: "claude-opus-4-1-20250805", in: 4, w5: 310, read: 8800, out: 640, seen: 12})
			part = placeholder.usage()
			for _, n := range []int64{2, 12} {
				part.Output = n
				old.showsLine(placeholder, part, "", textBlock("Nothing but"))
			}
		},
		answer: func(c corpus) (sum int64) {
			seen := map[string]bool{}
			for _, l := range c.assistants() {
				if !seen[l.message()] {
					seen[l.message()] = true
					sum += listPrice(l.request())
				}
			}
			return sum
		},
	},
	{
		trap: "3.3", folder: "03-forked-history", title: "A fork copies the history into a file of its own",
		rule:  "Count a request once over all files, and give it to the session that made the call (requestSessionId).",
		peers: []string{"ccusage#1762", "ccusage#1349", "junhoyeo/tokscale#81", "CodexBar#646", "agentsview#307", "langfuse plugin#33"},
		naive: "Count once per file.",
		record: func(p *tape) {
			s := p.begin("How are prices stored?")
			call := p.readFile()
			first := s.served(&reply{model: opus55, in: 3, w5: 12625, out: 23, stop: "tool_use"})
			s.shows(first, call)
			s.result(call, "1\t// Prices are integers, in cents.", nil)
			s.answers(&reply{model: opus55, in: 4, w5: 144, read: 12628, out: 13}, "Prices are integers in cents.")
			fork := p.fork(s, true)
			fork.asks("Has anything changed?")
			fork.answers(&reply{model: opus55, in: 8, w5: 29, read: 12776, out: 27}, "Nothing has changed.")
			s.asks("Run the tests") // the parent goes on, too
			s.answers(&reply{model: opus55, in: 7, w5: 31, read: 12776, out: 19}, "The tests pass.")
		},
		answer: oncePerFile,
	},
	{
		trap: "3.3", folder: "03-forked-history-without-marks", title: "An older client copies the history without saying whose it was",
		rule:  "Count a request once over all files; the session that made the call is the one whose file has it first.",
		peers: []string{"ccusage#1762", "agentsview#307", "langfuse plugin#33"},
		naive: "Count once per file.",
		record: func(p *tape) {
			s := p.begin("How are prices stored?")
			s.version = "2.1.60"
			s.answers(&reply{model: "claude-opus-4-5-20251101", in: 4, w5: 12144, out: 113}, "Prices are integers in cents.")
			fork := p.fork(s, false)
			fork.asks("Run the tests")
			fork.answers(&reply{model: "claude-opus-4-5-20251101", in: 7, w5: 31, read: 12148, out: 19}, "The tests pass.")
		},
		answer: oncePerFile,
	},
	{
		trap: "3.4", folder: "04-side-chain-replay", title: "A side chain replays messages of its parent under new request ids",
		rule:  "A message id of the parent's file that stands again in a side chain is a copy, whatever its request id.",
		naive: "Count each pair of message id and request id.",
		record: func(p *tape) {
			s := p.begin("Review the price module")
			call := p.readFile()
			first := s.served(&reply{model: opus55, in: 9, w5: 14100, out: 88, stop: "tool_use"})
			s.shows(first, call)
			s.result(call, "1\t// Prices are integers, in cents.", nil)
			agent := p.call("Agent", map[string]any{"description": "Side question", "prompt": "Is withTax used?", "subagent_type": "general-purpose", "run_in_background": false})
			second := s.served(&reply{model: opus55, in: 4, w5: 320, read: 14109, out: 140, stop: "tool_use"})
			s.shows(second, agent)
			side := s.starts("general-purpose", "opus", agent["id"].(string), "Is withTax used?")
			for _, a := range []*reply{first, second} { // the same messages, new requestIds, nothing served
				replayed := *a
				replayed.request = p.name("req_011C")
				block := call
				if a == second {
					block = agent
				}
				side.shows(&replayed, block)
			}
			side.answers(&reply{model: opus55, in: 11, read: 14429, w5: 60, out: 42}, "Only in the cart.")
			s.result(agent, "Only in the cart.", map[string]any{"status": "completed", "agentId": side.agent, "agentType": "general-purpose"})
			s.answers(&reply{model: opus55, in: 6, w5: 110, read: 14429, out: 64}, "withTax is used in the cart only.")
		},
		answer: func(c corpus) (sum int64) {
			seen := map[string]bool{}
			for _, l := range c.assistants() {
				if key := l.message() + l.get("requestId").Str; !seen[key] {
					seen[key] = true
					sum += listPrice(l.request())
				}
			}
			return sum
		},
	},
	{
		trap: "3.5", folder: "05-subagent-files", title: "Subagents have files of their own, and their totals cover the last request only",
		rule:  "Price every request of a subagent; never use the total of its end.",
		peers: []string{"Arize-ai/coding-harness-tracing#97", "langfuse plugin#11", "langfuse#14338"},
		naive: "Read the session's own file, and take the usage in the Agent call's result for the subagent.",
		record: func(p *tape) {
			s := p.begin("Where do we round prices? Use a subagent.")
			agent := p.call("Agent", map[string]any{"description": "Find rounding code", "prompt": "Find all places that round prices.", "subagent_type": "Explore", "model": "haiku", "run_in_background": false})
			first := s.served(&reply{model: opus55, in: 8, w5: 12625, out: 77, stop: "tool_use"})
			s.shows(first, textBlock("I'll have the code explored first."), agent)
			first.apiRequest()
			sub := s.starts("Explore", "haiku", agent["id"].(string), "Find all places that round prices.")
			var last *reply
			for _, a := range []*reply{
				{model: haiku55, in: 9, w5: 66050, out: 300, stop: "tool_use"},
				{model: haiku55, in: 5, w5: 1240, read: 66140, out: 230, stop: "tool_use"},
				{model: haiku55, in: 4, w5: 170, read: 67430, out: 290},
			} {
				sub.served(a)
				if a.stop == "tool_use" {
					call := p.bash("grep -rn 'Math\\.' src")
					sub.shows(a, call)
					sub.result(call, "src/price.js:3:  return cents - Math.floor((cents * percent) / 100);", nil)
				} else {
					sub.shows(a, textBlock("Two places: src/price.js:3 and src/price.js:7."))
				}
				a.apiRequest()
				last = a
			}
			total := last.in + last.read + last.w5 + last.out
			s.event("subagent_completed", "agent_type", "Explore", "agent.source", "built-in", "is_async", false, "total_tokens", total, "total_tool_uses", int64(2),
				"duration_ms", int64(642), "model", haiku55, "final_model", haiku55, "agent_id", sub.agent)
			s.result(agent, "Two places: src/price.js:3 and src/price.js:7.", map[string]any{"status": "completed", "agentId": sub.agent, "agentType": "Explore",
				"resolvedModel": haiku55, "totalTokens": total, "totalToolUseCount": 2, "usage": last.usage()})
			s.answers(&reply{model: opus55, in: 7, w5: 272, read: 12633, out: 25}, "In two places of src/price.js.").apiRequest()
		},
		answer: func(c corpus) (sum int64) {
			seen := map[string]bool{}
			for _, l := range c.lines() {
				switch {
				case l.side():
				case l.get("type").Str == "assistant" && !seen[l.message()]:
					seen[l.message()] = true
					sum += listPrice(l.request())
				case l.get("toolUseResult.usage").Exists():
					r := usageRequest(l.get("toolUseResult.usage"))
					r.Model = l.get("toolUseResult.resolvedModel").Str
					sum += listPrice(r)
				}
			}
			return sum
		},
	},
	{
		trap: "3.6", folder: "06-iterations", title: "Calls of an advisor and compaction stand in usage.iterations only",
		rule:  "Add each such iteration at its own model's price.",
		naive: "Price the top-level usage.",
		record: func(p *tape) {
			s := p.begin("Plan the move to integer cents")
			s.answers(&reply{model: sonnet55, in: 30, w5: 21000, read: 21000, out: 900, iterations: []string{
				`{"type":"message","input_tokens":20,"cache_creation_input_tokens":21000,"cache_read_input_tokens":0,"output_tokens":250,"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":21000}}`,
				`{"type":"advisor_message","model":"claude-opus-5-5","input_tokens":21300,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1400,"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":0}}`,
				`{"type":"message","input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":21000,"output_tokens":650,"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":0}}`,
			}}, "The plan has three steps.")
			s.answers(&reply{model: sonnet55, in: 15, w5: 8000, out: 300, iterations: []string{
				`{"type":"compaction","input_tokens":2000,"cache_creation_input_tokens":0,"cache_read_input_tokens":160000,"output_tokens":4200,"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":0}}`,
				`{"type":"message","input_tokens":15,"cache_creation_input_tokens":8000,"cache_read_input_tokens":0,"output_tokens":300,"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":8000}}`,
			}}, "The first step is done.")
		},
		answer: oncePerMessage,
	},
	{
		trap: "3.7", folder: "07-cache-lifetimes", title: "A cache write of an hour costs 2 × input, one of five minutes 1.25 ×",
		rule:  "Use the split; where only a total is known the figure is a range from all five minutes to all an hour.",
		peers: []string{"agento#180", "langfuse plugin#34", "agentistics#565", "phuryn/claude-usage#162", "ccusage#899", "agentsview#1452", "codeburn#317", "majiayu000/ccstats#86", "claude-powerline#104", "claude-powerline#109", "pi#5737", "pi#5738", "pi#5603", "oh-my-pi#6876", "pxpipe#118", "claude-hud#758", "tau#553", "Portkey models#627"},
		naive: "Price every cache write as one of five minutes.",
		record: func(p *tape) {
			s := p.begin("Write the release notes")
			s.answers(&reply{model: opus55, in: 6, w1: 52000, out: 310}, "Here is a draft.").apiRequest()
			s.answers(&reply{model: opus55, in: 4, w5: 1100, w1: 640, read: 52006, out: 120}, "Shorter now.").apiRequest()
			s.answers(&reply{model: sonnet55, in: 9, w5: 30000, out: 75, unsplit: true}, "A gateway took the split away.") // in the transcript only
			p.tick(200)
			s.served(&reply{model: opus55, in: 5, w5: 14000, out: 800, unsplit: true, source: "compact"}).apiRequest() // in OTLP only
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.union() {
				r.CacheWrite5m += r.CacheWrite1h + r.CacheWriteUnsplit
				r.CacheWrite1h, r.CacheWriteUnsplit = 0, 0
				sum += listPrice(r)
			}
			return sum
		},
		figure: "the least that the bill allows", // the range's lower end
	},
	{
		trap: "3.7", folder: "07-split-of-zeros", title: "A gateway fills in a split by lifetime of zeros",
		rule:  "Tokens that the split does not hold have an unknown lifetime: a range, and not free.",
		naive: "Where there is a split, it is right.",
		record: func(p *tape) {
			s := p.begin("Write the release notes")
			s.answers(&reply{model: opus55, in: 6, w5: 52000, out: 310, zeros: true}, "Here is a draft.")
		},
		answer: oncePerMessage,
	},
	{
		trap: "3.8", folder: "08-cache-read-factors", title: "A cache read is not a tenth of input on every model",
		rule:  "Five explicit rates per model version.",
		peers: []string{"Helicone/helicone#5804"},
		naive: "Cache read = 0.1 × input.",
		record: func(p *tape) {
			s := p.begin("Compare the models")
			for _, model := range []string{opus48, sonnet55, opus55, fable51, fable52, haiku55} {
				s.answers(&reply{model: model, in: 10, w5: 2000, read: 90000, out: 150}, "Done.")
			}
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.once() {
				perToken := listPrice(onlyTokens(r.Model, 1, 0))
				sum += listPrice(r) - listPrice(readRequest(r.Model, r.CacheRead)) + r.CacheRead*perToken/10
			}
			return sum
		},
	},
	{
		trap: "3.9", folder: "09-input-with-or-without-cache", title: "Input leaves the cache out here, and includes it in OpenTelemetry's convention",
		rule:  "Keep parts that do not overlap.",
		peers: []string{"Arize-ai/coding-harness-tracing#66", "Agenta-AI/agenta#5540", "Agenta-AI/agenta#5711", "traceroot-ai/traceroot#956", "VasiHemanth/tokentelemetry#68", "openlit#1378", "litellm#11364", "litellm#34497", "litellm#36091", "litellm#41067", "litellm#31069", "CLIProxyAPI#5617", "traceroost#127", "PraisonAI#4196"},
		naive: "Charge input + cache as input, and the cache again by its own price.",
		record: func(p *tape) {
			s := p.begin("Add a test for withTax")
			for _, a := range []*reply{
				{model: opus55, in: 9, w5: 41000, out: 260},
				{model: opus55, in: 5, w5: 900, read: 41009, out: 340},
				{model: opus55, in: 3, w5: 420, read: 41914, out: 55},
			} {
				s.answers(a, "Done.")
				a.apiRequest()
				a.llmRequest("")
			}
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.union() {
				r.Input += r.CacheRead + r.CacheWrite5m + r.CacheWrite1h
				sum += listPrice(r)
			}
			return sum
		},
	},
	{
		trap: "3.10", folder: "10-long-prompts", title: "The price of long prompts depends on model, platform and date",
		rule:  "All tokens of the request, by model and date: for the 4.6 models until 2026-03-13, for Sonnet 4 and 4.5 still, for Haiku 5.5 over 100 000 tokens, for no other.",
		peers: []string{"langfuse#12996", "langfuse#13116", "langfuse#13367", "promptfoo/promptfoo#9995", "pydantic/genai-prices#320", "models.dev#1169", "models.dev#1220", "litellm#24474", "litellm#24689", "claude-relay-service#1143", "claude-code-hub#869", "traceroost#128", "theopenco/llmgateway#2446"},
		naive: "Over 200 000 tokens twice the input and 1.5 × the output price, for every model, at any time.",
		record: func(p *tape) {
			for _, c := range []struct {
				at  string
				a   *reply
				why string
			}{
				{"2026-02-10T12:00:00Z", &reply{model: opus46, in: 1000, read: 210000, w5: 9000, out: 2000}, "premium: cached input counts"},
				{"2026-03-12T23:59:59.800Z", &reply{model: sonnet46, in: 250000, out: 10000}, "the last moment of the premium"},
				{"2026-03-13T00:00:00Z", &reply{model: sonnet46, in: 250000, out: 10000}, "no premium from here on"},
				{"2026-09-02T08:00:00Z", &reply{model: "claude-sonnet-4-5-20250929", in: 200000, out: 100}, "not over 200 000"},
				{"2026-09-02T08:01:00Z", &reply{model: "claude-sonnet-4-5-20250929", in: 200001, out: 100}, "over 200 000"},
				{"2026-11-20T08:00:00Z", &reply{model: haiku55, in: 100000, out: 1000}, "not over 100 000"},
				{"2026-11-20T08:01:00Z", &reply{model: haiku55, in: 1, read: 100000, out: 1000}, "over 100 000"},
				{"2026-11-20T08:02:00Z", &reply{model: sonnet55, in: 2000, read: 500000, w5: 100000, out: 1000}, "no such price"},
				{"2026-11-20T08:03:00Z", &reply{model: opus48, in: 300000, out: 1000}, "no such price"},
			} {
				p.at, _ = time.Parse(time.RFC3339Nano, c.at)
				p.tick(-160) // begin and served pass so much
				s := p.begin(c.why)
				s.version = map[bool]string{true: "2.1.72", false: "2.1.330"}[c.at < "2026-04"]
				s.answers(c.a, "Done.")
			}
			p.tick(1000)
			vertex := p.begin("on a cloud, region unknown").on("vertex", "")
			vertex.answers(&reply{model: "claude-sonnet-4-5@20250929", in: 250000, out: 500}, "Done.").apiRequest()
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.union() {
				r.At, _ = time.Parse(time.DateOnly, "2026-11-20") // today's prices
				prompt := r.Input + r.CacheRead + r.CacheWrite5m
				in, out := listPrice(inputRequest(r)), listPrice(onlyTokens(r.Model, 0, r.Output))
				if r.Model == haiku55 { // a table that has no step at 100 000
					in = r.Input*100 + r.CacheRead*10
				}
				if r.Model == "claude-sonnet-4-5@20250929" || r.Model == "claude-sonnet-4-5-20250929" {
					in = r.Input * 3000
				}
				if prompt > 200_000 {
					in, out = 2*in, out*3/2
				}
				sum += in + out
			}
			return sum
		},
	},
	{
		trap: "3.11", folder: "11-fast-mode", title: "Fast mode is priced by what was served, per model",
		rule:  "The served speed, never the flag of the request; twice the price on Opus 4.8, 5, 5.5 and Fable 5.2, billed as standard on Opus 4.6.",
		peers: []string{"ccusage#886", "models.dev#4123", "traceroost#123", "momoraul/Lupen#47", "t3code#6306", "maki#272"},
		naive: "Six times the price of whatever was asked for as fast.",
		record: func(p *tape) {
			s := p.begin("Be quick")
			for _, a := range []*reply{
				{model: opus55, in: 1000, w5: 1000, read: 1000, out: 1000, asked: "normal", speed: "fast"},
				{model: opus55, in: 1000, w5: 1000, read: 1000, out: 1000, asked: "fast", speed: "standard"},
				{model: opus46, in: 1000, w5: 1000, read: 1000, out: 1000, asked: "fast", speed: "fast"},
				{model: opus48, in: 1000, w5: 1000, read: 1000, out: 1000, asked: "fast", speed: "fast"},
				{model: fable52, in: 1000, w5: 1000, read: 1000, out: 1000, asked: "fast", speed: "fast"},
			} {
				s.answers(a, "Done.").apiRequest()
			}
		},
		answer: func(c corpus) (sum int64) {
			for _, e := range c.events("api_request") {
				r := e.request()
				if e.text("speed") == "fast" {
					sum += 6 * listPrice(r)
				} else {
					sum += listPrice(r)
				}
			}
			return sum
		},
	},
	{
		trap: "3.12", folder: "12-modifiers", title: "Batch, geography, region and web searches change the price, together",
		rule:  "A list of modifiers, each with evidence in the record. All factors multiply, on tokens; a search has its own price; one rounding.",
		naive: "Tokens at the plain list price.",
		record: func(p *tape) {
			s := p.begin("Summarise the tickets")
			s.answers(&reply{model: opus48, in: 12000, w5: 3000, out: 2000, tier: "batch"}, "Done.")
			s.answers(&reply{model: sonnet46, in: 500, w5: 8000, read: 20000, out: 900, geo: "us"}, "Done.")
			s.answers(&reply{model: "claude-opus-4-5-20251101", in: 500, w5: 8000, out: 900, geo: "us"}, "4.5 has no such price.")
			s.answers(&reply{model: haiku55, in: 1, w5: 1, read: 1, out: 1, tier: "batch"}, "367.5 nano-dollars.")
			s.answers(&reply{model: haiku55, in: 5, w5: 3, out: 1, tier: "batch", geo: "us"}, "Both.")
			s.answers(&reply{model: sonnet5, in: 9000, out: 400, searches: 3}, "Three searches.").apiRequest() // which do not count them
			s.answers(&reply{model: sonnet5, in: 9000, out: 400, searches: 2, tier: "batch"}, "Searches are not at half price.")
			aws := p.begin("The same on Bedrock").on("bedrock", "")
			for _, model := range []string{"us.anthropic.claude-opus-4-8-v1:0", "global.anthropic.claude-opus-4-8-v1:0", "eu.anthropic.claude-opus-4-1-20250805-v1:0"} {
				aws.answers(&reply{model: model, in: 1000, w5: 1000, out: 300}, "Done.").apiRequest()
			}
			google := p.begin("And on Vertex").on("vertex", "")
			google.answers(&reply{model: "claude-opus-4-8@20260301", in: 1000, w5: 1000, out: 300}, "The region is not told: a range.").apiRequest()
			both := p.begin("Two factors").on("bedrock", "")
			both.answers(&reply{model: "us.anthropic.claude-opus-4-8-v1:0", in: 7, w1: 13, out: 3, tier: "batch"}, "Done.").apiRequest()
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.union() {
				r.Tier, r.Geo, r.Platform, r.Region, r.WebSearches = "", "", "", "global", 0
				r.Model = plainName(r.Model)
				sum += listPrice(r)
			}
			return sum
		},
		figure: "the least that the bill allows",
	},
	{
		trap: "3.13", folder: "13-retries-and-hidden-requests", title: "Refused, broken, repeated and hidden requests",
		rule:  "Each billed request is a row of its own; a request that was not answered costs nothing; what a witness shows is a lower bound.",
		peers: []string{"claude-code#86375"},
		naive: "What the transcript shows.",
		record: func(p *tape) {
			s := p.begin("Refactor the order module")
			title := s.served(&reply{model: haiku55, in: 420, out: 18, source: "generate_session_title"}) // in no transcript
			title.apiRequest()
			s.refused(opus55, 529, 1)
			s.refused(opus55, 429, 2)
			call := p.readFile()
			first := s.served(&reply{model: opus55, in: 9, w5: 15000, out: 210, stop: "tool_use"})
			s.shows(first, call)
			first.apiRequest()
			s.result(call, "1\texport class Order {", nil)
			broken := s.served(&reply{model: opus55, in: 5, w5: 71, read: 15009, out: 40, broken: "overloaded_error"})
			s.shows(broken, textBlock("This text is cut")) // billed as far as it came
			broken.apiRequest()
			again := s.served(&reply{model: opus55, in: 5, w5: 120, read: 15009, out: 350})
			s.shows(again, textBlock("The module is split now."))
			again.apiRequest()
			s.asks("Now something that is refused")
			refusal := s.served(&reply{model: opus55, in: 7, w5: 27, read: 15134, out: 11, stop: "refusal"})
			s.shows(refusal, textBlock("I can't help with that."))
			s.event("api_refusal", "model", opus55, "request_id", refusal.request, "speed", "normal", "attempt", int64(1), "query_source", "sdk")
			refusal.apiRequest()
			fallback := s.served(&reply{model: "claude-sonnet-4-6", in: 15170, w5: 0, out: 90})
			s.shows(fallback, textBlock("Here is what can be done."))
			fallback.apiRequest()
			hidden := s.served(&reply{model: sonnet55, in: 14600, out: 4, source: "auto_mode_classifier"}) // in no transcript
			hidden.apiRequest()
			hidden.llmRequest("")
		},
		answer: oncePerMessage,
	},
	{
		trap: "3.14", folder: "14-aliases-and-unknown-models", title: "An alias or an unknown model comes out as $0",
		rule:  "Every id of a model is that model; what is unknown is unpriced, its tokens are counted, and it is never zero.",
		peers: []string{"axi#92", "newrelic-experimental/preflight#445", "griffinwork40/agent-afk#981", "agentweave#256", "dshakes/distil#94", "PokeTokenBar#303", "PokeTokenBar#312", "AgentSystem#519", "ArtisanPack/ai#65", "Helicone/helicone#5804"},
		naive: "Look the id up in the table, else $0.",
		record: func(p *tape) {
			s := p.begin("Which model are you?")
			for _, model := range []string{opus55, "claude-opus-4-8[1m]", "claude-opus-4-5-20251101", "claude-3-5-haiku-latest", "claude-zephyr-9"} {
				s.answers(&reply{model: model, in: 1000, w5: 1000, read: 1000, out: 1000}, "Done.").apiRequest()
			}
			aws := p.begin("On Bedrock").on("bedrock", "")
			for _, model := range []string{
				"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
				"anthropic.claude-3-5-sonnet-20241022-v2:0",
				"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6", // says no model
			} {
				aws.answers(&reply{model: model, in: 1000, w5: 1000, read: 1000, out: 1000}, "Done.").apiRequest()
			}
			google := p.begin("On Vertex").on("vertex", "")
			google.answers(&reply{model: "claude-opus-4-1@20250805", in: 1000, w5: 1000, read: 1000, out: 1000}, "Done.").apiRequest()
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.union() {
				if r.Model == plainName(r.Model) {
					sum += listPrice(r) // an id of the table
				}
			}
			return sum
		},
	},
	{
		trap: "3.15", folder: "15-back-end-reprices", title: "A back end prices the tokens again by a table compiled into it",
		rule:  "Send the figure with the request (gen_ai.usage.cost), so that nothing is computed again.",
		peers: []string{"openobserve/openobserve#10992", "Davidcreador/herdr-token-dashboard#2", "grandamenium/cortextos#646"},
		naive: "The table compiled into OpenObserve: claude-opus-4… at 15/75, the 4.6 models with a tier over 200 000 tokens, nothing newer; cache tokens free.",
		record: func(p *tape) {
			s := p.begin("Four models")
			s.answers(&reply{model: opus48, in: 100000, out: 2000}, "Done.").apiRequest()
			s.answers(&reply{model: sonnet46, in: 250000, out: 10000}, "Done.").apiRequest()
			s.answers(&reply{model: sonnet5, in: 20000, out: 1000}, "Done.").apiRequest()
			s.answers(&reply{model: "claude-opus-5", in: 50, w5: 3000, read: 150000, out: 1000}, "Done.").apiRequest()
			s.answers(&reply{model: opus48, in: 50, w5: 3000, read: 150000, out: 1000}, "Done.").apiRequest()
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.union() {
				switch r.Model {
				case opus48: // claude-opus-4 matches
					sum += r.Input*15_000 + r.Output*75_000
				case sonnet46:
					if r.Input > 200_000 {
						sum += r.Input*6_000 + r.Output*22_500
					} else {
						sum += r.Input*3_000 + r.Output*15_000
					}
				}
			}
			return sum
		},
	},
	{
		trap: "3.16", folder: "16-announced-rise-called-off", title: "An announced change of price that never came",
		rule:  "Two dates per row: valid in the world, known to us. The rise of Sonnet 5 to 3/15 on 2026-09-01 was called off.",
		peers: []string{"agento#186", "agentweave#256", "Davidcreador/herdr-token-dashboard#2"},
		naive: "3/15 from 2026-09-01 on, as announced.",
		record: func(p *tape) {
			for _, at := range []string{"2026-08-31T23:59:59.500Z", "2026-09-01T00:00:00Z", "2026-10-15T12:00:00Z"} {
				p.at, _ = time.Parse(time.RFC3339Nano, at)
				p.tick(-160)
				p.begin("A task").answers(&reply{model: sonnet5, in: 4000, w5: 6000, w1: 1000, read: 30000, out: 1500}, "Done.")
			}
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.once() {
				if r.At.Format(time.DateOnly) >= "2026-09-01" {
					r.Model = "claude-sonnet-4" // 3/15 with its cache
				}
				sum += listPrice(r)
			}
			return sum
		},
	},
	{
		trap: "3.17", folder: "17-history-at-todays-price", title: "History priced by today's table",
		rule:  "Price by the time of the request, keep the version used, restate explicitly. Here the organisation's prices.json says that Opus 5.5 costs 3/15 from 2026-11-01 on.",
		peers: []string{"ccusage#1636", "agentsview#1540", "CodexBar#2671", "agento#186", "linuxarena/control-tower#1218"},
		needs: []string{ownPrices},
		naive: "Today's price for every request.",
		files: map[string]string{"prices.json": `{
  "unit": "nano-USD per token, and per search",
  "rows": [
    {"models": ["claude-opus-5-5"], "us_surcharge": true, "regional_surcharge": true, "valid_from": "2026-11-01", "known_from": "2026-11-23",
     "input": 3000, "output": 15000, "cache_write_5m": 3750, "cache_write_1h": 6000, "cache_read": 150, "web_search": 10000000,
     "source": "an invented price cut, for this case"}
  ]
}
`},
		record: func(p *tape) {
			for _, at := range []string{"2026-10-20T10:00:00Z", "2026-10-31T23:59:59.900Z", "2026-11-01T00:00:00Z"} {
				p.at, _ = time.Parse(time.RFC3339Nano, at)
				p.tick(-160)
				p.begin("A task").answers(&reply{model: opus55, in: 2000, w5: 9000, read: 40000, out: 1200}, "Done.")
			}
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.once() {
				sum += r.Input*3000 + r.Output*15000 + r.CacheWrite5m*3750 + r.CacheRead*150
			}
			return sum
		},
	},
	{
		trap: "3.18", folder: "18-metrics-of-parallel-processes", title: "Two processes share a session id, and so a series of metrics",
		rule:  "Never bill from metrics; use the events of the requests.",
		peers: []string{"claude-code#56317"},
		naive: "One value per series and time: the last that was written stays.",
		record: func(p *tape) {
			s := p.begin("First process")
			from := p.at
			other := *s // claude --resume of the same session in another terminal
			other.asks("Second process")
			flush := from.Add(2 * time.Second)
			for range 2 {
				a := s.answers(&reply{model: opus55, in: 10, w5: 9000, out: 400}, "First.")
				a.apiRequest()
				b := other.answers(&reply{model: opus55, in: 6, w5: 2000, read: 9000, out: 150}, "Second.")
				b.apiRequest()
				s.metric("claude_code.cost.usage", from, flush, a.clientUsd(), "model", opus55, "query_source", "main")
				other.metric("claude_code.cost.usage", from, flush, b.clientUsd(), "model", opus55, "query_source", "main")
				p.at, from, flush = flush.Add(100*time.Millisecond), flush, flush.Add(2*time.Second)
			}
		},
		answer: func(c corpus) (sum int64) {
			last := map[string]int64{}
			for _, m := range c.metrics("claude_code.cost.usage") {
				last[m.get("attributes").Raw+m.get("timeUnixNano").Str] = nanoOf(m.get("asDouble").Float())
			}
			for _, v := range last {
				sum += v
			}
			return sum
		},
	},
	{
		trap: "3.19", folder: "19-usage-on-parent-and-leaf", title: "Usage stands on the parent span and on its leaves",
		rule:  "Usage counts on the leaf spans of model calls only.",
		peers: []string{"microsoft/vscode-copilot-chat#310878"},
		naive: "Add the usage of every span of the trace.",
		record: func(p *tape) {
			s := p.begin("Add a helper")
			begun := p.at
			a := s.answers(&reply{model: opus48, in: 30, w5: 4000, out: 210}, "I add it.")
			b := s.answers(&reply{model: opus48, in: 8, w5: 300, read: 4030, out: 90}, "Done.")
			parent := s.span("interaction", "", begun, "user_prompt_length", int64(12), "gen_ai.operation.name", "invoke_agent", "model", opus48,
				"input_tokens", a.in+b.in, "output_tokens", a.out+b.out, "cache_read_tokens", a.read+b.read, "cache_creation_tokens", a.w5+b.w5)
			for _, r := range []*reply{a, b} {
				r.apiRequest()
				r.llmRequest(parent)
			}
		},
		answer: func(c corpus) (sum int64) {
			for _, s := range c.spans() {
				sum += listPrice(s.request())
			}
			return sum
		},
	},
	{
		trap: "3.20", folder: "20-faults-of-old-clients", title: "A client before 2.1.214 inflates its own cost metric",
		rule:  "Price the requests; carry the client's version with each row, so that what it reported can be judged.",
		naive: "The client's metric cost.usage.",
		record: func(p *tape) {
			p.version = "2.1.200"
			s := p.begin("Rename the module")
			s.version = "2.1.200"
			for _, a := range []*reply{
				{model: opus48, in: 11, w5: 16000, out: 500, carriesVers: true},
				{model: opus48, in: 4, w5: 700, read: 16011, out: 320, carriesVers: true},
			} {
				from := p.at
				s.served(a)
				s.shows(a, thought(), textBlock("Done."))
				a.apiRequest()
				// One frame more of the stream counted again as a whole.
				s.metric("claude_code.cost.usage", from, p.at, 2*a.clientUsd(), "model", opus48, "query_source", "main")
			}
		},
		answer: func(c corpus) (sum int64) {
			for _, m := range c.metrics("claude_code.cost.usage") {
				sum += nanoOf(m.get("asDouble").Float())
			}
			return sum
		},
	},
	{
		trap: "3.21", folder: "21-kinds-of-money", title: "Subscriptions, the API's bill and a cloud's are not one sum",
		rule:  "List, contracted and billed money apart, by who pays how: the directory says it with dates. What a subscription uses is notional.",
		needs: []string{ownDirectory, ownPrices},
		naive: "Add everything up.",
		// Nothing is paid by token for a subscription.
		figure: "billed by token: the list price of api and cloud",
		files: map[string]string{
			"directory.csv": "user,team,billing,from,to\n" +
				"ada@example.com,checkout,subscription,2026-01-01,2026-11-21\n" +
				"ada@example.com,checkout,api,2026-11-21,\n" +
				"ben@example.com,search,api,2026-01-01,\n" +
				"*@cloud.example.com,platform,cloud,,\n" +
				"*,unassigned,subscription,,\n",
			"prices.json": `{
  "unit": "nano-USD per token, and per search",
  "contracted": [
    {"models": ["*"], "platform": "bedrock", "percent_of_list": 85, "known_from": "2026-01-01", "source": "an invented agreement, for this case"}
  ]
}
`},
		record: func(p *tape) {
			p.at, _ = time.Parse(time.RFC3339Nano, "2026-11-20T10:00:00Z")
			p.begin("A task").on("firstParty", "ada@example.com").answers(&reply{model: opus55, in: 10, w1: 40000, out: 3000, billing: "subscription"}, "Done.").apiRequest()
			p.at, _ = time.Parse(time.RFC3339Nano, "2026-11-21T10:00:00Z")
			p.begin("A task").on("firstParty", "ada@example.com").answers(&reply{model: opus55, in: 10, w5: 20000, out: 1000, billing: "api"}, "Done.").apiRequest()
			p.begin("A task").on("firstParty", "ben@example.com").answers(&reply{model: sonnet55, in: 10, w5: 30000, out: 800, billing: "api"}, "Done.").apiRequest()
			p.begin("A task").on("bedrock", "cy@cloud.example.com").answers(&reply{model: "global.anthropic.claude-opus-4-8-v1:0", in: 40, w5: 12000, out: 600}, "Done.").apiRequest()
			p.begin("A task").on("firstParty", "dan@example.org").answers(&reply{model: opus55, in: 10, w1: 15000, out: 500, billing: "subscription"}, "Done.").apiRequest()
		},
		answer: func(c corpus) (sum int64) {
			for _, e := range c.events("api_request") {
				sum += nanoOf(e.number("cost_usd"))
			}
			return sum
		},
		exact: func(c *caseFile) int64 { return c.Bill.Totals["api"].Cost + c.Bill.Totals["cloud"].Cost },
	},
	{
		trap: "3.22", folder: "22-two-tokenizers", title: "The same text has more tokens on a newer tokenizer",
		rule:  "Each request is priced by its own count; counts of two tokenizers are not compared.",
		naive: "The same text costs the same: the count of one model at the other's price.",
		record: func(p *tape) {
			s := p.begin("Translate the manual")
			s.answers(&reply{model: opus46, in: 40000, out: 10000}, "Done.")
			s.answers(&reply{model: opus48, in: 52000, out: 13000}, "Done.") // the same text, word for word
		},
		answer: func(c corpus) (sum int64) {
			all := c.once()
			for _, r := range all {
				r.Input, r.Output = all[0].Input, all[0].Output
				sum += listPrice(r)
			}
			return sum
		},
	},
	{
		trap: "3.23", folder: "23-no-usage", title: "A request without usage",
		rule:  "No figure is made up: the request is there, and unpriced.",
		naive: "Guess a token for every four characters of the answer.",
		record: func(p *tape) {
			s := p.begin("Say hello")
			first := s.answers(&reply{model: opus55, in: 9, w5: 11000, out: 12}, "Hello.")
			first.llmRequest("")
			second := s.served(&reply{model: opus55, noUsage: true}) // a proxy took it away
			s.shows(second, textBlock(strings.Repeat("Prices are integers in cents, and discounts are rounded down to a whole cent before tax is added. ", 12)))
			second.llmRequest("")
		},
		answer: func(c corpus) (sum int64) {
			for _, l := range c.assistants() {
				if l.get("message.usage").Exists() {
					sum += listPrice(l.request())
				} else {
					sum += int64(len(l.get("message.content.0.text").Str)/4) * 20_000
				}
			}
			return sum
		},
	},
	{
		trap: "3.24", folder: "24-branches-of-a-session", title: "One session works on several branches",
		rule:   "Each request belongs to the branch that was checked out at the moment.",
		peers:  []string{"langwatch#8169", "langwatch#7757", "codeburn#790", "codeburn#791"},
		naive:  "The whole session belongs to its last branch, fix/rounding.",
		figure: "the money of the branch fix/rounding",
		record: func(p *tape) {
			s := p.begin("Look around")
			call := p.bash("git checkout -b feature/tax")
			a := s.served(&reply{model: opus55, in: 9, w5: 20000, out: 140, stop: "tool_use", carriesBranch: true})
			s.shows(a, call)
			s.branch = "feature/tax"
			s.result(call, "Switched to a new branch 'feature/tax'", nil)
			s.answers(&reply{model: opus55, in: 4, w5: 300, read: 20009, out: 900, carriesBranch: true}, "The tax is there.")
			s.asks("Now the rounding, on a branch of its own")
			call = p.bash("git checkout -b fix/rounding")
			b := s.served(&reply{model: opus55, in: 6, w5: 950, read: 20309, out: 80, stop: "tool_use", carriesBranch: true})
			s.shows(b, call)
			s.branch = "fix/rounding"
			s.result(call, "Switched to a new branch 'fix/rounding'", nil)
			agent := p.call("Agent", map[string]any{"description": "Find rounding code", "prompt": "Find it.", "subagent_type": "Explore", "model": "haiku", "run_in_background": false})
			d := s.served(&reply{model: opus55, in: 4, w5: 210, read: 21259, out: 60, stop: "tool_use", carriesBranch: true})
			s.shows(d, agent)
			sub := s.starts("Explore", "haiku", agent["id"].(string), "Find it.")
			sub.answers(&reply{model: haiku55, in: 9, w5: 6600, out: 50, carriesBranch: true}, "In price.js.")
			s.result(agent, "In price.js.", map[string]any{"status": "completed", "agentId": sub.agent, "agentType": "Explore"})
			s.answers(&reply{model: opus55, in: 5, w5: 300, read: 21469, out: 40, carriesBranch: true}, "Rounded.")
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.once() {
				sum += listPrice(r)
			}
			return sum
		},
		exact: func(c *caseFile) (sum int64) {
			for _, r := range c.Bill.Requests {
				if r.Branch == "fix/rounding" {
					sum += *r.Cost
				}
			}
			return sum
		},
	},
	{
		trap: "3.25", folder: "25-tier-of-a-sum", title: "A price step chosen by summed tokens",
		rule:  "Price each request; a sum of requests has no price.",
		peers: []string{"linuxarena/control-tower#1218"},
		naive: "Add up the day's tokens by model, and price the sum.",
		record: func(p *tape) {
			s := p.begin("Three short looks")
			for range 3 {
				s.answers(&reply{model: haiku55, in: 500, w5: 4000, read: 36000, out: 400}, "Done.")
			}
		},
		answer: func(c corpus) int64 {
			day := c.once()[0]
			for _, r := range c.once()[1:] {
				day.Input += r.Input
				day.Output += r.Output
				day.CacheRead += r.CacheRead
				day.CacheWrite5m += r.CacheWrite5m
			}
			return listPrice(day)
		},
	},
	{
		trap: "3.26", folder: "26-cost-state", title: "The record holds a cost of the client's own, cumulative",
		rule:  "A witness to check against, never an addend.",
		peers: []string{"PokeTokenBar#303", "PokeTokenBar#318"},
		naive: "Where a cost is written in the record, add it up; else price the tokens.",
		record: func(p *tape) {
			s := p.begin("Start")
			spent := s.answers(&reply{model: opus55, in: 10, w5: 13000, out: 300}, "Started.").clientUsd()
			s.costState(spent)
			p.tick(60_000)
			s.asks("Go on") // claude --resume: another process
			spent += s.answers(&reply{model: opus55, in: 5, w5: 400, read: 13010, out: 120}, "Went on.").clientUsd()
			s.costState(spent)
			fork := p.fork(s, true) // begins with its parent's sum
			fork.asks("Try another way")
			spent += fork.answers(&reply{model: opus55, in: 6, w5: 250, read: 13410, out: 210}, "Tried.").clientUsd()
			fork.costState(spent)
			killed := p.begin("Killed before its exit") // no cost-state
			killed.answers(&reply{model: opus55, in: 8, w5: 12900, out: 45}, "Working.")
		},
		answer: func(c corpus) (sum int64) {
			written := map[string]bool{}
			for _, l := range c.lines() {
				if l.get("type").Str == "cost-state" {
					written[l.file] = true
					sum += nanoOf(l.get("totalCostUSD").Float())
				}
			}
			for _, l := range c.assistants() {
				if !written[l.file] {
					sum += listPrice(l.request())
				}
			}
			return sum
		},
	},
	{
		trap: "3.27", folder: "27-one-ledger", title: "The cap or the alert uses another price table than the report",
		rule:  "One ledger: reports, alerts and caps add up the same figures of the same rows.",
		peers: []string{"sunholo-data/ailang#545"},
		naive: "The cap's own table: every opus at 15/75, its cache at 1.25 × and 0.1 ×.",
		record: func(p *tape) {
			s := p.begin("Under a cap of 1 USD")
			for i := range int64(3) {
				s.answers(&reply{model: opus55, in: 10 + i, w5: 9000 + 10*i, read: 20000 * i, out: 700}, "Done.")
			}
		},
		answer: func(c corpus) (sum int64) {
			for _, r := range c.once() {
				sum += r.Input*15_000 + r.Output*75_000 + r.CacheWrite5m*18_750 + r.CacheRead*1_500
			}
			return sum
		},
	},
}

// fork makes a session whose file begins with a copy of another's history, with
// (2.1.330) or without the marks whose it was (contract §3.5).
func (p *tape) fork(of *taped, marked bool) *taped {
	f := *of
	f.id = p.uuid()
	f.file = startFolder + f.id + ".jsonl"
	p.tick(5000)
	p.copyLines(of, &f, marked)
	return &f
}
