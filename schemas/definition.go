package schemas

import (
	"embed"
	"fmt"
	"path"
	"sync"

	"github.com/flightlog/flightlog/schemas/internal/avsc"
)

//go:embed history/*/*.avsc
var history embed.FS

// Definition is the self-contained Avro schema, in JSON, that has the
// fingerprint: of the present or of an older version of a record; false for
// an unknown one.
func Definition(fingerprint uint64) ([]byte, bool) {
	text, err := history.ReadFile(path.Join("history", FingerprintName(fingerprint), fmt.Sprintf("%016x.avsc", fingerprint)))
	return text, err == nil
}

// definitions holds the parsed schemas by fingerprint.
var definitions sync.Map

func definition(fingerprint uint64) (*avsc.Schema, error) {
	if s, ok := definitions.Load(fingerprint); ok {
		return s.(*avsc.Schema), nil
	}
	text, ok := Definition(fingerprint)
	if !ok {
		return nil, fmt.Errorf("unknown schema %016x: %w", fingerprint, ErrInvalid)
	}
	s, err := avsc.Names{}.Parse(text)
	if err == nil {
		definitions.Store(fingerprint, s)
	}
	return s, err
}
