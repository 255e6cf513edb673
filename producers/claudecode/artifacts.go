package claudecode

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// response is what counts in a tool's structured response (contract §2.4).
type response struct {
	stdout                  string
	interrupted, background bool

	file, operation string // of Edit, Write, NotebookEdit
	patch           gjson.Result
	edits           gjson.Result // bashEditDiff: files that a shell command changed
	git             gjson.Result

	agent, agentType string // of an Agent call
	completed        bool
	duration         schemas.OptLong
}

func responseOf(c *Call, o *Outcome) (r response) {
	if !o.Result.IsObject() {
		return r
	}
	agent := c.Name == "Agent" || c.Name == "Task"
	o.Result.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "stdout":
			r.stdout = v.Str
		case "interrupted":
			r.interrupted = v.Type == gjson.True
		case "backgroundTaskId":
			r.background = r.background || v.Str != ""
		case "isAsync":
			r.background = r.background || v.Type == gjson.True
		case "filePath", "notebook_path":
			r.file = v.Str
		case "type":
			r.operation = v.Str
		case "structuredPatch":
			r.patch = v
		case "bashEditDiff":
			r.edits = v
		case "gitOperation":
			r.git = v
		case "agentId":
			if agent {
				r.agent = Code(v)
			}
		case "agentType":
			r.agentType = Short(v, 128)
		case "status":
			r.completed = v.Str == "completed"
		case "totalDurationMs":
			r.duration = Count(v)
		}
		return true
	})
	return r
}

// artifacts tells what a call that has ended left behind.
func (m *Maker) artifacts(s *Scene, c *Call, o *Outcome, r *response, failed bool) error {
	switch c.Name {
	case "Edit", "MultiEdit", "Write", "NotebookEdit":
		if !failed {
			return m.ownFile(s, c, o, r)
		}
	case "Bash":
		if r.background || r.interrupted || o.Refused || o.ErrorClass != "" {
			return nil // it goes on, or never ran, or was cut
		}
		if c.command.Test {
			if err := m.testRun(s, c, o, r); err != nil {
				return err
			}
		}
		if !failed {
			if err := m.shellFiles(s, c, r); err != nil {
				return err
			}
			return m.git(s, c, r)
		}
	default:
		if !failed && !r.background && len(c.writes) > 0 {
			return m.derived(s, c, c.writes, map[string]bool{})
		}
	}
	return nil
}

// artifact begins the event of something that a call made.
func (m *Maker) artifact(s *Scene, c *Call, kind schemas.Kind) *schemas.Event {
	e := m.Event(s, kind)
	e.ToolUseId, e.RequestId, e.Skill = c.Id, c.Request, c.Skill
	e.Success = schemas.SomeBool(true)
	return e
}

// fileChange begins the event of a changed file.
func (m *Maker) fileChange(s *Scene, c *Call, path, operation string, grade schemas.ChangeGrade) *schemas.Event {
	e := m.artifact(s, c, schemas.KindFileChange)
	a := &e.Body.Artifact
	a.FilePath, a.Operation, a.ChangeGrade = path, operation, grade
	a.FileType, a.ProtectedClass = extraction.FileType(path), extraction.ProtectedClass(path)
	return e
}

// ownFile is the change that a call to a tool for files made.
func (m *Maker) ownFile(s *Scene, c *Call, o *Outcome, r *response) error {
	path := c.target
	if r.file != "" {
		path = c.place.Path(r.file)
	}
	if path == "" {
		return nil
	}
	operation := "update"
	if r.operation == "create" || strings.HasPrefix(o.Text, "File created successfully") {
		operation = "create"
	}
	a := &m.fileChange(s, c, path, operation, schemas.ChangeGradeExact).Body.Artifact
	if operation == "create" && c.Name == "Write" { // its patch is empty (recording permission-prompt-host)
		a.DiffHash = c.content.hash
		a.LinesAdded, a.LinesRemoved = schemas.SomeLong(c.content.lines), schemas.SomeLong(0)
	} else {
		patched(a, r.patch)
		switch {
		case c.Name == "Write" && c.content.blank && extraction.TestFile(path) && (!a.LinesRemoved.Valid || a.LinesRemoved.Value > 0):
			a.TestTamper = extraction.TamperDeleted
		case r.patch.Exists():
			a.TestTamper = extraction.TestTamper(path, []byte(r.patch.Raw))
		default:
			a.TestTamper = c.tamper
		}
	}
	return m.Emit(c.Id)
}

// patched sets the lines and the hash of a patch, if there is one.
func patched(a *schemas.ArtifactBody, hunks gjson.Result) {
	if added, removed, ok := extraction.PatchLines([]byte(hunks.Raw)); ok {
		a.LinesAdded, a.LinesRemoved = schemas.SomeLong(added), schemas.SomeLong(removed)
		a.DiffHash = extraction.HashJSON([]byte(hunks.Raw))
	}
}

func linesOf(text string) int64 {
	n := int64(strings.Count(text, "\n"))
	if text != "" && !strings.HasSuffix(text, "\n") {
		n++
	}
	return n
}

