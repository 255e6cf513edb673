// Package recordings holds what the real Claude Code 2.1.330 emitted in 47
// scenarios: hook payloads, transcripts and OTLP requests, and beside them what
// the model's endpoint truly answered. It is embedded as one archive, so that
// tests, the demo and load tests need no files around them; README.md says how
// it was packed.
package recordings

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

//go:embed claude-code-2.1.330.tar.zst
var archive []byte

// Scenarios names the recorded scenarios, sorted. Each is a folder of what
// [Unpack] writes.
func Scenarios() []string { return append([]string(nil), scenarios()...) }

var scenarios = sync.OnceValue(func() (names []string) {
	err := walk(func(name string, _ io.Reader) error {
		if path.Base(name) == "scenario.json" {
			names = append(names, path.Dir(name))
		}
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("cannot read the embedded recordings: %v", err)) // the binary itself is broken
	}
	sort.Strings(names)
	return names
})

// Unpack writes the recordings under dir, which it makes if need be: README.md
// and one folder per scenario. It replaces files of the same name and leaves
// others alone.
func Unpack(dir string) error {
	made := map[string]bool{}
	err := walk(func(name string, content io.Reader) error {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if folder := filepath.Dir(name); !made[folder] {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
			made[folder] = true
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return fmt.Errorf("cannot unpack the recordings into %s: %w", dir, err)
	}
	return nil
}

// walk calls visit for each file of the archive, in the archive's order.
func walk(visit func(name string, content io.Reader) error) error {
	z, err := zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(strings.TrimPrefix(h.Name, "./"), files); err != nil {
			return err
		}
	}
}

// TB is what [Dir] needs of a testing.TB.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

var shared struct {
	sync.Mutex
	dir   string
	users int
}

// Dir is the folder of the unpacked recordings. Tests that run at the same
// time share one; the last of them to end removes it. It is for reading only:
// a test that changes files calls [Unpack] into a folder of its own.
func Dir(t TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.users == 0 {
		dir, err := os.MkdirTemp("", "flightlog-recordings-")
		if err != nil {
			t.Fatalf("cannot unpack the recordings: %v", err)
		}
		if err := Unpack(dir); err != nil {
			os.RemoveAll(dir)
			t.Fatalf("%v", err)
		}
		shared.dir = dir
	}
	shared.users++
	t.Cleanup(func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.users--; shared.users == 0 {
			os.RemoveAll(shared.dir)
		}
	})
	return shared.dir
}
