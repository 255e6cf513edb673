package recordings

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Request is one request that the model's endpoint got, and what it answered:
// the truth that every client source is checked against.
type Request struct {
	Time           time.Time
	Lane           string // script that played: main, explore, search, ...; empty for a count of tokens
	Path           string // /v1/messages?beta=true, or .../count_tokens?beta=true
	SessionId      string
	RequestId      string
	MessageId      string // empty without an answer
	Model          string // asked for
	AnswerModel    string // that answered; empty without an answer
	Status         int64  // HTTP status; 0 where the connection was dropped, and for a count of tokens
	StopReason     string
	MaxTokens      int64
	MidStreamError string // error inside the stream of an answer of status 200
	Usage          Usage  // as sent by the endpoint; zero without an answer
}

// Usage is the tokens of one answer in classes that do not overlap, Thinking
// apart, which is a part of Output.
type Usage struct {
	Input, Output, Thinking               int64
	CacheRead, CacheWrite5m, CacheWrite1h int64
	WebSearches, WebFetches               int64
	Speed, ServiceTier, InferenceGeo      string
}

// Answered tells a request that the endpoint answered with a message, whole or
// broken off, from a refused, dropped or counting one.
func (r Request) Answered() bool { return r.MessageId != "" }

// Endpoint reads the truth of one unpacked scenario, in the order in which the
// endpoint finished the requests.
func Endpoint(scenarioDir string) ([]Request, error) {
	name := filepath.Join(scenarioDir, "endpoint.ndjson")
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the endpoint's truth: %w", err)
	}
	defer f.Close()
	var requests []Request
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l endpointLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("cannot read %s, line %d: %w", name, len(requests)+1, err)
		}
		requests = append(requests, l.request())
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return requests, nil
}

type endpointLine struct {
	T       time.Time
	Lane    string
	Path    string
	Headers struct {
		SessionId string `json:"x-claude-code-session-id"`
	}
	RequestId      string `json:"request_id"`
	MessageId      string `json:"message_id"`
	Model          string
	AnswerModel    string `json:"answer_model"`
	Status         int64
	StopReason     string `json:"stop_reason"`
	MaxTokens      int64  `json:"max_tokens"`
	MidStreamError string `json:"mid_stream_error"`
	Usage          struct {
		Input         int64 `json:"input_tokens"`
		Output        int64 `json:"output_tokens"`
		OutputDetails struct {
			Thinking int64 `json:"thinking_tokens"`
		} `json:"output_tokens_details"`
		CacheRead     int64 `json:"cache_read_input_tokens"`
		CacheCreation struct {
			FiveMinutes int64 `json:"ephemeral_5m_input_tokens"`
			Hour        int64 `json:"ephemeral_1h_input_tokens"`
		} `json:"cache_creation"`
		ServerToolUse struct {
			WebSearches int64 `json:"web_search_requests"`
			WebFetches  int64 `json:"web_fetch_requests"`
		} `json:"server_tool_use"`
		Speed        string
		ServiceTier  string `json:"service_tier"`
		InferenceGeo string `json:"inference_geo"`
	}
}

func (l *endpointLine) request() Request {
	return Request{
		Time: l.T, Lane: l.Lane, Path: l.Path, SessionId: l.Headers.SessionId,
		RequestId: l.RequestId, MessageId: l.MessageId, Model: l.Model, AnswerModel: l.AnswerModel,
		Status: l.Status, StopReason: l.StopReason, MaxTokens: l.MaxTokens, MidStreamError: l.MidStreamError,
		Usage: Usage{
			Input: l.Usage.Input, Output: l.Usage.Output, Thinking: l.Usage.OutputDetails.Thinking,
			CacheRead:    l.Usage.CacheRead,
			CacheWrite5m: l.Usage.CacheCreation.FiveMinutes, CacheWrite1h: l.Usage.CacheCreation.Hour,
			WebSearches: l.Usage.ServerToolUse.WebSearches, WebFetches: l.Usage.ServerToolUse.WebFetches,
			Speed: l.Usage.Speed, ServiceTier: l.Usage.ServiceTier, InferenceGeo: l.Usage.InferenceGeo,
		},
	}
}
