package transcripts

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/schemas"
)

// run is the subagent's run that a transcript is of.
type run struct {
	id, parent string
	kind, use  string // type, and the Agent call that started it
	background schemas.OptBool
	finished   bool
	begun      int64 // when its first line was written
}

// meta reads the .meta.json beside a run's transcript (contract §3.4), if
// there is one.
func (r *reader) meta(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return producers.Lines(file, path, schemas.WitnessTranscript, r.sink, func(_ int64, raw []byte) error {
		m := gjson.GetManyBytes(raw, "parentAgentId", "agentType", "toolUseId", "requestShape", "finished")
		r.run.parent, r.run.kind, r.run.use = claudecode.Code(m[0]), claudecode.Short(m[1], 128), claudecode.Code(m[2])
		if shape := m[3].Str; shape != "" {
			r.run.background = schemas.SomeBool(shape == "background")
		}
		r.run.finished = m[4].Type == gjson.True
		return nil
	})
}

// runBegun tells of the run with its first line.
func (r *reader) runBegun(l *line) error {
	if r.run.kind == "" {
		r.run.kind = strings.Clone(l.attribution) // without .meta.json the answers tell the type
	}
	if r.run.begun != 0 {
		return nil
	}
	r.run.begun = l.scene.At
	r.runEvent(&l.scene)
	return r.maker.Emit(r.run.id)
}

// runEnded tells what the run has come to by the end of its transcript.
func (r *reader) runEnded() error {
	if r.run == nil || r.turn.scene.At == 0 {
		return nil
	}
	e := r.runEvent(&r.turn.scene)
	e.Body.Session.TextHash, e.Body.Session.TextLength = r.turn.text, r.turn.length
	if r.run.finished {
		e.Success = schemas.SomeBool(true)
		if r.run.background.Value { // else the Agent call's response tells it better
			e.DurationMs = schemas.SomeLong((r.turn.scene.At - r.run.begun) / 1000)
		}
	}
	return r.maker.Emit(r.run.id)
}

func (r *reader) runEvent(s *claudecode.Scene) *schemas.Event {
	e := r.maker.Event(s, schemas.KindSubagent)
	e.AgentRunId, e.ParentAgentRunId, e.ToolUseId, e.RequestId = r.run.id, r.run.parent, r.run.use, ""
	e.Body.Session.AgentType, e.Body.Session.Background = r.run.kind, r.run.background
	return e
}
