package bill

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Request is one request that the endpoint answered and billed, or a part of
// one that is billed by itself. Token classes do not overlap.
type Request struct {
	At                              time.Time
	SessionID, RequestID, MessageID string
	Part                            string // "" the answer itself; advisor, compaction: an iteration of it
	Model                           string // that answered, as the platform names it
	Platform, Region                string // firstParty (or empty), bedrock, vertex, foundry; global, regional where the platform says it
	Speed, Tier, Geo                string // as served
	Billing                         string // api, cloud, subscription, unknown
	Branch, AgentVersion            string // that was checked out, and the client's, where the truth tells

	Input, Output, CacheRead                      int64
	CacheWrite5m, CacheWrite1h, CacheWriteUnsplit int64
	WebSearches                                   int64
	NoUsage                                       bool  // the answer came without usage
	LowerBound                                    bool  // the client saw fewer output tokens than were billed
	Billed                                        int64 // output tokens that were billed, where LowerBound
}

// prompt is the length that price steps go by (contract §8): all input, cached
// or not.
func (r *Request) prompt() int64 {
	return r.Input + r.CacheRead + r.CacheWrite5m + r.CacheWrite1h + r.CacheWriteUnsplit
}

func (r *Request) tokens() int64 { return r.prompt() + r.Output }

// usage is a usage block (contract §3.3).
type usage struct {
	Input         int64 `json:"input_tokens"`
	Output        int64 `json:"output_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	CacheWrite    int64 `json:"cache_creation_input_tokens"`
	CacheCreation *struct {
		FiveMinutes int64 `json:"ephemeral_5m_input_tokens"`
		Hour        int64 `json:"ephemeral_1h_input_tokens"`
	} `json:"cache_creation"`
}

// into puts the tokens into a request. What a usage does not split by lifetime
// has an unknown one (trap 3.7).
func (u *usage) into(r *Request) {
	r.Input, r.Output, r.CacheRead = u.Input, u.Output, u.CacheRead
	r.CacheWrite5m, r.CacheWrite1h = 0, 0
	if c := u.CacheCreation; c != nil {
		r.CacheWrite5m, r.CacheWrite1h = c.FiveMinutes, c.Hour
	}
	r.CacheWriteUnsplit = max(0, u.CacheWrite-r.CacheWrite5m-r.CacheWrite1h)
}

// line is a line of endpoint.ndjson.
type line struct {
	T       time.Time
	Headers struct {
		Session string `json:"x-claude-code-session-id"`
	}
	RequestID    string `json:"request_id"`
	MessageID    string `json:"message_id"`
	AnswerModel  string `json:"answer_model"`
	Platform     string
	Region       string
	Billing      string
	Branch       string
	AgentVersion string `json:"agent_version"`
	Usage        *struct {
		usage
		ServerToolUse struct {
			WebSearches int64 `json:"web_search_requests"`
		} `json:"server_tool_use"`
		Speed      string
		Tier       string `json:"service_tier"`
		Geo        string `json:"inference_geo"`
		Iterations []struct {
			usage
			Type  string
			Model string
		}
	}
	// Seen is what the client was shown of the answer, where that is less.
	Seen *struct {
		Output int64 `json:"output_tokens"`
	}
}

// Read gives the requests of an endpoint.ndjson that were answered with a
// message: refused, dropped and counting ones cost nothing.
func Read(path string) ([]*Request, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read what the endpoint answered: %w", err)
	}
	defer f.Close()
	var all []*Request
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("cannot read %s, line %d: %w", path, n, err)
		}
		if l.MessageID == "" {
			continue
		}
		parts, err := l.requests()
		if err != nil {
			return nil, fmt.Errorf("cannot bill %s, line %d: %w", path, n, err)
		}
		all = append(all, parts...)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return all, nil
}

// requests are the request of a line, and those of its iterations that its own
// usage does not hold (trap 3.6): the calls of an advisor, another model, and
// the compaction of the context by the same one.
func (l *line) requests() ([]*Request, error) {
	r := Request{
		At: l.T, SessionID: l.Headers.Session, RequestID: l.RequestID, MessageID: l.MessageID, Model: l.AnswerModel,
		Platform: l.Platform, Region: l.Region, Billing: l.Billing, Branch: l.Branch, AgentVersion: l.AgentVersion,
	}
	if r.Billing == "" {
		switch r.Billing = "unknown"; r.Platform {
		case "bedrock", "vertex", "foundry":
			r.Billing = "cloud"
		}
	}
	u := l.Usage
	if u == nil {
		r.NoUsage = true
		return []*Request{&r}, nil
	}
	r.Speed, r.Tier, r.Geo, r.WebSearches = u.Speed, u.Tier, u.Geo, u.ServerToolUse.WebSearches
	u.into(&r)
	if l.Seen != nil {
		r.LowerBound, r.Billed, r.Output = true, r.Output, l.Seen.Output
	}
	all := []*Request{&r}
	for i := range u.Iterations {
		it := &u.Iterations[i]
		part := r
		part.WebSearches, part.LowerBound, part.Billed = 0, false, 0
		it.into(&part)
		switch it.Type {
		case "message":
			continue // the executor: its sum is the usage itself
		case "advisor_message":
			part.Part, part.Model, part.Speed = "advisor", it.Model, ""
		case "compaction":
			part.Part = "compaction"
		default:
			return nil, fmt.Errorf("iteration of unknown type %q", it.Type)
		}
		all = append(all, &part)
	}
	return all, nil
}
