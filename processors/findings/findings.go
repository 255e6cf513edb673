// Package findings says findings as signed rows: what a processor keeps of one
// that it has said, and when it says the next version.
package findings

import (
	"bytes"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// Said is what was said of a finding last; part of a processor's state.
type Said struct {
	Row       []byte // the +1 row that stands, encoded; nil = nothing was said
	Version   int64
	Published int64 // append time, µs
}

// Say says a finding, if that is not what stands: the row that stands with sign
// -1, and the new one. Its id, generation and columns must be set; row_id, sign
// and version are set here. urgent is asked for critical ones only: whether the
// critical lane takes it. It tells whether anything was said.
func (s *Said) Say(tx *engine.Tx, f *schemas.Finding, urgent func() bool) bool {
	f.Generation, f.Sign, f.Version, f.RowId = tx.Generation(), 1, 0, schemas.Id{}
	f.Cap()
	var last schemas.Finding
	if s.Row != nil {
		if _, err := last.DecodeAvro(s.Row); err != nil {
			panic(err)
		}
		f.RowId, f.Version = last.RowId, last.Version
		if bytes.Equal(f.AppendAvro(nil), s.Row) {
			return false
		}
	}
	emit := tx.Emit
	if f.Severity == schemas.SeverityCritical && urgent() {
		emit = tx.EmitCritical
	}
	s.Version++
	s.Published = tx.Now()
	if s.Row != nil {
		last.Sign, last.Version = -1, s.Version
		last.RowId = schemas.RowID(last.Generation, f.FindingId, s.Version, -1)
		emit(broker.Findings, last.AppendAvro(nil))
	}
	f.Version, f.RowId = s.Version, schemas.RowID(f.Generation, f.FindingId, s.Version, 1)
	s.Row = f.AppendAvro(nil)
	emit(broker.Findings, s.Row)
	return true
}
