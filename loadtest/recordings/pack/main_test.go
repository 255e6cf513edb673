package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

func TestPackingWhatWasUnpackedGivesTheSameArchive(t *testing.T) {
	packed, err := pack(os.DirFS(recordings.Dir(t)))
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := os.ReadFile("../claude-code-2.1.330.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(packed, embedded) {
		t.Errorf("packed again: %d bytes, embedded: %d bytes, and they differ", len(packed), len(embedded))
	}
}
