// Command generate makes from the .avsc files everything in package schemas
// that follows from them: the Go types and codecs, the JSON Schema of the
// event, the data dictionary and the history of versions. Run it by go
// generate; with -check it writes nothing and fails where a file is stale.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

// sources are the schemas in the order of their names' first use.
var sources = []string{"event", "frame", "control", "commit", "header", "deadletter", "enriched", "finding", "task", "taskfact", "spend", "spenddelta", "closed", "config"}

func main() {
	dir := flag.String("dir", ".", "folder of package schemas")
	check := flag.Bool("check", false, "write nothing; fail where a generated file is stale")
	release := flag.String("release", "", "name of the release that from now on holds every present schema")
	flag.Parse()
	if err := run(*dir, *release, *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run makes every generated file and writes it, or compares it.
func run(dir, release string, check bool) error {
	roots, err := load(dir)
	if err != nil {
		return err
	}
	files, versions, drop, err := history(dir, roots, release)
	if err != nil {
		return err
	}
	code, err := codecs(roots, versions)
	if err != nil {
		return err
	}
	maps.Copy(files, code)
	if files["event.schema.json"], err = eventSchema(roots); err != nil {
		return err
	}
	files["../docs/schemas.md"] = dictionary(roots)
	return settle(dir, files, drop, check)
}

// load reads the schemas and adds a frame record for each record of rows.
func load(dir string) ([]*avsc.Schema, error) {
	if all, err := filepath.Glob(filepath.Join(dir, "*.avsc")); err != nil || len(all) != len(sources) {
		return nil, fmt.Errorf("%d schemas in %q, but %d in the list of sources", len(all), dir, len(sources))
	}
	names := avsc.Names{}
	var roots, frames []*avsc.Schema
	for _, name := range sources {
		text, err := os.ReadFile(filepath.Join(dir, name+".avsc"))
		if err != nil {
			return nil, err
		}
		s, err := names.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s.avsc: %w", name, err)
		}
		if s.Kind != avsc.Record {
			return nil, fmt.Errorf("%s.avsc: a %s, not a record", name, s.Kind)
		}
		roots = append(roots, s)
	}
	for _, s := range roots {
		if s.Framed {
			frames = append(frames, frameOf(s, names["flightlog.RowHeader"]))
		}
	}
	return append(roots, frames...), nil
}

// frameOf is the record that packs rows of s into one message.
func frameOf(s, header *avsc.Schema) *avsc.Schema {
	return &avsc.Schema{
		Kind: avsc.Record,
		Name: s.Name + "Frame",
		Doc:  "Rows of one partition of a public topic in one message.",
		Fields: []avsc.Field{
			{Name: "header", Type: header, Doc: "Commits that the rows come from."},
			{Name: "rows", Type: &avsc.Schema{Kind: avsc.Array, Items: s}, MaxItems: 65536, Doc: "Rows in the order they were said."},
		},
	}
}

// settle writes the files that differ from what dir holds and removes those to
// drop, or names them all.
func settle(dir string, files map[string][]byte, drop []string, check bool) error {
	stale := drop
	for name, text := range files {
		old, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(old, text) {
			stale = append(stale, name)
		}
	}
	slices.Sort(stale)
	if check && len(stale) > 0 {
		return fmt.Errorf("stale, run go generate ./schemas: %q", stale)
	}
	for _, name := range stale {
		path := filepath.Join(dir, name)
		text, keep := files[name]
		if !keep {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
