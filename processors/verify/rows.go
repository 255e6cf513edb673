package verify

import (
	"crypto/sha256"
	"fmt"

	"github.com/flightlog/flightlog/schemas"
)

// facts are what the rows of one partition have said, to hold the next ones
// against it (DESIGN §4). A row is named by fact, version and sign, so rows whose
// versions ascend are unique by row_id.
type facts struct {
	known      map[schemas.Id]standing
	whole      bool // the topic holds the first row
	generation int64
}

// standing is where a fact stands.
type standing struct {
	version int64
	commit  int64    // that said it
	row     [16]byte // what the +1 row that stands says, as a hash; zeros = none stands
}

// check adds a row and tells which rule it breaks; "" = none.
func (f *facts) check(commit int64, row *schemas.Enriched) string {
	s, known := f.known[row.FactKey]
	says := saying(row)
	broken := ""
	switch {
	case row.Generation != f.generation:
		broken = fmt.Sprintf("is of generation %d", row.Generation)
	case row.Sign != 1 && row.Sign != -1:
		broken = fmt.Sprintf("has the sign %d", row.Sign)
	case row.RowId != schemas.RowID(row.Generation, row.FactKey, row.Version, row.Sign):
		broken = "has a row_id that is not its own"
	case !known && !f.whole: // what came before it has aged out
	case row.Sign == -1 && s.row == [16]byte{}:
		broken = "takes a row back, and none stands"
	case row.Sign == -1 && row.Version != s.version+1,
		row.Sign == 1 && s.row == [16]byte{} && row.Version != s.version+1 && (row.Version != s.version || s.version == 0):
		broken = fmt.Sprintf("follows version %d", s.version)
	case row.Sign == -1 && s.row != says:
		broken = fmt.Sprintf("takes back another row than version %d has said", s.version)
	case row.Sign == 1 && s.row != [16]byte{}:
		broken = fmt.Sprintf("is said over version %d, which stands", s.version)
	case row.Sign == 1 && row.Version == s.version && commit != s.commit:
		broken = fmt.Sprintf("is said in another commit than %d, which took the one before back", s.commit)
	}
	s.version, s.commit, s.row = row.Version, commit, says
	if row.Sign == -1 {
		s.row = [16]byte{}
	}
	f.known[row.FactKey] = s
	if broken != "" {
		broken = fmt.Sprintf("the row of fact %s, version %d, sign %+d, %s", row.FactKey, row.Version, row.Sign, broken)
	}
	return broken
}

// saying is the hash of all that a row and the one that takes it back have in
// common: row_id, sign, version and event_id are left out.
func saying(row *schemas.Enriched) (hash [16]byte) {
	r := *row
	r.RowId, r.Sign, r.Version, r.EventId = schemas.Id{}, 0, 0, schemas.Id{}
	var buffer [1024]byte
	sum := sha256.Sum256(r.AppendAvro(buffer[:0]))
	copy(hash[:], sum[:])
	return hash
}
