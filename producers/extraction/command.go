package extraction

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// CommandFacts is what later steps need to know of a shell command. It holds
// no argument but paths that the command writes to.
type CommandFacts struct {
	// Class of the most telling command of the line: permission_bypass,
	// network_install, test,
	// install, build, lint, format, vcs, infrastructure, container, database,
	// network, delete, write, package_manager, interpreter, search, read,
	// other, in this order.
	Class string
	// Target is that command's program by its base name, and its subcommand
	// where it is a known one ("git commit", "npm test", "curl"): never an
	// argument, never a variable. Safe in every capture mode.
	Target string
	// Writes are the files that the command names as written, at most 32 and
	// each once: derived from the text, not from what happened.
	Writes         []Write
	Test           bool // runs tests
	Install        bool // installs packages
	NetworkInstall bool // installs what the command names, or runs a script from the network
	// InstallSource is where what is installed or run comes from, the gravest:
	// script (a download is run), url (a package by its address), registry (a
	// package by its name); "" if nothing is named.
	InstallSource string
	Waits         bool // waits by itself: sleep, kubectl wait, gh run watch, tail -f
	Deletes       bool // deletes files, also such as the text does not name: rm *.js
	Restores      bool // has git put other states of files into the folder: checkout, stash, pull
	Commit        bool // git commit
	Push          bool // git push
	ParseError    bool // not all of the command could be read; the rest says what could
}

// Write is a file that a command writes to.
type Write struct {
	// Path is resolved against the folder that the command ran in, through
	// every cd before it; it starts with ~ for the home folder, and stays as
	// written where the folder is not known. It is cleaned, not yet relative:
	// [Place.Path] does that.
	Path string
	// Operation is create, update, delete, or unknown where the command does
	// either of the first two.
	Operation string
	// Gone tells that the file is deleted for good, or emptied: not moved.
	Gone bool
}

const (
	mostCommand    = 64 << 10 // bytes of a command that are read
	mostWrites     = 32
	mostBrackets   = 200    // open at once; the parser recurses on them
	mostStatements = 20_000 // read in all, scripts within scripts and loops included
	mostNested     = 4      // scripts within scripts: bash -c "bash -c ..."
)

// Command reads a shell command that ran in folder cwd ("" if unknown). It
// follows pipelines, lists, loops, functions, subshells, substitutions,
// wrappers (sudo, env, xargs, npx, ...), bash -c and eval with a literal
// script, cd, and variables that the command itself sets to a literal. A
// target that depends on any other expansion or on a glob is left out. Of a
// command over 64 KiB the first 64 KiB are read. It takes about 10 µs for an
// ordinary command and a second at worst for a hostile one.
func Command(command, cwd string) (facts CommandFacts) {
	sh := shell{facts: &facts, cwd: cwd, vars: map[string]string{}, fetched: map[string]string{}, rank: -1}
	if len(command) > mostCommand {
		command = strings.ToValidUTF8(command[:mostCommand], "")
		facts.ParseError = true
	}
	sh.script(command)
	facts.Class = cmp.Or(facts.Class, "other")
	return facts
}

// shell walks a command in the order in which it would run.
type shell struct {
	facts      *CommandFacts
	rank       int // of the class that names the line so far
	statements int
	nested     int
	cwd        string            // "" if not known
	vars       map[string]string // set to a literal by the command itself
	fetched    map[string]string // files that came from the network, by the program that loaded them

	empties    bool // what is being walked prints nothing, so that > empties a file
	redirected bool // what is being walked writes to a file by a redirection
	// Of the pipeline that is being walked.
	fetches   string // the program in it that prints what it loads from the network
	runsInput string // the program in it that runs its input as a script
	heredoc   string // its input, where the text says it
}

// script walks a text. Where it has an error, what could be understood of it
// counts.
func (sh *shell) script(text string) {
	if sh.nested >= mostNested || openBrackets(text) > mostBrackets {
		sh.facts.ParseError = true
		return
	}
	sh.nested++
	defer func() { sh.nested-- }()
	file, err := parsed(text)
	for range 4 {
		if err == nil {
			break
		}
		sh.facts.ParseError = true
		before := text
		text = mended(text, err)
		file, err = parsed(text, syntax.RecoverErrors(8))
		if text == before {
			break
		}
	}
	if file != nil {
		sh.list(file.Stmts)
	}
}

// parsed is the syntax tree of a text, as far as there is one. A parser that
// panics on hostile input has found an error too.
func parsed(text string, options ...syntax.ParserOption) (file *syntax.File, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			file, err = nil, fmt.Errorf("cannot parse: %v", cause)
		}
	}()
	return syntax.NewParser(options...).Parse(strings.NewReader(text), "")
}

