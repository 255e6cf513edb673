package transcripts

import (
	"bytes"
	"cmp"
	"errors"
	"io"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/schemas"
)

// fork is where a forked session came from. Its file begins with a copy of the
// history, of which only the assistant's lines bear a mark, the session that
// paid for them (contract §3.5); the copied prompts even bear the fork's own
// prompt id (recording resume). So everything up to the last marked line is a
// copy. Older clients set no mark; there a request that another session's file
// holds, which was read before, is as good, until the fork's first own one: what
// comes behind that is told line by line.
type fork struct {
	copied       int64  // lines from the start; 0 if the file is no fork
	root, parent string // sessions
}

// errPlain ends the search in a file that is no fork.
var errPlain = errors.New("no fork")

// forkOf reads a transcript for a fork's marks. A file whose first request
// bears none has none, so that only forks are read twice as a whole.
func forkOf(file io.Reader, requests *claudecode.Requests) (f fork, err error) {
	own := false // a request of the fork itself was met
	err = producers.Lines(file, "", schemas.WitnessTranscript, deaf{}, func(line int64, raw []byte) error {
		if !bytes.Contains(raw, []byte(`"assistant"`)) {
			return nil
		}
		l := gjson.GetManyBytes(raw, "type", "requestId", "requestSessionId", "sessionId", "message.id", "message.model")
		request, paid, session, message := l[1].Str, l[2].Str, l[3].Str, l[4].Str
		if l[0].Str != "assistant" {
			return nil
		}
		if !own {
			paid = cmp.Or(paid, requests.By(cmp.Or(request, message)))
		}
		switch {
		case paid != "" && paid != session:
			if f.root == "" {
				f.root = paid
			}
			f.copied, f.parent = line, paid
		case request == "": // some clouds' answers have none, and messages that the client makes up
			own = own || f.copied > 0 && l[5].Str != "<synthetic>"
		case f.copied == 0:
			return errPlain
		default:
			own = true
		}
		return nil
	})
	if errors.Is(err, errPlain) {
		err = nil
	}
	return f, err
}

// deaf hears nothing: the lines are read again.
type deaf struct{}

func (deaf) Event(*schemas.Event) error           { return nil }
func (deaf) DeadLetter(*schemas.DeadLetter) error { return nil }
