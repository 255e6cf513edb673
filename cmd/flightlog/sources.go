package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/claudecode/hooks"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/producers/direct"
	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/files"
)

// source is one file that events are read from.
type source struct {
	path  string
	kind  sourceKind
	group string // sources of one group tell of the same sessions
	size  int64

	// Of a transcript: the time of its last line, µs, and the requests of all.
	ended    int64
	requests *claudecode.Requests

	// Of an archive: the file, and whose events of it are read.
	archived *files.File
	org      string
}

type sourceKind int

const (
	hookSource sourceKind = iota
	otlpSource
	transcriptSource
	archiveSource
	directSource
)

// localOrg is the organisation that recordings are imported as.
const localOrg = "local"

// findSources lists what can be read under the paths as events of localOrg.
func findSources(paths []string) ([]source, error) { return findSourcesOf(paths, localOrg) }

// findSourcesOf lists what can be read under the paths as events of an
// organisation, grouped by session or recording, in an order that does not
// depend on how the paths were given. The same file twice counts once. The
// events of an archive bear their organisation: those of others are left out.
func findSourcesOf(paths []string, org string) (all []source, err error) {
	found := map[string]source{}
	archives := archiveFinder{found: found, org: org}
	add := func(path, group string, kind sourceKind) error {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		if real, err = filepath.Abs(real); err != nil {
			return err
		}
		info, err := os.Stat(real)
		if err != nil {
			return err
		}
		found[real] = source{path: real, kind: kind, group: group, size: info.Size()}
		return nil
	}
	for _, path := range paths {
		abs, err := filepath.EvalSymlinks(path)
		if err == nil {
			abs, err = filepath.Abs(abs)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot import: %w", err)
		}
		if info, err := os.Stat(abs); err == nil && !info.IsDir() && !known(filepath.Base(abs)) {
			return nil, fmt.Errorf("cannot import %s: want a transcript (*.jsonl), hooks.ndjson, otlp-logs.ndjson, otlp-metrics.ndjson, otlp-traces.ndjson, events in the JSON form of their schema (events.ndjson, *.events.ndjson), a file of an archive (*.avro), or a folder", path)
		}
		err = filepath.WalkDir(abs, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			switch name := d.Name(); {
			case name == "hooks.ndjson":
				return add(p, filepath.Dir(p), hookSource)
			case otlpNames[name]:
				return add(p, filepath.Dir(p), otlpSource)
			case isEvents(name):
				return add(p, p, directSource)
			}
			archives.see(p)
			return nil
		})
		if err == nil {
			err = archives.end(abs)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot import %s: %w", path, err)
		}
		var sessions []string
		if name := filepath.Base(abs); name != "hooks.ndjson" && !otlpNames[name] && !isEvents(name) && filepath.Ext(name) != avroExt {
			if sessions, err = transcripts.Find(abs); err != nil {
				return nil, fmt.Errorf("cannot import %s: %w", path, err)
			}
		}
		for _, file := range sessions {
			if err := add(file, transcriptGroup(file), transcriptSource); err != nil {
				return nil, fmt.Errorf("cannot import %s: %w", path, err)
			}
		}
	}
	if err := archives.check(len(found)); err != nil {
		return nil, err
	}
	requests, ended := claudecode.NewRequests(), map[string]int64{}
	for _, s := range found {
		if s.kind == transcriptSource {
			s.requests = requests
			s.ended, _ = transcripts.Ended(s.path) // what cannot be read, reading it says
			ended[s.group] = max(ended[s.group], s.ended)
		}
		all = append(all, s)
	}
	// A session that goes on with another's history ended later than that.
	slices.SortFunc(all, func(a, b source) int {
		return cmp.Or(cmp.Compare(ended[a.group], ended[b.group]), cmp.Compare(a.group, b.group), cmp.Compare(a.ended, b.ended), cmp.Compare(a.path, b.path))
	})
	return all, nil
}

var otlpNames = map[string]bool{"otlp-logs.ndjson": true, "otlp-metrics.ndjson": true, "otlp-traces.ndjson": true}

// known tells a file that can be imported by its name.
func known(name string) bool {
	return strings.HasSuffix(name, ".jsonl") || strings.HasSuffix(name, avroExt) || name == "hooks.ndjson" || otlpNames[name] || isEvents(name)
}

// isEvents tells a file of events in the JSON form of their schema.
func isEvents(name string) bool {
	return name == "events.ndjson" || strings.HasSuffix(name, ".events.ndjson")
}

// transcriptGroup is the recording that a transcript belongs to, or else the
// session: <folder>/<session>.jsonl and <folder>/<session>/subagents/*.jsonl.
func transcriptGroup(path string) string {
	if dir, _, ok := strings.Cut(path, string(filepath.Separator)+"projects"+string(filepath.Separator)); ok {
		for _, name := range [...]string{"hooks.ndjson", "otlp-logs.ndjson", "endpoint.ndjson"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return dir
			}
		}
	}
	if dir := filepath.Dir(path); filepath.Base(dir) == "subagents" {
		return filepath.Dir(dir)
	}
	return strings.TrimSuffix(path, ".jsonl")
}

// read reads a source to its end.
func (s source) read(ctx context.Context, sink producers.Sink) error {
	switch s.kind {
	case transcriptSource:
		return transcripts.ReadFile(ctx, s.path, claudecode.Options{Requests: s.requests}, sink)
	case archiveSource:
		return s.readArchived(ctx, sink)
	}
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.kind == directSource {
		return producers.Lines(f, s.path, schemas.WitnessDirect, sink, direct.New(sink).Line)
	}
	if s.kind == hookSource {
		return producers.Lines(f, s.path, schemas.WitnessHook, sink, hooks.New(sink, claudecode.Options{}).Recorded)
	}
	reader := otlp.New(sink)
	reader.Source = s.path
	return producers.Lines(f, s.path, schemas.WitnessOtlp, sink, reader.Recorded)
}
