package claudecode_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/claudecode/hooks"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/schemas"
)

// recorded is the folder of the unpacked recordings. Unpacking takes longer than
// most tests, so they share it.
var recorded string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "flightlog-claudecode-")
		if err == nil {
			defer os.RemoveAll(dir)
			err = recordings.Unpack(dir)
		}
		if err != nil {
			panic(err)
		}
		recorded = dir
		return m.Run()
	}())
}

// options are those of the recorded machine.
var options = claudecode.Options{
	Host: "devbox",
	Repository: func(folder string) (root, repo, branch, email string) {
		if folder == "/home/dev/src/shop" || strings.HasPrefix(folder, "/home/dev/src/shop/") {
			return "/home/dev/src/shop", "github.com/example/shop", "", ""
		}
		return "", "", "", ""
	},
}

// kept is a sink that keeps what it gets.
type kept struct {
	events []schemas.Event
	dead   []schemas.DeadLetter
}

func (k *kept) Event(e *schemas.Event) error {
	k.events = append(k.events, *e)
	return nil
}

func (k *kept) DeadLetter(d *schemas.DeadLetter) error {
	k.dead = append(k.dead, *d)
	return nil
}

// of is the events of a kind.
func (k *kept) of(kind schemas.Kind) (events []schemas.Event) {
	for _, e := range k.events {
		if e.Kind == kind {
			events = append(events, e)
		}
	}
	return events
}

// hooksOf reads the recorded hooks of a scenario; none where it has none.
func hooksOf(t testing.TB, scenario string) *kept {
	t.Helper()
	k := &kept{}
	file, err := os.Open(filepath.Join(recorded, scenario, "hooks.ndjson"))
	if os.IsNotExist(err) {
		return k
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := producers.Lines(file, file.Name(), schemas.WitnessHook, k, hooks.New(k, options).Recorded); err != nil {
		t.Fatal(err)
	}
	return k
}

// transcriptsOf reads all transcripts of a scenario.
func transcriptsOf(t testing.TB, scenario string) *kept {
	t.Helper()
	k := &kept{}
	projects := filepath.Join(recorded, scenario, "projects")
	if _, err := os.Stat(projects); os.IsNotExist(err) {
		return k
	}
	files, err := transcripts.Find(projects)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := transcripts.ReadFile(t.Context(), file, options, k); err != nil {
			t.Fatal(err)
		}
	}
	return k
}
