package producers

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// MaxLine is the longest line in bytes that [Lines] hands on.
const MaxLine = 32 << 20

// BadInput says why a record cannot be read. It becomes a dead letter, so
// Detail names fields, types and sizes and holds no text of the input.
type BadInput struct {
	Reason string // class: wrong_type, missing_field, ...
	Detail string
}

func (e *BadInput) Error() string { return e.Reason + ": " + e.Detail }

// Lines reads newline-delimited JSON and calls read for each line that is one
// object in valid UTF-8, nested at most [MaxDepth] deep; line counts from 1,
// raw has no white space around it and is only good until read returns. Blank
// lines are skipped.
//
// A line that cannot be read becomes a dead letter with its place, size and
// hash: not_utf8, not_json, too_deep, too_long (over [MaxLine]; such a line is
// never held), truncated (the last line, cut off), panic, or the reason of a
// *[BadInput] that read returns. Any other error of read, an error of the sink
// and an error of r end the reading. The name of the source is written with ~
// for a home folder.
//
// Memory is bounded by twice the longest line handed on.
func Lines(r io.Reader, source string, witness schemas.Witness, sink Sink, read func(line int64, raw []byte) error) error {
	l := lines{r: r, source: Homeless(source), witness: witness, sink: sink, read: read, buf: *buffers.Get().(*[]byte)}
	err := l.all()
	if buf := l.buf; len(buf) <= 1<<20 {
		buffers.Put(&buf)
	}
	if err != nil {
		return fmt.Errorf("cannot read %s at line %d: %w", l.source, l.line, err)
	}
	return nil
}

// buffers are kept from file to file: most files are small.
var buffers = sync.Pool{New: func() any {
	buf := make([]byte, 64<<10)
	return &buf
}}

type lines struct {
	r       io.Reader
	source  string
	witness schemas.Witness
	sink    Sink
	read    func(line int64, raw []byte) error
	line    int64

	buf        []byte
	start, end int // of what was read from r and not yet handed on
}

func (l *lines) all() error {
	searched := 0 // bytes after start without a newline
	for {
		if n := bytes.IndexByte(l.buf[l.start+searched:l.end], '\n'); n >= 0 {
			raw := l.buf[l.start : l.start+searched+n]
			l.start += len(raw) + 1
			searched = 0
			l.line++
			if err := l.one(raw, true); err != nil {
				return err
			}
			continue
		}
		searched = l.end - l.start
		if searched > MaxLine {
			l.line++
			if err := l.skip(); err != nil {
				return err
			}
			searched = 0
			continue
		}
		more, err := l.fill()
		if err != nil {
			return err
		}
		if !more {
			if searched == 0 {
				return nil
			}
			l.line++
			return l.one(l.buf[l.start:l.end], false)
		}
	}
}

// fill reads more behind what is there; false at the end of r.
func (l *lines) fill() (more bool, err error) {
	if l.start > 0 {
		copy(l.buf, l.buf[l.start:l.end])
		l.end -= l.start
		l.start = 0
	}
	if l.end == len(l.buf) {
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
	}
	for range 100 {
		n, err := l.r.Read(l.buf[l.end:])
		l.end += n
		if n > 0 {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, io.ErrNoProgress
}

// skip reads over the rest of a line that is too long.
func (l *lines) skip() error {
	hash := sha256.New()
	var size int64
	for {
		rest := l.buf[l.start:l.end]
		n := bytes.IndexByte(rest, '\n')
		if n >= 0 {
			rest = rest[:n]
		}
		hash.Write(rest)
		size += int64(len(rest))
		if n >= 0 {
			l.start += n + 1
			break
		}
		l.start, l.end = 0, 0
		if more, err := l.fill(); err != nil {
			return err
		} else if !more {
			break
		}
	}
	return l.bury("too_long", fmt.Sprintf("line of %d bytes, the limit is %d", size, MaxLine), hex.EncodeToString(hash.Sum(nil)[:16]), size)
}

// one checks a line and hands it on.
func (l *lines) one(raw []byte, whole bool) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil
	}
	err := CheckObject(raw)
	if err == nil {
		err = l.guarded(raw)
	}
	if err == nil {
		return nil
	}
	var bad *BadInput
	if !errors.As(err, &bad) {
		return err
	}
	reason := bad.Reason
	if !whole && (reason == "not_json" || reason == "not_utf8") { // a cut may go through a character
		reason = "truncated"
	}
	return l.bury(reason, bad.Detail, schemas.TextHash(raw), int64(len(raw)))
}

// guarded calls read and turns a panic into bad input. Only what the Go
// runtime itself says of a panic is sure to hold no text of the input.
func (l *lines) guarded(raw []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			detail := fmt.Sprintf("%T", p)
			if e, ok := p.(runtime.Error); ok {
				detail = e.Error()
			}
			err = &BadInput{"panic", detail}
		}
	}()
	return l.read(l.line, raw)
}

func (l *lines) bury(reason, detail, hash string, size int64) error {
	position := strconv.FormatInt(l.line, 10)
	return l.sink.DeadLetter(&schemas.DeadLetter{
		RowId:      deadLetterID(l.source, position, hash, reason),
		Generation: 1,
		Reason:     reason,
		Detail:     detail,
		Source:     l.source,
		Position:   position,
		Hash:       hash,
		Size:       size,
		Witness:    l.witness,
		OccurredAt: time.Now().UnixMicro(),
	})
}

// deadLetterID is H(source, position, hash, reason).
func deadLetterID(parts ...string) (id schemas.Id) {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	copy(id[:], sum[:])
	return id
}

// Homeless is a path with ~ for the home folder of the user, or of any user
// where homes usually are, so that it names nobody.
func Homeless(path string) string {
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		if rest, ok := strings.CutPrefix(path, home); ok && (rest == "" || rest[0] == '/' || rest[0] == '\\') {
			return "~" + rest
		}
	}
	for _, homes := range []string{"/home/", "/Users/", `C:\Users\`} {
		if rest, ok := strings.CutPrefix(path, homes); ok {
			if i := strings.IndexAny(rest, `/\`); i >= 0 {
				return "~" + rest[i:]
			}
			return "~"
		}
	}
	return path
}
