package files_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/flightlog/flightlog/sinks/files"
)

// story appends frame after frame to b and calls each after every one of them.
func story(t *testing.T, b *logs, each func()) {
	for i := range 5 {
		b.say(t, enriched(i%2), 2)
		b.say(t, deadLetters(i%2), 1)
		each()
	}
}

const childFolder = "FLIGHTLOG_TEST_FILES_FOLDER"

func TestASinkThatIsKilledNineGoesOnWhereItsCheckpointStands(t *testing.T) {
	if dir := os.Getenv(childFolder); dir != "" { // the process to be killed
		b := newLogs(2)
		s, err := files.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		story(t, b, func() {
			if err := s.Drain(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		})
		return
	}
	b, whole := newLogs(2), t.TempDir()
	story(t, b, func() {})
	if err := drain(t, whole, b); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"files.appended", "files.synced", "files.checkpoint_written", "files.checkpointed"} {
		for hit := 1; hit <= 4; hit++ {
			dir := t.TempDir()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestASinkThatIsKilledNine")
			child.Env = append(os.Environ(), childFolder+"="+dir, fmt.Sprintf("FLIGHTLOG_FAILPOINT=%s:%d", place, hit))
			if out, err := child.CombinedOutput(); err == nil || child.ProcessState.ExitCode() != -1 {
				t.Fatalf("%s:%d: not killed: %v\n%s", place, hit, err, out)
			}
			if err := drain(t, dir, b); err != nil {
				t.Fatalf("%s:%d: %v", place, hit, err)
			}
			for _, name := range names[1:] {
				got, want := rows(t, dir, name), rows(t, whole, name)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%s:%d: %s holds %q, want %q", place, hit, name, got, want)
				}
			}
		}
	}
}
