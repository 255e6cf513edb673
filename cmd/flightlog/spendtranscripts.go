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
// (contract §3.3). notes name lines that cannot be read: a client that was killed
// leaves such. A path without any session is an error.
func readCostStates(path string) (claims []*spend.Claim, notes []string, err error) {
	if path == "" {
		return nil, nil, nil
	}
	names, err := transcripts.Find(path)
	if err != nil {
		return nil, nil, err
	}
	sessions := false
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), "agent-") {
			continue // the session's file has the sums
		}
		c, bad, err := readCostState(name)
		if err != nil {
			return nil, nil, err
		}
		sessions = sessions || c.Session != ""
		if bad != "" {
			notes = append(notes, bad)
			if c.Session == "" { // the file is named after it
				c.Session = strings.TrimSuffix(filepath.Base(name), ".jsonl")
			}
		}
		if c.Session != "" {
			claims = append(claims, c)
		}
	}
	if !sessions {
		return nil, nil, fmt.Errorf("cannot use the transcripts in %s: no line of %d files names a session%s", path, len(names), strings.Join(append([]string{""}, notes...), "; "))
	}
	return claims, notes, nil
}

// unread notes the first line of a transcript that cannot be read: import makes
// dead letters of them.
type unread struct {
	claim *spend.Claim
	first string
}

func (*unread) Event(*schemas.Event) error { return nil }

func (u *unread) DeadLetter(d *schemas.DeadLetter) error {
	u.claim.Unread = true
	if u.first == "" {
		u.first = fmt.Sprintf("%s, line %s cannot be read: %s", d.Source, d.Position, d.Reason)
	}
	return nil
}

// readCostState reads one transcript; bad names its first line that cannot be
// read.
func readCostState(name string) (c *spend.Claim, bad string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read a transcript: %w", err)
	}
	defer f.Close()
	c = &spend.Claim{NoSum: true}
	u := &unread{claim: c}
	err = producers.Lines(f, name, schemas.WitnessTranscript, u, func(_ int64, raw []byte) error {
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
			c.NoSum, c.Behind, c.Unread, c.Models = false, false, false, map[string]*spend.Figures{}
			line.Get("modelUsage").ForEach(func(model, usage gjson.Result) bool {
				c.Models[model.String()] = costStateFigures(usage)
				return true
			})
		}
		return nil
	})
	return c, u.first, err
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
