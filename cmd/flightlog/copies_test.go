package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A session of an older client goes on with another's history, without a mark,
// and the other goes on, too, between two imports.
func TestACopiedHistoryCountsOnceOverSeveralImports(t *testing.T) {
	const a, b = "aaaaaaaa-1111-2222-3333-444444444444", "bbbbbbbb-1111-2222-3333-444444444444"
	home, projects := t.TempDir(), filepath.Join(t.TempDir(), "projects", "-w")
	if err := os.MkdirAll(projects, 0o700); err != nil {
		t.Fatal(err)
	}
	tell := func(session string, seconds map[int]string) {
		text := ""
		for second := range 60 {
			if request := seconds[second]; request != "" {
				text += fmt.Sprintf(`{"type":"assistant","sessionId":%q,"uuid":"u%s","timestamp":"2026-11-22T10:00:%02d.000Z","version":"2.1.330","requestId":"req_%s",`+
					`"message":{"id":"msg_%s","model":"claude-opus-5-5","stop_reason":"end_turn","content":[],"usage":{"input_tokens":1000,"output_tokens":1}}}`+"\n",
					session, request, second, request, request)
			}
		}
		if err := os.WriteFile(filepath.Join(projects, session+".jsonl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sums := func() (n, nano int64) {
		for _, r := range readRows(t, filepath.Join(home, "rows", "enriched.ndjson")) {
			if r.text("kind") == "model_request" {
				n, nano = n+r.number("sign"), nano+r.number("sign")*r.number("cost_nano_usd")
			}
		}
		return n, nano
	}
	history := map[int]string{1: "1", 2: "2"}
	tell(a, history)
	tell(b, map[int]string{1: "1", 2: "2", 5: "3"})
	run(t, home, "import", projects, "--out", filepath.Join(home, "rows"))
	if n, _ := sums(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	tell(a, map[int]string{1: "1", 2: "2", 10: "4"}) // a ends last now
	run(t, home, "import", projects, "--out", filepath.Join(home, "rows"))
	if n, nano := sums(); n != 4 || nano != 4*4_020_000 {
		t.Errorf("%d requests for %d, want 4 for %d", n, nano, 4*4_020_000)
	}
}
