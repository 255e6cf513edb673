package otlp

import (
	"strings"

	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// spanEvents are the spans that facts are made of (contract §4.5).
// interaction is the prompt, which the log record tells better;
// tool.blocked_on_user is the approval that tool_decision tells of.
var spanEvents = map[string]func(*Reader, *record){
	"claude_code.llm_request":    (*Reader).llmRequest,
	"claude_code.tool":           (*Reader).toolSpan,
	"claude_code.tool.execution": (*Reader).toolExecution,
}

// toolOutput is the span event with a tool's output, only there with
// OTEL_LOG_TOOL_CONTENT and when the call worked.
const toolOutput = "tool.output"

// llmRequest leaves failed requests out: they have no request_id, and the log
// record of the failure says more.
func (r *Reader) llmRequest(rec *record) {
	if rec.value("request_id").kind == kindNone {
		r.skip(rec.name+" without request_id", 1)
		return
	}
	e := r.add(rec, schemas.KindModelRequest, schemas.EventBodyModel, rec.text("request_id"))
	e.Success = rec.boolean("success")
	e.ErrorClass = rec.text("error_class")
	e.DurationMs = rec.duration("duration_ms") // with retries
	b := &e.Body.Model
	fillModel(b, rec)
	fillTokens(b, rec)
	b.ModelRequested = rec.text("gen_ai.request.model")
	b.StopReason = rec.text("stop_reason")
	b.QuerySource = rec.text("query_source_safe")
	// Spans write agent:builtin:Explore with dots.
	if agent, ok := strings.CutPrefix(b.QuerySource, "agent.builtin."); ok {
		b.QuerySource = "agent:builtin:" + agent
	}
}

// toolSpan leaves duration_ms out, which counts the wait for the user's
// approval as well; the span of the execution has the call's own.
func (r *Reader) toolSpan(rec *record) {
	e := r.add(rec, schemas.KindToolCall, schemas.EventBodyTool, rec.identity("tool_use_id"))
	c := calledBySpan(rec)
	b := &e.Body.Tool
	c.fill(b)
	b.Done = true
	for _, a := range rec.output {
		if b.SecretClass == "" {
			b.SecretClass = extraction.SecretClassIn(c.path, []byte(a.value.text))
		}
	}
	if rec.hasOutput {
		r.fileChange(rec, c, lookup(rec.output, "diff").text)
		r.testRun(rec, c, lookup(rec.output, "output").text, false)
	}
}

func (r *Reader) toolExecution(rec *record) {
	e := r.add(rec, schemas.KindToolCall, schemas.EventBodyTool, rec.identity("tool_use_id"))
	e.Success = rec.boolean("success")
	e.ErrorClass = rec.text("error_class")
	e.DurationMs = rec.duration("duration_ms")
	e.Body.Tool.Done = true
}
