package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/schemas"
)

// readCostStates reads the sums that the client left in transcripts: the last
// line cost-state of each session, which is cumulative over its processes
// (contract §3.3).
func readCostStates(path string) ([]*spend.Claim, error) {
	if path == "" {
		return nil, nil
	}
	names, err := transcripts.Find(path)
	if err != nil {
		return nil, err
	}
	var claims []*spend.Claim
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), "agent-") {
			continue // the session's file has the sums
		}
		c, err := readCostState(name)
		if err != nil {
			return nil, err
		}
		if c.Session != "" {
			claims = append(claims, c)
		}
	}
	return claims, nil
}

// unread drops lines of a transcript that cannot be read: import makes dead
// letters of them.
type unread struct{}

func (unread) Event(*schemas.Event) error           { return nil }
func (unread) DeadLetter(*schemas.DeadLetter) error { return nil }

func readCostState(name string) (*spend.Claim, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read a transcript: %w", err)
	}
	defer f.Close()
	c := &spend.Claim{NoSum: true}
	err = producers.Lines(f, name, schemas.WitnessTranscript, unread{}, func(_ int64, raw []byte) error {
		line := gjson.ParseBytes(raw)
		if id := line.Get("sessionId").String(); id != "" {
			c.Session = id
		}
		if at, err := time.Parse(time.RFC3339, line.Get("timestamp").String()); err == nil {
			if c.First == 0 || at.UnixMicro() < c.First {
				c.First = at.UnixMicro()
			}
			c.Last = max(c.Last, at.UnixMicro())
		}
		switch line.Get("type").String() {
		case "assistant":
			if paid := line.Get("requestSessionId").String(); paid != "" && paid != c.Session {
				c.Parent = paid
			} else if line.Get("requestId").String() != "" && !line.Get("isApiErrorMessage").Bool() {
				c.Behind = true
			}
		case "cost-state":
			c.NoSum, c.Behind, c.Models = false, false, map[string]*spend.Figures{}
			line.Get("modelUsage").ForEach(func(model, usage gjson.Result) bool {
				c.Models[model.String()] = costStateFigures(usage)
				return true
			})
		}
		return nil
	})
	return c, err
}

func costStateFigures(usage gjson.Result) *spend.Figures {
	count := func(key string) schemas.OptLong {
		v := usage.Get(key)
		if !v.Exists() || !(v.Float() >= 0 && v.Float() < 1e15) {
			return schemas.OptLong{}
		}
		return schemas.SomeLong(v.Int())
	}
	f := &spend.Figures{}
	f[spend.FigureInput] = count("inputTokens")
	f[spend.FigureOutput] = count("outputTokens")
	f[spend.FigureCacheRead] = count("cacheReadInputTokens")
	f[spend.FigureCacheWrite] = count("cacheCreationInputTokens")
	f[spend.FigureCacheWrite5m] = count("cacheCreationEphemeral5mInputTokens")
	f[spend.FigureCacheWrite1h] = count("cacheCreationEphemeral1hInputTokens")
	f[spend.FigureSearches] = count("webSearchRequests")
	if v := usage.Get("costUSD"); v.Exists() && v.Float() >= 0 && v.Float() < 1e9 {
		f[spend.FigureCost] = schemas.SomeLong(int64(math.Round(v.Float() * 1e9)))
	}
	return f
}
