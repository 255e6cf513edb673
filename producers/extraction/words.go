package extraction

import (
	"cmp"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// word is a word of a command after expansion.
type word struct {
	text    string
	known   bool   // it is a literal; text is empty else
	fetched string // the program in a substitution that loads something from the network
	whole   bool   // that substitution is all of it
}

// word expands a word as far as its text tells, and walks the commands that
// are substituted in it.
func (sh *shell) word(w *syntax.Word) word {
	if w == nil {
		return word{}
	}
	e := expansion{sh: sh, known: true}
	for i, part := range w.Parts {
		e.part(part, false, i == 0)
	}
	if !e.known {
		return word{fetched: e.fetched, whole: e.fetched != "" && onePart(w.Parts)}
	}
	return word{text: e.text.String(), known: true, fetched: e.fetched}
}

// onePart tells a word that is nothing but one substitution, quoted or not.
func onePart(parts []syntax.WordPart) bool {
	if len(parts) != 1 {
		return false
	}
	switch part := parts[0].(type) {
	case *syntax.DblQuoted:
		return onePart(part.Parts)
	case *syntax.CmdSubst:
		return true
	}
	return false
}

type expansion struct {
	sh      *shell
	text    strings.Builder
	known   bool
	fetched string
}

func (e *expansion) part(part syntax.WordPart, quoted, first bool) {
	switch part := part.(type) {
	case *syntax.Lit:
		if quoted {
			e.text.WriteString(unquoted(part.Value, "\\\"$`\n"))
		} else {
			e.known = e.known && !globbed(part.Value)
			e.text.WriteString(unquoted(part.Value, ""))
		}
	case *syntax.SglQuoted:
		e.known = e.known && !(part.Dollar && strings.Contains(part.Value, `\`))
		e.text.WriteString(part.Value)
	case *syntax.DblQuoted:
		for _, inner := range part.Parts {
			e.part(inner, true, false)
		}
	case *syntax.ParamExp:
		value, ok := e.sh.variable(part)
		e.known = e.known && ok
		e.text.WriteString(value)
	case *syntax.CmdSubst:
		e.substitute(part.Stmts)
	case *syntax.ProcSubst:
		e.substitute(part.Stmts)
	default:
		e.known = false
	}
}

// substitute walks commands whose output stands in a word. Only that of pwd is
// known.
func (e *expansion) substitute(stmts []*syntax.Stmt) {
	if len(stmts) == 1 && e.sh.cwd != "" && len(stmts[0].Redirs) == 0 {
		if call, ok := stmts[0].Cmd.(*syntax.CallExpr); ok && len(call.Args) == 1 && call.Args[0].Lit() == "pwd" {
			e.text.WriteString(e.sh.cwd)
			return
		}
	}
	e.known = false
	before := e.sh.fetches
	e.sh.fetches = ""
	e.sh.apart(func() { e.sh.list(stmts) })
	e.fetched = cmp.Or(e.fetched, e.sh.fetches)
	e.sh.fetches = before
}

// variable is the value of $NAME where the command itself set it, of HOME as
// ~, and of PWD.
func (sh *shell) variable(p *syntax.ParamExp) (string, bool) {
	if p.Param == nil || p.Excl || p.Length || p.Width || p.IsSet || p.Index != nil || p.Slice != nil ||
		p.Repl != nil || p.Exp != nil || p.Names != 0 || p.NestedParam != nil {
		return "", false
	}
	if value, ok := sh.vars[p.Param.Value]; ok {
		return value, true
	}
	switch p.Param.Value {
	case "HOME":
		return "~", true
	case "PWD":
		return sh.cwd, sh.cwd != ""
	}
	return "", false
}

// unquoted takes the backslashes out of a literal: all, or only those before
// one of the given characters.
func unquoted(text, only string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) && (only == "" || strings.IndexByte(only, text[i+1]) >= 0) {
			i++
			if text[i] == '\n' {
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// globbed tells an unquoted literal that stands for other names.
func globbed(text string) bool {
	brace := false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		case '{':
			brace = true
		case ',', '.':
			if brace && (text[i] == ',' || strings.HasPrefix(text[i:], "..")) {
				return true
			}
		}
	}
	return false
}

// literals is the literal text of a word, without what is expanded in it.
func literals(w *syntax.Word) string {
	var b strings.Builder
	for _, part := range w.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			b.WriteString(part.Value)
		case *syntax.SglQuoted:
			b.WriteString(part.Value)
		}
	}
	return b.String()
}
