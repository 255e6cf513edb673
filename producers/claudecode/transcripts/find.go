package transcripts

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// name is the name of a transcript's file: of a session, or of a subagent's
// run (contract §3.1).
var name = regexp.MustCompile(`^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|agent-[\w-]+)\.jsonl$`)

// Find lists the transcripts at a path, sorted: a session comes before its
// subagents. The path is a transcript's file of any name, the folder of a
// session (then the session's own file beside it belongs to it), or any folder
// above: a folder of projects/, projects/, ~/.claude. Links to folders are not
// followed, apart from the path itself.
func Find(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot find transcripts: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var found []string
	path = filepath.Clean(path)
	if own := path + ".jsonl"; name.MatchString(filepath.Base(own)) {
		if _, err := os.Stat(own); err == nil {
			found = append(found, own)
		}
	}
	root, err := filepath.EvalSymlinks(path)
	if err == nil {
		err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "tool-results":
				return filepath.SkipDir
			case d.Type().IsRegular() && name.MatchString(d.Name()):
				found = append(found, path+file[len(root):])
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find transcripts: %w", err)
	}
	slices.Sort(found)
	return found, nil
}
