// Package corpus makes synthetic sessions of Claude Code with labels: what
// docs/detectors.md says must be found in each, and that nothing else must be.
//
// The lines are those of the recordings with other values in them (see
// template), so that their form is the client's own. The labels follow the
// page, and not the code of any detector. Shapes of which the page says nothing
// are left out.
package corpus

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Label says what must be found in a session. Of the kinds in [Kinds] nothing
// else must be found.
type Label struct {
	SessionID string    `json:"session_id"`
	Folder    string    `json:"folder"`
	Family    string    `json:"family"`          // behaviour, or hard negative
	Parts     []string  `json:"parts,omitempty"` // families that a mixed session is made of
	Witnesses string    `json:"witnesses"`       // hooks, transcript, otlp
	Want      []Want    `json:"want"`
	Attempts  []Attempt `json:"attempts,omitempty"` // of calls that are retries; others may be, too
}

// Want is a finding that must be there.
type Want struct {
	Kind           string `json:"kind"`
	Subject        string `json:"subject,omitempty"`         // path or class of a secret; "" is not compared
	ProtectedClass string `json:"protected_class,omitempty"` // of a protected path
	State          string `json:"state,omitempty"`           // open or resolved at the end; "" is not compared
}

// Attempt is what must be known of a call that is a retry.
type Attempt struct {
	ToolUseID   string `json:"tool_use_id"`
	Attempt     int    `json:"attempt"`
	RetryReason string `json:"retry_reason"`
}

// Kinds are those that labels speak of.
var Kinds = []string{
	"repeated_retries", "loop", "protected_path", "secret", "network_install", "permission_bypass", "critical_command",
	"test_tamper", "long_approval", "red_tests", "false_claim",
}

// family is a behaviour, or what only looks like one.
type family struct {
	name  string
	kinds string // that it may raise; "" for a hard negative
	mode  string // permission mode at the start; "" for any
	needs string // witnesses without which it cannot be seen: hooks, all
	alone bool   // it is not mixed with others
	play  func(s *session)
}

// Of 100 sessions.
const (
	mixed    = 15
	positive = 24
)

// Generate writes sessions to dir, each into a folder of its own, and their
// labels to labels.ndjson. The same seed makes the same bytes.
func Generate(dir string, seed uint64, sessions int) ([]Label, error) {
	all, err := templates()
	if err != nil {
		return nil, fmt.Errorf("cannot make a corpus: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a corpus: %w", err)
	}
	random := rand.New(rand.NewPCG(seed, 0x666c696768746c6f))
	pools := map[bool]*pool{true: {}, false: {}}
	for i := range families {
		p := pools[families[i].kinds != ""]
		p.of = append(p.of, &families[i])
	}
	var labels []Label
	var list strings.Builder
	for i := range sessions {
		s := newSession(rand.New(rand.NewPCG(seed, uint64(i)+1)), all)
		var parts []*family
		switch n := random.IntN(100); {
		case n < mixed:
			parts = blend(random)
		default:
			parts = []*family{pools[n < mixed+positive].next(random)}
		}
		s.prepare(parts)
		for _, f := range parts {
			f.play(s)
		}
		if !s.killed {
			s.end()
		}
		if len(parts) > 1 {
			s.label.Family = "mixed"
			for _, f := range parts {
				s.label.Parts = append(s.label.Parts, f.name)
			}
		}
		s.label.Folder = fmt.Sprintf("%04d-%s", i, s.label.Family)
		if err := s.save(filepath.Join(dir, s.label.Folder)); err != nil {
			return nil, fmt.Errorf("cannot write a session of the corpus: %w", err)
		}
		labels = append(labels, s.label)
		line, err := json.Marshal(s.label)
		if err != nil {
			return nil, err
		}
		list.Write(append(line, '\n'))
	}
	if err := os.WriteFile(filepath.Join(dir, "labels.ndjson"), []byte(list.String()), 0o644); err != nil {
		return nil, fmt.Errorf("cannot write the labels of the corpus: %w", err)
	}
	return labels, nil
}

// pool deals its families in random order, each once before any comes again.
type pool struct{ of, left []*family }

func (p *pool) next(random *rand.Rand) *family {
	if len(p.left) == 0 {
		for _, i := range random.Perm(len(p.of)) {
			p.left = append(p.left, p.of[i])
		}
	}
	f := p.left[0]
	p.left = p.left[1:]
	return f
}

// blend picks two to four families that say nothing about each other. Four of
// ten blends have no finding.
func blend(random *rand.Rand) (parts []*family) {
	quiet := random.IntN(10) < 4
	kinds, mode := map[string]bool{}, ""
	for n := 2 + random.IntN(3); len(parts) < n; {
		f := &families[random.IntN(len(families))]
		fits := !f.alone && (f.kinds == "" || !quiet) && (f.mode == "" || mode == "" || f.mode == mode)
		for _, k := range strings.Fields(f.kinds) {
			fits = fits && !kinds[k]
		}
		if !quiet && len(parts) == 0 && f.kinds == "" || !fits {
			continue
		}
		for _, k := range strings.Fields(f.kinds) {
			kinds[k] = true
		}
		if f.mode != "" {
			mode = f.mode
		}
		parts = append(parts, f)
	}
	return parts
}

// epoch is the first day of the corpus.
var epoch = time.Date(2026, 10, 5, 7, 0, 0, 0, time.UTC)

func newSession(random *rand.Rand, all map[string]*template) *session {
	s := &session{project: newProject(random, all), label: Label{Want: []Want{}}}
	s.id = s.uuid()
	s.model = s.one("claude-opus-5-5", "claude-sonnet-5-5")
	start := epoch.Add(time.Duration(s.between(0, 9))*24*time.Hour + s.seconds(0, 11*3600)).Truncate(time.Millisecond)
	s.run = &run{session: s, now: start, context: 12000, failures: map[string]failure{}}
	s.runs = []*run{s.run}
	return s
}

// prepare begins a session for these families.
func (s *session) prepare(parts []*family) {
	s.label.SessionID, s.label.Family = s.id, parts[0].name
	s.mode = s.one("default", "acceptEdits", "acceptEdits", "bypassPermissions")
	switch n := s.between(0, 99); {
	case n < 35:
		s.withHooks, s.withTranscript, s.withOtlp = true, true, true
	case n < 60:
		s.withHooks, s.withTranscript = true, true
	case n < 80:
		s.withHooks = true
	default:
		s.withTranscript = true
	}
	for _, f := range parts {
		if f.mode != "" {
			s.mode = f.mode
		}
		s.withHooks = s.withHooks || f.needs != ""
		s.withTranscript = s.withTranscript || f.needs == "all"
		s.withOtlp = s.withOtlp || f.needs == "all"
	}
	var witnesses []string
	for _, w := range []struct {
		name string
		is   bool
	}{{"hooks", s.withHooks}, {"transcript", s.withTranscript}, {"otlp", s.withOtlp}} {
		if w.is {
			witnesses = append(witnesses, w.name)
		}
	}
	s.label.Witnesses = strings.Join(witnesses, ",")
	s.hook(s.now, "SessionStart", values{})
}
