package corpus

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/claudecode/hooks"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/schemas"
)

func generate(t *testing.T, seed uint64, sessions int) (string, []Label) {
	t.Helper()
	dir := t.TempDir()
	labels, err := Generate(dir, seed, sessions)
	if err != nil {
		t.Fatal(err)
	}
	return dir, labels
}

// contents are the files of a folder by their names in it.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path[len(dir):]], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheSameSeedMakesTheSameBytesAndAnotherOneDoesNot(t *testing.T) {
	first, _ := generate(t, 1, 60)
	second, _ := generate(t, 1, 60)
	other, _ := generate(t, 2, 60)
	a, b, c := contents(t, first), contents(t, second), contents(t, other)
	if !maps.EqualFunc(a, b, bytes.Equal) {
		t.Error("the same seed made other bytes")
	}
	if bytes.Equal(a["/labels.ndjson"], c["/labels.ndjson"]) {
		t.Error("another seed made the same labels")
	}
}

// sink keeps what the readers of a session's files say.
type sink struct {
	t      *testing.T
	events map[schemas.Witness][]schemas.Event
}

func (s *sink) Event(e *schemas.Event) error {
	s.events[e.Witness] = append(s.events[e.Witness], *e)
	return nil
}

func (s *sink) DeadLetter(d *schemas.DeadLetter) error {
	s.t.Errorf("a dead letter: %s", d.AppendJSON(nil))
	return nil
}

// read reads all files of a session.
func read(t *testing.T, dir string) *sink {
	t.Helper()
	s := &sink{t, map[schemas.Witness][]schemas.Event{}}
	options := claudecode.Options{Repository: func(string) (root, repo, branch, email string) { return }}
	lines := func(name string, by schemas.Witness, read func(int64, []byte) error) {
		f, err := os.Open(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			return
		}
		if err == nil {
			defer f.Close()
			err = producers.Lines(f, name, by, s, read)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lines("hooks.ndjson", schemas.WitnessHook, hooks.New(s, options).Recorded)
	lines("otlp-logs.ndjson", schemas.WitnessOtlp, otlp.New(s).Recorded)
	found, err := transcripts.Find(dir)
	for _, name := range found {
		if err == nil {
			err = transcripts.ReadFile(context.Background(), name, options, s)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// calls are the ended calls of a witness, with what it says of their outcome.
func (s *sink) calls(of schemas.Witness) map[string]bool {
	calls := map[string]bool{}
	for _, e := range s.events[of] {
		if e.Kind == schemas.KindToolCall && e.Body.Tool.Done {
			calls[e.ToolUseId] = e.Success.Value
		}
	}
	return calls
}

func TestSessionsAreReadWithoutADeadLetterAndTheirWitnessesAgree(t *testing.T) {
	dir, labels := generate(t, 3, 150)
	now := time.Now().UnixMicro()
	for _, l := range labels {
		s := read(t, filepath.Join(dir, l.Folder))
		var seen []string
		for _, w := range []struct {
			name string
			by   schemas.Witness
		}{{"hooks", schemas.WitnessHook}, {"transcript", schemas.WitnessTranscript}, {"otlp", schemas.WitnessOtlp}} {
			if len(s.events[w.by]) > 0 {
				seen = append(seen, w.name)
			}
			for _, e := range s.events[w.by] {
				if e.SessionId != l.SessionID || e.OccurredAt >= now {
					t.Fatalf("%s: an event of another session, or of the future: %s", l.Folder, e.AppendJSON(nil))
				}
			}
		}
		if got := strings.Join(seen, ","); got != l.Witnesses {
			t.Errorf("%s: witnesses %s, want %s", l.Folder, got, l.Witnesses)
		}
		byHooks, byTranscript := s.calls(schemas.WitnessHook), s.calls(schemas.WitnessTranscript)
		if len(byHooks) > 0 && len(byTranscript) > 0 {
			for id := range byTranscript {
				if _, ok := byHooks[id]; !ok && l.Family != "approval-denied-late" { // hooks see no end of what a dialog refused
					t.Errorf("%s: only the transcript tells of %s", l.Folder, id)
				}
			}
			for id, worked := range byHooks {
				if told, ok := byTranscript[id]; !ok || told != worked {
					t.Errorf("%s: hooks and transcript disagree on %s", l.Folder, id)
				}
			}
		}
		for id := range s.calls(schemas.WitnessOtlp) {
			if _, ok := byTranscript[id]; !ok {
				t.Errorf("%s: only OTLP tells of %s", l.Folder, id)
			}
		}
		for _, a := range l.Attempts {
			_, told := byHooks[a.ToolUseID]
			if _, ok := byTranscript[a.ToolUseID]; !ok && !told {
				t.Errorf("%s: no witness tells of the retry %s", l.Folder, a.ToolUseID)
			}
		}
	}
}

func TestEveryLineIsJSON(t *testing.T) {
	dir, _ := generate(t, 4, 100)
	for name, content := range contents(t, dir) {
		for line := range bytes.Lines(content) {
			if !gjson.ValidBytes(line) {
				t.Fatalf("%s: %s", name, line)
			}
		}
	}
}

func TestLabelsHoldEveryKindAndMostSessionsAreSilent(t *testing.T) {
	const sessions = 600
	_, labels := generate(t, 5, sessions)
	kinds, played, silent, blends := map[string]int{}, map[string]int{}, 0, 0
	for _, l := range labels {
		played[l.Family]++
		if len(l.Want) == 0 {
			silent++
		}
		i := slices.IndexFunc(families, func(f family) bool { return f.name == l.Family })
		if i < 0 {
			blends++
		} else if (len(l.Want) == 0) != (families[i].kinds == "") {
			t.Errorf("%s wants %+v", l.Folder, l.Want)
		}
		for _, w := range l.Want {
			if !slices.Contains(Kinds, w.Kind) || (w.Kind == "protected_path") != (w.ProtectedClass != "") || i >= 0 && !slices.Contains(strings.Fields(families[i].kinds), w.Kind) {
				t.Errorf("%s wants %+v", l.Folder, w)
			}
			kinds[w.Kind]++
		}
	}
	if silent < sessions*6/10 || blends < sessions/10 || blends > sessions/5 {
		t.Errorf("%d silent and %d mixed sessions of %d", silent, blends, sessions)
	}
	for _, f := range families {
		if played[f.name] == 0 {
			t.Errorf("no session of the family %s", f.name)
		}
	}
	for _, k := range Kinds {
		if kinds[k] < 5 {
			t.Errorf("%d findings of kind %s", kinds[k], k)
		}
	}
	t.Log(silent, "silent,", blends, "mixed,", kinds)
}

func BenchmarkGenerate(b *testing.B) {
	for range b.N {
		if _, err := Generate(b.TempDir(), 6, 1000); err != nil {
			b.Fatal(err)
		}
	}
}