// shellFiles is the changes that a shell command made: those that the client
// lists with their patches are exact, other write targets of the command
// derived. Both have ids of one form, so that a witness with the list and one
// without it tell of the same fact.
func (m *Maker) shellFiles(s *Scene, c *Call, r *response) (err error) {
	listed := map[string]bool{}
	r.edits.Get("files").ForEach(func(_, file gjson.Result) bool {
		path := file.Get("filePath").Str
		if path != "" {
			path = c.place.Path(path)
		}
		if path == "" || listed[path] {
			return true
		}
		listed[path] = true
		operation, hunks := "update", file.Get("hunks")
		if file.Get("created").Type == gjson.True {
			operation = "create"
		} else if file.Get("deleted").Type == gjson.True {
			operation = "delete"
		}
		a := &m.fileChange(s, c, path, operation, schemas.ChangeGradeExact).Body.Artifact
		patched(a, hunks)
		a.TestTamper = c.shellTamper(path, operation, hunks)
		err = m.Emit(c.Id + "\x00" + path)
		return err == nil
	})
	if err != nil {
		return err
	}
	if err := m.derived(s, c, c.command.Writes, listed); err != nil {
		return err
	}
	// Changed files that the list leaves out (moreFiles, contract §2.4).
	r.edits.Get("changedFiles").ForEach(func(_, changed gjson.Result) bool {
		if changed.Str != "" {
			err = m.derived(s, c, []extraction.Write{{Path: changed.Str, Operation: "update"}}, listed)
		}
		return err == nil
	})
	return err
}

// derived tells of files that the arguments of a call name as written, each
// once.
func (m *Maker) derived(s *Scene, c *Call, writes []extraction.Write, listed map[string]bool) error {
	for i := range writes {
		w := &writes[i]
		path, operation := c.place.Path(w.Path), w.Operation
		if path == "" || listed[path] {
			continue
		}
		listed[path] = true
		if operation == "unknown" {
			operation = ""
		}
		a := &m.fileChange(s, c, path, operation, schemas.ChangeGradeDerived).Body.Artifact
		if (extraction.TestFile(path) || extraction.TestFolder(path)) && goneIn(writes, w.Path) {
			a.TestTamper = extraction.TamperDeleted
		}
		if err := m.Emit(c.Id + "\x00" + path); err != nil {
			return err
		}
	}
	return nil
}

// goneIn tells whether a file is gone by the last of the writes to it.
func goneIn(writes []extraction.Write, path string) (gone bool) {
	for _, w := range writes {
		if w.Path == path {
			gone = w.Gone
		}
	}
	return gone
}

// shellTamper is what a shell command did to a test file by the client's own
// patch. What git puts back is no work of the agent's, and a file that is moved
// is not deleted.
func (c *Call) shellTamper(path, operation string, hunks gjson.Result) string {
	if operation == "create" || !extraction.TestFile(path) {
		return ""
	}
	for _, w := range c.command.Writes {
		if c.place.Path(w.Path) == path && (w.Operation == "delete" || w.Gone) {
			if w.Gone {
				return extraction.TamperDeleted
			}
			return "" // moved
		}
	}
	if c.command.Restores {
		return ""
	}
	if operation == "delete" {
		if c.command.Deletes {
			return extraction.TamperDeleted
		}
		return ""
	}
	return extraction.TestTamper(path, []byte(hunks.Raw))
}

// testRun is the outcome of a command that runs tests, by its output.
func (m *Maker) testRun(s *Scene, c *Call, o *Outcome, r *response) error {
	output := r.stdout
	if !o.Result.Exists() {
		output = o.Text
	}
	e := m.artifact(s, c, schemas.KindTestRun)
	e.DurationMs = o.Duration
	a := &e.Body.Artifact
	a.TestOutcome, a.TestsPassed, a.TestsFailed = extraction.TestRun(output, o.Failed)
	e.Success = schemas.OptBool{}
	if a.TestOutcome != schemas.TestOutcomeUnknown {
		e.Success = schemas.SomeBool(a.TestOutcome == schemas.TestOutcomePassed)
	}
	return m.Emit(c.Id)
}

// git is what the client saw a command do with git and the forge. Quiet
// commands leave nothing here (recording pull-request).
func (m *Maker) git(s *Scene, c *Call, r *response) error {
	if sha := r.git.Get("commit.sha").Str; sha != "" {
		e := m.artifact(s, c, schemas.KindCommit)
		e.Body.Artifact.CommitId = sha
		m.onBranch(e, r.git.Get("commit.branch").Str)
		if err := m.Emit(sha); err != nil {
			return err
		}
	}
	if push := r.git.Get("push"); push.IsObject() {
		e := m.artifact(s, c, schemas.KindPush)
		m.onBranch(e, push.Get("branch").Str)
		if err := m.Emit(c.Id); err != nil {
			return err
		}
	}
	if pr := r.git.Get("pr"); pr.IsObject() {
		if change := ChangeID(pr.Get("url").Str); change != "" {
			e := m.artifact(s, c, schemas.KindPullRequest)
			e.Body.Artifact.ChangeId = change
			e.Body.Artifact.Operation = pr.Get("action").Str
			return m.Emit(schemas.PullRequestFact(change, e.Body.Artifact.Operation))
		}
	}
	return nil
}

// ChangeID is a pull request as host/owner/name#number, by its address; empty
// if the address is of another form.
func ChangeID(url string) string {
	_, rest, ok := strings.Cut(url, "://")
	if !ok {
		return ""
	}
	for _, middle := range []string{"/pull/", "/-/merge_requests/", "/pull-requests/", "/pulls/"} {
		repo, number, ok := strings.Cut(rest, middle)
		if !ok {
			continue
		}
		number, _, _ = strings.Cut(number, "/")
		if repo = extraction.RepoName("https://" + repo); repo == "" || number == "" || strings.Trim(number, "0123456789") != "" {
			return ""
		}
		return repo + "#" + number
	}
	return ""
}
