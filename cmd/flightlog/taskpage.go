package main

import (
	_ "embed"
	"html/template"
	"io"
	"time"
)

//go:embed taskpage.html
var taskPage string

// pageTemplate is the page of one task. Everything is escaped by where it
// stands; the page loads nothing and runs nothing.
var pageTemplate = template.Must(template.New("task").Funcs(template.FuncMap{
	"say":   nodeText,
	"clock": func(at int64) string { return time.UnixMicro(at).UTC().Format("15:04:05.000") },
	"count": func(i int) int { return i + 1 },
}).Parse(taskPage))

// page writes the task as one page of HTML.
func (v *taskView) page(out io.Writer) error { return pageTemplate.Execute(out, v) }
