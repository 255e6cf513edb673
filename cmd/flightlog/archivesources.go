package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/sinks/files"
)

// avroExt ends the name of a complete file of an archive.
const avroExt = ".avro"

// archiveFinder finds the files of archives that hold events of an
// organisation.
type archiveFinder struct {
	org   string
	found map[string]source // by path; what it finds is added

	seen   []string        // under the path that is walked: files that may be of archives
	others map[string]bool // organisations that events are of, which are left out
	rows   []string        // files that hold rows, not events
}

// see looks at a file by its name.
func (a *archiveFinder) see(path string) {
	if name := filepath.Base(path); filepath.Ext(name) == avroExt || name == files.ArchiveName || strings.HasSuffix(name, broker.Enriched+".ndjson") {
		a.seen = append(a.seen, path)
	}
}

// end adds what was seen under a path: archives as their index tells of them,
// and files that stand on their own. What is somebody else's is passed over,
// unless it is the path itself.
func (a *archiveFinder) end(under string) error {
	seen := a.seen
	a.seen = nil
	var roots []string
	for _, path := range seen {
		var err error
		dir, is := filepath.Dir(path), path
		within := func(root string) bool { return strings.HasPrefix(path, root+string(filepath.Separator)) }
		switch {
		case filepath.Base(path) == files.ArchiveName: // comes before what stands in folders beside it
			if err, is = a.archive(dir), dir; err == nil {
				roots = append(roots, dir)
			}
		case filepath.Ext(path) == ".ndjson":
			a.rows = append(a.rows, path)
		case !slices.ContainsFunc(roots, within):
			var f *files.File
			if f, err = files.OpenFile(path); err == nil {
				a.file(f, dir)
			}
		}
		if errors.Is(err, files.ErrNoArchive) && is != under {
			slog.Warn("passed over, it is of no archive", "path", path, "error", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// archive adds the events of an archive.
func (a *archiveFinder) archive(dir string) error {
	archive, err := files.OpenArchive(dir)
	if err != nil {
		return err
	}
	if !slices.Contains(archive.Topics(), broker.Events) {
		a.rows = append(a.rows, dir)
		return nil
	}
	gone := 0
	err = archive.Files(broker.Events, func(f *files.File) error {
		there, err := f.Exists()
		switch {
		case err != nil:
			return err
		case !there:
			gone++
		default:
			a.file(f, filepath.Dir(f.Path())) // a session is in one partition
		}
		return nil
	})
	if gone > 0 {
		slog.Warn("files that the archive's index names are not there: their events are not imported", "archive", dir, "files", gone)
	}
	return err
}

// file adds a file. Files of one group hold the same sessions.
func (a *archiveFinder) file(f *files.File, group string) {
	if f.Topic != broker.Events {
		a.rows = append(a.rows, f.Path())
		return
	}
	for _, org := range f.Orgs {
		if org == a.org {
			a.found[f.Path()] = source{path: f.Path(), kind: archiveSource, group: group, size: f.Bytes, archived: f, org: org}
			continue
		}
		if a.others == nil {
			a.others = map[string]bool{}
		}
		a.others[org] = true
	}
}

// check is an error where nothing was found to import because of what the
// archives hold.
func (a *archiveFinder) check(found int) error {
	others := strings.Join(slices.Sorted(maps.Keys(a.others)), ", ")
	switch {
	case found == 0 && others != "":
		return fmt.Errorf("nothing to import: the archived events belong to other organisations than %q: %s", a.org, others)
	case found == 0 && len(a.rows) > 0:
		return fmt.Errorf("cannot import %s: it holds rows, and rows are no events; only an archive of the topic events can be imported (flightlog sink files --archive)", a.rows[0])
	case others != "":
		slog.Warn("events of other organisations are left out", "org", a.org, "others", others)
	}
	return nil
}

// readArchived reads the events of an archive's file. They left their machine
// through redaction.
func (s source) readArchived(ctx context.Context, sink producers.Sink) error {
	return s.archived.EachEvent(ctx, func(e *files.Event) error {
		if e.Org != s.org {
			return nil
		}
		event := *e.Event // the next one takes its place
		return sink.Event(&event)
	})
}
