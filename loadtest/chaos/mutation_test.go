//go:build unix && quick

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mutations are bugs that are put into the workers on purpose.
var mutations = []struct {
	name, file, old, mutated string
	seed                     uint64
	// findings are parts of violations that this bug leads to; one of them is
	// found. A run without the bug finds none.
	findings []string
}{
	{
		"the condition of a commit is skipped", "broker/jetstream/chain.go",
		"return c.publish(ctx, c.subject, payload, jetstream.WithExpectLastSequencePerSubject(after))",
		"return c.publish(ctx, c.subject, payload)", 2, []string{"position lost", "stands there twice", "chain, partition"},
	},
	{
		"a restore ends before the tail", "broker/internal/commitlog/owner.go",
		"if c.CommitNumber <= at.number {", "if c.CommitNumber <= at.number || c.CommitNumber == o.tail.CommitNumber {", 2, []string{"no end of the lag", "chain, partition"},
	},
}

func TestAKillRunFindsBugsThatWerePutInOnPurpose(t *testing.T) {
	if testing.Short() {
		t.Skip("each takes a minute")
	}
	t.Chdir(filepath.Join("..", ".."))
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			var err error
			for seed := m.seed; seed < m.seed+3; seed++ { // kills fall a little differently each time
				dir := t.TempDir()
				c := &campaign{options: options{Broker: "jetstream", Partitions: 4, Workers: 3, Kills: 12, Seed: seed},
					dir: dir, overlay: mutate(t, dir, m.file, m.old, m.mutated)}
				if err := c.build(t.Context()); err != nil {
					t.Fatal(err)
				}
				if c.report, err = openReport(dir); err != nil {
					t.Fatal(err)
				}
				err = c.run(t.Context(), c.options)
				if err != nil && slices.ContainsFunc(m.findings, func(f string) bool { return strings.Contains(err.Error(), f) }) {
					return
				}
			}
			t.Fatalf("it was not found: %v", err)
		})
	}
}

// mutate makes the overlay of a file in which a text is replaced.
func mutate(t *testing.T, dir, file, old, mutated string) string {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(source), old) != 1 {
		t.Fatalf("%s does not hold %q once: bring the mutation up to date", file, old)
	}
	replaced := filepath.Join(dir, "mutated.go")
	if err := os.WriteFile(replaced, []byte(strings.Replace(string(source), old, mutated, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	original, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}
