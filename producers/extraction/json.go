package extraction

import (
	"encoding/json"
	"errors"

	"github.com/flightlog/flightlog/schemas"
)

// HashJSON is the name of a JSON value: [schemas.TextHash] of its canonical
// form, or of the bytes as they are where they are no JSON.
func HashJSON(rawJSON []byte) string {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	text, err := Canonical((*buf)[:0], rawJSON)
	if err != nil {
		return schemas.TextHash(rawJSON)
	}
	if cap(text) <= mostKept {
		*buf = text
	}
	return schemas.TextHash(text)
}

// PatchLines counts the lines that a structuredPatch adds and removes: a JSON
// array of hunks with "lines" (contract §2.4). ok is false where it is no such
// array or has no hunk; a file that was just created has none, its lines are
// those of its content.
func PatchLines(structuredPatch []byte) (added, removed int64, ok bool) {
	var hunks []struct {
		Lines []patchLine `json:"lines"`
	}
	if json.Unmarshal(structuredPatch, &hunks) != nil {
		return 0, 0, false
	}
	for _, hunk := range hunks {
		for _, line := range hunk.Lines {
			switch line {
			case '+':
				added++
			case '-':
				removed++
			}
		}
	}
	return added, removed, len(hunks) > 0
}

// patchLine is the first character of a line of a patch.
type patchLine byte

func (l *patchLine) UnmarshalJSON(text []byte) error {
	if len(text) < 2 || text[0] != '"' {
		return errors.New("a line of a patch is no string")
	}
	*l = patchLine(text[1])
	return nil
}
