package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// workshop is a copy of the schemas, generated and released as v1.
func workshop(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "schemas")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		text, err := os.ReadFile(filepath.Join("..", "..", name+".avsc"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name+".avsc"), string(text))
	}
	if err := run(dir, "v1", false); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// edit replaces the first was in a file; it must be there.
func edit(t *testing.T, path, was, is string) {
	t.Helper()
	text := read(t, path)
	if !strings.Contains(text, was) {
		t.Fatalf("%s holds no %q", path, was)
	}
	write(t, path, strings.Replace(text, was, is, 1))
}

// only is the one file that matches.
func only(t *testing.T, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s: %q, %v", pattern, paths, err)
	}
	return paths[0]
}

func TestTheTreeIsGeneratedFromItsSchemas(t *testing.T) {
	if err := run(filepath.Join("..", ".."), "", true); err != nil {
		t.Error(err)
	}
}

func TestAStaleFileFailsTheCheck(t *testing.T) {
	for _, name := range []string{"codec_gen.go", "types_gen.go", "json_gen.go", "event.schema.json", "../docs/schemas.md", "history/VERSIONS"} {
		dir := workshop(t)
		if err := run(dir, "", true); err != nil {
			t.Fatalf("a fresh tree: %v", err)
		}
		path := filepath.Join(dir, name)
		write(t, path, read(t, path)+"\n")
		if err := run(dir, "", true); err == nil {
			t.Errorf("%s was changed and the check passes", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := run(dir, "", true); err == nil {
			t.Errorf("%s was removed and the check passes", name)
		}
	}
}

const skillField = `{"name": "skill", "type": "string", "default": "", "maxBytes": 256, "doc": "Skill or slash command that the work ran under."}`

func TestACompatibleChangeMakesAVersionAndKeepsTheOlderOne(t *testing.T) {
	dir := workshop(t)
	old := only(t, filepath.Join(dir, "history/Event/*.golden"))
	edit(t, filepath.Join(dir, "event.avsc"), skillField, skillField+`,
		{"name": "mood", "type": "string", "default": "", "maxBytes": 16, "doc": "Mood."}`)
	if err := run(dir, "", true); err == nil {
		t.Error("a new version passes the check before it is generated")
	}
	if err := run(dir, "", false); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, "", true); err != nil {
		t.Error(err)
	}
	versions := read(t, filepath.Join(dir, "history/VERSIONS"))
	if strings.Count(versions, "Event ") != 2 || strings.Count(versions, unreleased) != 1 {
		t.Errorf("versions:\n%s", versions)
	}
	_ = read(t, old)

	// Until it is released, another change replaces it.
	edit(t, filepath.Join(dir, "event.avsc"), `"name": "mood"`, `"name": "temper"`)
	if err := run(dir, "v2", false); err != nil {
		t.Fatal(err)
	}
	versions = read(t, filepath.Join(dir, "history/VERSIONS"))
	files, _ := filepath.Glob(filepath.Join(dir, "history/Event/*"))
	if strings.Count(versions, "Event ") != 2 || strings.Contains(versions, unreleased) || len(files) != 4 {
		t.Errorf("files %q, versions:\n%s", files, versions)
	}
	if text := read(t, filepath.Join(dir, "codec_gen.go")); strings.Count(text, "return \"Event\"\n") != 2 {
		t.Error("FingerprintName does not know both versions")
	}
}

func TestAChangeThatBreaksAReleaseIsRefused(t *testing.T) {
	for _, c := range []struct{ name, file, was, is, want string }{
		{"a new field without default", "event.avsc", skillField, skillField + `, {"name": "mood", "type": "long", "doc": "Mood."}`, "cannot read it"},
		{"a removed field that readers need", "event.avsc", `    {"name": "witness", "type": {"type": "enum", "name": "Witness"`,
			`    {"name": "watcher", "default": "unknown", "type": {"type": "enum", "name": "Witness"`, "cannot read the present schema"},
		{"another type", "finding.avsc", `"name": "version", "type": "long"`, `"name": "version", "type": "boolean"`, "cannot read it"},
		{"a smaller cap", "event.avsc", `"name": "skill", "type": "string", "default": "", "maxBytes": 256`,
			`"name": "skill", "type": "string", "default": "", "maxBytes": 255`, "cap of flightlog.Event.skill shrank"},
		{"a smaller record", "event.avsc", `"maxBytes": 65536,`, `"maxBytes": 65535,`, "shrank"},
	} {
		dir := workshop(t)
		edit(t, filepath.Join(dir, c.file), c.was, c.is)
		if err := run(dir, "", false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestHistoryCannotBeRewritten(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, dir string)
		want   string
	}{
		{"a released schema is changed", func(t *testing.T, dir string) {
			edit(t, only(t, filepath.Join(dir, "history/Control/*.avsc")), `"source_end"`, `"source_fin"`)
		}, "was changed"},
		{"a released schema is removed", func(t *testing.T, dir string) {
			remove(t, only(t, filepath.Join(dir, "history/Control/*.avsc")))
		}, "no such file"},
		{"golden bytes are removed", func(t *testing.T, dir string) {
			remove(t, only(t, filepath.Join(dir, "history/Control/*.golden")))
		}, "no such file"},
		{"a version is struck from the list", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "control.avsc"), `"tick", `, `"tick", "tock", `)
			path := filepath.Join(dir, "history/VERSIONS")
			lines := strings.SplitAfter(read(t, path), "\n")
			write(t, path, strings.Join(append(lines[:2:2], lines[3:]...), ""))
		}, "no version"},
		{"the list is no list", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "history/VERSIONS"), "Event\n")
		}, "no 'record fingerprint release'"},
	} {
		dir := workshop(t)
		c.change(t, dir)
		if err := run(dir, "", false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestWhatACodecCannotBoundIsRefused(t *testing.T) {
	for _, c := range []struct{ field, want string }{
		{`{"name": "x", "type": "string", "doc": "d"}`, "without maxBytes"},
		{`{"name": "x", "type": "bytes", "doc": "d"}`, "without maxBytes"},
		{`{"name": "x", "type": {"type": "array", "items": "Id"}, "doc": "d"}`, "without maxItems"},
		{`{"name": "x", "type": {"type": "array", "items": "long"}, "maxItems": 3, "doc": "d"}`, "an array of long"},
		{`{"name": "x", "type": {"type": "array", "items": {"type": "record", "name": "Nothing", "fields": []}}, "maxItems": 3, "doc": "d"}`, "an array of record"},
		{`{"name": "x", "type": ["null", "string"], "doc": "d"}`, "an optional string"},
		{`{"name": "x", "type": ["long", "string"], "doc": "d"}`, "a union with a long"},
		{`{"name": "x", "type": "long"}`, "no doc"},
		{`{"name": "x", "type": {"type": "enum", "name": "E", "symbols": ["a"]}, "doc": "d"}`, "needs a default"},
		{`{"name": "x", "type": {"type": "array", "items": "Id"}, "default": ["a"], "maxItems": 3, "doc": "d"}`, "a default"},
	} {
		dir := workshop(t)
		if err := os.RemoveAll(filepath.Join(dir, "history")); err != nil {
			t.Fatal(err)
		}
		edit(t, filepath.Join(dir, "event.avsc"), skillField, skillField+", "+c.field)
		if err := run(dir, "", false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

func TestAForgottenSchemaIsNoticed(t *testing.T) {
	dir := workshop(t)
	write(t, filepath.Join(dir, "other.avsc"), `"long"`)
	if err := run(dir, "", true); err == nil || !strings.Contains(err.Error(), "sources") {
		t.Errorf("got %v", err)
	}
}
