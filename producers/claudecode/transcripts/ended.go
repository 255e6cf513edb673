package transcripts

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
)

// endOfFile is how much of a transcript's end is looked at, bytes.
const endOfFile = 256 << 10

// Ended is the time of the last line of a transcript that bears one, µs since
// 1970; 0 if none of the last 256 KiB does.
func Ended(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("cannot read a transcript: %w", err)
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = file.Seek(max(0, size-endOfFile), io.SeekStart)
	}
	var end []byte
	if err == nil {
		end, err = io.ReadAll(io.LimitReader(file, endOfFile))
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the transcript %s: %w", producers.Homeless(path), err)
	}
	for len(end) > 0 {
		i := bytes.LastIndexByte(end, '\n')
		if at, err := time.Parse(time.RFC3339, gjson.GetBytes(end[i+1:], "timestamp").Str); err == nil {
			return at.UnixMicro(), nil
		}
		end = end[:max(0, i)]
	}
	return 0, nil
}
