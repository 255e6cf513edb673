package transcripts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
)

// Ended is the time of the last line of a transcript that bears one, µs since
// 1970; 0 if none does.
func Ended(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("cannot read a transcript: %w", err)
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	for length := int64(64 << 10); err == nil; length *= 8 { // most end with short lines
		end := make([]byte, min(length, size))
		if _, err = file.ReadAt(end, size-int64(len(end))); err != nil && !errors.Is(err, io.EOF) {
			break
		}
		if at := lastTime(end); at != 0 || length >= size {
			return at, nil
		}
		err = nil
	}
	return 0, fmt.Errorf("cannot read the transcript %s: %w", producers.Homeless(path), err)
}

// lastTime is the time of the last whole line that bears one.
func lastTime(end []byte) int64 {
	for len(end) > 0 {
		i := bytes.LastIndexByte(end, '\n')
		if at, err := time.Parse(time.RFC3339, gjson.GetBytes(end[i+1:], "timestamp").Str); err == nil {
			return at.UnixMicro()
		}
		end = end[:max(0, i)]
	}
	return 0
}
