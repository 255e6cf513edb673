package files

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
)

// File is a file of an archive, as the line of the index says that it is. Times
// are µs since 1970.
type File struct {
	Name      string `json:"name"` // in the archive, with slashes
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Lane      string `json:"lane,omitempty"` // empty = normal
	// Hour in which the broker appended what it holds, as 2026-11-26T15, and
	// which part of it.
	Hour string `json:"hour"`
	Part int    `json:"part"`
	// Schema is the CRC-64-AVRO of its rows, 16 hex digits.
	Schema string `json:"schema"`
	Rows   int64  `json:"rows"` // or events
	// Unreadable events were passed over.
	Unreadable int64  `json:"unreadable,omitempty"`
	Bytes      int64  `json:"bytes"`
	SHA256     string `json:"sha256"` // of so many bytes, hex
	// The first and the last occurred_at of its rows; of findings and tasks
	// first_seen, of spend pane_start.
	FirstOccurredAt int64 `json:"first_occurred_at"`
	LastOccurredAt  int64 `json:"last_occurred_at"`
	FirstAppendedAt int64 `json:"first_appended_at"`
	LastAppendedAt  int64 `json:"last_appended_at"`
	// Commits that its rows are of, by source.
	Commits []Commits `json:"commits,omitempty"`
	// Orgs that its events belong to, sorted.
	Orgs []string `json:"orgs,omitempty"`

	dir string // the archive
}

// Commits are those of one source that a file holds rows of: the first, the
// last, and all between them that said something to the log.
type Commits struct {
	Processor  string `json:"processor"`
	Partition  int64  `json:"partition"`
	Generation int64  `json:"generation"`
	First      int64  `json:"first"`
	Last       int64  `json:"last"`
}

// name is where the file stands in an archive. Names sort by time, and need
// neither case nor characters that a file system may not have.
func (f *File) name() string {
	name := f.Hour
	if f.Part > 1 {
		name += fmt.Sprintf("_%03d", f.Part)
	}
	if f.Lane != "" {
		name += "." + f.Lane
	}
	return path.Join(f.Topic, strconv.Itoa(f.Partition), name+".avro")
}

// line is the file's line in the index.
func (f *File) line() []byte {
	line, err := json.Marshal(f)
	if err != nil {
		panic(err) // it is made of texts and numbers
	}
	return append(line, '\n')
}

func indexName(dir, topic string) string { return filepath.Join(dir, topic, "index.ndjson") }

// readIndex calls each with the files that a topic's index names in its first
// bytes.
func readIndex(dir, topic string, length int64, each func(*File) error) error {
	in, err := os.Open(indexName(dir, topic))
	if err != nil {
		return err
	}
	defer in.Close()
	lines := bufio.NewReaderSize(io.LimitReader(in, length), 64<<10)
	for read := int64(0); read < length; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s/index.ndjson ends after %d bytes, %s says %d: %w", topic, read+int64(len(line)), ArchiveName, length, ErrDamaged)
		}
		if err != nil {
			return err
		}
		read += int64(len(line))
		f := File{dir: dir}
		if err := json.Unmarshal(line, &f); err != nil || f.Topic != topic || f.Name != f.name() {
			return fmt.Errorf("%s/index.ndjson, a line that ends at byte %d: %w", topic, read, errors.Join(err, ErrDamaged))
		}
		if err := each(&f); err != nil {
			return err
		}
	}
	return nil
}

// Path is where the file lies once it is complete.
func (f *File) Path() string { return filepath.Join(f.dir, filepath.FromSlash(f.Name)) }

// Exists tells whether the file is there, complete or open.
func (f *File) Exists() (bool, error) {
	in, err := f.open()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, in.Close()
}

// ErrDamaged: a file does not hold what it did when it was written.
var ErrDamaged = errors.New("damaged")

// open opens the file, whatever name it bears at the moment. One that is not
// there is fs.ErrNotExist.
func (f *File) open() (*os.File, error) {
	path := f.Path()
	in, err := os.Open(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return in, err
	}
	if in, err = os.Open(path + openSuffix); !errors.Is(err, fs.ErrNotExist) {
		return in, err
	}
	return os.Open(path) // it was completed in between
}

// verify reads the file's bytes into a SHA-256 and compares.
func (f *File) verify(in io.Reader, sum hash.Hash) error {
	n, err := io.Copy(sum, io.LimitReader(in, f.Bytes))
	switch {
	case err != nil:
		return err
	case n < f.Bytes:
		return fmt.Errorf("%s is truncated: it holds %d of %d bytes: %w", f.Name, n, f.Bytes, ErrDamaged)
	case hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%s does not hold what was written to it: its SHA-256 is another: %w", f.Name, ErrDamaged)
	}
	return nil
}
