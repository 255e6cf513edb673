package hooks

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/claudecode"
)

// tool makes the events of the hooks around tool calls.
func (r *Reader) tool(p *payload) error {
	switch p.name {
	case "PreToolUse":
		c, err := r.call(p)
		if err != nil {
			return err
		}
		if r.calls[c.Id] == nil {
			claudecode.Remember(r.calls, c.Id, &call{cwd: strings.Clone(p.Cwd)})
		}
		return r.maker.Started(&p.Scene, c, p.mode)
	case "PostToolUse":
		return r.ended(p, claudecode.Outcome{Result: p.fields["tool_response"]})
	case "PostToolUseFailure":
		text, _ := claudecode.FailureText(p.text("error"))
		o := claudecode.Outcome{Failed: true, Text: text}
		if p.fields["is_interrupt"].Type == gjson.True {
			o.ErrorClass = "interrupted"
		}
		return r.ended(p, o)
	case "PermissionDenied":
		return r.ended(p, denied("", p.text("reason")))
	case "PermissionRequest":
		name, err := claudecode.Need(p.fields["tool_name"], "tool_name")
		if err != nil {
			return err
		}
		return r.maker.Approval(&p.Scene, r.maker.NewCall(&p.Scene, "", name, p.fields["tool_input"]), p.mode)
	case "PostToolBatch":
		return r.batch(p)
	}
	return nil
}

// call is the call that a payload is about.
func (r *Reader) call(p *payload) (*claudecode.Call, error) {
	tool, err := claudecode.Need(p.fields["tool_name"], "tool_name")
	if err != nil {
		return nil, err
	}
	use, err := claudecode.Need(p.fields["tool_use_id"], "tool_use_id")
	if err != nil {
		return nil, err
	}
	scene := p.Scene
	if open := r.calls[use]; open != nil {
		scene.Cwd = open.cwd
	}
	return r.maker.NewCall(&scene, use, tool, p.fields["tool_input"]), nil
}

func (r *Reader) ended(p *payload, o claudecode.Outcome) error {
	c, err := r.call(p)
	if err != nil {
		return err
	}
	if open := r.calls[c.Id]; open != nil {
		open.ended = true
	}
	o.Duration, o.Mode = claudecode.Count(p.fields["duration_ms"]), p.mode
	return r.maker.Ended(&p.Scene, c, &o)
}

// batch ends the calls that no other hook ends: those that fail validation,
// which have no other hook at all, and those that were denied, which began and
// did not run (contract §2.5). The rest is told already.
func (r *Reader) batch(p *payload) (err error) {
	calls := p.fields["tool_calls"]
	if !calls.IsArray() {
		return nil
	}
	calls.ForEach(func(_, v gjson.Result) bool {
		err = r.batched(p, v)
		return err == nil
	})
	return err
}

func (r *Reader) batched(p *payload, v gjson.Result) error {
	use, err := claudecode.Need(v.Get("tool_use_id"), "tool_calls.tool_use_id")
	if err != nil {
		return err
	}
	open := r.calls[use]
	delete(r.calls, use)
	text, invalid := claudecode.FailureText(claudecode.Text(v.Get("tool_response")))
	var o claudecode.Outcome
	switch {
	case invalid && (open == nil || !open.ended):
		o = claudecode.Outcome{Failed: true, Text: text, ErrorClass: "validation"}
	case open != nil && !open.ended:
		o = denied(text, "")
	default:
		return nil
	}
	name, err := claudecode.Need(v.Get("tool_name"), "tool_calls.tool_name")
	if err != nil {
		return err
	}
	o.Mode = p.mode
	scene := p.Scene
	if open != nil {
		scene.Cwd = open.cwd
	}
	return r.maker.Ended(&p.Scene, r.maker.NewCall(&scene, use, name, v.Get("tool_input")), &o)
}

// denied is a call that was not allowed to run. Who refused it shows in the
// client's own words only: a rule, a hook, or the classifier of mode auto by
// the reason of PermissionDenied. Else the class is not known.
func denied(text, reason string) claudecode.Outcome {
	o := claudecode.Outcome{Failed: true, Refused: true, Text: text, Decision: claudecode.Decision{Decision: "reject"}}
	d := &o.Decision
	switch {
	case reason != "":
		d.Source, d.Reason = "classifier", "classifier:auto-mode"
		if strings.Contains(reason, "unavailable") {
			o.ErrorClass, d.Reason = "automode-unavailable", "classifier:auto-mode:unavailable"
		}
	case strings.HasPrefix(text, "PreToolUse:") && strings.Contains(text, " hook error: "):
		o.ErrorClass, d.Source, d.Reason = "permission-rule", "hook", "hook:PreToolUse"
	case strings.HasPrefix(text, "Permission to use ") && strings.HasSuffix(text, " has been denied."):
		o.ErrorClass, d.Source = "permission-rule", "config"
	}
	return o
}
