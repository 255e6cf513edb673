package bill

import "time"

// rate is what a model costs in USD per million tokens, as the table of
// contract §8 prints it: input, output, cache write of 5 minutes, of 1 hour, and
// cache read.
type rate struct{ input, output, write5m, write1h, read string }

// standard is the table of contract §8. A cache read is not always a tenth of
// the input, so all five numbers stand here (trap 3.8).
var standard = map[string]rate{
	"haiku-3.5":  {"0.80", "4", "1", "1.60", "0.08"},
	"haiku-4.5":  {"1", "5", "1.25", "2", "0.10"},
	"haiku-5.5":  {"0.10", "0.50", "0.125", "0.20", "0.01"},
	"sonnet-3.5": {"3", "15", "3.75", "6", "0.30"},
	"sonnet-3.7": {"3", "15", "3.75", "6", "0.30"},
	"sonnet-4":   {"3", "15", "3.75", "6", "0.30"},
	"sonnet-4.5": {"3", "15", "3.75", "6", "0.30"},
	"sonnet-4.6": {"3", "15", "3.75", "6", "0.30"},
	"sonnet-5":   {"2", "10", "2.50", "4", "0.20"}, // also from 2026-09-01 on: the rise was called off (trap 3.16)
	"sonnet-5.5": {"2", "10", "2.50", "4", "0.10"},
	"opus-4":     {"15", "75", "18.75", "30", "1.50"},
	"opus-4.1":   {"15", "75", "18.75", "30", "1.50"},
	"opus-4.5":   {"5", "25", "6.25", "10", "0.50"},
	"opus-4.6":   {"5", "25", "6.25", "10", "0.50"},
	"opus-4.7":   {"5", "25", "6.25", "10", "0.50"},
	"opus-4.8":   {"5", "25", "6.25", "10", "0.50"},
	"opus-5":     {"5", "25", "6.25", "10", "0.50"},
	"opus-5.5":   {"4", "20", "5", "8", "0.20"},
	"fable-5":    {"10", "50", "12.50", "20", "1"},
	"fable-5.1":  {"10", "50", "12.50", "20", "0.25"},
	"fable-5.2":  {"8", "40", "10", "16", "0.20"},
	"mythos-5":   {"10", "50", "12.50", "20", "1"},
	"mythos-5.1": {"10", "50", "12.50", "20", "0.25"},
	"mythos-5.2": {"8", "40", "10", "16", "0.20"},
}

// fast is the fast mode of contract §8, for what was served fast (trap 3.11).
// On opus-4.6 and 4.7 fast is billed as standard now. Any other model has no
// price for it.
var fast = map[string]rate{
	"opus-4.6":  standard["opus-4.6"],
	"opus-4.7":  standard["opus-4.7"],
	"opus-4.8":  {"10", "50", "12.50", "20", "1"},
	"opus-5":    {"10", "50", "12.50", "20", "1"},
	"opus-5.5":  {"8", "40", "10", "16", "0.40"},
	"fable-5.2": {"16", "80", "20", "32", "0.40"},
}

// long is the price of the whole request when its prompt (input, cache read and
// cache creation) has more tokens than over (contract §8, trap 3.10): of
// haiku-5.5 by the table, of the older ones twice the input and 1.5 times the
// output, cache by the usual factors. For the 4.6 models it ended on 2026-03-13.
var long = map[string]struct {
	over int64
	to   string // before this day, UTC; empty = still
	rate
}{
	"haiku-5.5":  {100_000, "", rate{"0.50", "2.50", "0.625", "1", "0.05"}},
	"sonnet-4":   {200_000, "", rate{"6", "22.50", "7.50", "12", "0.60"}},
	"sonnet-4.5": {200_000, "", rate{"6", "22.50", "7.50", "12", "0.60"}},
	"sonnet-4.6": {200_000, "2026-03-13", rate{"6", "22.50", "7.50", "12", "0.60"}},
	"opus-4.6":   {200_000, "2026-03-13", rate{"10", "37.50", "12.50", "20", "1"}},
}

// before45 and before46 are the models before 4.5 and before 4.6: from 4.5 on a
// regional endpoint of Bedrock or Google costs 1.1 times as much, from 4.6 on so
// does inference in the US (contract §8).
var (
	before45 = map[string]bool{"haiku-3.5": true, "sonnet-3.5": true, "sonnet-3.7": true, "sonnet-4": true, "opus-4": true, "opus-4.1": true}
	before46 = map[string]bool{"haiku-3.5": true, "sonnet-3.5": true, "sonnet-3.7": true, "sonnet-4": true, "opus-4": true, "opus-4.1": true,
		"haiku-4.5": true, "sonnet-4.5": true, "opus-4.5": true}
)

// search is one web search, USD (contract §8).
const search = "0.01"

// listed is the list price of a model's request; false where it has none.
func listed(model string, r *Request) (rate, bool) {
	switch r.Speed {
	case "", "standard", "normal":
	case "fast":
		p, ok := fast[model]
		return p, ok
	default:
		return rate{}, false
	}
	if l, ok := long[model]; ok && r.prompt() > l.over && (l.to == "" || r.At.UTC().Format(time.DateOnly) < l.to) {
		return l.rate, true
	}
	p, ok := standard[model]
	return p, ok
}

// names are the vendor's names without date, and the models of the table.
var names = map[string]string{
	"claude-3-5-haiku": "haiku-3.5", "claude-haiku-4-5": "haiku-4.5", "claude-haiku-5-5": "haiku-5.5",
	"claude-3-5-sonnet": "sonnet-3.5", "claude-3-7-sonnet": "sonnet-3.7", "claude-sonnet-4": "sonnet-4", "claude-sonnet-4-0": "sonnet-4",
	"claude-sonnet-4-5": "sonnet-4.5", "claude-sonnet-4-6": "sonnet-4.6", "claude-sonnet-5": "sonnet-5", "claude-sonnet-5-5": "sonnet-5.5",
	"claude-opus-4": "opus-4", "claude-opus-4-0": "opus-4", "claude-opus-4-1": "opus-4.1", "claude-opus-4-5": "opus-4.5",
	"claude-opus-4-6": "opus-4.6", "claude-opus-4-7": "opus-4.7", "claude-opus-4-8": "opus-4.8", "claude-opus-5": "opus-5", "claude-opus-5-5": "opus-5.5",
	"claude-fable-5": "fable-5", "claude-fable-5-1": "fable-5.1", "claude-fable-5-2": "fable-5.2",
	"claude-mythos-5": "mythos-5", "claude-mythos-5-1": "mythos-5.1", "claude-mythos-5-2": "mythos-5.2",
}
