package transcripts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/schemas"
)

// run is the subagent's run that a transcript is of, by its .meta.json
// (contract §3.4).
type run struct {
	id, parent, kind, use string
	background            schemas.OptBool
	finished              bool
	begun                 bool
	first                 int64
}
