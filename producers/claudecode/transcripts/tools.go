package transcripts

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/claudecode"
)

// use is a call that the model asks for.
func (r *reader) use(l *line, block gjson.Result) error {
	id, err := claudecode.Need(block.Get("id"), "message.content.id")
	if err != nil {
		return err
	}
	name, err := claudecode.Need(block.Get("name"), "message.content.name")
	if err != nil {
		return err
	}
	scene := l.scene
	scene.Request = l.requestId
	c := r.maker.NewCall(&scene, id, name, block.Get("input"))
	claudecode.Remember(r.calls, c.Id, c)
	return r.maker.Started(&l.scene, c, "")
}

// result is the end of a call. alone tells that the line is about no other
// call, so that its own fields are about this one.
func (r *reader) result(l *line, block gjson.Result, alone bool) error {
	id, err := claudecode.Need(block.Get("tool_use_id"), "message.content.tool_use_id")
	if err != nil {
		return err
	}
	if r.copied[id] {
		delete(r.copied, id)
		return nil
	}
	c := r.calls[id]
	delete(r.calls, id)
	if c == nil {
		c = r.maker.NewCall(&l.scene, id, "", gjson.Result{})
	}
	text := claudecode.Text(block.Get("content"))
	o := claudecode.Outcome{Failed: block.Get("is_error").Type == gjson.True, Text: text}
	if !alone {
		return r.maker.Ended(&l.scene, c, &o)
	}
	if o.Failed {
		var invalid bool
		if o.Text, invalid = claudecode.FailureText(text); invalid {
			o.ErrorClass = "validation"
		}
		if l.result.Type == gjson.String { // content may say more, to the model
			o.Text, _ = claudecode.FailureText(l.result.Str)
		}
	} else {
		o.Result = l.result
	}
	if l.denial != "" {
		o.ErrorClass, o.Refused = l.denial, true
	}
	o.Decision = decisionOf(l)
	return r.maker.Ended(&l.scene, c, &o)
}

func decisionOf(l *line) (d claudecode.Decision) {
	d.Decision = claudecode.Code(l.decision.Get("decision"))
	d.Source = claudecode.Code(l.decision.Get("source"))
	d.Reason = claudecode.Code(l.decision.Get("reasonCode"))
	if d.Reason == "unknown" {
		d.Reason = ""
	}
	switch kind := claudecode.Code(l.decision.Get("reasonType")); {
	case kind == "classifier":
		d.Source = kind
	case d.Reason == "" && kind == "rule":
		d.Reason = strings.TrimSuffix(kind+":"+claudecode.Code(l.decision.Get("ruleSource")), ":")
	case d.Reason == "":
		d.Reason = kind
	}
	if d.Decision == "" && l.deniedBeforeRun { // a dialog's refusal leaves nothing else (recording interactive)
		d.Decision, d.Source = "reject", "user_reject"
	}
	return d
}