// mended adds the end of a here-document that was cut off, which the parser
// cannot recover from.
func mended(text string, err error) string {
	var parse syntax.ParseError
	if errors.As(err, &parse) {
		if _, word, ok := strings.Cut(parse.Text, "unclosed here-document `"); ok {
			return text + "\n" + strings.TrimSuffix(word, "`") + "\n"
		}
	}
	return text
}

// openBrackets is about how many brackets are open at once.
func openBrackets(text string) (most int) {
	open := 0
	for i := range len(text) {
		switch text[i] {
		case '(', '{', '[':
			open++
			most = max(most, open)
		case ')', '}', ']':
			open = max(0, open-1)
		}
	}
	return most
}

func (sh *shell) list(stmts []*syntax.Stmt) {
	for _, stmt := range stmts {
		heredoc := sh.heredoc
		sh.statement(stmt)
		sh.heredoc = heredoc
	}
}

func (sh *shell) statement(stmt *syntax.Stmt) {
	if sh.statements++; stmt == nil || sh.statements > mostStatements {
		return
	}
	written, outer := len(sh.facts.Writes), sh.redirected
	sh.empties = printsNothing(stmt.Cmd)
	for _, redirect := range stmt.Redirs {
		sh.redirect(redirect)
	}
	sh.empties = false
	sh.redirected = outer || len(sh.facts.Writes) > written
	defer func() { sh.redirected = outer }()
	switch cmd := stmt.Cmd.(type) {
	case *syntax.CallExpr:
		before := sh.fetches
		sh.fetches = ""
		if sh.call(cmd); sh.fetches != "" {
			sh.downloadInto(stmt.Redirs, sh.fetches)
		}
		sh.fetches = cmp.Or(sh.fetches, before)
	case *syntax.BinaryCmd:
		if cmd.Op == syntax.Pipe || cmd.Op == syntax.PipeAll {
			sh.pipeline(cmd)
			return
		}
		sh.list([]*syntax.Stmt{cmd.X, cmd.Y})
	case *syntax.Subshell:
		sh.apart(func() { sh.list(cmd.Stmts) })
	case *syntax.Block:
		sh.list(cmd.Stmts)
	case *syntax.IfClause:
		for clause := cmd; clause != nil; clause = clause.Else {
			sh.list(clause.Cond)
			sh.list(clause.Then)
		}
	case *syntax.WhileClause:
		sh.list(cmd.Cond)
		sh.list(cmd.Do)
	case *syntax.ForClause:
		sh.loop(cmd)
	case *syntax.CaseClause:
		sh.word(cmd.Word)
		for _, item := range cmd.Items {
			sh.list(item.Stmts)
		}
	case *syntax.FuncDecl:
		sh.statement(cmd.Body)
	case *syntax.TimeClause:
		sh.statement(cmd.Stmt)
	case *syntax.CoprocClause:
		sh.statement(cmd.Stmt)
	case *syntax.DeclClause:
		sh.assign(cmd.Args)
	}
}

// apart walks commands whose changes of folder and variables end with them.
func (sh *shell) apart(walk func()) {
	cwd, vars := sh.cwd, sh.vars
	sh.vars = make(map[string]string, len(vars))
	for name, value := range vars {
		sh.vars[name] = value
	}
	walk()
	sh.cwd, sh.vars = cwd, vars
}

// pipeline walks the commands of a | b | c. What one prints is the input of
// the next: a script from the network is run if one loads and a later one runs
// its input.
func (sh *shell) pipeline(cmd *syntax.BinaryCmd) {
	var stages []*syntax.Stmt
	for {
		stages = append(stages, cmd.Y)
		left, ok := cmd.X.Cmd.(*syntax.BinaryCmd)
		if !ok || left.Op != syntax.Pipe && left.Op != syntax.PipeAll || len(cmd.X.Redirs) > 0 {
			stages = append(stages, cmd.X)
			break
		}
		cmd = left
	}
	fetches, runs, heredoc := sh.fetches, sh.runsInput, sh.heredoc
	sh.fetches, sh.heredoc = "", ""
	for i := len(stages) - 1; i >= 0; i-- {
		loaded := sh.fetches
		sh.runsInput = ""
		sh.apart(func() { sh.statement(stages[i]) })
		if loaded != "" && sh.runsInput != "" {
			sh.networkInstall(loaded, sourceScript)
		} else if loaded != "" {
			sh.downloadInto(stages[i].Redirs, loaded)
		}
		runs = cmp.Or(runs, sh.runsInput)
	}
	sh.fetches, sh.runsInput, sh.heredoc = cmp.Or(fetches, sh.fetches), runs, heredoc
}

