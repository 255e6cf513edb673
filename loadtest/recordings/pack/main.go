// Command pack packs a folder of recordings into the archive that package
// recordings embeds:
//
//	go run ./loadtest/recordings/pack SOURCE_DIR loadtest/recordings/claude-code-2.1.330.tar.zst
//
// The same files give the same bytes: names are sorted, and times, owners and
// modes are left out.
package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: pack SOURCE_DIR ARCHIVE")
		os.Exit(2)
	}
	packed, err := pack(os.DirFS(os.Args[1]))
	if err == nil {
		err = os.WriteFile(os.Args[2], packed, 0o644)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot pack %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// wanted tells the files to keep: the output and the status line of the client
// that ran (stdout, stderr, statusline) are no source of Flightlog's.
func wanted(name string) bool {
	base := path.Base(name)
	switch base {
	case "README.md", "scenario.json", "steps.json", "endpoint.ndjson", "hooks.ndjson", "git-log.txt":
		return strings.Count(name, "/") <= 1
	}
	return strings.HasPrefix(base, "otlp-") || strings.Contains(name, "/projects/")
}

// pack makes the archive. Files of one kind stand together, as they are alike
// and compress better so.
func pack(source fs.FS) ([]byte, error) {
	var names []string
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && wanted(name) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, func(a, b string) int {
		if c := strings.Compare(path.Base(a), path.Base(b)); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})

	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(32<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	files := tar.NewWriter(z)
	for _, name := range names {
		content, err := fs.ReadFile(source, name)
		if err != nil {
			return nil, err
		}
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatUSTAR}
		if err := files.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := files.Write(content); err != nil {
			return nil, err
		}
	}
	if err := files.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
