package transcripts

import (
	"bytes"
	"io"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/schemas"
)

// fork is where a forked session came from. Its file begins with a copy of the
// history, of which only the assistant's lines bear a mark, the session that
// paid for them (contract §3.5); the copied prompts even bear the fork's own
// prompt id (recording resume). So everything up to the last marked line is a
// copy.
type fork struct {
	copied       int64  // lines from the start; 0 if the file is no fork
	root, parent string // sessions
}

var mark = []byte(`"requestSessionId"`)

// forkOf reads a transcript for a fork's marks. The search for any mark at all
// costs next to nothing, and few files have one.
func forkOf(file io.ReadSeeker) (f fork, err error) {
	marked, err := holds(file, mark)
	if err != nil || !marked {
		return f, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return f, err
	}
	err = producers.Lines(file, "", schemas.WitnessTranscript, deaf{}, func(line int64, raw []byte) error {
		if !bytes.Contains(raw, mark) {
			return nil
		}
		ids := gjson.GetManyBytes(raw, "requestSessionId", "sessionId")
		if paid, own := ids[0].Str, ids[1].Str; paid != "" && paid != own {
			if f.root == "" {
				f.root = paid
			}
			f.copied, f.parent = line, paid
		}
		return nil
	})
	return f, err
}

// holds tells whether r holds the bytes.
func holds(r io.Reader, what []byte) (bool, error) {
	buf := make([]byte, 64<<10)
	kept := 0
	for {
		n, err := r.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], what) {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		end := kept + n
		kept = copy(buf, buf[max(0, end-len(what)+1):end])
	}
}

// deaf hears nothing: the lines are read again.
type deaf struct{}

func (deaf) Event(*schemas.Event) error           { return nil }
func (deaf) DeadLetter(*schemas.DeadLetter) error { return nil }