// loop walks the body of a loop once for each literal that it goes over.
func (sh *shell) loop(cmd *syntax.ForClause) {
	const mostTurns = 8
	over, ok := cmd.Loop.(*syntax.WordIter)
	if !ok {
		sh.list(cmd.Do)
		return
	}
	name := over.Name.Value
	turns := 0
	for _, item := range over.Items {
		if value := sh.word(item); value.known && turns < mostTurns {
			turns++
			sh.vars[name] = value.text
			sh.list(cmd.Do)
		}
	}
	delete(sh.vars, name)
	if turns < len(over.Items) || turns == 0 {
		sh.list(cmd.Do)
	}
}

func (sh *shell) assign(assigns []*syntax.Assign) {
	for _, assign := range assigns {
		value := sh.word(assign.Value)
		if assign.Name == nil || assign.Naked {
			continue
		}
		if value.known && !assign.Append && assign.Index == nil && assign.Array == nil {
			sh.vars[assign.Name.Value] = value.text
		} else {
			delete(sh.vars, assign.Name.Value)
		}
	}
}

func (sh *shell) redirect(redirect *syntax.Redirect) {
	if redirect.Hdoc != nil {
		sh.heredoc = literals(redirect.Hdoc)
		sh.word(redirect.Hdoc)
	}
	target := sh.word(redirect.Word)
	switch redirect.Op {
	case syntax.RdrOut, syntax.RdrClob, syntax.RdrAll, syntax.RdrAllClob, syntax.RdrInOut:
		sh.writeFile(target, "unknown", sh.empties && redirect.Op != syntax.RdrInOut)
	case syntax.AppOut, syntax.AppClob, syntax.AppAll, syntax.AppAllClob:
		sh.write(target, "update")
	case syntax.DplOut: // >&2 is none, >&file is one
		if strings.Trim(target.text, "0123456789-") != "" {
			sh.write(target, "unknown")
		}
	case syntax.WordHdoc:
		sh.heredoc = target.text
	}
}

// printsNothing tells : > file, true > file, > file.
func printsNothing(cmd syntax.Command) bool {
	call, ok := cmd.(*syntax.CallExpr)
	if cmd == nil {
		return true
	}
	return ok && (len(call.Args) == 0 || len(call.Args) == 1 && (call.Args[0].Lit() == ":" || call.Args[0].Lit() == "true"))
}

// write notes a file that is written to.
func (sh *shell) write(target word, operation string) { sh.writeFile(target, operation, false) }

func (sh *shell) writeFile(target word, operation string, gone bool) {
	if !target.known || target.text == "" || target.text == "-" || device(target.text) {
		return
	}
	w := Write{sh.resolve(target.text), operation, gone}
	if len(sh.facts.Writes) >= mostWrites {
		return
	}
	for _, known := range sh.facts.Writes {
		if known == w {
			return
		}
	}
	sh.facts.Writes = append(sh.facts.Writes, w)
}

func device(name string) bool {
	return strings.HasPrefix(name, "/dev/") || strings.HasPrefix(name, "/proc/") || strings.EqualFold(name, "nul")
}

// resolve makes a path of the command absolute where its folder is known.
func (sh *shell) resolve(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		return path.Join("~", path.Clean("/"+rest))
	}
	if name[0] == '/' || name[0] == '~' || isDrive(name) || sh.cwd == "" {
		return path.Clean(name)
	}
	return path.Clean(slashed(sh.cwd) + "/" + name)
}

// name lets the most telling command so far name the line. Of two of one class
// that with the greater weight does; of two of weight 2 the last, else the first.
func (sh *shell) name(class, target string, weight int) {
	index := slices.Index(commandClasses, class)
	if write := slices.Index(commandClasses, "write"); sh.redirected && index < write {
		class, index = "write", write
	}
	if weight == 2 && class == "package_manager" { // a publish tells as much as a push
		index = slices.Index(commandClasses, "vcs")
	}
	if rank := 3*index + weight; rank > sh.rank || rank == sh.rank && weight == 2 {
		sh.rank, sh.facts.Class, sh.facts.Target = rank, class, target
	}
}

// safeName tells a name that can be a program's: short, and of no characters
// but those of names.
func safeName(name string) bool {
	if name == "" || len(name) > 40 || !utf8.ValidString(name) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && strings.IndexByte("._+-", c) < 0 {
			return false
		}
	}
	return isAlnum(name[0])
}
