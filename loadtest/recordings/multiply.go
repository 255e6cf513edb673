package recordings

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ids are what names a session, prompt, line, request, message or call in the
// recordings; each copy gets its own.
var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:req_01|msg_01|toolu_01)[0-9A-Za-z]{20,}`)

// Multiply writes copies of everything under src that filter accepts (a path
// relative to src; nil = all) to dst/copy-<n>/, each with ids of its own that
// agree over all files of the copy, until at least size bytes were written. It
// returns how many were.
func Multiply(src, dst string, size int64, filter func(path string) bool) (written int64, err error) {
	files := map[string][]byte{}
	var order []string
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(src, path)
		if err != nil || filter != nil && !filter(name) {
			return err
		}
		files[name], err = os.ReadFile(path)
		order = append(order, name)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot multiply %s: %w", src, err)
	}
	for n := 0; written < size && len(order) > 0; n++ {
		for _, name := range order {
			content := renamed(files[name], n)
			path := filepath.Join(dst, fmt.Sprintf("copy-%03d", n), string(renamed([]byte(name), n)))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return written, err
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return written, err
			}
			written += int64(len(content))
		}
	}
	return written, nil
}

// renamed gives a text the ids of the n-th copy; the 0th keeps its own.
func renamed(text []byte, n int) []byte {
	if n == 0 {
		return text
	}
	return ids.ReplaceAllFunc(text, func(id []byte) []byte {
		h := fnv.New64a()
		_ = binary.Write(h, binary.BigEndian, int64(n))
		_, _ = h.Write(id)
		digits := hex.EncodeToString(h.Sum(nil))
		out := bytes.Clone(id)
		if strings.Contains(string(id), "_01") {
			copy(out[bytes.IndexByte(out, '_')+3:], digits)
		} else {
			copy(out, digits[:8])
		}
		return out
	})
}
